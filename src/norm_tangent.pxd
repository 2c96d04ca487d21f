# R{.}, the derivative along a direction, of the norms (norms.pxd), mean and variance of a batch norm being given.
# With s = 1 / sqrt(variance + eps), d = dL/dn = gamma dL/dz, and dn/dx = J, which is symmetric:
#
#     J u = s (u - mean(u) - n mean(n u))     of a layer norm, means over the features of a row;     J u = s u of a batch norm
#
#     R{n} = J R{x}                               R{z} = R{gamma} n + gamma R{n} + R{beta}
#     R{d} = R{gamma} dL/dz + gamma R{dL/dz}      R{s} = -s^2 mean(n R{x}), 0 of a batch norm
#     R{dL/dx} = R{s} / s dL/dx + s (R{d} - mean(R{d}) - R{n} mean(n d) - n mean(R{n} d + n R{d}))
#     R{dL/dgamma} = sum over rows of R{dL/dz} n + dL/dz R{n}         R{dL/dbeta} = sum over rows of R{dL/dz}
#
# What the second arena has in the places of a norm's statistics: of a layer norm mean(R{x}) and mean(n R{x}) of each row,
# of a batch norm its mean and s of each feature. Past the width R{x}, gamma and their like are 0, so that sums need no care.

from simd cimport real, vec, MAX_VL, VL, v_load, v_load_first, v_store, v_store_first, v_splat, v_sum, v_zero
from names cimport BATCH_NORM
from plan cimport MAX_BLOCK_ROWS, Layer, Plan, blocks, least, panels
from team cimport share
from norms cimport one_over_deviation, panel_of

cdef struct Norm:           # a norm, and where its numbers lie in both arenas
    const Plan *plan
    const Layer *layer
    bint by_feature         # it is a batch norm
    const real *gamma       # (O,)
    const real *rgamma
    const real *rbeta
    const real *x           # panels
    const real *rx
    const real *arena
    real *along
    # of the row under way
    const real *means       # lanes for each panel, `step` apart
    const real *spreads     # s
    long step
    real[2 * MAX_VL] lanes  # where these are the same for all panels
    vec of_rx               # mean(R{x}), 0 of a batch norm
    vec of_product          # mean(n R{x}), likewise


cdef inline void make_norm(Norm *norm, const Plan *plan, const Layer *layer, const real *parameters, const real *direction,
                           const real *arena, real *along, const real *x, const real *rx) noexcept nogil:
    norm.plan = plan
    norm.layer = layer
    norm.by_feature = layer.kind == BATCH_NORM
    norm.gamma = parameters + layer.weight
    norm.rgamma = direction + layer.weight
    norm.rbeta = direction + layer.bias
    norm.x = x
    norm.rx = rx
    norm.arena = arena
    norm.along = along
    norm.means = along + layer.mean if norm.by_feature else norm.lanes
    norm.spreads = along + layer.spread if norm.by_feature else norm.lanes + MAX_VL
    norm.step = VL if norm.by_feature else 0
    norm.of_rx = norm.of_product = v_zero()


cdef inline void place_statistics(const Plan *plan, real *along) noexcept nogil:
    """The running statistics of the batch norms, before any row."""
    cdef const Layer *layer
    cdef const real *running
    cdef long panel
    cdef int l
    for l in range(plan.n_layers):
        layer = &plan.layers[l]
        if layer.kind == BATCH_NORM:
            running = plan.running + layer.running
            for panel in range(panels(layer.outputs)):
                v_store(along + layer.mean + panel * VL, panel_of(running, panel, layer.outputs))
                v_store(along + layer.spread + panel * VL,
                        one_over_deviation(layer, panel_of(running + layer.outputs, panel, layer.outputs)))


cdef inline void take_row(Norm *norm, long row) noexcept nogil:
    if not norm.by_feature:
        v_store(norm.lanes, v_splat(norm.arena[norm.layer.mean + row]))
        v_store(norm.lanes + MAX_VL, v_splat(norm.arena[norm.layer.spread + row]))
        norm.of_rx = v_splat(norm.along[norm.layer.mean + row])
        norm.of_product = v_splat(norm.along[norm.layer.spread + row])


cdef inline vec normalised(const Norm *norm, long panel, long at) noexcept nogil:
    """n of a panel of the row, which is `at` numbers from row 0 of panel 0."""
    return (v_load(norm.x + at) - v_load(norm.means + panel * norm.step)) * v_load(norm.spreads + panel * norm.step)


