"""The measurement behind docs/layout.md: forward, dX and dW of six nets in three layouts, in GFLOP/s.

    python bench/layout.py [--level v3|v4] [--rounds 15]

Compiles bench/layout.c with the C compiler `cc`. Packing, activations and updates are left out: they are the same in
all three, but for the transposing of the input that `batch` needs (not counted here: `batch` is in its best light).
"""

import argparse
import ctypes
import datetime
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
NETS = {
    "2-3-1, b1": ((2, 3, 1), 1),
    "4-16-16-1, b32": ((4, 16, 16, 1), 32),
    "54-128-64-7, b256": ((54, 128, 64, 7), 256),
    "3-50x4-1, b4096": ((3, 50, 50, 50, 50, 1), 4096),
    "784-512-512-10, b128": ((784, 512, 512, 10), 128),
    "1024x4-10, b1024": ((1024, 1024, 1024, 1024, 10), 1024),
}
LAYOUTS = ("panels", "rows", "batch")
PRODUCTS = ("forward", "dX", "dW")
BLOCK_ROWS = 128
SKEW = 16


def compile_kernels(level, folder):
    library = Path(folder) / f"layout_{level}.so"
    vector_bytes = {"v3": 32, "v4": 64}[level]
    subprocess.run(
        ["cc", "-O3", "-fno-math-errno", f"-march=x86-64-{level}", "-DREAL_BITS=32", f"-DVECTOR_BYTES={vector_bytes}",
         f"-I{HERE.parent / 'src'}", "-shared", "-fPIC", "-o", library, HERE / "layout.c"],
        check=True,
    )  # fmt: skip
    return ctypes.CDLL(str(library))


def flops(sizes, batch, product):
    pairs = list(zip(sizes[:-1], sizes[1:], strict=True))[1 if product == "dX" else 0 :]
    return 2 * batch * sum(i * o for i, o in pairs)


def seconds(kernels, layout, product, sizes, batch, buffers, times):
    array = np.array(sizes, dtype=np.int64)
    pointers = [ctypes.c_void_p(b.ctypes.data) for b in buffers]
    begin = time.perf_counter()
    kernels.run(
        LAYOUTS.index(layout), PRODUCTS.index(product), len(sizes) - 1, ctypes.c_void_p(array.ctypes.data),
        ctypes.c_long(batch), ctypes.c_long(min(batch, BLOCK_ROWS)), times, *pointers, ctypes.c_long(SKEW),
    )  # fmt: skip
    return (time.perf_counter() - begin) / times


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--level", choices=("v3", "v4"), default="v3")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        kernels = compile_kernels(args.level, folder)
    widest = 1024 + 64
    buffers = [
        np.full(n, 1e-3, np.float32) for n in (widest * 256, widest * 256, *[4 * widest * widest] * 2, widest * widest)
    ]
    today = datetime.datetime.now(datetime.timezone.utc).date()
    print(f"{cpu_name()}, one core, {today}; level {args.level}, float32, GFLOP/s, medians of {args.rounds} rounds\n")
    print(f"| net | {' | '.join(f'{p} {name}' for p in PRODUCTS for name in LAYOUTS)} |")
    print("| --- |" + " ---: |" * (len(PRODUCTS) * len(LAYOUTS)))
    for net, (sizes, batch) in NETS.items():
        cells = [(p, name) for p in PRODUCTS for name in LAYOUTS]
        times = max(1, int(2e8 / (sum(flops(sizes, batch, p) for p in PRODUCTS) + 1000)))
        taken = {cell: [] for cell in cells}
        for _ in range(args.rounds):
            for p, name in cells:
                taken[p, name].append(seconds(kernels, name, p, sizes, batch, buffers, times))
        row = [f"{flops(sizes, batch, p) / statistics.median(taken[p, name]) / 1e9:.1f}" for p, name in cells]
        print(f"| {net} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
