"""Threads: steps of the cases of `python bench` with one thread and with more, and what the machine would allow.

    python bench/threads.py

In each round a net trains with 1, 2, ... threads, and then as many nets as there are CPUs train side by side, a thread
and data of its own each. These share nothing, so what they do together, beside one of them alone, is what the machine
gives at that moment: on shared cores less than their number, and not always the same. Medians of the rounds' ratios.
"""

import pin  # isort: skip  before NumPy

import os
import statistics
import threading
import time

from cases import CASES, make_data

import fastbp as fb
from fastbp import config

SECONDS = 0.15  # of one measurement
ROUNDS = 15


def measure(most):
    """Of every case: seconds a step with 1 .. most threads, and how many times as fast those were, round by round."""
    rows = []
    for case in CASES:
        if case.mode == "train" and case.batch > 1:
            rows.append(one_case(case, most))
            print(line(rows[-1], most), flush=True)
    return rows


def one_case(case, most):
    X, targets = make_data(case)
    fit = {"batch_size": case.batch, "shuffle": False, "optimizer": fb.Adam(), "verbose": 0}
    together = {threads: network(case, threads) for threads in range(1, most + 1)}
    apart = [(network(case, 1), X.copy(), targets.copy()) for _ in range(most)]
    epochs = max(1, int(SECONDS / wall(lambda: together[1].fit(X, targets, epochs=1, **fit))))
    runs = {threads: [] for threads in together}
    machine = []
    for _ in range(ROUNDS):
        for threads, net in together.items():
            runs[threads].append(wall(lambda net=net: net.fit(X, targets, epochs=epochs, **fit)))
        machine.append(wall(lambda: side_by_side(apart, epochs=epochs, **fit)))
    steps = epochs * (len(X) // case.batch)
    side_by_side_speedup = [most * one / all_of_them for one, all_of_them in zip(runs[1], machine, strict=True)]
    return {
        "case": case.name,
        "asked": together[most]._engine.threads_for(case.batch),
        "seconds": {threads: statistics.median(run) / steps for threads, run in runs.items()},
        "speedup": {
            threads: statistics.median(one / run for one, run in zip(runs[1], runs[threads], strict=True))
            for threads in runs
        },
        "machine": statistics.median(side_by_side_speedup),
    }


def network(case, threads):
    return fb.Network(
        list(case.sizes), activation=case.activation, loss=case.loss, dtype=case.dtype, seed=0, threads=threads
    )


def wall(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def side_by_side(apart, **fit):
    trainers = [threading.Thread(target=net.fit, args=data, kwargs=fit) for net, *data in apart]
    for trainer in trainers:
        trainer.start()
    for trainer in trainers:
        trainer.join()


def line(row, most):
    speedups = ", ".join(f"{threads} threads {row['speedup'][threads]:.2f}" for threads in range(2, most + 1))
    return (
        f"{row['case']:22} {1e6 * row['seconds'][1]:10.1f} us alone; times as fast: {speedups}; "
        f"{most} nets side by side {row['machine']:.2f}; asks for {row['asked']}"
    )


def on_all_cpus(work):
    """work() with every CPU that the process may use."""
    if pin.CORE is not None:
        os.sched_setaffinity(0, pin.USABLE)
    try:
        return work()
    finally:
        if pin.CORE is not None:
            os.sched_setaffinity(0, {pin.CORE})


def main():
    print(f"{config.cpu_name()}, {time.strftime('%Y-%m-%d')}, level {config.LEVEL}")
    on_all_cpus(lambda: measure(max(1, len(pin.USABLE))))


if __name__ == "__main__":
    main()
