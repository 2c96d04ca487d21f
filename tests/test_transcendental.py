"""src/transcendental.h at every level of this CPU, against a wider type: the bounds that docs/accuracy.md states.

The measuring is bench/accuracy.py's, on a sample of every exponent and around every branch.
"""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp.config

BENCH = Path(__file__).parents[1] / "bench" / "accuracy.py"
CC = os.environ.get("CC", "cc")
STRIDE = 8009  # each 8009th float32: half a million
COUNT = 1 << 18
# what docs/accuracy.md gives where no 3 or 4 ULP are promised, rounded up; ULP, and ULP at max(|exact|, 1)
NORMAL_CDF_BOUNDS = {4: 6, 8: 9}
SCALED_BOUNDS = {"gelu": 1.5, "gelu_tanh": 4, "silu": 2, "elu": 1.5, "selu": 3}

if not BENCH.exists():
    pytest.skip("the sources that are measured are not here", allow_module_level=True)
spec = importlib.util.spec_from_file_location("accuracy", BENCH)
accuracy = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(accuracy)

LEVELS = fastbp.config.supported_levels()


@pytest.fixture(scope="module", params=accuracy.DTYPES, ids=str)
def libraries(request, tmp_path_factory):
    if shutil.which(CC) is None:
        pytest.skip(f"no C compiler {CC!r} to compile bench/accuracy.c with")
    return accuracy.Libraries(request.param, LEVELS, tmp_path_factory.mktemp(request.param.name))


def measured(libraries, symbol):
    return accuracy.measure(libraries, symbol, accuracy.sample(libraries.dtype, STRIDE, COUNT))


def assert_within(worst, bound, column):
    over = {level: found[column] for level, found in worst.items() if not found[column].error <= bound}
    assert not over, f"over {bound} ULP: {over}, seed {accuracy.SEED}"
    assert set(worst) == set(LEVELS)


@pytest.mark.parametrize("name", accuracy.BOUNDED)
def test_functions_are_within_3_ulp_in_float32_and_4_in_float64(libraries, name):
    assert_within(measured(libraries, f"f_{name}"), accuracy.BOUNDS[libraries.dtype.itemsize], 0)


def test_the_normal_distribution_keeps_the_digits_of_its_left_tail(libraries):
    assert_within(measured(libraries, "f_normal_cdf"), NORMAL_CDF_BOUNDS[libraries.dtype.itemsize], 0)


@pytest.mark.parametrize("name", accuracy.ACTIVATIONS)
def test_activations_are_within_the_documented_error(libraries, name):
    assert_within(measured(libraries, f"f_{name}"), SCALED_BOUNDS[name], 1)


def at(libraries, level, name, *x):
    return libraries.compute(level, f"f_{name}", np.array(x, libraries.dtype))


@pytest.mark.parametrize("level", LEVELS)
def test_ends_are_exact(libraries, level):
    inf, largest = np.inf, np.finfo(libraries.dtype).max
    wanted = {  # at -inf, -largest, 0, largest, inf
        "exp": (0, 0, 1, inf, inf),
        "expm1": (-1, -1, 0, inf, inf),
        "tanh": (-1, -1, 0, 1, 1),
        "sigmoid": (0, 0, 0.5, 1, 1),
        "erf": (-1, -1, 0, 1, 1),
        "softplus": (0, 0, libraries.dtype.type(np.log(2)), largest, inf),
        "normal_cdf": (0, 0, 0.5, 1, 1),
    }
    assert set(wanted) == set(accuracy.FUNCTIONS)
    for name, values in wanted.items():
        found = at(libraries, level, name, -inf, -largest, 0, largest, inf)
        assert found.tolist() == list(values), name


@pytest.mark.parametrize("level", LEVELS)
def test_nan_gives_nan_whatever_its_payload(libraries, level):
    bits = np.dtype(f"u{libraries.dtype.itemsize}")
    payloads = np.arange(1, 60, dtype=bits) * bits.type(0x10001)
    nans = np.concatenate([np.array(s * np.inf, libraries.dtype).view(bits) + payloads for s in (1, -1)])
    nans = nans.view(libraries.dtype)
    assert np.isnan(nans).all()
    for name in accuracy.FUNCTIONS + accuracy.ACTIVATIONS:
        assert np.isnan(libraries.compute(level, f"f_{name}", nans)).all(), name


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_odd_functions_are_odd_in_every_bit_and_within_one(libraries, level, name):
    for x in accuracy.sample(libraries.dtype, STRIDE, COUNT):
        x = x[~np.isnan(x)]
        plus, minus = (libraries.compute(level, f"f_{name}", s * x) for s in (1, -1))
        assert plus.tobytes() == (-minus).tobytes()
        assert np.abs(plus).max() <= 1


@pytest.mark.parametrize("level", LEVELS)
def test_results_underflow_gradually(libraries, level):
    info = np.finfo(libraries.dtype)
    x = np.linspace(np.log(info.tiny) - 0.1, np.log(np.longdouble(info.smallest_subnormal)) + 0.1, 500)
    x = x.astype(libraries.dtype)
    for name in ("exp", "sigmoid", "softplus"):
        z = libraries.compute(level, f"f_{name}", x)
        assert (z > 0).all() and (z < info.tiny).all() and np.unique(z).size > 300, name


def test_the_measuring_sees_a_wrong_result(libraries):
    x = np.linspace(-3, 3, 4096).astype(libraries.dtype)
    exact = libraries.compute_exact("f_tanh", x).astype(libraries.dtype)
    assert libraries.compute_errors(exact)[0].max() <= 0.5
    for steps in (4, 100):
        wrong = exact.copy()
        wrong[7] += steps * np.spacing(exact[7])
        errors = libraries.compute_errors(wrong)[0]
        assert errors.argmax() == 7 and abs(errors[7] - steps) <= 0.5
    for value in (np.nan, np.inf):
        wrong[7] = value
        assert libraries.compute_errors(wrong)[0][7] > 1e6
