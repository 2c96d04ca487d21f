"""The slow twin: every kernel once more in plain NumPy float64. This file is the specification the core is held to.

B batch rows, I inputs, O outputs of a layer; samples are rows, so a layer reads

    y = x W^T + b        x (B, I), W (O, I), b (O,), y (B, O)
    z = h(y)             z (B, O), the next layer's x
"""

import math
from dataclasses import dataclass

import numpy as np

erfc = np.vectorize(math.erfc, otypes=[float])

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017
GELU_SCALE = math.sqrt(2 / math.pi)


# Activations: h(y), and dL/dy = (dz/dy)^T dL/dz


def sigmoid(y):
    e = np.exp(-np.abs(y))
    return np.where(y >= 0, 1, e) / (1 + e)


def gelu(y):  # y P(Y <= y), Y standard normal
    return y * 0.5 * erfc(-y / math.sqrt(2))


def d_gelu(y):
    return 0.5 * erfc(-y / math.sqrt(2)) + y * np.exp(-y * y / 2) / math.sqrt(2 * math.pi)


def gelu_tanh(y):
    return 0.5 * y * (1 + np.tanh(GELU_SCALE * (y + 0.044715 * y**3)))


def d_gelu_tanh(y):
    t = np.tanh(GELU_SCALE * (y + 0.044715 * y**3))
    return 0.5 * (1 + t) + 0.5 * y * (1 - t * t) * GELU_SCALE * (1 + 3 * 0.044715 * y * y)


def d2_gelu_tanh(y):  # h = y (1 + t) / 2, t = tanh u: h'' = t' + y t'' / 2
    du, d2u = GELU_SCALE * (1 + 3 * 0.044715 * y * y), GELU_SCALE * 6 * 0.044715 * y
    t = np.tanh(GELU_SCALE * (y + 0.044715 * y**3))
    return (1 - t * t) * (du + 0.5 * y * (d2u - 2 * t * du * du))


def softmax(y):
    e = np.exp(y - y.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# name: (h(y), h'(y)); softmax has no h', its dz/dy is a matrix
ACTIVATIONS = {
    "identity": (lambda y: y, lambda y: np.ones_like(y)),
    "relu": (lambda y: np.where(y > 0, y, 0), lambda y: np.where(y > 0, 1, 0)),
    "leaky_relu": (lambda y: np.where(y > 0, y, 0.01 * y), lambda y: np.where(y > 0, 1, 0.01)),
    "elu": (
        lambda y: np.where(y > 0, y, np.expm1(np.minimum(y, 0))),
        lambda y: np.exp(np.minimum(y, 0)),
    ),
    "selu": (
        lambda y: SELU_SCALE * np.where(y > 0, y, SELU_ALPHA * np.expm1(np.minimum(y, 0))),
        lambda y: SELU_SCALE * np.where(y > 0, 1, SELU_ALPHA * np.exp(np.minimum(y, 0))),
    ),
    "gelu": (gelu, d_gelu),
    "gelu_tanh": (gelu_tanh, d_gelu_tanh),
    "silu": (lambda y: y * sigmoid(y), lambda y: sigmoid(y) * (1 + y * sigmoid(-y))),
    "softplus": (lambda y: np.maximum(y, 0) + np.log1p(np.exp(-np.abs(y))), sigmoid),
    "sigmoid": (sigmoid, lambda y: sigmoid(y) * sigmoid(-y)),
    "hard_sigmoid": (lambda y: np.clip(y / 6 + 0.5, 0, 1), lambda y: np.where(np.abs(y) < 3, 1 / 6, 0)),
    "tanh": (np.tanh, lambda y: 1 - np.tanh(y) ** 2),
    "softsign": (lambda y: y / (1 + np.abs(y)), lambda y: 1 / (1 + np.abs(y)) ** 2),
    "exp": (np.exp, np.exp),
    "softmax": (softmax, None),
}


def activation_backward(name, y, z, dz):
    """dL/dy (B, O) from dL/dz (B, O)."""
    if name == "softmax":  # dz_i/dy_j = z_i (delta_ij - z_j)
        return z * (dz - (dz * z).sum(axis=1, keepdims=True))
    return dz * ACTIVATIONS[name][1](y)


# name: h''(y), at kinks that of the lines on both sides
CURVATURES = {
    "identity": np.zeros_like,
    "relu": np.zeros_like,
    "leaky_relu": np.zeros_like,
    "elu": lambda y: np.where(y > 0, 0, np.exp(np.minimum(y, 0))),
    "selu": lambda y: SELU_SCALE * SELU_ALPHA * np.where(y > 0, 0, np.exp(np.minimum(y, 0))),
    "gelu": lambda y: (2 - y * y) * np.exp(-y * y / 2) / math.sqrt(2 * math.pi),
    "gelu_tanh": d2_gelu_tanh,
    "silu": lambda y: sigmoid(y) * sigmoid(-y) * (2 + y * (sigmoid(-y) - sigmoid(y))),
    "softplus": lambda y: sigmoid(y) * sigmoid(-y),
    "sigmoid": lambda y: sigmoid(y) * sigmoid(-y) * (sigmoid(-y) - sigmoid(y)),
    "hard_sigmoid": np.zeros_like,
    "tanh": lambda y: -2 * np.tanh(y) * (1 - np.tanh(y) ** 2),
    "softsign": lambda y: -2 * np.sign(y) / (1 + np.abs(y)) ** 3,
    "exp": np.exp,
}


def activation_tangent(name, y, z, ry):
    """R{z}, the derivative of z along a direction, from R{y}."""
    return activation_backward(name, y, z, ry)  # dz/dy is symmetric


def backward_tangent(name, y, z, dz, ry, rdz):
    """R{dL/dy} from dL/dz, R{y} and R{dL/dz}."""
    if name == "softmax":  # dL/dy = z q, q = dL/dz - z . dL/dz
        rz = activation_tangent(name, y, z, ry)
        q = dz - (z * dz).sum(axis=1, keepdims=True)
        rq = rdz - (rz * dz + z * rdz).sum(axis=1, keepdims=True)
        return rz * q + z * rq
    return ACTIVATIONS[name][1](y) * rdz + CURVATURES[name](y) * ry * dz


# Losses: u (B, O) is the output z, or the logits y for LOGIT_LOSSES. Each gives the row losses l (B,) and dl/du (B, O).

LOGIT_LOSSES = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "poisson": "exp"}  # with their outputs


