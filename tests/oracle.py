"""The same networks and losses written for the `autograd` package: gradients that nobody derived by hand.

Shares no line with reference.py. At kinks the formulas choose the branch whose derivative is torch's
(`np.where` passes the gradient of the chosen branch alone), and no branch overflows where it is not chosen.
"""

import math

import autograd.numpy as np
import numpy
from autograd import value_and_grad
from autograd.extend import defvjp, primitive


@primitive
def erfc(x):
    return numpy.vectorize(math.erfc, otypes=[float])(x)


defvjp(erfc, lambda ans, x: lambda g: -2 / math.sqrt(math.pi) * g * np.exp(-(x**2)))


def negative_part(y):
    return np.where(y > 0, 0.0, y)


def sigmoid(y):
    return 0.5 * (1 + np.tanh(0.5 * y))


def softplus(y):
    return np.where(y > 0, y, 0.0) + np.log1p(np.exp(np.where(y > 0, -y, y)))


def log_softmax(y):
    y = y - np.max(y, axis=1, keepdims=True)
    return y - np.log(np.sum(np.exp(y), axis=1, keepdims=True))


def selu(y):
    return 1.0507009873554804934 * np.where(y > 0, y, 1.6732632423543772848 * np.expm1(negative_part(y)))


def gelu_tanh(y):
    return y * sigmoid(2 * math.sqrt(2 / math.pi) * (y + 0.044715 * y**3))


def hard_sigmoid(y):
    return np.where(y >= 3, 1.0, np.where(y > -3, y / 6 + 0.5, 0.0))


ACTIVATIONS = {
    "identity": lambda y: y,
    "relu": lambda y: np.where(y > 0, y, 0.0),
    "leaky_relu": lambda y: y * np.where(y > 0, 1.0, 0.01),
    "elu": lambda y: np.where(y > 0, y, np.expm1(negative_part(y))),
    "selu": selu,
    "gelu": lambda y: 0.5 * y * erfc(-y / math.sqrt(2)),
    "gelu_tanh": gelu_tanh,
    "silu": lambda y: y * sigmoid(y),
    "softplus": softplus,
    "sigmoid": sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "tanh": np.tanh,
    "softsign": lambda y: y / (1 + np.where(y > 0, y, -y)),
    "exp": np.exp,
    "softmax": lambda y: np.exp(log_softmax(y)),
}


def one_hot(t, classes):
    return numpy.eye(classes)[t]


def huber_elements(r, delta):
    a = np.where(r > 0, r, -r)
    return np.where(a > delta, delta * a - 0.5 * delta**2, 0.5 * r**2)


def cross_entropy_rows(y, t, smoothing):
    classes = y.shape[1]
    t = one_hot(t, classes) if t.ndim == 1 else t
    return -np.sum(((1 - smoothing) * t + smoothing / classes) * log_softmax(y), axis=1)


def hinge_rows(z, t):
    if t.ndim == 2:
        return np.mean(np.where(t * z < 1, 1 - t * z, 0.0), axis=1)
    target = one_hot(t, z.shape[1])
    margins = 1 + z - np.sum(z * target, axis=1, keepdims=True)
    return np.mean((1 - target) * np.where(margins > 0, margins, 0.0), axis=1)


# name: rows(y, z, t, p), the loss of every row from logits y and output z; p is the loss's one parameter
LOSSES = {
    "mse": lambda y, z, t, p: np.mean((z - t) ** 2, axis=1),
    "mae": lambda y, z, t, p: np.mean(np.abs(z - t), axis=1),
    "huber": lambda y, z, t, p: np.mean(huber_elements(z - t, p), axis=1),
    "quantile": lambda y, z, t, p: np.mean((t - z) * np.where(t > z, p, np.where(t < z, p - 1, 0.0)), axis=1),
    "poisson": lambda y, z, t, p: np.mean(np.exp(y) - t * y, axis=1),
    "cross_entropy": lambda y, z, t, p: cross_entropy_rows(y, t, p),
    "binary_cross_entropy": lambda y, z, t, p: np.mean(softplus(y) - t * y, axis=1),
    "hinge": lambda y, z, t, p: hinge_rows(z, t),
}


def pre_activations(spec, params, X):
    """The y of every layer, and the output z."""
    ys, at = [], 0
    for i, o, activation, bias in zip(spec.sizes[:-1], spec.sizes[1:], spec.activations, spec.biases, strict=True):
        W = np.reshape(params[at : at + i * o], (o, i))
        y = np.dot(X, W.T)
        at += i * o
        if bias:
            y = y + params[at : at + o]
            at += o
        ys.append(y)
        X = ACTIVATIONS[activation](y)
    return ys, X


def loss_and_grads(spec, params, X, t, w=None):
    """Loss, dL/dparams flat as in torch's nn.Sequential, and dL/dX, in float64."""
    if t.ndim == 1 and spec.sizes[-1] == 1 and spec.loss != "cross_entropy":
        t = t[:, None]
    w = numpy.ones(len(X)) if w is None else w

    def objective(params, X):
        ys, z = pre_activations(spec, params, X)
        return np.sum(w * LOSSES[spec.loss](ys[-1], z, t, spec.parameter)) / numpy.sum(w)

    value, (dparams, dX) = value_and_grad(objective, (0, 1))(params, X)
    return float(value), dparams, dX
