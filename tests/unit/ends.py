"""Two ends whose connections come, go, stall and deliver in any order: that nothing overtakes."""

from __future__ import annotations

import random
from collections.abc import Callable

from partisan._core.frame import Slab
from partisan._core.router import PairKey
from partisan._core.sendqueue import SendQueue
from partisan.errors import NotConnected
from partisan.etf import Atom
from tests.unit.hollow import Core, Frames, drain, whole

PEER = "b@127.0.0.1"
DEFAULT = "undefined"
SLAB = Slab()


class Connection:
    """One connection between two ends: a queue, octets on their way, and a reader."""

    def __init__(self, ends: Ends, channel: str) -> None:
        self.ends = ends
        self.channel = channel
        self.wire = bytearray()
        self.reader = Frames(SLAB)
        self.probes: dict[int, Callable[[], None]] = {}
        self.answers: list[int] = []
        bound = ends.core.table.lane(PEER, channel).bound
        self.queue = SendQueue(bound, barrier=self.probe, write=lambda: None, quantum=40_000)

    def probe(self, handled: Callable[[], None]) -> None:
        tag = len(self.ends.tags)
        self.ends.tags.append(tag)
        self.probes[tag] = handled
        self.queue.push(self.ends.core.codec, (Atom("ping"), tag))

    def handle(self, octets: int) -> None:
        """The peer reads so many octets, and handles what is whole."""
        data, self.wire = bytes(self.wire[:octets]), self.wire[octets:]
        self.reader.receive_data(data)
        found, self.reader.found = self.reader.found, []
        for frame in found:
            term = self.ends.core.codec.decode(whole(frame))
            if term[0] == Atom("ping"):
                self.answers.append(term[1])
            else:
                self.ends.arrived(term[2])

    def answer(self) -> None:
        """The answers to probes come back."""
        answers, self.answers = self.answers, []
        for tag in answers:
            handled = self.probes.pop(tag, None)
            if handled is not None:
                handled()

    def settle(self) -> None:
        probes, self.probes = self.probes, {}
        for handled in probes.values():
            handled()


