"""How a fit came to its minimum."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from everwillow.callback import HistoryCallback
from everwillow.plotting._arguments import (
    not_both,
    required,
    unknown_record,
    vector,
)
from everwillow.plotting.style import (
    PALETTE,
    Style,
    headline,
    new_figure,
    styled,
    xlabel,
    ylabel,
)


def convergence(
    history: Any = None,
    /,
    *,
    steps: Any = None,
    nlls: Any = None,
    best: float | None = None,
    title: str | None = None,
    note: str | None = None,
    size: tuple[float, float] | None = None,
    style: Style = None,
) -> Figure:
    r"""Draw how far -ln L was above its minimum after each step.

    Args:
        history: A `HistoryCallback` that has seen a fit, or several by name. Or arrays:
        steps: Numbers of the steps, counted from 0 if None.
        nlls: -ln L after each of them.
        best: What to subtract; by default the lowest value of all, whose own points
            then lie on the lower edge.
        title: Written in bold on the left above the frame.
        note: Written on the right above the frame.
        size: Width and height in inches.
        style: rc parameters of matplotlib over ours, or the name of an mplhep style.

    Raises:
        ArgumentValueError: If a record comes with arrays, or nothing is given.
        ArgumentTypeError: If it is another record.

    Example:
        >>> figure = convergence(nlls=[12.0, 3.5, 1.2, 1.0, 1.0])
        >>> figure.axes[0].get_yscale()
        'log'
    """
    not_both(history, {"steps": steps, "nlls": nlls}, "convergence")
    if history is None:
        required(("nlls",), (nlls,), "convergence")
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
    # What rounding leaves of a difference of numbers of this size.
    floor = max(float(np.max(np.abs(every), initial=1.0)) * 1e-15, 1e-16)
    smallest = np.min(rises[rises > floor], initial=1.0)
    bottom = 10 ** (np.floor(np.log10(smallest)) - 1)
    with styled(style):
        figure = new_figure(size, (4.8, 3.4))
        axes = figure.subplots()
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
        headline(axes, title, note)
    return figure


def _steps_of(history: Any) -> tuple[Any, Any]:
    if not isinstance(history, HistoryCallback):
        raise unknown_record(history, "convergence", "a HistoryCallback")
    return history.steps, history.nlls
