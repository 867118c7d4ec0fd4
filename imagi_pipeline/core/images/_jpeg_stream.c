/* Make an ordinary JPEG smaller while it is read; _jpeg_stream.h says what that means.

   libjpeg-turbo keeps all coefficients, zeros included, to hand them from its decoder to its encoder: for a picture of
   1.5 megapixels these are 4.6 MB that are cleared, written, read, quantized and read again. Here only coefficients
   that are not zero are looked at. Each is divided as soon as its code is read; what is left of it becomes a token of
   four bytes; and when all tokens are there, it is known how often each symbol occurs, so that the Huffman tables fit
   exactly.

   The input is hostile. Every length is checked against what is left, and whatever is unusual ends the work. */

#include "_jpeg_stream.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "_jpeg_huffman.h"
#include "_jpeg_quantizer.h"

#define MOST_SAMPLING 4
#define MOST_BLOCKS_OF_MCU 10 /* a limit of the standard */
#define LOOKAHEAD 10
#define MOST_DC_BITS 11
#define MOST_AC_BITS 10
#define END_OF_BLOCK 0x00
#define SIXTEEN_ZEROS 0xF0
#define ZEROS_AT_END 127 /* how many zeros END_OF_BLOCK stands for: they lead out of any block */
/* Bytes: more than an MCU can take, so that its end is checked once: 10 blocks of 64 codes with at most 27 bits. */
#define PADDING 2304
#define MOST_TOKENS_OF_MCU (MOST_BLOCKS_OF_MCU * (BLOCK + 4))
#define HEADER_ROOM 4096

enum marker {
    SOF0 = 0xC0,
    DHT = 0xC4,
    RST0 = 0xD0,
    SOI = 0xD8,
    EOI = 0xD9,
    SOS = 0xDA,
    DQT = 0xDB,
    DRI = 0xDD,
    APP0 = 0xE0,
    APP14 = 0xEE,
    APP15 = 0xEF,
    COM = 0xFE
};

/* What a code stands for; `zeros` come before the value, which has `bits` that follow the code. */
typedef struct {
    uint8_t length; /* of the code; 0 where the next LOOKAHEAD bits begin a longer code, or none */
    uint8_t bits;
    uint8_t zeros;
    uint8_t length_and_bits;
} symbol;

typedef struct {
    symbol next[1 << LOOKAHEAD];
    int32_t codes_end[LONGEST_CODE + 1]; /* the first code that is too large for its length, filled up to 16 bits */
    int32_t first_symbol[LONGEST_CODE + 1];
    huffman_table table;
    int is_defined;
} decoder_table;

/* Bits 0 to 15: the value; 16 to 23: the symbol; 24: for DC 0, for AC 1; 25: the table. */
typedef uint32_t token;
#define TOKEN_TABLES 4

typedef struct {
    uint8_t id;
    int across, down; /* blocks of an MCU */
    int steps_number, dc_number, ac_number;
    size_t width, height; /* blocks, without those that only fill up the last MCUs */
    quantizer quantizer;  /* in the order of the file */
    int predicted, predicted_of_result;
    struct {
        uint32_t multiply, add;
    } divisors[BLOCK]; /* a level of the result is (level * multiply + add) / 2^20 */
    int table;         /* of the result: 0 for luma, 1 for chroma */
    token ac_token;    /* of that table, with symbol and value 0 */
} component;

typedef struct {
    const unsigned char *next, *end;
    uint64_t bits; /* those not yet used, from the highest on */
    int available;
} bit_reader;

