"""What nodes tell each other about their processes: control messages.

Each is a tuple that begins with an operation's number; some have a payload behind it. Those with a trace token
(sequential tracing of Erlang) are read as those without, and never sent.

Source: erl_dist_protocol of OTP, and nodes of OTP 25 and 28.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

from partisan.errors import RemoteProtocolError
from partisan.etf import Atom, Pid, Reference


class Op(IntEnum):
    """The numbers of operations."""

    LINK = 1
    SEND = 2
    EXIT = 3
    UNLINK = 4
    NODE_LINK = 5
    REG_SEND = 6
    GROUP_LEADER = 7
    EXIT2 = 8
    SEND_TT = 12
    EXIT_TT = 13
    REG_SEND_TT = 16
    EXIT2_TT = 18
    MONITOR_P = 19
    DEMONITOR_P = 20
    MONITOR_P_EXIT = 21
    SEND_SENDER = 22
    SEND_SENDER_TT = 23
    PAYLOAD_EXIT = 24
    PAYLOAD_EXIT_TT = 25
    PAYLOAD_EXIT2 = 26
    PAYLOAD_EXIT2_TT = 27
    PAYLOAD_MONITOR_P_EXIT = 28
    SPAWN_REQUEST = 29
    SPAWN_REQUEST_TT = 30
    SPAWN_REPLY = 31
    SPAWN_REPLY_TT = 32
    ALIAS_SEND = 33
    ALIAS_SEND_TT = 34
    UNLINK_ID = 35
    UNLINK_ID_ACK = 36


Item: TypeAlias = Pid | Atom
"""A process by its pid or by its registered name."""

NOTHING = Atom("")
LINKED, MONITORED = 1, 2  # flags of SpawnReply


@dataclass(frozen=True, slots=True)
class Message:
    """A message to a pid, a name, or an alias.

    Attributes:
        sender: whose it is; None if it is not said.
    """

    sender: Pid | None
    target: Pid | Atom | Reference
    message: Any


@dataclass(frozen=True, slots=True)
class Link:
    """The two processes end together."""

    sender: Pid
    target: Pid


@dataclass(frozen=True, slots=True)
class Unlink:
    """They do no longer; `UnlinkAck` with the same id answers."""

    id: int
    sender: Pid
    target: Pid


@dataclass(frozen=True, slots=True)
class UnlinkAck:
    """What was sent to the unlinked process before this came before it."""

    id: int
    sender: Pid
    target: Pid


@dataclass(frozen=True, slots=True)
class Exit:
    """A process has ended, or asks another to.

    Attributes:
        linked: along a link: the sender has ended. Else it was `exit/2`.
    """

    sender: Pid
    target: Pid
    reason: Any
    linked: bool


@dataclass(frozen=True, slots=True)
class Monitor:
    """Tell the sender when the process ends."""

    sender: Pid
    item: Item
    reference: Reference


@dataclass(frozen=True, slots=True)
class Demonitor:
    """No longer."""

    sender: Pid
    item: Item
    reference: Reference


@dataclass(frozen=True, slots=True)
class Down:
    """A monitored process has ended."""

    item: Item
    target: Pid
    reference: Reference
    reason: Any


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a process that calls a function.

    Attributes:
        request: `SpawnReply` has the same, and a monitor asked for is known by it.
        options: `link`, `monitor`, and others, as terms.
    """

    request: Reference
    sender: Pid
    group_leader: Pid
    module: Atom
    function: Atom
    arity: int
    arguments: list[Any]
    options: list[Any]


