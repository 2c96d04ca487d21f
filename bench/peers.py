"""What fastbp is timed against: the same training step in NumPy, torch and JAX.

Each is written as someone at home in that library would write it for speed on one core: buffers preallocated, updates
in place, batches cut before the clock starts, and no loss value where the library can do without (fastbp's `fit`
computes it). Where two good forms compete, both are `variants`, and the faster one on the case at hand is timed.

A peer starts from the given parameters at `reset()`, then `run(steps)` walks over the batches in order, again and
again. `unit` is the number of steps it does best in one call. Imports are lazy: a library that is missing is skipped.
"""

import numpy as np

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
MOMENTUM = 0.9


class Peer:
    variants = (None,)
    unit = 1

    def __init__(self, case, X, t, start, variant):
        self.case, self.X, self.t, self.start, self.variant = case, X, t, start, variant
        self.at = 0

    def cut(self, convert):
        """The batches as pairs (x, t)."""
        rows = range(0, len(self.X), self.case.batch)
        return [(convert(self.X[r : r + self.case.batch]), convert(self.t[r : r + self.case.batch])) for r in rows]

    def run(self, steps):
        batches = self.batches
        for k in range(self.at, self.at + steps):
            self.step(*batches[k % len(batches)])
        self.at += steps


class FastBP(Peer):
    name = "fastbp"

    @staticmethod
    def version():
        import fastbp

        return fastbp.__version__

    def __init__(self, *args):
        super().__init__(*args)
        import fastbp as fb

        case = self.case
        self.unit = case.batches
        self.net = fb.Network(
            list(case.sizes), activation=case.activation, loss=case.loss, dtype=case.dtype, seed=0, threads=1
        )
        self.optimizer = {
            "sgd": fb.SGD(case.lr),
            "momentum": fb.SGD(case.lr, momentum=MOMENTUM),
            "adam": fb.Adam(case.lr),
        }[case.optimizer]

    def reset(self):
        self.net.params[:] = flatten(self.start)
        self.next_optimizer = self.optimizer

    def run(self, steps):
        epochs, rest = divmod(steps, self.case.batches)
        if epochs:
            self.fit(self.X, self.t, epochs)
        if rest:
            rows = rest * self.case.batch
            self.fit(self.X[:rows], self.t[:rows], 1)

    def fit(self, X, t, epochs):
        self.net.fit(
            X,
            t,
            epochs=epochs,
            batch_size=self.case.batch,
            optimizer=self.next_optimizer,
            shuffle=False,
            verbose=0,
        )
        self.next_optimizer = None  # goes on with the last one's state

    def parameters(self):
        return self.net.params.copy()

    def phases(self):
        """Ticks of each phase of the steps of one epoch."""
        from fastbp.data import targets

        net, rows = self.net, len(self.X)
        t = targets(self.t, rows, net.n_outputs, net.objective, net.dtype)
        code = net._core_loss.code_for(t)
        return net._engine.profile(self.X, t, None, None, rows, self.case.batch, code)[1]


