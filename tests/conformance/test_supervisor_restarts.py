"""The cases of the reference's supervisor suite: restart types, strategies, and what goes wrong while restarting."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from typing import Any

import pytest
from supervising import (
    ABNORMAL,
    KILL,
    REASONS,
    SHUTDOWN,
    Recorder,
    Scripted,
    Worker,
    down,
    end,
    ended,
    in_process,
    lives,
    names,
    pid_of,
    pids,
    reports,
    start,
    stop,
    worker,
)

import partisan
from partisan import Atom, Node
from partisan.errors import AlreadyPresent, ChildRestarting, StartFailed
from partisan.gen import supervisor as sup
from partisan.gen.server import cast
from partisan.gen.supervisor import ChildSpec, Counts, Supervisor

SIMPLE = {"strategy": "simple_one_for_one"}
ERROR = (Atom("error"), Atom("some_error"))


async def after_end(restart: str, reason: str, again: bool) -> None:
    """A child ends for a reason: it starts again, or is down, or gone if it was temporary."""
    supervisor = await start(worker("child", restart))
    before = await pid_of(supervisor, "child")
    await end(before, REASONS[reason])
    if restart == "temporary":
        assert await sup.which_children(supervisor) == []
        assert await sup.count_children(supervisor) == Counts(0, 0, 0, 0)
        return
    after = await pid_of(supervisor, "child")
    assert after != before
    assert (after is not None) == again
    assert await sup.count_children(supervisor) == Counts(1, int(again), 0, 1)


@in_process
async def test_supervisor_permanent_normal() -> None:
    await after_end("permanent", "normal", True)


@in_process
async def test_supervisor_permanent_shutdown() -> None:
    await after_end("permanent", "shutdown", True)
    await after_end("permanent", "shutdown_term", True)


@in_process
async def test_supervisor_permanent_abnormal() -> None:
    await after_end("permanent", "abnormal", True)


@in_process
async def test_supervisor_transient_normal() -> None:
    await after_end("transient", "normal", False)


@in_process
async def test_supervisor_transient_shutdown() -> None:
    await after_end("transient", "shutdown", False)
    await after_end("transient", "shutdown_term", False)


@in_process
async def test_supervisor_transient_abnormal() -> None:
    await after_end("transient", "abnormal", True)


@in_process
async def test_supervisor_temporary_normal() -> None:
    await after_end("temporary", "normal", False)


@in_process
async def test_supervisor_temporary_shutdown() -> None:
    await after_end("temporary", "shutdown", False)
    await after_end("temporary", "shutdown_term", False)


@in_process
async def test_supervisor_temporary_abnormal() -> None:
    await after_end("temporary", "abnormal", False)


async def test_supervisor_faulty_application_shutdown() -> None:
    """An application that does not start leaves nothing of itself behind, and the node as it was."""

    class Faulty(Supervisor):
        def init(self) -> Any:
            return {}, [worker("starts"), ChildSpec("fails", Scripted(ERROR))]

    async with Node("a@127.0.0.1:0") as node:
        with pytest.raises(StartFailed) as failed:
            await node.start_application(Faulty)
        assert failed.value.reason == (SHUTDOWN, (Atom("failed_to_start_child"), "fails", Atom("some_error")))
        async with asyncio.timeout(20):
            while node.scheduler.processes:
                await asyncio.sleep(0)
        await node.start_application(Supervisor)


async def affected(strategy: str, failing: int, again: set[int]) -> None:
    """One of three children ends: these start again, and nobody else is touched."""
    supervisor = await start(*(worker(each) for each in range(3)), strategy=strategy)
    before = await pids(supervisor)
    await end(before[failing], KILL)
    after = await pids(supervisor)
    assert await names(supervisor) == [0, 1, 2]
    assert {each for each in range(3) if before[each] != after[each]} == again
    assert all(partisan.is_process_alive(pid) for pid in after)
    assert await sup.count_children(supervisor) == Counts(3, 3, 0, 3)


async def escalates(strategy: str) -> None:
    """One end too many ends the others, then the supervisor."""
    supervisor = await start(worker("one"), worker("two"), strategy=strategy, intensity=0)
    one, two = await pids(supervisor)
    monitor = partisan.monitor(two)
    await end(one)
    assert await down(monitor) == SHUTDOWN
    assert await ended(supervisor) == SHUTDOWN


@in_process
async def test_supervisor_one_for_one() -> None:
    await affected("one_for_one", 1, {1})


@in_process
async def test_supervisor_one_for_one_escalation() -> None:
    await escalates("one_for_one")


@in_process
async def test_supervisor_one_for_all() -> None:
    for failing in range(3):
        await affected("one_for_all", failing, {0, 1, 2})


@in_process
async def test_supervisor_one_for_all_escalation() -> None:
    await escalates("one_for_all")


@in_process
async def test_supervisor_rest_for_one() -> None:
    await affected("rest_for_one", 0, {0, 1, 2})
    await affected("rest_for_one", 1, {1, 2})
    await affected("rest_for_one", 2, {2})


@in_process
async def test_supervisor_rest_for_one_escalation() -> None:
    await escalates("rest_for_one")


class Tells(Recorder):
    """A recorder that can be told not to start."""

    def init(self, events: list[Any], name: Any, failures: list[Any]) -> None:  # type: ignore[override]
        if name in failures:
            failures.remove(name)
            events.append(("fail", name))
            raise partisan.Exit(ABNORMAL)
        super().init(events, name)


async def other_child_fails(strategy: str, restarted: list[str]) -> None:
    """When one ends, another fails to start twice: the attempt begins with it, and is made until it works."""
    events: list[Any] = []
    failures: list[Any] = []
    children = [ChildSpec(name, Tells, (events, name, failures)) for name in ("one", "two", "three")]
    supervisor = await start(*children, strategy=strategy, intensity=3, period=600)
    events.clear()
    failures += ["two", "two"]
    await end(await pid_of(supervisor, "one"), KILL)
    while (await sup.count_children(supervisor)).active < 3:
        await partisan.checkpoint()
    first = [("end", "three"), ("end", "two"), ("start", "one"), ("fail", "two")]
    again = [("end", "one"), ("start", "one")] if strategy == "one_for_all" else []
    assert events == [*first, *again, ("fail", "two"), *again, ("start", "two"), ("start", "three")]
    assert await lives(supervisor)
    await end(await pid_of(supervisor, "one"), KILL)  # three attempts were made already
    assert await ended(supervisor) == SHUTDOWN


@in_process
async def test_supervisor_one_for_all_other_child_fails_restart() -> None:
    await other_child_fails("one_for_all", ["one"])


@in_process
async def test_supervisor_rest_for_one_other_child_fails_restart() -> None:
    await other_child_fails("rest_for_one", [])


@in_process
async def test_supervisor_simple_one_for_one() -> None:
    supervisor = await start(worker("child"), **SIMPLE)
    one, two = [await sup.start_child(supervisor, []) for _ in range(2)]
    await end(one)
    after = await pids(supervisor)
    assert two in after
    assert one not in after
    assert len(after) == 2


@in_process
async def test_supervisor_simple_one_for_one_shutdown() -> None:
    supervisor = await start(worker("child", shutdown=5.0), **SIMPLE)
    monitors = [partisan.monitor(await sup.start_child(supervisor, [])) for _ in range(3)]
    assert await stop(supervisor) == SHUTDOWN
    assert [await down(monitor) for monitor in monitors] == [SHUTDOWN] * 3


@in_process
async def test_supervisor_simple_one_for_one_extra() -> None:
    async def begin(*args: Any) -> Any:
        return await Worker.start_link(args=args), Atom("extra")

    supervisor = await start(ChildSpec("child", begin, (1,)), **SIMPLE)
    one, extra = await sup.start_child(supervisor, [2])
    assert extra == Atom("extra")
    two, _ = await sup.start_child(supervisor, [3])
    await end(one)
    after = await pids(supervisor)
    assert two in after
    assert len(after) == 2
    started_again = next(pid for pid in after if pid != two)
    assert await partisan.gen.server.call(started_again, "args") == (1, 2)


@in_process
async def test_supervisor_simple_one_for_one_escalation() -> None:
    supervisor = await start(worker("child"), **SIMPLE, intensity=0)
    one, two = [await sup.start_child(supervisor, []) for _ in range(2)]
    monitor = partisan.monitor(two)
    await end(one)
    assert await down(monitor) == SHUTDOWN
    assert await ended(supervisor) == SHUTDOWN


@in_process
async def test_supervisor_simple_one_for_one_corruption() -> None:
    """A start that gives nonsense leaves no trace."""
    supervisor = await start(ChildSpec("child", Scripted("up", "invalid_return", "up")), **SIMPLE)
    one = await sup.start_child(supervisor, [])
    with pytest.raises(StartFailed) as failed:
        await sup.start_child(supervisor, [])
    assert failed.value.reason == "invalid_return"
    two = await sup.start_child(supervisor, [])
    assert await pids(supervisor) == [one, two]
    await sup.terminate_child(supervisor, one)
    assert await pids(supervisor) == [two]
    assert await stop(supervisor) == SHUTDOWN


@in_process
async def test_supervisor_temporary_bystander() -> None:
    """A temporary child that ends because of another is gone for good."""
    for strategy in ("one_for_all", "rest_for_one"):
        supervisor = await start(worker("one"), worker("two", "temporary"), strategy=strategy)
        bystander = await pid_of(supervisor, "two")
        monitor = partisan.monitor(bystander)
        await end(await pid_of(supervisor, "one"))
        assert await down(monitor) == SHUTDOWN
        assert await names(supervisor) == ["one"]
        with pytest.raises(partisan.errors.ChildNotFound):
            await sup.restart_child(supervisor, "two")


class Big:
    """Something that is seen to go."""


@in_process
async def test_supervisor_do_not_save_start_parameters_for_temporary_children() -> None:
    async def begin(_: Big) -> Any:
        return await Worker.start_link()

    for flags in ({}, SIMPLE):
        for restart in ("temporary", "transient", "permanent"):
            big = Big()
            seen = weakref.ref(big)
            if flags:
                supervisor = await start(ChildSpec("child", begin, restart=restart), **flags)
                await sup.start_child(supervisor, [big])
            else:
                supervisor = await start()
                await sup.start_child(supervisor, ChildSpec("child", begin, (big,), restart=restart))
            del big
            await lives(supervisor)  # it has let go of the request
            gc.collect()
            assert (seen() is None) == (restart == "temporary")


@in_process
async def test_supervisor_do_not_save_child_specs_for_temporary_children() -> None:
    supervisor = await start()
    for reason in REASONS.values():
        pid = await sup.start_child(supervisor, worker("child", "temporary"))
        await end(pid, reason)
        assert await sup.which_children(supervisor) == []
    await sup.start_child(supervisor, worker("child", "temporary"))
    await sup.terminate_child(supervisor, "child")
    assert await sup.which_children(supervisor) == []
    await sup.start_child(supervisor, worker("child", "temporary"))


async def frames_of(work: Any) -> int:
    """How many functions of the package and of the core's callers Python enters while that is awaited."""
    count = 0

    def enter(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(enter)
    try:
        await work
    finally:
        sys.setprofile(None)
    return count


async def grows_in_proportion(restart: str, flags: dict[str, Any], size: int) -> None:
    """To end so many children takes twice the work for twice as many, not four times."""
    counts = []
    for number in (size, 2 * size):
        supervisor = await start(*([worker("child", restart)] if flags else []), **flags)
        given = [[] if flags else worker(each, restart) for each in range(number)]
        children = [await sup.start_child(supervisor, each) for each in given]

        async def work(
            children: list[Any] = children, supervisor: partisan.Pid = supervisor, number: int = number
        ) -> None:
            for place, child in enumerate(children):
                if restart == "temporary":
                    await end(child, Atom("normal"))
                else:
                    await sup.terminate_child(supervisor, child if flags else place)
            assert (await sup.count_children(supervisor)).active == 0

        counts.append(await frames_of(work()))
    assert counts[1] < 3 * counts[0]


@in_process
async def test_supervisor_simple_one_for_one_scale_many_temporary_children() -> None:
    await grows_in_proportion("temporary", SIMPLE, 200)


@in_process
async def test_supervisor_scale_start_stop_many_children() -> None:
    await grows_in_proportion("permanent", {}, 200)
    await grows_in_proportion("permanent", SIMPLE, 200)


class Gate:
    """A start that waits for permission before it fails, once it is told to fail."""

    def __init__(self) -> None:
        self.failing = False
        self.attempts: asyncio.Queue[None] = asyncio.Queue()
        self.permits = asyncio.Semaphore(0)

    async def __call__(self) -> Any:
        if not self.failing:
            return await Worker.start_link()
        self.attempts.put_nowait(None)
        await self.permits.acquire()
        return ERROR


async def asked_between(gate: Gate, supervisor: partisan.Pid, question: Any) -> Any:
    """Ask while an attempt is being made, let that fail, and return the answer, which comes before the next ends."""
    await gate.attempts.get()
    asking = asyncio.ensure_future(question)
    await asyncio.sleep(0)
    gate.permits.release()
    return (await asyncio.gather(asking, return_exceptions=True))[0]


async def hanging_restart_loop(**flags: Any) -> None:
    """A child that fails to start again, slowly, keeps its supervisor from nothing else."""
    gate = Gate()
    before = [worker("before")] if flags.get("strategy") == "rest_for_one" else []
    supervisor = await start(*before, ChildSpec("child", gate), intensity=1000, period=600, **flags)
    gate.failing = True
    await end(await pid_of(supervisor, "child"))
    answer = await asked_between(gate, supervisor, sup.start_child(supervisor, ChildSpec("child", gate)))
    assert isinstance(answer, AlreadyPresent)
    for question in (sup.restart_child, sup.delete_child):
        assert isinstance(await asked_between(gate, supervisor, question(supervisor, "child")), ChildRestarting)
    rows = await asked_between(gate, supervisor, sup.which_children(supervisor))
    assert [row.pid for row in rows if row.id == "child"] == [Atom("restarting")]
    counts = await asked_between(gate, supervisor, sup.count_children(supervisor))
    assert counts == Counts(1 + len(before), len(before), 0, 1 + len(before))
    assert await asked_between(gate, supervisor, sup.terminate_child(supervisor, "child")) is None
    assert gate.attempts.qsize() == 0
    assert await pid_of(supervisor, "child") is None
    gate.failing = False
    await end(await sup.restart_child(supervisor, "child"))
    assert partisan.is_process_alive(await pid_of(supervisor, "child"))
    gate.failing = True
    await end(await pid_of(supervisor, "child"))
    await gate.attempts.get()
    partisan.exit(supervisor, SHUTDOWN)
    gate.permits.release()
    assert await ended(supervisor) == SHUTDOWN


@in_process
async def test_supervisor_hanging_restart_loop() -> None:
    await hanging_restart_loop()


@in_process
async def test_supervisor_hanging_restart_loop_rest_for_one() -> None:
    await hanging_restart_loop(strategy="rest_for_one")


@in_process
async def test_supervisor_hanging_restart_loop_simple() -> None:
    gate = Gate()
    supervisor = await start(ChildSpec("child", gate), intensity=1000, period=600, **SIMPLE)
    child = await sup.start_child(supervisor, [])
    gate.failing = True
    await end(child)
    rows = await asked_between(gate, supervisor, sup.which_children(supervisor))
    assert [row.pid for row in rows] == [Atom("restarting")]
    assert await asked_between(gate, supervisor, sup.count_children(supervisor)) == Counts(1, 0, 0, 1)
    await gate.attempts.get()
    partisan.exit(supervisor, SHUTDOWN)
    gate.permits.release()
    assert await ended(supervisor) == SHUTDOWN


@in_process
async def test_supervisor_format_log_1(caplog: pytest.LogCaptureFixture) -> None:
    """The reports of a failure, its text, and that it is told once."""
    supervisor = await start(worker("child"), name="tree", intensity=0)
    child = await pid_of(supervisor, "child")
    cast(child, ABNORMAL)
    assert await ended(supervisor) == SHUTDOWN
    first, second = reports(caplog)
    assert (first.context, first.reason) == ("child_terminated", ABNORMAL)
    assert (second.context, second.reason) == ("shutdown", Atom("reached_max_restart_intensity"))
    assert (first.supervisor, first.offender["pid"], first.offender["id"]) == ("tree (Supervisor)", child, "child")
    assert sup.format_log(first).splitlines() == [
        "SUPERVISOR REPORT",
        "    supervisor: tree (Supervisor)",
        "    context: child_terminated",
        "    reason: Atom('abnormal')",
        f"    offender: {{pid: {child!r}, id: child, start: supervising.Worker, restart: permanent, "
        "significant: False, shutdown: 5.0, type: worker}",
    ]
    progress = sup.format_log(sup.ProgressReport("tree", {"id": "child"}), single_line=True)
    assert progress == "PROGRESS REPORT supervisor: tree, started: {id: child}"


async def test_supervisor_format_log_2() -> None:
    """Depth and length are bounded when asked for, and lines are one."""
    report = sup.SupervisorReport("tree", "child_terminated", ((((1,), 2), 3), [9] * 100, b"x" * 1000), {"id": "child"})
    whole = sup.format_log(report)
    assert "(((1,), 2), 3)" in whole
    assert "x" * 1000 in whole
    assert "\n" not in sup.format_log(report, single_line=True)
    shallow = sup.format_log(report, single_line=True, depth=3)
    assert "reason: ((((...), 2), 3), [9, 9, 9, ...], b'" in shallow
    short = sup.format_log(report, single_line=True, depth=3, chars_limit=20)
    assert len(short) < 200
    assert "..." in short
