"""Layers as plain descriptions, the names of activations, what a Network's arguments make of them, how weights start.

One layer maps x to y = W x + b and z = h(y), with W of shape (units, inputs).
"""

import math
from dataclasses import KW_ONLY, dataclass

import numpy as np

from . import checks
from .losses import Loss

# In the order of the codes in src/names.pxd.
ACTIVATIONS = (
    "identity", "relu", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu",
    "softplus", "sigmoid", "hard_sigmoid", "tanh", "softsign", "exp", "softmax",
)  # fmt: skip

# name: variance of a weight, from I inputs and O units
VARIANCES = {
    "glorot": lambda i, o: 2 / (i + o),
    "he": lambda i, o: 2 / i,
    "lecun": lambda i, o: 1 / i,
}
INITS = ("auto", *(f"{name}_{law}" for name in VARIANCES for law in ("uniform", "normal")), "orthogonal", "zeros")

MOST_WEIGHTS = 1 << 50  # a petabyte: above it, byte counts would come near the end of 64-bit integers

# What "auto" stands for; every other activation takes glorot_uniform.
AUTO = dict.fromkeys(("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "softplus"), "he_normal") | {
    "selu": "lecun_normal"
}


@dataclass(frozen=True, eq=False)
class Dense:
    """A fully connected layer: y = W x + b, z = h(y).

    Parameters
    ----------
    units : int
        Width of the layer, at least 1.
    activation : str
        Name of h, one of ``fastbp.layers.ACTIVATIONS``: identity, relu, leaky_relu (slope 0.01), elu, selu, gelu (with
        erf), gelu_tanh, silu, softplus, sigmoid, hard_sigmoid, tanh, softsign, exp, softmax.
    bias : bool
        Whether there is a b. It starts at zero.
    init : str, array_like of shape (units, inputs), or callable
        How W starts; see Notes. A callable gets ``(shape, rng)``, shape being (units, inputs) and rng the network's
        ``numpy.random.Generator``, and returns such an array.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Notes
    -----
    With I inputs and O units, weights are drawn with mean 0 and variance

    - ``"glorot_uniform"``, ``"glorot_normal"``: 2 / (I + O) (Glorot and Bengio, 2010, eq. 16);
    - ``"he_uniform"``, ``"he_normal"``: 2 / I (He et al., 2015, eq. 10);
    - ``"lecun_uniform"``, ``"lecun_normal"``: 1 / I (LeCun et al., 1998, section 4.6).

    ``"orthogonal"`` takes orthonormal rows, or columns if there are more units than inputs (Saxe et al., 2014), and
    ``"zeros"`` nothing but zeros. The normal law is not truncated.

    ``"auto"`` is ``"he_normal"`` before relu, leaky_relu, elu, gelu, gelu_tanh, silu and softplus, ``"lecun_normal"``
    before selu (Klambauer et al., 2017), and ``"glorot_uniform"`` before all others.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Dense(128, "tanh", bias=False)
    Dense(units=128, activation='tanh', bias=False, init='auto')
    >>> fb.Dense(128, "rleu")
    Traceback (most recent call last):
    ValueError: activation: expected one of 'identity', ... (did you mean 'relu'?)
    """

    units: int
    activation: str = "relu"
    _: KW_ONLY
    bias: bool = True
    init: object = "auto"

    def __post_init__(self) -> None:
        store = object.__setattr__  # the dataclass is frozen
        store(self, "units", checks.positive_int("units", self.units))
        store(self, "activation", checks.choice("activation", self.activation, ACTIVATIONS))
        store(self, "bias", checks.boolean("bias", self.bias))
        init = checked_init(self.init)
        if isinstance(init, np.ndarray) and (init.ndim != 2 or init.shape[0] != self.units):
            raise ValueError(f"init: expected an array of shape ({self.units}, inputs), got shape {init.shape}")
        store(self, "init", init)

    def _key(self):
        init = self.init
        return self.units, self.activation, self.bias, init.tobytes() if isinstance(init, np.ndarray) else init

    def __eq__(self, other):
        return self._key() == other._key() if isinstance(other, Dense) else NotImplemented

    def __hash__(self):
        return hash(self._key())

    def __repr__(self):
        init = f"<array of shape {self.init.shape}>" if isinstance(self.init, np.ndarray) else repr(self.init)
        return f"Dense(units={self.units}, activation={self.activation!r}, bias={self.bias}, init={init})"


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


def input_count(layers):
    """The number of inputs that the first entry of a Network's `layers` gives, after a look at the list itself."""
    if isinstance(layers, (str, bytes)) or not (hasattr(layers, "__len__") and hasattr(layers, "__getitem__")):
        raise TypeError(f"layers: expected a sequence such as [784, 128, 10], got {checks.described(layers)}")
    if isinstance(layers, dict) or getattr(layers, "ndim", 1) != 1:
        raise TypeError(f"layers: expected a flat sequence such as [784, 128, 10], got {checks.described(layers)}")
    if len(layers) < 2:
        came = checks.described(layers)
        raise ValueError(f"layers: expected the number of inputs and at least one layer, got {came}")
    if isinstance(layers[0], Dense):
        raise TypeError(f"layers[0]: expected the number of inputs, an integer, got {layers[0]!r}")
    return checks.positive_int("layers[0]", layers[0])


def resolve(layers, activation, output, loss, bias, init):
    """The tuple of Dense that a Network's arguments describe. `loss` is a loss object."""
    n_inputs, given = input_count(layers), list(layers)[1:]
    names = hidden_activations(activation, len(given) - 1)
    usual = checks.choice("loss.default_output", getattr(loss, "default_output", "identity"), ACTIVATIONS)
    names.append(usual if output is None else checks.choice("output", output, ACTIVATIONS))
    common = {"bias": checks.boolean("bias", bias), "init": checked_init(init)}
    resolved = []
    for k, (layer, name) in enumerate(zip(given, names, strict=True)):
        if not isinstance(layer, Dense):
            layer = Dense(checks.positive_int(f"layers[{k + 1}]", layer), name, **common)
        resolved.append(layer)
    last = resolved[-1].activation
    if output is not None and output != last:
        raise ValueError(f"output: got {output!r}, but the last layer is a Dense with {last!r}; give one of them")
    if isinstance(loss, Loss) and loss.from_logits and last not in (usual, "identity"):
        wanted = f"{usual!r} or 'identity', for {loss.name} is computed from logits"
        raise ValueError(f"output: expected {wanted}, got {last!r}")
    sizes = [n_inputs, *(layer.units for layer in resolved)]
    n_weights = sum(i * o for i, o in zip(sizes, sizes[1:]))  # noqa: B905 (each size beside the next one)
    if n_weights > MOST_WEIGHTS:
        raise MemoryError(f"layers: {n_weights} weights are more than any memory holds")
    return tuple(resolved)


def hidden_activations(activation, n_hidden):
    """A list with one name for each hidden layer."""
    if isinstance(activation, str):
        return [checks.choice("activation", activation, ACTIVATIONS)] * n_hidden
    if not isinstance(activation, (list, tuple)):
        raise TypeError(f"activation: expected a name or a list of names, got {checks.described(activation)}")
    if len(activation) != n_hidden:
        raise ValueError(f"activation: expected one name, or {n_hidden} for the hidden layers, got {len(activation)}")
    return [checks.choice(f"activation[{k}]", name, ACTIVATIONS) for k, name in enumerate(activation)]


def initial_weights(layer, n_inputs, rng):
    """First weights of a layer, by its `init`.

    Parameters
    ----------
    layer : Dense
    n_inputs : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float64, shape (layer.units, n_inputs)

    Examples
    --------
    >>> W = initial_weights(Dense(64, "relu"), 100, np.random.default_rng(0))
    >>> W.shape, round(float(W.var() * 100), 1)
    ((64, 100), 2.0)
    """
    shape = layer.units, n_inputs
    init = layer.init
    if not isinstance(init, str):
        weights = weight_array(init(shape, rng)) if callable(init) else init
        if weights.shape != shape:
            raise ValueError(f"init: expected an array of shape {shape}, got shape {weights.shape}")
        return weights
    if init == "auto":
        init = AUTO.get(layer.activation, "glorot_uniform")
    if init == "zeros":
        return np.zeros(shape)
    if init == "orthogonal":
        return orthonormal(shape, rng)
    name, law = init.split("_")
    variance = VARIANCES[name](n_inputs, layer.units)
    if law == "normal":
        return rng.normal(0.0, math.sqrt(variance), shape)
    limit = math.sqrt(3 * variance)  # the variance of U(-a, a) is a^2 / 3
    return rng.uniform(-limit, limit, shape)


def orthonormal(shape, rng):
    """Orthonormal rows, or columns if there are more rows, drawn evenly among all of them."""
    q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)  # without these signs QR prefers some rotations (Mezzadri, 2007)
    return q if q.shape == shape else q.T
