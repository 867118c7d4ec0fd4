/* The levels of DCT coefficients: their order and size, and how they are divided by coarser steps. */

#ifndef IMAGI_JPEG_QUANTIZER_H
#define IMAGI_JPEG_QUANTIZER_H

#include <stdint.h>

#define BLOCK 64    /* coefficients of a block */
#define AC_LIMIT 1023 /* the largest level that 8-bit baseline and progressive coding have a code for */
#define DC_LIMIT 1024

/* The place in a block of each coefficient as they stand in the file. */
static const uint8_t NATURAL_ORDER[BLOCK] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

/* How many bits a file has for a level. */
static inline unsigned bits_of(int level) {
    unsigned size = (unsigned)(level < 0 ? -level : level);
    return size == 0 ? 0 : 32u - (unsigned)__builtin_clz(size);
}

typedef struct {
    uint16_t step[BLOCK]; /* of the result */
    uint16_t add[BLOCK], multiply[BLOCK];
    int coarser_steps; /* how many of them are coarser than the source's */
} quantizer;

/* A level a of the source stands for a * old; in steps of `wanted` that is floor(a * old / wanted + offset). In 16 bits:
   ((32 a + 32 offset wanted / old) * (32768 old / wanted)) / 2^20. Levels are at most 1024, so nothing overflows.
   Without `wanted`, or where a step would become finer or hardly coarser, the old one stays. All tables have the same
   order, DC first. */
static inline quantizer make_quantizer(const uint16_t *old_steps, const unsigned char *wanted_steps, double dead_zone,
                                       double least_ratio) {
    quantizer made;
    made.coarser_steps = 0;
    for (int k = 0; k < BLOCK; k++) {
        unsigned old = old_steps[k];
        unsigned wanted = wanted_steps == NULL ? old : wanted_steps[k];
        double ratio = (double)wanted / old;
        double offset = k == 0 ? 0.5 : dead_zone;
        if (ratio <= 1.0 || ratio < least_ratio) {
            made.step[k] = (uint16_t)old;
            made.add[k] = 0;
            made.multiply[k] = 32768;
            continue;
        }
        made.step[k] = (uint16_t)wanted;
        made.add[k] = (uint16_t)(32.0 * offset * ratio + 0.5);
        made.multiply[k] = (uint16_t)(32768.0 / ratio + 0.5);
        made.coarser_steps++;
    }
    return made;
}

/* 16 bits throughout, so that a compiler can do many at once. */
static inline int16_t quantized(int16_t value, uint16_t add, uint16_t multiply) {
    int16_t sign = (int16_t)(value >> 15);
    uint16_t level = (uint16_t)((value ^ sign) - sign);
    uint16_t sum = (uint16_t)(level * 32 + add);
    uint16_t divided = (uint16_t)(((uint32_t)sum * multiply) >> 16) >> 4;
    return (int16_t)((divided ^ sign) - sign);
}

#endif
