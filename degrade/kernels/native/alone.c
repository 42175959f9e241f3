/* The kernels one by one, each with memory of its own, until Python calls `run` alone. */

#include <stdlib.h>

#include "kernels.h"
#include "simd.h"

/* Makes the call with an arena that counts, then with one that has what it asked for; 1 if there
   is no memory. */
#define ALONE(call)                                                                               \
    Arena counted = {0}, *arena = &counted;                                                       \
    call;                                                                                         \
    Arena real = {aligned_alloc(ALIGNMENT, (size_t)counted.used + ALIGNMENT), 0};                 \
    if (!real.base) return 1;                                                                     \
    arena = &real;                                                                                \
    call;                                                                                         \
    free(real.base);                                                                              \
    return 0

static void framed(Arena *arena, const float *x, long xs, const float *k, long kh, long kw,
                   float *y, long ys, long rows, long count, long step) {
    const float **lines = TAKE(arena, const float *, rows + kh);
    for (long i = 0; arena->base && i < rows + kh - 1; i++) lines[i] = x + i * xs;
    correlate_lines(arena, lines, k, kh, kw, y, ys, rows, count, step);
}

EXPORT int one_correlate(const float *x, long xs, const float *k, long kh, long kw, float *y,
                         long ys, long rows, long count, long step) {
    ALONE(framed(arena, x, xs, k, kh, kw, y, ys, rows, count, step));
}

EXPORT int one_correlate_separable(const float *x, long xs, const float *down, long kh,
                                   const float *across, long kw, float *y, long ys, long rows,
                                   long columns, long channels, int reflect) {
    ALONE(correlate_separable(arena, x, xs, y, ys, rows, columns, channels, down, kh, across, kw,
                              reflect));
}

EXPORT int one_unsharp(const float *x, long xs, const float *taps, long size, float *y, long ys,
                       long rows, long columns, long channels, float amount, float threshold) {
    ALONE(unsharp(arena, x, xs, y, ys, rows, columns, channels, taps, size, amount, threshold));
}

EXPORT int one_add_normal(const float *x, long xs, float *y, long ys, long height, long width,
                          long channels, long planes, const int32_t *first, const int32_t *second,
                          float sigma, const float *mixing, int times) {
    ALONE(add_normal(arena, x, xs, y, ys, height, width, channels, planes, first, second, sigma,
                     mixing, times));
}

EXPORT int one_add_poisson(const float *x, long xs, float *y, long ys, long height, long width,
                           long channels, long planes, const int32_t *first, const int32_t *second,
                           float v, float scale, const float *steps, long dark) {
    ALONE(add_poisson(arena, x, xs, y, ys, height, width, channels, planes, first, second, v,
                      scale, steps, dark));
}

EXPORT int one_distinct(const float *x, long xs, long height, long width, long channels,
                        long planes, long enough) {
    return distinct(x, xs, height, width, channels, planes, enough);
}

EXPORT int one_resample(const float *x, long xs, long height, long width, float *y, long ys,
                        long rows, long columns, long channels, const int32_t *vi_,
                        const float *vw, long vt, const int32_t *hi, const float *hw, long ht) {
    Band v = {vi_, vw, vt}, h = {hi, hw, ht};
    ALONE(resample(arena, x, xs, height, width, y, ys, rows, columns, channels, v, h));
}

EXPORT int one_jpeg(const float *x, long xs, float *y, long ys, long height, long width,
                    long channels, const int32_t *steps, int v, int h) {
    ALONE(jpeg(arena, x, xs, y, ys, height, width, channels, steps, v, h));
}

EXPORT int one_interleave(const uint8_t *x, float *y, long count) {
    int64_t strides[3] = {count, count, 1};
    read_image(x, 0, strides, 1, count, 3, y);
    return 0;
}

EXPORT int one_quantize(const float *x, long xs, float *y, long ys, long rows, long count,
                        float levels) {
    for (long i = 0; i < rows; i++) quantize(x + i * xs, y + i * ys, count, levels);
    return 0;
}
