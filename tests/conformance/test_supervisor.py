"""The cases of the reference's supervisor suite: starting, stopping, and managing children."""

from __future__ import annotations

import pytest
from supervising import (
    ABNORMAL,
    KILL,
    KILLED,
    NORMAL,
    SHUTDOWN,
    Hanging,
    Recorder,
    Scripted,
    Worker,
    down,
    end,
    ended,
    fails,
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
from partisan import Atom
from partisan.errors import (
    AlreadyPresent,
    AlreadyStarted,
    BadChildSpec,
    ChildNotFound,
    ChildRunning,
    OnlyByPid,
)
from partisan.gen import supervisor as sup
from partisan.gen.control import Ignore
from partisan.gen.server import call, cast
from partisan.gen.supervisor import Child, ChildSpec, Counts, Flags, Supervisor, check_childspecs

SIMPLE = {"strategy": "simple_one_for_one"}


@in_process
async def test_supervisor_sup_start_normal() -> None:
    supervisor = await start()
    assert await sup.which_children(supervisor) == []
    assert await stop(supervisor) == SHUTDOWN


@in_process
async def test_supervisor_sup_start_ignore_init() -> None:
    class Declines(Supervisor):
        def init(self) -> Ignore:
            return Ignore()

    assert await Declines.start_link(name="declines") is None
    assert (await partisan.receive((Atom("EXIT"), ..., ...), timeout=10.0))[2] == NORMAL
    assert partisan.whereis("declines") is None


@in_process
async def test_supervisor_sup_start_ignore_child() -> None:
    supervisor = await start()
    assert await sup.start_child(supervisor, ChildSpec("ignores", Scripted("ignore"))) is None
    pid = await sup.start_child(supervisor, worker("works"))
    assert [(row.id, row.pid) for row in await sup.which_children(supervisor)] == [("works", pid), ("ignores", None)]
    assert await sup.count_children(supervisor) == Counts(2, 1, 0, 2)


@in_process
async def test_supervisor_sup_start_ignore_temporary_child() -> None:
    ignores = ChildSpec("ignores", Scripted("ignore"), restart="temporary")
    supervisor = await start(ignores, worker("works"))
    assert await names(supervisor) == ["works"]
    assert await sup.count_children(supervisor) == Counts(1, 1, 0, 1)


@in_process
async def test_supervisor_sup_start_ignore_temporary_child_start_child() -> None:
    supervisor = await start()
    ignores = ChildSpec("ignores", Scripted("ignore"), restart="temporary")
    assert await sup.start_child(supervisor, ignores) is None
    pid = await sup.start_child(supervisor, worker("works"))
    assert [(row.id, row.pid) for row in await sup.which_children(supervisor)] == [("works", pid)]
    assert await sup.count_children(supervisor) == Counts(1, 1, 0, 1)


async def ignoring_template(restart: str) -> None:
    supervisor = await start(ChildSpec("child", Scripted("ignore", "up"), restart=restart), **SIMPLE)
    assert await sup.start_child(supervisor, []) is None
    pid = await sup.start_child(supervisor, [])
    assert [(row.id, row.pid) for row in await sup.which_children(supervisor)] == [(None, pid)]
    assert await sup.count_children(supervisor) == Counts(1, 1, 0, 1)


@in_process
async def test_supervisor_sup_start_ignore_temporary_child_start_child_simple() -> None:
    await ignoring_template("temporary")


@in_process
async def test_supervisor_sup_start_ignore_permanent_child_start_child_simple() -> None:
    await ignoring_template("permanent")


@in_process
async def test_supervisor_sup_start_error_return() -> None:
    class Wrong(Supervisor):
        def init(self) -> str:
            return "invalid"

    reason = await fails(Wrong.start_link())
    assert reason[0] == Atom("bad_return")
    assert reason[1][2] == "invalid"


@in_process
async def test_supervisor_sup_start_fail() -> None:
    class Fails(Supervisor):
        def init(self) -> None:
            raise ArithmeticError("no")

    reason = await fails(Fails.start_link(name="fails"))
    assert reason[0] == (Atom("ArithmeticError"), "no")
    assert partisan.whereis("fails") is None


@in_process
async def test_supervisor_sup_start_child_returns_error() -> None:
    events: list[object] = []
    error = (Atom("error"), Atom("some_error"))
    works = [ChildSpec(name, Recorder, (events, name)) for name in ("one", "two")]
    reason = await fails(start(*works, ChildSpec("fails", Scripted(error))))
    assert reason == (SHUTDOWN, (Atom("failed_to_start_child"), "fails", Atom("some_error")))
    assert events == [("start", "one"), ("start", "two"), ("end", "two"), ("end", "one")]
    supervisor = await start()
    for outcome in (error, AlreadyStarted((Atom("already_started"), supervisor), supervisor)):
        reason = await fails(sup.start_child(supervisor, ChildSpec("fails", Scripted(outcome))))
        assert reason in (Atom("some_error"), (Atom("already_started"), supervisor))
        assert await sup.which_children(supervisor) == []


@in_process
async def test_supervisor_sup_start_restart_child_returns_error() -> None:
    script = Scripted("up", (Atom("error"), Atom("some_error")))
    supervisor = await start(ChildSpec("child", script), intensity=3, period=600)
    await end(await pid_of(supervisor, "child"))
    assert await ended(supervisor) == SHUTDOWN
    assert script.starts == 4  # one, and three attempts


@in_process
async def test_supervisor_sup_start_child_returns_error_simple() -> None:
    script = Scripted((Atom("error"), Atom("some_error")), ValueError("x"), "up")
    supervisor = await start(ChildSpec("child", script), **SIMPLE)
    assert await fails(sup.start_child(supervisor, [])) == Atom("some_error")
    kind, (what, _) = await fails(sup.start_child(supervisor, []))
    assert (kind, what) == (Atom("EXIT"), (Atom("ValueError"), "x"))
    assert await sup.count_children(supervisor) == Counts(1, 0, 0, 0)


@in_process
async def test_supervisor_sup_start_map() -> None:
    supervisor = await start({"id": "child", "start": Worker})
    assert await sup.get_childspec(supervisor, "child") == ChildSpec("child", Worker)

    class Mapped(Supervisor):
        def init(self) -> tuple[dict[str, object], list[dict[str, object]]]:
            return {"strategy": "one_for_all", "intensity": 3}, [{"id": "child", "start": Worker, "args": (1, 2)}]

    mapped = await Mapped.start_link()
    assert mapped is not None
    await end(await pid_of(mapped, "child"))
    assert await call(await pid_of(mapped, "child"), "args") == (1, 2)


@in_process
async def test_supervisor_sup_start_map_simple() -> None:
    supervisor = await start({"id": "child", "start": Worker, "args": (1,)}, **SIMPLE)
    assert await call(await sup.start_child(supervisor, [2]), "args") == (1, 2)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"start": Worker}, Atom("missing_id")),
        ({"id": "x"}, Atom("missing_start")),
        ({"id": "x", "start": "nothing"}, (Atom("invalid_mfargs"), ("nothing", ()))),
        ({"id": "x", "start": Worker, "args": 5}, (Atom("invalid_mfargs"), (Worker, 5))),
        ({"id": "x", "start": Worker, "restart": "prmanent"}, (Atom("invalid_restart_type"), "prmanent")),
        ({"id": "x", "start": Worker, "shutdown": -1}, (Atom("invalid_shutdown"), -1)),
        ({"id": "x", "start": Worker, "shutdown": "inf"}, (Atom("invalid_shutdown"), "inf")),
        ({"id": "x", "start": Worker, "type": "wrker"}, (Atom("invalid_child_type"), "wrker")),
        ({"id": "x", "start": Worker, "modules": 5}, (Atom("invalid_modules"), 5)),
    ],
)
@in_process
async def test_supervisor_sup_start_map_faulty_specs(wrong: object, reason: object) -> None:
    assert await fails(start(worker("first"), wrong)) == (Atom("start_spec"), reason)
    assert await fails(start(wrong, **SIMPLE)) == reason


