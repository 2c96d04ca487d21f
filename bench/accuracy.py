"""Measures src/transcendental.h: errors in ULP against a wider type, and nanoseconds an element.

    python bench/accuracy.py --quick                  # a sample: a minute
    python bench/accuracy.py --write docs/accuracy.md # every float32, 2^26 float64 a function: half an hour of one core

Activations and slopes, which have no bound in ULP, are measured at a hundredth of that.

Compiles bench/accuracy.c with the C compiler `cc` (or $CC) once for each level that this CPU runs. float32 results are
compared with the C library's double functions, float64 with its 80-bit long double ones; those are held to mpmath at
sampled points where it is installed. An error is counted in ULP of the exact result: the spacing of the dtype there,
that of subnormals below the smallest normal number; an infinity counts as the first power of two too large.
"""

import argparse
import ctypes
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastbp.config import cpu_name, supported_levels

HERE = Path(__file__).resolve().parent
# as in setup.py: what may change results or speed
FLAGS = ["-O3", "-fno-math-errno", "-ffp-contract=fast", "-fno-trapping-math", "-Wall", "-Wextra"]
LEVELS = {
    "v2": (["-march=x86-64-v2"], 16),
    "v3": (["-march=x86-64-v3"], 32),
    "v4": (["-march=x86-64-v4", "-mprefer-vector-width=512"], 64),
    "neon": ([], 16),
    "generic": ([], 16),
}
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
WIDE = {4: np.float64, 8: np.longdouble}
BOUNDED = ("exp", "expm1", "tanh", "sigmoid", "erf", "softplus")
FUNCTIONS = (*BOUNDED, "normal_cdf")
ACTIVATIONS = ("gelu", "gelu_tanh", "silu", "elu", "selu")
SLOPES = (*ACTIVATIONS, "sigmoid", "tanh")
PLAIN = [f"f_{name}" for name in FUNCTIONS]
BUILT_ON_THEM = [f"f_{name}" for name in ACTIVATIONS] + [f"slope_{name}" for name in SLOPES]
SYMBOLS = PLAIN + BUILT_ON_THEM
BOUNDS = {4: 3.0, 8: 4.0}  # ULP, of the functions in BOUNDED
THINNING = 101  # activations and slopes: each 101st float32, and as much less float64
CHUNK = 1 << 15
TIMED = 2048  # numbers: input and output stay in the L1 cache
SEED = 20240229


def compile_library(folder, dtype, level=None):
    """The functions at `level`, or their reference where that is None."""
    target = Path(folder) / f"{level}_{dtype.name}.so"
    flags, vector_bytes = LEVELS[level] if level else (["-DREFERENCE", "-march=native"], 0)
    command = [os.environ.get("CC", "cc"), *FLAGS, *flags, f"-DREAL_BITS={8 * dtype.itemsize}"]
    command += [f"-DVECTOR_BYTES={vector_bytes}", f"-I{HERE.parent / 'src'}", "-shared", "-fPIC", "-o", str(target)]
    done = subprocess.run([*command, str(HERE / "accuracy.c"), "-lm"], capture_output=True, text=True)
    if done.returncode or done.stderr:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return ctypes.CDLL(str(target))


def address(array):
    return ctypes.c_void_p(array.ctypes.data)


class Libraries:
    """The reference and the levels of one dtype, with the arrays they write into."""

    def __init__(self, dtype, levels, folder):
        self.dtype = dtype
        self.reference = compile_library(folder, dtype)
        self.levels = {level: compile_library(folder, dtype, level) for level in levels}
        self.exact = np.empty(CHUNK, WIDE[dtype.itemsize])
        self.errors = np.empty((2, CHUNK))

    def compute_exact(self, symbol, x):
        """In the wide dtype, (n,), n <= CHUNK; overwritten by the next call."""
        assert x.size <= CHUNK
        getattr(self.reference, symbol)(address(x), address(self.exact), ctypes.c_long(x.size))
        return self.exact[: x.size]

    def compute(self, level, symbol, x, times=1, out=None):
        """(n,) in the dtype; n is made a multiple of every vector length first, unless there is an `out`."""
        padded = np.concatenate([x, np.zeros(-x.size % 16, x.dtype)]) if x.size % 16 else x
        z = np.empty_like(padded) if out is None else out
        getattr(self.levels[level], symbol)(address(padded), address(z), ctypes.c_long(z.size), ctypes.c_long(times))
        return z[: x.size]

    def compute_errors(self, z):
        """(2, n): errors of z against the last compute_exact, in ULP and in ULP at max(|exact|, 1); overwritten by the
        next call."""
        errors, scaled = self.errors
        self.reference.errors(address(self.exact), address(z), address(errors), address(scaled), ctypes.c_long(z.size))
        return self.errors[:, : z.size]


