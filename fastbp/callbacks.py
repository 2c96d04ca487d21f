"""What `fit` calls after each epoch, and stopping early; checkpoint.py has the callback that saves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import checks, data, metrics

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

    of_one_fit = False  # whether an object remembers the fit it is in, so that it cannot be in two at the same time

    def begin(self, net: "Network", names: Sequence[str]) -> None:
        """Before training; `names` are the lists that the history will have. An error leaves the network as it is; the
        callbacks that have begun before hear of the end."""

    def __call__(self, net: "Network", history: "History") -> Any:
        """After an epoch; True ends the training."""

    def end(self, net: "Network", history: "History") -> None:
        """After training, however it ended: by the last epoch, a callback, Ctrl-C or an error. Once for each `begin`
        that returned."""

    def state(self) -> dict[str, Any] | None:
        """What a checkpoint is to keep of this callback: numbers, strings, 1-D arrays, lists and dicts of such."""
        return None

    def restore(self, net: "Network", state: dict[str, Any]) -> None:
        """After `begin`, where training goes on from a checkpoint: `state` as the method gave it there, out of a file.
        An error ends the call before training."""


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
        metrics.check_monitor(self.name, names)
        self.best = None

    def restore(self, state):
        best = state["best"]
        if best is not None and type(best) not in (int, float):
            raise ValueError(f"best: expected a number or None, got {checks.described(best)}")
        self.best = best

    def is_better(self, value):
        """Than the best so far, by more than min_delta; NaN is not."""
        best = self.best
        if best is None:
            return value == value
        return value > best + self.min_delta if self.larger else value < best - self.min_delta

    def improved(self, value):
        """Whether the value is a new best, which is then kept."""
        better = self.is_better(value)
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
    RuntimeError
        In `fit`, before training, for an object that is in another fit at the same time.

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

    of_one_fit = True
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
        self.stopped = False
        # value, epoch, parameters and statistics of batch norms: one tuple, so that a Ctrl-C leaves all or none of them
        self._at_best: tuple[Any, Any, NDArray[Any] | None, NDArray[Any] | None] = (None,) * 4

    @property
    def best(self) -> float | None:
        return self._at_best[0]

    @property
    def best_epoch(self) -> int | None:
        return self._at_best[1]

    def begin(self, net: "Network", names: Sequence[str]) -> None:
        self._monitor.begin(names)
        self.stopped, self._waited, self._at_best = False, 0, (None,) * 4

    def __call__(self, net: "Network", history: "History") -> bool:
        value = history.history[self._monitor.name][-1]
        if self._monitor.is_better(value):
            params = running = None
            if self.restore_best:
                params, running = np.array(net._engine.parameters), np.array(net._engine.running)
            self._at_best = value, history.epochs[-1], params, running
            self._monitor.best, self._waited = value, 0
        else:
            self._waited += 1
            self.stopped = self._waited >= self.patience
        return self.stopped

    def state(self) -> dict[str, Any]:
        of_best = zip(("best", "best_epoch", "params", "running"), self._at_best, strict=True)
        return {**dict(of_best), "stopped": self.stopped, "waited": self._waited}

    def restore(self, net: "Network", state: dict[str, Any]) -> None:
        params, running, best_epoch = state["params"], state["running"], state["best_epoch"]
        if params is not None:
            for name, kept, present in (("params", params, net.params), ("running", running, net._engine.running)):
                present = np.asarray(present)
                if kept.shape != present.shape or kept.dtype != net.dtype or not data.all_finite(kept):
                    raise ValueError(f"{name}: expected {len(present)} finite numbers, got {checks.described(kept)}")
        self._monitor.restore(state)
        best_epoch = None if best_epoch is None else checks.integer("best_epoch", best_epoch, 1)
        kept = (params, running) if self.restore_best else (None, None)
        self._at_best = self._monitor.best, best_epoch, *kept
        self.stopped = checks.boolean("stopped", state["stopped"])
        self._waited = checks.integer("waited", state["waited"], 0)

    def end(self, net: "Network", history: "History") -> None:
        self.put_back(net)

    def put_back(self, net):
        """Gives the network the best parameters; where a Ctrl-C falls into it, once more is harmless."""
        value, epoch, params, running = self._at_best
        if params is not None:
            np.asarray(net._engine.parameters)[:] = params
            np.asarray(net._engine.running)[:] = running
            self._at_best = value, epoch, None, None

    def forget(self):
        """Leaves the network as it is at the end."""
        self._at_best = (None,) * 4
