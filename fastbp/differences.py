"""Finite differences of a function of float64 along a line, and what a kink near the point does to them."""

from functools import cached_property

import numpy as np

# Steps of the second look, in units of the first one's. The largest has the least rounding error for a smooth loss, the
# smallest comes closest to a kink.
LADDER = np.array([2048, 256, 32, 4, 1 / 2, 1 / 32])
OFFSETS = np.array([-2, -1, 1, 2])
SMALL = (4, 3)  # the steps of it that show what a kink at the point has on its sides
SAFETY = 6  # between a standard deviation and the largest of thousands of rounding errors


class Line:
    """The way of some numbers of a vector as t goes: start + t rates.

    Parameters
    ----------
    vector : ndarray, 1-D
        Where the numbers are; moved, and put back.
    index : int or slice
        Which they are.
    entries : int or slice
        The same in the gradient by all vectors.
    rates : float or ndarray
        One for each of the numbers.
    size : float
        Of a step that is 1 for numbers of size 1.
    """

    def __init__(self, vector, index, entries, rates, size):
        self.vector, self.index, self.entries, self.rates, self.size = vector, index, entries, rates, size
        self.start = vector[index] if isinstance(index, int) else vector[index].copy()

    def move(self, t):
        self.vector[self.index] = self.start + t * self.rates

    def back(self):
        self.vector[self.index] = self.start

    def slope(self, gradient):
        """The derivative by t, out of the gradient (..., n) by all vectors."""
        part = gradient[..., self.entries]
        return part * self.rates if isinstance(self.index, int) else part @ self.rates


