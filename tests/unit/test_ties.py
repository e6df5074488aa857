"""Links, monitors and exit signals of one node, against a model of what a BEAM does."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from partisan._core.process import Process, receive
from partisan._core.ties import Link, Monitor, link, unlink
from partisan.errors import Exit
from partisan.etf import Atom, Pid, Reference
from tests.unit.hollow import Cancelled, Core

NORMAL, KILL, KILLED, NOPROC, BOOM = map(Atom, ("normal", "kill", "killed", "noproc", "boom"))
EXIT, DOWN, PROCESS, END = map(Atom, ("EXIT", "DOWN", "process", "end"))
REASONS = [NORMAL, KILL, BOOM, Atom("shutdown"), (Atom("error"), 7)]
STRANGER = Pid("a@127.0.0.1", 0)


async def keep(seen: list[Any]) -> None:
    """Keep what comes; `(end, Reason)` ends with the reason."""
    while True:
        match await receive():
            case (Atom("end"), reason):
                raise Exit(reason)
            case message:
                seen.append(message)


def monitored(core: Core, holder: Process, other: Process, number: int = 1, tag: object = DOWN) -> Reference:
    """Monitor as a node does."""
    reference = Reference(core.name, (number,))
    monitor = Monitor(holder, reference, other.pid, tag)
    holder.tie(reference, monitor)
    if other.done():
        monitor.fire(NOPROC)
    else:
        monitor.watch(other)
    return reference


# The model.


@dataclass(eq=False)
class Twin:
    """What a process should be.

    Attributes:
        watches: on it, oldest first: the twin at the other end of a link, or (holder, reference, tag).
        monitors: that it holds.
    """

    process: Process
    seen: list[Any]
    alive: bool = True
    trapping: bool = False
    reason: Any = None
    watches: list[Any] = field(default_factory=list)
    monitors: dict[Reference, Twin] = field(default_factory=dict)
    inbox: list[Any] = field(default_factory=list)


class Ties(RuleBasedStateMachine):
    """Any sequence of ties, signals and ends leaves the processes as BEAM would leave them."""

    def __init__(self) -> None:
        super().__init__()
        self.core = Core()
        self.twins: list[Twin] = []
        self.ending: deque[tuple[Twin, Any]] = deque()
        self.count = 0
        for _ in range(3):
            self.spawn()

    # What the model does.

    def take_signal(self, twin: Twin, reason: Any, sender: Pid, linked: bool) -> None:
        if not twin.alive:
            return
        if reason is KILL and not linked:
            self.doom(twin, KILLED)
        elif any(each is twin for each, _ in self.ending):
            return
        elif twin.trapping:
            twin.inbox.append((EXIT, sender, reason))
        elif reason is not NORMAL or (not linked and sender == twin.process.pid):
            self.doom(twin, reason)

    def doom(self, twin: Twin, reason: Any) -> None:
        for place, (each, _) in enumerate(self.ending):
            if each is twin:
                self.ending[place] = (twin, reason)
                return
        self.ending.append((twin, reason))

    def settle(self) -> None:
        """End whoever is to end, and whoever that takes along."""
        while self.ending:
            twin, reason = self.ending[0]
            twin.alive, twin.reason = False, reason
            watches, twin.watches = twin.watches, []
            for watch in watches:
                if isinstance(watch, Twin):
                    watch.watches.remove(twin)
                    self.take_signal(watch, reason, twin.process.pid, True)
                else:
                    holder, reference, tag = watch
                    del holder.monitors[reference]
                    holder.inbox.append((tag, reference, PROCESS, twin.process.pid, reason))
            for reference, other in twin.monitors.items():
                other.watches = [each for each in other.watches if not self.is_monitor(each, reference)]
            self.ending.popleft()

    @staticmethod
    def is_monitor(watch: Any, reference: Reference) -> bool:
        return isinstance(watch, tuple) and watch[1] == reference

    def run(self) -> None:
        self.core.run()
        self.settle()

    # What happens.

    def pick(self, data: st.DataObject, *, living: bool = True) -> Twin:
        return data.draw(st.sampled_from([twin for twin in self.twins if twin.alive or not living]))

    @precondition(lambda self: len(self.twins) < 12)
    @rule()
    def spawn(self) -> None:
        seen: list[Any] = []
        self.twins.append(Twin(self.core.spawn(keep(seen)), seen))

    @precondition(lambda self: any(twin.alive for twin in self.twins))
    @rule(data=st.data())
    def link(self, data: st.DataObject) -> None:
        one, other = self.pick(data), self.pick(data)
        link(one.process, other.process)
        if one is not other and other not in one.watches:
            one.watches.append(other)
            other.watches.append(one)
        self.run()

    @precondition(lambda self: any(twin.alive for twin in self.twins))
    @rule(data=st.data())
    def unlink(self, data: st.DataObject) -> None:
        one, other = self.pick(data), self.pick(data, living=False)
        found = unlink(one.process, other.process.pid)
        assert (found is not None) == (other in one.watches)
        if found is not None:
            one.watches.remove(other)
            other.watches.remove(one)
        self.run()

    @precondition(lambda self: any(twin.alive for twin in self.twins))
    @rule(data=st.data(), tag=st.sampled_from([DOWN, Atom("gone"), (Atom("tag"), 1)]))
    def monitor(self, data: st.DataObject, tag: object) -> None:
        holder, other = self.pick(data), self.pick(data, living=False)
        self.count += 1
        reference = monitored(self.core, holder.process, other.process, self.count, tag)
        if other.alive:
            holder.monitors[reference] = other
            other.watches.append((holder, reference, tag))
        else:
            holder.inbox.append((tag, reference, PROCESS, other.process.pid, NOPROC))
        self.run()

    @precondition(lambda self: any(twin.monitors and twin.alive for twin in self.twins))
    @rule(data=st.data())
    def demonitor(self, data: st.DataObject) -> None:
        holder = data.draw(st.sampled_from([twin for twin in self.twins if twin.monitors and twin.alive]))
        reference = data.draw(st.sampled_from(list(holder.monitors)))
        watch = holder.process.untie(reference)
        assert isinstance(watch, Monitor)
        watch.drop()
        other = holder.monitors.pop(reference)
        other.watches = [each for each in other.watches if not self.is_monitor(each, reference)]
        assert holder.process.untie(reference) is None
        self.run()

    @precondition(lambda self: any(twin.alive for twin in self.twins))
    @rule(data=st.data(), flag=st.booleans())
    def trap(self, data: st.DataObject, flag: bool) -> None:
        twin = self.pick(data)
        assert twin.process.trap_exit(flag) == twin.trapping
        twin.trapping = flag

    @rule(data=st.data(), reason=st.sampled_from(REASONS), own=st.booleans())
    def signal(self, data: st.DataObject, reason: object, own: bool) -> None:
        twin = self.pick(data, living=False)
        sender = twin.process.pid if own else STRANGER
        twin.process.signal(reason, sender)
        self.take_signal(twin, reason, sender, False)
        self.run()

    @precondition(lambda self: any(twin.alive for twin in self.twins))
    @rule(data=st.data(), reason=st.sampled_from(REASONS))
    def end(self, data: st.DataObject, reason: object) -> None:
        twin = self.pick(data)
        self.core.scheduler.send_local(twin.process, (END, reason))
        self.ending.append((twin, reason))
        self.run()

    @precondition(lambda self: any(twin.alive for twin in self.twins))
    @rule(data=st.data(), reasons=st.lists(st.sampled_from(REASONS), min_size=2, max_size=4))
    def signals_at_once(self, data: st.DataObject, reasons: list[Any]) -> None:
        for reason in reasons:
            twin = self.pick(data)
            twin.process.signal(reason, STRANGER)
            self.take_signal(twin, reason, STRANGER, False)
        self.run()

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        for twin in self.twins:
            process = twin.process
            assert process.done() == (not twin.alive)
            assert process.alive == twin.alive
            if not twin.alive:
                assert process.exit_reason == twin.reason
                assert process.watches() == []
                continue
            assert twin.seen == twin.inbox
            assert set(process.links) == {each.process.pid for each in twin.watches if isinstance(each, Twin)}
            assert set(process.monitors) == set(twin.monitors)
            assert len(process.watches()) == len(twin.watches)

    def teardown(self) -> None:
        self.core.close()


Ties.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestTies = Ties.TestCase


# What the model leaves out.


@pytest.fixture
def pair(core: Core) -> tuple[Process, Process, list[Any]]:
    """Two linked processes, and what the second sees, which traps exits."""
    seen: list[Any] = []
    one, other = core.spawn(keep([]), "one"), core.spawn(keep(seen), "other")
    other.trap_exit(True)
    link(one, other)
    return one, other, seen


def test_kill_arrives_at_the_linked_as_killed(core: Core, pair: tuple[Process, Process, list[Any]]) -> None:
    one, _, seen = pair
    one.trap_exit(True)
    one.signal(KILL, STRANGER)
    core.run()
    assert one.exit_reason is KILLED
    assert seen == [(EXIT, one.pid, KILLED)]


def test_kill_as_the_own_reason_of_a_linked_process_can_be_trapped(
    core: Core, pair: tuple[Process, Process, list[Any]]
) -> None:
    one, other, seen = pair
    core.tell(one, (END, KILL))
    assert seen == [(EXIT, one.pid, KILL)]
    assert not other.done()


def test_kill_along_a_link_ends_who_does_not_trap_with_kill(core: Core) -> None:
    one, other = core.spawn(keep([])), core.spawn(keep([]))
    link(one, other)
    core.tell(one, (END, KILL))
    assert other.exit_reason is KILL


def test_an_exception_is_the_reason_that_the_linked_get(core: Core, pair: tuple[Process, Process, list[Any]]) -> None:
    one, _, seen = pair
    error = ValueError("x")
    core.scheduler.interrupt(one, error)
    core.run()
    assert seen == [(EXIT, one.pid, error)], "the hollow core's reason is the exception itself"


def test_a_killed_process_does_not_clean_up_by_awaiting(core: Core) -> None:
    log: list[str] = []

    async def tidy() -> None:
        try:
            await receive()
        finally:
            log.append("begun")
            await receive()
            log.append("not reached")

    process = core.spawn(tidy())
    process.signal(KILL, STRANGER)
    core.run()
    assert process.exit_reason is KILLED
    assert log == ["begun"]


def test_a_killed_process_that_will_not_be_closed_is_closed_again_and_again(core: Core) -> None:
    log: list[int] = []

    async def clinging() -> None:
        for number in range(3):
            try:
                await receive(timeout=100.0)
            except BaseException:
                log.append(number)
        await receive(timeout=100.0)

    process = core.spawn(clinging())
    process.signal(KILL, STRANGER)
    core.run()
    assert process.exit_reason is KILLED
    assert log == [0, 1, 2]
    assert len(core.scheduler.deadlines) == 0
    assert core.scheduler.processes == {}


def test_the_first_reason_counts(core: Core) -> None:
    process = core.spawn(keep([]))
    process.signal(BOOM, STRANGER)
    process.signal(NOPROC, STRANGER)
    core.run()
    assert process.exit_reason is BOOM


def test_a_process_is_alive_until_it_is_told_to_end(core: Core) -> None:
    process = core.spawn(keep([]))
    assert process.alive
    process.signal(BOOM, STRANGER)
    assert not process.alive
    assert not process.done()


def test_a_swallowed_exit_signal_is_met_again_by_the_next_receive(core: Core) -> None:
    met: list[int] = []

    async def stubborn() -> None:
        for number in range(3):
            try:
                await receive()
            except Cancelled:
                met.append(number)

    process = core.spawn(stubborn())
    process.signal(BOOM, STRANGER)
    core.run()
    assert met == [0, 1, 2]
    assert process.exit_reason is BOOM, "although it has returned"


def test_a_process_that_swallows_whatever_a_wait_raises_does_not_spin_for_ever(core: Core) -> None:
    met: list[int] = []

    async def careless() -> None:
        while len(met) < 100_000:
            try:
                await receive()
            except Cancelled:
                met.append(1)

    process = core.spawn(careless())
    process.signal(BOOM, STRANGER)
    core.run()
    assert process.exit_reason is BOOM
    assert 1 < len(met) < 100_000
    assert core.scheduler.processes == {}


def test_a_killed_process_meets_the_signal_once_before_it_is_closed(core: Core) -> None:
    met: list[str] = []

    async def body() -> None:
        try:
            await receive()
        except Cancelled:
            met.append("signal")
            try:
                await receive()
            except GeneratorExit:
                met.append("close")
                raise

    process = core.spawn(body())
    process.signal(KILL, STRANGER)
    core.run()
    assert met == ["signal", "close"]
    assert process.exit_reason is KILLED


def test_an_exit_signal_before_the_first_step_ends_a_process_before_it_has_begun(core: Core) -> None:
    begun: list[bool] = []

    async def body() -> None:
        begun.append(True)

    process = core.start(body())
    process.signal(BOOM, STRANGER)
    core.run()
    assert begun == []
    assert process.exit_reason is BOOM


class Never:
    """A future that is never done."""

    def __await__(self) -> Any:
        self._asyncio_future_blocking = True
        yield self

    def add_done_callback(self, function: Any, context: Any) -> None:
        """Nothing is ever done."""

    def cancel(self, msg: Any = None) -> bool:
        return False


@pytest.mark.parametrize("reason", [BOOM, KILL])
def test_an_exit_signal_is_not_lost_to_a_cancellation_that_is_taken_back(core: Core, reason: object) -> None:
    log: list[str] = []

    async def body() -> None:
        await Never()
        log.append("went on")

    process = core.spawn(body())
    process.signal(reason, STRANGER)
    process.cancel()
    process.uncancel()
    core.run()
    assert process.done()
    assert log == []


def test_links_and_monitors_of_one_process_are_told_in_the_order_in_which_they_were_made(core: Core) -> None:
    seen: list[Any] = []
    target, watcher = core.spawn(keep([])), core.spawn(keep(seen))
    watcher.trap_exit(True)
    first = monitored(core, watcher, target, 1)
    link(watcher, target)
    second = monitored(core, watcher, target, 2)
    core.tell(target, (END, BOOM))
    assert seen == [
        (DOWN, first, PROCESS, target.pid, BOOM),
        (EXIT, target.pid, BOOM),
        (DOWN, second, PROCESS, target.pid, BOOM),
    ]


def test_what_a_process_sent_before_its_end_comes_before_the_news_of_it(core: Core) -> None:
    seen: list[Any] = []
    watcher = core.spawn(keep(seen))

    async def last_words() -> None:
        core.scheduler.send_local(watcher, "goodbye")

    target = core.start(last_words())
    reference = monitored(core, watcher, target)
    core.run()
    assert seen == ["goodbye", (DOWN, reference, PROCESS, target.pid, NORMAL)]


def test_a_link_of_another_node_tells_it(core: Core) -> None:
    told: list[Any] = []
    there = Pid("b@127.0.0.1", 3)
    process = core.spawn(keep([]))
    end = Link(process, there, lambda *news: told.append(news))
    end.watch(process)
    process.tie(there, end)
    assert process.links == [there]
    core.tell(process, (END, BOOM))
    assert told == [(process.pid, there, BOOM)]


def test_an_unlinked_end_of_another_node_tells_nothing(core: Core) -> None:
    told: list[Any] = []
    there = Pid("b@127.0.0.1", 3)
    process = core.spawn(keep([]))
    end = Link(process, there, lambda *news: told.append(news))
    end.watch(process)
    process.tie(there, end)
    assert unlink(process, there) is end
    core.tell(process, (END, BOOM))
    assert told == []


def test_taking_a_message_out_leaves_none_behind_it_unseen(core: Core) -> None:
    found: list[object] = []

    async def picky() -> None:
        found.append(await receive("wanted"))

    process = core.spawn(picky())
    core.tell(process, 1, 2)
    core.scheduler.send_local(process, "wanted")  # it is awake, but has not run yet
    assert process.remove(lambda message: message == 1)
    core.run()
    assert found == ["wanted"]
