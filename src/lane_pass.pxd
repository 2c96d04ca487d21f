# A batch of each of VL networks, forward and back (lanes.pxd). With w, x, y and delta vectors over networks the formulas are
# those of forward.pxd and backward.pxd.

from libc.string cimport memset
from simd cimport real, vec, VL, MAX_VL, v_load, v_store, v_splat, v_zero
from names cimport CROSS_ENTROPY, IDENTITY, SOFTMAX
from plan cimport Plan, least
from activations cimport ONE, apply_h, apply_slope
from data cimport Data, per_row
from epoch cimport Epoch
from lanes cimport LaneLayer, Lanes, interleave
from lane_losses cimport lane_softmax, lanes_loss

cdef extern from "lanes.h" nogil:
    ctypedef struct LaneProduct:
        long m, n, depth
        const real *a
        long a_m, a_k
        const real *b
        long b_n, b_k
        const real *start
        long start_m
        real *c
        long c_m
    void lane_product(const LaneProduct *p)


cdef inline void take_from_each(const real *a, const long *row, long width, bint the_same, real *lanes) noexcept nogil:
    """Row row[lane] of a (n, width) for each lane, or the same for all."""
    cdef const real *sources[MAX_VL]
    cdef long k
    for k in range(VL):
        sources[k] = a + row[k] * width
    if the_same:
        for k in range(width):
            v_store(lanes + k * VL, v_splat(sources[0][k]))
    else:
        interleave(sources, lanes, width)


cdef inline void gather_lanes(const Lanes *l, const Epoch *nets, long n_nets, long first, long rows,
                              double scale) noexcept nogil:
    """Inputs, targets and scales of rows first .. of each network's own order."""
    cdef const Plan *plan = l.plan
    cdef const Data *data = &nets[0].data
    cdef long I = plan.layers[0].inputs, O = plan.layers[plan.n_layers - 1].outputs, lane, r, k, label
    cdef real s = plan.loss_parameter if plan.loss == CROSS_ENTROPY else 0      # label smoothing
    cdef vec off = v_splat(s / O), keep = v_splat(1 - s)
    cdef real *x = l.x
    cdef real *t = l.targets
    cdef real *scales = l.scales
    cdef long row[MAX_VL]
    cdef const long *orders[MAX_VL]
    cdef const real *weights[MAX_VL]
    for lane in range(VL):
        orders[lane] = nets[lane if lane < n_nets else 0].data.order
        weights[lane] = nets[lane if lane < n_nets else 0].data.weights
    for r in range(rows):
        for lane in range(VL):
            row[lane] = orders[lane][first + r] if orders[0] != NULL else first + r
        take_from_each(data.x, row, I, orders[0] == NULL, x)
        if data.labels != NULL:
            for k in range(O):
                v_store(t + k * VL, off)
            for lane in range(VL):
                label = data.labels[row[lane]]
                t[label * VL + lane] = 1 - s + s / O
        else:
            take_from_each(data.targets, row, O, orders[0] == NULL, t)
            if s != 0:
                for k in range(O):
                    v_store(t + k * VL, keep * v_load(t + k * VL) + off)
        v_store(scales + r * VL, v_splat(<real>scale))
        if weights[0] != NULL:
            for lane in range(VL):
                scales[r * VL + lane] = <real>scale * weights[lane][row[lane]]
        x += I * VL
        t += O * VL


cdef inline void lane_softmax_rows(real *y, long rows, long width) noexcept nogil:
    cdef vec share
    cdef real *at
    cdef long r, k
    for r in range(rows):
        at = y + r * width * VL
        share = v_splat(ONE) / lane_softmax(at, at, width)
        for k in range(width):
            v_store(at + k * VL, share * v_load(at + k * VL))


cdef inline void lane_softmax_slope(const real *z, real *delta, long rows, long width) noexcept nogil:
    """dL/dy = z (dL/dz - z . dL/dz), row by row, in place in delta."""
    cdef vec s
    cdef long r, k
    for r in range(rows):
        s = v_zero()
        for k in range(r * width, (r + 1) * width):
            s = s + v_load(z + k * VL) * v_load(delta + k * VL)
        for k in range(r * width, (r + 1) * width):
            v_store(delta + k * VL, v_load(z + k * VL) * (v_load(delta + k * VL) - s))


