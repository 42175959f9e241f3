/* The schedule of a batch on a GPU, as degrade/execution/launches.py defines it: passes of every
record, in the order of their launches, in the memory that is uploaded. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "simd.h"

/* degrade.execution.passes.PASSES */
enum {
    LOAD,
    TARGET,
    OUTPUT,
    PYTHON,
    CORRELATE,
    DOWN,
    ACROSS,
    RESIDUAL,
    MASK,
    BLEND,
    RESAMPLE_DOWN,
    RESAMPLE_ACROSS,
    MATLAB_DOWN,
    MATLAB_ACROSS,
    DECIMATE,
    NORMAL,
    FIND_LEVELS,
    POISSON,
    SALT_PEPPER,
    SAMPLE,
    CODE,
    REBUILD,
    CONVERT,
    PASSES
};

enum { UNIT = 64, LEVELS = 256, PATIENCE = 12 };

typedef struct {
    int64_t records, start, before_target, call; /* of Lines; call may be NULL */
    int64_t hr, batch, channels, with_target;
    int64_t data, data_words;
    int64_t tables, table_words;
    int64_t tiles;                 /* (PASSES, 2) int32 rows and columns */
    int64_t words;                 /* out: what is uploaded; there is room for it */
    int64_t steps;                 /* out: (n, 5) int64 pass, first, samples, tiles, planes */
    int64_t sizes, targets;        /* out: (batch, 2) */
    int64_t first_record, floats;  /* out */
    int64_t used;                  /* out: words */
} Schedule;

typedef struct {
    int32_t kind, tiles;
    int32_t words[RECORD];
} Pass;

typedef struct {
    const int32_t *tiles;
    Pass *next;
} Writer;

static int32_t *add(Writer *to, int kind, const int32_t *record, long height, long width) {
    Pass *pass = to->next++;
    long rows = to->tiles[2 * kind], columns = to->tiles[2 * kind + 1];
    pass->kind = kind;
    pass->tiles = (int32_t)((height + rows - 1) / rows * ((width + columns - 1) / columns));
    memcpy(pass->words, record, sizeof pass->words);
    return pass->words;
}

INLINE void slots(int32_t *words, long source, long out) {
    words[24] = (int32_t)source, words[25] = (int32_t)out;
}

/* How a border is met: 1 repeats the last pixel, 0 mirrors once, 2 more often. */
INLINE int border_of(int border, int often) { return border == 1 ? 1 : often ? 2 : 0; }

static int moves(int code) { return code == K_CORRELATE || code == K_DECIMATE; }

INLINE long greater(long a, long b) { return a > b ? a : b; }

/* Floats of the largest image that a record needs room for. */
static long need_of(const int32_t *r, long channels) {
    int code = r[0];
    long height = r[2], width = r[3], tall = r[4], across = r[5];
    long need = greater(height * width, tall * across);
    if (code == K_RESAMPLE || code == K_MATLAB) need = greater(need, tall * width);
    need *= channels;
    long padded = (height + 15) / 16 * (width + 15) / 16 * 256;
    return code == K_JPEG ? greater(need, channels * padded / 4) : need;
}

