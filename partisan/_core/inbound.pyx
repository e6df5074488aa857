"""Frames of one connection on their way to mailboxes.

Octets -> frame -> the target is read where it lies -> the message is decoded -> mailbox; at the end of the burst the
processes that it woke are stepped, and what they sent is written.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from partisan._core.acknowledged cimport beginning
from partisan._core.identities cimport Atom, Pid
from partisan._core.pids cimport find_pid
from partisan._core.process cimport Process
from partisan._core.forward cimport find_target
from partisan._core.router cimport Origin, Router

from partisan.errors import FrameError, TermError

__all__ = ["Inbound"]

cdef enum:
    VERSION = 131
    NUMBER_SIZE = 8    # octets of the number of an acknowledged message
    NIL = 106
    HELD = 150         # octets that a frame takes besides its own while it is held: two objects and a place in a list

cdef object PADDED = Atom("$partisan_padded")


cdef int trailing(Py_ssize_t size, Py_ssize_t position) except -1:
    """Refuse a frame of which a part belongs to no term: who wrote it meant something else than was read.

    A real node ignores what is behind the term. The one defect of real nodes that leads here, a tuple with an arity of
    the wrong size, is understood by the decoder.
    """
    raise FrameError("malformed", size, f"{size - position} octets behind the term")


cdef class Inbound(Origin):
    """Frames of one connection on their way to mailboxes.

    Args:
        slab, max_frame: as FrameReader.
        router: of the node.
        link: who owns the connection; sinks are told.
        control: callable(term): takes every term that is no plain message (handshake, pings, acknowledged messages);
            while frames are held it may return False, for one that must be held, too.
    """

    def __init__(self, slab, max_frame, *, router, link, control):
        self.router = router
        self.link = link
        self.control = control

    @property
    def holding(self):
        """Whether messages wait for release()."""
        return self.held is not None

    def hold(self):
        """Deliver no message from now on, but keep what comes: a frame, or more with `max_frame` octets of memory."""
        if self.held is None:
            self.held = []
            self.held_octets = 0

    def release(self):
        """Deliver what was held, in the order in which it came. Raises FrameError for what is malformed."""
        cdef bint outer = self.replaying
        held, self.held = self.held, None
        self.replaying = True  # the tap had its say when they came
        try:
            for body, planted in held or ():
                self.on_frame(<const uint8_t*>PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body), planted)
        finally:
            self.replaying = outer

    cdef int keep(self, const uint8_t* data, Py_ssize_t size, list planted) except -1:
        """Hold a frame. One as large as any may be can be held; more are charged what they take besides."""
        self.held_octets += size + (HELD if self.held else 0)
        for binary in planted or ():
            self.held_octets += len(binary)
        if self.held_octets > self.max_frame:
            raise FrameError("oversized", self.held_octets, "so much came before its hello")
        self.held.append((PyBytes_FromStringAndSize(<const char*>data, size), planted))
        return 0

    cdef int begin_burst(self) except -1:
        self.router.busy = True
        self.router.scheduler.awake = True  # whoever is woken runs at the end of this burst
        return 0

    cdef int finish_burst(self) except -1:
        return self.router.finish_burst()

    def expect(self, peer) -> None:
        """From now on read the numbers of messages that this node of our kind wants acknowledged; None: of nobody."""
        self.peer = peer
        self.numbered = None if peer is None else beginning(peer)

    cdef int on_frame(self, const uint8_t* data, Py_ssize_t size, list planted) except -1:
        cdef Py_ssize_t position
        cdef unsigned long long number = 0
        if self.tap is not None and not self.replaying \
                and not self.tap(PyBytes_FromStringAndSize(<const char*>data, size), planted):
            return 0
        try:
            position = find_target(data, size)
            if position == 0:
                position = self.find_number(data, size, &number)
                if position == 0:
                    return self.on_other(data, size, planted)
            return self.on_message(data, size, position, planted, number)
        except TermError as error:
            raise FrameError("malformed", size, str(error)) from error

    cdef Py_ssize_t find_number(self, const uint8_t* data, Py_ssize_t size, unsigned long long* number) except -1:
        """Where the target of an acknowledged message is, and its number; 0 if it is anything else."""
        cdef Py_ssize_t length
        cdef int i
        if self.numbered is None or self.held is not None or self.router.acknowledging is None:
            return 0
        length = len(self.numbered)
        if size <= length + NUMBER_SIZE + 1 or memcmp(data, <const char*>self.numbered, length) != 0 \
                or data[length + NUMBER_SIZE] != NIL:
            return 0
        for i in range(NUMBER_SIZE):
            number[0] |= <unsigned long long>data[length + i] << (8 * i)
        if self.router.acknowledging.takes(self.peer, number[0]):
            return length + NUMBER_SIZE + 1
        return 0

    def replay(self, bytes body not None, list planted=None) -> None:
        """Take a frame that the tap has kept, past the tap: as a burst of its own unless one is under way.

        Raises FrameError, and whatever `control` raises.
        """
        cdef Router router = self.router
        cdef bint alone = not router.busy
        cdef bint outer = self.replaying
        router.busy = True
        router.scheduler.awake = True
        self.replaying = True
        try:
            self.on_frame(<const uint8_t*>PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body), planted)
        finally:
            self.replaying = outer
            if alone:
                router.finish_burst()

    cdef int on_message(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t position, list planted,
                        unsigned long long number) except -1:
        """Deliver `{forward_message, Target, Message}`.

        Args:
            position: where the target starts.
            number: if not 0, that of an acknowledged message: a copy is dropped. What is malformed has not arrived.
        """
        cdef Router router = self.router
        cdef Process process
        cdef unsigned long long id = 0
        cdef unsigned long long serial = 0
        cdef Py_ssize_t behind
        if self.held is not None:
            return self.keep(data, size, planted)
        target = None
        behind = find_pid(data, size, position, &id, &serial)
        if behind:
            process = router.scheduler.find_process(id, serial)
            message = self.read_message(data, size, &behind, planted)
            if number and not router.acknowledging.accept(self.peer, number):
                return 0
            if router.take_causal(message, self):
                return 0
            if router.receiving is not None:
                router.receiving(Pid(router.node, id, serial), message, self)
                return 0
            if process is not None:
                return router.give(process, message, self)
            return router.give_nobody(Pid(router.node, id, serial), message, self)
        target = router.codec.decode_from(data, size, &position, None)
        message = self.read_message(data, size, &position, planted)
        if number and not router.acknowledging.accept(self.peer, number):
            return 0
        if router.take_causal(message, self):
            return 0
        if router.receiving is not None:
            router.receiving(target, message, self)
            return 0
        if type(target) is Atom:
            return router.deliver_name((<Atom>target).name, message, self)
        return router.deliver_term(target, message, self)

    cdef object read_message(self, const uint8_t* data, Py_ssize_t size, Py_ssize_t* position, list planted):
        message = self.router.codec.decode_from(data, size, position, planted)
        if position[0] != size:
            trailing(size, position[0])
        if type(message) is tuple and len(<tuple>message) == 3 and (<tuple>message)[0] is PADDED:
            return (<tuple>message)[2]
        return message

    cdef int on_other(self, const uint8_t* data, Py_ssize_t size, list planted) except -1:
        """Decode a frame that does not begin as a plain message; a compressed one may still be one."""
        cdef Py_ssize_t position = 1
        if data[0] != VERSION:
            raise FrameError("malformed", size, f"it begins with octet {data[0]}, not with the version octet 131")
        term = self.router.codec.decode_from(data, size, &position, planted)
        if position != size:
            trailing(size, position)
        if type(term) is tuple and len(<tuple>term) == 3 and type((<tuple>term)[0]) is Atom \
                and (<Atom>(<tuple>term)[0]).name == "forward_message":
            if self.held is not None:
                return self.keep(data, size, planted)
            message = (<tuple>term)[2]
            if type(message) is tuple and len(<tuple>message) == 3 and (<tuple>message)[0] is PADDED:
                message = (<tuple>message)[2]
            if self.router.take_causal(message, self):
                return 0
            if self.router.receiving is not None:
                self.router.receiving((<tuple>term)[1], message, self)
                return 0
            return self.router.deliver_term((<tuple>term)[1], message, self)
        if self.control(term) is False and self.held is not None:
            self.keep(data, size, planted)
        return 0
