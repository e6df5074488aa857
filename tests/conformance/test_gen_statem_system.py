"""The cases of `partisan_gen_statem_SUITE` about system messages, hibernation, missing callbacks and reports."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from statem_machines import MODES, Scripted, heard, ignore, in_process
from statem_phone import (
    ERROR,
    NORMAL,
    STEM,
    begin,
    both,
    down,
    ended,
    phone,
    reports,
    stopped,
    works,
)
from support import eventually

import partisan
from partisan import Atom, CallTimeout, Exit
from partisan.gen import proc_lib, statem, sys
from partisan.gen.statem import (
    Hibernate,
    KeepState,
    NextEvent,
    NextState,
    Postpone,
    Reply,
    Stop,
    Timeout,
)
from partisan.runtime.current import process

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
