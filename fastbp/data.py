"""The door for arrays: what numpy.asarray takes becomes what the core takes, or an error before anything changes."""

import math
import sys

import numpy as np

from . import checks
from .losses import Loss

NUMBERS_PER_LOOK = 1 << 16  # looked at in one go for NaN and infinity: no temporary larger than this


class RowError(ValueError):
    """`problem`, in a row (and column) of an argument."""

    def __init__(self, problem, row, column=None):
        super().__init__(problem, row, column)

    def __str__(self):
        problem, row, column = self.args
        return f"{problem} in row {row}" + ("" if column is None else f", column {column}")

    def in_rows(self, numbers):
        """The same where row r of what was looked at is row numbers[r] of what the user gave."""
        problem, row, column = self.args
        return RowError(problem, int(numbers[row]), column)


def is_streaming(array):
    """Whether rows are to be read a window at a time rather than converted at once: a memory map."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


def as_array(value, name):
    """value as a plain array of any dtype."""
    if type(value) is np.ndarray:
        return value
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(f"{name}: expected a dense array, got a sparse matrix; convert it with .toarray()")
    ma = sys.modules.get("numpy.ma")  # a masked array cannot be without it; importing it here could meet a fork
    if isinstance(value, getattr(ma, "MaskedArray", ())) and ma.is_masked(value):
        raise ValueError(f"{name}: expected numbers in every place, got a masked array with masked entries")
    try:
        return np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:  # whatever a foreign __array__ raises
        kind = ValueError if isinstance(error, ValueError) else TypeError
        came = f"a {type(value).__name__} that NumPy cannot convert ({error})"
        raise kind(f"{name}: expected an array of numbers with rows of one length, got {came}") from error


def as_numbers(value, name):
    """value as an array of real numbers of some dtype."""
    array = as_array(value, name)
    if array.dtype.kind not in "biuf":
        came = checks.described(value) if array.dtype.kind == "O" else f"dtype {array.dtype}"
        if array.dtype.kind == "O" and array.ndim and array is not value:
            came += ", which NumPy makes an array of objects"
        raise TypeError(f"{name}: expected an array of real numbers, got {came}")
    return array


def all_finite(array):
    """Whether every number of a contiguous array is finite."""
    flat = array.reshape(-1)
    # The sum of squares is infinite or NaN if a number is; where it merely overflowed, each number is looked at.
    if math.isfinite(np.vdot(flat, flat)):
        return True
    blocks = range(0, flat.size, NUMBERS_PER_LOOK)
    return all(np.isfinite(flat[k : k + NUMBERS_PER_LOOK]).all() for k in blocks)


def finite(array, name, given, missing="raise"):
    """array (n,) or (n, k), contiguous, if every number in it is finite; `given` is what it was converted from.

    With missing="mask" NaN is no number, and may be there.
    """
    if all_finite(array):
        return array
    wanted = np.isfinite if missing == "raise" else lambda part: ~np.isinf(part)
    n = array.shape[0]
    flat = array.reshape(n, -1)
    step = max(1, NUMBERS_PER_LOOK // flat.shape[1])
    for first in range(0, n, step):
        wrong = np.argwhere(~wanted(flat[first : first + step]))
        if wrong.size:
            row, column = first + int(wrong[0, 0]), int(wrong[0, 1])
            break
    else:
        return array
    original = given.reshape(flat.shape)[row, column]
    problem = f"{name}: expected finite numbers, got {original}"
    if np.isfinite(original):
        problem = f"{name}: expected numbers in the range of {array.dtype}, got {original}"
    raise RowError(problem, row, column if array.ndim > 1 else None)


def converted(array, dtype, name, missing="raise"):
    """C-contiguous, aligned, native, of the dtype, finite; the same memory where it is so already."""
    flags = array.flags
    if array.dtype is dtype and flags.c_contiguous and flags.aligned:
        return finite(array, name, array, missing)
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused
        ready = np.require(array, dtype=dtype, requirements=["C", "A"])
    return finite(ready, name, array, missing)


def check_inputs(array, n_inputs, name="X"):
    """Refuses any shape but (n, n_inputs), n >= 1."""
    if array.ndim != 2 or array.shape[1] != n_inputs:
        raise ValueError(f"{name}: expected shape (n, {n_inputs}), got {array.shape}")
    if array.shape[0] == 0:
        raise ValueError(f"{name}: expected at least one row, got shape {array.shape}")


def inputs(X, n_inputs, dtype, name="X"):
    """(n, n_inputs), n >= 1."""
    array = as_numbers(X, name)
    check_inputs(array, n_inputs, name)
    return converted(array, dtype, name)


def rows(X, n_inputs, dtype, name="X"):
    """(n, n_inputs), n >= 0, and whether one row came as a 1-D array."""
    array = as_numbers(X, name)
    single = array.ndim == 1
    if array.ndim not in (1, 2) or array.shape[-1] != n_inputs:
        raise ValueError(f"{name}: expected shape (n, {n_inputs}) or ({n_inputs},), got {array.shape}")
    return converted(array.reshape(1, n_inputs) if single else array, dtype, name), single


def row_count(name, array, n_rows):
    if len(array) != n_rows:
        raise ValueError(f"{name}: expected {n_rows} rows, as many as X has, got {len(array)}")


def targets(y, n_rows, n_outputs, loss, dtype, name="y", missing="raise"):
    """Targets as the loss takes them; NaN among them with missing="mask".

    Returns
    -------
    ndarray
        (n, n_outputs) of the dtype; class labels as int32 (n,). For a loss object of one's own, y as it came.
    """
    array = check_targets(y, n_rows, n_outputs, loss, name)
    if not isinstance(loss, Loss):
        return array
    if takes_labels(array, n_outputs, loss):
        return labels(array, n_outputs, name)
    ready = converted(array.reshape(n_rows, n_outputs), dtype, name, missing)
    rule = RULES[loss.name]
    if rule is not any_number:
        with np.errstate(invalid="ignore"):  # of comparing NaN
            rule(ready, name)
    return ready


def present_rows(targets, weights=None):
    """How many rows the elements with a target would fill, each counted with its row's weight; of labels all rows."""
    n = len(targets)
    if targets.dtype.kind != "f" or targets.ndim != 2:
        return float(n) if weights is None else float(weights.sum(dtype=np.float64))
    share = 1 - np.isnan(targets).mean(axis=1, dtype=np.float64)
    return float(share.sum() if weights is None else share @ weights)


