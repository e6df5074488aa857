"""HyParView between a node and a script that speaks as real nodes do: which frames go where, what hostile ones do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from scripted import FORWARD, HELLO, STATE, Host, Peer, dial, greeted, host, spec_term
from support import Events, eventually, free_port, running

from partisan import Atom, Node
from partisan.etf import ErlMap
from partisan.wire.spec import spec_to_term

QUICK = {"peer_service_manager": "hyparview", "hyparview": {"random_promotion": False, "shuffle_interval": 3600.0}}
A, B, X = (f"{name}@127.0.0.1" for name in "abx")
CHANNELS = {None: 1, "partisan_membership": 1}
JOIN, NEIGHBOR, DISCONNECT, SHUFFLE = Atom("join"), Atom("neighbor"), Atom("disconnect"), Atom("shuffle")
NONE = (1, 0)
"""What names the farewell that was read last where none was."""


async def shake(script: Host, spec: dict[Any, Any]) -> Peer:
    """Take the node's next connection as the node of that spec, up to the end of the handshake."""
    peer = await script.arrival()
    peer.tell((HELLO, spec[Atom("name")]))
    assert (await peer.told())[0] is HELLO
    peer.tell(greeting(spec))
    return peer


def greeting(*specs: dict[Any, Any]) -> tuple[Any, ...]:
    """The last frame of a handshake: the active view, and the epoch."""
    return (STATE, None, (Atom("state"), ErlMap([(spec, []) for spec in specs]), 1))


@contextlib.asynccontextmanager
async def neighbor_of(node: Node) -> AsyncIterator[tuple[Peer, Peer, dict[Any, Any], Host]]:
    """The script as a neighbor: what the node dialled, what the script dialled, its spec, and where it listens."""
    async with host() as script, dial(node) as ours:
        spec = spec_term(B, script.port, CHANNELS)
        joining = asyncio.ensure_future(node.join(f"{B}:{script.port}", timeout=10.0))
        theirs = await shake(script, spec)
        assert await theirs.told() == (JOIN, spec_to_term(node.spec), None, 1)
        [edge] = node._manager._dialer._edges.values()
        assert len(edge.links) + len(edge.dialling) == 1  # other channels are for neighbors
        ours.tell((NEIGHBOR, spec, None, NONE, spec_to_term(node.spec)))  # before the handshake, as real nodes do
        assert await ours.told() == (HELLO, Atom(node.name))
        ours.tell((HELLO, Atom(B), None))
        assert (await ours.told())[0] is STATE
        assert await joining == B
        yield theirs, ours, spec, script


async def test_a_join_is_asked_for_on_the_default_channel_and_answered_before_a_handshake() -> None:
    async with running("a", **QUICK) as [a], neighbor_of(a) as (_, _, spec, script):
        assert a.members() == [A, B]
        assert spec in [spec_to_term(peer) for peer in a.active()]
        await shake(script, spec)
        await eventually(lambda: a.is_fully_connected(B))


async def test_a_node_that_is_dropped_closes_what_it_dialled_and_knows_the_other_still() -> None:
    async with running("a", **QUICK) as [a], neighbor_of(a) as (theirs, ours, spec, _):
        ours.tell((DISCONNECT, spec, (1, 1)))
        await eventually(lambda: a.members() == [A])
        assert [peer.name for peer in a.passive()] == [B]
        await theirs.ended()


async def test_a_node_that_leaves_says_farewell_then_closes() -> None:
    async with running("a", **QUICK) as [a], neighbor_of(a) as (theirs, _, _, _):
        await a.leave()
        frames = []
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                frames.append(await theirs.told())
        assert frames == [(DISCONNECT, spec_to_term(a.spec), (1, 1))]


async def test_who_takes_a_node_for_a_neighbor_that_cannot_reach_it_loses_its_connection() -> None:
    async with running("a", **QUICK) as [a], dial(a) as ours:
        spec = spec_term(B, free_port(), CHANNELS)
        await ours.told()
        ours.tell((HELLO, Atom(B), None))
        await ours.told()
        ours.tell((NEIGHBOR, spec, None, NONE, spec_to_term(a.spec)))
        await ours.ended()
        assert a.members() == [A]


async def test_no_message_with_acknowledgement_goes_to_a_peer_that_never_says_what_it_is() -> None:
    async with running("a", **QUICK) as [a], neighbor_of(a) as (theirs, _, _, _):
        a.send(("sink", B), "kept", ack=True)
        a.send(("sink", B), "plain")
        assert await theirs.told() == (FORWARD, Atom("sink"), b"plain")
        assert a.unacknowledged(B) == 1


@pytest.mark.parametrize(
    "frame",
    [
        (Atom("neighbor_rejected"),),
        (JOIN, Atom("nobody"), None, 1),
        (SHUFFLE, [], "far", Atom("nobody")),
        (Atom("disconnect"), Atom("nobody"), (1, 1)),
        (Atom("shuffle_reply"), [Atom("nobody")], Atom("nobody")),
    ],
)
async def test_a_frame_of_the_overlay_in_another_shape_ends_its_connection_alone(frame: Any) -> None:
    async with running("a", "b", **QUICK) as (a, b):
        await a.join(f"{B}:{b.listen_addrs[0].port}")
        async with greeted(a, X) as hostile:
            hostile.tell(frame)
            await hostile.ended()
        assert (a.members(), b.members()) == ([A, B], [A, B])


async def test_an_unknown_frame_and_one_in_the_name_of_another_are_violations_that_change_nothing() -> None:
    async with running("a", "b", **QUICK) as (a, b):
        await a.join(f"{B}:{b.listen_addrs[0].port}")
        rejected = Events(a, "partisan.frame.rejected")
        async with greeted(a, X) as hostile:
            hostile.tell((Atom("foo"), 1), (DISCONNECT, spec_to_term(b.spec), (1, 9)))
            await eventually(lambda: len(rejected.of("partisan.frame.rejected", node=X)) == 2)
        assert (a.members(), b.members()) == ([A, B], [A, B])


async def test_a_joiner_that_nobody_answers_for_evicts_nobody() -> None:
    small = {**QUICK, "hyparview": {**QUICK["hyparview"], "active_max_size": 2, "active_min_size": 1}}
    async with running("a", "b", **small) as (a, b), host() as nobody:
        await a.join(f"{B}:{b.listen_addrs[0].port}")
        async with greeted(a, X) as hostile:
            hostile.tell((JOIN, spec_term(X, nobody.port, CHANNELS), None, 1))
            await nobody.arrival()
            assert a.members() == [A, B]
