"""Training steps against the twin's: parameters and losses after a few of them, by every way through the core.

Plain SGD on batches of one row has a way of its own for nets no wider than a vector (src/narrow.pxd) and one for wider
nets (src/online.pxd); all else goes src/step.pxd's. A run is judged by how far it ends from the twin's, relative to the
length of the twin's way, or to 0.3% of the parameters if that is more: it adds up the rounding of its steps, and
Adam's m / sqrt(v) has that of g entry by entry.
"""

import copy
import dataclasses
import itertools

import numpy as np
import optimizers
import pytest
import reference
from comparison import DTYPES, TOLERANCE, check, relative_error
from passes import twin_layers
from problems import (
    ACTIVATIONS,
    LOGIT_OUTPUTS,
    LOSSES,
    draw_problem,
    make_network,
    output_of,
    stable_seed,
    vector_lanes,
    wide_enough,
)
from wellposed import has_kinks, near_kinks

import fastbp as fb

RUN_TOLERANCE = {"float64": 1e-12, "float32": 1e-4}

OPTIMIZERS = [
    fb.SGD(0.05),
    fb.SGD(0.05, weight_decay=0.1),
    fb.SGD(0.02, momentum=0.9),
    fb.SGD(0.02, momentum=0.9, nesterov=True, weight_decay=0.01),
    fb.Adam(),
    fb.Adam(0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
    fb.AdamW(),
    fb.AdamW(0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
    *optimizers.FEW,
]


class NearKink(Exception):
    """float32 may fall on the other side of a kink here."""


class TwinOptimizer:
    """The twin's optimiser; adds up the lengths of its steps, and looks before each how near the rows are to a kink."""

    def __init__(self, optimizer, problem, watch):
        self.twin = reference.OPTIMIZERS[type(optimizer).__name__](**dataclasses.asdict(optimizer))
        self.problem = problem
        self.watch = watch and has_kinks(problem.spec)
        self.watch_weights = watch and optimizer.l1 > 0  # sign(w), too, has a kink
        self.way = 0.0

    def step(self, params, gradient, biases):
        if self.watch and near_kinks(self.problem.spec, params, self.problem.X, self.problem.t).any():
            raise NearKink
        if self.watch_weights and (np.abs(params) < 2e-7).any():
            raise NearKink
        start = params.copy()
        self.twin.step(params, gradient, biases)
        self.way += np.linalg.norm(params - start)


def twin_run(problem, optimizer, orders, batch_size, watch):
    """Parameters, the length of the way to them, and the loss of each epoch; an epoch per order of rows."""
    params = problem.params.copy()
    twin = TwinOptimizer(optimizer, problem, watch)
    losses = []
    for order in orders:
        losses += reference.fit(
            params,
            twin_layers(problem, params),
            problem.X[order],
            problem.t[order],
            problem.spec.loss,
            twin,
            epochs=1,
            batch_size=batch_size,
            sample_weight=None if problem.w is None else problem.w[order],
            **problem.spec.loss_parameters,
        )
    return params, twin.way, losses


def check_run(
    what, seed, sizes, activations, variant, optimizer, dtype, *, batch_size, epochs=1, shuffle=False, **shape
):
    for later in range(100):
        problem = draw_problem(seed + later, sizes, activations, variant, dtype=dtype, **shape)
        net = make_network(problem, dtype, seed=problem.seed)
        rng = copy.deepcopy(net._rng)  # what the network is about to shuffle with
        rows = len(problem.X)
        seeds = [rng.bit_generator.random_raw() for _ in range(epochs)]
        orders = [reference.permutation(seed, rows) if shuffle else np.arange(rows) for seed in seeds]
        try:
            params, way, losses = twin_run(problem, optimizer, orders, batch_size, watch=dtype == "float32")
            break
        except NearKink:
            continue
    else:
        raise AssertionError(f"no run away from the kinks found: {problem}")
    X, t, w = problem.data(dtype)
    settings = {"epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "shuffle": shuffle}
    history = net.fit(X, t, sample_weight=w, verbose=0, **settings)
    settings = f"{problem} {settings}"
    error = np.linalg.norm(net.params - params) / max(way, 3e-3 * np.linalg.norm(params))
    check(f"{what}: parameters", dtype, error, RUN_TOLERANCE[dtype], settings)
    check(f"{what}: losses", dtype, relative_error(history.history["loss"], losses), TOLERANCE[dtype], settings)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 8, 13, 50, 64])  # 50 rows: even, with a short last batch, whole, larger
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_training_follows_the_twin(optimizer, batch_size, dtype):
    for activation, variant in (("tanh", "mse"), ("silu", "cross_entropy of classes"), ("sigmoid", "huber")):
        seed = stable_seed(str(optimizer), batch_size, variant)
        activations = (activation, activation, output_of(variant))
        shape = {"rows": 50, "weighted": bool(seed & 1), "batch_size": batch_size, "epochs": 2}
        check_run("training", seed, (5, 11, 7, 3), activations, variant, optimizer, dtype, **shape)


def widths(dtype):
    """Of nets (inputs, hidden, outputs) around the vector: no wider, and wider."""
    n = vector_lanes(dtype)
    return [(1, 1, 1), (n - 1, n, 1), (n, n - 1, n), (n, n, n), (n + 1, n, 1), (1, 2 * n + 1, n + 1), (70, n - 1, 70)]


CASES = list(itertools.product(ACTIVATIONS, LOSSES))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", range(len(CASES)), ids=["-".join(case) for case in CASES])
def test_steps_at_widths_around_the_vector_follow_the_twin(case, dtype):
    """Batches of one row, and of three with a last one of one row. The switches take turns from case to case."""
    activation, variant = CASES[case]
    outputs = output_of(variant), activation if LOSSES[variant][0] not in LOGIT_OUTPUTS else "identity"
    for k, (sizes, batch_size) in enumerate(itertools.product(widths(dtype), (1, 3))):
        bias, weighted, shuffle, decay = (bool((case + k) >> bit & 1) for bit in range(4))
        activations = (activation, outputs[(case + k) // 2 % 2])
        sizes = wide_enough(sizes, variant, activations)
        seed = stable_seed("steps", case, sizes, batch_size)
        lr = 0.002 if variant == "poisson" else 0.02  # e^y of a wide linear net runs away at 0.02, the twin's too
        optimizer = fb.SGD(lr, weight_decay=0.1 if decay else 0)
        shape = {"rows": 7, "bias": bias, "weighted": weighted, "shuffle": shuffle, "batch_size": batch_size}
        check_run("steps", seed, sizes, activations, variant, optimizer, dtype, **shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_every_optimizer_at_widths_around_the_vector_follows_the_twin(optimizer, dtype):
    for k, (sizes, batch_size) in enumerate(itertools.product(widths(dtype), (1, 4))):
        seed = stable_seed("optimizers", str(optimizer), sizes, batch_size)
        shape = {"rows": 9, "bias": bool(k & 2), "weighted": bool(k & 4), "batch_size": batch_size, "epochs": 2}
        check_run("steps", seed, sizes, ("tanh", "identity"), "mse", optimizer, dtype, shuffle=bool(k & 1), **shape)


@pytest.mark.parametrize("sizes", [(5, 11, 7, 3), (5, 70, 60, 3)])
@pytest.mark.parametrize("optimizer", [fb.Rprop(), optimizers.RPROP], ids=str)
def test_rprop_follows_the_twin(optimizer, sizes):
    """In float64 alone: which way a gradient near 0 points is a matter of rounding."""
    shape = {"rows": 20, "batch_size": 20, "epochs": 30}
    check_run("training", 5, sizes, ("tanh", "silu", "identity"), "mse", optimizer, "float64", **shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("beside", [-1, 0, 1])
def test_steps_with_rows_of_weights_around_a_page_follow_the_twin(beside, batch_size, dtype):
    """Rows of 4 KiB would fall into the same cache sets; src/plan.pxd lays them further apart."""
    width = 4096 // np.dtype(dtype).itemsize + beside
    seed = stable_seed("page", width)
    shape = {"rows": 5, "batch_size": batch_size}
    check_run("steps", seed, (width, 3, width), ("tanh", "identity"), "mse", fb.SGD(0.02), dtype, **shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [257, 300, 513])
def test_batches_of_several_blocks_follow_the_twin(batch_size, dtype):
    for k, optimizer in enumerate((fb.SGD(0.05, momentum=0.9), fb.Adam(0.01))):
        shape = {"rows": 600, "weighted": bool(k), "shuffle": True, "batch_size": batch_size, "epochs": 2}
        seed = stable_seed("blocks", batch_size, k)
        check_run("training", seed, (9, 17, 5), ("tanh", "identity"), "mse", optimizer, dtype, **shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_fit_without_an_optimizer_continues_the_last_one(optimizer, dtype):
    problem = draw_problem(3, (4, 9, 2), ("tanh", "identity"), "mse", rows=30, dtype=dtype)
    settings = {"batch_size": 10, "shuffle": False, "verbose": 0}
    once = make_network(problem, dtype)
    once.fit(problem.X, problem.t, epochs=4, optimizer=optimizer, **settings)
    twice = make_network(problem, dtype)
    twice.fit(problem.X, problem.t, epochs=3, optimizer=optimizer, **settings)
    twice.fit(problem.X, problem.t, epochs=1, **settings)
    np.testing.assert_array_equal(once.params, twice.params)


@pytest.mark.parametrize("dtype", DTYPES)
def test_naming_an_optimizer_starts_it_fresh(dtype):
    problem = draw_problem(4, (4, 9, 2), ("tanh", "identity"), "mse", rows=30, dtype=dtype)
    X, t, _ = problem.data(dtype)
    net = make_network(problem, dtype)
    in_order = [np.arange(30)]
    params = problem.params
    for _ in range(2):
        start = dataclasses.replace(problem, params=params)
        params, way, _ = twin_run(start, fb.Adam(0.01), in_order, 10, watch=False)
        net.fit(X, t, epochs=1, batch_size=10, optimizer=fb.Adam(0.01), shuffle=False, verbose=0)
        error = np.linalg.norm(net.params - params) / way
        check("training: parameters", dtype, error, RUN_TOLERANCE[dtype], problem)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 6, 7, 50])
@pytest.mark.parametrize("variant", LOSSES)
def test_the_loss_of_an_epoch_is_the_mean_over_its_rows(variant, batch_size, weighted, dtype):
    """With a learning rate of 0 no step moves, so batches of any size, the last one shorter, add up to the whole."""
    activations = ("tanh", output_of(variant))
    shape = {"rows": 20, "weighted": weighted, "dtype": dtype}
    problem = draw_problem(stable_seed("mean", variant), (5, 9, 3), activations, variant, **shape)
    net = make_network(problem, dtype)
    X, t, w = problem.data(dtype)
    want = net.loss(X, t, sample_weight=w)
    history = net.fit(X, t, epochs=2, batch_size=batch_size, optimizer=fb.SGD(0), sample_weight=w, verbose=0)
    np.testing.assert_allclose(history.history["loss"], want, rtol=20 * np.finfo(dtype).eps, err_msg=str(problem))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("missing", ["raise", "mask"])
@pytest.mark.parametrize("large", [[0], [20], [36], [5, 6, 36], range(37)], ids=str)
def test_no_loss_is_lost_beside_rows_of_large_targets(large, missing, dtype):
    """Narrow nets of one output put off the losses of their rows, but not those of rows with large numbers."""
    problem = draw_problem(4, (2, 3, 1), ("tanh", "identity"), "mse", rows=37, dtype=dtype)
    X, t, _ = problem.data(dtype)
    t[:] = 5e3
    t[large] = 2e4
    if missing == "mask":
        t[[3, 30]] = np.nan
    net = make_network(problem, dtype, missing_targets=missing)
    want = net.loss(X, t)
    history = net.fit(X, t, epochs=1, batch_size=1, optimizer=fb.SGD(0), shuffle=False, verbose=0)
    np.testing.assert_allclose(history.history["loss"], [want], rtol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(2, 3, 1), (2, 40, 1)], ids=["narrow", "wide"])
def test_the_loss_of_an_epoch_has_the_same_bits_in_pieces(sizes, dtype, tmp_path):
    problem = draw_problem(3, sizes, ("sigmoid", "sigmoid"), "binary_cross_entropy", rows=101, dtype=dtype)
    X, t, _ = problem.data(dtype)
    ends = []
    for callbacks in [], [fb.Checkpoint(tmp_path / "run.npz", every_steps=7)]:
        net = make_network(problem, dtype)
        settings = {"batch_size": 1, "optimizer": fb.SGD(0.1), "shuffle": False, "callbacks": callbacks, "verbose": 0}
        ends.append((net.fit(X, t, epochs=3, **settings).history["loss"], net.params.tolist()))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_step_of_one_row_that_would_leave_the_numbers_is_refused(activation, dtype):
    """Of the three rows the first two go well; the third takes a learning rate at which no number holds the weights."""
    largest = float(np.finfo(dtype).max)
    net = fb.Network([2, 3, 1], activation=activation, loss="mse", dtype=dtype, seed=1)
    after_two = net.copy()
    X, t = [[0.5, -1.0], [1.0, 0.3], [-0.2, 0.4]], [1.0, -2.0, 50.0]
    after_two.fit(X[:2], t[:2], epochs=1, batch_size=1, optimizer=fb.SGD(0.1), shuffle=False, verbose=0)
    rates = iter([0.1, 0.1, largest / 4])
    with pytest.raises(fb.DivergedError):
        for row in range(3):
            settings = {"batch_size": 1, "optimizer": fb.SGD(next(rates)), "shuffle": False, "verbose": 0}
            net.fit(X[row : row + 1], t[row : row + 1], epochs=1, **settings)
    np.testing.assert_array_equal(net.params, after_two.params)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(2, 3, 1), (2, 40, 1)], ids=["narrow", "wide"])
def test_a_row_whose_squares_overflow_takes_the_step_that_its_gradient_allows(sizes, dtype):
    """A step of one row bounds its gradient by the squares of inputs and deltas, unless these overflow."""
    problem = draw_problem(2, sizes, ("tanh", "identity"), "mse", rows=9, dtype=dtype)
    X, t, _ = problem.data(dtype)
    huge = np.finfo(dtype).max ** 0.6
    settings = {"epochs": 1, "batch_size": 1, "optimizer": fb.SGD(0.1), "shuffle": False, "verbose": 0}
    others, kept = make_network(problem, dtype), np.arange(9) != 3
    others.fit(X[kept], t[kept], **settings)

    X[3] = huge
    t[3] = np.nan  # its gradient is 0
    net = make_network(problem, dtype, missing_targets="mask")
    net.fit(X, t, **settings)
    np.testing.assert_array_equal(net.params, others.params)
    t[3] = net.predict(X[3]) + 1  # tanh at its ends: no gradient but that of the last layer
    net.fit(X[3:4], t[3:4], **settings)
    assert net.predict(X[3]) != t[3] - 1

    net.weights[0][:] = 0
    before = net.params.copy()
    with pytest.raises(fb.DivergedError):
        net.fit(X[3:4], t[3:4], **{**settings, "optimizer": fb.SGD(float(np.finfo(dtype).max ** 0.5))})
    np.testing.assert_array_equal(net.params, before)
