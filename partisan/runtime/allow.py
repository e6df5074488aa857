"""What other nodes may have done at this one: the one allow-list, and the functions that it names.

An entry of the option `allow` is `exit`, `spawn`, `sys`, `module:function` or `module:*`. A module that is named there
is imported when its first function is asked for; nothing that another node says is ever imported otherwise. `module:*`
are the functions that the module itself defines and does not hide behind an underscore, not those that it imports.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeVar, overload

from partisan.errors import NotAllowed, UndefinedFunction

log = logging.getLogger(__name__)

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)

_declared: dict[str, Function] = {}
"""`module:function` -> function: the code that this program exposes on each of its nodes, as its modules are."""


def name_for(function: Function, name: str | None = None) -> str:
    """The `module:function` under which a function is exposed. Raises ValueError for a name of another form."""
    if not callable(function):
        raise TypeError(f"{function!r} is no function")
    if name is None:
        name = f"{function.__module__}:{function.__qualname__}"
    module, colon, rest = name.partition(":")
    if not (module and colon and rest) or ":" in rest:
        raise ValueError(f"{name!r} is not of the form module:function")
    return name


@overload
def expose(function: F) -> F: ...


@overload
def expose(function: str) -> Callable[[F], F]: ...


def expose(function: Any) -> Any:
    """Let other nodes call the function, on every node of this program: `@expose`, or `@expose("lists:reverse")`.

    Its name is `module:function` of Python unless another is given. What is exposed for one node only is given to
    `Node.expose`.
    """
    if isinstance(function, str):

        def named(decorated: F) -> F:
            _declared[name_for(decorated, function)] = decorated
            return decorated

        return named
    _declared[name_for(function)] = function
    return function


class AllowList:
    """What other nodes may have done at one node.

    Args:
        node: its name, for errors.
        entries: callable() -> the option `allow` as it is now.
    """

    def __init__(self, node: str, entries: Callable[[], tuple[str, ...]]) -> None:
        self._node = node
        self._entries = entries
        self._exposed: dict[str, Function] = {}

    def expose(self, name: str, function: Function) -> None:
        """Open a function under this name."""
        self._exposed[name] = function

    def permits(self, what: str) -> bool:
        """Whether `exit`, `spawn` or `sys` is open."""
        return what in self._entries()

    def check(self, what: str) -> None:
        """Raise NotAllowed unless it is open."""
        if not self.permits(what):
            raise NotAllowed(self._node, what)

    def find(self, module: str, name: str, arity: int) -> Function:
        """The function that is meant.

        Raises:
            NotAllowed: it is not open; whether it exists is not told.
            UndefinedFunction: it would be, but does not exist, or does not take so many arguments.
        """
        whole = f"{module}:{name}"
        shown = f"{whole}/{arity}"
        function = self._exposed.get(whole) or _declared.get(whole)
        if function is None:
            entries = self._entries()
            if whole in entries:
                function = _imported(module, name)
            elif f"{module}:*" in entries:
                function = _public(module, name)
            else:
                raise NotAllowed(self._node, shown)
        if function is None or not takes(function, arity):
            raise UndefinedFunction(shown)
        return function


def takes(function: Function, arity: int) -> bool:
    """Whether the function can be called with so many arguments; True where Python cannot tell."""
    try:
        inspect.signature(function).bind(*[None] * arity)
    except TypeError:
        return False
    except ValueError:  # some functions in C have no signature
        return True
    return True


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None
    except Exception:
        log.exception("the module %s, which `allow` names, cannot be imported", name)
        return None


def _imported(module: str, name: str) -> Function | None:
    found = _module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if callable(found) else None


def _public(module: str, name: str) -> Function | None:
    """A function that the module defines itself, and does not hide."""
    found = _module(module)
    if found is None or name.startswith("_"):
        return None
    function = vars(found).get(name)
    own = getattr(function, "__module__", None) == found.__name__
    return function if own and inspect.isroutine(function) else None