def row_mean(elements, derivatives):
    return elements.mean(axis=1), derivatives / elements.shape[1]


def mse(u, t):
    return row_mean((u - t) ** 2, 2 * (u - t))


def mae(u, t):
    return row_mean(np.abs(u - t), np.sign(u - t))


def huber(u, t, delta=1.0):
    r = u - t
    return row_mean(
        np.where(np.abs(r) <= delta, r * r / 2, delta * (np.abs(r) - delta / 2)),
        np.clip(r, -delta, delta),
    )


def quantile(u, t, q=0.5):
    return row_mean(
        np.maximum(q * (t - u), (q - 1) * (t - u)),
        np.where(t > u, -q, np.where(t < u, 1 - q, 0)),
    )


def poisson(u, t):  # u the log rate
    return row_mean(np.exp(u) - t * u, np.exp(u) - t)


def binary_cross_entropy(u, t):  # -t log s - (1 - t) log(1 - s), s = sigmoid(u)
    return row_mean(np.maximum(u, 0) - u * t + np.log1p(np.exp(-np.abs(u))), sigmoid(u) - t)


def cross_entropy(u, t, label_smoothing=0.0):
    classes = u.shape[1]
    if t.ndim == 1:
        t = np.eye(classes)[t]
    t = (1 - label_smoothing) * t + label_smoothing / classes
    m = u.max(axis=1, keepdims=True)
    log_p = u - m - np.log(np.exp(u - m).sum(axis=1, keepdims=True))
    return -(t * log_p).sum(axis=1), t.sum(axis=1, keepdims=True) * np.exp(log_p) - t


def hinge(u, t):
    if t.ndim == 2:
        return row_mean(np.maximum(0, 1 - t * u), np.where(1 - t * u > 0, -t, 0))
    rows, classes = u.shape  # several classes: sum_{j != t} max(0, 1 + u_j - u_t) / O
    target = np.arange(classes) == t[:, None]
    margin = np.where(target, 0, 1 + u - u[np.arange(rows), t][:, None])
    active = (margin > 0).astype(float)
    return row_mean(np.maximum(0, margin), active - target * active.sum(axis=1, keepdims=True))


LOSSES = {f.__name__: f for f in (mse, mae, huber, quantile, poisson, cross_entropy, binary_cross_entropy, hinge)}


def softmax_curvature(u, t, ru, label_smoothing=0.0):
    """R{softmax(u) sum(t) - t}; smoothing leaves sum(t) as it is."""
    p = softmax(u)
    return (np.ones((len(u), 1)) if t.ndim == 1 else t.sum(axis=1, keepdims=True)) * activation_backward(
        "softmax", u, p, ru
    )


