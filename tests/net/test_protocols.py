"""The protocols of `examples/protocols` run on nodes, and what their simulation found happens there as well."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support import cluster, eventually, running

import partisan
from partisan import Atom, Node
from partisan.gen import sys as gen_sys
from partisan.testing import Probe, within

sys.path.insert(0, str(Path(__file__).parents[2]))

from examples.protocols import (
    anti_entropy,
    direct_mail,
    direct_mail_acked,
    primary_backup,
    rumor_mongering,
    two_phase_commit,
)
from examples.protocols.anti_entropy import AntiEntropy, Push
from examples.protocols.clients import Answered, Read, Write
from examples.protocols.commit import Answer, Begin, Decided, Outcome, Vote
from examples.protocols.cooperative_termination import CooperativeTermination
from examples.protocols.direct_mail import DirectMail, Letter
from examples.protocols.mail import Broadcast, Delivered
from examples.protocols.protocol import Protocol
from examples.protocols.search import search
from examples.protocols.server import Server, from_term, tag_of, to_term
from examples.protocols.three_phase_commit import ThreePhaseCommit
from examples.protocols.two_phase_commit import TwoPhaseCommit

NAMES = ("a", "b", "c")
MAIL = {
    "direct mail": DirectMail,
    "acknowledged direct mail": direct_mail_acked.AckedDirectMail,
    "anti-entropy": lambda *args: AntiEntropy(*args, period=0.1),
    "rumours": lambda *args: rumor_mongering.RumorMongering(*args, k=1000.0, round=0.02),
}
COMMIT = {"two phases": TwoPhaseCommit, "cooperative": CooperativeTermination, "three phases": ThreePhaseCommit}
STORES = {"plain": primary_backup.PrimaryBackup, "acknowledged": primary_backup.AckedPrimaryBackup}


@contextlib.asynccontextmanager
async def serving(build: Callable[..., Protocol], **options: Any) -> AsyncIterator[tuple[list[Node], list[Probe]]]:
    """Three nodes that run a protocol, and who hears its facts at each."""
    async with cluster(*NAMES, **options) as nodes:
        probes = [Probe(node) for node in nodes]
        for node, probe in zip(nodes, probes, strict=True):
            arguments = ("protocol", build, probe.pid)
            await within(node, lambda arguments=arguments: Server.start(name="protocol", args=arguments))
        yield nodes, probes


async def tell(node: Node, command: object) -> None:
    """Give the protocol of a node a command."""

    async def cast() -> None:
        partisan.cast("protocol", command)

    await within(node, cast)


async def state_of(node: Node) -> Any:
    """The protocol of a node, after all that has come to it so far."""

    async def ask() -> Any:
        return (await gen_sys.get_state("protocol"))["protocol"]

    return await within(node, ask)


@pytest.mark.parametrize("name", MAIL)
async def test_what_one_node_has_mailed_everybody_has_once(name: str) -> None:
    async with serving(MAIL[name]) as (nodes, probes):
        for node in nodes:
            await tell(node, Broadcast(node.name.encode()))
        for probe in probes:
            await probe.has(3)
        for node in nodes:
            await state_of(node)
        wanted = {Delivered((Atom(node.name), 1), node.name.encode()) for node in nodes}
        for probe in probes:
            assert len(probe.messages) == 3
            assert {*probe.messages} == wanted


@pytest.mark.parametrize("name", COMMIT)
@pytest.mark.parametrize("commit", [True, False])
async def test_all_nodes_commit_what_all_can_commit_and_abort_what_one_cannot(name: str, commit: bool) -> None:
    def build(myself: Atom, *args: Any) -> Protocol:
        return COMMIT[name](myself, *args, vote=lambda _: commit or myself != Atom("b@127.0.0.1"))

    async with serving(build) as (nodes, probes):
        await tell(nodes[0], Begin(b"work"))
        for probe in probes:
            assert await probe.has(1) == [Decided((Atom("a@127.0.0.1"), 1), commit)]


async def test_cooperating_participants_settle_what_their_lost_coordinator_has_not() -> None:
    class Hasty(CooperativeTermination):
        uncertainty = 0.2

    async with serving(Hasty) as (nodes, probes):
        a, b, c = nodes
        a.faults.omit(source=a.name, destination=c.name, kind="user")  # it prepares one and not the other
        a.faults.omit(source=b.name, destination=a.name, kind="user")
        await tell(a, Begin(b"work"))
        for probe in probes[1:]:
            assert await probe.has(1) == [Decided((Atom(a.name), 1), False)]


@pytest.mark.parametrize("name", STORES)
async def test_a_store_answers_all_its_clients_alike_and_survives_its_primary(name: str) -> None:
    async with serving(STORES[name]) as (nodes, probes):
        for number, (node, probe) in enumerate(zip(nodes, probes, strict=True)):
            await tell(node, Write(b"key", number))
            await probe.has(1)
        for node, probe in zip(nodes, probes, strict=True):
            await tell(node, Read(b"key"))
            assert (await probe.has(2))[1] == Answered((Atom(node.name), 2), 2)
        await nodes[0].stop()
        for node, probe in zip(nodes[1:], probes[1:], strict=True):
            await eventually(lambda node=node: nodes[0].name not in node.nodes())
            await tell(node, Read(b"key"))
            assert (await probe.has(3))[2] == Answered((Atom(node.name), 3), 2)


async def test_the_lost_letter_that_the_simulation_found_is_missing_on_nodes_too_but_not_when_acknowledged() -> None:
    (lost,) = search(direct_mail.LOSS).run.schedule
    for build, reaches in ((DirectMail, False), (direct_mail_acked.AckedDirectMail, True)):
        async with serving(build, retransmit_interval=0.05) as (nodes, probes):
            source, destination = nodes[lost.source], nodes[lost.destination]
            with source.faults.omit(destination=destination.name, kind="user", skip=lost.nth - 1, times=1) as fault:
                await tell(source, Broadcast(b"news"))
                third = next(probe for probe in probes if probe not in (probes[lost.source], probes[lost.destination]))
                await third.has(1)
                await eventually(lambda fault=fault: fault.hits == 1)
            await tell(source, Broadcast(b"more"))  # what comes after it shows that the link is there
            heard = await probes[lost.destination].heard(lambda fact: fact.body == b"more")
            assert heard.id == (Atom(source.name), 2)
            if reaches:
                await probes[lost.destination].heard(lambda fact: fact.body == b"news")
            assert [fact.body for fact in probes[lost.destination].messages].count(b"news") == reaches


async def test_the_crash_that_blocks_two_phase_commit_in_the_simulation_blocks_it_on_nodes() -> None:
    (crash,) = search(two_phase_commit.BLOCKS).run.schedule
    assert (crash.node, crash.step) == (0, 2)  # before the second Prepare
    async with serving(TwoPhaseCommit) as (nodes, probes):
        a, b, c = nodes
        a.faults.omit(destination=c.name, kind="user")
        await tell(a, Begin(b"work"))
        transaction = (Atom(a.name), 1)
        await eventually(lambda: a.unacknowledged(b.name) == 0)
        await a.stop(grace=0.0)
        await eventually(lambda: a.name not in b.nodes() and a.name not in c.nodes())
        assert (await state_of(b)).state == {transaction: Atom("prepared")}
        assert (await state_of(c)).state == {}
        assert not probes[1].messages


async def test_members_that_join_later_are_told_too() -> None:
    async with serving(DirectMail) as (nodes, probes), cluster("d") as (d,):
        await d.join(f"a@{nodes[0].listen_addrs[0]}")
        await eventually(lambda: all(len(node.members()) == 4 and d.is_connected(node.name) for node in nodes))
        await eventually(lambda: all(node.is_connected(d.name) for node in nodes))
        late = Probe(d)
        await within(d, lambda: Server.start(name="protocol", args=("protocol", DirectMail, late.pid)))
        await tell(nodes[1], Broadcast(b"news"))
        assert await late.has(1) == [Delivered((Atom("b@127.0.0.1"), 1), b"news")]
        await tell(d, Broadcast(b"more"))
        for probe in probes:
            assert (await probe.has(2))[1] == Delivered((Atom(d.name), 1), b"more")


async def test_the_block_of_the_page_about_nodes_runs_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text()
    _, block, _ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    scope = {"Server": Server, "partisan": partisan, "DirectMail": DirectMail, "Broadcast": Broadcast}
    exec(block, scope)
    async with running("a") as (a,):
        await within(a, scope["mail"])
    assert capsys.readouterr().out == "(Atom('a@127.0.0.1'), 1) b'news'\n"


NONSENSE = (
    (),
    Atom("letter"),
    (Atom("letter"),),
    (Atom("letter"), 1, b"body"),
    (Atom("letter"), ([], 1), b"body"),
    (Atom("letter"), (Atom("a"), True), b"body"),
    (Atom("letter"), (Atom("a"), 1), b"body", b"more"),
    (Atom("broadcast"), b"body"),
    (Atom("prepare"), (Atom("a"), 1), b"body"),
)


@pytest.mark.parametrize("term", NONSENSE, ids=repr)
async def test_what_is_no_message_is_logged_and_harms_nobody(term: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(DirectMail) as (nodes, probes):
        a, b, _ = nodes
        a.send(("protocol", b.name), (Atom("protocol"), Atom(a.name), term))
        await tell(a, Broadcast(b"news"))
        assert (await probes[1].has(1))[0].body == b"news"
        assert "what is no message" in caplog.text


@pytest.mark.parametrize(
    "message",
    [
        Letter((Atom("a@b"), 1), {b"any": [b"term"]}),
        Push((((Atom("a@b"), 1), b"x"), ((Atom("c@d"), 2), None))),
        Push(()),
        Vote((Atom("a@b"), 1), True),
        Answer((Atom("a@b"), 1), Atom("prepared")),
        anti_entropy.Checksum(7),
        Outcome((Atom("a@b"), 1), False),
    ],
    ids=lambda message: tag_of(type(message)).name,
)
def test_a_message_is_a_term_and_back(message: Any) -> None:
    kinds = {tag_of(type(message)): type(message)}
    assert from_term(partisan.etf.decode(partisan.etf.encode(to_term(message))), kinds) == message
