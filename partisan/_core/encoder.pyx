"""From Python values to octets: one pass, straight into a growing run of octets.

Values of exact builtin types are told by their type pointer; their subclasses (enums, named tuples) are written as
their base. Runs of ints and floats in a list or tuple are written by loops of their own.
"""

from cpython.object cimport PyObject
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.math cimport isfinite
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from .identities cimport Alias, Atom, Pid, Port, Reference, atom_from_str
from .options cimport (
    FORM_PLAIN, LARGE_OCTETS, NONE_IS_NIL, NONE_IS_UNDEFINED, STRINGS_ARE_ATOMS, STRINGS_ARE_BINARIES, codec_options,
    spelling_of,
)
from .python cimport (
    FALSE, NONE, TRUE, Py_TYPE, PyByteArray_Check, PyBytes_AS_STRING, PyBytes_Check, PyBytes_GET_SIZE, PyBytes_Type,
    PyDict_Check, PyDict_GET_SIZE, PyDict_Next, PyDict_Type, PyFloat_AS_DOUBLE, PyFloat_Check, PyFloat_Type,
    PyList_Check, PyList_Type, PyLong_Check, PyLong_Type, PyMemoryView_Check, PySequence_Fast_GET_SIZE,
    PySequence_Fast_ITEMS, PyTuple_Check, PyTuple_Type, PyTypeObject, PyUnicode_Check, PyUnicode_DATA,
    PyUnicode_GET_LENGTH, PyUnicode_IS_COMPACT_ASCII, PyUnicode_Type, int_fits, int_is_compact, int_value,
)
from .terms cimport BitString, ErlMap, Export, Fun, ImproperList
from .wire cimport (
    BINARY_EXT, LARGE_TUPLE_EXT, LIST_EXT, MAP_EXT, NEW_FLOAT_EXT, NEW_FUN_EXT, NEW_FUN_FIXED_OCTETS, NIL_EXT,
    SMALL_TUPLE_EXT, STRING_EXT, PUT_INTEGER_OCTETS, octets, octets_free, put16, put32, put_double,
    put_integer,
)
from .writer cimport (
    RUN_ITEMS, check_size, enter, put, put_atom, put_binary, put_header, put_tag, room, write_big, write_bits,
    write_export, write_pid, write_plain_pid, write_port, write_reference, writer,
)

from hashlib import blake2b

from ..errors import EncodeError
from .culprit import locate, misfit

cdef enum:
    MAX_STRING_ITEMS = 65535    # a longer list of octets is a LIST_EXT, as OTP writes it
    CANONICAL_OCTETS = 64       # a longer canonical form is replaced by its digest
    DIGEST_OCTETS = 32
    # What kinds of keys a dict has: keys of one of the first four kinds that differ in Python differ on the wire too.
    KEY_TEXT = 1
    KEY_BYTES = 2
    KEY_ATOM = 4
    KEY_CONSTANT = 8
    KEY_NUMBER = 16
    KEY_OTHER = 32

cdef Atom TRUE_ATOM = Atom("true")
cdef Atom FALSE_ATOM = Atom("false")
cdef Atom UNDEFINED_ATOM = Atom("undefined")
cdef Atom NIL_ATOM = Atom("nil")


# --- one term --------------------------------------------------------------------------------------------------------


