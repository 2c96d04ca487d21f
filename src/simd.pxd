# The vectors of simd.h and the leaves built on them. A `vec` is declared as a number here, so that Cython lets + - * /
# through to the C compiler, which knows better.

cdef enum:
    MAX_VL = 16

cdef extern from "simd.h" nogil:
    ctypedef float real
    ctypedef float vec
    enum: VL                # lanes of a vec, at most MAX_VL
    enum: REAL_BITS
    vec v_load(const real *p)
    void v_store(real *p, vec a)
    void v_stream(real *p, vec a)               # p on a vector's boundary
    void stores_done()
    vec v_load_first(const real *p, long n)
    void v_store_first(real *p, vec a, long n)
    vec v_splat(real a)
    vec v_zero()
    vec v_max(vec a, vec b)
    vec v_min(vec a, vec b)
    vec v_abs(vec a)
    vec v_copysign(vec magnitude, vec sign)
    vec v_sqrt(vec a)
    vec v_where_less(vec a, vec b, vec then, vec otherwise)    # a < b ? then : otherwise, lane by lane
    bint v_all_less(vec a, vec b)
    vec v_where_first(long n, vec then, vec otherwise)         # then in lanes 0 .. n-1
    real v_sum(vec a)
    real v_largest(vec a)

cdef extern from "transcendental.h" nogil:
    vec v_exp(vec x)
    vec v_expm1(vec x)
    vec v_log(vec x)        # of normal numbers > 0
    vec v_tanh(vec x)
    vec v_sigmoid(vec x)
    vec v_erf(vec x)
    vec v_softplus(vec x)
    vec v_normal_cdf(vec x)

cdef extern from "dots.h" nogil:
    real dot(const real *w, const real *x, long x_step, long n)
    vec dots(const real *W, long stride, long rows, const real *x, long x_step, long n)

cdef extern from "transpose.h" nogil:
    vec v_sums(vec *block)      # lane k: the sum of the lanes of block[k], VL of them
    vec v_maxes(vec *block)
    void transpose_rows(const real *source, long source_stride, long rows, long columns, real *target, long target_stride)

cdef extern from "tile.h" nogil:
    enum: PAIR              # lanes of a tile: 2 * VL
    enum: TILE_FEATURES
    ctypedef struct ends:
        const real *start
        real floor
    real zero_lanes[1]
    long next_part(long left, long most)
    void product_by_rows(long rows, int vectors, const real *a, long a_stride, const real *b, long depth, const ends *e,
                         real *c, long c_stride)
    void product_by_features(long features, int vectors, const real *a, const real *b, long b_stride, long depth,
                             int resume, real *c, long c_stride, long lanes)
