"""The gradient check of what a step of `fit` sees: dropouts with their masks, batch norms of the batch."""

import numpy as np
import pytest
from comparison import DTYPES
from snapshot import snapshot
from test_gradcheck import Cube, Tampered
from test_layers import CHAINS, D, data, linear, may_train, network

import fastbp as fb
from fastbp import twin

MODES = ("full", "fast")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 3, 7, 20])
@pytest.mark.parametrize("chain", CHAINS)
def test_right_gradients_pass(chain, rows, dtype, mode):
    if not may_train(chain, rows):
        pytest.skip("a batch norm takes no variance of one row")
    net = network(chain, 6, dtype=dtype)
    report = net.gradcheck(*data(net, rows), mode=mode, training=True)
    assert report.ok, f"{chain} rows={rows}\n{report}"
    assert report.n_kinks == 0, report


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "huber", "poisson"])
@pytest.mark.parametrize("chain", ["all", "dropout", "batch norm"])
def test_right_gradients_of_every_kind_of_loss_pass(chain, loss, dtype):
    layers = [*CHAINS[chain](6)[:-1], 3]
    net = fb.Network(layers, loss=loss, dtype=dtype, seed=3)
    X, y = data(net, 9)
    report = net.gradcheck(X, y if y.dtype.kind == "i" else np.abs(y) % 1, training=True)
    assert report.ok, f"{chain} {loss}\n{report}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_kinks_stay_kinks(dtype):
    """A unit of zeros before relu: what is dropped comes there as 0, whatever its weight."""
    net = fb.Network([3, D(0.5), fb.Dense(4, "relu", bias=False), 2], loss="mse", dtype=dtype, seed=2)
    X, y = data(net, 6)
    X[2] = 0
    report = net.gradcheck(X, y, mode="full", training=True)
    assert report.ok and report.n_kinks > 0, report


@pytest.mark.parametrize("mode", MODES)
def test_every_part_has_its_line(mode):
    net = network("batch norm", 6)
    X, y = data(net, 7)
    report = net.gradcheck(X, y, mode=mode, training=True)
    assert report.training and not net.gradcheck(X, y, mode=mode).training
    names = [f"layers[{k}].{kind}" for k in range(len(net.layers)) for kind in ("weight", "bias")
             if net.weights[k] is not None]  # fmt: skip
    assert [part.name for part in report.layers] == [*names, "input"]
    assert (report.model is not None) == (mode == "fast")
    assert "7 rows, in training" in str(report).splitlines()[0]
    assert "in training" not in str(net.gradcheck(X, y, mode=mode))
    assert report.loss == net.loss(X, y, training=True) != net.loss(X, y)


class InEvaluation(Tampered):
    """Gives the gradients of the other mode."""

    def loss_and_grad(self, *arguments, training):
        loss = self.engine.loss(*arguments[:-1], training=training)
        self.engine.loss_and_grad(*arguments)
        return loss

    def input_grad(self, *arguments, training):
        self.engine.input_grad(*arguments)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("chain", ["dropout", "batch norm", "all"])
def test_gradients_of_evaluation_fail(chain, mode):
    net = network(chain, 6)
    net._engine = InEvaluation(net._engine)
    report = net.gradcheck(*data(net, 7), mode=mode, training=True)
    assert not report.ok
    assert report.loss_ok, report


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gradient_that_takes_the_batchs_statistics_for_constants_is_found_and_named(dtype, mode):
    """Both modes have one loss where the running statistics are the batch's; their gradients differ below the norm."""
    net = fb.Network([4, linear(5), fb.BatchNorm(), fb.Dense(6, "tanh"), 2], loss="mse", dtype=dtype, seed=1)
    X, y = data(net, 8)
    below = X.astype(float) @ net.weights[0].T.astype(float) + net.biases[0]
    net.running_means[1][:], net.running_vars[1][:] = below.mean(axis=0), below.var(axis=0)
    assert net.loss(X, y) == pytest.approx(net.loss(X, y, training=True), rel=1e-5)
    assert net.gradcheck(X, y, mode=mode, training=True).ok
    net._engine = InEvaluation(net._engine)
    report = net.gradcheck(X, y, mode=mode, training=True)
    wrong = [part.name for part in report.parts if not part.ok and part.kind != "model"]
    assert wrong == ["layers[0].weight", "layers[0].bias", "input"], report


