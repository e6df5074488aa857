"""Primary-backup replication (Alsberg & Day 1976, "A Principle for Resilient Sharing of Distributed Resources").

One node, the primary, orders all writes and has its backups collaborate: it answers a client when every backup that it
can reach has the write, and it answers reads. If it is lost, the next node is the primary. Promises that clients see
one store, in which what was answered stays, whoever crashes. It breaks if the primary answers before the backups have
the write (`early`), and if the failure detector is wrong: then the old primary and the new one both go on. The remedy
at hand is no `failover`: whoever is cut off from the primary waits. A node that was lost must not come back.

As partisan's `alsberg_day`, and with `ack=True` as `alsberg_day_acked`; members are lost as in the third of them.

    python -m examples.protocols.primary_backup

looks for all that, and for lost messages, which leave a client without its answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from partisan.machines.machine import Disconnected, Peer

from .clients import Answered, Key, Read, Write, liveness, one_store
from .protocol import Id, Protocol
from .scenario import Crash, Omit, Scenario, Split
from .search import main

NOTHING = (0, None, None)


@dataclass(frozen=True, slots=True)
class Request:
    """A command, for the primary: a write unless `read`."""

    id: Id
    read: bool
    key: Key
    value: object


@dataclass(frozen=True, slots=True)
class Reply:
    """The primary's answer."""

    id: Id
    value: object


@dataclass(frozen=True, slots=True)
class Collaborate:
    """A write, for the backups. The highest version of a key holds."""

    id: Id
    key: Key
    version: int
    value: object


@dataclass(frozen=True, slots=True)
class CollaborateAck:
    """A backup has the write."""

    id: Id


class PrimaryBackup(Protocol):
    """One node's part, as primary, as backup and for its clients.

    Args:
        early: the primary answers a write before the backups have it.
        failover: whether another node becomes the primary when that is lost.
    """

    def __init__(self, *args: Any, early: bool = False, failover: bool = True, **options: Any) -> None:
        super().__init__(*args, **options)
        self.early, self.failover = early, failover
        self.store: dict[Key, tuple[int, object, Id]] = {}  # key -> (version, value, which write that was)
        self._done: dict[Id, None] = {}  # writes that are in it
        self._asked: dict[Id, Request] = {}  # our clients' requests that have no answer
        self._held: list[Request] = []  # that came before we have missed the primary, or reads amid writes
        self._writing: dict[Id, list[Peer]] = {}  # as the primary: which backups have not said that they have it
        self._events |= {Write: self._on_command, Read: self._on_command}
        self._messages |= {
            Request: self._on_request,
            Reply: self._on_reply,
            Collaborate: self._on_collaborate,
            CollaborateAck: self._on_collaborate_ack,
        }

    @property
    def primary(self) -> Peer:
        """Who is it, as far as we know."""
        alive = (peer for peer in self.members if peer == self.myself or peer in self.up)
        return next(alive) if self.failover else self.members[0]

    # For our clients.

    def _on_command(self, event: Read | Write, now: float) -> None:
        request = Request(self._new_id(), isinstance(event, Read), event.key, getattr(event, "value", None))
        self._asked[request.id] = request
        self._tell(self.primary, request, now)

    def _tell(self, peer: Peer, message: Request | Reply, now: float) -> None:
        if peer != self.myself:
            self._send(peer, message)
        else:
            self._messages[type(message)](peer, message, now)

    def _on_reply(self, peer: Peer, message: Reply, now: float) -> None:
        if self._asked.pop(message.id, None) is not None:
            self._notify(Answered(message.id, message.value))

    def _on_disconnected(self, event: Disconnected, now: float) -> None:
        former = self.primary
        super()._on_disconnected(event, now)
        if self.primary != former:
            for key in self.store if self.primary == self.myself else ():
                self._replicate(key)  # the lost one may have told us alone
            for request in list(self._asked.values()):
                self._tell(self.primary, request, now)
        for id in list(self._writing):
            self._has(event.peer, id, now)  # there is no point in waiting for it
        self._resume(now)

    # The primary.

    def _on_request(self, peer: Peer, message: Request, now: float) -> None:
        client, key = message.id[0], message.key
        version, value, _ = self.store.get(key, NOTHING)
        if self.primary != self.myself or (message.read and self._writing):
            self._held.append(message)
        elif message.read or (message.id in self._done and message.id not in self._writing):
            self._tell(client, Reply(message.id, value if message.read else None), now)
        elif message.id not in self._writing:
            self._keep(message.id, key, version + 1, message.value)
            if self.early:
                self._tell(client, Reply(message.id, None), now)
            self._replicate(key)
            self._has(self.myself, message.id, now)

    def _replicate(self, key: Key) -> None:
        version, value, id = self.store[key]
        self._writing[id] = [peer for peer in self.others if peer in self.up]
        for backup in self._writing[id]:
            self._send(backup, Collaborate(id, key, version, value))

    def _on_collaborate_ack(self, peer: Peer, message: CollaborateAck, now: float) -> None:
        self._has(peer, message.id, now)

    def _has(self, peer: Peer, id: Id, now: float) -> None:
        if peer in self._writing.get(id, ()):
            self._writing[id].remove(peer)
        if self._writing.get(id) == []:
            del self._writing[id]
            self._tell(id[0], Reply(id, None), now)
            self._resume(now)

    def _resume(self, now: float) -> None:
        held, self._held = self._held, []
        for request in held:
            self._tell(self.primary, request, now)

    # The backup.

    def _on_collaborate(self, peer: Peer, message: Collaborate, now: float) -> None:
        self._keep(message.id, message.key, message.version, message.value)
        self._send(peer, CollaborateAck(message.id))

    def _keep(self, id: Id, key: Key, version: int, value: object) -> None:
        self._done[id] = None
        if version > self.store.get(key, NOTHING)[0]:
            self.store[key] = version, value, id


class AckedPrimaryBackup(PrimaryBackup):
    """The same, by acknowledged messages."""

    acked = True


USE = (
    (1.0, 1, Write(b"k", b"one")),
    (5.0, 2, Write(b"k", b"two")),
    (10.0, 0, Read(b"k")),
    (10.0, 1, Read(b"k")),
    (10.0, 2, Read(b"k")),
)
EARLY, MANUAL = partial(PrimaryBackup, early=True), partial(PrimaryBackup, failover=False)

LOSS = Scenario("a lost message leaves a client waiting", PrimaryBackup, USE, liveness, faults=(Omit,))
ACKED = Scenario("acknowledged, none does", AckedPrimaryBackup, USE, liveness, faults=(Omit,), most=2)
ANSWERS_EARLY = Scenario("an early answer is no promise", EARLY, USE, one_store, faults=(Crash,))
CRASHES = Scenario("one that waits for the backups is", AckedPrimaryBackup, USE, one_store, faults=(Crash,), most=2)
SPLIT = Scenario("a split makes two primaries", AckedPrimaryBackup, USE, one_store, faults=(Split,))
REMEDY = Scenario("without failover there is one", MANUAL, USE, one_store, faults=(Split,), most=2)

if __name__ == "__main__":
    main(LOSS, ACKED, ANSWERS_EARLY, CRASHES, SPLIT, REMEDY)
