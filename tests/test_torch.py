"""The network against torch: the same layout of parameters, losses, gradients, predictions and optimisers."""

import dataclasses

import numpy as np
import pytest
from comparison import check, gradient_error, relative_error
from problems import ACTIVATIONS, LOGIT_OUTPUTS, LOSSES, draw_problem, draw_sizes, make_network, stable_seed

import fastbp as fb

torch = pytest.importorskip("torch")
nn = torch.nn
F = torch.nn.functional

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
DTYPES = tuple(TOLERANCE)
# float32 may fall on the other side of a kink; test_gradients.py holds these to its tolerance with data chosen for it
KINKED = ("relu", "leaky_relu", "selu", "hard_sigmoid", "mae", "quantile", "hinge", "hinge of classes")
CASES = [
    (activation, variant, dtype)
    for activation in ACTIVATIONS
    for variant in LOSSES
    for dtype in DTYPES
    if dtype == "float64" or not {activation, variant} & set(KINKED)
]


class Exp(nn.Module):
    def forward(self, y):
        return torch.exp(y)


class HardSigmoid(nn.Module):
    """torch's own takes a derivative of 1/6 rounded to float32, in float64 too."""

    def forward(self, y):
        return torch.clamp(y / 6 + 0.5, 0, 1)


MODULES = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "softplus": lambda: nn.Softplus(threshold=1e9),
    "sigmoid": nn.Sigmoid,
    "hard_sigmoid": HardSigmoid,
    "tanh": nn.Tanh,
    "softsign": nn.Softsign,
    "exp": Exp,
    "softmax": lambda: nn.Softmax(dim=1),
}

LOSS_FUNCTIONS = {
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "huber": F.huber_loss,
    "quantile": lambda z, t, q: torch.maximum(q * (t - z), (q - 1) * (t - z)).mean(),
    "poisson": lambda y, t: F.poisson_nll_loss(y, t, log_input=True, full=False),
    "cross_entropy": F.cross_entropy,
    "binary_cross_entropy": F.binary_cross_entropy_with_logits,
    "hinge": lambda z, t: F.multi_margin_loss(z, t) if t.ndim == 1 else F.relu(1 - t * z).mean(),
}


def make_module(problem, dtype):
    """nn.Sequential with the problem's parameters, up to the last layer's y where the loss is computed from logits."""
    spec = problem.spec
    modules = []
    for i, o, activation, bias in zip(spec.sizes[:-1], spec.sizes[1:], spec.activations, spec.biases, strict=True):
        modules += [nn.Linear(i, o, bias=bias), MODULES[activation]()]
    output = modules.pop() if spec.loss in LOGIT_OUTPUTS else nn.Identity()
    module = nn.Sequential(*modules).to(getattr(torch, dtype))
    nn.utils.vector_to_parameters(torch.tensor(problem.params.astype(dtype)), module.parameters())
    return module, output


def as_tensor(t, dtype):
    return torch.tensor(t if t.dtype.kind == "i" else t.astype(dtype))


def flat(tensors):
    return torch.cat([t.detach().reshape(-1) for t in tensors]).numpy()


@pytest.mark.parametrize(("activation", "variant", "dtype"), CASES)
def test_predict_loss_and_gradients_are_torchs(activation, variant, dtype):
    seed = stable_seed("torch", activation, variant)
    rng = np.random.default_rng(seed)
    activations = (activation, activation, LOGIT_OUTPUTS.get(LOSSES[variant][0], "identity"))
    sizes = draw_sizes(rng, 3, variant, activations)
    rows = int(rng.integers(1, 80))
    problem = draw_problem(seed, sizes, activations, variant, rows=rows, bias=bool(seed & 1), dtype=dtype)
    spec = problem.spec

    module, output = make_module(problem, dtype)
    X = torch.tensor(problem.X.astype(dtype), requires_grad=True)
    u = module(X)
    loss = LOSS_FUNCTIONS[spec.loss](u, as_tensor(problem.t, dtype), **spec.loss_parameters)
    loss.backward()

    net = make_network(problem, dtype)
    tolerance = TOLERANCE[dtype]
    value, grad = net.loss_and_grad(problem.X, problem.t)
    want = flat(p.grad for p in module.parameters())
    check("torch: loss", dtype, relative_error(value, loss.item()), tolerance, problem)
    check("torch: gradient", dtype, gradient_error(grad, want, spec.layer_lengths), tolerance, problem)
    input_grad = net.input_grad(problem.X, problem.t)
    check("torch: input gradient", dtype, relative_error(input_grad, X.grad.numpy()), tolerance, problem)
    z = output(u).detach().numpy()
    check("torch: predict", dtype, relative_error(net.predict(problem.X), z), tolerance, problem)


OPTIMIZERS = [
    fb.SGD(0.05),
    fb.SGD(0.02, momentum=0.9),
    fb.SGD(0.02, momentum=0.9, nesterov=True),
    fb.SGD(0.02, momentum=0.9, nesterov=True, weight_decay=0.01),
    fb.SGD(0.02, weight_decay=0.01),
    fb.Adam(),
    fb.Adam(0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
    fb.AdamW(),
    fb.AdamW(0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_hundred_steps_of_every_optimizer_are_torchs(batch_size, optimizer):
    steps = 100
    problem = draw_problem(11, (6, 13, 9, 4), ("tanh", "silu", "identity"), "mse", rows=steps * batch_size)
    module, _ = make_module(problem, "float64")
    torch_optimizer = getattr(torch.optim, type(optimizer).__name__)(
        module.parameters(), **dataclasses.asdict(optimizer)
    )
    X, t = torch.tensor(problem.X), torch.tensor(problem.t)
    losses = []
    for xb, tb in zip(X.split(batch_size), t.split(batch_size), strict=True):
        torch_optimizer.zero_grad()
        loss = F.mse_loss(module(xb), tb)
        loss.backward()
        torch_optimizer.step()
        losses.append(loss.item())

    net = make_network(problem, "float64")
    history = net.fit(
        problem.X, problem.t, epochs=1, batch_size=batch_size, optimizer=optimizer, shuffle=False, verbose=0
    )
    want = flat(module.parameters())
    check("torch: 100 steps", "float64", relative_error(net.params, want), 1e-12, problem)
    epoch_loss = history.history["loss"][0]
    check("torch: epoch loss", "float64", relative_error(epoch_loss, np.mean(losses)), 1e-12, problem)


def test_parameters_are_laid_out_as_in_a_state_dict():
    problem = draw_problem(12, (5, 3, 2), ("relu", "softmax"), "cross_entropy of classes", rows=1, dtype="float32")
    module, _ = make_module(problem, "float32")
    net = make_network(problem, "float32")
    state = module.state_dict()
    for k in range(2):
        np.testing.assert_array_equal(net.weights[k], state[f"{2 * k}.weight"].numpy())
        np.testing.assert_array_equal(net.biases[k], state[f"{2 * k}.bias"].numpy())
