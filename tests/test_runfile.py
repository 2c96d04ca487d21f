"""The file of a training: the golden one of this release, damaged and hostile ones."""

import json
import os
import tracemalloc
import warnings
from pathlib import Path

import forging
import numpy as np
import pytest
from resumable import Case, Keeping, record_of

import fastbp as fb
from fastbp import runfile

GOLDEN = Path(__file__).parent / "golden" / "run-1.npz"


GOLDEN_X, GOLDEN_LABELS = [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.25]], [0, 1, 0, 1]


def golden(folder):
    """Makes the golden file, ``kept-000`` of the folder: after the first of two steps of the second of three epochs."""
    net = fb.Network([2, fb.Dense(3, "tanh", bias=False), 2], loss=fb.CrossEntropy(0.25), init="zeros", seed=7)
    net.params[:] = np.arange(14) / 16
    callbacks = [Keeping(Path(folder) / "run", every_steps=3), fb.EarlyStopping(patience=5), plain_call]
    net.fit(
        GOLDEN_X, GOLDEN_LABELS, epochs=3, batch_size=2, optimizer=fb.Adam(lr=0.0), callbacks=callbacks, verbose=0,
        validation_data=(GOLDEN_X, GOLDEN_LABELS), metrics=["accuracy", named_metric], class_weight={1: 0.5},
    )  # fmt: skip


def test_a_file_of_the_first_version_of_the_format_resumes(tmp_path):
    """Its learning rate is 0, so that the parameters are the same at every level."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # versions move on
        run = fb.resume(GOLDEN, other_level=True)
    assert repr(run) == "<Run at epoch 1 of 3, batch 1>"
    assert run.settings == {
        "epochs": 3, "initial_epoch": 0, "batch_size": 2, "shuffle": True, "validation_split": 0.0,
        "class_weight": {1: 0.5},
    }  # fmt: skip
    said, arrays = forging.contents(GOLDEN, "run")
    first_loss = list(run.net.history.history["loss"])
    assert len(first_loss) == 1
    assert arrays[f"run{said['history']['lists']['loss'][runfile.ARRAY]}"].tolist() == first_loss
    assert run._record.position.loss == said["position"][3]
    stop = fb.EarlyStopping(patience=5, min_delta=1e-3)  # more than levels differ by
    history = run.fit(
        GOLDEN_X, GOLDEN_LABELS, validation_data=(GOLDEN_X, GOLDEN_LABELS), metrics=["accuracy", named_metric],
        callbacks=[Keeping(tmp_path / "run"), stop, plain_call], verbose=0,
    )  # fmt: skip
    assert history.epochs == range(1, 4)
    assert history.history["loss"][:1] == first_loss
    assert history.history.keys() == {"loss", "lr", "seconds", "val_loss", "val_accuracy", "val_named_metric"}
    assert run.net.params.tolist() == [k / 16 for k in range(14)]
    assert (run.net._engine.steps, stop.best_epoch, stop.stopped) == (6, 1, False)


def said(**changes):
    return lambda run, arrays: ({**run, **changes}, arrays)


def setting(**changes):
    return lambda run, arrays: ({**run, "settings": {**run["settings"], **changes}}, arrays)


def place(at, value):
    def change(run, arrays):
        run["position"][at] = value
        return run, arrays

    return change


def stopping(**changes):
    """EarlyStopping's state."""
    return lambda run, arrays: ({**run, "callbacks": [run["callbacks"][0], ["EarlyStopping", {
        **run["callbacks"][1][1], **changes}]]}, arrays)  # fmt: skip


def without(key):
    return lambda run, arrays: (
        {k: v for k, v in run.items() if k != key},
        {k: v for k, v in arrays.items() if k != key},
    )


def plain_call(net, history):
    pass


def named_metric(outputs, targets):
    return 0.0


class Explodes:
    def __reduce__(self):
        return os.mkdir, ("executed",)


