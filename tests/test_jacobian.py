"""jacobian, param_jacobian, per_sample_grads: against the twin, autograd and torch, at every boundary of the core."""

import itertools

import numpy as np
import oracle
import pytest
import reference
from comparison import DTYPES, TOLERANCE, check, gradient_error, relative_error
from passes import twin_layers
from problems import ACTIVATIONS, LOGIT_OUTPUTS, LOSSES, make_network, output_of, stable_seed, vector_lanes, wide_enough
from wellposed import KINKS, draw_well_posed

import fastbp as fb

ROWS = (1, 2, 3, 5, 257)
SMOOTH = [a for a in ACTIVATIONS if a not in KINKS and a != "exp"]


def check_jacobians(what, problem, dtype, want=None):
    """Both Jacobians of the core against (dz/dx, dz/dparams), the twin's unless given."""
    net = make_network(problem, dtype)
    X = problem.data(dtype)[0]
    want = reference.jacobians(twin_layers(problem, problem.params), problem.X) if want is None else want
    for name, wanted in zip(("jacobian", "param_jacobian"), want, strict=True):
        got = getattr(net, name)(X)
        assert got.shape == wanted.shape and got.dtype == dtype, problem
        check(f"{what}: {name}", dtype, relative_error(got, wanted), TOLERANCE[dtype], problem)


