/* What libjpeg leaves of one interleaved image: see degrade/kernels/jpeg.py, whose tensor form
this is in integers.

Samples are 32-bit integers. LANES blocks are worked at a time, turned so that a vector is entry
(row, column) of all of them: the transforms then never mix lanes. They are those of jfdctint.c and
jidctint.c: C. Loeffler et al., Practical fast 1-D DCT algorithms with 11 multiplications (1989),
in 13-bit fixed point. */

#include "kernels.h"
#include "simd.h"

typedef struct {
    int32_t *at;
    long height, width; /* multiples of 8; lines have SLACK more entries */
} Plane;

enum { SLACK = LANES };

INLINE int32_t *row_of(const Plane *p, long i) { return p->at + i * (p->width + SLACK); }

static Plane plane_of(int32_t **free_, long height, long width) {
    Plane p = {*free_, height, width};
    *free_ += height * (width + SLACK);
    return p;
}

/* --- transforms of eight lines of vectors ---------------------------------------------------- */

enum {
    C0298 = 2446,
    C0390 = 3196,
    C0541 = 4433,
    C0765 = 6270,
    C0899 = 7373,
    C1175 = 9633,
    C1501 = 12299,
    C1847 = 15137,
    C1961 = 16069,
    C2053 = 16819,
    C2562 = 20995,
    C3072 = 25172
};

INLINE vi descale(vi x, int bits) { return (x + (1 << (bits - 1))) >> bits; }

/* Along the eight. The first pass keeps two bits more than it is given, which the second takes out
   again. */
INLINE void forward(vi d[8], int second) {
    vi t0 = d[0] + d[7], t7 = d[0] - d[7], t1 = d[1] + d[6], t6 = d[1] - d[6];
    vi t2 = d[2] + d[5], t5 = d[2] - d[5], t3 = d[3] + d[4], t4 = d[3] - d[4];
    vi t10 = t0 + t3, t13 = t0 - t3, t11 = t1 + t2, t12 = t1 - t2;
    int down = second ? 15 : 11;
    d[0] = second ? descale(t10 + t11, 2) : (t10 + t11) * 4;
    d[4] = second ? descale(t10 - t11, 2) : (t10 - t11) * 4;
    vi z1 = (t12 + t13) * C0541;
    d[2] = descale(z1 + t13 * C0765, down);
    d[6] = descale(z1 - t12 * C1847, down);
    z1 = t4 + t7;
    vi z2 = t5 + t6, z3 = t4 + t6, z4 = t5 + t7, z5 = (z3 + z4) * C1175;
    t4 = t4 * C0298, t5 = t5 * C2053, t6 = t6 * C3072, t7 = t7 * C1501;
    z1 = z1 * -C0899, z2 = z2 * -C2562, z3 = z3 * -C1961 + z5, z4 = z4 * -C0390 + z5;
    d[7] = descale(t4 + z1 + z3, down);
    d[5] = descale(t5 + z2 + z4, down);
    d[3] = descale(t6 + z2 + z3, down);
    d[1] = descale(t7 + z1 + z4, down);
}

INLINE void inverse(vi d[8], int second) {
    int down = second ? 18 : 11;
    vi z1 = (d[2] + d[6]) * C0541;
    vi t2 = z1 - d[6] * C1847, t3 = z1 + d[2] * C0765;
    vi t0 = (d[0] + d[4]) * 8192, t1 = (d[0] - d[4]) * 8192;
    vi t10 = t0 + t3, t13 = t0 - t3, t11 = t1 + t2, t12 = t1 - t2;
    t0 = d[7], t1 = d[5], t2 = d[3], t3 = d[1];
    z1 = t0 + t3;
    vi z2 = t1 + t2, z3 = t0 + t2, z4 = t1 + t3, z5 = (z3 + z4) * C1175;
    t0 = t0 * C0298, t1 = t1 * C2053, t2 = t2 * C3072, t3 = t3 * C1501;
    z1 = z1 * -C0899, z2 = z2 * -C2562, z3 = z3 * -C1961 + z5, z4 = z4 * -C0390 + z5;
    t0 += z1 + z3, t1 += z2 + z4, t2 += z2 + z3, t3 += z1 + z4;
    d[0] = descale(t10 + t3, down), d[7] = descale(t10 - t3, down);
    d[1] = descale(t11 + t2, down), d[6] = descale(t11 - t2, down);
    d[2] = descale(t12 + t1, down), d[5] = descale(t12 - t1, down);
    d[3] = descale(t13 + t0, down), d[4] = descale(t13 - t0, down);
}

