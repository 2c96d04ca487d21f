# Before the update: the gradient of the loss is clipped, by its norm and then by value, and what penalties add to it is
# added. A pass of its own over what is in cache, so that no update pays for what is off: a part of it costs what
# bench/optimizers.py says. Weight decay that acts on all parameters alike stands in the updates.

from simd cimport (real, vec, VL, v_load, v_load_first, v_store, v_store_first, v_splat, v_zero, v_max, v_min,
                   v_where_less)
from names cimport ADAMW, DENSE
from optimizers cimport Optimizer
from plan cimport Layer, Plan, least
from libc.math cimport INFINITY


cdef inline bint prepares_gradient(const Optimizer *o) noexcept nogil:
    """Whether there is something to do here."""
    cdef bint clips = o.clip_norm < INFINITY or o.clip_value < INFINITY
    return clips or o.l1 != 0 or (o.weight_decay != 0 and not o.decay_bias)


cdef inline vec clipped(vec g, vec scale, vec most) noexcept nogil:
    return v_min(v_max(scale * g, v_zero() - most), most)


cdef inline vec penalised(vec g, vec w, vec l1, vec decay) noexcept nogil:
    """g + l1 sign(w) + decay w."""
    return g + v_where_less(w, v_zero(), v_zero() - l1, v_where_less(v_zero(), w, l1, v_zero())) + decay * w


cdef inline void clip(const Optimizer *o, real *g, long n) noexcept nogil:
    cdef vec scale = v_splat(<real>o.scale), most = v_splat(<real>o.clip_value)
    cdef long i
    for i in range(n // VL):
        v_store(g + i * VL, clipped(v_load(g + i * VL), scale, most))
    if n % VL:
        i = n // VL * VL
        v_store_first(g + i, clipped(v_load_first(g + i, n % VL), scale, most), n % VL)


cdef inline void penalise(const Optimizer *o, double weight_decay, const real *w, real *g, long n) noexcept nogil:
    cdef vec l1 = v_splat(<real>o.l1), decay = v_splat(<real>weight_decay)
    cdef long i
    for i in range(n // VL):
        v_store(g + i * VL, penalised(v_load(g + i * VL), v_load(w + i * VL), l1, decay))
    if n % VL:
        i = n // VL * VL
        v_store_first(g + i, penalised(v_load_first(g + i, n % VL), v_load_first(w + i, n % VL), l1, decay), n % VL)


cdef inline void shrink(double by, real *w, long n) noexcept nogil:
    cdef vec keep = v_splat(<real>by)
    cdef long i
    for i in range(n // VL):
        v_store(w + i * VL, keep * v_load(w + i * VL))
    if n % VL:
        i = n // VL * VL
        v_store_first(w + i, keep * v_load_first(w + i, n % VL), n % VL)


cdef inline void prepare(const Optimizer *o, const Plan *plan, real *w, real *gradient, long begin, long end) noexcept nogil:
    """Numbers begin .. end - 1 of the gradient (and of w: AdamW's decay), made ready for the update."""
    cdef double spared = 0 if o.decay_bias else o.weight_decay      # the part of the decay that is not the update's
    cdef bint decoupled = o.kind == ADAMW and spared != 0
    cdef const Layer *layer
    cdef long start, stop
    cdef int l
    if o.scale != 1 or o.clip_value < INFINITY:
        clip(o, gradient + begin, end - begin)
    if o.l1 == 0 and spared == 0:
        return
    for l in range(1 if o.decay_bias else plan.n_layers):       # everything, or W of each layer
        layer = &plan.layers[l]
        start, stop = begin, end
        if not o.decay_bias:
            if layer.kind != DENSE:     # gamma and beta of a norm are spared as biases are
                continue
            start = begin if layer.weight < begin else layer.weight
            stop = least(end, layer.weight + layer.inputs * layer.outputs)
        if start < stop:
            if o.l1 != 0 or not decoupled:
                penalise(o, 0 if decoupled else spared, w + start, gradient + start, stop - start)
            if decoupled:
                shrink(1 - o.lr * spared, w + start, stop - start)
