"""How a message begins on the wire: `{forward_message, Target, Message}`, up to its target."""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy

from partisan._core.wire cimport octets, octets_reserve

cdef enum:
    FORWARD_SIZE = 20  # octets of the version, the head of the tuple and the atom in UTF-8; in Latin-1 (OTP 25) one more


cdef inline int put_forward(octets* out, const uint8_t* target, size_t size) except -1:
    """Write all but the version, and the target."""
    if octets_reserve(out, FORWARD_SIZE - 1 + size) < 0:
        raise MemoryError()
    memcpy(out.data + out.length, b"\x68\x03\x77\x0fforward_message", FORWARD_SIZE - 1)
    memcpy(out.data + out.length + FORWARD_SIZE - 1, target, size)
    out.length += FORWARD_SIZE - 1 + size
    return 0


cdef inline Py_ssize_t find_target(const uint8_t* data, Py_ssize_t size) noexcept:
    """Where the target starts; 0 if it is no message."""
    if size > FORWARD_SIZE and memcmp(data, b"\x83\x68\x03\x77\x0fforward_message", FORWARD_SIZE) == 0:
        return FORWARD_SIZE
    if size > FORWARD_SIZE + 1 and memcmp(data, b"\x83\x68\x03\x64\x00\x0fforward_message", FORWARD_SIZE + 1) == 0:
        return FORWARD_SIZE + 1
    return 0
