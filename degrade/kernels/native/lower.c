/* Lowering: the records of a batch, given its plan, as the operators of degrade/ops lower in
Python. The recipe comes as words of 64 bits, which degrade/lowering.py writes, one node after the
other:

    GUARD    column low high length            the next `length` words, if low <= value < high
    SHUFFLE  column n (kept length)*n          then n bodies, in the order of that rank; those that
                                               are kept keep their relative order
    STEP     operator address n (column constant)*n m setting*m
    TARGET                                     the HR target is what the image is now

A field has its value in a column of the plan, or column -1 and a constant. */

#include <math.h>

#include "kernels.h"
#include "simd.h"
#include "words.h"

enum { GUARD, SHUFFLE, STEP, TARGET };

/* degrade.lowering.KNOWN */
enum {
    BLUR,
    SINC,
    SHARPEN,
    RESIZE,
    KEEP_EVERY,
    ADD_NORMAL,
    ADD_POISSON,
    ADD_SALT_PEPPER,
    COMPRESS,
    ROUND,
    CLAMP
};

/* Limits of what is lowered here; beyond them Python lowers, and says what is wrong. */
enum { FIELDS = 8, BODIES = 20, LONGEST_JPEG = 65500 };

typedef struct {
    int64_t code, length;            /* the recipe */
    int64_t values, columns, keys;   /* the plan: (batch, columns) float64, (batch,) uint64 */
    int64_t batch, hr, scale;        /* hr: (batch, 2) heights and widths */
    int64_t channels, most_pixels;
    int64_t records;                 /* room for `most_records` of every sample */
    int64_t start, before_target;    /* out: (batch + 1,), (batch,) */
    int64_t sizes;                   /* out: (batch, 2) */
    int64_t data, capacity;          /* words */
} Lowering;

/* One sample. */
typedef struct {
    const double *values;
    uint64_t key;
    long hr[2], size[2], scale, channels, most_pixels;
    int32_t row, *record; /* the next one */
    long count, before_target;
    float *data; /* NULL: only counted */
    long used, capacity;
    int refused;
} Sample;

/* Room for at most `count` words from an even word on; *at is where. NULL where there is none. */
static float *reserve(Sample *s, long count, int32_t *at) {
    long start = s->used + s->used % 2;
    *at = (int32_t)start;
    s->used = start + count;
    return s->used > s->capacity ? NULL : s->data + start;
}

/* The next record, of which the arguments follow the header. */
static int32_t *record(Sample *s, int code, long height, long width) {
    int32_t *words = s->record;
    memset(words, 0, RECORD * sizeof *words);
    words[0] = code, words[1] = s->row;
    words[2] = (int32_t)s->size[0], words[3] = (int32_t)s->size[1];
    words[4] = (int32_t)height, words[5] = (int32_t)width;
    s->size[0] = height, s->size[1] = width;
    s->record += RECORD, s->count++;
    return words + OWN;
}

static int32_t *in_place(Sample *s, int code) { return record(s, code, s->size[0], s->size[1]); }

INLINE void put(int32_t *word, float value) { memcpy(word, &value, sizeof value); }

/* A kernel of psf.c, trimmed: its offset, rows and columns. */
typedef int Psf(long n, const double *arguments, float *data, const int64_t *offset, int32_t *rows,
                int32_t *columns);

static void square(Sample *s, Psf *psf, const double *arguments, int32_t *words) {
    double size = arguments[0];
    if (!(size >= 1 && size <= 401)) size = 1, s->refused = 1;
    int64_t zero = 0;
    float *to = reserve(s, (long)(size * size), words);
    if (!to || s->refused) return;
    s->refused |= psf(1, arguments, to, &zero, words + 1, words + 2) != 0;
    s->used = words[0] + (long)words[1] * words[2];
}

static void gaussian(Sample *s, double size, double sigma, double shift, int32_t *at,
                     int32_t *count) {
    double arguments[3] = {size, sigma, shift};
    if (!(size >= 1 && size <= 401)) size = 1, s->refused = 1;
    int64_t zero = 0;
    float *to = reserve(s, (long)size, at);
    if (!to || s->refused) return;
    s->refused |= psf_gaussian(1, arguments, to, &zero, count) != 0;
    s->used = *at + *count;
}

