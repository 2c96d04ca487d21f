"""leaves.c: the C headers of src/ against plain loops, by each compiler and at each level that is here."""

import functools
import importlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fastbp import config

HARNESS = Path(__file__).with_name("leaves.c")
VECTOR_BYTES = {"v4": 64, "v3": 32, "v2": 16, "neon": 16}
BITS = {"float32": 32, "float64": 64}

pytestmark = pytest.mark.skipif(not (HARNESS.parents[1] / "src").exists(), reason="the source tree is not here")


@functools.cache
def found(*programs):
    """The first of the programs that is here; a name may end in a version: clang, clang-19 ... clang-14."""
    versions = [f"{program}-{version}" for program in programs for version in range(24, 10, -1)]
    return next(filter(None, map(shutil.which, [*programs, *versions])), None)


def flags_of_the_build(level):
    """What setup.py compiled the core of a level with; without what only x86 knows, where that level is not built."""
    built = level if config.built(level) else config.LEVEL
    flags = importlib.import_module(f"fastbp._core_{built}_float32").build_flags().split()
    return [flag for flag in flags if built == level or not flag.startswith("-m")]


def build_and_run(compiler, level, dtype, folder, runner=()):
    program = folder / "leaves"
    command = [*compiler, *flags_of_the_build(level), "-Wall", "-Wextra", "-Werror"]
    command += [f"-DREAL_BITS={BITS[dtype]}", f"-DVECTOR_BYTES={VECTOR_BYTES[level]}", str(HARNESS), "-o", str(program)]
    for step in [*command, "-lm"], [*runner, str(program)]:
        done = subprocess.run(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, f"{' '.join(step)} ended with {done.returncode}:\n{done.stdout}"
    last_line = done.stdout.splitlines()[-1]
    ran = re.fullmatch(rf"{dtype}, (\d+) lanes: (\d+) checks, 0 failed", last_line)
    assert ran, done.stdout
    assert int(ran[1]) == VECTOR_BYTES[level] * 8 // BITS[dtype]
    assert int(ran[2]) > 7000


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("level", VECTOR_BYTES)
@pytest.mark.parametrize("compiler", ["cc", "clang"])
def test_leaves_agree_with_plain_loops(compiler, level, dtype, tmp_path):
    if level not in config.supported_levels() or not config.built(level):
        pytest.skip(f"this CPU or this build does not have {level}")
    if not found(compiler):
        pytest.skip(f"no {compiler} here")
    build_and_run([found(compiler)], level, dtype, tmp_path)


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("compiler", ["aarch64-linux-gnu-gcc", "clang"])
def test_leaves_agree_with_plain_loops_on_an_emulated_arm64(compiler, dtype, tmp_path):
    cross, emulator = found("aarch64-linux-gnu-gcc"), found("qemu-aarch64", "qemu-aarch64-static")
    if not cross or not emulator:
        pytest.skip("needs Debian's gcc-aarch64-linux-gnu and qemu-user")
    if not found(compiler):
        pytest.skip(f"no {compiler} here")
    target = ["--target=aarch64-linux-gnu"] if compiler == "clang" else []
    build_and_run([found(compiler), *target, "-static"], "neon", dtype, tmp_path, runner=[emulator])
