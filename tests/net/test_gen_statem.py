"""State machines on real nodes."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from statem_machines import MODES, Scripted, as_process, heard, ignore, in_process, nothing_left, teller
from support import cluster, eventually

import partisan
from partisan import Atom, Exit, NodeDown, NoProc
from partisan.gen import statem, sys
from partisan.gen.statem import (
    ChangeCallbackModule,
    EventTimeout,
    GenStatem,
    KeepState,
    NextEvent,
    NextState,
    PopCallbackModule,
    Postpone,
    PushCallbackModule,
    Reply,
    StateTimeout,
    Stop,
    Timeout,
)
from partisan.runtime.current import process

both = pytest.mark.parametrize("mode", MODES)
KILL, KILLED, EXIT = Atom("kill"), Atom("killed"), Atom("EXIT")


def door(event_type: Any, content: Any, state: Any, data: Any) -> Any:
    """Locked in "a", open in "b"; answers whoever waits for it to open when it does."""
    match event_type, content, state:
        case ("call", _), b"wait", "a":
            return KeepState(actions=Postpone())
        case ("call", caller), b"wait", "b":
            return KeepState(actions=Reply(caller, Atom("open")))
        case "cast", b"open", "a":
            return NextState("b")
        case ("call", caller), b"fail", _:
            raise ValueError("no door")
        case ("call", caller), (b"stop", reason), _:
            return Stop(reason)
        case "info", (b"echo", who), _:
            partisan.send(who, (state, b"echo"))
    return None


@both
async def test_calls_and_casts_of_another_node_are_answered_across_a_change_of_state(mode: str) -> None:
    async with cluster("a", "b", channels={"side": {}}) as (a, b):

        async def body() -> None:
            request = statem.send_request(("door", a.name), b"wait")
            partisan.send(("door", a.name), (b"echo", partisan.self()))
            assert await heard(1) == [(b"a", b"echo")]
            statem.cast(("door", a.name), b"open", channel="side")
            assert await statem.receive_response(request, 10.0) == Atom("open")
            assert await statem.call(("door", a.name), b"wait", channel="side") == Atom("open")
            assert await sys.get_state(("door", a.name)) == (b"b", 0)
            with pytest.raises(Exit) as failed:
                await statem.call(("door", a.name), (b"stop", Atom("enough")))
            assert failed.value.reason == Atom("enough")
            assert failed.value.call is not None
            assert failed.value.call[:2] == (Atom("gen_statem"), Atom("call"))
            with pytest.raises(NoProc):
                await statem.call(("door", a.name), b"wait")

        async def begin() -> None:
            await Scripted.start(name="door", args=(mode, door))

        await as_process(a, begin)
        await as_process(b, body)
        await eventually(lambda: nothing_left(a) and nothing_left(b))


async def test_a_caller_of_another_node_hears_of_the_error_that_ends_the_machine_and_of_the_loss_of_the_node() -> None:
    async with cluster("a", "b") as (a, b):

        async def begin(name: str) -> None:
            await Scripted.start(name=name, args=("handle_event_function", door))

        async def fail() -> None:
            with pytest.raises(Exit) as failed:
                await statem.call(("door", a.name), b"fail")
            (kind, text), stack = failed.value.reason
            assert (kind, text) == (Atom("ValueError"), b"no door")
            assert stack[0][1] == Atom("door")

        async def lose() -> None:
            request = statem.send_request(("other", a.name), b"wait")
            await sys.get_state(("other", a.name))
            asyncio.get_running_loop().create_task(a.stop(grace=0.5))
            with pytest.raises((NodeDown, Exit)):
                await statem.receive_response(request, 10.0)

        for name in ("door", "other"):
            await as_process(a, begin, name)
        await as_process(b, fail)
        await as_process(b, lose)
        await eventually(lambda: nothing_left(b))


async def test_a_tag_of_any_shape_comes_back_with_the_answer_to_another_node() -> None:
    async with cluster("a", "b") as (a, b):

        async def begin() -> None:
            await Scripted.start(name="door", args=("state_functions", door, NextState("b")))

        async def ask() -> None:
            tag = [Atom("alias"), partisan.make_ref()]
            partisan.send(("door", a.name), (Atom("$gen_call"), (partisan.self(), tag), b"wait"))
            assert await heard(1) == [(tag, Atom("open"))]
            await sys.terminate(("door", a.name), Atom("normal"))

        await as_process(a, begin)
        await as_process(b, ask)
        await eventually(lambda: nothing_left(a) and nothing_left(b))


@both
@in_process
async def test_callbacks_may_be_async_and_events_wait_for_them_in_order(mode: str) -> None:
    me, gate = partisan.self(), asyncio.Event()

    async def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        if content == "wait":
            await gate.wait()
        partisan.send(me, (state, content))
        return NextState("b") if content == "wait" else None

    pid = await Scripted.start(args=(mode, behave))
    for content in ("wait", "one", "two"):
        statem.cast(pid, content)
    await eventually(lambda: len(found(pid).mailbox) == 2)
    gate.set()
    assert await heard(3) == [("a", "wait"), ("b", "one"), ("b", "two")]
    await statem.stop(pid)


def found(pid: Any) -> Any:
    """The process of a pid."""
    return process().scheduler.find(pid)


def waiting(change: Any) -> Any:
    """A behaviour: on "block" it waits until a message of its own and the expiry of its timer wait for it."""
    me = partisan.self()

    async def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        partisan.send(me, (state, event_type, content))
        if content == "block":
            statem.cast(partisan.self(), "first")
            await eventually(lambda: len(process().mailbox) == 2)
        return change if content == "first" else None

    return behave


@in_process
async def test_a_message_that_came_before_a_timer_expired_is_handled_before() -> None:
    begin = NextState("a", None, [StateTimeout(0.02, "expired"), NextEvent("cast", "block")])
    pid = await Scripted.start(args=("state_functions", waiting(None), begin))
    assert await heard(3) == [("a", "cast", "block"), ("a", "cast", "first"), ("a", "state_timeout", "expired")]
    await statem.stop(pid)


@in_process
async def test_a_timer_that_has_expired_but_is_not_handled_yet_is_stopped_by_a_change_of_state() -> None:
    begin = NextState("a", None, [StateTimeout(0.02, "expired"), NextEvent("cast", "block")])
    pid = await Scripted.start(args=("state_functions", waiting(NextState("b", None, Timeout("t", 0.001))), begin))
    assert await heard(3) == [("a", "cast", "block"), ("a", "cast", "first"), ("b", ("timeout", "t"), None)]
    await statem.stop(pid)


@in_process
async def test_a_callback_that_receives_everything_itself_takes_no_later_timer_away() -> None:
    me = partisan.self()

    async def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        if content == "steal":
            await partisan.receive()
            return NextState("b", None, StateTimeout(0.001, "later"))
        partisan.send(me, (state, event_type, content))
        return None

    begin = NextState("a", None, [StateTimeout(0.001, "stolen"), NextEvent("cast", "steal")])
    pid = await Scripted.start(args=("state_functions", behave, begin))
    assert await heard(1) == [("b", "state_timeout", "later")]
    await statem.stop(pid)


@in_process
async def test_timers_expire_in_a_machine_whose_mailbox_is_never_empty() -> None:
    me = partisan.self()

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        if event_type == "cast":
            statem.cast(partisan.self(), content)
            return None
        partisan.send(me, content)
        return KeepState(actions=Timeout("t", 0.001, content + 1))

    pid = await Scripted.start(args=("state_functions", behave, NextState("a", 0, Timeout("t", 0.001, 1))))
    for content in ("one", "two"):
        statem.cast(pid, content)
    assert await heard(3) == [1, 2, 3]
    partisan.exit(pid, KILL)


@in_process
async def test_a_machine_that_always_has_an_event_lets_others_run() -> None:
    handled = 0

    def behave(*_: Any) -> Any:
        nonlocal handled
        handled += 1
        return Stop(Atom("alone")) if handled == 1_000_000 else KeepState(actions=EventTimeout(0))

    pid = await Scripted.start(args=("handle_event_function", behave, NextState("a", 0, EventTimeout(0))))
    for _ in range(3):
        await asyncio.sleep(0)
    assert partisan.is_process_alive(pid)
    partisan.exit(pid, KILL)
    await eventually(lambda: not partisan.is_process_alive(pid))


class Weighty:
    """Data whose end can be seen."""


@in_process
async def test_a_machine_that_is_killed_leaves_no_timer_behind() -> None:
    data = Weighty()
    gone = weakref.ref(data)
    pid = await Scripted.start(args=("state_functions", ignore, NextState("a", data, StateTimeout(3600.0))))
    del data
    reference = partisan.monitor(pid)
    assert await sys.get_state(pid) == ("a", gone())
    partisan.exit(pid, KILL)
    assert (await partisan.receive((..., reference, ..., ..., ...), timeout=10.0))[4] == KILLED

    def collected() -> bool:
        gc.collect()
        return gone() is None

    await eventually(collected)


class Ending(Scripted):
    """Tells whoever is its data of its end."""

    def init(self, *args: Any) -> Any:
        partisan.trap_exit()
        return super().init(*args)

    async def terminate(self, reason: object, state: Any, data: Any) -> None:
        partisan.send(data, (reason, state))


@both
@in_process
async def test_the_end_of_the_parent_is_told_to_terminate_with_state_and_data(mode: str) -> None:
    me = partisan.self()

    async def parent() -> None:
        await Ending.start_link(args=(mode, teller(me), NextState("b", me)))
        raise Exit(Atom("over"))

    partisan.spawn(parent)
    assert await heard(1) == [(Atom("over"), "b")]


@both
@in_process
async def test_an_exit_signal_of_another_is_an_event_for_a_machine_that_traps_exits(mode: str) -> None:
    me = partisan.self()
    pid = await Ending.start(args=(mode, teller(me), NextState("a", me)))

    async def stranger() -> None:
        partisan.exit(pid, Atom("why"))

    other = partisan.spawn(stranger)
    assert await heard(1) == [("a", "info", (EXIT, other, Atom("why")))]
    await statem.stop(pid)
    assert await heard(1) == [(Atom("normal"), "a")]


class Counting(GenStatem):
    """Counts by calls, in the manner of one module."""

    step = 1

    def init(self) -> Any:
        self.kept = "attribute"
        return NextState("on", 0)

    def handle_event(self, event_type: Any, content: Any, state: Any, data: Any) -> Any:
        match event_type, content:
            case ("call", caller), "count":
                return KeepState(data + self.step, Reply(caller, (data + self.step, self.kept)))
            case ("call", caller), action:
                return NextState("on", data, [action, Reply(caller, "changed")])
            case "enter", _:
                return KeepState(data + 100)


class ByTens(Counting):
    """Counts otherwise, with a method for the state."""

    callback_mode = [Atom("state_functions")]  # noqa: RUF012 - never changed
    step = 10

    def on(self, event_type: Any, content: Any, data: Any) -> Any:
        return self.handle_event(event_type, content, "on", data)


class ByHundreds(ByTens):
    """Counts by still more."""

    step = 100


@in_process
async def test_the_module_of_callbacks_can_be_changed_pushed_and_popped_and_keeps_the_attributes() -> None:
    pid = await Counting.start()
    assert await statem.call(pid, "count") == (1, "attribute")
    assert await statem.call(pid, PushCallbackModule(ByTens)) == "changed"
    assert await statem.call(pid, "count") == (11, "attribute")
    assert await statem.call(pid, PopCallbackModule()) == "changed"
    assert await statem.call(pid, "count") == (12, "attribute")
    assert await statem.call(pid, ChangeCallbackModule(ByTens)) == "changed"
    assert await statem.call(pid, "count") == (22, "attribute")
    assert await statem.call(pid, ChangeCallbackModule(ByHundreds)) == "changed"
    assert await statem.call(pid, "count") == (122, "attribute")
    for wrong in (PopCallbackModule(), ChangeCallbackModule(dict), PushCallbackModule("name")):
        again = await Counting.start()
        with pytest.raises(Exit) as failed:
            await statem.call(again, wrong)
        assert failed.value.reason[0] == (Atom("bad_action_from_state_function"), wrong)
    await statem.stop(pid)


@pytest.mark.parametrize("state", ["nowhere", "terminate", "_loop", "start", Atom("code_change")])
@in_process
async def test_a_state_without_a_method_of_its_own_ends_the_machine(state: Any) -> None:
    pid = await Scripted.start(args=("state_functions", lambda *_: NextState(state)))
    reference = partisan.monitor(pid)
    statem.cast(pid, "go")
    statem.cast(pid, "there")
    reason = (await partisan.receive((..., reference, ..., ..., ...), timeout=10.0))[4]
    undef, [(_, callback, arguments, _)] = reason
    assert (undef, callback) == (Atom("undef"), Atom(str(state)))
    assert arguments == ["cast", "there", 0]


@in_process
async def test_atoms_name_states_as_texts_do() -> None:
    me = partisan.self()
    pid = await Scripted.start(args=("state_functions", teller(me), NextState(Atom("b"))))
    statem.cast(pid, 1)
    assert await heard(1) == [("b", "cast", 1)]
    await statem.stop(pid)


@in_process
async def test_reply_answers_one_call_or_several() -> None:
    callers: list[Any] = []

    def behave(event_type: Any, content: Any, state: Any, data: Any) -> Any:
        callers.append(event_type[1])
        if len(callers) == 3:
            statem.reply(callers[0], 1)
            statem.reply([Reply(callers[1], 2), Reply(callers[2], 3)])

    pid = await Scripted.start(args=("handle_event_function", behave))
    requests = [statem.send_request(pid, "all") for _ in range(3)]
    assert [await statem.receive_response(each, 10.0) for each in requests] == [1, 2, 3]
    statem.reply(Reply(callers[0], "to whom it does not matter any more"))
    await statem.stop(pid)
