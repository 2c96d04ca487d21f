"""Seconds until 1-20-20-1 tanh has learnt sinc to a mean squared error of 1e-8: python bench/levenberg_marquardt.py.

1,000 points of sin(x) / x on [-10, 10], x / 10 as the input, float64, one thread. All methods start from the same
parameters, several seeds, in turns:

- fastbp: fb.LevenbergMarquardt()
- scipy lm, scipy trf: scipy.optimize.least_squares on fastbp's residuals and Jacobian (MINPACK; trust region)
- torch: Levenberg-Marquardt with MATLAB's trainlm defaults (mu 1e-3, times 0.1 and 10), the Jacobian by
  vmap(jacrev), Cholesky
- fastbp Adam, full batch, for ten times the time that the first took: the loss it reaches
"""

import argparse
import statistics
import time

import pin  # isort: skip  before NumPy and torch

import numpy as np
import torch
from scipy.optimize import least_squares

import fastbp as fb

SIZES = (1, 20, 20, 1)
TARGET = 1e-8
x = np.linspace(-10, 10, 1000)[:, None]
X, Y = x / 10, np.sinc(x / np.pi)


def network(seed):
    return fb.Network(list(SIZES), activation="tanh", loss="mse", dtype="float64", seed=seed, threads=1)


class Reached(Exception):
    pass


def until(seconds):
    """A callback that ends at the target or when time is up."""
    end = time.perf_counter() + seconds
    return lambda net, history: history.history["loss"][-1] <= TARGET or time.perf_counter() > end


def by_fastbp(seed, limit):
    net = network(seed)
    history = net.fit(X, Y, epochs=10**6, optimizer=fb.LevenbergMarquardt(), callbacks=[until(limit)], verbose=0)
    return len(history.epochs), history.history["loss"][-1]


def by_scipy(method):
    def run(seed, limit):
        net = network(seed)
        jacobian = np.empty((len(X), 1, net.n_params))
        end = time.perf_counter() + limit
        count, best = 0, np.inf

        def residuals(p):
            nonlocal best
            net.params[:] = p
            r = (net.predict(X) - Y).ravel()
            best = min(best, r @ r / len(r))
            if best <= TARGET or time.perf_counter() > end:
                raise Reached
            return r

        def derivatives(p):
            nonlocal count
            count += 1
            net.params[:] = p
            return net.param_jacobian(X, out=jacobian)[:, 0]

        try:
            start = net.params.copy()
            least_squares(
                residuals, start, derivatives, method=method, ftol=1e-15, xtol=1e-15, gtol=1e-15, max_nfev=10**6
            )
        except Reached:
            pass
        return count, best

    return run


def by_torch(seed, limit):
    modules = []
    for i, o in zip(SIZES[:-1], SIZES[1:], strict=True):
        modules += [torch.nn.Linear(i, o, dtype=torch.float64), torch.nn.Tanh()]
    module = torch.nn.Sequential(*modules[:-1])
    shapes = {name: p.shape for name, p in module.named_parameters()}
    sizes = [shape.numel() for shape in shapes.values()]
    inputs, targets = torch.from_numpy(X), torch.from_numpy(Y)

    def model(p, x):
        parts = dict(zip(shapes, p.split(sizes), strict=True))
        return torch.func.functional_call(module, {k: v.view(shapes[k]) for k, v in parts.items()}, (x,))

    jacobian = torch.func.vmap(torch.func.jacrev(lambda p, x: model(p, x)[0]), (None, 0))
    p = torch.from_numpy(network(seed).params.copy())
    eye = torch.eye(len(p), dtype=torch.float64)
    end = time.perf_counter() + limit
    mu, count = 1e-3, 0
    with torch.no_grad():
        residuals = (model(p, inputs) - targets).ravel()
        loss = residuals.square().mean().item()
        while loss > TARGET and mu <= 1e10 and time.perf_counter() < end:
            count += 1
            J = jacobian(p, inputs)
            product, gradient = J.T @ J, J.T @ residuals
            while mu <= 1e10:
                factor, failed = torch.linalg.cholesky_ex(product + mu * eye)
                if not failed:
                    q = p - torch.cholesky_solve(gradient[:, None], factor)[:, 0]
                    later = (model(q, inputs) - targets).ravel()
                    value = later.square().mean().item()
                    if value < loss:
                        p, residuals, loss, mu = q, later, value, max(mu * 0.1, 1e-20)
                        break
                mu *= 10
    return count, loss


def by_adam(seed, limit):
    net = network(seed)
    history = net.fit(
        X, Y, epochs=10**9, batch_size=len(X), optimizer=fb.Adam(lr=3e-3), callbacks=[until(limit)], verbose=0
    )
    return len(history.epochs), min(history.history["loss"])


def timed(method, seed, limit):
    begin = time.perf_counter()
    iterations, loss = method(seed, limit)
    return time.perf_counter() - begin, iterations, loss


METHODS = {"fastbp": by_fastbp, "scipy lm": by_scipy("lm"), "scipy trf": by_scipy("trf"), "torch": by_torch}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=60, help="seconds after which a run is given up")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"core {pin.CORE}, fastbp {fb.__version__}, torch {torch.__version__}, NumPy {np.__version__}")
    runs = {name: [] for name in (*METHODS, "Adam")}
    by_fastbp(0, 1), by_torch(0, 1)  # warm
    for seed in range(arguments.seeds):
        for name, method in METHODS.items():
            runs[name].append(timed(method, seed, arguments.limit))
        runs["Adam"].append(timed(by_adam, seed, 10 * runs["fastbp"][-1][0]))
        line = ", ".join(
            f"{name} {s:.2f} s {n} {loss:.0e}" for name, ((s, n, loss)) in ((k, v[-1]) for k, v in runs.items())
        )
        print(f"seed {seed}: {line}", flush=True)
    print(f"\nMedians of {arguments.seeds} seeds\n\n| | seconds | iterations | loss | reached | times fastbp's |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, taken in runs.items():
        seconds, iterations, loss = (statistics.median(column) for column in zip(*taken, strict=True))
        ratio = statistics.median(t[0] / own[0] for t, own in zip(taken, runs["fastbp"], strict=True))
        reached = sum(t[2] <= TARGET for t in taken)
        print(f"| {name} | {seconds:.2f} | {iterations:.0f} | {loss:.1e} | {reached} of {len(taken)} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
