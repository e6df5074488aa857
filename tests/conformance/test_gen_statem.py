"""The cases of `partisan_gen_statem_SUITE`, by name: each asserts what its case has for an outcome in OTP."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from statem_machines import MODES, Scripted, heard, ignore, in_process
from support import eventually

import partisan
from partisan import AlreadyStarted, Atom, CallTimeout, Exit, NoProc, StartFailed
from partisan.gen import proc_lib, statem, sys
from partisan.gen.statem import (
    CancelTimeout,
    EventTimeout,
    GenStatem,
    Hibernate,
    Ignore,
    KeepState,
    NextEvent,
    NextState,
    Postpone,
    RepeatState,
    Reply,
    StateTimeout,
    Stop,
    StopAndReply,
    Timeout,
    UpdateTimeout,
)
from partisan.runtime.current import process

both = pytest.mark.parametrize("mode", MODES)

DOWN, EXIT, NORMAL, SHUTDOWN, ERROR = map(Atom, ("DOWN", "EXIT", "normal", "shutdown", "error"))
STEM = "my_stm"


def phone(event_type: Any, content: Any, state: Any, data: Any) -> Any:
    """A telephone: "a" is idle, "b" waits for a confirmation, "c" is connected."""
    match event_type, content, state:
        case ("call", caller), "state?", _:
            return KeepState(actions=Reply(caller, (state, data)))
        case ("call", caller), ("delay", seconds), _:
            return KeepState(actions=[Reply(caller, "delayed")]) if seconds == 0 else later(caller, seconds)
        case ("call", caller), "connect", "a":
            return NextState("b", data + 1, Reply(caller, "accept"))
        case ("call", caller), "hold", "b":
            return KeepState(actions=[Postpone()])
        case ("call", caller), "hold", "c":
            return KeepState(actions=Reply(caller, "held"))
        case ("call", caller), "confirm", "b":
            return NextState("c", data, [Reply(caller, "confirmed")])
        case ("call", caller), "disconnect", "c":
            statem.reply(caller, "bye")
            return NextState("a", data)
        case ("call", caller), _, _:
            return KeepState(actions=Reply(caller, ("busy", state)))
        case "cast", ("connect", who), "a":
            partisan.send(who, "accept")
            return NextState("b", data + 1)
        case "cast", "confirm", "b":
            return NextState("c")
        case "cast", ("message", who, text), "c":
            partisan.send(who, ("echo", text))
            return None
        case "cast", "disconnect", "c":
            return NextState("a")
        case _:
            return None


async def later(caller: Any, seconds: float) -> KeepState:
    """Answer after a while."""
    await asyncio.sleep(seconds)
    return KeepState(actions=Reply(caller, "delayed"))


async def begin(mode: Any, how: Any = "start", behave: Any = phone, begin: Any = None, **options: Any) -> Any:
    """Start a machine."""
    return await getattr(Scripted, how)(args=(mode, behave, begin), **options)


async def works(target: Any) -> None:
    """The machine goes through its states, told by casts and by calls."""
    statem.cast(target, ("connect", partisan.self()))
    assert await partisan.receive("accept", timeout=10.0) == "accept"
    statem.cast(target, "confirm")
    statem.cast(target, ("message", partisan.self(), "hello"))
    assert await partisan.receive(("echo", ...), timeout=10.0) == ("echo", "hello")
    statem.cast(target, "disconnect")
    assert await statem.call(target, "connect") == "accept"
    assert await statem.call(target, "connect") == ("busy", "b")
    held = statem.send_request(target, "hold")
    assert await statem.call(target, "confirm") == "confirmed"
    assert await statem.receive_response(held, 10.0) == "held"
    assert await statem.call(target, "disconnect") == "bye"
    state, _ = await statem.call(target, "state?", timeout=10.0)
    assert state == "a"


async def stopped(target: Any) -> None:
    """The machine stops when told to, and is gone then."""
    await statem.stop(target)
    with pytest.raises(NoProc):
        await statem.call(target, "state?")


async def ended(pid: Any) -> Any:
    """The reason of the exit signal from a process that is linked."""
    return (await partisan.receive((EXIT, pid, ...), timeout=10.0))[2]


async def down(reference: Any) -> Any:
    """The reason of the end of a process that is monitored."""
    return (await partisan.receive((DOWN, reference, ..., ..., ...), timeout=10.0))[4]


def reports(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """The reports of ends that were logged."""
    return [record.report for record in caplog.records if hasattr(record, "report")]


# Starting and stopping.


@both
@in_process
async def test_gen_statem_start1(mode: str) -> None:
    pid = await begin(mode, "start_link")
    await works(pid)
    await stopped(pid)
    with pytest.raises(NoProc):
        await statem.stop(pid)


@both
@in_process
async def test_gen_statem_start2(mode: str) -> None:
    pid = await begin(mode)
    assert pid not in process().links
    await works(pid)
    await stopped(pid)


class Sleepy(GenStatem):
    """Its `init` does not return."""

    async def init(self) -> Any:
        await asyncio.get_running_loop().create_future()


@in_process
async def test_gen_statem_start3() -> None:
    with pytest.raises(StartFailed) as failed:
        await Sleepy.start(name=STEM, timeout=0.01)
    assert failed.value.reason == Atom("timeout")
    await eventually(lambda: partisan.whereis(STEM) is None)


@both
@in_process
async def test_gen_statem_start4(mode: str) -> None:
    partisan.trap_exit()
    assert await begin(mode, begin=Ignore()) is None
    assert await begin(mode, "start_link", begin=Ignore(), name=STEM) is None
    assert await ended(...) == NORMAL
    assert partisan.whereis(STEM) is None


@both
@in_process
async def test_gen_statem_start5(mode: str) -> None:
    partisan.trap_exit()
    for how in ("start", "start_link"):
        with pytest.raises(StartFailed) as failed:
            await begin(mode, how, begin=Stop(Atom("stopped")))
        assert failed.value.reason == Atom("stopped")
    assert await ended(...) == Atom("stopped")
    with pytest.raises(StartFailed) as failed:
        await begin(mode, begin="nothing")
    assert failed.value.reason[0] == (Atom("bad_return_from_init"), "nothing")
    with pytest.raises(StartFailed) as failed:
        await begin("no mode")
    assert failed.value.reason[0] == (Atom("bad_return_from_callback_mode"), "no mode")


@both
@in_process
async def test_gen_statem_start6(mode: str) -> None:
    pid = await begin(mode, "start_link")
    assert pid in process().links
    await works(pid)
    await stopped(pid)


@both
@in_process
async def test_gen_statem_start8(mode: str) -> None:
    pid = await begin(mode, name=STEM)
    with pytest.raises(AlreadyStarted) as taken:
        await begin(mode, name=STEM)
    assert taken.value.pid == pid
    await works(STEM)
    await works((STEM, partisan.node().name))
    await stopped(STEM)


@both
@in_process
async def test_gen_statem_start9(mode: str) -> None:
    pid = await begin(mode, "start_link", name=Atom(STEM))
    with pytest.raises(AlreadyStarted) as taken:
        await begin(mode, "start_link", name=Atom(STEM))
    assert taken.value.pid == pid
    await works(Atom(STEM))
    await stopped(Atom(STEM))


@both
@in_process
async def test_gen_statem_stop1(mode: str) -> None:
    pid = await begin(mode)
    await statem.stop(pid)
    assert not partisan.is_process_alive(pid)
    with pytest.raises(NoProc):
        await statem.stop(pid)


@both
@in_process
async def test_gen_statem_stop2(mode: str) -> None:
    partisan.trap_exit()
    pid = await begin(mode, "start_link")
    await statem.stop(pid, NORMAL)
    assert await ended(pid) == NORMAL


@both
@in_process
async def test_gen_statem_stop3(mode: str) -> None:
    partisan.trap_exit()
    pid = await begin(mode, "start_link")
    await statem.stop(pid, Atom("other_reason"), timeout=None)
    assert await ended(pid) == Atom("other_reason")


@both
@in_process
async def test_gen_statem_stop4(mode: str) -> None:
    await begin(mode, name=STEM)
    await statem.stop(STEM)
    assert partisan.whereis(STEM) is None
    with pytest.raises(NoProc):
        await statem.stop(STEM)


@both
@in_process
async def test_gen_statem_stop5(mode: str) -> None:
    await begin(mode, name=STEM)
    await statem.stop((STEM, partisan.node().name))
    assert partisan.whereis(STEM) is None
    with pytest.raises(NoProc):
        await statem.stop((STEM, partisan.node().name))


# Ends that nobody wished for.


@both
@in_process
async def test_gen_statem_abnormal1(mode: str) -> None:
    await begin(mode, name=STEM)
    assert await statem.call(STEM, ("delay", 0), timeout=10.0) == "delayed"
    with pytest.raises(CallTimeout) as late:
        await statem.call(STEM, ("delay", 0.02), timeout=0.001)
    assert late.value.call == (Atom("gen_statem"), Atom("call"), [STEM, ("delay", 0.02), 0.001])
    assert await statem.call(STEM, "state?") == ("a", 0)
    assert list(process().mailbox) == []
    await statem.stop(STEM)


@both
@in_process
async def test_gen_statem_abnormal1clean(mode: str) -> None:
    await begin(mode, name=STEM)
    with pytest.raises(CallTimeout):
        await statem.call(STEM, ("delay", 0.02), timeout=0.001)
    assert await statem.call(STEM, ("delay", 0.001), timeout=10.0) == "delayed"
    assert list(process().mailbox) == []
    await statem.stop(STEM)


@both
@in_process
async def test_gen_statem_abnormal1dirty(mode: str) -> None:
    await begin(mode, name=STEM)
    request = statem.send_request(STEM, ("delay", 0.02))
    with pytest.raises(CallTimeout):
        await statem.wait_response(request, 0.001)
    assert await statem.receive_response(request, 10.0) == "delayed"
    await statem.stop(STEM)


def faulty(event_type: Any, content: Any, state: Any, data: Any) -> Any:
    """Returns what a call asks for."""
    return content


@pytest.mark.parametrize("returned", ["badreturn", ("next_state", "b"), {}])
@both
@in_process
async def test_gen_statem_abnormal2(mode: str, returned: object) -> None:
    partisan.trap_exit()
    pid = await begin(mode, "start_link", faulty)
    with pytest.raises(Exit) as failed:
        await statem.call(pid, returned)
    assert failed.value.reason[0] == (Atom("bad_return_from_state_function"), returned)
    assert (await ended(pid))[0] == (Atom("bad_return_from_state_function"), returned)


@both
@in_process
async def test_gen_statem_abnormal3(mode: str) -> None:
    partisan.trap_exit()

    def behave(event_type: Any, *_: Any) -> Any:
        return KeepState(actions=[Reply(event_type[1], "before"), "badaction"])

    pid = await begin(mode, "start_link", behave)
    assert await statem.call(pid, 1) == "before"
    assert (await ended(pid))[0] == (Atom("bad_action_from_state_function"), "badaction")


@pytest.mark.parametrize("action", [StateTimeout("soon"), EventTimeout(-1), Timeout([], 1), StateTimeout(1j)])
@both
@in_process
async def test_gen_statem_abnormal4(mode: str, action: object) -> None:
    partisan.trap_exit()
    pid = await begin(mode, "start_link", lambda *_: KeepState(actions=action))
    with pytest.raises(Exit) as failed:
        await statem.call(pid, 1)
    assert failed.value.reason[0] == (Atom("bad_action_from_state_function"), action)
    assert (await ended(pid))[0] == (Atom("bad_action_from_state_function"), action)


@both
@in_process
async def test_gen_statem_shutdown(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    partisan.trap_exit()
    reason = (SHUTDOWN, Atom("stop_reason"))
    pid = await begin(mode, "start_link", lambda *_: Stop(reason, "data"))
    with pytest.raises(Exit) as failed:
        await statem.call(pid, "stop")
    assert failed.value.reason == reason
    assert await ended(pid) == reason
    assert caplog.records == []


@both
@in_process
async def test_gen_statem_stop_and_reply(mode: str) -> None:
    partisan.trap_exit()

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        match event_type, content:
            case ("call", caller), "one":
                return KeepState([caller])
            case ("call", caller), "two":
                return StopAndReply(Atom("enough"), [Reply(data[0], "first"), Reply(caller, "second")])

    pid = await begin(mode, "start_link", behave)
    one, two = statem.send_request(pid, "one"), statem.send_request(pid, "two")
    assert await statem.receive_response(one, 10.0) == "first"
    assert await statem.receive_response(two, 10.0) == "second"
    assert await ended(pid) == Atom("enough")


# Events.


@both
@in_process
async def test_gen_statem_next_events(mode: str) -> None:
    me = partisan.self()

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        partisan.send(me, (state, event_type, content))
        match content:
            case "go":
                inserted = [NextEvent("internal", 1), NextEvent("info", 2), NextEvent("cast", 3)]
                return NextState("b", data, [NextEvent("internal", 0), *inserted])
            case 2:
                return NextState("c", data, NextEvent("internal", "inner"))

    pid = await begin(mode, behave=behave)
    statem.cast(pid, "go")
    statem.cast(pid, "last")
    assert await heard(7) == [
        ("a", "cast", "go"),
        ("b", "internal", 0),
        ("b", "internal", 1),
        ("b", "info", 2),
        ("c", "internal", "inner"),
        ("c", "cast", 3),
        ("c", "cast", "last"),
    ]
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_state_enter(mode: str) -> None:
    me = partisan.self()

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        partisan.send(me, (state, event_type, content, data))
        match event_type, content, state:
            case "enter", _, "b":
                return KeepState(data + 1, [StateTimeout(0, "entered")])
            case "enter", _, "c" if data == 7:
                return RepeatState(data + 1)
            case "enter", _, _:
                return NextState(state, data + 1)
            case "cast", "repeat", _:
                return RepeatState(data + 1)
            case "cast", to, _:
                return NextState(to, data + 1)

    pid = await begin([mode, "state_enter"], behave=behave, begin=NextState("a", 1, NextEvent("internal", "first")))
    assert await heard(2) == [("a", "enter", "a", 1), ("a", "internal", "first", 2)]
    for to in ("a", "b"):
        statem.cast(pid, to)
    assert await heard(4) == [
        ("a", "cast", "a", 2),
        ("a", "cast", "b", 3),
        ("b", "enter", "a", 4),
        ("b", "state_timeout", "entered", 5),
    ]
    statem.cast(pid, "repeat")
    assert await heard(3) == [
        ("b", "cast", "repeat", 5),
        ("b", "enter", "b", 6),
        ("b", "state_timeout", "entered", 7),
    ]
    await sys.replace_state(pid, lambda _: ("b", 6))
    statem.cast(pid, "c")
    assert await heard(3) == [("b", "cast", "c", 6), ("c", "enter", "b", 7), ("c", "enter", "c", 8)]
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_event_order(mode: str) -> None:
    me = partisan.self()

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        partisan.send(me, (state, event_type, content))
        match event_type, content, state:
            case "cast", "late", "a":
                return KeepState(actions=Postpone())
            case "cast", "go", _:
                actions = [StateTimeout(0, "s"), EventTimeout(0, "e"), Timeout("t", 0, "t")]
                return NextState("b", data, [*actions, NextEvent("internal", "i")])

    pid = await begin(mode, behave=behave)
    await sys.suspend(pid)
    for content in ("late", "go"):
        statem.cast(pid, content)
    await sys.resume(pid)
    assert await heard(6) == [
        ("a", "cast", "late"),
        ("a", "cast", "go"),
        ("b", "internal", "i"),
        ("b", "cast", "late"),
        ("b", "state_timeout", "s"),
        ("b", ("timeout", "t"), "t"),
    ]
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_state_timeout(mode: str) -> None:
    me = partisan.self()

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        partisan.send(me, (state, event_type, content))
        match event_type, content, state:
            case "cast", "go", "a":
                return NextState("b", data, StateTimeout(0.001, 1))
            case "state_timeout", 1, "b":
                return KeepState(actions=[StateTimeout(60.0, "never"), NextEvent("internal", 2)])
            case "internal", 2, "b":
                return NextState("c", data, [StateTimeout(0, "zero"), StateTimeout(0, 3)])
            case "state_timeout", 3, "c":
                return NextState("d", data, [StateTimeout(0.001, "stopped"), StateTimeout(None), Timeout("t", 0.002)])

    pid = await begin(mode, behave=behave)
    statem.cast(pid, "go")
    assert await heard(5) == [
        ("a", "cast", "go"),
        ("b", "state_timeout", 1),
        ("b", "internal", 2),
        ("c", "state_timeout", 3),
        ("d", ("timeout", "t"), None),
    ]
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_timeout_cancel_and_update(mode: str) -> None:
    me = partisan.self()

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        if event_type != "cast":
            partisan.send(me, (event_type, content))
            return None
        return KeepState(actions=content)

    pid = await begin(mode, behave=behave)
    timers = ("state_timeout", ("timeout", "t"), "timeout")
    starts = [StateTimeout(0.001, 1), Timeout("t", 0.002, 1), EventTimeout(0.003, 1)]
    statem.cast(pid, [*starts, *map(CancelTimeout, timers), Timeout("u", 0.004, "end")])
    assert await heard(1) == [(("timeout", "u"), "end")]
    for timer, start in zip(timers, starts, strict=True):
        statem.cast(pid, [start, UpdateTimeout(timer, 2)])
        assert await heard(1) == [(timer, 2)]
        statem.cast(pid, [UpdateTimeout(timer, 3)])
        assert await heard(1) == [(timer, 3)]
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_event_types(mode: str) -> None:
    me = partisan.self()
    types = [
        ("call", (me, Atom("tag"))),
        "cast",
        "info",
        "internal",
        "timeout",
        "state_timeout",
        ("timeout", "name"),
    ]

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        partisan.send(me, (event_type, content))
        if content == "go":
            return KeepState(actions=[NextEvent(each, number) for number, each in enumerate(types)])
        return None

    pid = await begin(mode, behave=behave)
    partisan.send(pid, "go")
    assert await heard(8) == [("info", "go"), *((each, number) for number, each in enumerate(types))]
    await statem.stop(pid)
    for wrong in ("enter", "other", ("call",), ("timeout", 1, 2), Atom("cast")):
        pid = await begin(mode, behave=lambda *_, wrong=wrong: KeepState(actions=NextEvent(wrong, 1)))
        with pytest.raises(Exit) as failed:
            await statem.call(pid, 1)
        assert failed.value.reason[0] == (Atom("bad_action_from_state_function"), NextEvent(wrong, 1))


@both
@in_process
async def test_gen_statem_generic_timers(mode: str) -> None:
    me, clock = partisan.self(), asyncio.get_running_loop().time

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        if event_type == "cast":
            now = clock()
            timers = [Timeout("c", now + 0.006, 3, absolute=True), Timeout("a", 0.002, 1), Timeout(("b", 2), 0.004, 2)]
            return NextState("b", data, [*timers, Timeout("a", 60.0), Timeout("a", 0.002, 1)])
        partisan.send(me, (event_type, content))
        return NextState("c" if state == "b" else "b")

    pid = await begin(mode, behave=behave)
    statem.cast(pid, "go")
    assert await heard(3) == [(("timeout", "a"), 1), (("timeout", ("b", 2)), 2), (("timeout", "c"), 3)]
    await statem.stop(pid)


# System messages.


class Versioned(Scripted):
    """Knows how to change its code; which callback has answered shows."""

    def handle_event(self, event_type: Any, content: Any, state: Any, data: Any) -> Any:
        return KeepState(actions=Reply(event_type[1], ("handle_event_function", state, data)))

    def b(self, event_type: Any, content: Any, data: Any) -> Any:
        return KeepState(actions=Reply(event_type[1], ("state_functions", "b", data)))

    def code_change(self, old_version: Any, state: Any, data: Any, extra: Any) -> Any:
        if extra == "refuse":
            return Atom("refused")
        self.mode = extra
        return "b", (old_version, state, data)


@both
@in_process
async def test_gen_statem_code_change(mode: str) -> None:
    pid = await Versioned.start(args=(mode, phone))
    (other,) = set(MODES) - {mode}
    await sys.suspend(pid)
    with pytest.raises(Exit) as failed:
        await sys.change_code(pid, Versioned, "old", "refuse")
    assert failed.value.reason == Atom("refused")
    assert await sys.get_state(pid) == ("a", 0)
    await sys.change_code(pid, Versioned, "old", other)
    await sys.resume(pid)
    assert await sys.get_state(pid) == ("b", ("old", "a", 0))
    assert await statem.call(pid, "state?") == (other, "b", ("old", "a", 0))
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_sys1(mode: str) -> None:
    pid = await begin(mode)
    _, of, _, (_, running, _, _, _) = await sys.get_status(pid)
    assert (of, running) == (pid, Atom("running"))
    await sys.suspend(pid)
    _, _, _, (_, running, _, _, _) = await sys.get_status(pid)
    assert running == Atom("suspended")
    with pytest.raises(CallTimeout):
        await statem.call(pid, "state?", timeout=0.01)
    await sys.resume(pid)
    assert await statem.call(pid, "state?") == ("a", 0)
    await sys.statistics(pid, True)
    await statem.call(pid, "state?")
    counted = await sys.statistics(pid, "get")
    assert counted is not None
    assert (counted["messages_in"], counted["messages_out"]) == (2, 1)  # the last is the question for them
    await sys.log(pid, True)
    await statem.call(pid, "state?")
    assert Atom("out") in [event[0] for event in await sys.get_log(pid)]
    await statem.stop(pid)


class Discreet(Scripted):
    """Shows nothing of its data."""

    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        return {**status, "data": "hidden"}


class Broken(Scripted):
    """Cannot show itself, nor end."""

    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        raise KeyError(status)


@both
@in_process
async def test_gen_statem_call_format_status(mode: str) -> None:
    for kind, shown in ((Discreet, ("a", "hidden")), (Scripted, ("a", "secret"))):
        pid = await kind.start(args=(mode, ignore, NextState("a", "secret")))
        assert repr(shown) in repr(await sys.get_status(pid))
        await statem.stop(pid)
    pid = await Broken.start(args=(mode, ignore, NextState("a", "secret")))
    assert "secret" not in repr((await sys.get_status(pid))[3][-1])
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_error_format_status(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    for kind in (Discreet, Broken):
        caplog.clear()
        pid = await kind.start(args=(mode, lambda *_: Stop(Atom("crashed")), NextState("a", "secret")))
        with pytest.raises(Exit):
            await statem.call(pid, "go")
        (report,) = reports(caplog)
        assert report.reason == Atom("crashed")
        assert "secret" not in statem.format_log(report)
    assert Atom("crashed") in (report.reason,)


class Unending(Discreet):
    """Fails to end."""

    def terminate(self, reason: object, state: Any, data: Any) -> None:
        raise Exit(Atom("crash_terminate"))


@both
@in_process
async def test_gen_statem_terminate_crash_format(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    partisan.trap_exit()
    pid = await Unending.start_link(args=(mode, ignore, NextState("a", "secret")))
    with pytest.raises(Exit) as failed:
        await statem.stop(pid)
    assert failed.value.reason == Atom("crash_terminate")
    assert await ended(pid) == Atom("crash_terminate")
    (report,) = reports(caplog)
    assert report.reason == Atom("crash_terminate")
    assert "hidden" in statem.format_log(report)
    assert "secret" not in statem.format_log(report)


@both
@in_process
async def test_gen_statem_get_state(mode: str) -> None:
    pid = await begin(mode, name=STEM, begin=NextState("b", {"some": "data"}))
    assert await sys.get_state(pid) == ("b", {"some": "data"})
    assert await sys.get_state(STEM) == ("b", {"some": "data"})
    await sys.suspend(pid)
    assert await sys.get_state(pid) == ("b", {"some": "data"})
    await sys.resume(pid)
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_replace_state(mode: str) -> None:
    pid = await begin(mode)
    assert await sys.replace_state(pid, lambda found: ("b", (found, 1))) == ("b", (("a", 0), 1))
    assert await statem.call(pid, "state?") == ("b", (("a", 0), 1))
    for wrong in (lambda _: 1 / 0, lambda _: "no pair", lambda _: ("a", "b", "c")):
        with pytest.raises(Exit) as failed:
            await sys.replace_state(pid, wrong)
        assert failed.value.reason[0] == Atom("callback_failed")
        assert await sys.get_state(pid) == ("b", (("a", 0), 1))
    await sys.suspend(pid)
    await sys.replace_state(pid, lambda _: ("c", 3))
    await sys.resume(pid)
    assert await statem.call(pid, "state?") == ("c", 3)
    await statem.stop(pid)


# Hibernation.


def hibernates(pid: Any) -> bool:
    """Whether a process hibernates."""
    found = partisan.node().scheduler.find(pid)
    return found is not None and found.hibernating


@both
@in_process
async def test_gen_statem_hibernate(mode: str) -> None:
    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        match event_type, content:
            case ("call", caller), "sleep":
                return KeepState(data + 1, [Reply(caller, "good night"), Hibernate()])
            case ("call", caller), "awake":
                return KeepState(actions=[Reply(caller, data)])
            case "cast", "again":
                return KeepState(data, [Hibernate(), NextEvent("internal", 1)])

    pid = await begin(mode, behave=behave, begin=NextState("a", 1, [Hibernate()]))
    await eventually(lambda: hibernates(pid))
    assert await statem.call(pid, "awake") == 1
    await eventually(lambda: process().scheduler.find(pid).state == 2)  # receiving
    assert not hibernates(pid)
    assert await statem.call(pid, "sleep") == "good night"
    await eventually(lambda: hibernates(pid))
    assert await sys.get_state(pid) == ("a", 2)
    await eventually(lambda: hibernates(pid))  # a system message does not end it
    statem.cast(pid, "again")
    assert await sys.get_state(pid) == ("a", 2)
    assert not hibernates(pid)  # an event was waiting
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_auto_hibernate(mode: str) -> None:
    pid = await begin(mode, hibernate_after=0.005)
    await eventually(lambda: hibernates(pid))
    assert await statem.call(pid, "state?") == ("a", 0)
    await eventually(lambda: hibernates(pid))
    await works(pid)
    await eventually(lambda: hibernates(pid))
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_enter_loop(mode: str) -> None:
    async def enter(name: Any, claimed: Any, *, options: Any = ()) -> None:
        if name is not None:
            partisan.register(name, partisan.self())
        proc_lib.init_ack()
        machine = Scripted()
        machine.mode, machine.behave = mode, phone
        await statem.enter_loop(machine, "b", 5, actions=[NextEvent("cast", "confirm")], name=claimed)

    pid = await proc_lib.start_link(enter, None, None)
    assert await statem.call(pid, "state?") == ("c", 5)
    await stopped(pid)
    pid = await proc_lib.start_link(enter, STEM, STEM)
    assert await statem.call(STEM, "state?") == ("c", 5)
    await stopped(STEM)
    partisan.trap_exit()
    pid = await proc_lib.start_link(enter, None, STEM)
    assert await ended(pid) == Atom("process_not_registered")
    pid = partisan.spawn_link(enter, None, None)
    assert await ended(pid) == Atom("process_was_not_started_by_proc_lib")


# Callbacks that are not there.


@both
@in_process
async def test_gen_statem_undef_code_change(mode: str) -> None:
    pid = await begin(mode)
    await sys.suspend(pid)
    with pytest.raises(Exit) as failed:
        await sys.change_code(pid, Scripted, "old", [])
    undef, [(_, callback, arguments, _)] = failed.value.reason
    assert (undef, callback, arguments) == (Atom("undef"), Atom("code_change"), ["old", "a", 0, []])
    await sys.resume(pid)
    await works(pid)
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_undef_terminate1(mode: str) -> None:
    pid = await begin(mode)
    reference = partisan.monitor(pid)
    await statem.stop(pid)
    assert await down(reference) == NORMAL


@both
@in_process
async def test_gen_statem_undef_terminate2(mode: str) -> None:
    pid = await begin(mode)
    reference = partisan.monitor(pid)
    await statem.stop(pid, (ERROR, Atom("test")))
    assert await down(reference) == (ERROR, Atom("test"))


class UndefInTerminate(Scripted):
    """Its `terminate` calls what is not there."""

    def terminate(self, reason: object, state: Any, data: Any) -> None:
        self.nobody_has_written_this()


@both
@in_process
async def test_gen_statem_undef_in_terminate(mode: str) -> None:
    pid = await UndefInTerminate.start(args=(mode, ignore))
    reference = partisan.monitor(pid)
    with pytest.raises(Exit) as failed:
        await statem.stop(pid)
    for reason in (failed.value.reason, await down(reference)):
        (kind, text), stack = reason
        assert kind == Atom("AttributeError")
        assert "nobody_has_written_this" in text
        assert stack


# Reports.


async def report_of(mode: Any, caplog: pytest.LogCaptureFixture) -> Any:
    """The report of a machine that has failed with an event postponed and a timer running."""

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        if content == "postpone":
            return KeepState(actions=[Postpone(), Timeout("t", 60.0, "later")])
        raise ValueError(content)

    pid = await begin(mode, behave=behave, begin=NextState("a", ["some", ["deep", ["data"]]]), name=STEM)
    statem.cast(pid, "postpone")
    with pytest.raises(Exit) as failed:
        await statem.call(pid, "fail")
    (kind, text), _ = failed.value.reason
    assert (kind, text) == (Atom("ValueError"), "fail")
    (report,) = reports(caplog)
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1
    return report


@both
@in_process
async def test_gen_statem_format_log_1(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    report = await report_of(mode, caplog)
    text = statem.format_log(report)
    assert f"State machine {STEM} terminating" in text
    for part in (
        "'fail'",
        "ValueError",
        "'deep', ['data']",
        "Postponed",
        "'postpone'",
        "'later'",
        str(partisan.self()),
    ):
        assert part in text
    shallow = statem.format_log(report, depth=1)
    assert len(shallow) < len(text)
    assert "deep" not in shallow


@both
@in_process
async def test_gen_statem_format_log_2(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    report = await report_of(mode, caplog)
    line = statem.format_log(report, single_line=True)
    assert "\n" not in line
    assert f"State machine {STEM} terminating" in line
    assert "'deep', ['data']" in line
    shallow = statem.format_log(report, single_line=True, depth=1)
    assert "deep" not in shallow


@both
@in_process
async def test_gen_statem_reply_by_alias_with_payload(mode: str) -> None:
    pid = await begin(mode)
    tag = [partisan.make_ref(), "payload"]
    partisan.send(pid, (Atom("$gen_call"), (partisan.self(), tag), "state?"))
    assert await heard(1) == [(tag, ("a", 0))]
    await statem.stop(pid)


# Names that a registry of the program's own keeps.


class Registry:
    """Keeps names of processes."""

    def __init__(self) -> None:
        self.names: dict[Any, Any] = {}

    def register_name(self, name: Any, pid: Any) -> bool:
        return self.names.setdefault(name, pid) == pid

    def unregister_name(self, name: Any) -> None:
        self.names.pop(name, None)

    def whereis_name(self, name: Any) -> Any:
        pid = self.names.get(name)
        return pid if pid is not None and partisan.is_process_alive(pid) else None

    def send(self, name: Any, message: Any) -> None:
        partisan.send(self.names[name], message)


async def serves_by_registry(mode: str, how: str) -> None:
    """A machine that a registry has is found there, and a second one is refused."""
    registry = Registry()
    name = ("via", registry, STEM)
    pid = await begin(mode, how, name=name)
    assert registry.names == {STEM: pid}
    with pytest.raises(AlreadyStarted) as taken:
        await begin(mode, how, name=name)
    assert taken.value.pid == pid
    await works(name)
    await stopped(name)


@both
@in_process
async def test_gen_statem_start11(mode: str) -> None:
    partisan.trap_exit()
    await serves_by_registry(mode, "start_link")


@both
@in_process
async def test_gen_statem_start12(mode: str) -> None:
    await serves_by_registry(mode, "start")


@both
@in_process
async def test_gen_statem_stop7(mode: str) -> None:
    name = ("via", Registry(), STEM)
    pid = await begin(mode, name=name)
    await statem.stop(name)
    assert not partisan.is_process_alive(pid)
    with pytest.raises(NoProc):
        await statem.stop(name)
