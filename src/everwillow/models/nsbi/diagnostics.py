"""Tests of density ratios with simulated events: closure and calibration."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import numpy as np

from everwillow._errors import ArgumentValueError, ShapeMismatchError
from everwillow._html import Table, html_of
from everwillow._rounding import signed, with_error


# With fewer events in a bin than this, their squared weights say too little about the
# variance; without an event they would say that it is 0.
FEW = 10


class ClosureResult(eqx.Module):
    """A sample, and the reference sample reweighted to it, in bins of one variable.

    `everwillow.goodness.chi2_test` of `residuals` and `covariance` tests all bins.

    Attributes:
        edges: The edges of the bins, shape ``(bins + 1,)``.
        target: Events of the target sample.
        target_errors: Their errors, the roots of sums of squared weights.
        reweighted: Events of the reference sample with weights times ratios, in units
            of events of the target sample; their sum is that of the target sample if
            the ratio is normalised.
        reweighted_errors: Their errors.
        source: Events of the reference sample without ratios, in these units.
        residuals: Target minus reweighted events.
        covariance: The covariance of the residuals, shape ``(bins, bins)``.
        pulls: Residuals over their errors; NaN without events.
        normalisation: The mean of the ratio over the reference sample, 1 for a ratio of
            densities.
        normalisation_error: Its error.
    """

    edges: np.ndarray
    target: np.ndarray
    target_errors: np.ndarray
    reweighted: np.ndarray
    reweighted_errors: np.ndarray
    source: np.ndarray
    residuals: np.ndarray
    covariance: np.ndarray
    pulls: np.ndarray
    normalisation: float
    normalisation_error: float

    def __repr__(self) -> str:
        """Return the number of bins, the largest pull and the normalisation."""
        return (
            f"ClosureResult({self.target.size} bins; largest pull "
            f"{_largest(self.pulls):.2f}; normalisation {self.normalisation:.4g} ± "
            f"{self.normalisation_error:.2g})"
        )

    def _repr_html_(self) -> str:
        """Return a table of the bins for notebooks."""
        columns = {
            "target": (self.target, self.target_errors),
            "reweighted": (self.reweighted, self.reweighted_errors),
        }
        return html_of([_table_of_bins(self.edges, columns, self.pulls), repr(self)])


class CalibrationResult(eqx.Module):
    """Predicted and true fractions of events of the numerator of a ratio.

    `everwillow.goodness.chi2_test` of `residuals` and `covariance` tests all bins.

    Attributes:
        edges: The edges of the bins of the predicted probability.
        predicted: The mean predicted probability in each bin; NaN without events.
        fraction: The fraction of events that are of the numerator.
        errors: The errors of `fraction` minus `predicted`.
        counts: Numbers of events of the numerator and of the denominator, shape
            ``(2, bins)``.
        residuals: `fraction` minus `predicted`, times the share of events in each bin.
        covariance: The covariance of the residuals, shape ``(bins, bins)``.
        pulls: Residuals over their errors; NaN without events.
    """

    edges: np.ndarray
    predicted: np.ndarray
    fraction: np.ndarray
    errors: np.ndarray
    counts: np.ndarray
    residuals: np.ndarray
    covariance: np.ndarray
    pulls: np.ndarray

    def __repr__(self) -> str:
        """Return the number of bins and the largest pull."""
        return (
            f"CalibrationResult({self.fraction.size} bins; largest pull "
            f"{_largest(self.pulls):.2f})"
        )

    def _repr_html_(self) -> str:
        """Return a table of the bins for notebooks."""
        columns = {
            "predicted": (self.predicted, self.errors),
            "fraction": (self.fraction, self.errors),
        }
        return html_of([_table_of_bins(self.edges, columns, self.pulls), repr(self)])


def _table_of_bins(
    edges: Any, columns: Mapping[str, tuple[Any, Any]], pulls: Any
) -> Table:
    """Return numbers in bins, each rounded to its error, and their pulls."""
    rows = []
    for i, pull in enumerate(pulls):
        place = f"{edges[i]:.4g} to {edges[i + 1]:.4g}"
        pairs = [
            text
            for values, errors in columns.values()
            for text in with_error(float(values[i]), float(errors[i]))
        ]
        rows.append((place, *pairs, signed(float(pull))))
    heads = [head for name in columns for head in (name, "error")]
    return Table([("bin", *heads, "pull"), *rows])


def closure_test(
    x: Any, target_weights: Any, source_weights: Any, ratios: Any, *, bins: Any
) -> ClosureResult:
    r"""Compare a sample with the reference sample reweighted by the density ratio.

    If :math:`r = p_t / p_s` is right, reference events with weights :math:`w_s r` are
    distributed as events of the target sample, in every variable. With totals
    :math:`W_t` and :math:`W_s` of the weights, the residual of a bin is

    .. math:: \sum_{i \in b} w_{t,i}
        - \frac{W_t}{W_s} \sum_{i \in b} w_{s,i} r_i .

    Its covariance is that of sums over independent events, including the totals, to
    first order; in bins with few events of the target sample the variance that the
    reweighted events predict counts if it is larger.

    Events may be in both samples. Two separate samples are concatenated, with a weight
    of zero in the sample to which an event does not belong.

    Args:
        x: The variable, shape ``(events,)``.
        target_weights: Weights of the events in the target sample.
        source_weights: Their weights in the reference sample.
        ratios: The ratio of densities at each event; not used for events that are not
            in the reference sample.
        bins: The edges of the bins, or the number of equal bins over all events. Values
            outside of the edges count in the first and last bin.

    Raises:
        ShapeMismatchError: If the arrays have different lengths.
        ArgumentValueError: If edges do not rise, numbers are not finite, or the weights
            of a sample have no positive sum.

    Example:
        >>> x = np.array([0.2, 0.4, 0.6, 0.8])
        >>> ones = np.ones(4)
        >>> closure_test(x, 2 * x, ones, 2 * x, bins=[0, 0.5, 1]).residuals.tolist()
        [0.0, 0.0]
    """
    x = _events(x, "x")
    target = _events(target_weights, "target_weights", x.size)
    source = _events(source_weights, "source_weights", x.size)
    target_total = _total(target, "target_weights")
    source_total = _total(source, "source_weights")
    used = source != 0
    weighted = np.zeros(x.size)
    ratio = _events(np.where(used, ratios, 0.0), "ratios", x.size)
    weighted[used] = source[used] * ratio[used] / source_total
    target, source = target / target_total, source / source_total
    edges = _edges(bins, x[used | (target != 0)])
    sums = _Bins(edges, x)
    found, expected = sums(target), sums(weighted)
    covariance = _covariance(
        sums, target - weighted, [(target, found), (-source, expected)]
    )
    alone = np.where(used, 0.0, target)
    covariance += np.diag(_of_few(sums, alone, np.sum(alone) * expected))
    covariance *= target_total**2
    residuals = target_total * (found - expected)
    mean = float(np.sum(weighted))
    return ClosureResult(
        edges=edges,
        target=target_total * found,
        target_errors=target_total * np.sqrt(sums(target**2)),
        reweighted=target_total * expected,
        reweighted_errors=target_total * np.sqrt(sums(weighted**2)),
        source=target_total * sums(source),
        residuals=residuals,
        covariance=covariance,
        pulls=_pulls(residuals, covariance),
        normalisation=mean,
        normalisation_error=float(np.sqrt(np.sum((weighted - mean * source) ** 2))),
    )


def calibration(
    ratios: Any, is_numerator: Any, weights: Any = None, *, bins: Any = 20
) -> CalibrationResult:
    r"""Compare probabilities predicted by a density ratio with true fractions.

    Among as many events of the numerator as of the denominator, an event with the ratio
    :math:`r` is one of the numerator with the probability :math:`s = r / (1 + r)`. The
    weights of both classes are divided by their sums, so the samples may have any size.
    In bins with few events of a class the predicted variance counts if it is larger
    than that of the events.

    Args:
        ratios: The ratio of densities at each event, shape ``(events,)``.
        is_numerator: Which events are from the numerator.
        weights: Weights of the events; by default 1.
        bins: The edges of the bins of :math:`s`, or the number of equal bins from 0 to
            1.

    Raises:
        ShapeMismatchError: If the arrays have different lengths.
        ArgumentValueError: If edges do not rise, a ratio is negative, numbers are not
            finite, or the weights of a class have no positive sum.

    Example:
        >>> ratios = np.array([1.0, 1.0, 3.0, 3.0, 1 / 3, 1 / 3])
        >>> found = calibration(ratios, [1, 0, 1, 1, 0, 0], bins=[0, 0.5, 1])
        >>> found.counts.tolist()
        [[0.0, 3.0], [2.0, 1.0]]
    """
    ratio = _events(ratios, "ratios")
    if np.any(ratio < 0):
        raise ArgumentValueError(
            f"ratios: {np.count_nonzero(ratio < 0)} of {ratio.size} are negative."
        )
    first = np.asarray(is_numerator).astype(bool)
    if first.shape != ratio.shape:
        raise ShapeMismatchError(
            f"is_numerator: expected {ratio.size} entries, got the shape {first.shape}."
        )
    unit = np.ones(ratio.size) if weights is None else weights
    weight = _events(unit, "weights", ratio.size)
    classes = [np.where(members, weight, 0.0) for members in (first, ~first)]
    classes = [part / _total(part, "weights of one class") for part in classes]
    score = ratio / (1 + ratio)
    edges = _edges(np.linspace(0, 1, bins + 1) if np.ndim(bins) == 0 else bins, score)
    sums, both = _Bins(edges, score), classes[0] + classes[1]
    away = both * (first - score)
    totals = [(part, sums(away * (part != 0))) for part in classes]
    covariance = _covariance(sums, away, totals)
    for part, chance in zip(classes, (score, 1 - score), strict=True):
        factor = 1 - chance
        spread = _of_few(sums, part, sums(both * chance * factor**2), factor)
        covariance += np.diag(spread)
    share, residuals = sums(both), sums(away)
    known = share != 0
    share = np.where(known, share, np.nan)
    return CalibrationResult(
        edges=edges,
        predicted=sums(both * score) / share,
        fraction=sums(classes[0]) / share,
        errors=np.sqrt(np.diagonal(covariance)) / np.abs(share),
        counts=np.stack([sums(1.0 * first), sums(1.0 * ~first)]),
        residuals=residuals,
        covariance=covariance,
        pulls=_pulls(residuals, covariance),
    )


class _Bins:
    """Sums of numbers of events in bins; values outside are in the edge bins."""

    def __init__(self, edges: np.ndarray, x: np.ndarray) -> None:
        self.number = edges.size - 1
        places = np.searchsorted(edges, x, side="right") - 1
        self.places = np.clip(places, 0, self.number - 1)

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        return np.bincount(self.places, numbers, self.number)


def _covariance(
    sums: _Bins, numbers: np.ndarray, totals: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    r"""Return the covariance of sums of numbers that are divided by totals.

    An event adds :math:`a_i 1_b - \sum_k t_{ki} M_{kb}`: its own number in its bin, and
    by its part of total k a change of everything that is divided by this total.

    Args:
        sums: The bins.
        numbers: The numbers :math:`a_i`.
        totals: The parts :math:`t_{ki}` of events in every total, and what is divided
            by it in each bin, :math:`M_{kb}`.
    """
    parts = np.stack([part for part, _ in totals])
    means = np.stack([mean for _, mean in totals])
    mixed = np.stack([sums(numbers * part) for part in parts]).T @ means
    return (
        np.diag(sums(numbers**2))
        - mixed
        - mixed.T
        + means.T @ (parts @ parts.T) @ means
    )


def _of_few(
    sums: _Bins, weights: np.ndarray, expected: np.ndarray, factor: Any = 1.0
) -> np.ndarray:
    """Return what sums of squares of few events lack to their expected values.

    Args:
        sums: The bins.
        weights: Weights of the events, 0 for those that do not count.
        expected: The expected sum of weights times squared factors in each bin.
        factor: What multiplies the weights.
    """
    squares = float(np.sum(weights**2))
    if squares == 0:
        return np.zeros_like(expected)
    variance = expected * squares / float(np.sum(weights))
    lacking = np.maximum(variance - sums((weights * factor) ** 2), 0.0)
    return np.where(sums(1.0 * (weights != 0)) < FEW, lacking, 0.0)


def _pulls(residuals: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    variance = np.diagonal(covariance)
    return residuals / np.sqrt(np.where(variance > 0, variance, np.nan))


def _largest(pulls: np.ndarray) -> float:
    return float(np.max(np.abs(pulls), where=np.isfinite(pulls), initial=0.0))


def _events(values: Any, name: str, length: int | None = None) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or length not in (None, array.size):
        need = "a vector" if length is None else f"a vector of {length} numbers"
        raise ShapeMismatchError(
            f"{name}: expected {need}, got the shape {array.shape}."
        )
    bad = np.count_nonzero(~np.isfinite(array))
    if bad:
        raise ArgumentValueError(f"{name}: {bad} of {array.size} are not finite.")
    return array


def _total(weights: np.ndarray, name: str) -> float:
    total = float(np.sum(weights))
    if not total > 0:
        raise ArgumentValueError(
            f"{name}: their sum is {total:g}, and must be positive."
        )
    return total


def _edges(bins: Any, x: np.ndarray) -> np.ndarray:
    if np.ndim(bins) == 0:
        bins = np.linspace(np.min(x), np.max(x), int(bins) + 1)
    edges = np.asarray(bins, np.float64)
    if edges.ndim != 1 or edges.size < 2 or not np.all(np.diff(edges) > 0):
        raise ArgumentValueError(
            "bins: expected their number, or at least two rising edges."
        )
    return edges
