"""What `class_weight` in fit says about each row."""

from collections.abc import Mapping

import numpy as np

from . import checks, data
from .metrics import OF_CLASSES, loss_name


def row_weights(class_weight, targets, net):
    """The weight of each row's class, the largest of them 1.

    Parameters
    ----------
    class_weight : dict or "balanced"
        Weights by class, 1 for a class that is not named; or n / (classes met * rows of the class).
    targets : ndarray
        As `data.targets` gives them.
    net : Network

    Returns
    -------
    ndarray of float64, shape (n,)

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Network([1, 3], loss="cross_entropy")
    >>> row_weights("balanced", np.array([0, 0, 0, 2]), net).round(2).tolist()
    [0.33, 0.33, 0.33, 1.0]
    >>> row_weights({2: 4}, np.array([0, 0, 0, 2]), net).tolist()
    [0.25, 0.25, 0.25, 1.0]
    """
    if not isinstance(class_weight, (str, Mapping)):
        raise TypeError(f"class_weight: expected a dict or 'balanced', got {checks.described(class_weight)}")
    if isinstance(class_weight, str):
        checks.choice("class_weight", class_weight, ("balanced",))
    classes, numbers = classes_of(targets, net)
    counts = np.bincount(numbers, minlength=len(classes))
    if isinstance(class_weight, Mapping):
        weights = weights_by_class(class_weight, classes)
    else:
        weights = np.divide(1.0, counts, out=np.zeros(len(classes)), where=counts > 0)
    largest = weights[counts > 0].max()
    if largest == 0:
        raise ValueError("class_weight: expected a weight above 0 for at least one class in y, got zeros only")
    with np.errstate(over="ignore"):  # of a class that is not met it may be infinite
        return np.minimum(weights / largest, 1.0)[numbers]


def weights_by_class(class_weight, classes):
    weights = np.ones(len(classes))
    for key, weight in class_weight.items():
        if key not in classes:
            raise ValueError(f"class_weight: expected classes out of {listed(classes)}, got {key!r}")
        weights[classes.index(key)] = checks.number(f"class_weight[{key!r}]", weight, at_least=0)
    return weights


def listed(classes):
    return f"{classes[0]} to {classes[-1]}" if len(classes) > 2 else " and ".join(map(str, classes))


def classes_of(targets, net):
    """The classes, and for each row the place of its own among them."""
    loss = loss_name(net)
    if loss not in OF_CLASSES:
        came = f"{loss}, a loss without classes" if loss else "a loss object of one's own"
        raise ValueError(f"class_weight: expected None with {came}")
    if targets.ndim == 1:
        return range(net.n_outputs), targets
    if loss == "cross_entropy":
        refuse((targets != 0) & (targets != 1), targets, "one class a row")
        return range(net.n_outputs), targets.argmax(axis=1)
    if net.n_outputs > 1:
        raise ValueError(f"class_weight: expected None with {net.n_outputs} labels a row, which have no class together")
    classes = (-1, 1) if loss == "hinge" else (0, 1)
    refuse((targets != classes[0]) & (targets != classes[1]), targets, listed(classes))
    return classes, (targets[:, 0] == classes[1]).astype(np.intp)


def refuse(wrong, targets, expected):
    if wrong.any():
        row, column = (int(k) for k in np.argwhere(wrong)[0])
        came = f"{targets[row, column]:g}"
        raise data.RowError(f"y: expected {expected} where class_weight is given, got {came}", row, column)
