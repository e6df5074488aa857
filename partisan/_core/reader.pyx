"""The reading end: the terms that hold no others and seldom occur, and partisan's remote references."""

from cpython.object cimport PyObject
from libc.math cimport isfinite
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .identities cimport Atom, Pid, Port, Reference, atom_from_latin1, atom_from_utf8, pid_of, reference_of
from .options cimport FORM_LIST, FORM_PLAIN, FORM_TUPLE, LARGE_OCTETS
from .terms cimport BitString, Export
from .wire cimport (
    ATOM_CACHE_REF, ATOM_EXT, ATOM_UTF8_EXT, BINARY_EXT, FLOAT_TEXT_OCTETS, MAX_REFERENCE_WORDS, NEW_PID_EXT,
    NEW_PORT_EXT, NEW_REFERENCE_EXT, NEWER_REFERENCE_EXT, PORT_EXT, REFERENCE_EXT, SMALL_ATOM_EXT, SMALL_ATOM_UTF8_EXT,
    SMALL_INTEGER_EXT, V4_PORT_EXT, get16, get32, get64, reference_text_get,
)

from ..errors import DecodeError, Truncated

cdef Atom REMOTE_REF = Atom("partisan_remote_ref")
cdef Atom ENCODED_PID = Atom("encoded_pid")
cdef Atom ENCODED_REF = Atom("encoded_ref")


cdef int lacking(reader* r, Py_ssize_t count) except -1:
    raise Truncated(count - (r.size - r.position), r.size)


# --- atoms, numbers, bits --------------------------------------------------------------------------------------------


cdef Atom read_atom(reader* r, int tag):
    """The atom whose tag was read last."""
    cdef Py_ssize_t size, tag_at = r.position - 1
    cdef const uint8_t* p
    if tag == SMALL_ATOM_EXT or tag == SMALL_ATOM_UTF8_EXT:
        need(r, 1)
        size = r.data[r.position]
        r.position += 1
    elif tag == ATOM_EXT or tag == ATOM_UTF8_EXT:
        need(r, 2)
        size = get16(r.data + r.position)
        r.position += 2
    elif tag == ATOM_CACHE_REF:
        need(r, 1)
        if r.atoms is NULL:
            raise DecodeError("ATOM_CACHE_REF without a distribution header", tag_at)
        size = r.data[r.position]
        r.position += 1
        if size >= len(<tuple>r.atoms):
            raise DecodeError(f"ATOM_CACHE_REF {size} of {len(<tuple>r.atoms)} atoms", tag_at)
        return (<tuple>r.atoms)[size]
    else:
        raise DecodeError(f"an atom was expected, not tag {tag}", tag_at)
    need(r, size)
    p = r.data + r.position
    r.position += size
    if tag == ATOM_EXT or tag == SMALL_ATOM_EXT:
        return atom_from_latin1(p, size, tag_at)
    return atom_from_utf8(p, size, tag_at)


cdef Atom read_home(reader* r):
    """An atom where only an atom may be."""
    need(r, 1)
    r.position += 1
    return read_atom(r, r.data[r.position - 1])


cdef object read_float_text(reader* r, Py_ssize_t tag_at):
    """FLOAT_EXT: decimal text up to the first zero octet; OTP ignores what is behind it, and old nodes left rubbish."""
    need(r, FLOAT_TEXT_OCTETS)
    text = r.data[r.position:r.position + FLOAT_TEXT_OCTETS].partition(b"\0")[0]
    r.position += FLOAT_TEXT_OCTETS
    # float() would take more than C's "%.20e" writes: inf, nan, blanks and underscores.
    if text and not text.strip(b"0123456789+-.eE"):
        try:
            value = float(text)
        except ValueError:
            value = float("inf")
        if isfinite(value):
            return value
    raise DecodeError("FLOAT_EXT without the text of a finite float", tag_at)


cdef object read_bits(reader* r, Py_ssize_t tag_at):
    cdef Py_ssize_t n = count32(r)
    cdef int bits
    need(r, 1 + n)
    bits = r.data[r.position]
    octets = r.data[r.position + 1:r.position + 1 + n]
    r.position += 1 + n
    if bits > 8 or (bits == 0) != (n == 0):
        raise DecodeError(f"BIT_BINARY_EXT with {bits} bits in the last of {n} octets", tag_at)
    return BitString(octets, bits) if 0 < bits < 8 else octets


# --- identities ------------------------------------------------------------------------------------------------------


cdef inline uint32_t creation_of(reader* r, Atom home, uint32_t creation) noexcept:
    """The creation that an identity has here."""
    return 0 if creation == r.options.creation and <PyObject*>home == r.options.home else creation


cdef Pid read_pid(reader* r, int tag, Py_ssize_t tag_at):
    cdef Atom home = read_home(r)
    cdef bint wide = tag == NEW_PID_EXT
    cdef const uint8_t* p
    need(r, 12 if wide else 9)
    p = r.data + r.position
    r.position += 12 if wide else 9
    return pid_of(home, get32(p), get32(p + 4), creation_of(r, home, get32(p + 8) if wide else p[8]), FORM_PLAIN)


