/* Make a JPEG smaller, or turn it upright, without decoding it to pixels.

   The quantized DCT coefficients are read, divided by coarser steps, and written again: those of an ordinary file by
   _jpeg_stream.c, which is faster, those of any other with libjpeg-turbo's jpeg_read_coefficients and
   jpeg_write_coefficients. Chroma is not resampled, no colour is converted, nothing is
   clipped. The names and units of the arguments are in jpeg_coefficients.py, the one caller.

   The input is hostile. Whatever libjpeg complains about, be it a warning, ends the work with `Refused`; the
   caller then decodes pixels as if this module were not there. Nothing is printed. The memory of the coefficients is
   bounded before the first of them is read. */

#ifndef WITHOUT_PYTHON /* as fuzzed by imagi_pipeline_tests/core/images/fuzz_jpeg_coefficients.c */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#endif

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "_jpeg_huffman.h"
#include "_jpeg_quantizer.h"
#include "_jpeg_stream.h"

/* Raised when the arguments or the results of `rewrite` change: a build of another number is not used. */
#define INTERFACE 3

#define COMPONENTS 3
#define STEPS (2 * COMPONENTS * DCTSIZE2)
#define MOST_SCANS 100 /* an encoder writes about ten; each one of a bomb costs a pass over all blocks */
#define OUTPUT_CHUNK 65536
#define COUNTED_BLOCKS 4000 /* about as many blocks are looked at to fit the Huffman tables */
#define DC_SYMBOLS 12
#define MEMORY_BESIDES_COEFFICIENTS (1 << 20)

enum huffman { FITTED = 0, EXACT = 1, PROGRESSIVE = 2 };

typedef struct {
    uint64_t dc[2][256], ac[2][256];
} symbol_counts;

typedef struct {
    /* what is asked for */
    const unsigned char *data;
    size_t length;
    const unsigned char *steps; /* tables in natural order: Y, Cb, Cr for chroma with fewer samples than luma, then
                                   for chroma with as many; or NULL to keep the source's */
    double dead_zone, least_ratio;
    enum huffman huffman;
    int orientation, keep_icc;
    size_t most_pixels, most_memory;
    /* the work */
    struct jpeg_decompress_struct source;
    struct jpeg_compress_struct result;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    struct jpeg_destination_mgr destination;
    jmp_buf escape;
    uint16_t source_steps[COMPONENTS][DCTSIZE2]; /* turned as the picture is */
    symbol_counts counts;
    unsigned char *output;
    size_t output_size, output_length;
    int coarser_steps;
    size_t scan_length;
    /* why it ended early */
    const char *refusal;
    char detail[JMSG_LENGTH_MAX];
} job;

/* --- ending early */

static void refuse(job *work, const char *refusal, const char *detail) {
    work->refusal = refusal;
    snprintf(work->detail, sizeof work->detail, "%s", detail);
    longjmp(work->escape, 1);
}

static void on_error(j_common_ptr library) {
    job *work = library->client_data;
    switch (library->err->msg_code) {
    case JERR_OUT_OF_MEMORY:
    case JERR_NO_BACKING_STORE:
        work->refusal = "no_memory";
        break;
    case JERR_ARITH_NOTIMPL:
    case JERR_SOF_UNSUPPORTED:
    case JERR_BAD_PRECISION:
    case JERR_MISMATCHED_QUANT_TABLE:
        work->refusal = "unsupported";
        break;
    default:
        work->refusal = "damaged";
    }
    library->err->format_message(library, work->detail);
    longjmp(work->escape, 1);
}

static void on_message(j_common_ptr library, int level) {
    if (level < 0) { /* a warning: some of the picture is a guess */
        on_error(library);
    }
}

static void on_output(j_common_ptr library) { (void)library; }

static void on_progress(j_common_ptr library) {
    job *work = library->client_data;
    if (work->source.input_scan_number > MOST_SCANS) {
        refuse(work, "unsupported", "too many scans");
    }
}

/* --- where the result goes */

static void start_output(j_compress_ptr result) {
    job *work = result->client_data;
    work->output_size = work->length + OUTPUT_CHUNK;
    work->output = malloc(work->output_size);
    if (work->output == NULL) {
        refuse(work, "no_memory", "no memory for the result");
    }
    result->dest->next_output_byte = work->output;
    result->dest->free_in_buffer = work->output_size;
}