cdef int write_term(writer* w, PyObject* term, int depth) except -1:
    cdef PyTypeObject* kind = Py_TYPE(term)
    if kind == &PyUnicode_Type:
        return write_text(w, term)
    if kind == &PyLong_Type:
        return write_int(w, term)
    if kind == &PyBytes_Type:
        return write_binary(w, term)
    if kind == <PyTypeObject*>Atom:
        return put_atom(w, <Atom>term)
    if kind == &PyTuple_Type:
        return write_tuple(w, term, depth)
    if kind == &PyDict_Type:
        return write_dict(w, term, depth)
    if kind == &PyList_Type:
        return write_list(w, term, depth)
    if kind == &PyFloat_Type:
        return write_float(w, PyFloat_AS_DOUBLE(term), term)
    if term == NONE:
        return put_atom(w, UNDEFINED_ATOM if w.options.none == NONE_IS_UNDEFINED else NIL_ATOM)
    if term == TRUE:
        return put_atom(w, TRUE_ATOM)
    if term == FALSE:
        return put_atom(w, FALSE_ATOM)
    if kind == <PyTypeObject*>Pid:
        return write_pid(w, <Pid>term)
    if kind == <PyTypeObject*>Reference:
        return write_reference(w, <Reference>term)
    if kind == <PyTypeObject*>ErlMap:
        return write_erlmap(w, <ErlMap>term, depth)
    if kind == <PyTypeObject*>ImproperList:
        return write_improper(w, <ImproperList>term, depth)
    return write_rare(w, term, depth)


cdef inline bint write_simple(writer* w, PyObject* term) except -1:
    """Write the term if it is an ASCII str, an int or an atom: frequent as items, and no Python code can run.

    False, and nothing written, when it is something else.
    """
    cdef PyTypeObject* kind = Py_TYPE(term)
    if kind == &PyUnicode_Type:
        if w.options.strings != STRINGS_ARE_BINARIES or not PyUnicode_IS_COMPACT_ASCII(term):
            return False
        put_binary(w, PyUnicode_DATA(term), PyUnicode_GET_LENGTH(term))
        return True
    if kind == &PyLong_Type:
        write_int(w, term)
        return True
    if kind == <PyTypeObject*>Atom:
        put_atom(w, <Atom>term)
        return True
    return False


cdef int write_rare(writer* w, PyObject* term, int depth) except -1:
    """The types that seldom occur, and subclasses of the others."""
    cdef PyTypeObject* kind = Py_TYPE(term)
    if kind == <PyTypeObject*>BitString:
        return write_bits(w, <BitString>term)
    if kind == <PyTypeObject*>Port:
        return write_port(w, <Port>term)
    if kind == <PyTypeObject*>Export:
        return write_export(w, <Export>term)
    if kind == <PyTypeObject*>Fun:
        return write_fun(w, <Fun>term, depth)
    if PyUnicode_Check(term):
        return write_text(w, term)
    if PyLong_Check(term):
        return write_int(w, term)
    if PyBytes_Check(term):
        return write_binary(w, term)
    if PyFloat_Check(term):
        return write_float(w, PyFloat_AS_DOUBLE(term), term)
    if PyTuple_Check(term):
        return write_tuple(w, term, depth)
    if PyList_Check(term):
        return write_list(w, term, depth)
    if PyDict_Check(term):
        return write_dict(w, term, depth)
    if isinstance(<object>term, Alias):
        written = (<Alias>term).term()
        return write_term(w, <PyObject*>written, depth)
    if PyByteArray_Check(term) or PyMemoryView_Check(term):
        copy = bytes(<object>term)
        return write_binary(w, <PyObject*>copy)
    raise misfit(f"{Py_TYPE(term).tp_name.decode()} has no external term format", <object>term)


# --- numbers ---------------------------------------------------------------------------------------------------------


cdef int write_int(writer* w, PyObject* term) except -1:
    cdef int64_t value = 0
    cdef uint8_t* p
    if not int_fits(term, &value):
        return write_big(w, int(<object>term))
    room(w, PUT_INTEGER_OCTETS)
    p = w.run.data + w.run.length
    w.run.length += put_integer(p, value) - p
    return 0


cdef int refuse(object problem, PyObject* term) except -1:
    """Raise EncodeError; apart, so that what is written often stays small."""
    raise misfit(problem, <object>term)


cdef int write_float(writer* w, double value, PyObject* term) except -1:
    if not isfinite(value):
        return refuse("Erlang has no such float", term)
    room(w, 9)
    w.run.data[w.run.length] = NEW_FLOAT_EXT
    put_double(w.run.data + w.run.length + 1, value)
    w.run.length += 9
    return 0


