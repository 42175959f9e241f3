/* Correlation of one interleaved image with one kernel, in space, and the unsharp masking made of
it.

A block of ROWS x COLUMNS vectors of the result stays in registers while the taps go by, so that an
input vector is loaded once for ROWS rows of the result. Taps are added in the order of the
kernel's rows, left to right. */

#include "kernels.h"
#include "simd.h"

enum { ROWS = 4, COLUMNS = LANES == 16 ? 4 : LANES == 8 ? 3 : 2, TILE = COLUMNS * LANES };

/* A kernel with ROWS - 1 rows of zeros above and below. Its rows a, ..., a + ROWS - 1 have taps in
   [from[a], to[a]): that of a slanted ellipse is mostly zeros. */
typedef struct {
    float *taps;
    long *from, *to, height, width;
} Kernel;

/* Adds the taps that row a of x meets in rows first, ..., last - 1 of a block. */
INLINE void meet(const float *x, const Kernel *k, long a, long step, vf sum[ROWS][COLUMNS],
                 int first, int last, int columns) {
    const float *taps = k->taps + (a + ROWS - 1) * k->width;
    for (long b = k->from[a]; b < k->to[a]; b++) {
        vf in[COLUMNS];
        for (int v = 0; v < columns; v++) in[v] = load(x + b * step + v * LANES);
        for (int r = first; r < last; r++) {
            vf tap = splat(taps[b - r * k->width]);
            for (int v = 0; v < columns; v++) sum[r][v] = madd(tap, in[v], sum[r][v]);
        }
    }
}

/* A block of y, `columns` vectors wide, from column j on: x are the rows that its first tap meets,
   and those that follow. The first of them meet taps of the first rows alone, the last those of
   the last. */
INLINE void block(const float *const *x, long j, const Kernel *k, float *y, long ys, long step,
                  int columns) {
    vf sum[ROWS][COLUMNS] = {0};
    long a = 0;
    if (k->width == 1) /* short loops cost more than idle taps */
        for (; a < k->height + ROWS - 1; a++) {
            vf in[COLUMNS];
            for (int v = 0; v < columns; v++) in[v] = load(x[a] + j + v * LANES);
            for (int r = 0; r < ROWS; r++) {
                vf tap = splat(k->taps[a + ROWS - 1 - r]);
                for (int v = 0; v < columns; v++) sum[r][v] = madd(tap, in[v], sum[r][v]);
            }
        }
    else if (k->height < ROWS)
        for (; a < k->height + ROWS - 1; a++) meet(x[a] + j, k, a, step, sum, 0, ROWS, columns);
    else {
        for (int r = 1; r < ROWS; r++, a++) meet(x[a] + j, k, a, step, sum, 0, r, columns);
        for (; a < k->height; a++) meet(x[a] + j, k, a, step, sum, 0, ROWS, columns);
        for (int r = 1; r < ROWS; r++, a++) meet(x[a] + j, k, a, step, sum, r, ROWS, columns);
    }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < columns; v++) store(y + r * ys + j + v * LANES, sum[r][v]);
}

