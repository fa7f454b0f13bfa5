"""The likelihood of a `BinnedSpec` in plain loops, to compare numbers with pyhf.

Independent of the engine: it says what a description means, nothing about speed.
"""

import math

import numpy as np


def twice_nll(spec, values):
    """Return -2 ln L with all constants; `values` maps parameters to numbers."""
    total = 0.0
    for channel in spec.channels:
        rate = sum(sample_rate(spec, sample, values) for sample in channel.samples)
        for count, expected in zip(channel.observed, rate, strict=True):
            total -= 2 * log_poisson(count, expected)
    for parameter in spec.parameters:
        constraint = parameter.constraint
        if constraint is None:
            continue
        value = np.atleast_1d(values[parameter.name])
        aux = np.broadcast_to(constraint.aux, value.shape)
        width = np.broadcast_to(constraint.width, value.shape)
        for v, a, w in zip(value, aux, width, strict=True):
            if constraint.kind == "normal":
                total += ((a - v) / w) ** 2 + math.log(2 * math.pi * w * w)
            else:
                total -= 2 * log_poisson(a, v * w)
    return total


def log_poisson(count, mean):
    log = 0.0 if count == 0 else count * math.log(mean)
    return log - mean - math.lgamma(count + 1)


def sample_rate(spec, sample, values):
    values = dict(values)
    for name, derived in spec.derived.items():
        values[name] = float(derived.fn(*(values[i] for i in derived.inputs)))
    rate, factor = np.array(sample.nominal), 1.0
    for effect in sample.effects:
        kind = type(effect).__name__
        if kind == "Scale":
            factor = factor * values[effect.parameter]
        elif kind == "BinScale":
            factor = factor * elements(effect.parameters, values)
        elif kind == "NormVariation":
            alpha = values[effect.parameter]
            factor = factor * interpolated_factor(effect, alpha)
        else:
            alpha = values[effect.parameter]
            rate = rate + interpolated_change(effect, sample.nominal, alpha)
    return rate * factor


def elements(parameters, values):
    if isinstance(parameters, str):
        return np.asarray(values[parameters])
    return np.array([element(label, values) for label in parameters])


def element(label, values):
    if label in values:
        return values[label]
    name, _, index = label.rpartition("[")
    return values[name][int(index[:-1])]


def interpolated_factor(effect, alpha):
    up, down = effect.up, effect.down
    if effect.interpolation == "code1" or abs(alpha) >= 1:
        return up**alpha if alpha >= 0 else down ** (-alpha)
    # Code 4: the polynomial of sixth order with the values, slopes and curvatures of
    # the exponentials at -1 and 1.
    a = np.array(
        [[s**k for k in range(1, 7)] for s in (1, -1)]
        + [[k * s ** (k - 1) for k in range(1, 7)] for s in (1, -1)]
        + [[k * (k - 1) * s ** (k - 2) for k in range(1, 7)] for s in (1, -1)],
        float,
    )
    lu, ld = math.log(up), math.log(down)
    b = [up - 1, down - 1, lu * up, -ld * down, lu * lu * up, ld * ld * down]
    return 1 + np.linalg.solve(a, b) @ [alpha**k for k in range(1, 7)]


def interpolated_change(effect, nominal, alpha):
    up, down = effect.up - nominal, nominal - effect.down
    if effect.interpolation == "code0" or (
        effect.interpolation == "code4p" and abs(alpha) >= 1
    ):
        return alpha * (up if alpha >= 0 else down)
    s, a = (up + down) / 2, (up - down) / 2
    if effect.interpolation == "code4p":
        powers = 15 * alpha**2 - 10 * alpha**4 + 3 * alpha**6
        return alpha * s + a / 8 * powers
    if abs(alpha) <= 1:
        return a * alpha**2 + s * alpha
    if alpha > 1:
        return (s + 2 * a) * (alpha - 1) + up
    return (s - 2 * a) * (alpha + 1) - down
