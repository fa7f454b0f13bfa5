"""All plots of a template fit: of what goes in, and of what comes out."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from everwillow import plotting
from everwillow.likelihood.template_spec import TemplateSpec
from everwillow.workflows._template_inference_plots import inference_figures
from everwillow.workflows.template_results import (
    HistogramResult,
    Impacts,
    Parameters,
    TemplateResults,
    Toys,
)


# So many systematics are drawn in one plot of a template.
TOGETHER = 6
# Of larger matrices those parameters are drawn that correlate most.
LARGEST = 60


def input_figures(
    spec: TemplateSpec, *, title: str | None = None, log: bool = False
) -> Iterator[tuple[str, Any]]:
    """Draw channels before the fit, and each template with its variations.

    Args:
        spec: What the builder says.
        title: Written above each plot; by default the name of the channel.
        log: Whether axes of events are logarithmic.

    Returns:
        Names of plots, and figures, one after the other.
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
        yield (
            f"input_{channel.name}",
            plotting.template_distribution(
                axes=channel.axes,
                samples=dict(reversed(parts.items())),
                observed=observed,
                errors=np.sqrt(table[1, :, here].sum(0)).reshape(shape),
                log=log,
                title=title or channel.name,
                note="Input",
            ),
        )
        for process in parts:
            i = layout.process(process)
            yield from _variation_figures(
                spec, channel, i, table[:, i, here], title, log
            )


def _variation_figures(
    spec: TemplateSpec,
    channel: Any,
    process: int,
    numbers: np.ndarray,
    title: str | None,
    log: bool,  # noqa: FBT001
) -> Iterator[tuple[str, Any]]:
    """Draw a template with some of its variations at a time."""
    name = spec.layout.processes[process]
    varied = list(_variations(spec, channel.name, process, numbers[0]))
    pages = range(0, len(varied), TOGETHER)
    for page, start in enumerate(pages):
        number = f"_{page}" if len(pages) > 1 else ""
        shown = {
            systematic: (up.reshape(channel.shape), down.reshape(channel.shape))
            for systematic, (up, down) in varied[start : start + TOGETHER]
        }
        figure = plotting.template_variations(
            axes=channel.axes,
            nominal=numbers[0].reshape(channel.shape),
            variations=shown,
            errors=np.sqrt(numbers[1]).reshape(channel.shape),
            log=log,
            title=title or channel.name,
            note=name,
        )
        yield f"input_{channel.name}_{name}_variations{number}", figure


