"""The command line, the demo, and the NumPy training that the demo compares with."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb
from fastbp import plain
from fastbp.datasets import load_digits, stratified_split
from fastbp.terminal import Screen

CHECKOUT = Path(__file__).resolve().parents[1]


def run(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "fastbp", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | environment,
        timeout=300,
    )


def scaled_digits(dtype):
    X, y = load_digits()
    train, test = stratified_split(y)
    X = (X / 16).astype(dtype)
    return X[train], y[train], X[test], y[test]


@pytest.mark.parametrize("seed", [1, 2])
def test_numpy_training_ends_at_the_parameters_of_fit(seed):
    X, y, _, _ = scaled_digits("float64")
    net = fb.Network([64, 20, 15, 10], dtype="float64", seed=seed)
    twin = net.copy()
    start = net.params.copy()
    settings = {"epochs": 3, "batch_size": 32, "optimizer": fb.Adam(lr=0.003)}
    history = net.fit(X, y, verbose=0, **settings)
    twin_history = plain.fit(twin, X, y, **settings)
    apart = np.linalg.norm(net.params - twin.params) / np.linalg.norm(net.params - start)
    assert apart < 1e-10, f"seed={seed} sizes={(64, 20, 15, 10)} apart={apart:.1e}"
    np.testing.assert_allclose(history.history["loss"], twin_history.history["loss"], rtol=1e-10)


def test_digits_are_learned_to_97_percent_on_average_over_five_seeds():
    X, y, X_test, y_test = scaled_digits("float32")
    accuracies = []
    for seed in range(1, 6):
        net = fb.Network([64, 128, 64, 10], seed=seed)
        net.fit(X, y, epochs=100, verbose=0)
        accuracies.append(net.evaluate(X_test, y_test)["accuracy"])
    assert np.mean(accuracies) >= 0.97, f"accuracies of seeds 1 to 5: {accuracies}"


def test_the_demo_runs_through_a_pipe_without_colours(tmp_path):
    done = run("demo", "--quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    for part in ("1. A 2-3-1 net", "dL/dW", "2. Every gradient", "3. Handwritten digits", "times as fast"):
        assert part in done.stdout, done.stdout


def test_the_demo_prints_where_only_ascii_can_be_printed(tmp_path):
    done = run("demo", "--quick", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr


def test_an_unknown_part_of_the_demo_is_refused(tmp_path):
    done = run("demo", "digit", cwd=tmp_path)
    assert done.returncode == 2
    assert "expected notes, gradcheck, digits, got 'digit'" in done.stderr


def test_version_and_config_are_printed(tmp_path):
    assert run("--version", cwd=tmp_path).stdout == f"fastbp {fb.__version__}\n"
    assert "level" in run("config", cwd=tmp_path).stdout
    assert "demo" in run(cwd=tmp_path).stdout


@pytest.mark.skipif(
    not (CHECKOUT / "fastbp").exists() or any(CHECKOUT.glob("fastbp/_cpu.*.so")), reason="no uncompiled checkout here"
)
def test_python_m_in_a_checkout_says_what_is_wrong():
    done = subprocess.run([sys.executable, "-m", "fastbp"], capture_output=True, text=True, cwd=CHECKOUT)
    assert done.returncode != 0
    assert "this looks like the source folder. Install with `pip install .`" in done.stderr.splitlines()[-1]


class Terminal:
    """Standard output as a terminal would be."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_colours_and_lines_are_for_terminals_that_want_them(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = Screen(Terminal())
    screen.heading("Title")
    assert "\x1b[1mTitle\x1b[0m" in screen.stream.text
    assert "─" in screen.stream.text
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen(Terminal())
    screen.heading("Title")
    assert "\x1b" not in screen.stream.text
    assert "─" in screen.stream.text
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen(Terminal())
    screen.heading("Title")
    assert screen.stream.text == "\nTitle\n-----\n"
