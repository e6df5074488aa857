"""Scripted peers: plain sockets that say what the test says, and what was recorded of real nodes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from support import eventually

from partisan import Atom, Node
from partisan.etf import Codec

VECTORS = Path(__file__).parent.parent / "vectors"

CODEC = Codec(remote_refs=True, max_inflated=1 << 20)

MANAGER, PYTHON = Atom("partisan_pluggable_peer_service_manager"), Atom("partisan_python")
CAPABILITIES = Atom("capabilities")
FORWARD, HELLO, STATE = Atom("forward_message"), Atom("hello"), Atom("state")
ACK = Atom("ack")
PING, PONG, STRATEGY = Atom("ping"), Atom("pong"), Atom("membership_strategy")

BOUND = 10.0
"""Seconds that a script waits for what it expects."""


def encode(term: Any) -> bytes:
    return bytes(CODEC.encode(term))


def decode(body: bytes) -> Any:
    return CODEC.decode(body)


def is_offer(term: Any) -> bool:
    """Whether a node tells what it understands beyond Partisan."""
    return type(term) is tuple and term[:2] == (FORWARD, PYTHON) and term[2][0] is CAPABILITIES


def recorded(name: str, connection: str, direction: str | None = None) -> list[bytes]:
    """The frames of one recorded connection, in order; of one direction, as "a>b", or of both."""
    rows = [json.loads(line) for line in (VECTORS / f"{name}.jsonl").read_text().splitlines()]
    return [
        bytes.fromhex(row["hex"])
        for row in rows
        if row.get("conn") == connection and direction in (None, row["dir"]) and row.get("hex")
    ]


def with_port(body: bytes, old: int, new: int) -> bytes:
    """A recorded frame in which a node listens at another port: that of this test."""
    before, after = b"\x62" + old.to_bytes(4, "big"), b"\x62" + new.to_bytes(4, "big")
    assert before in body
    return body.replace(before, after)


class Peer:
    """One end of a connection, in the hands of the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def socket(self) -> socket.socket:
        return self._writer.get_extra_info("socket")

    def write(self, octets: bytes) -> None:
        """Write octets as they are."""
        self._writer.write(octets)

    def say(self, *bodies: bytes) -> None:
        """Write frames, in one go."""
        self._writer.write(b"".join(len(body).to_bytes(4, "big") + body for body in bodies))

    def tell(self, *terms: Any) -> None:
        """Write frames of terms."""
        self.say(*map(encode, terms))

    async def flushed(self) -> None:
        """Wait until the system has taken what was written, or the node has closed; and the loop has turned."""
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()
        await asyncio.sleep(0)

    async def hear(self, timeout: float = BOUND, offers: bool = False) -> bytes:
        """The body of the next frame; what Python nodes offer each other is passed over if it is not asked for."""
        async with asyncio.timeout(timeout):
            while True:
                header = await self._reader.readexactly(4)
                body = await self._reader.readexactly(int.from_bytes(header, "big"))
                if offers or not is_offer(decode(body)):
                    return body

    async def told(self, timeout: float = BOUND, offers: bool = False) -> Any:
        """The term of the next frame."""
        return decode(await self.hear(timeout, offers))

    async def ended(self, timeout: float = BOUND) -> bytes:
        """Wait until the node has closed the connection; what it said before."""
        async with asyncio.timeout(timeout):
            try:
                return await self._reader.read()
            except ConnectionResetError:
                return b""

    def stop_reading(self) -> None:
        """Leave what the node says in the socket from now on."""
        self._writer.transport.pause_reading()

    def hang_up(self) -> None:
        """Begin to close; a task that may be cancelled must not wait for the end, which others wait for too."""
        self._writer.close()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def vanish(self) -> None:
        """Reset the connection, as a peer does whose process was killed with unread input."""
        if not self._writer.is_closing():  # else it is closed already
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


@contextlib.asynccontextmanager
async def dial(node: Node) -> AsyncIterator[Peer]:
    """A script's connection to the node."""
    address = node.listen_addrs[0]
    peer = Peer(*await asyncio.open_connection(address.host, address.port))
    try:
        yield peer
    finally:
        await peer.close()


