"""The product with the Hessian: against autograd's and torch's, differences of the gradient, and by its laws."""

import threading

import autograd
import autograd.numpy as anp
import numpy as np
import oracle
import pytest
import reference
from comparison import DTYPES, TOLERANCE, check, relative_error
from problems import (
    ACTIVATIONS,
    LOSSES,
    MeanSquare,
    draw_problem,
    draw_sizes,
    make_network,
    output_of,
    stable_seed,
    vector_lanes,
)
from snapshot import snapshot
from wellposed import keep_off_kinks

import fastbp as fb


def oracle_gradient(problem, X, t):
    """The gradient as a function of the parameters, for autograd to differentiate once more."""
    spec = problem.spec
    w = np.ones(len(X)) if problem.w is None else problem.w
    if t.ndim == 1 and spec.sizes[-1] == 1 and spec.loss != "cross_entropy":
        t = t[:, None]

    def objective(params):
        ys, z = oracle.pre_activations(spec, params, X)
        return anp.sum(w * oracle.LOSSES[spec.loss](ys[-1], z, t, spec.parameter)) / np.sum(w)

    return autograd.grad(objective)


def by_autograd(problem, v, params=None, X=None):
    gradient = oracle_gradient(problem, problem.X if X is None else X, problem.t)
    return autograd.grad(lambda p: anp.dot(gradient(p), v))(problem.params if params is None else params)


def by_twin(problem, v):
    """The slow twin's answer."""
    spec = problem.spec
    layers, directions = (
        reference.as_layers(a, spec.sizes, spec.activations, spec.biases) for a in (problem.params, v)
    )
    directions = [(V, c) for V, c, _ in directions]
    return reference.hvp(layers, problem.X, problem.t, spec.loss, directions, problem.w, **spec.loss_parameters)


def spread(problem, v, want, dtype):
    """How far the answer moves, norm-wise, when parameters and inputs move by half an ULP."""
    rng = np.random.default_rng(problem.seed + 3)
    half = np.finfo(dtype).eps / 2
    moved = [a * (1 + half * rng.choice((-1, 1), a.shape)) for a in (problem.params, problem.X)]
    return relative_error(by_autograd(problem, v, *moved), want)


def draw(seed, sizes, activations, variant, *, dtype, **kwargs):
    """A problem, a direction, the answer: from the first seed on whose answer the dtype determines (wellposed.py)."""
    for later in range(100):
        problem = draw_problem(seed + later, sizes, activations, variant, dtype=dtype, **kwargs)
        v = np.random.default_rng(seed + later).standard_normal(problem.params.size).astype(dtype).astype(float)
        if dtype == "float32" and not keep_off_kinks(problem):
            continue
        want = by_autograd(problem, v)
        if spread(problem, v, want, dtype) <= TOLERANCE[dtype] / 20:
            return problem, v, want
    raise AssertionError(f"no well-posed problem found: {problem}")


def compare(what, problem, v, want, dtype):
    X, t, w = problem.data(dtype)
    got = make_network(problem, dtype).hvp(X, t, v, sample_weight=w)
    assert (got.shape, got.dtype) == (v.shape, np.dtype(dtype)), problem
    check(what, dtype, relative_error(got, want), TOLERANCE[dtype], problem)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_and_loss_as_autograd_has_them(activation, variant, dtype):
    for bias, weighted in ((True, False), (False, True)):
        seed = stable_seed("hvp", activation, variant, bias)
        rng = np.random.default_rng(seed)
        activations = (activation, activation, output_of(variant))
        sizes = draw_sizes(rng, 3, variant, activations)
        shape = {"rows": int(rng.integers(1, 80)), "bias": bias, "weighted": weighted}
        problem, v, want = draw(seed, sizes, activations, variant, **shape, dtype=dtype)
        # two float64 answers: rounding alone is between them
        check("hvp: twin, autograd", "float64", relative_error(by_twin(problem, v), want), 1e-12, problem)
        compare("hvp: autograd", problem, v, want, dtype)
        compare("hvp: twin", problem, v, by_twin(problem, v), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", ["mse", "huber", "hinge"])
@pytest.mark.parametrize("output", ACTIVATIONS)
def test_every_output_activation(output, variant, dtype):
    """Of losses that are computed from z, so that the way back leads through the last activation."""
    seed = stable_seed("hvp output", output, variant)
    problem, v, want = draw(seed, (5, 11, 6), ("tanh", output), variant, rows=13, dtype=dtype)
    check("hvp: twin, autograd", "float64", relative_error(by_twin(problem, v), want), 1e-12, problem)
    compare("hvp: outputs", problem, v, want, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 33, 257, 600])
