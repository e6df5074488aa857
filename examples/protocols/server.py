"""A protocol on a node: a server of the same name at every member, which carries out what its protocol says.

    await Server.start(name="mail", args=("mail", DirectMail, partisan.self()))
    partisan.cast("mail", Broadcast(b"hello"))
    await partisan.receive()  # Delivered((Atom("a@127.0.0.1"), 1), b"hello")

A message travels as `{protocol, Sender, {tag, Field, ...}}`, so a node of the BEAM could take part. Members are atoms,
as names of nodes are there. Who is lost, is lost to `monitor_nodes`; that is the protocol's failure detector.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import fields
from random import Random
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import partisan
from partisan import Atom, GenServer, Pid, peer_service
from partisan.machines.machine import (
    Connected,
    Disconnected,
    Event,
    Notify,
    Peer,
    Received,
    Send,
    Start,
    StartTimer,
    StopTimer,
    TimedOut,
    UpdateMembers,
)

from .protocol import Protocol

log = logging.getLogger(__name__)

Build = Callable[[Peer, tuple[Peer, ...], Random], Protocol]
"""(our name, the members, chance) -> the protocol: its class, or a `functools.partial` of it with options."""

PROTOCOL, TIMER = Atom("protocol"), Atom("timer")


class Server(GenServer):
    """One member. Commands are cast to it on its own node; facts go to a listener there, as messages.

    Like every send of `partisan.send`, a message is encoded and queued at once; one to a node that cannot be reached is
    lost, unless the protocol's are acknowledged.
    """

    def init(self, name: str, build: Build, listener: Pid | None = None) -> None:
        """Begin.

        Args:
            name: under which it is registered, here and at the other members.
            build: makes the protocol.
            listener: hears of facts.
        """
        here = partisan.node()
        self.name = name
        self.listener = listener
        self.me = Atom(here.name)
        self.timers: dict[Any, tuple[int, Any]] = {}  # key -> (number, partisan's timer)
        self.started = 0  # timers so far: tells one that was replaced from the one that replaced it
        self.protocol = build(self.me, atoms(here.members()), Random())
        self.kinds = {tag_of(kind): kind for kind in self.protocol.messages}
        partisan.monitor_nodes()
        peer_service.add_sup_callback(partisan.self())
        self.take(Start())
        for peer in atoms(partisan.nodes()):
            self.take(Connected(peer, peer))

    def handle_cast(self, command: Any) -> None:
        """Take a command; those of other nodes are none, as they have been on the wire."""
        if type(command) not in self.protocol.events:
            log.warning("%s takes no %r", self.name, command)
            return
        self.take(command)

    def handle_info(self, message: Any) -> None:
        """Take whatever else happens."""
        match message:
            case (Atom("protocol"), Atom() as sender, term):
                if (received := from_term(term, self.kinds)) is None:
                    log.warning("%s sent %s what is no message: %r", sender, self.name, term)
                else:
                    self.take(Received(sender, received))
            case (Atom("timer"), key, number):
                if self.timers.get(key, (0, None))[0] == number:
                    del self.timers[key]
                    self.take(TimedOut(key))
            case (Atom("nodeup"), Atom() as peer):
                self.take(Connected(peer, peer))
            case (Atom("nodedown"), Atom() as peer):
                self.take(Disconnected(peer, "noconnection"))
            case (Atom("members"), list(members)):
                self.take(UpdateMembers(atoms(members)))

    def take(self, event: Event) -> None:
        """Tell the protocol what happened, and do what it says. Edges are the membership's business, not ours."""
        for effect in self.protocol.handle(event, asyncio.get_running_loop().time()):
            match effect:
                case Send(peer, message):
                    self.send(peer, message)
                case StartTimer(key, after):
                    self.stop_timer(key)
                    self.started += 1
                    message = (TIMER, key, self.started)
                    self.timers[key] = self.started, partisan.send_after(after, partisan.self(), message)
                case StopTimer(key):
                    self.stop_timer(key)
                case Notify(fact) if self.listener is not None:
                    partisan.send(self.listener, fact)

    def send(self, peer: Atom, message: object) -> None:
        """Send a message to the server of another member."""
        if peer not in self.protocol.members:
            log.warning("%s has no member %s", self.name, peer)
            return
        try:
            term = (PROTOCOL, self.me, to_term(message))
            partisan.send((self.name, peer.name), term, ack=self.protocol.acked)
        except partisan.NotConnected:
            log.info("%s cannot reach %s", self.name, peer)

    def stop_timer(self, key: Any) -> None:
        """Forget a timer."""
        _, timer = self.timers.pop(key, (0, None))
        if timer is not None:
            partisan.cancel_timer(timer)


def atoms(names: Any) -> tuple[Atom, ...]:
    """Names of nodes as members, in the same order everywhere."""
    return tuple(Atom(name) for name in sorted(each.name if isinstance(each, Atom) else str(each) for each in names))


def tag_of(kind: type) -> Atom:
    """The first element of messages of a type: of `PreCommit` it is `pre_commit`."""
    return Atom(re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower())


def to_term(message: Any) -> tuple[Any, ...]:
    """Return a message as a term."""
    return (tag_of(type(message)), *(getattr(message, field.name) for field in fields(message)))


def from_term(term: object, kinds: dict[Atom, type]) -> object | None:
    """Return the message that a term is, or None if it is none of these kinds."""
    match term:
        case (Atom() as tag, *values) if tag in kinds:
            hints = list(get_type_hints(kinds[tag]).values())
            if len(hints) == len(values) and all(map(is_a, values, hints)):
                return kinds[tag](*values)  # type: ignore[no-any-return]
    return None


def is_a(value: object, hint: Any) -> bool:
    """Whether a value is what the hint of a field says."""
    if hint is object:
        return True
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return any(is_a(value, each) for each in inner)
    if origin is tuple:
        whole = inner[:1] * len(value) if isinstance(value, tuple) and inner[-1] is ... else inner
        return isinstance(value, tuple) and len(value) == len(whole) and all(map(is_a, value, whole))
    return type(value) is hint
