"""The cases of OTP's gen_event suite that Partisan adapted, each with the outcome that it has in OTP.

Those about the manager as a process of OTP are in `test_gen_event_system`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from event_support import Other, Teller, heard, nothing_heard
from gen_events import TELLER, managed, supervised

import partisan
from partisan import Atom
from partisan.errors import AlreadyStarted, CallTimeout, Exit, HandlerFailed, NoHandler, NoProc, StartFailed
from partisan.gen import event, sys

ERROR, EXIT, NORMAL, STOP = map(Atom, ("error", "EXIT", "normal", "stop"))
GEN_EVENT_EXIT, DOWN = Atom("gen_event_EXIT"), Atom("DOWN")
OTHER = Other.module


async def test_gen_event_start() -> None:
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

    async with managed() as c:
        await c.run(body)


async def test_gen_event_start_opt() -> None:
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

    async with managed() as c:
        await c.run(body, handlers=[Teller], timeout=20.0, debug=["statistics", "log"])


async def test_gen_event_add_handler() -> None:
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

    async with managed() as c:
        await c.run(body)


async def test_gen_event_add_sup_handler() -> None:
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

    async with managed() as c:
        await c.run(body)


async def test_gen_event_delete_handler() -> None:
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

    async with managed() as c:
        await c.run(body)


async def test_gen_event_swap_handler() -> None:
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

    async with managed() as c:
        await c.run(body)


async def test_gen_event_swap_sup_handler() -> None:
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

    async with managed() as c:
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


async def test_gen_event_notify() -> None:
    async def notify(what: Any) -> None:
        event.notify("my_handlers", what)

    async with managed() as c:
        await c.run(lambda: notified(notify))


class Slow(Teller):
    """Takes an event only after others have run."""

    async def handle_event(self, what: Any) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        self.tell("taken", what)


async def test_gen_event_sync_notify() -> None:
    async def body() -> None:
        await notified(lambda what: event.sync_notify("my_handlers", what))
        await event.add_handler("my_handlers", Slow, partisan.self())
        await event.sync_notify("my_handlers", "at once")
        assert not await nothing_heard((Slow.module, "taken", "at once"))
        with pytest.raises(NoProc):
            await event.sync_notify("nobody", "event")

    async with managed() as c:
        await c.run(body)


async def test_gen_event_call() -> None:
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

    async with managed() as c:
        await c.run(body)


async def test_gen_event_info() -> None:
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

    async with managed() as c:
        await c.run(body)
