"""The server of the cases of gen_server, and what they ask of nodes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support import eventually

import partisan
from partisan import Atom, Node, self
from partisan.gen import Continue, Ignore, NoReply, Reply, Stop
from partisan.gen import server as gen_server
from partisan.gen.report import ErrorReport
from partisan.gen.server import GenServer

NORMAL, SHUTDOWN, TIMEOUT, EXIT, DOWN = map(Atom, ("normal", "shutdown", "timeout", "EXIT", "DOWN"))


class Server(GenServer):
    """What the cases ask of a server."""

    def init(self, what: Any = None) -> Any:
        self.log: list[Any] = []
        self.waiting: Any = None
        match what:
            case "ignore":
                return Ignore()
            case "stop":
                return Stop(Atom("stopped"))
            case "hibernate":
                return NoReply(hibernate=True)
            case "timeout":
                return NoReply(timeout=0.01)
            case ("continue", value):
                return Continue(value)
            case "sleep":
                return asyncio.Event().wait()  # for ever
            case "trap":
                partisan.trap_exit()
            case ("state", value):
                self.log = value
        return None

    def handle_call(self, request: Any, caller: Any) -> Any:
        match text(request):
            case "started_p":
                return Atom("ok")
            case "stop":
                return Stop(Atom("stopped"), reply=Atom("ok"))
            case ("stop", reason):
                return Stop(reason)
            case "delayed":
                self.waiting = caller
                return NoReply(timeout=0.01)
            case "never":
                return NoReply()
            case "later":
                self.waiting = caller
                return NoReply()
            case "hibernate":
                return Reply("asleep", hibernate=True)
            case "log":
                return list(self.log)
            case ("continue", value):
                return Reply("replied", continue_=value)
            case "pid":
                return self_pid()
            case ("crash", error):
                raise error
        return ("echo", request)

    def handle_cast(self, message: Any) -> Any:
        match text(message):
            case "stop":
                return Stop(Atom("stopped"))
            case "delayed":
                return NoReply(timeout=0.01)
            case "hibernate":
                return NoReply(hibernate=True)
            case ("continue", value):
                return Continue(value)
            case "answer":
                gen_server.reply(self.waiting, "answered")
            case ("crash", error):
                raise error
            case _:
                self.log.append(("cast", text(message)))
        return None

    def handle_info(self, message: Any) -> Any:
        match message:
            case Atom("timeout") if self.waiting is not None:
                gen_server.reply(self.waiting, Atom("delayed"))
                self.waiting = None
            case "hibernate":
                return NoReply(hibernate=True)
            case "delayed":
                return NoReply(timeout=0.01)
            case ("continue", value):
                return Continue(value)
            case ("stop", reason):
                return Stop(reason)
            case _:
                self.log.append(("info", message))
        return None

    def handle_continue(self, value: Any) -> Any:
        self.log.append(("continue", value))
        if isinstance(value, int) and value > 1:
            return Continue(value - 1)
        if isinstance(value, int) and value < 0:
            return Stop(Atom("stopped"))
        return None


def text(term: Any) -> Any:
    """A term; text that came from another node is octets."""
    return term.decode() if isinstance(term, bytes) else term


def self_pid() -> Any:
    return self()


def hibernates(node: Node, pid: Any) -> bool:
    found = node.scheduler.find(pid)
    return found is not None and found.hibernating


async def ended(node: Node, pid: Any) -> None:
    await eventually(lambda: node.scheduler.find(pid) is None)


def reports(caplog: pytest.LogCaptureFixture) -> list[ErrorReport]:
    return [record.report for record in caplog.records if hasattr(record, "report")]
