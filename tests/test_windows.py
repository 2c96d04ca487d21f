"""Memory maps in fit: windows, their order, what is checked when, what stays on disk."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference

import fastbp as fb
from fastbp import windows

N, INPUTS, CLASSES = 501, 4, 3
RNG = np.random.default_rng(6)
X = RNG.standard_normal((N, INPUTS))
LABELS = RNG.integers(0, CLASSES, N)
ROW_BYTES = 4 * (INPUTS + CLASSES)


def mapped(array, path):
    on_disk = np.memmap(path, array.dtype, "w+", shape=array.shape)
    on_disk[:] = array
    return on_disk


@pytest.fixture
def window(monkeypatch):
    """Sets how many rows make a window."""
    return lambda rows: monkeypatch.setattr(windows, "WINDOW_BYTES", rows * ROW_BYTES)


def make(loss="cross_entropy", outputs=CLASSES, **kwargs):
    return fb.Network([INPUTS, 8, outputs], loss=loss, seed=3, **kwargs)


def permuted(rng, n):
    return reference.permutation(rng.bit_generator.random_raw(), n)


def expected_order(rng, n, window, blocks=16):
    """What windows.py says in words, one row at a time."""
    if n <= window:
        return permuted(rng, n)
    size = -(-window // blocks)
    taken = [row for k in permuted(rng, -(-n // size)) for row in range(k * size, min(n, (k + 1) * size))]
    order = []
    for first in range(0, n, window):
        rows = np.sort(taken[first : first + window])
        order += rows[permuted(rng, len(rows))].tolist()
    return order


@pytest.mark.parametrize(("rows", "batch_size"), [(500, 10), (96, 32), (96, 7), (16, 16), (10, 3), (1, 1), (5, 64)])
@pytest.mark.parametrize("stored", ["f4", "f8"])
def test_a_shuffled_epoch_takes_each_row_once_in_the_documented_order(rows, batch_size, stored, window, tmp_path):
    window(rows)
    whole = max(1, rows // batch_size) * batch_size
    numbers = X.astype(stored)
    net, twin = make(), make()
    rng = np.random.default_rng()
    rng.bit_generator.state = twin._rng.bit_generator.state
    net.fit(mapped(numbers, tmp_path / "X"), mapped(LABELS, tmp_path / "y"), epochs=3, batch_size=batch_size, verbose=0)
    for _ in range(3):
        order = expected_order(rng, N, whole)
        assert sorted(order) == list(range(N))
        batches = [order[k : k + batch_size] for k in range(0, N, batch_size)]
        twin.fit([(numbers[batch], LABELS[batch]) for batch in batches], epochs=1, verbose=0)
    # a batch of an iterable is planned on its own: the last, shorter one may be summed in another order
    np.testing.assert_allclose(net.params, twin.params, rtol=1e-4, atol=1e-5)
    assert rng.bit_generator.state == net._rng.bit_generator.state


@pytest.mark.parametrize(("rows", "batch_size"), [(64, 8), (100, 9), (1, 1)])
@pytest.mark.parametrize("stored", ["f4", ">f4", "f8", "i2"])
def test_in_order_windows_train_like_the_array_bit_for_bit(rows, batch_size, stored, window, tmp_path):
    window(rows)
    numbers = np.rint(4 * X).astype(stored)
    weights = np.linspace(0.1, 3, N)
    run = {"epochs": 2, "batch_size": batch_size, "shuffle": False, "verbose": 0}
    nets = [make() for _ in range(4)]
    nets[0].fit(numbers, LABELS, sample_weight=weights, **run)
    X_map, y_map = mapped(numbers, tmp_path / "X"), mapped(LABELS, tmp_path / "y")
    w_map = mapped(weights, tmp_path / "w")
    nets[1].fit(X_map, LABELS, sample_weight=weights, **run)
    nets[2].fit(X_map, y_map, sample_weight=w_map, **run)
    nets[3].fit(numbers, y_map, sample_weight=w_map, **run)
    for net in nets[1:]:
        assert (net.params == nets[0].params).all()
        assert net.history.history["loss"] == nets[0].history.history["loss"]


@pytest.mark.parametrize(("loss", "outputs"), [("mse", 2), ("mse", 1), ("binary_cross_entropy", 1), ("hinge", 1)])
def test_targets_of_every_kind_may_be_a_map(loss, outputs, window, tmp_path):
    window(40)
    y = np.where(RNG.random((N, outputs)) < 0.5, -1.0 if loss == "hinge" else 0.0, 1.0)
    run = {"epochs": 2, "batch_size": 8, "shuffle": False, "verbose": 0}
    net, twin = make(loss, outputs), make(loss, outputs)
    flat = y[:, 0] if outputs == 1 else y
    net.fit(mapped(X, tmp_path / "X"), mapped(flat, tmp_path / "y"), **run)
    twin.fit(X, y, **run)
    assert (net.params == twin.params).all()


@pytest.mark.parametrize("what", ["X", "y", "X beyond float32", "weight"])
def test_an_error_leaves_the_steps_of_the_windows_before_it(what, window, tmp_path):
    """It names the row of the map. Weights are all looked at first, for they are scaled to mean 1."""
    window(16 * 40)  # in order a sixteenth of it
    inputs, labels, weights = X.copy(), LABELS.copy(), np.ones(N)
    if what == "y":
        labels[91] = CLASSES
    elif what == "weight":
        weights[91] = -1
    else:
        inputs[91, 2] = np.nan if what == "X" else 1e300
    maps = [mapped(array, tmp_path / name) for name, array in zip("Xyw", (inputs, labels, weights), strict=True)]
    net, twin = make(), make()
    message = {
        "X": "^X: expected finite numbers, got nan in row 91, column 2",
        "y": "^y: expected class indices from 0 to 2, got 3 in row 91",
        "X beyond float32": r"^X: expected numbers in the range of float32, got 1e\+300 in row 91, column 2",
        "weight": "^sample_weight: expected weights >= 0, got -1 in row 91",
    }[what]
    run = {"epochs": 1, "batch_size": 8, "shuffle": False, "verbose": 0}
    with pytest.raises(ValueError, match=message):
        net.fit(maps[0], maps[1], sample_weight=maps[2], **run)
    if what != "weight":
        twin.fit(X[:80], LABELS[:80], **run)
    assert (net.params == twin.params).all()
    with pytest.raises(ValueError, match=message):
        net.fit(maps[0], maps[1], sample_weight=maps[2], epochs=1, verbose=0)


def test_rows_that_lie_far_apart_meet_in_a_batch(window, tmp_path):
    window(160)
    source = windows.Windows(make(), mapped(X, tmp_path / "X"), LABELS.astype("i4"), None, 16, True)
    spans = source.spans(np.random.default_rng(0))
    assert [sum(stop - start for start, stop in of_window) for of_window in spans] == [160, 160, 160, 21]
    for of_window in spans[:-1]:
        assert len(of_window) >= 16
        assert of_window[-1][1] - of_window[0][0] > N / 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_a_map_takes_anonymous_memory_for_one_window(tmp_path):
    """The map has 64 MB, a window 4; looked at after each epoch, in a process of its own."""
    for name, dtype, shape in (("X", "f4", (1 << 18, 64)), ("y", "f8", (1 << 18,))):
        np.memmap(tmp_path / name, dtype, "w+", shape=shape)[:] = 0.5
    program = """if True:
        import numpy as np, fastbp as fb
        from fastbp import windows

        windows.WINDOW_BYTES = 4 << 20
        taken = []

        def look(net, history):
            with open("/proc/self/status") as status:
                taken.append(next(int(line.split()[1]) for line in status if line.startswith("RssAnon")))

        X, y = np.memmap("X", "f4", "r", shape=(1 << 18, 64)), np.memmap("y", "f8", "r", shape=(1 << 18,))
        net = fb.Network([64, 1], loss="mse", seed=0)
        for inputs, targets in ((np.array(X[:4]), np.array(y[:4])), (X, y)):
            net.fit(inputs, targets, epochs=2, batch_size=64, sample_weight=targets, callbacks=look, verbose=0)
        print(max(taken) - taken[0])
    """
    done = subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < 16 << 20, done.stdout
