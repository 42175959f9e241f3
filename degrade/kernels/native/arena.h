/* A bump allocator over memory of the caller. An arena without memory (base NULL) only counts what
is taken: a kernel that is given one returns as soon as it has taken its scratch, so that what it
needs is said in one place.

Under AddressSanitizer what is not taken cannot be read or written. */

#ifndef DEGRADE_ARENA_H
#define DEGRADE_ARENA_H

#include <stddef.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

typedef struct {
    char *base; /* aligned to ALIGNMENT bytes */
    long used;
} Arena;

enum { ALIGNMENT = 64 };

static inline long aligned(long bytes) { return (bytes + ALIGNMENT - 1) & -(long)ALIGNMENT; }

static inline void *take(Arena *arena, long bytes) {
    char *at = arena->base ? arena->base + arena->used : NULL;
    if (at) ASAN_UNPOISON_MEMORY_REGION(at, (size_t)bytes);
    arena->used += aligned(bytes);
#ifdef __SANITIZE_ADDRESS__
    arena->used += ALIGNMENT; /* of which nobody takes */
#endif
    return at;
}

/* Room for `count` values, not initialised. */
#define TAKE(arena, type, count) ((type *)take(arena, (long)(count) * (long)sizeof(type)))

#endif
