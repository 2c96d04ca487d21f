# The losses: value l(z, t) and slope dl/dz, side by side. For the three losses that are computed from logits the slope is
# dl/dy, the exact product of the loss's and the activation's derivative (z - t for softmax, sigmoid and exp).
#
# Every row's loss and delta are multiplied by the scale of that row, which holds the mean and the sample weight.

from simd cimport (real, vec, VL, v_load, v_store, v_splat, v_zero, v_max, v_min, v_abs, v_where_less, v_where_first, v_sum,
                   v_exp, v_sigmoid, v_softplus)
from names cimport (MSE, MAE, HUBER, QUANTILE, POISSON, CROSS_ENTROPY, BINARY_CROSS_ENTROPY, HINGE, CLASS_HINGE, GIVEN_DELTA)
from plan cimport Plan, panels, least
from activations cimport row_largest, HALF, ONE
from libc.math cimport log


cdef inline vec value(const int loss, vec z, vec t, vec parameter) noexcept nogil:
    cdef vec d = z - t, a = v_abs(d)
    if loss == MSE:                                             # (z - t)^2
        return d * d
    if loss == MAE:                                             # |z - t|
        return a
    if loss == HUBER:                                           # quadratic up to delta, linear from there
        return v_where_less(parameter, a, parameter * (a - HALF * parameter), HALF * d * d)
    if loss == QUANTILE:                                        # max(q (t - z), (q - 1)(t - z))
        return v_max(-parameter * d, (ONE - parameter) * d)
    if loss == POISSON:                                         # e^y - t y
        return v_exp(z) - t * z
    if loss == BINARY_CROSS_ENTROPY:                            # -t log s(y) - (1 - t) log(1 - s(y))
        return v_max(v_zero(), z) - t * z + v_softplus(-v_abs(z))
    return v_max(v_zero(), ONE - t * z)                         # hinge


cdef inline vec slope(const int loss, vec z, vec t, vec parameter) noexcept nogil:
    cdef vec d = z - t, one = v_splat(ONE)
    if loss == MSE:
        return 2 * d
    if loss == MAE:
        return v_where_less(d, v_zero(), -one, v_where_less(v_zero(), d, one, v_zero()))
    if loss == HUBER:
        return v_max(-parameter, v_min(parameter, d))
    if loss == QUANTILE:
        return v_where_less(d, v_zero(), -parameter, v_where_less(v_zero(), d, ONE - parameter, v_zero()))
    if loss == POISSON:
        return v_exp(z) - t
    if loss == BINARY_CROSS_ENTROPY:
        return v_sigmoid(z) - t
    return v_where_less(t * z, one, -t, v_zero())               # hinge


cdef inline double sweep_loss(const int loss, const real *z, const real *t, const real *scales, real *delta, long rows,
                              long stride, long width, real parameter) noexcept nogil:
    cdef vec total = v_zero(), one_loss, zs, ts, scale
    cdef vec p = v_splat(parameter)
    cdef long panel, r, at
    for panel in range(panels(width)):
        for r in range(rows):
            at = panel * stride + r * VL
            zs = v_load(z + at)
            ts = v_load(t + at)
            scale = v_splat(scales[r])
            one_loss = scale * value(loss, zs, ts, p)
            total = total + v_where_first(least(VL, width - panel * VL), one_loss, v_zero())
            if delta != NULL:
                v_store(delta + at, scale * slope(loss, zs, ts, p))
    return v_sum(total)


cdef inline double cross_entropy(const real *y, const real *t, const real *scales, real *delta, long rows, long stride,
                                 long width) noexcept nogil:
    """l = sum_j t_j (log sum_k e^y_k - y_j); dl/dy = softmax(y) sum(t) - t."""
    cdef vec e, ts, shifted, exponentials, log_sum, weight, row_loss, total_weight, share
    cdef long r, j, at
    cdef double loss = 0
    cdef vec scale
    for r in range(rows):
        shifted = v_splat(row_largest(y + r * VL, stride, width))
        exponentials = v_zero()
        total_weight = v_zero()
        for j in range(panels(width)):
            at = j * stride + r * VL
            e = v_where_first(least(VL, width - j * VL), v_exp(v_load(y + at) - shifted), v_zero())
            exponentials = exponentials + e
            total_weight = total_weight + v_load(t + at)        # targets are 0 past the width
            if delta != NULL:
                v_store(delta + at, e)
        exponentials = v_splat(v_sum(exponentials))
        log_sum = v_splat(<real>log(v_sum(exponentials) / VL))
        row_loss = v_zero()
        scale = v_splat(scales[r])
        share = scale * v_splat(v_sum(total_weight)) / exponentials
        for j in range(panels(width)):
            at = j * stride + r * VL
            ts = v_load(t + at)
            weight = ts * (log_sum - (v_load(y + at) - shifted))
            row_loss = row_loss + v_where_first(least(VL, width - j * VL), weight, v_zero())
            if delta != NULL:
                v_store(delta + at, share * v_load(delta + at) - scale * ts)
        loss += scales[r] * <double>v_sum(row_loss)
    return loss


