"""Nodes of Partisan itself to be among: compiled applications that are brought by whoever runs the tests.

`PARTISAN_ERL_LIBS` names a directory of compiled Erlang applications, Partisan and what it needs among them; without
it these tests skip. Nothing of ours is loaded there: a node evaluates what a test asks it, as in `beams`. Its log goes
to its standard error, and `complaints` are the crashes that it reports there.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from beams import SECONDS, Runtime, find, free_port, fresh
from support import FAST, Events, assert_nothing_left

from partisan import Node, telemetry
from partisan.etf import Atom
from partisan.testing import NodeProcess, commands

LIBS = os.environ.get("PARTISAN_ERL_LIBS", "")
LOGGER = "[{handler,default,logger_std_h,#{config=>#{type=>standard_error}}}]"
LOG_OCTETS = 1 << 20
"""How much of a log is looked through, from its end."""

CRASHES = re.compile(r"=(?:CRASH|ERROR|SUPERVISOR) REPORT=.*?(?=\n=|\Z)", re.DOTALL)

ENDED = r"partisan_peer_service_sup\}\s+errorContext: child_terminated\s+reason: normal"
"""The report that the manager has ended in order, as it does when its node leaves."""

MANAGERS = {
    "pluggable": "partisan_pluggable_peer_service_manager",
    "hyparview": "partisan_hyparview_peer_service_manager",
    "client_server": "partisan_client_server_peer_service_manager",
    "static": "partisan_static_peer_service_manager",
}
"""What Partisan calls the managers."""

SINK = """
register(NAME, spawn(fun() -> (fun Loop(Seen) ->
    receive {'$take', To} -> To ! {taken, lists:reverse(Seen)}, Loop([]); Message -> Loop([Message | Seen]) end
end)([]) end)), ok
"""
ECHO = """
register(NAME, spawn(fun() -> (fun Loop() ->
    receive {To, Term} -> partisan:forward_message(To, {echo, Term}, OPTIONS), Loop(); _ -> Loop() end
end)() end)), ok
"""


STUCK = """
[Pid || Pid <- processes(), {dictionary, Kept} <- [process_info(Pid, dictionary)],
    lists:keymember({partisan_peer_service_server, ingress_delay}, 1, Kept),
    process_info(Pid, current_function) =:= {current_function, {gen, do_call, 4}}]
"""
"""Inbound connections that wait for an answer of the manager: for ever, if what has come is nothing that it knows."""

NUMBERED = """
(fun() ->
    [ok = partisan:forward_message(NODE, sink, {KEY, I}, OPTIONS) || I <- lists:seq(FIRST, FIRST + COUNT - 1)], ok
end)()
"""


LOADED = """
{ok, _} = application:ensure_all_started(ssl),
[{module, _} = code:ensure_loaded(Module) || App <- [crypto, asn1, public_key, ssl, partisan],
    Module <- element(2, application:get_key(App, modules))], ok
