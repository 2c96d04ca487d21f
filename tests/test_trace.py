"""net.trace: names, order, shapes; every number against the twin; every printed formula evaluated; the graph parsed."""

import copy
import math
import re
import shutil
import subprocess

import numpy as np
import pytest
import reference
from comparison import check, relative_error
from problems import ACTIVATIONS, LOGIT_OUTPUTS, LOSSES, draw_problem, draw_sizes, make_network, stable_seed

import fastbp as fb

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
DTYPES = tuple(TOLERANCE)
KINKED = ("relu", "leaky_relu", "selu", "hard_sigmoid")  # beside a kink float32 may stand on the other side
FROM_OUTPUTS = [v for v in LOSSES if LOSSES[v][0] not in LOGIT_OUTPUTS]
FROM_LOGITS = [v for v in LOSSES if LOSSES[v][0] in LOGIT_OUTPUTS]

# activation, loss, and the place of the activation: every one in a hidden layer under every loss, every one under every
# loss that is computed from outputs, and logits as outputs
CASES = [(a, v, "hidden") for a in ACTIVATIONS for v in LOSSES]
CASES += [(a, v, "output") for a in ACTIVATIONS for v in FROM_OUTPUTS]
CASES += [("identity", v, "output") for v in FROM_LOGITS]


def one_row(activation, variant, place, dtype):
    """A problem of one sample; depth, widths and biases follow from the case."""
    seed = stable_seed("trace", activation, variant, place)
    rng = np.random.default_rng(seed)
    depth = int(rng.integers(2, 4)) if place == "hidden" else int(rng.integers(1, 4))
    if place == "hidden":
        activations = [activation] * (depth - 1) + [LOGIT_OUTPUTS.get(LOSSES[variant][0], "identity")]
    else:
        activations = ["tanh"] * (depth - 1) + [activation]
    sizes = draw_sizes(rng, depth, variant, activations)
    biases = tuple(bool(b) for b in rng.integers(0, 2, depth))
    return draw_problem(seed, sizes, activations, variant, rows=1, bias=biases, dtype=dtype)


def twin_trace(problem):
    """The arrays of a trace by name, from the twin's functions."""
    spec, n = problem.spec, len(problem.spec.activations)
    layers = reference.as_layers(problem.params, spec.sizes, spec.activations, spec.biases)
    steps = reference.forward(layers, problem.X)
    t, width = problem.t, spec.sizes[-1]
    if t.ndim == 1:
        t = np.eye(width)[t] if t.dtype.kind == "i" else t[:, None]
    if spec.loss == "cross_entropy":
        t = (1 - spec.parameter) * t + spec.parameter / width
    arrays = {"x": problem.X[0], "t": t[0]}
    for k, ((W, b, _), (_, y, z)) in enumerate(zip(layers, steps, strict=True), 1):
        arrays |= {f"W{k}": W, f"y{k}": y[0], f"z{k}": z[0]}
        if b is not None:
            arrays[f"b{k}"] = b
    from_logits = spec.loss in reference.LOGIT_LOSSES
    losses, d = reference.LOSSES[spec.loss](steps[-1][1 if from_logits else 2], problem.t, **spec.loss_parameters)
    arrays["L"] = losses[0]
    for k in range(n, 0, -1):
        W, b, activation = layers[k - 1]
        x, y, z = steps[k - 1]
        if k < n or not from_logits:
            arrays[f"dL/dz{k}"] = d[0]
            if activation == "softmax":
                arrays[f"dz{k}/dy{k}"] = np.diag(z[0]) - np.outer(z[0], z[0])
            else:
                arrays[f"dz{k}/dy{k}"] = np.broadcast_to(reference.ACTIVATIONS[activation][1](y[0]), y[0].shape)
            d = reference.activation_backward(activation, y, z, d)
        arrays[f"dL/dy{k}"] = d[0]
        arrays[f"dL/dW{k}"] = np.outer(d[0], x[0])
        if b is not None:
            arrays[f"dL/db{k}"] = d[0]
        d = d @ W
    arrays["dL/dx"] = d[0]
    return arrays


