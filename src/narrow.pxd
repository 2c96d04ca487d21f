# Training row by row where no layer is wider than a vector: every y, z and delta is one vector, and what the next product
# waits for goes there in a register. W is kept both ways, as I vectors of outputs and O vectors of inputs, so that neither
# W x nor W^T delta needs a sum across lanes; both copies get the same updates, to the bit. On 2-3-1 a step takes half of
# online.pxd's time (python bench 2-3-1).

from clock cimport start, lap, FORWARD, LOSS, INPUT_GRADIENT, UPDATE
from simd cimport (real, vec, VL, MAX_VL, v_load, v_load_first, v_store, v_splat, v_zero, v_max, v_abs, v_sum,
                   v_largest, v_where_first, v_all_less)
from plan cimport Layer, Plan
from forward cimport activation_of
from losses cimport if_present, slope as loss_slope, value
from activations cimport h, slope, softmax, softmax_slope
from optimizers cimport Optimizer
from names cimport CROSS_ENTROPY, GIVEN_DELTA, SOFTMAX
from data cimport Data, take_targets
from step cimport advance_plain
from libc.math cimport isfinite

cdef enum:
    CALM = 100000000        # what a lane may hold without a closer look, in narrow_advance


cdef struct Late:           # rows of a net with one output whose losses are computed together, one in a lane
    long waiting
    long told               # losses that are to be added up
    real[MAX_VL] losses
    real[MAX_VL] z
    real[MAX_VL] targets
    real[MAX_VL] scales


cdef inline bint is_narrow(const Plan *plan) noexcept nogil:
    cdef int l
    if plan.layers[0].inputs > VL:
        return False
    for l in range(plan.n_layers):
        if plan.layers[l].outputs > VL:
            return False
    return True


cdef inline void load_narrow(const Plan *plan, const Optimizer *optimizer, const real *parameters, real *arena) noexcept nogil:
    """W both ways, b, and in the place of plan.delta the largest |w|, which narrow_update keeps lane by lane."""
    cdef const Layer *layer
    cdef real *columns
    cdef long i, o
    cdef int l
    v_store(arena + plan.delta, v_splat(<real>optimizer.largest_parameter))
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


cdef inline void store_narrow(const Plan *plan, Optimizer *optimizer, const real *arena, real *parameters) noexcept nogil:
    cdef const Layer *layer
    cdef long i, o
    cdef int l
    optimizer.largest_parameter = v_largest(v_load(arena + plan.delta))
    for l in range(plan.n_layers):
        layer = &plan.layers[l]
        for o in range(layer.outputs):
            for i in range(layer.inputs):
                parameters[layer.weight + o * layer.inputs + i] = arena[layer.rows + i * VL + o]
            if layer.bias >= 0:
                parameters[layer.bias + o] = arena[layer.bias_lanes + o]


