/* A sample's program: its records, one after the other, on one image. degrade/program.py writes
them; kernel codes and their arguments are those of degrade/kernels.

The image lies in one of two buffers, of the largest size of the program; a kernel that cannot work
in place fills the other. Buffers and scratch are the caller's: nothing is allocated. */

#include "kernels.h"
#include "simd.h"

/* A row of the array that Python fills, all 64-bit. */
typedef struct {
    int64_t records, count; /* the program */
    int64_t data, tables;   /* its words; the Poisson steps of peaks 1, 2, 4, ..., 256 */
    int64_t channels, height, width;
    int64_t input, kind, input_strides[3];
    int64_t target_after; /* how many records come before the target is taken; -1: none */
    int64_t target, target_strides[3];
    int64_t output, output_strides[3];
} Job;

typedef struct {
    const int32_t *words;
    const int32_t *data;
    long height, width, out_height, out_width, channels;
} Record;

static Record record_of(const Job *job, long k) {
    const int32_t *words = (const int32_t *)(intptr_t)job->records + k * RECORD;
    const int32_t *data = (const int32_t *)(intptr_t)job->data;
    return (Record){words, data, words[2], words[3], words[4], words[5], job->channels};
}

/* Argument i: a whole number, a float32, or the array at an offset. */
INLINE long whole(const Record *r, int i) { return r->words[OWN + i]; }
INLINE uint32_t word(const Record *r, int i) { return (uint32_t)r->words[OWN + i]; }
INLINE float real(const Record *r, int i) {
    float y;
    memcpy(&y, r->words + OWN + i, sizeof y);
    return y;
}
INLINE const void *array(const Record *r, int i) { return r->data + whole(r, i); }

static void noise(Arena *arena, const Record *r, const float *tables, const float *x, float *y) {
    int code = r->words[0];
    long planes = whole(r, code == K_NORMAL ? 3 : 4), h = r->height, w = r->width, c = r->channels,
         s = w * c;
    int32_t *first = TAKE(arena, int32_t, planes * h), *second = TAKE(arena, int32_t, planes * h);
    if (arena->base) line_words(word(r, 0), word(r, 1), planes, h, first, second);
    if (code == K_NORMAL) {
        float mixing[9];
        memcpy(mixing, r->words + OWN + 6, sizeof mixing);
        int mixed = whole(r, 5) && planes == 3;
        add_normal(arena, x, s, y, s, h, w, c, planes, first, second, real(r, 2),
                   mixed ? mixing : NULL, whole(r, 4) != 0);
    } else if (code == K_SALT_PEPPER)
        salt_pepper(arena, x, s, y, s, h, w, c, planes, first, second, real(r, 2), real(r, 3));
    else {
        float peak = real(r, 2);
        const float *steps = peak == 0 ? tables : array(r, 5);
        long dark = whole(r, 6);
        if (peak == 0 && arena->base) { /* 2^ceil(log2(levels)): more than 128 make 256 */
            static const int DARK[] = {256, 256, 256, 255, 128, 64, 32, 16, 8};
            int levels = distinct(x, s, h, w, c, planes, 128), power = 0;
            for (; 1 << power < levels; power++) steps += DARK[power] * TERMS;
            peak = (float)(1 << power), dark = DARK[power];
        }
        add_poisson(arena, x, s, y, s, h, w, c, planes, first, second, peak, real(r, 3), steps,
                    dark);
    }
}

/* Whether y may be x. */
static int in_place(int code) {
    return (code >= K_NORMAL && code <= K_SALT_PEPPER) || code == K_JPEG || code == K_QUANTIZE ||
           code == K_CLIP;
}

/* From x to y; with an arena that only counts, nothing but that. Returns whether the kernel is
   known. */
