"""The door for arrays: whatever numpy.asarray takes becomes what the core takes, or a clear error before anything changes."""

import numpy as np

from . import checks
from .layers import Dense
from .losses import Loss

ROWS_PER_LOOK = 1 << 16  # numbers looked at in one go for NaN and infinity: no temporary larger than this


def n_inputs_of(layers):
    """The number of inputs that the first entry of a Network's layers gives, after a look at the list itself."""
    if isinstance(layers, (str, bytes, dict)) or not hasattr(layers, "__iter__"):
        raise TypeError(f"layers: expected a sequence such as [784, 128, 10], got {layers!r}")
    layers = list(layers)
    if len(layers) < 2:
        raise ValueError(f"layers: expected the number of inputs and at least one layer, got {layers!r}")
    if isinstance(layers[0], Dense):
        raise TypeError(f"layers[0]: expected the number of inputs, an integer, got {layers[0]!r}")
    return checks.positive_int("layers[0]", layers[0])


def is_streaming(X):
    """Whether rows are to be read a batch at a time rather than converted at once: a memory map."""
    base = X
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False


def as_numbers(value, name):
    """value as an array of real numbers of some dtype."""
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(f"{name}: expected a dense array, got a sparse matrix; convert it with .toarray()")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name}: expected numbers in every place, got a masked array with masked entries")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array of numbers with rows of one length, got {error}") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
    return array


