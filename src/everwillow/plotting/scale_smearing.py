"""Plots of scale and smearing: responses and resolutions of categories."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from everwillow._errors import ArgumentValueError
from everwillow.fitting.options import takes_options
from everwillow.plotting import _records
from everwillow.plotting._arguments import vector
from everwillow.plotting._category_errors import draw_errors
from everwillow.plotting._category_panels import (
    BAND,
    Legend,
    Look,
    Panel,
    Series,
    draw_panels,
)
from everwillow.plotting._category_results import (
    CategoryResult,
    Grouping,
    all_weights,
    category_result,
    grouped,
    grouping,
    interval,
    spreads,
    weights_of,
)
from everwillow.plotting.style import Frame, PlotOptions


RESP, RESO = "resp", "reso"
BOTH = (RESP, RESO)
_TITLES = {
    RESP: "Response (data / sim.)",
    RESO: "Relative smearing",
    "reso2": "Smearing of 2nd Gaussian",
    "mu": "Mean of 2nd Gaussian",
    "frac": "Fraction of 1st Gaussian",
    "mean2G": "Mean of both Gaussians",
    "std2G": "Width of both Gaussians",
}
_SHORT = {RESP: "Response", RESO: "Smearing"}


class CategoryOptions(PlotOptions, total=False):
    """Options of plots of responses and resolutions.

    Attributes:
        dims: The variables: the first is the horizontal axis, the second has a series
            of points or a panel for each bin, the third a panel; the first ones of the
            categories by default. Numbers are averaged over all other variables.
        parameters: What to draw, for example only ``["resp"]``.
        pages: Which of the panels to draw, by the number of the bin; all by default.
        x_range: The range of the horizontal axis.
        ranges: Ranges of the vertical axes by parameter.
        log_x: Whether the horizontal axis is logarithmic.
        columns: The number of columns of the legend.
        legend_size: The size of its font, in points.
        legend_title_size: The size of the font of its title.
        labels: As in `PlotOptions`: labels of variables, and of parameters.
        title: As in `PlotOptions`.
        note: As in `PlotOptions`.
        size: As in `PlotOptions`. Figures narrower than 5 inches have their panels
            below each other.
        style: As in `PlotOptions`.
    """

    dims: Sequence[str] | None
    parameters: Sequence[str] | None
    pages: Sequence[int] | None
    x_range: Sequence[float] | None
    ranges: Mapping[str, Sequence[float]] | None
    log_x: bool
    columns: int | None
    legend_size: float | None
    legend_title_size: float | None


@takes_options(CategoryOptions)
def sas_parameters(
    result: Any,
    /,
    *,
    truth: Any = None,
    **options: Unpack[CategoryOptions],
) -> Figure:
    r"""Draw responses and resolutions of categories against a variable.

    Bars are total errors, with caps at the statistical ones, and boxes are those from
    limited simulation. A smearing at zero is an arrow down from its upper limit, a
    point without an error is hollow, and a category without a number is absent.

    An infinite bin is as wide as its neighbour (1 without one) and ends with an arrow.

    Numbers are averaged over variables that are not drawn, with weights
    :math:`1 / \Delta^2`. The error of an average follows from the covariance, or from
    the errors if there is none.

    Args:
        result: A `SasParameters`, or arrays by the names in its files: `categories`,
            the edges of each variable, and arrays in C order `resp`, `reso`, `eresp`,
            `ereso`, `eresp_mc`, `eresp_stat`, `reso_upper`, ...; also `covariances`,
            those of `resp` and `reso` by source.
        truth: True values, in the same form, or arrays by parameter.
        **options: `CategoryOptions`: `dims`, `x_range`, `labels`, `title`, ...

    Raises:
        UnknownKeyError: If there is no such variable or parameter.
        ShapeMismatchError: If an array does not fit the categories.
        ArgumentValueError: If a range is reversed.

    Example:
        >>> figure = sas_parameters(
        ...     {
        ...         "categories": {"ScEta": [0, 1.5, 2.5]},
        ...         "resp": [0.99, 1.01],
        ...         "eresp": [0.002, 0.003],
        ...         "reso": [0.010, 0.021],
        ...         "ereso": [0.001, 0.002],
        ...     }
        ... )
        >>> [panel.get_ylabel() for panel in figure.axes]
        ['Response (data / sim.)', 'Relative smearing']
    """
    found = _result(result, "result")
    look, frame, chosen = _options(options)
    groups = grouping(found, options.get("dims"))
    look.check(groups.edges[0], chosen)
    true = None if truth is None else _true(truth, chosen)
    panels: list[Panel] = []
    for rest in _pages(groups, 2, options):
        for name in chosen:
            series = _by_bin(found, name, groups, rest, true)
            line = 1.0 if name == RESP else np.nan
            title = _title(name, frame, _TITLES)
            panels.append(
                Panel(
                    name,
                    title,
                    _selection(groups, 2, rest, frame),
                    series,
                    line,
                    positive=name in _POSITIVE,
                )
            )
    several = len(groups.names) > 1
    legend = Legend(frame.text(groups.names[1]) if several else "")
    return _drawn(frame, look, groups, panels, legend)


_POSITIVE = (RESO, "reso2", "std2G")


@takes_options(CategoryOptions)
def sas_ratios(
    results: Mapping[Any, Any], /, **options: Unpack[CategoryOptions]
) -> Figure:
    r"""Draw ratios of results to the first of them, with their errors.

    The errors are those of each result over the number of the first; they are
    correlated with those of the first, which are the band around 1. Each bin of a
    second and of a third variable has its own panels. Averages over other variables
    have the weights of the first result, over the categories that all results have.

    Args:
        results: Two results or more by name, each as in `sas_parameters`.
        **options: `CategoryOptions`: `dims`, `x_range`, `labels`, `title`, ...

    Raises:
        UnknownKeyError: If there is no such variable or parameter.
        ArgumentValueError: If there are less than two results, or their categories
            differ.

    Example:
        >>> nominal = {"categories": {"x": [0, 1, 2]}, "resp": [0.99, 1.01]}
        >>> other = {"categories": {"x": [0, 1, 2]}, "resp": [1.00, 1.02]}
        >>> figure = sas_ratios({"A": nominal, "B": other}, parameters=["resp"])
        >>> figure.axes[0].get_ylabel()
        'Response / A'
    """
    found = {label: _result(one, str(label)) for label, one in results.items()}
    if len(found) < 2:
        raise ArgumentValueError(
            "results: ratios need two results or more by name; the first is the "
            "denominator."
        )
    look, frame, chosen = _options(options)
    first, *others = found
    groups = _alike(found, options.get("dims"))
    look.check(groups.edges[0], chosen)
    panels: list[Panel] = []
    for rest in _pages(groups, 1, options):
        for name in chosen:
            each = [one.quantity(name) for one in found.values()]
            weights = all_weights(each, groups)
            below, *above = [
                grouped(one, groups, weights).at(slice(None), *rest) for one in each
            ]
            series = [
                Series(frame.text(label), one.over(below))
                for label, one in zip(others, above, strict=True)
            ]
            title = _title(name, frame, _SHORT)
            panels.append(
                Panel(
                    name,
                    f"{title} / {frame.text(first)}",
                    _selection(groups, 1, rest, frame),
                    series,
                    1.0,
                    below.over(below).total,
                )
            )
    band = Patch(lw=0, **BAND, label=f"Error of {frame.text(first)}")
    shown = any(np.isfinite(one.band).any() for one in panels if one.band is not None)
    return _drawn(frame, look, groups, panels, Legend("", [band] if shown else []))


@takes_options(CategoryOptions)
def sas_comparison(
    results: Mapping[Any, Any], /, **options: Unpack[CategoryOptions]
) -> Figure:
    """Draw several results over each other.

    Each bin of a second and of a third variable has its own panels. The variables of
    the results need not have the same bins, unless they are drawn in panels.

    Args:
        results: The results by name, each as in `sas_parameters`.
        **options: `CategoryOptions`: `dims`, `parameters`, `labels`, `title`, ...

    Raises:
        UnknownKeyError: If there is no such variable or parameter.
        ArgumentValueError: If there is no result, or their categories differ.

    Example:
        >>> one = {"categories": {"x": [0, 1, 2]}, "resp": [0.99, 1.01]}
        >>> figure = sas_comparison({"A": one, "B": one}, parameters=["resp"])
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['A', 'B']
    """
    found = {label: _result(one, str(label)) for label, one in results.items()}
    if not found:
        raise ArgumentValueError("results: there is none to draw.")
    look, frame, chosen = _options(options)
    groups = _alike(found, options.get("dims"))
    look.check(groups.edges[0], chosen)
    panels: list[Panel] = []
    for rest in _pages(groups, 1, options):
        for name in chosen:
            series = [
                Series(
                    frame.text(label),
                    grouped(one.quantity(name), groups).at(slice(None), *rest),
                )
                for label, one in found.items()
            ]
            title = _title(name, frame, _TITLES)
            text = _selection(groups, 1, rest, frame)
            line = 1.0 if name == RESP else np.nan
            panels.append(
                Panel(name, title, text, series, line, positive=name in _POSITIVE)
            )
    return _drawn(frame, look, groups, panels, Legend())


@takes_options(CategoryOptions)
def sas_errors(
    result: Any,
    /,
    *,
    shifts: Mapping[Any, Mapping[str, Any]] | None = None,
    **options: Unpack[CategoryOptions],
) -> Figure:
    """Draw the errors of responses and resolutions, and their parts by source.

    Without `dims` all categories are side by side, in blocks of the longest variable.
    Of more than eight sources those of data and simulation and the largest others are
    drawn, and the sum of the rest in quadrature.

    Args:
        result: As in `sas_parameters`; its `covariances` by source are the parts.
        shifts: Other parts: differences to the result by source and by parameter, one
            for each category. The categories of one source move together.
        **options: `CategoryOptions`: `dims`, `ranges`, `labels`, `title`, ...; the
            options of the horizontal axis have no effect.

    Raises:
        UnknownKeyError: If there is no such variable or parameter.
        ShapeMismatchError: If an array does not fit the categories.

    Example:
        >>> figure = sas_errors(
        ...     {
        ...         "categories": {"ScEta": [0, 1.5, 2.5]},
        ...         "resp": [0.99, 1.01],
        ...         "eresp": [0.002, 0.003],
        ...         "eresp_mc": [0.001, 0.001],
        ...     },
        ...     shifts={"window": {"resp": [0.0012, -0.0004]}},
        ...     parameters=["resp"],
        ... )
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['Total', 'Simulation', 'window']
    """
    found = _result(result, "result")
    look, frame, chosen = _options(options)
    dims = options.get("dims")
    groups = grouping(found, found.names if dims is None else dims, most=None)
    look.check(groups.edges[0], chosen)
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name in chosen:
        quantity, more = found.quantity(name), {}
        for source, given in (shifts or {}).items():
            if name in given:
                where = f"shifts[{source!r}][{name!r}]"
                moved = vector(given[name], where, found.size)
                more[str(source)] = np.outer(moved, moved)
        known = {**quantity.parts, **more}
        parts[name] = spreads(quantity._replace(parts=known), groups)
    return draw_errors(frame, look, groups, parts, _ERRORS)


_ERRORS = {RESP: "Error of response", RESO: "Error of smearing"}


def page_count(result: Any, dims: Sequence[str] | None = None, *, series: int) -> int:
    """Return how many panels of a parameter there are.

    Args:
        result: A result, as in `sas_parameters`.
        dims: The variables.
        series: The number of variables in one panel: 2 for `sas_parameters`, 1 for
            several results.

    Example:
        >>> page_count({"categories": {"x": [0, 1, 2], "y": [0, 1, 2, 3]}}, series=1)
        3
    """
    groups = grouping(_result(result, "result"), dims)
    return int(np.prod(groups.members.shape[series:-1]))


def _result(given: Any, where: str) -> CategoryResult:
    arrays = given if isinstance(given, Mapping) else _records.sas_of(given, where)
    return category_result(arrays)


def _options(options: Mapping[str, Any]) -> tuple[Look, Frame, tuple[str, ...]]:
    """Return the options of these figures and of every plot, and what to draw."""
    look = Look(**{k: options[k] for k in Look._fields if k in options})
    frame = Frame(**{k: options[k] for k in Frame._fields if k in options})
    chosen = options.get("parameters")
    return look, frame, BOTH if chosen is None else tuple(chosen)


def _title(name: str, frame: Frame, titles: Mapping[str, str]) -> str:
    own = name in (frame.labels or {})
    return frame.text(name) if own else titles.get(name, name)


def _nearly(edges: Any, others: Any) -> bool:
    """Return whether edges differ by less than a quarter of the bins beside them."""
    widths = np.diff(edges)
    nearest = np.fmin(np.append(widths, np.inf), np.append(np.inf, widths))
    same = np.equal(edges, others)
    with np.errstate(invalid="ignore"):  # infinite edges
        return bool(np.all(same | (np.abs(edges - others) < 0.25 * nearest)))


def _alike(found: Mapping[Any, CategoryResult], dims: Sequence[str] | None) -> Grouping:
    """Return the bins of results that have the same categories: those of the first.

    Edges may differ by a part of a bin, as those of pt that come from mean momenta.
    """
    (label, first), *others = found.items()
    for other, one in others:
        same = one.names == first.names and one.shape == first.shape
        if not same or not all(map(_nearly, one.edges, first.edges)):
            raise ArgumentValueError(
                f"results: the categories of {other} are not those of {label}. Draw "
                "results with the same bins together."
            )
    return grouping(first, dims)


def _pages(
    groups: Grouping, inside: int, options: Mapping[str, Any]
) -> Iterator[tuple[int, ...]]:
    """Yield the bins of those variables that have a panel for each bin."""
    every = list(np.ndindex(groups.members.shape[inside:-1]))
    chosen = options.get("pages")
    for number in range(len(every)) if chosen is None else chosen:
        if not 0 <= number < len(every):
            raise ArgumentValueError(
                f"pages: there is no panel {number}; they are 0 to {len(every) - 1}."
            )
        yield every[number]


def _selection(
    groups: Grouping, inside: int, place: tuple[int, ...], frame: Frame
) -> str:
    parts = zip(groups.names[inside:], groups.edges[inside:], place, strict=True)
    return ", ".join(
        interval(edges[i], edges[i + 1], frame.text(name)) for name, edges, i in parts
    )


def _by_bin(
    found: CategoryResult,
    name: str,
    groups: Grouping,
    rest: tuple[int, ...],
    truth: Mapping[str, Any] | None,
) -> list[Series]:
    """Return a series for each bin of the second variable, if there is one."""
    quantity = found.quantity(name)
    points = grouped(quantity, groups)
    middle = None
    if truth is not None and name in truth:
        given = vector(truth[name], f"truth[{name!r}]", found.size)
        members = groups.members
        middle = np.full(members.shape[:-1], np.nan)
        for place in np.ndindex(*middle.shape):
            share = weights_of(quantity, members[place])
            if share.any():
                middle[place] = share @ given[members[place]]
    if len(groups.names) == 1:
        return [Series("", points, middle)]
    edges = groups.edges[1]
    return [
        Series(
            interval(edges[i], edges[i + 1]),
            points.at(slice(None), i, *rest),
            None if middle is None else middle[(slice(None), i, *rest)],
        )
        for i in range(edges.size - 1)
    ]


def _true(truth: Any, chosen: Sequence[str]) -> Mapping[str, Any]:
    arrays = truth if isinstance(truth, Mapping) else _records.sas_of(truth, "truth")
    if not any(name in arrays for name in chosen):
        raise ArgumentValueError(f"truth: it has none of {', '.join(chosen)}.")
    return arrays


def _drawn(
    frame: Frame,
    look: Look,
    groups: Grouping,
    panels: Sequence[Panel],
    legend: Legend,
) -> Figure:
    footnote = ""
    if groups.averaged:
        names = ", ".join(frame.text(name) for name in groups.averaged)
        footnote = f"Average over {names}, with weights 1 / error²"
    with frame.styled():
        variable = frame.text(groups.names[0])
        return draw_panels(
            frame, look, groups.edges[0], variable, panels, legend, footnote
        )


__all__ = [
    "CategoryOptions",
    "sas_comparison",
    "sas_errors",
    "sas_parameters",
    "sas_ratios",
]
