"""Prints the polynomial coefficients of src/transcendental.h. Needs mpmath.

    python bench/coefficients.py

Each function is interpolated at Chebyshev nodes in 60 digits: within a small factor of the minimax polynomial, without a
Remez iteration. The error printed is relative to the function interpolated.
"""

import mpmath as mp

mp.mp.dps = 60


def chebyshev_polynomial(function, low, high, degree):
    """Coefficients, constant term first, of the interpolant of `function` on [low, high]."""
    middle, half = (low + high) / mp.mpf(2), (high - low) / mp.mpf(2)
    nodes = [middle + half * mp.cos(mp.pi * (2 * k + 1) / (2 * degree + 2)) for k in range(degree + 1)]
    matrix = mp.matrix([[node**j for j in range(degree + 1)] for node in nodes])
    return list(mp.lu_solve(matrix, mp.matrix([function(node) for node in nodes])))


def exp_rest(r):  # e^r = 1 + r + r^2 q(r)
    return (mp.expm1(r) - r) / r**2 if abs(r) > 1e-20 else mp.mpf(1) / 2


def erf_small(s):  # erf(x) = x p(x^2)
    return mp.erf(mp.sqrt(s)) / mp.sqrt(s) if s else 2 / mp.sqrt(mp.pi)


ERF_CENTRE = 2


def erf_tail(t):  # erfc(x) = e^(-x^2) g(t), t = (x - c) / (x + c)
    x = ERF_CENTRE * (1 + t) / (1 - t)
    return mp.exp(x * x) * mp.erfc(x)


def atanh_rest(s):  # atanh(x) = x + x s a(s), s = x^2
    return (mp.atanh(mp.sqrt(s)) / mp.sqrt(s) - 1) / s if s else mp.mpf(1) / 3


def of_x(x):
    return mp.mpf(x - ERF_CENTRE) / (x + ERF_CENTRE)


HALF_LN2 = mp.log(2) / 2 * mp.mpf("1.001")
TABLE = {
    "EXP": (exp_rest, -HALF_LN2, HALF_LN2, {32: 4, 64: 9}),
    "ERF_SMALL": (erf_small, mp.mpf(0), mp.mpf(1), {32: 6, 64: 11}),
    "ERF_TAIL": (erf_tail, of_x(1), of_x(6), {32: 7, 64: 17}),
    "ATANH": (atanh_rest, mp.mpf(0), mp.mpf(1) / 9, {32: 3, 64: 9}),
}


def main():
    for bits in (32, 64):
        digits = 10 if bits == 32 else 19
        for name, (function, low, high, degrees) in TABLE.items():
            c = chebyshev_polynomial(function, low, high, degrees[bits])
            samples = [low + (high - low) * k / mp.mpf(997) for k in range(1, 997)]
            error = max(abs(mp.polyval(c[::-1], s) / function(s) - 1) for s in samples)
            print(f"/* float{bits}: {name}, relative error {mp.nstr(error, 2)} */")
            print(f"{name}_COEFFICIENTS[] = {{{', '.join(mp.nstr(v, digits, min_fixed=0, max_fixed=0) for v in c)}}};\n")
    for bits, leading in ((32, "0x1.62e4p-1"), (64, "0x1.62e42fefa3800p-1")):
        high = mp.mpf(float.fromhex(leading))
        print(f"float{bits}: LN2_HIGH {mp.nstr(high, 25)}, LN2_LOW {mp.nstr(mp.log(2) - high, 25)}")


if __name__ == "__main__":
    main()
