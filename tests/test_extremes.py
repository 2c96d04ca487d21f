"""Extreme but finite numbers: huge, tiny, denormal, either zero. Nothing turns NaN that is not NaN in exact terms."""

import numpy as np
import pytest
import reference
from comparison import DTYPES
from problems import ACTIVATIONS, LOGIT_OUTPUTS, LOSSES, Spec, loss_object, output_of

import fastbp as fb

MAGNITUDES = {
    "float32": (0, 1.4e-45, 1e-40, 1.2e-38, 1e-30, 1e-10, 1, 17, 88, 104, 1e4, 1e10, 1e19, 1e30, 3e38),
    "float64": (0, 5e-324, 1e-310, 2.3e-308, 1e-30, 1e-10, 1, 36, 709, 746, 1e4, 1e30, 1e150, 1e300),
}


def extremes(dtype):
    """Both signs of every magnitude, as one column."""
    magnitudes = np.array(MAGNITUDES[dtype], dtype)
    return np.concatenate([magnitudes, -magnitudes]).astype(float)[:, None]


def through_identity(output, loss, dtype, units=1):
    """A net whose only layer has W = I, so that its y are the inputs, and the twin's layers."""
    net = fb.Network([units, units], output=output, loss=loss, bias=False, dtype=dtype)
    net.weights[0][:] = np.eye(units)
    return net, [(np.eye(units), None, output)]


def check_close(what, got, want, y, dtype):
    """To a few ULP of 1 or of the number, wherever there is one to compare with."""
    eps = np.finfo(dtype).eps
    wrong = ~np.isclose(got, want, rtol=16 * eps, atol=16 * eps) & ~np.isnan(want)
    assert not wrong.any(), f"{what} at y = {y[wrong]}: got {got[wrong]}, expected {want[wrong]}"


SLOPES = [(a, dtype) for a in ACTIVATIONS for dtype in DTYPES if a != "softmax"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [a for a in ACTIVATIONS if a != "softmax"])
def test_activations_of_extreme_numbers_are_the_twins(activation, dtype):
    y = extremes(dtype)
    net, layers = through_identity(activation, "mae", dtype)
    with np.errstate(all="ignore"):
        want = reference.predict(layers, y).astype(dtype)
    check_close("z of all rows", net.predict(y), want, y, dtype)
    check_close("z row by row", np.concatenate([net.predict(row[None]) for row in y]), want, y, dtype)


@pytest.mark.parametrize(("activation", "dtype"), SLOPES)
def test_slopes_at_extreme_numbers_are_the_twins(activation, dtype):
    """mae hands a slope of 1 to the activation, for targets below its outputs."""
    y = extremes(dtype)
    net, layers = through_identity(activation, "mae", dtype)
    t = np.full(y.shape, np.finfo(dtype).min)
    with np.errstate(all="ignore"):
        z = reference.predict(layers, y)
        want = reference.activation_backward(activation, y, z, np.ones(y.shape)).astype(dtype)
    check_close("dz/dy of all rows", net.input_grad(y, t) * len(y), want, y, dtype)
    single = np.concatenate([net.input_grad(row[None], t[:1]) for row in y])
    check_close("dz/dy row by row", single, want, y, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_extreme_numbers_is_the_twins(dtype):
    column = extremes(dtype)
    y = np.concatenate([column, np.zeros_like(column), -column], axis=1)
    net, layers = through_identity("softmax", "mse", dtype, units=3)
    t = np.tile([1.0, 0.5, 0.0], (len(y), 1))
    with np.errstate(over="ignore"):
        _, _, dy = reference.loss_and_grad(layers, y, t, "mse")
        z = reference.predict(layers, y)
    check_close("z", net.predict(y), z, y, dtype)
    check_close("dL/dy", net.input_grad(y, t), dy, y, dtype)


OF_CLASSES = [variant for variant in LOSSES if variant.startswith("cross_entropy") or variant == "hinge of classes"]
TARGETS = {"cross_entropy of probabilities": [[0.25, 0.5, 0.25]], "hinge": [[-1.0]]}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", LOSSES)
def test_losses_and_slopes_of_extreme_numbers_are_the_twins(variant, dtype):
    """Row by row, so that a loss beyond the range of the dtype stays its own; differences of logits keep within it."""
    loss, parameters = LOSSES[variant]
    output = output_of(variant) if loss in LOGIT_OUTPUTS else "identity"
    units = 3 if variant in OF_CLASSES else 1
    spec = Spec((units, units), (output,), variant, (False,))
    net, layers = through_identity(output, loss_object(spec), dtype, units)
    t = np.array(TARGETS.get(variant, [1] if variant in OF_CLASSES else [[0.5]]))
    for (number,) in extremes(dtype):
        y = np.array([[number / 2.5, 0.0, -number / 2.5]] if variant in OF_CLASSES else [[number]])
        with np.errstate(all="ignore"):
            value, _, slope = reference.loss_and_grad(layers, y, t, loss, **parameters)
            value, slope = np.array([[value]]).astype(dtype), slope.astype(dtype)
        assert not np.isnan(value), f"the twin is of no use at {y}"
        check_close("loss", np.array([[net.loss(y, t)]]).astype(dtype), value, y[:, :1], dtype)
        check_close("dL/dy", net.input_grad(y, t), slope, y, dtype)
