"""LBFGS: SciPy's own minimisation of the same function, and what `fit` makes of it."""

import copy
import sys
import threading

import numpy as np
import pytest
from problems import draw_problem, make_network, output_of

import fastbp as fb

optimize = pytest.importorskip("scipy.optimize")


def problem(variant="mse", rows=60):
    return draw_problem(7, (3, 7, 5, 3), ("tanh", "tanh", output_of(variant)), variant, rows=rows, weighted=True)


def fit(net, problem, epochs, optimizer, **arguments):
    return net.fit(
        problem.X, problem.t, epochs=epochs, optimizer=optimizer, sample_weight=problem.w, verbose=0, **arguments
    )


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("variant", ["mse", "cross_entropy of classes", "poisson"])
def test_iterations_are_scipys(variant, weight_decay):
    given = problem(variant)
    twin = make_network(given, "float64")
    losses = []

    def function(p):
        twin.params[:] = p
        loss, gradient = twin.loss_and_grad(given.X, given.t, sample_weight=given.w)
        return loss + weight_decay / 2 * (p @ p), gradient + weight_decay * p

    def iterated(p):
        twin.params[:] = p
        losses.append(twin.loss(given.X, given.t, sample_weight=given.w))

    options = {"maxiter": 40, "maxcor": 5, "gtol": 1e-9, "ftol": 1e-15}
    result = optimize.minimize(
        function, given.params.copy(), jac=True, method="L-BFGS-B", callback=iterated, options=options
    )
    net = make_network(given, "float64")
    history = fit(net, given, 40, fb.LBFGS(history_size=5, weight_decay=weight_decay))
    np.testing.assert_array_equal(net.params, result.x)
    assert history.history["loss"] == losses
    assert list(history.history) == ["loss", "seconds"]


def test_it_trains_in_evaluation_mode():
    """Dropout drops nothing, batch norms go by running statistics, which stay."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((50, 4)), rng.standard_normal((50, 2))
    plain, dropped = (
        fb.Network([4, 8, fb.BatchNorm(), fb.Activation("tanh"), *between, 2], loss="mse", dtype="float64", seed=0)
        for between in ((), (fb.Dropout(0.5),))
    )
    for net in (plain, dropped):
        net.running_means[1][:] = np.linspace(-1, 1, 8)
        history = net.fit(X, y, epochs=40, optimizer=fb.LBFGS(), verbose=0)
        assert history.history["loss"][-1] == net.loss(X, y) < 0.7 * history.history["loss"][0]
        np.testing.assert_array_equal(net.running_means[1], np.linspace(-1, 1, 8))
    np.testing.assert_array_equal(dropped.params, plain.params)


def test_it_ends_by_itself_without_an_epoch_too_many():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((50, 4)), rng.standard_normal((50, 1))
    net = fb.Network([4, 1], loss="mse", bias=False, dtype="float64", seed=0)
    history = net.fit(X, y, epochs=1000, optimizer=fb.LBFGS(), verbose=0)
    losses = history.history["loss"]
    assert len(losses) < 50 and losses[-1] < losses[-2]
    np.testing.assert_allclose(net.params, np.linalg.lstsq(X, y[:, 0], rcond=None)[0], rtol=1e-6)
    again = net.fit(X, y, epochs=1000, optimizer=None, verbose=0)
    assert len(again.epochs) <= 2


def test_float32_and_a_loss_object_of_ones_own():
    class Squares:
        def value_and_delta(self, outputs, targets):
            d = outputs - targets
            return float((d * d).mean()), 2 * d / d.size

    x = np.linspace(-1, 1, 50)[:, None].astype("float32")
    for loss in ("mse", Squares()):
        net = fb.Network([1, 8, 1], activation="tanh", output="identity", loss=loss, seed=0)
        history = net.fit(x, np.sin(3 * x), epochs=100, optimizer=fb.LBFGS(), verbose=0)
        assert history.history["loss"][-1] < 1e-3 and history.history["loss"][-1] == net.loss(x, np.sin(3 * x))


def test_a_callback_that_stops_ends_scipys_thread():
    given = problem()
    net = make_network(given, "float64")
    before = threading.active_count()
    history = fit(net, given, 100, fb.LBFGS(), callbacks=lambda net, history: len(history.epochs) == 3)
    assert len(history.epochs) == 3 and threading.active_count() == before
    want = make_network(given, "float64")
    fit(want, given, 3, fb.LBFGS())
    np.testing.assert_array_equal(net.params, want.params)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_errors_in_callbacks_leave_the_last_complete_iteration(error):
    given = problem()
    net = make_network(given, "float64")
    before = threading.active_count()

    def callback(net, history):
        if len(history.epochs) == 2:
            raise error

    with pytest.raises(error):
        fit(net, given, 100, fb.LBFGS(), callbacks=callback)
    assert threading.active_count() == before and len(net.history.epochs) == 2
    want = make_network(given, "float64")
    fit(want, given, 2, fb.LBFGS())
    np.testing.assert_array_equal(net.params, want.params)


def test_an_error_in_a_loss_object_reaches_the_caller():
    class Failing:
        calls = 0

        def value_and_delta(self, outputs, targets):
            self.calls += 1
            if self.calls == 6:
                raise ZeroDivisionError("own")
            d = outputs - targets
            return float((d * d).mean()), 2 * d / d.size

    net = fb.Network([1, 8, 1], activation="tanh", output="identity", loss=Failing(), dtype="float64", seed=0)
    x = np.linspace(-1, 1, 50)[:, None]
    with pytest.raises(ZeroDivisionError, match="own"):
        net.fit(x, np.sin(3 * x), epochs=100, optimizer=fb.LBFGS(), verbose=0)
    assert net.history.epochs and np.isfinite(net.params).all()


def test_divergence_leaves_the_parameters():
    given = problem()
    net = make_network(given, "float64")
    net.params[:] *= 1e154
    before = net.params.copy()
    with pytest.raises(fb.DivergedError):
        fit(net, given, 5, fb.LBFGS())
    np.testing.assert_array_equal(net.params, before)


def test_without_scipy_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    net = make_network(problem(), "float64")
    with pytest.raises(ImportError, match=r"pip install 'fastbp\[scipy\]'"):
        fit(net, problem(), 5, fb.LBFGS())
    assert net.optimizer is None


def test_the_optimizer_goes_along(tmp_path):
    given = problem()
    net = make_network(given, "float64")
    optimizer = fb.LBFGS(history_size=3, weight_decay=0.1, gtol=0, ftol=0)
    fit(net, given, 2, optimizer)
    net.save(tmp_path / "net.npz")
    for twin in (copy.deepcopy(net), net.copy(), fb.load(tmp_path / "net.npz")):
        assert twin.optimizer == optimizer


def test_bad_arguments_are_refused():
    given = problem()
    with pytest.raises(ValueError, match="batch_size: expected None or all 60 rows"):
        fit(make_network(given, "float64"), given, 1, fb.LBFGS(), batch_size=59)
    for name, value in (("history_size", 0), ("weight_decay", -1), ("gtol", np.inf), ("ftol", -1e-9)):
        with pytest.raises(ValueError, match=name):
            fb.LBFGS(**{name: value})
