"""The term codec: a Codec is a set of options with `encode` and `decode` as methods."""

from typing import Any, Literal, Self, final

from typing_extensions import Buffer

from .identities import Atom

@final
class Codec:
    """How Python values and external terms stand for each other, and within which limits. Immutable.

    Args:
        none: the atom that None stands for.
        strings: what a str is written as: a UTF-8 "binary", a "list" of code points or an "atom".
        binaries: what a binary decodes to: "bytes", or "str" where it is UTF-8.
        remote_refs: partisan's wire: remote references in list and tuple form are Pid and Reference.
        encode_refs: with remote_refs, how a Pid or Reference is written that did not come as a remote reference.
        max_depth: levels of containers.
        max_items: items of all containers of one term; a pair of a map counts two.
        max_octets: of one encoded term.
        max_inflated: octets that a compressed term may inflate to.
        home, creation: the Atom of a node whose pids, references and ports have creation 0 here and this one on the
            wire; others of that node keep theirs.

    Raises:
        ValueError: an option has no such value.
    """

    def __new__(
        cls,
        *,
        none: Literal["undefined", "nil"] = "undefined",
        strings: Literal["binary", "list", "atom"] = "binary",
        binaries: Literal["bytes", "str"] = "bytes",
        remote_refs: bool = False,
        encode_refs: Literal["list", "tuple"] | None = "list",
        max_depth: int = 1024,
        max_items: int = 16_777_216,
        max_octets: int = 268_435_456,
        max_inflated: int = 268_435_456,
        home: Atom | None = None,
        creation: int = 0,
    ) -> Self: ...
    @property
    def settings(self) -> dict[str, Any]:
        """The options as a new dict."""
    def encode(self, term: object, /) -> bytes:
        """Write the term, behind the version octet.

        Raises:
            EncodeError: a value has no external form, or a limit is passed.
        """
    def encode_iovec(self, term: object, /) -> list[bytes]:
        """Write the term as a list of bytes to be sent one after the other; large bytes in it are not copied."""
    def encode_compressed(self, term: object, level: int = 6) -> bytes:
        """Write the term as COMPRESSED at a zlib level of 0 to 9, or plainly when that is not longer, as OTP does."""
    def decode(self, data: Buffer, /) -> Any:
        """Read the one term that `data` is, version octet included.

        Raises:
            Truncated: the octets are the beginning of a term.
            DecodeError: they are no term, a limit is passed, or octets follow the term.
        """
    def decode_prefix(self, data: Buffer, /) -> tuple[Any, int]:
        """Read the term at the front of `data`: (term, octets used)."""
    def decode_dist(self, data: Buffer, atoms: tuple[Any, ...]) -> tuple[Any, int]:
        """Read a term without version octet whose ATOM_CACHE_REF index `atoms`: (term, octets used)."""
    def __reduce__(self) -> tuple[Any, ...]: ...

def encode(term: object, *, compressed: int = 0, codec: Codec | None = None) -> bytes:
    """Write the term, version octet included; COMPRESSED at that zlib level when it is not 0 and pays."""

def encode_iovec(term: object, *, codec: Codec | None = None) -> list[bytes]:
    """Write the term as a list of bytes; bytes objects of 64 KiB or more are not copied."""

def decode(data: Buffer, *, codec: Codec | None = None) -> Any:
    """Read the one term that `data` is; see Codec.decode."""

def decode_prefix(data: Buffer, *, codec: Codec | None = None) -> tuple[Any, int]:
    """Read the term at the front of `data`: (term, octets used)."""

def exactly_equal(a: object, b: object) -> bool:
    """Whether two terms are `=:=` in Erlang."""
