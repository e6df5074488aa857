"""State machines: processes whose callbacks depend on a state (OTP's `gen_statem`).

A class of state machines says by `callback_mode` which callbacks it has: one, `handle_event`, for all states, whose
states are any values; or a method for each state, called as the state is. The rules of events are in `statem_machine`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from partisan._core.calls import call as ask
from partisan._core.calls import reply as answer
from partisan._core.process import Process, checkpoint, receive
from partisan.errors import BadReturn, Exit, ReceiveTimeout
from partisan.etf import Atom, Pid, Reference
from partisan.gen.behaviour import EXIT, SYSTEM, Behaviour, called, undefined
from partisan.gen.call import cast as cast
from partisan.gen.call import send_request as send_request
from partisan.gen.call import stop as stop
from partisan.gen.control import NOTHING
from partisan.gen.control import Ignore as Ignore
from partisan.gen.debug import IN, OUT
from partisan.gen.report import format_log as format_log
from partisan.gen.responses import RequestIds as RequestIds
from partisan.gen.responses import Response as Response
from partisan.gen.responses import check_response as check_response
from partisan.gen.responses import receive_response as receive_response
from partisan.gen.responses import reqids_add as reqids_add
from partisan.gen.responses import reqids_new as reqids_new
from partisan.gen.responses import reqids_size as reqids_size
from partisan.gen.responses import reqids_to_list as reqids_to_list
from partisan.gen.responses import wait_response as wait_response
from partisan.gen.statem_machine import Event, StateMachine
from partisan.gen.statem_values import SAME as SAME
from partisan.gen.statem_values import CancelTimeout as CancelTimeout
from partisan.gen.statem_values import ChangeCallbackModule as ChangeCallbackModule
from partisan.gen.statem_values import EventTimeout as EventTimeout
from partisan.gen.statem_values import Hibernate as Hibernate
from partisan.gen.statem_values import KeepState as KeepState
from partisan.gen.statem_values import NextEvent as NextEvent
from partisan.gen.statem_values import NextState as NextState
from partisan.gen.statem_values import PopCallbackModule as PopCallbackModule
from partisan.gen.statem_values import Postpone as Postpone
from partisan.gen.statem_values import PushCallbackModule as PushCallbackModule
from partisan.gen.statem_values import RepeatState as RepeatState
from partisan.gen.statem_values import Reply as Reply
from partisan.gen.statem_values import StateTimeout as StateTimeout
from partisan.gen.statem_values import Stop as Stop
from partisan.gen.statem_values import StopAndReply as StopAndReply
from partisan.gen.statem_values import Timeout as Timeout
from partisan.gen.statem_values import UpdateTimeout as UpdateTimeout
from partisan.gen.sys import System
from partisan.runtime.current import process
from partisan.runtime.message_calls import Target
from partisan.runtime.process_calls import Name

CALL, CAST = Atom("$gen_call"), Atom("$gen_cast")
_WHERE = Atom("gen_statem")

HANDLE_EVENT, STATE_FUNCTIONS, STATE_ENTER = "handle_event_function", "state_functions", "state_enter"

_SHORTEST = 0.001
"""Seconds: the clock of a loop may be that coarse. Ours."""


class GenStatem(Behaviour):
    """A state machine.

    Attributes:
        callback_mode: "handle_event_function" or "state_functions", or a list of one of these and "state_enter"; or a
            method that returns so.
    """

    _TITLE = "State machine"

    callback_mode: Any = HANDLE_EVENT
    __slots__ = ("_statem",)  # no part of the state
    _statem: Driver

    def init(self, *args: Any) -> Any:
        """Return the first state as NextState(state, data, actions), Stop(reason) or Ignore()."""
        raise undefined(self, "init", *args)

    def handle_event(self, event_type: Any, content: Any, state: Any, data: Any) -> Any:
        """Handle an event of whatever state: return NextState, KeepState, RepeatState, Stop or StopAndReply.

        None is KeepState(). With state functions the method of the state is called instead, without `state`.
        """
        raise undefined(self, "handle_event", event_type, content, state, data)

    def terminate(self, reason: object, state: Any, data: Any) -> Any:  # type: ignore[override]  # as OTP's
        """The process ends: by a result, an error, or its parent's exit signal if it traps exits."""

    def code_change(self, old_version: Any, state: Any, data: Any, extra: Any) -> Any:  # type: ignore[override]
        """`sys.change_code` asks for the state and data of the present code: return (state, data); else it fails."""
        raise undefined(self, "code_change", old_version, state, data, extra)

    def _check_init(self, control: Any) -> None:
        if type(control) is NextState:
            self._statem = Driver(self)
        elif type(control) not in (Stop, Ignore):
            raise BadReturn("init", control, "bad_return_from_init")

    def _terminate(self, reason: object) -> Any:
        return self._statem.callbacks.terminate(reason, *self.system_get_state())

    async def _loop(self, system: System, control: Any) -> None:
        await self._statem.run(system, control)

    def _status(self) -> dict[str, Any]:
        machine = self._statem.machine
        return {
            "state": machine.state,
            "data": machine.data,
            "queue": list(machine.queue),
            "postponed": list(machine.postponed),
            "timeouts": machine.timers,
        }

    def _details(self, status: dict[str, Any]) -> list[tuple[str, Any]]:
        names = ("data", "queue", "postponed", "timeouts")
        return [(name.capitalize(), status[name]) for name in names if status.get(name)]

    def _formatted(self, status: dict[str, Any]) -> dict[str, Any]:
        callbacks = self._statem.callbacks
        return super()._formatted(status) if callbacks is self else callbacks._formatted(status)

    def system_get_state(self) -> Any:
        """The state and the data."""
        return self._statem.machine.state, self._statem.machine.data

    def system_replace_state(self, state: Any) -> Any:
        """Take another (state, data); events that were postponed stay so."""
        self._statem.machine.state, self._statem.machine.data = state
        return state

    async def system_code_change(self, module: Any, old_version: Any, extra: Any) -> None:
        """Take the (state, data) that `code_change` returns, and look at the callback mode again."""
        statem = self._statem
        changed = await called(statem.callbacks.code_change, old_version, *self.system_get_state(), extra)
        if type(changed) is not tuple or len(changed) != 2:
            raise Exit(changed)
        statem.adopt(statem.callbacks)
        self.system_replace_state(changed)

    def system_status(self) -> Any:
        """The state and the data, as `format_status` shows them."""
        shown = self._formatted(self._status())
        return shown.get("state"), shown.get("data")


