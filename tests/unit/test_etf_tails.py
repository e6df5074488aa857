"""Lists whose tails are lists again: they are joined as the specification has it, and at the cost of their items."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from partisan import etf
from partisan.etf import Atom, ImproperList, Pid

HOME = "a@127.0.0.1"
NIL, NUMBER, STRING = b"j", b"a\x07", b"k\0\x02\x05\x06"

ENDS: dict[bytes, Any] = {
    NIL: [],
    NUMBER: 7,
    STRING: [5, 6],
    b"h\0": (),
    b"t\0\0\0\0": {},
    b"m\0\0\0\x0b#Pid<0.1.2>": b"#Pid<0.1.2>",
}
"""What the last tail may be: its octets -> its value."""

ITEMS: dict[bytes, Any] = {
    b"a\x01": 1,
    b"l\0\0\0\x01a\x02j": [2],
    b"l\0\0\0\x01a\x02l\0\0\0\x01a\x03a\x04": ImproperList([2, 3], 4),
    b"w\x0ba@127.0.0.1": Atom(HOME),
}


def written(chain: list[list[bytes]], end: bytes) -> bytes:
    """Octets of a list for each of these, the tail of the one before it."""
    return b"\x83" + b"".join(b"l" + struct.pack(">I", len(items)) + b"".join(items) for items in chain) + end


def simply(chain: list[list[bytes]], end: bytes, remote: bool) -> Any:
    """Read as the specification says it, from the end: a list of no items is its tail.

    A remote reference is written as one list, as all nodes do.
    """
    value = ENDS[end]
    for above, items in enumerate(reversed(chain)):
        last = above == 0 and len(items) == 1
        if remote and last and ITEMS[items[0]] == Atom(HOME) and value == b"#Pid<0.1.2>":
            value = Pid(HOME, 1, 2, 0, "list")
        elif items and type(value) is list:
            value = [*(ITEMS[item] for item in items), *value]
        elif items:
            value = ImproperList([ITEMS[item] for item in items], value)
    return value


@given(
    st.lists(st.lists(st.sampled_from(list(ITEMS)), max_size=3), min_size=1, max_size=6), st.sampled_from(list(ENDS))
)
@example([[b"a\x01"], [b"w\x0ba@127.0.0.1"]], b"m\0\0\0\x0b#Pid<0.1.2>")
@example([[], [b"w\x0ba@127.0.0.1"]], b"m\0\0\0\x0b#Pid<0.1.2>")
@example([[b"w\x0ba@127.0.0.1"], []], b"m\0\0\0\x0b#Pid<0.1.2>")
@example([[b"a\x01"], []], NIL)
@example([[], []], NUMBER)
def test_tails_are_joined_as_a_simple_reading_has_it(chain: list[list[bytes]], end: bytes) -> None:
    octets = written(chain, end)
    for remote in (False, True):
        value = etf.Codec(remote_refs=remote).decode(octets)
        assert type(value) is type(simply(chain, end, remote))
        assert value == simply(chain, end, remote)
        for cut in range(1, len(octets)):
            with pytest.raises(etf.DecodeError):
                etf.Codec(remote_refs=remote).decode(octets[:cut])


@pytest.mark.parametrize("items", [[], [b"a\x01"]], ids=["of no items", "of one item"])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: repr(ENDS[end]))
def test_each_tail_that_is_a_list_is_a_level(items: list[bytes], end: bytes) -> None:
    levels = 20 + (type(ENDS[end]) in (tuple, dict) or end == STRING)
    octets = written([items] * 20, end)
    assert etf.Codec(max_depth=levels).decode(octets) == simply([items] * 20, end, False)
    with pytest.raises(etf.DecodeError, match=f"deeper than {levels - 1} levels"):
        etf.Codec(max_depth=levels - 1).decode(octets)


def test_the_items_of_all_tails_count_together() -> None:
    octets = written([[b"a\x01"] * 3, [b"a\x01"] * 4, []], STRING)
    assert etf.Codec(max_items=9).decode(octets) == [1] * 7 + [5, 6]
    with pytest.raises(etf.DecodeError, match="more than 8 items"):
        etf.Codec(max_items=8).decode(octets)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("end", [NIL, NUMBER], ids=["proper", "improper"])
def test_items_behind_many_tails_are_moved_once_not_once_a_level(end: bytes) -> None:
    levels, items = 7_900, 2_000_000
    # Moved at each level, these took more than a minute.
    octets = written([[b"a\x01"]] * levels + [[b"a\x02" * items]], end)
    octets = octets.replace(struct.pack(">I", 1) + b"a\x02", struct.pack(">I", items) + b"a\x02")
    value = etf.Codec(max_depth=8_000).decode(octets)
    assert len(value if end == NIL else value.items) == levels + items
