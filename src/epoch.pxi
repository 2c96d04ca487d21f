"""The steps of an epoch, without the GIL."""


ctypedef bint (*RowStep)(const Plan *plan, const Data *data, real *arena, long row, double scale, Optimizer *o,
                         double *loss) noexcept nogil


cdef bint row_step(const Plan *plan, const Data *data, real *arena, long row, double scale, Optimizer *o,
                   double *loss) noexcept nogil:
    """online_step as a function of its own: inlined into `train`, its registers would be spilled."""
    return online_step(plan, data, arena, row, scale, o, loss)


cdef bint narrow_row_step(const Plan *plan, const Data *data, real *arena, long row, double scale, Optimizer *o,
                          double *loss) noexcept nogil:
    return narrow_step(plan, data, arena, row, scale, o, loss)


cdef void train_rows(Epoch *e, const Pool *pool, double deadline) noexcept nogil:
    """Steps, until the epoch ends, a step is refused, the deadline is past or a reader waits."""
    cdef Plan *plan = e.plan
    cdef real *arena = e.arena
    cdef Data data = e.data
    cdef Optimizer *optimizer = e.optimizer
    cdef Block block
    cdef Update update
    cdef double loss = 0, mean = per_row(plan), scale = mean, total = e.total, counted
    cdef long first = e.first, rows = e.rows, batch_size = e.batch_size, work = e.work, done = 0, n
    cdef bint narrow, fine = True
    cdef RowStep step       # by its address, or the compiler puts narrow_row_step in here after all
    if first == 0 and not e.continued:
        optimizer.largest_parameter = largest(e.parameters, e.n)
        optimizer.largest_first = largest(optimizer.first, e.n_first)
        if optimizer.kind == ADAGRAD:
            optimizer.largest_second = largest(optimizer.second, e.n)
    plan.padded_rows = plan.by_row
    narrow = plan.padded_rows and is_narrow(plan)
    step = narrow_row_step if narrow else row_step
    if narrow:
        load_narrow(plan, e.parameters, arena)
    elif plan.padded_rows:
        load_rows(plan, e.parameters, arena)
    block = make_block(plan, pool, e.parameters, &data, arena)
    block.to_loss = block.to_delta = True
    block.gradient = e.gradient
    update.optimizer = optimizer
    update.plan = plan
    update.parameters = e.parameters
    update.gradient = e.gradient
    update.n = e.n
    update.chunk = chunk_size(update.n)
    while first < rows:
        n = least(batch_size, rows - first)
        counted = n
        if e.rates != NULL:
            optimizer.lr = e.rates[first // batch_size]
        if e.masked:
            counted = present_rows(plan, &data, first, n)
            scale = mean / counted if counted > 0 else 0
        if plan.padded_rows:
            fine = step(plan, &data, arena, first, scale, optimizer, &loss)
        else:
            block.scale = scale if e.masked else mean / n
            fine = train_step(&block, &update, first, n, &loss)
            plan.draw += fine and plan.drops
        if not fine:
            break
        total += loss * counted
        first += n
        done += n * work
        if done > WORK_BETWEEN_LOOKS:
            done = 0
            if e.waiting[0] or seconds_now() > deadline:
                break
    e.first = first
    e.total = total
    e.fine = fine
    if narrow:
        store_narrow(plan, arena, e.parameters)
    elif plan.padded_rows:
        store_rows(plan, arena, e.parameters)
    plan.padded_rows = False
