"""TLS without a socket: the rule that binds a certificate to a name, pieces, what errors mean, options."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan.config import Config
from partisan.errors import ConfigError, FrameError, HandshakeError
from partisan.net.certificates import is_bound, names_in
from partisan.net.tls import PIECE, RECORD, explained, pieces

# The rule.

A = "a@node.example.org"


def certificate(*names: tuple[str, str], common: str | None = None) -> dict[str, Any]:
    """A certificate in the form in which `ssl` tells it."""
    found: dict[str, Any] = {"subject": ((("organizationName", A),),), "subjectAltName": names}
    if common is not None:
        found["subject"] += ((("commonName", common),),)
    return found


@pytest.mark.parametrize(
    ("shown", "node", "bound"),
    [
        (certificate(("DNS", "node.example.org")), A, True),
        (certificate(("DNS", "NODE.example.org.")), A, True),
        (certificate(("DNS", "other.org"), ("DNS", "node.example.org")), A, True),
        (certificate(("DNS", "*.example.org")), A, True),
        (certificate(("DNS", "*.example.org")), "a@x.node.example.org", False),
        (certificate(("DNS", "*.example.org")), "a@example.org", False),
        (certificate(("DNS", "*.org")), "a@example.org", False),
        (certificate(("DNS", "*")), "a@localhost", False),
        (certificate(("DNS", "n*.example.org")), A, False),
        (certificate(("DNS", "example.org")), A, False),
        (certificate(("DNS", "node.example.org.evil.net")), A, False),
        (certificate(("DNS", "")), "a@", False),
        (certificate(("DNS", "127.0.0.1")), "a@127.0.0.1", True),
        (certificate(("IP Address", "127.0.0.1")), "a@127.0.0.1", True),
        (certificate(("IP Address", "127.0.0.2")), "a@127.0.0.1", False),
        (certificate(("IP Address", "0:0:0:0:0:0:0:1\n")), "a@::1", True),
        (certificate(("IP Address", "127.0.0.1")), "a@localhost", False),
        (certificate(("URI", f"partisan:{A}")), A, True),
        (certificate(("URI", f"partisan:{A}")), "b@node.example.org", False),
        (certificate(("URI", "partisan:b@node.example.org"), ("DNS", "node.example.org")), A, False),
        (certificate(("URI", f"partisan:{A}"), ("URI", "partisan:b@c")), "b@c", True),
        (certificate(("URI", "https://node.example.org"), ("DNS", "node.example.org")), A, True),
        (certificate(("URI", f"https://{A}")), A, False),
        (certificate(common=A), A, True),
        (certificate(("DNS", "node.example.org"), common="b@node.example.org"), A, False),
        (certificate(("DNS", "node.example.org"), common="anything"), A, True),
        (certificate(common="node.example.org"), A, False),
        (certificate(), A, False),
        ({}, A, False),
    ],
)
def test_a_certificate_is_bound_to_a_node_or_is_not(shown: dict[str, Any], node: str, bound: bool) -> None:
    assert is_bound(shown, node) is bound


def test_the_names_of_a_certificate_can_be_shown() -> None:
    assert names_in(certificate(("DNS", "x"), ("IP Address", "::1"), common="x")) == "x, ::1"
    assert names_in({}) == "nobody"


# Pieces.


@given(st.lists(st.integers(0, 3 * PIECE), max_size=12))
def test_pieces_are_the_segments_and_only_the_last_is_shorter_than_a_record(sizes: list[int]) -> None:
    segments = [bytes([number]) * size for number, size in enumerate(sizes)]
    found = list(pieces([memoryview(segment) for segment in segments]))
    assert b"".join(map(bytes, found)) == b"".join(segments)
    assert all(0 < len(piece) <= PIECE for piece in found)
    assert all(len(piece) >= RECORD for piece in found[:-1])


# What errors mean.


def ssl_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] ...")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "reason", "says"),
    [
        (ssl_error("WRONG_VERSION_NUMBER"), "tls", "does not speak TLS"),
        (ssl_error("HTTP_REQUEST"), "http", "HTTP client"),
        (ssl_error("PEER_DID_NOT_RETURN_A_CERTIFICATE"), "certificate", "the peer showed none"),
        (ssl_error("TLSV1_ALERT_UNKNOWN_CA"), "certificate", "the peer does not accept that of this node"),
        (ssl_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "certificate", "certificate required"),
        (ssl_error("NO_SHARED_CIPHER"), "tls", "no shared cipher"),
        (FrameError("oversized", 0x16030102), "tls", "the peer speaks TLS"),
        (FrameError("oversized", int.from_bytes(b"HTTP")), "http", "HTTP was spoken"),
    ],
)
def test_an_error_before_the_hello_says_what_it_means(error: Exception, reason: str, says: str) -> None:
    found = explained(error, "p@h")
    assert isinstance(found, HandshakeError)
    assert (found.reason, found.peer) == (reason, "p@h")
    assert says in str(found)


@pytest.mark.parametrize(
    "error", [FrameError("oversized", 0x7FFFFFFF), FrameError("empty", 0), ConnectionResetError(), ValueError()]
)
def test_an_error_that_means_nothing_else_stays_what_it_is(error: Exception) -> None:
    assert explained(error, None) is error


# Options.

SHOWN = {"certfile": "cert.pem"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"tls_server_options\.certfile: a node with tls shows"),
        (
            {"tls_server_options": SHOWN, "tls_client_options": {"keyfile": "key.pem"}},
            r"tls_client_options\.certfile: there is a keyfile",
        ),
        ({"tls_server_options": {**SHOWN, "versions": []}}, r"tls_server_options\.versions: it is empty"),
        (
            {"tls_server_options": {**SHOWN, "versions": ["tlsv1"]}},
            r"tls_server_options\.versions\[0\]: 'tlsv1' is not",
        ),
        (
            {"tls_server_options": {**SHOWN, "fail_if_no_peer_cert": True}},
            r"tls_server_options\.fail_if_no_peer_cert: it needs",
        ),
        (
            {"tls_server_options": {**SHOWN, "verify": "verify_peer"}},
            r"tls_server_options\.cacertfile: verify_peer needs",
        ),
        (
            {"tls_server_options": {**SHOWN, "fail_if_no_peer_cert": 1}},
            r"tls_server_options\.fail_if_no_peer_cert: 1",
        ),
        (
            {"tls_client_options": {"fail_if_no_peer_cert": True}},
            r"tls_client_options\.fail_if_no_peer_cert: there",
        ),
        ({"tls_server_options": {**SHOWN, "verify": "verify"}}, r"tls_server_options\.verify: 'verify' is not one of"),
    ],
)
def test_options_that_make_no_sense_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"option {message}"):
        Config.load({"tls": True, **options}, environment={})


def test_options_may_wait_for_tls_to_be_switched_on() -> None:
    config = Config.load({"tls_client_options": {"keyfile": "key.pem"}}, environment={})
    assert config.tls_client_options.keyfile == "key.pem"


def test_a_password_is_shown_nowhere() -> None:
    secret = {"password": "hunter2"}
    config = Config.load({"tls_client_options": secret, "tls_server_options": secret}, environment={})
    assert config.tls_client_options.password == "hunter2"
    assert "hunter2" not in repr(config)
    with pytest.raises(ConfigError, match=r"option tls_client_options\.password: its value is not text") as caught:
        Config.load({"tls_client_options": {"password": b"hunter2"}}, environment={})
    assert "hunter2" not in str(caught.value)
