"""What names something: atoms, pids, references and ports. Every field is set once, when the object is made."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef enum:
    ATOM_PLAIN          # the values of Atom.special
    ATOM_TRUE
    ATOM_FALSE
    ATOM_UNDEFINED
    ATOM_NIL


cdef class Alias:
    # The term that is written in its place.
    cdef object term(self)
    # It was answered, if it is something that can be.
    cdef int answered(self, object value) except -1


cdef class Atom:
    cdef readonly str name      # at most 255 characters
    cdef bytes ext              # its external form: tag, length, UTF-8; written by one copy
    cdef uint8_t special        # ATOM_...: which of the atoms that may stand for a Python constant it is, if any


cdef class Pid:
    cdef Atom home              # the node's name
    cdef readonly uint32_t id
    cdef readonly uint32_t serial
    cdef readonly uint32_t creation
    cdef uint8_t form_code      # options.FORM_...: how it came over the wire; no part of its identity


cdef class Reference:
    cdef Atom home              # the node's name
    cdef uint32_t ids[5]        # in wire order; ids[0] is the least significant
    cdef uint8_t count          # how many of ids are in use, 1 to 5
    cdef readonly uint32_t creation
    cdef uint8_t form_code      # options.FORM_...: how it came over the wire; no part of its identity


cdef class Port:
    cdef Atom home              # the node's name
    cdef readonly uint64_t id
    cdef readonly uint32_t creation


# nonode@nohost: what objects hold that were made by __new__ alone, so that C code never meets None in its place.
cdef Atom NOBODY

cdef Atom atom_from_str(str name)
# The atom whose name is these octets of UTF-8, through a bounded cache; `where` is the offset that a DecodeError tells.
cdef Atom atom_from_utf8(const uint8_t* text, Py_ssize_t size, Py_ssize_t where)
# The same for octets of Latin-1.
cdef Atom atom_from_latin1(const uint8_t* text, Py_ssize_t size, Py_ssize_t where)
cdef Pid pid_of(Atom home, uint32_t id, uint32_t serial, uint32_t creation, uint8_t form_code)
cdef Reference reference_of(Atom home, const uint32_t* ids, int count, uint32_t creation, uint8_t form_code)
