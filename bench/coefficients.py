"""Prints the coefficients of src/transcendental.h (TANH_START is P(0)). Needs mpmath and NumPy.

    python bench/coefficients.py

Polynomials interpolate at Chebyshev nodes, within a small factor of the minimax. Rational functions are the minimax of
the relative error, found by Remez exchange. Both in 60 digits; the error printed is that of the rounded coefficients.
"""

import mpmath as mp
import numpy as np

mp.mp.dps = 60
SAMPLES = 600


def chebyshev_polynomial(function, low, high, degree):
    """Coefficients, constant term first, of the interpolant of `function` on [low, high]."""
    middle, half = (low + high) / mp.mpf(2), (high - low) / mp.mpf(2)
    nodes = [middle + half * mp.cos(mp.pi * (2 * k + 1) / (2 * degree + 2)) for k in range(degree + 1)]
    matrix = mp.matrix([[node**j for j in range(degree + 1)] for node in nodes])
    return list(mp.lu_solve(matrix, mp.matrix([function(node) for node in nodes])))


def evaluate(coefficients, x):
    return mp.polyval(coefficients[::-1], x)


def levelled_rational(function, weight, points, degree_p, degree_q):
    """P, Q with P/Q = f (1 + e/w), f (1 - e/w), f (1 + e/w) ... at the points, one more than there are coefficients;
    Q(0) = 1. The unknown e multiplies Q: solved by iteration, with the Q before it.
    """
    n = len(points)
    q = [mp.mpf(1)]
    for _ in range(8):
        system, right = mp.matrix(n, n), mp.matrix(n, 1)
        for row, x in enumerate(points):
            f = right[row] = function(x)
            for k in range(degree_p + 1):
                system[row, k] = x**k
            for k in range(1, degree_q + 1):
                system[row, degree_p + k] = -f * x**k
            system[row, n - 1] = -f * (-1) ** row * evaluate(q, x) / weight(x)
        solution = list(mp.lu_solve(system, right))
        q = [mp.mpf(1), *solution[degree_p + 1 : n - 1]]
    return solution[: degree_p + 1], q


def extrema(values):
    """Index of the largest |value| in each run of one sign."""
    runs = [[0]]
    for i in range(1, len(values)):
        if values[i] * values[i - 1] > 0:
            runs[-1].append(i)
        else:
            runs.append([i])
    return [max(run, key=lambda i: abs(values[i])) for run in runs]


def minimax_rational(function, weight, grid, degree_p, degree_q):
    """P, Q of least largest weighted relative error on the grid, whose spacing says where the error oscillates."""
    n = degree_p + degree_q + 2
    chosen = [round((len(grid) - 1) * (1 - mp.cos(mp.pi * k / (n - 1))) / 2) for k in range(n)]
    values = [function(x) for x in grid]
    for _ in range(20):
        p, q = levelled_rational(function, weight, [grid[i] for i in chosen], degree_p, degree_q)
        errors = [(evaluate(p, x) / evaluate(q, x) / f - 1) * weight(x) for x, f in zip(grid, values, strict=True)]
        found = extrema(errors)
        while len(found) > n:
            del found[0 if abs(errors[found[0]]) < abs(errors[found[-1]]) else -1]
        if found == chosen:
            break
        if len(found) < n:
            raise ArithmeticError(f"the error has {len(found)} extrema, not {n}: take a lower degree or a finer grid")
        chosen = found
    return p, q


def exp_rest(r):  # e^r = 1 + r + r^2 q(r)
    return (mp.expm1(r) - r) / r**2 if abs(r) > 1e-20 else mp.mpf(1) / 2


def erf_rest(s):  # erf(x) = x + x p(s), s = x^2
    return mp.erf(mp.sqrt(s)) / mp.sqrt(s) - 1 if s else 2 / mp.sqrt(mp.pi) - 1


def log1p_rest(s):  # log(1 + e) = 2 atanh(y / 2) = y + y s p(s), y = 2 e / (2 + e), s = y^2
    y = mp.sqrt(s)
    return (2 * mp.atanh(y / 2) / y - 1) / s if s else mp.mpf(1) / 12


def half_tanh(s):  # t = tanh(x / 2) = x P(s) / Q(s), s = x^2
    return mp.tanh(mp.sqrt(s) / 2) / mp.sqrt(s) if s else mp.mpf(1) / 2


def doubling(s):  # what a relative error of t is multiplied by in tanh x = 2 t / (1 + t^2)
    t = mp.tanh(mp.sqrt(s) / 2)
    return (1 - t * t) / (1 + t * t)


def unweighted(x):
    return mp.mpf(1)


def normal_tail(b):  # Phi(-b) = e^(-b^2 / 2) P(b) / Q(b)
    return mp.exp(b * b / 2) * mp.erfc(b / mp.sqrt(2)) / 2


def squares(end):
    return [(mp.mpf(end) * k / SAMPLES) ** 2 for k in range(SAMPLES + 1)]


