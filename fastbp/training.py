"""fit: its arguments are checked; then epochs are trained, validated, entered into the history, told to callbacks."""

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Mapping

import numpy as np

from . import chain, checks, class_weights, data, fingerprint, metrics, optimizers, progress, rates
from .checkpoint import Checkpoint
from .epochs import Arrays, Batches, Parts, Position, check_iterable, refuse_weights, train
from .errors import DivergedError
from .full_batch import FullBatch, Iterations
from .history import History
from .hooks import NOBODY, Hooks, callables
from .progress import Progress
from .windows import Windows


def fit(
    net, X, y, *, epochs, batch_size, optimizer, sample_weight, class_weight, shuffle, validation_data=None,
    validation_split=0.0, metrics=None, callbacks=(), initial_epoch=0, on_interrupt="raise", verbose=0, resumed=None,
    endless=False,
):  # fmt: skip
    """See Network.fit; `resumed` is a `runfile.Record` to go on from, whose network and settings come along; `endless`
    says that the last epoch is not the end, as schedules know it."""
    epochs = checks.positive_int("epochs", epochs)
    initial_epoch = checks.integer("initial_epoch", initial_epoch, 0)
    if initial_epoch >= epochs:
        raise ValueError(f"initial_epoch: expected an integer < {epochs}, the last epoch's number, got {initial_epoch}")
    if batch_size is not None:
        batch_size = checks.positive_int("batch_size", batch_size)
    shuffle = checks.boolean("shuffle", shuffle)
    verbose = checks.choice("verbose", verbose, ("auto", 0, 1, True, False))
    on_interrupt = checks.choice("on_interrupt", on_interrupt, ("raise", "return"))
    if optimizer is not None:
        optimizers.check(optimizer, net.dtype)
    callbacks = callables(callbacks)
    validation = validation_pair(validation_data)
    split = checks.number("validation_split", validation_split, at_least=0, below=1)
    if split and validation:
        raise ValueError(f"validation_split: expected 0 beside validation_data, got {split:g}")
    kept = resumed is not None or any(isinstance(callback, Checkpoint) and callback.resumable for callback in callbacks)
    if y is None:
        check_iterable(X, epochs - (initial_epoch if resumed is None else resumed.position.epoch))
        refuse_beside_iterable(sample_weight, class_weight, split)
        if isinstance(optimizer or net.optimizer, FullBatch):
            kind = type(optimizer or net.optimizer).__name__
            raise ValueError(f"y: expected targets with {kind}, which takes no batches, got None")
        source = Batches(net, X)
        prints = {"X": fingerprint.of_batches(X)} if kept else {}
    else:
        X, targets, weights = door(net, X, y, sample_weight)
        prints = fingerprint.of_all(X=X, y=targets, sample_weight=weights) if kept else {}
        if split:
            X, targets, validation = parted(X, targets, split, sample_weight)
        if split or class_weight is not None:
            weights = weights_of(net, X, targets, sample_weight, class_weight)
        batch_size = optimizers.rows_of_batch(optimizer or net.optimizer, batch_size, X.shape[0])
        if isinstance(optimizer or net.optimizer, FullBatch):
            refuse_full_batch(optimizer or net.optimizer, kept)
            source = (optimizer or net.optimizer).iterations(net, X, targets, weights)
        else:
            source = source_of(net, X, targets, weights, batch_size, shuffle)
    validate, names = validation_of(net, validation, metrics)
    if kept and validation_data is not None:
        held_out = {"[0]": validate.X, "[1]": validate.targets, "[2]": validate.weights}
        prints |= fingerprint.of_all(**{f"validation_data{place}": array for place, array in held_out.items()})
    settings = {
        "epochs": epochs, "initial_epoch": initial_epoch, "batch_size": batch_size, "shuffle": shuffle,
        "validation_split": split, "class_weight": plain_class_weight(class_weight),
    }  # fmt: skip
    if resumed is not None:
        resumed.check(source, prints, metrics, callbacks)
    key = new_key()
    try:
        hold(net, key)
        check_parameters(net)
        fresh = optimizer is not None or net.optimizer is None
        optimizer = optimizer or net.optimizer or optimizers.Adam()
        beside = tuple(source.entry()) if isinstance(source, Iterations) else ("lr",)
        lists = "loss", *beside, *names, "seconds"
        rates.begin(optimizer, lists)
        shown = progress.wanted(callbacks, verbose)
        record = History(initial_epoch, epochs, beside) if resumed is None else resumed.history
        hooks = Hooks([*callbacks, *([shown] if shown else [])], net, record) if callbacks or shown else NOBODY
        try:
            hooks.begin(lists)
            if resumed is None:
                if fresh:
                    net._set_optimizer(optimizer)
                net.__dict__["history"] = record
            else:
                resumed.restore(net, callbacks)
            training = Training(net, source, validate, callbacks, shown, settings, metrics, prints, resumed)
            if endless:
                training.end = math.inf
            try:
                training.run(hooks)
            except KeyboardInterrupt:
                if on_interrupt == "raise":
                    raise
        finally:
            try:
                hooks.close()
            finally:  # a Ctrl-C may have fallen into it, or before its first line
                hooks.close()
        return net.history
    finally:
        try:
            release([net], key)
        finally:
            release([net], key)


