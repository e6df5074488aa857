"""Subscriptions: what the overlay says is told once a change, and only if it still is one."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest

from partisan import Atom, Pid
from partisan.runtime.watching import Watching

B, C = "b@h", "c@h"


class World:
    """A Watching on a loop of its own, and what its subscribers were told."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.told: list[tuple[str, Any]] = []
        self.sent: list[tuple[Pid, object]] = []
        self.lanes: set[tuple[str, str]] = set()
        self.watching = Watching(
            self.loop,
            enter=lambda context: None,
            send=lambda pid, message: self.sent.append((pid, message)),
            lane_up=lambda node, channel: (node, channel) in self.lanes,
        )

    def hear(self, *kinds: Any, **where: Any) -> None:
        for kind in kinds:
            self.watching.subscribe(kind, self.hearer(kind), **where)

    def hearer(self, kind: str) -> Callable[[Any], None]:
        return lambda value: self.told.append((kind, value))

    def turn(self) -> list[tuple[str, Any]]:
        """Let the loop turn; what was told."""
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))
        told, self.told = self.told, []
        return told


@pytest.fixture
def world() -> Any:
    made = World()
    yield made
    made.loop.close()


def test_nothing_is_told_before_the_loop_turns(world: World) -> None:
    world.hear("up")
    world.watching.edge(B, True)
    assert world.told == []
    assert world.turn() == [("up", B)]
    assert world.turn() == []


def test_a_node_whose_spec_is_replaced_goes_neither_down_nor_up(world: World) -> None:
    world.hear("up", "down")
    world.watching.edge(B, True)
    world.turn()
    world.watching.edge(B, False)
    world.watching.edge(B, True)
    assert world.turn() == []
    world.watching.edge(B, True)
    world.turn()
    world.watching.edge(B, False)
    assert world.turn() == []
    world.watching.edge(B, False)
    assert world.turn() == [("down", B)]


def test_a_channel_is_up_with_its_first_connection_and_down_with_its_last(world: World) -> None:
    world.hear("up", "down", channel="data")
    for _ in range(3):
        world.lanes.add((B, "data"))
        world.watching.lane(B, "data")
        world.watching.lane(B, "undefined")
    assert world.turn() == [("up", B)]
    world.watching.lane(B, "data")
    assert world.turn() == []
    world.lanes.clear()
    world.watching.lane(B, "data")
    assert world.turn() == [("down", B)]


def test_who_asked_for_every_node_is_told_before_who_asked_for_one(world: World) -> None:
    for name, node in (("one", B), ("every", None), ("other", C), ("again", B)):
        world.watching.subscribe("up", world.hearer(name), node=node)
    world.watching.edge(B, True)
    assert world.turn() == [("every", B), ("one", B), ("again", B)]


def test_the_members_with_which_a_node_begins_are_no_change(world: World) -> None:
    world.hear("members")
    world.watching.members(["a@h"])
    assert world.turn() == []
    world.watching.members(["a@h", B])
    world.watching.members(["a@h", B, C])
    assert world.turn() == [("members", ["a@h", B, C])]
    world.watching.members(["a@h", B])
    world.watching.members(["a@h", B, C])
    assert world.turn() == []


def test_what_a_subscriber_does_to_the_list_that_it_is_given_is_its_own_affair(world: World) -> None:
    world.watching.members(["a@h"])
    world.watching.subscribe("members", lambda names: names.clear())
    world.hear("members")
    world.watching.members(["a@h", B])
    assert world.turn() == [("members", ["a@h", B])]


def test_one_that_is_cancelled_by_another_while_they_are_told_is_not_told(world: World) -> None:
    handles: list[Any] = []
    world.watching.subscribe("up", lambda: handles[0].cancel())
    handles.append(world.watching.subscribe("up", world.hearer("up")))
    world.watching.edge(B, True)
    assert world.turn() == []


def test_a_pid_gets_messages_of_atoms_until_it_ends(world: World) -> None:
    pid, other = Pid("a@h", 1, 0), Pid("a@h", 2, 0)
    world.watching.members(["a@h"])
    world.watching.subscribe("up", pid)
    world.watching.subscribe("up", pid, channel="data")
    world.watching.subscribe("down", other)
    world.watching.subscribe("members", pid)
    world.lanes.add((B, "data"))
    world.watching.edge(B, True)
    world.watching.lane(B, "data")
    world.watching.members(["a@h", B])
    world.turn()
    assert world.sent == [
        (pid, (Atom("members"), [Atom("a@h"), Atom(B)])),
        (pid, (Atom("nodeup"), Atom(B))),
        (pid, (Atom("nodeup"), Atom(B), Atom("data"))),
    ]
    world.watching.ended(pid)
    world.watching.edge(B, False)
    world.watching.edge(C, True)
    world.turn()
    assert world.sent[3:] == [(other, (Atom("nodedown"), Atom(B)))]


def test_functions_run_in_the_context_in_which_they_were_given(world: World) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
    token = variable.set("given")
    seen: list[str] = []
    world.watching.subscribe("up", lambda: seen.append(variable.get()))
    variable.reset(token)
    world.watching.edge(B, True)
    world.turn()
    assert seen == ["given"]


def test_a_wait_that_is_given_up_leaves_nothing_behind(world: World) -> None:
    for _ in range(3):
        waiting = world.loop.create_task(world.watching.until(lambda: False))
        world.turn()
        assert len(world.watching._waiters) == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            world.loop.run_until_complete(waiting)
        assert not world.watching._waiters
