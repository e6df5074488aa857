"""How soon a peer is missed: one that was killed, beside two Erlang nodes, and one to which every packet is lost."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

from partisan.bench.erlang import Erlang
from partisan.bench.measure import MeasurementFailed
from partisan.bench.procs import Child, ChildFailed
from partisan.bench.transports.base import START_SECONDS

from .host import Host, hosts

MODULE = "partisan_bench_watch"

SOURCE = r"""
%% A node that is killed, and one that watches it go.
-module(partisan_bench_watch).
-export([victim/0, watcher/0]).

victim() ->
    spawn(fun() ->
        io:format("{\"node\": \"~s\"}~n", [node()]),
        io:get_line(""),
        halt()
    end).

watcher() ->
    spawn(fun() ->
        net_kernel:monitor_nodes(true),
        watch(io:get_line(""))
    end).

watch(eof) ->
    halt();
watch(Line) ->
    Node = list_to_atom(string:trim(Line)),
    pong = net_adm:ping(Node),
    io:format("{\"watching\": true}~n"),
    receive {nodedown, Node} -> io:format("{\"down\": true}~n") end,
    watch(io:get_line("")).
"""

PING = {"enabled": True, "idle_timeout": 1.0, "timeout": 0.5, "max_attempts": 2}
"""The keepalive of the nodes between which packets are lost."""

KEEPALIVE_SECONDS = PING["idle_timeout"] + PING["timeout"] * PING["max_attempts"]
"""When such a keepalive has run out."""


def _kill(pid: int, watcher: Child) -> float:
    """Kill a process; seconds until the watcher says that it is gone."""
    start = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    watcher.read_until('"down"', START_SECONDS)
    return time.monotonic() - start


def kills(times: int, *, erlang: bool) -> list[tuple[float, ...]]:
    """Kill a peer again and again; each round's seconds until it is missed: ours, then stock Erlang's if asked for."""
    with contextlib.ExitStack() as stack:
        watched = [stack.enter_context(each()) for each in ((ours, theirs) if erlang else (ours,))]
        return [tuple(kill(number) for kill in watched) for number in range(times)]


@contextlib.contextmanager
def ours() -> Iterator[Callable[[int], float]]:
    """A node that watches: gives callable(round), which has it watch another process, and kills that."""
    with hosts("watcher") as [watcher]:
        watcher.order("start", names=["watcher"])
        watcher.answer("addresses")

        def kill(number: int) -> float:
            with hosts("victim") as [victim]:
                name = f"victim{number}"
                victim.order("start", names=[name])
                watcher.order("join", contact=victim.answer("addresses")[0])
                watcher.answer("joined")
                watcher.order("watch", name=f"{name}@127.0.0.1")
                watcher.answer("watching")
                found = _kill(victim.child.pid, watcher.child)
                watcher.order("forget", name=f"{name}@127.0.0.1")
                watcher.answer("forgotten")
                return found

        yield kill


@contextlib.contextmanager
def theirs() -> Iterator[Callable[[int], float]]:
    """The same between stock Erlang nodes, by `net_kernel:monitor_nodes`."""
    erlang = Erlang(MODULE, SOURCE)
    erlang.prepare()
    children: list[Child] = []

    def kill(number: int) -> float:
        victim = erlang.node("victim", "victim", [])
        children.append(victim)
        watcher.write_line(victim.read_until('"node"', START_SECONDS).split('"')[3])
        watcher.read_until('"watching"', START_SECONDS)
        return _kill(victim.pid, watcher)

    try:
        watcher = erlang.node("watcher", "watcher", [])
        children.append(watcher)
        yield kill
    except ChildFailed as error:
        raise MeasurementFailed(str(error)) from error
    finally:
        for child in children:
            child.stop()
        erlang.stop()


def why_no_cut() -> str | None:
    """Say why packets cannot be lost on this machine, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    return None if shutil.which("ip") else "not on the PATH: ip"


@contextlib.contextmanager
def wire() -> Iterator[tuple[list[str], list[str]]]:
    """Two network namespaces joined by a cable: the commands that run something at each end."""
    names = [f"partisan-{secrets.token_hex(3)}-{end}" for end in "ab"]
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("link", "add", "wire", "netns", names[0], "type", "veth", "peer", "name", "wire", "netns", names[1])
        for number, name in enumerate(names, 1):
            _ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "wire")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", "wire", "up")
        yield ["ip", "netns", "exec", names[0]], ["ip", "netns", "exec", names[1]]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False, timeout=10)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False, timeout=10)
    if done.returncode:
        raise MeasurementFailed(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def cut_silently(ends: tuple[list[str], list[str]]) -> None:
    """From now on no packet arrives, and nobody is told: each end sends to a card that does not exist."""
    for number, command in enumerate(ends, 1):
        peer = f"10.77.0.{3 - number}"
        _ip(
            "-n",
            command[-1],
            "neigh",
            "replace",
            peer,
            "lladdr",
            "02:00:00:00:00:01",
            "dev",
            "wire",
            "nud",
            "permanent",
        )


def cut_ours() -> float:
    """Lose every packet between two idle nodes; seconds until one has missed the other."""
    with wire() as ends, hosts("a", "b", prefixes=ends) as [a, b]:
        for number, host in enumerate((a, b), 1):
            host.order("start", names=[f"n{number}"], host=f"10.77.0.{number}", connection_ping=PING)
        contact = [host.answer("addresses") for host in (a, b)][1][0]
        a.order("join", contact=contact)
        a.answer("joined")
        return _missed(a, ends)


def _missed(watcher: Host, ends: tuple[list[str], list[str]]) -> float:
    watcher.order("watch", name="n2@10.77.0.2")
    watcher.answer("watching")
    start = time.monotonic()
    cut_silently(ends)
    watcher.answer("down", 10 * KEEPALIVE_SECONDS)
    return time.monotonic() - start
