"""Let nodes of the BEAM and of Python say nothing to each other for a while but that they live.

    python tests/soak/silence.py --seconds 600

Each release that is here is connected twice: with ticks as OTP has them, and with short ones. In the end

    lost         a connection was lost meanwhile
    silent       a connection on which one side has said nothing, or a node that does not answer any more
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "interop"), str(Path(__file__).parents[2])]

import beams  # noqa: E402

from partisan import Atom  # noqa: E402
from partisan.testing import Events  # noqa: E402

TICKTIMES = (60, 8)
"""Seconds: OTP's, and a short one."""


async def watch(release: str, ticktime: int, epmd: int, seconds: float) -> list[str]:
    """Connect one pair, leave it alone, and say what was wrong."""
    node = await asyncio.to_thread(
        lambda: beams.Beam(release, "-kernel", "net_ticktime", str(ticktime), epmd_port=epmd)
    )
    wrong = []
    try:
        async with beams.python(epmd, net_ticktime=float(ticktime)) as py:
            assert await py.connect_node(node.name)
            events = Events(py, "partisan.socket.close")
            before = py.counters()
            await asyncio.sleep(seconds)
            after = py.counters()
            if events.seen or py.nodes() != [node.name]:
                wrong.append(f"lost: {release}, ticks of {ticktime} s: {events.seen}")
            ticks = {way: (after[way]["octets"] - before[way]["octets"]) // 4 for way in ("sent", "received")}
            if not all(ticks.values()) or await node.eval(f"net_adm:ping('{py.name}')") is not Atom("pong"):
                wrong.append(f"silent: {release}, ticks of {ticktime} s: {ticks}")
            print(f"{release}, ticks of {ticktime} s: {ticks['sent']} sent, {ticks['received']} received", flush=True)
    finally:
        node.kill()
    return wrong


def here(release: str) -> bool:
    """Whether a release can be run."""
    return beams.OTP28.exists() if release == "otp28" else shutil.which("erl") is not None


async def main(seconds: float) -> int:
    """Watch all pairs at once; 1 if anything was wrong."""
    releases = [release for release in beams.RELEASES if here(release)]
    if not releases:
        print("no erl is here: nothing was watched")
        return 0
    with contextlib.ExitStack() as stack:
        epmd = stack.enter_context(beams.daemon())
        pairs = [watch(release, ticktime, epmd, seconds) for release in releases for ticktime in TICKTIMES]
        wrong = [line for lines in await asyncio.gather(*pairs) for line in lines]
    print("\n".join(wrong) or f"{len(pairs)} connections lived {seconds:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    sys.exit(asyncio.run(main(parser.parse_args().seconds)))
