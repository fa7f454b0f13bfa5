"""Plots of the convergence of fits."""

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
from matplotlib.figure import Figure

from everwillow.callback import HistoryCallback
from everwillow.fitting.options import takes_options
from everwillow.plotting._arguments import check_source, unknown_record, vector
from everwillow.plotting.style import PALETTE, FigureOptions, Frame, xlabel, ylabel


@takes_options(FigureOptions)
def convergence(
    history: Any = None,
    /,
    *,
    steps: Any = None,
    nlls: Any = None,
    best: float | None = None,
    **options: Unpack[FigureOptions],
) -> Figure:
    r"""Draw the difference of -ln L to its minimum after each step.

    Args:
        history: A `HistoryCallback` of a fit, or several by name. Or arrays:
        steps: The numbers of the steps, counted from 0 if None.
        nlls: -ln L after each step.
        best: The value to subtract; by default the lowest value of all, whose points
            are then on the lower edge.
        **options: `FigureOptions`: `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If both a record and arrays are given, or neither.
        ArgumentTypeError: If the record is of another type.

    Example:
        >>> figure = convergence(nlls=[12.0, 3.5, 1.2, 1.0, 1.0])
        >>> figure.axes[0].get_yscale()
        'log'
    """
    check_source("convergence", history, ("steps",), steps=steps, nlls=nlls)
    if history is None:
        y = vector(nlls, "nlls")
        known = {"": (np.arange(y.size) if steps is None else steps, y)}
    else:
        several = history if isinstance(history, Mapping) else {"": history}
        known = {str(name): _steps_of(one) for name, one in several.items()}
    curves = {
        name: (vector(x, "steps", len(y)), vector(y, "nlls"))
        for name, (x, y) in known.items()
    }
    every = np.concatenate([y for _, y in curves.values()] or [np.zeros(0)])
    every = every[np.isfinite(every)]
    lowest = np.min(every, initial=np.inf) if best is None else best
    rises = every - lowest
    # The rounding error of a difference of numbers of this size.
    floor = max(float(np.max(np.abs(every), initial=1.0)) * 1e-15, 1e-16)
    smallest = np.min(rises[rises > floor], initial=1.0)
    bottom = 10 ** (np.floor(np.log10(smallest)) - 1)
    with Frame(**options).panel((4.8, 3.4)) as (figure, axes):
        axes.set_yscale("log")
        for i, (name, (x, y)) in enumerate(curves.items()):
            height = np.where(np.isfinite(y), np.maximum(y - lowest, bottom), np.nan)
            colour = PALETTE[i % len(PALETTE)] if len(curves) > 1 else "black"
            axes.plot(
                x,
                height,
                color=colour,
                marker="osD^v"[i % 5] if x.size <= 60 else "",
                ms=3.5,
                label=name,
                clip_on=False,
                zorder=3,
            )
        top = np.max(rises, initial=1.0)
        axes.set_ylim(bottom, top * (top / bottom) ** 0.06)
        axes.margins(x=0.03)
        axes.xaxis.get_major_locator().set_params(integer=True)
        xlabel(axes, "Step")
        ylabel(axes, r"$-\ln L - \min$")
        if any(curves):
            axes.legend(loc="upper right")
    return figure


def _steps_of(history: Any) -> tuple[Any, Any]:
    if not isinstance(history, HistoryCallback):
        raise unknown_record(history, "convergence", "a HistoryCallback")
    return history.steps, history.nlls