@dataclass
class Worst:
    error: float = 0.0
    x: float = 0.0

    def update(self, errors, x):
        if errors.max() > self.error:
            at = int(errors.argmax())
            self.error, self.x = float(errors[at]), float(x[at])


def every_float32(stride=1):
    """All 2^32 bit patterns, or each stride-th, in chunks."""
    offsets = np.arange(CHUNK, dtype=np.uint64) * np.uint64(stride)
    for first in range(0, 1 << 32, CHUNK * stride):
        bits = offsets + np.uint64(first)
        yield bits[bits < 1 << 32].astype(np.uint32).view(np.float32)


# where a function here changes its form, or its result stops being 0, 1 or a normal number
BRANCHES = (0, 1, 4, 6, 18, 19.06, 20, 36.74, 38, 37.52, 38.6, 64, 355, 708.4, 709.78, 710, 744.44, 745.13, 746)


def special(dtype):
    """Zeros, infinities, NaN, the ends of the formats and the numbers around the branches."""
    info = np.finfo(dtype)
    ends = [0, info.smallest_subnormal, info.tiny, info.max, np.inf, np.nan]
    # to float32 too: the branches of its functions are in every_float32, but for the stride of a quick run
    branches = [*BRANCHES, 9.02, 14.3, 44.5, 87.34, 88.72, 89, 103.97, 104]
    bits = np.dtype(f"i{dtype.itemsize}")
    near = np.array(branches, dtype).view(bits)[:, None] + np.arange(-500, 501, dtype=bits)
    near = near[near >= 0].view(dtype)  # fewer than CHUNK in all
    x = np.concatenate([np.array(ends, dtype), near])
    yield x
    yield -x


