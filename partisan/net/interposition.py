"""Functions between a sender and the wire, or the wire and a receiver: they see messages, and may change them.

Each has a name, a direction and a stage, as in Partisan:

    pre            sees the message first; what it returns is ignored
    interpose      returns the message to go on with, `Delayed(message, after)`, or None or DROP to drop it; one takes
                   what the one before it, in the order of their adding, has returned
    post           sees the message as it was and as it goes on (DROP if it does not)

They see user messages between nodes: not those between processes of one node, nor those of the overlay. The reference
compiles its calls of them in for its own tests only, calls them on the slow path only, shows a receiving one the whole
frame, and tells a dropped acknowledged message again; here they always work, and see the message alone.

An exception in a function is logged with the function's name, and the message goes on as it came to it.

Source: partisan-upper, section 9.1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from partisan import telemetry
from partisan._core.process import Process
from partisan._core.router import Origin, Router
from partisan.errors import NotAcknowledged, NotConnected, Overloaded
from partisan.etf import Atom
from partisan.telemetry import Telemetry

log = logging.getLogger(__name__)

FORWARD: Final = "forward_message"
RECEIVE: Final = "receive_message"

Direction = Literal["forward", "receive", "both"]
Stage = Literal["pre", "interpose", "post"]

Interposed = Callable[..., Any]
"""`function(kind, peer, message)`, or for a post function `function(kind, peer, message, outcome)`.

