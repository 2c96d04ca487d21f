# Normalisation: n = (x - mean) / sqrt(variance + eps), z = gamma n + beta; gamma stands where a layer has its W. Variances
# are biased and taken in a second sweep, from deviations, so that they keep their digits where the mean is large.
#
#     layer norm (Ba et al., 2016): mean and variance of a row, over its features
#     batch norm (Ioffe and Szegedy, 2015): of a feature, over the rows of a batch; in evaluation what was kept of them
#
#     dL/dgamma = sum over rows of dL/dz n        dL/dbeta = sum over rows of dL/dz        dL/dn = gamma dL/dz
#     dL/dx = (dL/dn - mean(dL/dn) - n mean(dL/dn n)) / sqrt(variance + eps)        means as above
#     dL/dx = dL/dn / sqrt(variance + eps)                                          where mean and variance are given
#
# n is computed again where it is needed: it takes no memory, and x is in cache.

from simd cimport (real, vec, VL, MAX_VL, v_load, v_load_first, v_store, v_store_first, v_splat, v_zero, v_sqrt, v_abs, v_max,
                   v_largest, v_where_first, v_sums)
from names cimport LAYER_NORM
from plan cimport MAX_BLOCK_ROWS, Layer, Plan, blocks, least, of_whole_batch, panels
from activations cimport ONE
from backward cimport sum_rows
from team cimport share

cdef extern from *:
    """
    /* No running statistic may pass this: far from overflow. */
    #define LARGEST_STATISTIC (REAL_BITS == 32 ? 1e30 : 1e150)
    """
    const double LARGEST_STATISTIC


cdef inline vec panel_of(const real *vector, long panel, long n) noexcept nogil:
    """A panel of a vector (n,) that is not padded; zeros past its end."""
    return v_load(vector + panel * VL) if (panel + 1) * VL <= n else v_load_first(vector + panel * VL, n - panel * VL)


cdef inline vec within(vec a, long panel, long n) noexcept nogil:
    """a, but zero past the end of n features."""
    return a if (panel + 1) * VL <= n else v_where_first(n - panel * VL, a, v_zero())


# ---------------------------------------------------------------- layer norm: groups of up to VL rows, as softmax does it

cdef inline void layer_norm_group(const real *x, real *z, const real *gamma, const real *beta, long stride, long rows,
                                  long width, real eps, real *means, real *spreads) noexcept nogil:
    cdef vec[MAX_VL] block
    cdef vec s, d, of_row, by_row
    cdef long r, j, at
    for r in range(VL):
        block[r] = v_zero()
    for r in range(rows):
        s = v_zero()
        for j in range(panels(width)):
            s = s + within(v_load(x + j * stride + r * VL), j, width)
        block[r] = s
    v_store(means, v_sums(block) / v_splat(<real>width))
    for r in range(VL):
        block[r] = v_zero()
    for r in range(rows):
        s = v_zero()
        of_row = v_splat(means[r])
        for j in range(panels(width)):
            d = within(v_load(x + j * stride + r * VL) - of_row, j, width)
            s = s + d * d
        block[r] = s
    v_store(spreads, v_splat(ONE) / v_sqrt(v_sums(block) / v_splat(<real>width) + v_splat(eps)))
    for r in range(rows):
        of_row = v_splat(means[r])
        by_row = v_splat(spreads[r])
        for j in range(panels(width)):
            at = j * stride + r * VL
            s = panel_of(gamma, j, width) * ((v_load(x + at) - of_row) * by_row) + panel_of(beta, j, width)
            v_store(z + at, within(s, j, width))


cdef inline void layer_norm(const Plan *plan, const Layer *layer, const real *parameters, real *arena, const real *x, long row,
                            long rows) noexcept nogil:
    """z of rows row .. row + rows - 1 of the block; x in panels, from row 0. Keeps the rows' means and 1 / deviations."""
    cdef long at = row, end = row + rows
    while at < end:
        layer_norm_group(x + at * VL, arena + layer.z + at * VL, parameters + layer.weight, parameters + layer.bias,
                         plan.stride, least(VL, end - at), layer.outputs, <real>layer.setting,
                         arena + layer.mean + at, arena + layer.spread + at)
        at += VL


cdef inline vec of_normalised(const real *gamma, vec delta, long panel, long width) noexcept nogil:
    """dL/dn of dL/dz, or delta itself where gamma is NULL."""
    return panel_of(gamma, panel, width) * delta if gamma != NULL else delta


