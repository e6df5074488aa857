"""Handlers of broadcasts that keep what they get, and machines of Plumtree that have them."""

from __future__ import annotations

from random import Random

from partisan.machines.machine import (
    NeighborUp,
    Notify,
    Received,
    Send,
    Start,
)
from partisan.machines.plumtree import Plumtree
from partisan.machines.plumtree_messages import (
    Found,
    Missing,
    PlumtreeConfig,
    Talk,
)

ME = 0
CONFIG = PlumtreeConfig(report=True)


class Shelf:
    """A handler that keeps what it gets; told to, it raises."""

    def __init__(self, channel="gossip", begin=None):
        self.kept = {}
        self.gone = {}
        self.channel = channel
        self.begin = begin
        self.broken = False

    def check(self):
        if self.broken:
            raise RuntimeError("a handler's own affair")

    def broadcast_data(self, data):
        self.check()
        self.kept[data] = f"<{data}>"
        return data, self.kept[data]

    def merge(self, id, payload):
        self.check()
        if self.is_stale(id):
            return False
        self.kept[id] = payload
        return True

    def is_stale(self, id):
        self.check()
        return id in self.kept or id in self.gone

    def graft(self, id):
        self.check()
        if id in self.kept:
            return Found(self.kept[id])
        return Missing.STALE if id in self.gone else Missing.UNKNOWN

    def exchange(self, peer):
        self.check()
        return self.begin

    def broadcast_channel(self):
        return self.channel


class Chatty(Shelf):
    """One that exchanges by messages: it answers a number with the one below."""

    def hear(self, peer, body):
        self.check()
        if type(body) is not int:
            raise ValueError("no number")
        return Talk((body - 1,), over=body == 1) if body > 0 else Talk(over=True)


def machine(neighbors=(1, 2, 3), config=CONFIG, **handlers):
    made = Plumtree(ME, config, Random(1), handlers or {"shelf": Shelf()})
    made.handle(Start(), 0.0)
    for peer in neighbors:
        made.handle(NeighborUp(peer), 0.0)
    return made


def sent(effects):
    return [(each.peer, each.message) for each in effects if type(each) is Send]


def facts(effects):
    return [each.fact for each in effects if type(each) is Notify]


def told(made, message, peer=None):
    return made.handle(Received(message.sender if peer is None else peer, message), 1.0)


def broadcast(made, data, mod="shelf"):
    return made.handle(made.prepare(data, mod), 1.0)


def peers(made, root, channel="gossip"):
    return made.peers(root, channel)
