/* Noise over the pixels of one interleaved image: the fields of degrade/rng.py and what degrade/ops/noise.py makes of
them, a line at a time. */

#include <stdlib.h>

#include "simd.h"

/* The hash of degrade/rng.py: the word of a pixel, from its column and the two words of its line. */
INLINE vi word(vi column, int32_t first, int32_t second) {
    vu words = (vu)(column + first);
    words ^= (vu)((vi)words >> 16);
    words *= 0x7FEB352Du;
    words ^= (vu)splat_int(second);
    words ^= (vu)((vi)words >> 15);
    words *= (uint32_t)-0x7B935975;
    return (vi)words;
}

/* -log x of x in (0, 1], as Cephes' logf: the exponent, and a polynomial in the mantissa from sqrt 1/2 on. */
INLINE vf minus_log(vf x) {
    vi bits = (vi)x - 0x3F3504F3;
    vf exponent = to_float(bits >> 23);
    vf m = (vf)((bits & 0x007FFFFF) + 0x3F3504F3) - 1.0f;
    vf p = splat(7.0376836292e-2f);
    p = madd(p, m, splat(-1.1514610310e-1f));
    p = madd(p, m, splat(1.1676998740e-1f));
    p = madd(p, m, splat(-1.2420140846e-1f));
    p = madd(p, m, splat(1.4249322787e-1f));
    p = madd(p, m, splat(-1.6668057665e-1f));
    p = madd(p, m, splat(2.0000714765e-1f));
    p = madd(p, m, splat(-2.4999993993e-1f));
    p = madd(p, m, splat(3.3333331174e-1f));
    vf square = m * m;
    vf y = madd(p * m, square, -0.5f * square) + m;
    return madd(exponent, splat(-0.693147180559945f), -y);
}

/* sqrt 2 erf^-1 x for |x| < 1: M. Giles, Approximating the erfinv function (2010), table 5, to 3e-7. */
INLINE vf normal_quantile(vf x) {
    vf w = minus_log((1.0f - x) * (1.0f + x));
    vf v = w - 2.5f;
    vf p = splat(2.81022636e-08f);
    p = madd(p, v, splat(3.43273939e-07f));
    p = madd(p, v, splat(-3.5233877e-06f));
    p = madd(p, v, splat(-4.39150654e-06f));
    p = madd(p, v, splat(0.00021858087f));
    p = madd(p, v, splat(-0.00125372503f));
    p = madd(p, v, splat(-0.00417768164f));
    p = madd(p, v, splat(0.246640727f));
    p = madd(p, v, splat(1.50140941f));
    vi far = w >= 5.0f;
    if (any(far)) {
        v = root(w) - 3.0f;
        vf q = splat(-0.000200214257f);
        q = madd(q, v, splat(0.000100950558f));
        q = madd(q, v, splat(0.00134934322f));
        q = madd(q, v, splat(-0.00367342844f));
        q = madd(q, v, splat(0.00573950773f));
        q = madd(q, v, splat(-0.0076224613f));
        q = madd(q, v, splat(0.00943887047f));
        q = madd(q, v, splat(1.00167406f));
        q = madd(q, v, splat(2.83297682f));
        p = pick(far, q, p);
    }
    return p * x * 1.41421356f;
}

/* The values of a line's pixels at these columns. */
INLINE vf uniform(vi column, int32_t first, int32_t second) {
    /* As torch: an integer is rounded to a float before it is scaled. */
    vf u = to_float(word(column, first, second)) * 0x1p-32f + 0.5f;
    return clip(u, 0x1p-25f, 0x1.fffffep-1f);
}

INLINE vf normal(vi column, int32_t first, int32_t second) {
    return normal_quantile(to_float(word(column, first, second)) * (0x1.fffffep-1f * 0x1p-31f));
}

INLINE vi lanes(void) {
    vi y;
    for (int i = 0; i < LANES; i++) y[i] = i;
    return y;
}

/* Lines are a whole number of vectors long in memory of our own. */
static long whole(long width) { return (width + LANES - 1) / LANES * LANES; }

static void planes_of(const float *restrict x, float *restrict plane, long line, long width, long channels) {
    if (channels == 3)
        for (long j = 0; j < width; j++) {
            plane[j] = x[3 * j];
            plane[line + j] = x[3 * j + 1];
            plane[2 * line + j] = x[3 * j + 2];
        }
    else
        for (long c = 0; c < channels; c++)
            for (long j = 0; j < width; j++) plane[c * line + j] = x[j * channels + c];
}

static void pixels_of(const float *restrict plane, float *restrict y, long line, long width, long channels) {
    if (channels == 3)
        for (long j = 0; j < width; j++) {
            y[3 * j] = plane[j];
            y[3 * j + 1] = plane[line + j];
            y[3 * j + 2] = plane[2 * line + j];
        }
    else
        for (long c = 0; c < channels; c++)
            for (long j = 0; j < width; j++) y[j * channels + c] = plane[c * line + j];
}

/* y = clip(x + n) or, if `times`, clip(x + x n), n = sigma M z. `planes` is 1 (grey: one z for all channels) or the
   number of channels; M, planes x planes, may be NULL, the identity. `first` and `second`: a word for each (p, line).
   Returns 0, or 1 if there is no memory. */
