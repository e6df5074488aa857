"""Erlang's distribution over TLS, with OTP's own options: `-proto_dist inet_tls -ssl_dist_optfile`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from authority import Authority, Identity
from beams import Beam, Raised, fresh, python
from support import eventually

from partisan import Atom, ConnectFailed, HandshakeError, rpc
from partisan.testing import Events

PONG, PANG = Atom("pong"), Atom("pang")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def optfile(directory: Path, authority: Authority, shown: Identity) -> str:
    """The file of options that the documentation of OTP describes."""
    files = (
        f'{{certfile, "{shown.certfile}"}}, {{keyfile, "{shown.keyfile}"}}, {{cacertfile, "{authority.cacertfile}"}}'
    )
    both = f"{files}, {{verify, verify_peer}}"
    path = directory / "ssl_dist.conf"
    path.write_text(f"[{{server, [{both}, {{fail_if_no_peer_cert, true}}]}},\n {{client, [{both}]}}].\n")
    return str(path)


def short(name: str) -> str:
    """The name on a host that a certificate can name: OTP compares no addresses."""
    return fresh(name).partition("@")[0] + "@localhost"


def secured(release: str, epmd: int, directory: Path, authority: Authority, shown: Identity) -> Beam:
    """A node that speaks TLS; skips if this runtime cannot."""
    plain = Beam(release, epmd_port=epmd)
    try:
        if isinstance(plain.ask("code:lib_dir(ssl)"), tuple):
            pytest.skip(f"the runtime of {release} has no ssl: install Debian's erlang-ssl")
    finally:
        plain.kill()
    options = ("-proto_dist", "inet_tls", "-ssl_dist_optfile", optfile(directory, authority, shown))
    return Beam(release, *options, name=short(release), names="-sname", epmd_port=epmd)


def options_of(authority: Authority, shown: Identity) -> dict[str, Any]:
    mutual = authority.mutual(shown)
    return {key: value for key, value in mutual.items() if key != "tls"}


async def test_nodes_are_connected_over_tls_from_both_sides(
    release: str, epmd: int, authority: Authority, tmp_path: Path
) -> None:
    shown = authority.issue("localhost")
    node = secured(release, epmd, tmp_path, authority, shown)
    try:
        for _ in range(2):
            async with python(epmd, name=short("py"), tls=True, node=options_of(authority, shown)) as py:
                large = "x" * 300_000
                assert await py.connect_node(node.name)
                assert await rpc.call(node.name, "erlang", "byte_size", [large]) == 300_000
                assert await node.eval(f"net_adm:ping('{py.name}')") is PONG
            await eventually(lambda: not node.ask("nodes(connected)"))
            async with python(epmd, name=short("py"), tls=True, node=options_of(authority, shown)) as py:
                py.expose(lambda octets: octets * 2, "work:double")
                assert await node.eval(f"net_adm:ping('{py.name}')") is PONG
                doubled = f"byte_size(rpc:call('{py.name}', work, double, [binary:copy(<<1>>, 300000)]))"
                assert await node.eval(doubled) == 600_000
    finally:
        node.kill()


async def test_who_is_certified_by_another_authority_is_refused(
    release: str, epmd: int, authority: Authority, tmp_path: Path
) -> None:
    node = secured(release, epmd, tmp_path, authority, authority.issue("localhost"))
    other = Authority(tmp_path, "other")
    try:
        strange = options_of(other, other.issue("localhost"))
        async with python(epmd, name=short("py"), tls=True, node=strange) as py:
            events = Events(py, "partisan.socket.error")
            far: Any = py._far
            with pytest.raises(ConnectFailed) as failed:
                await far.connect(node.name)
            assert isinstance(failed.value.__cause__, HandshakeError)
            assert await node.eval(f"net_adm:ping('{py.name}')") is PANG
            reasons = {about["error"].reason for about in events.of("partisan.socket.error")}
            assert "certificate" in reasons
    finally:
        node.kill()


async def test_a_name_to_which_the_certificate_is_not_bound_is_refused(
    release: str, epmd: int, authority: Authority, tmp_path: Path
) -> None:
    elsewhere = authority.issue("elsewhere.example")
    node = secured(release, epmd, tmp_path, authority, elsewhere)
    try:
        shown = options_of(authority, authority.issue("localhost"))
        async with python(epmd, name=short("py"), tls=True, node=shown) as py:
            far: Any = py._far
            with pytest.raises(ConnectFailed) as failed:
                await far.connect(node.name)
            assert isinstance(failed.value.__cause__, HandshakeError)
            assert failed.value.__cause__.reason == "certificate"
            assert py.nodes() == []
    finally:
        node.kill()


async def test_one_side_without_tls_is_told(release: str, epmd: int, authority: Authority, tmp_path: Path) -> None:
    node = secured(release, epmd, tmp_path, authority, authority.issue("localhost"))
    try:
        async with python(epmd, name=short("py")) as py:
            assert not await py.connect_node(node.name)
            assert await node.eval(f"net_adm:ping('{py.name}')") is PANG
            with pytest.raises(Raised):
                await node.eval("error(still_there)")
    finally:
        node.kill()
