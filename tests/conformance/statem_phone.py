"""The machine of most cases of `partisan_gen_statem_SUITE`, and what they share."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from statem_machines import MODES, Scripted

import partisan
from partisan import Atom, NoProc
from partisan.gen import statem
from partisan.gen.statem import (
    KeepState,
    NextState,
    Postpone,
    Reply,
)

both = pytest.mark.parametrize("mode", MODES)

DOWN, EXIT, NORMAL, SHUTDOWN, ERROR = map(Atom, ("DOWN", "EXIT", "normal", "shutdown", "error"))
STEM = "my_stm"


def phone(event_type: Any, content: Any, state: Any, data: Any) -> Any:
    """A telephone: "a" is idle, "b" waits for a confirmation, "c" is connected."""
    match event_type, content, state:
        case ("call", caller), "state?", _:
            return KeepState(actions=Reply(caller, (state, data)))
        case ("call", caller), ("delay", seconds), _:
            return KeepState(actions=[Reply(caller, "delayed")]) if seconds == 0 else later(caller, seconds)
        case ("call", caller), "connect", "a":
            return NextState("b", data + 1, Reply(caller, "accept"))
        case ("call", caller), "hold", "b":
            return KeepState(actions=[Postpone()])
        case ("call", caller), "hold", "c":
            return KeepState(actions=Reply(caller, "held"))
        case ("call", caller), "confirm", "b":
            return NextState("c", data, [Reply(caller, "confirmed")])
        case ("call", caller), "disconnect", "c":
            statem.reply(caller, "bye")
            return NextState("a", data)
        case ("call", caller), _, _:
            return KeepState(actions=Reply(caller, ("busy", state)))
        case "cast", ("connect", who), "a":
            partisan.send(who, "accept")
            return NextState("b", data + 1)
        case "cast", "confirm", "b":
            return NextState("c")
        case "cast", ("message", who, text), "c":
            partisan.send(who, ("echo", text))
            return None
        case "cast", "disconnect", "c":
            return NextState("a")
        case _:
            return None


async def later(caller: Any, seconds: float) -> KeepState:
    """Answer after a while."""
    await asyncio.sleep(seconds)
    return KeepState(actions=Reply(caller, "delayed"))


async def begin(mode: Any, how: Any = "start", behave: Any = phone, begin: Any = None, **options: Any) -> Any:
    """Start a machine."""
    return await getattr(Scripted, how)(args=(mode, behave, begin), **options)


async def works(target: Any) -> None:
    """The machine goes through its states, told by casts and by calls."""
    statem.cast(target, ("connect", partisan.self()))
    assert await partisan.receive("accept", timeout=10.0) == "accept"
    statem.cast(target, "confirm")
    statem.cast(target, ("message", partisan.self(), "hello"))
    assert await partisan.receive(("echo", ...), timeout=10.0) == ("echo", "hello")
    statem.cast(target, "disconnect")
    assert await statem.call(target, "connect") == "accept"
    assert await statem.call(target, "connect") == ("busy", "b")
    held = statem.send_request(target, "hold")
    assert await statem.call(target, "confirm") == "confirmed"
    assert await statem.receive_response(held, 10.0) == "held"
    assert await statem.call(target, "disconnect") == "bye"
    state, _ = await statem.call(target, "state?", timeout=10.0)
    assert state == "a"


async def stopped(target: Any) -> None:
    """The machine stops when told to, and is gone then."""
    await statem.stop(target)
    with pytest.raises(NoProc):
        await statem.call(target, "state?")


async def ended(pid: Any) -> Any:
    """The reason of the exit signal from a process that is linked."""
    return (await partisan.receive((EXIT, pid, ...), timeout=10.0))[2]


async def down(reference: Any) -> Any:
    """The reason of the end of a process that is monitored."""
    return (await partisan.receive((DOWN, reference, ..., ..., ...), timeout=10.0))[4]


def reports(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """The reports of ends that were logged."""
    return [record.report for record in caplog.records if hasattr(record, "report")]
