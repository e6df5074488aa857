"""Send queues whose frames wait one by one until they are taken."""

from partisan._core.sendqueue cimport SendQueue


cdef class FramedQueue(SendQueue):
    """A queue whose frames wait one by one, so that one can be dropped before it is sent."""
    cdef dict pending                 # key -> (octets of the frame without references, references, size)
    cdef Py_ssize_t pending_octets

    cdef int admit_frame(self, object key, Py_ssize_t size, double now) except -1
    cdef Py_ssize_t discard(self, object key) except -1
    cdef int write_pending(self, object key) except -1
    cdef int commit_frames(self, double now) except -1


cdef class MonotonicQueue(FramedQueue):
    """Of the frames that wait with the same key only the newest is sent."""
    cdef public double send_window    # seconds after which a superseded frame is sent all the same
    cdef double last_commit           # when a frame was last handed on to be sent; seconds
    cdef readonly unsigned long long superseded_frames


cdef class DroppingQueue(FramedQueue):
    """Above high water the oldest frame that waits is dropped for the new one."""
    cdef unsigned long long next_key
