"""Test accuracy on the shipped digits over five seeds, beside scikit-learn's MLPClassifier of the same net.

    python bench digits

One fixed stratified split, 70 % for training; 64-128-64-10, relu, Adam with lr 1e-3, batches of 32, 100 epochs.
"""

import statistics

import fastbp as fb
from fastbp.datasets import load_digits, stratified_split

HIDDEN, EPOCHS, BATCH, SEEDS = (128, 64), 100, 32, range(1, 6)


def fastbp_accuracy(X, y, X_test, y_test, seed):
    net = fb.Network([64, *HIDDEN, 10], seed=seed)
    net.fit(X, y, epochs=EPOCHS, batch_size=BATCH, optimizer=fb.Adam(lr=1e-3), verbose=0)
    return net.evaluate(X_test, y_test)["accuracy"]


def scikit_learn_accuracy(X, y, X_test, y_test, seed):
    import warnings

    from sklearn.neural_network import MLPClassifier

    settings = {"alpha": 0, "batch_size": BATCH, "max_iter": EPOCHS, "n_iter_no_change": EPOCHS}
    model = MLPClassifier(HIDDEN, random_state=seed, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that all epochs were used is what was asked for
        model.fit(X, y)
    return float(model.score(X_test, y_test))


def run():
    """Accuracies of every seed, by library; one that is missing is named and left out."""
    X, y = load_digits()
    X = X.astype("float32") / 16
    train, test = stratified_split(y)
    results = {}
    for name, accuracy in (("fastbp", fastbp_accuracy), ("scikit-learn", scikit_learn_accuracy)):
        try:
            results[name] = [accuracy(X[train], y[train], X[test], y[test], seed) for seed in SEEDS]
        except ImportError as error:
            print(f"{name}: skipped, {error}")
            continue
        each = "  ".join(f"{100 * a:.2f}" for a in results[name])
        print(f"{name:14} mean {100 * statistics.mean(results[name]):.2f} %   seeds {each}", flush=True)
    return results
