"""The options of peer discovery: how other nodes are found, how often, and what becomes of who is not found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from .config_load import Written, build, group, option
from .errors import ConfigError

__all__ = [
    "BACKENDS",
    "DiscoveryConfig",
    "DnsDiscoveryConfig",
    "KubernetesDiscoveryConfig",
    "ListDiscoveryConfig",
    "RedisDiscoveryConfig",
]

OPTION = "peer_discovery"

Class: TypeAlias = type

_PORT: dict[str, Any] = {"low": 0, "high": 65535}


@dataclass(frozen=True, slots=True)
class ListDiscoveryConfig:
    """Options of `type = "list"`: the addresses are said here."""

    addresses: tuple[str, ...] = option(
        (),
        "Where nodes listen, each as `name@host:port`, or `name@host` for the port at which this node listens; the "
        "host is an IP address or a name, which each lookup looks up. This node may be among them.",
        source="partisan 5.0.3",
    )


@dataclass(frozen=True, slots=True)
class DnsDiscoveryConfig:
    """Options of `type = "dns"`: records of a name are asked for."""

    record_type: Literal["a", "aaaa", "srv", "fqdns"] = option(
        "fqdns",
        "`a` and `aaaa`: each address is a node, named by it. `srv`: each target is one, named by it, at the port of "
        "the record. `fqdns`: each address is one, named by the host name that a reverse lookup gives.",
        source="partisan 5.0.3",
    )
    query: str = option("", "The full name whose records are asked for.", source="partisan 5.0.3")
    node_basename: str = option("", "What nodes are called before the `@`.", source="partisan 5.0.3")
    port: int = option(
        0, "Where nodes listen, if the record does not say; 0 is where this node does.", unit="port", **_PORT
    )
    nameservers: tuple[str, ...] = option(
        (),
        "Whom to ask, each as `ip`, `ip:port` or `[ip]:port`, in turn; those of the system if there are none.",
        source="partisan 5.0.3",
    )
    alt_nameservers: tuple[str, ...] = option(
        (), "Whom to ask when none of `nameservers` answers.", source="partisan 5.0.3"
    )
    inet6: bool = option(
        False, "Hosts of `srv` and `fqdns` are looked up as IPv6 addresses (AAAA).", source="partisan 5.0.3"
    )


@dataclass(frozen=True, slots=True)
class KubernetesDiscoveryConfig:
    """Options of `type = "kubernetes"`: the pods that the API of the cluster lists. Empty: what the pod is told."""

    label_selector: str = option(
        "", "Which pods are nodes, as in `app=shop,tag in (client,server)`; it has to be given."
    )
    namespace: str = option(
        "", "Whose pods; those of every namespace if it is empty, as partisan 5.0.3 asks.", source="partisan 5.0.3"
    )
    api_server: str = option(
        "",
        "The URL of the API server. Empty: the variable `APISERVER` (partisan 5.0.3), else what the service account of "
        "the pod uses.",
    )
    token: str = option(
        "",
        "What this node shows to the API server. Empty: the variable `TOKEN` (partisan 5.0.3), else what `token_file` "
        "has at each lookup.",
        secret=True,
    )
    token_file: str = option(
        "/var/run/secrets/kubernetes.io/serviceaccount/token", "The token of the service account.", source="kubernetes"
    )
    ca_file: str = option(
        "",
        "The authorities whose certificates are trusted, as PEM. Empty: those of the service account, else the "
        "system's.",
    )
    port: int = option(
        0,
        "Where nodes listen. 0: the variable `PEER_PORT`, else 9090 (partisan 5.0.3).",
        source="partisan 5.0.3",
        unit="port",
        **_PORT,
    )


@dataclass(frozen=True, slots=True)
class RedisDiscoveryConfig:
    """Options of `type = "redis"`: nodes say in Redis who they are, as with partisan 5.0.3's strategy for compose."""

    url: str = option(
        "",
        "`redis://[user:password@]host:port/database`, `rediss://` for TLS, or `unix://path`. Empty: the variables "
        "`REDIS_SERVICE_HOST` and `REDIS_SERVICE_PORT` (partisan 5.0.3), else 127.0.0.1:6379.",
        secret=True,
    )
    identifier: str = option(
        "undefined",
        "The cluster: nodes see those with the same identifier and timestamp (partisan's `evaluation_identifier`).",
        source="partisan 5.0.3",
        pattern=r"[^/\x00]{1,255}",
        form="1 to 255 characters without a slash",
    )
    timestamp: int = option(
        0, "The start of the cluster (partisan's `evaluation_timestamp`).", source="partisan 5.0.3", low=0
    )
    tag: str = option(
        "",
        "The role under which this node is found. Empty: the node's `tag`, else `server`.",
        pattern=r"[^/\x00]{0,255}",
        form="at most 255 characters without a slash",
    )
    tags: tuple[str, ...] = option(
        ("client", "server"),
        "The roles that are looked for.",
        source="partisan 5.0.3",
        pattern=r"[^/\x00]{1,255}",
        form="1 to 255 characters without a slash",
    )
    ttl: float = option(
        180.0,
        "How long this node is found after it has last looked (partisan 5.0.3: for ever); at least twice the "
        "`polling_interval`.",
        unit="s",
        low=1,
    )


