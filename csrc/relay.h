/* The relay: one thread that carries packets between TUN devices, each as late as the rules of packets.h say. Linux.
 *
 * A packet stays as the device gave it, with the header in front that tells of offload: a checksum that was left to the
 * hardware stays undone, and a segment of 64 KiB stays whole. TCP at both ends is the kernel's own.
 */
#ifndef PARTISAN_RELAY_H
#define PARTISAN_RELAY_H

#include <errno.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "packets.h"
#include "wire.h"

#define OFFLOAD_HEADER 10 /* octets of struct virtio_net_hdr */
#define READ_BATCH 16     /* packets read from one device before those that are due go out */
#define MOST_STOPS 4

typedef struct {
    packets store;
    size_t hosts;
    size_t stops;
    uint32_t first; /* IPv4 address of host 0; the others follow */
    uint64_t lead;  /* nanoseconds that a wake-up takes: asked for so much earlier, and believed to be so much late */
    struct pollfd watched[MOST_HOSTS + MOST_STOPS]; /* the hosts' devices, then what ends the relay */
} relay;

static inline uint64_t relay_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Octets that a packet takes on the line: each segment that it will be cut into has headers of its own. */
static inline size_t line_size(const uint8_t *octets, size_t length) {
    uint16_t header, segment;
    memcpy(&header, octets + 2, 2); /* hdr_len and gso_size, in the machine's own order */
    memcpy(&segment, octets + 4, 2);
    const size_t size = length - OFFLOAD_HEADER;
    if (octets[1] == 0 || segment == 0 || header >= size) return size;
    return size + (size - header - 1) / segment * header;
}

/* Read up to READ_BATCH packets of a host; how many there were. */
static int relay_read(relay *self, size_t from, uint64_t now) {
    packets *store = &self->store;
    int count = 0;
    for (; count < READ_BATCH; count++) {
        const ssize_t length = read(self->watched[from].fd, store->room, LARGE_ROOM);
        if (length < 0) break;
        const uint8_t *ip = store->room + OFFLOAD_HEADER;
        const size_t to = length < OFFLOAD_HEADER + 20 || ip[0] >> 4 != 4 ? MOST_HOSTS : get32(ip + 16) - self->first;
        if (to >= self->hosts || to == from) {
            store->tallies[from].stray++;
            continue;
        }
        packets_put(store, from, to, (size_t)length, line_size(store->room, (size_t)length), now);
    }
    return count;
}

/* Deliver what is due. */
static void relay_write(relay *self) {
    const packet *first;
    uint64_t now = relay_now();
    for (int count = 0; (first = packets_first(&self->store)) != NULL && count < READ_BATCH; count++) {
        if (first->due > now + self->lead && first->due > (now = relay_now()) + self->lead) break;
        tally *told = &self->store.tallies[first->from];
        const ssize_t written = write(self->watched[first->to].fd, first->octets, first->length);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) {
            told->refused++;
        } else {
            const uint64_t late = now > first->due ? now - first->due : 0;
            told->packets++;
            told->octets += first->length - OFFLOAD_HEADER;
            told->late += late;
            if (late > told->latest) told->latest = late;
        }
        packets_drop(&self->store);
    }
}

/* Carry packets until one of the stops can be read. 0, or an errno. */
static int relay_run(relay *self) {
    const size_t count = self->hosts + self->stops;
    int busy = 1;
    for (;;) {
        struct timespec wait = {0, 0}, *timeout = &wait;
        const packet *first = packets_first(&self->store);
        if (!busy && first == NULL) {
            timeout = NULL;
        } else if (!busy) {
            const uint64_t now = relay_now() + self->lead;
            if (first->due > now) {
                wait.tv_sec = (time_t)((first->due - now) / 1000000000u);
                wait.tv_nsec = (long)((first->due - now) % 1000000000u);
            }
        }
        const int slept = timeout == NULL || wait.tv_sec || wait.tv_nsec;
        const int ready = ppoll(self->watched, count, timeout, NULL);
        if (ready < 0 && errno != EINTR) return errno;
        busy = 0;
        if (ready > 0) {
            for (size_t i = self->hosts; i < count; i++) {
                if (self->watched[i].revents) return 0;
            }
            const uint64_t now = relay_now() - (slept ? self->lead : 0);
            for (size_t i = 0; i < self->hosts; i++) {
                if (self->watched[i].revents & (POLLERR | POLLHUP | POLLNVAL)) return ENODEV;
                if (self->watched[i].revents & POLLIN) busy |= relay_read(self, i, now) == READ_BATCH;
            }
        }
        relay_write(self);
    }
}

#endif
