"""Times a step of each optimiser, and of each option, beside plain Adam: python bench/optimizers.py [--rounds N].

Two nets; everything takes turns within one run on one core, a few milliseconds each, so that what slows the machine
slows all alike.
"""

import argparse
import dataclasses
import statistics
import time

import pin
from cases import make_data, make_parameters, select

# isort: split
import fastbp as fb

EVERY_OPTION = {"clip_norm": 1.0, "clip_value": 0.1, "l1": 1e-5, "weight_decay": 1e-4, "decay_bias": False}
OPTIMIZERS = [
    fb.Adam(),
    fb.Adam(weight_decay=1e-4),
    fb.Adam(l1=1e-5),
    fb.Adam(clip_norm=1.0),
    fb.Adam(clip_value=0.1),
    fb.Adam(weight_decay=1e-4, decay_bias=False),
    fb.Adam(**EVERY_OPTION),
    fb.AMSGrad(),
    fb.AdamW(),
    fb.AdamW(decay_bias=False),
    fb.NAdam(),
    fb.RMSprop(),
    fb.RMSprop(momentum=0.9),
    fb.RMSprop(centered=True),
    fb.RMSprop(centered=True, momentum=0.9),
    fb.Adagrad(),
    fb.Rprop(),
    fb.SGD(1e-3),
    fb.SGD(1e-3, momentum=0.9),
    fb.SGD(1e-3, momentum=0.9, nesterov=True),
    fb.SGD(1e-3, clip_norm=1.0),
]
NETS = {"54-128-64-7": 8, "17-64-64-6": 100}  # and steps at a time


class Run:
    """A net that trains with one optimiser, by the core's own call, which leaves Rprop its small batches."""

    def __init__(self, case, optimizer):
        self.net = fb.Network(list(case.sizes), activation=case.activation, loss=case.loss, seed=0, threads=1)
        for view, start in zip(self.net.weights, make_parameters(case)[::2], strict=True):
            view[:] = start
        self.X, y = make_data(case)
        self.targets = fb.data.targets(y, len(self.X), case.sizes[-1], self.net.objective, self.net.dtype)
        self.case = case
        self.net._set_optimizer(optimizer)

    def epoch(self):
        """Seconds a step."""
        code = self.net._core_loss.code_for(self.targets)
        begin = time.perf_counter()
        self.net._engine.train(self.X, self.targets, None, None, len(self.X), self.case.batch, code)
        return (time.perf_counter() - begin) / self.case.batches


def measure(case, rounds):
    """Medians over the rounds: microseconds a step, and the ratio to Adam's of the same round."""
    runs = [Run(case, optimizer) for optimizer in OPTIMIZERS]
    times = []
    for k in range(rounds + 1):
        order = list(enumerate(runs))
        for at, run in order if k % 2 else order[::-1]:
            times.append((k, at, run.epoch()))
    seconds = {(k, at): t for k, at, t in times if k > 0}  # the first round warms up
    for at in range(len(runs)):
        of_it = [seconds[k, at] for k in range(1, rounds + 1)]
        ratios = [seconds[k, at] / seconds[k, 0] for k in range(1, rounds + 1)]
        yield 1e6 * statistics.median(of_it), statistics.median(ratios)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=101)
    rounds = parser.parse_args().rounds
    cases = [dataclasses.replace(case, batches=NETS[case.name]) for case in select(NETS)]
    columns = [list(measure(case, rounds)) for case in cases]
    print(f"{fb.config.cpu_name()}, level {fb.config.LEVEL}, core {pin.CORE}, medians of {rounds} rounds\n")
    heads = [f"{case.name} {case.activation} b{case.batch}" for case in cases]
    print(f"| optimiser | {' | '.join(f'{head}, µs | beside Adam' for head in heads)} |")
    print("| --- |" + " ---: |" * (2 * len(cases)))
    for at, optimizer in enumerate(OPTIMIZERS):
        cells = [f"{column[at][0]:.2f} | {column[at][1]:.3f}" for column in columns]
        print(f"| `{optimizer}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
