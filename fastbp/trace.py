"""One sample on its way through a network and back, with every number that the core computes for it."""

import math
from dataclasses import dataclass

import numpy as np

from . import chain, checks, data, formulas, losses
from .layers import BatchNorm, Dense

LINE = 120
LONGEST_HEAD = 60  # a longer formula gets a line of its own, so that it does not push all numbers to the right


@dataclass(frozen=True)
class Step:
    """One array of a trace: "given", or computed on the way "forward" or "backward"."""

    part: str
    name: str
    formula: str
    array: np.ndarray

    @property
    def head(self):
        return f"{self.name} = {self.formula}" if self.formula else self.name


class Trace:
    """Every intermediate number and every partial of one sample, in the order in which they are computed.

    Layers count from 1: layer k maps its x, which is z of layer k - 1, to y = W x + b and z = h(y). The names are

    - given: ``x``; ``W1``, ``b1``, ``W2``, ... (``W1`` is ``net.weights[0]``); ``t``, the target as the loss takes it;
    - forward: ``y1``, ``z1``, ``y2``, ``z2``, ..., ``L``;
    - backward, for k from the last layer to the first: ``dL/dzk``, ``dzk/dyk``, ``dL/dyk``, ``dL/dWk``, ``dL/dbk``;
      then ``dL/dx``. What a layer passes back, W^T dL/dy, is the ``dL/dz`` of the layer below.

    A layer without bias has no ``bk`` and no ``dL/dbk``. ``dzk/dyk`` is the vector h'(y), of softmax the Jacobian.
    Layers other than `Dense` are those of evaluation. An `Activation` has no ``yk``: its y is its x. A `Dropout` has
    but ``zk`` and ``dL/dzk``. Norms have ``gk`` (``net.weights[k - 1]``), ``bk``, ``nk``, the normalised x, and their
    partials; a `BatchNorm` also the running mean ``mk`` and variance ``vk``, as given.
    Losses that are computed from logits give dL/dy of the last layer directly, without its ``dL/dzk`` and ``dzk/dyk``.

    Parameters
    ----------
    net : Network
        It is left as it is.
    x : array_like, shape (in,) or (1, in)
        One sample.
    y : array_like
        Its target: a number if there is one output, a class label, or an array of shape (out,) or (1, out). A loss
        object of one's own is handed ``y`` as the one row of an array.

    Attributes
    ----------
    arrays : dict of str to ndarray
        The numbers by name, in order; copies of the network's dtype, vectors (out,) and matrices (out, in). ``L`` is a
        0-d array of float64.
    formulas : dict of str to str
        How each is computed from those before it. ``*`` is elementwise, ``W x`` a matrix product, ``^T`` a transpose.

    Raises
    ------
    ValueError, TypeError
        Naming ``x`` or ``y``, what came and what was expected.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> net = fb.Network([2, 1], loss="mse", bias=False, dtype="float64")
    >>> net.weights[0][:] = [[3, 4]]
    >>> trace = net.trace([1, 2], 10)
    >>> print(trace)
    Trace of one sample through <Network 2 - 1 identity, mse, float64, 2 parameters>
    <BLANKLINE>
    Given
      x                         (2,)    [1. 2.]
      W1 = net.weights[0]       (1, 2)  [[3. 4.]]
      t = y                     (1,)    [10.]
    Forward
      y1 = W1 x                 (1,)    [11.]
      z1 = y1                   (1,)    [11.]
      L = mean((z1 - t)^2)      ()      1.
    Backward
      dL/dz1 = 2 * (z1 - t)     (1,)    [2.]
      dz1/dy1 = 1               (1,)    [1.]
      dL/dy1 = dL/dz1 * dz1/dy1 (1,)    [2.]
      dL/dW1 = dL/dy1 x^T       (1, 2)  [[2. 4.]]
      dL/dx = W1^T dL/dy1       (2,)    [6. 8.]
    Update
      W <- W - alpha dL/dW
    >>> trace.arrays["dL/dW1"]
    array([[2., 4.]])
    """

    def __init__(self, net, x, y):
        x = sample(x, net.n_inputs, net.dtype)
        targets = target(y, net)
        own_loss = not isinstance(net.objective, losses.Loss)
        t = np.array(targets[0])
        value = None
        if own_loss:
            of_t, of_loss, of_delta = formulas.of_own_loss(net.objective, len(net.layers))
            value, targets = net._delta_of_custom_loss(x, targets)
        else:
            label = int(t) if t.dtype.kind == "i" else None
            name = losses.CODES[net._core_loss.code_for(targets)]
            of_t = formulas.of_target(net.objective, label, net.n_outputs)
            of_loss, of_delta = formulas.of_loss(net.objective, name, net.layers, net.n_outputs, label)
        from_logits = net._core_loss.from_logits
        widths = chain.widths(net.n_inputs, net.layers)
        forward = list(formulas.forward(net.layers, widths))
        backward = list(formulas.backward(net.layers, widths, of_delta, from_logits))

        shapes = [(net.n_outputs,), *(shape for *_, shape in forward + backward)]
        numbers = np.empty(sum(map(math.prod, shapes)), net.dtype)
        loss = net._engine.trace_row(x, targets, net._core_loss.code_for(targets), numbers)
        arrays = iter(cut(numbers, shapes))
        t_of_core = next(arrays)

        self._steps = [
            Step("given", "x", "", x[0].copy()),
            *parameters(net),
            Step("given", "t", of_t, t if own_loss else t_of_core),
            *(Step("forward", name, formula, next(arrays)) for name, formula, _ in forward),
            Step("forward", "L", of_loss, np.array(value if own_loss else loss)),
            *(Step("backward", name, formula, next(arrays)) for name, formula, _ in backward),
        ]
        self.arrays = {step.name: step.array for step in self._steps}
        self.formulas = {step.name: step.formula for step in self._steps}
        last = len(net.layers)
        logits = f"y{last}" if isinstance(net.layers[-1], Dense) else formulas.input_of(last)
        self._net = repr(net)
        self._titles = {
            "given": "Given",
            "forward": "Forward",
            "backward": "Backward"
            + (f" (the loss comes from {logits}, and dL/d{logits} in one step)" if from_logits else ""),
        }
        partials = {step.name[: len("dL/dW")] for step in self._steps if step.part == "backward"}
        updated = [letter for letter in "Wgb" if f"dL/d{letter}" in partials]
        self._update = ",  ".join(f"{letter} <- {letter} - alpha dL/d{letter}" for letter in updated)

    def text(self, *, precision=6, threshold=40):
        """The trace as lines of name, formula, shape and numbers.

        Parameters
        ----------
        precision : int
            Digits after the point at most.
        threshold : int
            Arrays of more numbers are abbreviated, as NumPy does it.

        Returns
        -------
        str
        """
        options = {
            "precision": checks.integer("precision", precision, 0),
            "threshold": checks.integer("threshold", threshold, 0),
            "edgeitems": 3,
        }
        shapes = {step.name: str(step.array.shape) for step in self._steps}
        width = max(len(step.head) for step in self._steps if len(step.head) <= LONGEST_HEAD)
        shape_width = max(map(len, shapes.values()))
        indent = 2 + width + 1 + shape_width + 2
        lines = [f"Trace of one sample through {self._net}", ""]
        part = None
        for step in self._steps:
            if step.part != part:
                part = step.part
                lines.append(self._titles[part])
            head = step.head
            if len(head) > width:
                lines.append("  " + head.replace("; ", ";\n    "))
                head = ""
            numbers = np.array2string(step.array, max_line_width=max(LINE - indent, 40), **options)
            numbers = numbers.replace("\n", "\n" + " " * indent)
            lines.append(f"  {head:{width}} {shapes[step.name]:{shape_width}}  {numbers}")
        return "\n".join([*lines, "Update", f"  {self._update}"])

    def to_dot(self):
        """The trace as a graph for Graphviz: the way forward from left to right, the partials beneath.

        Returns
        -------
        str
            Source in the DOT language; ``dot -Tsvg`` draws it.
        """
        from . import graph

        return graph.dot(self._steps)

    def __str__(self):
        return self.text()

    def __repr__(self):
        return f"<Trace of {len(self._steps)} arrays, L = {self.arrays['L']:.6g}, through {self._net}>"


