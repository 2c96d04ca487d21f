# The user's rows, and how a block of them is gathered into the arena.

from simd cimport real, vec, VL, v_load, v_store, v_splat, v_zero, v_where_first
from names cimport GIVEN_DELTA, CLASS_HINGE, CROSS_ENTROPY
from plan cimport Plan, least, panels
from pack cimport pack_rows
from team cimport MOST_PARTS, Pool, share
from optimizers cimport all_finite
from libc.string cimport memset

cdef struct Data:
    const real *x           # (n, I) of the first layer
    const real *targets     # (n, O) of the last layer, or NULL
    const int *labels       # (n,) class indices, or NULL
    const real *weights     # (n,) or NULL: all ones
    const long *order       # (n,) the order in which rows are taken, or NULL: as they come


cdef inline void label_targets(const Plan *plan, const Data *data, real *t, long first, long rows) noexcept nogil:
    """Class indices as one-hot panels; label smoothing s takes s from the class and spreads it over all O."""
    cdef long width = plan.layers[plan.n_layers - 1].outputs, r, j, label
    cdef real off = plan.loss_parameter / width if plan.loss == CROSS_ENTROPY else 0
    cdef real on = 1 - plan.loss_parameter + off if plan.loss == CROSS_ENTROPY else 1
    for r in range(rows):
        for j in range(panels(width)):
            v_store(t + j * plan.stride + r * VL, v_where_first(least(VL, width - j * VL), v_splat(off), v_zero()))
        label = data.labels[data.order[first + r] if data.order != NULL else first + r]
        t[label // VL * plan.stride + r * VL + label % VL] = on


cdef inline void smooth_targets(const Plan *plan, real *targets, long rows) noexcept nogil:
    """t <- (1 - s) t + s / O for probabilities given as targets."""
    cdef long width = plan.layers[plan.n_layers - 1].outputs, r, j
    cdef vec keep = v_splat(1 - plan.loss_parameter), off = v_splat(plan.loss_parameter / width)
    cdef real *t
    for j in range(panels(width)):
        for r in range(rows):
            t = targets + j * plan.stride + r * VL
            v_store(t, v_where_first(least(VL, width - j * VL), keep * v_load(t) + off, v_zero()))


cdef inline void take_inputs(const Plan *plan, const Data *data, real *arena, long first, long row, long rows) noexcept nogil:
    """Gathers the inputs of rows first .. of the order into the arena, from row `row` of the block on."""
    pack_rows(data.x, data.order, first, rows, plan.layers[0].inputs, arena + plan.x + row * VL, plan.stride)


cdef inline void take_targets(const Plan *plan, const Data *data, real *arena, long first, long row, long rows,
                              double scale) noexcept nogil:
    """The same of targets; and what the loss of each row is to be multiplied by, its weight times `scale`."""
    cdef long width = plan.layers[plan.n_layers - 1].outputs, r
    cdef real *t = arena + plan.targets + row * VL
    cdef real *scales = arena + plan.row_scales + row
    if data.labels != NULL:
        label_targets(plan, data, t, first, rows)
    else:
        pack_rows(data.targets, data.order, first, rows, width, t, plan.stride)
        if plan.loss == CROSS_ENTROPY and plan.loss_parameter != 0:
            smooth_targets(plan, t, rows)
    for r in range(rows):
        scales[r] = <real>scale
        if data.weights != NULL:
            scales[r] *= data.weights[data.order[first + r] if data.order != NULL else first + r]


cdef inline double per_row(const Plan *plan) noexcept nogil:
    """What one row counts in the mean: its loss is itself a mean over elements, unless the loss is one of classes."""
    if plan.loss == CROSS_ENTROPY or plan.loss == CLASS_HINGE or plan.loss == GIVEN_DELTA:
        return 1
    return 1.0 / plan.layers[plan.n_layers - 1].outputs


cdef inline long present_targets(const Plan *plan, const Data *data, long first, long rows) noexcept nogil:
    """How many elements of rows first .. of the order have a target."""
    cdef long width = plan.layers[plan.n_layers - 1].outputs, present = 0, r, j
    cdef const real *t
    for r in range(first, first + rows):
        t = data.targets + (data.order[r] if data.order != NULL else r) * width
        for j in range(width):
            present += t[j] == t[j]
    return present


cdef struct Check:
    const real *a
    long n
    char[MOST_PARTS] fine


cdef inline void check_part(void *argument, int part, int parts) noexcept nogil:
    cdef Check *check = <Check *>argument
    cdef long begin = share(check.n, part, parts)
    check.fine[part] = all_finite(check.a + begin, share(check.n, part + 1, parts) - begin)


cdef inline bint finite_in_parts(const real *a, long n, const Pool *pool, int threads) noexcept nogil:
    cdef Check check
    cdef int part
    if threads == 1:
        return all_finite(a, n)
    check.a = a
    check.n = n
    memset(check.fine, 1, MOST_PARTS)
    pool.run(check_part, &check, threads)
    for part in range(threads):
        if not check.fine[part]:
            return False
    return True
