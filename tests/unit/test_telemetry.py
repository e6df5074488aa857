"""Events: who hears them, what is counted, and that observers never disturb."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest

from partisan import telemetry as events
from partisan.errors import LocalProtocolError
from partisan.telemetry import EVENTS, Telemetry, log_events


class Ear:
    """A subscriber that remembers what it heard."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any], dict[str, Any]]] = []

    def __call__(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        self.heard.append((event, dict(measurements), dict(metadata)))


def test_a_subscriber_hears_its_event_with_measurements_and_metadata() -> None:
    telemetry, ear = Telemetry(), Ear()
    telemetry.attach("ear", events.PEER_UP, ear)
    telemetry.emit(events.PEER_UP, {"count": 1}, {"node": "a@h"})
    telemetry.emit(events.PEER_DOWN, {"count": 1}, {"node": "a@h"})
    assert ear.heard == [(events.PEER_UP, {"count": 1}, {"node": "a@h"})]


@pytest.mark.parametrize(
    ("prefix", "wanted"),
    [("partisan", True), ("partisan.socket", True), ("partisan.socket.open", True), ("partisan.membership", False)],
)
def test_a_prefix_covers_what_is_below_it(prefix: str, wanted: bool) -> None:
    telemetry = Telemetry()
    telemetry.attach("ear", prefix, Ear())
    assert telemetry.wants(events.SOCKET_OPEN) is wanted


@pytest.mark.parametrize("prefix", ["", "partisan.sock", "partisan.", "partisan.socket.opened", "other"])
def test_attaching_to_what_does_not_exist_is_a_programming_error(prefix: str) -> None:
    with pytest.raises(LocalProtocolError, match="no telemetry event"):
        Telemetry().attach("ear", prefix, Ear())


def test_a_handler_that_cannot_be_called_is_refused_when_it_is_attached() -> None:
    telemetry = Telemetry()
    with pytest.raises(TypeError, match="5 cannot be called"):
        telemetry.attach("ear", "partisan", 5)  # type: ignore[arg-type]
    assert not telemetry.detach("ear")


def test_a_handler_id_can_be_used_once_at_a_time() -> None:
    telemetry = Telemetry()
    telemetry.attach("ear", "partisan", Ear())
    with pytest.raises(LocalProtocolError, match="'ear' is attached already"):
        telemetry.attach("ear", "partisan", Ear())
    assert telemetry.detach("ear")
    assert not telemetry.detach("ear")
    telemetry.attach("ear", "partisan", Ear())


def test_emitting_what_does_not_exist_is_a_programming_error() -> None:
    telemetry = Telemetry()
    for call in (telemetry.emit, telemetry.count, telemetry.wants):
        with pytest.raises(KeyError):
            call("partisan.nothing")


def test_counters_are_right_whoever_listens() -> None:
    telemetry = Telemetry()
    telemetry.emit(events.SOCKET_OPEN)
    telemetry.attach("ear", "partisan", Ear())
    telemetry.emit(events.SOCKET_OPEN)
    telemetry.count(events.SOCKET_SEND, 3)
    assert telemetry.counters() == {events.SOCKET_OPEN: 2, events.SOCKET_SEND: 3}


def test_two_nodes_do_not_hear_each_other() -> None:
    one, other, ear = Telemetry(), Telemetry(), Ear()
    one.attach("ear", "partisan", ear)
    other.emit(events.SOCKET_OPEN)
    assert ear.heard == []


def test_a_subscriber_that_raises_is_logged_once_and_detached(caplog: pytest.LogCaptureFixture) -> None:
    telemetry, ear = Telemetry(), Ear()

    def broken(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        raise ZeroDivisionError

    telemetry.attach("broken", "partisan", broken)
    telemetry.attach("ear", "partisan", ear)
    telemetry.emit(events.SOCKET_OPEN)
    telemetry.emit(events.SOCKET_CLOSE)
    assert [event for event, _, _ in ear.heard] == [events.SOCKET_OPEN, events.SOCKET_CLOSE]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "'broken' raised at partisan.socket.open" in caplog.text


def test_a_subscriber_may_detach_itself_and_others_while_it_is_told() -> None:
    telemetry, ear = Telemetry(), Ear()

    def once(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        telemetry.detach("once")
        telemetry.detach("ear")

    telemetry.attach("once", "partisan", once)
    telemetry.attach("ear", "partisan", ear)
    telemetry.emit(events.SOCKET_OPEN)
    telemetry.emit(events.SOCKET_OPEN)
    assert len(ear.heard) == 1


def test_events_can_be_logged_each_at_its_level(caplog: pytest.LogCaptureFixture) -> None:
    telemetry, target = Telemetry(), logging.getLogger("partisan.test")
    log_events(telemetry, target)
    with caplog.at_level(logging.INFO, "partisan.test"):
        telemetry.emit(events.SOCKET_SEND, {"octets": 9})
        telemetry.emit(events.PEER_UP, {"count": 1}, {"node": "a@h"})
        telemetry.emit(events.FRAME_REJECTED, {"octets": 9}, {"reason": "oversized"})
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "partisan.membership.peer.up count=1 node=a@h"),
        ("WARNING", "partisan.frame.rejected octets=9 reason=oversized"),
    ]


def test_trouble_of_one_kind_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    telemetry, target = Telemetry(), logging.getLogger("partisan.test")
    log_events(telemetry, target, clock=lambda: now)
    with caplog.at_level(logging.INFO, "partisan.test"):
        for _ in range(10):
            telemetry.emit(events.FRAME_REJECTED, {"count": 1}, {"node": "a@h", "error": ValueError("x")})
            telemetry.emit(events.FRAME_REJECTED, {"count": 1}, {"node": "b@h", "error": ValueError("x")})
            telemetry.emit(events.PEER_UP, {"count": 1}, {"node": "a@h"})
        now = 60.0
        telemetry.emit(events.FRAME_REJECTED, {"count": 1}, {"node": "a@h", "error": ValueError("x")})
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == [
        "partisan.frame.rejected count=1 node=a@h error=x",
        "partisan.frame.rejected count=1 node=b@h error=x",
        "partisan.frame.rejected count=1 node=a@h error=x (and 9 like it before)",
    ]
    assert len([record for record in caplog.records if record.levelname == "INFO"]) == 10


def test_trouble_with_the_same_peer_for_another_reason_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    telemetry, target = Telemetry(), logging.getLogger("partisan.test")
    log_events(telemetry, target, clock=lambda: 0.0)
    with caplog.at_level(logging.INFO, "partisan.test"):
        for reason in ("full", "late", "full", "restarted"):
            telemetry.emit(events.CAUSAL_REFUSED, {"count": 1}, {"node": "a@h", "label": "x", "reason": reason})
    said = [record.getMessage().rpartition("=")[2] for record in caplog.records]
    assert said == ["full", "late", "restarted"]


def test_whoever_owns_the_events_hears_when_somebody_begins_and_ceases_to_listen() -> None:
    telemetry, wanted = Telemetry(), []
    telemetry.changed = lambda: wanted.append(telemetry.wants(events.SOCKET_SEND))
    telemetry.attach("ear", "partisan.socket", Ear())
    telemetry.attach("other", "partisan.membership", Ear())
    telemetry.detach("ear")
    assert wanted == [True, True, False]


def test_events_about_queues_have_one_form() -> None:
    telemetry, ear = Telemetry(), Ear()
    telemetry.attach("ear", "partisan.queue", ear)
    telemetry.tell_queue(events.QUEUE_RETRANSMITTED, "b@h", "data", octets=10)
    measurements, metadata = {"count": 1, "octets": 10}, {"node": "b@h", "channel": "data"}
    assert ear.heard == [(events.QUEUE_RETRANSMITTED, measurements, metadata)]


def test_every_event_says_when_it_happens_and_what_it_measures() -> None:
    for event, about in EVENTS.items():
        assert about.when, event
        assert about.measurements, event
        assert not about.measurements.keys() & about.metadata.keys(), event


def test_every_constant_of_the_module_is_an_event_and_the_reverse() -> None:
    constants = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
    assert constants == set(EVENTS)
