"""A small program as a user would write it. `mypy --strict` must find nothing wrong with it, and it runs."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import fastbp as fb
from fastbp.datasets import load_digits, stratified_split


def log_loss(net: fb.Network, history: object) -> None:
    print(net.n_params, history)


def largest_error(outputs: NDArray[np.float32], targets: NDArray[np.int32]) -> float:
    return float(1 - outputs.max(axis=1).min())


def main(folder: Path) -> float:
    images, labels = load_digits()
    train, test = stratified_split(labels)
    X: NDArray[np.float32] = (images / 16).astype(np.float32)
    net = fb.Network([64, fb.Dense(32, "tanh", bias=False), 10], loss=fb.CrossEntropy(label_smoothing=0.1), seed=1)
    history = net.fit(
        X[train],
        labels[train],
        epochs=2,
        optimizer=fb.AdamW(lr=1e-2),
        validation_data=(X[test], labels[test], np.ones(len(test))),
        metrics=["accuracy", largest_error],
        callbacks=[log_loss, fb.EarlyStopping("val_accuracy", patience=2), fb.Checkpoint(folder / "last.npz")],
        on_interrupt="return",
        initial_epoch=0,
        verbose=0,
    )
    net.partial_fit(X[train], labels[train], class_weight={0: 2.0}).fit(
        X[train], labels[train], epochs=1, class_weight="balanced", callbacks=fb.Progress("line"),
        optimizer=fb.SGD(lr=fb.Warmup(fb.Cosine(1e-2), epochs=0.5)),
    )  # fmt: skip
    fb.Network([2, 1], loss="mse", missing_targets="mask").fit(
        [[0, 1]], [np.nan], optimizer=fb.Adam(lr=lambda epoch: 0.1 / (epoch + 1)), verbose="auto"
    )
    ensemble = fb.Ensemble(fb.Network([2, 1], loss="mse"), 2)
    ensemble.fit([[0, 1], [1, 0]], [0, 1], callbacks=[fb.EarlyStopping("loss"), [log_loss]], validation_split=0.5)
    ensemble.partial_fit([[0, 1]], [1], optimizer=fb.SGD(fb.Warmup(lambda epoch: 0.1, 2))).save(folder / "two.npz")
    of_two: dict[str, float] = fb.Ensemble.load(folder / "two.npz").evaluate([[0, 1]], [1], "mae", sample_weight=[2.0])
    assert of_two["mae"] >= 0
    losses: list[float] = history.history["loss"]
    value, gradient = net.loss_and_grad(X[:5], labels[:5])
    assert gradient.shape == net.params.shape and value > 0 and len(losses) == 2
    bias = net.biases[0]
    assert bias is None and net.weights[0].shape == (32, 64)
    probabilities = net.predict(X[test])
    assert probabilities.shape == (len(test), net.n_outputs)
    double = net.copy(dtype=np.float64)
    assert double.input_grad([[0.0] * 64], [1]).shape == (1, 64)
    run: fb.Run = fb.resume(folder / "last.npz")
    assert run.finished and run.epoch == 2 and run.settings["batch_size"] == 32
    net.save(folder / "net.npz", optimizer=False)
    again: fb.Network = fb.load(str(folder / "net.npz"))
    assert np.array_equal(again.params, net.params)
    fb.show_config()
    return net.evaluate(X[test], labels[test], metrics=["accuracy"])["accuracy"]


if __name__ == "__main__":
    print(main(Path.cwd()))
