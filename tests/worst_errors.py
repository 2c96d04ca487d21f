"""Writes docs/gradients.md: the worst errors of the gradient tests, per kind, dtype and level of this CPU.

    python tests/worst_errors.py [LEVEL ...] > docs/gradients.md

Runs the tests once per level, all levels that are built and that this CPU has unless some are named. Exit status 1, and
no page, where a test fails.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
TESTS = ("gradients", "torch", "shapes", "steps", "twin")
DTYPES = ("float64", "float32")

MEANINGS = {
    "autograd": "every activation x loss, biases on and off, sample weights on and off, against the `autograd` package",
    "differences": "the same on small networks, against central differences of the loss",
    "torch": "the same, and a hundred steps of every optimiser, against torch in the same dtype",
    "twin": "the networks of `autograd`, against the slow twin (`tests/reference.py`, float64)",
    "shapes": "widths, depths and rows at every vector, tile and block boundary and one to each side, against the twin",
    "random": "random networks (hypothesis), against the twin",
    "large logits": "losses from logits of hundreds, against the twin",
    "smoothing": "cross-entropy with smoothed labels, given as classes, one-hot or as probabilities, against the twin",
    "steps": "a few training steps around the vector's width: every activation, loss and optimiser, against the twin",
    "training": "two epochs with every optimiser and kind of batch, against the twin",
}

PAGE = """\
# Gradients: the worst errors

What the core computes is held to implementations that share no line with it. An error is ||got - want|| / ||want||;
that of a gradient is the larger of the whole vector's and the worst layer's. Parameters after training are held
relative to the length of the way there. Each row covers all its problems; `of` counts the comparisons, per dtype and
level.
float32 runs on problems that float32 determines: away from kinks, and without cancellation that would magnify its
rounding (`tests/wellposed.py`).

{meanings}

{machine}, {date}, `python tests/worst_errors.py`:

{table}

Allowed are 1e-12 in float64 and 1e-5 in float32; 1e-4 for float32 parameters after training, which add up the rounding
of their steps; 1e-8 for central differences, which have errors of their own.
"""


def usable_levels():
    from fastbp import config

    return [level for level in reversed(config.supported_levels()) if config.built(level)]


def run(level, path):
    """The worst errors of the tests at a level, as comparison.py writes them; None where a test failed."""
    environment = {**os.environ, "FASTBP_LEVEL": level, "FASTBP_WORST_ERRORS": str(path)}
    tests = [str(FOLDER / f"test_{name}.py") for name in TESTS]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=FOLDER.parent, env=environment, stdout=sys.stderr)
    return None if done.returncode else json.loads(path.read_text())


def table(reports):
    levels = [report["level"] for report in reports]
    cells = {(report["level"], e["what"], e["dtype"]): e for report in reports for e in report["errors"]}
    heads = ["", "of", *(f"{dtype} {level}" for dtype in DTYPES for level in levels)]
    yield heads
    yield ["---"] + ["---:"] * (len(heads) - 1)
    for what in sorted({what for _, what, _ in cells}):
        row = [cells.get((level, what, dtype)) for dtype in DTYPES for level in levels]
        count = max(cell["comparisons"] for cell in row if cell)
        yield [what, str(count), *(f"{cell['error']:.1e}" if cell else "" for cell in row)]


def software():
    """`fastbp 0.1.0, NumPy 2.0.0, ...`, by fastbp's own report."""
    import fastbp

    with contextlib.redirect_stdout(io.StringIO()) as out:
        fastbp.show_config()
    rows = dict(line.split(maxsplit=1) for line in out.getvalue().splitlines())
    return ", ".join(f"{name} {rows[name]}" for name in ("fastbp", "NumPy", "Python"))


def main():
    parser = argparse.ArgumentParser(description="The worst errors of the gradient tests, as docs/gradients.md")
    parser.add_argument("levels", nargs="*", metavar="LEVEL", help="v2, v3, v4 ...; all usable ones by default")
    levels = parser.parse_args().levels or usable_levels()
    reports = []
    with tempfile.TemporaryDirectory() as folder:
        for level in levels:
            report = run(level, Path(folder) / f"{level}.json")
            if report is None:
                return f"a test failed at level {level}"
            reports.append(report)
    whats = {e["what"].split(":")[0] for report in reports for e in report["errors"]}
    print(
        PAGE.format(
            meanings="\n".join(f"- **{name}**: {meaning}" for name, meaning in MEANINGS.items() if name in whats),
            machine=f"{reports[0]['cpu']}, {software()}",
            date=date.today(),
            table="\n".join(f"| {' | '.join(row)} |" for row in table(reports)),
        ),
        end="",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
