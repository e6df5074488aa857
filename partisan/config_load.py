"""Read options: what an option says of itself, how a value is checked, and where values come from.

Nothing here knows a particular option. A group of options is a frozen dataclass whose fields are made by `option` and
`group`; `build` turns a mapping into a group by the fields' types, and `walk` lists every option below a group. Values
come in layers, of which a later one wins: a TOML file, the environment, the caller's arguments.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
import types
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import ConfigError

T = TypeVar("T")
Group = TypeVar("Group")

PREFIX = "PARTISAN_"
"""What the names of environment variables that carry options begin with."""

# Variables of the build, of tests and benchmarks, and the place of the file: they begin with the prefix, but are no
# options.
_NO_OPTION = re.compile(r"CONFIG|BUILD|WERROR|DEBUG|ERL_LIBS|OTP28|TEST_.*|BENCH_.*")

# Nor are those that Kubernetes makes up, in each pod, for every service that is called "partisan" or "partisan-...".
_SERVICE = re.compile(r"((?:[A-Z\d]+_)*)SERVICE_HOST")
_OF_SERVICE = re.compile(r"SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_\w+")

_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


MOST = 1 << 62
"""The greatest whole number of an option without a bound of its own: the core counts with 64 bits."""


@dataclass(frozen=True, slots=True)
class About:
    """What an option says of itself besides its type and default.

    Attributes:
        doc: one or two sentences.
        source: where the default comes from: "paper §x", "partisan 5.0.3" or "ours".
        unit: of a number: "s", "octets", "connections" and so on; empty for other types.
        live: True when `reconfigure` may change it while the node runs.
        low: the least number allowed, or None.
        high: the greatest number allowed, or None.
        positive: the number must be above zero.
        pattern: a regular expression that text must match as a whole, or empty.
        form: the pattern in words, for errors.
        secret: the value is shown nowhere.
    """

    doc: str
    source: str = "ours"
    unit: str = ""
    live: bool = False
    low: float | None = None
    high: float | None = None
    positive: bool = False
    pattern: str = ""
    form: str = ""
    secret: bool = False

    def problem(self, value: object) -> str:
        """Say what is wrong with a value that has the right type, or nothing."""
        if isinstance(value, str) and self.pattern and not re.fullmatch(self.pattern, value):
            return f"{value!r} is not {self.form}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return ""
        unit = f" {self.unit}" if self.unit else ""
        if isinstance(value, float) and not math.isfinite(value):
            return f"{value!r} is no finite number"
        if self.positive and value <= 0:
            return f"{value!r} must be above 0{unit}"
        if self.low is not None and value < self.low:
            return f"{value!r} is below the least of {self.low:g}{unit}"
        high = MOST if self.high is None and isinstance(value, int) else self.high
        if high is not None and value > high:
            return f"{value!r} is above the greatest of {high:g}{unit}"
        return ""


def option(default: T, doc: str, **about: Any) -> T:
    """Make the dataclass field of one option; `about` are the other attributes of `About`.

    Args:
        default: the value when nobody says otherwise.
        doc: one or two sentences.
    """
    made: T = field(default=default, metadata={"about": About(doc, **about)}, repr=not about.get("secret", False))
    return made


def group(kind: Callable[[], T], doc: str, **about: Any) -> T:
    """Make the dataclass field of a group or table of options, by default what `kind` makes."""
    made: T = field(default_factory=kind, metadata={"about": About(doc, **about)}, repr=not about.get("secret", False))
    return made


class Written(str):
    """A value as somebody wrote it in the environment: numbers, truths and tables are read from its text."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One option below a group, as `walk` finds it.

    Attributes:
        path: its dotted name; `<name>` stands for a key that the user chooses.
        hint: its type.
        default: its default; None for a table.
        about: what it says of itself.
    """

    path: str
    hint: Any
    default: Any
    about: About


@cache
def hints(kind: Any) -> dict[str, Any]:
    """The types of a group's fields, by name."""
    return get_type_hints(kind)


