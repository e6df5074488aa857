"""skeleton"""

from __future__ import annotations

from inspect import iscoroutine
from typing import Any

from partisan._core.calls import call as call, reply as reply
from partisan._core.process import receive
from partisan.etf import Atom

GEN_CALL, GEN_CAST, SYSTEM = Atom("$gen_call"), Atom("$gen_cast"), Atom("system")


class GenServer:
    def init(self, *args):
        pass

    def handle_call(self, request, caller):
        raise NotImplementedError

    def handle_cast(self, message):
        pass

    def handle_info(self, message):
        pass


async def loop(server: GenServer) -> None:
    handle_call, handle_cast, handle_info = server.handle_call, server.handle_cast, server.handle_info
    while True:
        message = await receive()
        if type(message) is tuple and message:
            tag = message[0]
            if tag is GEN_CALL and len(message) == 3:
                caller = message[1]
                answer = handle_call(message[2], caller)
                if iscoroutine(answer):
                    answer = await answer
                reply(caller, answer)
                continue
            if tag is GEN_CAST and len(message) == 2:
                handle_cast(message[1])
                continue
        handle_info(message)