static int call(Arena *arena, const Record *r, const float *tables, const float *x, float *y) {
    long h = r->height, w = r->width, oh = r->out_height, ow = r->out_width, c = r->channels,
         s = w * c, os = ow * c;
    switch (r->words[0]) {
    case K_CORRELATE:
        correlate(arena, x, s, y, s, h, w, c, array(r, 0), whole(r, 1), whole(r, 2),
                  whole(r, 3) == 0);
        return 1;
    case K_SEPARABLE:
        correlate_separable(arena, x, s, y, s, h, w, c, array(r, 0), whole(r, 1), array(r, 2),
                            whole(r, 3), whole(r, 4) == 0);
        return 1;
    case K_UNSHARP:
        unsharp(arena, x, s, y, s, h, w, c, array(r, 0), whole(r, 1), real(r, 2), real(r, 3));
        return 1;
    case K_RESAMPLE:
        resample(arena, x, s, h, w, y, os, oh, ow, c,
                 (Band){array(r, 0), array(r, 1), whole(r, 2)},
                 (Band){array(r, 3), array(r, 4), whole(r, 5)});
        return 1;
    case K_MATLAB:
        resample_levels(arena, x, s, h, w, y, os, oh, ow, c,
                        (Band64){array(r, 0), array(r, 1), whole(r, 2)},
                        (Band64){array(r, 3), array(r, 4), whole(r, 5)});
        return 1;
    case K_DECIMATE:
        if (arena->base)
            decimate(x, y, w, c, oh, ow, whole(r, 0), whole(r, 1), whole(r, 2), whole(r, 3));
        return 1;
    case K_NORMAL:
    case K_POISSON:
    case K_SALT_PEPPER:
        noise(arena, r, tables, x, y);
        return 1;
    case K_JPEG: {
        int32_t steps[128];
        jpeg_tables((int)whole(r, 0), steps);
        jpeg(arena, x, s, y, s, h, w, c, steps, (int)whole(r, 1), (int)whole(r, 2));
        return 1;
    }
    case K_QUANTIZE:
        if (arena->base) quantize(x, y, h * s, real(r, 0));
        return 1;
    case K_CLIP:
        if (arena->base) clip_to_unit(x, y, h * s);
        return 1;
    default:
        return 0;
    }
}

/* Works a job, and returns 0; or, and then nothing is computed, how many bytes of `work` it needs
   if there are fewer, or -1 for a kernel that it does not know. */
EXPORT long run(const int64_t *words, float *work, long work_bytes) {
    const Job *job = (const Job *)words;
    const float *tables = (const float *)(intptr_t)job->tables;
    long pixels = job->height * job->width, scratch = 0;
    for (long k = 0; k < job->count; k++) {
        Record r = record_of(job, k);
        Arena counted = {0};
        if (!call(&counted, &r, tables, NULL, NULL)) return -1;
        scratch = counted.used > scratch ? counted.used : scratch;
        pixels = r.height * r.width > pixels ? r.height * r.width : pixels;
        pixels = r.out_height * r.out_width > pixels ? r.out_height * r.out_width : pixels;
    }
    Arena arena = {0};
    for (int i = 0; i < 2; i++) TAKE(&arena, float, pixels * job->channels);
    long needed = ALIGNMENT + arena.used + scratch;
    if (work_bytes < needed) return needed;

    long start = (long)(intptr_t)work;
    arena = (Arena){(char *)work + (aligned(start) - start), 0};
    ASAN_POISON_MEMORY_REGION(arena.base, (size_t)(needed - ALIGNMENT));
    float *x = TAKE(&arena, float, pixels * job->channels),
          *other = TAKE(&arena, float, pixels * job->channels);
    char *rest = arena.base + arena.used;
    long height = job->height, width = job->width, channels = job->channels;
    read_image((const void *)(intptr_t)job->input, (int)job->kind, job->input_strides, height,
               width, channels, x);
    for (long k = 0; k <= job->count; k++) {
        if (k == job->target_after)
            write_image(x, height, width, channels, (float *)(intptr_t)job->target,
                        job->target_strides);
        if (k == job->count) break;
        Record r = record_of(job, k);
        float *y = in_place(r.words[0]) ? x : other;
        call(&(Arena){rest, 0}, &r, tables, x, y);
        if (y != x) other = x, x = y;
        height = r.out_height, width = r.out_width;
        ASAN_POISON_MEMORY_REGION(rest, (size_t)scratch);
    }
    write_image(x, height, width, channels, (float *)(intptr_t)job->output, job->output_strides);
    ASAN_UNPOISON_MEMORY_REGION(arena.base, (size_t)(needed - ALIGNMENT));
    return 0;
}
