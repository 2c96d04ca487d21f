# What outputs change by with the inputs and with the parameters, and the gradient of each row's own loss.
#
# A derivative of one row of data by one seed is a line, and is carried from layer to layer as a row of activations is:
#
#     down, from output o     dz_o/dy = row o of dz/dy      dz_o/dW = dz_o/dy x^T      dz_o/dx = W^T dz_o/dy
#     up, from input i        dy/dx_i = column i of W, then dz/dx_i = dz/dy dy/dx_i    dy/dx_i = W dz/dx_i
#
# dz/dy is symmetric, diagonal or diag(z) - z z^T, so that one function takes both ways through an activation. So is dn/dx of
# a norm, z = gamma n + beta (norms.pxd): down dn/dx gamma dL/dz, up gamma dn/dx dx/dx_i, and dz_o/dgamma = dz_o/dz n. The
# lines of all seeds stand side by side, so that products are as fast for one row of data as for a batch.

from simd cimport (real, vec, VL, PAIR, ends, zero_lanes, v_load, v_store, v_splat, v_zero, product_by_rows,
                   stores_done)
from names cimport DENSE, LAYER_NORM, SOFTMAX
from plan cimport KC, Layer, Plan, blocks, least, panels, slivers, vectors_of
from team cimport share
from activations cimport ONE
from row cimport lane
from between cimport in_place
from forward cimport INFINITY, layer_input
from norms cimport normalised, panel_of
from outer cimport FLAT, flat_row, is_streamed, store_line, store_panel, store_product, streamed_product
from block cimport Block, block_forward, pack

cdef enum:
    NEVER_FEW = 4           # rows: packed weights are always there
    LINES_AT_A_TIME = 32    # fewer make short tiles; results of more do not stay in L2
    MOST_CACHED = 1 << 24   # bytes of a result that may find room in a cache

cdef struct Walk
cdef struct Lines
ctypedef void (*GiveDense)(const Walk *walk, const Lines *lines, int l, const real *delta) noexcept nogil

cdef struct Walk:
    Block *block
    bint up                 # from inputs, else down
    bint from_loss          # the one seed is dL/dy, which block_forward has left, else an output (input) each
    long width              # of all seeds
    long seed               # the first of those under way
    long seeds              # how many: of each row
    real *by_inputs         # (n, O, I) of the net, or NULL
    real *by_parameters     # (n, width, n_parameters), or NULL
    # through pointers, so that each has the registers for itself: 8 % of a small net's time
    GiveDense give          # give_dense
    GiveDense stream        # stream_dense where by_parameters are too large for a cache, else NULL

cdef struct Lines:          # of one part: line (s, r) is s * rows + r
    long row                # of the block, the first
    long rows
    long seed               # the first of the net's outputs (inputs)
    long seeds
    real *start             # in panels


cdef inline Lines lines_of(const Walk *walk, int part, int parts) noexcept nogil:
    """Rows of the block, or seeds where there are fewer rows than parts."""
    cdef const Block *block = walk.block
    cdef Lines lines
    lines.row = lines.seed = 0
    lines.rows = block.rows
    lines.seeds = walk.seeds
    if block.rows >= parts:
        lines.row = share(block.rows, part, parts)
        lines.rows = share(block.rows, part + 1, parts) - lines.row
    else:
        lines.seed = share(walk.seeds, part, parts)
        lines.seeds = share(walk.seeds, part + 1, parts) - lines.seed
    lines.start = block.arena + block.plan.delta + (lines.row * walk.seeds + lines.seed * block.rows) * VL
    lines.seed += walk.seed
    return lines


# ---------------------------------------------------------------- from layer to layer