static boolean grow_output(j_compress_ptr result) {
    job *work = result->client_data;
    size_t used = work->output_size;
    unsigned char *grown = realloc(work->output, 2 * used);
    if (grown == NULL) {
        refuse(work, "no_memory", "no memory for the result");
    }
    work->output = grown;
    work->output_size = 2 * used;
    result->dest->next_output_byte = grown + used;
    result->dest->free_in_buffer = used;
    return TRUE;
}

static void end_output(j_compress_ptr result) {
    job *work = result->client_data;
    work->output_length = work->output_size - result->dest->free_in_buffer;
}

/* --- judging the source */

static void judge_header(job *work) {
    j_decompress_ptr source = &work->source;
    int grey = source->num_components == 1 && source->jpeg_color_space == JCS_GRAYSCALE;
    int colour = source->num_components == 3 &&
                 (source->jpeg_color_space == JCS_YCbCr || source->jpeg_color_space == JCS_RGB);
    size_t needed = 0;

    if (!grey && !colour) {
        refuse(work, "unsupported", "colours that are neither grey, YCbCr nor RGB");
    }
    if (source->data_precision != 8 || source->arith_code) {
        refuse(work, "unsupported", "more than 8 bits, or arithmetic coding");
    }
    if ((size_t)source->image_width * source->image_height > work->most_pixels) {
        refuse(work, "too_large", "more pixels than allowed");
    }
    for (int i = 0; i < source->num_components; i++) {
        const jpeg_component_info *component = &source->comp_info[i];
        /* One MCU more each way than there are blocks: rows and columns are padded. */
        size_t across = component->width_in_blocks + (size_t)component->h_samp_factor;
        size_t down = component->height_in_blocks + (size_t)component->v_samp_factor;
        needed += across * down * sizeof(JBLOCK);
    }
    if (work->orientation != 1) {
        needed *= 2;
    }
    if (needed > work->most_memory) {
        refuse(work, "no_memory", "its coefficients need more memory than allowed");
    }
    source->mem->max_memory_to_use = (long)needed + MEMORY_BESIDES_COEFFICIENTS;
    work->result.mem->max_memory_to_use = (long)needed + MEMORY_BESIDES_COEFFICIENTS;
}

static void read_source_steps(job *work) {
    for (int i = 0; i < work->source.num_components; i++) {
        const JQUANT_TBL *table = work->source.comp_info[i].quant_table;
        if (table == NULL) {
            refuse(work, "damaged", "a component without coefficients");
        }
        for (int k = 0; k < DCTSIZE2; k++) {
            if (table->quantval[k] == 0) {
                refuse(work, "damaged", "a quantization step of zero");
            }
            work->source_steps[i][k] = table->quantval[k];
        }
    }
}

static JBLOCKROW block_row(job *work, jvirt_barray_ptr array, JDIMENSION row, boolean writable) {
    j_common_ptr owner = (j_common_ptr)&work->source;
    return owner->mem->access_virt_barray(owner, array, row, 1, writable)[0];
}

/* --- turning upright */

typedef struct {
    int transposed, mirrored, flipped; /* transposed first, then mirrored left to right, then top to bottom */
} turn;

static const turn TURNS[9] = {{0, 0, 0}, {0, 0, 0}, {0, 1, 0}, {0, 1, 1}, {0, 0, 1},
                              {1, 0, 0}, {1, 1, 0}, {1, 1, 1}, {1, 0, 1}};

static void turn_block(const JCOEF *from, JCOEF *to, turn how) {
    for (int v = 0; v < DCTSIZE; v++) {
        for (int u = 0; u < DCTSIZE; u++) {
            JCOEF value = how.transposed ? from[u * DCTSIZE + v] : from[v * DCTSIZE + u];
            int negative = (how.mirrored & u) ^ (how.flipped & v);
            to[v * DCTSIZE + u] = negative & 1 ? (JCOEF)-value : value;
        }
    }
}

static void turn_component(job *work, int number, jvirt_barray_ptr from, jvirt_barray_ptr to, turn how) {
    const jpeg_component_info *component = &work->source.comp_info[number];
    JDIMENSION across = how.transposed ? component->height_in_blocks : component->width_in_blocks;
    JDIMENSION down = how.transposed ? component->width_in_blocks : component->height_in_blocks;

    for (JDIMENSION y = 0; y < down; y++) {
        JBLOCKROW row = block_row(work, to, y, TRUE);
        JDIMENSION from_y = how.flipped ? down - 1 - y : y;
        for (JDIMENSION x = 0; x < across; x++) {
            JDIMENSION from_x = how.mirrored ? across - 1 - x : x;
            JBLOCKROW source = block_row(work, from, how.transposed ? from_x : from_y, FALSE);
            turn_block(source[how.transposed ? from_y : from_x], row[x], how);
        }
    }
}