typedef struct {
    const stream_order *order;
    const unsigned char *at, *end; /* of the source */
    jmp_buf leave;
    uint16_t steps[4][BLOCK]; /* in the order of the file; a step of 0 says that there is none */
    decoder_table *dc, *ac;   /* four of each */
    component components[STREAM_COMPONENTS];
    int count; /* of components */
    unsigned width, height, restart_interval;
    int has_jfif, adobe_transform; /* -1 without an Adobe segment */
    unsigned char jfif[7];         /* version and density, as they are written */
    int most_across, most_down;
    size_t mcus_across, mcus_down;
    unsigned char *scan; /* the bits between two markers, without stuffed zeros, padded */
    size_t scan_length;
    bit_reader reader;
    token *tokens;
    size_t token_count, token_room;
    token coded_levels[2 * (AC_LIMIT + 1)]; /* of positive and negative levels */
    uint64_t counts[TOKEN_TABLES][SYMBOLS];
    unsigned char *output;
    size_t output_length, output_room, codes_room;
} stream;

static _Noreturn void leave(stream *work) { longjmp(work->leave, 1); }

static void need(stream *work, int condition) {
    if (!condition) {
        leave(work);
    }
}

/* --- headers */

typedef struct {
    const unsigned char *at;
    size_t length;
} segment;

static unsigned number_at(const unsigned char *at) { return (unsigned)at[0] << 8 | at[1]; }

static segment read_segment(stream *work) {
    need(work, work->end - work->at >= 2);
    size_t length = number_at(work->at);
    need(work, length >= 2 && length <= (size_t)(work->end - work->at));
    segment made = {work->at + 2, length - 2};
    work->at += length;
    return made;
}

static void read_steps(stream *work, segment tables) {
    for (; tables.length > 0; tables.at += 1 + BLOCK, tables.length -= 1 + BLOCK) {
        need(work, tables.length >= 1 + BLOCK && tables.at[0] < 4); /* of 8 bits */
        for (int k = 0; k < BLOCK; k++) {
            need(work, tables.at[1 + k] != 0);
            work->steps[tables.at[0]][k] = tables.at[1 + k];
        }
    }
}

static symbol make_symbol(unsigned value, int length, int is_dc) {
    symbol made = {(uint8_t)length, (uint8_t)(is_dc ? value : value & 15), 0, 0};
    made.zeros = (uint8_t)(is_dc ? 0 : value == END_OF_BLOCK ? ZEROS_AT_END : value >> 4);
    made.length_and_bits = (uint8_t)(made.length + made.bits);
    return made;
}

static void make_decoder(stream *work, decoder_table *decoder, int is_dc) {
    int32_t code = 0, position = 0;
    memset(decoder->next, 0, sizeof decoder->next);
    for (int length = 1; length <= LONGEST_CODE; length++) {
        decoder->first_symbol[length] = position - code;
        for (int k = 0; k < decoder->table.codes_of_length[length]; k++, code++, position++) {
            unsigned value = decoder->table.symbols[position];
            need(work, code < 1 << length);
            need(work, is_dc ? value <= MOST_DC_BITS : (value & 15) <= MOST_AC_BITS);
            need(work, is_dc || (value & 15) || value == END_OF_BLOCK || value == SIXTEEN_ZEROS);
            for (int spare = LOOKAHEAD - length, next = 0; spare >= 0 && next < 1 << spare; next++) {
                decoder->next[(code << spare) + next] = make_symbol(value, length, is_dc);
            }
        }
        decoder->codes_end[length] = code << (LONGEST_CODE - length);
        code <<= 1;
    }
    decoder->is_defined = 1;
}

static void read_huffman_tables(stream *work, segment tables) {
    while (tables.length > 0) {
        need(work, tables.length > LONGEST_CODE);
        unsigned number = tables.at[0];
        need(work, (number & 15) < 4 && number >> 4 < 2);
        decoder_table *decoder = (number >> 4 ? work->ac : work->dc) + (number & 15);
        size_t count = 0;
        for (int length = 1; length <= LONGEST_CODE; length++) {
            decoder->table.codes_of_length[length] = tables.at[length];
            count += tables.at[length];
        }
        tables.at += 1 + LONGEST_CODE;
        tables.length -= 1 + LONGEST_CODE;
        need(work, count <= SYMBOLS && count <= tables.length);
        memcpy(decoder->table.symbols, tables.at, count);
        tables.at += count;
        tables.length -= count;
        make_decoder(work, decoder, number >> 4 == 0);
    }
}

