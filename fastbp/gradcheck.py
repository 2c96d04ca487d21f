"""The gradient check: the gradient beside finite differences of the loss, entry by entry or along random directions."""

import numpy as np

from . import chain, checks, data, losses
from .differences import SAFETY
from .gradreport import GradCheck, Part
from .twin import OwnLoss, Twin, gradient, outputs, rounding_errors

MODES = ("auto", "full", "fast")
EPS = float(np.finfo(np.float64).eps ** (1 / 3))  # 6.1e-6
RTOL = {"float64": 1e-5, "float32": 1e-4}
MOST_ROUNDING = 1e-3  # of the largest entry: what rounding may be blamed for
BEND = 1e-3  # of a number or of its layer: change of the slope over a step that a smooth loss may have
DIRECTIONS = 4  # of each part in fast mode
MOST_WORK = 2e10  # multiply-adds of a full check that "auto" allows: a few seconds


def check(net, X, y, *, mode="auto", eps=None, rtol=None, atol=None, seed=0, training=False):
    """Compares the gradient of `net` with finite differences of its loss in float64.

    Parameters
    ----------
    net : Network
        Left as it is: parameters, optimiser and generator are not touched, whatever happens. The differences are
        taken of ``net.copy(dtype="float64")``.
    X : array_like, shape (n, in)
        A few rows suffice. They are rounded to the net's dtype first, so that both sides see the same numbers.
    y : array_like
        Targets, as in `Network.loss`.
    mode : {"auto", "full", "fast"}
        ``"full"`` compares every entry. ``"fast"`` compares products of the gradient with random directions, for each
        part and for all parameters: a few dozen losses, however many parameters there are. ``"auto"`` is full where
        that takes some 2e10 multiply-adds at most, seconds, and else fast.
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
        layer's largest. In fast mode a product may differ by rtol of what such products are in the root mean square,
        too.
    seed : int, optional
        Of the directions of the fast mode; None takes one from the operating system.
    training : bool
        Whether to check the function that the next step of `fit` sees, as ``loss(X, y, training=True)``: dropouts drop,
        with the same masks at every evaluation, and batch norms take mean and variance of the rows of X, through which
        the gradient goes too. Running statistics and the masks to come stay as they are.

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

    The fast mode goes the same way along a direction: all entries of a part at once, each by its size times a normal
    random number, in four such directions. An error e of a part's gradient g changes a product by some ``|e|``, and is
    seen where that exceeds ``rtol |g|``: wrong signs, factors, lost rows, but not one small entry among large ones.

    A loss object of the user's own is looked at by itself as well: its delta beside differences of its value by the
    outputs, at the net's outputs in float64. Where that is wrong, so are all parts.

    Cost: two losses of all rows for each parameter and each input, up to 30 for an entry with a closer look. For
    54-128-64-7 on 8 rows that is 32,000 losses of 12 microseconds: 0.4 s. In fast mode, eight losses for each part, and
    some thirty passes in all to see what rounding does.

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
    >>> large = fb.Network([784, 512, 10], dtype="float64", seed=0)
    >>> report = large.gradcheck(np.random.default_rng(0).random((8, 784)), np.arange(8))
    >>> report.ok, report.mode, report.model.n_checked
    (True, 'fast', 4)
    """
    eps = EPS if eps is None else checks.number("eps", eps, at_least=1e-10, at_most=1e-3)
    rtol = RTOL[net.dtype.name] if rtol is None else checks.number("rtol", rtol, above=0, below=1)
    atol = None if atol is None else checks.number("atol", atol, above=0)
    mode = checks.choice("mode", mode, MODES)
    seed = checks.seed("seed", seed)
    training = checks.boolean("training", training)
    X = data.inputs(X, net.n_inputs, net.dtype)
    if training:
        chain.refuse_one_row(net.layers, len(X), "X")
    targets = data.targets(y, X.shape[0], net.n_outputs, net.objective, net.dtype, missing=net.missing_targets)
    if not np.isfinite(net.params).all():
        raise ValueError(f"params: expected finite parameters, got {net.params[~np.isfinite(net.params)][0]}")
    if mode == "auto":
        losses_taken = 2 * (net.n_params + X.size)
        mode = "full" if losses_taken * len(X) * net.n_params <= MOST_WORK else "fast"

    loss, _ = net.loss_and_grad(X, targets, training=training)
    analytic = gradient(net, X, targets, training).astype(np.float64)
    twin = Twin(net, X, targets, eps, training)
    if not np.isfinite(twin.value):
        raise ValueError(f"X, y: expected rows with a finite loss, got a loss of {twin.value}")
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows around the point fails there
        loss_errors, errors = rounding_errors(net, X, targets, training)
        judge = Judge(twin, analytic, errors, rtol, atol, None if mode == "full" else np.random.default_rng(seed))
        parts = tuple(judge.part(*part) for part in parts_of(net, X))
        model = None if mode == "full" else judge.part(0, (net.n_params,), None, "model")
        objective = None if isinstance(net.objective, losses.Loss) else own_loss(net, X, targets, judge, eps)
    allowed = max(rtol * abs(twin.value), SAFETY * np.std(loss_errors) if atol is None else atol)
    agree = bool(abs(loss - twin.value) <= allowed)
    what = f"{net!r}, {len(X)} row{'s' if len(X) > 1 else ''}{', in training' if training else ''}"
    return GradCheck(parts, loss, twin.value, agree, what, eps, mode, model, objective, training)