cdef inline void lanes_forward(const Lanes *l, long rows) noexcept nogil:
    """z = h(W x + b), layer after layer."""
    cdef LaneProduct p
    cdef const LaneLayer *at
    cdef const real *x = l.x
    cdef int k, activation
    for k in range(l.plan.n_layers):
        at = &l.layers[k]
        p.m = rows
        p.n = at.layer.outputs
        p.depth = at.layer.inputs
        p.a = x
        p.a_m = p.depth * VL
        p.a_k = VL
        p.b = l.parameters + at.layer.weight * VL
        p.b_n = p.depth * VL
        p.b_k = VL
        p.start = l.parameters + at.layer.bias * VL if at.layer.bias >= 0 else NULL
        p.start_m = 0
        p.c = at.y
        p.c_m = p.n * VL
        lane_product(&p)
        activation = IDENTITY if l.plan.from_logits and k == l.plan.n_layers - 1 else at.layer.activation
        if activation == SOFTMAX:
            lane_softmax_rows(at.y, rows, p.n)
        else:
            apply_h(activation, at.y, at.z, rows * p.n)
        x = at.z


cdef inline void lanes_through(const LaneLayer *at, real *delta, long rows) noexcept nogil:
    """dL/dy = h'(y) dL/dz."""
    if at.layer.activation == SOFTMAX:
        lane_softmax_slope(at.z, delta, rows, at.layer.outputs)
    else:
        apply_slope(at.layer.activation, at.y, at.z, delta, rows * at.layer.outputs)


cdef inline void lane_bias_gradient(const real *delta, long rows, long width, bint resume, real *gradient) noexcept nogil:
    cdef vec s
    cdef long r, k
    for k in range(width):
        s = v_load(gradient + k * VL) if resume else v_zero()
        for r in range(rows):
            s = s + v_load(delta + (r * width + k) * VL)
        v_store(gradient + k * VL, s)


cdef inline void lanes_backward(Lanes *l, long rows, bint resume) noexcept nogil:
    """All partials of the block, from dL/dy of the last layer in l.delta; resume: added to those of the blocks before."""
    cdef LaneProduct p
    cdef const LaneLayer *at
    cdef long I, O
    cdef real *spare
    cdef int k = l.plan.n_layers - 1
    while True:
        at = &l.layers[k]
        I = at.layer.inputs
        O = at.layer.outputs
        if at.layer.bias >= 0:
            lane_bias_gradient(l.delta, rows, O, resume, l.gradient + at.layer.bias * VL)
        p.m = O                                 # dL/dW = sum of delta x^T
        p.n = I
        p.depth = rows
        p.a = l.delta
        p.a_m = VL
        p.a_k = O * VL
        p.b = l.layers[k - 1].z if k > 0 else l.x
        p.b_n = VL
        p.b_k = I * VL
        p.c = l.gradient + at.layer.weight * VL
        p.c_m = p.start_m = I * VL
        p.start = p.c if resume else NULL
        lane_product(&p)
        if k == 0:
            return
        p.m = rows                              # dL/dx = W^T delta
        p.n = I
        p.depth = O
        p.a = l.delta
        p.a_m = O * VL
        p.a_k = VL
        p.b = l.parameters + at.layer.weight * VL
        p.b_n = VL
        p.b_k = I * VL
        p.start = NULL
        p.c = l.dx
        p.c_m = I * VL
        lane_product(&p)
        k -= 1
        lanes_through(&l.layers[k], l.dx, rows)
        spare = l.delta
        l.delta = l.dx
        l.dx = spare


cdef inline void lanes_gradient(Lanes *l, const Epoch *nets, long n_nets, long first, long rows) noexcept nogil:
    """Losses and gradients of a batch."""
    cdef double scale = per_row(l.plan) / rows
    cdef real[MAX_VL] losses
    cdef long row = 0, n, lane
    memset(l.losses, 0, sizeof(l.losses))
    while row < rows:
        n = least(l.rows, rows - row)
        gather_lanes(l, nets, n_nets, first + row, n, scale)
        lanes_forward(l, n)
        v_store(losses, lanes_loss(l, n))
        for lane in range(VL):
            l.losses[lane] += losses[lane]      # in double: a longer float32 sum would lose digits
        if not l.plan.from_logits:
            lanes_through(&l.layers[l.plan.n_layers - 1], l.delta, n)
        lanes_backward(l, n, row > 0)
        row += n
