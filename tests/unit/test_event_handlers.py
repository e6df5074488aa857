"""Handlers of event managers as values: their names, the list of those installed, and what their results mean."""

from __future__ import annotations

from typing import Any

import pytest

from partisan.errors import BadReturn, Exit
from partisan.etf import Atom, Pid
from partisan.gen.control import Continue, NoReply, Reply, Stop
from partisan.gen.event_handlers import (
    EventHandler,
    Handlers,
    Hibernate,
    Installed,
    Outcome,
    Remove,
    Spec,
    Swap,
    after_call,
    after_event,
    after_init,
    spec,
)
from partisan.gen.event_report import HandlerReport, format_log

OWNER = Pid("a@127.0.0.1", 1, 0)


class One(EventHandler):
    pass


class Named(EventHandler):
    module = "another_name"  # type: ignore[assignment]


class Heir(Named):
    pass


def installed(handler: Any, owner: Pid | None = None) -> Installed:
    named = spec(handler)
    assert named.kind is not None
    return Installed(named, named.kind(), owner)


def test_a_class_is_known_by_its_name_unless_it_gives_another() -> None:
    assert One.module is Atom("One")
    assert Named.module is Atom("another_name")
    assert Heir.module is Atom("Heir")


def test_a_name_that_is_too_long_for_an_atom_keeps_its_end() -> None:
    long = type("x" * 300 + "End", (EventHandler,), {})
    assert len(long.module.name) == 255
    assert long.module.name.endswith("End")


@pytest.mark.parametrize(
    ("handler", "term"),
    [
        (One, Atom("One")),
        (Atom("One"), Atom("One")),
        ("One", Atom("One")),
        ((One, 1), (Atom("One"), 1)),
        (("One", None), (Atom("One"), None)),
        ((Named, (1, 2)), (Atom("another_name"), (1, 2))),
    ],
    ids=str,
)
def test_whatever_names_a_handler_is_told_in_one_form(handler: Any, term: Any) -> None:
    assert spec(handler).term == term


@pytest.mark.parametrize("handler", [1, int, None, (One,), (One, 1, 2), (1, 2), [One, 1], One()], ids=str)
def test_what_names_no_handler_is_a_type_error(handler: Any) -> None:
    with pytest.raises(TypeError, match="names no handler"):
        spec(handler)


def test_ids_are_compared_as_another_node_would_name_them() -> None:
    assert spec((One, "text")) == spec(("One", b"text"))
    assert spec((One, 1)) != spec((One, 1.0))
    assert spec((One, True)) != spec((One, 1))
    assert spec(One) != spec((One, None))
    assert spec(One) != spec(Named)


def test_the_latest_of_those_that_are_named_alike_is_found_first() -> None:
    table = Handlers()
    entries = [installed(handler) for handler in (One, (One, 1), One, Named)]
    for entry in entries:
        table.add(entry)
    assert table.terms() == [Named.module, One.module, (One.module, 1), One.module]
    assert table.find(spec("One")) is entries[2]
    table.remove(entries[2])
    assert table.find(spec(One)) is entries[0]
    assert table.find(spec((One, 2))) is None
    assert len(table) == 3


def test_another_class_of_the_same_name_is_not_the_one_that_is_meant() -> None:
    table, twin = Handlers(), type("One", (EventHandler,), {})
    table.add(installed(One))
    assert table.find(spec(twin)) is None
    assert table.find(spec("One")) is not None


def test_handlers_may_come_and_go_while_they_are_gone_through() -> None:
    table = Handlers()
    first, second = installed(One), installed(Named)
    table.add(first)
    table.add(second)
    seen = []
    for entry in table:
        seen.append(entry)
        table.remove(entry)
        table.add(installed((One, len(seen))))
    assert seen == [second, first]


def test_only_classes_that_were_given_are_made_of_a_name() -> None:
    table = Handlers([One, Named])
    assert table.kind(spec("One")) is One
    assert table.kind(spec(("another_name", 1))) is Named
    assert table.kind(spec(Heir)) is Heir
    with pytest.raises(Exit) as unknown:
        table.kind(spec("Heir"))
    assert unknown.value.reason == (Atom("undef"), [(Atom("Heir"), Atom("init"), [], [])])


