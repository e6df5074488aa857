"""Child processes: ready lines, bounded waits, and ends that always come."""

import os
import sys
import time

import pytest

from partisan.bench.procs import Child, ChildFailed, gather

WAIT = 20.0


def python(code: str) -> Child:
    return Child("test child", [sys.executable, "-c", code])


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_child_answers_lines() -> None:
    child = python("for line in open(0): print(line.strip().upper(), flush=True)")
    try:
        child.write_line("one")
        child.write_line("two")
        assert [child.read_line(WAIT), child.read_line(WAIT)] == ["ONE", "TWO"]
    finally:
        child.stop()
    assert is_gone(child.pid)


def test_lines_before_the_mark_are_passed_over() -> None:
    child = python("print('noise\\nready now', flush=True); input()")
    try:
        assert child.read_until("ready", WAIT) == "ready now"
    finally:
        child.stop()


def test_a_silent_child_is_given_up() -> None:
    child = python("input()")
    try:
        with pytest.raises(ChildFailed, match="the test child said nothing"):
            child.read_line(0.05)
    finally:
        child.stop()


def test_what_a_failing_child_wrote_is_in_the_message() -> None:
    child = python("raise SystemExit('no more paper')")
    try:
        with pytest.raises(ChildFailed, match="the test child ended: no more paper"):
            child.read_line(WAIT)
    finally:
        child.stop()


def test_a_child_that_ignores_its_input_and_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("partisan.bench.procs.GRACE", 0.2)
    child = python(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    child.read_until("up", WAIT)
    child.stop()
    assert is_gone(child.pid)


def test_what_a_child_started_ends_with_it() -> None:
    child = python(
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(p.pid, flush=True); input()"
    )
    grandchild = int(child.read_line(WAIT))
    child.stop()
    deadline = time.monotonic() + WAIT
    # The grandchild is not ours to wait for: whoever inherits it reaps it a moment later.
    while not is_gone(grandchild) and _state(grandchild) != "Z" and time.monotonic() < deadline:
        os.sched_yield()
    assert is_gone(grandchild) or _state(grandchild) == "Z"


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_program_that_is_missing_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        Child("nobody", ["/no/such/program"])


def test_children_are_awaited_at_once_and_each_that_fails_is_told_with_its_fate() -> None:
    children = [
        python("print('noise\\nready', flush=True); input()"),
        python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
        python("raise SystemExit('no more paper')"),
        python("input()"),
    ]
    fates: dict[Child, str] = {}
    try:
        # The silent one comes first: nobody waits for it in order to hear of the others.
        lines = gather(children[::-1], "ready", 3.0, fates.__setitem__)
    finally:
        for child in children:
            child.stop()
    assert lines == {children[0]: "ready"}
    assert set(list(fates.items())[:2]) == {
        (children[1], "was killed (signal 9)"),
        (children[2], "ended with status 1: no more paper"),
    }
    assert list(fates.items())[2:] == [(children[3], "said nothing for 3 s")]


def test_a_line_read_together_with_an_earlier_one_is_not_awaited_again() -> None:
    child = python("print('one\\ntwo', flush=True); input()")
    fates: dict[Child, str] = {}
    try:
        assert [gather([child], mark, WAIT, fates.__setitem__)[child] for mark in ("one", "two")] == ["one", "two"]
    finally:
        child.stop()
    assert not fates
