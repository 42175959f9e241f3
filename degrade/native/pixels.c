/* Pixel-wise work in one pass over memory. */

#include "simd.h"

/* mask = 1 where |x - blurred| > threshold, else 0. */
EXPORT int edges(const float *x, long xs, const float *blurred, long bs, float *mask, long ms, long rows, long count,
                  float threshold) {
    for (long i = 0; i < rows; i++, x += xs, blurred += bs, mask += ms)
        for (long j = 0; j < count; j++) mask[j] = __builtin_fabsf(x[j] - blurred[j]) > threshold ? 1.0f : 0.0f;
    return 0;
}

/* y = x + soft (clip(x + amount (x - blurred)) - x), into `blurred`. */
EXPORT int sharpen(const float *x, long xs, float *blurred, long bs, const float *soft, long ss, long rows,
                    long count, float amount) {
    for (long i = 0; i < rows; i++, x += xs, blurred += bs, soft += ss) {
        long j = 0;
        for (; j + LANES <= count; j += LANES) {
            vf a = load(x + j), sharp = clip(madd(splat(amount), a - load(blurred + j), a), 0, 1);
            store(blurred + j, madd(load(soft + j), sharp - a, a));
        }
        if (j < count) {
            vf a = load_some(x + j, count - j), b = load_some(blurred + j, count - j);
            vf sharp = clip(madd(splat(amount), a - b, a), 0, 1);
            store_some(blurred + j, madd(load_some(soft + j, count - j), sharp - a, a), count - j);
        }
    }
    return 0;
}

/* y = round(clip(x) levels) / levels, half to even. */
EXPORT int quantize(const float *x, long xs, float *y, long ys, long rows, long count, float levels) {
    for (long i = 0; i < rows; i++, x += xs, y += ys)
        for (long j = 0; j < count; j++) {
            float v = x[j] > 0 ? x[j] : 0;
            v = (v < 1 ? v : 1) * levels;
            y[j] = ((v + 12582912.0f) - 12582912.0f) / levels;
        }
    return 0;
}
