"""Network namespaces and TUN devices by system calls: what a host of an emulated network is made of. Linux, root.

Nothing here has a name outside: a namespace lives as long as a process is in it or a descriptor is open on it, and a
TUN device as long as its descriptor. So whatever ends the process that holds them removes them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

DEVICE = "net0"
"""The name of the device in every namespace."""

NETWORK = IPv4Address("10.77.0.0")
PREFIX = "255.255.255.0"

MTU = 65535
"""The greatest that IPv4 and TUN have, in octets; the loopback device has 65536."""

QUEUE_PACKETS = 4096
"""How many packets a device keeps until the relay reads them; it drops what comes on top."""

END_SECONDS = 5.0
"""How long a killed process may take to end."""

TUN = "/dev/net/tun"
# linux/if_tun.h
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 0x01, 0x02, 0x04
# linux/sockios.h, linux/if.h
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFMTU, SIOCSIFTXQLEN = (
    0x8913,
    0x8914,
    0x8916,
    0x891C,
    0x8922,
    0x8943,
)
IFF_UP = 0x1


@dataclass(frozen=True, slots=True)
class Host:
    """Open descriptors of a host: of its namespace and of its TUN device."""

    namespace: int
    device: int


def address_of(host: int) -> IPv4Address:
    """Return the address of a host, 0 being the first."""
    return NETWORK + 1 + host


def make_host(number: int, mtu: int) -> Host:
    """Make a namespace with its loopback and a TUN device up; return open descriptors. The thread is in it then."""
    from .relay import leave_for_new_namespace  # compiled on Linux only

    leave_for_new_namespace()
    namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with contextlib.suppress(FileNotFoundError):  # no IPv6 in this kernel
        # Else the kernel sends its own packets of IPv6 to look for routers.
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    device = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(device, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _number(control, SIOCSIFMTU, mtu)
        _number(control, SIOCSIFTXQLEN, QUEUE_PACKETS)
        _address(control, SIOCSIFADDR, address_of(number))
        _address(control, SIOCSIFNETMASK, IPv4Address(PREFIX))
        _up(control, "lo")
        _up(control, DEVICE)
    return Host(namespace, device)


def _number(control: socket.socket, request: int, value: int) -> None:
    fcntl.ioctl(control, request, struct.pack("16si20x", DEVICE.encode(), value))


def _address(control: socket.socket, request: int, address: IPv4Address) -> None:
    fcntl.ioctl(control, request, struct.pack("16sHH4s16x", DEVICE.encode(), socket.AF_INET, 0, address.packed))


def _up(control: socket.socket, name: str) -> None:
    asked = struct.pack("16sH22x", name.encode(), 0)
    flags = struct.unpack_from("H", fcntl.ioctl(control, SIOCGIFFLAGS, asked), 16)[0]
    fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags | IFF_UP))


def inhabitants(namespaces: Collection[int]) -> list[int]:
    """Return the ids of other processes that are in one of the namespaces, given as inode numbers."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            with contextlib.suppress(OSError):  # it has ended
                if os.stat(f"/proc/{name}/ns/net").st_ino in namespaces:
                    found.append(int(name))
    return found


def end_inhabitants(namespaces: Collection[int]) -> None:
    """Kill whatever is still in one of the namespaces, as its network is gone, and wait for its end."""
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline and (left := inhabitants(namespaces)):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            await_end(pid, deadline - time.monotonic())


def await_end(pid: int, seconds: float) -> bool:
    """Wait until a process, of anyone's, has ended; return whether it has."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], max(0.0, seconds))[0])
    finally:
        os.close(descriptor)
