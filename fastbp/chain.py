"""The layers of a network one after the other: what its arguments make of them, their widths, how they start."""

import math

from . import checks
from .initializers import checked_init
from .layers import ACTIVATIONS, Activation, BatchNorm, Dense, Layer
from .losses import Loss

MOST_WEIGHTS = 1 << 50  # a petabyte: above it, byte counts would come near the end of 64-bit integers


def input_count(layers):
    """The number of inputs that the first entry of a Network's `layers` gives, after a look at the list itself."""
    if isinstance(layers, (str, bytes)) or not (hasattr(layers, "__len__") and hasattr(layers, "__getitem__")):
        raise TypeError(f"layers: expected a sequence such as [784, 128, 10], got {checks.described(layers)}")
    if isinstance(layers, dict) or getattr(layers, "ndim", 1) != 1:
        raise TypeError(f"layers: expected a flat sequence such as [784, 128, 10], got {checks.described(layers)}")
    if len(layers) < 2:
        came = checks.described(layers)
        raise ValueError(f"layers: expected the number of inputs and at least one layer, got {came}")
    if isinstance(layers[0], Layer):
        raise TypeError(f"layers[0]: expected the number of inputs, an integer, got {layers[0]!r}")
    return checks.positive_int("layers[0]", layers[0])


def resolve(layers, activation, output, loss, bias, init):
    """The tuple of layers that a Network's arguments describe. `loss` is a loss object."""
    n_inputs, given = input_count(layers), list(layers)[1:]
    dense = [k for k, layer in enumerate(given) if not isinstance(layer, Layer) or isinstance(layer, Dense)]
    if not dense:
        raise ValueError("layers: expected at least one int or Dense after the number of inputs, got none")
    if not isinstance(given[-1], (Dense, Activation)) and dense[-1] != len(given) - 1:
        came = f"{given[-1]!r} as the last"
        raise ValueError(f"layers[{len(given)}]: expected an int, a Dense or an Activation, got {came}")
    names = hidden_activations(activation, len(dense) - 1)
    usual = checks.choice("loss.default_output", getattr(loss, "default_output", "identity"), ACTIVATIONS)
    names.append(usual if output is None else checks.choice("output", output, ACTIVATIONS))
    common = {"bias": checks.boolean("bias", bias), "init": checked_init(init)}
    for k, name in zip(dense, names, strict=True):
        if not isinstance(given[k], Dense):
            if not hasattr(type(given[k]), "__index__"):
                came = checks.described(given[k])
                raise TypeError(f"layers[{k + 1}]: expected an integer or a layer such as Dense(8), got {came}")
            units = checks.positive_int(f"layers[{k + 1}]", given[k])
            given[k] = Dense(units, name if following_activation(given, k) is None else "identity", **common)
    last = given[-1].activation
    if output is not None and output != last:
        kind = "a Dense" if isinstance(given[-1], Dense) else "an Activation"
        raise ValueError(f"output: got {output!r}, but the last layer is {kind} with {last!r}; give one of them")
    if isinstance(loss, Loss) and loss.from_logits and last not in (usual, "identity"):
        wanted = f"{usual!r} or 'identity', for {loss.name} is computed from logits"
        raise ValueError(f"output: expected {wanted}, got {last!r}")
    n_weights = 0
    for layer in given:
        shape, _ = layer.shapes(n_inputs)
        n_weights += 0 if shape is None else math.prod(shape)
        n_inputs = layer.width(n_inputs)
    if n_weights > MOST_WEIGHTS:
        raise MemoryError(f"layers: {n_weights} weights are more than any memory holds")
    return tuple(given)


def following_activation(layers, k):
    """The name of the first Activation behind entry k and before the next int or Dense, or None."""
    for layer in layers[k + 1 :]:
        if isinstance(layer, Activation):
            return layer.name
        if not isinstance(layer, Layer) or isinstance(layer, Dense):
            break
    return None


def widths(n_inputs, layers):
    """Of the inputs, then of each layer."""
    sizes = [n_inputs]
    for layer in layers:
        sizes.append(layer.width(sizes[-1]))
    return sizes


def n_parameters(n_inputs, layers):
    """Of the layers one after the other; Python's integers, for the numbers of a file may be anything."""
    total = 0
    for n, layer in zip(widths(n_inputs, layers), layers):  # noqa: B905 (one width more: the outputs)
        total += sum(math.prod(shape) for shape in layer.shapes(n) if shape is not None)
    return total


def n_running(n_inputs, layers):
    """How many running statistics there are."""
    sizes = widths(n_inputs, layers)
    return sum(2 * n for n, layer in zip(sizes, layers) if isinstance(layer, BatchNorm))  # noqa: B905


def starts(n_inputs, layers, rng):
    """First weights of each layer, or None."""
    for k, (n, layer) in enumerate(zip(widths(n_inputs, layers), layers)):  # noqa: B905
        linear = layer.activation == "identity"
        yield layer.start(n, (following_activation(layers, k) if linear else None) or layer.activation, rng)


def refuse_one_row(layers, n, name):
    """A batch norm in training has nothing to take a variance of in a batch of one row."""
    if n == 1:
        for k, layer in enumerate(layers):
            if isinstance(layer, BatchNorm):
                why = f"for net.layers[{k}] is a BatchNorm"
                raise ValueError(f"{name}: expected at least 2 rows in training, {why}, got 1")


def hidden_activations(activation, n_hidden):
    """A list with one name for each hidden layer."""
    if isinstance(activation, str):
        return [checks.choice("activation", activation, ACTIVATIONS)] * n_hidden
    if not isinstance(activation, (list, tuple)):
        raise TypeError(f"activation: expected a name or a list of names, got {checks.described(activation)}")
    if len(activation) != n_hidden:
        raise ValueError(f"activation: expected one name, or {n_hidden} for the hidden layers, got {len(activation)}")
    return [checks.choice(f"activation[{k}]", name, ACTIVATIONS) for k, name in enumerate(activation)]
