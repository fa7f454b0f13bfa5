"""All plots of a template fit: of its inputs and of its results."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from everwillow import plotting
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.plotting.style import RED, Frame, xlabel, ylabel
from everwillow.workflows.report import GridScan, Impacts, Parameters, Toys
from everwillow.workflows.templates.histogram_plots import (
    HistogramStyle,
    divided,
    histogram_figures,
    pages_of,
)
from everwillow.workflows.templates.results import TemplateResults
from everwillow.workflows.toy_figure import toy_figure


# Of larger matrices only the parameters with the largest correlations are drawn.
LARGEST = 60


def input_figures(
    spec: TemplateSpec,
    *,
    title: str | None = None,
    log: bool = False,
    per_width: bool | None = None,
) -> Iterator[tuple[str, Any]]:
    """Draw channels before the fit, and each template with its variations.

    Args:
        spec: The specification of the template fit.
        title: Title of all plots; by default the name of the channel.
        log: Whether axes of events are logarithmic.
        per_width: Whether to divide events by the widths of bins, where these have
            any; by default where they are unequal.

    Returns:
        An iterator over names of plots and figures.
    """
    layout = spec.layout
    table = np.zeros((2, len(layout.processes), layout.bins))
    rows = spec.templates
    table[:, rows.process, rows.bin] = rows.nominal, rows.variance
    for channel in layout.channels:
        here = layout.bins_of(channel.name)
        shape = channel.shape
        parts = {
            name: table[0, i, here].reshape(shape)
            for i, name in enumerate(layout.processes)
            if np.any(table[0, i, here])
        }
        observed = None if channel.masked else spec.observed[here].reshape(shape)
        if observed is not None and np.all(np.isnan(observed)):
            observed = None
        figure = plotting.template_distribution(
            axes=channel.axes,
            samples=dict(reversed(parts.items())),
            observed=observed,
            errors=np.sqrt(table[1, :, here].sum(0)).reshape(shape),
            log=log,
            per_width=divided(per_width, channel.axes),
            title=title or channel.name,
            note="Input",
        )
        yield f"input_{channel.name}", figure
        for process in parts:
            i = layout.process(process)
            nominal, variances = table[:, i, here]
            varied = dict(_variations(spec, channel.name, i, nominal))
            name = f"input_{channel.name}_{process}_variations"
            for page, shown in pages_of(name, varied):
                figure = plotting.template_variations(
                    axes=channel.axes,
                    nominal=nominal,
                    variations=shown,
                    errors=np.sqrt(variances),
                    log=log,
                    per_width=divided(per_width, channel.axes),
                    title=title or channel.name,
                    note=process,
                )
                yield page, figure


def _variations(
    spec: TemplateSpec, channel: str, process: int, nominal: np.ndarray
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Yield systematics that move a template, with their yields up and down."""
    here, responses = spec.layout.bins_of(channel), spec.responses
    bins = spec.templates.bin[responses.row]
    in_template = (spec.templates.process[responses.row] == process) & (
        bins >= here.start
    )
    in_template &= bins < here.stop
    half = responses.half
    for k, systematic in enumerate(spec.systematics):
        part = slice(int(responses.start[k]), int(responses.start[k + 1]))
        keep = np.flatnonzero(in_template[part]) + part.start
        if not keep.size:
            continue
        where = bins[keep] - here.start
        average = responses.average[keep]
        other = np.zeros_like(average) if half is None else half[keep]
        up, down = nominal.copy(), nominal.copy()
        for side, shift in ((up, other + average), (down, other - average)):
            if spec.systematic_type == "log_normal":
                side[where] *= np.exp(shift)
            else:
                side[where] += shift
        yield systematic.name, (up, down)


def result_figures(
    results: TemplateResults,
    *,
    title: str | None = None,
    log: bool = False,
    per_width: bool | None = None,
) -> Iterator[tuple[str, Any]]:
    """Draw all results.

    Args:
        results: The results of `everwillow.workflows.templates.run`.
        title: Title of all plots; by default the name of the histogram.
        log: Whether axes of events are logarithmic.
        per_width: Whether to divide events by the widths of bins, where these have
            any; by default where they are unequal.

    Returns:
        An iterator over names of plots and figures.
    """
    counts = results.likelihood == "poisson"
    for name, channel in results.channels.items():
        style = HistogramStyle(title or name, log, per_width, counts)
        yield from histogram_figures(f"channel_{name}", channel, style)
    for key, mapping in results.mappings.items():
        for name, histogram in mapping.histograms.items():
            several = len(mapping.histograms) > 1
            head = f"{key} {name}" if several else key
            style = HistogramStyle(title or head, log, per_width, counts=False)
            yield from histogram_figures(f"mapping_{head}", histogram, style)
    yield from _parameter_figures(results.parameters, title)
    if results.covariance is not None:
        names, matrix = results.covariance.names, results.covariance.correlation
        only = _most_correlated(names, matrix)
        options: dict[str, Any] = {"matrix": matrix, "only": only, "title": title}
        yield "correlation", plotting.correlation(names=names, **options)
    if results.impacts is not None:
        yield from _impact_figures(results.impacts, results.parameters, title)
    yield from inference_figures(results, title)
    if results.toys is not None:
        yield from _toy_figures(results.toys, title)


def _parameter_figures(
    parameters: Parameters, title: str | None
) -> Iterator[tuple[str, Any]]:
    shown = np.isfinite(parameters.pulls) & ~parameters.frozen
    if shown.any():
        figure = plotting.pulls(
            names=np.array(parameters.names)[shown].tolist(),
            values=parameters.pulls[shown],
            errors=parameters.constraints[shown],
            title=title,
        )
        yield "pulls", figure


