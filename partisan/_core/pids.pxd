"""A process in an encoded target: `{encoded_pid, "<0.Id.Serial>"}`, written and read without a term being made."""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy

from partisan._core.identities cimport Pid


cdef extern from *:
    """
    /* Tuple of two, the atom, the tag of a string and the high octet of its length; and as OTP 25 writes it. */
    #define PARTISAN_PID "\\x68\\x02\\x77\\x0b" "encoded_pid\\x6b\\x00"
    #define PARTISAN_PID_LATIN1 "\\x68\\x02\\x64\\x00\\x0b" "encoded_pid\\x6b\\x00"
    """
    const char* PID "PARTISAN_PID"
    const char* PID_LATIN1 "PARTISAN_PID_LATIN1"


cdef enum:
    SMALL_TUPLE = 104
    PID_SIZE = 17      # octets of PID; its Latin-1 twin has one more


cdef inline Py_ssize_t write_decimal(uint8_t* out, unsigned long value) noexcept:
    """Write a number in decimal; returns how many octets it took."""
    cdef uint8_t digits[20]
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t i
    while True:
        digits[count] = 48 + value % 10
        count += 1
        value //= 10
        if value == 0:
            break
    for i in range(count):
        out[i] = digits[count - 1 - i]
    return count


cdef inline Py_ssize_t write_pid(uint8_t* out, Pid pid) noexcept:
    """Write `{encoded_pid, "<0.Id.Serial>"}`; returns how many octets it took (48 at most)."""
    memcpy(out, PID, PID_SIZE)
    cdef uint8_t* text = out + PID_SIZE + 1
    cdef Py_ssize_t size = 3
    text[0] = 60
    text[1] = 48
    text[2] = 46
    size += write_decimal(text + size, pid.id)
    text[size] = 46
    size += 1 + write_decimal(text + size + 1, pid.serial)
    text[size] = 62
    size += 1
    out[PID_SIZE] = <uint8_t>size
    return PID_SIZE + 1 + size


cdef inline bint read_pid(const uint8_t* text, Py_ssize_t size, unsigned long long* id,
                          unsigned long long* serial) noexcept:
    """Read `<0.Id.Serial>`; whether it has that form."""
    cdef Py_ssize_t i = 3
    cdef unsigned long long numbers[2]
    cdef int which = 0
    if size < 7 or text[0] != 60 or text[1] != 48 or text[2] != 46 or text[size - 1] != 62:
        return False
    numbers[0] = numbers[1] = 0
    while i < size - 1:
        if text[i] == 46:
            which += 1
            if which > 1:
                return False
        elif 48 <= text[i] <= 57 and numbers[which] < (1 << 32):
            numbers[which] = numbers[which] * 10 + (text[i] - 48)
        else:
            return False
        i += 1
    id[0] = numbers[0]
    serial[0] = numbers[1]
    return which == 1 and numbers[0] < (1 << 32) and numbers[1] < (1 << 32)


cdef inline Py_ssize_t find_pid(const uint8_t* data, Py_ssize_t size, Py_ssize_t position, unsigned long long* id,
                                unsigned long long* serial) noexcept:
    """Read the pid of a target at position, which is below size; returns what is behind it, 0 if it is another term."""
    cdef Py_ssize_t text = 0
    if data[position] != SMALL_TUPLE or size - position <= PID_SIZE + 2:
        return 0
    if memcmp(data + position, PID, PID_SIZE) == 0:
        text = position + PID_SIZE + 1
    elif memcmp(data + position, PID_LATIN1, PID_SIZE + 1) == 0:
        text = position + PID_SIZE + 2
    if text and size - text >= data[text - 1] and read_pid(data + text, data[text - 1], id, serial):
        return text + data[text - 1]
    return 0
