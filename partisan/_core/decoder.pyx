"""From octets to Python values: one pass with every length checked before it is believed.

A count is admitted only when the input still has an octet for each item, beside one for each that the containers around
it await, and the limits allow them; then the container is made at its final size. So memory stays a small multiple of
the input, whatever the counts say. Keys of maps that are short binaries go through a bounded cache, as do atoms: a key
that was seen before costs a comparison and has its hash already.
"""

from cpython.list cimport PyList_New
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_New
from libc.math cimport isfinite
from libc.stdint cimport INT64_MAX, int32_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from .identities cimport ATOM_FALSE, ATOM_NIL, ATOM_PLAIN, ATOM_TRUE, ATOM_UNDEFINED, Atom
from .options cimport LARGE_OCTETS, NONE_IS_UNDEFINED, codec_options
from .python cimport (
    FALSE, NONE, TRUE, Py_DECREF, Py_INCREF, PyBytes_AS_STRING, PyBytes_GET_SIZE, PyDict_GET_SIZE, PyErr_Clear,
    PyErr_ExceptionMatches, PySequence_Fast_ITEMS, PyUnicode_DATA, PyUnicode_GET_LENGTH, dict_of_size, new_bytes,
    new_float, new_int, new_text, new_uint64, try_hash, try_set_default,
)
from .reader cimport (
    REMOTE_REF, adopted, count32, need, owned, read_atom, read_bits, read_export, read_float_text, read_home, read_pid,
    read_port, read_reference, read_remote, reader, remote_of_tuple,
)
from .terms cimport ErlMap, Fun, ImproperList, erlmap_of
from .wire cimport (
    ATOM_CACHE_REF, ATOM_EXT, ATOM_UTF8_EXT, BINARY_EXT, BIT_BINARY_EXT, COMPRESSED_EXT, EXPORT_EXT, FLOAT_EXT, FUN_EXT,
    INTEGER_EXT, LARGE_BIG_EXT, LARGE_TUPLE_EXT, LIST_EXT, LOCAL_EXT, MAP_EXT, NEW_FLOAT_EXT, NEW_FUN_EXT,
    NEW_FUN_FIXED_OCTETS, NEW_PID_EXT, NEW_PORT_EXT, NEW_REFERENCE_EXT, NEWER_REFERENCE_EXT, NIL_EXT, PID_EXT, PORT_EXT,
    REFERENCE_EXT, SMALL_ATOM_EXT, SMALL_ATOM_UTF8_EXT, SMALL_BIG_EXT, SMALL_INTEGER_EXT, SMALL_TUPLE_EXT, STRING_EXT,
    V4_PORT_EXT, get16, get32, get_double, octets_are_ascii, octets_hash, probes, probes_add, probes_free,
)

import zlib

from ..errors import DecodeError, Truncated


cdef enum:
    CACHED_KEYS = 1024          # slots; a power of two
    CACHED_KEY_OCTETS = 40      # longer keys are not cached
    FEW_PAIRS = 64              # in a dict of so many, keys that all meet do little harm

# Keys of maps seen lately: owned references or NULL, a new one evicts the old one. bytes in one, ASCII str in the other.
cdef PyObject* _octet_keys[CACHED_KEYS]
cdef PyObject* _text_keys[CACHED_KEYS]


# --- bounds ----------------------------------------------------------------------------------------------------------


cdef inline int admit(reader* r, Py_ssize_t items, int depth, Py_ssize_t tag_at) except -1:
    """Charge a container to the limits, and make sure that the input has an octet for each item that was promised."""
    if depth <= 0:
        raise DecodeError(f"a term nested deeper than {r.options.max_depth} levels", tag_at)
    if items > r.items:
        raise DecodeError(f"a term of more than {r.options.max_items} items", tag_at)
    r.items -= items
    return need(r, items + r.pending)


# --- one term --------------------------------------------------------------------------------------------------------


