"""Options and what this installation lacks."""

from __future__ import annotations

from .blame import LocalProtocolError, PartisanError


class DiscoveryFailed(PartisanError, LookupError):
    """A lookup of other nodes has given no answer that can be used; the membership stays as it is.

    Attributes:
        reason: one of "timeout", "unreachable" (nobody answers), "refused" (an answer that says no), "not_found" (what
            was asked for is not there), "malformed", "too_many" (more than `max_nodes`), "failed" (an exception of a
            backend).
        backend: how nodes were looked for, as `peer_discovery.type` says.
    """

    def __init__(self, backend: str, reason: str, detail: str = "") -> None:
        super().__init__(f"discovery by {backend} failed: {reason}" + (f" ({detail})" if detail else ""))
        self.backend = backend
        self.reason = reason


class DiscoveryDisabled(LocalProtocolError):
    """Other nodes cannot be looked for: discovery is not enabled."""

    def __init__(self) -> None:
        super().__init__("discovery is disabled; `enable` it, or set peer_discovery.enabled")


class MissingExtra(PartisanError, ImportError):
    """A library is not installed that only one part of this package needs.

    Attributes:
        extra: what to install: `partisan[extra]`.
    """

    def __init__(self, extra: str, purpose: str, library: str) -> None:
        super().__init__(f"{purpose} needs {library}: pip install 'partisan[{extra}]'", name=library)
        self.extra = extra


class NoAvailableSlots(PartisanError):
    """The overlay has no slots to reserve, or none left.

    Attributes:
        tag: what a slot was asked for.
    """

    def __init__(self, tag: object) -> None:
        super().__init__(f"no slot is available for {tag!r}: this overlay reserves none, or no more")
        self.tag = tag


class Unsupported(PartisanError, NotImplementedError):
    """The overlay of the node has no such thing.

    Attributes:
        overlay: as the option `peer_service_manager` names it.
    """

    def __init__(self, overlay: str, detail: str) -> None:
        super().__init__(f"{overlay}: {detail}")
        self.overlay = overlay


class StateError(PartisanError, OSError):
    """The state that a node keeps on disk cannot be used or written.

    Attributes:
        reason: one of "newer" (a later version of this package wrote it), "damaged", "foreign" (it is another node's,
            or another strategy's), "unreadable", "unwritable".
        path: the file.
    """

    def __init__(self, reason: str, path: str, detail: str = "") -> None:
        super().__init__(f"the state in {path} is {reason}" + (f": {detail}" if detail else ""))
        self.reason = reason
        self.path = path


class ConfigError(PartisanError, ValueError):
    """An option is unknown or its value is wrong.

    Attributes:
        option: the option's dotted name.
    """

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"option {option}: {problem}")
        self.option = option


class UnknownLabel(ConfigError, LookupError):
    """A message was to be sent in the causal order of a label that this node does not have.

    Attributes:
        label: its name.
    """

    def __init__(self, label: str, known: tuple[str, ...]) -> None:
        known_ones = ", ".join(sorted(known)) or "none"
        super().__init__("causal_labels", f"there is no label {label!r}; there are {known_ones}")
        self.label = label
