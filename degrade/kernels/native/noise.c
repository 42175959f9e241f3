/* Noise over the pixels of one interleaved image: the fields of degrade/rng.py and what
degrade/kernels/noise.py makes of them, a line at a time. */

#include "kernels.h"
#include "simd.h"

/* The hash of degrade/rng.py: the words of pixels, from their columns' words and the two of their
   lines. */
INLINE vi word(vu column, vu first, vu second) {
    vu words = column + first;
    words ^= (vu)((vi)words >> 16);
    words *= 0x7FEB352Du;
    words ^= second;
    words ^= (vu)((vi)words >> 15);
    words *= (uint32_t)-0x7B935975;
    return (vi)words;
}

/* -log x of x in (0, 1], as Cephes' logf: the exponent, and a polynomial in the mantissa from sqrt
   1/2 on. */
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

/* sqrt 2 erf^-1 x for |x| < 1: M. Giles, Approximating the erfinv function (2010), table 5, to
   3e-7. */
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

INLINE vf uniform(vi words) {
    /* As torch: an integer is rounded to a float before it is scaled. */
    return clip(to_float(words) * 0x1p-32f + 0.5f, 0x1p-25f, 0x1.fffffep-1f);
}

INLINE vf normal(vi words) {
    return normal_quantile(to_float(words) * (0x1.fffffep-1f * 0x1p-31f));
}

/* What the next elements of an interleaved line are hashed from. After `planes` vectors channels
   come in the same order again, LANES columns further. */
enum { PLANES = 3 };
typedef struct {
    vu column[PLANES], first[PLANES], second[PLANES];
    vi plane[PLANES];
    long planes, turn;
} Line;

/* The elements of any line. */
static Line line_of(long planes) {
    Line l = {.planes = planes};
    for (long e = 0; e < planes * LANES; e++) {
        long v = e / LANES, lane = e % LANES;
        l.column[v][lane] = (uint32_t)(e / planes) * 0x3C6EF35Fu;
        l.plane[v][lane] = (int32_t)(e % planes);
    }
    return l;
}

/* The same at the start of line i of `height`. */
INLINE Line at_line(const Line *any_, const int32_t *first, const int32_t *second, long i,
                    long height) {
    Line l = *any_;
    for (long v = 0; v < l.planes; v++) {
        l.first[v] = (vu){0} + (uint32_t)first[i];
        l.second[v] = (vu){0} + (uint32_t)second[i];
        for (long p = 1; p < l.planes; p++) {
            vu own = (vu)(l.plane[v] == (int32_t)p);
            l.first[v] = (own & (uint32_t)first[p * height + i]) | (~own & l.first[v]);
            l.second[v] = (own & (uint32_t)second[p * height + i]) | (~own & l.second[v]);
        }
    }
    return l;
}

INLINE uint32_t mixed(uint32_t word) {
    word = (word ^ word >> 16) * 0x7FEB352Du;
    word = (word ^ word >> 15) * (uint32_t)-0x7B935975;
    return word ^ word >> 16;
}

/* The two words of each line (p, y), of the halves of a sample's key: see degrade/rng.py. */
void line_words(uint32_t low, uint32_t high, long planes, long height, int32_t *first,
                int32_t *second) {
    for (long p = 0; p < planes; p++)
        for (long y = 0; y < height; y++) {
            uint32_t line = ((uint32_t)p * 0x01000193u + (uint32_t)y) * 0x61C88647u;
            uint32_t one = mixed(mixed(line + low) ^ high);
            first[p * height + y] = (int32_t)one;
            second[p * height + y] = (int32_t)mixed(one + high);
        }
}

/* The words of the next LANES elements. */
INLINE vi next(Line *l) {
    long v = l->turn;
    vi words = word(l->column[v], l->first[v], l->second[v]);
    l->column[v] += LANES * 0x3C6EF35Fu;
    l->turn = v + 1 < l->planes ? v + 1 : 0;
    return words;
}

/* Lines of our own are a whole number of vectors long. */
static long whole(long count) { return (count + LANES - 1) / LANES * LANES; }

