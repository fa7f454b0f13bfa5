"""-ln L of a `BinnedSpec` in plain NumPy, one loop after the other.

Written from the formulas of HistFactory (CERN-OPEN-2012-016, section 4) without any
code of the package, to have a second opinion on what the readers make.
"""

import math

import numpy as np

from everwillow.likelihood.binned.spec import (
    BinScale,
    NormVariation,
    Scale,
    ShapeVariation,
)


def nll(spec, values):
    """Return -ln L, all constants kept; what `values` lacks is at its start."""
    values = {p.name: p.start for p in spec.parameters} | values
    for name, derived in spec.derived.items():
        values[name] = float(derived.fn(*(values[i] for i in derived.inputs)))
    total = 0.0
    for channel in spec.channels:
        for n, rate in zip(channel.observed, rates(channel, values), strict=True):
            total += rate - n * math.log(rate) + math.lgamma(n + 1)
    for parameter in spec.parameters:
        if parameter.constraint is not None:
            total += constraint(parameter.constraint, values[parameter.name])
    return total


def rates(channel, values):
    return np.sum([sample_rates(s, values) for s in channel.samples], axis=0)


def sample_rates(sample, values):
    added = np.array(sample.nominal, float)
    factor = np.ones(len(added))
    for effect in sample.effects:
        match effect:
            case Scale():
                factor *= values[effect.parameter]
            case BinScale(parameters=str() as name):
                factor *= values[name]
            case BinScale():
                factor *= [values[name] for name in effect.parameters]
            case NormVariation():
                a, code = values[effect.parameter], effect.interpolation
                factor *= interpolated(1.0, effect.down, effect.up, a, code)
            case ShapeVariation():
                a, code = values[effect.parameter], effect.interpolation
                for i, n in enumerate(sample.nominal):
                    y = interpolated(n, effect.down[i], effect.up[i], a, code)
                    if code in ("code1", "code4", "code6"):
                        factor[i] *= y / n
                    else:
                        added[i] += y - n
    return added * factor


def interpolated(n, d, u, a, code):
    if code == "code0":
        return n + a * ((u - n) if a >= 0 else (n - d))
    if code == "code1":
        return n * ((u / n) ** a if a >= 0 else (d / n) ** -a)
    if code == "code2":
        s, t = 0.5 * (u + d) - n, 0.5 * (u - d)
        if abs(a) <= 1:
            return n + s * a**2 + t * a
        return n + (t + 2 * s) * (a - 1) + u - n if a > 1 else d + (t - 2 * s) * (a + 1)
    if code in ("code4p", "code6"):
        if abs(a) >= 1:
            return interpolated(n, d, u, a, "code0")
        s, t = 0.5 * (u - d), (u + d - 2 * n) / 16
        return n + a * s + a**2 * t * (15 - 10 * a**2 + 3 * a**4)
    if abs(a) >= 1:
        return interpolated(n, d, u, a, "code1")
    r, q = u / n, d / n
    rows, right = [], []
    for sign, y in ((1, r), (-1, q)):
        ln = sign * math.log(y)
        powers = [sign**k for k in range(1, 7)]
        rows += [
            powers,
            [k * sign ** (k - 1) for k in range(1, 7)],
            [k * (k - 1) * sign ** (k - 2) for k in range(1, 7)],
        ]
        right += [y - 1, y * ln, y * ln**2]
    c = np.linalg.solve(np.array(rows, float), np.array(right))
    return n * (1 + sum(c[k - 1] * a**k for k in range(1, 7)))


def constraint(spec, value):
    terms = np.broadcast_arrays(spec.aux, spec.width, value)
    rows = zip(*map(np.ravel, terms), strict=True)
    return sum(_term(spec.kind, *map(float, row)) for row in rows)


def _term(kind, aux, width, value):
    if kind == "normal":
        return 0.5 * ((aux - value) / width) ** 2 + math.log(
            width * math.sqrt(2 * math.pi)
        )
    if kind == "poisson":
        rate = width * value
        return rate - aux * math.log(rate) + math.lgamma(aux + 1)
    k = math.log(width)
    pull = math.log(aux / value) / k
    return 0.5 * pull**2 + math.log(aux * k * math.sqrt(2 * math.pi))
