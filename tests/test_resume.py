"""Checkpoints of a training: a resumed one ends with the bits of one that was never interrupted."""

import os
import signal
import warnings

import forging
import kill_nine
import numpy as np
import pytest
from resumable import CLASSES, INPUTS, Case, Keeping, N, ending, numbers, record_of
from snapshot import snapshot

import fastbp as fb
from fastbp import config, epochs
from fastbp.callbacks import Callback


@pytest.fixture
def small_windows(monkeypatch):
    """So that an epoch of the few rows here has several."""
    monkeypatch.setattr("fastbp.windows.WINDOW_BYTES", 5000)


def halved(epoch):
    return 0.02 * 0.5**epoch


CASES = {
    "adam": {},
    "float64": {"dtype": "float64"},
    "sgd": {"optimizer": fb.SGD(0.1)},
    "momentum": {"optimizer": fb.SGD(0.05, momentum=0.9, nesterov=True)},
    "adamw": {"optimizer": fb.AdamW(0.01)},
    "clipped sgd": {"optimizer": fb.SGD(0.1, momentum=0.9, l1=1e-3, clip_norm=0.5)},
    "amsgrad": {"optimizer": fb.AMSGrad(0.01)},
    "nadam": {"optimizer": fb.NAdam(0.01)},
    "rmsprop": {"optimizer": fb.RMSprop(0.01, momentum=0.5, centered=True)},
    "adagrad": {"optimizer": fb.Adagrad(0.05, lr_decay=0.01, initial_accumulator_value=0.1)},
    "rprop": {"optimizer": fb.Rprop(0.01), "batch_size": N, "epochs": 40},
    "a row at a time": {"optimizer": fb.SGD(0.01), "batch_size": 1, "epochs": 2, "rows": 60},
    "a last row": {"optimizer": fb.SGD(0.01), "batch_size": 7, "rows": 57},
    "in order": {"shuffle": False},
    "weights": {"weighted": True},
    "class weights": {"class_weight": {0: 2.0, 2: 0.5}},
    "balanced": {"class_weight": "balanced", "validation_split": 0.25},
    "early stopping": {"stop": True, "epochs": 40, "optimizer": fb.Adam(0.05)},
    "initial epoch": {"initial_epoch": 2},
    "memory map": {"source": "memory map", "stop": True},
    "memory map in order": {"source": "memory map", "shuffle": False},
    "weighted memory map": {"source": "memory map", "weighted": True},
    "split memory map": {"source": "memory map", "validation_split": 0.25, "weighted": True},
    "batches": {"source": "batches"},
    "weighted batches": {"source": "batches", "weighted": True},
    "loss object": {"source": "loss object"},
    "missing targets": {"source": "missing targets"},
    "schedule": {"optimizer": fb.Adam(fb.Warmup(fb.Cosine(0.02), epochs=1.5))},
    "schedule of a memory map": {"source": "memory map", "optimizer": fb.Adam(fb.OneCycle(0.02))},
    "schedule of batches": {"source": "batches", "optimizer": fb.SGD(fb.ExponentialDecay(0.1, factor=0.5))},
    "schedule behind the last batch": {  # a checkpoint of an iterable, which does not know that it is
        "source": "batches", "batch_size": 43, "optimizer": fb.SGD(fb.ExponentialDecay(0.1, factor=0.5)),
    },
    "schedule of a loss object": {"source": "loss object", "optimizer": fb.Adam(fb.Cosine(0.02))},
    "plateau": {"optimizer": fb.SGD(fb.Plateau(0.5, monitor="loss", patience=1)), "epochs": 8},
    "function as lr": {"optimizer": fb.Adam(halved)},
    "dropout": {"hidden": (16, fb.Dropout(0.3))},
    "norms": {"hidden": (16, fb.BatchNorm(), fb.Activation("tanh"), 12, fb.LayerNorm(), fb.Dropout(0.1))},
    "norms, early stopping": {
        "hidden": (16, fb.BatchNorm()), "stop": True, "epochs": 40, "optimizer": fb.Adam(0.05),
    },
}  # fmt: skip


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("name", CASES)
def test_every_checkpoint_leads_to_the_bits_of_a_training_never_interrupted(name, tmp_path):
    case = Case(**CASES[name], folder=tmp_path)
    whole = case.fit()
    watched = case.fit(Keeping(tmp_path / "run", every_steps=7))
    assert ending(watched) == ending(whole)
    kept = sorted(tmp_path.glob("kept-*"))
    assert len(kept) >= 4
    batches = set()
    for path in kept:
        batches.add(case.run_of(path).batch)
        assert ending(case.resume(path, Keeping(tmp_path / "again", every_epochs=100))) == ending(whole), path.name
    assert len(batches) > 2 or case.options["batch_size"] == N  # from the middle of epochs


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("source", ["array", "memory map", "batches", "loss object"])
def test_where_an_epoch_is_cut_does_not_change_a_bit(source, tmp_path, monkeypatch):
    """Every step looked at, as every_seconds=0 saves after each part of 50 ms: here of none."""
    monkeypatch.setattr(epochs.Parts, "SECONDS", 0.0)
    case = Case(source, folder=tmp_path, epochs=1)
    cut = case.fit(Keeping(tmp_path / "run", every_seconds=0))
    assert len(list(tmp_path.glob("kept-*"))) >= 19
    assert ending(cut) == ending(case.fit())


