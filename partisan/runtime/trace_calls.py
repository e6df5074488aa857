"""What a node's machines are told, in a file; see docs/tracing.md."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

from partisan.config import Config
from partisan.errors import LocalProtocolError
from partisan.net.context import Context
from partisan.net.interposition import Interposition
from partisan.net.tracing import Tracing


class TraceCalls:
    """The methods of a node that are about its trace."""

    name: str
    config: Config
    loop: asyncio.AbstractEventLoop

    _running: bool
    _context: Context
    _rng: random.Random
    _interposition: Interposition
    _trace: tuple[Path, bool, bool] | None = None

    def trace(self, path: str | os.PathLike[str] | None, *, payloads: bool = False, messages: bool = False) -> None:
        """Write what the machines are told to a file from the next `start` on, instead of the options' `trace_file`.

        Args:
            path: of the file, whose directory must be there; one that is there becomes PATH.old. None writes none.
            payloads: write what is the program's own as well.
            messages: write of each message between processes of this node and another's, broadcasts among them, when it
                passed, and for whom; with `payloads` also what it was. Sending and receiving take the slow path then.
        Raises:
            LocalProtocolError: the node runs already, and what its machines have been told is lost.
        """
        if self._running:
            raise LocalProtocolError(f"{self.name} runs already: a trace begins with the node")
        self._trace = (Path(path or ""), payloads, messages)

    def _make_tracing(self) -> Tracing | None:
        """Raises ConfigError: the file cannot be written."""
        config = self.config
        asked = (Path(config.trace_file or ""), config.trace_payloads, config.trace_messages)
        path, payloads, messages = self._trace or asked
        if not path.name:
            return None
        tracing = Tracing(self.name, path, payloads, self.loop.time, random.Random(self._rng.getrandbits(128)))
        if messages:
            self._interposition.show(tracing.passed)
        return tracing

    def _abandon_trace(self) -> None:
        if self._context.tracing is not None:
            self._context.tracing.close(0.0)

    async def _end_trace(self, grace: float) -> None:
        """Wait until the trace is on the disk, for so many seconds at most."""
        if self._context.tracing is not None:
            await self.loop.run_in_executor(None, self._context.tracing.close, grace)
