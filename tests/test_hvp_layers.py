"""The product with the Hessian of networks with Activation, Dropout, LayerNorm and BatchNorm."""

import autograd
import autograd.numpy as anp
import numpy as np
import oracle
import pytest
from comparison import DTYPES, TOLERANCE, check, relative_error
from problems import MeanSquare, stable_seed
from reference_layers import Chain
from snapshot import snapshot
from test_layers import BATCHES, CHAINS, WIDTHS, A, D, data, linear, network

import fastbp as fb
from fastbp import state

A_LOSS = ("mse", "huber", "poisson", "cross_entropy", "binary_cross_entropy")


def parts(net, v):
    """The parts of a vector that belong to W and b (gamma and beta) of each layer."""
    shapes = [None if a is None else a.shape for pair in zip(net.weights, net.biases, strict=True) for a in pair]
    views = state.views(v, shapes)
    return list(zip(views[::2], views[1::2], strict=True))


def by_twin(net, X, y, v, w=None):
    return Chain(net).hvp(X.astype(float), y, parts(net, v), w)


def logits_and_outputs(net, params, X):
    """y and z of the last layer, in evaluation mode, written for autograd."""
    for k, (layer, (W, b)) in enumerate(zip(net.layers, parts(net, params), strict=True)):
        y = X
        if isinstance(layer, fb.Dense):
            y = anp.dot(X, W.T) + (0 if b is None else b)
        elif isinstance(layer, fb.LayerNorm):
            centred = X - anp.mean(X, axis=1, keepdims=True)
            y = W * centred / anp.sqrt(anp.mean(centred**2, axis=1, keepdims=True) + layer.eps) + b
        elif isinstance(layer, fb.BatchNorm):
            mean, variance = (a.astype(float) for a in (net.running_means[k], net.running_vars[k]))
            y = W * (X - mean) / anp.sqrt(variance + layer.eps) + b
        X = oracle.ACTIVATIONS[layer.activation](y)
    return y, X


def by_autograd(net, X, y, v, w=None):
    w = np.ones(len(X)) if w is None else w.astype(float)
    y = y if y.dtype.kind == "i" else y.astype(float)

    def objective(params):
        logits, outputs = logits_and_outputs(net, params, X.astype(float))
        rows = oracle.LOSSES[net.objective.name](logits, outputs, y, net.objective.parameter)
        return anp.sum(w * rows) / np.sum(w)

    gradient = autograd.grad(objective)
    return autograd.grad(lambda p: anp.dot(gradient(p), v))(net.params.astype(float))


def draw(net, rows, seed, weighted=False):
    """X, y, weights and a direction, of numbers of the network's dtype."""
    X, y = data(net, rows, seed)
    if net.objective.name in ("poisson", "binary_cross_entropy"):
        y = np.abs(y) % 1
    rng = np.random.default_rng(seed + 1)
    w = rng.uniform(0.2, 2, rows).astype(net.dtype) if weighted else None
    return X, y, w, rng.standard_normal(net.n_params).astype(net.dtype)


def spread(net, X, y, w, v, want):
    """How far the answer moves, norm-wise, when parameters and inputs move by half an ULP."""
    other, rng = net.copy("float64"), np.random.default_rng(3)
    half = np.finfo(net.dtype).eps / 2
    other.params[:] *= 1 + half * rng.choice((-1, 1), net.n_params)
    return relative_error(by_twin(other, X * (1 + half * rng.choice((-1, 1), X.shape)), y, v, w), want)


def compare(chain, n, rows, loss="mse", dtype="float64", weighted=False):
    """With the twin, and that with autograd; the first seed whose answer the dtype determines (wellposed.py)."""
    first = stable_seed("hvp", chain, n, rows, loss) % 1000
    for seed in range(first, first + 100):
        net = network(chain, n, loss=loss, dtype=dtype, seed=seed)
        X, y, w, v = draw(net, rows, seed, weighted)
        want = by_twin(net, X, y, v.astype(float), w)
        if spread(net, X, y, w, v.astype(float), want) <= TOLERANCE[dtype] / 20:
            break
    else:
        raise AssertionError(f"no well-posed problem found: {chain} n={n} rows={rows} {loss}")
    problem = f"{chain} n={n} rows={rows} {loss} seed={seed}"
    again = by_autograd(net, X, y, v.astype(float), w)
    check("hvp, layers: twin, autograd", "float64", relative_error(again, want), 1e-12, problem)
    got = net.hvp(X, y, v, sample_weight=w)
    assert (got.shape, got.dtype) == (v.shape, np.dtype(dtype)), problem
    check("hvp, layers: twin", dtype, relative_error(got, want), TOLERANCE[dtype], problem)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", BATCHES)
