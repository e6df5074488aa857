"""The TLS options of a node, and what of them does not go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .config_load import option
from .errors import ConfigError

__all__ = ["TlsClientConfig", "TlsConfig", "TlsServerConfig", "check_tls"]


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """TLS options of both roles, under the names that they have in Erlang's `ssl`. Files are PEM."""

    certfile: str | None = option(
        None, "The certificate to show, followed by the intermediate ones of its chain.", source="OTP ssl", live=True
    )
    keyfile: str | None = option(
        None, "Its private key; where this is not given, the key is in `certfile`.", source="OTP ssl", live=True
    )
    password: str | None = option(
        None, "What the private key is encrypted with.", source="OTP ssl", live=True, secret=True
    )
    cacertfile: str | None = option(
        None,
        "The authorities whose certificates are trusted. A dialler without takes the system's.",
        source="OTP ssl",
        live=True,
    )
    verify_name: bool = option(
        True,
        "Whether a certificate that was verified must also be bound to the name of the node that shows it "
        "(docs/tls.md). Without, any certificate of a trusted authority speaks for any node.",
        live=True,
    )
    versions: tuple[Literal["tlsv1.2", "tlsv1.3"], ...] = option(
        ("tlsv1.2", "tlsv1.3"), "The versions that may be spoken.", source="OTP ssl", live=True
    )
    ciphers: tuple[str, ...] = option(
        (),
        "Cipher suites of TLS 1.2 that may be used, under their names in OpenSSL; without any, OpenSSL's own choice. "
        "Those of TLS 1.3 cannot be chosen.",
        source="OTP ssl",
        live=True,
    )


@dataclass(frozen=True, slots=True)
class TlsClientConfig(TlsConfig):
    """TLS options of the connections that the node dials."""

    verify: Literal["verify_none", "verify_peer"] = option(
        "verify_peer",
        "Whether the certificate of whoever answers is verified; `verify_none` hides what is sent from those who only "
        "listen, and from nobody else.",
        source="OTP 26 ssl",
        live=True,
    )


@dataclass(frozen=True, slots=True)
class TlsServerConfig(TlsConfig):
    """TLS options of the connections that the node accepts."""

    verify: Literal["verify_none", "verify_peer"] = option(
        "verify_none",
        "Whether whoever dials is asked for a certificate, and what is shown is verified.",
        source="OTP ssl",
        live=True,
    )
    fail_if_no_peer_cert: bool = option(
        False,
        "With `verify_peer`: refuse who shows none. Both together are mutual TLS.",
        source="OTP ssl",
        live=True,
    )


def check_tls(client: TlsClientConfig, server: TlsServerConfig) -> None:
    """Refuse what no connection could be made with. Raises ConfigError."""
    both: tuple[tuple[str, TlsConfig], ...] = (("tls_client_options", client), ("tls_server_options", server))
    for role, options in both:
        if options.keyfile is not None and options.certfile is None:
            raise ConfigError(f"{role}.certfile", "there is a keyfile, but no certificate that it belongs to")
        if not options.versions:
            raise ConfigError(f"{role}.versions", "it is empty: no TLS could be spoken")
    if server.certfile is None:
        raise ConfigError("tls_server_options.certfile", "a node with tls shows a certificate to those who dial it")
    if server.fail_if_no_peer_cert and server.verify != "verify_peer":
        raise ConfigError("tls_server_options.fail_if_no_peer_cert", "it needs verify = verify_peer")
    if server.verify == "verify_peer" and server.cacertfile is None:
        raise ConfigError("tls_server_options.cacertfile", "verify_peer needs the authorities to trust")
