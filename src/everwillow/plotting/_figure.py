"""Figures that are drawn and saved with the settings with which they were made."""

import functools as ft
import io
from collections.abc import Callable, Mapping
from typing import Any, final

import matplotlib as mpl
from matplotlib.figure import Figure


# Pixels of a notebook for one inch of a figure.
_PIXELS = 96


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

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return the picture for a notebook, sharp on screens of many pixels."""
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=2 * _PIXELS)
        width, height = (round(_PIXELS * size) for size in self.get_size_inches())
        return picture.getvalue(), {"width": width, "height": height}
