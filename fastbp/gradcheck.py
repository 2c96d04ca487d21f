"""The gradient check: every entry of the gradient beside a finite difference of the loss, and a report of it."""

from dataclasses import dataclass

import numpy as np

from . import checks, data
from .differences import SAFETY, Twin, gradient, rounding_errors

EPS = float(np.finfo(np.float64).eps ** (1 / 3))  # 6.1e-6
RTOL = {"float64": 1e-5, "float32": 1e-4}
MOST_ROUNDING = 1e-3  # of the largest entry: what rounding may be blamed for
BEND = 1e-3  # of an entry or of its layer: change of the slope over a step that a smooth loss may have
LISTED = 10  # entries at fault, and kinks, that a printed report names


@dataclass(frozen=True, eq=False)
class Part:
    """The gradient by one weight matrix, one bias, or the inputs, entry by entry.

    Attributes
    ----------
    layer : int
    kind : {"weight", "bias", "input"}
    analytic, numeric : ndarray of float64
        Of the parameter's shape: what the network says; the finite difference.
    kink : ndarray of bool
        Entries at a kink, where there is no derivative to compare with.
    rtol : float
    atol : ndarray
        An entry may differ by the larger of `atol` and `rtol` times the larger of the two values.
    """

    layer: int
    kind: str
    analytic: np.ndarray
    numeric: np.ndarray
    kink: np.ndarray
    rtol: float
    atol: np.ndarray

    @property
    def name(self):
        return "input" if self.kind == "input" else f"layers[{self.layer}].{self.kind}"

    @property
    def error(self):
        """|analytic - numeric| / max(|analytic|, |numeric|, atol / rtol), infinite where one of them is not finite."""
        with np.errstate(invalid="ignore"):
            larger = np.maximum(np.abs(self.analytic), np.abs(self.numeric))
            error = np.abs(self.analytic - self.numeric) / np.maximum(larger, self.atol / self.rtol)
        return np.where(np.isfinite(error), error, np.inf)

    @property
    def n_checked(self):
        """Entries compared: all but the kinks."""
        return int(self.kink.size - self.kink.sum())

    @property
    def worst(self):
        """Index of the entry with the largest error; None if all are at kinks."""
        error = np.where(self.kink, -1.0, self.error)
        return tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape)) if self.n_checked else None

    @property
    def max_error(self):
        """Error of the worst entry."""
        return float(self.error[self.worst]) if self.n_checked else 0.0

    @property
    def kinks(self):
        """Indices of the entries at kinks."""
        return [tuple(int(i) for i in index) for index in np.argwhere(self.kink)]

    @property
    def failures(self):
        """Indices of the entries that differ, the worst first."""
        error = np.where(self.kink, 0.0, self.error)
        wrong = np.argwhere(error > self.rtol)
        order = np.argsort(-error[tuple(wrong.T)], kind="stable")
        return [tuple(int(i) for i in index) for index in wrong[order]]

    @property
    def ok(self):
        return self.max_error <= self.rtol

    def entry(self, index):
        """The name of an entry, such as ``layers[1].weight[3, 17]``."""
        return f"{self.name}[{', '.join(map(str, index))}]"

    def __repr__(self):
        return f"<{self.name}: {'ok' if self.ok else 'WRONG'}, max error {self.max_error:.1e}, {len(self.kinks)} kinks>"


