"""class_weight: the same as weights by hand, for every loss of one class a row."""

import collections

import numpy as np
import pytest
from snapshot import snapshot

import fastbp as fb

RNG = np.random.default_rng(12)
X = RNG.standard_normal((50, 4))
LABELS = RNG.choice(3, 50, p=[0.6, 0.3, 0.1])
YES = (LABELS == 0).astype(float)
SAMPLE_WEIGHT = RNG.uniform(0, 2, 50)
RUN = {"epochs": 3, "batch_size": 8, "optimizer": fb.SGD(0.1), "verbose": 0}


def make(loss="cross_entropy", outputs=3):
    return fb.Network([4, 6, outputs], loss=loss, dtype="float64", seed=2)


# loss, outputs, targets, the class of each row, weights by class
KINDS = {
    "labels": ("cross_entropy", 3, LABELS, LABELS, {0: 0.5, 2: 3}),
    "labels as floats": ("cross_entropy", 3, LABELS.astype(float), LABELS, {0: 0.5, 2: 3}),
    "one-hot": ("cross_entropy", 3, np.eye(3)[LABELS], LABELS, {0: 0.5, 1: 0, 2: 3}),
    "one-hot booleans": ("cross_entropy", 3, np.eye(3, dtype=bool)[LABELS], LABELS, {2: 1e-300}),
    "yes and no": ("binary_cross_entropy", 1, YES, YES, {1: 0.25}),
    "a column of yes and no": ("binary_cross_entropy", 1, YES[:, None], YES, {0: 7, 1: 0.25}),
    "signs": ("hinge", 1, 2 * YES - 1, 2 * YES - 1, {-1: 0.25, 1: 2}),
    "hinge of labels": ("hinge", 3, LABELS, LABELS, {np.int64(1): np.float32(0.5)}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("sample_weight", [None, SAMPLE_WEIGHT], ids=["", "sample weights"])
def test_class_weights_are_sample_weights_by_class(kind, balanced, sample_weight):
    loss, outputs, targets, classes, weights = KINDS[kind]
    met, counts = np.unique(classes, return_counts=True)
    if balanced:
        weights = {label: 50 / (len(met) * n) for label, n in zip(met, counts, strict=True)}
    net, twin = make(loss, outputs), make(loss, outputs)
    net.fit(X, targets, sample_weight=sample_weight, class_weight="balanced" if balanced else weights, **RUN)
    by_hand = np.array([weights.get(label, 1.0) for label in classes])
    twin.fit(X, targets, sample_weight=by_hand if sample_weight is None else by_hand * sample_weight, **RUN)
    np.testing.assert_allclose(net.params, twin.params, rtol=1e-11)
    assert net.history.history["loss"] == pytest.approx(twin.history.history["loss"], rel=1e-12)


def test_balanced_is_scikit_learns():
    utils = pytest.importorskip("sklearn.utils")
    net, twin = make(outputs=5), make(outputs=5)  # classes 3 and 4 are not met
    net.fit(X, LABELS, class_weight="balanced", **RUN)
    twin.fit(X, LABELS, sample_weight=utils.compute_sample_weight("balanced", LABELS), **RUN)
    np.testing.assert_allclose(net.params, twin.params, rtol=1e-11)


def test_weights_of_one_for_all_classes_change_nothing_but_roundings():
    net, twin = make(), make()
    net.fit(X, LABELS, class_weight={}, **RUN)
    twin.fit(X, LABELS, **RUN)
    np.testing.assert_allclose(net.params, twin.params, rtol=1e-12)


def test_only_the_rows_that_are_trained_on_are_balanced():
    net, twin = make(), make()
    net.fit(X, LABELS, class_weight="balanced", sample_weight=SAMPLE_WEIGHT, validation_split=0.4, **RUN)
    twin.fit(X[:30], LABELS[:30], class_weight="balanced", sample_weight=SAMPLE_WEIGHT[:30], **RUN)
    assert (net.params == twin.params).all()
    rest = net.loss(X[30:], LABELS[30:], sample_weight=SAMPLE_WEIGHT[30:])  # not weighted by class
    assert net.history.history["val_loss"][-1] == rest


@pytest.mark.parametrize("inputs_too", [False, True])
def test_mapped_targets_are_weighted_like_the_array(inputs_too, tmp_path):
    mapped = np.memmap(tmp_path / "y", "i8", "w+", shape=50)
    mapped[:] = LABELS
    inputs = X
    if inputs_too:
        inputs = np.memmap(tmp_path / "X", "f8", "w+", shape=X.shape)
        inputs[:] = X
    net, twin = make(), make()
    net.fit(inputs, mapped, class_weight="balanced", **RUN)
    twin.fit(X, LABELS, class_weight="balanced", **RUN)
    assert (net.params == twin.params).all()


@pytest.mark.parametrize("class_weight", [None, {0: 0.5}])
def test_weights_of_rows_may_be_whatever_numpy_takes_beside_a_split(class_weight):
    """A deque has no slices; a table's slices may go by its own labels."""
    net, twin = make(), make()
    weights = np.linspace(0.5, 2, len(X))
    run = {**RUN, "class_weight": class_weight, "validation_split": 0.25}
    net.fit(X, LABELS, sample_weight=collections.deque(weights), **run)
    twin.fit(X, LABELS, sample_weight=weights, **run)
    assert (net.params == twin.params).all()
    assert net.history.history["val_loss"] == twin.history.history["val_loss"]


def test_partial_fit_takes_weights_by_class():
    net, twin = make(), make()
    net.partial_fit(X, LABELS, class_weight={0: 0.5})
    twin.fit(X, LABELS, epochs=1, class_weight={0: 0.5}, verbose=0)
    assert (net.params == twin.params).all()


@pytest.mark.parametrize("scale", [1e-300, 1e300])
@pytest.mark.filterwarnings("error")
def test_only_the_ratio_of_weights_counts(scale):
    net, twin = make(outputs=4), make(outputs=4)
    weights = {0: 0.5, 1: 2.0, 2: 1.0}
    net.fit(X, LABELS, class_weight={k: scale * w for k, w in weights.items()} | {3: 1e308}, **RUN)
    twin.fit(X, LABELS, class_weight=weights, **RUN)
    np.testing.assert_allclose(net.params, twin.params, rtol=1e-12)


class Squares:
    """A loss object of one's own."""

    def value_and_delta(self, outputs, targets):
        return float((outputs**2).mean()), 2 * outputs / outputs.size


def fit(class_weight, loss="cross_entropy", outputs=3, y=LABELS, **kwargs):
    return make(loss, outputs), lambda net: net.fit(X, y, class_weight=class_weight, **{**RUN, **kwargs})


REFUSED = [
    (fit("balance"), ValueError, "class_weight: .*did you mean 'balanced'"),
    (fit(5), TypeError, "class_weight: expected a dict or 'balanced', got 5"),
    (fit([1, 2, 3]), TypeError, "class_weight: "),
    (fit(True), TypeError, "class_weight: .*True"),
    (fit({3: 1}), ValueError, "class_weight: expected classes out of 0 to 2, got 3"),
    (fit({-1: 1}), ValueError, "class_weight: .*-1"),
    (fit({"0": 1}), ValueError, "class_weight: .*'0'"),
    (fit({0.5: 1}), ValueError, "class_weight: .*0.5"),
    (fit({0: -1}), ValueError, r"class_weight\[0\]: .*>= 0.*-1"),
    (fit({0: float("nan")}), ValueError, r"class_weight\[0\]: .*nan"),
    (fit({0: "1"}), TypeError, r"class_weight\[0\]: .*'1'"),
    (fit({0: None}), TypeError, r"class_weight\[0\]: .*None"),
    (fit({0: 0, 1: 0, 2: 0}), ValueError, "class_weight: .*zeros only"),
    (fit({0: 0, 1: 0, 2: 0}, outputs=4), ValueError, "class_weight: .*zeros only"),
    (fit({0: 0}, sample_weight=(LABELS == 0).astype(float)), ValueError, "sample_weight: .*zeros only"),
    (fit({0: 1}, "mse", 2, X[:, :2]), ValueError, "class_weight: expected None with mse"),
    (fit({0: 1}, Squares(), 2, X[:, :2]), ValueError, "class_weight: expected None with a loss object"),
    (fit({0: 1}, y=np.full((50, 3), 1 / 3)), ValueError, "y: expected one class a row .*0.333333 in row 0, column 0"),
    (fit({0: 1}, "binary_cross_entropy", 2, np.ones((50, 2))), ValueError, "class_weight: .*2 labels"),
    (
        fit({0: 1}, "binary_cross_entropy", 1, np.linspace(1, 0, 50)),
        ValueError,
        "y: expected 0 and 1 .*row 1, column 0",
    ),
    (fit({0: 1}, "hinge", 1, np.ones(50)), ValueError, "class_weight: expected classes out of -1 and 1, got 0"),
]


@pytest.mark.parametrize(("case", "error", "message"), REFUSED, ids=[case[2] for case in REFUSED])
def test_bad_class_weights_are_refused_and_nothing_changes(case, error, message):
    net, call = case
    before = snapshot(net)
    with pytest.raises(error, match=f"^{message}"):
        call(net)
    assert snapshot(net) == before


def test_batches_and_pieces_have_no_balance():
    net = make()
    for weight in ("balanced", {0: 1}):
        with pytest.raises(ValueError, match="^class_weight: expected None with an iterable"):
            net.fit([(X, LABELS)], class_weight=weight, **RUN)
    with pytest.raises(TypeError, match="^class_weight: expected a dict or None, got 'balanced'"):
        net.partial_fit(X, LABELS, class_weight="balanced")
