"""Checks the checks: plants one error at a time in the kernels, rebuilds, and looks who finds it.

    python tests/planted_errors.py [--only WORD ...] [--level v3] [--jobs 1] [--list] [--write docs/planted-errors.md]

The errors stand in tests/planted.py. For each, a copy of the sources in a temporary folder is built at one level, and
(a) the test suite runs up to its first failure, (b) the shipped `gradcheck` alone runs over a handful of networks. A
crash or an endless run counts as found. The table and both shares are printed at the end, and written to a page if one
is named; the exit status is 1 where (a) misses an error, or where one is no test (it does not compile, or compiles to
the same code). Needs what a build needs; one error takes half a minute of one core, two minutes if (a) misses it.
"""

import argparse
import hashlib
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE")
SOURCES = ("pyproject.toml", "setup.py", *DOCUMENTS, "src", "fastbp", "tests", "bench", "docs", ".ci")
# The whole suite runs; these files first, as they find most errors, and within seconds.
FIRST = ("notes_net", "twin", "steps", "shapes", "extremes", "gradients")
OPTIMIZED, FAST_BUILD = '"-O3"', '"-O1"'  # half the time of a build; what is planted is in the source
SECONDS = 3600  # no honest run of the suite takes longer, on a busy core either


def plants(words):
    """The chosen errors, each found in its file exactly once; otherwise a complaint about all that are not."""
    from planted import PLANTED

    chosen = [p for p in PLANTED if not words or any(word in f"{p[0]} {p[1]}" for word in words)]
    wrong = []
    for name, file, old, new in chosen:
        count = (ROOT / "src" / file).read_text().count(old) if (ROOT / "src" / file).exists() else None
        if count is None:
            wrong.append(f"{name!r}: there is no src/{file}")
        elif count != 1:
            wrong.append(f"{name!r}: found {count} times in src/{file}, expected once: {old!r}")
        elif old == new:
            wrong.append(f"{name!r}: changes nothing")
    if wrong:
        sys.exit("tests/planted.py does not fit the sources:\n  " + "\n  ".join(wrong))
    if not chosen:
        sys.exit(f"no planted error has any of {words} in its name or file")
    return chosen


PAGE = """\
# Planted errors: the checks are checked

Single errors of the kinds that one makes in such kernels - a wrong sign, a lost bias, a row or an index off by one, a
dropped tail, a missing 1/n, a stale W - are planted one at a time in a copy of the sources (`tests/planted.py` has the
lines), which is then built with -O1 at one level and checked twice: by the whole test suite up to its first failure,
and by `Network.gradcheck` alone over some sixty small networks. A gradient check compares the gradient with the loss of
the same kernels: it is blind to what both have in common (a wrong function with its right derivative), and it never
predicts, weighs rows, shuffles, or takes a step. "yes" means found.

{machine}, {date}, `python tests/planted_errors.py --write docs/planted-errors.md`:

{counts}

| planted error | file in src | suite | gradcheck | found by |
| --- | --- | --- | --- | --- |
{rows}
"""


