"""The options of figures of scale and smearing: defaults, meaning, command line.

`plot_results` takes these fields as keywords, and ``everwillow sas plot`` derives its
options from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from everwillow.workflows.command_options import option


Mode: TypeAlias = Literal["single", "ratio", "compare"]

_AXES, _LOOK = "Axes", "Look"
_PAIR: Any = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class FigureChoice:
    """What the figures of results show, and how.

    Attributes:
        dims: The variables: first the horizontal axis, then that of the series or
            panels, then that of the panels; by default the first of the categories.
            Numbers are averaged over all other variables, with weights 1 / error².
        parameter: The only parameter to draw, such as ``"resp"``; by default `resp` and
            `reso`, and those of the second Gaussian for single results that have one.
        truth: True values as a mapping of arrays, or a `SasParameters`, for single
            results.
        resp: The range of the axis of responses.
        reso: The range of the axis of resolutions.
        x_range: The range of the horizontal axis.
        log_x: Whether the horizontal axis is logarithmic.
        columns: The number of columns of the legend.
        legend_size: The size of its font, in points.
        legend_title_size: The size of the font of its title.
        labels: Labels of variables, parameters and results, with ``$...$`` for
            mathematics; by default those of the configuration in the file.
        title: The title.
        note: A text on the right above the panels.
        size: Width and height in inches. Figures narrower than 5 inches have their
            panels below each other.
        style: As in `everwillow.plotting.PlotOptions`.
    """

    dims: Sequence[str] | None = option(
        None,
        "Variable to draw against (first), for series or panels (second) and for "
        "panels (third); numbers are averaged over all others. By default the first "
        "variables of the categories.",
        "--dims",
        "-d",
        panel=_AXES,
        metavar="NAME",
        repeated=True,
    )
    parameter: str | None = option(
        None,
        "The only parameter to draw: resp, reso, or one of a second Gaussian (reso2, "
        "mu, frac).",
        panel=_AXES,
        metavar="NAME",
    )
    truth: Any = None
    resp: Sequence[float] | None = option(
        None,
        "Range of the axis of responses.",
        panel=_AXES,
        kind=_PAIR,
        metavar="LOW HIGH",
    )
    reso: Sequence[float] | None = option(
        None,
        "Range of the axis of resolutions.",
        panel=_AXES,
        kind=_PAIR,
        metavar="LOW HIGH",
    )
    x_range: Sequence[float] | None = option(
        None,
        "Range of the horizontal axis.",
        "--xrange",
        "-x",
        panel=_AXES,
        kind=_PAIR,
        metavar="LOW HIGH",
    )
    log_x: bool = option(False, "Use a logarithmic horizontal axis.", panel=_AXES)
    columns: int | None = option(
        None, "Number of columns of the legend.", panel=_LOOK, kind=int, minimum=1
    )
    legend_size: float | None = option(
        None, "Font size of the legend, in points.", panel=_LOOK, kind=float
    )
    legend_title_size: float | None = option(
        None, "Font size of the title of the legend.", panel=_LOOK, kind=float
    )
    labels: Mapping[str, str] | None = None
    title: str | None = option(None, "Title of the figures.", panel=_LOOK)
    note: str | None = option(
        None, "Text on the right above the panels.", panel=_LOOK, metavar="TEXT"
    )
    size: tuple[float, float] | None = option(
        None,
        "Width and height of the figures, in inches; below a width of 5 the panels are "
        "below each other.",
        panel=_LOOK,
        kind=_PAIR,
        metavar="WIDTH HEIGHT",
    )
    style: Any = None