def trace_of(problem, dtype):
    return make_network(problem, dtype).trace(problem.X[0], problem.t[0])


def kind_of(name):
    """The name without layer numbers, for the summary of the worst errors."""
    return re.sub(r"\d", "", name)


@pytest.mark.parametrize(
    ("activation", "variant", "place", "dtype"),
    [(*case, dtype) for dtype in DTYPES for case in CASES if dtype == "float64" or case[0] not in KINKED],
)
def test_every_number_is_the_twins(activation, variant, place, dtype):
    problem = one_row(activation, variant, place, dtype)
    got, want = trace_of(problem, dtype).arrays, twin_trace(problem)
    assert got.keys() == want.keys(), str(problem)
    for name, array in got.items():
        assert array.shape == want[name].shape, (name, str(problem))
        assert array.dtype == ("float64" if name == "L" else dtype), (name, str(problem))
        check(f"trace: {kind_of(name)}", dtype, relative_error(array, want[name]), TOLERANCE[dtype], problem)


def as_python(formula, names):
    """A formula of a trace as a Python expression, its arrays in a dict `a`; abbreviations after `;` are put in."""
    body, *definitions = formula.split("; ")
    for definition in definitions:
        word, meaning = definition.split(" = ")
        body = re.sub(rf"\b{word}\b", lambda _, meaning=meaning: f"({meaning})", body)
    body = re.sub(r"(W\d+|\(\S+\))\^T (\S+)", r"\1.T @ \2", body)
    body = re.sub(r"(\S+) (\S+)\^T", r"outer(\1, \2)", body)
    body = re.sub(r"(W\d+) (x|z\d+)", r"\1 @ \2", body)
    alternatives = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    body = re.sub(rf"(?<![\w/.])({alternatives})(?![\w/])", r"a['\1']", body)
    return body.replace("^", "**")


WORDS = {name: getattr(np, name) for name in "abs diag exp log mean outer pi sign sqrt sum tanh where".split()} | {
    "max": np.maximum,
    "min": np.minimum,
    "erf": np.vectorize(math.erf),
    "sigmoid": reference.sigmoid,
    "softmax": lambda y: reference.softmax(y[None])[0],
}


@pytest.mark.parametrize(("activation", "variant", "place"), CASES)
def test_every_formula_gives_its_numbers(activation, variant, place):
    problem = one_row(activation, variant, place, "float64")
    net = make_network(problem, "float64")
    trace = net.trace(problem.X[0], problem.t[0])
    assert trace.formulas.keys() == trace.arrays.keys()
    words = WORDS | {"net": net, "y": problem.t[0], "one_hot": lambda c: np.eye(net.n_outputs)[c]}
    earlier = {}
    for name, array in trace.arrays.items():
        if name != "x":
            value = eval(as_python(trace.formulas[name], earlier), words | {"a": earlier})
            value = np.broadcast_to(value, array.shape)
            check(
                "formula", "float64", relative_error(value, array), 1e-12, f"{name} = {trace.formulas[name]}: {problem}"
            )
        earlier[name] = array


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", LOSSES)
@pytest.mark.parametrize("sizes", [(1, 2), (2, 3, 2), (17, 16, 15, 8), (300, 9, 70, 33)])
def test_the_trace_agrees_with_the_other_calls(sizes, variant, dtype):
    activations = ["silu"] * (len(sizes) - 2) + [LOGIT_OUTPUTS.get(LOSSES[variant][0], "softmax")]
    biases = [k % 2 == 0 for k in range(len(activations))]
    problem = draw_problem(stable_seed(sizes, variant), sizes, activations, variant, rows=1, bias=biases, dtype=dtype)
    net = make_network(problem, dtype)
    arrays = net.trace(problem.X[0], problem.t[0]).arrays
    loss, grad = net.loss_and_grad(problem.X, problem.t)
    got = []
    for k, bias in enumerate(problem.spec.biases, 1):
        got += [arrays[f"dL/dW{k}"].ravel()] + ([arrays[f"dL/db{k}"]] if bias else [])
    rounding = 16 * np.finfo(dtype).eps
    assert abs(arrays["L"] - loss) <= rounding * abs(loss), str(problem)
    assert relative_error(np.concatenate(got), grad.astype(float)) <= rounding, str(problem)
    assert relative_error(arrays["dL/dx"], net.input_grad(problem.X, problem.t)[0].astype(float)) <= rounding, str(
        problem
    )
    last = len(activations)
    assert relative_error(arrays[f"z{last}"], net.predict(problem.X)[0].astype(float)) <= rounding, str(problem)


