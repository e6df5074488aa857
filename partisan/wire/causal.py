"""Causal delivery as terms.

    message            {causal, Label, Node, ServerRef, Dependencies, Clock, Message}, where the message of a
                       `forward_message` is; Label is an atom, Node for whom it is
    Clock              [{Node, Number}], its sender first, the others in order
    Dependencies       [{Node, Clock}], in order: the latest messages to each node; a real node writes at most the
                       entry of the receiver, and looks for no other
    acknowledgement    {ack, {Label, Clock}} to the sender's manager
    settlement         {causal, Label, Number} to `partisan_python`, where both nodes have agreed on `causal`: what the
                       sender sent up to that number, and is not there, is lost

What is saved of a label is `{causal_state, Count, Heard, Lost, Rows}`, and of each message that waits
`{Sender, Dependencies, Clock, Kept, Encoded}`, the last a binary: `{ServerRef, Message}` in external form; ours.

Source: section 3.4 of the partisan 5.0.3 reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from partisan.etf import Atom
from partisan.machines.causal_messages import MOST_ENTRIES, MOST_NUMBER, Clock, Dependencies, Stamped, State
from partisan.wire.atom import MalformedMessage, malformed, node_of

CAPABILITY = "causal"
"""The extra of Python nodes: settlements."""

CAUSAL = Atom(CAPABILITY)
_STATE = Atom("causal_state")

VectorClock = tuple[tuple[str, int], ...]
"""(node, count), in the order in which they came."""


@dataclass(frozen=True, slots=True)
class Causal:
    """What a causal message says about its order.

    Attributes:
        label: the term that names the order; an atom.
        node: for whom the message is.
        dependencies: (node, clock) of the message that node must have had before; at most one for each node.
        clock: of this message.
    """

    label: Any
    node: str
    dependencies: tuple[tuple[str, VectorClock], ...]
    clock: VectorClock


def is_causal(message: object) -> bool:
    """Whether the message of a `forward_message` looks like a causal one."""
    return type(message) is tuple and len(message) == 7 and message[0] is CAUSAL


def causal_to_term(
    label: str, node: str, target: Any, dependencies: Dependencies, clock: Clock, message: Any
) -> tuple[Any, ...]:
    """Return what stands for the message in a `forward_message` to the target."""
    return (CAUSAL, Atom(label), Atom(node), target, _rows_to_term(dependencies), _clock_to_term(clock), message)


def causal_from_term(message: Any) -> Causal | None:
    """Read the wrapper of a message that `is_causal`; None if it only looks like one: it is an ordinary message."""
    _, label, node, _, dependencies, clock, _ = message
    try:
        causal = Causal(label, _node(node), _rows(dependencies), _clock(clock))
    except MalformedMessage:
        return None
    return causal if isinstance(label, Atom) else None


def acknowledged_clock(label: str, clock: Clock) -> tuple[Any, ...]:
    """Return the clock under which a causal message is acknowledged."""
    return (Atom(label), _clock_to_term(clock))


def settled_to_term(label: str, number: int) -> tuple[Any, ...]:
    """Return the settlement, for `partisan_python`."""
    return (CAUSAL, Atom(label), number)


def settled_from_term(term: tuple[Any, ...]) -> tuple[str, int]:
    """Read the label and the number of a settlement. Raises MalformedMessage."""
    if len(term) != 3 or not isinstance(term[1], Atom) or type(term[2]) is not int or not 0 <= term[2] < MOST_NUMBER:
        malformed(CAPABILITY, term)
    return term[1].name, term[2]


# What is saved.


def state_to_term(state: State) -> tuple[Any, ...]:
    """Return what is saved of a label, but for what waits."""
    clocks = (_clock_to_term(state.heard), _clock_to_term(state.lost))
    return (_STATE, state.count, *clocks, _rows_to_term(state.rows))


def state_from_term(term: object) -> State:
    """Read what was saved of a label. Raises MalformedMessage."""
    if type(term) is not tuple or len(term) != 5 or term[0] is not _STATE or type(term[1]) is not int:
        malformed("causal state", term)
    return State(term[1], _clock(term[2]), _clock(term[3]), _rows(term[4]))


def waiting_to_term(sender: str, stamped: Stamped, encoded: bytes) -> tuple[Any, ...]:
    """Return what is saved of a message that waits."""
    order = (_rows_to_term(stamped.dependencies), _clock_to_term(stamped.clock))
    return (Atom(sender), *order, stamped.kept, encoded)


def waiting_from_term(term: object) -> tuple[str, Dependencies, Clock, bool, bytes]:
    """Read what was saved of a message that waits. Raises MalformedMessage."""
    if type(term) is not tuple or len(term) != 5 or type(term[3]) is not bool or type(term[4]) is not bytes:
        malformed("causal state", term)
    return _node(term[0]), _rows(term[1]), _clock(term[2]), term[3], term[4]


def _clock_to_term(clock: Iterable[tuple[str, int]]) -> list[tuple[Atom, int]]:
    return [(Atom(node), number) for node, number in clock]


def _rows_to_term(rows: Dependencies) -> list[tuple[Atom, list[tuple[Atom, int]]]]:
    return [(Atom(node), _clock_to_term(clock)) for node, clock in rows]


@lru_cache(maxsize=4096)
def _name(atom: Atom) -> str:
    return node_of(atom, "vector clock")


def _node(term: Any) -> str:
    """Read a node's name; the same few come with each message. Raises MalformedMessage."""
    if type(term) is not Atom:
        malformed("vector clock", term)
    return _name(term)


def _clock(term: Any) -> VectorClock:
    if type(term) is not list or len(term) > MOST_ENTRIES:
        malformed("vector clock", term)
    clock = []
    for pair in term:
        if type(pair) is not tuple or len(pair) != 2 or type(pair[1]) is not int or pair[1] < 0:
            malformed("vector clock", term)
        clock.append((_node(pair[0]), pair[1]))
    return tuple(clock)


def _rows(term: Any) -> tuple[tuple[str, VectorClock], ...]:
    if type(term) is not list or len(term) > MOST_ENTRIES:
        malformed("causal dependencies", term)
    rows = []
    for pair in term:
        if type(pair) is not tuple or len(pair) != 2:
            malformed("causal dependencies", term)
        rows.append((_node(pair[0]), _clock(pair[1])))
    return tuple(rows)
