/* exp, expm1, tanh, sigmoid, erf and softplus on vectors, without branches and without tables.
 *
 * exp: x = n ln 2 + r, |r| <= ln 2 / 2 (Cody & Waite, 1980: ln 2 in two parts, so that r is exact), e^r = 1 + r + r^2 q(r),
 * times 2^n through the exponent bits. The others are put in terms of it so that nothing cancels. The polynomials are
 * interpolations at Chebyshev nodes, printed by bench/coefficients.py; bench/accuracy.py measures the errors.
 */
#ifndef FASTBP_TRANSCENDENTAL_H
#define FASTBP_TRANSCENDENTAL_H

#include "simd.h"

#if REAL_BITS == 32
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define ROUNDER ((real)12582912)         /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
#define LN2_HIGH ((real)0.693145751953125)
#define LN2_LOW ((real)1.428606820309417e-6)
#define EXP_LOWEST ((real)-104)          /* below: 0, above the highest: inf */
#define EXP_HIGHEST ((real)89)
#define TANH_END ((real)9.1)             /* 1 - tanh is under half an ulp from here */
#define ERF_END ((real)4)
static const real EXP_COEFFICIENTS[] = {
    5.0e-1, 1.666657667e-1, 4.166655421e-2, 8.363232884e-3, 1.392625083e-3};
static const real ERF_SMALL_COEFFICIENTS[] = {
    1.128379166, -3.761262667e-1, 1.128359472e-1, -2.685421201e-2, 5.189087423e-3, -8.016864287e-4, 7.875875063e-5};
static const real ERF_TAIL_COEFFICIENTS[] = {
    2.553956764e-1, -4.271858701e-1, 2.416581671e-1, -7.89771508e-2, 3.73360678e-3, 6.973542284e-3, -8.467640506e-4,
    -8.468608866e-4};
static const real ATANH_COEFFICIENTS[] = {
    3.333332017e-1, 2.000378032e-1, 1.41183099e-1, 1.342574901e-1};
#else
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define ROUNDER ((real)6755399441055744) /* 1.5 * 2^52 */
#define LN2_HIGH ((real)0.693147180559890330187045)
#define LN2_LOW ((real)5.497923018708371174712472e-14)
#define EXP_LOWEST ((real)-746)
#define EXP_HIGHEST ((real)710)
#define TANH_END ((real)20)
#define ERF_END ((real)6)
static const real EXP_COEFFICIENTS[] = {
    5.000000000000001031e-1, 1.666666666666666746e-1, 4.166666666662382053e-2, 8.333333333330038197e-3,
    1.388888891736708056e-3, 1.984126986317155603e-4, 2.48015210578682052e-5, 2.755726827690569619e-6,
    2.762020159103154879e-7, 2.5100472505694996e-8};
static const real ERF_SMALL_COEFFICIENTS[] = {
    1.128379167095512567, -3.761263890318354044e-1, 1.128379167094500627e-1, -2.686617064323777036e-2,
    5.223977607116422732e-3, -8.548325975389692081e-4, 1.205529490483970792e-4, -1.492473690741966034e-5,
    1.644742470331736241e-6, -1.62084838018717059e-7, 1.37200645467776856e-8, -7.795898827002142242e-10};
static const real ERF_TAIL_COEFFICIENTS[] = {
    2.553956763105057438e-1, -4.271858474139583965e-1, 2.416581942424664639e-1, -7.897858101573212542e-2,
    3.732892404327763925e-3, 6.997461739200443767e-3, -8.471432509203844009e-4, -9.819770265678889227e-4,
    4.355560219515472207e-5, 1.743611654539226372e-4, 2.75254803612060667e-5, -2.757986467430578585e-5,
    -1.396807230177146069e-5, 1.392621183618802935e-6, 3.789215643758463971e-6, 1.178077521562558259e-6,
    -5.322696855655786338e-7, -4.215301054238320988e-7};
static const real ATANH_COEFFICIENTS[] = {
    3.333333333333332928e-1, 2.000000000000729134e-1, 1.428571428355437858e-1, 1.111111135871393149e-1,
    9.090894718066429085e-2, 7.692785032479311552e-2, 6.657072104827468075e-2, 6.000536404795356268e-2,
    4.400369243072336941e-2, 8.08202280597176611e-2};
#endif

#define POLYNOMIAL(x, coefficients) polynomial(x, coefficients, sizeof(coefficients) / sizeof(real))

/* Horner's rule; n is a constant where this is called. */
FASTBP_INLINE vec polynomial(vec x, const real *coefficients, const int n)
{
    vec sum = v_splat(coefficients[n - 1]);
#pragma GCC unroll 20
    for (int k = n - 2; k >= 0; k--)
        sum = v_fma(sum, x, v_splat(coefficients[k]));
    return sum;
}

