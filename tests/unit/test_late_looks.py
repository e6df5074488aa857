"""What comes between a process's last look and its sleep, as from a finaliser, wakes it all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from partisan._core.calls import Waiting, call, reply, request
from partisan._core.process import Process, receive
from partisan._core.router import current_router_var
from partisan.errors import CallTimeout, ReceiveTimeout
from tests.unit.hollow import Core, Timer


class Late(Core):
    """A core in which a function is called once at one of the places where a step runs the code of others.

    Attributes:
        at: the place: the clock is read, a timer is started, or the step is over.
    """

    def __init__(self, at: str) -> None:
        self.at = at
        self.function: Callable[[], object] | None = None
        self.seconds = 0.0
        super().__init__()
        told = self.tasks.append
        self.tasks = Tasks(told, lambda: self.reach("end"))  # type: ignore[assignment]

    @property
    def now(self) -> float:
        self.reach("clock")
        return self.seconds

    @now.setter
    def now(self, seconds: float) -> None:
        self.seconds = seconds

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        self.reach("timer")
        return super().call_later(seconds, function)

    def reach(self, place: str) -> None:
        if place == self.at and self.function is not None:
            function, self.function = self.function, None
            function()


class Tasks:
    """Stands for the list of current tasks; None is appended when a step is over."""

    def __init__(self, told: Callable[[Any], object], over: Callable[[], object]) -> None:
        self.told, self.over = told, over

    def append(self, task: Process | None) -> None:
        self.told(task)
        if task is None:
            self.over()


@pytest.fixture(params=["clock", "timer", "end"])
def late(request: pytest.FixtureRequest) -> Any:
    core = Late(request.param)
    token = current_router_var.set(core.router)
    yield core
    current_router_var.reset(token)
    core.function = None
    core.close()


@pytest.mark.parametrize("patterns", [(), ("late",), (int, str)], ids=repr)
@pytest.mark.parametrize("full", [False, True])
def test_a_message_that_comes_while_its_receiver_lies_down_is_received(
    late: Late, patterns: tuple[Any, ...], full: bool
) -> None:
    found: list[object] = []
    before = ["early"] if patterns == ("late",) else []

    async def wait() -> None:
        await receive("go")
        late.function = lambda: late.scheduler.send_local(process, "late")
        found.append(await receive(*patterns, timeout=5.0))

    process = late.spawn(wait())
    if full:
        process.bound_mailbox(1 + len(before), "drop_oldest")
    late.tell(process, *before, "go")
    assert found == ["late"]
    assert late.now == 0.0


def test_a_full_mailbox_that_drops_a_message_for_one_that_comes_late_hides_it_not(late: Late) -> None:
    found: list[object] = []

    async def wait() -> None:
        await receive("go")
        late.function = lambda: late.scheduler.send_local(process, "late")
        found.append(await receive("late", timeout=5.0))

    process = late.spawn(wait())
    late.tell(process, 1, 2)
    process.bound_mailbox(3, "drop_oldest")
    late.tell(process, "go")
    process.bound_mailbox(2, "drop_oldest")
    late.run()
    assert found == ["late"]


@pytest.mark.parametrize(
    ("late", "timeout"), [("clock", 5.0), ("timer", 5.0), ("end", 5.0), ("end", None)], indirect=["late"]
)
def test_an_answer_that_comes_while_the_caller_lies_down_is_its_answer(late: Late, timeout: float | None) -> None:
    found: list[object] = []
    asked: list[Any] = []

    async def keep() -> None:
        while True:
            asked.append(await receive())

    async def ask() -> None:
        server_asked = request(server.pid, "first")
        await receive("go")
        late.function = lambda: reply(asked[0][1], "first answer")
        found.append((await Waiting([server_asked], timeout)).outcome)  # type: ignore[union-attr]
        late.function = late_reply
        found.append(await call(server.pid, "second", timeout=timeout and timeout + 1.0))

    def late_reply() -> None:
        (*_, (_, asker, _)) = server.mailbox
        reply(asker, "second answer")

    server = late.spawn(keep())
    caller = late.spawn(ask())
    late.tell(caller, "go")
    assert found == ["first answer", "second answer"]
    assert late.now == 0.0


def test_a_time_out_wakes_a_parked_caller_whatever_became_of_its_requests(late: Late) -> None:
    found: list[object] = []

    async def keep() -> None:
        await receive("never")

    async def ask() -> None:
        found.append(await Waiting([request(server.pid, "?"), request(server.pid, "?")], 1.0))
        try:
            await call(server.pid, "?", timeout=1.0)
        except CallTimeout:
            found.append("late")
        try:
            await receive(timeout=1.0)
        except ReceiveTimeout:
            found.append("later")

    server = late.spawn(keep())
    late.spawn(ask())
    for _ in range(3):
        late.advance(1.5)
    assert found == [None, "late", "later"]
