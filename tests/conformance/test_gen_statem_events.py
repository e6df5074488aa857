"""The cases of `partisan_gen_statem_SUITE` about events and timers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from statem_machines import heard, in_process
from statem_phone import (
    begin,
    both,
)

import partisan
from partisan import Atom, Exit
from partisan.gen import statem, sys
from partisan.gen.statem import (
    CancelTimeout,
    EventTimeout,
    KeepState,
    NextEvent,
    NextState,
    Postpone,
    RepeatState,
    StateTimeout,
    Timeout,
    UpdateTimeout,
)

# Events.


@both
@in_process
async def test_gen_statem_next_events(mode: str) -> None:
    me = partisan.self()

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        partisan.send(me, (state, event_type, content))
        match content:
            case "go":
                inserted = [NextEvent("internal", 1), NextEvent("info", 2), NextEvent("cast", 3)]
                return NextState("b", data, [NextEvent("internal", 0), *inserted])
            case 2:
                return NextState("c", data, NextEvent("internal", "inner"))

    pid = await begin(mode, behave=behave)
    statem.cast(pid, "go")
    statem.cast(pid, "last")
    assert await heard(7) == [
        ("a", "cast", "go"),
        ("b", "internal", 0),
        ("b", "internal", 1),
        ("b", "info", 2),
        ("c", "internal", "inner"),
        ("c", "cast", 3),
        ("c", "cast", "last"),
    ]
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_state_enter(mode: str) -> None:
    me = partisan.self()

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        partisan.send(me, (state, event_type, content, data))
        match event_type, content, state:
            case "enter", _, "b":
                return KeepState(data + 1, [StateTimeout(0, "entered")])
            case "enter", _, "c" if data == 7:
                return RepeatState(data + 1)
            case "enter", _, _:
                return NextState(state, data + 1)
            case "cast", "repeat", _:
                return RepeatState(data + 1)
            case "cast", to, _:
                return NextState(to, data + 1)

    pid = await begin([mode, "state_enter"], behave=behave, begin=NextState("a", 1, NextEvent("internal", "first")))
    assert await heard(2) == [("a", "enter", "a", 1), ("a", "internal", "first", 2)]
    for to in ("a", "b"):
        statem.cast(pid, to)
    assert await heard(4) == [
        ("a", "cast", "a", 2),
        ("a", "cast", "b", 3),
        ("b", "enter", "a", 4),
        ("b", "state_timeout", "entered", 5),
    ]
    statem.cast(pid, "repeat")
    assert await heard(3) == [
        ("b", "cast", "repeat", 5),
        ("b", "enter", "b", 6),
        ("b", "state_timeout", "entered", 7),
    ]
    await sys.replace_state(pid, lambda _: ("b", 6))
    statem.cast(pid, "c")
    assert await heard(3) == [("b", "cast", "c", 6), ("c", "enter", "b", 7), ("c", "enter", "c", 8)]
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_event_order(mode: str) -> None:
    me = partisan.self()

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        partisan.send(me, (state, event_type, content))
        match event_type, content, state:
            case "cast", "late", "a":
                return KeepState(actions=Postpone())
            case "cast", "go", _:
                actions = [StateTimeout(0, "s"), EventTimeout(0, "e"), Timeout("t", 0, "t")]
                return NextState("b", data, [*actions, NextEvent("internal", "i")])

    pid = await begin(mode, behave=behave)
    await sys.suspend(pid)
    for content in ("late", "go"):
        statem.cast(pid, content)
    await sys.resume(pid)
    assert await heard(6) == [
        ("a", "cast", "late"),
        ("a", "cast", "go"),
        ("b", "internal", "i"),
        ("b", "cast", "late"),
        ("b", "state_timeout", "s"),
        ("b", ("timeout", "t"), "t"),
    ]
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_state_timeout(mode: str) -> None:
    me = partisan.self()

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        partisan.send(me, (state, event_type, content))
        match event_type, content, state:
            case "cast", "go", "a":
                return NextState("b", data, StateTimeout(0.001, 1))
            case "state_timeout", 1, "b":
                return KeepState(actions=[StateTimeout(60.0, "never"), NextEvent("internal", 2)])
            case "internal", 2, "b":
                return NextState("c", data, [StateTimeout(0, "zero"), StateTimeout(0, 3)])
            case "state_timeout", 3, "c":
                return NextState("d", data, [StateTimeout(0.001, "stopped"), StateTimeout(None), Timeout("t", 0.002)])

    pid = await begin(mode, behave=behave)
    statem.cast(pid, "go")
    assert await heard(5) == [
        ("a", "cast", "go"),
        ("b", "state_timeout", 1),
        ("b", "internal", 2),
        ("c", "state_timeout", 3),
        ("d", ("timeout", "t"), None),
    ]
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_timeout_cancel_and_update(mode: str) -> None:
    me = partisan.self()

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        if event_type != "cast":
            partisan.send(me, (event_type, content))
            return None
        return KeepState(actions=content)

    pid = await begin(mode, behave=behave)
    timers = ("state_timeout", ("timeout", "t"), "timeout")
    starts = [StateTimeout(0.001, 1), Timeout("t", 0.002, 1), EventTimeout(0.003, 1)]
    statem.cast(pid, [*starts, *map(CancelTimeout, timers), Timeout("u", 0.004, "end")])
    assert await heard(1) == [(("timeout", "u"), "end")]
    for timer, start in zip(timers, starts, strict=True):
        statem.cast(pid, [start, UpdateTimeout(timer, 2)])
        assert await heard(1) == [(timer, 2)]
        statem.cast(pid, [UpdateTimeout(timer, 3)])
        assert await heard(1) == [(timer, 3)]
    await statem.stop(pid)


@both
@in_process
async def test_gen_statem_event_types(mode: str) -> None:
    me = partisan.self()
    types = [
        ("call", (me, Atom("tag"))),
        "cast",
        "info",
        "internal",
        "timeout",
        "state_timeout",
        ("timeout", "name"),
    ]

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        partisan.send(me, (event_type, content))
        if content == "go":
            return KeepState(actions=[NextEvent(each, number) for number, each in enumerate(types)])
        return None

    pid = await begin(mode, behave=behave)
    partisan.send(pid, "go")
    assert await heard(8) == [("info", "go"), *((each, number) for number, each in enumerate(types))]
    await statem.stop(pid)
    for wrong in ("enter", "other", ("call",), ("timeout", 1, 2), Atom("cast")):
        pid = await begin(mode, behave=lambda *_, wrong=wrong: KeepState(actions=NextEvent(wrong, 1)))
        with pytest.raises(Exit) as failed:
            await statem.call(pid, 1)
        assert failed.value.reason[0] == (Atom("bad_action_from_state_function"), NextEvent(wrong, 1))


@both
@in_process
async def test_gen_statem_generic_timers(mode: str) -> None:
    me, clock = partisan.self(), asyncio.get_running_loop().time

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        if event_type == "cast":
            now = clock()
            timers = [Timeout("c", now + 0.006, 3, absolute=True), Timeout("a", 0.002, 1), Timeout(("b", 2), 0.004, 2)]
            return NextState("b", data, [*timers, Timeout("a", 60.0), Timeout("a", 0.002, 1)])
        partisan.send(me, (event_type, content))
        return NextState("c" if state == "b" else "b")

    pid = await begin(mode, behave=behave)
    statem.cast(pid, "go")
    assert await heard(3) == [(("timeout", "a"), 1), (("timeout", ("b", 2)), 2), (("timeout", "c"), 3)]
    await statem.stop(pid)
