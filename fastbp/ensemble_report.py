"""What an ensemble says of held-out data: loss and metrics of its mean."""

import numpy as np

from . import data, layers, metrics
from .network import Network


def evaluate(ensemble, X, y, asked, sample_weight):
    """See Ensemble.evaluate."""
    net = ensemble[0]
    functions = metrics.resolve(asked, net, sample_weight is not None)
    X, targets, weights, _, _ = net._pass(X, y, sample_weight)
    if weights is not None:
        weights = data.sample_weights(sample_weight, len(X), np.dtype(np.float64))
    outputs, _ = ensemble.predict(X)
    report = {"loss": loss_of(net, outputs, targets, weights)}
    for name, function in functions:
        report[name] = function(outputs, targets, net, weights)
    return report


def loss_of(net, outputs, targets, weights):
    """The loss of outputs that no network has computed: that of a network of the last activation alone, in float64."""
    last = net.layers[-1].activation if net.objective.from_logits else "identity"
    judge = Network.__new__(Network)
    judge._describe(
        net.n_outputs, (layers.Activation(last),), net.objective, np.dtype(np.float64), None, 1, net.missing_targets
    )
    judge._build()
    logits = np.ascontiguousarray(before(outputs, last))
    if targets.dtype.kind == "f":
        targets = targets.astype(np.float64)
    return judge._loss(logits, targets, weights)


def before(outputs, activation):
    """Numbers from which the activation makes the outputs, in float64; these are kept from the ends of its range by the
    smallest number, or the last digit, of their dtype."""
    limits, z = np.finfo(outputs.dtype), outputs.astype(np.float64)
    if activation == "identity":
        return z
    z = np.maximum(z, float(limits.tiny))
    if activation == "sigmoid":
        z = np.minimum(z, 1 - float(limits.epsneg))
        return np.log(z) - np.log1p(-z)
    return np.log(z)  # of softmax and exp
