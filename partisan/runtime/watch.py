"""What a node observes of itself: events that sum up an interval, processes that misbehave, and a snapshot of counters.

Sums and gauges are told every `telemetry_interval` seconds, and only while somebody listens to one of them: a node to
which nobody listens has no timer, and what is summed is counted anyway (`net/traffic.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from partisan import telemetry
from partisan._core.bound import Bound
from partisan._core.connections import ConnectionTable
from partisan._core.process import Process
from partisan._core.scheduler import Scheduler
from partisan.etf import Reference
from partisan.net.context import Context
from partisan.runtime.parts import NodePart
from partisan.runtime.process_info import frame_of
from partisan.runtime.timer_calls import Timer

log = logging.getLogger(__name__)

Waiting = tuple[str, str, int, int]
"""Node, channel, messages, octets."""


class Sampler:
    """Tells, every interval, what has passed and what waits.

    Args:
        context: the node's.
        table, scheduler: its connections and processes.
    Attributes:
        monitors: how many monitors the node holds of processes and nodes elsewhere; for whoever keeps them to set.
        unacknowledged: what waits to be acknowledged; for whoever keeps it to set.
    """

    def __init__(self, context: Context, table: ConnectionTable, scheduler: Scheduler) -> None:
        self.monitors: Callable[[], int] = lambda: 0
        self.unacknowledged: Callable[[], Iterable[Waiting]] = tuple
        self._context = context
        self._table = table
        self._scheduler = scheduler
        self._timer: asyncio.TimerHandle | None = None
        self._outstanding: set[tuple[str, str]] = set()
        self._dropped: dict[tuple[str, str], tuple[int, int]] = {}
        self._delivered = 0
        self._lost = 0

    def heed(self) -> None:
        """Somebody begins or ceases to listen: run if anybody wants what is told here."""
        wanted = any(self._context.telemetry.wants(event) for event in telemetry.SAMPLED)
        if wanted and self._timer is None:
            self._context.traffic.listen(True)
            self._dropped = {key: _dropped(bound) for key, bound in bounds(self._table)}
            self._delivered, self._lost = self._scheduler.delivered, self._scheduler.dropped
            self._outstanding = set()
            self._rest()
        elif not wanted:
            self.stop()

    def retime(self) -> None:
        """The interval is another one from now on."""
        if self._timer is not None:
            self._timer.cancel()
            self._rest()

    def stop(self) -> None:
        """Tell nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._context.traffic.listen(False)

    def _rest(self) -> None:
        self._timer = self._context.loop.call_later(self._context.config.telemetry_interval, self._tell)

    def _tell(self) -> None:
        self._rest()
        self._tell_traffic()
        self._tell_queues()
        emit, queue = self._context.telemetry.emit, self._context.telemetry.tell_queue
        emit(telemetry.CONNECTION_MONITORS, {"count": self.monitors()})
        before, self._delivered = self._delivered, self._scheduler.delivered
        if self._delivered > before:
            emit(telemetry.QUEUE_DELIVERED, {"count": self._delivered - before}, {"side": "receiver"})
        before, self._lost = self._lost, self._scheduler.dropped
        if self._lost > before:
            emit(telemetry.QUEUE_DROPPED, {"count": self._lost - before}, {"side": "receiver"})
        for node, channel, count, octets in self.unacknowledged():
            queue(telemetry.QUEUE_UNACKNOWLEDGED, node, channel, count=count, octets=octets)

    def _tell_traffic(self) -> None:
        emit = self._context.telemetry.emit
        for (node, channel), passed in self._context.traffic.report().items():
            about = {"node": node, "channel": channel}
            if passed.sent_octets or passed.sent_frames:
                sent = {"octets": passed.sent_octets, "frames": passed.sent_frames}
                emit(telemetry.SOCKET_SEND, sent, about)
            if passed.received_octets:
                received = {"octets": passed.received_octets, "frames": passed.received_frames}
                emit(telemetry.SOCKET_RECV, received, about)

    def _tell_queues(self) -> None:
        events = self._context.telemetry
        for key, bound in bounds(self._table):
            node, channel = key
            if bound.queued_octets or key in self._outstanding:
                about = {"node": node, "channel": channel}
                events.emit(telemetry.CONNECTION_OUTSTANDING, {"octets": bound.queued_octets}, about)
                (self._outstanding.add if bound.queued_octets else self._outstanding.discard)(key)
            frames, octets = self._dropped.get(key, (0, 0))
            if bound.dropped_frames > frames:
                self._dropped[key] = _dropped(bound)
                count, size = bound.dropped_frames - frames, bound.dropped_octets - octets
                events.tell_queue(telemetry.QUEUE_DROPPED, node, channel, count=count, octets=size, side="sender")


