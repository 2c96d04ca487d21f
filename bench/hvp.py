"""Times a product with the Hessian beside a gradient, torch.func and JAX: `python bench/hvp.py [--rounds 15]`.

All from Python to Python, float32, one core, interleaved, medians. torch: the forward derivative (jvp) of the reverse
one (grad), each a function of the list of parameters; JAX the same, compiled. The products must agree.
"""

import argparse
import time

import pin  # noqa: F401 (before NumPy)

import numpy as np  # isort: skip
from cases import Case, make_data, make_parameters
from peers import flatten

import fastbp as fb

NETS = [
    Case("17-64-64-6", (17, 64, 64, 6), "tanh", "mse", 256, "", 1),
    Case("54-128-64-7", (54, 128, 64, 7), "relu", "cross_entropy", 256, "", 1),
    Case("3-50x4-1", (3, 50, 50, 50, 50, 1), "tanh", "mse", 4096, "", 1),
    Case("784-512-512-10", (784, 512, 512, 10), "relu", "cross_entropy", 128, "", 1),
]


def fastbp_calls(case, X, t, start, v):
    net = fb.Network(list(case.sizes), activation=case.activation, loss=case.loss, dtype=case.dtype, threads=1)
    net.params[:] = flatten(start)
    v, product, gradient = flatten(v), np.empty(net.n_params, case.dtype), np.empty(net.n_params, case.dtype)
    yield "gradient", lambda: net.loss_and_grad(X, t, out=gradient)[1]
    yield "fastbp", lambda: net.hvp(X, t, v, out=product)


def torch_calls(case, X, t, start, v):
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)
    F, activate = torch.nn.functional, {"tanh": torch.tanh, "relu": torch.relu}[case.activation]
    X, t = torch.tensor(X), torch.tensor(t)
    start, v = (tuple(torch.tensor(a) for a in arrays) for arrays in (start, v))

    def loss(params):
        x = X
        for k in range(0, len(params), 2):
            x = F.linear(x, params[k], params[k + 1])
            if k < len(params) - 2:
                x = activate(x)
        # not F.mse_loss, whose second derivative fails beside targets without a derivative (torch 2.x)
        return ((x - t) ** 2).mean() if case.loss == "mse" else F.cross_entropy(x, t)

    gradient = torch.func.grad(loss)
    yield "torch.func", lambda: torch.func.jvp(gradient, (start,), (v,))[1]


def jax_calls(case, X, t, start, v):
    try:
        import jax
    except ImportError:
        return
    import jax.numpy as jnp

    X, t = jnp.asarray(X), jnp.asarray(t)
    start, v = ([jnp.asarray(a) for a in arrays] for arrays in (start, v))
    activate = {"tanh": jnp.tanh, "relu": jax.nn.relu}[case.activation]

    def loss(params, X, t):
        x = X
        for k in range(0, len(params), 2):
            x = x @ params[k].T + params[k + 1]
            if k < len(params) - 2:
                x = activate(x)
        if case.loss == "mse":
            return jnp.mean((x - t) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), t[:, None], axis=1))

    @jax.jit
    def product(params, v, X, t):
        return jax.jvp(lambda p: jax.grad(loss)(p, X, t), (params,), (v,))[1]

    yield "JAX", lambda: jax.block_until_ready(product(start, v, X, t))


def as_vector(result):
    return result if isinstance(result, np.ndarray) else flatten([np.asarray(part) for part in result])


def timed(call, repeats):
    begin = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - begin) / repeats


def measure(case, rounds):
    """{name: median seconds of a call}."""
    X, t = make_data(case)
    start = make_parameters(case)
    v = make_parameters(case, seed=2)
    calls = {name: call for make in (fastbp_calls, torch_calls, jax_calls) for name, call in make(case, X, t, start, v)}
    want = as_vector(calls["fastbp"]()).astype(np.float64)
    for name in calls.keys() - {"gradient", "fastbp"}:
        error = np.linalg.norm(as_vector(calls[name]()) - want) / np.linalg.norm(want)
        assert error < 1e-4, f"{name} on {case.name}: the product differs by {error:.1e}"
    repeats = {name: max(1, int(0.02 / timed(call, 3))) for name, call in calls.items()}
    seconds = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(timed(call, repeats[name]))
    return {name: float(np.median(times)) for name, times in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print("microseconds; in brackets: times a gradient (hvp), times fastbp's product (peers)")
    print(f"{'net':18} {'rows':>5} {'gradient':>10} {'hvp':>18} {'torch.func':>18} {'JAX':>18}")
    for case in NETS:
        seconds = measure(case, rounds)
        line = f"{case.name:18} {case.batch:5} {seconds['gradient'] * 1e6:10.1f}"
        for name in ("fastbp", "torch.func", "JAX"):
            unit = seconds["gradient" if name == "fastbp" else "fastbp"]
            cell = f"{seconds[name] * 1e6:.1f} ({seconds[name] / unit:.2f})" if name in seconds else "-"
            line += f" {cell:>18}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
