"""Event managers on real nodes: what handlers are told here and from elsewhere, and what their failures do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from event_support import Bare, Failures, Other, Teller, heard, nothing_heard
from node_process import NodeProcess
from scripted import FORWARD, decode, greeted, member, recorded
from support import Events, address_of, cluster, eventually, inside, running

import partisan
from partisan import Atom, Node
from partisan.errors import Exit, HandlerFailed, NodeDown, NoHandler, NoProc
from partisan.etf import Pid
from partisan.gen import event, sys
from partisan.gen.event import EventHandler

EXIT, STOP, ERROR, OK = Atom("EXIT"), Atom("stop"), Atom("error"), Atom("ok")
GEN_EVENT_EXIT = Atom("gen_event_EXIT")
TELLER, OTHER = Teller.module, Other.module


class Keeper(EventHandler):
    """Keeps what it is told."""

    def init(self, args: Any) -> None:
        self.kept: list[Any] = []

    def handle_event(self, what: Any) -> None:
        self.kept.append(what)

    def handle_call(self, request: Any) -> Any:
        return list(self.kept)


class Odd(EventHandler):
    """Answers and ends with what is no term."""

    def handle_event(self, what: Any) -> Any:
        return object()

    def handle_call(self, request: Any) -> Any:
        return object()

    def terminate(self, argument: Any) -> Any:
        return object()


@asynccontextmanager
async def two_nodes() -> AsyncIterator[tuple[Node, Node, tuple[str, str]]]:
    """Two nodes, and a manager of the second that knows some classes; in the end no request is left."""
    async with cluster("a", "b") as (a, b):
        await inside(b, lambda: event.start("events", handlers=[Keeper, Teller, Other, Odd]))
        yield a, b, ("events", b.name)
        await eventually(lambda: not a.scheduler.aliases)
        await inside(b, lambda: event.stop("events"))
        await eventually(lambda: not a.scheduler.processes and not b.scheduler.processes)


# Within one node.


async def test_a_handler_that_crashes_is_logged_once_with_its_traceback_and_the_others_go_on() -> None:
    async def body() -> None:
        manager = await event.start()
        await event.add_handler(manager, Keeper)
        await event.add_handler(manager, Teller, partisan.self())
        await event.add_handler(manager, (Keeper, 2))
        with Failures() as failures:
            await event.sync_notify(manager, ("raise", "boom"))
        (record,) = failures
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], ValueError)
        assert record.exc_info[2] is not None
        assert "gen_event handler Teller crashed" in record.getMessage()
        assert isinstance(record.report, event.HandlerReport)  # type: ignore[attr-defined]
        assert record.report.message == ("raise", "boom")  # type: ignore[attr-defined]
        assert await event.which_handlers(manager) == [(Keeper.module, 2), Keeper.module]
        assert await event.call(manager, Keeper, 0) == [("raise", "boom")]
        assert await event.call(manager, (Keeper, 2), 0) == [("raise", "boom")]
        await event.stop(manager)

    async with running("a") as (a,):
        await inside(a, body)


async def test_a_handler_that_a_cancellation_ends_takes_no_manager_along() -> None:
    async def body() -> None:
        manager = await event.start()
        await event.add_sup_handler(manager, Teller, partisan.self())
        event.notify(manager, ("cancel",))
        assert (await heard((GEN_EVENT_EXIT, ..., ...)))[2][1][0][0] == Atom("HandlerFailed")
        assert await event.which_handlers(manager) == []
        await event.stop(manager)

    async with running("a") as (a,):
        await inside(a, body)


async def test_a_manager_that_is_killed_in_a_callback_is_gone() -> None:
    class Stuck(EventHandler):
        async def handle_event(self, what: Any) -> None:
            partisan.send(what, "stuck")
            await asyncio.Event().wait()

    async def body() -> None:
        manager, reference = await event.start_monitor()
        await event.add_handler(manager, Stuck)
        event.notify(manager, partisan.self())
        await heard("stuck")
        partisan.exit(manager, Atom("kill"))
        assert (await heard((..., reference, ..., ..., ...)))[4] == Atom("killed")

    async with running("a") as (a,):
        await inside(a, body)


async def test_a_node_that_stops_ends_a_manager_in_a_callback_and_blames_no_handler() -> None:
    told: list[Any] = []

    class Stuck(EventHandler):
        async def handle_event(self, what: Any) -> None:
            stuck.set()
            await asyncio.Event().wait()

        def terminate(self, argument: Any) -> None:
            told.append(argument)

    stuck = asyncio.Event()
    async with running("a"):
        manager = await event.start()
        await event.add_handler(manager, Stuck)
        event.notify(manager, 1)
        await stuck.wait()
    assert told == [STOP]


async def test_a_manager_ends_with_its_parent_and_tells_its_handlers() -> None:
    async def body() -> None:
        me = partisan.self()

        async def parent() -> None:
            partisan.send(me, (Atom("manager"), await event.start_link()))
            await partisan.receive()
            raise Exit(Atom("shutdown"))

        pid = partisan.spawn(parent)
        _, manager = await heard((Atom("manager"), Pid))
        reference = partisan.monitor(manager)
        await event.add_handler(manager, Teller, me)
        partisan.send(pid, "end")
        assert await heard((TELLER, "terminate", ...)) == (TELLER, "terminate", STOP)
        assert (await heard((..., reference, ..., ..., ...)))[4] == Atom("shutdown")

    async with running("a") as (a,):
        await inside(a, body)


async def test_an_exit_signal_of_a_stranger_ends_no_manager() -> None:
    async def body() -> None:
        manager = await event.start()
        partisan.exit(manager, "go away")
        assert await event.which_handlers(manager) == []
        await event.stop(manager)

    async with running("a") as (a,):
        await inside(a, body)


async def test_an_owner_has_all_its_handlers_removed_and_no_other() -> None:
    async def body() -> None:
        manager, me = await event.start(), partisan.self()

        async def owner() -> None:
            for number in (1, 2):
                await event.add_sup_handler(manager, (Teller, number), me)
            partisan.send(me, "added")
            await partisan.receive()

        await event.add_sup_handler(manager, (Teller, 3), me)
        pid = partisan.spawn(owner)
        await heard("added")
        partisan.send(pid, "end")
        for _ in range(2):
            assert await heard((TELLER, "terminate", ...)) == (TELLER, "terminate", (STOP, Atom("normal")))
        assert await event.which_handlers(manager) == [(TELLER, 3)]
        await event.stop(manager)

    async with running("a") as (a,):
        await inside(a, body)


async def test_an_owner_that_ends_before_its_handler_is_up_leaves_none_behind() -> None:
    async def body() -> None:
        manager, me = await event.start(), partisan.self()
        await sys.suspend(manager)
        dead = partisan.spawn(asyncio.sleep, 0)
        await eventually(lambda: not partisan.is_process_alive(dead))
        partisan.send(manager, (me, (me, "tag"), (Atom("add_sup_handler"), Teller, me, dead)))
        await sys.resume(manager)
        assert await heard((TELLER, "terminate", ...)) == (TELLER, "terminate", (STOP, Atom("noproc")))
        assert await event.which_handlers(manager) == []
        await event.stop(manager)

    async with running("a") as (a,):
        await inside(a, body)


async def test_code_that_is_no_process_may_use_a_manager() -> None:
    async with running("a") as (a,):
        manager = await event.start()
        await event.add_handler(manager, Keeper)
        event.notify(manager, 1)
        await event.sync_notify(manager, 2)
        assert await event.call(manager, Keeper, 0) == [1, 2]
        with pytest.raises(partisan.NotInProcess):
            await event.add_sup_handler(manager, Keeper)
        await event.stop(manager)
        assert not a.scheduler.aliases


async def test_a_request_may_be_sent_and_its_answer_taken_later() -> None:
    async def body() -> None:
        manager = await event.start()
        await event.add_handler(manager, Keeper)
        event.notify(manager, 1)
        sent = event.send_request(manager, Keeper, 0)
        assert await event.receive_response(sent, 10.0) == [1]
        sent = event.send_request(manager, Teller, 0)
        with pytest.raises(NoHandler):
            await event.wait_response(sent, 10.0)
        sent = event.send_request(manager, Keeper, 0)
        found = event.check_response(await partisan.receive(timeout=10.0), sent)
        assert found is not None
        assert found.value == [1]

        asked = event.reqids_new()
        event.send_request(manager, Keeper, 0, label="first", collection=asked)
        event.send_request(manager, Teller, 0, label="second", collection=asked)
        first = await event.receive_response(asked, 10.0)
        second = await event.wait_response(asked, 10.0)
        assert (first.label, first.value) == ("first", [1])
        assert second.label == "second"
        with pytest.raises(NoHandler):
            _ = second.value
        assert await event.receive_response(asked, 10.0) is None
        await event.stop(manager)

    async with running("a") as (a,):
        await inside(a, body)
        assert not a.scheduler.aliases


@pytest.mark.parametrize(
    "command",
    [
        (Atom("add_handler"), 5, 6),
        (Atom("delete_handler"), (1, 2, 3), 6),
        (Atom("call"), None, 6),
        (Atom("swap_handler"), TELLER, 1, [TELLER], 2),
    ],
    ids=str,
)
async def test_a_request_that_names_no_handler_is_refused(command: Any) -> None:
    async def body() -> None:
        manager, me = await event.start(), partisan.self()
        partisan.send(manager, (me, (me, "tag"), command))
        tag, (error, (exit_, ((kind, _), _))) = await heard()
        assert (tag, error, exit_, kind) == ("tag", ERROR, EXIT, Atom("TypeError"))
        assert await event.which_handlers(manager) == []
        await event.stop(manager)

    async with running("a") as (a,):
        await inside(a, body)


async def test_what_is_no_command_is_information() -> None:
    async def body() -> None:
        manager, me = await event.start(), partisan.self()
        await event.add_handler(manager, Teller, me)
        await heard((TELLER, "init"))
        odd: list[Any] = [
            (me, (me, "tag"), (Atom("add_handler"), Teller)),
            (me, (me, "tag"), "which_handlers"),
            (me, (me, "tag"), [Atom("call"), Teller, 1]),
            (me, me, Atom("which_handlers")),
            (Atom("$gen_call"), "from", Atom("which_handlers")),
            (me, (me, "tag"), (Atom("add_sup_handler"), Teller, me, "no pid")),
            (Atom("DOWN"), partisan.make_ref(), Atom("process"), me, "reason"),
            (),
        ]
        for message in odd:
            partisan.send(manager, message)
            assert await heard() == (TELLER, "info", message)
        await event.stop(manager)

    async with running("a") as (a,):
        await inside(a, body)


async def test_a_swap_for_what_is_no_handler_is_a_failure_of_the_one_that_wants_it() -> None:
    async def body() -> None:
        manager, me = await event.start(), partisan.self()
        await event.add_sup_handler(manager, Teller, me)
        await event.sync_notify(manager, ("swap", 5, None))
        assert (await heard((GEN_EVENT_EXIT, TELLER, ...)))[2][1][0][0] == Atom("TypeError")
        await event.add_sup_handler(manager, Teller, me)
        await event.sync_notify(manager, ("swap", Other, ("raise", "in init")))
        assert (await heard((GEN_EVENT_EXIT, TELLER, ...)))[2] == (Atom("swapped"), OTHER, me)
        assert (await heard((GEN_EVENT_EXIT, OTHER, ...)))[2][1][0] == (Atom("ValueError"), "in init")
        assert await event.which_handlers(manager) == []
        await event.stop(manager)

    async with running("a") as (a,):
        await inside(a, body)


async def test_format_status_that_fails_hides_nothing_and_harms_nobody() -> None:
    class Broken(Bare):
        def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
            raise ValueError("format")

    async def body() -> None:
        manager = await event.start()
        await event.add_handler(manager, Broken, 1)
        assert Broken.module.name in repr(await sys.get_status(manager))
        await event.sync_notify(manager, "crash it")
        assert await event.which_handlers(manager) == []
        await event.stop(manager)

    async with running("a") as (a,):
        await inside(a, body)


async def test_a_change_of_code_that_fails_changes_no_handler() -> None:
    class Grown(Bare):
        def code_change(self, old_version: Any, extra: Any) -> None:
            self.to += 1
            if self.to == extra:
                raise ValueError("not this one")

    async def body() -> None:
        manager = await event.start()
        for number in (1, 2, 3):
            await event.add_handler(manager, (Grown, number), number)
        await event.add_handler(manager, Bare, 0)
        await sys.suspend(manager)
        await sys.change_code(manager, Grown, "old", 0)
        assert [state["to"] for _, _, state in await sys.get_state(manager)] == [0, 4, 3, 2]
        with pytest.raises(Exit):
            await sys.change_code(manager, Grown.module, "old", 4)
        assert [state["to"] for _, _, state in await sys.get_state(manager)] == [0, 4, 3, 2]
        await sys.resume(manager)
        await event.stop(manager)

    async with running("a") as (a,):
        await inside(a, body)


# Over two nodes.


async def test_a_manager_of_another_node_is_told_asked_and_changed() -> None:
    async with two_nodes() as (a, _, manager):

        async def body() -> None:
            await event.add_handler(manager, Keeper)
            await event.add_handler(manager, ("Keeper", "two"))
            event.notify(manager, 1)
            await event.sync_notify(manager, 2)
            event.notify(manager, 3, channel="data")
            assert await event.which_handlers(manager) == [(Keeper.module, b"two"), Keeper.module]
            assert (await event.call(manager, Keeper, 0))[:2] == [1, 2]
            assert (await event.call(manager, (Keeper, "two"), 0))[:2] == [1, 2]
            assert await event.receive_response(event.send_request(manager, Keeper, 0), 10.0)
            assert await event.delete_handler(manager, (Keeper, b"two"), 1) == OK
            with pytest.raises(NoHandler):
                await event.call(manager, (Keeper, "two"), 0)
            with pytest.raises(NoHandler):
                await event.delete_handler(manager, Teller)
            await event.swap_handler(manager, (Keeper, 1), (Teller, partisan.self()))
            assert await heard((TELLER, b"init", ...)) == (TELLER, b"init", OK)
            event.notify(manager, ("raise", "boom"))
            event.notify(manager, (b"raise", b"boom"))
            assert await event.which_handlers(manager) == [TELLER]

        await inside(a, body)


async def test_only_classes_that_a_manager_was_given_are_added_by_name() -> None:
    async with two_nodes() as (a, _, manager):

        async def body() -> None:
            for handler in (Bare, "Bare", (Atom("os.system"), 1)):
                with pytest.raises(HandlerFailed) as failed:
                    await event.add_handler(manager, handler)
                assert failed.value.reason[0] == Atom("undef")  # type: ignore[index]
            await event.add_handler(manager, Keeper)
            with pytest.raises(HandlerFailed):
                await event.swap_handler(manager, (Keeper, 1), (Bare, 1))
            assert await event.which_handlers(manager) == []

        await inside(a, body)


async def test_what_is_no_term_is_a_failure_of_the_handler_that_gave_it() -> None:
    async with two_nodes() as (a, _, manager):

        async def body() -> None:
            await event.add_handler(manager, Odd)
            with pytest.raises(HandlerFailed) as failed:
                await event.call(manager, Odd, 1)
            assert failed.value.reason[0][0] == Atom("EncodeError")  # type: ignore[index]
            assert await event.which_handlers(manager) == []
            await event.add_handler(manager, Odd)
            with pytest.raises(HandlerFailed):
                await event.delete_handler(manager, Odd)
            assert await event.which_handlers(manager) == []

        await inside(a, body)


async def test_nobody_to_notify_is_counted_and_nobody_to_ask_is_an_error() -> None:
    async with cluster("a", "b") as (a, b):
        undelivered = Events(b, "partisan.queue.undelivered"), Events(a, "partisan.queue.undelivered")

        async def body() -> None:
            event.notify("nobody", 1)
            event.notify(("nobody", b.name), 1)
            event.notify(("nobody", "c@127.0.0.1"), 1)
            with pytest.raises(NoProc):
                await event.sync_notify(("nobody", b.name), 1)
            with pytest.raises(NodeDown):
                await event.sync_notify(("nobody", "c@127.0.0.1"), 1)

        await inside(a, body)
        assert len(undelivered[1].seen) == 2
        await eventually(lambda: undelivered[0].seen)


async def test_a_request_begins_with_the_pid_of_whoever_asks() -> None:
    async with cluster("a", "b") as (a, b):
        seen: list[Any] = []

        async def manager() -> None:
            label, caller, command = await partisan.receive()
            seen.extend((label, caller[0], command))

        b.spawn(manager, name="events")

        async def body() -> Pid:
            with pytest.raises(Exit):
                await event.call(("events", b.name), (Keeper, 1), "query")
            return partisan.self()

        pid = await inside(a, body)
        assert seen == [pid, pid, (Atom("call"), (Keeper.module, 1), b"query")]


async def supervised(a: Node, b: Node, manager: Any, end: Callable[[Pid], None]) -> Any:
    """What a handler's `terminate` gets, which a process of a supervises, after that was ended."""

    async def body() -> Any:
        me = partisan.self()
        added = b.loop.create_future()

        async def owner() -> None:
            await event.add_sup_handler(manager, Teller, me)
            added.set_result(None)
            await partisan.receive()
            raise Exit("over")

        pid = a.spawn(owner)
        await added
        end(pid)
        return (await heard((TELLER, "terminate", ...)))[2]

    return await inside(b, body)


