"""Layers as plain descriptions, and the names of activations."""

from dataclasses import KW_ONLY, dataclass

import numpy as np

from . import checks
from .initializers import checked_init, initial_weights

# In the order of the codes in src/names.pxd.
ACTIVATIONS = (
    "identity", "relu", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu",
    "softplus", "sigmoid", "hard_sigmoid", "tanh", "softsign", "exp", "softmax",
)  # fmt: skip


class Layer:
    """What all layers have. Unless a layer says otherwise, it has as many outputs as inputs, and no parameters."""

    activation = "identity"  # h, for the core
    setting = momentum = 0.0  # numbers for the core: p or eps; of the running statistics

    def width(self, n_inputs):
        """How many outputs it has."""
        return n_inputs

    def shapes(self, n_inputs):
        """Shapes of its weight and its bias, None for what it has not."""
        return None, None

    def start(self, n_inputs, activation, rng):
        """First weights; `activation` is what its y goes through. Biases start at zero."""
        return None


@dataclass(frozen=True, eq=False)
class Dense(Layer):
    """A fully connected layer: y = W x + b, z = h(y), with W of shape (units, inputs).

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

    def width(self, n_inputs):
        return self.units

    def shapes(self, n_inputs):
        return (self.units, n_inputs), (self.units,) if self.bias else None

    def start(self, n_inputs, activation, rng):
        return initial_weights(self.init, (self.units, n_inputs), activation, rng)

    def __str__(self):
        return f"{self.units} {self.activation}"

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


@dataclass(frozen=True)
class Activation(Layer):
    """An activation as a layer of its own: z = h(x).

    Parameters
    ----------
    name : str
        One of ``fastbp.layers.ACTIVATIONS``, as for :class:`Dense`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Notes
    -----
    In the list of a network's layers, an int that is followed by an `Activation` before the next int or :class:`Dense`
    is linear: what follows is its activation. A `Dense` keeps the activation that it has.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Network([784, 128, fb.BatchNorm(), fb.Activation("relu"), 10])
    >>> net
    <Network 784 - 128 identity - BatchNorm - relu - 10 softmax, cross_entropy, float32, 102026 parameters>
    """

    name: str

    def __post_init__(self) -> None:
        checks.choice("name", self.name, ACTIVATIONS)

    @property
    def activation(self):
        return self.name

    def __str__(self):
        return self.name


@dataclass(frozen=True)
class Dropout(Layer):
    """In training each number is dropped with probability p, the others are divided by 1 - p (Srivastava et al., 2014).

    Parameters
    ----------
    p : float
        In [0, 1).

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Notes
    -----
    What is dropped is a function of the network's seed, the step's number, the layer, the row's place in the batch and
    the feature: the same for any number of threads, at every level, in both dtypes, and in a network that was copied,
    pickled or loaded and trained on. Evaluation (`predict`, `loss`, `evaluate`) drops nothing. ``loss``,
    ``loss_and_grad`` and ``input_grad`` with ``training=True`` drop what the next step of `fit` will drop, each time.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Network([784, 128, fb.Dropout(0.2), 10])
    <Network 784 - 128 relu - Dropout(0.2) - 10 softmax, cross_entropy, float32, 101770 parameters>
    """

    p: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", checks.number("p", self.p, at_least=0, below=1))

    @property
    def setting(self):
        return self.p

    def __str__(self):
        return f"Dropout({self.p:g})"


class Norm(Layer):
    """A normalisation: gamma is its weight and starts at one, beta its bias."""

    @property
    def setting(self):
        return self.eps

    def shapes(self, n_inputs):
        return (n_inputs,), (n_inputs,)

    def start(self, n_inputs, activation, rng):
        return np.ones(n_inputs)

    def __str__(self):
        return type(self).__name__


@dataclass(frozen=True)
class LayerNorm(Norm):
    """z = gamma (x - mean) / sqrt(variance + eps) + beta over the features of a row (Ba et al., 2016).

    Semantics are those of ``torch.nn.LayerNorm``: the variance is the biased one.

    Parameters
    ----------
    eps : float
        At least 1e-30.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Notes
    -----
    gamma and beta, each (features,), are in ``net.weights`` and ``net.biases`` at the layer's place.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Network([3, 4, fb.LayerNorm(), 2])
    >>> net.weights[1].tolist(), net.biases[1].tolist()
    ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0])
    """

    eps: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", checks.number("eps", self.eps, at_least=1e-30))


@dataclass(frozen=True)
class BatchNorm(Norm):
    """z = gamma (x - mean) / sqrt(variance + eps) + beta over the rows of a batch (Ioffe and Szegedy, 2015).

    Semantics are those of ``torch.nn.BatchNorm1d``: in training the batch's mean and biased variance normalise, and the
    running ones move by `momentum` towards its mean and unbiased variance; in evaluation the running ones normalise.

    Parameters
    ----------
    eps : float
        At least 1e-30.
    momentum : float
        In (0, 1]: running <- (1 - momentum) running + momentum batch's.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Notes
    -----
    gamma and beta, each (features,), are in ``net.weights`` and ``net.biases`` at the layer's place, the running
    statistics in ``net.running_means`` and ``net.running_vars``: live views, saved, pickled and copied with the
    network, and moved by steps of `fit` alone, together with the parameters.

    A step needs the whole batch at once, so that the workspace grows with the batch (docs/memory.md); and it needs two
    rows: `fit` refuses a batch size that leaves one row to the last batch.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> net = fb.Network([1, fb.BatchNorm(momentum=1), 1], loss="mse", seed=0)
    >>> history = net.fit([[1], [3]], [0, 0], epochs=1, verbose=0)
    >>> net.running_means[0].tolist(), net.running_vars[0].tolist()
    ([2.0], [2.0])
    """

    eps: float = 1e-5
    momentum: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", checks.number("eps", self.eps, at_least=1e-30))
        object.__setattr__(self, "momentum", checks.number("momentum", self.momentum, above=0, at_most=1))


KINDS = (Dense, Activation, Dropout, LayerNorm, BatchNorm)  # in the order of the codes in src/names.pxd
