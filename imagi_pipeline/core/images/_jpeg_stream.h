/* Make an ordinary JPEG smaller while it is read: no coefficient is kept for longer than its block.

   Ordinary is what nearly all are: baseline, grey or YCbCr, one scan, undamaged. `restream` leaves every other file
   alone, and then libjpeg-turbo decides (see _jpeg_coefficients.c). What it makes holds the same coefficients. */

#ifndef IMAGI_JPEG_STREAM_H
#define IMAGI_JPEG_STREAM_H

#include <stddef.h>

#define STREAM_COMPONENTS 3

typedef struct {
    const unsigned char *data;
    size_t length;
    /* Six tables in natural order: Y, Cb, Cr for chroma with fewer samples than luma, then for chroma with as many;
       or NULL to keep the source's. */
    const unsigned char *steps;
    double dead_zone, least_ratio;
    size_t most_pixels, most_memory;
} stream_order;

typedef struct {
    unsigned char *data; /* for free() */
    size_t length;
    int coarser_steps;
    size_t scan_length; /* bytes of the source's entropy-coded data */
} stream_result;

/* 1 when the result is there, 0 when this file is left alone. */
int restream(const stream_order *order, stream_result *result);

#endif
