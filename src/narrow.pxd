# Training row by row where no layer is wider than a vector: every y, z and delta is one vector. W is kept both ways, as I
# vectors of outputs and O vectors of inputs, so that neither W x nor W^T delta needs a sum across lanes; both copies get
# the same updates, to the bit. On 2-3-1 a step takes three quarters of online.pxd's time (python bench 2-3-1).

from clock cimport start, lap, GATHER, FORWARD, LOSS, INPUT_GRADIENT, UPDATE
from simd cimport (real, vec, VL, v_load, v_load_first, v_store, v_splat, v_zero, v_max, v_abs, v_sum, v_largest,
                   v_where_first)
from plan cimport Layer, Plan
from forward cimport layer_input
from losses cimport loss_and_delta
from activations cimport apply_h
from backward cimport through_activation
from optimizers cimport Optimizer
from names cimport IDENTITY, SOFTMAX
from data cimport Data, take_inputs, take_targets
from step cimport advance_plain
from activations cimport softmax


cdef inline bint is_narrow(const Plan *plan) noexcept nogil:
    cdef int l
    if plan.layers[0].inputs > VL:
        return False
    for l in range(plan.n_layers):
        if plan.layers[l].outputs > VL:
            return False
    return True


cdef inline void load_narrow(const Plan *plan, const real *parameters, real *arena) noexcept nogil:
    cdef const Layer *layer
    cdef real *columns
    cdef long i, o
    cdef int l
    for l in range(plan.n_layers):
        layer = &plan.layers[l]
        columns = arena + layer.rows
        for i in range(layer.inputs):
            v_store(columns + i * VL, v_zero())
            for o in range(layer.outputs):
                columns[i * VL + o] = parameters[layer.weight + o * layer.inputs + i]
        for o in range(layer.outputs):
            v_store(columns + (layer.inputs + o) * VL,
                    v_load_first(parameters + layer.weight + o * layer.inputs, layer.inputs))
        v_store(arena + layer.bias_lanes,
                v_load_first(parameters + layer.bias, layer.outputs if layer.bias >= 0 else 0))


cdef inline void store_narrow(const Plan *plan, const real *arena, real *parameters) noexcept nogil:
    cdef const Layer *layer
    cdef long i, o
    cdef int l
    for l in range(plan.n_layers):
        layer = &plan.layers[l]
        for o in range(layer.outputs):
            for i in range(layer.inputs):
                parameters[layer.weight + o * layer.inputs + i] = arena[layer.rows + i * VL + o]
            if layer.bias >= 0:
                parameters[layer.bias + o] = arena[layer.bias_lanes + o]


cdef inline void narrow_forward(const Layer *layer, int activation, const real *x, real *arena) noexcept nogil:
    """z = h(W x + b)."""
    cdef const real *columns = arena + layer.rows
    cdef vec y = v_load(arena + layer.bias_lanes)
    cdef long i
    for i in range(layer.inputs):
        y = y + v_splat(x[i]) * v_load(columns + i * VL)
    v_store(arena + layer.y, y)
    if activation == SOFTMAX:
        softmax(arena + layer.y, arena + layer.z, VL, 1, layer.outputs)
    else:
        apply_h(activation, arena + layer.y, arena + layer.z, 1)


cdef inline vec narrow_input_gradient(const Layer *layer, const real *arena) noexcept nogil:
    """dL/dx = W^T dL/dy."""
    cdef const real *rows = arena + layer.rows + layer.inputs * VL
    cdef vec dx = v_zero()
    cdef long o
    for o in range(layer.outputs):
        dx = dx + v_splat(arena[layer.delta + o]) * v_load(rows + o * VL)
    return dx


cdef inline vec narrow_update(const Layer *layer, const Optimizer *o, const real *x, bint both_ways, real *arena,
                              vec largest) noexcept nogil:
    """W <- W - lr (delta x^T + decay W), b <- b - lr (delta + decay b). Returns the running max |w|."""
    cdef vec step = v_splat(<real>o.lr) * v_load(arena + layer.delta), x_all = v_load(x), w
    cdef vec keep = v_splat(<real>(1 - o.lr * o.weight_decay))
    cdef real *columns = arena + layer.rows
    cdef real *rows = columns + layer.inputs * VL
    cdef long i
    for i in range(layer.inputs):
        w = keep * v_load(columns + i * VL) - v_splat(x[i]) * step
        v_store(columns + i * VL, w)
        largest = v_max(v_abs(w), largest)
    for i in range(layer.outputs if both_ways else 0):
        w = keep * v_load(rows + i * VL) - x_all * (v_splat(<real>o.lr) * v_splat(arena[layer.delta + i]))
        v_store(rows + i * VL, w)
    if layer.bias >= 0:
        w = keep * v_load(arena + layer.bias_lanes) - step
        v_store(arena + layer.bias_lanes, w)
        largest = v_max(v_abs(w), largest)
    return largest


cdef inline bint narrow_step(const Plan *plan, const Data *data, real *arena, long row, double scale, Optimizer *o,
                             double *loss) noexcept nogil:
    """online_step for narrow nets."""
    cdef int l, last = plan.n_layers - 1
    cdef const Layer *layer
    cdef vec largest = v_zero(), deltas = v_zero(), inputs = v_splat(1), x, d
    start(plan.clock)
    take_inputs(plan, data, arena, row, 0, 1)
    take_targets(plan, data, arena, row, 0, 1, scale)
    lap(plan.clock, GATHER)
    for l in range(plan.n_layers):
        layer = &plan.layers[l]
        x = v_load(layer_input(plan, arena, l))
        inputs = inputs + x * x             # lanes past the width as well: this is a bound
        narrow_forward(layer, IDENTITY if l == last and plan.from_logits else layer.activation,
                       layer_input(plan, arena, l), arena)
    lap(plan.clock, FORWARD)
    layer = &plan.layers[last]
    loss[0] = loss_and_delta(plan, arena, 0, 1, arena + layer.delta)
    lap(plan.clock, LOSS)
    if not plan.from_logits:
        through_activation(plan, layer, arena, arena + layer.delta, 0, 1)
    for l in range(last, -1, -1):
        layer = &plan.layers[l]
        d = v_where_first(layer.outputs, v_load(arena + layer.delta), v_zero())
        v_store(arena + layer.delta, d)
        deltas = deltas + d * d
        if l > 0:
            v_store(arena + plan.layers[l - 1].delta, narrow_input_gradient(layer, arena))
            through_activation(plan, &plan.layers[l - 1], arena, arena + plan.layers[l - 1].delta, 0, 1)
    lap(plan.clock, INPUT_GRADIENT)
    if not advance_plain(o, <double>v_sum(deltas) * v_sum(inputs), loss[0]):
        return False
    for l in range(plan.n_layers):
        largest = narrow_update(&plan.layers[l], o, layer_input(plan, arena, l), l > 0, arena, largest)
    o.largest_parameter = v_largest(largest)
    lap(plan.clock, UPDATE)
    return True
