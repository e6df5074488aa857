"""Requests and their answers on the hollow core: between processes of one node, and what is written for others."""

from __future__ import annotations

from typing import Any

import pytest

from partisan._core.calls import Waiting, call, reply, request
from partisan._core.process import Process, receive
from partisan._core.requests import Request
from partisan._core.router import current_router_var
from partisan.errors import CallTimeout, Exit, NodeDown, NoProc, NotInProcess
from partisan.etf import Atom, Reference
from tests.unit.hollow import Core, messages, sent

OTHER = "b@127.0.0.1"
KILL, BOOM = Atom("kill"), Atom("boom")
GEN_CALL, ALIAS = Atom("$gen_call"), Atom("$alias")


@pytest.fixture(autouse=True)
def current(core: Core) -> Any:
    """The core's router is the current one, in this thread and so in the processes."""
    token = current_router_var.set(core.router)
    yield
    current_router_var.reset(token)


async def ask(found: list[Any], *arguments: Any, **options: Any) -> None:
    """Call, and keep the answer or the error; then keep all messages."""
    try:
        found.append(await call(*arguments, **options))
    except (Exit, CallTimeout) as error:
        found.append(error)
    while True:
        found.append(await receive())


async def take(asked: list[Any]) -> None:
    """Keep requests, which the test answers."""
    while True:
        asked.append(await receive())


class Server:
    """A process that keeps what it is asked."""

    def __init__(self, core: Core) -> None:
        self.asked: list[Any] = []
        self.process = core.spawn(take(self.asked), "server")

    @property
    def caller(self) -> Any:
        """The `From` of the latest request."""
        return self.asked[-1][1]


@pytest.fixture
def server(core: Core) -> Server:
    return Server(core)


def test_a_call_is_answered(core: Core, server: Server) -> None:
    found: list[Any] = []
    caller = core.spawn(ask(found, server.process.pid, "question"))
    tag, (pid, _), message = server.asked[0]
    assert (tag, pid, message) == (GEN_CALL, caller.pid, "question")
    reply(server.caller, "answer")
    core.run()
    assert found == ["answer"]
    assert server.process.watches() == []
    assert len(core.scheduler.deadlines) == 0


@pytest.mark.parametrize("answer", [None, (), (1,), StopIteration(1), ValueError("x"), (ALIAS, 1)], ids=repr)
def test_any_term_is_an_answer(core: Core, server: Server, answer: object) -> None:
    found: list[Any] = []
    core.spawn(ask(found, server.process.pid, "?"))
    reply(server.caller, answer)
    core.run()
    assert len(found) == 1
    assert found[0] is answer


def test_the_first_answer_counts_and_the_second_surfaces_nowhere(core: Core, server: Server) -> None:
    found: list[Any] = []
    core.spawn(ask(found, server.process.pid, "?"))
    reply(server.caller, 1)
    reply(server.caller, 2)
    core.run()
    reply(server.caller, 3)
    core.run()
    assert found == [1]


def test_an_answer_that_is_sent_as_a_pair_is_one(core: Core, server: Server) -> None:
    found: list[Any] = []
    core.spawn(ask(found, server.process.pid, "?"))
    pid, tag = server.caller
    core.send(pid, (tag, "sent"))
    core.run()
    assert found == ["sent"]


def test_an_answer_after_the_time_out_never_surfaces(core: Core, server: Server) -> None:
    found: list[Any] = []
    caller = core.spawn(ask(found, server.process.pid, "?", timeout=1.0))
    core.advance(1.5)
    assert isinstance(found[0], CallTimeout)
    assert (found[0].seconds, found[0].target) == (1.0, server.process.pid)
    reply(server.caller, "late")
    core.send(caller.pid, (server.caller[1], "later"))
    core.run()
    assert len(found) == 1
    assert len(caller.mailbox) == 0
    assert server.process.watches() == []


def test_an_answer_that_comes_with_the_time_out_wins(core: Core, server: Server) -> None:
    found: list[Any] = []
    core.spawn(ask(found, server.process.pid, "?", timeout=1.0))
    core.timers[0].function()
    reply(server.caller, "just in time")
    core.run()
    assert found == ["just in time"]


