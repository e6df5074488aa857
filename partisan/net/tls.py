"""One connected socket that speaks TLS: the same interface as `_core.stream.Stream`, on readiness only.

OpenSSL works on two memory buffers and never on the socket, so the same code serves asyncio and uvloop, and an octet
that OpenSSL has encrypted is never asked for a second time. Decrypted octets go straight into the frame reader's
window; what a queue has is encrypted and sent in pieces that stay in the processor's cache.

OpenSSL encrypts before the socket has taken anything. What is encrypted counts as sent, as what lies in the socket's
own buffer does; no more is encrypted before the socket has taken it all, so that it is at most one piece.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from partisan._core.frame import FrameReader
from partisan._core.sendqueue import SendQueue
from partisan.errors import FrameError, HandshakeError
from partisan.net.certificates import TlsMaterial, reason_of

PIECE = 112 << 10
"""Octets encrypted at once at most (ours, measured: from 128 KiB on malloc maps fresh memory for each piece)."""

RECORD = 16 << 10
"""Octets of the longest TLS record (RFC 8446, section 5.1). A piece that is shorter is joined to what follows."""

WASTE = 64 << 10
"""Octets thrown away at once."""


class TlsStream:
    """A connected, non-blocking socket between a frame reader and a send queue, with TLS in between.

    Args:
        loop, sock, quantum, lost, refused: as `Stream` has them. An error of TLS is an `ssl.SSLError`.
        material: the node's.
        acceptor: whether the other side has dialled.
        secured: callable(): the TLS handshake is done. Until then nothing is written.
    Attributes:
        queue: what waits to be written.
        closed: whether it has ended.
        finishing: whether it will end when all is written and the peer has closed.
        is_secured: whether the TLS handshake is done.
        read_at: when octets last came, in seconds of the loop's clock.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        material: TlsMaterial,
        acceptor: bool,
        quantum: int,
        lost: Callable[[Exception | None, int], None],
        refused: Callable[[Exception], None],
        secured: Callable[[], None],
    ) -> None:
        self.sock = sock
        self.queue: SendQueue
        self.closed = False
        self.finishing = False
        self.is_secured = False
        self.read_at = 0.0
        self._loop = loop
        self._fd = sock.fileno()
        self._quantum = quantum
        self._buffer = material.buffer
        self._lost = lost
        self._refused = refused
        self._secured = secured
        self._reader: FrameReader
        self._arrived = ssl.MemoryBIO()
        self._leaving = ssl.MemoryBIO()
        context = material.server if acceptor else material.client
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_side=acceptor)
        self._unsent: memoryview | None = None  # encrypted octets that the socket did not take
        self._writing = False  # the loop watches for room to write
        self._ended = False  # that no more will come from here is said, at least to `_unsent`
        self._shut = False  # and the socket's own half is closed

    def start(self, reader: FrameReader, queue: SendQueue) -> None:
        """Begin the handshake, to read into `reader`, and to write from `queue`."""
        self._reader = reader
        self.queue = queue
        self._loop.add_reader(self._fd, self.read)
        self._progress(self._shake)

    def certificate(self) -> Mapping[str, Any] | None:
        """The peer's certificate if it was asked for, shown and verified."""
        return self._tls.getpeercert() or None

    def _progress(self, step: Callable[[], None]) -> None:
        """Take a step of which an error of the socket or of TLS ends the stream."""
        try:
            step()
        except OSError as error:  # among them every ssl.SSLError
            self._end(error)

    def _shake(self) -> None:
        """Go on with the handshake as far as it goes with what has arrived."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(self._flush())
            return
        self.is_secured = True
        self._watch(self._flush())
        self._secured()
        if self.queue.queued_octets:
            self.write()

    def read(self) -> None:
        """Take what the socket has, up to the quantum, and hand on what it was encrypted from."""
        if self.closed:
            return
        self.read_at = self._loop.time()
        self._progress(self._take)

    def _take(self) -> None:
        self._reader.begin()
        try:
            self._take_in()
        finally:
            self._hand_on(self._reader.finish)

    def _take_in(self) -> None:
        left = self._quantum
        while left > 0 and not self.closed and not self.finishing:
            try:
                size = self.sock.recv_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                return
            if not size:
                raise ConnectionResetError("the connection ended without a word of TLS")
            self._arrived.write(self._buffer[:size])
            if not self.is_secured:
                self._shake()
            while self.is_secured and not self.closed and not self.finishing and self._decrypt():
                pass
            if size < len(self._buffer):
                break
            left -= size
        if self._leaving.pending and not self._writing and not self.closed:
            self._watch(self._flush())  # OpenSSL has answered a change of keys

    def _decrypt(self) -> bool:
        """Fill the reader's window with what has arrived; whether there may be more."""
        window = self._reader.get_buffer()
        size, filled, over = len(window), 0, False
        trouble: OSError | None = None
        read: Callable[[int, memoryview], int] = self._tls.read  # type: ignore[assignment]  # into a buffer it counts
        try:
            while filled < size and not over:
                got = read(size - filled, window[filled:])
                filled += got
                over = not got
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            trouble = error
        if filled and not self._hand_on(lambda: self._reader.received(filled)):
            return False
        if trouble is not None:
            raise trouble
        if over and not self.finishing:
            self._end(None)
        return filled == size

    def _hand_on(self, step: Callable[[], None]) -> bool:
        """Have the reader take a step; whether it could."""
        try:
            step()
        except Exception as error:
            self._refused(error)
            return False
        return True

    def write(self) -> None:
        """Encrypt and send what waits, up to the queue's quantum; ask to be called again if some is left."""
        if self.closed:
            return
        if not self.is_secured:
            self._progress(lambda: self._watch(self._flush()))
            if not self.closed:
                self.queue.written(True)
            return
        self._progress(self._give)

    def _give(self) -> None:
        if self.queue.held:  # a finaliser asks for it amid a message, or amid this
            self.queue.defer(self.write)
            return
        left = self._flush() or self._encrypt()
        if self.closed:
            return
        self._watch(left)
        self.queue.written(left)
        if self.finishing and not left:
            self._half_close()

    def _encrypt(self) -> bool:
        """Encrypt up to a quantum of the queue and send it piece by piece; whether anything is left."""
        queue, tls, leaving = self.queue, self._tls, self._leaving
        queue.prepare(self._loop.time())
        taken = 0
        try:
            if queue.queued_octets:
                for piece in pieces(queue.segments()):
                    taken += tls.write(piece)
                    if self.closed or queue.closed or (leaving.pending >= PIECE and self._flush()):
                        break
        finally:
            left = queue.sent(taken)  # the segments were lent: from here on the queue may change
        return not self.closed and (self._flush() or bool(left))

    def _flush(self) -> bool:
        """Send what is encrypted; whether some of it is left."""
        if self._unsent is None:
            if not self._leaving.pending:
                return False
            self._unsent = memoryview(self._leaving.read())
        try:
            sent = self.sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return True
        if sent < len(self._unsent):
            self._unsent = self._unsent[sent:]
            return True
        self._unsent = None
        return bool(self._leaving.pending) and self._flush()

    def _watch(self, wanted: bool) -> None:
        """Have the loop watch for room to write, or no longer."""
        if wanted != self._writing and not self.closed:
            self._writing = wanted
            if wanted:
                self._loop.add_writer(self._fd, self.write)
            else:
                self._loop.remove_writer(self._fd)

    def finish(self) -> None:
        """Write what waits, say that no more will come, and stay until the peer closes; what comes is thrown away.

        A peer that answers the end of a stream with its own has read all that went before: `lost` tells of that.
        """
        if self.closed or self.finishing:
            return
        self.finishing = True
        self._loop.add_reader(self._fd, self.drain)
        if not self.queue.queued_octets:
            self._wind_up()

    def retire(self) -> int:
        """Do as `finish()`, but lose what waits and is not encrypted. Returns how many octets those are."""
        if self.closed:
            return 0
        lost = self.queue.close()
        if self.finishing:
            self._wind_up()
        else:
            self.finish()
        return lost

    def _wind_up(self) -> None:
        """Write what is encrypted, and close this half. A socket that refuses is gone already: the next read tells."""
        with contextlib.suppress(OSError):
            self._give()

    def _half_close(self) -> None:
        """All is written: say so in TLS, then close the socket's half."""
        self.queue.close()
        if not self._ended:
            self._ended = True
            with contextlib.suppress(ssl.SSLError):  # the peer's answer is not there yet, and is not waited for
                self._tls.unwrap()
        if self._flush():
            self._watch(True)
        elif not self._shut:
            self._shut = True
            self._watch(False)
            self.sock.shutdown(socket.SHUT_WR)

    def drain(self) -> None:
        """Throw away what comes: only its end matters, and the socket's own tells of that."""
        if self.closed:
            return
        try:
            if self.sock.recv_into(self._buffer[:WASTE]):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        self._end(None)

    def close(self) -> int:
        """Close at once, with a word of TLS if the socket takes it. Returns how many octets were still to be written.

        An alert that says what is wrong leaves by the same way.
        """
        if self.closed:
            return 0
        self._watch(False)
        self.closed = True
        self._loop.remove_reader(self._fd)
        with contextlib.suppress(OSError):
            if self._unsent is None:
                if self.is_secured and not self._ended:
                    with contextlib.suppress(ssl.SSLError):
                        self._tls.unwrap()
                self._flush()
        self.sock.close()
        return self.queue.close()

    def _end(self, error: Exception | None) -> None:
        """The stream has ended by itself."""
        if not self.closed:
            self._lost(error, self.close())


