"""The cases of OTP's gen_server suite about what sys sees, callbacks that are not there and reports."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from gen_servers import DOWN, Server, ended, reports
from support import running

from partisan import Atom, Exit, Node, StartFailed, receive, send
from partisan.gen import Continue, sys
from partisan.gen import server as gen_server
from partisan.gen.report import ErrorReport, format_log
from partisan.gen.server import GenServer, call, cast
from partisan.testing import within


class Shown(Server):
    """Shows its state as it likes."""

    def format_status(self, status: dict[str, Any]) -> dict[str, Any]:
        return {**status, "state": ("formatted", status["state"]["log"])}

    def terminate(self, reason: object) -> None:
        if self.log == ["crash"]:
            raise Exit((Atom("crash"), "terminate"))


async def test_gen_server_call_format_status() -> None:
    async with running("a") as [a]:
        for name in (None, "shown"):
            pid = await Shown.start(name=name, args=(("state", [1]),))
            kind, of, (_, module), [_, state, parent, debug, about] = await sys.get_status(pid)
            assert (kind, of, state, parent, debug) == (Atom("status"), pid, Atom("running"), None, [])
            assert module.name.endswith(".Shown")
            assert about[0][1] == f"Status for generic server {name or pid}"
            assert about[2] == (Atom("data"), [("State", ("formatted", [1]))])
        assert a.is_process_alive(pid)


async def test_gen_server_error_format_status(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a") as [a]:
        pid = await Shown.start(args=(("state", [1]),))
        with pytest.raises(Exit):
            await call(pid, ("crash", KeyError("crash")))
        await ended(a, pid)
        [report] = reports(caplog)
        assert report.state == ("formatted", [1])
        assert "KeyError: 'crash'" in caplog.text


async def test_gen_server_terminate_crash_format(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a") as [a]:
        pid = await Shown.start(args=(("state", ["crash"]),))
        assert await call(pid, "stop") == Atom("ok")  # it is answered even so
        await ended(a, pid)
        [report] = reports(caplog)
        assert report.state == ("formatted", ["crash"])
        assert report.reason == (Atom("crash"), "terminate")


async def test_gen_server_get_state() -> None:
    async with running("a"):
        pid = await Server.start(name="get_state", args=(("state", ["self"]),))
        for target in (pid, "get_state"):
            assert (await sys.get_state(target))["log"] == ["self"]
            await sys.suspend(target)
            assert (await sys.get_state(target, 5.0))["log"] == ["self"]
            await sys.resume(target)


async def test_gen_server_replace_state() -> None:
    async with running("a"):
        pid = await Server.start(args=(("state", ["old"]),))

        def replaced(state: Any) -> Any:
            return {**state, "log": [*state["log"], "new"]}

        assert (await sys.replace_state(pid, replaced))["log"] == ["old", "new"]
        await sys.suspend(pid)
        await sys.replace_state(pid, replaced)
        with pytest.raises(Exit) as failed:
            await sys.replace_state(pid, lambda state: state["nothing"])
        assert failed.value.reason[0] == Atom("callback_failed")
        await sys.resume(pid)
        assert await call(pid, "log") == ["old", "new", "new"]


class Hollow(GenServer):
    """Has no callbacks."""


def is_undef(reason: Any, callback: str) -> bool:
    kind, [(module, name, arguments, _), *_] = reason
    return bool(
        kind == Atom("undef") and module.name.endswith(".Hollow") and name == Atom(callback) and len(arguments) >= 1
    )


async def test_gen_server_undef_handle_call() -> None:
    async with running("a"):
        pid = await Hollow.start()
        with pytest.raises(Exit) as ended_by:
            await call(pid, "call_msg")
        assert is_undef(ended_by.value.reason, "handle_call")


async def reason_of(node: Node, stimulus: Callable[[Any], None], kind: Any = Hollow, **options: Any) -> Any:
    """With what reason a server ends."""

    async def case() -> Any:
        pid, reference = await kind.start_monitor(**options)
        stimulus(pid)
        return (await receive((DOWN, reference, ..., ..., ...), timeout=5))[4]

    return await within(node, case)


async def test_gen_server_undef_handle_cast() -> None:
    async with running("a") as [a]:
        assert is_undef(await reason_of(a, lambda pid: cast(pid, "cast_msg")), "handle_cast")


async def test_gen_server_undef_handle_info(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the server goes on."""
    async with running("a") as [a]:
        pid = await Hollow.start()
        send(pid, "hey there")
        await sys.get_state(pid)
        assert a.is_process_alive(pid)
        [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert "hey there" in record.getMessage()


async def test_gen_server_undef_handle_continue() -> None:
    class Continued(Hollow):
        def handle_cast(self, message: Any) -> Any:
            return Continue(message)

    Continued.__qualname__ = "Continued.Hollow"
    async with running("a") as [a]:
        reason = await reason_of(a, lambda pid: cast(pid, "go"), Continued)
        assert is_undef(reason, "handle_continue")


async def test_gen_server_undef_init() -> None:
    async with running("a"):
        with pytest.raises(StartFailed) as failed:
            await Hollow.start(args=("something",))
        assert is_undef(failed.value.reason, "init")


async def test_gen_server_undef_code_change() -> None:
    """The change fails, and the server is as it was."""
    async with running("a"):
        pid = await Server.start()
        with pytest.raises(Exit) as running_still:
            await sys.change_code(pid, "module", "old", "extra")
        assert running_still.value.reason[0] == Atom("unknown_system_msg")
        await sys.suspend(pid)
        with pytest.raises(Exit) as failed:
            await sys.change_code(pid, "module", "old", "extra")
        assert failed.value.reason[0] == Atom("undef")
        await sys.resume(pid)
        assert await call(pid, "started_p") == Atom("ok")


async def test_gen_server_undef_terminate1() -> None:
    """A server without `terminate` ends in order."""
    async with running("a") as [a]:
        pid = await Hollow.start()
        await gen_server.stop(pid)
        assert not a.is_process_alive(pid)


async def test_gen_server_undef_terminate2() -> None:
    """... and with an error, if that is how it is stopped."""
    async with running("a") as [a]:
        pid = await Hollow.start()
        await gen_server.stop(pid, (Atom("error"), "test"))
        assert not a.is_process_alive(pid)


class Broken(GenServer):
    """Calls what does not exist."""

    def handle_info(self, message: Any) -> Any:
        self.nowhere()  # type: ignore[attr-defined]

    def terminate(self, reason: object) -> None:
        self.nowhere()  # type: ignore[attr-defined]


async def test_gen_server_undef_in_terminate() -> None:
    async with running("a"):
        pid = await Broken.start()
        with pytest.raises(Exit) as failed:
            await gen_server.stop(pid)
        assert failed.value.reason[0] == (Atom("AttributeError"), "'Broken' object has no attribute 'nowhere'")


async def test_gen_server_undef_in_handle_info() -> None:
    async with running("a") as [a]:
        reason = await reason_of(a, lambda pid: send(pid, "hey there"), Broken)
        assert reason[0][0] == Atom("AttributeError")


REPORT = ErrorReport("Generic server", "name", (Atom("bad"), ["why"] * 3), {"n": [[["deep"]]]}, "hello", None, ["e"])


async def test_gen_server_format_log_1() -> None:
    """All parts, each on a line of its own; deep terms are cut where that is wanted."""
    lines = format_log(REPORT).splitlines()
    assert lines[0] == "Generic server name terminating"
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "** Last message",
        "** State",
        "** Reason",
        "** Logged events",
    ]
    assert "deep" in lines[2]
    assert "deep" not in format_log(REPORT, depth=2)


async def test_gen_server_format_log_2() -> None:
    """All parts on one line."""
    text = format_log(REPORT, single_line=True)
    assert "\n" not in text
    for part in ("Generic server name terminating. ", "Last message: 'hello'", "State: {'n':", "Reason: "):
        assert part in text
    assert "deep" not in format_log(REPORT, single_line=True, depth=2)
