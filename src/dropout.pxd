# Dropout: z = x / (1 - p) where kept, 0 where dropped, each number by itself with probability p. Srivastava et al. (2014),
# in the inverted form: evaluation leaves x as it is.

from simd cimport real, vec, VL, v_load, v_store, v_splat
from plan cimport GROUP, Layer, Plan, blocks, least, panels

cdef extern from "dropout.h" nogil:
    unsigned long long mixed_with(unsigned long long bits, unsigned long long number)
    int dropout_limit(double p)
    vec v_dropout(vec x, vec scale, unsigned long long row, long feature, int limit)
    vec v_dropout_slope(vec z, vec delta, vec scale)


cdef inline void dropout(const Plan *plan, int l, const real *x, real *z, long rows, long place) noexcept nogil:
    """z of `rows` rows in panels; the first of them is row `place` of the batch. Dropped numbers are -0 (dropout.h)."""
    cdef const Layer *layer = &plan.layers[l]
    cdef unsigned long long bits = mixed_with(mixed_with(plan.key, plan.draw), l)
    cdef unsigned long long[GROUP] row_bits
    cdef int limit = dropout_limit(layer.setting)
    cdef vec scale = v_splat(<real>(1 / (1 - layer.setting)))
    cdef long group, r, n, panel, at
    for group in range(blocks(rows, GROUP)):
        n = least(GROUP, rows - group * GROUP)
        for r in range(n):
            row_bits[r] = mixed_with(bits, place + group * GROUP + r)
        for panel in range(panels(layer.outputs)):
            for r in range(n):
                at = panel * plan.stride + (group * GROUP + r) * VL
                v_store(z + at, v_dropout(v_load(x + at), scale, row_bits[r], panel * VL, limit))


cdef inline void dropout_slope(const Plan *plan, int l, const real *z, real *delta, long rows) noexcept nogil:
    """dL/dx out of dL/dz, in place in delta."""
    cdef const Layer *layer = &plan.layers[l]
    cdef vec scale = v_splat(<real>(1 / (1 - layer.setting)))
    cdef long r, panel, at
    for panel in range(panels(layer.outputs)):
        for r in range(rows):
            at = panel * plan.stride + r * VL
            v_store(delta + at, v_dropout_slope(v_load(z + at), v_load(delta + at), scale))