/* The passes of a record whose image is in slot x; y is the other slot, z the third. */
static void passes_of(Writer *to, const int32_t *r, long x, long y, long z, int call, long tables,
                      long *flagged, long flags, long channels) {
    long height = r[2], width = r[3];
    int32_t *w;
    switch (r[0]) {
    case K_CORRELATE:
        w = add(to, CORRELATE, r, height, width);
        slots(w, x, y);
        w[27] = border_of(r[9], r[7] / 2 >= height || r[8] / 2 >= width);
        return;
    case K_SEPARABLE:
        w = add(to, DOWN, r, height, width);
        slots(w, x, y);
        w[27] = border_of(r[10], r[7] / 2 >= height), w[28] = r[6], w[29] = r[7];
        w = add(to, ACROSS, r, height, width);
        slots(w, y, x);
        w[27] = border_of(r[10], r[9] / 2 >= width), w[28] = r[8], w[29] = r[9];
        return;
    case K_UNSHARP: {
        long from[] = {x, y, z, y}, into[] = {y, z, y, x};
        for (int i = 0; i < 4; i++) {
            w = add(to, (const int[]){DOWN, RESIDUAL, MASK, BLEND}[i], r, height, width);
            slots(w, from[i], into[i]);
            if (i % 2) w[26] = (int32_t)(i == 1 ? x : z);
            w[27] = border_of(0, r[7] / 2 >= (i % 2 ? width : height));
            w[28] = r[6], w[29] = r[7];
        }
        return;
    }
    case K_RESAMPLE:
    case K_MATLAB:
        w = add(to, r[0] == K_MATLAB ? MATLAB_DOWN : RESAMPLE_DOWN, r, r[4], width);
        slots(w, x, y);
        w = add(to, r[0] == K_MATLAB ? MATLAB_ACROSS : RESAMPLE_ACROSS, r, r[4], r[5]);
        slots(w, y, x);
        return;
    case K_DECIMATE:
        slots(add(to, DECIMATE, r, r[4], r[5]), x, y);
        return;
    case K_NORMAL:
        add(to, NORMAL, r, height, width)[24] = (int32_t)x;
        return;
    case K_POISSON: {
        int by_content = (r[8] & 0x7FFFFFFF) == 0;
        long own = by_content ? (*flagged)++ : greater(*flagged - 1, 0);
        for (int i = by_content ? 0 : 1; i < 2; i++) {
            w = add(to, i ? POISSON : FIND_LEVELS, r, height, width);
            w[24] = (int32_t)x, w[27] = (int32_t)(flags + LEVELS * own);
        }
        return;
    }
    case K_SALT_PEPPER:
        add(to, SALT_PEPPER, r, height, width)[24] = (int32_t)x;
        return;
    case K_JPEG: {
        int32_t own[RECORD];
        memcpy(own, r, sizeof own);
        if (channels == 1) own[7] = own[8] = 1;
        long v = own[7], h = own[8], tall = (height + 8 * v - 1) / (8 * v),
             wide = (width + 8 * h - 1) / (8 * h);
        slots(add(to, SAMPLE, own, 8 * tall, 8 * wide), x, y);
        w = add(to, CODE, own, tall * v, wide * h);
        w[24] = (int32_t)y, w[27] = (int32_t)tables;
        slots(add(to, REBUILD, own, height, width), y, x);
        return;
    }
    case K_QUANTIZE:
    case K_CLIP:
        w = add(to, CONVERT, r, height, width);
        w[24] = (int32_t)x, w[27] = r[0] == K_QUANTIZE ? r[6] : 0;
        return;
    default:
        w = add(to, PYTHON, r, height, width);
        w[24] = (int32_t)x, w[27] = call;
    }
}

/* Launched next is the pass that the sample with most passes left waits for, unless many samples
   will wait for it after the one that they wait for now; LR images come last. */
static int next_of(const Pass *const *now, const Pass *const *end, long batch) {
    long here[PASSES] = {0}, following[PASSES] = {0}, longest[PASSES] = {0};
    for (long i = 0; i < batch; i++) {
        if (now[i] == end[i]) continue;
        int kind = now[i]->kind;
        here[kind]++;
        longest[kind] = greater(longest[kind], end[i] - now[i]);
        if (now[i] + 1 < end[i]) following[now[i][1].kind]++;
    }
    int chosen = -1;
    double best = -HUGE_VAL;
    for (int kind = 0; kind < PASSES; kind++) {
        if (!here[kind]) continue;
        double score = (double)longest[kind] - (double)(PATIENCE * following[kind]) /
                                                   (double)greater(here[kind] + following[kind], 1);
        if (kind == OUTPUT && score > -PATIENCE - 1) score = -PATIENCE - 1;
        if (score > best) best = score, chosen = kind;
    }
    return chosen;
}

