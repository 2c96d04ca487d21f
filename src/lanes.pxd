# Small networks of one shape side by side, VL of them: lane k of every vector belongs to network k. What one network
# computes on vectors of features is computed here on vectors of networks, so nothing is padded, broadcast or summed across
# lanes, whatever the widths. Each network has its own order of rows, weights of rows, learning rate and weight decay.
#
# Sums run over the rows in their order, as elsewhere, but are cut otherwise: the results agree with those of each network
# alone to rounding. A network whose step would diverge is written back as it was before, and its lane runs on unheeded.

from libc.math cimport pow, sqrt
from libc.string cimport memset
from simd cimport REAL_BITS, real, vec, VL, MAX_VL, v_load, v_store, v_zero, v_max, v_abs
from names cimport ADAMW, SGD
from plan cimport CACHE_LINE, Layer, Plan, keeps_y, least
from optimizers cimport INFINITY, Optimizer
from reach cimport LOST
from epoch cimport Epoch

cdef extern from "lanes.h" nogil:
    vec v_from_each(const real **sources, long k)

cdef enum:
    LANE_BLOCK_BYTES = 65536    # of the activations of a block of rows: they stay in L2
    LANE_ROWS = 4               # of a tile

cdef struct LaneLayer:
    const Layer *layer
    real *y                     # (rows, O); the same as z where h' follows from z
    real *z

cdef struct Lanes:              # vectors over networks
    const Plan *plan
    long rows                   # of a block
    LaneLayer *layers
    real *parameters            # (n_parameters,) in the order of the flat ones
    real *gradient
    real *first                 # momentum, or Adam's mean of gradients
    real *second
    real *x                     # (rows, I)
    real *targets               # (rows, O)
    real *scales                # (rows,)
    real *delta                 # two buffers (rows, widest)
    real *dx
    int kind
    bint momentum, nesterov
    bint[MAX_VL] alive
    double[MAX_VL] losses       # of the step
    double[MAX_VL] totals       # of this visit
    long[MAX_VL] steps
    # of each network's optimiser
    double[MAX_VL] lr, beta1, beta2, power1, power2     # powers of the betas: b^t
    real[MAX_VL] rate, root     # lr / (1 - b1^t), 1 / sqrt(1 - b2^t); of SGD the learning rate
    real[MAX_VL] mu, rest1, square, rest2, eps, decay, keep, bound   # bound: of |m| / sqrt(v)
    real[MAX_VL] largest_parameter, largest_first


# ---------------------------------------------------------------- sizes

cdef inline long lane_rows(const Plan *plan, long batch_rows) noexcept nogil:
    """Rows of a block."""
    cdef long widest = plan.layers[0].inputs, numbers = widest, rows
    cdef int l
    for l in range(plan.n_layers):
        numbers += plan.layers[l].outputs * (2 if keeps_y(plan.layers[l].activation) else 1)
        widest = max(widest, plan.layers[l].outputs)
    numbers += 2 * widest + plan.layers[plan.n_layers - 1].outputs + 1
    rows = LANE_BLOCK_BYTES // (numbers * VL * <long>sizeof(real)) // LANE_ROWS * LANE_ROWS
    return least(batch_rows, max(rows, 2 * LANE_ROWS))


cdef inline real *part_of(real *memory, long *size, long vectors) noexcept nogil:
    """The next `vectors` vectors of memory; memory NULL only adds up sizes."""
    cdef real *start = memory + size[0] if memory != NULL else NULL
    size[0] += vectors * VL
    return start


cdef inline long place_lanes(Lanes *l, real *memory) noexcept nogil:
    """Places every buffer in memory, whose size in numbers it returns; memory NULL: only that."""
    cdef const Plan *plan = l.plan
    cdef long size = 0, widest = plan.layers[0].inputs, outputs
    cdef int k
    l.parameters = part_of(memory, &size, plan.n_parameters)
    l.gradient = part_of(memory, &size, plan.n_parameters)
    l.first = part_of(memory, &size, plan.n_parameters if l.kind != SGD or l.momentum else 0)
    l.second = part_of(memory, &size, plan.n_parameters if l.kind != SGD else 0)
    l.x = part_of(memory, &size, l.rows * plan.layers[0].inputs)
    for k in range(plan.n_layers):
        outputs = plan.layers[k].outputs
        widest = max(widest, outputs)
        l.layers[k].layer = &plan.layers[k]
        l.layers[k].z = l.layers[k].y = part_of(memory, &size, l.rows * outputs)
        if keeps_y(plan.layers[k].activation):
            l.layers[k].y = part_of(memory, &size, l.rows * outputs)
    l.targets = part_of(memory, &size, l.rows * plan.layers[plan.n_layers - 1].outputs)
    l.scales = part_of(memory, &size, l.rows)
    l.delta = part_of(memory, &size, l.rows * widest)
    l.dx = part_of(memory, &size, l.rows * widest)
    return size + CACHE_LINE * 8 // REAL_BITS       # so that two of them share no line


