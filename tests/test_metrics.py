"""Metrics: against scikit-learn, with ties, classes that do not occur, labels, and by what name."""

import sys

import numpy as np
import pytest

import fastbp as fb
from fastbp import metrics

RNG = np.random.default_rng(30)
N = 300
X = RNG.standard_normal((N, 4))
LABELS = np.where(RNG.random(N) < 0.5, (X[:, 0] > 0) + 2 * (X[:, 1] > 0.5), RNG.integers(0, 4, N))
YES = (LABELS > 1).astype(float)
MANY = (RNG.random((N, 3)) + X[:, :3] / 4 > 0.6).astype(float)


def classes(outputs=5, **kwargs):
    """A network of so many classes; class 4 does not occur."""
    net = fb.Network([4, outputs], dtype="float64", seed=1, **kwargs)
    net.fit(X, LABELS, epochs=3, verbose=0)
    return net


def binary(loss="binary_cross_entropy", y=YES, outputs=1, **kwargs):
    net = fb.Network([4, outputs], loss=loss, dtype="float64", seed=1, **kwargs)
    net.fit(X, y, epochs=3, verbose=0)
    return net


def value(net, y, name):
    return net.evaluate(X, y, metrics=[name])[name]


def sklearn_metrics():
    return pytest.importorskip("sklearn.metrics")


def test_classes_are_scored_as_scikit_learn_does():
    sk = sklearn_metrics()
    net = classes()
    p = net.predict(X)
    said = p.argmax(axis=1)
    expected = {
        "accuracy": sk.accuracy_score(LABELS, said),
        "balanced_accuracy": sk.balanced_accuracy_score(LABELS, said),
        "precision": sk.precision_score(LABELS, said, average="macro", zero_division=0),
        "recall": sk.recall_score(LABELS, said, average="macro", zero_division=0),
        "f1": sk.f1_score(LABELS, said, average="macro", zero_division=0),
        "log_loss": sk.log_loss(LABELS, p, labels=range(5)),
        "auc": np.mean([sk.roc_auc_score(LABELS == c, p[:, c]) for c in range(4)]),
        "top_1_accuracy": sk.accuracy_score(LABELS, said),
        "top_2_accuracy": sk.top_k_accuracy_score(LABELS, p, k=2, labels=range(5)),
        "top_3_accuracy": sk.top_k_accuracy_score(LABELS, p, k=3, labels=range(5)),
    }
    for y in (LABELS, np.eye(5)[LABELS]):
        report = net.evaluate(X, y, metrics=list(expected))
        for name, number in expected.items():
            assert report[name] == pytest.approx(number, rel=1e-12), name
    four = classes(4)
    p = four.predict(X)
    assert value(four, LABELS, "auc") == pytest.approx(
        sk.roc_auc_score(LABELS, p, multi_class="ovr", average="macro"), rel=1e-12
    )


def test_a_class_that_is_only_guessed_counts_in_the_means():
    sk = sklearn_metrics()
    net = classes()
    net.biases[0][4] += 2  # now class 4 is said, and never right
    said = net.predict(X).argmax(axis=1)
    assert (said == 4).any()
    for name, function in {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}.items():
        assert value(net, LABELS, name) == pytest.approx(
            function(LABELS, said, average="macro", zero_division=0), rel=1e-12
        ), name
    assert value(net, LABELS, "balanced_accuracy") == pytest.approx(
        np.mean([(said == c)[LABELS == c].mean() for c in range(4)]), rel=1e-12
    )


@pytest.mark.parametrize("kind", ["probabilities", "logits", "hinge"])
def test_yes_and_no_are_scored_as_scikit_learn_does(kind):
    sk = sklearn_metrics()
    y = 2 * YES - 1 if kind == "hinge" else YES
    net = binary(
        "hinge" if kind == "hinge" else "binary_cross_entropy", y, output="identity" if kind == "logits" else None
    )
    z = net.predict(X)[:, 0]
    said = z > (0.5 if kind == "probabilities" else 0)
    truth = YES > 0
    assert 0 < said.sum() < N
    expected = {
        "accuracy": sk.accuracy_score(truth, said),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, said),
        "precision": sk.precision_score(truth, said),
        "recall": sk.recall_score(truth, said),
        "f1": sk.f1_score(truth, said),
        "auc": sk.roc_auc_score(truth, z),
    }
    if kind != "hinge":
        expected["log_loss"] = sk.log_loss(truth, z if kind == "probabilities" else 1 / (1 + np.exp(-z)))
    report = net.evaluate(X, y, metrics=list(expected))
    for name, number in expected.items():
        assert report[name] == pytest.approx(number, rel=1e-12), name


