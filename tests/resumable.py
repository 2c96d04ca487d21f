"""Trainings that a checkpoint can interrupt, each the same every time it is made, and what they end with."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
from snapshot import snapshot

import fastbp as fb
from fastbp import runfile, saving

N, INPUTS, CLASSES = 600, 6, 3


class Squares:
    """A loss object of one's own."""

    def value_and_delta(self, outputs, targets):
        difference = outputs - np.eye(CLASSES, dtype=outputs.dtype)[targets]
        return float((difference**2).mean()), 2 * difference / difference.size


def numbers(rows=N, seed=4):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, INPUTS)).astype("f4"), rng.integers(0, CLASSES, rows)


def mapped(array, path):
    try:
        return np.memmap(path, array.dtype, "r", shape=array.shape)
    except FileNotFoundError:
        on_disk = np.memmap(path, array.dtype, "w+", shape=array.shape)
        on_disk[:] = array
        on_disk.flush()
        return on_disk


class Case:
    """A network and its data, from `source` on; `options` are arguments of fit that a run keeps by itself."""

    def __init__(self, source="array", optimizer=None, *, folder=None, epochs=4, batch_size=32, stop=False,
                 weighted=False, dtype="float32", rows=N, hidden=(16,), **options):  # fmt: skip
        self.loss = {"loss object": Squares(), "missing targets": "mse"}.get(source, "cross_entropy")
        self.missing = "mask" if source == "missing targets" else "raise"
        self.hidden = hidden
        self.optimizer = optimizer or fb.Adam(0.01)
        self.dtype, self.stop = dtype, stop
        X, y = numbers(rows)
        weights = np.linspace(0.5, 2, rows) if weighted else None
        if source == "memory map":
            X, y = mapped(X.astype("f8"), folder / "X"), mapped(y, folder / "y")
            weights = None if weights is None else mapped(weights, folder / "w")
        if source == "missing targets":
            y = np.where(np.arange(rows * CLASSES).reshape(rows, CLASSES) % 4, np.eye(CLASSES)[y], np.nan)
        self.data = (X, y)
        if source == "batches":
            arrays = (X, y) if weights is None else (X, y, weights)
            self.data = ([tuple(a[k : k + batch_size] for a in arrays) for k in range(0, rows, batch_size)],)
        self.again = {} if weights is None or source == "batches" else {"sample_weight": weights}
        if stop:
            self.again |= {"validation_data": numbers(50, seed=5), "metrics": ["accuracy"]}
        self.options = {"epochs": epochs, "batch_size": None if source == "batches" else batch_size, **options}

    def callbacks(self, *checkpoints):
        return [*checkpoints, *([fb.EarlyStopping(patience=1)] if self.stop else [])]

    def fit(self, *checkpoints):
        """A training from its beginning."""
        layers = [INPUTS, *self.hidden, CLASSES]
        net = fb.Network(
            layers, activation="tanh", loss=self.loss, seed=1, dtype=self.dtype, threads=1, missing_targets=self.missing
        )
        run = {**self.options, **self.again, "optimizer": self.optimizer, "verbose": 0}
        net.fit(*self.data, callbacks=self.callbacks(*checkpoints), **run)
        return net

    def run_of(self, path):
        loss = self.loss if isinstance(self.loss, Squares) else None
        lr = self.optimizer.lr
        return fb.resume(path, loss=loss, lr=lr if callable(lr) else None)

    def resume(self, path, *checkpoints):
        """The rest of it."""
        run = self.run_of(path)
        run.fit(*self.data, callbacks=self.callbacks(*checkpoints), verbose=0, **self.again)
        return run.net


def ending(net):
    """All that two trainings of the same must have in common; the seconds are not the same."""
    state = snapshot(net)
    state["fixed"] = [part for part in state["fixed"] if not isinstance(part, Squares)]
    state["history"] = {name: values for name, values in state["history"].items() if name != "seconds"}
    return {**state, "epochs": net.history.epochs}


def record_of(path):
    """What a file says, but for seconds."""
    net, record, origin = saving.opened(path, None, None, lambda *args: (args[2], *runfile.read(*args[:3])), "refused")
    said = dataclasses.asdict(dataclasses.replace(record, history=None))
    said["position"]["seconds"] = 0.0
    for _, state in said["callbacks"]:
        for name, value in (state or {}).items():
            if isinstance(value, np.ndarray):
                state[name] = value.tobytes()
    net.__dict__["history"] = record.history
    return said, ending(net), origin


class Keeping(fb.Checkpoint):
    """Keeps each file that it has written."""

    def save(self, training):
        super().save(training)
        kept = len(list(Path(self.path).parent.glob("kept-*")))
        shutil.copy(self.path, Path(self.path).parent / f"kept-{kept:03}")
