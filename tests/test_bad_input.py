"""Bad arguments: the exception, the argument's name at the start of its message, and nothing changed."""

import collections
import types

import numpy as np
import pytest
from snapshot import snapshot

import fastbp as fb

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 3))
LABELS = np.array([0, 1, 0, 1, 1, 0])
PAIR = RNG.standard_normal((6, 2))
NAN, INF = float("nan"), float("inf")


class Sparse:
    nnz = 0

    def toarray(self):
        raise AssertionError("must not be called")


class Unconvertible:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no")


class OwnLoss:
    """A loss object whose answer is chosen by the test."""

    def __init__(self, answer):
        self.answer = answer

    def value_and_delta(self, outputs, targets):
        return self.answer(outputs)


class DerivedLoss(fb.MSE):
    pass


class DerivedOptimizer(fb.Adam):
    pass


def with_value(value, row=4, column=1, array=X):
    changed = np.array(array, dtype=object if isinstance(value, (str, complex)) else float)
    changed[(row, column) if changed.ndim == 2 else row] = value
    return changed


def make(loss, dtype="float32", sizes=(3, 4, 2)):
    """A network that has been trained, so that there is a state to lose."""
    net = fb.Network(list(sizes), loss=loss, dtype=dtype, seed=3)
    targets = {"cross_entropy": LABELS, "mse": PAIR, "poisson": abs(PAIR)}.get(loss)
    if targets is not None:
        net.fit(X, targets, epochs=2, batch_size=4, verbose=0)
    return net


