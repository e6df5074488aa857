"""The inside of a Python child process: `python -m partisan.bench.child TRANSPORT server|client ARGUMENT`.

A server announces itself with one JSON line of facts and serves until its standard input ends. A client gets those
facts, announces itself, and then answers each job line with one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading

from .measure import Job, Measurement


def announce(**facts: object) -> None:
    """Print the ready line."""
    print(json.dumps({"ready": True, **facts}), flush=True)


def end_with_parent() -> None:
    """End this process as soon as its standard input does."""

    def watch() -> None:
        # The descriptor and not sys.stdin: at exit the interpreter would wait for the lock of the latter.
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def next_job() -> Job | None:
    """Wait for a job line; None when the parent has no more. Blocks."""
    line = sys.stdin.readline()
    return Job.parse(line) if line.strip() else None


def reply(result: Measurement) -> None:
    """Answer the last job."""
    print(result.line(), flush=True)


def main(arguments: list[str]) -> None:
    """Become the server or the client of a transport."""
    name, role, argument = arguments
    module = importlib.import_module(f".transports.{name}", __package__)
    if role == "server":
        end_with_parent()
        module.serve(int(argument))
    else:
        module.drive(json.loads(argument))


if __name__ == "__main__":
    main(sys.argv[1:])