def check_rows(what, problem, dtype):
    """Each row of per_sample_grads against the twin, and their mean against the gradient of the whole."""
    net = make_network(problem, dtype)
    X, t, _ = problem.data(dtype)
    got = net.per_sample_grads(X, t)
    spec = problem.spec
    layers = twin_layers(problem, problem.params)
    want = reference.per_sample_grads(layers, problem.X, problem.t, spec.loss, **spec.loss_parameters)
    assert got.shape == (len(X), net.n_params) and got.dtype == dtype, problem
    check(f"{what}: per_sample_grads", dtype, relative_error(got, want), TOLERANCE[dtype], problem)
    whole = net.loss_and_grad(X, t)[1]
    error = gradient_error(got.mean(axis=0, dtype=float), np.asarray(whole, float), spec.layer_lengths)
    # in float32 the two sum in different orders what may cancel
    scale = np.linalg.norm(want, axis=1).mean() / max(np.linalg.norm(whole), np.finfo(float).tiny)
    check(f"{what}: mean of rows", dtype, error / max(1.0, scale), TOLERANCE[dtype], problem)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_jacobians_of_every_activation_are_autograds(activation, dtype):
    import autograd

    for sizes, output in itertools.product(
        ((5, 9, 8, 4), (2, 18, 7, 11)), dict.fromkeys(("identity", "softmax", activation))
    ):
        seed = stable_seed("jacobian", activation, output, sizes)
        problem = draw_well_posed(seed, sizes, (activation, activation, output), "mse", rows=3, dtype=dtype)

        def outputs(params, x, spec=problem.spec):
            return oracle.pre_activations(spec, params, x[None])[1][0]

        by_inputs, by_params = autograd.jacobian(outputs, 1), autograd.jacobian(outputs, 0)
        want = [np.stack([of(problem.params, x) for x in problem.X]) for of in (by_inputs, by_params)]
        check_jacobians("autograd", problem, dtype, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", LOSSES)
@pytest.mark.parametrize("rows", ROWS)
def test_rows_gradients_of_every_loss_are_the_twins(rows, variant, dtype):
    for sizes in ((3, 11, 5), (17, 6, 1), (1, 1, 2)):
        sizes = wide_enough(sizes, variant, ("tanh", output_of(variant)))
        for bias in (True, False):
            seed = stable_seed("rows", variant, rows, sizes, bias)
            activations = ("tanh", output_of(variant))
            problem = draw_well_posed(seed, sizes, activations, variant, rows=rows, bias=bias, dtype=dtype)
            check_rows("twin", problem, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_rows_gradients_of_every_activation_are_the_twins(activation, dtype):
    for output in ("identity", activation):
        seed = stable_seed("rows", activation, output)
        problem = draw_well_posed(seed, (4, 9, 18, 3), (activation, activation, output), "mse", rows=5, dtype=dtype)
        check_rows("twin", problem, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", ROWS)
def test_widths_around_vectors(rows, dtype):
    """More inputs than outputs go from the outputs back, more outputs than inputs from the inputs on."""
    lanes = vector_lanes(dtype)
    for inputs, outputs in itertools.product((1, lanes - 1, lanes, lanes + 1, 2 * lanes + 1), repeat=2):
        for hidden in ((), (2 * lanes + 1, lanes)):
            seed = stable_seed("widths", rows, inputs, outputs, hidden)
            rng = np.random.default_rng(seed)
            sizes = (inputs, *hidden, outputs)
            activations = [str(a) for a in rng.choice(SMOOTH, len(sizes) - 1)]
            sizes = wide_enough(sizes, "mse", activations)
            bias = bool(rng.integers(2))
            problem = draw_well_posed(seed, sizes, activations, "mse", rows=rows, bias=bias, dtype=dtype)
            check_jacobians("shapes", problem, dtype)
            check_rows("shapes", problem, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(3, 5, 300), (270, 3, 260), (2, 257, 2), (258, 3), (3, 258), (1, 1), (2, 3, 513)])
def test_more_seeds_than_a_block_has_room_for(sizes, dtype):
    for rows, output in itertools.product((1, 2, 9), ("identity", "softmax")):
        seed = stable_seed("seeds", sizes, rows, output)
        activations = (*["silu"] * (len(sizes) - 2), output)
        problem = draw_well_posed(
            seed, wide_enough(sizes, "mse", activations), activations, "mse", rows=rows, dtype=dtype
        )
        check_jacobians("shapes", problem, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "sizes",
    [(54, 128, 64, 7), (3, 200, 200, 90), (1030, 201, 1), (300, 517, 260, 3)],
    ids=lambda s: "-".join(map(str, s)),
)
def test_the_bits_are_the_same_on_any_number_of_threads(sizes, dtype):
    for rows in (1, 2, 33, 300):
        rng = np.random.default_rng(rows)
        X = rng.standard_normal((rows, sizes[0])).astype(dtype)
        y = rng.standard_normal((rows, sizes[-1])).astype(dtype)
        for name in ("jacobian", "per_sample_grads", "param_jacobian"):
            bits = set()
            for threads in (1, 2, 3, 4):
                activation = ["softmax", *["tanh"] * (len(sizes) - 3)]
                net = fb.Network(sizes, activation=activation, loss="mse", dtype=dtype, seed=3, threads=threads)
                lines = rows * (sizes[-1] if name == "param_jacobian" else 1)
                if name != "jacobian" and lines * net.n_params > 1e7:
                    continue
                for _ in range(3):  # workers need time to wake
                    arguments = (X, y) if name == "per_sample_grads" else (X,)
                    bits.add(hash(getattr(net, name)(*arguments).tobytes()))
            assert len(bits) <= 1, f"{name} {sizes} rows={rows} {dtype}"
            assert bits or rows > 2 or name == "param_jacobian", f"{name} {sizes} rows={rows}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", LOSSES)
def test_they_are_torchs(variant, dtype):
    torch = pytest.importorskip("torch")
    from test_torch import make_module, mean_loss

    vmap, grad, jacrev, call = torch.func.vmap, torch.func.grad, torch.func.jacrev, torch.func.functional_call
    seed = stable_seed("torch", variant)
    activations = ("gelu", "softmax", output_of(variant))
    problem = draw_well_posed(seed, (7, 19, 6, 4), activations, variant, rows=23, dtype=dtype)
    module, output = make_module(problem, dtype)
    X, t = (torch.tensor(a) for a in problem.data(dtype)[:2])
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def outputs(parameters, x):
        u = call(module, parameters, (x[None],))
        return output(u)[0] if LOSSES[variant][0] in LOGIT_OUTPUTS else u[0]

    def loss(parameters, x, t):
        return mean_loss(problem, call(module, parameters, (x[None],)), t[None])

    def flat(tensors, lead):
        return np.concatenate([v.reshape(*lead, -1).numpy() for v in tensors.values()], axis=-1)

    by_inputs = vmap(jacrev(outputs, 1), (None, 0))(parameters, X).numpy()
    by_params = flat(vmap(jacrev(outputs), (None, 0))(parameters, X), (23, 4))
    check_jacobians("torch", problem, dtype, (by_inputs, by_params))
    want = flat(vmap(grad(loss), (None, 0, 0))(parameters, X, t), (23,))
    got = make_network(problem, dtype).per_sample_grads(X.numpy(), t.numpy())
    check("torch: per_sample_grads", dtype, relative_error(got, want), TOLERANCE[dtype], problem)


def test_one_row_and_none():
    net = fb.Network([3, 4, 2], loss="mse", dtype="float64", seed=1)
    x, y = np.array([0.3, -1.0, 2.0]), np.array([0.0, 1.0])
    for name, arguments, shape in [
        ("jacobian", (x,), (2, 3)),
        ("param_jacobian", (x,), (2, net.n_params)),
        ("per_sample_grads", (x, y), (net.n_params,)),
    ]:
        call = getattr(net, name)
        one = call(*arguments)
        assert one.shape == shape, name
        np.testing.assert_array_equal(one, call(*(a[None] for a in arguments))[0])
        out = np.empty(shape)
        assert call(*arguments, out=out) is out
        np.testing.assert_array_equal(out, one)
        assert call(*(np.empty((0, len(a))) for a in arguments)).shape == (0, *shape), name


def test_the_target_of_one_row_may_be_a_label_or_a_number():
    X = np.array([[0.3, -1.0], [1.0, 2.0]])
    classes = fb.Network([2, 4, 3], dtype="float64", seed=1)
    np.testing.assert_array_equal(classes.per_sample_grads(X[1], 2), classes.per_sample_grads(X, [0, 2])[1])
    numbers = fb.Network([2, 4, 1], loss="huber", dtype="float64", seed=1)
    np.testing.assert_array_equal(numbers.per_sample_grads(X[1], 0.5), numbers.per_sample_grads(X, [0, 0.5])[1])


def test_out_may_share_memory_with_what_is_read():
    net = fb.Network([4, 4], loss="mse", bias=False, dtype="float64", seed=1)
    memory = np.random.default_rng(0).standard_normal((4, 16))
    X, y = memory[:, :4].copy(), memory[:, 4:8].copy()
    memory[0] = X.ravel()
    np.testing.assert_array_equal(
        net.per_sample_grads(memory[0].reshape(4, 4), y, out=memory), net.per_sample_grads(X, y)
    )
    want = net.jacobian(X[0])
    got = net.jacobian(X[0], out=net.weights[0])  # of a linear net: its weights
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(net.weights[0], want)


def check_that_only_out_is_written(net, X, y):
    for name, arguments in (("jacobian", (X,)), ("param_jacobian", (X,)), ("per_sample_grads", (X, y))):
        want = getattr(net, name)(*arguments)
        room = np.full(want.size + 128, 7, net.dtype)
        got = room[64:-64].reshape(want.shape)
        getattr(net, name)(*arguments, out=got)
        np.testing.assert_array_equal(got, want)
        assert (room[:64] == 7).all() and (room[-64:] == 7).all(), (name, net)


def test_nothing_outside_of_out_is_written():
    for sizes, dtype in itertools.product(((5, 9, 3), (3, 7, 6), (1, 1)), DTYPES):
        net = fb.Network(sizes, loss="mse", dtype=dtype, seed=2)
        check_that_only_out_is_written(net, np.ones((7, sizes[0]), dtype), np.ones((7, sizes[-1]), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [(9, 61, 33, 17, 2), (2100, 7, 1), (64, 64, 8)], ids=str)
def test_results_larger_than_the_caches_have_the_bits_of_small_ones(sizes, bias, dtype):
    """They are written past the caches, in whole vectors wherever a layer begins; x of more than 2048 are not."""
    nets = [fb.Network(sizes, loss="mse", bias=bias, dtype=dtype, seed=1, threads=t) for t in (1, 3)]
    rows = (1 << 24) // (nets[0].n_params * np.dtype(dtype).itemsize) + 2  # more than 16 MiB
    rng = np.random.default_rng(0)
    X, y = (rng.standard_normal((rows, n)).astype(dtype) for n in (sizes[0], sizes[-1]))
    pieces = [slice(k, k + 50) for k in range(0, rows, 50)]
    by_loss = np.concatenate([nets[0].per_sample_grads(X[k], y[k]) for k in pieces])
    by_params = np.concatenate([nets[0].param_jacobian(X[k]) for k in pieces])
    for net, offset in itertools.product(nets, (0, 1, 7)):
        for want, call in ((by_loss, lambda out, net=net: net.per_sample_grads(X, y, out=out)),
                           (by_params, lambda out, net=net: net.param_jacobian(X, out=out))):  # fmt: skip
            room = np.full(want.size + 128, 7, dtype)
            got = room[64 + offset : want.size + 64 + offset].reshape(want.shape)
            call(got)
            np.testing.assert_array_equal(got, want, err_msg=f"{sizes} {offset}")
            assert (room[: 64 + offset] == 7).all() and (room[want.size + 64 + offset :] == 7).all()


class SumOfSquares:
    """Not a mean over rows."""

    def value_and_delta(self, outputs, targets):
        assert len(outputs) == len(targets) == 1
        return float(((outputs - targets) ** 2).sum()), 2 * (outputs - targets)


def test_a_loss_object_of_ones_own_is_asked_row_by_row():
    own = fb.Network([3, 4, 2], loss=SumOfSquares(), output="identity", dtype="float64", seed=1)
    mean = fb.Network([3, 4, 2], loss="mse", dtype="float64", seed=1)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    np.testing.assert_allclose(own.per_sample_grads(X, y), 2 * mean.per_sample_grads(X, y), rtol=1e-12)
    np.testing.assert_allclose(own.per_sample_grads(X[0], y[0]), 2 * mean.per_sample_grads(X[0], y[0]), rtol=1e-12)


def test_reading_while_a_fit_is_under_way_sees_whole_steps():
    net = fb.Network([2, 8, 1], loss="mse", dtype="float64", seed=1)
    X, y = np.ones((4, 2)), np.zeros(4)
    seen = []
    net.fit(X, y, epochs=3, callbacks=lambda net, history: seen.append(net.jacobian(X[0])), verbose=0)
    assert len(seen) == 3 and not np.array_equal(seen[0], seen[1])
