# Plain SGD, one row a step: W <- W - lr delta x^T in one sweep; the rank-one gradient is never stored.

from clock cimport start, lap, GATHER, FORWARD, LOSS, INPUT_GRADIENT, UPDATE
from simd cimport real, vec, VL, v_load, v_load_first, v_store, v_splat, v_zero, v_max, v_abs, v_sum, v_largest
from names cimport SGD
from plan cimport FLAT, Layer, Plan, least, panels
from forward cimport forward, layer_input
from backward cimport few_rows_input_gradient, through_activation
from optimizers cimport Optimizer
from row cimport clear_tail
from data cimport Data, take_inputs, take_targets
from step cimport advance_plain
from libc.string cimport memcpy


cdef inline bint trains_by_row(long batch_rows, const Optimizer *o) noexcept nogil:
    """Whether steps are `online_step`s, between load_rows and store_rows."""
    return batch_rows == 1 and o.kind == SGD and o.momentum == 0 and not o.prepares


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


cdef inline vec add_squares(vec s, const real *a, long n) noexcept nogil:
    cdef vec x
    cdef long i
    for i in range(panels(n)):
        x = v_load(a + i * VL)
        s = s + x * x
    return s


cdef inline vec update_rows(const Layer *layer, const Optimizer *optimizer, const real *x, real *arena,
                            vec largest) noexcept nogil:
    """W <- W - lr (delta x^T + decay W), b <- b - lr (delta + decay b). Returns the running max |w|."""
    cdef const real *delta = arena + layer.delta
    cdef vec lr = v_splat(<real>optimizer.lr), keep = v_splat(<real>(1 - optimizer.lr * optimizer.weight_decay)), d, w_i
    cdef real *w = arena + layer.rows
    cdef long o, i, n = panels(layer.inputs)
    for o in range(layer.outputs):
        d = lr * v_splat(delta[o])
        for i in range(n):
            w_i = keep * v_load(w + i * VL) - d * v_load(x + i * VL)
            v_store(w + i * VL, w_i)
            largest = v_max(v_abs(w_i), largest)
        w += layer.row_stride
    if layer.bias >= 0:
        w = arena + layer.bias_lanes
        for i in range(panels(layer.outputs)):
            w_i = keep * v_load(w + i * VL) - lr * v_load(delta + i * VL)
            v_store(w + i * VL, w_i)
            largest = v_max(v_abs(w_i), largest)
    return largest


cdef inline bint online_step(const Plan *plan, const Data *data, real *arena, long row, double scale, Optimizer *o,
                             double *loss) noexcept nogil:
    """One step on row `row` of the order: complete, or not at all (False: it would diverge)."""
    cdef int l, last = plan.n_layers - 1
    cdef const Layer *layer
    cdef real *delta = arena + plan.layers[last].delta
    cdef vec largest = v_zero(), deltas = v_zero(), inputs = v_splat(1)
    start(plan.clock)
    take_inputs(plan, data, arena, row, 0, 1)
    take_targets(plan, data, arena, row, 0, 1, scale)
    lap(plan.clock, GATHER)
    forward(plan, NULL, arena, 0, 1, FLAT, plan.from_logits)
    lap(plan.clock, FORWARD)
    loss[0] = plan.loss_of_first_row(plan, arena, delta)
    lap(plan.clock, LOSS)
    if not plan.from_logits:
        through_activation(plan, &plan.layers[last], arena, delta, 0, 1)
    for l in range(last, -1, -1):
        layer = &plan.layers[l]
        delta = arena + layer.delta
        clear_tail(delta, layer.outputs)
        deltas = add_squares(deltas, delta, layer.outputs)
        inputs = add_squares(inputs, layer_input(plan, arena, l), layer.inputs)
        if l > 0:
            few_rows_input_gradient(plan, layer, NULL, arena, delta, arena + plan.layers[l - 1].delta, 1, 0, 1)
            through_activation(plan, &plan.layers[l - 1], arena, arena + plan.layers[l - 1].delta, 0, 1)
    lap(plan.clock, INPUT_GRADIENT)
    if not advance_plain(o, plan, arena, arena + plan.x, v_sum(deltas), v_sum(inputs), loss[0]):
        return False
    for l in range(plan.n_layers):
        largest = update_rows(&plan.layers[l], o, layer_input(plan, arena, l), arena, largest)
    o.largest_parameter = v_largest(largest)
    lap(plan.clock, UPDATE)
    return True
