"""A process's mailbox: messages in order of arrival, and how a pattern picks one."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF

from partisan._core.counters cimport count, live

__all__ = ["Mailbox"]


cdef class Mailbox:

    def __dealloc__(self):
        cdef Py_ssize_t i
        count(&live.messages, -self.length)
        for i in range(self.length):
            Py_DECREF(<object>self.ring[(self.head + i) & (self.capacity - 1)])
        PyMem_Free(self.ring)

    def __len__(self):
        return self.length

    def __iter__(self):
        """Iterate over a copy of the waiting messages, oldest first."""
        return iter([<object>self.ring[(self.head + i) & (self.capacity - 1)] for i in range(self.length)])

    cdef int push(self, object message) except -1:
        """Append a message."""
        if self.length == self.capacity:
            self.grow()
        Py_INCREF(message)
        self.ring[(self.head + self.length) & (self.capacity - 1)] = <PyObject*>message
        self.length += 1
        count(&live.messages, 1)
        return 0

    cdef object take(self, Py_ssize_t position):
        """Remove and return the message at `position` (0 is the oldest); the shorter side moves to close the gap."""
        cdef Py_ssize_t mask = self.capacity - 1
        cdef Py_ssize_t i
        if not 0 <= position < self.length:
            raise IndexError(position)
        cdef PyObject* found = self.ring[(self.head + position) & mask]
        if position <= self.length // 2:
            for i in range(position, 0, -1):
                self.ring[(self.head + i) & mask] = self.ring[(self.head + i - 1) & mask]
            self.head = (self.head + 1) & mask
        else:
            for i in range(position, self.length - 1):
                self.ring[(self.head + i) & mask] = self.ring[(self.head + i + 1) & mask]
        self.length -= 1
        cdef cursor* asked = self.asked
        while asked is not NULL:
            if position == asked.position:
                asked.gone = True
            elif position < asked.position:
                asked.position -= 1
            if position < asked.end:
                asked.end -= 1
            asked = asked.outer
        count(&live.messages, -1)
        message = <object>found
        Py_DECREF(message)
        return message

    cdef Py_ssize_t find(self, tuple patterns, Py_ssize_t start) except -2:
        """Position of the oldest message from `start` on that matches one of `patterns` (none: any), or -1.

        A pattern may be any code: it may send to this mailbox's process, which may make room, or take messages out. So
        the message is held while it is asked about, and its position moves with it; one that is gone then is none. What
        comes meanwhile is not looked at, or a pattern that sends here at each message would be asked for ever:
        `searched` is how far the search went.
        """
        if not patterns:
            return start if start < self.length else -1
        cdef cursor here
        cdef bint found
        here.position = start
        here.end = self.length
        here.outer = self.asked
        self.asked = &here
        try:
            while here.position < here.end:
                here.gone = False
                message = <object>self.ring[(self.head + here.position) & (self.capacity - 1)]
                found = matches_any(patterns, message)
                if here.gone:
                    continue  # the next one has moved here
                if found:
                    return here.position
                here.position += 1
            self.searched = here.position
            return -1
        finally:
            self.asked = here.outer

    cdef int clear(self) except -1:
        """Drop every message."""
        while self.length:
            self.take(0)
        return 0

    cdef int shrink(self) except -1:
        """Give the ring back if it holds nothing."""
        if self.length == 0 and self.capacity:
            PyMem_Free(self.ring)
            self.ring = NULL
            self.capacity = self.head = 0
        return 0

    cdef int grow(self) except -1:
        cdef Py_ssize_t i
        cdef Py_ssize_t capacity = self.capacity * 2 if self.capacity else 8
        cdef PyObject** ring = <PyObject**>PyMem_Malloc(capacity * sizeof(PyObject*))
        if ring is NULL:
            raise MemoryError()
        for i in range(self.length):
            ring[i] = self.ring[(self.head + i) & (self.capacity - 1)]
        PyMem_Free(self.ring)
        self.ring = ring
        self.capacity = capacity
        self.head = 0
        return 0


cdef bint matches_any(tuple patterns, object message) except -1:
    for pattern in patterns:
        if matches(pattern, message):
            return True
    return False


cdef bint matches(object pattern, object message) except -1:
    """Whether the message has the shape of the pattern.

    `...` matches anything, a class its instances, a tuple a tuple of as many elements that match one by one, another
    callable what it says yes to, and any other value what is equal and of the same type (so 1 is not True).
    """
    cdef Py_ssize_t i
    if pattern is Ellipsis:
        return True
    if type(pattern) is tuple:
        if type(message) is not tuple or len(<tuple>pattern) != len(<tuple>message):
            return False
        for i in range(len(<tuple>pattern)):
            if not matches((<tuple>pattern)[i], (<tuple>message)[i]):
                return False
        return True
    if isinstance(pattern, type):
        return isinstance(message, pattern)
    if callable(pattern):
        return bool(pattern(message))
    return pattern is message or (type(pattern) is type(message) and pattern == message)
