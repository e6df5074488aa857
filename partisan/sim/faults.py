"""What may go wrong in a simulation, said as on live nodes (`Node.faults`), and what live nodes cannot be made to have.

The rules are those of `partisan.machines.faults`. Beside them, for the simulator alone:

    slow     everything from and to some nodes takes longer
    skew     the clocks of some nodes run fast, slow, or jump ahead; their timers with them
    forget   some nodes come back without what they had saved
    churn    nodes crash and come back at a rate

Chance is drawn from `Random(f"{seed}/faults")` and from the network's own, so equal seeds give equal runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from partisan.machines import faults as rules
from partisan.machines.faults import Rule
from partisan.machines.machine import Effect, Event, Peer, StartTimer
from partisan.sim.network import Driven, Network

Names = str | Iterable[str]


def _several(names: Names | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    return (names,) if isinstance(names, str) else tuple(names)


class Fault:
    """A fault in force, until `remove()` or the end of a `with` block.

    Attributes:
        rules: those that it consists of, which tell how many messages suffered; none if it is not about messages.
    """

    def __init__(self, heal: Callable[[], None], parts: Sequence[Rule] = ()) -> None:
        self.rules = tuple(parts)
        self._heal = heal

    @property
    def hits(self) -> int:
        """How many messages suffered, or how many suspicions arose."""
        return sum(rule.hits for rule in self.rules)

    def remove(self) -> None:
        """Heal it; a fault that is over already is left as it is."""
        self._heal()

    def __enter__(self) -> Fault:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class Skewed:
    """A machine whose clock is not the world's: what runs in its place.

    Args:
        machine: the machine.
        rate: seconds of its clock in a second.
        since: the world's time at which both clocks agree.
        ahead: seconds by which its clock jumps then.
    """

    def __init__(self, machine: Driven, rate: float, since: float, ahead: float) -> None:
        self.machine = machine
        self._rate = rate
        self._since = since
        self._ahead = ahead

    def __getattr__(self, name: str) -> Any:
        return getattr(self.machine, name)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event at the time that the machine's clock shows; timers run by it as well."""
        shown = self._since + self._ahead + (now - self._since) * self._rate
        effects = self.machine.handle(event, shown)
        return [
            StartTimer(effect.timer, effect.after / self._rate) if type(effect) is StartTimer else effect
            for effect in effects
        ]


