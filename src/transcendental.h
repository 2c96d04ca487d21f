/* exp, expm1, tanh, sigmoid, erf, softplus and the normal distribution on vectors, without branches and without tables.
 *
 * e^x = 2^n (1 + m): x = n ln 2 + r, |r| <= ln 2 / 2 (Cody & Waite, 1980: ln 2 in two parts, so that r is exact),
 * m = r + r^2 q(r); 2^n through the exponent bits. The others are put in terms of it so that nothing cancels, but for
 * float32 tanh: a rational function, as in Eigen and other libraries. All coefficients come from bench/coefficients.py;
 * docs/accuracy.md has the measured errors and speeds.
 */
#ifndef FASTBP_TRANSCENDENTAL_H
#define FASTBP_TRANSCENDENTAL_H

#include "simd.h"

/* clang-format off */
#if REAL_BITS == 32
#define MANTISSA_BITS 23
#define ROUNDER ((real)12582912)         /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
#define SHIFT 64                         /* exponents -150 .. 128 of e^x, moved by this much, are normal ones */
#define TWO_TO_SHIFT ((real)0x1p64)
#define LN2_HIGH ((real)0.693145751953125)
#define LN2_LOW ((real)1.428606820309417e-6)
#define EXP_LOWEST ((real)-104)          /* below: 0, above the highest: inf */
#define EXP_HIGHEST ((real)89)
#define ONE_END ((real)18)               /* e^-x is nothing beside 1 from here */
#define TANH_END ((real)9.05)            /* 1 - tanh is under half an ulp from here */
#define ERF_END ((real)4)
#define NORMAL_END ((real)14.3)          /* Phi(-x) is 0 from here */
#define HALF_OF_DIGITS 12
static const real EXP_COEFFICIENTS[] = {
    5.0e-1, 1.66665763e-1, 4.16665524e-2, 8.36323295e-3, 1.39262504e-3};
static const real LOG1P_COEFFICIENTS[] = {
    8.33332986e-2, 1.2502363e-2, 2.20598583e-3, 5.24443341e-4};
static const real ERF_COEFFICIENTS[] = {
    1.28379166e-1, -3.7612626e-1, 1.12835944e-1, -2.68542115e-2, 5.18908724e-3, -8.0168643e-4, 7.87587487e-5};
#define TANH_START ((real)8.99999976e-1)
static const real TANH_NUMERATOR[] = {
    2.6789017e-2, 1.02675695e-4};
static const real TANH_DENOMINATOR[] = {
    1.79999995, 2.03577951e-1, 2.17025843e-3, 2.20614788e-6};
static const real NORMAL_NUMERATOR[] = {
    1.0, 8.76179814e-1, 3.66166383e-1, 8.11639354e-2, 8.21738318e-3};
static const real NORMAL_DENOMINATOR[] = {
    2.0, 3.34812951, 2.40374422, 9.38138902e-1, 2.03460857e-1, 2.05976814e-2};
#else
#define MANTISSA_BITS 52
#define ROUNDER ((real)6755399441055744) /* 1.5 * 2^52 */
#define SHIFT 128
#define TWO_TO_SHIFT ((real)0x1p128)
#define LN2_HIGH ((real)0.693147180559890330187045)
#define LN2_LOW ((real)5.497923018708371174712472e-14)
#define EXP_LOWEST ((real)-746)
#define EXP_HIGHEST ((real)710)
#define ONE_END ((real)38)
#define TANH_END ((real)20)
#define ERF_END ((real)6)
#define NORMAL_END ((real)38.6)
#define HALF_OF_DIGITS 27
static const real EXP_COEFFICIENTS[] = {
    5.0000000000000011e-1, 1.6666666666666669e-1, 4.1666666666623824e-2, 8.333333333330039e-3, 1.3888888917367081e-3,
    1.9841269863171557e-4, 2.4801521057868204e-5, 2.7557268276905696e-6, 2.7620201591031547e-7, 2.5100472505694996e-8};
static const real LOG1P_COEFFICIENTS[] = {
    8.3333333333333329e-2, 1.2500000000004558e-2, 2.2321428568053718e-3, 4.3402778744976297e-4, 8.8778268731117474e-5,
    1.8781213458201444e-5, 4.0631543608566086e-6, 9.1560919262624456e-7, 1.6786076519288395e-7, 7.707617574664846e-8};
static const real ERF_COEFFICIENTS[] = {
    1.2837916709551256e-1, -3.7612638903183543e-1, 1.1283791670945006e-1, -2.686617064323777e-2,
    5.2239776071164225e-3, -8.5483259753896918e-4, 1.2055294904839707e-4, -1.4924736907419661e-5,
    1.6447424703317362e-6, -1.6208483801871705e-7, 1.3720064546777686e-8, -7.7958988270021425e-10};
