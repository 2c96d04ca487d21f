"""Ensembles: members are what each network trained alone would be, to the bit on threads and to rounding in lanes."""

import copy
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest
from problems import ACTIVATIONS, LOSSES, draw_targets, stable_seed, vector_lanes
from snapshot import snapshot

import fastbp as fb
from fastbp import config
from fastbp import losses as losses_

DTYPES = ("float32", "float64")
OPTIMIZERS = [
    fb.SGD(0.05),
    fb.SGD(0.05, momentum=0.9),
    fb.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    fb.Adam(0.01),
    fb.Adam(0.01, weight_decay=0.01),
    fb.AdamW(0.01, weight_decay=0.1),
]
NOT_IN_LANES = [
    fb.NAdam(),
    fb.RMSprop(momentum=0.5),
    fb.Adagrad(),
    fb.Adam(amsgrad=True),
    fb.SGD(0.05, l1=0.01),
    fb.Adam(clip_norm=0.1),
    fb.AdamW(decay_bias=False),
]
SIZES = [3, 7, 5, 2]


def template(loss="mse", dtype="float32", activation="tanh", sizes=SIZES, **kwargs):
    return fb.Network(sizes, activation=activation, loss=loss, dtype=dtype, seed=20, threads=1, **kwargs)


def rows_of(net, n=45, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, net.n_inputs)).astype(net.dtype)
    return X, np.tanh(X @ rng.standard_normal((net.n_inputs, net.n_outputs))).astype(net.dtype)


def alone(net, seed, *data, **fit):
    """The network of that seed trained by itself."""
    twin = fb.Network(
        [net.n_inputs, *net.layers], loss=net.objective, dtype=net.dtype, seed=seed, threads=1,
        missing_targets=net.missing_targets,
    )  # fmt: skip
    twin.fit(*data, verbose=0, **fit)
    return twin


def way(a, b, start):
    """How far apart two vectors of parameters are, relative to the longer way that they have come."""
    gone = max(np.linalg.norm(a - start), np.linalg.norm(b - start))
    return np.linalg.norm(a.astype(float) - b.astype(float)) / gone


