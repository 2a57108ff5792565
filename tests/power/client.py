"""A client that changes the queue as quickly as it is answered, and says each change once it is: "add UID", "rm UID…", "mv UID…".

Arguments: how many changes, and a seed.
"""

import json
import random
import socket
import sys

count, seed = int(sys.argv[1]), int(sys.argv[2])
chance = random.Random(seed)
stream = socket.create_connection(("127.0.0.1", 9420)).makefile("rw")
order = []


def ask(cmd, **args):
    stream.write(json.dumps({"cmd": cmd, "args": args}) + "\n")
    stream.flush()
    answer = json.loads(stream.readline())
    assert answer["success"], answer
    return answer.get("result")


for _ in range(count):
    what = chance.choice(("add", "rm", "mv", "mv", "mv", "mv", "mv", "mv", "mv"))
    if len(order) < 3 or (what == "add" and len(order) < 9):
        what, uids = "add", [ask("add", type="tiny")["uid"]]
        order += uids
    else:
        uids = chance.sample(order, 1 if what == "rm" else chance.randint(1, 3))
        what = "rm" if what == "rm" else "mv"
        ask(what, uids=uids)
        order = ([] if what == "rm" else uids) + [uid for uid in order if uid not in uids]
    print(what, *uids, flush=True)
