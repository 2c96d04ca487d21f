/* Which numbers dropout drops: a function of (the network's key, the step, the layer, the row's place in the batch, the
 * feature), so that no state is kept between numbers, and threads, blocks, levels and dtypes all see the same masks.
 *
 * (key, step, layer, row) are mixed into 64 bits a row, by the finaliser of splitmix64 (Steele, Lea and Flood, 2014); these
 * and the feature go through two rounds of multiply and xorshift a number, with the constants of Wellons' lowbias32 (2018,
 * github.com/skeeto/hash-prospector). Half of the row's bits come in after the first round, so that no row has the mask
 * of another, shifted. The last xorshift of lowbias32 is left out: the comparison hardly sees the bits it changes.
 */
#ifndef FASTBP_DROPOUT_H
#define FASTBP_DROPOUT_H

#include "simd.h"
#include "splitmix.h"

typedef uint32_t uvec __attribute__((vector_size(VECTOR_BYTES)));

/* Below it, as a signed 32-bit number, a share p of all hashes lies. */
static inline int32_t dropout_limit(double p) { return (int32_t)(p * 4294967296.0 - 2147483648.0); }

/* x scale, but -0 where dropped. A kept 0 becomes +0: so the result tells which numbers were dropped. */
FASTBP_INLINE vec v_dropout(vec x, vec scale, uint64_t row, long feature, int32_t limit)
{
    uvec n = (uvec)((ivec){EACH_LANE(ITSELF)} + (whole)feature) + (uint32_t)row;
    n = (n ^ n >> 16) * 0x7feb352du ^ (uint32_t)(row >> 32);
    n = (n ^ n >> 15) * 0x846ca68bu;
#if REAL_BITS == 32
    const ivec dropped = (ivec)n < limit;
#else
    const ivec dropped = (ivec)n << 32 < (whole)limit * 4294967296; /* the lower half of each lane is the hash */
#endif
    return v_select(dropped, (vec)v_sign_bit(), x * scale + v_zero());
}

/* dL/dx for z = v_dropout(x, scale, ...): delta scale, 0 where z is -0. */
FASTBP_INLINE vec v_dropout_slope(vec z, vec delta, vec scale)
{
    return v_select((ivec)z == v_sign_bit(), v_zero(), delta * scale);
}

#endif