# name: R{dl/du} from R{u}; the other losses are made of straight lines
LOSS_TANGENTS = {
    "mse": lambda u, t, ru: 2 * ru / u.shape[1],
    "huber": lambda u, t, ru, delta=1.0: np.where(np.abs(u - t) < delta, ru, 0) / u.shape[1],
    "poisson": lambda u, t, ru: np.exp(u) * ru / u.shape[1],
    "binary_cross_entropy": lambda u, t, ru: sigmoid(u) * sigmoid(-u) * ru / u.shape[1],
    "cross_entropy": softmax_curvature,
}


# The network: one (W, b, activation) a layer, b None where the layer has no bias


def as_layers(params, sizes, activations, biases):
    """Cut the flat vector W_0, b_0, W_1, b_1 ... into layers of views."""
    layers, at = [], 0
    for i, o, activation, bias in zip(sizes[:-1], sizes[1:], activations, biases, strict=True):
        W = params[at : at + o * i].reshape(o, i)
        b = params[at + o * i : at + o * i + o] if bias else None
        at += o * i + (o if bias else 0)
        layers.append((W, b, activation))
    assert at == len(params)
    return layers


def forward(layers, x):
    """Every layer's (x, y, z)."""
    steps = []
    for W, b, activation in layers:
        y = x @ W.T if b is None else x @ W.T + b
        z = ACTIVATIONS[activation][0](y)
        steps.append((x, y, z))
        x = z
    return steps


def backward(layers, steps, dy):
    """Every layer's (dL/dW, dL/db), and dL/dX, from dL/dy of the last layer."""
    grads = []
    for k in range(len(layers) - 1, -1, -1):
        W, b, _ = layers[k]
        x = steps[k][0]
        dW = dy.T @ x  # y = x W^T + b
        db = None if b is None else dy.sum(axis=0)
        dx = dy @ W
        grads.insert(0, (dW, db))
        if k > 0:
            _, y, z = steps[k - 1]
            dy = activation_backward(layers[k - 1][2], y, z, dx)
    return grads, dx


def biases_of(layers):
    """Whether a number of the flat vector is a bias."""
    parts = [np.full(part.size, k) for W, b, _ in layers for k, part in enumerate((W, b)) if part is not None]
    return np.concatenate(parts) == 1


def loss_and_delta(layers, steps, t, loss, coefficients, **parameters):
    """L = sum_i c_i l_i, and dL/dy (B, O) of the last layer."""
    _, y, z = steps[-1]
    u = y if loss in LOGIT_LOSSES else z
    if t.ndim == 1 and u.shape[1] == 1 and loss != "cross_entropy":
        t = t[:, None]
    row_losses, du = LOSSES[loss](u, t, **parameters)
    du = coefficients[:, None] * du
    return coefficients @ row_losses, du if loss in LOGIT_LOSSES else activation_backward(layers[-1][2], y, z, du)


def predict(layers, X):
    return forward(layers, X)[-1][2]


def loss_and_grad(layers, X, t, loss, sample_weight=None, coefficients=None, **parameters):
    """L, its flat gradient, and dL/dX. Coefficients of the rows: w / sum(w) unless given."""
    if coefficients is None:
        w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
        coefficients = w / w.sum()
    steps = forward(layers, X)
    value, dy = loss_and_delta(layers, steps, t, loss, coefficients, **parameters)
    grads, dX = backward(layers, steps, dy)
    flat = np.concatenate([part.ravel() for pair in grads for part in pair if part is not None])
    return value, flat, dX


def output_of(loss, y, z):
    """What a loss is computed from."""
    return y if loss in LOGIT_LOSSES else z


