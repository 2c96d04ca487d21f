"""LevenbergMarquardt: its steps against dense formulas in NumPy, its ends, and what `fit` makes of it."""

import copy

import numpy as np
import pytest
import reference
from comparison import check, relative_error
from passes import twin_layers
from problems import draw_problem, make_network
from reference_layers import Chain
from test_layers import CHAINS, network
from test_layers import data as data_for

import fastbp as fb
from fastbp import levenberg_marquardt
from fastbp.cholesky import Cholesky

SIZES = (3, 7, 5, 2)  # 73 parameters
TOLERANCE = 1e-12  # the matrix has a condition of 1 / damping: three


def problem(rows, weighted=False, sizes=SIZES):
    return draw_problem(7, sizes, ("tanh",) * (len(sizes) - 2) + ("identity",), "mse", rows=rows, weighted=weighted)


def fit(net, problem, optimizer, epochs=1, **arguments):
    return net.fit(
        problem.X, problem.t, epochs=epochs, optimizer=optimizer, sample_weight=problem.w, verbose=0, **arguments
    )


def residuals(problem, params):
    """(m,): half their squares sum to the loss."""
    w = np.ones(len(problem.X)) if problem.w is None else problem.w / problem.w.mean()
    z = reference.predict(twin_layers(problem, params), problem.X)
    return (np.sqrt(2 * w / problem.t.size)[:, None] * (z - problem.t)).ravel()


def first_step(problem, damping, weight_decay, acceleration):
    """What the formulas of the docstring give, in dense matrices."""
    p = problem.params
    w = np.ones(len(problem.X)) if problem.w is None else problem.w / problem.w.mean()
    _, J = reference.jacobians(twin_layers(problem, p), problem.X)
    J = (np.sqrt(2 * w / problem.t.size)[:, None, None] * J).reshape(-1, len(p))
    r = residuals(problem, p)
    A = J.T @ J
    mu = damping * A.diagonal().max()
    A += (weight_decay + mu) * np.eye(len(p))
    h = -np.linalg.solve(A, J.T @ r + weight_decay * p)
    if not acceleration:
        return h
    ahead, behind = (residuals(problem, p + e * h) for e in (0.1, -0.1))
    return h - 0.5 * np.linalg.solve(A, J.T @ (ahead - 2 * r + behind) / 0.01)


@pytest.mark.parametrize("acceleration", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [9, 36, 37, 300])  # 18 and 72 residuals are fewer than parameters
def test_the_first_step_is_that_of_the_formulas(rows, weighted, weight_decay, acceleration):
    given = problem(rows, weighted)
    net = make_network(given, "float64")
    optimizer = fb.LevenbergMarquardt(0.3, weight_decay=weight_decay, acceleration=acceleration)
    history = fit(net, given, optimizer)
    want = first_step(given, 0.3, weight_decay, acceleration)
    error = relative_error(net.params - given.params, want)
    check("levenberg_marquardt: first step", "float64", error, TOLERANCE, given)
    assert history.history["loss"] == [net.loss(given.X, given.t, sample_weight=given.w)]


@pytest.mark.parametrize("rows", [9, 300])
@pytest.mark.parametrize("chain", CHAINS)
def test_the_first_step_is_that_of_the_formulas_with_any_layers(chain, rows):
    """In evaluation mode: dropout drops nothing, batch norms go by running statistics, which stay."""
    net = network(chain, 6)
    X, y = data_for(net, rows)
    p, running = net.params.copy(), bytes(net._engine.running)
    twin = Chain(net)
    root = np.sqrt(2 / y.size)
    J = root * twin.jacobians(X)[1].reshape(-1, net.n_params)
    r = root * (twin.predict(X) - y).ravel()
    A = J.T @ J
    A += 0.3 * A.diagonal().max() * np.eye(len(p))
    history = net.fit(X, y, epochs=1, optimizer=fb.LevenbergMarquardt(0.3, acceleration=False), verbose=0)
    error = relative_error(net.params - p, -np.linalg.solve(A, J.T @ r))
    check("levenberg_marquardt: layers", "float64", error, TOLERANCE, f"{chain} rows={rows}")
    assert history.history["loss"] == [net.loss(X, y)]
    assert bytes(net._engine.running) == running