LISTS = np.zeros(2)
HOSTILE = {
    "no version": (without("version"), "run: expected version 1"),
    "later version": (said(version=2, fastbp="9.0"), "run: expected version 1, got 2, .*9.0"),
    "unknown key": (said(more=1), "run: expected the keys"),
    "missing key": (without("bounds"), "run: expected the keys"),
    "a list": (lambda run, arrays: ([run], arrays), "run: expected a dict"),
    "no JSON": (lambda run, arrays: (b"{", arrays), "Expecting property name"),
    "not ASCII": (lambda run, arrays: (b"\xff", arrays), "ascii"),
    "deep JSON": (lambda run, arrays: (b"[" * 100_000, arrays), "recursion"),
    "deep state": (
        lambda run, arrays: (
            (b'{"callbacks": [["a", {"b": ' + b"[" * 900 + b"]" * 900 + b"}]], ") + json.dumps(
                {k: v for k, v in run.items() if k != "callbacks"}).encode()[1:], arrays),
        "callbacks|recursion|arrays",
    ),
    "JSON of many lists": (lambda run, arrays: (b"[" + b"[]," * 340_000 + b"[]]", arrays), "run: expected a dict"),
    "run of 2 MB": (lambda run, arrays: (json.dumps(run).encode() + b" " * 2_000_000, arrays), "run: .*1048576"),
    "an integer without end": (lambda run, arrays: (b'{"version": ' + b"9" * 500_000 + b"}", arrays), "500000 digits"),
    "settings of another type": (said(settings=[]), "settings: "),
    "unknown setting": (setting(lr=1), "settings: .*lr"),
    "no epochs": (setting(epochs=0), "epochs: .*0"),
    "too many epochs": (setting(epochs=2**62), "epochs: "),
    "initial epoch beyond": (setting(initial_epoch=9), "initial_epoch: .*9"),
    "batch size of another type": (setting(batch_size="32"), "batch_size: .*'32'"),
    "split of all": (setting(validation_split=1), "validation_split: .*1"),
    "shuffle of another type": (setting(shuffle=1), "shuffle: .*1"),
    "class weights without pairs": (setting(class_weight=[1, 2]), "class_weight: expected pairs"),
    "negative class weight": (setting(class_weight=[[1, -2.0]]), "class_weight: .*-2"),
    "class weight of another word": (setting(class_weight="even"), "class_weight: .*even"),
    "metrics of another type": (said(metrics="mse"), "metrics: "),
    "metrics without names": (said(metrics=[3]), "metrics: .*3"),
    "data of another type": (said(data=[]), "data: "),
    "fingerprint of another type": (said(data={"X": 5}), "data: "),
    "callbacks of another type": (said(callbacks={}), "callbacks: "),
    "callbacks without states": (said(callbacks=["a", "b"]), "callbacks: "),
    "position of two numbers": (said(position=[1, 2]), "position: expected six"),
    "negative epoch": (place(0, -1), "epoch: .*-1"),
    "epoch beyond": (place(0, 9), "epoch: expected 0 to 4, got 9"),
    "batches of another type": (place(1, 1.5), "batches: .*1.5"),
    "too many rows": (place(2, 2**62), "position: "),
    "loss of another type": (place(3, "0"), "loss: .*'0'"),
    "negative seconds": (place(4, -1), "seconds: .*-1"),
    "finished of another type": (said(finished=1), "finished: .*1"),
    "finished in the middle": (said(finished=True), "position: expected no batches"),
    "generator of another type": (said(generator=[]), "rng: "),
    "other generator": (said(generator={"bit_generator": "MT19937"}), "rng: "),
    "one bound": (said(bounds=[1.0]), "bounds: "),
    "negative bound": (said(bounds=[-1.0, 1.0, 1.0]), "bounds: .*-1"),
    "endless bound": (said(bounds=[1.0, np.inf, 1.0]), "bounds: .*inf"),
    "history of another type": (said(history=[]), "history: "),
    "history of plain lists": (said(history={"own": [], "lists": {"loss": [0.5]}}), "history: 'loss' is no list"),
    "history too short": (said(history={"own": [], "lists": {}}), "history: expected 1 entries"),
    "names of another type": (
        lambda run, arrays: ({**run, "history": {**run["history"], "own": [3]}}, arrays), "history: expected 1 entries",
    ),
    "an array that is not there": (stopping(params={runfile.ARRAY: 99, "dtype": "float32", "length": 5}), "'run99'"),
    "an array twice": (stopping(params={runfile.ARRAY: 2, "dtype": "float64", "length": 1}), "'run2', once"),
    "an array of another place": (stopping(params={runfile.ARRAY: -1, "dtype": "float32", "length": 5}), "-1"),
    "an array of objects": (stopping(params={runfile.ARRAY: 0, "dtype": "object", "length": 5}), "dtype: .*object"),
    "an array too long": (
        stopping(params={runfile.ARRAY: 0, "dtype": "float32", "length": 10**12}), "run0: expected 1000000000000",
    ),
    "an array without length": (stopping(params={runfile.ARRAY: 0}), "place, dtype and length"),
    "an array less": (without("run0"), "'run0', once"),
    "an array more": (lambda run, arrays: (run, {**arrays, "run77": LISTS}), "run: expected the arrays"),
    "an array of another name": (lambda run, arrays: (run, {**arrays, "run-1": LISTS}), "'run-1.npy'"),
    "no run": (without("run"), "expected a training, got a network alone"),
    "pickle": (
        lambda run, arrays: (run, {**arrays, "run0": forging.npy(np.array([Explodes()]), allow_pickle=True)}), "run0",
    ),
    "no optimizer": (without("optimizer"), "optimizer"),
}  # fmt: skip


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """Description, run and arrays of a file that was written in the middle of the second of four epochs."""
    monkeypatch.chdir(tmp_path)
    Case(stop=True).fit(Keeping("as", every_steps=30))
    description, run, arrays = forging.contents("kept-000", "description", "run")
    for path in tmp_path.iterdir():
        path.unlink()
    return description, run, arrays


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_with_the_reason(name, hostile):
    description, run, arrays = hostile
    forging.forge({"description": description, "run": run}, arrays)
    fb.resume("net")  # what is changed below is all that is wrong with it
    change, message = HOSTILE[name]
    if name == "no optimizer":
        description = {**description, "optimizer": None, "steps": 0}
        arrays = {key: array for key, array in arrays.items() if key not in ("first", "second", "third")}
        texts = {"description": description, "run": run}
    else:
        run, arrays = change(run, arrays)
        texts = {"description": description, "run": run}
        if name == "no run":
            del texts["run"]
            arrays = {key: array for key, array in arrays.items() if not key.startswith("run")}
    forging.forge(texts, arrays)
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"(?s)^net: no training .*{message}") as caught:
        fb.resume("net")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(caught.value)) < 700
    assert peak < 3 * os.path.getsize("net") + 64e6, peak
    assert os.listdir() == ["net"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"params": None, "best_epoch": -3}, "best_epoch: .*-3"),
        ({"params": None, "best": "0.5"}, "best: .*'0.5'"),
        ({"params": None, "waited": -1}, "waited: .*-1"),
        ({"params": None, "stopped": None}, "stopped: .*None"),
        ({"params": [0.5]}, "'list' object"),
    ],
    ids=str,
)
def test_states_that_a_callback_cannot_use_are_refused_before_training(changes, message, hostile):
    description, run, arrays = hostile
    if runfile.ARRAY in (run["callbacks"][1][1]["params"] or {}):
        del arrays[f"run{run['callbacks'][1][1]['params'][runfile.ARRAY]}"]
    run, arrays = stopping(**changes)(run, arrays)
    forging.forge({"description": description, "run": run}, arrays)
    case = Case(stop=True)
    before = fb.resume("net")
    with pytest.raises(ValueError, match=f"^callbacks: EarlyStopping cannot go on.*{message}"):
        case.resume("net", Keeping("again"))
    assert not before.finished


