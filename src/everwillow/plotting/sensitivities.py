"""Several profiles of the likelihood of one parameter in one plot."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from everwillow._errors import ArgumentValueError, unknown_key
from everwillow.fitting.options import takes_options
from everwillow.plotting import _records
from everwillow.plotting._arguments import vector
from everwillow.plotting._text import legend_columns, with_errors
from everwillow.plotting.curves import Curve, draw_curve, draw_level, make_curve
from everwillow.plotting.style import PALETTE, Frame, PlotOptions, xlabel, ylabel


# Blue, red, violet, orange, brown: distinct as thin lines.
_COLOURS = tuple(PALETTE[i] for i in (0, 2, 4, 1, 5))
_DASHES = (0, (4, 1.8))


@takes_options(PlotOptions)
def sensitivity(
    curves: Mapping[Any, Any],
    *,
    stat_only: Mapping[Any, Any] | None = None,
    name: Any = None,
    levels: Sequence[float] = (1, 4),
    **options: Unpack[PlotOptions],
) -> Figure:
    r"""Compare profile likelihood scans of one parameter, such as of several analyses.

    The vertical axis is :math:`-2 \Delta \ln L`. The legend has the interval of each
    curve, whose ends are its first crossings of the lowest level. Where a fit failed,
    a curve has a gap.

    Args:
        curves: The scans by the name of the analysis: records of `everwillow.profile`,
            pairs ``(values, twice_delta_nll)``, or triples with the best value at the
            end. In pairs, the best value is the minimum of a parabola through the
            lowest points.
        stat_only: The same scans with the systematic parameters held, drawn dashed in
            the colour of the analysis; not all need one.
        name: The name of the parameter; by default that of the records.
        levels: Heights of the horizontal lines, squares of numbers of standard
            deviations.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If there is no curve, more than there are colours (5), or a
            level is not positive.
        UnknownKeyError: If `stat_only` has the name of no curve.
        ArgumentTypeError: If a curve is neither a record nor arrays.

    Example:
        >>> mu = np.linspace(0, 2, 21)
        >>> figure = sensitivity(
        ...     {
        ...         "Histogram": (mu, (mu - 1) ** 2 / 0.09),
        ...         "NSBI": (mu, (mu - 1) ** 2 / 0.04),
        ...     },
        ...     name="mu",
        ... )
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['Histogram: $1.00 \\pm 0.30$', 'NSBI: $1.00 \\pm 0.20$']
    """
    heights = np.sort(vector(levels, "levels"))
    if not heights.size or not np.all(heights > 0):
        raise ArgumentValueError("levels: expected positive heights.")
    if not 0 < len(curves) <= len(_COLOURS):
        raise ArgumentValueError(
            f"curves: expected 1 to {len(_COLOURS)} curves, got {len(curves)}. Draw "
            "several plots."
        )
    for key in stat_only or {}:
        if key not in curves:
            raise unknown_key(key, curves, where="stat_only", kind="curve")
    frame = Frame(**options)
    lines: list[_Line] = []
    for colour, (key, curve) in zip(_COLOURS, curves.items(), strict=False):
        text = frame.text(key)
        line, known = _line_of(curve, f"curves[{key!r}]", colour, text)
        name = known if name is None else name
        lines.append(line)
        if stat_only and key in stat_only:
            where, text = f"stat_only[{key!r}]", f"{text}, stat. only"
            lines.append(_line_of(stat_only[key], where, colour, text, _DASHES)[0])
    with frame.styled():
        texts = [line.with_interval(heights[0]) for line in lines]
        wide = frame.size[0] if frame.size else 4.8
        columns = min(legend_columns(texts, 9.0, wide), 2)
        rows = -(-len(texts) // columns)
        figure = frame.figure((4.8, 3.7 + 0.19 * rows))
        axes = figure.subplots()
        _set_ranges(axes, [line.curve for line in lines], heights)
        for height in heights:
            draw_level(axes, float(height))
        for line, text in zip(lines, texts, strict=True):
            draw_curve(
                axes, line.curve, color=line.colour, ls=line.dashes, lw=1.6, label=text
            )
        xlabel(axes, "parameter" if name is None else frame.text(name))
        ylabel(axes, r"$-2\, \Delta\ln L$")
        figure.legend(loc="outside lower center", ncols=columns, handlelength=2.0)
        frame.headline(axes)
    return figure


class _Line(NamedTuple):
    """A curve with its appearance.

    Attributes:
        curve: The curve.
        colour: The colour of the line.
        dashes: Its dashes.
        text: Its name.
        why: Reasons why there is no end of the interval below and above.
    """

    curve: Curve
    colour: str
    dashes: Any
    text: str
    why: tuple[str, str]

    def with_interval(self, height: float) -> str:
        """Return the name with the interval between crossings of a height."""
        best = self.curve.best
        low, high = self.curve.crossings(height)
        if not np.isfinite([best - low, high - best]).any():
            return self.text
        return f"{self.text}: {with_errors(best, best - low, high - best, self.why)}"


def _line_of(
    curve: Any, name: str, colour: str, text: str, dashes: Any = "-"
) -> tuple[_Line, Any]:
    """Return a line, and the name of the parameter if it is known."""
    if isinstance(curve, tuple | list) and len(curve) in (2, 3):
        values, heights, *best = curve
        found = make_curve(values, heights, best[0] if best else None, None, name)
        if not best:
            found = found._replace(best=_minimum(found))
        return _Line(found, colour, dashes, text, ("", "")), None
    record: Any = curve
    values, heights, best, success, known = _records.scan_of(record)
    found = make_curve(values, heights, best, success, name)
    return _Line(found, colour, dashes, text, _records.ends_of_range(record)), known


def _minimum(curve: Curve) -> float:
    """Return where a parabola through the lowest point and its neighbours is lowest."""
    x, y = curve.values[curve.good], curve.heights[curve.good]
    if not x.size:
        return np.nan
    i = int(np.argmin(y))
    if not 0 < i < x.size - 1:
        return float(x[i])
    (left, right), rises = x[[i - 1, i + 1]] - x[i], y[[i - 1, i + 1]] - y[i]
    # The rises are a d + b d**2 at the distances d of both neighbours.
    slopes = rises / (left, right)
    bend = (slopes[1] - slopes[0]) / (right - left)
    if not bend > 0:
        return float(x[i])
    slope = slopes[0] - bend * left
    return float(np.clip(x[i] - slope / (2 * bend), x[i - 1], x[i + 1]))


def _set_ranges(axes: Axes, curves: Sequence[Curve], heights: np.ndarray) -> None:
    """Show the curves up to somewhat above the highest level."""
    top = 2.2 * float(heights[-1])
    low = min(c.values[0] for c in curves if c.values.size)
    high = max(c.values[-1] for c in curves if c.values.size)
    x = np.linspace(low, high, 2001)
    inside = x[np.any([c.at(x) <= top for c in curves], axis=0)]
    if inside.size:
        low, high = inside[0], inside[-1]
    axes.set(xlim=(low, high) if high > low else (low - 0.5, low + 0.5), ylim=(0, top))
