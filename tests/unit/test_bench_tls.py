"""The experiment `tls` between real processes: both sides of each point, and a machine that lacks what it needs."""

import shutil
from pathlib import Path

import pytest

from partisan.bench import tls
from partisan.bench.__main__ import main
from partisan.bench.measure import Measurement, MeasurementFailed, Point


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on the path to make a certificate with")
def test_each_point_is_measured_plain_and_with_tls() -> None:
    said: list[str] = []
    results = tls.run(1, 0.05, said.append)
    assert [(row.experiment, row.workload, row.transport, row.config, row.octets) for row in results.rows()] == [
        ("tls", "oneway", "partisan", "plain", 512 << 10),
        ("tls", "oneway", "partisan", "tls", 512 << 10),
        ("tls", "echo", "partisan", "plain", 16),
        ("tls", "echo", "partisan", "tls", 16),
    ]
    assert all((row.messages_per_second or 0) > 0 for row in results.rows())
    assert [line.split()[0] for line in said[0].splitlines()] == ["oneway,", "config", "------", "plain", "tls"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on the path to make a certificate with")
def test_the_nodes_that_are_measured_with_tls_speak_it(tmp_path: Path) -> None:
    from partisan import Node

    environment = tls.certificate(tmp_path)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        config = Node("a@127.0.0.1:0").config
    assert config.tls
    assert config.tls_client_options.verify == config.tls_server_options.verify == "verify_peer"
    assert config.tls_server_options.fail_if_no_peer_cert


def test_without_openssl_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main(["tls", "--seconds", "0.01"]) == 1
    assert "no openssl on the path" in capsys.readouterr().err


def test_the_ratio_is_that_of_tls_to_plain() -> None:
    results = tls.Results()
    for config, rate in (("plain", 8.0), ("tls", 2.0)):
        point = Point("oneway", 1, 512 << 10, config)
        results.rounds[point] = [Measurement(rate, rate, None, None)]
    [goal] = tls.goals_of(results)
    assert (goal.found, goal.reached) == (0.25, False)


def test_a_certificate_that_cannot_be_made_is_a_failed_measurement(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on the path")
    with pytest.raises(MeasurementFailed, match="openssl made no certificate"):
        tls.certificate(tmp_path / "missing")
