"""Comparisons of models, and errors of density ratios, as tables."""

import math

import numpy as np

from everwillow._rounding import with_error
from everwillow.cli.report.fits import decimals_of
from everwillow.cli.report.terminal import table
from everwillow.workflows.nsbi.ratio_statistics import RatioErrors
from everwillow.workflows.nsbi.scans import Comparison, Sensitivity


def comparison_table(found: Comparison) -> str:
    """Return a table with one row for each curve of a comparison."""
    intervals = [f"{100 * level:.4g} %" for level in found.levels]
    heads = ("model", "value", "error", *intervals, "Z", "exp. Z")
    rows = []
    for label, numbers in found.total.items():
        rows.append(_row(label, numbers))
        if label in found.statistical:
            rows.append(_row("  stat. only", found.statistical[label]))
    lines = [
        "Intervals from the profile likelihood. Z: significance in standard "
        f"deviations; exp. Z: its median for data with {found.name} = 1."
    ]
    if found.statistical:
        lines.append("Stat. only: constrained parameters are held at the best fit.")
    title = f"Sensitivity to {found.name}"
    return table(heads, rows, title=title) + "\n\n" + "\n".join(lines)


def ratio_error_table(errors: RatioErrors) -> str:
    """Return a table of the errors of a fit and of those from its density ratios."""
    parts = (errors.fit, errors.ensemble, errors.reference, errors.total)
    roots = np.sqrt([np.diagonal(part) for part in parts]).T
    rows = [
        (name, *(f"{number:.2g}" for number in row))
        for name, row in zip(errors.labels, roots, strict=True)
    ]
    heads = ("name", "fit", "networks", "reference", "total")
    return table(heads, rows, title="Errors of the fit and of the density ratios")


def _row(label: str, numbers: Sensitivity) -> tuple[str, ...]:
    error = numbers.error
    if not math.isfinite(error):
        # A parameter at its bound has one end of an interval at most.
        widths = [abs(end - numbers.best) for end in numbers.intervals[0]]
        error = min((one for one in widths if one > 0), default=math.nan)
    value, _ = with_error(numbers.best, error, 3)
    shown = with_error(numbers.best, numbers.error, 3)[1]
    digits = decimals_of(error)
    ends = [
        f"[{_end(low, digits)}, {_end(high, digits)}]"
        for low, high in numbers.intervals
    ]
    tests = (numbers.observed, numbers.expected)
    return (
        label,
        value,
        shown,
        *ends,
        *(f"{one:.2f}" if math.isfinite(one) else "" for one in tests),
    )


def _end(end: float, digits: int) -> str:
    return f"{end:.{digits}f}" if math.isfinite(end) else "..."