def check_refusal(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error or error is ValueError and isinstance(caught.value, ValueError)
    text = str(caught.value)
    name, _, rest = message.partition(" | ")
    assert text.startswith(name), f"{text!r} does not start with {name!r}"
    for part in rest.split(" & ") if rest else ():
        assert part in text, f"{part!r} is not in {text!r}"


class Table:
    """As a DataFrame of columns of several types."""

    shape = (6, 3)

    def __array__(self, dtype=None, copy=None):
        return X.astype(object)

    def __repr__(self):
        return "a b\n0 1"


# what an array of inputs may not be: (id, value, exception, what the message says)
ARRAYS = [
    ("None", None, TypeError, "None"),
    ("string", "abc", TypeError, "dtype <U3"),
    ("strings", [["a", "b", "c"]], TypeError, "real numbers"),
    ("bytes", b"abc", TypeError, "real numbers"),
    ("complex", X + 0j, TypeError, "complex128"),
    ("objects", X.astype(object), TypeError, "object"),
    ("a table of objects", Table(), TypeError, "<Table of shape (6, 3)> & an array of objects"),
    ("dates", X.astype("M8[s]"), TypeError, "datetime64"),
    ("structured", np.zeros(6, [("a", "f4"), ("b", "f4")]), TypeError, "real numbers"),
    ("ragged", [[1, 2, 3], [1, 2]], ValueError, "rows of one length"),
    ("dict", {"a": 1}, TypeError, "dict"),
    ("set", {1, 2, 3}, TypeError, "set"),
    ("generator", (row for row in X), TypeError, "generator"),
    ("sparse", Sparse(), TypeError, "sparse & toarray"),
    ("masked", np.ma.masked_greater(X, 0), ValueError, "masked"),
    ("foreign object that fails", Unconvertible(), TypeError, "Unconvertible"),
    ("0-d", 1.0, ValueError, "()"),
    ("3-D", X[None], ValueError, "(1, 6, 3)"),
    ("too few columns", X[:, :2], ValueError, "3 & (6, 2)"),
    ("too many columns", np.hstack([X, X]), ValueError, "3 & (6, 6)"),
    ("transposed", X.T, ValueError, "(3, 6)"),
    ("no columns", np.empty((6, 0)), ValueError, "(6, 0)"),
    ("NaN", with_value(NAN), ValueError, "nan & row 4, column 1"),
    ("infinity", with_value(INF), ValueError, "inf & row 4, column 1"),
    ("-infinity", with_value(-INF, 5, 2), ValueError, "-inf & row 5, column 2"),
    ("beyond float32", with_value(1e39), ValueError, "range of float32 & 1e+39 & row 4, column 1"),
    ("NaN in float16", with_value(NAN).astype(np.float16), ValueError, "nan & row 4"),
    ("NaN, Fortran order", np.asfortranarray(with_value(NAN)), ValueError, "row 4, column 1"),
    ("NaN, reversed", with_value(NAN)[::-1], ValueError, "row 1, column 1"),
    ("NaN, byte-swapped", with_value(NAN).astype(">f4"), ValueError, "row 4, column 1"),
    ("NaN far down", with_value(NAN, 70_000, 2, np.zeros((70_001, 3))), ValueError, "row 70000, column 2"),
]
WITH_X = {
    "predict": lambda net, value: net.predict(value),
    "loss": lambda net, value: net.loss(value, LABELS),
    "loss_and_grad": lambda net, value: net.loss_and_grad(value, LABELS),
    "input_grad": lambda net, value: net.input_grad(value, LABELS),
    "jacobian": lambda net, value: net.jacobian(value),
    "param_jacobian": lambda net, value: net.param_jacobian(value),
    "per_sample_grads": lambda net, value: net.per_sample_grads(value, LABELS),
    "evaluate": lambda net, value: net.evaluate(value, LABELS),
    "fit": lambda net, value: net.fit(value, LABELS, verbose=0),
    "fit, named optimiser": lambda net, value: net.fit(value, LABELS, optimizer=fb.SGD(0.1), verbose=0),
    "validation_data[0]": lambda net, value: net.fit(X, LABELS, validation_data=(value, LABELS), verbose=0),
}


@pytest.mark.parametrize("method", WITH_X)
@pytest.mark.parametrize(("value", "error", "says"), [case[1:] for case in ARRAYS], ids=[case[0] for case in ARRAYS])
def test_inputs_are_refused_and_nothing_changes(method, value, error, says):
    net = make("cross_entropy")
    before = snapshot(net)
    name = "validation_data[0]: " if method.startswith("validation") else "X: "
    check_refusal(lambda: WITH_X[method](net, value), error, f"{name} | {says}")
    assert snapshot(net) == before
    net.fit(X, LABELS, epochs=1, verbose=0)  # still usable


TARGETS = [
    ("cross_entropy", None, TypeError, "None"),
    ("cross_entropy", ["cat", "dog"] * 3, TypeError, "strings & np.unique"),
    ("cross_entropy", np.array(["cat", "dog"] * 3, object), TypeError, "strings"),
    ("cross_entropy", LABELS[:5], ValueError, "6 rows & 5"),
    ("cross_entropy", LABELS + 1, ValueError, "0 to 1 & 2 & row 1"),
    ("cross_entropy", LABELS - 1, ValueError, "0 to 1 & -1 & row 0"),
    ("cross_entropy", LABELS.astype(np.int64) + 2**32, ValueError, "0 to 1 & 4294967296"),
    ("cross_entropy", np.full(6, 2**64 - 1, np.uint64), ValueError, "0 to 1"),
    ("cross_entropy", with_value(0.5, 4, array=LABELS), ValueError, "0.5 & row 4"),
    ("cross_entropy", with_value(NAN, 4, array=LABELS), ValueError, "nan & row 4"),
    ("cross_entropy", LABELS[:, None], ValueError, "(6, 2) or class indices of shape (6,) & (6, 1)"),
    ("cross_entropy", np.eye(3)[LABELS], ValueError, "(6, 2) & (6, 3)"),
    ("cross_entropy", np.eye(2)[LABELS] * 2, ValueError, "[0, 1] & 2 & row 0, column 0"),
    ("cross_entropy", np.eye(2)[LABELS] / 2, ValueError, "sum to 1 & 0.5 & row 0"),
    ("cross_entropy", with_value(NAN, 2, 1, np.eye(2)[LABELS]), ValueError, "nan & row 2, column 1"),
    ("cross_entropy", 1, ValueError, "shape ()"),
    ("cross_entropy", LABELS + 0j, TypeError, "complex"),
    ("mse", PAIR[:, 0], ValueError, "(6, 2) & (6,)"),
    ("mse", PAIR[:, :1], ValueError, "(6, 2) & (6, 1)"),
    ("mse", PAIR[:0], ValueError, "6 rows & 0"),
    ("mse", PAIR[None], ValueError, "(1, 6, 2)"),
    ("mse", with_value(INF, 3, 0, PAIR), ValueError, "inf & row 3, column 0"),
    ("mse", with_value(1e300, 3, 0, PAIR), ValueError, "range of float32 & row 3, column 0"),
    ("mse", np.ma.masked_less(PAIR, 0), ValueError, "masked"),
    ("mse", Sparse(), TypeError, "sparse"),
    ("mse", [[1, 2]] * 5 + [[1]], ValueError, "one length"),
    ("poisson", with_value(-1, 3, 0, abs(PAIR)), ValueError, "counts >= 0 & -1 & row 3, column 0"),
    ("binary_cross_entropy", PAIR, ValueError, "[0, 1]"),
    ("hinge", PAIR, ValueError, "-1 or 1"),
    ("hinge", LABELS + 1, ValueError, "0 to 1 & row 1"),
]
WITH_Y = {
    "loss": lambda net, value: net.loss(X, value),
    "loss_and_grad": lambda net, value: net.loss_and_grad(X, value),
    "input_grad": lambda net, value: net.input_grad(X, value),
    "evaluate": lambda net, value: net.evaluate(X, value),
    "fit": lambda net, value: net.fit(X, value, optimizer=fb.SGD(0.1), verbose=0),
}


@pytest.mark.parametrize("method", WITH_Y)
@pytest.mark.parametrize("case", range(len(TARGETS)), ids=lambda k: f"{TARGETS[k][0]}-{k}")
def test_targets_are_refused_and_nothing_changes(method, case):
    loss, value, error, says = TARGETS[case]
    net = make(loss)
    before = snapshot(net)
    if value is None and method == "fit":
        says = "X an iterable"
    check_refusal(lambda: WITH_Y[method](net, value), error, f"y: | {says}")
    assert snapshot(net) == before


WEIGHTS = [
    (np.ones(5), ValueError, "(6,) & (5,)"),
    (np.ones((6, 1)), ValueError, "(6,) & (6, 1)"),
    (-np.ones(6), ValueError, ">= 0 & -1 & row 0"),
    (with_value(NAN, 3, array=np.ones(6)), ValueError, "nan & row 3"),
    (with_value(INF, 3, array=np.ones(6)), ValueError, "inf & row 3"),
    (np.zeros(6), ValueError, "zeros only"),
    (["a"] * 6, TypeError, "real numbers"),
    (1.0, ValueError, "()"),
]
WITH_WEIGHT = {
    "loss": lambda net, value: net.loss(X, LABELS, sample_weight=value),
    "loss_and_grad": lambda net, value: net.loss_and_grad(X, LABELS, sample_weight=value),
    "fit": lambda net, value: net.fit(X, LABELS, sample_weight=value, verbose=0),
}


@pytest.mark.parametrize("method", WITH_WEIGHT)
@pytest.mark.parametrize(("value", "error", "says"), WEIGHTS, ids=[w[2] for w in WEIGHTS])
def test_sample_weights_are_refused_and_nothing_changes(method, value, error, says):
    net = make("cross_entropy")
    before = snapshot(net)
    check_refusal(lambda: WITH_WEIGHT[method](net, value), error, f"sample_weight: | {says}")
    assert snapshot(net) == before


def read_only(array):
    array.flags.writeable = False
    return array


OUTS = [
    ("list", lambda shape: [0.0] * shape[0], TypeError, "list"),
    ("shape", lambda shape: np.empty((7, *shape[1:]), "f4"), ValueError, "(7"),
    ("dtype", lambda shape: np.empty(shape), ValueError, "float64"),
    ("byte order", lambda shape: np.empty(shape, ">f4"), ValueError, ">f4"),
    ("strided", lambda shape: np.empty((2 * shape[0], *shape[1:]), "f4")[::2], ValueError, "C-contiguous"),
    ("read-only", lambda shape: read_only(np.empty(shape, "f4")), ValueError, "writable"),
    (
        "misaligned",
        lambda shape: np.empty(4 * int(np.prod(shape)) + 1, "u1")[1:].view("f4").reshape(shape),
        ValueError,
        "aligned",
    ),
]


@pytest.mark.parametrize("method", ["predict", "loss_and_grad", "jacobian", "param_jacobian", "per_sample_grads"])
@pytest.mark.parametrize(("out", "error", "says"), [case[1:] for case in OUTS], ids=[case[0] for case in OUTS])
def test_an_unfit_out_is_refused_and_nothing_changes(method, out, error, says):
    net = make("cross_entropy")
    before = snapshot(net)
    call = {
        "predict": lambda: net.predict(X, out=out((6, 2))),
        "loss_and_grad": lambda: net.loss_and_grad(X, LABELS, out=out((net.n_params,))),
        "jacobian": lambda: net.jacobian(X, out=out((6, 2, 3))),
        "param_jacobian": lambda: net.param_jacobian(X, out=out((6, 2, net.n_params))),
        "per_sample_grads": lambda: net.per_sample_grads(X, LABELS, out=out((6, net.n_params))),
    }[method]
    check_refusal(call, error, f"out: | {says}")
    assert snapshot(net) == before


def fit(**kwargs):
    return lambda net: net.fit(X, LABELS, **{"verbose": 0, **kwargs})


FITS = [
    (fit(epochs=0), ValueError, "epochs: | 0"),
    (fit(epochs=-1), ValueError, "epochs: | -1"),
    (fit(epochs=1.5), TypeError, "epochs: | 1.5"),
    (fit(epochs=True), TypeError, "epochs: | True"),
    (fit(epochs="3"), TypeError, "epochs: | '3'"),
    (fit(epochs=None), TypeError, "epochs: | None"),
    (fit(epochs=np.ones(2, int)), TypeError, "epochs: | (2,)"),
    (fit(batch_size=0), ValueError, "batch_size: | 0"),
    (fit(batch_size=2.0), TypeError, "batch_size: | 2.0"),
    (fit(batch_size="8"), TypeError, "batch_size: | '8'"),
    (fit(shuffle=1), TypeError, "shuffle: | 1"),
    (fit(shuffle="yes"), TypeError, "shuffle: | yes"),
    (fit(verbose=2), ValueError, "verbose: | 2"),
    (fit(verbose="yes"), ValueError, "verbose: | yes"),
    (fit(verbose=None), TypeError, "verbose: | None"),
    (fit(optimizer="adam"), TypeError, "optimizer: | adam"),
    (fit(optimizer=fb.Adam), TypeError, "optimizer: | Adam"),
    (fit(optimizer=DerivedOptimizer()), TypeError, "optimizer: | DerivedOptimizer"),
    (fit(optimizer=fb.optimizers.Optimizer()), TypeError, "optimizer: | Optimizer"),
    (fit(optimizer=fb.SGD(1e39)), ValueError, "optimizer: | lr & 1e+39 & float32"),
    (fit(optimizer=fb.SGD(1, weight_decay=1e39)), ValueError, "optimizer: | weight_decay & 1e+39"),
    (fit(optimizer=fb.Adam(eps=1e-46)), ValueError, "optimizer: | eps & 1e-46"),
    (fit(optimizer=fb.SGD(1, l1=1e39)), ValueError, "optimizer: | l1 & 1e+39"),
    (fit(optimizer=fb.RMSprop(eps=1e-46)), ValueError, "optimizer: | eps & 1e-46"),
    (fit(optimizer=fb.Adagrad(initial_accumulator_value=1e39)), ValueError, "optimizer: | initial_accumulator_value"),
    (fit(batch_size=100, optimizer=fb.Rprop(step_sizes=(1, 1e39))), ValueError, "optimizer: | step_sizes[1]"),
    (fit(batch_size=1, optimizer=fb.Rprop()), ValueError, "batch_size: | one batch & 1"),
    (fit(optimizer=fb.AdamW(1e20, weight_decay=1e20)), ValueError, "optimizer: | lr * weight_decay & 1e+40"),
    (fit(initial_epoch=10), ValueError, "initial_epoch: | < 10 & got 10"),
    (fit(initial_epoch=-1), ValueError, "initial_epoch: | -1"),
    (fit(initial_epoch=1.0), TypeError, "initial_epoch: | 1.0"),
    (fit(on_interrupt="stop"), ValueError, "on_interrupt: | 'raise', 'return' & 'stop'"),
    (fit(on_interrupt=None), TypeError, "on_interrupt: | None"),
    (lambda net: net.partial_fit(X[:, :2], LABELS), ValueError, "X: | (6, 2)"),
    (lambda net: net.partial_fit(X, LABELS + 1), ValueError, "y: | row 1"),
    (lambda net: net.partial_fit(X, LABELS, batch_size=0), ValueError, "batch_size: | 0"),
    (lambda net: net.partial_fit(X, LABELS, optimizer="adam"), TypeError, "optimizer: | adam"),
    (fit(callbacks=5), TypeError, "callbacks: | 5"),
    (fit(callbacks=[5]), TypeError, "callbacks: | 5"),
    (fit(callbacks="abc"), TypeError, "callbacks: | abc"),
    (fit(validation_data=X), TypeError, "validation_data: | (6, 3)"),
    (fit(validation_data=(X,)), TypeError, "validation_data: "),
    (fit(validation_data=(X[:0], LABELS[:0])), ValueError, "validation_data[0]: | at least one row"),
    (fit(validation_data=(X, LABELS + 1)), ValueError, "validation_data[1]: | 0 to 1"),
    (lambda net: net.fit(X[:0], LABELS[:0], verbose=0), ValueError, "X: | at least one row"),
    (lambda net: net.fit(X, verbose=0), TypeError, "y: | None & (6, 3)"),
    (lambda net: net.fit(X, sample_weight=np.ones(6), verbose=0), TypeError, "y: | None & (6, 3)"),
    (lambda net: net.fit(X, validation_split=0.5, verbose=0), TypeError, "y: | None & (6, 3)"),
    (fit(class_weight=[1.0, 2.0]), TypeError, "class_weight: | a dict or 'balanced' & [1.0, 2.0]"),
    (fit(class_weight=np.ones(2)), TypeError, "class_weight: | a dict or 'balanced' & (2,)"),
    (fit(validation_data=(X, LABELS, LABELS[:-1])), ValueError, "validation_data[2]: | (6,) & (5,)"),
    (fit(validation_data=(X, LABELS, X)), ValueError, "validation_data[2]: | (6,) & (6, 3)"),
    (fit(validation_data=(X, LABELS, LABELS, LABELS)), TypeError, "validation_data: | (X, y, sample_weight) & (6, 3)"),
    (lambda net: net.fit([(X, LABELS, LABELS, LABELS)], verbose=0), TypeError, "X: | pairs & (6, 3)"),
    (lambda net: net.fit("abc", verbose=0), TypeError, "y: | abc"),
    (lambda net: net.fit(5, verbose=0), TypeError, "y: | 5"),
    (
        lambda net: net.fit([(X, LABELS)], epochs=1, verbose=0, sample_weight=np.ones(6)),
        ValueError,
        "sample_weight: | iterable",
    ),
    (
        lambda net: net.fit(((X, LABELS) for _ in range(2)), epochs=2, verbose=0),
        ValueError,
        "X: | 2 epochs & generator",
    ),
    (lambda net: net.fit(zip([X], [LABELS], strict=True), epochs=2, verbose=0), ValueError, "X: | zip"),
    (lambda net: net.evaluate(X, LABELS, metrics=["acuracy"]), ValueError, "metrics: | did you mean 'accuracy'"),
    (lambda net: net.evaluate(X, LABELS, metrics=5), TypeError, "metrics: | 5"),
    (lambda net: net.evaluate(X, LABELS, metrics=[5]), ValueError, "metrics: | 5"),
    (lambda net: net.evaluate(X, LABELS, metrics=[None]), TypeError, "metrics: | None"),
    (lambda net: net.evaluate(X, LABELS, metrics=["mse", "mse"]), ValueError, "metrics: | 'mse' twice"),
    (lambda net: net.evaluate(X, LABELS, metrics=[lambda z, t: z]), TypeError, "metrics: | return a number"),
    (lambda net: net.copy(dtype="float16"), ValueError, "dtype: | float16"),
]


@pytest.mark.parametrize(("call", "error", "message"), FITS, ids=[case[2] for case in FITS])
def test_other_arguments_are_refused_and_nothing_changes(call, error, message):
    net = make("cross_entropy")
    before = snapshot(net)
    check_refusal(lambda: call(net), error, message)
    assert snapshot(net) == before


def test_accuracy_needs_a_loss_of_classes():
    net = make("mse")
    check_refusal(lambda: net.evaluate(X, PAIR, metrics=["accuracy"]), ValueError, "metrics: | accuracy & mse")


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (lambda z: 1.0, TypeError, "pair"),
        (lambda z: (z, z), TypeError, "number first"),
        (lambda z: ("1", z), TypeError, "number first"),
        (lambda z: (1.0, z[:1]), ValueError, "shape (6, 2)"),
        (lambda z: (1.0, z + 0j), ValueError, "shape (6, 2)"),
        (lambda z: (1.0, None), ValueError, "shape (6, 2)"),
    ],
)
def test_what_a_loss_object_returns_is_checked_before_the_step(answer, error, says):
    net = fb.Network([3, 4, 2], loss=OwnLoss(answer), seed=0)
    params = net.params.copy()
    for call in (
        lambda: net.loss(X, PAIR),
        lambda: net.loss_and_grad(X, PAIR),
        lambda: net.input_grad(X, PAIR),
        lambda: net.fit(X, PAIR, verbose=0),
    ):
        check_refusal(call, error, f"loss: | value_and_delta & {says}")
    assert (net.params == params).all()
    check_refusal(lambda: net.loss(X, PAIR, np.ones(6)), ValueError, "sample_weight: | loss object")
    check_refusal(lambda: net.fit(X, PAIR, sample_weight=np.ones(6)), ValueError, "sample_weight: | loss object")


