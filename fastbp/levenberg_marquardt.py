"""Levenberg-Marquardt: damped Gauss-Newton steps for the mean squared error."""

from dataclasses import KW_ONLY, dataclass

import numpy as np

from . import checks, losses
from .cholesky import Cholesky
from .errors import DivergedError
from .full_batch import FullBatch, Iterations, Objective, check_finite, in_memory

NUMBERS_OF_A_BLOCK = 1 << 19  # of the Jacobian: 4 MB
SHRINK = 1 / 3  # of the damping, at the most
FIRST_GROWTH = 2.0
PROBE = 0.1  # share of the step over which the second derivative along it is taken
MOST_ACCELERATION = 0.75  # 2 ||a|| / ||h||
LEAST_DAMPING = float(np.finfo(np.float64).tiny)  # 0 could not grow


@dataclass(frozen=True)
class LevenbergMarquardt(FullBatch):
    """Levenberg-Marquardt, for the mean squared error and networks of up to some thousand parameters.

    Minimises F = loss + weight_decay / 2 ||p||^2 over all rows at once; an epoch of `fit` is one step. With the
    residuals r, scaled so that the loss is r . r / 2, and their Jacobian J by the parameters p::

        (J^T J + (weight_decay + mu) I) h = -(J^T r + weight_decay p)
        gain = (F(p) - F(p + h)) / (h . (mu h - dF/dp) / 2)
        gain > 0     p <- p + h,  mu <- mu max(1/3, 1 - (2 gain - 1)^3),  nu <- 2
        else         mu <- mu nu,  nu <- 2 nu,  and anew with the same J

    mu begins with `damping` times the largest diagonal entry of J^T J (Marquardt, 1963; the rule for mu is Nielsen's:
    Madsen, Nielsen and Tingleff, *Methods for non-linear least squares problems*, 2004, algorithm 3.16).

    Parameters
    ----------
    damping : float
        > 0: more of it makes the first steps smaller and nearer to the gradient's direction.
    weight_decay : float
        >= 0; acts on weights and biases.
    acceleration : bool
        Bends the step along the curvature of the residuals: p <- p + h + a, with the second derivative r'' of r along h
        and (J^T J + ...) a = -J^T r'' / 2, where 2 ||a|| <= 0.75 ||h|| (geodesic acceleration, Transtrum and Sethna,
        2012). It costs two forward passes and one backward pass, and takes half the steps or fewer in narrow valleys.
    gtol : float
        >= 0: `fit` ends where no entry of the gradient is larger.
    xtol : float
        >= 0: `fit` ends where ||h|| <= xtol (||p|| + xtol).

    Raises
    ------
    ValueError, TypeError
        Naming the argument; in `fit`, for another loss than mse, a `batch_size` smaller than the data, memory maps
        and iterables of batches.
    DivergedError
        In `fit`, where loss, gradient or Jacobian are not finite.

    Notes
    -----
    The history has the loss after each step and, as ``damping``, the mu that the next one begins with. Steps that would
    make F larger are not taken: within an epoch mu grows until one makes it smaller. An epoch that finds none is the
    last, and repeats the loss before it. The network goes from one complete step to the next, also at Ctrl-C and
    errors. Each `fit` begins with `damping` anew, but a training that :func:`fastbp.resume` goes on with, which has the
    bits of one never interrupted if NumPy's BLAS is the same and has the same number of threads.

    J^T J is added up in float64 over blocks of rows, in memory of about five matrices of n_params^2 numbers; where
    there are fewer residuals (rows * out) than parameters, J J^T takes its place, which gives the same step. float64
    networks are recommended: in float32 the steps end where rounding hides what they gain.

    With ``missing_targets="mask"`` an element without a target has no residual; the loss is the mean over the others.

    The network is in evaluation mode: :class:`Dropout` drops nothing, and :class:`BatchNorm` goes by its running
    statistics, which stay as they are.

    The products are NumPy's, whose last bits may depend on how many threads its BLAS uses.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> net = fb.Network([1, 12, 1], activation="tanh", loss="mse", dtype="float64", seed=0)
    >>> history = net.fit(X, np.sin(3 * X), epochs=100, optimizer=fb.LevenbergMarquardt(), verbose=0)
    >>> history.history["loss"][-1] < 1e-7
    True
    """

    resumable = True
    names = ("damping",)

    damping: float = 1e-3
    _: KW_ONLY
    weight_decay: float = 0.0
    acceleration: bool = True
    gtol: float = 1e-10
    xtol: float = 1e-10

    def __post_init__(self) -> None:
        store = object.__setattr__  # the dataclass is frozen
        store(self, "damping", checks.number("damping", self.damping, above=0))
        store(self, "acceleration", checks.boolean("acceleration", self.acceleration))
        for name in ("weight_decay", "gtol", "xtol"):
            store(self, name, checks.number(name, getattr(self, name), at_least=0))

    def iterations(self, net, X, targets, weights):
        if type(net.objective) is not losses.MSE:
            came = getattr(net.objective, "name", type(net.objective).__name__)
            raise ValueError(f"optimizer: expected a network of loss mse with LevenbergMarquardt, got {came}")
        in_memory(X, targets, self)
        return Steps(self, Objective(net, X, targets, weights, self.weight_decay))