def test_several_labels_are_scored_as_scikit_learn_does():
    sk = sklearn_metrics()
    net = binary(y=MANY, outputs=3)
    z = net.predict(X)
    said = z > 0.5
    expected = {
        "accuracy": np.mean(said == MANY),
        "precision": sk.precision_score(MANY, said, average="macro", zero_division=0),
        "recall": sk.recall_score(MANY, said, average="macro", zero_division=0),
        "f1": sk.f1_score(MANY, said, average="macro", zero_division=0),
        "auc": sk.roc_auc_score(MANY, z, average="macro"),
        "balanced_accuracy": np.mean([sk.balanced_accuracy_score(MANY[:, c], said[:, c]) for c in range(3)]),
        "log_loss": np.mean([sk.log_loss(MANY[:, c], z[:, c]) for c in range(3)]),
    }
    report = net.evaluate(X, MANY, metrics=list(expected))
    for name, number in expected.items():
        assert report[name] == pytest.approx(number, rel=1e-12), name


@pytest.mark.parametrize("seed", range(5))
def test_the_area_counts_equal_outputs_half(seed):
    sk = sklearn_metrics()
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, 50).astype(np.float32)
    yes = rng.random(50) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[yes] for b in scores[~yes]]
    assert metrics.area(yes, scores, np.ones(50)) == pytest.approx(np.mean(pairs), rel=1e-13)
    assert metrics.area(yes, scores, np.ones(50)) == pytest.approx(sk.roc_auc_score(yes, scores), rel=1e-12)
    w = rng.random(50)
    weights = [a * b for a in w[yes] for b in w[~yes]]
    assert metrics.area(yes, scores, w) == pytest.approx(np.average(pairs, weights=weights), rel=1e-13)


def test_of_equal_outputs_the_first_is_the_larger():
    net = fb.Network([1, 4], seed=0)
    net.params[:] = 0  # all classes alike
    zeros, labels = np.zeros((4, 1)), np.arange(4)
    names = ["accuracy", "top_1_accuracy", "top_2_accuracy", "top_3_accuracy"]
    assert list(net.evaluate(zeros, labels, metrics=names).values())[1:] == [0.25, 0.25, 0.5, 0.75]


def test_numbers_are_scored_as_scikit_learn_does():
    sk = sklearn_metrics()
    net = fb.Network([4, 3], loss="mse", dtype="float64", seed=1)
    z, t = net.predict(X), MANY
    report = net.evaluate(X, t, metrics=["mse", "rmse", "mae", "r2"])
    assert report["mse"] == pytest.approx(sk.mean_squared_error(t, z), rel=1e-12)
    assert report["rmse"] == pytest.approx(sk.mean_squared_error(t, z) ** 0.5, rel=1e-12)
    assert report["mae"] == pytest.approx(sk.mean_absolute_error(t, z), rel=1e-12)
    assert report["r2"] == pytest.approx(sk.r2_score(t, z), rel=1e-12)


@pytest.mark.parametrize("n", [3, 7, 100])  # whose mean of 0.1 is rounded
@pytest.mark.parametrize("weighted", [False, True])
def test_a_constant_target_counts_0_unless_it_is_met(n, weighted):
    net = fb.Network([4, 2], loss="mse", dtype="float64", seed=1)
    w = np.linspace(1, 2, n) if weighted else None
    t = np.column_stack([np.full(n, 0.1), X[:n, 0]])
    other = fb.Network([4, 1], loss="mse", dtype="float64", init=net.weights[0][1:])
    assert net.evaluate(X[:n], t, "r2", w)["r2"] == pytest.approx(other.evaluate(X[:n], X[:n, 0], "r2", w)["r2"] / 2)
    net.weights[0][0], net.biases[0][0] = 0, 0.1
    met = net.evaluate(X[:n], t, "r2", w)["r2"]
    assert met == pytest.approx((1 + other.evaluate(X[:n], X[:n, 0], "r2", w)["r2"]) / 2)


