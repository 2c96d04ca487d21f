# ruff: noqa: E501
"""Single errors for tests/planted_errors.py to plant: (name, file in src, text, text in its place).

The text must stand in the file exactly once. An error that the gradient check cannot see by its nature (it never calls
the update, the shuffle, or predict) has to be found by the test suite.
"""

PLANTED = [
    # forward
    ("bias lost in forward", "pack.pxd", "        if layer.bias >= 0:\n            v_store(bias + o,", "        if False:\n            v_store(bias + o,"),
    ("bias lost on one row", "row.pxd", "            y[o] += parameters[layer.bias + o]", "            y[o] += 0"),
    ("later depth blocks start from the bias", "forward.pxd", "arena + layer.bias_lanes + o if k == 0 else NULL", "arena + layer.bias_lanes + o"),
    ("bias of the sliver before", "forward.pxd", "arena + layer.bias_lanes + o if", "arena + layer.bias_lanes + o // 2 if"),
    ("relu floor in every depth block", "forward.pxd", "activation == RELU and k + depth == I else", "activation == RELU else"),
    ("last input left out", "forward.pxd", "depth = least(KC, I - k)", "depth = least(KC, I - k - (1 if I > 1 else 0))"),
    ("tail of a dot product dropped", "row.pxd", "        s = s + v_load_first(w + i, n - i) * v_load(x + i)", "        s = s"),
    ("last output of four off by one", "row.pxd", "        y[o + 3] = v_sum(s3)", "        y[o + 3] = v_sum(s2)"),
    ("activation before the last depth block", "forward.pxd", "if k + depth == I and activation != RELU:", "if activation != RELU:"),
    ("tile rows off by one", "tile.h", "        rows -= n, a += n * VL, c += n * VL;", "        rows -= n, a += n * VL, c += n * VL + (rows == 1);"),
    ("weights packed with a wrong tail", "pack.pxd", "                            least(VL, layer.inputs - i * VL), sliver", "                            least(VL, layer.inputs - i * VL) & ~1, sliver"),
    # activations and their slopes
    ("leaky_relu slope 1", "activations.pxd", "        return v_where_less(v_zero(), z, one, v_splat(LEAKY_SLOPE))", "        return one"),
    ("relu slope passes negatives", "activations.pxd", "        return v_where_less(v_zero(), z, one, v_zero())", "        return one"),
    ("elu slope lacks 1", "activations.pxd", "return v_where_less(z, v_zero(), z + ONE, one)", "return v_where_less(z, v_zero(), z, one)"),
    ("selu slope lacks scale", "activations.pxd", "v_splat(SELU_SCALE), z + SELU_SCALE * SELU_ALPHA)", "one, z + SELU_SCALE * SELU_ALPHA)"),
    ("gelu slope sign", "activations.pxd", "return normal_cdf(y) + y * INV_SQRT_2PI", "return normal_cdf(y) - y * INV_SQRT_2PI"),
    ("gelu_tanh cubic factor", "activations.pxd", "#define GELU_CUBIC_3 ((real)0.134145)", "#define GELU_CUBIC_3 ((real)0.044715)"),
    ("silu slope", "activations.pxd", "return s + s * y * (ONE - s)", "return s + y * (ONE - s)"),
    ("sigmoid slope sign", "activations.pxd", "        return z * (ONE - z)", "        return z * (z - ONE)"),
    ("hard_sigmoid slope above 3", "activations.pxd", "v_where_less(z, one, v_splat(SIXTH), v_zero()), v_zero())", "v_splat(SIXTH), v_zero())"),
    ("tanh slope", "activations.pxd", "        return ONE - z * z\n", "        return ONE - z\n"),
    ("softsign slope not squared", "activations.pxd", "        return s * s\n", "        return s\n"),
    ("softmax without its off-diagonal", "activations.pxd", "(v_load(delta + r * VL + j * stride) - total))", "v_load(delta + r * VL + j * stride))"),
    ("softmax sums lanes past the width", "activations.pxd", "e = v_where_first(least(VL, width - j * VL), v_exp(v_load(y + r * VL + j * stride) - shift), v_zero())", "e = v_exp(v_load(y + r * VL + j * stride) - shift)"),
    ("tanh sign lost", "transcendental.h", "return v_copysign(e / (e + 2), x);", "return e / (e + 2);"),
    ("erf off by a thousandth below 1", "transcendental.h", "const vec small = x * POLYNOMIAL(a * a, ERF_SMALL_COEFFICIENTS);", "const vec small = x * POLYNOMIAL(a * a, ERF_SMALL_COEFFICIENTS) * (real)1.001;"),
    # losses
    ("mse slope lacks 2", "losses.pxd", "        return 2 * d", "        return d"),
    ("mae slope sign", "losses.pxd", "-one, v_where_less(v_zero(), d, one, v_zero()))", "one, v_where_less(v_zero(), d, -one, v_zero()))"),
    ("huber slope not clipped below", "losses.pxd", "return v_max(-parameter, v_min(parameter, d))", "return v_min(parameter, d)"),
    ("quantile sides swapped", "losses.pxd", "-parameter, v_where_less(v_zero(), d, ONE - parameter, v_zero()))", "parameter - ONE, v_where_less(v_zero(), d, parameter, v_zero()))"),
    ("poisson forgets t", "losses.pxd", "        return v_exp(z) - t\n", "        return v_exp(z)\n"),
    ("cross-entropy doubles the softmax", "losses.pxd", "share = scale * v_splat(v_sum(total_weight)) / exponentials", "share = 2 * scale / exponentials"),
    ("hinge slope beyond the margin", "losses.pxd", "return v_where_less(t * z, one, -t, v_zero())", "return -t"),
    ("class hinge lacks the own class", "losses.pxd", "v_load(delta + at) - scale * count * v_load(t + at))", "v_load(delta + at))"),
    ("missing 1/n", "step.pxd", "    cdef double loss = 0, scale = per_row(plan) / total_weight\n    cdef long block, begin, n\n    for block in range(blocks(rows, plan.block_rows)):\n        begin = first + block * plan.block_rows\n        n = least(plan.block_rows, first + rows - begin)\n        take_block(plan, data, arena, begin, n, scale)\n        forward(plan, parameters, arena, n, plan.from_logits)\n        loss += loss_and_delta(plan, arena, n, arena + plan.delta)", "    cdef double loss = 0, scale = per_row(plan)\n    cdef long block, begin, n\n    for block in range(blocks(rows, plan.block_rows)):\n        begin = first + block * plan.block_rows\n        n = least(plan.block_rows, first + rows - begin)\n        take_block(plan, data, arena, begin, n, scale)\n        forward(plan, parameters, arena, n, plan.from_logits)\n        loss += loss_and_delta(plan, arena, n, arena + plan.delta)"),
    ("missing 1/O", "step.pxd", "    return 1.0 / plan.layers[plan.n_layers - 1].outputs", "    return 1.0"),
    ("sample weights ignored", "step.pxd", "            scales[r] *= data.weights[", "            scales[r] *= 0 * data.weights["),
    ("label smoothing off by s/O", "step.pxd", "cdef real on = 1 - plan.loss_parameter + off if", "cdef real on = 1 - plan.loss_parameter if"),
    # backward
    ("bias gradient drops three of four sums", "backward.pxd", "(s0 + s1) + (s2 + s3), lanes)", "s0, lanes)"),
    ("bias gradient leaves out the last rows", "backward.pxd", "for r in range(rows // 4 * 4, rows):", "for r in range(rows // 4 * 4, rows - 1):"),
    ("bias gradient of later blocks overwrites", "backward.pxd", "lanes) if resume else v_zero()", "lanes) if False else v_zero()"),
    ("weight gradient of later blocks overwrites", "backward.pxd", "stride, rows, resume, gradient + o * I + i, I,", "stride, rows, False, gradient + o * I + i, I,"),
    ("weight gradient lacks a row", "backward.pxd", "x + i // VL * stride, stride, rows, resume,", "x + i // VL * stride, stride, rows - (1 if rows > 1 else 0), resume,"),
    ("weight gradient from the layer's own output", "backward.pxd", "weight_gradient(layer, delta, layer_input(plan, arena, l),", "weight_gradient(layer, delta, layer_input(plan, arena, l if l == 0 else l - 1),"),
    ("input gradient lacks the last output", "backward.pxd", "        depth = least(KC, O - o)\n", "        depth = least(KC, O - o - (1 if O > 1 else 0))\n"),
    ("input gradient starts afresh in every depth block", "backward.pxd", "e.start = zero_lanes if o == 0 else NULL", "e.start = zero_lanes"),
    ("activation slope of the layer above", "backward.pxd", "through_activation(plan, &plan.layers[l - 1], arena, dx, rows)", "through_activation(plan, &plan.layers[l], arena, dx, rows)"),
    ("output slope left out", "backward.pxd", "    if not plan.from_logits:\n", "    if False:\n"),
    ("output slope taken twice", "backward.pxd", "    if not plan.from_logits:\n", "    if True:\n"),
    ("buffers of delta do not take turns", "backward.pxd", "            dx = spare\n", "            dx = delta\n"),
    ("stale W in backward", "pack.pxd", "if backward and (l > 0 or input_gradient):", "if backward and l > 1:"),
    ("swapped index in packed W", "pack.pxd", "v_load_first(W + o * layer.inputs + i, width))", "v_load_first(W + i * layer.outputs + o, width))"),
    ("input gradient of one row lacks its tail", "row.pxd", "    for chunk in range(I // (4 * VL) * 4, panels(I)):", "    for chunk in range(I // (4 * VL) * 4, I // VL):"),
    ("row tail of a weight-gradient tile", "tile.h", "    const long tail = lanes - (V - 1) * VL; /* lanes of the last vector */", "    const long tail = lanes - (V - 1) * VL - (lanes > (V - 1) * VL + 1);"),
    # updates and data
    ("weight decay sign", "optimizers.pxd", "        g = v_load(gradient + i * VL) + decay * x\n        if o.momentum != 0:", "        g = v_load(gradient + i * VL) - decay * x\n        if o.momentum != 0:"),
    ("nesterov looks one step less ahead", "optimizers.pxd", "g = g + mu * v if o.nesterov else v", "g = v if o.nesterov else v"),
    ("adam without the second correction", "optimizers.pxd", "root = v_splat(<real>(1 / sqrt(correction2)))", "root = v_splat(<real>1)"),
    ("one-row update leaves out the last bias", "step.pxd", "row_update(o, parameters + layer.bias, delta, 1, layer.outputs, largest)", "row_update(o, parameters + layer.bias, delta, 1, layer.outputs - 1, largest)"),
    ("shuffled rows with unshuffled labels", "step.pxd", "label = data.labels[data.order[first + r] if data.order != NULL else first + r]", "label = data.labels[first + r]"),
    ("rows of the first block again", "pack.pxd", "(order[first + r] if order != NULL else first + r) * columns", "(order[first + r] if order != NULL else r) * columns"),
]  # fmt: skip
