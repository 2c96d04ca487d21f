"""The network against its slow twin, reference.py: random networks, and the points where a formula changes."""

import numpy as np
import pytest
import reference
from comparison import DTYPES, TOLERANCE, check, relative_error
from hypothesis import assume, given, note
from hypothesis import strategies as st
from passes import by_fastbp, by_twin, check_pass, twin_layers
from problems import ACTIVATIONS, LOGIT_OUTPUTS, LOSSES, draw_problem, make_network, output_of, wide_enough
from wellposed import well_posed

import fastbp as fb


@st.composite
def networks(draw, dtype):
    """One to four layers of 1 to 70 units, activations and biases mixed, any loss, 1 to 600 rows, weighted or not.

    Architectures shrink; the numbers come from a seed.
    """
    variant = draw(st.sampled_from(list(LOSSES)))
    hidden = draw(st.lists(st.sampled_from(ACTIVATIONS), max_size=3))
    own = LOSSES[variant][0] in LOGIT_OUTPUTS
    output = draw(st.sampled_from(("identity", output_of(variant)) if own else ACTIVATIONS))
    activations = (*hidden, output)
    layers = len(activations)
    sizes = draw(st.lists(st.integers(1, 70), min_size=layers + 1, max_size=layers + 1))
    biases = draw(st.lists(st.booleans(), min_size=layers, max_size=layers))
    return draw_problem(
        draw(st.integers(0, 2**32 - 1)),
        wide_enough(sizes, variant, activations),
        activations,
        variant,
        rows=draw(st.one_of(st.integers(1, 20), st.integers(1, 600))),
        bias=biases,
        weighted=draw(st.booleans()),
        dtype=dtype,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_random_networks_are_the_twins(dtype, data):
    problem = data.draw(networks(dtype))
    note(str(problem))
    assume(well_posed(problem, dtype))
    check_pass("random", problem, dtype, by_fastbp(problem, dtype), by_twin(problem))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_saturate_and_keep_their_derivative_at_kinks(activation, dtype):
    """One row of awkward pre-activations through W = I: outputs, and input gradients of mse, entry by entry."""
    y = np.array([[-700.0, -88.0, -30.0, -3.0, -1e-3, -0.0, 0.0, 1e-30, 1e-3, 3.0, 30.0, 88.0]])
    y = y.astype(dtype).astype(float)
    if activation == "exp":
        y = np.minimum(y, 30)  # its square is the loss
    n = y.shape[1]
    net = fb.Network([n, n], output=activation, loss="mse", bias=False, dtype=dtype)
    net.weights[0][:] = np.eye(n)
    layers = [(np.eye(n), None, activation)]
    t = np.ones((1, n))
    eps = np.finfo(dtype).eps

    z = reference.predict(layers, y)
    np.testing.assert_allclose(net.predict(y), z, rtol=8 * eps, atol=8 * eps)
    _, _, dy = reference.loss_and_grad(layers, y, t, "mse")
    np.testing.assert_allclose(net.input_grad(y, t), dy, rtol=16 * eps, atol=16 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [a for a in ACTIVATIONS if a != "exp"])
@pytest.mark.parametrize("y", [-1e20, 1e20])
def test_derivatives_of_huge_pre_activations_are_finite(y, activation, dtype):
    """Their squares overflow float32; exp of them overflows anyway."""
    net = fb.Network([2, 2], output=activation, loss="mae", bias=False, dtype=dtype)
    net.weights[0][:] = np.eye(2)
    assert np.isfinite(net.input_grad([[y, 0.0]], [[0.0, 0.0]])).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("loss", "z", "t"),
    [
        ("mae", [[0.0, 1.0, -2.0]], [[0.0, 1.0, 3.0]]),
        ("quantile", [[0.0, 1.0, -2.0]], [[0.0, 1.0, 3.0]]),
        ("huber", [[1.0, -1.0, 0.0]], [[0.0, 0.0, 0.0]]),
        ("hinge", [[1.0, -1.0, 0.5]], [[1.0, -1.0, -1.0]]),
        ("hinge", [[0.0, 1.0, 0.5]], [1]),
    ],
)
def test_losses_keep_their_derivative_at_kinks(loss, z, t, dtype):
    net = fb.Network([3, 3], loss=loss, bias=False, dtype=dtype)
    net.weights[0][:] = np.eye(3)
    z, t = np.array(z), np.array(t)
    _, _, dz = reference.loss_and_grad([(np.eye(3), None, "identity")], z, t, loss)
    np.testing.assert_allclose(net.input_grad(z, t), dz, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", ["cross_entropy of classes", "cross_entropy smoothed", "binary_cross_entropy"])
def test_losses_from_large_logits_stay_finite_and_right(variant, dtype):
    """Logits of hundreds: exp of them overflows float32."""
    output = LOGIT_OUTPUTS[LOSSES[variant][0]]
    problem = draw_problem(7, (6, 9, 5), ("tanh", output), variant, rows=40, dtype=dtype)
    spec = problem.spec
    problem.params[-spec.layer_lengths[-1] :] *= 256
    net = make_network(problem, dtype)
    layers = twin_layers(problem, problem.params)
    assert np.abs(reference.forward(layers, problem.X)[-1][1]).max() > 200
    loss, grad, _ = reference.loss_and_grad(layers, problem.X, problem.t, spec.loss, **spec.loss_parameters)
    got_loss, got = net.loss_and_grad(problem.X, problem.t)
    check("large logits: loss", dtype, relative_error(got_loss, loss), TOLERANCE[dtype], problem)
    check("large logits: gradient", dtype, relative_error(got, grad), TOLERANCE[dtype], problem)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outputs", [2, 9, 40])
@pytest.mark.parametrize("form", ["classes", "one-hot", "probabilities"])
def test_labels_are_smoothed_in_every_form_of_targets(form, outputs, dtype):
    sizes, activations = (4, 7, outputs), ("tanh", "softmax")
    problem = draw_problem(outputs, sizes, activations, "cross_entropy smoothed", rows=50, dtype=dtype)
    if form == "one-hot":
        problem.t = np.eye(outputs)[problem.t]
    if form == "probabilities":
        problem.t = np.random.default_rng(outputs).dirichlet(np.ones(outputs), 50).astype(dtype).astype(float)
    check_pass("smoothing", problem, dtype, by_fastbp(problem, dtype), by_twin(problem))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "output"), [("mse", "identity"), ("binary_cross_entropy", "sigmoid")])
def test_targets_of_one_output_may_be_a_vector(loss, output, dtype):
    problem = draw_problem(5, (3, 4, 1), ("tanh", output), loss, rows=20, dtype=dtype)
    net = make_network(problem, dtype)
    assert net.loss(problem.X, problem.t[:, 0]) == net.loss(problem.X, problem.t)
