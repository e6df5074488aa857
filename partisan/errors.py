"""Every exception of the package, in one tree under `PartisanError`.

Facts are attributes and the message is derived from them. Each class also inherits the builtin that a newcomer would
catch. Blame has two faces (as in h11): `LocalProtocolError` means that this program misused the library,
`RemoteProtocolError` means that a peer broke the wire.
"""

from __future__ import annotations

__all__ = [
    "AckUnsupported",
    "AlreadyPresent",
    "AlreadyStarted",
    "BadChildSpec",
    "BadRef",
    "BadReturn",
    "BadRpc",
    "CallTimeout",
    "ChildError",
    "ChildNotFound",
    "ChildRestarting",
    "ChildRunning",
    "ConfigError",
    "ConnectFailed",
    "ConnectionLost",
    "DecodeError",
    "DiscoveryDisabled",
    "DiscoveryFailed",
    "DrainTimeout",
    "EncodeError",
    "EpmdError",
    "ErlangError",
    "ErpcError",
    "ErpcException",
    "ErpcNoConnection",
    "ErpcTimeout",
    "Exit",
    "FrameError",
    "HandlerFailed",
    "HandshakeError",
    "LinkUnsupported",
    "LocalProtocolError",
    "MembershipTooLarge",
    "MissingExtra",
    "NameTaken",
    "NoAvailableSlots",
    "NoHandler",
    "NoProc",
    "NodeDown",
    "NotAcknowledged",
    "NotAllowed",
    "NotConnected",
    "NotInProcess",
    "OnlyByPid",
    "Overloaded",
    "PartisanError",
    "ProtocolError",
    "ReceiveTimeout",
    "RemoteExit",
    "RemoteProtocolError",
    "RpcTimeout",
    "SpawnRefused",
    "StartFailed",
    "StateError",
    "TermError",
    "Throw",
    "Truncated",
    "Unacknowledged",
    "UndefinedFunction",
    "UnknownLabel",
    "Unsupported",
    "WrongThread",
]


class PartisanError(Exception):
    """Root of every exception that this package raises on purpose."""


class ProtocolError(PartisanError):
    """Abstract: somebody broke a protocol; see the two subclasses for whom to blame."""

    def __init__(self, *args: object) -> None:
        if type(self) is ProtocolError:
            raise TypeError("ProtocolError is abstract: raise its Local or Remote subclass")
        super().__init__(*args)


class LocalProtocolError(ProtocolError, RuntimeError):
    """This program called the library in a way or at a time that it does not allow."""


class NotInProcess(LocalProtocolError):
    """A call that needs a current process (`self()`, `receive()`) was made outside of one."""


class WrongThread(LocalProtocolError):
    """A node was touched from a thread other than its loop's; `node.threadsafe` is the door."""


class NameTaken(LocalProtocolError, ValueError):
    """The name is registered to another process already.

    Attributes:
        name: the name asked for.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"the name {name!r} is registered already")
        self.name = name


class RemoteProtocolError(ProtocolError):
    """A peer sent octets or messages that the protocol does not allow."""


class FrameError(RemoteProtocolError):
    """A frame cannot be accepted: empty, above the configured size, or no term.

    Attributes:
        reason: one of "empty", "oversized", "malformed", "truncated".
        octets: the frame's announced length, in octets.
    """

    def __init__(self, reason: str, octets: int, detail: str = "") -> None:
        super().__init__(f"{reason} frame of {octets} octets" + (f": {detail}" if detail else ""))
        self.reason = reason
        self.octets = octets


class HandshakeError(RemoteProtocolError):
    """A connection did not become usable: a wrong name, a refusal, silence, or another protocol.

    Attributes:
        reason: one of "unexpected_peer", "refused", "timeout", "malformed", "closed"; "certificate": one was missing,
            not trusted, out of date, or another node's; "tls": only one end speaks TLS, or they share no version or
            cipher; "http": that was spoken. In Erlang's distribution also "cookie": the peer does not know ours; and
            "simultaneous": both are connecting to each other, and the other connection is the one that stays.
        peer: the node that was expected or that spoke, if known.
    """

    def __init__(self, reason: str, peer: str | None = None, detail: str = "") -> None:
        who = f" with {peer}" if peer else ""
        super().__init__(f"handshake{who} failed: {reason}" + (f" ({detail})" if detail else ""))
        self.reason = reason
        self.peer = peer


class EpmdError(PartisanError, ConnectionError):
    """Erlang's port mapper daemon cannot be used.

    Attributes:
        reason: one of "unreachable", "refused" (another node has the name), "malformed", "port".
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"epmd: {detail}")
        self.reason = reason


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


