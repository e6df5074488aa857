"""A node that writes every pid as a URI, as real ones do that are configured so, is answered like any other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from scripted import FORWARD, Peer, encode, greeted, member
from support import FAST, eventually, inside, left_over

import partisan
from partisan import Atom, GenServer, Node, Pid, remote_ref
from partisan.gen import event

REAL = "real@127.0.0.1"
CALL, CALLED, ORIGIN, RESPONSE = Atom("$gen_call"), Atom("call"), Atom("origin"), Atom("rpc_response")
OK, KILL = Atom("ok"), Atom("kill")
THEIRS = b"partisan:pid:real@127.0.0.1:0.187.0"

Script = Callable[[str, Any], Awaitable[Any]]


class Echo(GenServer):
    def handle_call(self, request: Any, caller: Any) -> Any:
        return request


class Keeper(event.EventHandler):
    def init(self, args: Any) -> None:
        self.events: list[Any] = []

    def handle_event(self, event: Any) -> None:
        self.events.append(event)

    def handle_call(self, query: Any) -> Any:
        return self.events


@contextlib.asynccontextmanager
async def asked(**options: Any) -> AsyncIterator[tuple[Node, Peer, Script]]:
    """A node, the scripted one, and what tells the node a message and gives what is answered."""
    async with member(REAL, {None: 1}) as peer, Node("py@127.0.0.1:0", **FAST, **options) as py:
        await peer.joined_by(py)
        await eventually(lambda: py.is_connected(REAL))
        async with greeted(py, REAL) as connection:

            async def ask(name: str, message: Any) -> Any:
                peer.heard.clear()
                connection.say(encode((FORWARD, Atom(name), message)))
                answers = (b"tag", RESPONSE)
                found = await eventually(lambda: [each for each in peer.messages() if each[0] in answers])
                return found[0]

            yield py, peer, ask
        assert not left_over(py)


def rpc(module: str, function: str, *args: Any) -> Any:
    """A request of the reference's rpc."""
    return (CALLED, Atom(module), Atom(function), list(args), 5000, (ORIGIN, THEIRS))


async def test_calls_of_functions_are_answered_and_may_name_processes() -> None:
    async with asked(allow=["exit"]) as (py, _, ask):
        pid = py.spawn(asyncio.Event().wait, name="server")
        assert await ask("partisan_rpc_backend", rpc("erlang", "whereis", Atom("server"))) == (RESPONSE, pid)
        uri = remote_ref.from_term(pid, format="uri")
        assert await ask("partisan_rpc_backend", rpc("partisan", "is_process_alive", uri)) == (RESPONSE, True)
        assert await ask("partisan_rpc_backend", rpc("partisan", "exit", uri, KILL)) == (RESPONSE, True)
        assert await ask("partisan_rpc_backend", rpc("partisan", "is_process_alive", uri)) == (RESPONSE, False)


async def test_pids_in_its_answers_are_pids() -> None:
    async with member(REAL, {None: 1}) as peer, Node("py@127.0.0.1:0", **FAST) as py:
        await peer.joined_by(py)
        await eventually(lambda: py.is_connected(REAL))
        async with greeted(py, REAL) as connection:
            for ask in (lambda: py.whereis_at(REAL, "server"), lambda: py.spawn_at(REAL, "erlang", "now")):
                asking = asyncio.ensure_future(ask())
                [request] = await eventually(peer.messages)
                peer.heard.clear()
                target = request[5][1]
                to = (Atom("encoded_pid"), list(f"<0.{target.id}.{target.serial}>".encode()))
                connection.tell((FORWARD, to, (RESPONSE, THEIRS)))
                assert await asking == Pid(REAL, 187, 0)


async def test_servers_and_event_managers_answer_it() -> None:
    async with asked() as (py, _, ask):

        async def start() -> None:
            await Echo.start(name="echo")
            await event.start("events", handlers=[Keeper])
            await event.add_handler("events", Keeper)

        await inside(py, start)
        assert await ask("echo", (CALL, (THEIRS, b"tag"), 7)) == (b"tag", 7)
        request = (THEIRS, (THEIRS, b"tag"), (Atom("sync_notify"), 5))
        assert await ask("events", request) == (b"tag", OK)
        request = (THEIRS, (THEIRS, b"tag"), (CALLED, Keeper.module, 0))
        assert await ask("events", request) == (b"tag", [5])
        request = (THEIRS, (THEIRS, b"tag"), (Atom("add_sup_handler"), (Keeper.module, 2), 0, THEIRS))
        assert await ask("events", request) == (b"tag", OK)
        await inside(py, lambda: event.stop("events"))
        await inside(py, lambda: partisan.gen.server.stop("echo"))


async def test_the_broadcast_answers_it() -> None:
    async with asked() as (py, _, ask):
        request = (CALL, (THEIRS, b"tag"), Atom("broadcast_members"))
        tag, members = await ask("partisan_plumtree_broadcast", request)
        assert tag == b"tag"
        assert sorted(members, key=str) == [Atom(py.name), Atom(REAL)]
