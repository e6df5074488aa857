"""What a peer of Erlang's distribution can get wrong ends its connection with an error that says what: others go on.

The cases are those of OTP's own tests of its distribution, on bare sockets.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from dist_peer import PLAIN, SECONDS, DistPeer, listening, pings
from support import eventually

import partisan
from partisan import Atom, FrameError, HandshakeError, Node, NodeDown, Pid, Reference, RemoteProtocolError
from partisan.testing import Events
from tests.memory import MEASURABLE, growth_from_now

NOTHING = Atom("")
OTHER = Pid("other@127.0.0.1", 1, 0, 1)
NAME = b"\x77\x04name"

EMPTY = b"\x83D\0"
"""A header without atoms."""

SEND = b"h\x04a\x06" + b"Xw\x01a" + bytes(12) + b"w\0" + NAME
"""`{6, Pid, '', name}`: a control message that wants a payload."""

MALFORMED: dict[str, bytes] = {
    # Terms
    "no octet": b"\x83",
    "a version that is none": b"\x82D\0h\x01a\x05",
    "a header that is none": b"\x83X\0h\x01a\x05",
    "a frame without a header": b"p\x83h\x01a\x05",
    "no term": EMPTY,
    "a term of an unknown tag": EMPTY + b"\xff",
    "a control message that ends early": EMPTY + b"h\x04a\x06",
    "a payload of an unknown tag": EMPTY + SEND + b"\xff",
    "a payload that ends early": EMPTY + SEND + b"m\0\0\0\x09x",
    "octets behind the payload": EMPTY + SEND + b"a\1a\2",
    "a list longer than the frame": EMPTY + SEND + b"l\xff\xff\xff\xff",
    "a tuple longer than the frame": EMPTY + SEND + b"i\xff\xff\xff\xff",
    "a map longer than the frame": EMPTY + SEND + b"t\xff\xff\xff\xff",
    "an integer longer than the frame": EMPTY + SEND + b"o\xff\xff\xff\xff\0",
    "an atom that is not UTF-8": EMPTY + SEND + b"w\x02\xff\xff",
    "a local term": EMPTY + SEND + b"y\0\0\0\0\0\0\0\0",
    "containers in each other without end": EMPTY + SEND + b"l\0\0\0\1" * 20_000,
    # Headers
    "a header without its flags": b"\x83D\x05",
    "a header of 255 atoms that are not there": b"\x83D\xff" + bytes(128),
    "a header that refers to nothing": b"\x83D\x01\0\x07" + b"h\x01a\x05",
    "an atom in a header without its length": b"\x83D\x01\x08\x07",
    "an atom in a header that ends early": b"\x83D\x01\x08\x07\x20abc",
    "an atom in a header that is too long": b"\x83D\x01\x18\x07\x08\x00" + b"a" * 0x800 + b"h\x01a\x05",
    "an atom in a header that is not UTF-8": b"\x83D\x01\x08\x07\x02\xff\xffh\x01a\x05",
    "a reference to an atom that the header does not have": EMPTY + b"h\x01R\0",
    "a reference behind those of the header": b"\x83D\x01\x08\x07\x01ah\x04a\x06R\x01R\x01R\x01a\x01",
    # Pieces
    "a piece without its head": b"\x83E\0\0\0\0",
    "a later piece without a first": b"\x83F" + struct.pack(">QQ", 1, 1) + b"x",
    "a piece of number 0": b"\x83E" + struct.pack(">QQ", 1, 0) + b"\0h\x01a\x05",
    "a first piece without a header": b"\x83E" + struct.pack(">QQ", 1, 2),
}

CONTROLS: dict[str, tuple[Any, ...]] = {
    "no tuple": (5,),
    "a list": ([1, 2, 3],),
    "an empty tuple": ((),),
    "an operation that is no number": ((Atom("a"),),),
    "an operation that is large": ((1 << 70,),),
    "an unknown operation": ((99, 1, 2),),
    "an operation below all": ((-1, 1, 2),),
    "too few elements": ((1, OTHER),),
    "too many elements": ((1, OTHER, OTHER, 5),),
    "a link from what is no pid": ((1, 5, OTHER),),
    "a link to what is no pid": ((1, OTHER, 5),),
    "a link with a payload": ((1, OTHER, OTHER), 5),
    "a message without a payload": ((22, OTHER, OTHER),),
    "a message to what is no pid": ((22, OTHER, 5), 1),
    "a message to a name that is none": ((6, OTHER, NOTHING, 5), 1),
    "a message to an alias that is none": ((33, OTHER, OTHER), 1),
    "an exit without a reason": ((24, OTHER, OTHER),),
    "an unlink of number 0": ((35, 0, OTHER, OTHER),),
    "an unlink of a number that is too large": ((35, 1 << 64, OTHER, OTHER),),
    "a monitor without a reference": ((19, OTHER, OTHER, 5),),
    "a monitor of what is neither a pid nor a name": ((19, OTHER, (1,), Reference("a@b", (1,))),),
    "a start of what is no function": ((29, Reference("a@b", (1,)), OTHER, OTHER, (1, 2, 3), []), []),
    "a start with another number of arguments": (
        (29, Reference("a@b", (1,)), OTHER, OTHER, (Atom("m"), Atom("f"), 2), []),
        [1],
    ),
    "a start with arguments that are no list": (
        (29, Reference("a@b", (1,)), OTHER, OTHER, (Atom("m"), Atom("f"), 1), []),
        Atom("x"),
    ),
    "an answer to a start without flags": ((31, Reference("a@b", (1,)), OTHER, Atom("x"), OTHER),),
}


async def ends(node: Node, peer: DistPeer, events: Events) -> Exception:
    """The error with which the node has closed the peer's connection."""
    await peer.is_closed()
    await eventually(lambda: events.of("partisan.socket.error"))
    [about] = events.of("partisan.socket.error")
    assert about["node"] == peer.name
    assert events.errors() == [about["error"]]
    await eventually(lambda: peer.name not in node.nodes() + node.nodes("hidden"))
    error: Exception = about["error"]
    return error


