"""One decode case for each tag and each corner of the format, as (name, octets, term) with the term of the oracle."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.oracle import etf as oracle
from tests.oracle import writer

VECTORS = Path(__file__).parents[1] / "vectors"
ATOM = oracle.Atom("a@h")
PID = oracle.Pid("a@h", 7, 8, 9)


def old_float(text: str) -> bytes:
    return b"c" + text.encode().ljust(31, b"\0")


# Octets behind the version octet.
BODIES: list[tuple[str, bytes]] = [
    ("small integer", b"a\xff"),
    ("integer", b"b\xff\xff\xff\xfe"),
    ("integer that a smaller form could hold", b"b\0\0\0\x01"),
    ("small big of no octets", b"n\0\0"),
    ("small big with leading zeros", b"n\x04\0\x05\0\0\0"),
    ("small big that is minus zero", b"n\x01\x01\0"),
    ("small big, least 64-bit", b"n\x08\x01" + b"\0" * 7 + b"\x80"),
    ("small big, 64-bit unsigned", b"n\x08\0" + b"\xff" * 8),
    ("small big, longest", b"n\xff\x01" + b"\xab" * 255),
    ("large big, short", b"o\0\0\0\x03\x01\x01\x02\x03"),
    ("large big", b"o\0\0\x01\x00\0" + b"\xcd" * 256),
    ("new float", b"F" + struct.pack(">d", -2.5)),
    ("new float, minus zero", b"F" + struct.pack(">d", -0.0)),
    ("new float, denormal", b"F" + struct.pack(">d", 5e-324)),
    ("old float", old_float("3.14158999999999988262e+00")),
    ("old float, negative", old_float("-1.79769313486231570815e+308")),
    ("atom, latin1", b"d\0\x02\xe9a"),
    ("atom, latin1, of 255 characters", b"d\0\xff" + b"\xe9" * 255),
    ("small atom, latin1", b"s\x03\xe9ok"),
    ("atom, utf-8", "vπλ".encode().replace(b"v", b"v\0\x04")),
    ("atom, utf-8, of 1020 octets", b"v\x03\xfc" + "\U0001f600".encode() * 255),
    ("small atom, utf-8", b"w\x04" + "πλ".encode()),
    ("small atom, empty", b"w\0"),
    ("small atom of 255 octets", b"w\xff" + b"x" * 255),
    ("true", b"w\x04true"),
    ("false", b"d\0\x05false"),
    ("undefined", b"s\x09undefined"),
    ("nil the atom", b"w\x03nil"),
    ("small tuple, empty", b"h\0"),
    ("small tuple", b"h\x03a\x01h\x01a\x02w\x01z"),
    ("large tuple, empty", b"i\0\0\0\0"),
    ("large tuple", b"i\0\0\x01\x00" + b"a\x07" * 256),
    ("nil", b"j"),
    ("string, empty", b"k\0\0"),
    ("string", b"k\0\x03\x00\x7f\xff"),
    ("list", b"l\0\0\0\x02a\x01jj"),
    ("list of no items", b"l\0\0\0\0j"),
    ("list of no items and a tail", b"l\0\0\0\0a\x05"),
    ("list whose tail is a list", b"l\0\0\0\x01a\x01l\0\0\0\x01a\x02j"),
    ("list whose tail is a string", b"l\0\0\0\x01a\x01k\0\x02\x02\x03"),
    ("list whose tail is an improper list", b"l\0\0\0\x01a\x01l\0\0\0\x01a\x02a\x03"),
    ("improper list", b"l\0\0\0\x02a\x01a\x02w\x01t"),
    ("binary, empty", b"m\0\0\0\0"),
    ("binary", b"m\0\0\0\x03\0\xfe\xff"),
    ("bit string", b"M\0\0\0\x02\x03\xff\xe0"),
    ("bit string with unused bits set", b"M\0\0\0\x01\x01\xff"),
    ("bit string of whole octets", b"M\0\0\0\x02\x08\xff\xe1"),
    ("map, empty", b"t\0\0\0\0"),
    ("map", b"t\0\0\0\x02w\x01aa\x01m\0\0\0\x01bk\0\x01\x02"),
    ("map of keys that Python confuses", b"t\0\0\0\x03a\x01w\x01aF" + struct.pack(">d", 1.0) + b"w\x01bw\x04truew\x01c"),
    ("map of keys that Python cannot hash", b"t\0\0\0\x02jw\x01at\0\0\0\0w\x01b"),
    ("map of maps", b"t\0\0\0\x01t\0\0\0\x01a\x01a\x02t\0\0\0\x01a\x01a\x03"),
    ("pid", b"gw\x03a@h\0\0\0\x05\0\0\0\x06\x02"),
    ("new pid", b"Xw\x03a@h\0\0\0\x05\0\0\0\x06\xff\xff\xff\xfe"),
    ("new pid with a latin1 node", b"Xd\0\x03\xe9@h\0\0\0\x05\0\0\0\x06\0\0\0\0"),
    ("port", b"fw\x03a@h\0\0\0\x05\x02"),
    ("new port", b"Yw\x03a@h\0\0\0\x05\0\0\0\x09"),
    ("v4 port", b"xw\x03a@h\x80\0\0\0\0\0\0\x05\0\0\0\x09"),
    ("reference", b"ew\x03a@h\0\0\0\x05\x02"),
    ("new reference", b"r\0\x02w\x03a@h\x02\0\0\0\x05\0\0\0\x06"),
    ("newer reference", b"Z\0\x03w\x03a@h\0\0\0\x09\0\0\0\x01\0\0\0\x02\xff\xff\xff\xff"),
    ("newer reference of five words", b"Z\0\x05w\x03a@h\0\0\0\x09" + bytes(range(20))),
    ("export", b"qw\x05listsw\x03mapa\x02"),
    ("fun", writer.body(oracle.Fun("m", 2, bytes(range(16)), 3, 4, 5, PID, (oracle.Int(1), ATOM)))),
    ("remote pid, list", b"l\0\0\0\x01w\x03a@hm\0\0\0\x0b#Pid<0.9.0>"),
    ("remote reference, list", b"l\0\0\0\x01w\x03a@hm\0\0\0\x0d#Ref<0.1.2.3>"),
    ("remote name, list", b"l\0\0\0\x01w\x03a@hm\0\0\0\x08#Namefoo"),
    ("remote pid, tuple", b"h\x03w\x13partisan_remote_refw\x03a@hh\x02w\x0bencoded_pidk\0\x07<0.9.0>"),
    ("remote reference, tuple", b"h\x03w\x13partisan_remote_refw\x03a@hh\x02w\x0bencoded_refk\0\x0d#Ref<0.1.2.3>"),
]


def compressed(body: bytes) -> bytes:
    return b"\x83P" + len(body).to_bytes(4) + zlib.compress(body)


def written() -> list[tuple[str, bytes]]:
    """Return the cases above, whole, and compressed ones."""
    cases = [(name, b"\x83" + body) for name, body in BODIES]
    return [*cases, ("compressed", compressed(b"k\0\xff" + b"y" * 255)), ("compressed nil", compressed(b"j"))]


def rows(name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a vector file; its README tells their keys."""
    with (VECTORS / name).open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def recorded_terms() -> list[tuple[str, bytes]]:
    """Return what two releases of OTP wrote, as (kind, octets)."""
    names = ("terms-otp25.jsonl", "terms-otp28.jsonl")
    return [
        (f"otp{row['otp']} {row['kind']} {row['term'][:24]}", bytes.fromhex(row["hex"])) for name in names for row in rows(name)
    ]
