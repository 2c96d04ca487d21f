"""Fingerprints of data: whether a training goes on with what it began with."""

import numpy as np

from . import data

ROWS_OF_A_MAP = 256  # looked at, evenly spaced
PIECE = 16 << 20  # bytes between two chances for Ctrl-C


def of(array):
    """Shape, dtype and SHA-256 of an array: of all its bytes, or of 256 rows of a memory map.

    Examples
    --------
    >>> of(np.arange(3)) == of(np.array([0, 1, 2])), of(np.arange(3)) == of(np.arange(3) + 1)
    (True, False)
    """
    if isinstance(array, data.ScaledWeights):
        array = array.array
    whole = not data.is_streaming(array)
    digest = new_digest()
    if array.dtype.kind != "O":
        n = len(array) if array.ndim else 1
        rows = array if whole else array[np.linspace(0, n - 1, min(n, ROWS_OF_A_MAP)).astype(np.intp)]
        add(digest, rows)
    return {
        "shape": list(array.shape), "dtype": array.dtype.str, "rows": "all" if whole else "some",
        "sha256": digest.hexdigest(),
    }  # fmt: skip


def of_all(**arrays):
    """Of arrays by the names that messages call them; None is left out."""
    return {name: of(array) for name, array in arrays.items() if array is not None}


def of_batches(batches):
    """Of an iterable: a list or a tuple of batches by its contents; of others the type is all that is known."""
    digest = new_digest()
    if isinstance(batches, (list, tuple)):
        for batch in batches:
            for part in batch:
                array = np.asarray(part)
                digest.update(f"{array.shape} {array.dtype.str}".encode())
                if array.dtype.kind != "O":
                    add(digest, array)
    return {"iterable": type(batches).__qualname__, "sha256": digest.hexdigest()}


def new_digest():
    import hashlib  # takes a tenth of `import fastbp`, and most runs want no fingerprint

    return hashlib.sha256()


def add(digest, array):
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for first in range(0, flat.size, PIECE):
        digest.update(flat[first : first + PIECE])