def new_key():
    """What tells one call of fit from all others, also of a process that was forked from this one."""
    return os.getpid(), object()


def hold(net, key):
    """Keeps calls of fit that have another key away from the network until it is released."""
    # one atomic step, so that neither a second thread nor a Ctrl-C can come between looking and taking
    holder = net.__dict__.setdefault("_fitted_by", key)
    if holder[0] != key[0]:  # a thread of the process that this one was forked from, and not here
        net.__dict__["_fitted_by"] = holder = key
        net._rng = unlocked(net._rng)
    if holder is not key:
        raise RuntimeError("fit: this network is being fitted already, by a callback's caller or by another thread")


def release(nets, key):
    """Lets go of those that are held by this key; to be called twice, as a Ctrl-C may fall into it."""
    for net in nets:
        if net.__dict__.get("_fitted_by") is key:
            del net.__dict__["_fitted_by"]


class Training:
    """A fit under way: all that a checkpoint keeps of it hangs together here.

    Attributes
    ----------
    position : Position
    finished : bool
        Whether no epoch is to follow: the last one is done, or a callback has ended the training.
    end : float
        The number of the last epoch, as schedules know it.
    generator : dict or None
        The state of the network's generator at the beginning of the present epoch, where somebody saves it.
    """

    def __init__(self, net, source, validate, callbacks, shown, settings, metrics, prints, resumed):
        self.net, self.source, self.validate, self.callbacks, self.shown = net, source, validate, callbacks, shown
        self.settings, self.metrics, self.prints = settings, metrics, prints
        self.end = settings["epochs"]
        if resumed is None:
            self.position, self.finished = Position(settings["initial_epoch"]), False
        else:
            self.position, self.finished = dataclasses.replace(resumed.position), resumed.finished
        self.checkpoints = [callback for callback in callbacks if isinstance(callback, Checkpoint)]
        self.generator = None

    def parts(self):
        """How epochs are cut; None where nobody looks between steps."""
        watching = [checkpoint for checkpoint in self.checkpoints if checkpoint.watches_steps]
        looks = [lambda share, watcher=checkpoint: watcher.between_steps(self) for checkpoint in watching]
        every_steps = [checkpoint.every_steps for checkpoint in watching if checkpoint.every_steps]
        looks += [each.update for each in (*self.callbacks, self.shown) if isinstance(each, Progress) and each.is_live]
        return Parts(looks, every_steps) if looks else None

    def run(self, hooks):
        """What is left of the epochs, each entered into net.history."""
        net, record, shown = self.net, self.net.history, self.shown
        with contextlib.ExitStack() as at_the_end:  # of whatever kind it is; the last one here comes first
            at_the_end.callback(hooks.end)
            if isinstance(self.source, Iterations):
                at_the_end.callback(self.source.close)
            try:
                self.run_epochs(net, record, shown)
            finally:
                record.close()

    def run_epochs(self, net, record, shown):
        parts, learning_rates = self.parts(), rates.Rates(net, self.end)
        iterations = self.source if isinstance(self.source, Iterations) else None
        while not self.finished:
            self.begin = time.perf_counter()
            if self.checkpoints:
                self.generator = net._rng.bit_generator.state
            if iterations is not None:
                entry = {"loss": iterations(self.position.epoch)} | iterations.entry()
            else:
                loss = train(net, self.source, self.position, learning_rates, parts)
                entry = {"loss": loss, "lr": net._engine.lr}
            entry |= self.validate()
            entry["seconds"] = self.seconds()
            record.append(entry)
            if shown:
                shown(net, record)
            stopped = iterations is not None and iterations.finished
            for callback in self.callbacks:
                answer = callback(net, record)
                stopped = stopped or (isinstance(answer, (bool, np.bool_)) and bool(answer))
            self.position = Position(self.position.epoch + 1)
            self.finished = stopped or self.position.epoch == self.settings["epochs"]
            if self.checkpoints:
                self.generator = net._rng.bit_generator.state
                for checkpoint in self.checkpoints:
                    checkpoint.after_epoch(self)
            if self.callbacks and not self.finished:
                check_parameters(net)

    def steps(self):
        """Updates of the optimiser so far; an iteration of one that works on all rows is one."""
        return self.position.epoch if isinstance(self.source, Iterations) else self.net._engine.steps

    def seconds(self):
        """Of the present epoch, so far."""
        return self.position.seconds + time.perf_counter() - self.begin


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
    for name in ("running_means", "running_vars"):
        for k, statistics in enumerate(getattr(net, name)):
            if statistics is not None and not data.all_finite(statistics):
                bad = statistics[~np.isfinite(statistics)][0]
                raise DivergedError(f"{name}[{k}]: expected finite statistics to train from, got {bad}")


