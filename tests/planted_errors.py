"""Checks the checks: plants one error at a time in the kernels, rebuilds, and looks who finds it.

    python tests/planted_errors.py [--only WORD ...] [--level v3] [--jobs 1] [--list]

The errors stand in tests/planted.py. For each, a copy of the sources in a temporary folder is built at one level, and
(a) a fast part of the test suite runs up to its first failure, (b) the shipped `gradcheck` alone runs over a handful of
networks. A crash or an endless run counts as found. The table and both shares are printed at the end; the exit status
is 1 where (a) misses an error, or where one is no test (it does not compile, or compiles to the same code). Needs what
a build needs; one error takes half a minute of one core.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "src", "fastbp", "tests")
SUITE = ("test_twin.py", "test_gradients.py")  # the fast part: under a minute, stopped at the first failure
SECONDS = 600  # no honest run takes longer


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


class Slot:
    """A copy of the sources with its own build folder, in which one error at a time is planted."""

    def __init__(self, folder, level):
        self.folder = folder
        self.level = level
        self.compiled = None  # of the sources without an error
        for name in SOURCES:
            source, target = ROOT / name, folder / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c"))
            else:
                shutil.copy(source, target)

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
        tests = [str(self.folder / "tests" / name) for name in SUITE]
        status, output = self.run("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *tests)
        failed = re.search(r"^(?:FAILED|ERROR) \S*/(\S+::\S+)", output, re.MULTILINE)
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
        for who, (found, how) in (("test suite", self.suite()), ("gradcheck", self.gradcheck())):
            if found:
                raise RuntimeError(f"the {who} finds an error where none was planted: {how}")

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
    cases = [((300, 3), ("identity",), "mse", 3), ((3, 300, 2), ("tanh", "identity"), "mse", 2)]  # several depth blocks
    cases += [((5, 9, 3), ("tanh", "identity"), "mse", rows) for rows in (1, 130)]  # one row; several blocks of rows
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


def table(rows):
    """Names, who found it, and both shares."""
    lines = ["", f"{'planted error':52} {'file':18} {'suite':5} {'check':5}  found by"]
    tested = [row for row in rows if row[2] is not None]
    for name, file, suite, check in tested:
        how = suite[1] or check[1]
        lines.append(f"{name:52} {file:18} {mark(suite):5} {mark(check):5}  {how}")
    for who, column in (("test suite", 2), ("gradcheck alone", 3)):
        found = sum(row[column][0] for row in tested)
        lines.append(f"{who}: {found} of {len(tested)}, {100 * found / max(1, len(tested)):.0f}%")
    lines += [f"no test: {row[0]}" for row in rows if row[2] is None]
    return "\n".join(lines)


def mark(result):
    return "yes" if result[0] else "NO"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="errors with any of these words in name or file")
    parser.add_argument("--level", default="v3", help="the level to build and test")
    parser.add_argument("--jobs", type=int, default=1, help="copies that build and test side by side")
    parser.add_argument("--list", action="store_true", help="check the list against the sources, and print it")
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

        def plant(error):
            slot = free.get()
            begin = time.monotonic()
            try:
                row = slot.plant(*error)
            finally:
                free.put(slot)
            if row[2] is not None:
                seconds = time.monotonic() - begin
                print(f"{row[0]}: suite {mark(row[2])}, gradcheck {mark(row[3])} ({seconds:.0f} s)", flush=True)
            return row

        for k in range(arguments.jobs):
            (Path(folder) / f"slot{k}").mkdir()
        list(pool.map(make_slot, range(arguments.jobs)))
        print(f"sound without an error; {len(chosen)} to plant", flush=True)
        rows = list(pool.map(plant, chosen))
    print(table(rows))
    return 0 if all(row[2] and row[2][0] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
