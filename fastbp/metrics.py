"""What `Network.evaluate` can report, as functions of (outputs, targets, net, weights).

Missing targets (NaN) are left out. Weights of rows are None or float64 (n,), above 0.
"""

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import checks, data, scorers
from .losses import Loss

Metric = str | Callable[[NDArray[Any], NDArray[Any]], float]
Metrics = Metric | Sequence[Metric]  # what `evaluate` and `fit` take


def loss_name(net):
    """The name of the loss; None for an object of the user's."""
    return net.objective.name if isinstance(net.objective, Loss) else None


def mean_of(scores, weights=None):
    """Their mean, weighted if there are weights; NaN where there are none."""
    return float(np.average(scores, weights=weights)) if len(scores) else np.nan


def known_of(values, t, net, weights):
    """The values (n, out) at elements that have a target, and the weights of these."""
    weights = None if weights is None else np.broadcast_to(weights[:, None], t.shape)
    if net.missing_targets == "raise":
        return values, weights
    known = ~np.isnan(t)
    return values[known], None if weights is None else weights[known]


# ---------------------------------------------------------------- of numbers


def as_numbers(outputs, targets, net):
    """Targets beside the outputs: class labels become one-hot rows."""
    if loss_name(net) is None and (targets.size != outputs.size or targets.dtype.kind not in "biuf"):
        raise ValueError(f"metrics: expected targets of shape {outputs.shape}, got {checks.described(targets)}")
    if targets.ndim == 1 and outputs.shape[1] > 1:
        one_hot = np.zeros(outputs.shape)
        one_hot[np.arange(len(targets)), targets.astype(np.intp)] = 1
        return one_hot
    return targets.reshape(outputs.shape).astype(np.float64)


def errors(outputs, targets, net, weights):
    """Outputs less targets, of the elements that have one, and their weights."""
    t = as_numbers(outputs, targets, net)
    return known_of(outputs - t, t, net, weights)


def mse(outputs, targets, net, weights=None):
    """Mean squared error over all elements."""
    wrong, weights = errors(outputs, targets, net, weights)
    return mean_of(wrong**2, weights)


def rmse(outputs, targets, net, weights=None):
    """Root of the mean squared error over all elements."""
    return mse(outputs, targets, net, weights) ** 0.5


def mae(outputs, targets, net, weights=None):
    """Mean absolute error over all elements."""
    wrong, weights = errors(outputs, targets, net, weights)
    return mean_of(np.abs(wrong), weights)


def r2(outputs, targets, net, weights=None):
    """1 - residual / total sum of squares, averaged over outputs; a constant target counts 0 unless met."""
    t = as_numbers(outputs, targets, net)
    known = ~np.isnan(t) if net.missing_targets == "mask" else np.True_
    w = np.ones((1, 1)) if weights is None else weights[:, None]
    rows = np.sum(np.broadcast_to(w, t.shape), axis=0, where=known)
    mean = np.sum(w * t, axis=0, where=known) / np.where(rows > 0, rows, 1.0)
    residual = np.sum(w * (outputs - t) ** 2, axis=0, where=known)
    total = np.sum(w * (t - mean) ** 2, axis=0, where=known)
    lowest = np.min(t, axis=0, where=known, initial=np.inf)
    highest = np.max(t, axis=0, where=known, initial=-np.inf)
    constant = (lowest >= highest) | (total == 0)  # where the mean is rounded, the sum of a constant one is not zero
    scores = np.where(constant, np.where(residual == 0, 1.0, 0.0), 1 - residual / np.where(constant, 1, total))
    return mean_of(scores[rows > 0])


# ---------------------------------------------------------------- of classes


def truth_of(outputs, targets, net):
    """The class of each row (n,), where a row has one out of several; None for binary outputs."""
    if loss_name(net) is None:  # nobody has looked at these targets
        if targets.ndim != 1 or outputs.shape[1] == 1 or targets.dtype.kind not in "biuf":
            raise ValueError(f"metrics: expected class indices of shape (n,) here, got {checks.described(targets)}")
        return data.labels(targets, outputs.shape[1], "y")
    if loss_name(net) == "cross_entropy" or targets.ndim == 1 and outputs.shape[1] > 1:
        return targets if targets.ndim == 1 else targets.argmax(axis=1)
    return None


def questions(outputs, targets, net, weights):
    """For each class, or each binary output: which rows are it (bool), their outputs, and their weights."""
    truth, columns = truth_of(outputs, targets, net), range(outputs.shape[1])
    weights = np.ones(len(outputs)) if weights is None else weights
    if truth is not None:
        return [(truth == c, outputs[:, c], weights) for c in columns]
    rows = ~np.isnan(targets.T)
    return [(targets[rows[c], c] > middle(net), outputs[rows[c], c], weights[rows[c]]) for c in columns]