def test_masks_that_change_between_evaluations_would_fail(monkeypatch):
    loss = twin.loss

    def with_new_masks(net, *arguments):
        net._engine.set_masks(net._engine.mask_key, net._engine.draws + 1)
        return loss(net, *arguments)

    net = network("dropout", 6)
    monkeypatch.setattr(twin, "loss", with_new_masks)
    assert not net.gradcheck(*data(net, 7), training=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_objects_of_the_users_are_judged_at_the_outputs_of_training(dtype, mode):
    at = []

    class Seen(Cube):
        def value_and_delta(self, z, t):
            at.append(z.copy())
            return super().value_and_delta(z, t)

    for factor, right in ((1.0, True), (1.01, False)):
        net = fb.Network(CHAINS["all"](6), loss=Seen(factor), dtype=dtype, seed=0)
        rng = np.random.default_rng(1)
        X, y = rng.standard_normal((2, 7, 5)).astype(dtype)
        report = net.gradcheck(X, y[:, :3], mode=mode, training=True)
        assert (report.ok, report.objective.ok) == (right, right), report
        of_evaluation = net.predict(X)
        assert min(np.abs(z - of_evaluation).max() for z in at) > 1e-3


def test_missing_targets_go_with_it():
    net = fb.Network(CHAINS["all"](6), loss="mse", dtype="float64", seed=0, missing_targets="mask")
    X, y = data(net, 9)
    y[2] = y[4, 1] = np.nan
    assert net.gradcheck(X, y, training=True)


@pytest.mark.parametrize("mode", MODES)
def test_in_a_network_of_dense_layers_there_is_no_difference(mode):
    net = fb.Network([4, 6, 3], activation="tanh", dtype="float32", seed=0)
    X, y = data(net, 5)
    reports = [net.gradcheck(X, y, mode=mode, training=training) for training in (False, True)]
    for a, b in zip(*(report.parts for report in reports), strict=True):
        assert (a.analytic == b.analytic).all() and (a.numeric == b.numeric).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_network_stays_as_it_was_and_trains_on_the_same(dtype, mode):
    """Running statistics and the count of masks drawn among the rest."""
    net = network("all", 6, dtype=dtype)
    X, y = data(net, 8)
    net.fit(X, y, epochs=2, batch_size=4, verbose=0)
    other, before = net.copy(), snapshot(net)
    statistics, draws = np.array(net._engine.running), net._engine.draws
    assert draws > 0
    assert net.gradcheck(X, y, mode=mode, training=True).ok
    assert snapshot(net) == before
    assert net._engine.draws == draws and (np.asarray(net._engine.running) == statistics).all()
    for each in (net, other):
        each.fit(X, y, epochs=1, batch_size=4, verbose=0)
    assert net.params.tobytes() == other.params.tobytes()


def test_each_step_is_checked_with_its_own_masks():
    net = network("dropout", 40)
    X, y = data(net, 6)
    reports = []
    for _ in range(2):
        reports.append(net.gradcheck(X, y, training=True))
        net._engine.set_masks(net._engine.mask_key, net._engine.draws + 1)
    assert all(reports)
    assert reports[0].loss != reports[1].loss


@pytest.mark.parametrize(
    ("rows", "training", "error", "message"),
    [
        (1, True, ValueError, r"X: expected at least 2 rows in training, for net.layers\[0\] is a BatchNorm, got 1"),
        (4, "yes", TypeError, "training: expected True or False, got 'yes'"),
        (4, None, TypeError, "training: expected True or False, got None"),
    ],
)
def test_bad_arguments_are_named_and_change_nothing(rows, training, error, message):
    net = network("batch norm", 6)
    before = snapshot(net)
    with pytest.raises(error, match=message):
        net.gradcheck(*data(net, rows), training=training)
    assert snapshot(net) == before