static void blur(Sample *s, const double *v, const double *settings) {
    enum { KERNEL, SIZE, SIGMA, SIGMA_Y, ANGLE, GENERALIZED, PLATEAU };
    int kernel = (int)v[KERNEL], family = kernel / 2, anisotropic = kernel % 2;
    double shift = settings[0];
    int32_t border = (int32_t)settings[1];
    if (kernel == 0) {
        int32_t *words = in_place(s, K_SEPARABLE);
        gaussian(s, v[SIZE], v[SIGMA], shift, words, words + 1);
        words[2] = words[0], words[3] = words[1], words[4] = border;
        return;
    }
    double beta = family == 1 ? v[GENERALIZED] : family == 2 ? v[PLATEAU] : 1;
    double arguments[7] = {v[SIZE],
                           v[SIGMA],
                           anisotropic ? v[SIGMA_Y] : v[SIGMA],
                           anisotropic ? v[ANGLE] : 0,
                           beta,
                           family == 2,
                           shift};
    int32_t *words = in_place(s, K_CORRELATE);
    square(s, psf_elliptic, arguments, words);
    words[3] = border;
}

static void resize(Sample *s, const double *v, const double *settings) {
    enum { FACTOR, FILTER, ANTIALIAS };
    int of = (int)settings[0];
    long size[2];
    for (int i = 0; i < 2; i++) {
        long base = of == 0 ? s->size[i] : of == 1 ? s->hr[i] / s->scale : s->hr[i];
        double side = fmax(floor((double)base * v[FACTOR] + 0.5), 1);
        if (!(side <= (double)s->most_pixels)) side = 1, s->refused = 1;
        size[i] = (long)side;
    }
    if (size[0] * size[1] > s->most_pixels) s->refused = 1;
    if (s->refused || (size[0] == s->size[0] && size[1] == s->size[1])) return;
    int64_t before[2] = {s->size[0], s->size[1]}, after[2] = {size[0], size[1]};
    int matlab = (int)v[FILTER] == (int)settings[1];
    int32_t *words = record(s, matlab ? K_MATLAB : K_RESAMPLE, size[0], size[1]);
    long end = matrices(1, before, after, v + FILTER, v + ANTIALIAS, matlab, NULL, s->used, NULL);
    if (end <= s->capacity)
        matrices(1, before, after, v + FILTER, v + ANTIALIAS, matlab, s->data, s->used, words);
    s->used = end;
}

static void keep_every(Sample *s, const double *v) {
    long target[2] = {s->hr[0] / s->scale, s->hr[1] / s->scale}, step[2];
    for (int i = 0; i < 2; i++) {
        step[i] = s->size[i] / target[i];
        if (s->size[i] % target[i]) s->refused = 1;
    }
    int32_t *words = record(s, K_DECIMATE, target[0], target[1]);
    for (int i = 0; i < 2; i++) {
        words[i] = v[0] == 0 ? (int32_t)((step[i] - 1) / 2) : 0;
        words[2 + i] = (int32_t)step[i];
    }
}

/* A record that begins with the key of the step's noise. */
static int32_t *keyed(Sample *s, int code, uint64_t address) {
    int32_t *words = in_place(s, code);
    uint64_t key = hash_of(s->key ^ address);
    words[0] = (int32_t)(uint32_t)key, words[1] = (int32_t)(uint32_t)(key >> 32);
    return words;
}

static void add_noise(Sample *s, int operator, uint64_t address, const double *v,
                      const double *settings) {
    int code = operator == ADD_NORMAL ? K_NORMAL : operator == ADD_POISSON ? K_POISSON
                                                                           : K_SALT_PEPPER;
    int32_t *words = keyed(s, code, address);
    int gray = v[operator == ADD_NORMAL ? 1 : 2] > 0;
    int32_t planes = gray ? 1 : (int32_t)s->channels;
    if (operator == ADD_NORMAL) { /* Python fills in how channels mix */
        put(words + 2, (float)(v[0] / 255));
        words[3] = planes, words[4] = (int32_t)settings[0];
        words[5] = v[2] > 0 && !gray && s->channels > 1;
    } else if (operator == ADD_POISSON) { /* and the steps of a peak */
        put(words + 2, (float)v[1]);
        put(words + 3, (float)v[0]);
        words[4] = planes, words[5] = -1;
    } else {
        float hit = (float)v[0], share = (float)v[1];
        put(words + 2, hit * share);
        put(words + 3, 1 - hit * (1 - share));
        words[4] = planes;
    }
}

static void compress(Sample *s, const double *v, const double *settings) {
    static const int32_t ROWS[] = {2, 1, 1}, COLUMNS[] = {2, 2, 1}; /* 4:2:0, 4:2:2, 4:4:4 */
    double quality = rint(v[0]);
    if (!(quality >= 1 && quality <= 100) || s->size[0] > LONGEST_JPEG ||
        s->size[1] > LONGEST_JPEG)
        s->refused = 1;
    if (s->refused) return;
    int32_t *words = in_place(s, K_JPEG);
    int chroma = (int)v[1];
    words[0] = (int32_t)quality, words[1] = ROWS[chroma], words[2] = COLUMNS[chroma];
    words[3] = (int32_t)settings[0];
}

