# Every number of one row's pass, written down as it is computed: the walk of block.pxd with a record beside it. The record
# holds, one after another,
#
#   t (O of the last layer), as the loss takes it; y and z of every layer, the first one first;
#   from the last layer back: dL/dz (O), dz/dy (O; softmax: O x O), dL/dy (O), dL/dW (O x I), dL/db (O) if there is a b;
#   dL/dx of the first layer (I).
#
# Of an activation alone: z; dL/dz, dz/dy. Of a dropout: z; dL/dz. Of a norm: n and z; dL/dz, dL/dgamma, dL/dbeta, dL/dn.
#
# Where the loss is computed from logits, dL/dy of the last layer comes directly: its dL/dz and dz/dy are left out, and
# of an activation alone all.

from simd cimport real, VL, v_load, v_splat, v_store
from names cimport ACTIVATION, DENSE, IDENTITY, SOFTMAX
from plan cimport FLAT, Layer, Plan, panels
from pack cimport unpack_rows
from activations cimport softmax
from between cimport in_place
from forward cimport forward_layer, layer_input
from norms cimport normalised, panel_of
from backward cimport bias_gradient, few_rows_input_gradient, weight_gradient


cdef inline bint has_dz(const Plan *plan, int l) noexcept nogil:
    return l < plan.n_layers - 1 or not plan.from_logits


cdef inline long record_size(const Plan *plan) noexcept nogil:
    cdef long size = plan.layers[plan.n_layers - 1].outputs + plan.layers[0].inputs + plan.n_parameters, O
    cdef const Layer *layer
    cdef int l
    for l in range(plan.n_layers):
        layer = &plan.layers[l]
        O = layer.outputs
        size += 3 * O if layer.kind == DENSE else O if in_place(layer) else 3 * O      # y, z, dL/dy; z; n, z, dL/dn
        if has_dz(plan, l):
            size += O
            if layer.kind == DENSE or layer.kind == ACTIVATION:
                size += O * O if layer.activation == SOFTMAX else O
    return size


cdef inline real *record_row(const Plan *plan, const real *row, long n, real *record) noexcept nogil:
    """Copies n numbers out of their panels; returns the end of the record."""
    unpack_rows(row, plan.stride, 1, n, record)
    return record + n


cdef inline real *record_slope(const Plan *plan, const Layer *layer, const real *arena, real *spare,
                               real *record) noexcept nogil:
    """dz/dy: h'(y) (O,) from a delta of ones; of softmax the Jacobian (O, O), row i from the delta that is 1 in i."""
    cdef bint full = layer.activation == SOFTMAX
    cdef long i, panel, O = layer.outputs
    for i in range(O if full else 1):
        for panel in range(panels(O)):
            v_store(spare + panel * plan.stride, v_splat(0 if full else 1))
        if full:
            spare[i // VL * plan.stride + i % VL] = 1
        plan.through_activation(plan, layer, arena, spare, 0, 1)
        record = record_row(plan, spare, O, record)
    return record


cdef inline const real *before_z(const Plan *plan, const Layer *layer, const real *x, real *arena) noexcept nogil:
    """What is recorded before z: y, of a norm n; NULL where there is no such."""
    cdef real *spare = arena + plan.delta + plan.delta_size
    cdef long panel
    if layer.kind == DENSE:
        return arena + layer.y
    if in_place(layer):
        return NULL
    for panel in range(panels(layer.outputs)):
        v_store(spare + panel * plan.stride, normalised(plan, layer, arena, v_load(x + panel * plan.stride), panel, 0))
    return spare


cdef inline real *record_back(const Plan *plan, const real *parameters, real *arena, int l, real *delta, real *dx,
                              real *record) noexcept nogil:
    """Backward of such a layer, from its dL/dy."""
    cdef const Layer *layer = &plan.layers[l]
    cdef long panel
    if not in_place(layer):
        plan.weights_between(plan, arena, l, delta, 0, 1, False, record - layer.weight, 0, 1)    # dL/dbeta comes behind
        record += 2 * layer.outputs
        for panel in range(panels(layer.outputs)):
            v_store(dx + panel * plan.stride, panel_of(parameters + layer.weight, panel, layer.outputs)
                    * v_load(delta + panel * plan.stride))
        record = record_row(plan, dx, layer.outputs, record)
    plan.backward_between(plan, parameters, arena, l, delta, dx, 0, 1)
    return record


cdef inline double record_pass(const Plan *plan, const real *parameters, real *arena, real *record) noexcept nogil:
    """The loss of the row whose inputs and target are in the arena; all numbers on the way to `record` (record_size,)."""
    cdef int l, last = plan.n_layers - 1
    cdef const Layer *layer
    cdef const real *x
    cdef const real *row
    cdef real *delta = arena + plan.delta
    cdef real *dx = delta + plan.delta_size
    cdef real *spare
    cdef double loss = 0
    record = record_row(plan, arena + plan.targets, plan.layers[last].outputs, record)
    for l in range(plan.n_layers):
        layer = &plan.layers[l]
        x = layer_input(plan, arena, l)
        if layer.kind == DENSE:
            forward_layer(plan, layer, IDENTITY, x, parameters, arena, 0, 1, FLAT)
        else:
            plan.forward_between(plan, parameters, arena, l, IDENTITY, 0, 1, 0)
        row = before_z(plan, layer, x, arena)
        if row != NULL:
            record = record_row(plan, row, layer.outputs, record)
        if not has_dz(plan, l):
            loss = plan.loss_of_first_row(plan, arena, delta)     # now: z is about to take the place of y
        if layer.activation == SOFTMAX:
            softmax(arena + layer.y, arena + layer.z, plan.stride, 1, layer.outputs)
        else:
            plan.apply_h(layer.activation, arena + layer.y, arena + layer.z, panels(layer.outputs))
        record = record_row(plan, arena + layer.z, layer.outputs, record)
    if has_dz(plan, last):
        loss = plan.loss_of_first_row(plan, arena, delta)
    for l in range(last, -1, -1):
        layer = &plan.layers[l]
        x = layer_input(plan, arena, l)
        if has_dz(plan, l):
            record = record_row(plan, delta, layer.outputs, record)
            if layer.kind == DENSE or layer.kind == ACTIVATION:
                record = record_slope(plan, layer, arena, dx, record)
                plan.through_activation(plan, layer, arena, delta, 0, 1)
        if layer.kind != DENSE:
            record = record_back(plan, parameters, arena, l, delta, dx, record)
            if not in_place(layer):
                spare = delta
                delta = dx
                dx = spare
            continue
        record = record_row(plan, delta, layer.outputs, record)
        weight_gradient(layer, delta, x, plan.stride, 1, False, record, 0, 1)
        record += layer.outputs * layer.inputs
        if layer.bias >= 0:
            bias_gradient(layer, delta, plan.stride, 1, False, record, 0, 1)
            record += layer.outputs
        few_rows_input_gradient(plan, layer, parameters, arena, delta, dx, 1, 0, 1)
        spare = delta
        delta = dx
        dx = spare
    record_row(plan, delta, plan.layers[0].inputs, record)
    return loss
