"""TLS against Erlang's own `ssl`, where there is one: a listener and a dialler with `packet 4`, mutual."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from authority import Authority, Identity
from scripted import decode, encode, spec_term, state_frame
from support import Sink, running

from partisan import Atom, HandshakeError

SECONDS = 20.0  # that anything may take

OPTIONS = """
Names = ["CERTFILE", "KEYFILE", "CACERTFILE", "VERSION"],
[Certfile, Keyfile, Cacertfile, Version] = [os:getenv(Name) || Name <- Names],
{ok, _} = application:ensure_all_started(ssl),
logger:set_primary_config(level, none),
Options = [binary, {packet, 4}, {active, false}, {certfile, Certfile}, {keyfile, Keyfile}, {cacertfile, Cacertfile},
    {verify, verify_peer}, {versions, [list_to_atom(Version)]}],
Say = fun(Octets) -> io:put_chars([binary:encode_hex(Octets), "\\n"]) end,
"""

LISTENER = (
    OPTIONS
    + """
{ok, Listen} = ssl:listen(0, [{ip, {127, 0, 0, 1}}, {reuseaddr, true}, {fail_if_no_peer_cert, true} | Options]),
{ok, {_, Port}} = ssl:sockname(Listen),
io:format("~b~n", [Port]),
State = binary:decode_hex(list_to_binary(string:trim(io:get_line("")))),
Serve = fun(Accepted) ->
    case ssl:handshake(Accepted, 5000) of
        {ok, Socket} ->
            ok = ssl:send(Socket, term_to_binary({hello, 'b@127.0.0.1'})),
            {ok, Hello} = ssl:recv(Socket, 0),
            ok = ssl:send(Socket, State),
            Loop = fun Loop() ->
                case ssl:recv(Socket, 0) of {ok, Frame} -> Say(Frame), Loop(); {error, closed} -> Say(<<"closed">>) end
            end,
            Say(Hello), Loop();
        {error, _} -> ok
    end
end,
Accept = fun Accept() ->
    {ok, Accepted} = ssl:transport_accept(Listen),
    Pid = spawn(fun() -> receive go -> Serve(Accepted) end end),
    ok = ssl:controlling_process(Accepted, Pid),
    Pid ! go,
    Accept()
end,
spawn_link(fun() -> io:get_line(""), halt() end),
Accept().
"""
)

DIALLER = (
    OPTIONS
    + """
Port = list_to_integer(os:getenv("PORT")),
{ok, Socket} = ssl:connect({127, 0, 0, 1}, Port, [{server_name_indication, disable} | Options], 5000),
{ok, Hello} = ssl:recv(Socket, 0), Say(Hello),
ok = ssl:send(Socket, term_to_binary({forward_message, sink, early})),
ok = ssl:send(Socket, term_to_binary({hello, 'p@127.0.0.1', data})),
{ok, State} = ssl:recv(Socket, 0), Say(State),
Large = binary:copy(<<"x">>, 3000000),
[ok = ssl:send(Socket, term_to_binary({forward_message, sink, {N, Large}})) || N <- lists:seq(1, 5)],
io:get_line(""), ssl:close(Socket), halt().
"""
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["tlsv1.2", "tlsv1.3"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], None]:
    """Run a coroutine to its end on a loop of one kind."""

    def to_its_end(coroutine: Any) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(coroutine)

    return to_its_end


def erl() -> str:
    """The `erl` that has `ssl`; skips where there is none."""
    found = shutil.which("erl")
    if found is None:
        pytest.skip("no erl on the path: install Debian's erlang-ssl to speak TLS with a real BEAM")
    ask = "io:put_chars(atom_to_list(is_list(code:lib_dir(ssl)))), halt()."
    said = subprocess.run([found, "-noinput", "-eval", ask], capture_output=True, text=True, timeout=60, check=False)
    if said.stdout.strip() != "true":
        pytest.skip("this erl has no ssl: install Debian's erlang-ssl")
    return found


class Beam:
    """An `erl` that runs a script and says lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(SECONDS):
            said = await self._process.stdout.readline()
        assert said, "erl has ended"
        return said.decode().strip()

    async def term(self) -> Any:
        return decode(bytes.fromhex(await self.line()))

    def tell(self, line: str = "") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")


@contextlib.asynccontextmanager
async def beam(
    script: str, authority: Authority, shown: Identity, version: str, **variables: str
) -> AsyncIterator[Beam]:
    files = {"CERTFILE": shown.certfile, "KEYFILE": shown.keyfile, "CACERTFILE": authority.cacertfile}
    environment = os.environ | files | {"VERSION": version, "ERL_CRASH_DUMP_SECONDS": "0"} | variables
    pipe = asyncio.subprocess.PIPE
    command = [erl(), "-noshell", "-boot", "start_clean", "-eval", script]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, env=environment, cwd=Path(shown.certfile).parent, limit=1 << 26
    )
    try:
        yield Beam(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def test_a_node_dials_an_erlang_listener(authority: Authority, version: str, run: Callable[[Any], None]) -> None:
    erl()
    shown = authority.issue("127.0.0.1")

    async def dials() -> None:
        async with beam(LISTENER, authority, shown, version) as there, running("a", **authority.mutual(shown)) as [a]:
            port = int(await there.line())
            there.tell(encode(state_frame(spec_term("b@127.0.0.1", port, {None: 1}))).hex())
            await a.join(f"b@127.0.0.1:{port}")
            assert await there.term() == (Atom("hello"), Atom(a.name), None)
            large = b"y" * 3_000_000
            a.send(("sink", "b@127.0.0.1"), large)
            a.send(("sink", "b@127.0.0.1"), "last")
            heard = [await there.term() for _ in range(2)]
            while heard[-1][-1] != b"last":  # gossip comes in between
                heard.append(await there.term())
            assert large in [term[-1] for term in heard]
            await a.leave("b@127.0.0.1")
            while (line := await there.line()) != b"closed".hex().upper():
                decode(bytes.fromhex(line))

    run(dials())


def test_an_erlang_dialler_speaks_to_a_node(authority: Authority, version: str, run: Callable[[Any], None]) -> None:
    erl()
    shown = authority.issue("127.0.0.1")

    async def is_dialled() -> None:
        async with running("a", **authority.mutual(shown)) as [a]:
            sink = Sink(a)
            port = str(a.listen_addrs[0].port)
            async with beam(DIALLER, authority, shown, version, PORT=port) as there:
                assert await there.term() == (Atom("hello"), Atom(a.name))
                assert (await there.term())[0] is Atom("state")
                large = b"x" * 3_000_000
                assert await sink.has(6, SECONDS) == [Atom("early"), *((number, large) for number in range(1, 6))]

    run(is_dialled())


def test_an_erlang_listener_of_another_authority_is_refused(
    authority: Authority, tmp_path: Path, run: Callable[[Any], None]
) -> None:
    erl()
    foreign = Authority(tmp_path, "foreign")

    async def dials() -> None:
        theirs = foreign.issue("127.0.0.1")
        shown = authority.issue("127.0.0.1")
        async with beam(LISTENER, foreign, theirs, "tlsv1.3") as there, running("a", **authority.mutual(shown)) as [a]:
            port = int(await there.line())
            there.tell("00")
            with pytest.raises(HandshakeError) as caught:
                await a.join(f"b@127.0.0.1:{port}")
            assert caught.value.reason == "certificate"

    run(dials())
