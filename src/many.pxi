"""One epoch of many networks at once."""

cdef extern from *:
    """
    static long take_next(long *next) { return __atomic_fetch_add(next, 1, __ATOMIC_RELAXED); }
    """
    long take_next(long *next) noexcept nogil

cdef double SECONDS_OF_FIRST_VISIT = 1e-4       # after which the workers are awake


cdef enum:
    ORDERS_APART = 8        # longs between two orders: at 2^k rows those of all lanes would fall into one set of a cache


cdef struct Crowd:
    Epoch *epochs
    long n
    long each               # networks of a job: VL in lanes, else 1
    long next               # job
    Lanes *lanes            # one for each part, or NULL
    long *orders            # (n, rows + ORDERS_APART), or NULL: drawn when a job begins
    const long *seeds       # (n,)
    double deadline


cdef bint job_left(const Crowd *crowd, long job) noexcept nogil:
    """Whether a network of the job has steps to take."""
    cdef long k
    for k in range(job * crowd.each, least((job + 1) * crowd.each, crowd.n)):
        if crowd.epochs[k].fine and crowd.epochs[k].first < crowd.epochs[k].rows:
            return True
    return False


cdef bint any_left(const Crowd *crowd) noexcept nogil:
    cdef long job
    for job in range(blocks(crowd.n, crowd.each)):
        if job_left(crowd, job):
            return True
    return False


cdef void draw_orders(const Crowd *crowd, long first, long last) noexcept nogil:
    """Of the networks first .. last - 1, at the beginning of their epoch."""
    cdef long k, rows
    for k in range(first, last):
        rows = crowd.epochs[k].rows
        if crowd.epochs[k].first == 0:
            shuffled_rows(crowd.orders + k * (rows + ORDERS_APART), rows, <unsigned long long>crowd.seeds[k])


cdef void crowd_part(void *argument, int part, int parts) noexcept nogil:
    """Takes one job after another: whose turn it is depends on the threads, what comes out does not."""
    cdef Crowd *crowd = <Crowd *>argument
    cdef long job, first, last
    while True:
        job = take_next(&crowd.next)
        first = job * crowd.each
        if first >= crowd.n:
            return
        if not job_left(crowd, job):
            continue
        last = least(first + crowd.each, crowd.n)
        if crowd.orders != NULL:
            draw_orders(crowd, first, last)
        if crowd.lanes != NULL:
            train_lanes(&crowd.lanes[part], crowd.epochs + first, last - first, crowd.deadline)
        else:
            train_rows(crowd.epochs + first, pool, crowd.deadline)
        if seconds_now() > crowd.deadline:
            return


cdef Buffer room_for(long n, size_t size):
    """Zeroed memory of n things of that size."""
    return Buffer(blocks(n * size, sizeof(real)))


cdef void check_alike(Engine engine, Engine model, bint in_lanes) except *:
    """What memory safety rests on; the rest is Python's to see to."""
    cdef const Optimizer *a = &engine.optimizer
    cdef const Optimizer *b = &model.optimizer
    cdef bint alike = engine.n_parameters == model.n_parameters
    alike = alike and engine.n_inputs == model.n_inputs and engine.n_outputs == model.n_outputs
    if in_lanes:
        alike = alike and a.kind == b.kind and a.kind <= ADAMW and not (a.prepares or a.amsgrad)
        alike = alike and not engine.masked and engine.all_dense
        alike = alike and (a.momentum != 0) == (b.momentum != 0) and a.nesterov == b.nesterov
    if not alike:
        raise ValueError("expected networks of one shape, in lanes with one of the optimisers SGD, Adam and AdamW")


cdef list begin_all(list engines, Crowd *crowd, int loss_code):
    """Engine.begin_steps of all networks; in lanes they need no workspaces."""
    cdef list scratches = []
    cdef Engine engine
    cdef long k
    try:
        for k in range(crowd.n):
            engine = engines[k]
            if crowd.lanes != NULL:
                engine.write_begin()
                scratches.append(None)
            else:
                scratches.append(engine.begin_steps(&crowd.epochs[k], 1, loss_code))
    except MemoryError:
        end_all(engines, scratches)
        raise
    return scratches


cdef void end_all(list engines, list scratches) noexcept:
    cdef Engine engine
    cdef long k
    for k in range(len(scratches)):
        engine = engines[k]
        if scratches[k] is None:
            engine.write_end()
        else:
            engine.end_steps(scratches[k])


