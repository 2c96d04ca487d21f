"""An epoch over the data: in one call of the core, or in parts where somebody wants to look in between."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from . import chain, checks, data, losses
from .errors import DivergedError
from .shuffle import permutation


@dataclass
class Position:
    """How far a training has come: the number of the present epoch, from 0, and what is done of it."""

    epoch: int
    batches: int = 0
    rows: int = 0
    present: int = 0  # elements with a target among them, where some may be missing
    loss: float = 0.0  # sum over the rows of the losses of their batches
    seconds: float = 0.0  # that this epoch took in processes before this one


class Arrays:
    """Converted arrays as the source of batches, whose order is one permutation."""

    def __init__(self, X, targets, weights, batch_size, shuffle):
        self.arrays = X, targets, weights
        self.rows = X.shape[0]
        self.batch_size = min(batch_size, self.rows)
        self.batches = -(-self.rows // self.batch_size)
        self.shuffle = shuffle

    def pieces(self, rng, position):
        """((X, targets, weights), order, batch_size) for what is left of an epoch.

        `order` names the rows to train on, in turn; None means all as they come. The generator stands where it did at
        the beginning of the epoch, and is left as after a whole one.
        """
        order = permutation(rng, self.rows) if self.shuffle else None
        yield *rest(self.arrays, order, position.rows), self.batch_size


class Batches:
    """Batches (X, y) or (X, y, sample_weight) of an iterable, converted and checked before their steps."""

    rows = None  # nobody knows before the end of an epoch

    def __init__(self, net, iterable):
        self.net, self.iterable = net, iterable
        try:
            self.batches = len(iterable)
        except (TypeError, NotImplementedError):  # torch's DataLoader has __len__ even where its data has no length
            self.batches = None

    def pieces(self, rng, position):
        for k, batch in enumerate(self.iterable):
            check_batch(batch)
            if k >= position.batches:
                arrays = self.converted(f"batch {k + 1} of epoch {position.epoch + 1}", *batch)
                yield arrays, None, len(arrays[0])

    def converted(self, where, X, y, weights=None):
        net = self.net
        try:
            X = data.inputs(X, net.n_inputs, net.dtype)
            targets = data.targets(y, len(X), net.n_outputs, net.objective, net.dtype, missing=net.missing_targets)
            if weights is not None:
                refuse_weights(net, weights)
                weights = data.unscaled_weights(weights, len(X), net.dtype)
        except data.RowError as error:
            raise ValueError(f"{error}, in {where}") from None
        except (TypeError, ValueError) as error:
            raise type(error)(f"{error}, in {where}") from None
        chain.refuse_one_row(net.layers, len(X), f"X: {where}")
        return X, targets, weights


def rest(arrays, order, done):
    """The arrays and the order without the first rows of the order."""
    if not done:
        return arrays, order
    if order is not None:
        return arrays, order[done:]
    return cut(arrays, done, len(arrays[0])), None


def cut(arrays, first, stop):
    return [None if array is None else array[first:stop] for array in arrays]


def check_iterable(X, epochs):
    """Refuses what cannot give batches for so many epochs."""
    iterable = hasattr(X, "__iter__") or hasattr(X, "__getitem__")
    if not iterable or isinstance(X, (str, bytes, dict)) or hasattr(X, "dtype"):
        came = checks.described(X)
        raise TypeError(f"y: expected targets, or None with X an iterable of (X, y), got None with X {came}")
    if isinstance(X, (list, tuple)):
        if not X:
            raise ValueError("X: expected batches of data, got none")
        for batch in X:
            check_batch(batch)
    if isinstance(X, Iterator) and epochs > 1:
        raise ValueError(
            f"X: expected batches for {epochs} epochs, got {checks.described(X)}, which lasts for one; "
            "give a list, or an object whose __iter__ starts anew"
        )


def check_batch(batch):
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        wanted = "batches that are pairs (X, y), or (X, y, sample_weight)"
        raise TypeError(f"X: expected {wanted}, got {checks.described(batch)}; or give y")


def refuse_weights(net, weights, name="sample_weight"):
    if is_custom(net):
        came = checks.described(weights)
        raise ValueError(f"{name}: expected None with a loss object of one's own, got {came}")


class Parts:
    """How many steps an epoch takes between two looks: what takes 50 ms, and no more than to the next round number.

    The bits do not depend on where an epoch is cut, so a clock may decide.

    Parameters
    ----------
    looks : list of callable
        Called between two steps, but not at the end of an epoch, with the share of the epoch that is done; with None
        where nobody knows how many batches there are.
    every_steps : sequence of int
        Numbers of steps of the optimiser, at whose multiples a part ends.
    """

    SECONDS = 0.05

    def __init__(self, looks, every_steps=()):
        self.looks, self.every_steps = looks, every_steps
        self.steps = 1

    def size(self, taken):
        """Steps of the next part, where the optimiser has taken so many."""
        return min([self.steps, *(every - taken % every for every in self.every_steps)])

    def measure(self, steps, seconds):
        fitting = int(steps * self.SECONDS / max(seconds, 1e-9))
        self.steps = max(1, min(fitting, 8 * steps) if steps >= self.steps else min(fitting, self.steps))

    def look(self, position, rows):
        if position.rows != rows:
            for look in self.looks:
                look(None if rows is None else position.rows / rows)


def train(net, source, position, learning_rates, parts=None):
    """Trains what is left of an epoch and returns its loss, the mean over all rows. `parts` None: all at one go."""
    steps = custom_steps if is_custom(net) else core_steps
    rates = learning_rates.of_epoch(position.epoch, source.batches)
    if position.batches and (last := rates.of(position.batches - 1, 1)) is not None:
        net._engine.lr = float(last[0])  # resumed: behind the last batch of an iterable no step tells it any more
    for arrays, order, batch_size in source.pieces(net._rng, position):
        n = len(arrays[0]) if order is None else len(order)
        if parts is None:
            advance(steps, net, source, arrays, order, 0, n, batch_size, position, rates)
            continue
        first = 0
        while first < n:
            stop = min(n, first + batch_size * parts.size(net._engine.steps))
            begin = time.perf_counter()
            taken = advance(steps, net, source, arrays, order, first, stop, batch_size, position, rates)
            parts.measure(taken, time.perf_counter() - begin)
            parts.look(position, source.rows)
            first = stop
    if not position.rows:
        raise ValueError(f"X: expected batches of data, got none in epoch {position.epoch + 1}")
    counted = position.rows if net.missing_targets == "raise" else position.present / net.n_outputs
    return position.loss / (counted or 1.0)


def advance(steps, net, source, arrays, order, first, stop, batch_size, position, rates):
    """Takes the steps on rows first .. stop - 1 of the order, and the position along; how many there were."""
    # user code that gives batches may write to the parameters: their bounds are then taken anew
    continued = position.batches > 0 and source.rows is not None
    taken = -(-(stop - first) // batch_size)
    of_steps = rates.of(position.batches, taken)
    refused = steps(net, arrays, order, first, stop, batch_size, position, continued, of_steps)
    if refused is not None:
        raise diverged(net, position.epoch, position.batches + refused)
    position.batches += taken
    position.rows += stop - first
    return taken


def core_steps(net, arrays, order, first, stop, batch_size, position, continued, rates):
    """The number of the batch at which the steps diverged, or None."""
    X, targets, weights = arrays
    if order is None:
        if stop - first < len(X):
            X, targets, weights = cut(arrays, first, stop)
    elif stop - first < len(order):
        order = order[first:stop]
    code = net._core_loss.code_for(targets)
    position.loss, present, refused = net._engine.train(
        X, targets, weights, order, stop - first, batch_size, code, rates, position.loss, continued
    )
    if net.missing_targets == "mask" and targets.ndim == 1:
        present = (stop - first) * net.n_outputs  # a label is there for all outputs of its row
    position.present += present
    return refused // batch_size if refused >= 0 else None


def custom_steps(net, arrays, order, first, stop, batch_size, position, continued, rates):
    """The same with a loss object of one's own, which computes the loss and its derivative in Python."""
    X, targets, _ = arrays
    for k, at in enumerate(range(first, stop, batch_size)):
        rows = slice(at, min(at + batch_size, stop))
        if order is not None:
            rows = order[rows]
        x = X[rows]
        n = len(x)
        loss, delta = net._delta_of_custom_loss(x, targets[rows], training=True)
        if not np.isfinite(loss):
            return k
        rate = None if rates is None else rates[k : k + 1]
        *_, refused = net._engine.train(x, delta, None, None, n, n, net._core_loss.code, rate)
        if refused >= 0:
            return k
        position.loss += loss * n
    return None


def is_custom(net):
    return net._core_loss.code == losses.GivenDelta.code


def diverged(net, epoch, batch):
    return DivergedError(
        f"training diverged in epoch {epoch + 1}, batch {batch + 1}: a loss, gradient or parameter would leave the "
        "finite range; the last finite parameters are in place. "
        f"A smaller learning rate than {net._engine.lr:g} may help"
    )
