"""What one call works in."""


cdef class Scratch:
    """A plan and its arena: what one call works in."""
    cdef Plan plan
    cdef void *memory
    cdef real *arena
    cdef long capacity
    cdef bint announced         # to the pool

    def __cinit__(self, int n_layers):
        self.plan.layers = <Layer *>take_zeroed(n_layers * sizeof(Layer))
        if self.plan.layers == NULL:
            raise MemoryError("no memory for the plan of a network")
        self.plan.n_layers = n_layers
        self.plan.threads = 1

    def __dealloc__(self):
        give_back(self.plan.layers)
        give_back(self.memory)

    cdef void take_threads(self, int threads) noexcept:
        """Asks the pool for up to `threads`, the caller's among them; to be followed by give_threads."""
        self.announced = threads > 1
        if self.announced:
            self.plan.threads = pool.enter(threads)

    cdef void give_threads(self) noexcept:
        if self.announced:
            pool.leave(self.plan.threads)
        self.announced = False
        self.plan.threads = 1

    cdef void prepare(self, long rows, int threads, bint by_row=False, bint whole_batch=False) except *:
        """Places the buffers for passes of `rows` rows by up to so many threads; memory only grows."""
        rows = rows if whole_batch else block_rows(rows, threads)
        if self.plan.block_rows == rows and self.plan.by_row == by_row and self.plan.whole_batch == whole_batch:
            return
        self.plan.whole_batch = whole_batch
        make_plan(&self.plan, rows, by_row)
        if self.plan.size > self.capacity:
            self.grow()
        if RED_ZONE:
            close_memory(self.memory, self.capacity * sizeof(real) + CACHE_LINE)
            self.plan.opening = self.arena
            make_plan(&self.plan, rows, by_row)     # the same plan again
            self.plan.opening = NULL

    cdef void grow(self) except *:
        cdef void *memory = take_memory(self.plan.size * sizeof(real) + CACHE_LINE)
        if memory == NULL:
            self.plan.block_rows = 0
            raise MemoryError(f"no memory for a workspace of {self.plan.size * sizeof(real)} bytes")
        give_back(self.memory)
        self.memory = memory
        self.capacity = self.plan.size
        self.arena = <real *>((<size_t>memory + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE)
        memset(self.arena, 0, self.plan.size * sizeof(real))
