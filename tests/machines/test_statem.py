"""The engine of state machines, event by event, and against a plain model of OTP's description."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan.errors import BadReturn
from partisan.gen.statem_machine import MOST_STOPPED, StateMachine
from partisan.gen.statem_values import (
    CancelTimeout,
    ChangeCallbackModule,
    EventTimeout,
    Hibernate,
    KeepState,
    NextEvent,
    NextState,
    PopCallbackModule,
    Postpone,
    RepeatState,
    Reply,
    StateTimeout,
    Stop,
    StopAndReply,
    Timeout,
    UpdateTimeout,
)


def machine(state="a", data=None, actions=(), enter=False):
    found = StateMachine(enter)
    found.begin(state, data, actions, 0.0)
    return found


def run(of, behaviour, now=0.0):
    """Handle all that waits; return what was handled and in which state. `behaviour` gives results by content."""
    seen = []
    while (event := of.event()) is not None:
        seen.append((of.state, *event))
        of.obey(behaviour(event, of.state), now)
    return seen


def idle(_event, _state):
    return None


def by_content(**results):
    """Each content has one result, for its first time."""
    return lambda event, _state: results.pop(event[1], None)


def test_events_come_in_the_order_of_arrival_and_none_is_keep_state():
    of = machine(data=7)
    for number in range(3):
        of.put("cast", number)
    assert run(of, idle) == [("a", "cast", 0), ("a", "cast", 1), ("a", "cast", 2)]
    assert (of.state, of.data) == ("a", 7)


def test_postponed_events_come_after_a_state_change_in_their_order_and_before_what_waits():
    of = machine()
    for content in ("one", "two", "go", "later"):
        of.put("cast", content)
    seen = run(
        of, by_content(one=KeepState(actions=Postpone()), two=KeepState(actions=[Postpone()]), go=NextState("b"))
    )
    assert [content for _, _, content in seen] == ["one", "two", "go", "one", "two", "later"]
    assert [state for state, _, _ in seen] == ["a", "a", "a", "b", "b", "b"]


@pytest.mark.parametrize("result", [NextState("a"), RepeatState(), KeepState()])
def test_postponed_events_wait_when_the_state_stays(result):
    of = machine()
    of.put("cast", "one")
    of.put("cast", "go")
    seen = run(of, by_content(one=KeepState(actions=Postpone()), go=result))
    assert len(seen) == 2
    assert list(of.postponed) == [("cast", "one")]


def test_states_that_are_equal_but_of_other_types_are_two():
    of = machine(state=1)
    of.put("cast", "one")
    of.put("cast", "go")
    assert len(run(of, by_content(one=KeepState(actions=Postpone()), go=NextState(1.0)))) == 3


def test_the_event_that_changes_the_state_can_be_postponed_with_it():
    of = machine()
    of.put("cast", "go")
    assert run(of, by_content(go=NextState("b", actions=Postpone()))) == [("a", "cast", "go"), ("b", "cast", "go")]


def test_the_last_of_several_postpones_counts():
    of = machine()
    of.put("cast", "one")
    run(of, by_content(one=KeepState(actions=[Postpone(), Postpone(False)])))
    assert not of.postponed


def test_inserted_events_come_before_postponed_ones_in_the_order_given():
    of = machine()
    for content in ("one", "go", "later"):
        of.put("cast", content)
    inserted = [NextEvent("internal", "x"), NextEvent(("call", 1), "y"), NextEvent(("timeout", "t"), "z")]
    seen = run(of, by_content(one=KeepState(actions=Postpone()), go=NextState("b", actions=inserted)))
    assert [content for _, _, content in seen] == ["one", "go", "x", "y", "z", "one", "later"]


def test_actions_of_the_first_state_are_carried_out_and_postponing_nothing_is_nothing():
    of = machine(actions=[NextEvent("internal", "first"), Postpone(), StateTimeout(0, "then")])
    assert run(of, idle) == [("a", "internal", "first"), ("a", "state_timeout", "then")]


def test_state_enter_calls_come_at_the_start_at_each_change_and_at_a_repeat():
    of = machine(enter=True)
    for content in ("go", "stay", "again"):
        of.put("cast", content)
    seen = run(of, by_content(go=NextState("b"), stay=NextState("b"), again=RepeatState()))
    assert seen == [
        ("a", "enter", "a"),
        ("a", "cast", "go"),
        ("b", "enter", "a"),
        ("b", "cast", "stay"),
        ("b", "cast", "again"),
        ("b", "enter", "b"),
    ]


def test_a_state_enter_call_can_ask_for_another():
    left = [RepeatState(1), RepeatState(2), KeepState(3)]
    of = machine(enter=True)
    assert run(of, lambda event, _: left.pop(0)) == [("a", "enter", "a")] * 3
    assert of.data == 3


def test_a_state_enter_call_cannot_change_the_state():
    of = machine(enter=True)
    of.event()
    with pytest.raises(BadReturn) as failed:
        of.obey(NextState("b"), 0.0)
    assert failed.value.kind == "bad_state_enter_return_from_state_function"


@pytest.mark.parametrize("action", [Postpone(), NextEvent("cast", 1), ChangeCallbackModule(object), "nothing"])
def test_a_state_enter_call_cannot_postpone_nor_insert(action):
    of = machine(enter=True)
    of.event()
    with pytest.raises(BadReturn) as failed:
        of.obey(KeepState(actions=[action]), 0.0)
    assert failed.value.kind == "bad_state_enter_action_from_state_function"
    assert failed.value.value == action


def test_timers_of_a_state_enter_call_start_after_those_of_the_event():
    of = machine()
    of.state_enter = True
    results = {
        "enter": KeepState(actions=StateTimeout(0, "second")),
        "go": NextState("b", actions=Timeout(1, 0, "first")),
    }
    of.put("cast", "go")
    of.begin("a", None, (), 0.0)
    seen = run(of, lambda event, state: results.get(event[1]) or (state == "b" and results.get(event[0])) or None)
    assert [content for _, _, content in seen] == ["a", "go", "a", "first", "second"]


@pytest.mark.parametrize(
    "action",
    [
        "nothing",
        None,
        0,
        NextEvent("enter", 1),
        NextEvent("state", 1),
        NextEvent(("timeout",), 1),
        StateTimeout(-1),
        StateTimeout(math.nan),
        StateTimeout(math.inf),
        EventTimeout("soon"),
        EventTimeout(True),
        Timeout([], 1.0),
        CancelTimeout("cast"),
        UpdateTimeout(("call", 1), 2),
    ],
    ids=repr,
)
def test_what_is_no_action_is_refused_after_the_answers_before_it(action):
    of = machine()
    of.put("cast", 1)
    of.event()
    with pytest.raises(BadReturn) as failed:
        of.obey(KeepState(actions=[Reply(1, 2), action]), 0.0)
    assert failed.value.kind == "bad_action_from_state_function"
    assert failed.value.value is action
    assert of.effects == [Reply(1, 2)]


@pytest.mark.parametrize("result", ["keep_state", 0, ("a", 1), KeepState])
def test_what_is_no_result_is_refused(result):
    of = machine()
    of.put("cast", 1)
    of.event()
    with pytest.raises(BadReturn) as failed:
        of.obey(result, 0.0)
    assert failed.value.kind == "bad_return_from_state_function"


def test_stop_and_reply_answers_then_stops_with_the_data_given():
    of = machine()
    of.put("cast", 1)
    of.event()
    of.obey(StopAndReply("why", [Reply(1, 2), Reply(3, 4)], data=5), 0.0)
    assert of.effects == [Reply(1, 2), Reply(3, 4), Stop("why")]
    assert of.data == 5


def test_stop_and_reply_takes_nothing_but_answers():
    of = machine()
    of.put("cast", 1)
    of.event()
    with pytest.raises(BadReturn) as failed:
        of.obey(StopAndReply("why", [Reply(1, 2), Postpone()]), 0.0)
    assert failed.value.kind == "bad_reply_action_from_state_function"
    assert of.effects == [Reply(1, 2)]


def test_a_state_timer_expires_when_its_time_has_come():
    of = machine(actions=StateTimeout(2.0, "late"))
    assert of.event() is None
    assert of.deadline == 2.0
    of.expire(1.9)
    assert of.event() is None
    of.expire(2.0)
    assert of.deadline is None
    assert of.event() == ("state_timeout", "late")


def test_a_state_change_stops_the_timer_of_the_state_even_if_it_has_expired():
    of = machine(actions=[StateTimeout(1.0, "late"), Timeout("t", 1.0, "kept")])
    of.event()
    of.put("cast", "go")
    of.expire(1.0)
    assert run(of, by_content(go=NextState("b"))) == [("a", "cast", "go"), ("b", ("timeout", "t"), "kept")]


def test_a_change_to_the_same_state_keeps_its_timer():
    of = machine(actions=StateTimeout(1.0, "late"))
    of.event()
    of.put("cast", "go")
    run(of, by_content(go=NextState("a")))
    assert of.deadline == 1.0


def test_any_event_stops_the_timer_of_events():
    of = machine(actions=EventTimeout(1.0, "quiet"))
    of.event()
    of.put("info", 1)
    of.expire(1.0)
    assert run(of, idle) == [("a", "info", 1)]
    assert of.timers == []


def test_an_event_timer_of_zero_comes_only_if_no_event_waits():
    of = machine()
    of.put("cast", "go")
    of.put("cast", "other")
    assert [event for _, event, _ in run(of, by_content(go=KeepState(actions=EventTimeout(0))))] == ["cast", "cast"]
    of.put("cast", "go")
    assert [event for _, event, _ in run(of, by_content(go=KeepState(actions=EventTimeout(0))))] == ["cast", "timeout"]


def test_timers_of_zero_seconds_come_in_the_order_in_which_they_were_started_and_after_events_that_wait():
    of = machine()
    actions = [Timeout("t", 0, 1), StateTimeout(0, 2), Timeout("u", 0, 3), NextEvent("internal", 4)]
    of.put("cast", "go")
    of.put("cast", "wait")
    seen = run(of, by_content(go=KeepState(actions=actions)))
    assert [content for _, _, content in seen] == ["go", 4, "wait", 1, 2, 3]


def test_starting_a_timer_again_replaces_it_and_none_stops_it():
    of = machine(actions=[Timeout("t", 1.0, "x"), Timeout("t", 3.0, "y"), Timeout("u", 2.0), Timeout("u", None)])
    of.event()
    assert of.timers == [(("timeout", "t"), "y")]
    assert of.deadline == 3.0


def test_an_update_changes_the_content_alone_and_comes_at_once_if_the_timer_does_not_run():
    of = machine(
        actions=[Timeout("t", 1.0, "x"), UpdateTimeout(("timeout", "t"), "y"), UpdateTimeout("state_timeout", 1)]
    )
    assert run(of, idle) == [("a", "state_timeout", 1)]
    assert of.deadline == 1.0
    of.expire(1.0)
    assert of.event() == (("timeout", "t"), "y")


def test_a_cancelled_timer_does_not_come():
    of = machine(
        actions=[
            StateTimeout(0, "x"),
            Timeout("t", 1.0),
            CancelTimeout("state_timeout"),
            CancelTimeout(("timeout", "t")),
        ]
    )
    assert run(of, idle) == []
    assert of.deadline is None


def test_an_absolute_time_is_one_of_the_clock_and_may_be_past():
    of = StateMachine()
    of.begin("a", None, [StateTimeout(105.0, "x", absolute=True), Timeout("t", -1, "y", absolute=True)], 100.0)
    assert of.event() is None
    assert of.deadline == -1
    of.expire(104.0)
    assert of.event() == (("timeout", "t"), "y")
    of.obey(None, 104.0)
    assert of.event() is None
    assert of.deadline == 105.0


def test_several_timers_that_expire_at_once_come_in_the_order_of_their_times():
    of = machine(actions=[Timeout("t", 3.0, 3), Timeout("u", 1.0, 1), StateTimeout(2.0, 2)])
    of.event()
    of.expire(10.0)
    assert [content for _, _, content in run(of, idle)] == [1, 2, 3]


def test_hibernation_is_of_one_event():
    of = machine()
    of.put("cast", "sleep")
    run(of, by_content(sleep=KeepState(actions=Hibernate())))
    assert of.hibernate
    of.put("cast", "wake")
    run(of, idle)
    assert not of.hibernate


def test_another_module_of_callbacks_decides_about_the_state_enter_call_of_the_same_event():
    of = machine()
    of.event()
    of.put("cast", "go")
    of.event()
    of.obey(NextState("b", actions=[PopCallbackModule()]), 0.0)
    of.state_enter = True  # what the driver finds out
    assert of.event() == ("enter", "a")


# A model: each event's result is drawn; the rules of OTP are applied to plain lists.

STATES = st.sampled_from("ab")
TIMERS = st.sampled_from(["state_timeout", "timeout", ("timeout", "t"), ("timeout", "u")])
SECONDS = st.sampled_from([0, 0.5, 1.0, 2.0, None])


def start_of(timer, seconds, content):
    if timer == "state_timeout":
        return StateTimeout(seconds, content)
    return EventTimeout(seconds, content) if timer == "timeout" else Timeout(timer[1], seconds, content)


ACTIONS = st.one_of(
    st.just(Postpone()),
    st.builds(NextEvent, st.just("internal"), st.integers(0, 9)),
    st.builds(start_of, TIMERS, SECONDS, st.integers(10, 19)),
    st.builds(CancelTimeout, TIMERS),
    st.builds(UpdateTimeout, TIMERS, st.integers(20, 29)),
)
RESULTS = st.one_of(
    st.none(),
    st.builds(NextState, STATES, st.integers(), st.lists(ACTIONS, max_size=4)),
    st.builds(KeepState, st.integers(), st.lists(ACTIONS, max_size=4)),
    st.builds(RepeatState, st.integers(), st.lists(ACTIONS, max_size=4)),
)
STEPS = st.lists(
    st.one_of(st.tuples(st.just("put"), st.integers(30, 39)), st.tuples(st.just("wait"), SECONDS)), max_size=12
)


class Model:
    """OTP's sequence, step by step, on lists."""

    def __init__(self, results):
        self.results = list(results)
        self.state, self.now = "a", 0.0
        self.waiting, self.postponed, self.timers, self.seen = [], [], [], []

    def stop(self, timer):
        self.timers = [each for each in self.timers if each[1] != timer]

    def handle(self, event):
        self.seen.append((self.state, *event))
        result = self.results.pop(0) if self.results else None
        actions = [] if result is None else list(result.actions)
        was = self.state
        if isinstance(result, NextState):
            self.state = result.state
        if Postpone() in actions:
            self.postponed.append(event)
        if self.state != was:
            self.waiting = self.postponed + self.waiting
            self.postponed = []
            self.stop("state_timeout")
        self.waiting = [(a.event_type, a.content) for a in actions if isinstance(a, NextEvent)] + self.waiting
        self.stop("timeout")
        for action in actions:
            self.retime(action)

    def retime(self, action):
        match action:
            case StateTimeout(seconds, content):
                timer = "state_timeout"
            case EventTimeout(seconds, content):
                timer = "timeout"
            case Timeout(name, seconds, content):
                timer = ("timeout", name)
            case CancelTimeout(timer):
                self.stop(timer)
                return
            case UpdateTimeout(timer, content):
                for at, (when, each, _) in enumerate(self.timers):
                    if each == timer:
                        self.timers[at] = (when, timer, content)
                        return
                seconds = 0
            case _:
                return
        self.stop(timer)
        if seconds is not None:
            self.timers.append((-math.inf if seconds == 0 else self.now + seconds, timer, content))

    def settle(self):
        while True:
            if self.waiting:
                self.handle(self.waiting.pop(0))
                continue
            due = [each for each in self.timers if each[0] == -math.inf]
            if not due:
                return
            self.timers.remove(due[0])
            self.handle(due[0][1:])

    def wait(self, seconds):
        self.now += seconds
        due = sorted((each for each in self.timers if each[0] <= self.now), key=lambda each: each[0])
        self.timers = [each for each in self.timers if each not in due] + [(-math.inf, *each[1:]) for each in due]


