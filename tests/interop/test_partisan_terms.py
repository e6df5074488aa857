"""Terms between Python nodes and nodes of Partisan: every kind and size, and the three forms of remote references."""

from __future__ import annotations

import base64
import hashlib
import random
from typing import Any

import pytest
from partisans import Partisan, eventually, meshed, python, real
from support import Sink

import partisan
from partisan import Node
from partisan.etf import Atom, Codec, ImproperList, Pid, Reference, encode, exactly_equal
from tests.oracle import chance
from tests.oracle.values import as_value

OK, ECHO = Atom("ok"), Atom("echo")
MIB = 1 << 20
FORMATS = ("improper_list", "tuple", "uri")
SEED = 6

ASK = """
(fun(Me, Term) ->
    ok = partisan:forward_message(NODE, echo, {Me, Term}, OPTIONS),
    receive {echo, Back} -> {Back =:= Term, catch Back =:= partisan_remote_ref:from_term(Term)}
    after 20000 -> nothing end
end)(ME, TERM)
"""
ASK_ALL = """
(fun(Terms) ->
    Me = partisan:self(),
    [ok = partisan:forward_message(NODE, echo, {Me, Term}, #{}) || Term <- Terms],
    [Term || Term <- Terms, receive {echo, Back} -> Back =/= Term after 20000 -> true end]
end)(binary_to_term(base64:decode("TERMS")))
"""
DIGEST = """
register(digest, spawn(fun() -> (fun Loop() ->
    receive Octets -> sink ! {byte_size(Octets), crypto:hash(sha256, Octets)}, Loop() end
end)() end)), ok
"""


async def echo() -> None:
    """A process that sends back what it is sent, as that of the nodes of Partisan does."""
    while True:
        caller, term = await partisan.receive()
        partisan.send(caller, (ECHO, term))


async def asked(far: Partisan, py: Node, term: str, *, me: str = "partisan:self()", options: str = "#{}") -> Any:
    """What comes of it when a process of Partisan has a term echoed: whether it is the same, or its remote form."""
    fill = {"NODE": f"'{py.name}'", "OPTIONS": options, "ME": me, "TERM": term}
    text = ASK
    for name, value in fill.items():
        text = text.replace(f"({name}", f"({value}").replace(f" {name}", f" {value}")
    return await far.eval(text)


def random_term(rng: random.Random, depth: int = 4) -> Any:
    """A term by chance, of the kinds that Partisan's own encoder survives: no tuple of more than 255, no odd tail."""
    if depth == 0 or rng.random() < 0.4:
        make = rng.choice((chance.integer, chance.floating, chance.atom, chance.bits))
        return as_value(make(rng))
    items = [random_term(rng, depth - 1) for _ in range(rng.randrange(6))]
    kind = rng.randrange(4)
    if kind == 0:
        return tuple(items)
    if kind == 1:
        return {f"key{place}".encode(): item for place, item in enumerate(items)}
    return items if kind == 2 else [rng.randrange(256) for _ in range(rng.randrange(300))]


async def test_a_thousand_random_terms_come_back_from_a_node_of_partisan_as_they_went() -> None:
    rng = random.Random(SEED)
    terms = [random_term(rng) for _ in range(1000)]
    async with real() as far, python() as py:
        sink = Sink(py)
        await py.join(far.address)
        await meshed([far, py])
        for term in terms:
            py.send(("echo", far.name), (sink.pid, term))
        for term, back in zip(terms, await sink.has(len(terms), 30.0), strict=True):
            assert exactly_equal(back, (ECHO, term)), term


async def test_a_thousand_random_terms_of_a_node_of_partisan_come_back_from_ours_as_they_went() -> None:
    rng = random.Random(SEED + 1)
    async with real() as far, python() as py:
        py.spawn(echo, name="echo")
        await py.join(far.address)
        await meshed([far, py])
        for _ in range(10):
            text = base64.b64encode(encode([random_term(rng) for _ in range(100)])).decode()
            fill = ASK_ALL.replace("NODE", f"'{py.name}'").replace("TERMS", text)
            assert await far.eval(fill) == []


