"""`fastbp demo`: one step of backpropagation in full, a gradient check, and digits learned beside plain NumPy."""

import math
import statistics
import time

import numpy as np

from . import plain
from .config import LEVEL, cpu_name
from .datasets import load_digits, stratified_split
from .layers import Dense
from .network import Network
from .optimizers import SGD, Adam
from .terminal import Bar, Screen
from .version import __version__


def run(parts, seed, quick):
    """Shows the named parts; `quick` trains for fewer epochs and times once."""
    screen = Screen()
    screen.print(f"{screen.paint('bold', f'fastbp {__version__}')}, level {LEVEL} on {cpu_name()}")
    for part in parts:
        PARTS[part](screen, seed, quick)


def notes(screen, seed, quick):
    """The 2-3-1 net without biases: its first step in full, then its training."""
    screen.heading("1. A 2-3-1 net: one step of backpropagation, every partial by name, then its training")
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (200, 2))
    y = (X[:, 1] > np.sin(X[:, 0])).astype(float)
    net = Network([2, 3, 1], activation="sigmoid", bias=False, loss="binary_cross_entropy", dtype="float64", seed=seed)
    screen.print(
        "B = sigma(A), A = sum_i u_i h(g_i), g = W x, with h = sigma and no biases; the loss is binary cross-entropy."
    )
    screen.print("In the trace y1, z1, y2, z2 are g, h, A, B, and W2 is u.\n")
    x, t = X[:1], y[:1]
    screen.print(net.trace(x, t).text())
    loss, alpha = net.loss(x, t), 0.5
    net.fit(x, t, epochs=1, batch_size=1, optimizer=SGD(lr=alpha), verbose=0)
    screen.print(f"\nafter this update with alpha = {alpha}: L = {net.loss(x, t):.6f}, it was {loss:.6f}\n")

    epochs, before = 100 if quick else 300, net.evaluate(X, y)
    net.fit(X, y, epochs=epochs, batch_size=20, optimizer=Adam(lr=0.1), verbose=0)
    after = net.evaluate(X, y)
    screen.print(f"After {epochs} epochs on {len(X)} points; class 1 lies above the curve x2 = sin(x1):\n")
    draw_classes(screen, net, X, y)
    screen.print(f"\n{'':8}  loss  accuracy")
    screen.print(f"before  {before['loss']:6.3f}  {before['accuracy']:8.1%}")
    screen.print(f"after   {after['loss']:6.3f}  {after['accuracy']:8.1%}")


def draw_classes(screen, net, X, y):
    """The plane [-2, 2] x [-2, 2]: what the net says of it, and the points."""
    rows, columns = 15, 60
    across = np.linspace(-2, 2, columns)
    down = np.linspace(2, -2, rows)
    grid = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
    says_one = (net.predict(grid)[:, 0] > 0.5).reshape(rows, columns)
    shown = [[screen.paint("dim", ":") if one else " " for one in row] for row in says_one]
    row_of = np.rint((2 - X[:, 1]) / 4 * (rows - 1)).astype(int)
    column_of = np.rint((X[:, 0] + 2) / 4 * (columns - 1)).astype(int)
    for row, column, label in zip(row_of, column_of, y, strict=True):
        shown[row][column] = screen.paint("green", "+") if label else screen.paint("blue", "o")
    for row in shown:
        screen.print("".join(row))
    screen.print(f"+ class 1   o class 0   {screen.paint('dim', ':::')} where the net says 1")


def gradcheck(screen, seed, quick):
    """A gradient check of a network of unlike layers."""
    screen.heading("2. Every gradient against central differences")
    rng = np.random.default_rng(seed)
    net = Network(
        [8, Dense(16, "tanh"), Dense(12, "gelu"), Dense(10, "relu", bias=False), 4], dtype="float64", seed=seed
    )
    X, y = rng.standard_normal((20, 8)), rng.integers(0, 4, 20)
    report = net.gradcheck(X, y)
    screen.print(str(report))
    if not report.ok:
        raise SystemExit(1)


def digits(screen, seed, quick):
    """A classifier of handwritten digits, and the same training in NumPy."""
    screen.heading("3. Handwritten digits, beside the same training in plain NumPy")
    epochs, batch_size, optimizer = 30 if quick else 100, 32, Adam()
    X, y = load_digits()
    X = (X / 16).astype(np.float32)
    train, test = stratified_split(y)
    start = Network([64, 128, 64, 10], seed=seed)
    screen.print(str(start))
    screen.print(
        f"{len(train)} digits to learn, {len(test)} held out; {epochs} epochs, batches of {batch_size}, Adam\n"
    )

    trainings = {"fastbp": Network.fit, "NumPy": plain.fit}
    settings = {"epochs": epochs, "batch_size": batch_size, "optimizer": optimizer}

    def train_copy(name, callbacks=()):
        net = start.copy()
        quiet = {"verbose": 0} if name == "fastbp" else {}
        begin = time.perf_counter()
        trainings[name](net, X[train], y[train], **settings, callbacks=callbacks, **quiet)
        return net, time.perf_counter() - begin

    nets = {name: train_copy(name, [Bar(screen, f"{name:6}", epochs)])[0] for name in trainings}
    rounds = [{name: train_copy(name)[1] for name in trainings} for _ in range(3)]  # in turn, without the bar
    seconds = {name: statistics.median(times[name] for times in rounds) for name in trainings}

    steps = epochs * math.ceil(len(train) / batch_size)
    screen.print(f"\n{'':6}  test accuracy  training time  a step")
    for name, net in nets.items():
        accuracy = net.evaluate(X[test], y[test])["accuracy"]
        screen.print(f"{name:6}  {accuracy:13.2%}  {seconds[name]:11.3f} s  {seconds[name] / steps * 1e6:.0f} us")
    apart = np.abs(nets["fastbp"].predict(X[test]) - nets["NumPy"].predict(X[test])).max()
    screen.print(f"(medians of {len(rounds)} runs from the same first weights, with the same batches;")
    screen.print(f"at the end the probabilities of the held-out digits differ by {apart:.0e} at most)")
    ratio = screen.paint("bold", f"{seconds['NumPy'] / seconds['fastbp']:.1f} times as fast")
    screen.print(f"\nfastbp trained {ratio} as NumPy {np.__version__}.")
    if screen.coloured and screen.lined:
        draw_mistakes(screen, X[test], y[test], nets["fastbp"].predict(X[test]).argmax(axis=1))


def draw_mistakes(screen, X, y, read):
    """The first of the digits that were read wrong, two rows of pixels in a line."""
    wrong = np.flatnonzero(read != y)[:7]
    if not wrong.size:
        return
    screen.print("\nRead wrong, among others:")
    pictures = X[wrong].reshape(-1, 4, 2, 8)
    for line in range(4):
        screen.print("    ".join(screen.pixels(*picture[line]) for picture in pictures))
    screen.print("    ".join(f"{label} not {said}".ljust(8) for label, said in zip(y[wrong], read[wrong], strict=True)))


PARTS = {"notes": notes, "gradcheck": gradcheck, "digits": digits}
