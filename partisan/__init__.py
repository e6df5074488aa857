"""Partisan for Python: a distribution layer for actors that speaks the wire of Partisan 5.0.3.

The names here are what most programs need; each acts on the current node or process. Importing starts nothing.

    partisan.etf        the external term format
    partisan.machines   the protocols, as values without I/O
    partisan.names      node specs, contacts, addresses
    partisan.errors     every exception
    partisan.telemetry  every event
"""

from ._core.process import checkpoint as checkpoint
from ._core.process import receive as receive
from ._core.router import send as send
from .config import Config as Config
from .errors import *  # noqa: F403
from .errors import __all__ as _error_names
from .etf import Atom as Atom
from .etf import Pid as Pid
from .etf import Reference as Reference
from .names import DEFAULT_CHANNEL as DEFAULT_CHANNEL
from .names import Contact as Contact
from .names import NodeSpec as NodeSpec
from .runtime.current import exit as exit
from .runtime.current import node as node
from .runtime.current import self as self
from .runtime.facade import cast_message as cast_message
from .runtime.facade import forward_message as forward_message
from .runtime.facade import is_connected as is_connected
from .runtime.facade import is_fully_connected as is_fully_connected
from .runtime.facade import join as join
from .runtime.facade import leave as leave
from .runtime.facade import make_ref as make_ref
from .runtime.facade import members as members
from .runtime.facade import nodes as nodes
from .runtime.facade import register as register
from .runtime.facade import spawn as spawn
from .runtime.facade import unregister as unregister
from .runtime.facade import whereis as whereis
from .runtime.node import Node as Node
from .runtime.run import run as run

__version__ = "0.1.0"