# Relative to the way gone: ten times what was found, 3e-7 and 1e-15. One step with a wrong row, rate or correction
# makes 1e-3.
CLOSE = {"float32": 3e-6, "float64": 1e-14}
PROMISED = {"float32": 1e-6, "float64": 1e-14}  # relative to the parameters themselves


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("optimizer", OPTIMIZERS + NOT_IN_LANES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_on_threads_members_have_the_bits_of_networks_trained_alone(dtype, optimizer, threads):
    net = template(dtype=dtype)
    X, y = rows_of(net)
    fit = {"epochs": 3, "batch_size": 8, "optimizer": optimizer, "validation_data": (X[:9], y[:9])}
    ensemble = fb.Ensemble(net, 5, run="threads", threads=threads)
    histories = ensemble.fit(X, y, verbose=0, **fit)
    for i, member in enumerate(ensemble):
        twin = alone(net, 20 + i, X, y, **fit)
        assert snapshot(member) | {"history": None} == snapshot(twin) | {"history": None}, f"member {i}"
        assert histories[i].history.keys() == twin.history.history.keys()
        for name in ("loss", "val_loss", "val_r2", "lr"):
            assert histories[i].history[name] == twin.history.history[name], f"member {i}, {name}"


@pytest.mark.parametrize("batch_size", [1, 2, 300])
@pytest.mark.parametrize("optimizer", [fb.SGD(0.02), fb.Adam(0.01)], ids=str)
def test_every_way_of_a_step_gives_the_same_bits_on_threads(optimizer, batch_size):
    """Row by row, few rows, blocks whose gradients are summed."""
    net = template(loss="cross_entropy", activation="gelu", sizes=[3, 40, 4])
    X, _ = rows_of(net, 700)
    y = np.arange(700) % 4
    fit = {"epochs": 2, "batch_size": batch_size, "optimizer": optimizer}
    ensemble = fb.Ensemble(net, 3, run="threads", threads=2)
    ensemble.fit(X, y, verbose=0, **fit)
    for i, member in enumerate(ensemble):
        assert member.params.tobytes() == alone(net, 20 + i, X, y, **fit).params.tobytes(), f"member {i}"


def test_a_second_fit_goes_on_with_the_state_of_the_first():
    net = template()
    X, y = rows_of(net)
    for run in ("threads", "lanes"):
        once = fb.Ensemble(net, 4, run=run)
        once.fit(X, y, epochs=4, optimizer=fb.Adam(0.01), verbose=0)
        twice = fb.Ensemble(net, 4, run=run)
        twice.fit(X, y, epochs=1, optimizer=fb.Adam(0.01), verbose=0)
        twice.fit(X, y, epochs=3, verbose=0)
        for a, b in zip(once, twice, strict=True):
            assert a._engine.steps == b._engine.steps == 8
            assert a.params.tobytes() == b.params.tobytes(), run


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_in_lanes_members_agree_with_networks_trained_alone(dtype, optimizer, extra):
    """A vector less one network, a full one, and one network more, which has the next vector to itself."""
    net = template(dtype=dtype)
    X, y = rows_of(net)
    fit = {"epochs": 3, "batch_size": 8, "optimizer": optimizer}
    ensemble = fb.Ensemble(net, vector_lanes(dtype) + extra, run="lanes", threads=2)
    histories = ensemble.fit(X, y, verbose=0, **fit)
    for i, member in enumerate(ensemble):
        start = fb.Network([net.n_inputs, *net.layers], loss="mse", dtype=dtype, seed=20 + i).params
        twin = alone(net, 20 + i, X, y, **fit)
        assert way(member.params, twin.params, start) < CLOSE[dtype], f"member {i}"
        far = np.linalg.norm(member.params.astype(float) - twin.params) / np.linalg.norm(twin.params)
        assert far < PROMISED[dtype], f"member {i}"
        assert member._engine.steps == twin._engine.steps
        for name in ("first", "second"):
            mine, its = (np.asarray(getattr(n._engine, name)) for n in (member, twin))
            np.testing.assert_allclose(mine, its, rtol=0, atol=CLOSE[dtype] * (1 + np.abs(its).max(initial=0)))
        np.testing.assert_allclose(histories[i].history["loss"], twin.history.history["loss"], rtol=CLOSE[dtype])


def lanes_against_alone(net, X, y, dtype, limit, **fit):
    ensemble = fb.Ensemble(net, vector_lanes(dtype), run="lanes", threads=1)
    histories = ensemble.fit(X, y, verbose=0, **fit)
    for i, member in enumerate(ensemble):
        start = fb.Network([net.n_inputs, *net.layers], loss=net.objective, dtype=dtype, seed=20 + i).params
        twin = alone(net, 20 + i, X, y, **fit)
        assert way(member.params, twin.params, start) < limit, f"member {i}"
        np.testing.assert_allclose(histories[i].history["loss"], twin.history.history["loss"], rtol=limit, atol=limit)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_activation_agrees_in_lanes(dtype, activation):
    """In the hidden layers and at the output, where the derivative goes another way. Five steps: SGD, which does not
    magnify the rounding of gradients as Adam does where they are small. The worst found: softmax, 1e-6 and 4e-15."""
    small = 0.2 if activation == "exp" else 0.6  # the exponential of an exponential soon overflows
    net = template(dtype=dtype, activation=activation, output=activation, bias=activation != "relu",
                   init=lambda shape, rng: small * rng.standard_normal(shape))  # fmt: skip
    X, y = rows_of(net, 20)
    lanes_against_alone(net, X, y, dtype, {"float32": 5e-6, "float64": 5e-14}[dtype], epochs=1, batch_size=4,
                        optimizer=fb.SGD(0.05))  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("variant", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_loss_agrees_in_lanes(dtype, variant, weighted):
    name, parameters = LOSSES[variant]
    net = template(losses_.CLASSES[name](**parameters), dtype=dtype, sizes=[3, 6, 4])
    rng = np.random.default_rng(stable_seed(variant))
    X, t = rng.standard_normal((20, 3)), draw_targets(variant, rng, 20, 4)
    fit = {"epochs": 1, "batch_size": 4, "optimizer": fb.SGD(0.05)}
    if weighted:
        fit["sample_weight"] = rng.uniform(0.2, 2, 20)
    lanes_against_alone(net, X, t, dtype, {"float32": 5e-6, "float64": 5e-14}[dtype], **fit)


@pytest.mark.parametrize("sizes", [[1, 1], [2, 3, 1], [5, 4, 9, 3], [17, 33, 6], [30, 70, 2]], ids=str)
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_every_tile_of_the_product_agrees_in_lanes(sizes, batch_size):
    """Widths and rows of whole tiles and of all remainders; batches of several blocks of rows; float64."""
    net = template(dtype="float64", sizes=sizes)
    X, y = rows_of(net, 67)
    lanes_against_alone(net, X, y, "float64", 1e-12, epochs=1, batch_size=batch_size, optimizer=fb.SGD(0.02))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("run", ["threads", "lanes"])
def test_thread_counts_change_no_bit(run, shuffle):
    net = template()
    X, y = rows_of(net, 200)
    results = set()
    for threads in (1, 2, 3, 4):
        ensemble = fb.Ensemble(net, 21, run=run, threads=threads)
        ensemble.fit(X, y, epochs=2, batch_size=16, shuffle=shuffle, verbose=0)
        results.add(b"".join(member.params.tobytes() for member in ensemble))
    assert len(results) == 1


@pytest.mark.parametrize("run", ["threads", "lanes"])
def test_members_have_their_own_learning_rates_and_decays(run):
    net = template(dtype="float64")
    X, y = rows_of(net)
    lrs, decays = [0.0, 0.001, 0.01, 0.05], [0.0, 0.5, 0.1, 0.0]
    ensemble = fb.Ensemble(net, 4, lr=lrs, weight_decay=decays, run=run)
    starts = [member.params.copy() for member in ensemble]
    ensemble.fit(X, y, epochs=3, optimizer=fb.AdamW(), verbose=0)
    assert (ensemble[0].params == starts[0]).all()
    for i in range(1, 4):
        twin = alone(net, 20 + i, X, y, epochs=3, optimizer=fb.AdamW(lrs[i], weight_decay=decays[i]))
        assert way(ensemble[i].params, twin.params, starts[i]) < (1e-12 if run == "lanes" else 1e-300), f"member {i}"
        assert ensemble[i].history.history["lr"] == [lrs[i]] * 3


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("run", ["threads", "lanes"])
def test_bootstrap_weighs_rows_by_how_often_they_were_drawn(run, weighted):
    net = template(dtype="float64")
    X, y = rows_of(net)
    given = np.random.default_rng(3).uniform(0.5, 2, len(X)) if weighted else None
    ensemble = fb.Ensemble(net, 5, bootstrap=True, run=run)
    times = ensemble.multiplicities(len(X))
    assert times.shape == (5, len(X))
    assert (times.sum(axis=1) == len(X)).all()
    assert len({row.tobytes() for row in times}) == 5
    assert 0.2 < (times == 0).mean() < 0.55  # 1 - 1/e of the rows are drawn
    ensemble.fit(X, y, epochs=3, sample_weight=given, verbose=0)
    for i, member in enumerate(ensemble):
        start = fb.Network([net.n_inputs, *net.layers], loss="mse", dtype="float64", seed=20 + i).params
        twin = alone(net, 20 + i, X, y, epochs=3, sample_weight=times[i] * (1 if given is None else given))
        assert way(member.params, twin.params, start) < (1e-12 if run == "lanes" else 1e-300), f"member {i}"


def test_class_weights_are_those_of_a_network_alone():
    net = template("cross_entropy")
    X, _ = rows_of(net)
    y = (np.arange(len(X)) % 5 == 0).astype(int)
    ensemble = fb.Ensemble(net, 2, run="threads")
    ensemble.fit(X, y, epochs=2, class_weight="balanced", verbose=0)
    twin = alone(net, 21, X, y, epochs=2, class_weight="balanced")
    assert ensemble[1].params.tobytes() == twin.params.tobytes()


def test_prediction_is_the_mean_and_the_spread_of_the_members():
    net = template("cross_entropy")
    ensemble = fb.Ensemble(net, 6)
    X, _ = rows_of(net)
    outputs = ensemble.predict_all(X)
    assert outputs.shape == (6, 45, 2)
    for i, member in enumerate(ensemble):
        assert (outputs[i] == member.predict(X)).all()
    mean, std = ensemble.predict(X)
    assert mean.dtype == std.dtype == net.dtype
    np.testing.assert_allclose(mean, outputs.astype(float).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, outputs.astype(float).std(axis=0), rtol=1e-6)
    np.testing.assert_allclose(mean.sum(axis=1), 1, rtol=1e-6)
    mean, std = ensemble.predict(X[0])
    assert mean.shape == std.shape == (2,)


def test_members_are_live_networks():
    ensemble = fb.Ensemble(template(), 3)
    assert len(ensemble) == len(list(ensemble)) == 3
    assert ensemble[-1] is list(ensemble)[2]
    ensemble[1].params[:] = 0
    assert (ensemble.predict_all(np.ones((2, 3)))[1] == 0).all()
    X, y = rows_of(ensemble[0])
    ensemble[2].fit(X, y, epochs=1, verbose=0)
    with pytest.raises(IndexError):
        ensemble[3]


def test_seeds_follow_from_the_net_or_are_given_or_drawn():
    assert fb.Ensemble(template(), 3).seeds == (20, 21, 22)
    given = fb.Ensemble(template(), 2, seeds=[7, 7])
    assert (given[0].params == given[1].params).all()
    a, b = (fb.Ensemble(fb.Network([2, 3, 1], loss="mse"), 4) for _ in range(2))
    assert len({*a.seeds, *b.seeds}) == 8


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("run", ["threads", "lanes"])
def test_a_copy_goes_on_like_the_original(copied, run):
    net = template()
    X, y = rows_of(net)
    ensemble = fb.Ensemble(net, 5, lr=[0.01] * 5, bootstrap=True, run=run)
    ensemble.fit(X, y, epochs=1, optimizer=fb.Adam(), verbose=0)
    twin = copied(ensemble)
    ensemble.fit(X, y, epochs=2, verbose=0)
    twin.fit(X, y, epochs=2, verbose=0)
    for a, b in zip(ensemble, twin, strict=True):
        assert snapshot(a) | {"history": None} == snapshot(b) | {"history": None}
        assert not np.may_share_memory(a.params, b.params)


@pytest.mark.parametrize("optimizer", [fb.SGD(0.01), fb.Adam(0.01)], ids=str)
@pytest.mark.parametrize("run", ["threads", "lanes"])
def test_a_member_that_diverges_keeps_its_last_finite_parameters_and_leaves_the_others_alone(run, optimizer):
    net = template()
    X, y = rows_of(net)
    n = vector_lanes("float32") + 2
    wild = 1e30 if isinstance(optimizer, fb.SGD) else 1e36
    lrs = [0.01] * n
    lrs[1] = lrs[n - 1] = wild
    calm = fb.Ensemble(net, n, lr=[0.01] * n, run=run)
    calm.fit(X, y, epochs=3, batch_size=8, optimizer=optimizer, verbose=0)
    ensemble = fb.Ensemble(net, n, lr=lrs, run=run)
    named = rf"diverged in 2 of {n} members: member 1 in epoch 1, batch \d+; member {n - 1} in epoch 1"
    with pytest.raises(fb.DivergedError, match=named):
        ensemble.fit(X, y, epochs=3, batch_size=8, optimizer=optimizer, verbose=0)
    for i in range(n):
        assert np.isfinite(ensemble[i].params).all()
        assert len(ensemble.histories[i].history["loss"]) == (0 if i in (1, n - 1) else 3)
        if i not in (1, n - 1):
            start = fb.Network([net.n_inputs, *net.layers], loss="mse", seed=20 + i).params
            assert way(ensemble[i].params, calm[i].params, start) < (CLOSE["float32"] if run == "lanes" else 1e-300)
    twin = fb.Network([net.n_inputs, *net.layers], loss="mse", seed=21)
    with pytest.raises(fb.DivergedError):
        twin.fit(X, y, epochs=3, batch_size=8, optimizer=type(optimizer)(wild), verbose=0)
    assert ensemble[1]._engine.steps == twin._engine.steps
    np.testing.assert_allclose(ensemble[1].params, twin.params, rtol=1e-4)


def test_an_update_without_bound_is_refused_in_lanes_as_alone():
    """With these betas the mean may be any multiple of the root of squares, and eps is all that is left below it."""
    net = template()
    X, y = rows_of(net)
    optimizer = fb.Adam(betas=(0.9, 0.0), eps=1e-35)
    with pytest.raises(fb.DivergedError, match="epoch 1, batch 1"):
        alone(net, 20, X, y, optimizer=optimizer)
    ensemble = fb.Ensemble(net, 3, run="lanes")
    with pytest.raises(fb.DivergedError, match="3 of 3 members: member 0 in epoch 1, batch 1;"):
        ensemble.fit(X, y, optimizer=optimizer, verbose=0)


@pytest.mark.parametrize("optimizer", NOT_IN_LANES, ids=str)
def test_what_lanes_do_not_know_is_refused_there_and_auto_takes_threads(optimizer):
    net = template()
    X, y = rows_of(net)
    ensemble = fb.Ensemble(net, 2 * vector_lanes("float32"), run="lanes", threads=2)
    before = [snapshot(member) for member in ensemble]
    with pytest.raises(ValueError, match="run: expected 'threads' or 'auto' with"):
        ensemble.fit(X, y, optimizer=optimizer, verbose=0)
    assert [snapshot(member) for member in ensemble] == before
    ensemble.run = "auto"
    ensemble.fit(X, y, epochs=2, optimizer=optimizer, verbose=0)
    twin = alone(net, 25, X, y, epochs=2, optimizer=optimizer)
    assert ensemble[5].params.tobytes() == twin.params.tobytes()


@pytest.mark.parametrize("bootstrap", [False, True])
def test_missing_targets_are_left_out_as_by_a_network_alone(bootstrap):
    net = template(missing_targets="mask")
    X, y = rows_of(net)
    y[np.random.default_rng(1).random(y.shape) < 0.4] = np.nan
    ensemble = fb.Ensemble(net, 3, bootstrap=bootstrap)
    fit = {"epochs": 3, "batch_size": 8, "validation_data": (X, y)}
    ensemble.fit(X, y, verbose=0, **fit)
    for i, member in enumerate(ensemble):
        weights = ensemble.multiplicities(len(X))[i] if bootstrap else None
        twin = alone(net, 20 + i, X, y, sample_weight=weights, **fit)
        assert member.missing_targets == "mask" and member.params.tobytes() == twin.params.tobytes(), i
        for name in ("loss", "val_loss", "val_r2"):
            assert member.history.history[name] == twin.history.history[name], (i, name)


MIXED = {
    "one without": [fb.SGD(0.05, momentum=0.5), None, fb.SGD(0.05)],
    "numbers and schedules": [fb.SGD(0.05), fb.SGD(fb.Cosine(0.05)), fb.SGD(lambda epoch: 0.1 / (epoch + 1))],
    "schedules and numbers": [fb.Adam(fb.OneCycle(0.05)), fb.Adam(0.05), fb.SGD(0.05)],
    "rprop": [fb.Adam(), fb.Rprop(), fb.Adam(0.1)],
}


@pytest.mark.parametrize("mixed", MIXED)
def test_each_member_continues_the_optimiser_that_it_has(mixed):
    net = template()
    X, y = rows_of(net)
    ensemble = fb.Ensemble(net, 3)
    twins = [member.copy() for member in ensemble]
    for member, twin, optimizer in zip(ensemble, twins, MIXED[mixed], strict=True):
        if optimizer is not None:
            for each in (member, twin):
                each.fit(X, y, epochs=1, batch_size=45, optimizer=optimizer, verbose=0)
    batch_size = None if mixed == "rprop" else 8
    ensemble.fit(X, y, epochs=3, batch_size=batch_size, verbose=0)
    for member, twin in zip(ensemble, twins, strict=True):
        twin.fit(X, y, epochs=3, batch_size=batch_size or 45, verbose=0)
        assert member.params.tobytes() == twin.params.tobytes(), twin.optimizer
        assert member.history.history["lr"] == twin.history.history["lr"]
        assert member.optimizer == twin.optimizer


def test_in_lanes_members_may_have_taken_different_numbers_of_steps():
    net = template(dtype="float64")
    X, y = rows_of(net)
    ensemble = fb.Ensemble(net, 3, run="lanes")
    ensemble.fit(X, y, epochs=1, optimizer=fb.Adam(0.01), verbose=0)
    ensemble[1].fit(X, y, epochs=4, verbose=0)
    twins = [member.copy() for member in ensemble]
    ensemble.fit(X, y, epochs=3, verbose=0)
    for member, twin in zip(ensemble, twins, strict=True):
        start = twin.params.copy()
        twin.fit(X, y, epochs=3, verbose=0)
        assert way(member.params, twin.params, start) < CLOSE["float64"]


def test_a_member_that_has_no_first_order_optimiser_is_named():
    net = template()
    X, y = rows_of(net)
    ensemble = fb.Ensemble(net, 2)
    for member in ensemble:
        member.fit(X, y, epochs=1, optimizer=fb.LevenbergMarquardt(), verbose=0)
    before = [snapshot(member) for member in ensemble]
    with pytest.raises(TypeError, match="^optimizer: expected a first-order optimiser for member 0, which has Levenb"):
        ensemble.fit(X, y, verbose=0)
    assert [snapshot(member) for member in ensemble] == before


def test_an_interrupt_leaves_no_epoch_in_some_lists_only(monkeypatch):
    net = template()
    X, y = rows_of(net)
    ensemble = fb.Ensemble(net, 3)

    def interrupted(history, entry):
        history._names = tuple(entry)
        history.history["loss"].append(entry["loss"])
        raise KeyboardInterrupt

    monkeypatch.setattr("fastbp.history.History.append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ensemble.fit(X, y, verbose=0)
    assert [len(member.history.epochs) for member in ensemble] == [0] * 3


def test_rprop_takes_all_rows_at_once():
    net = template()
    X, y = rows_of(net)
    ensemble = fb.Ensemble(net, 2)
    with pytest.raises(ValueError, match="batch_size: expected None or all 45 rows"):
        ensemble.fit(X, y, batch_size=32, optimizer=fb.Rprop(), verbose=0)
    ensemble.fit(X, y, epochs=3, optimizer=fb.Rprop(), verbose=0)
    twin = alone(net, 21, X, y, epochs=3, batch_size=45, optimizer=fb.Rprop())
    assert ensemble[1].params.tobytes() == twin.params.tobytes()


def test_divergence_may_be_returned_instead():
    net = template()
    X, y = rows_of(net)
    ensemble = fb.Ensemble(net, 2, lr=[0.01, 1e36])
    histories = ensemble.fit(X, y, epochs=2, optimizer=fb.Adam(), on_divergence="return", verbose=0)
    assert [len(history.history["loss"]) for history in histories] == [2, 0]


def test_auto_takes_lanes_for_small_networks_that_fill_them(monkeypatch):
    ran = []
    core = config.engine_module(np.dtype("float32"))

    class Watched:
        lanes = staticmethod(core.lanes)

        @staticmethod
        def train_many(*arguments):
            ran.append(arguments[10])
            return core.train_many(*arguments)

    net, wide = template(), template(sizes=[3, 400, 2])
    X, y = rows_of(net)
    many = core.lanes() * 2
    ensembles = [
        (True, fb.Ensemble(net, many, threads=2), fb.Adam()),
        (False, fb.Ensemble(net, core.lanes(), threads=2), fb.Adam()),
        (False, fb.Ensemble(wide, many, threads=2), fb.Adam()),
        (True, fb.Ensemble(wide, 1, threads=2, run="lanes"), fb.Adam()),
        (False, fb.Ensemble(net, many, threads=2, run="threads"), fb.Adam()),
    ]
    monkeypatch.setattr(config, "engine_module", lambda dtype: Watched)
    for _, ensemble, optimizer in ensembles:
        ensemble.fit(X, y, epochs=1, optimizer=optimizer, verbose=0)
    assert ran == [expected for expected, _, _ in ensembles]


@pytest.mark.parametrize("run", ["threads", "lanes"])
def test_ctrl_c_stops_between_steps_and_everything_stays_usable(run):
    net = template(sizes=[20, 20, 10])
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20000, 20)).astype("f"), rng.standard_normal((20000, 10)).astype("f")
    ensemble = fb.Ensemble(net, 40, run=run, threads=2)
    ensemble.fit(X[:100], y[:100], epochs=1, verbose=0)
    pressed = []

    def press():
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.5, press)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        ensemble.fit(X, y, epochs=100000, verbose=0)
    assert time.monotonic() - pressed[0] < 30  # whatever the machine is busy with; bench measures
    for member in ensemble:
        assert np.isfinite(member.params).all()
        assert "_fitted_by" not in member.__dict__
        lengths = {len(values) for values in member.history.history.values()}
        assert len(lengths) == 1
    ensemble.fit(X[:100], y[:100], epochs=1, verbose=0)