static void transpose_steps(uint16_t *steps) {
    for (int v = 0; v < DCTSIZE; v++) {
        for (int u = 0; u < v; u++) {
            uint16_t kept = steps[v * DCTSIZE + u];
            steps[v * DCTSIZE + u] = steps[u * DCTSIZE + v];
            steps[u * DCTSIZE + v] = kept;
        }
    }
}

/* Only whole MCUs can change places: the padding of the last ones would become visible. */
static void judge_turn(job *work, turn how) {
    j_decompress_ptr source = &work->source;
    int across_moves = how.transposed ? how.flipped : how.mirrored;
    int down_moves = how.transposed ? how.mirrored : how.flipped;
    if ((across_moves && source->image_width % (unsigned)(source->max_h_samp_factor * DCTSIZE)) ||
        (down_moves && source->image_height % (unsigned)(source->max_v_samp_factor * DCTSIZE))) {
        refuse(work, "unsupported", "a turn of blocks that are not whole");
    }
}

/* Room for the turned coefficients; asked for before those of the source are read, so that libjpeg provides both. */
static void request_turned(job *work, jvirt_barray_ptr *turned, turn how) {
    j_common_ptr owner = (j_common_ptr)&work->source;
    for (int i = 0; i < work->source.num_components; i++) {
        const jpeg_component_info *component = &work->source.comp_info[i];
        JDIMENSION h = (JDIMENSION)component->h_samp_factor, v = (JDIMENSION)component->v_samp_factor;
        JDIMENSION across = (component->width_in_blocks + h - 1) / h * h;
        JDIMENSION down = (component->height_in_blocks + v - 1) / v * v;
        turned[i] = owner->mem->request_virt_barray(owner, JPOOL_IMAGE, TRUE, how.transposed ? down : across,
                                                    how.transposed ? across : down, how.transposed ? h : v);
    }
}

static void turn_all(job *work, const jvirt_barray_ptr *from, const jvirt_barray_ptr *to, turn how) {
    j_compress_ptr result = &work->result;
    for (int i = 0; i < work->source.num_components; i++) {
        turn_component(work, i, from[i], to[i], how);
        if (how.transposed) {
            jpeg_component_info *component = &result->comp_info[i];
            int kept = component->h_samp_factor;
            component->h_samp_factor = component->v_samp_factor;
            component->v_samp_factor = kept;
            transpose_steps(work->source_steps[i]);
        }
    }
    if (how.transposed) {
        JDIMENSION width = result->image_width;
        result->image_width = result->image_height;
        result->image_height = width;
    }
}

/* --- quantizing again */

/* The table of a component: Y's for all three of RGB and for grey. */
static const unsigned char *wanted_steps(job *work, int component) {
    const jpeg_component_info *chroma = &work->source.comp_info[1];
    if (work->source.jpeg_color_space != JCS_YCbCr) {
        return work->steps;
    }
    int is_full = chroma->h_samp_factor == work->source.max_h_samp_factor &&
                  chroma->v_samp_factor == work->source.max_v_samp_factor;
    return work->steps + ((is_full ? COMPONENTS : 0) + component) * DCTSIZE2;
}

static void quantize_block(JCOEF *restrict block, const quantizer *restrict how) {
    for (int k = 0; k < DCTSIZE2; k++) {
        block[k] = quantized(block[k], how->add[k], how->multiply[k]);
    }
}

/* The levels of all AC coefficients of a block or'ed together: more than AC_LIMIT if one of them is. */
static unsigned ac_levels(const JCOEF *block) {
    unsigned seen = 0;
    for (int k = 0; k < DCTSIZE2; k++) {
        int16_t sign = (int16_t)(block[k] >> 15);
        uint16_t level = (uint16_t)((block[k] ^ sign) - sign);
        seen |= k == 0 ? 0 : level;
    }
    return seen;
}

