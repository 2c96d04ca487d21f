"""The slow twin of what may stand between Dense layers, and of a network with such layers; plain NumPy, float64.

Samples are rows: x, z (B, O). Each layer's `forward` keeps what its `backward` needs; that returns dL/dx, and leaves
dL/dW, dL/db (of a norm dL/dgamma, dL/dbeta) in `gradients`.

R{.} is the derivative along a direction, whose part for the layer's W and b (gamma and beta) is V and c. After a
`forward` of evaluation `forward_tangent` gives R{z} from R{x}, and `backward_tangent` dL/dx and R{dL/dx} from dL/dz and
R{dL/dz}; it leaves R{dL/dW}, R{dL/db} in `gradients`.
"""

import numpy as np
import reference

WORD = (1 << 64) - 1


def mixed_with(bits, number):
    """splitmix64 (Steele, Lea and Flood, 2014): the state `number + 1` steps on, finalised. Python's integers."""
    x = (bits + (number + 1) * 0x9E3779B97F4A7C15) & WORD
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & WORD
    return x ^ x >> 31


def hashes(key, draw, layer, row, width):
    """(width,) signed 32-bit hashes of a row's features."""
    bits = mixed_with(mixed_with(mixed_with(key, draw), layer), row)
    n = np.arange(width, dtype=np.uint32) + np.uint32(bits & 0xFFFFFFFF)
    n = (n ^ n >> np.uint32(16)) * np.uint32(0x7FEB352D) ^ np.uint32(bits >> 32)
    n = (n ^ n >> np.uint32(15)) * np.uint32(0x846CA68B)
    return n.view(np.int32)


def kept(key, draw, layer, rows, width, p):
    """(rows, width) of bool: what a step does not drop."""
    limit = int(p * 2.0**32 - 2.0**31)
    return np.array([hashes(key, draw, layer, row, width) >= limit for row in range(rows)])


class Dense:
    def __init__(self, W, b, activation):
        self.W, self.b, self.activation = W, b, activation

    def logits(self, x):
        return x @ self.W.T if self.b is None else x @ self.W.T + self.b

    def forward(self, x, training):
        self.x, self.y = x, self.logits(x)
        self.z = reference.ACTIVATIONS[self.activation][0](self.y)
        return self.z

    def backward(self, dz):
        return self.backward_from_y(reference.activation_backward(self.activation, self.y, self.z, dz))

    def backward_from_y(self, dy):
        self.gradients = (dy.T @ self.x, None if self.b is None else dy.sum(axis=0))
        return dy @ self.W

    def forward_tangent(self, rx, V, c):
        self.rx, self.V = rx, V
        self.ry = self.x @ V.T + rx @ self.W.T + (0 if c is None else c)
        return reference.activation_tangent(self.activation, self.y, self.z, self.ry)

    def backward_tangent(self, dz, rdz):
        dy = reference.activation_backward(self.activation, self.y, self.z, dz)
        return self.tangent_from_y(dy, reference.backward_tangent(self.activation, self.y, self.z, dz, self.ry, rdz))

    def tangent_from_y(self, dy, rdy):
        self.gradients = (rdy.T @ self.x + dy.T @ self.rx, None if self.b is None else rdy.sum(axis=0))
        return dy @ self.W, rdy @ self.W + dy @ self.V


class Activation:
    gradients = (None, None)

    def __init__(self, activation):
        self.activation = activation

    def forward(self, x, training):
        self.y, self.z = x, reference.ACTIVATIONS[self.activation][0](x)
        return self.z

    def backward(self, dz):
        return reference.activation_backward(self.activation, self.y, self.z, dz)

    def backward_from_y(self, dy):
        return dy

    def forward_tangent(self, rx, V, c):
        self.ry = rx
        return reference.activation_tangent(self.activation, self.y, self.z, rx)

    def backward_tangent(self, dz, rdz):
        dy = reference.activation_backward(self.activation, self.y, self.z, dz)
        return dy, reference.backward_tangent(self.activation, self.y, self.z, dz, self.ry, rdz)

    def tangent_from_y(self, dy, rdy):
        return dy, rdy


class Dropout:
    gradients = (None, None)

    def __init__(self, p, *mask):
        self.p, self.mask = p, mask

    def forward(self, x, training):
        self.factor = kept(*self.mask, *x.shape, self.p) / (1 - self.p) if training else np.ones_like(x)
        return x * self.factor

    def backward(self, dz):
        return dz * self.factor

    def forward_tangent(self, rx, V, c):
        return rx

    def backward_tangent(self, dz, rdz):
        return dz, rdz


class LayerNorm:
    axis = 1

    def __init__(self, gamma, beta, eps):
        self.gamma, self.beta, self.eps = gamma, beta, eps

    def forward(self, x, training):
        self.centred = x - x.mean(axis=self.axis, keepdims=True)
        self.deviation = np.sqrt((self.centred**2).mean(axis=self.axis, keepdims=True) + self.eps)
        self.n = self.centred / self.deviation
        return self.gamma * self.n + self.beta

    def backward(self, dz):
        self.gradients = ((dz * self.n).sum(axis=0), dz.sum(axis=0))
        dn = self.gamma * dz
        mean_product = (dn * self.n).mean(axis=self.axis, keepdims=True)
        return (dn - dn.mean(axis=self.axis, keepdims=True) - self.n * mean_product) / self.deviation

    def average(self, a):
        return a.mean(axis=1, keepdims=True)

    def forward_tangent(self, rx, V, c):
        self.V = V
        self.shrinking = self.average(self.n * rx) / self.deviation  # -R{s} / s, s = 1 / deviation
        self.rn = (rx - self.average(rx) - self.n * self.average(self.n * rx)) / self.deviation
        return V * self.n + self.gamma * self.rn + c

    def backward_tangent(self, dz, rdz):
        n, rn, average = self.n, self.rn, self.average
        self.gradients = ((rdz * n + dz * rn).sum(axis=0), rdz.sum(axis=0))
        dn, rdn = self.gamma * dz, self.V * dz + self.gamma * rdz
        dx = (dn - average(dn) - n * average(dn * n)) / self.deviation
        of_rest = rdn - average(rdn) - rn * average(dn * n) - n * average(rdn * n + dn * rn)
        return dx, of_rest / self.deviation - self.shrinking * dx


