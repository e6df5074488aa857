"""The relay of csrc/relay.h as a call, and two system calls that Python has from 3.12 on. Linux only."""

from collections.abc import Sequence

from typing_extensions import Buffer

HOSTS: int
TALLY: int
SMALL: int
LARGE: int

def leave_for_new_namespace() -> None:
    """Move the calling thread into a new network namespace."""

def enter_namespace(descriptor: int) -> None:
    """Move the calling thread into the network namespace that `descriptor` is open on."""

def carry(
    devices: Sequence[int],
    stops: Sequence[int],
    tallies: Buffer,
    *,
    first: int,
    delay: int,
    jitter: int,
    loss: int,
    octet: float,
    queue: int,
    reorder: bool,
    seed: int,
    smalls: int,
    larges: int,
) -> None:
    """Carry packets between TUN devices until one of `stops` can be read; without the interpreter's lock.

    Args:
        devices: descriptors of the TUN devices, not blocking; the number in the list is the host's.
        stops: descriptors, at most 4, that end the relay when they can be read.
        tallies: writable, TALLY octets a device: `struct tally` of csrc/packets.h, kept up to date.
        first: IPv4 address of host 0 as a number; the others follow.
        delay: of one way, in nanoseconds, as is `jitter`.
        loss: a packet is lost when a number below 2**64 is below this one.
        octet: nanoseconds that an octet takes on a sender's line; 0 is no limit.
        queue: octets that may wait for a line.
        smalls: packets of up to SMALL octets that may be on their way.
        larges: packets of up to LARGE octets that may.
    Raises:
        OSError: a device is gone.
    """
