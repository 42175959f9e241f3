/* The kernels that run.c calls, one image at a time.

An image is (height, width, channels) float32, interleaved, 1 or 3 channels; `xs` and `ys` are the
floats from one of its rows to the next. Scratch comes from the arena; with one that only counts,
nothing is computed. Kernels marked "in place" allow y = x. */

#ifndef DEGRADE_KERNELS_H
#define DEGRADE_KERNELS_H

#include <stdint.h>

#include "arena.h"

/* Kernels' codes in records. */
enum {
    K_PYTHON,
    K_CORRELATE,
    K_SEPARABLE,
    K_UNSHARP,
    K_RESAMPLE,
    K_MATLAB,
    K_DECIMATE,
    K_NORMAL,
    K_POISSON,
    K_SALT_PEPPER,
    K_JPEG,
    K_QUANTIZE,
    K_CLIP
};

/* Words of a record, and the first of its own. */
enum { RECORD = 32, OWN = 6 };

/* --- convolve.c ------------------------------------------------------------------------------ */

void correlate(Arena *arena, const float *x, long xs, float *y, long ys, long height, long width,
               long channels, const float *taps, long rows, long columns, int reflect);
void correlate_lines(Arena *arena, const float *const *lines, const float *taps, long kh, long kw,
                     float *y, long ys, long rows, long count, long step);
void correlate_separable(Arena *arena, const float *x, long xs, float *y, long ys, long height,
                         long width, long channels, const float *down, long rows,
                         const float *across, long columns, int reflect);
void unsharp(Arena *arena, const float *x, long xs, float *y, long ys, long height, long width,
             long channels, const float *taps, long size, float amount, float threshold);

/* --- resample.c ------------------------------------------------------------------------------ */

/* Row i of a banded matrix has `taps` columns, index[i * taps + t], and their weights. */
typedef struct {
    const int32_t *index;
    const float *weight;
    long taps;
} Band;
typedef struct {
    const int32_t *index;
    const double *weight;
    long taps;
} Band64;

void resample(Arena *arena, const float *x, long xs, long height, long width, float *y, long ys,
              long rows, long columns, long channels, Band down, Band across);
void resample_levels(Arena *arena, const float *x, long xs, long height, long width, float *y,
                     long ys, long rows, long columns, long channels, Band64 down, Band64 across);

/* --- noise.c --------------------------------------------------------------------------------- */

enum { TERMS = 28 };

void line_words(uint32_t low, uint32_t high, long planes, long height, int32_t *first,
                int32_t *second);
void add_normal(Arena *arena, const float *x, long xs, float *y, long ys, long height, long width,
                long channels, long planes, const int32_t *first, const int32_t *second,
                float sigma, const float *mixing, int times);
void add_poisson(Arena *arena, const float *x, long xs, float *y, long ys, long height, long width,
                 long channels, long planes, const int32_t *first, const int32_t *second, float v,
                 float scale, const float *steps, long dark);
void salt_pepper(Arena *arena, const float *x, long xs, float *y, long ys, long height, long width,
                 long channels, long planes, const int32_t *first, const int32_t *second,
                 float white, float black);
int distinct(const float *x, long xs, long height, long width, long channels, long planes,
             long enough);

/* --- jpeg.c ---------------------------------------------------------------------------------- */

void jpeg_tables(int quality, int32_t steps[128]);
void jpeg(Arena *arena, const float *x, long xs, float *y, long ys, long height, long width,
          long channels, const int32_t *steps, int v, int h);

/* --- psf.c ----------------------------------------------------------------------------------- */

int psf_elliptic(long n, const double *arguments, float *data, const int64_t *offset,
                 int32_t *rows, int32_t *columns);
int psf_sinc(long n, const double *arguments, float *data, const int64_t *offset, int32_t *rows,
             int32_t *columns);
int psf_gaussian(long n, const double *arguments, float *data, const int64_t *offset,
                 int32_t *count);
long matrices(long n, const int64_t *before, const int64_t *after, const double *filter,
              const double *antialias, int matlab, float *data, long start, int32_t *words);

/* --- pixels.c -------------------------------------------------------------------------------- */

void read_image(const void *from, int kind, const int64_t strides[3], long height, long width,
                long channels, float *y);
void write_image(const float *x, long height, long width, long channels, float *to,
                 const int64_t strides[3]);
void quantize(const float *x, float *y, long count, float levels);
void clip_to_unit(const float *x, float *y, long count);
void decimate(const float *x, float *y, long width, long channels, long rows, long columns,
              long first_y, long first_x, long step_y, long step_x);

#endif
