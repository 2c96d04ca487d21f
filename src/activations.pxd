# z = h(y) and dz/dy = h'(y), side by side for each activation, then the sweeps over panels.
#
# h' is written in terms of z where it can be had from z alone; gelu, gelu_tanh, silu and softplus need y, which the plan
# then keeps (plan.keeps_y). Definitions and defaults are torch's. At kinks h' is torch's too: 0 for relu and hard_sigmoid,
# the slope of the left side for leaky_relu and selu.

from simd cimport (real, vec, VL, v_load, v_store, v_splat, v_zero, v_max, v_min, v_abs, v_where_less, v_where_first,
                   v_exp, v_expm1, v_tanh, v_sigmoid, v_normal_cdf, v_softplus, v_sums, v_maxes, MAX_VL)
from names cimport (IDENTITY, RELU, LEAKY_RELU, ELU, SELU, GELU, GELU_TANH, SILU, SOFTPLUS, SIGMOID, HARD_SIGMOID, TANH,
                    SOFTSIGN, EXP)
from plan cimport panels, least

cdef extern from *:
    """
    #define SELU_SCALE ((real)1.0507009873554804934193349852946)
    #define SELU_ALPHA ((real)1.6732632423543772848170429916717)
    #define LEAKY_SLOPE ((real)0.01)
    #define INV_SQRT_2PI ((real)0.39894228040143267793994605993438)
    #define SQRT_2_OVER_PI ((real)0.79788456080286535587989211986876)
    #define GELU_CUBIC ((real)0.044715)
    #define GELU_CUBIC_3 ((real)0.134145)
    #define GELU_END ((real)100)
    #define SIXTH ((real)(1.0 / 6.0))
    #define HALF ((real)0.5)
    #define ONE ((real)1)
    """
    const real SELU_SCALE, SELU_ALPHA, LEAKY_SLOPE, INV_SQRT_2PI, SQRT_2_OVER_PI, GELU_CUBIC, GELU_CUBIC_3
    const real GELU_END, SIXTH, HALF, ONE


cdef inline vec h(const int kind, vec y) noexcept nogil:
    cdef vec one = v_splat(ONE)
    if kind == RELU:
        return v_max(v_zero(), y)
    if kind == LEAKY_RELU:
        return v_where_less(y, v_zero(), LEAKY_SLOPE * y, y)
    if kind == ELU:
        return v_where_less(y, v_zero(), v_expm1(y), y)
    if kind == SELU:
        return SELU_SCALE * v_where_less(y, v_zero(), SELU_ALPHA * v_expm1(y), y)
    if kind == GELU:                                            # y Phi(y)
        return y * v_normal_cdf(y)
    if kind == GELU_TANH:
        return HALF * y * (ONE + gelu_tanh(y))
    if kind == SILU:
        return y * v_sigmoid(y)
    if kind == SOFTPLUS:
        return v_softplus(y)
    if kind == SIGMOID:
        return v_sigmoid(y)
    if kind == HARD_SIGMOID:
        return v_min(one, v_max(v_zero(), SIXTH * (y + 3)))           # exact at both ends
    if kind == TANH:
        return v_tanh(y)
    if kind == SOFTSIGN:
        return y / (ONE + v_abs(y))
    if kind == EXP:
        return v_exp(y)
    return y


cdef inline vec slope(const int kind, vec y, vec z) noexcept nogil:
    """h'(y), for z = h(y)."""
    cdef vec one = v_splat(ONE), s
    if kind == RELU:
        return v_where_less(v_zero(), z, one, v_zero())
    if kind == LEAKY_RELU:
        return v_where_less(v_zero(), z, one, v_splat(LEAKY_SLOPE))
    if kind == ELU:                                             # e^y = z + 1
        return v_where_less(z, v_zero(), z + ONE, one)
    if kind == SELU:
        return v_where_less(v_zero(), z, v_splat(SELU_SCALE), z + SELU_SCALE * SELU_ALPHA)
    if kind == GELU:                                            # Phi(y) + y phi(y)
        return v_normal_cdf(y) + y * INV_SQRT_2PI * v_exp(-HALF * y * y)
    if kind == GELU_TANH:
        s = gelu_tanh(y)
        y = v_max(v_splat(-GELU_END), v_min(v_splat(GELU_END), y))     # 1 - s^2 is 0 from there, y^2 might be infinite
        return HALF * (ONE + s) + HALF * y * (ONE - s * s) * SQRT_2_OVER_PI * (ONE + GELU_CUBIC_3 * y * y)
    if kind == SILU:
        s = v_sigmoid(y)
        return s + s * y * (ONE - s)
    if kind == SOFTPLUS:
        return v_sigmoid(y)
    if kind == SIGMOID:
        return z * (ONE - z)
    if kind == HARD_SIGMOID:
        return v_where_less(v_zero(), z, v_where_less(z, one, v_splat(SIXTH), v_zero()), v_zero())
    if kind == TANH:
        return ONE - z * z
    if kind == SOFTSIGN:                                        # 1 / (1 + |y|)^2
        s = ONE - v_abs(z)
        return s * s
    if kind == EXP:
        return z
    return one


cdef inline vec gelu_tanh(vec y) noexcept nogil:
    return v_tanh(SQRT_2_OVER_PI * y * (ONE + GELU_CUBIC * y * y))


cdef inline void sweep_h(const int kind, const real *y, real *z, long n) noexcept nogil:
    cdef long i
    for i in range(n):
        v_store(z + i * VL, h(kind, v_load(y + i * VL)))


cdef inline void sweep_slope(const int kind, const real *y, const real *z, real *delta, long n) noexcept nogil:
    cdef long i
    for i in range(n):
        v_store(delta + i * VL, v_load(delta + i * VL) * slope(kind, v_load(y + i * VL), v_load(z + i * VL)))


