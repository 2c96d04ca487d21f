"""Time fastbp beside its peers.

    python bench                       the six layout nets
    python bench all                   every case but Fashion-MNIST
    python bench 784-512-512-10        one case; names and groups (layout, more, calls) may be mixed
    python bench profile 4-16-16-1     how a step of it divides into phases
    python bench fashion-mnist         seconds an epoch and test accuracy
    python bench digits                test accuracy over five seeds
    python bench --list

All peers do the same work on the same numbers, on one core. Their rounds are interleaved, so that a slow minute of the
machine hits all of them; the median of the rounds counts. Before anything is timed, what each peer computes (parameters
after a few steps, outputs, gradient) is compared with a float64 run: a peer that computes something else is an error.
The roofline share is the least time that the measured FMA peak, bandwidth and function rates allow, over fastbp's time.
"""

import pin  # isort: skip  before NumPy and the peers

import argparse
import contextlib
import datetime
import importlib
import io
import json
import math
import platform
import statistics
import subprocess
import time
from dataclasses import asdict, replace
from pathlib import Path

import fashion_mnist
import numpy as np
import phases
import roofline
from calls import CALLS, FastBPCall, NumPyCall
from cases import CASES, make_data, make_parameters, select
from peers import PEERS, FastBP, NumPy, flatten

CHECK_STEPS = 8
# float32: Adam's first steps move an entry by lr whatever the size of its gradient, so that one relu unit which
# rounding puts on the other side of its kink is seen (1.1e-2 in torch and JAX on 1024x4-10; 1e-4 or less elsewhere).
CHECK_TOLERANCE = {"float32": 3e-2, "float64": 1e-10}
CALL_TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
MAX_ADAM_STEPS = 10_000  # in far longer runs the state of dead units decays to denormal numbers, which are slow


def main():
    parser = argparse.ArgumentParser(
        prog="python bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("cases", nargs="*", default=["layout"], metavar="CASE", help="names or groups")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=0.2, help="least time of one round of one peer (default: %(default)s)"
    )
    parser.add_argument("--dtype", choices=["float32", "float64"], help="instead of the case's own")
    parser.add_argument("--epochs", type=int, default=15, help="of fashion-mnist (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    args = parser.parse_args()
    if args.list:
        for case in CASES:
            print(f"{case.group:8}{case}")
        return

    available = find_peers()
    environment = describe_environment(available)
    print(f"{environment['cpu']}, core {pin.CORE}, {environment['date']}, commit {environment['commit']}")
    print("fastbp level:", environment["level"])
    print(", ".join(f"{name} {version}" for name, version in environment["versions"].items()))
    report = {"environment": environment, "rates": {}, "results": []}
    words = args.cases
    if "fashion-mnist" in words:
        report["fashion_mnist"] = run_fashion_mnist(args.epochs)
    elif "digits" in words:
        report["digits"] = importlib.import_module("digits").run()
    elif words[0] == "profile":
        for case in chosen(words[1:], args.dtype):
            rates = rates_of(case, environment, report["rates"])
            phases.show(case, *phases.profile(case, *make_data(case), make_parameters(case), args.rounds), rates)
    else:
        for case in chosen(words, args.dtype):
            result = measure(case, available, args.rounds, args.seconds)
            result["roofline"] = share(case, result, rates_of(case, environment, report["rates"]))
            report["results"].append(result)
            print_case(result)
            write(report, args.json)
        print_table(report["results"])
    write(report, args.json)


def write(report, path):
    """After every case: a run that is cut off leaves what it has."""
    if path:
        path.write_text(json.dumps(report, indent=1) + "\n")


def chosen(words, dtype):
    cases = CASES if "all" in words else select(words)
    return [replace(case, dtype=dtype) if dtype else case for case in cases]


def run_fashion_mnist(epochs):
    if not fashion_mnist.FOLDER.exists():
        print(f"fashion-mnist: skipped, {fashion_mnist.FOLDER} is missing (Debian's package dataset-fashion-mnist)")
        return None
    results = fashion_mnist.run(epochs)
    fashion_mnist.show(results)
    return results


def rates_of(case, environment, known):
    """What the core can do in the case's dtype, measured once a run; None without a C compiler."""
    if case.dtype not in known:
        try:
            known[case.dtype] = roofline.measure(environment["level"].split()[0], case.dtype)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"roofline: skipped, {error}")
            known[case.dtype] = None
        else:
            print_rates(case.dtype, known[case.dtype])
    return known[case.dtype]


