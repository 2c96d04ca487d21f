/* One vector type and its verbs. Everything above this file is written in them, once, for every level and dtype.
 *
 * The build defines REAL_BITS (32 or 64) and VECTOR_BYTES (16, 32 or 64). `real` is the number, `vec` holds VL of
 * them, `ivec` holds VL integers of the same size: the bits of a vec, or the all-ones / all-zeros masks that a
 * comparison of two vecs gives. + - * / and comparisons come from the compiler's vector extension (GCC, clang);
 * a * b + c contracts into a fused multiply-add where the level has one; v_fma says which product is fused.
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

#define LANES (VECTOR_BYTES * 8 / REAL_BITS)
enum { VL = LANES };

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef whole ivec __attribute__((vector_size(VECTOR_BYTES)));
typedef real unaligned_vec __attribute__((vector_size(VECTOR_BYTES), aligned(REAL_BITS / 8), may_alias));

/* AddressSanitizer does not see masked moves, so a build with it copies instead. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define WATCHED 1
#else
#define WATCHED 0
#endif

#define FASTBP_INLINE static inline __attribute__((always_inline, unused))

/* SHUFFLE(a, b, F): lane i from lane F(i) of a, or of b where F(i) >= LANES. The indices are written out for the
 * compiler: those that a loop computes are looked up at run time. */
#if LANES == 2
#define EACH_LANE(F) F(0), F(1)
#elif LANES == 4
#define EACH_LANE(F) F(0), F(1), F(2), F(3)
#elif LANES == 8
#define EACH_LANE(F) F(0), F(1), F(2), F(3), F(4), F(5), F(6), F(7)
#else
#define EACH_LANE(F) \
    F(0), F(1), F(2), F(3), F(4), F(5), F(6), F(7), F(8), F(9), F(10), F(11), F(12), F(13), F(14), F(15)
#endif
#if defined(__clang__)
#define SHUFFLE(a, b, F) __builtin_shufflevector(a, b, EACH_LANE(F))
#else
#define SHUFFLE(a, b, F) __builtin_shuffle(a, b, (ivec){EACH_LANE(F)})
#endif
#define ITSELF(i) i
#define AHEAD_2(i) (i + 2) % LANES
#define AHEAD_4(i) (i + 4) % LANES
#define AHEAD_8(i) (i + 8) % LANES

FASTBP_INLINE vec v_load(const real *p) { return *(const unaligned_vec *)p; }

FASTBP_INLINE void v_store(real *p, vec a) { *(unaligned_vec *)p = a; }

FASTBP_INLINE vec v_splat(real a) { return a - (vec){0}; }

FASTBP_INLINE vec v_zero(void) { return (vec){0}; }

/* MM(verb): the x86 intrinsic of that verb for a vec. Where it beats what the compiler makes of plain C, it is used. */
#if defined(__x86_64__)
#if VECTOR_BYTES == 64 && REAL_BITS == 32
#define MM(verb) _mm512_##verb##_ps
#elif VECTOR_BYTES == 64
#define MM(verb) _mm512_##verb##_pd
#elif VECTOR_BYTES == 32 && REAL_BITS == 32
#define MM(verb) _mm256_##verb##_ps
#elif VECTOR_BYTES == 32
#define MM(verb) _mm256_##verb##_pd
#elif REAL_BITS == 32
#define MM(verb) _mm_##verb##_ps
#else
#define MM(verb) _mm_##verb##_pd
#endif
#endif

/* To a vector's boundary, past the caches; stores_done() before another thread is told of it. */
FASTBP_INLINE void v_stream(real *p, vec a)
{
#if defined(MM)
    MM(stream)(p, a);
#else
    v_store(p, a);
#endif
}

FASTBP_INLINE void stores_done(void)
{
#if defined(MM)
    _mm_sfence();
#endif
}

/* a b + c, rounded once where the level has the instruction, and then never with another product that `c` is. */
FASTBP_INLINE vec v_fma(vec a, vec b, vec c)
{
#if defined(MM) && defined(__FMA__)
    return MM(fmadd)(a, b, c);
#else
    return a * b + c;
#endif
}

#if VECTOR_BYTES == 64 && defined(__AVX512F__)
#define HAS_SCALE 1
/* a 2^n for whole n, with gradual underflow and overflow. */
FASTBP_INLINE vec v_scale(vec a, vec n) { return MM(scalef)(a, n); }
#endif

/* The mask of lanes 0 .. n-1. */
FASTBP_INLINE ivec v_first(long n) { return (ivec){EACH_LANE(ITSELF)} < (whole)n; }

/* Lanes where `mask` is all ones come from a, the others from b. */
FASTBP_INLINE vec v_select(ivec mask, vec a, vec b)
{
#if defined(MM) && defined(__SSE4_1__) && VECTOR_BYTES < 64
    return MM(blendv)(b, a, (vec)mask);
#else
    return (vec)((mask & (ivec)a) | (~mask & (ivec)b));
#endif
}

