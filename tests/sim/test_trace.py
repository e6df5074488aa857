"""The digest of a run tells runs apart by each thing that it covers."""

from __future__ import annotations

from partisan.sim.trace import Trace

EVENTS = [(0.5, 1, str, 2), (1.5, 2, bytes, 0), (1.5, 2, str, 3)]


def digest(events, detail=False, effects=()):
    trace = Trace(detail)
    for event in events:
        trace.add(*event)
        if detail:
            trace.tell(effects)
    return trace.hexdigest()


def test_time_node_kind_and_number_of_effects_are_covered():
    changed = [(0.6, 1, str, 2), (0.5, 2, str, 2), (0.5, 1, bytes, 2), (0.5, 1, str, 3)]
    found = [digest([each, *EVENTS[1:]]) for each in [EVENTS[0], *changed]]
    assert len(dict.fromkeys(found)) == 5


def test_the_order_is_covered():
    assert digest(EVENTS) != digest(EVENTS[::-1])


def test_with_detail_effects_are_covered():
    assert digest(EVENTS, True, ["a"]) != digest(EVENTS, True, ["b"])


def test_asking_for_the_digest_changes_nothing_and_long_runs_are_whole():
    asked, unasked = Trace(), Trace()
    for number in range(40_000):
        for trace in (asked, unasked):
            trace.add(number / 7, number, int, 1)
        if number % 1000 == 0:
            asked.hexdigest()
    assert asked.hexdigest() == unasked.hexdigest()
    assert asked.events == unasked.events == 40_000