# --- text and octets -------------------------------------------------------------------------------------------------


cdef int write_text(writer* w, PyObject* term) except -1:
    cdef Py_ssize_t size = 0
    cdef const char* text
    if w.options.strings != STRINGS_ARE_BINARIES:
        return write_text_otherwise(w, str.__str__(<object>term))
    if PyUnicode_IS_COMPACT_ASCII(term):
        return put_binary(w, PyUnicode_DATA(term), PyUnicode_GET_LENGTH(term))
    try:
        text = PyUnicode_AsUTF8AndSize(<object>term, &size)
    except UnicodeEncodeError as error:
        raise misfit("a str is no valid Unicode", <object>term) from error
    return put_binary(w, text, size)


cdef int write_text_otherwise(writer* w, str text) except -1:
    if w.options.strings == STRINGS_ARE_ATOMS:
        return put_atom(w, atom_from_str(text))
    codepoints = [ord(character) for character in text]
    return write_list(w, <PyObject*>codepoints, 1)      # a string is no container: it is allowed at any depth


cdef int write_binary(writer* w, PyObject* term) except -1:
    cdef size_t size = PyBytes_GET_SIZE(term)
    if w.references is NULL or size < LARGE_OCTETS or Py_TYPE(term) != &PyBytes_Type:  # a subclass may have a finaliser
        return put_binary(w, PyBytes_AS_STRING(term), size)
    w.referenced += size
    check_size(w)
    put_header(w, BINARY_EXT, size)
    (<list>w.references).append((w.run.length, <object>term))
    return 0


# --- containers ------------------------------------------------------------------------------------------------------


cdef Py_ssize_t write_ints(writer* w, PyObject** items, Py_ssize_t i, Py_ssize_t n) except -1:
    """Write items[i .. n) as far as they are ints of 64 bits; return where that ends. No Python code runs here."""
    cdef Py_ssize_t stop
    cdef uint8_t* p
    cdef int64_t value = 0
    while i < n:
        stop = min(n, i + RUN_ITEMS)
        room(w, (stop - i) * PUT_INTEGER_OCTETS)
        p = w.run.data + w.run.length
        while i < stop:
            if Py_TYPE(items[i]) != &PyLong_Type or not int_fits(items[i], &value):
                w.run.length = p - w.run.data
                return i
            p = put_integer(p, value)
            i += 1
        w.run.length = p - w.run.data
    return i


cdef Py_ssize_t write_floats(writer* w, PyObject** items, Py_ssize_t i, Py_ssize_t n) except -1:
    """Write items[i .. n) as far as they are finite floats; return where that ends. No Python code runs here."""
    cdef Py_ssize_t stop
    cdef uint8_t* p
    cdef double value
    while i < n:
        stop = min(n, i + RUN_ITEMS)
        room(w, (stop - i) * 9)
        p = w.run.data + w.run.length
        while i < stop:
            if Py_TYPE(items[i]) != &PyFloat_Type:
                break
            value = PyFloat_AS_DOUBLE(items[i])
            if not isfinite(value):
                break
            p[0] = NEW_FLOAT_EXT
            put_double(p + 1, value)
            p += 9
            i += 1
        w.run.length = p - w.run.data
        if i < stop:
            break
    return i


cdef int write_items(writer* w, PyObject* owner, Py_ssize_t n, int depth) except -1:
    """Write the n items of a list or tuple. A nested term may run Python code (a finaliser): the size is looked at
    again behind each, and each is held while it is written."""
    cdef PyObject** items = PySequence_Fast_ITEMS(owner)
    cdef PyTypeObject* kind
    cdef Py_ssize_t i = 0, before
    cdef object hold
    while i < n:
        kind = Py_TYPE(items[i])
        before = i
        if kind == &PyLong_Type:
            i = write_ints(w, items, i, n)
        elif kind == &PyFloat_Type:
            i = write_floats(w, items, i, n)
        if i != before:
            continue
        if not write_simple(w, items[i]):
            hold = <object>items[i]
            write_term(w, <PyObject*>hold, depth)
            if PySequence_Fast_GET_SIZE(owner) != n:
                raise EncodeError("a list changed its size while it was encoded")
            items = PySequence_Fast_ITEMS(owner)
        i += 1
    return 0