def test_a_checkpoint_of_a_resumed_training_is_that_of_the_first(tmp_path):
    case = Case(epochs=2)
    case.fit(Keeping(tmp_path / "run", every_steps=5))
    kept = sorted(tmp_path.glob("kept-*"))
    (tmp_path / "second").mkdir()
    case.resume(kept[1], Keeping(tmp_path / "second" / "run", every_steps=5))
    again = sorted((tmp_path / "second").glob("kept-*"))
    assert len(again) == len(kept) - 2
    for first, second in zip(kept[2:], again, strict=True):
        assert record_of(first) == record_of(second)


@pytest.mark.parametrize(
    ("options", "files"),
    [
        ({}, ["1", "2", "3", "4"]),
        ({"every_epochs": 3}, ["3", "4"]),
        ({"every_steps": 19}, ["1", "2", "3", "4"]),
        ({"every_steps": 30}, ["1.11", "3.3", "4"]),
        ({"every_epochs": 2, "every_steps": 30}, ["1.11", "2", "3.3", "4"]),
        ({"every_seconds": 3600}, ["4"]),
    ],
    ids=str,
)
def test_checkpoints_are_written_when_asked_for(options, files, tmp_path):
    """Of 4 epochs of 19 steps: epoch and batch of each file. The end is saved in any case."""
    Case().fit(Keeping(tmp_path / "run", **options))
    runs = [fb.resume(path) for path in sorted(tmp_path.glob("kept-*"))]
    assert [f"{run.epoch}.{run.batch}" if run.batch else str(run.epoch) for run in runs] == files
    assert [run.finished for run in runs] == [False] * (len(files) - 1) + [True]


def test_a_run_says_where_it_stands_and_load_takes_the_network(tmp_path):
    case = Case()
    net = case.fit(Keeping(tmp_path / "run", every_steps=30))
    run = fb.resume(tmp_path / "kept-000")
    assert repr(run) == "<Run at epoch 1 of 4, batch 11>"
    assert (run.epoch, run.batch, run.finished) == (1, 11, False)
    assert run.settings == {
        "epochs": 4, "initial_epoch": 0, "batch_size": 32, "shuffle": True, "validation_split": 0.0,
        "class_weight": None,
    }  # fmt: skip
    assert run.net.history.history["loss"] == net.history.history["loss"][:1]
    assert (fb.load(tmp_path / "kept-000").params == run.net.params).all()
    assert (fb.load(tmp_path / "run").params == net.params).all()
    assert fb.load(tmp_path / "run").optimizer == net.optimizer


def test_a_run_whose_network_was_trained_otherwise_does_not_go_on(tmp_path):
    case = Case()
    case.fit(Keeping(tmp_path / "run", every_steps=30))
    run = case.run_of(tmp_path / "kept-001")
    run.net.fit(*case.data, epochs=1, verbose=0)
    before = snapshot(run.net)
    with pytest.raises(RuntimeError, match="^fit: run.net has been trained otherwise"):
        run.fit(*case.data, callbacks=fb.Checkpoint(tmp_path / "run"), verbose=0)
    assert snapshot(run.net) == before


def test_a_run_trains_once(tmp_path):
    case = Case()
    case.fit(fb.Checkpoint(tmp_path / "run", every_steps=30))
    run = fb.resume(tmp_path / "run")
    assert repr(run) == "<Run at epoch 4 of 4, finished>"
    with pytest.raises(ValueError, match="^X: "):
        run.fit(case.data[0][:-1], case.data[1][:-1], callbacks=fb.Checkpoint(tmp_path / "run"), verbose=0)
    history = run.fit(*case.data, callbacks=fb.Checkpoint(tmp_path / "run"), verbose=0)
    assert history is run.net.history
    with pytest.raises(RuntimeError, match="^fit: this run has gone on already"):
        run.fit(*case.data, callbacks=fb.Checkpoint(tmp_path / "run"), verbose=0)


