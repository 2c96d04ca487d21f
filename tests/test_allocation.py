"""Each allocation of the core fails in turn: MemoryError, nothing changed, nothing leaked, still in use.

Needs a build with FASTBP_TESTING=1, whose core refuses the n-th request for memory on demand.
"""

import pickle

import numpy as np
import pytest
from snapshot import snapshot

import fastbp as fb
from fastbp import config

CORES = {dtype: config.engine_module(np.dtype(dtype)) for dtype in ("float32", "float64")}
pytestmark = pytest.mark.skipif(CORES["float32"].live_blocks() is None, reason="needs a build with FASTBP_TESTING=1")

X = np.random.default_rng(0).standard_normal((200, 4))
LABELS = np.arange(200) % 3


def make(dtype):
    return fb.Network([4, 8, 3], activation="gelu", seed=0, dtype=dtype)


def trained(dtype):
    net = make(dtype)
    net.fit(X[:20], LABELS[:20], epochs=2, optimizer=fb.SGD(0.1, momentum=0.9), verbose=0)
    return net


CALLS = {
    "predict": lambda net: net.predict(X),
    "predict, one row": lambda net: net.predict(X[0]),
    "loss": lambda net: net.loss(X, LABELS),
    "loss_and_grad": lambda net: net.loss_and_grad(X, LABELS),
    "hvp": lambda net: net.hvp(X, LABELS, net.params),
    "input_grad": lambda net: net.input_grad(X, LABELS),
    "fit": lambda net: net.fit(X, LABELS, epochs=1, verbose=0),
    "fit, named optimiser": lambda net: net.fit(X, LABELS, epochs=1, optimizer=fb.Adam(), verbose=0),
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "copy to the other dtype": lambda net: net.copy("float64"),
}


def failing_at(n, call):
    """Runs call with the n-th request of the core refused; whether there was such a request."""
    for core in CORES.values():
        core.fail_allocation(n)
    try:
        call()
    except MemoryError as error:
        assert str(error), "a MemoryError should say what there was no room for"
        return True
    finally:
        for core in CORES.values():
            core.fail_allocation(0)
    return False


def live_blocks():
    return sum(core.live_blocks() for core in CORES.values())


@pytest.mark.parametrize("dtype", CORES)
def test_a_constructor_that_fails_leaks_nothing(dtype):
    before = live_blocks()
    sites = 0
    while failing_at(sites + 1, lambda: make(dtype)):
        sites += 1
        assert live_blocks() == before
    assert sites >= 3  # lock, plan, parameters


@pytest.mark.parametrize("used", [False, True], ids=["new network", "trained network"])
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", CORES)
def test_a_call_that_fails_leaves_the_network_as_it_was(dtype, name, used):
    start = live_blocks()
    failed, n = True, 0
    while failed:
        n += 1
        net = trained(dtype) if used else make(dtype)
        before, blocks = snapshot(net), live_blocks()
        failed = failing_at(n, lambda net=net: CALLS[name](net))
        if failed and name.startswith("fit"):
            # it has begun: a named optimiser has started, at zero, and the order of the epoch has been drawn
            assert net.params.tobytes() == before["params"]
            assert "_fitted_by" not in net.__dict__
            assert net.optimizer is None or net._engine.steps in (0, 2)
        elif failed:
            assert snapshot(net) == before, f"request {n}"
            kept = name == "hvp" and not used  # the first of its two workspaces stays with the network
            assert live_blocks() <= blocks + kept, f"request {n}"
        CALLS[name](net)  # in use again, now that there is memory
        assert np.isfinite(net.predict(X)).all()
        del net
        assert live_blocks() == start, f"request {n} leaked"
    roomy = name == "predict, one row" and used  # the workspace of the batches before does
    assert n > 1 or roomy, "no request was made, so none could fail"
