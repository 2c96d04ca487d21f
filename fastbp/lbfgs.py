"""L-BFGS: SciPy's, one iteration an epoch."""

import queue
import threading
from dataclasses import KW_ONLY, dataclass

import numpy as np

from . import checks
from .full_batch import FullBatch, Iterations, Objective, check_finite, in_memory

NO_LIMIT = 2**31 - 1  # of iterations and evaluations: `fit` counts epochs


@dataclass(frozen=True)
class LBFGS(FullBatch):
    """L-BFGS, a quasi-Newton method for any loss: SciPy's L-BFGS-B (Byrd, Lu, Nocedal and Zhu, 1995).

    Minimises loss + weight_decay / 2 ||p||^2 over all rows at once; an epoch of `fit` is one iteration, which takes as
    many passes as its line search does, mostly one.

    Parameters
    ----------
    history_size : int
        How many earlier steps the curvature is estimated from, >= 1.
    weight_decay : float
        >= 0; acts on weights and biases.
    gtol : float
        >= 0: `fit` ends where no entry of the gradient is larger.
    ftol : float
        >= 0: `fit` ends where an iteration has gained no more than ftol times the larger of 1 and what is minimised.

    Raises
    ------
    ValueError, TypeError
        Naming the argument; in `fit`, for a `batch_size` smaller than the data, memory maps and iterables of batches.
    ImportError
        In `fit`, where SciPy is not installed; the extra ``scipy`` brings it along.
    DivergedError
        In `fit`, where loss or gradient are not finite, within a line search too.

    Notes
    -----
    The history has the loss after each iteration. The network goes from one complete iteration to the next, also at
    Ctrl-C and errors; what callbacks write into the parameters meanwhile is lost. Each `fit` begins without memory of
    steps. The network is in evaluation mode: :class:`Dropout` drops nothing, and :class:`BatchNorm` goes by its running
    statistics, which stay as they are. SciPy computes in float64: for a float32 network its last steps end in rounding.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> net = fb.Network([1, 12, 1], activation="tanh", loss="mse", dtype="float64", seed=0)
    >>> history = net.fit(X, np.sin(3 * X), epochs=300, optimizer=fb.LBFGS(), verbose=0)
    >>> history.history["loss"][-1] < 1e-4
    True
    """

    _: KW_ONLY
    history_size: int = 10
    weight_decay: float = 0.0
    gtol: float = 1e-9
    ftol: float = 1e-15

    def __post_init__(self) -> None:
        store = object.__setattr__  # the dataclass is frozen
        store(self, "history_size", checks.positive_int("history_size", self.history_size))
        for name in ("weight_decay", "gtol", "ftol"):
            store(self, name, checks.number(name, getattr(self, name), at_least=0))

    def iterations(self, net, X, targets, weights):
        try:
            from scipy.optimize import minimize
        except ImportError as error:
            raise ImportError("LBFGS needs SciPy: pip install 'fastbp[scipy]'") from error
        in_memory(X, targets, self)
        options = {
            "maxcor": self.history_size, "gtol": self.gtol, "ftol": self.ftol, "maxiter": NO_LIMIT, "maxfun": NO_LIMIT,
        }  # fmt: skip
        objective = Objective(net, X, targets, weights, self.weight_decay)
        return Minimisation(objective, lambda fun, start, callback: minimize(
            fun, start, jac=True, method="L-BFGS-B", callback=callback, options=options,
        ))  # fmt: skip


class Cancelled(Exception):
    """Ends the minimisation from within."""


class Minimisation(Iterations):
    """SciPy's loop in a thread of its own, which stands still between two iterations: it cannot be left and entered."""

    def __init__(self, objective, minimise):
        self.objective, self.minimise = objective, minimise
        self.thread = None
        self.cancelled = False
        self.turns, self.results = queue.SimpleQueue(), queue.SimpleQueue()
        self.reached = None  # (p, loss) of an iteration that `fit` has not been told of

    # ------------------------------------------------ in the thread of fit

    def __call__(self, number):
        if self.thread is None:
            start = self.objective.start()
            self.loss = self.objective.loss()
            self.thread = threading.Thread(target=self.run, args=(start,), daemon=True)
            self.thread.start()
        else:
            self.turns.put(None)
        reached, self.finished, error = self.results.get()
        if error is not None:
            raise error
        if reached is not None:
            p, self.loss = reached
            self.objective.net._engine.assign(p.astype(self.objective.net.dtype))
        return self.loss

    def close(self):
        self.cancelled = True
        self.turns.put(None)
        if self.thread is not None:
            self.thread.join()

    # ------------------------------------------------ in the thread of SciPy

    def run(self, start):
        error = None
        try:
            self.minimise(self.evaluated, start, self.iterated)
        except Cancelled:
            return
        except BaseException as raised:  # `fit` raises it
            error = raised
        self.results.put((self.reached, True, error))

    def evaluated(self, x):
        """What is minimised and its gradient at x; waits for its turn if an iteration came to its end before."""
        if self.reached is not None:
            self.results.put((self.reached, False, None))
            self.reached = None
            self.turns.get()
        if self.cancelled:
            raise Cancelled
        p = self.objective.move(x)
        loss, gradient = self.objective.loss_and_gradient(p)
        check_finite(loss, gradient)
        self.latest = x.copy(), loss
        return loss + self.objective.penalty(p), gradient

    def iterated(self, x):
        p, loss = self.latest
        if not np.array_equal(p, x):  # the line search came back to an earlier point
            self.objective.move(x)
            loss = self.objective.loss()
        self.reached = x.copy(), loss
