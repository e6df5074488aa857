"""The Python blocks of docs/discovery.md run as they are written, with real servers where they name one."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from discovery_servers import Dns, KubeApi, Redis, pod, serving
from support import FAST, eventually, free_port, running

import partisan
from partisan import Node
from partisan.etf import encode
from partisan.wire.spec import spec_to_term

BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGE = Path(__file__).parents[2] / "docs" / "discovery.md"
LIST, CALLS, DNS, KUBERNETES, REDIS, OWN = BLOCK.findall(PAGE.read_text())

Change = Callable[[str], str]


@contextlib.asynccontextmanager
async def by_list(folder: Path, said: list[Any]) -> AsyncIterator[Change]:
    async with Node(f"b@127.0.0.1:{free_port()}", **FAST) as b:
        mine, port = free_port(), b.listen_addrs[0].port
        yield lambda block: block.replace("10200", str(mine)).replace("10201", str(port))


@contextlib.asynccontextmanager
async def by_calls(folder: Path, said: list[Any]) -> AsyncIterator[Change]:
    options = {"enabled": True, "type": "list", "config": {"addresses": ["b@127.0.0.1:1"]}}
    async with Node("a@127.0.0.1:0", peer_discovery=options):
        yield str
    assert said == [("enabled", ["b@127.0.0.1 at 127.0.0.1:1"])]


@contextlib.asynccontextmanager
async def by_dns(folder: Path, said: list[Any]) -> AsyncIterator[Change]:
    server = Dns(folder)
    server.knows("127.0.0.1 n1.shop.test", "127.0.0.2 n2.shop.test")
    services = [f"--srv-host=_partisan._tcp.shop.test,n{number}.shop.test,10200" for number in (1, 2)]
    async with serving(server, *services):
        asked = f'"nameservers": ["{server.address}"], "record_type"'
        yield lambda block: block.replace("10200", "0").replace('"record_type"', asked)
    assert said == [(["shop@n1.shop.test", "shop@n2.shop.test"],)]


@contextlib.asynccontextmanager
async def by_kubernetes(folder: Path, said: list[Any]) -> AsyncIterator[Change]:
    async with serving(KubeApi([pod("shop-0", "127.0.0.1"), pod("shop-1", "127.0.0.2")])) as api:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("APISERVER", api.url)
            patch.setenv("POD_NAME", "shop-0")
            patch.setenv("POD_IP", "127.0.0.1")
            yield lambda block: block.replace(":9090", ":0")
        [(path, query, _)] = api.asked
        assert (path, query["labelSelector"]) == ("/api/v1/namespaces/default/pods", "app=shop")
    assert said == [(["shop-0@127.0.0.1", "shop-1@127.0.0.2"],)]


@contextlib.asynccontextmanager
async def by_redis(folder: Path, said: list[Any]) -> AsyncIterator[Change]:
    import redis

    async with serving(Redis(folder)) as server, running("b") as [b]:
        with redis.Redis.from_url(server.url) as client:
            client.set("partisan/shop/0/client/b@127.0.0.1", encode(spec_to_term(b.spec)))
        yield lambda block: block.replace("6379", str(server.port)).replace("10200", "0")
    assert said == [(["b@127.0.0.1", "a@127.0.0.1"],)]


@contextlib.asynccontextmanager
async def by_own(folder: Path, said: list[Any]) -> AsyncIterator[Change]:
    path = folder / "nodes.json"
    path.write_text(json.dumps({"b@127.0.0.1": "127.0.0.1:10201", "c@127.0.0.1": "nowhere"}))
    yield lambda block: block.replace("nodes.json", str(path)).replace("10200", "0")
    assert said == [(["b@127.0.0.1"],)]


Setting = Callable[[Path, list[Any]], AbstractAsyncContextManager[Change]]


@pytest.mark.parametrize(
    ("block", "setting"),
    [(LIST, by_list), (CALLS, by_calls), (DNS, by_dns), (KUBERNETES, by_kubernetes), (REDIS, by_redis), (OWN, by_own)],
    ids=["list", "calls", "dns", "kubernetes", "redis", "own"],
)
async def test_a_block_of_the_page_runs_as_it_is_written(block: str, setting: Setting, tmp_path: Path) -> None:
    said: list[Any] = []
    scope: dict[str, Any] = {
        "__name__": "page",
        "asyncio": asyncio,
        "eventually": eventually,
        "partisan": partisan,
        "print": lambda *words: said.append(words),
    }
    async with setting(tmp_path, said) as change:
        code = compile(change(block), "discovery.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        found = eval(code, scope)
        if inspect.isawaitable(found):
            await found
