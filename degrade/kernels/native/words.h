/* Words of 64 bits, as Python writes them and draws come from them. */

#ifndef DEGRADE_WORDS_H
#define DEGRADE_WORDS_H

#include <stdint.h>
#include <string.h>

/* The float64 that a word holds. */
static inline double real_of(int64_t word) {
    double x;
    memcpy(&x, &word, sizeof x);
    return x;
}

/* splitmix64's finaliser, as degrade/rng.py. */
static inline uint64_t hash_of(uint64_t word) {
    word += 0x9E3779B97F4A7C15u;
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9u;
    word = (word ^ (word >> 27)) * 0x94D049BB133111EBu;
    return word ^ (word >> 31);
}

#endif
