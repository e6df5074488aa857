"""Erlang's total order of terms, as a sort key.

number < atom < reference < fun < port < pid < tuple < map < nil < list < bit string (Erlang reference manual, "Term
Comparisons"). Plain Python: it sorts what goes into OR-sets and documentation, not what is in the hot path.
"""

from __future__ import annotations

from typing import Any

from partisan.errors import EncodeError

from .identities import Atom, Pid, Port, Reference
from .terms import BitString, ErlMap, Export, Fun, ImproperList

NUMBER, ATOM, REFERENCE, FUN, PORT, PID, TUPLE, MAP, NIL, LIST, BITS = range(11)

Key = tuple[Any, ...]


def term_key(term: object) -> Key:
    """Return a key that sorts terms as Erlang's `<` does; keys of terms that are `==` in Erlang are equal.

    Numbers compare by value, so 1 and 1.0 have equal keys, but among the keys of maps every integer is before every
    float. Tuples compare by size, then item by item; maps by size, then keys, then values.

    Raises:
        EncodeError: the value is no term.
        RecursionError: it is nested deeper than Python's own limit allows.
    """
    return _key(term, False)


def _key(term: object, exact: bool) -> Key:
    """The key of one term; `exact` among the keys of maps."""
    if isinstance(term, bool):
        return ATOM, "true" if term else "false"
    if isinstance(term, int | float):
        return (NUMBER, isinstance(term, float), term) if exact else (NUMBER, term)
    if isinstance(term, bytes | bytearray | memoryview):
        return BITS, bytes(term), 8 * memoryview(term).nbytes
    if isinstance(term, tuple):
        return TUPLE, len(term), tuple(_key(item, exact) for item in term)
    if isinstance(term, list):
        return _list_key(term, (NIL,), exact)
    if isinstance(term, dict | ErlMap):
        return _map_key(term, exact)
    return _plain_key(term, exact)


def _plain_key(term: object, exact: bool) -> Key:
    """The keys of the types that hold no further terms, or rarely occur.

    What decides among identities is not documented: read off OTP 25, to which terms from elsewhere were given.
    """
    match term:
        case None:
            return ATOM, "undefined"
        case str():
            octets = term.encode()
            return BITS, octets, 8 * len(octets)
        case Atom():
            return ATOM, term.name
        case Pid():
            return PID, term.serial, term.id, term.node, term.creation
        case Reference():
            return REFERENCE, term.node, term.creation, _number(term.words)
        case Port():
            return PORT, term.node, term.creation, term.id
        case BitString():
            return BITS, term.data, len(term)
        case ImproperList():
            return _list_key(term.items, _key(term.tail, exact), exact)
        case Fun():
            free = tuple(_key(value, exact) for value in term.free)
            return FUN, 0, term.module.name, term.index, term.old_uniq, len(free), free
        case Export():
            return FUN, 1, term.module.name, term.function.name, term.arity
    raise EncodeError(f"{type(term).__name__} has no place in the order of terms")


def _number(words: tuple[int, ...]) -> int:
    """The words of a reference as one number; the first is the least significant."""
    return sum(word << 32 * place for place, word in enumerate(words))


def _list_key(items: list[Any] | tuple[Any, ...], tail: Key, exact: bool) -> Key:
    """The key of a list: each item says LIST before itself, so that an end (nil, or any tail) compares with a cell."""
    if not items:
        return tail
    return LIST, (*((LIST, _key(item, exact)) for item in items), tail)


def _map_key(term: dict[Any, Any] | ErlMap, exact: bool) -> Key:
    """The key of a map: size, then keys in their exact order, then values in that order."""
    pairs = sorted(((_key(key, True), value) for key, value in term.items()), key=lambda pair: pair[0])
    return MAP, len(pairs), tuple(key for key, _ in pairs), tuple(_key(value, exact) for _, value in pairs)
