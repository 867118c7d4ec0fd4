/* Fuzz the native extension without Python: mutated JPEGs, arguments by chance, under AddressSanitizer and UBSan.

     fuzz SEED COUNT FILES...

   Whatever is accepted must have become a JPEG that is accepted again and keeps its coefficients: a result of its own
   lossless rewriting is rewritten to the same bytes. What was done without libjpeg-turbo, it accepts too, and makes the
   same coefficients of it. Leaks are counted by LeakSanitizer at the end. */

#define WITHOUT_PYTHON
#include "../../../imagi_pipeline/core/images/_jpeg_coefficients.c"
#include "../../../imagi_pipeline/core/images/_jpeg_stream.h"

#define MOST_MUTATIONS 12
#define MOST_PIXELS 1000000
#define MOST_MEMORY (16 << 20)

typedef struct {
    unsigned char *data;
    size_t length;
} file;

static uint64_t state;

static uint32_t below(uint32_t limit) { /* xorshift64* (Vigna 2016) */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 2685821657736338717ULL) >> 32) % limit;
}

static file read_file(const char *path) {
    file made = {NULL, 0};
    FILE *stream = fopen(path, "rb");
    if (stream == NULL || fseek(stream, 0, SEEK_END) != 0) {
        perror(path);
        exit(2);
    }
    made.length = (size_t)ftell(stream);
    rewind(stream);
    made.data = malloc(made.length);
    if (made.data == NULL || fread(made.data, 1, made.length, stream) != made.length) {
        perror(path);
        exit(2);
    }
    fclose(stream);
    return made;
}

/* A copy of exactly its own length, so that reading one byte too many is seen. */
static file mutated(const file *seed) {
    size_t length = seed->length;
    unsigned char *data = malloc(2 * length);
    memcpy(data, seed->data, length);
    for (uint32_t left = below(2) ? 1 : below(MOST_MUTATIONS); left > 0; left--) {
        /* Half of them in the headers, where the structure is. */
        size_t place = below(2) && length > 700 ? below(700) : below((uint32_t)length);
        size_t run = 1 + below(40);
        run = run < length - place ? run : length - place;
        switch (below(7)) {
        case 0:
            data[place] ^= (unsigned char)(1 << below(8));
            break;
        case 1:
            data[place] = (unsigned char)below(256);
            break;
        case 2:
            data[place] = below(2) ? 0xFF : 0;
            break;
        case 3:
            memmove(data + place, data + below((uint32_t)(length - run + 1)), run);
            break;
        case 4:
            if (length > run + 2 && place + run <= length) {
                memmove(data + place, data + place + run, length - place - run);
                length -= run;
            }
            break;
        case 5:
            if (length + run <= 2 * seed->length) {
                memmove(data + place + run, data + place, length - place);
                length += run;
            }
            break;
        default:
            if (below(4) == 0 && place > 2) {
                length = place;
            }
        }
    }
    file made = {malloc(length), length};
    memcpy(made.data, data, length);
    free(data);
    return made;
}

static void ask(job *work, const file *source, const unsigned char *steps, int orientation, enum huffman huffman) {
    memset(work, 0, sizeof *work);
    work->data = source->data;
    work->length = source->length;
    work->steps = steps;
    work->dead_zone = 0.35;
    work->least_ratio = 1.5;
    work->huffman = huffman;
    work->orientation = orientation;
    work->keep_icc = (int)below(2);
    work->most_pixels = MOST_PIXELS;
    work->most_memory = MOST_MEMORY;
}

/* Rewriting the result of a lossless rewriting must give the same bytes again. */
static void check_result(const unsigned char *output, size_t length) {
    static job once, twice;
    file result = {malloc(length), length};
    memcpy(result.data, output, length);
    ask(&once, &result, NULL, 1, EXACT);
    once.keep_icc = 0;
    if (!run(&once)) {
        fprintf(stderr, "a result is refused: %s, %s\n", once.refusal, once.detail);
        abort();
    }
    file again = {once.output, once.output_length};
    ask(&twice, &again, NULL, 1, EXACT);
    twice.keep_icc = 0;
    if (!run(&twice) || twice.output_length != once.output_length ||
        memcmp(twice.output, once.output, once.output_length) != 0) {
        fprintf(stderr, "a result does not stay as it is\n");
        abort();
    }
    free(once.output);
    free(twice.output);
    free(result.data);
}

/* The same coefficients are the same bytes once libjpeg-turbo has written both. */
static void canonical(job *made, const unsigned char *data, size_t length, const unsigned char *steps) {
    file source = {malloc(length), length};
    memcpy(source.data, data, length);
    ask(made, &source, steps, 1, EXACT);
    made->keep_icc = 0;
    if (!run(made)) {
        fprintf(stderr, "refused, but not without libjpeg-turbo: %s, %s\n", made->refusal, made->detail);
        abort();
    }
    free(source.data);
}

/* True if the file needed no library. */
static int check_stream(const file *source, const unsigned char *steps) {
    static job work, streamed, expected, twice;
    ask(&work, source, steps, 1, FITTED);
    work.keep_icc = 0;
    if (!run_stream(&work)) {
        return 0;
    }
    canonical(&streamed, work.output, work.output_length, NULL);
    canonical(&expected, source->data, source->length, steps);
    canonical(&twice, expected.output, expected.output_length, NULL);
    if (streamed.output_length != twice.output_length ||
        memcmp(streamed.output, twice.output, twice.output_length) != 0) {
        fprintf(stderr, "other coefficients than those of libjpeg-turbo\n");
        abort();
    }
    free(work.output);
    free(streamed.output);
    free(expected.output);
    free(twice.output);
    return 1;
}

int main(int argc, char **argv) {
    static job work;
    unsigned long accepted = 0, refused = 0, streamed = 0;
    unsigned char steps[STEPS];
    int seeds = argc - 3;

    if (seeds < 1) {
        fprintf(stderr, "usage: fuzz SEED COUNT FILES...\n");
        return 2;
    }
    file *files = calloc((size_t)seeds, sizeof *files);
    for (int i = 0; i < seeds; i++) {
        files[i] = read_file(argv[i + 3]);
    }
    state = strtoull(argv[1], NULL, 10) * 0x9E3779B97F4A7C15ULL + 1;
    for (unsigned long left = strtoul(argv[2], NULL, 10); left > 0; left--) {
        file source = mutated(&files[below((uint32_t)seeds)]);
        for (int k = 0; k < STEPS; k++) {
            steps[k] = (unsigned char)(1 + below(255));
        }
        ask(&work, &source, below(3) ? steps : NULL, below(3) ? 1 : 1 + (int)below(8), (enum huffman)below(3));
        streamed += (unsigned long)check_stream(&source, work.steps);
        if (run(&work)) {
            accepted++;
            check_result(work.output, work.output_length);
        } else {
            refused++;
        }
        free(work.output);
        free(source.data);
    }
    for (int i = 0; i < seeds; i++) {
        free(files[i].data);
    }
    free(files);
    printf("%lu accepted, %lu refused, %lu without libjpeg-turbo\n", accepted, refused, streamed);
    return 0;
}
