# R{.}, the derivative along a direction, of what stands in activations.pxd and losses.pxd: R{h'(y)} out of R{y} or R{z},
# and R{dL/dz} of each loss out of R{z} (R{dL/dy} out of R{y} for the losses from logits). At kinks it is that of the lines
# on both sides, 0.

from simd cimport (real, vec, VL, v_load, v_store, v_splat, v_zero, v_max, v_min, v_abs, v_copysign, v_where_less, v_sum,
                   v_exp, v_sigmoid)
from names cimport (RELU, LEAKY_RELU, ELU, SELU, GELU, GELU_TANH, SILU, SOFTPLUS, SIGMOID, HARD_SIGMOID, TANH, SOFTSIGN,
                    EXP, MSE, HUBER, POISSON, CROSS_ENTROPY, BINARY_CROSS_ENTROPY)
from plan cimport Layer, Plan, panels
from losses cimport if_present
from activations cimport GELU_CUBIC_3, GELU_END, HALF, INV_SQRT_2PI, ONE, SQRT_2_OVER_PI, gelu_tanh, slope, softmax


cdef inline vec slope_tangent(const int kind, vec y, vec z, vec ry, vec rz) noexcept nogil:
    """R{h'(y)}. Where h' is written in terms of z, so is this: h' = 1 - z^2 gives -2 z R{z}. Else it is h''(y) R{y}."""
    cdef vec one = v_splat(ONE), s, u
    if kind == ELU:
        return v_where_less(z, v_zero(), rz, v_zero())
    if kind == SELU:
        return v_where_less(v_zero(), z, v_zero(), rz)
    if kind == GELU:                                            # h'' = phi(y) (2 - y^2)
        y = v_max(v_splat(-GELU_END), v_min(v_splat(GELU_END), y))     # phi is 0 from there, y^2 might be infinite
        return ry * INV_SQRT_2PI * v_exp(-HALF * y * y) * (2 - y * y)
    if kind == GELU_TANH:       # s = tanh(u(y)): h'' = (1 - s^2)(u' + y u'' / 2 - y s u'^2), u'' = 2 (u'(y) - u'(0)) / y
        s = gelu_tanh(y)
        y = v_max(v_splat(-GELU_END), v_min(v_splat(GELU_END), y))
        u = SQRT_2_OVER_PI * (ONE + GELU_CUBIC_3 * y * y)
        return ry * (ONE - s * s) * (2 * u - SQRT_2_OVER_PI - y * s * u * u)
    if kind == SILU:                                            # s (1 - s)(2 + y (1 - 2 s))
        s = v_sigmoid(y)
        return ry * s * (ONE - s) * (2 + y * (ONE - 2 * s))
    if kind == SOFTPLUS:
        s = v_sigmoid(y)
        return ry * s * (ONE - s)
    if kind == SIGMOID:
        return rz * (ONE - 2 * z)
    if kind == TANH:
        return -(2 * z * rz)
    if kind == SOFTSIGN:                                        # h' = (1 - |z|)^2
        return v_where_less(v_zero(), v_abs(z), 2 * v_copysign(one - v_abs(z), -z) * rz, v_zero())
    if kind == EXP:
        return rz
    return v_zero()


cdef inline void sweep_forward(const int kind, const real *y, const real *z, const real *ry, real *rz, long n) noexcept nogil:
    cdef long i
    for i in range(n):
        v_store(rz + i * VL, v_load(ry + i * VL) * slope(kind, v_load(y + i * VL), v_load(z + i * VL)))


cdef inline void sweep_backward(const int kind, const real *y, const real *z, const real *ry, const real *rz, real *delta,
                                real *rdelta, long n) noexcept nogil:
    cdef vec s, bend
    cdef long i
    for i in range(n):
        s = slope(kind, v_load(y + i * VL), v_load(z + i * VL))
        bend = slope_tangent(kind, v_load(y + i * VL), v_load(z + i * VL), v_load(ry + i * VL), v_load(rz + i * VL))
        v_store(rdelta + i * VL, s * v_load(rdelta + i * VL) + bend * v_load(delta + i * VL))
        v_store(delta + i * VL, s * v_load(delta + i * VL))


cdef inline void apply_forward(int kind, const real *y, const real *z, const real *ry, real *rz, long n) noexcept nogil:
    """R{z} = h'(y) R{y} over n vectors; rz may be ry. The frequent ones have a loop of their own."""
    if kind == RELU: sweep_forward(RELU, y, z, ry, rz, n)
    elif kind == TANH: sweep_forward(TANH, y, z, ry, rz, n)
    else: sweep_forward(kind, y, z, ry, rz, n)