async def test_the_end_of_an_owner_at_another_node_removes_its_handler() -> None:
    async with two_nodes() as (a, b, manager):
        assert await supervised(a, b, manager, lambda pid: a.send(pid, "end")) == (STOP, b"over")
        assert await supervised(a, b, manager, lambda pid: a.exit(pid, Atom("kill"))) == (STOP, Atom("killed"))
        assert await inside(a, lambda: event.which_handlers(manager)) == []


async def test_an_owner_at_another_node_is_told_why_its_handler_is_removed() -> None:
    async with two_nodes() as (a, _, manager):

        async def body() -> None:
            me = partisan.self()
            partisan.trap_exit(True)
            await event.add_sup_handler(manager, Teller, me)
            await event.delete_handler(manager, Teller)
            assert await heard((GEN_EVENT_EXIT, ..., ...)) == (GEN_EVENT_EXIT, TELLER, Atom("normal"))
            await event.swap_sup_handler(manager, (Other, 1), (Teller, me))
            event.notify(manager, (b"raise", b"x"))
            assert await nothing_heard((GEN_EVENT_EXIT, ..., ...))
            await event.add_sup_handler(manager, (Odd, 2), me)
            event.notify(manager, "what it gives is no term, and is told as text")
            handler, reason = (await heard((GEN_EVENT_EXIT, ..., ...)))[1:]
            assert handler == (Odd.module, 2)
            assert b"object" in reason

        await inside(a, body)