static void read_frame(stream *work, segment frame) {
    need(work, work->count == 0 && frame.length >= 6 && frame.at[0] == 8);
    work->height = number_at(frame.at + 1);
    work->width = number_at(frame.at + 3);
    work->count = frame.at[5];
    need(work, work->count == 1 || work->count == STREAM_COMPONENTS);
    need(work, frame.length == 6 + 3 * (size_t)work->count);
    need(work, work->width > 0 && work->height > 0);
    need(work, (size_t)work->width * work->height <= work->order->most_pixels);
    for (int i = 0; i < work->count; i++) {
        component *each = &work->components[i];
        const unsigned char *at = frame.at + 6 + 3 * i;
        each->id = at[0];
        each->across = at[1] >> 4;
        each->down = at[1] & 15;
        each->steps_number = at[2];
        each->table = i > 0;
        need(work, each->across >= 1 && each->across <= MOST_SAMPLING && each->down >= 1 &&
                       each->down <= MOST_SAMPLING && each->steps_number < 4);
        work->most_across = each->across > work->most_across ? each->across : work->most_across;
        work->most_down = each->down > work->most_down ? each->down : work->most_down;
    }
}

static void read_application(stream *work, int marker, segment data) {
    if (marker == APP0 && data.length >= 14 && memcmp(data.at, "JFIF", 5) == 0) {
        need(work, !work->has_jfif);
        work->has_jfif = 1;
        memcpy(work->jfif, data.at + 5, sizeof work->jfif);
        need(work, work->jfif[0] == 1);
    }
    if (marker == APP14 && data.length >= 12 && memcmp(data.at, "Adobe", 5) == 0) {
        work->adobe_transform = data.at[11];
    }
}

static void read_scan_header(stream *work, segment header) {
    need(work, work->count > 0 && header.length == 4 + 2 * (size_t)work->count && header.at[0] == work->count);
    for (int i = 0; i < work->count; i++) {
        const unsigned char *at = header.at + 1 + 2 * i;
        component *each = &work->components[i];
        each->dc_number = at[1] >> 4;
        each->ac_number = at[1] & 15;
        need(work, at[0] == each->id && each->dc_number < 4 && each->ac_number < 4);
        need(work, work->dc[each->dc_number].is_defined && work->ac[each->ac_number].is_defined);
    }
    const unsigned char *rest = header.at + 1 + 2 * work->count;
    need(work, rest[0] == 0 && rest[1] == BLOCK - 1 && rest[2] == 0);
}

/* Up to the first byte of the scan. */
static void read_headers(stream *work) {
    need(work, work->end - work->at >= 2 && work->at[0] == 0xFF && work->at[1] == SOI);
    work->at += 2;
    for (;;) {
        need(work, work->end - work->at >= 2 && work->at[0] == 0xFF);
        int marker = work->at[1];
        work->at += 2;
        segment data = read_segment(work);
        switch (marker) {
        case SOF0:
            read_frame(work, data);
            break;
        case DHT:
            read_huffman_tables(work, data);
            break;
        case DQT:
            read_steps(work, data);
            break;
        case DRI:
            need(work, data.length == 2);
            work->restart_interval = number_at(data.at);
            break;
        case SOS:
            read_scan_header(work, data);
            return;
        default:
            need(work, (marker >= APP0 && marker <= APP15) || marker == COM);
            read_application(work, marker, data);
        }
    }
}

/* YCbCr for certain, by what libjpeg looks at. */
static void judge_colour(stream *work) {
    if (work->count == 1) {
        return;
    }
    const component *all = work->components;
    int has_usual_ids = all[0].id == 1 && all[1].id == 2 && all[2].id == 3;
    need(work, work->adobe_transform == 1 || (work->adobe_transform == -1 && (work->has_jfif || has_usual_ids)));
}

