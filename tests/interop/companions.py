"""A Python node and a node of Partisan that know each other, for the processes of each to deal with the other's."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

from beams import Raised, fresh
from partisans import Partisan, agree, real
from support import FAST, eventually

from partisan import Atom, Node
from partisan.testing import held

FORM = re.compile(r"(?<=\.)\n(?=[-a-z])")
"""Where a form of a module ends and the next one begins: at the start of a line."""


def quoted(text: str) -> str:
    """Text as a string of Erlang."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def module(text: str) -> str:
    """An expression: let a node have this module, which its own compiler makes, with all of its functions exported."""
    forms = ", ".join(map(quoted, FORM.split(text.strip())))
    return (
        "(fun() -> Forms = [begin {ok, Tokens, _} = erl_scan:string(Text), {ok, Form} = erl_parse:parse_form(Tokens),"
        f" Form end || Text <- [{forms}]],"
        " {ok, Module, Code} = compile:forms(Forms, [export_all, nowarn_export_all]),"
        ' {module, Module} = code:load_binary(Module, "made of text", Code), ok end)()'
    )


SLOW = "has not dialled back"
"""What it warns of on a busy machine, too."""


class Warnings(logging.Handler):
    """What this package warns of, kept as text."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.told.append(record.getMessage())


@asynccontextmanager
async def warnings(expected: str = "") -> AsyncIterator[list[str]]:
    """What this package warns of meanwhile: nothing but that in which the regular expression is found."""
    handler, logger = Warnings(), logging.getLogger("partisan")
    logger.addHandler(handler)
    try:
        yield handler.told
    finally:
        logger.removeHandler(handler)
    expected = f"{expected}|{SLOW}" if expected else SLOW
    assert [told for told in handler.told if re.search(expected, told) is None] == []


@asynccontextmanager
async def companions(
    *modules: str,
    provoked: str = "",
    warned: str = "",
    harmed: bool = False,
    python: dict[str, Any] | None = None,
    **env: str,
) -> AsyncIterator[tuple[Partisan, Node]]:
    """A node of Partisan and one of Python, each connected to the other.

    Afterwards neither is harmed, and the Python node has nothing left of what the two had with each other.

    Args:
        modules: that the node of Partisan is to have, as text.
        provoked, harmed: as of `real`.
        warned: as `expected` of `warnings`.
        python: options of the Python node.
        env: of the application, as of `Partisan`.
    """
    async with warnings(warned), real(provoked=provoked, harmed=harmed, **env) as far:
        for text in modules:
            await far.eval(module(text))
        async with Node(fresh("py"), **{**FAST, **(python or {})}) as py:
            await meet(far, py)
            yield far, py
            await eventually(lambda: not business(py))


async def meet(far: Partisan, py: Node) -> None:
    """Join them, and wait until each is connected to the other."""
    await py.join(far.address)
    await agree([far, py])
    await eventually(lambda: py.is_fully_connected(far.name))

    async def both() -> bool:
        return await far.connections(py.name) > 0

    await eventually(both)


def business(py: Node) -> dict[str, int]:
    """What a node has under way; processes that a test leaves are none of it."""
    found = held(py)
    found.pop("processes", None)
    return found


async def outcome(awaited: Awaitable[Any]) -> Any:
    """The value, or the error."""
    try:
        return await awaited
    except Exception as error:
        return error


async def raised(far: Partisan, expression: str, seconds: float = 60.0) -> Any:
    """What an expression raises there: (class, reason)."""
    try:
        value = await far.eval(expression, seconds)
    except Raised as error:
        return error.args
    raise AssertionError(f"{expression} gives {value!r}")


def reason_of(failure: Any) -> Any:
    """The reason of an exit `{Reason, {Module, Function, Arguments}}` that a call ends with."""
    kind, reason = failure
    assert kind is Atom("exit"), failure
    assert isinstance(reason, tuple), failure
    assert len(reason) == 2, failure
    return reason[0]