@pytest.mark.parametrize("run", ["threads", "lanes"])
def test_members_answer_other_threads_while_they_train(run):
    ensemble = fb.Ensemble(template(), 4, run=run, threads=2)
    X, y = rows_of(ensemble[0], 2000)
    trainer = threading.Thread(target=lambda: ensemble.fit(X, y, epochs=60, batch_size=4, verbose=0))
    trainer.start()
    answers = 0
    while trainer.is_alive():
        assert np.isfinite(ensemble.predict_all(X[:5])).all()
        answers += 1
    trainer.join()
    assert answers > 0
    assert all(len(history.history["loss"]) == 60 for history in ensemble.histories)


def test_a_member_is_fitted_once_at_a_time():
    net = template()
    X, y = rows_of(net)
    ensemble = fb.Ensemble(net, 3)
    before = [snapshot(member) for member in ensemble]

    def fit_the_ensemble(_, history):
        ensemble.fit(X, y, verbose=0)

    with pytest.raises(RuntimeError, match="being fitted already"):
        ensemble[1].fit(X, y, epochs=1, verbose=0, callbacks=fit_the_ensemble)
    assert snapshot(ensemble[0]) == before[0]
    assert snapshot(ensemble[2]) == before[2]


def custom():
    class Squares:
        def value_and_delta(self, outputs, targets):
            return float(((outputs - targets) ** 2).mean()), 2 * (outputs - targets) / outputs.size

    return fb.Network([3, 2], loss=Squares())


