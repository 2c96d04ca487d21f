# Forward: y = W x + b, z = h(y), layer after layer, on rows that stay in cache.

from simd cimport real, vec, VL, PAIR, ends, product_by_rows
from names cimport IDENTITY, RELU, SOFTMAX
from plan cimport FLAT, KC, PACKED_AT_USE, Plan, Layer, blocks, panels, slivers, vectors_of, least
from activations cimport apply_h, softmax
from pack cimport pack_outputs
from row cimport Rows, clear_tail, row_forward, rows_of

cdef extern from "math.h" nogil:
    const float INFINITY


cdef inline const real *layer_input(const Plan *plan, const real *arena, int l) noexcept nogil:
    """x of layer l: the inputs of the net, or z of the layer below. Panels."""
    return arena + (plan.layers[l - 1].z if l > 0 else plan.x)


cdef inline int activation_of(const Plan *plan, int l, bint logits) noexcept nogil:
    """With `logits` the last layer stops at y."""
    return IDENTITY if logits and l == plan.n_layers - 1 else plan.layers[l].activation


cdef inline void few_rows_forward(const Plan *plan, const Layer *layer, int activation, const real *x,
                                  const real *parameters, real *arena, long rows, long begin, long end) noexcept nogil:
    """z = h(W x + b) of panels begin .. end - 1, from W as it is; softmax is left to the caller."""
    cdef Rows weights = rows_of(plan, layer, parameters, arena)
    cdef long stride = plan.stride, r, panel
    cdef real *y = arena + layer.y
    cdef real *z = arena + layer.z
    for r in range(rows):
        row_forward(&weights, x + r * VL, y + r * VL, stride, layer.outputs, begin, end)
    if rows * VL == stride:
        apply_h(activation, y + begin * stride, z + begin * stride, (end - begin) * rows)
    else:
        for panel in range(begin, end):
            apply_h(activation, y + panel * stride, z + panel * stride, rows)
    if end == panels(layer.outputs):
        for r in range(rows):
            clear_tail(z + (end - 1) * stride + r * VL, layer.outputs - (end - 1) * VL)


cdef inline void forward_outputs(const Plan *plan, const Layer *layer, int activation, const real *x, real *arena, long row,
                                 long rows, long begin, long end, const real *parameters) noexcept nogil:
    """z = h(W x + b) of slivers begin .. end - 1, from x of row 0; softmax is left to the caller.

    W is packed already where `parameters` is NULL, else a piece of a sliver at a time. relu is applied as a tile is
    stored, the others while its panel is in L1.
    """
    cdef long stride = plan.stride, I = layer.inputs, block, k, depth, sliver, o, panel
    cdef real *y = arena + layer.y + row * VL
    cdef real *z = arena + layer.z + row * VL
    cdef real *W = arena + layer.forward_weight + begin * PAIR * I
    cdef int vectors
    cdef ends e
    x += row * VL
    for block in range(blocks(I, KC)):
        k = block * KC
        depth = least(KC, I - k)
        for sliver in range(begin, end):
            o = sliver * PAIR
            vectors = vectors_of(layer.outputs - o)
            e.start = arena + layer.bias_lanes + o if k == 0 else NULL
            e.floor = 0 if activation == RELU and k + depth == I else -INFINITY
            if parameters != NULL:
                pack_outputs(layer, parameters, o, k, depth, W)
            else:
                W = arena + layer.forward_weight + o * I + k * vectors * VL
            product_by_rows(rows, vectors, x + k // VL * stride, stride, W, depth, &e, y + o // VL * stride, stride)
            if k + depth == I and activation != RELU:
                for panel in range(o // VL, o // VL + vectors):
                    apply_h(activation, y + panel * stride, z + panel * stride, rows)


cdef inline void forward_layer(const Plan *plan, const Layer *layer, int activation, const real *x,
                               const real *parameters, real *arena, long row, long rows, int weights) noexcept nogil:
    """z = h(y), y = W x + b of rows row .. row + rows - 1 of the block; x, y, z in panels, x from row 0."""
    cdef real *y = arena + layer.y + row * VL
    cdef real *z = arena + layer.z + row * VL
    if weights == FLAT:
        few_rows_forward(plan, layer, activation, x, parameters, arena, rows, 0, panels(layer.outputs))
    else:
        forward_outputs(plan, layer, activation, x, arena, row, rows, 0, slivers(layer.outputs),
                        parameters if weights == PACKED_AT_USE else NULL)
    if activation == SOFTMAX:
        softmax(y, z, plan.stride, rows, layer.outputs)


cdef inline void forward(const Plan *plan, const real *parameters, real *arena, long row, long rows, int weights,
                         bint logits) noexcept nogil:
    """Every y and z of these rows of the block, from the x packed in the arena."""
    cdef int l
    for l in range(plan.n_layers):
        forward_layer(plan, &plan.layers[l], activation_of(plan, l, logits), layer_input(plan, arena, l), parameters, arena,
                      row, rows, weights)
