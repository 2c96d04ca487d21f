"""What fit does: history, callbacks, validation, order of rows, streams, weights, continuing an optimiser."""

import numpy as np
import pytest
from snapshot import snapshot

import fastbp as fb

RNG = np.random.default_rng(5)
X = RNG.standard_normal((50, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 50)
TARGETS = RNG.standard_normal((50, 2)).astype(np.float32)


def make(**kwargs):
    return fb.Network([4, 6, 3], **{"activation": "tanh", "seed": 2, "dtype": "float64", **kwargs})


def batch_by_batch(net, X, y, batch_size, weights=None):
    """One epoch of plain SGD written out: the losses of the batches, each before its step."""
    losses = []
    for first in range(0, len(X), batch_size):
        rows = slice(first, first + batch_size)
        n = len(X[rows])
        w = np.ones(n) if weights is None else weights[rows]
        parts = [net.loss_and_grad(X[rows][r : r + 1], y[rows][r : r + 1]) for r in range(n)]
        losses.append(sum(w_r * loss for w_r, (loss, _) in zip(w, parts, strict=True)) / n)
        net.params[:] -= 0.1 * sum(w_r * grad for w_r, (_, grad) in zip(w, parts, strict=True)) / n
    return losses


@pytest.mark.parametrize("batch_size", [1, 7, 16, 50, 64])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_epoch_is_its_batches_one_after_the_other(batch_size, weighted):
    """The last batch is shorter and divides by its own rows; weights are scaled to mean 1 over all rows once."""
    weights = np.random.default_rng(1).uniform(0, 3, 50) if weighted else None
    net, twin = make(), make()
    scaled = weights / weights.mean() if weighted else None
    losses = batch_by_batch(twin, X, LABELS, batch_size, scaled)
    run = {"epochs": 1, "batch_size": batch_size, "optimizer": fb.SGD(0.1), "shuffle": False, "verbose": 0}
    history = net.fit(X, LABELS, sample_weight=weights, **run).history
    rows = [len(X[k : k + batch_size]) for k in range(0, 50, batch_size)]
    assert history["loss"] == [pytest.approx(np.average(losses, weights=rows), rel=1e-12)]
    np.testing.assert_allclose(net.params, twin.params, rtol=1e-10, atol=1e-12)


def test_history_has_an_entry_per_epoch():
    net = make()
    returned = net.fit(X, LABELS, epochs=3, verbose=0)
    assert returned is net.history
    assert sorted(returned.history) == ["loss", "lr", "seconds"]
    assert returned.history["lr"] == [1e-3] * 3
    assert all(s > 0 for s in returned.history["seconds"])
    assert "3 epochs" in repr(returned)
    net.fit(X, LABELS, epochs=2, optimizer=fb.SGD(0.5), validation_data=(X, LABELS), verbose=0)
    assert sorted(net.history.history) == ["loss", "lr", "seconds", "val_accuracy", "val_loss"]
    assert {len(values) for values in net.history.history.values()} == {2}
    assert net.history.history["lr"] == [0.5] * 2
    assert len(returned.history["loss"]) == 3  # an earlier history stays as it was


@pytest.mark.parametrize("pair", [tuple, list])
@pytest.mark.parametrize(("loss", "y", "metric"), [("cross_entropy", LABELS, "accuracy"), ("mse", TARGETS, "r2")])
def test_validation_is_evaluate_after_each_epoch(loss, y, metric, pair):
    net = fb.Network([4, 6, 3 if loss == "cross_entropy" else 2], loss=loss, seed=0)
    seen = []
    held_out = X[:20].astype(float), y[:20]
    net.fit(
        X,
        y,
        epochs=3,
        validation_data=pair(held_out),
        callbacks=lambda n, h: seen.append(n.evaluate(*held_out)),
        verbose=0,
    )
    assert net.history.history["val_loss"] == [report["loss"] for report in seen]
    assert net.history.history[f"val_{metric}"] == [report[metric] for report in seen]


def test_validation_does_not_change_the_training():
    net, twin = make(), make()
    net.fit(X, LABELS, epochs=3, validation_data=(X, LABELS), verbose=0)
    twin.fit(X, LABELS, epochs=3, verbose=0)
    assert (net.params == twin.params).all()


def test_the_seed_decides_the_order_of_rows():
    def trained(seed, **kwargs):
        net = make(seed=1)
        net._rng = np.random.default_rng(seed)
        net.fit(X, LABELS, epochs=2, batch_size=7, optimizer=fb.SGD(0.1), verbose=0, **kwargs)
        return net.params

    assert (trained(3) == trained(3)).all()
    assert (trained(3) != trained(4)).any()
    assert (trained(3, shuffle=False) == trained(4, shuffle=False)).all()
    a, b, c = make(seed=9), make(seed=9), make(seed=10)
    for net in (a, b, c):
        net.fit(X, LABELS, epochs=2, verbose=0)
    assert (a.params == b.params).all()
    assert (a.params != c.params).any()


def test_each_epoch_has_an_order_of_its_own():
    """Two epochs in one fit equal two fits only if the generator goes on from one to the next."""
    orders = []

    class Rows:
        def value_and_delta(self, outputs, targets):
            orders.append(targets.copy())
            return 0.0, np.zeros_like(outputs)

    net = fb.Network([4, 2], loss=Rows(), seed=0)
    net.fit(X, np.arange(50), epochs=2, batch_size=50, verbose=0)
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))
    assert (orders[0] != orders[1]).any()