class Steps(Iterations):
    """One accepted step a call."""

    def __init__(self, optimizer, objective):
        self.optimizer, self.objective = optimizer, objective
        self.damping = None
        self.growth = FIRST_GROWTH

    def entry(self):
        return {"damping": None if self.damping is None else float(self.damping)}

    def state(self):
        return {"damping": float(self.damping), "growth": self.growth}

    def restore(self, state):
        self.damping = checks.number("damping", state.get("damping"), at_least=0)
        self.growth = checks.number("growth", state.get("growth"), at_least=FIRST_GROWTH)

    @np.errstate(over="ignore", invalid="ignore")  # of steps that are too long
    def __call__(self, number):
        o, options = self.objective, self.optimizer
        p = o.start()
        loss, gradient = o.loss_and_gradient(p)
        check_finite(loss, gradient)
        residuals = Residuals(o)
        equations = (RowEquations if residuals.count < len(p) else NormalEquations)(residuals, p, gradient)
        if self.damping is None:
            self.damping = options.damping * equations.largest
        self.finished = bool(np.abs(gradient).max() <= options.gtol)
        while not self.finished:
            self.damping = max(self.damping, LEAST_DAMPING)
            h = equations.step(self.damping)
            if h is not None:
                if np.linalg.norm(h) <= options.xtol * (np.linalg.norm(p) + options.xtol):
                    break
                expected = 0.5 * (h @ (self.damping * h - gradient))
                # rounding can make it negative, where the matrix is as good as singular: h is of no use then
                for step in self.steps(equations, residuals, p, h) if expected > 0 else ():
                    q = o.move(p + step)
                    later = o.loss()
                    gain = (loss + o.penalty(p) - later - o.penalty(q)) / expected
                    if gain > 0:
                        self.damping *= max(SHRINK, 1 - (2 * gain - 1) ** 3)
                        self.growth = FIRST_GROWTH
                        o.commit()
                        return later
            self.damping *= self.growth
            self.growth *= 2
            if not np.isfinite(self.damping):
                break
        self.finished = True
        return loss

    def steps(self, equations, residuals, p, h):
        """The steps to try, the best first."""
        if self.optimizer.acceleration:
            a = -0.5 * equations.of_residuals(residuals.second_derivative(p, h))
            if 2 * np.linalg.norm(a) <= MOST_ACCELERATION * np.linalg.norm(h):
                yield h + a
        yield h