def test_batches_of_every_kind(rows, dtype):
    for variant, activation in (("mse", "tanh"), ("cross_entropy of classes", "gelu"), ("hinge", "softmax")):
        seed = stable_seed("hvp rows", rows, variant)
        activations = (activation, activation, output_of(variant))
        args = seed, (7, 19, 12, 5), activations, variant
        compare("hvp: rows", *draw(*args, rows=rows, weighted=rows % 2 == 1, dtype=dtype), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("vectors", "more"),
    [(0, 1), (1, -1), (1, 0), (1, 1), (2, -1), (2, 0), (2, 1), (3, 0), (0, 256), (0, 257), (0, 300)],
)
def test_widths_around_vectors_slivers_and_depth_blocks(vectors, more, dtype):
    n = vectors * vector_lanes(dtype) + more
    for sizes in ((n, n, n), (3, n, 1), (n, 4, n)):
        seed = stable_seed("hvp widths", sizes)
        compare("hvp: shapes", *draw(seed, sizes, ("silu", "identity"), "mse", rows=9, dtype=dtype), dtype)


def torch_product(problem, v):
    torch = pytest.importorskip("torch")
    from test_torch import make_module, mean_loss

    module, _ = make_module(problem, "float64")
    X, t, w = (None if a is None else torch.tensor(a) for a in problem.data("float64"))
    shapes = {name: p.shape for name, p in module.named_parameters()}

    def loss(flat):
        parts = flat.split([shape.numel() for shape in shapes.values()])
        params = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return mean_loss(problem, torch.func.functional_call(module, params, (X,)), t, w)

    return torch.func.jvp(torch.func.grad(loss), (torch.tensor(problem.params),), (torch.tensor(v),))[1].numpy()


@pytest.mark.parametrize("variant", [v for v in LOSSES if v not in ("huber", "hinge of classes")])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_product_is_torchs_derivative_of_its_gradient(activation, variant):
    """But for two losses whose gradients torch cannot differentiate forward; autograd's test has them."""
    seed = stable_seed("hvp torch", activation, variant)
    activations = (activation, activation, output_of(variant))
    sizes = draw_sizes(np.random.default_rng(seed), 3, variant, activations)
    problem, v, _ = draw(seed, sizes, activations, variant, rows=21, weighted=True, dtype="float64")
    compare("hvp: torch", problem, v, torch_product(problem, v), "float64")


SMOOTH = [a for a in ACTIVATIONS if a not in ("identity", "relu", "leaky_relu", "selu", "hard_sigmoid")]


@pytest.mark.parametrize("activation", SMOOTH)
def test_the_product_is_the_limit_of_differences_of_the_gradient(activation):
    problem = draw_problem(stable_seed("hvp differences", activation), (4, 7, 6, 3), (activation,) * 2 + ("softmax",),
                           "cross_entropy smoothed", rows=11)  # fmt: skip
    net = make_network(problem, "float64")
    v = np.random.default_rng(1).standard_normal(net.n_params)
    product = net.hvp(problem.X, problem.t, v)
    start, h = net.params.copy(), 1e-4
    ahead = []
    for k in (-2, -1, 1, 2):
        net.params[:] = start + k * h * v
        ahead.append(net.loss_and_grad(problem.X, problem.t)[1])
    difference = (8 * (ahead[2] - ahead[1]) - (ahead[3] - ahead[0])) / (12 * h)
    # h^4 f^(6) / 30 of cutting off, 1e-16 / h of rounding: some 1e-11 of gradients of size 1
    check("hvp: differences", "float64", relative_error(product, difference), 1e-9, problem)


