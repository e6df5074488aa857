"""How the values of nodes are written in traces: `partisan.machines.record` has the rest."""

from __future__ import annotations

from partisan.etf import Codec
from partisan.machines.record import Forms
from partisan.wire.order import spec_key


def forms_of_terms(payloads: bool = True) -> Forms:
    """Terms in the external format, and the functions among the options of nodes by their names."""
    codec = Codec(binaries="bytes", none="undefined", strings="binary")
    return Forms(
        functions={"spec_key": spec_key},
        encode=lambda term: bytes(codec.encode(term)),
        decode=codec.decode,
        payloads=payloads,
    )
