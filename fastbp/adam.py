"""Adam and its kin, which divide a running mean of gradients by the root of one of their squares."""

from dataclasses import KW_ONLY, dataclass, field

from .first_order import FirstOrder
from .schedules import LearningRate


@dataclass(frozen=True, repr=False)
class WithMeans(FirstOrder):
    """What they have in common."""

    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def factors(self):
        return super().factors() | {"lr / (1 - betas[0])": self.lr / (1 - self.betas[0])}

    def denominators(self):
        return {"eps": self.eps}


@dataclass(frozen=True, repr=False)
class Adam(WithMeans):
    """Adam (Kingma and Ba, 2015, algorithm 1); semantics of torch.optim.Adam.

    With the gradient g, clipped and penalties added, at step t::

        m <- b1 m + (1 - b1) g              v <- b2 v + (1 - b2) g^2
        w <- w - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    Parameters
    ----------
    lr : float, Schedule or callable
        Learning rate, >= 0; see docs/schedules.md.
    betas : (float, float)
        Decay of the two running means, each in [0, 1).
    eps : float
        Keeps the denominator from zero, > 0.
    amsgrad : bool
        Divide by the largest v so far (Reddi et al., 2018), as torch has it: the largest of v before the division by
        1 - b2^t.
    weight_decay : float
        >= 0; added to the gradient. See :class:`AdamW` for the decoupled form.
    l1, decay_bias, clip_norm, clip_value
        As in :class:`SGD`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Adam(lr=0.01, clip_norm=1)
    Adam(lr=0.01, clip_norm=1.0)
    """

    kind = "Adam"

    lr: LearningRate = 1e-3
    _: KW_ONLY
    amsgrad: bool = False


@dataclass(frozen=True, repr=False)
class AMSGrad(Adam):
    """``Adam(amsgrad=True)`` under the name of its paper (Reddi, Kale and Kumar, 2018).

    Parameters
    ----------
    lr, betas, eps, weight_decay, l1, decay_bias, clip_norm, clip_value
        As in :class:`Adam`.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.AMSGrad(0.01).amsgrad
    True
    """

    amsgrad: bool = field(default=True, kw_only=True)


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019); semantics of torch.optim.AdamW.

    As :class:`Adam`, but the decay stays out of g: before each update w <- w - lr weight_decay w.

    Parameters
    ----------
    lr, betas, eps, amsgrad, l1, clip_norm, clip_value
        As in :class:`Adam`.
    weight_decay : float
        >= 0.
    decay_bias : bool
        False spares biases from the decay and from l1.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.AdamW(decay_bias=False)
    AdamW(lr=0.001, decay_bias=False)
    >>> fb.AdamW().weight_decay
    0.01
    """

    kind = "AdamW"

    weight_decay: float = field(default=1e-2, kw_only=True)


@dataclass(frozen=True, repr=False)
class NAdam(WithMeans):
    """Adam with Nesterov's momentum (Dozat, 2016); semantics of torch.optim.NAdam.

    With m and v as in :class:`Adam`, mu_t = b1 (1 - 0.96^(t momentum_decay) / 2) and P_t = mu_1 ... mu_t::

        w <- w - lr ((1 - mu_t) / (1 - P_t) g + mu_(t+1) / (1 - P_(t+1)) m) / (sqrt(v / (1 - b2^t)) + eps)

    Parameters
    ----------
    lr, betas, eps, weight_decay, l1, decay_bias, clip_norm, clip_value
        As in :class:`Adam`.
    momentum_decay : float
        >= 0; how fast mu rises from b1 / 2 to b1.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.NAdam()
    NAdam(lr=0.002)
    """

    kind = "NAdam"

    lr: LearningRate = 2e-3
    _: KW_ONLY
    momentum_decay: float = 4e-3