def test_norms_train_and_dropouts_leave_the_bits():
    x = np.linspace(-10, 10, 300)[:, None]
    y = np.sinc(x / np.pi)
    plain, dropped = (
        fb.Network(
            [1, 12, *between, fb.Activation("tanh"), fb.LayerNorm(), *between, 1], loss="mse", dtype="float64", seed=0
        )
        for between in ((), (fb.Dropout(0.5),))
    )
    for net in (plain, dropped):
        losses = net.fit(x / 10, y, epochs=100, optimizer=fb.LevenbergMarquardt(), verbose=0).history["loss"]
        assert all(later < earlier for earlier, later in zip(losses, losses[1:], strict=False))
        assert losses[-1] < 1e-3 * y.var()
    np.testing.assert_array_equal(dropped.params, plain.params)


@pytest.mark.parametrize("rows", [20, 300])
def test_blocks_of_rows_change_no_more_than_rounding(rows, monkeypatch):
    given = problem(rows, weighted=True)
    whole, in_blocks = (make_network(given, "float64") for _ in range(2))
    fit(whole, given, fb.LevenbergMarquardt(), 5)
    monkeypatch.setattr(levenberg_marquardt, "NUMBERS_OF_A_BLOCK", 1)
    fit(in_blocks, given, fb.LevenbergMarquardt(), 5)
    check("levenberg_marquardt: blocks", "float64", relative_error(in_blocks.params, whole.params), 1e-10, given)
    # five steps, in each of which rounding counts up to 1 / damping = 1000 times


