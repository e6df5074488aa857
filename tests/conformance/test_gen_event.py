"""The cases of OTP's gen_event suite that Partisan adapted, each with the outcome that it has in OTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from event_support import Bare, Failures, Other, Teller, heard, nothing_heard
from support import eventually, inside, running

import partisan
from partisan import Atom, Node
from partisan.errors import AlreadyStarted, CallTimeout, Exit, HandlerFailed, NoHandler, NoProc, StartFailed
from partisan.gen import event, sys
from partisan.gen.event import EventHandler

ERROR, EXIT, NORMAL, UNDEF, STOP = map(Atom, ("error", "EXIT", "normal", "undef", "stop"))
GEN_EVENT_EXIT, DOWN = Atom("gen_event_EXIT"), Atom("DOWN")
TELLER, OTHER = Teller.module, Other.module


class Case:
    """A manager, and what the tests do with it in one process."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.manager: Any = None

    async def run(self, body: Callable[[], Awaitable[None]], **options: Any) -> None:
        """Run a test in a process of the node, with a manager that is gone in the end."""

        async def whole() -> None:
            self.manager = await event.start(name="my_handlers", **options)
            await body()
            if partisan.whereis("my_handlers") is not None:
                await event.stop("my_handlers")

        await inside(self.node, whole)
        assert not self.node.scheduler.aliases

    async def ended(self) -> None:
        await eventually(lambda: self.node.scheduler.find(self.manager) is None)


@pytest.fixture
def case() -> Callable[[], contextlib.AbstractAsyncContextManager[Case]]:
    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[Case]:
        async with running("a") as (node,):
            yield Case(node)

    return make


Make = Callable[[], contextlib.AbstractAsyncContextManager[Case]]


async def supervised(handler: Any = Teller) -> None:
    """Add a handler that this process supervises, and hear that."""
    await event.add_sup_handler("my_handlers", handler, partisan.self())
    await heard((TELLER, "init"))


async def test_gen_event_start(case: Make) -> None:
    async def body() -> None:
        anonymous = await event.start()
        assert await event.which_handlers(anonymous) == []
        assert await event.which_handlers("my_handlers") == []
        assert partisan.whereis("my_handlers") == c.manager
        for start in (event.start, event.start_link, event.start_monitor):
            with pytest.raises(AlreadyStarted) as taken:
                await start("my_handlers")
            assert taken.value.pid == c.manager
        await event.stop(anonymous)
        with pytest.raises(NoProc):
            await event.which_handlers(anonymous)
        await event.stop("my_handlers", Atom("shutdown"))
        with pytest.raises(NoProc):
            await event.stop("my_handlers")

        partisan.trap_exit(True)
        linked = await event.start_link()
        await event.stop(linked, "why not")
        assert await heard((EXIT, linked, ...)) == (EXIT, linked, "why not")

        monitored, reference = await event.start_monitor("my_handlers")
        await event.stop(("my_handlers", c.node.name))
        assert await heard((DOWN, ..., ..., ..., ...)) == (DOWN, reference, Atom("process"), monitored, NORMAL)

    async with case() as c:
        await c.run(body)


async def test_gen_event_start_opt(case: Make) -> None:
    async def body() -> None:
        for options in ({"no_such_option": 1}, {"handlers": [Teller, int]}, {"debug": ["no_such"]}):
            with pytest.raises(StartFailed):
                await event.start("another", **options)
            assert partisan.whereis("another") is None
        await event.add_handler("my_handlers", TELLER, partisan.self())  # one of `handlers`
        with pytest.raises(HandlerFailed):
            await event.add_handler("my_handlers", OTHER, partisan.self())
        assert await event.call("my_handlers", Teller, 1, timeout=None) == 1
        counts = await sys.statistics("my_handlers", "get")
        assert counts is not None
        assert counts["messages_in"] == 3
        _, (_, _, command) = (await sys.get_log("my_handlers"))[-1]
        assert command == (Atom("call"), Teller, 1)

    async with case() as c:
        await c.run(body, handlers=[Teller], timeout=20.0, debug=["statistics", "log"])


