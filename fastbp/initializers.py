"""How weights start: names, arrays and callables."""

import math

import numpy as np

from . import checks

# name: variance of a weight, from I inputs and O units
VARIANCES = {
    "glorot": lambda i, o: 2 / (i + o),
    "he": lambda i, o: 2 / i,
    "lecun": lambda i, o: 1 / i,
}
INITS = ("auto", *(f"{name}_{law}" for name in VARIANCES for law in ("uniform", "normal")), "orthogonal", "zeros")

# What "auto" stands for; every other activation takes glorot_uniform.
AUTO = dict.fromkeys(("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "softplus"), "he_normal") | {
    "selu": "lecun_normal"
}


def checked_init(init):
    """A name of `INITS`, a callable, or a read-only copy of an array of weights."""
    if isinstance(init, str):
        return checks.choice("init", init, INITS)
    if callable(init) and not isinstance(init, type):
        return init
    weights = weight_array(init).copy()
    weights.flags.writeable = False
    return weights


def weight_array(values):
    """Weights from outside as finite float64."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        came = f"{checks.described(values)} ({error})"
        raise ValueError(f"init: expected a name, an array or a callable, got {came}") from None
    if array.dtype.kind not in "biuf" or isinstance(values, type):
        came = checks.described(values)
        raise TypeError(f"init: expected a name, an array of real numbers or a callable, got {came}")
    with np.errstate(over="ignore"):
        array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"init: expected finite weights, got {array[~np.isfinite(array)][0]}")
    return array


def initial_weights(init, shape, activation, rng):
    """First weights of a layer.

    Parameters
    ----------
    init : str, ndarray or callable
        As `checked_init` gives it.
    shape : (units, inputs)
    activation : str
        What the layer's y goes through; "auto" asks for it.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float64, of that shape

    Examples
    --------
    >>> W = initial_weights("auto", (64, 100), "relu", np.random.default_rng(0))
    >>> W.shape, round(float(W.var() * 100), 1)
    ((64, 100), 2.0)
    """
    if not isinstance(init, str):
        weights = weight_array(init(shape, rng)) if callable(init) else init
        if weights.shape != shape:
            raise ValueError(f"init: expected an array of shape {shape}, got shape {weights.shape}")
        return weights
    if init == "auto":
        init = AUTO.get(activation, "glorot_uniform")
    if init == "zeros":
        return np.zeros(shape)
    if init == "orthogonal":
        return orthonormal(shape, rng)
    name, law = init.split("_")
    variance = VARIANCES[name](shape[1], shape[0])
    if law == "normal":
        return rng.normal(0.0, math.sqrt(variance), shape)
    limit = math.sqrt(3 * variance)  # the variance of U(-a, a) is a^2 / 3
    return rng.uniform(-limit, limit, shape)


def orthonormal(shape, rng):
    """Orthonormal rows, or columns if there are more rows, drawn evenly among all of them."""
    q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)  # without these signs QR prefers some rotations (Mezzadri, 2007)
    return q if q.shape == shape else q.T
