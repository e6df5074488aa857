"""Messages that are sent later."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support import Sink, eventually, running

import partisan
from partisan import Atom, Reference

FAR = 3600.0


async def idle() -> None:
    await partisan.receive("never")


async def test_messages_are_sent_when_their_time_comes_and_in_that_order() -> None:
    async with running("a") as [a]:
        sink = Sink(a)
        for message, seconds in (("third", 0.03), ("first", 0.0), ("second", 0.015)):
            assert isinstance(a.send_after(seconds, sink.pid, message), Reference)
        assert sink.messages == []
        assert await sink.has(3) == ["first", "second", "third"]
        assert a.counters()["timers"] == 0


async def test_a_time_that_is_over_is_now() -> None:
    async with running("a") as [a]:
        sink = Sink(a)
        a.send_after(-1.0, "sink", 1)
        assert await sink.has(1) == [1]


async def test_a_cancelled_timer_says_how_much_was_left_and_sends_nothing() -> None:
    async with running("a") as [a]:
        sink = Sink(a)
        timer = a.send_after(FAR, sink.pid, "never")
        left = a.cancel_timer(timer)
        assert left is not None
        assert 0.0 < left < FAR + 0.001  # rounded
        assert a.cancel_timer(timer) is None
        assert a.counters()["timers"] == 0


async def test_a_timer_that_has_fired_cannot_be_cancelled() -> None:
    async with running("a") as [a]:
        sink = Sink(a)
        timer = a.send_after(0.0, sink.pid, "sent")
        await sink.has(1)
        assert a.cancel_timer(timer) is None
        assert a.cancel_timer(a.make_ref()) is None


async def test_a_timer_ends_with_the_process_that_it_is_for() -> None:
    async with running("a") as [a]:
        pid = a.spawn(idle)
        timer = a.send_after(FAR, pid, "never")
        a.send_after(FAR, "by name", "for whoever has it then")
        a.exit(pid, Atom("kill"))
        await eventually(lambda: a.processes() == [])
        assert a.counters()["timers"] == 1
        assert a.cancel_timer(timer) is None


async def test_a_timer_outlives_who_started_it() -> None:
    async with running("a") as [a]:
        sink = Sink(a)

        async def body() -> None:
            partisan.send_after(0.005, "sink", "from the grave")

        a.spawn(body)
        assert await sink.has(1) == ["from the grave"]


async def test_a_message_for_nobody_is_counted_when_its_time_comes() -> None:
    async with running("a") as [a]:
        counted = lambda: a.counters()["events"].get("partisan.queue.undelivered", 0)  # noqa: E731
        before = counted()
        a.send_after(0.0, "nobody", 1)
        a.send_after(0.0, ("somebody", "b@127.0.0.1"), 1)
        await eventually(lambda: counted() == before + 2)
        assert a.counters()["timers"] == 0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("soon", "sink", 1), {}, "time 'soon' is no number of seconds"),
        ((float("nan"), "sink", 1), {}, "time nan is no number of seconds"),
        ((0.0, 7, 1), {}, None),
        ((0.0, "sink", 1), {"colour": "red"}, "colour"),
    ],
)
async def test_what_cannot_be_sent_later_is_refused_at_once(arguments: Any, options: Any, message: str | None) -> None:
    async with running("a") as [a]:
        with pytest.raises(TypeError, match=message):
            a.send_after(*arguments, **options)
        assert a.counters()["timers"] == 0


async def test_a_node_that_stops_cancels_its_timers() -> None:
    async with running("a") as [a]:
        sink = Sink(a)
        a.send_after(0.001, sink.pid, "never")
        a.send_after(FAR, "sink", "never")
        assert a.counters()["timers"] == 2
        await a.stop()
        await asyncio.sleep(0.005)
        assert sink.messages == []