def half_line(end, centre=3):
    """0 .. end, spaced evenly in (b - centre) / (b + centre)."""
    last = (mp.mpf(end) - centre) / (mp.mpf(end) + centre)
    grid = [-1 + (last + 1) * k / SAMPLES for k in range(SAMPLES + 1)]
    return [centre * (1 + t) / (1 - t) for t in grid]


HALF_LN2 = mp.log(2) / 2 * mp.mpf("1.001")
POLYNOMIALS = {
    "EXP": (exp_rest, -HALF_LN2, HALF_LN2, {32: 4, 64: 9}),
    "LOG1P": (log1p_rest, mp.mpf(0), mp.mpf(4) / 9, {32: 3, 64: 9}),
    "ERF": (erf_rest, mp.mpf(0), mp.mpf(1), {32: 6, 64: 11}),
}
# function, weight, Q(0), grid and degrees. Q(0) = 2 makes P(0) = 1 exact. In tanh q and q^2 begin high in a binade
# instead, where their roundings cost least: 2.9 ULP in place of 3.9
RATIONALS = {
    "TANH": (half_tanh, doubling, mp.mpf("1.8"), {32: (squares("9.1"), 2, 3)}),
    "NORMAL": (
        normal_tail,
        unweighted,
        mp.mpf(2),
        {32: (half_line(mp.mpf("14.4")), 4, 5), 64: (half_line(mp.mpf("38.7")), 9, 10)},
    ),
}


def rounded(c, bits):
    """To 24 or 53 significant bits."""
    with mp.workprec(24 if bits == 32 else 53):
        return [+v for v in c]


def extended(values):
    return np.array([mp.nstr(v, 25) for v in values], np.longdouble)


def rounded_together(p, q, bits, function, weight, grid):
    """P and Q rounded so that the errors of their coefficients offset each other, and the largest error: coefficients
    move by an ulp, alone or in pairs, as long as that lowers it."""
    exact = extended(1 / function(x) for x in grid)
    weights = extended(weight(x) for x in grid)
    powers = np.array([extended(x**k for x in grid) for k in range(max(len(p), len(q)))])
    c = extended(rounded([*p, *q], bits))
    step = np.spacing(c.astype(f"f{bits // 8}")).astype(np.longdouble)

    def error(c):
        ratio = (c[: len(p)] @ powers[: len(p)]) / (c[len(p) :] @ powers[: len(q)])
        return float(abs((ratio * exact - 1) * weights).max())

    best = error(c)
    fixed = {0, len(p)}  # their ratio is 1/2, as it should be
    tries = [(i, j, s, t) for i in range(c.size) for j in range(i, c.size) for s in (-1, 1) for t in (-1, 0, 1)]
    tries = [(i, j, s, t) for i, j, s, t in tries if i not in fixed and j not in fixed]
    improved = True
    while improved:
        improved = False
        for i, j, s, t in tries:
            moved = c.copy()
            moved[i] += s * step[i]
            moved[j] += t * step[j]
            if error(moved) < best:
                c, best, improved = moved, error(moved), True
    return list(c[: len(p)]), list(c[len(p) :]), best


def show(name, c, bits):
    digits = 9 if bits == 32 else 17
    numbers = [mp.nstr(mp.mpf(float(v)), digits, min_fixed=0, max_fixed=0) for v in rounded(c, bits)]
    lines, line = [], "   "
    for number in numbers:
        if len(line) + len(number) + 2 > 118:
            lines.append(line)
            line = "   "
        line += f" {number},"
    print(f"static const real {name}[] = {{\n" + "\n".join([*lines, line.rstrip(",") + "};"]))


def main():
    for bits in (32, 64):
        print(f"/* float{bits} */")
        for name, (function, low, high, degrees) in POLYNOMIALS.items():
            c = chebyshev_polynomial(function, low, high, degrees[bits])
            grid = [low + (high - low) * k / SAMPLES for k in range(SAMPLES + 1)]
            error = max(abs(evaluate(rounded(c, bits), x) - function(x)) for x in grid)
            show(f"{name}_COEFFICIENTS", c, bits)
            print(f"/* {name}: error {mp.nstr(error, 2)} */")
        for name, (function, weight, scale, forms) in RATIONALS.items():
            if bits in forms:
                grid = forms[bits][0]
                p, q = minimax_rational(function, weight, *forms[bits])
                p, q, error = rounded_together(
                    [scale * v for v in p], [scale * v for v in q], bits, function, weight, grid
                )
                show(f"{name}_NUMERATOR", p, bits)
                show(f"{name}_DENOMINATOR", q, bits)
                print(f"/* {name}: relative error {error:.2g} */")
        leading = {32: "0x1.62e4p-1", 64: "0x1.62e42fefa3800p-1"}[bits]
        high = mp.mpf(float.fromhex(leading))
        print(f"/* LN2_HIGH {mp.nstr(high, 25)}, LN2_LOW {mp.nstr(mp.log(2) - high, 25)} */\n")


if __name__ == "__main__":
    main()
