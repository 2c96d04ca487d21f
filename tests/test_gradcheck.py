"""The shipped gradient check: it passes right gradients, names wrong entries, recognises kinks, and changes nothing."""

import types

import numpy as np
import pytest
from problems import ACTIVATIONS, LOGIT_OUTPUTS, LOSSES, draw_problem, make_network, stable_seed

import fastbp as fb
import fastbp.gradcheck  # noqa: F401 (fb.gradcheck)
from fastbp import config

DTYPES = ("float64", "float32")
# relative errors of one entry that the defaults must find
SMALLEST = {"float64": 1e-4, "float32": 1e-3}


def problem_for(activation, variant, dtype, rows=5, sizes=(4, 6, 5, 3), seed=0):
    seed = stable_seed("gradcheck", activation, variant, rows, seed)
    activations = (activation, activation, LOGIT_OUTPUTS.get(LOSSES[variant][0], "identity"))
    return draw_problem(seed, sizes, activations, variant, rows=rows, bias=bool(seed & 1), dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_right_gradients_pass(activation, variant, dtype):
    for rows in (1, 5, 33):
        problem = problem_for(activation, variant, dtype, rows)
        report = make_network(problem, dtype).gradcheck(problem.X, problem.t)
        assert report.ok, f"{problem}\n{report}"
        assert report.n_kinks <= 3, f"{problem}\n{report}"
        assert sum(part.n_checked for part in report.layers) == report_size(report) - report.n_kinks


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", ACTIVATIONS)
def test_right_gradients_of_every_output_activation_pass(output, dtype):
    problem = draw_problem(stable_seed(output), (3, 5, 4), ("tanh", output), "mse", rows=7, dtype=dtype)
    report = make_network(problem, dtype).gradcheck(problem.X, problem.t)
    assert report.ok, f"{problem}\n{report}"


def report_size(report):
    return sum(part.kink.size for part in report.layers)


class Cube:
    """Mean |z - t|^3, smooth; the derivative may be given wrong by a factor."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def value_and_delta(self, z, t):
        r = z - t
        return np.mean(np.abs(r) ** 3), self.factor * 3 * r * np.abs(r) / r.size


@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_objects_of_the_users(dtype):
    rng = np.random.default_rng(3)
    X, t = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    assert fb.Network([3, 5, 2], loss=Cube(), activation="tanh", dtype=dtype, seed=0).gradcheck(X, t)
    wrong = fb.Network([3, 5, 2], loss=Cube(1.001), activation="tanh", dtype=dtype, seed=0).gradcheck(X, t)
    assert not any(part.ok for part in wrong.layers), wrong


@pytest.mark.parametrize("dtype", DTYPES)
def test_trained_networks_pass(dtype):
    """Near a minimum the gradient is what is left of large terms: in float32 much of it is rounding."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3))
    for activation, loss, y in (("tanh", "mse", X[:, :1]), ("relu", "cross_entropy", (X[:, 0] > 0).astype(int))):
        net = fb.Network([3, 8, 1 if loss == "mse" else 2], activation=activation, loss=loss, dtype=dtype, seed=1)
        net.fit(X, y, epochs=300, optimizer=fb.Adam(0.02), verbose=0)
        report = net.gradcheck(X, y)
        assert report.ok, report


class Tampered:
    """An engine whose gradients are changed on their way out."""

    def __init__(self, engine, change_gradient=None, change_input_gradient=None, loss_factor=1.0):
        self.engine = engine
        self.change_gradient = change_gradient
        self.change_input_gradient = change_input_gradient
        self.loss_factor = loss_factor

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def loss_and_grad(self, *arguments, **mode):
        loss = self.engine.loss_and_grad(*arguments, **mode)
        if self.change_gradient:
            self.change_gradient(arguments[-1])
        return loss * self.loss_factor

    def loss_and_grad_ready(self, *arguments):
        """Never ready: every gradient goes through loss_and_grad."""

    def input_grad(self, *arguments, **mode):
        self.engine.input_grad(*arguments, **mode)
        if self.change_input_gradient:
            self.change_input_gradient(arguments[-1])


def planted(dtype, loss_factor=1.0, gradient=None, inputs=None, activation="tanh", rows=6):
    """A 4-6-5-3 net whose engine reports its gradient after the changes, and its report."""
    problem = draw_problem(5, (4, 6, 5, 3), (activation, activation, "softmax"), "cross_entropy of classes", rows=rows)
    net = make_network(problem, dtype)
    net._engine = Tampered(net._engine, gradient, inputs, loss_factor)
    return net, net.gradcheck(problem.X, problem.t)


# where W and b of the 4-6-5-3 net lie in the flat gradient
W0, B0, W1, B1, W2, B2 = (slice(a, b) for a, b in ((0, 24), (24, 30), (30, 60), (60, 65), (65, 80), (80, 83)))


def wrong_sign(g):
    g[W1].reshape(5, 6)[3, 4] *= -1


def lost_bias(g):
    g[B1] = 0


def scaled_layer(g):
    g[W2] *= 1.01


def off_by_one_row(g):
    g[W1] = np.roll(g[W1].reshape(5, 6), 1, axis=0).ravel()


def missing_division_by_rows(g):
    g *= 6


def swapped_entries(g):
    g[[2, 3]] = g[[3, 2]]


def not_a_number(g):
    g[B2][2] = np.nan


def infinite(g):
    g[W0][7] = np.inf


ALL = ["layers[0].weight", "layers[0].bias", "layers[1].weight", "layers[1].bias", "layers[2].weight", "layers[2].bias"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("change", "parts", "entries"),
    [
        (wrong_sign, ["layers[1].weight"], ["layers[1].weight[3, 4]"]),
        (lost_bias, ["layers[1].bias"], [f"layers[1].bias[{i}]" for i in range(5)]),
        (scaled_layer, ["layers[2].weight"], ["layers[2].weight[0, 0]"]),
        (off_by_one_row, ["layers[1].weight"], ["layers[1].weight[0, 0]"]),
        (missing_division_by_rows, ALL, ["layers[0].weight[0, 0]", "layers[2].bias[2]"]),
        (swapped_entries, ["layers[0].weight"], ["layers[0].weight[0, 2]", "layers[0].weight[0, 3]"]),
        (not_a_number, ["layers[2].bias"], ["layers[2].bias[2]"]),
        (infinite, ["layers[0].weight"], ["layers[0].weight[1, 3]"]),
    ],
)
def test_a_wrong_gradient_is_found_and_named(change, parts, entries, dtype):
    _, report = planted(dtype, gradient=change)
    assert not report
    assert [part.name for part in report.layers if not part.ok] == parts, report
    named = [part.entry(index) for part in report.layers for index in part.failures]
    assert set(entries) <= set(named), report
    assert any(f"  {named[0]}" in line for line in str(report).splitlines()), report
    if len(entries) == 1 and change in (wrong_sign, not_a_number, infinite):
        assert named == entries, report


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("change", [wrong_sign, lost_bias, scaled_layer, off_by_one_row, missing_division_by_rows])
def test_an_error_in_the_kernels_of_one_dtype_is_found(change, activation, dtype, monkeypatch):
    """Copies of the network are as wrong as itself, and no kinks; in float32 the float64 ones beside it are right."""
    modules = config.engine_module

    def tampered_modules(of):
        def engine(*arguments):
            return Tampered(modules(of).Engine(*arguments), change_gradient=change if of == dtype else None)

        return types.SimpleNamespace(Engine=engine)

    monkeypatch.setattr(config, "engine_module", tampered_modules)
    problem = draw_problem(5, (4, 6, 5, 3), (activation, activation, "identity"), "mse", rows=6, dtype=dtype)
    report = make_network(problem, dtype).gradcheck(problem.X, problem.t)
    assert not report.ok, report
    assert report.n_kinks == 0, report


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_wrong_input_gradient_is_found_and_named(dtype):
    def change(g):
        g[[1, 2]] = g[[2, 1]]

    _, report = planted(dtype, inputs=change)
    (part,) = [part for part in report.layers if not part.ok]
    assert (part.name, part.kind, part.layer) == ("input", "input", 0)
    assert {row for row, _ in part.failures} == {1, 2}, report
    assert part.entry(part.worst) in str(report)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_smallest_promised_error_is_found_in_every_entry(dtype):
    """Each in turn; entries below a thousandth of the largest of their part are not promised in float32."""
    problem = draw_problem(5, (4, 6, 5, 3), ("tanh", "silu", "identity"), "mse", rows=6, dtype=dtype)
    net = make_network(problem, dtype)
    right = net.gradcheck(problem.X, problem.t)
    assert right
    promised = np.concatenate(
        [
            (np.abs(part.analytic) > (1e-3 if dtype == "float32" else 0) * np.abs(part.analytic).max()).ravel()
            for part in right.layers[:-1]
        ]
    )
    assert promised.sum() > 0.9 * net.n_params
    for e in np.flatnonzero(promised):

        def change(g, e=e):
            g[e] *= 1 + SMALLEST[dtype]

        net._engine = Tampered(net._engine.engine if isinstance(net._engine, Tampered) else net._engine, change)
        report = net.gradcheck(problem.X, problem.t)
        assert sum(len(part.failures) for part in report.layers) == 1, f"entry {e}: {problem}\n{report}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_wrong_loss_is_named(dtype):
    _, report = planted(dtype, loss_factor=1 + SMALLEST[dtype])
    assert not report.ok
    assert not report.loss_ok
    assert all(part.ok for part in report.layers), report
    assert "WRONG" in next(line for line in str(report).splitlines() if line.startswith("loss"))


# Kinks. W = I and no bias: y is x.


def identity_net(activation, loss, dtype, n=3):
    net = fb.Network([n, n], output=activation, loss=loss, bias=False, dtype=dtype)
    net.weights[0][:] = np.eye(n)
    return net


KINKS = [
    ("relu", "mse", [[0.0, 1.0, -1.0]], [[1.0, 0.0, 0.5]]),
    ("leaky_relu", "mse", [[0.0, 1.0, -1.0]], [[1.0, 0.0, 0.5]]),
    ("selu", "mse", [[0.0, 1.0, -1.0]], [[1.0, 0.0, 0.5]]),
    ("hard_sigmoid", "mse", [[3.0, 1.0, -1.0]], [[0.5, 0.0, 0.2]]),
    ("hard_sigmoid", "mse", [[-3.0, 1.0, -1.0]], [[0.5, 0.0, 0.2]]),
    ("identity", "mae", [[0.5, 1.0, -1.0]], [[0.5, 0.0, 0.5]]),
    ("identity", fb.Quantile(0.3), [[0.5, 1.0, -1.0]], [[0.5, 0.0, 0.5]]),
    ("identity", "hinge", [[1.0, 0.5, -2.0]], [[1.0, 1.0, 1.0]]),
    ("identity", "hinge", [[0.0, 1.0, 0.5]], [1]),
]
IDS = [f"{a} {loss} {x[0][0]} {t[0]}" for a, loss, x, t in KINKS]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("distance", [0.0, 1e-12, -1e-12])
@pytest.mark.parametrize(("activation", "loss", "x", "t"), KINKS, ids=IDS)
def test_kinks_are_listed_and_neither_pass_nor_fail(activation, loss, x, t, distance, dtype):
    x = np.array(x)
    x[0, 0] += distance
    report = identity_net(activation, loss, dtype).gradcheck(x, t)
    weight, inputs = report.layers
    assert report.ok, report
    assert (0, 0) in inputs.kinks, report
    assert inputs.n_checked == 3 - len(inputs.kinks)
    assert "at a kink, not judged:" in str(report)
    assert inputs.entry((0, 0)) in str(report).split("at a kink")[1]
    moving = np.flatnonzero(x)  # an input of 0 does not move the unit
    assert all(j in moving for _, j in weight.kinks), report


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_rounding_leaves_of_a_sum_that_cancels_is_no_kink(dtype):
    """The bias gradients of a class hinge are sums of a few equal numbers, at all points around as well."""
    for seed in range(40):
        problem = draw_problem(seed, (3, 5, 6), ("tanh", "identity"), "hinge of classes", rows=5, dtype=dtype)
        report = make_network(problem, dtype).gradcheck(problem.X, problem.t)
        assert report.ok, f"{problem}\n{report}"
        assert report.n_kinks == 0, f"{problem}\n{report}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("distance", [1e-2, 1e-3, 1e-4, 1e-5])
@pytest.mark.parametrize(("activation", "loss", "x", "t"), KINKS, ids=IDS)
def test_beside_a_kink_all_entries_are_judged(activation, loss, x, t, distance, dtype):
    for sign in (-1, 1):
        near = np.array(x)
        near[0, 0] += sign * distance
        report = identity_net(activation, loss, dtype).gradcheck(near, t)
        assert report.ok, report
        if not (loss == "hinge" and np.ndim(t[0]) == 0):  # its other margin is at the kink
            assert report.n_kinks == 0, report


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("wrong", ["sign", "double"])
@pytest.mark.parametrize(("activation", "loss", "x", "t"), KINKS, ids=IDS)
def test_a_wrong_gradient_near_a_kink_fails(activation, loss, x, t, wrong, distance, dtype):
    """Wrong is what lies outside the slopes on both sides: larger than the larger, beyond the smaller."""
    for sign in (-1, 1):
        near = np.array(x)
        near[0, 0] += sign * distance
        net = identity_net(activation, loss, dtype)
        sides = [net.input_grad(near + np.array([[d, 0, 0]]), t)[0, 0] for d in (-1e-3, 1e-3)]
        low, high = min(sides), max(sides)

        def change(g, low=low, high=high):
            g[0, 0] = high + 0.3 * (high - low) if wrong == "double" else low - 0.3 * (high - low)

        net._engine = Tampered(net._engine, change_input_gradient=change)
        report = net.gradcheck(near, t)
        assert (0, 0) in report.layers[1].failures, f"{sign * distance}: {sides}\n{report}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "selu"])
def test_many_units_at_their_kink_at_once(activation, dtype):
    """A row of zeros at zero biases: every unit of the first layer, of all layers, is at its kink.

    The derivative by such an input need not lie between the slopes on its two sides.
    """
    X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    for seed in range(10):
        net = fb.Network([2, 8, 6, 1], activation=activation, loss="binary_cross_entropy", dtype=dtype, seed=seed)
        report = net.gradcheck(X, y)
        assert report.ok, f"seed {seed}\n{report}"
        by_name = {part.name: part for part in report.layers}
        assert by_name["layers[0].weight"].kinks == [], f"seed {seed}\n{report}"
        assert len(by_name["layers[0].bias"].kinks) >= 6, f"seed {seed}\n{report}"
        assert set(by_name["input"].kinks) <= {(0, 0), (0, 1)}, f"seed {seed}\n{report}"


# What must not change


def snapshot(net):
    state = net.__getstate__()
    kept = state.pop("optimizer_state")
    return state.pop("params").tobytes(), repr(kept), repr(state)


def trained(dtype):
    rng = np.random.default_rng(8)
    X, y = rng.standard_normal((12, 4)), rng.integers(0, 3, 12)
    net = fb.Network([4, 6, 3], activation="relu", dtype=dtype, seed=2)
    net.fit(X, y, epochs=2, batch_size=5, verbose=0)
    return net, X, y


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_network_and_the_data_stay_as_they_were(dtype):
    net, X, y = trained(dtype)
    before, data = snapshot(net), (X.tobytes(), y.tobytes())
    net.gradcheck(X, y)
    assert snapshot(net) == before
    assert (X.tobytes(), y.tobytes()) == data
    twin = net.copy()
    net.fit(X, y, epochs=1, batch_size=5, verbose=0)
    twin.fit(X, y, epochs=1, batch_size=5, verbose=0)
    assert net.params.tobytes() == twin.params.tobytes()


class Breaks(Cube):
    """Raises at its n-th call."""

    def __init__(self, error, calls):
        super().__init__()
        self.error, self.calls = error, calls

    def value_and_delta(self, z, t):
        self.calls -= 1
        if self.calls == 0:
            raise self.error
        return super().value_and_delta(z, t)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("calls", [1, 3, 20, 60, 100])
def test_an_interrupted_check_leaves_the_network_as_it_was(calls, error):
    rng = np.random.default_rng(1)
    X, t = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    net = fb.Network([3, 5, 2], activation="tanh", loss=Breaks(error, calls), dtype="float64", seed=0)
    params, generator = net.params.tobytes(), net._rng.bit_generator.state
    with pytest.raises(error):
        net.gradcheck(X, t)
    assert net.params.tobytes() == params
    assert net._rng.bit_generator.state == generator


# Arguments


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"eps": 0}, ValueError, "eps: expected a finite number >= 1e-10 and <= 0.001, got 0"),
        ({"eps": -1e-6}, ValueError, "eps: "),
        ({"eps": np.nan}, ValueError, "eps: .* got nan"),
        ({"eps": np.inf}, ValueError, "eps: "),
        ({"eps": 1.0}, ValueError, "eps: "),
        ({"eps": "small"}, TypeError, "eps: expected a number, got 'small'"),
        ({"eps": True}, TypeError, "eps: "),
        ({"eps": [1e-6, 1e-5]}, TypeError, "eps: "),
        ({"rtol": 0}, ValueError, "rtol: expected a finite number > 0 and < 1, got 0"),
        ({"rtol": -1e-3}, ValueError, "rtol: "),
        ({"rtol": 1}, ValueError, "rtol: "),
        ({"rtol": np.nan}, ValueError, "rtol: "),
        ({"rtol": "1e-3"}, TypeError, "rtol: "),
        ({"atol": 0}, ValueError, "atol: expected a finite number > 0, got 0"),
        ({"atol": -1.0}, ValueError, "atol: "),
        ({"atol": np.inf}, ValueError, "atol: "),
        ({"atol": object()}, TypeError, "atol: "),
        ({"X": np.ones((2, 5))}, ValueError, r"X: expected shape \(n, 4\), got \(2, 5\)"),
        ({"X": np.ones(4)}, ValueError, "X: expected shape"),
        ({"X": np.ones((0, 4))}, ValueError, "X: expected at least one row"),
        ({"X": [[1, 2, 3, np.nan]] * 2}, ValueError, "X: expected finite numbers"),
        ({"X": [["a"] * 4] * 2}, TypeError, "X: expected an array of real numbers"),
        ({"y": [0, 3]}, ValueError, "y: expected class indices from 0 to 2"),
        ({"y": [0]}, ValueError, "y: expected 2 rows"),
        ({"y": None}, TypeError, "y: "),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    net = fb.Network([4, 6, 3], seed=2)
    before = net.params.tobytes()
    with pytest.raises(error, match=message):
        net.gradcheck(**{"X": np.ones((2, 4)), "y": [0, 2], **arguments})
    assert net.params.tobytes() == before


