/* The C half of bench/accuracy.py, which compiles it into one library for each level and dtype, and, with REFERENCE
 * defined, into one for each dtype where the same functions are in a wider type: double for float, 80-bit long double for
 * double. Each function f is exported as `f_name`, and as `slope_name` its derivative where the backward pass uses it.
 */
#ifndef REFERENCE

#include "transcendental.h"

/* z[i] = value at y = x[i]. n is a multiple of VL; `times` passes over the same numbers, for timing. */
#define EXPORT(name, value) \
    void name(const real *x, real *z_out, long n, long times) \
    { \
        for (long t = 0; t < times; t++) { \
            for (long i = 0; i < n; i += VL) { \
                const vec y = v_load(x + i); \
                v_store(z_out + i, value); \
            } \
            __asm__ volatile("" ::: "memory"); /* each pass is made */ \
        } \
    }

EXPORT(f_exp, v_exp(y))
EXPORT(f_expm1, v_expm1(y))
EXPORT(f_tanh, v_tanh(y))
EXPORT(f_sigmoid, v_sigmoid(y))
EXPORT(f_erf, v_erf(y))
EXPORT(f_softplus, v_softplus(y))
EXPORT(f_normal_cdf, v_normal_cdf(y))

/* The formulas of h() and slope() in src/activations.pxd. */
#define HALF ((real)0.5)
#define ONE ((real)1)
#define SELU_SCALE ((real)1.0507009873554804934193349852946)
#define SELU_ALPHA ((real)1.6732632423543772848170429916717)
#define INV_SQRT_2PI ((real)0.39894228040143267793994605993438)
#define SQRT_2_OVER_PI ((real)0.79788456080286535587989211986876)

FASTBP_INLINE vec gelu_tanh(vec y) { return v_tanh(SQRT_2_OVER_PI * y * (ONE + (real)0.044715 * y * y)); }

FASTBP_INLINE vec gelu_tanh_slope(vec y)
{
    const vec s = gelu_tanh(y), b = v_max(v_splat(-100), v_min(v_splat(100), y));
    return HALF * (ONE + s) + HALF * b * (ONE - s * s) * SQRT_2_OVER_PI * (ONE + (real)0.134145 * b * b);
}

FASTBP_INLINE vec silu_slope(vec y)
{
    const vec s = v_sigmoid(y);
    return s + s * y * (ONE - s);
}

FASTBP_INLINE vec elu(vec y) { return v_where_less(y, v_zero(), v_expm1(y), y); }

FASTBP_INLINE vec selu(vec y) { return SELU_SCALE * v_where_less(y, v_zero(), SELU_ALPHA * v_expm1(y), y); }

EXPORT(f_gelu, y *v_normal_cdf(y))
EXPORT(f_gelu_tanh, HALF *y *(ONE + gelu_tanh(y)))
EXPORT(f_silu, y *v_sigmoid(y))
EXPORT(f_elu, elu(y))
EXPORT(f_selu, selu(y))
EXPORT(slope_gelu, v_normal_cdf(y) + y * INV_SQRT_2PI * v_exp(-HALF * y * y))
EXPORT(slope_gelu_tanh, gelu_tanh_slope(y))
EXPORT(slope_silu, silu_slope(y))
EXPORT(slope_elu, v_where_less(elu(y), v_zero(), elu(y) + ONE, v_splat(1)))
EXPORT(slope_selu, v_where_less(v_zero(), selu(y), v_splat(SELU_SCALE), selu(y) + SELU_SCALE * SELU_ALPHA))
EXPORT(slope_sigmoid, v_sigmoid(y) * (ONE - v_sigmoid(y)))
EXPORT(slope_tanh, ONE - v_tanh(y) * v_tanh(y))

#else

#include <float.h>
#include <stdint.h>
#include <string.h>
#include <tgmath.h>

#if REAL_BITS == 32
typedef float real;
typedef double wide;
#define LARGEST FLT_MAX
#define SMALLEST_NORMAL FLT_MIN
#define EPSILON ((wide)FLT_EPSILON)
#else
typedef double real;
typedef long double wide;
#define LARGEST DBL_MAX
#define SMALLEST_NORMAL DBL_MIN
#define EPSILON ((wide)DBL_EPSILON)
#endif

#define EXPORT(name, value) \
    void name(const real *x, wide *z_out, long n) \
    { \
        for (long i = 0; i < n; i++) { \
            const wide y = x[i]; \
            z_out[i] = value; \
        } \
    }

#define SELU_SCALE 1.0507009873554804934193349852946L
#define SELU_ALPHA 1.6732632423543772848170429916717L
#define SQRT_2_OVER_PI 0.79788456080286535587989211986876L
#define INV_SQRT_2PI 0.39894228040143267793994605993438L
#define SQRT_HALF 0.70710678118654752440084436210485L
#define SQRT_HALF_REST (REAL_BITS == 32 ? SQRT_HALF - (wide)SQRT_HALF : 1.8950325588932570797e-20L) /* beyond `wide` */