static void count_ac_symbols(const JCOEF *block, uint64_t *counts) {
    unsigned run = 0;
    for (int k = 1; k < DCTSIZE2; k++) {
        int value = block[NATURAL_ORDER[k]];
        if (value == 0) {
            run++;
            continue;
        }
        while (run > 15) {
            counts[0xF0]++;
            run -= 16;
        }
        counts[run << 4 | bits_of(value)]++;
        run = 0;
    }
    if (run > 0) {
        counts[0]++;
    }
}

static void quantize_row(job *work, JBLOCKROW row, JDIMENSION blocks, const quantizer *how) {
    unsigned seen = 0;
    for (JDIMENSION x = 0; x < blocks; x++) {
        seen |= ac_levels(row[x]);
        if (row[x][0] < -DC_LIMIT || row[x][0] >= DC_LIMIT) {
            refuse(work, "damaged", "a coefficient out of range");
        }
        if (how->coarser_steps) {
            quantize_block(row[x], how);
        }
    }
    if (seen > AC_LIMIT) {
        refuse(work, "damaged", "a coefficient out of range");
    }
}

static void count_row(job *work, JBLOCKROW row, JDIMENSION blocks, int table) {
    int previous = 0;
    for (JDIMENSION x = 0; x < blocks; x++) {
        /* Left to right, not in the order of MCUs: nearly the same differences, and every DC symbol has a code. */
        work->counts.dc[table][bits_of(row[x][0] - previous)]++;
        previous = row[x][0];
        count_ac_symbols(row[x], work->counts.ac[table]);
    }
}

static void quantize_component(job *work, int number, jvirt_barray_ptr blocks, JDIMENSION counted_of_rows) {
    const jpeg_component_info *component = &work->source.comp_info[number];
    turn how = TURNS[work->orientation];
    JDIMENSION across = how.transposed ? component->height_in_blocks : component->width_in_blocks;
    JDIMENSION down = how.transposed ? component->width_in_blocks : component->height_in_blocks;
    quantizer made = make_quantizer(work->source_steps[number], work->steps == NULL ? NULL : wanted_steps(work, number),
                                    work->dead_zone, work->least_ratio);
    int table = work->result.comp_info[number].ac_tbl_no;

    for (JDIMENSION y = 0; y < down; y++) {
        JBLOCKROW row = block_row(work, blocks, y, TRUE);
        quantize_row(work, row, across, &made);
        if (work->huffman == FITTED && y % counted_of_rows == counted_of_rows / 2) {
            count_row(work, row, across, table);
        }
    }
    memcpy(work->source_steps[number], made.step, sizeof made.step);
    work->coarser_steps += made.coarser_steps;
}

/* The steps are in the file once for each different table. */
static void set_tables(job *work) {
    j_compress_ptr result = &work->result;
    for (int i = 0; i < result->num_components; i++) {
        int same = 0;
        while (memcmp(work->source_steps[same], work->source_steps[i], sizeof work->source_steps[i]) != 0) {
            same++;
        }
        if (result->quant_tbl_ptrs[same] == NULL) {
            result->quant_tbl_ptrs[same] = jpeg_alloc_quant_table((j_common_ptr)result);
        }
        memcpy(result->quant_tbl_ptrs[same]->quantval, work->source_steps[i], sizeof work->source_steps[i]);
        result->quant_tbl_ptrs[same]->sent_table = FALSE;
        result->comp_info[i].quant_tbl_no = same;
    }
}

/* --- Huffman tables */

static void fit_table(const uint64_t *counts, JHUFF_TBL *table) {
    huffman_table fitted;
    fit_huffman_table(counts, &fitted);
    memcpy(table->bits, fitted.codes_of_length, sizeof table->bits);
    memcpy(table->huffval, fitted.symbols, sizeof table->huffval);
    table->sent_table = FALSE;
}

/* Every symbol that can occur gets a code, unless all blocks were counted. */
static void complete_counts(symbol_counts *counts, int table, int all_counted) {
    for (int symbol = 0; symbol < DC_SYMBOLS; symbol++) {
        counts->dc[table][symbol] = 8 * counts->dc[table][symbol] + 1;
    }
    for (int symbol = 0; symbol < 256; symbol++) {
        int bits = symbol & 15;
        int possible = symbol == 0 || symbol == 0xF0 || (bits >= 1 && bits <= 10);
        /* Blocks of nothing, which pad the last MCUs, are never counted. */
        int needed = possible && (symbol == 0 || !all_counted);
        counts->ac[table][symbol] = 8 * counts->ac[table][symbol] + (unsigned)needed;
    }
}