cdef inline void one_hot(const Lines *lines, long width, long stride) noexcept nogil:
    """dz/dz, dx/dx: number o of each line of seed o is 1."""
    cdef long s, r, panel, o
    cdef real *line
    for panel in range(panels(width)):
        for r in range(lines.seeds * lines.rows):
            v_store(lines.start + panel * stride + r * VL, v_zero())
    for s in range(lines.seeds):
        o = lines.seed + s
        for r in range(lines.rows):
            line = lines.start + (s * lines.rows + r) * VL
            line[o // VL * stride + o % VL] = 1


cdef inline void weights_of_seed(const Lines *lines, const real *packed, long depth, long width, bint scaled, real *result,
                                 long stride) noexcept nogil:
    """Row `seed` of packed weights (depth, width), for each line, times what the line has there if `scaled`: the product
    below, of lines that are 0 elsewhere."""
    cdef long s, r, k, panel, sliver, lanes
    cdef const real *line
    cdef real *target
    cdef vec w
    for panel in range(panels(width)):
        sliver = panel * VL // PAIR * PAIR
        lanes = vectors_of(width - sliver) * VL
        for s in range(lines.seeds):
            k = lines.seed + s
            w = v_load(packed + sliver * depth + k * lanes + panel * VL - sliver)
            line = lines.start + s * lines.rows * VL + k // VL * stride + k % VL
            target = result + panel * stride + s * lines.rows * VL
            for r in range(lines.rows):
                v_store(target + r * VL, v_splat(line[r * VL] if scaled else ONE) * w)


cdef inline void product(const real *lines, const real *packed, long depth, long width, real *result, long stride,
                         long n) noexcept nogil:
    """n lines (depth) times packed weights (depth, width)."""
    cdef long block, k, part, sliver, j
    cdef int vectors
    cdef ends e
    e.floor = -INFINITY
    for block in range(blocks(depth, KC)):
        k = block * KC
        part = least(KC, depth - k)
        for sliver in range(slivers(width)):
            j = sliver * PAIR
            vectors = vectors_of(width - j)
            e.start = zero_lanes if k == 0 else NULL
            product_by_rows(n, vectors, lines + k // VL * stride, stride, packed + j * depth + k * vectors * VL, part, &e,
                            result + j // VL * stride, stride)


# ---------------------------------------------------------------- results

cdef inline real *parameters_of(const Walk *walk, const Lines *lines, long s, long r) noexcept nogil:
    """Where the derivatives of line (s, r) by the parameters go."""
    cdef long row = walk.block.first + lines.row + r
    return walk.by_parameters + (row * walk.width + lines.seed + s) * walk.block.plan.n_parameters


cdef inline void give_norm(const Walk *walk, const Lines *lines, int l, const real *delta) noexcept nogil:
    """dz_o/dgamma = dz_o/dz n and dz_o/dbeta = dz_o/dz of norm l, of every line."""
    cdef const Plan *plan = walk.block.plan
    cdef const Layer *layer = &plan.layers[l]
    cdef const real *arena = walk.block.arena
    cdef const real *x = layer_input(plan, arena, l)
    cdef const real *line
    cdef long s, r, j, O = layer.outputs
    cdef vec n
    cdef real *target
    for r in range(lines.rows):
        for j in range(panels(O)):
            n = normalised(plan, layer, arena, v_load(x + j * plan.stride + (lines.row + r) * VL), j, lines.row + r)
            for s in range(lines.seeds):
                line = delta + j * plan.stride + (s * lines.rows + r) * VL
                target = parameters_of(walk, lines, s, r) + layer.weight
                store_panel(v_load(line) * n, j, O, target, target + O)
                store_panel(v_load(line), j, O, target + O, target + 2 * O)


cdef inline void give_dense(const Walk *walk, const Lines *lines, int l, const real *delta) noexcept nogil:
    """dz_o/dW = dz_o/dy x^T and dz_o/db = dz_o/dy of layer l, of every line."""
    cdef const Plan *plan = walk.block.plan
    cdef const Layer *layer = &plan.layers[l]
    cdef const real *x = layer_input(plan, walk.block.arena, l) + lines.row * VL
    cdef const real *line
    cdef long s, r, weights = layer.outputs * layer.inputs
    cdef real *target
    cdef real *end
    for r in range(lines.rows):
        for s in range(lines.seeds):
            line = delta + (s * lines.rows + r) * VL
            target = parameters_of(walk, lines, s, r)
            end = target + layer.weight + weights + (layer.outputs if layer.bias >= 0 else 0)
            store_product(line, x + r * VL, plan.stride, layer.outputs, layer.inputs, target + layer.weight, end)
            if layer.bias >= 0:
                store_line(line, plan.stride, layer.outputs, target + layer.bias, end)


cdef inline void stream_dense(const Walk *walk, const Lines *lines, int l, const real *delta) noexcept nogil:
    """give_dense past the caches, of a layer that is_streamed."""
    cdef const Plan *plan = walk.block.plan
    cdef const Layer *layer = &plan.layers[l]
    cdef const real *x = layer_input(plan, walk.block.arena, l) + lines.row * VL
    cdef const real *line
    cdef real[FLAT] flat
    cdef long s, r, O = layer.outputs
    cdef real *target
    for r in range(lines.rows):
        flat_row(x + r * VL, plan.stride, layer.inputs, flat)
        for s in range(lines.seeds):
            line = delta + (s * lines.rows + r) * VL
            target = parameters_of(walk, lines, s, r)
            streamed_product(line, plan.stride, flat, O, layer.inputs, target + layer.weight)
            if layer.bias >= 0:
                store_line(line, plan.stride, O, target + layer.bias, target + layer.bias + O)


cdef inline void give_inputs(const Walk *walk, const Lines *lines, const real *dx) noexcept nogil:
    """dz_o/dx of lines that came down. Row after row, so that the end of one may run over into the next."""
    cdef const Block *block = walk.block
    cdef long I = block.plan.layers[0].inputs, s, r
    cdef real *target
    cdef real *end
    for r in range(lines.rows):
        target = walk.by_inputs + ((block.first + lines.row + r) * walk.width + lines.seed) * I
        end = target + (lines.seeds if lines.seeds < walk.width else (lines.rows - r) * walk.width) * I
        for s in range(lines.seeds):
            store_line(dx + (s * lines.rows + r) * VL, block.plan.stride, I, target + s * I, end)


cdef inline void give_outputs(const Walk *walk, const Lines *lines, const real *dz) noexcept nogil:
    """dz/dx_i of lines that came up."""
    cdef const Block *block = walk.block
    cdef long O = block.plan.layers[block.plan.n_layers - 1].outputs, s, r, o
    cdef real *target
    for r in range(lines.rows):
        target = walk.by_inputs + (block.first + lines.row + r) * O * walk.width + lines.seed
        for o in range(O):
            for s in range(lines.seeds):
                target[o * walk.width + s] = lane(dz + (s * lines.rows + r) * VL, block.plan.stride, o)


# ---------------------------------------------------------------- the whole way

cdef inline void give_parameters(const Walk *walk, const Lines *lines, int l, const real *delta) noexcept nogil:
    cdef const Layer *layer = &walk.block.plan.layers[l]
    if in_place(layer):
        return
    if layer.kind != DENSE:
        give_norm(walk, lines, l, delta)
    elif walk.stream != NULL and is_streamed(layer.outputs, layer.inputs):
        walk.stream(walk, lines, l, delta)
    else:
        walk.give(walk, lines, l, delta)


cdef inline void slopes(const Walk *walk, const Lines *lines, const Layer *layer, real *v) noexcept nogil:
    """Through the activation of a layer, in place."""
    cdef const Block *block = walk.block
    cdef long s
    for s in range(lines.seeds):
        block.plan.through_activation(block.plan, layer, block.arena, v + (s * lines.rows - lines.row) * VL, lines.row,
                                      lines.rows)


cdef inline void through_norm(const Walk *walk, const Lines *lines, int l, real *v, real *result) noexcept nogil:
    cdef const Block *block = walk.block
    cdef const Plan *plan = block.plan
    cdef const Layer *layer = &plan.layers[l]
    cdef const real *parameters = block.parameters
    cdef bint gamma_last = walk.up and layer.kind == LAYER_NORM     # a batch norm's dn/dx is diagonal
    cdef long s, j, r
    cdef vec gamma
    if gamma_last:
        parameters = NULL
    for s in range(lines.seeds):
        j = (s * lines.rows - lines.row) * VL
        plan.backward_between(plan, parameters, block.arena, l, v + j, result + j, lines.row, lines.rows)
    if gamma_last:
        for j in range(panels(layer.outputs)):
            gamma = panel_of(block.parameters + layer.weight, j, layer.outputs)
            for r in range(lines.seeds * lines.rows):
                v_store(result + j * plan.stride + r * VL, gamma * v_load(result + j * plan.stride + r * VL))


cdef inline void through_dense(const Walk *walk, const Lines *lines, int l, bint alone, const real *v,
                               real *result) noexcept nogil:
    """W^T dz_o/dy, or W dz/dx_i. The first layer's dx_i/dx_i is not written anywhere."""
    cdef const Plan *plan = walk.block.plan
    cdef const Layer *layer = &plan.layers[l]
    cdef const real *packed = walk.block.arena + (layer.forward_weight if walk.up else layer.backward_weight)
    cdef long depth = layer.inputs if walk.up else layer.outputs, width = layer.outputs if walk.up else layer.inputs
    if alone:
        weights_of_seed(lines, packed, depth, width, not (walk.up and l == 0), result, plan.stride)
    else:
        product(v, packed, depth, width, result, plan.stride, lines.rows * lines.seeds)


cdef inline void walk_lines(const Walk *walk, const Lines *lines) noexcept nogil:
    """Through the whole net."""
    cdef const Plan *plan = walk.block.plan
    cdef const Layer *layer
    cdef real *v = lines.start
    cdef real *result = v + plan.delta_size
    cdef real *spare
    cdef bint alone = not walk.from_loss    # each line is 0 but for its seed
    cdef int k, l
    if alone and not (walk.up and plan.layers[0].kind == DENSE):
        one_hot(lines, walk.width, plan.stride)
    for k in range(plan.n_layers):
        l = k if walk.up else plan.n_layers - 1 - k
        layer = &plan.layers[l]
        if not walk.up:
            if k > 0 or not walk.from_loss:
                slopes(walk, lines, layer, v)
            alone = alone and layer.activation != SOFTMAX
            if walk.by_parameters != NULL:
                give_parameters(walk, lines, l, v)
            if l == 0 and walk.by_inputs == NULL:
                return
        if not in_place(layer):
            if layer.kind == DENSE:
                through_dense(walk, lines, l, alone, v, result)
            else:
                through_norm(walk, lines, l, v, result)
            alone = False
            spare = v
            v = result
            result = spare
        if walk.up:
            slopes(walk, lines, layer, v)
            alone = alone and layer.activation != SOFTMAX
    if walk.up:
        give_outputs(walk, lines, v)
    else:
        give_inputs(walk, lines, v)


cdef inline void walk_part(void *argument, int part, int parts) noexcept nogil:
    """The lines of a part, few enough at a time that their results are still in cache when the next layer adds to them."""
    cdef const Walk *walk = <const Walk *>argument
    cdef Lines lines = lines_of(walk, part, parts)
    cdef long end = lines.row + lines.rows, most
    if lines.seeds == 0:
        return
    most = LINES_AT_A_TIME // lines.seeds + 1
    while lines.row < end:
        lines.rows = least(most, end - lines.row)
        walk_lines(walk, &lines)
        lines.row += lines.rows
        if walk.from_loss:
            lines.start += lines.rows * VL
    if walk.stream != NULL:
        stores_done()


cdef inline double multiplications(const Plan *plan, bint up) noexcept nogil:
    """Of one line through the Dense layers; none in the first where the line is 0 but for its seed."""
    cdef const Layer *layer
    cdef double n = 0
    cdef bint alone = True
    cdef int k
    for k in range(plan.n_layers):
        layer = &plan.layers[k if up else plan.n_layers - 1 - k]
        alone = alone and (up and layer.kind == DENSE or layer.activation != SOFTMAX)
        if layer.kind == DENSE and not alone:
            n += <double>layer.inputs * layer.outputs
        alone = alone and in_place(layer)
    return n


cdef inline bint goes_up(const Plan *plan) noexcept nogil:
    """Whether to go from inputs to outputs takes fewer multiply-adds than to go back."""
    return (plan.layers[0].inputs * multiplications(plan, True)
            < plan.layers[plan.n_layers - 1].outputs * multiplications(plan, False))


cdef inline void walk_rows(Walk *walk, long rows) noexcept nogil:
    """All lines of `rows` rows, as many at a time as a block has room for."""
    cdef Block *block = walk.block
    cdef long most = block.plan.block_rows, seeds = least(walk.width, most), step = most // seeds, k, c
    walk.give = &give_dense
    walk.stream = NULL
    if walk.by_parameters != NULL and rows * walk.width * block.plan.n_parameters > MOST_CACHED // <long>sizeof(real):
        walk.stream = &stream_dense
    block.to_delta = not walk.up
    block.to_inputs = not walk.up and walk.by_inputs != NULL
    pack(block)
    for k in range(blocks(rows, step)):
        block_forward(block, k * step, least(step, rows - k * step))
        for c in range(blocks(walk.width, seeds)):
            walk.seed = c * seeds
            walk.seeds = least(seeds, walk.width - walk.seed)
            block.pool.run(walk_part, walk, block.plan.threads)
