"""Check octets that claim to be a msgpack payload, before anything is built of them.

msgpack's own limits are per container, and it makes a list as long as its header says before it reads the items; so a
few octets of nested headers would ask for any amount of memory. Here every count is held against the octets that are
left, over all containers together, in one pass that allocates nothing.
"""

from cpython.buffer cimport PyBUF_SIMPLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from partisan.errors import DecodeError, Truncated

# The extension types of a payload.
TUPLE = 1      # no octets; the first item of an array that stands for a tuple
ATOM = 2       # its name in UTF-8
PID = 3        # in external term format, version octet included, not compressed
REFERENCE = 4  # likewise
TERM = 5       # any other term, likewise

cdef enum:
    IS_TUPLE = 1
    IS_ATOM = 2
    IS_TERM = 5
    VERSION = 131
    COMPRESSED = 80
    # Kinds of map keys, for telling whether two keys may be one key under the external term format.
    TEXT = 1
    OCTETS = 2
    CONSTANT = 4
    NAME = 8
    OPEN = 16   # a container or a term: it is not compared here
    OTHER = 32

cdef struct Level:
    uint64_t left   # items still to come; a pair of a map is two
    bint is_map
    bint fresh      # no item has come yet
    uint8_t keys    # kinds of keys that have come

cdef struct Scan:
    const uint8_t* data   # borrowed
    uint64_t size
    uint64_t at           # octets used
    uint64_t items        # how many more items containers may have
    Level* levels         # owned by `check`
    uint32_t depth        # levels open
    uint32_t most         # how many may be


cdef inline uint64_t number(const uint8_t* data, uint64_t size) noexcept:
    """A big-endian number of so many octets."""
    cdef uint64_t value = 0
    cdef uint64_t i
    for i in range(size):
        value = value << 8 | data[i]
    return value


cdef uint64_t take(Scan* scan, uint64_t size) except? 0xFFFFFFFFFFFFFFFF:
    """Pass over so many octets; returns where they begin."""
    cdef uint64_t start = scan.at
    if size > scan.size - start:
        raise Truncated(size - (scan.size - start), scan.size)
    scan.at += size
    return start


cdef uint64_t length(Scan* scan, uint64_t size) except? 0xFFFFFFFFFFFFFFFF:
    """Read a length of so many octets."""
    return number(scan.data + take(scan, size), size)


cdef int enter(Scan* scan, uint64_t count, bint is_map) except -1:
    """Begin a container of so many items."""
    cdef Level* level
    if count == 0:
        return OPEN
    if scan.depth == scan.most:
        raise DecodeError(f"nested deeper than {scan.most} levels", scan.at)
    if count > scan.items:
        raise DecodeError("more items than allowed", scan.at)
    scan.items -= count
    level = &scan.levels[scan.depth]
    level.left = count
    level.is_map = is_map
    level.fresh = True
    level.keys = 0
    scan.depth += 1
    return OPEN


cdef int extension(Scan* scan, uint64_t size, bint first) except -1:
    """Pass over an extension; returns its kind as a key."""
    cdef uint8_t code = scan.data[take(scan, 1)]
    cdef uint64_t start = take(scan, size)
    if code == IS_TUPLE:
        if size or not first:
            raise DecodeError("the mark of a tuple is not at its front", start)
        return OTHER
    if code == IS_ATOM:
        return NAME
    if code == 0 or code > IS_TERM:
        raise DecodeError(f"unknown extension type {code}", start)
    if size < 2 or scan.data[start] != VERSION or scan.data[start + 1] == COMPRESSED:
        raise DecodeError("an extension is no plain term", start)
    return OPEN if code == IS_TERM else OTHER


cdef int floating(Scan* scan, uint64_t size, uint64_t exponent) except -1:
    """Pass over a float, which must be finite: all bits of the exponent are not set."""
    if length(scan, size) & exponent == exponent:
        raise DecodeError("a float is not finite", scan.at)
    return OTHER


