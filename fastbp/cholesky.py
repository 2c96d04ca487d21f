"""Positive definite systems: LAPACK's factor, which NumPy has, and substitution with it, which NumPy has not."""

import numpy as np

BLOCK = 32  # the diagonal blocks that are inverted: 16 to 64 take the same time


class Cholesky:
    """A = L L^T.

    Parameters
    ----------
    A : ndarray of float64, shape (n, n)
        Symmetric; the lower triangle is read.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where A is not positive definite.

    Examples
    --------
    >>> Cholesky(np.array([[4.0, 2.0], [2.0, 2.0]])).solve(np.array([8.0, 6.0]))
    array([1., 2.])
    """

    def __init__(self, A):
        self.L = np.linalg.cholesky(A)
        starts = range(0, len(A), BLOCK)
        diagonal = np.tile(np.eye(BLOCK), (len(starts), 1, 1))
        self.cuts = [slice(start, min(start + BLOCK, len(A))) for start in starts]
        for block, cut in zip(diagonal, self.cuts, strict=True):
            own = self.L[cut, cut]
            block[: len(own), : len(own)] = own
        inverses = np.linalg.inv(diagonal)
        self.inverses = [
            inverse[: c.stop - c.start, : c.stop - c.start] for inverse, c in zip(inverses, self.cuts, strict=True)
        ]

    def solve(self, b):
        """x of A x = b."""
        L, x = self.L, b.copy()
        for cut, inverse in zip(self.cuts, self.inverses, strict=True):  # L w = b
            x[cut] = inverse @ (x[cut] - L[cut, : cut.start] @ x[: cut.start])
        for cut, inverse in zip(self.cuts[::-1], self.inverses[::-1], strict=True):  # L^T x = w
            x[cut] = inverse.T @ (x[cut] - L[cut.stop :, cut].T @ x[cut.stop :])
        return x
