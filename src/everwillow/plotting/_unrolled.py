"""Histograms of any number of axes along one axis of a plot."""

import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from everwillow._errors import ArgumentValueError, ShapeMismatchError
from everwillow.likelihood.histograms import Axis
from everwillow.plotting._arguments import numbers
from everwillow.plotting._text import Labels, text_of, text_width
from everwillow.plotting.style import xlabel


# Size of the names of bins and blocks, in points.
FONT = 9.0


class Unrolled(NamedTuple):
    """Bins of several axes side by side: blocks of the longest axis.

    Attributes:
        edges: The edges of the bins in the plot.
        name: The name of the horizontal axis.
        shape: The shape of the drawn arrays.
        order: The axes of the arrays, the inner one last.
        blocks: The name of each block; one without a name if there is one axis.
        size: Number of bins in a block.
        categories: Names of the bins, if they have no edges.
        outer: The name of the axes whose bins are the blocks.
        titles: Titles in place of names of axes.
        flow: Whether the first and the last bin of the inner axis are infinite.
    """

    edges: np.ndarray
    name: str
    shape: tuple[int, ...]
    order: tuple[int, ...]
    blocks: tuple[str, ...]
    size: int
    categories: tuple[str, ...] | None
    outer: str
    titles: Mapping[str, str] = MappingProxyType({})
    flow: tuple[bool, bool] = (False, False)

    def flat(self, values: Any, name: str) -> np.ndarray:
        """Return an array in the order of the bins of the plot.

        Args:
            values: An array of the shape of the axes, or a vector of bins in C order.
            name: The name of the argument in error messages.
        """
        array = numbers(values, name)
        size = math.prod(self.shape)
        if array.shape not in (self.shape, (size,)):
            raise ShapeMismatchError(
                f"{name}: expected the shape {self.shape}, got {array.shape}."
            )
        return np.transpose(array.reshape(self.shape), self.order).ravel()

    @property
    def bins(self) -> int:
        """Number of bins."""
        return self.edges.size - 1

    def unit(self, *, per_width: bool | None, counts: bool) -> tuple[np.ndarray, bool]:
        """Return the divisors of the bins, and whether these are widths.

        Args:
            per_width: Whether to divide by widths; None to divide counts in bins of
                unequal widths.
            counts: Whether the values are numbers of events.

        Raises:
            ArgumentValueError: If `per_width` is True for bins without widths.
        """
        has = len(self.blocks) == 1 and self.categories is None and bool(self.shape)
        if per_width and not has:
            raise ArgumentValueError(
                "per_width: only bins of a single axis with edges have widths."
            )
        steps = np.diff(self.edges)
        if per_width is None:
            per_width = has and counts and not np.allclose(steps, steps[0], rtol=1e-6)
        return steps if per_width else np.ones_like(steps), per_width

    def density(self, quantity: str, labels: Labels, *, per_width: bool) -> str:
        """Return the title of a quantity, which may be divided by widths."""
        if not per_width:
            return quantity
        name = text_of(self.name, {**self.titles, **(labels or {})})
        unit = re.search(r"[\[(]([^\[\]()]+)[\])]\s*$", name)
        return f"{quantity} / {unit[1] if unit else 'unit'}"

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts below the axis: names of blocks or of categories, if any."""
        return self.blocks if len(self.blocks) > 1 else self.categories or ()

    def height(self, width: float, labels: Labels = None) -> float:
        """Return the height of the names below a panel of some width, in inches."""
        texts = [text_of(name, labels) for name in self.texts]
        if not _is_upright(texts, width):
            return 0.0
        return text_width(texts, FONT)

    def finish(
        self,
        panels: Sequence[Axes],
        width: float,
        labels: Labels = None,
        *,
        touching: bool = True,
    ) -> None:
        """Name the bins or blocks below the lowest panel, and separate blocks.

        Args:
            panels: The panels from top to bottom, all with these bins.
            width: The width of a panel, in inches.
            labels: Labels in place of names.
            touching: Whether there is no space between panels.
        """
        below, several = panels[-1], len(self.blocks) > 1
        starts = self.edges[:: self.size]
        for axes in panels if several else ():
            for edge in starts[1:-1]:
                axes.axvline(edge, color="0.55", lw=0.7, ls=(0, (4, 3)), zorder=0.5)
        if self.texts:
            texts = [text_of(name, labels) for name in self.texts]
            borders = starts if several else self.edges
            _name_ticks(panels, (borders[1:] + borders[:-1]) / 2, texts, width)
        known = {**self.titles, **(labels or {})}
        name = text_of(self.name, known) if self.name else ""
        if several:
            name = f"Bins of {name}{self._mark(panels)}, "
            name += f"in {text_of(self.outer, known)}"
        else:
            name += self._mark(panels)
        xlabel(below, name)
        for axes in panels[:-1] if touching else ():
            _lift_zero(axes)

    def _mark(self, panels: Sequence[Axes]) -> str:
        """Shade infinite bins, and return a remark on them."""
        first, last = self.flow
        numbers = [0] * first + [self.size - 1] * last
        for start in range(0, self.bins, self.size):
            for number in numbers:
                low, high = self.edges[start + number : start + number + 2]
                for axes in panels:
                    axes.axvspan(low, high, color="0.5", alpha=0.13, lw=0, zorder=2.5)
        if numbers and len(self.blocks) == 1:
            # Number the finite part of the axis only.
            low, high = self.edges[int(first)], self.edges[self.bins - last]
            below = panels[-1]
            ticks = [t for t in below.get_xticks() if low <= t <= high]
            texts = [f"{t:g}".replace("-", "−") for t in ticks]
            ends = [(self.edges[0], "−∞")] * first + [(self.edges[-1], "∞")] * last
            below.set_xticks(
                [*ticks, *(e for e, _ in ends)], [*texts, *(t for _, t in ends)]
            )
            for axes in panels:
                axes.xaxis.set_minor_locator(NullLocator())
        return _FLOW[self.flow]


_FLOW = {
    (False, False): "",
    (True, False): " (first bin: underflow)",
    (False, True): " (last bin: overflow)",
    (True, True): " (first and last bin: underflow, overflow)",
}


def unrolled(axes: Sequence[Axis]) -> Unrolled:
    """Return the arrangement of the bins of some axes side by side."""
    axes = tuple(axes)
    shape = tuple(axis.size for axis in axes)
    if not axes:
        return Unrolled(np.arange(2.0), "", (), (), ("",), 1, ("all",), "")
    inner = max(range(len(axes)), key=lambda i: (shape[i], i))
    others = tuple(i for i in range(len(axes)) if i != inner)
    axis = axes[inner]
    order = (*others, inner)
    titles = {one.name: one.title for one in axes if one.title}
    ends = axis.edges or (0.0,)
    flow = bool(np.isinf(ends[0])), bool(np.isinf(ends[-1]))
    if not others:
        if axis.edges is None:
            names = tuple(map(str, axis.labels or ()))
            edges = np.arange(axis.size + 1.0)
            return Unrolled(
                edges, axis.name, shape, order, ("",), axis.size, names, "", titles
            )
        edges = finite_edges(np.array(axis.edges))
        return Unrolled(
            edges, axis.name, shape, order, ("",), axis.size, None, "", titles, flow
        )
    names = [_bin_names(axes[i]) for i in others]
    blocks = tuple(
        ", ".join(part[k] for part, k in zip(names, at, strict=True))
        for at in np.ndindex(tuple(shape[i] for i in others))
    )
    edges = np.arange(math.prod(shape) + 1.0)
    outer = ", ".join(axes[i].name for i in others)
    titles = {outer: ", ".join(axes[i].title or axes[i].name for i in others), **titles}
    return Unrolled(
        edges, axis.name, shape, order, blocks, axis.size, None, outer, titles, flow
    )


def finite_edges(edges: np.ndarray, *, log: bool = False) -> np.ndarray:
    """Return edges in which infinite bins are as wide as their neighbours.

    Args:
        edges: Rising edges, of which the first and the last may be infinite.
        log: Whether the axis is logarithmic: then their ratios are equal.

    Example:
        >>> finite_edges(np.array([-np.inf, 0.0, 2.0, np.inf]))
        array([-2.,  0.,  2.,  4.])
        >>> finite_edges(np.array([20.0, 50.0, np.inf]), log=True)
        array([ 20.,  50., 125.])
    """
    out = np.array(edges, float)
    if not np.isfinite(out).any():
        return np.array([0.5, 1.5])
    if log:
        with np.errstate(divide="ignore"):
            out = np.log(np.maximum(out, 0.0))
    if np.isinf(out[-1]):
        step = out[-2] - out[-3] if out.size > 2 and np.isfinite(out[-3]) else 1.0
        out[-1] = out[-2] + step
    if np.isinf(out[0]):
        step = out[2] - out[1] if out.size > 2 else 1.0
        out[0] = out[1] - step
    return np.exp(out) if log else out


def _bin_names(axis: Axis) -> list[str]:
    if axis.edges is None:
        return [str(label) for label in axis.labels or ()]
    pairs = zip(axis.edges[:-1], axis.edges[1:], strict=True)
    return [f"{_end(low)} to {_end(high)}" for low, high in pairs]


def _end(value: float) -> str:
    text = f"{value:.4g}".replace("-", "−")
    return text.replace("inf", "∞")


def _is_upright(texts: Sequence[str], width: float) -> bool:
    """Return whether names are written upright, as they would touch side by side."""
    return bool(texts) and text_width(texts, FONT) + 0.08 > width / len(texts)


def _name_ticks(
    panels: Sequence[Axes], places: np.ndarray, texts: list[str], width: float
) -> None:
    """Write names in the middle of bins or blocks, so that they do not touch."""
    size, upright = FONT, _is_upright(texts, width)
    if upright:
        # A line of upright text is as wide as the height of its font.
        room = width / len(texts)
        size = min(size, max(5.0, 72 * 0.8 * room))
        step = max(1, math.ceil(1.15 * size / 72 / room))
        places, texts = places[::step], texts[::step]
    panels[-1].set_xticks(places, texts, rotation=90 if upright else 0, fontsize=size)
    for axes in panels:
        axes.tick_params(axis="x", which="both", length=0)
        axes.xaxis.set_minor_locator(NullLocator())


def _lift_zero(axes: Axes) -> None:
    """Keep the lowest number of a panel out of the one below it."""
    low, high = axes.get_ylim()
    if low != 0 or axes.get_yscale() != "linear":
        return
    axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= high])
    axes.get_yticklabels()[0].set_verticalalignment("bottom")
