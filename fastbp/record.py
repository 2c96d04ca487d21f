"""What a checkpoint knows about a training, and whether a call that goes on with it is the same."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .callbacks import Callback, EarlyStopping
from .epochs import Position
from .full_batch import Iterations
from .history import History


@dataclass
class Record:
    """What a file says about a training.

    Parameters
    ----------
    settings : dict
        Arguments of `fit` that JSON can keep.
    metrics : list of str or dict, or None
        Names; {"callable": its name} for a function.
    data : dict of dict
        Fingerprints.
    callbacks : list of (str, dict or None)
        Name and state of each.
    position : Position
    finished : bool
    generator : dict
        State of the network's generator at the beginning of the epoch.
    bounds : (float, float, float)
        `Engine.bounds`.
    iterations : dict or None
        The state of an optimiser that works on all rows.
    history : History
    used : bool
        Whether a training has gone on from it.
    """

    settings: dict[str, Any]
    metrics: list[Any] | None
    data: dict[str, Any]
    callbacks: list[Any]
    position: Position
    finished: bool
    generator: dict[str, Any]
    bounds: tuple[float, float, float]
    iterations: dict[str, Any] | None
    history: History
    used: bool = False

    def check(self, source, prints, metrics, callbacks):
        """Refuses anything else than the training went on with until now; called by `fit` before anything changes."""
        for name in {**self.data, **prints}:
            if self.data.get(name) != prints.get(name):
                raise ValueError(f"{name}: expected what the training began with, {seen(self.data, prints, name)}")
        came = metrics_by_name(metrics)
        if came != self.metrics:
            raise ValueError(f"metrics: expected {listed(self.metrics)}, as at the beginning, got {listed(came)}")
        wanted, came = [name for name, _ in self.callbacks], [name_of(callback) for callback in callbacks]
        if came != wanted:
            raise ValueError(f"callbacks: expected {listed(wanted)}, as at the beginning, got {listed(came)}")
        at = self.position
        if source.rows is not None and at.rows != min(at.batches * source.batch_size, source.rows):
            raise ValueError(f"position: expected the rows of {at.batches} batches, got {at.rows}")
        if isinstance(source, Iterations) and not self.finished:
            source.restore(self.iterations)  # made for this call alone

    def restore(self, net, callbacks):
        """Gives the callbacks, the history and the core what they had."""
        try:
            self.restore_callbacks(net, callbacks)
        except BaseException:
            for callback in callbacks:
                if isinstance(callback, EarlyStopping):
                    callback.forget()  # before training nothing of the network is to change
            raise
        self.used = True
        engine = net._engine
        vectors = engine.parameters, engine.first, engine.second
        largest = [float(np.abs(np.asarray(vector)).max(initial=0)) for vector in vectors]
        engine.bounds = tuple(map(max, largest, self.bounds))  # no less than what holds, whatever the file says
        net._rng.bit_generator.state = self.generator
        net.__dict__["history"] = self.history

    def restore_callbacks(self, net, callbacks):
        for callback, (name, state) in zip(callbacks, self.callbacks, strict=True):
            if state is not None and isinstance(callback, Callback):
                try:
                    callback.restore(net, state)
                except (KeyError, AttributeError, TypeError, ValueError) as error:
                    raise ValueError(f"callbacks: {name} cannot go on from its state in the file: {error}") from error


def seen(wanted, came, name):
    """Fingerprints in the words of a message."""
    if name not in came:
        return "got None"
    if name not in wanted:
        return f"None, got {name}"
    words = []
    for prints in (wanted[name], came[name]):
        iterable = prints.get("iterable")
        kind = "an array" if prints.get("rows") == "all" else "a memory map"
        what = iterable or f"{kind} of shape {tuple(prints.get('shape', ()))} and dtype {prints.get('dtype')}"
        words.append(f"{what!s:.80} with SHA-256 {prints.get('sha256')!s:.8}...")
    return ", got ".join(words)


def listed(names):
    if names is None:
        return "None"
    return f"[{', '.join(name if isinstance(name, str) else str(name.get('callable')) for name in names)}]"


def name_of(function):
    """By which a callable is known again."""
    function = getattr(function, "func", function)  # of a functools.partial
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def metrics_by_name(metrics):
    if metrics is None:
        return None
    metrics = [metrics] if isinstance(metrics, str) or callable(metrics) else metrics
    return [metric if isinstance(metric, str) else {"callable": name_of(metric)} for metric in metrics]
