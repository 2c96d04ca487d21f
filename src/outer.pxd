# A line's derivatives by the parameters of a layer: the outer product delta x^T (O, I), row after row of a result that
# is not padded.

from simd cimport real, vec, MAX_VL, VL, v_load, v_store, v_store_first, v_splat, v_stream, v_where_first
from plan cimport CACHE_LINE, least, panels
from row cimport lane

cdef enum:
    MOST_FLAT = 2048                        # inputs
    LEAST_STREAMED = 512                    # numbers
    FLAT = MOST_FLAT + 2 * MAX_VL           # numbers of a flat row, with a vector of anything before and behind it


cdef inline void store_product(const real *delta, const real *x, long stride, long O, long I, real *target,
                               const real *end) noexcept nogil:
    """delta x^T (O, I) to target. What lies behind it before `end` may be overwritten: a masked store costs some twenty."""
    cdef long o, j
    cdef real *place
    cdef vec d
    for o in range(O):
        d = v_splat(lane(delta, stride, o))
        place = target + o * I
        for j in range(panels(I)):
            if place + (j + 1) * VL <= end:
                v_store(place + j * VL, d * v_load(x + j * stride))
            else:
                v_store_first(place + j * VL, d * v_load(x + j * stride), least(VL, I - j * VL))


cdef inline void store_panel(vec a, long panel, long width, real *target, const real *end) noexcept nogil:
    if target + (panel + 1) * VL <= end:
        v_store(target + panel * VL, a)
    else:
        v_store_first(target + panel * VL, a, least(VL, width - panel * VL))


cdef inline void store_line(const real *line, long stride, long width, real *target, const real *end) noexcept nogil:
    cdef long j
    for j in range(panels(width)):
        store_panel(v_load(line + j * stride), j, width, target, end)


cdef inline bint is_streamed(long O, long I) noexcept nogil:
    """Whether a product is large enough to go past the caches: few of its cache lines are shared with what lies beside it;
    and a vector holds numbers of no more than two rows of W."""
    return O * I >= LEAST_STREAMED and I >= VL and I <= MOST_FLAT


cdef inline void flat_row(const real *x, long stride, long I, real *flat) noexcept nogil:
    cdef long j
    for j in range(panels(I)):
        v_store(flat + MAX_VL + j * VL, v_load(x + j * stride))


cdef inline void put(real *place, vec a, size_t begin, size_t size) noexcept nogil:
    """Past the caches within the whole cache lines that a product fills: to write parts of one costs more than it saves."""
    if <size_t>place - begin < size:
        v_stream(place, a)
    else:
        v_store(place, a)


cdef inline void streamed_product(const real *delta, long stride, const real *flat, long O, long I,
                                  real *target) noexcept nogil:
    """store_product past the caches, of an x that is flat: what is written there would first be read, and push out what is
    needed. In whole vectors on their boundaries, of which some hold the end of a row of W and the beginning of the next."""
    cdef const real *x = flat + MAX_VL
    cdef long o, j = (VL - <long>(<size_t>target % (VL * sizeof(real)) // sizeof(real))) % VL
    cdef size_t begin = (<size_t>target + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE
    cdef size_t size = <size_t>(target + O * I) // CACHE_LINE * CACHE_LINE - begin
    cdef vec d = v_splat(lane(delta, stride, 0)), after
    if j > 0:
        v_store_first(target, d * v_load(x), j)
    for o in range(O):
        while j + VL <= I:
            put(target + j, d * v_load(x + j), begin, size)
            j += VL
        if o == O - 1:
            if j < I:
                v_store_first(target + j, d * v_load(x + j), I - j)
            return
        after = v_splat(lane(delta, stride, o + 1))
        if j < I:
            put(target + j, v_where_first(I - j, d * v_load(x + j), after * v_load(x + j - I)), begin, size)
            j += VL
        j -= I
        target += I
        d = after