@contextlib.asynccontextmanager
async def greeted(node: Node, name: str = "p@127.0.0.1", channel: Any = None) -> AsyncIterator[Peer]:
    """A script's connection on which the handshake is done."""
    async with dial(node) as peer:
        assert await peer.told() == (HELLO, Atom(node.name))
        peer.tell((HELLO, Atom(name), channel))
        assert (await peer.told())[0] is STATE
        yield peer


class Host:
    """A listening script.

    Attributes:
        port: where.
    """

    def __init__(self, server: asyncio.Server, arrivals: asyncio.Queue[Peer]) -> None:
        self._server = server
        self._arrivals = arrivals
        self.port: int = server.sockets[0].getsockname()[1]
        self.peers: list[Peer] = []

    async def arrival(self, timeout: float = BOUND) -> Peer:
        """The next connection."""
        async with asyncio.timeout(timeout):
            peer = await self._arrivals.get()
        self.peers.append(peer)
        return peer

    async def joined_by(self, node: Node, name: str) -> str:
        """Have the node join this script under a name, which has dialled the node before, as members do."""
        address = node.listen_addrs[0]
        peer = Peer(*await asyncio.open_connection(address.host, address.port))
        self.peers.append(peer)
        await peer.told()
        peer.tell((HELLO, Atom(name), None))
        await peer.told()
        return await node.join(f"{name}:{self.port}")


