"""Every option of a node: its type, unit, default, where the default comes from, and whether it may change at run time.

A name that Partisan 5.0.3 has too means the same here, with times in seconds and sizes in octets. `Config.load` reads
options from arguments, environment variables (`PARTISAN_CONNECTION_PING__IDLE_TIMEOUT=5`) and a TOML file, in this
order of precedence; the machinery is in `config_load`, groups of options are in `config_groups` and others, and what
options must be to each other is in `config_together`.
A `Config` never changes: to change options is to make another.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from types import MappingProxyType
from typing import Any, Literal

from .config_causal import CausalConfig
from .config_discovery import DiscoveryConfig
from .config_distribution import Distribution
from .config_groups import PARALLELISM, ChannelConfig, CodecConfig, HyParViewOptions, PingConfig
from .config_load import (
    PREFIX,
    build,
    check,
    differences,
    from_environment,
    from_file,
    group,
    hints,
    mapping_of,
    merge,
    opened,
    option,
    options_of,
    variables_of,
)
from .config_plumtree import PlumtreeOptions
from .config_relay import RelayOptions
from .config_tls import TlsClientConfig, TlsConfig, TlsServerConfig
from .config_together import (
    DEFAULT_CHANNEL,
    DEFAULT_STRATEGY,
    MEMBERSHIP_CHANNEL,
    check_default,
    check_together,
    completed,
)
from .errors import ConfigError

__all__ = [
    "DEFAULT_CHANNEL",
    "MEMBERSHIP_CHANNEL",
    "CausalConfig",
    "ChannelConfig",
    "CodecConfig",
    "Config",
    "DiscoveryConfig",
    "HyParViewOptions",
    "PingConfig",
    "RelayOptions",
    "TlsClientConfig",
    "TlsConfig",
    "TlsServerConfig",
]

KIB = 1024
MIB = 1024 * KIB

NODE_NAME = r"[^@\s]{1,127}@[^@\s]{1,127}"
"""What every node name matches."""

NODE_NAME_FORM = "of the form name@host, with 1 to 127 characters, none of them blank or another @, on either side"
"""The same in words, as in "'x' is not ..."."""

ALLOW = r"exit|spawn|sys|[^:\s]+:[^:\s]+"
"""What every entry of `allow` matches."""

TAG = r".{1,255}"
"""What every tag matches."""

TAG_FORM = "a name of 1 to 255 characters"

NEEDS_RESTART = "it cannot change while the node runs: that needs a restart"


@dataclass(frozen=True, slots=True)
class Config:
    """The options of one node.

    Values are checked, and `channels` completed, when it is made: it always has the default and the membership channel,
    and no channel without a parallelism. Groups may be given as mappings.

    Raises:
        ConfigError: an option's value is wrong; the error has its dotted name.
    """

    name: str | None = option(
        None,
        "The node's name, as `name@host`; a node cannot start without.",
        source="partisan 5.0.3",
        pattern=NODE_NAME,
        form=NODE_NAME_FORM,
    )
    listen_addrs: tuple[str, ...] = option(
        (),
        "Where to listen, each as `ip:port` or `[ip]:port`; port 0 takes a free one. Without any: on a free port of "
        "the loopback address.",
    )
    channels: Mapping[str, ChannelConfig] = group(
        dict,
        "The named channels: a table of their options, or a list of names. The default channel `undefined` always "
        "exists, takes the node's `parallelism`, and is neither monotonic nor compressed; `partisan_membership` always "
        "exists, compressed if it is not given, and is never monotonic.",
        source="partisan 5.0.3",
        live=True,
    )
    parallelism: int = option(
        1,
        "Connections of the default channel, and of every channel that does not say. Live unless a node of the BEAM is "
        "a member.",
        low=1,
        **PARALLELISM,
    )
    channel_fallback: bool = option(
        True,
        "A message for a channel without a connection takes the default channel. Not live: a pair that has begun to "
        "use the default channel must stay there until its own is up, or its messages could swap.",
        source="partisan 5.0.3",
    )
    share_connections: bool = option(
        True,
        "The messages of a channel go together on one of its connections as long as none has to wait there; then on "
        "two, four and so on, each on the first where it need not wait once what its sender has sent its receiver "
        "before is handled, until nobody has waited for a while (partisan 5.0.3 always uses all). What has a "
        "partition key, and a channel that is monotonic or drops its oldest, always uses all. Not live.",
    )
    connection_interval: float = option(
        1.0,
        "How often missing connections are looked for, and the first pause before one is dialled again.",
        source="partisan 5.0.3",
        unit="s",
        live=True,
        positive=True,
    )
    connection_jitter: float = option(
        1.0,
        "The most that is added, at random, to a pause before dialling (partisan 5.0.3 waits this long in each join).",
        unit="s",
        live=True,
        low=0,
    )
    connect_timeout: float = option(
        5.0,
        "How long a connection may take to be established (partisan 5.0.3: 1 s).",
        unit="s",
        live=True,
        positive=True,
    )
    reconnect_backoff_max: float = option(
        30.0,
        "The longest pause before a peer that cannot be reached is dialled again; pauses double up to it "
        "(partisan 5.0.3 does not back off).",
        unit="s",
        live=True,
        positive=True,
    )
    handshake_timeout: float = option(
        5.0,
        "How long either side of a connection may take to say what the handshake asks of it; and to close a connection "
        "that the other has given up, after which the order of messages is not kept.",
        unit="s",
        live=True,
        positive=True,
    )
    connection_ping: PingConfig = group(PingConfig, "The keepalive.", live=True)
    gossip: bool = option(True, "Full membership sends its state to its peers.", source="partisan 5.0.3", live=True)
    periodic_enabled: bool = option(
        True, "Full membership sends its state at intervals, besides at changes.", source="partisan 5.0.3", live=True
    )
    periodic_interval: float = option(
        10.0, "Time between such gossips.", source="partisan 5.0.3", unit="s", live=True, positive=True
    )
    max_members: int = option(
        16_384,
        "The largest membership that is taken from a peer or grown to; who is gone and not yet forgotten counts.",
        unit="nodes",
        low=1,
    )
    tombstone_age: float = option(
        3600.0,
        "How long it is remembered at least that a node is gone. One that was removed while it was cut off, and "
        "comes back later, is a member again; with a real node in the cluster nothing is forgotten.",
        unit="s",
        live=True,
        positive=True,
    )
    distance_enabled: bool = option(False, "The time to each neighbor and back is measured.", source="partisan 5.0.3")
    distance_interval: float = option(
        10.0, "Time between two measurements.", source="partisan 5.0.3", unit="s", positive=True
    )
    metadata: Mapping[str, Any] = group(
        dict, "Whatever else is to be known about the node; `node_info` shows it.", source="partisan 5.0.3"
    )
    persist_dir: str | None = option(
        None, "The directory in which the node keeps its membership; without one it starts afresh."
    )
    persist_state: bool = option(
        True, "Whether the membership is kept, where there is a directory for it.", source="partisan 5.0.3"
    )
    retransmit_interval: float = option(
        1.0,
        "How long an acknowledged message waits for its acknowledgement before it is sent again; longer on a peer "
        "whose acknowledgements take longer than half of it.",
        source="partisan 5.0.3",
        unit="s",
        live=True,
        positive=True,
    )
    retransmit_backoff_max: float = option(
        30.0,
        "The longest pause before a message is sent once more; pauses double up to it, and begin anew when the peer "
        "is connected again (partisan 5.0.3 does not back off).",
        unit="s",
        live=True,
        positive=True,
    )
    retransmit_jitter: float = option(
        0.25, "By how large a part of itself a pause may grow, at random.", unit="parts", live=True, low=0, high=1
    )
    acknowledge_expiry: float | None = option(
        3600.0,
        "How long an acknowledged message is kept and sent again before it is given up, which the sender is told; None "
        "keeps it for ever, as partisan 5.0.3 does.",
        unit="s",
        live=True,
        positive=True,
    )
    max_unacknowledged: int = option(
        65_536,
        "How many messages to one peer may wait for their acknowledgement; a send that would exceed it raises "
        "Unacknowledged. A Python node that receives tells copies of up to so many messages from new ones.",
        unit="messages",
        live=True,
        low=1,
        high=65_536,
    )
    max_unacknowledged_octets: int = option(
        64 * MIB,
        "How large these may be together; a single larger message is accepted if nothing waits.",
        unit="octets",
        live=True,
        low=1,
    )
    causal_labels: tuple[str, ...] = option(
        (),
        "The labels by which messages may be sent and taken in causal order (docs/guarantees/causal.md), each an order "
        "of its own; the same on every node.",
        source="partisan 5.0.3",
    )
    causal: CausalConfig = group(CausalConfig, "Causal delivery.", live=True)
    tls: bool = option(
        False,
        "Whether connections are TLS: all of them, dialled and accepted; there is no mixed mode.",
        source="partisan 5.0.3",
    )
    tls_client_options: TlsClientConfig = group(
        TlsClientConfig, "TLS of the connections that the node dials.", source="partisan 5.0.3", live=True
    )
    tls_server_options: TlsServerConfig = group(
        TlsServerConfig, "TLS of the connections that the node accepts.", source="partisan 5.0.3", live=True
    )
    distribution: Distribution | None = option(
        None, "Erlang's own distribution beside Partisan's wire: its options, or none to do without.", source="OTP"
    )
    broadcast: bool = option(
        False,
        "Whether the node takes part in what all nodes do by broadcast: it says now and then that it lives, knows of "
        "others that are no neighbors whether they live, and has messages to them relayed (docs/overlays.md).",
        source="partisan 5.0.3",
        live=True,
    )
    plumtree: PlumtreeOptions = group(PlumtreeOptions, "The broadcast trees.", live=True)
    relay_ttl: int = option(
        5,
        "Over how many nodes a message to a node that is no neighbor may go at first; sent again, over twice as many "
        "each time.",
        source="partisan 5.0.3",
        unit="nodes",
        live=True,
        low=1,
        high=64,
    )
    relay: RelayOptions = group(RelayOptions, "Relaying to nodes that are no neighbors.", live=True)
    codec: CodecConfig = group(CodecConfig, "The term codec.")
    max_frame_octets: int = option(
        256 * MIB,
        "The largest frame that is sent or accepted; a longer one ends its connection.",
        unit="octets",
        low=1024,
        high=2**31 - 5,
    )
    max_connections: int = option(
        16_384,
        "How many accepted connections may exist at a time; more are closed at once. Fewer where the process's soft "
        "limit of open files, less 64 that are left to its own dialling, is lower.",
        unit="connections",
        low=1,
    )
    write_octets: int = option(
        512 * KIB,
        "How much of a send queue is handed to the socket at a time, so that connections share the loop: less lets "
        "small messages past large ones sooner, more streams faster up to here (docs/performance.md).",
        unit="octets",
        low=4 * KIB,
        high=64 * MIB,
    )
    read_octets: int = option(
        256 * KIB,
        "The size of the buffer that a connection reads into; bodies larger than it are received straight into place.",
        unit="octets",
        low=4 * KIB,
        high=64 * MIB,
    )
    peer_discovery: DiscoveryConfig = group(
        DiscoveryConfig, "How nodes find each other (docs/discovery.md).", source="partisan 5.0.3", live=True
    )
    peer_service_manager: Literal["pluggable", "hyparview", "client_server", "static"] = option(
        "pluggable", "The overlay: who is connected with whom; see docs/overlays.md.", source="partisan 5.0.3"
    )
    membership_strategy: str | type = option(
        DEFAULT_STRATEGY,
        "What the pluggable manager keeps members with: `full`, `scamp_v1`, `scamp_v2`, a subclass of "
        "`partisan.machines.membership.Membership`, or the place of one as `module:Class`. The other managers have no "
        "strategies, and take none but the default.",
        source="partisan 5.0.3",
    )
    scamp_c: int = option(
        5,
        "SCAMP: copies of a new subscription, besides those for each of the contact's view.",
        source="partisan 5.0.3",
        unit="copies",
        live=True,
        low=0,
        high=1000,
    )
    scamp_lease: float = option(
        600.0,
        "SCAMP: how long a subscription holds before its node subscribes again.",
        unit="s",
        live=True,
        positive=True,
    )
    hyparview: HyParViewOptions = group(
        HyParViewOptions, "The overlay `hyparview`.", source="partisan 5.0.3", live=True
    )
    reservations: tuple[str, ...] = option(
        (),
        "Tags for one peer each of which HyParView keeps a place in the active view; `reserve` adds one at run time.",
        source="partisan 5.0.3",
        pattern=TAG,
        form=TAG_FORM,
    )
    contacts: tuple[str, ...] = option(
        (), "The links of `static`: whom the node dials, each as `name@host:port` or `host:port` with a numeric host."
    )
    tag: str | None = option(
        None,
        "The node's role, told to peers: `client`, `server` or none under client-server; any name under HyParView, "
        "which may reserve places by it.",
        source="partisan 5.0.3",
        pattern=TAG,
        form=TAG_FORM,
    )
    busy_wait: float = option(
        0.0,
        "How long an idle node looks for work before it sleeps; takes a whole core and saves the cost of a wake-up.",
        unit="s",
        live=True,
        low=0,
        high=1,
    )
    remote_ref_format: Literal["improper_list", "tuple"] = option(
        "improper_list",
        "The form in which pids and references of this node are sent; one that came from elsewhere goes on in the form "
        "in which it came. Partisan's third form, `uri`, is taken from others, made by `partisan.remote_ref`, and not "
        "sent for these.",
        source="partisan 5.0.3",
    )
    remote_ref_uri_padding: bool = option(
        False,
        "Remote references of the form `uri` are made at least 65 octets long, so that the runtime of a BEAM shares "
        "them instead of copying them.",
        source="partisan 5.0.3",
    )
    allowed_nodes: tuple[str, ...] | None = option(
        None,
        "Names of the nodes that may connect: every node where this is not given, none where it is empty. Where it is, "
        "messages that come before a node has said its name wait for that, and nameless Erlang nodes are refused.",
        live=True,
    )
    allow: tuple[str, ...] = option(
        (),
        "What other nodes may have done here: `exit` (exit signals to processes), `spawn` (start a process with a "
        "function that they may call), `sys` (replace the state of a behaviour), and the functions that they may call, "
        "as `module:function`, or `module:*` for what a module itself defines without a leading underscore. Without "
        "any entry only `node_spec`, `whereis`, `is_process_alive` and what is exposed are open: see `docs/rpc.md`.",
        live=True,
        pattern=ALLOW,
        form="exit, spawn, sys, module:function or module:*",
    )
    max_remote_calls: int = option(
        1024,
        "How many functions that other nodes called may run at once; a call above is refused with `system_limit`.",
        unit="calls",
        live=True,
        low=1,
    )
    egress_delay: float = option(
        0.0,
        "By how much every frame that is sent is late; order is kept (partisan 5.0.3 sleeps so long before each frame, "
        "one after the other).",
        source="partisan 5.0.3",
        unit="s",
        live=True,
        low=0,
        high=3600,
    )
    ingress_delay: float = option(
        0.0,
        "By how much every frame that has come is taken late; order is kept.",
        source="partisan 5.0.3",
        unit="s",
        live=True,
        low=0,
        high=3600,
    )
    binary_padding: bool = option(
        False,
        "User messages are sent with 64 octets of padding, chosen when the node starts; nodes take it off.",
        source="partisan 5.0.3",
        live=True,
    )
    telemetry_interval: float = option(
        10.0,
        "How often sums and gauges are told, while somebody listens to one of them (docs/telemetry.md).",
        unit="s",
        live=True,
        positive=True,
    )
    long_schedule: float = option(
        0.1,
        "A process that holds all others up for longer is reported by telemetry, and when processes together have "
        "taken longer, sockets and timers get their turn; with 0 neither is so.",
        unit="s",
        live=True,
        low=0,
    )
    large_mailbox: int = option(
        100_000,
        "A mailbox with more messages is reported by telemetry; 0 reports none.",
        unit="messages",
        live=True,
        low=0,
    )
    log_level: Literal["CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"] | None = option(
        None,
        "The level of the logger `partisan`, set when the node starts; None leaves it as the program has it. The nodes "
        "of a process share that logger, so the last one that sets it sets it for all.",
        live=True,
    )
    offload_threads: int = option(8, "Threads for `offload`, started as they are needed.", unit="threads", low=1)
    offload_processes: int = option(
        2, 'Operating-system processes for `offload(..., to="process")`.', unit="processes", low=1
    )
    mixed_cluster: bool = option(
        True,
        "Whether nodes of Partisan 5.0.3 may be members: while one is, or a member did not say yet what it runs, a "
        "parallelism does not change, which they would not survive. False does not look.",
    )
    trace_file: str | None = option(
        None,
        "The file to which the node writes what its overlay and its monitors are told, for `python -m partisan.sim "
        "replay` (docs/tracing.md); one that is there becomes `.old`. Without one nothing is written.",
    )
    trace_payloads: bool = option(
        False,
        "Whether a trace has what is the program's own: the reasons for which processes ended and, with "
        "`trace_messages`, what the messages were.",
    )
    trace_messages: bool = option(
        False,
        "Whether the trace of `trace_file` has the messages between processes of this node and of others, broadcasts "
        "among them: when each passed, and for whom. They take longer then.",
    )
    testing: bool = option(False, "Accept what only tests need, as fault injection by peers.")

    inheriting: frozenset[str] = field(init=False, repr=False, compare=False)
    """Channels without a parallelism of their own: they follow the node's when it is changed."""

    def __post_init__(self) -> None:
        for entry in options_of(self):
            value = check(entry, hints(Config)[entry.name], getattr(self, entry.name), entry.name)
            object.__setattr__(self, entry.name, value)
        inheriting = frozenset(name for name, channel in self.channels.items() if not channel.parallelism)
        object.__setattr__(self, "inheriting", inheriting)
        object.__setattr__(self, "channels", MappingProxyType(completed(self.channels, self.parallelism)))
        check_together(self)

    @classmethod
    def load(
        cls,
        arguments: Mapping[str, Any] | None = None,
        *,
        file: str | os.PathLike[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Config:
        """Read options from arguments, environment variables and a TOML file; the first that has one decides.

        Args:
            arguments: options by name; groups as mappings or as their classes.
            file: a TOML file whose top-level keys are options; without it, the one that `PARTISAN_CONFIG` names.
            environment: variables to read instead of the process's own; `{}` reads none.
        Raises:
            ConfigError: an option is unknown or wrong, or the file cannot be used.
        """
        variables = os.environ if environment is None else environment
        file = file or variables.get(f"{PREFIX}CONFIG")
        layers = (from_file(file) if file else {}, from_environment(variables), arguments or {})
        merged: dict[str, Any] = {}
        try:
            for layer in layers:
                merged = merge(merged, opened(cls, layer))
            check_default(merged.get("channels", {}).get(DEFAULT_CHANNEL, {}))
            return build(cls, merged)
        except ConfigError as error:
            for variable in variables_of(error.option, variables):
                error.add_note(f"the environment has {variable}")
            raise

    def changed(self, options: Mapping[str, Any]) -> tuple[Config, frozenset[str]]:
        """Return the options with some of them changed, and the dotted names of those that differ now.

        Args:
            options: by name; tables are merged with what is there, and a channel that is None is taken away.
        Raises:
            ConfigError: an option is unknown or wrong, or may not change while a node runs.
        """
        layer = opened(Config, options)
        values = {name: mapping_of(each) if is_dataclass(each) else each for name, each in mapping_of(self).items()}
        values["channels"] = {
            name: mapping_of(channel) | ({"parallelism": 0} if name in self.inheriting else {})
            for name, channel in self.channels.items()
        }
        del values["channels"][DEFAULT_CHANNEL]["parallelism"]
        gone = [self._existing(name) for name, channel in layer.get("channels", {}).items() if channel is None]
        if DEFAULT_CHANNEL in layer.get("channels", {}) and DEFAULT_CHANNEL not in gone:
            check_default(layer["channels"][DEFAULT_CHANNEL])
        if layer.get("tls", self.tls) is not self.tls:  # before its options are asked for
            raise ConfigError("tls", NEEDS_RESTART)
        merged = merge(values, layer)
        merged["channels"] = {name: each for name, each in merged["channels"].items() if name not in gone}
        made = build(Config, merged)
        differing = dict(differences(self, made))
        for path, live in sorted(differing.items()):
            if not live:
                raise ConfigError(path, NEEDS_RESTART)
        return made, frozenset(differing)

    def channel(self, name: str) -> ChannelConfig:
        """Return the options of a channel; ConfigError, with the nearest name, if it is not configured."""
        try:
            return self.channels[name]
        except KeyError:
            known = ", ".join(sorted(self.channels))
            raise ConfigError(f"channels.{name}", f"there is no such channel; known are {known}") from None

    def _existing(self, name: str) -> str:
        self.channel(name)
        return name