def check_targets(y, n_rows, n_outputs, loss, name="y"):
    """y as an array of a kind and shape that the loss takes; its numbers are not looked at."""
    array = as_array(y, name)
    if not isinstance(loss, Loss):
        row_count(name, np.atleast_1d(array), n_rows)
        return array
    if array.dtype.kind in "SU" or array.dtype.kind == "O" and any(isinstance(v, str) for v in array.flat):
        hint = "number classes with np.unique(y, return_inverse=True)[1]"
        raise TypeError(f"{name}: expected numbers, got strings; {hint}")
    if array.dtype.kind not in "biuf":
        as_numbers(y, name)  # says what came
    if array.ndim not in (1, 2):
        raise ValueError(f"{name}: expected a 1-D or 2-D array, got shape {array.shape}")
    row_count(name, array, n_rows)
    if takes_labels(array, n_outputs, loss) or array.ndim == 1 and n_outputs == 1 or array.shape == (n_rows, n_outputs):
        return array
    classes = loss.name == "cross_entropy" or loss.name == "hinge" and n_outputs > 1
    other = f" or class indices of shape ({n_rows},)" if classes else f" or ({n_rows},)" if n_outputs == 1 else ""
    raise ValueError(f"{name}: expected shape ({n_rows}, {n_outputs}){other} for {loss.name}, got {array.shape}")


def takes_labels(array, n_outputs, loss):
    """Whether targets of this shape are class indices."""
    return array.ndim == 1 and (loss.name == "cross_entropy" or loss.name == "hinge" and n_outputs > 1)


def labels(array, n_outputs, name):
    """Class indices (n,) as int32, from integers or whole floats; always a copy, for the core indexes with them."""
    if array.dtype.kind == "f":
        finite(np.ascontiguousarray(array), name, array)
    if array.dtype.kind == "b":
        array = array.astype(np.int32)
    wrong = np.flatnonzero((array < 0) | (array >= n_outputs) | (array != np.floor(array)))
    if wrong.size:
        problem = f"{name}: expected class indices from 0 to {n_outputs - 1}, got {array[wrong[0]]}"
        raise RowError(problem, int(wrong[0]))
    return np.array(array, dtype=np.int32, order="C")


def any_number(array, name):
    pass


