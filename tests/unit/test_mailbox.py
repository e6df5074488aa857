"""A mailbox keeps the order of arrival, whatever is taken from its middle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan._core.process import receive
from tests.unit.hollow import Core, collect


async def take(orders: list[object], taken: list[object]) -> None:
    """Wait for an order, then take one message of that value."""
    while True:
        _, wanted = await receive(("take", ...))
        taken.append(await receive(wanted, timeout=0))


@given(st.lists(st.integers(0, 40), max_size=60), st.data())
def test_any_message_can_be_taken_and_the_others_keep_their_order(arrivals: list[int], data: st.DataObject) -> None:
    core = Core()
    taken: list[object] = []
    process = core.spawn(take([], taken))
    expected = [(index, value) for index, value in enumerate(arrivals)]
    core.tell(process, *expected)
    wanted = data.draw(st.lists(st.sampled_from(expected), unique=True) if expected else st.just([]))
    for message in wanted:
        core.tell(process, ("take", message))
        expected.remove(message)
        assert list(process.mailbox) == expected
        assert len(process.mailbox) == len(expected)
    assert taken == wanted
    core.close()


def test_a_mailbox_that_wraps_around_grows_without_losing_its_order(core: Core) -> None:
    async def swallow(count: int) -> None:
        for _ in range(count):
            await receive(int)
        await receive("never")

    process = core.start(swallow(5))
    core.tell(process, *range(8))  # the ring is full, then its head moves on
    core.tell(process, *range(8, 40))
    assert list(process.mailbox) == list(range(5, 40))


def test_an_iterator_of_a_mailbox_is_a_copy(core: Core) -> None:
    async def wait() -> None:
        await receive("go")
        await receive(1)
        await receive("never")

    process = core.spawn(wait())
    core.tell(process, 1, 2, 3)
    waiting = iter(process.mailbox)
    core.tell(process, "go")
    assert list(waiting) == [1, 2, 3]
    assert list(process.mailbox) == [2, 3]


def test_a_process_that_ends_lets_its_messages_go(core: Core) -> None:
    class Message:
        alive = 0

        def __init__(self) -> None:
            Message.alive += 1

        def __del__(self) -> None:
            Message.alive -= 1

    async def one() -> None:
        await receive("stop")

    process = core.spawn(one())
    core.tell(process, *[Message() for _ in range(20)])
    assert Message.alive == 20
    core.tell(process, "stop")
    assert Message.alive == 0
    assert len(process.mailbox) == 0


def test_a_mailbox_dropped_with_its_scheduler_lets_its_messages_go() -> None:
    class Message:
        alive = 0

        def __del__(self) -> None:
            Message.alive -= 1

    async def idle() -> None:
        await receive("never")

    Message.alive = 9
    core = Core()
    core.tell(core.spawn(idle()), *[Message() for _ in range(9)])
    core.close()
    del core
    assert Message.alive == 0


def test_a_pattern_may_be_any_shape(core: Core) -> None:
    found: list[tuple[str, Any]] = []

    class Point:
        pass

    point = Point()
    patterns: dict[str, Any] = {
        "class": Point,
        "tuple": ("ok", ..., int),
        "value": 1,
        "callable": lambda message: isinstance(message, dict) and "x" in message,
    }

    async def look(name: str) -> None:
        found.append((name, await receive(patterns[name])))

    noise = [True, 1.0, "ok", ("ok", 1), ("ok", 1, 2.0), ("no", 1, 2), {"y": 1}, [1]]
    for name, message in [("class", point), ("tuple", ("ok", None, 2)), ("value", 1), ("callable", {"x": 2})]:
        process = core.spawn(look(name))
        core.tell(process, *noise)
        assert (name, message) not in found
        core.tell(process, message)
        assert found[-1] == (name, message)


def test_nested_tuples_match_element_by_element(core: Core) -> None:
    found: list[object] = []

    async def look() -> None:
        found.append(await receive((("a", ...), int), (..., "z")))

    process = core.spawn(look())
    core.tell(process, (("b", 1), 2), (("a", 1), "y"), ("a", 1, 2), (("a", 1), 2))
    assert found == [(("a", 1), 2)]


class Gone:
    """A message that can be told from any other object, even where that took its memory."""

    def __init__(self, name: str) -> None:
        self.name = name


def test_a_message_stays_alive_while_a_pattern_that_drops_it_is_asked_about_it(core: Core) -> None:
    seen: list[object] = []
    process = core.start(wait())
    process.bound_mailbox(2, "drop_oldest")

    def first(message: object) -> bool:
        core.scheduler.send_local(process, ("late", "er"))
        return True

    def second(message: object) -> bool:
        seen.append(type(message))
        return False

    for name in ("one", "two"):
        core.scheduler.send_local(process, (Gone(name), Gone(name)))
    assert not process.remove((first, second))
    assert Gone in seen
    assert set(seen) <= {Gone, str}


async def wait() -> None:
    await receive("never")


@pytest.mark.parametrize("asked", range(6))
@pytest.mark.parametrize("taken", range(6))
@pytest.mark.parametrize("nested", [False, True], ids=["at once", "by a pattern that it asks"])
def test_a_pattern_that_takes_messages_out_leaves_the_one_that_it_says_yes_to(
    core: Core, asked: int, taken: int, nested: bool
) -> None:
    process = core.start(wait())
    left = list(range(6))

    def inner(message: object) -> bool:
        if nested and message == taken and taken in left:
            left.remove(taken)
            assert process.remove(taken)
            return False
        return message == taken

    def outer(message: object) -> bool:
        if message == asked and taken in left:
            assert process.remove(inner) is not nested
            if not nested:
                left.remove(taken)
        return message == asked

    for number in range(6):
        core.scheduler.send_local(process, number)
    assert process.remove(outer) == (asked != taken)
    if asked != taken:
        left.remove(asked)
    assert list(process.mailbox) == left


def test_a_pattern_that_fills_the_mailbox_leaves_the_message_that_it_says_yes_to(core: Core) -> None:
    process = core.start(wait())

    def wanted(message: object) -> bool:
        for number in range(100):
            core.scheduler.send_local(process, number)
        return message == "wanted"

    for message in ("a", "wanted"):
        core.scheduler.send_local(process, message)
    assert process.remove(wanted)
    assert list(process.mailbox) == ["a", *range(100), *range(100)]


@pytest.mark.parametrize("timeout", [None, 1.0])
def test_a_message_that_a_pattern_sends_while_it_is_asked_is_found(core: Core, timeout: float | None) -> None:
    found: list[object] = []

    def wanted(message: object) -> bool:
        if message == "other":
            core.scheduler.send_local(process, "wanted")
        return message == "wanted"

    async def look() -> None:
        await receive("go")
        found.append(await receive(wanted, timeout=timeout))

    process = core.spawn(look())
    core.tell(process, "other", "go")
    assert found == ["wanted"]


def test_a_pattern_that_sends_to_its_process_at_each_message_keeps_no_other_from_running(core: Core) -> None:
    found: list[object] = []

    def never(message: object) -> bool:
        core.scheduler.send_local(process, message)
        return False

    process = core.start(collect(found, never))
    other = core.start(collect(found, int))
    core.scheduler.send_local(process, "one")
    core.turn()
    core.scheduler.send_local(other, 1)
    core.turn()
    core.turn()
    assert found == [1]
    process.doom("enough")
    core.run()


def test_a_pattern_that_raises_ends_its_search_alone(core: Core) -> None:
    process = core.start(wait())

    def fail(message: object) -> bool:
        raise ValueError("as asked")

    for number in range(3):
        core.scheduler.send_local(process, number)
    with pytest.raises(ValueError, match="as asked"):
        process.remove(fail)
    assert process.remove(1)
    assert list(process.mailbox) == [0, 2]


@pytest.mark.parametrize("sent", ["note", "wanted too"])
@pytest.mark.parametrize("about", ["wanted", "other"])
def test_a_message_that_a_waiting_pattern_sends_when_it_is_asked_hides_none(core: Core, about: str, sent: str) -> None:
    found: list[object] = []
    left = [about]

    def wanted(message: object) -> bool:
        if message in left:
            left.clear()
            core.scheduler.send_local(process, sent)
        return str(message).startswith("wanted")

    process = core.spawn(collect(found, wanted))
    core.tell(process, "a", "other", "wanted", "b", "c")
    expected = ["wanted", sent] if about == "wanted" else [sent, "wanted"]
    assert found == [message for message in expected if message != "note"]
    steps = core.scheduler.steps
    core.tell(process, "d")
    assert core.scheduler.steps == steps


def test_a_message_that_takes_the_place_of_another_while_a_waiting_pattern_is_asked_is_seen(core: Core) -> None:
    found: list[object] = []
    left = ["other"]

    def wanted(message: object) -> bool:
        if message in left:
            left.clear()
            core.scheduler.send_local(process, "wanted")
        return message == "wanted"

    process = core.spawn(collect(found, wanted))
    process.bound_mailbox(2, "drop_oldest")
    core.tell(process, "a", "other")
    assert found == ["wanted"]


def test_a_pattern_that_ends_its_waiting_process_when_it_is_asked_has_it_run_once(core: Core) -> None:
    def fatal(message: object) -> bool:
        process.doom("enough")
        return True

    process = core.spawn(collect([], fatal))
    steps = core.scheduler.steps
    core.tell(process, 1)
    assert core.scheduler.steps == steps + 1
    assert process.exit_reason == "enough"


def test_an_interrupt_in_a_waiting_pattern_hides_no_message(core: Core) -> None:
    found: list[object] = []
    raising: list[BaseException] = [KeyboardInterrupt()]

    def wanted(message: object) -> bool:
        if raising:
            raise raising.pop()
        return message == "wanted"

    process = core.spawn(collect(found, wanted))
    with pytest.raises(KeyboardInterrupt):
        core.tell(process, "wanted")
    core.tell(process, "other")
    assert found == ["wanted"]
