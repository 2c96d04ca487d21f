"""The training loop around the engine: epochs, shuffling, validation, callbacks."""

import contextlib
import functools
import os
import time
from collections.abc import Iterator

import numpy as np

from . import checks, class_weights, data, losses, metrics, optimizers
from .callbacks import Callback
from .errors import DivergedError
from .history import History, Progress


def fit(
    net, X, y, *, epochs=1, batch_size, optimizer, sample_weight, class_weight, shuffle, validation_data=None,
    validation_split=0.0, metrics=None, callbacks=(), initial_epoch=0, on_interrupt="raise", verbose=0,
):  # fmt: skip
    """See Network.fit."""
    epochs = checks.positive_int("epochs", epochs)
    initial_epoch = checks.integer("initial_epoch", initial_epoch, 0)
    if initial_epoch >= epochs:
        raise ValueError(f"initial_epoch: expected an integer < {epochs}, the last epoch's number, got {initial_epoch}")
    batch_size = checks.positive_int("batch_size", batch_size)
    shuffle = checks.boolean("shuffle", shuffle)
    verbose = checks.choice("verbose", verbose, (0, 1, True, False))
    on_interrupt = checks.choice("on_interrupt", on_interrupt, ("raise", "return"))
    if optimizer is not None:
        optimizers.check(optimizer, net.dtype)
    if callable(callbacks):
        callbacks = (callbacks,)
    if not isinstance(callbacks, (list, tuple)) or not all(callable(callback) for callback in callbacks):
        raise TypeError(f"callbacks: expected a list of callables, got {checks.described(callbacks)}")
    validation = validation_pair(validation_data)
    split = checks.number("validation_split", validation_split, at_least=0, below=1)
    if split and validation:
        raise ValueError(f"validation_split: expected 0 beside validation_data, got {split:g}")
    if y is None:
        refuse_beside_iterable(sample_weight, class_weight, split)
        check_iterable(X, epochs - initial_epoch)
        epoch = functools.partial(epoch_of_batches, net, X)
    else:
        X, targets, weights = door(net, X, y, sample_weight)
        if split:
            X, targets, validation = parted(X, targets, split)
        if split or class_weight is not None:
            weights = weights_of(net, targets, sample_weight, class_weight)
        optimizers.check_batch(optimizer or net.optimizer, batch_size, X.shape[0])
        epoch = epoch_of(net, X, targets, weights, batch_size, shuffle)
    validate, names = validation_of(net, validation, metrics)
    with being_fitted(net):
        check_parameters(net)
        for callback in with_hooks(callbacks):
            callback.begin(net, ("loss", "lr", *names, "seconds"))
        fresh = optimizer is not None or net.optimizer is None
        net._set_optimizer(optimizer or net.optimizer or optimizers.Adam(), fresh)
        record = net.__dict__["history"] = History(initial_epoch)
        try:
            run(net, epoch, validate, range(initial_epoch, epochs), callbacks, Progress(epochs) if verbose else None)
        except KeyboardInterrupt:
            if on_interrupt == "raise":
                raise
        return record


@contextlib.contextmanager
def being_fitted(net):
    """Keeps other calls of fit away from the network meanwhile."""
    key = os.getpid(), object()
    try:
        # one atomic step, so that neither a second thread nor a Ctrl-C can come between looking and taking
        holder = net.__dict__.setdefault("_fitted_by", key)
        if holder[0] != key[0]:  # a thread of the process that this one was forked from, and not here
            net.__dict__["_fitted_by"] = holder = key
            net._rng = unlocked(net._rng)
        if holder is not key:
            raise RuntimeError("fit: this network is being fitted already, by a callback's caller or by another thread")
        yield
    finally:
        if net.__dict__.get("_fitted_by") is key:
            del net.__dict__["_fitted_by"]


