"""Which value of a term could not be written, and where in the term it is: looked for only once encoding has failed."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from partisan.errors import EncodeError

from .terms import ErlMap, Fun, ImproperList

MAX_VISITS = 100_000
"""How many values are looked at: the search takes some hundredths of a second at most."""

MAX_STEPS = 12
"""A longer path is shown without its middle."""


def short(value: object) -> str:
    """A repr of a line at most, also of what has none."""
    shortener = reprlib.Repr()
    shortener.maxother = 60
    try:
        return shortener.repr(value)
    except Exception:  # an int of too many digits, or nesting that is too deep
        return f"<{type(value).__name__}>"


def misfit(problem: str, value: object) -> EncodeError:
    """The error of a value that cannot be written; it holds the value until `locate` has looked for it."""
    error = EncodeError(f"{problem}: {short(value)}")
    error.__dict__["culprit"] = value
    return error


def locate(error: EncodeError, term: object) -> None:
    """Let an error that `misfit` made say where in the term its value is, as in `at ['k'][1]`."""
    if "culprit" not in error.__dict__:
        return
    path = _path(term, error.__dict__.pop("culprit"))
    if path:
        error.args = (f"{error} at {_shown(path)}",)


def _shown(path: list[str]) -> str:
    if len(path) <= MAX_STEPS:
        return "".join(path)
    half = MAX_STEPS // 2
    return "".join([*path[:half], f" ... {len(path) - MAX_STEPS} more ... ", *path[-half:]])


def _path(term: object, culprit: object) -> list[str]:
    """The steps from the term to the first place of the culprit in it; none if it is the term itself, or not found.

    Values are visited in the order in which they are encoded, so only what the encoder reached is visited.
    """
    if term is culprit:
        return []
    path: list[str] = []
    pending = [_parts(term)]
    for _ in range(MAX_VISITS):
        step, part = next(pending[-1], (None, None))
        if step is None:
            pending.pop()
            if not pending:
                return []
            if path:
                path.pop()
        elif part is culprit:
            return [*path, step]
        else:
            path.append(step)
            pending.append(_parts(part))
    return []


def _parts(term: object) -> Iterator[tuple[str, object]]:
    """What a container holds, each with the step that leads there. What may change is copied."""
    if isinstance(term, list):
        return _items("", list.copy(term))  # of a subclass, too, what is encoded is what it holds, not what it says
    if isinstance(term, tuple):
        return _items("", tuple.__getitem__(term, slice(None)))
    if isinstance(term, dict):
        return _pairs(list(dict.items(term)))
    if isinstance(term, ErlMap):
        return _pairs(term.items())
    if isinstance(term, ImproperList):
        return chain(_items("", term.items), [(".tail", term.tail)])
    if isinstance(term, Fun):
        return _items(".free", term.free)
    return iter(())


def _items(name: str, items: Sequence[object]) -> Iterator[tuple[str, object]]:
    return ((f"{name}[{i}]", item) for i, item in enumerate(items))


def _pairs(pairs: Iterable[tuple[object, object]]) -> Iterator[tuple[str, object]]:
    for key, value in pairs:
        shown = short(key)
        yield f" key {shown}", key
        yield f"[{shown}]", value
