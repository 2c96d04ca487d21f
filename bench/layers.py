"""What each layer costs: a training step with it, one without, and torch's nn.Sequential of the same layers.

    python bench/layers.py [--dtype float64] [--batch 256] [--rounds 40]

54-128-64-7 with relu, cross-entropy, Adam, one thread; the layer stands behind both hidden layers. All variants take
turns in one run; medians of the processor time that the one thread took. An activation alone is compared with one that
is a part of its Dense, a norm with the same net without it.
"""

import pin  # noqa: F401  # isort: skip  before NumPy

import argparse
import statistics
import time

import numpy as np

import fastbp as fb

SIZES = 54, 128, 64, 7


def fastbp_layers(kind):
    layers = [SIZES[0]]
    for units in SIZES[1:-1]:
        if kind == "plain":
            layers.append(units)
        elif kind == "Dropout(0.2)":
            layers += [units, fb.Dropout(0.2)]
        else:
            norm = {"LayerNorm": [fb.LayerNorm()], "BatchNorm": [fb.BatchNorm()], "Activation": []}[kind]
            layers += [units, *norm, fb.Activation("relu")]
    return [*layers, SIZES[-1]]


def torch_model(kind):
    from torch import nn

    modules = []
    for inputs, units in zip(SIZES[:-2], SIZES[1:-1], strict=True):
        modules.append(nn.Linear(inputs, units))
        if kind == "LayerNorm":
            modules.append(nn.LayerNorm(units))
        if kind == "BatchNorm":
            modules.append(nn.BatchNorm1d(units))
        modules.append(nn.ReLU())
        if kind == "Dropout(0.2)":
            modules.append(nn.Dropout(0.2))
    return nn.Sequential(*modules, nn.Linear(*SIZES[-2:]))


def fastbp_steps(kind, X, y, batch):
    net = fb.Network(fastbp_layers(kind), dtype=X.dtype, seed=0, threads=1)
    net.fit(X, y, epochs=1, batch_size=batch, optimizer=fb.Adam(), verbose=0)
    arguments = X, y, None, None, len(X), batch, net._core_loss.code_for(y)
    return lambda: net._engine.train(*arguments)


def torch_steps(kind, X, y, batch):
    import torch

    torch.set_num_threads(1)
    model = torch_model(kind).to(getattr(torch, X.dtype.name))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    batches = list(zip(torch.tensor(X).split(batch), torch.tensor(y).long().split(batch), strict=True))

    def steps():
        for inputs, labels in batches:
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()

    steps()
    return steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    X = rng.standard_normal((16 * options.batch, SIZES[0])).astype(options.dtype)
    y = rng.integers(0, SIZES[-1], len(X)).astype(np.int32)
    bases = {"Dropout(0.2)": "plain", "Activation": "plain", "LayerNorm": "Activation", "BatchNorm": "Activation"}
    kinds = ["plain", *bases]
    makers = {"fastbp": fastbp_steps}
    try:
        import torch  # noqa: F401

        makers["torch"] = torch_steps
    except ImportError:
        print("torch is not installed: fastbp alone")
    runs = {(who, kind): make(kind, X, y, options.batch) for who, make in makers.items() for kind in kinds}
    times = {key: [] for key in runs}
    for k in range(options.rounds):
        for key in list(runs)[:: 1 if k % 2 else -1]:
            start = time.thread_time()
            runs[key]()
            times[key].append((time.thread_time() - start) / 16 * 1e6)
    medians = {key: statistics.median(values) for key, values in times.items()}
    print(f"54-128-64-7 relu, batch {options.batch}, Adam, {options.dtype}, {fb.config.LEVEL}: microseconds a step")
    print(f"| {'layers':13} |" + "".join(f" {who} | share |" for who in makers))
    print("| --- |" + " ---: | ---: |" * len(makers))
    for kind in kinds:
        line = f"| {kind:13} |"
        for who in makers:
            base = bases.get(kind)
            base = "plain" if who == "torch" and base else base  # torch's activations are always alone
            share = f"{100 * (medians[who, kind] / medians[who, base] - 1):+.0f} %" if base else ""
            line += f" {medians[who, kind]:.1f} | {share} |"
        print(line)


if __name__ == "__main__":
    main()
