"""Write the generated pages: `python docs/generate.py`; with `--check`, say whether they are up to date instead."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from partisan.config import ChannelConfig, CodecConfig, Config, PingConfig, TlsClientConfig, TlsServerConfig
from partisan.config_load import Row, describe, walk

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
letters. A group or a list may also be one TOML value, as `PARTISAN_LISTEN_ADDRS=["127.0.0.1:10200"]`.

Times are seconds, sizes octets. Options marked "live" are those that a later `reconfigure` may change. "partisan 5.0.3"
marks options that mean, and default to, what they do there.
"""

TABLE = "| option | takes | default | from | live | meaning |\n| --- | --- | --- | --- | --- | --- |"

SECTIONS: tuple[tuple[str, type, str], ...] = (
    ("Options of a node", Config, ""),
    ("Options of a channel: `channels.<name>`", ChannelConfig, "channels.<name>."),
    ("Keepalive: `connection_ping`", PingConfig, "connection_ping."),
    ("TLS of dialled connections: `tls_client_options`", TlsClientConfig, "tls_client_options."),
    ("TLS of accepted connections: `tls_server_options`", TlsServerConfig, "tls_server_options."),
    ("Term codec: `codec`", CodecConfig, "codec."),
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
    parts = [HEAD]
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


PAGES = {"configuration.md": configuration}


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
