"""X-BOT: neighbors of HyParView are exchanged for nearer ones, while degrees and symmetry stay as they are.

Leitao, Marques, Pereira, Rodrigues: X-BOT: a protocol for resilient optimization of unstructured overlay networks
(SRDS 2009; TPDS 23(11), 2012).

An oracle tells a node what a link to a peer costs. Now and then a node whose active view is full looks at a few passive
peers. If one of them, the candidate, is nearer than its farthest neighbor, the old one, four nodes make a swap:

    initiator   optimization   -> candidate      you are nearer to me than the old one
    candidate   replace        -> disconnect     my farthest neighbor: somebody nearer to me could take your place
    disconnect  switch         -> old            you are nearer to me than the candidate is: let us be neighbors
    old         switch_reply   -> disconnect     we are: I have dropped the initiator for you
    disconnect  replace_reply  -> candidate      and I have dropped you for it
    candidate   opt.n_reply    -> initiator      and I it for you: now drop the old one

Two links are exchanged for two others, of which the initiator and the disconnect have each found one nearer, so every
swap lowers the total; each of the four has as many neighbors as before. A candidate with room just accepts, and the old
one is told farewell. Any of them may answer false, and nothing has happened.

What holds: some neighbors of each node are not biased, and are never exchanged, so that links that have nothing to do
with cost keep the overlay connected and its paths short. A node takes part in one swap at a time, and answers false to
others meanwhile; a swap that is not over within `patience` is given up. What was lost on the way leaves views as they
are after any other loss: who treats us as a neighbor and is none is told so.

It differs from the paper: the unbiased neighbors are those that have been neighbors longest, where the paper takes the
farthest, since these would keep most of the cost; who holds a reserved place is not exchanged either. It differs from
the reference, whose manager crashes when it begins to optimize: its frames are used (section 1.9, upper layers), but no
`join`, which could push out a third node; and both ends drop each other by the answers, without farewells. A peer whose
cost the oracle does not know takes no part, so an oracle that knows none of real nodes keeps these messages from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from partisan.machines.hyparview_messages import UNTAGGED
from partisan.machines.machine import Peer
from partisan.machines.view import Name, choose

if TYPE_CHECKING:
    from partisan.machines.hyparview import HyParView

XBOT_TIMER = "xbot"
SWAP_TIMER = "swap"

Oracle: TypeAlias = Callable[[Peer], float | None]
"""peer -> what a link to it costs us, the less the better; None if that is not known."""


@dataclass(slots=True)
class RoundTrip:
    """Event: a message to the peer and its answer took so many seconds; for nodes without an oracle of their own."""

    peer: Peer
    seconds: float


@dataclass(slots=True)
class Step:
    """A message of a swap; it never changes.

    Attributes:
        answer: None in a question.
        old: the neighbor that the initiator wants to give up.
        initiator: who began.
        candidate: whom the initiator wants instead.
        disconnect: whom the candidate gives up for it; None if it has room, or has not chosen yet.
    """

    answer: bool | None
    old: Peer
    initiator: Peer
    candidate: Peer
    disconnect: Peer | None


class Optimization(Step):
    """From the initiator to the candidate."""

    __slots__ = ()


class OptimizationReply(Step):
    """From the candidate to the initiator."""

    __slots__ = ()


class Replace(Step):
    """From the candidate to the disconnect."""

    __slots__ = ()


class ReplaceReply(Step):
    """From the disconnect to the candidate."""

    __slots__ = ()


class Switch(Step):
    """From the disconnect to the old one."""

    __slots__ = ()


class SwitchReply(Step):
    """From the old one to the disconnect."""

    __slots__ = ()


ENDS: dict[type[Step], tuple[str, str]] = {
    Optimization: ("initiator", "candidate"),
    OptimizationReply: ("candidate", "initiator"),
    Replace: ("candidate", "disconnect"),
    ReplaceReply: ("disconnect", "candidate"),
    Switch: ("disconnect", "old"),
    SwitchReply: ("old", "disconnect"),
}
"""Who sends each message, and who gets it."""


INITIATOR, CANDIDATE, DISCONNECT, OLD = "initiator", "candidate", "disconnect", "old"
"""The parts in a swap, as the messages name them."""

_REFUSAL: dict[str, type[Step]] = {CANDIDATE: OptimizationReply, DISCONNECT: ReplaceReply, OLD: SwitchReply}
"""What each says to whoever asked it."""

_PARTNER = {INITIATOR: CANDIDATE, CANDIDATE: INITIATOR, DISCONNECT: OLD, OLD: DISCONNECT}
"""Who is to be the neighbor of each."""


@dataclass(slots=True)
class _Swap:
    """The swap that a node takes part in.

    Attributes:
        part: ours.
        partner: the name of whoever is to be our neighbor; its edge is kept.
        step: what was said last, as far as we know.
        awaits: the answer that takes it further; None while an edge, or a cost, is waited for.
    """

    part: str
    partner: Name
    step: Step
    awaits: type[Step] | None = None


class XBot:
    """One node's part in X-BOT.

    Args:
        host: whose views are optimized.
        oracle: tells what links cost; None takes the round trips that `RoundTrip` tells of.
    """

    __slots__ = ("_host", "_oracle", "_round_trips", "_swap")

    def __init__(self, host: HyParView, oracle: Oracle | None) -> None:
        self._host = host
        self._oracle = oracle
        self._round_trips: dict[Name, float] = {}
        self._swap: _Swap | None = None

    # What the host asks.

    def start(self) -> None:
        """Start the timer, at a random phase, or stop it."""
        host, config = self._host, self._host.config
        if config.xbot:
            host._start_timer(XBOT_TIMER, config.xbot_interval * host._rng.random())
        else:
            host._stop_timer(XBOT_TIMER)

    def needs(self, name: Name) -> bool:
        """Whether the edge to that peer is kept for a swap."""
        return self._swap is not None and self._swap.partner == name

    def came_up(self, name: Name, now: float) -> None:
        """The edge to that peer is usable."""
        swap = self._swap
        if swap is not None and swap.partner == name and swap.awaits is None:
            self._go_on(swap, now)

    def lost(self, name: Name) -> None:
        """That peer cannot be reached, or wants to have nothing to do with us."""
        if self._swap is not None and self._swap.partner == name:
            self.give_up()

    def give_up(self) -> None:
        """Take part no longer, and say so to whoever asked; the swap may have taken too long."""
        swap = self._end()
        if swap is not None:
            if swap.part in (CANDIDATE, DISCONNECT):
                self._answer(_REFUSAL[swap.part], False, swap.step)
            self._host._settle(swap.partner)

    def round(self, now: float) -> None:
        """Look for a neighbor that is nearer than one that we have."""
        host, config = self._host, self._host.config
        # With intervals of one length, nodes that once asked each other at the same moment would do so for ever.
        host._start_timer(XBOT_TIMER, config.xbot_interval * (0.5 + host._rng.random()))
        if self._swap is not None or len(host._active) + 1 < config.active_max_size:
            return
        seen: dict[Name, None] = {}
        for _ in range(config.xbot_candidates):
            name = choose(host._passive, host._rng, {**seen, **host._edges})
            if name is None or not host._has_room_for_edge(name, host._passive[name], "Optimization"):
                return
            seen[name] = None
            peer = host._passive[name]
            if self._oracle is None and self._cost(peer) is None:
                self._begin(_Swap(INITIATOR, name, Optimization(None, peer, host.myself, peer, None)), now)
                return
            if self._propose(name, peer, now):
                return

    def on_round_trip(self, event: RoundTrip, now: float) -> None:
        """Take note of a round trip; a swap may wait for it."""
        name, known = self._host.config.name(event.peer), self._round_trips
        known.pop(name, None)
        known[name] = event.seconds
        if len(known) > self._host.config.most_remembered:
            del known[next(iter(known))]
        self.came_up(name, now)

    def hear(self, peer: Peer, message: Step, now: float) -> None:
        """Take a message of a swap; its parts are a stranger's."""
        host, kind = self._host, type(message)
        what = kind.__name__
        source, end = ENDS[kind]
        name = host._speaker(peer, getattr(message, source), what)
        if name is None:
            return
        names = self._names(message)
        is_answer = kind in (OptimizationReply, ReplaceReply, SwitchReply)
        if names is None or type(message.answer) is not (bool if is_answer else type(None)):
            host._violation(peer, f"{what}: no step of a swap")
        elif names.get(end) != host._name:
            host._violation(peer, f"{what}: it is for somebody else")
        elif is_answer:
            self._on_answer(name, message, names, now)
        else:
            self._on_question(_Swap(end, names.get(_PARTNER[end]), message), name, now)

    # Costs.

    def _cost(self, peer: Peer) -> float | None:
        if self._oracle is not None:
            return self._oracle(peer)
        return self._round_trips.get(self._host.config.name(peer))

    def _is_biased(self, name: Name) -> bool:
        """Whether that neighbor may be exchanged."""
        host = self._host
        for at, neighbor in enumerate(host._active):  # who has been one longest comes first
            if neighbor == name:
                return at >= host.config.xbot_unbiased and name not in host._reserved.values()
        return False

    def _farthest(self, but: Name) -> tuple[Name | None, float]:
        """The neighbor that costs most of those that may be exchanged, and its cost."""
        worst, most = None, 0.0
        for name, peer in self._host._active.items():
            cost = self._cost(peer) if name != but and self._is_biased(name) else None
            if cost is not None and (worst is None or cost > most):
                worst, most = name, cost
        return worst, most

    def _names(self, message: Step) -> dict[str, Name] | None:
        """The names of who takes part, if they are peers and differ."""
        host = self._host
        peers = {part: getattr(message, part) for part in _PARTNER}
        if message.disconnect is None:
            del peers[DISCONNECT]
        if any(type(peer) is not host._kind for peer in peers.values()):
            return None
        names = {part: host.config.name(peer) for part, peer in peers.items()}
        return names if len(dict.fromkeys(names.values())) == len(names) else None

    # Questions.

    def _propose(self, name: Name, peer: Peer, now: float) -> bool:
        """Begin a swap as its initiator, if the candidate is near enough."""
        host = self._host
        old, most = self._farthest(name)
        cost = self._cost(peer)
        if old is None or cost is None or cost >= most:
            return False
        step = Optimization(None, host._active[old], host.myself, peer, None)
        self._begin(_Swap(INITIATOR, name, step, OptimizationReply), now)
        host._tell(name, peer, step)
        return True

    def _on_question(self, swap: _Swap, name: Name, now: float) -> None:
        """Take part, if we can; first the edge to whoever is to be our neighbor must be usable."""
        host, step = self._host, swap.step
        gives_up = {CANDIDATE: None, DISCONNECT: name, OLD: host.config.name(step.initiator)}[swap.part]
        partner = getattr(step, _PARTNER[swap.part])
        if (
            not host.config.xbot
            or host._away
            or self._swap is not None
            or swap.partner is None
            or swap.partner in host._active
            or (gives_up is not None and not self._is_biased(gives_up))
            or not host._has_room_for_edge(swap.partner, partner, type(step).__name__)
        ):
            self._answer(_REFUSAL[swap.part], False, step)
        else:
            self._begin(swap, now)

    def _go_on(self, swap: _Swap, now: float) -> None:
        """The edge to whoever is to be our neighbor is usable, or what it costs is known."""
        host, step = self._host, swap.step
        edge = host._edges.get(swap.partner)
        if edge is None or not edge.up:
            return
        if swap.part == CANDIDATE:
            self._ask_to_replace(swap, now)
        elif swap.part == OLD:
            initiator = host.config.name(step.initiator)
            done = self._is_biased(initiator) and self._can_exchange(initiator, swap.partner)
            if done:
                self._exchange(initiator, swap.partner, now)
            self._answer(SwitchReply, done, step)
            self._end_and_settle()
        elif self._oracle is None and self._cost(edge.peer) is None:
            return  # until the round trip is known, or it takes too long
        elif swap.part == DISCONNECT:
            self._ask_to_switch(swap)
        else:
            self._end()
            if not self._propose(swap.partner, edge.peer, now):
                host._settle(swap.partner)

    def _ask_to_replace(self, swap: _Swap, now: float) -> None:
        host, step = self._host, swap.step
        if self._can_exchange(None, swap.partner):
            self._exchange(None, swap.partner, now)
            self._answer(OptimizationReply, True, step)
            self._end_and_settle()
            return
        worst, _ = self._farthest(host.config.name(step.old))
        if worst is None:
            self.give_up()
            return
        swap.step = Replace(None, step.old, step.initiator, step.candidate, host._active[worst])
        swap.awaits = ReplaceReply
        host._send(host._active[worst], swap.step)

    def _ask_to_switch(self, swap: _Swap) -> None:
        step = swap.step
        former, better = self._cost(step.candidate), self._cost(step.old)
        if former is None or better is None or better >= former:
            self.give_up()
            return
        swap.step = Switch(None, step.old, step.initiator, step.candidate, step.disconnect)
        swap.awaits = SwitchReply
        self._host._tell(swap.partner, step.old, swap.step)

    # Answers.

    def _on_answer(self, name: Name, message: Step, names: dict[str, Name], now: float) -> None:
        swap, kind = self._swap, type(message)
        if swap is None or swap.awaits is not kind or not self._is_same(names, swap.step):
            if message.answer:
                self._turn_away(name, getattr(message, ENDS[kind][0]), now)  # too late; it may have us as a neighbor
        else:
            if swap.part == INITIATOR:
                if message.answer and message.disconnect is None and names[OLD] in self._host._active:
                    self._host._drop(names[OLD], now)
                self._conclude(swap, names[OLD], message, now)
            elif swap.part == CANDIDATE:
                done = self._conclude(swap, names[DISCONNECT], message, now)
                self._answer(OptimizationReply, done, message)
            else:
                done = message.answer is True and self._can_exchange(names[CANDIDATE], swap.partner)
                self._answer(ReplaceReply, done, message)  # before the candidate's edge is given up
                self._conclude(swap, names[CANDIDATE], message, now)
            self._end_and_settle()

    def _is_same(self, names: dict[str, Name], step: Step) -> bool:
        name_of = self._host.config.name
        return all(
            name_of(getattr(step, part)) == names.get(part)
            for part in _PARTNER
            if part != DISCONNECT or step.disconnect is not None
        )

    def _conclude(self, swap: _Swap, gone: Name, message: Step, now: float) -> bool:
        """Exchange the neighbor that is given up, if that is the answer; whether it was done."""
        done = message.answer is True and self._can_exchange(gone, swap.partner)
        if done:
            self._exchange(gone, swap.partner, now)
        elif message.answer and swap.part != CANDIDATE:
            self._turn_away(swap.partner, self._host._edges[swap.partner].peer, now)
        return done

    def _turn_away(self, name: Name, peer: Peer, now: float) -> None:
        if name not in self._host._active:
            self._host._decline(name, peer, now)

    # All of them.

    def _can_exchange(self, gone: Name | None, name: Name) -> bool:
        """Whether a peer can be made a neighbor, instead of one that is, or was."""
        host = self._host
        edge = host._edges.get(name)
        if edge is None or not edge.up or name in host._active:
            return False
        return gone in host._active or host._has_room(UNTAGGED)

    def _exchange(self, gone: Name | None, name: Name, now: float) -> None:
        """Make a peer a neighbor, instead of one that knows of it."""
        host = self._host
        if gone is not None and gone in host._active:
            former = host._active[gone]
            host._remove(gone, "swapped")
            host._to_passive(gone, former)
        host._add(name, host._edges[name].peer, UNTAGGED, now)

    def _answer(self, kind: type[Step], answer: bool, step: Step) -> None:
        peer = getattr(step, ENDS[kind][1])
        reply = kind(answer, step.old, step.initiator, step.candidate, step.disconnect)
        self._host._tell(self._host.config.name(peer), peer, reply)

    def _begin(self, swap: _Swap, now: float) -> None:
        host = self._host
        self._swap = swap
        host._start_timer(SWAP_TIMER, host.config.patience)
        if host._open(swap.partner, getattr(swap.step, _PARTNER[swap.part])).up and swap.awaits is None:
            self._go_on(swap, now)

    def _end(self) -> _Swap | None:
        swap, self._swap = self._swap, None
        if swap is not None:
            self._host._stop_timer(SWAP_TIMER)
        return swap

    def _end_and_settle(self) -> None:
        swap = self._end()
        if swap is not None:
            self._host._settle(swap.partner)
