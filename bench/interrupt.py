"""How soon Ctrl-C ends a fit: seconds from the signal to KeyboardInterrupt at the caller, at random moments.

    python bench/interrupt.py [--times 40] [--seed 0] [--json FILE]

A step that is under way ends first, so its own time stands beside.
"""

import argparse
import itertools
import json
import os
import random
import signal
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import fastbp as fb

NETS = {  # sizes, batch, rows
    "2-3-1": ((2, 3, 1), 1, 200_000),
    "54-128-64-7": ((54, 128, 64, 7), 256, 200_000),
    "784-2048-2048-10": ((784, 2048, 2048, 10), 256, 20_000),
}
SOURCES = "array", "memory map", "generator", "loss object"
LONGEST_WAIT = 0.4  # before the signal: further epochs begin where they are short


class Squares:
    """A loss object of one's own."""

    def value_and_delta(self, outputs, targets):
        return float((outputs**2).mean()), 2 * outputs / outputs.size


def data_of(source, sizes, batch, rows, folder):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((rows, sizes[0]), dtype="f4"), rng.standard_normal((rows, sizes[-1]), dtype="f4")
    if source == "memory map":
        mapped = []
        for name, array in (("X", X), ("y", y)):
            mapped.append(np.memmap(folder / f"{name}-{sizes}", "f8", "w+", shape=array.shape))
            mapped[-1][:] = array
        return lambda: tuple(mapped)
    if source == "generator":
        firsts = range(0, rows - batch + 1, batch)
        return lambda: (((X[k : k + batch], y[k : k + batch]) for k in itertools.cycle(firsts)),)
    return lambda: (X, y)


def latency(net, data, run, wait):
    """Seconds from the signal to the caller, and whether what Ctrl-C promises holds."""
    sent = []

    def send():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(wait, send)
    timer.start()
    try:
        net.fit(*data, **run)
    except KeyboardInterrupt:
        seconds = time.perf_counter() - sent[0]
    else:
        raise AssertionError("no KeyboardInterrupt reached the caller")
    assert np.isfinite(net.params).all()
    assert len({len(values) for values in net.history.history.values()}) == 1
    return seconds


def step_seconds(net, data, run, batch):
    """Of a step, in an epoch of a few."""
    X, y = (np.array(part[: 8 * batch], "f4") for part in data())
    begin = time.perf_counter()
    net.fit(X, y, **{**run, "epochs": 1})
    return (time.perf_counter() - begin) / 8


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng, results = random.Random(args.seed), []
    with tempfile.TemporaryDirectory() as folder:
        for (name, (sizes, batch, rows)), source in itertools.product(NETS.items(), SOURCES):
            net = fb.Network(list(sizes), loss=Squares() if source == "loss object" else "mse", seed=0)
            run = {"epochs": 10**9, "batch_size": batch, "optimizer": fb.SGD(1e-6), "verbose": 0}
            data = data_of(source, sizes, batch, rows, Path(folder))
            step = step_seconds(net, data_of("array", sizes, batch, rows, None), run, batch)
            if source == "generator":
                run["epochs"] = 1
            seconds = sorted(latency(net, data(), run, rng.uniform(0.02, LONGEST_WAIT)) for _ in range(args.times))
            results.append({"net": name, "batch": batch, "source": source, "step": step, "seconds": seconds})
            print(
                f"{name} b{batch}, {source}: median {1e3 * statistics.median(seconds):.1f} ms, 95 % "
                f"{1e3 * seconds[int(0.95 * len(seconds))]:.1f} ms, most {1e3 * seconds[-1]:.1f} ms; "
                f"a step {1e3 * step:.3f} ms",
                flush=True,
            )
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
