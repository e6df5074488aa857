"""For tests of programs on Partisan: clusters, real processes, links that fail, a clock whose time passes at once.

Plain helpers, which know nothing of pytest; `partisan.testing.plugin` has its fixtures. See docs/testing.md.
"""

from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING as _TYPE_CHECKING

try:
    from partisan import _core as _core
except ImportError as error:  # the plugin loads, so that tests of what needs no core run
    _not_built = str(error)
    if not _TYPE_CHECKING:

        def __getattr__(name: str) -> object:
            if name.startswith("__") or _find_spec(f"{__name__}.{name}"):
                raise AttributeError(name)
            raise ImportError(_not_built)
else:
    from partisan.testing.clock import VirtualLoop as VirtualLoop
    from partisan.testing.clock import run_virtual as run_virtual
    from partisan.testing.clusters import FAST as FAST
    from partisan.testing.clusters import address_of as address_of
    from partisan.testing.clusters import cluster as cluster
    from partisan.testing.clusters import free_port as free_port
    from partisan.testing.clusters import fully_meshed as fully_meshed
    from partisan.testing.clusters import held as held
    from partisan.testing.clusters import join_all as join_all
    from partisan.testing.clusters import running as running
    from partisan.testing.network import cut as cut
    from partisan.testing.network import heal as heal
    from partisan.testing.network import slow as slow
    from partisan.testing.overlays import formed as formed
    from partisan.testing.probes import Events as Events
    from partisan.testing.probes import Probe as Probe
    from partisan.testing.processes import NodeProcess as NodeProcess
    from partisan.testing.processes import ProcessEnded as ProcessEnded
    from partisan.testing.processes import RanFailed as RanFailed
    from partisan.testing.processes import process_cluster as process_cluster
    from partisan.testing.waiting import eventually as eventually
    from partisan.testing.waiting import within as within
