"""Optimisers that see all rows at once: an epoch of `fit` is one iteration of theirs."""

import numpy as np

from . import data, losses
from .errors import DivergedError
from .first_order import FirstOrder, Optimizer


class FullBatch(Optimizer):
    """An optimiser whose `iterations` take the steps; the core takes none, and keeps no state for it."""

    kind = "SGD"
    resumable = False  # whether a Checkpoint can keep its training: whether `Iterations.state` says all of it
    names: tuple[str, ...] = ()  # of what the history lists beside the loss

    def settings(self):
        return FirstOrder(0.0).settings()

    def factors(self):
        return {}

    def denominators(self):
        return {}

    def iterations(self, net, X, targets, weights):
        """What `training.fit` calls for each epoch, after all arguments are known to be right. See `Iterations`."""
        raise NotImplementedError


class Iterations:
    """One iteration a call: ``iterations(number)`` takes the step and returns the loss after it.

    Attributes
    ----------
    finished : bool
        No further step is worth its while: `fit` ends after this epoch.
    """

    rows = None  # an iteration has no place within it
    finished = False

    def entry(self):
        """What goes into the history beside the loss."""
        return {}

    def state(self):
        """Between two iterations, what the next one depends on beside the parameters: numbers by name."""
        raise NotImplementedError

    def restore(self, state):
        """Goes on from there: `state` comes out of a file."""
        raise NotImplementedError

    def close(self):
        """After the last call, however training ended."""


def in_memory(X, y, optimizer):
    """Refuses data of which only a batch at a time is to be in memory."""
    for name, array in (("X", X), ("y", y)):
        if data.is_streaming(array):
            kind = type(optimizer).__name__
            raise ValueError(
                f"{name}: expected an array in memory with {kind}, got a memory map; give np.array({name})"
            )


class Objective:
    """The loss of all rows plus weight_decay / 2 ||p||^2, of a twin of the network: the network itself goes from one
    complete step to the next, whatever interrupts a search in between.
    """

    def __init__(self, net, X, targets, weights, weight_decay):
        self.net, self.X, self.targets, self.weights = net, X, targets, weights
        self.weight_decay = weight_decay
        self.total_weight = net._total_weight(targets, weights)
        self.twin = net.copy()
        self._gradient = np.empty(net.n_params, net.dtype)

    def start(self):
        """The network's present parameters, as float64: callbacks may have changed them."""
        self.twin.params[:] = self.net.params
        return self.twin.params.astype(np.float64)

    def move(self, p):
        """Goes to p; returns it as it is in the network's dtype."""
        with np.errstate(over="ignore"):
            self.twin.params[:] = p
        return self.twin.params.astype(np.float64)

    def commit(self):
        """The twin's parameters become the network's."""
        self.net._engine.assign(self.twin.params)

    def penalty(self, p):
        return 0.5 * self.weight_decay * (p @ p)

    def loss(self):
        return self.twin._loss(self.X, self.targets, self.weights)

    def loss_and_gradient(self, p):
        """The loss, and the gradient of loss and penalty, where the twin is: at p."""
        engine, targets, n = self.twin._engine, self.targets, len(self.X)
        total, value = self.total_weight, None
        if self.twin._core_loss.code == losses.GivenDelta.code:
            value, targets = self.twin._delta_of_custom_loss(self.X, targets)
            total = 1.0
        code = self.twin._core_loss.code_for(targets)
        loss = engine.loss_and_grad(self.X, targets, self.weights, n, total, code, self._gradient)
        return loss if value is None else value, self._gradient.astype(np.float64) + self.weight_decay * p

    def of_outputs(self, delta):
        """J^T delta: the gradient by the parameters for dL/dz = delta (n, out)."""
        delta = np.ascontiguousarray(delta, self.net.dtype)
        code = losses.GivenDelta.code
        self.twin._engine.loss_and_grad(self.X, delta, None, len(self.X), 1.0, code, self._gradient)
        return self._gradient.astype(np.float64)


def check_finite(loss, gradient):
    """Refuses to go on from where loss or gradient are not finite."""
    if not (np.isfinite(loss) and np.isfinite(gradient).all()):
        raise DivergedError(
            f"training diverged: the loss is {loss:g}, and it or its gradient left the finite range; the last finite "
            "parameters are in place"
        )
