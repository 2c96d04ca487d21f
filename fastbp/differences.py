"""Finite differences of the loss in float64, one entry at a time, and what a kink near the point does to them."""

from functools import cached_property

import numpy as np

# Steps of the second look, in units of the first one's. The largest has the least rounding error for a smooth loss, the
# smallest comes closest to a kink.
LADDER = np.array([2048, 256, 32, 4, 1 / 2, 1 / 32])
OFFSETS = np.array([-2, -1, 1, 2])
SMALL = (4, 3)  # the steps of it that show what a kink at the point has on its sides
ROUNDINGS = 8  # how often the point is rounded anew to see what rounding does
SAFETY = 6  # between a standard deviation and the largest of thousands of rounding errors


class Twin:
    """A network once more in float64, with its data, as a function of one vector: parameters, then inputs.

    Parameters
    ----------
    net : Network
        Copied, not changed.
    X : ndarray, shape (n, in)
        Copied.
    targets : ndarray
        As `data.targets` gives them.
    eps : float
        Step of the first look for an entry of size 1.

    Attributes
    ----------
    value : float
        The loss.
    gradient : ndarray, shape (n_params + n * in,)
        What the float64 kernels say.
    noise : float
        How far rounding may move the loss.
    """

    def __init__(self, net, X, targets, eps):
        self.original = net, X, targets
        self.net = net.copy(dtype="float64")
        self.X = np.array(X, np.float64)
        self.targets = wide(targets)
        self.eps = eps
        self.value = self.loss()
        self.gradient = gradient(self.net, self.X, self.targets)
        self.noise = 2 * max(self.scatter(), np.finfo(np.float64).eps * abs(self.value))

    def loss(self):
        return self.net._loss(self.X, self.targets)

    def entry(self, e):
        """The vector that holds entry e, and its place there."""
        n_params = self.net.n_params
        return (self.net.params, e) if e < n_params else (self.X.reshape(-1), e - n_params)

    def scatter(self):
        """The largest distance of the loss from a straight line, on a line so short that only rounding bends it.

        It starts at the point and leads to one side, so that a kink at the point does not count (the idea of noise seen
        in close differences: Moré and Wild, 2011).
        """
        rng = np.random.default_rng(0)
        vectors = self.net.params, self.X
        start = [vector.copy() for vector in vectors]
        directions = [rng.uniform(-1, 1, vector.shape) * sizes(vector) for vector in vectors]
        along = np.arange(1, 13)
        values = []
        for k in along:
            for vector, at, direction in zip(vectors, start, directions, strict=True):
                vector[...] = at + 1e-10 * k * direction
            values.append(self.loss() - self.value)
        for vector, at in zip(vectors, start, strict=True):
            vector[...] = at
        line = np.polyfit(along, values, 1) if np.isfinite(values).all() else (np.nan, np.nan)
        return np.abs(values - np.polyval(line, along)).max()

    @cached_property
    def rounded(self):
        """Gradients (ROUNDINGS, n_params + n * in) of the net's own kernels after roundings of all numbers."""
        net, X, targets = self.original
        own = net.copy()
        size = 2 * np.finfo(net.dtype).eps
        rng = np.random.default_rng(0)
        gradients = []
        for _ in range(ROUNDINGS):
            own.params[:] = moved(net.params, size, rng)
            gradients.append(gradient(own, moved(X, size, rng), targets))
        return np.array(gradients)

    def smallest_noise(self):
        """Of a difference with the largest step."""
        return 4 * self.noise / (LADDER[0] * self.eps)

    def losses_around(self, e, steps):
        """The loss at entry e plus each of the steps."""
        vector, i = self.entry(e)
        start = vector[i]
        values = []
        for step in steps:
            vector[i] = start + step
            values.append(self.loss())
        vector[i] = start
        return values

    def step(self, e):
        vector, i = self.entry(e)
        return self.eps * max(1.0, abs(vector[i]))

    def central(self, e):
        """(f(w + h) - f(w - h)) / 2h, and how much the slopes on both sides differ: by h f^(2) for a smooth loss."""
        h = self.step(e)
        above, below = self.losses_around(e, (h, -h))
        return (above - below) / (2 * h), abs(above - 2 * self.value + below) / h

    def look_closer(self, e, analytic, rtol, atol, bend):
        """The best of the differences with five points at each step of the ladder, and whether a kink is in their way.

        Parameters
        ----------
        e : int
        analytic : float
            The value that is in doubt.
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

        steps = LADDER * self.step(e)
        noise = 4 * self.noise / steps  # of one-sided differences, the coefficients of which are the largest
        f = np.empty((len(steps), len(OFFSETS)))
        central, jump = np.empty(len(steps)), np.empty(len(steps))
        for k, h in enumerate(steps):
            f[k] = below2, below, above, above2 = self.losses_around(e, h * OFFSETS)
            central[k] = (8 * (above - below) - (above2 - below2)) / (12 * h)  # error h^4 f^(5) / 30
            # of the one-sided differences with three points: h^3 f^(4) / 2 for a smooth loss
            jump[k] = abs(4 * (above + below) - (above2 + below2) - 6 * self.value) / (2 * h)
            if abs(analytic - central[k]) <= tolerance(analytic, central[k]) and jump[k] <= noise[k] + bend:
                return central[k], False

        straight = jump <= noise + 10 * rtol * np.abs(central)  # no kink that matters to this entry
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
        return numeric, self.at_kink(e, analytic, gap, steps, f, jump, noise, tolerance)

    def at_kink(self, e, analytic, gap, steps, f, jump, noise, tolerance):
        """Whether the point itself is a kink, and the analytic value one that the gradient takes around it.

        So it is if the slopes on both sides differ, or the value from the gradient after roundings of the whole point,
        not much less than it does from the difference; if the value lies within these and what the float64 kernels say;
        and if the kernels are right at w - 3h/2 and at w + 3h/2.
        """
        vector, i = self.entry(e)
        start = vector[i]
        room = tolerance(analytic, analytic)
        for k in SMALL:
            h = steps[k]
            below2, below, above, above2 = f[k]
            right, left = (
                (4 * above - above2 - 3 * self.value) / (2 * h),
                (3 * self.value - 4 * below + below2) / (2 * h),
            )
            values = [left, right, self.gradient[e], *self.rounded[:, e]]
            apart = max(jump[k], np.ptp([analytic, *self.rounded[:, e]]))
            seen = noise[k] < gap / SAFETY < apart
            if not (seen and min(values) - room <= analytic <= max(values) + room):
                continue
            around = []
            for offset in (-1.5, 1.5):
                vector[i] = start + offset * h
                around.append(gradient(self.net, self.X, self.targets)[e])
            vector[i] = start
            slopes = (below - below2) / h, (above2 - above) / h
            if all(abs(g - s) <= tolerance(g, s) + noise[k] for g, s in zip(around, slopes, strict=True)):
                return True
        return False


def gradient(net, X, targets):
    """dL/dparams, then dL/dX, flat."""
    return np.concatenate([net.loss_and_grad(X, targets)[1], net.input_grad(X, targets).ravel()])


def wide(targets):
    """Floats as float64; class labels, and what a loss of the user's takes, as they are."""
    return targets.astype(np.float64) if targets.dtype == np.float32 else targets


