"""Messages of the Erlang distribution on their way to a send queue.

A message is a control tuple and perhaps a payload, in one of two dresses:

    112, 131, Control [, 131, Payload]                       to a peer without distribution headers
    131, 68, Number, Flags, References, Control [, Payload]  to others: atoms are numbers of the header's references

The header comes first and is known last, so the terms are written apart and copied behind it. A reference is a slot of
the 2,048 that the peer keeps for us; what it does not have yet is in the header once. A message above `piece` octets is
cut, if the peer takes that: the first piece has the header, all have the number of their sequence, and count down. The
first piece goes at once, the others in turns with those of other senders; what is small passes them by, but for what
the same process has sent: that keeps its order.

Source: erl_dist_protocol and erl_ext_dist of OTP; nodes of OTP 25 and 28.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from .bound cimport Bound
from .encoder cimport write_whole
from .etf cimport Codec
from .identities cimport Atom, Pid, Reference
from .process cimport Process, running_process
from .requests cimport Request, Served
from .sendqueue cimport SendQueue
from .terms cimport ImproperList
from .turns cimport PUSHING, WRITING
from .wire cimport octets, octets_append, octets_free, octets_reserve, put64
from .writer cimport CACHE_SLOTS, check_size, writer

from collections import deque

from ..errors import EncodeError, LocalProtocolError

__all__ = ["DistQueue"]

cdef enum:
    VERSION = 131
    PASS_THROUGH = 112
    NORMAL = 68
    FIRST_PIECE = 69
    LATER_PIECE = 70
    PIECE_HEAD = 18     # octets: version, kind, sequence and number
    KEEP_OCTETS = 262144
    APART = 4096        # octets of a piece's part to which the queue refers; shorter ones are copied into it
    SEND = 2
    SEND_SENDER = 22
    REG_SEND = 6
    ALIAS_SEND = 33

cdef object NOTHING = object()
cdef uint8_t VERSION_OCTET = VERSION
cdef object NO_COOKIE = Atom("")
cdef object ALIAS = Atom("alias")


cdef object alias_of(object message, Atom home):
    """The reference that `{[alias | Reference], Answer}` is for, if it answers a call of this node; or None."""
    if type(message) is not tuple or len(<tuple>message) != 2:
        return None
    head = (<tuple>message)[0]
    if type(head) is Served:  # the tag as who is asked has it
        head = (<Served>head).tag
    if type(head) is not ImproperList:
        return None
    tag = <ImproperList>head
    if len(tag.items) == 1 and tag.items[0] is ALIAS and type(tag.tail) is Reference and (<Reference>tag.tail).home is home:
        return tag.tail
    return None


cdef list parts_of(const octets* terms, list large):
    """Terms that were written, with their large binaries in their places."""
    cdef list parts = []
    cdef size_t at = 0
    cdef size_t offset
    for offset, payload in large:
        parts.append(PyBytes_FromStringAndSize(<const char*>terms.data + at, offset - at))
        parts.append(payload)
        at = offset
    parts.append(PyBytes_FromStringAndSize(<const char*>terms.data + at, terms.length - at))
    return parts


cdef bint is_request(object message):
    """Whether it is `{Label, {Pid, Request}, Message}`: somebody waits for the answer."""
    if type(message) is not tuple or len(<tuple>message) != 3:
        return False
    caller = (<tuple>message)[1]
    return type(caller) is tuple and len(<tuple>caller) == 2 and type((<tuple>caller)[1]) is Request


@cython.final
cdef class DistQueue(SendQueue):
    """The send queue of one connection of the distribution.

    Args:
        bound, write, schedule, max_frame, quantum: as SendQueue.
        codec: with our node's atom and creation.
        outside: in whose name code that is no process's own sends.
        headers, fragments: see `agree`.
        piece: octets that a piece of a message has at most, without its own head.
    Attributes:
        watch: callable(target, request), called before a request goes out: see to it that we hear of the end of whom
            it is for. Of a pid that is asked for once, with None for the request; of a name, which another process may
            have by then, for each request. What it pushes goes before. None for none.
    """

    def __cinit__(self, Bound bound not None, *, Codec codec not None, Pid outside not None, bint headers=False,
                  bint fragments=False, Py_ssize_t piece=65536, **options):
        self.foreign = True
        self.codec = codec
        self.outside = outside
        self.agree(headers=headers, fragments=fragments)
        self.piece = piece
        self.large = []
        self.watched = set()
        self.waiting = {}
        self.atoms.slots = <PyObject**>PyMem_Calloc(CACHE_SLOTS, sizeof(PyObject*))
        self.atoms.stamps = <uint32_t*>PyMem_Calloc(CACHE_SLOTS, sizeof(uint32_t))
        self.atoms.indices = <uint8_t*>PyMem_Calloc(CACHE_SLOTS, 1)
        if self.atoms.slots is NULL or self.atoms.stamps is NULL or self.atoms.indices is NULL:
            raise MemoryError()

    def __init__(self, bound, **options):
        pass

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

    def agree(self, *, bint headers, bint fragments, bint senders=True, bint aliases=True) -> None:
        """From now on the peer takes distribution headers, messages in pieces, with their sender, and to aliases."""
        self.headers = headers
        self.fragments = headers and fragments
        self.senders = senders
        self.aliases = aliases

    def say(self, bytes octets not None) -> None:
        """Queue octets as they are: of the handshake, before the first message."""
        if octets_append(&self.stream, PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets)) < 0:
            raise MemoryError()
        self.accept(0, 0, PyBytes_GET_SIZE(octets), None, 0.0)
        if not self.scheduled:
            self.arrange()

    @property
    def unsent(self):
        """How many senders wait until the rest of a large message of theirs has gone."""
        return len(self.waiting)

    cdef int push_forward(self, Codec codec, const uint8_t* target, size_t target_size, object name, object message,
                          object key, double now) except -1:
        """Queue a message of the running process to a process of the peer: `name` is its pid or the Atom of its name."""
        cdef Process process = running_process()
        cdef object sender = self.outside if process is None else process.pid
        if type(name) is Pid:
            control = (SEND_SENDER, sender, name) if self.senders else (SEND, NO_COOKIE, name)
            alias = alias_of(message, (<Pid>name).home) if self.aliases else None
            if alias is not None:  # an answer: to whom does not wait any more it does not come
                control = (ALIAS_SEND, sender, alias)
        else:
            control = (REG_SEND, sender, NO_COOKIE, name)
        if self.watch is not None and is_request(message):
            (<Request>(<tuple>(<tuple>message)[1])[1]).foreign = True
            if type(name) is not Pid:
                self.watch(name, (<tuple>(<tuple>message)[1])[1])
            elif name not in self.watched:
                self.watched.add(name)
                self.watch(name, None)
        self.tell(control, message, sender=sender)
        return 0

    def forget(self, target) -> None:
        """Nobody hears of this process's end any more: ask for it before the next request."""
        self.watched.discard(target)

    def tell(self, tuple control not None, payload=NOTHING, *, sender=None) -> None:
        """Queue a control message.

        Args:
            payload: what goes with it, if anything does.
            sender: whose it is: it goes behind all that was his before. Of others, what is small may pass it by.
        Raises:
            EncodeError: something in it is no term, or it is larger than `max_frame`; nothing was queued.
        """
        if self.closed:
            raise LocalProtocolError("the connection of this queue is closed")
        if self.busy:
            self.postpone(self.encoded(control, payload), sender, 0.0, False)
            return
        self.busy |= PUSHING  # there is one place where a message is written, and one header
        try:
            self.tell_now(control, payload, sender)
        finally:
            self.busy &= ~PUSHING
            if self.later is not None:
                self.catch_up()

    cdef int tell_now(self, tuple control, object payload, object sender) except -1:
        cdef Pieces pieces
        if self.waiting and sender in self.waiting:
            return self.wait(sender, self.encoded(control, payload))
        self.write_terms(control, payload, payload is not NOTHING)
        if not self.fragments or self.size() <= self.piece:
            self.write_head(NORMAL, 0, 0)
            return self.push_whole()
        pieces = self.cut()
        try:
            pieces.push_next(self)  # what follows may use the atoms of its header
        except BaseException:
            if pieces.head is not None:
                self.roll_back()
            raise
        return self.wait(sender, pieces)

    cdef Py_ssize_t size_of(self, object frame) except -1:
        return (<Pieces>frame).left_octets if type(frame) is Pieces else SendQueue.size_of(self, frame)

    cdef int take_later(self, object frame, object sender, double now, bint past_tap) except -1:
        if type(frame) is Pieces or sender in self.waiting:
            return self.wait(sender, frame)
        return SendQueue.take_later(self, frame, None, now, past_tap)

    def tick(self) -> None:
        """Queue a frame of no octets: we live."""
        if self.busy:  # a message says so
            return
        cdef size_t start = self.begin()
        self.stream.length -= 1
        self.end(start, len(self.references), None, 0.0, False)

    cdef int wait(self, object sender, object frame) except -1:
        """Send a frame, or what is left of pieces, when there is room: behind what waits of the same sender."""
        cdef Py_ssize_t size = (<Pieces>frame).left_octets if type(frame) is Pieces else PyBytes_GET_SIZE(frame)
        if self.closed:
            raise LocalProtocolError("the connection of this queue is closed")
        self.waiting.setdefault(sender, deque()).append(frame)
        self.withheld += size
        self.bound.charge(size)
        if not self.scheduled:
            self.arrange()
        return 0

    cdef int settle(self, bint blocked) except -1:
        """What could be written is written: take more of the large messages, in turns, if the socket takes more."""
        if not blocked and self.waiting and not self.closed and not self.busy & WRITING:
            self.take_turns()
        return SendQueue.settle(self, blocked)

    cdef bint is_empty(self):
        return self.queued_octets == 0 and not self.waiting

    cdef int take_turns(self) except -1:
        """Let those who wait go on; who sends meanwhile goes behind what was his before."""
        cdef int before = self.busy & PUSHING
        self.busy |= PUSHING
        try:
            self.feed_turns()
        finally:
            self.busy = self.busy & ~PUSHING | before
            if self.later is not None:
                self.catch_up()
        return 0

    cdef int feed_turns(self) except -1:
        """Queue a piece of each sender that waits, in turns, up to the quantum."""
        cdef Py_ssize_t size
        cdef bytes frame
        while self.waiting and self.queued_octets < self.quantum:
            sender = next(iter(self.waiting))
            turns = self.waiting.pop(sender)
            self.scheduled = self.blocked = True  # a write follows: it is arranged for below
            if type(turns[0]) is Pieces:
                size = (<Pieces>turns[0]).push_next(self)
                if (<Pieces>turns[0]).left == 0:
                    turns.popleft()
            else:
                frame = turns.popleft()
                size = PyBytes_GET_SIZE(frame)
                self.take(<const uint8_t*>PyBytes_AS_STRING(frame), size, None, 0.0, False)
            if self.closed:  # by who heard that the bound is charged
                return 0
            self.withheld -= size
            self.bound.discharge(size)
            if turns:
                self.waiting[sender] = turns  # at the end of the line
        return 0

    cdef object encoded(self, tuple control, object payload):
        """The frame of a message that waits, or its pieces: it uses no references, so others may go before it."""
        cdef list large = []
        cdef octets terms
        cdef Py_ssize_t size, pieces
        terms.data = NULL
        terms.length = terms.capacity = 0
        try:
            for term in (control,) if payload is NOTHING else (control, payload):
                if not self.headers and octets_append(&terms, &VERSION_OCTET, 1) < 0:
                    raise MemoryError()
                self.codec.encode_into(&terms, term, large)
            parts = parts_of(&terms, large)
        finally:
            octets_free(&terms)
        size = sum(map(len, parts))
        self.check_size(size)
        if self.fragments and size > self.piece:
            self.sequences += 1
            pieces = (size + self.piece - 1) // self.piece
            head = bytes((VERSION, FIRST_PIECE)) + self.sequences.to_bytes(8, "big") + pieces.to_bytes(8, "big") + b"\0"
            return Pieces(parts, size, head, self.sequences, pieces, self.piece)
        return b"".join([bytes((VERSION, NORMAL, 0)) if self.headers else bytes((PASS_THROUGH,)), *parts])

    cdef int check_size(self, Py_ssize_t size) except -1:
        if size > self.max_frame:
            raise EncodeError(f"a message of {size} octets is above the limit of {self.max_frame}")
        return 0

    cdef Py_ssize_t size(self) except -1:
        """Octets of the message that was written."""
        cdef Py_ssize_t size = self.terms.length
        cdef bytes large
        for _, large in self.large:
            size += PyBytes_GET_SIZE(large)
        return size

    cdef int write_terms(self, tuple control, object payload, bint has_payload) except -1:
        """Write the terms into `terms`; on an error the peer is not believed to have what it was not sent."""
        cdef bint written = False
        self.terms.length = 0
        self.large.clear()
        self.atoms.message += 1
        if self.atoms.message == 0:  # after four thousand million messages: no slot may seem to be of this one
            self.start_anew()
        self.atoms.used = 0
        try:
            self.write_term(control)
            if has_payload:
                self.write_term(payload)
            self.check_size(self.size())
            written = True
        finally:
            if not written:
                self.roll_back()
        return 0

    cdef int write_term(self, object term) except -1:
        cdef writer w
        if not self.headers and octets_append(&self.terms, &VERSION_OCTET, 1) < 0:
            raise MemoryError()
        w.run = self.terms
        self.terms.data = NULL
        self.terms.length = self.terms.capacity = 0
        w.references = <PyObject*>self.large
        w.options = &self.codec.options
        w.start = w.run.length
        w.referenced = 0
        w.items = self.codec.options.max_items
        w.canonical = False
        w.atoms = &self.atoms if self.headers else NULL
        try:
            write_whole(&w, term)
            check_size(&w)
        finally:
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
        self.large.clear()
        return 0

    cdef int start_anew(self) except -1:
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
        cdef unsigned long long pushed = self.pushed_frames
        try:
            self.append_whole()
        except BaseException:
            if self.pushed_frames == pushed:
                self.roll_back()
            raise
        finally:
            self.large.clear()
            if self.terms.capacity > KEEP_OCTETS:
                octets_free(&self.terms)
        return 0

    cdef int append_whole(self) except -1:
        cdef size_t start = self.begin()
        cdef Py_ssize_t references = len(self.references)
        self.stream.length -= 1  # the version octet, which is not always there
        try:
            if octets_append(&self.stream, self.head.data, self.head.length) < 0:
                raise MemoryError()
            shift = self.stream.length
            if octets_append(&self.stream, self.terms.data, self.terms.length) < 0:
                raise MemoryError()
            for offset, large in self.large:
                self.references.append((offset + shift, large))
        except BaseException:
            self.abandon(start, references)
            raise
        return self.end(start, references, None, 0.0, False)

    cdef Pieces cut(self):
        """The pieces of the message that was written; large binaries of it are copied when their turn comes."""
        cdef Py_ssize_t size = self.size()
        cdef Py_ssize_t pieces = (size + self.piece - 1) // self.piece
        self.sequences += 1
        self.write_head(FIRST_PIECE, self.sequences, pieces)
        head = PyBytes_FromStringAndSize(<const char*>self.head.data, self.head.length)
        return Pieces(self.parts(), size, head, self.sequences, pieces, self.piece)

    cdef list parts(self):
        """The terms that were written, with their large binaries in their places; they are given away."""
        cdef list parts = parts_of(&self.terms, self.large)
        self.large.clear()
        if self.terms.capacity > KEEP_OCTETS:
            octets_free(&self.terms)
        return parts


