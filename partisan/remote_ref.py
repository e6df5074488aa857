"""References to the processes, names and references of any node, as `partisan_remote_ref` in Erlang.

    format            as a value here
    improper_list     a pid or a reference; of a name `ImproperList([Atom(node)], b"#Namefoo")`
    tuple             a pid or a reference; of a name `(partisan_remote_ref, Atom(node), (encoded_name, [...]))`
    uri               `b"partisan:pid:a@127.0.0.1:0.9.0"`, as for references and names

A `Pid` or `Reference` is a remote reference itself: it knows its node, and its `form` is how it is written to others.
All three formats are read alike wherever a process is meant: `partisan.send`, `call` and `monitor` take what is made
here. The current node is that of the process, or of `async with Node(...)`.
"""

from __future__ import annotations

from typing import Any

from partisan._core import references
from partisan._core.references import Format, Named
from partisan.errors import BadRef, EncodeError
from partisan.etf import Atom, Pid, Reference
from partisan.runtime.current import current
from partisan.runtime.current import node as current_node

__all__ = [
    "Format",
    "from_term",
    "is_identical",
    "is_local",
    "is_name",
    "is_pid",
    "is_reference",
    "node",
    "nodestring",
    "target",
    "to_name",
    "to_pid",
    "to_pid_or_name",
    "to_reference",
    "to_term",
]


def from_term(
    term: object, node: str | Atom | None = None, *, format: Format | None = None, padding: bool | None = None
) -> Any:
    """Make a remote reference.

    Args:
        term: a pid, a reference, a name, (name, node), or a remote reference of another format.
        node: instead of the term's; of a name alone the current node's.
        format: improper_list, tuple or uri; the current node's `remote_ref_format` if not given.
        padding: whether a URI is made at least 65 octets long; as the current node's `remote_ref_uri_padding` says if
            not given.
    Raises:
        BadRef: the term is none of these, or the format cannot hold it: in a URI no name, nor that of its node, has a
            colon.
    """
    what = _named(term, None if node is None else _text(node))
    here = current.get(None)
    if format is None:
        format = current_node().config.remote_ref_format
    if padding is None:
        padding = here is not None and here.config.remote_ref_uri_padding
    return references.write(what, format, padding=padding)


def to_term(ref: object) -> Pid | Reference | str:
    """The pid, the reference or the name of the current node that it refers to. Raises BadRef."""
    found = _read(ref)
    here = current_node()
    home = found[1] if isinstance(found, tuple) else found.node
    if home != here.name:
        raise BadRef(ref, f"is of {home}, and this node is {here.name}")
    if isinstance(found, tuple):
        return found[0]
    if isinstance(found, Reference):
        return Reference(home, found.words)
    process = here.scheduler.find(found)
    return Pid(home, found.id, found.serial) if process is None else process.pid


def to_pid(ref: object) -> Pid:
    """The pid of the current node that it refers to; whether the process lives is not asked. Raises BadRef."""
    found = to_term(ref)
    if not isinstance(found, Pid):
        raise BadRef(ref, "does not refer to a pid")
    return found


def to_name(ref: object) -> str:
    """The name of the current node that it refers to; whether a process has it is not asked. Raises BadRef."""
    found = to_term(ref)
    if not isinstance(found, str):
        raise BadRef(ref, "does not refer to a name")
    return found


def to_pid_or_name(ref: object) -> Pid | str:
    """The pid or the name of the current node that it refers to. Raises BadRef."""
    found = to_term(ref)
    if isinstance(found, Reference):
        raise BadRef(ref, "refers neither to a pid nor to a name")
    return found


def to_reference(ref: object) -> Reference:
    """The reference of the current node that it refers to. Raises BadRef."""
    found = to_term(ref)
    if not isinstance(found, Reference):
        raise BadRef(ref, "does not refer to a reference")
    return found


def node(ref: object) -> Atom:
    """Its node. Raises BadRef."""
    return Atom(nodestring(ref))


def nodestring(ref: object) -> str:
    """The name of its node. Raises BadRef."""
    found = _read(ref)
    return found[1] if isinstance(found, tuple) else found.node


def target(ref: object) -> tuple[Atom, list[int]]:
    """What stands in a message to it, in every format: `{encoded_pid, "<0.9.0>"}` and its like. Raises BadRef."""
    return references.encoded(_read(ref))


def is_pid(term: object) -> bool:
    """Whether it refers to a process by its pid."""
    return isinstance(references.read(term), Pid)


def is_reference(term: object) -> bool:
    """Whether it refers to a reference."""
    return isinstance(references.read(term), Reference)


def is_name(term: object, name: str | Atom | None = None) -> bool:
    """Whether it refers to a name, or to this one."""
    found = references.read(term)
    return isinstance(found, tuple) and (name is None or found[0] == getattr(name, "name", name))


def is_local(term: object, node: str | Atom | None = None) -> bool:
    """Whether it refers to something of the current node, or of the given one; False where there is no current node."""
    found = references.read(term)
    here = current.get(None)
    home: object
    if node is not None:
        home = getattr(node, "name", node)
    elif here is not None:
        home = here.name
    else:
        return False
    return found is not None and (found[1] if isinstance(found, tuple) else found.node) == home


def is_identical(one: object, other: object) -> bool:
    """Whether both refer to the same, in whichever formats; or one to a process and one to its name, on this node."""
    first, second = references.read(one), references.read(other)
    if first is None or second is None:
        return False
    if type(first) is type(second):
        return _identity(first) == _identity(second)
    if isinstance(first, tuple):
        first, second = second, first
    if not isinstance(first, Pid) or not isinstance(second, tuple):
        return False
    here = current.get(None)
    if here is None or second[1] != here.name:
        return False
    process = here.scheduler.whereis(second[0])
    return process is not None and _identity(process.pid) == _identity(first)


def _identity(what: Named) -> tuple[object, ...]:
    """What a remote reference says: no creation."""
    match what:
        case Pid():
            return what.node, what.id, what.serial
        case Reference():
            return what.node, what.words
    return what


def _read(ref: object) -> Named:
    found = references.read(ref)
    if found is None:
        raise BadRef(ref, "is no remote reference")
    return found


def _named(term: object, node: str | None) -> Named:
    """What is to be referred to. Raises BadRef."""
    if isinstance(term, str | Atom):
        return _text(term), current_node().name if node is None else node
    found = references.read(term)
    if isinstance(found, Pid):
        return found if node is None else Pid(_home(node), found.id, found.serial)
    if isinstance(found, Reference):
        return found if node is None else Reference(_home(node), found.words)
    if found is None:
        match term:
            case (str() | Atom() as name, str() | Atom() as home):
                found = _text(name), _text(home)
            case _:
                raise BadRef(term, "is no pid, reference, name or (name, node)")
    return found if node is None else (found[0], node)


def _text(name: object) -> str:
    if isinstance(name, Atom):
        return name.name
    if not isinstance(name, str):
        raise BadRef(name, "is no name: a str or an Atom")
    return name


def _home(node: str) -> Atom:
    try:
        return Atom(node)
    except EncodeError as error:
        raise BadRef(node, f"is no name of a node: {error}") from error