def test_tolerances_are_positional_nowhere():
    net = fb.Network([4, 6, 3], seed=2)
    with pytest.raises(TypeError, match="positional"):
        net.gradcheck(np.ones((2, 4)), [0, 2], 1e-6)


def test_parameters_that_are_not_finite_are_refused():
    net = fb.Network([4, 6, 3], seed=2)
    net.params[5] = np.nan
    with pytest.raises(ValueError, match="params: expected finite parameters, got nan"):
        net.gradcheck(np.ones((2, 4)), [0, 2])


def test_rows_of_infinite_loss_are_refused():
    net = fb.Network([1, 1], loss="poisson", dtype="float64", seed=0)
    net.weights[0][:] = 1
    with pytest.raises(ValueError, match="X, y: expected rows with a finite loss, got a loss of inf"):
        net.gradcheck([[1000.0]], [[1.0]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_tolerances_decide(dtype):
    """A gradient wrong by 1% passes with rtol=0.1 and fails with rtol=1e-3; so with atol."""
    problem = draw_problem(5, (4, 6, 3), ("tanh", "softmax"), "cross_entropy of classes", rows=6, dtype=dtype)

    def change(g):
        g *= 1.01

    net = make_network(problem, dtype)
    net._engine = Tampered(net._engine, change)
    assert net.gradcheck(problem.X, problem.t, rtol=0.1)
    assert not net.gradcheck(problem.X, problem.t, rtol=1e-3)
    assert net.gradcheck(problem.X, problem.t, atol=0.1)
    assert not net.gradcheck(problem.X, problem.t, atol=1e-6)


@pytest.mark.parametrize("eps", [1e-4, 1e-6, 1e-7])
def test_the_step_can_be_chosen(eps):
    problem = problem_for("tanh", "mse", "float64")
    report = make_network(problem, "float64").gradcheck(problem.X, problem.t, eps=eps)
    assert report.eps == eps
    assert report.ok, report


def test_the_report_is_a_table_of_every_part():
    net, report = planted("float64", gradient=wrong_sign)
    text = str(report)
    lines = text.splitlines()
    assert lines[0] == f"gradient check of {net!r}, 6 rows: WRONG"
    assert [line.split()[0] for line in lines[2:9]] == [*ALL, "input"]
    weight = report.layers[2]
    assert (weight.layer, weight.kind, weight.n_checked, weight.kinks) == (1, "weight", 30, [])
    assert (weight.worst, weight.failures) == ((3, 4), [(3, 4)])
    assert weight.max_error == report.max_error == pytest.approx(2)
    assert weight.analytic[3, 4] == pytest.approx(-weight.numeric[3, 4], rel=1e-5)
    assert f"{weight.analytic[3, 4]:.9g}" in text
    assert f"{weight.numeric[3, 4]:.9g}" in text
    assert "wrong:" in lines