cdef inline void layer_norm_slope_group(const real *x, const real *delta, real *dx, const real *gamma, long stride, long rows,
                                        long width, const real *means, const real *spreads) noexcept nogil:
    cdef vec[MAX_VL] slopes, products
    cdef real[MAX_VL] mean_slopes, mean_products
    cdef vec d, n, s, p, of_row, by_row
    cdef long r, j, at
    for r in range(VL):
        slopes[r] = products[r] = v_zero()
    for r in range(rows):
        s = p = v_zero()
        of_row = v_splat(means[r])
        by_row = v_splat(spreads[r])
        for j in range(panels(width)):
            at = j * stride + r * VL
            d = within(of_normalised(gamma, v_load(delta + at), j, width), j, width)
            n = within((v_load(x + at) - of_row) * by_row, j, width)
            s = s + d
            p = p + d * n
        slopes[r] = s
        products[r] = p
    v_store(mean_slopes, v_sums(slopes) / v_splat(<real>width))
    v_store(mean_products, v_sums(products) / v_splat(<real>width))
    for r in range(rows):
        of_row = v_splat(means[r])
        by_row = v_splat(spreads[r])
        for j in range(panels(width)):
            at = j * stride + r * VL
            d = of_normalised(gamma, v_load(delta + at), j, width)
            n = (v_load(x + at) - of_row) * by_row
            s = by_row * (d - v_splat(mean_slopes[r]) - n * v_splat(mean_products[r]))
            v_store(dx + at, within(s, j, width))


cdef inline void layer_norm_slope(const Plan *plan, const Layer *layer, const real *parameters, const real *arena,
                                  const real *x, const real *delta, real *dx, long row, long rows) noexcept nogil:
    """dL/dx of these rows, out of dL/dn where parameters are NULL; x, delta and dx in panels, from row 0."""
    cdef const real *gamma = NULL
    cdef long at = row, end = row + rows
    if parameters != NULL:
        gamma = parameters + layer.weight
    while at < end:
        layer_norm_slope_group(x + at * VL, delta + at * VL, dx + at * VL, gamma, plan.stride, least(VL, end - at),
                               layer.outputs, arena + layer.mean + at, arena + layer.spread + at)
        at += VL


cdef inline vec sum_normalised(const real *delta, const real *x, const real *means, const real *spreads,
                               long rows) noexcept nogil:
    """sum dL/dz n over up to MAX_BLOCK_ROWS rows of a panel."""
    cdef vec s0 = v_zero(), s1 = v_zero()
    cdef long r
    for r in range(0, rows - 1, 2):
        s0 = s0 + v_load(delta + r * VL) * ((v_load(x + r * VL) - v_splat(means[r])) * v_splat(spreads[r]))
        s1 = s1 + v_load(delta + (r + 1) * VL) * ((v_load(x + (r + 1) * VL) - v_splat(means[r + 1])) * v_splat(spreads[r + 1]))
    if rows % 2:
        r = rows - 1
        s0 = s0 + v_load(delta + r * VL) * ((v_load(x + r * VL) - v_splat(means[r])) * v_splat(spreads[r]))
    return s0 + s1


cdef inline void layer_norm_weights(const Plan *plan, const Layer *layer, const real *arena, const real *x, const real *delta,
                                    long row, long rows, bint resume, real *gradient, int part, int parts) noexcept nogil:
    """dL/dgamma (O,), summed over these rows; a part takes panels."""
    cdef long panel, k, first, lanes
    cdef vec s
    for panel in range(share(panels(layer.outputs), part, parts), share(panels(layer.outputs), part + 1, parts)):
        lanes = least(VL, layer.outputs - panel * VL)
        s = v_load_first(gradient + panel * VL, lanes) if resume else v_zero()
        for k in range(blocks(rows, MAX_BLOCK_ROWS)):
            first = row + k * MAX_BLOCK_ROWS
            s = s + sum_normalised(delta + panel * plan.stride + first * VL, x + panel * plan.stride + first * VL,
                                   arena + layer.mean + first, arena + layer.spread + first,
                                   least(MAX_BLOCK_ROWS, row + rows - first))
        v_store_first(gradient + panel * VL, s, lanes)


# ---------------------------------------------------------------- batch norm: panel after panel

cdef inline vec one_over_deviation(const Layer *layer, vec variance) noexcept nogil:
    return v_splat(ONE) / v_sqrt(variance + v_splat(<real>layer.setting))


cdef inline vec mean_of_rows(const real *a, long rows) noexcept nogil:
    """Of the rows of a panel; MAX_BLOCK_ROWS after MAX_BLOCK_ROWS, so that rounding does not grow with the batch."""
    cdef vec s = v_zero()
    cdef long k
    for k in range(blocks(rows, MAX_BLOCK_ROWS)):
        s = s + sum_rows(v_zero(), a + k * MAX_BLOCK_ROWS * VL, least(MAX_BLOCK_ROWS, rows - k * MAX_BLOCK_ROWS))
    return s / v_splat(<real>rows)


