"""Norm-wise comparison, with the worst error of every kind kept for the summary after the run."""

import numpy as np

worst = {}  # (what, dtype): (error, tolerance, problem)

# A layer whose gradient is below this share of the whole is held to the share: what is left there after
# cancellation (a width of 1, a saturated layer) keeps few digits in any order of summation.
LAYER_FLOOR = 1e-3


def relative_error(got, want, floor=0.0):
    """||got - want|| / max(||want||, floor); 0 where both are 0."""
    difference = np.linalg.norm(np.asarray(got, float) - want)
    return difference / max(np.linalg.norm(want), floor, np.finfo(float).tiny)


def gradient_error(got, want, layer_lengths):
    """The larger of the whole flat gradient's error and that of its worst layer (W and b together)."""
    assert got.shape == want.shape
    floor = LAYER_FLOOR * np.linalg.norm(want)
    cuts = np.cumsum(layer_lengths)[:-1]
    layers = zip(np.split(got, cuts), np.split(want, cuts), strict=True)
    return max(relative_error(got, want), *(relative_error(g, w, floor) for g, w in layers))


def check(what, dtype, error, tolerance, problem):
    """Fail with the problem's seed and shapes where the error is too large (or NaN), and remember the worst."""
    assert error <= tolerance, f"{what} {dtype}: error {error:.3g} > {tolerance:.0e}: {problem}"
    if error >= worst.get((what, dtype), (0.0,))[0]:
        worst[what, dtype] = error, tolerance, str(problem)
