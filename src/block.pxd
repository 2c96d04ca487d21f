# One block of rows through the net: forward, loss, and back, each in parts that may run side by side.
#
# Where there are enough rows, a part takes rows of its own from the inputs through the whole net to the loss; where there
# are few, it takes outputs of one layer after another. The weights' gradient is cut by its elements, each of which is a
# sum over all rows of the block in their order.

from clock cimport Clock, lap, GATHER, FORWARD, LOSS, WEIGHT_GRADIENT, INPUT_GRADIENT
from simd cimport real, VL
from names cimport SOFTMAX
from plan cimport GROUP, MAX_BLOCK_ROWS, Layer, Plan, blocks, least, panels, slivers
from team cimport Pool, share
from data cimport Data, take_inputs, take_targets
from pack cimport pack_weights, unpack_rows
from activations cimport softmax, softmax_slope
from forward cimport activation_of, forward, forward_outputs, layer_input
from losses cimport loss_and_delta
from backward cimport bias_gradient, input_gradient, through_activation, through_panels, weight_gradient

cdef struct Block:
    const Plan *plan
    const Pool *pool
    const real *parameters
    const Data *data
    real *arena
    long first              # row of the order at which it begins
    long rows
    double scale            # what multiplies the loss of each row, beside its weight
    bint to_loss            # the loss is wanted, else the outputs
    bint to_delta           # and its slope, from which to go back
    bint to_inputs          # all the way to dL/dx of the first layer
    real *outputs           # (n, O) of the whole order, or NULL
    real *gradient          # (n_parameters,), or NULL
    bint resume             # adds to what earlier blocks left in `gradient`
    # of the region under way
    bint by_rows            # a part takes rows, else outputs
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
    block.first = block.rows = 0
    block.scale = 1
    block.to_loss = block.to_delta = block.to_inputs = False
    block.outputs = block.gradient = NULL
    block.by_rows = block.resume = False
    block.layer = 0
    block.delta = block.dx = NULL
    return block


cdef inline Clock *clock_of(const Block *block, int part) noexcept nogil:
    return block.plan.clock if part == 0 else NULL


# ---------------------------------------------------------------- weights

cdef inline void pack_part(void *argument, int part, int parts) noexcept nogil:
    cdef const Block *block = <const Block *>argument
    pack_weights(block.plan, block.parameters, block.arena, block.to_delta, block.to_inputs, part, parts)


cdef inline void pack(Block *block) noexcept nogil:
    """Makes the arena's copies of the weights, which hold until the parameters change."""
    block.pool.run(pack_part, block, block.plan.threads)


# ---------------------------------------------------------------- forward

cdef inline void take_rows(const Block *block, long row, long rows) noexcept nogil:
    take_inputs(block.plan, block.data, block.arena, block.first + row, row, rows)
    if block.to_loss:
        take_targets(block.plan, block.data, block.arena, block.first + row, row, rows, block.scale)