@in_process
async def test_supervisor_sup_stop_infinity() -> None:
    events: list[object] = []
    supervisor = await start(
        *(ChildSpec(name, Recorder, (events, name), shutdown="infinity") for name in ("one", "two"))
    )
    children = [partisan.monitor(pid) for pid in await pids(supervisor)]
    assert await stop(supervisor) == SHUTDOWN
    assert [await down(child) for child in children] == [SHUTDOWN, SHUTDOWN]
    assert events[2:] == [("end", "two"), ("end", "one")]


@in_process
async def test_supervisor_sup_stop_timeout(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = await start(ChildSpec("hangs", Hanging, shutdown=0.05), worker("works"))
    hangs, works = [partisan.monitor(pid) for pid in await pids(supervisor)]
    assert await stop(supervisor) == SHUTDOWN
    assert (await down(hangs), await down(works)) == (KILLED, SHUTDOWN)
    assert [(each.reason, each.offender["id"]) for each in reports(caplog)] == [(KILLED, "hangs")]
    assert [each.context for each in reports(caplog)] == ["shutdown_error"]


@in_process
async def test_supervisor_sup_stop_timeout_dynamic(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = await start(ChildSpec("hangs", Hanging, shutdown=0.05), **SIMPLE)
    children = [partisan.monitor(await sup.start_child(supervisor, [])) for _ in range(10)]
    assert await stop(supervisor) == SHUTDOWN
    assert [await down(child) for child in children] == [KILLED] * 10
    assert len(reports(caplog, "shutdown_error")) == 10


@in_process
async def test_supervisor_sup_stop_brutal_kill(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = await start(ChildSpec("hangs", Hanging, shutdown="brutal_kill"), worker("works"))
    hangs, works = [partisan.monitor(pid) for pid in await pids(supervisor)]
    assert await stop(supervisor) == SHUTDOWN
    assert (await down(hangs), await down(works)) == (KILLED, SHUTDOWN)
    assert reports(caplog) == []


@in_process
async def test_supervisor_sup_stop_brutal_kill_dynamic(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = await start(ChildSpec("hangs", Hanging, shutdown="brutal_kill"), **SIMPLE)
    children = [partisan.monitor(await sup.start_child(supervisor, [])) for _ in range(10)]
    assert await stop(supervisor) == SHUTDOWN
    assert [await down(child) for child in children] == [KILLED] * 10
    assert reports(caplog) == []


@pytest.mark.parametrize(
    ("restart", "reason", "told"),
    [
        ("permanent", NORMAL, True),
        ("permanent", SHUTDOWN, False),
        ("transient", NORMAL, False),
        ("transient", (SHUTDOWN, 1), False),
        ("temporary", NORMAL, False),
        ("temporary", ABNORMAL, True),
    ],
)
@in_process
async def test_supervisor_sup_stop_race(
    restart: str, reason: object, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A child ends by itself in the moment in which its supervisor is told to end."""
    supervisor = await start(worker("child", restart))
    child = await pid_of(supervisor, "child")
    monitor = partisan.monitor(child)
    cast(child, reason)
    partisan.exit(supervisor, SHUTDOWN)
    assert await ended(supervisor) == SHUTDOWN
    assert await down(monitor) == reason
    assert [each.context for each in reports(caplog)] == (["shutdown_error"] if told else [])


@in_process
async def test_supervisor_sup_stop_non_shutdown_exit_dynamic(caplog: pytest.LogCaptureFixture) -> None:
    class Ends(Worker):
        def init(self, reason: object) -> None:  # type: ignore[override]
            partisan.trap_exit()
            self.reason = reason

        def terminate(self, reason: object) -> None:
            raise partisan.Exit(self.reason)

    for restart, untold in (("permanent", 0), ("transient", 2), ("temporary", 2)):
        caplog.clear()
        supervisor = await start(ChildSpec("child", Ends, restart=restart), **SIMPLE)
        for reason in (ABNORMAL, NORMAL, (SHUTDOWN, 1), SHUTDOWN):
            await sup.start_child(supervisor, [reason])
        assert await stop(supervisor) == SHUTDOWN
        assert len(reports(caplog, "shutdown_error")) == 3 - untold


@in_process
async def test_supervisor_child_adm() -> None:
    spec = worker("child")
    supervisor = await start(spec)
    pid = await pid_of(supervisor, "child")
    with pytest.raises(AlreadyStarted) as started:
        await sup.start_child(supervisor, spec)
    assert started.value.pid == pid
    for refused in (sup.restart_child, sup.delete_child):
        with pytest.raises(ChildRunning):
            await refused(supervisor, "child")
        with pytest.raises(ChildNotFound):
            await refused(supervisor, "nobody")
    with pytest.raises(ChildNotFound):
        await sup.terminate_child(supervisor, "nobody")
    monitor = partisan.monitor(pid)
    await sup.terminate_child(supervisor, "child")
    assert await down(monitor) == SHUTDOWN
    await sup.terminate_child(supervisor, "child")
    with pytest.raises(AlreadyPresent):
        await sup.start_child(supervisor, spec)
    assert await sup.count_children(supervisor) == Counts(1, 0, 0, 1)
    again = await sup.restart_child(supervisor, "child")
    assert await sup.which_children(supervisor) == [Child("child", again, "worker", (Atom(Worker.__module__),))]
    await sup.terminate_child(supervisor, "child")
    await sup.delete_child(supervisor, "child")
    assert await sup.which_children(supervisor) == []
    with pytest.raises(ChildNotFound):
        await sup.get_childspec(supervisor, "child")
    assert partisan.is_process_alive(await sup.start_child(supervisor, spec))


@in_process
async def test_supervisor_child_adm_simple() -> None:
    supervisor = await start(worker("child"), **SIMPLE)
    assert await sup.which_children(supervisor) == []
    one, two = await sup.start_child(supervisor, []), await sup.start_child(supervisor, [])
    assert [(row.id, row.pid) for row in await sup.which_children(supervisor)] == [(None, two), (None, one)]
    assert await sup.count_children(supervisor) == Counts(1, 2, 0, 2)
    for refused in (sup.terminate_child, sup.restart_child, sup.delete_child):
        with pytest.raises(OnlyByPid):
            await refused(supervisor, "child")
    with pytest.raises(ChildNotFound):
        await sup.terminate_child(supervisor, partisan.self())
    with pytest.raises(BadChildSpec):
        await sup.start_child(supervisor, worker("child"))
    assert await sup.get_childspec(supervisor, one) == await sup.get_childspec(supervisor, "child")
    await sup.terminate_child(supervisor, one)
    await sup.terminate_child(supervisor, one)
    assert await pids(supervisor) == [two]


@in_process
async def test_supervisor_extra_return() -> None:
    async def begin() -> object:
        return await Worker.start_link(), Atom("extra")

    supervisor = await start(ChildSpec("child", begin))
    await sup.terminate_child(supervisor, "child")
    pid, extra = await sup.restart_child(supervisor, "child")
    assert (extra, await pid_of(supervisor, "child")) == (Atom("extra"), pid)
    await sup.terminate_child(supervisor, "child")
    await sup.delete_child(supervisor, "child")
    pid, extra = await sup.start_child(supervisor, ChildSpec("child", begin))
    assert (extra, await pid_of(supervisor, "child")) == (Atom("extra"), pid)
    await end(pid)
    assert (await pid_of(supervisor, "child")) not in (None, pid)


async def refuses(supervisor: partisan.Pid, wrong: object, reason: object) -> None:
    """A spec is refused for one reason, wherever it is given."""
    with pytest.raises(BadChildSpec) as refused:
        await sup.start_child(supervisor, wrong)  # type: ignore[arg-type]
    assert refused.value.reason == reason
    with pytest.raises(BadChildSpec) as checked:
        check_childspecs([wrong], "never")
    assert checked.value.reason == reason


@in_process
async def test_supervisor_child_specs() -> None:
    supervisor = await start()
    await refuses(supervisor, Atom("child"), (Atom("invalid_child_spec"), Atom("child")))
    await refuses(supervisor, ChildSpec("x", dict), (Atom("invalid_mfargs"), (dict, ())))
    await refuses(supervisor, ChildSpec([], Worker), (Atom("invalid_id"), []))
    await refuses(supervisor, worker("x", "prm"), (Atom("invalid_restart_type"), "prm"))
    await refuses(supervisor, worker("x", shutdown=True), (Atom("invalid_shutdown"), True))
    await refuses(supervisor, worker("x", modules=(5,)), (Atom("invalid_module"), 5))
    await refuses(supervisor, worker("x", significant=1), (Atom("invalid_significant"), 1))
    permanent = [(Atom("restart"), "permanent"), (Atom("significant"), True)]
    await refuses(supervisor, worker("x", significant=True), (Atom("bad_combination"), permanent))
    never = [(Atom("auto_shutdown"), "never"), (Atom("significant"), True)]
    await refuses(supervisor, worker("x", "transient", significant=True), (Atom("bad_combination"), never))
    with pytest.raises(BadChildSpec) as twice:
        check_childspecs([worker("x"), worker("x")])
    assert twice.value.reason == (Atom("duplicate_child_name"), "x")
    assert await sup.which_children(supervisor) == []
    good = [worker("a", "transient", shutdown="infinity", significant=True), worker("b", shutdown="brutal_kill")]
    check_childspecs([*good, worker("c", modules="dynamic", type="supervisor")])


@in_process
async def test_supervisor_child_specs_map() -> None:
    supervisor = await start()
    await refuses(supervisor, {"start": Worker}, Atom("missing_id"))
    await refuses(supervisor, {"id": "x"}, Atom("missing_start"))
    await refuses(supervisor, {"id": "x", "start": Worker, "restart": 5}, (Atom("invalid_restart_type"), 5))
    given = {Atom("id"): "x", "start": Worker, "restart": Atom("transient"), "shutdown": Atom("infinity"), "more": 1}
    check_childspecs([given])
    await sup.start_child(supervisor, given)
    spec = ChildSpec("x", Worker, restart="transient", shutdown="infinity")
    assert await sup.get_childspec(supervisor, "x") == spec


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"strategy": "none_for_one"}, (Atom("invalid_strategy"), "none_for_one")),
        ({"intensity": -1}, (Atom("invalid_intensity"), -1)),
        ({"intensity": 1.5}, (Atom("invalid_intensity"), 1.5)),
        ({"period": 0}, (Atom("invalid_period"), 0)),
        ({"period": "5"}, (Atom("invalid_period"), "5")),
        ({"auto_shutdown": "some"}, (Atom("invalid_auto_shutdown"), "some")),
    ],
)
@in_process
async def test_supervisor_sup_flags(flags: dict[str, object], reason: object) -> None:
    class Given(Supervisor):
        def init(self, given: object) -> tuple[object, list[object]]:
            return given, []

    wrong = (Atom("supervisor_data"), reason)
    assert await fails(start(**flags)) == wrong
    assert await fails(Given.start_link(args=(Flags(**flags),))) == wrong  # type: ignore[arg-type]
    assert await fails(Given.start_link(args=(flags,))) == wrong
    assert await fails(Given.start_link(args=(5,))) == (Atom("supervisor_data"), (Atom("invalid_type"), 5))
    assert await lives(await Given.start_link(args=(("one_for_all", 2, 7),)) or partisan.self())


@in_process
async def test_supervisor_multiple_restarts() -> None:
    """Children that die together are one restart where one takes the others along."""
    supervisor = await start(*(worker(name) for name in "abc"), strategy="one_for_all", intensity=1, period=600)
    before = await pids(supervisor)
    monitors = [partisan.monitor(pid) for pid in before]
    for pid in before:
        partisan.exit(pid, KILL)
    assert [await down(monitor) for monitor in monitors] == [KILLED] * 3
    after = await pids(supervisor)
    assert all(partisan.is_process_alive(pid) for pid in after)
    assert not set(after) & set(before)
    await end(after[0])
    assert await ended(supervisor) == SHUTDOWN


@in_process
async def test_supervisor_child_unlink() -> None:
    """A child that has cut its link is ended all the same, and waited for."""

    class Unlinks(Worker):
        def init(self, parent: partisan.Pid) -> None:  # type: ignore[override]
            partisan.unlink(parent)

    supervisor = await start(ChildSpec("child", Unlinks), **SIMPLE)
    child = await sup.start_child(supervisor, [supervisor])
    other = await sup.start_child(supervisor, [supervisor])
    monitor = partisan.monitor(child)
    await sup.terminate_child(supervisor, child)
    assert await down(monitor) == SHUTDOWN
    monitor = partisan.monitor(other)
    assert await stop(supervisor) == SHUTDOWN
    assert await down(monitor) == SHUTDOWN


@in_process
async def test_supervisor_count_children() -> None:
    supervisor = await start(worker("child"), **SIMPLE)
    children = [await sup.start_child(supervisor, []) for _ in range(100)]
    assert await sup.count_children(supervisor) == Counts(1, 100, 0, 100)
    for child in children[:40]:
        await sup.terminate_child(supervisor, child)
    assert await sup.count_children(supervisor) == Counts(1, 60, 0, 60)


@in_process
async def test_supervisor_count_children_supervisor() -> None:
    supervisor = await start(ChildSpec("tree", Supervisor), **SIMPLE)
    for _ in range(5):
        await sup.start_child(supervisor, [])
    assert await sup.count_children(supervisor) == Counts(1, 5, 5, 0)
    mixed = await start(ChildSpec("tree", Supervisor), worker("a"), worker("b", type="supervisor"))
    assert await sup.count_children(mixed) == Counts(3, 3, 2, 1)


@in_process
async def test_supervisor_count_restarting_children() -> None:
    script = Scripted("up", "up", "up", (Atom("error"), Atom("some_error")))
    supervisor = await start(ChildSpec("child", script), **SIMPLE, intensity=10**6)
    children = [await sup.start_child(supervisor, []) for _ in range(3)]
    await end(children[0])
    assert await sup.count_children(supervisor) == Counts(1, 2, 0, 3)
    await end(children[1])
    assert await sup.count_children(supervisor) == Counts(1, 1, 0, 3)
    assert sorted(row.pid == Atom("restarting") for row in await sup.which_children(supervisor)) == [False, True, True]
    script.outcomes = ["up"]
    while await sup.count_children(supervisor) != Counts(1, 3, 0, 3):
        await partisan.checkpoint()


@in_process
async def test_supervisor_get_callback_module() -> None:
    class Named(Supervisor):
        """Has no children."""

    assert await sup.get_callback_module(await Named.start_link() or partisan.self()) is Named
    assert await sup.get_callback_module(await start()) is Supervisor


@in_process
async def test_supervisor_order_of_children() -> None:
    """Children start from the first, end from the last, and are told from the last."""
    events: list[object] = []
    spec = [ChildSpec(name, Recorder, (events, name)) for name in "abc"]
    supervisor = await start(*spec[:2])
    await sup.start_child(supervisor, spec[2])
    assert events == [("start", name) for name in "abc"]
    assert [row.id for row in await sup.which_children(supervisor)] == ["c", "b", "a"]
    events.clear()
    await stop(supervisor)
    assert events == [("end", name) for name in "cba"]


@in_process
async def test_supervisor_tree() -> None:
    def leaf(name: str, **flags: object) -> ChildSpec:
        children = [worker("one"), worker("two")]
        return ChildSpec(name, Supervisor, options={"children": children, **flags})

    root = await start(leaf("left"), leaf("right", intensity=0), strategy="one_for_all", intensity=5)
    assert await sup.count_children(root) == Counts(2, 2, 2, 0)
    left, right = await pids(root)
    workers = await pids(left)
    await end(workers[0])
    assert (await pids(left))[1] == workers[1]  # healed where it happened
    assert await pids(root) == [left, right]
    monitors = [partisan.monitor(pid) for pid in [*await pids(left), left]]
    await end((await pids(right))[0])  # too much for the right one: all start again
    assert [await down(monitor) for monitor in monitors] == [SHUTDOWN] * 3
    assert not {left, right} & set(await pids(root))
    every = [*await pids(root)]
    every += [pid for each in list(every) for pid in await pids(each)]
    monitors = [partisan.monitor(pid) for pid in every]
    assert await stop(root) == SHUTDOWN
    assert [await down(monitor) for monitor in monitors] == [SHUTDOWN] * 6


@in_process
async def test_supervisor_simple_global_supervisor() -> None:
    """A child that has a name gets it again each time, and a supervisor is found by its own."""
    supervisor = await start(worker("child", name="child"), name="tree", intensity=5)
    for reason in (KILL, ABNORMAL, NORMAL):
        await end(await pid_of(supervisor, "child"), reason)
        assert await pid_of(partisan.whereis("tree") or supervisor, "child") == partisan.whereis("child")
    with pytest.raises(AlreadyStarted):
        await Supervisor.start_link(name="tree")
