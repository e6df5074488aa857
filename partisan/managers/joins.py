"""Who waits for a join to be done, until when, and what has failed last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from partisan.errors import ConnectFailed, HandshakeError
from partisan.net.dialer import Target
from partisan.net.link import MAY_BE
from partisan.wire.atom import MalformedMessage

log = logging.getLogger(__name__)

FAILURES = {
    "self": "that is this node's own name, and another node needs another",
    "greeting": "its membership state is none that this node understands",
    "left": "it was given up",
    "full": "the members of both together, with those who left and are not forgotten, are more than max_members",
    "client": "its role is client, as that of this node, and clients join servers only",
    "role": "its role does not go with that of this node (clients join servers; with a tag, nobody joins who has none)",
    "unreachable": "it has introduced itself, but cannot be reached",
}
"""What the machine's reasons mean to who called join."""

EXPECTED = frozenset({"client"})
"""Of these, what no update of the members is to blame for: all nodes may be given the same list."""

MUTE = f"; it took a connection, but has said nothing yet: {MAY_BE}"
"""What a join that has run out of time adds if no attempt has failed yet."""

LASTING = frozenset({"unexpected_peer", "refused", "certificate", "tls", "http"})
"""Reasons of a HandshakeError that another attempt does not change: a join fails at once."""


def why_failed(reason: str) -> str:
    """A machine's reason in words."""
    return FAILURES.get(reason, reason)


def _lasting(target: Target, error: Exception) -> Exception | None:
    """What a join ends with at once, if another attempt would fail as this one did."""
    if isinstance(error, MalformedMessage):  # a greeting of another strategy, or of no node at all
        failed = ConnectFailed(str(target), str(error))
        failed.__cause__ = error
        return failed
    return error if isinstance(error, HandshakeError) and error.reason in LASTING else None


class Joins:
    """The joins of one node that somebody waits for.

    Args:
        node: its name.
        loop: its loop.
        awaits_hello: callable(target): whether it has taken a connection, but not said its name.
    """

    def __init__(self, node: str, loop: asyncio.AbstractEventLoop, awaits_hello: Callable[[Target], bool]) -> None:
        self._node = node
        self._loop = loop
        self._awaits_hello = awaits_hello
        self._waiters: dict[Target, dict[asyncio.Future[str], float]] = {}  # and until when each is tried
        self._failures: dict[Target, Exception] = {}

    def __contains__(self, target: Target) -> bool:
        return target in self._waiters

    async def wait(
        self,
        target: Target,
        contact: object,
        timeout: float,
        *,
        begin: Callable[[], None],
        give_up: Callable[[], None],
    ) -> str:
        """Begin a join and wait until it is done; return the name of who was joined.

        Args:
            target: whom; `contact` is what the caller calls it.
            timeout: seconds.
            begin: begins it.
            give_up: is called when nobody waits for it any more, done or not.
        Raises:
            ConnectFailed: it failed, or was not done in time.
            HandshakeError: another node, or something else, answered.
        """
        waiter: asyncio.Future[str] = self._loop.create_future()
        if target not in self._waiters:
            self._failures.pop(target, None)
        waiters = self._waiters.setdefault(target, {})
        waiters[waiter] = self._loop.time() + timeout
        try:
            begin()
            await asyncio.wait([waiter], timeout=timeout)  # not a timeout that cancels: it may just have been done
            if not waiter.done():
                last = self._failures.get(target)
                why = f"; {last}" if last else MUTE if self._awaits_hello(target) else ""
                raise ConnectFailed(str(contact), f"not within {timeout:.3g} s{why}") from last
        finally:
            del waiters[waiter]
            if not waiters:
                self._waiters.pop(target, None)
                self._failures.pop(target, None)
                give_up()
        return waiter.result()

    def joined(self, contact: Target, name: str) -> None:
        """A join is done, and the contact turned out to be the node of that name."""
        for waiter in self._waiters.get(contact, ()):
            if not waiter.done():
                waiter.set_result(name)

    def failed(self, contact: Target, error: Exception) -> None:
        """A join is over without success."""
        for waiter in self._waiters.get(contact, ()):
            if not waiter.done():
                waiter.set_exception(error)

    def attempt_failed(self, target: Target, error: Exception) -> bool:
        """An attempt to connect has failed; whether another would fail as well, so that the join is over."""
        first = target not in self._failures
        self._failures[target] = error
        waiters = self._waiters[target]
        lasting = _lasting(target, error)
        if lasting is not None:
            self.failed(target, lasting)
            return True
        if first:
            left = max(waiters.values()) - self._loop.time()
            log.warning("%s cannot reach %s yet: %s; trying for %.1f s", self._node, target, error, left)
        return False

    def cancel(self) -> None:
        """All are over: the node stops."""
        for target in self._waiters:
            self.failed(target, ConnectFailed(str(target), "this node stops"))
