"""The learning rates of an epoch, worked out before it begins, and handed to the core for each step."""

import numpy as np

from . import checks, optimizers
from .schedules import Schedule, asked, of_one_training, with_number

MOST_RATES = 4096  # in an epoch: to work one out takes 7 to 15 ns, a step of a tiny net 60


def begin(optimizer, names):
    """Refuses a schedule that goes by what the history will not have; before training."""
    lr = getattr(optimizer, "lr", 0.0)
    if isinstance(lr, Schedule):
        lr.begin(names)


class Rates:
    """The learning rates of a training, epoch by epoch.

    Parameters
    ----------
    net : Network
        Its optimiser's schedule is asked when an epoch begins, about its history.
    epochs : float
        The number of the training's last epoch, counted from 1; infinite where nobody knows.
    """

    def __init__(self, net, epochs):
        self.net, self.epochs = net, epochs
        self.lr = of_one_training(getattr(net.optimizer, "lr", 0.0))
        self.largest = -1.0  # that the optimiser has been checked with
        self.steps, self.shares = 1, np.zeros(1)  # of an epoch; and how much of it is done when these begin

    def of_epoch(self, number, steps):
        """The rates of one epoch.

        Parameters
        ----------
        number : int
            Counted from 0.
        steps : int or None
            How many it has; None where nobody knows, and then they all have the rate of its beginning. Of more than
            4096 steps two or more in a row have the same rate.

        Returns
        -------
        EpochRates

        Raises
        ------
        ValueError, TypeError
            For a schedule that does not give finite numbers >= 0, or larger ones than the network's dtype allows.
        """
        lr = self.lr
        if isinstance(lr, float):
            return ITS_OWN
        count = steps or 1
        if isinstance(lr, Schedule):
            together = -(-count // MOST_RATES)
            if self.steps != count:
                self.steps, self.shares = count, np.arange(0, count, together) / count
            t = number + self.shares
            values, largest = given(lr, lr.rates(t, self.epochs, self.net.history.history), len(t))
            if together > 1:
                values = np.repeat(values, together)[:count]
        else:
            largest = asked(lr, number)
            values = np.full(count, largest)
        if largest > self.largest:
            optimizers.check(with_number(self.net.optimizer, largest), self.net.dtype)
            self.largest = largest
        return EpochRates(values)


class EpochRates:
    """The rates of an epoch's steps, or None where it is the optimiser's own for all."""

    def __init__(self, values):
        self.values = values

    def of(self, first, count):
        """Those of `count` steps from number `first` on, as the core takes them."""
        if self.values is None:
            return None
        if first + count > len(self.values):  # more batches than were announced
            return self.values[np.minimum(np.arange(first, first + count), len(self.values) - 1)]
        return self.values[first : first + count]


ITS_OWN = EpochRates(None)


def given(lr, rates, count):
    """What a schedule returned, if it is that many learning rates, and the largest of them."""
    try:
        values = np.ascontiguousarray(rates, np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (count,):
        wanted = f"{type(lr).__name__}.rates to return {count} number{'s' if count > 1 else ''}"
        raise ValueError(f"lr: expected {wanted}, got {checks.described(rates)}")
    smallest, largest = float(np.minimum.reduce(values)), float(np.maximum.reduce(values))
    if smallest >= 0 and largest < np.inf:  # neither holds of NaN
        return values, largest
    wrong = np.flatnonzero(~((values >= 0) & (values < np.inf)))[0]
    problem = f"expected finite numbers >= 0 from {type(lr).__name__}.rates, got {values[wrong]:g}"
    raise ValueError(f"lr: {problem} at t[{wrong}]")
