"""The nets that are timed, their data, and what a step of them costs in floating-point operations."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    """One net: sizes (I, ..., O), hidden activation, rows a step, batches in the data set.

    `mode` says what is timed: "train" (a step inside `fit`), "predict" or "gradient" (one call from Python with
    `batch` rows).
    """

    name: str
    sizes: tuple[int, ...]
    activation: str
    loss: str
    batch: int
    optimizer: str  # "sgd", "momentum" (0.9) or "adam"
    batches: int  # enough that the cost of one call of a compiled epoch does not show
    group: str = "more"
    lr: float = 1e-3
    dtype: str = "float32"
    mode: str = "train"

    @property
    def flops(self):
        """Of one step: forward, dW, and dX but for the first layer, two operations a product; of predict: forward."""
        products = [i * o for i, o in zip(self.sizes[:-1], self.sizes[1:], strict=True)]
        return 2 * self.batch * (sum(products) if self.mode == "predict" else 3 * sum(products) - products[0])

    def __str__(self):
        what = self.optimizer if self.mode == "train" else self.mode
        return f"{self.name}  {self.activation} {self.loss} b{self.batch} {what} {self.dtype}"


def call(mode, name, sizes, activation, loss, batch, dtype="float32"):
    return Case(f"{mode} {name}", sizes, activation, loss, batch, "", 1, "calls", dtype=dtype, mode=mode)


# The `layout` group is the six nets by which the data layout was chosen.
CASES = [
    Case("2-3-1", (2, 3, 1), "sigmoid", "binary_cross_entropy", 1, "sgd", 16384, "layout", lr=1e-2),
    Case("4-16-16-1", (4, 16, 16, 1), "tanh", "mse", 32, "adam", 512, "layout"),
    Case("54-128-64-7", (54, 128, 64, 7), "relu", "cross_entropy", 256, "adam", 64, "layout"),
    Case("3-50x4-1", (3, 50, 50, 50, 50, 1), "tanh", "mse", 4096, "adam", 8, "layout"),
    Case("784-512-512-10", (784, 512, 512, 10), "relu", "cross_entropy", 128, "adam", 16, "layout"),
    Case("1024x4-10", (1024, 1024, 1024, 1024, 10), "relu", "cross_entropy", 1024, "adam", 4, "layout"),
    Case("17-64-64-6-online", (17, 64, 64, 6), "tanh", "mse", 1, "sgd", 2048),
    Case("13-37-19-3", (13, 37, 19, 3), "relu", "cross_entropy", 48, "adam", 256),
    Case("17-64-64-6", (17, 64, 64, 6), "tanh", "mse", 64, "adam", 128),
    Case("784-128-10", (784, 128, 10), "relu", "cross_entropy", 128, "adam", 32),
    Case("4-32-16-4", (4, 32, 16, 4), "tanh", "mse", 10000, "adam", 8),
    Case("28-300x5-1", (28, 300, 300, 300, 300, 300, 1), "tanh", "binary_cross_entropy", 100, "momentum", 64),
    Case("54-128-64-7-float64", (54, 128, 64, 7), "relu", "cross_entropy", 256, "adam", 64, dtype="float64"),
    Case("17-64-64-6-float64", (17, 64, 64, 6), "tanh", "mse", 64, "adam", 128, dtype="float64"),
    Case("784-256-128-10", (784, 256, 128, 10), "relu", "cross_entropy", 128, "adam", 32),
    call("predict", "17-64-64-6, one row", (17, 64, 64, 6), "tanh", "mse", 1),
    call("predict", "54-128-64-7, 10000 rows", (54, 128, 64, 7), "relu", "cross_entropy", 10000),
    call("predict", "784-512-512-10, 10000 rows", (784, 512, 512, 10), "relu", "cross_entropy", 10000),
    call("gradient", "17-64-64-6, one row", (17, 64, 64, 6), "tanh", "mse", 1),
    call("gradient", "24-8-2, 200 rows", (24, 8, 2), "tanh", "mse", 200, dtype="float64"),
]


def select(words):
    """Cases by name or group, in their order here; all of a group once."""
    unknown = set(words) - {c.name for c in CASES} - {c.group for c in CASES}
    if unknown:
        names = ", ".join(c.name for c in CASES)
        groups = ", ".join(sorted({c.group for c in CASES}))
        raise SystemExit(f"no such case or group: {', '.join(sorted(unknown))}\ncases: {names}\ngroups: {groups}")
    return [c for c in CASES if c.name in words or c.group in words]


def make_data(case, seed=0):
    """X (batches * batch, I) and targets that a net can learn in part: a random teacher with noise."""
    rng = np.random.default_rng(seed)
    rows, inputs, outputs = case.batches * case.batch, case.sizes[0], case.sizes[-1]
    X = rng.standard_normal((rows, inputs), dtype=np.float32).astype(case.dtype)
    score = X @ rng.standard_normal((inputs, outputs)).astype(case.dtype) / np.sqrt(inputs)
    score += 0.3 * rng.standard_normal((rows, outputs), dtype=np.float32)
    if case.loss == "cross_entropy":
        return X, score.argmax(axis=1)
    if case.loss == "binary_cross_entropy":
        return X, (score > 0).astype(case.dtype)
    return X, np.sin(2 * score).astype(case.dtype)


def make_parameters(case, seed=1):
    """The start, the same for every peer: a list W_0 (O, I), b_0 (O,), W_1 ..."""
    rng = np.random.default_rng(seed)
    parameters = []
    for i, o in zip(case.sizes[:-1], case.sizes[1:], strict=True):
        gain = np.sqrt((2 if case.activation == "relu" else 1) / i)
        parameters.append((gain * rng.standard_normal((o, i))).astype(case.dtype))
        parameters.append((0.1 * rng.standard_normal(o)).astype(case.dtype))
    return parameters
