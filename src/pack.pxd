# Between row-major matrices and panels: rows of the data are gathered as they are packed, weights are packed once a step.

from simd cimport real, vec, VL, PAIR, v_load, v_load_first, v_store, v_store_first, v_zero, transpose_block
from names cimport DENSE
from plan cimport Plan, Layer, panels, vectors_of, least
from team cimport share


cdef inline void pack_rows(const real *matrix, const long *order, long first, long rows, long columns,
                           real *packed, long stride) noexcept nogil:
    """Rows order[first] .. order[first + rows - 1] (order NULL: first ..) of matrix (n, columns) into panels."""
    cdef long r, j
    cdef const real *row
    for r in range(rows):
        row = matrix + (order[first + r] if order != NULL else first + r) * columns
        for j in range(columns // VL):
            v_store(packed + j * stride + r * VL, v_load(row + j * VL))
        if columns % VL:
            j = columns // VL
            v_store(packed + j * stride + r * VL, v_load_first(row + j * VL, columns - j * VL))


cdef inline void unpack_rows(const real *packed, long stride, long rows, long columns, real *matrix) noexcept nogil:
    """Panels into the contiguous matrix (rows, columns)."""
    cdef long r, j
    for r in range(rows):
        for j in range(panels(columns)):
            v_store_first(matrix + r * columns + j * VL, v_load(packed + j * stride + r * VL), least(VL, columns - j * VL))


cdef inline void pack_forward(const Layer *layer, const real *parameters, real *arena, int part, int parts) noexcept nogil:
    """W (O, I) into slivers of outputs, (I, lanes) each, and b beside it."""
    cdef const real *W = parameters + layer.weight
    cdef real *bias = arena + layer.bias_lanes
    cdef real *sliver
    cdef long panel, o, i, lanes
    for panel in range(share(panels(layer.outputs), part, parts), share(panels(layer.outputs), part + 1, parts)):
        o = panel * VL
        lanes = vectors_of(layer.outputs - o // PAIR * PAIR) * VL
        sliver = arena + layer.forward_weight + o // PAIR * PAIR * layer.inputs + o % PAIR
        for i in range(panels(layer.inputs)):
            transpose_block(W + o * layer.inputs + i * VL, layer.inputs, least(VL, layer.outputs - o),
                            least(VL, layer.inputs - i * VL), sliver + i * VL * lanes, lanes)
        v_store(bias + o, v_zero())
        if layer.bias >= 0:
            v_store(bias + o, v_load_first(parameters + layer.bias + o, least(VL, layer.outputs - o)))


cdef inline void pack_backward(const Layer *layer, const real *parameters, real *arena, int part, int parts) noexcept nogil:
    """W (O, I) into slivers of inputs, (O, lanes) each."""
    cdef const real *W = parameters + layer.weight
    cdef real *sliver
    cdef long panel, i, o, lanes, width
    for panel in range(share(panels(layer.inputs), part, parts), share(panels(layer.inputs), part + 1, parts)):
        i = panel * VL
        width = least(VL, layer.inputs - i)
        lanes = vectors_of(layer.inputs - i // PAIR * PAIR) * VL
        sliver = arena + layer.backward_weight + i // PAIR * PAIR * layer.outputs + i % PAIR
        for o in range(layer.outputs):
            v_store(sliver + o * lanes, v_load_first(W + o * layer.inputs + i, width))


cdef inline void pack_weights(const Plan *plan, const real *parameters, real *arena, bint backward, bint input_gradient,
                              int part, int parts) noexcept nogil:
    """Both copies of every layer, as far as they are wanted; a part takes panels of each."""
    cdef int l
    for l in range(plan.n_layers):
        if plan.layers[l].kind != DENSE:
            continue
        pack_forward(&plan.layers[l], parameters, arena, part, parts)
        if backward and (l > 0 or input_gradient):
            pack_backward(&plan.layers[l], parameters, arena, part, parts)
