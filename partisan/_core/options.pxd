"""What a codec was told, as plain C that the encoder and the decoder read; a Codec owns one and never changes it."""


from cpython.object cimport PyObject
from libc.stdint cimport uint32_t


cdef enum:
    NONE_IS_UNDEFINED       # Python's None is the atom undefined
    NONE_IS_NIL             # ... the atom nil, as in Elixir

cdef enum:
    STRINGS_ARE_BINARIES    # a str is written as a UTF-8 binary
    STRINGS_ARE_LISTS       # ... as a list of code points
    STRINGS_ARE_ATOMS       # ... as an atom

cdef enum:
    FORM_PLAIN              # NEW_PID_EXT, NEWER_REFERENCE_EXT
    FORM_LIST               # partisan's [Node|<<"#Pid<0.1.2>">>]
    FORM_TUPLE              # partisan's {partisan_remote_ref, Node, {encoded_pid, "<0.1.2>"}}

cdef enum:
    LARGE_OCTETS = 65536    # a binary of this many octets or more is passed by reference, not copied


ctypedef struct codec_options:
    int none                    # NONE_IS_...
    int strings                 # STRINGS_ARE_...
    bint text                   # binaries that are UTF-8 decode to str, not to bytes
    bint remote_refs            # partisan's remote references are pids and references
    int encode_refs             # FORM_...: how a pid or reference of plain form is written when remote_refs is on
    int max_depth               # levels of containers
    Py_ssize_t max_items        # items of all containers of one term; a map's pair counts two
    Py_ssize_t max_octets       # of one encoded term
    Py_ssize_t max_inflated     # octets that a compressed term may inflate to
    PyObject* home              # borrowed Atom: our node, whose identities have another creation on the wire; or NULL
    uint32_t creation           # the one that they have there


cdef inline int spelling_of(const codec_options* options) noexcept:
    """One number for all options that say how a value is written."""
    return (options.none * 4 + options.strings) * 4 + (1 + options.encode_refs if options.remote_refs else 0)
