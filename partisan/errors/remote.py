"""What functions that other nodes were asked to call have answered."""

from __future__ import annotations

from .blame import PartisanError
from .processes import Exit


class NotAllowed(PartisanError, PermissionError):
    """A node refuses what it was asked for: it is not on its allow-list.

    Attributes:
        node: which refused.
        what: a function as `module:function/arity`, or an entry of the list, as "spawn".
    """

    def __init__(self, node: str, what: str) -> None:
        super().__init__(f"{node} does not allow {what} from other nodes")
        self.node = node
        self.what = what


class UndefinedFunction(PartisanError, LookupError):
    """A node knows no such function, or none that takes so many arguments.

    Attributes:
        function: as `module:function/arity`.
    """

    def __init__(self, function: str) -> None:
        super().__init__(f"{function} is not defined")
        self.function = function


class ErlangError(PartisanError):
    """An exception of Erlang's class `error`; a process that does not catch it ends with its reason.

    Attributes:
        reason: the reason term.
    """

    def __init__(self, reason: object = None) -> None:
        super().__init__(reason)
        self.reason = reason


class Throw(PartisanError):
    """An exception of Erlang's class `throw`: raise it in a function that another node calls to throw a term.

    Attributes:
        value: the thrown term.
    """

    def __init__(self, value: object = None) -> None:
        super().__init__(value)
        self.value = value


class BadRpc(PartisanError):
    """What `{badrpc, Reason}` is in Erlang: an rpc gave no value.

    Attributes:
        reason: the term: that of the exception, whatever its class; `undef`, `(not_allowed, (M, F, Arity))`, `timeout`.
    """

    def __init__(self, reason: object = None) -> None:
        super().__init__(f"badrpc: {reason!r}")
        self.reason = reason


class RpcTimeout(BadRpc, TimeoutError):
    """An rpc was not answered in time."""


class RemoteExit(Exit):
    """A function that another node was asked to call has exited.

    Attributes:
        kind: "exception": it called exit; "signal": its process got an exit signal.
        inner: the reason of that; `reason` is (kind, inner).
    """

    def __init__(self, reason: object = None, call: tuple[object, ...] | None = None) -> None:
        super().__init__(reason, call)
        whole = isinstance(reason, tuple) and len(reason) == 2
        self.kind: str = getattr(reason[0], "name", "exception") if whole else "exception"  # type: ignore[index]
        self.inner: object = reason[1] if whole else reason  # type: ignore[index]


class ErpcException(ErlangError):
    """A function that another node was asked to call has failed: `(exception, inner, stacktrace)`.

    Attributes:
        inner: the reason, as `{'ValueError', <<"text">>}`, `undef` or `{not_allowed, {M, F, Arity}}`.
        stacktrace: as Erlang writes one.
    """

    def __init__(self, reason: tuple[object, object, object]) -> None:
        super().__init__(reason)
        self.inner = reason[1]
        self.stacktrace = reason[2]


class ErpcError(ErlangError):
    """An erpc operation has failed itself: `(erpc, inner)`.

    Attributes:
        inner: the atom badarg, noconnection, notsup, system_limit or timeout.
    """

    def __init__(self, reason: tuple[object, object]) -> None:
        super().__init__(reason)
        self.inner = reason[1]


class ErpcTimeout(ErpcError, TimeoutError):
    """`(erpc, timeout)`: no answer came in time; whether the function was called is not known."""


class ErpcNoConnection(ErpcError, ConnectionError):
    """`(erpc, noconnection)`: the node is not connected, or was lost before the answer."""