def test_callbacks_are_called_after_each_epoch_in_order_and_may_use_the_network():
    calls = []

    def first(net, history):
        calls.append(("first", len(history.history["loss"])))
        net.predict(X), net.loss(X, LABELS), net.evaluate(X, LABELS), net.loss_and_grad(X, LABELS), net.copy()
        return 1.5  # not True: what a callback happens to return does not stop the training

    def second(net, history):
        calls.append(("second", len(history.history["loss"])))
        return np.bool_(len(history.history["loss"]) == 2)

    net = make()
    net.fit(X, LABELS, epochs=5, callbacks=[first, second], verbose=0)
    assert calls == [("first", 1), ("second", 1), ("first", 2), ("second", 2)]
    assert len(net.history.history["loss"]) == 2


def test_a_callback_may_write_into_the_parameters_and_keep_lists_of_its_own():
    def clip(net, history):
        np.clip(net.params, -0.01, 0.01, out=net.params)
        history.history.setdefault("of my own", []).extend("ab")

    net = make()
    net.fit(X, LABELS, epochs=3, callbacks=(clip,), verbose=0)
    assert abs(net.params).max() <= 0.01
    assert net.history.history["of my own"] == list("ababab")
    assert len(net.history.history["loss"]) == 3


def test_an_error_in_a_callback_goes_through_and_leaves_the_network_in_use():
    def fails(net, history):
        raise KeyError("mine")

    net = make()
    with pytest.raises(KeyError, match="mine"):
        net.fit(X, LABELS, epochs=3, callbacks=[fails], verbose=0)
    assert len(net.history.history["loss"]) == 1
    net.fit(X, LABELS, epochs=1, verbose=0)


def test_a_nested_fit_raises_and_the_outer_one_can_go_on():
    nested = []

    def nest(net, history):
        before = snapshot(net)
        with pytest.raises(RuntimeError, match="^fit: .*being fitted already"):
            net.fit(X, LABELS, optimizer=fb.SGD(1.0), verbose=0)
        assert snapshot(net) == before
        nested.append(True)

    net = make()
    net.fit(X, LABELS, epochs=2, callbacks=[nest], verbose=0)
    assert nested == [True, True]
    net.fit(X, LABELS, epochs=1, verbose=0)


@pytest.mark.parametrize("optimizer", [fb.SGD(0.1, momentum=0.9), fb.Adam(0.01), fb.AdamW(0.01)])
@pytest.mark.parametrize("shuffle", [False, True])
def test_no_optimizer_continues_the_last_one_and_a_named_one_starts_afresh(optimizer, shuffle):
    run = {"shuffle": shuffle, "batch_size": 16, "verbose": 0}
    whole, parts, afresh = make(), make(), make()
    whole.fit(X, LABELS, epochs=4, optimizer=optimizer, **run)
    parts.fit(X, LABELS, epochs=1, optimizer=optimizer, **run)
    parts.fit(X, LABELS, epochs=3, **run)
    assert (whole.params == parts.params).all()
    assert parts.optimizer == optimizer
    afresh.fit(X, LABELS, epochs=1, optimizer=optimizer, **run)
    afresh.fit(X, LABELS, epochs=3, optimizer=optimizer, **run)
    assert (whole.params != afresh.params).any()


