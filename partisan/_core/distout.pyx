"""Messages of the Erlang distribution on their way to a send queue.

A message is a control tuple and perhaps a payload, in one of two dresses:

    112, 131, Control [, 131, Payload]                       to a peer without distribution headers
    131, 68, Number, Flags, References, Control [, Payload]  to others: atoms are numbers of the header's references

The header comes first and is known last, so the terms are written apart and copied behind it. A reference is a slot of
the 2,048 that the peer keeps for us; what it does not have yet is in the header once. A message above `piece` octets is
cut, if the peer takes that: the first piece has the header, all have the number of their sequence, and count down.

Source: erl_dist_protocol and erl_ext_dist of OTP; nodes of OTP 25 and 28.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from .encoder cimport write_whole
from .identities cimport Atom
from .wire cimport octets_append, octets_free, octets_reserve, put64
from .writer cimport CACHE_SLOTS, check_size, writer

from ..errors import EncodeError

__all__ = ["DistOut"]

cdef enum:
    VERSION = 131
    PASS_THROUGH = 112
    NORMAL = 68
    FIRST_PIECE = 69
    LATER_PIECE = 70
    PIECE_HEAD = 18     # octets: version, kind, sequence and number
    KEEP_OCTETS = 262144

cdef object NOTHING = object()


cdef class DistOut:
    """The outgoing messages of one connection.

    Args:
        codec: with our node's atom and creation.
        queue: of the connection.
        headers: the peer takes distribution headers.
        fragments: and messages in pieces.
        piece: octets that one of those has at most, without its own head.
    """

    def __cinit__(self, Codec codec not None, SendQueue queue not None, *, bint headers, bint fragments,
                  Py_ssize_t piece=65536):
        self.codec = codec
        self.queue = queue
        self.headers = headers
        self.fragments = headers and fragments
        self.piece = piece
        self.references = []
        self.atoms.slots = <PyObject**>PyMem_Calloc(CACHE_SLOTS, sizeof(PyObject*))
        self.atoms.stamps = <uint32_t*>PyMem_Calloc(CACHE_SLOTS, sizeof(uint32_t))
        self.atoms.indices = <uint8_t*>PyMem_Calloc(CACHE_SLOTS, 1)
        if self.atoms.slots is NULL or self.atoms.stamps is NULL or self.atoms.indices is NULL:
            raise MemoryError()

    def __dealloc__(self):
        cdef int slot
        if self.atoms.slots is not NULL:
            for slot in range(CACHE_SLOTS):
                Py_XDECREF(self.atoms.slots[slot])
        PyMem_Free(self.atoms.slots)
        PyMem_Free(self.atoms.stamps)
        PyMem_Free(self.atoms.indices)
        octets_free(&self.terms)
        octets_free(&self.head)

    def push(self, tuple control not None, payload=NOTHING):
        """Queue a message.

        Returns:
            None; or, if it is to be cut, its pieces: an iterator of frames for `push_piece`, in order.
        Raises:
            EncodeError: something in it is no term; nothing was queued, and the peer's state is known.
        """
        cdef Py_ssize_t size
        cdef bytes large
        self.write_terms(control, payload, payload is not NOTHING, True)
        size = self.terms.length
        for _, large in self.references:
            size += PyBytes_GET_SIZE(large)
        if self.fragments and size > self.piece:
            return self.cut()
        self.write_head(NORMAL, 0, 0)
        self.push_whole()
        return None

    def encoded(self, tuple control not None, payload=NOTHING):
        """The frame of a message that waits: as a list of pieces, one if it is not to be cut; it uses no references."""
        cdef bytes whole
        self.write_terms(control, payload, payload is not NOTHING, False)
        if self.fragments and self.terms.length + sum([len(large) for _, large in self.references]) > self.piece:
            return list(self.cut())
        self.write_head(NORMAL, 0, 0)
        whole = self.joined()
        self.references.clear()
        return [PyBytes_FromStringAndSize(<const char*>self.head.data, self.head.length) + whole]

    def push_tick(self):
        """Queue a frame of no octets: we live."""
        cdef size_t start = self.queue.begin()
        self.queue.stream.length -= 1
        self.queue.end(start, len(self.queue.references), None, 0.0)

    def push_piece(self, bytes frame not None):
        """Queue a piece of a message."""
        self.queue.push_raw(frame)

    cdef int write_terms(self, tuple control, object payload, bint has_payload, bint cached) except -1:
        """Write the terms into `terms`; on an error the peer is not believed to have what it was not sent."""
        cdef bint written = False
        self.terms.length = 0
        self.references.clear()
        self.atoms.message += 1
        if self.atoms.message == 0:  # after four thousand million messages: no slot may seem to be of this one
            self.forget()
        self.atoms.used = 0
        try:
            self.write_term(control, cached)
            if has_payload:
                self.write_term(payload, cached)
            written = True
        finally:
            if not written:
                self.roll_back()
        return 0

    cdef int write_term(self, object term, bint cached) except -1:
        cdef writer w
        cdef uint8_t version = VERSION
        if not self.headers and octets_append(&self.terms, &version, 1) < 0:
            raise MemoryError()
        w.run = self.terms
        self.terms.data = NULL
        self.terms.length = self.terms.capacity = 0
        w.references = <PyObject*>self.references
        w.options = &self.codec.options
        w.start = w.run.length
        w.referenced = 0
        w.items = self.codec.options.max_items
        w.canonical = False
        w.atoms = &self.atoms if self.headers and cached else NULL
        try:
            write_whole(&w, term)
            check_size(&w)
        finally:
            octets_free(&self.terms)  # what a finaliser wrote meanwhile
            self.terms = w.run
        return 0

    cdef int roll_back(self) except -1:
        """Forget the atoms that were new in a message that is not sent."""
        cdef int i
        cdef int slot
        cdef PyObject* atom
        for i in range(self.atoms.used):
            if self.atoms.fresh[i]:
                slot = self.atoms.refs[i]
                atom = self.atoms.slots[slot]
                self.atoms.slots[slot] = NULL
                Py_XDECREF(atom)
        self.atoms.used = 0
        self.terms.length = 0
        self.references.clear()
        return 0

    cdef int forget(self) except -1:
        """Begin to count messages anew."""
        cdef int slot
        for slot in range(CACHE_SLOTS):
            self.atoms.stamps[slot] = 0
        self.atoms.message = 1
        return 0

    cdef int write_head(self, int kind, unsigned long long sequence, unsigned long long pieces) except -1:
        """Write into `head` what stands before the terms."""
        cdef int used = self.atoms.used
        cdef int flags = used // 2 + 1 if used else 0
        cdef int i
        cdef int slot
        cdef uint8_t* p
        cdef bytes ext
        self.head.length = 0
        if octets_reserve(&self.head, PIECE_HEAD + 1 + flags + 258 * used) < 0:
            raise MemoryError()
        p = self.head.data
        if not self.headers:
            p[0] = PASS_THROUGH
            self.head.length = 1
            return 0
        p[0] = VERSION
        p[1] = <uint8_t>kind
        p += 2
        if kind == FIRST_PIECE:
            put64(p, sequence)
            put64(p + 8, pieces)
            p += 16
        p[0] = <uint8_t>used
        p += 1
        for i in range(flags):
            p[i] = 0
        for i in range(used):
            p[i // 2] |= <uint8_t>((self.atoms.fresh[i] << 3 | self.atoms.refs[i] >> 8) << (4 if i & 1 else 0))
        p += flags
        for i in range(used):
            slot = self.atoms.refs[i]
            p[0] = <uint8_t>(slot & 255)
            p += 1
            if self.atoms.fresh[i]:
                ext = (<Atom>self.atoms.slots[slot]).ext
                memcpy(p, PyBytes_AS_STRING(ext) + 1, PyBytes_GET_SIZE(ext) - 1)  # its length in an octet, and its text
                p += PyBytes_GET_SIZE(ext) - 1
        self.head.length = p - self.head.data
        return 0

    cdef int push_whole(self) except -1:
        """Queue the message that was written."""
        cdef SendQueue queue = self.queue
        cdef Py_ssize_t references = len(queue.references)
        cdef size_t start = queue.begin()
        cdef bint queued = False
        queue.stream.length -= 1  # the version octet, which is not always there
        try:
            if octets_append(&queue.stream, self.head.data, self.head.length) < 0:
                raise MemoryError()
            shift = queue.stream.length
            if octets_append(&queue.stream, self.terms.data, self.terms.length) < 0:
                raise MemoryError()
            for offset, large in self.references:
                queue.references.append((offset + shift, large))
            queue.end(start, references, None, 0.0)
            queued = True
        finally:
            if not queued:
                queue.abandon(start, references)
                self.roll_back()
            self.references.clear()
            if self.terms.capacity > KEEP_OCTETS:
                octets_free(&self.terms)
        return 0

    def cut(self):
        """The pieces of the message that was written, as frames' octets.

        They are made one by one: what was written is copied once, and each piece once more. The header is written when
        the first piece is asked for, which must be before another message is pushed.
        """
        cdef bytes whole = self.joined()
        cdef Py_ssize_t size = len(whole)
        cdef Py_ssize_t pieces = (size + self.piece - 1) // self.piece
        self.sequences += 1
        self.write_head(FIRST_PIECE, self.sequences, pieces)
        head = PyBytes_FromStringAndSize(<const char*>self.head.data, self.head.length)
        self.references.clear()
        if self.terms.capacity > KEEP_OCTETS:
            octets_free(&self.terms)
        return Pieces(whole, head, self.sequences, pieces, self.piece)

    cdef bytes joined(self):
        """The terms, with their large binaries in their places."""
        cdef list parts = []
        cdef size_t at = 0
        cdef size_t offset
        for offset, large in self.references:
            parts.append(PyBytes_FromStringAndSize(<const char*>self.terms.data + at, offset - at))
            parts.append(large)
            at = offset
        parts.append(PyBytes_FromStringAndSize(<const char*>self.terms.data + at, self.terms.length - at))
        return b"".join(parts)


cdef class Pieces:
    """The pieces of one message, in order: an iterator of frames' octets; `len()` counts those that are left."""
    cdef bytes whole
    cdef bytes head
    cdef unsigned long long sequence
    cdef Py_ssize_t left
    cdef Py_ssize_t piece
    cdef Py_ssize_t position

    def __cinit__(self, bytes whole, bytes head, unsigned long long sequence, Py_ssize_t pieces, Py_ssize_t piece):
        self.whole = whole
        self.head = head
        self.sequence = sequence
        self.left = pieces
        self.piece = piece

    def __len__(self):
        return self.left

    def __iter__(self):
        return self

    def __next__(self):
        cdef bytes frame
        cdef uint8_t* p
        cdef Py_ssize_t size = min(self.piece, len(self.whole) - self.position)
        if self.left == 0:
            raise StopIteration
        frame = PyBytes_FromStringAndSize(NULL, (len(self.head) if self.position == 0 else PIECE_HEAD) + size)
        p = <uint8_t*>PyBytes_AS_STRING(frame)
        if self.position == 0:
            memcpy(p, PyBytes_AS_STRING(self.head), len(self.head))
            p += len(self.head)
        else:
            p[0] = VERSION
            p[1] = LATER_PIECE
            put64(p + 2, self.sequence)
            put64(p + 10, self.left)
            p += PIECE_HEAD
        memcpy(p, PyBytes_AS_STRING(self.whole) + self.position, size)
        self.position += size
        self.left -= 1
        return frame
