"""Responses and resolutions of categories, and the parts of their errors, as tables."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from everwillow._rounding import counted, edm_text, with_error
from everwillow.cli.report.fits import first_rows
from everwillow.cli.report.numbers import seconds
from everwillow.cli.report.terminal import GAP, table, width
from everwillow.models.scale_smearing.parameters import (
    AT_BOUND,
    SasParameters,
)
from everwillow.workflows.scale_smearing.smoothing import Curves, SmoothedParameters


_BOTH = ("resp", "reso")
_TITLES = {"resp": "Errors of responses", "reso": "Errors of resolutions"}
_SECOND = ("reso2", "mu", "frac")
_SOURCES = {"stat": "stat.", "mc": "sim."}


def results_head(parameters: SasParameters, *, time: float | None = None) -> str:
    """Return some lines on a fit: its regions and events, and its end.

    Args:
        parameters: The result; what its file does not say is left out.
        time: The time of the fit in seconds.
    """
    origin, facts = parameters.origin, []
    for key, text in (("n_data", "events in data"), ("n_mc", "simulated events")):
        if key in origin:
            facts.append(f"{origin[key]:,} {text}".replace(",", " "))
    if "n_regions" in origin:
        facts.insert(0, counted(int(origin["n_regions"]), "region"))
    numbers = []
    if parameters.nll is not None:
        numbers.append(f"-ln L = {parameters.nll:.4f}")
    # Messages of fits name it already.
    if parameters.edm is not None and "EDM" not in parameters.message:
        numbers.append(edm_text(parameters.edm, 2))
    if time is not None:
        numbers.append(seconds(time))
    failed = "FAILED: " if parameters.success is False else ""
    lines = [", ".join(facts), f"{failed}{parameters.message}", ", ".join(numbers)]
    return "\n".join(line for line in lines if line)


def results_table(parameters: SasParameters, *, everything: bool = False) -> str:
    """Return a table with a row for each category.

    Values have the decimals of two digits of their total errors. A category without a
    number has its status in words, and a smearing at zero its upper limit.

    Args:
        parameters: The result.
        everything: Whether to show all categories.
    """
    names = parameters.categories.names
    # A table with more columns would be wider than a terminal.
    apart = len(names) <= _MOST
    heads = ("category", *(names if apart else ()), *_HEADS)
    rows = []
    low, high = parameters.reso_interval()
    for i, status in enumerate(parameters.status):
        bins = {k: _bin(*v) for k, v in parameters.categories.bins(i).items()}
        first = [str(i), *bins.values()]
        if not apart:
            first = [f"{i}: {', '.join(f'{k} {v}' for k, v in bins.items())}"]
        value, error = _number(parameters, "resp", i)
        width, other = _number(parameters, "reso", i)
        if status == AT_BOUND:
            limit = float(parameters.reso_upper[i])
            width, other = f"< {limit:.2g}" if math.isfinite(limit) else "0", ""
        elif low[i] == 0 and math.isfinite(high[i]):
            other = f"0 to {high[i]:.2g}"
        if not value:
            value = status
        rows.append((*first, value, error, width, other))
    shown = first_rows(heads, rows, "Categories", everything=everything)
    if AT_BOUND in parameters.status:
        shown += (
            "\n\nWhere the smearing is at zero, the limit is the end of its one-sided "
            "interval at 68.3 %."
        )
    return shown


_MOST = 2
_HEADS = ("response", "error", "smearing", "error")


def error_tables(
    parameters: SasParameters, *, everything: bool = False
) -> tuple[str, ...]:
    """Return tables of the errors of responses and of resolutions by source.

    They have the statistical errors, those from limited simulation, and those of each
    systematic. Tables that would be too wide are divided.

    Args:
        parameters: The result. Without `covariances` only the part from limited
            simulation is known.
        everything: Whether to show all categories.
    """
    found: list[str] = []
    for name in _BOTH:
        parts = _parts(parameters, name)
        if not parts:
            continue
        columns = [("total", parameters.values(f"e{name}")), *parts.items()]
        decimals = _decimals([values for _, values in columns])
        cells = [
            (_SOURCES.get(source, source), [_fixed(v, decimals) for v in values])
            for source, values in columns
        ]
        for k, some in enumerate(_fitting(cells)):
            title = f"{_TITLES[name]}{' (continued)' if k else ''}"
            rows = [
                (str(i), *(texts[i] for _, texts in some))
                for i in range(parameters.categories.size)
            ]
            heads = ("category", *(head for head, _ in some))
            found.append(first_rows(heads, rows, title, everything=everything))
    return tuple(found)


def second_table(parameters: SasParameters, *, everything: bool = False) -> str:
    """Return a table of the parameters of the second Gaussian; empty without one.

    Args:
        parameters: The result.
        everything: Whether to show all categories.
    """
    known = [name for name in _SECOND if name in parameters.double]
    if not known:
        return ""
    heads = ("category", *itertools.chain.from_iterable((k, "error") for k in known))
    rows = [
        (
            str(i),
            *itertools.chain.from_iterable(_number(parameters, k, i) for k in known),
        )
        for i in range(parameters.categories.size)
    ]
    return first_rows(heads, rows, "Second Gaussian", everything=everything)


def curves_table(smoothed: SmoothedParameters, curves: Curves) -> str:
    """Return a table of the parameters of functions of pt.

    Args:
        smoothed: All functions.
        curves: Those of the scale, or of the smearing.
    """
    count = curves.parameters.shape[1]
    heads = ("category", *(f"p{i}" for i in range(count)), "chi2", "ndf", "status")
    labels = smoothed.categories.labels() if smoothed.categories else ["all"]
    rows = [
        (
            label,
            *(f"{value:.6g}" for value in curves.parameters[i]),
            f"{curves.chi2[i]:.2f}",
            str(curves.ndf[i]),
            curves.status[i],
        )
        for i, label in enumerate(labels)
    ]
    return table(heads, rows, title=f"Functions of pt: {curves.kind}")


def _bin(low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return "all"
    if math.isinf(low):
        return f"< {high:.5g}"
    return f">= {low:.5g}" if math.isinf(high) else f"{low:.5g} to {high:.5g}"


def _number(parameters: SasParameters, name: str, i: int) -> tuple[str, str]:
    """Return a value and its error; empty texts where there is none."""
    value = float(parameters.values(name)[i])
    errors = parameters.double.get(f"e{name}") if name in _SECOND else None
    if errors is None and name in _BOTH:
        errors = parameters.values(f"e{name}")
    error = math.nan if errors is None else float(errors[i])
    return with_error(value, error) if math.isfinite(value) else ("", "")


def _parts(parameters: SasParameters, name: str) -> Mapping[str, np.ndarray]:
    """Return the parts of the errors by source."""
    size = parameters.categories.size
    here = slice(0, size) if name == "resp" else slice(size, 2 * size)
    found = {
        source: np.sqrt(np.diagonal(matrix)[here])
        for source, matrix in parameters.covariances.items()
    }
    simulated = parameters.values(f"e{name}_mc")
    if "mc" not in found and np.isfinite(simulated).any():
        found["mc"] = simulated
    first = [source for source in _SOURCES if source in found]
    return {k: found[k] for k in (*first, *(k for k in found if k not in first))}


def _decimals(columns: Sequence[np.ndarray]) -> int:
    """Return decimals such that the smallest total error has two digits."""
    total = columns[0][np.isfinite(columns[0]) & (columns[0] > 0)]
    if not total.size:
        return 5
    return max(0, min(12, 1 - math.floor(math.log10(float(total.min())))))


def _fixed(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else ""


def _fitting(
    columns: Sequence[tuple[str, list[str]]],
) -> list[list[tuple[str, list[str]]]]:
    """Return the columns of each table, as many as fit into a line."""
    tables: list[list[tuple[str, list[str]]]] = [[]]
    used = len("category")
    for head, texts in columns:
        need = len(GAP) + max(map(len, (head, *texts)))
        if tables[-1] and used + need > width():
            tables.append([])
            used = len("category")
        tables[-1].append((head, texts))
        used += need
    return tables


__all__ = ["error_tables", "results_head", "results_table", "second_table"]
