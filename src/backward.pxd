# Backward: the partials one after another, from the loss back, out of the numbers that forward kept.
#
#     y = W x + b, z = h(y)
#     dL/dy = (dz/dy)^T dL/dz        dL/db = dL/dy        dL/dW = dL/dy x^T        dL/dx = W^T dL/dy

from simd cimport (real, vec, VL, PAIR, ends, zero_lanes, next_part, v_load, v_store, v_store_first, v_load_first, v_zero,
                   product_by_rows, product_by_features)
from clock cimport lap, WEIGHT_GRADIENT, INPUT_GRADIENT
from names cimport IDENTITY, SOFTMAX
from plan cimport Plan, Layer, KC, blocks, one_row, panels, slivers, vectors_of, least
from activations cimport apply_slope, softmax_slope
from row cimport Rows, row_input_gradient, rows_of
from forward cimport layer_input, INFINITY


cdef inline void bias_gradient(const Layer *layer, const real *delta, long stride, long rows, bint resume,
                               real *gradient) noexcept nogil:
    """dL/db = sum over rows of dL/dy: four partial sums, so that additions need not wait for each other."""
    cdef vec s0, s1, s2, s3
    cdef long panel, r, lanes
    cdef const real *d
    for panel in range(panels(layer.outputs)):
        d = delta + panel * stride
        lanes = least(VL, layer.outputs - panel * VL)
        s0 = v_load_first(gradient + panel * VL, lanes) if resume else v_zero()
        s1 = s2 = s3 = v_zero()
        for r in range(rows // 4):
            s0 = s0 + v_load(d + (4 * r) * VL)
            s1 = s1 + v_load(d + (4 * r + 1) * VL)
            s2 = s2 + v_load(d + (4 * r + 2) * VL)
            s3 = s3 + v_load(d + (4 * r + 3) * VL)
        for r in range(rows // 4 * 4, rows):
            s0 = s0 + v_load(d + r * VL)
        v_store_first(gradient + panel * VL, (s0 + s1) + (s2 + s3), lanes)


cdef inline void weight_gradient(const Layer *layer, const real *delta, const real *x, long stride, long rows, bint resume,
                                 real *gradient) noexcept nogil:
    """dL/dW = dL/dy x^T, summed over the rows; `resume` adds to what earlier blocks left in `gradient` (O, I)."""
    cdef long panel, part, i, o, I = layer.inputs, first = 0
    while first < panels(I):
        i = first * VL
        part = next_part(panels(I) - first, 3)
        for panel in range(panels(layer.outputs)):
            o = panel * VL
            product_by_features(least(VL, layer.outputs - o), part, delta + panel * stride, x + first * stride, stride, rows,
                                resume, gradient + o * I + i, I, least(part * VL, I - i))
        first += part


cdef inline void input_gradient(const Plan *plan, const Layer *layer, const real *parameters, const real *arena,
                                const real *delta, real *dx, long rows) noexcept nogil:
    """dL/dx = W^T dL/dy."""
    cdef long stride = plan.stride, O = layer.outputs, block, o, depth, sliver, i
    cdef int vectors
    cdef ends e
    cdef Rows weights
    e.floor = -INFINITY
    if one_row(plan):
        weights = rows_of(plan, layer, parameters, arena)
        row_input_gradient(&weights, delta, dx, O)
        return
    for block in range(blocks(O, KC)):
        o = block * KC
        depth = least(KC, O - o)
        for sliver in range(slivers(layer.inputs)):
            i = sliver * PAIR
            vectors = vectors_of(layer.inputs - i)
            e.start = zero_lanes if o == 0 else NULL
            product_by_rows(rows, vectors, delta + o // VL * stride, stride,
                            arena + layer.backward_weight + i * O + o * vectors * VL, depth, &e, dx + i // VL * stride, stride)


cdef inline void through_activation(const Plan *plan, const Layer *layer, const real *arena, real *delta,
                                    long rows) noexcept nogil:
    """dL/dy = (dz/dy)^T dL/dz, in place in delta."""
    cdef long panel, at
    if layer.activation == SOFTMAX:
        softmax_slope(arena + layer.z, delta, plan.stride, rows, layer.outputs)
    else:
        for panel in range(panels(layer.outputs)):
            at = panel * plan.stride
            apply_slope(layer.activation, arena + layer.y + at, arena + layer.z + at, delta + at, rows)


cdef inline const real *backward(const Plan *plan, const real *parameters, real *arena, long rows, bint resume,
                                 bint want_input_gradient, real *gradient) noexcept nogil:
    """All partials of the block, from the delta that the loss left; gradient NULL leaves the parameters' out.

    Returns the panels of dL/dx of the first layer if they were wanted.
    """
    cdef int l
    cdef const Layer *layer
    cdef real *delta = arena + plan.delta
    cdef real *dx = delta + plan.delta_size
    cdef real *spare
    if not plan.from_logits:
        through_activation(plan, &plan.layers[plan.n_layers - 1], arena, delta, rows)
    for l in range(plan.n_layers - 1, -1, -1):
        layer = &plan.layers[l]
        if gradient != NULL:
            if layer.bias >= 0:
                bias_gradient(layer, delta, plan.stride, rows, resume, gradient + layer.bias)
            weight_gradient(layer, delta, layer_input(plan, arena, l), plan.stride, rows, resume, gradient + layer.weight)
            lap(plan.clock, WEIGHT_GRADIENT)
        if l > 0 or want_input_gradient:
            input_gradient(plan, layer, parameters, arena, delta, dx, rows)
            if l > 0:
                through_activation(plan, &plan.layers[l - 1], arena, dx, rows)
            lap(plan.clock, INPUT_GRADIENT)
            spare = delta
            delta = dx
            dx = spare
    return delta
