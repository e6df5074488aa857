"""Open many connections to an address and say nothing, in a process of its own.

Prints how many it has opened, and waits until its standard input is closed.
"""

from __future__ import annotations

import resource
import socket
import sys


def main(port: int, count: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    print(len(connections), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
