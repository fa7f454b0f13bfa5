"""Figures of responses and resolutions: results, their errors, and fits of regions.

Matplotlib is imported when a figure is drawn.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError, nearest
from everwillow.models.scale_smearing.categories import Categories
from everwillow.models.scale_smearing.parameters import SasParameters
from everwillow.models.scale_smearing.parameters_file import parameters_from_json
from everwillow.workflows.command_options import options_of, takes_fields
from everwillow.workflows.scale_smearing.figure_options import FigureChoice, Mode


if TYPE_CHECKING:
    from matplotlib.figure import Figure

Result: TypeAlias = SasParameters | str | os.PathLike[str] | Mapping[str, Any]
"""A result, the name of its JSON file, or the content of that file."""

# The panels of a figure.
_PANELS = 6
# The parameters of a second Gaussian, for the figures that have two parameters each.
_SECOND = (("reso2",), ("mu", "frac"), ("mean2G", "std2G"))


@takes_fields(FigureChoice)
def plot_results(
    results: Result | Mapping[str, Result], /, mode: Mode = "single", **options: Any
) -> "tuple[Figure, ...]":
    """Draw responses and resolutions, ratios of them, or several over each other.

    Args:
        results: A result, or several by label.
        mode: ``"single"``: figures of each result, with the bins of the second variable
            as series. ``"ratio"``: ratios to the first result. ``"compare"``: all
            results over each other.
        **options: The fields of `FigureChoice`: `dims`, `parameter`, `labels`, ...

    Returns:
        The figures, with six panels at the most.

    Raises:
        ArgumentValueError: If there is no such mode, or the categories of results
            differ.
        ArgumentTypeError: If there is no such option; the message names the nearest.
        UnknownKeyError: If there is no such variable or parameter.

    Example:
        >>> given = {
        ...     "categories": {"ScEta": [0, 1.5, 2.5]},
        ...     "resp": [0.99, 1.01],
        ...     "reso": [0.010, 0.021],
        ...     "eresp": [0.002, 0.003],
        ...     "ereso": [0.001, 0.002],
        ... }
        >>> len(plot_results(given))
        1
        >>> (figure,) = plot_results({"A": given, "B": given}, mode="ratio")
        >>> figure.axes[0].get_ylabel()
        'Response / A'
    """
    if mode not in get_args(Mode):
        raise ArgumentValueError(
            f"mode: there is no {mode!r}; choose one of {', '.join(get_args(Mode))}."
            f"{nearest(mode, get_args(Mode))}"
        )
    choice = options_of(FigureChoice, options)
    found = _loaded(results)
    if mode != "single" and choice.truth is not None:
        raise ArgumentValueError('truth: it is drawn with mode="single" only.')
    if mode == "single":
        several = len(found) > 1
        return tuple(
            figure
            for label, one in found.items()
            for figure in _single(one, choice, label if several else None)
        )
    return _several(found, mode, choice)


@takes_fields(FigureChoice)
def plot_systematics(
    result: Result,
    /,
    systematics: Mapping[str, Result] | None = None,
    **options: Any,
) -> "tuple[Figure, ...]":
    """Draw the total errors of a result and their parts by source.

    Args:
        result: The result with total errors. Its parts are those of its `covariances`.
        systematics: The results with a systematic by its name; their differences to the
            result are parts too. They are needed for files without covariances.
        **options: The fields of `FigureChoice`. Without `dims` all categories are side
            by side.

    Returns:
        One figure.

    Raises:
        ArgumentValueError: If the categories of results differ.

    Example:
        >>> given = {
        ...     "categories": {"ScEta": [0, 1.5, 2.5]},
        ...     "resp": [0.99, 1.01],
        ...     "reso": [0.010, 0.021],
        ...     "eresp": [0.002, 0.003],
        ...     "ereso": [0.001, 0.002],
        ... }
        >>> other = {**given, "resp": [0.991, 1.008]}
        >>> (figure,) = plot_systematics(given, {"window": other})
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['Total', 'window']
    """
    from everwillow import plotting  # noqa: PLC0415

    (nominal,) = _loaded({"result": result}).values()
    choice = options_of(FigureChoice, options)
    chosen = ("resp", "reso") if choice.parameter is None else (choice.parameter,)
    shifts: dict[str, dict[str, np.ndarray]] = {}
    for name, one in _loaded(dict(systematics or {})).items():
        if one.categories != nominal.categories:
            raise ArgumentValueError(
                f"systematics[{name!r}]: its categories are not those of the result."
            )
        shifts[name] = {
            parameter: one.values(parameter) - nominal.values(parameter)
            for parameter in chosen
            if parameter in (*_PARAMETERS, *nominal.double)
        }
    figure = plotting.sas_errors(
        nominal, shifts=shifts, **_keywords(nominal, choice, chosen)
    )
    return (figure,)


@takes_fields(FigureChoice)
def plot_correlations(result: Result, /, **options: Any) -> "tuple[Figure, ...]":
    """Draw the correlations of all responses and resolutions.

    Rows are named by the number of the category.

    Args:
        result: A result with a covariance.
        **options: The fields of `FigureChoice`: `parameter`, `labels`, `title`, `note`,
            `size` and `style`; others have no effect.

    Returns:
        One figure.

    Raises:
        ArgumentValueError: If the result has no covariance.

    Example:
        >>> given = {
        ...     "categories": {"ScEta": [0, 1.5]},
        ...     "resp": [0.99],
        ...     "reso": [0.010],
        ...     "eresp": [0.002],
        ...     "ereso": [0.001],
        ...     "covariance": [[4e-6, 1e-6], [1e-6, 1e-6]],
        ... }
        >>> (figure,) = plot_correlations(given)
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['100', '50', '50', '100']
    """
    from everwillow import plotting  # noqa: PLC0415

    (found,) = _loaded({"result": result}).values()
    choice = options_of(FigureChoice, options)
    if found.covariance is None:
        raise ArgumentValueError(
            "result: it has no covariance, and so no correlations. Fit with errors."
        )
    roots = np.sqrt(np.diagonal(found.covariance))
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = found.covariance / np.outer(roots, roots)
    size = found.categories.size
    names = [f"{name}[{i}]" for name in ("resp", "reso") for i in range(size)]
    shown = None
    if choice.parameter is not None:
        shown = [name for name in names if name.startswith(f"{choice.parameter}[")]
        if not shown:
            raise ArgumentValueError(
                f"parameter: correlations are those of resp and reso, not "
                f"{choice.parameter!r}."
            )
    figure = plotting.correlation(
        names=names,
        matrix=matrix,
        only=shown,
        labels={"resp": "$r$", "reso": "$s$", **(choice.labels or {})},
        title=choice.title,
        note=choice.note,
        size=choice.size,
        style=choice.style,
    )
    return (figure,)


def plot_region_fits(
    fits: Iterable[Any],
    /,
    *,
    categories: Categories | Mapping[str, Sequence[float]] | None = None,
    per_page: int = 12,
    **options: Any,
) -> "tuple[Figure, ...]":
    """Draw masses in data and in the fit for many regions.

    Args:
        fits: Fits of regions, as `RegionalFitter.region_fits` returns.
        categories: The categories, to write intervals instead of numbers.
        per_page: The largest number of regions in a figure.
        **options: As in `everwillow.plotting.sas_regions`: `across`, `log`, `labels`,
            `title`, `note`, `size` and `style`.

    Returns:
        The figures.

    Raises:
        ArgumentValueError: If there is no region.
        ArgumentTypeError: If there is no such option; the message names the nearest.

    Example:
        >>> fit = {"categories": (0, 0), "edges": [80, 90, 100]}
        >>> fit |= {"data": [40, 60], "expected": [45, 55]}
        >>> [len(figure.axes) for figure in plot_region_fits([fit] * 3, per_page=2)]
        [4, 2]
    """
    from everwillow import plotting  # noqa: PLC0415

    regions = list(fits)
    if per_page < 1:
        raise ArgumentValueError(f"per_page: it must be 1 or more, not {per_page}.")
    edges = None
    if categories is not None:
        known = Categories.of(categories)
        edges = dict(zip(known.names, known.edges, strict=True))
    # Without a region the plot raises the error.
    starts = range(0, max(len(regions), 1), per_page)
    return tuple(
        plotting.sas_regions(
            regions[start : start + per_page], categories=edges, **options
        )
        for start in starts
    )


def _loaded(results: Any) -> dict[str, SasParameters]:
    """Return results by label; a single one has an empty label."""
    if isinstance(results, Mapping) and "categories" not in results:
        return {str(label): _load(one, str(label)) for label, one in results.items()}
    return {"": _load(results, "results")}


def _load(result: Any, where: str) -> SasParameters:
    if isinstance(result, SasParameters):
        return result
    if isinstance(result, str | os.PathLike | Mapping):
        return parameters_from_json(result)
    raise ArgumentTypeError(
        f"{where}: expected a SasParameters, the name of a JSON file or its content, "
        f"got {type(result).__name__}."
    )


def _single(
    result: SasParameters, choice: FigureChoice, label: str | None
) -> "Iterable[Figure]":
    """Draw a result on as many pages as it needs."""
    from everwillow import plotting  # noqa: PLC0415
    from everwillow.plotting.scale_smearing import page_count  # noqa: PLC0415

    sets: list[tuple[str, ...]] = [("resp", "reso")]
    if choice.parameter is not None:
        sets = [(choice.parameter,)]
    else:
        some = [tuple(n for n in names if n in result.double) for names in _SECOND]
        sets += [names for names in some if names]
    count = page_count(result, choice.dims or None, series=2)
    for names in sets:
        keywords = _keywords(result, choice, names)
        if label is not None and choice.title is None:
            keywords["title"] = label
        truth = choice.truth if _has_any(choice.truth, names) else None
        for pages in _pages(count, len(names)):
            yield plotting.sas_parameters(result, truth=truth, pages=pages, **keywords)


def _several(
    found: Mapping[str, SasParameters], mode: str, choice: FigureChoice
) -> "tuple[Figure, ...]":
    from everwillow import plotting  # noqa: PLC0415
    from everwillow.plotting.scale_smearing import page_count  # noqa: PLC0415

    draw = plotting.sas_ratios if mode == "ratio" else plotting.sas_comparison
    if not found:
        raise ArgumentValueError("results: there is none to draw.")
    names = ("resp", "reso") if choice.parameter is None else (choice.parameter,)
    first = next(iter(found.values()))
    keywords = _keywords(first, choice, names)
    count = page_count(first, choice.dims or None, series=1)
    return tuple(
        draw(found, pages=pages, **keywords) for pages in _pages(count, len(names))
    )


def _pages(count: int, parameters: int) -> list[Sequence[int]]:
    """Return the bins of the panels of each figure."""
    step = max(_PANELS // parameters, 1)
    return [range(i, min(i + step, count)) for i in range(0, count, step)]


def _has_any(truth: Any, names: Sequence[str]) -> bool:
    if isinstance(truth, Mapping):
        return any(name in truth for name in names)
    return truth is not None


_PARAMETERS = ("resp", "reso")


def _keywords(
    result: SasParameters, choice: FigureChoice, names: Sequence[str]
) -> dict[str, Any]:
    """Return the options of plots."""
    ranges = {}
    for name in _PARAMETERS:
        given = getattr(choice, name)
        if given is None:
            continue
        if not (len(given) == 2 and given[0] < given[1]):
            raise ArgumentValueError(f"{name}: give a lower and a higher number.")
        if choice.parameter not in (None, name):
            raise ArgumentValueError(
                f"{name}: it is not drawn, only {choice.parameter}."
            )
        if name in names:
            ranges[name] = given
    return {
        "dims": choice.dims or None,
        "parameters": names,
        "ranges": ranges,
        "x_range": choice.x_range,
        "log_x": choice.log_x,
        "columns": choice.columns,
        "legend_size": choice.legend_size,
        "legend_title_size": choice.legend_title_size,
        "labels": {**_labels(result), **(choice.labels or {})},
        "title": choice.title,
        "note": choice.note,
        "size": choice.size,
        "style": choice.style,
    }


def _labels(result: SasParameters) -> dict[str, str]:
    """Return the labels of the configuration that is in a file."""
    configuration = result.origin.get("configuration")
    known = configuration.get("cat_latex") if isinstance(configuration, dict) else None
    return {k: str(v) for k, v in known.items()} if isinstance(known, dict) else {}


__all__ = [
    "plot_correlations",
    "plot_region_fits",
    "plot_results",
    "plot_systematics",
]
