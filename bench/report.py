"""The README's performance section, from the JSON of `python bench all --json FILE`: a table and a chart.

    python bench/report.py FILE [FASHION_MNIST_FILE] [--scaling SCALING_FILE]

Writes README.md between its bench markers, and docs/performance.svg (needs matplotlib); the chart of the growth is what
`python bench/scaling.py --json SCALING_FILE --svg docs/scaling.svg` drew.
"""

import argparse
import json
import statistics
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
CHART, GROWTH = "docs/performance.svg", "docs/scaling.svg"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="JSON of python bench all")
    parser.add_argument("fashion_mnist", type=Path, nargs="?", help="JSON of python bench fashion-mnist")
    parser.add_argument("--scaling", type=Path, help="JSON of python bench/scaling.py")
    args = parser.parse_args()
    report = json.loads(args.file.read_text())
    parts = [origin(report["environment"]), table(report["results"]), f"![best peer over fastbp]({CHART})"]
    if args.fashion_mnist:
        parts.append(fashion_mnist(json.loads(args.fashion_mnist.read_text())))
    if args.scaling:
        parts.append(scaling(json.loads(args.scaling.read_text())))
    readme = ROOT / "README.md"
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(before + BEGIN + "\n" + "\n\n".join(parts) + "\n" + END + after)
    draw(report["results"], ROOT / CHART)


def origin(environment):
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return (
        f"Medians of interleaved rounds, one core of {environment['cpu']}, level {environment['level'].split()[0]}, "
        f"{environment['date'][:10]}, commit {environment['commit']}; {versions}. Made by "
        "`python bench all --json FILE` and `python bench/report.py FILE`. `ratio` is the best peer's time over "
        "fastbp's; `roofline` is the least time that the core's measured rates allow, over fastbp's. Where a peer "
        "itself runs at 70 to 80 % of the core's peak, there is little to be ahead of."
    )


def scaling(report):
    """Threads, and how the time grows, in words and a chart."""
    most = report["most"]
    lines = [
        f"Steps of the same nets with one thread and with {most}, in turn, Adam; beside that, what {most} nets do side "
        f"by side, a thread each, sharing nothing: what the machine gave in the same seconds ({report['cpu']}, level "
        f"{report['level']}, {report['date']}, `python bench/scaling.py --json FILE --svg {GROWTH}`). One thread and "
        f"{most} end in the same bits:",
        "",
        f"| case | one thread | {most} threads | times as fast | {most} nets side by side |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in report["threads"]:
        alone, together = (seconds(row["seconds"][threads]) for threads in ("1", str(most)))
        if row["asked"] > 1:
            speedups = f"{row['speedup'][str(most)]:.2f} | {row['machine']:.2f}"
            lines.append(f"| {row['case']} | {alone} | {together} | {speedups} |")
    small = [row["case"] for row in report["threads"] if row["asked"] == 1]
    lines += ["", f"Too small to ask for a second thread: {', '.join(small)}."]
    outliers = "; ".join(report["outliers"]) or "No shape of the chart's costs more than 1.3 times both its neighbours"
    lines += ["", f"{outliers} (per row and weight, from width 64 and batch 8 on).", ""]
    lines += [f"![time over rows, widths and threads]({GROWTH})"]
    return "\n".join(lines)


def table(results):
    names = list(dict.fromkeys(name for result in results for name in result["peers"]))
    lines = [
        "| " + " | ".join(["case", *names, "ratio", "roofline"]) + " |",
        "| --- |" + " ---: |" * (len(names) + 2),
    ]
    for result in results:
        case = result["case"]
        label = f"{case['name']} {case['activation']} b{case['batch']} {case['optimizer']}".strip()
        cells = [seconds(result["peers"][n]["median"]) if n in result["peers"] else "" for n in names]
        reached = f"{100 * result['roofline']:.0f} %" if result.get("roofline") else ""
        lines.append("| " + " | ".join([label, *cells, f"{result['ratio']:.2f}", reached]) + " |")
    return "\n".join(lines)


def seconds(value):
    for unit, scale in (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3)):
        if value < 1000 * scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.3g} s"


def fashion_mnist(report):
    lines = ["Fashion-MNIST, 784-256-128-10 relu, batches of 128, Adam (`python bench fashion-mnist`):", ""]
    lines += ["| | seconds an epoch | test accuracy after the last epoch |", "| --- | ---: | ---: |"]
    for name, values in report["fashion_mnist"].items():
        n = len(values["accuracy"])
        lines.append(
            f"| {name} | {statistics.median(values['seconds']):.2f} | {values['accuracy'][-1]:.4f} ({n} epochs) |"
        )
    return "\n".join(lines)


def draw(results, path):
    """Bars of the best peer's time over fastbp's, one a case, and a line where both are level."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "fastbp"
    from matplotlib import pyplot

    results = [result for result in results if "ratio" in result][::-1]
    figure, axes = pyplot.subplots(figsize=(7, 0.32 * len(results) + 1))
    ratios = [result["ratio"] for result in results]
    axes.barh([result["case"]["name"] for result in results], ratios, color="#3b6ea5")
    for k, result in enumerate(results):
        axes.text(result["ratio"], k, f" {result['ratio']:.2f} {result['best_peer']}", va="center", fontsize=7)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("best peer's time / fastbp's time")
    axes.set_xlim(0, 1.25 * max(ratios))
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