static wide sigmoid(wide y) { return 1 / (1 + exp(-y)); }

static wide softplus(wide y) { return y > 0 ? y + log1p(exp(-y)) : log1p(exp(y)); }

static wide bell(wide y) { return (wide)INV_SQRT_2PI * exp(-y * y / 2); }

/* erfc(-y / sqrt 2) / 2. The rounding of y / sqrt 2 would cost the tail y^2 ulps: d(Phi) = bell(y) dy. */
static wide normal_cdf(wide y)
{
    const wide product = (wide)SQRT_HALF * y;
    const wide rest = fma((wide)SQRT_HALF, y, -product) + (wide)SQRT_HALF_REST * y;
    const wide value = erfc(-product) / 2;
    return value > 0 && fabs(y) < 200 ? value + bell(y) * rest / (wide)SQRT_HALF : value;
}

/* 1 + tanh(u) = 2 sigmoid(2 u) */
static wide gelu_gate(wide y) { return sigmoid(2 * (wide)SQRT_2_OVER_PI * (y + 0.044715L * y * y * y)); }

static wide gelu_tanh_slope(wide y)
{
    const wide s = gelu_gate(y), du = (wide)SQRT_2_OVER_PI * (1 + 0.134145L * y * y), rest = s * (1 - s);
    return s + (rest > 0 ? 2 * y * rest * du : 0);
}

static wide silu_slope(wide y)
{
    const wide s = sigmoid(y), rest = s * sigmoid(-y);
    return s + (rest > 0 ? y * rest : 0);
}

static wide tanh_slope(wide y)
{
    const wide s = sigmoid(2 * y) * sigmoid(-2 * y);
    return 4 * s;
}

EXPORT(f_exp, exp(y))
EXPORT(f_expm1, expm1(y))
EXPORT(f_tanh, tanh(y))
EXPORT(f_sigmoid, sigmoid(y))
EXPORT(f_erf, erf(y))
EXPORT(f_softplus, softplus(y))
EXPORT(f_normal_cdf, normal_cdf(y))
EXPORT(f_gelu, y *normal_cdf(y))
EXPORT(f_gelu_tanh, y *gelu_gate(y))
EXPORT(f_silu, y *sigmoid(y))
EXPORT(f_elu, y < 0 ? expm1(y) : y)
EXPORT(f_selu, (wide)SELU_SCALE *(y < 0 ? (wide)SELU_ALPHA * expm1(y) : y))
EXPORT(slope_gelu, normal_cdf(y) + (bell(y) > 0 ? y * bell(y) : 0))
EXPORT(slope_gelu_tanh, gelu_tanh_slope(y))
EXPORT(slope_silu, silu_slope(y))
EXPORT(slope_elu, y < 0 ? exp(y) : 1)
EXPORT(slope_selu, (wide)SELU_SCALE *(y <= 0 ? (wide)SELU_ALPHA * exp(y) : 1))
EXPORT(slope_sigmoid, sigmoid(y) * sigmoid(-y))
EXPORT(slope_tanh, tanh_slope(y))

/* The spacing of `real` at y: between the powers of two around |y|, or of the subnormal numbers. */
static wide spacing(wide y)
{
    const wide bounded = y > LARGEST ? LARGEST : y < SMALLEST_NORMAL ? SMALLEST_NORMAL : y;
    double power = (double)bounded;
    int64_t bits;
    memcpy(&bits, &power, sizeof bits);
    bits -= (wide)power > bounded;
    bits &= (int64_t)0x7ff << 52;
    memcpy(&power, &bits, sizeof bits);
    return power * EPSILON;
}

/* error[i] = |z[i] - exact[i]| in spacings of `real` at |exact[i]|, inf where just one is NaN; scaled[i] the same in spacings
 * at max(|exact[i]|, 1). An infinity stands for the power of two that is the first number too large. */
void errors(const wide *exact, const real *z, double *error, double *scaled, long n)
{
    const wide end = LARGEST / 2 * (wide)(1 + EPSILON / 2) * 2;
    for (long i = 0; i < n; i++) {
        const wide magnitude = fabs(exact[i]) > end ? end : fabs(exact[i]);
        const wide target = exact[i] < 0 ? -magnitude : magnitude;
        const wide got = z[i] > LARGEST ? end : z[i] < -LARGEST ? -end : (wide)z[i];
        const int nan = z[i] != z[i], nan_wanted = exact[i] != exact[i];
        const wide difference = nan & nan_wanted ? 0 : nan | nan_wanted ? (wide)INFINITY : fabs(got - target);
        error[i] = (double)(difference / spacing(magnitude));
        scaled[i] = (double)(difference / spacing(magnitude > 1 ? magnitude : 1));
    }
}

#endif