cdef inline vec sum_products(const real *a, const real *b, vec b_mean, long rows) noexcept nogil:
    """sum a (b - b_mean) over up to MAX_BLOCK_ROWS rows of two panels; a NULL: (b - b_mean)^2."""
    cdef vec s0 = v_zero(), s1 = v_zero(), s2 = v_zero(), s3 = v_zero(), b0, b1, b2, b3
    cdef long r, at
    for r in range(rows // 4):
        at = 4 * r * VL
        b0 = v_load(b + at) - b_mean
        b1 = v_load(b + at + VL) - b_mean
        b2 = v_load(b + at + 2 * VL) - b_mean
        b3 = v_load(b + at + 3 * VL) - b_mean
        s0 = s0 + (v_load(a + at) if a != NULL else b0) * b0
        s1 = s1 + (v_load(a + at + VL) if a != NULL else b1) * b1
        s2 = s2 + (v_load(a + at + 2 * VL) if a != NULL else b2) * b2
        s3 = s3 + (v_load(a + at + 3 * VL) if a != NULL else b3) * b3
    for r in range(rows // 4 * 4, rows):
        b0 = v_load(b + r * VL) - b_mean
        s0 = s0 + (v_load(a + r * VL) if a != NULL else b0) * b0
    return (s0 + s1) + (s2 + s3)


cdef inline vec mean_of_products(const real *a, const real *b, vec b_mean, long rows) noexcept nogil:
    cdef vec s = v_zero()
    cdef long k, at
    for k in range(blocks(rows, MAX_BLOCK_ROWS)):
        at = k * MAX_BLOCK_ROWS * VL
        s = s + sum_products(a + at if a != NULL else NULL, b + at, b_mean, least(MAX_BLOCK_ROWS, rows - k * MAX_BLOCK_ROWS))
    return s / v_splat(<real>rows)


cdef inline void normalise(const real *x, real *z, vec mean, vec factor, vec gamma, vec beta, long rows) noexcept nogil:
    cdef long r
    for r in range(rows):
        v_store(z + r * VL, gamma * ((v_load(x + r * VL) - mean) * factor) + beta)


cdef inline void batch_norm(const Plan *plan, const Layer *layer, const real *parameters, const real *x, real *arena,
                            long rows, long begin, long end) noexcept nogil:
    """z of the whole batch, panels begin .. end - 1; x in panels. Keeps the features' means and variances."""
    cdef long panel, at
    cdef vec mean, variance
    for panel in range(begin, end):
        at = panel * plan.stride
        mean = mean_of_rows(x + at, rows)
        variance = mean_of_products(NULL, x + at, mean, rows)
        v_store(arena + layer.mean + panel * VL, mean)
        v_store(arena + layer.spread + panel * VL, variance)
        normalise(x + at, arena + layer.z + at, mean, one_over_deviation(layer, variance),
                  panel_of(parameters + layer.weight, panel, layer.outputs),
                  panel_of(parameters + layer.bias, panel, layer.outputs), rows)


cdef inline void batch_norm_slope(const Plan *plan, const Layer *layer, const real *parameters, const real *arena,
                                  const real *x, const real *delta, real *dx, long rows, real *gradient, long begin,
                                  long end) noexcept nogil:
    """dL/dgamma, dL/dbeta (into the flat gradient, or NULL) and dL/dx of the whole batch, panels begin .. end - 1."""
    cdef long panel, at, r, lanes
    cdef vec mean, factor, slope, product, of_slope, scale
    for panel in range(begin, end):
        at = panel * plan.stride
        mean = v_load(arena + layer.mean + panel * VL)
        factor = one_over_deviation(layer, v_load(arena + layer.spread + panel * VL))
        slope = mean_of_rows(delta + at, rows)                              # mean of dL/dz
        product = factor * mean_of_products(delta + at, x + at, mean, rows)     # of dL/dz n
        if gradient != NULL:
            lanes = least(VL, layer.outputs - panel * VL)
            v_store_first(gradient + layer.weight + panel * VL, v_splat(<real>rows) * product, lanes)
            v_store_first(gradient + layer.bias + panel * VL, v_splat(<real>rows) * slope, lanes)
        scale = factor * panel_of(parameters + layer.weight, panel, layer.outputs)
        of_slope = factor * product
        for r in range(rows):
            v_store(dx + at + r * VL, scale * ((v_load(delta + at + r * VL) - slope)
                                               - (v_load(x + at + r * VL) - mean) * of_slope))


cdef inline void batch_norm_by_rows(const Plan *plan, const Layer *layer, const real *parameters, const real *x, real *arena,
                                    long row, long rows) noexcept nogil:
    """z of rows row .. row + rows - 1 of the block by the running statistics; x in panels, from row 0."""
    cdef long panel, at
    for panel in range(panels(layer.outputs)):
        at = panel * plan.stride + row * VL
        normalise(x + at, arena + layer.z + at, panel_of(plan.running + layer.running, panel, layer.outputs),
                  one_over_deviation(layer, panel_of(plan.running + layer.running + layer.outputs, panel, layer.outputs)),
                  panel_of(parameters + layer.weight, panel, layer.outputs),
                  panel_of(parameters + layer.bias, panel, layer.outputs), rows)


cdef inline void batch_norm_slope_by_rows(const Plan *plan, const Layer *layer, const real *parameters, const real *delta,
                                          real *dx, long row, long rows) noexcept nogil:
    """dL/dx of these rows, mean and variance being given; delta and dx in panels, from row 0."""
    cdef const real *variances = plan.running + layer.running + layer.outputs
    cdef long panel, r, at
    cdef vec scale
    for panel in range(panels(layer.outputs)):
        scale = panel_of(parameters + layer.weight, panel, layer.outputs) * one_over_deviation(
            layer, panel_of(variances, panel, layer.outputs))
        for r in range(row, row + rows):
            at = panel * plan.stride + r * VL
            v_store(dx + at, scale * v_load(delta + at))


cdef inline void batch_norm_weights(const Plan *plan, const Layer *layer, const real *x, const real *delta, long row, long rows,
                                    bint resume, real *gradient, int part, int parts) noexcept nogil:
    """dL/dgamma (O,), summed over these rows, mean and variance being given; a part takes panels."""
    cdef const real *running = plan.running + layer.running
    cdef long panel, k, at, lanes
    cdef vec s, mean, factor
    for panel in range(share(panels(layer.outputs), part, parts), share(panels(layer.outputs), part + 1, parts)):
        lanes = least(VL, layer.outputs - panel * VL)
        mean = panel_of(running, panel, layer.outputs)
        factor = one_over_deviation(layer, panel_of(running + layer.outputs, panel, layer.outputs))
        s = v_load_first(gradient + panel * VL, lanes) if resume else v_zero()
        for k in range(blocks(rows, MAX_BLOCK_ROWS)):
            at = panel * plan.stride + (row + k * MAX_BLOCK_ROWS) * VL
            s = s + factor * sum_products(delta + at, x + at, mean, least(MAX_BLOCK_ROWS, rows - k * MAX_BLOCK_ROWS))
        v_store_first(gradient + panel * VL, s, lanes)


cdef inline vec normalised(const Plan *plan, const Layer *layer, const real *arena, vec x, long panel,
                           long row) noexcept nogil:
    """n of a panel of a row of the block, after its forward pass; of a batch norm by the running statistics."""
    cdef const real *running = plan.running + layer.running
    if layer.kind == LAYER_NORM:
        return (x - v_splat(arena[layer.mean + row])) * v_splat(arena[layer.spread + row])
    return (x - panel_of(running, panel, layer.outputs)) * one_over_deviation(
        layer, panel_of(running + layer.outputs, panel, layer.outputs))


# ---------------------------------------------------------------- running statistics

cdef inline bint statistics_in_range(const Plan *plan, const real *arena) noexcept nogil:
    """Whether what the batch norms took of a batch may enter the running statistics."""
    cdef const Layer *layer
    cdef vec a
    cdef long panel
    cdef int l
    for l in range(plan.n_layers):
        layer = &plan.layers[l]
        if of_whole_batch(plan, l):
            for panel in range(panels(layer.outputs)):
                a = v_max(v_abs(v_load(arena + layer.mean + panel * VL)), v_load(arena + layer.spread + panel * VL))
                a = within(a, panel, layer.outputs)
                if not v_largest(a) < LARGEST_STATISTIC:
                    return False
    return True


cdef inline void keep_statistics(const Plan *plan, const real *arena, long rows) noexcept nogil:
    """running <- (1 - momentum) running + momentum batch's, of variances the unbiased ones. For a step that was taken."""
    cdef const Layer *layer
    cdef real *running
    cdef double m, unbiased = rows / (rows - 1.0)
    cdef long i
    cdef int l
    for l in range(plan.n_layers):
        layer = &plan.layers[l]
        if of_whole_batch(plan, l):
            running = plan.running + layer.running
            m = layer.momentum
            for i in range(layer.outputs):
                running[i] = <real>((1 - m) * running[i] + m * arena[layer.mean + i])
                running[layer.outputs + i] = <real>(
                    (1 - m) * running[layer.outputs + i] + m * unbiased * arena[layer.spread + i])
