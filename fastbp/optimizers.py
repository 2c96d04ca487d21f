"""Optimisers as plain descriptions. Their arithmetic and state stand in the core, src/optimizers.pxd."""

from dataclasses import KW_ONLY, dataclass

from . import checks, schedules
from .adam import Adam, AdamW, AMSGrad, NAdam
from .first_order import FirstOrder, Optimizer
from .full_batch import FullBatch
from .lbfgs import LBFGS
from .levenberg_marquardt import LevenbergMarquardt
from .schedules import LearningRate

KINDS = ("SGD", "Adam", "AdamW", "NAdam", "RMSprop", "Adagrad", "Rprop")  # in the order of the codes in src/names.pxd
BATCH_SIZE = 32


def check(optimizer, dtype):
    """Refuses what is no optimiser, and hyper-parameters that a net of this dtype cannot compute with."""
    if type(optimizer) not in CLASSES.values():
        raise TypeError(f"optimizer: expected one of {', '.join(CLASSES)} or None, got {checks.described(optimizer)}")
    optimizer = schedules.with_number(optimizer)  # of a schedule each epoch's largest rate is looked at, in rates.py
    smallest, largest = checks.reach(dtype)
    for name, number in optimizer.denominators().items():
        if not smallest <= number <= largest:
            raise ValueError(f"optimizer: expected {name} within the range of {dtype}, got {optimizer}")
    for name, factor in optimizer.factors().items():
        if factor > largest:
            raise ValueError(f"optimizer: expected {name} within the range of {dtype}, got {factor:g} in {optimizer}")


def rows_of_batch(optimizer, batch_size, rows):
    """batch_size, or what None stands for; refuses to feed batches to what works on the whole data only."""
    whole = isinstance(optimizer, (Rprop, FullBatch))
    if batch_size is None:
        return rows if whole else BATCH_SIZE
    if whole and batch_size < rows:
        kind = type(optimizer).__name__
        raise ValueError(f"batch_size: expected None or all {rows} rows in one batch with {kind}, got {batch_size}")
    return batch_size


def for_core(optimizer):
    """What Engine.set_optimizer takes."""
    return {"kind": KINDS.index(optimizer.kind), **optimizer.settings()}


@dataclass(frozen=True, repr=False)
class SGD(FirstOrder):
    """Stochastic gradient descent, with momentum if asked for; semantics of torch.optim.SGD.

    With the gradient g, clipped and penalties added, and the velocity v, zero at first::

        v <- momentum v + g
        w <- w - lr v                       plain
        w <- w - lr (g + momentum v)        Nesterov

    Parameters
    ----------
    lr : float, Schedule or callable
        Learning rate, >= 0: a number, a schedule such as :class:`fastbp.Cosine`, or a function that gives one for the
        epoch of a number, counted from 0.
    momentum : float
        In [0, 1).
    nesterov : bool
        Needs momentum > 0 (Sutskever et al., 2013, in torch's form).
    weight_decay, l1 : float
        >= 0: weight_decay w + l1 sign(w) is added to the gradient.
    decay_bias : bool
        False spares biases from both.
    clip_norm, clip_value : float, optional
        > 0: the gradient of the loss is scaled down to this norm over all parameters, cut off at this value entry by
        entry, before penalties are added. As ``torch.nn.utils.clip_grad_norm_`` and ``clip_grad_value_``.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.SGD(0.1, momentum=0.9)
    SGD(lr=0.1, momentum=0.9)
    >>> fb.SGD(-1)
    Traceback (most recent call last):
    ValueError: lr: expected a finite number >= 0, got -1
    """

    kind = "SGD"

    lr: LearningRate
    _: KW_ONLY
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: expected momentum > 0 with nesterov=True, got momentum=0.0")


