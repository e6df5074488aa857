"""Host names of contacts: looked up once, before a machine hears of the contact."""

from __future__ import annotations

import asyncio
import socket
from typing import TypeVar

from partisan.errors import ConfigError, ConnectFailed
from partisan.names import Contact, HostContact, ListenAddress

T = TypeVar("T")


async def resolved(contact: T, timeout: float) -> T | Contact:
    """The contact, with its addresses in the resolver's order if it is a text with a port; else as it is.

    Args:
        contact: whom to join; only of `name@host:port` and `host:port` the host may be a name.
        timeout: seconds that the resolver has.
    Raises:
        ConfigError: the text has a port, but another form.
        ConnectFailed: the host is not known, or the resolver has not answered in time.
    """
    if not isinstance(contact, str) or ":" not in contact:
        return contact
    place = HostContact.parse(contact)
    try:
        return Contact(ListenAddress(place.host, place.port), place.name)
    except ConfigError:
        first, *others = await _addresses(contact, place, timeout)
    return Contact(first, place.name, tuple(others))


async def _addresses(contact: str, place: HostContact, timeout: float) -> list[ListenAddress]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise ConnectFailed(contact, f"the host {place.host!r} was not found within {timeout} s") from None
    except (OSError, UnicodeError) as error:
        raise ConnectFailed(contact, f"the host {place.host!r} is not found: {error}") from error
    addresses = [ListenAddress(str(where[0]), place.port) for *_, where in found]
    if not addresses:
        raise ConnectFailed(contact, f"the host {place.host!r} has no address")
    return list(dict.fromkeys(addresses))
