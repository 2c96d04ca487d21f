# The updates, on flat vectors padded with zeros to whole vectors, from number `begin` to number `end`. Semantics are
# torch.optim's.

from simd cimport real, vec, VL, v_load, v_load_first, v_store, v_splat, v_zero, v_max, v_abs, v_sqrt, v_sum, v_largest
from names cimport SGD, ADAM, ADAMW
from libc.math cimport sqrt, pow

cdef extern from "math.h" nogil:
    const float INFINITY

cdef struct Optimizer:
    int kind
    bint nesterov
    double lr
    double momentum         # SGD; beta1 of Adam
    double beta2
    double eps
    double weight_decay
    long steps              # taken so far
    real *first             # momentum buffer, or Adam's mean of gradients
    real *second            # Adam's mean of squared gradients
    double largest_parameter    # bounds max |w|
    double largest_first        # bounds max |first|

cdef enum:
    MOST_CHUNKS = 64            # of the flat vectors, whose squares are summed and updated one by one
    LEAST_CHUNK = 4096


cdef inline long chunk_size(long n) noexcept nogil:
    """Numbers of a chunk of vectors of n numbers: it follows from n alone, so sums do not depend on threads."""
    cdef long size = (n + MOST_CHUNKS - 1) // MOST_CHUNKS
    return LEAST_CHUNK if size < LEAST_CHUNK else (size + 4 * VL - 1) // (4 * VL) * (4 * VL)


cdef inline double squared_norm(const real *gradient, long n) noexcept nogil:
    """Sum of g^2; not finite if any g is NaN or infinite, or beyond the square root of the largest number."""
    cdef vec s0 = v_zero(), s1 = v_zero(), s2 = v_zero(), s3 = v_zero(), g
    cdef long i
    for i in range(n // (4 * VL)):
        g = v_load(gradient + (4 * i) * VL)
        s0 = s0 + g * g
        g = v_load(gradient + (4 * i + 1) * VL)
        s1 = s1 + g * g
        g = v_load(gradient + (4 * i + 2) * VL)
        s2 = s2 + g * g
        g = v_load(gradient + (4 * i + 3) * VL)
        s3 = s3 + g * g
    for i in range(n // (4 * VL) * 4, n // VL):
        g = v_load(gradient + i * VL)
        s0 = s0 + g * g
    return v_sum((s0 + s1) + (s2 + s3))


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


cdef inline real sgd(const Optimizer *o, real *w, const real *gradient, long begin, long end) noexcept nogil:
    """v <- mu v + g, w <- w - lr v; Nesterov: w <- w - lr (g + mu v). g includes the weight decay. Returns max |w|."""
    cdef vec lr = v_splat(<real>o.lr), mu = v_splat(<real>o.momentum), decay = v_splat(<real>o.weight_decay)
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
    AdamW (Loshchilov & Hutter, 2019) shrinks w by lr * weight_decay instead of adding the decay to g.
    """
    cdef double correction1 = 1 - pow(o.momentum, <double>o.steps), correction2 = 1 - pow(o.beta2, <double>o.steps)
    cdef vec step = v_splat(<real>(o.lr / correction1)), root = v_splat(<real>(1 / sqrt(correction2)))
    cdef vec rest1 = v_splat(<real>(1 - o.momentum)), beta2 = v_splat(<real>o.beta2), rest2 = v_splat(<real>(1 - o.beta2))
    cdef vec eps = v_splat(<real>o.eps)
    cdef vec decay = v_splat(<real>(o.weight_decay if o.kind == ADAM else 0))
    cdef vec keep = v_splat(<real>(1 - o.lr * o.weight_decay if o.kind == ADAMW else 1))
    cdef vec x, g, mean, square, m = v_zero()
    cdef long i
    for i in range(begin // VL, end // VL):
        x = v_load(w + i * VL)
        g = v_load(gradient + i * VL) + decay * x
        mean = v_load(o.first + i * VL)
        mean = mean + rest1 * (g - mean)
        square = beta2 * v_load(o.second + i * VL) + rest2 * g * g
        v_store(o.first + i * VL, mean)
        v_store(o.second + i * VL, square)
        x = keep * x - step * mean / (v_sqrt(square) * root + eps)
        m = v_max(v_abs(x), m)
        v_store(w + i * VL, x)
    return v_largest(m)
