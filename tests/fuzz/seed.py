"""Write the first corpus: every decode case that is not large, behind the octets by which a target chooses.

Usage: python -m tests.fuzz.seed. run.sh grows the corpus from there; this only brings back what a new case adds.
"""

from hashlib import sha1
from pathlib import Path

from partisan.dist.control import (
    NO_PAYLOAD,
    Control,
    Demonitor,
    Down,
    Exit,
    Link,
    Message,
    Monitor,
    Spawn,
    SpawnReply,
    Unlink,
    UnlinkAck,
    written,
)
from partisan.etf import Atom, Codec, Pid, Reference
from tests.fuzz import handshake
from tests.oracle import cases

CORPUS = Path(__file__).parent / "corpus"
LARGEST = 600  # octets of a seed


def write(directory: Path, data: bytes) -> None:
    """Write one input under the name that libFuzzer would give it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / sha1(data).hexdigest()).write_bytes(data)


def large(count: int) -> bytes:
    """Return a frame of a tuple of `count` binaries of 64 KiB, each as a run (see frames.py)."""
    binary = b"m\0\x01\0\0\xfe\x40\0"
    return (3 + count * (5 + 65536)).to_bytes(4) + b"\x83h" + bytes([count]) + binary * count


HERE, THERE, REFERENCE = (
    Pid("b@127.0.0.1", 5, 0, 9),
    Pid("a@127.0.0.1", 6, 0, 7),
    Reference("a@127.0.0.1", (1, 2, 3), 7),
)
NAME, LISTED = Atom("name"), [1, 2.5, b"x", {Atom("key"): (Atom("value"), -(1 << 70))}]
CONTROLS: tuple[Control, ...] = (
    *(Message(THERE, target, LISTED) for target in (HERE, NAME, REFERENCE)),
    Message(None, HERE, b"plain"),
    Link(THERE, HERE),
    Unlink(1, THERE, HERE),
    UnlinkAck(1, THERE, HERE),
    Exit(THERE, HERE, Atom("killed"), True),
    Exit(THERE, HERE, Atom("kill"), False),
    Monitor(THERE, NAME, REFERENCE),
    Demonitor(THERE, HERE, REFERENCE),
    Down(NAME, HERE, REFERENCE, Atom("noproc")),
    Spawn(REFERENCE, THERE, THERE, Atom("m"), Atom("f"), 1, [b"x"], [Atom("link"), Atom("monitor")]),
    SpawnReply(REFERENCE, HERE, 3, THERE),
)
"""One control message of each kind."""


def frames_of(control: Control, *, payloads: bool = True) -> tuple[bytes, bytes, bytes, bytes]:
    """A control message without a header, with one that has an atom, and in two pieces."""
    codec = Codec(remote_refs=False)
    terms = [codec.encode(term)[1:] for term in written(control, payloads=payloads) if term is not NO_PAYLOAD]
    plain = b"p" + b"".join(b"\x83" + term for term in terms)
    name = codec.encode(NAME)[1:]
    body = b"".join(terms).replace(name, b"R\0")
    header = b"\x01\x08\x07\x04name"
    cut = len(body) // 2
    pieces = [(b"E", 2, header + body[:cut]), (b"F", 1, body[cut:])]
    first, later = (b"\x83" + kind + (5).to_bytes(8) + left.to_bytes(8) + part for kind, left, part in pieces)
    return plain, b"\x83D" + header + body, first, later


def distribution() -> None:
    """Write the first corpora of the handshake and of the frames of Erlang's distribution."""

    def framed(*bodies: bytes) -> bytes:
        return b"".join(len(body).to_bytes(2) + body for body in bodies)

    for control in CONTROLS:
        for payloads in (True, False):
            plain, headed, first, later = frames_of(control, payloads=payloads)
            write(CORPUS / "distribution", b"\x04" + framed(plain, b"", plain))
            write(CORPUS / "distribution", b"\x05" + framed(headed, b"\x83D\x01\0\x07" + headed[10:]))
            write(CORPUS / "distribution", b"\x05" + framed(first, headed, later))
    for choice in range(32):
        head = 4 if choice & 2 else 2
        mine, other = handshake.made(choice), handshake.made(choice ^ 1)
        said = b""
        for _ in range(3):
            said += bytes(other.out)
            mine.receive(bytes(other.out))
            other.out.clear()
            other.receive(bytes(mine.out))
            mine.out.clear()
        write(CORPUS / "handshake", bytes([choice]) + said)
        write(CORPUS / "handshake", bytes([choice]) + said[:-1] + b"?")
        for status in (b"sok", b"snok", b"salive", b"snot_allowed", b"snamed:\0\3x@y\0\0\0\5", b"strue", b"sfalse"):
            write(CORPUS / "handshake", bytes([choice]) + len(status).to_bytes(head) + status + said)


def main() -> None:
    distribution()
    for _, octets in cases.written() + cases.recorded_terms():
        if len(octets) <= LARGEST:
            write(CORPUS / "scan", b"\x05\x02" + octets[1:])
            write(CORPUS / "codec", b"\x00" + octets[1:])
            write(CORPUS / "codec", b"\x01" + octets[1:])
            write(CORPUS / "frames", b"\x01" + len(octets).to_bytes(4) + octets + len(octets).to_bytes(4) + octets)
    for pieces in (b"\x03", b"\x64", b"\xff"):
        for count in (1, 2):
            write(CORPUS / "frames", pieces + large(count) + b"\0\0\0\x02\x83j" + large(3))


if __name__ == "__main__":
    main()
