"""net.trace through layers other than Dense: names and order, formulas evaluated, the same numbers as other calls."""

import numpy as np
import pytest
from comparison import DTYPES, check, relative_error
from test_trace import WORDS, as_python, parse

import fastbp as fb

LISTS = {
    "norms": [5, fb.BatchNorm(1e-3), 9, fb.LayerNorm(), fb.Activation("tanh"), 17, fb.LayerNorm(0.1), 3],
    "activations": [4, fb.Activation("gelu"), 8, fb.Activation("softmax"), fb.Activation("silu"), 2],
    "dropout": [3, fb.Dropout(0.5), fb.Dense(7, "elu"), fb.Dropout(0.2), 3],
    "output": [3, 8, fb.Activation("tanh"), 3, fb.BatchNorm(), fb.Activation("softmax")],
}


def traced(case, loss, dtype="float64"):
    """A network away from its start, its trace, the sample and its target."""
    layers = LISTS[case]
    if case == "output" and loss != "cross_entropy":
        layers = [*layers[:-1], fb.Activation("sigmoid")]
    net = fb.Network(layers, loss=loss, dtype=dtype, seed=1)
    rng = np.random.default_rng(1)
    net.params[:] += 0.3 * rng.standard_normal(net.n_params)
    for mean, variance in zip(net.running_means, net.running_vars, strict=True):
        if mean is not None:
            mean[:], variance[:] = rng.standard_normal(mean.shape), rng.uniform(0.5, 2, mean.shape)
    x = rng.standard_normal(net.n_inputs).astype(dtype)
    y = 1 if loss == "cross_entropy" else rng.random(net.n_outputs).astype(dtype)
    return net, net.trace(x, y), x, y


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("case", LISTS)
def test_every_formula_gives_its_numbers(case, loss):
    net, trace, _, y = traced(case, loss)
    words = WORDS | {"net": net, "y": y, "one_hot": lambda c: np.eye(net.n_outputs)[c]}
    earlier = {}
    for name, array in trace.arrays.items():
        if name != "x":
            value = eval(as_python(trace.formulas[name], earlier), words | {"a": earlier})
            error = relative_error(np.broadcast_to(value, array.shape), array)
            check("formula", "float64", error, 1e-12, f"{case} {loss}: {name} = {trace.formulas[name]}")
        earlier[name] = array


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("case", LISTS)
def test_the_trace_agrees_with_the_other_calls(case, loss, dtype):
    net, trace, x, y = traced(case, loss, dtype)
    arrays, rounding = trace.arrays, 64 * np.finfo(dtype).eps
    X, Y = x[None], np.array([y])
    value, gradient = net.loss_and_grad(X, Y)
    parts = [(f"dL/d{letter}{k + 1}", kind[k]) for k in range(len(net.layers))
             for letter, kind in (("W" if isinstance(net.layers[k], fb.Dense) else "g", net.weights), ("b", net.biases))
             if kind[k] is not None]  # fmt: skip
    got = np.concatenate([arrays[name].ravel() for name, _ in parts])
    assert [arrays[name].shape for name, _ in parts] == [array.shape for _, array in parts]
    assert abs(arrays["L"] - value) <= rounding * abs(value)
    assert relative_error(got, gradient.astype(float)) <= rounding
    assert relative_error(arrays["dL/dx"], net.input_grad(X, Y)[0].astype(float)) <= rounding
    assert relative_error(arrays[f"z{len(net.layers)}"], net.predict(x).astype(float)) <= rounding


def test_names_come_in_the_order_of_computation():
    _, trace, _, _ = traced("output", "cross_entropy")
    assert {name: array.shape for name, array in trace.arrays.items()} == {
        "x": (3,), "W1": (8, 3), "b1": (8,), "W3": (3, 8), "b3": (3,), "g4": (3,), "b4": (3,), "m4": (3,), "v4": (3,),
        "t": (3,), "y1": (8,), "z1": (8,), "z2": (8,), "y3": (3,), "z3": (3,), "n4": (3,), "z4": (3,), "z5": (3,),
        "L": (),
        "dL/dz4": (3,), "dL/dg4": (3,), "dL/db4": (3,), "dL/dn4": (3,),
        "dL/dz3": (3,), "dz3/dy3": (3,), "dL/dy3": (3,), "dL/dW3": (3, 8), "dL/db3": (3,), "dL/dz2": (8,),
        "dz2/dz1": (8,), "dL/dz1": (8,), "dz1/dy1": (8,), "dL/dy1": (8,), "dL/dW1": (8, 3), "dL/db1": (8,),
        "dL/dx": (3,),
    }  # fmt: skip
    names = list(trace.arrays)
    assert names.index("dL/dz4") == names.index("L") + 1 < names.index("dL/dn4") < names.index("dL/dz3")
    assert "the loss comes from z4, and dL/dz4 in one step" in trace.text()
    assert "g <- g - alpha dL/dg" in trace.text()


@pytest.mark.parametrize("case", LISTS)
def test_the_graph_has_an_arrow_for_every_array_in_a_formula(case):
    _, trace, _, _ = traced(case, "mse")
    nodes, edges, stacks = parse(trace.to_dot())
    assert list(nodes) == list(trace.arrays)
    assert sorted(name for stack in stacks for name in stack) == sorted(nodes)
    order = list(nodes)
    assert all(order.index(source) < order.index(target) for source, target in edges)
    without = set(nodes) - {target for _, target in edges}
    given = {name for name in nodes if name in ("x", "t") or name[0] in "Wgbmv"}
    assert without == given | {name for name in nodes if trace.formulas[name] == "1"}
