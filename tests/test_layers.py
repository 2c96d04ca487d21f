"""Activation, Dropout, LayerNorm and BatchNorm: against their NumPy twin, finite differences and the rules."""

import copy
import json
import pickle

import numpy as np
import pytest
from comparison import DTYPES, TOLERANCE, check, gradient_error, relative_error
from reference_layers import Chain
from snapshot import snapshot
from test_saving import forge

import fastbp as fb

A, D, LN, BN = fb.Activation, fb.Dropout, fb.LayerNorm, fb.BatchNorm
BATCHES = (1, 2, 3, 4, 5, 17, 255, 256, 257, 600)
WIDTHS = (1, 7, 8, 9, 15, 16, 17, 33, 65)


def linear(units):
    return fb.Dense(units, "identity")


CHAINS = {
    "activation": lambda n: [5, linear(n), A("tanh"), linear(3), A("gelu"), 2],
    "activation first and last": lambda n: [n, A("sigmoid"), 6, linear(3), A("softmax")],
    "softmax alone": lambda n: [4, linear(max(n, 2)), A("softmax"), 3],
    "dropout": lambda n: [5, D(0.1), fb.Dense(n, "tanh"), D(0.5), 3],
    "layer norm": lambda n: [5, LN(), fb.Dense(n, "tanh"), LN(1e-3), linear(4), LN(), A("silu"), 3],
    "batch norm": lambda n: [5, BN(), linear(n), BN(1e-3, 0.3), A("tanh"), fb.Dense(7, "softmax"), BN(), 3],
    "all": lambda n: [5, linear(n), BN(), A("softplus"), D(0.2), fb.Dense(9, "elu"), LN(), D(0.3), BN(), 3],
}


def network(chain, n=9, loss="mse", dtype="float64", seed=0, **kwargs):
    """With parameters and statistics that a training might have led to."""
    net = fb.Network(CHAINS[chain](n), loss=loss, dtype=dtype, seed=seed, **kwargs)
    rng = np.random.default_rng(seed)
    net.params[:] += 0.3 * rng.standard_normal(net.n_params)
    for mean, variance in zip(net.running_means, net.running_vars, strict=True):
        if mean is not None:
            mean[:] = rng.standard_normal(mean.shape)
            variance[:] = rng.uniform(0.2, 2, variance.shape)
    net._engine.set_masks(net._engine.mask_key, 3)
    return net


def data(net, rows, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, net.n_inputs)).astype(net.dtype)
    if net.objective.name == "cross_entropy":
        return X, rng.integers(0, net.n_outputs, rows)
    return X, rng.standard_normal((rows, net.n_outputs)).astype(net.dtype)


def lengths(net):
    return [sum(a.size for a in pair if a is not None) for pair in zip(net.weights, net.biases, strict=True)]


def compare(net, X, y, training, problem):
    """Outputs, loss and both gradients of a network and its twin."""
    twin, dtype = Chain(net), net.dtype.name
    value, gradient, by_inputs = twin.loss_and_grad(X, y, training)
    mode = "training" if training else "evaluation"
    loss, got = net.loss_and_grad(X, y, training=training)
    check(f"layers, {mode}: loss", dtype, relative_error(loss, value), TOLERANCE[dtype], problem)
    error = gradient_error(got, gradient, [n for n in lengths(net) if n])
    check(f"layers, {mode}: gradient", dtype, error, TOLERANCE[dtype], problem)
    assert net.loss(X, y, training=training) == loss
    # where a batch norm sees every input, dL/dX is what is left of it: its own scale is that of the weights' gradient
    floor = 1e-3 * np.linalg.norm(gradient)
    error = relative_error(net.input_grad(X, y, training=training), by_inputs, floor)
    check(f"layers, {mode}: input gradient", dtype, error, TOLERANCE[dtype], problem)
    if not training:
        outputs = twin.predict(X)
        check("layers: outputs", dtype, relative_error(net.predict(X), outputs), TOLERANCE[dtype], problem)