static size_t divided_up(size_t value, size_t by) { return (value + by - 1) / by; }

static void measure(stream *work) {
    int blocks_of_mcu = 0;
    size_t wide = (size_t)work->most_across * 8, high = (size_t)work->most_down * 8;
    for (int i = 0; i < work->count; i++) {
        component *each = &work->components[i];
        each->width = divided_up((size_t)work->width * (size_t)each->across, wide);
        each->height = divided_up((size_t)work->height * (size_t)each->down, high);
        if (work->count == 1) { /* its blocks come one by one, whatever the sampling says */
            wide = high = 8;
        }
        blocks_of_mcu += each->across * each->down;
    }
    need(work, work->count == 1 || blocks_of_mcu <= MOST_BLOCKS_OF_MCU);
    work->mcus_across = divided_up(work->width, wide);
    work->mcus_down = divided_up(work->height, high);
}

/* The table of a component: Y's for grey. */
static const unsigned char *wanted_steps(const stream *work, int number) {
    const component *chroma = &work->components[1];
    if (work->order->steps == NULL || work->count == 1) {
        return work->order->steps;
    }
    int is_full = chroma->across == work->most_across && chroma->down == work->most_down;
    return work->order->steps + ((is_full ? STREAM_COMPONENTS : 0) + number) * BLOCK;
}

static inline token make_token(int table, int is_ac, unsigned symbol, int value, unsigned bits) {
    unsigned coded = (unsigned)(value < 0 ? value - 1 : value) & ((1u << bits) - 1);
    return (token)(table << 1 | is_ac) << 24 | symbol << 16 | coded;
}

static void make_quantizers(stream *work) {
    for (int i = 0; i < work->count; i++) {
        component *each = &work->components[i];
        const unsigned char *natural = wanted_steps(work, i);
        unsigned char wanted[BLOCK];
        for (int k = 0; natural != NULL && k < BLOCK; k++) {
            wanted[k] = natural[NATURAL_ORDER[k]];
        }
        need(work, work->steps[each->steps_number][0] != 0);
        each->quantizer = make_quantizer(work->steps[each->steps_number], natural == NULL ? NULL : wanted,
                                         work->order->dead_zone, work->order->least_ratio);
        for (int k = 1; k < BLOCK; k++) {
            uint32_t multiply = each->quantizer.multiply[k];
            each->divisors[k].multiply = 32 * multiply;
            each->divisors[k].add = each->quantizer.add[k] * multiply;
        }
        each->ac_token = make_token(each->table, 1, 0, 0, 0);
    }
    for (int level = 1; level <= AC_LIMIT; level++) {
        unsigned bits = bits_of(level);
        work->coded_levels[level] = make_token(0, 0, bits, level, bits);
        work->coded_levels[AC_LIMIT + 1 + level] = make_token(0, 0, bits, -level, bits);
    }
}

/* --- reading the bits */

/* Copy the scan up to the next marker, and return that. */
static int read_interval(stream *work) {
    unsigned char *to = work->scan;
    for (;;) {
        const unsigned char *stop = memchr(work->at, 0xFF, (size_t)(work->end - work->at));
        need(work, stop != NULL && work->end - stop >= 2);
        size_t length = (size_t)(stop - work->at);
        memcpy(to, work->at, length);
        to += length;
        work->at = stop + 2;
        if (stop[1] != 0) {
            break;
        }
        *to++ = 0xFF;
    }
    memset(to, 0, PADDING);
    work->reader = (bit_reader){work->scan, to, 0, 0};
    return work->at[-1];
}

