# The net as a list of layers, and the place of every buffer in the arena, decided once, before memory is taken.
#
#   B rows of a block    I inputs and O outputs of a layer    VL lanes of a vector    PAIR = 2 VL
#
# A matrix of activations is kept in panels of VL features, each (B, VL) and contiguous, `stride` numbers apart.
# Weights are kept packed twice for a step: in slivers of up to PAIR outputs, (I, lanes), for y = W x, and of up to
# PAIR inputs, (O, lanes), for dL/dx = W^T dL/dy. docs/layout.md has the measurements behind this.

from simd cimport real, VL, PAIR, REAL_BITS
from clock cimport Clock
from names cimport ACTIVATION, BATCH_NORM, DENSE, GELU, GELU_TANH, LAYER_NORM, SILU, SOFTPLUS

cdef extern from "redzone.h" nogil:
    enum: RED_ZONE          # bytes behind each buffer that nobody may touch: 0 but in a build for a memory checker
    void open_buffer(real *start, long size)

cdef enum:
    KC = 256            # depth of a block of W that stays in L1 beside the tile: 256 x 16 x 4 B = 16 KiB (AVX2, float32)
    MAX_BLOCK_ROWS = 256    # of one thread: its activations stay in L2
    MOST_BLOCKS = 8         # that many threads have such a block each; more than these share them
    MOST_PARTIAL = 32768    # parameters of a net whose threads have a gradient each: it stays in cache
    NUMBERS_PER_THREAD = 65536      # of a flat vector; less is sooner done than handed over
    FEW_ROWS = 3            # up to which packing costs more than it saves
    GROUP = 16              # rows whose losses are summed on their own: no less than a vector's lanes
    MOST_SWEPT = 32768      # numbers of a layer's x: they stay in L2 while the gradient goes by
    CACHE_LINE = 64

cdef enum:              # where the products of a pass find W
    PACKED              # in copies that were made before
    PACKED_AT_USE       # each sliver is copied into cache for its one product
    FLAT                # in the parameters, as it lies (row.pxd)

cdef struct Layer:
    int kind            # DENSE or one of those of between.pxd, which have as many outputs as inputs
    long inputs         # I
    long outputs        # O
    int activation
    long weight         # offset of W (O, I) in the flat parameters; of a norm's gamma (O,)
    long bias           # offset of b (O,), or -1: no bias; of a norm's beta
    long running        # offset of a batch norm's means (O,) in the running statistics; its variances (O,) follow
    double setting      # p of a dropout, eps of a norm
    double momentum     # of a batch norm's running statistics
    # offsets in the arena
    long bias_lanes     # (panels * VL,) b, or zeros
    long rows           # W with rows padded to whole vectors, row_stride apart (row.pxd); both ways in narrow.pxd
    long row_stride
    long forward_weight     # W packed for y = W x
    long backward_weight    # W packed for dL/dx = W^T dL/dy
    long y              # panels of O; the same place as z where h' follows from z; of an activation alone, its input
    long z              # panels of O
    long delta          # (panels * VL,) dL/dy of one row
    long mean           # of a layer norm for each row, of a batch norm for each feature, whole vectors
    long spread         # beside it: 1 / standard deviation of each row; variance of each feature

cdef struct Plan        # an activation and its slope (activations.pxd, backward.pxd), the passes of between.pxd
ctypedef void (*ApplyH)(int kind, const real *y, real *z, long n) noexcept nogil
ctypedef void (*ThroughActivation)(const Plan *plan, const Layer *layer, const real *arena, real *delta, long row,
                                   long rows) noexcept nogil
ctypedef void (*ForwardBetween)(const Plan *plan, const real *parameters, real *arena, int l, int activation, long row,
                                long rows, long place) noexcept nogil
ctypedef void (*WeightsBetween)(const Plan *plan, const real *arena, int l, const real *delta, long row, long rows, bint resume,
                                real *gradient, int part, int parts) noexcept nogil
ctypedef void (*BackwardBetween)(const Plan *plan, const real *parameters, const real *arena, int l, real *delta, real *dx,
                                 long row, long rows) noexcept nogil

cdef struct Plan
ctypedef double (*LossOfRows)(const Plan *plan, const real *arena, long row, long rows, real *delta) noexcept nogil
ctypedef double (*LossOfRow)(const Plan *plan, const real *arena, real *delta) noexcept nogil

