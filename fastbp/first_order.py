"""What the first-order optimisers have in common: penalties, clipping, checks of their fields, names in the core."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

from . import checks, schedules
from .schedules import LearningRate


class Optimizer:
    """What `fit` takes as an optimiser."""


def learning_rate(value):
    """A learning rate as it is kept, or an error that names it."""
    return schedules.checked(value)


def not_negative(name, value):
    return checks.number(name, value, at_least=0)


def positive(name, value):
    return checks.number(name, value, above=0)


def positive_or_none(name, value):
    return None if value is None else positive(name, value)


def share(name, value):
    return checks.number(name, value, at_least=0, below=1)


def pair(name, value):
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name}: expected a pair of numbers, got {checks.described(value)}")
    return value


def shares(name, value):
    return tuple(share(f"{name}[{k}]", beta) for k, beta in enumerate(pair(name, value)))


def shrink_and_grow(name, value):
    """One that shrinks, and one that grows."""
    shrink, grow = pair(name, value)
    return checks.number(f"{name}[0]", shrink, above=0, below=1), checks.number(f"{name}[1]", grow, above=1)


def limits(name, value):
    lowest, highest = pair(name, value)
    lowest = positive(f"{name}[0]", lowest)
    return lowest, checks.number(f"{name}[1]", highest, at_least=lowest)


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "lr": lambda name, value: learning_rate(value),
    "weight_decay": not_negative,
    "l1": not_negative,
    "decay_bias": checks.boolean,
    "clip_norm": positive_or_none,
    "clip_value": positive_or_none,
    "momentum": share,
    "nesterov": checks.boolean,
    "betas": shares,
    "eps": positive,
    "amsgrad": checks.boolean,
    "momentum_decay": not_negative,
    "alpha": share,
    "centered": checks.boolean,
    "lr_decay": not_negative,
    "initial_accumulator_value": not_negative,
    "etas": shrink_and_grow,
    "step_sizes": limits,
}

# What the core calls a field, where that is not its name here.
CORE_NAMES: dict[str, tuple[str, ...]] = {
    "betas": ("momentum", "beta2"),
    "alpha": ("beta2",),
    "initial_accumulator_value": ("initial_sum",),
    "etas": ("shrink", "grow"),
    "step_sizes": ("smallest_step", "largest_step"),
}


@dataclass(frozen=True, repr=False)
class FirstOrder(Optimizer):
    """An optimiser that takes a step along a gradient; the fields that all of them have.

    The gradient g of the loss goes through these, in this order, before the optimiser's own formula::

        g <- g min(1, clip_norm / (||g|| + 1e-6))       clip_norm: the norm over all parameters
        g <- min(max(g, -clip_value), clip_value)       clip_value: entry by entry
        g <- g + l1 sign(w) + weight_decay w            of weights, and of biases if decay_bias

    Parameters
    ----------
    lr : float, Schedule or callable
        Learning rate, >= 0: a number, a schedule such as :class:`fastbp.Cosine`, or a function that gives one for the
        epoch of a number, counted from 0.
    weight_decay : float
        Of the L2 penalty weight_decay / 2 ||w||^2, >= 0.
    l1 : float
        Of the L1 penalty l1 sum |w|, >= 0; its slope at w = 0 is 0.
    decay_bias : bool
        False spares biases, and gamma and beta of norms, from both penalties (and from the decay of :class:`AdamW`).
    clip_norm : float, optional
        > 0; as ``torch.nn.utils.clip_grad_norm_`` before the step.
    clip_value : float, optional
        > 0; as ``torch.nn.utils.clip_grad_value_`` before the step.
    """

    lr: LearningRate
    _: KW_ONLY
    weight_decay: float = 0.0
    l1: float = 0.0
    decay_bias: bool = True
    clip_norm: float | None = None
    clip_value: float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = CHECKS[field.name](field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)  # the dataclass is frozen

    def __repr__(self) -> str:
        """Without what is as by default, but for the learning rate."""
        told = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)
            if field.name == "lr" or getattr(self, field.name) != field.default
        ]
        return f"{type(self).__name__}({', '.join(told)})"

    def settings(self) -> dict[str, Any]:
        """The fields by the names that the core has for them."""
        named: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            names = CORE_NAMES.get(field.name, (field.name,))
            named.update(zip(names, value if isinstance(value, tuple) else (value,), strict=True))
        for clip in ("clip_norm", "clip_value"):
            named[clip] = math.inf if named[clip] is None else named[clip]
        return named

    def factors(self) -> dict[str, float]:
        """What the update multiplies by, by name: were it infinite in the dtype, 0 * inf could come out."""
        return {
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "lr * weight_decay": self.lr * self.weight_decay,
            "l1": self.l1,
        }

    def denominators(self) -> dict[str, float]:
        """What the update divides by, by name: were it 0 in the dtype, 0 / 0 could come out."""
        return {}
