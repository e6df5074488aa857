"""Remote references of running nodes: made as the node says, understood where they belong, and sent to."""

from __future__ import annotations

from typing import Any

import pytest
from support import Sink, cluster, running

import partisan
from partisan import Atom, BadRef, NoProc, Pid, remote_ref
from partisan._core.references import FORMATS
from partisan.etf import ImproperList, Reference

DOWN = Atom("DOWN")


async def echo() -> None:
    while True:
        match await partisan.receive():
            case (Atom("$gen_call"), caller, request):
                partisan.gen.server.reply(caller, request)
            case Atom("stop"):
                return


@pytest.mark.parametrize("format", ["improper_list", "tuple"])
async def test_the_format_is_that_of_the_node(format: Any) -> None:
    async with running("a", remote_ref_format=format) as [a]:
        pid = a.spawn(echo, name="echo")
        name = remote_ref.from_term("echo")
        assert type(name) is (ImproperList if format == "improper_list" else tuple)
        assert remote_ref.from_term(pid).form == {"improper_list": "list", "tuple": "tuple"}[format]
        assert remote_ref.from_term(Atom("echo"), format="uri") == f"partisan:name:{a.name}:echo".encode()


@pytest.mark.parametrize("padded", [False, True])
async def test_uris_are_padded_as_the_node_says_or_as_is_asked(padded: bool) -> None:
    async with running("a", remote_ref_uri_padding=padded):
        assert (b"\x19" in remote_ref.from_term("echo", format="uri")) is padded
        assert (b"\x19" in remote_ref.from_term("echo", format="uri", padding=not padded)) is not padded


@pytest.mark.parametrize("format", FORMATS)
async def test_what_is_of_this_node_comes_back_as_it_was(format: Any) -> None:
    async with running("a") as [a]:
        pid, reference = a.spawn(echo, name="echo"), a.make_ref()
        refs = [remote_ref.from_term(each, format=format, padding=True) for each in (pid, "echo", reference)]
        assert [remote_ref.to_term(each) for each in refs] == [pid, "echo", reference]
        assert remote_ref.to_pid(refs[0]).form == "pid"
        assert remote_ref.to_reference(refs[2]).form == "ref"
        assert remote_ref.to_name(refs[1]) == remote_ref.to_pid_or_name(refs[1]) == "echo"
        assert remote_ref.to_pid(refs[0]) == remote_ref.to_pid_or_name(refs[0]) == pid
        assert all(map(remote_ref.is_local, refs))
        assert all(map(partisan.is_local, refs))
        assert [partisan.is_pid(each) for each in refs] == [True, False, False]
        assert [partisan.is_reference(each) for each in refs] == [False, False, True]
        assert [partisan.is_local_pid(each) for each in refs] == [True, False, False]
        assert [partisan.is_local_name(each) for each in refs] == [False, True, False]
        assert [partisan.is_local_reference(each) for each in refs] == [False, False, True]


async def test_another_kind_is_refused() -> None:
    async with running("a") as [a]:
        refs = {
            remote_ref.to_pid: [remote_ref.from_term("echo"), a.make_ref()],
            remote_ref.to_name: [Pid(a.name, 1), a.make_ref()],
            remote_ref.to_pid_or_name: [a.make_ref()],
            remote_ref.to_reference: [Pid(a.name, 1), remote_ref.from_term("echo", format="uri")],
        }
        for ask, wrong in refs.items():
            for ref in [*wrong, "echo", 5]:
                with pytest.raises(BadRef):
                    ask(ref)


