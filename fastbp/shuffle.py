"""The random orders in which epochs take their rows."""

import functools

import numpy as np

from . import config


@functools.cache
def fill():
    """The core's function; every level and dtype fills in the same numbers."""
    return config.engine_module(np.dtype(np.float32)).shuffle


def permutation(rng, n):
    """A random order of n rows, from one draw of the generator's.

    Fisher and Yates' shuffle by splitmix64, in a fifth of the time of ``rng.permutation(n)``.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    order = np.empty(n, np.int64)
    fill()(order, seed(rng))
    return order


def seed(rng):
    """What an order follows from, beside its length."""
    return rng.bit_generator.random_raw()
