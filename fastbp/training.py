"""The training loop around the engine: epochs, shuffling, validation, callbacks, progress."""

import sys
import time

import numpy as np

from . import checks, data, losses, optimizers
from .errors import DivergedError


class History:
    """What happened in a fit.

    Attributes
    ----------
    history : dict of str to list
        ``loss`` (row-weighted mean over the batches of an epoch, as they were met), ``lr``, ``seconds``, and ``val_loss``
        where there was validation data; one entry per epoch.
    """

    def __init__(self):
        self.history = {"loss": [], "lr": [], "seconds": []}

    def __repr__(self):
        n = len(self.history["loss"])
        return f"<History of {n} epochs, loss {self.history['loss'][-1]:.6g}>" if n else "<History of 0 epochs>"


class Progress:
    """One line on standard error, rewritten in place; printed once at the end where that is not a terminal."""

    def __init__(self, epochs, stream=None):
        self.epochs = epochs
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.last = 0.0

    def show(self, history, final):
        now = time.monotonic()
        if not final and (not self.live or now - self.last < 0.1):
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


def fit(net, X, y, *, epochs, batch_size, optimizer, validation_data, sample_weight, shuffle, callbacks, verbose):
    """See Network.fit."""
    epochs = checks.positive_int("epochs", epochs)
    batch_size = checks.positive_int("batch_size", batch_size)
    shuffle = checks.boolean("shuffle", shuffle)
    verbose = checks.choice("verbose", verbose, (0, 1, True, False))
    if optimizer is not None and not isinstance(optimizer, optimizers.Optimizer):
        raise TypeError(f"optimizer: expected SGD, Adam, AdamW or None, got {type(optimizer).__name__}")
    callbacks = (callbacks,) if callable(callbacks) else tuple(callbacks)
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"callbacks: expected callables, got {type(callback).__name__}")
    if not np.isfinite(net.params).all():
        raise ValueError(f"params: expected finite parameters, got {net.params[~np.isfinite(net.params)][0]}")
    epoch = epoch_of(net, X, y, batch_size, shuffle, sample_weight)
    validate = validation_of(net, validation_data)
    if not net._fitting.acquire(blocking=False):
        raise RuntimeError("fit: this network is being fitted already, by a callback's caller or by another thread")
    try:
        return run(net, epoch, validate, epochs, optimizer, callbacks, Progress(epochs) if verbose else None)
    finally:
        net._fitting.release()


def run(net, epoch, validate, epochs, optimizer, callbacks, progress):
    fresh = optimizer is not None or net.optimizer is None
    net._set_optimizer(optimizer or net.optimizer or optimizers.Adam(), fresh)
    record = net.history = History()
    try:
        for _ in range(epochs):
            begin = time.perf_counter()
            loss = epoch(len(record.history["loss"]))
            record.history["loss"].append(loss)
            record.history["lr"].append(net.optimizer.lr)
            if validate:
                record.history.setdefault("val_loss", []).append(validate())
            record.history["seconds"].append(time.perf_counter() - begin)
            if progress:
                progress.show(record, final=False)
            if any([callback(net, record) for callback in callbacks]):
                break
    finally:
        if progress:
            progress.show(record, final=True)
    return record


def validation_of(net, validation_data):
    """A function that gives the validation loss, or None. The data is checked here, before training starts."""
    if validation_data is None:
        return None
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
        raise TypeError(f"validation_data: expected a pair (X, y), got {type(validation_data).__name__}")
    X = data.inputs(validation_data[0], net.n_inputs, net.dtype, name="validation_data[0]")
    n = X.shape[0]
    y = data.targets(validation_data[1], n, net.n_outputs, net.objective, net.dtype, name="validation_data[1]")
    if net._core_loss.code == losses.GivenDelta.code:
        return lambda: net._delta_of_custom_loss(X, y)[0]
    return lambda: net._engine.loss(X, y, None, n, float(n), net._core_loss.code_for(y))