cdef PyObject* read_term(reader* r, int depth) except NULL:
    """Read the term at r.position; the reference is new."""
    cdef Py_ssize_t tag_at = r.position, n
    cdef uint8_t tag
    cdef const uint8_t* p
    need(r, 1)
    p = r.data + tag_at
    tag = p[0]
    r.position = tag_at + 1
    if tag == SMALL_INTEGER_EXT:
        need(r, 1)
        r.position += 1
        return new_int(p[1])
    elif tag == INTEGER_EXT:
        need(r, 4)
        r.position += 4
        return new_int(<int32_t>get32(p + 1))
    elif tag == BINARY_EXT:
        n = count32(r)
        return read_binary(r, n)
    elif tag == ATOM_EXT or tag == SMALL_ATOM_EXT or tag == ATOM_UTF8_EXT or tag == SMALL_ATOM_UTF8_EXT \
            or tag == ATOM_CACHE_REF:
        return read_atom_term(r, tag)
    elif tag == SMALL_TUPLE_EXT:
        need(r, 1)
        r.position += 1
        return read_tuple(r, wide_arity(r) if p[1] == 0 and r.peers else p[1], depth, tag_at)
    elif tag == NIL_EXT:
        return owned([])
    elif tag == LIST_EXT:
        n = count32(r)
        return read_list(r, n, depth, tag_at)
    elif tag == MAP_EXT:
        n = count32(r)
        return read_map(r, n, depth, tag_at)
    elif tag == NEW_FLOAT_EXT:
        return read_float(r, tag_at)
    elif tag == STRING_EXT:
        return read_string(r, depth, tag_at)
    elif tag == LARGE_TUPLE_EXT:
        n = count32(r)
        return read_tuple(r, n, depth, tag_at)
    elif tag == SMALL_BIG_EXT:
        need(r, 1)
        r.position += 1
        return read_big(r, p[1])
    return owned(read_rare(r, tag, depth, tag_at))


cdef object read_rare(reader* r, int tag, int depth, Py_ssize_t tag_at):
    """The terms that seldom occur, and what is no term."""
    if tag == LARGE_BIG_EXT:
        return adopted(read_big(r, count32(r)))
    if tag == NEW_PID_EXT or tag == PID_EXT:
        return read_pid(r, tag, tag_at)
    if tag == NEWER_REFERENCE_EXT or tag == NEW_REFERENCE_EXT or tag == REFERENCE_EXT:
        return read_reference(r, tag, tag_at)
    if tag == V4_PORT_EXT or tag == NEW_PORT_EXT or tag == PORT_EXT:
        return read_port(r, tag, tag_at)
    if tag == BIT_BINARY_EXT:
        return read_bits(r, tag_at)
    if tag == EXPORT_EXT:
        return read_export(r)
    if tag == NEW_FUN_EXT:
        return read_fun(r, depth, tag_at)
    if tag == FLOAT_EXT:
        return read_float_text(r, tag_at)
    if tag == FUN_EXT:
        raise DecodeError("FUN_EXT, a fun in the form that OTP 23 gave up", tag_at)
    if tag == LOCAL_EXT:
        raise DecodeError("LOCAL_EXT, a term that only its own emulator can read", tag_at)
    if tag == COMPRESSED_EXT:
        raise DecodeError("COMPRESSED inside of a term", tag_at)
    raise DecodeError(f"{tag} is no tag of a term", tag_at)


# --- numbers ---------------------------------------------------------------------------------------------------------


cdef PyObject* read_float(reader* r, Py_ssize_t tag_at) except NULL:
    cdef double value
    need(r, 8)
    value = get_double(r.data + r.position)
    if not isfinite(value):
        raise DecodeError("a float that is not finite", tag_at)
    r.position += 8
    return new_float(value)


cdef PyObject* read_big(reader* r, Py_ssize_t n) except NULL:
    """A sign octet, then n octets of magnitude, the least significant first."""
    cdef uint64_t magnitude = 0
    cdef Py_ssize_t i
    cdef const uint8_t* p
    cdef bint negative
    need(r, n + 1)
    p = r.data + r.position
    negative = p[0] != 0
    r.position += n + 1
    if n <= 8:
        for i in range(n):
            magnitude |= <uint64_t>p[1 + i] << (8 * i)
        if not negative:
            return new_uint64(magnitude)
        if magnitude <= <uint64_t>INT64_MAX:
            return owned(-<long long>magnitude)
    value = int.from_bytes(p[1:n + 1], "little")
    return owned(-value if negative else value)