class SimulatedFaults:
    """The faults of a network.

    Limits of each are as on live nodes: `source`, `destination` (names, one or several), `channel`, `kind`,
    `probability`, `skip`, `times`, and `lasting` in seconds from now. What is left out stands for every one.

    Args:
        network: whose nodes, messages and clocks suffer.
        name: peer -> its name, as the network has it.
    """

    def __init__(self, network: Network, name: Callable[[Peer], str] = str) -> None:
        self._network = network
        self._name = name
        self._rng = Random(f"{network.seed}/faults")
        self._skews: dict[int, tuple[tuple[str, ...], float, float, float]] = {}
        self._forgetful: dict[int, tuple[tuple[str, ...] | None, float]] = {}
        self._number = 0
        network.wrap = self._wrap

    def cut(self, destination: Names, source: Names | None = None, **scope: Any) -> Fault:
        """Let nothing pass to the destinations, one way."""
        return self._add(rules.Cut, {**scope, "destination": destination, "source": source})

    def partition(self, *groups: Iterable[str], lasting: float | None = None) -> Fault:
        """Let nothing pass between the groups of nodes, either way."""
        return self._add(rules.Partition, {"lasting": lasting}, groups=tuple(tuple(group) for group in groups))

    def omit(self, **limits: Any) -> Fault:
        """Lose messages."""
        return self._add(rules.Omission, limits)

    def duplicate(self, copies: int = 1, **limits: Any) -> Fault:
        """Let messages arrive so many more times."""
        return self._add(rules.Duplication, limits, copies=copies)

    def delay(self, seconds: float, **limits: Any) -> Fault:
        """Let messages arrive later, in their order."""
        return self._add(rules.Delay, limits, seconds=seconds)

    def reorder(self, jitter: float, **limits: Any) -> Fault:
        """Let messages arrive later by up to `jitter` seconds, whatever overtakes them."""
        return self._add(rules.Reordering, limits, jitter=jitter)

    def flip(self, bits: int = 1, positions: Iterable[float] = (), **limits: Any) -> Fault:
        """Invert bits of messages, at positions drawn by chance or at those given (of at least 0, below 1).

        Raises ValueError if the network has no octets: see `flip` of `Network`.
        """
        return self._add(rules.Flip, limits, bits=bits, positions=tuple(positions))

    def suspect(self, peer: Names, *, source: Names | None = None, every: float = 1.0, times: int | None = 1) -> Fault:
        """Hold a living peer for dead, in all or some nodes: at once, and `times` in all, about `every` seconds."""
        return self._put(
            rules.Suspicion(
                destinations=_several(peer),
                sources=_several(source),
                every=every,
                times=times,
                since=self._network.now,
            )
        )

    def slow(self, nodes: Names, seconds: float, **scope: Any) -> Fault:
        """Let whatever these nodes send or are sent take so much longer, in order."""
        there = self._add(rules.Delay, {**scope, "destination": nodes}, seconds=seconds)
        back = self._add(rules.Delay, {**scope, "source": nodes}, seconds=seconds)

        def heal() -> None:
            there.remove()
            back.remove()

        return Fault(heal, there.rules + back.rules)

    def skew(self, nodes: Names, rate: float = 1.0, ahead: float = 0.0) -> Fault:
        """Let the clocks of these nodes run at a rate from now on, and jump ahead at once; also after a restart.

        Healing makes them run true after their next restart: a clock does not go back.

        Raises:
            ValueError: the rate is not above 0, or the clocks would jump back.
        """
        if not (0.0 < rate < math.inf and 0.0 <= ahead < math.inf):
            raise ValueError(f"a clock of rate {rate!r} that jumps by {ahead!r} s")
        number = self._next()
        self._skews[number] = (_several(nodes) or (), rate, self._network.now, ahead)
        for node in self._network.nodes.values():
            if self._name(node.peer) in self._skews[number][0]:
                node.machine = Skewed(node.machine, rate, self._network.now, ahead)
        return Fault(lambda: self._drop(self._skews, number))

    def forget(self, nodes: Names | None = None, probability: float = 1.0) -> Fault:
        """Let these nodes, or all, lose what they had saved when `restart` starts them again."""
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"a probability of {probability!r}")
        number = self._next()
        self._forgetful[number] = (_several(nodes), probability)
        return Fault(lambda: self._drop(self._forgetful, number))

    def restart(self, peer: Peer) -> bool:
        """Start a node again, with what it had saved unless that is lost; whether it was there."""
        name = self._name(peer)
        lost = any(
            (names is None or name in names) and self._rng.random() < probability
            for names, probability in self._forgetful.values()
        )
        saved = None if lost else self._network.saved.get(peer)
        self._network.boot(peer, saved)
        return saved is not None

    def churn(
        self,
        rate: float,
        pause: float,
        rejoin: Callable[[Peer], None],
        *,
        least: int = 1,
        spared: Names = (),
    ) -> Fault:
        """Let nodes crash, one by one, and come back.

        Args:
            rate: crashes in a second; the times between them are drawn from the exponential distribution.
            pause: seconds until a node that has crashed is started again by `restart`.
            rejoin: told of it after that, to have it join.
            least: nodes that run on at least.
            spared: names of nodes that do not crash.
        Raises:
            ValueError: the rate is not above 0, or the pause is below 0.
        """
        if not (0.0 < rate < math.inf and 0.0 <= pause < math.inf):
            raise ValueError(f"{rate!r} crashes a second with a pause of {pause!r} s")
        going = [True]
        kept = _several(spared) or ()
        network = self._network

        def come_back(peer: Peer) -> None:
            if peer not in network.nodes:
                self.restart(peer)
                rejoin(peer)

        def crash() -> None:
            if not going[0]:
                return
            living = [peer for peer in network.nodes if self._name(peer) not in kept]
            if living and len(network.nodes) > least:
                victim = self._rng.choice(living)
                network.crash(victim)
                network.after(pause, lambda: come_back(victim))
            network.after(self._rng.expovariate(rate), crash)

        network.after(self._rng.expovariate(rate), crash)
        return Fault(lambda: going.__setitem__(0, False))

    def clear(self) -> None:
        """Heal everything but churn."""
        self._network.heal()
        self._skews.clear()
        self._forgetful.clear()

    @property
    def counts(self) -> dict[str, int]:
        """How many messages suffered, and how many suspicions arose, by the name of the rule."""
        return dict(self._network.faults.counts)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _drop(self, where: dict[int, Any], number: int) -> None:
        where.pop(number, None)

    def _wrap(self, peer: Peer, machine: Driven) -> Driven:
        for names, rate, since, ahead in self._skews.values():
            if self._name(peer) in names:
                machine = Skewed(machine, rate, since, ahead)
        return machine

    def _add(self, kind: type[Rule], limits: dict[str, Any], **about: Any) -> Fault:
        about |= limits
        for name in ("source", "destination", "channel", "kind"):
            about[f"{name}s"] = _several(about.pop(name, None))
        lasting = about.pop("lasting", None)
        now = self._network.now
        return self._put(kind(**about, since=now, until=rules.FOREVER if lasting is None else now + lasting))

    def _put(self, rule: Rule) -> Fault:
        number = self._network.inject(rule)
        return Fault(lambda: self._network.heal(number), (rule,))
