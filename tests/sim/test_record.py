"""A run is written to a file, and the file run again."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.errors import LocalProtocolError
from partisan.machines.full import FullConfig, FullMembership, FullState, Gossip
from partisan.machines.hyparview import HyParViewConfig
from partisan.machines.machine import Join, Leave, Notify, Received, Start, TimedOut, Violation
from partisan.machines.orset import OrSet
from partisan.machines.scamp_v1 import ScampConfig, ScampV1
from partisan.machines.scamp_v2 import ScampV2
from partisan.names import ChannelOptions, Contact, ListenAddress, NodeSpec
from partisan.sim.__main__ import main
from partisan.sim.faults import SimulatedFaults
from partisan.sim.makers import MAKERS
from partisan.sim.network import Network
from partisan.sim.record import Recorder, TraceError, from_json, replay, to_json
from partisan.sim.scenarios import SCENARIOS, churn, hyparview_paper, xbot

SPEC = NodeSpec.of("a@h", (ListenAddress("::1", 1000),), {"undefined": ChannelOptions(), "x": ChannelOptions(2)})
PROTOCOLS = {
    "full": (FullMembership, FullConfig(period=3.0)),
    "scamp_v1": (ScampV1, ScampConfig(period=3.0, lease=20.0)),
    "scamp_v2": (ScampV2, ScampConfig(period=3.0, lease=20.0)),
}


def story(protocol, seed=1, record=True):
    """Nodes join, suffer, crash, come back and leave; the lines of the trace, and the network."""
    lines = []
    kind, config = PROTOCOLS[protocol]

    def build(peer, rng, saved):
        return kind(peer, config, rng, saved)

    recorder = Recorder(lines.append)
    net = Network(recorder.recording(protocol, config, seed, build) if record else build, seed)
    faults = SimulatedFaults(net)
    for peer in range(8):
        net.boot(peer)
        net.tell(peer, Join(peer // 2))
        net.run(1.0)
    faults.omit(probability=0.1)
    faults.skew("2", rate=1.5)
    net.run(10.0)
    net.crash(3)
    net.run(5.0)
    net.boot(3, net.saved[3])
    net.crash(4)
    net.boot(4)
    net.tell(5, Leave())
    net.run(20.0)
    assert not record or recorder.events == net.events == len(lines) - 1 - 10
    return lines, net


@pytest.mark.parametrize("protocol", PROTOCOLS)
class TestReplay:
    def test_a_trace_is_answered_as_it_was_recorded(self, protocol):
        lines, net = story(protocol)
        done = replay(lines, MAKERS)
        assert done.divergence is None
        assert (done.protocol, done.events) == (protocol, net.events)
        assert {p: m.members for p, m in done.machines.items()} == {p: net.machine(p).members for p in range(8)}

    def test_recording_changes_nothing(self, protocol):
        assert story(protocol)[1].digest() == story(protocol, record=False)[1].digest()

    def test_a_machine_that_answers_otherwise_is_found_where_it_does(self, protocol):
        lines, _ = story(protocol)
        kind, _ = PROTOCOLS[protocol]

        class Other(kind):
            def _on_timed_out(self, event, now):
                super()._on_timed_out(event, now)
                if self.myself == 6 and now > 15.0:
                    self._notify("otherwise")

        makers = {protocol: lambda config: lambda peer, rng, saved: Other(peer, config, rng, saved)}
        done = replay(lines, makers)
        assert done.divergence is not None
        line = json.loads(lines[done.divergence.line - 1])
        assert (done.divergence.peer, line["n"], type(done.divergence.event)) == (6, 6, TimedOut)
        assert line["t"] > 15.0
        assert Notify("otherwise") in done.divergence.effects
        assert replay(lines, makers, strict=False).events > done.events


def test_nodes_of_another_recording_are_written_likewise():
    """As one of real nodes does it: specs for nodes, any chance, times of its own clock."""
    lines = []
    recorder = Recorder(lines.append)
    config = FullConfig()
    recorder.begin("full", config, "live")
    machine = recorder.life(SPEC, 1 << 100, None, FullMembership(SPEC, config, Random(1 << 100)))
    machine.handle(Start(), 1234.5)
    machine.handle(Join(Contact.parse("b@127.0.0.1:77")), 1235.0)
    machine.handle(Received("b@h", b"no message"), 1236.0)
    done = replay(lines, MAKERS)
    assert (done.divergence, done.events) == (None, 3)
    assert list(done.machines) == [SPEC]
    with pytest.raises(RuntimeError, match="has begun"):
        recorder.begin("full", config, "live")


def test_what_a_machine_raised_is_raised_again():
    lines = []
    recorder = Recorder(lines.append)
    recorder.begin("full", FullConfig(), "live")
    machine = recorder.life(SPEC, 1, None, FullMembership(SPEC, FullConfig(), Random(1)))
    with pytest.raises(LocalProtocolError):
        machine.handle("no event", 1.0)
    assert json.loads(lines[-1])["x"] == "!LocalProtocolError"
    done = replay(lines, MAKERS)
    assert (done.divergence, done.events) == (None, 1)
    lines[-1] = lines[-1].replace("!LocalProtocolError", "!OtherError")
    found = replay(lines, MAKERS).divergence
    assert isinstance(found.raised, LocalProtocolError)


def test_a_trace_calls_only_what_it_may():
    lines = []
    recorder = Recorder(lines.append)
    recorder.begin("full", FullConfig(), "live")
    machine = recorder.life(SPEC, 1, None, FullMembership(SPEC, FullConfig(), Random(1)), calls=("foreign",))
    machine.foreign(())
    with pytest.raises(TraceError, match="not to be called"):
        replay(lines, MAKERS)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(st.one_of(st.text(), st.integers(), st.tuples(st.binary())), inner),
        st.builds(Received, inner, inner),
        st.builds(Violation, inner, st.text()),
    ),
)


@given(VALUES)
def test_every_value_is_read_as_it_was_written(value):
    read = from_json(json.loads(json.dumps(to_json(value))))
    assert repr(read) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        SPEC,
        Contact.parse("a@127.0.0.1:1"),
        math.inf,
        Gossip(SPEC, b"x", OrSet({SPEC: {b"t": True, b"u": False}})),
        FullState(b"x", OrSet()),
        HyParViewConfig(),
        ScampConfig(lease=math.inf),
    ],
)
def test_what_machines_are_made_of_is_read_as_it_was_written(value):
    assert from_json(json.loads(json.dumps(to_json(value)))) == value


def test_what_has_no_place_in_a_trace_is_refused_when_it_is_written():
    with pytest.raises(TypeError, match="no place in a trace"):
        to_json(object())


GOOD = '{"partisan_trace":1,"protocol":"full","config":{"c":["partisan.machines.full:FullConfig",' + (
    '1.0,null,9,{"-":0},{"-":0},true,9,1.0]},"seed":1}'
)


@pytest.mark.parametrize(
    ("lines", "at", "problem"),
    [
        ([], 1, "empty"),
        (["no json"], 1, "Expecting"),
        (["[]"], 1, "no trace"),
        (['{"partisan_trace":2}'], 1, "version 2"),
        ([GOOD.replace('"full"', '"other"')], 1, "nobody makes"),
        ([GOOD.replace("partisan.machines.full:", "os:")], 1, "none of ours"),
        ([GOOD.replace("full:FullConfig", "full:hashlib")], 1, "no dataclass"),
        ([GOOD.replace("full:FullConfig", "nothing:At")], 1, "not there"),
        ([GOOD.replace("true,9", "true,9,9")], 1, "fields"),
        ([GOOD, '{"n":1,"t":0,"e":null,"x":""}'], 2, "before its life"),
        ([GOOD, '{"n":1}'], 2, "chance"),
        ([GOOD, '{"n":1,"chance":1,"saved":{"z":1}}'], 2, "no value"),
        ([GOOD, '{"n":1,"chance":1,"saved":{"b":"zz"}}'], 2, "non-hexadecimal"),
        ([GOOD, "7"], 2, "."),
    ],
)
def test_what_is_no_trace_is_refused_with_its_line(lines, at, problem):
    with pytest.raises(TraceError, match=problem) as caught:
        replay(lines, MAKERS)
    assert caught.value.line == at


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_trace_is_refused_or_runs(data):
    lines, _ = DAMAGED
    number = data.draw(st.integers(0, 30))
    text = lines[number]
    at = data.draw(st.integers(0, len(text) - 1))
    broken = text[:at] + data.draw(st.sampled_from(["", "0", '"', "}", "null", "[", "x"])) + text[at + 1 :]
    try:
        replay([*lines[:number], broken, *lines[number + 1 : 40]], MAKERS)
    except TraceError as error:
        found = error.line
    else:
        found = 1
    assert 1 <= found <= 41


DAMAGED = story("scamp_v1")


def test_the_command_line_writes_a_trace_and_runs_it_again(tmp_path, capsys):
    trace = tmp_path / "churn.trace"
    assert main(["churn", "--nodes", "12", "--trace", str(trace)]) == 0
    assert f"events to {trace}" in capsys.readouterr().err
    assert main(["replay", str(trace)]) == 0
    assert "answered as it was recorded" in capsys.readouterr().out
    lines = trace.read_text().splitlines(keepends=True)
    trace.write_text("".join([*lines[:300], lines[300].replace('"x":"', '"x":"0'), *lines[301:]]))
    assert main(["replay", str(trace)]) == 1
    assert "line 301: node" in capsys.readouterr().out
    trace.write_text("nonsense")
    assert main(["replay", str(trace)]) == 2
    assert main(["replay", str(tmp_path / "none")]) == 2
    with pytest.raises(SystemExit):
        main(["scale", "--trace", str(trace)])


@pytest.mark.parametrize("codec", [False, True])
@pytest.mark.parametrize(
    ("scenario", "nodes", "protocol"),
    [
        ("full-mesh", 12, "full"),
        ("churn", 12, "hyparview+flood"),
        ("hyparview-paper", 20, "hyparview+flood"),
        ("xbot", 20, "hyparview+oracle+flood"),
    ],
)
def test_each_scenario_that_is_recorded_is_run_again_and_recording_changes_nothing(
    scenario, nodes, protocol, codec, tmp_path, capsys, monkeypatch
):
    if codec:
        pytest.importorskip("partisan.etf", reason="needs the compiled codec")
    monkeypatch.setitem(SCENARIOS, scenario, dataclasses.replace(SCENARIOS[scenario], least=2))
    monkeypatch.setattr(churn, "RATES", (10,))
    monkeypatch.setattr(hyparview_paper, "STABLE_CYCLES", 3)
    monkeypatch.setattr(hyparview_paper, "FAILURES", (50, 60))
    monkeypatch.setattr(hyparview_paper, "HEALED_FAILURES", (10, 50))
    monkeypatch.setattr(xbot, "CYCLES", 5)
    trace = tmp_path / "run.trace"
    command = [scenario, "--nodes", str(nodes), *(["--codec"] if codec else [])]
    said = []
    for more in ([], ["--trace", str(trace)]):
        assert main([*command, *more]) == 0
        out, err = capsys.readouterr()
        said.append((out, next(line for line in err.splitlines() if "digest" in line)))
    assert said[0] == said[1]
    assert main(["replay", str(trace)]) == 0
    out = capsys.readouterr().out
    assert re.match(f"{re.escape(protocol)}: [\\d,]+ events of {nodes} machines\n", out)
    assert "answered as it was recorded" in out