@pytest.mark.parametrize("outputs", [2, 4])
def test_the_area_of_logits_is_that_of_their_probabilities(outputs):
    sk = sklearn_metrics()
    labels = LABELS % outputs
    net = fb.Network([4, outputs], output="identity", dtype="float64", seed=1)
    z = net.predict(X)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    expected = sk.roc_auc_score(labels, z[:, 1] - z[:, 0] if outputs == 2 else p, multi_class="ovr")
    assert value(net, labels, "auc") == pytest.approx(expected, rel=1e-12)
    of_columns = np.mean([sk.roc_auc_score(labels == c, z[:, c]) for c in range(outputs)])
    assert of_columns != pytest.approx(expected, rel=1e-6)  # what a column of logits says by itself


def test_an_area_that_has_no_meaning_is_nan():
    net = binary()
    assert np.isnan(value(net, np.ones(N), "auc"))
    assert value(net, np.ones(N), "balanced_accuracy") == value(net, np.ones(N), "recall")


SCORERS = {
    "classes": [
        "accuracy",
        "f1_macro",
        "f1_weighted",
        "balanced_accuracy",
        "roc_auc_ovr",
        "roc_auc_ovo",
        "neg_log_loss",
    ],
    "two classes": ["roc_auc", "average_precision", "neg_brier_score", "f1"],
    "yes": ["accuracy", "f1", "roc_auc", "average_precision", "matthews_corrcoef", "neg_log_loss", "neg_brier_score"],
    "logits": ["accuracy", "f1", "roc_auc"],
    "labels": ["f1_macro", "f1_samples", "precision_micro", "accuracy"],
    "numbers": ["r2", "neg_mean_absolute_error", "neg_root_mean_squared_error", "explained_variance"],
    "one number": ["r2", "neg_median_absolute_error", "neg_mean_squared_error"],
}


@pytest.mark.parametrize(
    ("kind", "scorer"), [(kind, scorer) for kind, scorers in SCORERS.items() for scorer in scorers]
)
def test_scikit_learns_scorers_work_by_name(kind, scorer):
    """The same number as that of an estimator of scikit-learn's with the same parameters."""
    sk = sklearn_metrics()
    linear = pytest.importorskip("sklearn.linear_model")
    multi = pytest.importorskip("sklearn.multiclass")
    if kind in ("classes", "two classes"):
        outputs, y = (4, LABELS) if kind == "classes" else (2, YES.astype(int))
        net = fb.Network([4, outputs], dtype="float64", seed=1)
        theirs = linear.LogisticRegression().fit(X, y)
        net.weights[0][:], net.biases[0][:] = (
            (theirs.coef_, theirs.intercept_) if outputs == 4
            else ([[0] * 4, theirs.coef_[0]], [0, theirs.intercept_[0]])
        )  # fmt: skip
    elif kind in ("yes", "logits"):
        net, y = fb.Network(
            [4, 1], loss="binary_cross_entropy", dtype="float64", output="identity" if kind == "logits" else None
        ), YES  # fmt: skip
        theirs = linear.LogisticRegression().fit(X, y.astype(int))
        net.weights[0][:], net.biases[0][:] = theirs.coef_, theirs.intercept_
    elif kind == "labels":
        net, y = fb.Network([4, 3], loss="binary_cross_entropy", dtype="float64"), MANY
        theirs = multi.OneVsRestClassifier(linear.LogisticRegression()).fit(X, y.astype(int))
        net.weights[0][:] = np.vstack([each.coef_ for each in theirs.estimators_])
        net.biases[0][:] = np.hstack([each.intercept_ for each in theirs.estimators_])
    else:
        y = MANY if kind == "numbers" else X[:, 0] ** 2
        net = fb.Network([4, 3 if kind == "numbers" else 1], loss="huber", dtype="float64")
        theirs = linear.LinearRegression().fit(X, y)
        net.weights[0][:], net.biases[0][:] = theirs.coef_, theirs.intercept_
    expected = sk.get_scorer(scorer)(theirs, X, y if y.dtype.kind == "i" or "number" in kind else y.astype(int))
    name = f"sklearn:{scorer}"
    assert value(net, y, name) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    history = net.fit(X, y, epochs=1, validation_data=(X, y), metrics=name, verbose=0).history
    assert f"val_{name}" in history


