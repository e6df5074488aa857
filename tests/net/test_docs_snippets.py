"""The Python blocks of the pages about actors run as they are written.

The blocks of a page share their names and run one after the other, each in a process of the node `a`, which is joined
with `b`; what starts a node of its own runs as plain asyncio code. What a block takes for granted is set up before it,
and what it is to have done is looked at after it.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import address_of, cluster, eventually, inside

import partisan
from partisan import Atom, Node
from partisan.runtime import allow

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)

WORKER = "async def work(job): pass"
SERVERS = """
from partisan.gen.server import GenServer

class Store(GenServer):
    pass

class Front(GenServer):
    def init(self, port):
        self.port = port

    def handle_call(self, request, caller):
        said.append((request, self.port))
"""
ECHO = """
class Echo(GenServer):
    def handle_call(self, request, caller):
        return request

target = await Echo.start()
"""
ENDS = """
class Tree(Supervisor):
    def init(self):
        child = ChildSpec("short", spawned(tick), (0.0,), restart="temporary", significant=True)
        return Flags(auto_shutdown="any_significant"), [child]
"""
EXPOSED = """
b.reconfigure(allow=["spawn"])
b.expose(lambda items: items[::-1], "lists:reverse")
b.expose(lambda text: text.upper(), "models:predict")
b.expose(lambda job: said.append(job), "workers:run")
job = 7
"""


@dataclass
class Run:
    """How a block is run.

    Attributes:
        before, after: code around it, with the same names.
        outside: in no process.
    """

    before: str = ""
    after: str = ""
    outside: bool = False


PAGES = {
    "guide.md": [
        Run(outside=True),
        Run("node = a", "assert partisan.whereis('counter') == pid"),
        Run(WORKER, "assert said == [('done:', Atom('normal'))] * 2"),
        Run(after="assert said[-1][0] == 'no answer:'"),
        Run(after="assert said[-1] == (3,)", outside=True),
        Run("pid, message = partisan.self(), 1", "assert await partisan.receive(timeout=5.0) == 1"),
        Run(),
        Run(),
        Run(outside=True, after="assert node.members() == ['a@127.0.0.1']"),
    ],
    "processes.md": [
        Run("async def worker(job): pass\njob = 1"),
        Run("pid = partisan.spawn(asyncio.sleep, 0.01)", "assert reason == Atom('noproc')"),
        Run(
            "async def clerk():\n"
            "    sender, ref, question = await partisan.receive()\n"
            "    partisan.send(sender, (ref, 2 * question))\n"
            "pid, question = partisan.spawn(clerk), 21",
            "assert answer == 42",
        ),
        Run("query, train, data = len, sorted, [2, 1]", "assert (rows, model) == (10, [1, 2])"),
    ],
    "monitors.md": [Run(after="await watcher()\nassert said[0][1:] == ('has ended:', Atom('noproc'))")],
    "broadcast.md": [
        Run(
            after="theirs = keep_prices(b)\nplumtree.broadcast(Put(b'apple', 6), 'prices')\n"
            "await eventually(lambda: theirs.get(b'apple') == 6)\nassert said == [(5, ([b.name], []))]"
        ),
        Run(outside=True),
    ],
    "gen-server.md": [
        Run(
            after="await inside(b, lambda: Counter.start(name='counter'))\nawait use()\nassert said == [(15,)]\n"
            "assert await partisan.call(('counter', b.name), (Atom('add'), 0)) == 1"
        ),
        Run(
            ECHO,
            "await Asks.start(args=(target,))\n"
            "await eventually(lambda: sorted(said[1:]) == [('one', 'one'), ('two', 'two')])",
        ),
    ],
    "gen-statem.md": [Run(after="await use()\nassert said == [(1,)]")],
    "gen-event.md": [Run(after="await use()\nassert len(said[0][0]) == 2")],
    "supervisor.md": [
        Run(SERVERS, "assert said == [('status', 8080)]", outside=True),
        Run("from partisan.gen.supervisor import spawned\nasync def tick(seconds): pass"),
        Run(ENDS, "assert said[-1] == ('ended:', Atom('shutdown'))", outside=True),
    ],
    "rpc.md": [
        Run(EXPOSED, "await eventually(lambda: said == [7])"),
        Run(),
        Run("node = a", "assert await rpc.call(a.name, 'models', 'predict', [b'x']) == await predict(b'x')"),
        Run("node = b.name", "assert value == b'TEXT'"),
    ],
}

GIVEN: dict[str, Any] = {
    "Atom": Atom,
    "Node": Node,
    "__name__": "page",
    "asyncio": asyncio,
    "contextlib": contextlib,
    "eventually": eventually,
    "inside": inside,
    "partisan": partisan,
}


async def run(code: str, where: str, scope: dict[str, Any]) -> None:
    """Run code that may await, with the names of a scope."""
    found = eval(compile(code, where, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), scope)
    if inspect.isawaitable(found):
        await found


@pytest.mark.parametrize("page", PAGES)
async def test_the_blocks_of_a_page_run_as_they_are_written(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = BLOCK.findall((DOCS / page).read_text())
    assert len(blocks) == len(PAGES[page]), "say here how a new block is run"
    monkeypatch.setattr(allow, "_declared", {})  # what a block exposes on every node of the program
    async with cluster("a", "b", channels={"data": {}}) as (a, b):
        said: list[Any] = []
        scope = {**GIVEN, "a": a, "b": b, "node": a, "said": said, "print": lambda *words: said.append(words)}
        for number, (text, how) in enumerate(zip(blocks, PAGES[page], strict=True), 1):
            block = text.replace("a@127.0.0.1:10200", "c@127.0.0.1:0").replace("b@127.0.0.1:10201", address_of(b))
            block = block.replace("args=(2.5,)", "args=(0.05,)")  # seconds of a machine's time-out
            where = f"{page}, block {number}"

            async def steps(block: str = block, how: Run = how, where: str = where) -> None:
                for code in (how.before, block, how.after):
                    await run(code, where, scope)

            await (steps() if how.outside else inside(a, steps))


def test_the_names_of_the_cheatsheet_are_there_after_importing_partisan_alone() -> None:
    cells = re.findall(r"`([^`]*)`", (DOCS / "cheatsheet.md").read_text())
    names = {name for cell in cells for name in re.findall(r"(?<![\w\".])partisan(?:\.\w+)+", cell)}
    assert len(names) > 50
    code = "\n".join(("import partisan", *sorted(names)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
