"""The cases of OTP's gen_server suite about calls, casts and messages, with the outcome that they have there."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest
from gen_servers import SHUTDOWN, TIMEOUT, Server, ended
from support import cluster, eventually, running

import partisan
from partisan import Atom, CallTimeout, Exit, Node, NodeDown, NoProc, receive, self, send
from partisan.gen import server as gen_server
from partisan.gen import sys
from partisan.gen.server import call, cast
from partisan.testing import within


async def test_gen_server_call() -> None:
    async with running("a") as [a]:
        pid = await Server.start(name="my_test_name")
        for target in (pid, "my_test_name", Atom("my_test_name"), ("my_test_name", a.name)):
            assert await call(target, "started_p") == Atom("ok")
            assert await call(target, "delayed") == Atom("delayed")
        with pytest.raises(CallTimeout):
            await call(pid, "never", timeout=0.01)
        assert await call(pid, "x", timeout=None) == ("echo", "x")

        async def itself() -> None:
            with pytest.raises(Exit) as refused:
                await call(self(), "x")
            assert refused.value.reason == Atom("calling_self")

        await within(a, itself)
        with pytest.raises(Exit) as ended:
            await call(pid, ("stop", SHUTDOWN))
        assert ended.value.reason == SHUTDOWN


async def test_gen_server_send_request() -> None:
    async with running("a") as [a]:

        async def case() -> None:
            pid = await Server.start()
            request = gen_server.send_request(pid, "started_p")
            assert await gen_server.receive_response(request, 5) == Atom("ok")
            request = gen_server.send_request(pid, "later")
            with pytest.raises(CallTimeout):
                await gen_server.wait_response(request, 0.01)
            assert gen_server.check_response("another message", request) is None
            cast(pid, "answer")
            message = await receive(timeout=5)
            response = gen_server.check_response(message, request)
            assert response is not None
            assert response.value == "answered"
            request = gen_server.send_request(pid, "later")
            with pytest.raises(CallTimeout):
                await gen_server.receive_response(request, 0.01)
            cast(pid, "answer")
            await call(pid, "started_p")
            with pytest.raises(partisan.ReceiveTimeout):
                await receive(timeout=0)
            request = gen_server.send_request(pid, ("stop", SHUTDOWN))
            with pytest.raises(Exit) as ended:
                await gen_server.receive_response(request)
            assert ended.value.reason == SHUTDOWN
            with pytest.raises(NoProc):
                await gen_server.receive_response(gen_server.send_request("nobody", "x"))

        await within(a, case)


async def test_gen_server_cast() -> None:
    async with running("a") as [a]:
        pid = await Server.start(name="my_test_name")
        for target in (pid, "my_test_name", ("my_test_name", a.name)):
            cast(target, "x")
        cast(pid, "delayed")
        log = await eventually_log(pid, 4)
        assert log == [("cast", "x")] * 3 + [("info", TIMEOUT)]
        cast(pid, "stop")
        await ended(a, pid)


async def eventually_log(pid: Any, length: int) -> Any:
    """The server's log when it has so many entries; it is asked for once, as that begins the server's time-out anew."""
    log = (await sys.get_state(pid))["log"]
    await eventually(lambda: len(log) >= length)
    return log


async def test_gen_server_cast_fast() -> None:
    """A cast to what cannot be reached waits for nothing and raises nothing."""
    async with running("a") as [a]:
        before = a.router.undelivered
        for target in ("nobody", ("nobody", a.name), ("nobody", "foo@127.0.0.1")):
            cast(target, "x")
        assert a.router.undelivered == before
        assert a.members() == [a.name]


async def test_gen_server_info() -> None:
    async with running("a") as [a]:
        pid = await Server.start(name="my_test_name")
        send(pid, "x")
        send("my_test_name", "y")
        send(("my_test_name", a.name), "delayed")
        assert await eventually_log(pid, 3) == [("info", "x"), ("info", "y"), ("info", TIMEOUT)]
        timed = await Server.start(args=("timeout",))
        assert await eventually_log(timed, 1) == [("info", TIMEOUT)]
        send(pid, ("stop", SHUTDOWN))
        await ended(a, pid)


async def test_gen_server_abcast() -> None:
    async with cluster("a", "b") as [a, b]:
        pids = [await within(node, lambda: Server.start(name="my_test_name")) for node in (a, b)]
        gen_server_abcast = gen_server.abcast

        async def tell(nodes: Any) -> None:
            gen_server_abcast(nodes, "my_test_name", "x")

        await within(a, tell, [a.name, b.name, "foo@127.0.0.1"])
        await within(a, tell, None)
        for node, pid in zip((a, b), pids, strict=True):

            async def heard(pid: Any = pid) -> Any:
                return await call(pid, "log") == [("cast", "x")] * 2

            await eventually(functools.partial(within, node, heard), timeout=20.0)


async def test_gen_server_continue() -> None:
    async with running("a") as [a]:
        pid = await Server.start(args=(("continue", 2),))
        send(pid, "after")
        assert await call(pid, "log") == [("continue", 2), ("continue", 1), ("info", "after")]
        pid = await Server.start()
        assert await call(pid, ("continue", "called")) == "replied"
        cast(pid, ("continue", "cast"))
        send(pid, ("continue", "sent"))
        assert await call(pid, "log") == [("continue", "called"), ("continue", "cast"), ("continue", "sent")]
        cast(pid, ("continue", -1))
        await ended(a, pid)


async def test_gen_server_multicall() -> None:
    async with cluster("a", "b") as [a, b]:
        for node in (a, b):
            await within(node, lambda: Server.start(name="my_test_name"))
        multi_call = gen_server.multi_call
        assert await within(a, multi_call, None, "my_test_name", "started_p") == (
            [(a.name, Atom("ok")), (b.name, Atom("ok"))],
            [],
        )
        assert await within(a, multi_call, [b.name, "foo@127.0.0.1", a.name], "my_test_name", "x") == (
            [(b.name, (b"echo", b"x")), (a.name, ("echo", "x"))],
            ["foo@127.0.0.1"],
        )

        async def late() -> Any:
            return await multi_call([a.name, b.name], "my_test_name", "never", timeout=0.05)

        assert await within(b, late) == ([], [a.name, b.name])


async def test_gen_server_multicall_down() -> None:
    """A node that is lost meanwhile, and a server that ends, are bad at once, whatever the time-out."""
    async with cluster("a", "b", "c") as [a, b, c]:
        for node in (a, b, c):
            await within(node, lambda: Server.start(name="my_test_name"))
        asked = asyncio.create_task(within(a, gen_server.multi_call, [b.name, c.name, a.name], "my_test_name", "never"))
        await eventually(lambda: len(a.scheduler.aliases) == 2)
        await b.stop()
        for node in (a, c):
            node.exit(node.whereis("my_test_name"), Atom("kill"))
        assert await asked == ([], [b.name, c.name, a.name])


async def test_gen_server_call_remote1() -> None:
    """A pid of another node."""
    async with cluster("a", "b") as [a, b]:
        pid = await within(b, Server.start)
        await within(a, remote_calls, pid)
        with pytest.raises(NoProc):
            await within(a, call, pid, "started_p")


async def remote_calls(target: Any) -> None:
    assert await call(target, "started_p") == Atom("ok")
    assert await call(target, "delayed") == Atom("delayed")
    assert await call(target, "stop") == Atom("ok")
    with pytest.raises((Exit, CallTimeout)):  # if it still is there it has no time for this
        await call(target, "never", timeout=5)


async def test_gen_server_call_remote2() -> None:
    """A name and another node."""
    async with cluster("a", "b") as [a, b]:
        await within(b, lambda: Server.start(name="my_test_name"))
        await within(a, remote_calls, ("my_test_name", b.name))
        with pytest.raises(NoProc):
            await within(a, call, ("my_test_name", b.name), "started_p")


async def test_gen_server_call_remote3() -> None:
    """The same with the atoms that an Erlang node has for them."""
    async with cluster("a", "b") as [a, b]:
        await within(b, lambda: Server.start(name=Atom("my_test_name")))
        await within(a, remote_calls, (Atom("my_test_name"), Atom(b.name)))


async def gone(name: str | None, target_of: Callable[[Any, Node], Any]) -> None:
    """A call to a server of a node that has stopped: the node is down."""
    async with cluster("a", "b") as [a, b]:
        pid = await within(b, lambda: Server.start(name=name))
        target = target_of(pid, b)
        await b.stop()
        await eventually(lambda: not a.is_connected(b.name))
        with pytest.raises(NodeDown) as down:
            await within(a, call, target, "started_p")
        assert down.value.term[0] == (Atom("nodedown"), Atom(b.name))


async def test_gen_server_call_remote_n1() -> None:
    await gone(None, lambda pid, _: pid)


async def test_gen_server_call_remote_n2() -> None:
    await gone("my_test_name", lambda _, node: ("my_test_name", node.name))


async def test_gen_server_call_remote_n3() -> None:
    await gone("my_test_name", lambda _, node: (Atom("my_test_name"), Atom(node.name)))


async def test_gen_server_call_with_huge_message_queue() -> None:
    """A call looks at no message that waits already, however many there are, and leaves them as they were."""
    async with running("a") as [a]:
        pid = await Server.start()
        looks = 0

        class Probe(tuple[Any, ...]):
            def __eq__(self, other: object) -> bool:
                nonlocal looks
                looks += 1
                return False

            __hash__ = tuple.__hash__

        async def case() -> None:
            for number in range(10_000):
                send(self(), Probe((number,)))
            for number in range(100):
                assert await call(pid, number) == ("echo", number)
            request = gen_server.send_request(pid, "x")
            assert await gen_server.receive_response(request) == ("echo", "x")
            assert [(await receive())[0] for _ in range(10_000)] == list(range(10_000))

        await within(a, case)
        assert looks == 0


async def test_gen_server_reply_by_alias_with_payload() -> None:
    """Whatever tag a caller gives comes back with the answer."""
    async with running("a") as [a]:

        async def case() -> None:
            tag = [(Atom("alias"), partisan.make_ref()), "payload"]
            gen_server.reply((self(), tag), "reply")
            assert await receive(timeout=5) == (tag, "reply")
            pid = await Server.start()
            send(pid, (Atom("$gen_call"), (self(), tag), "x"))
            assert await receive(timeout=5) == (tag, ("echo", "x"))

        await within(a, case)