def print_rates(dtype, rates):
    functions = ", ".join(f"{name} {rates[name] * 1e9:.2f} ns" for name in roofline.FUNCTIONS)
    print(f"{dtype}: {rates['flops'] / 1e9:.0f} GFLOP/s, {rates['bandwidth'] / 1e9:.0f} GB/s, {functions}")


def share(case, result, rates):
    """The least time of the step over fastbp's, or None where one of them is unknown."""
    if rates is None or "fastbp" not in result["peers"]:
        return None
    return roofline.least_seconds(case, rates, l2_bytes()) / result["peers"]["fastbp"]["median"]


def l2_bytes():
    with contextlib.suppress(OSError, ValueError):
        text = Path(f"/sys/devices/system/cpu/cpu{pin.CORE or 0}/cache/index2/size").read_text().strip()
        return int(text[:-1]) * {"K": 1024, "M": 1024**2}[text[-1]]
    return 512 * 1024


def find_peers():
    """fastbp and the peers that are installed, fastbp first; the others are named."""
    available = []
    for peer in [FastBP, *PEERS]:
        try:
            peer.version()
            available.append(peer)
        except ImportError as error:
            print(f"{peer.name}: skipped, {error}")
    return available


def classes_for(case, available):
    """The classes of the libraries that are installed, for what the case times."""
    if case.mode == "train":
        return available
    names = {peer.name for peer in available}
    return [peer for peer in [FastBPCall, *CALLS] if peer.name in names]


def measure(case, available, rounds, seconds):
    """The result of one case: for each peer its seconds a step in every round, its variant, its disagreement."""
    X, t = make_data(case)
    start = make_parameters(case)
    truth = float64_run(case, X, t, start)
    peers = {}
    for peer_class in classes_for(case, available):
        try:
            peers[peer_class.name] = prepare(peer_class, case, X, t, start, truth, seconds)
        except AssertionError:
            raise
        except Exception as error:  # torch.compile without a C++ compiler, for one
            print(f"{case.name}: {peer_class.name} skipped, {type(error).__name__}: {str(error).splitlines()[:1]}")
    for _ in range(rounds):
        for entry in peers.values():
            peer = entry["peer"]
            peer.reset()
            peer.run(peer.unit)  # the last peer's data leave the caches
            peer.reset()
            entry["seconds"].append(time_steps(peer, entry["steps"]))
    for entry in peers.values():
        del entry["peer"]
        entry["median"] = statistics.median(entry["seconds"])
    return {"case": asdict(case), "flops": case.flops, "peers": peers, **ratios(case, peers)}


