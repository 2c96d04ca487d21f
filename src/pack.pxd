# Between row-major matrices and panels: rows of the data are gathered as they are packed, weights are packed once a step.

from simd cimport real, vec, VL, PAIR, v_load, v_load_first, v_store, v_store_first, v_zero, transpose_rows
from names cimport DENSE
from plan cimport Plan, Layer, panels, slivers, vectors_of, least
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


cdef inline void pack_outputs(const Layer *layer, const real *parameters, long o, long i, long depth,
                              real *packed) noexcept nogil:
    """Inputs i .. i + depth - 1 of the sliver of outputs that begins with o, (depth, lanes)."""
    cdef const real *W = parameters + layer.weight + o * layer.inputs + i
    cdef int vectors = vectors_of(layer.outputs - o), v
    for v in range(vectors):
        transpose_rows(W + v * VL * layer.inputs, layer.inputs, least(VL, layer.outputs - o - v * VL), depth, packed + v * VL,
                       vectors * VL)


cdef inline void pack_inputs(const Layer *layer, const real *parameters, long i, long o, long depth,
                             real *packed) noexcept nogil:
    """Outputs o .. o + depth - 1 of the sliver of inputs that begins with i, (depth, lanes)."""
    cdef const real *W = parameters + layer.weight + o * layer.inputs + i
    cdef long left = layer.inputs - i, k
    if left >= PAIR:
        for k in range(depth):
            v_store(packed + k * PAIR, v_load(W + k * layer.inputs))
            v_store(packed + k * PAIR + VL, v_load(W + k * layer.inputs + VL))
    elif left > VL:
        for k in range(depth):
            v_store(packed + k * PAIR, v_load(W + k * layer.inputs))
            v_store(packed + k * PAIR + VL, v_load_first(W + k * layer.inputs + VL, left - VL))
    else:
        for k in range(depth):
            v_store(packed + k * VL, v_load_first(W + k * layer.inputs, left))


cdef inline void pack_bias(const Layer *layer, const real *parameters, real *arena) noexcept nogil:
    cdef real *bias = arena + layer.bias_lanes
    cdef long panel
    for panel in range(panels(layer.outputs)):
        v_store(bias + panel * VL, v_zero())
        if layer.bias >= 0:
            v_store(bias + panel * VL,
                    v_load_first(parameters + layer.bias + panel * VL, least(VL, layer.outputs - panel * VL)))


cdef inline void pack_biases(const Plan *plan, const real *parameters, real *arena) noexcept nogil:
    cdef int l
    for l in range(plan.n_layers):
        if plan.layers[l].kind == DENSE:
            pack_bias(&plan.layers[l], parameters, arena)


cdef inline void pack_weights(const Plan *plan, const real *parameters, real *arena, bint backward, bint input_gradient,
                              int part, int parts) noexcept nogil:
    """Both copies of every layer, as far as they are wanted; a part takes slivers of each."""
    cdef const Layer *layer
    cdef long n, k
    cdef int l
    for l in range(plan.n_layers):
        layer = &plan.layers[l]
        if layer.kind != DENSE:
            continue
        n = slivers(layer.outputs)
        for k in range(share(n, part, parts), share(n, part + 1, parts)):
            pack_outputs(layer, parameters, k * PAIR, 0, layer.inputs,
                         arena + layer.forward_weight + k * PAIR * layer.inputs)
        n = slivers(layer.inputs) if backward and (l > 0 or input_gradient) else 0
        for k in range(share(n, part, parts), share(n, part + 1, parts)):
            pack_inputs(layer, parameters, k * PAIR, 0, layer.outputs,
                        arena + layer.backward_weight + k * PAIR * layer.outputs)