def test_a_callback_of_ones_own_keeps_numbers_strings_and_arrays(tmp_path):
    class Sums(Callback):
        def begin(self, net, names):
            self.total, self.values, self.words = 0.0, np.zeros(0), []

        def __call__(self, net, history):
            self.total += history.history["loss"][-1]
            self.values = np.append(self.values, self.total)
            self.words.append(
                {"at": f"{self.total:.3f}", "fine": True, "none": None, "count": np.int64(len(self.words))}
            )

        def state(self):
            return {"total": np.float64(self.total), "values": self.values, "words": self.words}

        def restore(self, net, state):
            self.total, self.values, self.words = state["total"], state["values"], state["words"]

    case, sums, twin = Case(), Sums(), Sums()
    case.fit(Keeping(tmp_path / "run", every_steps=20), sums)
    for path in sorted(tmp_path.glob("kept-*")):
        case.resume(path, Keeping(tmp_path / "again"), twin)
        assert (twin.total, twin.words) == (sums.total, sums.words)
        assert (twin.values == sums.values).all()
    Sums.state = lambda self: {"complex": 1j}
    with pytest.raises(TypeError, match="^callbacks: the state of .*Sums: expected numbers.*1j"):
        case.fit(fb.Checkpoint(tmp_path / "run"), Sums())
    Sums.state = lambda self: {"text": "a" * 2**20}
    with pytest.raises(ValueError, match="^callbacks: .*1048576"):
        case.fit(fb.Checkpoint(tmp_path / "run"), Sums())
    Sums.state, Sums.restore = (lambda self: {}), (lambda self, net, state: state["missing"])
    case.fit(fb.Checkpoint(tmp_path / "run"), Sums())
    with pytest.raises(ValueError, match="^callbacks: .*Sums cannot go on from its state.*missing"):
        case.resume(tmp_path / "run", fb.Checkpoint(tmp_path / "run"), Sums())


def test_the_best_epoch_is_known_after_resuming(tmp_path):
    """EarlyStopping(restore_best=True): parameters from before the interruption come back at the end after it."""
    case = Case(stop=True, epochs=40, optimizer=fb.Adam(0.05))
    whole = case.fit()
    case.fit(Keeping(tmp_path / "run", every_steps=11))
    best = int(np.argmin(whole.history.history["val_loss"])) + 1
    assert best < len(whole.history.epochs) < 40
    after = [path for path in sorted(tmp_path.glob("kept-*")) if fb.resume(path).epoch >= best]
    assert after
    for path in after:
        net = case.resume(path, Keeping(tmp_path / "again"))
        assert net.evaluate(*case.again["validation_data"])["loss"] == min(whole.history.history["val_loss"])


def other_rows(case):
    X, y = case.data
    X = X.copy()
    X[17, 2] = 5
    return X, y


def plain_call(net, history):
    pass


def named_metric(outputs, targets):
    return 0.0


