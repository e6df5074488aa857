"""Stock Erlang nodes for a comparison, as a fresh `erl` starts them, with an EPMD of their own on loopback.

The module that they run is compiled at run time into a directory that ends with the run.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from .measure import MeasurementFailed
from .procs import Child, ChildFailed

START_SECONDS = 20.0
"""How long EPMD may take until it listens."""

EPMD = "epmd -d -d -port $0 -address 127.0.0.1 2>&1 & cat >/dev/null; kill $!"
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
    Attributes:
        cookie: what the nodes know.
        environment: of the nodes, and of others that look for them.
    """

    def __init__(self, module: str, source: str) -> None:
        self._module = module
        self._source = source
        self._directory: Path | None = None
        self._epmd: Child | None = None
        self.cookie = secrets.token_hex(16)
        self.environment: dict[str, str] = {}

    def prepare(self) -> None:
        """Compile the module and start an EPMD that only these nodes know. Raises MeasurementFailed."""
        try:
            self._prepare()
        except (ChildFailed, OSError, subprocess.SubprocessError) as error:
            self.stop()
            raise MeasurementFailed(str(error)) from error

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
        self._epmd = Child("EPMD", ["sh", "-c", EPMD, port])
        self._epmd.read_until("main select() loop", START_SECONDS)

    def node(self, short: str, function: str, more: list[str]) -> Child:
        """Start a node with the emulator's default flags, reachable from this machine only, in a function."""
        command = ["erl", "-noshell", "-name", f"{short}_{secrets.token_hex(4)}@127.0.0.1", "-setcookie", self.cookie]
        command += ["-start_epmd", "false", "-kernel", "inet_dist_use_interface", "{127,0,0,1}"]
        command += ["-pa", str(self._directory), "-s", self._module, function, *more]
        return Child(f"disterl {function}", command, self.environment)

    def stop(self) -> None:
        """End the EPMD; the nodes are their owner's to end."""
        if self._epmd is not None:
            self._epmd.stop()
            self._epmd = None
        if self._directory is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(self._directory)
            self._directory = None
