"""The compiled core: octets in, terms and wake-ups out. It knows no clock and no event loop.

Sockets are descriptors here, read and written (by `stream`) when somebody says so; everything else sees octets only.

Raises:
    ImportError: the extensions are not built for this Python. Nothing replaces them: `partisan.machines`,
        `partisan.names`, `partisan.config` and `partisan.errors` work without, everything else needs them.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec(".terms", __name__) is None:
    others = sorted(path.name for path in Path(__file__).parent.glob("terms.*.so"))
    raise ImportError(
        f"the compiled core of partisan is not built for Python {sys.version_info.major}.{sys.version_info.minor}"
        + (f" (there is {', '.join(others)})" if others else "")
        + ": install a wheel (pip install partisan), or in a checkout run `make compile`, or"
        " `pip install --no-build-isolation -e .`, with a C compiler and the headers of Python"
    )
