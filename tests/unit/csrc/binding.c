/* What the tests call: the headers of csrc behind plain functions, with every input in a heap block of its own size,
 * so that AddressSanitizer sees the first octet read behind it. */
#include "blocks.h"
#include "octets.h"
#include "packets.h"
#include "probes.h"
#include "scan.h"
#include "tags.h"
#include "text.h"
#include "wire.h"

typedef struct {
    int result;           /* scan_result of the last feed */
    size_t position;      /* where the walk stands */
    size_t need;          /* of the last SCAN_MORE */
    size_t farthest_need; /* the largest available + need that any SCAN_MORE told: no term may end before it */
    size_t larges;        /* how many SCAN_LARGE there were */
    size_t large_octets;  /* and their octets together */
    size_t feeds;
} walk;

static uint8_t *exact_copy(const uint8_t *data, size_t size) {
    uint8_t *copy = (uint8_t *)malloc(size);
    if (size) memcpy(copy, data, size);
    return copy;
}

/* Feed data as a reader gets it: up to cuts[0], then up to cuts[1], and so on. 0, or -1 when a law of the walk broke. */
int walk_in_pieces(const uint8_t *data, const size_t *cuts, size_t count, size_t threshold, walk *out) {
    etf_scan scan;
    etf_scan_init(&scan);
    memset(out, 0, sizeof *out);
    out->result = SCAN_MORE;
    for (size_t i = 0; i < count; i++) {
        size_t available = cuts[i];
        if (out->position > available) continue; /* inside the octets of a large binary */
        uint8_t *copy = exact_copy(data, available);
        do {
            size_t before = out->position, binary = 0, need = 0;
            out->result = etf_scan_feed(&scan, copy, available, threshold, &out->position, &binary, &need);
            out->feeds++;
            if (out->position < before || out->position > available) goto broken;
            if (out->result == SCAN_LARGE) {
                if (binary < threshold || copy[out->position - 5] != BINARY_EXT) goto broken;
                out->larges++;
                out->large_octets += binary;
                out->position += binary;
            } else if (out->result == SCAN_MORE) {
                if (need == 0) goto broken;
                out->need = need;
                if (available + need > out->farthest_need) out->farthest_need = available + need;
            }
        } while (out->result == SCAN_LARGE && out->position <= available);
        free(copy);
        if (out->result == SCAN_DONE || out->result == SCAN_MALFORMED) return 0;
        continue;
    broken:
        free(copy);
        return -1;
    }
    return 0;
}

/* Feed a block that arrives one octet at a time, without copies: what it costs is what the walk costs. */
int walk_octet_by_octet(const uint8_t *data, size_t size, walk *out) {
    etf_scan scan;
    etf_scan_init(&scan);
    memset(out, 0, sizeof *out);
    for (size_t available = 0; available <= size; available++) {
        size_t binary;
        out->result = etf_scan_feed(&scan, data, available, SIZE_MAX, &out->position, &binary, &out->need);
        out->feeds++;
        if (out->result != SCAN_MORE) return 0;
    }
    return 0;
}

/* Write and read a number at each of eight alignments; return how many came back, 24 when all did. */
int wire_round_trips(uint64_t value, uint8_t *shown) {
    int good = 0;
    for (size_t shift = 0; shift < 8; shift++) {
        uint8_t *block = (uint8_t *)malloc(shift + 8);
        put64(block + shift, value);
        good += get64(block + shift) == value;
        memcpy(shown, block + shift, 8);
        put32(block + shift + 4, (uint32_t)value);
        good += get32(block + shift + 4) == (uint32_t)value;
        put16(block + shift + 6, (uint16_t)value);
        good += get16(block + shift + 6) == (uint16_t)value;
        free(block);
    }
    return good;
}

/* Write the double of these eight octets and read it back; 1 when the octets are the same. */
int double_round_trips(const uint8_t *octets) {
    uint8_t *in = exact_copy(octets, 8), *out = (uint8_t *)malloc(8);
    put_double(out, get_double(in));
    int same = memcmp(in, out, 8) == 0;
    free(in);
    free(out);
    return same;
}

size_t written_integer(int64_t value, uint8_t *shown) {
    uint8_t *block = (uint8_t *)malloc(11);
    size_t size = (size_t)(put_integer(block, value) - block);
    memcpy(shown, block, size);
    free(block);
    return size;
}

/* Append pieces of the given sizes, the next octets of `source` each; 0 when the run is then equal to `source`. */
int appended(const uint8_t *source, const size_t *sizes, size_t count) {
    octets run = {0};
    size_t at = 0;
    for (size_t i = 0; i < count; at += sizes[i++])
        if (octets_append(&run, source + at, sizes[i]) < 0 || run.length > run.capacity) return -1;
    int differs = run.length != at || (at && memcmp(run.data, source, at) != 0);
    octets_free(&run);
    if (run.data != NULL || run.length || run.capacity) return -2;
    return differs;
}

/* Ask a run that holds three octets for `extra` more; return the answer, or -9 when a refusal changed the run. */
int reserved(size_t extra) {
    octets run = {0};
    octets_append(&run, "abc", 3);
    size_t capacity = run.capacity;
    int answer = octets_reserve(&run, extra);
    if (answer < 0 && (run.length != 3 || run.capacity != capacity || memcmp(run.data, "abc", 3))) answer = -9;
    octets_free(&run);
    return answer;
}

