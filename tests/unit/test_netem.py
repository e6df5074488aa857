"""Emulated networks: what can be asked for, what is refused, and how it is told. Nothing here needs root."""

from __future__ import annotations

import argparse
import os
import shutil
import struct
from pathlib import Path

import pytest

from partisan.bench.netem import Counters, Limits, Network, NetworkFailed, Rules, units
from partisan.bench.netem import __main__ as command_line
from partisan.bench.netem.network import TALLY, read_counters


@pytest.mark.parametrize(
    ("text", "value"), [("20ms", 0.02), ("0.5 s", 0.5), ("100us", 1e-4), ("1S", 1.0), ("0", 0.0), ("0ms", 0.0)]
)
def test_a_time_is_read_with_its_unit(text: str, value: float) -> None:
    assert units.seconds(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"), [("1Gbit", 1e9), ("100mbit", 1e8), ("2.5Gbit", 2.5e9), ("9kbit", 9000), ("5000bit", 5000)]
)
def test_a_bandwidth_is_read_with_its_unit(text: str, value: float) -> None:
    assert units.bits(text) == pytest.approx(value)


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("1%", 0.01), ("0.25", 0.25), ("100 %", 1.0), ("1", 1.0)])
def test_a_share_is_read_with_or_without_a_percent_sign(text: str, value: float) -> None:
    assert units.share(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--rtt", "20", "'20' has no unit: one of s, ms, us (such as 20ms)"),
        ("--rtt", "20min", "'min' is no unit of time: one of s, ms, us"),
        ("--rtt", "soon", "'soon' is no time (such as 20ms)"),
        ("--rtt", "nan", "'nan' is no time"),
        ("--rtt", "11s", "rtt 11.0 is not within 0 and 10 seconds"),
        ("--jitter", "11ms", "jitter 0.011 is not within 0 and half of the rtt, 0.01 seconds"),
        ("--bandwidth", "1GB", "'GB' is no unit of bandwidth: one of bit, kbit, Mbit, Gbit"),
        ("--bandwidth", "1000000", "'1000000' has no unit: one of bit, kbit, Mbit, Gbit (such as 1Gbit)"),
        ("--bandwidth", "10bit", "bandwidth 10.0 is below 1000 bits a second"),
        ("--bandwidth", "0", "bandwidth 0.0 is below 1000 bits a second"),
        ("--loss", "5", "5 is above all of them: a share is 0 to 1, or 0% to 100%"),
        ("--loss", "-0.1", "'-0.1' is no share (such as 0.01 or 1%)"),
        ("--loss", "1ms", "'ms' is no unit of a share (such as 0.01 or 1%)"),
        ("--queue", "5MB", "'MB' is no unit of size: one of B, KiB, MiB, GiB"),
        ("--mtu", "100", "mtu 100 is not within 576 and 65535 octets"),
        ("--hosts", "1", "1 hosts: not within 2 and 64"),
        ("--hosts", "65", "65 hosts: not within 2 and 64"),
        ("--seconds", "0", "seconds 0.0 is not above 0"),
        ("--set", "kernel.hostname=x", "'kernel.hostname=x' is no setting"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_starts(
    option: str, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rtt = [] if option == "--rtt" else ["--rtt", "20ms"]
    with pytest.raises(SystemExit) as stopped:
        command_line.main([*rtt, option, text])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_a_size_is_read_in_octets() -> None:
    assert (units.octets("1MiB"), units.octets("1500B"), units.octets("0")) == (2**20, 1500, 0)
    with pytest.raises(argparse.ArgumentTypeError):
        units.octets("12")


def test_rules_become_nanoseconds_and_a_bound_for_chance() -> None:
    numbers = Rules(0.02, 0.001, 0.5, 1e9, seed=-1, reorder=True).numbers(2)
    assert numbers["delay"] == 10_000_000
    assert numbers["jitter"] == 1_000_000
    assert numbers["loss"] == 2**63
    assert numbers["octet"] == 8.0
    assert numbers["queue"] == 2_500_000  # what the line carries in a round trip
    assert numbers["reorder"] is True
    assert 0 <= numbers["seed"] < 2**56
    assert Rules(0.0, loss=1.0).numbers(2)["loss"] == 2**64 - 1


def test_the_store_holds_what_is_on_its_way_and_is_bounded() -> None:
    _, larges = Rules(0.02).room(2)
    assert larges * 65536 > 2 * 5e9 * 0.01 / 8  # the aim: 5 Gbit/s each way
    assert larges > Rules(0.02, bandwidth=1e9).room(2)[1]
    smalls, larges = Rules(10.0).room(64)
    assert larges * 66560 <= 768 * 2**20
    assert smalls < 2**23


def test_a_queue_of_no_octets_is_what_was_asked_for() -> None:
    assert Rules(0.02, bandwidth=1e9, queue=0).queue_octets == 0


def tally(*values: int) -> bytes:
    return struct.pack("10Q", *values)


def test_counters_are_added_up_and_extremes_are_kept() -> None:
    told = tally(10, 1000, 1, 2, 3, 4, 5, 700, 20_000, 9_000) + tally(30, 500, 1, 0, 0, 0, 0, 900, 60_000, 4_000)
    assert len(told) == 2 * TALLY.size
    assert read_counters(told) == Counters(40, 1500, 2, 2, 3, 4, 5, 900, pytest.approx(2e-6), pytest.approx(9e-6))
    assert read_counters(tally(*[0] * 10)).late == 0.0


def limits(rtt: float, measured: float, jitter: float = 0.0) -> Limits:
    nothing = read_counters(tally(*[0] * 10))
    sizes = (4096, 131072, 2**25)
    return Limits(
        rtt, measured, measured, measured, measured, None, 1e9, 4e9, jitter, 0.0, 65535, "cubic", sizes, sizes, nothing
    )


@pytest.mark.parametrize(
    ("rtt", "measured", "jitter", "good"),
    [
        (0.02, 0.0209, 0.0, True),
        (0.02, 0.0211, 0.0, False),
        (0.02, 0.0189, 0.0, False),
        (0.001, 0.00104, 0.0, True),
        (0.02, 0.0229, 0.001, True),
        (0.0, 0.0001, 0.0, True),
    ],
)
def test_a_round_trip_is_good_within_a_twentieth_and_the_jitter(
    rtt: float, measured: float, jitter: float, good: bool
) -> None:
    assert limits(rtt, measured, jitter).good is good


def test_limits_say_how_full_the_network_is() -> None:
    assert limits(0.02, 0.02).share(1e9) == 0.25


def test_a_self_check_is_shown_beside_what_was_asked_for() -> None:
    shown = command_line.render(limits(0.02, 0.0201))
    assert [line.split() for line in shown.splitlines()[2:6]] == [
        ["round", "trip", "of", "the", "kernel", "20.000", "ms", "20.100", "ms"],
        ["round", "trip", "of", "two", "processes", "20.100", "ms"],
        ["bandwidth,", "1", "stream", "no", "limit", "1.00", "Gbit/s"],
        ["bandwidth,", "8", "streams", "no", "limit", "4.00", "Gbit/s"],
    ]
    assert "32 MiB" in shown


def test_only_what_happened_to_packets_is_told() -> None:
    assert len(command_line.render_counters(read_counters(tally(1, 100, *[0] * 8))).splitlines()) == 1
    shown = command_line.render_counters(read_counters(tally(1, 100, 2, 3, 4, 0, 0, 0, 0, 0)))
    assert "2 packets lost on purpose" in shown
    assert "3 packets dropped, as the queue before a line was full" in shown
    assert "4 packets dropped, as the relay could not keep up" in shown


def test_a_network_that_is_not_entered_has_addresses_and_nothing_else() -> None:
    network = Network(3, rtt=0.02)
    assert [network.address(host) for host in range(3)] == ["10.77.0.1", "10.77.0.2", "10.77.0.3"]
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match="the network has 3"):
            network.address(wrong)
    with pytest.raises(RuntimeError, match="enter it first"):
        network.counters()
    with pytest.raises(RuntimeError, match="enter it first"):
        network.command(0, ["true"])


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (("sys.platform", "darwin"), "it needs Linux"),
        (("os.geteuid", lambda: 1000), "it needs root"),
        (("shutil.which", lambda name: None), "it needs the program nsenter (Debian: util-linux)"),
        (("partisan.bench.netem.devices.TUN", "/nowhere/tun"), "it needs TUN devices: /nowhere/tun: No such file"),
    ],
)
def test_a_machine_that_cannot_have_networks_says_why(
    breaks: tuple[str, object], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if breaks[0] != "sys.platform":
        if not shutil.which("nsenter") or not shutil.which("unshare"):
            pytest.skip("no util-linux")
        monkeypatch.setattr("sys.platform", "linux")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(*breaks)
    assert Network.unavailable().startswith(reason)
    with pytest.raises(NetworkFailed, match="no emulated network: it needs"), Network(2, rtt=0.02):
        pass


def test_a_path_that_cannot_be_written_is_said_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["--rtt", "20ms", "--json", str(tmp_path / "nowhere" / "x.json")]) == 1
    assert "No such file or directory" in capsys.readouterr().err
