"""Erlang's terms that Python lacks and that hold others or octets: bit strings, improper lists, funs and exact maps.

All are immutable. Equality is Erlang's `=:=`. Atoms, pids, references and ports are in `identities`.
"""

cimport cython

from .identities cimport NOBODY, Atom, Pid

from collections.abc import ItemsView, KeysView, Mapping, ValuesView

from ..errors import EncodeError


# --- bit strings, improper lists, funs -------------------------------------------------------------------------------


@cython.final
cdef class BitString:
    """A bit string that is no whole number of octets.

    Args:
        data: at least one octet; unused low bits of the last one are cleared.
        bits: used bits of the last octet, 1 to 7, from the most significant. For 8 take plain bytes.
    """

    __match_args__ = ("data", "bits")

    def __init__(self, bytes data not None, int bits):
        if self.data is not None:
            raise TypeError("a BitString is immutable")
        if not 1 <= bits <= 7:
            raise ValueError(f"the last octet of a bit string has 1 to 7 used bits, not {bits}")
        if not data:
            raise ValueError("a bit string has at least one octet")
        last = data[len(data) - 1]
        kept = last & (0xFF00 >> bits) & 0xFF
        self.bits = bits
        self.data = data if kept == last else data[:len(data) - 1] + bytes((kept,))

    def __len__(self):
        return 8 * (len(self.data) - 1) + self.bits

    def __eq__(self, other):
        if not isinstance(other, BitString):
            return NotImplemented
        return self.bits == (<BitString>other).bits and self.data == (<BitString>other).data

    def __hash__(self):
        return hash((BitString, self.data, self.bits))

    def __repr__(self):
        return f"BitString({self.data!r}, {self.bits})"

    def __reduce__(self):
        return BitString, (self.data, self.bits)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


@cython.final
cdef class ImproperList:
    """A list whose tail is no list, as `[a, b | c]`.

    Args:
        items: the elements before the bar, at least one.
        tail: what is behind the bar. A further ImproperList is joined on; a list there would make the whole a proper
            list, so it is a ValueError.
    """

    __match_args__ = ("items", "tail")

    def __init__(self, items, tail):
        if self.items is not None:
            raise TypeError("an ImproperList is immutable")
        cdef tuple front = tuple(items)
        if not front:
            raise ValueError("an improper list has at least one item")
        if isinstance(tail, ImproperList):
            front += (<ImproperList>tail).items
            tail = (<ImproperList>tail).tail
        if isinstance(tail, list):
            raise ValueError("a list with a list as its tail is a proper list")
        self.items = front
        self.tail = tail

    def __eq__(self, other):
        if not isinstance(other, ImproperList):
            return NotImplemented
        return self.items == (<ImproperList>other).items and self.tail == (<ImproperList>other).tail

    def __hash__(self):
        return hash((ImproperList, self.items, self.tail))

    def __repr__(self):
        return f"ImproperList({self.items!r}, {self.tail!r})"

    def __reduce__(self):
        return ImproperList, (self.items, self.tail)


@cython.final
cdef class Export:
    """A fun that names a function: `fun module:function/arity`."""

    __match_args__ = ("module", "function", "arity")

    def __cinit__(self):
        self.module = self.function = NOBODY

    def __init__(self, Atom module not None, Atom function not None, int arity):
        if self.module is not NOBODY:
            raise TypeError("an Export is immutable")
        if not 0 <= arity <= 255:
            raise ValueError(f"an arity is 0 to 255, not {arity}")
        self.module = module
        self.function = function
        self.arity = arity

    def __eq__(self, other):
        if not isinstance(other, Export):
            return NotImplemented
        cdef Export that = <Export>other
        return self.module is that.module and self.function is that.function and self.arity == that.arity

    def __hash__(self):
        return hash((Export, self.module, self.function, self.arity))

    def __repr__(self):
        return f"Export({self.module!r}, {self.function!r}, {self.arity})"

    def __reduce__(self):
        return Export, (self.module, self.function, self.arity)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


