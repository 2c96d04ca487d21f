"""What `Network.evaluate` can report, as functions of (outputs, targets, net). Missing targets (NaN) are left out."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import checks, scorers
from .losses import Loss

Metric = str | Callable[[NDArray[Any], NDArray[Any]], float]
Metrics = Metric | Sequence[Metric]  # what `evaluate` and `fit` take


def loss_name(net):
    """The name of the loss; None for an object of the user's."""
    return net.objective.name if isinstance(net.objective, Loss) else None


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


def errors(outputs, targets, net):
    """Outputs less targets, of the elements that have one."""
    t = as_numbers(outputs, targets, net)
    return (outputs - t)[~np.isnan(t)] if net.missing_targets == "mask" else outputs - t


def mse(outputs, targets, net):
    """Mean squared error over all elements."""
    return float(np.mean(errors(outputs, targets, net) ** 2))


def rmse(outputs, targets, net):
    """Root of the mean squared error over all elements."""
    return mse(outputs, targets, net) ** 0.5


def mae(outputs, targets, net):
    """Mean absolute error over all elements."""
    return float(np.mean(np.abs(errors(outputs, targets, net))))


def r2(outputs, targets, net):
    """1 - residual / total sum of squares, averaged over outputs; a constant target counts 0 unless met."""
    t = as_numbers(outputs, targets, net)
    known = ~np.isnan(t) if net.missing_targets == "mask" else np.True_
    rows = np.sum(known, axis=0) if known.ndim else len(t)
    residual = np.sum((outputs - t) ** 2, axis=0, where=known)
    total = np.sum((t - np.sum(t, axis=0, where=known) / np.maximum(rows, 1)) ** 2, axis=0, where=known)
    constant = total == 0
    scores = np.where(constant, np.where(residual == 0, 1.0, 0.0), 1 - residual / np.where(constant, 1, total))
    return mean_of(scores[np.broadcast_to(rows, scores.shape) > 0])


# ---------------------------------------------------------------- of classes


def truth_of(outputs, targets, net):
    """The class of each row (n,), where a row has one out of several; None for binary outputs."""
    if loss_name(net) == "cross_entropy" or targets.ndim == 1 and outputs.shape[1] > 1:
        return targets if targets.ndim == 1 else targets.argmax(axis=1)
    if loss_name(net) is None:
        raise ValueError(f"metrics: expected class indices of shape (n,) here, got {checks.described(targets)}")
    return None


def questions(outputs, targets, net):
    """For each class, or each binary output: which rows are it (bool), and their outputs."""
    truth = truth_of(outputs, targets, net)
    if truth is not None:
        return [(truth == c, outputs[:, c]) for c in range(outputs.shape[1])]
    known = ~np.isnan(targets)
    rows = [known[:, c] for c in range(outputs.shape[1])]
    return [(targets[rows[c], c] > middle(net), outputs[rows[c], c]) for c in range(outputs.shape[1])]


def middle(net):
    """Binary targets above this are yes."""
    return 0.0 if loss_name(net) == "hinge" else 0.5


def threshold(net):
    """Where a single output says yes: above 0.5 for probabilities, above 0 for logits and for hinge."""
    return 0.5 if loss_name(net) == "binary_cross_entropy" and net.layers[-1].activation == "sigmoid" else 0.0


def accuracy(outputs, targets, net):
    """Share of rows (of elements, for several binary outputs) that are classified right.

    The class is the largest output. A single output is compared with the middle of its range: 0.5 for probabilities, 0
    for logits and for hinge.
    """
    truth = truth_of(outputs, targets, net)
    if truth is not None:
        return float(np.mean(outputs.argmax(axis=1) == truth))
    right = (outputs > threshold(net)) == (targets > middle(net))
    return mean_of(right[~np.isnan(targets)] if net.missing_targets == "mask" else right)


def top_k_accuracy(k, outputs, targets, net):
    """Share of rows whose class is among those of the k largest outputs; of equal ones the first counts as larger."""
    truth = truth_of(outputs, targets, net)
    own = outputs[np.arange(len(truth)), truth][:, None]
    before = np.arange(outputs.shape[1]) < truth[:, None]
    return float(np.mean(np.sum((outputs > own) | (outputs == own) & before, axis=1) < k))


def decisions(outputs, targets, net):
    """Rows that are a class and were taken for it, for each class or label; rows that are it; rows taken for it."""
    truth = truth_of(outputs, targets, net)
    if truth is None:
        said = [(yes, y > threshold(net)) for yes, y in questions(outputs, targets, net)]
        return np.array([(np.sum(yes & guess), yes.sum(), guess.sum()) for yes, guess in said], float).T
    width, taken = outputs.shape[1], outputs.argmax(axis=1)
    right = truth[taken == truth]
    numbers = np.array([np.bincount(rows, minlength=width) for rows in (right, truth, taken)], float)
    return numbers[:, numbers[1] + numbers[2] > 0]  # those classes that occur, or were thought to


