"""The examples run as they are written."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def output_of(example: str, *arguments: str, timeout: float = 30.0) -> str:
    """What the example prints; it must succeed and complain of nothing."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / example), *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_hello_greets() -> None:
    assert output_of("hello.py").splitlines() == [
        "members: a@127.0.0.1, b@127.0.0.1",
        "Hello visitor, this is b@127.0.0.1.",
    ]


def test_counter_counts_for_another_node_and_ends_in_order() -> None:
    assert output_of("counter.py").splitlines() == [
        "add 5: 15",
        "after ten casts: 60",
        "the counter ends with 60",
        "answered at last: 60",
        "nobody is there any more: there is no process ('counter', 'b@127.0.0.1')",
    ]


def test_the_door_opens_to_its_code_lets_the_visitor_in_and_locks_itself() -> None:
    assert output_of("door.py").splitlines() == [
        "the door is locked",
        "buttons to press: 3",
        "the door is open",
        "welcome",
        "the door is locked",
        "locked again: True",
    ]


def test_a_growing_set_sheds_most_of_its_states_and_arrives_all_the_same() -> None:
    assert output_of("growing_set.py").splitlines() == [
        "both have 2000 elements",
        "a@127.0.0.1: of 1000 states most were shed: True",
        "b@127.0.0.1: of 1000 states most were shed: True",
        "the last arrived: True",
    ]


def test_supervised_servers_crash_and_go_on() -> None:
    assert output_of("supervised.py").splitlines() == [
        "count: 15",
        "counter crashed: ValueError: invalid literal for int() with base 10: 'five'",
        "running: store, counter",
        "count: 16",
        "store crashed: ValueError: what is five?",
        "running: store, counter",
        "count: 11",
        "ended: shutdown",
    ]


@pytest.mark.parametrize("victim", ["a", "b", "c"])
def test_the_stock_survives_the_crash_of_each_server_and_the_kill_of_each_node(victim: str) -> None:
    left, right = (name for name in "abc" if name != victim)
    assert output_of("stock.py", victim, timeout=90.0).splitlines() == [
        "3 apples written down at a: 3 nodes keep it",
        "3 pears written down at b: 3 nodes keep it",
        "3 plums written down at c: 3 nodes keep it",
        *(
            f"{server} of {name} crashed: ValueError: no request for a {server}; 2 servers run there"
            for name in "abc"
            for server in ("store", "desk")
        ),
        "plums: 3 at a, 3 at b, 3 at c",
        f"{victim} is killed, its desk is down: noconnection",
        f"missed by {left}@127.0.0.1 and {right}@127.0.0.1",
        f"no order there: no connection to the node {victim}@127.0.0.1",
        f"7 figs written down at {left}: 2 nodes keep it",
        f"figs: 7 at {right}",
        f"{victim} is back: 3 apples, 3 pears, 3 plums, 7 figs",
    ]


def test_pingpong_plays_a_thousand_rounds_between_two_processes() -> None:
    lines = output_of("pingpong.py").splitlines()
    assert re.fullmatch(r"the other node is b@127\.0\.0\.1:\d+", lines[0])
    assert lines[1] == "joined b@127.0.0.1"
    assert re.fullmatch(r"1000 rounds, \d+ microseconds each", lines[2])


def blocks_of_the_readme() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_the_first_program_of_the_documents_works_as_it_is_written(tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "index.md").read_text(), re.DOTALL)
    (tmp_path / "first.py").write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "first.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("5\n", "")


def test_the_servers_of_the_readme_are_kept_running(tmp_path: Path) -> None:
    *_, program = blocks_of_the_readme()
    (tmp_path / "shop.py").write_text(program)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "shop.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.splitlines() == ["1", "it ended: (Atom('KeyError'), \"Atom('pears')\")", "2"]
    assert "KeyError" in done.stderr


def test_the_five_minutes_of_the_readme_work_as_they_are_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    server, client, _ = (block.replace("10201", port) for block in blocks_of_the_readme())
    (tmp_path / "server.py").write_text(server)
    (tmp_path / "client.py").write_text(client)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(tmp_path / "server.py")], env=environment) as serving:
        try:
            client_output = subprocess.run(
                [sys.executable, str(tmp_path / "client.py")],
                env=environment,
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
        finally:
            serving.kill()
    assert client_output.stdout == "5\n"
