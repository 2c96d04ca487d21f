"""What one pass of a network gives, by each of the implementations, and the comparison of two of them."""

from typing import NamedTuple

import numpy as np
import oracle
import reference
from comparison import TOLERANCE, check, gradient_error, relative_error
from problems import make_network


class Pass(NamedTuple):
    outputs: np.ndarray  # (B, O) of predict
    loss: float  # with the problem's sample weights
    loss_beside_gradient: float  # the same, from loss_and_grad
    gradient: np.ndarray  # (n_params,)
    input_gradient: np.ndarray  # (B, I) of the loss without weights: input_grad takes none


def twin_layers(problem, params):
    """Layers for reference.py: views of params."""
    spec = problem.spec
    return reference.as_layers(params, spec.sizes, spec.activations, spec.biases)


def by_twin(problem):
    spec = problem.spec
    layers = twin_layers(problem, problem.params)
    arguments = layers, problem.X, problem.t, spec.loss
    loss, gradient, input_gradient = reference.loss_and_grad(*arguments, problem.w, **spec.loss_parameters)
    if problem.w is not None:
        input_gradient = reference.loss_and_grad(*arguments, **spec.loss_parameters)[2]
    return Pass(reference.predict(layers, problem.X), loss, loss, gradient, input_gradient)


def by_autograd(problem):
    arguments = problem.spec, problem.params, problem.X, problem.t
    loss, gradient, input_gradient = oracle.loss_and_grads(*arguments, problem.w)
    if problem.w is not None:
        input_gradient = oracle.loss_and_grads(*arguments)[2]
    return Pass(oracle.pre_activations(*arguments[:3])[1], loss, loss, gradient, input_gradient)


def by_fastbp(problem, dtype):
    net = make_network(problem, dtype)
    X, t, w = problem.data(dtype)
    loss, gradient = net.loss_and_grad(X, t, sample_weight=w)
    got = Pass(net.predict(X), net.loss(X, t, sample_weight=w), loss, gradient, net.input_grad(X, t))
    assert {got.outputs.dtype, got.gradient.dtype, got.input_gradient.dtype} == {np.dtype(dtype)}, problem
    return got


def check_pass(what, problem, dtype, got, want):
    """Hold every part of `got` to `want`, norm-wise; the gradient also layer by layer."""
    tolerance = TOLERANCE[dtype]
    assert got.outputs.shape == want.outputs.shape, problem
    assert got.input_gradient.shape == want.input_gradient.shape, problem
    lengths = problem.spec.layer_lengths
    check(f"{what}: predict", dtype, relative_error(got.outputs, want.outputs), tolerance, problem)
    for loss in got.loss, got.loss_beside_gradient:
        check(f"{what}: loss", dtype, relative_error(loss, want.loss), tolerance, problem)
    check(f"{what}: gradient", dtype, gradient_error(got.gradient, want.gradient, lengths), tolerance, problem)
    error = relative_error(got.input_gradient, want.input_gradient)
    check(f"{what}: input gradient", dtype, error, tolerance, problem)