# --- atoms and octets ------------------------------------------------------------------------------------------------


cdef PyObject* read_atom_term(reader* r, int tag) except NULL:
    """An atom as a term of its own: some of them are Python constants."""
    cdef Atom atom = read_atom(r, tag)
    cdef PyObject* value = <PyObject*>atom
    if atom.special != ATOM_PLAIN:
        if atom.special == ATOM_TRUE:
            value = TRUE
        elif atom.special == ATOM_FALSE:
            value = FALSE
        elif atom.special == (ATOM_UNDEFINED if r.options.none == NONE_IS_UNDEFINED else ATOM_NIL):
            value = NONE
    Py_INCREF(value)
    return value


cdef PyObject* read_binary(reader* r, Py_ssize_t n) except NULL:
    cdef object octets
    cdef const char* p
    if r.planted is not NULL and n >= LARGE_OCTETS and not (r.wide and r.planted_next == len(<list>r.planted)):
        octets = next_planted(r, n)
        return owned(text_or_octets(octets) if r.options.text else octets)
    need(r, n)
    p = <const char*>r.data + r.position
    r.position += n
    if r.options.text:
        if octets_are_ascii(<const uint8_t*>p, n):
            return new_ascii(p, n)
        return owned(text_or_octets(p[:n]))
    return new_bytes(p, n)


cdef inline PyObject* new_ascii(const char* text, Py_ssize_t n) except NULL:
    """A str of n octets that are known to be ASCII."""
    cdef PyObject* value = new_text(n, 127)
    if n:
        memcpy(PyUnicode_DATA(value), text, n)      # the empty str is shared: it is not written to
    return value