EXPORT int add_normal(const float *x, long xs, float *y, long ys, long height, long width, long channels, long planes,
                      const int32_t *first, const int32_t *second, float sigma, const float *mixing, int times) {
    long line = whole(width);
    float *in = malloc((channels + 2 * planes) * line * sizeof *in);
    if (!in) return 1;
    float *z = in + channels * line, *mixed = z + planes * line;
    memset(in, 0, channels * line * sizeof *in);
    for (long i = 0; i < height; i++) {
        planes_of(x + i * xs, in, line, width, channels);
        for (long p = 0; p < planes; p++)
            for (long j = 0; j < line; j += LANES) {
                vi column = (lanes() + (int32_t)j) * 0x3C6EF35F;
                store(z + p * line + j, normal(column, first[p * height + i], second[p * height + i]));
            }
        if (mixing)
            for (long p = 0; p < planes; p++)
                for (long j = 0; j < line; j += LANES) {
                    vf sum = load(z + j) * mixing[p * planes];
                    for (long q = 1; q < planes; q++) sum += load(z + q * line + j) * mixing[p * planes + q];
                    store(mixed + p * line + j, sum);
                }
        const float *n = mixing ? mixed : z;
        for (long c = 0; c < channels; c++)
            for (long j = 0; j < line; j += LANES) {
                vf v = load(in + c * line + j), noise = load(n + (planes == 1 ? 0 : c) * line + j) * sigma;
                store(in + c * line + j, clip(v + (times ? v * noise : noise), 0, 1));
            }
        pixels_of(in, y + i * ys, line, width, channels);
    }
    free(in);
    return 0;
}

/* The rounded Cornish-Fisher expansion of degrade/ops/noise.py. */
INLINE vf photons(vf mean, vf u) {
    vf z = normal_quantile(2.0f * u - 1.0f);
    vf square = most(mean, splat(8.0f)) - (float)(1.0 / 12);
    vf q = 1.0f / root(square);
    vf qz = q * z;
    vf curve = (q * q - qz) * (float)(1.0 / 72) + (float)(1.0 / 6);
    vf count = madd(square, qz, mean);
    return most(nearest(madd(z * z - 1.0f, curve, count)), splat(0));
}

/* How many of the ascending steps are below u: the distribution function inverted. */
INLINE long steps_below(const float *steps, long count, float u) {
    long from = 0;
    while (count > 0) {
        long half = count / 2;
        if (steps[from + half] < u)
            from += half + 1, count -= half + 1;
        else
            count = half;
    }
    return from;
}

/* y = clip(x + scale (K / v - r)), K ~ Poisson(v r), r the level of x, or of its luma if planes is 1. `steps` has the
   first `terms` values of the distribution function of each level below `dark`. */
EXPORT int add_poisson(const float *x, long xs, float *y, long ys, long height, long width, long channels,
                       long planes, const int32_t *first, const int32_t *second, float v, float scale,
                       const float *steps, long dark, long terms) {
    long line = whole(width);
    float *in = malloc((channels + 3) * line * sizeof *in);
    if (!in) return 1;
    float *noise = in + channels * line, *level = noise + line, *u = level + line;
    memset(in, 0, channels * line * sizeof *in);
    for (long i = 0; i < height; i++) {
        planes_of(x + i * xs, in, line, width, channels);
        for (long p = 0; p < planes; p++) {
            int32_t one = first[p * height + i], two = second[p * height + i];
            vi few = {0};
            for (long j = 0; j < line; j += LANES) {
                vf r = load(in + p * line + j);
                if (planes < channels)
                    r = r * 0.2989f + load(in + line + j) * 0.587f + load(in + 2 * line + j) * 0.114f;
                r = clip(nearest(r * 255.0f), 0, 255);
                few |= r < (float)dark;
                store(level + j, r);
                vf random = uniform((lanes() + (int32_t)j) * 0x3C6EF35F, one, two);
                store(u + j, random);
                store(noise + j, photons(r / 255.0f * v, random));
            }
            for (long j = any(few) ? 0 : width; j < width; j++)
                if (level[j] < (float)dark) noise[j] = (float)steps_below(steps + (long)level[j] * terms, terms, u[j]);
            for (long j = 0; j < line; j += LANES)
                store(noise + j, (load(noise + j) / v - load(level + j) / 255.0f) * scale);
            for (long c = planes == 1 ? 0 : p; c < (planes == 1 ? channels : p + 1); c++)
                for (long j = 0; j < line; j += LANES)
                    store(in + c * line + j, clip(load(in + c * line + j) + load(noise + j), 0, 1));
        }
        pixels_of(in, y + i * ys, line, width, channels);
    }
    free(in);
    return 0;
}

/* How many levels an image's pixels, or their lumas if `planes` is 1 and `channels` 3, take; it stops counting
   after a line that finds more than `enough`. */
EXPORT long distinct(const float *x, long xs, long height, long width, long channels, long planes, long enough) {
    unsigned char seen[256] = {0};
    long count = 0;
    for (long i = 0; i < height && count <= enough; i++)
        for (long j = 0; j < width; j++)
            for (long p = 0; p < planes; p++) {
                const float *at = x + i * xs + j * channels;
                float r = planes < channels ? at[0] * 0.2989f + at[1] * 0.587f + at[2] * 0.114f : at[p];
                r = (r * 255.0f + 12582912.0f) - 12582912.0f;
                int level = (int)(r < 0 ? 0 : r > 255 ? 255 : r);
                count += !seen[level];
                seen[level] = 1;
            }
    return count;
}
