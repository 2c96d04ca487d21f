"""Every public method over every activation, loss and optimiser, on odd shapes: a short run for valgrind.

It looks at memory, not at results, which are the tests' business; but all of them must be finite. Widths lie around the
lanes of a vector, rows around the register tile; one net is deeper and longer than a block.
"""

import copy
import pickle

import numpy as np

import fastbp as fb
from fastbp import config
from fastbp.layers import ACTIVATIONS

CLASSES = {"cross_entropy", "hinge"}
LOSSES = ["mse", "mae", fb.Huber(0.8), fb.Quantile(0.3), "poisson", "cross_entropy", fb.CrossEntropy(0.1),
          "binary_cross_entropy", "hinge"]  # fmt: skip
OPTIMIZERS = [fb.SGD(0.01), fb.SGD(0.01, weight_decay=0.1), fb.SGD(0.01, momentum=0.9, nesterov=True), fb.Adam(),
              fb.AdamW()]  # fmt: skip
ROWS = (1, 7, 19)
calls = 0


def finite(result):
    global calls
    calls += 1
    assert np.isfinite(np.asarray(result)).all(), f"call {calls}"


def data(net, rows, labels=False):
    """Arrays that end where their numbers end, so that a read past them is one past the block of memory."""
    rng = np.random.default_rng(rows)
    X = rng.standard_normal((rows, net.n_inputs)).astype(net.dtype)
    y = rng.integers(0, net.n_outputs, rows)
    if not labels:
        y = np.eye(net.n_outputs, dtype=net.dtype)[y]
        if net.objective.name == "hinge":
            y = 2 * y - 1
    return X, y, rng.uniform(0.5, 2, rows).astype(net.dtype)


def passes(net, labels=False, rows=ROWS):
    for n in rows:
        X, y, weights = data(net, n, labels)
        finite(net.predict(X))
        finite(net.predict(X, out=np.empty((n, net.n_outputs), net.dtype)))
        finite(net.loss(X, y, sample_weight=weights))
        loss, gradient = net.loss_and_grad(X, y, sample_weight=weights)
        finite(loss)
        finite(gradient)
        finite(net.input_grad(X, y))


def derivatives(net, rows):
    X, y, _ = data(net, rows)
    finite(net.jacobian(X))
    finite(net.param_jacobian(X))
    finite(net.per_sample_grads(X, y))
    finite(net.hvp(X, y, np.ones(net.n_params)))


def fits(net, optimizer, batches=(1, 6, 19)):
    X, y, weights = data(net, 19)
    for batch_size in batches:
        net.fit(X, y, epochs=1, batch_size=batch_size, optimizer=optimizer, sample_weight=weights, verbose=0)
        finite(net.params)


def everything(dtype):
    for activation in ACTIVATIONS:
        for bias in (True, False):
            net = fb.Network([5, 9, 17, 3], activation=activation, loss="mse", bias=bias, dtype=dtype, seed=0)
            passes(net, rows=ROWS if bias else (19,))
        X, y, _ = data(net, 1)
        finite(net.trace(X[0], y[0]).arrays["L"])
    for loss in LOSSES:
        net = fb.Network([3, 8, 33], loss=loss, dtype=dtype, seed=0)
        passes(net)
        if net.objective.name in CLASSES:
            passes(net, labels=True)
    for optimizer in OPTIMIZERS:
        for sizes in ([2, 3, 1], [13, 21, 5], [4, 4]):
            fits(fb.Network(sizes, activation="tanh", loss="mse", dtype=dtype, seed=0), optimizer)
    net = fb.Network([259, 270, 3], loss="mse", dtype=dtype, seed=0)  # more than a block of rows and of depth
    passes(net, rows=(261,))
    fits(net, fb.Adam(), batches=(19,))

    for activation in ACTIVATIONS:
        net = fb.Network([5, 9, 17, 3], activation=activation, loss="mse", dtype=dtype, seed=0)
        for rows in (1, 5, 19):
            derivatives(net, rows)
    net = fb.Network([41, 33, 3], loss="mse", dtype=dtype, seed=0)
    X, y, _ = data(net, 3001)  # a result that is written past the caches
    finite(net.per_sample_grads(X, y))
    net = fb.Network([5, 9, 3], loss="mse", dtype=dtype, seed=0)
    X, y, _ = data(net, 37)
    for run in ("lanes", "threads"):
        ensemble = fb.Ensemble(net, 5, run=run, bootstrap=True, threads=1)
        ensemble.fit(X, y, epochs=2, batch_size=8, optimizer=fb.Adam(), verbose=0)
        finite(ensemble.predict(X)[0])
    net.fit(X, y, epochs=2, optimizer=fb.LevenbergMarquardt(), verbose=0)
    finite(net.params)
    masked = fb.Network([5, 9, 3], loss="mse", dtype=dtype, seed=0, missing_targets="mask")
    y = np.where(np.arange(y.size).reshape(y.shape) % 4, y, np.nan)
    masked.fit(X, y, epochs=2, batch_size=8, optimizer=fb.Adam(lr=fb.Cosine(1e-3)), verbose=0)
    finite(masked.params)
    finite(masked.per_sample_grads(X, y))
    finite(masked.hvp(X, y, np.ones(net.n_params)))

    norms = [9, fb.BatchNorm(), fb.Activation("sigmoid"), fb.Dropout(0.3), fb.Dense(17, "elu"), fb.LayerNorm(), 3]
    for rows in (19, 261):
        net = fb.Network([5, fb.LayerNorm(), *norms], loss="mse", dtype=dtype, seed=0)
        X, y, _ = data(net, rows)
        passes(net, rows=(1, 2, rows))
        derivatives(net, 19)
        finite(net.loss_and_grad(X, y, training=True)[1])
        finite(net.input_grad(X, y, training=True))
        finite(net.trace(X[0], y[0]).arrays["L"])
        fits(net, fb.Adam(), batches=(2 * 19, 17))

    net = fb.Network([3, 5, 2], activation="silu", loss="cross_entropy", dtype=dtype, seed=0)
    X, y, _ = data(net, 19, labels=True)
    finite(net.evaluate(X, y)["loss"])
    finite(net.gradcheck(X, y).max_error)
    for other in (net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        finite(other.predict(X[0]))


for dtype in ("float32", "float64"):
    everything(dtype)
print(f"{calls} calls at level {config.LEVEL}: all finite")
