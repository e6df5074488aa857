"""The cases of OTP's gen_event suite about its manager as a process: sleep, state, status, missing callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from event_support import Bare, Failures, Teller, heard
from gen_events import Case, managed
from support import eventually

import partisan
from partisan import Atom
from partisan.errors import Exit, HandlerFailed
from partisan.gen import event, sys
from partisan.gen.event import EventHandler

EXIT, UNDEF, GEN_EVENT_EXIT = map(Atom, ("EXIT", "undef", "gen_event_EXIT"))


def sleeps(c: Case) -> Callable[[], bool]:
    """Whether the manager hibernates."""
    process = c.node.scheduler.find(c.manager)
    assert process is not None
    return lambda: process.hibernating


async def test_gen_event_hibernate() -> None:
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

    async with managed() as c:
        await c.run(body)


async def test_gen_event_auto_hibernate() -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Teller, partisan.self())
        await eventually(sleeps(c))
        for what in ("one", "two"):
            assert await event.call("my_handlers", Teller, what) == what
            await eventually(sleeps(c))

    async with managed() as c:
        await c.run(body, hibernate_after=0.01)


class Dressed(Bare):
    """Shows another state than it has."""

    def handle_event(self, what: Any) -> None:
        raise ValueError("dressed")

    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        return {**status, "state": "dressed", **({"message": "hidden"} if "message" in status else {})}


async def test_gen_event_call_format_status() -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Dressed, 1)
        await event.add_handler("my_handlers", (Bare, 1), 2)
        status = repr(await sys.get_status("my_handlers"))
        assert repr([(Bare.module, 1, {"to": 2}), (Dressed.module, False, "dressed")]) in status
        assert "my_handlers" in status

    async with managed() as c:
        await c.run(body)


async def test_gen_event_call_format_status_anon() -> None:
    async def body() -> None:
        anonymous = await event.start()
        await event.add_handler(anonymous, Dressed, 1)
        status = repr(await sys.get_status(anonymous))
        assert repr([(Dressed.module, False, "dressed")]) in status
        assert str(anonymous) in status
        await event.stop(anonymous)

    async with managed() as c:
        await c.run(body)


async def test_gen_event_error_format_status() -> None:
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

    async with managed() as c:
        await c.run(body)


async def test_gen_event_get_state() -> None:
    async def body() -> None:
        assert await sys.get_state("my_handlers") == []
        await event.add_handler("my_handlers", Bare, 1)
        await event.add_handler("my_handlers", (Bare, "id"), 2)
        assert await sys.get_state("my_handlers") == [(Bare.module, "id", {"to": 2}), (Bare.module, False, {"to": 1})]
        await sys.suspend("my_handlers")
        assert len(await sys.get_state("my_handlers", 5.0)) == 2
        await sys.resume("my_handlers")

    async with managed() as c:
        await c.run(body)


async def test_gen_event_replace_state() -> None:
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

    async with managed() as c:
        await c.run(body)


class Lacking(EventHandler):
    """Lacks what a handler must have."""

    init = None  # type: ignore[assignment]


async def test_gen_event_undef_init() -> None:
    async def body() -> None:
        for handler, name in ((Lacking, Lacking.module), ("no_such_module", Atom("no_such_module"))):
            with pytest.raises(HandlerFailed) as failed:
                await event.add_handler("my_handlers", handler, "args")
            undef, ((module, function, args, _), *_) = failed.value.reason  # type: ignore[misc]
            assert (undef, module, function) == (UNDEF, name, Atom("init"))
            assert args in (["args"], [])
        assert await event.which_handlers("my_handlers") == []

    async with managed() as c:
        await c.run(body)


async def test_gen_event_undef_handle_call() -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Bare, 1)
        with pytest.raises(HandlerFailed) as failed:
            await event.call("my_handlers", Bare, "query")
        assert failed.value.reason == (UNDEF, [(Bare.module, Atom("handle_call"), ["query"], [])])
        assert await event.which_handlers("my_handlers") == []

    async with managed() as c:
        await c.run(body)


async def test_gen_event_undef_handle_event() -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Bare, 1)
        await event.sync_notify("my_handlers", "event")
        assert await event.which_handlers("my_handlers") == []
        await event.add_sup_handler("my_handlers", Bare, 1)
        event.notify("my_handlers", "event")
        term = (EXIT, (UNDEF, [(Bare.module, Atom("handle_event"), ["event"], [])]))
        assert await heard((GEN_EVENT_EXIT, ..., ...)) == (GEN_EVENT_EXIT, Bare.module, term)

    async with managed() as c:
        await c.run(body)


async def test_gen_event_undef_handle_info(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Bare, 1)
        partisan.send("my_handlers", "hear this")
        assert await event.which_handlers("my_handlers") == [Bare.module]

    async with managed() as c:
        await c.run(body)
    assert [record.getMessage() for record in caplog.records if "hear this" in record.getMessage()]


async def test_gen_event_undef_code_change() -> None:
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

    async with managed() as c:
        await c.run(body)


async def test_gen_event_undef_terminate() -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Bare, 1)
        assert await event.delete_handler("my_handlers", Bare, "args") == Atom("ok")
        assert await event.which_handlers("my_handlers") == []

    async with managed() as c:
        await c.run(body)


class Ends(Bare):
    """Calls what there is not in its `terminate`."""

    def terminate(self, argument: Any) -> Any:
        return argument.no_such_function()


async def test_gen_event_undef_in_terminate() -> None:
    async def body() -> None:
        await event.add_handler("my_handlers", Ends, 1)
        with Failures() as failures, pytest.raises(HandlerFailed) as failed:
            await event.delete_handler("my_handlers", Ends, "args")
        assert len(failures) == 1
        (kind, text), ((_, function, _, _), *_) = failed.value.reason  # type: ignore[misc]
        assert (kind, function) == (Atom("AttributeError"), Atom("Ends.terminate"))
        assert "no_such_function" in text
        assert await event.which_handlers("my_handlers") == []

    async with managed() as c:
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


async def test_gen_event_format_log_1() -> None:
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


async def test_gen_event_format_log_2() -> None:
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