def test_without_scikit_learn_a_scorer_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(ImportError, match=r"needs scikit-learn: pip install 'fastbp\[sklearn\]'"):
        value(binary(), YES, "sklearn:f1")


def test_functions_of_ones_own_get_outputs_and_targets():
    net = fb.Network([4, 3], loss="mse", dtype="float64", missing_targets="mask")
    t = MANY.copy()
    t[0, 0] = np.nan

    def missing(outputs, targets):
        assert outputs.shape == targets.shape
        return np.isnan(targets).sum()

    assert net.evaluate(X, t, metrics=missing)["missing"] == 1
    with pytest.raises(ValueError, match="^metrics: expected no missing targets for 'sklearn:r2'"):
        sklearn_metrics()
        net.evaluate(X, t, metrics="sklearn:r2")


NUMBERS, CLASSES, LABEL = fb.Network([4, 3], loss="mse"), fb.Network([4, 3]), binary(y=MANY, outputs=3)


@pytest.mark.parametrize(("net", "name", "message"), [
    (NUMBERS, "auc", "metrics: auc needs a loss of classes, got mse"),
    (NUMBERS, "top_2_accuracy", "metrics: top_2_accuracy needs a loss of classes, got mse"),
    (CLASSES, "top_3_accuracy", "metrics: top_3_accuracy needs one class a row out of more than 3"),
    (LABEL, "top_2_accuracy", "metrics: top_2_accuracy needs one class a row"),
    (CLASSES, "top_0_accuracy", "metrics: expected one of .*did you mean 'top_5_accuracy'"),
    (CLASSES, "rsme", "metrics: expected one of .*did you mean 'rmse'"),
    (fb.Network([4, 1], loss="hinge"), "log_loss", "metrics: log_loss needs a loss of probabilities, got hinge"),
])  # fmt: skip
def test_metrics_that_make_no_sense_are_refused(net, name, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        net.evaluate(X, np.zeros((N, 3)) if net is not CLASSES else np.zeros(N, int), metrics=[name])


def test_an_unknown_scorer_is_refused():
    sklearn_metrics()
    with pytest.raises(ValueError, match="^metrics: expected one of sklearn.metrics.get_scorer_names"):
        value(binary(), YES, "sklearn:f1_makro")


class Squares:
    """A loss object of one's own, at whose targets nobody looks."""

    def value_and_delta(self, outputs, targets):
        return float((outputs**2).mean()), 2 * outputs / outputs.size


OF_OWN_LOSSES = tuple(metrics.CLASSIFICATION)[:-1] + ("top_2_accuracy",)


@pytest.mark.parametrize("name", OF_OWN_LOSSES)
def test_labels_beside_a_loss_object_are_looked_at_by_the_metrics(name):
    net = fb.Network([4, 4], loss=Squares(), seed=1)
    expected = value(net, LABELS, name)
    assert 0 < expected < 1 and value(net, LABELS.astype(float), name) == expected
    assert value(net, LABELS > 1, name) == value(net, 1 * (LABELS > 1), name)
    for wrong, came in ((LABELS + 1, "4 in row"), (LABELS - 1, "-1 in row"), (LABELS + 0.5, r"\d\.5 in row 0")):
        with pytest.raises(ValueError, match=f"^y: expected class indices from 0 to 3, got {came}"):
            value(net, wrong, name)
    for wrong in (LABELS.astype(str), np.eye(4)[LABELS], np.full(N, None)):
        with pytest.raises(ValueError, match=r"^metrics: expected class indices of shape \(n,\) here, got an array"):
            value(net, wrong, name)