def may_train(chain, rows):
    return rows > 1 or chain not in ("batch norm", "all")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("rows", BATCHES)
@pytest.mark.parametrize("chain", CHAINS)
def test_every_batch_size_agrees_with_the_twin(chain, rows, training, dtype):
    net = network(chain, 9, dtype=dtype)
    if training and not may_train(chain, rows):
        pytest.skip("a batch norm takes no variance of one row")
    if training and not may_train(chain, 1) and rows == 2:
        pytest.skip("of two rows a batch norm leaves but a sign; see the next test")
    compare(net, *data(net, rows), training, f"{chain} 9 rows={rows} training={training}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", WIDTHS)
def test_a_batch_norm_of_two_rows_agrees_with_the_twin(n, dtype):
    """With an eps as large as the variances, so that its gradient is not what is left of numbers that cancel."""
    layers = [5, BN(0.5), linear(n), BN(0.5, 0.3), A("tanh"), D(0.2), fb.Dense(7, "elu"), BN(0.5), 3]
    net = fb.Network(layers, loss="mse", dtype=dtype, seed=1)
    compare(net, *data(net, 2), True, f"two rows, {n}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("n", WIDTHS)
@pytest.mark.parametrize("chain", CHAINS)
def test_every_width_agrees_with_the_twin(chain, n, training, dtype):
    if chain == "layer norm" and n == 1:
        pytest.skip("a layer norm of one feature is its beta")
    for rows in (2, 33) if may_train(chain, 1) else (9, 33):
        compare(network(chain, n, dtype=dtype), *data(network(chain, n), rows), training, f"{chain} {n} rows={rows}")


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "huber", "poisson"])
@pytest.mark.parametrize("chain", ["all", "layer norm"])
def test_every_kind_of_loss_agrees_with_the_twin(chain, loss):
    net = network(chain, 9, loss=loss)
    X, y = data(net, 40)
    y = y if y.dtype.kind == "i" else np.abs(y) % 1
    for training in (False, True):
        compare(net, X, y, training, f"{chain} {loss}")


def test_a_layer_norm_of_one_feature_gives_its_bias():
    net = fb.Network([3, linear(1), LN(), 1], loss="mse", dtype="float64", seed=0)
    net.biases[1][:] = 0.25
    X, y = data(net, 4)
    np.testing.assert_array_equal(net.predict(X), np.full((4, 1), 0.25 * net.weights[2][0, 0] + net.biases[2][0]))
    assert not net.input_grad(X, y).any()


@pytest.mark.parametrize("chain", CHAINS)
def test_a_network_passes_its_own_gradient_check(chain):
    net = network(chain, 5)
    report = net.gradcheck(*data(net, 4))
    assert report.ok, report


@pytest.mark.parametrize("rows", [2, 5, 300])
@pytest.mark.parametrize("chain", CHAINS)
def test_gradients_of_training_agree_with_differences_of_the_training_loss(chain, rows):
    """Along random directions; masks stay the same from call to call."""
    net = network(chain, 6)
    X, y = data(net, rows)
    rng = np.random.default_rng(rows)
    _, gradient = net.loss_and_grad(X, y, training=True)
    by_inputs = net.input_grad(X, y, training=True)
    start, h = net.params.copy(), 1e-5
    for _ in range(4):
        v, u = rng.standard_normal(net.n_params), rng.standard_normal(X.shape)
        values = []
        for step in (h, -h):
            net.params[:] = start + step * v
            values.append(net.loss(X + step * u, y, training=True))
        net.params[:] = start
        slope = gradient @ v + (by_inputs * u).sum()
        # h^2 f^(3) / 6 and rounding, both some 1e-9 here
        assert abs((values[0] - values[1]) / (2 * h) - slope) <= 1e-6 * max(1, abs(slope)), f"{chain} rows={rows}"


# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [2, 40, 256, 257, 1100])
@pytest.mark.parametrize("chain", ["all", "batch norm", "layer norm", "dropout"])
def test_training_has_the_same_bits_on_any_number_of_threads(chain, rows, dtype):
    for n in (65, 300):  # with a gradient for each 256 rows, and without
        bits = set()
        for threads in (1, 2, 3, 4):
            net = network(chain, n, dtype=dtype, threads=threads)
            X, y = data(net, 2 * rows)
            loss, gradient = net.loss_and_grad(X, y, training=True)
            history = net.fit(X, y, epochs=2, batch_size=rows, optimizer=fb.SGD(1e-3, momentum=0.5), verbose=0)
            statistics = np.asarray(net._engine.running)
            parts = loss, gradient, net.params, statistics, net.predict(X), net.input_grad(X, y, training=True)
            bits.add(b"".join(np.asarray(p).tobytes() for p in (*parts, history.history["loss"])))
        assert len(bits) == 1, f"{chain} {n} rows={rows} {dtype}"


def test_work_is_large_enough_here_to_ask_for_threads():
    assert network("all", 300, threads=4)._engine.threads_for(1100) == 4
    assert network("batch norm", 300, threads=4)._engine.threads_for(1100) == 4


# ---------------------------------------------------------------- running statistics


def test_running_statistics_move_only_with_steps():
    net = network("batch norm")
    X, y = data(net, 30)
    before = snapshot(net)
    net.loss(X, y, training=True)
    net.loss_and_grad(X, y, training=True)
    net.input_grad(X, y, training=True)
    net.predict(X)
    net.evaluate(X, y)
    net.gradcheck(X[:2], y[:2])
    assert snapshot(net) == before
    net.fit(X, y, epochs=1, verbose=0)
    assert snapshot(net)["running"] != before["running"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [2, 3, 9, 300])
