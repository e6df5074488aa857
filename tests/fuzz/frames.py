"""Any octets are the same frames however they are cut, or raise FrameError; nothing else, and no octet is lost.

The first octet chooses the size of the pieces. In the rest, 254 and two octets stand for a run of up to 262,140 octets,
so that short inputs reach the frames that are assembled and the binaries that are received in place.
"""

from partisan._core.frame import FrameReader, Slab
from partisan.errors import FrameError
from tests.fuzz.engine import run

MAX_FRAME = 1 << 20
LARGEST = 2 << 20  # octets of one expanded input
RUN = 254


class Collector(FrameReader):
    """Keep every frame, as (octets without the large binaries, those binaries)."""

    taken: list[tuple[bytes, list[bytes]]]

    def frame(self, body: bytes, planted: list[bytes] | None) -> None:
        self.taken.append((body, planted or []))


def expanded(data: bytes) -> bytes:
    """Return `data` with each run written out."""
    parts, at = [], 0
    while (run := data.find(RUN, at)) >= 0 and run + 3 <= len(data):
        parts += [data[at:run], bytes([run & 0x3F]) * (4 * int.from_bytes(data[run + 1 : run + 3]))]
        at = run + 3
    return b"".join([*parts, data[at:]])[:LARGEST]


def frames_of(stream: bytes) -> tuple[list[bytes], str | None, int]:
    """Return what the stream is by the rule: whole frames, why it ends if it may not go on, octets left over."""
    frames, at = [], 0
    while len(stream) - at >= 4:
        length = int.from_bytes(stream[at : at + 4])
        if length == 0 or length > MAX_FRAME:
            return frames, "empty" if length == 0 else "oversized", 0
        if len(stream) - at - 4 < length:
            break
        frames.append(stream[at + 4 : at + 4 + length])
        at += 4 + length
    return frames, None, len(stream) - at


def is_whole(frame: bytes, body: bytes, planted: list[bytes], done: int = 0, taken: int = 0) -> bool:
    """Whether `body` is `frame` without the `planted` binaries, each of which was behind its own header."""
    if not planted:
        return frame[done:] == body[taken:]
    head, rest = planted[0], planted[1:]
    header, at = b"m" + len(head).to_bytes(4), done
    while (at := frame.find(header, at)) >= 0:
        start = at + 5
        if frame[done:start] != body[taken : taken + start - done]:
            return False
        if frame.startswith(head, start) and is_whole(frame, body, rest, start + len(head), taken + start - done):
            return True
        at += 1
    return False


def read(stream: bytes, step: int) -> tuple[Collector, str | None]:
    """Feed the stream in pieces of `step` octets; return the reader, and the reason why it refused to go on."""
    reader = Collector(Slab(), MAX_FRAME)
    reader.taken = []
    try:
        for at in range(0, len(stream), step):
            reader.receive_data(stream[at : at + step])
    except FrameError as error:
        return reader, error.reason
    return reader, None


def one_input(data: bytes) -> None:
    """Hold the reader to the invariant for one input; an exception is a finding."""
    if not data:
        return
    stream = expanded(data[1:])
    frames, reason, left = frames_of(stream)
    # Small pieces of a long stream would only repeat the same step a million times.
    step = max(1 + data[0] * data[0], len(stream) // 2000)
    for size in (step, max(1, len(stream))):
        reader, refused = read(stream, size)
        if refused != reason:
            raise AssertionError(f"refused as {refused}, not {reason}, in pieces of {size}")
        if len(reader.taken) != len(frames):
            raise AssertionError(f"{len(reader.taken)} frames, not {len(frames)}, in pieces of {size}")
        for frame, (body, planted) in zip(frames, reader.taken, strict=True):
            if not is_whole(frame, body, planted):
                raise AssertionError(f"a frame of {len(frame)} octets changed, in pieces of {size}")
        if reason is None and bool(reader.missing) != bool(left):
            raise AssertionError(f"{reader.missing} octets missing with {left} left over")


if __name__ == "__main__":
    run(one_input)
