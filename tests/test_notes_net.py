"""The 2-3-1 net of the lecture notes, without biases, every partial written by hand in plain Python floats.

In the notes' letters:  g = x W,  h_j = sigma(g_j),  A = sum_j u_j h_j,  B = sigma(A),  L(B).

There x is a row and W is 2 x 3: w_ij leads from input i to hidden unit j and is our weights[0][j, i]; u_j is our
weights[1][0, j]. In a trace g, h, A, B are y1, z1, y2, z2. The notes leave L open; here it is binary cross-entropy, and
once the square of the error: that loss is not computed from A, so its trace has dL/dB and dB/dA one by one.
"""

import math

import numpy as np
import pytest

import fastbp as fb

TOLERANCE = 1e-12
ALPHA = 0.7

INPUTS, HIDDEN = range(2), range(3)
SAMPLES = [((0.5, -1.25), 1.0), ((0.5, -1.25), 0.0), ((-2.0, 0.75), 1.0), ((1.5, 0.3), 0.25)]  # x, t
W = [[0.1, -0.4, 0.8], [0.6, 0.3, -0.9]]  # w_ij
U = [0.7, -1.1, 0.4]

# L(B) and dL/dB
LOSSES = {
    "binary_cross_entropy": (
        lambda B, t: -t * math.log(B) - (1 - t) * math.log(1 - B),
        lambda B, t: -t / B + (1 - t) / (1 - B),
    ),
    "mse": (lambda B, t: (B - t) ** 2, lambda B, t: 2 * (B - t)),
}

cases = pytest.mark.parametrize(("loss", "x", "t"), [(loss, x, t) for loss in LOSSES for x, t in SAMPLES])


def sigma(a):
    return 1 / (1 + math.exp(-a))


class ByHand:
    """Forward, every intermediate number kept; then every partial, from the loss back."""

    def __init__(self, loss, x, t):
        L, slope = LOSSES[loss]
        self.g = g = [x[0] * W[0][j] + x[1] * W[1][j] for j in HIDDEN]
        self.h = h = [sigma(g[j]) for j in HIDDEN]
        self.A = U[0] * h[0] + U[1] * h[1] + U[2] * h[2]
        self.B = B = sigma(self.A)
        self.L = L(B, t)

        self.dL_dB = slope(B, t)
        self.dB_dA = B * (1 - B)
        self.dA_du = [h[j] for j in HIDDEN]
        self.dA_dh = [U[j] for j in HIDDEN]
        self.dh_dg = [h[j] * (1 - h[j]) for j in HIDDEN]
        self.dg_dw = [[x[i] for j in HIDDEN] for i in INPUTS]  # dg_j/dw_ij
        self.dg_dx = [[W[i][j] for j in HIDDEN] for i in INPUTS]  # dg_j/dx_i

        self.dL_dA = self.dL_dB * self.dB_dA
        self.dL_du = [self.dL_dA * self.dA_du[j] for j in HIDDEN]
        self.dL_dh = [self.dL_dA * self.dA_dh[j] for j in HIDDEN]
        self.dL_dg = [self.dL_dh[j] * self.dh_dg[j] for j in HIDDEN]
        self.dL_dW = [[self.dL_dg[j] * self.dg_dw[i][j] for j in HIDDEN] for i in INPUTS]
        self.dL_dx = [sum(self.dL_dg[j] * self.dg_dx[i][j] for j in HIDDEN) for i in INPUTS]

        self.u_after = [U[j] - ALPHA * self.dL_du[j] for j in HIDDEN]
        self.W_after = [[W[i][j] - ALPHA * self.dL_dW[i][j] for j in HIDDEN] for i in INPUTS]


def notes_net(loss):
    net = fb.Network([2, 3, 1], activation="sigmoid", output="sigmoid", loss=loss, bias=False, dtype="float64")
    net.weights[0][:] = np.transpose(W)
    net.weights[1][:] = [U]
    return net


def assert_same(got, want):
    assert np.shape(got) == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=TOLERANCE, atol=0)


@cases
def test_forward_keeps_the_notes_intermediate_numbers(loss, x, t):
    hand = ByHand(loss, x, t)
    net = notes_net(loss)
    arrays = net.trace(x, t).arrays
    assert_same(arrays["y1"], hand.g)
    assert_same(arrays["z1"], hand.h)
    assert_same(arrays["y2"], [hand.A])
    assert_same(arrays["z2"], [hand.B])
    assert_same(arrays["L"], hand.L)
    assert_same(net.predict(x), [hand.B])
    assert_same(net.loss([x], [t]), hand.L)


@cases
def test_every_partial_of_the_trace_is_the_notes(loss, x, t):
    hand = ByHand(loss, x, t)
    arrays = notes_net(loss).trace(x, t).arrays
    if loss == "mse":
        assert_same(arrays["dL/dz2"], [hand.dL_dB])
        assert_same(arrays["dz2/dy2"], [hand.dB_dA])
    assert_same(arrays["dL/dy2"], [hand.dL_dA])
    assert_same(arrays["z1"], hand.dA_du)
    assert_same(arrays["W2"], [hand.dA_dh])
    assert_same(arrays["dL/dW2"], [hand.dL_du])
    assert_same(arrays["dL/dz1"], hand.dL_dh)
    assert_same(arrays["dz1/dy1"], hand.dh_dg)
    assert_same(arrays["dL/dy1"], hand.dL_dg)
    for j in HIDDEN:
        assert_same(arrays["x"], [hand.dg_dw[i][j] for i in INPUTS])
        assert_same(arrays["W1"][j], [hand.dg_dx[i][j] for i in INPUTS])
    assert_same(arrays["dL/dW1"], np.transpose(hand.dL_dW))
    assert_same(arrays["dL/dx"], hand.dL_dx)


@cases
@pytest.mark.parametrize("rows", [1, 2])
def test_gradients_by_weights_and_inputs_are_the_notes(loss, x, t, rows):
    """One row, and the same row twice: the mean is the same, the gradient by the inputs is shared among the rows."""
    hand = ByHand(loss, x, t)
    net = notes_net(loss)
    X, y = [x] * rows, [t] * rows
    value, grad = net.loss_and_grad(X, y)
    assert_same(value, hand.L)
    assert_same(grad[:6].reshape(3, 2), np.transpose(hand.dL_dW))
    assert_same(grad[6:], hand.dL_du)
    assert_same(net.input_grad(X, y), [[d / rows for d in hand.dL_dx]] * rows)


@cases
@pytest.mark.parametrize("rows", [1, 2])  # batch_size=1 takes the online path; a row twice is a batch of the same mean
def test_one_step_of_sgd_is_the_notes_update(loss, x, t, rows):
    hand = ByHand(loss, x, t)
    net = notes_net(loss)
    history = net.fit([x] * rows, [t] * rows, epochs=1, batch_size=rows, optimizer=fb.SGD(ALPHA), verbose=0)
    assert_same(history.history["loss"], [hand.L])
    assert_same(net.weights[0], np.transpose(hand.W_after))
    assert_same(net.weights[1], [hand.u_after])
