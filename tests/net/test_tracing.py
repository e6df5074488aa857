"""What real nodes are told is written to files, which the simulator runs again to the same answers."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import os
import re
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support import FAST, Sink, address_of, eventually, fully_meshed, running
from views import settle

import partisan
from partisan import Atom, ConfigError, EncodeError, Node, NotConnected
from partisan.errors import LocalProtocolError
from partisan.machines.full import FullMembership
from partisan.machines.hyparview import HyParView
from partisan.machines.machine import MembersChanged, Received
from partisan.machines.record import HIDDEN, LONGEST
from partisan.net import tracing
from partisan.plumtree import LwwMap, Put
from partisan.sim.__main__ import main
from partisan.sim.makers import MAKERS
from partisan.sim.moments import Passed, moments_of
from partisan.sim.record import Replayed, TraceError, replay
from partisan.wire.trace import forms_of_terms

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from random_gossip import RandomGossip

HYPARVIEW = {
    "peer_service_manager": "hyparview",
    "hyparview": {"shuffle_interval": 0.2, "random_promotion_interval": 0.2, "patience": 2.0},
}
SCAMP = {"membership_strategy": "scamp_v2", "periodic_interval": 0.2}


def replayed(path: Path, makers: Any = MAKERS) -> Replayed:
    with path.open() as lines:
        return replay(lines, makers, forms=forms_of_terms())


@contextlib.asynccontextmanager
async def traced(directory: Path, *names: str, **options: Any) -> AsyncIterator[list[Node]]:
    """Nodes that run, of which each is traced in a file that has its name."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            (await stack.enter_async_context(running(name, trace_file=str(directory / name), **options)))[0]
            for name in names
        ]


async def full_mesh(directory: Path, **options: Any) -> dict[str, list[str]]:
    """Three nodes join; one leaves and joins again, one dies; the members of each at its end."""

    def joined(*nodes: Node) -> bool:
        return (
            fully_meshed(*nodes) if "membership_strategy" not in options else all(len(n.members()) > 1 for n in nodes)
        )

    async with traced(directory, "a", "b", "c", **options) as (a, b, c):
        await b.join(address_of(a))
        await c.join(address_of(a))
        await eventually(lambda: joined(a, b, c))
        await b.leave()
        await eventually(lambda: b.name not in {*a.members(), *c.members()})
        await b.join(address_of(c))
        await eventually(lambda: joined(a, b, c))
        await c.stop(grace=0.0)
        await eventually(lambda: not b.is_connected(c.name))
        return {node.name: node.members() for node in (a, b)}


async def partial_views(directory: Path) -> dict[str, list[str]]:
    """Five nodes join, one dies and one leaves, a place is reserved."""
    async with traced(directory, *"abcde", **HYPARVIEW) as nodes:
        await asyncio.gather(*(node.join(address_of(nodes[0]), timeout=30.0) for node in nodes[1:]))
        await settle(nodes)
        nodes[0].reserve("anchor")
        await nodes.pop().stop(grace=0.0)
        await settle(nodes)
        leaver = nodes.pop()
        await leaver.leave()
        await settle(nodes)
        return {node.name: sorted(node.members()) for node in nodes}


def assert_replays(directory: Path, names: str, protocol: str, members: dict[str, list[str]]) -> None:
    for name in names:
        done = replayed(directory / name)
        assert done.divergence is None
        assert done.events > 5
        machines = {kind: machine for (_, kind), machine in done.machines.items()}
        assert machines.keys() == {"monitor", protocol}
        node = f"{name}@127.0.0.1"
        if node in members:  # what happens while it stops is not among these
            told = [spec.name for spec in machines[protocol].members]
            assert sorted(told) == sorted(members[node]) or protocol == "hyparview"


