"""What shows how far a `fit` has come."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from . import checks
from .callbacks import Callback

if TYPE_CHECKING:
    from .history import History
    from .network import Network

BETWEEN = 0.1  # seconds between two looks of a reader
WIDTH = 24
BAR = "{desc} {bar}| {elapsed}<{remaining}{postfix}"


def wanted(callbacks, verbose):
    """What `fit` shows by itself: a Progress, or None."""
    if any(isinstance(callback, Progress) for callback in callbacks):
        return None
    return Progress() if verbose == 1 or verbose == "auto" and is_terminal(sys.stderr) else None


def is_terminal(stream):
    return (
        stream is not None and not getattr(stream, "closed", False) and stream.isatty()
    )  # None where there is no console


class Progress(Callback):
    """A line on standard error that is rewritten while the training goes on. Where that is no terminal, one line at the
    end. `fit` shows one by itself (``verbose``) unless there is one among its callbacks.

    Parameters
    ----------
    bar : {"auto", "line", "tqdm"}
        ``"tqdm"`` draws the bar of that package (extra ``progress``), terminal or not; ``"line"`` is fastbp's own;
        ``"auto"`` takes tqdm on a terminal where it is installed.

    Raises
    ------
    ImportError
        In `fit`, for ``"tqdm"`` where it is not installed.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> net = fb.Network([1, 1], loss="mse", seed=0)
    >>> _ = net.fit(np.zeros((4, 1)), np.zeros(4), epochs=3, callbacks=fb.Progress(bar="line"))
    """

    of_one_fit = True

    def __init__(self, bar: Literal["auto", "line", "tqdm"] = "auto") -> None:
        self.bar = checks.choice("bar", bar, ("auto", "line", "tqdm"))
        self._net = self._tqdm = None

    def begin(self, net: "Network", names: Sequence[str]) -> None:
        self._net, self._tqdm = net, None
        self._stream = sys.stderr
        self._live = is_terminal(self._stream)
        self._begun = self._shown = time.monotonic()
        self._drawn = False
        if self.bar == "tqdm" or self.bar == "auto" and self._live:
            tqdm = tqdm_class(required=self.bar == "tqdm")
            self._tqdm = tqdm and tqdm(total=1.0, file=self._stream, bar_format=BAR, delay=1e-9)  # not drawn yet

    @property
    def is_live(self) -> bool:
        """Whether `update` may have something to show."""
        return self._live or self._tqdm is not None

    def update(self, fraction: float | None) -> None:
        """Within an epoch: the share of it that is done, None where nobody knows. Costs a look at the clock."""
        if self.is_live and time.monotonic() - self._shown >= BETWEEN:
            self._show(self._net.history, fraction or 0.0)

    def __call__(self, net: "Network", history: "History") -> None:
        if self.is_live and time.monotonic() - self._shown >= BETWEEN:
            self._show(history, 0.0)

    def end(self, net: "Network", history: "History") -> None:
        self._show(history, 0.0)
        if self._tqdm is not None:
            self._tqdm.close()
        elif self._drawn:
            self._write("\n")
        self._net = self._tqdm = self._stream = None

    def _show(self, history, fraction):
        self._shown = time.monotonic()
        values, last = history.history, history.last_epoch
        done = history.initial_epoch + len(history.epochs)
        share = (done + fraction) / last
        title = f"epoch {min(done + (fraction > 0), last)}/{last}"
        numbers = [f"{name} {values[name][-1]:.5f}" for name in ("loss", "val_loss") if values.get(name)]
        if self._tqdm is not None:
            self._tqdm.set_description_str(title, refresh=False)
            self._tqdm.set_postfix_str("  ".join(numbers), refresh=False)
            self._tqdm.update(share - self._tqdm.n)
            self._tqdm.refresh()
        elif self._stream is not None and (numbers or fraction):
            filled = int(WIDTH * share)
            bar = f"[{'=' * filled}{' ' * (WIDTH - filled)}]"
            line = "  ".join([f"{title} {bar}", *numbers, f"{self._shown - self._begun:.1f} s"])
            self._drawn = True
            self._write(f"\r{line}\x1b[K" if self._live else line)

    def _write(self, text):
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # a terminal that is gone, a closed stream: no reason for a training to end
            self._stream, self._drawn = None, False


def tqdm_class(required):
    """tqdm's class, or None where it is not installed."""
    try:
        from tqdm import tqdm
    except ImportError as error:
        if required:
            raise ImportError("Progress(bar='tqdm') needs tqdm: pip install 'fastbp[progress]'") from error
        return None
    return tqdm