async def test_gen_event_add_handler(case: Make) -> None:
    async def body() -> None:
        me = partisan.self()
        with pytest.raises(HandlerFailed) as failed:
            await event.add_handler("my_handlers", Teller, ("raise", "make_error"))
        kind, stack = failed.value.reason  # type: ignore[misc]
        assert kind == (Atom("ValueError"), "make_error")
        assert stack[0][1] == Atom("Teller.init")
        with pytest.raises(HandlerFailed) as failed:
            await event.add_handler("my_handlers", Teller, ("refuse", "reason"))
        assert failed.value.reason == "reason"
        with pytest.raises(HandlerFailed) as failed:
            await event.add_handler("my_handlers", Teller, ("bad", "faulty"))
        assert failed.value.reason == "faulty"
        assert await event.which_handlers("my_handlers") == []

        await event.add_handler("my_handlers", Teller, me)
        await heard((TELLER, "init"))
        assert await event.which_handlers("my_handlers") == [TELLER]
        await event.add_handler("my_handlers", (Teller, 2), me)
        await event.add_handler("my_handlers", (Teller, me), me)
        assert await event.which_handlers("my_handlers") == [(TELLER, me), (TELLER, 2), TELLER]
        await event.delete_handler("my_handlers", (Teller, 2), None)
        assert await event.which_handlers("my_handlers") == [(TELLER, me), TELLER]

    async with case() as c:
        await c.run(body)


async def test_gen_event_add_sup_handler(case: Make) -> None:
    async def body() -> None:
        me = partisan.self()
        with pytest.raises(HandlerFailed):
            await event.add_sup_handler("my_handlers", Teller, ("raise", "make_error"))
        await supervised()
        event.notify("my_handlers", ("raise", "do_crash"))
        _, handler, (tag, ((error, text), _)) = await heard((GEN_EVENT_EXIT, ..., ...))
        assert (handler, tag, error, text) == (TELLER, EXIT, Atom("ValueError"), "do_crash")
        assert await event.which_handlers("my_handlers") == []

        await supervised((Teller, me))
        event.notify("my_handlers", ("bad",))
        assert await heard((GEN_EVENT_EXIT, ..., ...)) == (GEN_EVENT_EXIT, (TELLER, me), "bad")

        async def owner() -> None:
            await event.add_sup_handler("my_handlers", (Teller, "of the owner"), me)
            partisan.send(me, "added")
            await partisan.receive()
            raise Exit("the owner ends")

        pid = partisan.spawn(owner)
        await heard("added")
        partisan.send(pid, "end")
        stopped = (TELLER, "terminate", (STOP, "the owner ends"))
        assert await heard((TELLER, "terminate", (STOP, ...))) == stopped
        assert await event.which_handlers("my_handlers") == []

        await supervised()
        partisan.trap_exit(True)
        await event.stop("my_handlers", Atom("shutdown"))
        assert await heard((GEN_EVENT_EXIT, ..., ...)) == (GEN_EVENT_EXIT, TELLER, Atom("shutdown"))
        assert await heard((EXIT, c.manager, ...)) == (EXIT, c.manager, Atom("shutdown"))

    async with case() as c:
        await c.run(body)