/* At least 56 bits are there afterwards (Giesen 2018, "Reading bits in far too many ways", variant 4). */
static inline void refill(bit_reader *reader) {
    uint64_t next;
    memcpy(&next, reader->next, sizeof next);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    next = __builtin_bswap64(next);
#endif
    reader->bits |= next >> reader->available;
    reader->next += (63 - reader->available) >> 3;
    reader->available |= 56;
}

/* A code that is longer than LOOKAHEAD. */
static symbol long_code(stream *work, uint64_t next_bits, const decoder_table *decoder, int is_dc) {
    int32_t code = (int32_t)(next_bits >> (64 - LONGEST_CODE));
    int length = LOOKAHEAD + 1;
    while (length <= LONGEST_CODE && code >= decoder->codes_end[length]) {
        length++;
    }
    need(work, length <= LONGEST_CODE);
    int32_t position = (code >> (LONGEST_CODE - length)) + decoder->first_symbol[length];
    need(work, position >= 0 && position < SYMBOLS);
    return make_symbol(decoder->table.symbols[position], length, is_dc);
}

/* A value as JPEG has it: its level, and all ones if it is negative. */
typedef struct {
    uint32_t level;
    int32_t negative;
    int zeros; /* that come before */
} value;

static inline __attribute__((always_inline)) value read_value(stream *work, bit_reader *reader, const decoder_table *decoder, int is_dc) {
    symbol code = decoder->next[reader->bits >> (64 - LOOKAHEAD)];
    if (code.length == 0) {
        code = long_code(work, reader->bits, decoder, is_dc);
    }
    uint64_t bits = reader->bits << code.length;
    /* A value that begins with 0 is negative, and has the bits of its level inverted. */
    int64_t negative = (int64_t)~bits >> 63;
    reader->bits <<= code.length_and_bits;
    reader->available -= code.length_and_bits;
    uint32_t level = (uint32_t)((bits ^ (uint64_t)negative) >> 1 >> (63 - code.bits));
    return (value){level, (int32_t)negative, code.zeros};
}

static inline token *put_dc(token *to, component *of, int level) {
    int difference = level - of->predicted_of_result;
    of->predicted_of_result = level;
    unsigned bits = bits_of(difference);
    *to++ = make_token(of->table, 0, bits, difference, bits);
    return to;
}

/* Before a token that is kept; apart, so that the compiler makes no branch of whether it is. */
static __attribute__((noinline)) token *put_sixteens(const component *of, uint32_t level, int zeros, token *to) {
    for (; level && zeros > 15; zeros -= 16) {
        *to++ = make_token(of->table, 1, SIXTEEN_ZEROS, 0, 0);
    }
    return to;
}

/* A block on its way from code to tokens. */
typedef struct {
    bit_reader reader;
    token *to;
    const decoder_table *ac;
    int place, zeros; /* of the next coefficient, and how many before it have no token */
} passage;

/* Take the next code; there must be enough bits for it. The place is beyond the block afterwards, when that ended. */
static inline __attribute__((always_inline)) void pass_coefficient(stream *work, const component *of, passage *on) {
    value ac = read_value(work, &on->reader, on->ac, 0);
    int place = on->place + ac.zeros;
    on->place = place + 1;
    if (place >= BLOCK) {
        need(work, place >= ZEROS_AT_END); /* other zeros must not lead out of the block */
        return;
    }
    uint32_t level = (ac.level * of->divisors[place].multiply + of->divisors[place].add) >> 20;
    int zeros = on->zeros + ac.zeros;
    if (zeros > 15) {
        on->to = put_sixteens(of, level, zeros, on->to);
    }
    /* Without a branch, since nobody can foresee which levels become zero: the next token overwrites theirs. */
    uint32_t kept = (level + 0xFFFF) >> 16;
    *on->to = of->ac_token + work->coded_levels[level | (ac.negative & (AC_LIMIT + 1))] + ((token)(zeros & 15) << 20);
    on->to += kept;
    on->zeros = (zeros + 1) & ((int)kept - 1);
}

