"""What fastbp's single calls are timed against: `predict`, and the loss with its gradient, from Python to Python.

Each library gets its inputs in its own kind of array, made before the clock starts, and hands back its own kind.
"""

import numpy as np
from peers import flatten, torch_loss


class Call:
    """`call()` once a step; `result()` is what is compared: outputs, or the flat gradient."""

    variants = (None,)
    unit = 1

    def __init__(self, case, X, t, start, variant):
        self.case, self.X, self.t, self.start, self.variant = case, X, t, start, variant
        self.call = self.make_predict() if case.mode == "predict" else self.make_gradient()

    def reset(self):
        """Calls leave nothing behind."""

    def run(self, steps):
        call = self.call
        for _ in range(steps):
            call()


class FastBPCall(Call):
    name = "fastbp"

    @staticmethod
    def version():
        import fastbp

        return fastbp.__version__

    def network(self):
        import fastbp as fb

        case = self.case
        net = fb.Network(list(case.sizes), activation=case.activation, loss=case.loss, dtype=case.dtype, threads=1)
        net.params[:] = flatten(self.start)
        return net

    def make_predict(self):
        net = self.network()
        x = self.X[0] if self.case.batch == 1 else self.X
        out = np.empty(net.predict(x).shape, self.case.dtype)
        return lambda: net.predict(x, out=out)

    def make_gradient(self):
        net = self.network()
        out = np.empty(net.n_params, self.case.dtype)
        return lambda: net.loss_and_grad(self.X, self.t, out=out)

    def result(self):
        returned = self.call()
        return returned if self.case.mode == "predict" else returned[1]


class NumPyCall(Call):
    """Buffers kept, every product into one of them."""

    name = "NumPy"

    @staticmethod
    def version():
        return np.__version__

    def make_predict(self):
        W, b, rows = self.start[0::2], self.start[1::2], self.case.batch
        activate = {"tanh": lambda y: np.tanh(y, y), "relu": lambda y: np.maximum(y, 0, y)}[self.case.activation]
        z = [np.empty((rows, len(v)), v.dtype) for v in b]
        transposed = [w.T for w in W]

        def predict():
            x = self.X
            for k, y in enumerate(z):
                np.dot(x, transposed[k], y)
                np.add(y, b[k], y)
                if k < len(z) - 1:
                    activate(y)
                x = y
            if self.case.loss == "cross_entropy":
                np.subtract(x, x.max(axis=1, keepdims=True), x)
                np.exp(x, x)
                np.divide(x, x.sum(axis=1, keepdims=True), x)
            return x

        return predict

    def make_gradient(self):
        assert self.case.loss == "mse" and self.case.activation == "tanh"
        W, b = self.start[0::2], self.start[1::2]
        scale = 2 / (self.case.batch * self.case.sizes[-1])

        def gradient():
            z = [self.X]
            for k in range(len(W)):
                y = z[-1] @ W[k].T
                y += b[k]
                z.append(np.tanh(y, y) if k < len(W) - 1 else y)
            error = z[-1] - self.t
            loss = np.vdot(error, error) / error.size
            d = np.multiply(error, scale, dtype=error.dtype)
            grads = []
            for k in range(len(W) - 1, -1, -1):
                grads += [d.sum(axis=0), d.T @ z[k]]
                if k:
                    d = (d @ W[k]) * (1 - z[k] * z[k])
            return loss, grads[::-1]

        return gradient

    def result(self):
        returned = self.call()
        return returned if self.case.mode == "predict" else flatten(returned[1])


class TorchCall(Call):
    name = "torch"
    variants = ("eager", "traced")

    @staticmethod
    def version():
        import torch

        return torch.__version__

    def model(self):
        import torch

        torch.set_num_threads(1)
        activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[self.case.activation]
        modules = []
        for i, o in zip(self.case.sizes[:-1], self.case.sizes[1:], strict=True):
            modules += [torch.nn.Linear(i, o), activation()]
        modules.pop()
        if self.case.mode == "predict" and self.case.loss == "cross_entropy":
            modules.append(torch.nn.Softmax(dim=1))
        model = torch.nn.Sequential(*modules).to(getattr(torch, self.case.dtype))
        with torch.no_grad():
            for p, start in zip(model.parameters(), self.start, strict=True):
                p.copy_(torch.from_numpy(start))
        return torch, model

    def make_predict(self):
        torch, model = self.model()
        x = torch.from_numpy(self.X)
        if self.variant == "traced":
            model = torch.jit.freeze(torch.jit.trace(model.eval(), x))

        def predict():
            with torch.inference_mode():
                return model(x)

        return predict

    def make_gradient(self):
        torch, model = self.model()
        x, t = torch.from_numpy(self.X), torch.from_numpy(self.t)
        loss_of, parameters = torch_loss(torch, self.case.loss), list(model.parameters())
        if self.variant == "traced":
            model = torch.jit.trace(model, x)

        def gradient():
            loss = loss_of(model(x), t)
            return loss, torch.autograd.grad(loss, parameters)

        return gradient

    def result(self):
        returned = self.call()
        return returned.numpy() if self.case.mode == "predict" else flatten([g.numpy() for g in returned[1]])


class JaxCall(Call):
    name = "JAX jit"

    @staticmethod
    def version():
        import jax

        return jax.__version__

    def forward(self):
        import jax

        jax.config.update("jax_enable_x64", self.case.dtype == "float64")
        activation = {"relu": jax.nn.relu, "tanh": jax.numpy.tanh}[self.case.activation]

        def forward(p, x):
            for k in range(0, len(p), 2):
                x = x @ p[k].T + p[k + 1]
                if k < len(p) - 2:
                    x = activation(x)
            return x

        return jax, forward, [jax.numpy.asarray(p) for p in self.start], jax.numpy.asarray(self.X)

    def make_predict(self):
        jax, forward, p, x = self.forward()
        last = jax.nn.softmax if self.case.loss == "cross_entropy" else lambda y: y
        compiled = jax.jit(lambda p, x: last(forward(p, x)))
        return lambda: compiled(p, x).block_until_ready()

    def make_gradient(self):
        jax, forward, p, x = self.forward()
        t = jax.numpy.asarray(self.t)
        compiled = jax.jit(jax.value_and_grad(lambda p, x, t: ((forward(p, x) - t) ** 2).mean()))
        return lambda: jax.block_until_ready(compiled(p, x, t))

    def result(self):
        returned = self.call()
        return np.asarray(returned) if self.case.mode == "predict" else flatten([np.asarray(g) for g in returned[1]])


CALLS = [NumPyCall, TorchCall, JaxCall]
