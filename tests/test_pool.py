"""The worker threads: alone, as a C program and under ThreadSanitizer; and below networks, in processes that fork, end,
are held to one CPU, or have many threads."""

import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb
from fastbp import _pool, cpus  # noqa: F401 (_pool: of the children)

PROGRAM = Path(__file__).with_name("pool.c")
HEADERS = PROGRAM.parents[1] / "src"
COMPILER = shutil.which("cc")

rng = np.random.default_rng(0)
X = rng.standard_normal((2000, 60)).astype("float32")
LABELS = rng.integers(0, 5, len(X))
LARGE = {"layers": [60, 150, 90, 5], "seed": 1}  # each step asks for as many threads as it may have


def fitted(threads, **settings):
    net = fb.Network(**LARGE, threads=threads)
    net.fit(X, LABELS, **({"epochs": 2, "batch_size": 500, "verbose": 0} | settings))
    return net.params.tobytes()


def run_python(code, **settings):
    return subprocess.run(
        [sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        **settings,
    )  # fmt: skip


@pytest.mark.skipif(not HEADERS.exists() or COMPILER is None, reason="the source tree or a C compiler is not here")
@pytest.mark.parametrize("what", ["meet", "stress", "fork", "time", "stress under ThreadSanitizer"])
def test_the_pool_alone(what, tmp_path):
    program = tmp_path / "pool"
    sanitized = "Sanitizer" in what
    flags = ["-O1", "-fsanitize=thread"] if sanitized else ["-O2"]
    flags += ["-g", "-Wall", "-Wextra", "-Werror", "-std=gnu11", "-pthread", f"-I{HEADERS}"]
    build = [COMPILER, *flags, str(PROGRAM), "-o", str(program)]
    built = subprocess.run(build, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if built.returncode != 0 and sanitized and "tsan" in built.stdout:
        pytest.skip("no ThreadSanitizer here")
    assert built.returncode == 0, built.stdout
    done = subprocess.run(
        [program, what.split()[0]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    if "unexpected memory mapping" in done.stdout:
        pytest.skip("ThreadSanitizer does not run on this kernel")
    assert done.returncode == 0, done.stdout
    print(done.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("used_before", [False, True])
def test_a_child_of_a_fork_starts_workers_of_its_own(used_before):
    code = f"""
import os, sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
import test_pool as t
want = t.fitted(1)
if {used_before}:
    assert t.fitted(4) == want and t._pool.workers() == 3
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        ok = t._pool.workers() == 0 and t.fitted(4) == want and t._pool.workers() == 3
        os._exit(0 if ok else 1)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
assert t.fitted(4) == want
"""
    done = run_python(code)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_in_the_middle_of_a_step_is_free():
    """The caller who had the workers, and the workers, are not in the child."""
    want = fitted(1)
    stop = threading.Event()

    def fit():
        net = fb.Network(**LARGE, threads=4)
        net.fit(X, LABELS, epochs=10**9, batch_size=500, callbacks=lambda *_: stop.is_set(), verbose=0)

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    statuses = []
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    signal.signal(signal.SIGALRM, signal.SIG_DFL)
                    signal.alarm(60)
                    status = 0 if fitted(4) == want else 2
                finally:
                    os._exit(status)
            statuses.append(os.waitpid(child, 0)[1])
    finally:
        stop.set()
        thread.join(60)
    assert statuses == [0] * 20


def test_sixty_four_threads_train_a_network_each():
    want = fitted(1, epochs=1)
    got = [None] * 64

    def work(k):
        got[k] = fitted(1 + k % 4, epochs=1)

    threads = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [k for k in range(64) if got[k] != want] == []


def test_the_process_can_end_while_workers_work():
    code = f"""
import sys, threading, time
sys.path.insert(0, {str(PROGRAM.parent)!r})
import test_pool as t
net = t.fb.Network(**t.LARGE, threads=4)
fit = lambda: net.fit(t.X, t.LABELS, epochs=10**9, batch_size=2000, verbose=0)
threading.Thread(target=fit, daemon=True).start()
while t._pool.workers() < 3:
    time.sleep(0.01)
time.sleep(0.2)
print("the end")
"""
    for _ in range(5):
        done = run_python(code)
        assert (done.returncode, done.stdout) == (0, "the end\n")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_one_cpu_is_enough_for_any_number_of_threads():
    code = f"""
import os, sys
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
sys.path.insert(0, {str(PROGRAM.parent)!r})
import test_pool as t
assert t.cpus.usable() == t.cpus.default_threads() == 1
assert t.fitted(None) == t.fitted(4)
"""
    done = run_python(code, env=os.environ | {"FASTBP_THREADS": ""})
    assert done.returncode == 0, done.stdout


def test_workers_are_started_only_for_work_that_is_worth_it():
    code = """
import numpy as np, fastbp as fb
from fastbp import _pool
net = fb.Network([4, 16, 1], loss="mse", threads=8)
net.fit(np.zeros((1000, 4), "float32"), np.zeros((1000, 1), "float32"), epochs=2, verbose=0)
net.predict(np.zeros((1000, 4), "float32"))
assert _pool.workers() == 0
"""
    done = run_python(code)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("value", "threads"), [("1", 1), ("3", 3), ("128", 128)])
def test_the_environment_names_the_threads(value, threads, monkeypatch):
    monkeypatch.setenv("FASTBP_THREADS", value)
    assert cpus.default_threads() == threads
    assert fb.Network([2, 1])._engine.threads_for(10**12) == threads
    assert fb.Network([2, 1], threads=2)._engine.threads_for(10**12) == 2


@pytest.mark.parametrize("value", ["0", "129", "-1", "two", "1.5"])
def test_a_bad_number_of_threads_in_the_environment_is_refused(value, monkeypatch):
    monkeypatch.setenv("FASTBP_THREADS", value)
    with pytest.raises(ValueError, match=f"^FASTBP_THREADS: expected a whole number from 1 to 128, got '{value}'"):
        fb.Network([2, 1])


@pytest.mark.parametrize(
    ("limits", "cpus_allowed"),
    [({}, math.inf), ({"a/b": "max 100000"}, math.inf), ({"a/b": "150000 100000"}, 1.5), ({"a": "50000 100000"}, 0.5),
     ({"a": "400000 100000", "a/b": "200000 100000"}, 2)],
)  # fmt: skip
def test_control_groups_limit_the_threads(limits, cpus_allowed, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for group, limit in limits.items():
        (tmp_path / group / "cpu.max").write_text(limit + "\n")
    membership = tmp_path / "membership"
    membership.write_text("1:name=systemd:/x\n0::/a/b\n")
    assert cpus.quota(str(tmp_path), str(membership)) == cpus_allowed
    assert cpus.quota(str(tmp_path), str(tmp_path / "missing")) == math.inf
