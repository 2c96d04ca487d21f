"""The network against torch: the same layout of parameters, losses, gradients and predictions."""

import itertools

import numpy as np
import pytest
from comparison import DTYPES
from passes import Pass, by_fastbp, check_pass
from problems import ACTIVATIONS, LOGIT_OUTPUTS, LOSSES, draw_problem, draw_sizes, make_network, output_of, stable_seed
from wellposed import draw_well_posed

torch = pytest.importorskip("torch")
nn = torch.nn
F = torch.nn.functional


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

# elements (B, O), or rows (B,) where the loss is one of classes
LOSS_FUNCTIONS = {
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "huber": F.huber_loss,
    "quantile": lambda z, t, q, reduction: torch.maximum(q * (t - z), (q - 1) * (t - z)),
    "poisson": lambda y, t, reduction: F.poisson_nll_loss(y, t, log_input=True, full=False, reduction=reduction),
    "cross_entropy": F.cross_entropy,
    "binary_cross_entropy": F.binary_cross_entropy_with_logits,
    "hinge": lambda z, t, reduction: (
        F.multi_margin_loss(z, t, reduction=reduction) if t.ndim == 1 else F.relu(1 - t * z)
    ),
}


def mean_loss(problem, u, t, w=None):
    """As torch means it; weights of rows, which torch's losses do not take, as sum(w l) / sum(w)."""
    spec = problem.spec
    elements = LOSS_FUNCTIONS[spec.loss](u, t, reduction="none", **spec.loss_parameters)
    rows = elements if elements.ndim == 1 else elements.mean(dim=1)
    return rows.mean() if w is None else (w * rows).sum() / w.sum()


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


def flat(tensors):
    return torch.cat([t.detach().reshape(-1) for t in tensors]).numpy()


def by_torch(problem, dtype):
    module, output = make_module(problem, dtype)
    X, t, w = (None if a is None else torch.tensor(a) for a in problem.data(dtype))
    u = module(X)
    loss = mean_loss(problem, u, t, w)
    gradient = flat(torch.autograd.grad(loss, list(module.parameters())))
    X.requires_grad_()
    (input_gradient,) = torch.autograd.grad(mean_loss(problem, module(X), t), X)
    return Pass(output(u).detach().numpy(), loss.item(), loss.item(), gradient, input_gradient.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_predict_loss_and_gradients_are_torchs(activation, variant, dtype):
    for bias, weighted in itertools.product((True, False), repeat=2):
        seed = stable_seed("torch", activation, variant, bias, weighted)
        rng = np.random.default_rng(seed)
        output = output_of(variant) if weighted or LOSSES[variant][0] in LOGIT_OUTPUTS else activation
        activations = (activation, activation, output)
        sizes = draw_sizes(rng, 3, variant, activations)
        shape = {"rows": int(rng.integers(1, 80)), "bias": bias, "weighted": weighted}
        problem = draw_well_posed(seed, sizes, activations, variant, **shape, dtype=dtype)
        check_pass("torch", problem, dtype, by_fastbp(problem, dtype), by_torch(problem, dtype))


def test_parameters_are_laid_out_as_in_a_state_dict():
    problem = draw_problem(12, (5, 3, 2), ("relu", "softmax"), "cross_entropy of classes", rows=1, dtype="float32")
    module, _ = make_module(problem, "float32")
    net = make_network(problem, "float32")
    state = module.state_dict()
    for k in range(2):
        np.testing.assert_array_equal(net.weights[k], state[f"{2 * k}.weight"].numpy())
        np.testing.assert_array_equal(net.biases[k], state[f"{2 * k}.bias"].numpy())
