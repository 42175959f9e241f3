/* Kernels and resampling matrices, in double precision, as degrade/kernels/psf.py, convolve.py and
resample.py define them. Row i of `arguments` describes kernel i; its taps go to data + offset[i],
trimmed and cropped, as float32. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"
#include "simd.h"

static const double PI = 3.14159265358979323846;

/* Taps of less than NEGLIGIBLE of the sum of all, together, are dropped. */
static const double NEGLIGIBLE = 1e-7;
/* What is below e^-FAINT of the largest tap is dropped in any case: 401 x 401 of them sum to less.
 */
static const double FAINT = 45;
/* Width 0 stands for this one; no power of q grows larger than e^700. */
static const double NARROWEST = 1e-150, LARGEST = 1.0142320547350045e304;

/* The longest side that there is room for on the stack. */
enum { LONGEST = 401 };

/* --- trimming -------------------------------------------------------------------------------- */

/* The least v of which the values up to v, itself included, sum to `limit` at least; infinity if
   all sum to less. Values are parted by one of them, and only the part in which the sum reaches
   `limit` is looked at further. */
static double threshold(double *v, long count, double limit) {
    double found = HUGE_VAL;
    while (count > 0) {
        double pivot = v[count / 2], less = 0, equal = 0;
        long few = 0, more = 0;
        for (long i = 0; i < count; i++) {
            few += v[i] < pivot;
            less += v[i] < pivot ? v[i] : 0;
            equal += v[i] == pivot ? v[i] : 0;
        }
        int here = less + equal >= limit;
        if (here) found = pivot;
        if (here && (few == 0 || less < limit)) return pivot;
        for (long i = 0; i < count; i++)
            if (here ? v[i] < pivot : v[i] > pivot) v[more++] = v[i];
        limit -= here ? 0 : less + equal;
        count = more;
    }
    return found;
}

/* Drops the least of `count` taps, which sum to a negligible part of all. */
static void trim(double *taps, long count, double *scratch) {
    double total = 0, low, base = 0;
    long some = 0;
    for (long i = 0; i < count; i++) total += fabs(taps[i]);
    double limit = NEGLIGIBLE * total;
    low = limit / (double)count; /* all that are less do not reach `limit` */
    for (long i = 0; i < count; i++) {
        double size = fabs(taps[i]);
        if (size >= limit) continue;
        if (size < low)
            base += size;
        else
            scratch[some++] = size;
    }
    double least = threshold(scratch, some, limit - base);
    if (least > limit) least = limit;
    for (long i = 0; i < count; i++)
        if (fabs(taps[i]) < least) taps[i] = 0;
}

/* How far from the centre of `side` lines, `apart` taps from one to the next, of `side` taps
   `step` apart, there is one that is not zero. */
static long reach(const double *taps, long side, long apart, long step) {
    long half = side / 2;
    for (long far = half; far > 0; far--)
        for (long j = 0; j < side; j++)
            if (taps[(half - far) * apart + j * step] != 0 ||
                taps[(half + far) * apart + j * step] != 0)
                return far;
    return 0;
}

/* Trims a square kernel, and writes what is left of it. */
static void finish(double *taps, long side, double *scratch, float *to, int32_t *rows,
                   int32_t *columns) {
    trim(taps, side * side, scratch);
    long y = reach(taps, side, side, 1), x = reach(taps, side, 1, side), half = side / 2;
    for (long i = half - y; i <= half + y; i++)
        for (long j = half - x; j <= half + x; j++) *to++ = (float)taps[i * side + j];
    *rows = (int32_t)(2 * y + 1), *columns = (int32_t)(2 * x + 1);
}

/* exp(x - max x), scaled to sum to 1, in place. */
static void normalise_log(double *x, long count) {
    double most_ = -HUGE_VAL, sum = 0;
    for (long i = 0; i < count; i++) most_ = x[i] > most_ ? x[i] : most_;
    for (long i = 0; i < count; i++) {
        x[i] = x[i] - most_ < -FAINT ? 0 : exp(x[i] - most_);
        sum += x[i];
    }
    for (long i = 0; i < count; i++) x[i] /= sum;
}