@dataclass(frozen=True, eq=False)
class GradCheck:
    """Report of a gradient check. True where it is `ok`; prints as a table.

    Attributes
    ----------
    layers : tuple of Part
        Weight and bias of each layer, then the inputs. Each has ``name``, ``layer``, ``kind``, ``ok``, ``max_error``,
        ``worst`` (an index), ``n_checked``, ``kinks`` and ``failures`` (lists of indices), and the arrays ``analytic``,
        ``numeric``, ``error``, ``kink``.
    loss, loss_float64 : float
        Of the network, and computed in float64.
    loss_ok : bool
        Whether they agree.
    network : str
        What was checked.
    eps : float
        Step, before it was scaled to each parameter.
    """

    layers: tuple
    loss: float
    loss_float64: float
    loss_ok: bool
    network: str
    eps: float

    @property
    def ok(self):
        """Whether the loss and every entry that is not at a kink agree."""
        return self.loss_ok and all(part.ok for part in self.layers)

    @property
    def max_error(self):
        """The largest of the parts' errors."""
        return max(part.max_error for part in self.layers)

    @property
    def n_kinks(self):
        return sum(len(part.kinks) for part in self.layers)

    def __bool__(self):
        return self.ok

    def __str__(self):
        lines = [f"gradient check of {self.network}: {'ok' if self.ok else 'WRONG'}", HEAD]
        for part in self.layers:
            verdict = "ok" if part.ok else f"{len(part.failures)} wrong"
            line = f"{part.name:18} {part.n_checked:8} {len(part.kinks):6} {verdict:>10}  "
            if part.worst is not None:
                line += f"{part.max_error:9.1e}  {line_of(part, part.worst)}"
            lines.append(line.rstrip())
        verdict = "ok" if self.loss_ok else "WRONG"
        lines.append(f"loss {self.loss:.9g}, in float64 {self.loss_float64:.9g}: {verdict}")
        wrong = [line_of(part, index) for part in self.layers for index in part.failures]
        kinks = [line_of(part, index) for part in self.layers for index in part.kinks]
        return "\n".join([*lines, *listing("wrong", wrong), *listing("at a kink, not judged", kinks)])


HEAD = (
    f"{'part':18} {'compared':>8} {'kinks':>6} {'verdict':>10}  {'max error':>9}  {'worst entry':28} "
    f"{'analytic':>16} {'numeric':>16}"
)


def line_of(part, index):
    return f"{part.entry(index):28} {part.analytic[index]:16.9g} {part.numeric[index]:16.9g}"


