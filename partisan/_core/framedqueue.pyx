"""Send queues whose frames wait one by one until they are taken, so that one can be dropped before it is sent."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from partisan._core.sendqueue cimport Kept, SendQueue
from partisan._core.turns cimport HELD, WRITING
from partisan._core.wire cimport octets_append

from partisan.errors import LocalProtocolError

__all__ = ["DroppingQueue", "MonotonicQueue"]


cdef class FramedQueue(SendQueue):

    def __cinit__(self, *args, **options):
        self.pending = {}
        self.framed = True

    cdef int accept(self, size_t start, Py_ssize_t references, Py_ssize_t size, object key, double now) except -1:
        cdef dict pending = self.pending  # as everywhere: a key's own code may close the queue, which drops the dict
        frame = PyBytes_FromStringAndSize(<char*>self.stream.data + start, self.stream.length - start)
        payloads = [(mark - start, payload) for mark, payload in self.references[references:]]
        self.cut_off(start, references)
        self.admit_frame(key, size, now)
        pending[key] = (frame, payloads, size)
        if self.closed:  # and has counted what was there
            raise LocalProtocolError("the connection of this queue was closed while a message was written into it")
        self.pending_octets += size
        self.queued_octets += size
        self.busy &= ~WRITING
        return self.bound.charge(size)

    cdef int admit_frame(self, object key, Py_ssize_t size, double now) except -1:
        """Make room for a new frame of this key."""
        return 0

    cdef Py_ssize_t discard(self, object key) except -1:
        """Forget the frame that waits under the key; returns its octets."""
        cdef dict pending = self.pending
        cdef Py_ssize_t size = pending.pop(key)[2]
        if self.closed:
            return 0
        self.pending_octets -= size
        self.queued_octets -= size
        self.discarded_frames += 1
        self.bound.discharge(size)
        return size

    cdef int write_pending(self, object key) except -1:
        """Move the frame that waits under the key to the end of the stream."""
        cdef dict pending = self.pending
        cdef bytes frame
        frame, payloads, size = pending.pop(key)
        cdef size_t shift = self.stream.length
        moved = [(mark + shift, payload) for mark, payload in payloads]
        if self.closed:
            return 0
        if octets_append(&self.stream, PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame)) < 0:
            raise MemoryError()
        self.references += moved
        self.pending_octets -= size
        return 0

    cdef int commit(self, double now) except -1:
        if self.pending and not self.busy & HELD:
            self.busy |= WRITING
            try:
                self.commit_frames(now)
            finally:
                self.leave()
        return 0

    cdef int commit_frames(self, double now) except -1:
        """Move frames that are to be sent now to the stream."""
        return 0

    def close(self):
        cdef dict pending = self.pending
        self.check_exports()
        self.pending = {}
        self.pending_octets = 0
        return SendQueue.close(self)


cdef class MonotonicQueue(FramedQueue):
    """Of the frames that wait with the same key only the newest is sent.

    As in the reference, a superseded frame is sent all the same when nothing was for `send_window` seconds. Frames
    without a key supersede each other.
    """

    def __init__(self, bound, *, double send_window=1.0, **options):
        self.send_window = send_window
        self.last_commit = -1e308

    cdef int admit_frame(self, object key, Py_ssize_t size, double now) except -1:
        cdef dict pending = self.pending
        if key in pending and not self.closed:
            if now - self.last_commit > self.send_window:
                self.last_commit = now
                for other in list(pending):
                    if other == key or self.closed:
                        break
                    if type(other) is Kept:  # a hello goes before what was sent after it
                        self.write_pending(other)
                return 0 if self.closed else self.write_pending(key)
            self.superseded_frames += 1
            self.bound.count_superseded()
            self.discard(key)
        return 0

    cdef int commit_frames(self, double now) except -1:
        if self.queued_octets == self.pending_octets:
            for key in list(self.pending):
                if not self.closed:
                    self.write_pending(key)
            self.last_commit = now
        return 0


cdef class DroppingQueue(FramedQueue):
    """Above high water the oldest frames that wait are dropped for the new one, and counted."""

    def __init__(self, bound, **options):
        pass

    cdef int accept(self, size_t start, Py_ssize_t references, Py_ssize_t size, object key, double now) except -1:
        if type(key) is not Kept:
            self.next_key += 1
            key = self.next_key
        return FramedQueue.accept(self, start, references, size, key, now)

    cdef int admit_frame(self, object key, Py_ssize_t size, double now) except -1:
        while self.bound.queued_octets + size > self.bound.high_water and not self.closed:
            oldest = next((other for other in self.pending if type(other) is not Kept), None)
            if oldest is None:
                break
            self.bound.count_dropped(self.discard(oldest))
        return 0

    cdef int commit_frames(self, double now) except -1:
        while self.pending and self.queued_octets - self.pending_octets < self.quantum:
            self.write_pending(next(iter(self.pending)))
        return 0
