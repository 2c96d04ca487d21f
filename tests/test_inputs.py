"""Whatever numpy.asarray takes gives the numbers of the plain array, bit for bit."""

import numpy as np
import pytest

import fastbp as fb

N, I, O = 37, 5, 3  # noqa: E741 (rows, inputs, outputs)
RNG = np.random.default_rng(7)
WHOLE = RNG.integers(-8, 9, (N, I))  # whole numbers are the same in every dtype
LABELS = RNG.integers(0, O, N)
WEIGHTS = RNG.integers(0, 4, N)


class Foreign:
    """What pandas and torch look like to NumPy."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


class Subclass(np.ndarray):
    def __getitem__(self, key):
        raise AssertionError("a subclass's own methods must not be called")


def strided(array):
    wide = np.full(tuple(2 * n for n in array.shape), np.nan)
    wide[tuple(slice(1, None, 2) for _ in array.shape)] = array
    return wide[tuple(slice(1, None, 2) for _ in array.shape)]


def misaligned(array):
    memory = np.empty(array.size * 8 + 1, np.uint8)[1:]
    view = memory.view(np.float64).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


def read_only(array):
    array = array.astype(np.float32)
    array.flags.writeable = False
    return array


def mapped(array):
    memory = np.memmap("/dev/zero", "f4", "c", shape=array.shape)
    memory[...] = array
    return memory


FORMS = {
    "float32": lambda a: a.astype(np.float32),
    "float64": lambda a: a.astype(np.float64),
    "float16": lambda a: a.astype(np.float16),
    "longdouble": lambda a: a.astype(np.longdouble),
    "int8": lambda a: a.astype(np.int8),
    "int64": lambda a: a.astype(np.int64),
    "Fortran": lambda a: np.asfortranarray(a.astype(np.float32)),
    "strided": strided,
    "reversed": lambda a: np.ascontiguousarray(a[::-1].astype(np.float64))[::-1],
    "read-only": read_only,
    "misaligned": misaligned,
    "byte-swapped float32": lambda a: a.astype(">f4"),
    "byte-swapped int": lambda a: a.astype(">i2"),
    "list": lambda a: a.tolist(),
    "tuple of arrays": lambda a: tuple(a),
    "memory map": mapped,
    "subclass": lambda a: a.astype(np.float32).view(Subclass),
    "foreign object": lambda a: Foreign(a.astype(np.float64)),
    "masked, nothing masked": lambda a: np.ma.masked_array(a.astype(np.float32), mask=False),
    "broadcast": lambda a: np.broadcast_to(a.astype(np.float32)[None], (1, *a.shape))[0],
}


def outcome(dtype, X, y, w):
    """Every public number of a network on the data: (losses of a fit, the rest)."""
    net = fb.Network([I, 7, O], activation="tanh", seed=1, dtype=dtype)
    numbers = [net.predict(X), net.loss(X, y), net.loss(X, y, w), *net.loss_and_grad(X, y, w), net.input_grad(X, y)]
    numbers += net.evaluate(X, y).values()
    net.fit(X, y, epochs=2, batch_size=10, sample_weight=w, verbose=0)
    return net.history.history["loss"], [*numbers, net.params]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("which", ["X", "y", "sample_weight"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_array_gives_the_same_numbers(form, which, dtype):
    plain = {"X": WHOLE.astype(dtype), "y": LABELS, "sample_weight": WEIGHTS.astype(dtype)}
    source = {"X": WHOLE, "y": LABELS, "sample_weight": WEIGHTS}[which]
    given = FORMS[form](source)
    kept = np.array(np.asarray(given))
    losses, want = outcome(dtype, *plain.values())
    got_losses, got = outcome(dtype, *(given if name == which else plain[name] for name in plain))
    assert got_losses == pytest.approx(
        losses, rel=1e-15
    )  # a stream adds its batches up outside the core's fused a * b + c
    for a, b in zip(got, want, strict=True):
        assert np.array_equal(a, b), (form, which, dtype)
    assert np.array_equal(np.asarray(given), kept), "an argument was written to"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "form", ["float32", "Fortran", "strided", "reversed", "misaligned", "byte-swapped float32", "list"]
)
def test_every_form_of_2d_targets_gives_the_same_numbers(form, dtype):
    targets = np.random.default_rng(2).integers(-3, 4, (N, O))
    net = fb.Network([I, 4, O], loss="mse", seed=0, dtype=dtype)
    want = net.loss_and_grad(WHOLE, targets.astype(dtype))
    got = net.loss_and_grad(WHOLE, FORMS[form](targets))
    assert got[0] == want[0]
    assert np.array_equal(got[1], want[1])


def test_bools_are_zeros_and_ones():
    bits = WHOLE > 0
    net = fb.Network([I, 4, 1], loss="binary_cross_entropy", seed=0)
    assert np.array_equal(net.predict(bits), net.predict(bits.astype(float)))
    assert net.loss(bits, bits[:, 0]) == net.loss(bits.astype(int), bits[:, :1].astype(float))
    two = fb.Network([I, 4, 2], seed=0)
    assert two.loss(bits, bits[:, 0]) == two.loss(bits, bits[:, 0].astype(int))


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "quantile", "poisson", "binary_cross_entropy", "hinge"])
def test_a_single_output_takes_1d_targets(loss):
    y = {"hinge": np.sign(WHOLE[:, 0] + 0.5), "binary_cross_entropy": WHOLE[:, 0] > 0}.get(loss, abs(WHOLE[:, 0]))
    net = fb.Network([I, 4, 1], loss=loss, seed=0)
    a, b = net.loss_and_grad(WHOLE, y), net.loss_and_grad(WHOLE, y[:, None])
    assert a[0] == b[0]
    assert np.array_equal(a[1], b[1])


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge"])
def test_class_indices_may_be_whole_floats(loss):
    net = fb.Network([I, O], loss=loss, seed=0)
    assert net.loss(WHOLE, LABELS.astype(float)) == net.loss(WHOLE, LABELS) == net.loss(WHOLE, LABELS.tolist())


def test_no_rows_and_one_row():
    net = fb.Network([I, 4, O], seed=0)
    assert net.predict(np.empty((0, I))).shape == (0, O)
    row = net.predict(WHOLE[0])
    assert row.shape == (O,)
    assert np.array_equal(row, net.predict(WHOLE[:1])[0])
    assert np.array_equal(row, net.predict(WHOLE[0].tolist()))
    rows = net.predict(WHOLE)
    for x, want in zip(WHOLE, rows, strict=True):
        np.testing.assert_allclose(net.predict(x), want, rtol=1e-5, atol=1e-7)


def test_arrays_of_the_nets_dtype_are_used_in_place():
    """No copy of in-memory data: what a call needs beside it does not grow with it."""
    import tracemalloc

    X = np.zeros((100_000, I), np.float32)
    y = np.zeros((100_000, O), np.float32)
    net = fb.Network([I, 4, O], loss="mse", seed=0)
    net.fit(X[:100], y[:100], epochs=1, verbose=0)
    tracemalloc.start()
    net.fit(X, y, epochs=1, batch_size=100, shuffle=False, verbose=0)
    net.loss(X, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < X.nbytes, peak  # the order of rows, 800 kB, is there


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("inputs", "outputs"), [(6, 6), (6, 2), (2, 6)])
@pytest.mark.parametrize("shift", [0, 1, 7])
def test_out_may_overlap_the_inputs(dtype, inputs, outputs, shift):
    rng = np.random.default_rng(inputs + outputs + shift)
    net = fb.Network([inputs, 9, outputs], loss="mse", seed=0, dtype=dtype)
    n = 300  # more than a block
    memory = np.zeros(n * max(inputs, outputs) + 7, dtype)
    X = memory[: n * inputs].reshape(n, inputs)
    X[...] = rng.standard_normal((n, inputs))
    want = net.predict(X.copy())
    out = memory[shift : shift + n * outputs].reshape(n, outputs)
    assert net.predict(X, out=out) is out
    assert np.array_equal(out, want)


def test_out_may_overlap_the_parameters():
    X, y = WHOLE.astype(np.float32), LABELS
    net = fb.Network([I, 20, O], seed=0)
    loss, gradient = net.loss_and_grad(X, y)
    assert net.copy().loss_and_grad(X, y, out=None)[0] == loss
    twin = net.copy()
    got, out = twin.loss_and_grad(X, y, out=twin.params)
    assert got == loss
    assert np.array_equal(twin.params, gradient)
    twin = net.copy()
    want = twin.predict(X[:2])
    twin.predict(X[:2], out=twin.params[: 2 * O].reshape(2, O))
    assert np.array_equal(twin.params[: 2 * O], want.ravel())


def test_out_is_filled_and_returned():
    net = fb.Network([I, 4, O], seed=0)
    out = np.full((N, O), np.nan, np.float32)
    assert net.predict(WHOLE, out=out) is out
    assert np.array_equal(out, net.predict(WHOLE))
    gradient = np.full(net.n_params, np.nan, np.float32)
    assert net.loss_and_grad(WHOLE, LABELS, out=gradient)[1] is gradient
    assert np.array_equal(gradient, net.loss_and_grad(WHOLE, LABELS)[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_of_any_magnitude_count_by_their_ratios(dtype):
    net = fb.Network([I, 4, O], seed=0, dtype=dtype)
    want = net.loss(WHOLE, LABELS, WEIGHTS)
    for scale in (1e-300, 1e-40, 1e30, 1e300):
        assert net.loss(WHOLE, LABELS, WEIGHTS * scale) == pytest.approx(want, rel=1e-6)
    weighted = np.average([net.loss(WHOLE[r : r + 1], LABELS[r : r + 1]) for r in range(N)], weights=WEIGHTS)
    assert want == pytest.approx(weighted, rel=1e-5)