BACKENDS: Final[Mapping[str, type]] = {
    "list": ListDiscoveryConfig,
    "dns": DnsDiscoveryConfig,
    "kubernetes": KubernetesDiscoveryConfig,
    "redis": RedisDiscoveryConfig,
}
"""The ways that come with the package, and their options."""

_REQUIRED = {"list": ("addresses",), "dns": ("query", "node_basename"), "kubernetes": ("label_selector",), "redis": ()}


@dataclass(frozen=True, slots=True)
class DiscoveryConfig:
    """Options of peer discovery: see docs/discovery.md."""

    enabled: bool = option(
        False,
        "Whether other nodes are looked for from the start; `enable` and `disable` follow.",
        source="partisan 5.0.3",
    )
    type: str | Class | None = option(  # noqa: RUF009  # the rule takes the annotation for the field above
        None,
        "How: `list`, `dns`, `kubernetes`, `redis`, a class of one's own (see `partisan.discovery.Backend`), or the "
        "place of one as `module:Class`.",
        source="partisan 5.0.3",
    )
    initial_delay: float = option(
        10.0, "Time from the start of the node to the first lookup.", source="partisan 5.0.3", unit="s", low=0
    )
    polling_interval: float = option(
        60.0, "Time between two lookups.", source="partisan 5.0.3", unit="s", live=True, positive=True
    )
    timeout: float = option(
        5.0, "How long a lookup may take.", source="partisan 5.0.3", unit="s", live=True, positive=True
    )
    remove: bool = option(
        True,
        "Members that a lookup does not find leave, as in partisan 5.0.3. Where what is found are only seeds: false.",
        source="partisan 5.0.3",
        live=True,
    )
    max_nodes: int = option(
        4096, "A lookup that finds more has failed: nobody joins or leaves for it.", unit="nodes", live=True, low=1
    )
    config: Mapping[str, Any] = group(dict, "The options of `type`; see below.", source="partisan 5.0.3", secret=True)

    settings: Any = field(init=False, repr=False, compare=False)
    """The options of `type` as its dataclass; the mapping itself for a class of one's own."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", self._settings())
        if self.type is None and self.enabled:
            known = ", ".join(BACKENDS)
            raise ConfigError(f"{OPTION}.type", f"discovery is enabled: say how, as {known}, a class or module:Class")
        if isinstance(self.settings, RedisDiscoveryConfig) and self.settings.ttl < 2 * self.polling_interval:
            problem = f"{self.settings.ttl:g} s is below twice the polling_interval, {self.polling_interval:g} s"
            raise ConfigError(f"{OPTION}.config.ttl", problem)

    def _settings(self) -> Any:
        kind = self.type if isinstance(self.type, str) else ""
        if kind not in BACKENDS:
            if kind and ":" not in kind:
                problem = f"there is no {kind!r}: give {', '.join(BACKENDS)}, a class or module:Class"
                raise ConfigError(f"{OPTION}.type", problem)
            return MappingProxyType(dict(self.config))
        path = f"{OPTION}.config"
        # What comes from the environment has lost that it was written: numbers are read from text here as there.
        written = {name: Written(value) if type(value) is str else value for name, value in self.config.items()}
        settings: Any = build(BACKENDS[kind], written, path)
        for name in _REQUIRED[kind]:
            if not getattr(settings, name):
                raise ConfigError(f"{path}.{name}", f"{kind} needs it")
        return settings
