"""The messages of a membership strategy of one's own as terms: dataclasses, and what their fields may hold.

    greeting   {partisan_strategy, Strategy, OwnSpec, Value}
    message    {membership_strategy, {OwnSpec, {partisan_strategy, Strategy, Value}}}

Value is a number, a boolean, a binary (bytes), `none`, a list (a tuple), or one of
`{text, Utf8}`, `{spec, NodeSpec}`, `{dict, [{Key, Value}]}`, `{record, Class, [Field]}`. Only the classes that the
strategy names are made of what a peer sends, and by their fields alone.

Between Python nodes only: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from partisan.errors import MembershipTooLarge
from partisan.etf import Atom
from partisan.names import NodeSpec
from partisan.wire.atom import malformed, name_of
from partisan.wire.spec import spec_from_term, spec_to_term

_MEMBERSHIP_STRATEGY, _STRATEGY = Atom("membership_strategy"), Atom("partisan_strategy")
_NONE, _TEXT, _SPEC, _DICT = Atom("none"), Atom("text"), Atom("spec"), Atom("dict")
_RECORD = Atom("record")

_WHAT = "message of a strategy"
_DEPTH = 32
"""How deep values may be nested (ours)."""

VALUES = 64
"""Values that are taken from a peer for each member that is (ours)."""

_PLAIN = (bool, int, float, bytes)


class Records:
    """Translates the messages of one strategy.

    Args:
        strategy: its name; nodes of different names do not understand each other.
        classes: the frozen dataclasses that it sends.
        most: members that are taken from a peer; bounds the values in a message.
    """

    def __init__(self, strategy: str, classes: tuple[type, ...], most: int) -> None:
        self._strategy = Atom(strategy)
        self._classes = {Atom(each.__name__): each for each in classes}
        self._names = {each: name for name, each in self._classes.items()}
        self._most = most * VALUES
        self._left = 0

    def greeting_to_term(self, myself: NodeSpec, greeting: object) -> tuple[Any, ...]:
        """Return what a handshake tells."""
        return (_STRATEGY, self._strategy, spec_to_term(myself), self._to_term(greeting))

    def greeting_from_term(self, term: object) -> tuple[NodeSpec, Any]:
        """Read who says it, and what. Raises MalformedMessage, MembershipTooLarge."""
        if type(term) is not tuple or len(term) != 4 or term[0] is not _STRATEGY:
            malformed("greeting", term)
        self._check_strategy(term[1])
        return spec_from_term(term[2]), self._read(term[3])

    def message_to_term(self, myself: NodeSpec, message: object) -> tuple[Any, ...]:
        """Return what goes to a peer's manager."""
        return (_MEMBERSHIP_STRATEGY, (spec_to_term(myself), (_STRATEGY, self._strategy, self._to_term(message))))

    def message_from_term(self, term: object) -> tuple[NodeSpec, Any]:
        """Read who says it, and what. Raises MalformedMessage, MembershipTooLarge."""
        match term:
            case (tag, (spec, (inner, strategy, value))) if tag is _MEMBERSHIP_STRATEGY and inner is _STRATEGY:
                self._check_strategy(strategy)
                return spec_from_term(spec), self._read(value)
        return malformed(_WHAT, term)

    def _check_strategy(self, theirs: object) -> None:
        if theirs is not self._strategy:
            name = name_of(theirs, "strategy")
            malformed("strategy", f"the peer keeps its members with {name}, this node with {self._strategy.name}")

    def _to_term(self, value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        if value is None:
            return _NONE
        if kind is str:
            return (_TEXT, value.encode())
        if kind is NodeSpec:
            return (_SPEC, spec_to_term(value))
        if kind is tuple:
            return [self._to_term(each) for each in value]
        if kind in self._names:
            return (_RECORD, self._names[kind], [self._to_term(getattr(value, each.name)) for each in fields(value)])
        if isinstance(value, Mapping):
            return (_DICT, [(self._to_term(key), self._to_term(each)) for key, each in value.items()])
        raise TypeError(f"a {kind.__name__} has no place in a message of a strategy: {value!r:.80}")

    def _read(self, term: object) -> Any:
        self._left = self._most
        return self._from_term(term, _DEPTH)

    def _from_term(self, term: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise MembershipTooLarge(self._most + 1, self._most, "values")
        if type(term) in _PLAIN:
            return term
        if type(term) is str:  # a codec that shows binaries as text
            return term.encode()
        if term is _NONE:
            return None
        if depth == 0:
            malformed(_WHAT, "nested too deeply")
        if type(term) is list:
            self._check_room(term)
            return tuple([self._from_term(each, depth - 1) for each in term])
        if type(term) is not tuple or not term:
            malformed(_WHAT, term)
        return self._tagged(term, depth - 1)

    def _check_room(self, items: list[Any]) -> None:
        if len(items) > self._left:
            raise MembershipTooLarge(len(items), self._most, "values")

    def _tagged(self, term: tuple[Any, ...], depth: int) -> Any:
        match term:
            case (tag, text) if tag is _TEXT:
                return self._text(text)
            case (tag, spec) if tag is _SPEC:
                return spec_from_term(spec)
            case (tag, list(pairs)) if tag is _DICT:
                return self._dict(pairs, depth)
            case (tag, name, list(values)) if tag is _RECORD:
                return self._record(name, values, depth)
        return malformed(_WHAT, term)

    def _text(self, term: object) -> str:
        if type(term) is str:
            return term
        if type(term) is not bytes:
            malformed(_WHAT, term)
        try:
            return term.decode()
        except UnicodeDecodeError:
            malformed(_WHAT, term)

    def _dict(self, pairs: list[Any], depth: int) -> dict[Any, Any]:
        self._check_room(pairs)
        found: dict[Any, Any] = {}
        for pair in pairs:
            if type(pair) is not tuple or len(pair) != 2:
                malformed(_WHAT, pair)
            key = self._from_term(pair[0], depth)
            try:
                found[key] = self._from_term(pair[1], depth)
            except TypeError:  # a key that cannot be hashed
                malformed(_WHAT, pair)
        return found

    def _record(self, name: object, values: list[Any], depth: int) -> Any:
        kind = self._classes.get(name) if type(name) is Atom else None
        if kind is None or len(values) != len(fields(kind)):
            malformed(_WHAT, (name, values))
        return kind(*(self._from_term(each, depth) for each in values))
