# The losses: value l(z, t) and slope dl/dz, side by side. For the three losses that are computed from logits the slope is
# dl/dy, the exact product of the loss's and the activation's derivative (z - t for softmax, sigmoid and exp).
#
# Every row's loss and delta are multiplied by the scale of that row, which holds the mean and the sample weight.
#
# A target that is NaN is missing: where the loss is `masked` it has neither loss nor slope.

from simd cimport (real, vec, VL, MAX_VL, v_load, v_load_first, v_store, v_splat, v_zero, v_max, v_min, v_abs, v_where_less,
                   v_where_first, v_sum, v_sums, v_exp, v_log, v_sigmoid, v_softplus)
from names cimport (MSE, MAE, HUBER, QUANTILE, POISSON, CROSS_ENTROPY, BINARY_CROSS_ENTROPY, HINGE, CLASS_HINGE, GIVEN_DELTA)
from plan cimport GROUP, Plan, panels, least
from activations cimport row_maxes, HALF, ONE

cdef extern from "math.h" nogil:
    const float INFINITY


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


cdef inline vec if_present(const bint masked, vec t, vec a) noexcept nogil:
    return v_where_less(t, v_splat(INFINITY), a, v_zero()) if masked else a


cdef inline double sweep_one_output(const int loss, const bint masked, const real *z, const real *t, const real *scales,
                                    real *delta, long rows, real parameter) noexcept nogil:
    """sweep_loss for one output: lanes are rows, up to GROUP of them."""
    cdef real[GROUP] zs, ts, slopes
    cdef vec total = v_zero(), one_loss, scale
    cdef long r, chunk, at
    for r in range(panels(rows) * VL):
        zs[r] = z[least(r, rows - 1) * VL]
        ts[r] = t[least(r, rows - 1) * VL]
    for chunk in range(panels(rows)):
        at = chunk * VL
        scale = v_load_first(scales + at, least(VL, rows - at))
        one_loss = if_present(masked, v_load(ts + at),
                              scale * value(loss, v_load(zs + at), v_load(ts + at), v_splat(parameter)))
        total = total + v_where_first(least(VL, rows - at), one_loss, v_zero())
        v_store(slopes + at, if_present(masked, v_load(ts + at),
                                        scale * slope(loss, v_load(zs + at), v_load(ts + at), v_splat(parameter))))
    if delta != NULL:
        for r in range(rows):
            delta[r * VL] = slopes[r]
    return v_sum(total)


cdef inline double sweep_loss(const int loss, const bint masked, const real *z, const real *t, const real *scales, real *delta,
                              long rows, long stride, long width, real parameter) noexcept nogil:
    cdef vec total, one_loss, zs, ts, scale
    cdef vec p = v_splat(parameter)
    cdef long panel, r, at
    cdef double loss_of_block = 0           # equal elements would all round one way in a longer float32 sum
    if width == 1 and rows > 1:
        return sweep_one_output(loss, masked, z, t, scales, delta, rows, parameter)
    for panel in range(panels(width)):
        total = v_zero()
        for r in range(rows):
            at = panel * stride + r * VL
            zs = v_load(z + at)
            ts = v_load(t + at)
            scale = v_splat(scales[r])
            one_loss = if_present(masked, ts, scale * value(loss, zs, ts, p))
            total = total + v_where_first(least(VL, width - panel * VL), one_loss, v_zero())
            if delta != NULL:
                v_store(delta + at, if_present(masked, ts, scale * slope(loss, zs, ts, p)))
        loss_of_block += v_sum(total)
    return loss_of_block


cdef inline vec cross_entropy(const real *y, const real *t, const real *scales, real *delta, long rows, long stride,
                              long width) noexcept nogil:
    """l = sum_j t_j (log sum_k e^y_k - y_j); dl/dy = softmax(y) sum(t) - t. The scaled losses of up to VL rows."""
    cdef vec[MAX_VL] exponentials, weights, weighted
    cdef vec shifted, e, ts, sums, weight, scale
    cdef real[MAX_VL] maxes, shares
    cdef long r, j, at
    row_maxes(y, stride, rows, width, maxes)
    for r in range(VL):
        exponentials[r] = v_splat(ONE) if r >= rows else v_zero()
        weights[r] = weighted[r] = v_zero()
    for r in range(rows):
        for j in range(panels(width)):
            at = j * stride + r * VL
            ts = v_load(t + at)                                 # 0 past the width
            shifted = v_where_first(least(VL, width - j * VL), v_load(y + at) - v_splat(maxes[r]), v_zero())
            e = v_where_first(least(VL, width - j * VL), v_exp(shifted), v_zero())
            exponentials[r] = exponentials[r] + e
            weights[r] = weights[r] + ts
            weighted[r] = weighted[r] + ts * shifted
            if delta != NULL:
                v_store(delta + at, e)
    sums = v_sums(exponentials)
    weight = v_sums(weights)
    scale = v_load_first(scales, rows)
    if delta != NULL:
        v_store(shares, scale * weight / sums)
        for j in range(panels(width)):
            for r in range(rows):
                at = j * stride + r * VL
                v_store(delta + at, v_splat(shares[r]) * v_load(delta + at) - v_splat(scales[r]) * v_load(t + at))
    return scale * (weight * v_log(sums) - v_sums(weighted))