def prepare(peer_class, case, X, t, start, truth, seconds):
    """The peer in its fastest variant, checked, with the number of steps that fill a round."""
    trials = {}
    for variant in peer_class.variants:
        peer = peer_class(case, X, t, start, variant)
        trials[variant] = warm_time(peer, seconds)
    best = min(trials, key=trials.get)
    if best != variant:
        peer = peer_class(case, X, t, start, best)
        warm_time(peer, seconds)
    steps = max(1, math.ceil(seconds / trials[best] / peer.unit)) * peer.unit
    if case.optimizer == "adam":
        steps = min(steps, max(peer.unit, MAX_ADAM_STEPS // peer.unit * peer.unit))
    disagreement = check(peer, case, start, truth)
    return {"peer": peer, "variant": best, "steps": steps, "disagreement": disagreement, "seconds": []}


def warm_time(peer, seconds):
    """Seconds a step once compiled and warm: the best of three short runs."""
    peer.reset()
    peer.run(peer.unit)
    first = time_steps(peer, peer.unit)
    steps = max(1, round(seconds / 10 / first / peer.unit)) * peer.unit
    return min(first, time_steps(peer, steps), time_steps(peer, steps))


def time_steps(peer, steps):
    begin = time.perf_counter()
    peer.run(steps)
    return (time.perf_counter() - begin) / steps


def check_steps(case):
    return min(CHECK_STEPS, case.batches)


def float64_run(case, X, t, start):
    """The parameters after a few steps, or what the call gives, in float64."""
    exact = replace(case, dtype="float64")
    t = t if t.dtype.kind == "i" else t.astype(float)
    arguments = exact, X.astype(float), t, [p.astype(float) for p in start], None
    if case.mode != "train":
        return NumPyCall(*arguments).result().copy()
    peer = NumPy(*arguments)
    peer.reset()
    peer.run(check_steps(case))
    return peer.parameters()


def check(peer, case, start, truth):
    """How far apart the parameters end, relative to how far they went; of calls, the relative error of the result."""
    if case.mode != "train":
        apart = np.linalg.norm(peer.result().reshape(truth.shape) - truth) / np.linalg.norm(truth)
        assert apart <= CALL_TOLERANCE[case.dtype], (
            f"{case.name}: {peer.name} computes something else: {apart:.1e} apart"
        )
        return float(apart)
    peer.reset()
    peer.run(check_steps(case))
    apart = np.linalg.norm(peer.parameters() - truth) / np.linalg.norm(truth - flatten(start))
    assert apart <= CHECK_TOLERANCE[case.dtype], f"{case.name}: {peer.name} computes something else: {apart:.1e} apart"
    return float(apart)


def ratios(case, peers):
    """GFLOP/s of fastbp, and the best peer's time over fastbp's."""
    others = {name: entry["median"] for name, entry in peers.items() if name != FastBP.name}
    if FastBP.name not in peers or not others:
        return {}
    own = peers[FastBP.name]["median"]
    best = min(others, key=others.get)
    return {"gflops": case.flops / own / 1e9, "best_peer": best, "ratio": others[best] / own}


def print_case(result):
    print(f"\n{result['case']['name']}: {result['case']['activation']} {result['case']['loss']}, ", end="")
    what = result["case"]["optimizer"] or result["case"]["mode"]
    print(f"batch {result['case']['batch']}, {what}, {result['case']['dtype']}", end="")
    print(f", {100 * result['roofline']:.0f} % of the roofline" if result["roofline"] else "")
    for name, entry in result["peers"].items():
        low, high = min(entry["seconds"]), max(entry["seconds"])
        print(
            f"  {name:14}{format_time(entry['median']):>10}  ({format_time(low)} to {format_time(high)})  "
            f"{result['flops'] / entry['median'] / 1e9:6.1f} GFLOP/s  {entry['variant'] or ''}",
            flush=True,
        )


def print_table(results):
    """Time a step of each, and what it says."""
    names = list(dict.fromkeys(name for result in results for name in result["peers"]))
    header = ["case", *names, "GFLOP/s", "roofline", "best peer / fastbp"]
    rows = []
    for result in results:
        times = [format_time(result["peers"][n]["median"]) if n in result["peers"] else "-" for n in names]
        if "ratio" in result:
            reached = f"{100 * result['roofline']:.0f} %" if result["roofline"] else "-"
            verdict = [f"{result['gflops']:.1f}", reached, f"{result['ratio']:.2f} ({result['best_peer']})"]
        else:
            verdict = ["-", "-", "-"]
        rows.append([result["case"]["name"], *times, *verdict])
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    print()
    for row in [header, *rows]:
        name, *cells = (cell.rjust(w) for cell, w in zip(row, widths, strict=True))
        print("  ".join([name.strip().ljust(widths[0]), *cells]))


def format_time(seconds):
    for unit, scale in (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3)):
        if seconds < 1000 * scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds:.3g} s"


def describe_environment(available):
    config = fastbp_config() if FastBP in available else {}
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "core": pin.CORE,
        "python": platform.python_version(),
        "commit": commit(),
        "versions": {peer.name: peer.version() for peer in available},
        "level": config.get("level"),
        "fastbp_config": config,
    }


def fastbp_config():
    """What fastbp.show_config() prints: level, threads, build flags."""
    text = io.StringIO()
    importlib.import_module("fastbp").show_config(file=text)
    return dict(line.split(maxsplit=1) for line in text.getvalue().splitlines())


def cpu_name():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def commit():
    """The checkout's commit, marked where the tree differs from it; None outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return None


if __name__ == "__main__":
    main()
