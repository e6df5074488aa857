"""The workloads of the published experiments, one module each, by the name that a cell has for them."""

from __future__ import annotations

import importlib

from .base import Workload

MODULES = {"micro": "micro", "echo": "ring", "kvs": "ring", "head-of-line": "ring", "scale": "scale"}
"""Workload -> the module of its class, which is called WORKLOAD there."""


def find(name: str) -> type[Workload]:
    """Return the class of a workload. Raises LookupError where this package has no such one."""
    try:
        module = importlib.import_module(f".{MODULES[name]}", __package__)
    except (KeyError, ModuleNotFoundError) as error:
        raise LookupError(f"there is no workload {name!r}") from error
    workload: type[Workload] = module.WORKLOAD
    return workload
