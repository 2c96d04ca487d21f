"""What a gradient check takes differences of: a network once more in float64, and a loss object of the user's own."""

import numpy as np

from . import losses
from .differences import Function

ROUNDINGS = 8  # how often the point is rounded anew to see what rounding does


class Twin(Function):
    """The loss of a network, once more in float64, as a function of its parameters and its inputs.

    Parameters
    ----------
    net : Network
        Copied, not changed.
    X : ndarray, shape (n, in)
        Copied.
    targets : ndarray
        As `data.targets` gives them.
    eps : float
        As of `Function`.
    training : bool
        Whether it is the loss of the next step of `fit`. The masks of dropouts are the same at every evaluation and in
        both dtypes: they follow from the network's key and its number of steps.
    """

    def __init__(self, net, X, targets, eps, training=False):
        self.original = net, X, targets
        self.training = training
        self.dtype = net.dtype
        self.net = net.copy(dtype="float64")
        self.X = np.array(X, np.float64)
        self.targets = wide(targets)
        super().__init__((self.net.params, self.X.reshape(-1)), eps)

    def function(self):
        return loss(self.net, self.X, self.targets, self.training)

    def derivative(self):
        return gradient(self.net, self.X, self.targets, self.training)

    def sizes(self, vector):
        return sizes(self.X).reshape(-1) if vector.base is self.X else super().sizes(vector)

    def roundings(self):
        """By the net's own kernels, after roundings of all numbers."""
        net, X, targets = self.original
        own = net.copy()
        size = 2 * np.finfo(net.dtype).eps
        rng = np.random.default_rng(0)
        gradients = []
        for _ in range(ROUNDINGS):
            own.params[:] = moved(net.params, size, rng)
            gradients.append(gradient(own, moved(X, size, rng), targets, self.training))
        return np.array(gradients)


class OwnLoss(Function):
    """The value of a loss object of the user's own as a function of the outputs; its delta is the gradient."""

    dtype = np.dtype("float64")

    def __init__(self, objective, outputs, targets, eps):
        self.objective = objective
        self.outputs = outputs.astype(np.float64)
        self.targets = wide(targets)
        super().__init__((self.outputs.reshape(-1),), eps)

    def call(self, outputs):
        return losses.value_and_delta(self.objective, outputs.copy(), self.targets)

    def function(self):
        return self.call(self.outputs)[0]

    def derivative(self):
        return self.call(self.outputs)[1].reshape(-1)

    def roundings(self):
        rng = np.random.default_rng(0)
        size = 2 * np.finfo(np.float64).eps
        return np.array([self.call(moved(self.outputs, size, rng))[1].reshape(-1) for _ in range(ROUNDINGS)])


def loss(net, X, targets, training):
    """The mean loss, for data that has come through the door."""
    return net._loss(X, targets, training=training)


def gradient(net, X, targets, training):
    """dL/dparams, then dL/dX, flat."""
    by_params = net.loss_and_grad(X, targets, training=training)[1]
    return np.concatenate([by_params, net.input_grad(X, targets, training=training).ravel()])


def outputs(net, X, training):
    """Of the last layer; what `predict` gives, or what a step sees."""
    z = np.empty((len(X), net.n_outputs), net.dtype)
    net._engine.predict(X, z, len(X), training)
    return z


def wide(targets):
    """Floats as float64; class labels, and what a loss of the user's takes, as they are."""
    return targets.astype(np.float64) if targets.dtype == np.float32 else targets


def sizes(array):
    """|array|, or what is typical of its column if that is more."""
    return np.maximum(np.abs(array), np.sqrt(np.square(array, dtype=np.float64).mean(axis=0)))


def moved(array, size, rng):
    """Every number at random by up to `size`, in proportion; of the same dtype."""
    return (array + size * rng.uniform(-1, 1, array.shape) * sizes(array)).astype(array.dtype)


def rounding_errors(net, X, targets, training):
    """What rounding in the net's own dtype does: errors (k,) of its loss and (k, n) of its gradient at k points around.

    Taken from the difference to float64, all numbers moved by some thousandths: rounding differs from point to point
    there, and an error of the kernels, in which both dtypes are alike, does not.
    """
    own, twin = net.copy(), net.copy(dtype="float64")
    rng = np.random.default_rng(0)
    gradients, values = [], []
    for _ in range(ROUNDINGS):
        own.params[:] = moved(net.params, 1e-3, rng)
        twin.params[:] = own.params
        near = moved(X, 1e-3, rng)
        pair = (own, near, targets), (twin, near.astype(np.float64), wide(targets))
        gradients.append(gradient(*pair[0], training) - gradient(*pair[1], training))
        values.append(loss(*pair[0], training) - loss(*pair[1], training))
    return np.array(values), np.array(gradients)