def about(entry: Field[Any]) -> About:
    """What the field's option says of itself."""
    found: About = entry.metadata["about"]
    return found


def options_of(kind: Any) -> list[Field[Any]]:
    """The fields of a group that are options or groups; it may have others that it works out itself."""
    return [entry for entry in fields(kind) if "about" in entry.metadata]


def mapping_of(group: Any) -> dict[str, Any]:
    """The options of a group, by name, as `build` takes them."""
    return {entry.name: getattr(group, entry.name) for entry in options_of(group)}


def differences(one: Any, other: Any, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """What differs in two groups of one kind: the dotted name of each option, and whether it is live.

    Of a table that is the name of a key that only one of them has.
    """
    for entry in options_of(one):
        before, after, path = getattr(one, entry.name), getattr(other, entry.name), prefix + entry.name
        if is_dataclass(before) and type(before) is type(after):
            yield from differences(before, after, f"{path}.")
        elif isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from ((f"{path}.{name}", about(entry).live) for name in before.keys() ^ after.keys())
            for name in before.keys() & after.keys():
                if is_dataclass(before[name]):
                    yield from differences(before[name], after[name], f"{path}.{name}.")
                elif before[name] != after[name]:
                    yield f"{path}.{name}", about(entry).live
        elif type(before) is not type(after) or before != after:  # level 1 is not true
            yield path, about(entry).live


def walk(kind: Any, prefix: str = "") -> Iterator[Row]:
    """List the options of a group and of the groups below it, in the order of their fields."""
    for entry in options_of(kind):
        hint = hints(kind)[entry.name]
        path = prefix + entry.name
        inner = get_args(hint)[1] if get_origin(hint) is Mapping else None
        if is_dataclass(hint):
            yield from walk(hint, f"{path}.")
        else:
            yield Row(path, hint, None if entry.default is MISSING else entry.default, about(entry))
        if isinstance(inner, type) and is_dataclass(inner):
            yield from walk(inner, f"{path}.<name>.")


def unknown(kind: Any, name: str, path: str) -> ConfigError:
    """Make the error for a name that a group does not have, with the nearest one that exists."""
    prefix = path.removesuffix(name)
    elsewhere = [row.path for row in walk(kind, prefix) if row.path.endswith(f".{name}")]
    for entry in options_of(kind):
        for inner in filter(is_dataclass, get_args(hints(kind)[entry.name])):  # one that may also be None
            elsewhere += [f"{prefix}{entry.name}.{each.name}" for each in options_of(inner) if each.name == name]
    near = difflib.get_close_matches(name, [entry.name for entry in options_of(kind)], n=1, cutoff=0.6)
    guess = elsewhere[0] if elsewhere else prefix + near[0] if near else ""
    if guess:
        return ConfigError(path, f"there is no such option; did you mean {guess}?")
    known = ", ".join(sorted(entry.name for entry in options_of(kind)))
    return ConfigError(path, f"there is no such option; known are {known}")


def build(kind: Callable[..., Group], values: Mapping[str, Any], path: str = "") -> Group:
    """Make a group from a mapping of its options.

    Args:
        values: by name; what is missing takes its default.
        path: the dotted name of the group, for errors.
    Raises:
        ConfigError: an option is unknown, or its value has the wrong type or is out of bounds.
    """
    checked = {}
    by_name = {entry.name: entry for entry in options_of(kind)}
    for name, value in values.items():
        where = f"{path}.{name}" if path else str(name)
        if name not in by_name:
            raise unknown(kind, str(name), where)
        checked[name] = check(by_name[name], hints(kind)[name], value, where)
    return kind(**checked)


def check(entry: Field[Any], hint: Any, value: Any, path: str) -> Any:
    """Return the value of one option in its own type, or raise ConfigError that names `path`."""
    try:
        converted = convert(value, hint, path)
    except ConfigError:
        if about(entry).secret:
            raise ConfigError(path, f"its value is not {describe(hint)}") from None
        raise
    items = converted if isinstance(converted, tuple) else (converted,)
    for item in items:
        problem = about(entry).problem(item)
        if problem:
            raise ConfigError(path, problem)
    return converted


def convert(value: Any, hint: Any, path: str) -> Any:
    """Return `value` as a value of the type `hint`, or raise ConfigError that names `path`."""
    if is_dataclass(hint):
        return _group(value, hint, path)
    origin = get_origin(hint)
    if origin is Mapping:
        return _table(value, get_args(hint)[1], path)
    if origin is tuple:
        return _items(value, get_args(hint)[0], path)
    kinds = get_args(hint) if origin in (Union, types.UnionType) else (hint,)
    if type(None) in kinds and _to_none(value) is None:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if len(kinds) == 1 and kinds[0] is not hint:
        return convert(value, kinds[0], path)
    # In text, "1" is a number where an option takes both numbers and truths.
    for kind in reversed(kinds) if isinstance(value, Written) else kinds:
        found = _scalar(value, kind)
        if found is not _WRONG:
            return found
    raise ConfigError(path, f"{_shown(value)} is not {describe(hint)}")


_WRONG: Any = object()


def _scalar(value: Any, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        return str(value) if isinstance(value, str) and value in get_args(kind) else _WRONG
    return _SCALARS[kind](value)


def _to_none(value: Any) -> Any:
    # An empty text is not nothing: an empty list of allowed nodes allows nobody, and no list allows everybody.
    written = isinstance(value, Written) and value.lower() == "none"
    return None if value is None or written else _WRONG


def _to_bool(value: Any) -> Any:
    if isinstance(value, Written):
        return _TRUTH.get(value.lower(), _WRONG)
    return value if isinstance(value, bool) else _WRONG


def _read(value: Written, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(value)
    except ValueError:
        return _WRONG


def _to_int(value: Any) -> Any:
    if isinstance(value, Written):
        return _read(value, int)
    return value if isinstance(value, int) and not isinstance(value, bool) else _WRONG


def _to_float(value: Any) -> Any:
    if isinstance(value, Written):
        return _read(value, float)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return _WRONG
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _to_str(value: Any) -> Any:
    return str(value) if isinstance(value, str) else _WRONG


def _to_class(value: Any) -> Any:
    return value if isinstance(value, type) else _WRONG


def _to_any(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value


_SCALARS: dict[Any, Callable[[Any], Any]] = {
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
    str: _to_str,
    type: _to_class,
    Any: _to_any,
}


def _group(value: Any, kind: Any, path: str) -> Any:
    if isinstance(value, kind):
        value = mapping_of(value)
    return build(kind, _mapping(value, path), path)


def _mapping(value: Any, path: str) -> Mapping[str, Any]:
    value = _from_toml(value, path)
    if not isinstance(value, Mapping):
        raise ConfigError(path, f"{_shown(value)} is not a table")
    return value


def _table(value: Any, inner: Any, path: str) -> Mapping[str, Any]:
    made = {}
    for name, each in named(_from_toml(value, path), path).items():
        if not isinstance(name, str) or not name:
            raise ConfigError(path, f"{name!r} is no name")
        made[str(name)] = convert(each, inner, f"{path}.{name}")
    return types.MappingProxyType(made)


def _items(value: Any, inner: Any, path: str) -> tuple[Any, ...]:
    if isinstance(value, Written) and not value.startswith("["):
        value = [Written(each.strip()) for each in value.split(",") if each.strip()]
    value = _from_toml(value, path)
    if not isinstance(value, list | tuple):
        guess = f"; did you mean [{_shown(value)}]?" if isinstance(value, str) else ""
        raise ConfigError(path, f"{_shown(value)} is not a list{guess}")
    return tuple(convert(each, inner, f"{path}[{index}]") for index, each in enumerate(value))


def _from_toml(value: Any, path: str) -> Any:
    if not isinstance(value, Written):
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, f"{_shown(value)} is no TOML value: {error}") from error


def named(value: Any, path: str) -> Mapping[Any, Any]:
    """Return a table that may be written as a list: of names, of (name, table) pairs, of tables with a `name`."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, list | tuple):
        raise ConfigError(path, f"{_shown(value)} is neither a table nor a list of names")
    made: dict[str, Any] = {}
    options: Any
    for each in value:
        match each:
            case str():
                name, options = each, {}
            case (str() as name, options):
                pass
            case {"name": str() as name, **options}:
                pass
            case _:
                raise ConfigError(path, f"{_shown(each)} is neither a name, a pair nor a table with a name")
        if name in made:
            raise ConfigError(f"{path}.{name}", "it is given twice")
        made[name] = options
    return made


def describe(hint: Any) -> str:
    """Name a type in words, as "a number" or "one of wait, error"."""
    origin = get_origin(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if origin is tuple:
        return "a list"
    if origin is Mapping:
        return "a table"
    if origin in (Union, types.UnionType):
        return " or ".join(describe(each) for each in get_args(hint))
    words = {
        bool: "true or false",
        int: "an integer",
        float: "a number",
        str: "text",
        type: "a class",
        Any: "any value",
    }
    words[type(None)] = "none"
    return "a table" if is_dataclass(hint) else words[hint]


def _shown(value: Any) -> str:
    text = repr(str(value)) if isinstance(value, Written) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def from_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a layer from a TOML file."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("config", f"the file {os.fspath(path)!r} cannot be used: {error}") from error


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Read a layer from the variables that begin with `PARTISAN_`.

    `PARTISAN_CONNECTION_PING__IDLE_TIMEOUT=5` is the option `connection_ping.idle_timeout`. A part in capitals is taken
    in small letters, any other as it is: `PARTISAN_CHANNELS__Data__PARALLELISM=2`. A group or a list can also be
    one TOML value: `PARTISAN_CHANNELS={data={parallelism=2}}`.
    """
    layer: dict[str, Any] = {}
    names = {variable.removeprefix(PREFIX) for variable in environment if variable.startswith(PREFIX)}
    for name in sorted(names - _of_services(names)):
        variable = PREFIX + name
        if _NO_OPTION.fullmatch(name):
            continue
        value: Any = Written(environment[variable])
        if value.startswith("{"):  # a table, which other variables may add to
            value = _from_toml(value, variable)
        *groups, last = (part.lower() if part.isupper() else part for part in name.split("__"))
        value = {last: value}
        for group in reversed(groups):
            value = {group: value}
        layer = merge(layer, value)
    return layer


def _of_services(names: Set[str]) -> set[str]:
    """Those of the names that Kubernetes has made up: one of each service's is `..._SERVICE_HOST`."""
    services = [found[1] for found in map(_SERVICE.fullmatch, names) if found]
    return {
        name
        for name in names
        for service in services
        if name.startswith(service) and _OF_SERVICE.fullmatch(name, len(service))
    }


def variables_of(option: str, environment: Mapping[str, str]) -> list[str]:
    """The variables that say something of an option or of its group."""
    group = option.partition(".")[0]
    starts = {variable: variable.removeprefix(PREFIX).partition("__")[0] for variable in sorted(environment)}
    return [variable for variable, start in starts.items() if start != variable and start.lower() == group.lower()]


def opened(kind: Any, layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer whose groups and tables are mappings, however they were written, so that layers can be merged."""
    result = dict(layer)
    for name, hint in hints(kind).items():
        if name in result and get_origin(hint) is Mapping:
            result[name] = named(_from_toml(result[name], name), name)
        elif name in result and is_dataclass(hint):
            result[name] = _from_toml(result[name], name)
    return result


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one layer over another: tables are merged, anything else is replaced."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[name] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged
