"""The writing end: more room, and the terms that hold no others and seldom occur."""

from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.stdint cimport uint8_t, uint32_t

from .identities cimport Atom, Pid, Port, Reference
from .options cimport FORM_LIST, FORM_PLAIN
from .python cimport Py_INCREF, PyBytes_AS_STRING, PyBytes_GET_SIZE
from .terms cimport BitString, Export
from .wire cimport (
    ATOM_CACHE_REF, BIT_BINARY_EXT, EXPORT_EXT, LARGE_BIG_EXT, LIST_EXT, NEW_PID_EXT, NEW_PORT_EXT, NEWER_REFERENCE_EXT,
    PUT_INTEGER_OCTETS, REFERENCE_TEXT_OCTETS, SMALL_ATOM_UTF8_EXT, SMALL_BIG_EXT, STRING_EXT, V4_PORT_EXT, octets_reserve, put16, put32,
    put64, put_integer, reference_text_put,
)

from ..errors import EncodeError

cdef Atom REMOTE_REF = Atom("partisan_remote_ref")
cdef Atom ENCODED_PID = Atom("encoded_pid")
cdef Atom ENCODED_REF = Atom("encoded_ref")

# --- room and limits -------------------------------------------------------------------------------------------------


cdef int too_large(writer* w) except -1:
    raise EncodeError(f"the term is larger than {w.options.max_octets} octets")


cdef int grow(writer* w, size_t extra) except -1:
    # A run of ints asks for more than it may use: so much is not held against the limit before the term is complete.
    if w.run.length - w.start + w.referenced + extra > <size_t>w.options.max_octets + RUN_OCTETS:
        too_large(w)
    if octets_reserve(&w.run, extra) < 0:
        raise MemoryError
    return 0


cdef int too_many(size_t count) except -1:
    raise EncodeError(f"{count} octets or items are more than the format can count")


cdef int too_deep(writer* w) except -1:
    raise EncodeError(f"the term is nested deeper than {w.options.max_depth} levels")


cdef int too_long(writer* w) except -1:
    raise EncodeError(f"the term has more than {w.options.max_items} items")


# --- numbers and bits ------------------------------------------------------------------------------------------------


cdef int write_big(writer* w, object value) except -1:
    cdef object magnitude = abs(value)
    cdef size_t size = (magnitude.bit_length() + 7) // 8
    if size > <size_t>w.options.max_octets:
        raise EncodeError(f"an int of {size} octets is above the limit of {w.options.max_octets}")
    cdef bytes digits = magnitude.to_bytes(size, "little")
    if size < 256:
        put_tag(w, SMALL_BIG_EXT)
        put_tag(w, <uint8_t>size)
    else:
        put_header(w, LARGE_BIG_EXT, size)
    put_tag(w, 1 if value < 0 else 0)
    return put(w, PyBytes_AS_STRING(<PyObject*>digits), size)


cdef int write_bits(writer* w, BitString term) except -1:
    put_header(w, BIT_BINARY_EXT, len(term.data))
    put_tag(w, <uint8_t>term.bits)
    return put(w, PyBytes_AS_STRING(<PyObject*>term.data), len(term.data))


# --- atoms of the distribution ---------------------------------------------------------------------------------------


cdef int put_reference_to(writer* w, Atom atom) except -1:
    """Write an atom as a number in the message's header; one that cannot be is written plainly."""
    cdef atom_cache* cache = w.atoms
    cdef PyObject* ext = <PyObject*>atom.ext
    cdef size_t slot = (<size_t><PyObject*>atom >> 4) * <size_t>2654435761UL >> 12 & (CACHE_SLOTS - 1)
    cdef PyObject* old = cache.slots[slot]
    cdef bint fresh = old != <PyObject*>atom
    if fresh or cache.stamps[slot] != cache.message:
        if cache.used == MESSAGE_ATOMS or PyBytes_AS_STRING(ext)[0] != SMALL_ATOM_UTF8_EXT \
                or cache.stamps[slot] == cache.message:
            return put(w, PyBytes_AS_STRING(ext), PyBytes_GET_SIZE(ext))
        if fresh:
            Py_INCREF(<PyObject*>atom)
            cache.slots[slot] = <PyObject*>atom
            Py_XDECREF(old)
        cache.stamps[slot] = cache.message
        cache.indices[slot] = <uint8_t>cache.used
        cache.refs[cache.used] = <unsigned short>slot
        cache.fresh[cache.used] = fresh
        cache.used += 1
    room(w, 2)
    w.run.data[w.run.length] = ATOM_CACHE_REF
    w.run.data[w.run.length + 1] = cache.indices[slot]
    w.run.length += 2
    return 0


