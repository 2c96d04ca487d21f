"""Trainings with Levenberg-Marquardt that go on from a checkpoint, and L-BFGS, which has none."""

import os
import subprocess
import sys

import forging
import numpy as np
import pytest
from resumable import Keeping, ending
from snapshot import snapshot

import fastbp as fb
from fastbp import levenberg_marquardt

RNG = np.random.default_rng(12)
X = RNG.standard_normal((80, 3))
Y = np.sin(X @ RNG.standard_normal((3, 2)))
HELD_OUT = RNG.standard_normal((20, 3)), RNG.standard_normal((20, 2))
EPOCHS = 8


def make(**kwargs):
    return fb.Network([3, 6, 2], activation="tanh", loss="mse", seed=4, threads=1, **{"dtype": "float64", **kwargs})


def missing(y):
    y = y.copy()
    y[::4, 0] = np.nan
    return y


CASES = {
    "more residuals than parameters": ({}, {}, {}, Y),
    "fewer": ({}, {}, {"rows": 10}, Y),
    "float32": ({}, {"dtype": "float32"}, {}, Y),
    "options": ({"weight_decay": 1e-3, "acceleration": False}, {}, {"weighted": True}, Y),
    "large first damping": ({"damping": 1e9}, {}, {}, Y),
    "missing targets": ({}, {"missing_targets": "mask"}, {}, missing(Y)),
    "early stopping": ({}, {}, {"stop": True}, Y),
}


def arguments(*, rows=80, weighted=False, stop=False, y=Y):
    """Data, and what is given again; one callback beside the checkpoint."""
    again = {"sample_weight": np.linspace(0.1, 3, rows) if weighted else None, "verbose": 0}
    if stop:
        again |= {"validation_data": HELD_OUT, "metrics": ["mae"]}
    return (X[:rows], y[:rows]), again, [fb.EarlyStopping(patience=2)] if stop else []


@pytest.mark.parametrize("case", CASES)
def test_every_checkpoint_leads_to_the_bits_of_a_training_never_interrupted(case, tmp_path):
    options, network, what, y = CASES[case]
    data, again, callbacks = arguments(y=y, **what)
    whole = make(**network)
    kept = Keeping(tmp_path / "run")
    whole.fit(*data, epochs=EPOCHS, optimizer=fb.LevenbergMarquardt(**options), callbacks=[kept, *callbacks], **again)
    paths = sorted(tmp_path.glob("kept-*"))
    assert len(paths) == len(whole.history.epochs) >= 3
    dampings = whole.history.history["damping"]
    assert len(set(dampings)) > 1
    for k, path in enumerate(paths):
        run = fb.resume(path)
        assert (run.epoch, run.batch, run.finished) == (k + 1, 0, k + 1 == len(paths))
        assert list(run.net.history.history)[:3] == ["loss", "damping", "seconds"]
        _, _, callbacks = arguments(y=y, **what)
        run.fit(*data, callbacks=[Keeping(tmp_path / "again"), *callbacks], **again)
        assert ending(run.net) == ending(whole), f"epoch {k + 1}"


def test_the_state_matters(tmp_path, monkeypatch):
    """Without it the rest of the training is another one."""
    whole = make()
    whole.fit(X, Y, epochs=EPOCHS, optimizer=fb.LevenbergMarquardt(), callbacks=Keeping(tmp_path / "run"), verbose=0)
    monkeypatch.setattr(levenberg_marquardt.Steps, "restore", lambda self, state: None)
    run = fb.resume(tmp_path / "kept-003")
    run.fit(X, Y, callbacks=Keeping(tmp_path / "again"), verbose=0)
    assert (run.net.params != whole.params).any()


def test_growth_of_the_damping_is_kept(tmp_path):
    """A step that is refused again and again doubles the growth; a step that is taken brings it back."""
    steps = levenberg_marquardt.Steps(fb.LevenbergMarquardt(), None)
    steps.damping, steps.growth = np.float64(0.1) / 3, 64.0
    twin = levenberg_marquardt.Steps(fb.LevenbergMarquardt(), None)
    twin.restore(steps.state())
    assert (twin.damping, twin.growth) == (steps.damping, steps.growth)


SECOND_PROCESS = """
import numpy as np
import fastbp as fb
class Keeping(fb.Checkpoint):
    pass
run = fb.resume("kept-002")
data = np.load("data.npz")
run.fit(data["X"], data["Y"], callbacks=Keeping("again"), verbose=0)
np.save("params.npy", run.net.params)
"""


def test_another_process_goes_on_with_the_same_bits(tmp_path):
    whole = make()
    whole.fit(X, Y, epochs=EPOCHS, optimizer=fb.LevenbergMarquardt(), callbacks=Keeping(tmp_path / "run"), verbose=0)
    np.savez(tmp_path / "data.npz", X=X, Y=Y)
    subprocess.run([sys.executable, "-P", "-c", SECOND_PROCESS], cwd=tmp_path, check=True)
    assert (np.load(tmp_path / "params.npy") == whole.params).all()