@dataclass(frozen=True, repr=False)
class RMSprop(FirstOrder):
    """RMSprop (Tieleman and Hinton, 2012); semantics of torch.optim.RMSprop.

    With the gradient g, clipped and penalties added::

        v <- alpha v + (1 - alpha) g^2      c <- alpha c + (1 - alpha) g
        d = g / (sqrt(v) + eps)             centered (Graves, 2013): sqrt(v - c^2)
        w <- w - lr d                       momentum: b <- momentum b + d, w <- w - lr b

    Parameters
    ----------
    lr : float, Schedule or callable
        Learning rate, >= 0; see docs/schedules.md.
    alpha : float
        Decay of the running means, in [0, 1).
    eps : float
        Keeps the denominator from zero, > 0.
    momentum : float
        In [0, 1).
    centered : bool
        Divide by the standard deviation instead of the root of the mean square. Where rounding makes v - c^2 negative
        it counts as 0; in torch NaN comes out.
    weight_decay, l1, decay_bias, clip_norm, clip_value
        As in :class:`SGD`.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.RMSprop(momentum=0.9)
    RMSprop(lr=0.01, momentum=0.9)
    """

    kind = "RMSprop"

    lr: LearningRate = 1e-2
    _: KW_ONLY
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    def denominators(self):
        return {"eps": self.eps}


@dataclass(frozen=True, repr=False)
class Adagrad(FirstOrder):
    """Adagrad (Duchi, Hazan and Singer, 2011); semantics of torch.optim.Adagrad.

    With the gradient g, clipped and penalties added, at step t::

        s <- s + g^2
        w <- w - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)

    Parameters
    ----------
    lr : float, Schedule or callable
        Learning rate, >= 0; see docs/schedules.md.
    lr_decay : float
        >= 0.
    eps : float
        Keeps the denominator from zero, > 0.
    initial_accumulator_value : float
        What the sums s start with, >= 0.
    weight_decay, l1, decay_bias, clip_norm, clip_value
        As in :class:`SGD`.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Adagrad(0.1)
    Adagrad(lr=0.1)
    """

    kind = "Adagrad"

    lr: LearningRate = 1e-2
    _: KW_ONLY
    lr_decay: float = 0.0
    eps: float = 1e-10
    initial_accumulator_value: float = 0.0

    def factors(self):
        return super().factors() | {"initial_accumulator_value": self.initial_accumulator_value}

    def denominators(self):
        return {"eps": self.eps}


@dataclass(frozen=True, repr=False)
class Rprop(FirstOrder):
    """Resilient backpropagation (Riedmiller and Braun, 1993; Igel and Hüsken, 2000); semantics of torch.optim.Rprop.

    Each parameter has a step size, lr at first. It grows while the sign of the gradient stays, and shrinks where it has
    turned: there w stays, and g counts as 0 at the next step::

        size <- min(max(size etas[k], step_sizes[0]), step_sizes[1])        k = 1: g as before, 0: turned
        w <- w - sign(g) size

    Parameters
    ----------
    lr : float
        The step size to start with, >= 0: a number, for there is no rate that a schedule could change.
    etas : (float, float)
        Factors of the step size: in (0, 1) where the sign turns, > 1 where it stays.
    step_sizes : (float, float)
        The smallest and the largest step size, > 0.
    weight_decay, l1, decay_bias, clip_norm, clip_value
        As in :class:`SGD`; the sign of the whole counts. (torch's Rprop has no penalties.)

    Notes
    -----
    For full batches: signs that turn from batch to batch say nothing of the loss. `fit` therefore refuses a
    `batch_size` smaller than the data; the batches of an iterable are taken as they come.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> net = fb.Network([1, 8, 1], activation="tanh", loss="mse", seed=0)
    >>> history = net.fit(X, np.sin(3 * X), epochs=300, batch_size=100, optimizer=fb.Rprop(), verbose=0)
    >>> net.loss(X, np.sin(3 * X)) < 1e-2
    True
    >>> net.fit(X, np.sin(3 * X), batch_size=32, optimizer=fb.Rprop())
    Traceback (most recent call last):
    ValueError: batch_size: expected None or all 100 rows in one batch with Rprop, got 32
    """

    kind = "Rprop"

    lr: float = 1e-2
    _: KW_ONLY
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.lr, float):
            raise TypeError(f"lr: expected a number with Rprop, got {checks.described(self.lr)}")

    def factors(self):
        largest_step = {"etas[1] * step_sizes[1]": self.etas[1] * self.step_sizes[1]}
        return super().factors() | {"etas[1] * lr": self.etas[1] * self.lr} | largest_step


CLASSES = {
    cls.__name__: cls for cls in (SGD, Adam, AMSGrad, AdamW, NAdam, RMSprop, Adagrad, Rprop, LevenbergMarquardt, LBFGS)
}

__all__ = ["KINDS", "CLASSES", "Optimizer", "check", "for_core", *CLASSES]
