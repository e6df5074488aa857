"""Erlang's terms that Python lacks, as immutable extension types. Every field is set once, when the object is made."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef enum:
    ATOM_PLAIN          # the values of Atom.special
    ATOM_TRUE
    ATOM_FALSE
    ATOM_UNDEFINED
    ATOM_NIL


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


cdef class BitString:
    cdef readonly bytes data    # at least one octet; unused low bits of the last one are 0
    cdef readonly int bits      # used bits of the last octet, 1 to 7, from the most significant


cdef class ImproperList:
    cdef readonly tuple items   # at least one
    cdef readonly object tail   # never a list


cdef class Export:
    cdef readonly Atom module
    cdef readonly Atom function
    cdef readonly int arity     # 0 to 255


cdef class Fun:
    cdef readonly Atom module
    cdef readonly int arity             # 0 to 255
    cdef readonly bytes uniq            # 16 octets: MD5 of the module
    cdef readonly uint32_t index
    cdef readonly object old_index      # int
    cdef readonly object old_uniq       # int
    cdef readonly Pid pid               # the process that made it
    cdef readonly tuple free            # values of its free variables
    cdef tuple facts(self)              # the constructor's arguments


cdef class ErlMap:
    cdef dict entries           # canonical octets of the key, or their digest -> (key, value), in the order given
    cdef bint hash_known        # whether hash_value is set
    cdef Py_hash_t hash_value   # or -1: a key or value has none, nor has the map
    cdef list spelled           # canonical octets of the keys under other options than the default ones, or None
    cdef int spelling           # which options: encoder.spelling_of
    cdef object find(self, object key)      # its (key, value), or None


cdef Atom atom_from_str(str name)
# The atom whose name is these octets of UTF-8, through a bounded cache; `where` is the offset that a DecodeError tells.
cdef Atom atom_from_utf8(const uint8_t* text, Py_ssize_t size, Py_ssize_t where)
# The same for octets of Latin-1.
cdef Atom atom_from_latin1(const uint8_t* text, Py_ssize_t size, Py_ssize_t where)
cdef Pid pid_of(Atom home, uint32_t id, uint32_t serial, uint32_t creation, uint8_t form_code)
cdef Reference reference_of(Atom home, const uint32_t* ids, int count, uint32_t creation, uint8_t form_code)
# A map from pairs whose keys differ under =:=; None when two of them do not.
cdef ErlMap erlmap_of(list pairs)