def test_adam_is_the_first_optimizer():
    net, twin = make(), make()
    net.fit(X, LABELS, epochs=2, verbose=0)
    twin.fit(X, LABELS, epochs=2, optimizer=fb.Adam(), verbose=0)
    assert net.optimizer == fb.Adam()
    assert (net.params == twin.params).all()


@pytest.mark.parametrize("named", [None, fb.SGD(0.1, momentum=0.9)], ids=["not named", "named in each call"])
def test_partial_fit_goes_once_through_each_piece_and_continues_the_optimizer(named):
    net, twin = make(), make()
    optimizer = fb.SGD(0.1, momentum=0.9)
    twin.fit(X[:30], LABELS[:30], epochs=1, batch_size=8, optimizer=optimizer, verbose=0)
    twin.fit(X[30:], LABELS[30:], epochs=1, batch_size=8, sample_weight=np.arange(20), verbose=0)
    assert net.partial_fit(X[:30], LABELS[:30], batch_size=8, optimizer=optimizer) is net
    net.partial_fit(X[30:], LABELS[30:], batch_size=8, optimizer=named, sample_weight=np.arange(20))
    assert (net.params == twin.params).all()
    assert net.history.history["loss"] == twin.history.history["loss"]
    net.partial_fit(X, LABELS, optimizer=fb.SGD(0.1))  # another one starts afresh
    assert net.optimizer == fb.SGD(0.1)
    assert net._engine.steps == 2


class Batches:
    """An iterable that starts anew, as a data loader does."""

    def __init__(self, X, y, size):
        self.parts = [(X[k : k + size], y[k : k + size]) for k in range(0, len(X), size)]

    def __iter__(self):
        return iter(self.parts)


class Unsized(Batches):
    """As a DataLoader of torch's on an IterableDataset."""

    def __len__(self):
        raise TypeError("object of type 'Stream' has no len()")


@pytest.mark.parametrize("source", ["list", "iterable", "unsized", "generator", "lists in tuples"])
def test_a_stream_of_batches_trains_like_the_array(source):
    whole, streamed = make(), make()
    whole.fit(X, LABELS, epochs=2, batch_size=16, shuffle=False, verbose=0)
    batches = Batches(X, LABELS, 16)
    if source == "generator":
        for _ in range(2):
            streamed.fit((pair for pair in batches), epochs=1, verbose=0)
    else:
        lists = [(x.tolist(), y.tolist()) for x, y in batches.parts]
        given = {"list": batches.parts, "iterable": batches, "lists in tuples": tuple(lists)}
        given = Unsized(X, LABELS, 16) if source == "unsized" else given[source]
        streamed.fit(given, epochs=2, verbose=0)
        assert streamed.history.history["loss"] == pytest.approx(whole.history.history["loss"], rel=1e-14)
    assert (whole.params == streamed.params).all()


@pytest.mark.parametrize("batches", [[], ()])
def test_no_batches_at_all_are_refused_before_anything_changes(batches):
    net = make()
    net.fit(X, LABELS, epochs=1, verbose=0)
    before = snapshot(net)
    with pytest.raises(ValueError, match="^X: expected batches of data, got none"):
        net.fit(batches, epochs=1, optimizer=fb.SGD(0.1), verbose=0)
    assert snapshot(net) == before


def way_apart(a, b):
    """Relative to the way from the start."""
    start = make().params
    return np.linalg.norm(a.params - b.params) / np.linalg.norm(a.params - start)


