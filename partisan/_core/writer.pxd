"""The writing end: room in the run of octets, and the terms that hold no others."""

from cpython.object cimport PyObject
from libc.stdint cimport INT32_MAX, uint8_t, uint32_t

from .identities cimport Atom, Pid, Port, Reference
from .options cimport codec_options
from .python cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from .terms cimport BitString, Export
from .wire cimport BINARY_EXT, copy_octets, octets, put32


cdef enum:
    CACHE_SLOTS = 2048      # atoms that a peer keeps of ours: the distribution's own number
    MESSAGE_ATOMS = 255     # that one message may refer to


cdef struct atom_cache:
    PyObject** slots                # owned Atoms, or NULL
    uint32_t* stamps                # by slot: the message that referred to it last
    uint8_t* indices                # by slot: the number that it had there
    uint32_t message                # which message is being written
    int used                        # atoms that it refers to
    unsigned short refs[255]        # their slots
    uint8_t fresh[255]              # whether the peer does not have it yet


cdef struct writer:
    octets run                      # owned while the term is written; where everything goes
    PyObject* references            # borrowed list for large bytes, or NULL: copy them
    const codec_options* options    # borrowed
    size_t start                    # run.length when the term began
    size_t referenced               # octets that went to `references` instead of `run`
    Py_ssize_t items                # container items that may still come
    bint canonical                  # equal terms give equal octets: pairs of maps are sorted
    atom_cache* atoms               # borrowed: what the distribution's peer has of our atoms; or NULL


cdef int put_reference_to(writer* w, Atom atom) except -1   # put_atom, with a cache


cdef enum:
    RUN_ITEMS = 512         # items of a run for which room is made at once
    RUN_OCTETS = 5632       # what they may take: PUT_INTEGER_OCTETS each


cdef int too_large(writer* w) except -1         # raises
cdef int too_many(size_t count) except -1       # raises
cdef int too_deep(writer* w) except -1          # raises
cdef int too_long(writer* w) except -1          # raises
cdef int grow(writer* w, size_t extra) except -1


# Raise when the term that was written is above max_octets: `room` looks only when the run must grow.
cdef inline int check_size(writer* w) except -1:
    if w.run.length - w.start + w.referenced > <size_t>w.options.max_octets:
        too_large(w)
    return 0


cdef inline int enter(writer* w, Py_ssize_t items, int depth) except -1:
    """Charge a container to the limits."""
    if depth <= 0:
        too_deep(w)
    w.items -= items
    if w.items < 0:
        too_long(w)
    return 0


cdef inline int room(writer* w, size_t extra) except -1:
    """Make room for `extra` octets; the limit on the whole is looked at only when the run must grow, and at the end."""
    if w.run.capacity - w.run.length < extra:
        grow(w, extra)
    return 0


cdef inline int put(writer* w, const void* source, size_t size) except -1:
    room(w, size)
    copy_octets(w.run.data + w.run.length, source, size)
    w.run.length += size
    return 0


cdef inline int put_tag(writer* w, uint8_t tag) except -1:
    room(w, 1)
    w.run.data[w.run.length] = tag
    w.run.length += 1
    return 0


cdef inline int put_header(writer* w, uint8_t tag, size_t count) except -1:
    """A tag with 32 bits that count octets or items."""
    if count > 0xFFFFFFFF:
        too_many(count)
    room(w, 5)
    w.run.data[w.run.length] = tag
    put32(w.run.data + w.run.length + 1, <uint32_t>count)
    w.run.length += 5
    return 0


cdef inline int put_atom(writer* w, Atom atom) except -1:
    if w.atoms is not NULL:
        return put_reference_to(w, atom)
    cdef PyObject* ext = <PyObject*>atom.ext
    return put(w, PyBytes_AS_STRING(ext), PyBytes_GET_SIZE(ext))


cdef inline int put_binary(writer* w, const void* text, size_t size) except -1:
    cdef uint8_t* p
    if size > <size_t>INT32_MAX:
        put_header(w, BINARY_EXT, size)
        return put(w, text, size)
    room(w, size + 5)
    p = w.run.data + w.run.length
    p[0] = BINARY_EXT
    put32(p + 1, <uint32_t>size)
    copy_octets(p + 5, text, size)
    w.run.length += size + 5
    return 0


cdef int write_big(writer* w, object value) except -1
cdef int write_bits(writer* w, BitString term) except -1
cdef int write_pid(writer* w, Pid term) except -1
cdef int write_plain_pid(writer* w, Pid term) except -1     # no remote reference, whatever the options say
cdef int write_reference(writer* w, Reference term) except -1
cdef int write_port(writer* w, Port term) except -1
cdef int write_export(writer* w, Export term) except -1
