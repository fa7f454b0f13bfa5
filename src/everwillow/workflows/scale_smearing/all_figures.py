"""All figures of an analysis, in files."""

import functools as ft
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from everwillow._errors import EverwillowError
from everwillow._store import save_figure
from everwillow.workflows.scale_smearing import figures
from everwillow.workflows.scale_smearing.analysis import NOMINAL, SasResult


MOST_REGIONS = 24
"""The largest number of regions that are drawn: those with the most data."""


def write_figures(
    result: SasResult,
    place: pathlib.Path,
    *,
    ending: str = "png",
    progress: Callable[[str], Any],
) -> tuple[list[pathlib.Path], list[str]]:
    """Draw the figures of an analysis.

    They are the parameters with statistical and with all errors, ratios of variations
    to the nominal result, the sources of errors, and data with fits of regions.

    Args:
        result: The results.
        place: The folder.
        ending: The format.
        progress: Called with the name of each figure.

    Returns:
        The files, and a sentence for each figure that could not be drawn.
    """
    written: list[pathlib.Path] = []
    remarks: list[str] = []
    for name, draw in _figures(result):
        progress(f"Drawing {name}")
        try:
            drawn = draw()
        except EverwillowError as error:
            remarks.append(f"{name}.{ending} is not drawn: {error}")
            continue
        for i, figure in enumerate(drawn):
            number = f"_{i + 1}" if i else ""
            written.append(place / f"{name}{number}.{ending}")
            save_figure(figure, written[-1])
    return written, remarks


def _figures(
    result: SasResult,
) -> Iterator[tuple[str, Callable[[], Sequence[Any]]]]:
    """Yield the name of each figure with a function that draws its pages."""
    labels = dict(result.configuration.labels)
    every = result.named()
    nominal, *others = every
    variations = dict(zip(others, result.systematics, strict=False))
    for name, one in every.items():
        if name not in variations:
            yield name, ft.partial(figures.plot_results, one, labels=labels)
    for name, variation in variations.items():
        both = {"nominal": every[nominal], variation: every[name]}
        draw = ft.partial(figures.plot_results, both, mode="ratio", labels=labels)
        yield name, draw
    stem = nominal.removesuffix(f"-{NOMINAL}")
    errors = ft.partial(figures.plot_systematics, result.combined, labels=labels)
    yield f"{stem}-errors", errors
    yield f"{stem}-regions", ft.partial(_largest_regions, result, labels)


def _largest_regions(result: SasResult, labels: dict[str, str]) -> Sequence[Any]:
    fit = result.fits[NOMINAL]
    regions = fit.region_fits()
    largest = sorted(regions, key=lambda one: -one.data.sum())[:MOST_REGIONS]
    shown = {one.categories for one in largest}
    drawn = [one for one in regions if one.categories in shown]
    few = len(drawn) < len(regions)
    note = f"The {len(drawn)} largest of {len(regions)} regions" if few else None
    categories = fit.table.spec.categories
    return figures.plot_region_fits(
        drawn, categories=categories, labels=labels, note=note
    )
