# The updates, on flat vectors padded with zeros to whole vectors, from number `begin` to number `end`. Semantics are
# torch.optim's; docs/optimizers.md has them in formulas. `gradient` has been through penalties.pxd where that has to
# do something.

from simd cimport (real, vec, VL, v_load, v_load_first, v_store, v_splat, v_zero, v_max, v_min, v_abs, v_sqrt, v_sum,
                   v_largest, v_where_less)
from names cimport SGD, ADAM, ADAMW, NADAM, RMSPROP, RPROP
from libc.math cimport sqrt, pow

cdef extern from "math.h" nogil:
    const float INFINITY

cdef struct Optimizer:
    int kind
    bint nesterov
    bint amsgrad
    bint centered
    double lr
    double momentum         # SGD, RMSprop; beta1 of Adam
    double beta2            # alpha of RMSprop
    double eps
    double weight_decay
    double l1
    bint decay_bias
    double clip_norm        # infinite: no clipping
    double clip_value
    double momentum_decay   # NAdam
    double lr_decay         # Adagrad
    double initial_sum
    double shrink           # Rprop
    double grow
    double smallest_step
    double largest_step
    bint prepares           # penalties.pxd has something to do
    double scale            # of the gradient in this step, as its norm is clipped
    long steps              # taken so far
    double momentum_product     # NAdam's, of the momenta of these steps
    real *first             # momentum buffer, Adam's mean of gradients, Rprop's gradient before
    real *second            # mean of squared gradients, Adagrad's sum of them, Rprop's step sizes
    real *third             # AMSGrad's largest mean of squares, centred RMSprop's mean of gradients
    double largest_parameter    # bounds max |w|
    double largest_first        # bounds max |first|
    double largest_second       # bounds Adagrad's sums

cdef enum:
    MOST_CHUNKS = 64            # of the flat vectors, whose squares are summed and updated one by one
    LEAST_CHUNK = 4096


cdef inline long chunk_size(long n) noexcept nogil:
    """Numbers of a chunk of vectors of n numbers: it follows from n alone, so sums do not depend on threads."""
    cdef long size = (n + MOST_CHUNKS - 1) // MOST_CHUNKS
    return LEAST_CHUNK if size < LEAST_CHUNK else (size + 4 * VL - 1) // (4 * VL) * (4 * VL)