def listing(title, lines):
    """The first few lines under a title, and how many more there are; nothing if there are none."""
    if not lines:
        return []
    more = [f"  ... and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return [f"{title}:", *(f"  {line}" for line in lines[:LISTED]), *more]


def check(net, X, y, *, eps=None, rtol=None, atol=None):
    """Compares the gradient of `net` with finite differences of its loss in float64, entry by entry.

    Parameters
    ----------
    net : Network
        Left as it is: parameters, optimiser and generator are not touched, whatever happens. The differences are
        taken of ``net.copy(dtype="float64")``.
    X : array_like, shape (n, in)
        A few rows suffice. They are rounded to the net's dtype first, so that both sides see the same numbers.
    y : array_like
        Targets, as in `Network.loss`.
    eps : float, optional
        From 1e-10 to 1e-3. The step is eps max(1, |w|) for an entry w. By default the cube root of the float64
        machine epsilon, 6.1e-6, where the two errors of a central difference meet: h^2 f^(3) / 6 of cutting off,
        epsilon f / h of rounding, both some 1e-11.
    rtol : float, optional
        In (0, 1). An entry may differ by ``rtol max(|analytic|, |numeric|)``. By default 1e-5 in float64 and 1e-4 in
        float32, a tenth of the smallest relative errors that a check is to find there (1e-4, 1e-3).
    atol : float, optional
        Above 0. An entry may differ by so much in any case. By default what rounding does, measured: in the net's own
        dtype for each entry, by comparing it with float64 at points around; in the differences, by how far the loss
        scatters about a line (some 1e-15 of the loss, divided by the largest step: 1e-13). Where that is more than
        rtol of an entry, less can be said of the entry: in float32 those are entries below about 1/1000 of their
        layer's largest.

    Returns
    -------
    GradCheck

    Raises
    ------
    ValueError, TypeError
        For bad arguments, parameters that are not finite, and rows whose loss is not finite.

    Notes
    -----
    An entry that the central difference does not confirm gets a closer look: differences with five points, error
    h^4 f^(5) / 30, at steps from 2048 eps down to eps / 32. That settles gradients too small for the first step, and
    kinks close by. An entry is at a *kink* (of relu, leaky_relu, selu, hard_sigmoid, mae, quantile, hinge), counted and
    listed but not judged, if either

    - its slopes on both sides differ at steps large enough to see its errors, and at smaller ones rounding hides them;
      or
    - the gradient agrees with the slopes at points on both sides, and its value at the point lies within the slopes on
      the two sides, what the float64 kernels say there, and what it becomes when all numbers are rounded differently;
      and these are apart.

    A wrong value outside of these fails, near a kink as well.

    Cost: two losses of all rows for each parameter and each input, up to 30 for an entry with a closer look. For
    54-128-64-7 on 8 rows that is 32,000 losses of 12 microseconds: 0.4 s.

    Both sides use the same forward pass: the check finds a gradient that does not belong to the loss, not a wrong loss.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> net = fb.Network([2, 3, 2], activation="tanh", dtype="float64", seed=0)
    >>> report = net.gradcheck(np.array([[0.5, -1.0], [2.0, 0.3]]), np.array([0, 1]))
    >>> report.ok, report.max_error < 1e-5, report.n_kinks
    (True, True, 0)
    >>> [part.name for part in report.layers]
    ['layers[0].weight', 'layers[0].bias', 'layers[1].weight', 'layers[1].bias', 'input']
    """
    eps = EPS if eps is None else checks.number("eps", eps, at_least=1e-10, at_most=1e-3)
    rtol = RTOL[net.dtype.name] if rtol is None else checks.number("rtol", rtol, above=0, below=1)
    atol = None if atol is None else checks.number("atol", atol, above=0)
    X = data.inputs(X, net.n_inputs, net.dtype)
    targets = data.targets(y, X.shape[0], net.n_outputs, net.objective, net.dtype, missing=net.missing_targets)
    if not np.isfinite(net.params).all():
        raise ValueError(f"params: expected finite parameters, got {net.params[~np.isfinite(net.params)][0]}")

    loss, _ = net.loss_and_grad(X, targets)
    analytic = gradient(net, X, targets).astype(np.float64)
    twin = Twin(net, X, targets, eps)
    if not np.isfinite(twin.value):
        raise ValueError(f"X, y: expected rows with a finite loss, got a loss of {twin.value}")
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows around the point fails there
        loss_error, errors = rounding_errors(net, X, targets)
        parts = []
        for first, shape, layer, kind in parts_of(net, X):
            entries = slice(first, first + int(np.prod(shape)))
            allowed = floor(twin, entries, errors[entries]).reshape(shape) if atol is None else np.full(shape, atol)
            part = Part(
                layer, kind, analytic[entries].reshape(shape), np.empty(shape), np.zeros(shape, bool), rtol, allowed
            )
            parts.append(compare(twin, first, part))
    allowed = max(rtol * abs(twin.value), SAFETY * loss_error if atol is None else atol)
    agree = bool(abs(loss - twin.value) <= allowed)
    return GradCheck(tuple(parts), loss, twin.value, agree, f"{net!r}, {len(X)} row{'s' if len(X) > 1 else ''}", eps)


def floor(twin, entries, errors):
    """What each entry of a part may differ by: rounding of the network's own dtype, or of the best difference.

    Rounding that reaches a thousandth of the largest entry of all is a finding, and no excuse. Where it is the same at
    all points (sums of equal numbers that should cancel) it does not show: half an ULP of the largest entry is allowed.
    """
    largest = np.abs(twin.gradient[entries]).max()
    errors = np.maximum(errors, max(rms(errors), np.finfo(twin.original[0].dtype).eps / 2 * largest))
    own = np.minimum(SAFETY * errors, MOST_ROUNDING * np.abs(twin.gradient).max())
    return np.maximum(own, max(twin.smallest_noise(), np.finfo(np.float64).tiny))


def rms(array):
    return np.sqrt(np.square(array).mean())


def parts_of(net, X):
    """(first entry, shape, layer, kind) of every part of the gradient."""
    first = 0
    for layer, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
        if weight is not None:
            yield first, weight.shape, layer, "weight"
            first += weight.size
        if bias is not None:
            yield first, bias.shape, layer, "bias"
            first += bias.size
    yield first, X.shape, 0, "input"


def compare(twin, first, part):
    """The part with its numeric side: a central difference each, and a closer look where that does not settle it."""
    shape, size = part.analytic.shape, part.analytic.size
    central, jump = np.transpose([twin.central(e) for e in range(first, first + size)])
    part.numeric[...] = central.reshape(shape)
    # what h f^(2) stays below, unless curvature exceeds slope a hundredfold, and kinks that matter to the layer exceed
    bend = BEND * np.maximum(np.abs(part.numeric), rms(twin.gradient[first : first + size]))
    doubtful = (part.error > part.rtol) | (jump.reshape(shape) > bend + twin.noise / twin.eps)
    for index in zip(*np.nonzero(doubtful), strict=True):
        e = first + int(np.ravel_multi_index(index, shape))
        judged = twin.look_closer(e, part.analytic[index], part.rtol, part.atol[index], bend[index])
        part.numeric[index], part.kink[index] = judged
    return part
