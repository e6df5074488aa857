"""Emulated networks for real: what was asked for is had, and nothing is left behind. Needs root, TUN and namespaces."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from partisan.bench.netem import Network, NetworkFailed, check, devices

SECONDS = 60.0


@pytest.fixture(autouse=True, scope="module")
def _possible() -> None:
    if reason := Network.unavailable():
        pytest.skip(f"no emulated network: {reason}")


def run(network: Network, host: int, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python code inside a host."""
    command = network.command(host, [sys.executable, "-c", code, *map(str, arguments)])
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)


@contextlib.contextmanager
def running(network: Network, host: int, code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run Python code inside a host; it says a line when it is ready."""
    command = network.command(host, [sys.executable, "-c", code, *map(str, arguments)])
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def namespaces(network: Network) -> set[int]:
    """The inodes of a network's namespaces."""
    paths = [network.command(host, [])[1].removeprefix("--net=") for host in range(network.hosts)]
    return {os.stat(path).st_ino for path in paths}


def relay_of(network: Network) -> int:
    return int(network.command(0, [])[1].split("/")[2])


def ended(pid: int) -> bool:
    return devices.await_end(pid, SECONDS)


SERVE = """
import socket, sys
listener = socket.create_server((sys.argv[1], 4000))
print("ready", flush=True)
while True:
    connection, peer = listener.accept()
    connection.sendall(peer[0].encode())
    connection.close()
"""
ASK = """
import socket, sys
print(socket.create_connection((sys.argv[1], 4000)).makefile().read())
"""
SLEEP = "print('ready', flush=True); import signal; signal.pause()"
SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    for each in range(int(sys.argv[2])):
        sender.sendto(bytes(int(sys.argv[3])), (sys.argv[1], 4000))
"""


def test_each_host_reaches_every_other_and_itself_under_its_own_address() -> None:
    with Network(3, rtt=0.001) as network:
        for there in range(3):
            with running(network, there, SERVE, network.address(there)):
                for here in range(3):
                    assert run(network, here, ASK, network.address(there)).stdout.strip() == network.address(here)
        with running(network, 0, SERVE, "127.0.0.1"):
            assert run(network, 0, ASK, "127.0.0.1").stdout.strip() == "127.0.0.1"


def test_the_round_trip_that_was_asked_for_is_had() -> None:
    limits = check(0.05, 0.5)
    assert limits.rtt_least >= 0.0499
    assert limits.rtt_measured < 0.2
    assert limits.echo >= limits.rtt_least
    assert limits.one_stream > 0
    assert limits.counters.octets > 0
    assert limits.tcp_wmem[2] >= limits.tcp_wmem[0] > 0
    assert limits.congestion


def test_loss_loses_its_share_the_same_with_the_same_seed() -> None:
    def lost(seed: int) -> int:
        with Network(2, rtt=0.0, loss=0.25, seed=seed) as network:
            run(network, 0, SEND, network.address(1), 2000, 100)
        told = network.counters(0)
        assert told.packets + told.lost == 2000
        return told.lost

    first = lost(1)
    assert 400 < first < 600
    assert lost(1) == first


def test_a_line_that_is_too_slow_drops_what_its_queue_cannot_hold() -> None:
    with Network(2, rtt=0.0, bandwidth=1e6, queue=10_000) as network:
        run(network, 0, SEND, network.address(1), 300, 972)  # packets of 1000 octets, in far less than 2.4 seconds
        told = network.counters(0)
    assert told.dropped > 0
    assert told.backlog <= 10_000


def test_what_was_on_its_way_is_gone_with_the_network_and_the_counters_stay() -> None:
    network = Network(2, rtt=10.0)
    with network:
        run(network, 0, SEND, network.address(1), 10, 100)
    assert network.counters().packets == 0


def test_a_setting_of_a_namespace_is_not_that_of_the_machine() -> None:
    path = Path("/proc/sys/net/ipv4/tcp_slow_start_after_idle")
    before = path.read_text()
    other = "0" if before.strip() == "1" else "1"
    with Network(2, rtt=0.0, settings={"net.ipv4.tcp_slow_start_after_idle": other}) as network:
        assert run(network, 1, f"print(open('{path}').read())").stdout.strip() == other
    assert path.read_text() == before


def test_a_setting_that_does_not_exist_is_said_and_nothing_is_left() -> None:
    with (
        pytest.raises(NetworkFailed, match=r"the setting net.ipv4.no_such=1 is refused: No such file"),
        Network(2, rtt=0.0, settings={"net.ipv4.no_such": "1"}),
    ):
        pass


def leave(network: Network, how: Callable[[], None]) -> None:
    """Enter a network, start something in it, and leave; all of it must be gone."""
    with contextlib.ExitStack() as stack:
        with network:
            inodes, relay = namespaces(network), relay_of(network)
            sleeper = stack.enter_context(running(network, 1, SLEEP))
            assert set(devices.inhabitants(inodes)) == {sleeper.pid}
            how()
        assert sleeper.wait(SECONDS) == -signal.SIGKILL
        assert ended(relay)
        assert devices.inhabitants(inodes) == []


def test_nothing_is_left_behind_after_the_end() -> None:
    leave(Network(2, rtt=0.001), lambda: None)


def test_nothing_is_left_behind_after_an_exception() -> None:
    class Wrong(Exception):
        pass

    def fail() -> None:
        raise Wrong

    network = Network(2, rtt=0.001)
    with pytest.raises(Wrong):
        leave(network, fail)
    with network:  # and it can be entered again
        assert devices.inhabitants(namespaces(network)) == []


def test_nothing_is_left_behind_when_the_relay_is_killed() -> None:
    network = Network(2, rtt=0.001)

    def kill() -> None:
        relay = relay_of(network)
        os.kill(relay, signal.SIGKILL)
        assert ended(relay)

    leave(network, kill)


PARENT = """
import os, subprocess, sys
from partisan.bench.netem import Network
with Network(2, rtt=0.001) as network:
    command = network.command(0, [sys.executable, "-c", "import signal; print('there', flush=True); signal.pause()"])
    inside = subprocess.Popen(command, stdout=subprocess.PIPE)
    inside.stdout.readline()
    path = command[1].removeprefix("--net=")
    print(path.split("/")[2], inside.pid, os.stat(path).st_ino, flush=True)
    inside.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_behind_when_the_parent_is_killed(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            relay, inside, inode = map(int, parent.stdout.readline().split())
            assert devices.inhabitants({inode}) != []
            parent.send_signal(number)
            parent.communicate(timeout=SECONDS)
        finally:
            parent.kill()
    assert ended(relay)
    assert ended(inside)
    assert devices.inhabitants({inode}) == []


def netem(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "partisan.bench.netem", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_a_command_runs_in_host_0_and_its_status_is_told() -> None:
    done = netem("--rtt", "1ms", "--hosts", "3", "--", "sh", "-c", "cat /proc/net/fib_trie; exit 7")
    assert done.returncode == 7
    assert "10.77.0.1" in done.stdout
    assert "host 2 10.77.0.3: nsenter" in done.stderr


def test_a_self_check_is_printed_and_written(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    done = netem("--rtt", "50ms", "--bandwidth", "100Mbit", "--seconds", "0.5", "--json", str(path))
    assert "round trip of the kernel" in done.stdout
    assert "100.0 Mbit/s" in done.stdout
    assert '"rtt_measured"' in path.read_text()