cdef struct Plan:
    Layer *layers
    int n_layers
    bint all_dense
    bint drops          # there is a dropout, so that steps are counted for its masks
    # through pointers, so that they are compiled once and not into every place that walks over layers
    ApplyH apply_h
    ThroughActivation through_activation
    ForwardBetween forward_between
    WeightsBetween weights_between
    BackwardBetween backward_between
    int loss
    int from_logits     # the loss is computed from y of the last layer, delta is dL/dy
    real loss_parameter
    LossOfRows loss_and_delta
    LossOfRow loss_of_first_row
    LossOfRows masked_loss      # where targets may be missing, else NULL
    long n_parameters
    long row_numbers    # that a row is on its way: inputs, and outputs of every layer
    long block_rows     # B
    long stride         # between panels
    # offsets in the arena
    long x              # panels of the net's inputs
    long targets        # panels of the targets
    long labels         # (B,) class indices
    long row_scales     # (B,) what multiplies the loss of each row
    long group_losses   # (B / GROUP,) doubles
    long partials       # gradients of MAX_BLOCK_ROWS rows each, partial_size apart
    long partial_size
    long delta          # two buffers as wide as the widest layer; they take turns as dL/dy
    long delta_size     # from the first to the second
    long size           # of the arena, in numbers
    int threads         # parts in which a region may run (team.pxd)
    bint training       # the pass is one of training: dropout drops, batch norms take the batch's statistics
    bint whole_batch    # and there is a batch norm, so that a batch is one block
    real *running       # running statistics of the batch norms
    unsigned long long key      # of dropout's masks: the network's, and the number of the step
    unsigned long long draw
    bint by_row         # there is room for the padded copy
    real *opening       # the arena while its buffers are opened among red zones, else NULL
    bint padded_rows    # one row a step: W and b are in the padded copy (row.pxd), not in the flat parameters
    Clock *clock        # NULL but in Engine.profile


