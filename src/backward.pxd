# Backward: the partials of a layer, out of the numbers that forward kept.
#
#     y = W x + b, z = h(y)
#     dL/dy = (dz/dy)^T dL/dz        dL/db = dL/dy        dL/dW = dL/dy x^T        dL/dx = W^T dL/dy

from simd cimport (real, vec, VL, PAIR, TILE_FEATURES, ends, zero_lanes, next_part, MAX_VL, v_load, v_store_first, v_load_first,
                   v_zero, product_by_rows, product_by_features)
from names cimport SOFTMAX
from plan cimport KC, MAX_BLOCK_ROWS, MOST_SWEPT, Plan, Layer, blocks, vectors_of, least, panels
from team cimport share
from activations cimport apply_slope, softmax_slope
from pack cimport pack_inputs
from row cimport Rows, row_input_gradient, rows_of
from forward cimport INFINITY


cdef inline vec sum_rows(vec s0, const real *d, long rows) noexcept nogil:
    """s0 and the sum of the rows: four partial sums, so that additions need not wait for each other."""
    cdef vec s1 = v_zero(), s2 = v_zero(), s3 = v_zero()
    cdef long r
    for r in range(rows // 4):
        s0 = s0 + v_load(d + (4 * r) * VL)
        s1 = s1 + v_load(d + (4 * r + 1) * VL)
        s2 = s2 + v_load(d + (4 * r + 2) * VL)
        s3 = s3 + v_load(d + (4 * r + 3) * VL)
    for r in range(rows // 4 * 4, rows):
        s0 = s0 + v_load(d + r * VL)
    return (s0 + s1) + (s2 + s3)


cdef inline void bias_gradient(const Layer *layer, const real *delta, long stride, long rows, bint resume, real *gradient,
                               int part, int parts) noexcept nogil:
    """dL/db = sum over rows of dL/dy, MAX_BLOCK_ROWS after MAX_BLOCK_ROWS however many the block has."""
    cdef long panel, block, row, lanes
    cdef vec s
    for panel in range(share(panels(layer.outputs), part, parts), share(panels(layer.outputs), part + 1, parts)):
        lanes = least(VL, layer.outputs - panel * VL)
        s = v_load_first(gradient + panel * VL, lanes) if resume else v_zero()
        for block in range(blocks(rows, MAX_BLOCK_ROWS)):
            row = block * MAX_BLOCK_ROWS
            s = sum_rows(s, delta + panel * stride + row * VL, least(MAX_BLOCK_ROWS, rows - row))
        v_store_first(gradient + panel * VL, s, lanes)


cdef inline void gradient_tiles(const Layer *layer, const real *delta, const real *x, long stride, long rows, bint resume,
                                real *gradient, long first_output, long end_output, long first, long end) noexcept nogil:
    """dL/dW of outputs first_output .. end_output - 1 and panels first .. end - 1 of inputs, panels after panels."""
    cdef long I = layer.inputs, n, o, next_o
    while first < end:
        n = next_part(end - first, 3)
        o = first_output
        while o < end_output:
            next_o = least((o // VL + 1) * VL, end_output)
            product_by_features(next_o - o, n, delta + o // VL * stride + o % VL, x + first * stride, stride, rows, resume,
                                gradient + o * I + first * VL, I, least(n * VL, I - first * VL))
            o = next_o
        first += n


cdef inline bint few_inputs(const Layer *layer, long rows) noexcept nogil:
    """Whether dL/dW costs less with lanes over the outputs, though it is to be turned then."""
    cdef long I = layer.inputs, O = layer.outputs
    return I < VL and (O - I * panels(O)) * rows > 2 * I * O


cdef inline void few_inputs_gradient(const Layer *layer, const real *delta, const real *x, long stride, long rows, bint resume,
                                     real *gradient, long first, long end) noexcept nogil:
    """dL/dW of outputs first .. end - 1, first on a panel's boundary, out of x dL/dy^T: lanes over the outputs."""
    cdef real[MAX_VL * 3 * MAX_VL] turned
    cdef long I = layer.inputs, n, lanes, o, i
    while first < end:
        n = next_part(panels(end - first), 3)
        lanes = least(n * VL, end - first)
        if resume:
            for i in range(I):
                for o in range(lanes):
                    turned[i * 3 * VL + o] = gradient[(first + o) * I + i]
        product_by_features(I, n, x, delta + first // VL * stride, stride, rows, resume, turned, 3 * VL, n * VL)
        for o in range(lanes):
            for i in range(I):
                gradient[(first + o) * I + i] = turned[i * 3 * VL + o]
        first += lanes


cdef inline void weight_gradient(const Layer *layer, const real *delta, const real *x, long stride, long rows, bint resume,
                                 real *gradient, int part, int parts) noexcept nogil:
    """dL/dW = dL/dy x^T, summed over the rows; `resume` adds to what earlier blocks left in `gradient` (O, I).

    A part takes tiles of outputs where each gets some, else panels of inputs. While all x stay in L2 it writes rows of the
    gradient as they lie in memory, a panel of outputs at a time.
    """
    cdef long tiles = blocks(layer.outputs, TILE_FEATURES), I = layer.inputs
    cdef long o = 0, end_output = layer.outputs, first = 0, end = panels(I), next_o
    if tiles >= parts:
        o = share(tiles, part, parts) * TILE_FEATURES
        end_output = least(share(tiles, part + 1, parts) * TILE_FEATURES, layer.outputs)
    else:
        first = share(panels(I), part, parts)
        end = share(panels(I), part + 1, parts)
    if o % VL == 0 and first == 0 and end == 1 and few_inputs(layer, rows):
        few_inputs_gradient(layer, delta, x, stride, rows, resume, gradient, o, end_output)
        return
    while o < end_output:
        next_o = least((o // VL + 1) * VL, end_output) if rows * I <= MOST_SWEPT else end_output
        gradient_tiles(layer, delta, x, stride, rows, resume, gradient, o, next_o, first, end)
        o = next_o


cdef inline void few_rows_input_gradient(const Plan *plan, const Layer *layer, const real *parameters, const real *arena,
                                         const real *delta, real *dx, long rows, int part, int parts) noexcept nogil:
    """dL/dx = W^T dL/dy, from W as it is; a part takes some of the inputs."""
    cdef Rows weights = rows_of(plan, layer, parameters, arena)
    cdef long r
    for r in range(rows):
        row_input_gradient(&weights, delta + r * VL, dx + r * VL, plan.stride, layer.outputs, part, parts)


cdef inline void input_gradient(const Plan *plan, const Layer *layer, real *arena, const real *delta, real *dx,
                                long row, long rows, long begin, long end, const real *parameters) noexcept nogil:
    """dL/dx = W^T dL/dy, of rows row .. row + rows - 1 and slivers begin .. end - 1 of inputs; delta and dx from row 0.

    W is packed already where `parameters` is NULL, else a piece of a sliver at a time.
    """
    cdef long stride = plan.stride, O = layer.outputs, block, o, depth, sliver, i
    cdef real *W = arena + layer.backward_weight + begin * PAIR * O
    cdef int vectors
    cdef ends e
    e.floor = -INFINITY
    delta += row * VL
    dx += row * VL
    for block in range(blocks(O, KC)):
        o = block * KC
        depth = least(KC, O - o)
        for sliver in range(begin, end):
            i = sliver * PAIR
            vectors = vectors_of(layer.inputs - i)
            e.start = zero_lanes if o == 0 else NULL
            if parameters != NULL:
                pack_inputs(layer, parameters, i, o, depth, W)
            else:
                W = arena + layer.backward_weight + i * O + o * vectors * VL
            product_by_rows(rows, vectors, delta + o // VL * stride, stride, W, depth, &e, dx + i // VL * stride, stride)


cdef inline void through_panels(const Plan *plan, const Layer *layer, const real *arena, real *delta, long row, long rows,
                                long begin, long end) noexcept nogil:
    """through_activation on panels begin .. end - 1, for any activation but softmax."""
    cdef long panel, at
    for panel in range(begin, end):
        at = panel * plan.stride + row * VL
        apply_slope(layer.activation, arena + layer.y + at, arena + layer.z + at, delta + at, rows)


cdef inline void through_activation(const Plan *plan, const Layer *layer, const real *arena, real *delta, long row,
                                    long rows) noexcept nogil:
    """dL/dy = (dz/dy)^T dL/dz, in place in delta, which is given from row 0."""
    if layer.activation == SOFTMAX:
        softmax_slope(arena + layer.z + row * VL, delta + row * VL, plan.stride, rows, layer.outputs)
    else:
        through_panels(plan, layer, arena, delta, row, rows, 0, panels(layer.outputs))
