"""Targets that are NaN: left out of loss, gradient, means and metrics."""

import pickle

import autograd
import autograd.numpy as anp
import numpy as np
import oracle
import problems
import pytest
import reference
from comparison import DTYPES, TOLERANCE, check, relative_error
from snapshot import snapshot

import fastbp as fb

VARIANTS = ["mse", "mae", "huber", "quantile", "poisson", "binary_cross_entropy", "hinge"]
SHAPES = [(3, 4, 1), (3, 4, 3), (5, 20, 17)]
NAN = float("nan")


def draw(variant, sizes, rows, *, share=0.3, weighted=False, dtype="float64", tag=""):
    """A problem and its network; `share` of the targets are missing, in row 1 all of them, in row 0 not the first."""
    seed = problems.stable_seed("missing", variant, sizes, rows, tag)
    activations = ("tanh",) * (len(sizes) - 2) + (problems.output_of(variant),)
    problem = problems.draw_problem(seed, sizes, activations, variant, rows=rows, weighted=weighted, dtype=dtype)
    rng = np.random.default_rng(seed + 1)
    missing = rng.random(problem.t.shape) < share
    missing[0, 0] = False
    missing[1] = True
    problem.t[missing] = NAN
    return problem, problems.make_network(problem, dtype, missing_targets="mask")


