"""Fashion-MNIST, 784-256-128-10: seconds an epoch and test accuracy, beside scikit-learn and torch.

    python bench fashion-mnist [--epochs 15]

The data is Debian's package dataset-fashion-mnist (Xiao, Rasul and Vollgraf, 2017). Epochs of the libraries take turns.
"""

import gzip
import statistics
import time
from pathlib import Path

import numpy as np

FOLDER = Path("/usr/share/datasets/fashion-mnist")
SIZES, BATCH = (784, 256, 128, 10), 128


def load():
    """X_train (60000, 784) in [0, 1], y_train, X_test (10000, 784), y_test."""
    parts = []
    for name in ("train", "t10k"):
        for kind, header in (("images-idx3", 16), ("labels-idx1", 8)):
            raw = gzip.decompress((FOLDER / f"{name}-{kind}-ubyte.gz").read_bytes())
            parts.append(np.frombuffer(raw, np.uint8, offset=header))
    X, y, X_test, y_test = parts
    scaled = [a.reshape(-1, 784).astype(np.float32) / 255 for a in (X, X_test)]
    return scaled[0], y.astype(np.int64), scaled[1], y_test.astype(np.int64)


class FastBPRun:
    name = "fastbp"

    def __init__(self, X, y, seed):
        import fastbp as fb

        self.X, self.y = X, y
        self.net = fb.Network(list(SIZES), seed=seed, threads=1)

    def epoch(self):
        self.net.fit(self.X, self.y, epochs=1, batch_size=BATCH, verbose=0)

    def classes(self, X):
        return self.net.predict(X).argmax(axis=1)


class TorchRun:
    name = "torch"

    def __init__(self, X, y, seed):
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        nn, (a, b, c, d) = torch.nn, SIZES
        self.torch, self.X, self.y = torch, torch.from_numpy(X), torch.from_numpy(y)
        self.model = nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, c), nn.ReLU(), nn.Linear(c, d))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)

    def epoch(self):
        order = self.torch.randperm(len(self.X))
        for rows in order.split(BATCH):
            self.optimizer.zero_grad(set_to_none=True)
            self.torch.nn.functional.cross_entropy(self.model(self.X[rows]), self.y[rows]).backward()
            self.optimizer.step()

    def classes(self, X):
        with self.torch.inference_mode():
            return self.model(self.torch.from_numpy(X)).argmax(dim=1).numpy()


class ScikitLearnRun:
    name = "scikit-learn"

    def __init__(self, X, y, seed):
        from sklearn.neural_network import MLPClassifier

        self.X, self.y = X, y
        self.model = MLPClassifier(SIZES[1:-1], alpha=0, batch_size=BATCH, learning_rate_init=1e-3, random_state=seed)

    def epoch(self):
        self.model.partial_fit(self.X, self.y, classes=range(10))

    def classes(self, X):
        return self.model.predict(X)


def run(epochs, seed=0):
    """One dict a library: name, seconds of every epoch, accuracy after every epoch."""
    X, y, X_test, y_test = load()
    runs = []
    for make in (FastBPRun, TorchRun, ScikitLearnRun):
        try:
            runs.append(make(X, y, seed))
        except ImportError as error:
            print(f"{make.name}: skipped, {error}")
    results = {r.name: {"seconds": [], "accuracy": []} for r in runs}
    for epoch in range(epochs):
        for r in runs:
            begin = time.perf_counter()
            r.epoch()
            results[r.name]["seconds"].append(time.perf_counter() - begin)
            results[r.name]["accuracy"].append(float(np.mean(r.classes(X_test) == y_test)))
        line = "  ".join(f"{n} {v['accuracy'][-1]:.4f} ({v['seconds'][-1]:.2f} s)" for n, v in results.items())
        print(f"epoch {epoch + 1:2}/{epochs}  {line}", flush=True)
    return results


def show(results):
    print(f"\n{'':14}{'s an epoch':>12}{'test accuracy':>15}{'best':>9}")
    for name, values in results.items():
        seconds, accuracy = statistics.median(values["seconds"]), values["accuracy"]
        print(f"{name:14}{seconds:12.2f}{accuracy[-1]:15.4f}{max(accuracy):9.4f}")
