"""The network: names, checks and views around the compiled engine. No arithmetic on the hot path happens here."""

import threading

import numpy as np

from . import checks, config, data, losses, optimizers, training
from .layers import ACTIVATIONS, Dense, initial_weights
from .metrics import resolve as resolve_metrics


class Network:
    """A multilayer perceptron: y = W x + b, z = h(y), layer after layer, trained by backpropagation.

    Parameters
    ----------
    layers : sequence
        The number of inputs, then an int or a :class:`Dense` for each layer. ``[784, 128, 10]`` has 784 inputs, 128 hidden
        units and 10 outputs.
    activation : str or sequence of str
        Activation of the hidden layers given as ints: one name for all, or one for each.
    output : str, optional
        Activation of the last layer. None takes what the loss asks for: identity, softmax for ``cross_entropy``,
        sigmoid for ``binary_cross_entropy``, exp for ``poisson``. These three losses are computed from the logits (y of
        the last layer), so that they cannot overflow; they allow their own activation or ``"identity"`` here, and
        `predict` gives probabilities (rates) or logits accordingly.
    loss : str or loss object
        ``"mse"``, ``"mae"``, ``"huber"``, ``"quantile"``, ``"poisson"``, ``"cross_entropy"``, ``"binary_cross_entropy"``,
        ``"hinge"``, one of the classes of these names, or an object with ``value_and_delta(outputs, targets)`` that returns
        the mean loss of a batch and its derivative by the outputs, of the outputs' shape.
    bias : bool
        Whether the layers given as ints have biases.
    init : str, array or callable
        How weights start; ``"auto"`` fits the activation. Biases start at zero.
    dtype : {"float32", "float64"}
        Of parameters and arithmetic.
    seed : int, optional
        Of the first weights and of shuffling. None takes one from the operating system.
    threads : int, optional
        Reserved for the thread pool; this release computes on the calling thread.

    Attributes
    ----------
    params : ndarray, shape (n_params,)
        Live view of all parameters, in the layout and order of torch's ``nn.Sequential``: for each layer W (out, in), then b.
    weights, biases : tuple of ndarray
        Live views of them, (out, in) and (out,); None for the bias of a layer that has none. Writing to a view changes the
        network.
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

    def __init__(
        self,
        layers,
        *,
        activation="relu",
        output=None,
        loss="cross_entropy",
        bias=True,
        init="auto",
        dtype="float32",
        seed=None,
        threads=None,
    ):
        objective = losses.resolve(loss)
        self._describe(
            data.n_inputs_of(layers),
            resolve_layers(layers, activation, output, objective, bias, init),
            objective,
            checks.dtype("dtype", dtype),
            checks.seed("seed", seed),
            checks.optional_positive_int("threads", threads),
        )
        self._rng = np.random.default_rng(self.seed)
        starts = []
        n_inputs = self.n_inputs
        for layer in self.layers:
            starts.append(initial_weights(layer, n_inputs, self._rng))
            n_inputs = layer.units
        self._build()
        for weight, start in zip(self.weights, starts, strict=True):
            weight[...] = start

    def _describe(self, n_inputs, layers, objective, dtype, seed, threads):
        self.n_inputs = n_inputs
        self.layers = layers
        self.n_outputs = layers[-1].units
        self.objective = objective
        self.dtype = dtype
        self.seed = seed
        self.threads = threads
        self.optimizer = None
        self.history = None

    def _build(self):
        """Makes the engine and the views, parameters zero."""
        core_loss = self.objective if isinstance(self.objective, losses.Loss) else losses.GivenDelta()
        sizes = [self.n_inputs, *(layer.units for layer in self.layers)]
        self._engine = config.engine_module(self.dtype).Engine(
            sizes,
            [ACTIVATIONS.index(layer.activation) for layer in self.layers],
            [layer.bias for layer in self.layers],
            core_loss.code,
            core_loss.parameter,
            core_loss.from_logits,
        )
        self._core_loss = core_loss
        self._fitting = threading.Lock()
        self.params = np.frombuffer(self._engine.parameters, dtype=self.dtype)
        weights, biases, at = [], [], 0
        for n_in, layer in zip(sizes, self.layers):  # noqa: B905 (sizes has one more: the outputs)
            weights.append(self.params[at : at + layer.units * n_in].reshape(layer.units, n_in))
            at += layer.units * n_in
            biases.append(self.params[at : at + layer.units] if layer.bias else None)
            at += layer.units if layer.bias else 0
        self.weights, self.biases = tuple(weights), tuple(biases)

    @property
    def n_params(self):
        """Number of parameters, weights and biases together."""
        return self.params.size

    def predict(self, X, out=None):
        """Outputs of the network: probabilities where the last layer is softmax or sigmoid.

        Parameters
        ----------
        X : array_like, shape (n, in) or (in,)
            Rows of inputs, or one.
        out : ndarray, shape (n, out) or (out,), optional
            Of the net's dtype, C-contiguous; overwritten and returned.

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
        X, single = data.rows(X, self.n_inputs, self.dtype)
        n = X.shape[0]
        shape = (self.n_outputs,) if single else (n, self.n_outputs)
        out = np.empty(shape, self.dtype) if out is None else data.out_array(out, shape, self.dtype)
        if n:
            self._engine.predict(X, out, n)
        return out

    def _pass(self, X, y, sample_weight):
        """What the engine takes for one pass over all of X: arrays, rows, and what the weights sum to."""
        X = data.inputs(X, self.n_inputs, self.dtype)
        n = X.shape[0]
        targets = data.targets(y, n, self.n_outputs, self.objective, self.dtype)
        if sample_weight is None:
            return X, targets, None, n, float(n)
        if self._core_loss.code == losses.GivenDelta.code:
            raise ValueError("sample_weight: a loss object with value_and_delta weighs its own rows; expected None")
        weights = data.sample_weights(sample_weight, n, self.dtype)
        return X, targets, weights, n, float(weights.sum(dtype=np.float64))

    def _delta_of_custom_loss(self, X, targets):
        return losses.value_and_delta(self.objective, self.predict(X), targets)

    def loss(self, X, y, sample_weight=None):
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
        X, targets, weights, n, total = self._pass(X, y, sample_weight)
        if self._core_loss.code == losses.GivenDelta.code:
            return self._delta_of_custom_loss(X, targets)[0]
        return self._engine.loss(X, targets, weights, n, total, self._core_loss.code_for(targets))

    def loss_and_grad(self, X, y, sample_weight=None, out=None):
        """The loss and its gradient by all parameters.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`loss`.
        out : ndarray, shape (n_params,), optional
            Of the net's dtype; overwritten with the gradient.

        Returns
        -------
        loss : float
        grad : ndarray, shape (n_params,)
            In the order of ``params``: a new array, or `out`.
        """
        X, targets, weights, n, total = self._pass(X, y, sample_weight)
        shape = (self.n_params,)
        out = np.empty(shape, self.dtype) if out is None else data.out_array(out, shape, self.dtype)
        value = None
        if self._core_loss.code == losses.GivenDelta.code:
            value, targets = self._delta_of_custom_loss(X, targets)
            total = 1.0
        loss = self._engine.loss_and_grad(X, targets, weights, n, total, self._core_loss.code_for(targets), out)
        return (loss if value is None else value), out

    def input_grad(self, X, y):
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

    def fit(
        self,
        X,
        y=None,
        *,
        epochs=10,
        batch_size=32,
        optimizer=None,
        validation_data=None,
        sample_weight=None,
        shuffle=True,
        callbacks=(),
        verbose=1,
    ):
        """Trains from the present weights.

        Parameters
        ----------
        X : array_like, shape (n, in), or iterable of batches
            An iterable gives (X, y) pairs, a batch each, and is gone through once an epoch (a list or an object with
            ``__iter__``; an exhausted generator ends the training with a ValueError).
        y : array_like
            Targets; None only where X is an iterable of pairs.
        epochs : int
            How many times to go through the data.
        batch_size : int
            Rows of a step; the last batch of an epoch may be shorter.
        optimizer : SGD, Adam or AdamW, optional
            Naming one starts it fresh; None continues the last one with its state (at first: ``Adam()``).
        validation_data : (X, y), optional
            Its loss is recorded after each epoch as ``val_loss``.
        sample_weight : array_like, shape (n,), optional
            Scaled to mean 1 over the data once.
        shuffle : bool
            New order of rows each epoch, from the network's generator.
        callbacks : sequence of callable
            Each is called after an epoch as ``callback(net, history)``; returning True ends the training.
        verbose : {0, 1}
            1 shows progress.

        Returns
        -------
        History
            ``.history`` is a dict of lists: loss, lr, seconds, and val_loss if there is validation data.

        Raises
        ------
        DivergedError
            When a loss, gradient or parameter would leave the finite range; the last finite parameters are in place.
        ValueError, TypeError
            For bad arguments, before anything changes.
        RuntimeError
            When called within a callback of another fit of this network, or while another thread fits it.
        KeyboardInterrupt
            On Ctrl-C, between two steps.
        """
        return training.fit(
            self, X, y, epochs=epochs, batch_size=batch_size, optimizer=optimizer, validation_data=validation_data,
            sample_weight=sample_weight, shuffle=shuffle, callbacks=callbacks, verbose=verbose,
        )  # fmt: skip

    def _set_optimizer(self, optimizer, fresh):
        """Hands the optimiser to the engine; its state starts at zero if fresh."""
        self._engine.set_optimizer(
            optimizers.KINDS.index(type(optimizer).__name__),
            optimizer.lr,
            optimizer.momentum if isinstance(optimizer, optimizers.SGD) else optimizer.betas[0],
            0.0 if isinstance(optimizer, optimizers.SGD) else optimizer.betas[1],
            1.0 if isinstance(optimizer, optimizers.SGD) else optimizer.eps,
            optimizer.weight_decay,
            isinstance(optimizer, optimizers.SGD) and optimizer.nesterov,
            fresh,
        )
        self.optimizer = optimizer

    def evaluate(self, X, y, metrics=("accuracy",)):
        """Loss and metrics on held-out data.

        Parameters
        ----------
        X, y
            As in :meth:`loss`.
        metrics : sequence of str or callable
            Names of ``fastbp.metrics.METRICS``, or functions of (outputs, targets).

        Returns
        -------
        dict of str to float
            ``"loss"`` and one entry per metric.
        """
        functions = resolve_metrics(metrics)
        X = data.inputs(X, self.n_inputs, self.dtype)
        targets = data.targets(y, X.shape[0], self.n_outputs, self.objective, self.dtype)
        report = {"loss": self.loss(X, y)}
        outputs = self.predict(X)
        for name, function in functions:
            report[name] = function(outputs, targets, self)
        return report

    def gradcheck(self, X, y, *, eps=None, rtol=None, atol=None):
        """Compares the gradient with central differences of the loss, entry by entry.

        Parameters
        ----------
        X, y
            As in :meth:`loss`; a few rows suffice.
        eps : float, optional
            Step, before it is scaled to each parameter.
        rtol, atol : float, optional
            What an entry may differ by.

        Returns
        -------
        GradCheck
            ``.ok``, ``.max_error``, ``.layers``; prints as a table.
        """
        from . import gradcheck

        return gradcheck.check(self, X, y, eps=eps, rtol=rtol, atol=atol)

    def trace(self, x, y):
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

    def copy(self, dtype=None):
        """An independent network with the same parameters, of another dtype if one is given; no optimiser state then."""
        twin = Network.__new__(Network)
        state = self.__getstate__()
        if dtype is not None:
            state["dtype"] = checks.dtype("dtype", dtype).name
            if state["dtype"] != self.dtype.name:
                state["optimizer_state"] = None
                state["optimizer"] = None
        twin.__setstate__(state)
        return twin

    def __getstate__(self):
        engine = self._engine
        kept = None
        if self.optimizer is not None:
            kept = (np.array(engine.first), np.array(engine.second), engine.steps)
        return {
            "n_inputs": self.n_inputs,
            "layers": self.layers,
            "objective": self.objective,
            "dtype": self.dtype.name,
            "seed": self.seed,
            "threads": self.threads,
            "params": np.array(self.params),
            "optimizer": self.optimizer,
            "optimizer_state": kept,
            "history": self.history,
            "rng": self._rng.bit_generator.state,
        }

    def __setstate__(self, state):
        self._describe(
            state["n_inputs"], state["layers"], state["objective"], np.dtype(state["dtype"]), state["seed"], state["threads"]
        )
        self._rng = np.random.default_rng()
        self._rng.bit_generator.state = state["rng"]
        self._build()
        self.params[:] = state["params"]
        self.history = state["history"]
        if state["optimizer"] is not None:
            self._set_optimizer(state["optimizer"], fresh=True)
            first, second, steps = state["optimizer_state"]
            np.asarray(self._engine.first)[:] = first
            np.asarray(self._engine.second)[:] = second
            self._engine.steps = steps

    def __repr__(self):
        chain = " - ".join([str(self.n_inputs), *(f"{layer.units} {layer.activation}" for layer in self.layers)])
        loss = getattr(self.objective, "name", type(self.objective).__name__)
        return f"<Network {chain}, {loss}, {self.dtype.name}, {self.n_params} parameters>"