`kind` is "forward_message" or "receive_message"; `peer` the name of the node at the other end, or None where the
message did not come on a connection of its sender.
"""


class _Drop:
    """The type of DROP."""

    def __repr__(self) -> str:
        return "DROP"


DROP: Final = _Drop()
"""What an interposition returns for a message that shall not go on."""


@dataclass(frozen=True, slots=True)
class Delayed:
    """What an interposition returns for a message that shall go on later, and past the others.

    Attributes:
        message: with which to go on.
        after: seconds, to which those of other functions are added; with 0 it goes behind what is under way, as
            `{'$delay', Message}` in the reference.
    """

    message: Any
    after: float = 0.0


class Waiter(Protocol):
    """Who waits to hear that a message has arrived: a future, or what does the same."""

    def done(self) -> bool:
        """Whether it need not be told any more."""

    def set_exception(self, error: BaseException, /) -> None:
        """The message does not arrive."""


Witness = Callable[[str, str | None, Any, Any], object]
"""`witness(kind, peer, target, message)`, when a message has gone on, with what it was then, and for whom it is."""


class Interposition:
    """The functions of one node, and the way of a message through them.

    Args:
        node: its name.
        loop: its event loop.
        router: told of them only while there are any.
        telemetry: where drops are reported.
    """

    def __init__(self, node: str, loop: asyncio.AbstractEventLoop, router: Router, telemetry: Telemetry) -> None:
        self._node = node
        self._loop = loop
        self._router = router
        self._telemetry = telemetry
        self._witness: Witness | None = None
        self._stages: dict[tuple[str, str], dict[str, Interposed]] = {
            (direction, stage): {} for direction in (FORWARD, RECEIVE) for stage in ("pre", "interpose", "post")
        }

    def add(self, name: str, function: Interposed, on: Direction, when: Stage) -> None:
        """Add a function; one of the same name, direction and stage is replaced. Raises ValueError, TypeError."""
        if not callable(function):
            raise TypeError(f"{function!r} cannot be called")
        for direction in self._directions(on):
            self._functions(direction, when)[name] = function
        self._refresh()

    def remove(self, name: str, on: Direction, when: Stage) -> bool:
        """Remove a function; whether there was one."""
        found = [self._functions(direction, when).pop(name, None) for direction in self._directions(on)]
        self._refresh()
        return any(function is not None for function in found)

    def show(self, witness: Witness) -> None:
        """Show what goes on, both ways, to a witness that is no program's and stays; of parts of the nodes as well."""
        self._witness = witness
        self._refresh()

    def functions(self, on: Direction, when: Stage) -> dict[str, Interposed]:
        """The functions of a stage, by name."""
        found: dict[str, Interposed] = {}
        for direction in self._directions(on):
            found |= self._functions(direction, when)
        return found

    def _directions(self, on: str) -> tuple[str, ...]:
        known = {"forward": (FORWARD,), "receive": (RECEIVE,), "both": (FORWARD, RECEIVE)}
        if on not in known:
            raise ValueError(f"on={on!r} is none of {', '.join(known)}")
        return known[on]

    def _functions(self, direction: str, when: str) -> dict[str, Interposed]:
        if (direction, when) not in self._stages:
            raise ValueError(f"when={when!r} is none of pre, interpose, post")
        return self._stages[direction, when]

    def _refresh(self) -> None:
        needed = {direction for (direction, _), functions in self._stages.items() if functions}
        if self._witness is not None:
            needed = {FORWARD, RECEIVE}
        self._router.forwarding = self._forwarded if FORWARD in needed else None
        self._router.receiving = self._received if RECEIVE in needed else None

    def _forwarded(
        self,
        node: str,
        target: Any,
        message: Any,
        channel: str | None,
        partition_key: int | None,
        key: Hashable,
        ack: bool,
    ) -> None:
        def go_on(message: Any) -> None:
            self._router.forward(node, target, message, channel=channel, partition_key=partition_key, key=key, ack=ack)

        self.pass_on(node, target, message, go_on)

    def pass_on(
        self, node: str, target: Any, message: Any, go_on: Callable[[Any], None], waiter: Waiter | None = None
    ) -> None:
        """Give what is sent to another node to the functions, and what they let pass to `go_on`.

        Args:
            waiter: is told if a function drops the message, or it cannot be sent when its delay is over.
        """

        def fail(error: Exception) -> None:
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)

        def go_on_later(message: Any) -> None:
            try:
                go_on(message)
            except (NotConnected, Overloaded, ValueError) as error:  # its sender has gone on
                log.info("%s cannot send a delayed message: %s", self._node, error)
                self._dropped(FORWARD, node)
                fail(error)

        go_on = self._witnessed(FORWARD, node, target, go_on)
        if self._is_system(target):
            go_on(message)
        elif not self._pass(FORWARD, node, message, go_on, go_on_later):
            fail(NotAcknowledged(node, "a function that was put between dropped it"))

    def _received(self, target: Any, message: Any, inbound: Origin | None) -> None:
        def go_on(message: Any) -> None:
            self._router.hand_over(target, message, inbound)

        peer = inbound.link.peer if inbound is not None else None
        shown = self._witnessed(RECEIVE, peer, target, go_on)
        if self._is_system(target):
            shown(message)
        else:
            self._pass(RECEIVE, peer, message, shown, shown)

    def _witnessed(
        self, kind: str, peer: str | None, target: Any, go_on: Callable[[Any], None]
    ) -> Callable[[Any], None]:
        """What does the same, and shows the witness what has gone on: not what could not be sent."""
        witness = self._witness
        if witness is None:
            return go_on

        def shown(message: Any) -> None:
            go_on(message)
            witness(kind, peer, target, message)

        return shown

    def _is_system(self, target: Any) -> bool:
        """Whether the target is a part of every node, as the manager, and no process."""
        found = self._router.scheduler.names.get(target.name) if type(target) is Atom else None
        return found is not None and not isinstance(found, Process)

    def _pass(
        self,
        kind: str,
        peer: str | None,
        message: Any,
        go_on: Callable[[Any], None],
        go_on_later: Callable[[Any], None],
    ) -> bool:
        """Call the functions; whether the message was not dropped."""
        for name, function in list(self._stages[kind, "pre"].items()):
            self._call(name, function, None, kind, peer, message)
        outcome, delay = self._interpose(kind, peer, message)
        for name, function in list(self._stages[kind, "post"].items()):
            self._call(name, function, None, kind, peer, message, outcome)
        if outcome is DROP:
            self._dropped(kind, peer)
        elif delay is None:
            go_on(outcome)
        elif delay > 0.0:
            self._loop.call_later(delay, go_on_later, outcome)
        else:
            self._loop.call_soon(go_on_later, outcome)
        return outcome is not DROP

    def _interpose(self, kind: str, peer: str | None, message: Any) -> tuple[Any, float | None]:
        """The message to go on with, or DROP, and by how much it is delayed in all, or None."""
        delay: float | None = None
        for name, function in list(self._stages[kind, "interpose"].items()):
            outcome = self._call(name, function, message, kind, peer, message)
            if outcome is DROP or (outcome is None and message is not None):
                return DROP, None
            if type(outcome) is Delayed:
                delay = (delay or 0.0) + outcome.after
                outcome = outcome.message
            message = outcome
        return message, delay

    def _call(self, name: str, function: Interposed, otherwise: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception:
            log.exception("%s: the interposition %r failed on %s", self._node, name, arguments[0])
            return otherwise

    def _dropped(self, kind: str, peer: str | None) -> None:
        about = {"node": peer, "kind": kind, "interposition": True}
        self._telemetry.emit(telemetry.QUEUE_DROPPED, {"count": 1, "octets": 0}, about)