cdef object text_or_octets(bytes octets):
    """A str when the octets are UTF-8; else the octets, so that nothing is lost."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets


cdef bytes next_planted(reader* r, Py_ssize_t n):
    cdef list planted = <list>r.planted
    if r.planted_next >= len(planted):
        raise DecodeError(f"a binary of {n} octets that nobody took", r.position)
    cdef bytes octets = planted[r.planted_next]
    if len(octets) != n:
        raise DecodeError(f"a binary of {n} octets, of which {len(octets)} were taken", r.position)
    r.planted_next += 1
    return octets


# --- containers ------------------------------------------------------------------------------------------------------


cdef int read_items(reader* r, PyObject** items, Py_ssize_t n, int depth) except -1:
    """Read n terms into the empty slots of a new list or tuple."""
    cdef const uint8_t* p = r.data + r.position
    cdef const uint8_t* last = r.data + r.size - 9      # up to here the longest term of fixed size fits
    cdef Py_ssize_t i, around = r.pending
    cdef uint8_t tag
    cdef double value
    for i in range(n):
        if p <= last:
            tag = p[0]
            if tag == INTEGER_EXT:
                items[i] = new_int(<int32_t>get32(p + 1))
                p += 5
                continue
            elif tag == SMALL_INTEGER_EXT:
                items[i] = new_int(p[1])
                p += 2
                continue
            elif tag == NEW_FLOAT_EXT:
                value = get_double(p + 1)
                if isfinite(value):
                    items[i] = new_float(value)
                    p += 9
                    continue
        r.position = p - r.data
        r.pending = around + n - 1 - i
        items[i] = read_term(r, depth)
        p = r.data + r.position
    r.position = p - r.data
    r.pending = around
    return 0


cdef Py_ssize_t wide_arity(reader* r) noexcept:
    """The arity of what begins like an empty tuple, in a frame that a peer wrote.

    Partisan 5.0.3 writes a tuple of more than 255 elements with the tag of a small one and an arity of four octets
    (partisan-core, section 1.5). The first of them is 0, and the second begins no term, as what follows an empty tuple
    must: below 70 * 65536 elements the two cannot be confused.
    """
    cdef const uint8_t* second = r.data + r.position
    if r.size - r.position < 3 or second[0] >= NEW_FLOAT_EXT or get32(second - 1) < 256:
        return 0
    r.position += 3
    r.wide = True
    return <Py_ssize_t>get32(second - 1)


cdef PyObject* read_tuple(reader* r, Py_ssize_t n, int depth, Py_ssize_t tag_at) except NULL:
    admit(r, n, depth, tag_at)
    cdef tuple result = PyTuple_New(n)
    read_items(r, PySequence_Fast_ITEMS(<PyObject*>result), n, depth - 1)
    if n == 3 and r.options.remote_refs and PySequence_Fast_ITEMS(<PyObject*>result)[0] == <PyObject*>REMOTE_REF:
        return owned(remote_of_tuple(result))
    return owned(result)


cdef PyObject* read_list(reader* r, Py_ssize_t n, int depth, Py_ssize_t tag_at) except NULL:
    """A list with its tail; one that is a list again, a level deeper, is joined on here: no item is moved twice."""
    cdef list result = None
    cdef list part
    cdef object tail
    while True:
        admit(r, n, depth, tag_at)
        if n == 1 and r.options.remote_refs:
            tail = read_remote(r)
            if tail is not None:
                return owned(tail if result is None else ImproperList(result, tail))
        if n:
            part = PyList_New(n)
            r.pending += 1      # the tail
            read_items(r, PySequence_Fast_ITEMS(<PyObject*>part), n, depth - 1)
            r.pending -= 1
            if result is None:
                result = part
            else:
                result.extend(part)
        depth -= 1
        need(r, 1)
        if r.data[r.position] == LIST_EXT:
            tag_at = r.position
            r.position += 1
            n = count32(r)
        elif result is None:
            return read_term(r, depth)      # no items: the tail is the term, as OTP has it
        elif r.data[r.position] == NIL_EXT:
            r.position += 1
            return owned(result)
        else:
            tail = adopted(read_term(r, depth))
            if type(tail) is not list:
                return owned(ImproperList(result, tail))
            result.extend(tail)
            return owned(result)


cdef PyObject* read_string(reader* r, int depth, Py_ssize_t tag_at) except NULL:
    """STRING_EXT: a list of octets."""
    cdef Py_ssize_t n, i
    cdef list result
    cdef PyObject** items
    need(r, 2)
    n = get16(r.data + r.position)
    r.position += 2
    admit(r, n, depth, tag_at)
    result = PyList_New(n)
    items = PySequence_Fast_ITEMS(<PyObject*>result)
    for i in range(n):
        items[i] = new_int(r.data[r.position + i])
    r.position += n
    return owned(result)


cdef PyObject* read_key(reader* r, int depth) except NULL:
    """Read a map's key; a short binary comes from the cache if it can."""
    cdef const uint8_t* p = r.data + r.position
    cdef Py_ssize_t n
    cdef PyObject** slot
    cdef PyObject* key
    if r.size - r.position < 5 or p[0] != BINARY_EXT:
        return read_term(r, depth)
    n = <Py_ssize_t>get32(p + 1)
    if n > CACHED_KEY_OCTETS or r.size - r.position - 5 < n:
        return read_term(r, depth)
    p += 5
    r.position += 5 + n
    if r.options.text:
        slot = &_text_keys[octets_hash(p, n) & (CACHED_KEYS - 1)]
        key = slot[0]
        if key is not NULL and PyUnicode_GET_LENGTH(key) == n and memcmp(PyUnicode_DATA(key), p, n) == 0:
            Py_INCREF(key)
            return key
        if not octets_are_ascii(p, n):
            return owned(text_or_octets((<const char*>p)[:n]))
        key = new_ascii(<const char*>p, n)
    else:
        slot = &_octet_keys[octets_hash(p, n) & (CACHED_KEYS - 1)]
        key = slot[0]
        if key is not NULL and PyBytes_GET_SIZE(key) == n and memcmp(PyBytes_AS_STRING(key), p, n) == 0:
            Py_INCREF(key)
            return key
        key = new_bytes(<const char*>p, n)
    if slot[0] is not NULL:
        Py_DECREF(slot[0])
    Py_INCREF(key)
    slot[0] = key
    return key


