/* Resampling of one interleaved image by two banded matrices: y = R_v x R_h^T. */

#include <stdlib.h>

#include "simd.h"

/* Row i of a matrix: `taps` columns and their weights. */
typedef struct {
    const int64_t *index;
    const float *weight;
    long taps;
} Band;

/* A row of R_v x. */
static void down(const float *x, long xs, Band v, long i, float *restrict y, long count) {
    const int64_t *index = v.index + i * v.taps;
    const float *weight = v.weight + i * v.taps;
    long j = 0;
    for (; j + LANES <= count; j += LANES) {
        vf sum = {0};
        for (long t = 0; t < v.taps; t++) sum = madd(splat(weight[t]), load(x + index[t] * xs + j), sum);
        store(y + j, sum);
    }
    for (; j < count; j++) {
        float sum = 0;
        for (long t = 0; t < v.taps; t++) sum = __builtin_fmaf(weight[t], x[index[t] * xs + j], sum);
        y[j] = sum;
    }
}

/* Pixels of LANES rows, turned so that a vector is a column of a channel. */
INLINE void across(const float *x, Band h, long columns, long channels, float *y) {
    for (long i = 0; i < columns; i++)
        for (long c = 0; c < channels; c++) {
            vf sum = {0};
            for (long t = 0; t < h.taps; t++) {
                long k = i * h.taps + t;
                sum = madd(splat(h.weight[k]), load(x + (h.index[k] * channels + c) * LANES), sum);
            }
            store(y + (i * channels + c) * LANES, sum);
        }
}

/* `rows` rows of `columns` pixels of y from those of x, which are `width` pixels wide. An index and a weight for each of
   `vt` taps of a row, and of `ht` of a column. Taps are added in their order. Returns 0, or 1 if there is no memory. */
EXPORT int resample(const float *x, long xs, long width, float *y, long ys, long rows, long columns, long channels,
                    const int64_t *vi_, const float *vw, long vt, const int64_t *hi, const float *hw, long ht) {
    Band v = {vi_, vw, vt}, h = {hi, hw, ht};
    long from = width * channels, to = columns * channels;
    long wide = from < LANES ? LANES : from, out = to < LANES ? LANES : to;
    float *strip = calloc(2 * LANES * (wide + out), sizeof *strip);
    if (!strip) return 1;
    float *turned = strip + LANES * wide, *done = turned + LANES * wide, *back = done + LANES * out;
    for (long i = 0; i < rows; i += LANES) {
        long some = i + LANES > rows ? rows - i : LANES;
        for (long r = 0; r < some; r++) down(x, xs, v, i + r, strip + r * wide, from);
        turn(strip, wide, turned, wide);
        if (channels == 3)
            across(turned, h, columns, 3, done);
        else
            across(turned, h, columns, channels, done);
        if (some == LANES && to >= LANES)
            turn_back(done, y + i * ys, ys, to);
        else {
            turn_back(done, back, out, out);
            for (long r = 0; r < some; r++) memcpy(y + (i + r) * ys, back + r * out, to * sizeof *y);
        }
    }
    free(strip);
    return 0;
}
