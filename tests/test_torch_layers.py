"""Dropout, LayerNorm and BatchNorm against torch's modules of these names, at float64's and float32's precision."""

import numpy as np
import pytest
from comparison import DTYPES, TOLERANCE, check, gradient_error, relative_error
from reference_layers import kept

import fastbp as fb

torch = pytest.importorskip("torch")
nn = torch.nn


class Masked(nn.Module):
    """Dropout by the masks that fastbp draws."""

    def __init__(self, net, layer, width):
        super().__init__()
        self.net, self.layer, self.width = net, layer, width

    def forward(self, x):
        if not self.training:
            return x
        engine, p = self.net._engine, self.net.layers[self.layer].p
        mask = kept(engine.mask_key, engine.draws, self.layer, len(x), self.width, p)
        return x * torch.tensor(mask) / (1 - p)


def pair(dtype, seed=0):
    """A network, and the same as nn.Sequential at the same parameters."""
    net = fb.Network(
        [7, fb.BatchNorm(), 33, fb.BatchNorm(1e-4, 0.2), fb.Activation("tanh"), fb.Dropout(0.3),
         fb.Dense(17, "elu"), fb.LayerNorm(1e-3), fb.Dropout(0.1), fb.Dense(4, "identity")],
        loss="mse", dtype=dtype, seed=seed,
    )  # fmt: skip
    model = nn.Sequential(
        nn.BatchNorm1d(7), nn.Linear(7, 33), nn.BatchNorm1d(33, eps=1e-4, momentum=0.2), nn.Tanh(), Masked(net, 4, 33),
        nn.Linear(33, 17), nn.ELU(), nn.LayerNorm(17, eps=1e-3), Masked(net, 7, 17), nn.Linear(17, 4),
    ).to(getattr(torch, dtype))  # fmt: skip
    rng = np.random.default_rng(seed)
    net.params[:] += 0.2 * rng.standard_normal(net.n_params)
    nn.utils.vector_to_parameters(torch.tensor(net.params), model.parameters())
    return net, model


def data(dtype, rows, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 7)).astype(dtype), rng.standard_normal((rows, 4)).astype(dtype)


def lengths(net):
    sizes = (sum(a.size for a in pair if a is not None) for pair in zip(net.weights, net.biases, strict=True))
    return [n for n in sizes if n]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("rows", [3, 16, 257, 600])
def test_outputs_and_gradients_agree(rows, training, dtype):
    net, model = pair(dtype)
    X, y = data(dtype, rows)
    model.train(training)
    x = torch.tensor(X, requires_grad=True)
    loss = nn.functional.mse_loss(model(x), torch.tensor(y))
    loss.backward()
    gradient = torch.cat([p.grad.ravel() for p in model.parameters()]).numpy()
    problem = f"rows={rows} training={training}"
    got, flat = net.loss_and_grad(X, y, training=training)
    check("torch, layers: loss", dtype, relative_error(got, loss.item()), TOLERANCE[dtype], problem)
    error = gradient_error(flat.astype(float), gradient.astype(float), lengths(net))
    check("torch, layers: gradient", dtype, error, TOLERANCE[dtype], problem)
    error = relative_error(net.input_grad(X, y, training=training), x.grad.numpy().astype(float))
    check("torch, layers: input gradient", dtype, error, TOLERANCE[dtype], problem)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [16, 300])
def test_twenty_steps_agree_and_so_do_running_statistics_and_evaluation(rows, dtype):
    net, model = pair(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    for step in range(20):
        X, y = data(dtype, rows, step)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(torch.tensor(X)), torch.tensor(y)).backward()
        optimizer.step()
        net.fit(
            X, y, epochs=1, batch_size=rows, shuffle=False, verbose=0,
            optimizer=None if step else fb.SGD(0.05, momentum=0.9),
        )  # fmt: skip
    problem = f"rows={rows}"
    params = nn.utils.parameters_to_vector(model.parameters()).detach().numpy().astype(float)
    # twenty steps carry each other's rounding along
    check("torch, layers: 20 steps", dtype, relative_error(net.params, params), TOLERANCE[dtype], problem)
    for k, module in ((0, model[0]), (2, model[2])):
        for got, want in ((net.running_means[k], module.running_mean), (net.running_vars[k], module.running_var)):
            error = relative_error(got, want.numpy().astype(float))
            check("torch, running statistics", dtype, error, TOLERANCE[dtype], problem)
    model.eval()
    outputs = model(torch.tensor(X)).detach().numpy().astype(float)
    check("torch, layers: evaluation", dtype, relative_error(net.predict(X), outputs), TOLERANCE[dtype], problem)