/* What is less than a block: one element after the other. */
static void rest(const float *const *x, const Kernel *k, float *y, long ys, long rows, long count,
                 long step) {
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

/* `rows` rows of `count` floats of y. Blocks that do not fit at the end are moved back over what
   is done: they find the same again. What is left of a row takes the narrowest block that holds
   it. */
static void down(const float *const *x, const Kernel *k, float *y, long ys, long rows, long count,
                 long step) {
    if (rows < ROWS || count < LANES) {
        rest(x, k, y, ys, rows, count, step);
        return;
    }
    for (long i = 0; i < rows; i += ROWS) {
        long at = i + ROWS > rows ? rows - ROWS : i;
        const float *const *in = x + at;
        float *out = y + at * ys;
        for (long j = 0; j < count;) {
            long left = count - j;
            if (COLUMNS > 2 && left > 2 * LANES && count >= TILE) {
                block(in, left < TILE ? count - TILE : j, k, out, ys, step, COLUMNS);
                j += TILE;
            } else if (left > LANES && count >= 2 * LANES) {
                block(in, left < 2 * LANES ? count - 2 * LANES : j, k, out, ys, step, 2);
                j += 2 * LANES;
            } else {
                block(in, left < LANES ? count - LANES : j, k, out, ys, step, 1);
                j += LANES;
            }
        }
    }
}

static Kernel kernel_of(Arena *arena, const float *taps, long height, long width) {
    long groups = height + ROWS - 1, rows = groups + ROWS - 1;
    Kernel k = {TAKE(arena, float, rows *width), TAKE(arena, long, groups),
                TAKE(arena, long, groups), height, width};
    if (!arena->base) return k;
    float *inner = k.taps + (ROWS - 1) * width;
    memset(k.taps, 0, (ROWS - 1) * width * sizeof *taps);
    memcpy(inner, taps, height * width * sizeof *taps);
    memset(inner + height * width, 0, (ROWS - 1) * width * sizeof *taps);
    for (long a = 0; a < groups; a++) k.from[a] = width, k.to[a] = 0;
    for (long i = 0; i < height; i++) {
        long from = 0, to = width;
        while (from < width && taps[i * width + from] == 0) from++;
        while (to > from && taps[i * width + to - 1] == 0) to--;
        for (long a = i; from < to && a < i + ROWS; a++) {
            if (from < k.from[a]) k.from[a] = from;
            if (to > k.to[a]) k.to[a] = to;
        }
    }
    return k;
}

/* y[i, j] = sum_ab k[a, b] x[i + a, j + b step]: `rows` rows of `count` floats of y; `lines`: rows
   + kh - 1 rows of x, which has its border. */
void correlate_lines(Arena *arena, const float *const *lines, const float *taps, long kh, long kw,
                     float *y, long ys, long rows, long count, long step) {
    Kernel k = kernel_of(arena, taps, kh, kw);
    if (arena->base) down(lines, &k, y, ys, rows, count, step);
}

/* Where the border's pixel i comes from: d c b | a b c d | c b a, or a a a | a b c d | d d d. */
INLINE long inside(long i, long n, int reflect) {
    if (i >= 0 && i < n) return i;
    if (!reflect || n == 1) return i < 0 ? 0 : n - 1;
    long period = 2 * (n - 1);
    i = i < 0 ? -i % period : i % period;
    return i < n ? i : period - i;
}

/* `correlate_lines` of an image without a border: `reflect` says which it is to have. */
void correlate(Arena *arena, const float *x, long xs, float *y, long ys, long height, long width,
               long channels, const float *taps, long rows, long columns, int reflect) {
    long border = columns / 2, wide = (width + 2 * border) * channels, count = width * channels;
    float *framed = TAKE(arena, float, height *wide);
    long *from = TAKE(arena, long, 2 * border);
    const float **lines = TAKE(arena, const float *, height + rows);
    if (arena->base) {
        for (long j = 0; j < 2 * border; j++) /* columns of the border: left, then right */
            from[j] =
                inside(j < border ? j - border : width + j - border, width, reflect) * channels;
        for (long i = 0; i < height; i++) {
            const float *in = x + i * xs;
            float *left = framed + i * wide, *right = left + border * channels + count;
            memcpy(left + border * channels, in, count * sizeof *in);
            for (long j = 0; j < border; j++)
                for (long c = 0; c < channels; c++) {
                    left[j * channels + c] = in[from[j] + c];
                    right[j * channels + c] = in[from[border + j] + c];
                }
        }
        for (long i = 0; i < height + rows - 1; i++)
            lines[i] = framed + inside(i - rows / 2, height, reflect) * wide;
    }
    correlate_lines(arena, lines, taps, rows, columns, y, ys, height, count, channels);
}

/* --- separable kernels: LANES rows at a time, down, then turned: a vector is a column ------- */

enum { RUN = 4 }; /* results of a channel in registers at a time */

typedef struct {
    Kernel vertical;
    float *taps; /* across, with RUN - 1 zeros on both sides */
    float *strip, *turned, *done;
    const float **lines; /* the rows of the image with its border */
    long stride, width, rows, columns, channels;
    int reflect;
} Separable;

static Separable separable_of(Arena *arena, const float *vertical, long kh,
                              const float *horizontal, long kw, long rows, long columns,
                              long channels, int reflect) {
    long count = columns * channels, least = count < LANES ? LANES : count;
    Separable s = {.vertical = kernel_of(arena, vertical, kh, 1),
                   .taps = TAKE(arena, float, kw + 2 * (RUN - 1)),
                   .strip = TAKE(arena, float, least *LANES),
                   .done = TAKE(arena, float, least *LANES),
                   .turned = TAKE(arena, float, (least + (kw - 1) * channels) * LANES),
                   .lines = TAKE(arena, const float *, rows + kh + LANES),
                   .stride = least,
                   .width = kw,
                   .rows = rows,
                   .columns = columns,
                   .channels = channels,
                   .reflect = reflect};
    if (!arena->base) return s;
    memset(s.taps, 0, (kw + 2 * (RUN - 1)) * sizeof *s.taps);
    memcpy(s.taps + RUN - 1, horizontal, kw * sizeof *horizontal);
    return s;
}

/* Takes the image x, of which row i is in place i % kept. */
static void set_lines(Separable *s, const float *x, long xs, long kept) {
    long kh = s->vertical.height;
    for (long i = 0; i < s->rows + kh + LANES;
         i++) { /* some more, for a last strip that is not whole */
        long row = inside(i - kh / 2, s->rows, s->reflect);
        s->lines[i] = x + (row < kept ? row : row % kept) * xs;
    }
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

/* LANES rows of the result from row i on, `stride` floats apart; those beyond the last are of no
   use. */
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
                sum = madd(splat(s->taps[RUN - 1 + b]),
                           load(s->turned + (j + b * channels) * LANES), sum);
            store(s->done + j * LANES, sum);
        }
    else if (channels == 3)
        runs(s, 3);
    else
        runs(s, 1);
    turn_back(s->done, s->strip, s->stride, s->stride);
    return s->strip;
}