@pytest.mark.parametrize("activation", ["tanh", "softmax", "selu"])
def test_the_hessian_is_symmetric_and_the_product_linear(activation):
    problem = draw_problem(9, (6, 9, 8, 4), (activation, activation, "softmax"), "cross_entropy of classes", rows=40)
    net = make_network(problem, "float64")
    rng = np.random.default_rng(2)
    u, v = rng.standard_normal((2, net.n_params))
    Hu, Hv = (net.hvp(problem.X, problem.t, direction) for direction in (u, v))
    assert u @ Hv == pytest.approx(v @ Hu, rel=1e-12), problem
    both = net.hvp(problem.X, problem.t, 3 * u - 0.5 * v)
    check("hvp: linear", "float64", relative_error(both, 3 * Hu - 0.5 * Hv), 1e-13, problem)
    assert not net.hvp(problem.X, problem.t, np.zeros(net.n_params)).any()


def test_all_columns_give_the_hessian_of_linear_regression():
    rng = np.random.default_rng(4)
    X, y = rng.standard_normal((10, 3)), rng.standard_normal(10)
    net = fb.Network([3, 1], loss="mse", dtype="float64", seed=0)
    H = np.array([net.hvp(X, y, column) for column in np.eye(4)])
    ones = np.column_stack([X, np.ones(10)])
    np.testing.assert_allclose(H, 2 * ones.T @ ones / 10, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("loss", ["mae", fb.Quantile(0.3), "hinge"])
def test_straight_losses_of_linear_networks_have_no_curvature(loss):
    net = fb.Network([3, 2], loss=loss, dtype="float64", seed=0)
    rng = np.random.default_rng(4)
    product = net.hvp(rng.standard_normal((6, 3)), rng.choice([-1.0, 1.0], (6, 2)), rng.standard_normal(net.n_params))
    assert not product.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e3, 1e18, 1e30])
@pytest.mark.parametrize("activation", [a for a in ACTIVATIONS if a not in ("exp",)])
def test_saturated_units_have_finite_curvature(activation, size, dtype):
    """y of huge size, where y^2 would overflow: h'' is 0 there, not 0 times infinity."""
    net = fb.Network([1, 3, 1], activation=activation, loss="mae", dtype=dtype, seed=0)
    net.params[:] = 0
    net.weights[0][:, 0] = 1, -1, 0.5
    net.weights[1][:] = 1
    assert np.isfinite(net.hvp([[size]], [0.0], np.full(net.n_params, 0.5))).all()


# Threads, workspaces


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "rows"), [((17, 64, 64, 6), 2100), ((40, 300, 300, 5), 40), ((200, 1500, 4), 300)])
def test_threads_do_not_change_a_bit(sizes, rows, dtype):
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((rows, sizes[0])), rng.integers(0, sizes[-1], rows)
    products = set()
    for threads in (1, 2, 3, 5):
        net = fb.Network(list(sizes), activation="softplus", dtype=dtype, seed=1, threads=threads)
        v = np.random.default_rng(5).standard_normal(net.n_params)
        products.add(net.hvp(X, y, v).tobytes())
    assert net._engine.threads_for(rows) > 1
    assert len(products) == 1


def test_the_workspace_does_not_grow_with_the_rows():
    taken = []
    for rows in (1000, 30000):
        net = fb.Network([20, 50, 3], loss="mse", seed=0, threads=1)
        X, y = np.ones((rows, 20), "f"), np.ones((rows, 3), "f")
        net.loss_and_grad(X, y)
        gradient = net._engine.workspace_bytes
        net.hvp(X, y, net.params)
        taken.append(net._engine.workspace_bytes)
        assert taken[-1] == 2 * gradient
    assert taken[0] == taken[1]


