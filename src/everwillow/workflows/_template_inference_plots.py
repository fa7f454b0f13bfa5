"""Plots of scans, contours, limits, impacts by fits and L-curves of template fits."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from everwillow import plotting
from everwillow.plotting.style import RED, new_figure, styled, xlabel, ylabel
from everwillow.workflows.template_profiles import (
    Contour,
    GridScan,
    Limit,
    NonprofiledShifts,
)
from everwillow.workflows.template_results import TemplateResults


# Heights of the curves in a map, which are those of 68.3 % and 95 %.
LEVELS = (2.30, 5.99)
# Above this a map has one colour.
TOP = 12.0


def inference_figures(
    results: TemplateResults, title: str | None
) -> Iterator[tuple[str, Any]]:
    """Draw everything that further fits found.

    Args:
        results: Of `everwillow.workflows.templates.run`.
        title: Written above each plot.

    Returns:
        Names of plots, and figures, one after the other.
    """
    for name, scan in results.scans.items():
        yield (
            f"scan_{name}",
            plotting.scan(
                values=scan.values,
                twice_delta_nll=scan.twice_delta_nll,
                best=scan.best,
                name=name,
                interval=_interval(results, name),
                title=title,
            ),
        )
    for key, grid in results.grid_scans.items():
        yield f"scan_{key}", grid_figure(grid, title)
    for key, one in results.contours.items():
        yield f"contour_{key}", _contour_figure(one, title)
    if results.limits:
        yield "limits", _limit_figure(dict(results.limits), title)
    if results.nonprofiled_impacts is not None:
        yield from _nonprofiled_figures(results.nonprofiled_impacts, title)
    found = results.regularisation
    curve = None if found is None else found.l_curve
    # While the penalty is hidden there is nothing to be drawn against.
    if curve is not None and curve.penalty is not None:
        yield (
            "l_curve",
            plotting.l_curve(
                misfit=curve.misfit,
                penalty=curve.penalty,
                strengths=curve.strengths,
                corner=curve.corner,
                title=title,
            ),
        )


def _interval(
    results: TemplateResults, name: str
) -> tuple[float | str, float | str] | None:
    """Return the ends of an interval of 68.27 %, or why there is none."""
    found = results.asymmetric_errors
    if found is None or name not in found.names:
        return None
    i = found.names.index(name)
    value = float(found.values[i])
    low, high = (
        value + float(errors[i]) if words[i] == "found" else words[i]
        for errors, words in (
            (found.lower, found.lower_status),
            (found.upper, found.upper_status),
        )
    )
    return low, high


def grid_figure(found: GridScan, title: str | None) -> Any:
    """Draw the profile likelihood of two parameters as a map.

    Args:
        found: The scan.
        title: Written in bold on the left above the frame.
    """
    with styled(None):
        figure = new_figure(None, (5.4, 4.2))
        axes = figure.subplots()
        # A point whose fit failed stays white.
        heights = np.ma.masked_invalid(found.twice_delta_nll.T)
        image = axes.pcolormesh(
            found.first,
            found.second,
            heights,
            cmap="viridis_r",
            vmin=0.0,
            vmax=min(TOP, max(float(heights.max()), 1.0)) if heights.count() else 1.0,
            shading="nearest",
            rasterized=True,
        )
        if min(heights.shape) > 2:
            lines = axes.contour(
                found.first,
                found.second,
                heights,
                levels=LEVELS,
                colors="black",
                linestyles=["-", "--"],
                linewidths=1.2,
            )
            names = dict(zip(LEVELS, ("68.3%", "95%"), strict=True))
            axes.clabel(lines, fmt=names, fontsize=8)
        axes.plot(*found.best, "+", color=RED, ms=9, mew=1.6, ls="")
        bar = figure.colorbar(image, ax=axes, extend="max")
        bar.set_label(r"$-2\, \Delta\ln L$")
        first, second = found.names
        xlabel(axes, first)
        ylabel(axes, second)
        if title:
            axes.set_title(title, loc="left", fontweight="bold")
    return figure


def _contour_figure(found: Contour, title: str | None) -> Any:
    curves = list(found.curves.values())
    return plotting.contour(
        curves=[curve.points for curve in curves],
        levels=[-2 * float(np.log1p(-curve.cl)) for curve in curves],
        best=found.best.tolist(),
        names=found.names,
        title=title,
    )


def _limit_figure(found: dict[str, Limit], title: str | None) -> Any:
    limits = list(found.values())
    return plotting.limit_summary(
        names=list(found),
        expected=[one.expected for one in limits],
        observed=[one.observed for one in limits],
        quantity=f"{100 * (1 - limits[0].level):.4g}% CL upper limit",
        title=title,
    )


def _nonprofiled_figures(
    found: NonprofiledShifts, title: str | None
) -> Iterator[tuple[str, Any]]:
    for i, poi in enumerate(found.interest):
        yield (
            f"nonprofiled_{poi}",
            plotting.ranking(
                names=found.names,
                up=found.up[i],
                down=found.down[i],
                poi=poi,
                title=title,
                note="Frozen parameters",
            ),
        )


__all__ = ["grid_figure", "inference_figures"]
