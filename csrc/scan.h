/* A resumable walk over one external term: where does it end, and where are its large binaries?
 *
 * No recursion, no stack and no allocation: a term is complete when the count of outstanding terms is zero, whatever
 * the nesting. It measures, it does not judge: names, numbers and limits are the decoder's business, so what the walk
 * accepts may still be refused there, but nothing that the decoder accepts (outside COMPRESSED) is refused here.
 *
 * The walk begins behind the version octet 131.
 */
#ifndef PARTISAN_SCAN_H
#define PARTISAN_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "tags.h"

typedef struct {
    uint64_t outstanding; /* terms that must still come before the outermost one is complete */
    int started;          /* 0 until the first call of etf_scan_feed */
} etf_scan;

typedef enum { SCAN_MORE, SCAN_DONE, SCAN_LARGE, SCAN_MALFORMED } scan_result;

static inline void etf_scan_init(etf_scan *self) {
    self->outstanding = 0;
    self->started = 0;
}

/* More outstanding terms than any real input can announce: each takes an octet at least. */
#define SCAN_MAX_OUTSTANDING (UINT64_C(1) << 60)

/* The octets of the atom at p. When they cannot be told yet: 0, and *least is what is needed to tell. -1: no atom. */
static inline int64_t scan_atom(const uint8_t *p, uint64_t available, uint64_t *least) {
    *least = 1;
    if (available < 1) return 0;
    switch (p[0]) {
    case ATOM_CACHE_REF:
        return 2;
    case SMALL_ATOM_EXT:
    case SMALL_ATOM_UTF8_EXT:
        *least = 2;
        return available < 2 ? 0 : 2 + (int64_t)p[1];
    case ATOM_EXT:
    case ATOM_UTF8_EXT:
        *least = 3;
        return available < 3 ? 0 : 3 + (int64_t)get16(p + 1);
    default:
        return -1;
    }
}

/* The shape of the term whose tag is at p: `octets` of its own and `terms` that follow it.
 * When there are too few octets to tell, `octets` is how many are needed to tell a little more. */
typedef struct {
    uint64_t octets;
    uint64_t terms;
    int whole;     /* 1: octets and terms are final; 0: too few octets yet */
    int malformed; /* 1: no such tag here */
} scan_shape;

/* A node's atom at p + before, then `after` octets: what pids, ports and references are made of. */
static inline scan_shape scan_identity(const uint8_t *p, uint64_t available, uint64_t before, uint64_t after) {
    scan_shape shape = {before + 1, 0, 0, 0};
    uint64_t least;
    if (available <= before) return shape;
    int64_t atom = scan_atom(p + before, available - before, &least);
    if (atom < 0) {
        shape.malformed = 1;
    } else if (atom == 0) {
        shape.octets = before + least;
    } else {
        shape.octets = before + (uint64_t)atom + after;
        shape.whole = 1;
    }
    return shape;
}