/* `correlate` with the outer product of `down` and `across`. */
void correlate_separable(Arena *arena, const float *x, long xs, float *y, long ys, long height,
                         long width, long channels, const float *down_, long rows,
                         const float *across, long columns, int reflect) {
    Separable s =
        separable_of(arena, down_, rows, across, columns, height, width, channels, reflect);
    if (!arena->base) return;
    set_lines(&s, x, xs, height);
    for (long i = 0; i < height; i += LANES) {
        const float *made = strip(&s, i);
        for (long r = 0; r < LANES && i + r < height; r++)
            memcpy(y + (i + r) * ys, made + r * s.stride, width * channels * sizeof *y);
    }
}

/* --- unsharp masking ------------------------------------------------------------------------- */

/* mask = |x - blurred| > threshold. */
static void edges(const float *restrict x, const float *restrict blurred, float *restrict mask,
                  long count, float threshold) {
    for (long j = 0; j < count; j++)
        mask[j] = __builtin_fabsf(x[j] - blurred[j]) > threshold ? 1.0f : 0.0f;
}

/* y = x + soft (clip(x + amount (x - y)) - x), in place of the blurred y. */
static void sharpen(const float *restrict x, const float *restrict soft, float *restrict y,
                    long count, float amount) {
    for (long j = 0; j < count; j++) {
        float sharp = __builtin_fmaf(amount, x[j] - y[j], x[j]);
        sharp = sharp > 0 ? sharp : 0;
        sharp = sharp < 1 ? sharp : 1;
        y[j] = __builtin_fmaf(soft[j], sharp - x[j], x[j]);
    }
}

/* Unsharp masking with a soft mask: see degrade/kernels/unsharp.py. `taps` are those of the blur
   along either axis. The mask is blurred as soon as the rows that it takes are there, and only
   they are kept, in a ring: all of it stays in cache. */
void unsharp(Arena *arena, const float *x, long xs, float *y, long ys, long height, long width,
             long channels, const float *taps, long size, float amount, float threshold) {
    long count = width * channels, kept = size + 3 * LANES;
    float *ring = TAKE(arena, float, kept *count);
    Separable blur = separable_of(arena, taps, size, taps, size, height, width, channels, 1);
    Separable soften = separable_of(arena, taps, size, taps, size, height, width, channels, 1);
    if (!arena->base) return;
    set_lines(&blur, x, xs, height);
    set_lines(&soften, ring, count, kept);
    for (long i = 0, next = 0; i < height; i += LANES) {
        for (; next < height && next < i + LANES + size / 2; next += LANES) {
            const float *blurred = strip(&blur, next);
            for (long r = next; r < next + LANES && r < height; r++, blurred += blur.stride) {
                memcpy(y + r * ys, blurred, count * sizeof *y);
                edges(x + r * xs, blurred, ring + r % kept * count, count, threshold);
            }
        }
        const float *soft = strip(&soften, i);
        for (long r = i; r < i + LANES && r < height; r++, soft += soften.stride)
            sharpen(x + r * xs, soft, y + r * ys, count, amount);
    }
}