@cython.final
cdef class Fun:
    """A closure made by a real node: opaque here, but it can be kept and sent back.

    Args:
        module, arity, index, uniq, old_index, old_uniq: which clause of which compiled module; uniq is 16 octets.
        pid: the process that made it.
        free: the values that it closed over.
    """

    __match_args__ = ("module", "arity", "index", "uniq", "old_index", "old_uniq", "pid", "free")

    def __init__(self, Atom module not None, int arity, uint32_t index, bytes uniq not None, old_index, old_uniq,
                 Pid pid not None, free=()):
        if self.module is not None:
            raise TypeError("a Fun is immutable")
        if not 0 <= arity <= 255:
            raise ValueError(f"an arity is 0 to 255, not {arity}")
        if len(uniq) != 16:
            raise ValueError(f"uniq has 16 octets, not {len(uniq)}")
        if not isinstance(old_index, int) or not isinstance(old_uniq, int):
            raise TypeError("old_index and old_uniq are ints")
        self.arity = arity
        self.uniq = uniq
        self.index = index
        self.old_index = old_index
        self.old_uniq = old_uniq
        self.pid = pid
        self.free = tuple(free)
        self.module = module

    cdef tuple facts(self):
        return (self.module, self.arity, self.index, self.uniq, self.old_index, self.old_uniq, self.pid, self.free)

    def __eq__(self, other):
        if not isinstance(other, Fun):
            return NotImplemented
        return self.facts() == (<Fun>other).facts()

    def __hash__(self):
        return hash(self.facts())

    def __repr__(self):
        return f"Fun{self.facts()!r}"

    def __reduce__(self):
        return Fun, self.facts()


# --- exact maps ------------------------------------------------------------------------------------------------------

cdef enum:
    NO_HASH = -1    # no object's hash is -1

cdef object _canonical = None


cdef bytes _key(object term, bint nil=False):
    """The octets that two terms share exactly when they are `=:=`, None being the atom undefined, or nil."""
    global _canonical
    if _canonical is None:
        # The encoder needs the classes of this module, so this module can ask for the encoder only when it is used.
        from .encoder import canonical
        _canonical = canonical
    return _canonical(term, nil)


@cython.final
@cython.collection_type("mapping")
cdef class ErlMap:
    """An immutable map whose keys are compared as Erlang's `=:=`: 1, 1.0 and True are three keys.

    Args:
        pairs: a mapping, or (key, value) pairs; keys may be any term, also lists and dicts. Iteration keeps the order.

    Raises:
        ValueError: two keys are equal.
        EncodeError: a key is no term.
    """

    def __init__(self, pairs=()):
        if self.entries is not None:
            raise TypeError("an ErlMap is immutable")
        cdef dict entries = {}
        for key, value in pairs.items() if isinstance(pairs, Mapping) else pairs:
            octets = _key(key)
            if octets in entries:
                raise ValueError(f"the key {key!r} is there twice")
            entries[octets] = (key, value)
        self.entries = entries

    def __len__(self):
        return len(self.entries)

    def __iter__(self):
        return iter([key for key, _ in self.entries.values()])

    def __contains__(self, key):
        return self.find(key) is not None

    def __getitem__(self, key):
        entry = self.find(key)
        if entry is None:
            raise KeyError(key)
        return entry[1]

    cdef object find(self, object key):
        try:
            return self.entries.get(_key(key, self.nil))
        except EncodeError:
            return None     # what is no term is no key either

    def get(self, key, default=None):
        """The value of the key, or the default."""
        entry = self.find(key)
        return default if entry is None else entry[1]

    def keys(self):
        """A view of the keys, in order."""
        return KeysView(self)

    def values(self):
        """A view of the values, in the order of the keys."""
        return ValuesView(self)

    def items(self):
        """A view of the (key, value) pairs, in order."""
        return ItemsView(self)

    def __eq__(self, other):
        if not isinstance(other, (ErlMap, dict)):
            return NotImplemented
        if len(self) != len(other):
            return False
        try:
            return _key(self) == _key(other)
        except EncodeError:
            return False

    def __hash__(self):
        # Both answers are kept: maps nested as keys would else be gone through again at each level.
        if not self.hash_known:
            try:
                for key, value in self.entries.values():
                    hash(key)
                    hash(value)
                self.hash_value = hash(_key(self))
            except TypeError:
                self.hash_value = NO_HASH
            self.hash_known = True
        if self.hash_value == NO_HASH:
            raise TypeError("unhashable: a key or value of this ErlMap has no hash")
        return self.hash_value

    def __repr__(self):
        return f"ErlMap({list(self.entries.values())!r})"

    def __reduce__(self):
        pairs = list(self.entries.values())
        return (_map_with_nil, (pairs,)) if self.nil else (ErlMap, (pairs,))


def _map_with_nil(pairs):
    """What `erlmap_of` has made, for pickle."""
    return erlmap_of(list(pairs), True)


cdef ErlMap erlmap_of(list pairs, bint nil):
    cdef bint by_nil = False
    cdef dict entries = {_key(pair[0]): pair for pair in pairs}
    if nil and len(entries) != len(pairs):      # None and the atom undefined, perhaps, which are two there
        by_nil = True
        entries = {_key(pair[0], True): pair for pair in pairs}
    if len(entries) != len(pairs):
        return None
    cdef ErlMap mapping = ErlMap.__new__(ErlMap)
    mapping.entries = entries
    mapping.nil = by_nil
    return mapping


Mapping.register(ErlMap)