static inline scan_shape scan_term(const uint8_t *p, uint64_t available) {
    scan_shape shape = {1, 0, 1, 0};
    const scan_shape malformed = {0, 0, 0, 1};
#define SCAN_HEADER(n)                                       \
    if (available < (n)) {                                   \
        shape.octets = (n);                                  \
        shape.whole = 0;                                     \
        return shape;                                        \
    }
    switch (p[0]) {
    case NIL_EXT:
        return shape;
    case SMALL_INTEGER_EXT:
    case ATOM_CACHE_REF:
        shape.octets = 2;
        return shape;
    case INTEGER_EXT:
        shape.octets = 5;
        return shape;
    case NEW_FLOAT_EXT:
        shape.octets = 9;
        return shape;
    case FLOAT_EXT:
        shape.octets = 1 + FLOAT_TEXT_OCTETS;
        return shape;
    case SMALL_ATOM_EXT:
    case SMALL_ATOM_UTF8_EXT:
        SCAN_HEADER(2)
        shape.octets = 2 + (uint64_t)p[1];
        return shape;
    case ATOM_EXT:
    case ATOM_UTF8_EXT:
    case STRING_EXT:
        SCAN_HEADER(3)
        shape.octets = 3 + (uint64_t)get16(p + 1);
        return shape;
    case SMALL_BIG_EXT:
        SCAN_HEADER(2)
        shape.octets = 3 + (uint64_t)p[1];
        return shape;
    case LARGE_BIG_EXT:
    case BIT_BINARY_EXT:
        SCAN_HEADER(5)
        shape.octets = 6 + (uint64_t)get32(p + 1);
        return shape;
    case BINARY_EXT:
        SCAN_HEADER(5)
        shape.octets = 5 + (uint64_t)get32(p + 1);
        return shape;
    case SMALL_TUPLE_EXT:
        SCAN_HEADER(2)
        shape.octets = 2;
        shape.terms = p[1];
        return shape;
    case LARGE_TUPLE_EXT:
        SCAN_HEADER(5)
        shape.octets = 5;
        shape.terms = get32(p + 1);
        return shape;
    case LIST_EXT:
        SCAN_HEADER(5)
        shape.octets = 5;
        shape.terms = (uint64_t)get32(p + 1) + 1;
        return shape;
    case MAP_EXT:
        SCAN_HEADER(5)
        shape.octets = 5;
        shape.terms = (uint64_t)get32(p + 1) * 2;
        return shape;
    case EXPORT_EXT:
        shape.terms = 3;
        return shape;
    case NEW_FUN_EXT:
        SCAN_HEADER(1 + NEW_FUN_FIXED_OCTETS)
        shape.octets = 1 + NEW_FUN_FIXED_OCTETS;
        shape.terms = 4 + (uint64_t)get32(p + NEW_FUN_FIXED_OCTETS - 3);
        return shape;
    case PID_EXT:
        return scan_identity(p, available, 1, 9);
    case NEW_PID_EXT:
    case V4_PORT_EXT:
        return scan_identity(p, available, 1, 12);
    case NEW_PORT_EXT:
        return scan_identity(p, available, 1, 8);
    case PORT_EXT:
    case REFERENCE_EXT:
        return scan_identity(p, available, 1, 5);
    case NEW_REFERENCE_EXT:
        SCAN_HEADER(3)
        return scan_identity(p, available, 3, 1 + 4 * (uint64_t)get16(p + 1));
    case NEWER_REFERENCE_EXT:
        SCAN_HEADER(3)
        return scan_identity(p, available, 3, 4 + 4 * (uint64_t)get16(p + 1));
    default:
        return malformed;
    }
#undef SCAN_HEADER
}

/* Walk as far as data[*position .. size) allows.
 *
 * SCAN_DONE: the outermost term is complete; *position is just behind it.
 * SCAN_MORE: the next term is not whole; *position is at its tag and *need says how many octets lack at least.
 * SCAN_LARGE: *position is just behind the header of a BINARY_EXT of *binary_octets >= threshold octets. The caller
 *     takes these octets wherever it likes and calls again with *position where the following term starts.
 * SCAN_MALFORMED: the tag at *position starts no term (COMPRESSED counts as such).
 *
 * Total work is linear in the octets: a term that is cut costs a look at its header for each call, no more.
 */
static inline scan_result etf_scan_feed(etf_scan *self, const uint8_t *data, size_t size, size_t threshold,
                                        size_t *position, size_t *binary_octets, size_t *need) {
    size_t at = *position;
    if (!self->started) {
        self->started = 1;
        self->outstanding = 1;
    }
    while (self->outstanding) {
        if (at >= size) {
            *position = at;
            *need = at - size + 1;
            return SCAN_MORE;
        }
        uint64_t available = size - at;
        scan_shape shape = scan_term(data + at, available);
        if (shape.malformed || self->outstanding + shape.terms > SCAN_MAX_OUTSTANDING) {
            *position = at;
            return SCAN_MALFORMED;
        }
        if (shape.whole && data[at] == BINARY_EXT && shape.octets - 5 >= threshold) {
            self->outstanding--;
            *position = at + 5;
            *binary_octets = (size_t)(shape.octets - 5);
            return SCAN_LARGE;
        }
        if (!shape.whole || shape.octets > available) {
            *position = at;
            *need = (size_t)(shape.octets - available);
            return SCAN_MORE;
        }
        at += (size_t)shape.octets;
        self->outstanding += shape.terms;
        self->outstanding--;
    }
    *position = at;
    return SCAN_DONE;
}

#endif
