"""The engine of state machines, as OTP's `gen_statem` describes it: no process, no clock.

Whoever drives it hands events to `put`, asks `event` which one the callback is to handle, tells `obey` what that has
returned, and carries `effects` out before it asks for the next. When `event` gives None it waits for a message, or
until `deadline`, when it calls `expire`.

What a callback has returned for an event is carried out by the next `event`, or when the state enter calls that it
brings about are over:

1. The event is postponed, if that was asked for.
2. If the state has changed, what was postponed comes before what waits, in the order of arrival; the timer of the state
   stops. Two states are the same if they are equal and of one type.
3. Inserted events come before all of these.
4. The timer of events stops, then timers are started, stopped and updated in the order asked for. One of zero seconds
   comes when no event waits any more, but before anything from outside. So does one that has expired.

Source: OTP 24, stdlib, `gen_statem`: types `transition_option`, `enter_action`, `action`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from math import isfinite
from typing import Any

from partisan.errors import BadReturn
from partisan.gen.statem_values import (
    SAME,
    CancelTimeout,
    ChangeCallbackModule,
    EventTimeout,
    Hibernate,
    KeepState,
    NextEvent,
    NextState,
    PopCallbackModule,
    Postpone,
    PushCallbackModule,
    RepeatState,
    Reply,
    StateTimeout,
    Stop,
    StopAndReply,
    Timeout,
    UpdateTimeout,
)

ENTER, EVENT_TIMER, STATE_TIMER = "enter", "timeout", "state_timeout"

Event = tuple[Any, Any]
"""Its type and its content."""

BAD_RESULT = "bad_return_from_state_function"
BAD_ENTER_RESULT = "bad_state_enter_return_from_state_function"
BAD_ACTION = "bad_action_from_state_function"
BAD_ENTER_ACTION = "bad_state_enter_action_from_state_function"
BAD_REPLY = "bad_reply_action_from_state_function"

MOST_STOPPED = 64
"""How many timers that were stopped are kept besides as many as run (ours)."""

_NONE = (0.0, 0, None)
_PLAIN = frozenset(("cast", "info", "internal", EVENT_TIMER, STATE_TIMER))


def same(a: object, b: object) -> bool:
    """Whether two states are one: equal and of one type."""
    return a is b or (type(a) is type(b) and a == b)


def is_timer(kind: Any) -> bool:
    """Whether this names a timer."""
    if type(kind) is tuple:
        return len(kind) == 2 and kind[0] == EVENT_TIMER and _hashable(kind[1])
    return kind in (EVENT_TIMER, STATE_TIMER) if type(kind) is str else False


def is_event_type(kind: Any) -> bool:
    """Whether an event of this type can be inserted."""
    if type(kind) is tuple:
        return (len(kind) == 2 and kind[0] == "call") or is_timer(kind)
    return type(kind) is str and kind in _PLAIN


def _hashable(name: Any) -> bool:
    try:
        hash(name)
    except TypeError:
        return False
    return True


class StateMachine:
    """One state machine.

    Args:
        state_enter: whether there are state enter calls.
    Attributes:
        state, data: as of the event that is being handled.
        current: the event that is being handled, or was last; None before the first.
        queue: events that wait, the next first.
        postponed: events that wait for another state, the latest first.
        effects: what the driver is to do, in order, and to take out: Reply, ChangeCallbackModule, PushCallbackModule,
            PopCallbackModule, Stop.
        hibernate: whether the last event has asked for it; when `event` has given None, as the next one.
        deadline: when the first timer expires; None if none runs.
    """

    __slots__ = (
        "_changed",
        "_enter",
        "_entering",
        "_heap",
        "_hibernate",
        "_inserted",
        "_now",
        "_old",
        "_open",
        "_postpone",
        "_starts",
        "_timeouts",
        "_timers",
        "_zero",
        "current",
        "data",
        "deadline",
        "effects",
        "hibernate",
        "postponed",
        "queue",
        "state",
        "state_enter",
    )

    def __init__(self, state_enter: bool = False) -> None:
        self.state_enter = state_enter
        self.state: Any = None
        self.data: Any = None
        self.current: Event | None = None
        self.queue: deque[Event] = deque()
        self.postponed: deque[Event] = deque()
        self.effects: list[Any] = []
        self.hibernate = False
        self.deadline: float | None = None
        self._timers: dict[Any, tuple[float, int, Any]] = {}  # timer -> when, which start of one it is, content
        self._heap: list[tuple[float, int, Any]] = []  # when, which start, timer; some were stopped since
        self._starts = 0
        self._zero: dict[Any, Any] = {}  # timers that come before any message -> content
        self._open = False  # what was collected is to be carried out
        self._enter = False  # ... after a state enter call, if there are such
        self._entering = False  # one is under way
        self._now = 0.0
        self._old: Any = None  # the state before, for the state enter call
        self._changed = False
        self._postpone = False
        self._hibernate = False
        self._inserted: list[Event] = []
        self._timeouts: list[Any] = []

    @property
    def timers(self) -> list[tuple[Any, Any]]:
        """The timers that run, and their contents."""
        return [*self._zero.items(), *((timer, content) for timer, (_, _, content) in self._timers.items())]

    def begin(self, state: Any, data: Any, actions: Any, now: float) -> None:
        """Enter the first state. Raises BadReturn for an action that is none."""
        self.state, self.data, self._old = state, data, state
        self._take(actions, False)
        self._postpone = False  # there is no event yet
        self._open = self._enter = True
        self._now = now

    def put(self, kind: Any, content: Any) -> None:
        """Take an event from outside."""
        self.queue.append((kind, content))

    def expire(self, now: float) -> None:
        """Let the timers expire whose time has come."""
        while self.deadline is not None and self.deadline <= now:
            timer = self._heap[0][2]
            self._zero[timer] = self._timers.pop(timer)[2]
            self._set_deadline()

    def event(self) -> Event | None:
        """What the callback is to handle next; None if there is nothing before a message comes or a timer expires."""
        if self._open:
            if self._enter and self.state_enter:
                self._enter, self._entering = False, True
                return ENTER, self._old
            self._finish()
        if self.queue:
            self.current = self.queue.popleft()
            return self.current
        for timer in self._zero:
            self.current = timer, self._zero.pop(timer)
            return self.current
        return None

    def obey(self, result: Any, now: float) -> None:
        """Take what the callback has returned for the last event.

        Args:
            now: seconds of a monotonic clock.
        Raises:
            BadReturn: it is no result, or asks for what is no action; `kind` says so as OTP does.
        """
        entering, self._entering = self._entering, False
        self._open, self._now = True, now
        if result is not None:
            kind = type(result)
            if kind is KeepState:
                pass
            elif kind is NextState:
                if not same(result.state, self.state):
                    if entering:
                        raise BadReturn("a state enter call", result, BAD_ENTER_RESULT)
                    self._old, self.state = self.state, result.state
                    self._changed = self._enter = True
            elif kind is RepeatState:
                self._old = self.state
                self._enter = True
            elif kind is Stop or kind is StopAndReply:
                self._stop(result)
                return
            else:
                raise BadReturn("a state callback", result, BAD_ENTER_RESULT if entering else BAD_RESULT)
            if result.data is not SAME:
                self.data = result.data
            if result.actions != ():
                self._take(result.actions, entering)

    def _stop(self, result: Any) -> None:
        if result.data is not SAME:
            self.data = result.data
        if type(result) is StopAndReply:
            for reply in _several(result.replies):
                if type(reply) is not Reply:
                    raise BadReturn("a state callback", reply, BAD_REPLY)
                self.effects.append(reply)
        self.effects.append(Stop(result.reason))

    def _take(self, actions: Any, entering: bool) -> None:
        """Collect what is asked for."""
        for action in _several(actions):
            kind = type(action)
            if kind is Reply:
                self.effects.append(action)
            elif kind in _ENTERING:
                self._timeouts.append(_checked(action, entering))
            elif kind is Hibernate:
                self._hibernate = bool(action.hibernate)
            elif entering:
                raise BadReturn("a state enter call", action, BAD_ENTER_ACTION)
            elif kind is Postpone:
                self._postpone = bool(action.postpone)
            elif kind is NextEvent and is_event_type(action.event_type):
                self._inserted.append((action.event_type, action.content))
            elif kind in _MODULES:
                self.effects.append(action)
            else:
                raise BadReturn("a state callback", action, BAD_ACTION)

    def _finish(self) -> None:
        """Carry out what was collected."""
        self._open = self._enter = False
        if self._postpone:
            self._postpone = False
            assert self.current is not None
            self.postponed.appendleft(self.current)
        if self._changed:
            self._changed = False
            self.queue.extendleft(self.postponed)
            self.postponed.clear()
            self._cancel(STATE_TIMER)
        if self._inserted:
            self.queue.extendleft(reversed(self._inserted))
            self._inserted.clear()
        self._cancel(EVENT_TIMER)
        for action in self._timeouts:
            self._retime(action, self._now)
        self._timeouts.clear()
        if self._heap:
            self._set_deadline()
        self.hibernate, self._hibernate = self._hibernate, False

    def _retime(self, action: Any, now: float) -> None:
        """Start, stop or update a timer."""
        timer = _timer_of(action)
        if type(action) is UpdateTimeout:
            if timer in self._timers:
                self._timers[timer] = (*self._timers[timer][:2], action.content)
            else:
                self._zero[timer] = action.content
            return
        self._cancel(timer)
        if type(action) is CancelTimeout or action.seconds is None:
            return
        if action.seconds == 0 and not action.absolute:
            self._zero[timer] = action.content
            return
        when = action.seconds if action.absolute else now + action.seconds
        self._starts += 1
        self._timers[timer] = (when, self._starts, action.content)
        heappush(self._heap, (when, self._starts, timer))
        if len(self._heap) > 2 * len(self._timers) + MOST_STOPPED:
            self._heap = [(when, start, timer) for timer, (when, start, _) in self._timers.items()]
            heapify(self._heap)

    def _cancel(self, timer: Any) -> None:
        self._timers.pop(timer, None)
        self._zero.pop(timer, None)

    def _set_deadline(self) -> None:
        heap, timers = self._heap, self._timers
        while heap and timers.get(heap[0][2], _NONE)[1] != heap[0][1]:
            heappop(heap)
        self.deadline = heap[0][0] if heap else None


_MODULES = frozenset((ChangeCallbackModule, PushCallbackModule, PopCallbackModule))
_STARTS: dict[type, Callable[[Any], Any]] = {
    StateTimeout: lambda _: STATE_TIMER,
    EventTimeout: lambda _: EVENT_TIMER,
    Timeout: lambda action: (EVENT_TIMER, action.name),
}
_ENTERING = frozenset((*_STARTS, CancelTimeout, UpdateTimeout))


def _timer_of(action: Any) -> Any:
    """The timer that an action is about."""
    start = _STARTS.get(type(action))
    return action.timer if start is None else start(action)


def _checked(action: Any, entering: bool) -> Any:
    """The action, if it names a timer and a time. Raises BadReturn."""
    seconds = getattr(action, "seconds", None)
    if is_timer(_timer_of(action)) and (seconds is None or _is_time(seconds, action.absolute)):
        return action
    raise BadReturn("a state callback", action, BAD_ENTER_ACTION if entering else BAD_ACTION)


def _is_time(seconds: Any, absolute: bool) -> bool:
    if type(seconds) is not float and type(seconds) is not int:
        return False
    return isfinite(seconds) and (absolute or seconds >= 0)


def _several(values: Any) -> Iterable[Any]:
    """The values of a list or tuple; what is neither is one."""
    return values if type(values) is list or type(values) is tuple else (values,)
