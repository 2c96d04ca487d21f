"""Sample weights of held-out data: in the loss and in every metric, against scikit-learn and against rows repeated."""

import numpy as np
import pytest
from snapshot import snapshot

import fastbp as fb
from fastbp import metrics

RNG = np.random.default_rng(31)
N = 200
X = RNG.standard_normal((N, 4))
LABELS = np.where(RNG.random(N) < 0.5, (X[:, 0] > 0) + 2 * (X[:, 1] > 0.5), RNG.integers(0, 4, N))
YES = (LABELS > 1).astype(float)
MANY = (RNG.random((N, 3)) + X[:, :3] / 4 > 0.6).astype(float)
MISSING = np.where(RNG.random((N, 3)) < 0.3, np.nan, MANY)
NUMBERS = X @ RNG.standard_normal((4, 3)) + RNG.standard_normal((N, 3))
WEIGHTS = RNG.uniform(0.1, 5, N)
TIMES = RNG.integers(0, 4, N)  # rows that occur so often


def trained(outputs, y, loss, **kwargs):
    net = fb.Network([4, outputs], loss=loss, dtype="float64", seed=1, **kwargs)
    net.fit(X, y, epochs=3, verbose=0)
    return net


OF_NUMBERS = tuple(metrics.OF_NUMBERS)
OF_CLASSES = tuple(metrics.CLASSIFICATION)
CASES = {
    "classes": (4, LABELS, "cross_entropy", {}, (*OF_CLASSES, *OF_NUMBERS, "top_2_accuracy")),
    "probabilities": (4, np.eye(4)[LABELS], "cross_entropy", {}, (*OF_CLASSES, *OF_NUMBERS, "top_2_accuracy")),
    "class logits": (4, LABELS, "cross_entropy", {"output": "identity"}, OF_CLASSES),
    "multi-class hinge": (4, LABELS, "hinge", {}, OF_CLASSES[:-1]),
    "yes": (1, YES, "binary_cross_entropy", {}, (*OF_CLASSES, *OF_NUMBERS)),
    "hinge": (1, 2 * YES - 1, "hinge", {}, OF_CLASSES[:-1]),
    "labels": (3, MANY, "binary_cross_entropy", {}, (*OF_CLASSES, *OF_NUMBERS)),
    "missing labels": (3, MISSING, "binary_cross_entropy", {"missing_targets": "mask"}, (*OF_CLASSES, *OF_NUMBERS)),
    "numbers": (3, NUMBERS, "mse", {}, OF_NUMBERS),
    "missing numbers": (3, MISSING, "huber", {"missing_targets": "mask"}, OF_NUMBERS),
}


def test_every_metric_is_among_the_cases():
    asked = {name for *_, names in CASES.values() for name in names}
    assert asked == {*metrics.METRICS, "top_2_accuracy"}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("scale", [1, 1e-300, 1e300])
def test_a_row_of_weight_k_counts_as_k_rows(case, scale):
    outputs, y, loss, kwargs, names = CASES[case]
    net = trained(outputs, y, loss, **kwargs)
    weighted = net.evaluate(X, y, metrics=names, sample_weight=TIMES * scale)
    repeated = net.evaluate(np.repeat(X, TIMES, axis=0), np.repeat(y, TIMES, axis=0), metrics=names)
    plain = net.evaluate(X, y, metrics=names)
    for name, number in repeated.items():
        assert weighted[name] == pytest.approx(number, rel=1e-12), name
        assert weighted[name] != pytest.approx(plain[name], rel=1e-6), f"{name} without weights is the same"
    assert net.evaluate(X, y, metrics=names, sample_weight=np.full(N, 3 * scale)) == pytest.approx(plain, rel=1e-12)


