"""What a schedule and missing targets cost a step: python bench/schedules.py [--against FOLDER] [case ...]

Variants of one `fit` in turn, in one process: plain, with a cosine for the learning rate, with targets that may be
missing (none is, and a fifth is). --against names a folder that holds another build's `fastbp`, such as the one before
a change: it trains the plain variant in a process of its own, in turn with the others.
"""

# isort: off
import pin  # noqa: F401 (before NumPy)

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import time

import numpy as np
from cases import make_data, make_parameters, select
from peers import flatten
# isort: on

NAMES = ["2-3-1", "17-64-64-6-online", "4-16-16-1", "17-64-64-6", "3-50x4-1", "28-300x5-1"]
ROUNDS = 31
SECONDS = 0.02  # of one measurement, at least
FITS = "plain", "schedule", "mask, none missing", "mask, a fifth missing"


def fit_of(case, variant):
    """A function that trains for so many epochs."""
    import fastbp as fb

    X, t = make_data(case)
    t = np.array(t, case.dtype).reshape(len(X), -1)
    extra = {"missing_targets": "mask"} if variant.startswith("mask") else {}
    if variant.endswith("fifth missing"):
        t[np.random.default_rng(0).random(t.shape) < 0.2] = np.nan
    net = fb.Network(list(case.sizes), activation=case.activation, loss=case.loss, dtype=case.dtype, threads=1, **extra)
    net.params[:] = flatten(make_parameters(case))
    lr = case.lr
    if variant == "schedule":
        lr = fb.Cosine(case.lr, epochs=1e6)  # as good as the number
    kinds = {"sgd": {}, "momentum": {"momentum": 0.9}}
    optimizer = fb.Adam(lr) if case.optimizer == "adam" else fb.SGD(lr, **kinds[case.optimizer])
    return lambda epochs: net.fit(X, t, epochs=epochs, batch_size=case.batch, optimizer=optimizer, verbose=0)


def seconds_of(fit, epochs):
    begin = time.perf_counter()
    fit(epochs)
    return (time.perf_counter() - begin) / epochs


def epochs_for(fit):
    fit(1)
    return max(1, round(SECONDS / seconds_of(fit, 1)))


class Other:
    """The plain variant of another build, in a process of its own."""

    def __init__(self, folder, case):
        environment = {**os.environ, "PYTHONPATH": folder}
        command = [sys.executable, __file__, "--serve", case.name]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        where = self.process.stdout.readline().strip()
        assert os.path.dirname(where) == os.path.realpath(os.path.join(folder, "fastbp")), where

    def __call__(self, epochs):
        print(epochs, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def serve(case):
    fit = fit_of(case, "plain")
    print(os.path.realpath(importlib.util.find_spec("fastbp").origin), flush=True)
    for line in sys.stdin:
        print(seconds_of(fit, int(line)), flush=True)


def measure(case, against):
    """Median seconds of an epoch by variant."""
    measured = {}
    for variant in FITS:
        fit = fit_of(case, variant)
        measured[variant] = lambda epochs, fit=fit: seconds_of(fit, epochs)
    epochs = epochs_for(fit_of(case, "plain"))
    other = Other(against, case) if against else None
    if other:
        measured["plain, other build"] = other
    samples = {variant: [] for variant in measured}
    for k in range(ROUNDS):
        order = list(measured)
        for variant in order[k % len(order) :] + order[: k % len(order)]:
            samples[variant].append(measured[variant](epochs))
    if other:
        other.close()
    return {variant: statistics.median(values) for variant, values in samples.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=NAMES)
    parser.add_argument("--against", metavar="FOLDER")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases = select(arguments.cases)
    if arguments.serve:
        return serve(cases[0])
    for case in cases:
        medians = measure(case, arguments.against)
        plain = medians["plain"]
        print(f"{case}: {plain / case.batches * 1e6:.2f} us a step")
        for variant, median in medians.items():
            if variant != "plain":
                print(f"    {variant:<24} {100 * (median / plain - 1):+6.1f} %", flush=True)


if __name__ == "__main__":
    main()