cdef inline double class_hinge(const real *z, const real *t, const real *scales, real *delta, long rows, long stride,
                               long width) noexcept nogil:
    """l = sum over j != c of max(0, 1 + z_j - z_c) / O, for the class c that t (one-hot) marks."""
    cdef long r, j, at
    cdef vec own, margin, active, one = v_splat(ONE), row_loss, count
    cdef double loss = 0
    cdef real scale
    for r in range(rows):
        own = v_zero()
        for j in range(panels(width)):
            at = j * stride + r * VL
            own = own + v_where_less(v_zero(), v_load(t + at), v_load(z + at), v_zero())
        own = v_splat(v_sum(own))
        row_loss = v_zero()
        count = v_zero()
        scale = scales[r] / width
        for j in range(panels(width)):
            at = j * stride + r * VL
            margin = v_where_less(v_zero(), v_load(t + at), v_zero(), ONE + (v_load(z + at) - own))
            margin = v_where_first(least(VL, width - j * VL), margin, v_zero())
            active = v_where_less(v_zero(), margin, one, v_zero())
            row_loss = row_loss + v_max(v_zero(), margin)
            count = count + active
            if delta != NULL:
                v_store(delta + at, scale * active)
        loss += scale * <double>v_sum(row_loss)
        if delta != NULL:
            count = v_splat(v_sum(count))
            for j in range(panels(width)):
                at = j * stride + r * VL
                v_store(delta + at, v_load(delta + at) - scale * count * v_load(t + at))
    return loss


cdef inline double copy_delta(const real *t, real *delta, long rows, long stride, long width) noexcept nogil:
    """dL/dz as a Python loss gave it, in the place of targets; the loss itself is known to the caller."""
    cdef long panel, r
    for panel in range(panels(width)):
        for r in range(rows):
            v_store(delta + panel * stride + r * VL, v_load(t + panel * stride + r * VL))
    return 0


cdef inline double loss_and_delta(const Plan *plan, real *arena, long rows, real *delta) noexcept nogil:
    """The scaled loss of the block; delta (panels, or NULL) gets dL/dz of the last layer, or dL/dy from logits."""
    cdef long width = plan.layers[plan.n_layers - 1].outputs, stride = plan.stride
    cdef const real *z = arena + plan.layers[plan.n_layers - 1].z
    cdef const real *t = arena + plan.targets
    cdef const real *scales = arena + plan.row_scales
    cdef real p = plan.loss_parameter
    if plan.loss == GIVEN_DELTA: return copy_delta(t, delta, rows, stride, width)
    if plan.loss == CROSS_ENTROPY: return cross_entropy(z, t, scales, delta, rows, stride, width)
    if plan.loss == CLASS_HINGE: return class_hinge(z, t, scales, delta, rows, stride, width)
    if plan.loss == MSE: return sweep_loss(MSE, z, t, scales, delta, rows, stride, width, p)
    if plan.loss == MAE: return sweep_loss(MAE, z, t, scales, delta, rows, stride, width, p)
    if plan.loss == HUBER: return sweep_loss(HUBER, z, t, scales, delta, rows, stride, width, p)
    if plan.loss == QUANTILE: return sweep_loss(QUANTILE, z, t, scales, delta, rows, stride, width, p)
    if plan.loss == POISSON: return sweep_loss(POISSON, z, t, scales, delta, rows, stride, width, p)
    if plan.loss == BINARY_CROSS_ENTROPY: return sweep_loss(BINARY_CROSS_ENTROPY, z, t, scales, delta, rows, stride, width, p)
    return sweep_loss(HINGE, z, t, scales, delta, rows, stride, width, p)