async def test_gen_event_delete_handler(case: Make) -> None:
    async def body() -> None:
        me = partisan.self()
        with pytest.raises(NoHandler):
            await event.delete_handler("my_handlers", Teller)
        await event.add_handler("my_handlers", Teller, me)
        with pytest.raises(NoHandler):
            await event.delete_handler("my_handlers", (Teller, 1))
        assert await event.delete_handler("my_handlers", Teller, "return_hej") == "bye"
        assert await heard((TELLER, "terminate", ...)) == (TELLER, "terminate", "return_hej")
        await event.add_handler("my_handlers", (Teller, 1), me)
        with pytest.raises(HandlerFailed) as failed:
            await event.delete_handler("my_handlers", (Teller, 1), "raise")
        assert failed.value.reason[0] == (Atom("ValueError"), "in terminate")  # type: ignore[index]
        assert await event.which_handlers("my_handlers") == []
        await supervised()
        await event.delete_handler("my_handlers", Teller, 1)
        assert await heard((GEN_EVENT_EXIT, ..., ...)) == (GEN_EVENT_EXIT, TELLER, NORMAL)

    async with case() as c:
        await c.run(body)


async def test_gen_event_swap_handler(case: Make) -> None:
    async def body() -> None:
        me = partisan.self()
        await event.swap_handler("my_handlers", ("not_there", 1), (Teller, me))
        assert await heard((TELLER, "init", ...)) == (TELLER, "init", ERROR)  # nothing was there to swap
        await event.swap_handler("my_handlers", (Teller, "swap"), (Other, me))
        assert await heard((TELLER, "terminate", ...)) == (TELLER, "terminate", "swap")
        assert await heard((OTHER, "init", ...)) == (OTHER, "init", "bye")
        assert await event.which_handlers("my_handlers") == [OTHER]
        await event.swap_handler("my_handlers", (Other, "swap"), ((Teller, 3), me))
        assert await event.which_handlers("my_handlers") == [(TELLER, 3)]
        with pytest.raises(HandlerFailed):
            await event.swap_handler("my_handlers", ((Teller, 3), "swap"), ("unknown_module", me))
        assert await event.which_handlers("my_handlers") == []

        await supervised()
        await event.swap_handler("my_handlers", (Teller, "swap"), (Other, me))
        assert await heard((GEN_EVENT_EXIT, TELLER, ...)) == (GEN_EVENT_EXIT, TELLER, (Atom("swapped"), OTHER, me))
        await event.delete_handler("my_handlers", Other)  # it has inherited who supervises it
        assert await heard((GEN_EVENT_EXIT, OTHER, ...)) == (GEN_EVENT_EXIT, OTHER, NORMAL)

    async with case() as c:
        await c.run(body)


async def test_gen_event_swap_sup_handler(case: Make) -> None:
    async def body() -> None:
        me = partisan.self()
        await event.add_handler("my_handlers", Teller, me)
        await event.swap_sup_handler("my_handlers", (Teller, "swap"), (Other, me))
        assert await heard((OTHER, "init", ...)) == (OTHER, "init", "bye")
        assert await nothing_heard((GEN_EVENT_EXIT, ..., ...))  # nobody supervised the old one
        await event.swap_sup_handler("my_handlers", (Other, "swap"), ((Teller, 3), me))
        swapped = (Atom("swapped"), (TELLER, 3), me)
        assert await heard((GEN_EVENT_EXIT, OTHER, ...)) == (GEN_EVENT_EXIT, OTHER, swapped)
        event.notify("my_handlers", ("raise", "do_crash"))
        assert (await heard((GEN_EVENT_EXIT, (TELLER, 3), ...)))[2][0] == EXIT
        with pytest.raises(HandlerFailed):
            await event.swap_sup_handler("my_handlers", (Teller, "swap"), (Other, ("raise", "x")))

    async with case() as c:
        await c.run(body)


