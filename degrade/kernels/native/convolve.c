/* Correlation of one interleaved image with one kernel, in space, and the unsharp masking made of it.

A block of ROWS x COLUMNS vectors of the result stays in registers while the taps go by, so that an input vector is
loaded once for ROWS rows of the result. Taps are added in the order of the kernel's rows, left to right. */

#include <stdlib.h>

#include "simd.h"

enum { ROWS = 4, COLUMNS = LANES == 16 ? 4 : 2, TILE = COLUMNS * LANES };

/* A kernel with ROWS - 1 rows of zeros above and below. Its rows a, ..., a + ROWS - 1 have taps in [from[a], to[a]):
   that of a slanted ellipse is mostly zeros. */
typedef struct {
    float *taps;
    long *from, *to, height, width;
} Kernel;

/* A block of y from column j on: x are the rows that its first tap meets, and those that follow. */
INLINE void block(const float *const *x, long j, const Kernel *k, float *y, long ys, long step) {
    vf sum[ROWS][COLUMNS] = {0};
    for (long a = 0; a < k->height + ROWS - 1; a++)
        for (long b = k->from[a]; b < k->to[a]; b++) {
            vf in[COLUMNS];
            for (int v = 0; v < COLUMNS; v++) in[v] = load(x[a] + j + b * step + v * LANES);
            for (int r = 0; r < ROWS; r++) {
                vf tap = splat(k->taps[(a + ROWS - 1 - r) * k->width + b]);
                for (int v = 0; v < COLUMNS; v++) sum[r][v] = madd(tap, in[v], sum[r][v]);
            }
        }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < COLUMNS; v++) store(y + r * ys + j + v * LANES, sum[r][v]);
}

/* What is less than a block: one element after the other. */
static void rest(const float *const *x, const Kernel *k, float *y, long ys, long rows, long count, long step) {
    const float *taps = k->taps + (ROWS - 1) * k->width;
    for (long i = 0; i < rows; i++)
        for (long j = 0; j < count; j++) {
            float sum = 0;
            for (long a = 0; a < k->height; a++)
                for (long b = 0; b < k->width; b++)
                    sum = __builtin_fmaf(taps[a * k->width + b], x[i + a][j + b * step], sum);
            y[i * ys + j] = sum;
        }
}

/* `rows` rows of `count` floats of y. Blocks that do not fit at the end are moved back over what is done: they find the
   same again. */
static void down(const float *const *x, const Kernel *k, float *y, long ys, long rows, long count, long step) {
    if (rows < ROWS || count < TILE) {
        rest(x, k, y, ys, rows, count, step);
        return;
    }
    for (long i = 0; i < rows; i += ROWS) {
        long at = i + ROWS > rows ? rows - ROWS : i;
        for (long j = 0; j < count; j += TILE)
            block(x + at, j + TILE > count ? count - TILE : j, k, y + at * ys, ys, step);
    }
}

/* Returns whether there is memory; `drop` gives it back either way. */
static int make(Kernel *k, const float *taps, long height, long width) {
    long groups = height + ROWS - 1, rows = groups + ROWS - 1;
    *k = (Kernel){calloc(rows * width, sizeof *taps), malloc(groups * sizeof(long)), malloc(groups * sizeof(long)),
                  height, width};
    if (!k->taps || !k->from || !k->to) return 0;
    memcpy(k->taps + (ROWS - 1) * width, taps, height * width * sizeof *taps);
    for (long a = 0; a < groups; a++) {
        k->from[a] = width, k->to[a] = 0;
        for (long i = 0; i < ROWS * width; i++)
            if (k->taps[a * width + i] != 0) {
                long b = i % width;
                if (b < k->from[a]) k->from[a] = b;
                if (b >= k->to[a]) k->to[a] = b + 1;
            }
    }
    return 1;
}

static void drop(Kernel *k) {
    free(k->taps);
    free(k->from);
    free(k->to);
}

/* y[i, j] = sum_ab k[a, b] x[i + a, j + b step]: `rows` rows of `count` floats; x has its border. Returns 0, or 1 if
   there is no memory. */