INLINE vi limit(vi x) {
    x &= ~(x >> 31);
    vi above = x > 255;
    return (above & 255) | (~above & x);
}

/* Halves away from zero; exact, because numerator and divisor are far below 2^23. */
INLINE vi divide(vi x, int32_t by) {
    vi sign = x >> 31, size = (x ^ sign) - sign;
    vi y = to_int(to_float(size + by / 2) / (float)by);
    return (y ^ sign) - sign;
}

/* Entries e, ..., e + LANES - 1 of the block at `at`, whose rows are `stride` entries apart. */
INLINE vi entries_of(const int32_t *at, long stride, int e) {
    at += e / 8 * stride + e % 8;
#if defined(__AVX512F__)
    __m512i row = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)at));
    return (vi)_mm512_inserti64x4(row, _mm256_loadu_si256((const __m256i *)(at + stride)), 1);
#else
    return load_int(at);
#endif
}

INLINE void put_entries(vi entries, int32_t *at, long stride, int e) {
    at += e / 8 * stride + e % 8;
#if defined(__AVX512F__)
    _mm256_storeu_si256((__m256i *)at, _mm512_castsi512_si256((__m512i)entries));
    _mm256_storeu_si256((__m256i *)(at + stride), _mm512_extracti64x4_epi64((__m512i)entries, 1));
#else
    store_int(at, entries);
#endif
}

/* Samples in [0, 255] -> the same after DCT, quantisation and back, LANES blocks at a time. */
static void code(const Plane *p, const int32_t *steps) {
    long across = p->width / 8, blocks = across * (p->height / 8), stride = p->width + SLACK;
    for (long b = 0; b < blocks; b += LANES) {
        int32_t *at[LANES];
        vi d[64], t[8];
        for (long lane = 0; lane < LANES; lane++) { /* the last block in all lanes that are left */
            long k = b + lane < blocks ? b + lane : blocks - 1;
            at[lane] = row_of(p, k / across * 8) + k % across * 8;
        }
        for (int e = 0; e < 64; e += LANES) {
            vf part[LANES];
            for (int lane = 0; lane < LANES; lane++)
                part[lane] = (vf)entries_of(at[lane], stride, e);
            transpose(part);
            for (int k = 0; k < LANES; k++) d[e + k] = (vi)part[k] - 128;
        }
        for (int r = 0; r < 8; r++) forward(d + 8 * r, 0);
        for (int c = 0; c < 8; c++) {
            for (int r = 0; r < 8; r++) t[r] = d[8 * r + c];
            forward(t, 1);
            for (int r = 0; r < 8; r++) {
                int32_t step = steps[8 * r + c];
                t[r] = divide(t[r], 8 * step) * step;
            }
            inverse(t, 0);
            for (int r = 0; r < 8; r++) d[8 * r + c] = t[r];
        }
        for (int r = 0; r < 8; r++) inverse(d + 8 * r, 1);
        for (int e = 0; e < 64; e += LANES) {
            vf part[LANES];
            for (int k = 0; k < LANES; k++) part[k] = (vf)limit(d[e + k] + 128);
            transpose(part);
            for (int lane = 0; lane < LANES; lane++)
                put_entries((vi)part[lane], at[lane], stride, e);
        }
    }
}

/* --- borders --------------------------------------------------------------------------------- */

/* Column width - 1 repeated to the right end of row i and beyond. */
static void repeat_right(const Plane *p, long i, long width) {
    int32_t *row = row_of(p, i);
    for (long j = width; j < p->width + SLACK; j++) row[j] = row[width - 1];
}

/* Row height - 1 repeated to the bottom. */
static void repeat_down(const Plane *p, long height) {
    for (long i = height; i < p->height; i++)
        memcpy(row_of(p, i), row_of(p, height - 1), (p->width + SLACK) * sizeof(int32_t));
}

