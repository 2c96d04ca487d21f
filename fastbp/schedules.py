"""Learning rates that change while `fit` runs: what an optimiser's `lr` may be beside a number.

A schedule is a function of the time t and of what `fit` has been asked for. Time counts in epochs: the number of the
epoch, from 0, and the share of its steps that are done, so that a schedule says the same for every size of a batch.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import checks, metrics

MODES = ("auto", "min", "max")
SMALLEST = float(np.finfo(np.float64).tiny)
EARLY = 1e-9  # a stair at 3 x 0.1 epochs is at t = 0.3, although 0.3 / 0.1 rounds to less than 3


class Schedule:
    """A learning rate for each step. A subclass of one's own gives `rates`, and works where fastbp's do.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> class Linear(fb.schedules.Schedule):
    ...     def rates(self, t, epochs, history):
    ...         return 0.1 * (1 - t / epochs)
    >>> net = fb.Network([1, 1], loss="mse", seed=0)
    >>> data = np.zeros((4, 1)), np.zeros(4)
    >>> history = net.fit(*data, epochs=5, optimizer=fb.SGD(lr=Linear()), verbose=0).history
    >>> np.round(history["lr"], 4).tolist()
    [0.1, 0.08, 0.06, 0.04, 0.02]
    """

    def rates(self, t: NDArray[np.float64], epochs: float, history: Mapping[str, Sequence[float]]) -> NDArray[Any]:
        """The learning rates of an epoch's steps.

        Parameters
        ----------
        t : ndarray of float64, shape (k,)
            When each step begins, in epochs. One number, the epoch's, where nobody knows how many steps it will have;
            of more than 4096 steps every second one, or third, ..., whose rate those after it share.
        epochs : float
            At which t the training ends; infinite in `partial_fit`.
        history : mapping of str to list
            What `History.history` holds so far.

        Returns
        -------
        ndarray, shape (k,)
            Finite, >= 0.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected a method rates(t, epochs, history)")

    def begin(self, names: Sequence[str]) -> None:
        """Before training; `names` are the lists that the history will have. An error leaves the network as it is."""


def store_number(schedule, name, **bounds):
    object.__setattr__(schedule, name, checks.number(name, getattr(schedule, name), **bounds))


def store_duration(schedule, name="epochs"):
    if getattr(schedule, name) is not None:
        store_number(schedule, name, above=0)


def half_cosine(start, end, share):
    """From start, for a share of 0, along half a period of a cosine to end, for a share of 1 and more."""
    # (1 + cos 2a) / 2 = 1 / (1 + tan(a)^2): nothing cancels near the end, and NumPy's tan is 6 times as fast on AVX-512
    tangent = np.tan(math.pi / 2 * np.minimum(share, 1.0))
    return np.where(share < 1, end + (start - end) / (1 + tangent * tangent), end)


@dataclass(frozen=True)
class StepDecay(Schedule):
    """lr times `factor` to the power of floor(t / every): a stair, as torch.optim.lr_scheduler.StepLR.

    Parameters
    ----------
    lr : float
        At first, >= 0.
    every : float
        Epochs between two stairs, > 0; it may be a part of an epoch.
    factor : float
        > 0.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.SGD(lr=fb.StepDecay(0.1, every=30)).lr
    StepDecay(lr=0.1, every=30.0, factor=0.1)
    """

    lr: float
    every: float
    factor: float = 0.1

    def __post_init__(self) -> None:
        store_number(self, "lr", at_least=0)
        store_number(self, "every", above=0)
        store_number(self, "factor", above=0)

    def rates(self, t, epochs, history):
        return self.lr * self.factor ** np.floor(t / self.every + EARLY)


@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """lr times `factor` to the power of t / every: at the beginning of each epoch what torch's ExponentialLR gives for
    every=1, and on that curve from step to step in between.

    Parameters
    ----------
    lr : float
        At first, >= 0.
    factor : float
        By which it changes in `every` epochs, > 0.
    every : float
        Epochs, > 0.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.SGD(lr=fb.ExponentialDecay(0.1, 0.95)).lr
    ExponentialDecay(lr=0.1, factor=0.95, every=1.0)
    """

    lr: float
    factor: float
    every: float = 1.0

    def __post_init__(self) -> None:
        store_number(self, "lr", at_least=0)
        store_number(self, "factor", above=0)
        store_number(self, "every", above=0)

    def rates(self, t, epochs, history):
        return self.lr * self.factor ** (t / self.every)