cdef inline vec class_hinge(const real *z, const real *t, const real *scales, real *delta, long rows, long stride,
                            long width) noexcept nogil:
    """l = sum over j != c of max(0, 1 + z_j - z_c) / O, for the class c that t (one-hot) marks. For up to VL rows."""
    cdef vec[MAX_VL] block, losses
    cdef vec margin, active, marked, scale, one = v_splat(ONE)
    cdef real[MAX_VL] own, counts
    cdef long r, j, at
    for r in range(VL):
        block[r] = losses[r] = v_zero()
    for r in range(rows):
        for j in range(panels(width)):
            at = j * stride + r * VL
            block[r] = block[r] + v_where_less(v_zero(), v_load(t + at), v_load(z + at), v_zero())
    v_store(own, v_sums(block))
    scale = v_splat(ONE / width) * v_load_first(scales, rows)
    for r in range(VL):
        block[r] = v_zero()
    for r in range(rows):
        for j in range(panels(width)):
            at = j * stride + r * VL
            marked = v_load(t + at)
            margin = v_where_less(v_zero(), marked, v_zero(), ONE + (v_load(z + at) - v_splat(own[r])))
            margin = v_where_first(least(VL, width - j * VL), margin, v_zero())
            active = v_where_less(v_zero(), margin, one, v_zero())
            losses[r] = losses[r] + v_max(v_zero(), margin)
            block[r] = block[r] + active
            if delta != NULL:
                v_store(delta + at, active)
    v_store(counts, v_sums(block))
    if delta != NULL:
        for j in range(panels(width)):
            for r in range(rows):
                at = j * stride + r * VL
                v_store(delta + at, v_splat(scales[r] * (ONE / width)) *
                        (v_load(delta + at) - v_splat(counts[r]) * v_load(t + at)))
    return scale * v_sums(losses)


cdef inline double by_groups(const int loss, const real *y, const real *t, const real *scales, real *delta, long rows,
                             long stride, long width) noexcept nogil:
    """The losses of whole rows, VL rows at a time: what is summed over a row is summed for all of them at once."""
    cdef vec total = v_zero()
    cdef real *d
    cdef long group, at, n
    for group in range(panels(rows)):
        at = group * VL * VL
        n = least(VL, rows - group * VL)
        d = delta + at if delta != NULL else NULL
        if loss == CROSS_ENTROPY:
            total = total + cross_entropy(y + at, t + at, scales + group * VL, d, n, stride, width)
        else:
            total = total + class_hinge(y + at, t + at, scales + group * VL, d, n, stride, width)
    return v_sum(total)


cdef inline double copy_delta(const real *t, real *delta, long rows, long stride, long width) noexcept nogil:
    """dL/dz as a Python loss gave it, in the place of targets; the loss itself is known to the caller."""
    cdef long panel, r
    for panel in range(panels(width)):
        for r in range(rows):
            v_store(delta + panel * stride + r * VL, v_load(t + panel * stride + r * VL))
    return 0


cdef inline double masked_sweep(const Plan *plan, const real *arena, long row, long rows, real *delta) noexcept nogil:
    """loss_and_delta of any loss that is a mean over elements. One loop for all, which asks for each vector what loss it is."""
    return sweep_loss(plan.loss, True, arena + plan.layers[plan.n_layers - 1].z + row * VL, arena + plan.targets + row * VL,
                      arena + plan.row_scales + row, delta, rows, plan.stride, plan.layers[plan.n_layers - 1].outputs,
                      plan.loss_parameter)


cdef inline double loss_and_delta(const Plan *plan, const real *arena, long row, long rows, real *delta) noexcept nogil:
    """The scaled loss of rows row .. row + rows - 1 of the block.

    delta (panels from row `row` on, or NULL) gets dL/dz of the last layer, or dL/dy where the loss is from logits.
    """
    cdef long width = plan.layers[plan.n_layers - 1].outputs, stride = plan.stride
    cdef const real *z = arena + plan.layers[plan.n_layers - 1].z + row * VL
    cdef const real *t = arena + plan.targets + row * VL
    cdef const real *scales = arena + plan.row_scales + row
    cdef real p = plan.loss_parameter
    if plan.loss == GIVEN_DELTA: return copy_delta(t, delta, rows, stride, width)
    if plan.loss == CROSS_ENTROPY: return by_groups(CROSS_ENTROPY, z, t, scales, delta, rows, stride, width)
    if plan.loss == CLASS_HINGE: return by_groups(CLASS_HINGE, z, t, scales, delta, rows, stride, width)
    if plan.masked_loss != NULL: return plan.masked_loss(plan, arena, row, rows, delta)
    if plan.loss == MSE: return sweep_loss(MSE, False, z, t, scales, delta, rows, stride, width, p)
    if plan.loss == MAE: return sweep_loss(MAE, False, z, t, scales, delta, rows, stride, width, p)
    if plan.loss == HUBER: return sweep_loss(HUBER, False, z, t, scales, delta, rows, stride, width, p)
    if plan.loss == QUANTILE: return sweep_loss(QUANTILE, False, z, t, scales, delta, rows, stride, width, p)
    if plan.loss == POISSON: return sweep_loss(POISSON, False, z, t, scales, delta, rows, stride, width, p)
    if plan.loss == BINARY_CROSS_ENTROPY:
        return sweep_loss(BINARY_CROSS_ENTROPY, False, z, t, scales, delta, rows, stride, width, p)
    return sweep_loss(HINGE, False, z, t, scales, delta, rows, stride, width, p)