def expected(problem, sample_weight=None, divisor=None, rows=slice(None)):
    """Loss, gradient and dL/dX by the NumPy twin: element losses times w m / sum(w m), or / divisor."""
    spec = problem.spec
    layers = reference.as_layers(problem.params, spec.sizes, spec.activations, spec.biases)
    X, t = problem.X[rows], problem.t[rows]
    w = np.ones(len(X)) if sample_weight is None else sample_weight[rows]
    present = ~np.isnan(t)
    steps = reference.forward(layers, X)
    _, y, z = steps[-1]
    from_logits = spec.loss in reference.LOGIT_LOSSES
    u = y if from_logits else z
    share = w[:, None] * present
    divisor = share.sum() if divisor is None else divisor
    total, du = 0.0, np.zeros_like(u)
    for c in range(u.shape[1]):  # one output alone has a mean over one element
        losses, slopes = reference.LOSSES[spec.loss](u[:, [c]], np.nan_to_num(t[:, [c]]), **spec.loss_parameters)
        total += losses @ share[:, c] / divisor
        du[:, c] = slopes[:, 0] * share[:, c] / divisor
    dy = du if from_logits else reference.activation_backward(spec.activations[-1], y, z, du)
    grads, dX = reference.backward(layers, steps, dy)
    return total, np.concatenate([part.ravel() for pair in grads for part in pair]), dX


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
@pytest.mark.parametrize("rows", [2, 3, 40, 600])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_loss_and_gradients_leave_out_what_is_missing(variant, sizes, rows, weighted):
    problem, net = draw(variant, sizes, rows, weighted=weighted)
    loss, grad, dX = expected(problem, problem.w)
    got, got_grad = net.loss_and_grad(problem.X, problem.t, problem.w)
    assert got == pytest.approx(loss, rel=1e-12), problem
    assert np.linalg.norm(got_grad - grad) <= 1e-12 * np.linalg.norm(grad), problem
    assert net.loss(problem.X, problem.t, problem.w) == got
    if not weighted:
        got_dX = net.input_grad(problem.X, problem.t)
        assert np.linalg.norm(got_dX - dX) <= 1e-12 * np.linalg.norm(dX), problem
        assert (got_dX[1] == 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_float32_agrees_with_float64(variant):
    problem, net = draw(variant, (5, 20, 7), 50, dtype="float32")
    loss, grad, _ = expected(problem)
    got, got_grad = net.loss_and_grad(*problem.data("float32")[:2])
    assert got == pytest.approx(loss, rel=1e-5)
    assert np.linalg.norm(got_grad - grad) <= 1e-5 * np.linalg.norm(grad), problem


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_is_torchs_mean_over_the_elements_that_are_there(variant):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    functions = {
        "mse": F.mse_loss,
        "mae": F.l1_loss,
        "huber": lambda u, t: F.huber_loss(u, t, delta=0.8),
        "quantile": lambda u, t: torch.maximum(0.3 * (t - u), -0.7 * (t - u)).mean(),
        "poisson": F.poisson_nll_loss,
        "binary_cross_entropy": F.binary_cross_entropy_with_logits,
        "hinge": lambda u, t: torch.relu(1 - t * u).mean(),
    }
    problem, net = draw(variant, (5, 8, 6), 30)
    params = torch.tensor(problem.params, requires_grad=True)
    W1, b1, W2, b2 = torch.split(params, [40, 8, 48, 6])
    u = torch.tanh(torch.tensor(problem.X) @ W1.reshape(8, 5).T + b1) @ W2.reshape(6, 8).T + b2
    t = torch.tensor(problem.t)
    present = ~torch.isnan(t)
    loss = functions[variant](u[present], t[present])
    loss.backward()
    got, grad = net.loss_and_grad(problem.X, problem.t)
    assert got == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(grad, params.grad.numpy(), rtol=1e-11, atol=1e-13)


def product_by_autograd(problem, v):
    spec, present = problem.spec, ~np.isnan(problem.t)
    share = present if problem.w is None else problem.w[:, None] * present
    t = np.nan_to_num(problem.t)

    def objective(params):
        ys, z = oracle.pre_activations(spec, params, problem.X)
        total = 0.0
        for c in range(t.shape[1]):  # one output alone has a mean over one element
            of_column = oracle.LOSSES[spec.loss](ys[-1][:, c : c + 1], z[:, c : c + 1], t[:, c : c + 1], spec.parameter)
            total = total + anp.sum(of_column * share[:, c])
        return total / share.sum()

    gradient = autograd.grad(objective)
    return autograd.grad(lambda p: anp.dot(gradient(p), v))(problem.params)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
@pytest.mark.parametrize("rows", [2, 3, 40, 600])
def test_products_with_the_hessian_leave_out_what_is_missing(variant, sizes, rows, dtype):
    problem, net = draw(variant, sizes, rows, weighted=rows % 2 == 0, dtype=dtype)
    v = np.random.default_rng(rows).standard_normal(net.n_params).astype(dtype).astype(float)
    spec = problem.spec
    layers, directions = (
        reference.as_layers(a, spec.sizes, spec.activations, spec.biases) for a in (problem.params, v)
    )
    directions = [(V, c) for V, c, _ in directions]
    want = reference.hvp(layers, problem.X, problem.t, spec.loss, directions, problem.w, **spec.loss_parameters)
    by_autograd = product_by_autograd(problem, v)
    check("hvp, missing: twin, autograd", "float64", relative_error(want, by_autograd), 1e-12, problem)
    X, t, w = problem.data(dtype)
    got = net.hvp(X, t, v, w)
    check("hvp, missing: twin", dtype, relative_error(got, want), TOLERANCE[dtype], problem)


@pytest.mark.parametrize("variant", ["mse", "poisson", "binary_cross_entropy"])
def test_their_product_is_the_limit_of_differences_of_the_gradient(variant):
    problem, net = draw(variant, (5, 9, 4), 30, weighted=True)
    v = np.random.default_rng(1).standard_normal(net.n_params)
    product, start, h = net.hvp(problem.X, problem.t, v, problem.w), net.params.copy(), 1e-4
    ahead = []
    for k in (-2, -1, 1, 2):
        net.params[:] = start + k * h * v
        ahead.append(net.loss_and_grad(problem.X, problem.t, problem.w)[1])
    difference = (8 * (ahead[2] - ahead[1]) - (ahead[3] - ahead[0])) / (12 * h)
    assert relative_error(product, difference) <= 1e-9, problem  # as in test_hvp.py


def test_products_without_any_target_are_zero_and_with_all_those_of_the_loss_without_a_mask():
    problem, net = draw("poisson", (5, 9, 4), 30)
    v = np.ones(net.n_params)
    problem.t[:] = NAN
    assert not net.hvp(problem.X, problem.t, v).any()
    problem.t[:] = problems.draw_targets("poisson", np.random.default_rng(0), 30, 4)
    plain = problems.make_network(problem, "float64")
    np.testing.assert_allclose(net.hvp(problem.X, problem.t, v), plain.hvp(problem.X, problem.t, v), rtol=1e-13)


def test_products_have_the_same_bits_on_any_number_of_threads():
    problem, _ = draw("huber", (30, 100, 40), 700)
    bits = set()
    for threads in (1, 2, 3):
        net = problems.make_network(problem, "float64", missing_targets="mask", threads=threads)
        bits.add(net.hvp(problem.X, problem.t, np.ones(net.n_params)).tobytes())
    assert len(bits) == 1


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_targets_that_are_all_there_give_the_loss_without_a_mask(variant, sizes):
    problem, net = draw(variant, sizes, 40)
    problem.t[:] = problems.draw_targets(variant, np.random.default_rng(0), 40, sizes[-1])
    plain = problems.make_network(problem, "float64")
    for w in (None, np.linspace(0.1, 2, 40)):
        loss, grad = net.loss_and_grad(problem.X, problem.t, w)
        wanted, wanted_grad = plain.loss_and_grad(problem.X, problem.t, w)
        assert loss == pytest.approx(wanted, rel=1e-14)
        np.testing.assert_allclose(grad, wanted_grad, rtol=1e-11, atol=1e-14)
    run = {"epochs": 3, "batch_size": 7, "optimizer": fb.SGD(0.01), "shuffle": False, "verbose": 0}
    for each in (net, plain):
        each.fit(problem.X, problem.t, **run)
    np.testing.assert_allclose(net.params, plain.params, rtol=1e-11, atol=1e-14)
    assert net.history.history["loss"] == pytest.approx(plain.history.history["loss"], rel=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rows_gradients_are_those_of_each_rows_present_elements(variant, sizes, dtype):
    problem, net = draw(variant, sizes, 40, dtype=dtype)
    X, t, _ = problem.data(dtype)
    grads = net.per_sample_grads(X, t)
    assert (grads[1] == 0).all()  # no target at all
    counts = (~np.isnan(problem.t)).sum(axis=1)
    wanted = [expected(problem, rows=slice(k, k + 1), divisor=max(1, n))[1] for k, n in enumerate(counts)]
    alone = np.stack([net.loss_and_grad(X[k : k + 1], t[k : k + 1])[1] for k in range(40)])
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    for want in (wanted, alone):
        assert np.linalg.norm(grads - want) <= tolerance * np.linalg.norm(want), problem
    for k in (0, 1):
        np.testing.assert_allclose(net.per_sample_grads(X[k], t[k]), grads[k], rtol=1e-5, atol=1e-6)
    whole = counts @ grads.astype(float) / counts.sum()  # rows count as many times as they have targets
    got = net.loss_and_grad(X, t)[1]
    assert np.linalg.norm(got - whole) <= tolerance * np.linalg.norm(grads, axis=1).mean(), problem


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("rows", [7, 60])  # fewer residuals than parameters, and more
@pytest.mark.parametrize("sizes", SHAPES[:2], ids=str)
def test_levenberg_marquardt_has_a_residual_for_each_target_that_is_there(sizes, rows, weighted):
    """Its first step out of a matrix that was made by hand, without the rows of what is missing."""
    problem, net = draw("mse", sizes, rows, weighted=weighted)
    w = np.ones(rows) if problem.w is None else problem.w / problem.w.mean()
    present = ~np.isnan(problem.t)
    roots = np.sqrt(2 * w[:, None] / (w[:, None] * present).sum()) * np.ones(sizes[-1])
    layers = reference.as_layers(problem.params, problem.spec.sizes, problem.spec.activations, problem.spec.biases)
    J = (roots[..., None] * reference.jacobians(layers, problem.X)[1])[present]
    r = (roots * (reference.predict(layers, problem.X) - problem.t))[present]
    A = J.T @ J
    A += 0.3 * A.diagonal().max() * np.eye(len(A))
    step = -np.linalg.solve(A, J.T @ r)
    optimizer = fb.LevenbergMarquardt(0.3, acceleration=False)
    history = net.fit(problem.X, problem.t, epochs=1, sample_weight=problem.w, optimizer=optimizer, verbose=0)
    assert np.linalg.norm(net.params - problem.params - step) <= 1e-12 * np.linalg.norm(step), problem
    assert history.history["loss"] == [net.loss(problem.X, problem.t, problem.w)]


def test_levenberg_marquardt_trains_on_what_is_there_alone():
    """Targets of a linear net, a third of them missing: least squares of each output over its own rows."""
    rng = np.random.default_rng(0)
    X, t = rng.standard_normal((50, 4)), rng.standard_normal((50, 3))
    t[rng.random(t.shape) < 0.3] = NAN
    net = fb.Network([4, 3], loss="mse", dtype="float64", seed=0, missing_targets="mask")
    net.fit(X, t, epochs=50, optimizer=fb.LevenbergMarquardt(), verbose=0)
    for c in range(3):
        rows = ~np.isnan(t[:, c])
        want, *_ = np.linalg.lstsq(np.hstack([X, np.ones((50, 1))])[rows], t[rows, c], rcond=None)
        np.testing.assert_allclose([*net.weights[0][c], net.biases[0][c]], want, rtol=1e-8, atol=1e-10)
    history = net.fit(X, np.full((50, 3), NAN), epochs=3, optimizer=fb.LevenbergMarquardt(), verbose=0)
    assert history.history["loss"] == [0.0]


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_lbfgs_minimises_the_mean_over_what_is_there(variant, weighted):
    optimize = pytest.importorskip("scipy.optimize")
    problem, net = draw(variant, (3, 4, 3), 40, weighted=weighted)
    kept, w = problem.params.copy(), None if problem.w is None else problem.w / problem.w.mean()
    losses = []

    def function(p):
        problem.params[:] = p
        return expected(problem, w)[:2]

    result = optimize.minimize(
        function, kept, jac=True, method="L-BFGS-B", callback=lambda p: losses.append(function(p)[0]),
        options={"maxiter": 8, "gtol": 1e-9, "ftol": 1e-15},
    )  # fmt: skip
    net.params[:] = kept
    history = net.fit(problem.X, problem.t, epochs=8, sample_weight=problem.w, optimizer=fb.LBFGS(), verbose=0)
    assert history.history["loss"] == pytest.approx(losses, rel=1e-12)
    assert np.linalg.norm(net.params - result.x) <= 1e-10 * np.linalg.norm(result.x - kept), problem
    assert history.history["loss"][-1] == net.loss(problem.X, problem.t, problem.w)


# by the narrow way, row by row, few rows, many rows
WAYS = {"narrow": ((3, 4, 2), 1), "one output": ((3, 4, 1), 1), "row": ((3, 40, 9), 1), "few": ((3, 20, 9), 3),
        "batch": ((3, 20, 9), 16)}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_each_step_of_fit_divides_by_the_elements_of_its_batch(way, variant, weighted):
    sizes, batch = WAYS[way]
    problem, net = draw(variant, sizes, 40, weighted=weighted, tag=way)
    problem.t[20:23] = problem.t[-1] = NAN  # a batch of three rows without any target, and one of one
    start = problem.params.copy()
    net.fit(
        problem.X, problem.t, epochs=2, batch_size=batch, sample_weight=problem.w, optimizer=fb.SGD(0.005),
        shuffle=False, verbose=0,
    )  # fmt: skip
    weights = np.ones(40) if problem.w is None else problem.w / problem.w.mean()
    losses = []
    for _ in range(2):
        total = 0.0
        for first in range(0, 40, batch):
            rows = slice(first, first + batch)
            count = (~np.isnan(problem.t[rows])).sum()
            loss, grad, _ = expected(problem, weights, max(count, 1), rows)
            problem.params -= 0.005 * grad
            total += loss * count
        losses.append(total / (~np.isnan(problem.t)).sum())
    assert np.linalg.norm(net.params - problem.params) <= 1e-11 * np.linalg.norm(problem.params - start), problem
    assert net.history.history["loss"] == pytest.approx(losses, rel=1e-11)


def test_a_batch_without_any_target_is_a_step_with_gradient_zero():
    net = fb.Network([2, 3, 2], loss="mse", dtype="float64", seed=0, missing_targets="mask")
    X, t = np.ones((4, 2)), np.full((4, 2), NAN)
    assert net.loss(X, t) == 0.0
    loss, grad = net.loss_and_grad(X, t)
    assert loss == 0 and (grad == 0).all() and (net.input_grad(X, t) == 0).all()
    before = net.params.copy()
    history = net.fit(X, t, epochs=2, batch_size=2, optimizer=fb.SGD(0.1, weight_decay=0.5), verbose=0)
    np.testing.assert_allclose(net.params, before * (1 - 0.05) ** 4, rtol=1e-14)
    assert history.history["loss"] == [0.0, 0.0] and net._engine.steps == 4
    for batch_size in (1, 4):  # by row and in one
        net.fit(X, t, epochs=1, batch_size=batch_size, optimizer=fb.SGD(0.1), verbose=0)


def test_what_cannot_be_reached_leaves_nothing_behind():
    """An output that overflows where nobody has a target is no reason to stop."""
    net = fb.Network([1, 2], loss="poisson", dtype="float32", seed=0, missing_targets="mask")
    net.params[:] = [100, 0.1, 0, 0]
    loss, grad = net.loss_and_grad(np.ones((2, 1)), np.array([[NAN, 1], [NAN, 2]]))
    assert np.isfinite(loss) and np.isfinite(grad).all() and (grad[[0, 2]] == 0).all()


def test_batches_and_memory_maps_may_lack_targets(tmp_path):
    problem, net = draw("mse", (3, 4, 2), 40)
    mapped = np.memmap(tmp_path / "t", "f4", "w+", shape=(40, 2))
    mapped[:] = problem.t
    problem.t[:] = mapped
    run = {"epochs": 2, "optimizer": fb.Adam(), "verbose": 0}
    twins = net.copy(), net.copy(), net.copy()
    twins[0].fit(problem.X, problem.t, batch_size=7, shuffle=False, **run)
    twins[1].fit(problem.X, mapped, batch_size=7, shuffle=False, **run)
    twins[2].fit([(problem.X[k : k + 7], problem.t[k : k + 7]) for k in range(0, 40, 7)], **run)
    for twin in twins[1:]:
        assert (twin.params == twins[0].params).all()
        assert twin.history.history["loss"] == pytest.approx(twins[0].history.history["loss"], rel=1e-12)


def test_threads_leave_the_bits():
    problem, net = draw("huber", (30, 100, 40), 700)
    ends = []
    for threads in (1, 3):
        twin = problems.make_network(problem, "float64", missing_targets="mask", threads=threads)
        twin.fit(problem.X, problem.t, epochs=2, batch_size=300, shuffle=False, verbose=0)
        ends.append(twin.params.tobytes())
    assert ends[0] == ends[1]


def test_metrics_leave_out_what_is_missing():
    problem, net = draw("mse", (3, 4, 3), 40)
    t, z = problem.t, net.predict(problem.X)
    known = ~np.isnan(t)
    d = (z - t)[known]
    report = net.evaluate(problem.X, t, metrics=["mse", "rmse", "mae", "r2"])
    assert report["loss"] == pytest.approx(np.mean(d**2), rel=1e-12)
    assert report["mse"] == pytest.approx(np.mean(d**2), rel=1e-12)
    assert report["rmse"] == pytest.approx(np.mean(d**2) ** 0.5, rel=1e-12)
    assert report["mae"] == pytest.approx(np.mean(np.abs(d)), rel=1e-12)
    of_columns = []
    for c in range(3):
        y = t[known[:, c], c]
        of_columns.append(1 - np.sum((z[known[:, c], c] - y) ** 2) / np.sum((y - y.mean()) ** 2))
    assert report["r2"] == pytest.approx(np.mean(of_columns), rel=1e-12)
    t[:, 1] = NAN  # a column of none
    assert net.evaluate(problem.X, t)["r2"] == pytest.approx(np.mean([of_columns[0], of_columns[2]]), rel=1e-12)


def test_metrics_of_labels_leave_out_what_is_missing():
    problem, net = draw("binary_cross_entropy", (3, 4, 3), 60)
    t = problem.t = np.where(np.isnan(problem.t), NAN, np.round(problem.t))
    z = net.predict(problem.X)
    names = ["accuracy", "balanced_accuracy", "precision", "recall", "f1", "auc", "log_loss"]
    report = net.evaluate(problem.X, t, metrics=names)
    known = ~np.isnan(t)
    assert report["accuracy"] == np.mean((z > 0.5)[known] == t[known])
    assert report["log_loss"] == pytest.approx(report["loss"], rel=1e-12)
    for name in names[1:-1]:  # the mean over labels, each on its own
        alone = []
        for c in range(3):
            rows = known[:, c]
            one = fb.Network([3, 4, 1], activation="tanh", loss="binary_cross_entropy", dtype="float64")
            one.params[:16] = net.params[:16]
            one.params[16:20], one.params[20:] = net.weights[1][c], net.biases[1][c]
            alone.append(one.evaluate(problem.X[rows], t[rows, c], metrics=[name])[name])
        assert report[name] == pytest.approx(np.mean(alone), rel=1e-12), name
    assert net.fit(problem.X, t, epochs=1, validation_split=0.5, verbose=0).history["val_accuracy"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_gradient_check_takes_them(variant):
    problem, net = draw(variant, (3, 4, 2), 5)
    assert net.gradcheck(problem.X, problem.t).ok, net.gradcheck(problem.X, problem.t)


def test_by_default_they_are_an_error_and_nothing_changes():
    net = fb.Network([3, 4, 2], loss="mse", seed=0)
    assert net.missing_targets == "raise"
    X, t = np.ones((4, 3)), np.ones((4, 2))
    t[2, 1] = NAN
    before = snapshot(net)

    def product(X, t):
        return net.hvp(X, t, net.params)

    for call in (net.loss, net.loss_and_grad, net.input_grad, net.evaluate, net.gradcheck, net.fit, product):
        with pytest.raises(ValueError, match="^y: expected finite numbers, got nan in row 2, column 1$"):
            call(X, t)
    assert snapshot(net) == before


@pytest.mark.parametrize(("variant", "t", "message"), [
    ("mse", [[NAN, np.inf]], "y: expected finite numbers, got inf in row 0, column 1"),
    ("mse", [[NAN, 1e39]], r"y: expected numbers in the range of float32, got 1e\+39 in row 0, column 1"),
    ("poisson", [[NAN, -1]], "y: expected counts >= 0, got -1 in row 0, column 1"),
    ("binary_cross_entropy", [[NAN, 2]], r"y: expected numbers in \[0, 1\], got 2 in row 0, column 1"),
    ("hinge", [[NAN, 0]], "y: expected -1 or 1, got 0 in row 0, column 1"),
])  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_what_is_there_is_checked_as_ever(variant, t, message):
    net = fb.Network([3, 2], loss=variant, missing_targets="mask")
    for call in (net.loss, net.loss_and_grad, net.fit):
        with pytest.raises(ValueError, match=f"^{message}$"):
            call(np.ones((1, 3)), np.array(t))
    with pytest.raises(ValueError, match="^X: expected finite"):
        net.loss(np.full((1, 3), NAN), np.array([[NAN, 1]]))


@pytest.mark.parametrize("way", ["array", "batches", "memory map", "ensemble"])
def test_the_reported_loss_of_labels_is_that_without_a_mask(way, tmp_path):
    """A label stands for all outputs of its row."""
    rng = np.random.default_rng(6)
    X, labels = rng.standard_normal((40, 3)), rng.integers(0, 4, 40)
    np.save(tmp_path / "X.npy", X)
    data = {"batches": ([(X, labels)],), "memory map": (np.load(tmp_path / "X.npy", mmap_mode="r"), labels)}
    reported = []
    for missing in ("mask", "raise"):
        net = fb.Network([3, 5, 4], loss="hinge", dtype="float64", seed=0, missing_targets=missing)
        if way == "ensemble":
            net = fb.Ensemble(net, 1, run="threads")
        net.fit(*data.get(way, (X, labels)), epochs=2, optimizer=fb.SGD(0.1), verbose=0)
        reported.append((net[0] if way == "ensemble" else net).history.history["loss"])
    assert reported[0] == pytest.approx(reported[1], rel=1e-14)


def test_labels_are_never_missing():
    net = fb.Network([3, 4], loss="hinge", dtype="float64", seed=0, missing_targets="mask")
    plain = fb.Network([3, 4], loss="hinge", dtype="float64", seed=0)
    X, labels = np.random.default_rng(0).standard_normal((9, 3)), np.arange(9) % 4
    assert net.loss(X, labels) == plain.loss(X, labels)
    for each in (net, plain):
        each.fit(X, labels, epochs=2, batch_size=2, verbose=0)
    assert (net.params == plain.params).all()
    with pytest.raises(ValueError, match="^y: expected finite numbers, got nan in row 1"):
        net.loss(X[:2], np.array([0, NAN]))


def test_a_trace_has_no_missing_targets():
    net = fb.Network([3, 2], loss="mse", missing_targets="mask")
    with pytest.raises(ValueError, match="^y: expected finite numbers, got nan"):
        net.trace([1, 2, 3], [NAN, 1])
    assert net.trace([1, 2, 3], [0, 1]).arrays["L"] == pytest.approx(net.loss([[1, 2, 3]], [[0, 1]]), rel=1e-6)


def test_own_losses_see_the_targets_as_they_come():
    class Masked:
        def value_and_delta(self, outputs, targets):
            d = np.where(np.isnan(targets), 0, outputs - np.nan_to_num(targets))
            n = max(1, np.sum(~np.isnan(targets)))
            return float((d**2).sum() / n), 2 * d / n

    problem, net = draw("mse", (3, 4, 2), 40)
    with pytest.raises(ValueError, match="^missing_targets: expected 'raise' with a loss object of one's own"):
        fb.Network([3, 2], loss=Masked(), missing_targets="mask")
    own = fb.Network([3, fb.Dense(4, "tanh"), 2], loss=Masked(), dtype="float64")
    own.params[:] = net.params
    for each in (own, net):
        each.fit(problem.X, problem.t, epochs=3, batch_size=8, optimizer=fb.SGD(0.05), shuffle=False, verbose=0)
    np.testing.assert_allclose(own.params, net.params, rtol=1e-12)


def test_the_choice_is_kept_in_copies_and_files(tmp_path):
    problem, net = draw("mse", (3, 4, 2), 40)
    net.save(tmp_path / "net")
    for twin in (net.copy(), net.copy("float32"), pickle.loads(pickle.dumps(net)), fb.load(tmp_path / "net")):
        assert twin.missing_targets == "mask"
        assert twin.loss(problem.X, problem.t) == pytest.approx(net.loss(problem.X, problem.t), rel=1e-5)
    with pytest.raises(AttributeError, match="missing_targets: cannot be set"):
        net.missing_targets = "raise"
    plain = problems.make_network(problem, "float64")
    plain.save(tmp_path / "plain")
    assert fb.load(tmp_path / "plain").missing_targets == "raise"
    assert b"missing_targets" not in (tmp_path / "plain").read_bytes()  # earlier versions can read it


def test_class_weights_smoothing_labels_and_schedules_go_together():
    """One fit with everything that touches a batch, beside the same by hand."""
    rng = np.random.default_rng(3)
    X, labels, w = rng.standard_normal((40, 4)), rng.integers(0, 3, 40), rng.uniform(0.1, 2, 40)
    by_class = np.array([1.0, 2.0, 0.5])
    nets = [fb.Network([4, 6, 3], loss=fb.CrossEntropy(label_smoothing=s), dtype="float64", seed=1) for s in (0.2, 0.0)]
    run = {"epochs": 3, "batch_size": 7, "optimizer": fb.AdamW(lr=fb.OneCycle(0.05)), "verbose": 0}
    nets[0].fit(X, labels, sample_weight=w, class_weight=dict(enumerate(by_class)), **run)
    smooth = 0.8 * np.eye(3)[labels] + 0.2 / 3
    nets[1].fit(X, smooth, sample_weight=w * by_class[labels], **run)
    np.testing.assert_allclose(nets[0].params, nets[1].params, rtol=1e-10)
    assert nets[0].history.history["loss"] == pytest.approx(nets[1].history.history["loss"], rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_many_labels_are_as_many_networks_without_a_common_layer(weighted):
    """Multi-label with missing labels and row weights: each output of a single layer trains as if it were alone."""
    rng = np.random.default_rng(4)
    X, w = rng.standard_normal((60, 4)), rng.uniform(0.1, 2, 60) if weighted else None
    t = rng.integers(0, 2, (60, 3)).astype(float)
    t[rng.random(t.shape) < 0.3] = NAN
    net = fb.Network([4, 3], loss="binary_cross_entropy", dtype="float64", seed=1, missing_targets="mask")
    start = net.params.copy()
    net.fit(X, t, epochs=5, batch_size=60, sample_weight=w, optimizer=fb.SGD(0.3), verbose=0)
    count = (~np.isnan(t)).sum()
    for c in range(3):
        one = fb.Network([4, 1], loss="binary_cross_entropy", dtype="float64", missing_targets="mask")
        one.params[:] = [*start[4 * c : 4 * c + 4], start[12 + c]]
        share = (~np.isnan(t[:, c])).sum() / count  # of the elements, by which one of three divides
        one.fit(X, t[:, c], epochs=5, batch_size=60, sample_weight=w, optimizer=fb.SGD(0.3 * share), verbose=0)
        np.testing.assert_allclose(one.params[:4], net.weights[0][c], rtol=1e-11)