@pytest.mark.parametrize("timeout", [0, -1.0])
def test_a_call_without_time_is_sent_and_times_out(core: Core, server: Server, timeout: float) -> None:
    found: list[Any] = []
    core.spawn(ask(found, server.process.pid, "?", timeout=timeout))
    core.advance(0.0)
    assert isinstance(found[0], CallTimeout)
    assert len(server.asked) == 1


def test_a_call_without_a_limit_starts_no_timer(core: Core, server: Server) -> None:
    found: list[Any] = []
    core.spawn(ask(found, server.process.pid, "?", timeout=None))
    assert core.timers == []
    reply(server.caller, 1)
    core.run()
    assert found == [1]


def test_the_end_of_whom_was_asked_fails_the_call_with_its_reason(core: Core, server: Server) -> None:
    found: list[Any] = []
    core.spawn(ask(found, server.process.pid, "?"))
    server.process.signal(BOOM, server.process.pid)
    core.run()
    (error,) = found
    assert type(error) is Exit
    assert error.term == (BOOM, (Atom("gen_server"), Atom("call"), [server.process.pid, "?"]))


def test_an_answer_before_the_end_of_whom_was_asked_is_the_answer(core: Core, server: Server) -> None:
    found: list[Any] = []
    core.spawn(ask(found, server.process.pid, "?"))
    reply(server.caller, "last words")
    server.process.signal(KILL, server.process.pid)
    core.run()
    assert found == ["last words"]


@pytest.mark.parametrize("how", ["a name", "a pid"])
def test_to_call_nobody_is_noproc(core: Core, server: Server, how: str) -> None:
    found: list[Any] = []
    server.process.signal(KILL, server.process.pid)
    core.run()
    target = "nobody" if how == "a name" else server.process.pid
    core.spawn(ask(found, target, "?"))
    (error,) = found
    assert type(error) is NoProc
    assert error.target == target
    assert core.timers == []


def test_the_end_of_the_caller_takes_its_request_along(core: Core, server: Server) -> None:
    caller = core.spawn(ask([], server.process.pid, "?"))
    assert len(server.process.watches()) == 1
    caller.signal(KILL, caller.pid)
    core.run()
    assert server.process.watches() == []
    assert len(core.scheduler.deadlines) == 0
    reply(server.caller, "to nobody")
    core.run()
    assert core.undelivered == []


def test_a_request_leaves_nothing_with_its_caller_once_it_is_answered(core: Core, server: Server) -> None:
    outcomes: list[Any] = []

    async def body() -> None:
        asked = request(server.process.pid, "?")
        assert asked.pending
        asked.settled = lambda asked: outcomes.append((asked.failed, asked.outcome))
        await receive()

    caller = core.spawn(body())
    reply(server.caller, "answer")
    core.run()
    assert outcomes == [(False, "answer")]
    assert tied(caller) == 0


def test_a_request_of_a_caller_that_ends_is_dropped(core: Core, server: Server) -> None:
    asked: list[Request] = []

    async def body() -> None:
        asked.append(request(server.process.pid, "?"))
        asked[0].settled = lambda asked: pytest.fail("nobody wants to know")
        await receive()

    caller = core.spawn(body())
    caller.signal(KILL, caller.pid)
    core.run()
    assert not asked[0].pending
    assert server.process.watches() == []


def test_a_dropped_request_takes_no_answer(core: Core, server: Server) -> None:
    asked: list[Request] = []

    async def body() -> None:
        asked.append(request(server.process.pid, "?"))
        asked[0].drop()
        asked[0].drop()
        await receive("never")

    caller = core.spawn(body())
    reply(server.caller, "late")
    core.run()
    assert asked[0].outcome is None
    assert not asked[0].failed
    assert len(caller.mailbox) == 0
    assert tied(caller) == 0


def test_a_request_outside_of_a_process_is_answered_without_a_message(core: Core, server: Server) -> None:
    asked = request(server.process.pid, "?")
    core.run()
    assert (asked.pending, asked.mailed) == (True, False)
    reply(server.caller, "answer")
    assert (asked.outcome, asked.arrived) == ("answer", True)
    with pytest.raises(NotInProcess):
        Waiting([asked])


