"""Names that a registry of the caller's choice keeps: `("via", registry, name)`.

A registry is an object, or a module, with the functions that OTP asks of one: `register_name(name, pid)`, which gives
whether the name was free, `unregister_name(name)`, `whereis_name(name)`, which gives a pid or None, and
`send(name, message)`.
"""

from __future__ import annotations

from typing import Any

from partisan._core.identities import Atom, Pid

__all__ = ["is_via", "register_via", "send_via", "unregister_via", "whereis_via"]

_VIA, _YES, _UNDEFINED = Atom("via"), Atom("yes"), Atom("undefined")
_FUNCTIONS = ("register_name", "unregister_name", "whereis_name", "send")


def is_via(target: object) -> bool:
    """Whether it has the shape of such a name."""
    return type(target) is tuple and len(target) == 3 and (target[0] is _VIA or target[0] == "via")


def whereis_via(target: Any) -> Pid | None:
    """The pid under the name, or None. Raises TypeError for what is no such name."""
    registry, name = _parts(target)
    found = registry.whereis_name(name)
    if found is None or found is _UNDEFINED:
        return None
    if not isinstance(found, Pid):
        raise TypeError(f"{registry!r} has {found!r} under {name!r}, which is no pid")
    return found


def register_via(target: Any, pid: Pid) -> bool:
    """Register a process; whether the name was free. Raises TypeError."""
    registry, name = _parts(target)
    said = registry.register_name(name, pid)
    return said is True or said is _YES


def unregister_via(target: Any) -> None:
    """Take the name away. Raises TypeError."""
    registry, name = _parts(target)
    registry.unregister_name(name)


def send_via(target: Any, message: object) -> None:
    """Have the registry send a message. Raises TypeError, and whatever it does if nobody has the name."""
    registry, name = _parts(target)
    registry.send(name, message)


def _parts(target: Any) -> tuple[Any, Any]:
    """The registry and the name. It is never looked up by a name of its own: such a one may come from anywhere."""
    if not is_via(target):
        raise TypeError(
            f"{target!r} is no target: a pid, a name, (name, node), ('via', registry, name) or a remote reference"
        )
    missing = [name for name in _FUNCTIONS if not callable(getattr(target[1], name, None))]
    if missing:
        raise TypeError(f"{target[1]!r} is no registry: it has no {missing[0]}()")
    return target[1], target[2]