/* One value for all three channels. */
static void repeat(const float *restrict z, float *restrict y, long width) {
    for (long j = 0; j < width; j++) y[3 * j] = y[3 * j + 1] = y[3 * j + 2] = z[j];
}

/* y = M z, of three channels. */
static void mix(const float *restrict z, const float *restrict m, float *restrict y, long width) {
    for (long j = 0; j < width; j++) {
        float a = z[3 * j], b = z[3 * j + 1], c = z[3 * j + 2];
        y[3 * j] = a * m[0] + b * m[1] + c * m[2];
        y[3 * j + 1] = a * m[3] + b * m[4] + c * m[5];
        y[3 * j + 2] = a * m[6] + b * m[7] + c * m[8];
    }
}

/* y = clip(x + n) or, if `times`, clip(x + x n), n = sigma M z. `planes` is 1 (grey: one z for all
   channels) or the number of channels, 1 or 3; M, 3 x 3, may be NULL, the identity. `first` and
   `second`: a word for each (p, line). In place. */
void add_normal(Arena *arena, const float *x, long xs, float *y, long ys, long height, long width,
                long channels, long planes, const int32_t *first, const int32_t *second,
                float sigma, const float *mixing, int times) {
    long count = width * channels, line = whole(count);
    float *z = TAKE(arena, float, line), *in = TAKE(arena, float, line),
          *noise = TAKE(arena, float, line);
    if (!arena->base) return;
    Line any_ = line_of(planes);
    for (long i = 0; i < height; i++, x += xs, y += ys) {
        Line l = at_line(&any_, first, second, i, height);
        for (long e = 0; e < width * planes; e += LANES) store(z + e, normal(next(&l)));
        const float *n = z;
        if (planes < channels)
            repeat(z, noise, width), n = noise;
        else if (mixing)
            mix(z, mixing, noise, width), n = noise;
        memcpy(in, x, count * sizeof *in);
        for (long e = 0; e < line; e += LANES) {
            vf v = load(in + e), scaled = load(n + e) * sigma;
            store(in + e, clip(v + (times ? v * scaled : scaled), 0, 1));
        }
        memcpy(y, in, count * sizeof *y);
    }
}

/* y = 1 where u < white, else 0 where u > black, else x; u uniform. `planes`, `first` and `second`
   as above. In place. */
void salt_pepper(Arena *arena, const float *x, long xs, float *y, long ys, long height, long width,
                 long channels, long planes, const int32_t *first, const int32_t *second,
                 float white, float black) {
    long count = width * channels, line = whole(count);
    float *u = TAKE(arena, float, line), *all = TAKE(arena, float, line),
          *in = TAKE(arena, float, line);
    if (!arena->base) return;
    Line any_ = line_of(planes);
    for (long i = 0; i < height; i++, x += xs, y += ys) {
        Line l = at_line(&any_, first, second, i, height);
        for (long e = 0; e < width * planes; e += LANES) store(u + e, uniform(next(&l)));
        const float *chance = u;
        if (planes < channels) repeat(u, all, width), chance = all;
        memcpy(in, x, count * sizeof *in);
        for (long e = 0; e < line; e += LANES) {
            vf c = load(chance + e);
            store(in + e, pick(c < white, splat(1), pick(c > black, splat(0), load(in + e))));
        }
        memcpy(y, in, count * sizeof *y);
    }
}

/* The rounded Cornish-Fisher expansion of degrade/kernels/noise.py; for means below 8, which it
   is not for, a guess. */
INLINE vf photons(vf mean, vf u) {
    vf z = normal_quantile(2.0f * u - 1.0f);
    vf square = most(mean, splat(0.25f)) - (float)(1.0 / 12);
    vf q = 1.0f / root(square);
    vf qz = q * z;
    vf curve = (q * q - qz) * (float)(1.0 / 72) + (float)(1.0 / 6);
    vf count = madd(square, qz, mean);
    return most(nearest(madd(z * z - 1.0f, curve, count)), splat(0));
}

