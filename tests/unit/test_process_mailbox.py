"""Mailboxes that are bounded, and receives that need not look at everything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan._core.process import Process, receive
from partisan.errors import ReceiveTimeout
from partisan.etf import Atom, Reference
from tests.unit.hollow import Cancelled, Core

POLICIES = ["drop_newest", "drop_oldest", "exit"]
BEFORE = 10_000


def reference(core: Core, number: int) -> Reference:
    """Make a reference as a node does."""
    made = Reference(core.name, (number,))
    core.scheduler.mark(made)
    return made


async def run_steps(core: Core, steps: list[tuple[str, int]], found: list[Any], process: list[Process]) -> None:
    """Do what the steps say; keep what is received, None for nothing."""
    refs: list[Reference] = []
    await receive("go")
    for step, number in steps:
        match step:
            case "send":
                core.scheduler.send_local(process[0], number)
            case "ref":
                refs.append(reference(core, len(refs) + 1))
            case "answer" if refs:
                core.scheduler.send_local(process[0], (refs[number % len(refs)], number))
            case "remove":
                found.append(process[0].remove(number))
            case _:
                patterns: dict[str, tuple[Any, ...]] = {
                    "any": (),
                    "number": (number,),
                    "latest": ((refs[-1], ...),) if refs else ("none",),
                    "one of": ((refs[number % len(refs)], ...), (..., refs[-1])) if refs else ("none",),
                    "or": ((refs[-1], ...), number) if refs else ("none",),
                }
                try:
                    found.append(await receive(*patterns.get(step, ("none",)), timeout=0))
                except ReceiveTimeout:
                    found.append(None)


def expected(core: Core, steps: list[tuple[str, int]], policy: str, limit: int) -> list[Any]:
    """What comes of the steps, by looking at every message from the first on."""
    mailbox: list[Any] = []
    refs: list[Reference] = []
    found: list[Any] = []

    def push(message: Any) -> None:
        if len(mailbox) == limit:
            if policy == "drop_newest":
                return
            del mailbox[0]
        mailbox.append(message)

    def take(wanted: Any) -> Any:
        for place, message in enumerate(mailbox):
            if wanted(message):
                return mailbox.pop(place)
        return None

    def starts(message: Any, *wanted: Reference) -> bool:
        return isinstance(message, tuple) and message[0] in wanted

    for step, number in steps:
        one = refs[number % len(refs)] if refs else None
        match step:
            case "send":
                push(number)
            case "ref":
                refs.append(Reference(core.name, (len(refs) + 1,)))
            case "answer":
                if one is None:
                    found.append(None)
                else:
                    push((one, number))
            case "remove":
                found.append(take(lambda message, number=number: message == number) is not None)
            case "any":
                found.append(take(lambda message: True))
            case "number":
                found.append(take(lambda message, number=number: message == number))
            case "latest" if refs:
                found.append(take(lambda message: starts(message, refs[-1])))
            case "one of" if one is not None:
                found.append(take(lambda message, one=one: starts(message, one)))
            case "or" if refs:
                found.append(take(lambda message, number=number: starts(message, refs[-1]) or message == number))
            case _:
                found.append(None)
    return found


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["send", "send", "ref", "answer", "answer", "remove", "any", "number", "latest", "one of", "or"]
        ),
        st.integers(0, 3),
    ),
    min_size=20,  # shorter lists would say little
    max_size=60,
)


@given(steps=STEPS, policy=st.sampled_from(["drop_newest", "drop_oldest"]), limit=st.sampled_from([3, 1000]))
def test_a_receive_finds_what_it_would_find_if_it_looked_at_everything(
    steps: list[tuple[str, int]], policy: str, limit: int
) -> None:
    core = Core()
    found: list[Any] = []
    processes: list[Process] = []
    processes.append(core.spawn(run_steps(core, steps, found, processes)))
    processes[0].bound_mailbox(limit, policy)
    core.tell(processes[0], "go")
    assert found == expected(core, steps, policy, limit)
    core.close()


def test_a_receive_by_a_new_reference_does_not_look_at_what_came_before_it(core: Core) -> None:
    looked: list[object] = []
    found: list[object] = []

    def look(term: object) -> bool:
        looked.append(term)
        return True

    async def body() -> None:
        await receive("go")
        made = reference(core, 1)
        found.append(await receive((look, made)))
        core.scheduler.send_local(process, ("again", made))
        found.append(await receive((look, made)))

    process = core.spawn(body())
    for number in range(BEFORE):
        core.scheduler.send_local(process, (number, "old"))
    core.tell(process, "go")
    made = Reference(core.name, (1,))
    core.tell(process, ("wrong", made, 1), ("right", made))
    assert found == [("right", made), ("again", made)]
    assert "wrong" not in looked
    assert 0 not in looked
    assert looked.count("again") == 1


def test_the_mark_moves_along_when_what_came_before_it_is_taken(core: Core) -> None:
    found: list[object] = []

    async def body() -> None:
        await receive("go")
        made = reference(core, 1)
        found.append(await receive("b"))
        found.append(process.remove(lambda message: message == "a"))
        core.scheduler.send_local(process, (made, "answer"))
        found.append((await receive((made, ...), timeout=0))[1])

    process = core.start(body())
    for message in ("a", "b", "c", "go"):
        core.scheduler.send_local(process, message)
    core.run()
    assert found == ["b", True, "answer"]


@pytest.mark.parametrize(
    "pattern", ["old", ("old", ...), lambda message: message == "old"], ids=["term", "tuple", "call"]
)
def test_a_receive_that_may_match_what_came_before_a_reference_finds_it(core: Core, pattern: Any) -> None:
    found: list[object] = []

    async def body() -> None:
        await receive("go")
        made = reference(core, 1)
        found.append(await receive((made, ...), pattern))

    message = ("old", 1) if isinstance(pattern, tuple) else "old"
    core.tell(core.spawn(body()), message, "go")
    assert found == [message]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_process_that_waits_gets_every_message_whatever_the_bound(core: Core, policy: str) -> None:
    found: list[object] = []

    async def body() -> None:
        while True:
            found.append(await receive(int))

    process = core.spawn(body())
    process.bound_mailbox(1, policy)
    for number in range(5):
        core.tell(process, number)
    assert found == list(range(5))
    assert (process.dropped, process.max_mailbox) == (0, 1)


def test_what_a_full_mailbox_drops_wakes_nobody(core: Core) -> None:
    found: list[object] = []

    async def body() -> None:
        found.append(await receive("wanted"))

    process = core.spawn(body())
    process.bound_mailbox(2, "drop_newest")
    core.tell(process, 1, 2, "wanted")
    assert (found, list(process.mailbox), process.dropped) == ([], [1, 2], 1)
    assert core.scheduler.delivered == 2
    assert core.scheduler.dropped == 1


def test_a_full_mailbox_that_ends_its_process_does_so_once_and_grows_no_more(core: Core) -> None:
    waits: list[object] = []

    async def body() -> None:
        try:
            await receive("never")
        except Cancelled:
            await core_future

    class Never:
        """A future that is never done."""

        _asyncio_future_blocking = True

        def __await__(self) -> Any:
            waits.append(self)
            yield self

        def add_done_callback(self, function: Any, context: Any) -> None:
            pass

        def cancel(self) -> None:
            pass

    core_future = Never()
    process = core.spawn(body())
    process.bound_mailbox(2, "exit")
    core.tell(process, *range(10))
    assert waits == [core_future]
    assert not process.alive
    assert len(process.mailbox) == 2
    core.scheduler.interrupt(process, Cancelled())
    core.run()
    assert process.exit_reason == (Atom("system_limit"), Atom("max_mailbox"))


@pytest.mark.parametrize(("messages", "policy"), [(0, "exit"), (-1, "exit"), (1, ""), (1, "wait")])
def test_a_bound_that_makes_no_sense_is_refused(core: Core, messages: int, policy: str) -> None:
    process = core.spawn(receive_for_ever())
    with pytest.raises(ValueError, match="mailbox"):
        process.bound_mailbox(messages, policy)


async def receive_for_ever() -> None:
    while True:
        await receive("never")


def test_a_bounded_mailbox_is_still_reported_when_it_is_large(core: Core) -> None:
    crowded: list[Process] = []

    def watch(large: int) -> None:
        core.scheduler.watch(
            stopwatch=lambda: 0.0, long_step=0.0, slow=print, large_mailbox=large, crowd=crowded.append
        )

    watch(3)
    process = core.spawn(receive_for_ever())
    process.bound_mailbox(8, "drop_oldest")
    core.tell(process, *range(3))
    assert crowded == []
    core.tell(process, 3)
    assert crowded == [process]
    core.tell(process, *range(20))
    assert (crowded, len(process.mailbox)) == ([process], 8)
    other = core.spawn(receive_for_ever())
    watch(0)
    core.tell(other, *range(20))
    assert crowded == [process]