def hvp(layers, X, t, loss, directions, sample_weight=None, **parameters):
    """The Hessian of the mean loss times a vector, whose parts V and c for each W and b are `directions`. Flat.

    R{.} of every line of `forward`, `loss_and_delta` and `backward` (Pearlmutter, 1994). Targets may be NaN: missing.
    """
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
    outputs = layers[-1][0].shape[0]
    if t.ndim == 1 and outputs == 1 and loss != "cross_entropy":
        t = t[:, None]
    share = w[:, None] * np.broadcast_to(~np.isnan(t if t.ndim == 2 else t[:, None]), (len(X), outputs))
    coefficients, t = outputs * share / share.sum(), np.nan_to_num(t)  # what is missing has no part in sum and mean
    steps, tangents, rx = forward(layers, X), [], np.zeros_like(X)
    for (W, _, activation), (x, y, z), (V, c) in zip(layers, steps, directions, strict=True):
        ry = x @ V.T + rx @ W.T + (0 if c is None else c)  # y = W x + b
        rz = activation_tangent(activation, y, z, ry)
        tangents.append((rx, ry))
        rx = rz
    _, y, z = steps[-1]
    ry, rz = tangents[-1][1], rx
    u, ru = output_of(loss, y, z), output_of(loss, ry, rz)
    dz = coefficients * LOSSES[loss](u, t, **parameters)[1]
    rdz = np.zeros_like(u)
    if loss in LOSS_TANGENTS:
        rdz = coefficients * LOSS_TANGENTS[loss](u, t, ru, **parameters)
    products = []
    for k in range(len(layers) - 1, -1, -1):
        W, b, activation = layers[k]
        x, y, z = steps[k]
        rx, ry = tangents[k]
        if k == len(layers) - 1 and loss in LOGIT_LOSSES:
            dy, rdy = dz, rdz
        else:
            dy = activation_backward(activation, y, z, dz)
            rdy = backward_tangent(activation, y, z, dz, ry, rdz)
        if b is not None:
            products.insert(0, rdy.sum(axis=0))  # db = dy
        products.insert(0, (rdy.T @ x + dy.T @ rx).ravel())  # dW = dy x^T
        dz, rdz = dy @ W, rdy @ W + dy @ directions[k][0]  # dx = W^T dy
    return np.concatenate(products)


def row_gradients(layers, steps, dy):
    """What `backward` gives, of every row alone: (B, n_params) and (B, I)."""
    parts = []
    for k in range(len(layers) - 1, -1, -1):
        W, b, _ = layers[k]
        if b is not None:
            parts.insert(0, dy)
        parts.insert(0, (dy[:, :, None] * steps[k][0][:, None, :]).reshape(len(dy), -1))
        dx = dy @ W
        if k > 0:
            _, y, z = steps[k - 1]
            dy = activation_backward(layers[k - 1][2], y, z, dx)
    return np.hstack(parts), dx


def per_sample_grads(layers, X, t, loss, **parameters):
    """The gradient (B, n_params) of every row's own loss."""
    steps = forward(layers, X)
    _, dy = loss_and_delta(layers, steps, t, loss, np.ones(len(X)), **parameters)
    return row_gradients(layers, steps, dy)[0]


def jacobians(layers, X):
    """dz/dx (B, O, I) and dz/dparams (B, O, n_params)."""
    steps = forward(layers, X)
    _, y, z = steps[-1]
    lines = [
        row_gradients(layers, steps, activation_backward(layers[-1][2], y, z, np.tile(dz, (len(X), 1))))
        for dz in np.eye(z.shape[1])
    ]
    by_params, by_inputs = zip(*lines, strict=True)
    return np.stack(by_inputs, axis=1), np.stack(by_params, axis=1)


# Optimisers, as in torch.optim: step(p, g, biases) changes the flat parameters p in place; `biases` is True where p has
# a bias


@dataclass(kw_only=True)
class FirstOrder:
    lr: float
    weight_decay: float = 0.0
    l1: float = 0.0
    decay_bias: bool = True
    clip_norm: float | None = None
    clip_value: float | None = None
    decoupled = False
    t = 0  # steps

    def step(self, p, g, biases):
        if self.clip_norm is not None:
            g = g * min(1, self.clip_norm / (np.linalg.norm(g) + 1e-6))
        if self.clip_value is not None:
            g = np.clip(g, -self.clip_value, self.clip_value)
        penalised = np.where(biases, self.decay_bias, True)
        g = g + penalised * self.l1 * np.sign(p)
        if self.decoupled:
            p *= 1 - penalised * self.lr * self.weight_decay
        else:
            g = g + penalised * self.weight_decay * p
        self.t += 1
        self.update(p, g)


@dataclass(kw_only=True)
class SGD(FirstOrder):
    momentum: float = 0.0
    nesterov: bool = False
    velocity: float | np.ndarray = 0.0

    def update(self, p, g):
        self.velocity = self.momentum * self.velocity + g
        p -= self.lr * (g + self.momentum * self.velocity if self.nesterov else self.velocity)


@dataclass(kw_only=True)
class WithMeans(FirstOrder):
    betas: tuple = (0.9, 0.999)
    eps: float = 1e-8
    m: float | np.ndarray = 0.0
    v: float | np.ndarray = 0.0

    def means(self, g):
        """The mean of g, and the root of the mean of g^2 that its bias is taken out of."""
        b1, b2 = self.betas
        self.m = b1 * self.m + (1 - b1) * g
        self.v = b2 * self.v + (1 - b2) * g * g
        return self.m, np.sqrt(self.v / (1 - b2**self.t))


