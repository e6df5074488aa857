/* Packets on their way: what an emulated network does to a packet, as a machine. No I/O, no clock: time is an argument.
 *
 * A packet first waits for its sender's line (bandwidth, a bounded queue), may be lost, and then travels for the delay.
 * Its octets lie in one of two pools of rooms that are made once: small ones, so that a hundred thousand
 * acknowledgements cost little, and large ones for whatever segmentation offload hands over. Rooms are used again last in
 * first out, so what is touched is what is on its way and not the whole pool. Those on their way are a heap by due time.
 *
 * Time is nanoseconds on any clock that does not go backwards.
 */
#ifndef PARTISAN_PACKETS_H
#define PARTISAN_PACKETS_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

#define SMALL_ROOM 512   /* octets: an acknowledgement, a heartbeat */
#define LARGE_ROOM 66560 /* octets: 64 KiB and the header of the TUN device, a whole number of pages */
#define MOST_HOSTS 64
#define OFFLOAD_HEADER 10 /* octets of struct virtio_net_hdr, in front of each packet */
#define NEVER UINT64_MAX

typedef struct {
    uint64_t delay;   /* of one way */
    uint64_t jitter;  /* added to or taken from it, evenly; not above it */
    uint64_t loss;    /* a packet is lost when a number below 2^64 is below this */
    double octet;     /* nanoseconds that an octet takes on a sender's line; 0 is no limit */
    uint64_t queue;   /* octets that may wait for a line; a packet that finds it idle always passes */
    uint64_t reorder; /* whether jitter may let a packet overtake another of the same pair of hosts */
} rules;

/* What became of the packets of one sender. Written by the relay and read by other processes: words only. */
typedef struct {
    uint64_t packets; /* delivered */
    uint64_t octets;  /* of those */
    uint64_t lost;    /* packets, on purpose */
    uint64_t queue;   /* packets dropped, as the queue was full */
    uint64_t store;   /* packets dropped, as no room was left for them: the relay's own limit */
    uint64_t refused; /* packets that the receiving device did not take */
    uint64_t stray;   /* packets for nobody here */
    uint64_t backlog; /* the most octets that waited for the line */
    uint64_t late;    /* nanoseconds behind their time that packets were delivered, together */
    uint64_t latest;  /* and at most */
} tally;

typedef struct {
    uint64_t due;
    uint64_t number; /* breaks ties: first come, first served */
    uint8_t *octets;
    uint32_t length;
    uint16_t from;
    uint16_t to;
} packet;

typedef struct {
    uint8_t *rooms;  /* owned */
    uint8_t **spare; /* owned; a stack of rooms that are not in use */
    size_t spares;
    size_t size; /* octets of a room */
    size_t count;
} pool;

typedef struct {
    rules rules;
    pool small, large;
    uint8_t *room; /* a large room that is not in the pool: the next packet is read into it */
    packet *heap;  /* owned */
    size_t held;
    uint64_t number;
    tally *tallies;                         /* borrowed, one a host */
    uint64_t free_at[MOST_HOSTS];           /* when a sender's line is idle again */
    uint64_t chance[MOST_HOSTS];            /* state of the generator, one a sender */
    uint64_t last[MOST_HOSTS * MOST_HOSTS]; /* due time of the latest packet of each pair */
} packets;

typedef enum { PACKET_KEPT, PACKET_LOST, PACKET_QUEUE_FULL, PACKET_STORE_FULL } packet_fate;

/* The host that a packet of IPv4 is for, counted from the one at address `first`; beyond all for anything else. */
static inline size_t packet_target(const uint8_t *octets, size_t length, uint32_t first) {
    if (length < OFFLOAD_HEADER + 20 || octets[OFFLOAD_HEADER] >> 4 != 4) return SIZE_MAX;
    return (uint32_t)(get32(octets + OFFLOAD_HEADER + 16) - first);
}

/* Octets that a packet takes on the line: each segment that it will be cut into has headers of its own. */
static inline size_t packet_size(const uint8_t *octets, size_t length) {
    uint16_t header, segment;
    if (length < OFFLOAD_HEADER) return length;
    memcpy(&header, octets + 2, 2); /* hdr_len and gso_size, in the machine's own order */
    memcpy(&segment, octets + 4, 2);
    const size_t size = length - OFFLOAD_HEADER;
    if (octets[1] == 0 || segment == 0 || header >= size) return size;
    return size + (size - header - 1) / segment * header;
}

static int pool_init(pool *self, size_t size, size_t count) {
    *self = (pool){.size = size, .count = count, .spares = count};
    self->rooms = (uint8_t *)malloc(size * count); /* pages are the kernel's until they are touched */
    self->spare = (uint8_t **)malloc(sizeof(uint8_t *) * count);
    if (self->rooms == NULL || self->spare == NULL) return -1;
    for (size_t i = 0; i < count; i++) self->spare[i] = self->rooms + size * (count - 1 - i);
    return 0;
}

static void pool_free(pool *self) {
    free(self->rooms);
    free(self->spare);
}

