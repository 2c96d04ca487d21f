"""What is tested is the installed fastbp; helper modules of this folder become importable; worst errors are printed.

FASTBP_WORST_ERRORS names a file that gets them as JSON. `--hypothesis-profile=explore` looks at examples of its own;
without it they are the same in every run.
"""

import os
import signal
import sys
from pathlib import Path

from hypothesis import settings

FOLDER = Path(__file__).resolve().parent
CHECKOUT = FOLDER.parent

# `python -m pytest` puts the checkout first, where fastbp is not compiled (but for an editable install).
if not any(CHECKOUT.glob("fastbp/_cpu.*.so")):
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != CHECKOUT]
sys.path.insert(0, str(FOLDER))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background; some tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("fixed", derandomize=True, max_examples=250, deadline=None, database=None)
settings.register_profile("explore", max_examples=5000, deadline=None, print_blob=True)
settings.load_profile("fixed")


def pytest_report_header():
    fastbp = __import__("fastbp")
    return f"fastbp {getattr(fastbp, '__version__', '?')} from {Path(fastbp.__file__).parent}"


def pytest_terminal_summary(terminalreporter):
    fuzzing = sys.modules.get("fuzzing")
    if fuzzing is not None and fuzzing.calls:
        terminalreporter.section(f"fuzz: {sum(fuzzing.calls.values())} calls")
        for (what, outcome), n in sorted(fuzzing.calls.items()):
            terminalreporter.line(f"{what:<16} {outcome:<9} {n}")
    comparison = sys.modules.get("comparison")
    if comparison is None or not comparison.worst:
        return
    level = sys.modules["fastbp"].config.LEVEL
    chosen = "FASTBP_LEVEL" if os.environ.get("FASTBP_LEVEL") else "the best of this CPU"
    terminalreporter.section(f"worst relative errors at level {level} ({chosen})")
    for line in comparison.table():
        terminalreporter.line(line)
    if path := os.environ.get("FASTBP_WORST_ERRORS"):
        comparison.write_json(path)
