"""Messages of the Erlang distribution on their way to mailboxes: what `distout` writes, read.

A message for a pid or a name goes to its mailbox from here; every other control message goes to `control`. Pieces of
large messages are kept until the last has come; other messages may come in between. What is malformed ends the
connection, as it does in OTP.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from .identities cimport Atom, Pid, atom_from_utf8
from .process cimport Process
from .router cimport Origin, Router
from .wire cimport get16, get64, octets, octets_append, octets_free
from .decoder cimport decode_term
from .writer cimport CACHE_SLOTS

from ..errors import FrameError, TermError

__all__ = ["DistIn"]

cdef enum:
    VERSION = 131
    PASS_THROUGH = 112
    NORMAL = 68
    FIRST_PIECE = 69
    LATER_PIECE = 70
    PIECE_HEAD = 18
    SEND = 2
    REG_SEND = 6
    SEND_SENDER = 22


cdef class Sequence:
    """A message of which pieces are missing."""
    cdef octets data                # owned: the terms as far as they have come
    cdef tuple atoms                # that its references mean
    cdef unsigned long long left    # the number of the piece that came last

    def __dealloc__(self):
        octets_free(&self.data)


cdef class DistIn(Origin):
    """Frames of one connection.

    Args:
        slab, max_frame: as FrameReader; a message in pieces has at most `max_frame` octets, too.
        router: of the node.
        codec: with our node's atom and creation.
        link: who owns the connection.
        control: callable(tuple, payload, whether there is one).
        max_sequences: messages of which pieces may be missing at a time.
    Attributes:
        handshake: callable(octets) -> octets behind it, or None while it goes on: takes what comes before the first
            frame. None once that is done, or for none.
        headers: frames have distribution headers, as was agreed there.
    """

    def __init__(self, slab, max_frame, *, router, codec, link, control, headers=False, max_sequences=1024):
        self.router = router
        self.codec = codec
        self.link = link
        self.headers = headers
        self.control = control
        self.atoms = [None] * CACHE_SLOTS
        self.sequences = {}
        self.max_sequences = max_sequences

    @property
    def unfinished(self):
        """(messages of which pieces are missing, octets of them that are here)."""
        return len(self.sequences), self.sequence_octets

    cdef int begin_burst(self) except -1:
        self.router.busy = True
        self.router.scheduler.awake = True
        return 0

    cdef int take_in(self, Py_ssize_t size) except -1:
        if self.handshake is not None:
            size = self.shake(size)
        return self.take(size) if size else 0

    cdef int finish_burst(self) except -1:
        return self.router.finish_burst()

    cdef Py_ssize_t shake(self, Py_ssize_t size) except -1:
        """Give the octets in the window to the handshake; how many of them are left for frames, in the window."""
        cdef bytes rest
        found = self.handshake(PyBytes_FromStringAndSize(<const char*>self.slab.data, size))
        if found is None:
            self.received_octets += size
            return 0
        rest = found
        self.handshake = None
        self.received_octets += size - PyBytes_GET_SIZE(rest)
        memcpy(self.slab.data, PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest))  # never more than came
        return PyBytes_GET_SIZE(rest)

    cdef int on_empty(self) except -1:
        """A tick: `received_octets` tells that the peer lives."""
        return 0

    cdef int on_frame(self, const uint8_t* data, Py_ssize_t size, list planted) except -1:
        cdef Py_ssize_t position = 2
        try:
            if not self.headers:
                return self.on_pass_through(data, size)
            if size < 3 or data[0] != VERSION:
                raise FrameError("malformed", size, "no distribution header")
            if data[1] == NORMAL:
                atoms = self.read_references(data, size, &position)
                return self.on_message(data, size, position, atoms)
            return self.on_piece(data, size)
        except TermError as error:
            raise FrameError("malformed", size, str(error)) from error

    cdef int on_pass_through(self, const uint8_t* data, Py_ssize_t size) except -1:
        if size < 3 or data[0] != PASS_THROUGH or data[1] != VERSION:
            raise FrameError("malformed", size, "no frame of the distribution without headers")
        return self.on_message(data, size, 2, None)

    cdef int on_message(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t position, tuple atoms) except -1:
        """Take a control message, and a payload if there is one; without atoms, each has its version before it."""
        control = decode_term(&self.codec.options, data, size, &position, None, atoms, False)
        if type(control) is not tuple or not len(<tuple>control) or type((<tuple>control)[0]) is not int:
            raise FrameError("malformed", size, "no control message")
        if position == size:
            self.control(control, None, False)
            return 0
        if atoms is None:
            if data[position] != VERSION:
                raise FrameError("malformed", size, f"a payload that begins with octet {data[position]}")
            position += 1
        payload = decode_term(&self.codec.options, data, size, &position, None, atoms, False)
        if position != size:
            raise FrameError("malformed", size, f"{size - position} octets behind the payload")
        return self.take_message(<tuple>control, payload)

    cdef int take_message(self, tuple control, object payload) except -1:
        """Deliver what is for a pid or a name; give the rest to `control`."""
        cdef Py_ssize_t count = len(control)
        cdef long op = control[0] if 0 < control[0] < 64 else 0
        cdef Process process
        if (op == SEND_SENDER or op == SEND) and count == 3 and type(control[2]) is Pid:
            target = control[2]
            if (<Pid>target).home.name == self.router.node and (<Pid>target).creation == 0:
                process = self.router.scheduler.find_process((<Pid>target).id, (<Pid>target).serial)
                if process is not None:
                    return self.router.give(process, payload, self)
            return self.router.give_nobody(target, payload, self)
        if op == REG_SEND and count == 4 and type(control[3]) is Atom:
            found = self.router.scheduler.names.get((<Atom>control[3]).name)
            if found is None or type(found) is Process:  # else it is a part of the node, which may not be for this peer
                return self.router.deliver_name((<Atom>control[3]).name, payload, self)
        self.control(control, payload, True)
        return 0

    cdef tuple read_references(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t* position):
        """Read a header's references from its number on: the atoms that the terms behind it refer to."""
        cdef Py_ssize_t at = position[0]
        cdef Py_ssize_t flags, wide
        cdef Py_ssize_t length
        cdef int count, i, slot
        cdef uint8_t nibble
        cdef list found
        if at >= size:
            raise FrameError("malformed", size, "a header without its number of atoms")
        count = data[at]
        at += 1
        if count == 0:
            position[0] = at
            return ()
        flags = at
        at += count // 2 + 1
        if at > size:
            raise FrameError("malformed", size, f"a header of {count} atoms without their flags")
        wide = (data[flags + count // 2] >> (4 if count & 1 else 0)) & 1
        found = []
        for i in range(count):
            nibble = (data[flags + i // 2] >> (4 if i & 1 else 0)) & 15
            if at >= size:
                raise FrameError("malformed", size, f"a header of {count} atoms that ends after {i}")
            slot = (nibble & 7) << 8 | data[at]
            at += 1
            if nibble & 8:
                if at + 1 + wide > size:
                    raise FrameError("malformed", size, "an atom in a header without its length")
                length = get16(data + at) if wide else data[at]
                at += 1 + wide
                if at + length > size:
                    raise FrameError("malformed", size, f"an atom of {length} octets in a header, of which {size - at} are there")
                self.atoms[slot] = atom_from_utf8(data + at, length, at)
                at += length
            atom = self.atoms[slot]
            if atom is None:
                raise FrameError("malformed", size, f"a header refers to slot {slot}, in which there is no atom")
            found.append(atom)
        position[0] = at
        return tuple(found)

    cdef int on_piece(self, const uint8_t* data, Py_ssize_t size) except -1:
        """Take a piece of a message."""
        cdef Py_ssize_t position = PIECE_HEAD
        cdef unsigned long long number, left
        cdef Sequence sequence
        if size < PIECE_HEAD or data[1] not in (FIRST_PIECE, LATER_PIECE):
            raise FrameError("malformed", size, f"a header of kind {data[1]}")
        number = get64(data + 2)
        left = get64(data + 10)
        if left == 0:
            raise FrameError("malformed", size, "a piece with number 0")
        if data[1] == FIRST_PIECE:
            if number in self.sequences:
                raise FrameError("malformed", size, f"sequence {number} begins twice")
            if len(self.sequences) >= self.max_sequences:
                raise FrameError("malformed", size, f"more than {self.max_sequences} sequences are unfinished")
            sequence = Sequence.__new__(Sequence)
            sequence.atoms = self.read_references(data, size, &position)
        else:
            sequence = self.sequences.get(number)
            if sequence is None or left != sequence.left - 1:
                raise FrameError("malformed", size, f"piece {left} of sequence {number} comes out of order")
        self.sequence_octets += size - position
        if self.sequence_octets > self.max_frame:
            raise FrameError("oversized", self.sequence_octets, f"in unfinished messages: the limit is {self.max_frame}")
        if octets_append(&sequence.data, data + position, size - position) < 0:
            raise MemoryError()
        sequence.left = left
        if left > 1:
            self.sequences[number] = sequence
            return 0
        self.sequences.pop(number, None)
        self.sequence_octets -= sequence.data.length
        return self.on_message(sequence.data.data, sequence.data.length, 0, sequence.atoms)
