"""From Python values to octets: one pass, straight into a growing run of octets."""

from .options cimport codec_options
from .wire cimport octets
from .writer cimport writer


# Append one term. On error `run` holds a part of it, which the caller takes away.
cdef int write_whole(writer* w, object term) except -1
# The whole of encode_into, without the Codec.
cdef int encode_term(const codec_options* options, octets* out, object term, list references) except -1
