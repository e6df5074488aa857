"""From Python values to octets: one pass, straight into a growing run of octets."""

from cpython.object cimport PyObject

from .options cimport codec_options
from .wire cimport octets


cdef struct writer:
    octets run                      # owned while the term is written; where everything goes
    PyObject* references            # borrowed list for large bytes, or NULL: copy them
    const codec_options* options    # borrowed
    size_t start                    # run.length when the term began
    size_t referenced               # octets that went to `references` instead of `run`
    Py_ssize_t items                # container items that may still come
    bint canonical                  # equal terms give equal octets: pairs of maps are sorted


# Append one term. On error `run` holds a part of it, which the caller takes away.
cdef int write_term(writer* w, PyObject* term, int depth) except -1
# Raise when the term that was written is above max_octets: `room` looks only when the run must grow.
cdef inline int check_size(writer* w) except -1:
    if w.run.length - w.start + w.referenced > <size_t>w.options.max_octets:
        too_large(w)
    return 0


cdef int too_large(writer* w) except -1
# The whole of encode_into, without the Codec.
cdef int encode_term(const codec_options* options, octets* out, object term, list references) except -1
