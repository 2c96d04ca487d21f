/* The register tile of networks that run side by side, one in each lane: every number is a vector over networks.
 *
 *     C[m][n] = start[m][n] + sum over k = 0 .. depth-1, in that order, of A[m][k] * B[n][k]
 *
 * Strides are in numbers, so that one product serves y = W x, dL/dx and dL/dW. Nothing is broadcast, so a step of the
 * depth loads M + N vectors for M * N multiply-adds: 7 for 12 at 4 x 3, where 12 accumulators also hide the latency of an
 * FMA (4 cycles x 2 a cycle) and 3 vectors of B and one of A fill the 16 registers of SSE and AVX2.
 */
#ifndef FASTBP_LANES_H
#define FASTBP_LANES_H

#include "simd.h"
#include "tile.h"

#if defined(__AVX512F__) || defined(__aarch64__)
enum { LANE_TILE_N = 4 };
#define EACH_LANE_TILE_N(F) F(1) F(2) F(3) F(4)
#else
enum { LANE_TILE_N = 3 };
#define EACH_LANE_TILE_N(F) F(1) F(2) F(3)
#endif
enum { LANE_TILE_M = 4 };

/* Lane i: sources[i][k]. */
FASTBP_INLINE vec v_from_each(const real *const *sources, long k)
{
#define FROM(i) sources[i][k]
    return (vec){EACH_LANE(FROM)}; /* at once: lane after lane, each insertion would wait for the one before */
#undef FROM
}

typedef struct {
    long m, n, depth;
    const real *a;
    long a_m, a_k;
    const real *b;
    long b_n, b_k;
    const real *start; /* rows start_m apart; NULL: zeros */
    long start_m;
    real *c; /* rows c_m apart, each contiguous */
    long c_m;
} LaneProduct;

#define FOR_M _Pragma("GCC unroll 4") for (int m = 0; m < M; m++)
#define FOR_N _Pragma("GCC unroll 4") for (int n = 0; n < N; n++)

/* a, in a register: compilers load it anew for each of its products, which is more loads than products. */
FASTBP_INLINE vec v_held(vec a)
{
#if defined(__AVX512F__)
    __asm__("" : "+v"(a));
#elif defined(__x86_64__)
    __asm__("" : "+x"(a));
#elif defined(__aarch64__)
    __asm__("" : "+w"(a));
#endif
    return a;
}

/* A tile of M x N, or as many of them as there are below one another. */
FASTBP_INLINE void lane_tiles(const int M, const int N, const LaneProduct *p, long at_m, long end_m, long at_n)
{
    const long a_m = p->a_m, a_k = p->a_k, b_n = p->b_n, b_k = p->b_k;
    for (; at_m < end_m; at_m += M) {
        const real *a = p->a + at_m * a_m, *b = p->b + at_n * b_n;
        vec acc[LANE_TILE_M][LANE_TILE_N], b_k_n[LANE_TILE_N];
        if (p->start) {
            const real *start = p->start + at_m * p->start_m + at_n * VL;
            FOR_M FOR_N acc[m][n] = v_load(start + m * p->start_m + n * VL);
        } else {
            FOR_M FOR_N acc[m][n] = v_zero();
        }
        for (long k = p->depth; k > 0; k--, a += a_k, b += b_k) {
            FOR_N b_k_n[n] = v_held(v_load(b + n * b_n));
            FOR_M
            {
                const vec a_m_k = v_held(v_load(a + m * a_m));
                FOR_N acc[m][n] = v_fma(a_m_k, b_k_n[n], acc[m][n]);
            }
        }
        real *c = p->c + at_m * p->c_m + at_n * VL;
        FOR_M FOR_N v_store(c + m * p->c_m + n * VL, acc[m][n]);
    }
}

static __attribute__((noinline)) void lane_product(const LaneProduct *p)
{
    const long whole = p->m / LANE_TILE_M * LANE_TILE_M;
#define TILES(N) \
    case N: \
        lane_tiles(LANE_TILE_M, N, p, 0, whole, at_n); \
        lane_tiles(1, N, p, whole, p->m, at_n); \
        break;
    for (long at_n = 0, n; at_n < p->n; at_n += n) {
        n = next_part(p->n - at_n, LANE_TILE_N);
        switch (n) {
            EACH_LANE_TILE_N(TILES)
        }
    }
#undef TILES
}

#endif