/* --- colour ---------------------------------------------------------------------------------- */

INLINE float rounded(float x) {
    x = x > 0 ? x : 0;
    return ((x < 1 ? x : 1) * 255.0f + 12582912.0f) - 12582912.0f;
}

static void read_row(const float *restrict x, long width, int32_t *restrict luma,
                     int32_t *restrict blue, int32_t *restrict red) {
    for (long j = 0; j < width; j++) {
        int32_t r = (int32_t)rounded(x[3 * j]), g = (int32_t)rounded(x[3 * j + 1]),
                b = (int32_t)rounded(x[3 * j + 2]);
        luma[j] = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;
        blue[j] = (-11059 * r - 21709 * g + 32768 * b + (128 << 16) + 32767) >> 16;
        red[j] = (32768 * r - 27439 * g - 5329 * b + (128 << 16) + 32767) >> 16;
    }
}

INLINE float level(int32_t x) {
    return ratio((float)(x < 0 ? 0 : x > 255 ? 255 : x), 255.0f, 1 / 255.0f);
}

static void write_row(const int32_t *restrict luma, const int32_t *restrict blue,
                      const int32_t *restrict red, long width, float *restrict y) {
    for (long j = 0; j < width; j++) {
        int32_t b = blue[j] - 128, r = red[j] - 128;
        y[3 * j] = level(luma[j] + ((91881 * r + 32768) >> 16));
        y[3 * j + 1] = level(luma[j] + ((-22554 * b - 46802 * r + 32768) >> 16));
        y[3 * j + 2] = level(luma[j] + ((116130 * b + 32768) >> 16));
    }
}

/* Row i of `p`: averages of v x 2 samples of the first v rows of `full`. */
static void shrink(const Plane *full, const Plane *p, long i, int v) {
    const int32_t *a = row_of(full, 0), *b = row_of(full, v - 1);
    int32_t *out = row_of(p, i);
    for (long j = 0; j < p->width; j++)
        out[j] = v == 2 ? (a[2 * j] + a[2 * j + 1] + b[2 * j] + b[2 * j + 1] + 1 + (j & 1)) >> 2
                        : (a[2 * j] + a[2 * j + 1] + (j & 1)) >> 1;
}

/* Row i of v x 2 times as many samples. `sums` has room for a row, and one entry before it. */
static void grow(const Plane *p, long height, long width, long i, int v, int smooth, int32_t *sums,
                 int32_t *restrict out) {
    const int32_t *near = row_of(p, i / v);
    if (!smooth) {
        for (long j = 0; j < width; j++) out[2 * j] = out[2 * j + 1] = near[j];
        return;
    }
    if (v == 2) { /* three quarters of the near row, one of the next nearest */
        long other = i % 2 ? i / 2 + 1 : i / 2 - 1;
        other = other < 0 ? 0 : other >= height ? height - 1 : other;
        const int32_t *far = row_of(p, other);
        for (long j = 0; j < width; j++) sums[j] = 3 * near[j] + far[j];
    } else
        memcpy(sums, near, width * sizeof *sums);
    sums[-1] = sums[0];
    sums[width] = sums[width - 1];
    int32_t even = v == 2 ? 8 : 1, odd = v == 2 ? 7 : 2;
    int bits = v == 2 ? 4 : 2;
    for (long j = 0; j < width; j++) {
        out[2 * j] = (3 * sums[j] + sums[j - 1] + even) >> bits;
        out[2 * j + 1] = (3 * sums[j] + sums[j + 1] + odd) >> bits;
    }
}

/* --- images ---------------------------------------------------------------------------------- */

INLINE long up_to(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }

static void grey(const float *x, long xs, float *y, long ys, long height, long width,
                 const int32_t *steps, int32_t *memory) {
    Plane p = plane_of(&memory, up_to(height, 8), up_to(width, 8));
    for (long i = 0; i < height; i++) {
        int32_t *row = row_of(&p, i);
        for (long j = 0; j < width; j++) row[j] = (int32_t)rounded(x[i * xs + j]);
        repeat_right(&p, i, width);
    }
    repeat_down(&p, height);
    code(&p, steps);
    for (long i = 0; i < height; i++) {
        const int32_t *row = row_of(&p, i);
        for (long j = 0; j < width; j++) y[i * ys + j] = level(row[j]);
    }
}

