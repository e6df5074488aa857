"""Certificates made while the tests run: an authority, and the certificates that it signs."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def common(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def alternative(name: str) -> x509.GeneralName:
    """`uri:...`, an IP address, or a DNS name."""
    if name.startswith("uri:"):
        return x509.UniformResourceIdentifier(name.removeprefix("uri:"))
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass(frozen=True)
class Identity:
    """The files of one certificate."""

    certfile: str
    keyfile: str

    def options(self, **more: Any) -> dict[str, Any]:
        return {"certfile": self.certfile, "keyfile": self.keyfile, **more}


class Authority:
    """A certificate authority of its own.

    Args:
        directory: where files go.
    Attributes:
        cacertfile: its own certificate.
    """

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._name = common(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._count = 0
        self._prefix = name
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            self._builder(self._name, self._key, now - DAY, now + 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.cacertfile = self._write("ca.pem", certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, since: datetime.datetime, until: datetime.datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
        )

    def _write(self, name: str, octets: bytes) -> str:
        path = self._directory / f"{self._prefix}-{name}"
        path.write_bytes(octets)
        return str(path)

    def issue(
        self, *names: str, common_name: str = "node", expired: bool = False, password: str | None = None
    ) -> Identity:
        """Make a certificate with these alternative names."""
        self._count += 1
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        since, until = (now - 2 * DAY, now - DAY) if expired else (now - DAY, now + 20 * DAY)
        builder = self._builder(common(common_name), key, since, until)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(map(alternative, names)), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        secret: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password is not None:
            secret = serialization.BestAvailableEncryption(password.encode())
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
        return Identity(
            self._write(f"{self._count}.pem", certificate.public_bytes(serialization.Encoding.PEM)),
            self._write(f"{self._count}.key", private),
        )

    def one_sided(self, shown: Identity) -> dict[str, Any]:
        """Options of a node that shows a certificate to who dials it, and asks for none."""
        return {
            "tls": True,
            "tls_client_options": {"cacertfile": self.cacertfile},
            "tls_server_options": shown.options(),
        }

    def mutual(self, shown: Identity) -> dict[str, Any]:
        """Options of a node of a cluster with mutual TLS."""
        trusted = shown.options(cacertfile=self.cacertfile)
        server = {**trusted, "verify": "verify_peer", "fail_if_no_peer_cert": True}
        return {"tls": True, "tls_client_options": trusted, "tls_server_options": server}
