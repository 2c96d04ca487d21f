# One training step, read top to bottom: weights are packed, each block of rows goes forward, through the loss and back,
# the gradient is looked at, the parameters are updated.

from clock cimport start, lap, PACK, GATHER, FORWARD, LOSS, UPDATE
from simd cimport real, vec, VL, v_load, v_store, v_splat, v_zero, v_where_first
from names cimport GIVEN_DELTA, CLASS_HINGE, CROSS_ENTROPY, ADAM, ADAMW, SGD
from plan cimport Layer, Plan, blocks, least, panels
from pack cimport pack_rows, pack_weights
from forward cimport forward
from losses cimport loss_and_delta
from backward cimport backward
from optimizers cimport Optimizer, squared_norm, sgd, adam
from libc.math cimport sqrt, fabs, isfinite, fmin, pow

cdef struct Data:
    const real *x           # (n, I) of the first layer
    const real *targets     # (n, O) of the last layer, or NULL
    const int *labels       # (n,) class indices, or NULL
    const real *weights     # (n,) or NULL: all ones
    const long *order       # (n,) the order in which rows are taken, or NULL: as they come

cdef extern from *:
    """
    /* No parameter may pass this: far from overflow, far from any use. */
    #define LARGEST_PARAMETER (REAL_BITS == 32 ? 1e30 : 1e150)
    /* No gradient that is squared may pass this, and a norm below this may read as 0 (1e9 parameters). */
    #define LARGEST_ROOT (REAL_BITS == 32 ? 1e19 : 1e150)
    #define LOST (REAL_BITS == 32 ? 1e-14 : 1e-149)
    """
    const double LARGEST_PARAMETER
    const double LARGEST_ROOT
    const double LOST


