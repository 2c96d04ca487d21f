"""scikit-learn's scorers as metrics: any of `sklearn.metrics.get_scorer_names()`, after "sklearn:"."""

PREFIX = "sklearn:"


def scorer(name, weighted=False):
    """A function of (outputs, targets, net, weights) for ``"sklearn:f1_macro"`` and the like.

    A scorer asks an estimator for its predictions of X. Here X is the outputs themselves, and the estimator makes of
    them what it is asked for: classes, probabilities, decision values, or numbers.
    """
    try:
        from sklearn.metrics import get_scorer
    except ImportError as error:
        raise ImportError(f"metrics: {name!r} needs scikit-learn: pip install 'fastbp[sklearn]'") from error
    try:
        score = get_scorer(name.removeprefix(PREFIX))
    except ValueError:
        wanted = "one of sklearn.metrics.get_scorer_names()"
        raise ValueError(f"metrics: expected {wanted} after {PREFIX!r}, got {name!r}") from None
    from .metrics import has_parameter

    if weighted and not has_parameter(getattr(score, "_score_func", score), "sample_weight"):
        raise ValueError(f"metrics: expected no sample weights with {name!r}, which takes none")

    def function(outputs, targets, net, weights=None):
        if targets.dtype.kind == "f" and (targets != targets).any():
            raise ValueError(f"metrics: expected no missing targets for {name!r}; scikit-learn has no place for them")
        estimator, truth = reader(outputs, targets, net)
        return float(score(estimator, outputs, truth, **({} if weights is None else {"sample_weight": weights})))

    return function


def reader(outputs, targets, net):
    """An estimator that reads outputs, and the targets as scikit-learn puts them."""
    import numpy as np
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    from .metrics import OF_CLASSES, loss_name, middle, threshold, truth_of

    one, two = outputs.shape[1] == 1, outputs.shape[1] == 2
    of_numbers = loss_name(net) not in OF_CLASSES and not (targets.ndim == 1 and not one)
    truth = None if of_numbers else truth_of(outputs, targets, net)

    class Regressor(RegressorMixin, BaseEstimator):
        def predict(self, outputs):
            return outputs[:, 0] if one else outputs

    class Classifier(ClassifierMixin, BaseEstimator):
        def predict(self, outputs):
            said = outputs.argmax(axis=1) if truth is not None else (outputs > threshold(net)).astype(int)
            return said[:, 0] if one else said

        def decision_function(self, outputs):
            return outputs[:, 0] if one else outputs[:, 1] - outputs[:, 0] if two and truth is not None else outputs

    class Probabilities(Classifier):
        def predict_proba(self, outputs):
            return np.hstack([1 - outputs, outputs]) if one else outputs

    if of_numbers:
        return Regressor(), targets[:, 0] if targets.ndim == 2 and one else targets
    estimator = (Probabilities if net.layers[-1].activation in ("softmax", "sigmoid") else Classifier)()
    if truth is not None:
        estimator.classes_ = np.arange(outputs.shape[1])
        return estimator, truth
    yes = (targets > middle(net)).astype(int)
    estimator.classes_ = np.arange(2) if one else [np.arange(2)] * outputs.shape[1]
    return estimator, yes[:, 0] if one else yes
