"""Exceptions of fastbp."""


class DivergedError(ArithmeticError):
    """A loss, gradient or parameter would have left the finite range; the last finite parameters are in place.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> net = fb.Network([1, 1], loss="mse", seed=0)
    >>> X = np.array([[1.0], [2.0]])
    >>> net.fit(X, X, epochs=100, optimizer=fb.SGD(lr=100), verbose=0)
    Traceback (most recent call last):
    fastbp.errors.DivergedError: training diverged in epoch ...
    >>> bool(np.isfinite(net.params).all())
    True
    """