def test_a_request_that_nobody_awaits_is_a_message_of_whoever_asked(core: Core, server: Server) -> None:
    found: list[Any] = []

    async def body() -> None:
        asked = request(server.process.pid, "?")
        found.extend([asked, await receive()])

    core.spawn(body())
    reply(server.caller, "answer")
    core.run()
    asked, message = found
    assert message is asked
    assert asked.outcome == "answer"


@pytest.mark.parametrize("missing", [False, True])
def test_a_request_that_is_not_to_be_mailed_is_no_message(core: Core, server: Server, missing: bool) -> None:
    asked: list[Request] = []

    async def body() -> None:
        asked.append(request("nobody" if missing else server.process.pid, "?", mailed=False))
        await receive("never")

    caller = core.spawn(body())
    if not missing:
        reply(server.caller, "answer")
    core.run()
    assert not asked[0].pending
    assert len(caller.mailbox) == 0
    assert tied(caller) == 0


def test_a_request_to_nobody_is_a_message_at_once(core: Core) -> None:
    found: list[Any] = []

    async def body() -> None:
        asked = request("nobody", "?")
        found.extend([asked, await receive()])

    core.spawn(body())
    assert found[0] is found[1]
    assert found[0].failed


def test_who_waits_for_requests_gets_them_in_the_order_of_their_outcomes(core: Core, server: Server) -> None:
    found: list[Any] = []

    async def body() -> None:
        asked = [request(server.process.pid, number) for number in range(3)]
        while (one := await Waiting(asked)) is not None:
            found.append(asked.index(one))
        found.append(list(current_mailbox()))

    def current_mailbox() -> Any:
        return caller.mailbox

    caller = core.start(body())
    core.run()
    core.tell(caller, "before", "between")
    for number in (2, 0, 1):
        reply(server.asked[number][1], number)
    core.run()
    assert found == [2, 0, 1, ["before", "between"]]


def test_an_answer_that_is_taken_leaves_no_message_behind_it_unseen(core: Core, server: Server) -> None:
    found: list[Any] = []
    reference = Reference(core.name, (1,))

    async def body() -> None:
        asked = request(server.process.pid, "?")
        await receive("answered")
        core.scheduler.mark(reference)  # as make_ref: the request is in the mailbox, before it
        await Waiting([asked])
        core.scheduler.send_local(caller, (reference, "news"))
        found.append(await receive((reference, ...), timeout=0))

    caller = core.start(body())
    core.run()
    reply(server.caller, "answer")
    core.tell(caller, "answered")
    assert found == [(reference, "news")]


def test_a_wait_that_is_over_leaves_the_request_to_the_mailbox(core: Core, server: Server) -> None:
    found: list[Any] = []

    async def body() -> None:
        asked = request(server.process.pid, "?")
        found.append(await Waiting([asked], 1.0))
        found.append(await receive())
        found.append(await Waiting([asked], 0))

    core.spawn(body())
    core.advance(1.5)
    reply(server.caller, "answer")
    core.run()
    assert found[0] is None
    assert type(found[1]) is Request
    assert found[2] is found[1]  # it is given once more to whoever waits for it by name


@pytest.mark.parametrize("how", ["call", "wait"])
def test_a_caller_that_is_told_to_end_and_answered_at_once_runs_once(core: Core, server: Server, how: str) -> None:
    async def body() -> None:
        if how == "call":
            await call(server.process.pid, "?")
        else:
            await Waiting([request(server.process.pid, "?")])

    caller = core.spawn(body())
    steps = core.scheduler.steps
    caller.doom(BOOM)
    reply(server.caller, "answer")
    core.run()
    assert core.scheduler.steps == steps + 1
    assert caller.exit_reason == BOOM


def test_a_process_that_calls_itself_is_told_so(core: Core) -> None:
    found: list[Any] = []

    async def body() -> None:
        await ask(found, caller.pid, "?")

    caller = core.start(body())
    core.run()
    assert found[0].reason == Atom("calling_self")


@pytest.mark.parametrize("caller", [None, (), (1, 2), (1, 2, 3), "nobody"])
def test_an_answer_to_what_is_no_from_is_for_nobody(core: Core, caller: Any) -> None:
    reply(caller, "answer")
    assert core.undelivered == [(caller, "answer")]


