"""Results of template fits as tables."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from everwillow.cli.report.histograms import bin_table, variation_tables
from everwillow.cli.report.inference import (
    decimals_of,
    grid_table,
    inference_parts,
    scan_table,
)
from everwillow.cli.report.numbers import plain, signed, with_error
from everwillow.cli.report.parts import check_found, is_meant, names_of_part
from everwillow.cli.report.terminal import table
from everwillow.workflows.templates.results import (
    ChiSquare,
    HistogramResult,
    Impacts,
    Parameters,
    TemplateResults,
    Toys,
)


Part: TypeAlias = tuple[str, str]
"""The name of a part, and what is printed."""

# So many rows of a table are shown, unless all are asked for.
SHOWN = 20
# And so many bins of what a fit was propagated to.
SMALL = 12
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
    parts = [("fit", headline(results, title)), ("fit", status(results))]
    tables = parameter_tables(results.parameters, everything=everything)
    parts += [("parameters", text) for text in tables]
    if results.impacts is not None:
        parts += impact_tables(results.impacts, everything=everything)
    parts += inference_parts(results, most=None if everything else SHOWN)
    if results.mappings:
        parts.append(("mappings", mapping_table(results)))
    if results.projections:
        tests = results.projections.items()
        rows = [(name, *_chi2_cells(test)) for name, test in tests]
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
        parts.append((f"scans/{name}", scan_table(name, scan)))
    for name, grid in results.grid_scans.items():
        parts.append((f"scans/{name}", grid_table(grid)))
    return parts


def histograms_of(results: TemplateResults) -> list[tuple[str, HistogramResult, str]]:
    """Return the name of each part that is a histogram, that, and its title."""
    found = [
        (f"channels/{name}", channel, f"Channel {name}")
        for name, channel in results.channels.items()
    ]
    for key, mapping in results.mappings.items():
        for name, histogram in mapping.histograms.items():
            what = key if len(mapping.histograms) == 1 else f"{key}: {name}"
            found.append((f"mappings/{key}", histogram, what))
    return found


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


def headline(results: TemplateResults, title: str) -> str:
    """Return what was fitted, in two lines."""
    masked = sum(c.data is None for c in results.channels.values())
    fitted = len(results.channels) - masked
    bins = sum(c.data.size for c in results.channels.values() if c.data is not None)
    free = int(np.sum(~results.parameters.frozen))
    what = _DATA.get(results.data, f"pseudodata {results.data}")
    more = f", {_count(masked, 'masked channel')}" if masked else ""
    return (
        f"{title}: a {results.likelihood} fit to {what}\n"
        f"{_count(fitted, 'channel')} with {_count(bins, 'bin')}{more}, "
        f"{_count(free, 'free parameter')}"
    )


def status(results: TemplateResults) -> str:
    """Return how the fit ended."""
    fit = results.fit
    part = (
        "" if fit.penalty is None else f" (the penalty {plain(fit.penalty, 4)} in it)"
    )
    numbers = f"-ln L = {fit.nll:.6f}{part}"
    if "EDM" not in fit.status:
        numbers += f", EDM {plain(fit.edm, 2)}"
    if not fit.success:
        return (
            f"FAILED: {fit.status}\n{numbers} where it stopped.\n"
            "Nothing below is a result. Look at the inputs with `everwillow template "
            "print`; take what the data do not determine out with --freeze NAME; allow "
            "more evaluations with --max-steps."
        )
    lines = [f"{fit.status}", numbers]
    if fit.saturated is not None:
        lines.append(f"Against the saturated model: {chi2_text(fit.saturated)}")
    return "\n".join(lines)


def chi2_text(found: ChiSquare) -> str:
    """Return a chi2 with its degrees of freedom and its p-value."""
    return (
        f"chi2/ndof = {plain(found.statistic, 4)}/{found.ndof:g}, "
        f"p = {plain(found.pvalue, 3)}"
    )


def parameter_tables(found: Parameters, *, everything: bool) -> list[str]:
    """Return tables of parameters of interest, of free and of constrained ones."""
    if found.stopped_at is not None:
        order = [*_where(found.interest & ~found.frozen)]
        order += [*_where(~found.interest & ~found.frozen)]
        rows = [
            (found.names[i], plain(float(found.stopped_at[i]))) for i in order[:SHOWN]
        ]
        what = "Where the fit stopped"
        what += f" (the first {SHOWN})" if len(order) > SHOWN else ""
        return [table(("name", "last value"), rows, title=what)]
    rows = {i: _parameter_row(found, i) for i in _where(~found.frozen)}
    parts = []
    for what, chosen in (
        ("Parameters of interest", found.interest),
        ("Free parameters", ~found.interest & ~found.constrained),
    ):
        here = _where(chosen & ~found.frozen)
        if here.size:
            shown = [(*rows[i][:3], rows[i][5]) for i in _some(here, everything)]
            heads = ("name", "value", "error", "")
            parts.append(table(heads, shown, title=_titled(what, here, everything)))
    here = _where(found.constrained & ~found.interest & ~found.frozen)
    if here.size:
        what = "Constrained parameters"
        order = here
        if here.size > SHOWN and not everything:
            order = here[np.argsort(-np.abs(found.pulls[here]), kind="stable")][:SHOWN]
            what += f": the {SHOWN} of {here.size} with the largest pulls (or --all)"
        heads = ("name", "value", "error", "pull", "constraint", "")
        parts.append(table(heads, [rows[i] for i in order], title=what))
    frozen = [found.names[i] for i in _where(found.frozen)]
    if frozen:
        more = f", ... ({len(frozen)} in all)" if len(frozen) > 6 else ""
        parts.append(f"Frozen: {', '.join(frozen[:6])}{more}")
    return parts


def _parameter_row(found: Parameters, i: int) -> tuple[str, ...]:
    digits = 3 if found.interest[i] else 2
    value, error = with_error(float(found.values[i]), float(found.errors[i]), digits)
    notes = ["at bound, one side"] if found.at_bound[i] else []
    notes += ["blinded"] if found.blinded[i] else []
    pull, width = float(found.pulls[i]), float(found.constraints[i])
    shown = signed(pull), signed(width).lstrip("+")
    return found.names[i], value, error, *shown, ", ".join(notes)


def impact_tables(found: Impacts, *, everything: bool) -> list[Part]:
    """Return tables of impacts, of groups and of parameters."""
    parts = []
    for i, poi in enumerate(found.interest):
        error = float(found.errors[i])
        grouped = zip(
            found.groups,
            found.grouped_traditional[i],
            found.grouped_global[i],
            strict=True,
        )
        rows = [(name, _part(a, error), _part(b, error)) for name, a, b in grouped]
        rows.append(("total", _part(error, error), ""))
        heads = ("group", "traditional", "global")
        what = f"Parts of the error of {poi}"
        if not np.isfinite(error):
            what += ", which has none: it is held at its bound, from where a small "
            what += "shift does not move it"
        parts.append((f"impacts/{poi}", table(heads, rows, title=what)))
        if found.names:
            text = _single_impacts(found, i, everything=everything)
            parts.append((f"impacts/{poi}", text))
    return parts


def _single_impacts(found: Impacts, i: int, *, everything: bool) -> str:
    """Return the table of impacts of single parameters."""
    error = float(found.errors[i])
    auxiliary = dict(zip(found.global_names, found.global_impacts[i], strict=True))
    order = np.argsort(-np.abs(found.traditional[i]), kind="stable")
    columns = {"traditional": found.traditional[i]}
    columns["global"] = np.array([auxiliary.get(n, np.nan) for n in found.names])
    if found.up is not None and found.down is not None:
        columns |= {"fit up": found.up[i], "fit down": found.down[i]}
    rows = [
        (
            found.names[k],
            *(_part(column[k], error, sign=True) for column in columns.values()),
        )
        for k in (order if everything else order[:SHOWN])
    ]
    what = _titled(f"Impacts on {found.interest[i]}", order, everything)
    return table(("name", *columns), rows, title=what)


def _part(value: float, error: float, *, sign: bool = False) -> str:
    """Return a part of an error with as many decimals as three of its digits have."""
    if not np.isfinite(value):
        return ""
    text = signed(float(value), decimals_of(error))
    return text if sign else text.lstrip("+")


def mapping_table(results: TemplateResults) -> str:
    """Return a table of the chi2 of mappings."""
    rows = [
        (
            key,
            str(sum(h.prefit.values.size for h in mapping.histograms.values())),
            *_chi2_cells(mapping.prefit_chi2),
            *_chi2_cells(mapping.postfit_chi2),
        )
        for key, mapping in results.mappings.items()
    ]
    heads = ("mapping", "values", "pre-fit chi2", "p", "post-fit chi2", "p")
    return table(heads, rows, title="Mappings")


def _chi2_cells(found: ChiSquare | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    return f"{plain(found.statistic, 4)}/{found.ndof:g}", plain(found.pvalue, 3)


def toy_table(found: Toys, *, everything: bool) -> str:
    """Return a table of what toys say of each parameter."""
    good = found.success
    rows = []
    for i, (name, (mean, width)) in enumerate(found.summary().items()):
        values = found.values[good, i]
        spread = float(np.std(values)) if values.size else np.nan
        middle = float(np.mean(values)) if values.size else np.nan
        cells = signed(mean), "" if np.isnan(width) else f"{width:.2f}"
        rows.append((name, *with_error(middle, spread), *cells))
    what = f"{int(good.sum())} of {good.size} toys found a minimum (seed {found.seed})"
    shown = rows if everything else rows[:SHOWN]
    what += "" if len(shown) == len(rows) else f"; the first {SHOWN} parameters"
    heads = ("name", "mean", "width", "mean pull", "width of pulls")
    return table(heads, shown, title=what)


def remarks(results: TemplateResults) -> list[str]:
    """Return what was assumed or looks odd."""
    if not results.remarks:
        return []
    return ["\n".join(["Remarks:", *(f"- {text}" for text in results.remarks)])]


def _some(here: np.ndarray, everything: bool) -> np.ndarray:  # noqa: FBT001
    return here if everything else here[:SHOWN]


def _titled(what: str, here: np.ndarray, everything: bool) -> str:  # noqa: FBT001
    if len(here) <= SHOWN or everything:
        return what
    return f"{what}: the first {SHOWN} of {len(here)} (or --all)"


def _where(flags: np.ndarray) -> np.ndarray:
    return np.nonzero(flags)[0]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


__all__ = ["Part", "chosen", "details", "overview"]