CORNERS = [
    "42",
    "partisan:self()",
    "partisan:make_ref()",
    "{a, [partisan:make_ref(), #{k => partisan:self()}]}",
    "partisan_remote_ref:from_term(sink)",
    '"text"',
    "lists:seq(0, 255)",
    "lists:duplicate(70000, 1)",
    "[]",
    "{}",
    "#{}",
    "#{1 => a, 1.0 => b}",
    "nil",
    "{undefined, true, false}",
    "[300 | [b]]",
    "1 bsl 70",
    "-(1 bsl 70)",
    "<<5:3>>",
    "'\\x{fc}'",
    "fun lists:reverse/1",
    "list_to_tuple(lists:seq(1, 255))",
]


@pytest.mark.parametrize("format", FORMATS)
async def test_terms_with_pids_names_and_references_in_each_form_are_echoed_unchanged(format: str) -> None:
    async with real(remote_ref_format=format, channels="#{bulk => #{}}") as far, python() as py:
        py.spawn(echo, name="echo")
        await py.join(far.address)
        await meshed([far, py])
        for term in CORNERS:
            for options in ("#{}", "#{ack => true, channel => bulk}"):
                found = await asked(far, py, term, options=options)
                assert found[0] is True, (term, found)
        for raw in ("self()", "make_ref()"):  # they go in their remote form, and come back in it
            assert (await asked(far, py, f"(fun(X) -> X end)({raw})", me="self()"))[1] is True


TAKEN = """
(fun Again() -> sink ! {'$take', self()}, receive {taken, []} -> Again(); {taken, Seen} -> GIVE end end)()
"""
KNOWN = "{partisan:is_pid(P), partisan:is_reference(R), partisan:node(P)}"
KINDS = {"improper_list": Pid, "tuple": Pid, "uri": bytes}


@pytest.mark.parametrize("format", FORMATS)
async def test_what_ours_makes_of_each_form_is_a_pid_that_it_can_send_to(format: str) -> None:
    async with real(remote_ref_format=format) as far, python() as py:
        sink = Sink(py)
        await py.join(far.address)
        await meshed([far, py])
        await far.send(py.name, "sink", "{whereis(sink), make_ref(), partisan_remote_ref:from_term(sink)}")
        [(pid, reference, name)] = await sink.has(1)
        assert type(pid) is KINDS[format]
        assert isinstance(reference, bytes if format == "uri" else Reference)
        py.send(pid, Atom("to_a_pid"))
        py.send(name, Atom("to_a_name"))
        assert await far.gathered(2) == [Atom("to_a_pid"), Atom("to_a_name")]
        py.forward_message(pid, Atom("kept"), ack=True)
        assert await far.gathered(1) == [Atom("kept")]
        await eventually(lambda: not py.unacknowledged(far.name), "it is acknowledged")


@pytest.mark.parametrize("ours", ["improper_list", "tuple"])
async def test_pids_and_references_of_ours_are_such_to_a_node_of_partisan(ours: Any) -> None:
    async with real(remote_ref_format=ours) as far, python(remote_ref_format=ours) as py:
        sink = Sink(py)
        await py.join(far.address)
        await meshed([far, py])
        wanted = [(sink.pid, py.make_ref())]
        py.send(("sink", far.name), wanted[0])
        text = await far.eval(f"term_to_binary({TAKEN.replace('GIVE', '{Seen, [' + KNOWN + ' || {P, R} <- Seen]}')})")
        assert Codec(remote_refs=True).decode(text) == (wanted, [(True, True, Atom(py.name))])
        if ours == "improper_list":  # in the other form a node of Partisan cannot send to another's process
            py.send(("echo", far.name), (sink.pid, Atom("hello")))
            assert await sink.has(1) == [(ECHO, Atom("hello"))]


