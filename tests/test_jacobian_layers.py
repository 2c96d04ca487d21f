"""jacobian, param_jacobian, per_sample_grads with activations, dropouts and norms between the Dense layers: against the
twin, torch, finite differences and one row's gradient at a time. All in evaluation mode.
"""

import itertools

import numpy as np
import pytest
from comparison import DTYPES, TOLERANCE, check, relative_error
from problems import vector_lanes
from reference_layers import Chain
from test_jacobian import check_that_only_out_is_written
from test_layers import CHAINS, A, D, data, linear, network

import fastbp as fb

ROWS = (1, 2, 3, 33, 257)
# A layer norm of two features is but a sign, and its derivative what is left of numbers that cancel, unless eps is as
# large as the variance.
LN, BN = fb.LayerNorm(0.5), fb.BatchNorm(1e-3)


def trained(net):
    """To running statistics, gamma and beta that are not those of the start."""
    rng = np.random.default_rng(net.n_outputs)
    net.params[:] += 0.3 * rng.standard_normal(net.n_params)
    X, y = data(net, 40)
    net.fit(X, y, epochs=2, batch_size=20, verbose=0)


def check_all(what, net, X, y, problem):
    """The three of them against the twin; per_sample_grads also against loss_and_grad of each row."""
    twin, dtype = Chain(net), net.dtype.name
    by_inputs, by_params = twin.jacobians(X.astype(float))
    rows = twin.per_sample_grads(X.astype(float), y)
    got = net.per_sample_grads(X, y)
    for name, result, want in (
        ("jacobian", net.jacobian(X), by_inputs),
        ("param_jacobian", net.param_jacobian(X), by_params),
        ("per_sample_grads", got, rows),
    ):
        assert result.shape == want.shape and result.dtype == dtype, problem
        check(f"{what}: {name}", dtype, relative_error(result, want), TOLERANCE[dtype], problem)
    if dtype == "float64":  # in float32 both have rounding of their own
        alone = np.stack([net.loss_and_grad(X[k : k + 1], y[k : k + 1])[1] for k in range(len(X))])
        check(f"{what}: rows alone", dtype, relative_error(got, alone), TOLERANCE[dtype], problem)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "rows"), [*(("mse", rows) for rows in ROWS), ("cross_entropy", 5)])
@pytest.mark.parametrize("chain", CHAINS)
def test_every_kind_of_layer_agrees_with_the_twin(chain, loss, rows, dtype):
    net = network(chain, 9, loss=loss, dtype=dtype)
    last = [W for W in net.weights if W is not None and W.ndim == 2][-1]
    last *= 0.1  # where a softmax is all but 1, z - z z has few digits in any arithmetic
    check_all("layers", net, *data(net, rows), f"{chain} rows={rows} {loss}")


