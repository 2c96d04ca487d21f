"""Validation in fit: a share of the rows, and metrics."""

import numpy as np
import pytest
from snapshot import snapshot

import fastbp as fb

RNG = np.random.default_rng(9)
X = RNG.standard_normal((50, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 50)
NUMBERS = RNG.standard_normal((50, 2))


class Squares:
    """A loss object of one's own."""

    def value_and_delta(self, outputs, targets):
        difference = outputs - targets
        return float((difference**2).mean()), 2 * difference / difference.size


def make(loss="cross_entropy"):
    return fb.Network([4, 6, 3 if loss == "cross_entropy" else 2], loss=loss, seed=2)


def mapped(array, path):
    on_disk = np.memmap(path, array.dtype, "w+", shape=array.shape)
    on_disk[:] = array
    return on_disk


@pytest.mark.parametrize("source", ["array", "lists", "memory map", "both mapped", "loss object"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_share_of_the_rows_is_the_last_ones_as_validation_data(source, weighted, tmp_path):
    own = source == "loss object"
    if own and weighted:
        pytest.skip("a loss object weighs rows itself")
    y = NUMBERS if own else LABELS
    inputs = X.tolist() if source == "lists" else mapped(X, tmp_path / "X") if "map" in source else X
    targets = mapped(y, tmp_path / "y") if source == "both mapped" else y.tolist() if source == "lists" else y
    weights = RNG.uniform(size=50) if weighted else None
    net, twin = (make(Squares() if own else "cross_entropy") for _ in range(2))
    run = {"epochs": 3, "batch_size": 7, "verbose": 0}
    net.fit(inputs, targets, validation_split=0.3, sample_weight=weights, **run)
    first, last = (None, []) if weights is None else (weights[:35], [weights[35:]])
    twin.fit(X[:35], y[:35], validation_data=(X[35:], y[35:], *last), sample_weight=first, **run)
    assert (net.params == twin.params).all()
    for each in (net, twin):
        del each.history.history["seconds"]
    assert net.history.history == twin.history.history


@pytest.mark.parametrize(("split", "rows"), [(0.02, 1), (0.5, 25), (0.51, 26), (0.98, 49)])
def test_the_share_is_rounded_to_whole_rows(split, rows):
    sizes = []

    def size(outputs, targets):
        sizes.append(len(targets))
        return 0.0

    make().fit(X, LABELS, epochs=1, validation_split=split, metrics=size, verbose=0)
    assert sizes == [rows]


def test_metrics_are_reported_as_evaluate_reports_them():
    def worst(outputs, targets):
        return float(np.abs(outputs - targets).max())

    net, seen = make("mse"), []
    net.fit(
        X,
        NUMBERS,
        epochs=2,
        validation_data=(X[:9], NUMBERS[:9]),
        metrics=["mse", worst, "mae"],
        callbacks=lambda n, h: seen.append(n.evaluate(X[:9], NUMBERS[:9], metrics=["mse", worst, "mae"])),
        verbose=0,
    )
    history = net.history.history
    assert list(history) == ["loss", "lr", "seconds", "val_loss", "val_mse", "val_worst", "val_mae"]
    assert [{name: history[f"val_{name}"][k] for name in seen[0]} for k in range(2)] == seen
    net.fit(X, NUMBERS, epochs=1, validation_split=0.2, metrics=(), verbose=0)
    assert list(net.history.history) == ["loss", "lr", "seconds", "val_loss"]


def fit(net, **kwargs):
    net.fit(*kwargs.pop("data", (X, LABELS)), optimizer=fb.SGD(0.1), verbose=0, **kwargs)


BAD_ROW = X.copy()
BAD_ROW[45, 2] = np.nan


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"validation_split": 1}, ValueError, "^validation_split: .*< 1.*1"),
        ({"validation_split": -0.1}, ValueError, "^validation_split: .*-0.1"),
        ({"validation_split": "0.1"}, TypeError, "^validation_split: .*0.1"),
        ({"validation_split": None}, TypeError, "^validation_split: .*None"),
        ({"validation_split": 0.001}, ValueError, "^validation_split: .*both sides, got 0.001 of 50 rows"),
        ({"validation_split": 0.999}, ValueError, "^validation_split: .*both sides"),
        ({"validation_split": 0.1, "validation_data": (X, LABELS)}, ValueError, "^validation_split: .*validation_data"),
        ({"validation_split": 0.1, "data": ([(X, LABELS)],)}, ValueError, "^validation_split: .*iterable"),
        ({"validation_split": 0.1, "sample_weight": np.repeat([0, 1], [45, 5])}, ValueError, "^sample_weight: .*zeros"),
        ({"validation_split": 0.1, "sample_weight": np.repeat([1, -1], [48, 2])}, ValueError, "^sample_.*row 48"),
        ({"validation_split": 0.1, "data": (BAD_ROW, LABELS)}, ValueError, "^X: .*nan in row 45, column 2"),
        ({"validation_split": 0.2, "data": (X, np.where(np.arange(50) == 44, 3, LABELS))}, ValueError, "^y: .*row 44"),
        ({"metrics": ["accuracy"]}, ValueError, "^metrics: expected None without validation data"),
        ({"metrics": ["acuracy"], "validation_split": 0.1}, ValueError, "^metrics: .*did you mean 'accuracy'"),
        ({"metrics": 5, "validation_split": 0.1}, TypeError, "^metrics: .*5"),
        ({"metrics": ["mse", "mse"], "validation_split": 0.1}, ValueError, "^metrics: .*'mse' twice"),
    ],
)  # fmt: skip
def test_bad_validation_is_refused_before_anything_changes(kwargs, error, message):
    net = make()
    before = snapshot(net)
    with pytest.raises(error, match=message):
        fit(net, **kwargs)
    assert snapshot(net) == before


def test_a_bad_row_of_a_mapped_validation_share_is_named_by_its_number_in_the_whole(tmp_path):
    net = make()
    before = snapshot(net)
    with pytest.raises(ValueError, match="^X: .*nan in row 45, column 2"):
        fit(net, data=(mapped(BAD_ROW, tmp_path / "X"), LABELS), validation_split=0.2)
    wrong = mapped(np.where(np.arange(50) == 44, 3, LABELS), tmp_path / "y")
    with pytest.raises(ValueError, match="^y: .*3 in row 44"):
        fit(net, data=(X, wrong), validation_split=0.2)
    assert snapshot(net) == before
