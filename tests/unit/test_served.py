"""Requests that another node has sent or passed on, on the hollow core: who is answered, and what they leave behind."""

from __future__ import annotations

from typing import Any

import pytest

from partisan._core.calls import call, reply, request
from partisan._core.framedqueue import MonotonicQueue
from partisan._core.process import receive
from partisan._core.references import place_of
from partisan._core.requests import Served
from partisan._core.router import MOST_SERVED, current_router_var
from partisan.errors import Exit
from partisan.etf import Atom, ImproperList, Pid
from tests.unit.hollow import Core, sent

OTHER = "b@127.0.0.1"
KILL = Atom("kill")
FULL = (Atom("system_limit"), Atom("max_mailbox"))
TOO_MANY = (Atom("system_limit"), Atom("max_served"))
GEN_CALL, ALIAS = Atom("$gen_call"), Atom("$alias")


@pytest.fixture(autouse=True)
def current(core: Core) -> Any:
    """The core's router is the current one; who is told that nobody will answer is kept in `refused`."""
    core.refused = []  # type: ignore[attr-defined]
    core.router.refuse = lambda *what: core.refused.append(what)  # type: ignore[attr-defined]
    core.router.read_caller = place_of
    core.scheduler.forget = lambda *what: None
    token = current_router_var.set(core.router)
    yield
    current_router_var.reset(token)


@pytest.fixture
def queue(core: Core) -> Any:
    """The wire to another node, which says itself that a process has ended."""
    queue = core.connect(OTHER)
    core.table.peer(OTHER).watches_calls = True
    return queue


async def keep(found: list[Any]) -> None:
    """Keep every message."""
    while True:
        found.append(await receive())


async def serve() -> None:
    """Answer each request with itself, as a server does."""
    while True:
        _, caller, message = await receive((GEN_CALL, ..., ...))
        reply(caller, message)


async def ask(found: list[Any], target: object) -> None:
    found.append(await call(target, "?"))


# Passed on by another node.


@pytest.mark.parametrize("how", ["replies", "sends a pair"])
def test_a_request_that_another_node_passes_back_is_answered(core: Core, queue: Any, how: str) -> None:
    found: list[Any] = []
    asked: list[Any] = []
    server = core.spawn(keep(asked))
    core.spawn(ask(found, ("proxy", OTHER)))
    [[passed]] = sent(core, [queue])
    core.router.deliver(server.pid, passed, core.inbound())
    core.run()
    [(_, caller, _)] = asked
    if how == "replies":
        reply(caller, "answer")
    else:
        core.send(caller[0], (caller[1], "answer"))
    core.run()
    assert found == ["answer"]
    assert core.scheduler.aliases == {}
    assert server.watches() == []


def test_a_request_of_no_process_that_another_node_passes_back_is_answered(core: Core, queue: Any) -> None:
    server = core.spawn(serve())
    asked = request(("proxy", OTHER), "?")
    [[passed]] = sent(core, [queue])
    core.router.deliver(server.pid, passed, core.inbound())
    core.run()
    assert asked.outcome == b"?"
    assert core.undelivered == []


def test_a_request_of_no_process_takes_the_answer_that_is_sent_to_it(core: Core) -> None:
    asked: list[Any] = []
    server = core.spawn(keep(asked))
    waiting = request(server.pid, "?")
    core.run()
    [(_, (pid, tag), _)] = asked
    core.send(pid, (tag, "answer"))
    assert waiting.outcome == "answer"


def test_the_end_of_whom_a_request_was_passed_back_to_refuses_nobody(core: Core, queue: Any) -> None:
    server = core.spawn(keep([]))
    request(("proxy", OTHER), "?")
    [[passed]] = sent(core, [queue])
    core.router.deliver(server.pid, passed, core.inbound())
    core.router.deliver(Atom("nobody"), passed, core.inbound())
    server.signal(KILL, server.pid)
    core.run()
    assert core.refused == []  # type: ignore[attr-defined]
    assert [target for target, _ in core.undelivered] == ["nobody"]


@pytest.mark.parametrize("form", ["a pid", "a name"])
def test_a_request_that_names_a_process_of_this_node_as_who_asks_ends_no_server(core: Core, form: str) -> None:
    found: list[Any] = []
    victim = core.spawn(keep(found))
    core.scheduler.register("victim", victim)
    server = core.spawn(serve())
    asker: object = victim.pid if form == "a pid" else ImproperList([Atom(core.name)], b"#Namevictim")
    core.router.deliver(server.pid, (GEN_CALL, (asker, (ALIAS, 1)), "?"), core.inbound())
    core.router.deliver(server.pid, (GEN_CALL, (asker, "tag"), "?"), core.inbound())
    core.run()
    assert not server.done()
    assert found == [("tag", "?")]