def _variations(
    spec: TemplateSpec, channel: str, process: int, nominal: np.ndarray
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Yield systematics that move a template, with their yields up and down."""
    here, responses = spec.layout.bins_of(channel), spec.responses
    bins = spec.templates.bin[responses.row]
    mine = (spec.templates.process[responses.row] == process) & (bins >= here.start)
    mine &= bins < here.stop
    half = responses.half
    for k, systematic in enumerate(spec.systematics):
        part = slice(int(responses.start[k]), int(responses.start[k + 1]))
        keep = np.flatnonzero(mine[part]) + part.start
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
    results: TemplateResults, *, title: str | None = None, log: bool = False
) -> Iterator[tuple[str, Any]]:
    """Draw everything that is in results.

    Args:
        results: Of `everwillow.workflows.templates.run`.
        title: Written above each plot; by default what is drawn.
        log: Whether axes of events are logarithmic.

    Returns:
        Names of plots, and figures, one after the other.
    """
    counts = results.likelihood == "poisson"
    for name, channel in results.channels.items():
        draw = _Drawing(f"channel_{name}", title or name, log=log, counts=counts)
        yield from draw.figures(channel)
    for key, mapping in results.mappings.items():
        for name, histogram in mapping.histograms.items():
            several = len(mapping.histograms) > 1
            what = f"{key} {name}" if several else key
            draw = _Drawing(f"mapping_{what}", title or what, log=log, counts=False)
            yield from draw.figures(histogram)
    yield from _parameter_figures(results.parameters, title)
    if results.covariance is not None:
        found = results.covariance
        only = _most_correlated(found.names, found.correlation)
        matrix = found.correlation
        yield (
            "correlation",
            plotting.correlation(
                names=found.names, matrix=matrix, only=only, title=title
            ),
        )
    if results.impacts is not None:
        yield from _impact_figures(results.impacts, results.parameters, title)
    yield from inference_figures(results, title)
    if results.toys is not None:
        yield from _toy_figures(results.toys, title)


class _Drawing:
    """Draws one histogram of results."""

    def __init__(self, name: str, title: str, *, log: bool, counts: bool) -> None:
        self.name = name
        self.quantity = "Events" if name.startswith("channel") else "Value"
        self.title = title
        self.log = log
        self.counts = counts

    def figures(self, histogram: HistogramResult) -> Iterator[tuple[str, Any]]:
        """Yield names and figures."""
        post = histogram.postfit
        if histogram.data is not None and histogram.processes(prefit=True):
            yield f"{self.name}_prefit", self._stack(histogram, prefit=True)
            if histogram.processes():
                yield f"{self.name}_postfit", self._stack(histogram, prefit=False)
        elif post is not None:
            yield f"{self.name}_postfit", self._measured(histogram)
        if len(histogram.processes()) > 1:
            yield (
                f"{self.name}_processes",
                plotting.template_processes(
                    axes=histogram.axes,
                    prefit=histogram.processes(prefit=True),
                    postfit=_filled(histogram.processes()),
                    log=self.log,
                    title=self.title,
                ),
            )
        found = histogram.breakdown
        if found is not None and post is not None:
            parts = dict(zip(found.groups, found.impacts, strict=True))
            yield (
                f"{self.name}_uncertainties",
                plotting.uncertainty_breakdown(
                    axes=histogram.axes,
                    parts=parts | {"rest": found.rest},
                    total=post.errors,
                    values=post.values,
                    title=self.title,
                    note="Post-fit",
                ),
            )

    def _stack(self, histogram: HistogramResult, *, prefit: bool) -> Any:
        side = histogram.prefit if prefit else histogram.postfit
        assert side is not None
        return plotting.template_distribution(
            axes=histogram.axes,
            samples=_filled(histogram.processes(prefit=prefit)),
            observed=histogram.data,
            # Counts have intervals of their own, which are not symmetric.
            observed_errors=None if self.counts else histogram.data_errors,
            errors=side.errors,
            prefit=None if prefit else histogram.prefit.values,
            log=self.log,
            title=self.title,
            note="Pre-fit" if prefit else "Post-fit",
        )

    def _measured(self, histogram: HistogramResult) -> Any:
        """Draw what has no parts: data and the fit of them, or a result alone."""
        post, before = histogram.postfit, histogram.prefit
        assert post is not None
        theory: dict[str, Any] = {"Pre-fit": (before.values, before.errors)}
        values, errors, measured = post.values, post.errors, "Post-fit"
        if histogram.data is not None:
            theory = {"Post-fit": (post.values, post.errors)} | theory
            values, errors, measured = histogram.data, histogram.data_errors, "Data"
            errors = np.zeros_like(values) if errors is None else errors
        return plotting.cross_section(
            axes=histogram.axes,
            values=values,
            errors=errors,
            theory=theory,
            name=self.quantity,
            measured=measured,
            log=self.log,
            title=self.title,
        )


def _filled(processes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the processes that contribute, signals last: on top of a stack."""
    some = {name: part for name, part in processes.items() if np.any(part)}
    return dict(reversed(some.items()))


def _parameter_figures(
    found: Parameters, title: str | None
) -> Iterator[tuple[str, Any]]:
    shown = np.isfinite(found.pulls) & ~found.frozen
    if shown.any():
        yield (
            "pulls",
            plotting.pulls(
                names=[n for n, one in zip(found.names, shown, strict=True) if one],
                values=found.pulls[shown],
                errors=found.constraints[shown],
                title=title,
            ),
        )


def _most_correlated(names: Any, matrix: np.ndarray) -> list[str] | None:
    """Return the names that are drawn of a large matrix, None for all."""
    if len(names) <= LARGEST:
        return None
    others = np.where(np.eye(len(names), dtype=bool), 0.0, np.nan_to_num(matrix))
    order = np.argsort(-np.max(np.abs(others), 1), kind="stable")[:LARGEST]
    return [names[i] for i in sorted(order)]


def _impact_figures(
    found: Impacts, parameters: Parameters, title: str | None
) -> Iterator[tuple[str, Any]]:
    place = {name: i for i, name in enumerate(parameters.names)}
    here = np.array([place[name] for name in found.names], int)
    for i, poi in enumerate(found.interest):
        if not found.names:
            continue
        value, error = parameters.values[place[poi]], found.errors[i]
        digits = max(0, 1 - int(np.floor(np.log10(error)))) if error > 0 else 3
        yield (
            f"impacts_{poi}",
            plotting.ranking(
                names=found.names,
                up=found.traditional[i] if found.up is None else found.up[i],
                down=None if found.down is None else found.down[i],
                linear=None if found.up is None else found.traditional[i],
                pulls=parameters.pulls[here],
                errors=parameters.constraints[here],
                poi=poi,
                title=title,
                note=rf"{poi} = ${value:.{digits}f} \pm {error:.{digits}f}$",
            ),
        )


def _toy_figures(found: Toys, title: str | None) -> Iterator[tuple[str, Any]]:
    good = found.success
    if not good.any():
        return
    away = found.pulls[good]
    known = np.any(np.isfinite(away), axis=0).tolist()
    names = [name for name, one in zip(found.names, known, strict=True) if one]
    if names:
        yield (
            "toys",
            plotting.pulls(
                names=names,
                values=np.nanmean(away[:, known], 0),
                errors=np.nanstd(away[:, known], 0),
                title=title,
                note=f"Mean and width, {int(good.sum())} toys",
            ),
        )


__all__ = ["input_figures", "result_figures"]