def test_calls_of_other_kinds_between_leave_no_trace():
    """Rows, plans and codes of one call must not show in the next."""
    problem = draw_problem(3, (6, 9, 3), ("gelu", "softmax"), "cross_entropy of classes", rows=300)
    net = make_network(problem, "float64")
    v = np.random.default_rng(0).standard_normal(net.n_params)
    want = net.hvp(problem.X, problem.t, v)
    gradient = net.loss_and_grad(problem.X, problem.t)[1]
    for rows in (1, 4, 700):
        net.hvp(np.ones((rows, 6)), np.full((rows, 3), 1 / 3), v)
        net.predict(np.ones((rows, 6)))
        assert net.loss_and_grad(problem.X, problem.t)[1].tobytes() == gradient.tobytes()
        assert net.hvp(problem.X, problem.t, v).tobytes() == want.tobytes()


def test_concurrent_calls_are_independent():
    problem = draw_problem(5, (8, 60, 60, 3), ("tanh", "tanh", "softmax"), "cross_entropy of classes", rows=500)
    net = make_network(problem, "float64")
    vs = np.random.default_rng(0).standard_normal((4, net.n_params))
    want = [net.hvp(problem.X, problem.t, v).tobytes() for v in vs]
    wrong = []

    def work(k):
        for _ in range(20):
            if net.hvp(problem.X, problem.t, vs[k]).tobytes() != want[k]:
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Losses of the users' own


class Quartic:
    """mean (z - t)^4."""

    def value_and_delta(self, z, t):
        return np.mean((z - t) ** 4), 4 * (z - t) ** 3 / z.size

    def second_derivative(self, z, t, direction):
        return 12 * (z - t) ** 2 * direction / z.size


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", ["identity", "sigmoid", "softmax", "gelu"])
@pytest.mark.parametrize("rows", [1, 6, 300])
def test_a_loss_object_gives_what_the_built_in_loss_does(rows, output, dtype):
    rng = np.random.default_rng(6)
    X, t = rng.standard_normal((rows, 3)), rng.standard_normal((rows, 4))
    nets = [fb.Network([3, 9, 4], activation="silu", output=output, loss=loss, dtype=dtype, seed=2)
            for loss in ("mse", MeanSquare())]  # fmt: skip
    v = rng.standard_normal(nets[0].n_params)
    want, got = (net.hvp(X, t, v) for net in nets)
    assert relative_error(got, want.astype(float)) <= TOLERANCE[dtype] / 10


def test_the_second_derivative_of_a_loss_object_counts():
    rng = np.random.default_rng(6)
    X, t = rng.standard_normal((7, 3)), rng.standard_normal((7, 2))
    net = fb.Network([3, 8, 2], activation="tanh", loss=Quartic(), dtype="float64", seed=2)
    v = rng.standard_normal(net.n_params)
    product, start, h = net.hvp(X, t, v), net.params.copy(), 1e-5
    sides = []
    for step in (-h, h):
        net.params[:] = start + step * v
        sides.append(net.loss_and_grad(X, t)[1])
    assert relative_error(product, (sides[1] - sides[0]) / (2 * h)) < 1e-7


class WithoutSecond:
    def value_and_delta(self, z, t):
        return 0.0, np.zeros_like(z)


class Answers(WithoutSecond):
    def __init__(self, answer):
        self.answer = answer

    def second_derivative(self, z, t, direction):
        return self.answer


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (WithoutSecond(), TypeError, r"loss: expected an object with second_derivative\(outputs, targets, direction\)"),
        (
            Answers(None),
            ValueError,
            "loss: expected Answers.second_derivative to return an array of the outputs' shape",
        ),
        (Answers(np.ones((5, 3))), ValueError, r"loss: .* shape \(5, 2\), got an array of shape \(5, 3\)"),
        (Answers(1.0), ValueError, "loss: expected Answers.second_derivative"),
        (Answers(np.ones((5, 2), complex)), ValueError, "loss: expected Answers.second_derivative"),
    ],
)
def test_loss_objects_that_do_not_fit_are_named(loss, error, message):
    net = fb.Network([3, 4, 2], loss=loss, seed=0)
    with pytest.raises(error, match=message):
        net.hvp(np.ones((5, 3)), np.ones((5, 2)), np.ones(net.n_params))


