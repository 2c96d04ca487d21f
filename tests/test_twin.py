"""The network against its slow twin, reference.py: predictions, loss, gradient, and whole training runs."""

import dataclasses

import numpy as np
import pytest
import reference
from comparison import check, gradient_error, relative_error
from problems import ACTIVATIONS, LOGIT_OUTPUTS, LOSSES, draw_problem, draw_sizes, make_network, stable_seed

import fastbp as fb

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
# A training run adds up the rounding of its steps, and Adam's m / sqrt(v) has that of g entry by entry,
# so runs are judged by how far they end apart, relative to how far they went.
RUN_TOLERANCE = {"float64": 1e-12, "float32": 3e-4}
DTYPES = tuple(TOLERANCE)
SMOOTH = [a for a in ACTIVATIONS if a not in ("relu", "leaky_relu", "selu", "hard_sigmoid")]

OPTIMIZERS = [
    fb.SGD(0.05),
    fb.SGD(0.05, weight_decay=0.1),
    fb.SGD(0.02, momentum=0.9),
    fb.SGD(0.02, momentum=0.9, nesterov=True, weight_decay=0.01),
    fb.Adam(),
    fb.Adam(0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
    fb.AdamW(),
    fb.AdamW(0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
]


def twin_optimizer(optimizer):
    return reference.OPTIMIZERS[type(optimizer).__name__](**dataclasses.asdict(optimizer))


def twin_layers(problem, params):
    spec = problem.spec
    return reference.as_layers(params, spec.sizes, spec.activations, spec.biases)


def random_problem(seed, dtype, rows, activations=ACTIVATIONS):
    """Two to four layers with activations, loss, biases and weights drawn from the seed."""
    rng = np.random.default_rng(seed)
    variant = str(rng.choice(list(LOSSES)))
    hidden = [str(a) for a in rng.choice(activations, int(rng.integers(1, 4)))]
    spec_activations = [*hidden, LOGIT_OUTPUTS.get(LOSSES[variant][0], "identity")]
    return draw_problem(
        seed,
        draw_sizes(rng, len(spec_activations), variant, spec_activations),
        spec_activations,
        variant,
        rows=rows,
        bias=tuple(bool(b) for b in rng.integers(0, 2, len(spec_activations))),
        weighted=bool(rng.integers(0, 2)),
        dtype=dtype,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(60))
def test_predict_loss_and_gradient_are_the_twins(seed, dtype):
    problem = random_problem(seed, dtype, rows=1 + 7 * (seed % 11), activations=SMOOTH)
    spec = problem.spec
    net = make_network(problem, dtype)
    layers = twin_layers(problem, problem.params)
    args = layers, problem.X, problem.t, spec.loss, problem.w
    loss, grad, _ = reference.loss_and_grad(*args, **spec.loss_parameters)

    tolerance = TOLERANCE[dtype]
    z = net.predict(problem.X)
    assert z.dtype == dtype
    assert z.shape == (len(problem.X), spec.sizes[-1])
    check("twin: predict", dtype, relative_error(z, reference.predict(layers, problem.X)), tolerance, problem)
    got_loss = net.loss(problem.X, problem.t, sample_weight=problem.w)
    check("twin: loss", dtype, relative_error(got_loss, loss), tolerance, problem)
    _, got = net.loss_and_grad(problem.X, problem.t, sample_weight=problem.w)
    assert got.dtype == dtype
    check("twin: gradient", dtype, gradient_error(got, grad, spec.layer_lengths), tolerance, problem)


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
@pytest.mark.parametrize("batch_size", [1, 8, 13, 50, 64])  # 50 rows: even, with a short last batch, whole, larger
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_training_follows_the_twin(optimizer, batch_size, dtype):
    epochs = 2
    for activation, variant in (("tanh", "mse"), ("silu", "cross_entropy of classes"), ("sigmoid", "huber")):
        seed = stable_seed(str(optimizer), batch_size, variant)
        output = LOGIT_OUTPUTS.get(LOSSES[variant][0], "identity")
        problem = draw_problem(
            seed,
            (5, 11, 7, 3),
            (activation, activation, output),
            variant,
            rows=50,
            weighted=bool(seed & 1),
            dtype=dtype,
        )
        spec = problem.spec
        params = problem.params.copy()
        losses = reference.fit(
            params,
            twin_layers(problem, params),
            problem.X,
            problem.t,
            spec.loss,
            twin_optimizer(optimizer),
            epochs=epochs,
            batch_size=batch_size,
            sample_weight=problem.w,
            **spec.loss_parameters,
        )
        net = make_network(problem, dtype)
        history = net.fit(
            problem.X,
            problem.t,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            sample_weight=problem.w,
            shuffle=False,
            verbose=0,
        )
        apart = np.linalg.norm(net.params - params) / np.linalg.norm(params - problem.params)
        check("training: parameters", dtype, apart, RUN_TOLERANCE[dtype], problem)
        check("training: losses", dtype, relative_error(history.history["loss"], losses), TOLERANCE[dtype], problem)


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
    params = problem.params.copy()
    net = make_network(problem, dtype)
    for _ in range(2):
        args = problem.X, problem.t, "mse", reference.Adam(0.01)
        reference.fit(params, twin_layers(problem, params), *args, epochs=1, batch_size=10)
        net.fit(problem.X, problem.t, epochs=1, batch_size=10, optimizer=fb.Adam(0.01), shuffle=False, verbose=0)
    apart = np.linalg.norm(net.params - params) / np.linalg.norm(params - problem.params)
    check("training: parameters", dtype, apart, RUN_TOLERANCE[dtype], problem)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "output"), [("mse", "identity"), ("binary_cross_entropy", "sigmoid")])
def test_targets_of_one_output_may_be_a_vector(loss, output, dtype):
    problem = draw_problem(5, (3, 4, 1), ("tanh", output), loss, rows=20, dtype=dtype)
    net = make_network(problem, dtype)
    assert net.loss(problem.X, problem.t[:, 0]) == net.loss(problem.X, problem.t)
