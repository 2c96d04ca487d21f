"""What optimisers do at the ends of their range, and that every option does something. See test_torch_optimizers.py."""

import pickle
from dataclasses import replace

import numpy as np
import optimizers
import pytest
from snapshot import all_finite, snapshot

import fastbp as fb

DTYPES = ("float32", "float64")
RNG = np.random.default_rng(8)
X = RNG.standard_normal((24, 5))
Y = RNG.standard_normal((24, 2))
KINDS = [
    fb.SGD(0.1),
    fb.SGD(0.1, momentum=0.99, nesterov=True),
    fb.Adam(),
    fb.AMSGrad(),
    fb.AdamW(),
    fb.NAdam(),
    fb.RMSprop(),
    fb.RMSprop(momentum=0.9),
    fb.RMSprop(centered=True),
    fb.RMSprop(momentum=0.9, centered=True),
    fb.Adagrad(),
    fb.Adagrad(lr_decay=0.1, initial_accumulator_value=0.1),
    fb.Rprop(),
]


def network(dtype="float64", **kwargs):
    return fb.Network([5, 8, 2], **{"activation": "tanh", "loss": "mse", "seed": 1, "dtype": dtype, **kwargs})


def steps(net, optimizer, n=1, X=X, Y=Y, **kwargs):
    return net.fit(
        X, Y, **{"epochs": n, "batch_size": len(X), "shuffle": False, "verbose": 0, **kwargs}, optimizer=optimizer
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e15])
@pytest.mark.parametrize("lr", [1e3, 1e10, 1e30])
@pytest.mark.parametrize(
    "penalties", [{}, {"clip_norm": 1.0, "l1": 1.0}, {"weight_decay": 1.0, "decay_bias": False}], ids=str
)
@pytest.mark.parametrize("optimizer", KINDS, ids=str)
def test_a_diverging_run_leaves_everything_finite(optimizer, penalties, lr, scale, dtype):
    optimizer = replace(optimizer, lr=lr, **penalties)
    net = network(dtype, activation="relu")
    try:
        steps(net, optimizer, 300, X=X * scale, Y=Y * scale)
    except fb.DivergedError:
        assert net.optimizer == optimizer
    assert all_finite(net)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("clip", [{}, {"clip_norm": 1.0}, {"clip_value": 1.0}], ids=str)
@pytest.mark.parametrize("optimizer", KINDS, ids=str)
def test_a_step_whose_gradient_is_not_finite_is_refused_whole(optimizer, clip, dtype):
    """Clipping could hide it: infinity scaled to a norm of 1, or cut off at 1."""
    net = network(dtype, activation="identity", loss="mae")
    steps(net, replace(optimizer, **clip), 2)
    net.params[:] = 0  # outputs, and so the loss, are 0
    net.weights[1][:] = 1e10
    huge = np.full(X.shape, np.finfo(dtype).max / 1e5)
    loss, gradient = net.loss_and_grad(huge, Y)
    assert np.isfinite(loss)
    assert not np.isfinite(gradient).all()
    before = snapshot(net)
    with pytest.raises(fb.DivergedError):
        steps(net, None, 1, X=huge)
    after = snapshot(net)
    assert {**after, "history": None} == {**before, "history": None}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", KINDS, ids=str)
def test_a_learning_rate_of_0_moves_nothing(optimizer, dtype):
    """But Rprop, whose smallest step is the smallest all the same, as in torch."""
    net = network(dtype)
    start = net.params.copy()
    steps(net, replace(optimizer, lr=0.0), 3)
    if isinstance(optimizer, fb.Rprop):
        np.testing.assert_allclose(np.abs(net.params - start).max(), 3e-6 * 1.2, rtol=0.3)
    else:
        assert (net.params == start).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", KINDS, ids=str)
def test_denormal_gradients_and_parameters_are_taken(optimizer, dtype):
    """Squares underflow to 0 then, and eps is what is divided by."""
    tiny = np.finfo(dtype).smallest_subnormal * 2.0**10
    net = network(dtype, activation="identity")
    net.params[:] = tiny
    steps(net, replace(optimizer, clip_norm=1.0, l1=float(tiny)), 3, X=np.full(X.shape, tiny), Y=np.full(Y.shape, tiny))
    assert all_finite(net)
    assert net._engine.steps == 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gradient_of_0_leaves_the_parameters(dtype):
    for optimizer in KINDS:
        net = network(dtype, activation="relu")
        net.params[:] = 0
        steps(net, optimizer, 3, Y=np.zeros(Y.shape))
        assert (net.params == 0).all(), optimizer


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_steady_gradient_leaves_no_variance_and_no_nan(dtype):
    """v - c^2 tends to 0 and may be rounded below it."""
    net = fb.Network([1, 1], output="identity", loss="mae", bias=False, dtype=dtype, init="zeros")
    steps(net, fb.RMSprop(1e-30, alpha=0.5, centered=True), 200, X=np.ones((1, 1)), Y=np.full((1, 1), 7.0))
    assert all_finite(net)
    assert net._engine.steps == 200


