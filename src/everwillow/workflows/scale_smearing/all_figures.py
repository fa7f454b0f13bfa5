"""All figures of an analysis, in files."""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from everwillow.plotting.style import Frame
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
) -> list[pathlib.Path]:
    """Draw the figures of an analysis.

    They are the parameters with statistical and with all errors, ratios of variations
    to the nominal result, the sources of errors, and data with fits of regions.

    Args:
        result: The results.
        place: The folder.
        ending: The format.
        progress: Called with the name of each figure.
    """
    written = []
    # Resolution and fonts in files are settings of the moment of writing.
    with Frame().styled():
        for name, drawn in _drawn(result):
            progress(f"Drawing {name}")
            for i, figure in enumerate(drawn):
                number = f"_{i + 1}" if i else ""
                written.append(place / f"{name}{number}.{ending}")
                figure.savefig(written[-1])
    return written


def _drawn(result: SasResult) -> Iterator[tuple[str, Any]]:
    labels = dict(result.configuration.labels)
    every = result.named()
    nominal, *others = every
    for name, one in every.items():
        if name not in others[: len(result.systematics)]:
            yield name, figures.plot_results(one, labels=labels)
    for name, variation in zip(others, result.systematics, strict=False):
        both = {"nominal": every[nominal], variation: every[name]}
        yield name, figures.plot_results(both, mode="ratio", labels=labels)
    stem = nominal.removesuffix("-Nominal")
    yield f"{stem}-errors", figures.plot_systematics(result.combined, labels=labels)
    fit = result.fits[NOMINAL]
    regions = fit.region_fits()
    largest = sorted(regions, key=lambda one: -one.data.sum())[:MOST_REGIONS]
    shown = {one.categories for one in largest}
    drawn = [one for one in regions if one.categories in shown]
    few = len(drawn) < len(regions)
    note = f"The {len(drawn)} largest of {len(regions)} regions" if few else None
    yield (
        f"{stem}-regions",
        figures.plot_region_fits(
            drawn, categories=fit.table.spec.categories, labels=labels, note=note
        ),
    )
