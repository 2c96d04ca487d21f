"""What one core can do at best, measured (FMA peak, bandwidth, transcendental rates), and the least time of a step."""

import ctypes
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
VECTOR_BYTES = {"v2": 16, "v3": 32, "v4": 64, "neon": 16, "generic": 16}
FUNCTIONS = ("exp", "tanh", "sigmoid", "softplus", "normal_cdf")
CHAINS = 12

# transcendental evaluations of an element on its way forward and back
EVALUATIONS = {
    "tanh": {"tanh": 1}, "sigmoid": {"sigmoid": 1}, "silu": {"sigmoid": 2}, "softplus": {"softplus": 1, "sigmoid": 1},
    "gelu": {"normal_cdf": 2, "exp": 1}, "gelu_tanh": {"tanh": 2}, "elu": {"exp": 1}, "selu": {"exp": 1},
    "exp": {"exp": 1},
}  # fmt: skip
OPTIMIZER_BYTES = {"sgd": 3, "momentum": 5, "adam": 7}  # numbers read and written for a parameter


def compiled(level, dtype, folder):
    flags = [] if level in ("neon", "generic") else [f"-march=x86-64-{level}", "-mprefer-vector-width=512"]
    library = Path(folder) / f"roofline_{level}_{dtype}.so"
    bits = 64 if dtype == "float64" else 32
    subprocess.run(
        ["cc", "-O3", "-fno-math-errno", "-ffp-contract=fast", *flags, f"-DREAL_BITS={bits}",
         f"-DVECTOR_BYTES={VECTOR_BYTES[level]}", f"-I{HERE.parent / 'src'}", "-shared", "-fPIC", "-o", library,
         HERE / "roofline.c"],
        check=True,
    )  # fmt: skip
    return ctypes.CDLL(str(library))


def best_seconds(call, repeats=15):
    """The shortest of some runs: a roofline is what the machine can do when left alone."""
    shortest = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        shortest = min(shortest, time.perf_counter() - begin)
    return shortest


def measure(level, dtype):
    """The machine's rates for this level and dtype.

    Returns
    -------
    dict
        ``flops`` a second, memory ``bandwidth`` in bytes a second, and seconds an element of each function.
    """
    with tempfile.TemporaryDirectory() as folder:
        library = compiled(level, dtype, folder)
    lanes = VECTOR_BYTES[level] // np.dtype(dtype).itemsize
    times = 400_000
    rates = {"flops": 2 * lanes * CHAINS * times / best_seconds(lambda: library.multiply_adds(ctypes.c_long(times)))}

    n = 1 << 24
    a, b = np.zeros(n, dtype), np.ones(n, dtype)
    scalar = ctypes.c_float(0.5) if dtype == "float32" else ctypes.c_double(0.5)
    triad = partial(library.triad, pointer(a), pointer(b), ctypes.c_long(n), scalar)
    rates["bandwidth"] = 3 * a.nbytes / best_seconds(triad, 5)

    n = 2048  # stays in L1
    x = np.random.default_rng(0).standard_normal(n).astype(dtype)
    y = np.empty_like(x)
    for name in FUNCTIONS:
        function = getattr(library, f"stream_{name}")
        call = partial(function, pointer(x), pointer(y), ctypes.c_long(n), ctypes.c_long(500))
        rates[name] = best_seconds(call) / (500 * n)
    return rates


def pointer(array):
    return ctypes.c_void_p(array.ctypes.data)


def least_seconds(case, rates, cache_bytes):
    """The roofline of a step: products at the FMA peak, functions, and the update's traffic where it leaves the cache.

    Parts are added, not overlapped. What is left out (gathering, packing, losses) counts against fastbp.
    """
    seconds = case.flops / rates["flops"]
    if case.mode == "train":
        parameters = sum(i * o + o for i, o in zip(case.sizes[:-1], case.sizes[1:], strict=True))
        traffic = OPTIMIZER_BYTES[case.optimizer] * parameters * np.dtype(case.dtype).itemsize
        if traffic > cache_bytes:
            seconds += traffic / rates["bandwidth"]
    hidden = case.batch * sum(case.sizes[1:-1])
    for name, times in EVALUATIONS.get(case.activation, {}).items():
        seconds += hidden * times * rates[name]
    if case.loss == "cross_entropy":
        seconds += case.batch * case.sizes[-1] * rates["exp"]
    return seconds