def small_net(loss="mse", outputs=2, **kwargs):
    return fb.Network([3, 4, outputs], activation="tanh", loss=loss, seed=5, **kwargs)


def test_names_come_in_the_order_of_computation():
    net = fb.Network(
        [3, fb.Dense(4, "softmax"), fb.Dense(5, "relu", bias=False), fb.Dense(2, "tanh")], loss="mse", seed=0
    )
    assert {name: array.shape for name, array in net.trace([1, 2, 3], [0, 1]).arrays.items()} == {
        "x": (3,), "W1": (4, 3), "b1": (4,), "W2": (5, 4), "W3": (2, 5), "b3": (2,), "t": (2,),
        "y1": (4,), "z1": (4,), "y2": (5,), "z2": (5,), "y3": (2,), "z3": (2,), "L": (),
        "dL/dz3": (2,), "dz3/dy3": (2,), "dL/dy3": (2,), "dL/dW3": (2, 5), "dL/db3": (2,),
        "dL/dz2": (5,), "dz2/dy2": (5,), "dL/dy2": (5,), "dL/dW2": (5, 4),
        "dL/dz1": (4,), "dz1/dy1": (4, 4), "dL/dy1": (4,), "dL/dW1": (4, 3), "dL/db1": (4,), "dL/dx": (3,),
    }  # fmt: skip
    assert list(net.trace([1, 2, 3], [0, 1]).arrays) == [
        "x", "W1", "b1", "W2", "W3", "b3", "t", "y1", "z1", "y2", "z2", "y3", "z3", "L",
        "dL/dz3", "dz3/dy3", "dL/dy3", "dL/dW3", "dL/db3", "dL/dz2", "dz2/dy2", "dL/dy2", "dL/dW2",
        "dL/dz1", "dz1/dy1", "dL/dy1", "dL/dW1", "dL/db1", "dL/dx",
    ]  # fmt: skip


@pytest.mark.parametrize("loss", LOGIT_OUTPUTS)
@pytest.mark.parametrize("output", [None, "identity"])
def test_a_loss_from_logits_gives_dy_directly(loss, output):
    names = list(small_net(loss, output=output).trace([1, 2, 3], [0.5, 0.5]).arrays)
    after_loss = names[names.index("L") + 1 :]
    assert after_loss[:3] == ["dL/dy2", "dL/dW2", "dL/db2"]
    assert "dL/dz2" not in names


@pytest.mark.parametrize(
    ("loss", "outputs", "forms"),
    [
        ("mse", 1, [2, 2.0, np.float32(2), [2], [[2]], np.array([[2]], dtype=">i2")]),
        ("mse", 3, [[1, 2, 3], [[1, 2, 3]], np.array([1, 2, 3], "float16")]),
        ("cross_entropy", 3, [2, 2.0, [2], np.int8(2), [0, 0, 1], [[0, 0, 1]]]),
        ("hinge", 1, [-1, [-1], [[-1]]]),
        ("hinge", 3, [1, [1]]),
        ("hinge", 3, [[-1, 1, -1], [[-1, 1, -1]]]),
    ],
)
def test_every_form_of_a_sample_gives_the_same_trace(loss, outputs, forms):
    net = small_net(loss, outputs, dtype="float64")
    want = net.trace([1, 2, 3], forms[0]).arrays
    for x in ([[1, 2, 3]], np.arange(7.0)[1:4], np.array([3, 2, 1], ">f4")[::-1]):
        for y in forms:
            got = net.trace(x, y).arrays
            assert got.keys() == want.keys()
            for name in want:
                np.testing.assert_array_equal(got[name], want[name], err_msg=f"{name} of y={y!r}")