def test_a_step_moves_the_running_statistics_as_the_twin_does(rows, dtype):
    net = network("batch norm", 17, dtype=dtype)
    X, y = data(net, rows)
    twin = Chain(net)
    twin.predict(X, training=True)
    net.fit(X, y, epochs=1, batch_size=rows, optimizer=fb.SGD(1e-6), verbose=0)
    for k, layer in enumerate(twin.layers):
        if net.running_means[k] is not None:
            layer.keep()
            for got, want in ((net.running_means[k], layer.mean), (net.running_vars[k], layer.variance)):
                error = relative_error(got, want)
                check("running statistics", dtype, error, TOLERANCE[dtype], f"rows={rows} layer={k}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_variance_far_from_zero_keeps_its_digits(dtype):
    """A mean of 1000 deviations: E[x^2] - E[x]^2 would lose six of float32's seven digits."""
    net = fb.Network([3, BN(momentum=1), 1], loss="mse", dtype=dtype, seed=0)
    X = (1000 + np.random.default_rng(0).standard_normal((2000, 3))).astype(dtype)
    net.fit(X, np.zeros(2000), epochs=1, batch_size=2000, verbose=0)
    exact = X.astype(float)
    np.testing.assert_allclose(net.running_vars[0], exact.var(axis=0, ddof=1), rtol=TOLERANCE[dtype])
    np.testing.assert_allclose(net.running_means[0], exact.mean(axis=0), rtol=3e-7 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("chain", ["batch norm", "layer norm", "all"])
def test_a_refused_step_leaves_parameters_statistics_and_masks(chain):
    net = network(chain, dtype="float32")
    X, y = data(net, 40)
    net.fit(X, y, epochs=1, optimizer=fb.SGD(1e-3), verbose=0)
    before = net.params.copy(), bytes(net._engine.running), net._engine.draws
    y[3] = 3e38
    with pytest.raises(fb.DivergedError):
        net.fit(X, y, epochs=1, batch_size=40, optimizer=fb.SGD(1e-3), verbose=0)
    assert np.array_equal(net.params, before[0])
    assert (bytes(net._engine.running), net._engine.draws) == before[1:]


def test_a_variance_beyond_the_range_is_a_refused_step():
    net = fb.Network([2, BN(), 1], loss="mse", seed=0)
    with pytest.raises(fb.DivergedError):
        net.fit([[1e25, 1], [-1e25, 2], [0, 3]], [0, 0, 0], epochs=1, verbose=0)
    assert net.running_vars[0].tolist() == [1, 1]


def test_training_from_statistics_that_are_not_finite_is_refused():
    net = network("batch norm")
    net.running_vars[0][2] = np.nan
    with pytest.raises(fb.DivergedError, match=r"running_vars\[0\]: .*nan"):
        net.fit(*data(net, 30), epochs=1, verbose=0)


@pytest.mark.parametrize("chain", ["all", "batch norm", "layer norm", "dropout"])
def test_decay_that_spares_biases_spares_norms_too(chain):
    """A step far too small to move anything, but for the decay."""
    net = network(chain)
    before = [[None if a is None else a.copy() for a in arrays] for arrays in (net.weights, net.biases)]
    optimizer = fb.SGD(1e-12, weight_decay=1e11, decay_bias=False)
    net.fit(*data(net, 40), epochs=1, batch_size=40, optimizer=optimizer, verbose=0)
    for k, layer in enumerate(net.layers):
        if net.weights[k] is not None:
            keep = 0.9 if isinstance(layer, fb.Dense) else 1.0
            np.testing.assert_allclose(net.weights[k], keep * before[0][k], atol=1e-9, err_msg=f"{chain} layer {k}")
        if net.biases[k] is not None:
            np.testing.assert_allclose(net.biases[k], before[1][k], atol=1e-9, err_msg=f"{chain} layer {k}")


def test_a_batch_norm_refuses_batches_of_one_row():
    net = network("batch norm")
    X, y = data(net, 33)
    before = snapshot(net)
    for call in (net.loss, net.loss_and_grad, net.input_grad):
        with pytest.raises(ValueError, match=r"X: expected at least 2 rows in training, for net.layers\[0\] is"):
            call(X[:1], y[:1], training=True)
    with pytest.raises(ValueError, match="batch_size: the last of 33 rows in batches of 32: expected at least 2 rows"):
        net.fit(X, y, batch_size=32, verbose=0)
    with pytest.raises(ValueError, match="batch_size: .*of 33 rows in batches of 1: expected"):
        net.fit(X, y, batch_size=1, verbose=0)
    with pytest.raises(ValueError, match="batch 1 of epoch 1: expected at least 2 rows"):
        net.fit([(X[:1], y[:1])], epochs=1, verbose=0)
    assert snapshot(net)["params"] == before["params"]
    assert snapshot(net)["running"] == before["running"]
    net.fit(X, y, batch_size=31, verbose=0)
    net.loss_and_grad(X[:1], y[:1])


# ---------------------------------------------------------------- masks


def masks(p, *, rows=64, width=256, seed=0, draws=0, dtype="float32", first=0):
    """(rows, width) of bool, what dropout keeps of a batch of ones: read off dL/dX."""
    net = fb.Network([width, *[D(0.0)] * first, D(p), 1], loss="mse", bias=False, dtype=dtype, seed=seed)
    net._engine.set_masks(net._engine.mask_key, draws)
    net.weights[-1][:] = 1
    return net.input_grad(np.ones((rows, width)), np.full(rows, -1e6), training=True) != 0


@pytest.mark.parametrize("p", [0.0, 0.001, 0.2, 0.5, 0.9])
def test_dropout_drops_a_share_p(p):
    n = 64 * 256 * 16
    count = sum(masks(p, draws=draws).sum() for draws in range(16))
    assert abs(count - n * (1 - p)) <= 5 * np.sqrt(n * p * (1 - p)) + 1e-9  # five standard deviations


def test_masks_of_neighbours_steps_rows_layers_and_seeds_are_independent():
    """Correlation of 16,384 pairs, which has a standard deviation of 1 / 128; five of them allowed."""
    mask = masks(0.5).astype(float) - 0.5
    others = {
        "next step": masks(0.5, draws=1),
        "far step": masks(0.5, draws=1 << 40),
        "next layer": masks(0.5, first=1),
        "next seed": masks(0.5, seed=1),
    }
    shifted = {f"{rows} rows, {columns} features on": np.roll(mask, (rows, columns), (0, 1)) for rows, columns in
               [(1, 0), (2, 0), (16, 0), (0, 1), (0, 2), (0, 8), (0, 128), (1, 1), (1, -1), (3, 7)]}  # fmt: skip
    for name, other in shifted.items():
        assert abs((mask * other).mean() * 4) <= 5 / 128, name
    for name, other in others.items():
        assert abs((mask * (other - 0.5)).mean() * 4) <= 5 / 128, name


def test_counts_of_rows_and_features_scatter_as_those_of_coins():
    """Chi-square of the counts, each against its normal approximation: within five deviations of its mean."""
    kept = np.array([masks(0.3, draws=draws) for draws in range(8)])
    for axis in (2, 1, 0):
        n = kept.shape[axis]
        z = (kept.sum(axis=axis) - 0.7 * n) ** 2 / (n * 0.21)
        assert abs(z.mean() - 1) <= 5 * np.sqrt(2 / z.size) + 0.02, axis


def test_patterns_of_eight_neighbours_are_equally_frequent():
    kept = np.array([masks(0.5, draws=draws) for draws in range(32)]).reshape(-1, 8)
    counts = np.bincount(kept @ (1 << np.arange(8)), minlength=256)
    expected = len(kept) / 256
    chi = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi - 255) <= 5 * np.sqrt(2 * 255)


def test_masks_are_those_of_the_twin_in_both_dtypes_and_for_any_cut_into_blocks():
    from reference_layers import kept

    for width in WIDTHS:
        for dtype in DTYPES:
            net = fb.Network([width, D(0.4), 1], loss="mse", seed=5, dtype=dtype)
            want = kept(net._engine.mask_key, 7, 0, 600, width, 0.4)
            got = masks(0.4, rows=600, width=width, seed=5, draws=7, dtype=dtype)
            assert np.array_equal(got, want), f"{width} {dtype}"


def test_zeros_that_are_kept_pass_their_gradient():
    net = fb.Network([40, D(0.5), 1], loss="mse", seed=0, bias=False)
    net.weights[1][:] = 1
    X = np.zeros((6, 40), "float32")
    X[:, ::2] = -0.0
    through = net.input_grad(X, np.full(6, -1.0), training=True) != 0
    assert np.array_equal(through, masks(0.5, rows=6, width=40))


def test_each_step_has_a_mask_of_its_own_and_other_calls_draw_none():
    net = network("dropout")
    X, y = data(net, 40)
    value = net.loss(X, y, training=True)
    assert net.loss(X, y, training=True) == value != net.loss(X, y)
    net.predict(X)
    assert net._engine.draws == 3
    net.fit(X, y, epochs=2, batch_size=16, optimizer=fb.SGD(1e-30), verbose=0)
    assert net._engine.draws == 3 + 2 * 3
    assert net.loss(X, y, training=True) != value


def test_what_training_true_gives_is_what_the_next_step_takes():
    net = network("all")
    X, y = data(net, 40)
    loss, gradient = net.loss_and_grad(X, y, training=True)
    start = net.params.copy()
    history = net.fit(X, y, epochs=1, batch_size=40, optimizer=fb.SGD(1.0), shuffle=False, verbose=0)
    assert np.isclose(history.history["loss"][0], loss, rtol=1e-15)
    np.testing.assert_allclose(start - net.params, gradient, rtol=1e-13, atol=1e-14)


def test_a_loss_object_of_ones_own_trains_through_dropout_and_batch_norm():
    class Squares:
        def value_and_delta(self, outputs, targets):
            return float(((outputs - targets) ** 2).mean()), 2 * (outputs - targets) / outputs.size

    ours, own = network("all"), network("all", loss=Squares())
    X, y = data(ours, 40)
    for training in (False, True):
        assert np.isclose(own.loss(X, y, training=training), ours.loss(X, y, training=training), rtol=1e-13)
        (loss, gradient), (value, wanted) = (net.loss_and_grad(X, y, training=training) for net in (own, ours))
        assert np.isclose(loss, value, rtol=1e-13)
        np.testing.assert_allclose(gradient, wanted, rtol=1e-10, atol=1e-12)
    for net in (ours, own):
        net.fit(X, y, epochs=3, batch_size=16, optimizer=fb.SGD(0.01), verbose=0)
    np.testing.assert_allclose(own.params, ours.params, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(np.asarray(own._engine.running), np.asarray(ours._engine.running), rtol=1e-9)


# ---------------------------------------------------------------- copies, pickles, files


@pytest.mark.parametrize("how", ["copy", "pickle", "deepcopy", "file"])
@pytest.mark.parametrize("chain", ["all", "dropout", "batch norm", "activation"])
def test_a_copy_goes_on_as_the_network_itself(chain, how, tmp_path):
    net = network(chain, dtype="float32")
    X, y = data(net, 40)
    net.fit(X, y, epochs=1, batch_size=16, verbose=0)
    net.save(tmp_path / "net.npz")
    ways = {"copy": net.copy, "deepcopy": lambda: copy.deepcopy(net), "file": lambda: fb.load(tmp_path / "net.npz")}
    twin = (ways | {"pickle": lambda: pickle.loads(pickle.dumps(net))})[how]()
    assert twin.layers == net.layers
    assert repr(twin) == repr(net)
    for each in (net, twin):
        each.fit(X, y, epochs=2, batch_size=16, verbose=0)
    assert bytes(twin._engine.running) == bytes(net._engine.running)
    assert twin.params.tobytes() == net.params.tobytes()


def test_a_copy_of_another_dtype_has_the_statistics_and_the_masks():
    net = network("all", dtype="float32")
    twin = net.copy(dtype="float64")
    X, y = data(net, 40)
    assert np.isclose(twin.loss(X, y, training=True), net.loss(X, y, training=True), rtol=1e-5)
    assert np.array_equal(np.asarray(twin._engine.running), np.asarray(net._engine.running))


def entry(k, **changes):
    return lambda d, a: d["layers"][k].update(changes)


HOSTILE = {
    "unknown kind": (entry(1, kind="Softmax"), "layers: expected one of 'Activation', .*'Softmax'"),
    "kind of another type": (entry(1, kind=["BatchNorm"]), "layers: "),
    "field of another kind": (entry(1, p=0.5), "layers: expected the fields"),
    "p out of range": (entry(3, p=1.0), "p: .*1.0"),
    "negative momentum": (entry(1, momentum=-1), "momentum: .*-1"),
    "other norm": (lambda d, a: d["layers"].__setitem__(1, {"kind": "LayerNorm", "eps": 1e-5}), "running: expected 0 "),
    "dropout at the end": (lambda d, a: d["layers"].pop(), "params: |layers"),
    "no masks": (lambda d, a: d.pop("masks"), "masks: "),
    "masks without a dropout": (lambda d, a: d["layers"].pop(3), "masks: "),
    "masks too large": (lambda d, a: d.update(masks=[1 << 64, 0]), "masks: expected two integers"),
    "masks of another type": (lambda d, a: d.update(masks=[0.5, 0]), "masks: expected two integers"),
    "no statistics": (lambda d, a: a.pop("running"), "running: expected 8 numbers"),
    "too few statistics": (lambda d, a: a.update(running=a["running"][:7]), "running: expected 8 numbers"),
    "statistics that are not finite": (lambda d, a: a["running"].__setitem__(1, np.inf), "running: .*inf at index 1"),
    "negative variance": (lambda d, a: a["running"].__setitem__(5, -1), "running: expected variances"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_file_with_layers_that_cannot_be_is_refused(what, tmp_path):
    change, message = HOSTILE[what]
    net = fb.Network([3, 4, BN(), A("relu"), D(0.5), 2], loss="mse", seed=0)
    net.save(tmp_path / "net")
    with np.load(tmp_path / "net") as file:
        arrays = dict(file)
    described = json.loads(arrays.pop("description").item())
    change(described, arrays)
    forge(described, arrays, tmp_path / "forged")
    with pytest.raises(ValueError, match=message):
        fb.load(tmp_path / "forged")


def test_a_file_of_dense_layers_alone_has_nothing_new(tmp_path):
    """So that versions of fastbp from before there were others read it."""
    fb.Network([3, 4, 2], loss="mse", seed=0).save(tmp_path / "net")
    with np.load(tmp_path / "net") as file:
        assert set(file) == {"description", "params"}
        described = json.loads(file["description"].item())
    assert "masks" not in described
    assert described["layers"][0] == {"units": 4, "activation": "relu", "bias": True, "init": "auto"}


def test_a_state_from_before_there_were_these_layers_is_restored():
    net = fb.Network([3, 4, 2], loss="mse", seed=0)
    old = net.__getstate__()
    del old["running"], old["masks"]
    twin = fb.Network.__new__(fb.Network)
    twin.__setstate__(old)
    assert twin.params.tobytes() == net.params.tobytes()


# ---------------------------------------------------------------- the list of layers


def test_an_int_is_linear_where_an_activation_follows_before_the_next_layer_of_weights():
    net = fb.Network([3, 4, BN(), A("tanh"), 5, LN(), 6, D(0.1), 2, A("softmax")])
    assert [getattr(layer, "units", None) for layer in net.layers] == [4, None, None, 5, None, 6, None, 2, None]
    dense = [layer.activation for layer in net.layers if isinstance(layer, fb.Dense)]
    assert dense == ["identity", "relu", "relu", "identity"]
    assert fb.Network([3, fb.Dense(4, "elu"), A("tanh"), 1], loss="mse").layers[0].activation == "elu"


def test_a_name_for_each_hidden_layer_of_weights():
    net = fb.Network([3, 4, LN(), 5, D(0.5), 2], activation=["tanh", "elu"])
    assert [layer.activation for layer in net.layers if isinstance(layer, fb.Dense)] == ["tanh", "elu", "softmax"]


def test_the_last_activation_is_the_output_that_the_loss_asks_for():
    X, y = np.random.default_rng(0).standard_normal((6, 3)), np.arange(6) % 4
    alone = fb.Network([3, 5, 4, A("softmax")], seed=0, dtype="float64")
    usual = fb.Network([3, 5, 4], seed=0, dtype="float64")
    usual.params[:] = alone.params
    np.testing.assert_allclose(alone.predict(X), usual.predict(X), rtol=1e-14)
    assert np.isclose(alone.loss(X, y), usual.loss(X, y), rtol=1e-14)
    np.testing.assert_allclose(alone.loss_and_grad(X, y)[1], usual.loss_and_grad(X, y)[1], rtol=1e-10, atol=1e-15)
    with pytest.raises(ValueError, match="output: expected 'softmax' or 'identity'"):
        fb.Network([3, 4, A("tanh")])
    with pytest.raises(ValueError, match="output: got 'identity', but the last layer is an Activation"):
        fb.Network([3, 4, A("softmax")], output="identity")


def test_weights_and_biases_are_per_layer_in_the_order_of_params():
    net = fb.Network([3, 4, BN(), A("relu"), D(0.5), 2], loss="mse", seed=0)
    shapes = [None if a is None else a.shape for pair in zip(net.weights, net.biases, strict=True) for a in pair]
    assert shapes == [(4, 3), (4,), (4,), (4,), None, None, None, None, (2, 4), (2,)]
    net.params[:] = np.arange(net.n_params)
    flat = [a.ravel() for pair in zip(net.weights, net.biases, strict=True) for a in pair if a is not None]
    assert np.array_equal(np.concatenate(flat), net.params)
    with pytest.raises(AttributeError, match="running_means: cannot be set"):
        net.running_means = ()


def test_weights_before_a_lone_activation_start_as_it_asks():
    deviation = [
        fb.Network([500, *layers, 1], loss="mse", seed=0).weights[0].std() * np.sqrt(500)
        for layers in ([fb.Dense(400, "relu")], [400, BN(), A("relu")], [linear(400)], [400, LN(), A("tanh")])
    ]
    he, glorot = np.sqrt(2), np.sqrt(2 * 500 / 900)
    np.testing.assert_allclose(deviation, [he, he, glorot, glorot], rtol=0.01)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: A("rleu"), ValueError, "name: .*did you mean 'relu'"),
        (lambda: A(3), ValueError, "name: expected one of"),
        (lambda: D(1.0), ValueError, "p: expected a finite number >= 0 and < 1, got 1.0"),
        (lambda: D(-0.1), ValueError, "p: "),
        (lambda: D("half"), TypeError, "p: expected a number"),
        (lambda: LN(0), ValueError, "eps: expected a finite number >= 1e-30, got 0"),
        (lambda: BN(np.nan), ValueError, "eps: "),
        (lambda: BN(momentum=0), ValueError, "momentum: expected a finite number > 0 and <= 1, got 0"),
        (lambda: fb.Network([3, 4, D(0.5)]), ValueError, r"layers\[2\]: .*, got Dropout.* as the last"),
        (lambda: fb.Network([3, 4, LN()]), ValueError, r"layers\[2\]: .*, got LayerNorm.* as the last"),
        (lambda: fb.Network([3, A("relu")]), ValueError, "layers: expected at least one int or Dense"),
        (lambda: fb.Network([D(0.5), 3]), TypeError, r"layers\[0\]: expected the number of inputs"),
        (lambda: fb.Network([3, 4, D, 2]), TypeError, r"layers\[2\]: "),
        (lambda: fb.Network([3, 4, LN(), 2], activation=["relu", "relu"]), ValueError, "activation: .*or 1 for"),
        (lambda: network("all").loss([[0.0] * 5] * 2, [[0.0] * 3] * 2, training=1), TypeError, "training: "),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


# ---------------------------------------------------------------- initialisers


@pytest.mark.parametrize("units", [40, 90])
def test_orthogonal_weights_have_orthonormal_rows_or_columns(units):
    W = fb.Network([60, units], init="orthogonal", loss="mse", dtype="float64", seed=0).weights[0]
    product = W @ W.T if units < 60 else W.T @ W
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-13)


@pytest.mark.parametrize(("name", "variance"), [("glorot", 2 / 700), ("he", 2 / 300), ("lecun", 1 / 300)])
@pytest.mark.parametrize("law", ["uniform", "normal"])
def test_weights_have_the_variance_of_their_law(name, law, variance):
    W = fb.Network([300, 400], init=f"{name}_{law}", loss="mse", dtype="float64", seed=0).weights[0]
    assert abs(W.mean()) <= 5 * np.sqrt(variance / W.size)
    assert abs(W.var() / variance - 1) <= 5 * np.sqrt(2 / W.size)
    if law == "uniform":
        assert np.abs(W).max() <= np.sqrt(3 * variance)
    else:
        assert np.abs(W).max() > 3 * np.sqrt(variance)


def test_weights_from_zeros_arrays_and_callables():
    assert not fb.Network([3, 2], init="zeros").params.any()
    start = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(fb.Network([3, 2], init=start).weights[0], start)
    net = fb.Network([3, 2], init=lambda shape, rng: rng.uniform(size=shape), seed=4)
    assert np.array_equal(net.weights[0], np.random.default_rng(4).uniform(size=(2, 3)).astype("float32"))
    assert not net.biases[0].any()
