"""The protocols whose traces can be replayed, by the names that recorders give them."""

from __future__ import annotations

from partisan.machines.client_server import ClientServer
from partisan.machines.full import FullMembership
from partisan.machines.hyparview import HyParView
from partisan.machines.monitor import Monitor
from partisan.machines.scamp_v1 import ScampV1
from partisan.machines.scamp_v2 import ScampV2
from partisan.machines.static import Static
from partisan.sim.flood import Flooding
from partisan.sim.record import Answered, Make

MAKERS: dict[str, Make] = {
    "full": lambda config: lambda peer, rng, saved: FullMembership(peer, config, rng, saved),
    "scamp_v1": lambda config: lambda peer, rng, saved: ScampV1(peer, config, rng, saved),
    "scamp_v2": lambda config: lambda peer, rng, saved: ScampV2(peer, config, rng, saved),
    "hyparview": lambda config: lambda peer, rng, saved: HyParView(peer, config, rng, saved),
    "client_server": lambda config: lambda peer, rng, saved: ClientServer(peer, config, rng, saved),
    "static": lambda config: lambda peer, rng, saved: Static(peer, config, rng, saved),
    "hyparview+oracle": lambda config: (
        lambda peer, rng, saved: Answered(lambda answers: HyParView(peer, config, rng, saved, answers))
    ),
    "monitor": lambda config: lambda peer, rng, saved: Answered(lambda answers: Monitor(peer, config, rng, answers)),
    "hyparview+flood": lambda config: lambda peer, rng, saved: Flooding(HyParView(peer, config, rng, saved)),
    "hyparview+oracle+flood": lambda config: (
        lambda peer, rng, saved: Answered(lambda answers: Flooding(HyParView(peer, config, rng, saved, answers)))
    ),
}
"""Protocol -> options -> what builds its machines."""
