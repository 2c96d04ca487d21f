"""The same training in plain NumPy, for the demo to compare with: relu layers, softmax and cross-entropy, Adam.

Written as one who knows NumPy would write it: parameters, gradient and Adam's means are flat vectors, so that an update
is a dozen array operations and not a dozen per layer; what can be done in place is.
"""

import time

import numpy as np

from .history import History
from .shuffle import permutation


def fit(net, X, y, *, epochs, batch_size, optimizer, callbacks=()):
    """What ``net.fit(X, y, ...)`` does, in NumPy, on the parameters of `net`.

    Parameters
    ----------
    net : Network
        relu, softmax and cross-entropy, with biases. Its parameters are trained, its generator shuffles.
    X : ndarray of net.dtype, shape (n, in)
    y : ndarray of int, shape (n,)
    epochs, batch_size : int
    optimizer : Adam
    callbacks : sequence of callable
        Each is called after an epoch as ``callback(net, history)``.

    Returns
    -------
    History
    """
    gradient = np.empty_like(net.params)
    weight_gradients, bias_gradients = views(gradient, net)
    step = adam(net.params, gradient, optimizer)
    record = History()
    for _ in range(epochs):
        begin = time.perf_counter()
        order = permutation(net._rng, len(X))
        total = 0.0
        for first in range(0, len(X), batch_size):
            rows = order[first : first + batch_size]
            total += backpropagation(net.weights, net.biases, X[rows], y[rows], weight_gradients, bias_gradients)
            step()
        record.history["loss"].append(total / len(X))
        record.history["lr"].append(optimizer.lr)
        record.history["seconds"].append(time.perf_counter() - begin)
        for callback in callbacks:
            callback(net, record)
    return record


def views(flat, net):
    """Views of a flat vector in the shapes of the network's weights and biases."""
    weights, biases, at = [], [], 0
    for weight, bias in zip(net.weights, net.biases, strict=True):
        weights.append(flat[at : at + weight.size].reshape(weight.shape))
        at += weight.size
        biases.append(flat[at : at + bias.size])
        at += bias.size
    return weights, biases


def backpropagation(weights, biases, x, labels, weight_gradients, bias_gradients):
    """Fills in the gradient of the mean loss of a batch and returns the sum of its losses."""
    zs = [x]  # (B, units) of each layer, the inputs first
    for weight, bias in zip(weights, biases, strict=True):
        y = zs[-1] @ weight.T  # (B, I) (I, O)
        y += bias
        zs.append(np.maximum(y, 0, out=y) if weight is not weights[-1] else y)

    rows = np.arange(len(x))
    delta = zs.pop()  # becomes dL/dy of the last layer, (softmax(y) - one_hot) / B
    delta -= delta.max(axis=1, keepdims=True)
    of_label = delta[rows, labels]
    np.exp(delta, out=delta)
    sums = delta.sum(axis=1, keepdims=True)
    loss = float(np.log(sums).sum() - of_label.sum())
    delta /= sums
    delta[rows, labels] -= 1
    delta /= len(x)

    for k in reversed(range(len(weights))):
        np.matmul(delta.T, zs[k], out=weight_gradients[k])  # dL/dW = (dL/dy)^T x
        delta.sum(axis=0, out=bias_gradients[k])
        if k:
            delta = delta @ weights[k]  # dL/dx
            delta *= zs[k] > 0
    return loss


def adam(params, gradient, optimizer):
    """A function that updates `params` by the present `gradient`; see fastbp.Adam."""
    b1, b2 = optimizer.betas
    m, v, scratch = np.zeros_like(params), np.zeros_like(params), np.empty_like(params)
    t = 0

    def step():
        nonlocal t
        t += 1
        correction = (1 - b2**t) ** 0.5
        np.multiply(gradient, 1 - b1, out=scratch)
        np.multiply(m, b1, out=m)
        np.add(m, scratch, out=m)
        np.multiply(gradient, gradient, out=scratch)
        np.multiply(scratch, 1 - b2, out=scratch)
        np.multiply(v, b2, out=v)
        np.add(v, scratch, out=v)
        np.sqrt(v, out=scratch)
        np.add(scratch, optimizer.eps * correction, out=scratch)
        np.divide(m, scratch, out=scratch)
        np.multiply(scratch, optimizer.lr * correction / (1 - b1**t), out=scratch)
        np.subtract(params, scratch, out=params)

    return step
