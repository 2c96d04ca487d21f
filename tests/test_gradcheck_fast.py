"""The gradient check along random directions, and its own line for a loss object of the user's."""

import numpy as np
import pytest
from problems import ACTIVATIONS, LOGIT_OUTPUTS, LOSSES, draw_problem, make_network, stable_seed
from snapshot import snapshot
from test_gradcheck import (
    ALL,
    DTYPES,
    Cube,
    Tampered,
    infinite,
    lost_bias,
    missing_division_by_rows,
    not_a_number,
    off_by_one_row,
    scaled_layer,
    swapped_entries,
    wrong_sign,
)

import fastbp as fb


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_right_gradients_pass(activation, variant, dtype):
    for rows in (1, 5, 33):
        seed = stable_seed("fast", activation, variant, rows)
        activations = (activation, activation, LOGIT_OUTPUTS.get(LOSSES[variant][0], "identity"))
        problem = draw_problem(seed, (4, 17, 9, 3), activations, variant, rows=rows, bias=bool(seed & 1), dtype=dtype)
        report = make_network(problem, dtype).gradcheck(problem.X, problem.t, mode="fast")
        assert report.ok, f"{problem}\n{report}"
        assert sum(part.n_checked for part in report.parts) + report.n_kinks == 4 * len(report.parts)
        assert report.n_kinks <= 2, f"{problem}\n{report}"


CHANGES = [
    (wrong_sign, ["layers[1].weight"]),
    (lost_bias, ["layers[1].bias"]),
    (scaled_layer, ["layers[2].weight"]),
    (off_by_one_row, ["layers[1].weight"]),
    (swapped_entries, ["layers[0].weight"]),
    (missing_division_by_rows, ALL),
    (not_a_number, ["layers[2].bias"]),
    (infinite, ["layers[0].weight"]),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("change", "parts"), CHANGES)