def test_smoothed_targets_are_shown_as_the_loss_takes_them():
    net = small_net(fb.CrossEntropy(label_smoothing=0.25), 2, dtype="float64")
    for y, t, formula in (
        (1, [0.125, 0.875], "(1 - 0.25) * one_hot(1) + 0.25 / 2"),
        ([0.5, 0.5], [0.5, 0.5], "(1 - 0.25) * y + 0.25 / 2"),
    ):
        trace = net.trace([1, 2, 3], y)
        np.testing.assert_allclose(trace.arrays["t"], t, rtol=1e-15)
        assert trace.formulas["t"] == formula


class Quartic:
    """Mean of (z - t)^4."""

    def value_and_delta(self, outputs, targets):
        self.seen = np.array(outputs), np.array(targets)
        return float(np.mean((outputs - targets) ** 4)), 4 * (outputs - targets) ** 3 / outputs.size


def test_a_loss_object_gives_value_and_delta():
    net = small_net(Quartic(), dtype="float64", output="sigmoid")
    x, t = [0.3, -1, 2], [0.25, -0.5]
    trace = net.trace(x, t)
    outputs, targets = net.objective.seen
    assert outputs.shape == targets.shape == (1, 2)
    z = net.predict(x)
    np.testing.assert_array_equal(trace.arrays["z2"], z)
    np.testing.assert_array_equal(trace.arrays["t"], t)
    assert trace.arrays["L"] == np.mean((z - t) ** 4)
    np.testing.assert_array_equal(trace.arrays["dL/dz2"], 4 * (z - t) ** 3 / 2)
    np.testing.assert_allclose(trace.arrays["dL/dx"], net.input_grad([x], [t])[0], rtol=1e-14)
    assert trace.formulas["dL/dz2"] == "Quartic.value_and_delta(z2, t)[1]"


@pytest.mark.parametrize(("y", "shape"), [(0.5, (1,)), ([0.5], (1,)), ([0.5, 1], (1, 2)), ([[0.5, 1]], (1, 2))])
def test_a_loss_object_gets_the_target_as_one_row(y, shape):
    net = small_net(Quartic())
    net.trace([0, 0, 0], y)
    assert net.objective.seen[1].shape == shape


class Broken:
    def __init__(self, returned):
        self.returned = returned

    def value_and_delta(self, outputs, targets):
        return self.returned