def counts(array, name):
    refuse(array < 0, array, name, "counts >= 0")


def fractions(array, name):
    refuse((array < 0) | (array > 1), array, name, "numbers in [0, 1]")


def signs(array, name):
    refuse((np.abs(array) != 1) & ~np.isnan(array), array, name, "-1 or 1")


def probabilities(array, name):
    refuse((array < 0) | (array > 1), array, name, "probabilities in [0, 1]")
    sums = array.sum(axis=1, dtype=np.float64)
    wrong = np.flatnonzero(np.abs(sums - 1) > 1e-3)
    if wrong.size:
        problem = f"{name}: expected probabilities that sum to 1 in each row, got {sums[wrong[0]]:g}"
        raise RowError(problem, int(wrong[0]))


def refuse(wrong, array, name, expected):
    if wrong.any():
        row, column = (int(k) for k in np.argwhere(wrong)[0])
        raise RowError(f"{name}: expected {expected}, got {array[row, column]:g}", row, column)


# what each loss asks of 2-D targets
RULES = {
    "mse": any_number,
    "mae": any_number,
    "huber": any_number,
    "quantile": any_number,
    "poisson": counts,
    "cross_entropy": probabilities,
    "binary_cross_entropy": fractions,
    "hinge": signs,
}


def sample_weights(weights, n_rows, dtype, name="sample_weight"):
    """(n,), not negative, not all zero, scaled to mean 1, of the dtype: sum(w l) / sum(w) is then sum(w l) / n."""
    return ScaledWeights(weights, n_rows, dtype, name)[:]


def unscaled_weights(weights, n_rows, dtype, name="sample_weight"):
    """(n,), not negative, of the dtype: those of a batch of whose fellows nothing is known."""
    array = as_numbers(weights, name)
    if array.shape != (n_rows,):
        raise ValueError(f"{name}: expected shape ({n_rows},), got {array.shape}")
    ready = converted(array, dtype, name)
    wrong = np.flatnonzero(ready < 0)
    if wrong.size:
        raise RowError(f"{name}: expected weights >= 0, got {ready[wrong[0]]:g}", int(wrong[0]))
    return ready


class ScaledWeights:
    """The weights of `sample_weights`, computed a slice at a time from an array that may be larger than memory."""

    def __init__(self, weights, n_rows, dtype, name="sample_weight"):
        self.array, self.dtype = as_numbers(weights, name), dtype
        if self.array.shape != (n_rows,):
            raise ValueError(f"{name}: expected shape ({n_rows},), got {self.array.shape}")
        self.largest, self.mean = 0.0, 1.0
        for first in range(0, n_rows, NUMBERS_PER_LOOK):
            try:
                self.look(first, name)
            except RowError as error:
                raise error.in_rows(range(first, n_rows)) from None
        if self.largest == 0:
            raise ValueError(f"{name}: expected at least one weight above 0, got zeros only")
        # divided first, so that neither a sum of huge weights nor a quotient of tiny ones overflows
        looks = range(0, n_rows, NUMBERS_PER_LOOK)
        self.mean = sum(float(self.wide(slice(k, k + NUMBERS_PER_LOOK)).sum()) for k in looks) / n_rows

    def look(self, first, name):
        wide = converted(self.array[first : first + NUMBERS_PER_LOOK], np.dtype(np.float64), name)
        wrong = np.flatnonzero(wide < 0)
        if wrong.size:
            raise RowError(f"{name}: expected weights >= 0, got {wide[wrong[0]]:g}", int(wrong[0]))
        self.largest = max(self.largest, float(wide.max()))

    def wide(self, rows):
        return self.array[rows].astype(np.float64) / self.largest

    def __getitem__(self, rows):
        return (self.wide(rows) / self.mean).astype(self.dtype)


def out_array(out, shape, dtype, name="out"):
    """out, if results can be written straight into it."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name}: expected a numpy array, got {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"{name}: expected shape {shape} and dtype {dtype}, got {out.shape} and {out.dtype}")
    flags = out.flags
    if not (flags.c_contiguous and flags.writeable and flags.aligned):
        raise ValueError(f"{name}: expected a writable, aligned, C-contiguous array")
    return out


def apart(out, *arrays):
    """out, or an empty array like it where it may share memory with any of the arrays."""
    for array in arrays:
        if array is not None and np.may_share_memory(out, array):
            return np.empty(out.shape, out.dtype)
    return out
