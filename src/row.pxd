# One row at a time: the products straight on the flat parameters, nothing packed. A panel of one row is a plain vector,
# so everything but the products is shared with the blocks of many rows.
#
# y = W x sums over lanes of inputs, which is another order than the blocks' (equal to rounding).

from simd cimport real, vec, VL, v_load, v_load_first, v_store, v_store_first, v_splat, v_zero, v_max, v_abs, v_sum, v_largest
from plan cimport Layer, least, panels
from optimizers cimport Optimizer


cdef inline real dot(const real *w, const real *x, long n) noexcept nogil:
    cdef vec s = v_zero()
    cdef long i
    for i in range(n // VL):
        s = s + v_load(w + i * VL) * v_load(x + i * VL)
    if n % VL:
        i = n // VL * VL
        s = s + v_load_first(w + i, n - i) * v_load(x + i)
    return v_sum(s)


cdef inline void row_forward(const Layer *layer, const real *parameters, const real *x, real *y) noexcept nogil:
    """y = W x + b. Lanes of y past O become 0."""
    cdef const real *W = parameters + layer.weight          # (O, I)
    cdef long I = layer.inputs, O = layer.outputs, o, i, at
    cdef vec s0, s1, s2, s3, x_i
    v_store(y + (panels(O) - 1) * VL, v_zero())
    for o in range(0, O - 3, 4):
        s0 = s1 = s2 = s3 = v_zero()
        for i in range(I // VL):
            at = o * I + i * VL
            x_i = v_load(x + i * VL)
            s0 = s0 + v_load(W + at) * x_i
            s1 = s1 + v_load(W + at + I) * x_i
            s2 = s2 + v_load(W + at + 2 * I) * x_i
            s3 = s3 + v_load(W + at + 3 * I) * x_i
        if I % VL:
            i = I // VL * VL
            at = o * I + i
            x_i = v_load(x + i)
            s0 = s0 + v_load_first(W + at, I - i) * x_i
            s1 = s1 + v_load_first(W + at + I, I - i) * x_i
            s2 = s2 + v_load_first(W + at + 2 * I, I - i) * x_i
            s3 = s3 + v_load_first(W + at + 3 * I, I - i) * x_i
        y[o] = v_sum(s0)
        y[o + 1] = v_sum(s1)
        y[o + 2] = v_sum(s2)
        y[o + 3] = v_sum(s3)
    for o in range(O // 4 * 4, O):
        y[o] = dot(W + o * I, x, I)
    if layer.bias >= 0:
        for o in range(O):
            y[o] += parameters[layer.bias + o]


cdef inline void row_input_gradient(const Layer *layer, const real *parameters, const real *delta, real *dx) noexcept nogil:
    """dL/dx = W^T dL/dy."""
    cdef const real *W = parameters + layer.weight
    cdef long I = layer.inputs, O = layer.outputs, chunk, o, i, lanes
    cdef vec s0, s1, s2, s3, d
    for chunk in range(I // (4 * VL)):
        i = chunk * 4 * VL
        s0 = s1 = s2 = s3 = v_zero()
        for o in range(O):
            d = v_splat(delta[o])
            s0 = s0 + d * v_load(W + o * I + i)
            s1 = s1 + d * v_load(W + o * I + i + VL)
            s2 = s2 + d * v_load(W + o * I + i + 2 * VL)
            s3 = s3 + d * v_load(W + o * I + i + 3 * VL)
        v_store(dx + i, s0)
        v_store(dx + i + VL, s1)
        v_store(dx + i + 2 * VL, s2)
        v_store(dx + i + 3 * VL, s3)
    for chunk in range(I // (4 * VL) * 4, panels(I)):
        i = chunk * VL
        lanes = least(VL, I - i)
        s0 = v_zero()
        for o in range(O):
            s0 = s0 + v_splat(delta[o]) * v_load_first(W + o * I + i, lanes)
        v_store(dx + i, s0)


cdef inline double squared_norm_of_row(const real *a, long n) noexcept nogil:
    cdef vec s = v_zero(), x
    cdef long i
    for i in range(panels(n)):
        x = v_load_first(a + i * VL, least(VL, n - i * VL))
        s = s + x * x
    return v_sum(s)


cdef inline vec row_update(const Optimizer *o, real *w, const real *x, real delta, long n, vec largest) noexcept nogil:
    """w <- w - lr (delta x + decay w) for one row of W; the running max |w|."""
    cdef vec lr = v_splat(<real>o.lr), decay = v_splat(<real>o.weight_decay), d = v_splat(delta), w_i
    cdef long i, lanes
    for i in range(panels(n)):
        lanes = least(VL, n - i * VL)
        w_i = v_load_first(w + i * VL, lanes)
        w_i = w_i - lr * (d * v_load(x + i * VL) + decay * w_i)
        v_store_first(w + i * VL, w_i, lanes)
        largest = v_max(v_abs(w_i), largest)
    return largest
