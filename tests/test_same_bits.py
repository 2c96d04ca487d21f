"""Threads change the time that a call takes, and not one bit of its results."""

import itertools
import time

import numpy as np
import pytest

import fastbp as fb
from fastbp import _pool

THREADS = (1, 2, 3, 4)
DTYPES = ("float32", "float64")
# rows and widths around tiles, panels, groups of rows, blocks and what several threads have of them; wide enough for
# the cost model to ask for threads
NETS = {
    "tables": ([54, 128, 64, 7], "relu", "cross_entropy"),
    "wide": ([300, 517, 260, 3], "tanh", "mse"),
    "one output": ([1030, 201, 1], "gelu", "binary_cross_entropy"),
    "softmax inside": ([513, 200, 300, 9], ["softmax", "silu"], "huber"),
    "narrow and long": ([3, 50, 50, 50, 2], "tanh", "mse"),
    "linear": ([1030, 517], "relu", "mse"),
}
LARGE = {
    "tanh, mse": ([700, 1205, 617, 5], "tanh", "mse"),
    "softmax and silu, cross_entropy": ([730, 1010, 700, 9], ["softmax", "silu"], "cross_entropy"),
}
ROWS = {"few rows": 5, "two groups": 33, "a block": 256, "blocks and one": 1025}


def network(case, dtype, threads):
    sizes, activation, loss = (NETS | LARGE)[case]
    return fb.Network(sizes, activation=activation, loss=loss, dtype=dtype, seed=3, threads=threads)


def data(net, rows):
    rng = np.random.default_rng(rows)
    X = rng.standard_normal((rows, net.n_inputs)).astype(net.dtype)
    if net.objective.name == "cross_entropy":
        return X, rng.integers(0, net.n_outputs, rows)
    return X, rng.uniform(0, 1, (rows, net.n_outputs)).astype(net.dtype)


def results(net, rows, times=1):
    """Bytes of everything that a network computes of these rows, over and over, so that workers have time to wake."""
    X, y = data(net, rows)
    for _ in range(times):
        loss, gradient = net.loss_and_grad(X, y)
        yield np.concatenate(
            [net.predict(X).ravel(), [loss, net.loss(X, y)], gradient, net.input_grad(X, y).ravel()]
        ).tobytes()


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", NETS)
def test_calls_give_the_same_bits_on_any_number_of_threads(case, dtype, rows):
    (alone,) = results(network(case, dtype, 1), rows)
    for threads in THREADS[1:]:
        for k, got in enumerate(results(network(case, dtype, threads), rows, times=3)):
            assert got == alone, f"{case} {dtype} rows={rows} threads={threads} call {k}"


@pytest.mark.parametrize("rows", [1, 3, 4, 17])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LARGE)
def test_few_rows_through_large_nets_give_the_same_bits_on_any_number_of_threads(case, dtype, rows):
    (alone,) = results(network(case, dtype, 1), rows)
    for threads in (2, 3):
        net = network(case, dtype, threads)
        assert net._engine.threads_for(rows) == threads
        for k, got in enumerate(results(net, rows, times=3)):
            assert got == alone, f"{case} {dtype} rows={rows} threads={threads} call {k}"


@pytest.mark.parametrize(
    ("batch_size", "optimizer"),
    [
        (40, fb.SGD(0.01)),
        (256, fb.Adam()),
        (700, fb.SGD(0.01, momentum=0.9)),
        (
            300,
            fb.RMSprop(1e-3, momentum=0.5, centered=True, clip_norm=0.1, l1=1e-3, weight_decay=0.1, decay_bias=False),
        ),
    ],
    ids=["40 sgd", "256 adam", "700 momentum", "300 rmsprop, clipped"],
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", NETS)
def test_three_epochs_give_the_same_bits_on_any_number_of_threads(case, dtype, batch_size, optimizer):
    parameters = {}
    for threads in THREADS:
        net = network(case, dtype, threads)
        X, y = data(net, 1000)
        history = net.fit(X, y, epochs=3, batch_size=batch_size, optimizer=optimizer, verbose=0)
        parameters[threads] = net.params.tobytes() + np.array(history.history["loss"]).tobytes()
    assert len(set(parameters.values())) == 1, f"{case} {dtype} batch_size={batch_size}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_caller_works_alone_while_the_workers_are_busy(dtype):
    (alone,) = results(network("tables", dtype, 1), 1025)
    threads = _pool.enter(4)
    try:
        assert threads == 4
        (got,) = results(network("tables", dtype, 4), 1025)
    finally:
        _pool.leave(threads)
    assert got == alone


def test_a_caller_gets_fewer_threads_while_others_are_at_work():
    granted = [_pool.enter(3) for _ in range(4)]
    try:
        assert granted == [3, 1, 1, 1]
    finally:
        for threads in granted:
            _pool.leave(threads)
    assert _pool.enter(3) == 3
    _pool.leave(3)


def test_work_is_large_enough_here_to_ask_for_threads():
    """Else the tests above would compare one thread with itself."""
    for case, rows in itertools.product(NETS, (700, 1025)):
        assert network(case, "float32", 4)._engine.threads_for(rows) == 4, (case, rows)


def test_work_is_offered_to_workers():
    net = network("tables", "float32", 2)
    X, y = data(net, 1000)
    before = _pool.offered()
    end = time.monotonic() + 60  # on a busy machine a worker first has to get a core
    while _pool.offered() < before + 8:
        net.fit(X, y, epochs=10, batch_size=500, verbose=0)
        assert time.monotonic() < end
