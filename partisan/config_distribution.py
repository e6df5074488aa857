"""The options of Erlang's distribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .config_load import group, option
from .errors import ConfigError

__all__ = ["Distribution"]

COOKIE_FILE = ".erlang.cookie"


@dataclass(frozen=True, slots=True)
class Distribution:
    """How a node takes part in a cluster of Erlang nodes, under its own name."""

    cookie: str | None = option(
        None,
        "The secret that both sides must know; without one, what the file `~/.erlang.cookie` says.",
        source="OTP",
        secret=True,
    )
    cookies: Mapping[str, str] = group(
        dict, "Other secrets, that single nodes must know: {node: secret}.", source="OTP", secret=True
    )
    their_cookies: Mapping[str, str] = group(
        dict,
        "Secrets that single nodes want this one to know, where they differ: {node: secret}.",
        source="OTP",
        secret=True,
    )
    hidden: bool = option(
        True,
        "Whether the node stays out of `nodes()` and of `global`, as a C node does; a published one is told of every "
        "node that its peers know.",
        source="OTP",
    )
    host: str = option("127.0.0.1", "The address on which Erlang nodes are listened to.")
    port: int = option(0, "The port there; 0 takes a free one.", unit="(TCP)", low=0, high=65535)
    epmd: bool = option(
        True,
        "Whether to register with the port mapper daemon of this host. Without, peers must know the port, and this "
        "node theirs: see `ports`.",
        source="OTP",
    )
    epmd_port: int | None = option(
        None, "Where daemons listen; without, ERL_EPMD_PORT or 4369.", source="OTP", low=1, high=65535
    )
    ports: Mapping[str, int] = group(dict, "Where nodes listen for whom no daemon is asked: {node: port}.")
    auto_connect: bool = option(
        True, "Whether a call, monitor or link of a node that is not connected connects to it.", source="OTP"
    )
    net_ticktime: float = option(
        60.0, "Silence after which a peer is gone; a quarter more at most.", source="OTP", unit="s", positive=True
    )
    net_tickintensity: int = option(
        4, "In so many parts `net_ticktime` is divided.", source="OTP", unit="parts", low=4, high=1000
    )
    setup_timeout: float = option(
        7.0, "The time for a connection and its handshake.", source="OTP net_setuptime", unit="s", positive=True
    )
    tls: bool = option(
        False,
        "Whether connections are TLS (`inet_tls_dist`), with the node's `tls_client_options` and `tls_server_options`.",
        source="OTP",
    )
    max_sequences: int = option(
        1024, "Messages of one peer of which pieces may be missing at a time.", unit="messages", low=1, high=1 << 20
    )

    def secrets(self, node: str) -> tuple[str, str]:
        """The secret that a node must know, and that which it wants us to know. Raises ConfigError: there is none."""
        ours = self.cookies.get(node)
        ours = self.secret() if ours is None else ours
        return ours, self.their_cookies.get(node, ours)

    def secret(self) -> str:
        """The cookie. Raises ConfigError: there is none."""
        if self.cookie is not None:
            return self.cookie
        path = Path.home() / COOKIE_FILE
        try:
            return path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("distribution.cookie", f"none is given, and {path} cannot be read: {error}") from error
