/* Pixels in and out of a canvas, in one pass over memory. */

#include "simd.h"

/* Which sources this was built from: see targets.py. */
EXPORT const char *digest(void) { return DIGEST; }

/* y[i, j, c] = x[c, i, j] / 255 of three planes of bytes. */
EXPORT int interleave(const uint8_t *restrict x, float *restrict y, long count) {
    for (long j = 0; j < count; j++) {
        y[3 * j] = (float)x[j] / 255.0f;
        y[3 * j + 1] = (float)x[count + j] / 255.0f;
        y[3 * j + 2] = (float)x[2 * count + j] / 255.0f;
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
