"""Ask a process and wait for its answer: what `call` of every behaviour is made of."""

from collections.abc import Coroutine, Generator, Iterable
from typing import Any

from typing_extensions import disjoint_base

from partisan.errors import Exit
from partisan.etf import Atom, ImproperList, Pid

from .process import Parked
from .requests import Request

__all__ = ["Response", "Waiting", "call", "failure", "reply", "request"]

_Target = Pid | Atom | str | tuple[str | Atom, str | Atom] | tuple[str | Atom, Any, Any] | ImproperList | bytes

@disjoint_base
class Response(Parked):
    """What awaiting gives the answer to a request."""

    def send(self, value: None) -> Any:
        """Go on, as a coroutine: so a task can be made of a call."""

    def throw(self, kind: Any, value: BaseException | None = None, traceback: Any = None) -> Any:
        """Raise at the await: the answer is not wanted any more."""

    def close(self) -> None:
        """The caller ends: the answer is not wanted any more."""

@disjoint_base
class Waiting(Parked):
    """What awaiting gives the first of some requests to have an outcome, taken out of the mailbox; None if none has."""

    def __init__(self, requests: Iterable[Request], timeout: float | None = None) -> None: ...
    def __await__(self) -> Generator[Any, Any, Request | None]: ...
    def throw(self, kind: Any, value: BaseException | None = None, traceback: Any = None) -> Any:
        """Raise at the await: the requests go on."""

    def close(self) -> None:
        """The wait is over."""

    def wanted(self, message: object) -> bool:
        """Whether a message is one of the requests."""

def failure(reason: Any, target: Any, where: Any) -> Exit:
    """The exception of a call whose callee has ended, or cannot be reached."""

def request(
    target: _Target,
    message: Any,
    *,
    label: Any = ...,
    channel: str | None = None,
    partition_key: int | None = None,
    mailed: bool = True,
) -> Request:
    """Send a request; the running process goes on meanwhile, and gets the Request as a message when it has an outcome.

    What belongs to no process, a task of one included, gets no message, nor does who asks with `mailed` false: see
    `Request.settled`. Raises Overloaded, EncodeError.
    """

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
    """Answer a request: `caller` is the `From` that came with it.

    The answer takes the channel of the request. To whom is gone, or gave no address, it is no error. If it raises, as
    EncodeError for what is no term, the request still waits: of the end of this process whoever asked is told.
    """