def test_sums_of_squares_end_within_the_range():
    """Of float32: a gradient of 1e18 or so a step, whose squares add up to more than it holds."""
    net = network("float32", activation="identity")
    optimizer = fb.Adagrad(1e-30, initial_accumulator_value=5e37)
    with pytest.raises(fb.DivergedError):
        steps(net, optimizer, 1000, X=X * 1e9, Y=Y * 1e9)
    assert all_finite(net)
    assert net._engine.steps > 0


@pytest.mark.parametrize("name", ["weight_decay", "l1", "clip_norm", "clip_value"])
@pytest.mark.parametrize("optimizer", KINDS, ids=str)
def test_every_option_changes_the_steps(optimizer, name):
    """In two of them at least: Rprop and the first steps of others go by the sign of the gradient alone."""
    plain, with_option = network(), network()
    plain.params[:] *= 3
    with_option.params[:] *= 3
    value = {"weight_decay": 0.5, "l1": 0.3, "clip_norm": 0.1, "clip_value": 0.01}[name]
    optimizer = replace(optimizer, weight_decay=0.0)
    steps(plain, optimizer, 20)
    steps(with_option, replace(optimizer, **{name: value}), 20)
    if isinstance(optimizer, fb.Rprop) and name.startswith("clip"):
        assert (plain.params == with_option.params).all()
    else:
        assert (plain.params != with_option.params).mean() > 0.5


@pytest.mark.parametrize("batch_size", [1, 6, 24])
@pytest.mark.parametrize("optimizer", [fb.SGD(0.1), fb.SGD(0.1, momentum=0.5), fb.AdamW(0.01), fb.RMSprop()], ids=str)
def test_biases_are_spared_from_penalties(optimizer, batch_size):
    """Inputs of 0 and a loss of slope 0 leave penalties alone to act."""
    net = network(activation="identity")
    net.params[:] = RNG.standard_normal(net.n_params)
    for k in range(2):
        net.biases[k][:] = 0
    net.weights[1][:] = 0
    before = net.copy()
    penalised = replace(optimizer, weight_decay=0.1, l1=0.01, decay_bias=False)
    steps(net, penalised, X=np.zeros(X.shape), Y=np.zeros(Y.shape), batch_size=batch_size)
    assert (np.abs(net.weights[0]) < np.abs(before.weights[0])).mean() > 0.9
    assert all((bias == 0).all() for bias in net.biases)
    net.biases[0][:] = 1
    steps(net, penalised, X=np.zeros(X.shape), Y=np.zeros(Y.shape), batch_size=batch_size)
    assert (net.biases[0] == 1).all()
    steps(net, replace(penalised, decay_bias=True), X=np.zeros(X.shape), Y=np.zeros(Y.shape), batch_size=batch_size)
    assert (net.biases[0] < 1).all()


@pytest.mark.parametrize("norm", [1e-3, 0.5, 1e3])
def test_the_step_of_sgd_is_as_long_as_the_clipped_gradient(norm):
    net = network()
    start, (_, gradient) = net.params.copy(), net.loss_and_grad(X, Y)
    steps(net, fb.SGD(1.0, clip_norm=norm))
    wanted = min(np.linalg.norm(gradient), norm * np.linalg.norm(gradient) / (np.linalg.norm(gradient) + 1e-6))
    np.testing.assert_allclose(np.linalg.norm(net.params - start), wanted, rtol=1e-12)


def test_rprop_takes_the_whole_data_in_one_batch_only():
    net = network()
    for kwargs in ({"batch_size": 23}, {"batch_size": 16, "validation_split": 0.25}):
        before = snapshot(net)
        with pytest.raises(
            ValueError, match=r"^batch_size: expected None or all (24|18) rows in one batch with Rprop, got "
        ):
            steps(net, fb.Rprop(), **kwargs)
        assert snapshot(net) == before
    steps(net, fb.Rprop(), batch_size=18, validation_split=0.25)
    steps(net, fb.Rprop(), batch_size=None)
    net.fit([(X, Y)], epochs=2, verbose=0)  # batches of an iterable are taken as they come
    assert net._engine.steps == 3
    with pytest.raises(ValueError, match="one batch"):  # also where it is the last one that continues
        net.partial_fit(X, Y, batch_size=8)


def test_an_optimizer_prints_what_is_not_by_default_and_comes_back_from_it():
    assert repr(fb.Adam()) == "Adam(lr=0.001)"
    assert repr(fb.AdamW(decay_bias=False, betas=[0.5, 0.75])) == "AdamW(lr=0.001, decay_bias=False, betas=(0.5, 0.75))"
    for optimizer in optimizers.ALL:
        assert eval(repr(optimizer), vars(fb)) == optimizer
        assert pickle.loads(pickle.dumps(optimizer)) == optimizer


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [*KINDS, *optimizers.FEW], ids=str)
def test_a_run_in_pieces_has_the_bits_of_one(optimizer, dtype):
    """Also by way of a pickle: states and NAdam's product of momenta go along."""
    whole, pieces = network(dtype), network(dtype)
    steps(whole, optimizer, 6)
    steps(pieces, optimizer, 2)
    steps(pieces, None, 1)
    pieces = pickle.loads(pickle.dumps(pieces))
    steps(pieces, None, 3)
    assert {**snapshot(pieces), "history": None} == {**snapshot(whole), "history": None}
