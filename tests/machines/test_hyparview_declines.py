"""Who takes a HyParView node for a neighbor, and is none, is told so: again if it has read what it was told before."""

from __future__ import annotations

import random

import pytest

from partisan.machines.hyparview import (
    UNTAGGED,
    Farewell,
    HyParView,
    HyParViewConfig,
    JoinRequest,
    Neighbor,
    NeighborAccepted,
)
from partisan.machines.machine import Connected, Leave, Received, Send, Start

ME, FORMER, OTHER = 0, 1, 2


def full_after_a_farewell() -> tuple[HyParView, tuple[int, int]]:
    """A node with room for one neighbor, which has dropped one for another; and the number of that farewell."""
    config = HyParViewConfig(active_max_size=2, active_min_size=1, name=lambda peer: peer)
    machine = HyParView(ME, config, random.Random(1))
    machine.handle(Start(), 0.0)
    said = []
    for peer in (FORMER, OTHER):
        machine.handle(Received(peer, JoinRequest(peer, UNTAGGED, 1)), 1.0)
        said += machine.handle(Connected(peer, peer), 1.0)
    assert machine.active == (OTHER,)
    [number] = [effect.message.number for effect in said if farewell_to(effect, FORMER)]
    return machine, number


def farewell_to(effect: object, peer: int) -> bool:
    return isinstance(effect, Send) and effect.peer == peer and isinstance(effect.message, Farewell)


@pytest.mark.parametrize("stale", [False, True])
def test_an_acceptance_that_finds_no_room_is_declined_unless_it_crossed_a_farewell(stale: bool) -> None:
    machine, number = full_after_a_farewell()
    last = (1, 0) if stale else number
    effects = machine.handle(Received(FORMER, NeighborAccepted(FORMER, UNTAGGED, last, ())), 2.0)
    effects += machine.handle(Connected(FORMER, FORMER), 2.0)
    assert any(farewell_to(effect, FORMER) for effect in effects) is not stale
    assert machine.active == (OTHER,)


def test_a_node_that_has_left_declines_who_has_read_its_last_farewell() -> None:
    machine, number = full_after_a_farewell()
    machine.handle(Leave(), 2.0)
    effects = machine.handle(Received(FORMER, Neighbor(FORMER, UNTAGGED, number, ME)), 3.0)
    effects += machine.handle(Connected(FORMER, FORMER), 3.0)
    assert any(farewell_to(effect, FORMER) for effect in effects)