@dataclass(frozen=True)
class Cosine(Schedule):
    """From lr along half a period of a cosine to `end` (Loshchilov and Hutter, 2017, without restarts)::

        end + (lr - end) (1 + cos(pi t / epochs)) / 2        and `end` from there on

    Up to there it is torch's CosineAnnealingLR, stepped after every step with T_max the number of all steps.

    Parameters
    ----------
    lr, end : float
        >= 0.
    epochs : float, optional
        When it reaches `end`, > 0; None: when the training ends.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> net = fb.Network([1, 1], loss="mse", seed=0)
    >>> data = np.zeros((4, 1)), np.zeros(4)
    >>> history = net.fit(*data, epochs=4, optimizer=fb.SGD(lr=fb.Cosine(0.1)), verbose=0).history
    >>> np.round(history["lr"], 4).tolist()
    [0.1, 0.0854, 0.05, 0.0146]
    """

    lr: float
    end: float = 0.0
    epochs: float | None = None

    def __post_init__(self) -> None:
        store_number(self, "lr", at_least=0)
        store_number(self, "end", at_least=0)
        store_duration(self)

    def rates(self, t, epochs, history):
        return half_cosine(self.lr, self.end, t / (self.epochs or epochs))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up to lr and down again, each along half a period of a cosine (Smith and Topin, 2018).

    The defaults are those of torch's OneCycleLR, which puts its first and last step on the ends of the cycle, and the
    largest rate on a step, and so runs through it a step or two sooner.

    Parameters
    ----------
    lr : float
        The largest, >= 0.
    epochs : float, optional
        How long the cycle is, > 0; None: to the end of the training. Afterwards the rate stays.
    pct_start : float
        Share of the cycle in which the rate rises, in (0, 1).
    div_factor : float
        It begins with lr / div_factor, > 0.
    final_div_factor : float
        It ends with lr / (div_factor final_div_factor), > 0.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.OneCycle(0.1)
    OneCycle(lr=0.1, epochs=None, pct_start=0.3, div_factor=25.0, final_div_factor=10000.0)
    """

    lr: float
    epochs: float | None = None
    _: KW_ONLY
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        store_number(self, "lr", at_least=0)
        store_duration(self)
        store_number(self, "pct_start", above=0, below=1)
        store_number(self, "div_factor", above=0)
        store_number(self, "final_div_factor", above=0)

    def rates(self, t, epochs, history):
        share, rise = t / (self.epochs or epochs), self.pct_start
        first = self.lr / self.div_factor
        up = half_cosine(first, self.lr, share / rise)
        down = half_cosine(self.lr, first / self.final_div_factor, (share - rise) / (1 - rise))
        return np.where(share < rise, up, down)


@dataclass(frozen=True)
class Warmup(Schedule):
    """A straight line up to where another schedule, a number or a function begins, and then that (Goyal et al., 2017).

    For as long as it lasts it is torch's LinearLR, stepped after every step; what follows sees a time that begins, and
    a training that is counted, from its end.

    Parameters
    ----------
    lr : float, Schedule or callable
        What follows. A function is given the number of the epoch since the end of the line, from 0.
    epochs : float
        How long the line is, > 0.
    start_factor : float
        Share of the first rate of `lr` with which it begins, in [0, 1].

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Adam(lr=fb.Warmup(fb.Cosine(1e-3), epochs=2)).lr
    Warmup(lr=Cosine(lr=0.001, end=0.0, epochs=None), epochs=2.0, start_factor=0.0)
    """

    lr: "float | Schedule | Callable[[int], float]"
    epochs: float = 1.0
    start_factor: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", checked(self.lr))
        store_number(self, "epochs", above=0)
        store_number(self, "start_factor", at_least=0, at_most=1)

    def rates(self, t, epochs, history):
        left = max(epochs - self.epochs, SMALLEST)  # the line may be longer than the training
        since = np.append(0.0, np.maximum(t - self.epochs, 0.0))
        if isinstance(self.lr, float):
            rates = np.full(since.shape, self.lr)
        elif isinstance(self.lr, Schedule):
            rates = self.lr.rates(since, left, history)
        else:
            epoch, place = np.unique(np.floor(since + EARLY), return_inverse=True)
            rates = np.array([asked(self.lr, int(number)) for number in epoch])[place]
        line = self.start_factor + (1 - self.start_factor) * np.minimum(t / self.epochs, 1.0)
        return np.where(t < self.epochs, line * rates[0], rates[1:])

    def begin(self, names):
        if isinstance(self.lr, Schedule):
            self.lr.begin(names)


@dataclass(frozen=True)
class Plateau(Schedule):
    """lr, times `factor` whenever a number of the history has not become better for `patience` epochs.

    Acts between epochs, and follows from the whole list: as a value it remembers nothing. As torch's
    ReduceLROnPlateau with threshold_mode="abs" and eps=0, whose `patience` is one less.

    Parameters
    ----------
    lr : float
        At first, >= 0.
    monitor : str
        Name of the list: ``"val_loss"``, ``"loss"``, ``"val_accuracy"``, ...
    factor : float
        In (0, 1).
    patience : int
        How many epochs in a row may pass without a new best, at least 1; the last of them reduces the rate.
    min_delta : float
        By how much a new best must be better, >= 0.
    cooldown : int
        For how many epochs after that no patience is lost, >= 0.
    min_lr : float
        The rate is not reduced below, >= 0.
    mode : {"auto", "min", "max"}
        What is better; ``"auto"`` knows fastbp's metrics, and takes the smaller one of others.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> net = fb.Network([1, 1], loss="mse", seed=0)
    >>> plateau = fb.Plateau(0.0625, monitor="loss", factor=0.5, patience=2)
    >>> data = np.zeros((4, 1)), np.ones(4)
    >>> history = net.fit(*data, epochs=5, optimizer=fb.SGD(lr=plateau), verbose=0).history
    >>> history["lr"]
    [0.0625, 0.0625, 0.0625, 0.0625, 0.0625]
    >>> float(plateau.rates(np.array([4.0]), 9, {"loss": [2, 1, 1, 1]})[0])
    0.03125
    """

    lr: float
    monitor: str = "val_loss"
    _: KW_ONLY
    factor: float = 0.1
    patience: int = 10
    min_delta: float = 0.0
    cooldown: int = 0
    min_lr: float = 0.0
    mode: Literal["auto", "min", "max"] = "auto"

    def __post_init__(self) -> None:
        store_number(self, "lr", at_least=0)
        if not isinstance(self.monitor, str):
            came = checks.described(self.monitor)
            raise TypeError(f"monitor: expected the name of a list of the history, got {came}")
        store_number(self, "factor", above=0, below=1)
        object.__setattr__(self, "patience", checks.positive_int("patience", self.patience))
        store_number(self, "min_delta", at_least=0)
        object.__setattr__(self, "cooldown", checks.integer("cooldown", self.cooldown, 0))
        store_number(self, "min_lr", at_least=0)
        checks.choice("mode", self.mode, MODES)

    def rates(self, t, epochs, history):
        return Reductions(self).rates(t, epochs, history)

    def begin(self, names):
        metrics.check_monitor(self.monitor, names)


class Reductions(Schedule):
    """What a Plateau makes of a list that grows: the rates of Plateau.rates, without reading what was read before."""

    def __init__(self, plateau):
        self.plateau = plateau
        larger = plateau.mode == "max" or plateau.mode == "auto" and metrics.larger_is_better(plateau.monitor)
        self.sign = -1.0 if larger else 1.0
        self.rate, self.best, self.waited, self.cooling, self.seen = plateau.lr, math.inf, 0, 0, 0

    def rates(self, t, epochs, history):
        values = history.get(self.plateau.monitor, ())
        for k in range(self.seen, len(values)):
            self.take(self.sign * values[k])
        self.seen = len(values)
        return np.full(len(t), self.rate)

    def take(self, value):
        plateau = self.plateau
        if value < self.best - plateau.min_delta:  # NaN is no new best
            self.best, self.waited = value, 0
        elif self.cooling == 0:
            self.waited += 1
        self.cooling = max(0, self.cooling - 1)
        if self.waited >= plateau.patience:
            self.rate = min(self.rate, max(self.rate * plateau.factor, plateau.min_lr))
            self.waited, self.cooling = 0, plateau.cooldown


def of_one_training(lr):
    """A schedule with the same rates, which may remember the history: it is asked about the growing lists of one."""
    if isinstance(lr, Plateau):
        return Reductions(lr)
    if isinstance(lr, Warmup):
        return replace(lr, lr=of_one_training(lr.lr))
    return lr


LearningRate: TypeAlias = float | Schedule | Callable[[int], float]


def checked(lr):
    """What an optimiser's `lr` may be: a number >= 0, a schedule, or a function of the epoch's number."""
    if isinstance(lr, type):
        raise TypeError(f"lr: expected a number, a schedule or a function, got the class {lr.__name__}")
    return lr if callable(lr) or isinstance(lr, Schedule) else checks.number("lr", lr, at_least=0)


def check_in_pieces(lr):
    """Refuses what asks for more than the time: `partial_fit` knows no end of the training, and keeps no history."""
    if isinstance(lr, Plateau):
        raise ValueError(f"optimizer: expected no Plateau in partial_fit, which keeps no history to go by, got lr={lr}")
    if isinstance(lr, (Cosine, OneCycle)) and lr.epochs is None:
        end = "partial_fit, which knows no end of the training"
        raise ValueError(f"optimizer: expected {type(lr).__name__}(..., epochs=...) in {end}, got lr={lr}")
    if isinstance(lr, Warmup):
        check_in_pieces(lr.lr)


def with_number(optimizer, lr=0.0):
    """The optimiser; where a schedule stands for its lr, with that number instead."""
    return optimizer if isinstance(getattr(optimizer, "lr", 0.0), float) else replace(optimizer, lr=lr)


def asked(function, epoch):
    """What a function of the user's gives as the rate of an epoch, if it is one."""
    return checks.number(f"lr: {name_of(function)}({epoch})", function(epoch), at_least=0)


def name_of(lr):
    """Under which name a function, or a schedule that is not fastbp's, is saved."""
    return f"Warmup({name_of(lr.lr)})" if isinstance(lr, Warmup) else getattr(lr, "__name__", type(lr).__name__)


OWN = {cls.__name__: cls for cls in (StepDecay, ExponentialDecay, Cosine, OneCycle, Warmup, Plateau)}


def is_own(lr):
    """Whether a learning rate can be told in names and numbers."""
    return isinstance(lr, float) or type(lr) in OWN.values() and is_own(lr.lr)
