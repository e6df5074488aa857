"""The cases of `partisan_gen_statem_SUITE` about starts and ends, by name: each asserts its outcome in OTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from statem_machines import in_process
from statem_phone import (
    NORMAL,
    SHUTDOWN,
    STEM,
    begin,
    both,
    ended,
    stopped,
    works,
)
from support import eventually

import partisan
from partisan import AlreadyStarted, Atom, CallTimeout, Exit, NoProc, StartFailed
from partisan.gen import statem
from partisan.gen.statem import (
    EventTimeout,
    GenStatem,
    Ignore,
    KeepState,
    Reply,
    StateTimeout,
    Stop,
    StopAndReply,
    Timeout,
)
from partisan.runtime.current import process

# Starting and stopping.


@both
@in_process
async def test_gen_statem_start1(mode: str) -> None:
    pid = await begin(mode, "start_link")
    await works(pid)
    await stopped(pid)
    with pytest.raises(NoProc):
        await statem.stop(pid)


@both
@in_process
async def test_gen_statem_start2(mode: str) -> None:
    pid = await begin(mode)
    assert pid not in process().links
    await works(pid)
    await stopped(pid)


class Sleepy(GenStatem):
    """Its `init` does not return."""

    async def init(self) -> Any:
        await asyncio.get_running_loop().create_future()


@in_process
async def test_gen_statem_start3() -> None:
    with pytest.raises(StartFailed) as failed:
        await Sleepy.start(name=STEM, timeout=0.01)
    assert failed.value.reason == Atom("timeout")
    await eventually(lambda: partisan.whereis(STEM) is None)


@both
@in_process
async def test_gen_statem_start4(mode: str) -> None:
    partisan.trap_exit()
    assert await begin(mode, begin=Ignore()) is None
    assert await begin(mode, "start_link", begin=Ignore(), name=STEM) is None
    assert await ended(...) == NORMAL
    assert partisan.whereis(STEM) is None


@both
@in_process
async def test_gen_statem_start5(mode: str) -> None:
    partisan.trap_exit()
    for how in ("start", "start_link"):
        with pytest.raises(StartFailed) as failed:
            await begin(mode, how, begin=Stop(Atom("stopped")))
        assert failed.value.reason == Atom("stopped")
    assert await ended(...) == Atom("stopped")
    with pytest.raises(StartFailed) as failed:
        await begin(mode, begin="nothing")
    assert failed.value.reason[0] == (Atom("bad_return_from_init"), "nothing")
    with pytest.raises(StartFailed) as failed:
        await begin("no mode")
    assert failed.value.reason[0] == (Atom("bad_return_from_callback_mode"), "no mode")


@both
@in_process
async def test_gen_statem_start6(mode: str) -> None:
    pid = await begin(mode, "start_link")
    assert pid in process().links
    await works(pid)
    await stopped(pid)


@both
@in_process
async def test_gen_statem_start8(mode: str) -> None:
    pid = await begin(mode, name=STEM)
    with pytest.raises(AlreadyStarted) as taken:
        await begin(mode, name=STEM)
    assert taken.value.pid == pid
    await works(STEM)
    await works((STEM, partisan.node().name))
    await stopped(STEM)


@both
@in_process
async def test_gen_statem_start9(mode: str) -> None:
    pid = await begin(mode, "start_link", name=Atom(STEM))
    with pytest.raises(AlreadyStarted) as taken:
        await begin(mode, "start_link", name=Atom(STEM))
    assert taken.value.pid == pid
    await works(Atom(STEM))
    await stopped(Atom(STEM))


@both
@in_process
async def test_gen_statem_stop1(mode: str) -> None:
    pid = await begin(mode)
    await statem.stop(pid)
    assert not partisan.is_process_alive(pid)
    with pytest.raises(NoProc):
        await statem.stop(pid)


@both
@in_process
async def test_gen_statem_stop2(mode: str) -> None:
    partisan.trap_exit()
    pid = await begin(mode, "start_link")
    await statem.stop(pid, NORMAL)
    assert await ended(pid) == NORMAL


@both
@in_process
async def test_gen_statem_stop3(mode: str) -> None:
    partisan.trap_exit()
    pid = await begin(mode, "start_link")
    await statem.stop(pid, Atom("other_reason"), timeout=None)
    assert await ended(pid) == Atom("other_reason")


@both
@in_process
async def test_gen_statem_stop4(mode: str) -> None:
    await begin(mode, name=STEM)
    await statem.stop(STEM)
    assert partisan.whereis(STEM) is None
    with pytest.raises(NoProc):
        await statem.stop(STEM)


@both
@in_process
async def test_gen_statem_stop5(mode: str) -> None:
    await begin(mode, name=STEM)
    await statem.stop((STEM, partisan.node().name))
    assert partisan.whereis(STEM) is None
    with pytest.raises(NoProc):
        await statem.stop((STEM, partisan.node().name))


# Ends that nobody wished for.


@both
@in_process
async def test_gen_statem_abnormal1(mode: str) -> None:
    await begin(mode, name=STEM)
    assert await statem.call(STEM, ("delay", 0), timeout=10.0) == "delayed"
    with pytest.raises(CallTimeout) as late:
        await statem.call(STEM, ("delay", 0.02), timeout=0.001)
    assert late.value.call == (Atom("gen_statem"), Atom("call"), [STEM, ("delay", 0.02), 0.001])
    assert await statem.call(STEM, "state?") == ("a", 0)
    assert list(process().mailbox) == []
    await statem.stop(STEM)


@both
@in_process
async def test_gen_statem_abnormal1clean(mode: str) -> None:
    await begin(mode, name=STEM)
    with pytest.raises(CallTimeout):
        await statem.call(STEM, ("delay", 0.02), timeout=0.001)
    assert await statem.call(STEM, ("delay", 0.001), timeout=10.0) == "delayed"
    assert list(process().mailbox) == []
    await statem.stop(STEM)


@both
@in_process
async def test_gen_statem_abnormal1dirty(mode: str) -> None:
    await begin(mode, name=STEM)
    request = statem.send_request(STEM, ("delay", 0.02))
    with pytest.raises(CallTimeout):
        await statem.wait_response(request, 0.001)
    assert await statem.receive_response(request, 10.0) == "delayed"
    await statem.stop(STEM)


def faulty(event_type: Any, content: Any, state: Any, data: Any) -> Any:
    """Returns what a call asks for."""
    return content


@pytest.mark.parametrize("returned", ["badreturn", ("next_state", "b"), {}])
@both
@in_process
async def test_gen_statem_abnormal2(mode: str, returned: object) -> None:
    partisan.trap_exit()
    pid = await begin(mode, "start_link", faulty)
    with pytest.raises(Exit) as failed:
        await statem.call(pid, returned)
    assert failed.value.reason[0] == (Atom("bad_return_from_state_function"), returned)
    assert (await ended(pid))[0] == (Atom("bad_return_from_state_function"), returned)


@both
@in_process
async def test_gen_statem_abnormal3(mode: str) -> None:
    partisan.trap_exit()

    def behave(event_type: Any, *_: Any) -> Any:
        return KeepState(actions=[Reply(event_type[1], "before"), "badaction"])

    pid = await begin(mode, "start_link", behave)
    assert await statem.call(pid, 1) == "before"
    assert (await ended(pid))[0] == (Atom("bad_action_from_state_function"), "badaction")


@pytest.mark.parametrize("action", [StateTimeout("soon"), EventTimeout(-1), Timeout([], 1), StateTimeout(1j)])
@both
@in_process
async def test_gen_statem_abnormal4(mode: str, action: object) -> None:
    partisan.trap_exit()
    pid = await begin(mode, "start_link", lambda *_: KeepState(actions=action))
    with pytest.raises(Exit) as failed:
        await statem.call(pid, 1)
    assert failed.value.reason[0] == (Atom("bad_action_from_state_function"), action)
    assert (await ended(pid))[0] == (Atom("bad_action_from_state_function"), action)


@both
@in_process
async def test_gen_statem_shutdown(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    partisan.trap_exit()
    reason = (SHUTDOWN, Atom("stop_reason"))
    pid = await begin(mode, "start_link", lambda *_: Stop(reason, "data"))
    with pytest.raises(Exit) as failed:
        await statem.call(pid, "stop")
    assert failed.value.reason == reason
    assert await ended(pid) == reason
    assert caplog.records == []


@both
@in_process
async def test_gen_statem_stop_and_reply(mode: str) -> None:
    partisan.trap_exit()

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        match event_type, content:
            case ("call", caller), "one":
                return KeepState([caller])
            case ("call", caller), "two":
                return StopAndReply(Atom("enough"), [Reply(data[0], "first"), Reply(caller, "second")])

    pid = await begin(mode, "start_link", behave)
    one, two = statem.send_request(pid, "one"), statem.send_request(pid, "two")
    assert await statem.receive_response(one, 10.0) == "first"
    assert await statem.receive_response(two, 10.0) == "second"
    assert await ended(pid) == Atom("enough")


# Names that a registry of the program's own keeps.


class Registry:
    """Keeps names of processes."""

    def __init__(self) -> None:
        self.names: dict[Any, Any] = {}

    def register_name(self, name: Any, pid: Any) -> bool:
        return self.names.setdefault(name, pid) == pid

    def unregister_name(self, name: Any) -> None:
        self.names.pop(name, None)

    def whereis_name(self, name: Any) -> Any:
        pid = self.names.get(name)
        return pid if pid is not None and partisan.is_process_alive(pid) else None

    def send(self, name: Any, message: Any) -> None:
        partisan.send(self.names[name], message)


async def serves_by_registry(mode: str, how: str) -> None:
    """A machine that a registry has is found there, and a second one is refused."""
    registry = Registry()
    name = ("via", registry, STEM)
    pid = await begin(mode, how, name=name)
    assert registry.names == {STEM: pid}
    with pytest.raises(AlreadyStarted) as taken:
        await begin(mode, how, name=name)
    assert taken.value.pid == pid
    await works(name)
    await stopped(name)


@both
@in_process
async def test_gen_statem_start11(mode: str) -> None:
    partisan.trap_exit()
    await serves_by_registry(mode, "start_link")


@both
@in_process
async def test_gen_statem_start12(mode: str) -> None:
    await serves_by_registry(mode, "start")


@both
@in_process
async def test_gen_statem_stop7(mode: str) -> None:
    name = ("via", Registry(), STEM)
    pid = await begin(mode, name=name)
    await statem.stop(name)
    assert not partisan.is_process_alive(pid)
    with pytest.raises(NoProc):
        await statem.stop(name)