def epoch_of(net, X, y, batch_size, shuffle, sample_weight):
    """A function of the epoch's number that trains one epoch and returns its loss. Data that fits is converted here."""
    custom = net._core_loss.code == losses.GivenDelta.code
    if sample_weight is not None and (custom or y is None):
        raise ValueError("sample_weight: expected None with a loss object of one's own or an iterable of batches")
    if y is None:
        return lambda epoch: streamed_epoch(net, pairs(X), epoch)
    if data.is_streaming(X):
        n = len(X)
        data.row_count("y", y, n)
        weights = None if sample_weight is None else data.mean_one(data.sample_weights(sample_weight, n, net.dtype))
        return lambda epoch: streamed_epoch(net, batches(net, X, y, weights, batch_size, shuffle), epoch)
    X = data.inputs(X, net.n_inputs, net.dtype)
    n = X.shape[0]
    targets = data.targets(y, n, net.n_outputs, net.objective, net.dtype)
    if custom:
        return lambda epoch: streamed_epoch(net, batches(net, X, targets, None, batch_size, shuffle), epoch)
    weights = None if sample_weight is None else data.mean_one(data.sample_weights(sample_weight, n, net.dtype))
    code = net._core_loss.code_for(targets)
    order = np.arange(n)

    def epoch(number):
        if shuffle:
            net._rng.shuffle(order)
        total, refused = net._engine.train(X, targets, weights, order if shuffle else None, n, batch_size, code)
        if refused >= 0:
            raise DivergedError(diverged(net, number, refused // batch_size))
        return total / n

    return epoch


def streamed_epoch(net, source, number):
    """One epoch over batches (X, y, weights) that are converted and checked one by one, each before its step."""
    total, rows = 0.0, 0
    for k, (X, y, weights) in enumerate(source):
        X = data.inputs(X, net.n_inputs, net.dtype)
        n = X.shape[0]
        targets = data.targets(y, n, net.n_outputs, net.objective, net.dtype)
        loss = None
        if net._core_loss.code == losses.GivenDelta.code:
            loss, targets = net._delta_of_custom_loss(X, targets)
            if not np.isfinite(loss):
                raise DivergedError(diverged(net, number, k))
            targets = targets * np.asarray(n, net.dtype)  # the engine divides a batch by its rows
        batch_loss, refused = net._engine.train(X, targets, weights, None, n, n, net._core_loss.code_for(targets))
        if refused >= 0:
            raise DivergedError(diverged(net, number, k))
        total += batch_loss if loss is None else loss * n
        rows += n
    if not rows:
        raise ValueError(f"X: expected batches of data, got none in epoch {number + 1}; a generator lasts for one epoch only")
    return total / rows


def pairs(batches):
    """(X, y, None) for each batch of an iterable of (X, y)."""
    try:
        source = iter(batches)
    except TypeError:
        raise TypeError(f"X: expected an array with y, or an iterable of (X, y), got {type(batches).__name__}") from None
    for batch in source:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise TypeError(f"X: expected batches that are pairs (X, y), got {type(batch).__name__}; or give y")
        yield *batch, None


def batches(net, X, y, weights, batch_size, shuffle):
    """Batches of rows, gathered by index: what is on disk stays there until its turn."""
    n = len(X)
    order = net._rng.permutation(n) if shuffle else np.arange(n)
    for first in range(0, n, batch_size):
        rows = np.sort(order[first : first + batch_size]) if shuffle else slice(first, first + batch_size)
        yield X[rows], y[rows], None if weights is None else np.ascontiguousarray(weights[rows])


def diverged(net, epoch, batch):
    return (
        f"training diverged in epoch {epoch + 1}, batch {batch + 1}: a loss, gradient or parameter would leave the finite "
        f"range; the last finite parameters are in place. A smaller learning rate than {net.optimizer.lr:g} may help"
    )