class Ends:
    """Two ends whose connections come, go, stall and deliver in any order.

    What is on its way when a connection is lost is lost: a peer that sees the end of a stream has no more of it. What
    is on its way when this side gives a connection up may still arrive, late.
    """

    def __init__(self, seed: int, shares: bool) -> None:
        self.chance = random.Random(seed)
        self.core = Core(high_water=1 << 30, hard_limit=1 << 30, shares=shares)
        self.core.table.configure(PEER, {DEFAULT: 1, "data": self.chance.randint(1, 8)})
        self.up: list[Connection] = []
        self.retired: list[Connection] = []
        self.tags: list[int] = []
        self.lost = False
        self.numbers: dict[tuple[str, int], int] = {}
        self.seen: dict[tuple[str, int], list[int]] = {}

    def crowd(self, steps: int) -> None:
        """Four connections, on which somebody waits most of the time; now and then nobody does."""
        self.core.table.configure(PEER, {DEFAULT: 1, "data": 4})
        while len(self.up) < 4:
            self.connect("data")
        actions: dict[Callable[[], None], int] = {
            self.send_much: 2, self.write: 20, self.read: 20, self.hear: 10, self.look: 1,
        }  # fmt: skip
        for action in self.chance.choices(list(actions), list(actions.values()), k=steps):
            action()
        self.rest()

    def look(self) -> None:
        self.core.table.gather()

    def send_much(self) -> None:
        """Send a large message by one of a few pairs, and small ones."""
        self.send("data", self.chance.randint(0, 3), 1 << 20)
        for _ in range(self.chance.randint(0, 3)):
            self.send("data", self.chance.randint(0, 6), 10)

    def live(self, steps: int, losses: bool) -> None:
        """Do so many things at random, then let all come to rest."""
        actions: dict[Callable[[], None], int] = {
            self.send_any: 8, self.connect_any: 2, self.write: 5, self.read: 5, self.hear: 3, self.configure: 1,
            self.lose: 1 if losses else 0, self.give_up: 1 if losses else 0, self.read_late: 2, self.release: 1,
            self.gather: 4 if self.core.table.shares else 0,
        }  # fmt: skip
        for action in self.chance.choices(list(actions), list(actions.values()), k=steps):
            if self.retired if action in (self.read_late, self.release) else self.up or action in (
                self.send_any, self.connect_any, self.configure, self.gather,
            ):  # fmt: skip
                action()
        self.rest()

    def arrived(self, message: tuple[bytes, int, int, bytes]) -> None:
        channel, pair, number, _ = message
        seen = self.seen.setdefault((channel.decode(), pair), [])
        assert not seen or seen[-1] < number, "a swap"
        seen.append(number)

    def send_any(self) -> None:
        self.send(
            self.chance.choice(["data", DEFAULT]), self.chance.randint(0, 8), self.chance.choice([0, 10, 50, 66_000])
        )

    def send(self, channel: str, pair: int, octets: int) -> None:
        number = self.numbers.get((channel, pair), 0)
        message = (channel, pair, number, b"x" * octets)
        try:
            self.core.send(("sink", PEER), message, channel=channel, partition_key=self.key(pair))
        except NotConnected:
            assert not any(connection.channel in (channel, DEFAULT) for connection in self.up)
        else:
            self.numbers[channel, pair] = number + 1

    def key(self, pair: int) -> int | PairKey:
        """What a message of a pair is sent with; some pairs have one slot, and two use partition keys instead."""
        return pair if pair > 6 else PairKey(pair * 16)

    def connect_any(self) -> None:
        if len(self.up) < 10:
            self.connect(self.chance.choice(["data", "data", DEFAULT]))

    def connect(self, channel: str) -> None:
        connection = Connection(self, channel)
        self.up.append(connection)
        self.core.table.add(PEER, channel, connection.queue)

    def lose(self) -> None:
        """As a link does it: whichever of the socket and the owner hears of it first."""
        connection = self.chance.choice(self.up)
        self.up.remove(connection)
        connection.wire.clear()
        if self.chance.random() < 0.5:
            connection.queue.close()
            connection.settle()
        else:
            connection.settle()
            connection.queue.close()
        self.core.table.remove(PEER, connection.channel, connection.queue)
        self.lost = True

    def give_up(self) -> None:
        """As this side does it: the peer has not seen the end yet."""
        connection = self.chance.choice(self.up)
        self.up.remove(connection)
        self.retired.append(connection)
        connection.queue.close()
        self.core.table.retire(PEER, connection.channel, connection.queue)
        self.lost = True

    def read_late(self) -> None:
        self.chance.choice(self.retired).handle(self.chance.choice([1, 20, 200, 100_000, 2_000_000]))

    def release(self) -> None:
        """The peer closes a connection that was given up: all of it is read, or it gives the rest up, too."""
        connection = self.chance.choice(self.retired)
        self.retired.remove(connection)
        if self.chance.random() < 0.5:
            connection.handle(len(connection.wire))
        connection.settle()
        self.core.table.release(PEER, connection.channel, connection.queue)
        if not self.up and self.chance.random() < 0.5:
            self.core.table.discard(PEER)
            self.configure()

    def write(self) -> None:
        connection = self.chance.choice(self.up)
        piece = b"".join(connection.queue.segments())
        piece = piece[: max(1, int(len(piece) * self.chance.random()))]
        connection.wire += piece
        connection.queue.written(blocked=connection.queue.sent(len(piece)) > 0 and self.chance.random() < 0.7)

    def gather(self) -> None:
        """Look so often that slots come together where nobody waits, however often that was in vain."""
        for _ in range(self.chance.choice([1, 1, 8, 100])):
            self.core.table.gather()

    def read(self) -> None:
        self.chance.choice(self.up).handle(self.chance.choice([1, 20, 200, 100_000, 2_000_000]))

    def hear(self) -> None:
        self.chance.choice(self.up).answer()

    def configure(self) -> None:
        self.core.table.configure(PEER, {DEFAULT: 1, "data": self.chance.randint(1, 8)})

    def rest(self) -> None:
        """When all is quiet nothing waits, and without a loss everything has arrived."""
        while self.retired:
            self.release()
        for _ in range(60):
            for connection in self.up:
                connection.wire += drain(connection.queue)
                connection.handle(len(connection.wire))
                connection.answer()
        for lane in self.core.table.peer(PEER).lanes.values():
            assert lane.bound.queued_octets == 0
        if not self.lost:
            assert self.seen == {pair: list(range(count)) for pair, count in self.numbers.items()}
        self.core.close()
