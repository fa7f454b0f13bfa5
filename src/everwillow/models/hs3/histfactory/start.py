"""Checks of a binned likelihood at its start values."""

import numpy as np

from everwillow.likelihood.binned.spec import (
    BinnedSpec,
    BinScale,
    ConstraintSpec,
    Interpolation,
    NormVariation,
    SampleSpec,
    Scale,
    ShapeVariation,
)
from everwillow.likelihood.interpolation import EXPONENTIAL, MULTIPLICATIVE
from everwillow.models._document import Report


def check_start(spec: BinnedSpec, report: Report) -> None:
    """Report bins that make the likelihood zero at the start values."""
    values = {entry.name: np.asarray(entry.start, float) for entry in spec.parameters}
    with np.errstate(all="ignore"):
        for name, derived in spec.derived.items():
            inputs = [values[given] for given in derived.inputs]
            values[name] = np.asarray(derived.fn(*inputs), float)
        for channel in spec.channels:
            rate = np.sum([_rate(one, values) for one in channel.samples], axis=0)
            wrong = ~(rate > 0.0) & ((channel.observed > 0.0) | (rate != 0.0))
            wrong |= ~np.isfinite(rate)
            if np.any(wrong):
                place = int(np.argmax(wrong))
                report.say(
                    f"At the start values the likelihood is zero: bin {place} of "
                    f"{channel.name!r} expects {rate[place]:g} events and observes "
                    f"{channel.observed[place]:g}."
                )
    for entry in spec.parameters:
        if entry.constraint is not None and _impossible(entry.constraint, entry.start):
            report.say(
                "At the start values the likelihood is zero: the constraint of "
                f"{entry.name!r} excludes {np.min(entry.start):g}."
            )


def _impossible(constraint: ConstraintSpec, start: float | np.ndarray) -> bool:
    value, aux = np.asarray(start), np.asarray(constraint.aux)
    if constraint.kind == "normal":
        with np.errstate(all="ignore"):
            pull = (value - aux) / constraint.width
            return not bool(np.all(np.isfinite(pull**2)))
    if constraint.kind == "lognormal":
        return bool(np.any(value <= 0.0))
    return bool(np.any((value < 0.0) | ((value == 0.0) & (aux > 0.0))))


def _rate(sample: SampleSpec, values: dict[str, np.ndarray]) -> np.ndarray:
    added, factor = np.array(sample.nominal), np.ones(len(sample.nominal))
    for effect in sample.effects:
        match effect:
            case Scale(name):
                factor = factor * values[name]
            case BinScale(str() as name):
                factor = factor * values[name]
            case BinScale(names):
                factor = factor * np.array([values[name] for name in names])
            case NormVariation(name, down, up, code):
                nominal = np.ones(1)
                ends = np.array([down]), np.array([up])
                factor = factor * _moved(nominal, *ends, float(values[name]), code)
            case ShapeVariation(name, down, up, code):
                moved = _moved(sample.nominal, down, up, float(values[name]), code)
                if code in MULTIPLICATIVE:
                    factor = factor * moved / sample.nominal
                else:
                    added = added + moved - sample.nominal
    return added * factor


def _moved(
    nominal: np.ndarray,
    down: np.ndarray,
    up: np.ndarray,
    value: float,
    code: Interpolation,
) -> np.ndarray:
    """Interpolate; code 4 as code 1, which has the same sign and similar size."""
    if code in EXPONENTIAL:
        return nominal * (up / nominal if value > 0 else nominal / down) ** value
    half, curve = (up - down) / 2, (up + down) / 2 - nominal
    if abs(value) < 1.0 and code != "code0":
        square = value**2
        if code in ("code4p", "code6"):
            square *= (15.0 - 10.0 * square + 3.0 * square**2) / 8.0
        return nominal + half * value + curve * square
    if code == "code2":
        return nominal + half * value + curve * (2.0 * abs(value) - 1.0)
    return nominal + half * value + curve * abs(value)
