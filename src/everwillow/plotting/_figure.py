"""Figures that are drawn and saved with the settings with which they were made."""

import functools as ft
from collections.abc import Callable, Mapping
from typing import Any, final

import matplotlib as mpl
from matplotlib.figure import Figure


def _with_settings(method: Callable[..., Any]) -> Callable[..., Any]:
    @ft.wraps(method)
    def inside(self: Any, *args: Any, **options: Any) -> Any:
        with mpl.rc_context(self.settings):
            return method(self, *args, **options)

    return inside


@final
class StyledFigure(Figure):
    """A figure that keeps its own rc parameters.

    Matplotlib reads fonts, the resolution of files and the sizes of ticks when a figure
    is drawn or saved, not when it is made.

    Attributes:
        settings: The rc parameters.
    """

    def __init__(self, settings: Mapping[str, Any], **options: Any) -> None:
        """Make a figure.

        Args:
            settings: The rc parameters, for drawing and saving.
            **options: Those of a figure of matplotlib.
        """
        self.settings = dict(settings)
        super().__init__(**options)

    draw = _with_settings(Figure.draw)
    draw_without_rendering = _with_settings(Figure.draw_without_rendering)
    get_tightbbox = _with_settings(Figure.get_tightbbox)
    savefig = _with_settings(Figure.savefig)