static void fit_huffman_tables(job *work, int all_counted) {
    int used[2] = {0, 0};
    for (int i = 0; i < work->result.num_components; i++) {
        used[work->result.comp_info[i].ac_tbl_no] = 1;
    }
    for (int table = 0; table < 2; table++) {
        if (used[table]) {
            complete_counts(&work->counts, table, all_counted);
            fit_table(work->counts.dc[table], work->result.dc_huff_tbl_ptrs[table]);
            fit_table(work->counts.ac[table], work->result.ac_huff_tbl_ptrs[table]);
        }
    }
}

/* --- the whole */

static JDIMENSION rows_for_each_counted(job *work) {
    size_t blocks = 0;
    for (int i = 0; i < work->source.num_components; i++) {
        const jpeg_component_info *component = &work->source.comp_info[i];
        blocks += (size_t)component->width_in_blocks * component->height_in_blocks;
    }
    return blocks <= 2 * COUNTED_BLOCKS ? 1 : (JDIMENSION)(blocks / COUNTED_BLOCKS);
}

static void write_icc(job *work) {
    if (!work->keep_icc) {
        return;
    }
    for (jpeg_saved_marker_ptr marker = work->source.marker_list; marker != NULL; marker = marker->next) {
        if (marker->data_length >= 14 && memcmp(marker->data, "ICC_PROFILE", 12) == 0) {
            jpeg_write_marker(&work->result, JPEG_APP0 + 2, marker->data, marker->data_length);
        }
    }
}

static void write_result(job *work, jvirt_barray_ptr *blocks) {
    j_compress_ptr result = &work->result;
    if (work->huffman == PROGRESSIVE) {
        jpeg_simple_progression(result);
    }
    result->optimize_coding = work->huffman == EXACT || work->huffman == PROGRESSIVE;
    result->dest = &work->destination;
    jpeg_write_coefficients(result, blocks);
    write_icc(work);
    jpeg_finish_compress(result);
}

static void set_up(job *work) {
    memset(&work->source, 0, sizeof work->source);
    memset(&work->result, 0, sizeof work->result);
    jpeg_std_error(&work->errors);
    work->errors.error_exit = on_error;
    work->errors.emit_message = on_message;
    work->errors.output_message = on_output;
    work->source.err = work->result.err = &work->errors;
    work->source.client_data = work->result.client_data = work;
    work->progress.progress_monitor = on_progress;
    work->destination.init_destination = start_output;
    work->destination.empty_output_buffer = grow_output;
    work->destination.term_destination = end_output;
}

static void convert(job *work) {
    j_decompress_ptr source = &work->source;
    jvirt_barray_ptr turned[COMPONENTS] = {NULL, NULL, NULL};
    turn how = TURNS[work->orientation];

    jpeg_create_decompress(source);
    jpeg_create_compress(&work->result);
    jpeg_mem_src(source, work->data, (unsigned long)work->length);
    if (work->keep_icc) {
        jpeg_save_markers(source, JPEG_APP0 + 2, 0xFFFF);
    }
    jpeg_read_header(source, TRUE);
    judge_header(work);
    judge_turn(work, how);
    source->progress = &work->progress;
    if (work->orientation != 1) {
        request_turned(work, turned, how);
    }
    jvirt_barray_ptr *blocks = jpeg_read_coefficients(source);
    jpeg_copy_critical_parameters(source, &work->result);
    read_source_steps(work);
    if (work->orientation != 1) {
        turn_all(work, blocks, turned, how);
        blocks = turned;
    }
    JDIMENSION counted_of_rows = rows_for_each_counted(work);
    for (int i = 0; i < source->num_components; i++) {
        quantize_component(work, i, blocks[i], counted_of_rows);
    }
    set_tables(work);
    if (work->huffman == FITTED) {
        fit_huffman_tables(work, counted_of_rows == 1);
    }
    write_result(work, blocks);
}

/* Most files need no library, see _jpeg_stream.h. */
static int run_stream(job *work) {
    stream_order order = {work->data,        work->length,      work->steps,      work->dead_zone,
                          work->least_ratio, work->most_pixels, work->most_memory};
    stream_result made;
    if (work->huffman != FITTED || work->orientation != 1 || work->keep_icc || !restream(&order, &made)) {
        return 0;
    }
    work->output = made.data;
    work->output_length = made.length;
    work->coarser_steps = made.coarser_steps;
    work->scan_length = made.scan_length;
    return 1;
}

