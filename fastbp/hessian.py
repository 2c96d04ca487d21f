"""The product of the Hessian with a vector: what stands in front of the kernels of src/tangent.pxd."""

import numpy as np

from . import checks, data, losses


def vector(v, n_params, dtype, name="v"):
    """(n_params,), finite, as the core takes it."""
    array = data.as_numbers(v, name)
    if array.shape != (n_params,):
        raise ValueError(f"{name}: expected shape ({n_params},), one number for each parameter, got {array.shape}")
    return data.converted(array, dtype, name)


def product(net, X, y, v, sample_weight, out):
    """What `Network.hvp` returns."""
    own = not isinstance(net.objective, losses.Loss)
    if own and not callable(getattr(net.objective, "second_derivative", None)):
        raise TypeError(
            "loss: expected an object with second_derivative(outputs, targets, direction) for a product with the "
            f"Hessian, got {checks.described(net.objective)}"
        )
    X, targets, weights, n, total = net._pass(X, y, sample_weight)
    v = vector(v, net.n_params, net.dtype)
    shape = (net.n_params,)
    if out is None:
        out = target = np.empty(shape, net.dtype)
    else:
        out = data.out_array(out, shape, net.dtype)
        target = data.apart(out, X, targets, weights, v, net.params)
    changes = None
    if own:
        targets, changes = deltas(net, X, targets, v)
        total = 1.0
    net._engine.hvp(X, targets, changes, weights, n, total, net._core_loss.code_for(targets), v, target)
    if target is not out:
        out[...] = target
    return out


def deltas(net, X, targets, v):
    """dL/dz of a user's loss, and how it changes as the parameters move along v; both (n, out)."""
    n = X.shape[0]
    outputs, direction = both = np.empty((2, n, net.n_outputs), net.dtype)
    net._engine.hvp(X, None, None, None, n, 1.0, losses.GivenDelta.code, v, both)
    _, delta = losses.value_and_delta(net.objective, outputs, targets)
    return delta, losses.second_derivative(net.objective, outputs, targets, direction)