class MembershipTooLarge(RemoteProtocolError):
    """A peer told a membership with more elements or tokens than this node takes (`max_members`).

    Attributes:
        found: how many.
        limit: how many are taken.
    """

    def __init__(self, found: int, limit: int, what: str = "elements") -> None:
        super().__init__(f"a membership of {found} {what} is above the limit of {limit}")
        self.found = found
        self.limit = limit


class TermError(PartisanError, ValueError):
    """A term cannot be encoded or decoded."""


class EncodeError(TermError):
    """A Python value has no external term format, or is above a limit.

    If one value inside of the term is to blame, the message shows it and says where it is: `at ['k'][1]`.
    """


class DecodeError(TermError):
    """The octets are no term, or one above a limit.

    Attributes:
        offset: where in the input, in octets from its first.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} at octet {offset}")
        self.offset = offset


class Truncated(DecodeError):
    """The octets are the beginning of a term: more are needed.

    Attributes:
        offset: where the input ended.
        need: how many more octets are needed at least.
    """

    def __init__(self, need: int, offset: int) -> None:
        super().__init__(f"truncated: at least {need} more octets are needed", offset)
        self.need = need


class BadRef(TermError):
    """A term is no remote reference, not one of the kind or node that was asked for, or cannot be made one.

    Attributes:
        term: the term.
    """

    def __init__(self, term: object, problem: str) -> None:
        shown = repr(term)
        super().__init__(f"{shown if len(shown) <= 120 else shown[:120] + '...'} {problem}")
        self.term = term


class NotConnected(PartisanError, ConnectionError):
    """No connection to the node exists.

    Attributes:
        node: the node's name.
        known: True when the node was connected before, False when it never was.
        channel: the channel that has no connection while `channel_fallback` is off; None otherwise.
        member: False when this was asked of a member, and the node is none.
    """

    def __init__(self, node: str, known: bool = False, channel: str | None = None, *, member: bool = True) -> None:
        text = f"{'no longer' if known else 'not yet'} connected to {node}" if member else f"{node} is no member"
        if channel is not None:
            text = f"no connection to {node} on channel {channel}, and channel_fallback is off"
        super().__init__(text)
        self.node = node
        self.known = known
        self.channel = channel
        self.member = member


class ConnectionLost(PartisanError, ConnectionError):
    """A connection that could carry messages was given up by this side.

    Attributes:
        reason: one of "timeout", "disconnected", "cut" (by a fault that was injected), "overloaded" (an Erlang node
            asks, and does not read the answers).
        peer: the node at its other end.
    """

    def __init__(self, reason: str, peer: str | None, detail: str = "") -> None:
        super().__init__(f"connection with {peer} given up: {reason}" + (f" ({detail})" if detail else ""))
        self.reason = reason
        self.peer = peer


class ConnectFailed(PartisanError, ConnectionError):
    """A contact could not be reached or joined before the time given.

    Attributes:
        contact: whom, as given.
    """

    def __init__(self, contact: str, detail: str) -> None:
        super().__init__(f"cannot join {contact}: {detail}")
        self.contact = contact


class DiscoveryFailed(PartisanError, LookupError):
    """A lookup of other nodes has given no answer that can be used; the membership stays as it is.

    Attributes:
        reason: one of "timeout", "unreachable" (nobody answers), "refused" (an answer that says no), "not_found" (what
            was asked for is not there), "malformed", "too_many" (more than `max_nodes`), "failed" (an exception of a
            backend).
        backend: how nodes were looked for, as `peer_discovery.type` says.
    """

    def __init__(self, backend: str, reason: str, detail: str = "") -> None:
        super().__init__(f"discovery by {backend} failed: {reason}" + (f" ({detail})" if detail else ""))
        self.backend = backend
        self.reason = reason


class DiscoveryDisabled(LocalProtocolError):
    """Other nodes cannot be looked for: discovery is not enabled."""

    def __init__(self) -> None:
        super().__init__("discovery is disabled; `enable` it, or set peer_discovery.enabled")


class MissingExtra(PartisanError, ImportError):
    """A library is not installed that only one part of this package needs.

    Attributes:
        extra: what to install: `partisan[extra]`.
    """

    def __init__(self, extra: str, purpose: str, library: str) -> None:
        super().__init__(f"{purpose} needs {library}: pip install 'partisan[{extra}]'", name=library)
        self.extra = extra


class Overloaded(PartisanError):
    """The send queue of a (peer, channel) is full, and its policy refuses more.

    Attributes:
        node: the peer.
        channel: the channel's name.
        queued_octets: how much was queued.
    """

    def __init__(self, node: str, channel: str, queued_octets: int) -> None:
        super().__init__(f"{queued_octets} octets are queued to {node} on channel {channel}")
        self.node = node
        self.channel = channel
        self.queued_octets = queued_octets


class NoAvailableSlots(PartisanError):
    """The overlay has no slots to reserve, or none left.

    Attributes:
        tag: what a slot was asked for.
    """

    def __init__(self, tag: object) -> None:
        super().__init__(f"no slot is available for {tag!r}: this overlay reserves none, or no more")
        self.tag = tag


class Unsupported(PartisanError, NotImplementedError):
    """The overlay of the node has no such thing.

    Attributes:
        overlay: as the option `peer_service_manager` names it.
    """

    def __init__(self, overlay: str, detail: str) -> None:
        super().__init__(f"{overlay}: {detail}")
        self.overlay = overlay


class StateError(PartisanError, OSError):
    """The state that a node keeps on disk cannot be used or written.

    Attributes:
        reason: one of "newer" (a later version of this package wrote it), "damaged", "foreign" (it is another node's,
            or another strategy's), "unreadable", "unwritable".
        path: the file.
    """

    def __init__(self, reason: str, path: str, detail: str = "") -> None:
        super().__init__(f"the state in {path} is {reason}" + (f": {detail}" if detail else ""))
        self.reason = reason
        self.path = path


class Unacknowledged(Overloaded):
    """So much sent to a peer waits for its acknowledgement that no more is taken; `channel` is empty.

    Attributes:
        messages: how many wait.
    """

    def __init__(self, node: str, messages: int, queued_octets: int) -> None:
        super().__init__(node, "", queued_octets)
        self.args = (f"{messages} messages to {node}, of {queued_octets} octets, wait for acknowledgement",)
        self.messages = messages


class NotAcknowledged(PartisanError):
    """A message was given up without an acknowledgement; it may have arrived.

    Attributes:
        node: to which it was sent.
        reason: "expired", or why the node will not return.
    """

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"{node} has not acknowledged a message: {reason}")
        self.node = node
        self.reason = reason


class DrainTimeout(PartisanError, TimeoutError):
    """What was sent to a peer on a channel was not taken, or not acknowledged, in time.

    Attributes:
        node: the peer.
        channel: the channel's name.
    """

    def __init__(self, node: str, channel: str, seconds: float) -> None:
        super().__init__(f"what was sent to {node} on channel {channel} still waits after {seconds} s")
        self.node = node
        self.channel = channel
        self.seconds = seconds


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
    """The node of the target of a call is gone."""

    @property
    def node(self) -> str | None:
        """Its name; None if the reason does not tell it."""
        match self.reason:
            case (_, named) if isinstance(name := getattr(named, "name", None), str):
                return name
        return None

    def __str__(self) -> str:
        return super().__str__() if self.node is None else f"the node {self.node} is gone"


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


class AckUnsupported(PartisanError, NotImplementedError):
    """A message with `ack`, or in causal order, to an Erlang node: its distribution has neither.

    Attributes:
        node: its name.
    """

    def __init__(self, node: str) -> None:
        super().__init__(
            f"{node} is connected by Erlang's distribution, which acknowledges no messages and keeps no causal order: "
            "send without ack, clock and causal_label"
        )
        self.node = node


class LinkUnsupported(PartisanError, NotImplementedError):
    """A link to a process of a node that knows no links.

    Attributes:
        node: its name.
    """

    def __init__(self, node: str) -> None:
        super().__init__(
            f"{node} has not agreed on links: they work between Python nodes, not towards a real Partisan node, which "
            "has no wire for them"
        )
        self.node = node


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


class ConfigError(PartisanError, ValueError):
    """An option is unknown or its value is wrong.

    Attributes:
        option: the option's dotted name.
    """

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"option {option}: {problem}")
        self.option = option


class UnknownLabel(ConfigError, LookupError):
    """A message was to be sent in the causal order of a label that this node does not have.

    Attributes:
        label: its name.
    """

    def __init__(self, label: str, known: tuple[str, ...]) -> None:
        known_ones = ", ".join(sorted(known)) or "none"
        super().__init__("causal_labels", f"there is no label {label!r}; there are {known_ones}")
        self.label = label
