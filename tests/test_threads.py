"""One network used from several Python threads."""

import threading

import numpy as np
import pytest
from snapshot import all_finite

import fastbp as fb
from fastbp import state

RNG = np.random.default_rng(3)
X = RNG.standard_normal((400, 6)).astype(np.float32)
LABELS = RNG.integers(0, 3, 400)


def make(dtype="float32"):
    return fb.Network([6, 30, 3], activation="tanh", seed=1, dtype=dtype)


def in_threads(functions, seconds=60):
    """Runs them at once; errors come back in order, None where there was none."""
    errors = [None] * len(functions)
    start = threading.Barrier(len(functions))

    def run(k):
        start.wait()
        try:
            functions[k]()
        except BaseException as error:
            errors[k] = error

    threads = [threading.Thread(target=run, args=(k,), daemon=True) for k in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
        assert not thread.is_alive(), "deadlock"
    return errors


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_eight_threads_predict_what_one_does(dtype):
    net = make(dtype)
    parts = [X[: 1 + 49 * k] for k in range(8)]
    want = [net.predict(part) for part in parts]
    gradients = [net.loss_and_grad(part, LABELS[: len(part)]) for part in parts]

    def work(k):
        def run():
            for _ in range(60):
                assert np.array_equal(net.predict(parts[k]), want[k])
                loss, gradient = net.loss_and_grad(parts[k], LABELS[: len(parts[k])])
                assert loss == gradients[k][0]
                assert np.array_equal(gradient, gradients[k][1])
                assert np.isfinite(net.input_grad(parts[k], LABELS[: len(parts[k])])).all()

        return run

    assert in_threads([work(k) for k in range(8)]) == [None] * 8


def test_readers_see_whole_steps_while_one_thread_fits():
    """Predictions that a step could tear apart: both outputs are driven by the same gradient, so they stay equal."""
    net = fb.Network([6, 40, 2], loss="mse", seed=0)
    net.weights[1][1] = net.weights[1][0]
    targets = np.repeat(X[:, :1], 2, axis=1)
    twin = net.copy()
    done = threading.Event()
    calls = []

    def fit():
        try:
            net.fit(X, targets, epochs=60, batch_size=4, verbose=0)
        finally:
            done.set()

    def read():
        while not done.is_set():
            outputs = net.predict(X)
            assert np.array_equal(outputs[:, 0], outputs[:, 1])
            assert np.isfinite(net.loss(X, targets))
            calls.append(1)

    assert in_threads([fit, read, read, read]) == [None] * 4
    assert calls
    twin.fit(X, targets, epochs=60, batch_size=4, verbose=0)
    assert (net.params == twin.params).all()


def test_copies_and_files_made_while_another_thread_fits_are_of_whole_steps(tmp_path):
    """All outputs are driven by the same gradient, so that all biases, and their means in Adam, stay equal."""
    n = 100_000
    net = fb.Network([1, n], loss="mse", init="zeros", seed=0, threads=1)
    done = threading.Event()
    seen = []

    def fit():
        try:
            net.fit(np.zeros((1, 1)), np.ones((1, n)), epochs=400, verbose=0)
        finally:
            done.set()

    def read():
        while not done.is_set():
            net.save(tmp_path / "net")
            for copied in (net.copy(), fb.load(tmp_path / "net")):
                assert copied.biases[0].min() == copied.biases[0].max()
                if copied.optimizer is not None:
                    means = np.asarray(copied._engine.first)[n:]
                    assert means.min() == means.max()
                lengths = set(map(len, copied.history.history.values())) if copied.history else set()
                assert len(lengths) < 2
            seen.append(1)

    assert in_threads([fit, read]) == [None] * 2
    assert seen


def test_a_fit_goes_on_between_readers_who_never_stop():
    net = make()
    many = np.tile(X, (50, 1))  # reading takes long, so that some thread always reads
    done = threading.Event()

    def fit():
        try:
            net.fit(X, LABELS, epochs=1, verbose=0)
        finally:
            done.set()

    def read():
        while not done.is_set():
            net.predict(many)

    assert in_threads([fit, *[read] * 4]) == [None] * 5


def test_of_two_fits_one_raises_and_the_other_is_undisturbed():
    net, twin = make(), make()
    run = {"epochs": 300, "batch_size": 4, "verbose": 0}
    errors = in_threads([lambda: net.fit(X, LABELS, **run) for _ in range(2)])
    raised = [error for error in errors if error is not None]
    assert len(raised) == 1
    assert isinstance(raised[0], RuntimeError)
    assert str(raised[0]).startswith("fit: ")
    twin.fit(X, LABELS, **run)
    assert (net.params == twin.params).all()
    net.fit(X, LABELS, epochs=1, verbose=0)


def test_fits_of_different_networks_run_side_by_side():
    nets = [make() for _ in range(4)]
    assert in_threads([lambda net=net: net.fit(X, LABELS, epochs=5, verbose=0) for net in nets]) == [None] * 4
    assert all((net.params == nets[0].params).all() for net in nets)


def test_copies_made_while_another_thread_fits_are_finite():
    net = make()
    done = threading.Event()

    def fit():
        try:
            net.fit(X, LABELS, epochs=100, batch_size=4, verbose=0)
        finally:
            done.set()

    def copy():
        while not done.is_set():
            assert all_finite(net.copy())

    assert in_threads([fit, copy]) == [None, None]


def test_an_optimizer_that_appears_during_a_copy_is_copied_with_its_state_or_not_at_all():
    reads = iter([None, fb.Adam(), fb.Adam()])

    class BeingFitted(fb.Network):
        optimizer = property(lambda self: next(reads))

    saved = state.of(BeingFitted([2, 1]))
    assert (saved["optimizer"] is None) == (saved["optimizer_state"] is None)


def test_labels_changed_by_another_thread_cannot_hurt():
    """The core indexes with them, so it works on a copy."""
    net = make()
    labels = LABELS.astype(np.int32)
    done = threading.Event()

    def spoil():
        while not done.is_set():
            labels[:] = 2**30
            labels[:] = LABELS

    def use():
        try:
            for _ in range(50):
                try:
                    net.loss_and_grad(X, labels)
                    net.fit(X, labels, epochs=2, verbose=0)
                except ValueError as error:  # caught in the act
                    assert str(error).startswith("y: ")
        finally:
            done.set()

    assert in_threads([use, spoil]) == [None, None]
