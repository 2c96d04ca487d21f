"""The matrix: every activation with every loss, both dtypes, with and without biases and sample weights.

Predictions, losses, gradients and input gradients of each network are held to the twin and to the `autograd` package
(test_torch.py: to torch), and on small networks to central differences of the loss.
"""

import itertools

import numpy as np
import pytest
from comparison import DTYPES, check, relative_error
from passes import by_autograd, by_fastbp, by_twin, check_pass
from problems import (
    ACTIVATIONS,
    BATCHES,
    LOGIT_OUTPUTS,
    LOSSES,
    draw_problem,
    draw_sizes,
    make_network,
    output_of,
    stable_seed,
    wide_enough,
)
from wellposed import draw_well_posed, keep_off_kinks

BIAS_AND_WEIGHTS = tuple(itertools.product((True, False), (True, False)))
ON_OUTPUTS = [v for v in LOSSES if LOSSES[v][0] not in LOGIT_OUTPUTS]
FROM_LOGITS = [v for v in LOSSES if LOSSES[v][0] in LOGIT_OUTPUTS]


def sweep_batches(dtype, variant, place, hidden, output):
    """Biases on and off with weights on and off, each with batches of two sizes; layers and widths change as well."""
    first = stable_seed(place, hidden, output, variant) % 4
    for k, rows in enumerate((*BATCHES, 65)):
        bias, weighted = BIAS_AND_WEIGHTS[(first + k) % 4]
        seed = stable_seed(place, hidden, output, variant, rows)
        rng = np.random.default_rng(seed)
        layers = int(rng.integers(2, 5)) if place == "hidden" else int(rng.integers(1, 4))
        activations = [hidden] * (layers - 1) + [output]
        sizes = draw_sizes(rng, layers, variant, activations)
        shape = {"rows": rows, "bias": bias, "weighted": weighted}
        problem = draw_well_posed(seed, sizes, activations, variant, **shape, dtype=dtype)
        got = by_fastbp(problem, dtype)
        check_pass("twin", problem, dtype, got, by_twin(problem))
        check_pass("autograd", problem, dtype, got, by_autograd(problem))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_hidden_activation_with_every_loss(activation, variant, dtype):
    sweep_batches(dtype, variant, "hidden", activation, output_of(variant))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", ON_OUTPUTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_output_activation_with_every_loss_on_outputs(activation, variant, dtype):
    sweep_batches(dtype, variant, "output", "tanh", activation)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", FROM_LOGITS)
def test_losses_from_logits_with_identity_output(variant, dtype):
    sweep_batches(dtype, variant, "output", "tanh", "identity")


# In float64, with numbers of size 1, a step of 1e-5 leaves 1e-10 of truncation and 1e-11 of rounding.
STEP = 1e-5
DIFFERENCES_TOLERANCE = 1e-8


def differences(f, vector):
    """df/dvector, entry by entry, of a function of what the vector holds at the time."""
    slopes = np.empty(vector.shape)
    for k in np.ndindex(vector.shape):
        kept = vector[k]
        vector[k] = kept + STEP
        above = f()
        vector[k] = kept - STEP
        slopes[k] = (above - f()) / (2 * STEP)
        vector[k] = kept
    return slopes


@pytest.mark.parametrize("variant", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_central_differences_of_the_loss(activation, variant):
    output = activation if variant in ON_OUTPUTS else output_of(variant)
    sizes = wide_enough((3, 4, 2), variant, (activation, output))
    for k, (bias, weighted) in enumerate(BIAS_AND_WEIGHTS):
        seed = stable_seed("differences", activation, variant, k)
        shape = {"rows": 1 + 2 * (k % 2), "bias": bias, "weighted": weighted}
        problem = draw_problem(seed, sizes, (activation, output), variant, **shape)
        assert keep_off_kinks(problem), problem  # by five steps
        net = make_network(problem, "float64")
        X, t, w = problem.data("float64")

        def loss_of_params():
            return net.loss(X, t, sample_weight=w)  # noqa: B023 (called before the next round)

        def loss_of_inputs():
            return net.loss(X, t)  # noqa: B023

        loss, gradient = net.loss_and_grad(X, t, sample_weight=w)
        # The loss is what is rounded: a gradient much smaller (a softmax whose outputs are only added) is 0 beside it.
        error = relative_error(gradient, differences(loss_of_params, net.params), floor=abs(loss))
        check("differences: gradient", "float64", error, DIFFERENCES_TOLERANCE, problem)
        error = relative_error(net.input_grad(X, t), differences(loss_of_inputs, X), floor=abs(loss))
        check("differences: input gradient", "float64", error, DIFFERENCES_TOLERANCE, problem)
