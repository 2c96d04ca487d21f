"""Trainings killed with SIGKILL at random moments, each resumed to the bits of one that was never interrupted.

python tests/kill_nine.py [--times 200] [--seed 0]
"""

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

from resumable import Case, ending  # noqa: E402

import fastbp as fb  # noqa: E402

KINDS = ["array", "memory map", "early stopping", "batches"]
ROWS = 2000
READY = "begins"


def case_of(kind, folder):
    """Half a second of training or more, most of it in writing checkpoints."""
    options = {"epochs": 12, "batch_size": 8, "rows": ROWS, "folder": folder}
    if kind == "early stopping":
        return Case(stop=True, optimizer=fb.SGD(0.01, momentum=0.9), **options)
    if kind == "array":
        options["epochs"] = 150
    return Case(kind, **options)


def checkpoint(kind, path):
    return fb.Checkpoint(path, every_seconds=0.005) if kind == "array" else fb.Checkpoint(path, every_steps=37)


def child(kind, folder, path):
    """What is killed: from the beginning, or from the file where there is one."""
    case = case_of(kind, folder)
    resumed = path.exists()
    print(READY, flush=True)
    if resumed:
        case.resume(path, checkpoint(kind, path))
    else:
        case.fit(checkpoint(kind, path))


def digest(net):
    return hashlib.sha256(repr(ending(net)).encode()).hexdigest()


def kill(kind, folder, path, seconds):
    """Starts a child and kills it so many seconds after its first checkpoint; whether it was still training."""
    command = [sys.executable, "-P", __file__, "--child", kind, str(folder), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == READY, kind
        while not path.exists():
            time.sleep(0.001)
        try:
            process.wait(seconds)
            assert process.returncode == 0, kind
            return False
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return True


def run(times, seed, kinds=KINDS, folder=None):
    """How many of so many killed trainings, resumed, ended with the right bits. One in three is killed twice."""
    rng = random.Random(seed)
    print(f"seed {seed}")
    right, moments = 0, {"first epoch": 0, "later": 0, "ended": 0}
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        folder = Path(temporary)
        whole, took = {}, {}
        for kind in kinds:
            case_of(kind, folder)  # writes the memory maps, before children read them
            begin = time.perf_counter()
            whole[kind] = digest(case_of(kind, folder).fit(checkpoint(kind, folder / "whole")))
            took[kind] = time.perf_counter() - begin
        for k in range(times):
            kind, path = kinds[k % len(kinds)], folder / f"run-{k}"
            killed = [kill(kind, folder, path, rng.uniform(0, took[kind])) for _ in range(1 + (rng.random() < 1 / 3))]
            case = case_of(kind, folder)
            point = fb.resume(path)
            moments["ended" if point.finished else "later" if point.epoch else "first epoch"] += 1
            same = digest(case.resume(path, checkpoint(kind, path))) == whole[kind]
            right += same
            leftovers = len(list(folder.glob(".fastbp-*.tmp")))
            if not same:
                print(f"seed {seed}, time {k}, {kind}: other bits (killed: {killed}, unfinished files: {leftovers})")
            path.unlink(missing_ok=True)
    print(json.dumps({"times": times, "same bits": right, "moments": moments, "seconds of a run": took}))
    return right


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        kind, folder, path = args.child
        child(kind, Path(folder), Path(path))
        return
    sys.exit(0 if run(args.times, args.seed) == args.times else 1)


if __name__ == "__main__":
    main()