def run(net, epoch, validate, numbers, callbacks, progress):
    """The epochs of these numbers, from 0, each entered into net.history."""
    record = net.history
    with contextlib.ExitStack() as at_the_end:  # of whatever kind it is; the last one here comes first
        if progress:
            at_the_end.callback(progress.show, record, final=True)
        for callback in reversed(with_hooks(callbacks)):
            at_the_end.callback(callback.end, net, record)
        at_the_end.callback(record.close)
        for number in numbers:
            begin = time.perf_counter()
            entry = {"loss": epoch(number), "lr": net.optimizer.lr} | validate()
            entry["seconds"] = time.perf_counter() - begin
            record.append(entry)
            if progress:
                progress.show(record, final=False)
            answers = [callback(net, record) for callback in callbacks]
            if any(answer for answer in answers if isinstance(answer, (bool, np.bool_))):
                break
            if callbacks:
                check_parameters(net)


def with_hooks(callbacks):
    return [callback for callback in callbacks if isinstance(callback, Callback)]


def unlocked(generator):
    """The same generator with a lock of its own: the old one may be held by a thread that a fork has left behind."""
    twin = np.random.default_rng()
    twin.bit_generator.state = generator.bit_generator.state
    return twin


def check_parameters(net):
    """Refuses to train on what a user wrote into the views if it is not finite."""
    params = np.asarray(net._engine.parameters)
    if not data.all_finite(params):
        at = int(np.flatnonzero(~np.isfinite(params))[0])
        raise DivergedError(f"params: expected finite parameters to train from, got {params[at]} at index {at}")


def validation_pair(validation_data):
    """(X, y, their names in messages, the number of the first row), or None."""
    if validation_data is None:
        return None
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
        raise TypeError(f"validation_data: expected a pair (X, y), got {checks.described(validation_data)}")
    return *validation_data, "validation_data[0]", "validation_data[1]", 0


def validation_of(net, validation, asked):
    """A function that gives the entries of a history, and their names. The data is checked here, before training."""
    if validation is None:
        if asked is not None:
            raise ValueError(f"metrics: expected None without validation data, got {checks.described(asked)}")
        return dict, ()
    functions = metrics.resolve(asked, net)
    X, y, X_name, y_name, first = validation
    try:
        X = data.inputs(X, net.n_inputs, net.dtype, name=X_name)
        y = data.targets(y, X.shape[0], net.n_outputs, net.objective, net.dtype, name=y_name)
    except data.RowError as error:
        raise error.in_rows(range(first, first + len(X))) from None
    names = "val_loss", *(f"val_{name}" for name, _ in functions)
    return lambda: {f"val_{name}": value for name, value in net._report(X, y, functions).items()}, names


def door(net, X, y, sample_weight):
    """(X, targets, weights), converted but for what is read a batch at a time."""
    if sample_weight is not None and is_custom(net):
        came = checks.described(sample_weight)
        raise ValueError(f"sample_weight: expected None with a loss object of one's own, got {came}")
    if data.is_streaming(X):
        X = data.as_numbers(X, "X")
        data.check_inputs(X, net.n_inputs)
    else:
        X = data.inputs(X, net.n_inputs, net.dtype)
    n = X.shape[0]
    take_targets = data.check_targets if data.is_streaming(y) else functools.partial(data.targets, dtype=net.dtype)
    targets = take_targets(y, n, net.n_outputs, net.objective)
    return X, targets, None if sample_weight is None else data.sample_weights(sample_weight, n, net.dtype)


def parted(X, targets, split):
    """X and targets less the last rows, and those as `validation_pair` gives them."""
    n = X.shape[0]
    first = n - round(split * n)
    if first in (0, n):
        raise ValueError(f"validation_split: expected rows on both sides, got {split:g} of {n} rows")
    return X[:first], targets[:first], (X[first:], targets[first:], "X", "y", first)


def weights_of(net, targets, sample_weight, class_weight):
    """Weights of mean 1 for these rows, the first ones of what came; None where there are none."""
    n = targets.shape[0]
    weights = None if sample_weight is None else np.asarray(sample_weight, np.float64)[:n]
    if class_weight is not None:
        if data.is_streaming(targets):
            targets = data.targets(targets, n, net.n_outputs, net.objective, net.dtype)
        of_classes = class_weights.row_weights(class_weight, targets, net)
        weights = of_classes if weights is None else weights * of_classes
    return None if weights is None else data.sample_weights(weights, n, net.dtype)


def is_custom(net):
    return net._core_loss.code == losses.GivenDelta.code


