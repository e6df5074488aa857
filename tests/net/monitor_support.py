"""What tests of monitors share: processes that end, what nodes keep, and scripts in the place of real nodes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from scripted import FORWARD, Connection, Member, Peer, greeted, member
from support import eventually, running

import partisan
from partisan import Atom, Exit, Reference
from partisan.etf import ImproperList

DOWN, PROCESS, NOPROC, NOCONNECTION = Atom("DOWN"), Atom("process"), Atom("noproc"), Atom("noconnection")
NODEUP, NODEDOWN = Atom("nodeup"), Atom("nodedown")
CALL, CAST, MONITOR, DEMONITOR = Atom("$gen_call"), Atom("$gen_cast"), Atom("monitor"), Atom("demonitor")
SERVER, OK, ERROR = Atom("partisan_monitor"), Atom("ok"), Atom("error")
NOTHING = {"asked": 0, "held": 0, "watched": 0, "early": 0, "owed": 0}


def counts(node: partisan.Node) -> dict[str, int]:
    return node._monitors.machine.counts


async def nothing_left(*nodes: partisan.Node) -> None:
    """Wait until the nodes keep nothing of any monitor."""
    for node in nodes:
        await eventually(lambda node=node: counts(node) == NOTHING)
        assert not node._monitors._waiters
        assert not node._monitors._witnesses


async def ends(reason: object = None) -> None:
    """A process that ends with the reason it is sent, or with the one that it was given."""
    raise Exit(await partisan.receive() if reason is None else reason)


async def returns() -> object:
    return await partisan.receive()


async def for_ever() -> None:
    await partisan.receive(lambda message: False)


async def placed() -> None:
    """Wait until every request of the current node is answered."""
    node = partisan.node()
    await eventually(lambda: counts(node)["asked"] == 0)


async def watch(target: Any, then: Callable[[], object] = lambda: None, **options: Any) -> tuple[Any, ...]:
    """Monitor, do something once the other node watches, and return the reference and the message that comes."""
    reference = partisan.monitor(target, **options)
    await placed()
    then()
    return reference, await partisan.receive(timeout=10.0)


class Script:
    """A member of the cluster that speaks as a real node.

    Attributes:
        member: hears what the node sends it.
        mouth: the connection on which it speaks to the node.
    """

    def __init__(self, there: Member, mouth: Peer) -> None:
        self.member = there
        self.mouth = mouth

    async def heard(self, kind: Callable[[Any], bool], count: int = 1) -> list[tuple[Connection, Any]]:
        """Wait for so many messages of a kind."""
        found = await eventually(
            lambda: len(them := [each for each in self.member.heard if kind(each[1])]) >= count and them
        )
        return list(found)

    async def asked(self, count: int = 1, what: Atom = MONITOR) -> list[tuple[Any, Any, Any]]:
        """Wait for so many requests to monitor: (caller, tag, request) of each."""
        found = await self.heard(lambda m: m[0] is CALL and type(m[2]) is tuple and m[2][0] is what, count)
        return [(*message[1], message[2]) for _, message in found]

    def answer(self, caller: Any, tag: Any, value: Any) -> None:
        """Answer as a real node does: to the name that a name reference tells."""
        assert caller == ImproperList([Atom("a@127.0.0.1")], b"#Namepartisan_monitor")
        self.mouth.tell((FORWARD, (Atom("encoded_name"), list(b"partisan_monitor")), (tag, value)))

    def down(self, reference: Any, item: Any, reason: Any) -> None:
        self.mouth.tell((FORWARD, SERVER, (CAST, (DOWN, reference, PROCESS, item, reason))))


@contextlib.asynccontextmanager
async def real(parallelism: int = 1, **options: Any) -> AsyncIterator[tuple[partisan.Node, Script]]:
    """Our node `a`, and a script `b` that it has joined; of so many connections on the channel `data`."""
    async with running("a", **options) as [a], member("b@127.0.0.1", {None: 1, "data": parallelism}) as there:
        await there.joined_by(a)
        await eventually(lambda: a.is_fully_connected(there.name))
        async with greeted(a, there.name) as mouth:
            yield a, Script(there, mouth)


def reference(number: int) -> Reference:
    return Reference("b@127.0.0.1", (number, 2, 3))
