"""The steps of an epoch, without the GIL."""


cdef inline bint had_enough(const Epoch *e, long *done, long rows, double deadline) noexcept nogil:
    """Whether to look up from work: the deadline is past or a reader waits. The clock is not read at every step."""
    done[0] += rows * e.work
    if done[0] <= WORK_BETWEEN_LOOKS:
        return False
    done[0] = 0
    return e.waiting[0] or seconds_now() > deadline


cdef inline void steps_of_one_row(Epoch *e, double deadline, const bint narrow) noexcept nogil:
    cdef Plan *plan = e.plan
    cdef double loss = 0, mean = per_row(plan), scale = mean, counted = 1
    cdef long done = 0, present
    plan.padded_rows = True
    if narrow:
        load_narrow(plan, e.optimizer, e.parameters, e.arena)
    else:
        load_rows(plan, e.parameters, e.arena)
    while e.first < e.rows:
        if e.rates != NULL:
            e.optimizer.lr = e.rates[e.first]
        if e.masked:
            present = present_targets(plan, &e.data, e.first, 1)
            e.present += present
            counted = mean * present
            scale = 1.0 / (present if present > 0 else 1)
        if narrow:
            e.fine = narrow_step(plan, &e.data, e.arena, e.first, scale, e.optimizer, &e.late, e.first + 1 == e.rows, counted,
                                 &e.total)
        else:
            e.fine = online_step(plan, &e.data, e.arena, e.first, scale, e.optimizer, &loss)
        if not e.fine:
            break
        e.total += loss * counted
        e.first += 1
        if had_enough(e, &done, 1, deadline):
            break
    if narrow:
        store_narrow(plan, e.optimizer, e.arena, e.parameters)
    else:
        store_rows(plan, e.arena, e.parameters)
    plan.padded_rows = False


cdef void narrow_rows(Epoch *e, double deadline) noexcept nogil:
    steps_of_one_row(e, deadline, True)


cdef void online_rows(Epoch *e, double deadline) noexcept nogil:
    steps_of_one_row(e, deadline, False)


cdef void train_batches(Epoch *e, const Pool *pool, double deadline) noexcept nogil:
    cdef Plan *plan = e.plan
    cdef Data data = e.data
    cdef Block block = make_block(plan, pool, e.parameters, &data, e.arena)
    cdef Update update
    cdef double loss = 0, mean = per_row(plan), counted
    cdef long done = 0, n, present
    block.to_loss = block.to_delta = True
    block.gradient = e.gradient
    update.optimizer = e.optimizer
    update.plan = plan
    update.parameters = e.parameters
    update.gradient = e.gradient
    update.n = e.n
    update.chunk = chunk_size(update.n)
    while e.first < e.rows:
        n = least(e.batch_size, e.rows - e.first)
        counted = n
        block.scale = mean / n
        if e.rates != NULL:
            e.optimizer.lr = e.rates[e.first // e.batch_size]
        if e.masked:
            present = present_targets(plan, &data, e.first, n)
            e.present += present
            counted = mean * present
            block.scale = 1.0 / (present if present > 0 else 1)
        e.fine = train_step(&block, &update, e.first, n, &loss)
        if not e.fine:
            break
        plan.draw += plan.drops
        e.total += loss * counted
        e.first += n
        if had_enough(e, &done, n, deadline):
            break


cdef void train_rows(Epoch *e, const Pool *pool, double deadline) noexcept nogil:
    """Steps, until the epoch ends, a step is refused, the deadline is past or a reader waits."""
    cdef Optimizer *optimizer = e.optimizer
    if e.first == 0 and not e.continued:
        optimizer.largest_parameter = largest(e.parameters, e.n)
        optimizer.largest_first = largest(optimizer.first, e.n_first)
        if optimizer.kind == ADAGRAD:
            optimizer.largest_second = largest(optimizer.second, e.n)
    if not e.plan.by_row:
        train_batches(e, pool, deadline)
    elif is_narrow(e.plan):
        narrow_rows(e, deadline)
    else:
        online_rows(e, deadline)