BAD = [
    # loss, outputs, x, y, error, message
    ("mse", 2, [1, 2], [0, 1], ValueError, r"^x: expected one sample of shape \(3,\) or \(1, 3\), got \(2,\)"),
    ("mse", 2, [[1, 2, 3]] * 2, [0, 1], ValueError, r"^x: .*got \(2, 3\)"),
    ("mse", 2, np.zeros((0, 3)), [0, 1], ValueError, r"^x: .*got \(0, 3\)"),
    ("mse", 2, np.zeros((1, 1, 3)), [0, 1], ValueError, r"^x: .*got \(1, 1, 3\)"),
    ("mse", 2, 1.0, [0, 1], ValueError, r"^x: .*got \(\)"),
    ("mse", 2, [1, np.nan, 3], [0, 1], ValueError, "^x: expected finite numbers, got nan .*column 1"),
    ("mse", 2, [1, 2, 1e300], [0, 1], ValueError, "^x: expected numbers in the range of float32, got 1e[+]300"),
    ("mse", 2, "abc", [0, 1], TypeError, "^x: expected an array of real numbers"),
    ("mse", 2, None, [0, 1], TypeError, "^x: expected an array of real numbers"),
    ("mse", 2, [1, [2], 3], [0, 1], ValueError, "^x: "),
    ("mse", 2, [1, 2j, 3], [0, 1], TypeError, "^x: expected an array of real numbers, got dtype complex128"),
    ("mse", 2, [1, 2, 3], 1.0, ValueError, r"^y: expected shape \(1, 2\)"),
    ("mse", 2, [1, 2, 3], [0, 1, 2], ValueError, r"^y: expected the target of one sample.*got \(3,\)"),
    ("mse", 2, [1, 2, 3], [[0, 1]] * 2, ValueError, r"^y: .*got \(2, 2\)"),
    ("mse", 2, [1, 2, 3], [[0], [1]], ValueError, r"^y: .*got \(2, 1\)"),
    ("mse", 2, [1, 2, 3], [], ValueError, r"^y: .*got \(0,\)"),
    ("mse", 2, [1, 2, 3], [0, np.inf], ValueError, "^y: expected finite numbers, got inf"),
    ("mse", 2, [1, 2, 3], "cat", TypeError, "^y: expected an array of real numbers"),
    ("mse", 2, [1, 2, 3], None, TypeError, "^y: expected an array of real numbers"),
    ("cross_entropy", 2, [1, 2, 3], 2, ValueError, "^y: expected class indices from 0 to 1, got 2"),
    ("cross_entropy", 2, [1, 2, 3], -1, ValueError, "^y: expected class indices from 0 to 1, got -1"),
    ("cross_entropy", 2, [1, 2, 3], 0.5, ValueError, "^y: expected class indices from 0 to 1, got 0.5"),
    ("cross_entropy", 2, [1, 2, 3], [0.5, 0.6], ValueError, "^y: expected probabilities that sum to 1"),
    ("binary_cross_entropy", 1, [1, 2, 3], 1.5, ValueError, r"^y: expected numbers in \[0, 1\]"),
    ("hinge", 1, [1, 2, 3], 0, ValueError, "^y: expected -1 or 1"),
    ("hinge", 2, [1, 2, 3], 5, ValueError, "^y: expected class indices"),
    ("poisson", 1, [1, 2, 3], -1, ValueError, "^y: expected counts >= 0"),
    (Quartic(), 2, [1, 2, 3], [[1, 2], [3, 4]], ValueError, "^y: expected 1 rows"),
    (Broken(3.0), 2, [1, 2, 3], [1, 2], TypeError, "^loss: expected Broken.value_and_delta to return a pair"),
    (Broken((0.0, [1.0])), 2, [1, 2, 3], [1, 2], ValueError, "^loss: .*of the outputs' shape"),
]


def state_of(net):
    state = copy.deepcopy(net.__getstate__())
    return {k: v.tobytes() if isinstance(v, np.ndarray) else repr(v) for k, v in state.items() if k != "objective"}


@pytest.mark.parametrize(("loss", "outputs", "x", "y", "error", "message"), BAD)
def test_bad_input_is_named_and_changes_nothing(loss, outputs, x, y, error, message):
    net = small_net(loss, outputs)
    before = state_of(net)
    with pytest.raises(error, match=message):
        net.trace(x, y)
    assert state_of(net) == before


@pytest.mark.parametrize("argument", ["precision", "threshold"])
def test_text_refuses_bad_options(argument):
    trace = small_net().trace([1, 2, 3], [0, 1])
    with pytest.raises(ValueError, match=f"^{argument}: expected an integer >= 0, got -1"):
        trace.text(**{argument: -1})
    with pytest.raises(TypeError, match=f"^{argument}: expected an integer"):
        trace.text(**{argument: 1.5})


def test_the_core_refuses_a_record_of_the_wrong_length():
    net = small_net("mse", dtype="float64")
    x, t = np.zeros((1, 3)), np.zeros((1, 2))
    length = 2 + (4 + 2) * 5 + net.n_params + 3
    net._engine.trace_row(x, t, 0, np.empty(length))
    for wrong in (length - 1, length + 1, 0):
        with pytest.raises(ValueError, match="expected a buffer"):
            net._engine.trace_row(x, t, 0, np.empty(wrong))
    net.fit(x, t, epochs=1, verbose=0)  # hangs if the refused calls still count as readers


