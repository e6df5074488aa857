/* Rooms that are taken one after the other and given back in about the same order: a few large blocks hold them all.
 *
 * A block goes as soon as none of its rooms is held, so a room that is held for long keeps a block of BLOCK_OCTETS; a
 * large one has a block of its own size. Rooms do not move. Owned memory, no Python.h.
 */
#ifndef PARTISAN_BLOCKS_H
#define PARTISAN_BLOCKS_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define BLOCK_OCTETS 65536      /* below what malloc would ask the kernel for each time */
#define FIRST_BLOCK_OCTETS 2048 /* of the block that stays while nothing is held */

typedef struct block {
    size_t live;     /* rooms held */
    size_t length;   /* octets taken, of those behind this head */
    size_t capacity; /* octets behind this head */
} block;

typedef struct {
    block *last;      /* where rooms are taken now; owned, or NULL. The others belong to their rooms */
    size_t allocated; /* octets of all blocks, heads included */
} blocks;

static void blocks_drop(blocks *self, block *which) {
    self->allocated -= sizeof(block) + which->capacity;
    if (self->last == which) self->last = NULL;
    free(which);
}

/* The slow path of blocks_take: a new block, with room for `need` octets. 0, or -1 when memory is short. */
static int blocks_add(blocks *self, size_t need) {
    size_t capacity = self->last == NULL ? FIRST_BLOCK_OCTETS : BLOCK_OCTETS;
    if (capacity < need || need > BLOCK_OCTETS / 4) capacity = need; /* else much of a block might lie idle */
    block *made = (block *)malloc(sizeof(block) + capacity);
    if (made == NULL) return -1;
    *made = (block){.capacity = capacity};
    if (self->last != NULL && self->last->live == 0) blocks_drop(self, self->last);
    self->allocated += sizeof(block) + capacity;
    self->last = made;
    return 0;
}

/* Take room for `size` octets, aligned for pointers and doubles; NULL when memory is short (nothing changed). */
static inline void *blocks_take(blocks *self, size_t size) {
    if (size > SIZE_MAX / 2) return NULL;
    const size_t need = sizeof(block *) + ((size + 7) & ~(size_t)7);
    block *from = self->last;
    if (from == NULL || from->capacity - from->length < need) {
        if (blocks_add(self, need) < 0) return NULL;
        from = self->last;
    }
    block **room = (block **)((uint8_t *)(from + 1) + from->length);
    from->length += need;
    from->live++;
    *room = from;
    return room + 1;
}

/* Give a room back. */
static inline void blocks_give(blocks *self, void *room) {
    block *from = ((block **)room)[-1];
    if (--from->live != 0) return;
    from->length = 0;
    if (from != self->last || from->capacity > FIRST_BLOCK_OCTETS) blocks_drop(self, from);
}

/* Give the memory back, when no room is held. */
static inline void blocks_free(blocks *self) {
    if (self->last != NULL) blocks_drop(self, self->last);
}

#endif