def network(*args, **kwargs):
    return lambda: fb.Network(*(args or ([3, 4, 2],)), **kwargs)


CONSTRUCTORS = [
    (network([3]), ValueError, "layers: | at least one layer"),
    (network([]), ValueError, "layers: "),
    (network(3), TypeError, "layers: | sequence & 3"),
    (network("32"), TypeError, "layers: | '32'"),
    (network(None), TypeError, "layers: | None"),
    (network({3: 4, 1: 2}), TypeError, "layers: "),
    (network({3, 4}), TypeError, "layers: | sequence"),
    (network(iter([3, 4])), TypeError, "layers: | sequence"),
    (network(np.ones((2, 2), int)), TypeError, "layers: | (2, 2)"),
    (network([0, 2]), ValueError, "layers[0]: | >= 1 & 0"),
    (network([3, -4, 2]), ValueError, "layers[1]: | -4"),
    (network([3, 4.0, 2]), TypeError, "layers[1]: | 4.0"),
    (network([3, fb.BatchNorm, 2]), TypeError, "layers[1]: | or a layer such as Dense(8) & BatchNorm"),
    (network([3, "4", 2]), TypeError, "layers[1]: | '4'"),
    (network([3, True]), TypeError, "layers[1]: | True"),
    (network([3, None]), TypeError, "layers[1]: | None"),
    (network([fb.Dense(3), 2]), TypeError, "layers[0]: | number of inputs"),
    (network([2**31, 2**31]), MemoryError, "layers: | 4611686018427387904"),
    (network([2**62, 1]), MemoryError, "layers: "),
    (network([1, 10**30]), MemoryError, "layers: "),
    (network(activation="rleu"), ValueError, "activation: | did you mean 'relu'"),
    (network(activation="ReLU"), ValueError, "activation: | did you mean 'relu'"),
    (network(activation="Leaky-ReLU"), ValueError, "activation: | did you mean 'leaky_relu'"),
    (network([3, 2], activation="rleu"), ValueError, "activation: | did you mean 'relu'"),
    (network(activation=["relu", "tanh"]), ValueError, "activation: | 1 & 2"),
    (network(activation=["tahn"]), ValueError, "activation[0]: | did you mean 'tanh'"),
    (network(activation=[None]), TypeError, "activation[0]: | None"),
    (network(activation=None), TypeError, "activation: | None"),
    (network(activation=5), TypeError, "activation: | 5"),
    (network(output="sofmax"), ValueError, "output: | did you mean 'softmax'"),
    (network(output=""), ValueError, "output: | ''"),
    (network(output=3), ValueError, "output: | 3"),
    (network(output="relu"), ValueError, "output: | cross_entropy & 'relu'"),
    (network([3, fb.Dense(2, "softmax")], output="identity"), ValueError, "output: | 'softmax'"),
    (network([3, fb.Dense(2, "softmax")], output="bogus"), ValueError, "output: | 'bogus'"),
    (network([3, fb.Dense(2, "relu")], loss="poisson"), ValueError, "output: | poisson & 'relu'"),
    (network(loss="cross_entrpy"), ValueError, "loss: | did you mean 'cross_entropy'"),
    (network(loss=None), TypeError, "loss: | None"),
    (network(loss=fb.MSE), TypeError, "loss: | MSE()"),
    (network(loss=DerivedLoss()), TypeError, "loss: | DerivedLoss"),
    (network(loss=fb.losses.GivenDelta()), TypeError, "loss: "),
    (network(loss=types.SimpleNamespace(value_and_delta=5)), TypeError, "loss: "),
    (network(loss=fb.Huber(delta=1e39)), ValueError, "loss: | float32 & 1e+39"),
    (network(loss=fb.Huber(delta=1e-46)), ValueError, "loss: | float32 & 1e-46"),
    (network(bias=1), TypeError, "bias: | 1"),
    (network(bias=None), TypeError, "bias: | None"),
    (network(init="he_nromal"), ValueError, "init: | did you mean 'he_normal'"),
    (network([3, fb.Dense(2, "softmax")], init="bogus"), ValueError, "init: | 'bogus'"),
    (network(init=None), TypeError, "init: | None"),
    (network(init=np.ones((4, 4))), ValueError, "init: | (2, inputs) & (4, 4)"),
    (network([3, 2], init=np.full((2, 3), NAN)), ValueError, "init: | nan"),
    (network([3, 2], init=np.full((2, 3), 1e39)), ValueError, "init: | float32 & 1e+39"),
    (network([3, 2], init=np.ones((2, 3), complex)), TypeError, "init: | complex"),
    (network(init=lambda shape, rng: np.ones(3)), ValueError, "init: | (4, 3) & (3,)"),
    (network(init=lambda shape, rng: "abc"), TypeError, "init: | abc"),
    (network(init=lambda shape, rng: [[1, 2], [3]]), ValueError, "init: "),
    (network(dtype="float16"), ValueError, "dtype: | float16"),
    (network(dtype=int), ValueError, "dtype: | int"),
    (network(dtype=None), ValueError, "dtype: | None"),
    (network(dtype="bogus"), ValueError, "dtype: | bogus"),
    (network(dtype="(2,)f4"), ValueError, "dtype: | (2,)f4"),
    (network(seed=-1), ValueError, "seed: | -1"),
    (network(seed=1.5), TypeError, "seed: | 1.5"),
    (network(seed="1"), TypeError, "seed: | '1'"),
    (network(threads=0), ValueError, "threads: | 0"),
    (network(threads=1.0), TypeError, "threads: | 1.0"),
    (lambda: fb.Dense(0), ValueError, "units: | 0"),
    (lambda: fb.Dense(2.5), TypeError, "units: | 2.5"),
    (lambda: fb.Dense(2, "gleu"), ValueError, "activation: | did you mean 'gelu'"),
    (lambda: fb.Dense(2, None), TypeError, "activation: | None"),
    (lambda: fb.Dense(2, bias="no"), TypeError, "bias: | no"),
    (lambda: fb.Dense(2, init=np.ones(2)), ValueError, "init: | (2,"),
    (lambda: fb.Dense(2, init=dict), TypeError, "init: | dict"),
    (lambda: fb.Huber(0), ValueError, "delta: | > 0 & 0"),
    (lambda: fb.Huber(INF), ValueError, "delta: | inf"),
    (lambda: fb.Huber("1"), TypeError, "delta: | '1'"),
    (lambda: fb.Quantile(1), ValueError, "q: | < 1"),
    (lambda: fb.Quantile(-0.1), ValueError, "q: | -0.1"),
    (lambda: fb.CrossEntropy(1.5), ValueError, "label_smoothing: | 1.5"),
    (lambda: fb.CrossEntropy(NAN), ValueError, "label_smoothing: | nan"),
    (lambda: fb.SGD(-1), ValueError, "lr: | >= 0 & -1"),
    (lambda: fb.SGD(NAN), ValueError, "lr: | nan"),
    (lambda: fb.SGD(10**400), ValueError, "lr: | finite"),
    (lambda: fb.SGD(fb.Cosine), TypeError, "lr: | a number, a schedule or a function & class Cosine"),
    (lambda: fb.SGD("cosine"), TypeError, "lr: | 'cosine'"),
    (lambda: fb.Cosine(-1), ValueError, "lr: | >= 0 & -1"),
    (lambda: fb.Cosine(0.1, end=NAN), ValueError, "end: | nan"),
    (lambda: fb.Cosine(0.1, epochs=0), ValueError, "epochs: | > 0 & 0"),
    (lambda: fb.StepDecay(0.1, 0), ValueError, "every: | > 0 & 0"),
    (lambda: fb.StepDecay(0.1, 3, 0), ValueError, "factor: | > 0 & 0"),
    (lambda: fb.ExponentialDecay(lambda epoch: 0.1, 0.9), TypeError, "lr: | a number & function"),
    (lambda: fb.ExponentialDecay(0.1, "0.9"), TypeError, "factor: | '0.9'"),
    (lambda: fb.OneCycle(0.1, pct_start=1), ValueError, "pct_start: | < 1 & 1"),
    (lambda: fb.OneCycle(0.1, div_factor=0), ValueError, "div_factor: | > 0 & 0"),
    (lambda: fb.Warmup(0.1, epochs=0), ValueError, "epochs: | > 0 & 0"),
    (lambda: fb.Warmup(0.1, start_factor=2), ValueError, "start_factor: | <= 1 & 2"),
    (lambda: fb.Warmup(fb.Cosine), TypeError, "lr: | a number, a schedule or a function & class Cosine"),
    (lambda: fb.Plateau(0.1, 3), TypeError, "monitor: | list of the history & 3"),
    (lambda: fb.Plateau(0.1, factor=1), ValueError, "factor: | < 1 & 1"),
    (lambda: fb.Plateau(0.1, patience=0), ValueError, "patience: | >= 1 & 0"),
    (lambda: fb.Plateau(0.1, cooldown=-1), ValueError, "cooldown: | >= 0 & -1"),
    (lambda: fb.Plateau(0.1, mode="least"), ValueError, "mode: | 'min' & 'least'"),
    (lambda: fb.Progress("bar"), ValueError, "bar: | 'tqdm' & 'bar'"),
    (lambda: fb.Network([2, 1], loss="mse", missing_targets="skip"), ValueError, "missing_targets: | 'mask' & 'skip'"),
    (lambda: fb.Network([2, 3], missing_targets="mask"), ValueError, "missing_targets: | 'raise' & cross_entropy"),
    (lambda: fb.SGD(None), TypeError, "lr: | None"),
    (lambda: fb.SGD(True), TypeError, "lr: | True"),
    (lambda: fb.SGD(np.array([0.1])), TypeError, "lr: | (1,)"),
    (lambda: fb.SGD(1j), TypeError, "lr: | 1j"),
    (lambda: fb.SGD(np.complex64(1)), TypeError, "lr: "),
    (lambda: fb.SGD(np.timedelta64(5)), TypeError, "lr: "),
    (lambda: fb.SGD(0.1, momentum=1), ValueError, "momentum: | < 1"),
    (lambda: fb.SGD(0.1, momentum=-0.1), ValueError, "momentum: | -0.1"),
    (lambda: fb.SGD(0.1, nesterov=True), ValueError, "nesterov: | momentum"),
    (lambda: fb.SGD(0.1, nesterov=1), TypeError, "nesterov: | 1"),
    (lambda: fb.SGD(0.1, weight_decay=-1), ValueError, "weight_decay: | -1"),
    (lambda: fb.Adam(betas=0.9), TypeError, "betas: | 0.9"),
    (lambda: fb.Adam(betas=(0.9,)), TypeError, "betas: "),
    (lambda: fb.Adam(betas=(0.9, 1.0)), ValueError, "betas[1]: | < 1"),
    (lambda: fb.Adam(betas=("a", 0.9)), TypeError, "betas[0]: | 'a'"),
    (lambda: fb.Adam(eps=0), ValueError, "eps: | > 0"),
    (lambda: fb.AdamW(weight_decay=INF), ValueError, "weight_decay: | inf"),
    (lambda: fb.Adam(amsgrad=1), TypeError, "amsgrad: | 1"),
    (lambda: fb.Adam(l1=-1), ValueError, "l1: | >= 0 & -1"),
    (lambda: fb.Adam(decay_bias=0), TypeError, "decay_bias: | 0"),
    (lambda: fb.Adam(clip_norm=0), ValueError, "clip_norm: | > 0 & 0"),
    (lambda: fb.Adam(clip_norm=INF), ValueError, "clip_norm: | inf"),
    (lambda: fb.Adam(clip_value="1"), TypeError, "clip_value: | '1'"),
    (lambda: fb.NAdam(momentum_decay=-1), ValueError, "momentum_decay: | -1"),
    (lambda: fb.RMSprop(alpha=1), ValueError, "alpha: | < 1"),
    (lambda: fb.RMSprop(momentum=1), ValueError, "momentum: | < 1"),
    (lambda: fb.RMSprop(centered=None), TypeError, "centered: | None"),
    (lambda: fb.Adagrad(lr_decay=-1), ValueError, "lr_decay: | -1"),
    (lambda: fb.Adagrad(initial_accumulator_value=-1), ValueError, "initial_accumulator_value: | -1"),
    (lambda: fb.Rprop(etas=(1, 1.2)), ValueError, "etas[0]: | < 1"),
    (lambda: fb.Rprop(etas=(0.5, 1)), ValueError, "etas[1]: | > 1"),
    (lambda: fb.Rprop(etas=0.5), TypeError, "etas: | 0.5"),
    (lambda: fb.Rprop(step_sizes=(0, 1)), ValueError, "step_sizes[0]: | > 0"),
    (lambda: fb.Rprop(step_sizes=(2, 1)), ValueError, "step_sizes[1]: | >= 2"),
]


