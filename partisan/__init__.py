"""Partisan for Python: a distribution layer for actors that speaks the wire of Partisan 5.0.3.

The names here are what most programs need; each acts on the current node or process. Importing starts nothing.

    partisan.etf        the external term format
    partisan.gen        servers and their kin; the values that callbacks return
    partisan.peer_service   the membership: join, leave, hear of members
    partisan.discovery  how nodes find each other
    partisan.remote_ref     references to processes, names and references of other nodes
    partisan.machines   the protocols, as values without I/O
    partisan.names      node specs, contacts, addresses
    partisan.errors     every exception
    partisan.telemetry  every event
"""

from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING as _TYPE_CHECKING

from .config import Config as Config
from .config_distribution import Distribution as Distribution
from .errors import AckUnsupported as AckUnsupported
from .errors import AlreadyPresent as AlreadyPresent
from .errors import AlreadyStarted as AlreadyStarted
from .errors import BadChildSpec as BadChildSpec
from .errors import BadRef as BadRef
from .errors import BadReturn as BadReturn
from .errors import BadRpc as BadRpc
from .errors import CallTimeout as CallTimeout
from .errors import ChildError as ChildError
from .errors import ChildNotFound as ChildNotFound
from .errors import ChildRestarting as ChildRestarting
from .errors import ChildRunning as ChildRunning
from .errors import ConfigError as ConfigError
from .errors import ConnectFailed as ConnectFailed
from .errors import ConnectionLost as ConnectionLost
from .errors import DecodeError as DecodeError
from .errors import DiscoveryDisabled as DiscoveryDisabled
from .errors import DiscoveryFailed as DiscoveryFailed
from .errors import DrainTimeout as DrainTimeout
from .errors import EncodeError as EncodeError
from .errors import EpmdError as EpmdError
from .errors import ErlangError as ErlangError
from .errors import ErpcError as ErpcError
from .errors import ErpcException as ErpcException
from .errors import ErpcNoConnection as ErpcNoConnection
from .errors import ErpcTimeout as ErpcTimeout
from .errors import Exit as Exit
from .errors import FrameError as FrameError
from .errors import HandshakeError as HandshakeError
from .errors import LinkUnsupported as LinkUnsupported
from .errors import LocalProtocolError as LocalProtocolError
from .errors import MembershipTooLarge as MembershipTooLarge
from .errors import MissingExtra as MissingExtra
from .errors import NameTaken as NameTaken
from .errors import NoAvailableSlots as NoAvailableSlots
from .errors import NodeDown as NodeDown
from .errors import NoProc as NoProc
from .errors import NotAcknowledged as NotAcknowledged
from .errors import NotAllowed as NotAllowed
from .errors import NotConnected as NotConnected
from .errors import NotInProcess as NotInProcess
from .errors import OnlyByPid as OnlyByPid
from .errors import Overloaded as Overloaded
from .errors import PartisanError as PartisanError
from .errors import ProtocolError as ProtocolError
from .errors import ReceiveTimeout as ReceiveTimeout
from .errors import RemoteExit as RemoteExit
from .errors import RemoteProtocolError as RemoteProtocolError
from .errors import RpcTimeout as RpcTimeout
from .errors import SpawnRefused as SpawnRefused
from .errors import StartFailed as StartFailed
from .errors import StateError as StateError
from .errors import TermError as TermError
from .errors import Throw as Throw
from .errors import Truncated as Truncated
from .errors import Unacknowledged as Unacknowledged
from .errors import UndefinedFunction as UndefinedFunction
from .errors import WrongThread as WrongThread
from .names import DEFAULT_CHANNEL as DEFAULT_CHANNEL
from .names import Contact as Contact
from .names import NodeSpec as NodeSpec

try:
    from . import _core as _core
except ImportError as error:
    # The machines, the names and the options work without the compiled core; whatever needs it says why it cannot.
    _not_built = str(error)
