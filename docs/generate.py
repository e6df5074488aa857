"""Write the generated pages: `python docs/generate.py`; with `--check`, say whether they are up to date instead."""

from __future__ import annotations

import inspect
import logging
import pkgutil
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import partisan
from partisan import Node
from partisan.config import (
    CausalConfig,
    ChannelConfig,
    CodecConfig,
    Config,
    HyParViewOptions,
    PingConfig,
    RelayOptions,
    TlsClientConfig,
    TlsServerConfig,
)
from partisan.config_discovery import BACKENDS, DiscoveryConfig
from partisan.config_distribution import Distribution
from partisan.config_load import Row, describe, walk
from partisan.telemetry import EVENTS

DOCS = Path(__file__).parent

HEAD = """# Configuration

Generated from `partisan/config.py` by `docs/generate.py`: change that, then run `make docs`.

Options come from the arguments of a node, from environment variables and from a TOML file; the first of these that has
an option decides. An unknown or wrong option is a `ConfigError` that names it.

    partisan.Node("a@127.0.0.1:10200", channels={"data": {"parallelism": 4}}, connection_ping={"idle_timeout": 5.0})

    PARTISAN_CHANNELS__DATA__PARALLELISM=4
    PARTISAN_CONNECTION_PING__IDLE_TIMEOUT=5
    PARTISAN_CONFIG=/etc/partisan.toml          # the file

    connection_ping.idle_timeout = 5.0          # in the file
    [channels.data]
    parallelism = 4

In the environment, two underscores part a group from its option, and a channel's name in capitals is taken in small
letters. A group or a list may also be one TOML value, as `PARTISAN_LISTEN_ADDRS=["127.0.0.1:10200"]`. What Kubernetes
says of services called `partisan` or `partisan-...` (`PARTISAN_WEB_SERVICE_HOST` and so on) is no option.

Times are seconds, sizes octets. Options marked "live" are those that `reconfigure` may change. "partisan 5.0.3" marks
options that mean, and default to, what they do there.

## Change options of a running node

    node.reconfigure(parallelism=2, channels={"data": {"max_queue_octets": 1 << 20}, "bulk": None})

All that are given change, or none: an option that is unknown, wrong, or not live and given another value is a
`ConfigError` that names it. Tables are merged with what is there, groups too: `plumtree={"most_trees": 64}` leaves
its other options as they are, while a group given as its class replaces all of them. A channel that is `None` is taken
away (it must be there; the two that always exist go back to their defaults). `partisan.reconfigure` does the same to
the current node. What it means to what runs already:
"""

EFFECTS: tuple[tuple[str, str], ...] = (
    (
        "`parallelism`, and `parallelism`, `monotonic`, `compression` of `channels`",
        "Peers dial by these, so members are told another spec of this node: they keep their connections, dial what is "
        "missing, part with what is too much, and replace what has other options. No message is lost or swapped. A "
        "parallelism that was told to peers cannot change while a node of Partisan 5.0.3 is a member, whose manager "
        "crashes on it, nor while a member, or who is joining, did not say yet what it runs (it is being connected, or "
        "cannot be reached): the error names them. Make them leave, and join again after; or restart with the new one. "
        "One that joins through another member at that very moment is not known here yet. `mixed_cluster = false` at "
        "the start says that there are none, and nobody is looked at. The other changes a real node survives, but it "
        "may tell its own users that this node is down, again and again, until its old connections are closed. Each "
        "change leaves the former spec in every member's state until it is forgotten as who left is (`tombstone_age`), "
        "which is never with a node of the BEAM in the cluster: it is nothing to do every minute.",
    ),
    (
        "`max_queue_octets`, `hard_queue_octets`, `queue_policy`, `send_window` of `channels`",
        "At once, for what waits too. When `queue_policy` becomes or ceases to be `drop_oldest`, each connection is "
        "replaced, and parts when the new one is up.",
    ),
    ("`payload` of `channels`", "At once where it is agreed on; else it is offered to every peer that is connected."),
    (
        "`connection_interval`, `connection_jitter`, `reconnect_backoff_max`",
        "At once: pauses that are under way begin again.",
    ),
    ("`connect_timeout`, `handshake_timeout`", "For the next dial, the next connection."),
    (
        "`connection_ping`",
        "At once, on every connection; the silence so far counts, pings in vain so far do not.",
    ),
    (
        "`gossip`, `periodic_enabled`, `periodic_interval`",
        "At once; the next gossip is due at a random moment of the new interval.",
    ),
    (
        "`hyparview`",
        "At once: views that are too large lose peers at random, and timers begin anew at a random moment.",
    ),
    ("`tombstone_age`", "At the next gossip, for what is remembered already, too."),
    ("`scamp_c`, `scamp_lease`", "From the next subscription on; leases that run end when they would have."),
    (
        "`retransmit_interval`, `retransmit_backoff_max`, `retransmit_jitter`, `acknowledge_expiry`, "
        "`max_unacknowledged`, `max_unacknowledged_octets`",
        "For what is sent, or sent again, from now on.",
    ),
    (
        "`broadcast`, `plumtree`",
        "At once: timers begin anew at a random moment; trees above a smaller bound are forgotten, and grow again.",
    ),
    ("`relay_ttl`, `relay`", "For what is sent, or sent again, and for who is silent, from now on."),
    ("`causal`", "For what waits, or comes, from now on."),
    (
        "`tls_client_options`, `tls_server_options`",
        "Certificates, keys and authorities are read again, whatever is given, and used for connections that are made "
        "from now on: `node.reconfigure()` alone does that.",
    ),
    ("`egress_delay`, `ingress_delay`, `binary_padding`", "At once; order is kept."),
    (
        "`polling_interval`, `timeout`, `remove`, `max_nodes` of `peer_discovery`",
        "For the next lookup, which comes earlier if the interval is shorter now. `node.discovery.enable()` and "
        "`disable()` are the way to begin and to end.",
    ),
    ("`busy_wait`", "At once."),
    (
        "`allowed_nodes`",
        "At once: connections that were dialled by nodes which are not among them are closed.",
    ),
    ("`allow`, `max_remote_calls`", "For the next request; what runs goes on."),
    ("`telemetry_interval`, `long_schedule`, `large_mailbox`", "At once."),
    ("`log_level`", "At once, for every node of the process; `None` leaves the level as it is then."),
)

