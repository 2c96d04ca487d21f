"""Checks of single arguments. Each names the argument, what was expected and what came."""

import functools
import math
import operator
import reprlib

import numpy as np

from .cpus import MOST_THREADS


class Short(reprlib.Repr):
    """What stands in messages: one line."""

    def repr_ndarray(self, array, level):
        return f"<array of shape {array.shape}>"

    def repr_instance(self, value, level):
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and shape:  # a table, or an array of another library
            return f"<{type(value).__name__} of shape {tuple(shape)}>"
        return super().repr_instance(value, level)


SHORT = Short()
SHORT.maxstring = SHORT.maxother = 60


def described(value):
    """value in a few words, for messages."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"{SHORT.repr(value)} of type {type(value).__name__}"


def integer(name, value, lowest):
    """value as an int, at least `lowest`."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {described(value)}") from None
    if number < lowest:
        raise ValueError(f"{name}: expected an integer >= {lowest}, got {number}")
    return number


def positive_int(name, value):
    return integer(name, value, 1)


def threads(name, value):
    if value is not None and positive_int(name, value) > MOST_THREADS:
        raise ValueError(f"{name}: expected at most {MOST_THREADS}, got {value}")
    return None if value is None else int(value)


def seed(name, value):
    return None if value is None else integer(name, value, 0)


def boolean(name, value):
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {described(value)}")
    return bool(value)


def number(name, value, *, at_least=None, above=None, below=None, at_most=None):
    """value as a finite float within the bounds (`above` and `below` are excluded)."""
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    words = (bool, str, bytes, bytearray, complex)
    if isinstance(value, words) or kind not in "iuf" or getattr(value, "ndim", 0):
        raise TypeError(f"{name}: expected a number, got {described(value)}")
    try:
        converted = float(value)
    except OverflowError:
        converted = math.inf
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a number, got {described(value)}") from None
    if (
        math.isfinite(converted)
        and (at_least is None or converted >= at_least)
        and (above is None or converted > above)
        and (below is None or converted < below)
        and (at_most is None or converted <= at_most)
    ):
        return converted
    bounds = {">=": at_least, ">": above, "<": below, "<=": at_most}
    wanted = " and ".join(f"{sign} {bound}" for sign, bound in bounds.items() if bound is not None)
    raise ValueError(f"{name}: expected a finite number{' ' + wanted if wanted else ''}, got {SHORT.repr(value)}")


@functools.cache
def reach(dtype):
    """The smallest normal and the largest number of a dtype, as floats."""
    limits = np.finfo(dtype)
    return float(limits.tiny), float(limits.max)


def choice(name, value, choices):
    """value, which must be one of `choices`."""
    if isinstance(value, (str, int, bool)) and value in choices:
        return value
    listed = ", ".join(repr(c) for c in choices)
    kind = ValueError if isinstance(value, (str, int)) else TypeError
    raise kind(f"{name}: expected one of {listed}, got {SHORT.repr(value)}{suggestion(value, choices)}")


def suggestion(value, choices):
    """ " (did you mean 'relu'?)" for 'ReLU' or 'rleu'."""
    if not isinstance(value, str):
        return ""
    import difflib  # for errors alone: importing it takes longer than most modules of this package

    plain = value.strip().lower().replace("-", "_").replace(" ", "_")
    near = difflib.get_close_matches(plain, [c for c in choices if isinstance(c, str)], 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def dtype(name, value):
    """numpy.dtype float32 or float64."""
    try:
        given = np.dtype(value) if value is not None else None
    except (TypeError, ValueError):
        given = None
    if given is None or given.name not in ("float32", "float64") or given.shape:
        raise ValueError(f"{name}: expected 'float32' or 'float64', got {SHORT.repr(value)}")
    return np.dtype(given.name)