cdef int item(Scan* scan, bint first) except -1:
    """Pass over one item, of a container its header; returns its kind as a key."""
    cdef uint8_t tag = scan.data[take(scan, 1)]
    if tag <= 0x7F or tag >= 0xE0:
        return OTHER
    if tag <= 0x8F:
        return enter(scan, 2 * <uint64_t>(tag & 0x0F), True)
    if tag <= 0x9F:
        return enter(scan, tag & 0x0F, False)
    if tag <= 0xBF:
        take(scan, tag & 0x1F)
        return TEXT
    if tag == 0xC0 or tag == 0xC2 or tag == 0xC3:
        return CONSTANT
    if tag == 0xC1:
        raise DecodeError("the octet 193 begins nothing", scan.at - 1)
    if tag <= 0xC6:
        take(scan, length(scan, 1 << (tag - 0xC4)))
        return OCTETS
    if tag <= 0xC9:
        return extension(scan, length(scan, 1 << (tag - 0xC7)), first)
    if tag == 0xCA:
        return floating(scan, 4, 0x7F800000)
    if tag == 0xCB:
        return floating(scan, 8, 0x7FF0000000000000)
    if tag <= 0xD3:
        take(scan, 1 << ((tag - 0xCC) & 3))
        return OTHER
    if tag <= 0xD8:
        return extension(scan, 1 << (tag - 0xD4), first)
    if tag <= 0xDB:
        take(scan, length(scan, 1 << (tag - 0xD9)))
        return TEXT
    if tag <= 0xDD:
        return enter(scan, length(scan, 2 << (tag - 0xDC)), False)
    return enter(scan, 2 * length(scan, 2 << (tag - 0xDE)), True)


cdef bint same(uint8_t keys, int kind) noexcept:
    """Whether a key of this kind may be the same term as one of the kinds that came before."""
    if kind == TEXT:
        return keys & OCTETS
    if kind == OCTETS:
        return keys & TEXT
    if kind == CONSTANT:
        return keys & NAME
    if kind == NAME:
        return keys & CONSTANT
    return kind == OPEN


cdef bint walk(Scan* scan) except? True:
    """Pass over one whole item; returns whether a map has keys that may be one."""
    cdef Level* level
    cdef bint doubtful = False
    cdef bint first, key
    cdef uint64_t due = 1  # items that open containers still want: each takes an octet at least
    cdef uint64_t before
    cdef int kind
    item_is_due = True
    while item_is_due:
        level = NULL
        first = key = False
        if scan.depth:
            level = &scan.levels[scan.depth - 1]
            key = level.is_map and level.left % 2 == 0
            first = level.fresh and not level.is_map
            level.fresh = False
            level.left -= 1
        before = scan.items
        kind = item(scan, first)
        due += before - scan.items - 1
        if due > scan.size - scan.at:
            raise Truncated(due - (scan.size - scan.at), scan.size)
        if key:
            doubtful = doubtful or same(level.keys, kind)
            level.keys |= kind
        while scan.depth and scan.levels[scan.depth - 1].left == 0:
            scan.depth -= 1
        item_is_due = scan.depth != 0
    return doubtful


def check(data, uint32_t max_depth, uint64_t max_items) -> bool:
    """Whether some map of the payload has keys that may be one key under the external term format.

    Args:
        data: octets; not kept.
        max_depth: levels of containers.
        max_items: items of all containers; a pair counts two, and a tuple one more than its items.
    Raises:
        DecodeError: they are no payload, or a limit is passed, or octets follow it.
    """
    cdef Py_buffer view
    cdef Scan scan
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    scan.data = <const uint8_t*>view.buf
    scan.size = view.len
    scan.at = 0
    scan.items = max_items
    scan.depth = 0
    scan.most = max_depth
    scan.levels = <Level*>malloc(max_depth * sizeof(Level))
    try:
        if scan.levels is NULL:
            raise MemoryError
        doubtful = walk(&scan)
        if scan.at != scan.size:
            raise DecodeError(f"{scan.size - scan.at} octets behind the payload", scan.at)
        return doubtful
    finally:
        free(scan.levels)
        PyBuffer_Release(&view)
