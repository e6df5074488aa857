"""Change the options of a node while it runs.

`APPLIED` says what each live option means to a node that runs already. Whatever reads an option when it needs it takes
it from the context's config and is done with that; the others have an entry with a method here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from partisan import telemetry
from partisan._core.framedqueue import MonotonicQueue
from partisan.config import ChannelConfig, Config
from partisan.errors import ConfigError
from partisan.names import DEFAULT_CHANNEL, NodeSpec
from partisan.net.acceptor import Acceptor
from partisan.net.acknowledged import Acknowledged
from partisan.net.causal import Causality
from partisan.net.context import Context
from partisan.runtime.broadcasting import Broadcasts
from partisan.runtime.busy_wait import BusyWait
from partisan.runtime.fault_calls import FaultCalls
from partisan.runtime.options import channel_map
from partisan.runtime.presence import Presence
from partisan.runtime.python_peers import PythonPeers
from partisan.runtime.relaying import Relaying
from partisan.runtime.watch import Watch, bounds

APPLIED: Final[Mapping[str, str]] = {
    "channels": "_apply_channels",
    "parallelism": "_apply_channels",
    "connection_interval": "_apply_pauses",
    "connection_jitter": "_apply_pauses",
    "reconnect_backoff_max": "_apply_pauses",
    "connect_timeout": "",  # of the next dial
    "handshake_timeout": "",  # of the next handshake
    "connection_ping": "_apply_ping",
    "gossip": "_apply_overlay",
    "periodic_enabled": "_apply_overlay",
    "periodic_interval": "_apply_overlay",
    "tombstone_age": "_apply_overlay",
    "hyparview": "_apply_overlay",
    "scamp_c": "_apply_overlay",
    "scamp_lease": "_apply_overlay",
    "retransmit_interval": "_apply_acknowledged",
    "retransmit_backoff_max": "_apply_acknowledged",
    "retransmit_jitter": "_apply_acknowledged",
    "acknowledge_expiry": "_apply_acknowledged",
    "max_unacknowledged": "_apply_acknowledged",
    "max_unacknowledged_octets": "_apply_acknowledged",
    "causal": "_apply_causal",
    "tls_client_options": "",  # read with what is checked, as files may be missing
    "tls_server_options": "",
    "peer_discovery": "_apply_discovery",
    "broadcast": "_apply_broadcast",
    "plumtree": "_apply_broadcast",
    "relay_ttl": "_apply_broadcast",
    "relay": "_apply_broadcast",
    "busy_wait": "_apply_busy_wait",
    "egress_delay": "_apply_delays",
    "ingress_delay": "_apply_delays",
    "binary_padding": "_apply_delays",
    "allowed_nodes": "_apply_allowed_nodes",
    "allow": "",  # read with each request
    "max_remote_calls": "",
    "telemetry_interval": "_apply_telemetry_interval",
    "long_schedule": "_watch",
    "large_mailbox": "_watch",
    "log_level": "_apply_log_level",
}
"""Live option, or group of options -> the method that makes it take effect, once for all that share one."""

LOGGER = "partisan"
"""The logger above those of all modules."""

MOST_NAMES = 8
"""How many members an error names."""


class Reconfigure(Watch, FaultCalls):
    """The method of a node that changes its options."""

    spec: NodeSpec
    _acknowledged: Acknowledged
    _causal: Causality
    _context: Context
    _acceptor: Acceptor
    _python: PythonPeers
    broadcasts: Broadcasts
    _relaying: Relaying
    _presence: Presence
    _told: dict[str, int]  # channel -> the parallelism that peers were told last

    def reconfigure(self, **options: Any) -> Config:
        """Change options while the node runs: all of those given, or none; return all options that are now in force.

        Tables are merged with what is there: `channels={"data": {"parallelism": 4}}` changes this and nothing else, and
        `channels={"data": None}` takes the channel away. What the options mean to what runs is in
        `docs/configuration.md`. `log_level` is that of the package's logger, and so of every node of this process.

        Raises:
            ConfigError: an option is unknown or wrong, or cannot change without a restart; then nothing has changed.
        """
        self._check()
        before = self.config
        config, differing = before.changed(options)
        self._check_told(config)
        if self._context.tls is not None:
            self._context.tls.reload(config)
        if self._far is not None:
            self._far.reload_tls(config)
        groups = {path.partition(".")[0] for path in differing}
        groups |= {"log_level"} & options.keys()  # another node may have set it meanwhile
        self.config = self._context.config = config
        for method in dict.fromkeys(APPLIED[option] for option in APPLIED if option in groups):
            if method == "_apply_channels":
                self._apply_channels(before)
            elif method:
                getattr(self, method)()
        return config

    def _apply_broadcast(self) -> None:
        self.broadcasts.retune()
        self._relaying.retune()
        self._presence.retune()

    def _check_told(self, config: Config) -> None:
        """Refuse to change a parallelism that peers were told of, where one of them is, or may be, a node of the BEAM.

        Its manager visits the former spec along with the new one, and crashes on the one that says less than there are
        connections (case_clause in maybe_connect, seen on 5.0.3). It keeps those of a channel that was taken away.
        """
        why = self._in_the_way() if config.mixed_cluster else []
        for name, channel in config.channels.items() if why else ():
            told = self._told.get(name, channel.parallelism)
            if channel.parallelism != told:
                whole = name == DEFAULT_CHANNEL or name in config.inheriting
                path = "parallelism" if whole else f"channels.{name}.parallelism"
                raise ConfigError(path, f"peers were told {told}, and {'; '.join(why)}; or restart this node")

    def _in_the_way(self) -> list[str]:
        """Which nodes would not survive another parallelism, or might not, and what to do about them."""
        real, unheard = self._manager.foreign()
        found = []
        if real:
            found.append(
                f"{_listed(real)} of Partisan 5.0.3 would not survive it: make them leave, and join again after"
            )
        if unheard:
            found.append(f"{_listed(unheard)} did not say yet what they run: wait until they have, or make them leave")
        return found

    def _tell_channels(self, names: Iterable[str]) -> None:
        """Note what peers are told of the channels, and emit it."""
        for name in names:
            options = self.config.channels[name]
            self._told[name] = options.parallelism
            self.telemetry.emit(
                telemetry.CHANNEL_CONFIGURED, {"max": options.parallelism}, {"channel": name, "options": options}
            )

    def _apply_channels(self, before: Config) -> None:
        """Queue by the new options, and tell peers how they shall dial us."""
        old, new = before.channels, self.config.channels
        for (_, name), bound in bounds(self.table):
            channel = new.get(name, new[DEFAULT_CHANNEL])
            limits = {"high_water": channel.max_queue_octets, "hard_limit": channel.hard_queue_octets}
            bound.adjust(**limits, policy=channel.queue_policy)
        for link in self._context.traffic.links:
            if isinstance(link.queue, MonotonicQueue):
                link.queue.send_window = new.get(link.channel, new[DEFAULT_CHANNEL]).send_window
        self.table.know(new)
        used = {name for _, name in dict(bounds(self.table))}
        default = old[DEFAULT_CHANNEL], new[DEFAULT_CHANNEL]
        self._manager.replace_connections(
            [name for name in used if _drops(old.get(name, default[0])) != _drops(new.get(name, default[1]))]
        )
        self._python.retune()
        spec = NodeSpec.of(self.name, self.spec.listen_addrs, channel_map(self.config))
        if spec != self.spec:
            self.spec = spec
            self._manager.respec(spec)
        if not any(self._manager.foreign()):
            self._told = {name: channel.parallelism for name, channel in new.items()}
        self._tell_channels(name for name in new if new[name] != old.get(name))

    def _apply_pauses(self) -> None:
        self._manager.retime()

    def _apply_ping(self) -> None:
        for link in list(self._context.traffic.links):
            link.retune()

    def _apply_overlay(self) -> None:
        self._manager.retune()

    def _apply_acknowledged(self) -> None:
        self._acknowledged.retune()

    def _apply_causal(self) -> None:
        self._causal.retune()

    def _apply_delays(self) -> None:
        self._shape_traffic(self.config)

    def _apply_busy_wait(self) -> None:
        seconds = self.config.busy_wait
        self.router.after_burst = BusyWait(self.loop, seconds).extend if seconds > 0.0 else None

    def _apply_allowed_nodes(self) -> None:
        self._acceptor.check_allowed()
        if self._far is not None:
            self._far.check_allowed()

    def _apply_log_level(self) -> None:
        """Set the level of the package's logger, for every node of the process; None leaves it alone."""
        if self.config.log_level is not None:
            logging.getLogger(LOGGER).setLevel(self.config.log_level)

    def _apply_telemetry_interval(self) -> None:
        self._sampler.retime()


def _listed(names: list[str]) -> str:
    """The first of these names, and how many more there are."""
    shown = ", ".join(sorted(names)[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"


def _drops(channel: ChannelConfig) -> bool:
    """Whether the queues of the channel are of the kind that drops."""
    return channel.queue_policy == "drop_oldest"
