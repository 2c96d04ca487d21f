# One training step, read top to bottom: weights are packed, each block of rows goes forward, through the loss and back,
# the gradient is looked at, the parameters are updated.

from clock cimport start, lap, PACK, UPDATE
from simd cimport real
from names cimport ADAM, ADAMW, SGD
from plan cimport blocks, least, sums_partials, threads_for_vectors
from team cimport Pool, share
from data cimport per_row
from block cimport Block, add_partials, add_losses, block_backward, block_forward, pack
from norms cimport keep_statistics, statistics_in_range
from optimizers cimport MOST_CHUNKS, Optimizer, squared_norm, sgd, adam
from libc.math cimport sqrt, fabs, isfinite, fmax, fmin, pow

cdef extern from *:
    """
    /* No parameter may pass this: far from overflow, far from any use. */
    #define LARGEST_PARAMETER (REAL_BITS == 32 ? 1e30 : 1e150)
    /* No gradient that is squared may pass this, and a norm below this may read as 0 (1e9 parameters). */
    #define LARGEST_ROOT (REAL_BITS == 32 ? 1e19 : 1e150)
    #define LOST (REAL_BITS == 32 ? 1e-14 : 1e-149)
    """
    const double LARGEST_PARAMETER
    const double LARGEST_ROOT
    const double LOST


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

    `largest_parameter` and `largest_first` bound what the vectors hold, so that an update's reach is known before it.
    """
    cdef double norm = sqrt(squared_norm_of_gradient), reach, first, step
    if not (isfinite(norm) and isfinite(loss)):
        return False
    norm += LOST                # what squares that underflow hide
    if o.kind == SGD:
        first = o.momentum * o.largest_first + norm + o.weight_decay * o.largest_parameter
        reach = o.lr * (2 * first) + o.largest_parameter
    else:
        first = norm + (o.weight_decay * o.largest_parameter if o.kind == ADAM else 0)
        if not first < LARGEST_ROOT:          # Adam squares it
            return False
        first = o.momentum * o.largest_first + (1 - o.momentum) * first
        reach = first / o.eps
        if o.momentum * o.momentum < o.beta2:     # Cauchy-Schwarz: |m| <= c sqrt(v)
            # beside what is too small for its square to reach v
            reach = fmin(reach, (1 - o.momentum) / sqrt((1 - o.beta2) * (1 - o.momentum * o.momentum / o.beta2))
                         + LOST / sqrt(1 - o.beta2) / o.eps)
        step = o.lr / (1 - pow(o.momentum, <double>(o.steps + 1)))
        if not step * first < LARGEST_PARAMETER:    # computed before it is divided
            return False
        reach = step * reach
        reach += o.largest_parameter * (fabs(1 - o.lr * o.weight_decay) if o.kind == ADAMW else 1)
    if not (reach < LARGEST_PARAMETER and first < LARGEST_PARAMETER):
        return False
    o.steps += 1
    o.largest_first = first
    return True


cdef struct Update:
    Optimizer *optimizer
    real *parameters
    const real *gradient
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
    cdef long count = blocks(u.n, u.chunk), k, end
    for k in range(share(count, part, parts), share(count, part + 1, parts)):
        end = least(u.n, (k + 1) * u.chunk)
        if u.optimizer.kind == SGD:
            u.largest[k] = sgd(u.optimizer, u.parameters, u.gradient, k * u.chunk, end)
        else:
            u.largest[k] = adam(u.optimizer, u.parameters, u.gradient, k * u.chunk, end)


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
    """One step on rows first .. first + rows - 1 of the order: complete, or not at all (False: it would diverge)."""
    start(block.plan.clock)
    pack(block, rows)
    lap(block.plan.clock, PACK)
    block.scale = per_row(block.plan) / rows
    loss[0] = batch_gradient(block, first, rows)
    if block.plan.whole_batch and not statistics_in_range(block.plan, block.arena):
        return False
    if not update(u, block.pool, threads_for_vectors(block.plan), loss[0]):
        return False
    if block.plan.whole_batch:
        keep_statistics(block.plan, block.arena, rows)
    lap(block.plan.clock, UPDATE)
    return True
