"""The formulas that a trace prints, in NumPy's words: `y`, `z` and `t` stand for the arrays of those names, `*` is
elementwise, `W x` a matrix product, `^T` a transpose, and what follows `;` defines an abbreviation. A test evaluates
each of them."""

from .layers import Activation, BatchNorm, Dense, Dropout

# name: (z from y, dz/dy): h(y) and h'(y), softmax's being the whole Jacobian
ACTIVATIONS = {
    "identity": ("{y}", "1"),
    "relu": ("max(0, {y})", "where({y} > 0, 1, 0)"),
    "leaky_relu": ("where({y} > 0, {y}, 0.01 * {y})", "where({y} > 0, 1, 0.01)"),
    "elu": ("where({y} > 0, {y}, exp({y}) - 1)", "where({y} > 0, 1, {z} + 1)"),
    "selu": (
        "1.0507009873554805 * where({y} > 0, {y}, 1.6732632423543772 * (exp({y}) - 1))",
        "where({y} > 0, 1.0507009873554805, {z} + 1.0507009873554805 * 1.6732632423543772)",
    ),
    "gelu": (
        "{y} * (1 + erf({y} / sqrt(2))) / 2",
        "(1 + erf({y} / sqrt(2))) / 2 + {y} * exp(-{y}^2 / 2) / sqrt(2 * pi)",
    ),
    "gelu_tanh": (
        "{y} * (1 + s) / 2; s = tanh(sqrt(2 / pi) * ({y} + 0.044715 * {y}^3))",
        "(1 + s) / 2 + {y} * (1 - s^2) / 2 * sqrt(2 / pi) * (1 + 3 * 0.044715 * {y}^2)"
        "; s = tanh(sqrt(2 / pi) * ({y} + 0.044715 * {y}^3))",
    ),
    "silu": ("{y} / (1 + exp(-{y}))", "s * (1 + {y} * (1 - s)); s = 1 / (1 + exp(-{y}))"),
    "softplus": ("log(1 + exp({y}))", "1 / (1 + exp(-{y}))"),
    "sigmoid": ("1 / (1 + exp(-{y}))", "{z} * (1 - {z})"),
    "hard_sigmoid": ("min(1, max(0, {y} / 6 + 1 / 2))", "where(abs({y}) < 3, 1 / 6, 0)"),
    "tanh": ("tanh({y})", "1 - {z}^2"),
    "softsign": ("{y} / (1 + abs({y}))", "1 / (1 + abs({y}))^2"),
    "exp": ("exp({y})", "{z}"),
    "softmax": ("exp({y}) / sum(exp({y}))", "diag({z}) - {z} {z}^T"),
}

# name: (L, dL/dz), or (L, dL/dy) of the three losses from logits, whose {p} is softmax, sigmoid or exp of y and whose
# {error} is p - t. {share} divides by the number of outputs where there are several, {mass} multiplies by the sum of t
# where that may differ from 1, {a} is the loss's parameter.
LOSSES = {
    "mse": ("mean(({z} - t)^2)", "2 * ({z} - t){share}"),
    "mae": ("mean(abs({z} - t))", "sign({z} - t){share}"),
    "huber": (
        "mean(where(abs({z} - t) <= {a}, ({z} - t)^2 / 2, {a} * (abs({z} - t) - {a} / 2)))",
        "min({a}, max(-{a}, {z} - t)){share}",
    ),
    "quantile": (
        "mean(max({a} * (t - {z}), ({a} - 1) * (t - {z})))",
        "where({z} > t, 1 - {a}, where({z} < t, -{a}, 0)){share}",
    ),
    "poisson": ("mean({p} - t * {y})", "{error}{share}"),
    "cross_entropy": ("-sum(t * log({p}))", "{mass}{p} - t"),
    "binary_cross_entropy": ("-mean(t * log({p}) + (1 - t) * log(1 - {p}))", "{error}{share}"),
    "hinge": ("mean(max(0, 1 - t * {z}))", "where(t * {z} < 1, -t, 0){share}"),
    "class_hinge": (
        "sum((1 - t) * max(0, 1 + {z} - sum(t * {z}))){share}",
        "(m - t * sum(m)){share}; m = where((1 - t) * (1 + {z} - sum(t * {z})) > 0, 1, 0)",
    ),
}


def of_activation(name, k):
    """z and dz/dy of layer k."""
    return tuple(formula.format(y=f"y{k}", z=f"z{k}") for formula in ACTIVATIONS[name])