"""
"""What speaks TLS is there from the start, as in a release: who loads it first misses what a dialler says at once."""


class Partisan(Runtime):
    """A running node of Partisan.

    Args:
        short: what its name begins with; or a whole name.
        manager: one of MANAGERS.
        port: to listen to; 0: any that is free.
        env: its application's environment, values as Erlang text: `channels="#{bulk => #{parallelism => 2}}"`.
    Attributes:
        name: of the node.
        port: where it listens, on 127.0.0.1.
        address: `name:port`, as `Node.join` takes it.
        manager: the module of its manager.
    """

    def __init__(self, short: str = "real", *, manager: str = "pluggable", port: int = 0, **env: str) -> None:
        if not LIBS:
            pytest.skip("no nodes of Partisan: PARTISAN_ERL_LIBS names no directory of compiled applications")
        if not any(Path(LIBS).glob("partisan*/ebin/partisan.app")):
            pytest.fail(f"PARTISAN_ERL_LIBS names {LIBS}, which has no compiled partisan")
        self._reborn = False
        self.port = port or free_port()
        self.manager = MANAGERS[manager]
        name = short if "@" in short else fresh(short)
        self.address = f"{name}:{self.port}"
        super().__init__(name, [find("otp25"), "-kernel", "logger", LOGGER], {"ERL_LIBS": LIBS})
        mine = {
            "name": f"'{name}'",
            "peer_ip": "{127,0,0,1}",
            "peer_port": str(self.port),
            "listen_addrs": f"[#{{ip => {{127,0,0,1}}, port => {self.port}}}]",
            "peer_service_manager": self.manager,
            "connection_jitter": "20",
        }
        try:
            self.ask("application:load(partisan)")
            if "tls" in env:
                self.ask(LOADED)
            self.ask(", ".join(f"application:set_env(partisan, {key}, {value})" for key, value in (mine | env).items()))
            self.ask("{ok, _} = application:ensure_all_started(partisan), ok")
            self.ask(SINK.replace("NAME", "sink"))
            self.ask(ECHO.replace("NAME", "echo").replace("OPTIONS", "#{}"))
            self.vitals = self._vitals()
        except BaseException:
            self.kill()
            raise

    def _vitals(self) -> Any:
        """What a crash would change: the processes that hold the node together."""
        return self.ask(
            "{whereis(partisan_sup), whereis(partisan_peer_service:manager()), [{Id, Pid} || {Id, Pid, _, _} <- "
            "supervisor:which_children(partisan_acceptor_socket_pool_sup)]}"
        )

    def complaints(self, provoked: str = "") -> list[str]:
        """The reports of crashes and errors in its log, without those in which the regular expression is found."""
        known = [*filter(None, [provoked]), *([ENDED] if self._reborn else [])]
        reports = CRASHES.findall(self.errors(LOG_OCTETS))
        return [each for each in reports if not any(re.search(pattern, each) for pattern in known)]

    def is_unharmed(self) -> bool:
        """Whether its manager, its supervisor and its acceptors are those that it was started with."""
        return bool(self._vitals() == self.vitals)

    async def reborn(self) -> None:
        """Wait until its manager is another, as after a leave; what it is now must be unharmed in the end."""
        manager, self._reborn = self.vitals[1], True

        async def look() -> bool:
            return await self.eval("whereis(partisan_peer_service:manager())") not in (manager, None)

        await eventually(look, f"{self.name} starts its manager anew")
        self.vitals = await asyncio.to_thread(self._vitals)

    async def join(self, other: Anyone) -> None:
        """Let it join a node. Raises Raised."""
        done = await self.eval(f"partisan_peer_service:join({spec(other)})")
        assert done is Atom("ok"), done

    async def leave(self, name: str | None = None) -> None:
        """Let it leave the cluster, or make the members of a name leave."""
        if name is None:
            assert await self.eval("partisan_peer_service:leave()") is Atom("ok")
            await self.reborn()
            return
        known = f"[Spec || Spec = #{{name := '{name}'}} <- element(2, {self.manager}:members_for_orchestration())]"
        await self.eval(f"[ok = partisan_peer_service:leave(Spec) || Spec <- {known}], ok")

    async def members(self) -> set[str]:
        """The names of the members that it knows, itself included."""
        return {str(each) for each in await self.eval("element(2, partisan_peer_service:members())")}

    async def taken(self, server: str = "sink") -> list[Any]:
        """What this sink has received since it was last asked, oldest first."""
        return list(await self.eval(f"{server} ! {{'$take', self()}}, receive {{taken, Seen}} -> Seen end"))

    async def gathered(self, count: int, server: str = "sink", seconds: float = SECONDS) -> list[Any]:
        """The next `count` or more messages of a sink, as they have come by then."""
        found: list[Any] = []

        async def look() -> bool:
            found.extend(await self.taken(server))
            return len(found) >= count

        await eventually(look, f"{self.name} has received {count} messages", seconds)
        return found

    async def send(self, node: str, server: str, term: str, options: str = "#{}") -> Any:
        """Let it send a term, as Erlang text, to a registered process of a node: what `forward_message` returns."""
        return await self.eval(f"partisan:forward_message('{node}', {server}, {term}, {options})")

    async def number(
        self, node: str, count: int, options: str = "#{}", *, first: int = 0, key: str = "undefined"
    ) -> None:
        """Let it send `{key, first}`, `{key, first + 1}` ... to the sink of a node. Raises Raised."""
        fill = {"NODE": f"'{node}'", "COUNT": str(count), "OPTIONS": options, "FIRST": str(first), "KEY": key}
        await self.eval(re.sub("|".join(fill), lambda match: fill[match[0]], NUMBERED))

    async def connections(self, node: str, channel: str | None = None) -> int:
        """How many connections it has to a node, or of one channel."""
        more = "" if channel is None else f", {channel}"
        return int(await self.eval(f"partisan_peer_connections:count('{node}'{more})"))

    async def unacknowledged(self) -> int:
        """How many messages it keeps for their acknowledgement."""
        return int(await self.eval("length(element(2, partisan_acknowledgement_backend:outstanding()))"))

    async def is_free(self) -> bool:
        """Whether none of its inbound connections waits for its manager."""
        return not await self.eval(STUCK)


Anyone = Node | Partisan | NodeProcess
"""A node of either kind, or a Python node in a process of its own."""


def spec(node: Anyone, channels: str | None = None) -> str:
    """The spec of a node as Erlang text, for Partisan to join it; one elsewhere has the channels of Partisan's."""
    if not isinstance(node, Node):
        port, known = node.port, channels or "partisan_config:get(channels)"
    else:
        each = (
            f"'{name}' => #{{parallelism => {channel.parallelism}, monotonic => {str(channel.monotonic).lower()}, "
            f"compression => {str(bool(channel.compression)).lower()}}}"
            for name, channel in node.spec.channels
        )
        port, known = node.spec.listen_addrs[0].port, channels or f"#{{{', '.join(each)}}}"
    address = f"#{{ip => {{127,0,0,1}}, port => {port}}}"
    return f"#{{name => '{node.name}', listen_addrs => [{address}], channels => {known}}}"