async def test_a_reason_too_large_for_the_owners_node_ends_no_manager() -> None:
    class Loud(EventHandler):
        module = Atom("loud")

        def handle_event(self, what: Any) -> None:
            raise ValueError("x\\'" * 1_000_000)

    async with cluster("a", "b", max_frame_octets=1 << 20) as (a, b):
        manager = await inside(b, lambda: event.start("events", handlers=[Loud]))

        async def body() -> None:
            await event.add_sup_handler(manager, Loud, None)
            event.notify(manager, 1)
            assert b"ValueError" in (await heard((GEN_EVENT_EXIT, ..., ...)))[2]

        await inside(a, body)
        assert b.is_process_alive(manager)


async def test_the_loss_of_the_owners_node_removes_its_handler(loop_name: str) -> None:
    gone = asyncio.get_running_loop().create_future()

    class Watched(EventHandler):
        module = Atom("watched")

        def terminate(self, argument: Any) -> None:
            gone.set_result(argument)

    there = NodeProcess("there")
    async with running("here") as (here,):
        await there.start(loop_name)
        try:
            await inside(here, lambda: event.start("events", handlers=[Watched]))
            await there.tell("join", address_of(here))
            await there.until("meshed", True)
            await eventually(lambda: here.is_fully_connected(there.name))
            await there.tell("supervise", "events", here.name, "watched")
            assert await inside(here, lambda: event.which_handlers("events")) == [Atom("watched")]
        finally:
            await there.kill()
        assert await asyncio.wait_for(gone, 20.0) == (STOP, Atom("noconnection"))
        assert await inside(here, lambda: event.which_handlers("events")) == []
        await inside(here, lambda: event.stop("events"))


