# How a step's time divides into phases, for `python bench profile`. A plan without a clock pays one branch a phase.

from libc.stdint cimport uint64_t

cdef extern from "clock.h" nogil:
    uint64_t ticks_now()
    double seconds_now()

cdef enum:      # in the order of Engine.profile
    PACK, GATHER, FORWARD, LOSS, WEIGHT_GRADIENT, INPUT_GRADIENT, UPDATE, N_PHASES

cdef struct Clock:
    uint64_t last
    uint64_t ticks[N_PHASES]


cdef inline void start(Clock *clock) noexcept nogil:
    if clock != NULL:
        clock.last = ticks_now()


cdef inline void lap(Clock *clock, int phase) noexcept nogil:
    """Adds the time since the last lap to `phase`."""
    cdef uint64_t now
    if clock != NULL:
        now = ticks_now()
        clock.ticks[phase] += now - clock.last
        clock.last = now
