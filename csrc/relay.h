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

#define READ_BATCH 16     /* packets read from one device before those that are due go out */
#define MOST_STOPS 4
#define MOST_LEAD 200000 /* nanoseconds */

typedef struct {
    packets store;
    size_t hosts;
    size_t stops;
    uint32_t first; /* IPv4 address of host 0; the others follow */
    uint64_t lead;  /* nanoseconds that the system has lately needed to wake the relay: it asks for so much earlier,
                       and takes a packet that woke it to have come so much before */
    uint64_t slept; /* when it last went to sleep, or 0 if it did not before it looked last */
    struct pollfd watched[MOST_HOSTS + MOST_STOPS]; /* the hosts' devices, then what ends the relay */
} relay;

static inline uint64_t relay_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Read up to READ_BATCH packets of a host; how many there were. */
static int relay_read(relay *self, size_t from, uint64_t now) {
    packets *store = &self->store;
    int count = 0;
    for (; count < READ_BATCH; count++) {
        const ssize_t length = read(self->watched[from].fd, store->room, LARGE_ROOM);
        if (length < 0) break;
        const size_t to = packet_target(store->room, (size_t)length, self->first);
        if (to >= self->hosts || to == from) {
            store->tallies[from].stray++;
            continue;
        }
        packets_put(store, from, to, (size_t)length, packet_size(store->room, (size_t)length), now);
    }
    return count;
}

/* Deliver what is due. */
static void relay_write(relay *self) {
    const packet *first;
    uint64_t now = relay_now();
    for (int count = 0; (first = packets_first(&self->store)) != NULL && count < READ_BATCH; count++) {
        if (first->due > now && first->due > (now = relay_now())) break;
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

/* Sleep until a packet comes, or until just before one is due at `due` (NEVER: none is). What ppoll returns. */
static int relay_wait(relay *self, uint64_t due) {
    const size_t count = self->hosts + self->stops;
    const uint64_t now = relay_now(), until = due < self->lead ? 0 : due - self->lead;
    self->slept = now < until ? now : 0;
    if (due == NEVER) return ppoll(self->watched, count, NULL, NULL);
    struct timespec wait = {0, 0};
    if (now < until) {
        wait.tv_sec = (time_t)((until - now) / 1000000000u);
        wait.tv_nsec = (long)((until - now) % 1000000000u);
    }
    const int ready = ppoll(self->watched, count, &wait, NULL);
    if (ready == 0 && now < until) {
        /* An average over about eight wake-ups, of which none counts for more than MOST_LEAD. */
        const uint64_t over = relay_now() - until;
        self->lead = (7 * self->lead + (over < MOST_LEAD ? over : MOST_LEAD)) / 8;
    }
    return ready;
}

/* When packets that are there now have come. */
static uint64_t relay_arrival(const relay *self) {
    const uint64_t now = relay_now();
    if (self->slept == 0) return now;
    return now - self->lead > self->slept ? now - self->lead : self->slept;
}

/* Carry packets until one of the stops can be read. 0, or an errno. */
static int relay_run(relay *self) {
    const size_t count = self->hosts + self->stops;
    int busy = 1;
    for (;;) {
        const packet *first = packets_first(&self->store);
        const int ready = relay_wait(self, busy ? 0 : first == NULL ? NEVER : first->due);
        if (ready < 0 && errno != EINTR) return errno;
        busy = 0;
        if (ready > 0) {
            for (size_t i = self->hosts; i < count; i++) {
                if (self->watched[i].revents) return 0;
            }
            const uint64_t now = relay_arrival(self);
            for (size_t i = 0; i < self->hosts; i++) {
                if (self->watched[i].revents & (POLLERR | POLLHUP | POLLNVAL)) return ENODEV;
                if (self->watched[i].revents & POLLIN) busy |= relay_read(self, i, now) == READ_BATCH;
            }
        }
        relay_write(self);
    }
}

#endif