cdef inline void give_rows(const Block *block, long row, long rows) noexcept nogil:
    """What is wanted of the last layer: the losses of groups of rows and dL/dy, or z for the user."""
    cdef const Plan *plan = block.plan
    cdef const Layer *last = &plan.layers[plan.n_layers - 1]
    cdef double *losses = <double *>(block.arena + plan.group_losses)
    cdef real *delta = block.arena + plan.delta
    cdef long group, first, n
    if not block.to_loss:
        unpack_rows(block.arena + last.z + row * VL, plan.stride, rows, last.outputs,
                    block.outputs + (block.first + row) * last.outputs)
        return
    for group in range(row // GROUP, blocks(row + rows, GROUP)):
        first = group * GROUP
        n = least(GROUP, row + rows - first)
        losses[group] = loss_and_delta(plan, block.arena, first, n, delta + first * VL if block.to_delta else NULL)
    if block.to_delta and not plan.from_logits:
        through_activation(plan, last, block.arena, delta, row, rows)


cdef inline void rows_part(void *argument, int part, int parts) noexcept nogil:
    """Rows from the inputs to the loss, or to the outputs; MAX_BLOCK_ROWS at a time, which stay in cache."""
    cdef const Block *block = <const Block *>argument
    cdef const Plan *plan = block.plan
    cdef Clock *clock = clock_of(block, part)
    cdef long groups = blocks(block.rows, GROUP), row = share(groups, part, parts) * GROUP
    cdef long end = least(share(groups, part + 1, parts) * GROUP, block.rows), rows
    while row < end:
        rows = least(MAX_BLOCK_ROWS, end - row)
        take_rows(block, row, rows)
        lap(clock, GATHER)
        forward(plan, block.parameters, block.arena, row, rows, block.to_loss and plan.from_logits)
        lap(clock, FORWARD)
        give_rows(block, row, rows)
        lap(clock, LOSS)
        row += rows


cdef inline void outputs_part(void *argument, int part, int parts) noexcept nogil:
    """Outputs of one layer."""
    cdef const Block *block = <const Block *>argument
    cdef const Layer *layer = &block.plan.layers[block.layer]
    cdef long n = slivers(layer.outputs)
    forward_outputs(block.plan, layer, activation_of(block.plan, block.layer, block.to_loss and block.plan.from_logits),
                    layer_input(block.plan, block.arena, block.layer), block.arena, 0, block.rows,
                    share(n, part, parts), share(n, part + 1, parts))


cdef inline void block_forward(Block *block, long first, long rows) noexcept nogil:
    """The block of rows that is next, forward as far as wanted."""
    cdef const Plan *plan = block.plan
    cdef const Layer *layer
    cdef int l
    block.first = first
    block.rows = rows
    block.by_rows = blocks(rows, GROUP) >= plan.threads
    if block.by_rows:
        block.pool.run(rows_part, block, plan.threads)
        return
    take_rows(block, 0, rows)
    lap(plan.clock, GATHER)
    for l in range(plan.n_layers):
        layer = &plan.layers[l]
        block.layer = l
        block.pool.run(outputs_part, block, plan.threads)
        if activation_of(plan, l, block.to_loss and plan.from_logits) == SOFTMAX:
            softmax(block.arena + layer.y, block.arena + layer.z, plan.stride, rows, layer.outputs)
    lap(plan.clock, FORWARD)
    give_rows(block, 0, rows)
    lap(plan.clock, LOSS)


cdef inline void add_losses(const Block *block, double *loss) noexcept nogil:
    """Group after group, so that the sum does not depend on how the rows were cut into blocks."""
    cdef const double *losses = <const double *>(block.arena + block.plan.group_losses)
    cdef long group
    for group in range(blocks(block.rows, GROUP)):
        loss[0] += losses[group]


# ---------------------------------------------------------------- backward

cdef inline void layer_part(void *argument, int part, int parts) noexcept nogil:
    """dL/db, dL/dW and dL/dx of one layer, out of dL/dy, and through the activation below."""
    cdef const Block *block = <const Block *>argument
    cdef const Plan *plan = block.plan
    cdef const Layer *layer = &plan.layers[block.layer]
    cdef const Layer *below = &plan.layers[block.layer - 1]     # unless this is the first
    cdef Clock *clock = clock_of(block, part)
    cdef long row = 0, end = block.rows, begin_sliver = 0, end_sliver = slivers(layer.inputs), groups
    if block.gradient != NULL:
        if layer.bias >= 0:
            bias_gradient(layer, block.delta, plan.stride, block.rows, block.resume, block.gradient + layer.bias, part, parts)
        weight_gradient(layer, block.delta, layer_input(plan, block.arena, block.layer), plan.stride, block.rows, block.resume,
                        block.gradient + layer.weight, part, parts)
        lap(clock, WEIGHT_GRADIENT)
    if block.layer == 0 and not block.to_inputs:
        return
    if block.by_rows:
        groups = blocks(block.rows, GROUP)
        row = share(groups, part, parts) * GROUP
        end = least(share(groups, part + 1, parts) * GROUP, block.rows)
    else:
        begin_sliver = share(slivers(layer.inputs), part, parts)
        end_sliver = share(slivers(layer.inputs), part + 1, parts)
    input_gradient(plan, layer, block.parameters, block.arena, block.delta, block.dx, row, end - row, begin_sliver, end_sliver)
    if block.layer > 0:
        if block.by_rows:
            through_activation(plan, below, block.arena, block.dx, row, end - row)
        elif below.activation != SOFTMAX:
            through_panels(plan, below, block.arena, block.dx, row, end - row, 2 * begin_sliver,
                           least(2 * end_sliver, panels(layer.inputs)))
    lap(clock, INPUT_GRADIENT)


cdef inline const real *block_backward(Block *block) noexcept nogil:
    """All partials of the block, layer after layer from the last. Returns the panels of dL/dx of the first if wanted."""
    cdef const Plan *plan = block.plan
    cdef real *spare
    cdef int l
    block.delta = block.arena + plan.delta
    block.dx = block.delta + plan.delta_size
    for l in range(plan.n_layers - 1, -1, -1):
        block.layer = l
        block.pool.run(layer_part, block, plan.threads)
        if l > 0 and not block.by_rows and plan.layers[l - 1].activation == SOFTMAX:
            softmax_slope(block.arena + plan.layers[l - 1].z, block.dx, plan.stride, block.rows, plan.layers[l].inputs)
        spare = block.delta
        block.delta = block.dx
        block.dx = spare
    return block.delta
