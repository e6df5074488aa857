"""Partisan's remote references, which name a process or a reference of any node, in their three formats.

    improper_list   [Node | <<"#Pid<0.9.0>">>], [Node | <<"#Ref<0.3.2.1>">>], [Node | <<"#Namefoo">>]
    tuple           {partisan_remote_ref, Node, {encoded_pid, "<0.9.0>"}}, {encoded_ref, "#Ref<0.3.2.1>"},
                    {encoded_name, "foo"}
    uri             <<"partisan:pid:Node:0.9.0">>, <<"partisan:ref:Node:0.3.2.1">>, <<"partisan:name:Node:foo">>

The codec of a node's wire makes a `Pid` or `Reference` of the first two itself, and writes them; here are names, URIs,
and what came through another codec. Numbers are decimal, without leading zeros, below 2^32. A URI that is shorter than
65 octets may be padded to that: a colon, then octets 0x19.

Names are Latin-1 where they can be, as real nodes write them, but for those whose octets would be another name in
UTF-8; they are read as UTF-8, else as Latin-1.

Source: section 3 of the partisan 5.0.3 reference.
"""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

from partisan._core.identities import Atom, Pid, Reference
from partisan._core.terms import ImproperList
from partisan.errors import BadRef

__all__ = ["FORMATS", "Format", "Named", "Place", "encoded", "place_of", "read", "read_target", "write"]

Format = Literal["improper_list", "tuple", "uri"]
Place: TypeAlias = Pid | tuple[str, str]
"""A process: a pid, or (name, node)."""
Named: TypeAlias = Pid | Reference | tuple[str, str]
"""What a remote reference names."""

FORMATS: tuple[Format, ...] = ("improper_list", "tuple", "uri")
MAX_CHARACTERS = 255
PADDED_OCTETS = 65
PAD = b"\x19"

_REMOTE_REF = Atom("partisan_remote_ref")
_ENCODED = {"pid": Atom("encoded_pid"), "ref": Atom("encoded_ref"), "name": Atom("encoded_name")}
_KINDS = {atom: kind for kind, atom in _ENCODED.items()}
_IN_LIST = {"pid": "#Pid<", "ref": "#Ref<", "name": "#Name"}
_IN_TUPLE = {"pid": "<", "ref": "#Ref<", "name": ""}
_NUMBERS = re.compile(r"0(?:\.(?:0|[1-9][0-9]{0,9})){1,5}")
_FORMS: dict[Format, Literal["list", "tuple"]] = {"improper_list": "list", "tuple": "tuple"}


def read(term: object) -> Named | None:
    """Return what a remote reference of any format names, None if the term is none. Never fails."""
    match term:
        case Pid() | Reference():
            return term
        case ImproperList(items=(Atom(node),), tail=bytes() | str() as tail):
            text = tail if isinstance(tail, str) else _text(tail)
            for kind, prefix in _IN_LIST.items():
                if text.startswith(prefix):
                    return _read(kind, node, _bare(kind, text[len(prefix) :]), "list")
        case (head, Atom(node), inner) if head is _REMOTE_REF:
            return _read_encoded(inner, node)
        case bytes():
            return _read_uri(term)
        case str() if term.startswith("partisan:"):  # of a codec that makes str of binaries
            return _read_uri(term.encode(errors="replace"))
    return None


def place_of(term: object) -> Place | None:
    """Return the process that a remote reference of any format names, None if it names none."""
    found = read(term)
    return None if isinstance(found, Reference) else found


def read_target(target: object, node: str) -> Place | None:
    """Return the process that the target of a message names: as `place_of`, or `{encoded_...}` of that node."""
    if type(target) is tuple and len(target) == 2:
        found = _read_encoded(target, node)
        return None if isinstance(found, Reference) else found
    return place_of(target)


