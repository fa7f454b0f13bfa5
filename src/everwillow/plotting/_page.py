"""Texts of a finished drawing that are longer than its page: they are made to fit."""

import itertools
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from everwillow.plotting._text import wrapped


# The smallest size of a font, and the least distance of two numbers, in points.
SMALLEST = 6.5
_APART = 3.0
_ROUNDS = 8


def fit_to_page(figure: Figure) -> None:
    """Make titles of axes smaller, numbers fewer and legends smaller until they fit.

    Args:
        figure: A drawing with all its texts but those above the frame.
    """
    for _ in range(_ROUNDS):
        figure.draw_without_rendering()
        changed = [
            change(figure, axis)
            for axes in figure.axes
            if axes.get_visible()
            for axis in (axes.xaxis, axes.yaxis)
            for change in (_shrink_title, _thin_out)
        ]
        changed += [_narrow(figure, legend) for legend in _legends(figure)]
        if not any(changed):
            return


def _inches(figure: Figure, artist: Any, side: int) -> tuple[float, float]:
    """Return the ends of an artist along the width (0) or the height (1)."""
    low, high = artist.get_window_extent().get_points()[:, side] / figure.dpi
    return float(low), float(high)


def _shrink_title(figure: Figure, axis: Any) -> bool:
    """Shrink the title of an axis that is longer than its place, or break its line.

    A title of a vertical axis has the height of the axis.
    """
    title, side = axis.label, int(axis.axis_name == "y")
    if not title.get_text():
        return False
    low, high = _inches(figure, title, side)
    begin, end = 0.0, float(figure.get_size_inches()[side])
    if side == 1:
        begin, end = _inches(figure, axis.axes.patch, side)
    room = end - begin
    if side == 0 and title.get_horizontalalignment() == "right":
        room = high - begin
    elif side == 0:
        middle = (low + high) / 2
        room = 2 * min(middle - begin, end - middle)
    if high - low <= room + 0.01:
        return False
    size = title.get_fontsize()
    if size > SMALLEST:
        title.set_fontsize(max(0.99 * size * room / (high - low), SMALLEST))
        return True
    text = title.get_text()
    lines = wrapped(text, 0.97 * room, size)
    title.set_text("\n".join(lines))
    return title.get_text() != text


def _thin_out(figure: Figure, axis: Any) -> bool:
    """Write fewer numbers along an axis on which they touch."""
    side = int(axis.axis_name == "y")
    low, high = sorted(axis.get_view_interval())
    labels = [
        tick.label1
        for tick in axis.get_major_ticks()
        if low <= tick.get_loc() <= high
        and tick.label1.get_visible()
        and tick.label1.get_text()
    ]
    ends = sorted(_inches(figure, label, side) for label in labels)
    apart = _APART / 72 if side == 0 else 0.0
    if not any(a[1] + apart > b[0] for a, b in itertools.pairwise(ends)):
        return False
    locator = axis.get_major_locator()
    if isinstance(locator, MaxNLocator) and len(labels) > 2:
        locator.set_params(nbins=len(labels) - 2)
        return True
    if isinstance(locator, LogLocator) and len(labels) > 2:
        decades = np.log10(high / low)
        locator.set_params(subs=(1.0, 3.0) if len(labels) > 2.5 * decades else (1.0,))
        return True
    return False


def _legends(figure: Figure) -> list[Any]:
    own = [axes.get_legend() for axes in figure.axes]
    return [*figure.legends, *(legend for legend in own if legend is not None)]


def _narrow(figure: Figure, legend: Any) -> bool:
    """Give a legend that is wider than its place a smaller font."""
    low, high = _inches(figure, legend, 0)
    begin, end = 0.0, float(figure.get_figwidth())
    if legend.axes is not None:
        begin, end = _inches(figure, legend.axes.patch, 0)
    if high - low <= end - begin + 0.01:
        return False
    texts = [*legend.get_texts(), legend.get_title()]
    size = min(text.get_fontsize() for text in texts)
    smaller = max(0.97 * size * (end - begin) / (high - low), SMALLEST)
    for text in texts:
        text.set_fontsize(smaller)
    return smaller < size
