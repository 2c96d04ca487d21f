# Work that can be done in parts, side by side. How many parts there are is invisible in the results: every number is
# computed by one part, from the same numbers, in the same order.

cdef extern from "pool.h" nogil:
    enum: MOST_PARTS
    const char *POOL_NAME
    ctypedef void (*Region)(void *argument, int part, int parts) noexcept nogil
    ctypedef struct Pool:
        int (*enter)(int threads) noexcept nogil
        void (*leave)(int threads) noexcept nogil
        void (*run)(Region region, void *argument, int threads) noexcept nogil


cdef inline long share(long n, int part, int parts) noexcept nogil:
    """Where part `part` of n things begins, and the part before it ends."""
    return n * part // parts