@pytest.mark.parametrize("chain", CHAINS)
def test_every_batch_size(chain, rows, dtype):
    if chain == "layer norm" and dtype == "float32" and rows > 100:
        pytest.skip("the four features of a row lie so close together that float32 does not determine the answer")
    compare(chain, 9, rows, dtype=dtype, weighted=rows % 2 == 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", WIDTHS)
@pytest.mark.parametrize("chain", CHAINS)
def test_every_width(chain, n, dtype):
    if chain == "layer norm" and n == 1:
        pytest.skip("a layer norm of one feature is its beta")
    for rows in (3, 33):
        compare(chain, n, rows, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", A_LOSS)
@pytest.mark.parametrize("chain", CHAINS)
def test_every_kind_of_loss(chain, loss, dtype):
    if loss not in ("mse", "huber") and network(chain).layers[-1].activation == "softmax":
        pytest.skip("the outputs are the chain's own")
    compare(chain, 9, 40, loss, dtype, weighted=True)


def test_a_layer_norm_of_one_feature_is_its_bias():
    """The rest of the network is as good as cut off from what lies before it."""
    net = fb.Network([3, linear(1), fb.LayerNorm(), fb.Dense(2, "tanh")], loss="mse", dtype="float64", seed=0)
    X, y, _, v = draw(net, 6, 0)
    product = parts(net, net.hvp(X, y, v))
    assert not product[0][0].any() and not product[0][1].any() and product[1][0] == 0
    assert product[1][1] != 0


def test_an_activation_alone_is_that_of_its_dense_layer():
    """To the bit, the last one included, where the loss is computed from what goes in."""
    nets = [
        fb.Network(layers, loss="cross_entropy", dtype="float64", seed=4)
        for layers in (
            [5, fb.Dense(9, "gelu"), fb.Dense(3, "softmax")],
            [5, linear(9), A("gelu"), linear(3), A("softmax")],
        )
    ]
    nets[1].params[:] = nets[0].params
    X, y, w, v = draw(nets[0], 50, 1, weighted=True)
    assert nets[0].hvp(X, y, v, w).tobytes() == nets[1].hvp(X, y, v, w).tobytes()


def test_dropout_is_not_there():
    nets = [fb.Network(layers, dtype="float64", seed=4) for layers in ([5, 8, 3], [5, D(0.5), 8, D(0.2), 3])]
    nets[1].params[:] = nets[0].params
    X, y, w, v = draw(nets[0], 50, 1, weighted=True)
    assert nets[0].hvp(X, y, v, w).tobytes() == nets[1].hvp(X, y, v, w).tobytes()


def torch_product(net, X, y, v):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    functions = {"identity": lambda y: y, "gelu": F.gelu, "softmax": lambda y: torch.softmax(y, 1)}
    functions |= {name: getattr(F, name) for name in ("relu", "tanh", "sigmoid", "silu", "softplus", "elu")}
    t = torch.tensor(y)

    def loss(flat):
        z = torch.tensor(X)
        at = 0

        def take(view):
            nonlocal at
            at += view.size
            return flat[at - view.size : at].reshape(view.shape)

        for k, layer in enumerate(net.layers):
            W, b = (None if view is None else take(view) for view in (net.weights[k], net.biases[k]))
            if isinstance(layer, fb.Dense):
                z = F.linear(z, W, b)
            elif isinstance(layer, fb.LayerNorm):
                z = F.layer_norm(z, z.shape[1:], W, b, layer.eps)
            elif isinstance(layer, fb.BatchNorm):
                mean, variance = (torch.tensor(a) for a in (net.running_means[k], net.running_vars[k]))
                z = F.batch_norm(z, mean, variance, W, b, training=False, eps=layer.eps)
            z = functions[layer.activation](z)
        return ((z - t) ** 2).mean()  # not F.mse_loss, whose second derivative fails beside such targets (torch 2.x)

    gradient = torch.func.grad(loss)
    return torch.func.jvp(gradient, (torch.tensor(net.params),), (torch.tensor(v),))[1].numpy()


@pytest.mark.parametrize("rows", [1, 30, 300])
@pytest.mark.parametrize("chain", CHAINS)
def test_the_product_is_torchs_derivative_of_its_gradient(chain, rows):
    net = network(chain, 11, seed=7)
    X, y, _, v = draw(net, rows, 7)
    want = torch_product(net, X, y, v)
    check("hvp, layers: torch", "float64", relative_error(net.hvp(X, y, v), want), 1e-12, f"{chain} rows={rows}")


@pytest.mark.parametrize("rows", [2, 40])
@pytest.mark.parametrize("chain", CHAINS)
def test_the_product_is_the_limit_of_differences_of_the_gradient(chain, rows):
    net = network(chain, 8, seed=5)
    X, y, _, v = draw(net, rows, 5)
    product, start, h = net.hvp(X, y, v), net.params.copy(), 1e-4
    ahead = []
    for k in (-2, -1, 1, 2):
        net.params[:] = start + k * h * v
        ahead.append(net.loss_and_grad(X, y)[1])
    difference = (8 * (ahead[2] - ahead[1]) - (ahead[3] - ahead[0])) / (12 * h)
    # h^4 f^(6) / 30 of cutting off, 1e-16 / h of rounding: some 1e-11 of gradients of size 1
    check("hvp, layers: differences", "float64", relative_error(product, difference), 1e-9, f"{chain} rows={rows}")


@pytest.mark.parametrize("chain", ["all", "layer norm", "batch norm"])
def test_the_hessian_is_symmetric_and_the_product_linear(chain):
    net = network(chain, 12)
    X, y, _, v = draw(net, 25, 2)
    u = np.random.default_rng(8).standard_normal(net.n_params)
    Hu, Hv = net.hvp(X, y, u), net.hvp(X, y, v)
    assert u @ Hv == pytest.approx(v @ Hu, rel=1e-12)
    check("hvp: linear", "float64", relative_error(net.hvp(X, y, 3 * u - 0.5 * v), 3 * Hu - 0.5 * Hv), 1e-13, chain)
    assert not net.hvp(X, y, np.zeros(net.n_params)).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chain", CHAINS)
def test_threads_do_not_change_a_bit(chain, dtype):
    for n, rows in ((65, 2100), (300, 700), (300, 3)):
        bits = set()
        for threads in (1, 2, 3):
            net = network(chain, n, dtype=dtype, threads=threads)
            X, y, w, v = draw(net, rows, 0, weighted=True)
            bits.add(net.hvp(X, y, v, w).tobytes())
        assert len(bits) == 1, f"{chain} {n} rows={rows} {dtype}"
    assert network("all", 300, threads=3)._engine.threads_for(700) == 3


def test_calls_of_other_kinds_between_leave_no_trace():
    net = network("all", 9)
    X, y, _, v = draw(net, 300, 0)
    want = net.hvp(X, y, v).tobytes()
    for rows in (1, 4, 700):
        net.hvp(*draw(net, rows, 1)[:2], v)
        net.loss_and_grad(*draw(net, max(rows, 2), 1)[:2], training=True)
        assert net.hvp(X, y, v).tobytes() == want


def test_the_network_stays_as_it_was():
    net = network("all", 9)
    X, y, _, v = draw(net, 20, 0)
    before = snapshot(net)
    net.hvp(X, y, v)
    assert snapshot(net) == before


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chain", CHAINS)
def test_a_loss_object_gives_what_the_built_in_loss_does(chain, dtype):
    net = network(chain, 9, dtype=dtype)
    own = fb.Network(CHAINS[chain](9), loss=MeanSquare(), dtype=dtype)
    own.params[:] = net.params
    np.asarray(own._engine.running)[:] = np.asarray(net._engine.running)
    X, y, _, v = draw(net, 300, 0)
    assert relative_error(own.hvp(X, y, v), net.hvp(X, y, v).astype(float)) <= TOLERANCE[dtype] / 10
