"""Results of template fits as tables."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from everwillow._rounding import counted, signed, with_error
from everwillow.cli.report.fits import (
    HEIGHT,
    chi2_cells,
    first_rows,
    headline,
    parameter_tables,
    profile_table,
    status,
)
from everwillow.cli.report.histograms import bin_table, variation_tables
from everwillow.cli.report.impacts import impact_parts
from everwillow.cli.report.inference import grid_table, inference_parts
from everwillow.cli.report.parts import check_found, matches, names_of_part
from everwillow.cli.report.terminal import table
from everwillow.workflows.templates.results import (
    HistogramResult,
    TemplateResults,
    Toys,
)


Part: TypeAlias = tuple[str, str]
"""The name of a part, and its text."""

# The largest number of bins of a propagated histogram that is shown without --all.
SMALL = 12
ADVICE = (
    "Check the inputs with `everwillow template print`; fix parameters that the "
    "data do not determine with --fix NAME; allow more evaluations with --max-steps."
)
_DATA = {
    "data": "the data",
    "asimov": "Asimov data",
    "toys": "Asimov data, and to toys",
}


def overview(results: TemplateResults, title: str, *, everything: bool) -> list[Part]:
    """Return the parts that `template fit` prints, with their names.

    Args:
        results: The results of the fit.
        title: The name of the fitted file.
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
        parts.append(
            (
                "projections",
                table(heads, rows, title="Tests of projections against free bins"),
            )
        )
    if results.toys is not None:
        parts.append(("toys", toy_table(results.toys, everything=everything)))
    return [*parts, *(("remarks", text) for text in remarks(results))]


def details(results: TemplateResults, title: str, *, everything: bool) -> list[Part]:
    """Return the parts that `template print` prints: also channels, mappings, scans."""
    parts = overview(results, title, everything=everything)
    histograms = histograms_of(results)
    for name, histogram, head in histograms:
        parts.append((name, bin_table(histogram, head, everything=everything)))
    for name, histogram, head in histograms:
        part = f"variations/{name.partition('/')[2]}"
        moved = variation_tables(histogram, head, everything=everything)
        parts += [(part, text) for text in moved]
    for name, scan in results.scans.items():
        parts.append(
            (
                f"scans/{name}",
                profile_table(name, scan.values, {HEIGHT: scan.twice_delta_nll}),
            )
        )
    for name, grid in results.grid_scans.items():
        parts.append((f"scans/{name}", grid_table(grid)))
    return parts


def histograms_of(results: TemplateResults) -> list[tuple[str, HistogramResult, str]]:
    """Return the name of each histogram as a part, the histogram, and its title."""
    histograms = [
        (f"channels/{name}", channel, f"Channel {name}")
        for name, channel in results.channels.items()
    ]
    for key, mapping in results.mappings.items():
        for name, histogram in mapping.histograms.items():
            head = key if len(mapping.histograms) == 1 else f"{key}: {name}"
            histograms.append((f"mappings/{key}", histogram, head))
    return histograms


def propagated(
    results: TemplateResults, *, everything: bool
) -> tuple[list[str], list[str]]:
    """Return tables of propagated histograms: masked channels and mappings.

    Args:
        results: The results of the fit.
        everything: Whether to show histograms with many bins, too.

    Returns:
        The tables, and the names of the parts that are too long.
    """
    texts: list[str] = []
    left: list[str] = []
    if not results.fit.success:
        return texts, left
    for name, histogram, head in histograms_of(results):
        if name.startswith("channels/") and histogram.data is not None:
            continue
        if everything or histogram.prefit.values.size <= SMALL:
            texts.append(bin_table(histogram, head, everything=everything))
        elif name not in left:
            left.append(name)
    return texts, left


def chosen(parts: Sequence[Part], patterns: Sequence[str]) -> list[str]:
    """Return the texts of the parts that match patterns; all without patterns.

    Args:
        parts: Names, such as ``channels/ch0``, and texts.
        patterns: Patterns for the name of a part, its beginning or end, or the names of
            its plots.

    Raises:
        ArgumentValueError: If a pattern matches no part.
    """
    known = [names_of_part(name) for name, _ in parts]
    check_found(patterns, known, "part")
    pairs = zip(parts, known, strict=True)
    return [text for (_, text), names in pairs if matches(patterns, names)]


def heading(results: TemplateResults, title: str) -> str:
    """Return two lines on the fitted model and data."""
    masked = sum(c.data is None for c in results.channels.values())
    bins = sum(c.data.size for c in results.channels.values() if c.data is not None)
    free = int(np.sum(~results.parameters.frozen))
    data = _DATA.get(results.data, f"pseudodata {results.data}")
    return headline(
        title,
        f"{results.likelihood} fit to {data}",
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
    """Return a table of the fits of toys, one row for each parameter."""
    good = toys.success
    rows = []
    for i, (name, (mean, width)) in enumerate(toys.summary().items()):
        values = toys.values[good, i]
        spread = float(np.std(values)) if values.size else np.nan
        middle = float(np.mean(values)) if values.size else np.nan
        cells = signed(mean), "" if np.isnan(width) else f"{width:.2f}"
        rows.append((name, *with_error(middle, spread), *cells))
    title = f"{int(good.sum())} of {good.size} toys found a minimum (seed {toys.seed})"
    heads = ("name", "mean", "width", "mean pull", "width of pulls")
    return first_rows(heads, rows, title, everything=everything)


def remarks(results: TemplateResults) -> list[str]:
    """Return the remarks as a list."""
    if not results.remarks:
        return []
    return ["\n".join(["Remarks:", *(f"- {text}" for text in results.remarks)])]
