"""How much memory a value takes, with all that it alone refers to: a measure that needs no process of its own.

It counts what Python says of each object (`sys.getsizeof`), so it leaves out what allocators add.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

_NEVER = (type, ModuleType, FunctionType, BuiltinFunctionType)


def octets(value: object, shared: Iterable[object] = ()) -> int:
    """The memory of a value in octets.

    Args:
        shared: what others refer to as well, as options; neither they nor what they refer to counts.
    """
    seen: dict[int, object] = {}
    for each in shared:
        _reach(each, seen)
    return sum(sys.getsizeof(each) for each in _reach(value, seen))


def _reach(value: object, seen: dict[int, object]) -> list[object]:
    """What can be reached from the value and was not seen before, itself included."""
    found: list[object] = []
    front = [value]
    while front:
        each = front.pop()
        if id(each) in seen or isinstance(each, _NEVER):
            continue
        seen[id(each)] = each  # kept, or its number could become another's
        found.append(each)
        front += _parts(each)
    return found


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, MethodType):
        return [value.__self__]
    parts: list[Any] = []
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names = (slots,) if isinstance(slots, str) else slots
        parts += [getattr(value, name) for name in names if name[:2] != "__" and hasattr(value, name)]
    if hasattr(value, "__dict__"):
        parts.append(value.__dict__)
    return parts
