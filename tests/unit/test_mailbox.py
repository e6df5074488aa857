"""A mailbox keeps the order of arrival, whatever is taken from its middle."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from partisan._core.process import receive

from tests.unit.hollow import Core


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