# --- identities ------------------------------------------------------------------------------------------------------


cdef inline int form_of(writer* w, uint8_t form_code) noexcept:
    """The FORM_... in which a pid or reference is written."""
    if not w.options.remote_refs:
        return FORM_PLAIN
    return w.options.encode_refs if form_code == FORM_PLAIN else form_code


cdef inline uint32_t creation_of(writer* w, Atom home, uint32_t creation) noexcept:
    """The creation that an identity has on the wire."""
    return w.options.creation if creation == 0 and <PyObject*>home == w.options.home else creation


cdef int write_remote(writer* w, int form, Atom home, Atom kind, const uint8_t* text, size_t size) except -1:
    """A remote reference in partisan's list or tuple form."""
    if form == FORM_LIST:
        put_header(w, LIST_EXT, 1)
        put_atom(w, home)
        return put_binary(w, text, size)
    put(w, b"h\x03", 2)
    put_atom(w, REMOTE_REF)
    put_atom(w, home)
    put(w, b"h\x02", 2)
    put_atom(w, kind)
    room(w, 3)
    w.run.data[w.run.length] = STRING_EXT
    put16(w.run.data + w.run.length + 1, <unsigned short>size)
    w.run.length += 3
    return put(w, text, size)


cdef int write_pid(writer* w, Pid term) except -1:
    cdef int form = form_of(w, term.form_code)
    cdef uint8_t text[REFERENCE_TEXT_OCTETS]
    cdef uint32_t[2] numbers
    if form != FORM_PLAIN:
        numbers[0] = term.id
        numbers[1] = term.serial
        size = reference_text_put(text, b"#Pid<" if form == FORM_LIST else b"<", numbers, 2)
        return write_remote(w, form, term.home, ENCODED_PID, text, size)
    return write_plain_pid(w, term)


cdef int write_plain_pid(writer* w, Pid term) except -1:
    cdef uint8_t* p
    put_tag(w, NEW_PID_EXT)
    put_atom(w, term.home)
    room(w, 12)
    p = w.run.data + w.run.length
    put32(p, term.id)
    put32(p + 4, term.serial)
    put32(p + 8, creation_of(w, term.home, term.creation))
    w.run.length += 12
    return 0


cdef int write_reference(writer* w, Reference term) except -1:
    cdef int form = form_of(w, term.form_code), i
    cdef uint8_t text[REFERENCE_TEXT_OCTETS]
    cdef uint32_t[5] numbers
    cdef uint8_t* p
    if form != FORM_PLAIN:
        for i in range(term.count):
            numbers[i] = term.ids[term.count - 1 - i]
        size = reference_text_put(text, b"#Ref<", numbers, term.count)
        return write_remote(w, form, term.home, ENCODED_REF, text, size)
    room(w, 3)
    p = w.run.data + w.run.length
    p[0] = NEWER_REFERENCE_EXT
    put16(p + 1, term.count)
    w.run.length += 3
    put_atom(w, term.home)
    room(w, 4 + 4 * term.count)
    p = w.run.data + w.run.length
    put32(p, creation_of(w, term.home, term.creation))
    for i in range(term.count):
        put32(p + 4 + 4 * i, term.ids[i])
    w.run.length += 4 + 4 * term.count
    return 0


cdef int write_port(writer* w, Port term) except -1:
    cdef bint narrow = term.id <= 0xFFFFFFFF
    cdef uint8_t* p
    put_tag(w, NEW_PORT_EXT if narrow else V4_PORT_EXT)
    put_atom(w, term.home)
    room(w, 12)
    p = w.run.data + w.run.length
    if narrow:
        put32(p, <uint32_t>term.id)
        p += 4
    else:
        put64(p, term.id)
        p += 8
    put32(p, creation_of(w, term.home, term.creation))
    w.run.length = p + 4 - w.run.data
    return 0


cdef int write_export(writer* w, Export term) except -1:
    cdef uint8_t* p
    put_tag(w, EXPORT_EXT)
    put_atom(w, term.module)
    put_atom(w, term.function)
    room(w, PUT_INTEGER_OCTETS)
    p = w.run.data + w.run.length
    w.run.length += put_integer(p, term.arity) - p
    return 0