def test_nothing_changes_and_training_goes_on_as_without_a_trace():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 3)), rng.standard_normal((20, 2))
    plain, traced = (small_net("mse", dtype="float64") for _ in range(2))
    for net in (plain, traced):
        net.fit(X, y, epochs=2, batch_size=8, optimizer=fb.Adam(0.01), verbose=0)
    x, t = X[0].copy(), y[0].copy()
    before = state_of(traced)
    trace = traced.trace(x, t)
    text = trace.text(), trace.to_dot()
    assert state_of(traced) == before
    np.testing.assert_array_equal(x, X[0])
    np.testing.assert_array_equal(t, y[0])
    for net in (plain, traced):
        net.fit(X, y, epochs=2, batch_size=8, verbose=0)
    np.testing.assert_array_equal(traced.params, plain.params)
    assert (trace.text(), trace.to_dot()) == text  # the numbers of then, not of now


def test_arrays_are_copies():
    net = small_net("mse", dtype="float64")
    x, t = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0])
    params = net.params.copy()
    first, second = net.trace(x, t).arrays, net.trace(x, t).arrays
    want = {name: array.copy() for name, array in second.items()}
    for array in first.values():
        array[...] = -1
    np.testing.assert_array_equal(net.params, params)
    np.testing.assert_array_equal(x, [1, 2, 3])
    np.testing.assert_array_equal(t, [0, 1])
    for name, array in second.items():
        np.testing.assert_array_equal(array, want[name], err_msg=name)


def test_one_row_of_a_loss_object_is_copied_too():
    y = np.array([[0.0, 1.0]])
    small_net(Quartic()).trace([1, 2, 3], y).arrays["t"][:] = -1
    np.testing.assert_array_equal(y, [[0, 1]])


def test_text_shows_every_name_formula_shape_and_number_in_order():
    trace = small_net("mse", dtype="float64").trace([0.5, -1, 2], [0, 1])
    text = trace.text()
    assert str(trace) == text
    at = -1
    for name, array in trace.arrays.items():
        head = f"{name} = {trace.formulas[name]}" if trace.formulas[name] else name
        found = re.compile(rf"^  {re.escape(head)} +{re.escape(str(array.shape))}  ", re.MULTILINE).search(text, at + 1)
        assert found, f"{head} missing after character {at} of\n{text}"
        at = found.start()
        for number in array.ravel():
            assert np.array2string(number, precision=6).strip() in text
    assert text.splitlines()[-1] == "  W <- W - alpha dL/dW,  b <- b - alpha dL/db"
    assert [line for line in text.splitlines() if line and line[0] != " "][1:] == [
        "Given",
        "Forward",
        "Backward",
        "Update",
    ]


def test_text_of_a_net_without_biases_has_none():
    text = str(small_net(bias=False).trace([1, 2, 3], [0, 1]))
    assert "dL/db" not in text
    assert text.endswith("\n  W <- W - alpha dL/dW")


def test_long_arrays_are_abbreviated_and_lines_stay_short():
    net = fb.Network([784, 128, 10], activation="gelu_tanh", loss="cross_entropy", seed=0)
    trace = net.trace(np.linspace(0, 1, 784), 3)
    text = trace.text()
    assert "..." in text
    assert len(text.splitlines()) < 120
    assert max(map(len, text.splitlines())) <= 120
    x = trace.arrays["x"]
    assert np.array2string(x, precision=6, threshold=40, edgeitems=3) in text
    assert "..." not in trace.text(threshold=10**6)


def test_repr_is_one_line():
    trace = small_net("mse").trace([1, 2, 3], [0, 1])
    assert re.fullmatch(r"<Trace of \d+ arrays, L = \S+, through <Network 3 - .*>>", repr(trace))


