"""Training on memory maps beside the same numbers in memory: seconds of an epoch, and the anonymous memory it takes.

    python bench/out_of_core.py [--gb 4] [--folder /var/tmp] [--rounds 3] [--json FILE]

Writes a file of random numbers (float32 inputs; labels and weights beside it), reads it once so that it is cached, then
lets two processes train an epoch in turn, one on maps, one on arrays. RssAnon of /proc/self/status is looked at every
20 ms: what a process has taken itself, without the pages of the file. Needs twice the file's size of memory.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

INPUTS, CLASSES = 128, 10
NETS = {  # hidden layers, batch
    "128-32-10, batch 32": ((32,), 32),
    "128-128-64-10, batch 256": ((128, 64), 256),
}
ROWS_AT_A_TIME = 1 << 16


def write(folder, rows):
    """The three files."""
    rng = np.random.default_rng(0)
    plane = rng.standard_normal((INPUTS, CLASSES), dtype="f4")
    files = [np.memmap(folder / name, dtype, "w+", shape=shape) for name, dtype, shape in files_of(rows)]
    for first in range(0, rows, ROWS_AT_A_TIME):
        part = slice(first, min(rows, first + ROWS_AT_A_TIME))
        X = rng.standard_normal((part.stop - first, INPUTS), dtype="f4")
        for file, numbers in zip(files, (X, (X @ plane).argmax(axis=1), rng.uniform(0.5, 1.5, len(X))), strict=True):
            file[part] = numbers
    for file in files:
        file.flush()


def files_of(rows):
    return [("X", "f4", (rows, INPUTS)), ("labels", "i8", (rows,)), ("weights", "f8", (rows,))]


def anonymous():
    """RssAnon in bytes."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))


class Watch(threading.Thread):
    """The most anonymous memory while it runs."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.ended = anonymous(), threading.Event()

    def run(self):
        while not self.ended.wait(0.02):
            self.most = max(self.most, anonymous())


def child(side, folder, rows):
    """Trains an epoch for each line of standard input: a net's name and whether to shuffle; answers in JSON."""
    import fastbp as fb

    data = [np.memmap(folder / name, dtype, "r", shape=shape) for name, dtype, shape in files_of(rows)]
    if side == "memory":
        data = [np.array(file) for file in data]
    else:
        for file in data:  # into the cache
            for first in range(0, rows, ROWS_AT_A_TIME):
                file[first : first + ROWS_AT_A_TIME].sum()
    fb.Network([INPUTS, CLASSES]).fit(np.ones((2, INPUTS)), [0, 1], epochs=1, verbose=0)
    print(json.dumps({"anonymous": anonymous()}), flush=True)
    for line in sys.stdin:
        name, shuffle = json.loads(line)
        hidden, batch = NETS[name]
        net = fb.Network([INPUTS, *hidden, CLASSES], seed=0)
        before, watch = anonymous(), Watch()
        watch.start()
        run = {"epochs": 1, "batch_size": batch, "shuffle": shuffle, "optimizer": fb.Adam(1e-3)}
        history, cpu = cpu_seconds(net, data, run)
        watch.ended.set()
        watch.join()
        entry = {"seconds": history["seconds"][0], "cpu": cpu, "loss": history["loss"][0]}
        print(json.dumps({**entry, "before": before, "most": watch.most}), flush=True)


def cpu_seconds(net, data, run):
    """Of all threads, from the door of fit to the end of its one epoch: what a busy machine changes least."""
    import fastbp as fb

    times = []

    class Clock(fb.callbacks.Callback):
        def begin(self, net, names):
            times.append(time.process_time())

        def __call__(self, net, history):
            times.append(time.process_time())

    X, labels, weights = data
    history = net.fit(X, labels, sample_weight=weights, callbacks=Clock(), verbose=0, **run)
    return history.history, times[1] - times[0]


class Side:
    """One of the two processes."""

    def __init__(self, side, folder, rows):
        command = [sys.executable, "-P", __file__, "--child", side, str(folder), str(rows)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.start = json.loads(self.process.stdout.readline())["anonymous"]

    def epoch(self, *what):
        print(json.dumps(what), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def measure(folder, rows, rounds):
    sides = {side: Side(side, folder, rows) for side in ("map", "memory")}
    results = []
    for name in NETS:
        for shuffle in (True, False):
            epochs = {side: [] for side in sides}
            for _ in range(rounds):
                for side, process in sides.items():
                    epochs[side].append(process.epoch(name, shuffle))
            seconds, cpu = (
                {side: statistics.median(epoch[what] for epoch in epochs[side]) for side in sides}
                for what in ("seconds", "cpu")
            )
            most = max(epoch["most"] for epoch in epochs["map"]) - sides["map"].start
            results.append({
                "net": name, "shuffle": shuffle, "rows": rows, "seconds": seconds, "RssAnon of the map": most,
                "speed of memory": seconds["memory"] / seconds["map"], "cpu": cpu,
                "losses": {side: epochs[side][0]["loss"] for side in sides},
            })  # fmt: skip
            print(
                f"{name}, {'shuffled' if shuffle else 'in order'}: map {seconds['map']:.2f} s, memory "
                f"{seconds['memory']:.2f} s: {100 * results[-1]['speed of memory']:.0f} % of the speed in memory "
                f"({100 * cpu['memory'] / cpu['map']:.0f} % by processor time); "
                f"RssAnon of the map grew by {most / 2**20:.0f} MB at most, loss {results[-1]['losses']}",
                flush=True,
            )
    for process in sides.values():
        process.end()
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=4.0)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        side, folder, rows = args.child
        child(side, Path(folder), int(rows))
        return
    rows = int(args.gb * 2**30 / (4 * INPUTS))
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        begin = time.perf_counter()
        write(Path(folder), rows)
        print(f"{rows} rows of {INPUTS} float32, {args.gb:g} GB, written in {time.perf_counter() - begin:.0f} s")
        results = measure(Path(folder), rows, args.rounds)
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
