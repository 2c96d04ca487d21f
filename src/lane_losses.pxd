# The losses of losses.pxd for networks side by side (lanes.pxd): the same value and slope, lane by lane. What is summed over
# the outputs of a row is summed for all networks at once.

from simd cimport real, vec, VL, v_load, v_store, v_splat, v_zero, v_max, v_exp, v_log, v_where_less
from names cimport MSE, MAE, HUBER, QUANTILE, POISSON, CROSS_ENTROPY, BINARY_CROSS_ENTROPY, HINGE, CLASS_HINGE
from activations cimport ONE
from losses cimport slope, value
from lanes cimport LaneLayer, Lanes


cdef inline vec lane_softmax(const real *y, real *e, long width) noexcept nogil:
    """e = e^(y - max y) of one row; returns their sum. e may be y."""
    cdef vec largest = v_load(y), total = v_zero(), x
    cdef long k
    for k in range(1, width):
        largest = v_max(v_load(y + k * VL), largest)
    for k in range(width):
        x = v_exp(v_load(y + k * VL) - largest)
        v_store(e + k * VL, x)
        total = total + x
    return total


cdef inline vec sweep_lane_loss(const int loss, const real *z, const real *t, const real *scales, real *delta, long rows,
                                long width, vec parameter) noexcept nogil:
    cdef vec total = v_zero(), scale
    cdef long r, k
    for r in range(rows):
        scale = v_load(scales + r * VL)
        for k in range(r * width, (r + 1) * width):
            total = total + scale * value(loss, v_load(z + k * VL), v_load(t + k * VL), parameter)
            v_store(delta + k * VL, scale * slope(loss, v_load(z + k * VL), v_load(t + k * VL), parameter))
    return total


cdef inline vec lane_cross_entropy(const real *y, const real *t, const real *scales, real *delta, long rows,
                                   long width) noexcept nogil:
    """l = sum_j t_j (log sum_k e^y_k - y_j); dl/dy = softmax(y) sum(t) - t."""
    cdef vec total = v_zero(), largest, weight, weighted, sum_of_e, share, scale, target
    cdef long r, k
    for r in range(rows):
        scale = v_load(scales + r * VL)
        sum_of_e = lane_softmax(y, delta, width)
        largest = v_load(y)
        weight = weighted = v_zero()
        for k in range(1, width):
            largest = v_max(v_load(y + k * VL), largest)
        for k in range(width):
            target = v_load(t + k * VL)
            weight = weight + target
            weighted = weighted + target * (v_load(y + k * VL) - largest)
        total = total + scale * (weight * v_log(sum_of_e) - weighted)
        share = weight / sum_of_e
        for k in range(width):
            v_store(delta + k * VL, scale * (share * v_load(delta + k * VL) - v_load(t + k * VL)))
        y += width * VL
        t += width * VL
        delta += width * VL
    return total


cdef inline vec lane_class_hinge(const real *z, const real *t, const real *scales, real *delta, long rows,
                                 long width) noexcept nogil:
    """l = sum over j != c of max(0, 1 + z_j - z_c) / O, for the class c that t (one-hot) marks."""
    cdef vec total = v_zero(), own, margin, active, count, scale, marked, one = v_splat(ONE)
    cdef long r, k
    for r in range(rows):
        scale = v_splat(ONE / width) * v_load(scales + r * VL)
        own = count = v_zero()
        for k in range(width):
            own = own + v_where_less(v_zero(), v_load(t + k * VL), v_load(z + k * VL), v_zero())
        for k in range(width):
            marked = v_load(t + k * VL)
            margin = v_where_less(v_zero(), marked, v_zero(), ONE + (v_load(z + k * VL) - own))
            active = v_where_less(v_zero(), margin, one, v_zero())
            total = total + scale * v_max(v_zero(), margin)
            count = count + active
            v_store(delta + k * VL, scale * active)
        for k in range(width):
            v_store(delta + k * VL, v_load(delta + k * VL) - scale * count * v_load(t + k * VL))
        z += width * VL
        t += width * VL
        delta += width * VL
    return total


cdef inline vec lanes_loss(const Lanes *l, long rows) noexcept nogil:
    """The scaled loss of the block, lane by lane, and dL/dz of the last layer (dL/dy where from logits) in l.delta."""
    cdef const LaneLayer *at = &l.layers[l.plan.n_layers - 1]
    cdef long width = at.layer.outputs
    cdef vec p = v_splat(l.plan.loss_parameter)
    cdef const real *z = at.z
    cdef const real *t = l.targets
    cdef const real *scales = l.scales
    cdef real *delta = l.delta
    cdef int loss = l.plan.loss
    if loss == CROSS_ENTROPY: return lane_cross_entropy(z, t, scales, delta, rows, width)
    if loss == CLASS_HINGE: return lane_class_hinge(z, t, scales, delta, rows, width)
    if loss == MSE: return sweep_lane_loss(MSE, z, t, scales, delta, rows, width, p)
    if loss == MAE: return sweep_lane_loss(MAE, z, t, scales, delta, rows, width, p)
    if loss == HUBER: return sweep_lane_loss(HUBER, z, t, scales, delta, rows, width, p)
    if loss == QUANTILE: return sweep_lane_loss(QUANTILE, z, t, scales, delta, rows, width, p)
    if loss == POISSON: return sweep_lane_loss(POISSON, z, t, scales, delta, rows, width, p)
    if loss == BINARY_CROSS_ENTROPY: return sweep_lane_loss(BINARY_CROSS_ENTROPY, z, t, scales, delta, rows, width, p)
    return sweep_lane_loss(HINGE, z, t, scales, delta, rows, width, p)