class NumPy(Peer):
    """Every product into a buffer of its own, the derivative in place, Adam in chunks that stay in cache."""

    name = "NumPy"
    CHUNK = 2**15

    @staticmethod
    def version():
        return np.__version__

    def __init__(self, *args):
        super().__init__(*args)
        case = self.case
        B, dtype = case.batch, case.dtype
        self.p = flatten(self.start)
        self.g, self.m, self.v, self.tmp = (np.empty_like(self.p) for _ in range(4))
        self.W, self.b = self.views(self.p)
        self.WT = [W.T for W in self.W]
        self.dW, self.db = self.views(self.g)
        self.z = [np.empty((B, o), dtype) for o in case.sizes[1:]]
        self.d = [np.empty((B, o), dtype) for o in case.sizes[1:]]
        self.dT = [d.T for d in self.d]
        self.masks = [np.empty((B, o), bool) for o in case.sizes[1:]]
        self.by_class = np.empty((case.sizes[-1], B), dtype)
        self.ones, self.rows = np.ones(B, dtype), np.arange(B)
        outputs = 1 if case.loss == "cross_entropy" else case.sizes[-1]
        self.scale = (2 if case.loss == "mse" else 1) / (B * outputs)
        if case.optimizer != "adam":  # g arrives multiplied by the learning rate
            self.scale *= case.lr
        self.batches = self.cut(lambda a: a)

    def views(self, flat):
        parts, at = [], 0
        for p in self.start:
            parts.append(flat[at : at + p.size].reshape(p.shape))
            at += p.size
        return parts[0::2], parts[1::2]

    def reset(self):
        self.p[:] = flatten(self.start)
        self.m[:] = 0
        self.v[:] = 0
        self.t_adam = self.at = 0

    def step(self, x, t):
        W, WT, b, z, d, dT = self.W, self.WT, self.b, self.z, self.d, self.dT
        last = len(W) - 1
        inputs = [x, *z]
        for k in range(last + 1):
            y = z[k]
            inputs[k].dot(WT[k], y)
            np.add(y, b[k], y)
            if k < last:
                self.activate(y)
        self.delta(z[last], t, d[last])
        for k in range(last, -1, -1):
            dT[k].dot(inputs[k], self.dW[k])
            self.ones.dot(d[k], self.db[k])
            if k:
                d[k].dot(W[k], d[k - 1])
                self.derivative(z[k - 1], d[k - 1], self.masks[k - 1])
        self.update()

    def activate(self, y):
        if self.case.activation == "relu":
            np.maximum(y, 0, y)
        elif self.case.activation == "tanh":
            np.tanh(y, y)
        else:
            sigmoid(y)

    def derivative(self, z, d, mask):
        """d *= h'(y), from z = h(y), which is not needed again."""
        if self.case.activation == "relu":
            np.greater(z, 0, mask)
            np.multiply(d, mask, d)
        elif self.case.activation == "tanh":
            np.multiply(z, z, z)
            np.subtract(1, z, z)
            np.multiply(d, z, d)
        else:
            np.multiply(d, z, d)
            np.subtract(1, z, z)
            np.multiply(d, z, d)

    def delta(self, y, t, d):
        if self.case.loss == "cross_entropy":
            q = self.by_class  # reductions along the long axis are vectorised, those along the short one are not
            q[:] = y.T
            np.subtract(q, q.max(axis=0), q)
            np.exp(q, q)
            np.divide(q, q.sum(axis=0), q)
            q[t, self.rows] -= 1
            np.multiply(q.T, self.scale, d)
            return
        if self.case.loss == "binary_cross_entropy":
            sigmoid(y)
        np.subtract(y, t, d)
        np.multiply(d, self.scale, d)

    def update(self):
        p, g, m, v, tmp = self.p, self.g, self.m, self.v, self.tmp
        if self.case.optimizer == "sgd":
            np.subtract(p, g, p)
            return
        if self.case.optimizer == "momentum":
            np.multiply(m, MOMENTUM, m)
            np.add(m, g, m)
            np.subtract(p, m, p)
            return
        # m and v are kept without the factors (1 - beta): two passes fewer
        self.t_adam += 1
        root = np.sqrt((1 - BETA2) / (1 - BETA2**self.t_adam))
        rate = float(self.case.lr * (1 - BETA1) / (1 - BETA1**self.t_adam) / root)
        eps = float(EPS / root)
        for at in range(0, len(p), self.CHUNK):
            part = slice(at, at + self.CHUNK)
            self.adam(p[part], g[part], m[part], v[part], tmp[part], rate, eps)

    @staticmethod
    def adam(p, g, m, v, tmp, rate, eps):
        np.multiply(m, BETA1, m)
        np.add(m, g, m)
        np.multiply(v, BETA2, v)
        np.multiply(g, g, g)
        np.add(v, g, v)
        np.sqrt(v, tmp)
        np.add(tmp, eps, tmp)
        np.divide(m, tmp, tmp)
        np.multiply(tmp, rate, tmp)
        np.subtract(p, tmp, p)

    def parameters(self):
        return self.p.copy()


