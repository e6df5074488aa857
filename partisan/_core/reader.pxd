"""The reading end: octets, how far they are read, and the terms that hold no others."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t

from .identities cimport Atom, Pid, Port, Reference
from .options cimport codec_options
from .python cimport Py_DECREF, Py_INCREF
from .terms cimport Export
from .wire cimport get32


cdef struct reader:
    const uint8_t* data             # borrowed; offset 0 of all offsets
    Py_ssize_t size                 # octets in data
    Py_ssize_t position             # of the next octet to read
    Py_ssize_t items                # container items that may still come
    Py_ssize_t pending              # terms that open containers were promised behind the one that is being read
    const codec_options* options    # borrowed
    PyObject* planted               # borrowed list of bytes whose octets are not in data, or NULL
    Py_ssize_t planted_next         # index of the next one
    PyObject* atoms                 # borrowed tuple that ATOM_CACHE_REF indexes, or NULL
    bint peers                      # a frame of a peer, which may hold wide tuples: see wide_arity
    bint wide                       # one was there: what follows it was not scanned, so no more binaries are planted


cdef Atom REMOTE_REF      # partisan_remote_ref, in front of the tuple form


# Raise Truncated: `count` octets are not there.
cdef int lacking(reader* r, Py_ssize_t count) except -1


cdef inline int need(reader* r, Py_ssize_t count) except -1:
    """Make sure that `count` octets are there."""
    if r.size - r.position < count:
        lacking(r, count)
    return 0


cdef inline Py_ssize_t count32(reader* r) except -1:
    """Read a count or length of 32 bits."""
    need(r, 4)
    r.position += 4
    return <Py_ssize_t>get32(r.data + r.position - 4)


cdef inline PyObject* owned(object value) noexcept:
    Py_INCREF(<PyObject*>value)
    return <PyObject*>value


cdef inline object adopted(PyObject* new):
    """A new reference as an object that Cython counts."""
    value = <object>new
    Py_DECREF(new)
    return value


# Each reads what is behind a tag; `tag_at` is where that was.
cdef Atom read_atom(reader* r, int tag)
cdef Atom read_home(reader* r)                                      # the tag, too
cdef object read_float_text(reader* r, Py_ssize_t tag_at)
cdef object read_bits(reader* r, Py_ssize_t tag_at)
cdef Pid read_pid(reader* r, int tag, Py_ssize_t tag_at)
cdef Reference read_reference(reader* r, int tag, Py_ssize_t tag_at)
cdef Port read_port(reader* r, int tag, Py_ssize_t tag_at)
cdef Export read_export(reader* r)
# Partisan's remote references: None, or the term itself, when it is something else.
cdef object read_remote(reader* r)
cdef object remote_of_tuple(tuple term)
