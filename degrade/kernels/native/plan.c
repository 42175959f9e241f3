/* Plans: the values of random variables, sample by sample, as degrade/plan.py and
degrade/distributions.py define them, to the last bit. The variables come as words of 64 bits in the
order of the recipe, which degrade/plan.py and degrade/quantiles.py write:

    DRAW   address column when length      then `length` words, a distribution: the variable's
                                           value, if condition `when` is met
    MEETS  condition low high              met, if the last variable was drawn, in [low, high)

    CONST value                            BERNOULLI p
    UNIFORM low width                      INTEGERS low count
    SQRT, RECIPROCAL                       then a distribution
    CHOICE n (upper value)*n               `upper` edges of the cumulative weights; the last is
                                           infinite
    MIX n (upper lower share length)*n     then n distributions of these lengths
    GIVEN column                           Python has evaluated it */

#include <math.h>

#include "simd.h"
#include "words.h"

enum { DRAW, MEETS };
enum { CONST, BERNOULLI, UNIFORM, INTEGERS, SQRT, RECIPROCAL, CHOICE, MIX, GIVEN };

typedef struct {
    int64_t code, length;
    int64_t keys, batch;      /* (batch,) uint64 */
    int64_t given, evaluated; /* (batch, evaluated) float64 */
    int64_t met;              /* room for a byte a condition; condition 0 is always met */
    int64_t values, columns;  /* out: (batch, columns) float64, NaN where nothing is drawn */
} Planning;

/* The value at level u in [0, 1). */
static double quantile(const int64_t *code, double u, const double *given) {
    const int64_t *own = code + 1;
    switch (code[0]) {
    case CONST: return real_of(own[0]);
    case BERNOULLI: return u < real_of(own[0]) ? 1 : 0;
    case UNIFORM: return real_of(own[0]) + u * real_of(own[1]);
    case INTEGERS: return real_of(own[0]) + floor(u * real_of(own[1]));
    case SQRT: return sqrt(quantile(own, u, given));
    case RECIPROCAL: return 1 / quantile(own, nextafter(1 - u, 0), given);
    case CHOICE:
        for (own++; u >= real_of(own[0]);) own += 2;
        return real_of(own[1]);
    case MIX: {
        const int64_t *body = own + 1 + 4 * own[0];
        for (own++; u >= real_of(own[0]); own += 4) body += own[3];
        double rest = (u - real_of(own[1])) / real_of(own[2]), most = nextafter(1, 0);
        rest = rest > 0 ? rest : 0;
        return quantile(body, rest < most ? rest : most, given);
    }
    default: return given[own[0]];
    }
}

static void plan_one(const Planning *job, uint64_t key, const double *given, double *values) {
    const int64_t *code = (const int64_t *)job->code, *end = code + job->length;
    uint8_t *met = (uint8_t *)job->met;
    double value = NAN;
    for (long j = 0; j < job->columns; j++) values[j] = NAN;
    met[0] = 1;
    while (code < end) {
        if (code[0] == MEETS) { /* of NaN neither holds */
            met[code[1]] = real_of(code[2]) <= value && value < real_of(code[3]);
            code += 4;
            continue;
        }
        value = NAN;
        if (met[code[3]]) {
            double u = (double)(hash_of(hash_of(key ^ (uint64_t)code[1])) >> 11) * 0x1p-53;
            value = values[code[2]] = quantile(code + 5, u, given);
        }
        code += 5 + code[4];
    }
}

EXPORT void plan(const Planning *job) {
    const uint64_t *keys = (const uint64_t *)job->keys;
    for (long i = 0; i < job->batch; i++)
        plan_one(job, keys[i], (const double *)job->given + i * job->evaluated,
                 (double *)job->values + i * job->columns);
}