def float64_sample(count, seed=SEED):
    """About `count` numbers in chunks: bit patterns, and grids and random numbers at several scales."""
    rng = np.random.default_rng(seed)
    yield from special(np.dtype(np.float64))
    kinds = 8
    chunks = max(1, count // CHUNK // kinds)
    for k in range(chunks):
        grid = (np.arange(CHUNK) + k * CHUNK) / (CHUNK * chunks) * 2 - 1  # even over [-1, 1)
        yield rng.integers(0, 1 << 64, CHUNK, dtype=np.uint64).view(np.float64)
        yield grid
        yield grid * 8
        yield grid * 40
        yield grid * 750
        yield rng.uniform(-1.5, 1.5, CHUNK)
        yield rng.uniform(-40, 40, CHUNK)
        yield np.ldexp(rng.uniform(-1, 1, CHUNK), rng.integers(-1074, 12, CHUNK))  # every size, subnormals too


def sample(dtype, stride, count):
    if dtype.itemsize == 4:
        yield from special(dtype)
        yield from every_float32(stride)
    else:
        yield from float64_sample(count)


def measure(libraries, symbol, chunks):
    """{level: (Worst in ULP, Worst in ULP at max(|exact|, 1))}. Slopes are taken at finite numbers only."""
    worst = {level: (Worst(), Worst()) for level in libraries.levels}
    with np.errstate(invalid="ignore"):
        for x in chunks:
            if symbol.startswith("slope"):
                x = x[np.isfinite(x)]
            if not x.size:
                continue
            libraries.compute_exact(symbol, x)
            for level, found in worst.items():
                for one, errors in zip(
                    found, libraries.compute_errors(libraries.compute(level, symbol, x)), strict=True
                ):
                    one.update(errors, x)
    return worst


def nanoseconds(libraries, symbol, rounds=100, times=30):
    """{level: ns an element}, the least of interleaved rounds, on normal random numbers times 3."""
    x = (np.random.default_rng(SEED).normal(size=TIMED) * 3).astype(libraries.dtype)
    z = np.empty_like(x)
    best = dict.fromkeys(libraries.levels, np.inf)
    for _ in range(rounds):
        for level in best:
            begin = time.perf_counter()
            libraries.compute(level, symbol, x, times, z)
            best[level] = min(best[level], (time.perf_counter() - begin) / (TIMED * times) * 1e9)
    return best


def exact_functions():
    """symbol: the function in mpmath, for checking the reference."""
    import mpmath as mp

    mp.mp.prec = 2200  # no cancellation matters: 1 + tanh(-700) has its digits

    def sigmoid(y):
        return 1 / (1 + mp.exp(-y))

    def cdf(y):
        return mp.erfc(-y / mp.sqrt(2)) / 2

    def gate(y):
        return sigmoid(2 * mp.sqrt(2 / mp.pi) * (y + mp.mpf("0.044715") * y**3))

    def gate_slope(y):
        return gate(y) * gate(-y) * 2 * mp.sqrt(2 / mp.pi) * (1 + mp.mpf("0.134145") * y**2)

    scale = mp.mpf("1.0507009873554804934193349852946")
    alpha = mp.mpf("1.6732632423543772848170429916717")
    return {
        "f_exp": mp.exp,
        "f_expm1": mp.expm1,
        "f_tanh": mp.tanh,
        "f_sigmoid": sigmoid,
        "f_erf": mp.erf,
        "f_softplus": lambda y: mp.log1p(mp.exp(y)),
        "f_normal_cdf": cdf,
        "f_gelu": lambda y: y * cdf(y),
        "f_gelu_tanh": lambda y: y * gate(y),
        "f_silu": lambda y: y * sigmoid(y),
        "f_elu": lambda y: mp.expm1(y) if y < 0 else y,
        "f_selu": lambda y: scale * (alpha * mp.expm1(y) if y < 0 else y),
        "slope_gelu": lambda y: cdf(y) + y * mp.npdf(y),
        "slope_gelu_tanh": lambda y: gate(y) + y * gate_slope(y),
        "slope_silu": lambda y: sigmoid(y) * (1 + y * sigmoid(-y)),
        "slope_elu": lambda y: mp.exp(y) if y < 0 else mp.mpf(1),
        "slope_selu": lambda y: scale * (alpha * mp.exp(y) if y <= 0 else 1),
        "slope_sigmoid": lambda y: sigmoid(y) * sigmoid(-y),
        "slope_tanh": lambda y: 1 / mp.cosh(y) ** 2,
    }


def reference_error(libraries, symbol, count=200):
    """Largest error of the reference against mpmath, in ULP of the dtype, at `count` random points; zeros of a slope
    count in ULP of 1."""
    import mpmath as mp

    function = exact_functions()[symbol]
    rng = np.random.default_rng(SEED)
    reach = 100 if libraries.dtype.itemsize == 4 else 740
    sizes = np.exp(rng.uniform(np.log(1e-6), np.log(reach), count))
    x = (sizes * rng.choice([-1, 1], count)).astype(libraries.dtype)
    info = np.finfo(libraries.dtype)
    worst = 0.0
    for y, exact in zip(x, libraries.compute_exact(symbol, x), strict=True):
        high = float(exact)
        if not info.tiny < abs(high) < info.max:
            continue
        wanted = function(mp.mpf(float(y)))
        size = max(abs(high), 1) if symbol.startswith("slope") else abs(high)
        error = mp.mpf(high) + mp.mpf(float(exact - np.longdouble(high))) - wanted
        worst = max(worst, float(abs(error) / mp.mpf(size)) / float(info.eps))
    return worst


def title(symbol):
    return symbol.removeprefix("f_").replace("slope_", "slope of ")


def error_table(results, levels, symbols, column):
    heads = [f"{dtype.name} {level}" for dtype in DTYPES for level in levels]
    lines = [f"| | {' | '.join(heads)} | worst at |", "| --- |" + " ---: |" * len(heads) + " --- |"]
    for symbol in symbols:
        if (DTYPES[0], symbol) not in results:
            continue
        cells, places = [], []
        for dtype in DTYPES:
            found = [results[dtype, symbol][level][column] for level in levels]
            cells += [f"{worst.error:.2f}" if worst.error < 1e4 else f"{worst.error:.1e}" for worst in found]
            places.append(f"{max(found, key=lambda worst: worst.error).x:.9g}")
        lines.append(f"| {title(symbol)} | {' | '.join(cells)} | {', '.join(places)} |")
    return "\n".join(lines)


def rate_table(rates, levels):
    heads = [f"{dtype.name} {level}" for dtype in DTYPES for level in levels]
    lines = [f"| ns per element | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for name in FUNCTIONS + ACTIVATIONS:
        if (DTYPES[0], "f_" + name) not in rates:
            continue
        cells = [f"{rates[dtype, 'f_' + name][level]:.3f}" for dtype in DTYPES for level in levels]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def show_progress(text):
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def run(levels, stride, count, symbols=SYMBOLS):
    """The tables, in Markdown, with the lines of these symbols."""
    results, rates, reference = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for dtype in DTYPES:
            libraries = Libraries(dtype, levels, folder)
            for symbol in symbols:
                rates[dtype, symbol] = nanoseconds(libraries, symbol)
                thinning = 1 if symbol in PLAIN or stride > 1 else THINNING
                results[dtype, symbol] = measure(libraries, symbol, sample(dtype, stride * thinning, count // thinning))
                show_progress(f"{dtype.name} {symbol}")
            try:
                reference[dtype.name] = max(reference_error(libraries, symbol) for symbol in symbols)
            except ImportError:  # mpmath
                reference[dtype.name] = float("nan")
    compiler = subprocess.run([os.environ.get("CC", "cc"), "--version"], capture_output=True, text=True).stdout
    date = datetime.date.today().isoformat()
    number = "every float32" if stride == 1 else f"each {stride}st float32"
    return "\n\n".join(
        [
            f"{cpu_name()}, {compiler.splitlines()[0]}, {platform.libc_ver()[0]} {platform.libc_ver()[1]}, {date}; "
            f"{number}, {count:,} float64 a function"
            f"{f', activations and slopes a {THINNING}st of that' if stride == 1 else ''}. "
            "Worst at: first float32, then float64.",
            "### Functions: largest error in ULP (bounds: float32 3, float64 4; normal_cdf has none)",
            error_table(results, levels, PLAIN, 0),
            "### Activations and their derivatives: largest error in ULP",
            error_table(results, levels, BUILT_ON_THEM, 0),
            "### The same in ULP of max(|exact|, 1)",
            error_table(results, levels, BUILT_ON_THEM, 1),
            "### Speed, data in the L1 cache, one core",
            rate_table(rates, levels),
            "Largest difference between the reference and mpmath, in ULP of the dtype: "
            + ", ".join(f"{name} {error:.1g}" for name, error in reference.items())
            + ".",
        ]
    )


def with_new_lines(page, text, names):
    """The page with the lines of these names as they are in `text`; the others stay."""
    lines = page.split("\n")
    for name in names:
        places = [k for k, line in enumerate(lines) if line.startswith(f"| {name} |")]
        found = [line for line in text.split("\n") if line.startswith(f"| {name} |")]
        for k, line in zip(places, found, strict=True):
            lines[k] = line
    return "\n".join(lines)


MARK = "<!-- measured: everything below is written by bench/accuracy.py -->"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a sample instead of every float32")
    parser.add_argument("--write", metavar="FILE", type=Path, help="replace what follows the mark in FILE")
    parser.add_argument("--levels", help="names with commas between; by default all that this CPU has a name for")
    parser.add_argument("--only", help="names of lines with commas between: the others stay in FILE as they are")
    args = parser.parse_args()
    symbols = [symbol for symbol in SYMBOLS if not args.only or title(symbol) in args.only.split(",")]
    levels = (
        args.levels.split(",") if args.levels else [level for level in supported_levels()[::-1] if level != "generic"]
    )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    text = run(levels, 4001 if args.quick else 1, 1 << (20 if args.quick else 26), symbols)
    if args.write and args.only:
        args.write.write_text(with_new_lines(args.write.read_text(), text, map(title, symbols)))
    elif args.write:
        before = args.write.read_text().split(MARK)[0] if args.write.exists() else ""
        args.write.write_text(f"{before}{MARK}\n\n{text}\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
