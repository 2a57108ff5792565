"""A module that shows its arguments and what it was told last, in the parameters "init" and "state"."""

import json
import socket
import sys

host, command_port, update_port = sys.argv[1:4]
commands = socket.create_connection((host, int(command_port))).makefile("rw")
updates = socket.create_connection((host, int(update_port))).makefile("rw")


def show(**parameters):
    updates.write(json.dumps({"cmd": "set_parameters", "args": {"parameters": parameters}}) + "\n")
    updates.flush()
    updates.readline()


for line in commands:
    request = json.loads(line)
    if request["cmd"] == "init":
        show(init=request.get("args"), state="init")
    elif request["cmd"] in ("play", "suspend"):
        show(state=request["cmd"])
    commands.write('{"success": true}\n')
    commands.flush()
    if request["cmd"] == "rm":
        break
