"""The likelihood of a `BinnedSpec` in plain loops, with exact derivatives.

It says what the description means, bin by bin, and shares no code with the engine.
"""

import math

import numpy as np

from everwillow.likelihood.binned.spec import (
    BinScale,
    NormVariation,
    Scale,
    ShapeVariation,
)
from tests.likelihood.binned.jets import Jet, exp, log, variables


def in_order(spec, vector):
    """Name the elements of a vector, ordered as ``ravel_pytree`` of a dict."""
    values, start = {}, 0
    for entry in sorted(spec.parameters, key=lambda entry: entry.name):
        size = int(np.prod(np.shape(entry.start)))
        part = list(vector[start : start + size])
        values[entry.name] = part if np.shape(entry.start) else part[0]
        start += size
    assert start == len(vector)
    return values


def start_vector(spec):
    entries = sorted(spec.parameters, key=lambda entry: entry.name)
    return np.concatenate([np.zeros(0), *(np.ravel(e.start) for e in entries)])


def with_derived(spec, values):
    values = dict(values)
    for name, entry in spec.derived.items():
        values[name] = entry.fn(*(element(values, given) for given in entry.inputs))
    return values


def element(values, label):
    if label in values:
        found = values[label]
        return found[0] if isinstance(found, list) else found
    name, _, index = label.rpartition("[")
    return values[name][int(index[:-1])]


def factor_of_bin(effect, values, bin_):
    names = effect.parameters
    if isinstance(names, tuple):
        return element(values, names[bin_])
    return values[names][bin_]


def interpolated(code, alpha, down, nominal, up):
    """Return the yield at alpha from those at -1, 0 and 1."""
    if code in ("code1", "code4"):
        return nominal * factor(code, alpha, down / nominal, up / nominal)
    code = "code4p" if code == "code6" else code
    rise, fall = up - nominal, nominal - down
    if code == "code0" or (code == "code4p" and not abs(alpha) < 1):
        return nominal + alpha * (fall if alpha < 0 else rise)
    s, a = (rise + fall) / 2, (rise - fall) / 2
    if code == "code4p":
        bend = 15 * alpha**2 + -10 * alpha**4 + 3 * alpha**6
        return nominal + s * alpha + a / 8 * bend
    if alpha > 1:
        return nominal + (s + 2 * a) * (alpha - 1) + rise
    if alpha < -1:
        return nominal + (s - 2 * a) * (alpha + 1) - fall
    return nominal + s * alpha + a * alpha**2


def factor(code, alpha, down, up):
    if code == "code1" or not abs(alpha) < 1:
        return exp(-alpha * math.log(down)) if alpha < 0 else exp(alpha * math.log(up))
    total = 1.0
    for power, c in enumerate(code4_coefficients(down, up), 1):
        total = total + float(c) * alpha**power
    return total


def code4_coefficients(down, up):
    """Meet the exponentials in value, slope and curvature at both ends."""
    powers = np.arange(1, 7)
    rows, ends = [], []
    for side, kappa in ((1.0, up), (-1.0, down)):
        rate = side * math.log(kappa)
        rows += [
            side**powers,
            powers * side ** (powers - 1),
            powers * (powers - 1) * side ** (powers - 2.0),
        ]
        ends += [kappa - 1, rate * kappa, rate**2 * kappa]
    return np.linalg.solve(np.array(rows), ends)


def expected(spec, values, only=None):
    """Return the expected count of every bin, channel after channel."""
    values = with_derived(spec, values)
    rates = []
    for channel in spec.channels:
        for b in range(len(channel.observed)):
            rate = 0.0
            for sample in channel.samples:
                rate = rate + yield_of(sample, values, b)
            rates.append(rate)
    return rates if only is None else rates[only]


def yield_of(sample, values, b):
    nominal = float(sample.nominal[b])
    total, product = nominal, 1.0
    for effect in sample.effects:
        match effect:
            case Scale(name):
                product = product * element(values, name)
            case BinScale():
                product = product * factor_of_bin(effect, values, b)
            case NormVariation(name, down, up, code):
                product = product * interpolated(
                    code, element(values, name), down, 1.0, up
                )
            case ShapeVariation(name, down, up, "code1" | "code4" as code):
                if nominal:
                    product = product * factor(
                        code, element(values, name), down[b] / nominal, up[b] / nominal
                    )
            case ShapeVariation(name, down, up, code):
                ends = float(down[b]), nominal, float(up[b])
                total = total + interpolated(code, element(values, name), *ends)
                total = total - nominal
    return total * product


def poisson(count, rate):
    """Return -ln of the probability; a rate of 0 is only possible without counts."""
    if count == 0:
        return rate * 1.0
    return rate - count * log(rate) + math.lgamma(count + 1)


def constraint_nll(constraint, value, aux, width):
    if constraint.kind == "normal":
        pull = (aux - value) * (1 / width)
        return 0.5 * (pull * pull) + math.log(width * math.sqrt(2 * math.pi))
    if constraint.kind == "poisson":
        return poisson(aux, value * width)
    pull = (math.log(aux) - log(value)) * (1 / math.log(width))
    norm = aux * math.log(width) * math.sqrt(2 * math.pi)
    return 0.5 * (pull * pull) + math.log(norm)


def main_nll(spec, values):
    counts = [n for channel in spec.channels for n in channel.observed]
    total = 0.0
    for count, rate in zip(counts, expected(spec, values), strict=True):
        total = total + poisson(float(count), rate)
    return total


def nll(spec, values):
    """Return -ln L, constraints and all constants included."""
    total = main_nll(spec, values)
    for entry in spec.parameters:
        if entry.constraint is None:
            continue
        own = values[entry.name]
        own = own if isinstance(own, list) else [own]
        aux = np.broadcast_to(entry.constraint.aux, len(own))
        width = np.broadcast_to(entry.constraint.width, len(own))
        for value, a, w in zip(own, aux.tolist(), width.tolist(), strict=True):
            total = total + constraint_nll(entry.constraint, value, a, w)
    return total


def second_order(fn, spec, vector):
    """Return value, gradient and Hessian of ``fn(spec, values)`` at a vector."""
    jets = variables(vector)
    found = fn(spec, in_order(spec, jets))
    return jets[0].like(found) if not isinstance(found, Jet) else found
