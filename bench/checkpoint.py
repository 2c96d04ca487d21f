"""What a checkpoint costs: steps that are only watched (every_seconds=3600), and the writing itself.

    python bench/checkpoint.py [--rounds 15]

Both sides of a comparison are timed in turn in one run; medians.
"""

import pin  # noqa: F401 isort: skip  before NumPy

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from cases import CASES, make_data

import fastbp as fb

NAMES = "2-3-1", "4-16-16-1", "17-64-64-6-online", "54-128-64-7", "784-512-512-10"
OPTIMIZERS = {"sgd": fb.SGD(1e-4), "momentum": fb.SGD(1e-4, momentum=0.9), "adam": fb.Adam(1e-4)}
SECONDS = 0.5  # of a fit


def seconds_of(net, X, t, run):
    begin = time.perf_counter()
    net.fit(X, t, **run)
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        for case in (case for case in CASES if case.name in NAMES):
            X, t = make_data(case)
            net = fb.Network(list(case.sizes), activation=case.activation, loss=case.loss, seed=0, threads=1)
            run = {"batch_size": case.batch, "optimizer": OPTIMIZERS[case.optimizer], "verbose": 0, "epochs": 1}
            run["epochs"] = max(1, int(SECONDS / seconds_of(net, X, t, run)))
            watch = fb.Checkpoint(path, every_seconds=3600)
            watch.save = lambda training: None  # what is left is looking
            write = fb.Checkpoint(path, every_epochs=1)
            taken = {"off": [], "watched": []}
            for _ in range(args.rounds):
                taken["off"].append(seconds_of(net, X, t, run))
                taken["watched"].append(seconds_of(net, X, t, {**run, "callbacks": [watch]}))
            off, watched = (statistics.median(taken[side]) for side in taken)
            few = {**run, "epochs": 10}
            alone = min(seconds_of(net, X, t, few) for _ in range(3))
            written = (min(seconds_of(net, X, t, {**few, "callbacks": [write]}) for _ in range(3)) - alone) / 10
            steps = run["epochs"] * case.batches
            print(
                f"{case.name} b{case.batch}: a step {1e6 * off / steps:.2f} us, watched {1e6 * watched / steps:.2f} us "
                f"({100 * (watched / off - 1):+.1f} %); a file of {path.stat().st_size / 1e3:.0f} kB written in "
                f"{1e3 * written:.1f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
