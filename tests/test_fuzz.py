"""Every public method and constructor under arguments of all kinds: documented errors only, nothing changed after one.

FASTBP_FUZZ=2000 makes over 20,000 calls; their count stands in the summary after the run.
"""

import warnings

import fuzzing
import numpy as np
import pytest
from fuzzing import N_INPUTS, N_OUTPUTS, often
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from snapshot import all_finite, snapshot

import fastbp as fb

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy, for the values that the fuzz makes
FUZZ = settings(
    max_examples=fuzzing.EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
REFUSALS = (ValueError, TypeError)


def attempt(what, call, net=None):
    """Makes the call; what it returned, or None after an error that may be, with everything as it was before."""
    before = snapshot(net) if net is not None else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = call()
    except fb.DivergedError:
        fuzzing.count(what, "diverged")
        assert all_finite(net)
        return None
    except REFUSALS as error:
        fuzzing.count(what, "refused")
        assert ": " in str(error), f"no argument is named in {error!r}"
        assert str(error).split(":")[0].replace("_", "a").replace("[", "a").replace("]", "a").isalnum(), repr(error)
        if net is not None:
            assert snapshot(net) == before, error
        return None
    fuzzing.count(what, "done")
    if net is not None and not what.startswith("fit"):
        assert snapshot(net) == before, what
    return (result,)


def maker(loss, dtype, trained):
    output = "identity" if loss == "poisson" else None
    net = fb.Network([N_INPUTS, 5, N_OUTPUTS], loss=loss, output=output, dtype=dtype, seed=0)
    if trained:
        targets = np.zeros(4, int) if loss in fuzzing.OF_CLASSES else np.zeros((4, N_OUTPUTS))
        net.fit(np.zeros((4, N_INPUTS)), targets, epochs=1, optimizer=fb.SGD(0.1, momentum=0.5), verbose=0)
    return net


networks = st.builds(maker, st.sampled_from(fuzzing.LOSSES), st.sampled_from(["float32", "float64"]), st.booleans())


@st.composite
def outs(draw, shape, dtype):
    """An `out`, mostly fit to be one."""
    good = st.just(np.full(shape, 7, dtype))
    return draw(often(st.one_of(st.none(), good), st.one_of(fuzzing.arrays(shape), fuzzing.junk)))


@FUZZ
@given(networks, st.data())
def test_passes(net, extra):
    """predict, loss, loss_and_grad, input_grad, evaluate"""
    X, y, w, n = extra.draw(fuzzing.data(net.objective.name), label="X, y, sample_weight, rows")
    out = extra.draw(outs((n, N_OUTPUTS), net.dtype), label="out")
    result = attempt("predict", lambda: net.predict(X, out=out), net)
    if result:
        assert result[0].dtype == net.dtype
        assert result[0].shape == (*np.shape(X)[:-1], N_OUTPUTS)
    result = attempt("loss", lambda: net.loss(X, y, sample_weight=w), net)
    out = extra.draw(outs((net.n_params,), net.dtype), label="out")
    gradient = attempt("loss_and_grad", lambda: net.loss_and_grad(X, y, w, out=out), net)
    if result and gradient:
        assert isinstance(result[0], float)
        assert not np.isfinite(result[0]) or gradient[0][0] == pytest.approx(result[0], rel=1e-5)
        assert gradient[0][1].shape == (net.n_params,)
    result = attempt("input_grad", lambda: net.input_grad(X, y), net)
    if result:
        assert result[0].shape == np.shape(X)
    names = st.lists(st.sampled_from(["accuracy", "mse", "mae", "r2", "accurcy", 3]))
    metrics = extra.draw(st.one_of(st.none(), names, fuzzing.no_function), label="metrics")
    attempt("evaluate", lambda: net.evaluate(X, y, metrics), net)


@FUZZ
@given(networks, fuzzing.optimizers(), st.data())
def test_fits(net, optimizer, extra):
    X, y, w, n = extra.draw(fuzzing.data(net.objective.name), label="X, y, sample_weight, rows")
    held_out = extra.draw(fuzzing.data(net.objective.name), label="held out")
    cls, kwargs = optimizer
    made = attempt(cls.__name__, lambda: cls(**kwargs))
    chosen = {"verbose": 0, "epochs": extra.draw(st.integers(1, 3)), "batch_size": extra.draw(st.integers(1, 40))}
    options = {
        "epochs": st.one_of(st.integers(-1, 3), fuzzing.junk.filter(lambda v: v != 2**70)),
        "batch_size": st.one_of(st.integers(-1, 2**70), fuzzing.junk),
        "optimizer": st.one_of(st.just(made[0] if made else None), fuzzing.junk),
        "validation_data": st.one_of(st.just(held_out[:2]), fuzzing.junk),
        "sample_weight": st.just(w),
        "shuffle": st.one_of(st.booleans(), fuzzing.junk),
        "callbacks": fuzzing.no_function,
        "verbose": fuzzing.junk.filter(lambda v: v not in (1, True)),
    }
    for name in extra.draw(st.sets(st.sampled_from(list(options)), max_size=3)):
        chosen[name] = extra.draw(options[name], label=name)
    if made and extra.draw(st.booleans()):
        chosen["optimizer"] = made[0]
    if isinstance(X, np.memmap) or isinstance(y, np.memmap):  # errors of later batches leave the steps of earlier ones
        X, y = np.array(X), np.array(y)
    if y is None and isinstance(X, (list, tuple)):  # that would be a stream of batches: the next test
        y = 0
    attempt("fit", lambda: net.fit(X, y, **chosen), net)
    sound = np.zeros(3, int) if net.objective.name in fuzzing.OF_CLASSES else np.zeros((3, N_OUTPUTS))
    attempt("fit again", lambda: net.fit(np.ones((3, N_INPUTS)), sound, epochs=1, verbose=0), net)


@FUZZ
@given(networks, st.data())
def test_streams(net, extra):
    """What an earlier batch has changed stays, so only the numbers are looked at."""
    pairs = fuzzing.data(net.objective.name).map(lambda drawn: drawn[:2])
    batches = extra.draw(often(st.lists(often(pairs, fuzzing.junk), max_size=3), fuzzing.junk), label="batches")
    finite = all_finite(net)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net.fit(batches, epochs=1, verbose=0)
        fuzzing.count("fit on batches", "done")
    except (*REFUSALS, fb.DivergedError) as error:
        fuzzing.count("fit on batches", "diverged" if isinstance(error, fb.DivergedError) else "refused")
    assert finite
    assert all_finite(net)
    assert "_fitted_by" not in net.__dict__


names = st.one_of(st.sampled_from(["relu", "softmax", "exp", "ReLU", "sigmoid"]), fuzzing.junk)
# no size between: a network that fills the memory of this machine is no error
huge = st.sampled_from([2**50, 2**51 + 1, 2**62, 2**63, 2**64, 10**30])
small = st.integers(-2, 6)
sizes = often(st.integers(1, 6), st.one_of(fuzzing.junk, small, huge, st.builds(fb.Dense, st.integers(1, 6))))


@FUZZ
@given(st.data())
def test_constructors(extra):
    layers = extra.draw(often(st.lists(sizes, max_size=4), fuzzing.junk), label="layers")
    options = {
        "activation": st.one_of(names, st.lists(names, max_size=3)),
        "output": names,
        "loss": st.one_of(st.sampled_from([*fuzzing.LOSSES, fb.MSE(), fb.MSE, "mes"]), fuzzing.junk),
        "bias": st.one_of(st.booleans(), fuzzing.junk),
        "init": st.one_of(st.sampled_from(["zeros", "orthogonal", "hee"]), fuzzing.arrays((2, 3)), fuzzing.no_function),
        "dtype": st.one_of(st.sampled_from(["float32", "float64", *fuzzing.DTYPES]), fuzzing.junk),
        "seed": st.one_of(st.integers(-1, 2**80), fuzzing.junk),
        "threads": st.one_of(st.integers(-1, 9), fuzzing.junk),
    }
    chosen = extra.draw(st.sets(st.sampled_from(list(options)), max_size=3))
    kwargs = {name: extra.draw(options[name], label=name) for name in chosen}
    try:
        made = attempt("Network", lambda: fb.Network(layers, **kwargs))
    except MemoryError:
        fuzzing.count("Network", "too large")
        made = None
    if made:
        assert all_finite(made[0])
        made[0].predict(np.zeros((2, made[0].n_inputs)))
    kwargs = {"units": extra.draw(sizes), "activation": extra.draw(names), "bias": extra.draw(options["bias"])}
    attempt("Dense", lambda: fb.Dense(**kwargs, init=extra.draw(options["init"])))
    for cls in (fb.Huber, fb.Quantile, fb.CrossEntropy):
        attempt(cls.__name__, lambda cls=cls: cls(extra.draw(st.one_of(fuzzing.numbers, fuzzing.junk))))
