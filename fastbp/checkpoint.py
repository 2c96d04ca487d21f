"""The callback that saves a training while it runs."""

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from . import checks, runfile, saving
from .callbacks import MODES, Callback, Monitor

if TYPE_CHECKING:
    from .history import History
    from .network import Network


class Checkpoint(Callback):
    """Saves the training while it runs, in one file replaced in one step; :func:`fastbp.resume` goes on from it.

    The file has the network, the optimiser and its state, the generator, the place within the epoch, the history, what
    other callbacks know, the settings of `fit` and a fingerprint of the data. A training that goes on from it ends with
    the bits of one that was never interrupted. :func:`fastbp.load` takes the network alone out of it.

    Parameters
    ----------
    path : str or os.PathLike
        As in `Network.save`. After a crash, also in the middle of writing, the file is the old or the new one.
    monitor : str, optional
        Name of the list of the history that says which epoch is the best; goes with `save_best_only`.
    save_best_only : bool
        Whether the network, rather than the training, is saved, after an epoch better than all before.
    every_epochs, every_steps, every_seconds : number, optional
        When to save: after so many epochs, updates of the optimiser, or seconds since the last time, the latter two
        also in the middle of an epoch. Of several, whichever comes first; none is ``every_epochs=1``. The end of the
        training is saved in any case, unless an error or Ctrl-C brings it.
    mode : {"auto", "min", "max"}
        What is better, as in `EarlyStopping`.
    optimizer : bool
        False leaves the optimiser and all of the training out: what is saved after each epoch is the network.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; in `fit`, before training, if the history will have no such list.
    OSError
        In `fit`, where the file cannot be written; before training, where its folder is not there or is read-only.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> X, y = np.linspace(-1, 1, 40).reshape(20, 2), np.repeat([0, 1], 10)
    >>> net = fb.Network([2, 4, 2], seed=0)
    >>> _ = net.fit(X, y, callbacks=[fb.Checkpoint("run.npz", every_seconds=60)], verbose=0)
    >>> fb.resume("run.npz")
    <Run at epoch 10 of 10, finished>

    >>> best = fb.Checkpoint("best.npz", monitor="loss", save_best_only=True)
    >>> _ = net.fit(X, y, callbacks=[best], verbose=0)
    >>> fb.load("best.npz").n_params == net.n_params
    True
    """

    of_one_fit = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str | None = None,
        save_best_only: bool = False,
        *,
        every_epochs: int | None = None,
        every_steps: int | None = None,
        every_seconds: float | None = None,
        mode: Literal["auto", "min", "max"] = "auto",
        optimizer: bool = True,
    ) -> None:
        self.path = saving.path_of(path)
        self.save_best_only = checks.boolean("save_best_only", save_best_only)
        self.optimizer = checks.boolean("optimizer", optimizer)
        checks.choice("mode", mode, MODES)
        if (monitor is None) == self.save_best_only:
            wanted = "the name of a list of the history" if self.save_best_only else "None"
            came = checks.described(monitor)
            raise ValueError(f"monitor: expected {wanted} with save_best_only={self.save_best_only}, got {came}")
        self._monitor = None if monitor is None else Monitor(monitor, mode, 0.0)
        self.every_epochs = None if every_epochs is None else checks.positive_int("every_epochs", every_epochs)
        self.every_steps = None if every_steps is None else checks.positive_int("every_steps", every_steps)
        if every_seconds is not None:
            every_seconds = checks.number("every_seconds", every_seconds, at_least=0)
        self.every_seconds = every_seconds
        for name in ("every_epochs", "every_steps", "every_seconds"):
            if not self.resumable and getattr(self, name) is not None:
                reason = "save_best_only=True" if self.save_best_only else "optimizer=False"
                raise ValueError(f"{name}: expected None with {reason}, got {getattr(self, name)}")
        if self.every_epochs is self.every_steps is self.every_seconds is None:
            self.every_epochs = 1
        self._saved = 0.0

    @property
    def resumable(self) -> bool:
        """Whether the file has the training, not the network alone."""
        return self.optimizer and not self.save_best_only

    @property
    def watches_steps(self) -> bool:
        """Whether it looks at the training in the middle of an epoch."""
        return self.every_steps is not None or self.every_seconds is not None

    def begin(self, net: "Network", names: Sequence[str]) -> None:
        if self._monitor is not None:
            self._monitor.begin(names)
        saving.place_of(self.path)  # hours of training may lie before the first writing
        self._saved = time.monotonic()

    def __call__(self, net: "Network", history: "History") -> None:
        if self.resumable:
            return  # `after_epoch` waits for what the other callbacks have to say
        if self._monitor is None or self._monitor.improved(history.history[self._monitor.name][-1]):
            net.save(self.path, optimizer=self.optimizer)

    def state(self) -> dict[str, Any] | None:
        return None if self._monitor is None else {"best": self._monitor.best}

    def restore(self, net: "Network", state: dict[str, Any]) -> None:
        if self._monitor is not None:
            self._monitor.restore(state)

    def between_steps(self, training):
        """Saves a `training.Training` in the middle of an epoch where it is time to."""
        steps = self.every_steps is not None and training.steps() % self.every_steps == 0
        if steps or self.every_seconds is not None and time.monotonic() - self._saved >= self.every_seconds:
            self.save(training)

    def after_epoch(self, training):
        """The same after an epoch."""
        if not self.resumable:
            return
        done = training.position.epoch - training.settings["initial_epoch"]
        if training.finished or self.every_epochs is not None and done % self.every_epochs == 0:
            self.save(training)
        else:
            self.between_steps(training)

    def save(self, training):
        runfile.write(self.path, training)
        self._saved = time.monotonic()