BAD_CONSTRUCTIONS = {
    "net: expected a Network, got": lambda: fb.Ensemble([3, 2], 2),
    "net: expected one of fastbp's own losses": lambda: fb.Ensemble(custom(), 2),
    "n: expected an integer >= 1, got 0": lambda: fb.Ensemble(template(), 0),
    "n: expected an integer, got 2.0": lambda: fb.Ensemble(template(), 2.0),
    "seeds: expected 2 entries, one for each member, got 3": lambda: fb.Ensemble(template(), 2, seeds=[1, 2, 3]),
    r"seeds\[1\]: expected an integer >= 0, got -1": lambda: fb.Ensemble(template(), 2, seeds=[1, -1]),
    "seeds: expected a sequence": lambda: fb.Ensemble(template(), 2, seeds=5),
    "lr: expected a sequence with an entry for each member": lambda: fb.Ensemble(template(), 2, lr=0.1),
    r"lr\[0\]: expected a finite number >= 0, got nan": lambda: fb.Ensemble(template(), 2, lr=[np.nan, 1]),
    r"weight_decay\[1\]: expected a finite number >= 0": lambda: fb.Ensemble(template(), 2, weight_decay=[0, -1]),
    "bootstrap: expected True or False": lambda: fb.Ensemble(template(), 2, bootstrap=1),
    "run: expected one of 'auto', 'lanes', 'threads', got 'lane'": lambda: fb.Ensemble(template(), 2, run="lane"),
    "threads: expected an integer >= 1": lambda: fb.Ensemble(template(), 2, threads=0),
}


