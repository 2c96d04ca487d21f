"""Hypothesis strategies for arguments good and bad, and a count of the calls made with them."""

import dataclasses
import os

import numpy as np
from hypothesis import strategies as st

import fastbp as fb

calls = {}  # (what, outcome): how often

# of each test of test_fuzz.py, which makes some 13 calls for one of each
EXAMPLES = int(os.environ.get("FASTBP_FUZZ", "120"))

N_INPUTS, N_OUTPUTS = 3, 2
LOSSES = ["mse", "mae", "huber", "quantile", "poisson", "cross_entropy", "binary_cross_entropy", "hinge"]
DTYPES = ["f4", "f8", "f2", ">f4", ">f8", "g", "i1", "i8", "u1", "u8", "?", ">i4", "c8", "O", "U3", "M8[s]", "S2"]
SPECIAL = [float("nan"), float("inf"), -float("inf"), 1e300, -1e300, 1e39, 1e-300, 3.4e38, -0.0, 2.0**63, 1e19]
LAYOUTS = [
    "C",
    "F",
    "strided",
    "reversed",
    "misaligned",
    "read-only",
    "broadcast",
    "list",
    "memmap",
    "masked",
    "subclass",
]
JUNK = [
    None, 0, -1, 1.5, "", "abc", b"abc", (), [], [[]], {}, {1, 2},
    object(), np.float32(1), True, 2**70, 1j, len, float("nan"),
]  # fmt: skip


KINDS = ["normal", "normal", "class", "signs", "probabilities", "huge"]
TARGETS = {
    "poisson": "class",
    "cross_entropy": "probabilities",
    "binary_cross_entropy": "probabilities",
    "hinge": "signs",
}
OF_CLASSES = ("cross_entropy", "hinge")


@st.composite
def arrays(draw, shape, kind=None):
    """An array of a shape; of any dtype, memory layout and values, or with a kind mostly of usable ones."""
    sound = kind is not None and draw(st.integers(0, 5)) > 0
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    width = shape[-1] if shape else 1
    kind = kind or draw(st.sampled_from(KINDS))
    if width == 0:
        kind = "normal"
    values = {
        "normal": lambda: rng.standard_normal(shape),
        "class": lambda: rng.integers(0, N_OUTPUTS, shape).astype(float),
        "probabilities": lambda: rng.multinomial(8, np.ones(width) / width, shape[:-1]).reshape(shape) / 8,
        "signs": lambda: rng.choice([-1.0, 1.0], shape),
        "huge": lambda: rng.standard_normal(shape) * 10.0 ** rng.integers(-300, 300),
    }[kind]()
    if values.size and not sound and draw(st.integers(0, 3)) == 0:
        values = values.copy()
        values.flat[draw(st.integers(0, values.size - 1))] = draw(st.sampled_from(SPECIAL))
    dtypes = ["f4", "f8", ">f4", "g"] if sound else DTYPES
    dtype = draw(st.sampled_from(dtypes)) if draw(st.booleans()) else "f4"
    with np.errstate(all="ignore"):
        if dtype == "M8[s]":
            values = np.zeros(shape, dtype)
        else:
            values = np.array(values, dtype)
    return laid_out(values, draw(st.sampled_from(LAYOUTS)) if draw(st.booleans()) else "C") if shape else values


def laid_out(array, layout):
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "strided" and array.ndim:
        wide = np.zeros(tuple(2 * n for n in array.shape), array.dtype)
        view = wide[tuple(slice(None, None, 2) for _ in array.shape)]
        view[...] = array
        return view
    if layout == "reversed" and array.ndim:
        return np.ascontiguousarray(array[::-1])[::-1]
    if layout == "misaligned" and array.dtype.kind not in "OM":
        view = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        view[...] = array
        return view
    if layout == "read-only":
        array = array.copy()
        array.flags.writeable = False
    if layout == "broadcast" and array.ndim:
        return np.broadcast_to(array[:1], array.shape) if len(array) else array
    if layout == "list":
        return array.tolist()
    if layout == "memmap" and array.size and array.dtype.kind in "fiu":
        mapped = np.memmap("/dev/zero", array.dtype, "c", shape=array.shape)
        mapped[...] = array
        return mapped
    if layout == "masked":
        return np.ma.masked_array(array, mask=np.zeros(array.shape, bool))
    if layout == "subclass" and array.ndim == 2:
        return array.view(np.matrix)
    return array


# mostly what the network of the test takes, so that most calls get as far as the core
rows = st.one_of(st.integers(1, 9), st.integers(0, 300))
wild_shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)
junk = st.sampled_from(JUNK)
no_function = junk.filter(lambda value: value is not len)  # what a function of the user's raises is the user's affair


def often(good, bad):
    return st.integers(0, 5).flatmap(lambda k: bad if k == 0 else good)


@st.composite
def data(draw, loss):
    """(X, y, sample_weight, rows), mostly what the loss takes."""
    n = draw(rows)
    any_array = st.one_of(wild_shapes.flatmap(arrays), junk)
    X = draw(often(arrays((n, N_INPUTS), "normal"), st.one_of(any_array, arrays((n, N_INPUTS)), arrays((N_INPUTS,)))))
    good = arrays((n, N_OUTPUTS), TARGETS.get(loss, "normal"))
    if loss in OF_CLASSES:
        good = st.one_of(good, arrays((n,), "class"))
    y = draw(often(good, st.one_of(any_array, arrays((n,)), arrays((n, N_OUTPUTS)))))
    w = draw(often(st.one_of(st.none(), arrays((n,), "class")), st.one_of(any_array, arrays((n,)))))
    return X, y, w, n


numbers = st.one_of(
    st.floats(0, 1), st.floats(), st.sampled_from([0, 1, 1e-3, 1e10, 1e30, -1, None, "x", 10**400, 1e-40])
)


@st.composite
def optimizers(draw):
    """An optimiser, or the arguments that were refused as an exception; or junk."""
    cls = draw(st.sampled_from(list(fb.optimizers.CLASSES.values())))
    of_kinds = {bool: st.one_of(st.booleans(), junk), tuple: st.one_of(st.tuples(numbers, numbers), junk)}
    names = {field.name: of_kinds.get(type(field.default), numbers) for field in dataclasses.fields(cls)}
    chosen = {name: draw(strategy) for name, strategy in names.items() if draw(st.integers(0, 7)) == 0}
    return cls, chosen if cls is not fb.SGD or "lr" in chosen else {"lr": 0.1, **chosen}


def count(what, outcome):
    calls[what, outcome] = calls.get((what, outcome), 0) + 1
