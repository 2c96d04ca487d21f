"""What `fit` calls after each epoch: stopping early, saving."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import checks, metrics, saving

if TYPE_CHECKING:
    from .history import History
    from .network import Network

MODES = ("auto", "min", "max")


class Callback:
    """A callback that also hears of the beginning and the end of `fit`. Any callable of (net, history) will do where
    only epochs matter.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> class Count(fb.callbacks.Callback):
    ...     def begin(self, net, names):
    ...         print("reports", *names)
    ...     def __call__(self, net, history):
    ...         print("epoch", history.epochs[-1])
    ...     def end(self, net, history):
    ...         print(len(history.epochs), "epochs")
    >>> net = fb.Network([1, 1], loss="mse", seed=0)
    >>> _ = net.fit(np.zeros((2, 1)), np.zeros(2), epochs=2, callbacks=Count(), verbose=0)
    reports loss lr seconds
    epoch 1
    epoch 2
    2 epochs
    """

    def begin(self, net: "Network", names: Sequence[str]) -> None:
        """Before training; `names` are the lists that the history will have. An error leaves the network as it is."""

    def __call__(self, net: "Network", history: "History") -> Any:
        """After an epoch; True ends the training."""

    def end(self, net: "Network", history: "History") -> None:
        """After training, however it ended: by the last epoch, a callback, Ctrl-C or an error."""


class Monitor:
    """The best of a list of the history so far.

    Examples
    --------
    >>> monitor = Monitor("val_accuracy", "auto", 0.01)
    >>> monitor.begin(["loss", "val_accuracy"])
    >>> [monitor.improved(value) for value in (0.5, 0.505, 0.52)]
    [True, False, True]
    """

    def __init__(self, name, mode, min_delta):
        if not isinstance(name, str):
            raise TypeError(f"monitor: expected the name of a list of the history, got {checks.described(name)}")
        self.name = name
        mode = checks.choice("mode", mode, MODES)
        self.larger = mode == "max" or mode == "auto" and metrics.larger_is_better(name)
        self.min_delta = checks.number("min_delta", min_delta, at_least=0)
        self.best = None

    def begin(self, names):
        hint = "; give fit validation data" if self.name.startswith("val_") else ""
        if self.name not in names:
            raise ValueError(f"monitor: expected one of {', '.join(names)}, got {self.name!r}{hint}")
        self.best = None

    def improved(self, value):
        """Whether the value is the best so far, by more than min_delta; NaN is none."""
        best = self.best
        if best is not None:
            better = value > best + self.min_delta if self.larger else value < best - self.min_delta
        else:
            better = value == value
        if better:
            self.best = value
        return better


class EarlyStopping(Callback):
    """Ends the training when a number of the history has not become better for some epochs.

    Parameters
    ----------
    monitor : str
        Name of the list: ``"val_loss"``, ``"loss"``, ``"val_accuracy"``, ...
    patience : int
        How many epochs in a row may pass without a new best, at least 1; the last of them ends the training.
    min_delta : float
        By how much a new best must be better, >= 0.
    mode : {"auto", "min", "max"}
        What is better; ``"auto"`` knows fastbp's metrics, and is ``"min"`` for the others.
    restore_best : bool
        Whether the network ends with the parameters of the best epoch, however the training ended. The optimiser's
        state stays that of the last one.

    Attributes
    ----------
    best : float or None
        The best value.
    best_epoch : int or None
        Its epoch, counted from 1.
    stopped : bool
        Whether this ended the last training.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; in `fit`, before training, if the history will have no such list.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((60, 5)), rng.standard_normal(60)  # nothing to learn
    >>> net = fb.Network([5, 50, 1], loss="mse", seed=0)
    >>> stop = fb.EarlyStopping(patience=3)
    >>> history = net.fit(X, y, epochs=1000, validation_split=0.5, callbacks=[stop], verbose=0)
    >>> stop.stopped, len(history.epochs) - stop.best_epoch
    (True, 3)
    >>> net.loss(X[30:], y[30:]) == stop.best == min(history.history["val_loss"])
    True
    """

    best_epoch: int | None
    stopped: bool

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: Literal["auto", "min", "max"] = "auto",
        restore_best: bool = True,
    ) -> None:
        self._monitor = Monitor(monitor, mode, min_delta)
        self.patience = checks.positive_int("patience", patience)
        self.restore_best = checks.boolean("restore_best", restore_best)
        self.best_epoch, self.stopped = None, False
        self._params: NDArray[Any] | None = None

    @property
    def best(self) -> float | None:
        return self._monitor.best

    def begin(self, net: "Network", names: Sequence[str]) -> None:
        self._monitor.begin(names)
        self.best_epoch, self.stopped, self._params = None, False, None
        self._waited = 0

    def __call__(self, net: "Network", history: "History") -> bool:
        if self._monitor.improved(history.history[self._monitor.name][-1]):
            self.best_epoch, self._waited = history.epochs[-1], 0
            if self.restore_best:
                self._params = np.array(net._engine.parameters)
        else:
            self._waited += 1
            self.stopped = self._waited >= self.patience
        return self.stopped

    def end(self, net: "Network", history: "History") -> None:
        if self._params is not None:
            np.asarray(net._engine.parameters)[:] = self._params
            self._params = None


class Checkpoint(Callback):
    """Saves the network after each epoch, in one file that is replaced in one step.

    Parameters
    ----------
    path : str or os.PathLike
        As in `Network.save`.
    monitor : str, optional
        Name of the list of the history that says which epoch is the best; goes with `save_best_only`.
    save_best_only : bool
        Whether only an epoch better than all before is saved.
    mode : {"auto", "min", "max"}
        What is better, as in `EarlyStopping`.
    optimizer : bool
        Whether the optimiser and its state go along.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; in `fit`, before training, if the history will have no such list.
    OSError
        In `fit`, after an epoch, where the file cannot be written.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> X, y = np.linspace(-1, 1, 40).reshape(20, 2), np.repeat([0, 1], 10)
    >>> net = fb.Network([2, 4, 2], seed=0)
    >>> best = fb.Checkpoint("best.npz", monitor="loss", save_best_only=True)
    >>> _ = net.fit(X, y, callbacks=[best], verbose=0)
    >>> fb.load("best.npz").n_params == net.n_params
    True
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str | None = None,
        save_best_only: bool = False,
        *,
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

    def begin(self, net: "Network", names: Sequence[str]) -> None:
        if self._monitor is not None:
            self._monitor.begin(names)

    def __call__(self, net: "Network", history: "History") -> None:
        if self._monitor is None or self._monitor.improved(history.history[self._monitor.name][-1]):
            net.save(self.path, optimizer=self.optimizer)
