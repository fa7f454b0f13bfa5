"""Panels with points in bins of a variable, in several series."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN, CARETLEFT, CARETRIGHT
from matplotlib.patches import Patch

from everwillow._errors import ArgumentValueError
from everwillow.plotting._arguments import vector
from everwillow.plotting._category_results import Points
from everwillow.plotting._text import legend_columns, text_width, wrapped
from everwillow.plotting._unrolled import finite_edges
from everwillow.plotting.style import FAINT, PALETTE, Frame, log_ticks, xlabel, ylabel


# Narrower figures have their panels below each other.
_WIDE = 5.0
# Hatched, so that it differs from the boxes of limited simulation in grey.
BAND: dict[str, Any] = {"facecolor": "0.95", "edgecolor": "0.75", "hatch": "/////"}
_MARKERS = "osD^vP*X<>"
_LEGEND = 9.0


class Series(NamedTuple):
    """Points with one look.

    Attributes:
        label: The name in the legend.
        points: The points.
        truth: The true values, or None.
    """

    label: str
    points: Points
    truth: np.ndarray | None = None


class Panel(NamedTuple):
    """The content of one panel.

    Attributes:
        quantity: What is on the vertical axis: panels with the same quantity have the
            same range.
        title: The title of the vertical axis.
        text: A text inside of the panel.
        series: The points.
        line: The height of a line, NaN for none.
        band: Half the height of a band around this line, or None.
        positive: Whether the axis has no negative numbers.
    """

    quantity: str
    title: str
    text: str
    series: Sequence[Series]
    line: float = np.nan
    band: np.ndarray | None = None
    positive: bool = False


class Look(NamedTuple):
    """Options of these figures.

    Attributes:
        x_range: The range of the horizontal axis, or None.
        ranges: The ranges of vertical axes by quantity.
        log_x: Whether the horizontal axis is logarithmic.
        columns: The number of columns of the legend, or None.
        legend_size: The size of its font in points.
        legend_title_size: The size of the font of its title.
    """

    x_range: Sequence[float] | None = None
    ranges: Mapping[str, Sequence[float]] | None = None
    log_x: bool = False
    columns: int | None = None
    legend_size: float | None = None
    legend_title_size: float | None = None

    def check(self, edges: np.ndarray, known: Iterable[str]) -> None:
        """Check ranges, and that a logarithmic axis has no negative edges.

        Args:
            edges: The edges of the bins.
            known: The quantities.
        """
        if self.log_x and np.any(edges[np.isfinite(edges)] < 0):
            raise ArgumentValueError(
                "log_x: the variable has edges below 0, and no logarithmic axis."
            )
        named = [("x_range", self.x_range)]
        named += [(f"ranges[{k!r}]", v) for k, v in (self.ranges or {}).items()]
        for name, given in named:
            if given is not None and not np.diff(vector(given, name, 2)) > 0:
                raise ArgumentValueError(f"{name}: give a lower and a higher number.")
        if self.log_x and self.x_range is not None and min(self.x_range) <= 0:
            raise ArgumentValueError("x_range: a logarithmic axis begins above 0.")
        for name in self.ranges or {}:
            if name not in known:
                raise ArgumentValueError(
                    f"ranges: {name!r} is not drawn; there is {', '.join(known)}."
                )


class Legend(NamedTuple):
    """What a legend says besides the names of series.

    Attributes:
        title: Its title.
        extra: Other entries.
    """

    title: str = ""
    extra: Sequence[Any] = ()


def draw_panels(
    frame: Frame,
    look: Look,
    edges: np.ndarray,
    variable: str,
    panels: Sequence[Panel],
    legend: Legend,
    footnote: str = "",
) -> Figure:
    """Return a figure with panels, a legend above and a footnote.

    Args:
        frame: The options of every plot.
        look: The options of these figures.
        edges: The edges of the bins of the horizontal axis.
        variable: Its title.
        panels: The panels, in rows of two.
        legend: What the legend says.
        footnote: A sentence below the panels.
    """
    count = len(panels)
    wide = frame.size[0] if frame.size else (7.0 if count > 1 else 4.8)
    across = 2 if count > 1 and wide >= _WIDE else 1
    rows = -(-count // across)
    above = _Above.of(panels, legend, look, wide)
    below = 0.3 * bool(footnote)
    rest = 0.6 + 0.19 * above.lines + 0.25 * frame.has_headline + below
    figure = frame.figure((wide, rest + 2.2 * rows))
    room = (figure.get_figheight() - rest) / rows - 0.1
    grid = figure.subplots(rows, across, squeeze=False, sharex=True)
    places = _Places(finite_edges(edges, log=look.log_x), edges, look)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel, places)
        short_ylabel(axes, panel.title, room)
    _set_ranges(grid.flat, panels, look)
    for i, axes in enumerate(grid.flat):
        if i >= count:
            axes.set_visible(False)
        elif i + across >= count:
            axes.xaxis.set_tick_params(labelbottom=True)
            xlabel(axes, variable)
    above.draw(figure, look)
    if footnote:
        shown = "\n".join(wrapped(footnote, wide - 0.3, 8.0))
        figure.supxlabel(shown, fontsize=8.0, color="0.35", x=0.99, ha="right")
    frame.headline(grid[0, 0], grid[0, -1])
    return figure


class _Above(NamedTuple):
    """The legends above the panels: that of series, and that of errors beside it.

    Attributes:
        handles: The entries of each legend.
        columns: Their numbers of columns.
        title: The title of the first legend.
    """

    handles: tuple[Sequence[Any], ...]
    columns: tuple[int, ...]
    title: str

    @property
    def lines(self) -> int:
        """The number of lines of the higher legend."""
        counts = [
            -(-len(part) // n)
            for part, n in zip(self.handles, self.columns, strict=True)
        ]
        counts[0] += bool(self.title)
        return max(counts)

    @classmethod
    def of(
        cls, panels: Sequence[Panel], legend: Legend, look: Look, wide: float
    ) -> "_Above":
        """Return the legends of panels; narrow figures have only one."""
        several, styles = len(panels[0].series) > 1, _styles(panels)
        styles += legend.extra
        narrow = wide < _WIDE or not several
        prefix = legend.title if narrow else ""
        names = _names([_joined(prefix, one.label) for one in panels[0].series])
        parts = ([*names, *styles],) if narrow else (names, styles)
        size = look.legend_size or _LEGEND
        columns = [
            legend_columns([h.get_label() for h in part], size, wide / len(parts))
            for part in parts
        ]
        columns[0] = look.columns or columns[0]
        return cls(parts, tuple(columns), "" if narrow else legend.title)

    def draw(self, figure: Figure, look: Look) -> None:
        """Draw the legends on the left and on the right above all panels."""
        places: tuple[Any, ...] = ("outside upper center",)
        if len(self.handles) > 1:
            places = "outside upper left", "outside upper right"
        size = look.legend_size or _LEGEND
        titles = (self.title or None, None)
        for part, columns, place, title in zip(
            self.handles, self.columns, places, titles, strict=False
        ):
            if not part:
                continue
            figure.legend(
                handles=part,
                loc=place,
                ncols=columns,
                title=title,
                fontsize=size,
                title_fontsize=look.legend_title_size or size,
                alignment="left",
                columnspacing=1.4,
            )


def short_ylabel(axes: Axes, text: str, room: float) -> None:
    """Write the title of the vertical axis, smaller if it is longer than the axis.

    Args:
        axes: The axes.
        text: The title.
        room: The length of the axis in inches.
    """
    need = 11 * room / max(text_width([text], 11), 0.1)
    ylabel(axes, text)
    axes.yaxis.label.set_fontsize(max(min(11.0, need), 6.0))


class _Places(NamedTuple):
    """Positions in bins.

    Attributes:
        edges: Finite edges.
        given: Edges that may be infinite.
        look: The options.
    """

    edges: np.ndarray
    given: np.ndarray
    look: Look

    def at(self, share: float) -> np.ndarray:
        """Return the positions at a fraction of the width of each bin."""
        low, high = self.edges[:-1], self.edges[1:]
        if self.look.log_x:
            return low * (high / low) ** share
        return low + share * (high - low)


def _draw_panel(axes: Axes, panel: Panel, places: _Places) -> None:
    count = len(panel.series)
    step = min(0.8 / count, 0.3)
    if places.look.log_x:
        axes.set_xscale("log")
    if panel.band is not None:
        size = np.nan_to_num(panel.band)
        low, high = panel.line - size, panel.line + size
        axes.stairs(high, places.edges, baseline=low, fill=True, lw=0, zorder=0, **BAND)
    if np.isfinite(panel.line):
        axes.axhline(panel.line, color=FAINT, lw=0.8, ls=(0, (4, 3)), zorder=0.5)
    if places.edges.size <= 40:
        for edge in places.edges[1:-1]:
            axes.axvline(edge, color="0.9", lw=0.6, zorder=0.2)
    for i, series in enumerate(panel.series):
        share = 0.5 + (i - (count - 1) / 2) * step
        _draw_series(axes, series, places, share, 0.36 * step, i)
    limits = places.look.x_range
    axes.set_xlim(*(limits or (places.edges[0], places.edges[-1])))
    if places.look.log_x:
        log_ticks(axes.xaxis)
    if not np.isfinite(places.given).any():
        # A single bin without an end has no place on the axis.
        axes.set_xticks([])
        axes.minorticks_off()
    if not any(np.isfinite(one.points.values).any() for one in panel.series):
        axes.text(
            0.5,
            0.4,
            "no value",
            transform=axes.transAxes,
            ha="center",
            fontsize=9,
            fontstyle="italic",
        )
    if panel.text:
        box = {"fc": "white", "ec": "none", "pad": 1.0, "alpha": 0.8}
        axes.text(
            0.03,
            0.95,
            panel.text,
            transform=axes.transAxes,
            va="top",
            fontsize=9,
            bbox=box,
            zorder=7,
        )


def _draw_series(
    axes: Axes, series: Series, places: _Places, share: float, half: float, number: int
) -> None:
    """Draw boxes for limited simulation, bars for total errors and caps inside.

    Args:
        axes: The axes to draw on.
        series: The points.
        places: The bins.
        share: The position in a bin, as a fraction of its width.
        half: Half the width of a box, as such a fraction.
        number: The number of the series, which decides on its colour.
    """
    look: dict[str, Any] = {"color": _colour(number)}
    points, x = series.points, places.at(share)
    for i in np.flatnonzero(np.isfinite(points.mc)):
        left, right = (places.at(share + side * half)[i] for side in (-1, 1))
        low, high = (points.values[i] + side * points.mc[i] for side in (-1, 1))
        axes.fill_between(
            [left, right], low, high, color=look["color"], alpha=0.3, lw=0, zorder=1
        )
    _draw_widths(axes, points, places, number)
    known = np.isfinite(points.total)
    marker: dict[str, Any] = {"fmt": _marker(number), "ms": 3.6, "zorder": 4}
    axes.errorbar(
        x[known], points.values[known], points.total[known], lw=1.1, **marker, **look
    )
    some = known & np.isfinite(points.stat)
    axes.errorbar(x[some], points.values[some], points.stat[some], **_INNER, **look)
    # Hollow points have no error; a missing one would look like a small one.
    bare = np.isfinite(points.values) & ~known & ~np.isfinite(points.upper)
    axes.plot(
        x[bare], points.values[bare], _marker(number), ms=3.6, mfc="white", **look
    )
    ends = np.isfinite(points.upper)
    top = points.values[ends] + points.upper[ends]
    axes.vlines(x[ends], points.values[ends], top, lw=1.1, zorder=4, **look)
    for heights, shape in ((top, "_"), (points.values[ends], CARETDOWN)):
        axes.plot(x[ends], heights, marker=shape, lw=0, ms=6, zorder=4, **look)
    if series.truth is not None:
        axes.hlines(
            series.truth,
            places.edges[:-1],
            places.edges[1:],
            lw=1.3,
            ls=(0, (2, 1)),
            zorder=2,
            **look,
        )


_INNER: dict[str, Any] = {"fmt": "none", "capsize": 2.2, "lw": 0, "capthick": 1.1}
_INNER |= {"zorder": 5}


def _draw_widths(axes: Axes, points: Points, places: _Places, number: int) -> None:
    """Draw a thin line over each bin, with an arrow at the end of an infinite one."""
    look: dict[str, Any] = {"color": _colour(number), "alpha": 0.55}
    low, high = places.edges[:-1], places.edges[1:]
    axes.hlines(points.values, low, high, lw=0.8, zorder=1.5, **look)
    for side, marker in ((0, CARETLEFT), (-1, CARETRIGHT)):
        if np.isinf(places.given[side]) and np.isfinite(points.values[side]):
            limits = places.look.x_range
            inside = max if side == 0 else min
            x = places.edges[side]
            x = x if limits is None else inside(x, limits[side])
            axes.plot(x, points.values[side], marker=marker, ms=5, lw=0, **look)


def _set_ranges(grid: Iterable[Axes], panels: Sequence[Panel], look: Look) -> None:
    """Give all panels with the same quantity the same range, with all points in it."""
    for axes, panel in zip(grid, panels, strict=False):
        given = (look.ranges or {}).get(panel.quantity)
        alike = [one for one in panels if one.quantity == panel.quantity]
        low, high = _reach(alike)
        above = 0.2 if any(one.text for one in alike) else 0.06
        size = (high - low) or 0.1 * abs(high) or 1.0
        bottom = low - 0.06 * size
        if panel.positive and low < 0.35 * high:
            bottom = 0.0
        axes.set_ylim(*(given or (bottom, high + above * size)))
        axes.ticklabel_format(axis="y", useOffset=False, style="plain")


def _reach(panels: Sequence[Panel]) -> tuple[float, float]:
    found = [panel.line for panel in panels]
    for panel in panels:
        if panel.band is not None:
            found += [*(panel.line - panel.band), *(panel.line + panel.band)]
        for _, points, truth in panel.series:
            values, size = points.values, np.nan_to_num(points.total)
            found += [*(values - size), *(values + size), *(values + points.upper)]
            found += [] if truth is None else [*truth]
    known = np.array(found)[np.isfinite(found)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)


def _joined(variable: str, label: str) -> str:
    if not variable or not label:
        return label
    return f"{variable} {label}" if label[0] in "<≥" else f"{variable}: {label}"


def _colour(number: int) -> str:
    return PALETTE[number % len(PALETTE)]


def _marker(number: int) -> str:
    return _MARKERS[number % len(_MARKERS)]


def _names(labels: Sequence[str]) -> list[Any]:
    """Return the entries of the series in a legend; none for a single one."""
    if len(labels) < 2 and not any(labels):
        return []
    return [
        Line2D([], [], color=_colour(i), marker=_marker(i), ms=3.6, lw=1.1, label=label)
        for i, label in enumerate(labels)
    ]


def _styles(panels: Sequence[Panel]) -> list[Any]:
    """Return entries for the kinds of errors that are drawn."""
    every = [series for panel in panels for series in panel.series]
    points = [series.points for series in every]
    line: dict[str, Any] = {"color": "0.35", "lw": 0}
    arrow: Any = CARETDOWN

    def some(kind: str) -> bool:
        return any(np.isfinite(getattr(one, kind)).any() for one in points)

    found: list[Any] = []
    if some("total"):
        found.append(
            Line2D([], [], marker="|", ms=9, mew=1.1, label="Total error", **line)
        )
    if some("stat"):
        found.append(
            Line2D([], [], marker="_", ms=5, mew=1.1, label="Statistical", **line)
        )
    if some("mc"):
        found.append(Patch(facecolor="0.35", alpha=0.3, lw=0, label="Simulation"))
    if some("upper"):
        found.append(Line2D([], [], marker=arrow, ms=6, label="68.3 % limit", **line))
    if any(series.truth is not None for series in every):
        look: dict[str, Any] = {"color": "0.35", "lw": 1.3, "ls": (0, (2, 1))}
        found.append(Line2D([], [], label="Truth", **look))
    return found
