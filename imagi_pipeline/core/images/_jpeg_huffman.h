/* Fit a Huffman code to how often its symbols occur, as JPEG allows them: at most 16 bits, none of ones alone. */

#ifndef IMAGI_JPEG_HUFFMAN_H
#define IMAGI_JPEG_HUFFMAN_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SYMBOLS 256
#define LONGEST_CODE 16

/* As in a DHT segment: how many codes there are of each length, and their symbols from the shortest code on. */
typedef struct {
    uint8_t codes_of_length[LONGEST_CODE + 1];
    uint8_t symbols[SYMBOLS];
} huffman_table;

typedef struct {
    uint64_t weight;
    int symbol; /* -1 takes the code of all ones, which JPEG forbids */
} huffman_leaf;

static int by_weight(const void *left, const void *right) {
    const huffman_leaf *a = left, *b = right;
    if (a->weight != b->weight) {
        return a->weight < b->weight ? -1 : 1;
    }
    return a->symbol - b->symbol;
}

/* Lengths of the best code of at most 16 bits for leaves sorted by weight (package-merge, Larmore and Hirschberg 1990). */
static void code_lengths(const huffman_leaf *leaves, int count, uint8_t *lengths) {
    uint64_t weights[2][2 * (SYMBOLS + 1)];
    uint8_t is_leaf[LONGEST_CODE][2 * (SYMBOLS + 1)];
    int size = 0;

    for (int level = 0; level < LONGEST_CODE; level++) {
        const uint64_t *below = weights[(level + 1) & 1];
        uint64_t *here = weights[level & 1];
        int pairs = size / 2, pair = 0, next = 0;
        size = 0;
        while (next < count || pair < pairs) {
            uint64_t packed = pair < pairs ? below[2 * pair] + below[2 * pair + 1] : UINT64_MAX;
            is_leaf[level][size] = next < count && leaves[next].weight <= packed;
            if (is_leaf[level][size]) {
                here[size++] = leaves[next++].weight;
            } else {
                here[size++] = packed;
                pair++;
            }
        }
    }
    memset(lengths, 0, (size_t)count);
    for (int level = LONGEST_CODE - 1, taken = 2 * count - 2; level >= 0 && taken > 0; level--) {
        int found = 0;
        for (int k = 0; k < taken; k++) {
            found += is_leaf[level][k];
        }
        for (int k = 0; k < found; k++) {
            lengths[k]++;
        }
        taken = 2 * (taken - found);
    }
}

static void fit_huffman_table(const uint64_t *counts, huffman_table *table) {
    huffman_leaf leaves[SYMBOLS + 1] = {{0, -1}};
    uint8_t lengths[SYMBOLS + 1];
    int count = 1, written = 0;

    for (int symbol = 0; symbol < SYMBOLS; symbol++) {
        if (counts[symbol]) {
            leaves[count].weight = counts[symbol];
            leaves[count++].symbol = symbol;
        }
    }
    qsort(leaves, (size_t)count, sizeof(huffman_leaf), by_weight);
    code_lengths(leaves, count, lengths);
    memset(table, 0, sizeof *table);
    for (int k = count - 1; k > 0; k--) { /* leaves[0] has the longest code, the one that is not used */
        table->codes_of_length[lengths[k]]++;
        table->symbols[written++] = (uint8_t)leaves[k].symbol;
    }
}

#endif
