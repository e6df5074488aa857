"""Erlang's total order of terms, as one comparison function: the specification of `term_key`.

number < atom < reference < fun < port < pid < tuple < map < nil < list < bit string. Numbers compare by value, and
only as keys of a map an integer is less than every float. Source: the reference manual, "Term Comparisons".
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cmp_to_key

from tests.oracle.etf import Atom, Bits, Export, Float, Fun, Int, List, Map, Pid, Port, Ref, Term, Tuple

RANK = {Int: 0, Float: 0, Atom: 1, Ref: 2, Export: 3, Fun: 3, Port: 4, Pid: 5, Tuple: 6, Map: 7, List: 8, Bits: 9}


def compare(a: Term, b: Term, exact: bool = False) -> int:
    """Return a negative number, 0 or a positive one as `a` is before, with or after `b`.

    `exact` is the order of map keys: an integer is before every float.
    """
    if RANK[type(a)] != RANK[type(b)]:
        return RANK[type(a)] - RANK[type(b)]
    match a, b:
        case (Int() | Float(), Int() | Float()):
            if exact and type(a) is not type(b):
                return -1 if isinstance(a, Int) else 1
            return by_value(Fraction(a.value), Fraction(b.value))
        case (Atom(x), Atom(y)):
            return by_value(x, y)  # by code points
        case (Tuple(x), Tuple(y)):
            return len(x) - len(y) or by_items(x, y, exact)
        case (Map(x), Map(y)):
            return len(x) - len(y) or maps(a, b, exact)
        case (List(), List()):
            return lists(a, b, exact)
        case (Bits(), Bits()):
            return by_value(bit_text(a), bit_text(b))
        case _:
            raise NotImplementedError(f"the manual gives no order between {a} and {b}")


def by_value(x: object, y: object) -> int:
    return (x > y) - (x < y)  # type: ignore[operator]


def by_items(x: Sequence[Term], y: Sequence[Term], exact: bool) -> int:
    return next((sign for sign in (compare(*pair, exact) for pair in zip(x, y, strict=False)) if sign), 0)


def maps(a: Map, b: Map, exact: bool) -> int:
    x, y = sorted_pairs(a), sorted_pairs(b)
    keys = by_items([key for key, _ in x], [key for key, _ in y], exact=True)
    return keys or by_items([value for _, value in x], [value for _, value in y], exact)


def sorted_pairs(term: Map) -> list[tuple[Term, Term]]:
    return sorted(term.pairs, key=cmp_to_key(lambda p, q: compare(p[0], q[0], exact=True)))


def lists(a: List, b: List, exact: bool) -> int:
    shared = by_items(a.items, b.items, exact)
    if shared:
        return shared
    shorter = min(len(a.items), len(b.items))
    return rest(a, b, shorter, exact)


def rest(a: List, b: List, start: int, exact: bool) -> int:
    x, y = remainder(a, start), remainder(b, start)
    if isinstance(x, List) and isinstance(y, List):
        return bool(x.items) - bool(y.items)  # nil is before every other list
    return compare(x, y, exact)


def remainder(term: List, start: int) -> Term:
    if start < len(term.items) or term.tail is None:
        return List(term.items[start:], term.tail)
    return term.tail


def bit_text(term: Bits) -> str:
    text = "".join(f"{octet:08b}" for octet in term.data)
    return text[: len(text) - (8 - term.last)] if term.data else ""
