"""What the callbacks of a state machine return: results, and the actions that they ask for.

A type of events is as in OTP: "cast", "info", "internal", "enter", "timeout", "state_timeout", ("call", caller) and
("timeout", name); the last three name timers, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from partisan.etf import Atom
from partisan.gen import control

NORMAL = Atom("normal")

SAME: Any = object()
"""Stands for data that is not given: what there was stays."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a call: `caller` is of its event ("call", caller)."""

    caller: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Postpone:
    """Put the event off until the state has changed; the last of several counts."""

    postpone: bool = True


@dataclass(frozen=True, slots=True)
class NextEvent:
    """Handle this event before all that wait; several come in the order given."""

    event_type: Any
    content: Any


@dataclass(frozen=True, slots=True)
class Hibernate:
    """Give memory back until the next message, if no event waits; the last of several counts."""

    hibernate: bool = True


@dataclass(frozen=True, slots=True)
class StateTimeout:
    """Have the event ("state_timeout", content) come unless the state changes before.

    Attributes:
        seconds: from now; 0 comes after what waits already and before any further message. None stops the timer.
        absolute: `seconds` is a time of the loop's clock.
    """

    seconds: float | None
    content: Any = None
    absolute: bool = False


@dataclass(frozen=True, slots=True)
class EventTimeout:
    """Have the event ("timeout", content) come unless any other comes before; see `StateTimeout`."""

    seconds: float | None
    content: Any = None
    absolute: bool = False


@dataclass(frozen=True, slots=True)
class Timeout:
    """Have the event (("timeout", name), content) come, whatever happens before; see `StateTimeout`."""

    name: Any
    seconds: float | None
    content: Any = None
    absolute: bool = False


@dataclass(frozen=True, slots=True)
class CancelTimeout:
    """Stop a timer: "state_timeout", "timeout" or ("timeout", name)."""

    timer: Any


@dataclass(frozen=True, slots=True)
class UpdateTimeout:
    """Let a timer come with another content at the time it has; one that does not run comes at once."""

    timer: Any
    content: Any


@dataclass(frozen=True, slots=True)
class ChangeCallbackModule:
    """Go on with the callbacks of another class of state machines, on the same attributes."""

    module: Any


@dataclass(frozen=True, slots=True)
class PushCallbackModule:
    """As `ChangeCallbackModule`, and remember the present one for `PopCallbackModule`."""

    module: Any


@dataclass(frozen=True, slots=True)
class PopCallbackModule:
    """Go back to the callbacks that were in force before the last `PushCallbackModule`."""


Actions = Any
"""An action, or a list or tuple of them."""


@dataclass(frozen=True, slots=True)
class NextState:
    """Go to a state, which may be the same. From `init`: begin in it."""

    state: Any
    data: Any = SAME
    actions: Actions = ()


@dataclass(frozen=True, slots=True)
class KeepState:
    """Stay in the state."""

    data: Any = SAME
    actions: Actions = ()


@dataclass(frozen=True, slots=True)
class RepeatState:
    """Stay in the state, and enter it again: with state enter calls there is one more."""

    data: Any = SAME
    actions: Actions = ()


@dataclass(frozen=True, slots=True, init=False)
class Stop(control.Stop):
    """End, after `terminate`."""

    data: Any = SAME

    def __init__(self, reason: Any = NORMAL, data: Any = SAME) -> None:
        control.Stop.__init__(self, reason)
        object.__setattr__(self, "data", data)


@dataclass(frozen=True, slots=True)
class StopAndReply:
    """Answer calls, then end."""

    reason: Any
    replies: Reply | Sequence[Reply]
    data: Any = SAME