/* --- kernels --------------------------------------------------------------------------------- */

/* The logarithm of the profile at q = u^2 + v^2. */
INLINE double profile(double q, double beta, int plateau) {
    q = fmax(q, 1e-300);
    double power = fmin(q, LARGEST);
    if (beta != 1) power = fmin(exp(fmin(beta * log(q), 709)), LARGEST);
    return plateau ? -log1p(power) : -0.5 * power;
}

/* Rows of (size, sigma_x, sigma_y, angle, beta, plateau, shift). Returns 0, or 1 + i for a size of
   row i that is even or too large. */
EXPORT int psf_elliptic(long n, const double *arguments, float *data, const int64_t *offset,
                        int32_t *rows, int32_t *columns) {
    for (long i = 0; i < n; i++, arguments += 7) {
        long size = (long)arguments[0];
        if (size < 1 || size > LONGEST || size % 2 == 0) return (int)i + 1;
        double taps[size * size], scratch[size * size];
        double sx = fmax(arguments[1], NARROWEST), sy = fmax(arguments[2], NARROWEST);
        double cosine = cos(arguments[3]), sine = sin(arguments[3]), beta = arguments[4],
               shift = arguments[6];
        long half = size / 2, area = size * size;
        int plateau = arguments[5] != 0;
        /* Without a shift the kernel is the same from either side of its centre. */
        long count = shift == 0 ? area / 2 + 1 : area;
        for (long k = 0; k < count; k++) {
            double y = (double)(k / size - half) - shift, x = (double)(k % size - half) - shift;
            double u = (cosine * x + sine * y) / sx, v = (cosine * y - sine * x) / sy;
            taps[k] = profile(u * u + v * v, beta, plateau);
        }
        if (count < area)
            for (long k = count; k < area; k++) taps[k] = taps[area - 1 - k];
        normalise_log(taps, area);
        finish(taps, size, scratch, data + offset[i], rows + i, columns + i);
    }
    return 0;
}

/* Rows of (size, cutoff). */
EXPORT int psf_sinc(long n, const double *arguments, float *data, const int64_t *offset,
                    int32_t *rows, int32_t *columns) {
    for (long i = 0; i < n; i++, arguments += 2) {
        long size = (long)arguments[0], half = size / 2;
        if (size < 1 || size > LONGEST || size % 2 == 0) return (int)i + 1;
        double taps[size * size], scratch[size * size];
        double w = PI * arguments[1], sum = 0;
        double *centre = taps + half * size + half;
        for (long y = 0; y <= half; y++) /* an eighth of the disk */
            for (long x = 0; x <= y; x++) {
                double r = sqrt((double)(y * y + x * x));
                double tap = y == 0 ? w * w / (4 * PI) : w * j1(w * r) / (2 * PI * r);
                centre[y * size + x] = centre[y * size - x] = centre[-y * size + x] =
                    centre[-y * size - x] = tap;
                centre[x * size + y] = centre[x * size - y] = centre[-x * size + y] =
                    centre[-x * size - y] = tap;
            }
        for (long k = 0; k < size * size; k++) sum += taps[k];
        for (long k = 0; k < size * size; k++) taps[k] /= sum;
        finish(taps, size, scratch, data + offset[i], rows + i, columns + i);
    }
    return 0;
}

/* Rows of (size, sigma, shift): one axis. */
EXPORT int psf_gaussian(long n, const double *arguments, float *data, const int64_t *offset,
                        int32_t *count) {
    for (long i = 0; i < n; i++, arguments += 3) {
        long size = (long)arguments[0], half = size / 2;
        if (size < 1 || size > LONGEST || size % 2 == 0) return (int)i + 1;
        double taps[size], scratch[size], sigma = fmax(arguments[1], NARROWEST);
        for (long k = 0; k < size; k++) {
            double x = ((double)(k - half) - arguments[2]) / sigma;
            taps[k] = -0.5 * x * x;
        }
        normalise_log(taps, size);
        trim(taps, size, scratch);
        long far = half;
        while (far > 0 && taps[half - far] == 0 && taps[half + far] == 0) far--;
        for (long k = half - far; k <= half + far; k++)
            data[offset[i] + k - half + far] = (float)taps[k];
        count[i] = (int32_t)(2 * far + 1);
    }
    return 0;
}

