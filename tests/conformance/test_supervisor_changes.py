"""The cases of the reference's supervisor suite: significant children, and supervisors whose description changes."""

from __future__ import annotations

from typing import Any

import pytest
from supervising import (
    ABNORMAL,
    KILL,
    REASONS,
    SHUTDOWN,
    Worker,
    down,
    end,
    ended,
    in_process,
    lives,
    names,
    pid_of,
    pids,
    start,
    stop,
    worker,
)

import partisan
from partisan import Atom, Pid
from partisan.gen import supervisor as sup
from partisan.gen import sys
from partisan.gen.control import Ignore
from partisan.gen.server import call
from partisan.gen.supervisor import ChildSpec, Flags, Supervisor

SIMPLE = {"strategy": "simple_one_for_one"}
ANY, ALL = {"auto_shutdown": "any_significant"}, {"auto_shutdown": "all_significant"}
IN_ORDER = [reason for name, reason in REASONS.items() if name != "abnormal"]


def significant(key: Any, restart: str = "temporary") -> ChildSpec:
    return worker(key, restart, significant=True)


async def nonsignificant(restart: str) -> None:
    """The end of a child that is not significant does not end its supervisor."""
    for flags in ({}, ANY, ALL):
        for reason in REASONS.values():
            supervisor = await start(worker("one", restart), worker("two", restart), **flags)
            two = await pid_of(supervisor, "two")
            await end(await pid_of(supervisor, "one"), reason)
            assert await pid_of(supervisor, "two") == two
            assert await stop(supervisor) == SHUTDOWN


@in_process
async def test_supervisor_nonsignificant_temporary() -> None:
    await nonsignificant("temporary")


@in_process
async def test_supervisor_nonsignificant_transient() -> None:
    await nonsignificant("transient")


async def ends_with(flags: dict[str, Any], restart: str, reason: object) -> None:
    """The first, or the last, significant child that ends takes the supervisor along; a third child only ends."""
    supervisor = await start(significant("one", restart), significant("two", restart), worker("three"), **flags)
    one, two, three = await pids(supervisor)
    monitor = partisan.monitor(three)
    await end(one, reason)
    if flags is ALL:
        assert await pid_of(supervisor, "two") == two
        await end(two, reason)
    assert await ended(supervisor) == SHUTDOWN
    assert await down(monitor) == SHUTDOWN


@in_process
async def test_supervisor_significant_temporary() -> None:
    for reason in REASONS.values():
        await ends_with(ANY, "temporary", reason)
        await ends_with(ALL, "temporary", reason)
    for flags in (ANY, ALL):  # one that is told to end is none that ends by itself
        supervisor = await start(significant("one"), **flags)
        await sup.terminate_child(supervisor, "one")
        assert await lives(supervisor)


@in_process
async def test_supervisor_significant_transient() -> None:
    for reason in IN_ORDER:
        await ends_with(ANY, "transient", reason)
        await ends_with(ALL, "transient", reason)
    for flags in (ANY, ALL):  # one that starts again has not ended
        supervisor = await start(significant("one", "transient"), **flags)
        one = await pid_of(supervisor, "one")
        await end(one, ABNORMAL)
        assert await pid_of(supervisor, "one") not in (None, one)


@in_process
async def test_supervisor_significant_simple() -> None:
    for flags in (ANY, ALL):
        for restart, reason in (("temporary", ABNORMAL), ("transient", SHUTDOWN)):
            supervisor = await start(significant("child", restart), **SIMPLE, **flags)
            one, two = [await sup.start_child(supervisor, []) for _ in range(2)]
            await end(one, reason)
            if flags is ALL:
                assert await pids(supervisor) == [two]
                await end(two, reason)
            assert await ended(supervisor) == SHUTDOWN


@in_process
async def test_supervisor_significant_bystander() -> None:
    """A significant child that ends because of another does not end the supervisor."""
    for strategy in ("one_for_all", "rest_for_one"):
        for flags in (ANY, ALL):
            supervisor = await start(worker("one"), significant("two"), strategy=strategy, **flags)
            await end(await pid_of(supervisor, "one"), KILL)
            assert await names(supervisor) == ["one"]
            assert await stop(supervisor) == SHUTDOWN


@in_process
async def test_supervisor_significant_escalation() -> None:
    """A supervisor that ends with its significant child is one itself."""
    inner = {"children": [significant("leaf")], **ANY}
    branch = ChildSpec("branch", Supervisor, options=inner, restart="transient", significant=True)
    root = await start(branch, worker("other"), **ANY)
    other = partisan.monitor(await pid_of(root, "other"))
    await end(await pid_of(await pid_of(root, "branch"), "leaf"), Atom("normal"))
    assert await ended(root) == SHUTDOWN
    assert await down(other) == SHUTDOWN


class Changing(Supervisor):
    """Its description is what `now` is, which a new version of the code would have changed."""

    now: Any

    def init(self) -> Any:
        return type(self).now


async def changing(*children: Any, **flags: Any) -> Pid:
    Changing.now = (flags, children)
    pid = await Changing.start_link()
    assert pid is not None
    return pid


async def change(supervisor: Pid, described: Any) -> None:
    """Give the supervisor another description, as an upgrade of its code does."""
    Changing.now = described
    await sys.suspend(supervisor)
    try:
        await sys.change_code(supervisor, Atom("changing"), 1, [])
    finally:
        await sys.resume(supervisor)


async def refused(supervisor: Pid, described: Any) -> Any:
    """The reason why a description is refused; it leaves everything as it was."""
    before = await sys.get_state(supervisor)
    with pytest.raises(partisan.Exit) as error:
        await change(supervisor, described)
    assert await sys.get_state(supervisor) == before
    return error.value.reason