def parts_of(net, X):
    """(first entry, shape, layer, kind) of every part of the gradient, by parameters and then by inputs."""
    first = 0
    for layer, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
        if weight is not None:
            yield first, weight.shape, layer, "weight"
            first += weight.size
        if bias is not None:
            yield first, bias.shape, layer, "bias"
            first += bias.size
    yield first, X.shape, 0, "input"


def own_loss(net, X, targets, judge, eps):
    """The part of a loss object of the user's: its delta by the outputs, in float64."""
    at = outputs(judge.twin.net, judge.twin.X, judge.twin.training)
    twin = OwnLoss(net.objective, at, targets, eps)
    judge = Judge(twin, twin.gradient, np.zeros((1, twin.gradient.size)), RTOL["float64"], judge.atol, judge.rng)
    return judge.part(0, (len(X), net.n_outputs), None, "loss")


class Judge:
    """Compares parts of a gradient with differences of a function: every entry, or along directions if there is an rng.

    Parameters
    ----------
    twin : differences.Function
    analytic : ndarray, shape (n,)
        The gradient to be judged, in float64.
    errors : ndarray, shape (k, n)
        What rounding did to it at k points around.
    rtol, atol : float
        As of `check`.
    rng : numpy.random.Generator or None
    """

    def __init__(self, twin, analytic, errors, rtol, atol, rng):
        self.twin, self.analytic, self.errors, self.rtol, self.atol, self.rng = twin, analytic, errors, rtol, atol, rng

    def part(self, first, shape, layer, kind):
        """The part that begins with entry `first`."""
        size = int(np.prod(shape))
        entries = slice(first, first + size)
        if self.rng is None:
            lines = [self.twin.entry(e) for e in range(first, first + size)]
            analytic, errors = self.analytic[entries], self.errors[:, entries]
        else:
            shape = (DIRECTIONS,)
            lines = [self.twin.direction(entries, self.rng.standard_normal(size)) for _ in range(DIRECTIONS)]
            analytic = np.array([line.slope(self.analytic) for line in lines])
            errors = np.array([line.slope(self.errors) for line in lines]).T
        slopes = np.array([line.slope(self.twin.gradient) for line in lines])
        atol = np.full(len(lines), self.atol) if self.atol is not None else self.floor(slopes, errors)
        typical = rms(slopes)
        if self.rng is not None:  # one product may be small by chance
            typical = rms([np.linalg.norm(self.twin.gradient[entries] * line.rates) for line in lines])
            atol = np.maximum(atol, self.rtol * typical)
        numeric, kink = self.compare(lines, analytic, typical, atol)
        arrays = (array.reshape(shape) for array in (analytic, numeric, kink))
        return Part(layer, kind, *arrays, self.rtol, atol.reshape(shape), self.rng is not None)

    def floor(self, slopes, errors):
        """What each number of a part may differ by: rounding of the network's own dtype, or of the best difference.

        Rounding that reaches a thousandth of the largest entry of all is a finding, and no excuse. Where it is the same
        at all points (sums of equal numbers that should cancel) it does not show: half an ULP of the largest number is
        allowed.
        """
        scatter = np.std(errors, axis=0)
        ulp = np.finfo(self.twin.dtype).eps
        scatter = np.maximum(scatter, max(rms(scatter), ulp / 2 * np.abs(slopes).max()))
        own = np.minimum(SAFETY * scatter, MOST_ROUNDING * np.abs(self.twin.gradient).max())
        return np.maximum(own, max(self.twin.smallest_noise(), np.finfo(np.float64).tiny))

    def compare(self, lines, analytic, typical, atol):
        """A central difference for each line, and a closer look where that does not settle it: (numeric, kink)."""
        twin, rtol = self.twin, self.rtol
        numeric, jump = np.transpose([twin.central(line) for line in lines])
        kink = np.zeros(len(lines), bool)
        allowed = np.maximum(rtol * np.maximum(np.abs(analytic), np.abs(numeric)), atol)
        # what h f^(2) stays below, unless curvature exceeds slope a hundredfold, and kinks that matter to it exceed
        bend = BEND * np.maximum(np.abs(numeric), typical)
        settled = (np.abs(analytic - numeric) <= allowed) & (jump <= bend + twin.noise / twin.eps)
        for k in np.flatnonzero(~settled):
            numeric[k], kink[k] = twin.look_closer(lines[k], analytic[k], rtol, atol[k], bend[k])
        return numeric, kink


def rms(array):
    return np.sqrt(np.square(array).mean())
