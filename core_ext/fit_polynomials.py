"""Fit the polynomials of include/genpipe/math.h and print them as C++ tables.

Each function is interpolated at the Chebyshev nodes of its interval in 60-digit arithmetic, which is within a
small factor of the best polynomial; the printed error is the relative error of the whole function, so it can be
compared with the unit round-off (6e-8 for float, 1.1e-16 for double). Needs mpmath, which torch installs.
"""

import mpmath as mp

mp.mp.dps = 60


def fit(function, low, high, degree):
    """Coefficients, constant term first, of the interpolant at the Chebyshev nodes of [low, high]."""
    low, high = mp.mpf(low), mp.mpf(high)
    nodes = [
        (low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * degree + 2)) for i in range(degree + 1)
    ]
    matrix = mp.matrix([[x**k for k in range(degree + 1)] for x in nodes])
    return list(mp.lu_solve(matrix, mp.matrix([function(x) for x in nodes])))


def horner(coefficients, x):
    total = mp.mpf(0)
    for c in reversed(coefficients):
        total = total * x + c
    return total


ROOT = mp.sqrt(2)
S2 = ((ROOT - 1) / (ROOT + 1)) ** 2
Q = mp.pi / 4


TABLES = {
    # name: (the function that the polynomial stands for, interval, degrees for float and double,
    #        the whole from x and the polynomial's value, the exact whole)
    "log1p": (
        lambda f: (mp.log1p(f) - f + f * f / 2) / f**3 if abs(f) > mp.mpf(10) ** -12 else mp.mpf(1) / 3,
        (1 / ROOT - 1, ROOT - 1),
        (7, None),
        lambda f, p: f - f * f / 2 + f**3 * p,
        mp.log1p,
    ),
    "log1p over [0, 1]": (  # log(1 + x) = x * poly(x)
        lambda x: mp.log1p(x) / x,
        (mp.mpf(10) ** -9, 1),
        (9, None),
        lambda x, p: x * p,
        mp.log1p,
    ),
    "atanh": (  # log(1 + f) = 2 atanh(s), s = f / (2 + f); the polynomial is in s squared
        lambda z: (mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        (mp.mpf(10) ** -9, S2),
        (None, 6),
        lambda z, p: 1 + z * p,
        lambda z: mp.atanh(mp.sqrt(z)) / mp.sqrt(z),
    ),
    "exp": (
        lambda r: (mp.exp(r) - 1 - r) / (r * r) if abs(r) > mp.mpf(10) ** -15 else mp.mpf(1) / 2,
        (-mp.log(2) / 2, mp.log(2) / 2),
        (4, 9),
        lambda r, p: 1 + r + r * r * p,
        mp.exp,
    ),
    "exp2": (  # 2^r = 1 + r * poly(r)
        lambda r: (mp.mpf(2) ** r - 1) / r if abs(r) > mp.mpf(10) ** -15 else mp.log(2),
        (-mp.mpf(1) / 2, mp.mpf(1) / 2),
        (5, None),
        lambda r, p: 1 + r * p,
        lambda r: mp.mpf(2) ** r,
    ),
    "sin": (  # sin(pi/4 y) = y * poly(y squared)
        lambda z: mp.sin(Q * mp.sqrt(z)) / mp.sqrt(z),
        (mp.mpf(10) ** -12, 1),
        (3, 6),
        lambda z, p: p,
        lambda z: mp.sin(Q * mp.sqrt(z)) / mp.sqrt(z),
    ),
    "cos": (  # cos(pi/4 y) = 1 + z * poly(z), z = y squared
        lambda z: (mp.cos(Q * mp.sqrt(z)) - 1) / z,
        (mp.mpf(10) ** -9, 1),
        (3, 6),
        lambda z, p: 1 + z * p,
        lambda z: mp.cos(Q * mp.sqrt(z)),
    ),
}


def main():
    for name, (function, (low, high), degrees, whole, exact) in TABLES.items():
        for kind, degree in zip(("float", "double"), degrees, strict=True):
            if degree is None:
                continue
            coefficients = fit(function, low, high, degree)
            grid = [low + (high - low) * mp.mpf(i) / 1000 for i in range(1001)]
            error = max(
                abs(whole(x, horner(coefficients, x)) / exact(x) - 1) for x in grid if abs(x) > mp.mpf(10) ** -6
            )
            digits, suffix = (9, "f") if kind == "float" else (17, "")
            print(f"// {name}, {kind}: relative error {mp.nstr(error, 2)}")
            print(", ".join(mp.nstr(c, digits) + suffix for c in coefficients))


if __name__ == "__main__":
    main()