async def upgraded(before: dict[str, Any], after: dict[str, Any], survives: tuple[bool, bool]) -> None:
    """Whether the supervisor survives the end of the first, and of the last, significant child after the change."""
    children = [significant("one"), significant("two")] if before else [worker("one", "temporary"), worker("two")]
    if not before:
        children = [worker("one", "temporary"), worker("two", "temporary")]
    supervisor = await changing(*children, **before)
    one, two = await pids(supervisor)
    now = (
        [significant("one"), significant("two")] if after else [worker("one", "temporary"), worker("two", "temporary")]
    )
    await change(supervisor, (after, now))
    assert await pids(supervisor) == [one, two]
    for pid, lasts in zip((one, two), survives, strict=True):
        await end(pid, Atom("normal"))
        assert await lives(supervisor) == lasts
        if not lasts:
            assert await ended(supervisor) == SHUTDOWN
            return
    assert await stop(supervisor) == SHUTDOWN


@in_process
async def test_supervisor_significant_upgrade_never_any() -> None:
    await upgraded({}, ANY, (False, False))


@in_process
async def test_supervisor_significant_upgrade_any_never() -> None:
    await upgraded(ANY, {}, (True, True))


@in_process
async def test_supervisor_significant_upgrade_never_all() -> None:
    await upgraded({}, ALL, (True, False))


@in_process
async def test_supervisor_significant_upgrade_all_never() -> None:
    await upgraded(ALL, {}, (True, True))


@in_process
async def test_supervisor_significant_upgrade_any_all() -> None:
    await upgraded(ANY, ALL, (True, False))


@in_process
async def test_supervisor_significant_upgrade_all_any() -> None:
    await upgraded(ALL, ANY, (False, False))


@in_process
async def test_supervisor_significant_upgrade_child() -> None:
    """A child becomes significant, and another no longer is."""
    supervisor = await changing(worker("one", "temporary"), significant("two"), **ANY)
    one, two = await pids(supervisor)
    await change(supervisor, (ANY, [significant("one"), worker("two", "temporary")]))
    await end(two)
    assert await pids(supervisor) == [one]
    await end(one)
    assert await ended(supervisor) == SHUTDOWN


async def code_change(make: Any) -> None:
    """Flags and specs become the new ones, children run on, new ones wait, and what is wrong changes nothing.

    Args:
        make: (flags, specs) -> what `init` returns, in one of its forms.
    """
    one, two, three = worker("one"), worker("two"), worker("three")
    supervisor = await changing(one, two)
    before = await pids(supervisor)
    await change(supervisor, Ignore())
    assert await pids(supervisor) == before
    await change(supervisor, make({"strategy": "one_for_all", "intensity": 3, "period": 30}, [three, two]))
    assert await names(supervisor) == ["three", "two", "one"]
    assert await pids(supervisor) == [None, before[1], before[0]]
    state = await sys.get_state(supervisor)
    assert state["flags"] == Flags("one_for_all", 3, 30)
    await end(before[0])
    assert not {None, *before} & set(await pids(supervisor))
    assert await refused(supervisor, make({"strategy": "none"}, [])) == (Atom("invalid_strategy"), "none")
    assert await refused(supervisor, make({"intensity": -1}, [])) == (Atom("invalid_intensity"), -1)
    assert await refused(supervisor, make({}, [one, one])) == (Atom("duplicate_child_name"), "one")
    assert await refused(supervisor, make({}, 5)) == (Atom("badarg"), 5)
    assert await refused(supervisor, "nonsense") == "nonsense"
    assert await refused(supervisor, make(SIMPLE, [one])) == (Atom("invalid_strategy"), "simple_one_for_one")
    wrong = worker("one", shutdown=-5)
    assert await refused(supervisor, make({}, [wrong])) == (Atom("invalid_shutdown"), -5)
    await change(supervisor, make({"intensity": 3}, [worker("two", "transient")]))
    await end(await pid_of(supervisor, "two"), Atom("normal"))
    assert await pid_of(supervisor, "two") is None


async def code_change_simple(make: Any) -> None:
    """The template becomes the new one, for running children when they start again; there must be one template."""
    supervisor = await changing(ChildSpec("child", Worker, (1,)), **SIMPLE, intensity=5)
    child = await sup.start_child(supervisor, [2])
    await change(supervisor, make({**SIMPLE, "intensity": 5}, [ChildSpec("child", Worker, (7,))]))
    assert await pids(supervisor) == [child]
    await end(child)
    assert await call((await pids(supervisor))[0], "args") == (7, 2)
    assert await call(await sup.start_child(supervisor, [3]), "args") == (7, 3)
    assert (await refused(supervisor, make(SIMPLE, [])))[0] == Atom("bad_start_spec")
    assert (await refused(supervisor, make(SIMPLE, [worker(1), worker(2)])))[0] == Atom("bad_start_spec")
    assert (await refused(supervisor, make({**SIMPLE, "period": 0}, [worker(1)])))[0] == Atom("invalid_period")


def as_objects(flags: dict[str, Any], specs: Any) -> Any:
    return Flags(**flags), specs


def as_maps(flags: dict[str, Any], specs: Any) -> Any:
    if not isinstance(specs, list):
        return flags, specs
    keys = ("id", "start", "args", "restart", "shutdown")
    return flags, [{key: getattr(spec, key) for key in keys} for spec in specs]


@in_process
async def test_supervisor_code_change() -> None:
    await code_change(as_objects)


@in_process
async def test_supervisor_code_change_map() -> None:
    await code_change(as_maps)


@in_process
async def test_supervisor_code_change_simple() -> None:
    await code_change_simple(as_objects)


@in_process
async def test_supervisor_code_change_simple_map() -> None:
    await code_change_simple(as_maps)