async def refused(*said: bytes, control: tuple[Any, ...] | None = None) -> Exception:
    """The error that ends a connection on which this is said; another one goes on."""
    async with listening() as node, DistPeer(node, flags=PLAIN) as witness, DistPeer(node) as peer:
        await pings(witness)
        events = Events(node)
        for body in said:
            peer.frame(body)
        if control is not None:
            peer.say(*control)
        error = await ends(node, peer, events)
        await pings(witness)
    return error


@pytest.mark.parametrize("case", MALFORMED)
async def test_malformed_octets_end_the_connection(case: str) -> None:
    error = await refused(MALFORMED[case])
    assert isinstance(error, FrameError)
    assert error.reason == "malformed"


@pytest.mark.parametrize("case", CONTROLS)
async def test_malformed_control_messages_end_the_connection(case: str) -> None:
    assert isinstance(await refused(control=CONTROLS[case]), RemoteProtocolError)


async def test_a_piece_out_of_order_ends_the_connection() -> None:
    first = b"\x83E" + struct.pack(">QQ", 1, 3) + b"\0" + SEND + b"m\0\0\0\x09"
    for second in (3, 1, 0, 4):
        error = await refused(first, b"\x83F" + struct.pack(">QQ", 1, second) + b"x")
        assert isinstance(error, FrameError)
    assert "begins twice" in str(await refused(first, first))


async def test_pieces_that_never_end_are_bounded_in_number_and_size() -> None:
    async with listening(distribution={"max_sequences": 100}, max_frame_octets=1 << 20) as node:
        async with DistPeer(node, flags=PLAIN) as witness, DistPeer(node) as peer:
            events = Events(node)
            grown = growth_from_now()
            for number in range(1_000_000):
                if peer.reader.at_eof() or peer.writer.is_closing():
                    break
                peer.frame(b"\x83E" + struct.pack(">QQ", number, 2) + b"\0" + SEND)
                if number % 1000 == 999:
                    try:
                        await peer.writer.drain()
                    except ConnectionError:
                        break
            error = await ends(node, peer, events)
            assert "more than 100 sequences" in str(error)
            await pings(witness)
        async with DistPeer(node, flags=PLAIN) as witness, DistPeer(node) as peer:
            events = Events(node, handler_id="more")
            peer.frame(b"\x83E" + struct.pack(">QQ", 1, 1 << 60) + b"\0" + SEND)
            for number in range(1, 40):
                peer.frame(b"\x83F" + struct.pack(">QQ", 1, (1 << 60) - number) + bytes(100_000))
            error = await ends(node, peer, events)
            assert isinstance(error, FrameError)
            assert error.reason == "oversized"
            await pings(witness)
        assert grown() < 32 << 20


