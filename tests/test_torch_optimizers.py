"""A hundred steps of every optimiser against torch's; L1 and decay_bias are written in torch by hand."""

import dataclasses
import inspect

import numpy as np
import optimizers
import pytest
from comparison import check, relative_error
from problems import draw_problem, make_network

import fastbp as fb

torch = pytest.importorskip("torch")
from test_torch import F, flat, make_module  # noqa: E402 (needs torch)

SHARED = {field.name for field in dataclasses.fields(fb.first_order.FirstOrder)}


@pytest.fixture(autouse=True)
def float64_scalars_on_one_thread():
    """torch keeps NAdam's product of momenta in its default dtype."""
    before = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(before[0])
    torch.set_num_threads(before[1])


class ByHand:
    """torch's optimiser, with what a user of torch writes around its step."""

    def __init__(self, module, optimizer):
        self.parameters = list(module.parameters())
        self.asked = optimizer
        self.penalised = [p for p in self.parameters if optimizer.decay_bias or p.ndim == 2]
        spared = [p for p in self.parameters if p.ndim < 2 and not optimizer.decay_bias]
        cls = getattr(torch.optim, optimizer.kind)
        own = {name: value for name, value in dataclasses.asdict(optimizer).items() if name not in SHARED - {"lr"}}
        groups = [{"params": self.penalised}] + ([{"params": spared}] if spared else [])
        self.decays = "weight_decay" in inspect.signature(cls).parameters
        if self.decays:
            groups[0]["weight_decay"] = optimizer.weight_decay
            own["weight_decay"] = 0.0
        self.optimizer = cls(groups, **own)

    def step(self, loss):
        asked = self.asked
        self.optimizer.zero_grad()
        loss.backward()
        if asked.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, asked.clip_norm)
        if asked.clip_value is not None:
            torch.nn.utils.clip_grad_value_(self.parameters, asked.clip_value)
        with torch.no_grad():
            for p in self.penalised:
                p.grad += asked.l1 * torch.sign(p)
                if not self.decays:  # torch's Rprop has none
                    p.grad += asked.weight_decay * p
        self.optimizer.step()


def check_against_torch(optimizer, sizes, batch_size, steps=100):
    rows = batch_size if optimizers.needs_whole_batches(optimizer) else steps * batch_size
    problem = draw_problem(11, sizes, ("tanh", "silu", "identity"), "mse", rows=rows)
    module, _ = make_module(problem, "float64")
    by_hand = ByHand(module, optimizer)
    X, t = torch.tensor(problem.X), torch.tensor(problem.t)
    losses = []
    for k in range(steps):
        part = slice(k * batch_size % rows, k * batch_size % rows + batch_size)
        loss = F.mse_loss(module(X[part]), t[part])
        by_hand.step(loss)
        losses.append(loss.item())
    net = make_network(problem, "float64")
    run = {"epochs": steps * batch_size // rows, "batch_size": batch_size, "shuffle": False, "verbose": 0}
    history = net.fit(problem.X, problem.t, optimizer=optimizer, **run)
    settings = f"{problem} {optimizer} batch_size={batch_size}"
    check("torch: 100 steps", "float64", relative_error(net.params, flat(module.parameters())), 1e-12, settings)
    loss = np.mean(history.history["loss"])
    check("torch: epoch loss", "float64", relative_error(loss, np.mean(losses)), 1e-12, settings)


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("optimizer", optimizers.ALL, ids=str)
def test_a_hundred_steps_of_every_optimizer_are_torchs(optimizer, batch_size):
    check_against_torch(optimizer, (6, 13, 9, 4), batch_size)


@pytest.mark.parametrize("optimizer", optimizers.PLAIN + optimizers.WITH_PENALTIES[4::5], ids=str)
def test_updates_in_several_chunks_are_torchs(optimizer):
    """8,489 parameters, in chunks of 4,096: the last one short, and a bias across the first end."""
    check_against_torch(optimizer, (50, 80, 53, 2), 5)
    assert 50 * 80 + 80 < 4096 < 50 * 80 + 80 + 80 * 53
