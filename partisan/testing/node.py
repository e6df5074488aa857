"""A node in a process of its own, told what to do line by line: `python -m partisan.testing.node`.

The first line of its standard input says how it starts: {"name", "port", "loop", "path", "options"}. It answers
{"port": where it listens}. From then on each line {"id", "function", "args", "kwargs"} has it run `module:function` in
a process of the node, many at once; each is answered, when it is done, by {"id", "result"} or {"id", "error": {"kind",
"text", "traceback"}}. It stops when its standard input ends. What it prints goes to standard error.

`partisan.testing.processes` is the other end.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

import partisan
from partisan import Atom, Node
from partisan.testing.clusters import GRACE
from partisan.testing.processes import LONGEST


def plain(value: object) -> object:
    """What JSON can say of a term: text of a binary that is text, an atom's name. Raises TypeError, UnicodeError."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Atom):
        return value.name
    raise TypeError(f"{value!r} cannot be told in JSON")


def found(name: str) -> Callable[..., Any]:
    """The function that `module:function` names. Raises ImportError, AttributeError."""
    module, _, path = name.partition(":")
    function: Any = importlib.import_module(module)
    for part in path.split("."):
        function = getattr(function, part)
    return function  # type: ignore[no-any-return]


async def answer(request: dict[str, Any], write: Callable[[dict[str, Any]], None]) -> None:
    """Run what is asked for, and say what became of it."""
    try:
        result = found(request["function"])(*request["args"], **request["kwargs"])
        if inspect.isawaitable(result):
            result = await result
        write({"id": request["id"], "result": result})
    except BaseException as error:
        about = {"kind": type(error).__name__, "text": str(error), "traceback": traceback.format_exc()}
        write({"id": request["id"], "error": about})
        if not isinstance(error, Exception):
            raise


async def serve(start: dict[str, Any], requests: asyncio.StreamReader, out: BinaryIO) -> None:
    """Start the node, and do what is asked for until nobody asks any more."""

    def write(line: dict[str, Any]) -> None:
        out.write(json.dumps(line, default=plain).encode() + b"\n")
        out.flush()

    node = Node(f"{start['name']}@127.0.0.1:{start['port']}", **start["options"])
    async with node:
        write({"port": node.listen_addrs[0].port})
        while line := await requests.readline():
            node.spawn(answer, json.loads(line), write)
        await node.stop(grace=GRACE)


async def main(start: dict[str, Any], out: BinaryIO) -> None:
    """Read requests from standard input."""
    requests = asyncio.StreamReader(limit=LONGEST)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    await serve(start, requests, out)


def first_line() -> dict[str, Any]:
    """Read as much of standard input as the first line, and no more: the rest is the loop's."""
    line = bytearray()
    while not line.endswith(b"\n"):
        octet = os.read(0, 1)
        if not octet:
            raise SystemExit("nobody says how to start")
        line += octet
    return json.loads(line)  # type: ignore[no-any-return]


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    beginning = first_line()
    sys.path[:] = beginning["path"]
    partisan.run(main(beginning, answers), loop=beginning["loop"])