cdef inline void apply_h(int kind, const real *y, real *z, long n) noexcept nogil:
    """z = h(y) over n vectors; z may be y."""
    if kind == RELU: sweep_h(RELU, y, z, n)
    elif kind == LEAKY_RELU: sweep_h(LEAKY_RELU, y, z, n)
    elif kind == ELU: sweep_h(ELU, y, z, n)
    elif kind == SELU: sweep_h(SELU, y, z, n)
    elif kind == GELU: sweep_h(GELU, y, z, n)
    elif kind == GELU_TANH: sweep_h(GELU_TANH, y, z, n)
    elif kind == SILU: sweep_h(SILU, y, z, n)
    elif kind == SOFTPLUS: sweep_h(SOFTPLUS, y, z, n)
    elif kind == SIGMOID: sweep_h(SIGMOID, y, z, n)
    elif kind == HARD_SIGMOID: sweep_h(HARD_SIGMOID, y, z, n)
    elif kind == TANH: sweep_h(TANH, y, z, n)
    elif kind == SOFTSIGN: sweep_h(SOFTSIGN, y, z, n)
    elif kind == EXP: sweep_h(EXP, y, z, n)


cdef inline void apply_slope(int kind, const real *y, const real *z, real *delta, long n) noexcept nogil:
    """dL/dy = h'(y) dL/dz over n vectors, in place in delta."""
    if kind == RELU: sweep_slope(RELU, y, z, delta, n)
    elif kind == LEAKY_RELU: sweep_slope(LEAKY_RELU, y, z, delta, n)
    elif kind == ELU: sweep_slope(ELU, y, z, delta, n)
    elif kind == SELU: sweep_slope(SELU, y, z, delta, n)
    elif kind == GELU: sweep_slope(GELU, y, z, delta, n)
    elif kind == GELU_TANH: sweep_slope(GELU_TANH, y, z, delta, n)
    elif kind == SILU: sweep_slope(SILU, y, z, delta, n)
    elif kind == SOFTPLUS: sweep_slope(SOFTPLUS, y, z, delta, n)
    elif kind == SIGMOID: sweep_slope(SIGMOID, y, z, delta, n)
    elif kind == HARD_SIGMOID: sweep_slope(HARD_SIGMOID, y, z, delta, n)
    elif kind == TANH: sweep_slope(TANH, y, z, delta, n)
    elif kind == SOFTSIGN: sweep_slope(SOFTSIGN, y, z, delta, n)
    elif kind == EXP: sweep_slope(EXP, y, z, delta, n)


# softmax goes through the rows in groups of up to VL: what is summed over a row is summed for the whole group at once.


cdef inline void row_maxes(const real *y, long stride, long rows, long width, real *maxes) noexcept nogil:
    """The largest y of each of `rows` <= VL rows; maxes has room for VL."""
    cdef vec block[MAX_VL]
    cdef long r, j
    for r in range(VL):
        block[r] = v_splat(y[0])
    for r in range(rows):
        block[r] = v_splat(y[r * VL])
        for j in range(panels(width)):
            block[r] = v_where_first(least(VL, width - j * VL), v_max(block[r], v_load(y + r * VL + j * stride)), block[r])
    v_store(maxes, v_maxes(block))


cdef inline void softmax_group(const real *y, real *z, long stride, long rows, long width) noexcept nogil:
    cdef vec[MAX_VL] block
    cdef vec e, one = v_splat(ONE)
    cdef real[MAX_VL] maxes, shares
    cdef long r, j
    row_maxes(y, stride, rows, width, maxes)
    for r in range(VL):
        block[r] = one if r >= rows else v_zero()
    for r in range(rows):
        for j in range(panels(width)):
            e = v_exp(v_load(y + r * VL + j * stride) - v_splat(maxes[r]))
            e = v_where_first(least(VL, width - j * VL), e, v_zero())
            block[r] = block[r] + e
            v_store(z + r * VL + j * stride, e)
    v_store(shares, one / v_sums(block))
    for j in range(panels(width)):
        for r in range(rows):
            v_store(z + r * VL + j * stride, v_splat(shares[r]) * v_load(z + r * VL + j * stride))


cdef inline void softmax_slope_group(const real *z, real *delta, long stride, long rows, long width) noexcept nogil:
    cdef vec block[MAX_VL]
    cdef real sums[MAX_VL]
    cdef long r, j
    for r in range(VL):
        block[r] = v_zero()
    for r in range(rows):
        for j in range(panels(width)):
            block[r] = block[r] + v_where_first(
                least(VL, width - j * VL), v_load(z + r * VL + j * stride) * v_load(delta + r * VL + j * stride), v_zero())
    v_store(sums, v_sums(block))
    for j in range(panels(width)):
        for r in range(rows):
            v_store(delta + r * VL + j * stride,
                    v_load(z + r * VL + j * stride) * (v_load(delta + r * VL + j * stride) - v_splat(sums[r])))


cdef inline void softmax(const real *y, real *z, long stride, long rows, long width) noexcept nogil:
    """z = e^(y - max y) / sum, row by row; z may be y. Lanes past the width become 0."""
    cdef long group
    for group in range(panels(rows)):
        softmax_group(y + group * VL * VL, z + group * VL * VL, stride, least(VL, rows - group * VL), width)


cdef inline void softmax_slope(const real *z, real *delta, long stride, long rows, long width) noexcept nogil:
    """dL/dy = (diag(z) - z z^T) dL/dz = z (dL/dz - z . dL/dz), row by row, in place in delta."""
    cdef long group
    for group in range(panels(rows)):
        softmax_slope_group(z + group * VL * VL, delta + group * VL * VL, stride, least(VL, rows - group * VL), width)