@pytest.mark.parametrize("source", ["list", "generator"])
def test_batches_may_bring_their_weights(source):
    whole, streamed = make(), make()
    weights = np.random.default_rng(5).random(50)
    weights /= weights.mean()  # as fit scales those of arrays
    whole.fit(X, LABELS, epochs=1, batch_size=16, shuffle=False, sample_weight=weights, verbose=0)
    cuts = [slice(k, k + 16) for k in range(0, 50, 16)]
    batches = [(X[rows], LABELS[rows], weights[rows].tolist()) for rows in cuts]
    streamed.fit(iter(batches) if source == "generator" else batches, epochs=1, verbose=0)
    assert way_apart(whole, streamed) < 1e-6  # the scale is computed anew, and rounds
    assert streamed.history.history["loss"] == pytest.approx(whole.history.history["loss"], rel=1e-6)
    plain = make()
    plain.fit([batch[:2] for batch in batches], epochs=1, verbose=0)
    assert way_apart(plain, streamed) > 1e-3


def test_a_loss_object_of_ones_own_takes_no_weights_of_batches():
    class Zero:
        def value_and_delta(self, outputs, targets):
            return 0.0, np.zeros_like(outputs)

    net = fb.Network([4, 3], loss=Zero(), seed=0)
    with pytest.raises(ValueError, match="^sample_weight: expected None with a loss object .*, in batch 1 of epoch 1$"):
        net.fit([(X, LABELS, np.ones(50))], epochs=1, verbose=0)


def test_weights_of_a_batch_are_not_scaled():
    doubled, rates = make(), make()
    doubled.fit([(X, LABELS, np.full(50, 2))], epochs=1, optimizer=fb.SGD(0.125), verbose=0)
    rates.fit([(X, LABELS)], epochs=1, optimizer=fb.SGD(0.25), verbose=0)
    assert (doubled.params == rates.params).all()
    assert doubled.history.history["loss"][0] == pytest.approx(2 * rates.history.history["loss"][0], rel=1e-6)
    before = doubled.params.copy()
    doubled.fit([(X, LABELS, np.zeros(50))], epochs=1, optimizer=fb.SGD(0.125), verbose=0)
    assert (doubled.params == before).all()


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1.0] * 49, ValueError, r"expected shape \(50,\), got \(49,\)"),
        ([-1.0] * 50, ValueError, "expected weights >= 0, got -1 in row 0"),
        ([np.nan] * 50, ValueError, "expected finite numbers, got nan in row 0"),
        ("balanced", TypeError, "expected an array of real numbers"),
    ],
)
def test_bad_weights_of_a_batch_are_refused_before_its_step(weights, error, message):
    net = make()
    with pytest.raises(error, match=f"^sample_weight: {message}.*, in batch 2 of epoch 1$"):
        net.fit([(X, LABELS), (X, LABELS, weights)], epochs=1, verbose=0)
    assert net._engine.steps == 1


