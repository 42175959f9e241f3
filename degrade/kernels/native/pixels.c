/* Images in and out, and what works on pixels alone, in one pass over memory. */

#include "kernels.h"
#include "simd.h"

/* Which sources this was built from: see targets.py. */
EXPORT const char *digest(void) { return DIGEST; }

/* --- rows of images, planar or interleaved, to and from interleaved rows --------------------- */

INLINE float level(uint8_t x) { return ratio(x, 255.0f, 1 / 255.0f); }

static void weave_bytes(const uint8_t *restrict a, const uint8_t *restrict b,
                        const uint8_t *restrict c, float *restrict y, long count) {
    for (long j = 0; j < count; j++) {
        y[3 * j] = level(a[j]);
        y[3 * j + 1] = level(b[j]);
        y[3 * j + 2] = level(c[j]);
    }
}

static void weave(const float *restrict a, const float *restrict b, const float *restrict c,
                  float *restrict y, long count) {
    for (long j = 0; j < count; j++) y[3 * j] = a[j], y[3 * j + 1] = b[j], y[3 * j + 2] = c[j];
}

static void unweave(const float *restrict x, float *restrict a, float *restrict b,
                    float *restrict c, long count) {
    for (long j = 0; j < count; j++) a[j] = x[3 * j], b[j] = x[3 * j + 1], c[j] = x[3 * j + 2];
}

static void from_bytes(const uint8_t *restrict x, float *restrict y, long count) {
    for (long j = 0; j < count; j++) y[j] = level(x[j]);
}

/* y of an image of levels 0, ..., 255 (kind 0, uint8) or in [0, 1] (kind 1, float32). `strides`:
   elements from one channel, row and pixel to the next. */
void read_image(const void *from, int kind, const int64_t strides[3], long height, long width,
                long channels, float *y) {
    long plane = strides[0], row = strides[1], pixel = strides[2], count = width * channels;
    int together = pixel == channels && (channels == 1 || plane == 1),
        planar = pixel == 1 && channels == 3;
    const uint8_t *bytes = from;
    const float *floats = from;
    for (long i = 0; i < height;
         i++, bytes += kind == 0 ? row : 0, floats += kind == 0 ? 0 : row, y += count)
        if (together && kind == 0)
            from_bytes(bytes, y, count);
        else if (together)
            memcpy(y, floats, count * sizeof *y);
        else if (planar && kind == 0)
            weave_bytes(bytes, bytes + plane, bytes + 2 * plane, y, width);
        else if (planar)
            weave(floats, floats + plane, floats + 2 * plane, y, width);
        else
            for (long j = 0; j < width; j++)
                for (long c = 0; c < channels; c++) {
                    long at = c * plane + j * pixel;
                    y[j * channels + c] = kind == 0 ? level(bytes[at]) : floats[at];
                }
}

void write_image(const float *x, long height, long width, long channels, float *to,
                 const int64_t strides[3]) {
    long plane = strides[0], row = strides[1], pixel = strides[2], count = width * channels;
    int together = pixel == channels && (channels == 1 || plane == 1),
        planar = pixel == 1 && channels == 3;
    for (long i = 0; i < height; i++, x += count, to += row)
        if (together)
            memcpy(to, x, count * sizeof *x);
        else if (planar)
            unweave(x, to, to + plane, to + 2 * plane, width);
        else
            for (long j = 0; j < width; j++)
                for (long c = 0; c < channels; c++)
                    to[c * plane + j * pixel] = x[j * channels + c];
}

/* --- pixels ---------------------------------------------------------------------------------- */

INLINE float unit(float x) {
    x = x > 0 ? x : 0;
    return x < 1 ? x : 1;
}

/* y = round(clip(x) levels) / levels, half to even; `levels` is 2^n - 1, n <= 16. In place. */
void quantize(const float *x, float *y, long count, float levels) {
    float inverse = 1 / levels;
    for (long j = 0; j < count; j++)
        y[j] = ratio((unit(x[j]) * levels + 12582912.0f) - 12582912.0f, levels, inverse);
}

/* y = clip(x). In place. */
void clip_to_unit(const float *x, float *y, long count) {
    for (long j = 0; j < count; j++) y[j] = unit(x[j]);
}

/* y[i, j] = x[first + step (i, j)]. */
void decimate(const float *x, float *y, long width, long channels, long rows, long columns,
              long first_y, long first_x, long step_y, long step_x) {
    for (long i = 0; i < rows; i++) {
        const float *in = x + ((first_y + i * step_y) * width + first_x) * channels;
        for (long j = 0; j < columns; j++, in += step_x * channels)
            for (long c = 0; c < channels; c++) *y++ = in[c];
    }
}