def pieces(segments: list[memoryview]) -> Iterator[memoryview | bytes]:
    """Cut segments into pieces of PIECE octets at most; what is shorter than a record is joined to what follows."""
    short = b""
    for segment in segments:
        start = 0
        if short:
            start = RECORD - len(short)
            short += bytes(segment[:start])
            if len(short) < RECORD:
                continue
            yield short
        end = start + (len(segment) - start) // RECORD * RECORD
        for at in range(start, end, PIECE):
            yield segment[at : min(at + PIECE, end)]
        short = bytes(segment[end:])
    if short:
        yield short


CERTIFICATE_REASONS = frozenset(
    {
        "PEER_DID_NOT_RETURN_A_CERTIFICATE",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_NO_CERTIFICATE",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "SSL/TLS_ALERT_BAD_CERTIFICATE",
        "SSL/TLS_ALERT_CERTIFICATE_EXPIRED",
        "SSL/TLS_ALERT_CERTIFICATE_REVOKED",
        "SSL/TLS_ALERT_CERTIFICATE_UNKNOWN",
        "SSL/TLS_ALERT_NO_CERTIFICATE",
        "SSL/TLS_ALERT_UNSUPPORTED_CERTIFICATE",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE",
    }
)
"""What OpenSSL calls it when this side's certificate was not accepted, or the peer showed none."""

