"""How nodes of Python and of the BEAM come to be connected, and how they lose each other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from beams import COOKIE, Beam, Raised, called, end, free_port, fresh, inside, python, received, start_daemon
from support import eventually

import partisan
from partisan import Atom, ConfigError, ConnectFailed, HandshakeError, Node, NodeDown, rpc
from partisan.dist.epmd import names as epmd_names
from partisan.testing import Events

PONG, PANG = Atom("pong"), Atom("pang")


async def lives() -> None:
    await partisan.receive()


async def far_connect(node: Node, name: str) -> None:
    """Connect, and have the error if that fails."""
    far: Any = node._far
    await far.connect(name)


async def test_both_dial_at_the_same_time_and_one_connection_stays(beam: Beam, epmd: int) -> None:
    for name in (fresh("aaa"), fresh("zzz")):  # the greater name's dial stands
        async with python(epmd, name=name) as py:
            for _ in range(10):
                asked = asyncio.ensure_future(beam.eval(f"net_kernel:connect_node('{name}')"))
                assert await py.connect_node(beam.name)
                # It says no if its dial was refused a moment before ours came there, and is connected in the next.
                assert await asked in (True, False)
                await eventually(lambda: py.nodes() == [beam.name])
                assert await rpc.call(beam.name, "erlang", "nodes", [Atom("hidden")]) == [Atom(name)]
                assert await py.disconnect_node(beam.name)
                await eventually(lambda: not py.nodes())
                gone = called("F = fun F() -> case nodes(hidden) of [] -> ok; _ -> timer:sleep(5), F() end end", "F()")
                assert await beam.eval(gone) is Atom("ok")


async def test_a_node_that_was_restarted_replaces_what_was_believed_alive(release: str) -> None:
    name, port = fresh("again"), free_port()
    dials = ("-erl_epmd_port", str(port), "-start_epmd", "false", "-dist_listen", "false")
    first = second = None
    async with python(None, port=port) as py:
        try:
            first = Beam(release, *dials, name=name, epmd_port=None)
            assert await first.eval(f"net_adm:ping('{py.name}')") is PONG
            pid = await first.eval("self()")

            async def monitors() -> Any:
                py.monitor(pid)
                return await partisan.receive(timeout=60)

            told = asyncio.ensure_future(inside(py, monitors))
            await asyncio.sleep(0)
            first.freeze()  # its connection stays open
            second = Beam(release, *dials, name=name, epmd_port=None)
            assert await second.eval(f"net_adm:ping('{py.name}')") is PONG
            assert (await told)[-1] is Atom("noconnection")
            assert py.nodes("hidden") == [name]
            assert await rpc.call(name, "erlang", "nodes", [Atom("connected")]) == [Atom(py.name)]
        finally:
            for node in (first, second):
                if node is not None:
                    node.kill()
        await eventually(lambda: not py.nodes("hidden"))


async def test_a_node_that_comes_back_is_another_life(release: str, epmd: int) -> None:
    name = fresh("life")
    async with python(epmd) as py:
        events: list[tuple[str, str]] = []

        async def watches() -> None:
            py.monitor_nodes()
            while True:
                kind, node = await partisan.receive()
                events.append((kind.name, str(node)))

        py.spawn(watches)
        first = Beam(release, name=name, epmd_port=epmd)
        assert await py.connect_node(name)
        old = await first.eval("P = spawn(timer, sleep, [infinity]), register(sleeper, P), P")

        async def monitors() -> Any:
            py.monitor(old)
            py.trap_exit()
            py.link(old)
            first.kill()
            return [await partisan.receive(timeout=30) for _ in range(2)]

        told = await inside(py, monitors)
        assert {message[0] for message in told} == {Atom("DOWN"), Atom("EXIT")}
        assert {message[-1] for message in told} == {Atom("noconnection")}
        await eventually(lambda: not py.nodes())
        await eventually(lambda: len(events) == 2)
        second = Beam(release, name=name, epmd_port=epmd)
        try:
            assert await py.connect_node(name)
            new = await second.eval("P = spawn(timer, sleep, [infinity]), register(sleeper, P), P")
            assert new.creation != old.creation

            async def monitors_the_dead() -> Any:
                py.monitor(old)
                return await partisan.receive(timeout=30)

            assert (await inside(py, monitors_the_dead))[-1] is Atom("noproc")
            await eventually(lambda: len(events) == 3)
            assert [kind for kind, _ in events] == ["nodeup", "nodedown", "nodeup"]
        finally:
            second.kill()


async def test_a_python_node_that_comes_back_is_another_life(beam: Beam, epmd: int) -> None:
    name = fresh("pylife")
    async with python(epmd, name=name) as py:
        py.spawn(lives, name="lives")
        assert await beam.eval(f"net_adm:ping('{name}')") is PONG
        await beam.eval(f"put(old, rpc:call('{name}', erlang, whereis, [lives])), put(mon, monitor(process, get(old)))")
    down = received("{'DOWN', M, process, _, Why}", "Why")
    # A process that shuts down with its node has ended, or its node was gone before it could say so.
    assert await beam.eval(called("M = get(mon)", down)) in (Atom("noconnection"), Atom("shutdown"), Atom("killed"))
    async with python(epmd, name=name) as py:
        py.spawn(lives, name="lives")
        assert await beam.eval(f"net_adm:ping('{name}')") is PONG
        assert await beam.eval(called("M = monitor(process, get(old))", down)) is Atom("noproc")
        asked = f"P = rpc:call('{name}', erlang, whereis, [lives])"
        assert await beam.eval(called(asked, "P =/= get(old)")) is True


async def test_a_killed_node_is_noticed_by_whoever_waits_for_it(release: str, epmd: int) -> None:
    node = Beam(release, epmd_port=epmd)
    async with python(epmd) as py:
        asked = asyncio.ensure_future(rpc.call(node.name, "timer", "sleep", [60_000]))
        called_ = asyncio.ensure_future(partisan.call(("init", node.name), Atom("never")))
        await eventually(lambda: py.nodes() == [node.name])
        await asyncio.sleep(0.05)
        node.kill()
        with pytest.raises(NodeDown):
            await asked
        with pytest.raises(NodeDown):
            await called_
        assert not await py.connect_node(node.name)


async def test_a_wrong_cookie_is_refused_on_both_sides(beam: Beam, epmd: int) -> None:
    async with python(epmd, cookie="another") as py:
        events = Events(py, "partisan.socket.error")
        assert await beam.eval(f"net_adm:ping('{py.name}')") is PANG
        await eventually(lambda: events.of("partisan.socket.error"))
        assert events.of("partisan.socket.error")[0]["error"].reason == "cookie"
        with pytest.raises(ConnectFailed) as failed:
            await far_connect(py, beam.name)
        assert isinstance(failed.value.__cause__, HandshakeError)
        assert py.nodes() == []
        assert not py._far._all  # type: ignore[union-attr]


async def test_each_direction_has_a_cookie_of_its_own(beam: Beam, epmd: int) -> None:
    ours, theirs = "what they must know", COOKIE
    async with python(epmd, cookie="for others", cookies={beam.name: ours}, their_cookies={beam.name: theirs}) as py:
        assert await beam.eval(f"net_adm:ping('{py.name}')") is PANG
        assert await beam.eval(f"erlang:set_cookie('{py.name}', '{ours}')") is True
        # The cookie that OTP has for a node is what it sends and what it wants: so both are the same here.
        assert await beam.eval(f"net_adm:ping('{py.name}')") is PANG
    async with python(epmd, cookie="for others", cookies={beam.name: ours}) as py:
        assert await beam.eval(f"erlang:set_cookie('{py.name}', '{ours}'), net_adm:ping('{py.name}')") is PONG
    async with python(epmd, cookie="for others", cookies={beam.name: ours}) as py:
        await beam.eval(f"erlang:set_cookie('{py.name}', '{ours}')")
        assert await py.connect_node(beam.name)


async def test_without_a_cookie_a_node_does_not_start(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"distribution\.cookie"):
        async with Node(fresh("py"), distribution=partisan.Distribution(epmd=False)):
            pass
    (tmp_path / ".erlang.cookie").write_text("written there\n")
    options = partisan.Distribution(epmd=False)
    assert options.secret() == "written there"


async def test_nodes_on_known_ports_need_no_daemon(release: str) -> None:
    port = free_port()
    dist = ("-erl_epmd_port", str(port), "-start_epmd", "false", "-dist_listen", "true")
    node = Beam(release, *dist, epmd_port=None)
    try:
        async with python(None, ports={node.name: port}) as py:
            assert await py.connect_node(node.name)
            assert await rpc.call(node.name, "erlang", "nodes", [Atom("hidden")]) == [Atom(py.name)]
            assert not await py.connect_node(fresh("nobody"))
    finally:
        node.kill()
    # `erl_epmd_port` is where a node listens, and where it believes all others to.
    port = free_port()
    dist = ("-erl_epmd_port", str(port), "-start_epmd", "false", "-dist_listen", "false")
    node = Beam(release, *dist, epmd_port=None)
    try:
        async with python(None, port=port) as py:
            assert await node.eval(f"net_adm:ping('{py.name}')") is PONG
    finally:
        node.kill()


async def test_a_node_that_has_no_name_is_given_one(release: str, epmd: int) -> None:
    # A short name: a long one of a node without a name needs a host with a domain.
    node = Beam(release, name="undefined", names="-sname", epmd_port=epmd)
    try:
        async with python(epmd, name=f"py{free_port()}@localhost") as py:
            assert await node.eval("node()") is Atom("nonode@nohost")
            assert await node.eval(f"net_kernel:connect_node('{py.name}')") is True
            given = await node.eval("node()")
            assert py.nodes() + py.nodes("hidden") == [given.name]
            assert await rpc.call(given.name, "erlang", "node", []) is given
    finally:
        node.kill()


async def test_a_hidden_node_is_seen_as_one_and_a_published_one_too(beam: Beam, epmd: int) -> None:
    async with python(epmd, hidden=False) as py:
        assert await py.connect_node(beam.name)
        assert await rpc.call(beam.name, "erlang", "nodes", []) == [Atom(py.name)]
        assert await beam.eval("nodes(hidden)") == []
        assert await beam.eval(f"net_adm:ping('{py.name}')") is PONG
        # What `rpc` and `global` of a published peer say at once breaks nothing here or there.
        assert await beam.eval("global:register_name(me, self())") is Atom("yes")
        assert await beam.eval("global:whereis_name(me)") == await beam.eval("self()")
        assert await beam.eval("global:unregister_name(me), ok") is Atom("ok")
        assert py.nodes() == [beam.name]
        features = f"rex ! 1, {{rex, '{py.name}'}} ! {{self(), features_request}}"
        answer = await beam.eval(called(features, received("{features_reply, N, F}", "{N, F}")))
        assert answer == (Atom(py.name), [Atom("erpc")])


async def test_a_hidden_beam_node_is_one_here(release: str, epmd: int) -> None:
    node = Beam(release, "-hidden", epmd_port=epmd)
    try:
        async with python(epmd) as py:
            assert await py.connect_node(node.name)
            assert (py.nodes(), py.nodes("hidden")) == ([], [node.name])
            assert {each.node for each in py.connections()} == {node.name}
    finally:
        node.kill()


async def test_silence_is_noticed_by_both(release: str, epmd: int) -> None:
    node = Beam(release, "-kernel", "net_ticktime", "4", epmd_port=epmd)
    try:
        async with python(epmd, net_ticktime=2.0) as py:
            events = Events(py, "partisan.socket")
            assert await py.connect_node(node.name)
            await asyncio.sleep(6.0)  # both say that they live
            assert py.nodes() == [node.name]
            assert await node.eval("nodes(hidden)") == [Atom(py.name)]
            node.freeze()
            await eventually(lambda: not py.nodes(), timeout=30)
            errors = [about["error"] for about in events.of("partisan.socket.error")]
            assert "net_tick_timeout" in str(errors)
            node.thaw()
            assert await py.connect_node(node.name)
            far: Any = py._far
            far._up[node.name]._ticks.stop()  # we say nothing any more
            gone = called("F = fun F() -> case nodes(hidden) of [] -> ok; _ -> timer:sleep(50), F() end end", "F()")
            assert await node.eval(gone) is Atom("ok")
    finally:
        node.kill()


async def test_a_daemon_that_was_restarted_is_told_again() -> None:
    port = free_port()
    process = await asyncio.to_thread(start_daemon, port)
    try:
        async with python(port) as py:
            alive = py.name.partition("@")[0]
            far: Any = py._far
            assert await epmd_names(epmd_port=port) == {alive: far.port}
            end(process)
            await eventually(lambda: far._registration is None)
            process = await asyncio.to_thread(start_daemon, port)
            await eventually(lambda: far._registration is not None, timeout=30)
            assert await epmd_names(epmd_port=port) == {alive: far.port}
    finally:
        end(process)


async def test_a_node_that_stalls_in_the_handshake_is_given_up(epmd: int) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with python(epmd, setup_timeout=0.3, ports={"stalls@127.0.0.1": port}) as py:
        with pytest.raises(ConnectFailed, match="within"):
            await far_connect(py, "stalls@127.0.0.1")
        reader, writer = await asyncio.open_connection("127.0.0.1", py._far.port)  # type: ignore[union-attr]
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()
    server.close()


async def test_who_may_not_connect_is_refused(beam: Beam, epmd: int) -> None:
    async with python(epmd, node={"allowed_nodes": ["somebody@127.0.0.1"]}) as py:
        assert await beam.eval(f"net_adm:ping('{py.name}')") is PANG
        py.reconfigure(allowed_nodes=[beam.name])
        assert await beam.eval(f"net_adm:ping('{py.name}')") is PONG
        py.reconfigure(allowed_nodes=["somebody@127.0.0.1"])
        assert py.nodes() == []


async def test_what_asks_for_erlang_expressions_is_told_of_errors(beam: Beam) -> None:
    with pytest.raises(Raised):
        await beam.eval("1 = 2")
