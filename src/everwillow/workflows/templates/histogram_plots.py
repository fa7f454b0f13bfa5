"""Plots of one histogram of a template fit: before and after it, and varied."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from everwillow import plotting
from everwillow.likelihood.histograms import Axis
from everwillow.mappings.histogram_mapping import EVENTS
from everwillow.plotting.panels import EXTENSIVE
from everwillow.workflows.templates.results import Expectation, HistogramResult


# The number of systematics in one plot of a template.
VARIATIONS_PER_PLOT = 6


class HistogramStyle(NamedTuple):
    """The style of the plots of histograms.

    Attributes:
        title: The title of the plots.
        log: Whether axes of events are logarithmic.
        per_width: Whether to divide events by the widths of bins; None where these are
            unequal.
        counts: Whether data are numbers of events, with asymmetric intervals.
    """

    title: str
    log: bool
    per_width: bool | None
    counts: bool


def divided(per_width: bool | None, axes: Sequence[Axis]) -> bool | None:  # noqa: FBT001
    """Return whether to divide by bin widths; None for axes without widths."""
    has = len(axes) == 1 and axes[0].edges is not None
    return per_width if has else None


def histogram_figures(
    name: str, histogram: HistogramResult, style: HistogramStyle
) -> Iterator[tuple[str, Any]]:
    """Yield names and figures of a histogram.

    Args:
        name: The beginning of the names.
        histogram: The histogram.
        style: The style of the plots.
    """
    draw, post = _Drawing(histogram, style), histogram.postfit
    if histogram.data is not None and histogram.processes(prefit=True):
        yield f"{name}_prefit", draw.stack(prefit=True)
        if histogram.processes():
            yield f"{name}_postfit", draw.stack(prefit=False)
    elif post is not None:
        yield f"{name}_postfit", draw.measured()
    if len(histogram.processes()) > 1:
        yield f"{name}_processes", draw.processes()
    if histogram.breakdown is not None and post is not None:
        yield f"{name}_uncertainties", draw.uncertainties(post)
    for when, side, moved in (
        ("prefit", histogram.prefit, histogram.prefit_variations),
        ("postfit", post, histogram.postfit_variations),
    ):
        if side is not None and moved is not None:
            pairs = dict(
                zip(moved.names, zip(moved.up, moved.down, strict=True), strict=True)
            )
            for page, shown in pages_of(f"{name}_{when}_variations", pairs):
                yield page, draw.variations(side, shown, when)


def pages_of(
    name: str, variations: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the names of plots, and the variations that each shows.

    Args:
        name: The beginning of the names; several plots are numbered.
        variations: Values up and down, by systematic.
    """
    every = list(variations.items())
    starts = range(0, len(every), VARIATIONS_PER_PLOT)
    for page, start in enumerate(starts):
        number = f"_{page}" if len(starts) > 1 else ""
        yield f"{name}{number}", dict(every[start : start + VARIATIONS_PER_PLOT])


class _Drawing:
    """Draws one histogram of results."""

    def __init__(self, histogram: HistogramResult, style: HistogramStyle) -> None:
        self.histogram = histogram
        self.style = style
        self.quantity = histogram.quantity or "Value"
        counts = self.quantity == EVENTS
        per_width = divided(style.per_width, histogram.axes)
        extensive = self.quantity in EXTENSIVE
        self.options: dict[str, Any] = {
            "axes": histogram.axes,
            "log": style.log and counts,
            "title": style.title,
            "per_width": per_width if extensive else False,
        }
        self.shown: dict[str, Any] = self.options | {
            "quantity": self.quantity,
            # Values that may be negative have no ratios.
            "below": "ratio" if counts else "difference",
        }

    def stack(self, *, prefit: bool) -> Any:
        """Draw data over the sum of processes."""
        histogram = self.histogram
        side = histogram.prefit if prefit else histogram.postfit
        assert side is not None
        return plotting.template_distribution(
            samples=_filled(histogram.processes(prefit=prefit)),
            observed=histogram.data,
            # Counts have asymmetric intervals, which the plot computes.
            observed_errors=None if self.style.counts else histogram.data_errors,
            errors=side.errors,
            prefit=None if prefit else histogram.prefit.values,
            note="Pre-fit" if prefit else "Post-fit",
            **self.shown,
        )

    def measured(self) -> Any:
        """Draw a histogram without processes: data and fit, or the fit alone."""
        histogram = self.histogram
        post, before = histogram.postfit, histogram.prefit
        assert post is not None
        theory: dict[str, Any] = {"Pre-fit": (before.values, before.errors)}
        values, errors, measured = post.values, post.errors, "Post-fit"
        if histogram.data is not None:
            theory = {"Post-fit": (post.values, post.errors)} | theory
            values, errors, measured = histogram.data, histogram.data_errors, "Data"
            errors = np.zeros_like(values) if errors is None else errors
        return plotting.cross_section(
            values=values,
            errors=errors,
            theory=theory,
            name=self.quantity,
            measured=measured,
            below=self.shown["below"],
            **self.options,
        )

    def processes(self) -> Any:
        """Draw each process on its own."""
        return plotting.template_processes(
            prefit=self.histogram.processes(prefit=True),
            postfit=_filled(self.histogram.processes()),
            quantity=self.quantity,
            **self.options,
        )

    def uncertainties(self, post: Expectation) -> Any:
        """Draw the parts of the errors after the fit."""
        breakdown = self.histogram.breakdown
        assert breakdown is not None
        parts = dict(zip(breakdown.groups, breakdown.impacts, strict=True))
        return plotting.uncertainty_breakdown(
            axes=self.histogram.axes,
            parts=parts | {"rest": breakdown.rest},
            total=post.errors,
            # Relative errors of values near 0 have no meaning.
            values=post.values if self.quantity == EVENTS else None,
            quantity=self.quantity,
            title=self.style.title,
            note="Post-fit",
        )

    def variations(self, side: Expectation, shown: dict[str, Any], when: str) -> Any:
        """Draw values with some of the parameters moved."""
        return plotting.template_variations(
            nominal=side.values,
            variations=shown,
            errors=side.errors,
            spread="Uncertainty",
            note="Pre-fit" if when == "prefit" else "Post-fit",
            **self.shown,
        )


def _filled(processes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the processes that contribute, with the signals last, on top."""
    some = {name: part for name, part in processes.items() if np.any(part)}
    return dict(reversed(some.items()))
