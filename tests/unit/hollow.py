"""A node's compiled core without a loop, a clock or a socket: time, wake-ups and the wire are the test's."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from partisan._core.bound import Bound
from partisan._core.connections import ConnectionTable
from partisan._core.frame import FrameReader, Slab
from partisan._core.inbound import Inbound
from partisan._core.process import Process, receive
from partisan._core.router import Router
from partisan._core.scheduler import Scheduler
from partisan._core.sendqueue import SendQueue
from partisan.errors import ReceiveTimeout
from partisan.etf import Codec
from partisan.runtime.exits import ExitSignal as RealExitSignal


class Cancelled(BaseException):
    """What cancel() raises inside a process here."""


class ExitSignal(Cancelled):
    """What an exit signal raises inside a process here."""


class Timer:
    """A handle as a loop's `call_later` gives."""

    def __init__(self, due: float, function: Callable[[], object]) -> None:
        self.due = due
        self.function = function
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Core:
    """The scheduler, connection table and router of one node; on a real loop only where one is given.

    Attributes:
        now: seconds; moved by `advance`.
        timers: all that were started.
        exits: (process, reason, error) of each process that has ended.
        undelivered: (target, message) for nobody.
        tasks: what asyncio would call the current task, at each step and after it.
        relieved: (bound, over) at each change.
        unknown: (node, channel) of messages on channels that nobody knows.
        parted: one for each time that the table asked to be called to gather.
    """

    def __init__(
        self,
        name: str = "a@127.0.0.1",
        *,
        first_key: int = 1,
        policy: str = "wait",
        high_water: int = 1 << 20,
        hard_limit: int = 1 << 24,
        fallback: bool = True,
        channels: tuple[str, ...] = (),
        codec: Codec | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        shares: bool = False,
    ) -> None:
        self.name = name
        self.now = 0.0
        self.timers: list[Timer] = []
        self.exits: list[tuple[Process, object, BaseException | None]] = []
        self.undelivered: list[tuple[object, object]] = []
        self.tasks: list[Process | None] = []
        self.relieved: list[tuple[Bound, bool]] = []
        self.unknown: list[tuple[str, str]] = []
        self.parted: list[bool] = []
        self.soon: deque[Callable[[], object]] = deque()
        self.limits: dict[str, Any] = {"policy": policy, "high_water": high_water, "hard_limit": hard_limit}
        self.codec = codec if codec is not None else Codec(remote_refs=True, encode_refs="tuple")
        self.scheduler = Scheduler(
            name,
            first_key=first_key,
            wake=lambda: self.router.rouse(),
            clock=(lambda: self.now) if loop is None else loop.time,
            call_later=self.call_later if loop is None else loop.call_later,
            loop=self if loop is None else loop,
            enter_task=(lambda loop, task: self.tasks.append(task)) if loop is None else asyncio.tasks._enter_task,
            leave_task=(lambda loop, task: self.tasks.append(None)) if loop is None else asyncio.tasks._leave_task,
            cancelled=Cancelled if loop is None else asyncio.CancelledError,
            exit_signal=ExitSignal if loop is None else RealExitSignal,
            crash_reason=lambda error: error,
            exited=lambda process, reason, error: self.exits.append((process, reason, error)),
        )
        self.table = ConnectionTable(
            bound=self.bound,
            fallback=fallback,
            channels=channels,
            unknown=lambda node, channel: self.unknown.append((node, channel)),
            shares=shares,
            parted=lambda: self.parted.append(True),
        )
        self.router = Router(
            name,
            codec=self.codec,
            scheduler=self.scheduler,
            table=self.table,
            clock=lambda: self.now,
            call_soon=self.soon.append if loop is None else loop.call_soon,
            undeliverable=lambda target, message: self.undelivered.append((target, message)),
        )
        self.send = self.router.send

    def bound(self, node: str, channel: str) -> Bound:
        return Bound(node, channel, changed=lambda bound: self.relieved.append((bound, bound.over)), **self.limits)

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        timer = Timer(self.now + seconds, function)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass; fire what is due, in order, and run."""
        self.now += seconds
        for timer in sorted(self.timers, key=lambda timer: timer.due):
            if timer.due <= self.now and not timer.cancelled:
                timer.cancelled = True
                timer.function()
                self.run()

    def turn(self) -> None:
        """Make one loop turn: what was arranged for before it began."""
        for _ in range(len(self.soon)):
            self.soon.popleft()()

    def run(self) -> None:
        """Make loop turns until nothing is left to do."""
        while self.soon:
            self.turn()

    def start(self, coroutine: Coroutine[Any, Any, Any], title: str = "test") -> Process:
        """Spawn a process without running it."""
        return self.scheduler.spawn(coroutine, title)

    def spawn(self, coroutine: Coroutine[Any, Any, Any], title: str = "test") -> Process:
        """Spawn a process and run until nothing is left to do."""
        process = self.start(coroutine, title)
        self.run()
        return process

    def tell(self, process: Process, *messages: object) -> None:
        """Put messages into a mailbox, one after the other, then run."""
        for message in messages:
            self.scheduler.send_local(process, message)
        self.run()

    def connect(self, peer: str, channel: str = "undefined", **options: Any) -> SendQueue:
        """Bring a connection up whose wire is whoever calls `drain`."""
        kind = options.pop("kind", SendQueue)
        lane = self.table.lane(peer, channel)
        queue: SendQueue = kind(lane.bound, schedule=self.router.mark, **{"write": lambda: None, **options})
        self.table.add(peer, channel, queue)
        return queue

    def inbound(self, **options: Any) -> Inbound:
        """Make the reading side of a connection to this node."""
        self.controlled: list[object] = []
        return Inbound(
            Slab(), options.pop("max_frame", 1 << 20), router=self.router, link=self, control=self.controlled.append
        )

    def close(self) -> None:
        """End every process, so that no coroutine is left behind."""
        for process in list(self.scheduler.processes.values()):
            self.scheduler.interrupt(process, Cancelled())
        self.run()


def drain(queue: SendQueue, now: float = 0.0) -> bytes:
    """Take all that waits in a queue, as a link with an insatiable socket would."""
    octets = bytearray()
    while queue.prepare(now):
        piece = b"".join(queue.segments())
        octets += piece
        queue.sent(len(piece))
    queue.written(False)
    return bytes(octets)


def framed(body: bytes) -> bytes:
    """Put a frame's length before it."""
    return struct.pack(">I", len(body)) + body