cdef Reference read_reference(reader* r, int tag, Py_ssize_t tag_at):
    cdef uint32_t[MAX_REFERENCE_WORDS] words
    cdef int count = 1, i
    cdef uint32_t creation = 0
    cdef Atom home
    if tag != REFERENCE_EXT:
        need(r, 2)
        count = get16(r.data + r.position)
        r.position += 2
        if not 1 <= count <= MAX_REFERENCE_WORDS:
            raise DecodeError(f"a reference of {count} words", tag_at)
    home = read_home(r)
    need(r, 4 * count + (4 if tag == NEWER_REFERENCE_EXT else 1))
    if tag == NEWER_REFERENCE_EXT:
        creation = get32(r.data + r.position)
        r.position += 4
    elif tag == NEW_REFERENCE_EXT:
        creation = r.data[r.position]
        r.position += 1
    for i in range(count):
        words[i] = get32(r.data + r.position)
        r.position += 4
    if tag == REFERENCE_EXT:
        creation = r.data[r.position]
        r.position += 1
    return reference_of(home, words, count, creation_of(r, home, creation), FORM_PLAIN)


cdef Port read_port(reader* r, int tag, Py_ssize_t tag_at):
    cdef Atom home = read_home(r)
    cdef uint64_t number
    cdef uint32_t creation = 0
    need(r, 12 if tag == V4_PORT_EXT else 8 if tag == NEW_PORT_EXT else 5)
    if tag == V4_PORT_EXT:
        number = get64(r.data + r.position)
        r.position += 8
    else:
        number = get32(r.data + r.position)
        r.position += 4
    if tag == PORT_EXT:
        creation = r.data[r.position]
        r.position += 1
    else:
        creation = get32(r.data + r.position)
        r.position += 4
    return Port(home, number, creation_of(r, home, creation))


cdef object remote_of_text(Atom home, const uint8_t* text, Py_ssize_t size, const char* pid_prefix, int form):
    """The pid or reference that the text names, or None."""
    cdef uint32_t[MAX_REFERENCE_WORDS] words
    cdef uint32_t[MAX_REFERENCE_WORDS] ids
    cdef int count = reference_text_get(text, size, pid_prefix, words, 2), i
    if count == 2:
        return pid_of(home, words[0], words[1], 0, form)
    count = reference_text_get(text, size, b"#Ref<", words, MAX_REFERENCE_WORDS)
    if count == 0:
        return None
    for i in range(count):
        ids[i] = words[count - 1 - i]       # the text has the most significant word first
    return reference_of(home, ids, count, 0, form)


cdef object read_remote(reader* r):
    """Partisan's [Node|<<"#Pid<0.1.2>">>] behind its list header; None, and nothing read, when it is another list."""
    cdef Py_ssize_t start = r.position, n
    cdef const uint8_t* p = r.data + start
    cdef Atom home
    need(r, 1)
    if p[0] != SMALL_ATOM_UTF8_EXT and p[0] != ATOM_EXT and p[0] != SMALL_ATOM_EXT and p[0] != ATOM_UTF8_EXT:
        return None
    home = read_home(r)
    need(r, 1)
    p = r.data + r.position
    if p[0] == BINARY_EXT:
        need(r, 5)
        n = <Py_ssize_t>get32(p + 1)
        if n < LARGE_OCTETS:
            need(r, 5 + n)
            found = remote_of_text(home, p + 5, n, b"#Pid<", FORM_LIST)
            if found is not None:
                r.position += 5 + n
                return found
    r.position = start
    return None


cdef object remote_of_tuple(tuple term):
    """Partisan's {partisan_remote_ref, Node, {encoded_pid, "<0.1.2>"}} as a pid or reference; other tuples as they are."""
    cdef bytes text
    home, inner = term[1], term[2]
    if not isinstance(home, Atom) or type(inner) is not tuple or len(inner) != 2 or type(inner[1]) is not list:
        return term
    if inner[0] is not ENCODED_PID and inner[0] is not ENCODED_REF:
        return term
    try:
        text = bytes(inner[1])
    except (TypeError, ValueError, OverflowError):
        return term     # no list of octets
    found = remote_of_text(home, text, len(text), b"<", FORM_TUPLE)
    if found is None or isinstance(found, Pid) != (inner[0] is ENCODED_PID):
        return term
    return found


cdef Export read_export(reader* r):
    cdef Atom module = read_home(r)
    cdef Atom function = read_home(r)
    need(r, 2)
    if r.data[r.position] != SMALL_INTEGER_EXT:
        raise DecodeError("EXPORT_EXT without an arity", r.position)
    r.position += 2
    return Export(module, function, r.data[r.position - 1])