EXPORT int correlate(const float *x, long xs, const float *k, long kh, long kw, float *y, long ys, long rows,
                     long count, long step) {
    Kernel kernel;
    const float **lines = malloc((rows + kh) * sizeof *lines);
    int made = make(&kernel, k, kh, kw) && lines;
    if (made) {
        for (long i = 0; i < rows + kh - 1; i++) lines[i] = x + i * xs;
        down(lines, &kernel, y, ys, rows, count, step);
    }
    free((void *)lines);
    drop(&kernel);
    return !made;
}

/* --- separable kernels: LANES rows at a time, down, and then turned so that a vector is a column ------------------- */

enum { RUN = LANES == 16 ? 8 : 4 }; /* results of a channel in registers at a time */

typedef struct {
    Kernel vertical;
    float *taps; /* across, with RUN - 1 zeros on both sides */
    float *strip, *turned, *done;
    const float **lines; /* the rows of the image with its border */
    long stride, width, rows, columns, channels;
    int reflect;
} Separable;

/* Where the border's pixel i comes from: d c b | a b c d | c b a, or a a a | a b c d | d d d. */
INLINE long inside(long i, long n, int reflect) {
    if (!reflect || n == 1) return i < 0 ? 0 : i >= n ? n - 1 : i;
    long period = 2 * (n - 1);
    i = i < 0 ? -i % period : i % period;
    return i < n ? i : period - i;
}

static void end(Separable *s) {
    drop(&s->vertical);
    free(s->taps);
    free(s->strip);
    free((void *)s->lines);
}

static int begin(Separable *s, const float *vertical, long kh, const float *horizontal, long kw, long rows,
                 long columns, long channels, int reflect) {
    long count = columns * channels, least = count < LANES ? LANES : count;
    s->stride = least, s->width = kw, s->rows = rows, s->columns = columns, s->channels = channels, s->reflect = reflect;
    s->taps = calloc(kw + 2 * (RUN - 1), sizeof *s->taps);
    s->strip = calloc((3 * least + (kw - 1) * channels) * LANES, sizeof *s->strip);
    s->lines = malloc((rows + kh + LANES) * sizeof *s->lines);
    if (!make(&s->vertical, vertical, kh, 1) || !s->taps || !s->strip || !s->lines) return 0;
    memcpy(s->taps + RUN - 1, horizontal, kw * sizeof *horizontal);
    s->done = s->strip + least * LANES;
    s->turned = s->done + least * LANES;
    return 1;
}

/* Takes the image x, of which row i is in place i % kept. */
static void take(Separable *s, const float *x, long xs, long kept) {
    long kh = s->vertical.height;
    for (long i = 0; i < s->rows + kh + LANES; i++) /* some more, for a last strip that is not whole */
        s->lines[i] = x + inside(i - kh / 2, s->rows, s->reflect) % kept * xs;
}

/* Pixels j, ..., j + RUN - 1 of `channels` channels of LANES rows. */
INLINE void run(const float *x, const float *k, long kw, float *y, int channels) {
    vf sum[RUN][3] = {0};
    for (long t = 0; t < kw + RUN - 1; t++) {
        vf in[3];
        for (int c = 0; c < channels; c++) in[c] = load(x + (t * channels + c) * LANES);
        for (int u = 0; u < RUN; u++) {
            vf tap = splat(k[t + RUN - 1 - u]);
            for (int c = 0; c < channels; c++) sum[u][c] = madd(tap, in[c], sum[u][c]);
        }
    }
    for (int u = 0; u < RUN; u++)
        for (int c = 0; c < channels; c++) store(y + (u * channels + c) * LANES, sum[u][c]);
}

INLINE void runs(Separable *s, int channels) {
    for (long j = 0; j < s->columns; j += RUN) {
        long from = (j + RUN > s->columns ? s->columns - RUN : j) * channels;
        run(s->turned + from * LANES, s->taps, s->width, s->done + from * LANES, channels);
    }
}

