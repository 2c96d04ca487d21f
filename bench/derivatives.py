"""Times the derivatives of single rows beside torch.func, one thread each, interleaved.

    python bench/derivatives.py [--seconds 2]

fastbp writes into a new array a call, as torch does, and (`out`) into one that is there. torch.func gives a dict of
arrays, one for each weight and bias; that they need not be one array is to its advantage here.
"""

import argparse
import statistics
import time

import pin  # noqa: F401  isort: skip  before NumPy and torch

# isort: split

import numpy as np
import torch

import fastbp as fb

CASES = [
    ((17, 64, 64, 6), 256, "float32"),
    ((3, 50, 50, 50, 50, 1), 1000, "float32"),
    ((784, 128, 10), 64, "float32"),
    ((1, 20, 20, 1), 1000, "float64"),
    ((3, 64, 64, 64), 256, "float32"),
]
MOST_NUMBERS = 1 << 26  # of a parameter Jacobian
FEWEST = 5


def networks(sizes, dtype):
    """The same tanh network twice: fastbp's, and torch's as a function of its parameters."""
    modules = []
    for i, o in zip(sizes[:-1], sizes[1:], strict=True):
        modules += [torch.nn.Linear(i, o), torch.nn.Tanh()]
    module = torch.nn.Sequential(*modules[:-1]).to(getattr(torch, dtype))
    net = fb.Network(list(sizes), activation="tanh", loss="mse", dtype=dtype, threads=1)
    net.params[:] = torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
    parameters = {name: p.detach() for name, p in module.named_parameters()}
    return net, parameters, lambda parameters, x: torch.func.functional_call(module, parameters, (x,))


def calls(sizes, rows, dtype):
    """name: (by torch, by fastbp, by fastbp into `out`)."""
    net, parameters, model = networks(sizes, dtype)
    rng = np.random.default_rng(0)
    X, y = (rng.standard_normal((rows, n)).astype(dtype) for n in (sizes[0], sizes[-1]))
    X_torch, y_torch = torch.from_numpy(X), torch.from_numpy(y)
    vmap, grad, jacrev = torch.func.vmap, torch.func.grad, torch.func.jacrev
    rows_gradients = vmap(grad(lambda p, x, t: ((model(p, x) - t) ** 2).mean()), (None, 0, 0))
    jacobian = vmap(jacrev(lambda x: model(parameters, x)))
    by_parameters = vmap(jacrev(model), (None, 0))

    def entry(by_torch, method, arguments):
        call = getattr(net, method)
        out = call(*arguments)
        return by_torch, lambda: call(*arguments), lambda: call(*arguments, out=out)

    listed = {
        "per_sample_grads": entry(lambda: rows_gradients(parameters, X_torch, y_torch), "per_sample_grads", (X, y)),
        "jacobian": entry(lambda: jacobian(X_torch), "jacobian", (X,)),
    }
    if rows * sizes[-1] * net.n_params <= MOST_NUMBERS:
        listed["param_jacobian"] = entry(lambda: by_parameters(parameters, X_torch), "param_jacobian", (X,))
    return listed


def as_rows(result):
    """One array of what torch or fastbp gave, parameters last."""
    if isinstance(result, dict):
        parts = list(result.values())
        lead = parts[-1].shape[:-1]  # of a bias
        return np.concatenate([part.reshape(*lead, -1).numpy() for part in parts], axis=-1)
    return np.asarray(result)


def measure(functions, seconds):
    """Median milliseconds of each, taking turns."""
    times = [[] for _ in functions]
    for function in functions:
        function()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < FEWEST:
        for function, taken in zip(functions, times, strict=True):
            begin = time.perf_counter()
            function()
            taken.append(1e3 * (time.perf_counter() - begin))
    return [statistics.median(taken) for taken in times]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each line of the table")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    print(f"fastbp {fb.__version__}, torch {torch.__version__}, NumPy {np.__version__}; milliseconds a call, medians\n")
    print("| net | rows | | torch.func | fastbp | fastbp, out | times faster | GB/s | differs by |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for sizes, rows, dtype in CASES:
        for name, functions in calls(sizes, rows, dtype).items():
            want, got = as_rows(functions[0]()), functions[1]()
            error = np.linalg.norm(got - want) / np.linalg.norm(want)
            by_torch, fresh, into = measure(functions, seconds)
            net = "-".join(map(str, sizes)) + (", float64" if dtype == "float64" else "")
            cells = [net, rows, name, *(f"{t:.3f}" for t in (by_torch, fresh, into))]
            cells += [
                f"{by_torch / fresh:.1f}, {by_torch / into:.1f}",
                f"{got.nbytes / into * 1e-6:.1f}",
                f"{error:.0e}",
            ]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