cdef inline vec narrow_product(const real *columns, const real *x, long n, vec y) noexcept nogil:
    """y + the columns times the numbers of x, by two sums that need not wait for each other."""
    cdef vec odd = v_zero()
    cdef long k
    for k in range(n // 2):
        y = y + v_splat(x[2 * k]) * v_load(columns + 2 * k * VL)
        odd = odd + v_splat(x[2 * k + 1]) * v_load(columns + (2 * k + 1) * VL)
    if n % 2:
        y = y + v_splat(x[n - 1]) * v_load(columns + (n - 1) * VL)
    return y + odd


cdef inline vec narrow_forward(const Layer *layer, int activation, const real *x, real *arena) noexcept nogil:
    """z = h(W x + b), kept in the arena as well, and y where h' needs it."""
    cdef vec y = narrow_product(arena + layer.rows, x, layer.inputs, v_load(arena + layer.bias_lanes)), z
    if activation == SOFTMAX:
        v_store(arena + layer.z, y)
        softmax(arena + layer.z, arena + layer.z, VL, 1, layer.outputs)
        return v_load(arena + layer.z)
    z = h(activation, y)
    if layer.y != layer.z:
        v_store(arena + layer.y, y)
    v_store(arena + layer.z, z)
    return z


cdef inline vec narrow_slope(const Layer *layer, const real *arena, vec dz) noexcept nogil:
    """dL/dy = (dz/dy)^T dL/dz."""
    cdef real[MAX_VL] delta
    if layer.activation == SOFTMAX:
        v_store(delta, dz)
        softmax_slope(arena + layer.z, delta, VL, 1, layer.outputs)
        return v_load(delta)
    return dz * slope(layer.activation, v_load(arena + layer.y), v_load(arena + layer.z))


cdef inline vec losses_of(const Plan *plan, vec z, vec t, vec scales, bint masked) noexcept nogil:
    return if_present(masked, t, scales * value(plan.loss, z, t, v_splat(plan.loss_parameter)))


cdef inline vec narrow_loss(const Plan *plan, const Data *data, real *arena, long row, double scale, vec z, Late *late,
                            bint last, double *loss) noexcept nogil:
    """dL/dz of the last layer, or dL/dy where the loss is from logits; `loss` gets the scaled loss.

    A net with one output tells its losses a vector of rows at a time, through `late`: those that wait are told with the
    last row, and before one whose loss is large, so that they are added up in the order of the rows.
    """
    cdef const Layer *layer = &plan.layers[plan.n_layers - 1]
    cdef long r = data.order[row] if data.order != NULL else row
    cdef bint masked = plan.masked_loss != NULL
    cdef real weight = <real>(scale * data.weights[r]) if data.weights != NULL else <real>scale
    cdef vec d, t, scales = v_splat(weight), p = v_splat(plan.loss_parameter)
    cdef bint calm
    if data.labels != NULL or plan.loss == CROSS_ENTROPY or plan.loss == GIVEN_DELTA:
        take_targets(plan, data, arena, row, 0, 1, scale)
        loss[0] = plan.loss_of_first_row(plan, arena, arena + layer.delta)
        return v_load(arena + layer.delta)
    t = v_load_first(data.targets + r * layer.outputs, layer.outputs)
    d = if_present(masked, t, scales * loss_slope(plan.loss, z, t, p))
    # The loss of a calm row is finite, if the slope is.
    calm = layer.outputs == 1 and v_all_less(z * z + if_present(masked, t, t * t), v_splat(CALM))
    loss[0] = 0
    if calm:
        late.z[late.waiting] = arena[layer.z]
        late.targets[late.waiting] = data.targets[r]
        late.scales[late.waiting] = weight
        late.waiting += 1
        if late.waiting < VL and not last:
            return d
    if late.waiting > 0:
        late.told = late.waiting
        late.waiting = 0
        v_store(late.losses, losses_of(plan, v_load(late.z), v_load(late.targets), v_load(late.scales), masked))
    if not calm:
        loss[0] = v_sum(v_where_first(layer.outputs, losses_of(plan, z, t, scales, masked), v_zero()))
    return d


cdef inline vec narrow_update(const Layer *layer, const Optimizer *o, vec delta, const real *x, vec x_all, bint both_ways,
                              real *arena, vec largest) noexcept nogil:
    """W <- W - lr (delta x^T + decay W), b <- b - lr (delta + decay b). Returns the running max |w|."""
    cdef vec step = v_splat(<real>o.lr) * delta, w
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


cdef inline bint narrow_advance(Optimizer *o, const Plan *plan, const real *arena, const real *x, vec largest, vec deltas,
                                vec inputs, double loss) noexcept nogil:
    """advance_plain, for the squares of all deltas and inputs: calm lanes are soon seen to be within its bounds.

    The norm of the gradient is at most half the sum of all lanes of both.
    """
    cdef vec calm = v_splat(CALM)
    if v_all_less(deltas + inputs, calm) and v_all_less(largest, calm) and isfinite(loss):
        if o.lr * (1 + o.weight_decay) < CALM:
            o.steps += 1
            return True
    o.largest_parameter = v_largest(largest)
    return advance_plain(o, plan, arena, x, v_sum(deltas), v_sum(inputs), loss)


cdef inline bint narrow_step(const Plan *plan, const Data *data, real *arena, long row, double scale, Optimizer *o,
                             Late *late, bint last_row, double counted, double *total) noexcept nogil:
    """online_step for narrow nets, which adds `counted` times the loss to `total`, row by row in their order."""
    cdef double loss = 0
    cdef long k
    cdef int l, last = plan.n_layers - 1
    cdef const Layer *layer
    cdef const real *first = data.x + (data.order[row] if data.order != NULL else row) * plan.layers[0].inputs
    cdef const real *x = first
    cdef vec largest = v_load(arena + plan.delta), deltas = v_zero(), inputs = v_splat(1), d
    cdef vec x_first = v_load_first(first, plan.layers[0].inputs), z = x_first
    start(plan.clock)
    for l in range(plan.n_layers):
        layer = &plan.layers[l]
        inputs = inputs + z * z             # lanes past the width as well: this is a bound
        z = narrow_forward(layer, activation_of(plan, l, plan.from_logits), x, arena)
        x = arena + layer.z
    lap(plan.clock, FORWARD)
    d = narrow_loss(plan, data, arena, row, scale, z, late, last_row, &loss)
    lap(plan.clock, LOSS)
    layer = &plan.layers[last]
    if not plan.from_logits:
        d = narrow_slope(layer, arena, d)
    d = v_where_first(layer.outputs, d, v_zero())   # further down the lanes past the width are 0, for W's are
    for l in range(last, -1, -1):
        layer = &plan.layers[l]
        v_store(arena + layer.delta, d)
        deltas = deltas + d * d
        if l > 0:
            d = narrow_product(arena + layer.rows + layer.inputs * VL, arena + layer.delta, layer.outputs, v_zero())
            d = narrow_slope(&plan.layers[l - 1], arena, d)
    lap(plan.clock, INPUT_GRADIENT)
    if not narrow_advance(o, plan, arena, first, largest, deltas, inputs, loss):
        return False
    largest = narrow_update(&plan.layers[0], o, d, first, x_first, False, arena, v_zero())
    for l in range(1, plan.n_layers):
        layer = &plan.layers[l]
        x = arena + plan.layers[l - 1].z
        z = v_where_first(layer.inputs, v_load(x), v_zero())
        largest = narrow_update(layer, o, v_load(arena + layer.delta), x, z, True, arena, largest)
    v_store(arena + plan.delta, largest)
    for k in range(late.told):
        total[0] += late.losses[k]
    late.told = 0
    total[0] += loss * counted
    lap(plan.clock, UPDATE)
    return True
