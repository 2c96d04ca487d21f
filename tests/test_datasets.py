"""The digits that are shipped, and their split."""

from importlib.resources import files

import numpy as np
import pytest

from fastbp.datasets import load_digits, stratified_split


def test_digits_are_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets")
    want = datasets.load_digits()
    X, y = load_digits()
    np.testing.assert_array_equal(X, want.data)
    np.testing.assert_array_equal(y, want.target)


def test_digits_have_their_shape_range_and_attribution():
    X, y = load_digits()
    assert (X.shape, X.dtype, X.min(), X.max()) == ((1797, 64), np.uint8, 0, 16)
    assert (y.shape, y.dtype) == ((1797,), np.uint8)
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    text = files("fastbp").joinpath("digits.txt").read_text()
    for part in ("Alpaydin", "Kaynak", "CC BY 4.0", "10.24432/C50P49"):
        assert part in text


@pytest.mark.parametrize("seed", range(3))
def test_a_stratified_split_takes_its_share_of_every_class_and_every_row_once(seed):
    _, y = load_digits()
    train, test = stratified_split(y, 0.3, seed)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(y))), seed
    assert np.array_equal(np.bincount(y[test]), np.rint(0.3 * np.bincount(y))), seed
    again = stratified_split(y, 0.3, seed)
    assert np.array_equal(train, again[0]), seed


def test_splits_of_different_seeds_differ():
    _, y = load_digits()
    assert not np.array_equal(stratified_split(y, seed=0)[1], stratified_split(y, seed=1)[1])


def test_classes_may_be_any_labels_in_any_sequence():
    train, test = stratified_split(["a", "b"] * 10)
    assert (len(train), test.size, int(np.sum(test % 2))) == (14, 6, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[0], [1]],), ValueError, r"^y: expected shape \(n,\), got \(2, 1\)"),
        (([0, 1], 1.5), ValueError, "^test_share: .*<= 1, got 1.5"),
        (([0, 1], -0.5), ValueError, "^test_share: .*>= 0 .*got -0.5"),
        (([0, 1], "half"), TypeError, "^test_share: .*half"),
        (([0, 1], 0.5, -1), ValueError, "^seed: .*-1"),
    ],
)
def test_bad_splits_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        stratified_split(*arguments)