class Tick:
    """A message of a machine to itself: the time has come for timers of up to then.

    Attributes:
        now: seconds of the loop's clock.
    """

    __slots__ = ("now",)

    def __init__(self, now: float) -> None:
        self.now = now


class Alarm:
    """Sends a process a Tick when the first timer of its machine expires.

    It takes its place in the mailbox, as a timer's message does in OTP. One timer of the loop serves: it is not touched
    when the machine's first timer stops or moves back, so that a timer that each event starts anew costs little.
    """

    def __init__(self, mine: Process, machine: StateMachine) -> None:
        self._process = mine
        self._machine = machine
        self._loop = mine.get_loop()
        self._timer: Any = None
        self._at = 0.0
        self.ticked = False  # a Tick is in the mailbox

    def set(self, deadline: float) -> None:
        """See to it that the deadline is not missed."""
        if self.ticked and len(self._process.mailbox):
            return
        self.ticked = False  # if a callback has received it, it is lost, but not the next
        if self._timer is not None:
            if self._at <= deadline:
                return
            self._timer.cancel()
        self._at = deadline
        self._timer = self._loop.call_later(max(_SHORTEST, deadline - self._loop.time()), self._ring)

    def stop(self) -> None:
        """Send nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        deadline, now = self._machine.deadline, self._loop.time()
        if deadline is None:
            return
        if deadline > now:
            self.set(deadline)
            return
        self.ticked = True
        self._process.scheduler.send_local(self._process, Tick(now))


class Driver:
    """Runs a machine in the current process: gives its events to callbacks.

    Attributes:
        machine: the engine.
        callbacks: whose methods handle events now.
    """

    def __init__(self, callbacks: GenStatem) -> None:
        self.machine = StateMachine()
        self.callbacks = callbacks
        self._pushed: list[GenStatem] = []
        self._process = process()
        self._alarm = Alarm(self._process, self.machine)
        self._functions: dict[Any, Callable[..., Any]] = {}
        self._handle: Callable[[Any, Any], Any] = self._handle_event
        self.adopt(callbacks)

    def adopt(self, callbacks: GenStatem) -> None:
        """Go on with the methods of this one. Raises BadReturn for its callback mode."""
        mode = callbacks.callback_mode
        mode = mode() if callable(mode) else mode
        words = [word.name if isinstance(word, Atom) else word for word in (mode if type(mode) is list else [mode])]
        kinds = [word for word in words if word != STATE_ENTER]
        if kinds not in ([HANDLE_EVENT], [STATE_FUNCTIONS]):
            raise BadReturn("callback_mode", mode, "bad_return_from_callback_mode")
        self.callbacks = callbacks
        self.machine.state_enter = STATE_ENTER in words
        self._functions.clear()
        self._handle = self._handle_event if kinds == [HANDLE_EVENT] else self._state_function

    def _handle_event(self, kind: Any, content: Any) -> Any:
        machine = self.machine
        return self.callbacks.handle_event(kind, content, machine.state, machine.data)

    def _state_function(self, kind: Any, content: Any) -> Any:
        machine = self.machine
        name = machine.state.name if isinstance(machine.state, Atom) else machine.state
        if type(name) is not str:
            raise TypeError(f"{name!r} is the state, and no name of a method")
        function = self._functions.get(name) or self._find(name)
        if function is None:
            raise undefined(self.callbacks, name, kind, content, machine.data)
        return function(kind, content, machine.data)

    def _find(self, name: str) -> Callable[..., Any] | None:
        """The method of a state; None if there is none. What every state machine has is the method of no state."""
        if name.startswith("_") or hasattr(GenStatem, name):
            return None
        function: Callable[..., Any] | None = getattr(self.callbacks, name, None)
        if function is not None:
            self._functions[name] = function
        return function

    async def run(self, system: System, control: NextState) -> None:
        """Take events for ever. Raises Exit to end the process."""
        machine = self.machine
        try:
            data = None if control.data is SAME else control.data
            machine.begin(control.state, data, control.actions, self._process.get_loop().time())
            self._carry_out(system)
            while True:
                await self._handle_all(system)
                idle = system.hibernate_after
                message = await (self._message(idle) if machine.hibernate or idle is not None else receive())
                if system.debug is not None:
                    system.debug.tell((IN, message))
                if not self._take(message, system.parent):
                    await system.handle(message[1], message[2])
        except BaseException:
            system.last = last(machine.current)
            self._answer(system)
            raise
        finally:
            self._alarm.stop()

    async def _handle_all(self, system: System) -> None:
        """Have all events handled that wait."""
        machine, clock, alarm = self.machine, self._process.get_loop().time, self._alarm
        event = machine.event()
        while True:
            if machine.deadline is not None:
                alarm.set(machine.deadline)
            if event is None:
                return
            result = self._handle(event[0], event[1])
            if hasattr(type(result), "__await__"):
                result = await result
            machine.obey(result, clock())
            if machine.effects:
                self._carry_out(system)
            event = machine.event()
            if event is not None:
                await checkpoint()

    async def _message(self, hibernate_after: float | None) -> Any:
        if self.machine.hibernate:
            self._process.hibernate()
        elif hibernate_after is not None:
            try:
                return await receive(timeout=hibernate_after)
            except ReceiveTimeout:
                self._process.hibernate()
        return await receive()

    def _take(self, message: Any, parent: Pid | None) -> bool:
        """Make an event of a message; False if it is one for the system. Raises Exit."""
        machine = self.machine
        if type(message) is tuple and message:
            tag = message[0]
            if tag is CALL and len(message) == 3:
                machine.put(("call", message[1]), message[2])
                return True
            if tag is CAST and len(message) == 2:
                machine.put("cast", message[1])
                return True
            if tag is SYSTEM and len(message) == 3:
                return False
            if tag is EXIT and len(message) == 3 and message[1] == parent:
                raise Exit(message[2])
        elif type(message) is Tick:
            self._alarm.ticked = False
            machine.expire(message.now)
            return True
        machine.put("info", message)
        return True

    def _carry_out(self, system: System) -> None:
        """Do what the engine wants done. Raises Exit."""
        effects, self.machine.effects = self.machine.effects, []
        for effect in effects:
            kind = type(effect)
            if kind is Reply:
                answer(effect.caller, effect.value)
                if system.debug is not None:
                    system.debug.tell((OUT, effect.value, effect.caller))
            elif kind is Stop:
                raise Exit(effect.reason)
            elif kind is PopCallbackModule:
                self._pop(effect)
            else:
                before = self.callbacks
                self.adopt(self._other(effect))
                if kind is PushCallbackModule:
                    self._pushed.append(before)

    def _answer(self, system: System) -> None:
        """Send the answers that were asked for before what has failed."""
        replies = [effect for effect in self.machine.effects if type(effect) is Reply]
        self.machine.effects = list(replies)
        self._carry_out(system)

    def _pop(self, action: PopCallbackModule) -> None:
        if not self._pushed:
            raise BadReturn("a state callback", action, "bad_action_from_state_function")
        self.adopt(self._pushed.pop())

    def _other(self, action: ChangeCallbackModule | PushCallbackModule) -> GenStatem:
        """An instance of another class with the attributes of this one: the very same ones."""
        module = action.module
        if not (isinstance(module, type) and issubclass(module, GenStatem)):
            raise BadReturn("a state callback", action, "bad_action_from_state_function")
        other = module.__new__(module)
        other.__dict__ = self.callbacks.__dict__
        other._statem = self
        return other


def last(event: Event | None) -> Any:
    """The last event, as reports tell messages."""
    match event:
        case None:
            return NOTHING
        case (("call", caller), content):
            return (CALL, caller, content)
        case ("cast", content):
            return (CAST, content)
        case ("info", content):
            return content
        case _:
            return event


async def start(module: type[GenStatem], **options: Any) -> Pid | None:
    """`module.start(...)`."""
    return await module.start(**options)


async def start_link(module: type[GenStatem], **options: Any) -> Pid | None:
    """`module.start_link(...)`."""
    return await module.start_link(**options)


async def start_monitor(module: type[GenStatem], **options: Any) -> tuple[Pid | None, Reference]:
    """`module.start_monitor(...)`."""
    return await module.start_monitor(**options)


def call(
    target: Target,
    message: object,
    *,
    timeout: float | None = None,
    channel: str | None = None,
    partition_key: int | None = None,
) -> Awaitable[Any]:
    """Ask a state machine and await its answer, as `partisan.gen.call.call`; without a time-out for ever, as in OTP."""
    return ask(target, message, timeout=timeout, channel=channel, partition_key=partition_key, where=_WHERE)


def reply(*caller_and_value: Any) -> None:
    """`reply(caller, value)` answers a call; `reply(replies)` answers several: one Reply, or a list of them."""
    if len(caller_and_value) == 2:
        answer(*caller_and_value)
        return
    (replies,) = caller_and_value
    for each in (replies,) if isinstance(replies, Reply) else replies:
        answer(each.caller, each.value)


async def enter_loop(
    statem: GenStatem,
    state: Any,
    data: Any = None,
    *,
    actions: Any = (),
    name: Name | None = None,
    **options: Any,
) -> NoReturn:
    """Make the current process a state machine that is in a state already; it never returns.

    Args:
        statem: whose callbacks are called; not its `init`.
        actions: as of `init`.
        name: under which the process is registered.
        options: as those of `start`.
    Raises:
        Exit: the machine has ended; `process_was_not_started_by_proc_lib`; `process_not_registered` under the name.
    """
    await statem._enter(NextState(state, data, actions), name, options)
