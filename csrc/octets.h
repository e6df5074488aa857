/* A growable run of octets: the output side of the codec and of the send queues.
 *
 * Owned memory, no Python.h. `data` may move on every call that can grow it, so callers keep offsets, never
 * pointers, across such calls. Growth doubles, so appending n octets costs O(n) overall.
 */
#ifndef PARTISAN_OCTETS_H
#define PARTISAN_OCTETS_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint8_t *data;   /* owned; NULL while capacity is 0 */
    size_t length;   /* octets in use */
    size_t capacity; /* octets allocated */
} octets;

/* The slow path of octets_reserve: reallocate so that `extra` more octets fit. 0, or -1 when memory is short. */
static int octets_grow(octets *self, size_t extra) {
    size_t capacity = self->capacity ? self->capacity : 256;
    if (extra > SIZE_MAX / 2 - self->length) return -1;
    while (capacity - self->length < extra) capacity *= 2;
    uint8_t *data = (uint8_t *)realloc(self->data, capacity);
    if (data == NULL) return -1;
    self->data = data;
    self->capacity = capacity;
    return 0;
}

/* Make room for `extra` more octets after `length`. 0, or -1 when memory is short (nothing changed). */
static inline int octets_reserve(octets *self, size_t extra) {
    return self->capacity - self->length >= extra ? 0 : octets_grow(self, extra);
}

/* Append `size` octets. 0, or -1 when memory is short (nothing changed). */
static inline int octets_append(octets *self, const void *source, size_t size) {
    if (size == 0) return 0; /* `source` may be NULL then, which memcpy does not allow */
    if (octets_reserve(self, size) < 0) return -1;
    memcpy(self->data + self->length, source, size);
    self->length += size;
    return 0;
}

/* Give the memory back; the run is empty and usable again. */
static inline void octets_free(octets *self) {
    free(self->data);
    self->data = NULL;
    self->length = self->capacity = 0;
}

#endif
