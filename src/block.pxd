# One block of rows through the net: forward, loss, and back, each in parts that may run side by side.
#
# Where there are enough rows, a part takes rows of its own from the inputs through the whole net to the loss; where there
# are few, it takes outputs of one layer after another. The weights' gradient is cut by its elements, each of which is a
# sum over all rows of the block in their order.
#
# A batch norm in training needs all rows of the batch: the block is the batch then, rows go as far as the batch norm, which
# is cut by panels of features, and on from there.

from clock cimport Clock, lap, GATHER, FORWARD, LOSS, WEIGHT_GRADIENT, INPUT_GRADIENT
from simd cimport real, vec, VL, v_load_first, v_store_first, v_zero
from names cimport DENSE, SOFTMAX
from plan cimport (FLAT, GROUP, MAX_BLOCK_ROWS, PACKED, PACKED_AT_USE, Layer, Plan, blocks, least, of_whole_batch, panels,
                   parts_take_rows, slivers, threads_for_vectors, weights_for)
from team cimport Pool, share
from data cimport Data, take_inputs, take_targets
from pack cimport pack_biases, pack_weights, unpack_rows
from activations cimport softmax
from between cimport in_place
from forward cimport activation_of, few_rows_forward, forward_layer, forward_outputs, layer_input
from norms cimport batch_norm, batch_norm_slope
from backward cimport (bias_gradient, few_rows_input_gradient, input_gradient, through_activation, through_panels,
                       weight_gradient)

cdef struct Block:
    const Plan *plan
    const Pool *pool
    const real *parameters
    const Data *data
    real *arena
    long batch              # row of the order at which its batch begins
    long first              # and it itself
    long rows
    double scale            # what multiplies the loss of each row, beside its weight
    bint to_loss            # the loss is wanted, else the outputs
    bint to_delta           # and its slope, from which to go back
    bint to_dz              # but no further than dL/dz of the last layer
    bint to_inputs          # all the way to dL/dx of the first layer
    real *outputs           # (n, O) of the whole order, or NULL
    real *gradient          # (n_parameters,), or NULL
    bint resume             # adds to what earlier blocks left in `gradient`
    int weights             # where the products find W: PACKED, PACKED_AT_USE or FLAT
    # of the region under way
    bint by_rows            # a part takes rows, else outputs
    int begin, end          # layers that these rows go through
    int layer
    real *delta             # panels of dL/dy of the layer
    real *dx                # panels of its dL/dx, which become dL/dy of the layer below


cdef inline Block make_block(const Plan *plan, const Pool *pool, const real *parameters, const Data *data,
                             real *arena) noexcept nogil:
    cdef Block block
    block.plan = plan
    block.pool = pool
    block.parameters = parameters
    block.data = data
    block.arena = arena
    block.batch = block.first = block.rows = 0
    block.scale = 1
    block.to_loss = block.to_delta = block.to_dz = block.to_inputs = False
    block.outputs = block.gradient = NULL
    block.by_rows = block.resume = False
    block.weights = PACKED
    block.begin = block.layer = 0
    block.end = plan.n_layers
    block.delta = block.dx = NULL
    return block


cdef inline const real *fresh(const Block *block) noexcept nogil:
    """The parameters from which slivers are packed as they are used, or NULL."""
    return block.parameters if block.weights == PACKED_AT_USE else NULL


cdef inline Clock *clock_of(const Block *block, int part) noexcept nogil:
    return block.plan.clock if part == 0 else NULL


# ---------------------------------------------------------------- weights

cdef inline void pack_part(void *argument, int part, int parts) noexcept nogil:
    cdef const Block *block = <const Block *>argument
    pack_weights(block.plan, block.parameters, block.arena, block.to_delta, block.to_inputs, part, parts)


cdef inline void pack(Block *block) noexcept nogil:
    """Makes the arena's copies of the weights."""
    block.weights = PACKED
    pack_biases(block.plan, block.parameters, block.arena)
    block.pool.run(pack_part, block, threads_for_vectors(block.plan))


