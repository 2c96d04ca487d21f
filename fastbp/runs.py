"""Going on with a training that a checkpoint has kept, bit for bit."""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from . import checks, config, description, runfile, saving, training
from .description import expect
from .version import __version__

if TYPE_CHECKING:
    from .history import History
    from .metrics import Metrics
    from .network import Network
    from .record import Record


class Run:
    """A training that :func:`resume` has read: it waits for its data and its callables.

    Attributes
    ----------
    net : Network
        As it was when the checkpoint was written, in the middle of an epoch perhaps.
    epoch, batch : int
        How many epochs are done, and how many batches of the next one.
    finished : bool
        Whether all epochs are done, or a callback has ended the training.
    settings : dict
        What `fit` got of epochs, initial_epoch, batch_size, shuffle, validation_split and class_weight.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> X, y = np.linspace(-1, 1, 40).reshape(20, 2), np.repeat([0, 1], 10)
    >>> net = fb.Network([2, 4, 2], seed=0)
    >>> checkpoint = fb.Checkpoint("run.npz", every_steps=7)
    >>> def crash(net, history):
    ...     if len(history.epochs) == 3:
    ...         raise RuntimeError("power cut")
    >>> net.fit(X, y, epochs=5, batch_size=4, callbacks=[checkpoint, crash], verbose=0)
    Traceback (most recent call last):
    RuntimeError: power cut
    >>> run = fb.resume("run.npz")
    >>> run
    <Run at epoch 2 of 5, batch 4>
    >>> history = run.fit(X, y, callbacks=[checkpoint, lambda net, history: None], verbose=0)
    Traceback (most recent call last):
    ValueError: callbacks: expected [Checkpoint, crash], as at the beginning, got [Checkpoint, <lambda>]
    >>> def crash(net, history):
    ...     pass
    >>> history = run.fit(X, y, callbacks=[checkpoint, crash], verbose=0)
    >>> twin = fb.Network([2, 4, 2], seed=0)
    >>> _ = twin.fit(X, y, epochs=5, batch_size=4, verbose=0)
    >>> bool((run.net.params == twin.params).all()), history.history["loss"] == twin.history.history["loss"]
    (True, True)
    """

    net: "Network"

    def __init__(self, net: "Network", record: "Record") -> None:
        self.net = net
        self._record = record
        net.__dict__["history"] = record.history
        self.settings = record.settings
        self.epoch, self.batch, self.finished = record.position.epoch, record.position.batches, record.finished

    def fit(
        self,
        X: ArrayLike | Iterable[tuple[ArrayLike, ...]],
        y: ArrayLike | None = None,
        *,
        validation_data: tuple[ArrayLike, ...] | None = None,
        metrics: "Metrics | None" = None,
        sample_weight: ArrayLike | None = None,
        callbacks: "Callable[[Network, History], Any] | Sequence[Callable[[Network, History], Any]]" = (),
        on_interrupt: Literal["raise", "return"] = "raise",
        verbose: Literal["auto", 0, 1] = "auto",
    ) -> "History":
        """Trains on, to the end that the interrupted `Network.fit` was to come to, and with the bits it would have had.

        Parameters
        ----------
        X, y, validation_data, sample_weight
            The data of the training. It is compared with the fingerprints in the file: arrays byte by byte once they
            are converted to what is trained on, memory maps in 256 rows. Of an iterable that is no list or tuple the
            type is all that is compared; the batches that are done are drawn and left out.
        metrics
            As in `fit`; may be left out where all were named by strings.
        callbacks
            Again, in the same order, a `Checkpoint` as well, whose settings may differ; compared by name. What the
            file knows about each is given to it.
        on_interrupt, verbose
            As in `fit`.

        Returns
        -------
        History
            Of all epochs, those before the checkpoint among them.

        Raises
        ------
        ValueError
            Where data or callables are not those of the training; nothing changes then.
        RuntimeError
            When called again after it has trained, or after ``run.net.fit``: `resume` the file again.

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> X, y = np.linspace(-1, 1, 40).reshape(20, 2), np.repeat([0, 1], 10)
        >>> checkpoint = fb.Checkpoint("run.npz", every_epochs=2)
        >>> def interrupt(net, history):
        ...     if len(history.epochs) == 3:
        ...         raise KeyboardInterrupt
        >>> net = fb.Network([2, 4, 2], seed=0)
        >>> _ = net.fit(X, y, epochs=5, callbacks=[checkpoint, interrupt], on_interrupt="return", verbose=0)
        >>> run = fb.resume("run.npz")
        >>> run.epoch
        2
        >>> def interrupt(net, history):
        ...     pass
        >>> run.fit(X, y, callbacks=[checkpoint, interrupt], verbose=0).epochs
        range(1, 6)
        """
        record = self._record
        if record.used:
            raise RuntimeError("fit: this run has gone on already; resume its file again, or use run.net.fit")
        if self.net.history is not record.history:
            raise RuntimeError("fit: run.net has been trained otherwise since the file was read; resume the file again")
        if metrics is None and record.metrics is not None and all(isinstance(each, str) for each in record.metrics):
            metrics = record.metrics
        return training.fit(
            self.net, X, y, **record.settings, optimizer=None, validation_data=validation_data, metrics=metrics,
            sample_weight=sample_weight, callbacks=callbacks, on_interrupt=on_interrupt, verbose=verbose,
            resumed=record,
        )  # fmt: skip

    def __repr__(self):
        batch = f", batch {self.batch}" if self.batch else ""
        return f"<Run at epoch {self.epoch} of {self.settings['epochs']}{batch}{', finished' * self.finished}>"


