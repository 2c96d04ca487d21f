"""Networks as objects: pickles and copies, views, Ctrl-C, fork, divergence."""

import copy
import gc
import os
import pickle
import signal
import sys
import threading

import numpy as np
import optimizers
import pytest
from snapshot import all_finite, snapshot

import fastbp as fb

RNG = np.random.default_rng(11)
X = RNG.standard_normal((60, 5)).astype(np.float32)
LABELS = RNG.integers(0, 3, 60)
OPTIMIZERS = [fb.SGD(0.1), fb.SGD(0.1, momentum=0.9, nesterov=True), fb.Adam(0.01), fb.AdamW(0.01), *optimizers.FEW]


def make(**kwargs):
    return fb.Network([5, 8, 3], **{"activation": "gelu", "seed": 4, **kwargs})


def through_joblib(net):
    joblib = pytest.importorskip("joblib")
    import io

    file = io.BytesIO()
    joblib.dump(net, file)
    file.seek(0)
    return joblib.load(file)


COPIES = {
    **{f"pickle {protocol}": lambda net, p=protocol: pickle.loads(pickle.dumps(net, p)) for protocol in range(2, 6)},
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "Network.copy": lambda net: net.copy(),
    "joblib": through_joblib,
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("optimizer", [None, *OPTIMIZERS], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_copy_goes_on_like_the_original_and_shares_nothing(way, optimizer, dtype):
    net = make(dtype=dtype)
    if optimizer is not None:
        net.fit(X, LABELS, epochs=2, optimizer=optimizer, validation_data=(X, LABELS), verbose=0)
    before = snapshot(net)
    twin = COPIES[way](net)
    assert snapshot(twin) == before
    assert not np.may_share_memory(net.params, twin.params)
    assert (net.predict(X) == twin.predict(X)).all()
    twin.fit(X, LABELS, epochs=2, verbose=0)
    assert snapshot(net) == before
    net.fit(X, LABELS, epochs=2, verbose=0)
    assert (net.params == twin.params).all()
    twin.weights[0][...] = 0
    assert net.weights[0].any()


def test_a_copy_of_another_dtype_keeps_the_parameters():
    net = make()
    net.fit(X, LABELS, epochs=1, verbose=0)
    wide = net.copy(dtype="float64")
    assert wide.dtype == np.float64
    assert (wide.params == net.params).all()
    assert wide.optimizer is None
    assert (wide.copy(dtype="float32").params == net.params).all()


def test_a_copy_of_a_dtype_that_cannot_hold_the_numbers_is_refused():
    net = fb.Network([2, 3, fb.BatchNorm(), 1], loss=fb.Huber(1e300), dtype="float64", seed=0)
    with pytest.raises(ValueError, match="^loss: expected a parameter in the range of float32, got Huber"):
        net.copy("float32")
    net = fb.Network([2, 3, fb.BatchNorm(), 1], loss="mse", dtype="float64", seed=0)
    net.params[:2] = 1e-300, np.inf  # nothing is lost of these but digits
    assert net.copy("float32").params[:2].tolist() == [0, np.inf]
    net.params[2] = -1e39
    with pytest.raises(
        ValueError, match=r"^dtype: expected one whose range holds the parameters, got .*32 beside -1e\+39"
    ):
        net.copy("float32")
    assert net.copy("float64").params[2] == -1e39
    net.params[2] = 0
    net.running_vars[1][2] = 1e39
    with pytest.raises(ValueError, match="^dtype: expected one whose range holds the running statistics, got float32"):
        net.copy("float32")


def test_a_copy_made_in_a_callback_keeps_the_history_of_its_moment():
    copies = []
    net = make()
    net.fit(X, LABELS, epochs=3, callbacks=lambda net, history: copies.append(net.copy()), verbose=0)
    assert [len(twin.history.history["loss"]) for twin in copies] == [1, 2, 3]
    copies[0].fit(X, LABELS, epochs=2, verbose=0)
    assert (copies[0].params == net.params).all()


def test_a_network_with_an_init_that_cannot_be_pickled_can_be():
    net = fb.Network([5, fb.Dense(3, "softmax", bias=False, init=lambda shape, rng: rng.uniform(size=shape))], seed=0)
    twin = pickle.loads(pickle.dumps(net))
    assert (twin.params == net.params).all()
    assert (twin.predict(X) == net.predict(X)).all()


def test_errors_and_descriptions_pickle():
    net = make()
    with pytest.raises(ValueError, match="row 3") as caught:
        net.predict(np.where(np.arange(60)[:, None] == 3, np.nan, X))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert str(pickle.loads(pickle.dumps(fb.DivergedError("so")))) == "so"
    for thing in (*OPTIMIZERS, fb.Dense(3, "tanh"), fb.Huber(2.0), fb.CrossEntropy(0.1), fb.Quantile(0.3)):
        assert pickle.loads(pickle.dumps(thing)) == thing == copy.deepcopy(thing)


def test_descriptions_do_not_change():
    for thing, name in ((fb.SGD(0.1), "lr"), (fb.Dense(3), "units"), (fb.Huber(), "delta"), (fb.Adam(), "betas")):
        with pytest.raises(AttributeError):
            setattr(thing, name, 1)


def test_views_are_the_parameters_and_outlive_the_network():
    net = make()
    flat = np.concatenate([part.ravel() for pair in zip(net.weights, net.biases, strict=True) for part in pair])
    assert (flat == net.params).all()
    weight, bias, params = net.weights[1], net.biases[1], net.params
    assert (weight.shape, bias.shape, net.n_params) == ((3, 8), (3,), params.size)
    assert params.ctypes.data % 64 == 0
    weight[2, 7] = 5
    bias[0] = 6
    assert 5 in params
    assert net.predict(X[0]).argmax() in (0, 2)
    del net
    gc.collect()
    junk = [np.full(params.size, 9.0, np.float32) for _ in range(100)]
    assert (weight[2, 7], bias[0]) == (5, 6)
    params[:] = 1
    assert (weight == 1).all()
    assert (bias == 1).all()
    del junk


def test_a_view_may_be_reshaped_in_place_without_harm():
    net = make()
    want = net.predict(X)
    net.params.shape = (net.n_params, 1)
    net.weights[0].shape = (5, 8)
    assert (net.predict(X) == want).all()
    net.fit(X, LABELS, epochs=1, verbose=0)
    assert (pickle.loads(pickle.dumps(net)).predict(X) == net.predict(X)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["weights", "biases"])
def test_non_finite_parameters_propagate_and_are_not_trained_on(value, where):
    net = make(loss="hinge")
    net.fit(X, LABELS, epochs=1, verbose=0)
    getattr(net, where)[1].flat[0] = value
    before = snapshot(net)
    assert not np.isfinite(net.predict(X)).all()
    assert not np.isfinite(net.predict(X[0])).all()
    assert not np.isfinite(net.loss(X, LABELS))
    for optimizer in (None, fb.SGD(0.1)):
        with pytest.raises(fb.DivergedError, match="^params: expected finite parameters.*at index"):
            net.fit(X, LABELS, optimizer=optimizer, verbose=0)
    assert snapshot(net) == before


def test_non_finite_parameters_written_by_a_callback_end_the_training():
    def spoil(net, history):
        net.params[3] = np.nan

    net = make()
    with pytest.raises(fb.DivergedError, match="index 3"):
        net.fit(X, LABELS, epochs=3, callbacks=[spoil], verbose=0)
    assert len(net.history.history["loss"]) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("scale", [1.0, 1e15])
@pytest.mark.parametrize("lr", [1e3, 1e10, 1e30])
@pytest.mark.parametrize("kind", ["SGD", "momentum", "nesterov", "Adam", "AdamW", "decay"])
def test_a_diverging_run_says_so_and_leaves_everything_finite(kind, lr, scale, batch_size, dtype):
    optimizer = {
        "SGD": fb.SGD(lr),
        "momentum": fb.SGD(lr, momentum=0.9),
        "nesterov": fb.SGD(lr, momentum=0.99, nesterov=True),
        "Adam": fb.Adam(lr),
        "AdamW": fb.AdamW(lr, weight_decay=1),
        "decay": fb.SGD(lr, weight_decay=1),
    }[kind]
    net = fb.Network([5, 8, 3], activation="relu", loss="mse", seed=0, dtype=dtype)
    targets = np.eye(3)[LABELS] * scale
    try:
        net.fit(X * scale, targets, epochs=400, batch_size=batch_size, optimizer=optimizer, verbose=0)
        diverged = False
    except fb.DivergedError as error:
        diverged = True
        assert str(error).startswith("training diverged in epoch ")
        assert f"{lr:g}" in str(error)
    assert diverged or "Adam" in kind or net.history.history["loss"][-1] < 1e300
    if kind == "SGD" and lr == 1e30:
        assert diverged
    assert all_finite(net)
    assert np.isfinite(net.params).all()
    net.params[:] = 0.01
    net.fit(X, np.eye(3)[LABELS], epochs=1, optimizer=fb.SGD(1e-3), verbose=0)  # still in use
    assert all_finite(net)


@pytest.mark.parametrize(
    ("optimizer", "scale", "init"),
    [
        (fb.Adam(1e-3, weight_decay=1e25), 1, "auto"),
        (fb.SGD(1e-20, momentum=0.5, weight_decay=1e38), 1, "auto"),
        (fb.Adam(1e30, eps=1.2e-38), 1e-25, "zeros"),
    ],
    ids=["square of the decay", "velocity", "square of the gradient underflows"],
)
def test_hyper_parameters_at_the_end_of_float32_leave_everything_finite(optimizer, scale, init):
    net = fb.Network([3, 4, 2], loss="mse", init=init, seed=0)
    net.params[:] *= 10
    rng = np.random.default_rng(0)
    inputs, targets = scale * rng.standard_normal((20, 3)), scale * rng.standard_normal((20, 2))
    try:
        net.fit(inputs, targets, epochs=3, optimizer=optimizer, verbose=0)
    except fb.DivergedError:
        pass
    assert all_finite(net)


def interrupt_after(seconds):
    timer = threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    return timer


@pytest.mark.parametrize("source", ["array", "memory map", "stream", "loss object", "one long epoch"])
def test_ctrl_c_falls_between_steps(source, tmp_path):
    """Parameters are those after a whole number of steps, the history is kept, and training can go on."""

    class Squares:
        def value_and_delta(self, outputs, targets):
            return float((outputs**2).mean()), 2 * outputs / outputs.size

    rows = np.tile(X, (2000, 1)) if source == "one long epoch" else X
    y = np.tile(LABELS, 2000) if source == "one long epoch" else LABELS
    if source == "memory map":
        rows = np.memmap(tmp_path / "X", "f4", "w+", shape=X.shape)
        rows[:] = X
    net = fb.Network([5, 60, 60, 3], loss=Squares() if source == "loss object" else "cross_entropy", seed=0)
    run = {"epochs": 10**9, "batch_size": 2, "shuffle": False, "verbose": 0, "optimizer": fb.SGD(1e-4)}
    args = ([(X[k : k + 2], y[k : k + 2]) for k in range(0, 60, 2)],) if source == "stream" else (rows, y)
    timer = interrupt_after(0.25)
    with pytest.raises(KeyboardInterrupt):
        net.fit(*args, **run)
    timer.join()
    assert all_finite(net)
    assert "_fitted_by" not in net.__dict__
    history = net.history.history
    assert {len(values) for values in history.values()} == {len(history["loss"])}
    steps = net._engine.steps
    assert len(history["loss"]) <= steps // (len(rows) // 2) <= len(history["loss"]) + 1
    if source in ("array", "stream"):
        twin = fb.Network([5, 60, 60, 3], seed=0)
        whole, rest = divmod(steps, 30)
        if whole:
            twin.fit(X, y, **{**run, "epochs": whole})
        if rest:
            twin.fit(X[: 2 * rest], y[: 2 * rest], **{**run, "epochs": 1})
        assert (net.params == twin.params).all()
    net.predict(X)
    net.fit(X, LABELS, epochs=1, verbose=0)


def test_ctrl_c_may_return_the_history():
    net = make()
    timer = interrupt_after(0.2)
    history = net.fit(X, LABELS, epochs=10**9, batch_size=2, on_interrupt="return", verbose=0)
    timer.join()
    assert history is net.history
    assert len(history.epochs) > 0
    assert "_fitted_by" not in net.__dict__
    net.fit(X, LABELS, epochs=1, verbose=0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("used", [False, True], ids=["before use", "after use"])
def test_a_forked_child_computes_the_same(used):
    net = make()
    if used:
        net.fit(X, LABELS, epochs=1, verbose=0)
        net.predict(X)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(30)
            net.fit(X, LABELS, epochs=2, verbose=0)
            os.write(writing, net.predict(X).tobytes())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        got = file.read()
    assert os.waitpid(child, 0)[1] == 0
    net.fit(X, LABELS, epochs=2, verbose=0)
    assert got == net.predict(X).tobytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_while_another_thread_fits_and_reads_is_free():
    """The threads that held the network are not in the child; it neither waits for them nor believes them."""
    net = make()
    stop = threading.Event()

    def fit():
        net.fit(X, LABELS, epochs=10**9, batch_size=2, callbacks=lambda net, history: stop.is_set(), verbose=0)

    def read():
        while not stop.is_set():
            net.predict(X)

    threads = [threading.Thread(target=work, daemon=True) for work in (fit, read, read)]
    for thread in threads:
        thread.start()
    statuses = []
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    signal.signal(signal.SIGALRM, signal.SIG_DFL)
                    signal.alarm(20)
                    net.predict(X)
                    net.params[:] = 0.01
                    net.fit(X, LABELS, epochs=1, verbose=0)
                    status = 0
                finally:
                    os._exit(status)
            statuses.append(os.waitpid(child, 0)[1])
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert statuses == [0] * 20


def test_joblib_and_multiprocessing_take_networks():
    joblib = pytest.importorskip("joblib")
    net = make()
    net.fit(X, LABELS, epochs=1, verbose=0)
    parts = joblib.Parallel(n_jobs=2, backend="multiprocessing")(joblib.delayed(net.predict)(X[k::2]) for k in range(2))
    assert (np.concatenate(parts) == np.concatenate([net.predict(X[k::2]) for k in range(2)])).all()


def test_nothing_leaks_over_many_networks_and_calls():
    resource = pytest.importorskip("resource")

    def use():
        net = fb.Network([200, 300, 10], seed=0)
        net.fit(np.zeros((50, 200), np.float32), np.zeros(50, int), epochs=1, verbose=0)
        pickle.loads(pickle.dumps(net)).predict(np.zeros(200))
        for bad in (np.zeros(7), np.full(200, np.nan)):
            with pytest.raises(ValueError, match="^X: "):
                net.predict(bad)

    for _ in range(20):
        use()
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    for _ in range(150):
        use()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before
    assert grown < 20e6, grown  # one network that leaks takes 0.5 MB or more: 75 MB