async def notified(notify: Callable[[Any], Awaitable[None]]) -> None:
    """What notify and sync_notify do alike."""
    me = partisan.self()
    await event.add_handler("my_handlers", Teller, me)
    await notify("event")
    assert await heard((TELLER, "event", ...)) == (TELLER, "event", "event")

    await notify(("swap", Other, me))
    assert await heard((TELLER, "terminate", ...)) == (TELLER, "terminate", "swapped away")
    assert await heard((OTHER, "init", ...)) == (OTHER, "init", "bye")
    assert await event.which_handlers("my_handlers") == [OTHER]
    await notify(("remove",))
    removed = (OTHER, "terminate", Atom("remove_handler"))
    assert await heard((OTHER, "terminate", ...)) == removed
    assert await event.which_handlers("my_handlers") == []

    for what, term in ((("bad",), "bad"), (("exit", "gone"), (EXIT, "gone"))):
        await supervised()
        await notify(what)
        assert await heard((TELLER, "terminate", ...)) == (TELLER, "terminate", (ERROR, term))
        assert await heard((GEN_EVENT_EXIT, ..., ...)) == (GEN_EVENT_EXIT, TELLER, term)
    await supervised()
    await notify(("remove",))
    assert await heard((GEN_EVENT_EXIT, ..., ...)) == (GEN_EVENT_EXIT, TELLER, NORMAL)
    await supervised()
    await notify(("swap", (Other, 4), me))
    swapped = (Atom("swapped"), (OTHER, 4), me)
    assert await heard((GEN_EVENT_EXIT, ..., ...)) == (GEN_EVENT_EXIT, TELLER, swapped)
    assert await event.which_handlers("my_handlers") == [(OTHER, 4)]
    await notify("once more")
    assert await heard((OTHER, "event", "once more"))


async def test_gen_event_notify(case: Make) -> None:
    async def notify(what: Any) -> None:
        event.notify("my_handlers", what)

    async with case() as c:
        await c.run(lambda: notified(notify))


class Slow(Teller):
    """Takes an event only after others have run."""

    async def handle_event(self, what: Any) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        self.tell("taken", what)


async def test_gen_event_sync_notify(case: Make) -> None:
    async def body() -> None:
        await notified(lambda what: event.sync_notify("my_handlers", what))
        await event.add_handler("my_handlers", Slow, partisan.self())
        await event.sync_notify("my_handlers", "at once")
        assert not await nothing_heard((Slow.module, "taken", "at once"))
        with pytest.raises(NoProc):
            await event.sync_notify("nobody", "event")

    async with case() as c:
        await c.run(body)


async def test_gen_event_call(case: Make) -> None:
    async def body() -> None:
        me = partisan.self()
        await event.add_handler("my_handlers", Teller, me)
        await event.add_handler("my_handlers", (Teller, 1), me)
        with pytest.raises(NoHandler):
            await event.call("my_handlers", Other, "hejsan")
        with pytest.raises(NoHandler):
            await event.call("my_handlers", (Teller, 2), "hejsan")
        assert await event.call("my_handlers", Teller, "hejsan") == "hejsan"
        assert await event.call("my_handlers", (Teller, 1), "hejsan", timeout=10.0) == "hejsan"
        with pytest.raises(CallTimeout):
            await sys_suspended(lambda: event.call("my_handlers", Teller, "hejsan", timeout=0.01))
        assert await nothing_heard()  # the late answer is none

        assert await event.call("my_handlers", (Teller, 1), ("remove",)) == "removed"
        assert await event.which_handlers("my_handlers") == [TELLER]
        assert await event.call("my_handlers", Teller, ("swap", Other, me)) == "swapped"
        assert await event.which_handlers("my_handlers") == [OTHER]
        with pytest.raises(HandlerFailed) as failed:
            await event.call("my_handlers", Other, ("raise", "crash"))
        assert failed.value.reason[0] == (Atom("ValueError"), "crash")  # type: ignore[index]
        assert await event.which_handlers("my_handlers") == []
        await supervised()
        with pytest.raises(HandlerFailed):
            await event.call("my_handlers", Teller, ("exit", "gone"))
        assert await heard((GEN_EVENT_EXIT, ..., ...)) == (GEN_EVENT_EXIT, TELLER, (EXIT, "gone"))
        await supervised()
        assert isinstance(await event.call("my_handlers", Teller, ("bad",)), tuple)
        assert (await heard((GEN_EVENT_EXIT, ..., ...)))[1] == TELLER
        await supervised()
        assert await event.call("my_handlers", Teller, ("remove",)) == "removed"
        assert await heard((GEN_EVENT_EXIT, ..., ...)) == (GEN_EVENT_EXIT, TELLER, NORMAL)

    async def sys_suspended(function: Callable[[], Awaitable[Any]]) -> None:
        while not await nothing_heard():
            pass
        await sys.suspend("my_handlers")
        try:
            await function()
        finally:
            await sys.resume("my_handlers")
            await event.which_handlers("my_handlers")

    async with case() as c:
        await c.run(body)


