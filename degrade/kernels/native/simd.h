/* Vectors of as many floats, or 32-bit integers, as a register of the target holds.

Arithmetic on them is that of GCC's and Clang's vector extension. Two things make results the same
bits on every processor: a lane never meets another lane, so the width does not show; and products
are fused with sums where `madd` says so and nowhere else (-ffp-contract=off). */

#ifndef DEGRADE_SIMD_H
#define DEGRADE_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

/* INTERLEAVE_n: which lanes of (a, b) make a0 b0 a1 b1 ... of their first, and of their last
   halves. */
#if defined(__AVX512F__)
#define LANES 16
#define INTERLEAVE_0 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define INTERLEAVE_1 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX2__)
#define LANES 8
#define INTERLEAVE_0 0, 8, 1, 9, 2, 10, 3, 11
#define INTERLEAVE_1 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LANES 4
#define INTERLEAVE_0 0, 4, 1, 5
#define INTERLEAVE_1 2, 6, 3, 7
#endif

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

/* a b + c, rounded once. */
INLINE vf madd(vf a, vf b, vf c) {
#if defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON)
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    vf y;
    for (int i = 0; i < LANES; i++) y[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return y;
#endif
}

INLINE vf root(vf x) {
#if defined(__AVX512F__)
    return (vf)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
    return (vf)_mm256_sqrt_ps((__m256)x);
#elif defined(__ARM_NEON)
    return (vf)vsqrtq_f32((float32x4_t)x);
#else
    vf y;
    for (int i = 0; i < LANES; i++) y[i] = __builtin_sqrtf(x[i]);
    return y;
#endif
}

INLINE vf splat(float x) { return x - (vf){0}; }

INLINE vf load(const float *x) {
    vf y;
    memcpy(&y, x, sizeof y);
    return y;
}

INLINE vi load_int(const int32_t *x) {
    vi y;
    memcpy(&y, x, sizeof y);
    return y;
}

INLINE void store(float *x, vf y) { memcpy(x, &y, sizeof y); }
INLINE void store_int(int32_t *x, vi y) { memcpy(x, &y, sizeof y); }

INLINE vf to_float(vi x) { return __builtin_convertvector(x, vf); }
INLINE vi to_int(vf x) { return __builtin_convertvector(x, vi); }

/* a where the lane of `which` is all ones, b where it is zero. */
INLINE vf pick(vi which, vf a, vf b) { return (vf)((which & (vi)a) | (~which & (vi)b)); }

/* a < b ? a : b, and a > b ? a : b: what the instructions are defined to be. */
#if defined(__AVX512F__)
INLINE vf least(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
INLINE vf most(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
#elif defined(__AVX2__)
INLINE vf least(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
INLINE vf most(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
#else
INLINE vf least(vf a, vf b) { return pick(a < b, a, b); }
INLINE vf most(vf a, vf b) { return pick(a > b, a, b); }
#endif
INLINE vf clip(vf x, float low, float high) { return least(most(x, splat(low)), splat(high)); }

/* To the nearest whole number, half to even; |x| < 2^22. */
INLINE vf nearest(vf x) { return (x + 12582912.0f) - 12582912.0f; }

/* k / m of a whole number k and m = 2^n - 1, n <= 16, both as a float32 division rounds it, in
   fewer cycles: a product with 1 / m, and Newton's correction. (It is not exact of other numbers;
   a test tries all of these.) */
INLINE float ratio(float k, float m, float inverse) {
    float q = k * inverse;
    return __builtin_fmaf(__builtin_fmaf(-m, q, k), inverse, q);
}
INLINE vf ratio_of(vf k, vf m, vf inverse) {
    vf q = k * inverse;
    return madd(madd(-m, q, k), inverse, q);
}

/* Whether a lane of `which` is all ones. */
INLINE int any(vi which) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)which, (__m512i)which) != 0;
#elif defined(__AVX2__)
    return !_mm256_testz_si256((__m256i)which, (__m256i)which);
#else
    int32_t seen = 0;
    for (int i = 0; i < LANES; i++) seen |= which[i];
    return seen != 0;
#endif
}

/* Rows become columns: each round interleaves the first half of the rows with the second. */
INLINE void transpose(vf x[LANES]) {
    for (int round = 1; round < LANES; round *= 2) {
        vf y[LANES];
        for (int i = 0; i < LANES / 2; i++) {
            y[2 * i] = SHUFFLE(x[i], x[i + LANES / 2], INTERLEAVE_0);
            y[2 * i + 1] = SHUFFLE(x[i], x[i + LANES / 2], INTERLEAVE_1);
        }
        for (int i = 0; i < LANES; i++) x[i] = y[i];
    }
}

/* LANES rows of `count` floats, at least LANES, as vectors of a column each: y[j] = x[:, j]. */
INLINE void turn(const float *x, long xs, float *y, long count) {
    for (long j = 0; j < count; j += LANES) {
        long from = j + LANES > count ? count - LANES : j;
        vf part[LANES];
        for (int r = 0; r < LANES; r++) part[r] = load(x + r * xs + from);
        transpose(part);
        for (int r = 0; r < LANES; r++) store(y + (from + r) * LANES, part[r]);
    }
}

INLINE void turn_back(const float *x, float *y, long ys, long count) {
    for (long j = 0; j < count; j += LANES) {
        long from = j + LANES > count ? count - LANES : j;
        vf part[LANES];
        for (int r = 0; r < LANES; r++) part[r] = load(x + (from + r) * LANES);
        transpose(part);
        for (int r = 0; r < LANES; r++) store(y + r * ys + from, part[r]);
    }
}

#endif