@pytest.mark.parametrize("stored", ["f4", "f8", ">f4", "i2"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_memory_map_trains_like_the_array(tmp_path, stored, weighted):
    whole_numbers = np.rint(X * 10)
    mapped = np.memmap(tmp_path / "X", stored, "w+", shape=X.shape)
    mapped[:] = whole_numbers
    labels = np.memmap(tmp_path / "y", "i4", "w+", shape=LABELS.shape)
    labels[:] = LABELS
    weights = np.arange(1.0, 51) if weighted else None
    nets = make(), make(), make()
    data = (whole_numbers, LABELS), (mapped, LABELS), (mapped, labels)
    for net, (inputs, y) in zip(nets, data, strict=True):
        net.fit(inputs, y, epochs=3, batch_size=8, sample_weight=weights, verbose=0)
    assert (nets[0].params == nets[1].params).all()
    assert (nets[0].params == nets[2].params).all()


def test_a_memory_map_is_read_a_window_at_a_time(tmp_path, monkeypatch):
    import tracemalloc

    monkeypatch.setattr("fastbp.windows.WINDOW_BYTES", 1 << 20)
    mapped = np.memmap(tmp_path / "X", "f8", "w+", shape=(40_000, 50))
    net = fb.Network([50, 2], loss="mse", seed=0)
    y = np.zeros((40_000, 2), np.float32)
    tracemalloc.start()
    net.fit(mapped, y, epochs=1, batch_size=100, verbose=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < mapped.size * 4 / 4, peak  # a quarter of the converted array


def test_a_loss_object_of_ones_own_trains_like_the_built_in_one():
    class Squares:
        def value_and_delta(self, outputs, targets):
            difference = outputs - targets
            return (difference**2).mean(), 2 * difference / difference.size

    run = {"epochs": 3, "batch_size": 16, "optimizer": fb.SGD(0.1), "verbose": 0}
    net, twin = (fb.Network([4, 6, 2], loss=loss, seed=0, dtype="float64") for loss in (Squares(), "mse"))
    a, b = net.fit(X, TARGETS, **run), twin.fit(X, TARGETS, **run)
    np.testing.assert_allclose(net.params, twin.params, rtol=1e-12)
    assert a.history["loss"] == pytest.approx(b.history["loss"], rel=1e-12)
    assert net.evaluate(X, TARGETS) == {"loss": pytest.approx(twin.loss(X, TARGETS))}
    assert net.evaluate(X, TARGETS, metrics=["mse"])["mse"] == pytest.approx(twin.loss(X, TARGETS))


def test_evaluate_reports_what_suits_the_loss():
    classifier = make()
    report = classifier.evaluate(X, LABELS)
    assert report == {
        "loss": classifier.loss(X, LABELS),
        "accuracy": np.mean(classifier.predict(X).argmax(axis=1) == LABELS),
    }
    one_hot = np.eye(3)[LABELS]
    assert classifier.evaluate(X, one_hot)["accuracy"] == report["accuracy"]
    regression = fb.Network([4, 6, 2], loss="mse", seed=0, dtype="float64")
    residuals = regression.predict(X) - TARGETS
    want = 1 - ((residuals**2).sum(axis=0) / ((TARGETS - TARGETS.mean(axis=0, dtype=float)) ** 2).sum(axis=0)).mean()
    assert regression.evaluate(X, TARGETS) == {"loss": regression.loss(X, TARGETS), "r2": pytest.approx(want, rel=1e-5)}

    def worst(outputs, targets):
        return abs(outputs - targets).max()

    report = regression.evaluate(X, TARGETS, metrics=["mse", "mae", worst])
    assert report["mse"] == pytest.approx((residuals**2).mean())
    assert report["mae"] == pytest.approx(abs(residuals).mean())
    assert report["worst"] == abs(residuals).max()
    assert regression.evaluate(X, TARGETS, metrics=worst).keys() == {"loss", "worst"}
    assert regression.evaluate(X, TARGETS, metrics=[]).keys() == {"loss"}


@pytest.mark.parametrize(
    ("loss", "output", "good"),
    [
        ("binary_cross_entropy", None, lambda z, y: (z > 0.5) == (y > 0.5)),
        ("binary_cross_entropy", "identity", lambda z, y: (z > 0) == (y > 0.5)),
        ("hinge", None, lambda z, y: (z > 0) == (y > 0)),
        ("hinge", "sigmoid", lambda z, y: (z > 0) == (y > 0)),
    ],
)
def test_accuracy_of_a_single_output_splits_it_in_its_middle(loss, output, good):
    net = fb.Network([4, 6, 1], loss=loss, output=output, seed=0)
    y = np.where(LABELS > 1, 1, -1 if loss == "hinge" else 0)
    want = np.mean(good(net.predict(X)[:, 0], y))
    assert net.evaluate(X, y)["accuracy"] == want
    assert net.evaluate(X, y[:, None])["accuracy"] == want


def test_progress_goes_to_standard_error_only_if_asked_for(capsys):
    net = make()
    net.fit(X, LABELS, epochs=2, verbose=0)
    assert capsys.readouterr() == ("", "")
    net.fit(X, LABELS, epochs=2)  # no terminal
    assert capsys.readouterr() == ("", "")
    net.fit(X, LABELS, epochs=2, validation_data=(X, LABELS), verbose=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 2/2" in err
    assert "val_loss" in err


def test_fit_works_without_a_standard_error(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    for verbose in ("auto", 1):
        make().fit(X, LABELS, epochs=1, verbose=verbose)