@cython.final
cdef class Pieces:
    """The pieces of one message, in order.

    Each is copied once, when it is queued: what is long of it is a bytes object of its own, to which the queue refers.
    """

    def __cinit__(self, list parts, Py_ssize_t size, bytes head, unsigned long long sequence, Py_ssize_t pieces,
                  Py_ssize_t piece):
        self.parts = parts
        self.left_octets = size
        self.head = head
        self.sequence = sequence
        self.left = pieces
        self.piece = piece

    cdef Py_ssize_t push_next(self, DistQueue queue) except -1:
        """Queue the next piece; returns how many octets of the message it had."""
        cdef size_t start = queue.begin()
        cdef Py_ssize_t references = len(queue.references)
        cdef Py_ssize_t size = min(self.piece, self.left_octets)
        queue.stream.length -= 1  # the version octet is part of the head
        try:
            self.put_head(queue)
            self.put_octets(queue, size)
        except BaseException:
            queue.abandon(start, references)
            raise
        self.head = None
        self.left -= 1
        self.left_octets -= size
        queue.end(start, references, None, 0.0, False)
        return size

    cdef int put_head(self, DistQueue queue) except -1:
        """Write what stands before the octets: of the first piece the references, of others the numbers alone."""
        cdef uint8_t head[PIECE_HEAD]
        cdef bint failed
        if self.head is not None:
            failed = octets_append(&queue.stream, PyBytes_AS_STRING(self.head), PyBytes_GET_SIZE(self.head)) < 0
        else:
            head[0] = VERSION
            head[1] = LATER_PIECE
            put64(head + 2, self.sequence)
            put64(head + 10, self.left)
            failed = octets_append(&queue.stream, head, PIECE_HEAD) < 0
        if failed:
            raise MemoryError()
        return 0

    cdef int put_octets(self, DistQueue queue, Py_ssize_t wanted) except -1:
        """Write so many of the octets that are left."""
        cdef bytes part
        cdef const char* data
        cdef Py_ssize_t size
        while wanted:
            part = self.parts[0]
            data = PyBytes_AS_STRING(part) + self.position
            size = min(PyBytes_GET_SIZE(part) - self.position, wanted)
            if size >= APART:
                queue.references.append((queue.stream.length, PyBytes_FromStringAndSize(data, size)))
            elif octets_append(&queue.stream, data, size) < 0:
                raise MemoryError()
            wanted -= size
            self.position += size
            if self.position == PyBytes_GET_SIZE(part):
                del self.parts[0]
                self.position = 0
        return 0