def sigmoid(y):
    np.negative(y, y)
    np.exp(y, y)
    np.add(y, 1, y)
    np.reciprocal(y, y)


class Torch(Peer):
    """nn.Sequential; fused or foreach update, whichever is faster here."""

    name = "torch"
    variants = ("fused", "foreach")

    @staticmethod
    def version():
        import torch

        return torch.__version__

    def __init__(self, *args):
        super().__init__(*args)
        import torch

        torch.set_num_threads(1)
        self.torch = torch
        self.loss = torch_loss(torch, self.case.loss)
        self.batches = self.cut(torch.from_numpy)
        activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid}[self.case.activation]
        modules = []
        for i, o in zip(self.case.sizes[:-1], self.case.sizes[1:], strict=True):
            modules += [torch.nn.Linear(i, o), activation()]
        self.model = torch.nn.Sequential(*modules[:-1]).to(getattr(torch, self.case.dtype))

    def reset(self):
        torch, case = self.torch, self.case
        with torch.no_grad():
            for p, start in zip(self.model.parameters(), self.start, strict=True):
                p.copy_(torch.from_numpy(start))
        flag = {self.variant: True}
        if case.optimizer == "adam":
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=case.lr, **flag)
        else:
            momentum = MOMENTUM if case.optimizer == "momentum" else 0
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=case.lr, momentum=momentum, **flag)
        self.at = 0

    def step(self, x, t):
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(self.model(x), t).backward()
        self.optimizer.step()

    def parameters(self):
        return flatten([p.detach().numpy() for p in self.model.parameters()])


class TorchCompile(Peer):
    """The whole step, gradient and update, as one compiled graph without autograd's run time."""

    name = "torch.compile"
    variants = ("python wrapper", "cpp wrapper")
    version = Torch.version

    def __init__(self, *args):
        super().__init__(*args)
        import torch

        torch.set_num_threads(1)
        torch.compiler.reset()  # no graphs of earlier cases, and no limit on their number
        self.torch = torch
        self.batches = self.cut(torch.from_numpy)
        self.p, self.m, self.v = ([torch.empty(p.shape, dtype=getattr(torch, self.case.dtype)) for p in self.start]
                                  for _ in range(3))  # fmt: skip
        self.t_adam = torch.zeros((), dtype=torch.float64)
        options = {"cpp_wrapper": self.variant == "cpp wrapper"}
        whole = torch.compile(self.make_step(), fullgraph=True, dynamic=False, options=options)
        self.step = lambda x, t: whole(self.p, self.m, self.v, self.t_adam, x, t)

    def make_step(self):
        torch, case = self.torch, self.case
        activation = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}[case.activation]
        loss = torch_loss(torch, case.loss)

        def objective(p, x, t):
            for k in range(0, len(p), 2):
                x = torch.nn.functional.linear(x, p[k], p[k + 1])
                if k < len(p) - 2:
                    x = activation(x)
            return loss(x, t)

        def step(p, m, v, t_adam, x, t):
            grads = torch.func.grad(objective)(p, x, t)
            if case.optimizer == "adam":
                t_adam += 1
                rate = (case.lr / (1 - BETA1**t_adam)).to(x.dtype)
                root = torch.sqrt(1 - BETA2**t_adam).to(x.dtype)
            for w, mw, vw, g in zip(p, m, v, grads, strict=True):
                if case.optimizer == "adam":
                    mw.mul_(BETA1).add_(g, alpha=1 - BETA1)
                    vw.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
                    w.sub_(rate * mw / (vw.sqrt() / root + EPS))
                elif case.optimizer == "momentum":
                    w.sub_(mw.mul_(MOMENTUM).add_(g), alpha=case.lr)
                else:
                    w.sub_(g, alpha=case.lr)

        return step

    def reset(self):
        for p, m, v, start in zip(self.p, self.m, self.v, self.start, strict=True):
            p.copy_(self.torch.from_numpy(start))
            m.zero_()
            v.zero_()
        self.t_adam.zero_()
        self.at = 0

    def run(self, steps):
        with self.torch.no_grad():
            super().run(steps)

    def parameters(self):
        return flatten([p.numpy() for p in self.p])


