/* A VL x VL block turned in registers: log2(VL) rounds of interleaving the upper with the lower half of the rows. */
#ifndef FASTBP_TRANSPOSE_H
#define FASTBP_TRANSPOSE_H

#include "simd.h"

FASTBP_INLINE void v_interleave(vec a, vec b, vec *low, vec *high)
{
    ivec lower, upper;
    for (int i = 0; i < VL; i++) {
        lower[i] = i / 2 + (i % 2) * VL;
        upper[i] = lower[i] + VL / 2;
    }
#if defined(__clang__)
    real both[2 * VL];
    memcpy(both, &a, sizeof a);
    memcpy(both + VL, &b, sizeof b);
    for (int i = 0; i < VL; i++) {
        (*low)[i] = both[lower[i]];
        (*high)[i] = both[upper[i]];
    }
#else
    *low = __builtin_shuffle(a, b, lower);
    *high = __builtin_shuffle(a, b, upper);
#endif
}

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

#endif