/* a < b ? then : otherwise, lane by lane. */
FASTBP_INLINE vec v_where_less(vec a, vec b, vec then, vec otherwise)
{
#if VECTOR_BYTES == 64 && REAL_BITS == 32
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), otherwise, then);
#elif VECTOR_BYTES == 64
    return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, b, _CMP_LT_OQ), otherwise, then);
#else
    return v_select(a < b, then, otherwise);
#endif
}

/* Whether a < b in every lane; not where one of them is NaN. */
FASTBP_INLINE int v_all_less(vec a, vec b)
{
#if VECTOR_BYTES == 64 && REAL_BITS == 32
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ) == 0xffff;
#elif VECTOR_BYTES == 64
    return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ) == 0xff;
#elif defined(MM)
    return MM(movemask)((vec)(a < b)) == (1 << VL) - 1;
#else
    const ivec less = a < b;
    whole all = -1;
    for (int i = 0; i < VL; i++)
        all &= less[i];
    return all != 0;
#endif
}

/* `then` in lanes 0 .. n-1, `otherwise` in the others. */
FASTBP_INLINE vec v_where_first(long n, vec then, vec otherwise)
{
#if VECTOR_BYTES == 64 && REAL_BITS == 32
    return _mm512_mask_blend_ps((__mmask16)((1u << n) - 1), otherwise, then);
#elif VECTOR_BYTES == 64
    return _mm512_mask_blend_pd((__mmask8)((1u << n) - 1), otherwise, then);
#else
    return v_select(v_first(n), then, otherwise);
#endif
}

/* a > b ? a : b, so that a NaN in either gives b. */
FASTBP_INLINE vec v_max(vec a, vec b)
{
#if defined(MM)
    return MM(max)(a, b);
#else
    return v_select(a > b, a, b);
#endif
}

/* a < b ? a : b. */
FASTBP_INLINE vec v_min(vec a, vec b)
{
#if defined(MM)
    return MM(min)(a, b);
#else
    return v_select(a < b, a, b);
#endif
}

FASTBP_INLINE ivec v_sign_bit(void) { return (ivec)v_splat((real)-0.0); }

FASTBP_INLINE vec v_abs(vec a) { return (vec)((ivec)a & ~v_sign_bit()); }

/* |magnitude| with the sign of `sign`. */
FASTBP_INLINE vec v_copysign(vec magnitude, vec sign)
{
    return (vec)(((ivec)magnitude & ~v_sign_bit()) | ((ivec)sign & v_sign_bit()));
}

FASTBP_INLINE vec v_sqrt(vec a)
{
#if defined(MM)
    return MM(sqrt)(a);
#else
    for (int i = 0; i < VL; i++) /* -fno-math-errno turns this into the vector instruction */
        a[i] = REAL_BITS == 32 ? (real)__builtin_sqrtf((float)a[i]) : (real)__builtin_sqrt((double)a[i]);
    return a;
#endif
}

/* The first n lanes from memory, zeros in the others; nothing past p[n-1] is touched. 0 <= n <= VL. */
FASTBP_INLINE vec v_load_first(const real *p, long n)
{
#if !WATCHED && VECTOR_BYTES == 64 && REAL_BITS == 32
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif !WATCHED && VECTOR_BYTES == 64
    return _mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
#elif !WATCHED && defined(__AVX2__)
    return MM(maskload)(p, (__m256i)v_first(n));
#else
    vec a = {0};
    memcpy(&a, p, (size_t)n * sizeof(real));
    return a;
#endif
}

/* Stores the first n lanes; nothing past p[n-1] is touched. 0 <= n <= VL. */
FASTBP_INLINE void v_store_first(real *p, vec a, long n)
{
#if !WATCHED && VECTOR_BYTES == 64 && REAL_BITS == 32
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a);
#elif !WATCHED && VECTOR_BYTES == 64
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), a);
#elif !WATCHED && defined(__AVX2__)
    MM(maskstore)(p, (__m256i)v_first(n), a);
#else
    memcpy(p, &a, (size_t)n * sizeof(real));
#endif
}

/* The sum of all lanes: upper half onto lower half, until one is left. The order is part of the results. */
FASTBP_INLINE real v_sum(vec a)
{
#if LANES > 8
    a += SHUFFLE(a, a, AHEAD_8);
#endif
#if LANES > 4
    a += SHUFFLE(a, a, AHEAD_4);
#endif
#if LANES > 2
    a += SHUFFLE(a, a, AHEAD_2);
#endif
    return a[0] + a[1];
}

FASTBP_INLINE real v_largest(vec a)
{
#if LANES > 8
    a = v_max(SHUFFLE(a, a, AHEAD_8), a);
#endif
#if LANES > 4
    a = v_max(SHUFFLE(a, a, AHEAD_4), a);
#endif
#if LANES > 2
    a = v_max(SHUFFLE(a, a, AHEAD_2), a);
#endif
    return a[0] > a[1] ? a[0] : a[1];
}

#endif
