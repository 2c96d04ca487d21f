"""Many networks of one shape, trained in one call."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import checks, ensemble_file, ensemble_training, losses, training
from .errors import DivergedError
from .network import Network

if TYPE_CHECKING:
    import os

    from .history import History
    from .metrics import Metrics
    from .optimizers import Optimizer
    from .schedules import LearningRate


class Ensemble:
    """Networks of one shape, each with its own first weights and its own order of rows, trained in one call.

    Parameters
    ----------
    net : Network
        The shape: layers, activations, loss, dtype, initialisers. It is left as it is.
    n : int
        How many networks, at least 1.
    seeds : sequence of n ints, optional
        Of first weights and shuffling: member i starts as ``Network(..., seed=seeds[i])``. None takes ``net.seed``,
        ``net.seed + 1`` and so on, or n seeds from the operating system where the net has none.
    lr, weight_decay : sequence of n floats, optional
        Of each member, in place of those of the optimiser given to `fit`.
    bootstrap : bool
        Whether each member has its own draw of the rows with replacement (Breiman, 1996): a row counts as often as it
        was drawn, as its weight. The draw follows from the member's seed and the number of rows; see
        :meth:`multiplicities`.
    run : {"auto", "lanes", "threads"}
        ``"threads"``: members are shared out over the threads and each has the very bits of the network trained alone.
        ``"lanes"``: small networks go side by side in the lanes of vectors, several times as fast; they agree with
        networks trained alone to rounding. It takes networks of :class:`Dense` layers and SGD, Adam or AdamW of a
        constant learning rate. ``"auto"`` takes lanes for these where a network has up to 1,000 parameters and the
        members fill three quarters of the lanes of all threads.
    threads : int, optional
        How many threads `fit` may use. None takes the net's.

    Attributes
    ----------
    seeds : tuple of int
    histories : list of History
        Of each member's last `fit`; also ``ensemble[i].history``.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Notes
    -----
    ``ensemble[i]``, and iteration, give the members themselves: ordinary networks, live. They can be fitted further,
    saved and copied; what is written into them changes the ensemble. An ensemble pickles.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> ensemble = fb.Ensemble(fb.Network([1, 16, 1], activation="tanh", loss="mse", seed=0), 8)
    >>> histories = ensemble.fit(X, np.sin(3 * X), epochs=300, optimizer=fb.Adam(lr=0.01), verbose=0)
    >>> mean, std = ensemble.predict(np.array([[0.0], [3.0]]))
    >>> bool(std[1, 0] > 5 * std[0, 0])  # far from the data the members disagree
    True
    """

    def __init__(
        self,
        net: Network,
        n: int,
        *,
        seeds: Sequence[int] | None = None,
        lr: Sequence[float] | None = None,
        weight_decay: Sequence[float] | None = None,
        bootstrap: bool = False,
        run: Literal["auto", "lanes", "threads"] = "auto",
        threads: int | None = None,
    ) -> None:
        if not isinstance(net, Network):
            raise TypeError(f"net: expected a Network, got {checks.described(net)}")
        if not isinstance(net.objective, losses.Loss):
            raise ValueError(f"net: expected one of fastbp's own losses, got {checks.described(net.objective)}")
        n = checks.positive_int("n", n)
        self.seeds = seeds_of(net, n, seeds)
        self.lr = numbers_of("lr", lr, n)
        self.weight_decay = numbers_of("weight_decay", weight_decay, n)
        self.bootstrap = checks.boolean("bootstrap", bootstrap)
        self.run = checks.choice("run", run, ensemble_file.RUNS)
        threads = checks.threads("threads", threads)
        self.threads = net.threads if threads is None else threads
        self._members = [
            Network(
                [net.n_inputs, *net.layers], loss=net.objective, dtype=net.dtype, seed=seed, threads=net.threads,
                missing_targets=net.missing_targets,
            )
            for seed in self.seeds
        ]  # fmt: skip

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, i: int) -> Network:
        return self._members[i]

    def __iter__(self) -> Iterator[Network]:
        return iter(self._members)

    def __repr__(self):
        return f"<Ensemble of {len(self)}: {self._members[0]!r}>"

    @property
    def histories(self) -> "list[History | None]":
        return [member.history for member in self._members]

    def multiplicities(self, n_rows: int) -> NDArray[np.intp]:
        """How often each member has drawn each of n rows: what ``bootstrap=True`` weighs them with.

        Parameters
        ----------
        n_rows : int

        Returns
        -------
        ndarray of int, shape (n, n_rows)
            Each row sums to `n_rows`. Rows of data at 0 are out of the member's bag, and can serve to judge it.

        Examples
        --------
        >>> import fastbp as fb
        >>> ensemble = fb.Ensemble(fb.Network([1, 1], loss="mse", seed=0), 2)
        >>> ensemble.multiplicities(5).sum(axis=1).tolist()
        [5, 5]
        """
        n_rows = checks.positive_int("n_rows", n_rows)
        return np.array([ensemble_training.drawn(seed, n_rows) for seed in self.seeds])

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        epochs: int = 10,
        batch_size: int | None = None,
        optimizer: "Optimizer | None" = None,
        validation_data: tuple[ArrayLike, ...] | None = None,
        validation_split: float = 0.0,
        metrics: "Metrics | None" = None,
        sample_weight: ArrayLike | None = None,
        class_weight: "Mapping[int, float] | Literal['balanced'] | None" = None,
        shuffle: bool = True,
        callbacks: "Sequence[Callable[..., Any] | Sequence[Callable[..., Any]]]" = (),
        on_divergence: Literal["raise", "return"] = "raise",
        verbose: Literal["auto", 0, 1] = "auto",
    ) -> "list[History]":
        """Trains every member from its present weights.

        Parameters
        ----------
        X, y, epochs, batch_size, validation_data, metrics, sample_weight, class_weight, shuffle, verbose
            As in :meth:`Network.fit`, for each member; arrays are taken into memory.
        validation_split : float
            As in :meth:`Network.fit`: all members have the same rows for validation. A bootstrap draws from the others.
        optimizer : Optimizer, optional
            Naming one starts every member's fresh, with the ensemble's `lr` and `weight_decay` where it has its own;
            None continues each member's last one, and starts those without with ``Adam()``.
        callbacks : sequence of n callables, or of n lists of callables, optional
            Of each member, as in :meth:`Network.fit`: called after its epoch as ``callback(member, history)``;
            returning True ends that member's training, and the others go on. An :class:`EarlyStopping` remembers one
            training, so that each member needs one of its own.
        on_divergence : {"raise", "return"}
            What to do at the end when members have diverged. Each of these keeps its last finite parameters and the
            history of its whole epochs; the others are trained to the end in any case.

        Returns
        -------
        list of History
            One for each member.

        Raises
        ------
        DivergedError
            At the end, naming the members that have diverged.
        ValueError, TypeError
            For bad arguments, before anything changes.
        RuntimeError
            While a member is being fitted already.
        KeyboardInterrupt
            On Ctrl-C, between two steps of each member. Some may then be further in the epoch than others.

        Notes
        -----
        ``seconds`` in a history are those of the whole ensemble's epoch, callbacks apart. While it trains, a member
        asked for predictions by another thread answers between two looks at Ctrl-C, every 50 ms.

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> X = np.linspace(-1, 1, 64)[:, None]
        >>> ensemble = fb.Ensemble(fb.Network([1, 16, 1], activation="tanh", loss="mse", seed=0), 3)
        >>> stops = [fb.EarlyStopping(patience=5) for _ in ensemble]
        >>> histories = ensemble.fit(X, np.sin(3 * X), epochs=40, validation_split=0.25, callbacks=stops, verbose=0)
        >>> [stop.best for stop in stops] == [min(history.history["val_loss"]) for history in histories]
        True
        """
        on_divergence = checks.choice("on_divergence", on_divergence, ("raise", "return"))
        validation = training.validation_pair(validation_data)
        split = checks.number("validation_split", validation_split, at_least=0, below=1)
        if split and validation:
            raise ValueError(f"validation_split: expected 0 beside validation_data, got {split:g}")
        job = ensemble_training.Job(
            self, X, y, epochs, batch_size, optimizer, shuffle, verbose, split, sample_weight
        )  # fmt: skip
        job.weigh(self, class_weight)
        job.validate_with(self[0], validation, metrics)
        job.check_schedules()
        if not isinstance(callbacks, (list, tuple)) or callbacks:
            job.call(sequence_of("callbacks", callbacks, len(self)))
        self._train(job, on_divergence)
        return self.histories

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        batch_size: int | None = None,
        optimizer: "Optimizer | None" = None,
        sample_weight: ArrayLike | None = None,
        class_weight: "Mapping[int, float] | None" = None,
        shuffle: bool = True,
    ) -> "Ensemble":
        """Goes once through the data given with each member, for data that comes in pieces.

        Parameters
        ----------
        X, y, batch_size, sample_weight, class_weight, shuffle
            As in :meth:`Network.partial_fit`, for each member.
        optimizer : Optimizer, optional
            With the ensemble's `lr` and `weight_decay`; starts fresh in each member that has another one. None
            continues what each member has.

        Returns
        -------
        Ensemble
            This one.

        Raises
        ------
        DivergedError, ValueError, TypeError, RuntimeError, KeyboardInterrupt
            As :meth:`fit`.

        Notes
        -----
        With ``bootstrap=True`` each piece is drawn from by itself; pieces of one length have the same draw.

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> ensemble = fb.Ensemble(fb.Network([3, 8, 1], loss="mse", seed=0), 2)
        >>> rng = np.random.default_rng(0)
        >>> for _ in range(200):
        ...     X = rng.standard_normal((100, 3))
        ...     _ = ensemble.partial_fit(X, X.sum(axis=1), optimizer=fb.Adam(lr=0.01))
        >>> ensemble.evaluate(X, X.sum(axis=1))["r2"] > 0.99
        True
        """
        if class_weight is not None and not isinstance(class_weight, Mapping):
            raise TypeError(f"class_weight: expected a dict or None, got {checks.described(class_weight)}")
        job = ensemble_training.Job(self, X, y, 1, batch_size, optimizer, shuffle, weights=sample_weight)
        job.in_pieces(self)
        job.weigh(self, class_weight)
        self._train(job, "raise")
        return self

    def _train(self, job, on_divergence):
        key = training.new_key()
        try:
            for member in self._members:
                training.hold(member, key)
            for member in self._members:
                training.check_parameters(member)
            diverged = ensemble_training.run_epochs(self, job)
        finally:
            try:
                training.release(self._members, key)
            finally:
                training.release(self._members, key)
        if diverged and on_divergence == "raise":
            raise DivergedError(ensemble_training.report(diverged, len(self)))

    def evaluate(
        self, X: ArrayLike, y: ArrayLike, metrics: "Metrics | None" = None, sample_weight: ArrayLike | None = None
    ) -> dict[str, float]:
        """Loss and metrics of the ensemble's own prediction, the mean that :meth:`predict` gives.

        Parameters
        ----------
        X, y, metrics, sample_weight
            As in :meth:`Network.evaluate`.

        Returns
        -------
        dict of str to float
            ``"loss"`` and one entry per metric.

        Notes
        -----
        Where the loss is computed from logits and the outputs are probabilities or rates, it is that of their mean,
        kept from 0 and 1 by the smallest number and the last digit of the dtype. One member's report is
        ``ensemble[i].evaluate(X, y)``. The losses are convex: the mean of the members' losses is no smaller than this.

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> ensemble = fb.Ensemble(fb.Network([2, 3], seed=0), 8)
        >>> X, y = np.array([[0.5, -1.0], [2.0, 0.3]]), [0, 2]
        >>> alone = [member.evaluate(X, y)["loss"] for member in ensemble]
        >>> ensemble.evaluate(X, y)["loss"] < sum(alone) / 8
        True
        """
        from . import ensemble_report

        return ensemble_report.evaluate(self, X, y, metrics, sample_weight)

    def save(self, path: "str | os.PathLike[str]", *, optimizer: bool = True) -> None:
        """Writes the ensemble into one file, from which :meth:`load` makes it again.

        Parameters
        ----------
        path, optimizer
            As in :meth:`Network.save`.

        Raises
        ------
        ValueError, TypeError, OSError
            As :meth:`Network.save`.

        Examples
        --------
        >>> import fastbp as fb
        >>> fb.Ensemble(fb.Network([2, 3, 1], loss="mse", seed=0), 5).save("five.npz")
        >>> fb.Ensemble.load("five.npz")
        <Ensemble of 5: <Network 2 - 3 relu - 1 identity, mse, float32, 13 parameters>>
        """
        ensemble_file.save(self, path, optimizer)

    @classmethod
    def load(cls, path: "str | os.PathLike[str]", *, lr: "LearningRate | None" = None) -> "Ensemble":
        """The ensemble in a file that :meth:`save` wrote.

        Parameters
        ----------
        path, lr
            As in :func:`fastbp.load`.

        Returns
        -------
        Ensemble
            Its members compute and continue to train as the saved ones would.

        Raises
        ------
        ValueError, OSError
            As :func:`fastbp.load`.

        Notes
        -----
        Safe with files of strangers and bounded in memory as :func:`fastbp.load` is.

        Examples
        --------
        >>> import fastbp as fb
        >>> ensemble = fb.Ensemble(fb.Network([2, 3], seed=0), 5)
        >>> ensemble.save("five.npz")
        >>> bool((fb.Ensemble.load("five.npz").predict_all([1, 2]) == ensemble.predict_all([1, 2])).all())
        True
        """
        members, said = ensemble_file.load(path, lr)
        ensemble = cls.__new__(cls)
        ensemble.__dict__.update(said, seeds=tuple(member.seed for member in members), _members=members)
        return ensemble

    def predict_all(self, X: ArrayLike) -> NDArray[Any]:
        """Outputs of every member.

        Parameters
        ----------
        X : array_like, shape (rows, in) or (in,)

        Returns
        -------
        ndarray, shape (n, rows, out), or (n, out) for one row

        Raises
        ------
        ValueError, TypeError
            As :meth:`Network.predict`.

        Examples
        --------
        >>> import fastbp as fb
        >>> fb.Ensemble(fb.Network([2, 3], seed=0), 5).predict_all([[0.5, -1.0]]).shape
        (5, 1, 3)
        """
        return np.stack([member.predict(X) for member in self._members])

    def predict(self, X: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """Mean and spread of the members' outputs.

        Parameters
        ----------
        X : array_like, shape (rows, in) or (in,)

        Returns
        -------
        mean, std : ndarray, shape (rows, out), or (out,) for one row
            Mean and standard deviation over the members (divided by n), computed in float64, of the net's dtype. For
            softmax and sigmoid outputs the mean is that of the probabilities, the ensemble's own.

        Raises
        ------
        ValueError, TypeError
            As :meth:`Network.predict`.

        Notes
        -----
        The spread is what the members disagree by (Lakshminarayanan et al., 2017); noise in the targets is not in it.

        Examples
        --------
        >>> import fastbp as fb
        >>> ensemble = fb.Ensemble(fb.Network([2, 3], seed=0), 5)
        >>> mean, std = ensemble.predict([0.5, -1.0])
        >>> mean.shape, bool(abs(mean.sum() - 1) < 1e-6), bool((std > 0).all())
        ((3,), True, True)
        """
        outputs = self.predict_all(X)
        mean = outputs.mean(axis=0, dtype=np.float64)
        std = outputs.std(axis=0, dtype=np.float64)
        return mean.astype(outputs.dtype), std.astype(outputs.dtype)


def seeds_of(net, n, seeds):
    """n seeds, as ints."""
    if seeds is None:
        if net.seed is not None:
            return tuple(range(net.seed, net.seed + n))
        return tuple(int(seed) for seed in np.random.SeedSequence().generate_state(n, np.uint64))
    return tuple(checks.integer(f"seeds[{i}]", seed, 0) for i, seed in enumerate(sequence_of("seeds", seeds, n)))


def numbers_of(name, values, n):
    """None, or n numbers."""
    if values is None:
        return None
    return tuple(
        checks.number(f"{name}[{i}]", value, at_least=0) for i, value in enumerate(sequence_of(name, values, n))
    )


def sequence_of(name, values, n):
    plain = not isinstance(values, (str, bytes, dict)) and hasattr(values, "__len__") and hasattr(values, "__getitem__")
    if not plain:
        raise TypeError(f"{name}: expected a sequence with an entry for each member, got {checks.described(values)}")
    if len(values) != n:
        raise ValueError(f"{name}: expected {n} entries, one for each member, got {len(values)}")
    return list(values)
