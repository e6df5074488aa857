/* The tags of the external term format (erl_ext_dist), under OTP's own names. */
#ifndef PARTISAN_TAGS_H
#define PARTISAN_TAGS_H

#include "wire.h"

enum {
    NEW_FLOAT_EXT = 70,
    BIT_BINARY_EXT = 77,
    COMPRESSED_EXT = 80,
    ATOM_CACHE_REF = 82,
    NEW_PID_EXT = 88,
    NEW_PORT_EXT = 89,
    NEWER_REFERENCE_EXT = 90,
    SMALL_INTEGER_EXT = 97,
    INTEGER_EXT = 98,
    FLOAT_EXT = 99,
    ATOM_EXT = 100,
    REFERENCE_EXT = 101,
    PORT_EXT = 102,
    PID_EXT = 103,
    SMALL_TUPLE_EXT = 104,
    LARGE_TUPLE_EXT = 105,
    NIL_EXT = 106,
    STRING_EXT = 107,
    LIST_EXT = 108,
    BINARY_EXT = 109,
    SMALL_BIG_EXT = 110,
    LARGE_BIG_EXT = 111,
    NEW_FUN_EXT = 112,
    EXPORT_EXT = 113,
    NEW_REFERENCE_EXT = 114,
    SMALL_ATOM_EXT = 115,
    MAP_EXT = 116,
    FUN_EXT = 117,
    ATOM_UTF8_EXT = 118,
    SMALL_ATOM_UTF8_EXT = 119,
    V4_PORT_EXT = 120,
    LOCAL_EXT = 121,
    VERSION_MAGIC = 131,
    FLOAT_TEXT_OCTETS = 31,       /* the fixed size of FLOAT_EXT's decimal text */
    NEW_FUN_FIXED_OCTETS = 29,    /* NEW_FUN_EXT behind its tag: size:32, arity:8, uniq:16 octets, index:32, nfree:32 */
    MAX_REFERENCE_WORDS = 5,      /* of 32 bits, since OTP 24 */
    MAX_ATOM_CHARACTERS = 255
};

/* Write a signed 64-bit integer in its shortest form; return where the next octet goes.
 * It needs room for PUT_INTEGER_OCTETS octets, whatever the value: a big one is stored by one store of eight. */
#define PUT_INTEGER_OCTETS 11
static inline uint8_t *put_integer(uint8_t *p, int64_t value) {
    if (value >= 0 && value <= 255) {
        p[0] = SMALL_INTEGER_EXT;
        p[1] = (uint8_t)value;
        return p + 2;
    }
    if (value >= INT32_MIN && value <= INT32_MAX) {
        p[0] = INTEGER_EXT;
        put32(p + 1, (uint32_t)value);
        return p + 5;
    }
    uint64_t magnitude = value < 0 ? (uint64_t)0 - (uint64_t)value : (uint64_t)value;
    uint8_t count = 4;
    while (count < 8 && magnitude >> (8 * count)) count++;
    p[0] = SMALL_BIG_EXT;
    p[1] = count;
    p[2] = value < 0;
    put64_little(p + 3, magnitude);
    return p + 3 + count;
}

#endif