@pytest.mark.parametrize("message", BAD_CONSTRUCTIONS)
def test_bad_arguments_of_an_ensemble_are_named(message):
    with pytest.raises((TypeError, ValueError), match=message):
        BAD_CONSTRUCTIONS[message]()


BAD_FITS = {
    r"X: expected shape \(n, 3\)": {"X": np.zeros((4, 2))},
    "X: expected finite numbers": {"X": np.full((4, 3), np.nan)},
    "y: expected 4 rows": {"y": np.zeros((5, 2))},
    "epochs: expected an integer >= 1": {"epochs": 0},
    "batch_size: expected an integer >= 1": {"batch_size": 0},
    "optimizer: expected": {"optimizer": "adam"},
    "optimizer: expected lr within the range": {"optimizer": fb.SGD(1e39)},
    "shuffle: expected True or False": {"shuffle": 1},
    "verbose: expected one of": {"verbose": 3},
    "on_divergence: expected one of 'raise', 'return'": {"on_divergence": "ignore"},
    "sample_weight: expected weights >= 0": {"sample_weight": [1, -1, 1, 1]},
    "class_weight: expected None with mse": {"class_weight": "balanced"},
    r"validation_data\[0\]: expected shape": {"validation_data": (np.zeros((2, 2)), np.zeros((2, 2)))},
    "validation_data: expected a pair": {"validation_data": 3},
    "metrics: expected None without validation data": {"metrics": ["r2"]},
    "monitor: expected one of loss, lr, seconds, got 'val_loss'": {"optimizer": fb.SGD(fb.Plateau(0.1))},
}


