"""Gradients against the `autograd` package: every activation with every loss, random shapes, both dtypes.

A float32 pre-activation within rounding of a kink (relu at 0) may fall on its other side, where the derivative
is another: no float32 code can be held to 1e-5 there. `away_from_kinks` therefore redraws the rows of X that bring
any unit or any loss element closer than MARGIN to a kink. float64 needs no such care: nothing random lies within
1e-15 of one. A distance of exactly 0 stays (a unit fed by zeros alone): it is exact in float32 too.
"""

import numpy as np
import oracle
import pytest
from comparison import check, gradient_error, relative_error
from problems import (
    ACTIVATIONS,
    BATCHES,
    LOGIT_OUTPUTS,
    LOSSES,
    draw_problem,
    draw_sizes,
    make_network,
    stable_seed,
)

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
DTYPES = tuple(TOLERANCE)
MARGIN = 5e-5  # about ten times the float32 rounding error of a pre-activation here
KINKS = {"relu": (0,), "leaky_relu": (0,), "selu": (0,), "hard_sigmoid": (-3, 3)}


def kink_distances(problem):
    """Distances (B, n) of every unit and every loss element of each row to its nearest kink, in float64."""
    spec, t = problem.spec, problem.t
    ys, z = oracle.pre_activations(spec, problem.params, problem.X)
    distances = [np.abs(y - kink) for y, a in zip(ys, spec.activations, strict=True) for kink in KINKS.get(a, ())]
    if spec.loss in ("mae", "quantile"):
        distances.append(np.abs(z - t))
    elif spec.variant == "hinge":
        distances.append(np.abs(1 - t * z))
    elif spec.variant == "hinge of classes":
        distances.append(np.abs(1 + z - z[np.arange(len(t)), t][:, None]))
    return np.concatenate([*distances, np.full((len(t), 1), np.inf)], axis=1)


def away_from_kinks(problem):
    rng = np.random.default_rng(problem.seed + 1)
    for _ in range(100):
        distance = kink_distances(problem)
        near = ((distance > 0) & (distance < MARGIN)).any(axis=1)
        if not near.any():
            return problem
        problem.X[near] = rng.standard_normal((near.sum(), problem.X.shape[1])).astype("float32")
    raise AssertionError(f"no rows away from the kinks found: {problem}")


def check_gradients(problem, dtype):
    if dtype == "float32":
        away_from_kinks(problem)
    net = make_network(problem, dtype)
    X = problem.X.astype(dtype)
    t = problem.t if problem.t.dtype.kind == "i" else problem.t.astype(dtype)
    w = None if problem.w is None else problem.w.astype(dtype)
    tolerance = TOLERANCE[dtype]

    loss, grad, input_grad = oracle.loss_and_grads(problem.spec, problem.params, problem.X, problem.t, problem.w)
    got_loss, got = net.loss_and_grad(X, t, sample_weight=w)
    check("loss", dtype, relative_error(got_loss, loss), tolerance, problem)
    check("gradient", dtype, gradient_error(got, grad, problem.spec.layer_lengths), tolerance, problem)

    if problem.w is not None:  # input_grad takes no weights
        input_grad = oracle.loss_and_grads(problem.spec, problem.params, problem.X, problem.t)[2]
    check("input gradient", dtype, relative_error(net.input_grad(X, t), input_grad), tolerance, problem)


def sweep_batches(dtype, variant, place, hidden, output):
    """All batch sizes; layers, widths, bias and weights change from one to the next."""
    for k, rows in enumerate(BATCHES):
        seed = stable_seed(place, hidden, output, variant, rows)
        rng = np.random.default_rng(seed)
        layers = int(rng.integers(2, 5)) if place == "hidden" else int(rng.integers(1, 4))
        activations = [hidden] * (layers - 1) + [output]
        problem = draw_problem(
            seed,
            draw_sizes(rng, layers, variant, activations),
            activations,
            variant,
            rows=rows,
            bias=bool((seed + k) & 1),
            weighted=bool((seed + k) & 2),
            dtype=dtype,
        )
        check_gradients(problem, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_hidden_activation_with_every_loss(activation, variant, dtype):
    output = LOGIT_OUTPUTS.get(LOSSES[variant][0], "identity")
    sweep_batches(dtype, variant, "hidden", activation, output)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", [v for v in LOSSES if LOSSES[v][0] not in LOGIT_OUTPUTS])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_output_activation_with_every_loss_on_outputs(activation, variant, dtype):
    sweep_batches(dtype, variant, "output", "tanh", activation)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", [v for v in LOSSES if LOSSES[v][0] in LOGIT_OUTPUTS])
def test_losses_from_logits_with_identity_output(variant, dtype):
    sweep_batches(dtype, variant, "output", "tanh", "identity")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65])
def test_shapes_around_multiples_of_the_vector_and_tile_sizes(rows, dtype):
    widths = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)
    rng = np.random.default_rng(stable_seed("shapes", rows))
    for hidden in widths:
        inputs, outputs = (int(n) for n in rng.choice(widths, 2))
        seed = stable_seed("shapes", rows, hidden)
        sizes = (inputs, hidden, hidden, outputs)
        problem = draw_problem(seed, sizes, ("tanh", "silu", "identity"), "mse", rows=rows, dtype=dtype)
        check_gradients(problem, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_mixed_activations_and_biases(dtype):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        variant = str(rng.choice(list(LOSSES)))
        activations = [str(a) for a in rng.choice(ACTIVATIONS, 3)] + [LOGIT_OUTPUTS.get(LOSSES[variant][0], "identity")]
        problem = draw_problem(
            seed,
            draw_sizes(rng, 4, variant, activations),
            activations,
            variant,
            rows=int(rng.integers(1, 100)),
            bias=tuple(bool(b) for b in rng.integers(0, 2, 4)),
            weighted=bool(seed & 1),
            dtype=dtype,
        )
        check_gradients(problem, dtype)