def finite(array, name, given):
    """array (n, k), if every number in it is finite; `given` is what it was converted from."""
    n = array.shape[0]
    flat = array.reshape(n, -1)
    step = max(1, ROWS_PER_LOOK // max(1, flat.shape[1]))
    for first in range(0, n, step):
        block = flat[first : first + step]
        if np.isfinite(block).all():
            continue
        row, column = np.argwhere(~np.isfinite(block))[0]
        where = f"row {first + row}, column {column}" if array.ndim > 1 else f"row {first + row}"
        original = np.asarray(given).reshape(flat.shape)[first + row, column]
        if np.isfinite(original):
            raise ValueError(f"{name}: {original!r} in {where} is out of the range of {array.dtype}")
        raise ValueError(f"{name}: expected finite numbers, got {block[row, column]} in {where}")
    return array


def converted(array, dtype, name):
    """C-contiguous, aligned, native, of the dtype, finite; the same memory where it is so already."""
    with np.errstate(over="ignore"):
        ready = np.require(array, dtype=dtype.newbyteorder("="), requirements=["C", "A"])
    return finite(np.asarray(ready), name, array)


def inputs(X, n_inputs, dtype, name="X"):
    """(n, n_inputs), n >= 1."""
    array = as_numbers(X, name)
    if array.ndim != 2 or array.shape[1] != n_inputs:
        raise ValueError(f"{name}: expected shape (n, {n_inputs}), got {array.shape}")
    if array.shape[0] == 0:
        raise ValueError(f"{name}: expected at least one row, got shape {array.shape}")
    return converted(array, dtype, name)


def rows(X, n_inputs, dtype, name="X"):
    """(n, n_inputs), n >= 0, and whether one row came as a 1-D array."""
    array = as_numbers(X, name)
    single = array.ndim == 1
    if array.ndim not in (1, 2) or array.shape[-1] != n_inputs:
        raise ValueError(f"{name}: expected shape (n, {n_inputs}) or ({n_inputs},), got {array.shape}")
    return converted(array.reshape(-1, n_inputs), dtype, name), single


def row_count(name, array, n_rows):
    if len(array) != n_rows:
        raise ValueError(f"{name}: expected {n_rows} rows, as many as X has, got {len(array)}")


def targets(y, n_rows, n_outputs, loss, dtype, name="y"):
    """Targets as the loss takes them.

    Returns
    -------
    ndarray
        (n, n_outputs) of the dtype; class labels as int32 (n,). For a loss object of one's own, y as an array, as it came.
    """
    if not isinstance(loss, Loss):
        array = np.asarray(y)
        row_count(name, np.atleast_1d(array), n_rows)
        return array
    if isinstance(y, (list, tuple)) and y and isinstance(y[0], str) or getattr(y, "dtype", np.dtype("f4")).kind in "OSU":
        raise TypeError(f"{name}: expected numbers, got strings or objects; number classes with np.unique(y, return_inverse=True)[1]")
    array = as_numbers(y, name)
    if array.ndim not in (1, 2):
        raise ValueError(f"{name}: expected a 1-D or 2-D array, got shape {array.shape}")
    row_count(name, array, n_rows)
    if array.ndim == 1 and (loss.name == "cross_entropy" or loss.name == "hinge" and n_outputs > 1):
        return labels(array, n_outputs, name)
    if array.ndim == 1 and n_outputs == 1:
        array = array.reshape(-1, 1)
    if array.shape != (n_rows, n_outputs):
        alternative = f" or integers of shape ({n_rows},)" if loss.name in ("cross_entropy", "hinge") and n_outputs > 1 else ""
        raise ValueError(f"{name}: expected shape ({n_rows}, {n_outputs}){alternative} for {loss.name}, got {array.shape}")
    ready = converted(array, dtype, name)
    RULES[loss.name](ready, name)
    return ready


def labels(array, n_outputs, name):
    """Class indices (n,) as int32, from integers or floats that are whole."""
    if array.dtype.kind == "f":
        finite(array, name, array)
        bad = np.flatnonzero(array != np.floor(array))
        if bad.size:
            raise ValueError(f"{name}: expected class indices, got {array[bad[0]]!r} in row {bad[0]}")
    bad = np.flatnonzero((array < 0) | (array >= n_outputs)) if array.dtype.kind != "b" or n_outputs < 2 else np.empty(0)
    if bad.size:
        raise ValueError(f"{name}: expected class indices from 0 to {n_outputs - 1}, got {array[bad[0]]} in row {bad[0]}")
    return np.ascontiguousarray(array, dtype=np.int32)


def any_number(array, name):
    pass


def counts(array, name):
    refuse(array < 0, array, name, "counts >= 0")


def fractions(array, name):
    refuse((array < 0) | (array > 1), array, name, "numbers in [0, 1]")


def signs(array, name):
    refuse(np.abs(array) != 1, array, name, "-1 or 1")


def probabilities(array, name):
    refuse((array < 0) | (array > 1), array, name, "probabilities in [0, 1]")
    sums = array.sum(axis=1, dtype=np.float64)
    bad = np.flatnonzero(np.abs(sums - 1) > 1e-3)
    if bad.size:
        raise ValueError(f"{name}: expected probabilities that sum to 1 in each row, got {sums[bad[0]]:g} in row {bad[0]}")


def refuse(wrong, array, name, expected):
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(f"{name}: expected {expected}, got {array[row, column]:g} in row {row}, column {column}")


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
    """(n,), not negative, not all zero."""
    array = as_numbers(weights, name)
    if array.shape != (n_rows,):
        raise ValueError(f"{name}: expected shape ({n_rows},), got {array.shape}")
    ready = converted(array, dtype, name)
    bad = np.flatnonzero(ready < 0)
    if bad.size:
        raise ValueError(f"{name}: expected weights >= 0, got {ready[bad[0]]:g} in row {bad[0]}")
    if not ready.any():
        raise ValueError(f"{name}: expected at least one weight above 0, got zeros only")
    return ready


def mean_one(weights):
    """weights scaled to mean 1."""
    return (weights / weights.mean(dtype=np.float64)).astype(weights.dtype)


def out_array(out, shape, dtype, name="out"):
    """out, if results can be written straight into it."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name}: expected a numpy array, got {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"{name}: expected shape {shape} and dtype {dtype}, got {out.shape} and {out.dtype}")
    if not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned and out.dtype.isnative):
        raise ValueError(f"{name}: expected a writable, aligned, C-contiguous array in native byte order")
    return out
