/* The register tile: the one product that forward, dX and dW are made of.
 *
 *     C[r][lane] = C0[r][lane] + sum over k = 0 .. depth-1, in that order, of A(r, k) * B[k][lane]
 *
 * for R rows and V vectors of lanes, all held in registers while k runs. Each element is one chain of fused
 * multiply-adds in the order of k; a chain cut into pieces and resumed from the stored C gives the same bits, so
 * blocking over k, tile shapes and threads are invisible in the results.
 *
 * A numbers matrix of `panels`: features in groups of VL, each group (rows, VL) contiguous. Panels start `stride`
 * numbers apart. The same panel is read three ways: broadcast row by row (A of forward and dX), broadcast feature by
 * feature (A of dW), and as vectors (B of dW).
 *
 * Shape of the tile: R*V accumulators + V of B + 1 broadcast must fit the 16 registers of SSE and AVX2 or the 32 of
 * AVX-512 and NEON; 12 accumulators hide the latency of an FMA (4 cycles x 2 a cycle), and V >= 2 keeps the loads of a
 * step (R + V) below its multiply-adds (R * V). Rows come in any number, so they are cut into tiles of up to 6 x 2; a
 * panel's features come in VL, so those are cut into tiles of 4 x 3.
 */
#ifndef FASTBP_TILE_H
#define FASTBP_TILE_H

#include "simd.h"

#if defined(__AVX512F__) || defined(__aarch64__)
enum { TILE_ROWS = 8, TILE_FEATURES = 8 };
#define EACH_TILE_ROWS(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8)
#define EACH_TILE_FEATURES(F) EACH_TILE_ROWS(F)
#else
enum { TILE_ROWS = 6, TILE_FEATURES = 4 };
#define EACH_TILE_ROWS(F) F(1) F(2) F(3) F(4) F(5) F(6)
#define EACH_TILE_FEATURES(F) F(1) F(2) F(3) F(4)
#endif

enum { PAIR = 2 * VL };

typedef vec accumulators[8][3];

#define FOR_ROWS _Pragma("GCC unroll 8") for (int r = 0; r < R; r++)
#define FOR_VECTORS _Pragma("GCC unroll 3") for (int v = 0; v < V; v++)

/* acc[r][v] += a[r * row_step] * b[v], for every r and v: one step of the depth. */
FASTBP_INLINE void tile_step(const int R, const int V, accumulators acc, const real *a, const long row_step,
                             const vec *b)
{
    FOR_ROWS
    {
        const vec a_r = v_splat(a[r * row_step]);
        FOR_VECTORS acc[r][v] = v_fma(a_r, b[v], acc[r][v]);
    }
}

/* What a product by rows starts from and ends with. */
typedef struct {
    const real *start; /* (V * VL,) the same for every row: the bias, or zeros. NULL: resume from the stored C */
    real floor;        /* every stored number is at least this: 0 for relu, -inf for none */
} ends;

static real zero_lanes[PAIR]; /* a start of zeros; never written */

/* C (R rows of V panels, c_stride apart) from A (R rows of panels, a_stride apart) and b (depth, V * VL). */
FASTBP_INLINE void tile_by_rows(const int R, const int V, const real *a, long a_stride, const real *b, long depth,
                                const ends *e, real *c, long c_stride)
{
    accumulators acc;
    if (e->start) {
        FOR_ROWS FOR_VECTORS acc[r][v] = v_load(e->start + v * VL);
    } else {
        FOR_ROWS FOR_VECTORS acc[r][v] = v_load(c + r * VL + v * c_stride);
    }
    for (; depth > 0; depth -= VL, a += a_stride) {
        const long in_panel = depth < VL ? depth : VL;
        for (long k = 0; k < in_panel; k++, b += V * VL) {
            vec b_k[2];
            FOR_VECTORS b_k[v] = v_load(b + v * VL);
            tile_step(R, V, acc, a + k, VL, b_k);
        }
    }
    const vec floor = v_splat(e->floor);
    FOR_ROWS FOR_VECTORS v_store(c + r * VL + v * c_stride, v_max(floor, acc[r][v]));
}

/* C (R, c_stride), its first `lanes` columns, from one panel of A (depth, VL), its first R features, and V panels of B
 * (depth, VL), b_stride apart. */
FASTBP_INLINE void tile_by_features(const int R, const int V, const real *a, const real *b, long b_stride, long depth,
                                    int resume, real *c, long c_stride, long lanes)
{
    accumulators acc;
    const long tail = lanes - (V - 1) * VL; /* lanes of the last vector */
    FOR_ROWS FOR_VECTORS acc[r][v] = v_zero();
    if (resume) {
        FOR_ROWS FOR_VECTORS acc[r][v] =
            v < V - 1 ? v_load(c + r * c_stride + v * VL) : v_load_first(c + r * c_stride + v * VL, tail);
    }
    for (long k = 0; k < depth; k++) {
        vec b_k[3];
        FOR_VECTORS b_k[v] = v_load(b + k * VL + v * b_stride);
        tile_step(R, V, acc, a + k * VL, 1, b_k);
    }
    if (tail == VL) {
        FOR_ROWS FOR_VECTORS v_store(c + r * c_stride + v * VL, acc[r][v]);
    } else {
        FOR_ROWS
        {
            for (int v = 0; v < V - 1; v++)
                v_store(c + r * c_stride + v * VL, acc[r][v]);
            v_store_first(c + r * c_stride + (V - 1) * VL, acc[r][V - 1], tail);
        }
    }
}

/* n rows (vectors) are cut into parts that differ by at most one: 16 = 6 + 5 + 5, not 6 + 6 + 4. The next part of what is
 * left, at most `most`. */
FASTBP_INLINE long next_part(long left, const long most) { return left / ((left + most - 1) / most); }

static void product_by_rows(long rows, int vectors, const real *a, long a_stride, const real *b, long depth,
                            const ends *e, real *c, long c_stride)
{
#define TILE(R) \
    case R: \
        if (vectors == 1) \
            tile_by_rows(R, 1, a, a_stride, b, depth, e, c, c_stride); \
        else \
            tile_by_rows(R, 2, a, a_stride, b, depth, e, c, c_stride); \
        break;
    while (rows > 0) {
        const long n = next_part(rows, TILE_ROWS);
        switch (n) {
            EACH_TILE_ROWS(TILE)
        }
        rows -= n, a += n * VL, c += n * VL;
    }
#undef TILE
}

static void product_by_features(long features, int vectors, const real *a, const real *b, long b_stride, long depth,
                                int resume, real *c, long c_stride, long lanes)
{
#define TILE(R) \
    case R: \
        if (vectors == 1) \
            tile_by_features(R, 1, a, b, b_stride, depth, resume, c, c_stride, lanes); \
        else if (vectors == 2) \
            tile_by_features(R, 2, a, b, b_stride, depth, resume, c, c_stride, lanes); \
        else \
            tile_by_features(R, 3, a, b, b_stride, depth, resume, c, c_stride, lanes); \
        break;
    while (features > 0) {
        const long n = next_part(features, TILE_FEATURES);
        switch (n) {
            EACH_TILE_FEATURES(TILE)
        }
        features -= n, a += n, c += n * c_stride;
    }
#undef TILE
}

#endif
