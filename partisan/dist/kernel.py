"""The parts that every Erlang node expects at the other end: `net_kernel`, `rex` and `global_name_server`.

    net_adm:ping/1      asks `net_kernel` for `is_auth`
    rpc:call/4          of old asks `rex`; since OTP 23 it starts a process at us that runs `erpc:execute_call/4`
    a published node    asks `rex` for its features, and says to `global_name_server` what names it knows

Source: `net_kernel`, `rpc`, `erpc` and `global` of OTP 25 and 28, as they were seen on the wire.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from partisan.errors import NotAllowed, NotConnected, Overloaded, UndefinedFunction
from partisan.etf import Atom, Pid
from partisan.net.context import Context
from partisan.runtime.apply import (
    BADARG,
    ERROR,
    EXIT,
    RETURN,
    SIGNAL,
    THROW,
    UNDEF,
    Applied,
    Outcome,
    answer,
    outcome_of,
)
from partisan.wire.atom import MalformedMessage

if TYPE_CHECKING:
    from partisan.dist.link import DistLink

log = logging.getLogger(__name__)

CALL, CAST, REX, BADRPC, YES = map(Atom, ("call", "cast", "rex", "badrpc", "yes"))
GEN_CALL, GEN_CAST = Atom("$gen_call"), Atom("$gen_cast")
ERPC, EXECUTE_CALL, EXECUTE_CAST = map(Atom, ("erpc", "execute_call", "execute_cast"))
FEATURES = [ERPC]

EXIT_CLASS, KILLED = Atom("EXIT"), Atom("killed")


class Kernel:
    """Those parts of one node.

    Args:
        context: the node's.
        applied: runs what others ask for.
    """

    def __init__(self, context: Context, applied: Applied) -> None:
        self._context = context
        self._applied = applied
        self._send = context.router.send
        self.parts: dict[str, Callable[[Any, DistLink | None], None]] = {
            "net_kernel": self.net_kernel,
            "rex": self.rex,
            "global_name_server": self.global_name_server,
        }

    def net_kernel(self, message: Any, link: DistLink | None) -> None:
        """Say that whoever could ask may: the handshake has asked for the cookie."""
        match message:
            case (Atom("$gen_call"), (Pid() as asker, tag), (Atom("is_auth"), _)):
                self._answer(asker, (tag, YES))
            case _:
                log.debug("%s: net_kernel is told %r", self._context.node, message)

    def global_name_server(self, message: Any, link: DistLink | None) -> None:
        """Take no part in the registry of names, which a hidden node need not."""
        log.debug("%s: global_name_server is told %r", self._context.node, message)

    def rex(self, message: Any, link: DistLink | None) -> None:
        """Call functions as `rpc` did before OTP 23, and tell what we can do."""
        who = None if link is None else link.peer
        match message:
            case (
                Atom("$gen_call"),
                (Pid() as asker, tag),
                (Atom("call") | Atom("block_call"), module, function, args, _),
            ):
                self._apply(who, asker, lambda value: (tag, value), module, function, args)
            case (Pid() as asker, (Atom("call"), module, function, args, _)):
                self._apply(who, asker, lambda value: (REX, value), module, function, args)
            case (Atom("$gen_cast"), (Atom("cast"), module, function, args, _)):
                self._applied.apply(who, module, function, args, lambda outcome: None)
            case (Pid() as asker, Atom("features_request")):
                self._answer(asker, (Atom("features_reply"), Atom(self._context.node), FEATURES))
            case _:
                log.debug("%s: rex is told %r", self._context.node, message)

    def _answer(self, asker: Pid, term: object) -> None:
        """Answer, if whoever asked can be told: that it cannot is no reason to end the connection it has asked on."""
        context = self._context
        try:
            self._send(asker, term)
        except (NotConnected, Overloaded) as error:
            kind = ("unanswered", asker.node)
            context.log(log, logging.INFO, kind, "%s does not answer %s: %s", context.node, asker.node, error)

    def _apply(
        self, who: str | None, asker: Pid, dressed: Callable[[Any], Any], module: Any, function: Any, args: Any
    ) -> None:
        def told(outcome: Outcome) -> None:
            match outcome:
                case (_, (Atom("not_allowed"), _), _):  # as a function that Erlang does not have
                    outcome = (ERROR, UNDEF, [(module, function, args, [])])
            answer(lambda term: self._send(asker, term), lambda made: dressed(rpc_value(made)), outcome)

        self._applied.apply(who, module, function, args, told)


def rpc_value(outcome: Outcome) -> Any:
    """What `rpc:call/4` gives for an outcome: the value, what was thrown, or `{badrpc, {'EXIT', Reason}}`."""
    match outcome:
        case (Atom("return"), value) | (Atom("throw"), value):
            return value
        case (Atom("error"), reason, stack):
            return (BADRPC, (EXIT_CLASS, (reason, stack)))
        case (_, reason):
            return (BADRPC, (EXIT_CLASS, reason))
    raise AssertionError(outcome)


async def execute(applied: Applied, who: str | None, module: Any, function: Any, args: Any) -> Outcome:
    """Call a function in the running process, for a node that has started it for that.

    What is not exposed is undefined to others, as a function that Erlang does not have.
    """
    try:
        found, args = applied.find(who, module, function, args)
    except (NotAllowed, UndefinedFunction):
        return (ERROR, UNDEF, [(module, function, args, [])])
    except MalformedMessage:
        return (ERROR, BADARG, [])
    return await outcome_of(found, args)


def exit_reason(reference: Any, outcome: Outcome) -> Any:
    """The reason with which `erpc:execute_call/4` ends for an outcome."""
    match outcome:
        case (Atom("return"), value):
            return (reference, RETURN, value)
        case (Atom("throw"), value):
            return (reference, THROW, value)
        case (Atom("exit"), reason):
            return (reference, EXIT, reason)
        case (Atom("error"), reason, stack):
            return (reference, ERROR, reason, stack)
        case (_, reason):
            return reason
    raise AssertionError(outcome)


def outcome_from(reference: Any, reason: Any) -> Outcome:
    """The outcome that a process of `erpc:execute_call/4` has ended with."""
    match reason:
        case (found, Atom("return") | Atom("throw") | Atom("exit") as kind, value) if found == reference:
            return (kind, value)
        case (found, Atom("error"), error, stack) if found == reference:
            return (ERROR, error, stack)
    return (SIGNAL, reason)
