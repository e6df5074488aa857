"""What a supervisor decides, against models that count and order by brute force."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.machines import supervision as m


def machine(children, strategy="one_for_one", intensity=1, period=5.0, auto_shutdown="never"):
    """A supervision whose children, keyed 0, 1, 2 ..., are all up; each is (restart, significant) or a restart."""
    made = m.Supervision(strategy, intensity, period, auto_shutdown)
    for key, child in enumerate(children):
        restart, significant = child if isinstance(child, tuple) else (child, False)
        made.started(made.add(m.Child(key, restart, significant)))
    return made


def told(steps):
    """Steps as pairs of kind and key, without the reports."""
    return [
        (type(step).__name__, step.child.key if isinstance(step, m.Start | m.End) else getattr(step, "key", None))
        for step in steps
        if not isinstance(step, m.Report)
    ]


def carry_out(made, steps):
    """Do the steps as a driver does that never fails; whether the supervisor ends."""
    for step in steps:
        if isinstance(step, m.Start):
            made.started(step.child)
        elif isinstance(step, m.End):
            made.down(step.child)
        elif isinstance(step, m.Shutdown):
            return True
    return False


@pytest.mark.parametrize(
    ("restart", "in_order", "again"),
    [
        ("permanent", True, True),
        ("permanent", False, True),
        ("transient", True, False),
        ("transient", False, True),
        ("temporary", True, False),
        ("temporary", False, False),
    ],
)
def test_the_restart_type_and_the_way_it_ended_decide_whether_a_child_starts_again(restart, in_order, again):
    made = machine([restart])
    steps = made.ended(made.children[0], in_order, 0.0)
    assert told(steps) == ([("Start", 0)] if again else [])
    assert [step.context for step in steps if isinstance(step, m.Report)] == (
        [] if in_order and restart != "permanent" else ["child_terminated"]
    )


@pytest.mark.parametrize("restart", m.RESTARTS)
def test_a_child_that_is_down_for_good_keeps_its_entry_unless_it_is_temporary(restart):
    made = machine([restart, "permanent"])
    made.down(made.children[0])
    assert list(made.children) == ([1] if restart == "temporary" else [0, 1])


@given(
    st.lists(st.sampled_from(m.RESTARTS), min_size=1, max_size=8),
    st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
    st.data(),
)
def test_a_strategy_ends_whom_it_affects_from_the_latest_and_starts_them_from_the_earliest(kinds, strategy, data):
    made = machine(kinds, strategy)
    failed = data.draw(st.sampled_from([key for key, kind in enumerate(kinds)]))
    if kinds[failed] == "temporary":
        assert told(made.ended(made.children[failed], False, 0.0)) == []
        return
    first = {"one_for_one": failed, "one_for_all": 0, "rest_for_one": failed}[strategy]
    affected = [failed] if strategy == "one_for_one" else range(first, len(kinds))
    wanted = [("End", key) for key in reversed(affected) if key != failed]
    wanted += [("Start", key) for key in affected if kinds[key] != "temporary"]
    steps = made.ended(made.children[failed], False, 0.0)
    assert told(steps) == wanted
    assert not carry_out(made, steps)
    left = [key for key in range(len(kinds)) if kinds[key] != "temporary" or key not in affected]
    assert list(made.children) == left
    assert all(child.state is m.UP for child in made.children.values())


@given(
    st.integers(0, 4),
    st.floats(0.5, 5.0),
    st.lists(st.floats(0.0, 3.0), max_size=30),
)
def test_the_supervisor_ends_at_the_first_attempt_that_is_one_too_many_within_the_period(intensity, period, gaps):
    made = machine(["permanent"], intensity=intensity, period=period)
    now, attempts = 0.0, []
    for gap in gaps:
        now += gap
        attempts.append(now)
        too_many = sum(attempt >= now - period for attempt in attempts) > intensity
        ends = carry_out(made, made.ended(made.children[0], False, now))
        assert ends == too_many
        if ends:
            return


@given(st.integers(0, 5))
def test_attempts_that_fail_count_like_those_that_succeed(intensity):
    made = machine(["permanent"], intensity=intensity)
    steps = made.ended(made.children[0], False, 0.0)
    attempts = 0
    while told(steps) != [("Shutdown", None)]:
        assert told(steps) == [("Start", 0)]
        attempts += 1
        assert told(made.failed(made.children[0])) == [("Retry", 0)]
        steps = made.retry(0, 0.0)
    assert attempts == intensity


def test_a_retry_is_forgotten_when_the_child_was_ended_or_started_meanwhile():
    made = machine(["permanent"], intensity=9)
    made.ended(made.children[0], False, 0.0)
    made.failed(made.children[0])
    made.down(made.children[0])
    assert made.retry(0, 0.0) == []
    made.started(made.children[0])
    assert made.retry(0, 0.0) == []
    made.drop(made.children[0])
    assert made.retry(0, 0.0) == []


def test_when_another_start_of_a_group_fails_the_retry_begins_with_that_one():
    made = machine(["permanent"] * 3, "rest_for_one", intensity=9)
    steps = made.ended(made.children[0], False, 0.0)
    assert told(steps) == [("End", 2), ("End", 1), ("Start", 0), ("Start", 1), ("Start", 2)]
    carry_out(made, steps[:-2])
    made.failed(made.children[1])
    assert [child.state for child in made.children.values()] == [m.UP, m.RESTARTING, m.DOWN]
    assert told(made.retry(1, 0.0)) == [("Start", 1), ("Start", 2)]


@given(
    st.lists(st.tuples(st.sampled_from(["transient", "temporary"]), st.booleans()), min_size=1, max_size=6),
    st.sampled_from(m.AUTO_SHUTDOWNS),
    st.data(),
)
def test_significant_children_end_the_supervisor_as_its_flags_say(children, auto_shutdown, data):
    made = machine(children, auto_shutdown=auto_shutdown)
    alive = dict(enumerate(children))
    while alive:
        key = data.draw(st.sampled_from(sorted(alive)))
        significant = alive.pop(key)[1]
        by_itself = data.draw(st.booleans())
        if not by_itself:  # ended by hand: not the end of a significant child
            made.down(made.children[key])
            continue
        ends = carry_out(made, made.ended(made.children[key], True, 0.0))
        last = not any(other for _, other in alive.values())
        assert ends == (
            significant and (auto_shutdown == "any_significant" or (auto_shutdown == "all_significant" and last))
        )
        if ends:
            return


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from(m.RESTARTS), st.booleans()), min_size=1, max_size=6),
    st.sampled_from(m.STRATEGIES),
    st.data(),
)
def test_whatever_fails_the_machine_knows_which_processes_run(children, strategy, data):
    made = machine(children, strategy, intensity=1000)
    running = set(made.children)
    retries = []

    def perform(steps):
        for step in steps:
            if isinstance(step, m.End):
                assert step.child.key in running
                running.remove(step.child.key)
                made.down(step.child)
            elif isinstance(step, m.Start):
                assert step.child.key not in running
                outcome = data.draw(st.sampled_from(["up", "up", "ignore", "fail"]))
                if outcome == "fail":
                    retries.extend(made.failed(step.child))
                    return
                made.started(step.child, up=outcome == "up")
                if outcome == "up":
                    running.add(step.child.key)

    for _ in range(data.draw(st.integers(0, 12))):
        if retries and data.draw(st.booleans()):
            perform(made.retry(retries.pop(0).key, 0.0))
        elif running:
            key = data.draw(st.sampled_from(sorted(running)))
            running.remove(key)
            perform(made.ended(made.children[key], data.draw(st.booleans()), 0.0))
        assert {key for key, child in made.children.items() if child.state is m.UP} == running
    assert [step.child.key for step in made.stop()] == sorted(running, reverse=True)
    significant = [child for child in made.children.values() if child.significant and child.state is not m.DOWN]
    assert made._significant == len(significant)


def test_adopted_entries_keep_their_state_and_those_not_wanted_come_last():
    made = machine(["permanent", "transient", "permanent"])
    made.down(made.children[1])
    made.adopt([m.Child(7, "permanent", False), m.Child(1, "temporary", True), m.Child(2, "transient", True)])
    assert [(child.key, child.restart, child.state) for child in made.children.values()] == [
        (7, "permanent", m.DOWN),
        (1, "temporary", m.DOWN),
        (2, "transient", m.UP),
        (0, "permanent", m.UP),
    ]
    assert made._significant == 1