def share(part, whole):
    """part / whole, and 0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def mean_of(scores):
    """Their mean; NaN where there are none."""
    return float(np.mean(scores)) if len(scores) else np.nan


def precision(outputs, targets, net):
    """Share of the rows taken for a class that are it; the mean over classes, or labels."""
    both, _, taken = decisions(outputs, targets, net)
    return mean_of(share(both, taken))


def recall(outputs, targets, net):
    """Share of the rows of a class that were taken for it; the mean over classes, or labels."""
    both, are, _ = decisions(outputs, targets, net)
    return mean_of(share(both, are))


def f1(outputs, targets, net):
    """Harmonic mean of precision and recall; the mean over classes, or labels."""
    both, are, taken = decisions(outputs, targets, net)
    return mean_of(share(2 * both, are + taken))


def balanced_accuracy(outputs, targets, net):
    """Recall, averaged over the classes that occur; of a binary output over its yes and no, and then over outputs."""
    if truth_of(outputs, targets, net) is not None:
        both, are, _ = decisions(outputs, targets, net)
        return mean_of(both[are > 0] / are[are > 0])
    scores = []
    for yes, output in questions(outputs, targets, net):
        right = (output > threshold(net)) == yes
        scores.append(mean_of([right[rows].mean() for rows in (yes, ~yes) if rows.any()]))
    return mean_of([score for score in scores if score == score])


def auc(outputs, targets, net):
    """Area under the ROC curve, averaged over classes (each against the rest) or labels.

    The share of pairs of a row that is the class and one that is not in which the former has the larger output, equal
    ones counting half (Mann and Whitney, 1947). A class that all rows or none are is left out.
    """
    asked = questions(outputs, targets, net)
    return mean_of([area(yes, scores) for yes, scores in asked if 0 < yes.sum() < len(yes)])


def area(yes, scores):
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    n = int(yes.sum())
    return float((ranks[place[yes]].sum() - n * (n + 1) / 2) / n / (len(yes) - n))


def log_loss(outputs, targets, net):
    """Mean of -log of the probability given to what is the case, over rows or binary elements.

    Probabilities are kept from 0 and 1 by the outputs' machine epsilon, as scikit-learn does.
    """
    p = outputs.astype(np.float64)
    eps = np.finfo(outputs.dtype).eps
    if loss_name(net) == "cross_entropy":
        if net.layers[-1].activation != "softmax":
            p = np.exp(p - p.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
        p = np.clip(p, eps, 1 - eps)
        return float(-np.mean(np.sum(as_numbers(outputs, targets, net) * np.log(p), axis=1)))
    if net.layers[-1].activation != "sigmoid":
        p = 0.5 + 0.5 * np.tanh(0.5 * p)
    p = np.clip(p, eps, 1 - eps)
    t = as_numbers(outputs, targets, net)
    return mean_of((-t * np.log(p) - (1 - t) * np.log1p(-p))[~np.isnan(t)])


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
            function = named(metric, net)
        if name in functions:
            raise ValueError(f"metrics: expected different names, got {name!r} twice")
        functions[name] = function
    del functions["loss"]
    return functions.items()


def named(name, net):
    """The function of a metric's name, if it makes sense for the network's loss."""
    if isinstance(name, str) and name.startswith(scorers.PREFIX):
        return scorers.scorer(name)
    top = TOP_K.fullmatch(name) if isinstance(name, str) else None
    function = functools.partial(top_k_accuracy, int(top[1])) if top else METRICS[choice(name)]
    loss = loss_name(net)
    if (top or name in CLASSIFICATION) and loss not in (*OF_CLASSES, None):
        raise ValueError(f"metrics: {name} needs a loss of classes, got {loss}; ask for 'mse', 'mae' or 'r2'")
    if name == "log_loss" and loss not in OF_CLASSES[:2]:
        raise ValueError(f"metrics: log_loss needs a loss of probabilities, got {loss or 'an object of your own'}")
    if top and not (net.n_outputs > int(top[1]) and loss != "binary_cross_entropy"):
        raise ValueError(f"metrics: {name} needs one class a row out of more than {top[1]}, got {net!r}")
    return function


def choice(name):
    return checks.choice("metrics", name, (*METRICS, "top_5_accuracy"))


def of_the_user(metric):
    """A function of (outputs, targets) as one of (outputs, targets, net) that returns a float."""

    def function(outputs, targets, net):
        value = np.asarray(metric(outputs, targets))
        if value.ndim or value.dtype.kind not in "biuf":
            raise TypeError(f"metrics: expected {metric!r} to return a number, got {checks.described(value)}")
        return float(value)

    return function
