"""Monitors as terms, between the servers that are registered as `partisan_monitor` on every node.

    Ask        {'$gen_call', {Caller, Tag}, {monitor, Target, Opts}}
    Unask      {'$gen_call', {Caller, Tag}, {demonitor, Reference, Opts}}
    Placed     {Tag, {ok, Reference}}        to Caller, as all answers
    Refused    {Tag, {error, badarg}}
    Unplaced   {Tag, {ok, Boolean}}
    Down       {'$gen_cast', {'DOWN', Reference, process, Target, Reason}}

Caller, Target and Reference are remote references in any of the three formats. Our Caller is the name of our own
server, so that answers come to it and to no mailbox, and our Tag is a number; a real node takes both. Whoever gives a
pid as Caller, as a real node does, puts the reference down after its server has read what follows.

Source: sections 3 and 5.1 of the partisan 5.0.3 reference.
"""

from __future__ import annotations

from typing import Any

from partisan._core.references import Place, place_of, read, write
from partisan.etf import Atom, Pid, Reference
from partisan.machines.monitor import Ask, Down, Placed, Refused, Unask, Unplaced
from partisan.wire.atom import MalformedMessage, atom_of, malformed, name_of

NAME = "partisan_monitor"
"""Of the server."""

Message = Ask | Unask | Placed | Refused | Unplaced | Down

_CALL, _CAST, _DOWN, _PROCESS = Atom("$gen_call"), Atom("$gen_cast"), Atom("DOWN"), Atom("process")
_MONITOR, _DEMONITOR, _OK, _ERROR = Atom("monitor"), Atom("demonitor"), Atom("ok"), Atom("error")
_CHANNEL, _BADARG = Atom("channel"), Atom("badarg")


def name_to_term(name: str, node: str) -> Any:
    """Return the remote reference of a name: `[Node | <<"#Namefoo">>]`."""
    return write((name, node), "improper_list")


def place_to_term(place: Place) -> Any:
    """Return the remote reference of a process."""
    return place if isinstance(place, Pid) else name_to_term(*place)


def node_of_place(place: Place) -> str:
    """Return the node of a process."""
    return place.node if isinstance(place, Pid) else place[1]


def _reference(term: object, message: object) -> tuple[str, Any]:
    """The node of a reference, and the reference: a URI stays one. Raises MalformedMessage."""
    found = read(term)
    if not isinstance(found, Reference):
        malformed(NAME, message)
    return found.node, term


def _channel(options: object) -> str | None:
    """The channel among the options of a request; what else they say means nothing."""
    if isinstance(options, list):
        options = dict(each for each in options if type(each) is tuple and len(each) == 2 and type(each[0]) is Atom)
    if not isinstance(options, dict) or options.get(_CHANNEL) is None:
        return None
    return name_of(options[_CHANNEL], NAME)


def monitor_to_term(myself: str, peer: str, message: Message) -> tuple[Pid | tuple[str, str], tuple[Any, ...]]:
    """Return to whom a message goes, and its term.

    Args:
        myself: our node.
        peer: the other.
    """
    server = (NAME, peer)
    match message:
        case Ask(origin, target, channel):
            options = [] if channel is None else [(_CHANNEL, atom_of(channel))]
            request = (_MONITOR, place_to_term(target), options)
            return server, (_CALL, (name_to_term(NAME, myself), origin), request)
        case Unask(origin, reference):
            return server, (_CALL, (name_to_term(NAME, myself), origin), (_DEMONITOR, reference, []))
        case Down(reference, item, reason):
            return server, (_CAST, (_DOWN, reference, _PROCESS, place_to_term(item), reason))
        case Placed((caller, tag), reference):
            return caller, (tag, (_OK, reference))
        case Refused((caller, tag)):
            return caller, (tag, (_ERROR, _BADARG))
        case Unplaced((caller, tag)):
            return caller, (tag, (_OK, True))
    raise TypeError(f"{message!r} is no message about monitors")


def monitor_from_term(term: object, myself: str) -> tuple[str | None, Message]:
    """Read a message to `partisan_monitor`.

    Returns:
        The node that it is of, None if it does not say, and the message.
    Raises:
        MalformedMessage: it is none.
    """
    if type(term) is not tuple:
        malformed(NAME, term)
    match term:
        case (head, (caller, tag), request) if head is _CALL:
            return _request(caller, tag, request, term, myself)
        case (head, (down, reference, process, item, reason)) if (head, down, process) == (_CAST, _DOWN, _PROCESS):
            node, reference = _reference(reference, term)
            return node, Down(reference, item, reason)
        case (int(origin), (ok, bool())) if ok is _OK:
            return None, Unplaced(origin)
        case (int(origin), (ok, reference)) if ok is _OK:
            node, reference = _reference(reference, term)
            return node, Placed(origin, reference)
        case (int(origin), (error, _)) if error is _ERROR:
            return None, Refused(origin)
        case _:
            return malformed(NAME, term)


def _request(caller: object, tag: object, request: object, term: object, myself: str) -> tuple[str, Ask | Unask]:
    back = place_of(caller)
    if back is None:
        malformed(NAME, term)
    match request:
        case (head, target, options) if head is _MONITOR:
            place = place_of(target)
            if place is not None and node_of_place(place) != myself:
                place = None
            return node_of_place(back), Ask((back, tag), place, _channel(options), isinstance(back, Pid))
        case (head, reference, _) if head is _DEMONITOR:
            return node_of_place(back), Unask((back, tag), _reference(reference, term)[1])
        case _:
            return malformed(NAME, term)


__all__ = ["NAME", "MalformedMessage", "monitor_from_term", "monitor_to_term", "name_to_term", "node_of_place"]