async def eventually(test: Callable[[], Awaitable[object] | object], what: str, seconds: float = SECONDS) -> None:
    """Wait until a test is true, with a bound; it may be plain or async."""
    deadline = time.monotonic() + seconds
    while not ((await found) if isinstance(found := test(), Awaitable) else found):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        await asyncio.sleep(0.05)


async def _members(node: Anyone) -> set[str]:
    if isinstance(node, Partisan):
        return await node.members()
    return set(node.members() if isinstance(node, Node) else await node.run(commands.members))


async def agree(nodes: Iterable[Anyone], wanted: Iterable[Anyone | str] | None = None) -> None:
    """Wait until these nodes name the same members: themselves, or those given."""
    nodes = list(nodes)
    names = {each if isinstance(each, str) else each.name for each in (nodes if wanted is None else wanted)}
    seen: dict[str, set[str]] = {}

    async def look() -> bool:
        for node in nodes:
            seen[node.name] = await _members(node)
        return all(members == names for members in seen.values())

    try:
        await eventually(look, "")
    except AssertionError:
        raise AssertionError(f"wanted {sorted(names)}, they have {seen}") from None


@asynccontextmanager
async def real(
    short: str = "real", *, harmed: bool = False, provoked: str = "", **options: Any
) -> AsyncIterator[Partisan]:
    """A node of Partisan, ended afterwards; unless `harmed`, nothing of it may have crashed.

    Args:
        provoked: a regular expression that is found in the reports of the crashes that the test wants.
    """
    node = await asyncio.to_thread(Partisan, short, **options)
    try:
        yield node
        if not harmed:
            await eventually(node.is_free, f"every connection of {node.name} is read")
            assert node.is_unharmed(), node.errors()
            complaints = node.complaints(provoked)
            assert not complaints, "\n\n".join(complaints)
    finally:
        node.kill()


@asynccontextmanager
async def python(name: str = "py", *, provoked: str = "", **options: Any) -> AsyncIterator[Node]:
    """A Python node beside them, with the options of FAST unless told; nothing that it was sent broke the protocol.

    Args:
        name: without host; or a whole name, with or without port.
        provoked: a regular expression that is found in what it says of the frames that the test wants it to reject.
    """
    async with Node(name if "@" in name else f"{name}@127.0.0.1", **{**FAST, **options}) as node:
        rejected = Events(node, telemetry.FRAME_REJECTED, handler_id="rejected")
        yield node
        problems = [str(about["error"]) for _, _, about in rejected.seen]
        unwanted = [each for each in problems if not provoked or re.search(provoked, each) is None]
        assert not unwanted, unwanted
    assert_nothing_left(node)


async def meshed(nodes: Iterable[Anyone]) -> None:
    """Wait until these nodes are the members that each has, with every connection that each wants of the others."""
    nodes = list(nodes)
    await agree(nodes)

    async def look() -> bool:
        for node in nodes:
            for other in nodes:
                if node is not other and not await _is_fully_connected(node, other):
                    return False
        return True

    await eventually(look, "every connection of each node is there")


async def _is_fully_connected(node: Anyone, other: Anyone) -> bool:
    if isinstance(node, Partisan):
        return await node.eval(f"partisan:is_fully_connected('{other.name}')") is True
    if isinstance(node, Node):
        return node.is_fully_connected(other.name)
    return (await node.run(commands.view))["up"]
