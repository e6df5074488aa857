"""The term codec. Others call `encode_into` and `decode_from`, which copy nothing beyond the term itself."""

from libc.stdint cimport uint8_t

from .options cimport codec_options
from .wire cimport octets


cdef class Codec:
    cdef codec_options options  # never changes after construction
    cdef octets scratch         # owned; output of the last `encode`, kept to spare the next one its allocations
    cdef list spare             # an empty list for `encode`, or None while it is in use
    cdef dict given             # the options as they were given, for repr and replace

    # Append the term to `out`, without the version octet. On error `out.length` and `references` are as before.
    # `references` None: every octet is copied. Else a bytes object of LARGE_OCTETS or more is not copied: behind its
    # BINARY_EXT header, (out.length, the object) is appended to `references`, in order.
    cdef int encode_into(self, octets* out, object term, list references) except -1

    # Decode the term at data[position[0]] of a frame that a peer wrote, no version octet, and advance position[0] behind
    # it. Offsets in errors count
    # from `data`. A COMPRESSED term is accepted as the outermost one. `planted` None: every octet is in data. Else each
    # BINARY_EXT of LARGE_OCTETS or more has only its header in data and its octets are the next of the `planted` bytes.
    cdef object decode_from(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t* position, list planted)

    cdef object read(self, object data, Py_ssize_t* position, Py_ssize_t* size)
    cdef object read_version(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t* position)
    cdef inline int borrow(self, octets* out) except -1
    cdef inline void give_back(self, octets* out) noexcept
