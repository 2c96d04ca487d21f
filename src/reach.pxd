# How far an update can go, known before it is made: a step whose numbers could leave the finite range is not begun.
#
# `g` bounds every entry of the gradient, clipped and penalties added. What is bounded is what is computed, intermediate
# results included; LARGEST_PARAMETER is so far below overflow that rounding needs no thought.

from names cimport ADAMW, NADAM
from optimizers cimport Optimizer, momentum_at
from libc.math cimport fabs, fmax, fmin, pow, sqrt

cdef extern from *:
    """
    /* No parameter may pass this: far from overflow, far from any use. */
    #define LARGEST_PARAMETER (REAL_BITS == 32 ? 1e30 : 1e150)
    /* No gradient that is squared may pass this, and a norm below this may read as 0 (1e9 parameters). */
    #define LARGEST_ROOT (REAL_BITS == 32 ? 1e19 : 1e150)
    #define LOST (REAL_BITS == 32 ? 1e-14 : 1e-149)
    """
    const double LARGEST_PARAMETER
    const double LARGEST_ROOT
    const double LOST

cdef struct Reach:
    double way          # of a parameter, at most, from where it is
    double first        # bounds max |first| after the step
    double second       # bounds Adagrad's sums after the step


cdef inline double over_root(const Optimizer *o, double a, double ratio) noexcept nogil:
    """Bounds |a| / (sqrt(v) + eps) where |a| <= ratio sqrt(v), but for what is too small for its square to reach v."""
    return fmin(a / o.eps, ratio + LOST * ratio / o.eps)


cdef inline Reach sgd_reach(const Optimizer *o, double g) noexcept nogil:
    cdef Reach r
    r.first = o.momentum * o.largest_first + g
    r.way = o.lr * (2 * r.first)
    r.second = 0
    return r


cdef inline double mean_over_root(const Optimizer *o, double mean) noexcept nogil:
    """Bounds |m| / (sqrt(v) + eps) of Adam's two means: by Cauchy-Schwarz |m| <= c sqrt(v)."""
    if o.momentum * o.momentum < o.beta2:
        return fmin(mean / o.eps, (1 - o.momentum) / sqrt((1 - o.beta2) * (1 - o.momentum * o.momentum / o.beta2))
                    + LOST / sqrt(1 - o.beta2) / o.eps)
    return mean / o.eps


cdef inline Reach adam_reach(const Optimizer *o, double g) noexcept nogil:
    cdef Reach r
    cdef double step = o.lr / (1 - pow(o.momentum, <double>(o.steps + 1)))
    r.first = o.momentum * o.largest_first + (1 - o.momentum) * g
    r.way = fmax(step * mean_over_root(o, r.first), step * r.first)     # the latter is computed before it is divided
    r.second = 0
    return r


cdef inline Reach nadam_reach(const Optimizer *o, double g) noexcept nogil:
    cdef Reach r
    cdef double mu = momentum_at(o, o.steps + 1), next_mu = momentum_at(o, o.steps + 2), product = o.momentum_product * mu
    cdef double of_g = o.lr * (1 - mu) / (1 - product), of_mean = o.lr * next_mu / (1 - product * next_mu)
    r.first = o.momentum * o.largest_first + (1 - o.momentum) * g
    r.way = fmax(of_g * over_root(o, g, 1 / sqrt(1 - o.beta2)) + of_mean * mean_over_root(o, r.first),
                 of_g * g + of_mean * r.first)
    r.second = 0
    return r


cdef inline Reach rmsprop_reach(const Optimizer *o, double g) noexcept nogil:
    """Centred, a steady gradient leaves no more than eps to divide by."""
    cdef Reach r
    r.first = g / o.eps if o.centered else over_root(o, g, 1 / sqrt(1 - o.beta2))
    r.first += o.momentum * o.largest_first
    r.way = o.lr * r.first
    r.second = 0
    return r


cdef inline Reach adagrad_reach(const Optimizer *o, double g) noexcept nogil:
    cdef Reach r
    r.first = 0
    r.way = o.lr * fmax(over_root(o, g, 1), g)
    r.second = fmax(o.largest_second, o.initial_sum) + g * g
    return r


cdef inline Reach rprop_reach(const Optimizer *o, double g) noexcept nogil:
    cdef Reach r
    r.first = g
    r.way = o.largest_step
    r.second = 0
    return r


cdef inline bint go(Optimizer *o, const Reach *r) noexcept nogil:
    """Counts a step that stays within reach; else returns False with nothing changed."""
    cdef double keep = fmax(1, fabs(1 - o.lr * o.weight_decay)) if o.kind == ADAMW else 1
    if not (r.way + o.largest_parameter * keep < LARGEST_PARAMETER and r.first < LARGEST_PARAMETER
            and r.second < LARGEST_ROOT * LARGEST_ROOT):
        return False
    o.steps += 1
    o.largest_first = r.first
    o.largest_second = r.second
    if o.kind == NADAM:
        o.momentum_product *= momentum_at(o, o.steps)
    return True
