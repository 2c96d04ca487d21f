/* What the core can do at best, in the vectors of src/simd.h: fused multiply-adds, memory traffic, transcendental rates. */
#include "transcendental.h"

#define CHAINS 12 /* 4 cycles of latency x 2 a cycle, and some */
#define EACH_CHAIN _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++)

/* CHAINS vectors of multiply-adds, `times` over: 2 * LANES * CHAINS * times operations, all in registers. */
real multiply_adds(long times)
{
    static volatile real factor = (real)0.999,
                         term = (real)1e-4; /* unknown to the compiler, which drops a chain at rest */
    vec a[CHAINS], m = v_splat(factor), c = v_splat(term), sum = v_zero();
    EACH_CHAIN a[i] = v_splat(i);
    for (long k = 0; k < times; k++)
        EACH_CHAIN a[i] = v_fma(a[i], m, c);
    EACH_CHAIN sum += a[i];
    return v_sum(sum);
}

/* a <- a + s b over n numbers: reads two streams, writes one. */
void triad(real *a, const real *b, long n, real s)
{
    for (long i = 0; i < n; i += VL)
        v_store(a + i, v_fma(v_splat(s), v_load(b + i), v_load(a + i)));
}

/* y <- verb(x) over n numbers, `times` over. */
#define STREAM(name, verb) \
    void name(const real *x, real *y, long n, long times) \
    { \
        for (; times > 0; times--) { \
            for (long i = 0; i < n; i += VL) \
                v_store(y + i, verb(v_load(x + i))); \
            __asm__ volatile("" ::: "memory"); \
        } \
    }
STREAM(stream_exp, v_exp)
STREAM(stream_tanh, v_tanh)
STREAM(stream_sigmoid, v_sigmoid)
STREAM(stream_softplus, v_softplus)
STREAM(stream_normal_cdf, v_normal_cdf)