def tied(process: Process) -> int:
    """How many watches a process holds."""
    return len(process.links) + len(process.monitors) + process.requests


# Towards other nodes.


@pytest.fixture
def queue(core: Core) -> Any:
    """The wire to another node, which says itself that a process has ended."""
    queue = core.connect(OTHER)
    core.table.peer(OTHER).watches_calls = True
    core.forgotten = []  # type: ignore[attr-defined]
    core.scheduler.forget = lambda *what: core.forgotten.append(what)  # type: ignore[attr-defined]
    return queue


def test_a_request_to_another_node_is_written_with_a_number_and_found_by_it(core: Core, queue: Any) -> None:
    found: list[Any] = []
    caller = core.spawn(ask(found, ("server", OTHER), "?"))
    [[(tag, (pid, (alias, number)), message)]] = sent(core, [queue])
    assert (tag, pid, alias, message) == (GEN_CALL, caller.pid, ALIAS, b"?")
    assert list(core.scheduler.aliases) == [number]
    core.router.deliver(pid, ((ALIAS, number), "answer"))
    core.run()
    assert found == ["answer"]
    assert core.scheduler.aliases == {}
    core.router.deliver(pid, ((ALIAS, number), "again"))
    core.run()
    assert found == ["answer"]


def test_two_requests_have_two_numbers(core: Core, queue: Any) -> None:
    for _ in range(2):
        core.spawn(ask([], ("server", OTHER), "?"))
    [written] = sent(core, [queue])
    assert len({message[1][1] for message in written}) == 2


def test_an_answer_finds_its_request_whomever_it_is_sent_to(core: Core, queue: Any, server: Server) -> None:
    found: list[Any] = []
    core.spawn(ask(found, ("server", OTHER), "?"))
    [[(_, (_, alias), _)]] = sent(core, [queue])
    core.router.deliver(server.process.pid, (alias, "by another way"))
    core.run()
    assert found == ["by another way"]
    assert server.asked == []


def test_the_other_node_is_told_that_nobody_waits_any_more(core: Core, queue: Any) -> None:
    found: list[Any] = []
    core.spawn(ask(found, ("server", OTHER), "?", timeout=1.0))
    [[(_, (_, (_, number)), _)]] = sent(core, [queue])
    core.advance(2.0)
    assert isinstance(found[0], CallTimeout)
    assert core.forgotten == [(OTHER, ("server", OTHER), number)]  # type: ignore[attr-defined]
    assert core.scheduler.aliases == {}


def test_a_call_to_a_node_without_a_connection_is_nodedown(core: Core) -> None:
    found: list[Any] = []
    core.spawn(ask(found, ("server", "c@127.0.0.1"), "?"))
    assert type(found[0]) is NodeDown
    assert found[0].reason == (Atom("nodedown"), Atom("c@127.0.0.1"))


@pytest.mark.parametrize("number", [[], {}, "text", 1.5, -1, 10**30, (ALIAS, 1)], ids=repr)
def test_an_answer_with_a_strange_number_is_for_nobody(core: Core, server: Server, number: object) -> None:
    core.router.deliver(server.process.pid, ((ALIAS, number), "?"))
    core.run()
    assert not server.process.done()


def test_nothing_that_cannot_be_written_leaves_a_number_behind(core: Core, queue: Any) -> None:
    process = core.spawn(ask([], ("server", OTHER), object()))
    assert process.done()
    assert core.scheduler.aliases == {}
    assert messages(b"", core.codec) == []


def test_a_lost_node_is_named_if_the_reason_tells_it() -> None:
    told = NodeDown((Atom("nodedown"), Atom("b@127.0.0.1")))
    assert (told.node, str(told)) == ("b@127.0.0.1", "no connection to the node b@127.0.0.1")
    swapped, addressed, v6 = (str(NodeDown((Atom("nodedown"), Atom(name)))) for name in ("s", "b@h:10201", "b@::1"))
    assert swapped == "'s' is no name of a node: a target is a pid, a name, or (name, node)"
    assert addressed == "no connection to the node b@h:10201, and no node's name has a port"
    assert v6 == "no connection to the node b@::1"
    assert NodeDown(Atom("noconnection")).node is None
    assert "noconnection" in str(NodeDown(Atom("noconnection")))