@dataclass(kw_only=True)
class Adam(WithMeans):
    lr: float = 1e-3
    amsgrad: bool = False
    largest_root: float | np.ndarray = 0.0

    def update(self, p, g):
        m, root = self.means(g)
        if self.amsgrad:  # the largest v, divided by the correction of this step
            correction = math.sqrt(1 - self.betas[1] ** self.t)
            self.largest_root = np.maximum(self.largest_root, root * correction)
            root = self.largest_root / correction
        p -= self.lr * m / (1 - self.betas[0] ** self.t) / (root + self.eps)


@dataclass(kw_only=True)
class AMSGrad(Adam):
    amsgrad: bool = True


@dataclass(kw_only=True)
class AdamW(Adam):
    weight_decay: float = 1e-2
    decoupled = True


@dataclass(kw_only=True)
class NAdam(WithMeans):
    lr: float = 2e-3
    momentum_decay: float = 4e-3

    def update(self, p, g):
        mu = self.betas[0] * (1 - 0.5 * 0.96 ** (np.arange(1, self.t + 2) * self.momentum_decay))
        m, root = self.means(g)
        p -= self.lr * (1 - mu[-2]) / (1 - np.prod(mu[:-1])) * g / (root + self.eps)
        p -= self.lr * mu[-1] / (1 - np.prod(mu)) * m / (root + self.eps)


@dataclass(kw_only=True)
class RMSprop(FirstOrder):
    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    v: float | np.ndarray = 0.0
    mean: float | np.ndarray = 0.0
    buffer: float | np.ndarray = 0.0

    def update(self, p, g):
        self.v = self.alpha * self.v + (1 - self.alpha) * g * g
        self.mean = self.alpha * self.mean + (1 - self.alpha) * g
        variance = np.maximum(self.v - self.mean**2, 0) if self.centered else self.v
        self.buffer = self.momentum * self.buffer + g / (np.sqrt(variance) + self.eps)
        p -= self.lr * self.buffer


@dataclass(kw_only=True)
class Adagrad(FirstOrder):
    lr: float = 1e-2
    lr_decay: float = 0.0
    eps: float = 1e-10
    initial_accumulator_value: float = 0.0
    added: float | np.ndarray = 0.0

    def update(self, p, g):
        self.added = self.added + g * g
        root = np.sqrt(self.initial_accumulator_value + self.added)
        p -= self.lr / (1 + (self.t - 1) * self.lr_decay) * g / (root + self.eps)


@dataclass(kw_only=True)
class Rprop(FirstOrder):
    lr: float = 1e-2
    etas: tuple = (0.5, 1.2)
    step_sizes: tuple = (1e-6, 50.0)
    before: float | np.ndarray = 0.0
    sizes: float | np.ndarray | None = None

    def update(self, p, g):
        turn = np.sign(g * self.before)
        sizes = self.lr if self.sizes is None else self.sizes
        self.sizes = np.clip(sizes * np.choose(turn.astype(int) + 1, (self.etas[0], 1, self.etas[1])), *self.step_sizes)
        self.before = np.where(turn < 0, 0, g)
        p -= np.sign(self.before) * self.sizes


OPTIMIZERS = {cls.__name__: cls for cls in (SGD, Adam, AMSGrad, AdamW, NAdam, RMSprop, Adagrad, Rprop)}


def permutation(seed, n):
    """The order of n rows that an epoch takes: row k changes places with one of rows 0 to k, by splitmix64."""
    x = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ x >> np.uint64(shift)) * np.uint64(factor)
    x ^= x >> np.uint64(31)
    order = np.arange(n)
    for k, share in enumerate((x >> np.uint64(11)) / 2.0**53):
        place = math.floor(share * (k + 1))
        order[k], order[place] = order[place], k
    return order


def fit(params, layers, X, t, loss, optimizer, *, epochs, batch_size, sample_weight=None, **parameters):
    """Train in the order of the rows; `layers` are views of `params`. Returns every epoch's loss."""
    n = len(X)
    w = np.ones(n) if sample_weight is None else np.asarray(sample_weight, float)
    w = w * n / w.sum()  # mean 1 over the data set; a batch divides by its rows
    history = []
    for _ in range(epochs):
        total = 0.0
        for at in range(0, n, batch_size):
            rows = slice(at, min(at + batch_size, n))
            size = rows.stop - rows.start
            value, g, _ = loss_and_grad(layers, X[rows], t[rows], loss, coefficients=w[rows] / size, **parameters)
            optimizer.step(params, g, biases_of(layers))
            total += size * value
        history.append(total / n)
    return history