async def test_without_its_encoding_of_pids_they_come_raw_and_frames_may_be_compressed() -> None:
    env = {"pid_encoding": "false", "ref_encoding": "false", "channels": "#{bulk => #{compression => true}}"}
    async with real(**env) as far, python(channels={"bulk": {"compression": True}}) as py:
        sink = Sink(py)
        py.spawn(echo, name="echo")
        await py.join(far.address)
        await meshed([far, py])
        large = 'lists:duplicate(1000, <<"compressible">>)'
        assert await far.send(py.name, "sink", f"{{self(), make_ref(), {large}}}", "#{channel => bulk}") is OK
        [(pid, reference, words)] = await sink.has(1)
        assert isinstance(pid, Pid)
        assert isinstance(reference, Reference)
        assert words == [b"compressible"] * 1000
        assert (await asked(far, py, "{partisan:self(), partisan:make_ref()}"))[0] is True
        py.send(("sink", far.name), words, channel="bulk")
        assert await far.gathered(1) == [words]


@pytest.mark.parametrize("level", [True, 9])
async def test_what_ours_compresses_is_read_by_a_node_of_partisan(level: bool | int) -> None:
    async with real(channels=f"#{{bulk => #{{compression => {str(level).lower()}}}}}") as far, python() as py:
        py.spawn(echo, name="echo")
        await py.join(far.address)
        await meshed([far, py])
        words = [b"compressible"] * 10_000
        py.send(("sink", far.name), words, channel="bulk")
        assert await far.gathered(1) == [words]


@pytest.mark.parametrize("mib", [8, 16, 64])
async def test_large_messages_come_whole_both_ways(mib: int) -> None:
    async with real() as far, python() as py:
        sink = Sink(py)
        await far.eval("{ok, _} = application:ensure_all_started(crypto), ok")
        await far.eval(DIGEST)
        await py.join(far.address)
        await meshed([far, py])
        octets = random.Random(SEED).randbytes(MIB) * mib
        py.send(("digest", far.name), octets)
        wanted = (len(octets), hashlib.sha256(octets).digest())
        assert await far.gathered(1) == [wanted]
        copy = f'binary:copy(<<"0123456789abcdef">>, {mib * MIB // 16})'
        assert await far.send(py.name, "sink", copy) is OK
        [back] = await sink.has(1, 30.0)
        assert back == b"0123456789abcdef" * (mib * MIB // 16)


async def test_small_messages_on_another_channel_pass_a_large_one_of_either_side() -> None:
    async with real(channels="#{bulk => #{}}") as far, python(channels={"bulk": {}}) as py:
        sink = Sink(py)
        await py.join(far.address)
        await meshed([far, py])
        py.send(("sink", far.name), b"x" * (32 * MIB), channel="bulk")
        py.send(("sink", far.name), Atom("small"))
        seen = await far.gathered(2)
        assert Atom("small") in seen
        assert len(seen) == 2
        await far.send(py.name, "sink", f"binary:copy(<<0>>, {32 * MIB})", "#{channel => bulk}")
        await far.send(py.name, "sink", "small")
        assert Atom("small") in await sink.has(2, 30.0)


async def test_padded_messages_of_either_side_come_without_their_padding() -> None:
    async with real(binary_padding="true") as far, python(binary_padding=True) as py:
        sink = Sink(py)
        await py.join(far.address)
        await meshed([far, py])
        assert await far.send(py.name, "sink", "plain") is OK
        assert await far.send(py.name, "sink", "kept", "#{ack => true}") is OK
        assert await sink.has(2) == [Atom("plain"), Atom("kept")]
        py.send(("sink", far.name), Atom("plain"))
        assert await far.gathered(1) == [Atom("plain")]
        py.forward_message(("sink", far.name), Atom("kept"), ack=True)
        assert await far.gathered(1) == [Atom("kept")]


async def test_an_improper_list_and_a_large_tuple_of_ours_are_what_they_were_there() -> None:
    async with real() as far, python() as py:
        await py.join(far.address)
        await meshed([far, py])
        terms = [ImproperList([1, 2], 3), tuple(range(256)), tuple(range(70_000))]
        for term in terms:
            py.send(("sink", far.name), term)
        for term, back in zip(terms, await far.gathered(3), strict=True):
            assert exactly_equal(term, back)