@pytest.mark.parametrize("format", FORMATS)
async def test_what_is_of_another_node_is_made_and_not_understood_here(format: Any) -> None:
    async with running("b", "a") as [b, a]:
        for term in (Pid(b.name, 9), ("echo", b.name), Reference(b.name, (1, 2, 3))):
            ref = remote_ref.from_term(term, format=format)
            assert remote_ref.nodestring(ref) == b.name
            assert not remote_ref.is_local(ref)
            assert not partisan.is_local(ref)
            assert not partisan.is_local_pid(ref)
            assert not partisan.is_local_name(ref)
            assert not partisan.is_local_reference(ref)
            for ask in (remote_ref.to_term, remote_ref.to_pid_or_name, remote_ref.to_reference):
                with pytest.raises(BadRef, match=f"is of {b.name}, and this node is {a.name}"):
                    ask(ref)


async def test_a_process_and_its_name_are_identical_in_both_orders_on_their_node_only() -> None:
    async with running("b", "a") as [b, a]:
        pid, other = a.spawn(echo, name="echo"), a.spawn(echo)
        far = b.spawn(echo, name="far")
        for format in FORMATS:
            name = remote_ref.from_term("echo", format=format)
            for ref in (pid, remote_ref.from_term(pid, format="uri")):
                assert remote_ref.is_identical(ref, name)
                assert remote_ref.is_identical(name, ref)
            assert not remote_ref.is_identical(other, name)
            assert not remote_ref.is_identical(pid, remote_ref.from_term("nobody", format=format))
            assert not remote_ref.is_identical(far, remote_ref.from_term(("far", b.name), format=format))
            assert not remote_ref.is_identical(a.make_ref(), name)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("there", [False, True])
async def test_a_reference_is_sent_to_asked_and_monitored_as_what_it_refers_to(format: Any, there: bool) -> None:
    async with cluster("b", "a") as [b, a]:
        home = b if there else a
        pid = home.spawn(echo, name="écho")
        sink = Sink(a)
        for term in (pid, ("écho", home.name)):
            ref = remote_ref.from_term(term, format=format, padding=True)
            assert await partisan.call(ref, Atom("ask")) is Atom("ask")
        name = remote_ref.from_term(("écho", home.name), format=format)

        async def watch() -> None:
            reference = partisan.monitor(name)
            assert await partisan.call(name, Atom("still")) is Atom("still")
            partisan.forward_message(name, Atom("stop"), ack=True)
            sink_message = await partisan.receive((DOWN, reference, ..., ..., ...))
            partisan.send(sink.pid, sink_message[3:])

        a.spawn(watch)
        assert await sink.has(1) == [((Atom("écho"), Atom(home.name)), Atom("normal"))]


@pytest.mark.parametrize("form", ["uri", "tuple", "list", "encoded"])
async def test_what_comes_for_a_reference_reaches_its_process(form: str) -> None:
    async with running("a") as [a]:
        sink = Sink(a)
        pid = remote_ref.to_pid(sink.pid)
        a.register("böse", pid)
        refs: dict[str, list[Any]] = {
            "uri": [remote_ref.from_term(each, format="uri", padding=True) for each in (pid, "böse")],
            "tuple": [remote_ref.from_term(each, format="tuple") for each in (pid, "böse")],
            "list": [pid, ImproperList([Atom(a.name)], "#Nameböse".encode("latin-1"))],
            "encoded": [remote_ref.target(each) for each in (pid, remote_ref.from_term("böse"))],
        }
        for number, target in enumerate(refs[form]):
            a.router.hand_over(target, number)
        assert await sink.has(2) == [0, 1]


async def test_a_reference_to_nobody_is_told_as_any_target() -> None:
    async with running("a") as [a]:
        with pytest.raises(NoProc):
            partisan.send(remote_ref.from_term("nobody", format="uri"), 1)
        with pytest.raises(TypeError, match="no target"):
            partisan.send(b"no reference", 1)
        with pytest.raises(TypeError, match="no target"):
            partisan.send(remote_ref.from_term(a.make_ref(), format="uri"), 1)
        with pytest.raises(TypeError, match="no target"):
            await a.deliver(b"no reference", 1)
        with pytest.raises(TypeError, match="no target"):
            await partisan.call(b"no reference", 1)
