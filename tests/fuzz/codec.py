"""Any octets either decode or raise DecodeError/Truncated; nothing else, and no allocation above the limit.

The first octet chooses the codec, the rest is a term behind its version octet. What decodes must also encode, and
decode again to the same term. Run by run.sh under atheris and AddressSanitizer; `one_input` alone replays the corpus in
the unit tests.
"""

from collections.abc import Callable
from typing import Any

from partisan import etf
from tests.fuzz.engine import run

LIMITS: dict[str, Any] = {"max_items": 100_000, "max_octets": 1 << 20, "max_inflated": 1 << 20}
CODECS = [
    etf.Codec(**LIMITS),
    etf.Codec(remote_refs=True, encode_refs=None, **LIMITS),
    etf.Codec(remote_refs=True, **LIMITS),
    etf.Codec(binaries="str", strings="binary", none="nil", **LIMITS),
]
REWRITES = CODECS[2]  # turns plain pids into remote references, which carry no creation
ATOMS = (etf.Atom("ok"), etf.Atom("a@h"))


def one_input(data: bytes) -> None:
    """Hold the codec to the invariant for one input; an exception is a finding."""
    if not data:
        return
    codec = CODECS[data[0] % len(CODECS)]
    octets = b"\x83" + data[1:]
    truncation(codec.decode, octets)
    truncation(lambda octets: codec.decode_dist(octets[1:], ATOMS), octets)
    try:
        value, used = codec.decode_prefix(octets)
    except etf.DecodeError:
        return
    if not 1 < used <= len(octets):
        raise AssertionError(f"{used} octets used of {len(octets)}")
    again = codec.decode(codec.encode(value))
    if codec is not REWRITES and not etf.exactly_equal(again, value):
        raise AssertionError(f"{value!r} came back as {again!r}")
    if b"".join(codec.encode_iovec(value)) != codec.encode(value):
        raise AssertionError(f"{value!r} is written in two ways")
    repr(value)


def truncation(decode: Callable[[bytes], object], octets: bytes) -> None:
    """Decode, and check that an error tells a place inside and a need that is one."""
    try:
        decode(octets)
    except etf.Truncated as error:
        if error.need < 1 or not 0 <= error.offset <= len(octets):
            raise AssertionError(f"need {error.need} at {error.offset}") from error
    except etf.DecodeError as error:
        if not 0 <= error.offset <= len(octets):
            raise AssertionError(f"offset {error.offset} of {len(octets)}") from error


if __name__ == "__main__":
    run(one_input)