# Arguments


def trained():
    net = fb.Network([3, 4, 2], seed=3)
    net.fit(np.ones((6, 3)), [0, 1, 0, 1, 1, 0], epochs=2, batch_size=4, verbose=0)
    return net


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"v": np.ones(25)}, ValueError, r"v: expected shape \(26,\), one number for each parameter, got \(25,\)"),
        ({"v": np.ones((26, 1))}, ValueError, r"v: expected shape \(26,\)"),
        ({"v": np.ones((1, 26))}, ValueError, r"v: expected shape \(26,\)"),
        ({"v": 1.0}, ValueError, r"v: expected shape \(26,\)"),
        ({"v": [1.0] * 25 + [NAN]}, ValueError, "v: expected finite numbers, got nan in row 25"),
        ({"v": [INF] + [1.0] * 25}, ValueError, "v: expected finite numbers, got inf in row 0"),
        ({"v": [1e300] * 26}, ValueError, "v: expected numbers in the range of float32"),
        ({"v": ["a"] * 26}, TypeError, "v: expected an array of real numbers"),
        ({"v": np.ones(26, complex)}, TypeError, "v: "),
        ({"v": None}, TypeError, "v: "),
        ({"X": np.ones((2, 5))}, ValueError, r"X: expected shape \(n, 3\)"),
        ({"X": np.ones((0, 3)), "y": []}, ValueError, "X: expected at least one row"),
        ({"X": [[NAN, 1, 1]] * 2}, ValueError, "X: expected finite numbers"),
        ({"y": [0, 2]}, ValueError, "y: expected class indices"),
        ({"sample_weight": [1.0, -1.0]}, ValueError, "sample_weight: expected weights >= 0"),
        ({"out": np.ones(25, "f")}, ValueError, "out: expected shape"),
        ({"out": np.ones(26)}, ValueError, "out: expected shape"),
        ({"out": [0.0] * 26}, TypeError, "out: expected a numpy array"),
        ({"out": np.ones(52, "f")[::2]}, ValueError, "out: expected a writable, aligned, C-contiguous array"),
    ],
)
def test_bad_arguments_are_named_and_change_nothing(arguments, error, message):
    net = trained()
    before = snapshot(net)
    with pytest.raises(error, match=message):
        net.hvp(**{"X": np.ones((2, 3)), "y": [0, 1], "v": np.ones(26), **arguments})
    assert snapshot(net) == before


def test_the_network_stays_as_it_was():
    net = trained()
    before = snapshot(net)
    net.hvp(np.ones((2, 3)), [0, 1], np.ones(26))
    assert snapshot(net) == before


@pytest.mark.parametrize("shared", ["nothing", "v", "params"])
def test_out_may_share_memory_with_what_is_given(shared):
    net = trained()
    rng = np.random.default_rng(0)
    X, v = rng.standard_normal((5, 3)).astype("f"), rng.standard_normal(26).astype("f")
    want = net.hvp(X, [0, 1, 0, 1, 1], v)
    out = {"nothing": np.full(26, NAN, "f"), "v": v, "params": net.params}[shared]
    assert net.hvp(X, [0, 1, 0, 1, 1], v, out=out) is out
    assert out.tobytes() == want.tobytes()


def test_vectors_of_any_kind_of_number_do():
    net = trained()
    X, v = np.ones((2, 3)), np.arange(26)
    want = net.hvp(X, [0, 1], v.astype("f")).tobytes()
    for same in (v, v.tolist(), v.astype("f8"), np.repeat(v, 2)[::2], v.astype(">f4")):
        assert net.hvp(X, [0, 1], same).tobytes() == want
