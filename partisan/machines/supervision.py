"""What a supervisor decides: which children end, in which order, which start again, and when it gives up.

A value without processes: whoever drives it carries the steps out one after the other and says how each went, by
`started`, `failed` and `down`. Children are kept in start order under keys of the driver's choice: their ids, or, for
`simple_one_for_one`, whatever is unique. Time is monotonic seconds, and an argument.

Rules (OTP's `supervisor`, as its documentation gives them):

- A permanent child is started again whatever its reason, a transient one unless it ended in order, a temporary one
  never. Whoever ends and will not be back leaves its entry behind if it may be started by hand, which a temporary child
  and a child of `simple_one_for_one` may not.
- `one_for_all` ends the others first, the latest first, `rest_for_one` those that were started after it; then all of
  them start, the earliest first. Temporary children among them only end.
- An attempt is counted, successful or not. More than `intensity` of them within `period` seconds end the supervisor.
- An attempt that fails is made again, after what else the supervisor was asked meanwhile: the driver is told `Retry`.
- A significant child that ends by itself and is not started again ends the supervisor: the first one
  (`any_significant`), or the last (`all_significant`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one")
RESTARTS = ("permanent", "transient", "temporary")
AUTO_SHUTDOWNS = ("never", "any_significant", "all_significant")

DOWN, UP, RESTARTING = "down", "up", "restarting"


@dataclass(slots=True, eq=False)
class Child:
    """One entry.

    Attributes:
        key: under which it is kept.
        restart: one of RESTARTS.
        significant: whether its end may end the supervisor.
        about: what the driver knows of it.
        state: DOWN, UP, or RESTARTING: an attempt to start it has failed and is to be made again.
    """

    key: Hashable
    restart: str
    significant: bool
    about: Any = None
    state: str = DOWN

    @property
    def temporary(self) -> bool:
        return self.restart == "temporary"


@dataclass(slots=True)
class Start:
    """Start the child; tell `started`, or `failed` and leave the rest of these steps."""

    child: Child


@dataclass(slots=True)
class End:
    """End the child; tell `down`."""

    child: Child


@dataclass(slots=True)
class Retry:
    """Call `retry` with this key, after whatever waits already."""

    key: Hashable


@dataclass(slots=True)
class Report:
    """Say what happened: `child_terminated`, or `shutdown`, when too many attempts end the supervisor."""

    context: str
    child: Child


@dataclass(slots=True)
class Shutdown:
    """End the supervisor, with the reason `shutdown`."""


Step = Start | End | Retry | Report | Shutdown


class Supervision:
    """The decisions of one supervisor.

    Args:
        strategy: one of STRATEGIES.
        intensity: so many attempts to start children again are allowed ...
        period: ... within so many seconds.
        auto_shutdown: one of AUTO_SHUTDOWNS.
    Attributes:
        children: key -> Child, in start order.
    """

    def __init__(self, strategy: str, intensity: int, period: float, auto_shutdown: str) -> None:
        self.children: dict[Hashable, Child] = {}
        self._attempts: deque[float] = deque()
        self._significant = 0  # children that are significant and not down
        self.change(strategy, intensity, period, auto_shutdown)

    def change(self, strategy: str, intensity: int, period: float, auto_shutdown: str) -> None:
        """Decide by other flags from now on; the attempts so far count."""
        self.strategy = strategy
        self.intensity = intensity
        self.period = period
        self.auto_shutdown = auto_shutdown

    @property
    def simple(self) -> bool:
        return self.strategy == "simple_one_for_one"

    def add(self, child: Child) -> Child:
        """Add an entry at the end, down."""
        self.children[child.key] = child
        return child

    def drop(self, child: Child) -> None:
        """Take an entry away."""
        self._become(child, DOWN)
        del self.children[child.key]

    def retype(self, child: Child, restart: str, significant: bool) -> None:
        """Treat an entry as being of another type from now on."""
        state = child.state
        self._become(child, DOWN)
        child.restart, child.significant = restart, significant
        self._become(child, state)

    def adopt(self, wanted: Iterable[Child]) -> None:
        """Take other entries, down; an entry of a known key takes the new type, and one not wanted comes after them."""
        kept, self.children = self.children, {}
        for new in wanted:
            child = kept.pop(new.key, None)
            if child is None:
                child = new
            else:
                self.retype(child, new.restart, new.significant)
            self.children[child.key] = child
        self.children.update(kept)

    # How steps went.

    def started(self, child: Child, up: bool = True) -> None:
        """It has started; with `up` false it chose not to, and stays down."""
        if up:
            self._become(child, UP)
        else:
            self.down(child)

    def failed(self, child: Child) -> list[Step]:
        """An attempt to start it again has failed."""
        self._become(child, RESTARTING)
        return [Retry(child.key)]

    def down(self, child: Child) -> None:
        """It has been ended, and is not to be started by itself."""
        self._become(child, DOWN)
        if child.temporary or self.simple:
            self.children.pop(child.key, None)

    # What happens.

    def ended(self, child: Child, in_order: bool, now: float) -> list[Step]:
        """A child that was up has ended by itself; `in_order` with the reason normal, shutdown or {shutdown, _}."""
        if child.restart == "permanent" or (child.restart == "transient" and not in_order):
            return [Report("child_terminated", child), *self._again(child, now)]
        steps: list[Step] = [] if in_order else [Report("child_terminated", child)]
        self.down(child)
        if child.significant and self._gives_up():
            steps.append(Shutdown())
        return steps

    def retry(self, key: Hashable, now: float) -> list[Step]:
        """Make the attempt again, if it is wanted still."""
        child = self.children.get(key)
        return [] if child is None or child.state is not RESTARTING else self._again(child, now)

    def stop(self) -> list[End]:
        """End all, the latest first."""
        return [End(child) for child in reversed(self.children.values()) if child.state is UP]

    def _gives_up(self) -> bool:
        if self.auto_shutdown == "all_significant":
            return self._significant == 0
        return self.auto_shutdown == "any_significant"

    def _again(self, child: Child, now: float) -> list[Step]:
        """The steps of an attempt to start a child again."""
        while self._attempts and self._attempts[0] < now - self.period:
            self._attempts.popleft()
        self._attempts.append(now)
        if len(self._attempts) > self.intensity:
            self.down(child)
            return [Report("shutdown", child), Shutdown()]
        self._become(child, DOWN)
        if self.strategy == "one_for_all":
            return self._all_of(child, list(self.children.values()))
        if self.strategy == "rest_for_one":
            every = list(self.children.values())
            return self._all_of(child, every[every.index(child) :])
        return [Start(child)]

    def _all_of(self, failed: Child, affected: list[Child]) -> list[Step]:
        ends: list[Step] = [End(child) for child in reversed(affected) if child is not failed and child.state is UP]
        for child in affected:
            if child.state is RESTARTING:
                self._become(child, DOWN)
        return ends + [Start(child) for child in affected if not child.temporary]

    def _become(self, child: Child, state: str) -> None:
        if child.significant:
            self._significant += (state is not DOWN) - (child.state is not DOWN)
        child.state = state
