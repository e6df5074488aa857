"""Supervisors and applications on real nodes: storms, hanging starts and ends, kills, other nodes, and stopping."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Any

import pytest
from support import cluster, eventually, killed_unstepped, running, soon

import partisan
from partisan import Atom, Node, Pid
from partisan.errors import BadChildSpec, ChildNotFound, StartFailed
from partisan.gen import supervisor as sup
from partisan.gen import supervisor_children
from partisan.gen.server import GenServer, call
from partisan.gen.supervisor import ChildSpec, Counts, Supervisor, spawned

KILL, KILLED, SHUTDOWN = Atom("kill"), Atom("killed"), Atom("shutdown")


class Echo(GenServer):
    """Answers with what it was started with, and what it is asked."""

    def init(self, *args: Any) -> None:
        self.args = args

    def handle_call(self, request: Any, caller: Any) -> Any:
        return (*self.args, request)


class Last(GenServer):
    """Writes down that it ends, and can still use its node then."""

    def init(self, name: str, ended: list[str]) -> None:
        partisan.trap_exit()
        self.name, self.ended = name, ended

    async def terminate(self, reason: object) -> None:
        assert await call("bystander", "there?") == ("there?",)
        self.ended.append(self.name)


def alive(node: Node) -> list[str]:
    """What runs on the node."""
    return [process.get_name() for process in node.scheduler.processes.values()]


async def test_a_storm_of_kills_leaves_every_child_running() -> None:
    async with running("a") as (node,):
        children = [ChildSpec(key, Echo, name=f"echo{key}") for key in range(20)]
        tree = await Supervisor.start(children=children, intensity=10**6)
        chance = random.Random(1)
        for _ in range(100):
            for key in chance.sample(range(20), 5):
                pid = node.whereis(f"echo{key}")
                if pid is not None:
                    node.exit(pid, KILL)
            await asyncio.sleep(0)
        assert await sup.count_children(tree) == Counts(20, 20, 0, 20)
        assert [await call(f"echo{key}", key) for key in range(20)] == [(key,) for key in range(20)]


async def test_a_child_that_fails_for_ever_ends_its_supervisor_and_nothing_is_left() -> None:
    async def fails() -> None:
        raise ValueError("again")

    async with running("a") as (node,):
        tree = await Supervisor.start(
            children=[ChildSpec("good", Echo), ChildSpec("bad", spawned(fails))], intensity=100
        )
        await eventually(lambda: not alive(node))
        with pytest.raises(partisan.NoProc):
            await sup.which_children(tree)


async def test_the_kill_of_a_supervisor_takes_its_whole_tree_along() -> None:
    async with running("a") as (node,):
        leaf = ChildSpec("leaf", Supervisor, options={"children": [ChildSpec("echo", Echo)]})
        tree = await Supervisor.start(children=[leaf, ChildSpec("echo", Echo)])
        assert len(alive(node)) == 4
        node.exit(tree, KILL)
        await eventually(lambda: not alive(node))


class Deaf(GenServer):
    """Hears that it is to end, and does not."""

    def init(self, heard: asyncio.Event | None = None) -> None:
        partisan.trap_exit()
        self.heard = heard or asyncio.Event()

    async def terminate(self, reason: object) -> None:
        self.heard.set()
        await asyncio.Event().wait()


async def test_the_kill_of_a_supervisor_that_waits_for_a_hanging_child_takes_the_others_along() -> None:
    async with running("a") as (node,):
        heard = asyncio.Event()
        stuck = ChildSpec("stuck", Deaf, (heard,), shutdown="infinity")
        tree = await Supervisor.start(children=[stuck, ChildSpec("echo", Echo)])
        asking = asyncio.ensure_future(sup.terminate_child(tree, "stuck"))
        await heard.wait()
        node.exit(tree, KILL)
        with pytest.raises(partisan.Exit):
            await asking
        await eventually(lambda: alive(node) == ["Deaf"])  # as in OTP: it traps exits, and the link says no more
        next(iter(node.scheduler.processes.values())).doom(KILLED, True)
        await eventually(lambda: not alive(node))


async def test_a_start_that_hangs_is_given_up_when_its_supervisor_is_killed_or_its_time_is_over() -> None:
    class Slow(GenServer):
        async def init(self) -> None:
            await asyncio.Event().wait()

    async with running("a") as (node,):
        with pytest.raises(StartFailed) as failed:
            await Supervisor.start(
                children=[ChildSpec("echo", Echo), ChildSpec("slow", Slow, options={"timeout": 0.05})]
            )
        assert failed.value.reason == (SHUTDOWN, (Atom("failed_to_start_child"), "slow", Atom("timeout")))
        await eventually(lambda: not alive(node))
        starting = asyncio.ensure_future(
            Supervisor.start(children=[ChildSpec("echo", Echo), ChildSpec("slow", Slow)], name="tree")
        )
        await eventually(lambda: any(each.endswith("Slow") for each in alive(node)))
        node.exit(node.whereis("tree") or Pid("a@127.0.0.1", 0), KILL)
        with pytest.raises(StartFailed):
            await starting
        await eventually(lambda: not alive(node))


async def test_a_class_of_supervisors_takes_no_children_from_outside_and_options_must_be_known() -> None:
    class Tree(Supervisor):
        def init(self) -> Any:
            return {}, []

    async with running("a"):
        for kind, options in ((Tree, {"children": []}), (Tree, {"intensity": 2}), (Supervisor, {"intnsity": 2})):
            with pytest.raises((StartFailed, TypeError)):
                await kind.start(**options)


async def test_what_a_supervisor_does_not_understand_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a") as (node,):
        tree = await Supervisor.start(children=[ChildSpec("echo", Echo)], name="tree")
        node.send("tree", "what?")
        node.send("tree", (Atom("EXIT"), tree, Atom("no child")))
        for caller in (5, ("x", 1), (tree, "tag", 3)):
            node.send("tree", (Atom("$gen_call"), caller, Atom("which_children")))
            node.send("tree", (Atom("$gen_call"), caller, (Atom("get_childspec"), "echo")))
        assert await call("tree", "what?") == (Atom("error"), (Atom("bad_call"), "what?"))
        assert await sup.count_children("tree") == Counts(1, 1, 0, 1)
        with pytest.raises(ChildNotFound):
            await sup.terminate_child("tree", ["no", "id"])
    assert "tree (Supervisor) received what it does not expect: 'what?'" in caplog.text


async def test_a_supervisor_of_another_node_is_asked_in_terms() -> None:
    async with cluster("a", "b") as (a, b):
        await Supervisor.start(children=[ChildSpec("echo", Echo, (1,))], name="tree")  # on b: the latest
        await Supervisor.start(children=[ChildSpec("echo", Echo, ("x",))], name="simple", strategy="simple_one_for_one")
        there = ("tree", b.name)

        async def ask() -> None:
            (row,) = await sup.which_children(there)
            assert (row.id, row.type) == (b"echo", "worker")
            assert await sup.count_children(there) == Counts(1, 1, 0, 1)
            spec = await sup.get_childspec(there, row.pid)
            assert spec[Atom("id")] == b"echo"
            assert spec[Atom("start")] == (Atom(Echo.__module__), Atom("Echo"), [1])
            assert spec[Atom("shutdown")] == 5000
            assert await sup.get_callback_module(there) == Atom("partisan.gen.supervisor")
            assert await sup.get_childspec(("simple", b.name), "echo")
            for change in (sup.terminate_child, sup.restart_child, sup.terminate_child, sup.delete_child):
                await change(there, row.id)
            assert await sup.which_children(there) == []
            with pytest.raises(BadChildSpec) as refused:  # no function of ours is called because a stranger says so
                await sup.start_child(there, {Atom("id"): b"x", Atom("start"): (Atom("os"), Atom("system"), [b"x"])})
            assert refused.value.reason[0] == Atom("invalid_mfargs")
            pid = await sup.start_child(("simple", b.name), [2])
            assert pid.node == b.name
            assert await call(pid, 3) == (b"x", 2, 3)
            await sup.terminate_child(("simple", b.name), pid)
            assert await sup.count_children(("simple", b.name)) == Counts(1, 0, 0, 0)

        await asked(a, ask)


async def asked(node: Node, question: Any, *args: Any) -> Any:
    """What a question gives that is asked in a process of this node."""
    answer = asyncio.get_running_loop().create_future()

    async def ask() -> None:
        try:
            answer.set_result(await question(*args))
        except Exception as error:
            answer.set_exception(error)

    node.spawn(ask)
    return await answer


async def test_a_child_of_another_node_is_watched_started_again_and_ended() -> None:
    async with cluster("a", "b", allow=("exit",)) as (a, b):

        async def begin() -> Any:
            return await asked(b, Echo.start)

        tree = await asked(a, partial(Supervisor.start, children=[ChildSpec("far", begin)], intensity=3))

        async def child() -> Any:
            return (await asked(a, sup.which_children, tree))[0].pid

        first = await child()
        assert first.node == b.name
        b.exit(first, KILL)
        second = first
        while second in (first, None):
            second = await child()
        await asked(a, sup.terminate_child, tree, "far")
        assert await child() is None
        assert not b.is_process_alive(second)
        third = await asked(a, sup.restart_child, tree, "far")
        a.exit(tree, KILL)  # along the link
        await eventually(lambda: not b.is_process_alive(third))


async def test_a_child_whose_node_is_lost_counts_as_ended() -> None:
    async with cluster("a", "b") as (a, b):
        lost = asyncio.Event()

        async def begin() -> Any:
            if lost.is_set():
                return await Echo.start_link()
            return await asked(b, Echo.start)

        tree = await asked(a, partial(Supervisor.start, children=[ChildSpec("far", begin)]))
        lost.set()
        await b.stop()
        while True:
            (row,) = await asked(a, sup.which_children, tree)
            if row.pid is not None and row.pid.node == a.name:
                break
        assert await asked(a, call, row.pid, 1) == (1,)


class Tree(Supervisor):
    """Three servers that write down when they end."""

    def init(self, ended: list[str]) -> Any:
        return {}, [ChildSpec(name, Last, (name, ended)) for name in ("one", "two", "three")]


async def test_a_stopping_node_ends_its_applications_in_order_before_anything_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[str] = []

    async def last(name: str) -> Any:
        return await Last.start_link(args=(name, ended))

    async with running("a") as (node,):
        await Echo.start(name="bystander")
        first = await node.start_application(Tree, ended)
        second = await node.start_application(last, "later")
        assert node.applications == [first, second]
        await node.stop()
        assert ended == ["later", "three", "two", "one"]
        assert (await first.ended(), await second.ended()) == (SHUTDOWN, SHUTDOWN)
        assert node.applications == []
        assert alive(node) == []
    assert "the application" not in caplog.text


async def test_a_node_stops_while_a_child_of_a_supervisor_hangs_in_its_start(caplog: pytest.LogCaptureFixture) -> None:
    begun = asyncio.Event()

    class Slow(GenServer):
        async def init(self) -> None:
            begun.set()
            await asyncio.Event().wait()

    async with running("a") as (node,):
        starting = asyncio.ensure_future(
            Supervisor.start(children=[ChildSpec("echo", Echo), ChildSpec("slow", Slow)], name="tree")
        )
        await begun.wait()
        await node.stop()
        with pytest.raises(StartFailed) as failed:
            await starting
        assert failed.value.reason == SHUTDOWN
        assert alive(node) == []
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_an_application_starts_with_its_node_and_can_be_ended_alone() -> None:
    class Echoes(Supervisor):
        def init(self) -> Any:
            return {}, [ChildSpec("echo", Echo, name="echo")]

    async with Node("a@127.0.0.1:0", application=Echoes) as node:
        assert await call("echo", 1) == (1,)
        (application,) = node.applications
        assert await application.stop() == SHUTDOWN
        assert alive(node) == []


async def test_a_node_whose_application_does_not_start_does_not_start_either() -> None:
    class Faulty(Supervisor):
        def init(self) -> Any:
            return {}, [ChildSpec("echo", Echo), ChildSpec("none", lambda: (Atom("error"), "no"))]

    node = Node("a@127.0.0.1:0", application=Faulty)
    with pytest.raises(StartFailed) as failed:
        await node.start()
    assert failed.value.reason == (SHUTDOWN, (Atom("failed_to_start_child"), "none", "no"))
    with pytest.raises(partisan.LocalProtocolError):
        node.spawn(asyncio.sleep, 0)


async def test_an_application_that_ends_by_itself_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a") as (node,):
        application = await node.start_application(Supervisor)
        assert application.pid is not None
        node.exit(application.pid, KILL)
        assert await application.ended() == KILLED
        assert await application.stop() == KILLED
    told = [record.message for record in caplog.records if "the application" in record.message]
    assert told == ["a@127.0.0.1: the application Supervisor has ended: Atom('killed')"]


class Begun(GenServer):
    """Says that it starts, and takes its time."""

    event: asyncio.Event

    async def init(self) -> None:
        self.event.set()
        await asyncio.Event().wait()


class Slowly(Supervisor):
    def init(self) -> Any:
        return {}, [ChildSpec("echo", Echo, name="echo"), ChildSpec("begun", Begun)]


async def test_an_application_whose_start_is_cancelled_is_ended() -> None:
    async with running("a") as (node,):
        Begun.event = asyncio.Event()
        starting = asyncio.create_task(node.start_application(Slowly))
        await Begun.event.wait()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert node.applications == []
        await eventually(lambda: alive(node) == [])


async def test_an_application_that_starts_as_its_node_stops_has_failed_to_start() -> None:
    async with running("a") as (node,):
        Begun.event = asyncio.Event()
        starting = asyncio.create_task(node.start_application(Slowly))
        await Begun.event.wait()
        await node.stop(grace=0.2)
        with pytest.raises(StartFailed) as failed:
            await soon(starting)
        assert failed.value.reason == SHUTDOWN
        assert alive(node) == []


async def test_an_application_whose_parent_is_killed_before_its_first_step_has_failed_to_start() -> None:
    async with running("a") as (node,):
        with pytest.raises(StartFailed):
            await killed_unstepped(node, lambda: node.start_application(Slowly))
        assert node.applications == []


async def test_an_application_may_be_a_function_and_must_give_a_pid() -> None:
    async def begin(*args: Any) -> Any:
        return await Echo.start_link(name="echo", args=args)

    async with running("a") as (node,):
        await node.start_application(begin, 1)
        assert await call("echo", 2) == (1, 2)
        with pytest.raises(StartFailed):
            await node.start_application(lambda: 5)
        with pytest.raises(ValueError, match="no tree"):
            await node.start_application(refuse)


def refuse() -> None:
    raise ValueError("no tree")


async def test_a_node_stops_although_its_application_hangs(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a") as (node,):
        stuck = Supervisor, [ChildSpec("deaf", Deaf, shutdown="infinity")]

        async def begin() -> Any:
            return await stuck[0].start_link(children=stuck[1])

        await node.start_application(begin)
        await node.stop(grace=0.2)
        assert "applications have not ended in time" in caplog.text
        for process in list(node.scheduler.processes.values()):
            process.doom(KILLED, True)
        node.scheduler.run()


@pytest.mark.parametrize("wrong", [[Supervisor], "module:Tree", 5], ids=repr)
async def test_an_application_that_starts_nothing_is_said_to_be_none(wrong: Any) -> None:
    node = Node("a@127.0.0.1:0", application=wrong)
    with pytest.raises(TypeError, match="is no application: neither the class of a supervisor nor a function"):
        await node.start()
    assert "down" in repr(node)


async def test_a_start_that_returns_none_is_ignored_and_says_what_may_have_been_meant(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def child() -> None:
        pass

    async with running("a"):
        supervisor = await Supervisor.start(children=[ChildSpec("none", child)])
        assert supervisor is not None
        assert [(row.id, row.pid) for row in await sup.which_children(supervisor)] == [("none", None)]
    assert "the start of child 'none' returned None, which counts as Ignore()" in caplog.text
    assert "spawned(function)" in caplog.text


async def test_a_start_that_does_not_return_is_told_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_children, "SLOW_START", 0.0)

    async def child() -> None:
        await eventually(lambda: "the start of child 'itself' has not returned" in caplog.text)

    async with running("a"):
        await Supervisor.start(children=[ChildSpec("itself", child)])
    assert "its supervisor waits: a function that is the child itself is given as spawned(function)" in caplog.text