class BatchNorm(LayerNorm):
    axis = 0

    def __init__(self, gamma, beta, eps, momentum, mean, variance):
        super().__init__(gamma, beta, eps)
        self.momentum, self.mean, self.variance = momentum, mean, variance

    def forward(self, x, training):
        self.training = training
        if training:
            self.seen = x.mean(axis=0), x.var(axis=0, ddof=1)
            return super().forward(x, training)
        self.deviation = np.sqrt(self.variance + self.eps)
        self.n = (x - self.mean) / self.deviation
        return self.gamma * self.n + self.beta

    def backward(self, dz):
        if self.training:
            return super().backward(dz)
        self.gradients = ((dz * self.n).sum(axis=0), dz.sum(axis=0))
        return self.gamma * dz / self.deviation

    def average(self, a):
        return 0.0  # mean and variance are given

    def keep(self):
        """What a step does to the running statistics."""
        mean, variance = self.seen
        self.mean = (1 - self.momentum) * self.mean + self.momentum * mean
        self.variance = (1 - self.momentum) * self.variance + self.momentum * variance


class Chain:
    """The twin of a fastbp network, at its present numbers."""

    def __init__(self, net):
        self.loss = getattr(net.objective, "name", None)
        self.layers = []
        for k, layer in enumerate(net.layers):
            kind = type(layer).__name__
            W, b, mean, variance = (
                None if a is None else a.astype(float)
                for a in (net.weights[k], net.biases[k], net.running_means[k], net.running_vars[k])
            )
            if kind == "Dense":
                twin = Dense(W, b, layer.activation)
            elif kind == "Activation":
                twin = Activation(layer.name)
            elif kind == "Dropout":
                twin = Dropout(layer.p, net._engine.mask_key, net._engine.draws, k)
            elif kind == "LayerNorm":
                twin = LayerNorm(W, b, layer.eps)
            else:
                twin = BatchNorm(W, b, layer.eps, layer.momentum, mean, variance)
            self.layers.append(twin)

    def predict(self, X, training=False):
        x = np.asarray(X, float)
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def loss_and_grad(self, X, t, training=False):
        """L, its flat gradient, dL/dX."""
        last = self.layers[-1]
        z = self.predict(X, training)
        u = last.y if self.loss in reference.LOGIT_LOSSES else z
        t = t if t.dtype.kind == "i" else t.astype(float)
        row_losses, du = reference.LOSSES[self.loss](u, t)
        du = du / len(X)
        d = last.backward_from_y(du) if self.loss in reference.LOGIT_LOSSES else last.backward(du)
        for layer in reversed(self.layers[:-1]):
            d = layer.backward(d)
        return row_losses.mean(), self.gradient(), d

    def hvp(self, X, t, directions, sample_weight=None):
        """The Hessian of the loss in evaluation mode times a vector, in its parts V and c for each layer."""
        last, rx = self.layers[-1], np.zeros(X.shape)
        z = self.predict(X)
        for layer, (V, c) in zip(self.layers, directions, strict=True):
            rx = layer.forward_tangent(rx, V, c)
        from_logits = self.loss in reference.LOGIT_LOSSES
        u, ru = (last.y, last.ry) if from_logits else (z, rx)
        t = t if t.dtype.kind == "i" else t.astype(float)
        w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
        share = (w / w.sum())[:, None]
        d = share * reference.LOSSES[self.loss](u, t)[1]
        rd = share * reference.LOSS_TANGENTS[self.loss](u, t, ru)
        d, rd = last.tangent_from_y(d, rd) if from_logits else last.backward_tangent(d, rd)
        for layer in reversed(self.layers[:-1]):
            d, rd = layer.backward_tangent(d, rd)
        return self.gradient()

    def gradient(self):
        """(n_params,), of the last walk back."""
        return np.concatenate([g.ravel() for layer in self.layers for g in layer.gradients if g is not None])

    def jacobians(self, X):
        """dz/dx (B, O, I) and dz/dparams (B, O, n_params), in evaluation: a walk back for each row and output."""
        by_inputs, by_params = [], []
        for x in X:
            for d in np.eye(self.predict(x[None]).shape[1]):
                d = d[None]
                for layer in reversed(self.layers):
                    d = layer.backward(d)
                by_inputs.append(d[0])
                by_params.append(self.gradient())
        return tuple(np.stack(lines).reshape(len(X), -1, len(lines[0])) for lines in (by_inputs, by_params))

    def per_sample_grads(self, X, t):
        return np.stack([self.loss_and_grad(X[k : k + 1], t[k : k + 1])[1] for k in range(len(X))])
