"""Nodes that say in Redis who they are, as with `partisan_compose_orchestration_strategy`.

Each node keeps the key `partisan/IDENTIFIER/TIMESTAMP/TAG/NODE`, whose value is its spec in the external term format,
and reads those of the tags it looks for: real nodes write and read the same. What is different: a key has a time to
live, which each lookup renews, and goes when discovery stops; a real node's stays for ever. The graph of the cluster,
which real nodes keep under other keys, is left alone.

A Redis that was started anew, or was out of reach for longer than keys live, lacks nodes until each has looked once
more. A node sees that by its own key, which should be there, and from then on takes what it had found for good for as
long as keys live.

What others have written is a stranger's: values that are too long, no spec, or another node's than the key says are
left out and told.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from partisan.config_discovery import RedisDiscoveryConfig
from partisan.errors import ConfigError, DiscoveryFailed, RemoteProtocolError, TermError
from partisan.etf import Codec, encode
from partisan.names import NodeSpec
from partisan.runtime.discovery_backend import Here
from partisan.runtime.membership_calls import Who
from partisan.wire.spec import spec_from_term, spec_to_term

__all__ = ["RedisDiscovery", "prefix_of", "spec_of"]

MOST_OCTETS = 64 * 1024
"""The longest spec that is read: of a longer value the beginning, which is no term (ours)."""

MOST_KEYS_FACTOR = 4
"""How many keys are looked at for each node that may be found (ours)."""

SCAN_COUNT = 500
"""Keys that Redis looks at in one step, so that others are served in between (ours)."""

_CODEC = Codec(max_depth=16, max_items=4096, max_octets=MOST_OCTETS, max_inflated=MOST_OCTETS)


def prefix_of(config: RedisDiscoveryConfig, tag: str) -> str:
    """What the keys of the nodes with a tag begin with (partisan-upper, section 8.2)."""
    return f"partisan/{config.identifier}/{config.timestamp}/{tag}/"


def spec_of(name: bytes, value: bytes) -> NodeSpec:
    """Read what the node of that name is to have written. Raises RemoteProtocolError, TermError."""
    spec = spec_from_term(_CODEC.decode(value))
    if spec.name.encode() != name:
        raise RemoteProtocolError(f"the value is the spec of {spec.name}")
    return spec


class RedisDiscovery:
    """See the module."""

    def __init__(self, config: RedisDiscoveryConfig, here: Here) -> None:
        self._config = config
        self._here = here
        self._tag = config.tag or here.config.tag or "server"
        self._client: redis.asyncio.Redis | None = None
        self._found: dict[str, NodeSpec] = {}
        self._written = False  # our own key: it should be there
        self._lost_until = 0.0  # when everybody has written again what Redis has lost
        url(config)  # what is wrong with it is said at the start

    async def lookup(self) -> Sequence[Who]:
        """Write who this node is, and read who the others are."""
        try:
            return await self._look()
        except redis.exceptions.TimeoutError as error:
            raise DiscoveryFailed("redis", "timeout", str(error)) from error
        except (redis.exceptions.ConnectionError, OSError) as error:
            refused = isinstance(error, redis.exceptions.AuthenticationError)
            raise DiscoveryFailed("redis", "refused" if refused else "unreachable", str(error)) from error
        except redis.exceptions.ResponseError as error:
            raise DiscoveryFailed("redis", "refused", str(error)) from error
        except redis.exceptions.RedisError as error:
            raise DiscoveryFailed("redis", "malformed", repr(error)) from error

    async def _look(self) -> list[Who]:
        client = self._connected()
        own = prefix_of(self._config, self._tag) + self._here.spec.name
        now, ttl = self._here.clock(), self._config.ttl
        value = encode(spec_to_term(self._here.spec))
        pipe = client.pipeline(transaction=True)
        pipe.exists(own)
        pipe.set(own, value, px=int(ttl * 1000))
        existed, _ = await pipe.execute()
        if not existed and self._written:
            self._lost_until = now + ttl
        self._written = True
        found: dict[str, NodeSpec] = {}
        for tag in dict.fromkeys(self._config.tags):
            found |= await self._read(client, prefix_of(self._config, tag))
        if now < self._lost_until:
            found = {**self._found, **found}
        self._found = found
        return list(found.values())

    async def _read(self, client: redis.asyncio.Redis, prefix: str) -> dict[str, NodeSpec]:
        """The specs below a prefix, by name."""
        pattern = re.sub(r"([*?\[\]^\\])", r"\\\1", prefix) + "*"
        most = self._here.config.peer_discovery.max_nodes
        keys: dict[bytes, None] = {}
        async for key in client.scan_iter(match=pattern, count=SCAN_COUNT):
            keys[key] = None
            if len(keys) > most * MOST_KEYS_FACTOR:
                raise DiscoveryFailed("redis", "too_many", f"more than {most * MOST_KEYS_FACTOR} keys {prefix}*")
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.getrange(key, 0, MOST_OCTETS - 1)
        values = await pipe.execute(raise_on_error=False) if keys else []
        found = {}
        for key, value in sorted(zip(keys, values, strict=True), key=lambda pair: pair[0]):
            spec = self._spec(key, value, len(prefix.encode()))
            if spec is not None:
                found[spec.name] = spec
        return found

    def _spec(self, key: bytes, value: Any, prefix_octets: int) -> NodeSpec | None:
        """The spec that a key holds, or None if it holds none."""
        shown = key.decode(errors="backslashreplace")
        if isinstance(value, redis.exceptions.ResponseError):  # as of a key that holds a list
            self._here.skip(shown, value)
        elif isinstance(value, Exception):
            raise value
        elif value:  # else it has expired since
            try:
                return spec_of(key[prefix_octets:], value)
            except (RemoteProtocolError, TermError) as error:
                self._here.skip(shown, error)
        return None

    def _connected(self) -> redis.asyncio.Redis:
        if self._client is None:
            self._client = redis.asyncio.Redis.from_url(
                url(self._config),
                decode_responses=False,
                protocol=2,
                socket_timeout=None,  # the time of a lookup is kept by whoever begins it, and may change
                socket_connect_timeout=None,
                retry=Retry(NoBackoff(), 1),  # as of a connection that has gone since the last lookup
            )
        return self._client

    async def close(self) -> None:
        """Take the own key away, as far as that goes, and close."""
        client, self._client = self._client, None
        if client is None:
            return
        try:
            if self._written:
                await client.delete(prefix_of(self._config, self._tag) + self._here.spec.name)
        except (redis.exceptions.RedisError, OSError) as error:
            raise DiscoveryFailed("redis", "unreachable", f"the own key stays until it expires: {error}") from error
        finally:
            self._written, self._lost_until = False, 0.0
            self._found = {}
            await client.aclose()


def url(config: RedisDiscoveryConfig) -> str:
    """Where Redis is. Raises ConfigError."""
    host = os.environ.get("REDIS_SERVICE_HOST", "127.0.0.1")
    port = os.environ.get("REDIS_SERVICE_PORT", "6379")
    found = config.url or f"redis://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        redis.asyncio.connection.parse_url(found)
    except ValueError:
        raise ConfigError("peer_discovery.config.url", "it is no URL of Redis") from None  # it may have a password
    return found