class Residuals:
    """r = sqrt(2 w / (n out)) (z - t), so that r . r / 2 is the loss, where the twin is at first.

    Where targets are missing w is 0, and n out the sum of what is left of w.
    """

    def __init__(self, objective):
        self.objective = objective
        self.count = objective.targets.size
        self.targets = objective.targets
        self.roots = np.sqrt(2 / (objective.total_weight * objective.targets.shape[1]))
        if objective.weights is not None:
            self.roots = self.roots * np.sqrt(objective.weights.astype(np.float64))[:, None]
        if objective.net.missing_targets == "mask":
            missing = np.isnan(self.targets)
            self.roots = np.where(missing, 0.0, self.roots)
            self.targets = np.where(missing, 0, self.targets)
        self.outputs = self.at_present()

    def at_present(self):
        return self.objective.twin.predict(self.objective.X).astype(np.float64)

    def values(self):
        return (self.roots * (self.outputs - self.targets)).ravel()

    def jacobians(self):
        """J, block of rows after block of rows; each is overwritten by the next."""
        o = self.objective
        n, width = self.outputs.shape
        n_params = o.net.n_params
        lines = max(NUMBERS_OF_A_BLOCK // n_params, min(n_params, self.count))  # no larger than J^T J, if not small
        rows = min(n, -(-lines // width))
        block = np.empty((rows, width, n_params), o.net.dtype)
        for first in range(0, n, rows):
            X = o.X[first : first + rows]
            J = block[: len(X)]
            o.twin._engine.param_jacobian(X, J, len(X))
            roots = self.roots if self.roots.ndim == 0 else self.roots[first : first + rows, :, None]
            J = np.multiply(J, roots, out=J if J.dtype == np.float64 else None, dtype=np.float64)
            yield J.reshape(-1, n_params)

    def second_derivative(self, p, h):
        """d^2 r / de^2 of r(p + e h), by central differences; the twin is at p again after it."""
        o = self.objective
        o.move(p + PROBE * h)
        ahead = self.at_present()
        o.move(p - PROBE * h)
        behind = self.at_present()
        o.move(p)
        return self.roots * ((ahead - self.outputs) + (behind - self.outputs)) / PROBE**2


class NormalEquations:
    """J^T J + (weight_decay + mu) I, parameters by parameters."""

    def __init__(self, residuals, p, gradient):
        self.residuals, self.gradient = residuals, gradient
        self.product = None
        for J in residuals.jacobians():
            if self.product is None:
                self.product = J.T @ J
            else:
                self.product += J.T @ J
        self.diagonal = np.diagonal(self.product)
        self.largest = largest_of(self.diagonal)

    def step(self, mu):
        """h, or None where rounding has left the matrix not positive definite."""
        self.factor = factored(self.product, mu + self.residuals.objective.weight_decay)
        return None if self.factor is None else -self.factor.solve(self.gradient)

    def of_residuals(self, k):
        """The solution for J^T k."""
        return self.factor.solve(self.residuals.objective.of_outputs(self.residuals.roots * k))


class RowEquations:
    """The same out of J J^T + (weight_decay + mu) I, residuals by residuals: with s = weight_decay + mu

    (J^T J + s I)^-1 J^T = J^T (J J^T + s I)^-1
    """

    def __init__(self, residuals, p, gradient):
        self.p, self.weight_decay = p, residuals.objective.weight_decay
        self.J = np.concatenate([J.copy() for J in residuals.jacobians()])
        self.product = self.J @ self.J.T
        self.largest = largest_of(np.einsum("ij,ij->j", self.J, self.J))
        self.values = residuals.values()

    def step(self, mu):
        self.factor = factored(self.product, mu + self.weight_decay)
        if self.factor is None:
            return None
        share = self.weight_decay / (self.weight_decay + mu)
        return -(self.J.T @ self.factor.solve(self.values - share * (self.J @ self.p)) + share * self.p)

    def of_residuals(self, k):
        return self.J.T @ self.factor.solve(k.ravel())


def largest_of(diagonal):
    """The largest number of the diagonal of J^T J, which tells the scale of it."""
    largest = float(diagonal.max())
    if not np.isfinite(largest):
        raise DivergedError("derivatives of the outputs are not finite; the last parameters are in place")
    return largest or 1.0


def factored(product, shift):
    """The factor of product + shift I, or None."""
    matrix = product.copy()
    matrix.flat[:: len(matrix) + 1] += shift
    try:
        return Cholesky(matrix)
    except np.linalg.LinAlgError:
        return None
