/* W x for rows of W as they lie in memory: lanes over the inputs, VL rows at a time, one sum across lanes for all of them.
 * x is whole vectors, x_step apart. */
#ifndef FASTBP_DOTS_H
#define FASTBP_DOTS_H

#include "transpose.h"

/* w . x over n numbers: four chains, so that additions need not wait for each other. */
FASTBP_INLINE real dot(const real *w, const real *x, long x_step, long n)
{
    vec s[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    long i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL, x += 4 * x_step) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++)
            s[k] = v_fma(v_load(w + i + k * VL), v_load(x + k * x_step), s[k]);
    }
    for (; i < n; i += VL, x += x_step)
        s[0] = v_fma(v_load_first(w + i, n - i < VL ? n - i : VL), v_load(x), s[0]);
    return v_sum((s[0] + s[1]) + (s[2] + s[3]));
}

/* Lane k: w[k] . x over n numbers. */
FASTBP_INLINE vec dots_of(const real *const *w, const real *x, long x_step, long n)
{
    vec s[VL];
#pragma GCC unroll 16
    for (int k = 0; k < VL; k++)
        s[k] = v_zero();
    long i = 0;
    for (; i + VL <= n; i += VL, x += x_step) {
        const vec x_i = v_load(x);
#pragma GCC unroll 16
        for (int k = 0; k < VL; k++)
            s[k] = v_fma(v_load(w[k] + i), x_i, s[k]);
    }
    if (i < n) {
        const vec x_i = v_load(x);
#pragma GCC unroll 16
        for (int k = 0; k < VL; k++)
            s[k] = v_fma(v_load_first(w[k] + i, n - i), x_i, s[k]);
    }
    return v_sums(s);
}

/* Lane k: W_k . x, W_k being row k of `rows` rows, `stride` apart; lanes past them, if rows < VL, repeat the last. */
FASTBP_INLINE vec dots(const real *W, long stride, long rows, const real *x, long x_step, long n)
{
    const real *w[VL];
    if (rows >= VL) {
#pragma GCC unroll 16
        for (int k = 0; k < VL; k++)
            w[k] = W + k * stride;
        return dots_of(w, x, x_step, n);
    }
    for (int k = 0; k < VL; k++)
        w[k] = W + (k < rows ? k : rows - 1) * stride;
    return dots_of(w, x, x_step, n);
}

#endif