BETWEEN = {
    "layer norm": (LN,),
    "batch norm": (BN,),
    "both": (BN, D(0.3), LN),
    "activations": (A("tanh"), D(0.1), A("sigmoid")),
    "softmax": (A("softmax"), BN),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("between", BETWEEN)
def test_first_and_last_layers_at_widths_around_vectors(between, dtype):
    """With a softmax at the end, a product more for each line that goes back, more outputs than inputs go from the
    inputs on; without it, and behind a norm that comes first, all go back."""
    lanes, layers = vector_lanes(dtype), BETWEEN[between]
    for n_in, n_out in itertools.product((2, lanes - 1, lanes, 2 * lanes + 1), repeat=2):
        n_in, n_out = max(n_in, 2), max(n_out, 2)
        for rows, first, last in itertools.product(
            (1, 6), ((), layers), ((), (A("tanh"),), (A("sigmoid"), A("softmax")))
        ):
            chain = [n_in, *first, fb.Dense(2 * lanes + 1, "tanh"), *layers, linear(n_out), *last]
            net = fb.Network(chain, loss="mse", dtype=dtype, seed=n_in)
            trained(net)
            check_all("layers, widths", net, *data(net, rows), f"{between} {chain} rows={rows}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), [(3, 300), (270, 3), (2, 260)])
def test_more_seeds_than_a_block_has_room_for(n_in, n_out, dtype):
    net = fb.Network([n_in, LN, 7, BN, A("silu"), LN, fb.Dense(n_out, "softmax")], loss="mse", dtype=dtype, seed=3)
    trained(net)
    for rows in (1, 2, 9):
        check_all("layers, seeds", net, *data(net, rows), f"{n_in}-{n_out} rows={rows}")


@pytest.mark.parametrize("chain", CHAINS)
def test_they_are_what_small_differences_show(chain):
    """No formula of a derivative takes part: central differences of predict and loss."""
    net = network(chain, 6)
    X, y = data(net, 4)
    step = 1e-6

    def differences(numbers, function):
        for k in range(numbers.shape[-1]):
            kept = numbers[..., k].copy()
            numbers[..., k] = kept + step
            ahead = function()
            numbers[..., k] = kept - step
            behind = function()
            numbers[..., k] = kept
            yield (ahead - behind) / (2 * step)

    def losses():
        return np.array([net.loss(X[k : k + 1], y[k : k + 1]) for k in range(4)])

    by_inputs, by_params, rows = net.jacobian(X), net.param_jacobian(X), net.per_sample_grads(X, y)
    for got, numbers, function in (
        (by_inputs, X, lambda: net.predict(X)),
        (by_params, net.params, lambda: net.predict(X)),
        (rows, net.params, losses),
    ):
        want = np.stack(list(differences(numbers, function)), axis=-1)
        # differences of numbers of about 1 keep ten digits at this step
        assert relative_error(got, want) < 1e-8, chain


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 23])
def test_they_are_torchs(rows, dtype):
    torch = pytest.importorskip("torch")
    from test_torch_layers import data as torch_data
    from test_torch_layers import pair

    net, model = pair(dtype)
    rng = np.random.default_rng(1)
    for k, module in ((0, model[0]), (2, model[2])):
        net.running_means[k][:] = rng.standard_normal(len(net.running_means[k]))
        net.running_vars[k][:] = rng.uniform(0.3, 2, len(net.running_vars[k]))
        module.running_mean[:] = torch.tensor(net.running_means[k])
        module.running_var[:] = torch.tensor(net.running_vars[k])
    model.eval()
    X, y = torch_data(dtype, rows)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    vmap, grad, jacrev, call = torch.func.vmap, torch.func.grad, torch.func.jacrev, torch.func.functional_call

    def outputs(parameters, x):
        return call(model, parameters, (x[None],))[0]

    def loss(parameters, x, t):
        return ((outputs(parameters, x) - t) ** 2).mean()

    def flat(tensors, lead):
        return np.concatenate([v.reshape(*lead, -1).numpy() for v in tensors.values()], axis=-1)

    x, t, by_loss = torch.tensor(X), torch.tensor(y), vmap(grad(loss), (None, 0, 0))
    for name, got, want in (
        ("jacobian", net.jacobian(X), vmap(jacrev(outputs, 1), (None, 0))(parameters, x).numpy()),
        ("param_jacobian", net.param_jacobian(X), flat(vmap(jacrev(outputs), (None, 0))(parameters, x), (rows, 4))),
        ("per_sample_grads", net.per_sample_grads(X, y), flat(by_loss(parameters, x, t), (rows,))),
    ):
        assert got.shape == want.shape
        error = relative_error(got, want.astype(float))
        check(f"torch, layers: {name}", dtype, error, TOLERANCE[dtype], f"rows={rows}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), [(40, 5), (3, 60)])
def test_the_bits_are_the_same_on_any_number_of_threads(n_in, n_out, dtype):
    layers = [
        n_in,
        LN,
        linear(200),
        BN,
        A("tanh"),
        D(0.2),
        LN,
        fb.Dense(130, "softmax"),
        BN,
        linear(n_out),
        A("softmax"),
    ]
    for rows in (1, 2, 33, 300):
        rng = np.random.default_rng(rows)
        X = rng.standard_normal((rows, n_in)).astype(dtype)
        y = rng.standard_normal((rows, n_out)).astype(dtype)
        for name in ("jacobian", "per_sample_grads", "param_jacobian"):
            bits = set()
            for threads in (1, 2, 3):
                net = fb.Network(layers, loss="mse", dtype=dtype, seed=3, threads=threads)
                if name == "param_jacobian" and rows * n_out * net.n_params > 1e7:
                    continue
                for _ in range(3):  # workers need time to wake
                    arguments = (X, y) if name == "per_sample_grads" else (X,)
                    bits.add(hash(getattr(net, name)(*arguments).tobytes()))
            assert len(bits) <= 1, f"{name} rows={rows} {dtype}"
            assert bits or name == "param_jacobian", f"{name} rows={rows}"


def test_nothing_outside_of_out_is_written():
    for n, dtype in itertools.product((1, 3, 9, 16), DTYPES):
        net = fb.Network([n, LN, BN, 5, BN, fb.Dense(n, "tanh")], loss="mse", dtype=dtype, seed=2)
        check_that_only_out_is_written(net, np.ones((7, n), dtype), np.ones((7, n), dtype))


def test_nothing_of_the_network_changes():
    net = network("all")
    X, y = data(net, 6)
    before = net.params.tobytes(), bytes(net._engine.running), net._engine.draws
    net.jacobian(X), net.param_jacobian(X), net.per_sample_grads(X, y)
    assert (net.params.tobytes(), bytes(net._engine.running), net._engine.draws) == before
    history = net.fit(X, y, epochs=1, batch_size=6, optimizer=fb.SGD(0.0), verbose=0)  # the workspace serves both
    twin = network("all").fit(X, y, epochs=1, batch_size=6, optimizer=fb.SGD(0.0), verbose=0)
    assert history.history["loss"] == twin.history["loss"]


class SumOfSquares:
    """Not a mean over rows."""

    def value_and_delta(self, outputs, targets):
        return float(((outputs - targets) ** 2).sum()), 2 * (outputs - targets)


def test_a_loss_object_of_ones_own_goes_with_any_layers():
    layers = [3, BN, 6, LN, A("tanh"), D(0.5), linear(2)]
    own = fb.Network(layers, loss=SumOfSquares(), output="identity", dtype="float64", seed=1)
    mean = fb.Network(layers, loss="mse", dtype="float64", seed=1)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    np.testing.assert_allclose(own.per_sample_grads(X, y), 2 * mean.per_sample_grads(X, y), rtol=1e-11, atol=1e-14)