async def test_gen_event_info(case: Make) -> None:
    async def body() -> None:
        me = partisan.self()
        await event.add_handler("my_handlers", Teller, me)
        for message in ("message", (Atom("notify"),), [Atom("notify"), 1], (Atom("unknown"), 1, 2)):
            partisan.send("my_handlers", message)
            assert await heard((TELLER, "info", ...)) == (TELLER, "info", message)
        partisan.send("my_handlers", ("swap", Other, me))
        assert await heard((OTHER, "init", ...)) == (OTHER, "init", "bye")
        partisan.send("my_handlers", ("remove",))
        assert await heard((OTHER, "terminate", ...)) == (OTHER, "terminate", Atom("remove_handler"))
        await supervised()
        partisan.send("my_handlers", ("bad",))
        assert await heard((GEN_EVENT_EXIT, ..., ...)) == (GEN_EVENT_EXIT, TELLER, "bad")
        await supervised()
        partisan.send("my_handlers", ("raise", "crash"))
        assert (await heard((GEN_EVENT_EXIT, ..., ...)))[2][0] == EXIT
        assert await event.which_handlers("my_handlers") == []

    async with case() as c:
        await c.run(body)


def sleeps(c: Case) -> Callable[[], bool]:
    """Whether the manager hibernates."""
    process = c.node.scheduler.find(c.manager)
    assert process is not None
    return lambda: process.hibernating


async def test_gen_event_hibernate(case: Make) -> None:
    async def body() -> None:
        me = partisan.self()
        await event.add_handler("my_handlers", Teller, me)
        await event.which_handlers("my_handlers")
        assert not sleeps(c)()
        assert await event.call("my_handlers", Teller, ("hibernate",)) == "sleeps"
        await eventually(sleeps(c))
        assert await event.call("my_handlers", Teller, "awake?") == "awake?"
        await eventually(lambda: not sleeps(c)())
        event.notify("my_handlers", ("hibernate",))
        await eventually(sleeps(c))
        await event.sync_notify("my_handlers", "wake up")
        await eventually(lambda: not sleeps(c)())
        partisan.send("my_handlers", ("hibernate",))
        await eventually(sleeps(c))
        await event.add_handler("my_handlers", (Teller, 2), (Atom("hibernate"), me))
        await eventually(sleeps(c))
        assert len(await event.which_handlers("my_handlers")) == 2

    async with case() as c:
        await c.run(body)


async def test_gen_event_auto_hibernate(case: Make) -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Teller, partisan.self())
        await eventually(sleeps(c))
        for what in ("one", "two"):
            assert await event.call("my_handlers", Teller, what) == what
            await eventually(sleeps(c))

    async with case() as c:
        await c.run(body, hibernate_after=0.01)


class Dressed(Bare):
    """Shows another state than it has."""

    def handle_event(self, what: Any) -> None:
        raise ValueError("dressed")

    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        return {**status, "state": "dressed", **({"message": "hidden"} if "message" in status else {})}


async def test_gen_event_call_format_status(case: Make) -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Dressed, 1)
        await event.add_handler("my_handlers", (Bare, 1), 2)
        status = repr(await sys.get_status("my_handlers"))
        assert repr([(Bare.module, 1, {"to": 2}), (Dressed.module, False, "dressed")]) in status
        assert "my_handlers" in status

    async with case() as c:
        await c.run(body)


