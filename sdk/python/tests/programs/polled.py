"""A module for the tests: a subclass of JSONParentPoller in a select loop, as programs of the original are."""

import select
import sys
from typing import Any

from shmooze.modules import JSONParentPoller


class Polled(JSONParentPoller):
    def cmd_init(self, **args: Any) -> None:
        self.set_parameters({"init": args})

    def cmd_play(self) -> None:
        self.set_parameters(state="playing")

    def cmd_rm(self) -> None:
        pass

    def do_double(self, number: int) -> int:
        return 2 * number

    commands = {"init": cmd_init, "play": cmd_play, "suspend": cmd_play, "rm": cmd_rm, "do_double": do_double}


module = Polled()
rounds = 0
while True:
    select.select([module], [], [])
    rounds += 1
    if not module.handle_commands(block=False):
        break
print("rounds", rounds)
module.close()
sys.exit(7)
