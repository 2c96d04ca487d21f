/* A VL x VL block turned in registers: log2(VL) rounds of interleaving the upper with the lower half of the rows. */
#ifndef FASTBP_TRANSPOSE_H
#define FASTBP_TRANSPOSE_H

#include "simd.h"

#define LOWER(i) i / 2 + i % 2 * LANES
#define UPPER(i) LANES / 2 + i / 2 + i % 2 * LANES

/* a0 b0 a1 b1 ... of the lower halves, and of the upper ones. */
FASTBP_INLINE void v_interleave(vec a, vec b, vec *low, vec *high)
{
    *low = SHUFFLE(a, b, LOWER);
    *high = SHUFFLE(a, b, UPPER);
}

/* Lane k: the sum (the largest) of the lanes of block[k], for VL vectors at once; block is used up. Each round joins the
 * halves of all vectors in pairs. The order is part of the results. */
FASTBP_INLINE vec v_reduced(vec *block, const int largest)
{
#pragma GCC unroll 4
    for (int n = VL; n > 1; n /= 2) {
#pragma GCC unroll 8
        for (int k = 0; k < n / 2; k++) {
            vec low, high;
            v_interleave(block[k], block[k + n / 2], &low, &high);
            block[k] = largest ? v_max(low, high) : low + high;
        }
    }
    return block[0];
}

FASTBP_INLINE vec v_sums(vec *block) { return v_reduced(block, 0); }
FASTBP_INLINE vec v_maxes(vec *block) { return v_reduced(block, 1); }

/* target[j][i] = source[i][j] for i < rows <= VL, j < columns <= VL; lanes `rows` .. VL-1 of target are zeroed.
 * Rows of source are source_stride apart, rows of target (VL wide) target_stride. */
FASTBP_INLINE void transpose_block(const real *source, long source_stride, long rows, long columns, real *target,
                                   long target_stride)
{
    vec block[VL], turned[VL];
    if (rows == VL && columns == VL) {
#pragma GCC unroll 16
        for (int i = 0; i < VL; i++)
            block[i] = v_load(source + i * source_stride);
    } else {
        for (int i = 0; i < VL; i++)
            block[i] = i < rows ? v_load_first(source + i * source_stride, columns) : v_zero();
    }
#pragma GCC unroll 4
    for (int round = 1; round < VL; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < VL / 2; i++)
            v_interleave(block[i], block[i + VL / 2], &turned[2 * i], &turned[2 * i + 1]);
#pragma GCC unroll 16
        for (int i = 0; i < VL; i++)
            block[i] = turned[i];
    }
    if (columns == VL) {
#pragma GCC unroll 16
        for (int i = 0; i < VL; i++)
            v_store(target + i * target_stride, block[i]);
    } else {
        for (int i = 0; i < columns; i++)
            v_store(target + i * target_stride, block[i]);
    }
}

/* The same for any number of columns. */
static void transpose_rows(const real *source, long source_stride, long rows, long columns, real *target,
                           long target_stride)
{
    for (long i = 0; i < columns; i += VL)
        transpose_block(source + i, source_stride, rows, columns - i < VL ? columns - i : VL,
                        target + i * target_stride, target_stride);
}

#endif
