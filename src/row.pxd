# One row at a time: the products straight on rows of W, lanes over the inputs, nothing transposed. A panel of one row is a
# plain vector, so everything but the products is shared with the blocks of many rows. Lanes past a layer's width are zero.
#
# A single call works on the flat parameters. Training row by row (online.pxd) works on a copy whose rows are padded to
# whole vectors, for as long as the core is not left: a masked store costs some twenty full ones on AVX2, and what it
# stored cannot be forwarded to the next step's loads.
#
# y = W x sums over lanes of inputs, which is another order than the blocks' (equal to rounding).

from simd cimport (real, vec, VL, v_load, v_load_first, v_store, v_splat, v_zero, v_where_first, dot, dots)
from plan cimport Plan, Layer, least, panels

cdef struct Rows:       # of one layer
    const real *W       # (O, I), `stride` apart
    long stride
    long width          # numbers of a row to go through: I, or whole vectors
    long count          # rows that may be read: O, or whole vectors
    const real *b       # (O,), or NULL


cdef inline Rows rows_of(const Plan *plan, const Layer *layer, const real *parameters, const real *arena) noexcept nogil:
    """W and b in the flat parameters, or in the padded copy while that is in use."""
    cdef Rows rows
    if plan.padded_rows:
        rows.W = arena + layer.rows
        rows.stride = layer.row_stride
        rows.width = panels(layer.inputs) * VL
        rows.count = panels(layer.outputs) * VL
        rows.b = arena + layer.bias_lanes
    else:
        rows.W = parameters + layer.weight
        rows.stride = rows.width = layer.inputs
        rows.count = layer.outputs
        rows.b = parameters + layer.bias if layer.bias >= 0 else NULL
    return rows


cdef inline void clear_tail(real *row, long n) noexcept nogil:
    """Zeroes the lanes past n of a row's last vector."""
    cdef long last = (n - 1) // VL * VL
    v_store(row + last, v_where_first(n - last, v_load(row + last), v_zero()))


cdef inline void row_forward(const Rows *rows, const real *x, real *y, long O) noexcept nogil:
    """y = W x + b."""
    cdef long panel, o, lanes
    cdef vec s
    for panel in range(panels(O)):
        o = panel * VL
        lanes = least(VL, rows.count - o)
        if O - o == 1:
            s = v_splat(dot(rows.W + o * rows.stride, x, rows.width))
        else:
            s = dots(rows.W + o * rows.stride, rows.stride, lanes, x, rows.width)
        if rows.b != NULL:
            s = s + v_load_first(rows.b + o, lanes)
        v_store(y + o, s)


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
