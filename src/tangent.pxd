# The product of the Hessian with a vector v: R{.}, the derivative along v, of the gradient (Pearlmutter, "Fast exact
# multiplication by the Hessian", 1994). The pass of block.pxd carries R{.} of every number along. V and c are the parts of
# v that belong to W and b:
#
#     y = W x + b                 R{y} = V x + c + W R{x}
#     z = h(y)                    R{z} = h'(y) R{y}
#     dL/dy = h'(y) dL/dz         R{dL/dy} = h'(y) R{dL/dz} + R{h'(y)} dL/dz
#     dL/db = dL/dy               R{dL/db} = R{dL/dy}
#     dL/dW = dL/dy x^T           R{dL/dW} = R{dL/dy} x^T + dL/dy R{x}^T
#     dL/dx = W^T dL/dy           R{dL/dx} = W^T R{dL/dy} + V^T dL/dy
#
# There is a second arena of the same plan: R{a} lies there at the offset of a, packed V at that of packed W. Layers other
# than Dense compute as in evaluation: norm_tangent.pxd has the norms, a dropout is the identity.

from simd cimport real, VL, PAIR, ends, zero_lanes, product_by_rows
from names cimport DENSE, GIVEN_DELTA, IDENTITY, SOFTMAX
from plan cimport GROUP, KC, MAX_BLOCK_ROWS, Layer, Plan, blocks, least, panels, slivers, vectors_of
from team cimport share
from pack cimport pack_rows, unpack_rows
from between cimport copy_rows, in_place
from forward cimport INFINITY, activation_of, layer_input
from backward cimport bias_gradient, weight_gradient
from block cimport Block, block_forward, pack
from curvature cimport apply_backward, apply_forward, loss_tangent, softmax_backward, softmax_forward
from norm_tangent cimport Norm, make_norm, norm_backward, norm_forward, norm_weights, place_statistics
from libc.string cimport memset

cdef struct Tangent:
    Block *block            # its to_dz is set where a loss is wanted
    Block along             # the same with v for parameters, and the second arena
    const real *deltas      # (n, O) R{dL/dz} as a loss object of the user's gave it, or NULL
    real *results           # (n_parameters,) H v; where the block does not go to the loss, (n, O) R{z} of the last layer
    # of the region under way
    int layer
    long delta              # offset in both arenas of dL/dy of the layer
    long dx                 # and of its dL/dx