/* Read a block and leave its tokens; return their end. */
static token *restream_block(stream *work, component *of, token *to) {
    passage on = {work->reader, to, &work->ac[of->ac_number], 1, 0}; /* in registers */

    refill(&on.reader);
    value dc = read_value(work, &on.reader, &work->dc[of->dc_number], 1);
    of->predicted += (int)(dc.level ^ (uint32_t)dc.negative) - dc.negative;
    need(work, of->predicted >= -DC_LIMIT && of->predicted < DC_LIMIT);
    on.to = put_dc(to, of, quantized((int16_t)of->predicted, of->quantizer.add[0], of->quantizer.multiply[0]));
    while (on.place < BLOCK) {
        refill(&on.reader); /* is enough for two */
        pass_coefficient(work, of, &on);
        if (on.place < BLOCK) {
            pass_coefficient(work, of, &on);
        }
    }
    if (on.zeros > 0 || on.place > BLOCK) {
        *on.to++ = of->ac_token | END_OF_BLOCK << 16;
    }
    work->reader = on.reader;
    return on.to;
}

/* A block that only fills up an MCU is read and forgotten: it becomes as small as can be, as in libjpeg. */
static token *fill_block(stream *work, component *of, token *to) {
    int level = of->predicted_of_result;
    restream_block(work, of, to);
    of->predicted_of_result = level;
    to = put_dc(to, of, level);
    *to++ = make_token(of->table, 1, END_OF_BLOCK, 0, 0);
    return to;
}

static token *restream_mcu(stream *work, size_t x, size_t y, token *to) {
    for (int i = 0; i < work->count; i++) {
        component *each = &work->components[i];
        if (work->count == 1) {
            return restream_block(work, each, to);
        }
        for (int v = 0; v < each->down; v++) {
            for (int h = 0; h < each->across; h++) {
                int is_shown = x * (size_t)each->across + (size_t)h < each->width &&
                               y * (size_t)each->down + (size_t)v < each->height;
                to = (is_shown ? restream_block : fill_block)(work, each, to);
            }
        }
    }
    return to;
}

static void make_room(stream *work, size_t tokens) {
    if (work->token_room - work->token_count >= tokens) {
        return;
    }
    size_t room = 2 * work->token_room + tokens;
    need(work, room * sizeof(token) <= work->order->most_memory);
    token *grown = realloc(work->tokens, room * sizeof(token));
    need(work, grown != NULL);
    work->tokens = grown;
    work->token_room = room;
}

static void restart(stream *work) {
    for (int i = 0; i < work->count; i++) {
        work->components[i].predicted = 0;
    }
}

/* Every interval is used up to its last byte. */
static void end_interval(stream *work) {
    const bit_reader *reader = &work->reader;
    ptrdiff_t left = 8 * (reader->end - reader->next) + reader->available;
    need(work, left >= 0 && left < 8);
}

static void restream_scan(stream *work) {
    size_t left_of_interval = 0;
    int marker = RST0 - 1;
    make_room(work, work->scan_length / 2); /* a guess: a token for every two bytes */
    for (size_t y = 0; y < work->mcus_down; y++) {
        for (size_t x = 0; x < work->mcus_across; x++) {
            if (left_of_interval == 0) {
                if (x > 0 || y > 0) {
                    end_interval(work);
                }
                need(work, marker != EOI);
                restart(work);
                int expected = marker == RST0 + 7 ? RST0 : marker + 1;
                marker = read_interval(work);
                left_of_interval = work->restart_interval ? work->restart_interval : SIZE_MAX;
                need(work, marker == EOI || (work->restart_interval && marker == expected));
            }
            left_of_interval--;
            make_room(work, MOST_TOKENS_OF_MCU);
            token *to = work->tokens + work->token_count;
            work->token_count = (size_t)(restream_mcu(work, x, y, to) - work->tokens);
            need(work, work->reader.next <= work->reader.end + 8);
        }
    }
    end_interval(work);
    need(work, marker == EOI);
}

