"""What `Network.evaluate` can report, as functions of (outputs, targets, net)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import checks
from .losses import Loss

Metric = str | Callable[[NDArray[Any], NDArray[Any]], float]
Metrics = Metric | Sequence[Metric]  # what `evaluate` and `fit` take


def accuracy(outputs, targets, net):
    """Share of rows (of elements, for several binary outputs) that are classified right.

    The class is the largest output. A single output is compared with the middle of its range: 0.5 for probabilities, 0
    for logits and for hinge.
    """
    loss = loss_name(net)
    if loss == "cross_entropy" or targets.ndim == 1 and outputs.shape[1] > 1:
        wanted = targets if targets.ndim == 1 else targets.argmax(axis=1)
        return float(np.mean(outputs.argmax(axis=1) == wanted))
    if loss is None:
        raise ValueError(f"metrics: accuracy needs class indices of shape (n,) here, got {checks.described(targets)}")
    probabilities = loss == "binary_cross_entropy" and net.layers[-1].activation == "sigmoid"
    middle = 0.0 if loss == "hinge" else 0.5
    return float(np.mean((outputs > (0.5 if probabilities else 0.0)) == (targets > middle)))


def loss_name(net):
    """The name of the loss; None for an object of the user's."""
    return net.objective.name if isinstance(net.objective, Loss) else None


def as_numbers(outputs, targets, net):
    """Targets beside the outputs: class labels become one-hot rows."""
    if loss_name(net) is None and (targets.size != outputs.size or targets.dtype.kind not in "biuf"):
        raise ValueError(f"metrics: expected targets of shape {outputs.shape}, got {checks.described(targets)}")
    if targets.ndim == 1 and outputs.shape[1] > 1:
        one_hot = np.zeros(outputs.shape)
        one_hot[np.arange(len(targets)), targets.astype(np.intp)] = 1
        return one_hot
    return targets.reshape(outputs.shape).astype(np.float64)


def mse(outputs, targets, net):
    """Mean squared error over all elements."""
    return float(np.mean((outputs - as_numbers(outputs, targets, net)) ** 2))


def mae(outputs, targets, net):
    """Mean absolute error over all elements."""
    return float(np.mean(np.abs(outputs - as_numbers(outputs, targets, net))))


def r2(outputs, targets, net):
    """1 - residual / total sum of squares, averaged over outputs; a constant target counts 0 unless met."""
    t = as_numbers(outputs, targets, net)
    residual = np.sum((outputs - t) ** 2, axis=0)
    total = np.sum((t - t.mean(axis=0)) ** 2, axis=0)
    constant = total == 0
    scores = np.where(constant, np.where(residual == 0, 1.0, 0.0), 1 - residual / np.where(constant, 1, total))
    return float(np.mean(scores))


OF_CLASSES = ("cross_entropy", "binary_cross_entropy", "hinge")
METRICS = {"accuracy": accuracy, "mse": mse, "mae": mae, "r2": r2}


def resolve(metrics, net):
    """Pairs (name, function of outputs, targets, net) for names and callables; None is the usual metric of the loss."""
    if metrics is None:
        metrics = ("accuracy",) if loss_name(net) in OF_CLASSES else ("r2",) if loss_name(net) else ()
    if isinstance(metrics, str) or callable(metrics):
        metrics = (metrics,)
    if not isinstance(metrics, (list, tuple)):
        raise TypeError(f"metrics: expected names or functions in a list, got {checks.described(metrics)}")
    functions = {"loss": None}
    for metric in metrics:
        name = metric
        if callable(metric):
            name, function = getattr(metric, "__name__", type(metric).__name__), of_the_user(metric)
        else:
            function = METRICS[checks.choice("metrics", metric, tuple(METRICS))]
        loss = loss_name(net)
        if metric == "accuracy" and loss not in (*OF_CLASSES, None):
            raise ValueError(f"metrics: accuracy needs a loss of classes, got {loss}; ask for 'mse', 'mae' or 'r2'")
        if name in functions:
            raise ValueError(f"metrics: expected different names, got {name!r} twice")
        functions[name] = function
    del functions["loss"]
    return functions.items()


def of_the_user(metric):
    """A function of (outputs, targets) as one of (outputs, targets, net) that returns a float."""

    def function(outputs, targets, net):
        value = np.asarray(metric(outputs, targets))
        if value.ndim or value.dtype.kind not in "biuf":
            raise TypeError(f"metrics: expected {metric!r} to return a number, got {checks.described(value)}")
        return float(value)

    return function