/* --- resampling matrices --------------------------------------------------------------------- */

/* The order of degrade.kernels.resample.FILTERS. */
enum {
    AREA,
    COVERAGE,
    NEAREST,
    BILINEAR,
    BICUBIC,
    LANCZOS,
    CATMULL_ROM,
    HERMITE,
    MITCHELL,
    MATLAB,
    FILTERS
};

/* Mitchell and Netravali, 1988, equation 8. */
INLINE double cubic(double x, double b, double c) {
    x = fabs(x);
    if (x >= 2) return 0;
    double far = (-b - 6 * c) * (x * x * x) + (6 * b + 30 * c) * (x * x) + (-12 * b - 48 * c) * x +
                 (8 * b + 24 * c);
    double near =
        (12 - 9 * b - 6 * c) * (x * x * x) + (-18 + 12 * b + 6 * c) * (x * x) + (6 - 2 * b);
    return (x < 1 ? near : far) / 6;
}

INLINE double normalised_sinc(double x) { return x == 0 ? 1 : sin(PI * x) / (PI * x); }

INLINE double kernel(double x, int filter) {
    switch (filter) {
    case BILINEAR:
        return fmax(1 - fabs(x), 0);
    case BICUBIC:
        return cubic(x, 0, 0.75);
    case LANCZOS:
        return fabs(x) < 3 ? normalised_sinc(x) * normalised_sinc(x / 3) : 0;
    case HERMITE:
        return cubic(x, 0, 0);
    case MITCHELL:
        return cubic(x, 1.0 / 3, 1.0 / 3);
    default:
        return cubic(x, 0, 0.5);
    }
}

INLINE long floor_mod(long a, long b) { return (a % b + b) % b; }

/* Row i of the matrix, before it is scaled to sum to 1. */
typedef struct {
    long n_in, n_out, taps;
    int filter, antialias;
    double radius, stretch;
} Matrix;

static Matrix matrix_of(long n_in, long n_out, int filter, int antialias) {
    Matrix m = {n_in, n_out, 1, n_in == n_out ? NEAREST : filter, antialias || filter == MATLAB,
                0,    1};
    if (m.filter == AREA || m.filter == COVERAGE) {
        /* The most that ceil((i + 1) n_in / n_out) - floor(i n_in / n_out) takes: remainders of
           i n_in by n_out are all multiples of their common divisor. */
        long whole = n_in / n_out, rest = n_in % n_out;
        long taps = whole + (rest == 0 ? 0 : n_out % rest == 0 ? 1 : 2);
        if (taps > m.taps) m.taps = taps;
    } else if (m.filter != NEAREST) {
        if (m.filter == BICUBIC && m.antialias) m.filter = CATMULL_ROM;
        m.radius = m.filter == BILINEAR || m.filter == HERMITE ? 1 : m.filter == LANCZOS ? 3 : 2;
        if (m.antialias && n_in > n_out) m.stretch = (double)n_in / (double)n_out;
        m.taps = (long)(2 * m.radius * m.stretch) + 1;
    }
    return m;
}

INLINE long least_of(long a, long b) { return a < b ? a : b; }
INLINE long most_of(long a, long b) { return a > b ? a : b; }

/* Tap t of row i of a matrix whose rows begin at column `first` and are centred at `centre`: its
   weight, and its column in *column. */
INLINE double tap_of(const Matrix *m, int filter, long i, long first, double centre, long t,
                     int32_t *column) {
    long at = first + t, last = m->n_in - 1;
    *column = (int32_t)(at < 0 ? 0 : at > last ? last : at);
    switch (filter) {
    case NEAREST:
        return 1;
    case AREA:
        return at * m->n_out < (i + 1) * m->n_in;
    case COVERAGE: /* overlaps in units of 1 / n_out */
        return (double)most_of(least_of((at + 1) * m->n_out, (i + 1) * m->n_in) -
                                   most_of(at * m->n_out, i * m->n_in),
                               0);
    case MATLAB:
        at = floor_mod(at, 2 * m->n_in);
        *column = (int32_t)least_of(at, 2 * m->n_in - 1 - at);
        break;
    default:
        if (m->antialias && *column != at) return 0;
    }
    return kernel(((double)(first + t) - centre) / m->stretch, filter);
}