@given(st.lists(RESULTS, max_size=25), STEPS)
def test_it_does_what_the_description_of_otp_says(results, steps):
    model, of, left, seen = Model(results), machine(), list(results), []
    now = 0.0

    def settle():
        seen.extend(run(of, lambda _event, _state: left.pop(0) if left else None, now))
        model.settle()

    settle()
    for step, value in steps:
        if step == "put":
            of.put("cast", value)
            model.waiting.append(("cast", value))
        else:
            now += value or 0.0
            of.expire(now)
            model.wait(value or 0.0)
        settle()
        assert seen == model.seen
        assert of.state == model.state
        assert list(of.postponed) == model.postponed[::-1]
        assert sorted(of.timers, key=repr) == sorted((each[1:] for each in model.timers), key=repr)
        assert of.deadline == min((each[0] for each in model.timers), default=None)


@given(st.lists(RESULTS, max_size=40), st.integers(0, 15))
def test_no_event_is_lost_whatever_is_postponed(results, count):
    of, left = machine(enter=True), list(results)
    for number in range(count):
        of.put("cast", 100 + number)

    def behave(event, state):
        return left.pop(0) if left and event[0] != "enter" else None

    seen = [content for _, kind, content in run(of, behave) if kind == "cast"]
    kept = [content for kind, content in of.postponed if kind == "cast"]
    assert set(seen) == {100 + number for number in range(count)}
    assert len(kept) == len(set(kept))


def test_many_named_timers_expire_in_order_and_those_that_were_stopped_or_started_anew_leave_nothing() -> None:
    machine = StateMachine()
    machine.begin("a", None, (), 0.0)
    assert machine.event() is None
    for number in range(1000):
        machine.put("cast", number)
        assert machine.event() == ("cast", number)
        machine.obey(KeepState(actions=[Timeout(number % 10, 100.0 - number % 10, number)]), 0.0)
        assert machine.event() is None
    assert len(machine._heap) <= 2 * 10 + MOST_STOPPED + 1
    machine.put("cast", "stop")
    machine.event()
    machine.obey(KeepState(actions=[CancelTimeout(("timeout", 9)), UpdateTimeout(("timeout", 8), "new")]), 0.0)
    assert machine.event() is None
    assert machine.deadline == 92.0
    machine.expire(95.0)
    expired = []
    while (event := machine.event()) is not None:
        expired.append(event)
        machine.obey(None, 95.0)
    assert expired == [(("timeout", 8), "new"), *((("timeout", name), 990 + name) for name in (7, 6, 5))]
    assert machine.deadline == 96.0