def test_two_classes_of_one_name_cannot_both_be_given() -> None:
    twin = type("One", (EventHandler,), {})
    with pytest.raises(ValueError, match="a name of its own"):
        Handlers([One, twin])
    with pytest.raises(ValueError, match="a name of its own"):
        Handlers([Atom("One")])  # type: ignore[list-item]


def test_the_handlers_of_an_owner_are_told_from_the_others() -> None:
    table = Handlers()
    mine, other = installed(One, OWNER), installed(Named)
    table.add(mine)
    table.add(other)
    assert table.of(OWNER) == [mine]
    assert table.of(Pid("a@127.0.0.1", 2, 0)) == []


def test_an_entry_has_false_for_a_missing_id_as_in_otp() -> None:
    entry = installed(One)
    entry.handler.level = 3  # type: ignore[attr-defined]
    assert entry.entry == (One.module, False, {"level": 3})
    entry.become({"level": 4})
    assert entry.state == {"level": 4}
    assert installed((One, 7)).entry == (One.module, 7, {})


def test_the_state_that_is_told_is_a_copy() -> None:
    entry = installed(One)
    entry.state["other"] = 1
    assert entry.state == {}


REMOVE, SWAP = Remove("gone"), Swap(One, 1, 2, reply="swapped")


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        (None, Outcome()),
        (Atom("ok"), Outcome()),
        (Hibernate(), Outcome(hibernate=True)),
        (REMOVE, Outcome(then=REMOVE)),
        (SWAP, Outcome(then=SWAP)),
    ],
    ids=str,
)
def test_what_follows_from_an_event(value: Any, outcome: Outcome) -> None:
    assert after_event("handle_event", value) == outcome


@pytest.mark.parametrize(
    "value", [0, False, "ok", (), (Atom("ok"), 1), Reply(1), NoReply(), Stop(1), Continue(1)], ids=str
)
def test_anything_else_from_an_event_is_a_bad_return(value: Any) -> None:
    with pytest.raises(BadReturn) as bad:
        after_event("handle_info", value)
    assert (bad.value.callback, bad.value.value) == ("handle_info", value)


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        (None, Outcome(None)),
        ((Atom("error"), 1), Outcome((Atom("error"), 1))),
        (Reply(None), Outcome(None)),
        (Reply(1, hibernate=True), Outcome(1, hibernate=True)),
        (Reply(Remove()), Outcome(Remove())),
        (REMOVE, Outcome("gone", then=REMOVE)),
        (Remove(), Outcome(Atom("ok"), then=Remove())),
        (SWAP, Outcome("swapped", then=SWAP)),
    ],
    ids=str,
)
def test_what_follows_from_a_call(value: Any, outcome: Outcome) -> None:
    assert after_call(value) == outcome


@pytest.mark.parametrize(
    "value", [Hibernate(), NoReply(), Stop(1), Continue(1), Reply(1, timeout=1.0), Reply(1, continue_=1)], ids=str
)
def test_a_control_value_of_others_is_no_answer(value: Any) -> None:
    with pytest.raises(BadReturn):
        after_call(value)


def test_init_may_hibernate_and_nothing_else() -> None:
    assert after_init(Hibernate())
    assert not after_init(None)
    assert not after_init(Atom("ok"))
    for value in (False, Remove(), (Atom("ok"), 1)):
        with pytest.raises(BadReturn):
            after_init(value)


def test_a_handler_must_have_what_erlang_demands_and_may_lack_the_rest() -> None:
    handler = One()
    for callback, args in ((handler.handle_event, (1,)), (handler.handle_call, (1,)), (handler.code_change, (1, 2))):
        with pytest.raises(Exit) as undefined:
            callback(*args)  # type: ignore[operator]
        assert undefined.value.reason[0] == Atom("undef")  # type: ignore[index]
    handler.init(None)
    assert handler.handle_info("unheard") is None
    assert handler.terminate(Atom("stop")) == Atom("ok")
    assert handler.format_status({"state": 1}) == {"state": 1}


def test_a_spec_that_knows_its_class_equals_one_that_does_not() -> None:
    assert spec(One) == Spec(Atom("One"))


def test_a_report_is_written_on_one_line_or_on_many() -> None:
    report = HandlerReport("events", Atom("One"), "e", {}, Atom("why"))
    assert format_log(report).count("\n** ") == 4
    assert "\n" not in format_log(report, single_line=True)