CHECKPOINT = fb.Checkpoint("again")
REFUSED = {
    "other numbers": (lambda case: {"X": other_rows(case)[0]}, "X: expected .*SHA-256"),
    "fewer rows": (lambda case: {"X": case.data[0][:-1], "y": case.data[1][:-1]}, r"X: .*\(600, 6\).*\(599, 6\)"),
    "a memory map": (
        lambda case: {"X": np.memmap("/dev/zero", "f4", "c", shape=(600, 6))}, "X: .*an array.*, got a memory map",
    ),
    "other labels": (lambda case: {"y": (case.data[1] + 1) % CLASSES}, "y: "),
    "batches": (lambda case: {"X": [case.data], "y": None}, "X: .*got list"),
    "weights": (lambda case: {"sample_weight": np.ones(600)}, "sample_weight: .*None, got sample_weight"),
    "no validation data": (lambda case: {"validation_data": None, "metrics": None}, r"validation_data\[0\]: .*None"),
    "other validation data": (lambda case: {"validation_data": numbers(50, seed=6)}, r"validation_data\[0\]: "),
    "weights of validation data": (
        lambda case: {"validation_data": (*case.again["validation_data"], np.ones(50))}, r"validation_data\[2\]: ",
    ),
    "other metrics": (lambda case: {"metrics": ["mse"]}, r"metrics: .*\[accuracy, named_metric\].*got \[mse\]"),
    "metrics left out": (lambda case: {"metrics": None}, r"metrics: .*named_metric\].* got None"),
    "no callbacks": (lambda case: {"callbacks": ()}, r"callbacks: .*\[Checkpoint, plain_call\].* got \[\]"),
    "a missing callback": (lambda case: {"callbacks": [CHECKPOINT]}, r"callbacks: .*plain_call\].* got \[Checkpoint\]"),
    "another callback": (
        lambda case: {"callbacks": [CHECKPOINT, lambda net, history: None]}, r"callbacks: .*Checkpoint, .*lambda>\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_another_training_than_the_checkpoints_is_refused_before_anything_changes(name, tmp_path):
    case = Case(stop=True)
    net = fb.Network([INPUTS, 4, CLASSES], seed=0)
    right = {
        "X": case.data[0], "y": case.data[1], "validation_data": case.again["validation_data"],
        "metrics": ["accuracy", named_metric], "callbacks": [fb.Checkpoint(tmp_path / "run"), plain_call], "verbose": 0,
    }  # fmt: skip
    net.fit(**right, epochs=2)
    run = fb.resume(tmp_path / "run")
    before = snapshot(run.net)
    change, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"(?s)^{message}"):
        run.fit(**{**right, **change(case)})
    assert snapshot(run.net) == before
    run.fit(**right)
    assert ending(run.net) == ending(net)


def test_the_same_numbers_from_a_list_are_the_same_data(tmp_path):
    case = Case()
    case.fit(fb.Checkpoint(tmp_path / "run"))
    run = fb.resume(tmp_path / "run")
    run.fit(*(part.tolist() for part in case.data), callbacks=[fb.Checkpoint(tmp_path / "run")], verbose=0)


def test_another_level_is_refused_or_allowed(tmp_path):
    Case().fit(fb.Checkpoint(tmp_path / "run"))
    description, run, arrays = forging.contents(tmp_path / "run", "description", "run")
    assert run["level"] == config.LEVEL
    forging.forge({"description": description, "run": {**run, "level": "v9"}}, arrays, tmp_path / "run")
    with pytest.raises(ValueError, match="run: no training can be resumed: it ran at level 'v9', this is "):
        fb.resume(tmp_path / "run")
    assert fb.resume(tmp_path / "run", other_level=True).finished


def test_other_versions_are_warned_of(tmp_path, monkeypatch):
    case = Case()
    case.fit(fb.Checkpoint(tmp_path / "run"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fb.resume(tmp_path / "run")
    monkeypatch.setattr("fastbp.runs.__version__", "9.0")
    with pytest.warns(UserWarning, match=f"written with fastbp {fb.__version__}, resumed with 9.0"):
        fb.resume(tmp_path / "run")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fb.Checkpoint("run", every_epochs=0), ValueError, "^every_epochs: .*0"),
        (lambda: fb.Checkpoint("run", every_steps=1.5), TypeError, "^every_steps: .*1.5"),
        (lambda: fb.Checkpoint("run", every_steps=True), TypeError, "^every_steps: .*True"),
        (lambda: fb.Checkpoint("run", every_seconds=-1), ValueError, "^every_seconds: .*-1"),
        (lambda: fb.Checkpoint("run", every_seconds="1"), TypeError, "^every_seconds: .*'1'"),
        (lambda: fb.Checkpoint("run", "loss", True, every_epochs=2), ValueError, "^every_epochs: .*save_best_only"),
        (lambda: fb.Checkpoint("run", optimizer=False, every_steps=2), ValueError, "^every_steps: .*optimizer=False"),
        (lambda: fb.resume("missing"), FileNotFoundError, "missing"),
        (lambda: fb.resume(3), TypeError, "^path: .*3"),
        (lambda: fb.resume(os.devnull), ValueError, "no training can be resumed from what is not a regular file"),
        (lambda: fb.resume("missing", other_level=1), TypeError, "^other_level: .*1"),
    ],
)
def test_bad_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


# ------------------------------------------------------------------------------------------------------- crashes


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9")
@pytest.mark.parametrize("kind", kill_nine.KINDS)
def test_killed_trainings_end_with_the_bits_of_whole_ones(kind, tmp_path):
    """A few moments; ``python tests/kill_nine.py --times 200`` tries many."""
    assert kill_nine.run(3, seed=kill_nine.KINDS.index(kind), kinds=[kind], folder=tmp_path) == 3


def test_a_function_as_lr_is_asked_for_again(tmp_path):
    Case(optimizer=fb.Adam(halved)).fit(fb.Checkpoint(tmp_path / "run"))
    with pytest.raises(ValueError, match=r"lr: expected resume\(path, lr=\.\.\.\) with what is named 'halved'"):
        fb.resume(tmp_path / "run")
    with pytest.raises(ValueError, match="lr: expected lr=.* with what is named 'halved', got 'numbers'"):
        fb.resume(tmp_path / "run", lr=numbers)


def test_early_stopping_restores_the_statistics_of_batch_norms_too():
    case = Case(hidden=(16, fb.BatchNorm()), stop=True, epochs=40, optimizer=fb.Adam(0.05))
    net = case.fit()
    X, y = case.again["validation_data"]
    assert net.loss(X, y) == min(net.history.history["val_loss"]) < net.history.history["val_loss"][-1]
