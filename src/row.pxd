# Few rows (FEW_ROWS in plan.pxd): the products straight on rows of W, one row of x after another, lanes over the inputs; to
# transpose W would take longer than to use it. Everything but the products is shared with the blocks of many rows, and
# lanes past a layer's width are zero.
#
# A call works on the flat parameters. Training row by row (online.pxd) works on a copy whose rows are padded to
# whole vectors, for as long as the core is not left: a masked store costs some twenty full ones on AVX2, and what it
# stored cannot be forwarded to the next step's loads.
#
# y = W x sums over lanes of inputs, which is another order than the blocks' (equal to rounding).

from simd cimport (real, vec, VL, v_load, v_load_first, v_store, v_splat, v_zero, v_where_first, dot, dots)
from plan cimport Plan, Layer, least, panels
from team cimport share

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


cdef inline void row_forward(const Rows *rows, const real *x, real *y, long stride, long O, long begin,
                             long end) noexcept nogil:
    """y = W x + b of panels begin .. end - 1, for one row; vectors of x and of y are `stride` apart."""
    cdef long panel, o, lanes
    cdef vec s
    for panel in range(begin, end):
        o = panel * VL
        lanes = least(VL, rows.count - o)
        if O - o == 1:
            s = v_splat(dot(rows.W + o * rows.stride, x, stride, rows.width))
        else:
            s = dots(rows.W + o * rows.stride, rows.stride, lanes, x, stride, rows.width)
        if rows.b != NULL:
            s = s + v_load_first(rows.b + o, lanes)
        v_store(y + panel * stride, s)


cdef inline real lane(const real *row, long stride, long o) noexcept nogil:
    """Number o of a row whose vectors are `stride` apart."""
    return row[o // VL * stride + o % VL]


cdef inline void row_input_gradient(const Rows *rows, const real *delta, real *dx, long stride, long O, int part,
                                    int parts) noexcept nogil:
    """dL/dx = W^T dL/dy of one row; vectors of delta and of dx are `stride` apart. A part takes four vectors at a time."""
    cdef const real *W = rows.W
    cdef long step = rows.stride, fours = rows.width // (4 * VL), chunk, panel, o, i, lanes
    cdef vec s0, s1, s2, s3, d
    for chunk in range(share(fours, part, parts), share(fours, part + 1, parts)):
        i = chunk * 4 * VL
        s0 = s1 = s2 = s3 = v_zero()
        for o in range(O):
            d = v_splat(lane(delta, stride, o))
            s0 = s0 + d * v_load(W + o * step + i)
            s1 = s1 + d * v_load(W + o * step + i + VL)
            s2 = s2 + d * v_load(W + o * step + i + 2 * VL)
            s3 = s3 + d * v_load(W + o * step + i + 3 * VL)
        v_store(dx + 4 * chunk * stride, s0)
        v_store(dx + (4 * chunk + 1) * stride, s1)
        v_store(dx + (4 * chunk + 2) * stride, s2)
        v_store(dx + (4 * chunk + 3) * stride, s3)
    for panel in range(4 * fours if part == parts - 1 else panels(rows.width), panels(rows.width)):
        i = panel * VL
        lanes = least(VL, rows.width - i)
        s0 = s1 = v_zero()
        for o in range(0, O - 1, 2):
            s0 = s0 + v_splat(lane(delta, stride, o)) * v_load_first(W + o * step + i, lanes)
            s1 = s1 + v_splat(lane(delta, stride, o + 1)) * v_load_first(W + (o + 1) * step + i, lanes)
        if O % 2:
            s0 = s0 + v_splat(lane(delta, stride, O - 1)) * v_load_first(W + (O - 1) * step + i, lanes)
        v_store(dx + panel * stride, s0 + s1)