cdef inline vec sum_of_squares(const real *gradient, long n) noexcept nogil:
    """Of n vectors, lane by lane."""
    cdef vec s0 = v_zero(), s1 = v_zero(), s2 = v_zero(), s3 = v_zero(), g
    cdef long i
    for i in range(n // 4):
        g = v_load(gradient + (4 * i) * VL)
        s0 = s0 + g * g
        g = v_load(gradient + (4 * i + 1) * VL)
        s1 = s1 + g * g
        g = v_load(gradient + (4 * i + 2) * VL)
        s2 = s2 + g * g
        g = v_load(gradient + (4 * i + 3) * VL)
        s3 = s3 + g * g
    for i in range(n // 4 * 4, n):
        g = v_load(gradient + i * VL)
        s0 = s0 + g * g
    return (s0 + s1) + (s2 + s3)


cdef inline double squared_norm(const real *gradient, long n) noexcept nogil:
    """Sum of g^2; not finite if any g is NaN or infinite, or beyond the square root of the largest number."""
    return v_sum(sum_of_squares(gradient, n // VL))


cdef inline bint all_finite(const real *a, long n) noexcept nogil:
    """0 a is 0, but NaN where a is NaN or infinite."""
    cdef vec s = v_zero(), zero = v_zero()
    cdef long i
    for i in range(n // VL):
        s = s + zero * v_load(a + i * VL)
    if n % VL:
        s = s + zero * v_load_first(a + n // VL * VL, n % VL)
    return v_sum(s) == 0


cdef inline real largest(const real *w, long n) noexcept nogil:
    """max |w|; infinite where a w is NaN."""
    cdef vec m = v_zero()
    cdef long i
    for i in range(n // VL):
        m = v_max(v_abs(v_load(w + i * VL)), m)
    return v_largest(m) if all_finite(w, n) else INFINITY


cdef inline double decay_of_all(const Optimizer *o) noexcept nogil:
    """The decay that acts on all parameters alike; where it spares the biases it is penalties.pxd's."""
    return o.weight_decay if o.decay_bias else 0


cdef inline real sgd(const Optimizer *o, real *w, const real *gradient, long begin, long end) noexcept nogil:
    """v <- mu v + g, w <- w - lr v; Nesterov: w <- w - lr (g + mu v). g includes the weight decay. Returns max |w|."""
    cdef vec lr = v_splat(<real>o.lr), mu = v_splat(<real>o.momentum), decay = v_splat(<real>decay_of_all(o))
    cdef vec g, v, x, m = v_zero()
    cdef long i
    for i in range(begin // VL, end // VL):
        x = v_load(w + i * VL)
        g = v_load(gradient + i * VL) + decay * x
        if o.momentum != 0:
            v = mu * v_load(o.first + i * VL) + g
            v_store(o.first + i * VL, v)
            g = g + mu * v if o.nesterov else v
        x = x - lr * g
        m = v_max(v_abs(x), m)
        v_store(w + i * VL, x)
    return v_largest(m)


cdef inline real adam(const Optimizer *o, real *w, const real *gradient, long begin, long end) noexcept nogil:
    """Kingma & Ba, 2015, algorithm 1, in the order of operations of torch. Returns max |w|.

    m <- m + (1 - b1)(g - m), v <- b2 v + (1 - b2) g^2, w <- w - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps).
    AdamW (Loshchilov & Hutter, 2019) shrinks w by lr * weight_decay instead of adding the decay to g. AMSGrad (Reddi et
    al., 2018) divides by the largest v so far, in torch's form: the largest before its correction.
    """
    cdef double correction1 = 1 - pow(o.momentum, <double>o.steps), correction2 = 1 - pow(o.beta2, <double>o.steps)
    cdef vec step = v_splat(<real>(o.lr / correction1)), root = v_splat(<real>(1 / sqrt(correction2)))
    cdef vec rest1 = v_splat(<real>(1 - o.momentum)), beta2 = v_splat(<real>o.beta2), rest2 = v_splat(<real>(1 - o.beta2))
    cdef vec eps = v_splat(<real>o.eps)
    cdef vec decay = v_splat(<real>(decay_of_all(o) if o.kind == ADAM else 0))
    cdef vec keep = v_splat(<real>(1 - o.lr * o.weight_decay if o.kind == ADAMW and o.decay_bias else 1))
    cdef vec x, g, mean, square, m = v_zero()
    cdef bint amsgrad = o.amsgrad       # a local: the loop is compiled once for each
    cdef long i
    for i in range(begin // VL, end // VL):
        x = v_load(w + i * VL)
        g = v_load(gradient + i * VL) + decay * x
        mean = v_load(o.first + i * VL)
        mean = mean + rest1 * (g - mean)
        square = beta2 * v_load(o.second + i * VL) + rest2 * g * g
        v_store(o.first + i * VL, mean)
        v_store(o.second + i * VL, square)
        if amsgrad:
            square = v_max(v_load(o.third + i * VL), square)
            v_store(o.third + i * VL, square)
        x = keep * x - step * mean / (v_sqrt(square) * root + eps)
        m = v_max(v_abs(x), m)
        v_store(w + i * VL, x)
    return v_largest(m)


cdef inline double momentum_at(const Optimizer *o, long step) noexcept nogil:
    """NAdam's warm-up of the momentum: from b1 / 2 to b1."""
    return o.momentum * (1 - 0.5 * pow(0.96, step * o.momentum_decay))


cdef inline real nadam(const Optimizer *o, real *w, const real *gradient, long begin, long end) noexcept nogil:
    """Dozat, 2016: Adam's m and v, the step a mixture of g and m. Returns max |w|.

    w <- w - lr ((1 - mu_t) / (1 - P_t) g + mu_t+1 / (1 - P_t mu_t+1) m) / (sqrt(v / (1 - b2^t)) + eps), P_t = mu_1 ... mu_t.
    """
    cdef double next_momentum = momentum_at(o, o.steps + 1)
    cdef vec of_g = v_splat(<real>(o.lr * (1 - momentum_at(o, o.steps)) / (1 - o.momentum_product)))
    cdef vec of_mean = v_splat(<real>(o.lr * next_momentum / (1 - o.momentum_product * next_momentum)))
    cdef vec correction = v_splat(<real>(1 / sqrt(1 - pow(o.beta2, <double>o.steps))))
    cdef vec rest1 = v_splat(<real>(1 - o.momentum)), beta2 = v_splat(<real>o.beta2), rest2 = v_splat(<real>(1 - o.beta2))
    cdef vec eps = v_splat(<real>o.eps), decay = v_splat(<real>decay_of_all(o))
    cdef vec x, g, mean, square, m = v_zero()
    cdef long i
    for i in range(begin // VL, end // VL):
        x = v_load(w + i * VL)
        mean = v_load(o.first + i * VL)
        g = v_load(gradient + i * VL) + decay * x
        square = beta2 * v_load(o.second + i * VL) + rest2 * g * g
        mean = mean + rest1 * (g - mean)
        v_store(o.first + i * VL, mean)
        v_store(o.second + i * VL, square)
        x = x - (of_g * g + of_mean * mean) / (correction * v_sqrt(square) + eps)
        m = v_max(v_abs(x), m)
        v_store(w + i * VL, x)
    return v_largest(m)


cdef inline real rmsprop(const Optimizer *o, real *w, const real *gradient, long begin, long end) noexcept nogil:
    """Tieleman & Hinton, 2012; centred: Graves, 2013. Returns max |w|.

    v <- a v + (1 - a) g^2, centred: c <- c + (1 - a)(g - c) and v - c^2 in the place of v (no less than 0, which torch
    lets rounding make it); d = g / (sqrt(v) + eps), with momentum: b <- mu b + d in its place; w <- w - lr d.
    """
    cdef vec lr = v_splat(<real>o.lr), mu = v_splat(<real>o.momentum), decay = v_splat(<real>decay_of_all(o))
    cdef vec alpha = v_splat(<real>o.beta2), rest = v_splat(<real>(1 - o.beta2)), eps = v_splat(<real>o.eps)
    cdef vec x, g, mean, square, m = v_zero()
    cdef bint centered = o.centered, with_momentum = o.momentum != 0
    cdef long i
    for i in range(begin // VL, end // VL):
        x = v_load(w + i * VL)
        g = v_load(gradient + i * VL) + decay * x
        square = alpha * v_load(o.second + i * VL) + rest * g * g
        v_store(o.second + i * VL, square)
        if centered:
            mean = v_load(o.third + i * VL)
            mean = mean + rest * (g - mean)
            v_store(o.third + i * VL, mean)
            square = v_max(square - mean * mean, v_zero())
        g = g / (v_sqrt(square) + eps)
        if with_momentum:
            g = mu * v_load(o.first + i * VL) + g
            v_store(o.first + i * VL, g)
        x = x - lr * g
        m = v_max(v_abs(x), m)
        v_store(w + i * VL, x)
    return v_largest(m)


cdef inline real adagrad(const Optimizer *o, real *w, const real *gradient, long begin, long end) noexcept nogil:
    """Duchi et al., 2011: s <- s + g^2, w <- w - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps). Returns max |w|."""
    cdef vec lr = v_splat(<real>(o.lr / (1 + (o.steps - 1) * o.lr_decay))), eps = v_splat(<real>o.eps)
    cdef vec initial = v_splat(<real>o.initial_sum), decay = v_splat(<real>decay_of_all(o))
    cdef vec x, g, s, m = v_zero()
    cdef bint at_first = o.steps == 1
    cdef long i
    for i in range(begin // VL, end // VL):
        x = v_load(w + i * VL)
        g = v_load(gradient + i * VL) + decay * x
        s = (initial if at_first else v_load(o.second + i * VL)) + g * g
        v_store(o.second + i * VL, s)
        x = x - lr * g / (v_sqrt(s) + eps)
        m = v_max(v_abs(x), m)
        v_store(w + i * VL, x)
    return v_largest(m)


cdef inline real rprop(const Optimizer *o, real *w, const real *gradient, long begin, long end) noexcept nogil:
    """Riedmiller & Braun, 1993, without backtracking: Igel & Husken, 2000, iRprop-. Returns max |w|.

    The step size grows where g has the sign of the gradient before, and shrinks where it has turned: there w stays, and
    g counts as 0 in the next step. w <- w - sign(g) size. Sizes start at lr.
    """
    cdef vec shrink = v_splat(<real>o.shrink), grow = v_splat(<real>o.grow), one = v_splat(1), zero = v_zero()
    cdef vec smallest = v_splat(<real>o.smallest_step), most = v_splat(<real>o.largest_step)
    cdef vec initial = v_splat(<real>o.lr), decay = v_splat(<real>decay_of_all(o))
    cdef vec x, g, turn, size, m = v_zero()
    cdef bint at_first = o.steps == 1
    cdef long i
    for i in range(begin // VL, end // VL):
        x = v_load(w + i * VL)
        g = v_load(gradient + i * VL) + decay * x
        turn = g * v_load(o.first + i * VL)
        size = initial if at_first else v_load(o.second + i * VL)
        size = size * v_where_less(turn, zero, shrink, v_where_less(zero, turn, grow, one))
        size = v_min(v_max(size, smallest), most)
        g = v_where_less(turn, zero, zero, g)
        v_store(o.first + i * VL, g)
        v_store(o.second + i * VL, size)
        x = x - v_where_less(g, zero, zero - size, v_where_less(zero, g, size, zero))
        m = v_max(v_abs(x), m)
        v_store(w + i * VL, x)
    return v_largest(m)


cdef inline long numbers_of_first(const Optimizer *o, long n) noexcept nogil:
    """How many numbers the state vector `first` has for n parameters: n or none."""
    return n if o.kind in (ADAM, ADAMW, NADAM, RPROP) or (o.kind in (SGD, RMSPROP) and o.momentum != 0) else 0


cdef inline long numbers_of_second(const Optimizer *o, long n) noexcept nogil:
    return 0 if o.kind == SGD else n


cdef inline long numbers_of_third(const Optimizer *o, long n) noexcept nogil:
    return n if o.amsgrad or o.centered else 0