async def test_gen_event_call_format_status_anon(case: Make) -> None:
    async def body() -> None:
        anonymous = await event.start()
        await event.add_handler(anonymous, Dressed, 1)
        status = repr(await sys.get_status(anonymous))
        assert repr([(Dressed.module, False, "dressed")]) in status
        assert str(anonymous) in status
        await event.stop(anonymous)

    async with case() as c:
        await c.run(body)


async def test_gen_event_error_format_status(case: Make) -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Dressed, "secret")
        with Failures() as failures:
            await event.sync_notify("my_handlers", "the event")
        (record,) = failures
        text = record.getMessage()
        assert "state == 'dressed'" in text
        assert "event was: 'hidden'" in text
        assert "secret" not in text
        assert "the event" not in text
        assert record.exc_info is not None

    async with case() as c:
        await c.run(body)


async def test_gen_event_get_state(case: Make) -> None:
    async def body() -> None:
        assert await sys.get_state("my_handlers") == []
        await event.add_handler("my_handlers", Bare, 1)
        await event.add_handler("my_handlers", (Bare, "id"), 2)
        assert await sys.get_state("my_handlers") == [(Bare.module, "id", {"to": 2}), (Bare.module, False, {"to": 1})]
        await sys.suspend("my_handlers")
        assert len(await sys.get_state("my_handlers", 5.0)) == 2
        await sys.resume("my_handlers")

    async with case() as c:
        await c.run(body)


async def test_gen_event_replace_state(case: Make) -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Bare, 1)
        await event.add_handler("my_handlers", (Bare, 2), 2)

        def one_more(entry: Any) -> Any:
            module, identity, state = entry
            return module, identity, {"to": state["to"] + 10}

        both = [(Bare.module, 2, {"to": 12}), (Bare.module, False, {"to": 11})]
        assert await sys.replace_state("my_handlers", one_more) == both
        assert await sys.get_state("my_handlers") == both

        def fails_for_one(entry: Any) -> Any:
            if entry[1] == 2:
                raise ValueError("not this one")
            return one_more(entry)

        half = [(Bare.module, 2, {"to": 12}), (Bare.module, False, {"to": 21})]
        assert await sys.replace_state("my_handlers", fails_for_one) == half
        assert await sys.replace_state("my_handlers", lambda _: "no entry") == half
        await sys.suspend("my_handlers")
        assert (await sys.replace_state("my_handlers", one_more))[0][2] == {"to": 22}
        await sys.resume("my_handlers")

    async with case() as c:
        await c.run(body)


class Lacking(EventHandler):
    """Lacks what a handler must have."""

    init = None  # type: ignore[assignment]


async def test_gen_event_undef_init(case: Make) -> None:
    async def body() -> None:
        for handler, name in ((Lacking, Lacking.module), ("no_such_module", Atom("no_such_module"))):
            with pytest.raises(HandlerFailed) as failed:
                await event.add_handler("my_handlers", handler, "args")
            undef, ((module, function, args, _), *_) = failed.value.reason  # type: ignore[misc]
            assert (undef, module, function) == (UNDEF, name, Atom("init"))
            assert args in (["args"], [])
        assert await event.which_handlers("my_handlers") == []

    async with case() as c:
        await c.run(body)


async def test_gen_event_undef_handle_call(case: Make) -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Bare, 1)
        with pytest.raises(HandlerFailed) as failed:
            await event.call("my_handlers", Bare, "query")
        assert failed.value.reason == (UNDEF, [(Bare.module, Atom("handle_call"), ["query"], [])])
        assert await event.which_handlers("my_handlers") == []

    async with case() as c:
        await c.run(body)


async def test_gen_event_undef_handle_event(case: Make) -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Bare, 1)
        await event.sync_notify("my_handlers", "event")
        assert await event.which_handlers("my_handlers") == []
        await event.add_sup_handler("my_handlers", Bare, 1)
        event.notify("my_handlers", "event")
        term = (EXIT, (UNDEF, [(Bare.module, Atom("handle_event"), ["event"], [])]))
        assert await heard((GEN_EVENT_EXIT, ..., ...)) == (GEN_EVENT_EXIT, Bare.module, term)

    async with case() as c:
        await c.run(body)