/* Returns the number of launches, or -1 where there is no memory for its work. */
EXPORT long schedule(Schedule *job) {
    const int32_t *records = (const int32_t *)(intptr_t)job->records,
                  *data = (const int32_t *)(intptr_t)job->data,
                  *tables = (const int32_t *)(intptr_t)job->tables;
    const int64_t *start = (const int64_t *)(intptr_t)job->start,
                  *before = (const int64_t *)(intptr_t)job->before_target,
                  *hr = (const int64_t *)(intptr_t)job->hr,
                  *call = (const int64_t *)(intptr_t)job->call;
    int64_t *sizes = (int64_t *)(intptr_t)job->sizes, *targets = (int64_t *)(intptr_t)job->targets,
            *steps = (int64_t *)(intptr_t)job->steps;
    int32_t *words = (int32_t *)(intptr_t)job->words;
    long batch = job->batch, channels = job->channels, total = start[batch];
    Pass *passes = malloc((size_t)(4 * total + 3 * batch + 1) * sizeof *passes);
    const Pass **now = malloc((size_t)(2 * batch + 1) * sizeof *now), **end = now + batch;
    if (!passes || !now) {
        free(passes);
        free(now);
        return -1;
    }
    long data_end = job->data_words + job->data_words % 2, flags = data_end + job->table_words;
    long base = 0, flagged = 0;
    Writer to = {(const int32_t *)(intptr_t)job->tiles, passes};
    for (long i = 0; i < batch; i++) {
        const int32_t *own = records + start[i] * RECORD;
        long count = start[i + 1] - start[i], height = hr[2 * i], width = hr[2 * i + 1];
        long room = channels * height * width, third = 0;
        for (long k = 0; k < count; k++) {
            long need = need_of(own + k * RECORD, channels);
            room = greater(room, need);
            if (own[k * RECORD] == K_UNSHARP) third = greater(third, (need + UNIT - 1) / UNIT);
        }
        room = (room + UNIT - 1) / UNIT;
        long x = base, y = base + room, z = base + 2 * room;
        base += 2 * room + third;
        /* What quantises or clips at the very end does so on the way out. */
        int final = count ? own[(count - 1) * RECORD] : 0;
        int rounds = (final == K_QUANTIZE || final == K_CLIP) &&
                     !(job->with_target && before[i] == count);
        int32_t blank[RECORD] = {0};
        float plain = -1;
        now[i] = to.next;
        blank[1] = (int32_t)i, blank[2] = (int32_t)height, blank[3] = (int32_t)width;
        add(&to, LOAD, blank, height, width)[25] = (int32_t)x;
        for (long k = 0; k <= count; k++) {
            blank[2] = (int32_t)height, blank[3] = (int32_t)width;
            if (k == before[i]) {
                targets[2 * i] = height, targets[2 * i + 1] = width;
                if (job->with_target) {
                    int32_t *w = add(&to, TARGET, blank, height, width);
                    w[24] = (int32_t)x;
                    memcpy(w + 27, &plain, sizeof plain);
                }
            }
            if (k == count) break;
            const int32_t *r = own + k * RECORD;
            if (k < count - 1 || !rounds)
                passes_of(&to, r, x, y, z, call ? (int)call[start[i] + k] : 0, data_end, &flagged,
                          flags, channels);
            if (moves(r[0])) {
                long other = x;
                x = y, y = other;
            }
            height = r[4], width = r[5];
        }
        sizes[2 * i] = height, sizes[2 * i + 1] = width;
        int32_t *w = add(&to, OUTPUT, blank, height, width);
        w[24] = (int32_t)x;
        if (!rounds)
            memcpy(w + 27, &plain, sizeof plain);
        else if (final == K_QUANTIZE)
            w[27] = own[(count - 1) * RECORD + OWN];
        end[i] = to.next;
    }
    long begin = (flags + flagged * LEVELS + RECORD - 1) / RECORD * RECORD;
    memcpy(words, data, (size_t)job->data_words * sizeof *words);
    memset(words + job->data_words, 0, (size_t)(data_end - job->data_words) * sizeof *words);
    memcpy(words + data_end, tables, (size_t)job->table_words * sizeof *words);
    memset(words + flags, 0, (size_t)(begin - flags) * sizeof *words);
    long launches = 0, first = 0;
    for (int kind; (kind = next_of(now, end, batch)) >= 0; launches++) {
        int64_t *step = steps + 5 * launches;
        long some = 0, tiles = 0;
        for (long i = 0; i < batch; i++) {
            if (now[i] == end[i] || now[i]->kind != kind) continue;
            memcpy(words + begin + (first + some++) * RECORD, now[i]->words, sizeof now[i]->words);
            tiles = greater(tiles, now[i]->tiles);
            now[i]++;
        }
        step[0] = kind, step[1] = first, step[2] = some, step[3] = tiles;
        step[4] = kind == SAMPLE || kind == REBUILD ? 1 : channels;
        first += some;
    }
    free(passes);
    free(now);
    job->first_record = begin, job->floats = base * UNIT, job->used = begin + first * RECORD;
    return launches;
}
