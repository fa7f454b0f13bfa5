"""Intervals, limits, contours and regularisation of template fits as tables."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from everwillow._bands import BAND_TEXTS
from everwillow._rounding import plain, pvalue_text, signed
from everwillow.cli.report.fits import (
    decimals_of,
    first_rows,
    height_text,
    on_grid,
    shift_text,
)
from everwillow.cli.report.terminal import table
from everwillow.hypotest.model_tests import DiscoveryResult
from everwillow.workflows.templates.results import (
    AsymmetricErrors,
    Contour,
    GridScan,
    Limit,
    NonprofiledShifts,
    Regularisation,
    StrengthScan,
    TemplateResults,
)


_NUISANCES = {
    "a posteriori": "nuisance parameters fitted to the data without signal",
    "a priori": "nuisance parameters at their nominal values",
}


def interval_table(errors: AsymmetricErrors) -> str:
    """Return a table of asymmetric errors."""
    rows = []
    for i, name in enumerate(errors.names):
        low, high = float(errors.lower[i]), float(errors.upper[i])
        known = [abs(one) for one in (low, high) if np.isfinite(one)]
        digits = decimals_of(min(known, default=np.nan))
        notes = [
            f"{side}: {status[i]}"
            for side, status in (
                ("lower", errors.lower_status),
                ("upper", errors.upper_status),
            )
            if status[i] != "found"
        ]
        value = f"{float(errors.values[i]):.{digits}f}"
        ends = signed(low, digits), signed(high, digits)
        rows.append((name, value, *ends, "; ".join(notes)))
    title = f"Intervals from the profile likelihood, {100 * errors.cl:.4g} %"
    return table(("name", "value", "lower", "upper", ""), rows, title=title)


def limit_table(limits: Mapping[str, Limit]) -> str:
    """Return a table of upper limits, which all have the same level.

    Args:
        limits: The limits by parameter of interest.
    """
    rows = [
        (name, *map(_limit_text, (limit.observed, *limit.expected)))
        for name, limit in limits.items()
    ]
    first = next(iter(limits.values()))
    title = f"CLs upper limits at {100 * (1 - first.level):.6g} % CL"
    nuisances = _NUISANCES.get(first.nuisances, first.nuisances)
    return (
        f"{table(('name', 'observed', *BAND_TEXTS), rows, title=title)}\n\n"
        "Test statistic q-tilde, asymptotic formulas (arXiv:1007.1727).\n"
        f"Expected: data without signal, {nuisances}."
    )


def _limit_text(limit: Any) -> str:
    return plain(float(limit), 6) if np.isfinite(limit) else "none"


def expected_pvalue(test: DiscoveryResult) -> float:
    """Return the probability beyond the expected significance of a Gaussian."""
    return math.erfc(float(test.expected) / math.sqrt(2)) / 2


def discovery_text(test: DiscoveryResult, signal: float) -> str:
    """Return a table of observed and expected significance, and what they are.

    Args:
        test: The test.
        signal: The signal of the expected one.
    """
    expected = float(test.expected)
    rows = [
        (name, f"{z:.3f}", pvalue_text(p))
        if math.isfinite(z)
        else (name, "none", "none")
        for name, z, p in (
            ("observed", float(test.significance), float(test.pvalue)),
            (f"expected, {test.poi} = {signal:g}", expected, expected_pvalue(test)),
        )
    ]
    nuisances = _NUISANCES.get(test.nuisances, test.nuisances)
    lines = [
        f"Best fit: {test.poi} = {plain(float(test.mu_hat))}, q0 = "
        f"{plain(float(test.q0), 4)}.",
        "Significance in standard deviations, one-sided; p: probability of data at "
        "least as signal-like without signal.",
        "Test statistic q0, asymptotic formulas (arXiv:1007.1727).",
        f"Expected: median for data with {test.poi} = {signal:g}, "
        f"{nuisances.replace('without signal', 'with this signal')}.",
    ]
    if float(test.mu_hat) <= 0:
        lines.insert(1, "There is no excess: a best fit at or below 0 has Z = 0.")
    if not np.isfinite(float(test.significance)):
        lines.insert(1, "FAILED: a fit found no minimum, so there is no number.")
    title = f"Significance of {test.poi} > 0"
    shown = table(("", "significance", "p"), rows, title=title)
    return f"{shown}\n\n" + "\n".join(lines)


def grid_table(scan: GridScan) -> str:
    """Return a table of a grid: a row for each value of the second parameter."""
    first, second = scan.names
    heads = (f"{second} \\ {first}", *(plain(v, 3) for v in on_grid(scan.first)))
    rows = [
        (plain(value, 3), *(height_text(float(height), 2) for height in column))
        for value, column in zip(
            on_grid(scan.second), scan.twice_delta_nll.T, strict=True
        )
    ]
    title = f"Profile of {first} (columns) and {second} (rows): rise of -2 ln L"
    return table(heads, rows, title=title)


def contour_table(contour: Contour) -> str:
    """Return a table of the range of each contour."""
    rows = []
    for curve in contour.curves.values():
        known = curve.points[np.isfinite(curve.points).all(1)]
        ends = np.full((2, 2), np.nan)
        if known.size:
            ends = np.stack([known.min(0), known.max(0)])
        cells = [plain(float(end), 4) for end in ends.T.ravel()]
        rows.append(
            (
                f"{100 * curve.cl:.4g} %",
                *cells,
                str(len(known)),
                "closed" if curve.closed else "open",
            )
        )
    first, second = contour.names
    heads = ("level", f"{first} from", "to", f"{second} from", "to", "points", "")
    best = ", ".join(plain(float(value), 4) for value in contour.best)
    title = f"Contours of {first} and {second}, best fit ({best})"
    return table(heads, rows, title=title)


def nonprofiled_tables(shifts: NonprofiledShifts, *, everything: bool) -> list[str]:
    """Return tables of the impacts of frozen parameters."""
    parts = []
    for i, poi in enumerate(shifts.interest):
        total = float(np.nanmax(np.abs([shifts.grouped_up[i, -1], 0.0])))
        rows = [
            (name, shift_text(down, total), shift_text(up, total))
            for name, down, up in zip(
                shifts.groups, shifts.grouped_down[i], shifts.grouped_up[i], strict=True
            )
        ]
        title = f"Errors of {poi} from frozen parameters, in addition to its fit error"
        parts.append(table(("group", "lower", "upper"), rows, title=title))
        sizes = np.nan_to_num(np.maximum(np.abs(shifts.down[i]), np.abs(shifts.up[i])))
        rows = [
            (
                shifts.names[k],
                plain(float(shifts.widths[k]), 3),
                shift_text(shifts.down[i, k], total) or "failed",
                shift_text(shifts.up[i, k], total) or "failed",
            )
            for k in np.argsort(-sizes, kind="stable")
        ]
        title = f"Shifts of {poi} when a frozen parameter moves"
        heads = ("name", "moved by", "down", "up")
        parts.append(first_rows(heads, rows, title, everything=everything))
    return parts


def regularisation_parts(regularisation: Regularisation) -> list[str]:
    """Return tables of the regularised histograms and of the L-curve."""
    pairs = zip(regularisation.histograms, regularisation.strengths, strict=True)
    rows = [(name, plain(float(value), 4)) for name, value in pairs]
    parts = [table(("regularised", "strength"), rows, title="Regularisation")]
    curve = regularisation.l_curve
    return parts if curve is None else [*parts, l_curve_table(curve)]


def l_curve_table(curve: StrengthScan) -> str:
    """Return a table of an L-curve."""
    penalty = np.full(len(curve.strengths), np.nan)
    penalty = penalty if curve.penalty is None else curve.penalty
    columns = (curve.misfit, penalty, curve.curvature)
    rows = [
        (plain(float(tau), 4), *(_known(column[i]) for column in columns))
        for i, tau in enumerate(curve.strengths)
    ]
    title = "L-curve: no corner"
    if np.isfinite(curve.corner):
        title = f"L-curve: corner at strength {curve.corner:.4g}"
    heads = ("strength", "misfit", "penalty", "curvature")
    return table(heads, rows, title=title)


def _known(value: float) -> str:
    return plain(float(value), 4) if np.isfinite(value) else ""


def inference_parts(
    results: TemplateResults, *, everything: bool
) -> list[tuple[str, str]]:
    """Return the tables of the results of further fits, with their names."""
    parts = []
    if results.asymmetric_errors is not None:
        parts.append(("minos", interval_table(results.asymmetric_errors)))
    if results.limits:
        parts.append(("limits", limit_table(results.limits)))
    parts += [
        (f"contours/{key}", contour_table(one)) for key, one in results.contours.items()
    ]
    if results.nonprofiled_impacts is not None:
        shifts = results.nonprofiled_impacts
        tables = nonprofiled_tables(shifts, everything=everything)
        parts += [("nonprofiled", text) for text in tables]
    if results.regularisation is not None:
        texts = regularisation_parts(results.regularisation)
        parts += [("regularisation", text) for text in texts]
    return parts