static const real NORMAL_NUMERATOR[] = {
    1.0, 1.549373578554766, 1.1875509927010195, 5.7827894397869328e-1, 1.9522552315122399e-1, 4.7192011668447449e-2,
    8.1674196275250462e-3, 9.792163885942349e-4, 7.43615819389863e-5, 2.7648820260267339e-6};
static const real NORMAL_DENOMINATOR[] = {
    2.0, 4.6945162787152439, 5.120784044627289, 3.4270173175408241, 1.5629839177190286, 5.0945768382622891e-1,
    1.2073350207176639e-1, 2.0659081790201487e-2, 2.4614620185016449e-3, 1.8639684383017928e-4, 6.9305314624788666e-6};
#endif

/* clang-format on */

#define POLYNOMIAL(x, coefficients) polynomial(x, coefficients, sizeof(coefficients) / sizeof(real))
#define HORNER(x, coefficients) horner(x, coefficients, sizeof(coefficients) / sizeof(real))

/* n is a constant where these are called. */
FASTBP_INLINE vec horner(vec x, const real *c, const int n)
{
    vec sum = v_splat(c[n - 1]);
#pragma GCC unroll 20
    for (int k = n - 2; k >= 0; k--)
        sum = v_fma(sum, x, v_splat(c[k]));
    return sum;
}

/* Horner's rule in x^2 over pairs of terms, which halves the wait for results. */
FASTBP_INLINE vec polynomial(vec x, const real *c, const int n)
{
    const vec s = x * x;
    int k = (n - 1) / 2 * 2;
    vec sum = k + 1 < n ? v_fma(v_splat(c[n - 1]), x, v_splat(c[k])) : v_splat(c[k]);
#pragma GCC unroll 20
    for (k -= 2; k >= 0; k -= 2)
        sum = v_fma(sum, s, v_fma(v_splat(c[k + 1]), x, v_splat(c[k])));
    return sum;
}

/* e^(x - less) = 2^n (1 + m). Returns m; `rounded` gets ROUNDER + shift + n. */
FASTBP_INLINE vec reduced_expm1(vec x, vec less, vec shift, vec *rounded)
{
    const vec rounder = shift + ROUNDER;
    *rounded = v_fma(x - less, v_splat((real)1.4426950408889634), rounder);
    const vec n = *rounded - rounder;
    const vec r = v_fma(n, v_splat(-LN2_LOW), v_fma(n, v_splat(-LN2_HIGH), x) - less);
    return v_fma(r * r, POLYNOMIAL(r, EXP_COEFFICIENTS), r);
}

/* 2^k of ROUNDER + k, within the normal numbers: the low bits move to where the exponent is. */
FASTBP_INLINE vec power_of_two(vec rounded) { return (vec)((ivec)v_splat(1) + ((ivec)rounded << MANTISSA_BITS)); }

/* Gradual underflow to 0, overflow to inf; well beyond inf, so that a difference into which the last product is fused
 * overflows too. */
FASTBP_INLINE vec v_exp(vec x)
{
    const vec bounded = v_max(v_splat(EXP_LOWEST), v_min(v_splat(EXP_HIGHEST + 11), x));
    vec rounded;
#ifdef HAS_SCALE /* a fifth faster */
    const vec m = reduced_expm1(bounded, v_zero(), v_zero(), &rounded);
    return v_scale(1 + m, rounded - ROUNDER);
#else
    const vec m =
        reduced_expm1(bounded, v_zero(), v_where_less(v_zero(), x, v_splat(-SHIFT), v_splat(SHIFT)), &rounded);
    const vec scale = power_of_two(rounded);
    return v_fma(scale, m, scale) * v_where_less(v_zero(), x, v_splat(TWO_TO_SHIFT), v_splat(1 / TWO_TO_SHIFT));
#endif
}

/* e^x for x <= 0. */
FASTBP_INLINE vec decaying_exp(vec x)
{
    vec rounded;
    const vec m = reduced_expm1(v_max(v_splat(EXP_LOWEST), x), v_zero(), v_splat(SHIFT), &rounded);
    const vec scale = power_of_two(rounded);
    return v_fma(scale, m, scale) * (1 / TWO_TO_SHIFT);
}

/* 2^n m + (2^n - 1), exact in its small terms; 2^128 (2^1024) is no number, so half of it is taken twice. */
FASTBP_INLINE vec v_expm1(vec x)
{
    vec rounded;
    const vec large = v_splat(EXP_HIGHEST / 2);
    const vec bounded = v_max(v_splat(-2 * ONE_END), v_min(v_splat(EXP_HIGHEST), x));
    const vec m = reduced_expm1(bounded, v_zero(), v_where_less(large, x, v_splat(-1), v_zero()), &rounded);
    const vec scale = power_of_two(rounded);
    return v_fma(scale, m, scale - 1) * v_where_less(large, x, v_splat(2), v_splat(1));
}

