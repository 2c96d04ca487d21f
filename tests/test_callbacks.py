"""Callbacks of the package: stopping early, saving after epochs, hooks at the beginning and the end."""

import contextlib
import linecache
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from snapshot import snapshot

import fastbp as fb
from fastbp import hooks
from fastbp.callbacks import Callback, Monitor

RNG = np.random.default_rng(8)
X = RNG.standard_normal((40, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 40)
HELD_OUT = RNG.standard_normal((20, 4)).astype(np.float32), RNG.integers(0, 3, 20)


def make():
    return fb.Network([4, 16, 3], activation="tanh", seed=2)


def fit(net, epochs=60, callbacks=(), **kwargs):
    """Overfits: the labels are noise."""
    run = {"optimizer": fb.Adam(0.03), "validation_data": HELD_OUT, "verbose": 0, **kwargs}
    return net.fit(X, LABELS, epochs=epochs, callbacks=callbacks, **run)


class Scripted:
    """A metric whose values are given, one for each epoch."""

    __name__ = "scripted"

    def __init__(self, values):
        self.values = iter(values)

    def __call__(self, outputs, targets):
        return next(self.values)


@pytest.mark.parametrize(
    ("values", "options", "epochs", "best_epoch"),
    [
        ([3, 2, 1, 1, 1, 1], {"patience": 2}, 5, 3),
        ([3, 2, 1, 1, 1, 1], {"patience": 1}, 4, 3),
        ([3, 2, 1, 1, 0, 1, 1], {"patience": 2}, 7, 5),
        ([1, 2, 3, 3, 3, 3], {"patience": 2, "mode": "max"}, 5, 3),
        ([1, 2, 3, 3, 3, 3], {"patience": 2}, 3, 1),
        ([3, 2.5, 2, 1.5, 1], {"patience": 2, "min_delta": 0.5}, 5, 5),
        ([3, 2.75, 2.5, 2.0, 1.9], {"patience": 2, "min_delta": 0.5}, 3, 1),
        ([np.nan, np.nan, 1], {"patience": 2}, 2, None),
        ([np.nan, 1, np.nan, np.nan], {"patience": 2}, 4, 2),
        ([np.inf, 5, 5, 5], {"patience": 2}, 4, 2),
        ([3, 2, 1], {"patience": 5}, 3, 3),
    ],
)
@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping_ends_the_training_and_restores_the_best(values, options, epochs, best_epoch, restore):
    net, params = make(), []
    stop = fb.EarlyStopping("val_scripted", restore_best=restore, **options)
    keep = lambda net, history: params.append(net.params.copy())  # noqa: E731
    history = fit(net, len(values), [keep, stop], metrics=[Scripted(values)])
    assert len(history.epochs) == epochs
    assert stop.best_epoch == best_epoch
    assert stop.best == (None if best_epoch is None else values[best_epoch - 1])
    assert stop.stopped == (history.epochs[-1] - (best_epoch or 0) >= options["patience"])
    expected = params[best_epoch - 1] if restore and best_epoch else params[-1]
    assert (net.params == expected).all()


def test_early_stopping_on_real_validation_data_keeps_the_least_loss():
    net, stop = make(), fb.EarlyStopping(patience=5)
    history = fit(net, 500, stop)
    assert stop.stopped
    assert len(history.epochs) == stop.best_epoch + 5 < 500
    assert net.evaluate(*HELD_OUT)["loss"] == stop.best == min(history.history["val_loss"])


def test_early_stopping_starts_anew_in_each_fit():
    net, stop = make(), fb.EarlyStopping("loss", patience=1, mode="max")
    for _ in range(2):
        fit(net, 20, stop)
        assert (stop.stopped, stop.best_epoch) == (True, 1)
    fit(net, 1, stop)
    assert not stop.stopped


@pytest.mark.parametrize("error", [KeyError("mine"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_the_best_parameters_are_restored_after_an_error_too(error):
    net, seen = make(), []

    def fails(net, history):
        seen.append(net.params.copy())
        if len(seen) == 3:
            raise error

    with pytest.raises(type(error)):
        fit(net, 9, [fb.EarlyStopping("loss", mode="max"), fails])
    assert (net.params == seen[0]).all()
    assert len(net.history.epochs) == 3


@pytest.mark.parametrize(
    ("name", "mode", "larger"),
    [("val_loss", "auto", False), ("loss", "auto", False), ("val_accuracy", "auto", True), ("val_r2", "auto", True),
     ("val_mse", "auto", False), ("val_accuracy", "min", False), ("val_loss", "max", True)],
)  # fmt: skip
def test_accuracy_and_r2_are_better_when_larger(name, mode, larger):
    monitor = Monitor(name, mode, 0)
    assert monitor.improved(1)
    assert monitor.improved(2) == larger


def test_checkpoint_saves_each_epoch_with_the_optimizer(tmp_path):
    net, params, same = make(), [], []

    def look(net, history):
        if params:  # the file is written when all callbacks have been called
            again = fb.load(tmp_path / "net")
            same.append((again.params == params[-1]).all() and again.optimizer == net.optimizer)
            again.fit(X, LABELS, epochs=1, verbose=0)  # a network of its own
        params.append(net.params.copy())

    fit(net, 3, [fb.Checkpoint(tmp_path / "net"), look])
    assert same == [True] * 2
    assert (fb.load(tmp_path / "net").params == net.params).all()
    fit(net, 1, fb.Checkpoint(tmp_path / "net", optimizer=False))
    assert fb.load(tmp_path / "net").optimizer is None
    assert os.listdir(tmp_path) == ["net"]


def test_checkpoint_of_the_best_epochs_only(tmp_path):
    net, params = make(), []
    values = [3, 1, 2, 1, 0.5, np.nan, 4]
    best = fb.Checkpoint(tmp_path / "net", "val_scripted", save_best_only=True)
    saved = []

    def look(net, history):
        params.append(net.params.copy())
        file = fb.load(tmp_path / "net").params
        saved.append(1 + next(k for k, of_epoch in enumerate(params) if (file == of_epoch).all()))

    fit(net, 7, [best, look], metrics=[Scripted(values)])
    assert saved == [1, 2, 2, 2, 5, 5, 5]


@pytest.mark.parametrize(
    ("place", "error"),
    [("missing/net", FileNotFoundError), ("folder", IsADirectoryError), ("file/net", NotADirectoryError)],
)
def test_a_checkpoint_that_has_no_place_is_refused_before_training(place, error, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    net = make()
    before = snapshot(net)
    with pytest.raises(error) as raised:
        fit(net, 3, fb.Checkpoint(tmp_path / place))
    assert raised.value.filename == str(tmp_path / place)
    assert snapshot(net) == before


def test_a_checkpoint_that_cannot_be_written_ends_the_training(tmp_path):
    (tmp_path / "gone").mkdir()
    net = make()
    with pytest.raises(FileNotFoundError, match="gone"):
        fit(net, 3, [fb.Checkpoint(tmp_path / "gone" / "net"), lambda *_: (tmp_path / "gone").rmdir()])
    assert len(net.history.epochs) == 1
    fit(net, 1)


@pytest.mark.parametrize("ending", ["last epoch", "True", "error"])
def test_hooks_are_called_at_the_beginning_and_the_end(ending):
    calls = []

    class Hooked(Callback):
        def __init__(self, name):
            self.name = name

        def begin(self, net, names):
            calls.append((self.name, *names))

        def __call__(self, net, history):
            if ending == "error":
                raise KeyError("mine")
            return ending == "True"

        def end(self, net, history):
            calls.append((self.name, len(history.epochs)))

    net = make()
    try:
        fit(net, 2, [Hooked("a"), Hooked("b")], metrics=["mse"])
    except KeyError:
        assert ending == "error"
    epochs = 2 if ending == "last epoch" else 1
    names = "loss", "lr", "val_loss", "val_mse", "seconds"
    assert calls == [("a", *names), ("b", *names), ("a", epochs), ("b", epochs)]
    assert tuple(net.history.history) == ("loss", "lr", "seconds", "val_loss", "val_mse")


class Listening(Callback):
    """Notes what it hears; `fails` is what it raises, where."""

    def __init__(self, calls, name, fails=()):
        self.calls, self.name, self.fails = calls, name, fails

    def hear(self, what, *more):
        self.calls.append((self.name, what, *more))
        if what in self.fails:
            raise self.fails[what]

    def begin(self, net, names):
        self.hear("begin")

    def end(self, net, history):
        self.hear("end", len(history.epochs))


@pytest.mark.parametrize("error", [KeyError("mine"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
@pytest.mark.parametrize("on_interrupt", ["raise", "return"])
def test_callbacks_that_have_begun_hear_of_the_end_where_a_later_one_does_not_begin(error, on_interrupt):
    net, calls = make(), []
    fit(net, 1)
    before = snapshot(net)
    callbacks = [
        Listening(calls, "a"), fb.EarlyStopping(), Listening(calls, "b"), Listening(calls, "c", {"begin": error}),
        Listening(calls, "d"),
    ]  # fmt: skip
    with pytest.raises(type(error)):
        fit(net, 1, callbacks, on_interrupt=on_interrupt)
    assert calls == [("a", "begin"), ("b", "begin"), ("c", "begin"), ("a", "end", 0), ("b", "end", 0)]
    assert snapshot(net) == before
    fit(net, 1, callbacks[1])  # it is free again


def test_an_end_that_raises_keeps_no_other_from_its_own():
    net, calls = make(), []
    error = KeyError("mine")
    with pytest.raises(KeyError):
        fit(net, 1, [Listening(calls, "a", {"end": error}), Listening(calls, "b")])
    assert [call[:2] for call in calls] == [("a", "begin"), ("b", "begin"), ("a", "end"), ("b", "end")]


@pytest.mark.parametrize("make_callback", [fb.EarlyStopping, lambda: fb.Checkpoint("net.npz"), fb.Progress])
def test_an_object_that_remembers_its_fit_is_in_one_at_a_time(make_callback, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    callback, net, other, calls = make_callback(), make(), make(), []
    wanted = f"^callbacks: expected for each fit its own {type(callback).__name__}, got one that is in "
    before = snapshot(other)

    def fits_another(net, history):
        with pytest.raises(RuntimeError, match=f"{wanted}another fit at the same time"):
            fit(other, 1, [Listening(calls, "a"), callback])
        fit(other, 1, [Listening(calls, "a"), make_callback()] if not history.epochs[1:] else ())

    with pytest.raises(RuntimeError, match=f"{wanted}this fit twice"):
        fit(other, 1, [callback, callback])
    assert snapshot(other) == before
    fit(net, 2, [callback, fits_another])
    assert calls == [("a", "begin"), ("a", "end", 1)]
    fit(other, 1, callback)


def test_a_fork_in_the_middle_of_a_fit_leaves_the_callbacks_free(monkeypatch):
    net, stop, forked = make(), fb.EarlyStopping(), []

    def forks(net, history):
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            forked.append(fit(make(), 1, stop))

    fit(net, 1, [forks, stop])
    assert len(forked) == 1


class Interrupting:
    """Raises KeyboardInterrupt at the n-th line, call or return in fastbp and contextlib, from a function's call on."""

    FILES = {contextlib.__file__, *map(str, Path(fb.__file__).parent.glob("*.py"))}

    def __init__(self, n, first_file, first_function, files=FILES):
        self.left, self.first, self.counting, self.files = n, (first_file, first_function), False, files

    def __call__(self, frame, event, argument):
        code = frame.f_code
        if code.co_filename not in self.files:
            return None
        self.counting = self.counting or (os.path.basename(code.co_filename), code.co_name) == self.first
        # no signal is looked at where a `try:` stands, and what is raised there is not caught by that
        if self.counting and linecache.getline(code.co_filename, frame.f_lineno).strip() != "try:":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self


@pytest.mark.parametrize("ended_by", ["last epoch", "Ctrl-C"])
@pytest.mark.parametrize("first", [("callbacks.py", "__call__"), ("hooks.py", "end")], ids=" ".join)
def test_wherever_a_ctrl_c_falls_the_network_ends_with_the_best_parameters(first, ended_by):
    """At each line from there to the end of fit; where the training was ended by a Ctrl-C, it is the second."""

    def training():
        net = fb.Network([4, 16, fb.BatchNorm(), 3], activation="tanh", seed=2)
        return net, fb.EarlyStopping("loss", mode="max", patience=9)  # the first epoch remains the best

    def ends(net, history):
        if ended_by == "Ctrl-C" and len(history.epochs) == 3:
            raise KeyboardInterrupt

    net, _ = training()
    fit(net, 1)
    best, means = net.params.copy(), net.running_means[1].copy()
    for n in range(1, 10_000):
        net, stop = training()
        tracing = Interrupting(n, *first)
        sys.settrace(tracing)
        try:
            fit(net, 4, [stop, ends])
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        if stop.best_epoch:
            assert stop.best_epoch == 1
            assert (net.params == best).all() and (net.running_means[1] == means).all(), n
        else:
            assert first[1] == "__call__" and len(net.history.epochs) == 1, n
        if tracing.left > 0:  # fit came to its end before
            break
    assert 10 < n < 9_999
    fit(net, 1, stop)


@pytest.mark.parametrize("many", [False, True], ids=["network", "ensemble"])
def test_wherever_a_ctrl_c_falls_fit_lets_go_of_networks_and_callbacks(many):
    """Also while somebody holds its traceback, as an `except` that fits on does."""
    for n in range(1, 20_000):
        net = fb.Network([4, 3], seed=2)
        stops = [fb.EarlyStopping("loss", mode="max") for _ in range(1 + many)]
        who, callbacks = (fb.Ensemble(net, 2, run="threads"), stops) if many else (net, stops)
        tracing = Interrupting(n, "ensemble.py" if many else "training.py", "fit")
        sys.settrace(tracing)
        try:
            who.fit(X, LABELS, epochs=2, callbacks=callbacks, verbose=0)
        except KeyboardInterrupt:
            sys.settrace(None)
            assert not hooks.IN_USE, n
            for member, stop in zip(who if many else [net], stops, strict=True):
                assert "_fitted_by" not in member.__dict__, n
                assert stop._at_best[2] is None, n  # the best parameters, which are put back
        finally:
            sys.settrace(None)
        if tracing.left > 0:
            break
    assert 300 < n < 19_999


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of zipfile, as it is thrown away
def test_a_ctrl_c_while_a_file_is_written_reaches_the_caller(tmp_path):
    """zipfile has other things to say to it."""
    net = fb.Network([1, 1], seed=2)
    files = {zipfile.__file__, np.savez.__wrapped__.__code__.co_filename}
    for n in range(1, 20_000):
        tracing = Interrupting(n, "zipfile.py", "__init__", files)
        sys.settrace(tracing)
        try:
            net.save(tmp_path / "net")
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        if tracing.left > 0:
            break
    assert 300 < n < 19_999
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_an_error_at_the_beginning_leaves_everything_as_it_was():
    net = make()
    fit(net, 1)
    before = snapshot(net)
    for callback in (
        fb.EarlyStopping("val_acuracy"),
        fb.Checkpoint("net", "val_acuracy", save_best_only=True),
    ):
        with pytest.raises(
            ValueError, match="^monitor: expected one of loss, lr, val_loss, val_accuracy, seconds, got"
        ):
            fit(net, 1, callback, optimizer=fb.SGD(0.1))
    with pytest.raises(ValueError, match=r"^monitor: .*'val_acuracy' \(did you mean 'val_accuracy'\?\)$"):
        fit(net, 1, fb.EarlyStopping("val_acuracy"))
    with pytest.raises(ValueError, match="^monitor: .*'val_loss'; give fit validation data"):
        fit(net, 1, fb.EarlyStopping(), validation_data=None)
    assert snapshot(net) == before


@pytest.mark.parametrize("given", [fb.EarlyStopping, [fb.EarlyStopping], [fb.EarlyStopping("loss"), fb.Checkpoint]])
def test_a_class_in_the_place_of_a_callback_is_refused_before_training(given):
    net = make()
    before = snapshot(net)
    with pytest.raises(TypeError, match=r"^callbacks: expected objects, got the class (\w+); write \1\(\.\.\.\)$"):
        fit(net, 1, given, optimizer=fb.SGD(0.1))
    assert snapshot(net) == before


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fb.EarlyStopping(3), TypeError, "^monitor: .*3"),
        (lambda: fb.EarlyStopping(patience=0), ValueError, "^patience: .*0"),
        (lambda: fb.EarlyStopping(patience=1.5), TypeError, "^patience: .*1.5"),
        (lambda: fb.EarlyStopping(min_delta=-1), ValueError, "^min_delta: .*-1"),
        (lambda: fb.EarlyStopping(min_delta=float("nan")), ValueError, "^min_delta: .*nan"),
        (lambda: fb.EarlyStopping(mode="larger"), ValueError, "^mode: .*larger"),
        (lambda: fb.EarlyStopping(restore_best=1), TypeError, "^restore_best: .*1"),
        (lambda: fb.Checkpoint(None), TypeError, "^path: .*None"),
        (lambda: fb.Checkpoint("net", "val_loss"), ValueError, "^monitor: expected None .*val_loss"),
        (lambda: fb.Checkpoint("net", save_best_only=True), ValueError, "^monitor: expected the name .*None"),
        (lambda: fb.Checkpoint("net", 3, True), TypeError, "^monitor: .*3"),
        (lambda: fb.Checkpoint("net", save_best_only=1), TypeError, "^save_best_only: .*1"),
        (lambda: fb.Checkpoint("net", mode="best"), ValueError, "^mode: .*best"),
        (lambda: fb.Checkpoint("net", optimizer="Adam"), TypeError, "^optimizer: .*Adam"),
    ],
)
def test_bad_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
