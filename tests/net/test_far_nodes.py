"""Far nodes on every overlay that has any, links of one direction among them: messages, calls and monitors."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from stars import clients_of_a_server, static_links
from support import Sink, address_of, eventually, inside, running
from views import settle

import partisan
from partisan import Atom, GenServer, Node

FAR: dict[str, Any] = {
    "broadcast": True,
    "plumtree": {"broadcast_heartbeat_interval": 0.2},
    "relay": {"timeout": 15.0, "silence": 50.0, "refutation": 1.0},
}
OVERLAYS: dict[str, dict[str, Any]] = {
    "scamp_v1": {"membership_strategy": "scamp_v1", "scamp_c": 0, "periodic_interval": 0.5},
    "scamp_v2": {"membership_strategy": "scamp_v2", "scamp_c": 0, "periodic_interval": 0.5},
    "hyparview": {
        "peer_service_manager": "hyparview",
        "hyparview": {"active_max_size": 5, "active_min_size": 3, "shuffle_interval": 0.2, "patience": 2.0},
    },
    "ring": {"membership_strategy": "ring:Ring", "periodic_interval": 0.5},
}
EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = [f"n{number}" for number in range(10)]
MANY = 10


class Counting(GenServer):
    """Tells how often each question has come."""

    def init(self) -> None:
        self.asked: Counter[Any] = Counter()

    def handle_call(self, request: Any, caller: Any) -> Any:
        self.asked[request] += 1
        return request, self.asked[request]


@contextlib.asynccontextmanager
async def joined(overlay: str) -> AsyncIterator[list[Node]]:
    """Ten nodes that have joined by one of them."""
    async with running(*NAMES, **FAR, **OVERLAYS[overlay]) as nodes:
        for node in nodes[1:]:
            await node.join(address_of(nodes[0]), timeout=30.0)
        if overlay == "hyparview":
            await settle(nodes)
        yield nodes


def made(overlay: str) -> contextlib.AbstractAsyncContextManager[list[Node]]:
    if overlay == "client_server":
        return clients_of_a_server(*NAMES[:4], **FAR)
    if overlay == "one-way ring":
        return static_links({name: [NAMES[(number + 1) % 6]] for number, name in enumerate(NAMES[:6])}, **FAR)
    return joined(overlay)


def far_pairs(nodes: list[Node]) -> list[tuple[Node, Node]]:
    """Those of which the first has no connection to the second."""
    return [pair for pair in itertools.permutations(nodes, 2) if not pair[0].is_fully_connected(pair[1].name)]


async def acquainted(nodes: list[Node]) -> None:
    """Wait until each has agreed with each other on what they may ask of each other."""
    others = [(one, other.name) for one, other in itertools.permutations(nodes, 2)]
    await eventually(lambda: all(name in one._remote.links._supported for one, name in others), timeout=60.0)


async def ask(name: str, question: Any) -> Any:
    return await partisan.call(("counting", name), question, timeout=20.0)


async def start_counting() -> Any:
    return await Counting.start(name="counting")


async def ends() -> None:
    """A process that ends with the reason that it is sent."""
    raise partisan.Exit(await partisan.receive())


async def ends_of(pid: Any, name: str) -> tuple[Any, Any]:
    """What monitors of a process that ends, and of a name that nobody has, tell."""
    none = partisan.monitor(("nobody", name))
    first = await partisan.receive(timeout=20.0)
    process = partisan.monitor(pid)
    partisan.send(pid, Atom("over"))
    second = await partisan.receive(timeout=20.0)
    assert (first[1], second[1]) == (none, process)
    return first[4], second[4]


@pytest.mark.parametrize("overlay", [*OVERLAYS, "client_server", "one-way ring"])
async def test_far_processes_are_sent_to_called_and_monitored_and_each_message_comes_once(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)  # where the ring is
    async with made(overlay) as nodes:
        await acquainted(nodes)
        far = far_pairs(nodes)
        assert far
        sinks = {node.name: Sink(node) for node in nodes}
        for number in range(MANY):
            for one, other in far:
                one.send(("sink", other.name), (Atom(one.name), number))
        for one, other in far:
            await one.deliver(("sink", other.name), (Atom(one.name), MANY))  # behind whatever comes twice
        for one, other in far:
            found = [number for name, number in sinks[other.name].messages if name.name == one.name]
            # HyParView's and SCAMP's links come and go, and a message on a new link overtakes one that is relayed.
            assert sorted(found) == list(range(MANY + 1))
        for node in nodes:
            await inside(node, start_counting)
        for one, other in far:
            assert await inside(one, ask, other.name, Atom(one.name)) == (Atom(one.name), 1)
            assert await inside(one, ask, other.name, Atom(one.name)) == (Atom(one.name), 2)
        for one, other in far[:: max(1, len(far) // 8)]:
            assert await inside(one, ends_of, other.spawn(ends), other.name) == (Atom("noproc"), Atom("over"))
        assert all(node.relays()["given_up"] == 0 for node in nodes)


@contextlib.asynccontextmanager
async def star() -> AsyncIterator[list[Node]]:
    """A server, a client that has joined it, and one that has not; what they relay is soon given up."""
    options = {"peer_service_manager": "client_server", **FAR, "relay": {"timeout": 0.3, "retry": 0.1}}
    async with (
        running("hub", **options, tag="server") as [hub],
        running("a", "b", **options, tag="client") as [a, b],
    ):
        await a.join(address_of(hub), timeout=30.0)
        yield [hub, a, b]


async def test_who_was_heard_of_before_there_was_a_connection_is_agreed_with_when_there_is_one() -> None:
    async with star() as (hub, _, b):
        await eventually(lambda: hub._relaying.machine.can_send)
        hub._presence.heartbeat(Atom(b.name), b.broadcasts.heartbeats.epoch)  # as it comes before b is connected to
        await eventually(lambda: hub.relays()["given_up"] == 1)  # what it has offered, by way of a
        await b.join(address_of(hub), timeout=30.0)
        await eventually(lambda: b._relaying.machine.can_send and hub._python.has(b.name), timeout=30.0)


async def test_far_nodes_whose_offers_were_lost_agree_all_the_same() -> None:
    async with star() as (hub, a, b):
        await eventually(lambda: a._relaying.machine.can_send)
        a._presence.heartbeat(Atom(b.name), b.broadcasts.heartbeats.epoch)  # both as if they had been far before
        b._presence.heartbeat(Atom(a.name), a.broadcasts.heartbeats.epoch)
        await eventually(lambda: a.relays()["given_up"] == 1 and a.name in b._presence.far())
        await b.join(address_of(hub), timeout=30.0)
        await eventually(lambda: a._python.has(b.name) and b._python.has(a.name), timeout=30.0)
        await eventually(lambda: not any(node._python._reminders for node in (hub, a, b)))