TELEMETRY = """# Telemetry

Generated from `partisan/telemetry.py` by `docs/generate.py`: change that, then run `make docs`.

What happens in a node is told as named events with measurements and metadata, as BEAM's telemetry does. Nobody hears
the events of another node of the same program.

    def told(event, measurements, metadata):
        print(event, measurements, metadata)

    node.telemetry.attach("my-handler", "partisan.membership", told)   # an event, or all below a prefix
    node.telemetry.detach("my-handler")

    partisan.telemetry.log_events(node.telemetry)                      # all of them, to `logging`

A subscriber runs inside whoever emits, so it should be short, and hand on what takes long. One that raises is logged
once and detached. No event is emitted for a single message, except for one that comes for nobody: what passes and what
waits is counted by the connections themselves, and told every `telemetry_interval`, only while somebody listens to one
of the events that are told so. Attach before `start()` to hear what happens there.

`log_events` logs each event at the level in the table; of warnings that are alike (event, peer, reason, class of
error) it logs the first and then at most one a minute, with how many there were between. The package's own logs about
what peers do wrong are held to the same measure, by the peer's address where a stranger could vary its name.

## Counters

`node.counters()` gives all counters since the start as one dict of plain values:

- `events`: event -> how often it was emitted. Events that sum up an interval count only while somebody listens.
- `sent`, `received`: `octets` and `frames` of all connections, handshakes and pings included. A frame counts as sent
  when it is accepted for sending and not discarded.
- `connections`: peer -> `dialled` and `accepted`, connections whose handshake is done.
- `queues`: peer -> channel -> `queued_octets`, `dropped_frames`, `dropped_octets`; `superseded_frames`, whose place
  newer ones took on a monotonic channel.
- `processes`: how many live; `links`: ends of links that they hold; `monitors`: monitors that they hold; `timers`: what
  `send_after` has yet to send; `calls`: requests to other nodes that wait for their answer.
- `messages`: `delivered` into mailboxes, `undelivered`, for nobody, and `dropped` by mailboxes that were full.

## Processes that hold others up

A node times each burst of processes as a whole, which costs two looks at the clock. If a burst of one process took
longer than `long_schedule`, the event names it. If it was one of several, it is not known which, and the event says how
many; from then on each of them is timed for a while, so that whoever does it again is named. Who is named is logged,
too, as a warning: once a minute for each function that processes run.

## Events

| event | logged at | when | measurements | metadata |
| --- | --- | --- | --- | --- |
"""

TABLE = "| option | takes | default | from | live | meaning |\n| --- | --- | --- | --- | --- | --- |"

SECTIONS: tuple[tuple[str, type, str], ...] = (
    ("Options of a node", Config, ""),
    ("Options of a channel: `channels.<name>`", ChannelConfig, "channels.<name>."),
    ("Keepalive: `connection_ping`", PingConfig, "connection_ping."),
    ("HyParView: `hyparview`", HyParViewOptions, "hyparview."),
    ("Relaying: `relay`", RelayOptions, "relay."),
    ("TLS of dialled connections: `tls_client_options`", TlsClientConfig, "tls_client_options."),
    ("TLS of accepted connections: `tls_server_options`", TlsServerConfig, "tls_server_options."),
    ("Discovery: `peer_discovery`", DiscoveryConfig, "peer_discovery."),
    *(
        (f'`peer_discovery.config` of `type = "{name}"`', options, "peer_discovery.config.")
        for name, options in BACKENDS.items()
    ),
    ("Causal delivery: `causal`", CausalConfig, "causal."),
    ("Term codec: `codec`", CodecConfig, "codec."),
    ("Erlang's distribution: `distribution`", Distribution, "distribution."),
)


