"""How processes on the scheduler end, and what is left of them."""

from __future__ import annotations

import gc
import logging

import pytest

from partisan._core.process import Process, receive
from partisan._core.ties import link
from partisan._core.watch import Watch
from partisan.errors import Exit
from partisan.etf import Atom
from partisan.runtime.exits import report_exit
from tests.unit.hollow import Cancelled, Core, collect

BOOM = Atom("boom")


def test_a_process_that_returns_ends_normally(core: Core) -> None:
    async def nothing() -> None:
        pass

    process = core.spawn(nothing())
    assert core.exits == [(process, Atom("normal"), None)]
    assert process.done()
    assert process.exit_reason == Atom("normal")
    assert core.scheduler.processes == {}


@pytest.mark.parametrize("reason", [Atom("shutdown"), (Atom("error"), 1), None])
def test_an_exit_ends_a_process_with_its_reason(core: Core, reason: object) -> None:
    async def leave() -> None:
        raise Exit(reason)

    process = core.spawn(leave())
    assert process.exit_reason == reason
    assert isinstance(core.exits[0][2], Exit)


@pytest.mark.parametrize("timeout", ["5", b"5", [5], object()], ids=lambda timeout: type(timeout).__name__)
def test_a_timeout_that_is_no_number_is_refused_by_name(core: Core, timeout: object) -> None:
    async def wait() -> None:
        await receive(timeout=timeout)  # type: ignore[arg-type]

    process = core.spawn(wait())
    assert isinstance(process.exit_reason, TypeError)
    assert str(process.exit_reason).startswith(f"timeout {timeout!r} is no number of seconds")


def test_an_exception_is_the_reason_and_is_logged_once(core: Core, caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("by nothing")

    with caplog.at_level(logging.DEBUG):
        process = core.spawn(broken(), "the-broken-one")
        assert caplog.records == [], "the core itself logs nothing"
        (ended,) = core.exits
        report_exit(*ended)
    assert isinstance(process.exit_reason, ZeroDivisionError)
    (record,) = caplog.records
    assert "the-broken-one" in record.getMessage()
    assert record.getMessage().startswith(f"{core.name}: ")
    assert record.exc_info is not None
    assert record.exc_info[1] is process.exit_reason


def test_a_failing_process_disturbs_no_other(core: Core) -> None:
    found: list[object] = []

    async def broken() -> None:
        raise RuntimeError

    core.start(broken())
    process = core.start(collect(found))
    core.start(broken())
    core.tell(process, "x")
    assert found == ["x"]
    assert len(core.exits) == 2


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_of_the_program_ends_the_process_and_goes_on_upwards(core: Core, kind: type) -> None:
    async def stop() -> None:
        raise kind

    found: list[object] = []
    stopped = core.start(stop())
    other = core.start(collect(found))
    core.scheduler.send_local(other, 1)
    with pytest.raises(kind):
        core.run()
    assert stopped.exit_reason == Atom("killed")
    core.run()
    assert found == [1], "the others still run"


def test_interrupt_raises_wherever_the_process_waits(core: Core) -> None:
    found: list[object] = []

    async def guarded() -> None:
        try:
            await receive()
        except KeyError as error:
            found.append(error)
        await receive()

    process = core.spawn(guarded())
    error = KeyError("k")
    core.scheduler.interrupt(process, error)
    core.run()
    assert found == [error]
    core.scheduler.interrupt(process, error)
    core.run()
    assert process.done()
    core.scheduler.interrupt(process, error)  # nothing happens to the dead
    core.run()


def test_a_process_interrupted_before_its_first_step_never_runs(core: Core) -> None:
    ran: list[int] = []

    async def never() -> None:
        ran.append(1)

    process = core.start(never())
    process.cancel()
    core.run()
    assert process.done()
    assert process.exit_reason == Atom("cancelled")
    assert ran == []


def test_a_cancelled_process_may_clean_up_and_go_on(core: Core) -> None:
    found: list[object] = []

    async def stubborn() -> None:
        try:
            await receive()
        except Cancelled:
            found.append(process.cancelling())
            process.uncancel()
        found.append(await receive())

    process = core.spawn(stubborn())
    assert process.cancel("why")
    core.run()
    core.tell(process, "still here")
    assert found == [1, "still here"]
    assert process.cancelling() == 0
    assert process.cancel() is False, "it is done"


def test_uncancel_before_the_cancellation_arrives_takes_it_back(core: Core) -> None:
    found: list[object] = []

    async def undecided() -> None:
        process.cancel()
        process.uncancel()
        found.append(await receive())

    process = core.start(undecided())
    core.run()
    core.tell(process, "x")
    assert found == ["x"]


def test_messages_to_a_dead_process_are_not_kept(core: Core) -> None:
    async def nothing() -> None:
        pass

    process = core.spawn(nothing())
    core.send(process.pid, "x")
    assert core.undelivered == [(process.pid, "x")]
    assert len(process.mailbox) == 0


def test_a_dead_process_and_its_coroutine_are_collected(core: Core) -> None:
    process = core.spawn(collect([]))
    core.scheduler.interrupt(process, Cancelled())
    core.run()
    core.exits.clear()
    core.tasks.clear()
    del process
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is Process]


class Told(Watch):
    """A watch that keeps what it is told, and may raise."""

    def __init__(self, told: list[object], raising: BaseException | None = None) -> None:
        self.told = told
        self.raising = raising

    def fire(self, reason: object) -> int:
        self.told.append(reason)
        if self.raising is not None:
            raise self.raising
        return 0

    def drop(self) -> int:
        self.told.append("dropped")
        super().drop()
        if self.raising is not None:
            raise self.raising
        return 0


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt], ids=["an error", "Ctrl-C"])
def test_what_one_watch_raises_keeps_no_other_from_being_told(core: Core, kind: type[BaseException]) -> None:
    raising = kind("of the watch")
    told: list[object] = []
    ended, other = core.start(receive_one()), core.start(receive_one())
    for error in (None, raising, None):
        Told(told, error).watch(ended)
    held = Told(told)
    ended.tie("held", held)
    held.watch(other)
    link(ended, other)
    core.scheduler.send_local(ended, "end")
    with pytest.raises(kind) as caught:
        core.run()
    assert caught.value is raising
    core.run()
    assert told == [BOOM, BOOM, BOOM, "dropped"]
    assert [(process, reason) for process, reason, _ in core.exits] == [(ended, BOOM), (other, BOOM)]
    assert other.watches() == []


def test_all_errors_of_those_that_are_told_of_an_end_are_raised(core: Core) -> None:
    told: list[object] = []
    errors = [ValueError(str(number)) for number in range(3)]
    ended, other = core.start(receive_one()), core.start(receive_one())
    for error in errors[:2]:
        Told(told, error).watch(ended)
    held = Told(told, errors[2])
    held.watch(other)
    ended.tie("held", held)
    core.scheduler.send_local(ended, "end")
    with pytest.raises(ExceptionGroup, match="the end of <Process test") as caught:
        core.run()
    assert list(caught.value.exceptions) == errors
    assert told == [BOOM, BOOM, "dropped"]
    assert [process for process, _, _ in core.exits] == [ended]


async def receive_one() -> None:
    await receive()
    raise Exit(BOOM)
