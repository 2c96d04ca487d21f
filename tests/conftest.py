"""What is tested is the installed fastbp; helper modules of this folder become importable; worst errors are printed."""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
CHECKOUT = FOLDER.parent

# `python -m pytest` puts the checkout first, where fastbp is not compiled (but for an editable install).
if not any(CHECKOUT.glob("fastbp/_cpu.*.so")):
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != CHECKOUT]
sys.path.insert(0, str(FOLDER))


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
    terminalreporter.section("worst relative errors")
    for (what, dtype), (error, tolerance, problem) in sorted(comparison.worst.items()):
        terminalreporter.line(f"{what:<24} {dtype:<8} {error:.2e}  (allowed {tolerance:.0e})  {problem}")