static void luma(const float *restrict x, float *restrict y, long width) {
    for (long j = 0; j < width; j++)
        y[j] = x[3 * j] * 0.2989f + x[3 * j + 1] * 0.587f + x[3 * j + 2] * 0.114f;
}

/* How many of the ascending steps are below u, sought from `guess` on: the distribution function
   inverted. */
INLINE float steps_below(const float *steps, long count, float u, float guess) {
    long k = guess < (float)count ? (long)guess : count;
    while (k < count && steps[k] < u) k++;
    while (k > 0 && !(steps[k - 1] < u)) k--;
    return (float)k;
}

/* y = clip(x + scale (K / v - r)), K ~ Poisson(v r), r the level of x, or of its luma if planes is
   1 of 3. `steps` has the first TERMS values of the distribution function of each level below
   `dark`. In place. */
void add_poisson(Arena *arena, const float *x, long xs, float *y, long ys, long height, long width,
                 long channels, long planes, const int32_t *first, const int32_t *second, float v,
                 float scale, const float *steps, long dark) {
    long count = width * channels, drawn = width * planes, line = whole(count);
    float *in = TAKE(arena, float, line), *level = TAKE(arena, float, line);
    float *u = TAKE(arena, float, line), *noise = TAKE(arena, float, line);
    if (!arena->base) return;
    memset(level, 0, line * sizeof *level);
    Line any_ = line_of(planes);
    for (long i = 0; i < height; i++, x += xs, y += ys) {
        Line l = at_line(&any_, first, second, i, height);
        vi few = {0};
        memcpy(in, x, count * sizeof *in);
        if (planes < channels)
            luma(in, level, width);
        else
            memcpy(level, in, count * sizeof *level);
        for (long e = 0; e < drawn; e += LANES) {
            vf r = clip(nearest(load(level + e) * 255.0f), 0, 255), random = uniform(next(&l));
            few |= r < (float)dark;
            store(level + e, r);
            store(u + e, random);
            store(noise + e, photons(ratio_of(r, splat(255), splat(1 / 255.0f)) * v, random));
        }
        for (long e = any(few) ? 0 : drawn; e < drawn; e++)
            if (level[e] < (float)dark)
                noise[e] = steps_below(steps + (long)level[e] * TERMS, TERMS, u[e], noise[e]);
        for (long e = 0; e < drawn; e += LANES)
            store(noise + e, (load(noise + e) / v -
                              ratio_of(load(level + e), splat(255), splat(1 / 255.0f))) *
                                 scale);
        const float *n = noise;
        if (planes < channels) {
            repeat(noise, u, width);
            n = u;
        }
        for (long e = 0; e < line; e += LANES)
            store(in + e, clip(load(in + e) + load(n + e), 0, 1));
        memcpy(y, in, count * sizeof *y);
    }
}

/* How many levels an image's pixels, or their lumas if `planes` is 1 and `channels` 3, take; it
   stops counting after a line that finds more than `enough`. */
int distinct(const float *x, long xs, long height, long width, long channels, long planes,
             long enough) {
    enum { PIECE = 256 };
    unsigned char seen[256] = {0};
    float lumas[PIECE];
    int count = 0;
    for (long i = 0; i < height && count <= enough; i++) {
        for (long j = 0; j < width; j += PIECE) {
            long some = j + PIECE > width ? width - j : PIECE;
            const float *in = x + i * xs + j * channels;
            int32_t levels[PLANES * PIECE];
            if (planes < channels) luma(in, lumas, some), in = lumas;
            for (long e = 0; e < some * planes; e++) {
                float r = (in[e] * 255.0f + 12582912.0f) - 12582912.0f;
                r = r > 0 ? r : 0;
                levels[e] = (int32_t)(r < 255 ? r : 255);
            }
            for (long e = 0; e < some * planes; e++) seen[levels[e]] = 1;
        }
        count = 0;
        for (int k = 0; k < 256; k++) count += seen[k];
    }
    return count;
}