@pytest.mark.parametrize(("call", "error", "message"), CONSTRUCTORS, ids=[case[2] for case in CONSTRUCTORS])
def test_constructors_refuse(call, error, message):
    check_refusal(call, error, message)


def test_every_case_is_told_apart():
    """No two tables of this module have lost a case to a copied line."""
    for table in (ARRAYS, OUTS):
        assert not [name for name, n in collections.Counter(case[0] for case in table).items() if n > 1]


@pytest.mark.parametrize("name", ["params", "weights", "biases", "dtype", "layers", "optimizer", "history", "n_params"])
def test_public_attributes_cannot_be_replaced(name):
    net = make("cross_entropy")
    before = snapshot(net)
    with pytest.raises(AttributeError, match=f"^{name}: cannot be set"):
        setattr(net, name, None)
    assert snapshot(net) == before


@pytest.mark.parametrize(("value", "row"), [(NAN, 4), (INF, 4)])
def test_values_in_a_stream_are_seen_before_their_batch(tmp_path, monkeypatch, value, row):
    """The steps of the batches before it stay, as the docs say, and the network goes on."""
    bad = with_value(value, row)
    batches = [(X[:2], LABELS[:2]), (X[2:4], LABELS[2:4]), (bad[4:], LABELS[4:])]
    net, twin = make("cross_entropy"), make("cross_entropy")
    twin.fit(batches[:2], epochs=1, verbose=0)
    check_refusal(
        lambda: net.fit(batches, epochs=1, verbose=0), ValueError, "X: | row 0, column 1 & batch 3 of epoch 1"
    )
    assert (net.params == twin.params).all()

    mapped = np.memmap(tmp_path / "X", "f8", "w+", shape=bad.shape)
    mapped[:] = bad
    net = make("cross_entropy")
    run = {"epochs": 1, "batch_size": 2, "shuffle": False, "verbose": 0}
    params = net.params.copy()
    check_refusal(lambda: net.fit(mapped, LABELS, **run), ValueError, f"X: | row {row}, column 1")
    assert (net.params == params).all()  # all six rows are of one window
    monkeypatch.setattr("fastbp.windows.WINDOW_BYTES", 1)  # a window is a batch
    check_refusal(lambda: net.fit(mapped, LABELS, **run), ValueError, f"X: | row {row}, column 1")
    assert (net.params == twin.params).all()
    net = make("cross_entropy")
    check_refusal(lambda: net.fit(mapped, LABELS, batch_size=2, verbose=0), ValueError, f"X: | row {row}, column 1")


