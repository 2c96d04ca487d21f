/* One vector type and its verbs. Everything above this file is written in them, once, for every level and dtype.
 *
 * The build defines REAL_BITS (32 or 64) and VECTOR_BYTES (16, 32 or 64). `real` is the number, `vec` holds VL of
 * them, `ivec` holds VL integers of the same size: the bits of a vec, or the all-ones / all-zeros masks that a
 * comparison of two vecs gives. + - * / and comparisons come from the compiler's vector extension (GCC, clang);
 * a * b + c is left to contract into a fused multiply-add where the level has one.
 */
#ifndef FASTBP_SIMD_H
#define FASTBP_SIMD_H

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if REAL_BITS == 32
typedef float real;
typedef int32_t whole;
#else
typedef double real;
typedef int64_t whole;
#endif

enum { VL = VECTOR_BYTES / (REAL_BITS / 8) };

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef whole ivec __attribute__((vector_size(VECTOR_BYTES)));
typedef real unaligned_vec __attribute__((vector_size(VECTOR_BYTES), aligned(REAL_BITS / 8), may_alias));

#define FASTBP_INLINE static inline __attribute__((always_inline, unused))

FASTBP_INLINE vec v_load(const real *p) { return *(const unaligned_vec *)p; }

FASTBP_INLINE void v_store(real *p, vec a) { *(unaligned_vec *)p = a; }

FASTBP_INLINE vec v_splat(real a) { return a - (vec){0}; }

FASTBP_INLINE vec v_zero(void) { return (vec){0}; }

FASTBP_INLINE vec v_fma(vec a, vec b, vec c) { return a * b + c; }

/* Lanes where `mask` is all ones come from a, the others from b. */
FASTBP_INLINE vec v_select(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }

/* The larger; a NaN in b is kept, as the hardware's max does with its second operand. */
FASTBP_INLINE vec v_max(vec a, vec b) { return v_select(a > b, a, b); }

FASTBP_INLINE vec v_min(vec a, vec b) { return v_select(a < b, a, b); }

FASTBP_INLINE ivec v_sign_bit(void) { return (ivec)v_splat((real)-0.0); }

FASTBP_INLINE vec v_abs(vec a) { return (vec)((ivec)a & ~v_sign_bit()); }

/* |magnitude| with the sign of `sign`. */
FASTBP_INLINE vec v_copysign(vec magnitude, vec sign)
{
    return (vec)(((ivec)magnitude & ~v_sign_bit()) | ((ivec)sign & v_sign_bit()));
}

FASTBP_INLINE vec v_sqrt(vec a)
{
#if defined(__AVX512F__) && VECTOR_BYTES == 64 && REAL_BITS == 32
    return (vec)_mm512_sqrt_ps((__m512)a);
#elif defined(__AVX512F__) && VECTOR_BYTES == 64
    return (vec)_mm512_sqrt_pd((__m512d)a);
#elif defined(__AVX__) && VECTOR_BYTES == 32 && REAL_BITS == 32
    return (vec)_mm256_sqrt_ps((__m256)a);
#elif defined(__AVX__) && VECTOR_BYTES == 32
    return (vec)_mm256_sqrt_pd((__m256d)a);
#else
    for (int i = 0; i < VL; i++) /* -fno-math-errno turns this into the vector instruction */
        a[i] = REAL_BITS == 32 ? (real)__builtin_sqrtf((float)a[i]) : (real)__builtin_sqrt((double)a[i]);
    return a;
#endif
}

/* The mask of lanes 0 .. n-1. */
FASTBP_INLINE ivec v_first(long n)
{
    ivec lane;
    for (int i = 0; i < VL; i++)
        lane[i] = i;
    return lane < (whole)n;
}

FASTBP_INLINE vec v_where_less(vec a, vec b, vec then, vec otherwise) { return v_select(a < b, then, otherwise); }

FASTBP_INLINE vec v_where_first(long n, vec then, vec otherwise) { return v_select(v_first(n), then, otherwise); }

/* The first n lanes from memory, zeros in the others; nothing past p[n-1] is touched. 0 <= n <= VL. */
FASTBP_INLINE vec v_load_first(const real *p, long n)
{
#if defined(__AVX512F__) && VECTOR_BYTES == 64 && REAL_BITS == 32
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif defined(__AVX512F__) && VECTOR_BYTES == 64
    return (vec)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
#elif defined(__AVX2__) && VECTOR_BYTES == 32 && REAL_BITS == 32
    return (vec)_mm256_maskload_ps(p, (__m256i)v_first(n));
#elif defined(__AVX2__) && VECTOR_BYTES == 32
    return (vec)_mm256_maskload_pd(p, (__m256i)v_first(n));
#else
    vec a = {0};
    memcpy(&a, p, (size_t)n * sizeof(real));
    return a;
#endif
}

/* Stores the first n lanes; nothing past p[n-1] is touched. 0 <= n <= VL. */
FASTBP_INLINE void v_store_first(real *p, vec a, long n)
{
#if defined(__AVX512F__) && VECTOR_BYTES == 64 && REAL_BITS == 32
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)a);
#elif defined(__AVX512F__) && VECTOR_BYTES == 64
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)a);
#elif defined(__AVX2__) && VECTOR_BYTES == 32 && REAL_BITS == 32
    _mm256_maskstore_ps(p, (__m256i)v_first(n), (__m256)a);
#elif defined(__AVX2__) && VECTOR_BYTES == 32
    _mm256_maskstore_pd(p, (__m256i)v_first(n), (__m256d)a);
#else
    memcpy(p, &a, (size_t)n * sizeof(real));
#endif
}

/* The sum of all lanes: upper half onto lower half, until one is left. The order is part of the results. */
FASTBP_INLINE real v_sum(vec a)
{
    real lane[VL];
    memcpy(lane, &a, sizeof a);
    for (int half = VL / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

FASTBP_INLINE real v_largest(vec a)
{
    real largest = a[0];
    for (int i = 1; i < VL; i++)
        largest = a[i] > largest ? a[i] : largest;
    return largest;
}

#endif
