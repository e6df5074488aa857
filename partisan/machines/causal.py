"""Causal delivery: what a message may depend on is handed over before it.

The paper: Schiper, Eggli and Sandoz, "A new algorithm to implement causal ordering" (WDAG 1989), in the exact form of
Raynal, Schiper and Toueg, "The causal ordering abstraction and a simple way to implement it" (1991).

    A node counts what it does: each message that it sends, each that is delivered to it. (sender, number) names a
    message. A message to D carries, for every node E that its sender knows of, the latest message from each node X to
    E that the sender knows to have been sent before: its dependencies; D's own entry names those that D must have had.
    D delivers it when it has had them, then learns the entries for others, and so passes them on with what it sends.
    What cannot be delivered yet waits; each delivery may release some of it.

Invariants
    - Of two messages to one node of which the first was sent, or delivered to the second's sender, before the second
      was sent, the first is delivered first, or is known to be lost, or was not waited for any longer (`GivenUp`).
    - Nothing is delivered twice: of a sender, numbers are delivered in rising order.
    - At most `max_waiting` messages and `max_waiting_octets` wait, at most half of them of one sender.

The clock of a message is its sender's number, then the latest number delivered to it of each other node. That is first
hand: D forgets what X sent to E once E's own clock says that it has had it, and a lie about others is believed by
nobody and never passed on in a clock. (In dependencies it is, and can delay messages until `patience`.)

The reference (partisan 5.0.3, section 3.4) writes the same clocks. It differs in this:
    - It sends the dependencies of the receiver alone, and only the last message of this sender to it. So it keeps the
      order of each sender to each receiver, not causal order: what a third node relays overtakes. Its messages (numbers
      below `FIRST_NUMBER`) are delivered in the order that they ask for, and a real node is sent what it would send.
    - It merges clocks of others and compares whole clocks, so that a clock that ran ahead over a third node lets a
      message pass its predecessor; here messages are compared, one by one.
    - It waits for ever: a lost message, or a restart of the receiver, stops what comes after. Here a sender says what
      cannot come any more (`Settled`, to nodes of our kind; and by a message without a predecessor, to all), what
      waits longer than `patience` is delivered, and copies are told apart.

A sender's life without a store begins at a number above those of former ones (the driver takes them from the time of
day). A message without a predecessor begins its sender's line anew: whatever is missing before it is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from partisan.machines.causal_buffer import Sender, Waiting
from partisan.machines.causal_messages import (
    FIRST_NUMBER,
    MOST_ENTRIES,
    MOST_NUMBER,
    Arrived,
    CausalConfig,
    Clock,
    Confirmed,
    Dependencies,
    Forget,
    GivenUp,
    Missing,
    Refused,
    SessionOver,
    Settled,
    Stamped,
    State,
    Submit,
    Trimmed,
    claim_of,
    problem_of,
)
from partisan.machines.machine import (
    Connected,
    Disconnected,
    Effect,
    Machine,
    Peer,
    Start,
    TimedOut,
)

if TYPE_CHECKING:
    from random import Random

HEALED = 1 << 62
"""We go on counting above what others claim of us, if it is below this: our clock was set back, or somebody lies."""

MOST_GONE = 1024
"""How many peers that have left are remembered, the latest (ours): nobody waits for their messages."""

PATIENCE_TIMER = "patience"
"""Fires when what has waited longest is not to wait any longer."""

SAVE_TIMER = "save"
"""Fires when the state is to be saved."""


def _no_weight(message: object) -> int:
    return 0


def _itself(peer: Peer) -> Any:
    return peer


def _anybody(peer: Peer) -> bool:
    return True


class CausalDelivery(Machine):
    """One node's messages of one label.

    Args:
        myself, config, rng: as for every machine; chance is not used.
        count: the number before the first of this life; at least `FIRST_NUMBER` in life.
        restored: what a former life saved.
        key: by which peers are written in order.
        weigh: callable(message) -> octets, of one that must wait.
        known: callable(peer): whether it is worth to remember what others say of the peer; that bounds what is kept.

    Attributes:
        delivered, copies: messages, since the start.
    """

    config: CausalConfig

    def __init__(
        self,
        myself: Peer,
        config: CausalConfig,
        rng: Random,
        *,
        count: int = FIRST_NUMBER,
        restored: State | None = None,
        key: Callable[[Peer], Any] = _itself,
        weigh: Callable[[object], int] = _no_weight,
        known: Callable[[Peer], bool] = _anybody,
    ) -> None:
        super().__init__(myself, config, rng)
        self._key, self._weigh, self._known = key, weigh, known
        self._count = self._born = max(count, restored.count if restored is not None else 0)
        self._heard: dict[Peer, int] = {}
        self._order: list[Peer] = []  # of `_heard`, by key
        self._senders: dict[Peer, Sender] = {}
        self._rows: dict[Peer, dict[Peer, int]] = {}  # destination -> sender -> its latest message to it
        self._clocks: dict[Peer, dict[Peer, int]] = {}  # peer -> what it has said itself that it has had
        self._last: dict[Peer, int] = {}  # destination -> predecessor of the next message to it
        self._last_clocks: dict[Peer, Clock] = {}  # and its clock
        self._stamped: Clock = ()  # of what was stamped last
        self._outstanding: dict[Peer, dict[int, None]] = {}  # destination -> numbers that are kept, ascending
        self._cuts: dict[Peer, int] = {}  # destination -> what was sent up to here and is not kept is not under way
        self._settling: dict[Peer, int] = {}  # connected peer of our kind -> up to which number it was told `Settled`
        self._gone: dict[Peer, None] = {}  # peers that have left
        self._waiting: dict[Waiting, None] = {}  # in the order of arrival
        self._octets = 0
        self._serial = 0
        self._alarmed = self._unsaved = False
        self._restored = restored
        self.delivered = self.copies = 0
        if restored is not None:
            self._restore(restored)
        self._events |= {
            Start: self._on_start,
            Submit: self._on_submit,
            Confirmed: self._on_confirmed,
            Connected: self._on_connected,
            Disconnected: self._on_disconnected,
            Forget: self._on_forget,
            SessionOver: self._on_session_over,
            TimedOut: self._on_timed_out,
        }
        self._messages |= {Stamped: self._on_stamped, Settled: self._on_settled}

    # For drivers.

    @property
    def outbox(self) -> list[Effect]:
        """Effects of direct calls, which wait for `take_effects`."""
        return self._out

    @property
    def waiting(self) -> int:
        """How many messages wait to be delivered."""
        return len(self._waiting)

    @property
    def waiting_octets(self) -> int:
        """How large these are together."""
        return self._octets

    @property
    def unsaved(self) -> bool:
        """Whether something has changed since the last `Save`."""
        return self._unsaved

    def take_effects(self) -> list[Effect]:
        """Return what the world must now do, in order, after direct calls."""
        out, self._out = self._out, []
        return out

    def state(self) -> State:
        """What to save."""
        return State(
            self._count,
            tuple(self._heard.items()),
            tuple((peer, sender.lost) for peer, sender in self._senders.items() if sender.lost),
            tuple((peer, tuple(row.items())) for peer, row in self._rows.items() if row),
            tuple((waiting.peer, waiting.stamped) for waiting in self._waiting),
        )

    def _restore(self, state: State) -> None:
        self._heard = dict(state.heard)
        self._order = sorted(self._heard, key=self._key)
        self._rows = {peer: dict(row) for peer, row in state.rows}
        for peer, number in state.lost:
            self._sender(peer).lost = number

    # Out.

    def stamp(self, peer: Peer, whole: bool = True) -> tuple[Dependencies, Clock]:
        """What the next message to the peer says of its order; nothing changes until `sent`.

        Args:
            whole: with what concerns others; False for a real node: the clock of the last message to it, as it writes.
        """
        rows, heard = self._rows, self._heard
        clock = ((self.myself, self._count + 1), *((each, heard[each]) for each in self._order))
        self._stamped = clock
        if not whole:
            last_clock = self._last_clocks.get(peer) if peer in self._last else None
            return ((peer, last_clock),) if last_clock else (), clock
        own = dict(rows.get(peer, ()))
        own.pop(self.myself, None)
        last = self._last.get(peer)
        first: Clock = () if last is None else ((self.myself, last),)
        mine = first + tuple(sorted(own.items(), key=lambda entry: self._key(entry[0])))
        found = [(peer, mine)] if mine else []
        if sum(map(len, rows.values())) + len(self._order) < MOST_ENTRIES:
            found += [(each, tuple(row.items())) for each, row in rows.items() if each != peer and row]
            found.sort(key=lambda entry: self._key(entry[0]))
        else:
            self._notify(Trimmed(peer))
        return tuple(found), clock

    def sent(self, peer: Peer, kept: bool = False) -> int:
        """The message that was stamped last is on its way; return its number."""
        self._count = number = self._count + 1
        self._last[peer] = number
        self._last_clocks[peer] = self._stamped
        self._rows.setdefault(peer, {})[self.myself] = number
        if kept:
            self._outstanding.setdefault(peer, {})[number] = None
        self._changed()
        return number

    def _on_submit(self, event: Submit, now: float) -> None:
        dependencies, clock = self.stamp(event.peer)
        self.sent(event.peer, event.kept)
        self._send(event.peer, Stamped(event.peer, dependencies, clock, event.message, event.kept))

    def _on_confirmed(self, event: Confirmed, now: float) -> None:
        outstanding = self._outstanding.get(event.peer, {})
        if event.number not in outstanding:
            return
        del outstanding[event.number]
        if not event.arrived:
            self._cuts[event.peer] = max(self._cuts.get(event.peer, 0), event.number)
        if event.peer in self._cuts:
            self._settle(event.peer, False)

    def _settle(self, peer: Peer, anew: bool) -> None:
        """Tell a peer of our kind what it need not wait for; `anew` even if that is not all that will be told."""
        if peer not in self._settling:
            return
        cut = max(self._cuts.get(peer, 0), self._born)
        oldest = next(iter(self._outstanding.get(peer, ())), MOST_NUMBER)
        number = cut if oldest > cut else oldest - 1
        if number > self._settling[peer] and (anew or number == cut):
            self._settling[peer] = number
            self._send(peer, Settled(number))

    def _on_connected(self, event: Connected, now: float) -> None:
        self._settling[event.peer] = 0
        self._settle(event.peer, True)

    def _on_disconnected(self, event: Disconnected, now: float) -> None:
        """What was sent and is not kept has arrived by now, or never will."""
        peer = event.peer
        ours = peer in self._settling or self._heard.get(peer, 0) >= FIRST_NUMBER
        self._settling.pop(peer, None)
        if peer in self._last:
            self._cuts[peer] = self._last[peer]
            if not self._outstanding.get(peer):
                del self._last[peer]
                if not ours:
                    self._rows.pop(peer, None)

    # In.

    def _on_stamped(self, peer: Peer, message: Stamped, now: float) -> None:
        self.receive(peer, message, now)

    def receive(self, peer: Peer, stamped: Stamped, now: float) -> bool:
        """Take a message: deliver it, let it wait, or drop it; return whether its sender may forget it."""
        problem = self._problem(peer, stamped)
        if problem is not None:
            self._violation(peer, problem)
            return False
        number = stamped.clock[0][1]
        sender = self._sender(peer)
        wanted = next((dict(clock) for node, clock in stamped.dependencies if node == self.myself), {})
        if number <= self._heard.get(peer, 0):
            if not (sender.doubtful and number < FIRST_NUMBER and peer not in wanted):
                self._copy(peer, sender, number)
                return True
            self._restarted(peer, sender, number)
        elif number in sender.waiting:
            self.copies += 1
            return True
        sender.doubtful = False
        if number < FIRST_NUMBER:  # a real node's: the rest of that clock is of no message to us
            wanted = {peer: wanted[peer]} if peer in wanted else {}
        wanted.pop(self.myself, None)
        begins = peer not in wanted
        if begins:
            wanted[peer] = number - 1
            sender.lost = max(sender.lost, number - 1)
            self._recheck(peer)
        self._gone.pop(peer, None)
        waiting = Waiting(peer, number, stamped, wanted, begins, now)
        blocker = self._blocker(waiting)
        if blocker is None:
            self._deliver(waiting)
            return True
        return self._hold(waiting, blocker)

    def _problem(self, peer: Peer, stamped: Stamped) -> str | None:
        problem = problem_of(peer, stamped, self.myself)
        if problem is None:
            claim, known = claim_of(stamped, self.myself), self._count
            if claim > known:
                if claim < HEALED:
                    self._count = claim
                problem = f"a causal clock that knows our number {claim}, and we are at {known}"
        return problem

    def _copy(self, peer: Peer, sender: Sender, number: int) -> None:
        first, last = sender.gap
        if first < number <= last:
            self._notify(Refused(peer, number, "late"))
        else:
            self.copies += 1

    def _restarted(self, peer: Peer, sender: Sender, number: int) -> None:
        """A real node counts from 1 again: what waits was its former life's."""
        for waiting in list(sender.waiting.values()):
            self._release(waiting)
            self._notify(Refused(peer, waiting.number, "restarted"))
        sender.restart(number - 1)
        self._heard[peer] = number - 1

    def _sender(self, peer: Peer) -> Sender:
        sender = self._senders.get(peer)
        if sender is None:
            sender = self._senders[peer] = Sender()
        return sender

    def _passed(self, peer: Peer, number: int) -> bool:
        """Whether that message was delivered, or will never come and all that are before it were."""
        heard = self._heard.get(peer, 0)
        if heard >= number:
            return True
        sender = self._senders.get(peer)
        if sender is None:
            return peer in self._gone
        number = sender.before(number)
        return heard >= number or (sender.lost >= number and sender.lowest() > number)

    def _blocker(self, waiting: Waiting) -> tuple[Peer, int] | None:
        """A message that must come first, of the same sender if there is one; None if the message is due."""
        number = waiting.wanted[waiting.peer]
        if not self._passed(waiting.peer, number):
            return waiting.peer, number
        if not waiting.forced:
            for peer, number in waiting.wanted.items():
                if not self._passed(peer, number):
                    return peer, number
        return None

    def _hold(self, waiting: Waiting, blocker: tuple[Peer, int]) -> bool:
        """Let a message wait, if there is room."""
        config, sender = self.config, self._sender(waiting.peer)
        waiting.octets = self._weigh(waiting.stamped.message)
        octets, most = waiting.octets, config.max_waiting_octets
        if (
            len(self._waiting) >= config.max_waiting
            or len(sender.waiting) >= (config.max_waiting + 1) // 2
            or (self._octets and self._octets + octets > most)
            or (sender.octets and sender.octets + octets > most // 2)
        ):
            self._notify(Refused(waiting.peer, waiting.number, "full"))
            if not waiting.stamped.kept and len(sender.skipped) < config.max_waiting:
                sender.skip(waiting.number, waiting.wanted[waiting.peer])
            return False
        sender.waiting[waiting.number] = waiting
        heappush(sender.numbers, waiting.number)
        sender.octets += octets
        self._octets += octets
        self._waiting[waiting] = None
        self._block(waiting, blocker)
        self._alarm(waiting.since)
        self._changed()
        return True

    def _block(self, waiting: Waiting, blocker: tuple[Peer, int]) -> None:
        self._serial += 1
        heappush(self._sender(blocker[0]).blocked, (blocker[1], self._serial, waiting))

    def _release(self, waiting: Waiting) -> None:
        """A message waits no more."""
        sender = self._senders[waiting.peer]
        del sender.waiting[waiting.number], self._waiting[waiting]
        sender.octets -= waiting.octets
        self._octets -= waiting.octets
        self._changed()

    def _recheck(self, peer: Peer) -> None:
        """Messages of the peer were delivered, or are known to be lost: deliver what waited for them, and so on."""
        changed = [peer]
        while changed:
            peer = changed.pop()
            sender = self._sender(peer)
            still: list[tuple[Waiting, tuple[Peer, int]]] = []
            for waiting in self._due(peer, sender):
                if waiting not in self._waiting:
                    continue
                blocker = self._blocker(waiting)
                if blocker is not None:
                    still.append((waiting, blocker))
                    continue
                self._release(waiting)
                self._record(waiting)
                changed.append(waiting.peer)
            for waiting, blocker in still:
                self._block(waiting, blocker)

    def _due(self, peer: Peer, sender: Sender) -> Iterator[Waiting]:
        """What waited for messages of the sender up to the latest that was delivered or is lost."""
        while sender.blocked:
            number = sender.before(sender.blocked[0][0])
            if number > max(self._heard.get(peer, 0), sender.lost):
                return
            yield heappop(sender.blocked)[2]

    def _deliver(self, waiting: Waiting) -> None:
        self._record(waiting)
        self._recheck(waiting.peer)

    def _record(self, waiting: Waiting) -> None:
        """Deliver one message, and learn what it says."""
        peer, number, stamped = waiting.peer, waiting.number, waiting.stamped
        sender = self._sender(peer)
        heard, wanted = self._heard.get(peer), waiting.wanted[peer]
        if heard is None:
            self._heard[peer] = number
            self._order = sorted(self._heard, key=self._key)
        else:
            if heard < wanted and not waiting.begins:
                sender.gap = (heard, wanted)
                self._notify(Missing(peer, heard, wanted))
            self._heard[peer] = number
        sender.passed(number)
        self._count += 1
        self.delivered += 1
        self._learn(peer, number, stamped)
        self._notify(Arrived(peer, stamped.message))
        self._changed()

    def _learn(self, peer: Peer, number: int, stamped: Stamped) -> None:
        clock = self._clocks[peer] = {each: other for each, other in stamped.clock if self._known(each)}
        row = self._rows.get(peer)
        if row:
            for each in [each for each, other in row.items() if clock.get(each, 0) >= other]:
                del row[each]
        if number < FIRST_NUMBER:
            return
        for destination, entries in stamped.dependencies:
            if destination == self.myself or not self._known(destination):
                continue
            had = self._clocks.get(destination, {})
            row = self._rows.setdefault(destination, {})
            for each, other in entries:
                if each in (self.myself, destination) or not self._known(each):
                    continue
                if other > max(had.get(each, 0), row.get(each, 0)):
                    row[each] = other

    def _on_settled(self, peer: Peer, message: Settled, now: float) -> None:
        if type(message.number) is not int or not 0 <= message.number < MOST_NUMBER:
            self._violation(peer, "a causal settlement without a number")
            return
        sender = self._sender(peer)
        if message.number > sender.lost:
            sender.lost = message.number
            self._changed()
            self._recheck(peer)

    # Time, and peers that go.

    def _on_start(self, event: Start, now: float) -> None:
        """Take up what waited when a former life ended."""
        restored, self._restored = self._restored, None
        if restored is None:
            return
        for peer, stamped in restored.waiting:
            self.receive(peer, stamped, now)

    def _on_session_over(self, event: SessionOver, now: float) -> None:
        if event.peer in self._senders:
            self._senders[event.peer].doubtful = True

    def _on_forget(self, event: Forget, now: float) -> None:
        peer = event.peer
        self._gone[peer] = None
        if len(self._gone) > MOST_GONE:
            del self._gone[next(iter(self._gone))]
        for waiting in list(self._waiting):
            if waiting.peer == peer:
                waiting.forced = True
            else:
                waiting.wanted.pop(peer, None)
        sender = self._sender(peer)
        sender.lost = MOST_NUMBER
        self._recheck(peer)
        for number in sorted(sender.waiting):
            if number in sender.waiting:
                self._free(sender.waiting[number])
        del self._senders[peer]
        self._heard.pop(peer, None)
        self._order = sorted(self._heard, key=self._key)
        for known in (
            self._rows,
            self._clocks,
            self._last,
            self._last_clocks,
            self._outstanding,
            self._cuts,
            self._settling,
        ):
            known.pop(peer, None)
        for row in self._rows.values():
            row.pop(peer, None)
        self._changed()

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        if event.timer == SAVE_TIMER:
            self._unsaved = False
            self._save(self.state())
        elif event.timer == PATIENCE_TIMER:
            self._alarmed = False
            self._give_up(now)

    def _give_up(self, now: float) -> None:
        patience = self.config.patience
        if patience is None:
            return
        for waiting in list(self._waiting):
            if waiting.since + patience > now + 0.001:
                break
            if waiting in self._waiting and not waiting.forced:
                waiting.forced = True
                self._notify(GivenUp(waiting.peer, waiting.number))
                sender = self._senders[waiting.peer]
                sender.lost = max(sender.lost, waiting.wanted[waiting.peer])
                self._recheck(waiting.peer)
                self._free(waiting)
        next_one = next((waiting for waiting in self._waiting if not waiting.forced), None)
        if next_one is not None:
            self._alarm(next_one.since, now)

    def _free(self, waiting: Waiting) -> None:
        """Deliver a message that waits and need not any longer, if nothing of its own sender is before it."""
        if waiting in self._waiting and self._blocker(waiting) is None:
            self._release(waiting)
            self._deliver(waiting)

    def _alarm(self, since: float, now: float | None = None) -> None:
        if not self._alarmed and self.config.patience is not None:
            self._alarmed = True
            self._start_timer(PATIENCE_TIMER, max(0.0, since + self.config.patience - (since if now is None else now)))

    def _changed(self) -> None:
        if not self._unsaved and self.config.save_interval is not None:
            self._unsaved = True
            self._start_timer(SAVE_TIMER, self.config.save_interval)