def test_it_finds_the_least_squares_solution_of_a_linear_network():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((50, 4)), rng.standard_normal((50, 3))
    want, *_ = np.linalg.lstsq(np.hstack([X, np.ones((50, 1))]), y, rcond=None)
    net = fb.Network([4, 3], loss="mse", dtype="float64", seed=0)
    history = net.fit(X, y, epochs=100, optimizer=fb.LevenbergMarquardt(), verbose=0)
    np.testing.assert_allclose(net.weights[0], want[:4].T, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(net.biases[0], want[4], rtol=1e-8, atol=1e-10)
    assert len(history.epochs) < 20  # it ended by itself


def test_weight_decay_leads_to_the_ridge_solution():
    rng = np.random.default_rng(0)
    for n in (30, 6):  # more residuals than parameters, and fewer
        X, y = rng.standard_normal((n, 8)), rng.standard_normal(n)
        want = np.linalg.solve(2 / n * X.T @ X + 0.1 * np.eye(8), 2 / n * X.T @ y)
        net = fb.Network([8, 1], loss="mse", bias=False, dtype="float64", seed=0)
        net.fit(X, y, epochs=100, optimizer=fb.LevenbergMarquardt(weight_decay=0.1), verbose=0)
        np.testing.assert_allclose(net.params, want, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("seed", [0, 1])
def test_sinc_to_a_hundred_millionth(seed):
    x = np.linspace(-10, 10, 1000)[:, None]
    y = np.sinc(x / np.pi)
    net = fb.Network([1, 20, 20, 1], activation="tanh", loss="mse", dtype="float64", seed=seed)
    history = net.fit(x / 10, y, epochs=100, optimizer=fb.LevenbergMarquardt(), verbose=0)
    losses = history.history["loss"]
    assert losses[-1] < 1e-8
    assert all(later < earlier for earlier, later in zip(losses, losses[1:], strict=False))
    assert losses[-1] == net.loss(x / 10, y)
    assert list(history.history) == ["loss", "damping", "seconds"]
    assert all(len(values) == len(losses) for values in history.history.values())


def test_float32_networks_come_down_to_rounding():
    x = np.linspace(-10, 10, 1000)[:, None]
    net = fb.Network([1, 12, 12, 1], activation="tanh", loss="mse", seed=0)
    net.fit(x / 10, np.sinc(x / np.pi), epochs=60, optimizer=fb.LevenbergMarquardt(), verbose=0)
    assert net.loss(x / 10, np.sinc(x / np.pi)) < 1e-6


def test_it_ends_where_there_is_nothing_to_gain():
    given = problem(50)
    net = make_network(given, "float64")
    before = net.params.copy()
    history = net.fit(given.X, net.predict(given.X), epochs=10, optimizer=fb.LevenbergMarquardt(), verbose=0)
    assert history.history["loss"] == [0.0]
    np.testing.assert_array_equal(net.params, before)
    for name in ("gtol", "xtol"):
        history = fit(make_network(given, "float64"), given, fb.LevenbergMarquardt(**{name: 1e9}), 10)
        assert len(history.epochs) == 1, name


def test_callbacks_and_validation():
    given, other = problem(60), problem(20)
    net = make_network(given, "float64")
    stop = fb.EarlyStopping(patience=2)
    history = fit(
        net, given, fb.LevenbergMarquardt(), 200, validation_data=(other.X, other.t[:, ::-1]), callbacks=[stop]
    )
    assert stop.stopped and len(history.epochs) == stop.best_epoch + 2 < 200
    assert net.loss(other.X, other.t[:, ::-1]) == stop.best == min(history.history["val_loss"])
    with pytest.raises(ValueError, match="monitor: expected one of loss, damping, seconds, got 'lr'"):
        fit(net, given, fb.LevenbergMarquardt(), callbacks=[fb.EarlyStopping("lr")])


@pytest.mark.parametrize("at", [1, 2, 5])
def test_an_interrupt_leaves_the_last_complete_step(at, monkeypatch):
    given = problem(60)
    want, net = make_network(given, "float64"), make_network(given, "float64")
    fit(want, given, fb.LevenbergMarquardt(), at)

    def interrupted(self, p, h):
        found = whole(self, p, h)
        if len(net.history.epochs) == at:
            self.objective.move(p + h)
            raise KeyboardInterrupt
        return found

    whole = levenberg_marquardt.Residuals.second_derivative
    monkeypatch.setattr(levenberg_marquardt.Residuals, "second_derivative", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(net, given, fb.LevenbergMarquardt(), 100)
    assert len(net.history.epochs) == at
    np.testing.assert_array_equal(net.params, want.params)


def test_divergence_leaves_the_parameters():
    given = problem(60)
    net = make_network(given, "float64")
    net.params[:] *= 1e154
    before = net.params.copy()
    with pytest.raises(fb.DivergedError):
        fit(net, given, fb.LevenbergMarquardt())
    np.testing.assert_array_equal(net.params, before)


def test_a_trial_that_overflows_is_a_step_too_long():
    x = np.linspace(0, 1, 20)[:, None]
    net = fb.Network([1, 4, 1], activation="exp", output="exp", loss="mse", dtype="float64", seed=0)
    history = net.fit(x, 100 * x, epochs=50, optimizer=fb.LevenbergMarquardt(1e-9), verbose=0)
    losses = history.history["loss"]
    assert np.isfinite(net.params).all() and all(b <= a for a, b in zip(losses, losses[1:], strict=False))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [2, 5])  # residuals fewer than parameters, and more
def test_no_step_makes_the_loss_larger_where_the_matrix_is_singular(rows, dtype):
    """A softmax of one output lets nothing through; hardly damped, the steps along it are rounding errors."""
    for seed in range(5):
        chain = [1, 3, fb.Dense(1, "softmax"), fb.Dense(3, "softplus")]
        net = fb.Network(chain, loss="mse", dtype=dtype, seed=seed)
        rng = np.random.default_rng(seed)
        X, t = rng.standard_normal((rows, 1)), rng.standard_normal((rows, 3))
        begin = net.loss(X, t)
        history = net.fit(X, t, epochs=30, optimizer=fb.LevenbergMarquardt(1e-20, gtol=0, xtol=0), verbose=0)
        losses = np.array([begin, *history.history["loss"]])
        assert (np.diff(losses) <= 0).all(), f"seed {seed}: {losses}"


def test_a_damping_that_rounds_to_zero_grows_all_the_same():
    net = fb.Network([2, 1], loss="mse", bias=False, dtype="float64", seed=0)
    X, t = np.full((1, 2), 1e-3), np.array([1e-3])
    history = net.fit(X, t, epochs=3, optimizer=fb.LevenbergMarquardt(1e-320), verbose=0).history
    assert history["loss"][-1] < 1e-30 and history["damping"][-1] > 0


def test_the_optimizer_goes_along_and_goes_on(tmp_path):
    given = problem(60)
    net = make_network(given, "float64")
    optimizer = fb.LevenbergMarquardt(0.1, weight_decay=1e-4, acceleration=False, gtol=1e-9, xtol=1e-9)
    fit(net, given, optimizer, 2)
    net.save(tmp_path / "net.npz")
    for twin in (copy.deepcopy(net), net.copy(), fb.load(tmp_path / "net.npz")):
        assert twin.optimizer == optimizer
        fit(twin, given, None)
    fit(net, given, None)
    np.testing.assert_array_equal(twin.params, net.params)
    fit(net, given, fb.Adam())  # and after it another
    assert list(net.history.history) == ["loss", "lr", "seconds"]


class OwnLoss:
    def value_and_delta(self, outputs, targets):
        return 0.0, np.zeros_like(outputs)


def test_what_it_cannot_train_is_refused_and_nothing_changes(tmp_path):
    given = problem(6)
    X, t = given.X, given.t
    optimizer = fb.LevenbergMarquardt()
    mapped = np.memmap(tmp_path / "X", X.dtype, "w+", shape=X.shape)
    refusals = [
        ("mse", (X, t), {"batch_size": 5}, "batch_size: expected None or all 6 rows in one batch"),
        ("huber", (X, t), {}, "optimizer: expected a network of loss mse with LevenbergMarquardt, got huber"),
        (OwnLoss(), (X, t), {}, "optimizer: expected a network of loss mse with LevenbergMarquardt, got OwnLoss"),
        ("mse", (mapped, t), {}, "X: expected an array in memory"),
        ("mse", ([(X, t)],), {}, "y: expected targets with LevenbergMarquardt"),
    ]
    for loss, data, arguments, message in refusals:
        net = fb.Network([3, 4, 2], loss=loss, output="identity", seed=0)
        before = net.params.copy()
        with pytest.raises(ValueError, match=message):
            net.fit(*data, optimizer=optimizer, verbose=0, **arguments)
        np.testing.assert_array_equal(net.params, before)
        assert net.optimizer is None and net.history is None
    net = fb.Network([3, 4, 2], loss="mse", seed=0)
    assert len(net.fit(X, t, epochs=2, batch_size=7, optimizer=optimizer, verbose=0).epochs) == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"damping": 0}, ValueError),
        ({"damping": np.inf}, ValueError),
        ({"damping": "much"}, TypeError),
        ({"weight_decay": -1}, ValueError),
        ({"gtol": -1}, ValueError),
        ({"xtol": np.nan}, ValueError),
        ({"acceleration": 1}, TypeError),
    ],
)
def test_constructor_refuses(arguments, error):
    with pytest.raises(error, match=next(iter(arguments))):
        fb.LevenbergMarquardt(**arguments)


@pytest.mark.parametrize("n", [1, 31, 32, 33, 100])
def test_cholesky_solves(n):
    rng = np.random.default_rng(n)
    A = rng.standard_normal((n, n + 5))
    A = A @ A.T + 0.1 * np.eye(n)
    b = rng.standard_normal(n)
    assert relative_error(Cholesky(A).solve(b), np.linalg.solve(A, b)) < 1e-10
    with pytest.raises(np.linalg.LinAlgError):
        Cholesky(-A)
