"""Ensembles beside training: callbacks, validation shares, pieces of data, reports, files."""

import json
import os
import pickle
import sys
import tracemalloc

import numpy as np
import pytest
from snapshot import snapshot
from test_ensemble import DTYPES, alone, rows_of, template

import fastbp as fb
from fastbp import ensemble_file, hooks, saving

RUNS = ("threads", "lanes")


def noise(net, n=60, seed=3):
    """Data that is overfitted soon."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, net.n_inputs)).astype(net.dtype), rng.standard_normal((n, net.n_outputs))


def kept(member):
    return snapshot(member) | {"history": {name: v for name, v in member.history.history.items() if name != "seconds"}}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("lr", [0.05, fb.Cosine(0.05)], ids=str)
def test_each_member_stops_early_by_itself_as_a_network_alone(lr, threads):
    net = template()
    X, y = noise(net)
    fit = {"epochs": 30, "batch_size": 8, "optimizer": fb.Adam(lr), "validation_split": 0.3, "metrics": ["mae"]}
    ensemble = fb.Ensemble(net, 5, run="threads", threads=threads)
    stops = [fb.EarlyStopping(patience=1 + i % 2) for i in range(5)]
    histories = ensemble.fit(X, y, callbacks=stops, verbose=0, **fit)
    lengths = set()
    for i, member in enumerate(ensemble):
        stop = fb.EarlyStopping(patience=1 + i % 2)
        twin = alone(net, 20 + i, X, y, callbacks=stop, **fit)
        assert kept(member) == kept(twin), f"member {i}"
        assert (stops[i].best, stops[i].best_epoch, stops[i].stopped) == (stop.best, stop.best_epoch, stop.stopped)
        lengths.add(len(histories[i].epochs))
    assert len(lengths) > 1 and min(lengths) < 30


def test_in_lanes_those_that_go_on_have_the_bits_that_they_have_with_the_others():
    net = template()
    X, y = noise(net)
    fit = {"epochs": 12, "batch_size": 8, "optimizer": fb.Adam(0.05), "verbose": 0}
    whole, some = (fb.Ensemble(net, 20, run="lanes", threads=1) for _ in range(2))
    whole.fit(X, y, **fit)
    ends = [lambda member, history, last=1 + i: len(history.epochs) == last for i in range(20)]
    some.fit(X, y, callbacks=ends, **fit)
    for i, (a, b) in enumerate(zip(whole, some, strict=True)):
        assert len(b.history.epochs) == min(12, 1 + i)
        assert b.history.history["loss"] == a.history.history["loss"][: 1 + i]
        assert i < 11 or (a.params == b.params).all()


def test_callbacks_hear_of_their_member_alone_in_lists_or_by_themselves():
    net, calls = template(), []
    X, y = noise(net)
    ensemble = fb.Ensemble(net, 3)

    class Hooked(fb.callbacks.Callback):
        def begin(self, member, names):
            assert names == ("loss", "lr", "val_loss", "val_r2", "seconds")
            calls.append(("begin", list(ensemble).index(member)))

        def __call__(self, member, history):
            assert history is member.history and len(history.history["val_r2"]) == len(history.epochs)
            calls.append((len(history.epochs), list(ensemble).index(member)))

        def end(self, member, history):
            calls.append(("end", list(ensemble).index(member)))

    shared = Hooked()  # it remembers nothing
    ensemble.fit(X, y, epochs=2, validation_split=0.2, callbacks=[shared, [], (shared, shared)], verbose=0)
    members = [0, 2, 2]
    assert calls == [(what, i) for what in ("begin", 1, 2, "end") for i in members]


def test_a_callback_that_fails_ends_all_and_each_has_its_best_parameters():
    net, calls = template(), []
    X, y = noise(net)
    ensemble, best = fb.Ensemble(net, 3, run="threads"), []

    def fails(member, history):
        if len(history.epochs) == 1:
            best.append(member.params.copy())
        if len(history.epochs) == 3 and member is ensemble[1]:
            raise KeyError("mine")

    class Hooked(fb.callbacks.Callback):
        def end(self, member, history):
            calls.append(len(history.epochs))

    first_is_best = lambda: fb.EarlyStopping("loss", mode="max")  # noqa: E731
    with pytest.raises(KeyError):
        ensemble.fit(X, y, epochs=9, callbacks=[[first_is_best(), fails, Hooked()] for _ in range(3)], verbose=0)
    assert calls == [3, 3, 3]
    for i, member in enumerate(ensemble):
        assert (member.params == best[i]).all(), i
    before = [snapshot(member) for member in ensemble]

    class Refusing(fb.callbacks.Callback):
        def begin(self, member, names):
            raise KeyError("mine")

    with pytest.raises(KeyError):
        ensemble.fit(X, y, callbacks=[Hooked(), Hooked(), Refusing()], optimizer=fb.SGD(0.1), verbose=0)
    assert calls == [3, 3, 3, 0, 0]
    assert [snapshot(member) for member in ensemble] == before


def test_more_members_than_python_can_nest_calls_may_have_callbacks():
    n = sys.getrecursionlimit() + 1
    ensemble = fb.Ensemble(fb.Network([1, 1], loss="mse", seed=0), n)
    stops = [fb.EarlyStopping("loss") for _ in range(n)]
    ensemble.fit(np.ones((2, 1)), np.zeros(2), epochs=1, callbacks=stops, verbose=0)
    assert all(stop.best_epoch == 1 for stop in stops) and not hooks.IN_USE


def test_parameters_that_a_callback_spoils_are_refused():
    ensemble = fb.Ensemble(template(), 2)

    def spoils(member, history):
        member.params[3] = np.nan

    with pytest.raises(fb.DivergedError, match="params: expected finite parameters to train from, got nan at index 3"):
        ensemble.fit(*rows_of(ensemble[0]), epochs=2, callbacks=[[], spoils], verbose=0)
    assert [len(history.epochs) for history in ensemble.histories] == [1, 1]


def test_a_checkpoint_of_the_best_network_is_taken(tmp_path):
    ensemble = fb.Ensemble(template(), 2)
    X, y = rows_of(ensemble[0])
    paths = [tmp_path / "0", tmp_path / "1"]
    saves = [fb.Checkpoint(path, "loss", True) for path in paths]
    ensemble.fit(X, y, epochs=3, callbacks=saves, verbose=0)
    for path, member in zip(paths, ensemble, strict=True):
        assert (fb.load(path).params == member.params).all()


@pytest.mark.parametrize("bootstrap", [False, True])
@pytest.mark.parametrize("run", RUNS)
def test_a_share_of_the_rows_is_validation_data(run, bootstrap):
    net = template()
    X, y = noise(net)
    weights = np.linspace(0.1, 2, 60)
    split, given = (fb.Ensemble(net, 3, run=run, bootstrap=bootstrap) for _ in range(2))
    split.fit(X, y, epochs=2, validation_split=0.25, sample_weight=weights, verbose=0)
    held_out = X[45:], y[45:], weights[45:]
    given.fit(X[:45], y[:45], epochs=2, validation_data=held_out, sample_weight=weights[:45], verbose=0)
    for a, b in zip(split, given, strict=True):
        assert kept(a) == kept(b)
        assert a.history.history["val_loss"][-1] == a.loss(*held_out)


@pytest.mark.parametrize("optimizer", [fb.Adam(0.01), fb.SGD(fb.StepDecay(0.1, every=2)), None], ids=str)
def test_pieces_train_each_member_as_a_network_alone(optimizer):
    net = template()
    ensemble = fb.Ensemble(net, 3, run="threads")
    twins = [fb.Network([3, *net.layers], loss="mse", seed=20 + i, threads=1) for i in range(3)]
    for piece in range(4):
        X, y = rows_of(net, 30, seed=piece)
        if piece == 2:  # its epochs count in its own schedule
            for each in (ensemble[1], twins[1]):
                each.partial_fit(X, y, optimizer=optimizer)
        assert ensemble.partial_fit(X, y, batch_size=8, optimizer=optimizer) is ensemble
        for i, (member, twin) in enumerate(zip(ensemble, twins, strict=True)):
            twin.partial_fit(X, y, batch_size=8, optimizer=optimizer)
            assert kept(member) == kept(twin), (piece, i)
            assert (
                member.history.epochs
                == twin.history.epochs
                == range(piece + 1 + (i == 1 and piece > 1), member.history.epochs.stop)
            )


def test_pieces_keep_rates_of_each_member_and_start_fresh_where_an_optimiser_is_another():
    net = template()
    X, y = rows_of(net)
    ensemble = fb.Ensemble(net, 2, lr=[0.01, 0.02])
    for _ in range(2):
        ensemble.partial_fit(X, y, optimizer=fb.Adam())
    assert [member._engine.steps for member in ensemble] == [4, 4]
    assert [member.optimizer.lr for member in ensemble] == [0.01, 0.02]
    ensemble.partial_fit(X, y, optimizer=fb.Adam(betas=(0.5, 0.9)))
    assert [member._engine.steps for member in ensemble] == [2, 2]
    assert [member.history.epochs for member in ensemble] == [range(1, 2)] * 2
    before = [snapshot(member) for member in ensemble]
    with pytest.raises(ValueError, match="optimizer: expected Cosine"):
        fb.Ensemble(net, 2).partial_fit(X, y, optimizer=fb.SGD(fb.Cosine(0.1)))
    with pytest.raises(TypeError, match="^class_weight: expected a dict or None"):
        ensemble.partial_fit(X, y, class_weight="balanced")
    assert [snapshot(member) for member in ensemble] == before


REPORTS = {
    "mse": ("mse", None, ["r2", "mae"]),
    "huber of tanh": (fb.Huber(0.3), "tanh", ["mse"]),
    "quantile": (fb.Quantile(0.2), None, ["mae"]),
    "mae": ("mae", None, []),
    "poisson": ("poisson", None, ["mse"]),
    "log rates": ("poisson", "identity", []),
    "classes": ("cross_entropy", None, ["accuracy", "auc", "log_loss"]),
    "smoothed": (fb.CrossEntropy(label_smoothing=0.1), None, ["f1"]),
    "class logits": ("cross_entropy", "identity", ["accuracy", "log_loss"]),
    "labels": ("binary_cross_entropy", None, ["accuracy", "log_loss"]),
    "label logits": ("binary_cross_entropy", "identity", ["auc"]),
    "hinge": ("hinge", None, ["accuracy"]),
    "signs": ("hinge", None, ["accuracy"]),
}


def problem(name, dtype):
    loss, output, metrics = REPORTS[name]
    net = fb.Network([4, 6, 3], activation="tanh", loss=loss, output=output, dtype=dtype, seed=5, threads=1)
    rng = np.random.default_rng(6)
    X = rng.standard_normal((40, 4))
    kind = net.objective.name
    classes = kind == "cross_entropy" or name == "hinge"
    y = rng.integers(0, 3, 40) if classes else rng.integers(0, 2, (40, 3)) * (2.0 if name == "signs" else 1.0)
    return net, X, y - 1 if name == "signs" else y, metrics


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", REPORTS)
def test_the_report_of_one_member_is_its_own(name, dtype, weighted):
    """The loss of outputs is that of the network that made them; 1e-5 and 1e-12: logits out of probabilities."""
    net, X, y, metrics = problem(name, dtype)
    weights = np.linspace(0, 3, 40) if weighted else None
    ensemble = fb.Ensemble(net, 1)
    mine, its = (each.evaluate(X, y, metrics, weights) for each in (ensemble, ensemble[0]))
    assert mine.keys() == its.keys()
    assert mine == pytest.approx(its, rel=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("name", REPORTS)
def test_the_report_is_that_of_the_mean_prediction(name):
    net, X, y, metrics = problem(name, "float64")
    ensemble = fb.Ensemble(net, 7)
    mean = ensemble.predict(X)[0]
    report = ensemble.evaluate(X, y, metrics=[*metrics, lambda outputs, targets: float(np.abs(outputs - mean).max())])
    assert report["<lambda>"] == 0
    losses = [member.evaluate(X, y, metrics)["loss"] for member in ensemble]
    assert min(losses) * 0.2 < report["loss"] < np.mean(losses)  # convex in the outputs
    if "mse" in metrics and name == "mse":
        assert report["loss"] == pytest.approx(np.mean((mean - y) ** 2), rel=1e-12)
    if "log_loss" in metrics and name in ("classes", "labels"):
        assert report["loss"] == pytest.approx(report["log_loss"], rel=1e-12)


def test_missing_targets_are_left_out_of_the_report():
    net = fb.Network([3, 2], loss="mse", seed=1, dtype="float64", missing_targets="mask")
    ensemble = fb.Ensemble(net, 3)
    X, y = rows_of(net)
    y[::3, 0] = np.nan
    weights = np.linspace(0.5, 2, len(X))
    report = ensemble.evaluate(X, y, sample_weight=weights)
    wrong, w = (ensemble.predict(X)[0] - y) ** 2, np.repeat(weights[:, None], 2, 1)
    there = ~np.isnan(y)
    assert report["loss"] == pytest.approx(np.average(wrong[there], weights=w[there]), rel=1e-12)


def test_certain_members_have_a_finite_loss():
    net = fb.Network([1, 1], loss="binary_cross_entropy", seed=0)
    ensemble = fb.Ensemble(net, 2)
    for member in ensemble:
        member.params[:] = 1e4
    assert ensemble.predict([1.0])[0] == 1
    assert ensemble.evaluate([[1]], [1])["loss"] < 1e-7
    assert 15 < ensemble.evaluate([[1]], [0])["loss"] < 17


@pytest.mark.parametrize(
    "optimizer", [fb.Adam(0.01), fb.SGD(fb.Warmup(fb.StepDecay(0.1, 2)), momentum=0.9), fb.Rprop()]
)
@pytest.mark.parametrize("run", ["auto", "lanes"])
def test_a_file_holds_the_ensemble(optimizer, run, tmp_path):
    net = template()
    X, y = rows_of(net)
    if run == "lanes" and optimizer != fb.Adam(0.01):
        run = "threads"
    rates = {} if isinstance(optimizer, fb.Rprop) else {"lr": [0.01, 0.02, 0.03]}
    if not isinstance(getattr(optimizer, "lr", 0.0), float):
        rates = {"weight_decay": [0, 0.1, 0.2]}
    ensemble = fb.Ensemble(net, 3, seeds=[5, 1, 2**63], bootstrap=True, run=run, threads=2, **rates)
    ensemble.fit(X, y, epochs=2, optimizer=optimizer, verbose=0)
    ensemble.save(tmp_path / "e.npz")
    again = fb.Ensemble.load(tmp_path / "e.npz")
    for name in ("seeds", "lr", "weight_decay", "bootstrap", "run", "threads"):
        assert getattr(again, name) == getattr(ensemble, name), name
    assert repr(again) == repr(ensemble)
    assert [snapshot(a) | {"history": None} for a in again] == [snapshot(b) | {"history": None} for b in ensemble]
    for each in (ensemble, again):
        each.fit(X, y, epochs=2, verbose=0)
    for a, b in zip(again, ensemble, strict=True):
        assert kept(a) == kept(b)
    assert os.listdir(tmp_path) == ["e.npz"]
    ensemble.save(tmp_path / "e.npz", optimizer=False)
    assert all(member.optimizer is None for member in fb.Ensemble.load(tmp_path / "e.npz"))


def third(epoch):
    return 0.1 / 3**epoch


def test_a_function_for_the_rate_is_given_again(tmp_path):
    ensemble = fb.Ensemble(template(), 2)
    X, y = rows_of(ensemble[0])
    ensemble.fit(X, y, epochs=2, optimizer=fb.SGD(third), verbose=0)
    ensemble[1].fit(X, y, epochs=1, optimizer=fb.SGD(0.5), verbose=0)
    ensemble.save(tmp_path / "e")
    assert [each.optimizer.lr for each in fb.Ensemble.load(tmp_path / "e", lr=third)] == [third, 0.5]
    assert [each.optimizer.lr for each in fb.Ensemble.load(tmp_path / "e")] == [third(1), 0.5]
    with pytest.raises(ValueError, match="lr: expected .*'third', got '<lambda>'"):
        fb.Ensemble.load(tmp_path / "e", lr=lambda epoch: 0.1)
    ensemble.save(tmp_path / "e", optimizer=False)
    with pytest.raises(ValueError, match="lr: expected None"):
        fb.Ensemble.load(tmp_path / "e", lr=third)


def test_networks_and_ensembles_name_who_takes_their_files(tmp_path):
    ensemble = fb.Ensemble(template(), 2)
    ensemble.save(tmp_path / "e")
    ensemble[0].save(tmp_path / "n")
    with pytest.raises(ValueError, match="e: no network can be loaded.*expected a network; fastbp.Ensemble.load takes"):
        fb.load(tmp_path / "e")
    with pytest.raises(ValueError, match="n: no ensemble can be loaded.*expected an ensemble"):
        fb.Ensemble.load(tmp_path / "n")
    with pytest.raises(OSError):
        fb.Ensemble.load(tmp_path / "nothing")
    with pytest.raises(TypeError, match="^path: "):
        ensemble.save(3)


def arrays_of(ensemble, path):
    ensemble.save(path)
    with np.load(path) as archive:
        return dict(archive)


def said(arrays, **changes):
    known = json.loads(arrays["ensemble"].item())
    text = json.dumps({name: value for name, value in (known | changes).items() if value != "drop"})
    return arrays | {"ensemble": np.array(text.encode())}


def other_member(arrays, **kwargs):
    file = pickle.io.BytesIO()
    np.savez(file, **saving.members_of(template(**kwargs)))
    return arrays | {"member1": np.frombuffer(file.getvalue(), np.uint8)}


def without(arrays, *names):
    return {name: array for name, array in arrays.items() if name not in names}


def spoiled(arrays):
    """Another number among the parameters of a member."""
    file = arrays["member0"].copy()
    file[file.tobytes().index(template().params.tobytes()) + 5] ^= 1
    return arrays | {"member0": file}


HOSTILE = {
    "ensemble: expected version 1": lambda a: said(a, version=2),
    "ensemble: expected the keys": lambda a: said(a, run="drop"),
    "members: expected 3, got 2": lambda a: said(a, members=3),
    "members: expected 1000000000000": lambda a: said(a, members=10**12),
    "members: expected an integer >= 1, got 0": lambda a: said(a, members=0),
    "lr: expected 2 numbers": lambda a: said(a, lr=[0.1]),
    "lr: expected a finite number >= 0, got -1": lambda a: said(a, lr=[0.1, -1]),
    "run: expected one of": lambda a: said(a, run="fast"),
    "threads: expected": lambda a: said(a, threads=1000),
    "bootstrap: expected True or False": lambda a: said(a, bootstrap=1),
    "member1: not in the file": lambda a: without(a, "member1") | {"member2": a["member1"]},
    "member1: layers other": lambda a: other_member(a, sizes=[3, 7, 6, 2]),
    "member1: dtype other": lambda a: other_member(a, dtype="float64"),
    "member1: objective other": lambda a: other_member(a, loss="mae"),
    "member1: missing_targets other": lambda a: other_member(a, missing_targets="mask"),
    "ensemble: expected up to": lambda a: without(a, "ensemble"),
    "File is not a zip file": lambda a: a | {"member0": a["member0"][:-30]},
    "Bad CRC-32": spoiled,
    "member0: expected an array": lambda a: a | {"member0": a["member0"][:, None]},
    "unknown or there twice": lambda a: a | {"params": np.zeros(3)},
    "member0: expected a file": lambda a: a | {"member0": a["member0"][:0]},
}


@pytest.mark.parametrize("message", HOSTILE)
def test_hostile_files_of_ensembles_are_refused_with_the_reason(message, tmp_path):
    path = tmp_path / "e.npz"
    np.savez(path, **HOSTILE[message](arrays_of(fb.Ensemble(template(), 2), path)))
    tracemalloc.start()
    with pytest.raises(
        ValueError, match=f"(?s)e.npz: no ensemble can be loaded from this file: .*(?:{message})"
    ) as caught:
        fb.Ensemble.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(caught.value)) < 500
    assert peak < 3 * path.stat().st_size + 64e6


def test_every_shorter_file_of_an_ensemble_is_refused(tmp_path):
    path = tmp_path / "e"
    fb.Ensemble(fb.Network([1, 1], seed=0, loss="mse"), 2).save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="no ensemble can be loaded"):
            fb.Ensemble.load(path)


BAD_FITS = {
    r"callbacks: expected 3 entries, one for each member, got 1": {"callbacks": [fb.EarlyStopping("loss")]},
    r"callbacks: expected a sequence with an entry for each member, got <function": {"callbacks": third},
    r"callbacks\[1\]: expected a callable or a list of callables for member 1, got None": {"callbacks": [[], None, []]},
    r"callbacks\[2\]: expected a callable or a list of callables": {"callbacks": [[], [], [3]]},
    r"callbacks\[1\]: expected objects, got the class EarlyStopping": {"callbacks": [[], fb.EarlyStopping, []]},
    r"callbacks\[0\]: expected no Checkpoint that keeps a training": {"callbacks": [fb.Checkpoint("n"), [], []]},
    r"monitor: expected one of loss, lr, seconds, got 'val_loss'": {"callbacks": [[], fb.EarlyStopping(), []]},
    r"validation_split: expected 0 beside validation_data": {
        "validation_split": 0.5, "validation_data": (np.zeros((4, 3)), np.zeros((4, 2))),
    },
    r"validation_split: expected a finite number >= 0 and < 1, got 1": {"validation_split": 1},
    r"validation_split: expected rows on both sides": {"validation_split": 0.01},
    r"validation_data\[2\]: expected shape \(4,\)": {"validation_data": (np.zeros((4, 3)), np.zeros((4, 2)), [1])},
}  # fmt: skip


@pytest.mark.parametrize("message", BAD_FITS)
def test_bad_arguments_are_named_and_change_nothing(message):
    ensemble = fb.Ensemble(template(), 3)
    before = [snapshot(member) for member in ensemble]
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        ensemble.fit(np.zeros((4, 3)), np.zeros((4, 2)), optimizer=fb.SGD(0.1), verbose=0, **BAD_FITS[message])
    assert [snapshot(member) for member in ensemble] == before


def test_one_early_stopping_for_all_is_refused_with_the_reason():
    ensemble = fb.Ensemble(template(), 3)
    before = [snapshot(member) for member in ensemble]
    message = "^callbacks: expected for each fit its own EarlyStopping, got one that is in another fit"
    with pytest.raises(RuntimeError, match=message):
        ensemble.fit(*rows_of(ensemble[0]), callbacks=[fb.EarlyStopping("loss")] * 3, verbose=0)
    assert [snapshot(member) for member in ensemble] == before


def test_the_names_of_ways_to_run_are_those_of_the_constructor():
    for run in ensemble_file.RUNS:
        assert fb.Ensemble(template(), 1, run=run).run == run
