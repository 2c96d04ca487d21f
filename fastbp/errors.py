"""Exceptions of fastbp."""


class DivergedError(ArithmeticError):
    """A loss, gradient or parameter would have left the finite range; the last finite parameters are in place."""
