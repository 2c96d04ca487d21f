"""The derivatives of single rows: doors of Network.jacobian, param_jacobian and per_sample_grads. src/jacobian.pxd has
the arithmetic."""

import numpy as np

from . import data, losses
from .trace import target as target_of_one


def jacobian(net, X, out):
    """See Network.jacobian."""
    return by_row(net, net._engine.jacobian, X, out, (net.n_outputs, net.n_inputs))


def param_jacobian(net, X, out):
    """See Network.param_jacobian."""
    return by_row(net, net._engine.param_jacobian, X, out, (net.n_outputs, net.n_params))


def by_row(net, compute, X, out, shape):
    """out (n, *shape), or `shape` for one row."""
    X, single = data.rows(X, net.n_inputs, net.dtype)
    n = X.shape[0]
    out, target = place(out, shape if single else (n, *shape), net.dtype, X, net.params)
    if n:
        compute(X, target, n)
    return filled(out, target)


def per_sample_grads(net, X, y, out):
    """See Network.per_sample_grads."""
    X, single = data.rows(X, net.n_inputs, net.dtype)
    n = X.shape[0]
    missing = net.missing_targets
    if single:
        targets = target_of_one(y, net, missing)
    else:
        targets = data.targets(y, n, net.n_outputs, net.objective, net.dtype, missing=missing)
    shape = (net.n_params,) if single else (n, net.n_params)
    out, target = place(out, shape, net.dtype, X, targets, net.params)
    if n:
        if net._core_loss.code == losses.GivenDelta.code:
            targets = own_deltas(net, X, targets)
        weights = weights_of_present(targets, net.dtype) if missing == "mask" and targets.ndim == 2 else None
        net._engine.per_sample_grads(X, targets, weights, n, net._core_loss.code_for(targets), target)
    return filled(out, target)


def weights_of_present(targets, dtype):
    """(n,): what makes the mean over a row's elements that over those with a target."""
    width = targets.shape[1]
    present = width - np.isnan(targets).sum(axis=1)
    return (width / np.maximum(present, 1)).astype(dtype)


def own_deltas(net, X, targets):
    """dL/dz (n, out) of a loss object of the user's, which is asked row by row."""
    outputs = net.predict(X)
    targets = np.atleast_1d(targets)
    deltas = np.empty_like(outputs)
    for k in range(len(outputs)):
        row = slice(k, k + 1)
        deltas[row] = losses.value_and_delta(net.objective, outputs[row], targets[row])[1]
    return deltas


def place(out, shape, dtype, *arrays):
    """Where the user wants the results and where the core may write them: apart from all that it reads."""
    if out is None:
        out = np.empty(shape, dtype)
        return out, out
    out = data.out_array(out, shape, dtype)
    return out, data.apart(out, *arrays)


def filled(out, target):
    if target is not out:
        out[...] = target
    return out