else:
    _not_built = ""
    from ._core.process import checkpoint as checkpoint
    from ._core.process import receive as receive
    from ._core.router import send as send
    from .etf import Atom as Atom
    from .etf import Pid as Pid
    from .etf import Reference as Reference
    from .gen.event import GenEvent as GenEvent
    from .gen.server import GenServer as GenServer
    from .gen.server import call as call
    from .gen.server import cast as cast
    from .gen.statem import GenStatem as GenStatem
    from .gen.supervisor import ChildSpec as ChildSpec
    from .gen.supervisor import Supervisor as Supervisor
    from .runtime.allow import expose as expose
    from .runtime.current import exit as exit
    from .runtime.current import node as node
    from .runtime.current import self as self
    from .runtime.facade import broadcast as broadcast
    from .runtime.facade import cancel_timer as cancel_timer
    from .runtime.facade import cast_message as cast_message
    from .runtime.facade import channel_opts as channel_opts
    from .runtime.facade import default_channel as default_channel
    from .runtime.facade import demonitor as demonitor
    from .runtime.facade import disconnect_node as disconnect_node
    from .runtime.facade import forward_message as forward_message
    from .runtime.facade import is_alive as is_alive
    from .runtime.facade import is_connected as is_connected
    from .runtime.facade import is_fully_connected as is_fully_connected
    from .runtime.facade import is_local as is_local
    from .runtime.facade import is_local_name as is_local_name
    from .runtime.facade import is_local_pid as is_local_pid
    from .runtime.facade import is_local_reference as is_local_reference
    from .runtime.facade import is_pid as is_pid
    from .runtime.facade import is_process_alive as is_process_alive
    from .runtime.facade import is_process_alive_at as is_process_alive_at
    from .runtime.facade import is_reference as is_reference
    from .runtime.facade import is_self as is_self
    from .runtime.facade import join as join
    from .runtime.facade import kill_connections as kill_connections
    from .runtime.facade import leave as leave
    from .runtime.facade import link as link
    from .runtime.facade import make_ref as make_ref
    from .runtime.facade import members as members
    from .runtime.facade import monitor as monitor
    from .runtime.facade import monitor_node as monitor_node
    from .runtime.facade import monitor_nodes as monitor_nodes
    from .runtime.facade import node_info as node_info
    from .runtime.facade import node_spec as node_spec
    from .runtime.facade import nodes as nodes
    from .runtime.facade import nodestring as nodestring
    from .runtime.facade import offload as offload
    from .runtime.facade import process_info as process_info
    from .runtime.facade import processes as processes
    from .runtime.facade import reconfigure as reconfigure
    from .runtime.facade import register as register
    from .runtime.facade import send_after as send_after
    from .runtime.facade import send_message as send_message
    from .runtime.facade import spawn as spawn
    from .runtime.facade import spawn_at as spawn_at
    from .runtime.facade import spawn_link as spawn_link
    from .runtime.facade import spawn_link_at as spawn_link_at
    from .runtime.facade import spawn_monitor as spawn_monitor
    from .runtime.facade import spawn_monitor_at as spawn_monitor_at
    from .runtime.facade import spawn_opt as spawn_opt
    from .runtime.facade import start as start
    from .runtime.facade import stop as stop
    from .runtime.facade import trap_exit as trap_exit
    from .runtime.facade import unlink as unlink
    from .runtime.facade import unregister as unregister
    from .runtime.facade import whereis as whereis
    from .runtime.facade import whereis_at as whereis_at
    from .runtime.node import Node as Node
    from .runtime.run import run as run

__version__ = "0.1.0"

if _TYPE_CHECKING:
    from . import discovery as discovery
    from . import erpc as erpc
    from . import faults as faults
    from . import peer_service as peer_service
    from . import plumtree as plumtree
    from . import remote_ref as remote_ref
    from . import rpc as rpc
    from . import testing as testing
else:

    def __getattr__(name: str) -> object:
        """A module of the package that nobody has imported yet: `import partisan` is enough to name it."""
        if name.startswith("_") or not _find_spec(f"{__name__}.{name}"):
            if _not_built and not name.startswith("_"):
                raise ImportError(_not_built)
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return _import_module(f"{__name__}.{name}")