def sizes(array):
    """|array|, or what is typical of its column if that is more."""
    return np.maximum(np.abs(array), np.sqrt(np.square(array, dtype=np.float64).mean(axis=0)))


def moved(array, size, rng):
    """Every number at random by up to `size`, in proportion; of the same dtype."""
    return (array + size * rng.uniform(-1, 1, array.shape) * sizes(array)).astype(array.dtype)


def rounding_errors(net, X, targets):
    """What rounding in the net's own dtype does to its loss and to each entry of its gradient: standard deviations.

    Taken from the difference to float64 at points around, all numbers moved by some thousandths: rounding differs from
    point to point there, and an error of the kernels, in which both dtypes are alike, does not.
    """
    own, twin = net.copy(), net.copy(dtype="float64")
    rng = np.random.default_rng(0)
    gradients, values = [], []
    for _ in range(ROUNDINGS):
        own.params[:] = moved(net.params, 1e-3, rng)
        twin.params[:] = own.params
        near = moved(X, 1e-3, rng)
        pair = (own, near, targets), (twin, near.astype(np.float64), wide(targets))
        gradients.append(gradient(*pair[0]) - gradient(*pair[1]))
        values.append(pair[0][0].loss(*pair[0][1:]) - pair[1][0].loss(*pair[1][1:]))
    return np.std(values), np.std(gradients, axis=0)