def middle(net):
    """Binary targets above this are yes."""
    return 0.0 if loss_name(net) == "hinge" else 0.5


def threshold(net):
    """Where a single output says yes: above 0.5 for probabilities, above 0 for logits and for hinge."""
    return 0.5 if loss_name(net) == "binary_cross_entropy" and net.layers[-1].activation == "sigmoid" else 0.0


def accuracy(outputs, targets, net, weights=None):
    """Share of rows (of elements, for several binary outputs) that are classified right.

    The class is the largest output. A single output is compared with the middle of its range: 0.5 for probabilities, 0
    for logits and for hinge.
    """
    truth = truth_of(outputs, targets, net)
    if truth is not None:
        return mean_of(outputs.argmax(axis=1) == truth, weights)
    right = (outputs > threshold(net)) == (targets > middle(net))
    return mean_of(*known_of(right, targets, net, weights))


def top_k_accuracy(k, outputs, targets, net, weights=None):
    """Share of rows whose class is among those of the k largest outputs; of equal ones the first counts as larger."""
    truth = truth_of(outputs, targets, net)
    own = outputs[np.arange(len(truth)), truth][:, None]
    before = np.arange(outputs.shape[1]) < truth[:, None]
    return mean_of(np.sum((outputs > own) | (outputs == own) & before, axis=1) < k, weights)


def decisions(outputs, targets, net, weights):
    """For each class or label, the weights of the rows that are it and were taken for it, that are it, that were taken
    for it."""
    truth = truth_of(outputs, targets, net)
    if truth is None:
        said = [(yes, y > threshold(net), w) for yes, y, w in questions(outputs, targets, net, weights)]
        return np.array([(w[yes & guess].sum(), w[yes].sum(), w[guess].sum()) for yes, guess, w in said]).T
    width, taken = outputs.shape[1], outputs.argmax(axis=1)
    right = taken == truth
    of_right = truth[right], None if weights is None else weights[right]
    counted = [np.bincount(*rows, width) for rows in (of_right, (truth, weights), (taken, weights))]
    numbers = np.array(counted, float)
    return numbers[:, numbers[1] + numbers[2] > 0]  # those classes that occur, or were thought to


def share(part, whole):
    """part / whole, and 0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def precision(outputs, targets, net, weights=None):
    """Share of the rows taken for a class that are it; the mean over classes, or labels."""
    both, _, taken = decisions(outputs, targets, net, weights)
    return mean_of(share(both, taken))


def recall(outputs, targets, net, weights=None):
    """Share of the rows of a class that were taken for it; the mean over classes, or labels."""
    both, are, _ = decisions(outputs, targets, net, weights)
    return mean_of(share(both, are))


def f1(outputs, targets, net, weights=None):
    """Harmonic mean of precision and recall; the mean over classes, or labels."""
    both, are, taken = decisions(outputs, targets, net, weights)
    return mean_of(share(2 * both, are + taken))


def balanced_accuracy(outputs, targets, net, weights=None):
    """Recall, averaged over the classes that occur; of a binary output over its yes and no, and then over outputs."""
    if truth_of(outputs, targets, net) is not None:
        both, are, _ = decisions(outputs, targets, net, weights)
        return mean_of(both[are > 0] / are[are > 0])
    scores = []
    for yes, output, w in questions(outputs, targets, net, weights):
        right = (output > threshold(net)) == yes
        scores.append(mean_of([mean_of(right[rows], w[rows]) for rows in (yes, ~yes) if rows.any()]))
    return mean_of([score for score in scores if score == score])


def auc(outputs, targets, net, weights=None):
    """Area under the ROC curve, averaged over classes (each against the rest) or labels.

    The share of pairs of a row that is the class and one that is not in which the former has the larger output, equal
    ones counting half (Mann and Whitney, 1947); the weight of a pair is the product of its rows'. A class that all rows
    or none are is left out. Logits of classes are compared as the probabilities they stand for.
    """
    if loss_name(net) == "cross_entropy" and net.layers[-1].activation != "softmax":
        outputs = log_softmax(outputs.astype(np.float64))
    asked = questions(outputs, targets, net, weights)
    return mean_of([area(yes, scores, w) for yes, scores, w in asked if 0 < yes.sum() < len(yes)])


def area(yes, scores, weights):
    _, place = np.unique(scores, return_inverse=True)
    positive, negative = (np.bincount(place, np.where(rows, weights, 0.0)) for rows in (yes, ~yes))
    below = np.cumsum(negative) - negative / 2  # weight of the no with smaller outputs, and half of that with the same
    return float((positive * below).sum() / positive.sum() / negative.sum())


def log_softmax(logits):
    """Logarithms of the probabilities that logits stand for."""
    below = logits - logits.max(axis=1, keepdims=True)
    return below - np.log(np.exp(below).sum(axis=1, keepdims=True))


def log_loss(outputs, targets, net, weights=None):
    """Mean of -log of the probability given to what is the case, over rows or binary elements.

    Probabilities are kept from 0 and 1 by the outputs' machine epsilon, as scikit-learn does.
    """
    p = outputs.astype(np.float64)
    eps = np.finfo(outputs.dtype).eps
    if loss_name(net) == "cross_entropy":
        if net.layers[-1].activation != "softmax":
            p = np.exp(log_softmax(p))
        p = np.clip(p, eps, 1 - eps)
        return mean_of(-np.sum(as_numbers(outputs, targets, net) * np.log(p), axis=1), weights)
    if net.layers[-1].activation != "sigmoid":
        p = 0.5 + 0.5 * np.tanh(0.5 * p)
    p = np.clip(p, eps, 1 - eps)
    t = as_numbers(outputs, targets, net)
    return mean_of(*known_of(-t * np.log(p) - (1 - t) * np.log1p(-p), t, net, weights))


# ---------------------------------------------------------------- by name

OF_CLASSES = ("cross_entropy", "binary_cross_entropy", "hinge")
OF_NUMBERS = {"mse": mse, "rmse": rmse, "mae": mae, "r2": r2}
CLASSIFICATION = {
    "accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "precision": precision, "recall": recall, "f1": f1,
    "auc": auc, "log_loss": log_loss,
}  # fmt: skip
METRICS = CLASSIFICATION | OF_NUMBERS
TOP_K = re.compile(r"top_([1-9]\d{0,8})_accuracy")
SMALLER_IS_BETTER = (*OF_NUMBERS, "log_loss")


def larger_is_better(name):
    """Of a list of the history; False for names that are not fastbp's."""
    name = name.removeprefix("val_")
    known = name in METRICS and (name == "r2" or name not in SMALLER_IS_BETTER)
    return known or bool(TOP_K.fullmatch(name)) or name.startswith(scorers.PREFIX)