static inline int pool_has(const pool *self, const uint8_t *room) {
    return (uintptr_t)room - (uintptr_t)self->rooms < self->size * self->count;
}

static void packets_free(packets *self) {
    pool_free(&self->small);
    pool_free(&self->large);
    free(self->heap);
}

/* Make room for so many packets; `tallies` must outlive it. 0, or -1 when memory is short (call packets_free anyway). */
static int packets_init(packets *self, const rules *given, size_t smalls, size_t larges, uint64_t seed, tally *tallies) {
    memset(self, 0, sizeof *self);
    self->rules = *given;
    self->tallies = tallies;
    if (pool_init(&self->small, SMALL_ROOM, smalls) < 0) return -1;
    if (pool_init(&self->large, LARGE_ROOM, larges + 1) < 0) return -1;
    self->heap = (packet *)malloc(sizeof(packet) * (smalls + larges));
    if (self->heap == NULL) return -1;
    self->room = self->large.spare[--self->large.spares];
    for (uint64_t i = 0; i < MOST_HOSTS; i++) self->chance[i] = seed * MOST_HOSTS + i;
    return 0;
}

/* SplitMix64 (Steele, Lea, Flood 2014): the next number of a sender's own series. */
static inline uint64_t packets_chance(packets *self, size_t from) {
    uint64_t z = self->chance[from] += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline int packet_before(const packet *a, const packet *b) {
    return a->due != b->due ? a->due < b->due : a->number < b->number;
}

static inline void heap_add(packets *self, const packet *added) {
    packet *heap = self->heap;
    size_t at = self->held++;
    for (; at > 0 && packet_before(added, &heap[(at - 1) / 2]); at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = *added;
}

static inline void heap_drop_first(packets *self) {
    packet *heap = self->heap, last = heap[--self->held];
    size_t at = 0, below;
    while ((below = 2 * at + 1) < self->held) {
        if (below + 1 < self->held && packet_before(&heap[below + 1], &heap[below])) below++;
        if (!packet_before(&heap[below], &last)) break;
        heap[at] = heap[below];
        at = below;
    }
    heap[at] = last;
}

/* Wait for the sender's line: when the last octet has left, or NEVER when the queue is full. */
static inline uint64_t packets_line(packets *self, size_t from, size_t size, uint64_t now) {
    if (self->rules.octet == 0) return now;
    uint64_t free_at = self->free_at[from];
    if (free_at > now) {
        const uint64_t waiting = (uint64_t)((double)(free_at - now) / self->rules.octet) + size;
        if (waiting > self->rules.queue) return NEVER;
        if (waiting > self->tallies[from].backlog) self->tallies[from].backlog = waiting;
    } else {
        free_at = now;
    }
    return self->free_at[from] = free_at + (uint64_t)((double)size * self->rules.octet);
}

/* When a packet that left its sender's line at `left` arrives. */
static inline uint64_t packets_due(packets *self, size_t from, size_t to, uint64_t left) {
    uint64_t due = left + self->rules.delay;
    if (self->rules.jitter) due = due - self->rules.jitter + packets_chance(self, from) % (2 * self->rules.jitter + 1);
    uint64_t *last = &self->last[from * MOST_HOSTS + to];
    if (due < *last && !self->rules.reorder) due = *last;
    if (due > *last) *last = due;
    return due;
}

/* Send on the packet of `length` octets that was read into `room`, of which `size` count on the line. */
static packet_fate packets_put(packets *self, size_t from, size_t to, size_t length, size_t size, uint64_t now) {
    tally *told = &self->tallies[from];
    const int fits = length <= SMALL_ROOM && self->small.spares > 0;
    if (!fits && self->large.spares == 0) {
        told->store++;
        return PACKET_STORE_FULL;
    }
    const uint64_t left = packets_line(self, from, size, now);
    if (left == NEVER) {
        told->queue++;
        return PACKET_QUEUE_FULL;
    }
    if (self->rules.loss && packets_chance(self, from) < self->rules.loss) {
        told->lost++;
        return PACKET_LOST;
    }
    packet added = {.number = self->number++, .length = (uint32_t)length, .from = (uint16_t)from, .to = (uint16_t)to};
    added.due = packets_due(self, from, to, left);
    if (fits) {
        added.octets = self->small.spare[--self->small.spares];
        memcpy(added.octets, self->room, length);
    } else {
        added.octets = self->room;
        self->room = self->large.spare[--self->large.spares];
    }
    heap_add(self, &added);
    return PACKET_KEPT;
}

/* The packet that is due first, or NULL; borrowed until packets_drop. */
static inline const packet *packets_first(const packets *self) {
    return self->held ? self->heap : NULL;
}

/* Forget the packet that is due first: it was delivered, or refused. */
static inline void packets_drop(packets *self) {
    uint8_t *room = self->heap->octets;
    pool *from = pool_has(&self->small, room) ? &self->small : &self->large;
    from->spare[from->spares++] = room;
    heap_drop_first(self);
}

#endif