def bounds(table: ConnectionTable) -> Iterator[tuple[tuple[str, str], Bound]]:
    """The octet bounds of a table, by (node, channel)."""
    for peer in table.peers.values():
        for lane in peer.lanes.values():
            yield (peer.name, lane.channel), lane.bound


def _dropped(bound: Bound) -> tuple[int, int]:
    return bound.dropped_frames, bound.dropped_octets


def whereabouts(process: Process) -> str | None:
    """The line at which a process waits, as `file:line in function`; None if it has ended."""
    found = frame_of(process)
    return None if found is None else f"{found.f_code.co_filename}:{found.f_lineno} in {found.f_code.co_qualname}"


class Watch(NodePart):
    """The methods of a node that are about what it observes of itself."""

    _context: Context
    _sampler: Sampler
    _timers: dict[Reference, Timer]

    def counters(self) -> dict[str, Any]:
        """All counters of the node since it was started, as one dict of plain values.

        `docs/telemetry.md` describes it. Counting costs nothing extra; this costs as much as there are connections and
        processes.
        """
        self._check()
        total = self._context.traffic.total()
        queues: dict[str, dict[str, dict[str, int]]] = {}
        for (node, channel), bound in bounds(self.table):
            queues.setdefault(node, {})[channel] = {
                "queued_octets": bound.queued_octets,
                "dropped_frames": bound.dropped_frames,
                "dropped_octets": bound.dropped_octets,
                "superseded_frames": bound.superseded_frames,
            }
        return {
            "events": self.telemetry.counters(),
            "sent": {"octets": total.sent_octets, "frames": total.sent_frames},
            "received": {"octets": total.received_octets, "frames": total.received_frames},
            "connections": self._context.traffic.counts(),
            "queues": queues,
            **self.scheduler.census(),
            "timers": len(self._timers),
            "messages": {
                "delivered": self.scheduler.delivered,
                "undelivered": self.router.undelivered,
                "dropped": self.scheduler.dropped,
            },
        }

    def _watch(self) -> None:
        """Report what processes should not do, by the options in force."""
        self.scheduler.watch(
            stopwatch=time.perf_counter,
            long_step=self.config.long_schedule,
            slow=self._slow,
            large_mailbox=self.config.large_mailbox,
            crowd=self._crowd,
        )

    def _slow(self, process: Process | None, seconds: float, steps: int) -> None:
        about: dict[str, Any] = {"process": None, "name": None, "where": None}
        if process is not None:
            name, where = process.get_name(), whereabouts(process)
            about = {"process": process.pid, "name": name, "where": where}
            said = "%s: %r held all others up for %.0f ms; it " + ("has ended%s" if where is None else "waits at %s")
            self._context.log(
                log, logging.WARNING, ("long_schedule", name), said, self.name, process, seconds * 1000.0, where or ""
            )
        self.telemetry.emit(telemetry.LONG_SCHEDULE, {"seconds": seconds, "steps": steps}, about)

    def _crowd(self, process: Process) -> None:
        about = {"process": process.pid, "name": process.get_name()}
        self.telemetry.emit(telemetry.LARGE_MAILBOX, {"messages": len(process.mailbox)}, about)
