"""One connected socket, as a descriptor: octets in when somebody says so, octets out when a queue has some."""

from libc.stdint cimport uint8_t

from partisan._core.frame cimport FrameReader
from partisan._core.sendqueue cimport SendQueue


cdef class Stream:
    cdef object loop               # opaque: told which descriptor to watch, asked for the time
    cdef readonly object sock      # owned: closed with the stream
    cdef int fd                    # of `sock`; -1 once closed
    cdef object lost               # callable(error or None, octets unsent): the stream has ended by itself
    cdef object refused            # callable(error): the reader refuses what came
    cdef FrameReader reader
    cdef readonly SendQueue queue
    cdef Py_ssize_t quantum        # octets read at one readiness at most
    cdef bint writing              # the loop watches for room to write
    cdef readonly bint finishing   # end when all is written and the peer has closed; what comes is thrown away
    cdef bint bulk                 # the last read was large: let other threads run during the next one
    cdef readonly bint closed
    cdef readonly double read_at   # when octets last came; seconds of the loop's clock

    cdef Py_ssize_t receive_some(self, uint8_t* data, Py_ssize_t size) except -2
    cdef Py_ssize_t receive(self, uint8_t* data, Py_ssize_t size) except -2
    cdef Py_ssize_t transmit(self) except -2
    cdef int half_close(self) except -1
    cdef int end(self, object error) except -1
