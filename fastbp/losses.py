"""Losses as plain descriptions. Their arithmetic stands in src/losses.pxd; these objects carry names and parameters."""

from dataclasses import dataclass

import numpy as np

from . import checks

# In the order of the codes in src/names.pxd. The core has two more: the hinge loss of class labels, and a delta that
# Python computed.
LOSSES = ("mse", "mae", "huber", "quantile", "poisson", "cross_entropy", "binary_cross_entropy", "hinge")
CODES = (*LOSSES, "class_hinge", "given_delta")


class Loss:
    """What all losses have: a name, the core's code, the output activation that goes with it.

    Attributes
    ----------
    name : str
    default_output : str
        Activation of the last layer unless another one is asked for.
    from_logits : bool
        The loss is computed from y of the last layer, before its activation, so that it cannot overflow.
    takes_any_number : bool
        Every finite number is a target.
    code : int
        The compiled core's number of the loss.
    parameter : float
        The one number that the core needs: delta, q or label_smoothing; 0.0 where there is none.
    """

    name = ""
    default_output = "identity"
    from_logits = False
    takes_any_number = False

    @property
    def code(self) -> int:
        return CODES.index(self.name)

    @property
    def parameter(self) -> float:
        return 0.0

    def code_for(self, targets):
        """The core's number of the loss for these targets, as `data.targets` gives them."""
        return self.code


@dataclass(frozen=True)
class MSE(Loss):
    """Mean squared error: the mean over all elements of (z - t)^2, as torch.nn.MSELoss.

    Targets are floats of shape (n, out), or (n,) when out = 1.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Network([3, 1], loss=fb.losses.MSE()).objective
    MSE()
    """

    name = "mse"
    takes_any_number = True


@dataclass(frozen=True)
class MAE(Loss):
    """Mean absolute error: the mean over all elements of |z - t|, as torch.nn.L1Loss; derivative 0 where z = t.

    Targets are floats of shape (n, out), or (n,) when out = 1.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Network([3, 1], loss="mae").objective
    MAE()
    """

    name = "mae"
    takes_any_number = True


@dataclass(frozen=True)
class Huber(Loss):
    """Huber's loss: with r = z - t, the mean over all elements of r^2 / 2 where |r| <= delta, else
    delta (|r| - delta / 2), as torch.nn.HuberLoss (Huber, 1964).

    Targets are floats of shape (n, out), or (n,) when out = 1.

    Parameters
    ----------
    delta : float
        Where the parabola goes over into lines, > 0.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Huber(delta=2)
    Huber(delta=2.0)
    """

    delta: float = 1.0

    name = "huber"
    takes_any_number = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", checks.number("delta", self.delta, above=0))

    @property
    def parameter(self) -> float:
        return self.delta


@dataclass(frozen=True)
class Quantile(Loss):
    """Quantile (pinball) loss: the mean over all elements of max(q (t - z), (q - 1)(t - z)); derivative 0 where z = t.
    Its minimum is the q-quantile of t given x (Koenker and Bassett, 1978).

    Targets are floats of shape (n, out), or (n,) when out = 1.

    Parameters
    ----------
    q : float
        In (0, 1); 0.5 is half the absolute error.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Quantile(q=0.9)
    Quantile(q=0.9)
    """

    q: float = 0.5

    name = "quantile"
    takes_any_number = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "q", checks.number("q", self.q, above=0, below=1))

    @property
    def parameter(self) -> float:
        return self.q


@dataclass(frozen=True)
class Poisson(Loss):
    """Poisson loss with a log link, from the log rate y: the mean over all elements of e^y - t y, as
    torch.nn.PoissonNLLLoss(log_input=True, full=False).

    Targets are counts >= 0 (fractions too) of shape (n, out), or (n,) when out = 1.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Network([3, 1], loss="poisson").layers[-1].activation
    'exp'
    """

    name = "poisson"
    default_output = "exp"
    from_logits = True


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy of classes, from logits y: the mean over rows of -sum_c t_c log softmax(y)_c, as
    torch.nn.CrossEntropyLoss.

    Targets are class labels 0 ... out - 1 of shape (n,), or probabilities (one-hot rows among them) of shape (n, out).

    Parameters
    ----------
    label_smoothing : float
        s in [0, 1]: t becomes (1 - s) t + s / out (Szegedy et al., 2016).

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.CrossEntropy(label_smoothing=0.1)
    CrossEntropy(label_smoothing=0.1)
    """

    label_smoothing: float = 0.0

    name = "cross_entropy"
    default_output = "softmax"
    from_logits = True

    def __post_init__(self) -> None:
        smoothing = checks.number("label_smoothing", self.label_smoothing, at_least=0, at_most=1)
        object.__setattr__(self, "label_smoothing", smoothing)

    @property
    def parameter(self) -> float:
        return self.label_smoothing


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """Cross-entropy of yes and no, from logits y: the mean over all elements of -t log s(y) - (1 - t) log(1 - s(y)),
    s the logistic function, as torch.nn.BCEWithLogitsLoss. Several outputs are independent labels.

    Targets are in [0, 1], of shape (n, out), or (n,) when out = 1.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Network([3, 1], loss="binary_cross_entropy").layers[-1].activation
    'sigmoid'
    """

    name = "binary_cross_entropy"
    default_output = "sigmoid"
    from_logits = True


@dataclass(frozen=True)
class Hinge(Loss):
    """Hinge loss. Targets -1 and +1, of shape (n, out), or (n,) when out = 1: the mean over all elements of
    max(0, 1 - t z). Class labels c of shape (n,) when out > 1: the mean over rows of
    sum_{j != c} max(0, 1 + z_j - z_c) / out, as torch.nn.MultiMarginLoss. Derivative 0 at the kink.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Network([3, 1], loss="hinge").layers[-1].activation
    'identity'
    """

    name = "hinge"

    def code_for(self, targets):
        return CODES.index("class_hinge") if targets.dtype.kind == "i" else self.code


class GivenDelta(Loss):
    """Stands in the core for a loss object of the user's: its derivative takes the place of targets."""

    name = "given_delta"
    code = CODES.index(name)