def parse(dot):
    """Nodes with their labels, edges that show, and stacks of a rank, of the DOT that a trace writes."""
    assert dot.startswith("digraph trace {\n")
    assert dot.endswith("}\n")
    name = r'"((?:[^"\\]|\\.)*)"'
    nodes, edges, stacks = {}, [], []
    for line in dot.splitlines()[1:-1]:
        line = line.strip()
        if node := re.fullmatch(rf"{name} \[label={name}, fillcolor=\"#[0-9a-f]{{6}}\"\];", line):
            assert node[1] not in nodes
            nodes[node[1]] = node[2]
        elif edge := re.fullmatch(rf"{name} -> {name}(?: \[[^\]]*\])?;", line):
            edges.append((edge[1], edge[2]))
        elif line.startswith("{"):
            stack = re.fullmatch(rf"\{{ rank=same; ({name}(?: -> {name})*)(?: \[style=invis\])?; \}}", line)
            assert stack, line
            stacks.append(re.findall(name, stack[1]))
        else:
            assert re.fullmatch(r"(rankdir=LR;.*|(node|edge) \[[^\]]*\];)", line), line
    return nodes, edges, stacks


class Named:
    """A loss whose name needs quoting in DOT."""

    def value_and_delta(self, outputs, targets):
        return 0.0, np.zeros_like(outputs)


Named.__name__ = 'A "quoted" \\ name'

GRAPHS = [*CASES[:: len(ACTIVATIONS)], ("softmax", "mse", "hidden"), ("gelu_tanh", "huber", "output")]


@pytest.mark.parametrize(("activation", "variant", "place"), GRAPHS)
def test_the_graph_has_a_node_for_each_array_and_an_arrow_for_each_dependence(activation, variant, place):
    problem = one_row(activation, variant, place, "float64")
    trace = trace_of(problem, "float64")
    nodes, edges, stacks = parse(trace.to_dot())
    assert list(nodes) == list(trace.arrays), str(problem)
    for name, label in nodes.items():
        assert label.startswith(f"{name} = " if trace.formulas[name] else f"{name}\\l"), str(problem)
        assert f"{trace.arrays[name].shape}\\l" in label, str(problem)
    assert sorted(name for stack in stacks for name in stack) == sorted(nodes), str(problem)
    assert len(edges) == len(set(edges)), str(problem)
    last = len(problem.spec.activations)
    order = list(nodes)
    for source, target in edges:
        assert order.index(source) < order.index(target), (source, target, str(problem))
    for k in range(1, last + 1):
        x = "x" if k == 1 else f"z{k - 1}"
        dx = "dL/dx" if k == 1 else f"dL/dz{k - 1}"
        assert {(x, f"y{k}"), (f"W{k}", f"y{k}"), (f"y{k}", f"z{k}"), (f"dL/dy{k}", f"dL/dW{k}"), (x, f"dL/dW{k}"),
                (f"dL/dy{k}", dx), (f"W{k}", dx)} <= set(edges), str(problem)  # fmt: skip
    without = set(nodes) - {target for _, target in edges}
    constants = {name for name in nodes if trace.formulas[name] == "1"}  # dz/dy of identity
    assert without == {name for name in nodes if name in ("x", "t") or name[0] in "Wb"} | constants, str(problem)


def test_the_graph_quotes_names():
    parse(small_net(Named()).trace([1, 2, 3], [0, 1]).to_dot())


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "hinge", Named()])
def test_graphviz_draws_the_graph_with_the_way_forward_from_left_to_right(loss):
    net = fb.Network([3, fb.Dense(4, "softmax"), fb.Dense(2, "gelu_tanh" if loss == "mse" else "identity")], loss=loss)
    trace = net.trace([1, 2, 3], [1, -1] if loss == "hinge" else [0, 1])
    drawn = subprocess.run(["dot", "-Tplain"], input=trace.to_dot(), capture_output=True, text=True, check=True)
    assert drawn.stderr == ""
    places = {}
    for line in drawn.stdout.splitlines():
        if found := re.match(r'node ("[^"]*"|\S+) (\S+) (\S+) ', line):
            places[found[1].strip('"')] = float(found[2]), float(found[3])
    chain = ["x", "y1", "z1", "y2", "z2", "L"]
    assert [places[name][0] for name in chain] == sorted(places[name][0] for name in chain)
    for partial, number in (("dL/dx", "x"), ("dL/dy1", "y1"), ("dL/dW1", "y1"), ("dL/dz1", "z1"), ("dL/dy2", "y2")):
        assert places[partial][1] < places[number][1], f"{partial} is not beneath {number}"
