# One row at a time: the products straight on rows of W, lanes over the inputs, nothing transposed. A panel of one row is a
# plain vector, so everything but the products is shared with the blocks of many rows. Lanes past a layer's width are zero.
#
# A single call works on the flat parameters. Training row by row works on a copy whose rows are padded to whole vectors
# (`load_rows`), for as long as the core is not left: a masked store costs some twenty full ones on AVX2, and what it
# stored cannot be forwarded to the next step's loads.
#
# y = W x sums over lanes of inputs, which is another order than the blocks' (equal to rounding).

from simd cimport (real, vec, VL, v_load, v_load_first, v_store, v_splat, v_zero, v_max, v_abs, v_sum,
                   v_where_first, dot, dots)
from plan cimport Plan, Layer, least, panels
from optimizers cimport Optimizer
from libc.string cimport memcpy

cdef struct Rows:       # of one layer
    const real *W       # (O, I), `stride` apart
    long stride
    long width          # numbers of a row to go through: I, or whole vectors
    const real *b       # (O,), or NULL


cdef inline Rows rows_of(const Plan *plan, const Layer *layer, const real *parameters, const real *arena) noexcept nogil:
    """W and b in the flat parameters, or in the padded copy while that is in use."""
    cdef Rows rows
    if plan.padded_rows:
        rows.W = arena + layer.rows
        rows.stride = layer.row_stride
        rows.width = panels(layer.inputs) * VL
        rows.b = arena + layer.bias_lanes
    else:
        rows.W = parameters + layer.weight
        rows.stride = rows.width = layer.inputs
        rows.b = parameters + layer.bias if layer.bias >= 0 else NULL
    return rows


cdef inline void load_rows(const Plan *plan, const real *parameters, real *arena) noexcept nogil:
    """Fills the padded copy. Its padding is zero and stays so."""
    cdef const Layer *layer
    cdef long o, panel, lanes
    cdef int l
    for l in range(plan.n_layers):
        layer = &plan.layers[l]
        for o in range(layer.outputs):
            for panel in range(panels(layer.inputs)):
                lanes = least(VL, layer.inputs - panel * VL)
                v_store(arena + layer.rows + o * layer.row_stride + panel * VL,
                        v_load_first(parameters + layer.weight + o * layer.inputs + panel * VL, lanes))
        for panel in range(panels(layer.outputs)):
            lanes = least(VL, layer.outputs - panel * VL) if layer.bias >= 0 else 0
            v_store(arena + layer.bias_lanes + panel * VL, v_load_first(parameters + layer.bias + panel * VL, lanes))


cdef inline void store_rows(const Plan *plan, const real *arena, real *parameters) noexcept nogil:
    """Writes the padded copy back."""
    cdef const Layer *layer
    cdef long o
    cdef int l
    for l in range(plan.n_layers):
        layer = &plan.layers[l]
        for o in range(layer.outputs):
            memcpy(parameters + layer.weight + o * layer.inputs, arena + layer.rows + o * layer.row_stride,
                   layer.inputs * sizeof(real))
        if layer.bias >= 0:
            memcpy(parameters + layer.bias, arena + layer.bias_lanes, layer.outputs * sizeof(real))


cdef inline void clear_tail(real *row, long n) noexcept nogil:
    """Zeroes the lanes past n of a row's last vector."""
    cdef long last = (n - 1) // VL * VL
    v_store(row + last, v_where_first(n - last, v_load(row + last), v_zero()))


cdef inline void row_forward(const Rows *rows, const real *x, real *y, long O) noexcept nogil:
    """y = W x + b."""
    cdef long panel, o, lanes
    for panel in range(panels(O)):
        o = panel * VL
        lanes = least(VL, O - o)
        if lanes == 1:
            v_store(y + o, v_splat(dot(rows.W + o * rows.stride, x, rows.width)))
        else:
            v_store(y + o, dots(rows.W + o * rows.stride, rows.stride, lanes, x, rows.width))
        if rows.b != NULL:
            v_store(y + o, v_load(y + o) + v_load_first(rows.b + o, lanes))


cdef inline void row_input_gradient(const Rows *rows, const real *delta, real *dx, long O) noexcept nogil:
    """dL/dx = W^T dL/dy."""
    cdef const real *W = rows.W
    cdef long stride = rows.stride, chunk, o, i, lanes
    cdef vec s0, s1, s2, s3, d
    for chunk in range(rows.width // (4 * VL)):
        i = chunk * 4 * VL
        s0 = s1 = s2 = s3 = v_zero()
        for o in range(O):
            d = v_splat(delta[o])
            s0 = s0 + d * v_load(W + o * stride + i)
            s1 = s1 + d * v_load(W + o * stride + i + VL)
            s2 = s2 + d * v_load(W + o * stride + i + 2 * VL)
            s3 = s3 + d * v_load(W + o * stride + i + 3 * VL)
        v_store(dx + i, s0)
        v_store(dx + i + VL, s1)
        v_store(dx + i + 2 * VL, s2)
        v_store(dx + i + 3 * VL, s3)
    for chunk in range(rows.width // (4 * VL) * 4, panels(rows.width)):
        i = chunk * VL
        lanes = least(VL, rows.width - i)
        s0 = s1 = v_zero()
        for o in range(0, O - 1, 2):
            s0 = s0 + v_splat(delta[o]) * v_load_first(W + o * stride + i, lanes)
            s1 = s1 + v_splat(delta[o + 1]) * v_load_first(W + (o + 1) * stride + i, lanes)
        if O % 2:
            s0 = s0 + v_splat(delta[O - 1]) * v_load_first(W + (O - 1) * stride + i, lanes)
        v_store(dx + i, s0 + s1)


cdef inline double squared_norm_of_row(const real *a, long n) noexcept nogil:
    cdef vec s = v_zero(), x
    cdef long i
    for i in range(panels(n)):
        x = v_load(a + i * VL)
        s = s + x * x
    return v_sum(s)


cdef inline vec update_rows(const Plan *plan, real *arena, const Optimizer *optimizer, int l, const real *x,
                             vec largest) noexcept nogil:
    """W <- W - lr (delta x^T + decay W), b <- b - lr (delta + decay b), on the padded copy. The running max |w|."""
    cdef const Layer *layer = &plan.layers[l]
    cdef const real *delta = arena + layer.delta
    cdef vec lr = v_splat(<real>optimizer.lr), decay = v_splat(<real>optimizer.weight_decay), d, w_i
    cdef real *w
    cdef long o, i
    for o in range(layer.outputs):
        w = arena + layer.rows + o * layer.row_stride
        d = v_splat(delta[o])
        for i in range(panels(layer.inputs)):
            w_i = v_load(w + i * VL)
            w_i = w_i - lr * (d * v_load(x + i * VL) + decay * w_i)
            v_store(w + i * VL, w_i)
            largest = v_max(v_abs(w_i), largest)
    if layer.bias >= 0:
        w = arena + layer.bias_lanes
        for i in range(panels(layer.outputs)):
            w_i = v_load(w + i * VL)
            w_i = w_i - lr * (v_load(delta + i * VL) + decay * w_i)
            v_store(w + i * VL, w_i)
            largest = v_max(v_abs(w_i), largest)
    return largest