PLAINTEXT_REASONS = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})
"""What OpenSSL calls octets that are no TLS record."""

HTTP_REASONS = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})

HTTP_WORDS = frozenset(
    int.from_bytes(word)
    for word in (b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI ", b"HTTP")
)
"""How a message of HTTP begins, read as the length of a frame."""

CLIENT_HELLO = 0x1603
"""How a TLS handshake begins, read as the first half of the length of a frame."""


def explained(error: Exception, peer: str | None) -> Exception:
    """What an error means that came before the peer had said its name: HandshakeError if it says more."""
    if isinstance(error, ssl.SSLError):
        reason, words = error.reason, reason_of(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            return HandshakeError("certificate", peer, f"that of the peer is not accepted: {words}")
        if reason in CERTIFICATE_REASONS:
            theirs = reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
            whose = "the peer showed none" if theirs else f"the peer does not accept that of this node: {words}"
            return HandshakeError("certificate", peer, whose)
        if reason in HTTP_REASONS:
            return HandshakeError("http", peer, "an HTTP client has connected")
        if reason in PLAINTEXT_REASONS:
            return HandshakeError("tls", peer, f"the peer does not speak TLS: {words}")
        return HandshakeError("tls", peer, words)
    if isinstance(error, FrameError) and error.reason == "oversized":
        if error.octets >> 16 == CLIENT_HELLO:
            return HandshakeError("tls", peer, "the peer speaks TLS, and this node does not")
        if error.octets in HTTP_WORDS:
            return HandshakeError("http", peer, "HTTP was spoken")
    return error
