"""History: numbers of epochs over several fits, plots."""

import sys

import numpy as np
import pytest

import fastbp as fb
from fastbp.history import History

RNG = np.random.default_rng(10)
X = RNG.standard_normal((40, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 40)


def make():
    return fb.Network([4, 6, 3], seed=2)


@pytest.mark.parametrize("between", ["nothing", "copy", "save and load"])
def test_a_training_in_two_parts_is_the_one_in_one(between, tmp_path):
    """Rows come in the order of the longer run, and epochs are numbered as there."""
    whole, net = make(), make()
    run = {"batch_size": 7, "validation_split": 0.2, "verbose": 0}
    whole.fit(X, LABELS, epochs=5, **run)
    first = net.fit(X, LABELS, epochs=3, **run)
    if between == "copy":
        net = net.copy()
        assert net.history.epochs == first.epochs
    elif between == "save and load":
        net.save(tmp_path / "net")
        net = fb.load(tmp_path / "net")
    second = net.fit(X, LABELS, epochs=5, initial_epoch=3, **run)
    assert (net.params == whole.params).all()
    assert [*first.epochs, *second.epochs] == list(whole.history.epochs) == [1, 2, 3, 4, 5]
    for name in ("loss", "val_loss", "val_accuracy"):
        assert first.history[name] + second.history[name] == whole.history.history[name]
    assert net.copy().history.epochs == range(4, 6)


def test_messages_and_progress_count_from_the_initial_epoch(capsys):
    net = make()
    net.fit(X, LABELS, epochs=12, initial_epoch=10, verbose=1)
    assert "epoch 12/12 [========================]" in capsys.readouterr().err
    net.params[:] *= 1e18
    with pytest.raises(fb.DivergedError, match="in epoch 11, batch 1:"):
        net.fit(X, LABELS, epochs=12, initial_epoch=10, optimizer=fb.SGD(1e30), verbose=0)
    batches = [(X, LABELS), (np.full_like(X, np.nan), LABELS)]
    with pytest.raises(ValueError, match="batch 2 of epoch 11"):
        make().fit(batches, epochs=11, initial_epoch=10, verbose=0)
    make().fit((batch for batch in batches[:1]), epochs=11, initial_epoch=10, verbose=0)  # one epoch


@pytest.mark.parametrize("validated", [False, True])
def test_a_plot_has_a_curve_for_each_loss_and_metric(validated, monkeypatch, tmp_path):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    extra = {"validation_split": 0.2, "metrics": ["accuracy", "mse"]} if validated else {}
    history = make().fit(X, LABELS, epochs=7, initial_epoch=4, verbose=0, **extra)
    history.history["of my own"] = ["a"]
    history.history.setdefault("val_loss", [1.0])  # a list of a callback's, of any length
    figure = history.plot()
    curves = [{line.get_label(): line for line in axes.get_lines()} for axes in figure.axes]
    assert [list(lines) for lines in curves] == (
        [["loss", "val_loss"], ["val_accuracy", "val_mse"]] if validated else [["loss"]]
    )
    for lines in curves:
        for name, line in lines.items():
            assert list(line.get_xdata()) == [5, 6, 7]
            assert list(line.get_ydata()) == history.history[name]
    figure.savefig(tmp_path / "plot.svg")
    pyplot.close(figure)


def test_without_matplotlib_a_plot_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"History.plot needs matplotlib: pip install 'fastbp\[plot\]'"):
        History().plot()