def write(what: Named, format: Format, *, padding: bool = False) -> Any:
    """Return the remote reference of a pid, a reference or (name, node), as a term for the codec of a node's wire.

    Args:
        padding: a URI is padded to 65 octets if it is shorter.
    Raises:
        BadRef: there is no such format, or the name or its node cannot be written in it.
    """
    if format not in FORMATS:
        raise BadRef(format, f"is no format: {', '.join(FORMATS)}")
    node = what[1] if isinstance(what, tuple) else what.node
    if not 0 < len(node) <= MAX_CHARACTERS or not _is_unicode(node):
        raise BadRef(what, f"has a node whose name is no text of 1 to {MAX_CHARACTERS} characters")
    if isinstance(what, tuple) and (len(what[0]) > MAX_CHARACTERS or not _is_unicode(what[0])):
        raise BadRef(what, f"has a name that is no text of at most {MAX_CHARACTERS} characters")
    if format == "uri":
        return _write_uri(what, node, padding)
    if isinstance(what, Pid):
        return Pid(node, what.id, what.serial, 0, _FORMS[format])
    if isinstance(what, Reference):
        return Reference(node, what.words, 0, _FORMS[format])
    if format == "improper_list":
        return ImproperList([Atom(node)], _IN_LIST["name"].encode() + _octets(what[0]))
    return _REMOTE_REF, Atom(node), encoded(what)


def encoded(what: Named) -> tuple[Atom, list[int]]:
    """Return `{encoded_pid, "<0.9.0>"}`, `{encoded_ref, Text}` or `{encoded_name, Text}`: the reference at its node."""
    if not isinstance(what, tuple):
        return _ENCODED["pid" if isinstance(what, Pid) else "ref"], list(what.text.encode())
    name = what[0]
    return _ENCODED["name"], list(_octets(name)) if max(name, default="") < "\u0100" else [ord(each) for each in name]


def _write_uri(what: Named, node: str, padding: bool) -> bytes:
    if isinstance(what, tuple):
        kind, text = "name", what[0]
    else:
        kind = "pid" if isinstance(what, Pid) else "ref"
        text = what.text.partition("<")[2].rstrip(">")
    if any(each in node + text for each in ":\x19"):
        raise BadRef(what, "cannot be a URI, as a colon or the character 0x19 in it would end it")
    uri = f"partisan:{kind}:{node}:{text}".encode()
    return (uri + b":").ljust(PADDED_OCTETS, PAD) if padding and len(uri) < PADDED_OCTETS else uri


def _read_uri(uri: bytes) -> Named | None:
    """Read `partisan:Kind:Node:Text`; what is behind a further colon, or behind 0x19, means nothing."""
    if not uri.startswith(b"partisan:"):
        return None
    fields = uri.partition(PAD)[0].split(b":", 4)
    if len(fields) < 4:
        return None
    return _read(_text(fields[1]), _text(fields[2]), _text(fields[3]), None)


def _read_encoded(inner: object, node: str) -> Named | None:
    """Read `{encoded_pid, "<0.9.0>"}` and its like."""
    if type(inner) is not tuple or len(inner) != 2 or type(inner[0]) is not Atom or type(inner[1]) is not list:
        return None
    kind, text = _KINDS.get(inner[0]), _characters(inner[1])
    if kind is None or text is None or not text.startswith(_IN_TUPLE[kind]):
        return None
    return _read(kind, node, _bare(kind, text[len(_IN_TUPLE[kind]) :]), "tuple")


def _bare(kind: str, text: str) -> str:
    """The text without the bracket that closes all but names; without one, no text that can be read."""
    if kind == "name":
        return text
    return text[:-1] if text.endswith(">") else ""


def _read(kind: str, node: str, text: str, form: Literal["list", "tuple"] | None) -> Named | None:
    if not 0 < len(node) <= MAX_CHARACTERS or not _is_unicode(node):
        return None
    if kind == "name":
        return (text, node) if len(text) <= MAX_CHARACTERS and _is_unicode(text) else None
    if kind not in ("pid", "ref") or not _NUMBERS.fullmatch(text):
        return None
    _, *numbers = map(int, text.split("."))
    if max(numbers) >= 1 << 32:
        return None
    if kind == "ref":
        return Reference(node, reversed(numbers), 0, form or "ref")
    return Pid(node, numbers[0], numbers[1], 0, form or "pid") if len(numbers) == 2 else None


def _is_unicode(text: str) -> bool:
    """Whether it can be written: it has no halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _octets(name: str) -> bytes:
    """The octets of a name that `_text` reads as it."""
    try:
        octets = name.encode("latin-1")
    except UnicodeEncodeError:
        return name.encode()
    return octets if _text(octets) == name else name.encode()


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _characters(items: list[Any]) -> str | None:
    """The text of a list of octets or of characters."""
    if not all(type(each) is int and 0 <= each < 0x110000 for each in items):
        return None
    return _text(bytes(items)) if max(items, default=0) < 256 else "".join(map(chr, items))
