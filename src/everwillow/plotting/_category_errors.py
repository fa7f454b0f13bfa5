"""Panels with the errors of categories by source."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from everwillow.likelihood.histograms import Axis
from everwillow.plotting._category_panels import Look, short_ylabel
from everwillow.plotting._category_results import (
    MC,
    STAT,
    TOTAL,
    Grouping,
    interval,
)
from everwillow.plotting._text import legend_columns
from everwillow.plotting._unrolled import unrolled
from everwillow.plotting.panels import MARGIN, draw_steps
from everwillow.plotting.style import PALETTE, Frame


_DASHES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
_NAMES = {STAT: "Statistical", MC: "Simulation", "flat": "Flat"}


def draw_errors(
    frame: Frame,
    look: Look,
    groups: Grouping,
    parts: Mapping[str, Mapping[str, np.ndarray]],
    titles: Mapping[str, str],
) -> Figure:
    """Return a figure with a panel for each parameter.

    Args:
        frame: The options of every plot.
        look: The options of plots of categories.
        groups: The bins.
        parts: Errors in bins by parameter and by source; NaN where there is none.
        titles: Titles of the vertical axes.
    """
    plan = unrolled(
        [
            _axis(name, edges, frame.text(name))
            for name, edges in zip(groups.names, groups.edges, strict=True)
        ]
    )
    parts, others = _largest(parts)
    sources = list(dict.fromkeys(k for each in parts.values() for k in each))
    looks = _looks([source for source in sources if source != TOTAL])
    with frame.styled():
        handles = _handles(sources, looks, {_OTHERS: f"Others ({others})"}, frame)
        wide = frame.size[0] if frame.size else min(max(4.8, 0.14 * plan.bins), 11.0)
        size = look.legend_size or 9.0
        texts = [handle.get_label() for handle in handles]
        columns = look.columns or legend_columns(texts, size, wide)
        lines = -(-len(handles) // columns)
        height = 0.6 + 1.9 * len(parts) + 0.19 * lines + 0.25 * frame.has_headline
        height += plan.height(wide - MARGIN, frame.labels)
        figure = frame.figure((wide, height))
        free = figure.get_figheight() - height + 1.9 * len(parts)
        panels = figure.subplots(len(parts), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (name, each) in zip(panels, parts.items(), strict=True):
            _draw(axes, plan, each, looks)
            known = [part for part in each.values() if np.isfinite(part).any()]
            top = max((float(np.nanmax(part)) for part in known), default=1.0)
            axes.set_ylim(*(look.ranges or {}).get(name, (0, 1.08 * top)))
            axes.set_xlim(plan.edges[0], plan.edges[-1])
            axes.ticklabel_format(axis="y", useOffset=False, style="plain")
            text = titles.get(name, f"Error of {frame.text(name)}")
            short_ylabel(axes, text, free / len(parts) - 0.1)
        room = figure.get_figwidth() - MARGIN
        plan.finish(panels, room, frame.labels, touching=False)
        figure.legend(
            handles=handles,
            loc="outside upper center",
            ncols=columns,
            fontsize=size,
            columnspacing=1.4,
        )
        if groups.averaged:
            names = ", ".join(frame.text(name) for name in groups.averaged)
            text = f"Average over {names}, with weights 1 / error²"
            figure.supxlabel(text, fontsize=8.0, color="0.35", x=0.99, ha="right")
        frame.headline(panels[0])
    return figure


def _largest(
    parts: Mapping[str, Mapping[str, np.ndarray]],
) -> tuple[dict[str, dict[str, np.ndarray]], int]:
    """Return the largest sources, the sum of all others, and their number.

    More lines than a few cannot be told apart.
    """
    sources = dict.fromkeys(k for each in parts.values() for k in each if k != TOTAL)
    if len(sources) <= _MOST:
        return {name: dict(each) for name, each in parts.items()}, 0
    sizes = {source: _size(parts, source) for source in sources}
    sizes |= dict.fromkeys({STAT, MC} & sizes.keys(), np.inf)
    kept = sorted(sources, key=lambda source: -sizes[source])[: _MOST - 1]
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, each in parts.items():
        found[name] = {k: v for k, v in each.items() if k == TOTAL or k in kept}
        rest = [v for k, v in each.items() if k not in found[name]]
        if rest:
            found[name][_OTHERS] = np.sqrt(np.sum(np.square(rest), axis=0))
    return found, len(sources) - len(kept)


_MOST = 8
_OTHERS = "(others)"


def _size(parts: Mapping[str, Mapping[str, np.ndarray]], source: str) -> float:
    """Return the size of a source relative to the total errors."""
    shares = [
        np.ravel(each[source] / each[TOTAL])
        for each in parts.values()
        if source in each and TOTAL in each
    ]
    known = [share[np.isfinite(share)] for share in shares]
    return float(np.sum(np.concatenate([*known, [0.0]]) ** 2))


def _axis(name: str, edges: np.ndarray, title: str) -> Axis:
    """Return an axis; bins have names if some are infinite."""
    if np.isfinite(edges).all():
        return Axis(name, edges=tuple(edges), title=title)
    names = tuple(interval(low, high) for low, high in itertools.pairwise(edges))
    return Axis(name, labels=names, title=title)


def _looks(sources: list[str]) -> dict[str, dict[str, Any]]:
    return {
        source: {
            "color": PALETTE[i % len(PALETTE)],
            "ls": _DASHES[i // len(PALETTE) % len(_DASHES)],
            "lw": 1.5,
        }
        for i, source in enumerate(sources)
    }


def _draw(axes: Any, plan: Any, each: Mapping[str, np.ndarray], looks: Any) -> None:
    for source, part in each.items():
        values = plan.flat(part, source)
        if source == TOTAL:
            axes.stairs(values, plan.edges, fill=True, color="0.88", lw=0, zorder=0)
            look: dict[str, Any] = {"color": "black", "ls": "-", "lw": 1.6}
            draw_steps(axes, plan.edges, values, "", **look, zorder=4)
        else:
            draw_steps(axes, plan.edges, values, "", **looks[source])


def _handles(
    sources: list[str],
    looks: Mapping[str, Any],
    names: Mapping[str, str],
    frame: Frame,
) -> list[Any]:
    handles: list[Any] = []
    for source in sources:
        text = frame.text(source)
        if source == TOTAL:
            look: dict[str, Any] = {"facecolor": "0.88", "edgecolor": "black"}
            handles.append(Patch(lw=1.2, label="Total", **look))
            continue
        text = {**_NAMES, **names}.get(source, text) if text == source else text
        handles.append(Line2D([], [], label=text, **looks[source]))
    return handles
