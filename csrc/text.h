/* Small work on text that is still octets: hashing for the caches, and the texts of partisan's remote references. */
#ifndef PARTISAN_TEXT_H
#define PARTISAN_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define REFERENCE_TEXT_OCTETS 80 /* longer than any text that reference_text_put writes: 5 + 2 + 5 * 11 + 1 */

/* Whether all octets are ASCII. */
static inline int octets_are_ascii(const uint8_t *text, size_t size) {
    uint64_t seen = 0;
    while (size >= 8) {
        uint64_t word;
        memcpy(&word, text, 8);
        seen |= word;
        text += 8;
        size -= 8;
    }
    while (size--) seen |= *text++;
    return (seen & UINT64_C(0x8080808080808080)) == 0;
}

/* A quick hash for direct-mapped caches: a clash costs a miss there, never a chain, so nothing cryptographic is needed. */
static inline uint32_t octets_hash(const uint8_t *text, size_t size) {
    uint64_t hash = size * UINT64_C(0x9E3779B97F4A7C15), word;
    while (size >= 8) {
        memcpy(&word, text, 8);
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 29;
        text += 8;
        size -= 8;
    }
    if (size >= 4) {
        uint32_t low, high;
        memcpy(&low, text, 4);
        memcpy(&high, text + size - 4, 4);
        word = (uint64_t)high << 32 | low;
    } else if (size) {
        word = (uint64_t)text[0] << 16 | (uint64_t)text[size >> 1] << 8 | text[size - 1];
    } else {
        word = 0;
    }
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(hash >> 32);
}

/* Read `<prefix>0.A.B...>` (the whole of it, decimal, no leading zeros, each number below 2^32) into words[0..limit).
 * Return how many numbers follow the 0, or 0 when the text has any other form. */
static inline int reference_text_get(const uint8_t *text, size_t size, const char *prefix, uint32_t *words, int limit) {
    size_t at = strlen(prefix);
    int count = 0;
    if (size < at + 4 || memcmp(text, prefix, at) != 0 || text[at] != '0') return 0;
    at++;
    while (at < size && text[at] == '.') {
        uint64_t value = 0;
        size_t first = ++at;
        while (at < size && text[at] >= '0' && text[at] <= '9' && at - first < 10) value = value * 10 + (text[at++] - '0');
        if (at == first || (text[first] == '0' && at - first > 1) || value > UINT32_MAX || count == limit) return 0;
        words[count++] = (uint32_t)value;
    }
    return at + 1 == size && text[at] == '>' ? count : 0;
}

/* Write `<prefix>0.A.B...>` to `out` (REFERENCE_TEXT_OCTETS long at least); return how many octets. */
static inline size_t reference_text_put(uint8_t *out, const char *prefix, const uint32_t *words, int count) {
    size_t at = strlen(prefix);
    memcpy(out, prefix, at);
    out[at++] = '0';
    for (int i = 0; i < count; i++) {
        uint8_t digits[10];
        int n = 0;
        uint32_t value = words[i];
        do digits[n++] = (uint8_t)('0' + value % 10);
        while (value /= 10);
        out[at++] = '.';
        while (n) out[at++] = digits[--n];
    }
    out[at++] = '>';
    return at;
}

#endif