async def test_a_frame_above_the_limit_ends_the_connection() -> None:
    async with listening(max_frame_octets=1 << 16) as node, DistPeer(node) as peer:
        events = Events(node)
        peer.writer.write(b"\x7f\xff\xff\xff")
        error = await ends(node, peer, events)
        assert isinstance(error, FrameError)
        assert error.reason == "oversized"


@pytest.mark.skipif(not MEASURABLE, reason="the memory of this process says nothing here")
async def test_atoms_of_the_wire_do_not_exhaust_memory() -> None:
    async with listening() as node, DistPeer(node, flags=PLAIN) as peer:
        await pings(peer)
        grown = growth_from_now()
        control = peer.codec.encode((6, peer.pid, NOTHING, Atom("nobody")))
        for number in range(200_000):
            peer.frame(b"p" + control + b"\x83w\xff" + b"%0255d" % number)
            if number % 1000 == 999:
                await peer.writer.drain()
        await pings(peer)
        assert grown() < 16 << 20


async def test_a_handshake_that_stalls_is_given_up() -> None:
    async with listening(distribution={"setup_timeout": 0.2}) as node:
        events = Events(node)
        said = (b"", b"\0", b"\0\x30N", b"\0\x0aNxx")
        peers = [DistPeer(node) for _ in said]
        for peer, octets in zip(peers, said, strict=True):
            await peer.open()
            peer.writer.write(octets)
        for peer in peers:
            await peer.is_closed()
            peer.close()
        errors = [about["error"] for about in events.of("partisan.socket.error")]
        assert {error.reason for error in errors} == {"timeout"}
        assert len(errors) == len(said)


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff" + bytes(100),
        b"\0\0",
        b"\0\1x",
        b"\0\7n\0\5\0\0\0\0",
        b"\0\x11N" + bytes(8) + b"\0\0\0\1\0\4a@b\xff",
        b"\0\x13N" + bytes(8) + b"\0\0\0\1\xff\xffa@bx",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    ],
)
async def test_what_is_no_handshake_is_refused(octets: bytes) -> None:
    async with listening() as node:
        events = Events(node)
        peer = DistPeer(node)
        await peer.open()
        peer.writer.write(octets)
        await peer.is_closed()
        peer.close()
        await eventually(lambda: events.of("partisan.socket.error"))
        assert isinstance(events.errors()[0], HandshakeError)


async def test_who_does_not_know_the_cookie_is_not_let_in_and_a_connection_of_its_name_stays() -> None:
    async with listening() as node, DistPeer(node, flags=PLAIN) as peer:
        liar = DistPeer(node, name=peer.name, cookie="another")
        with pytest.raises(ConnectionResetError):
            await liar.connect()
        liar.close()
        await pings(peer)
        assert node.nodes("hidden") == [peer.name]


async def test_a_second_connection_of_a_name_replaces_the_first() -> None:
    async with listening() as node, DistPeer(node, flags=PLAIN) as first:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def watches() -> None:
            node.monitor(first.pid)
            done.set_result(await partisan.receive(timeout=SECONDS))

        node.spawn(watches)
        assert await first.heard() is not None  # the monitor
        async with DistPeer(node, name=first.name, flags=PLAIN) as second:
            assert (await asyncio.wait_for(done, SECONDS))[-1] is Atom("noconnection")
            await first.is_closed()
            await pings(second)
            assert node.nodes("hidden") == [first.name]
            assert node.connection_count() == 1
            node.send(second.pid, b"hello")
            heard = await second.heard()
            assert heard is not None
            assert heard[1] == b"hello"


async def test_what_is_asked_of_a_node_that_goes_is_answered() -> None:
    async with listening() as node:
        async with DistPeer(node, flags=PLAIN) as peer:
            asked = asyncio.ensure_future(partisan.call(("server", peer.name), 1, timeout=SECONDS))
            assert await peer.heard() is not None
        with pytest.raises(NodeDown):
            await asked


async def test_many_connections_that_come_and_go_leave_nothing() -> None:
    async with listening() as node:
        for _ in range(50):
            async with DistPeer(node, flags=PLAIN) as peer:
                await pings(peer)
        await eventually(lambda: not node.nodes("hidden"))
        assert node.table.peers == {}