cdef inline void multiply(const real *packed, long depth, long width, const real *a, long stride, bint fresh,
                          const real *start, real *c, long rows) noexcept nogil:
    """c = start + P a for a packed matrix P (width, depth); start (width,) or NULL: zeros. Not fresh: c += P a."""
    cdef long block, k, sliver, o
    cdef int vectors
    cdef ends e
    e.floor = -INFINITY
    for block in range(blocks(depth, KC)):
        k = block * KC
        for sliver in range(slivers(width)):
            o = sliver * PAIR
            vectors = vectors_of(width - o)
            e.start = NULL
            if fresh and k == 0:
                e.start = start + o if start != NULL else zero_lanes
            product_by_rows(rows, vectors, a + k // VL * stride, stride, packed + o * depth + k * vectors * VL,
                            least(KC, depth - k), &e, c + o // VL * stride, stride)


cdef inline void norm_of(const Tangent *t, int l, Norm *norm) noexcept nogil:
    cdef const Plan *plan = t.block.plan
    make_norm(norm, plan, &plan.layers[l], t.block.parameters, t.along.parameters, t.block.arena, t.along.arena,
              layer_input(plan, t.block.arena, l), layer_input(plan, t.along.arena, l))


cdef inline void layer_forward(const Tangent *t, int l, long row, long rows) noexcept nogil:
    """R{y} and R{z} of layer l."""
    cdef const Plan *plan = t.block.plan
    cdef const Layer *layer = &plan.layers[l]
    cdef int activation = activation_of(plan, l, t.block.to_loss and plan.from_logits)
    cdef long stride = plan.stride, I = layer.inputs, O = layer.outputs, panel, at, r, k
    cdef const real *arena = t.block.arena + row * VL
    cdef real *along = t.along.arena + row * VL
    cdef Norm norm
    if layer.kind == DENSE:
        for k in range(2 if l > 0 else 1):  # V x + c, W R{x}
            multiply((t.along.arena if k == 0 else t.block.arena) + layer.forward_weight, I, O,
                     layer_input(plan, arena if k == 0 else along, l), stride, k == 0, t.along.arena + layer.bias_lanes,
                     along + layer.y, rows)
    elif not in_place(layer):
        norm_of(t, l, &norm)
        norm_forward(&norm, row, rows)
    elif activation == IDENTITY:
        copy_rows(plan, layer, layer_input(plan, along, l), along + layer.z, rows)
    if activation == SOFTMAX:
        for r in range(rows):
            at = r * VL
            softmax_forward(arena + layer.z + at, along + layer.y + at, along + layer.z + at, stride, O, 1)
    elif activation != IDENTITY:
        for panel in range(panels(O)):
            at = panel * stride
            apply_forward(activation, arena + layer.y + at, arena + layer.z + at, along + layer.y + at, along + layer.z + at,
                          rows)


cdef inline void tangent_rows_part(void *argument, int part, int parts) noexcept nogil:
    """Rows from the inputs to R{dL/dz} of the last layer (R{dL/dy} where the loss is from logits), or to R{z}."""
    cdef const Tangent *t = <const Tangent *>argument
    cdef const Block *block = t.block
    cdef const Plan *plan = block.plan
    cdef const Layer *last = &plan.layers[plan.n_layers - 1]
    cdef long groups = blocks(block.rows, GROUP), row = share(groups, part, parts) * GROUP, rows
    cdef long end = least(share(groups, part + 1, parts) * GROUP, block.rows)
    cdef real *rdelta
    cdef int l
    while row < end:
        rows = least(MAX_BLOCK_ROWS, end - row)
        for l in range(plan.n_layers):
            layer_forward(t, l, row, rows)
        rdelta = t.along.arena + plan.delta + row * VL
        if not block.to_loss:
            unpack_rows(t.along.arena + last.z + row * VL, plan.stride, rows, last.outputs,
                        t.results + (block.first + row) * last.outputs)
        elif plan.loss == GIVEN_DELTA:
            pack_rows(t.deltas, NULL, block.first + row, rows, last.outputs, rdelta, plan.stride)
        else:
            loss_tangent(plan, block.arena, t.along.arena, row, rows, rdelta + plan.delta_size, rdelta)
        row += rows


cdef inline void back_through_part(void *argument, int part, int parts) noexcept nogil:
    """From dL/dz and R{dL/dz} of the layer to dL/dy and R{dL/dy}, in place, for rows of its own."""
    cdef const Tangent *t = <const Tangent *>argument
    cdef const Plan *plan = t.block.plan
    cdef const Layer *layer = &plan.layers[t.layer]
    cdef long groups = blocks(t.block.rows, GROUP), row = share(groups, part, parts) * GROUP
    cdef long rows = least(share(groups, part + 1, parts) * GROUP, t.block.rows) - row, panel, at
    cdef const real *y = t.block.arena + layer.y + row * VL
    cdef const real *z = t.block.arena + layer.z + row * VL
    cdef const real *ry = t.along.arena + layer.y + row * VL
    cdef const real *rz = t.along.arena + layer.z + row * VL
    cdef real *delta = t.block.arena + t.delta + row * VL
    cdef real *rdelta = t.along.arena + t.delta + row * VL
    if layer.activation == SOFTMAX:
        softmax_backward(z, rz, delta, rdelta, plan.stride, rows, layer.outputs)
    elif layer.activation != IDENTITY:
        for panel in range(panels(layer.outputs)):
            at = panel * plan.stride
            apply_backward(layer.activation, y + at, z + at, ry + at, rz + at, delta + at, rdelta + at, rows)


cdef inline void layer_backward_part(void *argument, int part, int parts) noexcept nogil:
    """R{dL/db} and R{dL/dW} of the layer (a norm's beta and gamma), by their elements; dL/dx and R{dL/dx}, by rows.

    The two products of R{dL/dW} take turns every MAX_BLOCK_ROWS rows, however many the block has.
    """
    cdef const Tangent *t = <const Tangent *>argument
    cdef const Block *block = t.block
    cdef const Plan *plan = block.plan
    cdef const Layer *layer = &plan.layers[t.layer]
    cdef real *arena = block.arena
    cdef real *along = t.along.arena
    cdef real *gradient = t.results + layer.weight
    cdef long groups = blocks(block.rows, GROUP), stride = plan.stride, I = layer.inputs, O = layer.outputs, row, rows, k
    cdef Norm norm
    if layer.bias >= 0:
        bias_gradient(layer, along + t.delta, stride, block.rows, block.resume, t.results + layer.bias, part, parts)
    if layer.kind != DENSE:
        norm_of(t, t.layer, &norm)
        norm_weights(&norm, arena + t.delta, along + t.delta, block.rows, block.resume, gradient, part, parts)
        if t.layer > 0:
            row = share(groups, part, parts) * GROUP
            rows = least(share(groups, part + 1, parts) * GROUP, block.rows) - row
            norm_backward(&norm, arena + t.delta, along + t.delta, arena + t.dx, along + t.dx, row, rows)
        return
    for k in range(blocks(block.rows, MAX_BLOCK_ROWS)):
        row = k * MAX_BLOCK_ROWS
        rows = least(MAX_BLOCK_ROWS, block.rows - row)
        weight_gradient(layer, along + t.delta + row * VL, layer_input(plan, arena, t.layer) + row * VL, stride, rows,
                        block.resume or k > 0, gradient, part, parts)
        if t.layer > 0:
            weight_gradient(layer, arena + t.delta + row * VL, layer_input(plan, along, t.layer) + row * VL, stride, rows,
                            True, gradient, part, parts)
    if t.layer > 0:
        row = share(groups, part, parts) * GROUP
        rows = least(share(groups, part + 1, parts) * GROUP, block.rows) - row
        arena += row * VL
        along += row * VL
        for k in range(3):                  # W^T dL/dy, W^T R{dL/dy} and V^T dL/dy: `multiply` is compiled once
            multiply((t.along.arena if k == 2 else block.arena) + layer.backward_weight, O, I,
                     (along if k == 1 else arena) + t.delta, stride, k < 2, NULL, (arena if k == 0 else along) + t.dx, rows)


cdef inline void tangent_backward(Tangent *t) noexcept nogil:
    cdef const Plan *plan = t.block.plan
    cdef long spare
    cdef int l
    t.delta = plan.delta
    t.dx = plan.delta + plan.delta_size
    for l in range(plan.n_layers - 1, -1, -1):
        t.layer = l
        if l < plan.n_layers - 1 or not plan.from_logits:
            t.block.pool.run(back_through_part, t, plan.threads)
        if in_place(&plan.layers[l]):
            continue
        t.block.pool.run(layer_backward_part, t, plan.threads)
        spare = t.delta
        t.delta = t.dx
        t.dx = spare


cdef inline void tangent_pass(Tangent *t, long rows) noexcept nogil:
    """All rows, block by block."""
    cdef Block *block = t.block
    cdef const Plan *plan = block.plan
    cdef long k, row
    pack(block)
    pack(&t.along)
    place_statistics(plan, t.along.arena)
    if plan.layers[0].kind != DENSE:                            # which takes no R{x} there
        memset(t.along.arena + plan.x, 0, panels(plan.layers[0].inputs) * plan.stride * sizeof(real))
    for k in range(blocks(rows, plan.block_rows)):
        row = k * plan.block_rows
        block.resume = k > 0
        block_forward(block, row, least(plan.block_rows, rows - row))
        block.pool.run(tangent_rows_part, t, plan.threads)
        if block.to_loss:
            tangent_backward(t)