def test_a_wrong_gradient_is_found_and_its_part_named(change, parts, dtype):
    problem = draw_problem(5, (4, 6, 5, 3), ("tanh", "tanh", "softmax"), "cross_entropy of classes", rows=6)
    net = make_network(problem, dtype)
    net._engine = Tampered(net._engine, change)
    for seed in range(10):
        report = net.gradcheck(problem.X, problem.t, mode="fast", seed=seed)
        assert not report
        assert [part.name for part in report.layers if not part.ok] == parts, f"seed {seed}\n{report}"
        assert not report.model.ok
        assert f"  {parts[0]} along" in str(report).split("wrong:")[1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_wrong_input_gradient_is_found(dtype):
    def change(g):
        g[[1, 2]] = g[[2, 1]]

    problem = draw_problem(5, (4, 6, 3), ("tanh", "softmax"), "cross_entropy of classes", rows=6, dtype=dtype)
    net = make_network(problem, dtype)
    net._engine = Tampered(net._engine, change_input_gradient=change)
    report = net.gradcheck(problem.X, problem.t, mode="fast")
    assert [part.name for part in report.parts if not part.ok] == ["input"], report


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_wrong_entry_of_thousands_is_found(dtype):
    """Of typical size, in a layer of 128 x 54."""
    problem = draw_problem(2, (54, 128, 7), ("tanh", "softmax"), "cross_entropy of classes", rows=8, dtype=dtype)
    net = make_network(problem, dtype)
    g = net.loss_and_grad(problem.X, problem.t)[1][: 128 * 54]
    e = int(np.abs(np.abs(g) - np.sqrt(np.mean(g**2))).argmin())

    def change(g):
        g[e] *= -1

    net._engine = Tampered(net._engine, change)
    report = net.gradcheck(problem.X, problem.t, mode="fast")
    assert [part.name for part in report.layers if not part.ok] == ["layers[0].weight"], report


def passes(width, mode):
    """How often the float64 kernels are called for a loss in a check of a 3-width-2 net."""
    net = fb.Network([3, width, 2], activation="tanh", dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((5, 3)), rng.integers(0, 2, 5)
    calls, original = [0], fb.Network._loss

    def counted(*arguments, **mode):
        calls[0] += 1
        return original(*arguments, **mode)

    fb.Network._loss = counted
    try:
        assert net.gradcheck(X, y, mode=mode)
    finally:
        fb.Network._loss = original
    return calls[0]


def test_the_cost_does_not_grow_with_the_parameters():
    assert passes(8, "fast") == passes(400, "fast") < 100
    assert passes(80, "full") > 2 * 80 * 5


def test_the_mode_follows_from_the_size():
    rng = np.random.default_rng(0)
    modes = []
    for width in (10, 3000):
        net = fb.Network([20, width, 3], activation="tanh", seed=0)
        report = net.gradcheck(rng.standard_normal((10, 20)), rng.integers(0, 3, 10))
        assert report.ok, report
        modes.append(report.mode)
    assert modes == ["full", "fast"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "selu"])
def test_kinks_in_the_way_of_directions_are_listed(activation, dtype):
    """A row of zeros at zero biases: biases and inputs move units through their kink, weights do not."""
    X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    for seed in range(10):
        net = fb.Network([2, 8, 6, 1], activation=activation, loss="binary_cross_entropy", dtype=dtype, seed=seed)
        report = net.gradcheck(X, y, mode="fast")
        assert report.ok, f"seed {seed}\n{report}"
        by_name = {part.name: part for part in report.parts}
        assert by_name["layers[0].weight"].n_checked == 4, f"seed {seed}\n{report}"
        assert len(by_name["layers[0].bias"].kinks) >= 3, f"seed {seed}\n{report}"
        assert "layers[0].bias along 0" in str(report).split("at a kink, not judged:")[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("change", [wrong_sign, scaled_layer, lost_bias])
def test_kinks_close_by_do_not_hide_a_wrong_gradient(change, dtype):
    for seed in range(20):
        problem = draw_problem(seed, (4, 6, 5, 3), ("relu", "leaky_relu", "identity"), "mae", rows=20, dtype=dtype)
        net = make_network(problem, dtype)
        assert net.gradcheck(problem.X, problem.t, mode="fast"), problem
        if not change_shows(net, problem, change):
            continue
        net._engine = Tampered(net._engine, change)
        report = net.gradcheck(problem.X, problem.t, mode="fast")
        assert not report.ok, f"{problem}\n{report}"


def change_shows(net, problem, change):
    """Whether it changes the gradient by a hundredth of its part (a unit may be dead)."""
    before = net.loss_and_grad(problem.X, problem.t)[1]
    after = before.copy()
    change(after)
    return np.linalg.norm(after - before) > 0.01 * np.linalg.norm(before)


def test_a_gradient_of_zeros_passes():
    net = fb.Network([3, 4, 2], loss="mse", output="relu", dtype="float64", seed=0)
    net.biases[1][:] = -100
    report = net.gradcheck(np.ones((2, 3)), np.zeros((2, 2)), mode="fast")
    assert report.ok, report
    assert report.max_error == 0


def test_the_seed_decides_the_directions():
    problem = draw_problem(1, (4, 6, 3), ("tanh", "softmax"), "cross_entropy of classes", rows=4)
    net = make_network(problem, "float64")

    def numbers(seed):
        return [part.numeric.tobytes() for part in net.gradcheck(problem.X, problem.t, mode="fast", seed=seed).parts]

    assert numbers(3) == numbers(3)
    assert all(a != b for a, b in zip(numbers(3), numbers(4), strict=True))


def test_the_network_stays_as_it_was():
    net = fb.Network([4, 6, 3], seed=2)
    X, y = np.ones((5, 4)), [0, 1, 2, 0, 1]
    net.fit(X, y, epochs=2, verbose=0)
    before = snapshot(net)
    net.gradcheck(X, y, mode="fast")
    assert snapshot(net) == before


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"mode": "quick"}, ValueError, "mode: expected one of 'auto', 'full', 'fast', got 'quick'"),
        ({"mode": "Fast"}, ValueError, r"mode: .* \(did you mean 'fast'\?\)"),
        ({"mode": None}, TypeError, "mode: "),
        ({"seed": -1}, ValueError, "seed: expected an integer >= 0, got -1"),
        ({"seed": 1.5}, TypeError, "seed: expected an integer"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    net = fb.Network([4, 6, 3], seed=2)
    with pytest.raises(error, match=message):
        net.gradcheck(np.ones((2, 4)), [0, 2], **arguments)


# Loss objects of the users' own


def own_problem(dtype, factor=1.0):
    rng = np.random.default_rng(3)
    net = fb.Network([3, 5, 2], loss=Cube(factor), activation="tanh", dtype=dtype, seed=0)
    return net, rng.standard_normal((6, 3)), rng.standard_normal((6, 2))


@pytest.mark.parametrize("mode", ["full", "fast"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_right_loss_object_has_a_line_of_its_own(dtype, mode):
    net, X, t = own_problem(dtype)
    report = net.gradcheck(X, t, mode=mode)
    assert report.ok, report
    assert report.objective.kind == "loss"
    assert report.objective.n_checked == (12 if mode == "full" else 4)
    assert any(line.startswith("loss object ") for line in str(report).splitlines())


@pytest.mark.parametrize("mode", ["full", "fast"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_wrong_delta_is_told_from_a_wrong_network(dtype, mode):
    net, X, t = own_problem(dtype, factor=1.001)
    report = net.gradcheck(X, t, mode=mode)
    assert not report.objective.ok
    assert not any(part.ok for part in report.layers), report
    assert "the loss object's delta is not the derivative of its value" in str(report)

    net, X, t = own_problem(dtype)

    def change(g):
        g *= 1.01

    net._engine = Tampered(net._engine, change)
    report = net.gradcheck(X, t, mode=mode)
    assert report.objective.ok
    assert not report.ok
    assert "the loss object's delta" not in str(report)


class OneWrong(Cube):
    """One entry of its delta is wrong."""

    def value_and_delta(self, z, t):
        value, delta = super().value_and_delta(z, t)
        delta[2, 1] *= 1.01
        return value, delta


def test_the_entry_of_a_wrong_delta_is_named():
    net, X, t = own_problem("float64")
    wrong = fb.Network([3, 5, 2], loss=OneWrong(), activation="tanh", dtype="float64", seed=0)
    report = wrong.gradcheck(X, t)
    assert report.objective.failures == [(2, 1)]
    assert "loss object[2, 1]" in str(report)


class Absolute:
    def value_and_delta(self, z, t):
        return np.abs(z - t).mean(), np.sign(z - t) / z.size


@pytest.mark.parametrize("mode", ["full", "fast"])
def test_kinks_of_a_loss_object_are_listed(mode):
    net, X, t = own_problem("float64")
    net = fb.Network([3, 5, 2], loss=Absolute(), activation="tanh", dtype="float64", seed=0)
    t[2, 1] = net.predict(X)[2, 1]
    report = net.gradcheck(X, t, mode=mode)
    assert report.ok, report
    assert (report.objective.kinks == [(2, 1)]) if mode == "full" else (len(report.objective.kinks) == 4)


class Greedy(Cube):
    """Overwrites its arguments, as a careless loss may."""

    def value_and_delta(self, z, t):
        answer = super().value_and_delta(z.copy(), t)
        z[:] = np.nan
        return answer


def test_a_loss_object_that_overwrites_the_outputs_spoils_nothing():
    net, X, t = own_problem("float64")
    greedy = fb.Network([3, 5, 2], loss=Greedy(), activation="tanh", dtype="float64", seed=0)
    assert greedy.gradcheck(X, t).objective.max_error == net.gradcheck(X, t).objective.max_error