/* True when the result is there; otherwise `refusal` and `detail` are. */
static int run(job *work) {
    if (run_stream(work)) {
        return 1;
    }
    set_up(work);
    if (setjmp(work->escape) == 0) {
        convert(work);
    }
    jpeg_destroy_compress(&work->result);
    jpeg_destroy_decompress(&work->source);
    return work->refusal == NULL;
}

/* --- for Python */

#ifndef WITHOUT_PYTHON

static PyObject *rewrite(PyObject *module, PyObject *arguments) {
    Py_ssize_t length, steps_length = 0, most_pixels, most_memory;
    int huffman;
    PyObject *made = NULL;
    job *work = calloc(1, sizeof *work);
    if (work == NULL) {
        return PyErr_NoMemory();
    }
    if (!PyArg_ParseTuple(arguments, "y#z#ddiipnn:rewrite", &work->data, &length, &work->steps, &steps_length,
                          &work->dead_zone, &work->least_ratio, &huffman, &work->orientation, &work->keep_icc,
                          &most_pixels, &most_memory)) {
        free(work);
        return NULL;
    }
    if ((work->steps != NULL && (steps_length != STEPS || memchr(work->steps, 0, (size_t)steps_length))) ||
        !(work->dead_zone >= 0 && work->dead_zone <= 0.5) || huffman < FITTED || huffman > PROGRESSIVE ||
        work->orientation < 1 || work->orientation > 8 || most_pixels < 0 || most_memory < 0) {
        free(work);
        PyErr_SetString(PyExc_ValueError, "an argument of rewrite is out of its range");
        return NULL;
    }
    work->length = (size_t)length;
    work->huffman = (enum huffman)huffman;
    work->most_pixels = (size_t)most_pixels;
    work->most_memory = (size_t)most_memory;

    int done;
    Py_BEGIN_ALLOW_THREADS
    done = run(work);
    Py_END_ALLOW_THREADS

    if (done) {
        made = Py_BuildValue("y#in", (char *)work->output, (Py_ssize_t)work->output_length, work->coarser_steps,
                             (Py_ssize_t)work->scan_length);
    } else {
        PyObject *refused = PyObject_GetAttrString(module, "Refused");
        PyObject *values = Py_BuildValue("(ss)", work->refusal, work->detail);
        if (refused != NULL && values != NULL) {
            PyErr_SetObject(refused, values);
        }
        Py_XDECREF(refused);
        Py_XDECREF(values);
    }
    free(work->output);
    free(work);
    return made;
}

static PyMethodDef METHODS[] = {
    {"rewrite", rewrite, METH_VARARGS,
     "rewrite(data, steps, dead_zone, least_ratio, huffman, orientation, keep_icc, most_pixels, most_memory)\n--\n\n"
     "The same JPEG with these quantization steps, and how many steps were made coarser. Raises Refused."},
    {NULL, NULL, 0, NULL}};

static int execute(PyObject *module) {
    PyObject *refused = PyErr_NewExceptionWithDoc("imagi_pipeline.core.images._jpeg_coefficients.Refused",
                                                  "This JPEG is left to the decoder; args are a code and a detail.",
                                                  NULL, NULL);
    if (refused == NULL || PyModule_AddObjectRef(module, "Refused", refused) < 0) {
        Py_XDECREF(refused);
        return -1;
    }
    Py_DECREF(refused);
    if (PyModule_AddIntConstant(module, "INTERFACE", INTERFACE) < 0) {
        return -1;
    }
    return PyModule_AddIntConstant(module, "LIBJPEG_TURBO", LIBJPEG_TURBO_VERSION_NUMBER);
}

static PyModuleDef_Slot SLOTS[] = {{Py_mod_exec, (void *)execute}, {0, NULL}};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT,
                                    "_jpeg_coefficients",
                                    "JPEGs made smaller in their coefficients, with libjpeg-turbo.",
                                    0,
                                    METHODS,
                                    SLOTS,
                                    NULL,
                                    NULL,
                                    NULL};

PyMODINIT_FUNC PyInit__jpeg_coefficients(void) { return PyModuleDef_Init(&MODULE); }

#endif