cdef inline void apply_backward(int kind, const real *y, const real *z, const real *ry, const real *rz, real *delta,
                                real *rdelta, long n) noexcept nogil:
    """R{dL/dy} = h'(y) R{dL/dz} + R{h'(y)} dL/dz and dL/dy = h'(y) dL/dz over n vectors, in place."""
    if kind == RELU: sweep_backward(RELU, y, z, ry, rz, delta, rdelta, n)
    elif kind == TANH: sweep_backward(TANH, y, z, ry, rz, delta, rdelta, n)
    else: sweep_backward(kind, y, z, ry, rz, delta, rdelta, n)


cdef inline void softmax_forward(const real *z, const real *ry, real *rz, long stride, long width, real scale) noexcept nogil:
    """R{z} = (diag(z) - z z^T) R{y} times scale, for one row; rz may be ry."""
    cdef vec s = v_zero()
    cdef real dot
    cdef long j
    for j in range(panels(width)):
        s = s + v_load(z + j * stride) * v_load(ry + j * stride)
    dot = v_sum(s)
    for j in range(panels(width)):
        v_store(rz + j * stride, scale * v_load(z + j * stride) * (v_load(ry + j * stride) - v_splat(dot)))


cdef inline void softmax_backward(const real *z, const real *rz, real *delta, real *rdelta, long stride, long rows,
                                  long width) noexcept nogil:
    """dL/dy = z q, q = dL/dz - z . dL/dz; R{dL/dy} = R{z} q + z R{q}, row by row, in place."""
    cdef long r, j, at
    cdef vec s, rs, q
    cdef real dot, rdot
    for r in range(rows):
        s = rs = v_zero()
        for j in range(panels(width)):
            at = j * stride + r * VL                            # lanes of z and R{z} past the width are 0
            s = s + v_load(z + at) * v_load(delta + at)
            rs = rs + (v_load(rz + at) * v_load(delta + at) + v_load(z + at) * v_load(rdelta + at))
        dot = v_sum(s)
        rdot = v_sum(rs)
        for j in range(panels(width)):
            at = j * stride + r * VL
            q = v_load(delta + at) - v_splat(dot)
            v_store(rdelta + at, v_load(rz + at) * q + v_load(z + at) * (v_load(rdelta + at) - v_splat(rdot)))
            v_store(delta + at, v_load(z + at) * q)


cdef inline vec loss_curvature(int loss, vec z, vec t, vec parameter) noexcept nogil:
    """d^2 l / dz^2 of one element; mae, quantile and the hinge losses consist of straight lines."""
    if loss == MSE:
        return v_splat(2)
    if loss == HUBER:
        return v_where_less(v_abs(z - t), parameter, v_splat(ONE), v_zero())
    if loss == POISSON:
        return v_exp(z)
    if loss == BINARY_CROSS_ENTROPY:
        return v_sigmoid(z) * v_sigmoid(-z)
    return v_zero()


cdef inline void cross_entropy_tangent(const real *y, const real *ry, const real *t, const real *scales, real *p, real *rdelta,
                                       long stride, long rows, long width) noexcept nogil:
    """R{dL/dy} = sum(t) (diag(p) - p p^T) R{y} for p = softmax(y), which is written to p."""
    cdef long r, j
    cdef vec s
    softmax(y, p, stride, rows, width)
    for r in range(rows):
        s = v_zero()
        for j in range(panels(width)):
            s = s + v_load(t + j * stride + r * VL)
        softmax_forward(p + r * VL, ry + r * VL, rdelta + r * VL, stride, width, scales[r] * v_sum(s))


cdef inline void loss_tangent(const Plan *plan, const real *arena, const real *tangents, long row, long rows, real *spare,
                              real *rdelta) noexcept nogil:
    """R{dL/dz} of the last layer, or R{dL/dy} where the loss is from logits; spare and rdelta from row `row` on."""
    cdef const Layer *last = &plan.layers[plan.n_layers - 1]
    cdef const real *z = arena + last.z + row * VL
    cdef const real *rz = tangents + last.z + row * VL
    cdef const real *t = arena + plan.targets + row * VL
    cdef const real *scales = arena + plan.row_scales + row
    cdef vec parameter = v_splat(plan.loss_parameter)
    cdef long panel, r, at
    if plan.loss == CROSS_ENTROPY:
        cross_entropy_tangent(z, rz, t, scales, spare, rdelta, plan.stride, rows, last.outputs)
        return
    for panel in range(panels(last.outputs)):
        for r in range(rows):
            at = panel * plan.stride + r * VL
            v_store(rdelta + at, if_present(True, v_load(t + at), v_splat(scales[r]) * v_load(rz + at)
                                            * loss_curvature(plan.loss, v_load(z + at), v_load(t + at), parameter)))
