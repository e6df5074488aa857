"""Broadcast trees, as `partisan_plumtree_broadcast` in Erlang: each function acts on the current node.

What is broadcast belongs to a handler, an object that names messages, keeps them, and knows which are new: see
`Handler`. `LwwMap` is one that is ready to use, a map that is the same on every node. A handler is registered under a
name on each node:

    prices = LwwMap(actor=node.name.encode(), epoch=time.time_ns())
    plumtree.add_handler("prices", prices)
    plumtree.broadcast(Put(b"apple", 5), "prices")

Towards real nodes the name is that of an Erlang module that they must have.

Source: Leitao, Pereira, Rodrigues: Epidemic Broadcast Trees (SRDS 2007); section 2 of the partisan 5.0.3 reference.
"""

from __future__ import annotations

from typing import Any

from partisan.etf import Atom
from partisan.machines.lww_map import Delete as Delete
from partisan.machines.lww_map import LwwMap as LwwMap
from partisan.machines.lww_map import Put as Put
from partisan.machines.plumtree_messages import Exchange as Exchange
from partisan.machines.plumtree_messages import Found as Found
from partisan.machines.plumtree_messages import Handler as Handler
from partisan.machines.plumtree_messages import Missing as Missing
from partisan.machines.plumtree_messages import Running as Running
from partisan.machines.plumtree_messages import Talk as Talk
from partisan.machines.plumtree_messages import Talker as Talker
from partisan.names import DEFAULT_CHANNEL
from partisan.runtime.broadcasting import Broadcasts, selection, text
from partisan.runtime.current import node

__all__ = [
    "Delete",
    "Exchange",
    "Found",
    "Handler",
    "LwwMap",
    "Missing",
    "Put",
    "Running",
    "Talk",
    "Talker",
    "add_handler",
    "broadcast",
    "broadcast_members",
    "cancel_exchanges",
    "debug_get_peers",
    "exchange_over",
    "exchanges",
    "get_peers",
]

Name = str | Atom


def add_handler(name: Name, handler: Handler) -> None:
    """Let messages of that name be this handler's, from now on. Raises TypeError: it is none."""
    _broadcasts().add_handler(text(name), handler)


def broadcast(data: Any, name: Name) -> None:
    """Send a message to every node; it returns at once.

    Args:
        data: what the handler's `broadcast_data` makes a message of.
        name: of the handler; nodes that have none of that name do not pass the message on.
    Raises:
        LocalProtocolError: there is no handler of that name here.
        EncodeError: what it made of it is no term.
    """
    _broadcasts().broadcast(data, text(name))


async def broadcast_members(*, timeout: float = 5.0) -> list[str]:
    """Names of those whom this node sends broadcasts to, and its own; `timeout` is there for the reference's sake."""
    return _broadcasts().members()


def get_peers(root: Name | None = None, *, channel: str = DEFAULT_CHANNEL) -> tuple[list[str], list[str]]:
    """Names of the neighbors to whom messages of that root are sent, and of those to whom they are announced.

    Args:
        root: the node whose messages these are; this one if it is not given.
        channel: that of their handler: each has a tree of its own.
    """
    return _broadcasts().peers(node().name if root is None else text(root), channel)


async def debug_get_peers(at: Name, root: Name, *, timeout: float = 5.0) -> tuple[list[str], list[str]]:
    """As `get_peers` on the default channel, of another node. Raises NodeDown, CallTimeout."""
    return await _broadcasts().peers_at(text(at), text(root), timeout)


async def exchanges(at: Name | None = None, *, timeout: float = 5.0) -> list[tuple[str, str]]:
    """The exchanges that run here, or at another node: (name of the handler, name of the peer).

    Raises NodeDown, CallTimeout.
    """
    return await _broadcasts().exchanges_at(node().name if at is None else text(at), timeout)


def cancel_exchanges(which: Any = "all") -> None:
    """End exchanges: "all", ("peer", name), ("mod", name of a handler), or the job of one that the application runs."""
    _broadcasts().cancel_exchanges(selection(which))


def exchange_over(job: Any) -> None:
    """Say that an exchange which the application runs has ended; of a job that is a pid, its end says it."""
    _broadcasts().exchange_over(job)


def _broadcasts() -> Broadcasts:
    here = node()
    here._check()
    return here.broadcasts
