"""The hash of a pair of processes, by which their messages take one slot of a channel."""

from libc.stdint cimport uint8_t

from partisan._core.process cimport Process, running_process


cdef inline unsigned long long pair_hash(unsigned long long sender, const uint8_t* target, size_t size) noexcept:
    """A hash of sender and receiver that is the same in every run (FNV-1a)."""
    cdef unsigned long long value = 14695981039346656037ULL ^ sender
    cdef size_t i
    for i in range(size):
        value = (value ^ target[i]) * 1099511628211ULL
    return value ^ (value >> 32)


cdef inline unsigned long long own_hash(const uint8_t* target, size_t size):
    """That of the running process, if there is one, and a receiver."""
    cdef Process sender = running_process()
    return pair_hash(0 if sender is None else sender.pid.id, target, size)