int text_get(const uint8_t *text, size_t size, const char *prefix, uint32_t *words, int limit) {
    uint8_t *copy = exact_copy(text, size);
    uint32_t *found = (uint32_t *)malloc(sizeof(uint32_t) * (size_t)limit);
    int count = reference_text_get(copy, size, prefix, found, limit);
    memcpy(words, found, sizeof(uint32_t) * (size_t)count);
    free(found);
    free(copy);
    return count;
}

size_t text_put(uint8_t *shown, const char *prefix, const uint32_t *words, int count) {
    uint8_t *block = (uint8_t *)malloc(REFERENCE_TEXT_OCTETS);
    size_t size = reference_text_put(block, prefix, words, count);
    memcpy(shown, block, size);
    free(block);
    return size;
}

int is_ascii(const uint8_t *text, size_t size) {
    uint8_t *copy = exact_copy(text, size);
    int answer = octets_are_ascii(copy, size);
    free(copy);
    return answer;
}

uint32_t hash_of(const uint8_t *text, size_t size) {
    uint8_t *copy = exact_copy(text, size);
    uint32_t answer = octets_hash(copy, size);
    free(copy);
    return answer;
}

/* How many of the hashes a table takes before it is too dear, all of them if it never is. */
size_t afforded(const uint64_t *hashes, size_t count) {
    probes table = {0};
    size_t taken = 0;
    while (taken < count && probes_add(&table, hashes[taken]) == 0) taken++;
    probes_free(&table);
    return taken;
}

/* Take rooms of these sizes, but give the one back that `given` names after each (count for none). 0, or -1 when a room
 * has lost what was written into it, is not aligned, or too much stays allocated in the end. */
int rooms_hold(const size_t *sizes, const size_t *given, size_t count) {
    blocks all = {0};
    uint8_t **rooms = (uint8_t **)calloc(count, sizeof *rooms);
    int found = 0;
    for (size_t i = 0; i < 2 * count; i++) {
        if (i < count) {
            rooms[i] = (uint8_t *)blocks_take(&all, sizes[i]);
            if ((uintptr_t)rooms[i] % sizeof(double)) found = -1;
            memset(rooms[i], (int)(i % 251), sizes[i]);
        }
        const size_t which = i < count ? given[i] : i - count; /* in the end all */
        if (which > i || which >= count || rooms[which] == NULL) continue;
        for (size_t j = 0; j < sizes[which]; j++)
            if (rooms[which][j] != which % 251) found = -1;
        blocks_give(&all, rooms[which]);
        rooms[which] = NULL;
    }
    if (all.allocated > sizeof(block) + FIRST_BLOCK_OCTETS) found = -1;
    blocks_free(&all);
    free(rooms);
    return all.allocated || all.last ? -1 : found;
}

/* Whether there is no room for so many octets: 1, or 0 when there is. */
int room_is_refused(size_t size) {
    blocks all = {0};
    void *room = blocks_take(&all, size);
    if (room != NULL) blocks_give(&all, room);
    blocks_free(&all);
    return room == NULL;
}

/* Packets on their way, with the tallies beside them. NULL when memory is short. */
typedef struct {
    packets store;
    tally tallies[MOST_HOSTS];
} way;

way *way_new(const rules *given, size_t smalls, size_t larges, uint64_t seed) {
    way *made = (way *)calloc(1, sizeof(way));
    if (packets_init(&made->store, given, smalls, larges, seed, made->tallies) == 0) return made;
    packets_free(&made->store);
    free(made);
    return NULL;
}

void way_free(way *self) {
    packets_free(&self->store);
    free(self);
}

/* Put a packet whose octets are all `mark`. */
int way_put(way *self, size_t from, size_t to, size_t length, int mark, size_t size, uint64_t now) {
    memset(self->store.room, mark, length);
    return packets_put(&self->store, from, to, length, size, now);
}

/* Take the first packet; its mark is -1 where its octets are not all the same. 0 if there is none. */
int way_take(way *self, uint64_t *due, uint64_t *number, size_t *ends, size_t *length, int *mark) {
    const packet *first = packets_first(&self->store);
    if (first == NULL) return 0;
    *due = first->due;
    *number = first->number;
    ends[0] = first->from;
    ends[1] = first->to;
    *length = first->length;
    *mark = first->octets[0];
    for (size_t i = 1; i < first->length; i++) {
        if (first->octets[i] != *mark) *mark = -1;
    }
    packets_drop(&self->store);
    return 1;
}

const tally *way_told(const way *self, size_t from) {
    return &self->tallies[from];
}

size_t target_of(const uint8_t *octets, size_t length, uint32_t first) {
    uint8_t *copy = exact_copy(octets, length);
    const size_t found = packet_target(copy, length, first);
    free(copy);
    return found;
}

size_t size_of(const uint8_t *octets, size_t length) {
    uint8_t *copy = exact_copy(octets, length);
    const size_t found = packet_size(copy, length);
    free(copy);
    return found;
}
