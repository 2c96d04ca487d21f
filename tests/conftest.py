"""Helper modules of this folder become importable; the worst gradient errors are printed after the run."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def pytest_report_header():
    fastbp = __import__("fastbp")
    return f"fastbp {getattr(fastbp, '__version__', '?')} from {Path(fastbp.__file__).parent}"


def pytest_terminal_summary(terminalreporter):
    comparison = sys.modules.get("comparison")
    if comparison is None or not comparison.worst:
        return
    terminalreporter.section("worst relative errors")
    for (what, dtype), (error, tolerance, problem) in sorted(comparison.worst.items()):
        terminalreporter.line(f"{what:<24} {dtype:<8} {error:.2e}  (allowed {tolerance:.0e})  {problem}")
