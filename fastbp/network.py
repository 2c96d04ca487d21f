"""The network: names, checks and views around the compiled engine. No arithmetic on the hot path happens here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import checks, config, cpus, data, losses, optimizers, state, training
from . import layers as layers_
from . import metrics as metrics_
from .layers import Dense

READ_ONLY = frozenset(
    "params weights biases n_params n_inputs n_outputs layers objective dtype seed threads optimizer history".split()
)

if TYPE_CHECKING:
    import os

    from ._core import Engine
    from .gradreport import GradCheck
    from .history import History
    from .losses import Loss
    from .metrics import Metrics
    from .optimizers import Optimizer
    from .trace import Trace


class Network:
    """A multilayer perceptron: y = W x + b, z = h(y), layer after layer, trained by backpropagation.

    Parameters
    ----------
    layers : sequence
        The number of inputs, then an int or a :class:`Dense` for each layer. ``[784, 128, 10]`` has 784 inputs, 128
        hidden units and 10 outputs.
    activation : str or sequence of str
        Activation of the hidden layers given as ints: one name for all, or one for each.
    output : str, optional
        Activation of the last layer. None takes what the loss asks for: identity, softmax for ``cross_entropy``,
        sigmoid for ``binary_cross_entropy``, exp for ``poisson``. These three losses are computed from the logits (y of
        the last layer), so that they cannot overflow; they allow their own activation or ``"identity"`` here, and
        `predict` gives probabilities (rates) or logits accordingly.
    loss : str or loss object
        ``"mse"``, ``"mae"``, ``"huber"``, ``"quantile"``, ``"poisson"``, ``"cross_entropy"``,
        ``"binary_cross_entropy"``, ``"hinge"``, one of the classes of these names, or an object with
        ``value_and_delta(outputs, targets)`` that returns the mean loss of a batch and its derivative by the outputs,
        of the outputs' shape.
    bias : bool
        Whether the layers given as ints have biases.
    init : str, array or callable
        How weights start; ``"auto"`` fits the activation. Biases start at zero.
    dtype : {"float32", "float64"}
        Of parameters and arithmetic.
    seed : int, optional
        Of the first weights and of shuffling. None takes one from the operating system.
    threads : int, optional
        How many threads a call may use, the calling one among them: up to 128. None takes ``FASTBP_THREADS``, or all
        CPUs that the process may use. Small work runs on fewer, as does any while another network has the workers. The
        results have the same bits whatever their number.

    Attributes
    ----------
    params : ndarray, shape (n_params,)
        Live view of all parameters, in the layout and order of torch's ``nn.Sequential``: for each layer W (out, in),
        then b.
    weights, biases : tuple of ndarray
        Live views of them, (out, in) and (out,); None for the bias of a layer that has none. Writing to a view changes
        the network.
    layers : tuple of Dense
        One per layer of weights, activations resolved.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> y = np.array([0, 1, 1, 0])
    >>> net = fb.Network([2, 8, 1], activation="tanh", loss="binary_cross_entropy", seed=1)
    >>> history = net.fit(X, y, epochs=500, batch_size=4, optimizer=fb.Adam(lr=0.05), verbose=0)
    >>> net.predict(X).round().ravel().tolist()
    [0.0, 1.0, 1.0, 0.0]
    """

    params: NDArray[Any]
    weights: tuple[NDArray[Any], ...]
    biases: tuple[NDArray[Any] | None, ...]
    layers: tuple[Dense, ...]
    n_inputs: int
    n_outputs: int
    dtype: np.dtype[Any]
    seed: int | None
    threads: int | None
    objective: Any
    optimizer: "Optimizer | None"
    history: "History | None"
    _engine: "Engine"

    def __init__(
        self,
        layers: Sequence[int | Dense],
        *,
        activation: str | Sequence[str] = "relu",
        output: str | None = None,
        loss: "str | Loss | Any" = "cross_entropy",
        bias: bool = True,
        init: Any = "auto",
        dtype: DTypeLike = "float32",
        seed: int | None = None,
        threads: int | None = None,
    ) -> None:
        objective = losses.resolve(loss)
        dtype = checks.dtype("dtype", dtype)
        losses.check_range(objective, dtype)
        self._describe(
            layers_.input_count(layers),
            layers_.resolve(layers, activation, output, objective, bias, init),
            objective,
            dtype,
            checks.seed("seed", seed),
            checks.threads("threads", threads),
        )
        self._rng = np.random.default_rng(self.seed)
        starts = []
        n_inputs = self.n_inputs
        for layer in self.layers:
            starts.append(layers_.initial_weights(layer, n_inputs, self._rng))
            n_inputs = layer.units
        self._build()
        for weight, start in zip(self.weights, starts, strict=True):
            with np.errstate(over="ignore"):
                weight[...] = start
            if not data.all_finite(weight):
                beyond = start[~np.isfinite(weight)][0]
                raise ValueError(f"init: expected weights in the range of {dtype}, got {beyond:g}")

    def __setattr__(self, name, value):
        if name in READ_ONLY:
            hint = "; write into it, as in net.params[:] = ..." if name in ("params", "weights", "biases") else ""
            raise AttributeError(f"{name}: cannot be set{hint}")
        super().__setattr__(name, value)

    def _describe(self, n_inputs, layers, objective, dtype, seed, threads):
        self.__dict__.update(
            n_inputs=n_inputs, layers=layers, n_outputs=layers[-1].units, objective=objective, dtype=dtype, seed=seed,
            threads=threads, optimizer=None, history=None,
        )  # fmt: skip

    def _build(self):
        """Makes the engine and the views, parameters zero."""
        core_loss = self.objective if isinstance(self.objective, losses.Loss) else losses.GivenDelta()
        sizes = [self.n_inputs, *(layer.units for layer in self.layers)]
        self._engine = config.engine_module(self.dtype).Engine(
            sizes,
            [layers_.ACTIVATIONS.index(layer.activation) for layer in self.layers],
            [layer.bias for layer in self.layers],
            core_loss.code,
            core_loss.parameter,
            core_loss.from_logits,
        )
        self._engine.set_threads(cpus.default_threads() if self.threads is None else self.threads)
        self._core_loss = core_loss
        params = np.asarray(self._engine.parameters)
        weights, biases, at = [], [], 0
        for n_in, layer in zip(sizes, self.layers):  # noqa: B905 (sizes has one more: the outputs)
            weights.append(params[at : at + layer.units * n_in].reshape(layer.units, n_in))
            at += layer.units * n_in
            biases.append(params[at : at + layer.units] if layer.bias else None)
            at += layer.units if layer.bias else 0
        self.__dict__.update(params=params, weights=tuple(weights), biases=tuple(biases))

    @property
    def n_params(self) -> int:
        """Number of parameters, weights and biases together."""
        return self._engine.n_parameters

    def predict(self, X: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Outputs of the network: probabilities where the last layer is softmax or sigmoid.

        Parameters
        ----------
        X : array_like, shape (n, in) or (in,)
            Rows of inputs, or one.
        out : ndarray, shape (n, out) or (out,), optional
            Of the net's dtype, C-contiguous; overwritten and returned. It may share memory with X or the parameters.

        Returns
        -------
        ndarray, shape (n, out), or (out,) for one row

        Raises
        ------
        ValueError, TypeError
            For a wrong shape or dtype, NaN or infinite inputs.

        Notes
        -----
        Safe to call from several threads at once. Row i equals ``predict(X[i])`` to rounding.
        """
        if type(X) is np.ndarray and X.ndim and (out is None or type(out) is np.ndarray):
            ready = np.empty((*X.shape[:-1], self.n_outputs), self.dtype) if out is None else out
            if self._engine.predict_ready(X, ready):
                return ready
        X, single = data.rows(X, self.n_inputs, self.dtype)
        n = X.shape[0]
        shape = (self.n_outputs,) if single else (n, self.n_outputs)
        if out is None:
            out = target = np.empty(shape, self.dtype)
        else:
            target = data.apart(data.out_array(out, shape, self.dtype), X, self.params)
        if n:
            self._engine.predict(X, target, n)
        if target is not out:
            out[...] = target
        return out

    def _pass(self, X, y, sample_weight):
        """What the engine takes for one pass over all of X: arrays, rows, and what the weights sum to."""
        X = data.inputs(X, self.n_inputs, self.dtype)
        n = X.shape[0]
        targets = data.targets(y, n, self.n_outputs, self.objective, self.dtype)
        if sample_weight is None:
            return X, targets, None, n, float(n)
        if self._core_loss.code == losses.GivenDelta.code:
            raise ValueError("sample_weight: expected None with a loss object of one's own, which weighs rows itself")
        return X, targets, data.sample_weights(sample_weight, n, self.dtype), n, float(n)

    def _delta_of_custom_loss(self, X, targets):
        return losses.value_and_delta(self.objective, self.predict(X), targets)

    def loss(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Mean loss over the rows of X; with weights ``sum(w l) / sum(w)``.

        Parameters
        ----------
        X : array_like, shape (n, in)
        y : array_like
            Targets, of the shape and kind that the loss takes.
        sample_weight : array_like, shape (n,), optional
            Not negative, not all zero.

        Returns
        -------
        float
        """
        X, targets, weights, _, _ = self._pass(X, y, sample_weight)
        return self._loss(X, targets, weights)

    def loss_and_grad(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, out: NDArray[Any] | None = None
    ) -> tuple[float, NDArray[Any]]:
        """The loss and its gradient by all parameters.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`loss`.
        out : ndarray, shape (n_params,), optional
            Of the net's dtype, C-contiguous; overwritten with the gradient. It may share memory with the arrays given
            or the parameters.

        Returns
        -------
        loss : float
        grad : ndarray, shape (n_params,)
            In the order of ``params``: a new array, or `out`.
        """
        arrays = type(X) is type(y) is np.ndarray and (out is None or type(out) is np.ndarray)
        if arrays and sample_weight is None and self._core_loss.takes_any_number:
            ready = np.empty(self.n_params, self.dtype) if out is None else out
            loss = self._engine.loss_and_grad_ready(X, y, ready, self._core_loss.code)
            if loss is not None:
                return loss, ready
        X, targets, weights, n, total = self._pass(X, y, sample_weight)
        shape = (self.n_params,)
        if out is None:
            out = gradient = np.empty(shape, self.dtype)
        else:
            out = data.out_array(out, shape, self.dtype)
            gradient = data.apart(out, X, targets, weights, self.params)
        value = None
        if self._core_loss.code == losses.GivenDelta.code:
            value, targets = self._delta_of_custom_loss(X, targets)
            total = 1.0
        loss = self._engine.loss_and_grad(X, targets, weights, n, total, self._core_loss.code_for(targets), gradient)
        if gradient is not out:
            out[...] = gradient
        return (loss if value is None else value), out

    def input_grad(self, X: ArrayLike, y: ArrayLike) -> NDArray[Any]:
        """dL/dX, the gradient of the mean loss by the inputs, of the shape of X.

        Parameters
        ----------
        X, y
            As in :meth:`loss`.

        Returns
        -------
        ndarray, shape (n, in)
        """
        X, targets, weights, n, total = self._pass(X, y, None)
        if self._core_loss.code == losses.GivenDelta.code:
            targets, total = self._delta_of_custom_loss(X, targets)[1], 1.0
        out = np.empty(X.shape, self.dtype)
        self._engine.input_grad(X, targets, weights, n, total, self._core_loss.code_for(targets), out)
        return out

    def hvp(
        self,
        X: ArrayLike,
        y: ArrayLike,
        v: ArrayLike,
        sample_weight: ArrayLike | None = None,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """H v: the Hessian of the mean loss by all parameters, times a vector. Exact; H itself is never formed.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`loss`.
        v : array_like, shape (n_params,)
            In the order of ``params``.
        out : ndarray, shape (n_params,), optional
            Of the net's dtype, C-contiguous; overwritten with the product. It may share memory with the arrays given
            or the parameters.

        Returns
        -------
        ndarray, shape (n_params,)
            A new array, or `out`.

        Raises
        ------
        ValueError, TypeError
            For bad arguments; for a loss object of one's own that has no ``second_derivative``; for layers other than
            :class:`Dense`.

        Notes
        -----
        The derivative along v of the forward and the backward pass (Pearlmutter, "Fast exact multiplication by the
        Hessian", 1994), at the cost of some three gradients. At kinks (relu at 0) it is that of the lines on both
        sides. The bits do not depend on threads.

        A loss object of one's own supplies ``second_derivative(outputs, targets, direction)``: the derivative of the
        delta that its ``value_and_delta`` returns, as the outputs move along `direction`; all three of shape (n, out).

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> net = fb.Network([2, 1], loss="mse", dtype="float64", seed=0)
        >>> X, y = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([0.5, 1.0])
        >>> net.hvp(X, y, [1, 0, 0])  # of a line's squared error, H is 2 X'X / n, X with a column of ones
        array([10., -1.,  4.])
        """
        from . import hessian

        return hessian.product(self, X, y, v, sample_weight, out)

    def fit(
        self,
        X: ArrayLike | Iterable[tuple[ArrayLike, ArrayLike]],
        y: ArrayLike | None = None,
        *,
        epochs: int = 10,
        batch_size: int = 32,
        optimizer: "Optimizer | None" = None,
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
        validation_split: float = 0.0,
        metrics: "Metrics | None" = None,
        sample_weight: ArrayLike | None = None,
        class_weight: "Mapping[int, float] | Literal['balanced'] | None" = None,
        shuffle: bool = True,
        callbacks: "Callable[[Network, History], Any] | Sequence[Callable[[Network, History], Any]]" = (),
        initial_epoch: int = 0,
        on_interrupt: Literal["raise", "return"] = "raise",
        verbose: Literal[0, 1] = 1,
    ) -> "History":
        """Trains from the present weights.

        Parameters
        ----------
        X : array_like, shape (n, in), or iterable of batches
            Memory maps are read a batch at a time. An iterable gives (X, y) pairs, a batch each, in its own order and
            sizes, and is gone through once an epoch; a generator does for one epoch only. What is read a batch at a
            time is checked before that batch's step: an error leaves the steps of the batches before it.
        y : array_like
            Targets; None only where X is an iterable of pairs.
        epochs : int
            How many times to go through the data; with `initial_epoch` the number of the last epoch.
        batch_size : int
            Rows of a step; the last batch of an epoch may be shorter.
        optimizer : SGD, Adam, AMSGrad, AdamW, NAdam, RMSprop, Adagrad or Rprop, optional
            Naming one starts it fresh; None continues the last one with its state (at first: ``Adam()``).
        validation_data : (X, y), optional
            Its loss is recorded after each epoch as ``val_loss``, and its `metrics` beside it.
        validation_split : float
            In [0, 1): share of the rows, the last ones, that is kept from training and serves as validation data.
        metrics : list of str or callable, optional
            Of the validation data, as in :meth:`evaluate`; recorded as ``val_`` and the name.
        sample_weight : array_like, shape (n,), optional
            Scaled to mean 1 over the data once.
        class_weight : dict or "balanced", optional
            For losses of one class a row (cross_entropy; binary_cross_entropy and hinge of one output, the latter's
            classes being -1 and 1, too): weights by class, 1 where a class is not named. They multiply
            `sample_weight`, before that is scaled. ``"balanced"`` is n / (classes met * rows of the class), without
            regard to `sample_weight`.
        shuffle : bool
            New order of rows each epoch, from the network's generator.
        callbacks : sequence of callable
            Each is called after an epoch as ``callback(net, history)``; returning True ends the training. It may call
            everything but `fit`. :class:`EarlyStopping` and :class:`Checkpoint` are such.
        initial_epoch : int
            How many epochs came before, when this goes on with a training: the epochs are numbered from there, and end
            with `epochs`. The order of rows goes on by itself, as the generator's state does.
        on_interrupt : {"raise", "return"}
            Whether Ctrl-C raises KeyboardInterrupt or ends the training and returns the history.
        verbose : {0, 1}
            1 shows progress.

        Returns
        -------
        History
            ``.history`` is a dict of lists with an entry per epoch: loss, lr, seconds, and with validation data
            val_loss and the metrics. Also ``net.history``, where an interrupted fit leaves it.

        Raises
        ------
        DivergedError
            When a loss, gradient or parameter would leave the finite range; the last finite parameters are in place.
            Also where the parameters are not finite to begin with; nothing changes then.
        ValueError, TypeError
            For bad arguments, before anything changes.
        RuntimeError
            When called within a callback of another fit of this network, or while another thread fits it.
        KeyboardInterrupt
            On Ctrl-C, between two steps.
        """
        return training.fit(
            self, X, y, epochs=epochs, batch_size=batch_size, optimizer=optimizer, validation_data=validation_data,
            validation_split=validation_split, metrics=metrics, sample_weight=sample_weight, class_weight=class_weight,
            shuffle=shuffle, callbacks=callbacks, initial_epoch=initial_epoch, on_interrupt=on_interrupt,
            verbose=verbose,
        )  # fmt: skip

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        batch_size: int = 32,
        optimizer: "Optimizer | None" = None,
        sample_weight: ArrayLike | None = None,
        class_weight: "Mapping[int, float] | None" = None,
        shuffle: bool = True,
    ) -> "Network":
        """Goes once through the data given, for data that comes in pieces; the optimiser goes on from piece to piece.

        Parameters
        ----------
        X, y, batch_size, sample_weight, class_weight, shuffle
            As in :meth:`fit`, but that a piece alone does not tell what is balanced.
        optimizer : SGD, Adam, ..., optional
            Starts fresh unless it equals the present one, so that it may be named in each call. None continues the
            present one.

        Returns
        -------
        Network
            This one. ``net.history`` is that of the pass.

        Raises
        ------
        As :meth:`fit`.

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> net = fb.Network([3, 8, 1], loss="mse", seed=0)
        >>> rng = np.random.default_rng(0)
        >>> for _ in range(200):
        ...     X = rng.standard_normal((100, 3))
        ...     _ = net.partial_fit(X, X.sum(axis=1), optimizer=fb.Adam(lr=0.01))
        >>> net.evaluate(X, X.sum(axis=1))["r2"] > 0.99
        True
        """
        if type(optimizer) is type(self.optimizer) and optimizer == self.optimizer:
            optimizer = None
        if class_weight is not None and not isinstance(class_weight, Mapping):
            raise TypeError(f"class_weight: expected a dict or None, got {checks.described(class_weight)}")
        training.fit(
            self, X, y, batch_size=batch_size, optimizer=optimizer, sample_weight=sample_weight,
            class_weight=class_weight, shuffle=shuffle,
        )  # fmt: skip
        return self

    def _set_optimizer(self, optimizer, fresh):
        """Hands the optimiser to the engine; its state starts at zero if fresh."""
        before = self.optimizer
        if fresh:  # a Ctrl-C from here on leaves none, rather than one whose state is another's
            self.__dict__["optimizer"] = None
        try:
            self._hand_over(optimizer, fresh)
        except MemoryError:
            self.__dict__["optimizer"] = before
            raise
        self.__dict__["optimizer"] = optimizer

    def _hand_over(self, optimizer, fresh):
        self._engine.set_optimizer(optimizers.for_core(optimizer), fresh)

    def evaluate(
        self,
        X: ArrayLike,
        y: ArrayLike,
        metrics: "Metrics | None" = None,
    ) -> dict[str, float]:
        """Loss and metrics on held-out data.

        Parameters
        ----------
        X, y
            As in :meth:`loss`.
        metrics : list of str or callable, optional
            Names of ``fastbp.metrics.METRICS``, or functions that return a number for (outputs, targets), outputs as
            `predict` gives them, targets of their shape or int class indices (n,). None is ``["accuracy"]`` for a loss
            of classes (cross_entropy, binary_cross_entropy, hinge), ``["r2"]`` for the others, and nothing for a loss
            object of one's own.

        Returns
        -------
        dict of str to float
            ``"loss"`` and one entry per metric.
        """
        functions = metrics_.resolve(metrics, self)
        X, targets, _, _, _ = self._pass(X, y, None)
        return self._report(X, targets, functions)

    def _report(self, X, targets, functions):
        """What `evaluate` returns, for data that has come through the door."""
        outputs = self.predict(X)
        report = {"loss": self._loss(X, targets)}
        for name, function in functions:
            report[name] = function(outputs, targets, self)
        return report

    def _loss(self, X, targets, weights=None):
        """The mean loss, for data that has come through the door."""
        if self._core_loss.code == losses.GivenDelta.code:
            return self._delta_of_custom_loss(X, targets)[0]
        n = X.shape[0]
        return self._engine.loss(X, targets, weights, n, float(n), self._core_loss.code_for(targets))

    def gradcheck(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        mode: Literal["auto", "full", "fast"] = "auto",
        eps: float | None = None,
        rtol: float | None = None,
        atol: float | None = None,
        seed: int | None = 0,
    ) -> "GradCheck":
        """Compares the gradient, by all parameters and by the inputs, with finite differences of the loss in float64.

        Parameters
        ----------
        X, y
            As in :meth:`loss`; a few rows suffice.
        mode : {"auto", "full", "fast"}
            Every entry; or products with a few random directions for each layer and the whole, at a cost that does not
            grow with the number of parameters; ``"auto"`` is full while that takes seconds.
        eps : float, optional
            Step, before it is scaled to each entry.
        rtol, atol : float, optional
            What an entry may differ by. :func:`fastbp.gradcheck.check` says how the defaults are chosen.
        seed : int, optional
            Of the directions.

        Returns
        -------
        GradCheck
            True if all entries agree. ``.ok``, ``.max_error``, ``.layers``; prints as a table that names the layer and
            the entry at fault. Entries at a kink are counted and listed, not judged. A loss object of one's own has a
            line of its own, ``.objective``: its delta beside differences of its value.

        Raises
        ------
        ValueError, TypeError
            For bad arguments, parameters that are not finite, and rows whose loss is not finite.

        Notes
        -----
        Nothing of the network changes. In full mode two forward passes for each parameter and each input: 0.4 s for
        54-128-64-7 on 8 rows.

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> net = fb.Network([2, 3, 1], activation="tanh", loss="mse", seed=0)
        >>> bool(net.gradcheck(np.array([[0.5, -1.0], [2.0, 0.3]]), np.array([0.0, 1.0])))
        True
        """
        from . import gradcheck

        return gradcheck.check(self, X, y, mode=mode, eps=eps, rtol=rtol, atol=atol, seed=seed)

    def trace(self, x: ArrayLike, y: ArrayLike) -> "Trace":
        """Every intermediate number and every partial of one sample, by name, in the order of their computation.

        Parameters
        ----------
        x : array_like, shape (in,) or (1, in)
            One sample.
        y : array_like
            Its target: a number where there is one output, a class label, or shape (out,) or (1, out).

        Returns
        -------
        Trace
            ``.text()`` prints it, ``.arrays`` holds the numbers, ``.formulas`` how each is computed, ``.to_dot()`` is a
            Graphviz graph. The network is left as it is.

        Raises
        ------
        ValueError, TypeError
            Naming ``x`` or ``y``, what came and what was expected.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Network([2, 3, 1], activation="sigmoid", loss="mse", seed=0)
        >>> trace = net.trace([0.5, -1], 1)
        >>> list(trace.arrays)[:8]
        ['x', 'W1', 'b1', 'W2', 'b2', 't', 'y1', 'z1']
        >>> trace.formulas["dL/dW1"]
        'dL/dy1 x^T'
        """
        from . import trace

        return trace.Trace(self, x, y)

    def save(self, path: "str | os.PathLike[str]", *, optimizer: bool = True) -> None:
        """Writes the network into one file, from which :func:`fastbp.load` makes it again.

        Parameters
        ----------
        path : str or os.PathLike
            As it is, no suffix added; an ``.npz`` of NumPy. What is there already is replaced in one step: after a
            crash the file is the old or the new one.
        optimizer : bool
            Whether the optimiser and its state go along, so that `fit` can continue (Adam: three times the size).

        Raises
        ------
        ValueError
            For parameters that are not finite.
        TypeError
            Naming the argument.
        OSError
            Where the file cannot be written.

        Notes
        -----
        Parameters, layers, loss, dtype, seed, threads and the generator's state are saved; the history is not. Of a
        loss object of one's own the name of its class is. An `init` that is an array or a callable has done its work
        and becomes ``"auto"``.

        Examples
        --------
        >>> import fastbp as fb
        >>> fb.Network([2, 3, 1], loss="mse", seed=0).save("net.npz")
        >>> fb.load("net.npz")
        <Network 2 - 3 relu - 1 identity, mse, float32, 13 parameters>
        """
        from . import saving

        saving.save(self, path, optimizer)

    def copy(self, dtype: DTypeLike | None = None) -> "Network":
        """An independent network with the same parameters, of another dtype if one is given: without optimiser then."""
        saved = state.of(self)
        if dtype is not None:
            saved["dtype"] = checks.dtype("dtype", dtype).name
            if saved["dtype"] != self.dtype.name:
                saved["optimizer"] = saved["optimizer_state"] = None
        twin = type(self).__new__(type(self))
        state.restore(twin, saved)
        return twin

    def __getstate__(self):
        return state.of(self)

    def __setstate__(self, saved):
        state.restore(self, saved)

    def __repr__(self):
        chain = " - ".join([str(self.n_inputs), *(f"{layer.units} {layer.activation}" for layer in self.layers)])
        loss = getattr(self.objective, "name", type(self.objective).__name__)
        return f"<Network {chain}, {loss}, {self.dtype.name}, {self.n_params} parameters>"