static void step(Sample *s, int operator, uint64_t address, const double *v,
                 const double *settings) {
    int32_t *words;
    switch (operator) {
    case BLUR:
        blur(s, v, settings);
        return;
    case SINC:
        words = in_place(s, K_CORRELATE);
        square(s, psf_sinc, v, words);
        return;
    case SHARPEN: /* amount, sigma, size, threshold */
        words = in_place(s, K_UNSHARP);
        gaussian(s, v[2], v[1], 0, words, words + 1);
        put(words + 2, (float)v[0]);
        put(words + 3, (float)v[3] / 255.0f);
        return;
    case RESIZE:
        resize(s, v, settings);
        return;
    case KEEP_EVERY:
        keep_every(s, v);
        return;
    case COMPRESS:
        compress(s, v, settings);
        return;
    case ROUND:
        words = in_place(s, K_QUANTIZE);
        put(words, (float)settings[0]);
        return;
    case CLAMP:
        in_place(s, K_CLIP);
        return;
    default:
        add_noise(s, operator, address, v, settings);
    }
}

/* The permutation of 0 ... n - 1 of this rank (Lehmer code), in which those that are kept then take
   the places of all of them in ascending order. `kept` has one in every two words. */
static void order_of(long rank, long n, const int64_t *kept, long *order) {
    long left[BODIES];
    for (long i = 0; i < n; i++) left[i] = i;
    int64_t block = 1;
    for (long i = 1; i < n; i++) block *= i;
    for (long i = 0; i < n; i++) {
        long at = (long)(rank / block % (n - i));
        order[i] = left[at];
        memmove(left + at, left + at + 1, (size_t)(n - i - 1 - at) * sizeof *left);
        if (n - i > 1) block /= n - i - 1;
    }
    long next = 0;
    for (long i = 0; i < n; i++)
        if (kept[2 * order[i]]) {
            while (!kept[2 * next]) next++;
            order[i] = next++;
        }
}

static void walk(Sample *s, const int64_t *code, const int64_t *end) {
    while (code < end && !s->refused) switch (*code) {
        case GUARD: {
            double value = s->values[code[1]];
            int met = value >= real_of(code[2]) && value < real_of(code[3]);
            code += 5 + (met ? 0 : code[4]);
            break;
        }
        case SHUFFLE: {
            long n = code[2], order[BODIES];
            const int64_t *kept = code + 3, *bodies[BODIES + 1];
            bodies[0] = kept + 2 * n;
            for (long i = 0; i < n; i++) bodies[i + 1] = bodies[i] + kept[2 * i + 1];
            order_of((long)s->values[code[1]], n, kept, order);
            for (long i = 0; i < n; i++) walk(s, bodies[order[i]], bodies[order[i] + 1]);
            code = bodies[n];
            break;
        }
        case STEP: {
            double v[FIELDS], settings[FIELDS];
            long n = code[3];
            const int64_t *field = code + 4, *setting = field + 2 * n + 1;
            for (long i = 0; i < n; i++)
                v[i] = field[2 * i] < 0 ? real_of(field[2 * i + 1]) : s->values[field[2 * i]];
            long m = field[2 * n];
            for (long i = 0; i < m; i++) settings[i] = real_of(setting[i]);
            step(s, (int)code[1], (uint64_t)code[2], v, settings);
            code = setting + m;
            break;
        }
        default: /* TARGET */
            s->before_target = s->count;
            code++;
        }
}

/* Returns how many words of data there are, more than `capacity` if that was too little; -1 where
   Python should lower. */
EXPORT long lower(const Lowering *job) {
    const int64_t *code = (const int64_t *)(intptr_t)job->code,
                  *hr = (const int64_t *)(intptr_t)job->hr;
    int64_t *start = (int64_t *)(intptr_t)job->start, *sizes = (int64_t *)(intptr_t)job->sizes,
            *before = (int64_t *)(intptr_t)job->before_target;
    Sample s = {.scale = job->scale,
                .channels = job->channels,
                .most_pixels = job->most_pixels,
                .record = (int32_t *)(intptr_t)job->records,
                .data = (float *)(intptr_t)job->data,
                .capacity = job->capacity};
    start[0] = 0;
    for (long i = 0; i < job->batch; i++) {
        s.values = (const double *)(intptr_t)job->values + i * job->columns;
        s.key = ((const uint64_t *)(intptr_t)job->keys)[i];
        s.row = (int32_t)i;
        s.count = s.before_target = 0;
        for (int j = 0; j < 2; j++) s.hr[j] = s.size[j] = hr[2 * i + j];
        walk(&s, code, code + job->length);
        if (s.refused) return -1;
        start[i + 1] = start[i] + s.count;
        before[i] = s.before_target;
        sizes[2 * i] = s.size[0], sizes[2 * i + 1] = s.size[1];
    }
    return s.used;
}
