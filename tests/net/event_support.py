"""Handlers that tell what happens to them, and a way into a process: what the tests of event managers share."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import partisan
from partisan import Atom
from partisan.etf import Pid
from partisan.gen.control import Continue
from partisan.gen.event import EventHandler, Hibernate, Remove, Reply, Stop, Swap

PATIENCE = 20.0
"""Seconds in which whatever is waited for has long come."""


async def heard(*patterns: Any) -> Any:
    """The next message of this process that matches."""
    return await partisan.receive(*patterns, timeout=PATIENCE)


async def nothing_heard(*patterns: Any) -> bool:
    """Whether no message that matches is there."""
    try:
        await partisan.receive(*patterns, timeout=0)
    except partisan.ReceiveTimeout:
        return True
    return False


class Teller(EventHandler):
    """Tells a process what it is called with; what an event says, it does.

    Attributes:
        to: whom.
        tag: begins what it tells: its class's name.
    """

    def init(self, args: Any) -> Any:
        match args:
            case (("raise", text), _) | ("raise", text):
                raise ValueError(text)
            case ("refuse", reason):
                return Stop(reason)
            case ("bad", value):
                return value
            case (Atom("hibernate"), Pid() as to):
                self.to = to
                return Hibernate()
            case (Pid() as to, former):  # of a swap
                self.to = to
                self.tell("init", former)
            case Pid():
                self.to = args
                self.tell("init")
        return None

    def tell(self, *what: Any) -> None:
        partisan.send(self.to, (self.module, *what))

    def does(self, what: Any, *, call: bool = False) -> Any:
        match what:
            case ("raise", text):
                raise ValueError(text)
            case ("exit", reason):
                raise partisan.Exit(reason)
            case ("remove",):
                return Remove(reply="removed") if call else Remove()
            case ("swap", handler, args):
                return Swap(handler, args, argument="swapped away", reply="swapped")
            case ("hibernate",):
                return Reply("sleeps", hibernate=True) if call else Hibernate()
            case ("bad",):
                return Continue("?") if call else "bad"
            case ("cancel",):
                raise asyncio.CancelledError
        return what if call else None

    def handle_event(self, event: Any) -> Any:
        self.tell("event", event)
        return self.does(event)

    async def handle_call(self, request: Any) -> Any:
        await asyncio.sleep(0)
        return self.does(request, call=True)

    def handle_info(self, message: Any) -> Any:
        self.tell("info", message)
        return self.does(message)

    async def terminate(self, argument: Any) -> Any:
        await asyncio.sleep(0)
        self.tell("terminate", argument)
        if argument == "raise":
            raise ValueError("in terminate")
        return "bye"


class Other(Teller):
    """Another one."""


class Bare(EventHandler):
    """Has nothing but what it must: whoever adds it is `to`."""

    def init(self, args: Any) -> None:
        self.to = args


class Failures(logging.Handler):
    """What is logged as an error of this package."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def __enter__(self) -> list[logging.LogRecord]:
        logging.getLogger("partisan").addHandler(self)
        return self.records

    def __exit__(self, *_: object) -> None:
        logging.getLogger("partisan").removeHandler(self)