class Slot:
    """A copy of the sources with its own build folder, in which one error at a time is planted."""

    def __init__(self, folder, level):
        self.folder = folder
        self.level = level
        self.compiled = None  # of the sources without an error
        self.machine = ""
        self.last_output = ""
        for name in SOURCES:
            source, target = ROOT / name, folder / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            else:
                shutil.copy(source, target)
        setup = folder / "setup.py"
        assert setup.read_text().count(OPTIMIZED) == 1
        setup.write_text(setup.read_text().replace(OPTIMIZED, FAST_BUILD))

    def run(self, *command, seconds=SECONDS):
        """(exit status or "hang", output) of a command that sees this copy and no installed one."""
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join((str(self.folder), str(self.folder / "tests"))),
            "FASTBP_BUILD_LEVELS": self.level,
            "FASTBP_LEVEL": self.level,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        try:
            done = subprocess.run(
                [sys.executable, "-P", *command],
                cwd=self.folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as expired:
            output = expired.stdout or ""
            return "hang", output.decode(errors="replace") if isinstance(output, bytes) else output
        self.last_output = done.stdout
        return done.returncode, done.stdout

    def build(self):
        """Compiles in place; returns a digest of the compiled modules."""
        status, output = self.run("setup.py", "-q", "build_ext", "--inplace")
        if status != 0:
            raise RuntimeError(f"build failed with {status}:\n{output[-3000:]}")
        modules = sorted((self.folder / "fastbp").glob("_core_*.so"))
        return hashlib.sha256(b"".join(module.read_bytes() for module in modules)).hexdigest()

    def suite(self):
        """(found, how) by the test suite."""
        files = sorted((self.folder / "tests").glob("test_*.py"))
        tests = [str(file) for file in sorted(files, key=lambda file: rank(file.stem.removeprefix("test_")))]
        options = ["-xq", "-p", "no:cacheprovider", "-p", "no:randomly", f"--basetemp={self.folder / 'tmp'}"]
        status, output = self.run("-m", "pytest", *options, *tests)
        failed = re.search(r"^(?:FAILED|ERROR) \S*/(\S+?::\w+)", output, re.MULTILINE)
        if status in (0, 1, "hang") or status < 0:
            return verdict(status, failed.group(1) if failed else "")
        raise RuntimeError(f"pytest ended with {status}:\n{output[-3000:]}")

    def gradcheck(self):
        """(found, how) by the shipped gradient check alone."""
        status, output = self.run(str(self.folder / "tests" / "planted_errors.py"), "--gradcheck")
        named = re.search(r"^found: (.*)$", output, re.MULTILINE)
        if status == 1 and not named:  # an exception is no finding of the check
            raise RuntimeError(f"the gradient check ended with {status}:\n{output[-3000:]}")
        return verdict(status, named.group(1) if named else "")

    def check_sound(self):
        """Builds the sources as they are; both must find nothing, or nothing that they find later counts."""
        self.compiled = self.build()
        status, output = self.run("-c", "import fastbp; print(fastbp.__file__)")
        if not output.startswith(str(self.folder)):
            raise RuntimeError(f"expected fastbp to be imported from {self.folder}, got {output}")
        _, machine = self.run("-c", "from fastbp.config import cpu_name; print(cpu_name())")
        _, software = self.run("-c", "from worst_errors import software; print(software())")
        self.machine = f"{machine.strip()}, level {self.level}, {software.strip()}"
        for who, (found, how) in (("test suite", self.suite()), ("gradcheck", self.gradcheck())):
            if found:
                raise RuntimeError(f"the {who} finds an error where none was planted: {how}\n{self.last_output}")

    def plant(self, name, file, old, new):
        """One row of the table: (name, file, suite's verdict, gradcheck's verdict); None for both if it is no test.

        That is an error that does not compile, or that the compiler does not see.
        """
        path = self.folder / "src" / file
        original = path.read_text()
        path.write_text(original.replace(old, new))
        try:
            if self.build() == self.compiled:
                raise RuntimeError("it compiles to the same code")
            return name, file, self.suite(), self.gradcheck()
        except RuntimeError as error:
            print(f"{name!r} in src/{file} is no test: {error}", flush=True)
            return name, file, None, None
        finally:
            path.write_text(original)


def rank(name):
    """Where a test file comes in the run."""
    return FIRST.index(name) if name in FIRST else len(FIRST)


def verdict(status, how):
    """(found, how), from an exit status."""
    if status == 0:
        return False, ""
    if status == 1:
        return True, how
    return True, "runs on and on" if status == "hang" else f"crash ({status})"


def gradcheck_alone():
    """Runs gradcheck over a handful of networks; prints the first entry at fault and returns 1, or returns 0."""
    from problems import ACTIVATIONS, LOGIT_OUTPUTS, LOSSES, draw_problem, make_network

    variants = list(LOSSES)
    # several depth blocks forward and back, functions applied in registers and after; one row; several blocks of rows
    cases = [((300, 12), (activation,), "mse", 3) for activation in ("relu", "tanh")]
    shapes = ((3, 300, 2), 2), ((5, 40, 3), 1), ((5, 9, 3), 257)
    cases += [(sizes, ("tanh", "identity"), "mse", rows) for sizes, rows in shapes]
    for k, activation in enumerate(ACTIVATIONS):
        variant = variants[k % len(variants)]
        output = LOGIT_OUTPUTS.get(LOSSES[variant][0], "identity")
        cases.append(((3, 17, 9, 5), (activation, "tanh", output), variant, 7))
        cases.append(((4, 6, 18), ("tanh", activation), "huber", 1 + k))
    for seed, (sizes, activations, variant, rows) in enumerate(cases):
        for dtype in ("float64", "float32"):
            problem = draw_problem(seed, sizes, activations, variant, rows=rows, dtype=dtype)
            report = make_network(problem, dtype).gradcheck(problem.X, problem.t)
            if not report:
                wrong = [part.entry(index) for part in report.layers for index in part.failures] or ["loss"]
                print(f"found: {wrong[0]} and {len(wrong) - 1} more, {'-'.join(map(str, sizes))} {dtype}")
                return 1
    return 0


def cells(row):
    name, file, suite, check = row
    return name, file, mark(suite), mark(check), suite[1] or check[1]


def mark(result):
    return "yes" if result[0] else "NO"


def shares(lines):
    """How many each of the two found."""
    for who, column in (("test suite", 2), ("gradcheck alone", 3)):
        found = sum(line[column] == "yes" for line in lines)
        yield f"{who}: {found} of {len(lines)}, {100 * found / max(1, len(lines)):.0f}%"


def table(rows):
    """Names, who found it, and both shares, as text."""
    lines = [cells(row) for row in rows if row[2] is not None]
    heads = ("planted error", "file", "suite", "check", "found by")
    text = ["", *("{:52} {:18} {:5} {:5}  {}".format(*line) for line in (heads, *lines)), *shares(lines)]
    return "\n".join(text + [f"no test: {row[0]}" for row in rows if row[2] is None])


def page(rows, machine, before):
    """The same as Markdown. Errors of the list that were not run now keep their lines of the page `before`."""
    from planted import PLANTED

    kept = [[cell.strip() for cell in line.split("|")[1:-1]] for line in before.splitlines() if line.startswith("| ")]
    by_name = {line[0]: line for line in (*kept, *map(cells, rows))}
    lines = [by_name[name] for name, *_ in PLANTED if name in by_name]
    counts = list(shares(lines))
    if len(lines) < len(PLANTED):
        counts.append(f"not run yet: {len(PLANTED) - len(lines)} of {len(PLANTED)}")
    return PAGE.format(
        machine=machine,
        date=date.today(),
        counts="\n".join(f"- {count}" for count in counts),
        rows="\n".join(f"| {' | '.join(line)} |" for line in lines),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="errors with any of these words in name or file")
    parser.add_argument("--level", default="v3", help="the level to build and test")
    parser.add_argument("--jobs", type=int, default=1, help="copies that build and test side by side")
    parser.add_argument("--list", action="store_true", help="check the list against the sources, and print it")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="PAGE",
        help="the page for the table, written after each error; with --only the other lines stay",
    )
    parser.add_argument("--gradcheck", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.gradcheck:
        return gradcheck_alone()
    chosen = plants(arguments.only)
    if arguments.list:
        for name, file, *_ in chosen:
            print(f"{file:18} {name}")
        print(f"{len(chosen)} errors")
        return 0

    with tempfile.TemporaryDirectory(prefix="planted-") as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        free = queue.Queue()

        def make_slot(k):
            slot = Slot(Path(folder) / f"slot{k}", arguments.level)
            slot.check_sound()
            free.put(slot)
            return slot

        def plant(error):
            slot = free.get()
            begin = time.monotonic()
            try:
                name, _, suite, check = row = slot.plant(*error)
            finally:
                free.put(slot)
            if suite is not None:
                seconds = time.monotonic() - begin
                how = suite[1] or check[1]
                print(f"{name}: suite {mark(suite)}, gradcheck {mark(check)} ({seconds:.0f} s) {how}", flush=True)
            return row

        for k in range(arguments.jobs):
            (Path(folder) / f"slot{k}").mkdir()
        machine = list(pool.map(make_slot, range(arguments.jobs)))[0].machine
        print(f"sound without an error; {len(chosen)} to plant", flush=True)
        before = arguments.write.read_text() if arguments.only and arguments.write and arguments.write.exists() else ""
        rows = []
        for row in pool.map(plant, chosen):
            rows.append(row)
            if arguments.write:
                arguments.write.write_text(page([row for row in rows if row[2]], machine, before))
    print(table(rows))
    return 0 if all(row[2] and row[2][0] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