@pytest.mark.parametrize("message", BAD_FITS)
def test_bad_arguments_of_fit_are_named_and_change_nothing(message):
    ensemble = fb.Ensemble(template(), 3)
    before = [snapshot(member) for member in ensemble]
    arguments = {"X": np.zeros((4, 3)), "y": np.zeros((4, 2)), "verbose": 0} | BAD_FITS[message]
    with pytest.raises((TypeError, ValueError), match=message):
        ensemble.fit(**arguments)
    assert [snapshot(member) for member in ensemble] == before


def test_parameters_that_are_not_finite_are_refused_before_anything_changes():
    ensemble = fb.Ensemble(template(), 3)
    ensemble[1].params[4] = np.nan
    before = [snapshot(member) for member in ensemble]
    with pytest.raises(fb.DivergedError, match="params: expected finite parameters"):
        ensemble.fit(np.zeros((4, 3)), np.zeros((4, 2)), verbose=0)
    assert [snapshot(member) for member in ensemble] == before


def test_progress_is_one_line(capsys):
    ensemble = fb.Ensemble(template(), 2)
    ensemble.fit(np.zeros((4, 3)), np.zeros((4, 2)), epochs=2, verbose=1)
    shown = capsys.readouterr().err
    assert shown.startswith("epoch 2/2 [")
    assert shown.count("\n") == 1
