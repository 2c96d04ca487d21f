/* How kernels reach the worker threads: a table of functions, filled by fastbp._pool, one a process. */
#ifndef FASTBP_POOL_H
#define FASTBP_POOL_H

/* A piece of work that may be done in any number of parts, side by side. This call does part `part` of `parts`. */
typedef void (*Region)(void *argument, int part, int parts);

enum { MOST_PARTS = 128 };

typedef struct {
    /* Announces a caller who would like this many threads, itself among them. Returns how many it may use: fewer where
     * others are at work, 1 while another has the workers. Each call of enter is followed by one of leave. */
    int (*enter)(int threads);
    void (*leave)(int threads); /* what enter returned */
    /* Runs the region in up to `threads` parts: by the caller and by those workers that are awake. */
    void (*run)(Region region, void *argument, int threads);
} Pool;

#define POOL_NAME "fastbp._pool.pool"

#endif
