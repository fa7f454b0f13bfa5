"""Plots for the strength of a regularisation."""

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from everwillow.fitting.options import takes_options
from everwillow.plotting._arguments import check_source, unknown_record, vector
from everwillow.plotting.style import (
    BLUE,
    FAINT,
    RED,
    FigureOptions,
    Frame,
    log_ticks,
    xlabel,
    ylabel,
)


# The least distance of written strengths in points: the size of a number.
_ROOM = (26.0, 11.0)


@takes_options(FigureOptions)
def l_curve(
    result: Any = None,
    /,
    *,
    misfit: Any = None,
    penalty: Any = None,
    strengths: Any = None,
    corner: float | None = None,
    **options: Unpack[FigureOptions],
) -> Figure:
    r"""Draw the L-curve of a regularisation.

    Args:
        result: The result of `everwillow.workflows.templates.l_curve`. Or arrays:
        misfit: -ln L without the penalty, less its saturated value, shape ``(m,)``; NaN
            if a fit failed.
        penalty: The sum of squared curvatures, shape ``(m,)``.
        strengths: τ of each point, shape ``(m,)``, written beside points with room.
        corner: The strength to mark; NaN for none.
        **options: `FigureOptions`: `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If both a record and arrays are given, or an array is
            missing.
        ArgumentTypeError: If the record is of another type.

    Example:
        >>> figure = l_curve(
        ...     misfit=[1.0, 1.1, 1.5], penalty=[9.0, 2.0, 1.8], strengths=[-1, 0, 1]
        ... )
        >>> figure.axes[0].get_xscale()
        'log'
    """
    arrays = {"misfit": misfit, "penalty": penalty, "strengths": strengths}
    check_source("l_curve", result, **arrays)
    if result is not None:
        if not all(hasattr(result, name) for name in (*arrays, "corner")):
            raise unknown_record(result, "l_curve", "an LCurve")
        misfit, penalty, strengths = result.misfit, result.penalty, result.strengths
        corner = result.corner if corner is None else corner
    x = vector(misfit, "misfit")
    y = vector(penalty, "penalty", x.size)
    tau = vector(strengths, "strengths", x.size)
    order = np.argsort(tau, kind="stable")
    x, y, tau = x[order], y[order], tau[order]
    good = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)
    x, y = np.where(good, x, np.nan), np.where(good, y, np.nan)
    with Frame(**options).panel((4.8, 3.8)) as (figure, axes):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.plot(x, y, color=BLUE, marker="o", ms=3.5)
        places = np.flatnonzero(good).tolist()
        if corner is not None and np.isfinite(corner) and places:
            i = int(np.argmin(np.where(good, np.abs(tau - corner), np.inf)))
            # The corner and the ends are written first, as later ones may lack room.
            places = [i, places[0], places[-1], *places]
            axes.plot(
                [x[i]],
                [y[i]],
                color=RED,
                marker="o",
                ms=8,
                mfc="none",
                mew=1.4,
                ls="",
                label=rf"corner, $\tau = {tau[i]:.3g}$",
            )
            axes.legend(loc="upper right")
        axes.margins(0.08)
        xlabel(axes, r"$-\ln L$ above saturated")
        ylabel(axes, "Sum of squared curvatures")
        log_ticks(axes.xaxis)
        log_ticks(axes.yaxis)
        _write_strengths(axes, x, y, tau, places)
    return figure


def _write_strengths(
    axes: Axes, x: np.ndarray, y: np.ndarray, tau: np.ndarray, places: Sequence[int]
) -> None:
    """Write strengths beside their points in this order, if there is room."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    # The layout takes about a seventh of the figure for numbers and names.
    inches = 0.85 * figure.get_size_inches()
    reach = np.diff(np.log([axes.get_xlim(), axes.get_ylim()]))[:, 0]
    scale = 72 * inches / reach
    written: list[np.ndarray] = []
    for i in places:
        here = np.log([x[i], y[i]]) * scale
        if any((np.abs(here - other) < _ROOM).all() for other in written):
            continue
        written.append(here)
        axes.annotate(
            f"{tau[i]:.3g}",
            (x[i], y[i]),
            xytext=(5, 4),
            textcoords="offset points",
            color=FAINT,
            fontsize=8,
        )