def validation_pair(validation_data):
    """(X, y, sample_weight), their names in messages, and the number of the first row, or None."""
    if validation_data is None:
        return None
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
        came = checks.described(validation_data)
        raise TypeError(f"validation_data: expected a pair (X, y), or (X, y, sample_weight), got {came}")
    return (*validation_data, None)[:3], [f"validation_data[{k}]" for k in range(3)], 0


def validation_of(net, validation, asked):
    """A function that gives the entries of a history, and their names. The data is checked here, before training."""
    if validation is None:
        if asked is not None:
            raise ValueError(f"metrics: expected None without validation data, got {checks.described(asked)}")
        return nothing, ()
    (X, y, weights), (X_name, y_name, weights_name), first = validation
    functions = metrics.resolve(asked, net, weights is not None)
    try:
        X = data.inputs(X, net.n_inputs, net.dtype, name=X_name)
        y = data.targets(y, X.shape[0], net.n_outputs, net.objective, net.dtype, y_name, net.missing_targets)
        if weights is not None:
            refuse_weights(net, weights, weights_name)
            weights = data.sample_weights(weights, len(X), np.dtype(np.float64), weights_name)
    except data.RowError as error:
        raise error.in_rows(range(first, first + len(X))) from None
    names = "val_loss", *(f"val_{name}" for name, _ in functions)
    return Validation(net, X, y, weights, functions), names


def nothing(net=None):
    """What there is to say without validation data."""
    return {}


class Validation:
    """The report on validation data after an epoch, of `net` or of another one like it."""

    def __init__(self, net, X, targets, weights, functions):
        self.net, self.X, self.targets, self.weights, self.functions = net, X, targets, weights, functions

    def __call__(self, net=None):
        report = (net or self.net)._report(self.X, self.targets, self.functions, self.weights)
        return {f"val_{name}": value for name, value in report.items()}