/* 2^SHIFT / (2^SHIFT + 2^SHIFT e^-x): e^-x would overflow where the result is subnormal. */
FASTBP_INLINE vec v_sigmoid(vec x)
{
    vec rounded;
    const vec bounded = v_max(v_splat(-ONE_END), v_min(v_splat(-EXP_LOWEST), -x));
    const vec m = reduced_expm1(bounded, v_zero(), v_splat(-SHIFT), &rounded);
    const vec one = v_splat(1 / TWO_TO_SHIFT), scale = power_of_two(rounded);
    return one / (one + v_fma(scale, m, scale));
}

#if REAL_BITS == 32 && defined(__FMA__)
/* 2 t / (1 + t^2), t = tanh(x / 2) = p / q, p = x P(x^2), q = Q(x^2): the doubling damps the errors of p and q, and one
 * division does for both. The term x P(0) comes last, so that p is rounded once in effect. Bounded by 1, which roundings
 * would pass. Two thirds of the time of the form below; without fused multiply-add it would miss the 3 ULP. */
FASTBP_INLINE vec v_tanh(vec x)
{
    const vec a = v_max(v_splat(-TANH_END), v_min(v_splat(TANH_END), x)), s = a * a;
    const vec p = v_fma(a, v_splat(TANH_START), (a * s) * HORNER(s, TANH_NUMERATOR));
    const vec q = HORNER(s, TANH_DENOMINATOR);
    return v_max(v_splat(-1), v_min(v_splat(1), p * (q + q) / v_fma(q, q, p * p)));
}
#else
/* E / (E + 2), E = e^(2|x|) - 1, which keeps all digits near 0. */
FASTBP_INLINE vec v_tanh(vec x)
{
    vec rounded;
    const vec m = reduced_expm1(2 * v_min(v_splat(TANH_END), v_abs(x)), v_zero(), v_zero(), &rounded);
    const vec scale = power_of_two(rounded);
    const vec e = v_fma(scale, m, scale - 1);
    return v_copysign(e / (e + 2), x);
}
#endif

/* log(1 + e) = 2 atanh(y / 2), y = 2 e / (2 + e), for 0 <= e <= 1. */
FASTBP_INLINE vec log1p_of_fraction(vec e)
{
    const vec y = 2 * e / (2 + e), s = y * y;
    return v_fma(y * s, POLYNOMIAL(s, LOG1P_COEFFICIENTS), y);
}

/* max(x, 0) + log(1 + e^-|x|). */
FASTBP_INLINE vec v_softplus(vec x) { return v_max(v_zero(), x) + log1p_of_fraction(decaying_exp(-v_abs(x))); }

/* log x = k ln 2 + log(1 + e), x = 2^k (1 + e), for normal numbers > 0. */
FASTBP_INLINE vec v_log(vec x)
{
    const ivec one = (ivec)v_splat(1);
    const ivec k = ((ivec)x - one) >> MANTISSA_BITS;
    const vec e = (vec)((ivec)x - (k << MANTISSA_BITS)) - 1;
    return v_fma(__builtin_convertvector(k, vec), v_splat((real)0.6931471805599453), log1p_of_fraction(e));
}

/* 2^SHIFT Phi(-b) = 2^SHIFT e^(-b^2 / 2) P(b) / Q(b), b >= 0. b^2 in two parts, or its rounding would cost the tail b^2
 * ulps: `high` is the upper half of the digits of b, and its square exact. */
FASTBP_INLINE vec shifted_normal_tail(vec b)
{
    vec rounded;
    const vec high = (vec)((ivec)b & -((whole)1 << HALF_OF_DIGITS));
    const vec m =
        reduced_expm1((real)-0.5 * high * high, (real)0.5 * (b - high) * (b + high), v_splat(SHIFT), &rounded);
    const vec p = POLYNOMIAL(b, NORMAL_NUMERATOR);
    return power_of_two(rounded) * v_fma(m, p, p) / POLYNOMIAL(b, NORMAL_DENOMINATOR);
}

/* Phi(x), the left tail with all its digits. */
FASTBP_INLINE vec v_normal_cdf(vec x)
{
    const vec tail = shifted_normal_tail(v_min(v_splat(NORMAL_END), v_abs(x))) * (1 / TWO_TO_SHIFT);
    return v_where_less(v_zero(), x, 1 - tail, tail);
}

/* x + x p(x^2) up to 1; beyond, 1 - 2 Phi(-sqrt(2) x). */
FASTBP_INLINE vec v_erf(vec x)
{
    const vec a = v_min(v_splat(ERF_END), v_abs(x));
    const vec small = v_fma(x, POLYNOMIAL(a * a, ERF_COEFFICIENTS), x);
    const vec tail = shifted_normal_tail((real)1.4142135623730951 * a) * (2 / TWO_TO_SHIFT);
    return v_where_less(a, v_splat(1), small, v_copysign(1 - tail, x));
}

#endif
