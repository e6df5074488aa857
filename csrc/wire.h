/* Big-endian integers in octets: the byte order of every length and number on the wire.
 *
 * Plain loads and stores by memcpy and shifts, so that any alignment is fine; compilers make one instruction of each.
 */
#ifndef PARTISAN_WIRE_H
#define PARTISAN_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t get16(const uint8_t *p) {
    return (uint16_t)((uint16_t)p[0] << 8 | p[1]);
}

static inline uint32_t get32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t get64(const uint8_t *p) {
    return (uint64_t)get32(p) << 32 | get32(p + 4);
}

static inline void put16(uint8_t *p, uint16_t value) {
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline void put32(uint8_t *p, uint32_t value) {
    p[0] = (uint8_t)(value >> 24);
    p[1] = (uint8_t)(value >> 16);
    p[2] = (uint8_t)(value >> 8);
    p[3] = (uint8_t)value;
}

static inline void put64(uint8_t *p, uint64_t value) {
    put32(p, (uint32_t)(value >> 32));
    put32(p + 4, (uint32_t)value);
}

/* The one little-endian thing on the wire: the digits of bignums. */
static inline void put64_little(uint8_t *p, uint64_t value) {
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)(value >> (8 * i));
}

/* memcpy without a call for the short runs that keys, names and atoms are; both ends are copied and may overlap. */
static inline void copy_octets(uint8_t *to, const void *source, size_t size) {
    const uint8_t *from = (const uint8_t *)source;
    if (size > 32) {
        memcpy(to, from, size);
    } else if (size >= 16) {
        uint8_t front[16], back[16];
        memcpy(front, from, 16);
        memcpy(back, from + size - 16, 16);
        memcpy(to, front, 16);
        memcpy(to + size - 16, back, 16);
    } else if (size >= 8) {
        uint64_t front, back;
        memcpy(&front, from, 8);
        memcpy(&back, from + size - 8, 8);
        memcpy(to, &front, 8);
        memcpy(to + size - 8, &back, 8);
    } else if (size >= 4) {
        uint32_t front, back;
        memcpy(&front, from, 4);
        memcpy(&back, from + size - 4, 4);
        memcpy(to, &front, 4);
        memcpy(to + size - 4, &back, 4);
    } else {
        while (size--) *to++ = *from++;
    }
}

/* An IEEE 754 double as its eight octets, most significant first. */
static inline double get_double(const uint8_t *p) {
    uint64_t bits = get64(p);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void put_double(uint8_t *p, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put64(p, bits);
}

#endif
