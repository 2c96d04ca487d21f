# One training step, read top to bottom: weights are packed, each block of rows goes forward, through the loss and back,
# the gradient is looked at, the parameters are updated.

from clock cimport start, lap, PACK, UPDATE
from simd cimport real
from names cimport ADAGRAD, ADAMW, NADAM, RMSPROP, RPROP, SGD
from plan cimport Layer, Plan, blocks, least, sums_partials, threads_for_vectors
from team cimport Pool, share
from block cimport Block, add_partials, add_losses, block_backward, block_forward, take_weights
from norms cimport keep_statistics, statistics_in_range
from optimizers cimport MOST_CHUNKS, Optimizer, adagrad, adam, nadam, rmsprop, rprop, sgd, squared_norm
from penalties cimport prepare
from reach cimport (LARGEST_PARAMETER, LARGEST_ROOT, LOST, Reach, adagrad_reach, adam_reach, go, nadam_reach,
                    rmsprop_reach, rprop_reach, sgd_reach)
from libc.math cimport fabs, sqrt, isfinite, fmax, fmin

cdef inline double batch_loss(Block *block, long first, long rows) noexcept nogil:
    """sum_r w_r l_r times the block's scale, over rows first .. of the order. Weights are packed already."""
    cdef double loss = 0
    cdef long k, row, most = block.plan.block_rows
    block.batch = first
    for k in range(blocks(rows, most)):
        row = first + k * most
        block_forward(block, row, least(most, first + rows - row))
        add_losses(block, &loss)
    return loss


cdef inline double batch_gradient(Block *block, long first, long rows) noexcept nogil:
    """The loss; its gradient is written to block.gradient, not added. Weights are packed already."""
    cdef bint by_partials = sums_partials(block.plan, rows)
    cdef double loss = 0
    cdef long row = first, n
    block.batch = first
    while row < first + rows:
        n = least(block.plan.block_rows, first + rows - row)
        block.resume = row > first
        if by_partials:
            n = add_partials(block, row, n)
        else:
            block_forward(block, row, n)
            block_backward(block)
        add_losses(block, &loss)
        row += n
    return loss


cdef inline bint advance(Optimizer *o, double squared_norm_of_gradient, double loss) noexcept nogil:
    """Counts a step, or returns False with nothing changed where a number would leave the finite range.

    `largest_parameter` and its like bound what the vectors hold, so that an update's reach is known before it.
    """
    cdef double norm = sqrt(squared_norm_of_gradient), g
    cdef Reach reach
    if not (isfinite(norm) and isfinite(loss)):
        return False
    g = norm + LOST             # what squares that underflow hide
    if o.prepares:
        o.scale = fmin(1, o.clip_norm / (norm + 1e-6))      # as torch.nn.utils.clip_grad_norm_
        g = fmin(o.scale * g, o.clip_value)
    g += o.l1
    if o.kind != ADAMW:
        g += o.weight_decay * o.largest_parameter
    if o.kind == SGD:
        reach = sgd_reach(o, g)
    elif not g < LARGEST_ROOT:  # all others square it
        return False
    elif o.kind == NADAM:
        reach = nadam_reach(o, g)
    elif o.kind == RMSPROP:
        reach = rmsprop_reach(o, g)
    elif o.kind == ADAGRAD:
        reach = adagrad_reach(o, g)
    elif o.kind == RPROP:
        reach = rprop_reach(o, g)
    else:
        reach = adam_reach(o, g)
    return go(o, &reach)


cdef inline double largest_of_row(const Plan *plan, const real *arena, const real *x) noexcept nogil:
    """Bounds the entries of delta x^T and delta of one row, as the sums of squares do where these are finite."""
    cdef const Layer *layer
    cdef double most = 0, deltas, inputs
    cdef long i, o
    cdef int l
    for l in range(plan.n_layers):
        layer = &plan.layers[l]
        deltas, inputs = 0, 1
        for o in range(layer.outputs):
            deltas += fabs(arena[layer.delta + o])
        for i in range(layer.inputs):
            inputs += fabs(x[i])
        most += deltas * inputs
        x = arena + layer.z
    return most


