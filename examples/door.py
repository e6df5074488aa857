"""A door with a code lock: a state machine on one node, and people who press its buttons on another.

python examples/door.py
"""

from typing import Any

import partisan
from partisan import Atom, GenStatem, Node
from partisan.gen import statem
from partisan.gen.statem import KeepState, NextState, Postpone, Reply, StateTimeout, Timeout

BUTTON, CODE_LENGTH, WALK_THROUGH, LOCKED = map(Atom, ("button", "code_length", "walk_through", "locked"))


class Door(GenStatem):
    """Opens when its code is entered, and locks itself again. The data are the buttons pressed last.

    A state is a method. It says what an event means there: which state is next, and what is to be done.
    """

    callback_mode = ["state_functions", "state_enter"]  # noqa: RUF012 - never changed

    def init(self, code: list[int], open_for: float) -> NextState:
        """Begin locked.

        Args:
            open_for: seconds.
        """
        self.code = code
        self.open_for = open_for
        return NextState("locked", [])

    def locked(self, event_type: Any, content: Any, pressed: list[int]) -> Any:
        match event_type, content:
            case "enter", _:
                print("the door is locked")
                return KeepState([])
            case "cast", (tag, int(digit)) if tag == BUTTON:
                pressed = [*pressed, digit][-len(self.code) :]
                if pressed == self.code:
                    return NextState("open", [])
                return KeepState(pressed, [Timeout("buttons", 10.0)])  # whoever hesitates begins anew
            case ("timeout", "buttons"), _:
                return KeepState([])
            case ("call", _), tag if tag == WALK_THROUGH:
                return KeepState(actions=[Postpone()])  # until the door is open
            case ("call", caller), tag if tag == LOCKED:
                return KeepState(actions=[Reply(caller, True)])
            case _:
                return self.anywhere(event_type, content)

    def open(self, event_type: Any, content: Any, pressed: list[int]) -> Any:
        match event_type, content:
            case "enter", _:
                print("the door is open")
                return KeepState(actions=[StateTimeout(self.open_for)])
            case "state_timeout", _:
                return NextState("locked")
            case ("call", caller), tag if tag == WALK_THROUGH:
                return KeepState(actions=[Reply(caller, "welcome")])
            case ("call", _), tag if tag == LOCKED:
                return KeepState(actions=[Postpone()])  # the answer waits for it
            case _:
                return self.anywhere(event_type, content)

    def anywhere(self, event_type: Any, content: Any) -> Any:
        """What does not depend on the state."""
        match event_type, content:
            case ("call", caller), tag if tag == CODE_LENGTH:
                return KeepState(actions=[Reply(caller, len(self.code))])
            case _:
                return None  # a button of an open door, or a stranger's message


async def visit(door: tuple[str, str]) -> None:
    """Wait before the door, try codes, walk through it, and wait until it is locked again."""
    print("buttons to press:", await statem.call(door, CODE_LENGTH, timeout=5.0))
    inside = statem.send_request(door, WALK_THROUGH)
    for digit in (1, 1, 1, 4, 2):
        statem.cast(door, (BUTTON, digit))
    print((await statem.receive_response(inside, 5.0)).decode())
    print("locked again:", await statem.call(door, LOCKED, timeout=5.0))


async def main() -> None:
    async with Node("b@127.0.0.1:0") as b, Node("a@127.0.0.1:0") as a:
        await a.join(f"b@{b.listen_addrs[0]}")

        async def build() -> None:
            await Door.start(name="door", args=([1, 4, 2], 0.2))

        await b.run(build)
        await a.run(visit, ("door", b.name))


if __name__ == "__main__":
    partisan.run(main())
