"""What a type checker says of options and events; `make types` runs it, nothing executes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, assert_type

from partisan.config import ChannelConfig, CodecConfig, Config, PingConfig, TlsClientConfig, TlsServerConfig
from partisan.telemetry import Telemetry


def options(config: Config) -> None:
    assert_type(Config.load({"parallelism": 2}), Config)
    assert_type(config.name, str | None)
    assert_type(config.listen_addrs, tuple[str, ...])
    assert_type(config.channels, Mapping[str, ChannelConfig])
    assert_type(config.channel("data").compression, bool | int)
    assert_type(config.channel("data").queue_policy, Literal["wait", "error", "drop_oldest"])
    assert_type(config.connection_ping, PingConfig)
    assert_type(config.connection_ping.idle_timeout, float)
    assert_type(config.codec, CodecConfig)
    assert_type(config.tls_client_options, TlsClientConfig)
    assert_type(config.tls_server_options, TlsServerConfig)
    assert_type(config.tls_server_options.certfile, str | None)
    assert_type(config.tls_server_options.versions, tuple[Literal["tlsv1.2", "tlsv1.3"], ...])
    assert_type(config.tag, str | None)


def events(telemetry: Telemetry) -> None:
    assert_type(telemetry.wants("partisan.socket.open"), bool)
    assert_type(telemetry.counters(), dict[str, int])
