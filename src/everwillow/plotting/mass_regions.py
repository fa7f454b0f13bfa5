"""Plots of fitted regions: masses in data and in the fit, with pulls."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from everwillow._errors import ArgumentValueError, ShapeMismatchError
from everwillow.fitting.options import takes_options
from everwillow.plotting._arguments import rising_edges, unknown_record, vector
from everwillow.plotting._category_results import interval
from everwillow.plotting._text import text_width
from everwillow.plotting.style import RED, Frame, PlotOptions


class _Region(NamedTuple):
    """The bins of a region.

    Attributes:
        categories: The numbers of the categories.
        edges: The edges of the bins.
        data: Events in data.
        expected: Events in the fit.
    """

    categories: tuple[int, ...]
    edges: np.ndarray
    data: np.ndarray
    expected: np.ndarray

    @property
    def densities(self) -> np.ndarray:
        """Ends of the bars and heights of the fit, per GeV, shape ``(2, bins)``."""
        tops = np.stack([self.data + np.sqrt(self.data), self.expected])
        return tops / np.diff(self.edges)

    @property
    def pulls(self) -> np.ndarray:
        """Differences over the root of the multinomial variance; NaN without one."""
        total = self.expected.sum()
        variance = self.expected * (1 - self.expected / total)
        good = variance > 0
        return np.where(
            good,
            (self.data - self.expected) / np.sqrt(np.where(good, variance, 1)),
            np.nan,
        )

    @property
    def chi2(self) -> float:
        """Pearson's sum over bins, NaN with data in a bin where none is expected."""
        empty = (self.expected <= 0) & (self.data == 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = (self.data - self.expected) ** 2 / self.expected
        return float(np.sum(np.where(empty, 0.0, terms)))


@takes_options(PlotOptions)
def sas_regions(
    fits: Sequence[Any],
    /,
    *,
    categories: Mapping[str, Sequence[float]] | None = None,
    across: int | None = None,
    log: bool = False,
    **options: Unpack[PlotOptions],
) -> Figure:
    r"""Draw masses in data and in the fit, region by region, with pulls below.

    A pull is the difference over the error for a fixed number of events :math:`N` in
    the region, :math:`\sqrt{N p_i (1 - p_i)}`. Each region says the sum of
    :math:`(n_i - N p_i)^2 / N p_i` and its number of bins.

    Args:
        fits: Records, or mappings, with the numbers of the `categories` of a region,
            the `edges` of its bins in GeV, and the events in `data` and `expected`.
        categories: The edges of the variables, to write the intervals of the
            categories instead of their numbers.
        across: The number of regions beside each other.
        log: Whether vertical axes are logarithmic.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If there is no region.
        ArgumentTypeError: If a record is of another type.
        ShapeMismatchError: If an array does not fit the edges.

    Example:
        >>> fit = {"categories": (0, 1), "edges": [80, 90, 100]}
        >>> figure = sas_regions([{**fit, "data": [40, 60], "expected": [45, 55]}])
        >>> figure.axes[0].get_title(loc="left")
        'Categories 0, 1'
    """
    regions = [_region(one) for one in fits]
    if not regions:
        raise ArgumentValueError("fits: there is no region to draw.")
    frame = Frame(**options)
    wide = frame.size[0] if frame.size else min(7.0, 3.4 * len(regions))
    columns = min(across or max(int(wide / 2.2), 1), len(regions))
    titles = [_title(one, categories, frame) for one in regions]
    with frame.styled():
        return _Sheet.of(regions, titles, columns, frame).draw(log=log)


class _Sheet(NamedTuple):
    """A sheet of regions in rows and columns; sizes are in inches.

    An automatic layout would give regions with longer titles or numbers smaller panels.

    Attributes:
        frame: The options of every plot.
        regions: The regions.
        titles: The lines of the title of each.
        columns: The number of columns.
        numbers: The width of the numbers of the vertical axes.
        size: Width and height of the sheet.
        top: The height of the lines above the regions.
    """

    frame: Frame
    regions: Sequence[_Region]
    titles: Sequence[Sequence[str]]
    columns: int
    numbers: float
    size: tuple[float, float]
    top: float

    @classmethod
    def of(
        cls,
        regions: Sequence[_Region],
        titles: Sequence[Sequence[str]],
        columns: int,
        frame: Frame,
    ) -> "_Sheet":
        """Return the sheet of some regions."""
        tops = [f"{np.max(one.densities):.3g}" for one in regions]
        plain = [f"{float(top):g}" for top in tops]
        rows = -(-len(regions) // columns)
        width = frame.size[0] if frame.size else min(7.0, 3.4 * columns)
        top = _top(frame, width)
        default = width, top + _BOTTOM + rows * 2.3
        return cls(
            frame,
            regions,
            titles,
            columns,
            text_width([*plain, "0.01"], _SMALL) + 0.14,
            frame.size or default,
            top,
        )

    def draw(self, *, log: bool) -> Figure:
        """Return the figure."""
        figure = self.frame.figure(self.size)
        figure.set_layout_engine("none")
        wide, high = self.size
        lines = [line for title in self.titles for line in title]
        head = 0.15 * max(map(len, self.titles)) + 0.05
        rows = -(-len(self.regions) // self.columns)
        across, down = (wide - 0.3) / self.columns, (high - self.top - _BOTTOM) / rows
        width, height = across - self.numbers - 0.1, down - head - 0.25
        font = min(8.0, 8.0 * (width + 0.1) / max(text_width(lines, 8.0), 0.1))
        for i, (region, title) in enumerate(
            zip(self.regions, self.titles, strict=True)
        ):
            row, column = divmod(i, self.columns)
            left = 0.25 + column * across + self.numbers
            base = high - self.top - row * down - head - height
            parts = ((base + 0.3 * height, 0.7 * height), (base, 0.3 * height))
            axes, below = (
                figure.add_axes((left / wide, y / high, width / wide, size / high))
                for y, size in parts
            )
            below.sharex(axes)
            _draw_region(axes, region, log=log)
            _draw_pulls(below, region)
            axes.set_title("\n".join(title), loc="left", fontsize=font, pad=3)
            if column == 0:
                for one, text in ((axes, "Events / GeV"), (below, "Pull")):
                    place = (
                        0.12 / wide,
                        (base + height * (0.65 if one is axes else 0.15)) / high,
                    )
                    figure.text(
                        *place, text, rotation=90, ha="center", va="center", fontsize=9
                    )
        self._finish(figure)
        return figure

    def _finish(self, figure: Figure) -> None:
        """Write title, note and legend above all regions, and the mass below."""
        wide, high = self.size
        handles, texts = figure.axes[0].get_legend_handles_labels()
        figure.legend(
            handles[::-1],
            texts[::-1],
            loc="upper right",
            ncols=2,
            borderaxespad=0.3,
            bbox_to_anchor=(1, 1 - (self.top - _LINE) / high),
        )
        frame, left = self.frame, 0.12
        place: dict[str, Any] = {"y": 1 - 0.18 / high, "va": "center_baseline"}
        if frame.title:
            figure.text(
                left / wide, s=frame.title, fontsize=10.5, fontweight="bold", **place
            )
            left += 1.15 * text_width([frame.title], 10.5) + 0.15
        if frame.note:
            figure.text(left / wide, s=frame.note, fontsize=9.5, **place)
        given = "mass" in (frame.labels or {})
        text = frame.text("mass") if given else "Mass [GeV]"
        figure.text(1 - 0.1 / wide, 0.1 / high, text, fontsize=10.5, ha="right")


_LINE, _BOTTOM, _SMALL = 0.36, 0.25, 8.0
# The width of the legend with the space beside it, in inches.
_LEGEND = 1.7


def _top(frame: Frame, width: float) -> float:
    """Return the height above the regions: one line, or two with the legend below."""
    headline = 1.15 * text_width([frame.title or ""], 10.5)
    headline += text_width([frame.note or ""], 9.5) + 0.15
    return _LINE if headline + _LEGEND < width else _LINE + 0.22


def _region(given: Any) -> _Region:
    names = _Region._fields
    if isinstance(given, Mapping):
        missing = [name for name in names if name not in given]
        if missing:
            raise ArgumentValueError(f"fits: a region has no {', '.join(missing)}.")
        arrays = [given[name] for name in names]
    elif all(hasattr(given, name) for name in names):
        arrays = [getattr(given, name) for name in names]
    else:
        raise unknown_record(given, "sas_regions", "fits of regions, or mappings")
    edges = rising_edges(arrays[1])
    if not np.isfinite(edges).all():
        raise ShapeMismatchError("edges: bins of masses need finite edges.")
    size = edges.size - 1
    data, expected = (
        vector(arrays[2], "data", size),
        vector(arrays[3], "expected", size),
    )
    return _Region(tuple(int(i) for i in arrays[0]), edges, data, expected)


def _title(
    region: _Region, categories: Mapping[str, Sequence[float]] | None, frame: Frame
) -> list[str]:
    """Return the lines of the title of a region."""
    if categories is None:
        word = "Category" if len(region.categories) == 1 else "Categories"
        return [f"{word} {', '.join(map(str, region.categories))}"]
    edges = [np.asarray(one, float) for one in categories.values()]
    shape = tuple(one.size - 1 for one in edges)
    lines = []
    for number in dict.fromkeys(region.categories):
        places = np.unravel_index(number, shape)
        lines.append(
            ", ".join(
                interval(one[i], one[i + 1], frame.text(name))
                for name, one, i in zip(categories, edges, places, strict=True)
            )
        )
    if len(lines) < len(region.categories):
        lines[0] = f"both {lines[0]}"
    return lines


def _draw_region(axes: Axes, region: _Region, *, log: bool) -> None:
    width = np.diff(region.edges)
    middle = (region.edges[1:] + region.edges[:-1]) / 2
    look: dict[str, Any] = {"color": RED, "lw": 1.2, "baseline": None, "zorder": 2}
    axes.stairs(region.expected / width, region.edges, label="Fit", **look)
    axes.errorbar(
        middle,
        region.data / width,
        np.sqrt(region.data) / width,
        label="Data",
        **_POINTS,
    )
    high = float(np.max(region.densities)) or 1.0
    axes.set_xlim(region.edges[0], region.edges[-1])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    if log:
        heights = region.expected[region.expected > 0] / width[region.expected > 0]
        low = 0.5 * float(np.min(heights, initial=high))
        axes.set_yscale("log")
        axes.set_ylim(low, high * (high / low) ** 0.35)
    else:
        axes.set_ylim(0, 1.3 * high)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, prune="lower"))
    axes.tick_params(labelbottom=False, labelsize=8)
    text = rf"$\chi^2$ = {region.chi2:.1f}, {region.data.size} bins"
    axes.text(0.04, 0.95, text, transform=axes.transAxes, va="top", fontsize=7.5)


_POINTS: dict[str, Any] = {"fmt": "o", "color": "black", "ms": 2.4, "lw": 0.9}


def _draw_pulls(axes: Axes, region: _Region) -> None:
    pulls = region.pulls
    middle = (region.edges[1:] + region.edges[:-1]) / 2
    reach = max(2.5, 1.15 * float(np.nanmax(np.abs(pulls), initial=0.0)))
    axes.axhspan(-1, 1, color="0.9", lw=0, zorder=0)
    axes.axhline(0.0, color=RED, lw=1.0, zorder=1)
    axes.errorbar(middle, pulls, 1.0, **_POINTS)
    axes.set_ylim(-reach - 0.5, reach + 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True, prune="upper"))
    axes.tick_params(labelsize=8)


__all__ = ["sas_regions"]
