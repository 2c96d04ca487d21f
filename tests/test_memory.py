"""What a network takes: the formula of docs/memory.md, and nothing more once it runs."""

import resource
import sys

import numpy as np
import pytest

import fastbp as fb
from fastbp import config

VECTOR_BYTES = {"v4": 64, "v3": 32, "v2": 16, "neon": 16, "generic": 16}[config.LEVEL]
NEEDS_Y = {"gelu", "gelu_tanh", "silu", "softplus"}
NETS = [
    ([4, 16, 1], "tanh"),
    ([54, 128, 64, 7], "relu"),
    ([784, 512, 10], "silu"),
    ([1, 1], "relu"),
    ([300, 17, 1000, 3], "gelu"),
]


def workspace_bytes(net, batch, threads):
    """The formula of docs/memory.md."""
    size = net.dtype.itemsize
    lanes = VECTOR_BYTES // size

    def padded(n):
        return -(-n // lanes) * lanes

    widths = [net.n_inputs]
    for layer in net.layers:
        widths.append(layer.width(widths[-1]))
    pairs = list(zip(widths[:-1], widths[1:], net.layers, strict=True))
    dense = [(i, o) for i, o, layer in pairs if isinstance(layer, fb.Dense)]
    batch_norms = sum(isinstance(layer, fb.BatchNorm) for layer in net.layers)
    layer_norms = sum(isinstance(layer, fb.LayerNorm) for layer in net.layers)
    rows = batch if batch_norms else min(batch, 256 * min(threads, 8))
    panel = rows * lanes * size
    stride = rows + (64 / (lanes * size) if panel % 4096 == 0 else 0)  # a line more than a multiple of 4 KiB
    packed = sum(2 * padded(o) for _, o in dense)  # biases, and dL/dy of one row
    packed += sum(2 * padded(o) for _, o, layer in pairs if isinstance(layer, fb.BatchNorm))  # mean and variance
    if rows > 3:
        packed += sum(padded(o + lanes) * i + padded(i + lanes) * o for i, o in dense)
    a_row = padded(widths[0]) + padded(widths[-1]) + 2 * padded(max(widths)) + 4 + 2 * layer_norms
    for _, o, layer in pairs:
        a_row += padded(o) * (2 if isinstance(layer, fb.Dense) and layer.activation in NEEDS_Y else 1)
    by_parts = rows >= 256 and net.n_params <= 32768 and not batch_norms
    partials = -(-rows // 256) * padded(net.n_params) if by_parts else 0
    lines = 64 // size * (len(widths) * 10 + 10)  # buffers start on a line
    return size * (packed + stride * a_row + partials + lines)


def network(sizes, activation, dtype="float32", threads=1):
    return fb.Network(sizes, activation=activation, loss="mse", dtype=dtype, seed=0, threads=threads)


def data(net, rows):
    rng = np.random.default_rng(0)
    return (rng.standard_normal((rows, n)).astype(net.dtype) for n in (net.n_inputs, net.n_outputs))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch", [2, 64, 256, 1100])
@pytest.mark.parametrize(("sizes", "activation"), NETS)
def test_the_workspace_is_what_the_formula_says(sizes, activation, batch, threads, dtype):
    net = network(sizes, activation, dtype, threads)
    X, y = data(net, batch)
    net.fit(X, y, epochs=1, batch_size=batch, verbose=0)
    asked = net._engine.threads_for(batch)
    most = workspace_bytes(net, batch, asked)
    assert most / 2 - 8192 < net._engine.workspace_bytes <= most


@pytest.mark.parametrize(
    ("optimizer", "vectors"),
    [
        (fb.SGD(0.1, clip_norm=1, l1=0.1), 0),
        (fb.SGD(0.1, momentum=0.9), 1),
        (fb.Adam(), 2),
        (fb.AMSGrad(), 3),
        (fb.AdamW(), 2),
        (fb.AdamW(amsgrad=True), 3),
        (fb.NAdam(), 2),
        (fb.RMSprop(), 1),
        (fb.RMSprop(momentum=0.9), 2),
        (fb.RMSprop(centered=True), 2),
        (fb.RMSprop(momentum=0.9, centered=True), 3),
        (fb.Adagrad(), 1),
        (fb.Rprop(), 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_state_of_an_optimizer_is_what_the_table_says(optimizer, vectors, dtype):
    net = network([4, 16, 1], "tanh", dtype)
    X, y = data(net, 10)
    net.fit(X, y, epochs=1, optimizer=optimizer, verbose=0)
    engine = net._engine
    assert sum(np.asarray(v).size for v in (engine.first, engine.second, engine.third)) == vectors * net.n_params


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch", [2, 64, 1100, 3000])
@pytest.mark.parametrize("norm", [fb.LayerNorm, fb.BatchNorm])
def test_the_workspace_of_other_layers_is_what_the_formula_says(norm, batch, threads, dtype):
    """A batch norm has all rows of a batch there at once."""
    layers = [54, fb.Dense(128, "identity"), norm(), fb.Activation("gelu"), fb.Dropout(0.1), 64, norm(), 7]
    net = network(layers, "relu", dtype, threads)
    X, y = data(net, batch)
    net.fit(X, y, epochs=1, batch_size=batch, verbose=0)
    most = workspace_bytes(net, batch, net._engine.threads_for(batch))
    assert most / 2 - 8192 < net._engine.workspace_bytes <= most


def test_the_workspace_does_not_grow_with_the_data():
    taken = []
    for rows in (1000, 30000):
        net = network([20, 50, 3], "relu")
        X, y = data(net, rows)
        net.fit(X, y, epochs=1, batch_size=100, verbose=0)
        net.loss_and_grad(X, y)
        net.predict(X)
        taken.append(net._engine.workspace_bytes)
    assert taken[0] == taken[1]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("sizes", "batch"), [([4, 16, 1], 32), ([54, 128, 64, 7], 256), ([17, 64, 6], 1)])
def test_steps_cause_no_page_fault(sizes, batch, threads):
    """Counted around one call of the core with hundreds of steps, after one that has touched everything."""
    net = network(sizes, "relu", threads=threads)
    X, y = data(net, 100 * batch)
    net.fit(X, y, epochs=2, batch_size=batch, optimizer=fb.SGD(1e-3), verbose=0)
    arguments = X, y, None, None, len(X), batch, net._core_loss.code_for(y)
    faults = []
    for _ in range(5):  # the system may take a page away once; a step that causes a fault does so every time
        before = resource.getrusage(resource.RUSAGE_SELF)
        net._engine.train(*arguments)
        after = resource.getrusage(resource.RUSAGE_SELF)
        faults.append(after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt)
    assert min(faults) == 0


@pytest.mark.parametrize("rows", [1, 200])
def test_predicting_into_an_array_allocates_nothing(rows):
    net = network([17, 64, 64, 6], "tanh")
    X, out = next(data(net, rows)), np.empty((rows, 6), "float32")

    def blocks_taken(calls):
        before = sys.getallocatedblocks()
        for _ in calls:
            net.predict(X, out=out)
        return sys.getallocatedblocks() - before

    calls = [None] * 1000
    blocks_taken(calls)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    taken = blocks_taken(calls)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt == faults
    assert taken <= 2  # of this test's own: an int and an iterator
