"""The data that is shipped inside the package."""

from importlib.resources import files

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import checks


def load_digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """1,797 handwritten digits, 8x8 pixels each; digits.txt beside this file tells where they come from.

    Returns
    -------
    X : ndarray of uint8, shape (1797, 64)
        Ink in each pixel, from 0 to 16, row after row of the picture.
    y : ndarray of uint8, shape (1797,)
        The digit, from 0 to 9.

    References
    ----------
    E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    https://doi.org/10.24432/C50P49, CC BY 4.0.

    Examples
    --------
    >>> from fastbp.datasets import load_digits
    >>> X, y = load_digits()
    >>> X.shape, int(X.max()), y[:5].tolist()
    ((1797, 64), 16, [0, 1, 2, 3, 4])
    """
    with files(__package__).joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        return arrays["X"], arrays["y"]


def stratified_split(y: ArrayLike, test_share: float = 0.3, seed: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row numbers of a training and a test set in which every class has its share.

    Parameters
    ----------
    y : array_like, shape (n,)
        Classes.
    test_share : float
        In [0, 1]; of each class, to the nearest row.
    seed : int
        The same seed gives the same split.

    Returns
    -------
    train, test : ndarray of int
        Sorted; together every row once.

    Raises
    ------
    ValueError, TypeError
        Naming the argument.

    Examples
    --------
    >>> train, test = stratified_split(np.repeat([0, 1], [70, 30]))
    >>> len(train), len(test), int(np.sum(test < 70))
    (70, 30, 21)
    """
    y = np.asarray(y)
    if y.ndim != 1:
        raise ValueError(f"y: expected shape (n,), got {y.shape}")
    test_share = checks.number("test_share", test_share, at_least=0, at_most=1)
    rng = np.random.default_rng(checks.seed("seed", seed))
    in_test = np.zeros(len(y), bool)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        in_test[rng.permutation(rows)[: round(test_share * len(rows))]] = True
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)
