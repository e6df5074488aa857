"""Any frames of Erlang's distribution are the same messages and control messages however they are cut, or raise
FrameError or BadControl; nothing else, and no more is kept of unfinished ones than the limit.

The first octet says whether frames have headers, and chooses the size of the pieces. Each frame is behind two octets of
its length; what the last one lacks is not there.
"""

from typing import Any

from partisan._core.distin import DistIn
from partisan._core.frame import Slab
from partisan.dist import control
from partisan.dist.control import BadControl, Control, read, written
from partisan.errors import FrameError
from partisan.etf import Atom, Codec
from tests.fuzz.engine import run
from tests.unit.hollow import Core

MAX_FRAME = 1 << 16
MAX_SEQUENCES = 8
NODE = "b@127.0.0.1"


def stream_of(data: bytes) -> bytes:
    """The frames as they are on the wire."""
    parts, at = [], 0
    while at + 2 <= len(data):
        body = data[at + 2 : at + 2 + int.from_bytes(data[at : at + 2], "big")]
        parts.append(len(body).to_bytes(4, "big") + body)
        at += 2 + len(body)
    return b"".join(parts)


def outcome(stream: bytes, headers: bool, step: int) -> tuple[list[str], str | None]:
    """What was read of the stream, and why it ends if it may not go on."""
    core, found = Core(NODE), []

    def told(term: Any, payload: Any, has_payload: bool) -> None:
        message: Control = read(term, payload, has_payload=has_payload)
        found.append(repr(message))
        if type(message).__name__ != "Ignored" and getattr(message, "sender", 0) is not None:
            again = written(message)
            assert read(again[0], again[1], has_payload=type(again[1]) is not object) == message

    core.router.undeliverable = lambda target, message: found.append(repr((target, message)))
    reader = DistIn(
        Slab(),
        MAX_FRAME,
        router=core.router,
        codec=Codec(home=Atom(NODE), creation=9, max_depth=64),
        link=None,
        headers=headers,
        control=told,
        max_sequences=MAX_SEQUENCES,
    )
    try:
        for at in range(0, len(stream), step):
            reader.receive_data(stream[at : at + step])
            sequences, octets = reader.unfinished
            assert sequences <= MAX_SEQUENCES
            assert octets <= MAX_FRAME
    except (FrameError, BadControl) as error:
        return found, f"{type(error).__name__}: {error}"
    finally:
        core.run()
    return found, None


def one_input(data: bytes) -> None:
    """Hold the reader to the invariant for one input; an exception is a finding."""
    if not data:
        return
    stream = stream_of(data[1:])
    headers = bool(data[0] & 1)
    whole = outcome(stream, headers, max(1, len(stream)))
    assert whole == outcome(stream, headers, 1 + (data[0] >> 1)), "it depends on how the octets were cut"


if __name__ == "__main__":
    run(one_input, control)