cdef inline void label_targets(const Plan *plan, const Data *data, real *arena, long first, long rows) noexcept nogil:
    """Class indices as one-hot panels; label smoothing s takes s from the class and spreads it over all O."""
    cdef long width = plan.layers[plan.n_layers - 1].outputs, r, j, label
    cdef real off = plan.loss_parameter / width if plan.loss == CROSS_ENTROPY else 0
    cdef real on = 1 - plan.loss_parameter + off if plan.loss == CROSS_ENTROPY else 1
    cdef real *t = arena + plan.targets
    for r in range(rows):
        for j in range(panels(width)):
            v_store(t + j * plan.stride + r * VL, v_where_first(least(VL, width - j * VL), v_splat(off), v_zero()))
        label = data.labels[data.order[first + r] if data.order != NULL else first + r]
        t[label // VL * plan.stride + r * VL + label % VL] = on


cdef inline void smooth_targets(const Plan *plan, real *arena, long rows) noexcept nogil:
    """t <- (1 - s) t + s / O for probabilities given as targets."""
    cdef long width = plan.layers[plan.n_layers - 1].outputs, r, j
    cdef vec keep = v_splat(1 - plan.loss_parameter), off = v_splat(plan.loss_parameter / width)
    cdef real *t
    for j in range(panels(width)):
        for r in range(rows):
            t = arena + plan.targets + j * plan.stride + r * VL
            v_store(t, v_where_first(least(VL, width - j * VL), keep * v_load(t) + off, v_zero()))


cdef inline void take_block(const Plan *plan, const Data *data, real *arena, long first, long rows,
                            double row_scale) noexcept nogil:
    """Gathers inputs, targets and row scales of one block into the arena."""
    cdef long width = plan.layers[plan.n_layers - 1].outputs, r
    cdef real *scales = arena + plan.row_scales
    pack_rows(data.x, data.order, first, rows, plan.layers[0].inputs, arena + plan.x, plan.stride)
    if data.labels != NULL:
        label_targets(plan, data, arena, first, rows)
    else:
        pack_rows(data.targets, data.order, first, rows, width, arena + plan.targets, plan.stride)
        if plan.loss == CROSS_ENTROPY and plan.loss_parameter != 0:
            smooth_targets(plan, arena, rows)
    for r in range(rows):
        scales[r] = <real>row_scale
        if data.weights != NULL:
            scales[r] *= data.weights[data.order[first + r] if data.order != NULL else first + r]


cdef inline double per_row(const Plan *plan) noexcept nogil:
    """What one row counts in the mean: its loss is itself a mean over elements, unless the loss is one of classes."""
    if plan.loss == CROSS_ENTROPY or plan.loss == CLASS_HINGE or plan.loss == GIVEN_DELTA:
        return 1
    return 1.0 / plan.layers[plan.n_layers - 1].outputs


cdef inline double batch_loss(const Plan *plan, const real *parameters, const Data *data, real *arena, long first, long rows,
                              double total_weight) noexcept nogil:
    """sum_r w_r l_r / total_weight. Weights are packed already."""
    cdef double loss = 0, scale = per_row(plan) / total_weight
    cdef long block, begin, n
    for block in range(blocks(rows, plan.block_rows)):
        begin = first + block * plan.block_rows
        n = least(plan.block_rows, first + rows - begin)
        take_block(plan, data, arena, begin, n, scale)
        forward(plan, parameters, arena, n, plan.from_logits)
        loss += loss_and_delta(plan, arena, n, NULL)
    return loss


cdef inline double batch_gradient(const Plan *plan, const real *parameters, const Data *data, real *arena, long first,
                                  long rows, double total_weight, real *gradient) noexcept nogil:
    """The loss, and its gradient (n_parameters,) written, not added. Weights are packed already."""
    cdef double loss = 0, scale = per_row(plan) / total_weight
    cdef long block, begin, n
    for block in range(blocks(rows, plan.block_rows)):
        begin = first + block * plan.block_rows
        n = least(plan.block_rows, first + rows - begin)
        take_block(plan, data, arena, begin, n, scale)
        lap(plan.clock, GATHER)
        forward(plan, parameters, arena, n, plan.from_logits)
        lap(plan.clock, FORWARD)
        loss += loss_and_delta(plan, arena, n, arena + plan.delta)
        lap(plan.clock, LOSS)
        backward(plan, parameters, arena, n, begin > first, False, gradient)
    return loss


cdef inline bint advance(Optimizer *o, double squared_norm_of_gradient, double loss) noexcept nogil:
    """Counts a step, or returns False with nothing changed where a number would leave the finite range.

    `largest_parameter` and `largest_first` bound what the vectors hold, so that an update's reach is known before it.
    """
    cdef double norm = sqrt(squared_norm_of_gradient), reach, first, step
    if not (isfinite(norm) and isfinite(loss)):
        return False
    norm += LOST                # what squares that underflow hide
    if o.kind == SGD:
        first = o.momentum * o.largest_first + norm + o.weight_decay * o.largest_parameter
        reach = o.lr * (2 * first) + o.largest_parameter
    else:
        first = norm + (o.weight_decay * o.largest_parameter if o.kind == ADAM else 0)
        if not first < LARGEST_ROOT:          # Adam squares it
            return False
        first = o.momentum * o.largest_first + (1 - o.momentum) * first
        reach = first / o.eps
        if o.momentum * o.momentum < o.beta2:     # Cauchy-Schwarz: |m| <= c sqrt(v)
            # beside what is too small for its square to reach v
            reach = fmin(reach, (1 - o.momentum) / sqrt((1 - o.beta2) * (1 - o.momentum * o.momentum / o.beta2))
                         + LOST / sqrt(1 - o.beta2) / o.eps)
        step = o.lr / (1 - pow(o.momentum, <double>(o.steps + 1)))
        if not step * first < LARGEST_PARAMETER:    # computed before it is divided
            return False
        reach = step * reach
        reach += o.largest_parameter * (fabs(1 - o.lr * o.weight_decay) if o.kind == ADAMW else 1)
    if not (reach < LARGEST_PARAMETER and first < LARGEST_PARAMETER):
        return False
    o.steps += 1
    o.largest_first = first
    return True


cdef inline bint train_step(const Plan *plan, const Data *data, real *arena, long first, long rows, Optimizer *o,
                            real *parameters, real *gradient, long padded, double *loss) noexcept nogil:
    """One step on rows first .. first + rows - 1 of the order: complete, or not at all (False: it would diverge)."""
    start(plan.clock)
    pack_weights(plan, parameters, arena, True, False)
    lap(plan.clock, PACK)
    loss[0] = batch_gradient(plan, parameters, data, arena, first, rows, rows, gradient)
    if not advance(o, squared_norm(gradient, padded), loss[0]):
        return False
    o.largest_parameter = sgd(o, parameters, gradient, padded) if o.kind == SGD else adam(o, parameters, gradient, padded)
    lap(plan.clock, UPDATE)
    return True
