"""TLS material: certificate files made contexts, and the rule that binds a certificate to a node's name.

A certificate that was verified is bound to the node `name@host` if one of these holds:

1. it has an alternative name of type URI that is `partisan:name@host`, or a common name that is `name@host`. A
   certificate with any such name, of this node or of another, is for those nodes alone, and rule 2 does not apply;
2. it has an alternative name of type DNS or IP that is the part behind the `@`: it is for every node of that host. A
   DNS name may begin with `*.`, which stands for one label (RFC 6125, section 6.4.3).
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from typing import Any

from partisan.config import Config, TlsClientConfig, TlsConfig, TlsServerConfig
from partisan.errors import ConfigError

URI_PREFIX = "partisan:"
"""What the URI of a node begins with in a certificate (ours)."""

VERSIONS = {"tlsv1.2": ssl.TLSVersion.TLSv1_2, "tlsv1.3": ssl.TLSVersion.TLSv1_3}

CHUNK = 128 << 10
"""Octets received from a socket before they are decrypted (ours)."""


class TlsMaterial:
    """What the connections of a node need for TLS, made from files; a connection keeps what it began with.

    Args:
        config: whose `tls_client_options` and `tls_server_options` say which files.
    Raises:
        ConfigError: a file cannot be used; the error has the option's name.
    Attributes:
        client: the context of connections that are dialled.
        server: the context of connections that are accepted.
        buffer: where encrypted octets are received; shared, and emptied before it is used again.
    """

    client: ssl.SSLContext
    server: ssl.SSLContext

    def __init__(self, config: Config) -> None:
        self._config = config
        self.buffer = memoryview(bytearray(CHUNK))
        self.reload()

    def reload(self, config: Config | None = None) -> None:
        """Read the files again, by other options if they are given: connections made from now on use them.

        Raises ConfigError as the constructor does; then everything stays as it was.
        """
        config = config or self._config
        client, server = make_client(config.tls_client_options), make_server(config.tls_server_options)
        self._config, self.client, self.server = config, client, server

    def verifies_name(self, acceptor: bool) -> bool:
        """Whether a certificate that was shown must be bound to its node's name."""
        options = self._config.tls_server_options if acceptor else self._config.tls_client_options
        return options.verify_name and options.verify == "verify_peer"

    def proves_every_dialler(self) -> bool:
        """Whether no dialler is heard before its certificate has proved its name."""
        return self.verifies_name(acceptor=True) and self._config.tls_server_options.fail_if_no_peer_cert


def make_client(options: TlsClientConfig) -> ssl.SSLContext:
    """The context of connections that are dialled. Raises ConfigError."""
    role = "tls_client_options"
    context = _make(ssl.PROTOCOL_TLS_CLIENT, options, role)
    if options.verify == "verify_peer":
        context.verify_mode = ssl.CERT_REQUIRED
        if options.cacertfile is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def make_server(options: TlsServerConfig) -> ssl.SSLContext:
    """The context of connections that are accepted. Raises ConfigError."""
    context = _make(ssl.PROTOCOL_TLS_SERVER, options, "tls_server_options")
    if options.verify == "verify_peer":
        context.verify_mode = ssl.CERT_REQUIRED if options.fail_if_no_peer_cert else ssl.CERT_OPTIONAL
    context.num_tickets = 0  # nothing is resumed
    return context


def _make(protocol: int, options: TlsConfig, role: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False  # a node's name is checked when it has said it: see `is_bound`
    context.verify_mode = ssl.CERT_NONE
    context.options |= ssl.OP_NO_RENEGOTIATION
    versions = sorted(VERSIONS[version] for version in options.versions)
    context.minimum_version, context.maximum_version = versions[0], versions[-1]
    if options.ciphers:
        try:
            context.set_ciphers(":".join(options.ciphers))
        except ssl.SSLError as error:
            problem = f"OpenSSL knows none of {', '.join(options.ciphers)}"
            raise ConfigError(f"{role}.ciphers", problem) from error
    if options.cacertfile is not None:
        _load_authorities(context, options.cacertfile, f"{role}.cacertfile")
    if options.certfile is not None:
        _load_certificate(context, options, role)
    return context


def _read(path: str, option: str, what: str) -> str:
    """The text of a PEM file that holds at least one `what`."""
    try:
        with open(path, encoding="latin-1") as file:
            text = file.read()
    except OSError as error:
        raise ConfigError(option, f"the file {path!r} cannot be read: {error.strerror}") from error
    if f"{what}-----" not in text:
        raise ConfigError(option, f"the file {path!r} holds no {what.lower()} in PEM form")
    return text


def _load_authorities(context: ssl.SSLContext, path: str, option: str) -> None:
    _read(path, option, "CERTIFICATE")
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigError(option, f"the file {path!r} holds a broken certificate: {reason_of(error)}") from error


def _load_certificate(context: ssl.SSLContext, options: TlsConfig, role: str) -> None:
    certfile, keyfile = options.certfile or "", options.keyfile or options.certfile or ""
    whose = f"{role}.{'keyfile' if options.keyfile is not None else 'certfile'}"
    _read(certfile, f"{role}.certfile", "CERTIFICATE")
    key = _read(keyfile, whose, "PRIVATE KEY")
    asked = False

    def password() -> str:
        nonlocal asked
        asked = True
        return options.password or ""  # an empty one is wrong, where OpenSSL would ask the terminal for another

    try:
        context.load_cert_chain(certfile, keyfile, password=password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"the key in {keyfile!r} is not that of the certificate in {certfile!r}"
            raise ConfigError(whose, problem) from error
        if asked or "ENCRYPTED" in key:
            wrong = "is wrong" if options.password is not None else "is missing"
            raise ConfigError(f"{role}.password", f"the key in {keyfile!r} is encrypted, and it {wrong}") from error
        problem = f"{certfile!r} and {keyfile!r} cannot be used: {reason_of(error)}"
        raise ConfigError(f"{role}.certfile", problem) from error


def reason_of(error: ssl.SSLError) -> str:
    """What OpenSSL says, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    return (error.reason or str(error)).replace("_", " ").lower()


def is_bound(certificate: Mapping[str, Any], node: str) -> bool:
    """Whether a certificate, as `SSLObject.getpeercert()` gives it, is bound to the node of this name."""
    alternatives: tuple[tuple[str, str], ...] = certificate.get("subjectAltName", ())
    own = {value.removeprefix(URI_PREFIX) for kind, value in alternatives if kind == "URI" and _is_node(value)}
    subject: tuple[tuple[tuple[str, str], ...], ...] = certificate.get("subject", ())
    own |= {value for part in subject for kind, value in part if kind == "commonName" and "@" in value}
    if own:
        return node in own
    host = node.partition("@")[2]
    return any(_is_host(kind, value, host) for kind, value in alternatives)


def names_in(certificate: Mapping[str, Any]) -> str:
    """The names of a certificate, for people."""
    names = [value for _, value in certificate.get("subjectAltName", ())]
    names += [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return ", ".join(dict.fromkeys(names)) or "nobody"


def _is_node(uri: str) -> bool:
    return uri.startswith(URI_PREFIX) and "@" in uri


def _is_host(kind: str, value: str, host: str) -> bool:
    if kind == "DNS":
        value, host = value.lower().rstrip("."), host.lower().rstrip(".")
        if value.startswith("*."):
            label, dot, rest = host.partition(".")
            return bool(label and dot) and value[2:] == rest and "." in rest
        return value == host != ""
    if kind == "IP Address":
        try:
            return ipaddress.ip_address(value.strip()) == ipaddress.ip_address(host)
        except ValueError:
            return False
    return False