cdef inline vec normalised_tangent(const Norm *norm, vec n, long panel, long at) noexcept nogil:
    """R{n}"""
    return v_load(norm.spreads + panel * norm.step) * (v_load(norm.rx + at) - norm.of_rx - n * norm.of_product)


cdef inline void norm_forward(Norm *norm, long row, long rows) noexcept nogil:
    """R{z} of rows row .. row + rows - 1 of the block."""
    cdef const Layer *layer = norm.layer
    cdef long O = layer.outputs, r, j, at
    cdef vec s, p, n, rx
    for r in range(row, row + rows):
        take_row(norm, r)
        if not norm.by_feature:
            s = p = v_zero()
            for j in range(panels(O)):
                at = j * norm.plan.stride + r * VL
                rx = v_load(norm.rx + at)
                s = s + rx
                p = p + rx * normalised(norm, j, at)
            norm.along[layer.mean + r] = v_sum(s) / O
            norm.along[layer.spread + r] = v_sum(p) / O
            take_row(norm, r)
        for j in range(panels(O)):
            at = j * norm.plan.stride + r * VL
            n = normalised(norm, j, at)
            v_store(norm.along + layer.z + at, panel_of(norm.rgamma, j, O) * n + panel_of(norm.rbeta, j, O)
                    + panel_of(norm.gamma, j, O) * normalised_tangent(norm, n, j, at))


cdef inline void norm_backward(Norm *norm, const real *delta, const real *rdelta, real *dx, real *rdx, long row,
                               long rows) noexcept nogil:
    """dL/dx and R{dL/dx} of these rows out of dL/dz and R{dL/dz}; all in panels, from row 0."""
    cdef long O = norm.layer.outputs, r, j, at
    cdef vec n, rn, d, rd, s, gamma, sum_d, sum_nd, sum_rd, sum_both
    cdef vec mean_d = v_zero(), mean_nd = v_zero(), mean_rd = v_zero(), mean_both = v_zero()
    for r in range(row, row + rows):
        take_row(norm, r)
        sum_d = sum_nd = sum_rd = sum_both = v_zero()
        for j in range(panels(O)):
            at = j * norm.plan.stride + r * VL
            n = normalised(norm, j, at)
            rn = normalised_tangent(norm, n, j, at)
            gamma = panel_of(norm.gamma, j, O)
            d = gamma * v_load(delta + at)
            rd = gamma * v_load(rdelta + at) + panel_of(norm.rgamma, j, O) * v_load(delta + at)
            sum_d = sum_d + d
            sum_nd = sum_nd + n * d
            sum_rd = sum_rd + rd
            sum_both = sum_both + (rn * d + n * rd)
            v_store(dx + at, d)
            v_store(rdx + at, rd)
        if not norm.by_feature:
            mean_d = v_splat(v_sum(sum_d) / O)
            mean_nd = v_splat(v_sum(sum_nd) / O)
            mean_rd = v_splat(v_sum(sum_rd) / O)
            mean_both = v_splat(v_sum(sum_both) / O)
        for j in range(panels(O)):
            at = j * norm.plan.stride + r * VL
            n = normalised(norm, j, at)
            rn = normalised_tangent(norm, n, j, at)
            s = v_load(norm.spreads + j * norm.step)
            d = s * (v_load(dx + at) - mean_d - n * mean_nd)
            v_store(dx + at, d)
            v_store(rdx + at, s * (v_load(rdx + at) - mean_rd - rn * mean_nd - n * mean_both - norm.of_product * d))


cdef inline void norm_weights(Norm *norm, const real *delta, const real *rdelta, long rows, bint resume, real *gradient,
                              int part, int parts) noexcept nogil:
    """R{dL/dgamma} (O,), summed over the block's rows, MAX_BLOCK_ROWS after MAX_BLOCK_ROWS; a part takes panels."""
    cdef long O = norm.layer.outputs, panel, k, r, at, lanes
    cdef vec s, sum, n
    for panel in range(share(panels(O), part, parts), share(panels(O), part + 1, parts)):
        lanes = least(VL, O - panel * VL)
        sum = v_load_first(gradient + panel * VL, lanes) if resume else v_zero()
        for k in range(blocks(rows, MAX_BLOCK_ROWS)):
            s = v_zero()
            for r in range(k * MAX_BLOCK_ROWS, least((k + 1) * MAX_BLOCK_ROWS, rows)):
                take_row(norm, r)
                at = panel * norm.plan.stride + r * VL
                n = normalised(norm, panel, at)
                s = s + (v_load(rdelta + at) * n + v_load(delta + at) * normalised_tangent(norm, n, panel, at))
            sum = sum + s
        v_store_first(gradient + panel * VL, sum, lanes)
