"""Random networks with parameters, data and targets, the same for every test that compares two implementations."""

import zlib
from dataclasses import dataclass

import numpy as np

ACTIVATIONS = [
    "identity", "relu", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu",
    "softplus", "sigmoid", "hard_sigmoid", "tanh", "softsign", "exp", "softmax",
]  # fmt: skip

# name of the variant: (loss, its parameters)
LOSSES = {
    "mse": ("mse", {}),
    "mae": ("mae", {}),
    "huber": ("huber", {"delta": 0.8}),
    "quantile": ("quantile", {"q": 0.3}),
    "poisson": ("poisson", {}),
    "cross_entropy of classes": ("cross_entropy", {}),
    "cross_entropy of probabilities": ("cross_entropy", {}),
    "cross_entropy smoothed": ("cross_entropy", {"label_smoothing": 0.1}),
    "binary_cross_entropy": ("binary_cross_entropy", {}),
    "hinge": ("hinge", {}),
    "hinge of classes": ("hinge", {}),
}
LOGIT_OUTPUTS = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "poisson": "exp"}

VECTOR_BYTES = {"v2": 16, "v3": 32, "v4": 64, "neon": 16, "generic": 16}  # as in setup.py
WIDTHS = (1, 70)
BATCHES = (1, 2, 7, 16, 33, 200, 513)


@dataclass(frozen=True)
class Spec:
    """What a network computes: sizes (I, ..., O), an activation and a bias switch per layer, the loss."""

    sizes: tuple
    activations: tuple
    variant: str
    biases: tuple

    @property
    def loss(self):
        return LOSSES[self.variant][0]

    @property
    def loss_parameters(self):
        return LOSSES[self.variant][1]

    @property
    def parameter(self):
        """The loss's one parameter, 0 where it has none."""
        return sum(self.loss_parameters.values())

    @property
    def layer_lengths(self):
        """Lengths of (W_0, b_0), (W_1, b_1) ... in the flat vector."""
        return [o * (i + bias) for i, o, bias in zip(self.sizes[:-1], self.sizes[1:], self.biases, strict=True)]


@dataclass(repr=False)
class Problem:
    """A Spec with its numbers, all float64: params (n_params,), X (B, I), t (B, O) or (B,), w (B,) or None."""

    spec: Spec
    params: np.ndarray
    X: np.ndarray
    t: np.ndarray
    w: np.ndarray | None
    seed: int

    def data(self, dtype):
        """X, t and w as a network of that dtype takes them in place; class indices stay integers."""
        t = self.t if self.t.dtype.kind == "i" else self.t.astype(dtype)
        return self.X.astype(dtype), t, None if self.w is None else self.w.astype(dtype)

    def __repr__(self):
        s = self.spec
        return (
            f"seed={self.seed} sizes={s.sizes} batch={len(self.X)} activations={s.activations} loss={s.variant!r} "
            f"biases={s.biases} weights={self.w is not None}"
        )


def stable_seed(*words):
    """The same number for the same words in every process."""
    return zlib.crc32(repr(words).encode())


def vector_lanes(dtype):
    """VL: how many numbers of a vector at the level in use."""
    from fastbp.config import LEVEL

    return VECTOR_BYTES[LEVEL] // np.dtype(dtype).itemsize


def draw_targets(variant, rng, rows, outputs):
    if variant in ("cross_entropy of classes", "cross_entropy smoothed", "hinge of classes"):
        return rng.integers(0, outputs, rows)
    if variant == "cross_entropy of probabilities":
        return rng.dirichlet(np.ones(outputs), rows)
    if variant == "poisson":
        return rng.poisson(1.5, (rows, outputs)).astype(float)
    if variant == "binary_cross_entropy":
        return rng.random((rows, outputs))
    if variant == "hinge":
        return rng.choice([-1.0, 1.0], (rows, outputs))
    return rng.standard_normal((rows, outputs))


def draw_sizes(rng, layers, variant, activations):
    """Widths of 1 to 70, where nothing asks for more than 1."""
    return wide_enough(rng.integers(WIDTHS[0], WIDTHS[1] + 1, layers + 1), variant, activations)


def wide_enough(sizes, variant, activations):
    """The sizes; a softmax or a choice of classes is constant on one output, so those get at least two."""
    sizes = [int(n) for n in sizes]
    for k, activation in enumerate(activations):
        if activation == "softmax":
            sizes[k + 1] = max(2, sizes[k + 1])
    if variant.startswith("cross_entropy") or variant == "hinge of classes":
        sizes[-1] = max(2, sizes[-1])
    return tuple(sizes)


def output_of(variant):
    """The output activation that a loss asks for where it has no other reason."""
    return LOGIT_OUTPUTS.get(LOSSES[variant][0], "identity")


def draw_problem(seed, sizes, activations, variant, *, rows, bias=True, weighted=False, dtype="float64"):
    """Numbers for a network. For float32 every number is rounded to it, so that both dtypes see the same problem."""
    rng = np.random.default_rng(seed)
    biases = (bias,) * len(activations) if isinstance(bias, bool) else tuple(bias)
    spec = Spec(tuple(sizes), tuple(activations), variant, biases)
    params = []
    for i, o, activation, has_bias in zip(sizes[:-1], sizes[1:], activations, biases, strict=True):
        scale = 0.25 if activation == "exp" else 1.0  # exp of exp grows without bound
        params.append(scale * rng.standard_normal(i * o) / np.sqrt(i))
        params.append(0.3 * scale * rng.standard_normal(o * has_bias))

    def rounded(a):
        return a.astype(dtype).astype(float) if a.dtype.kind == "f" else a

    return Problem(
        spec,
        rounded(np.concatenate(params)),
        rounded(rng.standard_normal((rows, sizes[0]))),
        rounded(draw_targets(variant, rng, rows, sizes[-1])),
        rounded(rng.uniform(0.2, 2.0, rows)) if weighted else None,
        seed,
    )


def make_network(problem, dtype, **kwargs):
    """The fastbp network of a problem, at the problem's parameters."""
    import fastbp as fb

    spec = problem.spec
    layers = [
        fb.Dense(units, activation, bias=bias)
        for units, activation, bias in zip(spec.sizes[1:], spec.activations, spec.biases, strict=True)
    ]
    net = fb.Network([spec.sizes[0], *layers], loss=loss_object(spec), dtype=dtype, **kwargs)
    net.params[:] = problem.params
    return net


def loss_object(spec):
    """A name where the loss has no parameter, else the object."""
    from fastbp import losses

    if not spec.loss_parameters:
        return spec.loss
    classes = {"huber": losses.Huber, "quantile": losses.Quantile, "cross_entropy": losses.CrossEntropy}
    return classes[spec.loss](**spec.loss_parameters)


class MeanSquare:
    """mse, as a loss object of one's own."""

    def value_and_delta(self, z, t):
        return np.mean((z - t) ** 2), 2 * (z - t) / z.size

    def second_derivative(self, z, t, direction):
        return 2 * direction / z.size