def sample(x, n_inputs, dtype):
    """x as (1, n_inputs)."""
    array = data.as_numbers(x, "x")
    if array.shape not in ((n_inputs,), (1, n_inputs)):
        raise ValueError(f"x: expected one sample of shape ({n_inputs},) or (1, {n_inputs}), got {array.shape}")
    return data.converted(array.reshape(1, n_inputs), dtype, "x")


def target(y, net, missing="raise"):
    """y as the targets of a batch of one row; NaN among them with missing="mask"."""
    n = net.n_outputs
    if isinstance(net.objective, losses.Loss):
        array = data.as_numbers(y, "y")
        if array.shape not in ((), (1,), (n,), (1, n)):
            raise ValueError(
                f"y: expected the target of one sample, a number or shape ({n},) or (1, {n}), got {array.shape}"
            )
    else:
        array = np.asarray(y)
    if array.ndim == 0 or array.ndim == 1 and array.size != 1:
        array = array[None]
    return data.targets(array, 1, n, net.objective, net.dtype, missing=missing)


def cut(numbers, shapes):
    """Views of these shapes, one after another."""
    first = 0
    for shape in shapes:
        end = first + math.prod(shape)
        yield numbers[first:end].reshape(shape)
        first = end


def parameters(net):
    """Steps of W1, b1, W2, ..."""
    for k, layer in enumerate(net.layers):
        arrays = [("W" if isinstance(layer, Dense) else "g", "weights"), ("b", "biases")]
        if isinstance(layer, BatchNorm):
            arrays += [("m", "running_means"), ("v", "running_vars")]
        for letter, name in arrays:
            array = getattr(net, name)[k]
            if array is not None:
                yield Step("given", f"{letter}{k + 1}", f"net.{name}[{k}]", array.copy())