/* --- writing */

static void put_byte(stream *work, unsigned value) { work->output[work->output_length++] = (unsigned char)value; }

static void put_number(stream *work, unsigned value) {
    put_byte(work, value >> 8);
    put_byte(work, value & 255);
}

static void put_bytes(stream *work, const void *bytes, size_t length) {
    memcpy(work->output + work->output_length, bytes, length);
    work->output_length += length;
}

static void put_marker(stream *work, unsigned marker, size_t length) {
    put_byte(work, 0xFF);
    put_byte(work, marker);
    put_number(work, (unsigned)length + 2);
}

/* The steps are in the file once for each different table; the number of the table that a component has. */
static int table_of(const stream *work, int number) {
    int same = 0;
    while (memcmp(work->components[same].quantizer.step, work->components[number].quantizer.step,
                  sizeof work->components[same].quantizer.step) != 0) {
        same++;
    }
    return same;
}

static void put_headers(stream *work) {
    static const unsigned char no_density[7] = {1, 1, 0, 0, 1, 0, 1};
    put_byte(work, 0xFF);
    put_byte(work, SOI);
    put_marker(work, APP0, 14);
    put_bytes(work, "JFIF", 5);
    put_bytes(work, work->has_jfif ? work->jfif : no_density, sizeof no_density);
    put_number(work, 0); /* no thumbnail */
    for (int i = 0; i < work->count; i++) {
        if (table_of(work, i) == i) {
            put_marker(work, DQT, 1 + BLOCK);
            put_byte(work, (unsigned)i);
            for (int k = 0; k < BLOCK; k++) {
                put_byte(work, work->components[i].quantizer.step[k]);
            }
        }
    }
    put_marker(work, SOF0, 6 + 3 * (size_t)work->count);
    put_byte(work, 8);
    put_number(work, work->height);
    put_number(work, work->width);
    put_byte(work, (unsigned)work->count);
    for (int i = 0; i < work->count; i++) {
        const component *each = &work->components[i];
        put_byte(work, each->id);
        put_byte(work, (unsigned)(each->across << 4 | each->down));
        put_byte(work, (unsigned)table_of(work, i));
    }
}

typedef struct {
    uint32_t code[TOKEN_TABLES * SYMBOLS]; /* and, in its lowest 5 bits, how long the code is */
} encoder_tables;

static void put_huffman_table(stream *work, int number, encoder_tables *encoder) {
    huffman_table table;
    uint32_t code = 0;
    size_t position = 0, count = 0;

    fit_huffman_table(work->counts[number], &table);
    for (int length = 1; length <= LONGEST_CODE; length++) {
        count += table.codes_of_length[length];
        for (int k = 0; k < table.codes_of_length[length]; k++, code++) {
            encoder->code[number * SYMBOLS + table.symbols[position++]] = code << 5 | (uint32_t)length;
        }
        code <<= 1;
    }
    put_marker(work, DHT, 1 + LONGEST_CODE + count);
    put_byte(work, (unsigned)((number & 1) << 4 | number >> 1)); /* AC or DC, luma or chroma */
    put_bytes(work, table.codes_of_length + 1, LONGEST_CODE);
    put_bytes(work, table.symbols, count);
}

static void put_scan_header(stream *work) {
    put_marker(work, SOS, 4 + 2 * (size_t)work->count);
    put_byte(work, (unsigned)work->count);
    for (int i = 0; i < work->count; i++) {
        put_byte(work, work->components[i].id);
        put_byte(work, work->components[i].table ? 0x11 : 0x00);
    }
    put_byte(work, 0);
    put_byte(work, BLOCK - 1);
    put_byte(work, 0);
}

static inline void put_word(unsigned char *to, uint64_t word) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(to, &word, sizeof word);
}

