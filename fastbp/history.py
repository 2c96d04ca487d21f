"""What a fit leaves behind."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class History:
    """What happened in a fit, one entry per epoch in each list.

    Parameters
    ----------
    initial_epoch : int
        How many epochs came before the first entry.
    last_epoch : int, optional
        The number of the last epoch that is planned.
    beside_loss : iterable of str
        Names of the lists that the optimiser fills beside the loss.

    Attributes
    ----------
    history : dict of str to list
        ``loss`` (row-weighted mean over the batches of an epoch, as they were met), ``lr`` (of the last step),
        ``seconds``; of `LevenbergMarquardt` and `LBFGS` the loss after the epoch's step, and what they say in place of
        ``lr``; with validation data also ``val_loss`` and ``val_`` with the name of each metric: those that were asked
        for, or the one that `Network.evaluate` reports for the loss, ``val_accuracy`` for a loss of classes,
        ``val_r2`` for the others.
    epochs : range
        The epochs' numbers, counted from 1.
    """

    history: dict[str, list[float]]

    def __init__(
        self, initial_epoch: int = 0, last_epoch: int | None = None, beside_loss: Iterable[str] = ("lr",)
    ) -> None:
        self.initial_epoch, self.last_epoch = initial_epoch, last_epoch
        self.history = {name: [] for name in ("loss", *beside_loss, "seconds")}
        self._names = ()  # of fit's own lists: callbacks may add others, of any length

    @property
    def epochs(self) -> range:
        first = self.initial_epoch + 1
        return range(first, first + len(self.history["loss"]))

    def append(self, entry):
        """Adds an epoch; `entry` has the same keys each time."""
        self._names = tuple(entry)
        lists = self.history
        for name, value in entry.items():
            if name not in lists:
                lists[name] = []
            lists[name].append(value)

    def close(self):
        """Drops an epoch that a Ctrl-C has left in some of the lists only."""
        own = [self.history[name] for name in self._names if name in self.history]
        for values in own:
            del values[min(map(len, own)) :]

    def copy(self):
        """An independent History of the same epochs."""
        twin = History(self.initial_epoch, self.last_epoch)
        twin._names = self._names
        twin.history = {name: list(values) for name, values in list(self.history.items())}
        twin.close()  # another thread may be about to enter an epoch
        return twin

    def plot(self) -> "Figure":
        """Draws the losses over the epochs, and beside them the metrics of the validation data if there are any.

        Returns
        -------
        matplotlib.figure.Figure
            To show (``matplotlib.pyplot.show()``) or to save (``.savefig("training.svg")``).

        Raises
        ------
        ImportError
            Where matplotlib is not installed; the extra ``plot`` brings it along.

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> net = fb.Network([1, 4, 1], loss="mse", seed=0)
        >>> history = net.fit(np.zeros((8, 1)), np.zeros(8), epochs=3, verbose=0)
        >>> history.plot().savefig("training.svg")  # doctest: +SKIP
        """
        try:
            from matplotlib import pyplot, ticker
        except ImportError as error:
            raise ImportError("History.plot needs matplotlib: pip install 'fastbp[plot]'") from error
        losses = [name for name in ("loss", "val_loss") if name == "loss" or name in self._names]
        metrics = [name for name in self._names if name.startswith("val_") and name != "val_loss"]
        figure, row = pyplot.subplots(ncols=1 + bool(metrics), squeeze=False, layout="constrained")
        for axes, names in zip(row[0], (losses, metrics), strict=False):
            for name in names:
                axes.plot(self.epochs, self.history[name], label=name)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
            axes.legend()
        return figure

    def __repr__(self):
        n = len(self.history["loss"])
        return f"<History of {n} epochs, loss {self.history['loss'][-1]:.6g}>" if n else "<History of 0 epochs>"
