"""The summary and the parameters of a fit, the same for every command."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from everwillow._rounding import (
    counted,
    edm_text,
    named_pvalue,
    plain,
    pvalue_text,
    signed,
    with_error,
)
from everwillow.cli.report.terminal import table
from everwillow.workflows.report import ChiSquare, FitSummary, Parameters


# The largest number of rows of a table without --all.
SHOWN = 20
_NAMED = 6
HEIGHT = "-2 Δ ln L"
# Relative to the range of a grid.
ROUNDING = 1e-12


def headline(title: str, kind: str, *facts: str) -> str:
    """Return two lines on the fitted file; empty facts are left out."""
    return f"{title}: {kind}\n{', '.join(filter(None, facts))}"


def status(fit: FitSummary, advice: str, remark: str = "") -> str:
    """Return the summary of a fit as text.

    Args:
        fit: The summary.
        advice: Sentences on what to do after a failure.
        remark: A remark on the likelihood.
    """
    numbers = f"-2 ln L = {2 * fit.nll:.6f}"
    if fit.penalty is not None:
        remark = f"including the penalty {plain(2 * fit.penalty, 4)}"
    numbers += f" ({remark})" if remark else ""
    if fit.success:
        lines = [fit.status, numbers]
        if fit.saturated is not None:
            chi2, _ = chi2_cells(fit.saturated)
            lines.append(
                f"Goodness of fit (saturated model): chi2/ndof = {chi2}, "
                f"{named_pvalue(fit.saturated.pvalue)}"
            )
        return "\n".join(lines)
    edm = "" if "EDM" in fit.status else f", {edm_text(fit.edm, 2)}"
    spent = counted(fit.evaluations, "evaluation")
    return (
        f"FAILED: {fit.status}\n{numbers}{edm} where it stopped, after {spent}.\n"
        f"The numbers below are no results. {advice}"
    )


def chi2_cells(test: ChiSquare | None) -> tuple[str, str]:
    """Return a chi2 over its degrees of freedom, and its p-value; empty for None."""
    if test is None:
        return "", ""
    return f"{plain(test.statistic, 4)}/{test.ndof:g}", pvalue_text(test.pvalue)


def parameter_tables(params: Parameters, *, everything: bool) -> list[str]:
    """Return tables of parameters of interest, of free and of constrained ones."""
    fitted = ~params.frozen
    if params.stopped_at is not None:
        return [_last_values(params)]
    parts = []
    several = np.sum(params.interest & fitted) > 1
    for title, chosen in (
        (f"Parameter{'s' if several else ''} of interest", params.interest),
        ("Free parameters", ~params.interest & ~params.constrained),
    ):
        here = np.flatnonzero(chosen & fitted)
        if here.size:
            rows = [_row(params, i) for i in here]
            cells = [(*row[:3], row[5]) for row in rows]
            heads = ("name", "value", "error", "")
            parts.append(first_rows(heads, cells, title, everything=everything))
    here = np.flatnonzero(params.constrained & ~params.interest & fitted)
    if here.size:
        title = "Constrained parameters"
        if here.size > SHOWN and not everything:
            title += f": the {SHOWN} of {here.size} with the largest pulls (or --all)"
            largest = np.argsort(-np.abs(params.pulls[here]), kind="stable")
            here = here[largest][:SHOWN]
        heads = ("name", "value", "error", "pull", "constraint", "")
        parts.append(table(heads, [_row(params, i) for i in here], title=title))
    held = [params.names[i] for i in np.flatnonzero(params.frozen)]
    if held:
        more = f", ... ({len(held)} in all)" if len(held) > _NAMED else ""
        parts.append(f"Fixed: {', '.join(held[:_NAMED])}{more}")
    return parts


def _last_values(params: Parameters) -> str:
    """Return a table of the last values of a failed fit, which has no results."""
    assert params.stopped_at is not None
    fitted = np.flatnonzero(~params.frozen)
    # Parameters of interest come first.
    order = fitted[np.argsort(~params.interest[fitted], kind="stable")]
    values = params.stopped_at
    rows = [(params.names[i], plain(float(values[i]))) for i in order[:SHOWN]]
    more = f" (the first {SHOWN})" if len(order) > SHOWN else ""
    return table(("name", "last value"), rows, title=f"Where the fit stopped{more}")


def _row(params: Parameters, i: Any) -> tuple[str, ...]:
    digits = 3 if params.interest[i] else 2
    value, error = with_error(float(params.values[i]), float(params.errors[i]), digits)
    notes = ["at bound, one side"] if params.at_bound[i] and error else []
    notes += ["blinded"] if params.blinded[i] else []
    pull, width = signed(float(params.pulls[i])), signed(float(params.constraints[i]))
    return params.names[i], value, error, pull, width.lstrip("+"), ", ".join(notes)


def first_rows(
    heads: Sequence[str], rows: Sequence[Sequence[str]], title: str, *, everything: bool
) -> str:
    """Return a table of all rows, or of the first ones with a title that says so."""
    if len(rows) > SHOWN and not everything:
        title += f": the first {SHOWN} of {len(rows)} (or --all)"
        rows = rows[:SHOWN]
    return table(heads, rows, title=title)


def profile_table(
    name: str, values: np.ndarray, heights: Mapping[str, np.ndarray]
) -> str:
    """Return a table of scans.

    Args:
        name: The parameter.
        values: Where it was held.
        heights: The heights of each scan by the head of its column; NaN for fits
            without a minimum.
    """
    rows = [
        (plain(float(value)), *(height_text(float(one)) for one in column))
        for value, *column in zip(on_grid(values), *heights.values(), strict=True)
    ]
    title = f"Profile of {name}: rise of -2 ln L above the minimum"
    return table((name, *heights), rows, title=title)


def on_grid(values: np.ndarray) -> np.ndarray:
    """Return the points of a grid with zero in place of what is zero up to rounding.

    Example:
        >>> float(on_grid(np.linspace(-0.6, 0.6, 7))[3])
        0.0
    """
    values = np.asarray(values, float)
    span = float(np.ptp(values)) if values.size else 0.0
    return np.where(np.abs(values) < ROUNDING * span, 0.0, values)


def height_text(height: float, decimals: int = 4) -> str:
    """Return the height of a profile as text.

    Example:
        >>> height_text(-1e-9), height_text(float("nan"))
        ('0.0000', 'failed')
    """
    return signed(height, decimals).lstrip("+") or "failed"


def shift_text(value: Any, error: Any) -> str:
    """Return a shift with the decimals of an error that has three digits.

    Example:
        >>> shift_text(0.12345, 0.5), shift_text(float("nan"), 0.5)
        ('+0.123', '')
    """
    return signed(float(value), decimals_of(float(error))) if np.isfinite(value) else ""


def decimals_of(error: float) -> int:
    """Return the number of decimals of an error that has three digits."""
    if not (np.isfinite(error) and error > 0):
        return 4
    return min(max(0, 2 - int(np.floor(np.log10(error)))), 10)
