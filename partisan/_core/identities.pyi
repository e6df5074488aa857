"""What names something: atoms, pids, references and ports. All are immutable."""

from collections.abc import Iterable
from typing import Any, Literal, Self, final

from typing_extensions import disjoint_base

# What the classes have in common; at run time these three do not exist.

class _Reduced:
    def __reduce__(self) -> tuple[Any, ...]: ...

class _Scalar(_Reduced):
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: Any) -> Self: ...

class _Identity(_Scalar):
    @property
    def node(self) -> str: ...
    @property
    def creation(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@disjoint_base
class Alias:
    """Abstract: an object of this node that stands in a term for what is written of it."""

@final
class Atom(_Scalar):
    """An Erlang atom: a name that is compared by identity."""

    __match_args__ = ("name",)
    def __new__(cls, name: str) -> Self: ...
    @property
    def name(self) -> str: ...

@final
class Pid(_Identity):
    """A process identifier: node, id, serial, creation. `form` ("pid", "list", "tuple") says how it came."""

    __match_args__ = ("node", "id", "serial", "creation")
    def __init__(
        self,
        node: str | Atom,
        id: int,
        serial: int = 0,
        creation: int = 0,
        form: Literal["pid", "list", "tuple"] = "pid",
    ) -> None: ...
    @property
    def id(self) -> int: ...
    @property
    def serial(self) -> int: ...
    @property
    def form(self) -> Literal["pid", "list", "tuple"]: ...
    @property
    def text(self) -> str:
        """`<0.id.serial>`."""

@final
class Reference(_Identity):
    """A unique reference: node, 1 to 5 words of 32 bits (the least significant first), creation."""

    __match_args__ = ("node", "words", "creation")
    def __init__(
        self,
        node: str | Atom,
        words: Iterable[int],
        creation: int = 0,
        form: Literal["ref", "list", "tuple"] = "ref",
    ) -> None: ...
    @property
    def words(self) -> tuple[int, ...]: ...
    @property
    def form(self) -> Literal["ref", "list", "tuple"]: ...
    @property
    def text(self) -> str:
        """`#Ref<0.W...>`, the most significant word first."""

@final
class Port(_Identity):
    """A port identifier: node, an id of up to 64 bits, creation."""

    __match_args__ = ("node", "id", "creation")
    def __init__(self, node: str | Atom, id: int, creation: int = 0) -> None: ...
    @property
    def id(self) -> int: ...