cdef inline void take_weights(Block *block, long batch_rows) noexcept nogil:
    """The weights for the rows of a batch or call: copies, if they are used more than once."""
    block.weights = weights_for(block.plan, batch_rows)
    if block.weights == PACKED:
        pack(block)
    elif block.weights == PACKED_AT_USE:
        pack_biases(block.plan, block.parameters, block.arena)


# ---------------------------------------------------------------- forward

cdef inline void take_rows(const Block *block, long row, long rows) noexcept nogil:
    take_inputs(block.plan, block.data, block.arena, block.first + row, row, rows)
    if block.to_loss:
        take_targets(block.plan, block.data, block.arena, block.first + row, row, rows, block.scale)


cdef inline void give_rows(const Block *block, long row, long rows) noexcept nogil:
    """What is wanted of the last layer: the losses of groups of rows and dL/dy, or z for the user, or nothing."""
    cdef const Plan *plan = block.plan
    cdef const Layer *last = &plan.layers[plan.n_layers - 1]
    cdef double *losses = <double *>(block.arena + plan.group_losses)
    cdef real *delta = block.arena + plan.delta
    cdef long group, first, n
    if not block.to_loss:
        if block.outputs == NULL:
            return
        unpack_rows(block.arena + last.z + row * VL, plan.stride, rows, last.outputs,
                    block.outputs + (block.first + row) * last.outputs)
        return
    for group in range(row // GROUP, blocks(row + rows, GROUP)):
        first = group * GROUP
        n = least(GROUP, row + rows - first)
        losses[group] = plan.loss_and_delta(plan, block.arena, first, n, delta + first * VL if block.to_delta else NULL)
    if block.to_delta and not plan.from_logits and not block.to_dz:
        through_activation(plan, last, block.arena, delta, row, rows)


cdef inline void forward_rows(const Block *block, long row, long rows, Clock *clock) noexcept nogil:
    """Rows from the inputs to the loss, or to the outputs; or that part of the way which lies in this segment."""
    cdef const Plan *plan = block.plan
    cdef int l, activation
    if block.begin == 0:
        take_rows(block, row, rows)
        lap(clock, GATHER)
    for l in range(block.begin, block.end):
        activation = activation_of(plan, l, block.to_loss and plan.from_logits)
        if plan.layers[l].kind == DENSE:
            forward_layer(plan, &plan.layers[l], activation, layer_input(plan, block.arena, l), block.parameters,
                          block.arena, row, rows, block.weights)
        else:
            plan.forward_between(plan, block.parameters, block.arena, l, activation, row, rows,
                                 block.first + row - block.batch)
    lap(clock, FORWARD)
    if block.end == plan.n_layers:
        give_rows(block, row, rows)
        lap(clock, LOSS)


cdef inline void rows_part(void *argument, int part, int parts) noexcept nogil:
    """Rows of its own, MAX_BLOCK_ROWS at a time, which stay in cache."""
    cdef const Block *block = <const Block *>argument
    cdef Clock *clock = clock_of(block, part)
    cdef long groups = blocks(block.rows, GROUP), row = share(groups, part, parts) * GROUP
    cdef long end = least(share(groups, part + 1, parts) * GROUP, block.rows), rows
    while row < end:
        rows = least(MAX_BLOCK_ROWS, end - row)
        forward_rows(block, row, rows, clock)
        row += rows


cdef inline void outputs_part(void *argument, int part, int parts) noexcept nogil:
    """Outputs of one layer."""
    cdef const Block *block = <const Block *>argument
    cdef const Plan *plan = block.plan
    cdef const Layer *layer = &plan.layers[block.layer]
    cdef const real *x = layer_input(plan, block.arena, block.layer)
    cdef int activation = activation_of(plan, block.layer, block.to_loss and plan.from_logits)
    cdef long n = panels(layer.outputs) if block.weights == FLAT else slivers(layer.outputs)
    cdef long begin = share(n, part, parts), end = share(n, part + 1, parts)
    if block.weights == FLAT:
        few_rows_forward(plan, layer, activation, x, block.parameters, block.arena, block.rows, begin, end)
    else:
        forward_outputs(plan, layer, activation, x, block.arena, 0, block.rows, begin, end, fresh(block))


# What the caller does alone around outputs_part, as regions of one part: so they are compiled once.

cdef inline void take_part(void *argument, int part, int parts) noexcept nogil:
    take_rows(<const Block *>argument, 0, (<const Block *>argument).rows)


cdef inline void softmax_part(void *argument, int part, int parts) noexcept nogil:
    cdef const Block *block = <const Block *>argument
    cdef const Layer *layer = &block.plan.layers[block.layer]
    softmax(block.arena + layer.y, block.arena + layer.z, block.plan.stride, block.rows, layer.outputs)


cdef inline void give_part(void *argument, int part, int parts) noexcept nogil:
    give_rows(<const Block *>argument, 0, (<const Block *>argument).rows)


cdef inline void batch_norm_part(void *argument, int part, int parts) noexcept nogil:
    """Panels of a batch norm, of all rows of the batch."""
    cdef const Block *block = <const Block *>argument
    cdef const Layer *layer = &block.plan.layers[block.layer]
    cdef long n = panels(layer.outputs)
    batch_norm(block.plan, layer, block.parameters, layer_input(block.plan, block.arena, block.layer), block.arena,
               block.rows, share(n, part, parts), share(n, part + 1, parts))


cdef inline void segments_forward(Block *block) noexcept nogil:
    """Rows as far as the next batch norm, the batch norm, and so on."""
    cdef const Plan *plan = block.plan
    block.begin = 0
    for block.end in range(plan.n_layers):
        if of_whole_batch(plan, block.end):
            block.pool.run(rows_part, block, plan.threads)
            block.layer = block.end
            block.pool.run(batch_norm_part, block, plan.threads)
            block.begin = block.end + 1
    block.end = plan.n_layers
    block.pool.run(rows_part, block, plan.threads)


cdef inline void block_forward(Block *block, long first, long rows) noexcept nogil:
    """The block of rows that is next, forward as far as wanted."""
    cdef const Plan *plan = block.plan
    cdef int l
    block.first = first
    block.rows = rows
    block.by_rows = parts_take_rows(plan, rows)
    if plan.whole_batch:
        segments_forward(block)
        return
    if block.by_rows:
        block.pool.run(rows_part, block, plan.threads)
        return
    block.pool.run(take_part, block, 1)
    lap(plan.clock, GATHER)
    for l in range(plan.n_layers):
        block.layer = l
        block.pool.run(outputs_part, block, plan.threads)
        if activation_of(plan, l, block.to_loss and plan.from_logits) == SOFTMAX:
            block.pool.run(softmax_part, block, 1)
    lap(plan.clock, FORWARD)
    block.pool.run(give_part, block, 1)
    lap(plan.clock, LOSS)


cdef inline void add_losses(const Block *block, double *loss) noexcept nogil:
    """Group after group, so that the sum does not depend on how the rows were cut into blocks."""
    cdef const double *losses = <const double *>(block.arena + block.plan.group_losses)
    cdef long group
    for group in range(blocks(block.rows, GROUP)):
        loss[0] += losses[group]


# ---------------------------------------------------------------- backward

cdef inline void layer_weights(const Block *block, int l, const real *delta, long row, long rows, bint resume, real *gradient,
                               int part, int parts) noexcept nogil:
    """dL/db and dL/dW of layer l out of its dL/dy, summed over rows row .. row + rows - 1; delta from row 0."""
    cdef const Plan *plan = block.plan
    cdef const Layer *layer = &plan.layers[l]
    if layer.kind != DENSE:
        plan.weights_between(plan, block.arena, l, delta, row, rows, resume, gradient, part, parts)
        return
    if layer.bias >= 0:
        bias_gradient(layer, delta + row * VL, plan.stride, rows, resume, gradient + layer.bias, part, parts)
    weight_gradient(layer, delta + row * VL, layer_input(plan, block.arena, l) + row * VL, plan.stride, rows, resume,
                    gradient + layer.weight, part, parts)


cdef inline void layer_rows(const Block *block, int l, real *delta, real *dx, long row, long rows) noexcept nogil:
    """dL/dx of layer l, which is dL/dz of the layer below, and through the activation there: dL/dy. In dx, or in delta
    where the layer works in_place."""
    cdef const Layer *layer = &block.plan.layers[l]
    if layer.kind != DENSE:
        block.plan.backward_between(block.plan, block.parameters, block.arena, l, delta, dx, row, rows)
        if in_place(layer):
            dx = delta
    elif block.weights == FLAT:
        few_rows_input_gradient(block.plan, layer, block.parameters, block.arena, delta, dx, rows, 0, 1)
    else:
        input_gradient(block.plan, layer, block.arena, delta, dx, row, rows, 0, slivers(layer.inputs), fresh(block))
    if l > 0:
        through_activation(block.plan, &block.plan.layers[l - 1], block.arena, dx, row, rows)


cdef inline void layer_inputs(const Block *block, int l, const real *delta, real *dx, int part, int parts) noexcept nogil:
    """The same for all rows, and for the part's inputs; what is left of few rows and of softmax is the caller's."""
    cdef const Layer *layer = &block.plan.layers[l]
    cdef long begin = share(slivers(layer.inputs), part, parts), end = share(slivers(layer.inputs), part + 1, parts)
    if block.weights == FLAT:
        few_rows_input_gradient(block.plan, layer, block.parameters, block.arena, delta, dx, block.rows, part, parts)
        return
    input_gradient(block.plan, layer, block.arena, delta, dx, 0, block.rows, begin, end, fresh(block))
    if l > 0 and block.plan.layers[l - 1].activation != SOFTMAX:
        through_panels(block.plan, &block.plan.layers[l - 1], block.arena, dx, 0, block.rows, 2 * begin,
                       least(2 * end, panels(layer.inputs)))


cdef inline void layer_part(void *argument, int part, int parts) noexcept nogil:
    cdef const Block *block = <const Block *>argument
    cdef Clock *clock = clock_of(block, part)
    cdef long groups = blocks(block.rows, GROUP), row = share(groups, part, parts) * GROUP
    cdef long end = least(share(groups, part + 1, parts) * GROUP, block.rows)
    if block.gradient != NULL:
        layer_weights(block, block.layer, block.delta, 0, block.rows, block.resume, block.gradient, part, parts)
        lap(clock, WEIGHT_GRADIENT)
    if block.layer > 0 or block.to_inputs:
        if block.by_rows:
            layer_rows(block, block.layer, block.delta, block.dx, row, end - row)
        else:
            layer_inputs(block, block.layer, block.delta, block.dx, part, parts)
        lap(clock, INPUT_GRADIENT)


cdef inline void slope_part(void *argument, int part, int parts) noexcept nogil:
    """Through the activation below the layer, where parts have taken inputs; a part takes rows."""
    cdef const Block *block = <const Block *>argument
    cdef long groups = blocks(block.rows, GROUP), row = share(groups, part, parts) * GROUP
    cdef long end = least(share(groups, part + 1, parts) * GROUP, block.rows)
    through_activation(block.plan, &block.plan.layers[block.layer - 1], block.arena, block.dx, row, end - row)


cdef inline void batch_norm_slope_part(void *argument, int part, int parts) noexcept nogil:
    """All partials of panels of a batch norm, of all rows of the batch."""
    cdef const Block *block = <const Block *>argument
    cdef const Plan *plan = block.plan
    cdef const Layer *layer = &plan.layers[block.layer]
    cdef long begin = share(panels(layer.outputs), part, parts), end = share(panels(layer.outputs), part + 1, parts)
    batch_norm_slope(plan, layer, block.parameters, block.arena, layer_input(plan, block.arena, block.layer), block.delta,
                     block.dx, block.rows, block.gradient, begin, end)


cdef inline const real *block_backward(Block *block) noexcept nogil:
    """All partials of the block, layer after layer from the last. Returns the panels of dL/dx of the first if wanted."""
    cdef const Plan *plan = block.plan
    cdef real *spare
    cdef int l
    block.delta = block.arena + plan.delta
    block.dx = block.delta + plan.delta_size
    for l in range(plan.n_layers - 1, -1, -1):
        block.layer = l
        if of_whole_batch(plan, l):
            block.pool.run(batch_norm_slope_part, block, plan.threads)
            if l > 0:
                block.pool.run(slope_part, block, plan.threads)
        else:
            block.pool.run(layer_part, block, plan.threads)
            if l > 0 and not block.by_rows and (block.weights == FLAT or plan.layers[l - 1].activation == SOFTMAX):
                block.pool.run(slope_part, block, 1)
        if in_place(&plan.layers[l]):
            continue
        spare = block.delta
        block.delta = block.dx
        block.dx = spare
    return block.delta


# ---------------------------------------------------------------- the whole way, block by block

cdef inline real *partial(const Block *block, long k) noexcept nogil:
    return block.arena + block.plan.partials + k * block.plan.partial_size


cdef inline void whole_part(void *argument, int part, int parts) noexcept nogil:
    """Rows forward and back, MAX_BLOCK_ROWS at a time, each with a gradient of its own."""
    cdef const Block *block = <const Block *>argument
    cdef const Plan *plan = block.plan
    cdef Clock *clock = clock_of(block, part)
    cdef long count = blocks(block.rows, MAX_BLOCK_ROWS), k, row, rows
    cdef real *delta
    cdef real *dx
    cdef real *spare
    cdef int l
    for k in range(share(count, part, parts), share(count, part + 1, parts)):
        row = k * MAX_BLOCK_ROWS
        rows = least(MAX_BLOCK_ROWS, block.rows - row)
        forward_rows(block, row, rows, clock)
        delta = block.arena + plan.delta
        dx = delta + plan.delta_size
        for l in range(plan.n_layers - 1, -1, -1):
            layer_weights(block, l, delta, row, rows, False, partial(block, k), 0, 1)
            lap(clock, WEIGHT_GRADIENT)
            if l > 0:
                layer_rows(block, l, delta, dx, row, rows)
                lap(clock, INPUT_GRADIENT)
            if in_place(&plan.layers[l]):
                continue
            spare = delta
            delta = dx
            dx = spare


cdef inline void sum_part(void *argument, int part, int parts) noexcept nogil:
    """Adds the gradients of the blocks of MAX_BLOCK_ROWS rows, in their order, to the gradient so far."""
    cdef const Block *block = <const Block *>argument
    cdef long n = block.plan.n_parameters, panel, lanes, k
    cdef vec s
    for panel in range(share(panels(n), part, parts), share(panels(n), part + 1, parts)):
        lanes = least(VL, n - panel * VL)
        s = v_load_first(block.gradient + panel * VL, lanes) if block.resume else v_zero()
        for k in range(blocks(block.rows, MAX_BLOCK_ROWS)):
            s = s + v_load_first(partial(block, k) + panel * VL, lanes)
        v_store_first(block.gradient + panel * VL, s, lanes)


cdef inline long add_partials(Block *block, long first, long rows) noexcept nogil:
    """The way forward and back where each MAX_BLOCK_ROWS rows have a gradient of their own; returns how many rows went it.

    A part takes such rows all the way. Where there are not enough for that, the parts share the work on the first of them.
    """
    cdef real *gradient = block.gradient
    cdef bint resume = block.resume
    if rows == block.plan.block_rows:
        block.first = first
        block.rows = rows
        block.pool.run(whole_part, block, block.plan.threads)
    else:
        block_forward(block, first, least(rows, MAX_BLOCK_ROWS))
        block.gradient = partial(block, 0)
        block.resume = False
        block_backward(block)
        block.gradient = gradient
        block.resume = resume
    block.pool.run(sum_part, block, threads_for_vectors(block.plan))
    return block.rows
