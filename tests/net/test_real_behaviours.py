"""What a node of Partisan is asked about its behaviours, and how its `partisan_sys` is answered, by script."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from scripted import FORWARD, encode, greeted, member
from support import FAST, eventually, inside, left_over

import partisan
from partisan import Atom, GenServer, Node, Pid, Reference
from partisan.gen import event, supervisor, sys
from partisan.wire.monitor import NAME as MONITOR

REAL = "real@127.0.0.1"
SYSTEM, GET_STATE, ERROR = Atom("system"), Atom("get_state"), Atom("error")
STATE = (Atom("state"), (Atom("local"), Atom("tree")), Atom("one_for_one"), Atom("tree_callbacks"), [])


class Held(GenServer):
    def init(self) -> None:
        self.held = (1, object())


async def test_partisan_sys_is_told_a_state_as_it_is() -> None:
    async with member(REAL, {None: 1}) as peer, Node("py@127.0.0.1:0", **FAST) as py:
        await peer.joined_by(py)
        await eventually(lambda: py.is_connected(REAL))
        await inside(py, lambda: Held.start(name="held"))
        async with greeted(py, REAL) as connection:
            pid = Pid(REAL, 187, 0)
            connection.say(encode((FORWARD, Atom("held"), (SYSTEM, (pid, b"tag"), GET_STATE))))
            [(tag, state)] = await eventually(peer.messages)
            assert tag == b"tag"
            assert state[b"held"][0] == 1
            assert b"object object" in state[b"held"][1]  # only what is no term is text
            peer.heard.clear()
            connection.say(encode((FORWARD, Atom("held"), (SYSTEM, (pid, b"tag"), (Atom("replace_state"), b"no:f")))))
            assert await eventually(peer.messages) == [(b"tag", (ERROR, Atom("not_allowed")))]


async def test_processes_of_partisan_are_asked_nothing_of_which_they_would_end() -> None:
    async with member(REAL, {None: 1}) as peer, Node("py@127.0.0.1:0", **FAST) as py:
        await peer.joined_by(py)
        await eventually(lambda: py.is_connected(REAL))
        async with greeted(py, REAL) as connection:

            async def answered(value: Any) -> Any:
                """Answer the next request, and those of monitors on the way; its label and what it wants."""
                while True:
                    for label, (caller, tag), request in await eventually(peer.messages):
                        watching = type(request) is tuple and request[0] in (Atom("monitor"), Atom("demonitor"))
                        to = (Atom("encoded_pid"), list(caller.text.encode())) if type(caller) is Pid else Atom(MONITOR)
                        answer = (Atom("ok"), Reference(REAL, (1, 2, 3))) if watching else value
                        peer.heard.clear()
                        connection.say(encode((FORWARD, to, (tag, answer))))
                        if not watching:
                            return label, request

            asking = asyncio.ensure_future(supervisor.get_callback_module(("tree", REAL)))
            assert await answered(STATE) == (SYSTEM, GET_STATE)
            assert await asking is Atom("tree_callbacks")
            asking = asyncio.ensure_future(sys.get_state(("tree", REAL)))
            assert await answered(STATE) == (SYSTEM, GET_STATE)
            assert await asking == STATE
            for ask in (
                lambda: event.add_sup_handler(("events", REAL), "handler", 1),
                lambda: event.swap_sup_handler(("events", REAL), ("handler", 1), ("handler", 1)),
            ):
                with pytest.raises(partisan.LinkUnsupported):
                    await inside(py, ask)
        await eventually(lambda: not left_over(py))