def resolve_layers(layers, activation, output, objective, bias, init):
    """The tuple of Dense that the constructor's arguments describe."""
    given = list(layers)[1:]
    bias = checks.boolean("bias", bias)
    n_hidden = len(given) - 1
    if isinstance(activation, str):
        names = [activation] * n_hidden
    else:
        names = list(activation)
        if len(names) != n_hidden:
            raise ValueError(f"activation: expected one name, or {n_hidden}, one for each hidden layer, got {len(names)}")
    resolved = []
    for k, layer in enumerate(given):
        last = k == n_hidden
        if isinstance(layer, Dense):
            if last and output is not None and output != layer.activation:
                raise ValueError(
                    f"output: got {output!r}, but the last layer is a Dense with activation {layer.activation!r}; give one of them"
                )
            resolved.append(layer)
        else:
            name = (output or getattr(objective, "default_output", "identity")) if last else names[k]
            argument = "output" if last else "activation"
            checks.choice(argument, name, ACTIVATIONS)
            resolved.append(Dense(checks.positive_int(f"layers[{k + 1}]", layer), name, bias=bias, init=init))
    own = getattr(objective, "default_output", "identity")
    if getattr(objective, "from_logits", False) and resolved[-1].activation not in (own, "identity"):
        raise ValueError(
            f"output: {objective.name} is computed from logits and goes with {own!r} or 'identity', "
            f"got {resolved[-1].activation!r}"
        )
    return tuple(resolved)