def shuffle(order, unsigned long long seed):
    """Fills `order`, a vector of longs, with the rows 0 .. n - 1 in the random order of that seed."""
    cdef Array array = Array(order, "long", len(order), 1, True)
    cdef long n = len(order)
    shuffled_rows(<long *>array.view.buf, n, seed)


def train_many(list engines, x, targets, weights, orders, seeds, long rows, long batch_size, int loss_code, int threads,
               bint in_lanes, rates=None):
    """One epoch of many networks of one shape on the same rows, shared out over up to so many threads.

    `weights` and `rates` are None or have a row for each network: what Engine.train takes. `orders` is None, or memory (n,
    rows + 8) of longs for the orders that `shuffle` gives for `seeds`, n longs: they are drawn as the networks' turns come.
    No network may be there twice. In lanes VL networks go side by side; else each takes the steps that Engine.train would
    take, to the bit. Returns a list of what Engine.train returns. Ctrl-C is looked for every 25 ms and falls between two
    steps.
    """
    cdef long n = len(engines), k, size
    cdef int granted
    cdef list held = [], scratches
    cdef Engine engine, model = engines[0]
    cdef Array array
    cdef Buffer lanes = None, layers, memory, epochs = room_for(n, sizeof(Epoch))
    cdef Scratch shape
    cdef Lanes *l
    cdef Crowd crowd
    cdef Data data = model.take_data(x, targets, None, None, rows, held)
    cdef double seconds = SECONDS_OF_FIRST_VISIT
    memset(&crowd, 0, sizeof(Crowd))
    if weights is not None:
        array = Array(weights, "real", n, rows)
        held.append(array)
        data.weights = <const real *>array.view.buf
    if orders is not None:
        array = Array(orders, "long", n, rows + ORDERS_APART, True)
        held.append(array)
        crowd.orders = <long *>array.view.buf
        array = Array(seeds, "long", n, 1)
        held.append(array)
        crowd.seeds = <const long *>array.view.buf
    crowd.epochs = <Epoch *>epochs.data
    crowd.n = n
    crowd.each = VL if in_lanes else 1
    for k in range(n):
        engine = engines[k]
        crowd.epochs[k] = engine.new_epoch(rows, least(batch_size, rows))
        check_alike(engine, model, in_lanes)
        crowd.epochs[k].data = data
        crowd.epochs[k].masked = engine.masked and data.labels == NULL
        if rates is not None:
            crowd.epochs[k].rates = engine.check_rates(rates[k], blocks(rows, least(batch_size, rows)), held)
        if weights is not None:
            crowd.epochs[k].data.weights += k * rows
        if orders is not None:
            crowd.epochs[k].data.order = crowd.orders + k * (rows + ORDERS_APART)
    if in_lanes:
        shape = model.new_scratch()
        shape.plan.loss = loss_code
        lanes = room_for(threads, sizeof(Lanes))
        layers = room_for(threads * shape.plan.n_layers, sizeof(LaneLayer))
        crowd.lanes = <Lanes *>lanes.data
        for k in range(threads):
            l = &crowd.lanes[k]
            l.plan = &shape.plan
            l.layers = <LaneLayer *>layers.data + k * shape.plan.n_layers
            l.rows = lane_rows(&shape.plan, least(batch_size, rows))
            l.kind = model.optimizer.kind
            l.momentum = model.optimizer.momentum != 0
            l.nesterov = model.optimizer.nesterov
        size = place_lanes(crowd.lanes, NULL)
        memory = Buffer(threads * size)
        for k in range(threads):
            place_lanes(&crowd.lanes[k], memory.data + k * size)
    while any_left(&crowd):
        scratches = begin_all(engines, &crowd, loss_code)
        granted = pool.enter(threads) if threads > 1 else 1
        with nogil:
            crowd.next = 0
            crowd.deadline = seconds_now() + seconds
            pool.run(crowd_part, &crowd, granted)
        if threads > 1:
            pool.leave(granted)
        end_all(engines, scratches)
        seconds = SECONDS_BETWEEN_SIGNALS
        PyErr_CheckSignals()
    return [(crowd.epochs[k].total, -1 if crowd.epochs[k].fine else crowd.epochs[k].first) for k in range(n)]