# Real nodes.


async def test_a_recorded_request_of_a_real_node_is_obeyed_and_answered_with_its_tag() -> None:
    [request] = [frame for frame in recorded("upper-otp", "a:32958->b", "a>b") if b"sync_notify" in frame]
    async with running("b") as (b,), member("a@127.0.0.1", {None: 1}) as real:

        async def start() -> None:
            await event.start("uevt")
            await event.add_handler("uevt", Keeper)

        await inside(b, start)
        await real.joined_by(b)
        await eventually(lambda: b.is_fully_connected(real.name))
        async with greeted(b, real.name) as connection:
            connection.say(request)
            await eventually(lambda: [each for each in real.messages() if type(each) is tuple and each[1] is OK])
            (tag, answer), *_ = [each for each in real.messages() if type(each) is tuple and each[1] is OK]
            assert answer is OK
            assert tag == decode(request)[2][1][1]
            pid = Pid(real.name, 187, 0)
            connection.tell((FORWARD, Atom("uevt"), (pid, (pid, "mine"), Atom("which_handlers"))))
            connection.tell((FORWARD, Atom("uevt"), (Atom("notify"), Atom("e3"))))
            connection.tell((FORWARD, Atom("uevt"), (pid, (pid, "mine"), (Atom("call"), Keeper.module, 0))))
            await eventually(lambda: (b"mine", [Keeper.module]) in real.messages())
            await eventually(lambda: (b"mine", [Atom("e2"), Atom("e3")]) in real.messages())
        await inside(b, lambda: event.stop("uevt"))