def shown(row: Row) -> str:
    """Write a default as a person would, sizes with their unit."""
    value: Any = row.default
    if row.about.unit == "octets":
        for factor, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
            if value % factor == 0:
                return f"{value // factor} {unit}"
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{each}`" for each in value)
    return f"{value:,} {row.about.unit}".rstrip()


def bounds(row: Row) -> str:
    """Say what values an option takes."""
    about = row.about
    words = [describe(row.hint)]
    if about.positive:
        words.append("above 0")
    if about.low is not None and about.high is not None:
        words.append(f"{int(about.low):,} to {int(about.high):,}")
    elif about.low is not None:
        words.append(f"at least {int(about.low):,}")
    return ", ".join(words)


def configuration() -> str:
    """Make the page of the options."""
    effects = "".join(f"| {options} | {effect} |\n" for options, effect in EFFECTS)
    parts = [f"{HEAD}\n| option | takes effect |\n| --- | --- |\n{effects}"]
    inner = tuple(prefix for _, _, prefix in SECTIONS if prefix)
    for title, group, prefix in SECTIONS:
        parts.append(f"## {title}\n\n{TABLE}")
        for row in walk(group):
            if not prefix and row.path.startswith(inner):
                continue
            live = "yes" if row.about.live else ""
            cells = (f"`{row.path}`", bounds(row), shown(row), row.about.source, live, row.about.doc)
            parts.append("| " + " | ".join(cells) + " |")
        parts.append("")
    return "\n".join(parts)


def telemetry() -> str:
    """Make the page of the events."""

    def named(words: Mapping[str, str]) -> str:
        return "; ".join(f"`{name}`: {meaning}" for name, meaning in words.items())

    rows = [
        (f"`{event}`", logging.getLevelName(about.level), about.when, named(about.measurements), named(about.metadata))
        for event, about in EVENTS.items()
    ]
    return TELEMETRY + "".join(f"| {' | '.join(row)} |\n" for row in rows)


COVERAGE = """# What of the API is there

Generated by `docs/generate.py` from `docs/api-names.toml`, the names that must exist, and from the package: change
these, then run `make docs`. What acts on the current node is a function of its module and a method of `Node`.
"""

EVENT = "`partisan.telemetry`"
TAKERS: dict[str, Callable[..., Any]] = {
    "`forward_message`, `cast_message`": Node.forward_message,
    "`call` (of every behaviour)": partisan.call,
}


def found(place: str, name: str) -> str:
    """Say where a name of a module, or of a class in one, lives; empty if it does not."""
    try:
        holder = pkgutil.resolve_name(place)
    except (ModuleNotFoundError, AttributeError):
        return ""
    if not hasattr(holder, name):
        return ""
    method = f", `Node.{name}`" if hasattr(Node, name) else ""
    return f"`{place}.{name}`{method}"


def row(place: str, name: str, lives: str, reasons: dict[str, str]) -> str:
    """One name and where it lives, or why it does not. Raises ValueError if that is said wrongly, or not at all."""
    whole = f"{place}.{name}"
    reason = reasons.pop(whole, "") or (reasons.get(place, "") if not lives else "")
    if bool(lives) == bool(reason):
        raise ValueError(f"{whole} is there and has a reason not to be" if lives else f"{whole} is not there: why?")
    return f"| `{name}` | {lives or f'not yet: {reason}'} |"


def coverage() -> str:
    """Make the page of the names that must exist. Raises ValueError if docs/api-names.toml is not in step."""
    wanted = tomllib.loads((DOCS / "api-names.toml").read_text(encoding="utf-8"))
    reasons: dict[str, str] = wanted["reasons"]
    tables = [
        (each["place"], {name: found(each["place"], name) for name in each["names"].split()})
        for each in wanted["module"]
    ]
    takers = {words: inspect.signature(function).parameters for words, function in TAKERS.items()}
    options = {
        name: ", ".join(words for words, takes in takers.items() if name in takes)
        for name in wanted["options"]["names"].split()
    }
    events = {name: EVENT if f"partisan.{name}" in EVENTS else "" for name in wanted["events"]["names"].split()}
    tables += [("options", options), ("events", events)]
    parts = [COVERAGE]
    for place, names in tables:
        rows = [row(place, name, lives, reasons) for name, lives in names.items()]
        parts.append(f"## {place}\n\n| name | where |\n| --- | --- |\n" + "\n".join(rows) + "\n")
    unused = reasons.keys() - {place for place, names in tables if not all(names.values())}
    if unused:
        raise ValueError(f"reasons for what is there, or never was asked for: {', '.join(sorted(unused))}")
    return "\n".join(parts)


PAGES = {"configuration.md": configuration, "telemetry.md": telemetry, "api-coverage.md": coverage}


def main(arguments: list[str]) -> int:
    """Write the pages, or return 1 if one differs from what would be written."""
    stale = []
    for name, make in PAGES.items():
        page, text = DOCS / name, make()
        if "--check" not in arguments:
            page.write_text(text, encoding="utf-8")
        elif not page.exists() or page.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        print(f"out of date, run `make docs`: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
