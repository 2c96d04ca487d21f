"""The network: names, checks and views around the compiled engine. No arithmetic on the hot path happens here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import chain, checks, config, cpus, data, losses, optimizers, schedules, state, training
from . import layers as layers_
from . import metrics as metrics_
from .layers import Layer

READ_ONLY = frozenset(
    "params weights biases running_means running_vars n_params n_inputs n_outputs layers objective dtype seed threads "
    "optimizer history missing_targets".split()
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
        The number of inputs, then an int or a :class:`Dense` for each layer, and between them :class:`Activation`,
        :class:`Dropout`, :class:`LayerNorm`, :class:`BatchNorm`. ``[784, 128, 10]`` has 784 inputs, 128 hidden units
        and 10 outputs. An int that is followed by an `Activation` before the next int or `Dense` is linear.
    activation : str or sequence of str
        Activation of the hidden layers given as ints: one name for all, or one for each int and `Dense` but the last.
    output : str, optional
        Activation of the last layer, an int, `Dense` or `Activation`. None takes what the loss asks for: identity,
        softmax for ``cross_entropy``, sigmoid for ``binary_cross_entropy``, exp for ``poisson``. These three losses are
        computed from the logits (y of the last layer; of an `Activation`, its input), so that they cannot overflow;
        they allow their own activation or ``"identity"`` here, and `predict` gives probabilities (rates) or logits
        accordingly.
    loss : str or loss object
        ``"mse"``, ``"mae"``, ``"huber"``, ``"quantile"``, ``"poisson"``, ``"cross_entropy"``,
        ``"binary_cross_entropy"``, ``"hinge"``, one of the classes of these names, or an object with
        ``value_and_delta(outputs, targets)`` that returns the mean loss of a batch and its derivative by the outputs,
        of the outputs' shape.
    bias : bool
        Whether the layers given as ints have biases.
    missing_targets : {"raise", "mask"}
        What NaN among float targets means: an error, or that this element has no target. It has no part in loss and
        gradient then, and the mean is that over the elements with a target (docs/losses-and-metrics.md). Not for
        ``cross_entropy`` and loss objects of one's own.
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
        then b; for each norm gamma, then beta.
    weights, biases : tuple of ndarray
        Live views of them for each of `layers`, (out, in) and (out,); gamma and beta (out,) of a norm; None for what a
        layer has not. Writing to a view changes the network.
    running_means, running_vars : tuple of ndarray
        Live views of the statistics (out,) that each :class:`BatchNorm` keeps for evaluation; None for other layers.
    layers : tuple of Dense, Activation, Dropout, LayerNorm and BatchNorm
        Ints as `Dense`, activations resolved.

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
    weights: tuple[NDArray[Any] | Any, ...]  # None for layers without
    biases: tuple[NDArray[Any] | None, ...]
    running_means: tuple[NDArray[Any] | None, ...]
    running_vars: tuple[NDArray[Any] | None, ...]
    layers: tuple[Layer, ...]
    n_inputs: int
    n_outputs: int
    dtype: np.dtype[Any]
    seed: int | None
    threads: int | None
    objective: Any
    missing_targets: Literal["raise", "mask"]
    optimizer: "Optimizer | None"
    history: "History | None"
    _engine: "Engine"

    def __init__(
        self,
        layers: Sequence[int | Layer],
        *,
        activation: str | Sequence[str] = "relu",
        output: str | None = None,
        loss: "str | Loss | Any" = "cross_entropy",
        bias: bool = True,
        init: Any = "auto",
        dtype: DTypeLike = "float32",
        seed: int | None = None,
        threads: int | None = None,
        missing_targets: Literal["raise", "mask"] = "raise",
    ) -> None:
        objective = losses.resolve(loss)
        dtype = checks.dtype("dtype", dtype)
        losses.check_range(objective, dtype)
        losses.check_missing(objective, missing_targets)
        self._describe(
            chain.input_count(layers),
            chain.resolve(layers, activation, output, objective, bias, init),
            objective,
            dtype,
            checks.seed("seed", seed),
            checks.threads("threads", threads),
            missing_targets,
        )
        self._rng = np.random.default_rng(self.seed)
        starts = list(chain.starts(self.n_inputs, self.layers, self._rng))
        self._build()
        for variances in self.running_vars:
            if variances is not None:
                variances[:] = 1
        if any(isinstance(layer, layers_.Dropout) for layer in self.layers):
            self._engine.set_masks(int(self._rng.integers(1 << 63)), 0)
        for weight, start in zip(self.weights, starts, strict=True):
            if weight is None:
                continue
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

    def _describe(self, n_inputs, layers, objective, dtype, seed, threads, missing_targets="raise"):
        self.__dict__.update(
            n_inputs=n_inputs, layers=layers, n_outputs=chain.widths(n_inputs, layers)[-1], objective=objective,
            dtype=dtype, seed=seed, threads=threads, optimizer=None, history=None, missing_targets=missing_targets,
        )  # fmt: skip

    def _build(self):
        """Makes the engine and the views, parameters zero."""
        core_loss = self.objective if isinstance(self.objective, losses.Loss) else losses.GivenDelta()
        sizes = chain.widths(self.n_inputs, self.layers)
        self._engine = config.engine_module(self.dtype).Engine(
            sizes,
            [layers_.ACTIVATIONS.index(layer.activation) for layer in self.layers],
            [shapes[1] is not None for shapes in (layer.shapes(1) for layer in self.layers)],
            core_loss.code,
            core_loss.parameter,
            core_loss.from_logits,
            [layers_.KINDS.index(type(layer)) for layer in self.layers],
            [(layer.setting, layer.momentum) for layer in self.layers],
        )
        self._engine.set_threads(cpus.default_threads() if self.threads is None else self.threads)
        if self.missing_targets == "mask":
            self._engine.mask_missing_targets()
        self._core_loss = core_loss
        params = np.asarray(self._engine.parameters)
        pairs = [layer.shapes(n) for n, layer in zip(sizes, self.layers)]  # noqa: B905 (one more: the outputs)
        views = state.views(params, [shape for pair in pairs for shape in pair])
        running = np.asarray(self._engine.running)
        kept = [(n,) if isinstance(layer, layers_.BatchNorm) else None for n, layer in zip(sizes, self.layers)]  # noqa: B905
        statistics = state.views(running, [shape for shape in kept for _ in range(2)])
        self.__dict__.update(
            params=params, weights=views[::2], biases=views[1::2], running_means=statistics[::2],
            running_vars=statistics[1::2],
        )  # fmt: skip

    @property
    def n_params(self) -> int:
        """Number of parameters, weights and biases together, gamma and beta of norms among them."""
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

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> net = fb.Network([2, 3], init=np.zeros((3, 2)), dtype="float64")
        >>> net.biases[0][:] = np.log([1, 2, 5])
        >>> net.predict([0.5, -1]).round(3)
        array([0.125, 0.25 , 0.625])
        >>> net.predict(np.zeros((100, 2))).shape
        (100, 3)
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

    def _pass(self, X, y, sample_weight, training=False):
        """What the engine takes for one pass over all of X: arrays, rows, and what the weights sum to."""
        X = data.inputs(X, self.n_inputs, self.dtype)
        n = X.shape[0]
        if training:
            chain.refuse_one_row(self.layers, n, "X")
        targets = data.targets(y, n, self.n_outputs, self.objective, self.dtype, missing=self.missing_targets)
        if sample_weight is None:
            return X, targets, None, n, self._total_weight(targets, None)
        if self._core_loss.code == losses.GivenDelta.code:
            raise ValueError("sample_weight: expected None with a loss object of one's own, which weighs rows itself")
        weights = data.sample_weights(sample_weight, n, self.dtype)
        return X, targets, weights, n, self._total_weight(targets, weights)

    def _total_weight(self, targets, weights):
        """By what a sum of row losses is divided, for weights of mean 1; where no target is there, the sum is 0."""
        if self.missing_targets == "mask":
            return data.present_rows(targets, weights) or 1.0
        return float(len(targets))

    def _delta_of_custom_loss(self, X, targets, training=False):
        outputs = np.empty((len(X), self.n_outputs), self.dtype)
        self._engine.predict(X, outputs, len(X), training)
        return losses.value_and_delta(self.objective, outputs, targets)

    def loss(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *, training: bool = False
    ) -> float:
        """Mean loss over the rows of X; with weights ``sum(w l) / sum(w)``.

        Parameters
        ----------
        X : array_like, shape (n, in)
        y : array_like
            Targets, of the shape and kind that the loss takes.
        sample_weight : array_like, shape (n,), optional
            Not negative, not all zero.
        training : bool
            Whether as in a step of `fit`: dropout drops what it will drop in the next one, batch norms take the mean
            and variance of all rows of X. Nothing of the network changes.

        Returns
        -------
        float

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Network([1, 1], loss="mse", init=[[1.0]])
        >>> net.loss([[1], [2]], [1, 4]), net.loss([[1], [2]], [1, 4], sample_weight=[3, 1])
        (2.0, 1.0)
        """
        training = checks.boolean("training", training)
        X, targets, weights, _, _ = self._pass(X, y, sample_weight, training)
        return self._loss(X, targets, weights, training)

    def loss_and_grad(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        out: NDArray[Any] | None = None,
        *,
        training: bool = False,
    ) -> tuple[float, NDArray[Any]]:
        """The loss and its gradient by all parameters.

        Parameters
        ----------
        X, y, sample_weight, training
            As in :meth:`loss`.
        out : ndarray, shape (n_params,), optional
            Of the net's dtype, C-contiguous; overwritten with the gradient. It may share memory with the arrays given
            or the parameters.

        Returns
        -------
        loss : float
        grad : ndarray, shape (n_params,)
            In the order of ``params``: a new array, or `out`.

        Raises
        ------
        ValueError, TypeError
            As :meth:`loss`; for an unfit `out`.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Network([1, 1], loss="mse", init=[[1.0]])
        >>> net.loss_and_grad([[1], [2]], [1, 4])
        (2.0, array([-4., -2.], dtype=float32))
        """
        arrays = type(X) is type(y) is np.ndarray and (out is None or type(out) is np.ndarray)
        if arrays and sample_weight is None and training is False and self._core_loss.takes_any_number:
            ready = np.empty(self.n_params, self.dtype) if out is None else out
            loss = self._engine.loss_and_grad_ready(X, y, ready, self._core_loss.code)
            if loss is not None:
                return loss, ready
        training = checks.boolean("training", training)
        X, targets, weights, n, total = self._pass(X, y, sample_weight, training)
        shape = (self.n_params,)
        if out is None:
            out = gradient = np.empty(shape, self.dtype)
        else:
            out = data.out_array(out, shape, self.dtype)
            gradient = data.apart(out, X, targets, weights, self.params)
        value = None
        if self._core_loss.code == losses.GivenDelta.code:
            value, targets = self._delta_of_custom_loss(X, targets, training)
            total = 1.0
        code = self._core_loss.code_for(targets)
        loss = self._engine.loss_and_grad(X, targets, weights, n, total, code, gradient, training=training)
        if gradient is not out:
            out[...] = gradient
        return (loss if value is None else value), out

    def input_grad(self, X: ArrayLike, y: ArrayLike, *, training: bool = False) -> NDArray[Any]:
        """dL/dX, the gradient of the mean loss by the inputs, of the shape of X.

        Parameters
        ----------
        X, y, training
            As in :meth:`loss`.

        Returns
        -------
        ndarray, shape (n, in)

        Raises
        ------
        ValueError, TypeError
            As :meth:`loss`.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Network([1, 1], loss="mse", init=[[1.0]])
        >>> net.input_grad([[1], [2]], [1, 4]).tolist()
        [[0.0], [-2.0]]
        """
        training = checks.boolean("training", training)
        X, targets, weights, n, total = self._pass(X, y, None, training)
        if self._core_loss.code == losses.GivenDelta.code:
            targets, total = self._delta_of_custom_loss(X, targets, training)[1], 1.0
        out = np.empty(X.shape, self.dtype)
        code = self._core_loss.code_for(targets)
        self._engine.input_grad(X, targets, weights, n, total, code, out, training=training)
        return out

    def jacobian(self, X: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """dz/dx: the derivatives of the outputs, as `predict` gives them, by the inputs.

        Parameters
        ----------
        X : array_like, shape (n, in) or (in,)
            Rows of inputs, or one.
        out : ndarray, shape (n, out, in) or (out, in), optional
            Of the net's dtype, C-contiguous; overwritten and returned.

        Returns
        -------
        ndarray, shape (n, out, in), or (out, in) for one row

        Raises
        ------
        ValueError, TypeError
            As `predict`.

        Notes
        -----
        In evaluation mode, as `predict` is: :class:`Dropout` passes everything, :class:`BatchNorm` goes by its running
        statistics. From the outputs back or from the inputs on, whichever takes fewer multiplications: at most about
        min(in, out) passes. At kinks the derivative is the one that the gradient takes (relu at 0: 0).

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> net = fb.Network([2, 1], loss="mse", bias=False, dtype="float64")
        >>> net.weights[0][:] = [[3, 4]]
        >>> net.jacobian([1, 2])
        array([[3., 4.]])
        >>> net.jacobian(np.zeros((5, 2))).shape
        (5, 1, 2)
        """
        from . import derivatives

        return derivatives.jacobian(self, X, out)

    def param_jacobian(self, X: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """dz/dp: the derivatives of the outputs, as `predict` gives them, by all parameters.

        Parameters
        ----------
        X : array_like, shape (n, in) or (in,)
            Rows of inputs, or one.
        out : ndarray, shape (n, out, n_params) or (out, n_params), optional
            Of the net's dtype, C-contiguous; overwritten and returned.

        Returns
        -------
        ndarray, shape (n, out, n_params), or (out, n_params) for one row
            Parameters in the order of ``params``.

        Raises
        ------
        ValueError, TypeError
            As :meth:`jacobian`, which see for the evaluation mode too.

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> net = fb.Network([2, 1], loss="mse", dtype="float64", seed=0)
        >>> net.param_jacobian([5, 7])
        array([[5., 7., 1.]])
        """
        from . import derivatives

        return derivatives.param_jacobian(self, X, out)

    def per_sample_grads(self, X: ArrayLike, y: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The gradient of each row's own loss by all parameters.

        Parameters
        ----------
        X : array_like, shape (n, in) or (in,)
            Rows of inputs, or one.
        y : array_like
            Targets, of the shape and kind that the loss takes; for one row that row's.
        out : ndarray, shape (n, n_params) or (n_params,), optional
            Of the net's dtype, C-contiguous; overwritten and returned.

        Returns
        -------
        ndarray, shape (n, n_params), or (n_params,) for one row
            Row i is the gradient of ``net.loss(X[i:i+1], y[i:i+1])``, so that the mean of all rows is the gradient that
            :meth:`loss_and_grad` gives; with ``missing_targets="mask"`` a mean in which each row counts by its targets.
            A loss object of one's own is called row by row; if its loss is no mean over rows, that is all that holds.

        Raises
        ------
        ValueError, TypeError
            As :meth:`loss_and_grad`.

        Notes
        -----
        In evaluation mode, as :meth:`loss` is.

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> net = fb.Network([2, 3, 1], loss="mse", dtype="float64", seed=0)
        >>> X, y = np.array([[0.5, -1.0], [2.0, 0.3], [1.0, 1.0]]), np.array([0.0, 1.0, 2.0])
        >>> grads = net.per_sample_grads(X, y)
        >>> grads.shape
        (3, 13)
        >>> bool(np.allclose(grads.mean(axis=0), net.loss_and_grad(X, y)[1]))
        True
        """
        from . import derivatives

        return derivatives.per_sample_grads(self, X, y, out)

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
            For bad arguments; for a loss object of one's own that has no ``second_derivative``.

        Notes
        -----
        The derivative along v of the forward and the backward pass (Pearlmutter, "Fast exact multiplication by the
        Hessian", 1994), at the cost of some three gradients, in evaluation mode: a dropout drops nothing, the running
        statistics of a batch norm are constants. Missing targets have no part in it. At kinks (relu at 0) it is that of
        the lines on both sides. The bits do not depend on threads.

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
        X: ArrayLike | Iterable[tuple[ArrayLike, ...]],
        y: ArrayLike | None = None,
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
        callbacks: "Callable[[Network, History], Any] | Sequence[Callable[[Network, History], Any]]" = (),
        initial_epoch: int = 0,
        on_interrupt: Literal["raise", "return"] = "raise",
        verbose: Literal["auto", 0, 1] = "auto",
    ) -> "History":
        """Trains from the present weights.

        Parameters
        ----------
        X : array_like, shape (n, in), or iterable of batches
            Memory maps are read a window of 32 MB at a time, and shuffled in blocks of rows and within windows; `y` and
            `sample_weight` may be such too. An iterable gives (X, y) pairs, or (X, y, sample_weight), a batch each,
            in its own order and sizes, and is gone through once an epoch; a generator does for one epoch only. Its
            weights are taken as they are, a batch's loss being ``sum(w l) / rows``. A window, and a batch of an
            iterable, is checked before its first step: an error leaves the steps of those before.
        y : array_like
            Targets; None only where X is an iterable of batches.
        epochs : int
            How many times to go through the data; with `initial_epoch` the number of the last epoch.
        batch_size : int, optional
            Rows of a step; the last batch of an epoch may be shorter. None is 32, or all rows with an optimiser that
            works on all of them (Rprop, LevenbergMarquardt, LBFGS), for which a smaller number is an error.
        optimizer : SGD, Adam, AMSGrad, AdamW, NAdam, RMSprop, Adagrad, Rprop, LevenbergMarquardt or LBFGS, optional
            Naming one starts it fresh; None continues the last one with its state (at first: ``Adam()``).
        validation_data : (X, y) or (X, y, sample_weight), optional
            Its loss is recorded after each epoch as ``val_loss``, and its `metrics` beside it: what :meth:`evaluate`
            says of it.
        validation_split : float
            In [0, 1): share of the rows, the last ones, that is kept from training and serves as validation data, with
            its `sample_weight` and without `class_weight`.
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
        verbose : {"auto", 0, 1}
            Whether progress is shown: ``"auto"`` on a terminal only, 1 always (elsewhere as one line at the end). See
            :class:`Progress`.

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

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> X = np.random.default_rng(0).standard_normal((200, 2))
        >>> y = (X[:, 0] > X[:, 1]).astype(int)
        >>> net = fb.Network([2, 8, 2], seed=0)
        >>> history = net.fit(X, y, epochs=30, optimizer=fb.Adam(lr=0.01), validation_split=0.2)
        >>> list(history.history), history.history["val_accuracy"][-1] > 0.9
        (['loss', 'lr', 'seconds', 'val_loss', 'val_accuracy'], True)
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
        batch_size: int | None = None,
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
            present one. To a schedule in the place of `lr` each piece is an epoch, counted from the optimiser's
            beginning; one that wants to know the end of the training, or a history, is an error.

        Returns
        -------
        Network
            This one. ``net.history`` is that of the pass, whose number goes on from call to call.

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
        schedules.check_in_pieces(getattr(optimizer or self.optimizer, "lr", 0.0))
        if class_weight is not None and not isinstance(class_weight, Mapping):
            raise TypeError(f"class_weight: expected a dict or None, got {checks.described(class_weight)}")
        done = self.history.epochs.stop - 1 if optimizer is None and self.history is not None else 0
        training.fit(
            self, X, y, epochs=done + 1, initial_epoch=done, batch_size=batch_size, optimizer=optimizer,
            sample_weight=sample_weight, class_weight=class_weight, shuffle=shuffle, endless=True,
        )  # fmt: skip
        return self

    def _set_optimizer(self, optimizer):
        """Hands a new optimiser to the engine; its state starts at zero."""
        before = self.optimizer
        self.__dict__["optimizer"] = None  # where a Ctrl-C comes now, rather than one whose state is another's
        try:
            self._engine.set_optimizer(optimizers.for_core(schedules.with_number(optimizer)))
        except MemoryError:
            self.__dict__["optimizer"] = before
            raise
        self.__dict__["optimizer"] = optimizer

    def evaluate(
        self,
        X: ArrayLike,
        y: ArrayLike,
        metrics: "Metrics | None" = None,
        sample_weight: ArrayLike | None = None,
    ) -> dict[str, float]:
        """Loss and metrics on held-out data.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`loss`. Metrics weigh rows by `sample_weight` too.
        metrics : list of str or callable, optional
            Names: ``"mse"``, ``"rmse"``, ``"mae"``, ``"r2"``; for losses of classes ``"accuracy"``,
            ``"balanced_accuracy"``, ``"top_5_accuracy"`` (any number), ``"precision"``, ``"recall"``, ``"f1"``,
            ``"auc"``, ``"log_loss"``; ``"sklearn:"`` and the name of a scorer of scikit-learn's. Or functions that
            return a number for (outputs, targets), outputs as `predict` gives them, targets of their shape or int class
            indices (n,); one with a parameter `sample_weight` is given the weights, scaled to mean 1, by that name, any
            other knows nothing of them. docs/losses-and-metrics.md defines them. None is ``["accuracy"]`` for a loss of
            classes (cross_entropy, binary_cross_entropy, hinge), ``["r2"]`` for the others, and nothing for a loss
            object of one's own.

        Returns
        -------
        dict of str to float
            ``"loss"`` and one entry per metric.

        Raises
        ------
        ValueError, TypeError
            As :meth:`loss`; for metrics that are unknown or make no sense for the loss.
        ImportError
            For a scorer of scikit-learn's where that is not installed.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Network([1, 1], loss="mse", init=[[1.0]])
        >>> net.evaluate([[1], [2]], [1, 4], metrics="mae", sample_weight=[3, 1])
        {'loss': 1.0, 'mae': 0.5}
        """
        functions = metrics_.resolve(metrics, self, sample_weight is not None)
        X, targets, weights, _, _ = self._pass(X, y, sample_weight)
        if weights is not None:
            weights = data.sample_weights(sample_weight, len(X), np.dtype(np.float64))
        return self._report(X, targets, functions, weights)

    def _report(self, X, targets, functions, weights=None):
        """What `evaluate` returns, for data that has come through the door; weights in float64, of mean 1."""
        outputs = self.predict(X)
        of_rows = None if weights is None else weights.astype(self.dtype, copy=False)
        report = {"loss": self._loss(X, targets, of_rows)}
        for name, function in functions:
            report[name] = function(outputs, targets, self, weights)
        return report

    def _loss(self, X, targets, weights=None, training=False):
        """The mean loss, for data that has come through the door."""
        if self._core_loss.code == losses.GivenDelta.code:
            return self._delta_of_custom_loss(X, targets, training)[0]
        total = self._total_weight(targets, weights)
        code = self._core_loss.code_for(targets)
        return self._engine.loss(X, targets, weights, X.shape[0], total, code, training)

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
        training: bool = False,
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
        training : bool
            Whether to check what the next step of `fit` sees, as in :meth:`loss`, with the same masks throughout.

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

        return gradcheck.check(self, X, y, mode=mode, eps=eps, rtol=rtol, atol=atol, seed=seed, training=training)

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
        and becomes ``"auto"``. While another thread fits the network, a file, a copy or a pickle is of a
        moment between two steps.

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
        """An independent network with the same parameters, of another dtype if one is given: without optimiser then.

        Raises
        ------
        ValueError
            For a dtype that is none of the two, or in whose range the numbers of the network are not.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Network([2, 3, 1], loss="mse", seed=0)
        >>> twin = net.copy("float64")
        >>> twin.params[:] = 0
        >>> twin.dtype.name, bool(net.params.any())
        ('float64', True)
        """
        saved = state.of(self)
        if dtype is not None:
            dtype = checks.dtype("dtype", dtype)
            if dtype != self.dtype:
                losses.check_range(self.objective, dtype)
                saved = state.of_dtype(saved, dtype)
        twin = type(self).__new__(type(self))
        state.restore(twin, saved)
        return twin

    def __getstate__(self):
        return state.picklable(state.of(self))

    def __setstate__(self, saved):
        state.restore(self, saved)

    def __repr__(self):
        layers = " - ".join(map(str, (self.n_inputs, *self.layers)))
        loss = getattr(self.objective, "name", type(self.objective).__name__)
        return f"<Network {layers}, {loss}, {self.dtype.name}, {self.n_params} parameters>"