/* Write the codes of all tokens, the last byte filled up with ones; return the end. */
static unsigned char *put_codes(const stream *work, const encoder_tables *encoder, unsigned char *to) {
    uint64_t bits = 0; /* from the highest on; fewer than eight of them are waiting between two tokens */
    unsigned waiting = 0;
    for (size_t k = 0; k < work->token_count; k++) {
        token each = work->tokens[k];
        uint32_t entry = encoder->code[each >> 16];
        unsigned length = (entry & 31) + (each >> 16 & 15);
        uint64_t added = (uint64_t)(entry >> 5) << (each >> 16 & 15) | (each & 0xFFFF);
        bits |= added << (64 - waiting - length);
        waiting += length;
        put_word(to, bits);
        to += waiting >> 3;
        bits <<= waiting & 56;
        waiting &= 7;
    }
    if (waiting > 0) {
        put_word(to++, bits | UINT64_MAX >> waiting);
    }
    return to;
}

/* After each byte of ones alone comes a zero, so that it is no marker. */
static void put_scan(stream *work, const encoder_tables *encoder) {
    unsigned char *codes = work->output + work->output_room - work->codes_room;
    unsigned char *end = put_codes(work, encoder, codes);
    while (codes < end) {
        unsigned char *stop = memchr(codes, 0xFF, (size_t)(end - codes));
        size_t length = (size_t)((stop == NULL ? end : stop + 1) - codes);
        memmove(work->output + work->output_length, codes, length);
        work->output_length += length;
        codes += length;
        if (stop != NULL) {
            put_byte(work, 0);
        }
    }
}

static void count_symbols(stream *work) {
    uint64_t *counts = &work->counts[0][0];
    for (size_t k = 0; k < work->token_count; k++) {
        counts[work->tokens[k] >> 16]++;
    }
}

/* What the codes take without stuffed zeros, in bytes, and a word more. */
static size_t room_for_codes(const stream *work) { return work->token_count * 4 + 8; }

/* The codes are first written behind where they belong, with room for a zero after each byte before. */
static void write_result(stream *work) {
    encoder_tables encoder;
    count_symbols(work);
    work->codes_room = room_for_codes(work);
    work->output_room = HEADER_ROOM + 2 * work->codes_room;
    work->output = malloc(work->output_room);
    need(work, work->output != NULL);
    put_headers(work);
    for (int number = 0; number < (work->count == 1 ? 2 : TOKEN_TABLES); number++) {
        put_huffman_table(work, number, &encoder);
    }
    put_scan_header(work);
    put_scan(work, &encoder);
    put_byte(work, 0xFF);
    put_byte(work, EOI);
}

static void convert(stream *work) {
    read_headers(work);
    judge_colour(work);
    measure(work);
    make_quantizers(work);
    work->scan_length = (size_t)(work->end - work->at);
    work->scan = malloc(work->scan_length + PADDING);
    need(work, work->scan != NULL);
    restream_scan(work);
    work->scan_length -= (size_t)(work->end - work->at) + 2;
    write_result(work);
}

int restream(const stream_order *order, stream_result *result) {
    stream *work = calloc(1, sizeof *work);
    decoder_table *tables = calloc(8, sizeof *tables);
    int done = 0;

    if (work != NULL && tables != NULL) {
        work->order = order;
        work->at = order->data;
        work->end = order->data + order->length;
        work->dc = tables;
        work->ac = tables + 4;
        work->adobe_transform = -1;
        if (setjmp(work->leave) == 0) {
            convert(work);
            done = 1;
        }
    }
    if (done) {
        *result = (stream_result){work->output, work->output_length, 0, work->scan_length};
        for (int i = 0; i < work->count; i++) {
            result->coarser_steps += work->components[i].quantizer.coarser_steps;
        }
    }
    if (work != NULL) {
        if (!done) {
            free(work->output);
        }
        free(work->tokens);
        free(work->scan);
    }
    free(work);
    free(tables);
    return done;
}