def test_a_class_all_of_whose_rows_weigh_nothing_is_not_there():
    net = trained(4, LABELS, "cross_entropy")
    net.biases[0][3] = -100  # nor is it said
    weights = np.where(LABELS == 3, 0.0, WEIGHTS)
    kept, names = LABELS != 3, (*OF_CLASSES, "top_2_accuracy")
    weighted = net.evaluate(X, LABELS, metrics=names, sample_weight=weights)
    assert weighted == pytest.approx(net.evaluate(X[kept], LABELS[kept], names, WEIGHTS[kept]), rel=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loss_is_that_of_loss(dtype):
    net = fb.Network([4, 3], loss="mae", dtype=dtype, seed=0)
    report = net.evaluate(X, NUMBERS, metrics=(), sample_weight=WEIGHTS)
    assert report == {"loss": net.loss(X, NUMBERS, sample_weight=WEIGHTS)}


def test_weighted_metrics_are_scikit_learns():
    sk = pytest.importorskip("sklearn.metrics")
    w = {"sample_weight": WEIGHTS}
    net = trained(4, LABELS, "cross_entropy")
    p = net.predict(X)
    said = p.argmax(axis=1)
    macro = {"average": "macro", "zero_division": 0, **w}
    by_case = {"classes": {
        "accuracy": sk.accuracy_score(LABELS, said, **w),
        "balanced_accuracy": sk.balanced_accuracy_score(LABELS, said, **w),
        "precision": sk.precision_score(LABELS, said, **macro),
        "recall": sk.recall_score(LABELS, said, **macro),
        "f1": sk.f1_score(LABELS, said, **macro),
        "log_loss": sk.log_loss(LABELS, p, **w),
        "auc": np.mean([sk.roc_auc_score(LABELS == c, p[:, c], **w) for c in range(4)]),
        "top_2_accuracy": sk.top_k_accuracy_score(LABELS, p, k=2, **w),
    }}  # fmt: skip
    z = trained(1, YES, "binary_cross_entropy").predict(X)[:, 0]
    by_case["yes"] = {
        "accuracy": sk.accuracy_score(YES, z > 0.5, **w),
        "balanced_accuracy": sk.balanced_accuracy_score(YES, z > 0.5, **w),
        "precision": sk.precision_score(YES, z > 0.5, **w),
        "recall": sk.recall_score(YES, z > 0.5, **w),
        "f1": sk.f1_score(YES, z > 0.5, **w),
        "auc": sk.roc_auc_score(YES, z, **w),
        "log_loss": sk.log_loss(YES, z, **w),
    }
    z = trained(3, MANY, "binary_cross_entropy").predict(X)
    said = z > 0.5
    by_case["labels"] = {
        "accuracy": np.average(said == MANY, axis=0, weights=WEIGHTS).mean(),
        "precision": sk.precision_score(MANY, said, **macro),
        "recall": sk.recall_score(MANY, said, **macro),
        "f1": sk.f1_score(MANY, said, **macro),
        "auc": sk.roc_auc_score(MANY, z, average="macro", **w),
        "balanced_accuracy": np.mean([sk.balanced_accuracy_score(MANY[:, c], said[:, c], **w) for c in range(3)]),
        "log_loss": np.mean([sk.log_loss(MANY[:, c], z[:, c], **w) for c in range(3)]),
    }
    z = trained(3, NUMBERS, "mse").predict(X)
    by_case["numbers"] = {
        "mse": sk.mean_squared_error(NUMBERS, z, **w),
        "rmse": sk.mean_squared_error(NUMBERS, z, **w) ** 0.5,
        "mae": sk.mean_absolute_error(NUMBERS, z, **w),
        "r2": sk.r2_score(NUMBERS, z, **w),
    }
    for case, expected in by_case.items():
        outputs, y, loss, kwargs, _ = CASES[case]
        report = trained(outputs, y, loss, **kwargs).evaluate(X, y, metrics=list(expected), sample_weight=WEIGHTS)
        for name, number in expected.items():
            assert report[name] == pytest.approx(number, rel=1e-12), f"{case}: {name}"


@pytest.mark.parametrize(
    ("case", "scorer"),
    [("classes", "f1_macro"), ("classes", "neg_log_loss"), ("yes", "roc_auc"), ("yes", "accuracy"), ("numbers", "r2")],
)
def test_scorers_of_scikit_learn_are_given_the_weights(case, scorer):
    pytest.importorskip("sklearn")
    outputs, y, loss, kwargs, _ = CASES[case]
    net = trained(outputs, y, loss, **kwargs)
    own = {"f1_macro": "f1", "neg_log_loss": "log_loss", "roc_auc": "auc"}.get(scorer, scorer)
    report = net.evaluate(X, y, metrics=[f"sklearn:{scorer}", own], sample_weight=WEIGHTS)
    sign = -1 if scorer.startswith("neg") else 1
    assert report[f"sklearn:{scorer}"] == pytest.approx(sign * report[own], rel=1e-12)


def test_a_scorer_that_takes_no_weights_is_refused_before_anything_changes():
    pytest.importorskip("sklearn")
    net = trained(1, YES, "binary_cross_entropy")
    before = snapshot(net)
    message = "^metrics: expected no sample weights with 'sklearn:rand_score', which takes none"
    with pytest.raises(ValueError, match=message):
        net.evaluate(X, YES, metrics=["sklearn:rand_score"], sample_weight=WEIGHTS)
    with pytest.raises(ValueError, match=message):
        net.fit(X, YES, validation_data=(X, YES, WEIGHTS), metrics=["sklearn:rand_score"], verbose=0)
    assert snapshot(net) == before
    assert net.evaluate(X, YES, metrics=["sklearn:rand_score"])["sklearn:rand_score"] > 0


def test_functions_of_ones_own_are_given_weights_of_mean_1_where_they_have_a_place_for_them():
    net, seen = trained(3, NUMBERS, "mse"), []

    def weighted(outputs, targets, sample_weight=None):
        seen.append(sample_weight)
        return 1.0

    def plain(outputs, targets):
        return len(outputs)

    def anything(outputs, targets, **kwargs):
        return len(kwargs)

    class Obscure:
        __signature__ = "unknown, as of some functions in C"

        def __call__(self, outputs, targets):
            return 5.0

    weights, functions = np.where(np.arange(N) < 3, 0.0, WEIGHTS), [weighted, plain, anything, Obscure()]
    report = net.evaluate(X, NUMBERS, metrics=functions, sample_weight=weights.tolist())
    assert list(report.values())[1:] == [1.0, N, 0.0, 5.0]
    net.evaluate(X, NUMBERS, metrics=functions)
    assert seen[0].dtype == np.float64 and seen[1] is None
    np.testing.assert_allclose(seen[0], weights / weights.mean(), rtol=1e-14)


def test_scikit_learns_functions_are_given_the_weights_too():
    sk = pytest.importorskip("sklearn.metrics")
    net = trained(3, NUMBERS, "mse")
    report = net.evaluate(X, NUMBERS, metrics=["mae", sk.mean_absolute_error], sample_weight=WEIGHTS)
    assert report["mean_absolute_error"] == pytest.approx(report["mae"], rel=1e-12)


@pytest.mark.parametrize("case", ["classes", "missing numbers"])
def test_validation_data_may_bring_weights(case):
    outputs, y, loss, kwargs, names = CASES[case]
    net, seen = trained(outputs, y, loss, **kwargs), []
    held_out = X[:50], y[:50], TIMES[:50]
    net.fit(
        X, y, epochs=2, validation_data=held_out, metrics=names, verbose=0,
        callbacks=lambda n, h: seen.append(n.evaluate(*held_out[:2], metrics=names, sample_weight=held_out[2])),
    )  # fmt: skip
    history = net.history.history
    assert [{name: history[f"val_{name}"][k] for name in seen[0]} for k in range(2)] == seen
    assert history["val_loss"][1] != net.evaluate(*held_out[:2])["loss"]


def test_without_weights_a_third_place_may_be_none():
    one, two = (trained(4, LABELS, "cross_entropy") for _ in range(2))
    for net, data in ((one, (X, LABELS, None)), (two, (X, LABELS))):
        net.fit(X, LABELS, epochs=1, validation_data=data, verbose=0)
        del net.history.history["seconds"]
    assert one.history.history == two.history.history


class Squares:
    """A loss object of one's own."""

    def value_and_delta(self, outputs, targets):
        difference = outputs - targets
        return float((difference**2).mean()), 2 * difference / difference.size


@pytest.mark.parametrize(
    ("loss", "kwargs", "error", "message"),
    [
        ("mse", {"validation_data": (X, NUMBERS, WEIGHTS[1:])}, ValueError, r"validation_data\[2\]: .*\(200,\).*199"),
        ("mse", {"validation_data": (X, NUMBERS, -WEIGHTS)}, ValueError, r"validation_data\[2\]: .*>= 0, .*row 0"),
        ("mse", {"validation_data": (X, NUMBERS, 0 * WEIGHTS)}, ValueError, r"validation_data\[2\]: .*zeros only"),
        ("mse", {"validation_data": (X, NUMBERS, WEIGHTS, 1)}, TypeError, "validation_data: .*or .X, y, sample_weight"),
        (Squares(), {"validation_data": (X, NUMBERS, WEIGHTS)}, ValueError, r"validation_data\[2\]: .*of one's own"),
        (
            "mse", {"validation_split": 0.1, "sample_weight": np.repeat([1, 0], [180, 20])}, ValueError,
            "sample_weight of the rows kept for validation: .*zeros only",
        ),
    ],
)  # fmt: skip
def test_bad_weights_of_validation_data_are_refused_before_anything_changes(loss, kwargs, error, message):
    net = fb.Network([4, 3], loss=loss, seed=0)
    before = snapshot(net)
    with pytest.raises(error, match=f"^{message}"):
        net.fit(X, NUMBERS, verbose=0, **kwargs)
    assert snapshot(net) == before


def test_bad_weights_of_evaluate_are_refused():
    net = fb.Network([4, 3], loss="mse")
    for weights, message in (
        (WEIGHTS[1:], "expected shape"),
        (-WEIGHTS, "expected weights >= 0"),
        (0 * WEIGHTS, ".*"),
    ):
        with pytest.raises(ValueError, match=f"^sample_weight: {message}"):
            net.evaluate(X, NUMBERS, sample_weight=weights)
    with pytest.raises(ValueError, match="^sample_weight: expected None with a loss object"):
        fb.Network([4, 3], loss=Squares()).evaluate(X, NUMBERS, sample_weight=WEIGHTS)
