"""Pulls and constraints of nuisance parameters."""

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from everwillow.fitting.options import takes_options
from everwillow.plotting import _records
from everwillow.plotting._arguments import check_source, sides, texts, vector
from everwillow.plotting._rows import Rows, absent, columns_for, name_rows, rows_for
from everwillow.plotting._text import text_width
from everwillow.plotting.style import ONE_SIGMA, TWO_SIGMA, Frame, PlotOptions


@takes_options(PlotOptions)
def pulls(
    result: Any = None,
    /,
    *,
    names: Sequence[Any] | None = None,
    values: Any = None,
    errors: Any = None,
    **options: Unpack[PlotOptions],
) -> Figure:
    r"""Draw pulls and constraints of nuisance parameters.

    A point is :math:`(\hat\theta - \theta_0) / \Delta\theta` and its bar the post-fit
    error in units of the pre-fit width :math:`\Delta\theta`, so a bar shorter than the
    inner band means that the data constrain the parameter. The bands are one and two
    pre-fit widths.

    Args:
        result: A `FitResult` of a model with constraints, or a ranking. Or arrays:
        names: The names of the parameters.
        values: Pulls, shape ``(n,)``; NaN is shown as "no value".
        errors: Post-fit over pre-fit errors, shape ``(n,)``, or ``(2, n)`` with the
            sizes down and up.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If both a record and arrays are given, or if a record has no
            constraints.
        ArgumentTypeError: If the record is of another type.

    Example:
        >>> figure = pulls(names=["JES", "lumi"], values=[0.3, -1.2], errors=[0.6, 1.0])
        >>> figure.axes[0].get_xlabel()
        '$(\\hat{\\theta} - \\theta_0)\\, /\\, \\Delta\\theta$'
    """
    check_source("pulls", result, names=names, values=values, errors=errors)
    if result is not None:
        names, values, errors = _records.pulls_of(result)
    known = texts(names, "names")
    middle = vector(values, "values", len(known))
    spread = sides(errors, "errors", len(known))
    frame = Frame(**options)
    with frame.styled():
        shown = [frame.text(name) for name in known]
        columns = columns_for(len(known))
        rows = rows_for(columns[0].stop if columns else 0)
        width = 2.6 + text_width(shown, rows.font)
        height = 0.85 + rows.height * max(rows.number, 1) + 0.25 * frame.has_headline
        height += 0.2 * bool(frame.title and frame.note and len(columns) == 1)
        figure = frame.figure((width * len(columns), height))
        figure.set_layout_engine("constrained", wspace=0.06)
        panels = figure.subplots(1, len(columns), squeeze=False)[0]
        limit = _pull_limit(middle, spread)
        for axes, part in zip(panels, columns, strict=True):
            own_rows = rows._replace(number=part.stop - part.start)
            draw_pulls(axes, own_rows, middle[part], spread[:, part], limit)
            name_rows(axes, own_rows, shown[part], rows.number)
        frame.headline(panels[0], panels[-1])
    return figure


def _pull_limit(values: np.ndarray, spread: np.ndarray) -> float:
    reach = np.abs(values) + np.nan_to_num(np.max(spread, axis=0, initial=0.0))
    # A parameter far away gets an arrow, so that it does not squeeze all others.
    reach = reach[np.isfinite(values) & (reach < _FAR)]
    return max(2.5, 1.06 * float(np.max(reach, initial=0.0)))


_FAR = 4.5


def draw_pulls(
    axes: Axes,
    rows: Rows,
    values: np.ndarray,
    spread: np.ndarray,
    limit: float | None = None,
    instead: Sequence[str] | None = None,
) -> None:
    """Draw points with errors on their bands.

    Args:
        axes: The axes to draw on.
        rows: The sizes of the rows.
        values: The pulls.
        spread: The errors down and up, shape ``(2, n)``.
        limit: The end of the axis; None to determine it from these pulls.
        instead: The text in rows without a pull.
    """
    limit = _pull_limit(values, spread) if limit is None else limit
    axes.axvspan(-2, 2, color=TWO_SIGMA, lw=0, zorder=-2)
    axes.axvspan(-1, 1, color=ONE_SIGMA, lw=0, zorder=-1)
    axes.axvline(0, color="black", lw=0.7, ls=(0, (4, 3)), zorder=1)
    y = rows.positions
    known = np.isfinite(spread).all(axis=0)
    axes.errorbar(
        values[known],
        y[known],
        xerr=spread[:, known],
        fmt="o",
        color="black",
        ms=rows.marker,
        lw=1.1 if rows.number <= 60 else 0.8,
        zorder=3,
    )
    # Hollow points have no error; a missing one would look like a small one.
    axes.plot(values[~known], y[~known], "o", c="black", mfc="white", ms=rows.marker)
    for i in np.flatnonzero(np.abs(values) > limit):
        side = float(np.sign(values[i]))
        axes.annotate(
            f"{values[i]:+.1f}".replace("-", "−"),
            (side * limit, y[i]),
            (side * (limit - 0.7), y[i]),
            arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 1.0, "shrinkB": 0},
            ha="right" if side > 0 else "left",
            va="center",
            fontsize=0.9 * rows.font,
        )
    absent(axes, rows, ~np.isfinite(values), instead=instead)
    axes.set_xlim(-limit, limit)
    axes.set_xlabel(r"$(\hat{\theta} - \theta_0)\, /\, \Delta\theta$")
