"""Options: defaults, layers, and errors that name what is wrong."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan import names
from partisan.config import DEFAULT_CHANNEL, MEMBERSHIP_CHANNEL, ChannelConfig, Config, PingConfig
from partisan.config_distribution import Distribution
from partisan.config_load import walk
from partisan.errors import ConfigError


def load(arguments: dict[str, Any] | None = None, environment: dict[str, str] | None = None, **options: Any) -> Config:
    return Config.load(arguments, environment=environment or {}, **options)


def test_a_config_without_options_has_the_two_channels_that_every_node_has() -> None:
    config = load()
    assert set(config.channels) == {DEFAULT_CHANNEL, MEMBERSHIP_CHANNEL}
    assert config.channel(DEFAULT_CHANNEL) == ChannelConfig(parallelism=1)
    assert config.channel(MEMBERSHIP_CHANNEL) == ChannelConfig(parallelism=1, compression=True)


def test_the_names_of_these_channels_are_those_that_every_layer_knows() -> None:
    assert (names.DEFAULT_CHANNEL, names.MEMBERSHIP_CHANNEL) == (DEFAULT_CHANNEL, MEMBERSHIP_CHANNEL)


def test_a_channel_takes_the_parallelism_of_the_node_unless_it_says_its_own() -> None:
    config = load({"parallelism": 3, "channels": {"a": {}, "b": {"parallelism": 2}}})
    assert config.channel("a").parallelism == 3
    assert config.channel("b").parallelism == 2
    assert config.channel(DEFAULT_CHANNEL).parallelism == 3
    assert config.channel(MEMBERSHIP_CHANNEL).parallelism == 1


def test_a_membership_channel_that_is_given_is_not_compressed_unless_it_says_so() -> None:
    config = load({"channels": {MEMBERSHIP_CHANNEL: {"parallelism": 2}}})
    assert config.channel(MEMBERSHIP_CHANNEL) == ChannelConfig(parallelism=2, monotonic=False, compression=False)
    assert load({"channels": {MEMBERSHIP_CHANNEL: {"compression": 9}}}).channel(MEMBERSHIP_CHANNEL).compression == 9


@pytest.mark.parametrize(
    ("channel", "option", "value"),
    [
        (DEFAULT_CHANNEL, "monotonic", True),
        (DEFAULT_CHANNEL, "compression", True),
        (DEFAULT_CHANNEL, "compression", 1),
        (MEMBERSHIP_CHANNEL, "monotonic", True),
    ],
)
def test_what_a_channel_of_every_node_cannot_be_is_refused(channel: str, option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"option channels\.{channel}\.{option}: this channel never is"):
        load({"channels": {channel: {option: value}}})
    with pytest.raises(ConfigError, match=rf"option channels\.{channel}\.{option}: this channel never is"):
        load().changed({"channels": {channel: {option: value}}})
    assert load({"channels": {channel: {option: False}}}).channel(channel).monotonic is False


def test_the_default_channel_keeps_its_queue_options_and_refuses_a_parallelism_of_its_own() -> None:
    config = load({"channels": {DEFAULT_CHANNEL: {"queue_policy": "error"}}})
    assert config.channel(DEFAULT_CHANNEL) == ChannelConfig(parallelism=1, queue_policy="error")
    with pytest.raises(ConfigError, match=r"option channels\.undefined\.parallelism: say it"):
        load({"channels": {DEFAULT_CHANNEL: {"parallelism": 2}}})


def test_a_channel_that_is_not_there_cannot_be_taken_away() -> None:
    config = load({"channels": ["data"]})
    assert "data" not in config.changed({"channels": {"data": None}})[0].channels
    with pytest.raises(ConfigError, match=r"channels\.dat: there is no such channel; known are data"):
        config.changed({"channels": {"dat": None}})


def test_channels_may_be_a_list_of_names_pairs_and_tables() -> None:
    config = load({"channels": ["a", ("b", {"parallelism": 2}), {"name": "c", "monotonic": True}]})
    assert config.channel("a") == ChannelConfig(parallelism=1)
    assert config.channel("b") == ChannelConfig(parallelism=2)
    assert config.channel("c") == ChannelConfig(parallelism=1, monotonic=True)


def test_a_channel_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"option channels\.a: it is given twice"):
        load({"channels": ["a", "a"]})


def test_groups_may_be_given_as_their_classes() -> None:
    config = load({"connection_ping": PingConfig(timeout=3), "channels": {"a": ChannelConfig(compression=9)}})
    assert config.connection_ping.timeout == 3.0
    assert config.channel("a").compression == 9


def test_an_unknown_channel_is_named_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"option channels\.b: .*known are a, partisan_membership, undefined"):
        load({"channels": ["a"]}).channel("b")


def test_arguments_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text("parallelism = 2\nconnect_timeout = 2.0\nhandshake_timeout = 2.0\n[channels.a]\nparallelism = 7\n")
    environment = {
        "PARTISAN_CONNECT_TIMEOUT": "3",
        "PARTISAN_HANDSHAKE_TIMEOUT": "3",
        "PARTISAN_CHANNELS__A__MONOTONIC": "yes",
    }
    config = load({"handshake_timeout": 4, "channels": {"b": {}}}, environment, file=file)
    assert (config.parallelism, config.connect_timeout, config.handshake_timeout) == (2, 3.0, 4.0)
    assert config.channel("a") == ChannelConfig(parallelism=7, monotonic=True)
    assert config.channel("b") == ChannelConfig(parallelism=2)


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text("tag = 'client'\n")
    assert load(environment={"PARTISAN_CONFIG": str(file)}).tag == "client"


def test_a_file_that_is_missing_or_malformed_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    with pytest.raises(ConfigError, match=r"node\.toml"):
        load(file=file)
    file.write_bytes(b"parallelism = \xff")
    with pytest.raises(ConfigError, match=r"node\.toml"):
        load(file=file)


@pytest.mark.parametrize(
    ("variable", "text", "path", "value"),
    [
        ("PARTISAN_GOSSIP", "off", "gossip", False),
        ("PARTISAN_PARALLELISM", "4", "parallelism", 4),
        ("PARTISAN_BUSY_WAIT", "1e-4", "busy_wait", 1e-4),
        ("PARTISAN_CONNECTION_PING__IDLE_TIMEOUT", "5", "connection_ping.idle_timeout", 5.0),
        ("PARTISAN_LISTEN_ADDRS", "127.0.0.1:1, [::1]:2", "listen_addrs", ("127.0.0.1:1", "[::1]:2")),
        ("PARTISAN_LISTEN_ADDRS", '["127.0.0.1:1"]', "listen_addrs", ("127.0.0.1:1",)),
        ("PARTISAN_ALLOWED_NODES", "none", "allowed_nodes", None),
        ("PARTISAN_ALLOWED_NODES", "", "allowed_nodes", ()),
        ("PARTISAN_LOG_LEVEL", "DEBUG", "log_level", "DEBUG"),
        ("PARTISAN_LOG_LEVEL", "none", "log_level", None),
        ("PARTISAN_CODEC", '{none = "nil"}', "codec.none", "nil"),
    ],
)
def test_a_variable_is_read_in_the_type_of_its_option(variable: str, text: str, path: str, value: object) -> None:
    found: Any = load(environment={variable: text})
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


def test_a_compression_level_in_the_environment_is_a_number_and_a_truth_is_a_truth() -> None:
    environment = {"PARTISAN_CHANNELS__A__COMPRESSION": "1", "PARTISAN_CHANNELS__B__COMPRESSION": "true"}
    config = load(environment=environment)
    assert config.channel("a").compression == 1
    assert config.channel("a").compression is not True
    assert config.channel("b").compression is True


def test_a_channel_name_in_the_environment_keeps_its_case_unless_it_is_all_capitals() -> None:
    config = load(environment={"PARTISAN_CHANNELS__Data__PARALLELISM": "2", "PARTISAN_CHANNELS": "{low = {}}"})
    assert {"Data", "low"} <= set(config.channels)


def test_variables_that_are_not_options_are_left_alone() -> None:
    environment = {
        "PARTISAN_BUILD": "debug",
        "PARTISAN_ERL_LIBS": "/opt/erlang",
        "PARTISAN_SERVICE_HOST": "10.0.0.1",
        "PARTISAN_SERVICE_PORT_DIST": "1",
        "PARTISAN_PORT": "tcp://10.0.0.1:80",
        "PARTISAN_PORT_80_TCP_ADDR": "10.0.0.1",
        "PATH": "/bin",
    }
    assert load(environment=environment) == load()


def test_what_kubernetes_says_of_services_whose_names_begin_as_options_do_is_left_alone() -> None:
    environment = {
        "PARTISAN_WEB_2_SERVICE_HOST": "10.0.0.1",
        "PARTISAN_WEB_2_SERVICE_PORT": "80",
        "PARTISAN_WEB_2_SERVICE_PORT_HTTP": "80",
        "PARTISAN_WEB_2_PORT": "tcp://10.0.0.1:80",
        "PARTISAN_WEB_2_PORT_80_TCP": "tcp://10.0.0.1:80",
        "PARTISAN_WEB_2_PORT_80_TCP_PROTO": "tcp",
        "PARTISAN_METADATA__SERVICE_HOST": "h",
        "PARTISAN_METADATA__PORT": "p",
    }
    assert load(environment=environment).metadata == {"service_host": "h", "port": "p"}
    for name in ("PARTISAN_WEB_PORT", "PARTISAN_PORT", "PARTISAN_LISTEN_PORT"):
        with pytest.raises(ConfigError, match="no such option") as caught:
            load(environment={name: "10200", **environment})
        assert caught.value.__notes__ == [f"the environment has {name}"]


def test_a_variable_that_is_no_table_of_channels_is_named() -> None:
    with pytest.raises(ConfigError, match="option channels: 'a,b' is no TOML value") as caught:
        load(environment={"PARTISAN_CHANNELS": "a,b"})
    assert caught.value.__notes__ == ["the environment has PARTISAN_CHANNELS"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conection_interval": 1}, "conection_interval: .*did you mean connection_interval"),
        ({"idle_timeout": 1}, "idle_timeout: .*did you mean connection_ping.idle_timeout"),
        ({"cookie": "secret"}, "cookie: .*did you mean distribution.cookie"),
        ({"monotonic": True}, "monotonic: .*did you mean channels.<name>.monotonic"),
        ({"zzz": 1}, "zzz: there is no such option; known are acknowledge_expiry, allow, allowed_nodes"),
        ({"channels": {"d": {"paralelism": 1}}}, "channels.d.paralelism: .*did you mean channels.d.parallelism"),
        ({"connection_ping": {"timeout": 0}}, "connection_ping.timeout: 0.0 must be above 0 s"),
        ({"connection_ping": 5}, "connection_ping: 5 is not a table"),
        ({"channels": {"d": {"compression": 10}}}, "channels.d.compression: 10 is above the greatest of 9"),
        ({"channels": {"d": {"queue_policy": "drop"}}}, "channels.d.queue_policy: 'drop' is not one of wait, error"),
        ({"channels": "data"}, "channels: 'data' is neither a table nor a list of names"),
        ({"channels": [5]}, "channels: 5 is neither a name, a pair nor a table"),
        ({"channels": {"": {}}}, "channels: '' is no name"),
        ({"parallelism": True}, "parallelism: True is not an integer"),
        ({"parallelism": 0}, "parallelism: 0 is below the least of 1 connections"),
        ({"gossip": 1}, "gossip: 1 is not true or false"),
        ({"connect_timeout": float("inf")}, "connect_timeout: inf is no finite number"),
        ({"connect_timeout": float("nan")}, "connect_timeout: nan is no finite number"),
        ({"connect_timeout": 10**400}, "connect_timeout: inf is no finite number"),
        ({"channels": {"d": {"max_queue_octets": 10**30}}}, "channels.d.max_queue_octets: 10+ is above the greatest"),
        ({"max_frame_octets": 10**400}, "max_frame_octets: 10+ is above the greatest of"),
        ({"listen_addrs": "127.0.0.1:0"}, r"listen_addrs: '127.0.0.1:0' is not a list; did you mean \['127.0.0.1:0'"),
        ({"listen_addrs": 5}, "listen_addrs: 5 is not a list$"),
        ({"listen_addrs": [5]}, r"listen_addrs\[0\]: 5 is not text"),
        ({"tag": ""}, "tag: '' is not a name of 1 to 255 characters"),
        ({"tag": "boss", "peer_service_manager": "client_server"}, "tag: 'boss' is no role under client_server"),
        *(
            (
                {"membership_strategy": strategy, "peer_service_manager": manager},
                f"membership_strategy: {manager} has no strategies: .* peer_service_manager='pluggable'",
            )
            for manager in ("hyparview", "client_server", "static")
            for strategy in ("scamp_v1", dict)
        ),
        (
            {"name": "a@10.0.0.1:10200"},
            "name: 'a@10.0.0.1:10200' has a port: say it in listen_addrs, or give all of it to",
        ),
        ({"name": "no_host"}, "name: 'no_host' is not of the form name@host, with 1 to 127 characters"),
        ({"channels": {"d": {"hard_queue_octets": 3}}}, "channels.d.hard_queue_octets: 3 is below max_queue_octets"),
        ({"reconnect_backoff_max": 0.5}, "reconnect_backoff_max: 0.5 is below connection_interval, 1 s"),
        ({"retransmit_interval": 60}, "retransmit_backoff_max: 30 is below retransmit_interval, 60 s"),
        ({"codec": {"max_depth": 10**6}}, "codec.max_depth: 1000000 is above the greatest of 8000 levels"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"option {message}"):
        load(options)


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("PARTISAN_PARALLELISM", "many", "parallelism: 'many' is not an integer"),
        ("PARTISAN_GOSSIP", "maybe", "gossip: 'maybe' is not true or false"),
        ("PARTISAN_CODEC", "{", "PARTISAN_CODEC: '{' is no TOML value"),
        ("PARTISAN_CONNECT_TIMEOUT__S", "1", "connect_timeout: .* is not a number"),
        ("PARTISAN_CONECT_TIMEOUT", "1", "conect_timeout: .*did you mean connect_timeout"),
    ],
)
def test_a_wrong_variable_is_an_error_that_names_the_option(variable: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"option {message}") as raised:
        load(environment={variable: text})
    assert variable in str(raised.value) or raised.value.__notes__ == [f"the environment has {variable}"]


def test_a_config_can_be_replaced_in_part_and_is_checked_again() -> None:
    config = load({"channels": ["a"]})
    assert dataclasses.replace(config, parallelism=4).channel(DEFAULT_CHANNEL).parallelism == 4
    with pytest.raises(ConfigError, match="option parallelism"):
        dataclasses.replace(config, parallelism=0)


def test_the_form_of_references_is_one_that_can_be_sent() -> None:
    assert load({"remote_ref_format": "tuple"}).remote_ref_format == "tuple"
    with pytest.raises(ConfigError, match="option remote_ref_format: 'uri' is not one of improper_list, tuple"):
        load({"remote_ref_format": "uri"})


def test_a_config_cannot_be_changed() -> None:
    config = load()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.parallelism = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.channels["a"] = ChannelConfig()  # type: ignore[index]


def test_every_option_says_what_it_is_and_where_its_default_comes_from() -> None:
    for row in [*walk(Config), *walk(Distribution, "distribution.")]:
        assert row.about.doc.endswith("."), row.path
        known = ("ours", "partisan 5.0.3", "OTP", "OTP ssl", "OTP 26 ssl", "OTP net_setuptime")
        assert row.about.source in known or row.about.source.startswith("paper"), row.path
        if row.hint in (int, float):
            assert row.about.unit, row.path
            assert row.about.positive or row.about.low is not None, row.path


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
OPTIONS = st.sampled_from(sorted(entry.name for entry in dataclasses.fields(Config)))


@given(st.dictionaries(OPTIONS | st.text(max_size=8), VALUES, max_size=3))
def test_whatever_is_given_makes_a_config_or_an_error_that_names_an_option(options: dict[str, Any]) -> None:
    try:
        load(options)
        named = ""
    except ConfigError as error:
        named = error.option
    assert not named or any(
        named.startswith(name) for name in (*options, "reconnect_backoff_max", "retransmit_backoff_max")
    )


@given(OPTIONS, st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12))
def test_whatever_the_environment_says_makes_a_config_or_a_config_error(name: str, text: str) -> None:
    with contextlib.suppress(ConfigError):
        load(environment={f"PARTISAN_{name.upper()}": text})


def test_changed_options_are_named_and_the_others_stay() -> None:
    config = load({"channels": {"a": {"parallelism": 2}, "b": {}}, "periodic_interval": 3.0})
    made, differing = config.changed(
        {"parallelism": 4, "channels": {"a": {"compression": 1}, "c": {}}, "connection_ping": {"timeout": 1}}
    )
    assert differing == {
        "parallelism",
        "channels.a.compression",
        "channels.b.parallelism",
        "channels.c",
        "channels.undefined.parallelism",
        "connection_ping.timeout",
    }
    assert made.channel("a") == ChannelConfig(parallelism=2, compression=1)
    assert made.channel("b").parallelism == made.channel("c").parallelism == 4
    assert (made.periodic_interval, made.connection_ping.idle_timeout) == (3.0, 20.0)
    assert config.changed({}) == (config, frozenset())


@pytest.mark.parametrize(
    ("name", "given", "change"),
    [
        ("connection_ping", {"timeout": 3.0, "max_attempts": 9}, {"idle_timeout": 7.0}),
        ("hyparview", {"active_rwl": 4, "passive_rwl": 3}, {"patience": 2.0}),
        ("plumtree", {"graft_after": 0.7, "most_trees": 9}, {"lazy_tick_period": 3.0}),
        ("relay", {"timeout": 7.0, "max_waiting": 9}, {"retry": 3.0}),
        ("causal", {"persist": False, "patience": 70.0}, {"max_waiting": 5}),
        ("tls_client_options", {"certfile": "a.pem", "verify": "verify_none"}, {"cacertfile": "ca.pem"}),
        (
            "tls_server_options",
            {"certfile": "a.pem", "cacertfile": "ca.pem", "verify": "verify_peer", "fail_if_no_peer_cert": True},
            {"certfile": "b.pem"},
        ),
        ("peer_discovery", {"type": "list", "config": {"addresses": ["a@h:1"]}}, {"timeout": 2.0}),
    ],
)
def test_a_change_in_a_group_keeps_its_other_options(name: str, given: dict[str, Any], change: dict[str, Any]) -> None:
    made, differing = load({name: given}).changed({name: change})
    assert differing == {f"{name}.{option}" for option in change}
    assert getattr(made, name) == getattr(load({name: given | change}), name)


def test_a_group_that_may_be_none_is_merged_too() -> None:
    config = load({"distribution": {"cookie": "secret", "port": 4370}})
    assert config.changed({"distribution": {"port": 4370}}) == (config, frozenset())
    with pytest.raises(ConfigError, match=r"distribution\.port: it cannot change .* needs a restart"):
        config.changed({"distribution": {"port": 4371}})


def test_a_channel_that_is_none_is_taken_away_and_the_two_that_always_exist_begin_anew() -> None:
    config = load({"channels": {"a.b": {"parallelism": 2}, DEFAULT_CHANNEL: {"queue_policy": "error"}}})
    made, differing = config.changed({"channels": {"a.b": None, DEFAULT_CHANNEL: None}})
    assert differing == {"channels.a.b", "channels.undefined.queue_policy"}
    assert set(made.channels) == {DEFAULT_CHANNEL, MEMBERSHIP_CHANNEL}


def test_a_compression_that_is_equal_in_python_only_is_a_change() -> None:
    config = load({"channels": {"a": {"compression": True}}})
    assert config.changed({"channels": {"a": {"compression": 1}}})[1] == {"channels.a.compression"}


def test_a_change_may_be_given_as_a_list_of_channels_and_as_classes() -> None:
    made, differing = load().changed({"channels": ["a"], "connection_ping": PingConfig(timeout=3)})
    assert differing == {"channels.a", "connection_ping.timeout"}
    assert made.channel("a").parallelism == 1


def test_metadata_that_stay_as_they_are_keep_nothing_else_from_changing() -> None:
    config = load({"metadata": {"zone": "east", "weights": [1, 2]}})
    made, differing = config.changed({"gossip": False, "metadata": {"weights": [1, 2]}})
    assert made.metadata == config.metadata
    assert differing == {"gossip"}
    for metadata in ({"zone": "west"}, {"rack": 1}):
        with pytest.raises(ConfigError, match=f"metadata.{next(iter(metadata))}"):
            config.changed({"metadata": metadata})


def test_what_is_not_live_cannot_be_changed() -> None:
    config = load()
    with pytest.raises(ConfigError, match=r"option codec\.none: it cannot change .* needs a restart"):
        config.changed({"codec": {"none": "nil"}, "parallelism": 2})
    assert config.changed({"codec": {"none": "undefined"}, "tag": None}) == (config, frozenset())


@given(st.dictionaries(OPTIONS | st.text(max_size=8), VALUES, max_size=3))
def test_whatever_is_to_be_changed_makes_a_config_or_a_config_error(options: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        load().changed(options)
