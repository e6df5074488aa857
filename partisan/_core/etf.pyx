"""The term codec: a Codec is a set of options with `encode` and `decode` as methods."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from .decoder cimport decode_term
from .encoder cimport encode_term, write_whole
from .identities cimport Atom
from .options cimport (
    FORM_LIST, FORM_PLAIN, FORM_TUPLE, NONE_IS_NIL, NONE_IS_UNDEFINED, STRINGS_ARE_ATOMS, STRINGS_ARE_BINARIES,
    STRINGS_ARE_LISTS,
)
from .wire cimport COMPRESSED_EXT, VERSION_MAGIC, octets, octets_free, octets_reserve, put32
from .writer cimport check_size, writer

import zlib

from ..errors import DecodeError, Truncated
from .encoder import canonical

cdef enum:
    KEPT_OCTETS = 1048576       # a scratch run that grew beyond this is given back
    DEEPEST = 8_000             # levels: a level takes up to 640 octets of C stack, so this leaves 3 MiB of 8

cdef dict _NONE = {"undefined": NONE_IS_UNDEFINED, "nil": NONE_IS_NIL}
cdef dict _STRINGS = {"binary": STRINGS_ARE_BINARIES, "list": STRINGS_ARE_LISTS, "atom": STRINGS_ARE_ATOMS}
cdef dict _BINARIES = {"bytes": False, "str": True}
cdef dict _ENCODE_REFS = {None: FORM_PLAIN, "list": FORM_LIST, "tuple": FORM_TUPLE}


cdef object _choice(str option, dict choices, object value):
    if value not in choices:
        raise ValueError(f"{option}={value!r} is none of {', '.join(map(repr, choices))}")
    return choices[value]


cdef Py_ssize_t _limit(str option, object value, Py_ssize_t most) except -1:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{option}={value!r} is no number between 1 and {most}")
    return value


@cython.final
cdef class Codec:
    """How Python values and external terms stand for each other, and within which limits. Immutable.

    Args:
        none: the atom that None stands for: "undefined" or "nil".
        strings: what a str is written as: a UTF-8 "binary", a "list" of code points or an "atom".
        binaries: what a binary decodes to: "bytes", or "str" where it is UTF-8.
        remote_refs: partisan's wire: remote references in list and tuple form decode to Pid and Reference, and these
            are written as remote references. Off: they are written as NEW_PID_EXT and NEWER_REFERENCE_EXT.
        encode_refs: with remote_refs, how a Pid or Reference is written that did not come as a remote reference:
            "list", "tuple", or None for NEW_PID_EXT and NEWER_REFERENCE_EXT.
        max_depth: levels of containers, at most 8,000. A level takes up to 640 octets of the C stack.
        max_items: items of all containers of one term; a pair of a map counts two.
        max_octets: of one encoded term.
        max_inflated: octets that a compressed term may inflate to.
        home, creation: the Atom of a node whose pids, references and ports have creation 0 here and this one on the
            wire; others of that node keep theirs.
    """

    def __cinit__(self, *, none="undefined", strings="binary", binaries="bytes", remote_refs=False, encode_refs="list",
                  max_depth=1024, max_items=16_777_216, max_octets=268_435_456, max_inflated=268_435_456, home=None,
                  creation=0):
        self.given = {
            "none": none, "strings": strings, "binaries": binaries, "remote_refs": bool(remote_refs),
            "encode_refs": encode_refs, "max_depth": max_depth, "max_items": max_items, "max_octets": max_octets,
            "max_inflated": max_inflated, "home": home, "creation": creation,
        }
        if home is not None and not isinstance(home, Atom):
            raise ValueError(f"home={home!r} is no Atom")
        self.options.home = NULL if home is None else <PyObject*>home  # `given` keeps it
        self.options.creation = creation
        self.options.none = _choice("none", _NONE, none)
        self.options.strings = _choice("strings", _STRINGS, strings)
        self.options.text = _choice("binaries", _BINARIES, binaries)
        self.options.remote_refs = bool(remote_refs)
        self.options.encode_refs = _choice("encode_refs", _ENCODE_REFS, encode_refs)
        self.options.max_depth = _limit("max_depth", max_depth, DEEPEST)
        self.options.max_items = _limit("max_items", max_items, 1 << 40)
        self.options.max_octets = _limit("max_octets", max_octets, 1 << 40)
        self.options.max_inflated = _limit("max_inflated", max_inflated, 1 << 40)

    def __dealloc__(self):
        octets_free(&self.scratch)

    def __repr__(self):
        return f"Codec({', '.join([f'{option}={value!r}' for option, value in self.given.items()])})"

    def __reduce__(self):
        return _codec, (self.given,)

    @property
    def settings(self):
        """The options as a new dict."""
        return dict(self.given)

    cdef int encode_into(self, octets* out, object term, list references) except -1:
        return encode_term(&self.options, out, term, references)

    cdef object decode_from(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t* position, list planted):
        return decode_term(&self.options, data, size, position, planted, None, True)

    @cython.binding(False)
    @cython.always_allow_keywords(False)
    def encode(self, term):
        """Write the term, behind the version octet.

        Raises:
            EncodeError: a value has no external form, or a limit is passed.
        """
        cdef writer w
        cdef list references = self.spare
        self.spare = None
        if references is None:
            references = []
        self.borrow(&w.run)
        w.references = <PyObject*>references
        w.options = &self.options
        w.start = 1
        w.referenced = 0
        w.items = self.options.max_items
        w.canonical = False
        w.atoms = NULL
        try:
            # What encode_term does, without the care that a run shared with others needs.
            write_whole(&w, term)
            check_size(&w)
            if w.referenced == 0:
                return PyBytes_FromStringAndSize(<const char*>w.run.data, w.run.length)
            return gather(&w.run, references)
        finally:
            self.give_back(&w.run)
            if w.referenced:
                references.clear()
            self.spare = references

    @cython.binding(False)
    @cython.always_allow_keywords(False)
    def encode_iovec(self, term):
        """Write the term as a list of bytes to be sent one after the other.

        A bytes object of 64 KiB or more in the term is in the list itself, not a copy of it.
        """
        cdef octets out
        cdef list references = [], pieces = []
        cdef size_t at = 0, offset
        self.borrow(&out)
        try:
            encode_term(&self.options, &out, term, references)
            for offset, large in references:
                pieces.append(PyBytes_FromStringAndSize(<const char*>out.data + at, offset - at))
                pieces.append(large)
                at = offset
            if out.length > at:
                pieces.append(PyBytes_FromStringAndSize(<const char*>out.data + at, out.length - at))
            return pieces
        finally:
            self.give_back(&out)

    def encode_compressed(self, term, int level=6):
        """Write the term as COMPRESSED at a zlib level of 0 to 9, or plainly when that is not longer, as OTP does."""
        cdef bytes plain = self.encode(term)
        if not 0 <= level <= 9:
            raise ValueError(f"{level} is no zlib level between 0 and 9")
        cdef Py_ssize_t size = len(plain) - 1
        if level == 0 or size > 0xFFFFFFFF:
            return plain
        cdef uint8_t[4] announced
        put32(announced, <unsigned int>size)
        packed = zlib.compress(memoryview(plain)[1:], level)
        if len(packed) + 5 >= size:
            return plain
        return bytes((VERSION_MAGIC, COMPRESSED_EXT)) + announced[:4] + packed

    @cython.binding(False)
    @cython.always_allow_keywords(False)
    def decode(self, data):
        """Read the one term that `data` is, version octet included.

        Raises:
            Truncated: the octets are the beginning of a term.
            DecodeError: they are no term, a limit is passed, or octets follow the term.
        """
        cdef Py_ssize_t used = 0
        cdef Py_ssize_t size = 0
        term = self.read(data, &used, &size)
        if used != size:
            raise DecodeError(f"{size - used} octets behind the term", used)
        return term

    @cython.binding(False)
    @cython.always_allow_keywords(False)
    def decode_prefix(self, data):
        """Read the term at the front of `data`: (term, octets used)."""
        cdef Py_ssize_t used = 0
        cdef Py_ssize_t size = 0
        term = self.read(data, &used, &size)
        return term, used

    def decode_dist(self, data, tuple atoms not None):
        """Read a term without version octet whose ATOM_CACHE_REF index `atoms`: (term, octets used).

        This is what follows a distribution header.
        """
        cdef Py_buffer view
        cdef Py_ssize_t position = 0
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            term = decode_term(&self.options, <const uint8_t*>view.buf, view.len, &position, None, atoms, False)
        finally:
            PyBuffer_Release(&view)
        return term, position

    cdef object read(self, object data, Py_ssize_t* position, Py_ssize_t* size):
        cdef Py_buffer view
        if type(data) is bytes:
            size[0] = PyBytes_GET_SIZE(data)
            return self.read_version(<const uint8_t*>PyBytes_AS_STRING(data), size[0], position)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            size[0] = view.len
            return self.read_version(<const uint8_t*>view.buf, view.len, position)
        finally:
            PyBuffer_Release(&view)

    cdef object read_version(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t* position):
        if size < 1:
            raise Truncated(2, 0)
        if data[0] != VERSION_MAGIC:
            raise DecodeError(f"version octet {data[0]}, not {VERSION_MAGIC}", 0)
        position[0] = 1
        return decode_term(&self.options, data, size, position, None, None, False)

    cdef inline int borrow(self, octets* out) except -1:
        """Take the scratch run away (an encoding that a finaliser starts meanwhile gets its own) and put 131 into it."""
        out[0] = self.scratch
        self.scratch.data = NULL
        self.scratch.capacity = 0
        out.length = 0
        if out.capacity == 0 and octets_reserve(out, 256) < 0:
            raise MemoryError
        out.data[0] = VERSION_MAGIC
        out.length = 1
        return 0

    cdef inline void give_back(self, octets* out) noexcept:
        if out.capacity > KEPT_OCTETS or self.scratch.data is not NULL:
            octets_free(out)
        else:
            self.scratch = out[0]


cdef bytes gather(octets* out, list references):
    """One bytes object of the run with the referenced bytes in their places."""
    cdef size_t total = out.length, at = 0, offset
    cdef bytes large
    for offset, large in references:
        total += PyBytes_GET_SIZE(large)
    cdef bytes result = PyBytes_FromStringAndSize(NULL, total)
    cdef char* p = PyBytes_AS_STRING(result)
    for offset, large in references:
        memcpy(p, out.data + at, offset - at)
        memcpy(p + offset - at, PyBytes_AS_STRING(large), PyBytes_GET_SIZE(large))
        p += offset - at + PyBytes_GET_SIZE(large)
        at = offset
    memcpy(p, out.data + at, out.length - at)
    return result


def _codec(dict options):
    return Codec(**options)


cdef Codec _DEFAULT = Codec()


def encode(term, *, int compressed=0, Codec codec=None):
    """Write the term, version octet included; COMPRESSED at that zlib level when it is not 0 and pays."""
    if codec is None:
        codec = _DEFAULT
    return codec.encode(term) if compressed == 0 else codec.encode_compressed(term, compressed)


def encode_iovec(term, *, Codec codec=None):
    """Write the term as a list of bytes; bytes objects of 64 KiB or more are not copied."""
    return (_DEFAULT if codec is None else codec).encode_iovec(term)


def decode(data, *, Codec codec=None):
    """Read the one term that `data` is; see Codec.decode."""
    return (_DEFAULT if codec is None else codec).decode(data)


def decode_prefix(data, *, Codec codec=None):
    """Read the term at the front of `data`: (term, octets used)."""
    return (_DEFAULT if codec is None else codec).decode_prefix(data)


def exactly_equal(a, b):
    """Whether two terms are `=:=` in Erlang: 1 and 1.0 differ, and so do 0.0 and -0.0 (as since OTP 27); "a" and b"a"
    are the same binary, and True is the atom true.

    Raises:
        EncodeError: one of them is no term.
    """
    return canonical(a) == canonical(b)
