"""How the time grows with rows, with width and with threads: docs/scaling.svg and the figures behind it.

    python bench/scaling.py [--json FILE] [--svg docs/scaling.svg]

Per row and multiply-add, a net of one width throughout should cost the same at any batch and any width, as far as its
numbers fit into cache; a shape that costs more than 1.3 times its neighbours is named. Threads: what bench/threads.py
measures. Numbers are medians; there is no peer here.
"""

import pin  # isort: skip  before NumPy

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import threads

import fastbp as fb
from fastbp import config

WIDTHS = (4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 50, 63, 64, 65, 96, 100, 127, 128, 129, 192, 200, 255, 256, 257,
          300, 384, 500, 512, 513, 768, 1000, 1023, 1024, 1025, 1536, 2048, 3000, 4096)  # fmt: skip
BATCHES = (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 100, 127, 128, 129, 200, 255, 256,
           257, 300, 384, 500, 511, 512, 513, 700, 1000, 1024, 1025, 2048, 4096, 8192)  # fmt: skip
WIDTH_OF_BATCHES = (64, 256)
BATCH_OF_WIDTHS = 64
FROM_WIDTH, FROM_BATCH, MOST_OVER_NEIGHBOURS = 64, 8, 1.3
SECONDS = 0.03  # of one measurement
ROUNDS = 5


def repeat(work):
    """Seconds of one call: the median of several runs, each long enough for the clock."""
    work()
    begin = time.perf_counter()
    work()
    times = max(1, int(SECONDS / (time.perf_counter() - begin + 1e-9)))
    runs = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for _ in range(times):
            work()
        runs.append((time.perf_counter() - begin) / times)
    return statistics.median(runs)


def one_shape(width, batch, dtype):
    """Seconds of a forward pass and of a training step on a net width-width-width-width."""
    net = fb.Network([width] * 4, activation="relu", loss="mse", dtype=dtype, seed=0, threads=1)
    steps = max(1, min(64, 2**20 // (batch * width)))
    rng = np.random.default_rng(0)
    X = rng.standard_normal((batch * steps, width)).astype(dtype)
    y = rng.standard_normal((batch * steps, width)).astype(dtype)
    out = np.empty((batch, width), dtype)
    forward = repeat(lambda: net.predict(X[:batch], out=out))
    fit = {"epochs": 1, "batch_size": batch, "shuffle": False, "optimizer": fb.Adam(), "verbose": 0}
    return {
        "width": width,
        "batch": batch,
        "forward": forward,
        "training": repeat(lambda: net.fit(X, y, **fit)) / steps,
    }


def sweep(shapes, dtype):
    rows = []
    for width, batch in shapes:
        rows.append(one_shape(width, batch, dtype))
        print(f"{dtype} width {width:5} batch {batch:5}: " + ", ".join(
            f"{what} {1e12 * rows[-1][what] / (batch * 3 * width**2):8.2f} ps a row and weight"
            for what in ("forward", "training")
        ), flush=True)  # fmt: skip
    return rows


def outliers(rows, along):
    """Shapes that cost more than MOST_OVER_NEIGHBOURS times both neighbours, per row and weight."""
    found = []
    for what in ("forward", "training"):
        cost = [row[what] / (row["batch"] * row["width"] ** 2) for row in rows]
        for k in range(1, len(rows) - 1):
            if rows[k]["width"] >= FROM_WIDTH and rows[k]["batch"] >= FROM_BATCH:
                over = cost[k] / max(cost[k - 1], cost[k + 1])
                if over > MOST_OVER_NEIGHBOURS:
                    found.append(f"{what} at {along} {rows[k][along]}: {over:.2f} times its neighbours")
    return found


def draw(report, path):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "fastbp"
    from matplotlib import pyplot

    figure, (by_batch, by_width, by_threads) = pyplot.subplots(1, 3, figsize=(13, 4), constrained_layout=True)
    for width, rows in report["batches"].items():
        for what, style in (("forward", "--"), ("training", "-")):
            by_batch.loglog([r["batch"] for r in rows], [1e6 * r[what] / r["batch"] for r in rows], style, marker=".",
                            label=f"{what}, width {width}")  # fmt: skip
    for dtype, rows in report["widths"].items():
        for what, style in (("forward", "--"), ("training", "-")):
            by_width.loglog([r["width"] for r in rows], [1e6 * r[what] / r["batch"] for r in rows], style, marker=".",
                            label=f"{what}, {dtype}")  # fmt: skip
    for row in report["threads"]:
        alone, most = 1e6 * row["seconds"][1], report["most"]
        by_threads.semilogx(alone, row["speedup"][most], "o", color="C0", label="one net, all threads")
        by_threads.semilogx(alone, row["machine"], "_", color="C1", label="nets side by side, a thread each")
    by_threads.axhline(1, color="grey", linewidth=0.7)
    by_batch.set(xlabel="batch", ylabel="µs a row", title="rows (three layers of one width)")
    by_width.set(xlabel="width", ylabel="µs a row", title=f"width (batch {BATCH_OF_WIDTHS})")
    by_threads.set(
        xlabel="µs a step, one thread", ylabel="times as fast", title=f"{report['most']} threads (bench cases)"
    )
    by_batch.legend(fontsize=7)
    by_width.legend(fontsize=7)
    handles, labels = by_threads.get_legend_handles_labels()
    by_threads.legend(handles[:2], labels[:2], fontsize=7)
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--svg", type=Path, help="draw them to this file (needs matplotlib)")
    args = parser.parse_args()
    cpu = config.cpu_name()
    print(f"{cpu}, {time.strftime('%Y-%m-%d')}, level {config.LEVEL}")
    report = {"cpu": cpu, "date": time.strftime("%Y-%m-%d"), "level": config.LEVEL, "most": max(1, len(pin.USABLE))}
    report["threads"] = threads.on_all_cpus(lambda: threads.measure(report["most"]))
    report["batches"] = {w: sweep([(w, b) for b in BATCHES], "float32") for w in WIDTH_OF_BATCHES}
    report["widths"] = {d: sweep([(w, BATCH_OF_WIDTHS) for w in WIDTHS], d) for d in ("float32", "float64")}
    report["outliers"] = [
        *(line for rows in report["batches"].values() for line in outliers(rows, "batch")),
        *(line for rows in report["widths"].values() for line in outliers(rows, "width")),
    ]
    print("\n".join(report["outliers"]) or f"no shape costs more than {MOST_OVER_NEIGHBOURS} times its neighbours")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))
    if args.svg:
        draw(report, args.svg)


if __name__ == "__main__":
    main()