def check_monitor(name, names):
    """Refuses to watch a list that the history will not have."""
    if name not in names:
        without = name.startswith("val_") and not any(each.startswith("val_") for each in names)
        hint = "; give fit validation data" if without else checks.suggestion(name, names)
        raise ValueError(f"monitor: expected one of {', '.join(names)}, got {name!r}{hint}")


def resolve(metrics, net, weighted=False):
    """Pairs (name, function of outputs, targets, net, weights) for names and callables; None is the usual metric of the
    loss. Of weighted rows only what knows what to do with weights is let through."""
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
            function = named(metric, net, weighted)
        if name in functions:
            raise ValueError(f"metrics: expected different names, got {name!r} twice")
        functions[name] = function
    del functions["loss"]
    return functions.items()


def named(name, net, weighted):
    """The function of a metric's name, if it makes sense for the network's loss."""
    if isinstance(name, str) and name.startswith(scorers.PREFIX):
        return scorers.scorer(name, weighted)
    top = TOP_K.fullmatch(name) if isinstance(name, str) else None
    function = functools.partial(top_k_accuracy, int(top[1])) if top else METRICS[choice(name)]
    loss = loss_name(net)
    if (top or name in CLASSIFICATION) and loss not in (*OF_CLASSES, None):
        raise ValueError(f"metrics: {name} needs a loss of classes, got {loss}; ask for 'mse', 'mae' or 'r2'")
    if name == "log_loss" and loss not in OF_CLASSES[:2]:
        raise ValueError(f"metrics: log_loss needs a loss of probabilities, got {loss or 'an object of your own'}")
    if top and not (net.n_outputs > int(top[1]) and loss != "binary_cross_entropy"):
        raise ValueError(f"metrics: {name} needs one class a row out of more than {top[1]}, got {net!r}")
    return functools.partial(of_weighty_rows, function)


def of_weighty_rows(function, outputs, targets, net, weights=None):
    """A metric of the rows whose weight is not 0: the others are as though they were not there."""
    if weights is not None and not weights.all():
        rows = weights > 0
        outputs, targets, weights = outputs[rows], targets[rows], weights[rows]
    return function(outputs, targets, net, weights)


def choice(name):
    return checks.choice("metrics", name, (*METRICS, "top_5_accuracy"))


def of_the_user(metric):
    """A function of (outputs, targets), and sample_weight if it has a parameter of that name, as one of (outputs,
    targets, net, weights) that returns a float."""
    takes_weights = has_parameter(metric, "sample_weight")

    def function(outputs, targets, net, weights=None):
        also = {"sample_weight": weights} if takes_weights and weights is not None else {}
        value = np.asarray(metric(outputs, targets, **also))
        if value.ndim or value.dtype.kind not in "biuf":
            raise TypeError(f"metrics: expected {metric!r} to return a number, got {checks.described(value)}")
        return float(value)

    return function


def has_parameter(function, name):
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # of some functions in C nobody knows
        return False
