"""Many networks of one shape, trained in one call."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import checks, ensemble_training, losses, training
from .errors import DivergedError
from .network import Network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .history import History
    from .optimizers import Optimizer

RUNS = ("auto", "lanes", "threads")


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
        self.run = checks.choice("run", run, RUNS)
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
        metrics: Any = None,
        sample_weight: ArrayLike | None = None,
        class_weight: "Mapping[int, float] | Literal['balanced'] | None" = None,
        shuffle: bool = True,
        on_divergence: Literal["raise", "return"] = "raise",
        verbose: Literal["auto", 0, 1] = "auto",
    ) -> "list[History]":
        """Trains every member from its present weights.

        Parameters
        ----------
        X, y, epochs, batch_size, validation_data, metrics, sample_weight, class_weight, shuffle, verbose
            As in :meth:`Network.fit`, for each member; arrays are taken into memory.
        optimizer : Optimizer, optional
            Naming one starts every member's fresh, with the ensemble's `lr` and `weight_decay` where it has its own;
            None continues each member's last one, and starts those without with ``Adam()``.
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
        ``seconds`` in a history are those of the whole ensemble's epoch. While it trains, a member asked for
        predictions by another thread answers between two looks at Ctrl-C, every 50 ms.
        """
        on_divergence = checks.choice("on_divergence", on_divergence, ("raise", "return"))
        job = ensemble_training.Job(self, X, y, epochs, batch_size, optimizer, shuffle, verbose)
        job.weigh(self, sample_weight, class_weight)
        job.validate_with(self[0], validation_data, metrics)
        job.check_schedules()
        with contextlib.ExitStack() as held:
            for member in self._members:
                held.enter_context(training.being_fitted(member))
            for member in self._members:
                training.check_parameters(member)
            diverged = ensemble_training.run_epochs(self, job)
        if diverged and on_divergence == "raise":
            raise DivergedError(ensemble_training.report(diverged, len(self)))
        return self.histories

    def predict_all(self, X: ArrayLike) -> NDArray[Any]:
        """Outputs of every member.

        Parameters
        ----------
        X : array_like, shape (rows, in) or (in,)

        Returns
        -------
        ndarray, shape (n, rows, out), or (n, out) for one row
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

        Notes
        -----
        The spread is what the members disagree by (Lakshminarayanan et al., 2017); noise in the targets is not in it.
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