cdef inline long blocks(long n, long size) noexcept nogil:
    return <long>(<size_t>(n + size - 1) // <size_t>size)       # unsigned: a shift where size is a constant


cdef inline long panels(long features) noexcept nogil:
    return blocks(features, VL)


cdef inline long slivers(long columns) noexcept nogil:
    return blocks(columns, PAIR)


cdef inline int vectors_of(long columns_left) noexcept nogil:
    return 2 if columns_left > VL else 1


cdef inline long least(long a, long b) noexcept nogil:
    return a if a < b else b


cdef inline long take(Plan *plan, long size) noexcept nogil:
    """Moves the end of the arena by `size` numbers and a red zone, to the next cache line; returns where they start."""
    cdef long start = plan.size
    cdef long line = CACHE_LINE * 8 // REAL_BITS
    plan.size += (size + line - 1) // line * line + RED_ZONE * 8 // REAL_BITS
    if RED_ZONE and plan.opening != NULL:
        open_buffer(plan.opening + start, size)
    return start


cdef inline long off_page(long stride) noexcept nogil:
    """A stride that is no multiple of 4 KiB: those fall into the same cache sets."""
    return stride + CACHE_LINE * 8 // REAL_BITS if stride * (REAL_BITS // 8) % 4096 == 0 else stride


cdef inline long block_rows(long batch_rows, int threads) noexcept nogil:
    return least(batch_rows, MAX_BLOCK_ROWS * least(threads, MOST_BLOCKS))


cdef inline bint are_few(long batch_rows) noexcept nogil:
    """Whether a batch, or the rows of a call, work on the flat parameters, without packed weights (row.pxd)."""
    return batch_rows <= FEW_ROWS


cdef inline int weights_for(const Plan *plan, long batch_rows) noexcept nogil:
    """Where W is found for a batch, or for the rows of a call."""
    if are_few(batch_rows):
        return FLAT
    if batch_rows <= MAX_BLOCK_ROWS and (plan.threads == 1 or not parts_take_rows(plan, batch_rows)):
        return PACKED_AT_USE
    return PACKED


cdef inline bint parts_take_rows(const Plan *plan, long rows) noexcept nogil:
    """Whether each part of a block takes rows of its own through the net, else outputs of one layer after another.

    With rows of its own a part goes through all weights, with outputs of its own through the numbers of all rows: the
    fewer ones are gone through, if there are rows and not too many of them.
    """
    if not plan.all_dense or plan.threads == 1:
        return True
    if blocks(rows, GROUP) < plan.threads:
        return False
    return rows > MAX_BLOCK_ROWS or rows * plan.row_numbers >= plan.n_parameters


cdef inline void make_plan(Plan *plan, long rows, bint by_row) noexcept nogil:
    """Places every buffer of a pass over blocks of `rows` rows; `by_row` leaves room for online.pxd's copy of the weights.
    Layers hold their shapes already."""
    cdef long widest = plan.layers[0].inputs
    cdef Layer *layer
    cdef int i
    plan.size = 0
    plan.row_numbers = plan.layers[0].inputs
    plan.block_rows = rows
    plan.stride = off_page(plan.block_rows * VL)
    plan.by_row = by_row
    plan.padded_rows = False
    if are_few(plan.block_rows):
        plan.stride = plan.block_rows * VL
    for i in range(plan.n_layers):
        layer = &plan.layers[i]
        widest = layer.outputs if layer.outputs > widest else widest
        plan.row_numbers += layer.outputs
        if layer.kind != DENSE:
            continue
        layer.bias_lanes = take(plan, panels(layer.outputs) * VL)
        layer.delta = take(plan, panels(layer.outputs) * VL)
        if by_row:
            layer.row_stride = off_page(panels(layer.inputs) * VL)
            layer.rows = take(plan, (panels(layer.outputs) + 1) * VL * layer.row_stride)
        if not are_few(plan.block_rows):
            layer.forward_weight = take(plan, slivers(layer.outputs) * PAIR * layer.inputs)
            layer.backward_weight = take(plan, slivers(layer.inputs) * PAIR * layer.outputs)
    plan.x = take(plan, panels(plan.layers[0].inputs) * plan.stride)
    for i in range(plan.n_layers):
        layer = &plan.layers[i]
        layer.z = take(plan, panels(layer.outputs) * plan.stride)
        layer.y = layer.z
        if layer.kind == ACTIVATION:
            layer.y = plan.layers[i - 1].z if i > 0 else plan.x
        elif keeps_y(layer.activation):
            layer.y = take(plan, panels(layer.outputs) * plan.stride)
        if layer.kind == LAYER_NORM or layer.kind == BATCH_NORM:
            layer.mean = take(plan, panels(statistics(layer, plan.block_rows)) * VL)
            layer.spread = take(plan, panels(statistics(layer, plan.block_rows)) * VL)
    plan.targets = take(plan, panels(plan.layers[plan.n_layers - 1].outputs) * plan.stride)
    plan.labels = take(plan, plan.block_rows * 2)
    plan.row_scales = take(plan, plan.block_rows)
    plan.group_losses = take(plan, blocks(plan.block_rows, GROUP) * 2)
    if sums_partials(plan, plan.block_rows + 1):
        plan.partial_size = panels(plan.n_parameters) * VL
        plan.partials = take(plan, blocks(plan.block_rows, MAX_BLOCK_ROWS) * plan.partial_size)
    plan.delta = take(plan, panels(widest) * plan.stride)
    plan.delta_size = take(plan, panels(widest) * plan.stride) - plan.delta


cdef inline long statistics(const Layer *layer, long rows) noexcept nogil:
    """How many means a norm takes of so many rows."""
    return rows if layer.kind == LAYER_NORM else layer.outputs


cdef inline bint of_whole_batch(const Plan *plan, int l) noexcept nogil:
    """Whether layer l works on all rows of the batch at once, and ends a segment of the layers that need not."""
    return plan.whole_batch and plan.layers[l].kind == BATCH_NORM


cdef inline bint sums_partials(const Plan *plan, long batch_rows) noexcept nogil:
    """Whether the gradient of a batch is the sum of those of MAX_BLOCK_ROWS rows each, else one sum over all rows."""
    return batch_rows > MAX_BLOCK_ROWS and plan.n_parameters <= MOST_PARTIAL and not plan.whole_batch


cdef inline int threads_for_vectors(const Plan *plan) noexcept nogil:
    return <int>least(plan.threads, plan.n_parameters // NUMBERS_PER_THREAD + 1)


cdef inline bint keeps_y(int activation) noexcept nogil:
    """Whether h'(y) cannot be had from z = h(y)."""
    return activation == GELU or activation == GELU_TANH or activation == SILU or activation == SOFTPLUS
