# Training steps of networks side by side (lanes.pxd), up to the end of their epoch: step.pxd, lane by lane.

from libc.math cimport isfinite, sqrt
from simd cimport real, vec, VL, MAX_VL, v_load, v_store, v_splat, v_zero, v_max, v_min, v_abs, v_sqrt, v_where_less
from names cimport SGD
from plan cimport least
from activations cimport ONE
from optimizers cimport sum_of_squares
from reach cimport LARGEST_PARAMETER, LARGEST_ROOT, LOST
from clock cimport seconds_now
from epoch cimport WORK_BETWEEN_LOOKS, Epoch
from lanes cimport Lanes, give_back_lane, load_lanes
from lane_pass cimport lanes_gradient


cdef inline void lane_rates(Lanes *l) noexcept nogil:
    """Adam's corrections for the step that comes."""
    cdef long lane
    for lane in range(VL):
        l.power1[lane] *= l.beta1[lane]
        l.power2[lane] *= l.beta2[lane]
        l.rate[lane] = <real>(l.lr[lane] / (1 - l.power1[lane]))
        l.root[lane] = <real>(1 / sqrt(1 - l.power2[lane]))


cdef inline void lane_reach(Lanes *l, real *fine) noexcept nogil:
    """reach.pxd for all lanes at once: `fine` gets 1 where no number would leave the finite range, else 0."""
    cdef vec norm = v_sqrt(sum_of_squares(l.gradient, l.plan.n_parameters)) + v_splat(<real>LOST)
    cdef vec largest = v_load(l.largest_parameter), mu = v_load(l.mu), rate = v_load(l.rate)
    cdef vec first = norm + v_load(l.decay) * largest, reach, good = v_splat(ONE)
    cdef vec most = v_splat(<real>LARGEST_PARAMETER)
    if l.kind == SGD:
        first = mu * v_load(l.largest_first) + first
        reach = rate * (2 * first) + largest
    else:
        good = v_where_less(first, v_splat(<real>LARGEST_ROOT), good, v_zero())         # Adam squares it
        first = mu * v_load(l.largest_first) + v_load(l.rest1) * first
        good = v_where_less(rate * first, most, good, v_zero())
        reach = rate * v_min(first / v_load(l.eps), v_load(l.bound)) \
            + largest * v_max(v_splat(ONE), v_abs(v_load(l.keep)))
    good = v_where_less(first, most, good, v_zero())
    v_store(fine, v_where_less(reach, most, good, v_zero()))
    v_store(l.largest_first, first)


cdef inline vec lane_sgd(Lanes *l) noexcept nogil:
    """optimizers.sgd. Returns max |w|, lane by lane."""
    cdef vec lr = v_load(l.rate), mu = v_load(l.mu), decay = v_load(l.decay), x, g, v, m = v_zero()
    cdef real *w = l.parameters
    cdef real *first = l.first
    cdef const real *gradient = l.gradient
    cdef bint momentum = l.momentum, nesterov = l.nesterov
    cdef long k
    for k in range(l.plan.n_parameters):
        x = v_load(w + k * VL)
        g = v_load(gradient + k * VL) + decay * x
        if momentum:
            v = mu * v_load(first + k * VL) + g
            v_store(first + k * VL, v)
            g = g + mu * v if nesterov else v
        x = x - lr * g
        m = v_max(v_abs(x), m)
        v_store(w + k * VL, x)
    return m


cdef inline vec lane_adam(Lanes *l) noexcept nogil:
    """optimizers.adam, for Adam and AdamW. Returns max |w|, lane by lane."""
    cdef vec step = v_load(l.rate), root = v_load(l.root), rest1 = v_load(l.rest1), beta2 = v_load(l.square)
    cdef vec rest2 = v_load(l.rest2), eps = v_load(l.eps), decay = v_load(l.decay), keep = v_load(l.keep)
    cdef vec x, g, mean, square, m = v_zero()
    cdef real *w = l.parameters
    cdef real *first = l.first
    cdef real *second = l.second
    cdef const real *gradient = l.gradient
    cdef long k
    for k in range(l.plan.n_parameters):
        x = v_load(w + k * VL)
        g = v_load(gradient + k * VL) + decay * x
        mean = v_load(first + k * VL)
        mean = mean + rest1 * (g - mean)
        square = beta2 * v_load(second + k * VL) + rest2 * g * g
        v_store(first + k * VL, mean)
        v_store(second + k * VL, square)
        x = keep * x - step * mean / (v_sqrt(square) * root + eps)
        m = v_max(v_abs(x), m)
        v_store(w + k * VL, x)
    return m


cdef inline long lanes_step(Lanes *l, Epoch *nets, long n_nets, long first, long rows) noexcept nogil:
    """One step of every network on rows first .. of its order. A step that would diverge ends that network's epoch.
    Returns how many networks are left."""
    cdef real[MAX_VL] fine
    cdef long lane, left = 0
    lanes_gradient(l, nets, n_nets, first, rows)
    if l.kind != SGD:
        lane_rates(l)
    lane_reach(l, fine)
    for lane in range(n_nets):
        if not l.alive[lane]:
            continue
        if fine[lane] == 0 or not isfinite(l.losses[lane]):
            l.alive[lane] = nets[lane].fine = False
            nets[lane].first = first
            give_back_lane(l, lane, &nets[lane])
            continue
        l.totals[lane] += l.losses[lane] * rows
        l.steps[lane] += 1
        left += 1
    v_store(l.largest_parameter, lane_sgd(l) if l.kind == SGD else lane_adam(l))
    return left


cdef inline void train_lanes(Lanes *l, Epoch *nets, long n_nets, double deadline) noexcept nogil:
    """Steps of up to VL networks, until the epoch ends for all of them or the deadline is past."""
    cdef long lane, n, first = 0, done = 0, rows = nets[0].rows
    for lane in range(n_nets):
        if nets[lane].fine:                     # all of these stand at the same row
            first = nets[lane].first
    load_lanes(l, nets, n_nets)
    while first < rows:
        n = least(nets[0].batch_size, rows - first)
        if lanes_step(l, nets, n_nets, first, n) == 0:
            break
        first += n
        done += n * nets[0].work
        if done > WORK_BETWEEN_LOOKS // 4:      # of each of VL networks
            done = 0
            if seconds_now() > deadline:
                break
    for lane in range(n_nets):
        if l.alive[lane]:
            nets[lane].first = first
            give_back_lane(l, lane, &nets[lane])
