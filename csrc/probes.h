/* What it costs to put keys of known hashes into a dict: how many slots are looked at in all.
 *
 * Hashes of bytes, str and atoms cannot be foretold by a peer, those of numbers and of tuples of numbers can: keys made
 * to meet in the same slots would make a dict of n of them cost n * n. Here a table of bare slots is filled in a dict's
 * own order of probing (CPython, Objects/dictobject.c), and growth to the smallest size that holds the keys: a dict is
 * never smaller, and keys that meet in a table of slots meet in every smaller one too, so this is no less than the
 * dict's cost. Owned memory, no Python.h.
 */
#ifndef PARTISAN_PROBES_H
#define PARTISAN_PROBES_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define PROBES_A_KEY 32   /* on the average; hashes as chance makes them need fewer than 3 */
#define PROBES_GRATIS 2048

typedef struct {
    uint64_t *hashes; /* owned, of the keys so far; NULL while slots is 0 */
    uint8_t *taken;   /* owned, one for each slot: whether a key is there */
    size_t count;     /* of hashes */
    size_t slots;     /* a power of two, or 0 */
    size_t cost;      /* slots looked at since the table has this size */
} probes;

static inline void probes_free(probes *self) {
    free(self->hashes);
    free(self->taken);
    *self = (probes){0};
}

/* Take a slot for the hash. 0, or 1 when that is dearer than it may be. */
static inline int probes_take(probes *self, uint64_t hash) {
    const size_t mask = self->slots - 1, most = PROBES_GRATIS + PROBES_A_KEY * self->count;
    uint64_t perturb = hash;
    size_t i = (size_t)hash & mask;
    while (self->cost++ < most) {
        if (!self->taken[i]) {
            self->taken[i] = 1;
            return 0;
        }
        perturb >>= 5;
        i = (i * 5 + (size_t)perturb + 1) & mask;
    }
    return 1;
}

/* Twice as many slots, and all keys put in anew. 0, 1 as above, or -1 when memory is short. */
static int probes_grow(probes *self) {
    const size_t slots = self->slots ? self->slots * 2 : 128;
    uint64_t *hashes = (uint64_t *)realloc(self->hashes, slots * sizeof *hashes);
    if (hashes == NULL) return -1;
    self->hashes = hashes;
    uint8_t *taken = (uint8_t *)calloc(slots, 1);
    if (taken == NULL) return -1;
    free(self->taken);
    self->taken = taken;
    self->slots = slots;
    self->cost = 0;
    for (size_t i = 0; i < self->count; i++) {
        if (probes_take(self, hashes[i])) return 1;
    }
    return 0;
}

/* Add a key's hash. 0; 1 when a dict of these keys would be too dear; -1 when memory is short. */
static inline int probes_add(probes *self, uint64_t hash) {
    if (3 * (self->count + 1) > 2 * self->slots) {
        int failed = probes_grow(self);
        if (failed) return failed;
    }
    self->hashes[self->count++] = hash;
    return probes_take(self, hash);
}

#endif