def torch_loss(torch, name):
    F = torch.nn.functional
    return {
        "mse": F.mse_loss,
        "cross_entropy": F.cross_entropy,
        "binary_cross_entropy": F.binary_cross_entropy_with_logits,
    }[name]


class Jax(Peer):
    """One jit a step, its state donated: a list of arrays, or one flat vector; W as (O, I) or (I, O)."""

    name = "JAX jit"
    variants = ("list", "flat", "list, W transposed", "flat, W transposed")

    @staticmethod
    def version():
        import jax

        return jax.__version__

    def __init__(self, *args):
        super().__init__(*args)
        import jax

        jax.config.update("jax_enable_x64", self.case.dtype == "float64")
        self.jax = jax
        self.flat = self.variant.startswith("flat")
        self.transposed = self.variant.endswith("transposed")
        self.shapes = [p.T.shape if self.transposed else p.shape for p in self.start]
        self.compile(self.make_step())

    def compile(self, step):
        self.jit_step = self.jax.jit(step, donate_argnums=0)
        self.batches = self.cut(self.jax.numpy.asarray)

    def unflatten(self, flat):
        parts, at = [], 0
        for shape in self.shapes:
            size = int(np.prod(shape))
            parts.append(flat[at : at + size].reshape(shape))
            at += size
        return parts

    def make_step(self):
        jax, jnp, case = self.jax, self.jax.numpy, self.case
        activation = {"relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}[case.activation]

        def objective(p, x, t):
            for k in range(0, len(p), 2):
                x = x @ (p[k] if self.transposed else p[k].T) + p[k + 1]
                if k < len(p) - 2:
                    x = activation(x)
            if case.loss == "cross_entropy":
                return -jnp.take_along_axis(jax.nn.log_softmax(x), t[:, None], axis=1).mean()
            if case.loss == "binary_cross_entropy":
                return (jnp.maximum(x, 0) - x * t + jnp.log1p(jnp.exp(-jnp.abs(x)))).mean()
            return ((x - t) ** 2).mean()

        def grad(p, x, t):
            if not self.flat:
                return jax.grad(objective)(p, x, t)
            return jnp.concatenate([g.ravel() for g in jax.grad(objective)(self.unflatten(p), x, t)])

        def step(state, x, t):
            p, m, v, count = state
            g = grad(p, x, t)
            if case.optimizer == "sgd":
                return jax.tree.map(lambda p, g: p - case.lr * g, p, g), m, v, count
            if case.optimizer == "momentum":
                m = jax.tree.map(lambda m, g: MOMENTUM * m + g, m, g)
                return jax.tree.map(lambda p, m: p - case.lr * m, p, m), m, v, count
            count = count + 1
            rate = case.lr / (1 - BETA1**count)
            root = jnp.sqrt(1 - BETA2**count)
            m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
            v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
            p = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + EPS), p, m, v)
            return p, m, v, count

        return step

    def reset(self):
        jnp = self.jax.numpy
        p = [jnp.array(p.T if self.transposed and p.ndim == 2 else p) for p in self.start]
        if self.flat:
            p = jnp.concatenate([q.ravel() for q in p])

        def zeros(needed):  # an optimiser without m or v carries none
            return self.jax.tree.map(jnp.zeros_like, p) if needed else None

        optimizer = self.case.optimizer
        self.state = (p, zeros(optimizer != "sgd"), zeros(optimizer == "adam"), jnp.zeros((), self.case.dtype))
        self.at = 0

    def step(self, x, t):
        self.state = self.jit_step(self.state, x, t)

    def run(self, steps):
        super().run(steps)
        self.jax.block_until_ready(self.state)

    def parameters(self):
        p = self.unflatten(self.state[0]) if self.flat else self.state[0]
        return flatten([np.asarray(q).T if self.transposed and q.ndim == 2 else np.asarray(q) for q in p])


