/* Correlation of one interleaved image with one kernel, in space.

A block of ROWS x COLUMNS vectors of the result stays in registers while the taps go by, so that an input vector is
loaded once for ROWS rows of the result. Taps are added in the order of the kernel's rows, left to right. */

#include <stdlib.h>

#include "simd.h"

enum { ROWS = 4, COLUMNS = LANES == 16 ? 4 : 2, TILE = COLUMNS * LANES };

/* A block of y: x is what its top left tap meets, k has ROWS - 1 rows of zeros above and below. */
INLINE void block(const float *x, long xs, const float *k, long kh, long kw, float *y, long ys, long step) {
    vf sum[ROWS][COLUMNS] = {0};
    for (long a = 0; a < kh + ROWS - 1; a++)
        for (long b = 0; b < kw; b++) {
            vf in[COLUMNS];
            for (int v = 0; v < COLUMNS; v++) in[v] = load(x + a * xs + b * step + v * LANES);
            for (int r = 0; r < ROWS; r++) {
                vf tap = splat(k[(a + ROWS - 1 - r) * kw + b]);
                for (int v = 0; v < COLUMNS; v++) sum[r][v] = madd(tap, in[v], sum[r][v]);
            }
        }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < COLUMNS; v++) store(y + r * ys + v * LANES, sum[r][v]);
}

/* What is less than a block: one element after the other. */
static void rest(const float *x, long xs, const float *k, long kh, long kw, float *y, long ys, long rows, long count,
                 long step) {
    for (long i = 0; i < rows; i++)
        for (long j = 0; j < count; j++) {
            float sum = 0;
            for (long a = 0; a < kh; a++)
                for (long b = 0; b < kw; b++)
                    sum = __builtin_fmaf(k[a * kw + b], x[(i + a) * xs + j + b * step], sum);
            y[i * ys + j] = sum;
        }
}

/* Blocks that do not fit at the end are moved back over what is done: they find the same again. */
static void down(const float *x, long xs, const float *k, const float *padded, long kh, long kw, float *y, long ys,
                 long rows, long count, long step) {
    if (rows < ROWS || count < TILE) {
        rest(x, xs, k, kh, kw, y, ys, rows, count, step);
        return;
    }
    for (long i = 0; i < rows; i += ROWS) {
        long at = i + ROWS > rows ? rows - ROWS : i;
        for (long j = 0; j < count; j += TILE) {
            long from = j + TILE > count ? count - TILE : j;
            block(x + at * xs + from, xs, padded, kh, kw, y + at * ys + from, ys, step);
        }
    }
}

/* A kernel with ROWS - 1 rows of zeros above and below, or NULL. */
static float *padded_rows(const float *k, long kh, long kw) {
    float *wide = calloc((kh + 2 * (ROWS - 1)) * kw, sizeof *wide);
    if (wide) memcpy(wide + (ROWS - 1) * kw, k, kh * kw * sizeof *k);
    return wide;
}

/* y[i, j] = sum_ab k[a, b] x[i + a, j + b step]: `rows` rows of `count` floats; x has its border. Returns 0, or 1 if
   there is no memory. */
EXPORT int correlate(const float *x, long xs, const float *k, long kh, long kw, float *y, long ys, long rows,
                     long count, long step) {
    float *padded = padded_rows(k, kh, kw);
    if (!padded) return 1;
    down(x, xs, k, padded, kh, kw, y, ys, rows, count, step);
    free(padded);
    return 0;
}

/* --- across: LANES rows at a time, turned so that a vector is a column ------------------------------------------- */

enum { RUN = LANES == 16 ? 16 : 8 }; /* results in registers at a time, `step` apart */

/* Columns of LANES rows: y[j] = x[:, j]. */
static void turn(const float *x, long xs, float *y, long count) {
    for (long j = 0; j < count; j += LANES) {
        long from = j + LANES > count ? count - LANES : j;
        vf part[LANES];
        for (int r = 0; r < LANES; r++) part[r] = load(x + r * xs + from);
        transpose(part);
        for (int r = 0; r < LANES; r++) store(y + (from + r) * LANES, part[r]);
    }
}

static void turn_back(const float *x, float *y, long ys, long count) {
    for (long j = 0; j < count; j += LANES) {
        long from = j + LANES > count ? count - LANES : j;
        vf part[LANES];
        for (int r = 0; r < LANES; r++) part[r] = load(x + (from + r) * LANES);
        transpose(part);
        for (int r = 0; r < LANES; r++) store(y + r * ys + from, part[r]);
    }
}

/* Columns j, j + step, ... of y; k has RUN - 1 zeros before and after its taps. */
INLINE void run(const float *x, const float *k, long kw, float *y, long step) {
    vf sum[RUN] = {0};
    for (long t = 0; t < kw + RUN - 1; t++) {
        vf in = load(x + t * step * LANES);
        for (int u = 0; u < RUN; u++) sum[u] = madd(splat(k[t + RUN - 1 - u]), in, sum[u]);
    }
    for (int u = 0; u < RUN; u++) store(y + u * step * LANES, sum[u]);
}

static void across(const float *x, const float *k, long kw, float *y, long width, long step) {
    for (long c = 0; c < step; c++)
        for (long j = 0; j < width; j += RUN) {
            long from = (j + RUN > width ? width - RUN : j) * step + c;
            run(x + from * LANES, k, kw, y + from * LANES, step);
        }
}

/* `correlate` with the outer product of `vertical` (kh taps) and `horizontal` (kw taps): down and then across a few
   rows at a time, which stay in cache. */
EXPORT int correlate_separable(const float *x, long xs, const float *vertical, long kh, const float *horizontal,
                               long kw, float *y, long ys, long rows, long count, long step) {
    long wide = count + (kw - 1) * step;
    int small = rows < LANES || count / step < RUN || wide < TILE;
    float *memory = malloc((2 * wide + count) * LANES * sizeof *memory);
    float *padded = padded_rows(vertical, kh, 1), *taps = calloc(kw + 2 * (RUN - 1), sizeof *taps);
    int failed = !memory || !padded || !taps;
    if (!failed) {
        float *strip = memory, *turned = strip + LANES * wide, *done = turned + LANES * wide;
        memcpy(taps + RUN - 1, horizontal, kw * sizeof *horizontal);
        for (long i = 0; i < rows; i += LANES) {
            long at = !small && i + LANES > rows ? rows - LANES : i, some = small && rows - i < LANES ? rows - i : LANES;
            down(x + at * xs, xs, vertical, padded, kh, 1, strip, wide, some, wide, 1);
            if (small) {
                rest(strip, wide, horizontal, 1, kw, y + at * ys, ys, some, count, step);
                continue;
            }
            turn(strip, wide, turned, wide);
            across(turned, taps, kw, done, count / step, step);
            turn_back(done, y + at * ys, ys, count);
        }
    }
    free(memory);
    free(padded);
    free(taps);
    return failed;
}