def bodies(octets: bytes) -> Iterator[bytes]:
    """Cut a stream of whole frames."""
    position = 0
    while position < len(octets):
        (length,) = struct.unpack_from(">I", octets, position)
        yield octets[position + 4 : position + 4 + length]
        position += 4 + length


def messages(octets: bytes, codec: Codec) -> list[Any]:
    """Decode a stream of whole frames; of plain messages only the message."""
    found = []
    for body in bodies(octets):
        term = codec.decode(body)
        found.append(term[2] if isinstance(term, tuple) and str(term[0]) == "forward_message" else term)
    return found


def sent(core: Core, queues: list[SendQueue]) -> list[list[Any]]:
    """What waits in each queue, taken out."""
    return [messages(drain(queue), core.codec) for queue in queues]


class Barriers(list[Callable[[], None]]):
    """The functions that wait for the peer to have handled what was sent."""

    def fire(self) -> None:
        waiting, self[:] = list(self), []
        for function in waiting:
            function()


class Frames(FrameReader):
    """A frame reader that keeps what it cut."""

    def __init__(self, slab: Slab, max_frame: int = 256 << 20) -> None:
        self.found: list[tuple[bytes, list[bytes] | None]] = []

    def frame(self, body: bytes, planted: list[bytes] | None) -> None:
        self.found.append((body, planted))


def whole(frame: tuple[bytes, list[bytes] | None]) -> bytes:
    """Put the planted binaries of a frame back into its body."""
    body, planted = frame
    if not planted:
        return body
    result, position = bytearray(), 0
    for binary in planted:
        header = b"m" + struct.pack(">I", len(binary))
        here = body.index(header, position) + len(header)
        result += body[position:here] + binary
        position = here
    return bytes(result + body[position:])


async def collect(found: list[object], *patterns: object, timeout: float | None = None) -> None:
    """Receive for ever, into `found`; a time-out is found too."""
    while True:
        try:
            found.append(await receive(*patterns, timeout=timeout))
        except ReceiveTimeout as error:
            found.append(error)
            return
