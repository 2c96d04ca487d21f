"""Progress: on a terminal, elsewhere, with tqdm and without."""

import io
import sys
import types

import numpy as np
import pytest

import fastbp as fb
from fastbp import progress
from fastbp.callbacks import Callback
from fastbp.history import History

X, Y = np.random.default_rng(0).standard_normal((2, 40, 2))


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=stream))
    monkeypatch.setattr(progress, "BETWEEN", 0.0)
    return stream


@pytest.fixture
def without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)


def make():
    return fb.Network([2, 3, 2], loss="mse", seed=0)


def shown(stream):
    """What stood in the line, one state after another."""
    return [state.removesuffix("\x1b[K").rstrip() for state in stream.getvalue().rstrip("\n").split("\r")[1:]]


def test_a_terminal_gets_a_line_that_is_rewritten(terminal, without_tqdm):
    make().fit(X, Y, epochs=4, validation_split=0.25)
    states = shown(terminal)
    assert [state.split("  loss")[0] for state in states] == [
        "epoch 1/4 [======                  ]",
        "epoch 2/4 [============            ]",
        "epoch 3/4 [==================      ]",
        "epoch 4/4 [========================]",
        "epoch 4/4 [========================]",
    ]
    assert "  val_loss " in states[0]
    assert terminal.getvalue().count("\n") == 1 and terminal.getvalue().endswith("\n")


def test_a_stream_that_is_closed_is_no_terminal(monkeypatch):
    """That of a service, say."""
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=stream))
    assert len(make().fit(X, Y, epochs=2).epochs) == 2


@pytest.mark.parametrize("works", [0, 1, 3])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("I/O operation on closed file")])
@pytest.mark.parametrize("live", [True, False])
def test_a_training_goes_on_where_its_terminal_goes_away(monkeypatch, without_tqdm, works, error, live):
    class Going(io.StringIO):
        left = works

        def isatty(self):
            return live

        def write(self, text):
            if not self.left:
                raise error
            self.left -= 1
            return super().write(text)

    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=Going()))
    monkeypatch.setattr(progress, "BETWEEN", 0.0)
    callback = fb.Progress()
    for _ in range(2):
        assert len(make().fit(X, Y, epochs=4, callbacks=callback).epochs) == 4


@pytest.mark.parametrize("verbose", [0, False])
def test_nothing_is_shown_where_nothing_is_wanted(terminal, verbose):
    make().fit(X, Y, epochs=2, verbose=verbose)
    assert terminal.getvalue() == ""


def test_what_is_no_terminal_gets_one_line_and_only_if_it_is_asked_for(capsys):
    net = make()
    net.fit(X, Y, epochs=3)
    net.fit(X, Y, epochs=3, verbose="auto")
    assert capsys.readouterr() == ("", "")
    for asked in (
        {"verbose": 1},
        {"verbose": True},
        {"callbacks": fb.Progress()},
        {"callbacks": [fb.Progress("line")]},
    ):
        net.fit(X, Y, epochs=3, **asked)
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("epoch 3/3 [====") and err.count("\n") == 1 and "\r" not in err


def test_there_is_one_progress_only(terminal, without_tqdm):
    make().fit(X, Y, epochs=2, batch_size=len(X), callbacks=fb.Progress(), verbose=1)
    assert len(shown(terminal)) == 3


def test_it_moves_within_an_epoch(terminal, without_tqdm):
    bar = fb.Progress()
    net = make()

    class Within(Callback):
        def begin(self, net, names):
            pass

        def __call__(self, net, history):
            if len(history.epochs) < 2:
                for fraction in (0.25, 0.5, None):
                    bar.update(fraction)

    net.fit(X, Y, epochs=2, batch_size=len(X), callbacks=[bar, Within()])
    heads = [state.split("]")[0] for state in shown(terminal)]
    assert heads == [f"epoch {epoch}/2 [{'=' * n}{' ' * (24 - n)}" for epoch, n in
                     [(1, 12), (2, 15), (2, 18), (1, 12), (2, 24), (2, 24)]]  # fmt: skip


def test_it_is_drawn_ten_times_a_second_at_most(terminal, without_tqdm, monkeypatch):
    monkeypatch.setattr(progress, "BETWEEN", 0.1)
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    bar, net = fb.Progress(), make()
    net.__dict__["history"] = History(0, 10)
    bar.begin(net, ())
    for k in range(1, 2001):
        now = k / 1000
        bar.update(k / 2001)
    assert 15 <= len(shown(terminal)) <= 20
    bar.end(net, net.history)


def test_an_interrupted_line_ends(terminal, without_tqdm):
    def interrupt(net, history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make().fit(X, Y, epochs=5, callbacks=interrupt)
    assert terminal.getvalue().endswith("\n")
    assert shown(terminal)[-1].startswith("epoch 1/5 [====  ")


def test_tqdm_draws_where_it_is_installed(terminal):
    pytest.importorskip("tqdm")
    make().fit(X, Y, epochs=4)
    states = shown(terminal)
    assert states[-1].startswith("epoch 4/4 ") and "|" in states[-1] and "loss " in states[-1]
    assert any(state.startswith("epoch 2/4") for state in states)
    assert terminal.getvalue().endswith("\n")


def test_tqdm_draws_on_what_is_no_terminal_if_it_is_asked_for(capsys):
    pytest.importorskip("tqdm")
    make().fit(X, Y, epochs=4, callbacks=fb.Progress("tqdm"))
    assert "epoch 4/4" in capsys.readouterr().err


def test_without_tqdm_progress_says_what_to_install(without_tqdm):
    net = make()
    before = net.params.copy()
    with pytest.raises(ImportError, match=r"needs tqdm: pip install 'fastbp\[progress\]'"):
        net.fit(X, Y, callbacks=fb.Progress("tqdm"))
    assert (net.params == before).all() and net.history is None


def test_a_progress_may_be_used_again(terminal, without_tqdm):
    bar = fb.Progress()
    for epochs in (2, 3):
        make().fit(X, Y, epochs=epochs, callbacks=bar)
    assert shown(terminal)[-1].startswith("epoch 3/3")
    assert terminal.getvalue().count("\n") == 2