cdef PyObject* read_map(reader* r, Py_ssize_t n, int depth, Py_ssize_t tag_at) except NULL:
    cdef dict result
    cdef object key, value
    cdef Py_ssize_t i, around = r.pending
    admit(r, 2 * n, depth, tag_at)
    if n > FEW_PAIRS:
        return read_large_map(r, n, depth, tag_at)
    result = dict_of_size(n)
    for i in range(n):
        r.pending = around + 2 * (n - i) - 1
        key = adopted(read_key(r, depth - 1))
        r.pending -= 1
        value = adopted(read_term(r, depth - 1))
        if not held(result, key, value, tag_at):
            return owned(read_exact_map(r, result, key, value, n - i - 1, depth, tag_at))
    return owned(result)


cdef PyObject* read_large_map(reader* r, Py_ssize_t n, int depth, Py_ssize_t tag_at) except NULL:
    """A map that could be made to cost a dict too much: its keys are watched if their hashes can be foretold."""
    cdef dict result = dict_of_size(n)
    cdef object key, value
    cdef Py_ssize_t i, around = r.pending
    cdef probes cost
    memset(&cost, 0, sizeof(cost))
    try:
        for i in range(n):
            r.pending = around + 2 * (n - i) - 1
            key = adopted(read_key(r, depth - 1))
            r.pending -= 1
            value = adopted(read_term(r, depth - 1))
            if not has_secret_hash(key) and not affordable(&cost, <PyObject*>key, tag_at) \
                    or not held(result, key, value, tag_at):
                return owned(read_exact_map(r, result, key, value, n - i - 1, depth, tag_at))
    finally:
        probes_free(&cost)
    return owned(result)


cdef inline bint has_secret_hash(object key) noexcept:
    """Whether no peer can foretell the key's hash: CPython's secret is in it, or an address."""
    return type(key) is bytes or type(key) is str or type(key) is Atom or key is None or type(key) is bool


cdef bint affordable(probes* cost, PyObject* key, Py_ssize_t tag_at) except -1:
    """Whether a dict can take the key, too, at a cost that is in proportion to its size."""
    cdef Py_hash_t hash = try_hash(key)
    if hash == -1:
        unless_unhashable(tag_at)
        return False
    cdef int dear = probes_add(cost, <uint64_t>hash)
    if dear < 0:
        raise MemoryError
    return dear == 0


cdef inline bint held(dict result, object key, object value, Py_ssize_t tag_at) except -1:
    """Put the pair into the dict: False when that is no place for the key."""
    cdef Py_ssize_t before = PyDict_GET_SIZE(<PyObject*>result)
    if try_set_default(<PyObject*>result, <PyObject*>key, <PyObject*>value) is NULL:
        unless_unhashable(tag_at)
        return False
    # Python may hold two keys for one: they are equal, or differ only under =:=.
    return PyDict_GET_SIZE(<PyObject*>result) > before


cdef int unless_unhashable(Py_ssize_t tag_at) except -1:
    """Forget the pending error when a key could not be hashed; raise it otherwise."""
    if PyErr_ExceptionMatches(TypeError):
        PyErr_Clear()
        return 0
    if PyErr_ExceptionMatches(RecursionError):
        PyErr_Clear()
        raise DecodeError("keys of a map too deep to compare", tag_at)
    return -1


cdef ErlMap read_exact_map(reader* r, dict before, object key, object value, Py_ssize_t left, int depth,
                           Py_ssize_t tag_at):
    """Go on with a map that no dict can hold: `before` are its first pairs, then key and value, and `left` come still."""
    cdef list pairs = list(before.items())
    cdef Py_ssize_t i, around = r.pending - 2 * left
    pairs.append((key, value))
    for i in range(left):
        r.pending = around + 2 * (left - i) - 1
        key = adopted(read_key(r, depth - 1))
        r.pending -= 1
        pairs.append((key, adopted(read_term(r, depth - 1))))
    cdef ErlMap result = erlmap_of(pairs, r.options.none != NONE_IS_UNDEFINED)
    if result is None:
        raise DecodeError("a map with a key that is there twice", tag_at)
    return result


cdef object read_int(reader* r):
    """An int where only an int may be."""
    cdef Py_ssize_t tag_at = r.position
    need(r, 1)
    if r.data[tag_at] not in (SMALL_INTEGER_EXT, INTEGER_EXT, SMALL_BIG_EXT, LARGE_BIG_EXT):
        raise DecodeError(f"an integer was expected, not tag {r.data[tag_at]}", tag_at)
    return adopted(read_term(r, 0))


