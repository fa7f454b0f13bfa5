"""Results of template fits as tables."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from everwillow.cli.report.fits import (
    chi2_cells,
    counted,
    first_rows,
    headline,
    parameter_tables,
    profile_table,
    status,
)
from everwillow.cli.report.histograms import bin_table, variation_tables
from everwillow.cli.report.impacts import impact_parts
from everwillow.cli.report.inference import grid_table, inference_parts
from everwillow.cli.report.numbers import signed, with_error
from everwillow.cli.report.parts import check_found, is_meant, names_of_part
from everwillow.cli.report.terminal import table
from everwillow.workflows.templates.results import (
    HistogramResult,
    TemplateResults,
    Toys,
)


Part: TypeAlias = tuple[str, str]
"""The name of a part, and what is printed."""

# So many bins of what a fit was propagated to are shown, unless all are asked for.
SMALL = 12
ADVICE = (
    "Look at the inputs with `everwillow template print`; take what the data do not "
    "determine out with --freeze NAME; allow more evaluations with --max-steps."
)
_DATA = {
    "data": "the data",
    "asimov": "what is expected (Asimov data)",
    "toys": "what is expected (Asimov data), and toys",
}


def overview(results: TemplateResults, title: str, *, everything: bool) -> list[Part]:
    """Return what a fit prints, each part with a name.

    Args:
        results: Of the fit.
        title: What was fitted, for people.
        everything: Whether to show all rows.
    """
    parts = [
        ("fit", heading(results, title)),
        ("fit", status(results.fit, ADVICE, "all constants kept")),
    ]
    tables = parameter_tables(results.parameters, everything=everything)
    parts += [("parameters", text) for text in tables]
    if results.impacts is not None:
        parts += impact_parts(
            results.impacts, results.parameters, everything=everything
        )
    parts += inference_parts(results, everything=everything)
    if results.mappings:
        parts.append(("mappings", mapping_table(results)))
    if results.projections:
        tests = results.projections.items()
        rows = [(name, *chi2_cells(test)) for name, test in tests]
        heads = ("projection", "chi2/ndof", "p")
        parts.append(("projections", table(heads, rows, title="Against free bins")))
    if results.toys is not None:
        parts.append(("toys", toy_table(results.toys, everything=everything)))
    return [*parts, *(("remarks", text) for text in remarks(results))]


def details(results: TemplateResults, title: str, *, everything: bool) -> list[Part]:
    """Return what `template print` prints: also each channel, mapping and scan."""
    parts = overview(results, title, everything=everything)
    for name, histogram, what in histograms_of(results):
        parts.append((name, bin_table(histogram, what, everything=everything)))
    for name, histogram, what in histograms_of(results):
        moved = variation_tables(histogram, what, everything=everything)
        where = name.partition("/")[2]
        parts += [(f"variations/{where}", text) for text in moved]
    for name, scan in results.scans.items():
        parts.append(
            (f"scans/{name}", profile_table(name, scan.values, scan.twice_delta_nll))
        )
    for name, grid in results.grid_scans.items():
        parts.append((f"scans/{name}", grid_table(grid)))
    return parts


def histograms_of(results: TemplateResults) -> list[tuple[str, HistogramResult, str]]:
    """Return the name of each part that is a histogram, that, and its title."""
    histograms = [
        (f"channels/{name}", channel, f"Channel {name}")
        for name, channel in results.channels.items()
    ]
    for key, mapping in results.mappings.items():
        for name, histogram in mapping.histograms.items():
            what = key if len(mapping.histograms) == 1 else f"{key}: {name}"
            histograms.append((f"mappings/{key}", histogram, what))
    return histograms


def propagated(
    results: TemplateResults, *, everything: bool
) -> tuple[list[str], list[str]]:
    """Return tables of what was not fitted: masked channels and mappings.

    Args:
        results: Of the fit.
        everything: Whether to show also what has many bins.

    Returns:
        The tables, and the names of the parts that are too long.
    """
    texts: list[str] = []
    left: list[str] = []
    if not results.fit.success:
        return texts, left
    for name, histogram, what in histograms_of(results):
        if name.startswith("channels/") and histogram.data is not None:
            continue
        if everything or histogram.prefit.values.size <= SMALL:
            texts.append(bin_table(histogram, what, everything=everything))
        elif name not in left:
            left.append(name)
    return texts, left


def chosen(parts: Sequence[Part], patterns: Sequence[str]) -> list[str]:
    """Return the texts of the parts that patterns mean, all without any pattern.

    Args:
        parts: Names, such as ``channels/ch0``, and texts.
        patterns: Compared with the whole name, its beginning and its end, and with
            the names of its plots.

    Raises:
        ArgumentValueError: If a pattern means none.
    """
    if not patterns:
        return [text for _, text in parts]
    known = [names_of_part(name) for name, _ in parts]
    check_found(patterns, known, "part")
    return [
        text
        for (_, text), names in zip(parts, known, strict=True)
        if any(is_meant(pattern, names) for pattern in patterns)
    ]


def heading(results: TemplateResults, title: str) -> str:
    """Return what was fitted, in two lines."""
    masked = sum(c.data is None for c in results.channels.values())
    bins = sum(c.data.size for c in results.channels.values() if c.data is not None)
    free = int(np.sum(~results.parameters.frozen))
    what = _DATA.get(results.data, f"pseudodata {results.data}")
    return headline(
        title,
        f"a {results.likelihood} fit to {what}",
        counted(len(results.channels) - masked, "channel"),
        counted(bins, "bin"),
        counted(masked, "masked channel") if masked else "",
        counted(free, "free parameter"),
    )


def mapping_table(results: TemplateResults) -> str:
    """Return a table of the chi2 of mappings."""
    rows = [
        (
            key,
            str(sum(h.prefit.values.size for h in mapping.histograms.values())),
            *chi2_cells(mapping.prefit_chi2),
            *chi2_cells(mapping.postfit_chi2),
        )
        for key, mapping in results.mappings.items()
    ]
    heads = ("mapping", "values", "pre-fit chi2", "p", "post-fit chi2", "p")
    return table(heads, rows, title="Mappings")


def toy_table(toys: Toys, *, everything: bool) -> str:
    """Return a table of what toys say of each parameter."""
    good = toys.success
    rows = []
    for i, (name, (mean, width)) in enumerate(toys.summary().items()):
        values = toys.values[good, i]
        spread = float(np.std(values)) if values.size else np.nan
        middle = float(np.mean(values)) if values.size else np.nan
        cells = signed(mean), "" if np.isnan(width) else f"{width:.2f}"
        rows.append((name, *with_error(middle, spread), *cells))
    what = f"{int(good.sum())} of {good.size} toys found a minimum (seed {toys.seed})"
    heads = ("name", "mean", "width", "mean pull", "width of pulls")
    return first_rows(heads, rows, what, everything=everything)


def remarks(results: TemplateResults) -> list[str]:
    """Return what was assumed or looks odd."""
    if not results.remarks:
        return []
    return ["\n".join(["Remarks:", *(f"- {text}" for text in results.remarks)])]