def door(net, X, y, sample_weight):
    """(X, targets, weights), converted but for what is read a window at a time."""
    if sample_weight is not None:
        refuse_weights(net, sample_weight)
    if data.is_streaming(X):
        X = data.as_numbers(X, "X")
        data.check_inputs(X, net.n_inputs)
    else:
        X = data.inputs(X, net.n_inputs, net.dtype)
    n = X.shape[0]
    if data.is_streaming(y):
        targets = data.check_targets(y, n, net.n_outputs, net.objective)
    else:
        targets = data.targets(y, n, net.n_outputs, net.objective, net.dtype, missing=net.missing_targets)
    return X, targets, scaled_weights(sample_weight, X, targets, net)


def scaled_weights(sample_weight, X, targets, net):
    """Weights of mean 1; read a window at a time where the rows are and they are a memory map too."""
    if sample_weight is None:
        return None
    streaming = data.is_streaming(sample_weight) and (data.is_streaming(X) or data.is_streaming(targets))
    return (data.ScaledWeights if streaming else data.sample_weights)(sample_weight, len(X), net.dtype)


def parted(X, targets, split, sample_weight):
    """X and targets less the last rows, and those as `validation_pair` gives them, with their weights."""
    n = X.shape[0]
    first = n - round(split * n)
    if first in (0, n):
        raise ValueError(f"validation_split: expected rows on both sides, got {split:g} of {n} rows")
    weights = None if sample_weight is None else data.as_numbers(sample_weight, "sample_weight")[first:]
    names = "X", "y", "sample_weight of the rows kept for validation"
    return X[:first], targets[:first], ((X[first:], targets[first:], weights), names, first)


def weights_of(net, X, targets, sample_weight, class_weight):
    """Weights of mean 1 for these rows, the first ones of what came; None where there are none."""
    n = len(X)
    if sample_weight is not None:
        sample_weight = data.as_numbers(sample_weight, "sample_weight")[:n]
    if class_weight is None:
        return scaled_weights(sample_weight, X, targets, net)
    if data.is_streaming(targets):
        targets = data.targets(targets, n, net.n_outputs, net.objective, net.dtype, missing=net.missing_targets)
    weights = class_weights.row_weights(class_weight, targets, net)
    if sample_weight is not None:
        weights = weights * np.asarray(sample_weight, np.float64)
    return data.sample_weights(weights, n, net.dtype)


def plain_class_weight(class_weight):
    """As JSON can keep it: pairs of a dict."""
    if not isinstance(class_weight, Mapping):
        return class_weight
    return [[int(key), float(weight)] for key, weight in class_weight.items()]


def refuse_full_batch(optimizer, kept):
    """A Checkpoint does not go with optimisers whose state nobody can tell."""
    kind = type(optimizer).__name__
    if kept and not optimizer.resumable:
        raise ValueError(
            f"callbacks: a Checkpoint keeps no training with {kind}, whose own state it does not know; "
            "Checkpoint(path, optimizer=False) saves the network after each epoch"
        )


def source_of(net, X, targets, weights, batch_size, shuffle):
    """Where the batches come from."""
    n = len(X)
    last = n % batch_size or min(batch_size, n)
    chain.refuse_one_row(net.layers, last, f"batch_size: the last of {n} rows in batches of {min(batch_size, n)}")
    if data.is_streaming(X) or data.is_streaming(targets):
        return Windows(net, X, targets, weights, batch_size, shuffle)
    return Arrays(X, targets, weights, batch_size, shuffle)


def refuse_beside_iterable(sample_weight, class_weight, split):
    for name, weight in (("sample_weight", sample_weight), ("class_weight", class_weight)):
        if weight is not None:
            raise ValueError(f"{name}: expected None with an iterable of batches, got {checks.described(weight)}")
    if split:
        raise ValueError(f"validation_split: expected 0 with an iterable of batches, got {split:g}")
