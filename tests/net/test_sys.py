"""What `sys` sees of servers and does to them, from this node and from another; and what `proc_lib` knows of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from gen_support import calls_agreed, started, within
from support import cluster, eventually, running

import partisan
from partisan import Atom, CallTimeout, Exit, NoProc, receive, self
from partisan.gen import proc_lib, sys
from partisan.gen import server as gen_server
from partisan.gen.server import GenServer, call, cast


class Counter(GenServer):
    """Adds up."""

    def init(self, start: int = 0) -> None:
        self.n = start

    def handle_call(self, request: int, caller: Any) -> int:
        self.n += request
        return self.n

    def handle_cast(self, message: int) -> None:
        self.n += message

    async def code_change(self, old_version: Any, extra: Any) -> None:
        self.n = extra


async def test_a_suspended_server_answers_sys_and_nothing_else() -> None:
    async with running("a"):
        pid = await Counter.start(debug=["log"])
        await sys.suspend(pid)
        with pytest.raises(CallTimeout):
            await call(pid, 1, timeout=0.02)
        assert (await sys.get_status(pid))[3][1] == Atom("suspended")
        await sys.change_code(pid, "module", 1, 40)
        await sys.resume(pid)
        assert await call(pid, 1) == 42  # the call that nobody waits for any more came first


async def test_a_suspended_server_ends_when_it_is_told_or_its_parent_ends() -> None:
    async with running("a") as [a]:
        pid = await Counter.start()
        await sys.suspend(pid)
        await gen_server.stop(pid, Atom("shutdown"))
        assert not a.is_process_alive(pid)

        class Child(Counter):
            def init(self, start: int = 0) -> None:
                partisan.trap_exit()

        children: list[Any] = []

        async def parent() -> None:
            children.append(await Child.start_link())
            await sys.suspend(children[0])
            raise Exit(Atom("shutdown"))

        a.spawn(parent)
        await eventually(lambda: children and not a.is_process_alive(children[0]))


async def test_sys_tells_what_a_server_hears_and_says(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    async with running("a"):
        pid = await Counter.start()
        path = tmp_path / "events"
        caplog.set_level(logging.INFO, "partisan.gen.debug")
        await sys.trace(pid, True)
        await sys.log(pid, True, 3)
        await sys.log_to_file(pid, str(path))
        await sys.statistics(pid, True)
        await call(pid, 1)
        cast(pid, 1)
        events = await sys.get_log(pid)
        assert [event[0].name for event in events] == ["out", "in", "noreply"]
        assert events[0][1] == 1
        found = await sys.statistics(pid, "get")
        assert found is not None
        assert (found["messages_in"], found["messages_out"]) == (2, 1)
        assert "got cast 1" in caplog.text
        assert "got cast 1" in path.read_text()
        await sys.no_debug(pid)
        size = path.stat().st_size
        caplog.clear()
        cast(pid, 1)
        assert await sys.get_log(pid) == []
        assert await sys.statistics(pid, "get") is None
        assert path.stat().st_size == size
        assert caplog.text == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
async def test_a_full_disk_ends_the_log_and_not_the_server(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a") as (a,):
        pid = await started(a, Counter)
        await sys.log_to_file(pid, "/dev/full")
        assert [await call(pid, 1) for _ in range(3)] == [1, 2, 3]
        await sys.no_debug(pid)
    assert [record.levelname for record in caplog.records if "cannot be written" in record.message] == ["ERROR"]


async def test_a_function_that_is_installed_hears_events_until_it_is_done_fails_or_is_removed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running("a"):
        pid = await Counter.start()
        heard: list[Any] = []

        def twice(left: int, event: Any, name: Any) -> Any:
            if event[0] is Atom("out"):
                heard.append(event[1])
                return left - 1 if left > 1 else sys.DONE
            return left

        def fails(state: Any, event: Any, name: Any) -> Any:
            raise KeyError("fails")

        await sys.install(pid, twice, 2)
        await sys.install(pid, fails)
        for _ in range(4):
            await call(pid, 1)
        assert heard == [1, 2]
        assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
        caplog.clear()
        await sys.install(pid, twice, 9, identity="mine")
        await call(pid, 1)
        await sys.remove(pid, "mine")
        await call(pid, 1)
        assert heard == [1, 2, 5]


async def test_debug_options_hold_from_the_start() -> None:
    async with running("a"):
        pid = await Counter.start(debug=[("log", 2), "statistics"])
        await call(pid, 1)
        assert len(await sys.get_log(pid)) == 2


async def test_sys_works_between_nodes_but_for_what_runs_code() -> None:
    async with cluster("a", "b") as [a, b]:
        await calls_agreed(a, b)
        await started(b, Counter, name="s", args=(1,))
        target = ("s", b.name)

        async def case() -> None:
            assert await sys.get_state(target) == {b"n": 1}
            assert (await sys.get_status(target))[0] == Atom("status")
            await sys.suspend(target)
            for change in (
                sys.replace_state(target, "test_sys:replaced"),
                sys.install(target, "f", 1),  # type: ignore[arg-type]
                sys.log_to_file(target, "/nowhere"),
                sys.change_code(target, "m", 1, 2),
            ):
                with pytest.raises(Exit) as refused:
                    await change
                assert refused.value.reason == Atom("not_allowed")
            await sys.resume(target)
            await sys.terminate(target, Atom("shutdown"))
            await eventually(lambda: b.whereis("s") is None)
            with pytest.raises(NoProc):
                await sys.get_state(target)

        await within(a, case)


async def test_a_peer_that_gives_itself_out_for_a_process_of_ours_writes_no_file(tmp_path: Path) -> None:
    async with cluster("a", "b") as [a, b]:
        pid = await started(b, Counter, name="s", args=(1,))
        path = tmp_path / "log"

        async def case() -> None:
            forged = (pid, a.make_ref())
            partisan.send(pid, (Atom("system"), forged, (Atom("debug"), (Atom("log_to_file"), str(path)))))
            partisan.send(pid, (Atom("system"), forged, (Atom("replace_state"), b"test_sys:doubled")))
            assert await sys.get_state(pid) == {b"n": 1}

        await within(a, case)
        assert not path.exists()


def doubled(state: dict[str, Any]) -> dict[str, Any]:
    """What another node has done to a state."""
    return {**state, "n": state["n"] * 2}


async def test_what_is_exposed_may_replace_a_state_from_another_node_that_sys_is_open_to() -> None:
    async with cluster("a", "b", allow=("sys",)) as [a, b]:
        await calls_agreed(a, b)
        await started(b, Counter, name="s", args=(21,))
        target = ("s", b.name)
        b.expose(doubled, "states:doubled")

        async def case() -> None:
            assert await sys.replace_state(target, "states:doubled") == {b"n": 42}
            for hidden in ("states:halved", "os:getcwd", "nonsense"):
                with pytest.raises(Exit):
                    await sys.replace_state(target, hidden)
            await sys.suspend(target)
            await sys.change_code(target, "counter", 1, 5)
            await sys.resume(target)
            assert await call(target, 1) == 6

        await within(a, case)


async def test_a_state_that_is_no_term_is_told_as_text_to_other_nodes() -> None:
    class Odd(GenServer):
        def init(self) -> None:
            self.thing = object()
            self.number = 5

    async with cluster("a", "b") as [a, b]:
        await calls_agreed(a, b)
        pid = await started(b, Odd)
        state = await within(a, lambda: sys.get_state(pid))
        assert b"object object" in state[b"thing"]
        assert state[b"number"] == 5
        status = await within(a, lambda: sys.get_status(pid))
        assert status[:2] == (Atom("status"), pid)
        assert status[3][4][2] == (Atom("data"), [(b"State", state)])
        assert b.is_process_alive(pid)


async def test_what_sys_does_not_know_is_an_error_and_no_end() -> None:
    async with running("a") as [a]:
        pid = await Counter.start()
        for request in ("nonsense", (Atom("debug"), "nonsense"), (Atom("debug"), (Atom("log"), 5)), None):
            answer = await sys._ask(pid, request, 5.0)
            assert answer[0] == Atom("error")
        a.send(pid, (Atom("system"), "nobody", Atom("get_state")))
        assert await call(pid, 1) == 1


# proc_lib.


async def test_processes_know_who_started_them_and_what_they_run() -> None:
    async with running("a") as [a]:
        found: list[Any] = []

        async def inner(argument: int) -> None:
            found.append((proc_lib.parent(), proc_lib.ancestors.get(), proc_lib.initial_call(self())))
            proc_lib.set_label("inner")
            found.append(proc_lib.get_label(self()))
            await receive()

        async def outer() -> None:
            pid, reference = proc_lib.spawn_opt(inner, 5, link=True, monitor=True)  # type: ignore[misc]
            await eventually(lambda: len(found) == 2)
            partisan.unlink(pid)
            partisan.exit(pid, Atom("shutdown"))
            found.append((await receive((..., reference, ..., ..., ...)))[4])
            plain = partisan.spawn(receive_once)
            found.append((proc_lib.translate_initial_call(plain), proc_lib.get_label(plain)))
            partisan.send(plain, 1)

        async def receive_once() -> None:
            await receive()

        pid = proc_lib.spawn(outer, name="outer")
        await eventually(lambda: not a.is_process_alive(pid))
        (parent, ancestors, call_of), label, reason, plain = found
        assert (parent, ancestors) == (pid, (Atom("outer"),))
        assert call_of[1].endswith("inner")
        assert call_of[2] == ["argument_1"]
        assert (label, reason, plain) == ("inner", Atom("shutdown"), (None, None))
        server = await Counter.start(args=(1,))
        assert proc_lib.translate_initial_call(server) == (Counter.__module__, "Counter.init", 1)


async def test_a_reason_is_shown_as_python_shows_it() -> None:
    async with running("a") as [a]:

        async def fails() -> None:
            raise KeyError("lost")

        async def case() -> Any:
            _, reference = partisan.spawn_monitor(fails)
            return (await receive((..., reference, ..., ..., ...)))[4]

        text = proc_lib.format(await within(a, case))
        assert text.splitlines()[-1] == "KeyError: 'lost'"
        assert ", in " in text
        assert "fails" in text
        assert proc_lib.format(Atom("shutdown")) == repr(Atom("shutdown"))
