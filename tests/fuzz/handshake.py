"""Any octets end a handshake of Erlang's distribution in a result or a HandshakeError, the same however they are cut.

The first octet chooses the role, the octets of a packet's length and the size of the pieces. A digest of zeros stands
for the right one, and a packet that ends early is filled up with zeros, so that short inputs reach the end of it.
"""

from partisan.dist import handshake
from partisan.dist.flags import OURS, Flag
from partisan.dist.handshake import Cookies, Handshake, Identity, Verdict, accept, digest, initiate
from partisan.errors import HandshakeError
from tests.fuzz.engine import run

COOKIES = Cookies("shared", "shared")
MOST = 4096
CHALLENGE = 1
DIGESTED = {b"r": 5, b"a": 1}
"""What a packet with a digest begins with, and where the digest stands."""


def made(choice: int) -> Handshake:
    """The handshake that an input is for: of who dials, or of who is dialled."""
    head = 4 if choice & 2 else 2
    if choice & 1:
        myself = Identity("a@127.0.0.1", 7, OURS | Flag.NAME_ME if choice & 4 else OURS)
        exchange = initiate(myself, "b@127.0.0.1", COOKIES, CHALLENGE, lambda: bool(choice & 8))
    else:
        verdict = list(Verdict)[choice >> 2 & 3]
        given = Identity("given@127.0.0.1", 8)
        exchange = accept(
            Identity("b@127.0.0.1", 9),
            lambda name: COOKIES,
            CHALLENGE,
            lambda name, creation: verdict,
            (lambda host: given) if choice & 16 else None,
        )
    return Handshake(exchange, head=head, most=MOST)


def written(data: bytes, head: int) -> bytes:
    """The octets with the right digest where there are zeros."""
    octets, at = b"", 0
    while at + head <= len(data):
        size = int.from_bytes(data[at : at + head], "big")
        if size > MOST:
            break
        packet = data[at + head : at + head + size].ljust(size, b"\0")
        place = DIGESTED.get(packet[:1])
        if place is not None and packet[place:] == bytes(16):
            packet = packet[:place] + digest(COOKIES.ours, CHALLENGE)
        octets += data[at : at + head] + packet
        at += head + size
    return octets + data[at:]


def outcome(choice: int, octets: bytes, step: int) -> tuple[object, ...]:
    """What a handshake comes to: its result, its error, what it says and what it leaves."""
    shake = made(choice)
    for at in range(0, len(octets), step):
        shake.receive(octets[at : at + step])
        assert shake.over or len(shake.rest) < MOST + 4, "more is kept than a packet"
    error = shake.error
    assert error is None or type(error) is HandshakeError
    assert len(shake.out) < 4096
    told = None if error is None else (error.reason, str(error))
    return shake.result, told, bytes(shake.out), shake.rest if shake.result is not None else None


def one_input(data: bytes) -> None:
    """Hold the handshake to the invariant for one input; an exception is a finding."""
    if not data:
        return
    choice = data[0]
    octets = written(data[1:], 4 if choice & 2 else 2)
    whole = outcome(choice, octets, max(1, len(octets)))
    assert whole == outcome(choice, octets, 1 + (choice >> 5)), "it depends on how the octets were cut"


if __name__ == "__main__":
    run(one_input, handshake)
