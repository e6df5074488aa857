"""Nodes that are pods of a Kubernetes cluster, as with `partisan_kubernetes_orchestration_strategy`.

The API server lists the pods that a label selector chooses; the pod POD at the address IP is the node POD@IP. Pods that
have ended are no nodes, and those that have no address yet are none so far. The token and the authorities of the pod's
service account are read at each lookup, as the kubelet renews them. The account must be allowed to `list` pods.

Lists come in pages. A token is not sent in the clear, but to this machine itself, and redirections are not followed.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from partisan.config import NODE_NAME
from partisan.config_discovery import KubernetesDiscoveryConfig
from partisan.errors import ConfigError, DiscoveryFailed
from partisan.names import Contact, ListenAddress
from partisan.runtime.discovery_backend import Here
from partisan.runtime.membership_calls import Who

__all__ = ["KubernetesDiscovery", "contact_of", "page_of"]

SERVICE_ACCOUNT_CA = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"

PAGE = 100
"""Pods in a page: what takes some milliseconds to read (ours)."""

MOST_OCTETS = 32 * 1024 * 1024
"""The longest page that is read (ours)."""

MOST_TOKEN = 64 * 1024
"""Characters of a token (ours)."""

ENDED = ("Succeeded", "Failed")
"""Phases of pods that have ended: they keep their addresses."""


def page_of(body: bytes) -> tuple[list[Any], str]:
    """Read a page of a list of pods; return them, and the token of the next page, or "". Raises DiscoveryFailed."""
    try:
        page = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DiscoveryFailed("kubernetes", "malformed", f"no JSON: {error}") from error
    items = page.get("items") if isinstance(page, dict) else None
    if not isinstance(items, list):
        raise DiscoveryFailed("kubernetes", "malformed", "it is no list of pods")
    metadata = page.get("metadata")
    more = metadata.get("continue") if isinstance(metadata, dict) else None
    return items, more if isinstance(more, str) else ""


def contact_of(pod: Any, port: int) -> Contact | None:
    """Return the node that a pod is; None if it has ended. Raises ValueError: it can be none."""
    metadata, status = (pod.get(key) if isinstance(pod, dict) else None for key in ("metadata", "status"))
    if not isinstance(metadata, dict) or not isinstance(status, dict):
        raise ValueError("it is no pod")
    if status.get("phase") in ENDED:
        return None
    ip, pod_name = status.get("podIP"), metadata.get("name")
    if not isinstance(ip, str) or not ip:
        raise ValueError("it has no podIP")
    address = str(ipaddress.ip_address(ip))
    name = f"{pod_name}@{address}"
    if not isinstance(pod_name, str) or not re.fullmatch(NODE_NAME, name):
        raise ValueError("its name is no name")
    return Contact(ListenAddress(address, port), name)


class KubernetesDiscovery:
    """See the module."""

    def __init__(self, config: KubernetesDiscoveryConfig, here: Here) -> None:
        self._config = config
        self._here = here
        self._url = api_server(config)
        self._port = peer_port(config)
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("peer_discovery.config.api_server", f"{self._url!r} is no http or https URL")
        self._clear = parts.scheme == "http" and not is_loopback(parts.hostname)

    async def lookup(self) -> Sequence[Who]:
        """List the pods."""
        space = f"namespaces/{quote(self._config.namespace, safe='')}/" if self._config.namespace else ""
        url = f"{self._url.rstrip('/')}/api/v1/{space}pods"
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **self._authorization()}
        pods: list[Any] = []
        try:
            connector = aiohttp.TCPConnector(ssl=self._tls()) if url.startswith("https") else None
            async with aiohttp.ClientSession(
                connector=connector, headers=headers, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            ) as session:
                page, more = page_of(await self._get(session, url, ""))
                pods += page
                while more:
                    page, more = page_of(await self._get(session, url, more))
                    pods += page
                    self._check_count(len(pods))
        except TimeoutError as error:
            raise DiscoveryFailed("kubernetes", "timeout", str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise DiscoveryFailed("kubernetes", "unreachable", str(error)) from error
        self._check_count(len(pods))
        return [contact for pod in pods for contact in self._contact(pod)]

    async def _get(self, session: aiohttp.ClientSession, url: str, more: str) -> bytes:
        """The body of one page."""
        query = {"labelSelector": self._config.label_selector, "limit": str(PAGE)}
        if more:
            query["continue"] = more
        async with session.get(url, params=query, allow_redirects=False) as answer:
            if answer.status != 200:
                reason = "not_found" if answer.status == 404 else "refused"
                raise DiscoveryFailed("kubernetes", reason, f"HTTP status {answer.status} of {url}")
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > MOST_OCTETS:
                    raise DiscoveryFailed("kubernetes", "too_many", f"a page has more than {MOST_OCTETS} octets")
            return bytes(body)

    def _contact(self, pod: Any) -> list[Contact]:
        try:
            found = contact_of(pod, self._port)
        except ValueError as error:
            metadata = pod.get("metadata") if isinstance(pod, dict) else None
            named = metadata.get("name") if isinstance(metadata, dict) else pod
            self._here.skip(named if isinstance(named, str) else repr(named), error)
            return []
        return [] if found is None else [found]

    def _check_count(self, count: int) -> None:
        most = self._here.config.peer_discovery.max_nodes
        if count > most:
            raise DiscoveryFailed("kubernetes", "too_many", f"more pods than max_nodes, {most}")

    def _authorization(self) -> dict[str, str]:
        token = self._config.token or os.environ.get("TOKEN", "")
        try:
            token = token or Path(self._config.token_file).read_text(encoding="ascii")[:MOST_TOKEN]
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeError) as error:
            raise DiscoveryFailed("kubernetes", "failed", f"the token cannot be read: {error}") from error
        token = token.strip()
        if not token.isascii() or not token.isprintable():
            raise DiscoveryFailed("kubernetes", "failed", "the token has characters that no header may have")
        if self._clear:
            raise DiscoveryFailed("kubernetes", "failed", f"the token is not sent in the clear to {self._url}")
        return {"Authorization": f"Bearer {token}"}

    def _tls(self) -> ssl.SSLContext:
        authorities = self._config.ca_file or (SERVICE_ACCOUNT_CA if Path(SERVICE_ACCOUNT_CA).exists() else None)
        try:
            return ssl.create_default_context(cafile=authorities)
        except OSError as error:
            raise DiscoveryFailed("kubernetes", "failed", f"the authorities in {authorities}: {error}") from error

    async def close(self) -> None:
        """Nothing is held between lookups."""


def is_loopback(host: str) -> bool:
    """Whether this is the machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def api_server(config: KubernetesDiscoveryConfig) -> str:
    """The URL of the API server. Raises ConfigError."""
    found = config.api_server or os.environ.get("APISERVER", "")
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    if not found and not host:
        raise ConfigError("peer_discovery.config.api_server", "it has to be given: this is no pod")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return found or f"https://{f'[{host}]' if ':' in host else host}:{port}"


def peer_port(config: KubernetesDiscoveryConfig) -> int:
    """Where nodes listen. Raises ConfigError."""
    written = os.environ.get("PEER_PORT", "9090")
    if config.port:
        return config.port
    if not written.isascii() or not written.isdecimal() or not 1 <= int(written[:6]) <= 65535:
        raise ConfigError("peer_discovery.config.port", f"PEER_PORT, {written!r}, is no port")
    return int(written)