def resume(path: str | os.PathLike[str], *, loss: Any = None, lr: Any = None, other_level: bool = False) -> Run:
    """The training in a file that a :class:`Checkpoint` wrote; its ``.fit(X, y)`` goes on with it.

    Parameters
    ----------
    path : str or os.PathLike
    loss : object, optional
        The loss object of one's own that the network had, as in :func:`load`.
    lr : callable, optional
        The function (or the `Schedule` of a class of one's own) that stood for the optimiser's learning rate.
    other_level : bool
        Whether to go on where the core runs at another level (``fastbp.show_config``) than the training did. The
        training goes on as well, but its last bits differ.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        Naming the path and what is wrong, as :func:`load`; for a file that has a network alone; for another level.
    OSError
        Where the file cannot be opened or read.

    Warns
    -----
    UserWarning
        Where fastbp or NumPy have another version than when the file was written: bits may differ.

    Notes
    -----
    Safe with files of strangers and bounded in memory as :func:`load` is.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> X, y = np.linspace(-1, 1, 40).reshape(20, 2), np.repeat([0, 1], 10)
    >>> _ = fb.Network([2, 4, 2], seed=0).fit(X, y, epochs=3, callbacks=fb.Checkpoint("run.npz"), verbose=0)
    >>> run = fb.resume("run.npz")
    >>> run
    <Run at epoch 3 of 3, finished>
    >>> run.fit(X, y, callbacks=fb.Checkpoint("run.npz"), verbose=0)
    <History of 3 epochs, loss ...>
    """
    other_level = checks.boolean("other_level", other_level)

    def read(archive, sizes, net, described):
        name = description.name_of_rate(described)
        expect(lr is not None or name is None, f"lr: expected resume(path, lr=...) with what is named {name!r:.60}")
        return net, *runfile.read(archive, sizes, net)

    net, record, origin = saving.opened(path, loss, lr, read, "no training can be resumed")
    if origin["level"] != config.LEVEL and not other_level:
        raise ValueError(
            f"{path}: no training can be resumed: it ran at level {origin['level']!r:.20}, this is {config.LEVEL!r}, "
            "whose last bits differ; set FASTBP_LEVEL, or allow it with resume(path, other_level=True)"
        )
    for name, version in (("fastbp", __version__), ("numpy", np.__version__)):
        if origin[name] != version:
            problem = f"{path}: written with {name} {origin[name]!s:.40}, resumed with {version}: bits may differ"
            warnings.warn(problem, stacklevel=2)
    return Run(net, record)
