"""Norm-wise comparison, with the worst error of every kind kept for the summary after the run."""

import json
from dataclasses import asdict, dataclass

import numpy as np

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
DTYPES = tuple(TOLERANCE)

# A layer whose gradient is below this share of the whole is held to the share: what is left there after
# cancellation (a width of 1, a saturated layer) keeps few digits in any order of summation.
LAYER_FLOOR = 1e-3


@dataclass
class Worst:
    """The largest error of one kind, the problem it was found on, and how many comparisons there were."""

    tolerance: float
    error: float = -1.0
    problem: str = ""
    comparisons: int = 0


worst = {}  # (what, dtype): Worst


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
    """Remember the worst, and fail with the problem's seed and shapes where the error is too large or NaN."""
    entry = worst.setdefault((what, dtype), Worst(tolerance))
    entry.comparisons += 1
    if not error <= entry.error:
        entry.error, entry.problem = float(error), str(problem)
    assert error <= tolerance, f"{what} {dtype}: error {error:.3g} > {tolerance:.0e}: {problem}"


def table():
    """Lines of text: for each kind, per dtype, the worst error of how many, and what is allowed."""
    whats = sorted({what for what, _ in worst})
    yield f"{'':<28}" + "".join(f"{dtype:>12}{'allowed':>9}{'of':>7}" for dtype in DTYPES)
    for what in whats:
        cells = [worst.get((what, dtype)) for dtype in DTYPES]
        yield f"{what:<28}" + "".join(
            f"{cell.error:>12.1e}{cell.tolerance:>9.0e}{cell.comparisons:>7}" if cell else " " * 28 for cell in cells
        )


def write_json(path):
    """The worst errors with the level and the machine that they were found on, for worst_errors.py."""
    from fastbp import config

    errors = [{"what": what, "dtype": dtype, **asdict(entry)} for (what, dtype), entry in sorted(worst.items())]
    with open(path, "w") as file:
        json.dump({"level": config.LEVEL, "cpu": config.cpu_name(), "errors": errors}, file, indent=1)
