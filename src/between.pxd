# What stands between the Dense layers, row by row: an activation alone, dropout, a layer norm, and a batch norm by its
# running statistics (in training it takes the whole batch: block.pxd). Each forward beside its backward.
#
#     activation     z = h(x): its y is x itself, and dL/dx = dL/dy
#     dropout        z = x / (1 - p) or 0          dL/dx in place of dL/dz
#     norms          z = gamma n + beta            dL/dx beside dL/dz, which other threads may still need for dL/dgamma
#
# Called through the plan's pointers (plan.pxd).

from simd cimport real, VL, v_load, v_store
from names cimport ACTIVATION, DROPOUT, IDENTITY, LAYER_NORM, SOFTMAX
from plan cimport Layer, Plan, are_few, panels
from activations cimport softmax
from backward cimport bias_gradient
from dropout cimport dropout, dropout_slope
from forward cimport layer_input
from norms cimport (batch_norm_by_rows, batch_norm_slope_by_rows, batch_norm_weights, layer_norm, layer_norm_slope,
                    layer_norm_weights)
from row cimport clear_tail
from libc.string cimport memcpy


cdef inline bint in_place(const Layer *layer) noexcept nogil:
    """Whether dL/dx of a layer takes the place of its dL/dy."""
    return layer.kind == ACTIVATION or layer.kind == DROPOUT


cdef inline void copy_rows(const Plan *plan, const Layer *layer, const real *x, real *z, long rows) noexcept nogil:
    cdef long panel
    for panel in range(panels(layer.outputs)):
        memcpy(z + panel * plan.stride, x + panel * plan.stride, rows * VL * sizeof(real))


cdef inline void activation_alone(const Plan *plan, const Layer *layer, int activation, const real *x, real *z,
                                  long rows) noexcept nogil:
    """z = h(x). Where weights are not packed, the layer above needs zeros past the width (row.pxd)."""
    cdef long panel, last = panels(layer.outputs) - 1, r
    if activation == SOFTMAX:
        softmax(x, z, plan.stride, rows, layer.outputs)
    elif activation == IDENTITY:
        copy_rows(plan, layer, x, z, rows)
    else:
        for panel in range(last + 1):
            plan.apply_h(activation, x + panel * plan.stride, z + panel * plan.stride, rows)
        if are_few(rows):
            for r in range(rows):
                clear_tail(z + last * plan.stride + r * VL, layer.outputs - last * VL)


cdef inline void forward_between(const Plan *plan, const real *parameters, real *arena, int l, int activation, long row,
                                 long rows, long place) noexcept nogil:
    """z of rows row .. row + rows - 1 of the block, the first of which is row `place` of the batch."""
    cdef const Layer *layer = &plan.layers[l]
    cdef const real *x = layer_input(plan, arena, l)
    if layer.kind == ACTIVATION:
        activation_alone(plan, layer, activation, x + row * VL, arena + layer.z + row * VL, rows)
    elif layer.kind == DROPOUT and plan.training:
        dropout(plan, l, x + row * VL, arena + layer.z + row * VL, rows, place)
    elif layer.kind == DROPOUT:
        copy_rows(plan, layer, x + row * VL, arena + layer.z + row * VL, rows)
    elif layer.kind == LAYER_NORM:
        layer_norm(plan, layer, parameters, arena, x, row, rows)
    else:
        batch_norm_by_rows(plan, layer, parameters, x, arena, row, rows)


cdef inline void weights_between(const Plan *plan, const real *arena, int l, const real *delta, long row, long rows,
                                 bint resume, real *gradient, int part, int parts) noexcept nogil:
    """dL/dgamma and dL/dbeta of a norm, summed over rows row .. row + rows - 1; delta from row 0."""
    cdef const Layer *layer = &plan.layers[l]
    cdef const real *x = layer_input(plan, arena, l)
    if in_place(layer):
        return
    bias_gradient(layer, delta + row * VL, plan.stride, rows, resume, gradient + layer.bias, part, parts)
    if layer.kind == LAYER_NORM:
        layer_norm_weights(plan, layer, arena, x, delta, row, rows, resume, gradient + layer.weight, part, parts)
    else:
        batch_norm_weights(plan, layer, x, delta, row, rows, resume, gradient + layer.weight, part, parts)


cdef inline void backward_between(const Plan *plan, const real *parameters, const real *arena, int l, real *delta, real *dx,
                                  long row, long rows) noexcept nogil:
    """dL/dx of these rows, in delta where it is in_place, else in dx; both from row 0."""
    cdef const Layer *layer = &plan.layers[l]
    if layer.kind == LAYER_NORM:
        layer_norm_slope(plan, layer, parameters, arena, layer_input(plan, arena, l), delta, dx, row, rows)
    elif layer.kind == DROPOUT:
        if plan.training:
            dropout_slope(plan, l, arena + layer.z + row * VL, delta + row * VL, rows)
    elif layer.kind != ACTIVATION:
        batch_norm_slope_by_rows(plan, layer, parameters, delta, dx, row, rows)