def epoch_of(net, X, targets, weights, batch_size, shuffle):
    """A function of the epoch's number that trains one epoch and returns its loss."""
    n = X.shape[0]
    batch_size = min(batch_size, n)

    def stream(number):
        order = net._rng.permutation(n) if shuffle else np.arange(n)
        return streamed_epoch(net, batches(X, targets, weights, order, batch_size), number)

    def epoch(number):
        order = net._rng.permutation(n) if shuffle else None
        code = net._core_loss.code_for(targets)
        total, refused = net._engine.train(X, targets, weights, order, n, batch_size, code)
        if refused >= 0:
            raise diverged(net, number, refused // batch_size)
        return total / n

    return stream if is_custom(net) or data.is_streaming(X) or data.is_streaming(targets) else epoch


def epoch_of_batches(net, iterable, number):
    return streamed_epoch(net, pairs(iterable), number)


def streamed_epoch(net, source, number):
    """One epoch over batches (X, y, weights, numbers of rows) that are converted one by one, each before its step."""
    total, rows = 0.0, 0
    for k, (X, y, weights, numbers) in enumerate(source):
        X, targets = converted_batch(net, X, y, numbers, f"batch {k + 1} of epoch {number + 1}")
        n = X.shape[0]
        loss = None
        if is_custom(net):
            loss, targets = net._delta_of_custom_loss(X, targets)
            if not np.isfinite(loss):
                raise diverged(net, number, k)
        batch_loss, refused = net._engine.train(X, targets, weights, None, n, n, net._core_loss.code_for(targets))
        if refused >= 0:
            raise diverged(net, number, k)
        total += batch_loss if loss is None else loss * n
        rows += n
    if not rows:
        raise ValueError(f"X: expected batches of data, got none in epoch {number + 1}")
    return total / rows


def converted_batch(net, X, y, numbers, where):
    """(X, targets) of a batch; an error says which batch, and which row of the whole where rows have numbers."""
    try:
        X = data.inputs(X, net.n_inputs, net.dtype)
        return X, data.targets(y, X.shape[0], net.n_outputs, net.objective, net.dtype)
    except data.RowError as error:
        if numbers is not None:
            raise error.in_rows(numbers) from None
        raise ValueError(f"{error}, in {where}") from None
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}, in {where}") from None


def refuse_beside_iterable(sample_weight, class_weight, split):
    for name, weight in (("sample_weight", sample_weight), ("class_weight", class_weight)):
        if weight is not None:
            raise ValueError(f"{name}: expected None with an iterable of batches, got {checks.described(weight)}")
    if split:
        raise ValueError(f"validation_split: expected 0 with an iterable of batches, got {split:g}")


def check_iterable(X, epochs):
    """Refuses what cannot give batches for so many epochs."""
    iterable = hasattr(X, "__iter__") or hasattr(X, "__getitem__")
    if not iterable or isinstance(X, (str, bytes, dict)) or hasattr(X, "dtype"):
        came = checks.described(X)
        raise TypeError(f"y: expected targets, or None with X an iterable of (X, y), got None with X {came}")
    if isinstance(X, (list, tuple)):
        for batch in X:
            check_pair(batch)
    if isinstance(X, Iterator) and epochs > 1:
        raise ValueError(
            f"X: expected batches for {epochs} epochs, got {checks.described(X)}, which lasts for one; "
            "give a list, or an object whose __iter__ starts anew"
        )


def pairs(batches):
    """(X, y, None, None) for each batch of an iterable of (X, y)."""
    for batch in batches:
        check_pair(batch)
        yield *batch, None, None


def check_pair(batch):
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise TypeError(f"X: expected batches that are pairs (X, y), got {checks.described(batch)}; or give y")


def batches(X, y, weights, order, batch_size):
    """Batches of rows, gathered by index: what is on disk stays there until its turn."""
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        yield X[rows], y[rows], None if weights is None else weights[rows], rows


def diverged(net, epoch, batch):
    return DivergedError(
        f"training diverged in epoch {epoch + 1}, batch {batch + 1}: a loss, gradient or parameter would leave the "
        "finite range; the last finite parameters are in place. "
        f"A smaller learning rate than {net.optimizer.lr:g} may help"
    )