def test_a_memory_map_of_the_wrong_kind_is_refused_at_the_door(tmp_path):
    mapped = np.memmap(tmp_path / "X", "f8", "w+", shape=(6, 4))
    labels = np.memmap(tmp_path / "y", "i8", "w+", shape=(5,))
    net = make("cross_entropy")
    before = snapshot(net)
    fresh = {"optimizer": fb.SGD(0.1), "verbose": 0}
    check_refusal(lambda: net.fit(mapped, LABELS, **fresh), ValueError, "X: | (n, 3) & (6, 4)")
    check_refusal(lambda: net.fit(mapped[0, 0], LABELS, **fresh), ValueError, "X: ")
    check_refusal(lambda: net.fit(mapped[:, :3], LABELS + 1, **fresh), ValueError, "y: | row 1")
    check_refusal(lambda: net.fit(mapped[:, :3], labels, **fresh), ValueError, "y: | 6 rows & 5")
    check_refusal(lambda: net.fit(mapped.view("c16")[:, :2], LABELS, **fresh), TypeError, "X: | complex")
    assert snapshot(net) == before


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([X], TypeError, "X: | pairs & (6, 3)"),
        ([(X, LABELS, LABELS, LABELS)], TypeError, "X: | pairs"),
        ([(X, LABELS[:2])], ValueError, "y: | 6 rows & batch 1 of epoch 1"),
        ([(X[:0], LABELS[:0])], ValueError, "X: | at least one row & batch 1"),
        ([("abc", LABELS)], TypeError, "X: | batch 1"),
        ([], ValueError, "X: | batches of data, got none"),
        (range(0), ValueError, "X: | got none in epoch 1"),
    ],
)
def test_bad_batches_are_refused(batches, error, message):
    net = make("cross_entropy")
    params = net.params.copy()
    check_refusal(lambda: net.fit(batches, verbose=0), error, message)
    assert (net.params == params).all()