cdef int write_tuple(writer* w, PyObject* term, int depth) except -1:
    cdef Py_ssize_t n = PySequence_Fast_GET_SIZE(term)
    enter(w, n, depth)
    if n < 256:
        room(w, 2)
        w.run.data[w.run.length] = SMALL_TUPLE_EXT
        w.run.data[w.run.length + 1] = <uint8_t>n
        w.run.length += 2
    else:
        put_header(w, LARGE_TUPLE_EXT, n)
    return write_items(w, term, n, depth - 1)


cdef inline bint is_octet(PyObject* item) noexcept:
    return Py_TYPE(item) == &PyLong_Type and int_is_compact(item) and 0 <= int_value(item) <= 255


cdef bint write_string(writer* w, PyObject* term, Py_ssize_t n) except -1:
    """Write a list of 1 to 65535 octets as OTP does; False, and nothing written, when it is another list."""
    cdef PyObject** items = PySequence_Fast_ITEMS(term)
    cdef Py_ssize_t i
    cdef uint8_t* p
    if not is_octet(items[0]) or not is_octet(items[n - 1]):
        return False
    room(w, n + 3)
    p = w.run.data + w.run.length
    p[0] = STRING_EXT
    put16(p + 1, n)
    for i in range(n):
        if not is_octet(items[i]):
            return False
        p[3 + i] = <uint8_t>int_value(items[i])
    w.run.length += n + 3
    return True


cdef int write_list(writer* w, PyObject* term, int depth) except -1:
    cdef Py_ssize_t n = PySequence_Fast_GET_SIZE(term)
    if n == 0:
        return put_tag(w, NIL_EXT)
    enter(w, n, depth)
    if n <= MAX_STRING_ITEMS and write_string(w, term, n):
        return 0
    put_header(w, LIST_EXT, n)
    write_items(w, term, n, depth - 1)
    return put_tag(w, NIL_EXT)


cdef int write_improper(writer* w, ImproperList term, int depth) except -1:
    cdef Py_ssize_t n = len(term.items)
    enter(w, n, depth)
    put_header(w, LIST_EXT, n)
    write_items(w, <PyObject*>term.items, n, depth - 1)
    return write_term(w, <PyObject*>term.tail, depth - 1)


cdef inline int key_kind(PyObject* key) noexcept:
    cdef PyTypeObject* kind = Py_TYPE(key)
    if kind == &PyUnicode_Type:
        return KEY_TEXT
    if kind == &PyBytes_Type:
        return KEY_BYTES
    if kind == <PyTypeObject*>Atom:
        return KEY_ATOM
    if kind == &PyLong_Type or kind == &PyFloat_Type:
        return KEY_NUMBER
    if key == NONE or key == TRUE or key == FALSE:
        return KEY_CONSTANT
    return KEY_OTHER


cdef int write_dict(writer* w, PyObject* term, int depth) except -1:
    cdef Py_ssize_t n = PyDict_GET_SIZE(term), position = 0, left = n
    cdef PyObject* key
    cdef PyObject* value
    cdef object hold_key, hold_value
    cdef int kinds = 0
    if w.canonical:
        return write_sorted(w, [(_encode_key(w, item, depth - 1), held) for item, held in (<dict>term).items()], depth)
    enter(w, 2 * n, depth)
    put_header(w, MAP_EXT, n)
    while PyDict_Next(term, &position, &key, &value):
        left -= 1
        if left < 0:
            break
        kinds |= key_kind(key)
        if not write_simple(w, key):
            hold_value = <object>value      # writing the key may run Python code (a finaliser)
            hold_key = <object>key
            write_term(w, key, depth - 1)
        if not write_simple(w, value):
            hold_value = <object>value
            write_term(w, value, depth - 1)
        if PyDict_GET_SIZE(term) != n:
            break
    if left or PyDict_GET_SIZE(term) != n:
        raise EncodeError("a dict changed its size while it was encoded")
    if n > 1 and (kinds & KEY_OTHER or kinds & (kinds - 1)):
        refuse_equal_keys([(_encode_key(w, item, depth - 1), item) for item in <dict>term])
    return 0


