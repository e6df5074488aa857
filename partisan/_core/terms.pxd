"""Erlang's terms that Python lacks, as immutable extension types. Every field is set once, when the object is made."""

from libc.stdint cimport uint32_t

from .identities cimport Atom, Pid


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
    cdef bint nil               # whether entries go by None as the atom nil, since two keys are one with None as undefined
    cdef object find(self, object key)      # its (key, value), or None


# A map from pairs whose keys differ under =:=, where None may be the atom nil; None when two of them do not.
cdef ErlMap erlmap_of(list pairs, bint nil)
