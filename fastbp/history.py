"""What a fit leaves behind, and the line that shows it while it runs."""

import sys
import time


class History:
    """What happened in a fit, one entry per epoch in each list.

    Attributes
    ----------
    history : dict of str to list
        ``loss`` (row-weighted mean over the batches of an epoch, as they were met), ``lr``, ``seconds``; with
        validation data also ``val_loss`` and ``val_`` with the name of the metric that `Network.evaluate` reports for
        the loss: ``val_accuracy`` for a loss of classes, ``val_r2`` for the others.
    """

    history: dict[str, list[float]]

    def __init__(self) -> None:
        self.history = {"loss": [], "lr": [], "seconds": []}
        self._names = ()  # of fit's own lists: callbacks may add others, of any length

    def append(self, entry):
        """Adds an epoch; `entry` has the same keys each time."""
        self._names = tuple(entry)
        for name, value in entry.items():
            self.history.setdefault(name, []).append(value)

    def close(self):
        """Drops an epoch that a Ctrl-C has left in some of the lists only."""
        own = [self.history[name] for name in self._names if name in self.history]
        for values in own:
            del values[min(map(len, own)) :]

    def copy(self):
        """An independent History of the same epochs."""
        twin = History()
        twin.history = {name: list(values) for name, values in self.history.items()}
        return twin

    def __repr__(self):
        n = len(self.history["loss"])
        return f"<History of {n} epochs, loss {self.history['loss'][-1]:.6g}>" if n else "<History of 0 epochs>"


class Progress:
    """One line on standard error, rewritten in place; printed once at the end where that is not a terminal."""

    def __init__(self, epochs, stream=None):
        self.epochs = epochs
        self.stream = stream or sys.stderr  # None where there is no console
        self.live = self.stream is not None and self.stream.isatty()
        self.last = 0.0

    def show(self, history, final):
        now = time.monotonic()
        if self.stream is None or not final and (not self.live or now - self.last < 0.1):
            return
        self.last = now
        values = history.history
        n = len(values["loss"])
        if not n:
            return
        filled = 24 * n // self.epochs
        parts = [f"epoch {n}/{self.epochs} [{'=' * filled}{' ' * (24 - filled)}]", f"loss {values['loss'][-1]:.5f}"]
        if "val_loss" in values:
            parts.append(f"val_loss {values['val_loss'][-1]:.5f}")
        parts.append(f"{sum(values['seconds']):.1f} s")
        line = "  ".join(parts)
        self.stream.write(f"\r{line}\x1b[K" if self.live else line)
        if final:
            self.stream.write("\n")
        self.stream.flush()
