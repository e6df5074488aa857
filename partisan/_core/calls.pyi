"""Ask a process and wait for its answer: what `call` of every behaviour is made of."""

from collections.abc import Coroutine
from typing import Any

from typing_extensions import disjoint_base

from partisan.etf import Atom, Pid

from .process import Parked
from .requests import Request

__all__ = ["Response", "call", "reply", "request"]

_Target = Pid | Atom | str | tuple[str | Atom, str | Atom] | tuple[str | Atom, Any, Any]

@disjoint_base
class Response(Parked):
    """What awaiting gives the answer to a request."""

    def send(self, value: None) -> Any:
        """Go on, as a coroutine: so a task can be made of a call."""

    def throw(self, kind: Any, value: BaseException | None = None, traceback: Any = None) -> Any:
        """Raise at the await: the answer is not wanted any more."""

    def close(self) -> None:
        """The caller ends: the answer is not wanted any more."""

def request(
    target: _Target, message: Any, *, label: Any = ..., channel: str | None = None, partition_key: int | None = None
) -> Request:
    """Send a request from the running process; it goes on meanwhile. Raises Overloaded, EncodeError, NotInProcess."""

def call(
    target: _Target,
    message: Any,
    *,
    timeout: float | None = 5.0,
    channel: str | None = None,
    partition_key: int | None = None,
    label: Any = ...,
    where: Any = ...,
) -> Coroutine[Any, Any, Any]:
    """Ask a process and await its answer: see `partisan.gen.call`."""

def reply(caller: tuple[Pid, Any], answer: Any) -> None:
    """Answer a request: `caller` is the `From` that came with it. To whom is gone it is no error."""