cdef int refuse_equal_keys(list pairs) except -1:
    """Two keys that differ in Python may be one on the wire ("a" and b"a"): a real node would refuse such a map."""
    cdef set seen = set()
    for octets, key in pairs:
        if octets in seen:
            raise EncodeError(f"two keys of a map are one key on the wire, one of them is {key!r}")
        seen.add(octets)
    return 0


cdef int write_erlmap(writer* w, ErlMap term, int depth) except -1:
    cdef list pairs = list(term.entries.values())
    if w.canonical:
        octets = key_octets(w, term, depth - 1)
        return write_sorted(w, [(octets[i], pair[1]) for i, pair in enumerate(pairs)], depth)
    enter(w, 2 * len(pairs), depth)
    put_header(w, MAP_EXT, len(pairs))
    for key, value in pairs:
        write_term(w, <PyObject*>key, depth - 1)
        write_term(w, <PyObject*>value, depth - 1)
    if w.options.strings != STRINGS_ARE_BINARIES or w.options.none != NONE_IS_UNDEFINED or term.nil:
        # An ErlMap's keys differ under the default options; under others two of them may be written alike.
        octets = key_octets(w, term, depth - 1)
        refuse_equal_keys([(octets[i], pair[0]) for i, pair in enumerate(pairs)])
    return 0


cdef list key_octets(writer* w, ErlMap term, int depth):
    """The canonical octets of the keys, in order. The map keeps them: maps nested as keys would else be gone through
    again at each level."""
    cdef int spelling = spelling_of(w.options)
    if spelling == spelling_of(&_CANONICAL) and not term.nil:
        return list(term.entries)
    if term.spelled is None or term.spelling != spelling:
        octets = [_encode_key(w, key, depth) for key, _ in term.entries.values()]
        term.spelled, term.spelling = octets, spelling
    return term.spelled


cdef int write_sorted(writer* w, list pairs, int depth) except -1:
    """Write the pairs of a map in the order of the canonical octets of their keys: (octets, value)."""
    cdef bytes octets
    enter(w, 2 * len(pairs), depth)
    put_header(w, MAP_EXT, len(pairs))
    pairs.sort(key=_first)
    for octets, value in pairs:
        put(w, PyBytes_AS_STRING(<PyObject*>octets), len(octets))
        write_term(w, <PyObject*>value, depth - 1)
    return 0


def _first(pair):
    return pair[0]


cdef int write_fun(writer* w, Fun term, int depth) except -1:
    cdef Py_ssize_t n = len(term.free)
    cdef size_t at = w.run.length + 1       # where the size goes once it is known
    cdef size_t referenced = w.referenced
    cdef uint8_t* p
    enter(w, n, depth)
    if n > 0xFFFFFFFF:
        raise EncodeError(f"a fun has {n} free variables")
    room(w, 1 + NEW_FUN_FIXED_OCTETS)
    p = w.run.data + w.run.length
    p[0] = NEW_FUN_EXT
    p[5] = <uint8_t>term.arity
    memcpy(p + 6, PyBytes_AS_STRING(<PyObject*>term.uniq), 16)
    put32(p + 22, term.index)
    put32(p + 26, <uint32_t>n)
    w.run.length += 1 + NEW_FUN_FIXED_OCTETS
    put_atom(w, term.module)
    write_int(w, <PyObject*>term.old_index)
    write_int(w, <PyObject*>term.old_uniq)
    write_plain_pid(w, term.pid)     # whatever the options say: a fun without a pid term is malformed
    write_items(w, <PyObject*>term.free, n, depth - 1)
    put32(w.run.data + at, <uint32_t>(w.run.length - at + w.referenced - referenced))
    return 0


