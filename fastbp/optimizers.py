"""Optimisers as plain descriptions. Their arithmetic and state stand in the core, src/optimizers.pxd."""

from dataclasses import KW_ONLY, dataclass, field

from . import checks

KINDS = ("SGD", "Adam", "AdamW")  # in the order of the codes in src/names.pxd


class Optimizer:
    """What `fit` takes as an optimiser: one of the classes below."""


def check(optimizer, dtype):
    """Refuses what is no optimiser, and hyper-parameters that a net of this dtype cannot compute with."""
    if type(optimizer) not in (SGD, Adam, AdamW):
        raise TypeError(f"optimizer: expected SGD, Adam, AdamW or None, got {checks.described(optimizer)}")
    smallest, largest = checks.reach(dtype)
    # What the update multiplies and divides by: were it infinite or zero in the dtype, 0 * inf or 0 / 0 could come out.
    factors = {"weight_decay": optimizer.weight_decay, "lr * weight_decay": optimizer.lr * optimizer.weight_decay}
    if isinstance(optimizer, SGD):
        factors["lr"] = optimizer.lr
    else:
        factors["lr / (1 - betas[0])"] = optimizer.lr / (1 - optimizer.betas[0])
        if not smallest <= optimizer.eps <= largest:
            raise ValueError(f"optimizer: expected eps within the range of {dtype}, got {optimizer}")
    for name, factor in factors.items():
        if factor > largest:
            raise ValueError(f"optimizer: expected {name} within the range of {dtype}, got {factor:g} in {optimizer}")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if asked for; semantics of torch.optim.SGD.

    With the gradient g (weight decay included: g <- g + weight_decay w) and velocity v, zero at first::

        v <- momentum v + g
        w <- w - lr v                       plain
        w <- w - lr (g + momentum v)        Nesterov

    Parameters
    ----------
    lr : float
        Learning rate, >= 0.
    momentum : float
        In [0, 1).
    nesterov : bool
        Needs momentum > 0 (Sutskever et al., 2013, in torch's form).
    weight_decay : float
        >= 0; acts on weights and biases.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.SGD(0.1, momentum=0.9)
    SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
    >>> fb.SGD(-1)
    Traceback (most recent call last):
    ValueError: lr: expected a finite number >= 0, got -1
    """

    lr: float
    _: KW_ONLY
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        store = object.__setattr__  # the dataclass is frozen
        store(self, "lr", checks.number("lr", self.lr, at_least=0))
        store(self, "momentum", checks.number("momentum", self.momentum, at_least=0, below=1))
        store(self, "nesterov", checks.boolean("nesterov", self.nesterov))
        store(self, "weight_decay", checks.number("weight_decay", self.weight_decay, at_least=0))
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: expected momentum > 0 with nesterov=True, got momentum=0.0")


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015, algorithm 1); semantics of torch.optim.Adam.

    With the gradient g (weight decay included: g <- g + weight_decay w) at step t::

        m <- b1 m + (1 - b1) g              v <- b2 v + (1 - b2) g^2
        w <- w - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    Parameters
    ----------
    lr : float
        Learning rate, >= 0.
    betas : (float, float)
        Decay of the two running means, each in [0, 1).
    eps : float
        Keeps the denominator from zero, > 0.
    weight_decay : float
        >= 0; added to the gradient, of weights and biases. See :class:`AdamW` for the decoupled form.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Adam(lr=0.01)
    Adam(lr=0.01, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0)
    """

    lr: float = 1e-3
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        store = object.__setattr__  # the dataclass is frozen
        store(self, "lr", checks.number("lr", self.lr, at_least=0))
        if not isinstance(self.betas, (tuple, list)) or len(self.betas) != 2:
            raise TypeError(f"betas: expected a pair of numbers, got {checks.described(self.betas)}")
        betas = (checks.number(f"betas[{k}]", beta, at_least=0, below=1) for k, beta in enumerate(self.betas))
        store(self, "betas", tuple(betas))
        store(self, "eps", checks.number("eps", self.eps, above=0))
        store(self, "weight_decay", checks.number("weight_decay", self.weight_decay, at_least=0))


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019); semantics of torch.optim.AdamW.

    As :class:`Adam`, but the decay stays out of g: before each update w <- w - lr weight_decay w.

    Parameters
    ----------
    lr, betas, eps
        As in :class:`Adam`.
    weight_decay : float
        >= 0; acts on weights and biases.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.AdamW()
    AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01)
    """

    weight_decay: float = field(default=1e-2, kw_only=True)
