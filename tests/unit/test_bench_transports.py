"""Each foreign transport measures a small point between real processes, and leaves none behind."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from partisan.bench import micro
from partisan.bench.measure import Measurement, MeasurementFailed, Point
from partisan.bench.procs import Child
from partisan.bench.transports import create
from partisan.bench.transports.base import Transport

SECONDS = 0.05


@pytest.fixture(params=["disterl", "raw", "zmq", "asyncio"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    chosen = create(request.param)
    if (reason := chosen.why_not()) is not None:
        pytest.skip(reason)
    yield chosen
    chosen.stop()


@pytest.mark.parametrize("workload", ["oneway", "echo"])
@pytest.mark.parametrize(("actors", "octets"), [(1, 16), (4, 16), (1, 1 << 20), (4, 1 << 20)])
def test_a_point_is_measured(transport: Transport, workload: str, actors: int, octets: int) -> None:
    point = Point(workload, actors, octets)
    if (reason := transport.why_skip(point)) is not None:
        pytest.skip(reason)
    transport.start(actors)
    for _ in range(2):
        found = transport.run(point, SECONDS)
        assert found.messages_per_second > 0
        assert (found.p50_us is None) == (workload == "oneway")


def test_two_erlang_nodes_measure_an_echo_beside_a_stream() -> None:
    disterl = create("disterl")
    if (reason := disterl.why_not()) is not None:
        pytest.skip(reason)
    try:
        disterl.start(1)
        assert disterl.run(Point("hol", 1, 16, "idle"), SECONDS).octets_per_second is None
        assert (disterl.run(Point("hol", 1, 16, "one_channel"), SECONDS).octets_per_second or 0) > 0
    finally:
        disterl.stop()


def test_a_transport_whose_server_dies_fails_and_can_be_started_again() -> None:
    raw = create("raw")
    try:
        raw.start(1)
        server = raw._server
        assert server is not None
        os.kill(server.pid, 9)
        with pytest.raises(MeasurementFailed, match="raw client"):
            raw.run(Point("oneway", 1, 16), SECONDS)
        assert not raw.running
        raw.start(1)
        assert raw.run(Point("oneway", 1, 16), SECONDS).messages_per_second > 0
    finally:
        raw.stop()


class Recorded(Transport):
    """A transport that measures nothing and writes down when it was asked."""

    def __init__(self, name: str, log: list[str], reason: str | None = None) -> None:
        super().__init__()
        self.title, self.log, self.reason = name, log, reason
        self.up = False

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.title

    @property
    def running(self) -> bool:
        return self.up

    def why_not(self) -> str | None:
        return self.reason

    def start_server(self, actors: int) -> Child:
        raise AssertionError("start() starts nothing here")

    def start_client(self, facts: dict[str, Any]) -> Child:
        raise AssertionError("start() starts nothing here")

    def start(self, actors: int) -> None:
        self.up = True
        self.log.append(f"{self.name} starts with {actors}")

    def run(self, point: Point, seconds: float) -> Measurement:
        if self.name == "asyncio":
            self.up = False
            raise MeasurementFailed("it broke")
        self.log.append(f"{self.name} {seconds:g}")
        return Measurement(1.0, 16.0, None, None)

    def stop(self) -> None:
        self.log.append(f"{self.name} stops")


def test_rounds_visit_the_transports_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    reasons = {"zmq": "not here"}
    monkeypatch.setattr(micro, "create", lambda name: Recorded(name, log, reasons.get(name)))
    said: list[str] = []
    plan = micro.Plan(["oneway"], ["raw", "zmq", "asyncio"], [1, 4], [16], seconds=2.0, rounds=2)
    results = micro.run(plan, said.append)
    of_a_point = ["partisan 0.1", "partisan 2", "raw 0.1", "raw 2", "partisan 2", "raw 2"]
    starts = ["partisan starts with 4", "raw starts with 4", "asyncio starts with 4"]
    assert [line for line in log if line in of_a_point] == of_a_point * 2
    assert [line for line in log if "starts" in line] == [*starts, starts[-1]]
    assert [line for line in log if "stops" in line] == [
        f"{name} stops" for name in ("partisan", "raw", "zmq", "asyncio")
    ]
    assert "zmq skipped: not here" in said[0]
    assert "asyncio skipped: failed: it broke" in said[0]
    assert len(results.rows()) == 4


def test_children_end_when_the_parent_is_killed() -> None:
    code = (
        "from partisan.bench.transports import create; raw = create('raw'); raw.start(1);"
        "print(raw._server.pid, raw._client.pid, flush=True); input()"
    )
    parent = Child("parent", [sys.executable, "-c", code])
    try:
        pids = [int(pid) for pid in parent.read_line(20.0).split()]
        os.kill(parent.pid, 9)
        # A pipe to a process that is gone is at its end: wait for that, and not for the clock.
        for pid in pids:
            _wait_for_end(pid)
    finally:
        parent.stop()


def _wait_for_end(pid: int) -> None:
    import select

    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 20.0)[0], f"process {pid} lives on"
    finally:
        os.close(descriptor)
