"""The demonstration with real processes: it tells who was lost, and what the others did."""

from __future__ import annotations

import os
import re
import signal
import threading

import pytest

from partisan.bench import demo, demo_node
from partisan.bench.__main__ import main


class Audience:
    """Hears what the demonstration says, and kills a node as soon as a phrase falls.

    Attributes:
        heard: what was said, in order.
    """

    def __init__(self, phrase: str, victim: str, delay: float = 0.0) -> None:
        self.heard: list[str] = []
        self._phrase = phrase
        self._victim = victim
        self._delay = delay
        self._pids: dict[str, int] = {}

    def __call__(self, text: str) -> None:
        self.heard.append(text)
        if found := re.match(r"(\w+)@\S+ listens at \S+ \(process (\d+)\)", text):
            self._pids[found[1]] = int(found[2])
        if text.startswith(self._phrase):
            threading.Timer(self._delay, os.kill, (self._pids[self._victim], signal.SIGKILL)).start()


def test_a_node_killed_amid_the_traffic_is_named_and_the_others_show_their_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    audience = Audience("traffic for", "copenhagen", 0.5)
    monkeypatch.setattr("partisan.bench.__main__.say", audience)
    assert main(["demo", "--seconds", "2"]) == 1
    said, table, why = audience.heard[-3:]
    assert said == "copenhagen was killed (signal 9); amsterdam and brussels go on"
    rows = table.splitlines()
    for channel in demo_node.CHANNELS:
        assert any(re.match(rf"amsterdam\S* -> brussels\S* +{channel} +[1-9]", row) for row in rows), table
        assert any(re.match(rf"brussels\S* -> copenhagen\S* \(cut off\) +{channel} ", row) for row in rows), table
        assert any(re.match(rf"these 4 +{channel} ", row) for row in rows), table
    assert not any(row.startswith("copenhagen") for row in rows)
    assert "older states were superseded" in why
    assert "copenhagen was killed (signal 9)" in capsys.readouterr().err


def test_a_node_killed_before_the_traffic_ends_the_demonstration_by_name() -> None:
    audience = Audience("brussels@127.0.0.1 listens", "brussels")
    with pytest.raises(demo.MeasurementFailed, match=r"^brussels was killed \(signal 9\)$"):
        demo.run(1.0, audience)
    assert not any("traffic" in text for text in audience.heard)


def test_a_whole_run_says_why_a_monotonic_channel_delivers_less() -> None:
    heard: list[str] = []
    demo.run(0.3, heard.append)
    assert heard[-2].count("all six") == 3
    assert "(cut off)" not in heard[-2]
    assert heard[-1].startswith("gossip is a monotonic channel: older states were superseded")