static void colour(const float *x, long xs, float *y, long ys, long height, long width,
                   const int32_t *steps, int v, int h, int32_t *memory) {
    long tall = up_to(height, 8 * v), wide = up_to(width, 8 * h);
    long rows = (height + v - 1) / v, columns = (width + h - 1) / h;
    Plane luma = plane_of(&memory, tall, wide), small[2], full[2];
    for (int c = 0; c < 2; c++) small[c] = plane_of(&memory, tall / v, wide / h);
    if (h == 1) /* nothing is averaged */
        full[0] = small[0], full[1] = small[1];
    else
        for (int c = 0; c < 2; c++) full[c] = plane_of(&memory, 2, wide); /* the rows in work */
    for (long i = 0; i < up_to(height, v); i++) {
        long from = i < height ? i : height - 1, to = h == 1 ? i : i % v;
        read_row(x + from * xs, width, row_of(&luma, i), row_of(&full[0], to),
                 row_of(&full[1], to));
        repeat_right(&luma, i, width);
        for (int c = 0; c < 2; c++) {
            repeat_right(&full[c], to, width);
            if (h == 2 && to == v - 1) shrink(&full[c], &small[c], i / v, v);
        }
    }
    repeat_down(&luma, height);
    for (int c = 0; c < 2; c++) repeat_down(&small[c], rows);
    code(&luma, steps);
    for (int c = 0; c < 2; c++) code(&small[c], steps + 64);
    int32_t *sums = memory + 1, *out[2] = {memory + wide + 2, memory + 2 * wide + 4};
    int smooth = h == 2 && width > 4; /* two chroma samples or fewer are repeated (jdsample.c) */
    for (long i = 0; i < height; i++) {
        const int32_t *chroma[2];
        for (int c = 0; c < 2; c++)
            if (h == 1)
                chroma[c] = row_of(&small[c], i);
            else {
                grow(&small[c], rows, columns, i, v, smooth, sums, out[c]);
                chroma[c] = out[c];
            }
        write_row(row_of(&luma, i), chroma[0], chroma[1], width, y + i * ys);
    }
}

/* Tables K.1 and K.2 of ITU-T T.81. */
static const unsigned char LUMA[64] = {
    16, 11, 10, 16, 24,  40,  51,  61,  12, 12, 14, 19, 26,  58,  60,  55,
    14, 13, 16, 24, 40,  57,  69,  56,  14, 17, 22, 29, 51,  87,  80,  62,
    18, 22, 37, 56, 68,  109, 103, 77,  24, 35, 55, 64, 81,  104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
};
static const unsigned char CHROMA[64] = {
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99,
    99, 99, 47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
};

/* The steps of luma and chroma, 64 each, in rows, scaled as jpeg_set_quality does. */
void jpeg_tables(int quality, int32_t steps[128]) {
    int32_t scale = quality < 50 ? 5000 / quality : 200 - 2 * quality;
    for (int i = 0; i < 128; i++) {
        int32_t step = ((i < 64 ? LUMA[i] : CHROMA[i - 64]) * scale + 50) / 100;
        steps[i] = step < 1 ? 1 : step > 255 ? 255 : step;
    }
}

/* Encodes and decodes one image in [0, 1]. `steps`: those of `jpeg_tables`. (v, h): pixels that a
   chroma sample spans. In place. */
void jpeg(Arena *arena, const float *x, long xs, float *y, long ys, long height, long width,
          long channels, const int32_t *steps, int v, int h) {
    long tall = up_to(height, 16), wide = up_to(width, 16) + SLACK;
    int32_t *memory = TAKE(arena, int32_t, 3 * tall * wide + 8 * wide);
    if (!arena->base) return;
    if (channels == 1)
        grey(x, xs, y, ys, height, width, steps, memory);
    else
        colour(x, xs, y, ys, height, width, steps, v, h, memory);
}