@pytest.mark.parametrize("options", [{"periodic_interval": 0.2}, SCAMP], ids=["full", "scamp_v2"])
async def test_the_traces_of_a_full_mesh_are_answered_as_they_were_recorded(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    members = await full_mesh(tmp_path, **options)
    assert_replays(tmp_path, "abc", str(options.get("membership_strategy", "full")), members)


async def test_the_traces_of_partial_views_are_answered_as_they_were_recorded(tmp_path: Path) -> None:
    members = await partial_views(tmp_path)
    assert_replays(tmp_path, "abcde", "hyparview", members)
    assert '"c":"reserve"' in (tmp_path / "a").read_text()


@pytest.mark.parametrize("overlay", ["client_server", "static"])
async def test_the_traces_of_other_overlays_are_answered_too(tmp_path: Path, overlay: str) -> None:
    options = {"peer_service_manager": overlay, **({"tag": "server"} if overlay == "client_server" else {})}
    async with traced(tmp_path, "a", "b", **options) as (a, b):
        await b.join(address_of(a))
        await eventually(lambda: len(b.members()) == 2)
        await b.leave()
    for name in "ab":
        done = replayed(tmp_path / name)
        assert done.divergence is None
        assert overlay in done.protocol


async def test_what_was_saved_options_that_change_and_another_spec_are_in_the_trace(tmp_path: Path) -> None:
    saved = {"persist_dir": str(tmp_path / "state"), **FAST}
    async with Node("a@127.0.0.1", **saved) as a, running("b") as [b]:
        await a.join(address_of(b))
        address = a.listen_addrs[0]
    async with Node(f"a@{address}", trace_file=str(tmp_path / "a"), **saved) as again:
        assert len(again.members()) == 2
        again.reconfigure(periodic_interval=3.0, channels={"data": {}})
        assert again.spec.channel("data") is not None
    done = replayed(tmp_path / "a")
    assert done.divergence is None
    machine: Any = done.machines[next(key for key in done.machines if key[1] == "full")]
    assert sorted(spec.name for spec in machine.members) == ["a@127.0.0.1", "b@127.0.0.1"]
    assert machine.config.period == 3.0
    assert machine.myself.channel("data") is not None


async def test_monitors_of_other_nodes_are_in_the_trace_without_the_reasons_of_ends(tmp_path: Path) -> None:
    async with traced(tmp_path, "a", "b") as (a, b):
        await b.join(address_of(a))
        await eventually(lambda: fully_meshed(a, b))

        async def short() -> None:
            await partisan.receive()
            partisan.exit("a secret reason")

        pid = b.spawn(short)
        down = a.loop.create_future()

        async def watch() -> None:
            partisan.monitor(pid)
            await eventually(lambda: b._monitors.machine.counts["watched"])
            partisan.send(pid, "end")
            down.set_result(await partisan.receive())

        a.spawn(watch)
        assert (await down)[-1] in ("a secret reason", b"a secret reason")
    for name in "ab":
        text = (tmp_path / name).read_text()
        assert "secret" not in text
        assert b"secret".hex() not in text
        assert ("partisan.machines.monitor:Down" if name == "a" else "partisan.machines.monitor:Ended") in text
        assert replayed(tmp_path / name).divergence is None


async def test_reasons_are_written_where_that_is_asked_for(tmp_path: Path) -> None:
    nodes = [Node(f"{name}@127.0.0.1", **FAST) for name in "ab"]
    for node in nodes:
        node.trace(tmp_path / node.name, payloads=True)
    async with nodes[0] as a, nodes[1] as b:
        await b.join(address_of(a))
        await eventually(lambda: fully_meshed(a, b))
        pid = b.spawn(asyncio.sleep, 3600.0)
        gone = a.loop.create_future()

        async def watch() -> None:
            partisan.monitor(pid)
            gone.set_result(await partisan.receive())

        a.spawn(watch)
        await eventually(lambda: b._monitors.machine.counts["watched"])
        b.exit(pid, "a known reason")
        await gone
        with pytest.raises(LocalProtocolError, match="runs already"):
            a.trace(None)
    text = (tmp_path / b.name).read_text()
    assert "a known reason" in text or b"a known reason".hex() in text
    assert replayed(tmp_path / a.name).divergence is replayed(tmp_path / b.name).divergence is None


def passed(path: Path, of_nodes: bool = False) -> list[tuple[str, Any]]:
    """The messages in a trace of the program, or of parts of the nodes: (which way, what is told of it)."""
    with path.open() as file:
        found = [(each.machine, each.event) for each in moments_of(file, forms_of_terms())]
    return [
        (way, event)
        for way, event in found
        if isinstance(event, Passed) and getattr(event.target, "name", "").startswith("partisan_") == of_nodes
    ]


@pytest.mark.parametrize("payloads", [False, True], ids=["without payloads", "with payloads"])
async def test_messages_of_the_program_are_in_the_trace_where_that_is_asked_for(tmp_path: Path, payloads: bool) -> None:
    async with traced(tmp_path, "a", "b", trace_messages=True, trace_payloads=payloads) as (a, b):
        await b.join(address_of(a))
        await eventually(lambda: fully_meshed(a, b))
        sink = Sink(b)
        pid = sink.pid
        a.send(("sink", b.name), (Atom("put"), "secret", 1.5))
        await a.deliver(pid, [2])
        a.add_interposition("drop", lambda kind, peer, message: None, on="forward")
        a.send(("sink", b.name), 3)
        a.remove_interposition("drop", on="forward")
        a.send(("sink", b.name), 4)
        assert await sink.has(3) == [(Atom("put"), b"secret", 1.5), [2], 4]
        for target, message, error in (("sink", b.name), object(), EncodeError), (("sink", "n@x"), 5, NotConnected):
            with pytest.raises(error):
                a.send(target, message)
    put = (Atom("put"), b"secret", 1.5)
    told = [(Atom("sink"), put), (pid, [2]), (Atom("sink"), 4)]
    shown = [(target, message if payloads else HIDDEN) for target, message in told]
    assert passed(tmp_path / "a") == [("forward_message", Passed(b.name, *each)) for each in shown]
    assert passed(tmp_path / "b") == [("receive_message", Passed(a.name, *each)) for each in shown]
    for name in "ab":
        assert replayed(tmp_path / name).divergence is None
        assert (b"secret".hex() in (tmp_path / name).read_text()) == payloads


async def test_broadcasts_and_acknowledgements_are_in_the_trace_with_the_messages(tmp_path: Path) -> None:
    async with traced(tmp_path, "a", "b", trace_messages=True, trace_payloads=True) as (a, b):
        await b.join(address_of(a))
        await eventually(lambda: fully_meshed(a, b))
        maps = [LwwMap(actor=node.name.encode(), epoch=1) for node in (a, b)]
        for node, kept in zip((a, b), maps, strict=True):
            node.broadcasts.add_handler("prices", kept)
        a.broadcast(Put(b"apple", 5), "prices")
        await eventually(lambda: maps[1].get(b"apple") == 5)
        sink = Sink(b)
        await a.deliver(sink.pid, 6)
    sent, came = (passed(tmp_path / name, of_nodes=True) for name in "ab")
    for target, what in ("partisan_plumtree_broadcast", Atom("broadcast")), ("partisan_python", Atom("acks")):
        first, second = (sent, came) if what.name == "broadcast" else (came, sent)
        found = [event for way, event in first if way == "forward_message" and has(event, target, what)]
        again = [event for way, event in second if way == "receive_message" and has(event, target, what)]
        assert [event.message for event in found] == [event.message for event in again] != []


def has(event: Passed, target: str, what: Atom) -> bool:
    """Whether that part of a node is told that, perhaps in a cast."""
    told = event.message
    if told[0] == Atom("$gen_cast"):
        told = told[1]
    return event.target == Atom(target) and told[0] == what


async def test_of_a_long_message_only_that_it_passed_is_in_the_trace(tmp_path: Path) -> None:
    async with traced(tmp_path, "a", "b", trace_messages=True, trace_payloads=True) as (a, b):
        await b.join(address_of(a))
        await eventually(lambda: fully_meshed(a, b))
        sink = Sink(b)
        a.send(("sink", b.name), bytes(LONGEST))
        await sink.has(1)
    assert passed(tmp_path / "b") == [("receive_message", Passed(a.name, Atom("sink"), HIDDEN))]


class OtherFull(FullMembership):
    """As full membership, but it believes no gossip."""

    def _on_gossip(self, peer: Any, message: Any, now: float) -> None:
        self._violation(peer, "none of that")


class OtherHyParView(HyParView):
    """As HyParView, but it forgets to say who the members are."""

    def handle(self, event: Any, now: float) -> Any:
        effects = super().handle(event, now)
        return [each for each in effects if not isinstance(getattr(each, "fact", None), MembersChanged)]


class Raising(FullMembership):
    """As full membership, but it fails."""

    def _on_connected(self, event: Any, now: float) -> None:
        raise RuntimeError("a defect")


async def test_a_machine_that_answers_otherwise_is_found_at_the_event(tmp_path: Path) -> None:
    await full_mesh(tmp_path, periodic_interval=0.2)
    for kind in (FullMembership, OtherFull, Raising):
        makers = {**MAKERS, "full": lambda config, kind=kind: lambda *args: kind(args[0], config, *args[1:])}
        at = replayed(tmp_path / "a", makers).divergence
        if kind is FullMembership:
            assert at is None
        elif kind is OtherFull:
            assert at is not None
            assert type(at.event) is Received
            assert [each.fact.detail for each in at.effects] == ["none of that"]
        else:
            assert at is not None
            assert repr(at.raised) == "RuntimeError('a defect')"


async def test_a_changed_machine_of_partial_views_is_found_too(tmp_path: Path) -> None:
    await partial_views(tmp_path)
    makers = {**MAKERS, "hyparview": lambda config: lambda *args: OtherHyParView(args[0], config, *args[1:])}
    for name in "abcde":
        assert replayed(tmp_path / name, makers).divergence is not None


@pytest.fixture(scope="module")
def cluster_traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("traces")
    asyncio.run(full_mesh(directory, periodic_interval=0.2))
    return directory


def test_the_command_line_replays_a_directory_and_prints_it_as_one(
    cluster_traces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(cluster_traces)]) == 0
    said = capsys.readouterr().out
    assert said.count("every machine answered as it was recorded") == 3
    assert main(["replay", "--events", *(str(cluster_traces / name) for name in "abc")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line[0].isdigit()]
    times = [float(line.split()[0]) for line in lines]
    assert times == sorted(times)
    assert {line.split()[1] for line in lines} == {f"{name}@127.0.0.1" for name in "abc"}
    with (cluster_traces / "a").open() as file:
        assert len(list(moments_of(file, forms_of_terms()))) == sum(line.split()[1] == "a@127.0.0.1" for line in lines)


def broken(lines: list[str]) -> list[tuple[str, list[str], int]]:
    """What may happen to a file: the problem that is told, the lines, and which is blamed."""
    newer = json.dumps({**json.loads(lines[0]), "partisan_trace": 2})
    torn = lines[-1][: len(lines[-1]) // 2]
    unknown = lines[1].replace('"p":"monitor"', '"p":"nothing"')
    return [
        ("version 2", [newer, *lines[1:]], 1),
        ("Unterminated|Expecting", [*lines[:-1], torn], len(lines)),
        ("nobody makes", [lines[0], unknown], 2),
        ("before its life", [lines[0], lines[-1]], 2),
        ("no function", [lines[0], *(line.replace("spec_key", "os.system") for line in lines[1:])], 3),
        ("no value", [lines[0], *(line.replace('"c":["partisan.', '"z":["partisan.') for line in lines[1:])], 2),
        ("empty", [], 1),
    ]


@pytest.mark.parametrize("which", range(7))
def test_a_damaged_or_newer_trace_is_refused_with_its_line(cluster_traces: Path, which: int, tmp_path: Path) -> None:
    problem, lines, at = broken((cluster_traces / "a").read_text().splitlines())[which]
    with pytest.raises(TraceError, match=problem) as caught:
        replay(lines, MAKERS, forms=forms_of_terms())
    assert caught.value.line == at
    (tmp_path / "broken").write_text("\n".join(lines))
    assert main(["replay", str(tmp_path / "broken")]) == 2


async def test_a_former_trace_is_kept_and_one_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for _ in range(2):
        async with traced(tmp_path, "a") as [a]:
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.old"]
    assert replayed(tmp_path / "a.old").divergence is None
    with pytest.raises(ConfigError, match="trace_file"):
        await Node("a@127.0.0.1", trace_file=str(tmp_path / "none" / "a")).start()
    assert a.listen_addrs


@pytest.mark.parametrize("place", ["a directory", "a pipe"])
async def test_what_is_no_file_is_refused_and_stays_where_it_is(tmp_path: Path, place: str) -> None:
    path = tmp_path / "traces"
    path.mkdir() if place == "a directory" else os.mkfifo(path)
    with pytest.raises(ConfigError, match=r"trace_file: .*traces is there, and is no file"):
        await Node("a@127.0.0.1", trace_file=str(path)).start()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("option", [[], ["--events"]])
def test_octets_that_are_no_text_are_a_damaged_line(
    cluster_traces: Path, tmp_path: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *others = (cluster_traces / "a").read_bytes().splitlines(keepends=True)
    for name, lines in (("whole", [first, second]), ("zz", [first, second, b"\xb4\xff\n", *others])):
        (tmp_path / name).write_bytes(b"".join(lines))
    assert main(["replay", *option, str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"partisan.sim: {tmp_path / 'zz'}: line 3: " in said


async def test_a_trace_that_cannot_go_on_ends_and_the_node_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "MOST_WAITING", 4000)
    async with traced(tmp_path, "a", "b") as (a, b):
        monkeypatch.setattr(tracing, "MOST_WAITING", 0)
        await b.join(address_of(a))
        await eventually(lambda: fully_meshed(a, b))
    assert caplog.text.count("is traced no more") == 2
    assert replayed(tmp_path / "a").divergence is None


async def test_the_examples_of_the_page_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "tracing.md").read_text()
    live, *later = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    scope: dict[str, Any] = {"partisan": partisan}
    exec("async def example():\n" + textwrap.indent(live, "    "), scope)
    await scope["example"]()
    assert replayed(tmp_path / "again.trace").divergence is None
    for example in later:
        exec(example, scope)
    members, divergence = capsys.readouterr().out.splitlines()
    assert sorted(ast.literal_eval(members)) == ["other@127.0.0.1", "traced@127.0.0.1"]
    assert divergence.split()[1:] == ["Connected", "()"]
    table = page[page.index("| machine |") :]
    assert {name for name in MAKERS if "flood" not in name} == {name for name in MAKERS if f"`{name}`" in table}


async def test_a_strategy_of_the_program_runs_untraced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with traced(tmp_path, "a", "b", membership_strategy=RandomGossip) as (a, b):
        await b.join(address_of(a))
        await eventually(lambda: fully_meshed(a, b))
    assert caplog.text.count("RandomGossip is not traced") == 2
    assert {protocol for _, protocol in replayed(tmp_path / "a").machines} == {"monitor"}


async def test_without_a_trace_no_machine_is_wrapped() -> None:
    async with running("a") as [a]:
        assert type(a._manager._machine) is FullMembership
        assert a._context.tracing is None
