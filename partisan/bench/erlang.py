"""Stock Erlang nodes for a comparison, as a fresh `erl` starts them, with an EPMD of their own on each host.

The module that they run is compiled at run time into a directory that ends with the run.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .measure import MeasurementFailed
from .places import LOOPBACK, Place
from .procs import Child, ChildFailed

START_SECONDS = 20.0
"""How long EPMD may take until it listens."""

EPMD = "epmd -d -d -port $0 -address $1 2>&1 & cat >/dev/null; kill $!"
"""EPMD does not look at its input, so a shell does: it ends with its parent like every other child. -d -d makes it say
when it listens."""


def why_not() -> str | None:
    """Say what this machine lacks to run Erlang nodes, or None if nothing."""
    missing = [program for program in ("erl", "erlc", "epmd") if shutil.which(program) is None]
    return f"not on the PATH: {', '.join(missing)}" if missing else None


class Erlang:
    """Erlang nodes that know each other and run one module.

    Args:
        module: the module's name.
        source: its text.
        place: where they run.
        title: what messages call the nodes.
    Attributes:
        cookie: what the nodes know.
        environment: of the nodes, and of others that look for them.
    """

    def __init__(self, module: str, source: str, place: Place = LOOPBACK, title: str = "disterl") -> None:
        self._module = module
        self._source = source
        self._place = place
        self._title = title
        self._directory: Path | None = None
        self._epmds: dict[str, Child] = {}
        self.cookie = secrets.token_hex(16)
        self.environment: dict[str, str] = {}

    def prepare(self) -> None:
        """Compile the module and start an EPMD that only these nodes know. Raises MeasurementFailed."""
        try:
            self._prepare()
        except (ChildFailed, OSError, subprocess.SubprocessError) as error:
            self.stop()
            raise MeasurementFailed(str(error)) from error
        except BaseException:
            self.stop()
            raise

    def _prepare(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="partisan-bench-"))
        source = self._directory / f"{self._module}.erl"
        source.write_text(self._source)
        compiled = subprocess.run(
            ["erlc", "-o", str(self._directory), str(source)], capture_output=True, text=True, timeout=60, check=False
        )
        if compiled.returncode:
            raise ChildFailed(f"erlc: {(compiled.stdout + compiled.stderr).strip()[-500:]}")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = str(probe.getsockname()[1])
        # A home of their own keeps the user's cookie and start files out of it.
        self.environment = {"ERL_EPMD_PORT": port, "HOME": str(self._directory)}
        self._start_epmd("")

    def _start_epmd(self, host: str) -> None:
        address = self._place.address(host) if host else "127.0.0.1"
        if address in self._epmds:
            return
        argv = ["sh", "-c", EPMD, self.environment["ERL_EPMD_PORT"], address]
        epmd = Child("EPMD", self._place.command(host, argv) if host else argv)
        self._epmds[address] = epmd
        epmd.read_until("main select() loop", START_SECONDS)

    def write(self, name: str, text: str) -> Path:
        """Put a file beside the module; return its path."""
        assert self._directory is not None, "write() before prepare()"
        path = self._directory / name
        path.write_text(text)
        return path

    def name(self, short: str, host: str = "") -> str:
        """Make a node name that nobody has."""
        return f"{short}_{secrets.token_hex(4)}@{self._place.address(host) if host else '127.0.0.1'}"

    def node(
        self,
        short: str,
        function: str,
        more: list[str],
        *,
        host: str = "",
        name: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Start a node with the emulator's default flags, reachable at its host's address only, in a function.

        Args:
            short: what its name begins with.
            more: flags and arguments after the others.
            host: of the place; none is this machine.
            name: its whole name, instead.
            environment: variables besides those of all nodes.
        """
        self._start_epmd(host)
        name = name or self.name(short, host)
        interface = "{" + name.partition("@")[2].replace(".", ",") + "}"
        command = ["erl", "-noshell", "-name", name, "-setcookie", self.cookie]
        command += ["-start_epmd", "false", "-kernel", "inet_dist_use_interface", interface]
        command += ["-pa", str(self._directory), "-s", self._module, function, *more]
        run = self._place.command(host, command) if host else command
        return Child(f"{self._title} {function}", run, {**self.environment, **(environment or {})})

    def stop(self) -> None:
        """End the EPMDs; the nodes are their owner's to end."""
        try:
            while self._epmds:
                self._epmds.popitem()[1].stop()
        finally:
            if self._directory is not None:
                with contextlib.suppress(OSError):
                    shutil.rmtree(self._directory)
                self._directory = None