/* LANES rows of the result from row i on, `stride` floats apart; those beyond the last are of no use. */
static const float *strip(Separable *s, long i) {
    long channels = s->channels, count = s->columns * channels, border = s->width / 2;
    down(s->lines + i, &s->vertical, s->strip, s->stride, LANES, count, 1);
    turn(s->strip, s->stride, s->turned + border * channels * LANES, s->stride);
    for (long j = 0; j < 2 * border; j++) { /* columns of the border: left, then right */
        long to = j < border ? j - border : s->columns + j - border;
        memcpy(s->turned + (to + border) * channels * LANES,
               s->turned + (inside(to, s->columns, s->reflect) + border) * channels * LANES,
               channels * LANES * sizeof(float));
    }
    if (s->columns < RUN || (channels != 1 && channels != 3))
        for (long j = 0; j < count; j++) {
            vf sum = {0};
            for (long b = 0; b < s->width; b++)
                sum = madd(splat(s->taps[RUN - 1 + b]), load(s->turned + (j + b * channels) * LANES), sum);
            store(s->done + j * LANES, sum);
        }
    else if (channels == 3)
        runs(s, 3);
    else
        runs(s, 1);
    turn_back(s->done, s->strip, s->stride, s->stride);
    return s->strip;
}

/* `correlate` with the outer product of `vertical` (kh taps) and `horizontal` (kw taps), of an image without a border:
   `reflect` says which it is to have. */
EXPORT int correlate_separable(const float *x, long xs, const float *vertical, long kh, const float *horizontal,
                               long kw, float *y, long ys, long rows, long columns, long channels, int reflect) {
    Separable s = {0};
    int begun = begin(&s, vertical, kh, horizontal, kw, rows, columns, channels, reflect);
    if (begun) take(&s, x, xs, rows);
    for (long i = 0; begun && i < rows; i += LANES) {
        const float *made = strip(&s, i);
        for (long r = 0; r < LANES && i + r < rows; r++)
            memcpy(y + (i + r) * ys, made + r * s.stride, columns * channels * sizeof *y);
    }
    end(&s);
    return !begun;
}

/* --- unsharp masking --------------------------------------------------------------------------------------------- */

/* mask = |x - blurred| > threshold. */
static void edges(const float *restrict x, const float *restrict blurred, float *restrict mask, long count,
                  float threshold) {
    for (long j = 0; j < count; j++) mask[j] = __builtin_fabsf(x[j] - blurred[j]) > threshold ? 1.0f : 0.0f;
}

/* y = x + soft (clip(x + amount (x - y)) - x), in place of the blurred y. */
static void sharpen(const float *restrict x, const float *restrict soft, float *restrict y, long count, float amount) {
    for (long j = 0; j < count; j++) {
        float sharp = __builtin_fmaf(amount, x[j] - y[j], x[j]);
        sharp = sharp > 0 ? sharp : 0;
        sharp = sharp < 1 ? sharp : 1;
        y[j] = __builtin_fmaf(soft[j], sharp - x[j], x[j]);
    }
}

/* Unsharp masking with a soft mask: see degrade/ops/sharpen.py. `taps` are those of the blur along either axis. The mask
   is blurred as soon as the rows that it takes are there, and only they are kept, in a ring: all of it stays in cache. */
EXPORT int unsharp(const float *x, long xs, const float *taps, long size, float *y, long ys, long rows, long columns,
                   long channels, float amount, float threshold) {
    long count = columns * channels, kept = size + 3 * LANES;
    float *ring = malloc(kept * count * sizeof *ring);
    Separable blur = {0}, soften = {0};
    int begun = begin(&blur, taps, size, taps, size, rows, columns, channels, 1) &
                begin(&soften, taps, size, taps, size, rows, columns, channels, 1) & !!ring;
    if (begun) {
        take(&blur, x, xs, rows);
        take(&soften, ring, count, kept);
    }
    for (long i = 0, next = 0; begun && i < rows; i += LANES) {
        for (; next < rows && next < i + LANES + size / 2; next += LANES) {
            const float *blurred = strip(&blur, next);
            for (long r = next; r < next + LANES && r < rows; r++, blurred += blur.stride) {
                memcpy(y + r * ys, blurred, count * sizeof *y);
                edges(x + r * xs, blurred, ring + r % kept * count, count, threshold);
            }
        }
        const float *soft = strip(&soften, i);
        for (long r = i; r < i + LANES && r < rows; r++, soft += soften.stride)
            sharpen(x + r * xs, soft, y + r * ys, count, amount);
    }
    free(ring);
    end(&blur);
    end(&soften);
    return !begun;
}