@dataclass(frozen=True, slots=True)
class SpawnReply:
    """The process that was asked for, or why there is none.

    Attributes:
        flags: LINKED, MONITORED: what was done of that.
    """

    request: Reference
    target: Pid
    flags: int
    result: Pid | Atom


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something that means nothing here: a group leader, a linked node, tracing."""


Control: TypeAlias = (
    Message | Link | Unlink | UnlinkAck | Exit | Monitor | Demonitor | Down | Spawn | SpawnReply | Ignored
)


class BadControl(RemoteProtocolError):
    """A control message that is none; the connection is closed, as OTP does."""


def read(term: object, payload: Any = None, *, has_payload: bool = False) -> Control:
    """Read a control message. Raises BadControl."""
    if type(term) is not tuple or not term or type(term[0]) is not int:
        raise BadControl(f"{_shown(term)} is no control message")
    reader = _READERS.get(term[0])
    if reader is None:
        raise BadControl(f"{_shown(term)}: there is no operation {term[0]}")
    size, wants, read_it = reader
    if len(term) != size:
        raise BadControl(f"{_shown(term)}: operation {term[0]} has {size} elements")
    if wants != has_payload:
        raise BadControl(f"{_shown(term)}: operation {term[0]} {'lacks' if wants else 'has'} a payload")
    return read_it(term, payload)


def _shown(term: object) -> str:
    text = repr(term)
    return text if len(text) <= 120 else text[:120] + "..."


def _pid(term: tuple[Any, ...], index: int) -> Pid:
    if type(term[index]) is not Pid:
        raise BadControl(f"{_shown(term)}: element {index} is no pid")
    return term[index]  # type: ignore[no-any-return]


def _item(term: tuple[Any, ...], index: int) -> Item:
    if type(term[index]) is Atom:
        return term[index]  # type: ignore[no-any-return]
    return _pid(term, index)


def _reference(term: tuple[Any, ...], index: int) -> Reference:
    if type(term[index]) is not Reference:
        raise BadControl(f"{_shown(term)}: element {index} is no reference")
    return term[index]  # type: ignore[no-any-return]


def _unlink_id(term: tuple[Any, ...]) -> int:
    if type(term[1]) is not int or not 0 < term[1] < 1 << 64:
        raise BadControl(f"{_shown(term)}: no id of an unlink")
    return term[1]


def _read_send(term: tuple[Any, ...], payload: Any) -> Message:
    return Message(None, _pid(term, 2), payload)


def _read_reg_send(term: tuple[Any, ...], payload: Any) -> Message:
    if type(term[3]) is not Atom:
        raise BadControl(f"{_shown(term)}: element 3 is no atom")
    return Message(_pid(term, 1), term[3], payload)


def _read_send_sender(term: tuple[Any, ...], payload: Any) -> Message:
    return Message(_pid(term, 1), _pid(term, 2), payload)


def _read_alias_send(term: tuple[Any, ...], payload: Any) -> Message:
    return Message(_pid(term, 1), _reference(term, 2), payload)


def _read_exit(linked: bool, reason_at: int | None) -> Callable[[tuple[Any, ...], Any], Exit]:
    def read_it(term: tuple[Any, ...], payload: Any) -> Exit:
        return Exit(_pid(term, 1), _pid(term, 2), payload if reason_at is None else term[reason_at], linked)

    return read_it


def _read_spawn(term: tuple[Any, ...], payload: Any) -> Spawn:
    match term[4]:
        case (Atom() as module, Atom() as function, int(arity)) if 0 <= arity < 256:
            pass
        case _:
            raise BadControl(f"{_shown(term)}: element 4 is no {{Module, Function, Arity}}")
    if type(payload) is not list or len(payload) != arity or type(term[5]) is not list:
        raise BadControl(f"{_shown(term)}: a spawn without a list of {arity} arguments, or of options")
    request, sender, leader = _reference(term, 1), _pid(term, 2), _pid(term, 3)
    return Spawn(request, sender, leader, module, function, arity, payload, term[5])


def _read_spawn_reply(term: tuple[Any, ...], payload: Any) -> SpawnReply:
    if type(term[3]) is not int or term[3] < 0:
        raise BadControl(f"{_shown(term)}: element 3 is no flags")
    return SpawnReply(_reference(term, 1), _pid(term, 2), term[3], _item(term, 4))


def _ignored(term: tuple[Any, ...], payload: Any) -> Ignored:
    return Ignored()


_Reader: TypeAlias = tuple[int, bool, Callable[[tuple[Any, ...], Any], Control]]
"""Elements, whether a payload follows, and what reads it."""

_READERS: dict[int, _Reader] = {
    Op.LINK: (3, False, lambda term, _: Link(_pid(term, 1), _pid(term, 2))),
    Op.SEND: (3, True, _read_send),
    Op.SEND_TT: (4, True, _read_send),
    Op.EXIT: (4, False, _read_exit(True, 3)),
    Op.EXIT_TT: (5, False, _read_exit(True, 4)),
    Op.UNLINK: (3, False, _ignored),
    Op.NODE_LINK: (1, False, _ignored),
    Op.REG_SEND: (4, True, _read_reg_send),
    Op.REG_SEND_TT: (5, True, _read_reg_send),
    Op.GROUP_LEADER: (3, False, _ignored),
    Op.EXIT2: (4, False, _read_exit(False, 3)),
    Op.EXIT2_TT: (5, False, _read_exit(False, 4)),
    Op.MONITOR_P: (4, False, lambda term, _: Monitor(_pid(term, 1), _item(term, 2), _reference(term, 3))),
    Op.DEMONITOR_P: (4, False, lambda term, _: Demonitor(_pid(term, 1), _item(term, 2), _reference(term, 3))),
    Op.MONITOR_P_EXIT: (
        5,
        False,
        lambda term, _: Down(_item(term, 1), _pid(term, 2), _reference(term, 3), term[4]),
    ),
    Op.SEND_SENDER: (3, True, _read_send_sender),
    Op.SEND_SENDER_TT: (4, True, _read_send_sender),
    Op.PAYLOAD_EXIT: (3, True, _read_exit(True, None)),
    Op.PAYLOAD_EXIT_TT: (4, True, _read_exit(True, None)),
    Op.PAYLOAD_EXIT2: (3, True, _read_exit(False, None)),
    Op.PAYLOAD_EXIT2_TT: (4, True, _read_exit(False, None)),
    Op.PAYLOAD_MONITOR_P_EXIT: (
        4,
        True,
        lambda term, payload: Down(_item(term, 1), _pid(term, 2), _reference(term, 3), payload),
    ),
    Op.SPAWN_REQUEST: (6, True, _read_spawn),
    Op.SPAWN_REQUEST_TT: (7, True, _read_spawn),
    Op.SPAWN_REPLY: (5, False, _read_spawn_reply),
    Op.SPAWN_REPLY_TT: (6, False, _read_spawn_reply),
    Op.ALIAS_SEND: (3, True, _read_alias_send),
    Op.ALIAS_SEND_TT: (4, True, _read_alias_send),
    Op.UNLINK_ID: (4, False, lambda term, _: Unlink(_unlink_id(term), _pid(term, 2), _pid(term, 3))),
    Op.UNLINK_ID_ACK: (4, False, lambda term, _: UnlinkAck(_unlink_id(term), _pid(term, 2), _pid(term, 3))),
}


NO_PAYLOAD = object()


def written(control: Control, *, payloads: bool = True) -> tuple[tuple[Any, ...], Any]:
    """Return the tuple and the payload (NO_PAYLOAD: there is none) of a control message.

    Args:
        payloads: the peer takes reasons of ends as payloads (`Flag.EXIT_PAYLOAD`); messages always are.
    """
    match control:
        case Message(sender, target, message):
            return _written_message(sender, target), message
        case Link(sender, target):
            return (int(Op.LINK), sender, target), NO_PAYLOAD
        case Unlink(id, sender, target):
            return (int(Op.UNLINK_ID), id, sender, target), NO_PAYLOAD
        case UnlinkAck(id, sender, target):
            return (int(Op.UNLINK_ID_ACK), id, sender, target), NO_PAYLOAD
        case Exit(sender, target, reason, linked):
            if payloads:
                return (int(Op.PAYLOAD_EXIT if linked else Op.PAYLOAD_EXIT2), sender, target), reason
            return (int(Op.EXIT if linked else Op.EXIT2), sender, target, reason), NO_PAYLOAD
        case Monitor(sender, item, reference):
            return (int(Op.MONITOR_P), sender, item, reference), NO_PAYLOAD
        case Demonitor(sender, item, reference):
            return (int(Op.DEMONITOR_P), sender, item, reference), NO_PAYLOAD
        case Down(item, target, reference, reason):
            if payloads:
                return (int(Op.PAYLOAD_MONITOR_P_EXIT), item, target, reference), reason
            return (int(Op.MONITOR_P_EXIT), item, target, reference, reason), NO_PAYLOAD
        case Spawn():
            called = (control.module, control.function, control.arity)
            head = (int(Op.SPAWN_REQUEST), control.request, control.sender, control.group_leader, called)
            return (*head, control.options), control.arguments
        case SpawnReply(request, target, flags, result):
            return (int(Op.SPAWN_REPLY), request, target, flags, result), NO_PAYLOAD
    raise TypeError(f"{control!r} is not sent")


def _written_message(sender: Pid | None, target: Pid | Atom | Reference) -> tuple[Any, ...]:
    if isinstance(target, Pid):
        return (int(Op.SEND), NOTHING, target) if sender is None else (int(Op.SEND_SENDER), sender, target)
    if sender is None:
        raise TypeError(f"a message to {target!r} says whose it is")
    if isinstance(target, Reference):
        return int(Op.ALIAS_SEND), sender, target
    return int(Op.REG_SEND), sender, NOTHING, target
