"""The transports that an experiment can run over, one module each, by name."""

from __future__ import annotations

import importlib

from .base import Transport

NAMES = ("partisan", "disterl", "raw", "zmq", "asyncio")
"""In the order in which a round visits them."""


def create(name: str) -> Transport:
    """Return the transport of that name, not yet started."""
    module = importlib.import_module(f".{name}", __package__)
    transport: Transport = module.TRANSPORT()
    return transport