cdef Fun read_fun(reader* r, int depth, Py_ssize_t tag_at):
    """NEW_FUN_EXT; its size field is not needed and not believed."""
    cdef const uint8_t* p
    cdef Py_ssize_t n
    cdef tuple free
    need(r, NEW_FUN_FIXED_OCTETS)
    p = r.data + r.position
    r.position += NEW_FUN_FIXED_OCTETS
    arity = p[4]
    uniq = p[5:21]
    index = get32(p + 21)
    n = <Py_ssize_t>get32(p + 25)
    module = read_home(r)
    old_index = read_int(r)
    old_uniq = read_int(r)
    need(r, 1)
    r.position += 1
    if r.data[r.position - 1] != NEW_PID_EXT and r.data[r.position - 1] != PID_EXT:
        raise DecodeError("NEW_FUN_EXT without a pid", r.position - 1)
    pid = read_pid(r, r.data[r.position - 1], r.position - 1)
    admit(r, n, depth, tag_at)
    free = PyTuple_New(n)
    read_items(r, PySequence_Fast_ITEMS(<PyObject*>free), n, depth - 1)
    return Fun(module, arity, index, uniq, old_index, old_uniq, pid, free)


# --- entries ---------------------------------------------------------------------------------------------------------


cdef object decode_term(const codec_options* options, const uint8_t* data, Py_ssize_t size, Py_ssize_t* position,
                        list planted, tuple atoms, bint peers):
    cdef reader r
    r.data = data
    r.size = size
    r.position = position[0]
    r.items = options.max_items
    r.pending = 0
    r.options = options
    r.planted = NULL if planted is None else <PyObject*>planted
    r.planted_next = 0
    r.atoms = NULL if atoms is None else <PyObject*>atoms
    r.peers = peers
    r.wide = False
    if size - r.position > options.max_octets:
        raise DecodeError(f"a term of more than {options.max_octets} octets", r.position)
    if size > r.position and data[r.position] == COMPRESSED_EXT:
        return decode_compressed(options, data, size, position, atoms)
    result = adopted(read_term(&r, options.max_depth))
    if planted is not None and r.planted_next != len(planted):
        raise DecodeError(f"{len(planted)} binaries were taken, {r.planted_next} belong to the term", r.position)
    position[0] = r.position
    return result


cdef object decode_compressed(const codec_options* options, const uint8_t* data, Py_ssize_t size, Py_ssize_t* position,
                              tuple atoms):
    """COMPRESSED: the inflated size, then a zlib stream of exactly that size."""
    cdef Py_ssize_t tag_at = position[0], announced, inner = 0
    cdef bytes inflated
    if size - tag_at < 5:
        raise Truncated(5 - (size - tag_at), size)
    announced = <Py_ssize_t>get32(data + tag_at + 1)
    if announced > options.max_inflated:
        raise DecodeError(f"a term that inflates to {announced} octets, more than {options.max_inflated}", tag_at)
    if announced == 0:
        raise DecodeError("a compressed term of no octets", tag_at)
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(data[tag_at + 5:size], announced)
        surplus = b"" if stream.eof else stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise DecodeError(f"a compressed term that does not inflate ({error})", tag_at) from error
    if surplus or (stream.eof and len(inflated) != announced):
        raise DecodeError(f"a term that does not inflate to the {announced} octets announced", tag_at)
    if not stream.eof:
        raise Truncated(1, size)
    try:
        term = inflated_term(options, inflated, &inner, atoms)
    except DecodeError as error:
        raise DecodeError(f"inflated: {error}", tag_at) from error
    if inner != announced:
        raise DecodeError(f"{announced - inner} octets behind the inflated term", tag_at)
    position[0] = size - len(stream.unused_data)
    return term


cdef object inflated_term(const codec_options* options, bytes inflated, Py_ssize_t* position, tuple atoms):
    cdef const uint8_t* data = inflated
    if len(inflated) and data[0] == COMPRESSED_EXT:
        raise DecodeError("COMPRESSED inside of a term", 0)
    return decode_term(options, data, len(inflated), position, None, atoms, False)