def _most_correlated(names: Any, matrix: np.ndarray) -> list[str] | None:
    """Return the parameters of a large matrix that are drawn; None for all."""
    if len(names) <= LARGEST:
        return None
    others = np.where(np.eye(len(names), dtype=bool), 0.0, np.nan_to_num(matrix))
    order = np.argsort(-np.max(np.abs(others), 1), kind="stable")[:LARGEST]
    return [names[i] for i in sorted(order)]


def _impact_figures(
    impacts: Impacts, parameters: Parameters, title: str | None
) -> Iterator[tuple[str, Any]]:
    place = {name: i for i, name in enumerate(parameters.names)}
    here = np.array([place[name] for name in impacts.names], int)
    for i, poi in enumerate(impacts.interest):
        if not impacts.names:
            continue
        value, error = parameters.values[place[poi]], impacts.errors[i]
        digits = max(0, 1 - int(np.floor(np.log10(error)))) if error > 0 else 3
        figure = plotting.ranking(
            names=impacts.names,
            up=impacts.traditional[i] if impacts.up is None else impacts.up[i],
            down=None if impacts.down is None else impacts.down[i],
            linear=None if impacts.up is None else impacts.traditional[i],
            pulls=parameters.pulls[here],
            errors=parameters.constraints[here],
            values=parameters.values[here],
            value_errors=parameters.errors[here],
            poi=poi,
            title=title,
            note=rf"{poi} = ${value:.{digits}f} \pm {error:.{digits}f}$",
        )
        yield f"impacts_{poi}", figure


def _toy_figures(toys: Toys, title: str | None) -> Iterator[tuple[str, Any]]:
    figure = toy_figure(plotting, toys, title)
    if not isinstance(figure, str):
        yield "toys", figure


# Rise of -2 ln L of the 68.3 % and 95 % contours in a map.
LEVELS = (2.30, 5.99)
# Above this rise a map has one colour.
TOP = 12.0


def inference_figures(
    results: TemplateResults, title: str | None
) -> Iterator[tuple[str, Any]]:
    """Draw the results of further fits.

    Args:
        results: The results of `everwillow.workflows.templates.run`.
        title: Title of all plots.

    Returns:
        An iterator over names of plots and figures.
    """
    intervals = results.asymmetric_errors
    known = () if intervals is None else intervals.names
    for name, scan in results.scans.items():
        figure = plotting.scan(
            values=scan.values,
            twice_delta_nll=scan.twice_delta_nll,
            best=scan.best,
            name=name,
            interval=intervals if name in known else None,
            title=title,
        )
        yield f"scan_{name}", figure
    for key, grid in results.grid_scans.items():
        yield f"scan_{key}", grid_figure(grid, title)
    for key, contour in results.contours.items():
        curves = list(contour.curves.values())
        figure = plotting.contour(
            curves=[curve.points for curve in curves],
            levels=[-2 * float(np.log1p(-curve.cl)) for curve in curves],
            best=contour.best.tolist(),
            names=contour.names,
            title=title,
        )
        yield f"contour_{key}", figure
    if results.limits:
        level = next(iter(results.limits.values())).level
        quantity = f"{100 * (1 - level):.4g}% CL upper limit"
        figure = plotting.limit_summary(results.limits, quantity=quantity, title=title)
        yield "limits", figure
    shifts = results.nonprofiled_impacts
    if shifts is not None:
        for i, poi in enumerate(shifts.interest):
            figure = plotting.ranking(
                names=shifts.names,
                up=shifts.up[i],
                down=shifts.down[i],
                poi=poi,
                title=title,
                note="Frozen parameters",
            )
            yield f"nonprofiled_{poi}", figure
    penalised = results.regularisation
    curve = None if penalised is None else penalised.l_curve
    # A hidden penalty has no axis.
    if curve is not None and curve.penalty is not None:
        yield "l_curve", plotting.l_curve(curve, title=title)


def grid_figure(scan: GridScan, title: str | None) -> Any:
    """Draw the profile likelihood of two parameters as a map.

    Args:
        scan: The scan.
        title: The title of the plot.
    """
    with Frame().panel((5.4, 4.2)) as (figure, axes):
        # A point with a failed fit stays white.
        heights = np.ma.masked_invalid(scan.twice_delta_nll.T)
        image = axes.pcolormesh(
            scan.first,
            scan.second,
            heights,
            cmap="viridis_r",
            vmin=0.0,
            vmax=min(TOP, max(float(heights.max()), 1.0)) if heights.count() else 1.0,
            shading="nearest",
            rasterized=True,
        )
        if min(heights.shape) > 2:
            lines = axes.contour(
                scan.first,
                scan.second,
                heights,
                levels=LEVELS,
                colors="black",
                linestyles=["-", "--"],
                linewidths=1.2,
            )
            names = dict(zip(LEVELS, ("68.3%", "95%"), strict=True))
            axes.clabel(lines, fmt=names, fontsize=8)
        axes.plot(*scan.best, "+", color=RED, ms=9, mew=1.6, ls="")
        bar = figure.colorbar(image, ax=axes, extend="max")
        bar.set_label(r"$-2\, \Delta\ln L$")
        first, second = scan.names
        xlabel(axes, first)
        ylabel(axes, second)
        if title:
            axes.set_title(title, loc="left", fontweight="bold")
    return figure