CLASSES = {cls.name: cls for cls in (MSE, MAE, Huber, Quantile, Poisson, CrossEntropy, BinaryCrossEntropy, Hinge)}


def resolve(loss):
    """The loss object of a name; a loss object, fastbp's or the user's, as it is.

    Parameters
    ----------
    loss : str or object
        One of `LOSSES`, an instance of a class of this module, or an object with ``value_and_delta(outputs, targets)``.

    Returns
    -------
    object

    Examples
    --------
    >>> resolve("huber")
    Huber(delta=1.0)
    >>> resolve("cross_entrpy")
    Traceback (most recent call last):
    ValueError: loss: expected one of 'mse', ... (did you mean 'cross_entropy'?)
    """
    if isinstance(loss, str):
        return CLASSES[checks.choice("loss", loss, LOSSES)]()
    if isinstance(loss, type):
        raise TypeError(f"loss: expected an object, got the class {loss.__name__}; write {loss.__name__}()")
    if type(loss) in CLASSES.values():
        return loss
    if isinstance(loss, Loss):
        came = checks.described(loss)
        raise TypeError(f"loss: expected an object of fastbp's own classes or of one that is no subclass, got {came}")
    if callable(getattr(loss, "value_and_delta", None)):
        return loss
    raise TypeError(
        "loss: expected a name, a loss object or an object with value_and_delta(outputs, targets), "
        f"got {checks.described(loss)}"
    )


def check_range(loss, dtype):
    """Refuses a parameter that would be infinite in the network's dtype, or zero where it was not."""
    number = getattr(loss, "parameter", 0.0) if isinstance(loss, Loss) else 0.0
    smallest, largest = checks.reach(dtype)
    if number and not smallest <= number <= largest:
        raise ValueError(f"loss: expected a parameter in the range of {dtype}, got {loss!r}")


def check_missing(loss, missing_targets):
    """Refuses to mask what a loss cannot do without."""
    checks.choice("missing_targets", missing_targets, ("raise", "mask"))
    if missing_targets == "mask" and not (isinstance(loss, Loss) and not isinstance(loss, CrossEntropy)):
        whose = "cross_entropy" if isinstance(loss, Loss) else "a loss object of one's own"
        raise ValueError(f"missing_targets: expected 'raise' with {whose}, got 'mask'")


def value_and_delta(loss, outputs, targets):
    """Calls a user's loss object and checks what it returns.

    Parameters
    ----------
    loss : object with ``value_and_delta(outputs, targets)``
    outputs : ndarray, shape (n, out)
    targets : ndarray
        As `data.targets` gives them.

    Returns
    -------
    value : float
        Finite or not: what that means is the caller's to say.
    delta : ndarray, shape (n, out)
        dL/dz, C-contiguous and of the dtype of `outputs`.
    """
    who = f"{type(loss).__name__}.value_and_delta"
    returned = loss.value_and_delta(outputs, targets)
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(f"loss: expected {who} to return a pair (value, delta), got {checks.described(returned)}")
    value, delta = (np.asarray(part) for part in returned)
    if value.ndim or value.dtype.kind not in "iuf":
        raise TypeError(f"loss: expected {who} to return a number first, got {checks.described(returned[0])}")
    if delta.dtype.kind not in "iuf" or delta.shape != outputs.shape:
        came = checks.described(returned[1])
        raise ValueError(f"loss: expected {who} to return a delta of the outputs' shape {outputs.shape}, got {came}")
    with np.errstate(over="ignore"):  # what becomes infinite is refused before the update
        return float(value), np.ascontiguousarray(delta, outputs.dtype)


def second_derivative(loss, outputs, targets, direction):
    """Calls a user's loss object for the second derivative of its value, and checks what it returns.

    Parameters
    ----------
    loss : object with ``second_derivative(outputs, targets, direction)``
    outputs, direction : ndarray, shape (n, out)
    targets : ndarray
        As `data.targets` gives them.

    Returns
    -------
    ndarray, shape (n, out)
        The derivative of ``delta`` along `direction`, C-contiguous and of the dtype of `outputs`.
    """
    returned = loss.second_derivative(outputs, targets, direction)
    product = np.asarray(returned)
    if product.dtype.kind not in "iuf" or product.shape != outputs.shape:
        who = f"{type(loss).__name__}.second_derivative"
        came = checks.described(returned)
        raise ValueError(f"loss: expected {who} to return an array of the outputs' shape {outputs.shape}, got {came}")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(product, outputs.dtype)
