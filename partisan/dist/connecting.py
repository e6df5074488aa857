"""Connections that this node dials, and which of two stays when two nodes dial each other.

Whose name is greater has its own dial stand: the other says so (`nok`), gives its own up (`ok_simultaneous`), and waits
for the connection that comes. Only a name was said by then, which anybody can say: if that connection is lost before it
is up, the dial is made again. A dial that has said nothing yet stands in nobody's way. Where the other's came up first,
a dial of the greater name goes on all the same: the other may be giving its own up for it.

Source: erl_dist_protocol of OTP, section "The handshake".
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from partisan.config_distribution import Distribution
from partisan.dist import epmd
from partisan.dist.handshake import Cookies, Exchange, Identity, Verdict, initiate
from partisan.dist.link import DistLink
from partisan.errors import ConfigError, ConnectFailed, EpmdError, HandshakeError


@dataclass(slots=True, eq=False)
class Dial:
    """A dial that is under way.

    Attributes:
        connected: the connection to the node, once there is one, whoever has dialled it; None if that is lost for which
            ours was given up.
        link: what we have dialled; None before, and if it was given up for the node's own.
        task: what does it.
    """

    connected: asyncio.Future[DistLink | None]
    link: DistLink | None = None
    task: asyncio.Task[DistLink] | None = None


class Connecting:
    """The dials of one node.

    Args:
        loop: the node's.
        options: of the distribution.
        identity: callable() -> who we are.
        peer: name -> the connection to a node, if it is up.
        make: callable(socket, exchange, name) -> a connection that is not started.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: Distribution,
        identity: Callable[[], Identity],
        peer: Callable[[str], DistLink | None],
        make: Callable[[socket.socket, Exchange, str], DistLink],
    ) -> None:
        self._loop = loop
        self._options = options
        self._identity = identity
        self._peer = peer
        self._make = make
        self._dials: dict[str, Dial] = {}
        self._preferred: dict[DistLink, str] = {}  # not up yet -> the node to which our own dial was given up for it

    def stop(self) -> None:
        """Give all of them up: who waits has ConnectFailed."""
        for dial in list(self._dials.values()):
            if dial.task is not None:
                dial.task.cancel()

    async def connect(self, name: str) -> DistLink:
        """Connect to a node, unless it is connected.

        Raises:
            ConnectFailed: nobody is found, or the handshake has failed: its error is the cause.
        """
        link = self._peer(name)
        if link is not None:
            return link
        dial = self._dials.get(name)
        if dial is None:
            dial = self._dials[name] = Dial(self._loop.create_future())
            dial.task = self._loop.create_task(self._dial(name, dial))
            dial.task.add_done_callback(lambda done: self._done(name, done))
        assert dial.task is not None  # set with the dial
        try:
            return await asyncio.shield(dial.task)
        except asyncio.CancelledError:
            if dial.task.cancelled():
                raise ConnectFailed(name, "this node stops") from None
            raise

    def _done(self, name: str, task: asyncio.Task[DistLink]) -> None:
        del self._dials[name]
        if not task.cancelled():
            task.exception()  # whoever waited has it

    def judge(self, name: str, link: DistLink) -> Verdict:
        """What to answer to a node that dials us, and is not connected; so it says on that connection."""
        dial = self._dials.get(name)
        if dial is None or dial.link is None:
            return Verdict.OK
        if name < self._identity().name:
            return Verdict.REFUSED
        dial.link.close()
        dial.link = None
        self._preferred[link] = name
        return Verdict.SIMULTANEOUS

    def arrived(self, link: DistLink) -> None:
        """A connection is up."""
        self._preferred.pop(link, None)
        dial = self._dials.get(link.name)
        if dial is not None and not dial.connected.done():
            dial.connected.set_result(link)

    def failed(self, link: DistLink, error: Exception | None) -> None:
        """A connection was lost before it was up."""
        preferred = self._preferred.pop(link, None)
        if preferred is not None:
            self._again(preferred)
            return
        dial = self._dials.get(link.name)
        if dial is None or dial.link is not link or dial.connected.done():
            return
        dial.link = None
        if isinstance(error, HandshakeError) and error.reason == "simultaneous":
            return  # the node's own connection comes
        dial.connected.set_exception(error or HandshakeError("closed", link.name))

    def _again(self, name: str) -> None:
        """What a dial was given up for is lost: have it made again, unless there is more to wait for."""
        dial = self._dials.get(name)
        given_up = dial is not None and dial.link is None and not dial.connected.done()
        if dial is not None and given_up and name not in self._preferred.values():
            dial.connected.set_result(None)

    async def _dial(self, name: str, dial: Dial) -> DistLink:
        seconds = self._options.setup_timeout
        try:
            async with asyncio.timeout(seconds):
                while True:
                    sock = await self._open(*await self._find(name))
                    if dial.connected.done():  # it has dialled us meanwhile
                        sock.close()
                    else:
                        dial.link = self._begin(sock, name)
                    link = await dial.connected or self._peer(name)
                    if link is not None:
                        return link
                    dial.connected = self._loop.create_future()
        except TimeoutError:
            raise ConnectFailed(name, f"no connection within {seconds:.3g} s") from None
        except (OSError, UnicodeError, HandshakeError, EpmdError, ConfigError) as error:
            link = self._peer(name)
            if link is not None:  # which is why the other one was not wanted
                return link
            raise ConnectFailed(name, str(error)) from error
        finally:
            if dial.link is not None and not dial.link.up and not self._may_stand(name, dial):
                dial.link.close()
            if dial.connected.done() and not dial.connected.cancelled():
                dial.connected.exception()  # it may have come when nobody waited any more

    def _may_stand(self, name: str, dial: Dial) -> bool:
        """Whether the node may just have given its own dial up for ours, although that one is up here.

        If it has, ours goes on to be up; if not, it says that we are connected already, and ours ends.
        """
        other = dial.connected.done() and not dial.connected.cancelled() and dial.connected.exception() is None
        return other and name < self._identity().name

    def _begin(self, sock: socket.socket, name: str) -> DistLink:
        """Begin the handshake."""
        try:
            exchange = initiate(
                self._identity(),
                name,
                Cookies(*self._options.secrets(name)),
                int.from_bytes(os.urandom(4), "big"),
                alive=lambda: self._peer(name) is None,
            )
            link = self._make(sock, exchange, name)
        except BaseException:
            sock.close()
            raise
        link.start()
        return link

    async def _find(self, name: str) -> tuple[str, int]:
        """The host and port at which a node is to be dialled. Raises EpmdError."""
        options = self._options
        alive, _, host = name.partition("@")
        if name in options.ports:
            return host, options.ports[name]
        if not options.epmd and options.epmd_port is None:
            raise EpmdError("unreachable", f"the port of {name} is not among `ports`, and `epmd` is off")
        found = await epmd.find(alive, host, epmd_port=options.epmd_port, timeout=options.setup_timeout)
        if found is None:
            raise EpmdError("unknown", f"the daemon of {host} knows no node {alive}")
        return host, found.port

    async def _open(self, host: str, port: int) -> socket.socket:
        """Connect to one of the host's addresses. Raises OSError; UnicodeError for what can be no host's name."""
        trouble = OSError(f"{host} has no address")
        for family, kind, protocol, _, address in await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            try:
                await self._loop.sock_connect(sock, address)
                return sock
            except OSError as error:
                sock.close()
                trouble = error
            except BaseException:
                sock.close()
                raise
        raise trouble