def of_loss(loss, code_name, layers, n_outputs, label):
    """L and its derivative for a loss of fastbp; `label` is None or the class of the sample."""
    k = len(layers)
    y, z = f"y{k}" if isinstance(layers[-1], Dense) else input_of(k), f"z{k}"
    p = z if layers[-1].activation == loss.default_output else f"{loss.default_output}({y})"
    words = {
        "y": y,
        "z": z,
        "p": p,
        "a": repr(loss.parameter),
        "share": "" if n_outputs == 1 else f" / {n_outputs}",
        "error": f"{p} - t" if n_outputs == 1 else f"({p} - t)",
        "mass": "" if label is not None else "sum(t) * ",
    }
    return tuple(formula.format_map(words) for formula in LOSSES[code_name])


def of_own_loss(loss, k):
    """t, L and dL/dz of layer k, for a loss object of the user's."""
    call = f"{type(loss).__name__}.value_and_delta(z{k}, t)"
    return "y", f"{call}[0]", f"{call}[1]"


def of_target(loss, label, n_outputs):
    """t, as the loss takes it, from the target y of the sample, or from its class."""
    t = "y" if label is None else f"one_hot({label})"
    if loss.name == "cross_entropy" and loss.parameter:
        return f"(1 - {loss.parameter!r}) * {t} + {loss.parameter!r} / {n_outputs}"
    return t


def of_activation_alone(name, k):
    """z and dz/dx of layer k, an Activation."""
    return tuple(formula.format(y=input_of(k), z=f"z{k}") for formula in ACTIVATIONS[name])


def deviation_of(layer, k):
    """What a norm divides by."""
    if isinstance(layer, BatchNorm):
        return f"sqrt(v{k} + {layer.eps!r})"
    return f"sqrt(mean(({input_of(k)} - mean({input_of(k)}))^2) + {layer.eps!r})"


def forward(layers, widths):
    """(name, formula, shape) of y1, z1, y2, z2 ..."""
    for k, layer in enumerate(layers, 1):
        x, shape = input_of(k), (widths[k],)
        if isinstance(layer, Dense):
            yield f"y{k}", f"W{k} {x}" + (f" + b{k}" if layer.bias else ""), shape
            yield f"z{k}", of_activation(layer.activation, k)[0], shape
        elif isinstance(layer, Activation):
            yield f"z{k}", of_activation_alone(layer.name, k)[0], shape
        elif isinstance(layer, Dropout):
            yield f"z{k}", x, shape
        else:
            mean = f"m{k}" if isinstance(layer, BatchNorm) else f"mean({x})"
            yield f"n{k}", f"({x} - {mean}) / {deviation_of(layer, k)}", shape
            yield f"z{k}", f"g{k} * n{k} + b{k}", shape


def backward(layers, widths, delta, from_logits):
    """(name, formula, shape) of every partial from the loss back; `delta` is the formula of the loss's derivative."""
    last = len(layers)
    for k in range(last, 0, -1):
        layer, shape = layers[k - 1], (widths[k],)
        if not isinstance(layer, Dense):
            if k < last or not from_logits:
                delta = yield from backward_between(layer, k, shape, delta)
            continue
        if k == last and from_logits:
            yield f"dL/dy{k}", delta, shape
        else:
            full = layer.activation == "softmax"
            _, slope = of_activation(layer.activation, k)
            yield f"dL/dz{k}", delta, shape
            yield f"dz{k}/dy{k}", slope, shape * 2 if full else shape
            yield f"dL/dy{k}", f"(dz{k}/dy{k})^T dL/dz{k}" if full else f"dL/dz{k} * dz{k}/dy{k}", shape
        yield f"dL/dW{k}", f"dL/dy{k} {input_of(k)}^T", (layer.units, widths[k - 1])
        if layer.bias:
            yield f"dL/db{k}", f"dL/dy{k}", shape
        delta = f"W{k}^T dL/dy{k}"
    yield "dL/dx", delta, (widths[0],)


def backward_between(layer, k, shape, delta):
    """The same of layer k, which is not Dense; returns the formula of its dL/dx."""
    yield f"dL/dz{k}", delta, shape
    if isinstance(layer, Dropout):
        return f"dL/dz{k}"
    if isinstance(layer, Activation):
        slope, full = f"dz{k}/d{input_of(k)}", layer.name == "softmax"
        yield slope, of_activation_alone(layer.name, k)[1], shape * 2 if full else shape
        return f"({slope})^T dL/dz{k}" if full else f"dL/dz{k} * {slope}"
    yield f"dL/dg{k}", f"dL/dz{k} * n{k}", shape
    yield f"dL/db{k}", f"dL/dz{k}", shape
    yield f"dL/dn{k}", f"dL/dz{k} * g{k}", shape
    dn = f"dL/dn{k}"
    if isinstance(layer, BatchNorm):
        return f"{dn} / {deviation_of(layer, k)}"
    return f"({dn} - mean({dn}) - n{k} * mean({dn} * n{k})) / {deviation_of(layer, k)}"


def input_of(k):
    """The name of layer k's x."""
    return "x" if k == 1 else f"z{k - 1}"
