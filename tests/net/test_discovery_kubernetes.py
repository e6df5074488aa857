"""Nodes that are found as pods, in a stand-in of the API of Kubernetes; and what of its answers is believed."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from discovery_servers import KubeApi, found_by, pod, serving
from support import FAST, Events, eventually, free_port, fully_meshed

from partisan import ConfigError, Contact, DiscoveryFailed, Node, telemetry
from partisan.names import ListenAddress

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
NAMES = [f"shop-{number}@{host}" for number, host in enumerate(HOSTS)]
PODS = [pod(*name.split("@")) for name in NAMES]
SELECTOR = "app=shop,tag in (client,server)"


def by_kubernetes(api: KubeApi, **more: Any) -> dict[str, Any]:
    """The option of a node that asks this API server."""
    options = {key: more.pop(key) for key in ("initial_delay", "timeout", "max_nodes", "remove") if key in more}
    return found_by("kubernetes", {"api_server": api.url, "label_selector": SELECTOR, **more}, **options)


@contextlib.asynccontextmanager
async def looking(api: KubeApi, **more: Any) -> AsyncIterator[Node]:
    """A node that looks when it is told to."""
    async with Node("a@127.0.0.1:0", **FAST, **by_kubernetes(api, initial_delay=600.0, **more)) as node:
        yield node


async def test_three_nodes_find_each_other_as_pods_and_a_pod_that_is_gone_leaves() -> None:
    port = free_port()
    async with serving(KubeApi(PODS)) as api, contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                Node(name, listen_addrs=[f"{host}:{port}"], **FAST, **by_kubernetes(api, port=port))
            )
            for name, host in zip(NAMES, HOSTS, strict=True)
        ]
        await eventually(lambda: fully_meshed(*nodes), timeout=30.0)
        await nodes[2].stop()
        assert len(nodes[0].members()) == 3
        del api.pods[2]
        await eventually(lambda: fully_meshed(*nodes[:2]), timeout=30.0)
        await api.stop()
        await eventually(lambda: getattr(nodes[0].discovery.error, "reason", None) == "unreachable")
        assert fully_meshed(*nodes[:2])


async def test_pods_are_listed_page_by_page_with_the_token_and_the_selector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "t0ken")
    monkeypatch.setenv("PEER_PORT", "10201")
    pods = [pod(f"shop-{number}", f"10.0.0.{number}") for number in range(5)]
    async with serving(KubeApi(pods)) as api:
        monkeypatch.setenv("APISERVER", f"{api.url}/")
        async with looking(api, api_server="") as a:
            assert await a.discovery.lookup() == [
                Contact(ListenAddress(f"10.0.0.{number}", 10201), f"shop-{number}@10.0.0.{number}")
                for number in range(5)
            ]
        first = {"labelSelector": SELECTOR, "limit": "100"}
        assert api.asked == [
            ("/api/v1/pods", {**first, **more}, "Bearer t0ken") for more in ({}, {"continue": "2"}, {"continue": "4"})
        ]


async def test_the_token_of_the_service_account_is_read_at_each_lookup_and_a_namespace_narrows(tmp_path: Path) -> None:
    token = tmp_path / "token"
    async with serving(KubeApi(PODS[:1])) as api, looking(api, token_file=str(token), namespace="a/b") as a:
        for written in (None, "one\n", "two"):
            if written:
                token.write_text(written)
            await a.discovery.lookup()
        assert api.asked == [
            ("/api/v1/namespaces/a%2Fb/pods", {"labelSelector": SELECTOR, "limit": "100"}, shown)
            for shown in (None, "Bearer one", "Bearer two")
        ]


async def test_the_api_server_of_the_service_account_is_asked_over_tls_and_must_be_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    server = authority.issue("127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server.certfile, server.keyfile)
    async with serving(KubeApi(PODS), context) as api:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.port))
        async with looking(api, api_server="", token="t0ken", ca_file=authority.cacertfile) as a:
            assert len(await a.discovery.lookup()) == 3
            assert "t0ken" not in repr(a.config)
        asked = len(api.asked)
        async with looking(api, api_server="", token="t0ken") as a:
            with pytest.raises(DiscoveryFailed, match="certificate verify failed"):
                await a.discovery.lookup()
        assert len(api.asked) == asked


@pytest.mark.parametrize(
    ("wrong", "entry"),
    [
        (pod("w", None, phase="Pending"), "w"),
        (pod("w", ""), "w"),
        (pod("w", "no ip"), "w"),
        (pod("w", "10.0.0.1:80"), "w"),
        ({"metadata": {"name": "w"}}, "w"),
        ({"metadata": {"name": "w"}, "status": []}, "w"),
        ({"metadata": {"name": "w"}, "status": {"podIP": 7}}, "w"),
        ({"metadata": {"name": ["w"]}, "status": {"podIP": "10.0.0.1"}}, "['w']"),
        ({"metadata": {}, "status": {"podIP": "10.0.0.1"}}, "None"),
        (pod("w@x", "10.0.0.1"), "w@x"),
        (pod("w" * 200, "10.0.0.1"), "w" * 120 + "..."),
        ("a pod", "a pod"),
        (None, "None"),
    ],
)
async def test_a_pod_that_can_be_no_node_is_left_out_and_told(wrong: Any, entry: str) -> None:
    async with serving(KubeApi([wrong, PODS[1]])) as api, looking(api, port=7) as a:
        events = Events(a)
        assert [who.name for who in await a.discovery.lookup()] == [NAMES[1]]  # type: ignore[union-attr]
        [about] = events.of(telemetry.DISCOVERY_SKIPPED, backend="kubernetes")
        assert about["entry"] == entry


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_a_pod_that_has_ended_is_no_node_any_more(phase: str) -> None:
    async with serving(KubeApi([pod("over", "10.0.0.1", phase=phase), PODS[1]])) as api, looking(api) as a:
        events = Events(a)
        assert [who.name for who in await a.discovery.lookup()] == [NAMES[1]]  # type: ignore[union-attr]
        assert not events.of(telemetry.DISCOVERY_SKIPPED)


DEEP = b'{"items": ' + b"[" * 100_000


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        ("401 Unauthorized", b"{}", "refused"),
        ("403 Forbidden", b"{}", "refused"),
        ("302 Found", b"", "refused"),
        ("404 Not Found", b"{}", "not_found"),
        ("500 Oh", b"", "refused"),
        ("200 OK", b"", "malformed"),
        ("200 OK", b"<html>", "malformed"),
        ("200 OK", b"\xff\xfe", "malformed"),
        ("200 OK", DEEP, "malformed"),
        ("200 OK", b"[]", "malformed"),
        ("200 OK", b'{"items": 7}', "malformed"),
        ("200 OK", b'{"items": null}', "malformed"),
        ("200 OK", json.dumps({"items": [], "metadata": {"continue": "0"}}).encode(), "timeout"),
        ("200 OK", json.dumps({"items": PODS, "metadata": {"continue": "0"}}).encode(), "too_many"),
        ("200 OK", json.dumps({"items": PODS * 100}).encode(), "too_many"),
        ("200 OK", b" " * (33 << 20), "too_many"),
        ("nonsense", b"", "unreachable"),
    ],
)
async def test_an_answer_that_is_none_is_a_failed_lookup(status: str, body: bytes, reason: str) -> None:
    async with serving(KubeApi()) as api, looking(api, max_nodes=200, timeout=2.0) as a:
        api.status, api.body = status, body
        with pytest.raises(DiscoveryFailed) as caught:
            await a.discovery.lookup()
        assert caught.value.reason == reason
        assert all(path == "/api/v1/pods" for path, _, _ in api.asked)


async def test_a_token_is_not_sent_in_the_clear_to_another_machine() -> None:
    async with serving(KubeApi(PODS)) as api:
        elsewhere = f"http://kubernetes.invalid:{api.port}"
        async with looking(api, api_server=elsewhere, token="t0ken") as a:
            with pytest.raises(DiscoveryFailed, match="not sent in the clear"):
                await a.discovery.lookup()
        async with looking(api, api_server=f"http://localhost:{api.port}", token="t0ken") as a:
            assert len(await a.discovery.lookup()) == 3


@pytest.mark.parametrize("token", ["t0\nken", "t0\rken", "tökén"])
async def test_a_token_that_no_header_may_have_is_a_failed_lookup(token: str) -> None:
    async with serving(KubeApi(PODS)) as api, looking(api, token=token) as a:
        with pytest.raises(DiscoveryFailed, match="characters that no header may have"):
            await a.discovery.lookup()
        assert not api.asked


@pytest.mark.parametrize(
    ("option", "value", "environment"),
    [
        ("api_server", "", {}),
        ("api_server", "ftp://h", {}),
        ("api_server", "h:80", {}),
        ("port", 0, {"PEER_PORT": "x"}),
        ("port", 0, {"PEER_PORT": "0"}),
        ("port", 0, {"PEER_PORT": "65536"}),
    ],
)
async def test_what_cannot_be_meant_is_an_error_at_the_start(
    option: str, value: Any, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("APISERVER", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=rf"peer_discovery\.config\.{option}"):
        await Node("a@127.0.0.1:0", **by_kubernetes(KubeApi(), **{option: value})).start()