class Function:
    """A function of some vectors of float64 at a point, with a gradient that is in doubt.

    A subclass has `function()` and `derivative()` (flat, by all vectors), both at what the vectors hold; `roundings()`,
    gradients (k, n) after roundings of the point; and `dtype`, that of the gradient in doubt.

    Parameters
    ----------
    vectors : sequence of ndarray, 1-D
        Live: moved, and put back.
    eps : float
        Step of the first look for an entry of size 1.

    Attributes
    ----------
    value : float
    gradient : ndarray
        At the point.
    noise : float
        How far rounding may move the value.
    """

    def __init__(self, vectors, eps):
        self.vectors = vectors
        self.eps = eps
        self.value = self.function()
        self.gradient = self.derivative()
        self.noise = 2 * max(self.scatter(), np.finfo(np.float64).eps * abs(self.value))

    @cached_property
    def rounded(self):
        return self.roundings()

    def entry(self, e):
        """The line of entry e alone."""
        vector, i = self.place(e)
        return Line(vector, i, e, 1.0, max(1.0, abs(vector[i])))

    def direction(self, entries, numbers):
        """The line of neighbouring entries of one vector, each by its size times one of the normal random numbers.

        Its length is 1 or so where the sizes are.
        """
        vector, first = self.place(entries.start)
        index = slice(first, first + len(numbers))
        rates = numbers * np.maximum(1.0, np.abs(vector[index])) / np.sqrt(len(numbers))
        return Line(vector, index, entries, rates, 1.0)

    def place(self, e):
        """The vector that holds entry e, and its place there."""
        for vector in self.vectors:
            if e < vector.size:
                return vector, e
            e -= vector.size
        raise IndexError(e)

    def scatter(self):
        """The largest distance of the value from a straight line, on a line so short that only rounding bends it.

        It starts at the point and leads to one side, so that a kink at the point does not count (the idea of noise seen
        in close differences: Moré and Wild, 2011).
        """
        rng = np.random.default_rng(0)
        start = [vector.copy() for vector in self.vectors]
        directions = [rng.uniform(-1, 1, vector.shape) * self.sizes(vector) for vector in self.vectors]
        along = np.arange(1, 13)
        values = []
        for k in along:
            for vector, at, direction in zip(self.vectors, start, directions, strict=True):
                vector[...] = at + 1e-10 * k * direction
            values.append(self.function() - self.value)
        for vector, at in zip(self.vectors, start, strict=True):
            vector[...] = at
        line = np.polyfit(along, values, 1) if np.isfinite(values).all() else (np.nan, np.nan)
        return np.abs(values - np.polyval(line, along)).max()

    def sizes(self, vector):
        """|vector|, or what is typical of it if that is more."""
        return np.maximum(np.abs(vector), np.sqrt(np.square(vector).mean()))

    def smallest_noise(self):
        """Of a difference with the largest step."""
        return 4 * self.noise / (LADDER[0] * self.eps)

    def values_on(self, line, steps):
        """The value at each of the steps."""
        values = []
        for step in steps:
            line.move(step)
            values.append(self.function())
        line.back()
        return values

    def central(self, line):
        """(f(h) - f(-h)) / 2h, and how much the slopes on both sides differ: by h f^(2) for a smooth function."""
        h = self.eps * line.size
        above, below = self.values_on(line, (h, -h))
        return (above - below) / (2 * h), abs(above - 2 * self.value + below) / h

    def look_closer(self, line, analytic, rtol, atol, bend):
        """The best of the differences with five points at each step of the ladder, and whether a kink is in their way.

        Parameters
        ----------
        line : Line
        analytic : float
            The slope that is in doubt.
        rtol, atol : float
            It may differ by the larger of atol and rtol times the larger of the two values.
        bend : float
            A kink that changes the slope by less is of no account where the values agree.

        Returns
        -------
        numeric : float
        kink : bool
        """

        def tolerance(a, b):
            return max(rtol * max(abs(a), abs(b)), atol)

        steps = LADDER * self.eps * line.size
        noise = 4 * self.noise / steps  # of one-sided differences, the coefficients of which are the largest
        f = np.empty((len(steps), len(OFFSETS)))
        central, jump = np.empty(len(steps)), np.empty(len(steps))
        for k, h in enumerate(steps):
            f[k] = below2, below, above, above2 = self.values_on(line, h * OFFSETS)
            central[k] = (8 * (above - below) - (above2 - below2)) / (12 * h)  # error h^4 f^(5) / 30
            # of the one-sided differences with three points: h^3 f^(4) / 2 for a smooth function
            jump[k] = abs(4 * (above + below) - (above2 + below2) - 6 * self.value) / (2 * h)
            if abs(analytic - central[k]) <= tolerance(analytic, central[k]) and jump[k] <= noise[k] + bend:
                return central[k], False

        straight = jump <= noise + 10 * rtol * np.abs(central)  # no kink that matters to this line
        if straight.any():
            change = np.abs(np.diff(central)) - noise[1:]  # from one step to the next, beyond rounding
            error = noise + np.append(np.maximum(change, 0), 0)
            best = np.where(straight, error, np.inf).argmin()
            numeric = central[best]
            gap = abs(analytic - numeric)
            if gap <= error[best]:  # a kink keeps the larger steps away, and the smaller ones see too little
                return numeric, not straight.all()
        else:
            numeric = central[-2]  # the mean of both slopes, if the kink is at the point
            gap = max(abs(analytic - numeric), jump[-2])
        return numeric, self.at_kink(line, analytic, gap, steps, f, jump, noise, tolerance)

    def at_kink(self, line, analytic, gap, steps, f, jump, noise, tolerance):
        """Whether the point itself is a kink, and the analytic value one that the slope takes around it.

        So it is if the slopes on both sides differ, or the value from the gradient after roundings of the whole point,
        not much less than it does from the difference; if the value lies within these and what the float64 gradient
        says; and if that is right at -3h/2 and at 3h/2.
        """
        room = tolerance(analytic, analytic)
        rounded = line.slope(self.rounded)
        for k in SMALL:
            h = steps[k]
            below2, below, above, above2 = f[k]
            right, left = (
                (4 * above - above2 - 3 * self.value) / (2 * h),
                (3 * self.value - 4 * below + below2) / (2 * h),
            )
            values = [left, right, line.slope(self.gradient), *rounded]
            apart = max(jump[k], np.ptp([analytic, *rounded]))
            seen = noise[k] < gap / SAFETY < apart
            if not (seen and min(values) - room <= analytic <= max(values) + room):
                continue
            around = []
            for offset in (-1.5, 1.5):
                line.move(offset * h)
                around.append(line.slope(self.derivative()))
            line.back()
            slopes = (below - below2) / h, (above2 - above) / h
            if all(abs(g - s) <= tolerance(g, s) + noise[k] for g, s in zip(around, slopes, strict=True)):
                return True
        return False
