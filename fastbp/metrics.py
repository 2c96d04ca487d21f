"""What `Network.evaluate` can report, as functions of (outputs, targets, net)."""

import numpy as np

from . import checks


def accuracy(outputs, targets, net):
    """Share of rows (of elements, for several binary outputs) that are classified right.

    The class is the largest output. A single output is compared with the middle of its range: 0.5 for probabilities, 0 for
    logits and for hinge.
    """
    several = outputs.shape[1] > 1
    if net.objective.name == "cross_entropy" or (several and targets.ndim == 1):
        wanted = targets if targets.ndim == 1 else targets.argmax(axis=1)
        return float(np.mean(outputs.argmax(axis=1) == wanted))
    if net.objective.name not in ("binary_cross_entropy", "hinge"):
        raise ValueError(f"metrics: accuracy needs a loss of classes, got {net.objective.name}; ask for 'mse', 'mae' or 'r2'")
    probabilities = net.layers[-1].activation == "sigmoid"
    threshold = 0.5 if probabilities and net.objective.name != "hinge" else 0.0
    middle = 0.0 if net.objective.name == "hinge" else 0.5
    return float(np.mean((outputs > threshold) == (targets > middle)))


def as_numbers(outputs, targets):
    """Targets beside the outputs: class labels become one-hot rows."""
    if targets.ndim == 1 and outputs.shape[1] > 1:
        one_hot = np.zeros(outputs.shape)
        one_hot[np.arange(len(targets)), targets.astype(np.intp)] = 1
        return one_hot
    return targets.reshape(outputs.shape).astype(np.float64)


def mse(outputs, targets, net):
    """Mean squared error over all elements."""
    return float(np.mean((outputs - as_numbers(outputs, targets)) ** 2))


def mae(outputs, targets, net):
    """Mean absolute error over all elements."""
    return float(np.mean(np.abs(outputs - as_numbers(outputs, targets))))


def r2(outputs, targets, net):
    """1 - residual sum of squares / total sum of squares, averaged over outputs; a constant target counts 0 unless met."""
    t = as_numbers(outputs, targets)
    residual = np.sum((outputs - t) ** 2, axis=0)
    total = np.sum((t - t.mean(axis=0)) ** 2, axis=0)
    constant = total == 0
    scores = np.where(constant, np.where(residual == 0, 1.0, 0.0), 1 - residual / np.where(constant, 1, total))
    return float(np.mean(scores))


METRICS = {"accuracy": accuracy, "mse": mse, "mae": mae, "r2": r2}


def resolve(metrics):
    """Pairs (name, function of outputs, targets, net) for names and callables."""
    if isinstance(metrics, str) or callable(metrics):
        metrics = (metrics,)
    pairs = []
    for metric in metrics:
        if callable(metric):
            name = getattr(metric, "__name__", type(metric).__name__)
            pairs.append((name, lambda outputs, targets, net, metric=metric: float(metric(outputs, targets))))
        else:
            pairs.append((checks.choice("metrics", metric, tuple(METRICS)), METRICS[metric]))
    return pairs