cdef inline bint advance_plain(Optimizer *o, const Plan *plan, const real *arena, const real *x, double deltas, double inputs,
                               double loss) noexcept nogil:
    """`advance` for the steps of one row, which know no optimiser but plain SGD.

    |delta x^T|^2 = |delta|^2 |x|^2, and its sum over layers is at most sum |delta|^2 times sum |x|^2: bound enough.
    """
    cdef double norm = sqrt(deltas * inputs), g
    if not isfinite(norm):
        norm = largest_of_row(plan, arena, x)
    g = norm + LOST + o.weight_decay * o.largest_parameter
    if not (isfinite(norm) and isfinite(loss)):
        return False
    if not (o.lr * g + o.largest_parameter < LARGEST_PARAMETER and g < LARGEST_PARAMETER):
        return False
    o.steps += 1
    return True


cdef struct Update:
    Optimizer *optimizer
    const Plan *plan
    real *parameters
    real *gradient
    long n                      # whole vectors
    long chunk
    double[MOST_CHUNKS] squares
    double[MOST_CHUNKS] largest


cdef inline void squares_part(void *argument, int part, int parts) noexcept nogil:
    cdef Update *u = <Update *>argument
    cdef long count = blocks(u.n, u.chunk), k
    for k in range(share(count, part, parts), share(count, part + 1, parts)):
        u.squares[k] = squared_norm(u.gradient + k * u.chunk, least(u.chunk, u.n - k * u.chunk))


cdef inline void update_part(void *argument, int part, int parts) noexcept nogil:
    cdef Update *u = <Update *>argument
    cdef const Optimizer *o = u.optimizer
    cdef long count = blocks(u.n, u.chunk), k, begin, end
    for k in range(share(count, part, parts), share(count, part + 1, parts)):
        begin, end = k * u.chunk, least(u.n, (k + 1) * u.chunk)
        if o.prepares:
            prepare(o, u.plan, u.parameters, u.gradient, begin, end)
        if o.kind == SGD:
            u.largest[k] = sgd(o, u.parameters, u.gradient, begin, end)
        elif o.kind == NADAM:
            u.largest[k] = nadam(o, u.parameters, u.gradient, begin, end)
        elif o.kind == RMSPROP:
            u.largest[k] = rmsprop(o, u.parameters, u.gradient, begin, end)
        elif o.kind == ADAGRAD:
            u.largest[k] = adagrad(o, u.parameters, u.gradient, begin, end)
        elif o.kind == RPROP:
            u.largest[k] = rprop(o, u.parameters, u.gradient, begin, end)
        else:
            u.largest[k] = adam(o, u.parameters, u.gradient, begin, end)


cdef inline bint update(Update *u, const Pool *pool, int threads, double loss) noexcept nogil:
    """The step of the optimiser: complete, or not at all (False)."""
    cdef double squares = 0, largest = 0
    cdef long k
    pool.run(squares_part, u, threads)
    for k in range(blocks(u.n, u.chunk)):
        squares += u.squares[k]
    if not advance(u.optimizer, squares, loss):
        return False
    pool.run(update_part, u, threads)
    for k in range(blocks(u.n, u.chunk)):
        largest = fmax(largest, u.largest[k])
    u.optimizer.largest_parameter = largest
    return True


cdef inline bint train_step(Block *block, Update *u, long first, long rows, double *loss) noexcept nogil:
    """One step on rows first .. first + rows - 1 of the order, whose losses are multiplied by block.scale: complete, or not
    at all (False: it would diverge)."""
    start(block.plan.clock)
    take_weights(block, rows)
    lap(block.plan.clock, PACK)
    loss[0] = batch_gradient(block, first, rows)
    if block.plan.whole_batch and not statistics_in_range(block.plan, block.arena):
        return False
    if not update(u, block.pool, threads_for_vectors(block.plan), loss[0]):
        return False
    if block.plan.whole_batch:
        keep_statistics(block.plan, block.arena, rows)
    lap(block.plan.clock, UPDATE)
    return True
