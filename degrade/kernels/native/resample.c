/* Resampling of one interleaved image by two banded matrices: y = R_v x R_h^T. */

#include <math.h>

#include "kernels.h"
#include "simd.h"

/* A row of R_v x, BLOCK vectors at a time. */
enum { BLOCK = 4 };

INLINE void block(const float *x, long xs, const int32_t *index, const float *weight, long taps,
                  float *y, const int columns) {
    vf sum[BLOCK] = {0};
    for (long t = 0; t < taps; t++) {
        const float *in = x + index[t] * xs;
        vf w = splat(weight[t]);
        for (int v = 0; v < columns; v++) sum[v] = madd(w, load(in + v * LANES), sum[v]);
    }
    for (int v = 0; v < columns; v++) store(y + v * LANES, sum[v]);
}

static void down(const float *x, long xs, Band v, long i, float *restrict y, long count) {
    const int32_t *index = v.index + i * v.taps;
    const float *weight = v.weight + i * v.taps;
    long j = 0;
    for (; j + BLOCK * LANES <= count; j += BLOCK * LANES)
        block(x + j, xs, index, weight, v.taps, y + j, BLOCK);
    for (; j + LANES <= count; j += LANES) block(x + j, xs, index, weight, v.taps, y + j, 1);
    for (; j < count; j++) {
        float sum = 0;
        for (long t = 0; t < v.taps; t++)
            sum = __builtin_fmaf(weight[t], x[index[t] * xs + j], sum);
        y[j] = sum;
    }
}

/* Pixels of LANES rows, turned so that a vector is a column of a channel. */
INLINE void across_rows(const float *x, Band h, long columns, const int channels, float *y) {
    const int32_t *index = h.index;
    const float *weight = h.weight;
    for (long i = 0; i < columns; i++, index += h.taps, weight += h.taps) {
        vf sum[3] = {0};
        for (long t = 0; t < h.taps; t++) {
            const float *in = x + (long)index[t] * channels * LANES;
            vf w = splat(weight[t]);
            for (int c = 0; c < channels; c++) sum[c] = madd(w, load(in + c * LANES), sum[c]);
        }
        for (int c = 0; c < channels; c++) store(y + (i * channels + c) * LANES, sum[c]);
    }
}

/* `rows` rows of `columns` pixels of y from those of x. Taps are added in their order. */
void resample(Arena *arena, const float *x, long xs, long height, long width, float *y, long ys,
              long rows, long columns, long channels, Band v, Band h) {
    (void)height;
    long from = width * channels, to = columns * channels;
    long wide = from < LANES ? LANES : from, out = to < LANES ? LANES : to;
    float *strip = TAKE(arena, float, LANES *wide), *turned = TAKE(arena, float, LANES *wide);
    float *done = TAKE(arena, float, LANES *out), *back = TAKE(arena, float, LANES *out);
    if (!arena->base) return;
    for (long i = 0; i < rows; i += LANES) {
        long some = i + LANES > rows ? rows - i : LANES;
        for (long r = 0; r < some; r++) down(x, xs, v, i + r, strip + r * wide, from);
        turn(strip, wide, turned, wide);
        if (channels == 3)
            across_rows(turned, h, columns, 3, done);
        else
            across_rows(turned, h, columns, 1, done);
        if (some == LANES && to >= LANES)
            turn_back(done, y + i * ys, ys, to);
        else {
            turn_back(done, back, out, out);
            for (long r = 0; r < some; r++)
                memcpy(y + (i + r) * ys, back + r * out, to * sizeof *y);
        }
    }
}

/* --- as MATLAB: in 8-bit levels -------------------------------------------------------------- */

/* The level of x, ties up: levels often are exact ties at whole scales, which should not depend on
   a sum's rounding. */
INLINE double level(double x) { return floor((x < 0 ? 0 : x > 255 ? 255 : x) + (0.5 + 1e-9)); }

/* The same of k / 255 in float32, whose ties need no help. */
INLINE float level_of(float x) {
    x *= 255.0f;
    return floorf((x < 0 ? 0 : x > 255 ? 255 : x) + 0.5f);
}

/* `resample` of 8-bit images, rounded before, between (vertical first) and after the passes; sums
   are double, their taps added in order. */
void resample_levels(Arena *arena, const float *x, long xs, long height, long width, float *y,
                     long ys, long rows, long columns, long channels, Band64 v, Band64 h) {
    long from = width * channels;
    float *levels = TAKE(arena, float, height *from);
    double *line = TAKE(arena, double, from);
    if (!arena->base) return;
    for (long i = 0; i < height; i++)
        for (long j = 0; j < from; j++) levels[i * from + j] = level_of(x[i * xs + j]);
    for (long i = 0; i < rows; i++) {
        memset(line, 0, from * sizeof *line);
        for (long t = i * v.taps; t < (i + 1) * v.taps; t++) {
            const float *restrict in = levels + v.index[t] * from;
            for (long j = 0; j < from; j++) line[j] += v.weight[t] * in[j];
        }
        for (long j = 0; j < from; j++) line[j] = level(line[j]);
        for (long j = 0; j < columns; j++)
            for (long c = 0; c < channels; c++) {
                double sum = 0;
                for (long t = j * h.taps; t < (j + 1) * h.taps; t++)
                    sum += h.weight[t] * line[h.index[t] * channels + c];
                y[i * ys + j * channels + c] = (float)(level(sum) / 255.0);
            }
    }
}