def test_a_position_that_does_not_fit_the_data_is_refused(hostile):
    description, run, arrays = hostile
    run["position"][1:3] = [11, 2**61]
    forging.forge({"description": description, "run": run}, arrays)
    with pytest.raises(ValueError, match="^position: expected the rows of 11 batches"):
        Case(stop=True).resume("net", Keeping("again"))


def small_file(folder):
    """The path of a small file, from the middle of an epoch."""
    net = fb.Network([1, 2, 1], loss="mse", seed=0)
    X = np.arange(4.0)[:, None]
    net.fit(X, X, epochs=1, batch_size=1, callbacks=Keeping(folder / "run", every_steps=3), verbose=0)
    return folder / "kept-000"


def refused(path, raw, expected, where):
    """Whether the file is; a training that comes from it all the same is the one that was saved."""
    path.write_bytes(raw)
    try:
        said = record_of(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: refused"), (where, error)
        return True
    assert said == expected, where
    return False


def test_a_changed_byte_is_found_or_does_not_matter(tmp_path):
    """What does not matter: dates, versions and attributes of the archive's entries."""
    path = small_file(tmp_path)
    raw, expected, found = path.read_bytes(), record_of(path), 0
    flips = np.random.default_rng(0).integers(1, 256, len(raw)).tolist()
    for at, flip in enumerate(flips):
        altered = bytearray(raw)
        altered[at] ^= flip
        found += refused(path, altered, expected, f"byte {at} ^ {flip:#x}")
    assert found > 0.8 * len(raw), found


def test_every_shorter_file_is_refused(tmp_path):
    path = small_file(tmp_path)
    raw, expected = path.read_bytes(), record_of(path)
    assert all(refused(path, raw[:length], expected, f"{length} bytes") for length in range(len(raw)))
