"""A membership strategy of the program's own on real nodes, and memberships that are too large."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from node_process import NodeProcess
from scripted import FORWARD, MANAGER, STRATEGY, greeted, spec_term, state_term
from support import Events, Sink, address_of, eventually, fully_meshed, running, undisturbed

from partisan import Atom, ConfigError, ConnectFailed, MembershipTooLarge, Node
from partisan.machines.membership import Membership

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

from random_gossip import RandomGossip  # noqa: E402 - an example is no package

A, B, C, D = (f"{name}@127.0.0.1" for name in "abcd")


class Silent(RandomGossip):
    """A strategy that forgot to name its messages."""

    messages = ()


async def test_nodes_with_a_strategy_of_their_own_form_a_cluster_and_leave_it() -> None:
    async with running("a", "b", "c", "d", membership_strategy=RandomGossip, periodic_interval=0.2) as nodes:
        a, b, c, d = nodes
        for node in (b, c, d):
            await node.sync_join(address_of(a))
        await eventually(lambda: fully_meshed(*nodes))
        sink = Sink(d)
        b.send(("sink", D), b"hello")
        assert await sink.has(1) == [b"hello"]
        await a.leave(C)
        await eventually(lambda: fully_meshed(a, b, d) and c.members() == [C])
        await d.leave()
        await eventually(lambda: fully_meshed(a, b))
        await c.join(address_of(b))
        await eventually(lambda: fully_meshed(a, b, c))


async def test_a_strategy_of_ones_own_is_kept_on_disk_as_well(tmp_path: Path) -> None:
    options: dict[str, Any] = {"membership_strategy": "random_gossip:RandomGossip", "periodic_interval": 0.2}
    async with running("b", **options) as [b]:
        async with running("a", **options, persist_dir=str(tmp_path)) as [a]:
            await a.sync_join(address_of(b))
        async with running("a", **options, persist_dir=str(tmp_path)) as [a]:
            await eventually(lambda: fully_meshed(a, b))
            assert b.members().count(A) == 1


async def test_options_of_a_running_node_reach_a_strategy_of_ones_own() -> None:
    async with running("a", "b", "c", membership_strategy=RandomGossip, mixed_cluster=False) as nodes:
        a, b, c = nodes
        for node in (b, c):
            await node.sync_join(address_of(a))
        await eventually(lambda: fully_meshed(*nodes))
        a.reconfigure(periodic_interval=0.2, channels={"data": {"parallelism": 2}}, parallelism=3)
        assert sorted(a.members()) == [A, B, C]
        await eventually(lambda: [node._manager.spec_of(A) for node in nodes] == [a.spec] * 3 and fully_meshed(*nodes))
        assert (b.connection_count(A, "undefined"), c.connection_count(A, "data")) == (3, 2)
        a.reconfigure(channels={"data": None})
        await eventually(lambda: [node._manager.spec_of(A) for node in nodes] == [a.spec] * 3 and fully_meshed(*nodes))


async def test_it_survives_that_a_neighbor_is_killed(loop_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES))
    options: dict[str, Any] = {"membership_strategy": "random_gossip:RandomGossip", "periodic_interval": 0.2}
    a, b, c = processes = [NodeProcess(name) for name in "abc"]
    try:
        for process in processes:
            await process.start(loop_name, **options)
        for process in (b, c):
            await process.tell("join", a.address)
        for process in processes:
            await process.until("members", [A, B, C])
            await process.until("meshed", True)
        await b.kill()
        await a.until("connected", [C])
        await a.tell("send", C, None, 100, 10)
        await b.start(loop_name, b.port, **options)
        for process in processes:
            await process.until("members", [A, B, C])
            await process.until("meshed", True)
        await c.tell("leave")
        for process in (a, b):
            await process.until("members", [A, B])
        await c.until("members", [C])
    finally:
        for process in processes:
            await process.kill()


async def test_nodes_of_different_strategies_do_not_join_and_say_why() -> None:
    class Another(RandomGossip):
        pass

    async with (
        running("a", membership_strategy=RandomGossip) as [a],
        running("b", membership_strategy=Another) as [b],
        running("c") as [c],
    ):
        for node, other, theirs, ours in (
            (a, b, "Another", "RandomGossip"),
            (c, a, "RandomGossip", "full"),
            (a, c, "full", "RandomGossip"),
        ):
            with pytest.raises(ConnectFailed, match=f"the peer runs {theirs}, this node {ours}") as caught:
                await node.join(address_of(other), timeout=1.0)
            assert "not within" not in str(caught.value), "it goes on trying"
        assert a.members() == [A]
        assert c.members() == [C]


@pytest.mark.parametrize(
    ("strategy", "problem"),
    [
        ("fool", "there is no strategy 'fool'"),
        ("nowhere:Nothing", "cannot be imported"),
        ("random_gossip:Nothing", "cannot be imported"),
        ("random_gossip:newer", "no subclass"),
        (dict, "no subclass"),
        (Membership, "Membership does not have _greeted, _leave_ourselves, .*, greeting$"),
        (Silent, "Silent.messages names no dataclass"),
    ],
)
async def test_what_is_no_strategy_is_refused_at_the_start(strategy: Any, problem: str) -> None:
    node = Node("a@127.0.0.1:0", membership_strategy=strategy)
    with pytest.raises(ConfigError, match=problem):
        await node.start()
    assert not node.is_alive()


async def test_a_membership_above_the_limit_is_refused_and_disturbs_nothing() -> None:
    async with undisturbed(max_members=100) as (a, _), greeted(a, "p@127.0.0.1") as peer:
        events = Events(a)
        spec = spec_term("p@127.0.0.1", 9, {None: 1})
        many = state_term(*(spec_term(f"x{number}@127.0.0.1", 9, {None: 1}) for number in range(101)))
        peer.tell((FORWARD, MANAGER, (STRATEGY, (spec, many))))
        await peer.ended()
        (error,) = events.errors()
        assert isinstance(error, MembershipTooLarge)
        assert (error.found, error.limit) == (101, 100)
        assert len(a.members()) == 2


async def test_many_small_memberships_do_not_grow_ours_above_the_limit() -> None:
    async with running("a", max_members=20) as [a], greeted(a, "p@127.0.0.1") as peer:
        events = Events(a, "partisan.frame")
        spec = spec_term("p@127.0.0.1", 9, {None: 1})
        for number in range(30):
            other = spec_term(f"x{number}@127.0.0.1", 9, {None: 1})
            tokens = (Atom("state_orset"), [(other, [(bytes([number]) * 20, False)])])
            peer.tell((FORWARD, MANAGER, (STRATEGY, (spec, (Atom("full_v1"), b"x" * 20, tokens)))))
        await eventually(lambda: any("too large" in str(about["error"]) for _, _, about in events.seen))
        assert len(a.get_local_state().state) <= 20


class Fussy(RandomGossip):
    """Takes nobody's greeting."""

    def _problem_of_greeting(self, greeting: object) -> str | None:
        return "on purpose"


async def test_a_member_to_be_whose_greeting_is_not_understood_is_warned_of_and_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running("a", "b", membership_strategy=Fussy) as (a, b):
        await a.update_members([a.name, address_of(b)])
        where = f"{b.name} at {b.listen_addrs[0]}"
        await eventually(lambda: f"{a.name} is to have the member {where}; it is given up: its member" in caplog.text)
        assert not a._manager._dialer.keeps(b.name)
        assert a.members() == [a.name]
