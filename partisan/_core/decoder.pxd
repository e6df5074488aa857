"""From octets to Python values: one pass with every length checked before it is believed."""

from libc.stdint cimport uint8_t

from .options cimport codec_options

# The whole of decode_from, without the Codec. `atoms` None, or what ATOM_CACHE_REF refers to, in order. `peers`: the
# octets are a frame that a peer wrote, whose tuples may be wide (see wide_arity).
cdef object decode_term(const codec_options* options, const uint8_t* data, Py_ssize_t size, Py_ssize_t* position,
                        list planted, tuple atoms, bint peers)