# --- entries ---------------------------------------------------------------------------------------------------------


ctypedef int (*silent_writer)(writer* w, PyObject* term, int depth) noexcept


cdef int raise_pending() except -1:
    """Go on raising the error that is set."""
    return -1


cdef int raise_located(object term) except -1:
    """Raise the error that is set, with the place in the term of the value that is to blame."""
    try:
        raise_pending()
    except EncodeError as error:
        locate(error, term)
        raise
    return 0


cdef int write_whole(writer* w, object term) except -1:
    """Write a term that is no part of another one: an error says where in it the value is that is to blame.

    The writer is called as if it raised nothing: to catch an error here would cost every term that is written.
    """
    if (<silent_writer>write_term)(w, <PyObject*>term, w.options.max_depth) < 0:
        return raise_located(term)
    return 0


cdef int encode_term(const codec_options* options, octets* out, object term, list references) except -1:
    cdef writer w
    cdef Py_ssize_t kept = 0 if references is None else len(references)
    cdef bint written = False
    w.run = out[0]  # taken away from its owner, who lets nobody else write into it meanwhile
    out.data = NULL
    out.length = out.capacity = 0
    w.references = NULL if references is None else <PyObject*>references
    w.options = options
    w.start = w.run.length
    w.referenced = 0
    w.items = options.max_items
    w.canonical = False
    w.atoms = NULL
    try:
        write_whole(&w, term)
        check_size(&w)
        written = True
    finally:
        if not written:
            w.run.length = w.start
            if references is not None:
                del references[kept:]
        out[0] = w.run
    return 0


cdef bytes _encode_key(writer* w, object key, int depth):
    """The canonical octets of a map's key, under the writer's own options; of long ones a digest.

    So what is nested as keys in keys is held and gone through once, not once for each level.
    """
    cdef writer inner = w[0]
    inner.run.data = NULL
    inner.run.length = inner.run.capacity = 0
    inner.references = NULL
    inner.start = inner.referenced = 0
    inner.canonical = True
    inner.atoms = NULL
    try:
        write_term(&inner, <PyObject*>key, depth)
        octets = PyBytes_FromStringAndSize(<const char*>inner.run.data, inner.run.length)
    finally:
        octets_free(&inner.run)
    if len(octets) <= CANONICAL_OCTETS:
        return octets
    return b"\0" + blake2b(octets, digest_size=DIGEST_OCTETS).digest()     # 0 is no tag of a term


cdef codec_options _CANONICAL
_CANONICAL.none = NONE_IS_UNDEFINED
_CANONICAL.strings = STRINGS_ARE_BINARIES
_CANONICAL.text = False
_CANONICAL.remote_refs = False
_CANONICAL.encode_refs = FORM_PLAIN
_CANONICAL.max_depth = 8_000
_CANONICAL.max_items = 1 << 62
_CANONICAL.max_octets = 1 << 62
_CANONICAL.max_inflated = 0
_CANONICAL.home = NULL
_CANONICAL.creation = 0

cdef codec_options _CANONICAL_WITH_NIL = _CANONICAL
_CANONICAL_WITH_NIL.none = NONE_IS_NIL


def canonical(term, bint nil=False):
    """Octets that two terms share exactly when they are `=:=`: 64 at most. With `nil` None is that atom.

    They are an encoding of the term in which the pairs of maps are sorted and every value has one form, or the digest
    of it: that two terms have one digest is as good as impossible, also for who seeks them.
    """
    cdef writer w
    w.options = &_CANONICAL_WITH_NIL if nil else &_CANONICAL
    w.items = _CANONICAL.max_items
    w.atoms = NULL
    try:
        return _encode_key(&w, term, _CANONICAL.max_depth)
    except EncodeError as error:
        locate(error, term)
        raise