/* All taps of row i; returns their sum. */
INLINE double row_of(const Matrix *m, int filter, long i, long first, double centre, double *row,
                     int32_t *column) {
    double sum = 0;
    for (long t = 0; t < m->taps; t++)
        sum += row[t] = tap_of(m, filter, i, first, centre, t, column + t);
    return sum;
}

/* The matrix from n_in to n_out samples: K columns and weights for each of its n_out rows. Returns
   K; without `index` nothing is written, and either of `weight` and `weight64` may be NULL. */
EXPORT long band(long n_in, long n_out, int filter, int antialias, int32_t *index, float *weight,
                 double *weight64) {
    Matrix m = matrix_of(n_in, n_out, filter, antialias);
    double row[m.taps];
    for (long i = 0; index && i < n_out; i++) {
        double centre = ((double)i + 0.5) * (double)n_in / (double)n_out - 0.5, sum = 0;
        long first = m.filter == NEAREST  ? (2 * i + 1) * n_in / (2 * n_out)
                     : m.filter < NEAREST ? i * n_in / n_out
                                          : (long)ceil(centre - m.radius * m.stretch);
        switch (m.filter) { /* so that each filter has a loop of its own */
#define ROW(FILTER)                                                                               \
    case FILTER:                                                                                  \
        sum = row_of(&m, FILTER, i, first, centre, row, index + i * m.taps);                      \
        break;
            ROW(AREA)
            ROW(COVERAGE)
            ROW(NEAREST)
            ROW(BILINEAR)
            ROW(BICUBIC)
            ROW(LANCZOS)
            ROW(CATMULL_ROM)
            ROW(HERMITE)
            ROW(MITCHELL)
            ROW(MATLAB)
#undef ROW
        }
        for (long t = 0; t < m.taps; t++) {
            if (weight) weight[i * m.taps + t] = (float)(row[t] / sum);
            if (weight64) weight64[i * m.taps + t] = row[t] / sum;
        }
    }
    return m.taps;
}

/* The matrices of n images that change their size: down and across, each as `index`, `weight` and
   taps (the offsets in words from `data`), six words a row. Of a square image that stays one they
   are equal, and made once. `before` and `after`: (n, 2) heights and widths; `matlab` weights are
   double. From word `start` on; returns the word after the last. With `data` NULL it only counts. */
EXPORT long matrices(long n, const int64_t *before, const int64_t *after, const double *filter,
                     const double *antialias, int matlab, float *data, long start,
                     int32_t *words) {
    for (long i = 0; i < 2 * n; i++) {
        long n_in = before[i], n_out = after[i];
        int code = (int)filter[i / 2], stretch = antialias[i / 2] > 0;
        long taps = band(n_in, n_out, code, stretch, 0, 0, 0);
        long index = start + start % 2, weight = index + n_out * taps;
        weight += weight % 2;
        start = weight + n_out * taps * (matlab ? 2 : 1);
        if (!data) continue;
        float *at = data + weight;
        if (i % 2 && n_in == before[i - 1] && n_out == after[i - 1]) {
            memcpy(data + index, data + words[3 * i - 3], (size_t)(n_out * taps) * sizeof(int32_t));
            memcpy(at, data + words[3 * i - 2], (size_t)(start - weight) * sizeof(float));
        } else
            band(n_in, n_out, code, stretch, (int32_t *)(data + index), matlab ? 0 : at,
                 matlab ? (double *)at : 0);
        words[3 * i] = (int32_t)index;
        words[3 * i + 1] = (int32_t)weight;
        words[3 * i + 2] = (int32_t)taps;
    }
    return start;
}