def test_a_pair_that_begins_with_the_tag_of_a_foreign_request_is_a_message_like_another(core: Core) -> None:
    asked: list[Any] = []
    found: list[Any] = []
    server, other = core.spawn(keep(asked)), core.spawn(keep(found))
    core.router.deliver(server.pid, (GEN_CALL, (Pid(OTHER, 1), (ALIAS, 1)), "?"), core.inbound())
    core.run()
    [(_, (_, tag), _)] = asked
    assert type(tag) is Served
    core.tell(other, (tag, "what was asked"))
    assert found == [(tag, "what was asked")]


# To whom an answer goes.


@pytest.mark.parametrize("tag", ["tag", [], (ALIAS, 1)], ids=repr)
def test_an_answer_to_a_name_of_this_node_that_no_process_has_is_for_nobody(core: Core, tag: object) -> None:
    taken: list[object] = []
    core.scheduler.register("manager", lambda *what: taken.append(what))
    for name in (b"nobody", b"manager"):
        reply((ImproperList([Atom(core.name)], b"#Name" + name), tag), "answer")
    assert taken == []
    assert len(core.undelivered) == (0 if tag == (ALIAS, 1) else 2)


def test_a_tag_that_has_no_hash_is_answered_on_a_monotonic_channel(core: Core) -> None:
    queue = core.connect(OTHER, "state", kind=MonotonicQueue)

    async def answer() -> None:
        process.channel = "state"
        reply((Pid(OTHER, 1), [1]), "one")
        reply((Pid(OTHER, 1), [2]), "two")

    process = core.start(answer())
    core.run()
    assert process.exit_reason == Atom("normal")
    assert sent(core, [queue]) == [[([1], b"one"), ([2], b"two")]]


def test_a_request_in_the_name_of_a_remote_name_is_answered_to_it(core: Core, queue: Any) -> None:
    server = core.spawn(serve())
    asker = ImproperList([Atom(OTHER)], b"#Nameasker")
    core.router.deliver(server.pid, (GEN_CALL, (asker, (ALIAS, 1)), "?"), core.inbound())
    core.run()
    assert sent(core, [queue]) == [[((ALIAS, 1), b"?")]]
    assert server.watches() == []


# What full mailboxes lose.


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_a_request_that_a_full_mailbox_loses_is_refused_and_leaves_nothing_behind(core: Core, policy: str) -> None:
    server = core.start(keep([]))
    server.bound_mailbox(3, policy)
    for number in range(10):
        core.router.deliver(server.pid, (GEN_CALL, (Pid(OTHER, 1), (ALIAS, number)), "?"), core.inbound())
    kept = range(7, 10) if policy == "drop_oldest" else range(3)
    lost = [number for number in range(10) if number not in kept]
    refused = core.refused  # type: ignore[attr-defined]
    assert [(tag, reason) for _, tag, _, reason in refused] == [((ALIAS, number), FULL) for number in lost]
    assert [watch.tag for watch in reversed(server.watches())] == [(ALIAS, number) for number in kept]


def test_a_call_of_a_process_of_this_node_whose_mailbox_is_full_fails(core: Core) -> None:
    found: list[Any] = []
    server = core.start(keep([]))
    server.bound_mailbox(1, "drop_newest")
    core.scheduler.send_local(server, "first")

    async def fail() -> None:
        with pytest.raises(Exit) as lost:
            await call(server.pid, "?")
        found.append(lost.value.reason)

    caller = core.start(fail())
    server.hold()
    core.run()
    assert found == [FULL]
    assert caller.done()
    assert server.watches() == []
    server.release()


# What a peer can make wait.


def asks(core: Core, server: Any, numbers: Any, *, sender: str = OTHER) -> None:
    """A node sends requests in the names of others, which are not connected and never take an answer."""
    core.peer = sender  # type: ignore[attr-defined]  # the core is its own link
    inbound = core.inbound()
    for number in numbers:
        core.router.deliver(server.pid, (GEN_CALL, (Pid(f"x{number % 9}@h", 1), (ALIAS, number)), "?"), inbound)
    core.run()


def test_no_node_makes_more_requests_wait_than_it_may_whoever_it_says_asks(core: Core) -> None:
    asked: list[Any] = []
    server, other = core.spawn(keep(asked)), core.spawn(keep([]))
    refused = core.refused  # type: ignore[attr-defined]
    asks(core, server, range(MOST_SERVED))
    assert len(server.watches()) == len(asked) == MOST_SERVED
    assert refused == []
    asks(core, other, range(3))
    assert [(tag[1], reason) for _, tag, _, reason in refused] == [(number, TOO_MANY) for number in range(3)]
    assert other.watches() == []
    del refused[:]
    asks(core, other, [3], sender="c@127.0.0.1")
    reply(asked[0][1], "answer")
    asks(core, other, [4])
    assert refused == []
    asks(core, other, [5])
    assert [tag[1] for _, tag, _, _ in refused] == [5]
    server.signal(KILL, server.pid)
    core.run()
    del refused[:]
    asks(core, other, range(6, 9))
    assert refused == []
    assert len(other.watches()) == 5