# ---------------------------------------------------------------- from networks to lanes and back


cdef inline void interleave(const real **sources, real *lanes, long n) noexcept nogil:
    cdef long k
    for k in range(n):
        v_store(lanes + k * VL, v_from_each(sources, k))


cdef inline void pick(const real *lanes, long lane, real *target, long n) noexcept nogil:
    cdef long k
    for k in range(n):
        target[k] = lanes[k * VL + lane]


cdef inline void largest_in_lanes(const real *a, long n, real *largest) noexcept nogil:
    """max |a|, lane by lane; NaN where one is not finite."""
    cdef vec m = v_zero(), nothing = v_zero()
    cdef long k
    for k in range(n):
        m = v_max(v_abs(v_load(a + k * VL)), m)
        nothing = nothing + v_zero() * v_load(a + k * VL)
    v_store(largest, m + nothing)


cdef inline void load_lanes(Lanes *l, Epoch *nets, long n_nets) noexcept nogil:
    """Takes over parameters and optimiser states; lanes without a network get the first one's and are not alive."""
    cdef const real *parameters[MAX_VL]
    cdef const real *first[MAX_VL]
    cdef const real *second[MAX_VL]
    cdef const Optimizer *o
    cdef double b1, b2
    cdef long lane, n = l.plan.n_parameters
    for lane in range(VL):
        o = nets[lane if lane < n_nets else 0].optimizer
        l.alive[lane] = lane < n_nets and nets[lane].fine
        parameters[lane] = nets[lane if lane < n_nets else 0].parameters
        first[lane] = o.first
        second[lane] = o.second
        l.totals[lane] = 0
        l.steps[lane] = o.steps
        l.lr[lane] = o.lr
        b1 = l.beta1[lane] = o.momentum
        b2 = l.beta2[lane] = o.beta2
        l.power1[lane] = pow(b1, <double>o.steps)
        l.power2[lane] = pow(b2, <double>o.steps)
        l.rate[lane] = <real>o.lr
        l.mu[lane] = <real>b1
        l.rest1[lane] = <real>(1 - b1)
        l.square[lane] = <real>b2
        l.rest2[lane] = <real>(1 - b2)
        l.eps[lane] = <real>o.eps
        l.decay[lane] = <real>(0 if o.kind == ADAMW else o.weight_decay)
        l.keep[lane] = <real>(1 - o.lr * o.weight_decay if o.kind == ADAMW else 1)
        l.bound[lane] = INFINITY
        if o.kind != SGD and b1 * b1 < b2:      # see reach.mean_over_root
            l.bound[lane] = <real>((1 - b1) / sqrt((1 - b2) * (1 - b1 * b1 / b2)) + LOST / sqrt(1 - b2) / o.eps)
    interleave(parameters, l.parameters, n)
    largest_in_lanes(l.parameters, n, l.largest_parameter)
    memset(l.largest_first, 0, sizeof(l.largest_first))
    if l.kind != SGD or l.momentum:
        interleave(first, l.first, n)
        largest_in_lanes(l.first, n, l.largest_first)
    if l.kind != SGD:
        interleave(second, l.second, n)


cdef inline void give_back_lane(const Lanes *l, long lane, Epoch *net) noexcept nogil:
    cdef long n = l.plan.n_parameters
    pick(l.parameters, lane, net.parameters, n)
    if l.kind != SGD or l.momentum:
        pick(l.first, lane, net.optimizer.first, n)
    if l.kind != SGD:
        pick(l.second, lane, net.optimizer.second, n)
    net.optimizer.steps = l.steps[lane]
    net.total += l.totals[lane]