class JaxScan(Jax):
    """A whole epoch in one jit: lax.scan over the batches, data scanned too."""

    name = "JAX scan"

    def compile(self, step):
        jax, case = self.jax, self.case
        self.unit = case.batches
        self.xs = jax.numpy.asarray(self.X).reshape(case.batches, case.batch, *self.X.shape[1:])
        self.ts = jax.numpy.asarray(self.t).reshape(case.batches, case.batch, *self.t.shape[1:])

        def epoch(state, xs, ts):
            return jax.lax.scan(lambda state, xt: (step(state, *xt), None), state, (xs, ts))[0]

        self.epoch = jax.jit(epoch, donate_argnums=0)

    def run(self, steps):
        epochs, rest = divmod(steps, self.case.batches)
        for _ in range(epochs):
            self.state = self.epoch(self.state, self.xs, self.ts)
        if rest:
            self.state = self.epoch(self.state, self.xs[:rest], self.ts[:rest])
        self.jax.block_until_ready(self.state)


class ScikitLearn(Peer):
    """MLPClassifier and MLPRegressor: partial_fit is an epoch. Its squared error is half of ours; Adam ignores that."""

    name = "scikit-learn"

    @staticmethod
    def version():
        import sklearn

        return sklearn.__version__

    def __init__(self, *args):
        super().__init__(*args)
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        case = self.case
        if case.loss == "mse" and (case.optimizer != "adam" or case.sizes[-1] > 1):
            raise NotImplementedError("scales the gradient of a squared error differently")
        if case.optimizer == "adam" and case.dtype == "float64":
            raise NotImplementedError("its Adam adds eps elsewhere: 4e-3 apart after 8 steps, as float64 can tell")
        self.unit = case.batches
        self.targets = self.t.ravel() if self.t.dtype.kind == "f" else self.t
        self.classes = {} if case.loss == "mse" else {"classes": np.unique(self.targets)}
        self.make = lambda: (MLPRegressor if case.loss == "mse" else MLPClassifier)(
            hidden_layer_sizes=case.sizes[1:-1], alpha=0, shuffle=False,
            activation={"sigmoid": "logistic"}.get(case.activation, case.activation),
            batch_size=case.batch, solver="adam" if case.optimizer == "adam" else "sgd",
            learning_rate_init=case.lr, momentum=MOMENTUM if case.optimizer == "momentum" else 0,
            nesterovs_momentum=False, random_state=0,
        )  # fmt: skip

    def reset(self):
        """A model at the start: one step with a rate of nothing makes its arrays, then they are filled."""
        self.model = self.make().set_params(learning_rate_init=1e-30)
        self.model.partial_fit(self.X[: self.case.batch], self.targets[: self.case.batch], **self.classes)
        for W, b, w0, b0 in zip(
            self.model.coefs_, self.model.intercepts_, self.start[0::2], self.start[1::2], strict=True
        ):
            W[:], b[:] = w0.T, b0
        optimizer = type(self.model._optimizer)
        settings = {"momentum": self.model.momentum, "nesterov": False} if "SGD" in optimizer.__name__ else {}
        self.model._optimizer = optimizer(self.model.coefs_ + self.model.intercepts_, self.case.lr, **settings)

    def run(self, steps):
        epochs, rest = divmod(steps, self.case.batches)
        for _ in range(epochs):
            self.model.partial_fit(self.X, self.targets)
        if rest:
            rows = rest * self.case.batch
            self.model.partial_fit(self.X[:rows], self.targets[:rows])

    def parameters(self):
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return flatten([part for W, b in pairs for part in (W.T, b)])


PEERS = [NumPy, Torch, TorchCompile, Jax, JaxScan, ScikitLearn]


def flatten(arrays):
    return np.concatenate([np.asarray(a).ravel() for a in arrays])
