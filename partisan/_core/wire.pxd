"""The headers of csrc as Cython sees them; for their meaning read the headers themselves."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "wire.h" nogil:
    uint16_t get16(const uint8_t* p) noexcept
    uint32_t get32(const uint8_t* p) noexcept
    uint64_t get64(const uint8_t* p) noexcept
    double get_double(const uint8_t* p) noexcept
    void put16(uint8_t* p, uint16_t value) noexcept
    void put32(uint8_t* p, uint32_t value) noexcept
    void put64(uint8_t* p, uint64_t value) noexcept
    void copy_octets(uint8_t* to, const void* source, size_t size) noexcept
    void put_double(uint8_t* p, double value) noexcept


cdef extern from "octets.h" nogil:
    ctypedef struct octets:
        uint8_t* data       # owned; NULL while capacity is 0
        size_t length       # octets in use
        size_t capacity     # octets allocated
    int octets_reserve(octets* self, size_t extra) noexcept
    int octets_append(octets* self, const void* source, size_t size) noexcept
    void octets_free(octets* self) noexcept


cdef extern from "blocks.h" nogil:
    ctypedef struct blocks:
        size_t allocated    # octets of all blocks
    void* blocks_take(blocks* self, size_t size) noexcept
    void blocks_give(blocks* self, void* room) noexcept
    void blocks_free(blocks* self) noexcept


cdef extern from "probes.h" nogil:
    ctypedef struct probes:
        size_t count            # keys so far
    int probes_add(probes* self, uint64_t hash) noexcept
    void probes_free(probes* self) noexcept


cdef extern from "text.h" nogil:
    enum:
        REFERENCE_TEXT_OCTETS
    int octets_are_ascii(const uint8_t* text, size_t size) noexcept
    uint32_t octets_hash(const uint8_t* text, size_t size) noexcept
    int reference_text_get(const uint8_t* text, size_t size, const char* prefix, uint32_t* words, int limit) noexcept
    size_t reference_text_put(uint8_t* out, const char* prefix, const uint32_t* words, int count) noexcept


cdef extern from "tags.h" nogil:
    enum:
        NEW_FLOAT_EXT, BIT_BINARY_EXT, COMPRESSED_EXT, ATOM_CACHE_REF, NEW_PID_EXT, NEW_PORT_EXT, NEWER_REFERENCE_EXT
        SMALL_INTEGER_EXT, INTEGER_EXT, FLOAT_EXT, ATOM_EXT, REFERENCE_EXT, PORT_EXT, PID_EXT, SMALL_TUPLE_EXT
        LARGE_TUPLE_EXT, NIL_EXT, STRING_EXT, LIST_EXT, BINARY_EXT, SMALL_BIG_EXT, LARGE_BIG_EXT, NEW_FUN_EXT
        EXPORT_EXT, NEW_REFERENCE_EXT, SMALL_ATOM_EXT, MAP_EXT, FUN_EXT, ATOM_UTF8_EXT, SMALL_ATOM_UTF8_EXT
        V4_PORT_EXT, LOCAL_EXT, VERSION_MAGIC
        FLOAT_TEXT_OCTETS, NEW_FUN_FIXED_OCTETS, MAX_REFERENCE_WORDS, MAX_ATOM_CHARACTERS, PUT_INTEGER_OCTETS
    uint8_t* put_integer(uint8_t* p, int64_t value) noexcept


cdef extern from "scan.h" nogil:
    ctypedef struct etf_scan:
        uint64_t outstanding    # terms that must still come before the outermost one is complete
        int started             # 0 until the first feed
    ctypedef enum scan_result:
        SCAN_MORE, SCAN_DONE, SCAN_LARGE, SCAN_MALFORMED
    void etf_scan_init(etf_scan* self) noexcept
    scan_result etf_scan_feed(etf_scan* self, const uint8_t* data, size_t size, size_t threshold,
                              size_t* position, size_t* binary_octets, size_t* need) noexcept
