"""Discovery without a network: its options, and whom a lookup makes the membership."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan import Config, ConfigError, Contact, DiscoveryFailed, MissingExtra, NodeSpec
from partisan.config_discovery import BACKENDS, RedisDiscoveryConfig
from partisan.discovery.by_kubernetes import contact_of, page_of
from partisan.discovery.by_list import with_port
from partisan.discovery.by_redis import prefix_of
from partisan.names import ListenAddress
from partisan.runtime.discovery_agent import wanted
from partisan.runtime.discovery_backend import EXTRAS, PLACES
from partisan.runtime.membership_calls import Who


def spec(number: int) -> NodeSpec:
    return NodeSpec(f"n{number}@h", (ListenAddress("127.0.0.1", 1000 + number),), ())


def named(number: int) -> Contact:
    return Contact(ListenAddress("127.0.0.1", 1000 + number), f"n{number}@h")


def unnamed(number: int) -> Contact:
    return Contact(ListenAddress("127.0.0.1", 1000 + number))


ME = spec(0)
NUMBERS = st.integers(0, 9)
FOUND = st.lists(st.sampled_from([spec, named, unnamed, lambda n: f"n{n}@h"]).flatmap(lambda f: NUMBERS.map(f)))
MEMBERS = st.lists(st.integers(1, 9), unique=True).map(lambda numbers: [ME, *map(spec, numbers)])


def number_of(who: Who) -> int:
    """What the node is called; of one without a name, by its address."""
    name = who if isinstance(who, str) else who.name
    return int(name[1]) if name else who.address.port - 1000  # type: ignore[union-attr]


@given(FOUND, MEMBERS, st.booleans())
def test_this_node_comes_first_and_everybody_once(found: list[Who], members: list[NodeSpec], remove: bool) -> None:
    chosen = wanted(found, ME, members, remove=remove)
    addressed = {who for who in found if not isinstance(who, str)}
    known = {member.name for member in members}
    if not addressed and not known.intersection(who for who in found if isinstance(who, str)):
        assert chosen == []  # nobody, so nobody leaves
        return
    assert chosen[0] == ME
    assert ME not in chosen[1:]
    names = [who.name for who in chosen if isinstance(who, NodeSpec | Contact) and who.name]
    assert len(names) == len(set(names))
    assert not any(isinstance(who, str) for who in chosen), "update_members needs an address of who is no member"
    assert {who for who in chosen if who in members} >= ({*members} if not remove else {ME})


@given(FOUND, MEMBERS)
def test_members_that_were_not_found_are_kept_only_with_remove_off(found: list[Who], members: list[NodeSpec]) -> None:
    removing = wanted(found, ME, members, remove=True)
    keeping = wanted(found, ME, members, remove=False)
    assert keeping[: len(removing)] == removing
    meant = {*map(number_of, found)}
    for member in members[1:]:
        assert (member in removing) is (int(member.name[1]) in meant)
        assert member in keeping or not keeping


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ([], []),
        (["n7@h"], []),
        ([spec(0)], [ME]),
        ([unnamed(0)], [ME]),
        ([named(1), unnamed(1), spec(1), "n1@h"], [ME, spec(1)]),
        ([Contact(ListenAddress("10.0.0.1", 1), "n1@h", spec(1).listen_addrs)], [ME, spec(1)]),
        ([unnamed(5), unnamed(5), named(6)], [ME, unnamed(5), named(6)]),
    ],
)
def test_a_member_is_meant_by_its_name_or_its_address_and_stays_as_it_is_known(
    found: list[Who], chosen: list[Who]
) -> None:
    assert wanted(found, ME, [ME, spec(1)], remove=True) == chosen


@pytest.mark.parametrize(
    "elsewhere",
    [
        Contact(ListenAddress("10.0.0.1", 1), "n1@h"),
        NodeSpec("n1@h", (ListenAddress("10.0.0.1", 1),), ()),
    ],
)
def test_a_member_that_was_found_elsewhere_is_given_as_it_was_found(elsewhere: Who) -> None:
    assert wanted([elsewhere], ME, [ME, spec(1)], remove=True) == [ME, elsewhere]


def configured(**options: Any) -> Config:
    return Config(name="a@h", peer_discovery=options)  # type: ignore[arg-type]


def test_discovery_is_off_and_has_the_times_of_the_reference() -> None:
    config = Config(name="a@h").peer_discovery
    assert not config.enabled
    assert (config.initial_delay, config.polling_interval, config.timeout, config.remove) == (10.0, 60.0, 5.0, True)


DNS = {"query": "shop.test", "node_basename": "shop"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"enabled": True}, r"peer_discovery\.type: discovery is enabled: say how"),
        ({"type": "dsn"}, r"peer_discovery\.type: there is no 'dsn': give list, dns, kubernetes, redis"),
        ({"type": "dns"}, r"peer_discovery\.config\.query: dns needs it"),
        ({"type": "dns", "config": {"query": "x"}}, r"peer_discovery\.config\.node_basename: dns needs it"),
        ({"type": "dns", "config": {**DNS, "qury": "x"}}, r"did you mean peer_discovery\.config\.query\?"),
        ({"type": "dns", "config": {**DNS, "record_type": "mx"}}, r"'mx' is not one of a, aaaa, srv, fqdns"),
        ({"type": "dns", "config": {**DNS, "port": 65536}}, r"peer_discovery\.config\.port: 65536 is above"),
        ({"type": "list"}, r"peer_discovery\.config\.addresses: list needs it"),
        ({"type": "kubernetes"}, r"peer_discovery\.config\.label_selector: kubernetes needs it"),
        ({"type": "redis", "config": {"identifier": "a/b"}}, r"config\.identifier: 'a/b' is not 1 to 255 characters"),
        ({"type": "redis", "polling_interval": 100}, r"config\.ttl: 180 s is below twice the polling_interval, 100 s"),
        ({"polling_interval": 0}, r"peer_discovery\.polling_interval: 0\.0 must be above 0 s"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_names_the_option(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(**options)


def test_options_of_a_type_come_from_the_environment_too() -> None:
    environment = {
        "PARTISAN_PEER_DISCOVERY__TYPE": "dns",
        "PARTISAN_PEER_DISCOVERY__ENABLED": "yes",
        "PARTISAN_PEER_DISCOVERY__CONFIG__QUERY": "shop.test",
        "PARTISAN_PEER_DISCOVERY__CONFIG__NODE_BASENAME": "shop",
        "PARTISAN_PEER_DISCOVERY__CONFIG__PORT": "10200",
        "PARTISAN_PEER_DISCOVERY__CONFIG__NAMESERVERS": "127.0.0.1:53, ::1",
    }
    settings = Config.load({"name": "a@h"}, environment=environment).peer_discovery.settings
    assert (settings.port, settings.nameservers) == (10200, ("127.0.0.1:53", "::1"))


def test_secrets_are_not_shown() -> None:
    for kind, config in (
        ("redis", {"url": "redis://:hidden@h"}),
        ("kubernetes", {"token": "hidden", "label_selector": "a=b"}),
    ):
        found = configured(type=kind, config=config)
        assert "hidden" not in repr(found)
        assert "hidden" not in repr(found.peer_discovery.settings)


def test_every_type_has_its_options_and_its_place() -> None:
    assert BACKENDS.keys() == PLACES.keys()
    assert {extra for extra, _ in EXTRAS.values()} == {"dns", "redis", "k8s"}


@pytest.mark.parametrize(
    ("address", "whole"),
    [
        ("a@h", "a@h:7"),
        ("a@h:8", "a@h:8"),
        ("a@10.0.0.1", "a@10.0.0.1:7"),
        ("a@10.0.0.1:8", "a@10.0.0.1:8"),
        ("a@::1", "a@[::1]:7"),
        ("a@[::1]", "a@[::1]:7"),
        ("a@[::1]:8", "a@[::1]:8"),
    ],
)
def test_an_address_without_a_port_has_this_nodes(address: str, whole: str) -> None:
    assert with_port(address, 7) == whole


@pytest.mark.parametrize("address", ["h", "h:8", "@h", "a@", "a@h:", "a@h:x", "a@h:65536", "a b@h", "a@1.2.3"])
def test_an_address_without_a_name_or_a_host_is_an_error(address: str) -> None:
    with pytest.raises(ConfigError, match=r"peer_discovery\.config\.addresses"):
        with_port(address, 7)


def test_the_keys_of_redis_are_the_references() -> None:
    config = RedisDiscoveryConfig(identifier="eval", timestamp=7)
    assert prefix_of(config, "client") == "partisan/eval/7/client/"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["10.0.0.1", "Running"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["metadata", "status", "name", "podIP", "phase", "continue", "items"]), inner)
    ),
    max_leaves=10,
)


@given(JSON)
def test_any_json_is_a_pod_or_an_error_that_says_why_not(value: Any) -> None:
    try:
        found = contact_of(value, 9090)
    except ValueError:
        return
    assert found is None or (found.name is not None and found.address.port == 9090)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_octets_are_a_page_or_a_failed_lookup(body: bytes) -> None:
    items, more = [], ""
    with contextlib.suppress(DiscoveryFailed):
        items, more = page_of(body)
    assert isinstance(items, list)
    assert isinstance(more, str)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"items": {}}', b"\xff", b"[" * 100_000])
def test_what_is_no_list_of_pods_is_malformed(body: bytes) -> None:
    with pytest.raises(DiscoveryFailed) as caught:
        page_of(body)
    assert caught.value.reason == "malformed"


def test_what_is_missing_says_what_to_install() -> None:
    error = MissingExtra("dns", "this", "dnspython")
    assert isinstance(error, ImportError)
    assert (str(error), error.extra) == ("this needs dnspython: pip install 'partisan[dns]'", "dns")


def test_the_package_and_discovery_by_a_list_need_no_extra() -> None:
    code = f"import sys; sys.modules |= dict.fromkeys({[*EXTRAS]!r}); import partisan.discovery.by_list"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
