"""Processes: their names, mailboxes, ends and calls."""

from __future__ import annotations

from .blame import LocalProtocolError, PartisanError


class NotInProcess(LocalProtocolError):
    """A call that needs a current process (`self()`, `receive()`) was made outside of one."""


class NameTaken(LocalProtocolError, ValueError):
    """The name is registered to another process already.

    Attributes:
        name: the name asked for.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"the name {name!r} is registered already")
        self.name = name


class SpawnRefused(PartisanError):
    """An Erlang node has not started the process that it was asked for.

    Attributes:
        node: which.
        reason: an Atom: `notsup`, `badopt`, `system_limit`, or another.
    """

    def __init__(self, node: str, reason: object) -> None:
        super().__init__(f"{node} has not started the process: {reason}")
        self.node = node
        self.reason = reason


class ReceiveTimeout(PartisanError, TimeoutError):
    """No message that matches arrived in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no matching message within {seconds} s")
        self.seconds = seconds


class Exit(PartisanError):
    """A process ends, or one that was called ended.

    Attributes:
        reason: the reason term, as in Erlang: the atom normal, shutdown, kill, or any term.
        call: (module, function, arguments) of the call that failed, or None.
    """

    def __init__(self, reason: object = None, call: tuple[object, ...] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.call = call

    @property
    def term(self) -> object:
        """The reason with which a process ends that does not catch this: with the call, if it was one."""
        return self.reason if self.call is None else (self.reason, self.call)


class NoProc(Exit):
    """The target of a call does not exist.

    Attributes:
        target: the name or pid that nobody has; None if that was not told.
    """

    def __init__(self, reason: object = None, target: object = None, call: tuple[object, ...] | None = None) -> None:
        super().__init__(reason, call)
        self.target = target

    def __str__(self) -> str:
        return super().__str__() if self.target is None else f"there is no process {self.target!r}"


class NodeDown(Exit):
    """The node of the target of a call is not connected: it is gone, or was never there."""

    @property
    def node(self) -> str | None:
        """Its name; None if the reason does not tell it."""
        match self.reason:
            case (_, named) if isinstance(name := getattr(named, "name", None), str):
                return name
        return None

    def __str__(self) -> str:
        name = self.node
        if name is None:
            return super().__str__()
        if "@" not in name:
            return f"{name!r} is no name of a node: a target is a pid, a name, or (name, node)"
        port = ", and no node's name has a port" if name.count(":") == 1 else ""
        return f"no connection to the node {name}{port}"


class CallTimeout(PartisanError, TimeoutError):
    """A call was not answered in time.

    Attributes:
        seconds: how long was waited.
        target: who was asked.
        call: (module, function, arguments).
    """

    def __init__(self, seconds: float = 0.0, target: object = None, call: tuple[object, ...] | None = None) -> None:
        super().__init__(f"{target!r} has not answered within {seconds:g} s")
        self.seconds = seconds
        self.target = target
        self.call = call


class StartFailed(PartisanError):
    """A process has not started.

    Attributes:
        reason: the reason term: with which it ended, or that it gave.
    """

    def __init__(self, reason: object) -> None:
        super().__init__(reason)
        self.reason = reason


class AlreadyStarted(StartFailed):
    """A process of that name runs already.

    Attributes:
        pid: the process that has the name.
    """

    def __init__(self, reason: object, pid: object) -> None:
        super().__init__(reason)
        self.pid = pid


class ChildError(PartisanError):
    """A supervisor does not do what it was asked to do with a child.

    Attributes:
        reason: why, as OTP's supervisor gives it: the atom not_found, running, restarting ...
        child: the id or pid that was given; None if that was not known.
    """

    text = "refused"

    def __init__(self, reason: object = None, child: object = None) -> None:
        super().__init__(reason, child)
        self.reason = reason
        self.child = child

    def __str__(self) -> str:
        return f"{self.text}: {self.reason if self.child is None else self.child!r}"


class AlreadyPresent(ChildError):
    """A child of this id is there already, and is down: `restart_child` starts it."""

    text = "a child of this id is there, and down"


class ChildNotFound(ChildError, LookupError):
    """The supervisor has no such child."""

    text = "there is no such child"


class ChildRunning(ChildError):
    """The child is up: it cannot be started, or its spec deleted."""

    text = "the child is up"


class ChildRestarting(ChildError):
    """The supervisor is starting the child again already: it cannot be started, or its spec deleted."""

    text = "the child is being started again"


class OnlyByPid(ChildError, TypeError):
    """A supervisor of strategy `simple_one_for_one` does that to no child, or only by its pid."""

    text = "a simple_one_for_one supervisor cannot do this, or by pid only"


class BadChildSpec(ChildError, ValueError):
    """A child spec, or the flags of a supervisor, are wrong: `reason` says what."""

    text = "bad spec"


class BadReturn(PartisanError):
    """A callback returned what is no control value there; the process ends with `{bad_return_value, Value}`.

    Attributes:
        callback: its name.
        value: what it returned.
        kind: what a behaviour calls it in the reason; with another than `bad_return_value` the traceback comes, too.
    """

    def __init__(self, callback: str, value: object, kind: str = "bad_return_value") -> None:
        what = "which is no control value (NoReply, Stop, Continue ...)" if kind == "bad_return_value" else f"a {kind}"
        super().__init__(f"{callback} returned {value!r}, {what}")
        self.callback = callback
        self.value = value
        self.kind = kind


class NoHandler(PartisanError, LookupError):
    """An event manager has no such handler.

    Attributes:
        handler: which was named.
    """

    def __init__(self, handler: object) -> None:
        super().__init__(f"no handler {handler!r} is installed")
        self.handler = handler


class HandlerFailed(PartisanError):
    """A handler of an event manager has failed, or does not want to be added.

    Attributes:
        reason: the reason term.
    """

    def __init__(self, reason: object) -> None:
        super().__init__(reason)
        self.reason = reason