@contextlib.asynccontextmanager
async def host() -> AsyncIterator[Host]:
    """A script that listens on a free port."""
    arrivals: asyncio.Queue[Peer] = asyncio.Queue()

    async def arrived(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrivals.put_nowait(Peer(reader, writer))

    server = await asyncio.start_server(arrived, "127.0.0.1", 0)
    script = Host(server, arrivals)
    try:
        yield script
    finally:
        server.close()
        while not arrivals.empty():
            script.peers.append(arrivals.get_nowait())
        for peer in script.peers:
            await peer.close()
        await server.wait_closed()


def spec_term(name: str, port: int, channels: dict[str | None, int]) -> dict[Any, Any]:
    """A node spec as a real node writes it; channels are name -> parallelism."""
    return {
        Atom("name"): Atom(name),
        Atom("listen_addrs"): [{Atom("ip"): (127, 0, 0, 1), Atom("port"): port}],
        Atom("channels"): {
            (None if channel is None else Atom(channel)): {
                Atom("parallelism"): parallelism,
                Atom("monotonic"): False,
                Atom("compression"): False,
            }
            for channel, parallelism in channels.items()
        },
    }


def state_term(*specs: dict[Any, Any], actor: bytes = b"\x01" * 20) -> tuple[Any, ...]:
    """A membership state in which every spec has one live token."""
    dictionary = [(spec, [(bytes([number + 1]) * 20, True)]) for number, spec in enumerate(specs)]
    return (Atom("full_v1"), actor, (Atom("state_orset"), dictionary))


def state_frame(*specs: dict[Any, Any]) -> tuple[Any, ...]:
    """What an acceptor says last in a handshake."""
    return (STATE, None, state_term(*specs))


class Connection:
    """A connection to a scripted member.

    Attributes:
        dialler: the node that dialled.
        channel: what it said that the connection is for.
        heard: terms of messages to processes that came over it, in order.
        reading: cleared, it is not read.
        answering: cleared, its pings wait for their answers.
        pings: what awaits the answers to the script's own pings.
    """

    def __init__(self, peer: Peer, dialler: str, channel: str) -> None:
        self.peer = peer
        self.dialler = dialler
        self.channel = channel
        self.heard: list[Any] = []
        self.reading = asyncio.Event()
        self.answering = asyncio.Event()
        self.pings: list[asyncio.Future[None]] = []
        self.reading.set()
        self.answering.set()


class Member:
    """A scripted member of the cluster: it shakes hands, answers pings, and keeps the messages that it is sent.

    It closes a connection when it has read all of it, as a node does.

    Attributes:
        name: its node name.
        allowed: how many more connections it says hello on; `admit` adds to it.
        connections: in the order of their handshakes.
        heard: (connection, message) of all connections, in the order in which they were handled.
        offers: what it was told of what the dialling nodes understand.
        acks: the clocks of messages that were acknowledged to it.
        state: the frame that ends its handshakes, if not one that it makes of its spec.
    """

    def __init__(self, host: Host, name: str, channels: dict[str | None, int], allowed: int = 1000) -> None:
        self.name = name
        self.connections: list[Connection] = []
        self.heard: list[tuple[Connection, Any]] = []
        self.offers: list[Any] = []
        self.acks: list[Any] = []
        self._host = host
        self._spec = spec_term(name, host.port, channels)
        self.state: bytes | None = None
        self._allowed = asyncio.Semaphore(allowed)
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """What a node joins it by."""
        return f"{self.name}:{self._host.port}"

    async def joined_by(self, node: Node) -> None:
        """Have the node join this member."""
        await self._host.joined_by(node, self.name)

    async def stuck(self, node: Node) -> Connection:
        """Have the node join this member, which then reads the connection of the channel data no more."""
        await self.joined_by(node)
        await eventually(lambda: node.is_fully_connected(self.name))
        [data] = await eventually(lambda: self.of("data", node.name))
        data.reading.clear()
        return data

    async def hang_up(self) -> None:
        """Close what it has dialled."""
        for peer in self._host.peers:
            await peer.close()

    def speaks_as(self, recording: str, connection: str, port: int) -> None:
        """End handshakes as a real node did on that connection, whose first two frames they are, at that port."""
        _, state, *_ = recorded(recording, connection, connection[3 : connection.index("#")] + ">" + connection[0])
        self.state = with_port(state, port, self._host.port)

    def admit(self, count: int) -> None:
        """Say hello on so many connections more."""
        for _ in range(count):
            self._allowed.release()

    def messages(self) -> list[Any]:
        """What was handled, in order, whatever the connection."""
        return [message for _, message in self.heard]

    def of(self, channel: str, dialler: str | None = None) -> list[Connection]:
        """The connections of a channel, of one node or of all."""
        return [
            connection
            for connection in self.connections
            if connection.channel == channel and dialler in (None, connection.dialler)
        ]

    def start(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)

    async def fence(self, connection: Connection, rounds: int = 5) -> None:
        """Wait for answers to pings, one after the other: what the node had queued here before has come by then."""
        for _ in range(rounds):
            answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            connection.pings.append(answered)
            connection.peer.tell((PING, Atom(self.name), len(connection.pings), 0))
            await asyncio.wait_for(answered, BOUND)

    async def serve(self) -> None:
        while True:
            self.start(self._converse(await self._host.arrival(timeout=3600.0)))

    async def _converse(self, peer: Peer) -> None:
        await self._allowed.acquire()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            peer.tell((HELLO, Atom(self.name)))
            _, dialler, channel = await peer.told(timeout=3600.0)
            connection = Connection(peer, dialler.name, "undefined" if channel is None else channel.name)
            self.connections.append(connection)
            peer.say(self.state or encode(state_frame(self._spec)))
            while True:
                await connection.reading.wait()
                await self._handle(connection, await peer.told(timeout=3600.0, offers=True))
        peer.hang_up()

    async def _handle(self, connection: Connection, term: Any) -> None:
        if term[0] is PING:
            self.start(self._pong(connection, term))
        elif term[0] is PONG:
            connection.pings[term[2] - 1].set_result(None)
        elif is_offer(term):
            self.offers.append(term[2])
        elif term[:2] == (FORWARD, MANAGER) and type(term[2]) is tuple and term[2][0] is ACK:
            self.acks.append(term[2][1])
        elif term[0] is FORWARD and term[1] is not MANAGER:
            connection.heard.append(term[2])
            self.heard.append((connection, term[2]))

    async def _pong(self, connection: Connection, ping: Any) -> None:
        await connection.answering.wait()
        connection.peer.tell((PONG, Atom(self.name), *ping[2:]))


@contextlib.asynccontextmanager
async def member(name: str, channels: dict[str | None, int], allowed: int = 1000) -> AsyncIterator[Member]:
    """A scripted member that nobody has joined yet."""
    async with host() as script:
        found = Member(script, name, channels, allowed)
        found.start(found.serve())
        try:
            yield found
        finally:
            for task in found.tasks:
                task.cancel()
            await asyncio.gather(*found.tasks, return_exceptions=True)


async def fill(node: Node, name: str, body: bytes, octets: int) -> None:
    """Send the body on the channel data until so many octets wait although the loop has turned."""
    while node.queued_octets(name, "data") < octets:
        for _ in range(8):
            node.send(("sink", name), body, channel="data")
        await asyncio.sleep(0.002)