@pytest.mark.parametrize(
    ("options", "epochs"),
    [({}, [1, 2, 3, 4, 5]), ({"every_epochs": 2}, [2, 4, 5]), ({"every_steps": 3}, [3, 5]),
     ({"every_seconds": 0}, [1, 2, 3, 4, 5]), ({"every_seconds": 1e6}, [5])],
)  # fmt: skip
def test_an_iteration_counts_as_a_step(options, epochs, tmp_path):
    keeping = Keeping(tmp_path / "run", **options)
    make().fit(X, Y, epochs=5, optimizer=fb.LevenbergMarquardt(), callbacks=keeping, verbose=0)
    assert [fb.resume(path).epoch for path in sorted(tmp_path.glob("kept-*"))] == epochs


def test_a_training_that_came_to_its_end_is_finished(tmp_path):
    net = fb.Network([1, 1], loss="mse", dtype="float64", seed=0)
    x = np.arange(5.0)[:, None]
    net.fit(
        x, 2 * x, epochs=500, optimizer=fb.LevenbergMarquardt(), callbacks=fb.Checkpoint(tmp_path / "run"), verbose=0
    )
    assert len(net.history.epochs) < 500
    run = fb.resume(tmp_path / "run")
    assert run.finished
    run.fit(x, 2 * x, callbacks=fb.Checkpoint(tmp_path / "run"), verbose=0)
    assert ending(run.net) == ending(net)


HOSTILE = {
    "damping: expected a finite number >= 0, got -1": {"damping": -1.0, "growth": 2.0},
    "damping: expected a number, got None": {"growth": 2.0},
    "damping: expected a finite number >= 0, got inf": {"damping": np.inf, "growth": 2.0},
    "growth: expected a finite number >= 2.0, got 0.5": {"damping": 1.0, "growth": 0.5},
    "growth: expected a number, got 'much'": {"damping": 1.0, "growth": "much"},
}


@pytest.mark.parametrize("message", HOSTILE)
def test_states_that_no_training_leaves_are_refused_before_anything_changes(message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make().fit(X, Y, epochs=4, optimizer=fb.LevenbergMarquardt(), callbacks=Keeping("as"), verbose=0)
    description, run, arrays = forging.contents("kept-001", "description", "run")
    forging.forge({"description": description, "run": {**run, "iterations": HOSTILE[message]}}, arrays)
    resumed = fb.resume("net")
    before = snapshot(resumed.net)
    with pytest.raises((TypeError, ValueError), match=message):
        resumed.fit(X, Y, callbacks=Keeping("again"), verbose=0)
    assert snapshot(resumed.net) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [("LevenbergMarquardt", "iterations: expected a dict with LevenbergMarquardt"),
     ("Adam", "iterations: expected none with Adam"), ("LBFGS", "optimizer: expected one whose training can be kept")],
)  # fmt: skip
def test_files_whose_state_is_of_another_optimiser_are_refused(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    optimizer = fb.Adam() if name == "Adam" else fb.LevenbergMarquardt()
    make().fit(X, Y, epochs=2, optimizer=optimizer, callbacks=Keeping("as"), verbose=0)
    description, run, arrays = forging.contents("kept-000", "description", "run")
    run.pop("iterations", None)
    if name == "Adam":
        run["iterations"] = {"damping": 1.0, "growth": 2.0}
    if name == "LBFGS":
        other = make()
        other._set_optimizer(fb.LBFGS())
        other.save("other")
        (theirs,) = forging.contents("other", "description")[:1]
        description["optimizer"] = theirs["optimizer"]
    forging.forge({"description": description, "run": run}, arrays)
    with pytest.raises(ValueError, match=f"^net: no training can be resumed.*{message}"):
        fb.resume("net")


def test_l_bfgs_has_no_state_that_a_checkpoint_could_keep(tmp_path):
    pytest.importorskip("scipy")
    net = make()
    before = snapshot(net)
    message = "^callbacks: a Checkpoint keeps no training with LBFGS.*optimizer=False"
    with pytest.raises(ValueError, match=message):
        net.fit(X, Y, optimizer=fb.LBFGS(), callbacks=fb.Checkpoint(tmp_path / "run"), verbose=0)
    assert snapshot(net) == before and os.listdir(tmp_path) == []
    net.fit(X, Y, epochs=2, optimizer=fb.LBFGS(), callbacks=fb.Checkpoint(tmp_path / "net", optimizer=False), verbose=0)
    assert (fb.load(tmp_path / "net").params == net.params).all()