/* e^x = 2^n (1 + m) with m = e^r - 1, for |x| small enough that n is an exponent or two. `n` as an integer vector. */
FASTBP_INLINE vec reduced_expm1(vec x, ivec *n)
{
    const vec rounded = v_fma(x, v_splat((real)1.4426950408889634), v_splat(ROUNDER));
    const vec whole_part = rounded - v_splat(ROUNDER);
    const vec r = v_fma(whole_part, v_splat(-LN2_LOW), v_fma(whole_part, v_splat(-LN2_HIGH), x));
    *n = (ivec)rounded - (ivec)v_splat(ROUNDER);
    return v_fma(r * r, POLYNOMIAL(r, EXP_COEFFICIENTS), r);
}

/* 2^n for n within the normal exponents. */
FASTBP_INLINE vec power_of_two(ivec n) { return (vec)((n + EXPONENT_BIAS) << MANTISSA_BITS); }

/* Gradual underflow to 0, overflow to inf. */
FASTBP_INLINE vec v_exp(vec x)
{
    ivec n;
    const vec m = reduced_expm1(v_max(v_splat(EXP_LOWEST), v_min(v_splat(EXP_HIGHEST), x)), &n);
    const ivec half = n >> 1; /* 2^n in two factors reaches past the normal exponents */
    return (m + 1) * power_of_two(half) * power_of_two(n - half);
}

/* 2^n m + (2^n - 1), exact in its small terms; right up to EXP_HIGHEST, inf beyond. */
FASTBP_INLINE vec v_expm1(vec x)
{
    ivec n;
    const vec bounded = v_max(v_splat(-TANH_END * 2), v_min(v_splat(EXP_HIGHEST), x));
    const vec m = reduced_expm1(bounded, &n);
    const ivec half = n >> 1;
    const vec low = power_of_two(half), high = power_of_two(n - half);
    const vec scale = low * high;
    return v_where_less(v_splat(EXP_HIGHEST - 2), x, (m + 1) * low * high, v_fma(scale, m, scale - 1));
}

/* tanh x = E / (E + 2), E = e^(2|x|) - 1, which keeps all digits near 0. */
FASTBP_INLINE vec v_tanh(vec x)
{
    ivec n;
    const vec m = reduced_expm1(2 * v_min(v_splat(TANH_END), v_abs(x)), &n);
    const vec scale = power_of_two(n);
    const vec e = v_fma(scale, m, scale - 1);
    return v_copysign(e / (e + 2), x);
}

/* 1 / (1 + e^-x) as e / (1 + e) or 1 / (1 + e) with e = e^-|x|: the left tail keeps its digits. */
FASTBP_INLINE vec v_sigmoid(vec x)
{
    const vec e = v_exp(-v_abs(x));
    return v_where_less(x, v_zero(), e, v_splat(1)) / (1 + e);
}

/* log(1 + e) = 2 atanh(e / (2 + e)) for 0 <= e <= 1. */
FASTBP_INLINE vec log1p_of_fraction(vec e)
{
    const vec x = e / (e + 2), s = x * x;
    return 2 * v_fma(x * s, POLYNOMIAL(s, ATANH_COEFFICIENTS), x);
}

/* log x = k ln 2 + log(1 + e), x = 2^k (1 + e), for normal numbers > 0. */
FASTBP_INLINE vec v_log(vec x)
{
    const ivec one = (ivec)v_splat(1);
    const ivec k = ((ivec)x - one) >> MANTISSA_BITS;
    const vec e = (vec)((ivec)x - (k << MANTISSA_BITS)) - 1;
    return v_fma(__builtin_convertvector(k, vec), v_splat((real)0.6931471805599453), log1p_of_fraction(e));
}

/* log(1 + e^x) = max(x, 0) + log(1 + e^-|x|). */
FASTBP_INLINE vec v_softplus(vec x) { return v_max(v_zero(), x) + log1p_of_fraction(v_exp(-v_abs(x))); }

/* x p(x^2) up to 1; beyond, 1 - e^(-x^2) g((x - 2) / (x + 2)), a bounded argument for a function that decays slowly
 * (the form of Schonfelder, Math. Comp. 32, 1978). */
FASTBP_INLINE vec v_erf(vec x)
{
    const vec a = v_min(v_splat(ERF_END), v_abs(x));
    const vec small = x * POLYNOMIAL(a * a, ERF_SMALL_COEFFICIENTS);
    const vec tail = v_exp(-a * a) * POLYNOMIAL((a - 2) / (a + 2), ERF_TAIL_COEFFICIENTS);
    return v_where_less(a, v_splat(1), small, v_copysign(1 - tail, x));
}

#endif