async def test_gen_event_undef_handle_info(case: Make, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Bare, 1)
        partisan.send("my_handlers", "hear this")
        assert await event.which_handlers("my_handlers") == [Bare.module]

    async with case() as c:
        await c.run(body)
    assert [record.getMessage() for record in caplog.records if "hear this" in record.getMessage()]


async def test_gen_event_undef_code_change(case: Make) -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Bare, 1)
        await sys.suspend("my_handlers")
        with pytest.raises(Exit) as failed:
            await sys.change_code("my_handlers", Bare.module, "old", "extra")
        tag, (undef, stack) = failed.value.reason  # type: ignore[misc]
        assert (tag, undef) == (EXIT, UNDEF)
        assert stack[0][:2] == (Bare.module, Atom("code_change"))
        await sys.change_code("my_handlers", Atom("another_module"), "old", "extra")  # no handler is of that
        await sys.resume("my_handlers")
        assert await sys.get_state("my_handlers") == [(Bare.module, False, {"to": 1})]

    async with case() as c:
        await c.run(body)


async def test_gen_event_undef_terminate(case: Make) -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Bare, 1)
        assert await event.delete_handler("my_handlers", Bare, "args") == Atom("ok")
        assert await event.which_handlers("my_handlers") == []

    async with case() as c:
        await c.run(body)


class Ends(Bare):
    """Calls what there is not in its `terminate`."""

    def terminate(self, argument: Any) -> Any:
        return argument.no_such_function()


async def test_gen_event_undef_in_terminate(case: Make) -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Ends, 1)
        with Failures() as failures, pytest.raises(HandlerFailed) as failed:
            await event.delete_handler("my_handlers", Ends, "args")
        assert len(failures) == 1
        (kind, text), ((_, function, _, _), *_) = failed.value.reason  # type: ignore[misc]
        assert (kind, function) == (Atom("AttributeError"), Atom("Ends.terminate"))
        assert "no_such_function" in text
        assert await event.which_handlers("my_handlers") == []

    async with case() as c:
        await c.run(body)


def report(**facts: Any) -> event.HandlerReport:
    values: dict[str, Any] = {
        "manager": "my_name",
        "handler": (Atom("my_handler"), 1),
        "message": ["last", "event"] * 2,
        "state": {"deep": [[[["state"]]]], "long": "x" * 1000},
        "reason": (Atom("bad"), "line one\nline two"),
    }
    return event.HandlerReport(**{**values, **facts})


async def test_gen_event_format_log_1(case: Make) -> None:
    lines = event.format_log(report()).split("\n** ")
    assert lines == [
        "gen_event handler (Atom('my_handler'), 1) crashed",
        "Was installed in my_name",
        "Last event was: ['last', 'event', 'last', 'event']",
        f"When handler state == {report().state!r}",
        f"Reason == {report().reason!r}",
    ]
    assert "'state'" not in event.format_log(report(), depth=2)
    short = event.format_log(report(), depth=3)
    assert "..." in short
    assert "xxxx" in short
    assert len(short) < len(event.format_log(report())) - 800


async def test_gen_event_format_log_2(case: Make) -> None:
    class TwoLines:
        def __repr__(self) -> str:
            return "two\n  lines"

    line = event.format_log(report(message=TwoLines()), single_line=True)
    assert "Last event was: two lines. " in line
    assert "\n" not in line
    for part in ("handler (Atom('my_handler'), 1) crashed. Was installed in my_name. Last event was: ", "Reason == "):
        assert part in line
    short = event.format_log(report(), single_line=True, depth=2)
    assert "\n" not in short
    assert "..." in short
    assert len(short) < len(line) - 800
