"""Problems whose answer is determined well enough to hold an arithmetic to it.

Kinks: a float32 pre-activation within rounding of a kink (relu at 0) may fall on its other side, where the derivative
is another. Rows of X that bring any unit or any loss element closer than MARGIN to a kink are drawn anew. A distance of
exactly 0 stays (a unit fed by zeros alone): it is exact in float32 too. float64 needs no such care: nothing random lies
within 1e-15 of a kink.

Cancellation: a single output beside its target (z - t of nearly 0), or a softmax before a layer of equal weights,
leaves few digits of the numbers it comes from, in any order of summation. Where half an ULP in parameters, inputs and
targets moves the exact answer by a twentieth of what the tests allow, the problem is drawn anew from the next seed: one
in twenty for float32, hardly any for float64.
"""

import dataclasses

import numpy as np
import oracle
from comparison import TOLERANCE, gradient_error, relative_error
from passes import by_twin
from problems import draw_problem

MARGIN = 5e-5  # about ten times the float32 rounding error of a pre-activation here
KINKS = {"relu": (0,), "leaky_relu": (0,), "selu": (0,), "hard_sigmoid": (-3, 3)}
KINKED_LOSSES = ("mae", "quantile", "hinge")


def has_kinks(spec):
    return spec.loss in KINKED_LOSSES or any(a in KINKS for a in spec.activations)


def kink_distances(spec, params, X, t):
    """Distances (B, n) of every unit and every loss element of each row to its nearest kink, in float64."""
    ys, z = oracle.pre_activations(spec, params, X)
    distances = [np.abs(y - kink) for y, a in zip(ys, spec.activations, strict=True) for kink in KINKS.get(a, ())]
    if spec.loss in ("mae", "quantile"):
        distances.append(np.abs(z - t))
    elif spec.variant == "hinge":
        distances.append(np.abs(1 - t * z))
    elif spec.variant == "hinge of classes":
        distances.append(np.abs(1 + z - z[np.arange(len(t)), t][:, None]))
    return np.concatenate([*distances, np.full((len(t), 1), np.inf)], axis=1)


def near_kinks(spec, params, X, t):
    """Which rows (B,) come too near to a kink."""
    distance = kink_distances(spec, params, X, t)
    return ((distance > 0) & (distance < MARGIN)).any(axis=1)


def keep_off_kinks(problem):
    """Draws rows of X anew until none is near a kink; whether that succeeded."""
    if not has_kinks(problem.spec):
        return True
    rng = np.random.default_rng(problem.seed + 1)
    for _ in range(100):
        near = near_kinks(problem.spec, problem.params, problem.X, problem.t)
        if not near.any():
            return True
        problem.X[near] = rng.standard_normal((near.sum(), problem.X.shape[1])).astype("float32")
    return False


def spread(problem, dtype):
    """How far the twin's answers move, norm-wise, when parameters, inputs and targets move by half an ULP."""
    rng = np.random.default_rng(problem.seed + 2)
    t = problem.t
    if problem.spec.loss == "cross_entropy" and t.ndim == 1:
        t = np.eye(problem.spec.sizes[-1])[t]

    def moved(a):
        return a if a.dtype.kind == "i" else a * (1 + np.finfo(dtype).eps / 2 * rng.choice((-1, 1), a.shape))

    here = by_twin(problem)
    largest = 0.0
    for _ in range(2):
        there = by_twin(dataclasses.replace(problem, params=moved(problem.params), X=moved(problem.X), t=moved(t)))
        largest = max(
            largest,
            relative_error(there.outputs, here.outputs),
            relative_error(there.loss, here.loss),
            gradient_error(there.gradient, here.gradient, problem.spec.layer_lengths),
            relative_error(there.input_gradient, here.input_gradient),
        )
    return largest


def well_posed(problem, dtype):
    return (dtype == "float64" or keep_off_kinks(problem)) and spread(problem, dtype) <= TOLERANCE[dtype] / 20


def draw_well_posed(seed, *args, dtype, **kwargs):
    """draw_problem, from the first seed from this one on that gives a well-posed problem."""
    for later in range(100):
        problem = draw_problem(seed + later, *args, dtype=dtype, **kwargs)
        if well_posed(problem, dtype):
            return problem
    raise AssertionError(f"no well-posed problem found: {problem}")
