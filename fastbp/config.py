"""Which build of the core runs here, and a report of it."""

import importlib.util
import os
import sys
from typing import TextIO

LEVELS = ("v4", "v3", "v2", "neon", "generic")


def supported_levels():
    """Levels this CPU can run, best first."""
    if importlib.util.find_spec("fastbp._cpu") is None:
        raise ImportError(
            "fastbp's compiled core is missing: this looks like the source folder. Install with `pip install .` and "
            "start Python in another folder, or use the `fastbp` command"
        )
    from . import _cpu

    return _cpu.supported_levels()


def built(level):
    return importlib.util.find_spec(f"fastbp._core_{level}_float32") is not None


def chosen_level():
    """The level in use: FASTBP_LEVEL where that is set, else the best that is built and that this CPU runs."""
    supported = supported_levels()
    forced = os.environ.get("FASTBP_LEVEL")
    if forced:
        if forced not in LEVELS:
            raise ValueError(f"FASTBP_LEVEL: expected one of {', '.join(LEVELS)}, got {forced!r}")
        if forced not in supported or not built(forced):
            usable = ", ".join(level for level in supported if built(level))
            raise ValueError(f"FASTBP_LEVEL: this CPU and this build run {usable}, got {forced!r}")
        return forced
    for level in supported:
        if built(level):
            return level
    raise ImportError("no build of fastbp's core runs on this CPU")


LEVEL = chosen_level()


def engine_module(dtype):
    """The compiled module for a dtype, at the chosen level."""
    return importlib.import_module(f"fastbp._core_{LEVEL}_{dtype.name}")


def cpu_name():
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    import platform

    return platform.processor() or platform.machine()


def show_config(file: TextIO | None = None) -> None:
    """Prints level, CPU, threads, build flags and versions.

    Parameters
    ----------
    file : file object, optional
        Standard output by default.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.show_config()
    fastbp   ...
    level    ...
    CPU      ...
    threads  ...
    flags    ...
    NumPy    ...
    Python   ...
    """
    import numpy as np

    from . import cpus
    from .version import __version__

    rows = {
        "fastbp": __version__,
        "level": f"{LEVEL} (this CPU runs {', '.join(supported_levels())})",
        "CPU": cpu_name(),
        "threads": f"{cpus.default_threads()} (this process may use {cpus.usable()} CPUs)",
        "flags": engine_module(np.dtype("float32")).build_flags(),
        "NumPy": np.__version__,
        "Python": sys.version.split()[0],
    }
    for name, value in rows.items():
        print(f"{name:8} {value}", file=file)
