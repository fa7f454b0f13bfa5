"""The style of figures: sizes, fonts and colours, and options of every plot."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypedDict

from everwillow._errors import ArgumentTypeError, ArgumentValueError, missing_package


try:
    import matplotlib as mpl
    from cycler import cycler
    from matplotlib import font_manager
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
except ImportError as error:
    raise missing_package(
        "everwillow.plotting draws with matplotlib", "plot"
    ) from error


from everwillow.plotting._figure import StyledFigure
from everwillow.plotting._page import fit_to_page
from everwillow.plotting._text import Labels, text_of, text_width, wrapped


# Values of `style=`: rc parameters in addition to ours, or the name of an mplhep style.
Style = Mapping[str, Any] | str | None

# Distinct with every common colour blindness, and in grey: Petroff, arXiv:2107.02270.
PALETTE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
BLUE, ORANGE, RED = PALETTE[:3]
DARK = "#1f3b63"
# Green and yellow bands that differ in lightness and not only in hue.
ONE_SIGMA, TWO_SIGMA = "#86bd7d", "#fbe39b"
FAINT = "#8a8a8a"

_SANS = ("TeX Gyre Heros", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")
# The sizes of title and note, in points.
_TITLE, _NOTE = 10.5, 9.5

_RC: dict[str, Any] = {
    "axes.axisbelow": False,
    "axes.labelsize": 11,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.unicode_minus": True,
    "axes.xmargin": 0.0,
    "errorbar.capsize": 0.0,
    "figure.dpi": 120,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "hatch.linewidth": 0.6,
    "legend.borderaxespad": 0.7,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.labelspacing": 0.35,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.0,
    "pdf.fonttype": 42,  # as text, which publishers ask for
    "savefig.bbox": "standard",
    "savefig.dpi": 300,
    "svg.fonttype": "path",
    "text.usetex": False,
    "xtick.direction": "in",
    "xtick.labelsize": 9.5,
    "xtick.major.size": 5.0,
    "xtick.minor.size": 2.5,
    "xtick.minor.visible": True,
    "xtick.top": True,
    "ytick.direction": "in",
    "ytick.labelsize": 9.5,
    "ytick.major.size": 5.0,
    "ytick.minor.size": 2.5,
    "ytick.minor.visible": True,
    "ytick.right": True,
}


class FigureOptions(TypedDict, total=False):
    """Options of every plot.

    Attributes:
        title: Written in bold on the left above the frame.
        note: Written on the right above the frame.
        size: Width and height in inches; by default it depends on the content.
        style: rc parameters of matplotlib in addition to ours, or the name of an mplhep
            style, for its fonts and colours.
    """

    title: str | None
    note: str | None
    size: tuple[float, float] | None
    style: Style


class PlotOptions(FigureOptions, total=False):
    """Options of every plot that writes names.

    Attributes:
        labels: Labels by name, with ``$...$`` for mathematics. The label of ``"gamma"``
            is also used for ``"gamma[3]"``.
        title: As in `FigureOptions`.
        note: As in `FigureOptions`.
        size: As in `FigureOptions`.
        style: As in `FigureOptions`.
    """

    labels: Labels


class Frame(NamedTuple):
    """The options of a plot, with functions that apply them to its figure.

    Attributes:
        title: As in `FigureOptions`.
        note: As in `FigureOptions`.
        size: As in `FigureOptions`.
        style: As in `FigureOptions`.
        labels: As in `PlotOptions`.
    """

    title: str | None = None
    note: str | None = None
    size: tuple[float, float] | None = None
    style: Style = None
    labels: Labels = None

    def text(self, name: Any) -> str:
        """Return the label of a name."""
        return text_of(name, self.labels)

    @property
    def has_headline(self) -> bool:
        """Whether there is a title or a note."""
        return bool(self.title or self.note)

    @contextlib.contextmanager
    def styled(self) -> Iterator[None]:
        """Draw with the settings of this package, and with those of `style`."""
        with mpl.rc_context(self.settings()):
            yield

    def settings(self) -> dict[Any, Any]:
        """Return the rc parameters of this package with those of `style`."""
        style = self.style
        over = _mplhep(style) if isinstance(style, str) else dict(style or {})
        unknown = sorted(set(over) - set(mpl.rcParams))
        if unknown:
            raise ArgumentValueError(
                f"style: matplotlib has no rc parameter {', '.join(unknown)}."
            )
        families = _installed()
        # Matplotlib stores only this setting for mathematics with a text.
        maths = "dejavusans" if families[0] == "DejaVu Sans" else "stixsans"
        fonts = {"font.sans-serif": families, "mathtext.fontset": maths}
        found: dict[Any, Any] = {**_RC, **fonts, **over}
        # By their names: matplotlib caches sizes of texts by the family alone, so those
        # of another style would be taken.
        if found["font.family"] in ("sans-serif", ["sans-serif"]):
            found["font.family"] = list(found["font.sans-serif"])
        return found

    def figure(self, default: tuple[float, float]) -> Any:
        """Return a Figure without global state, which notebooks show.

        Args:
            default: Width and height without an option `size`.
        """
        size = self.size
        if size is not None and not (
            len(size) == 2 and all(isinstance(x, int | float) and x > 0 for x in size)
        ):
            raise ArgumentTypeError(
                f"size: expected width and height in inches, got {size!r}."
            )
        return StyledFigure(
            self.settings(), figsize=size or default, layout="constrained"
        )

    def headline(
        self, left: Axes, right: Axes | None = None, *, heads: bool = False
    ) -> None:
        """Write over the frame: on the left the title, on the right the note.

        If both do not fit on one line, the note is below the title. This is the last
        step of a drawing: it measures the panels, and makes other texts fit the page.

        Args:
            left: The panel at whose left end the title begins.
            right: The panel at whose right end the note ends, if it is another one.
            heads: Whether there are heads of columns beside the panel.
        """
        figure = left.get_figure(root=True)
        assert isinstance(figure, Figure)
        fit_to_page(figure)
        if not self.has_headline:
            return
        begin, end = left.get_position().x0, (right or left).get_position().x1
        inches = figure.get_figwidth()
        span, room = (end - begin) * inches, (1 - begin) * inches - 0.05
        title, note = self.title or "", self.note or ""
        widths = text_width([title], _TITLE, "bold"), text_width([note], _NOTE)
        if "\n" not in title and sum(widths) + 0.15 <= span:
            left.set_title(title, loc="left", fontweight="bold", fontsize=_TITLE, pad=5)
            (right or left).set_title(note, loc="right", fontsize=_NOTE, pad=5)
            return
        lines = wrapped(title, room, _TITLE, "bold") if title else []
        below = wrapped(note, room, _NOTE) if note else []
        # Heads of columns have a line of their own.
        raised = 5 + 1.35 * _NOTE * heads
        if below:
            left.annotate(
                "\n".join(below),
                (0, 1),
                (0, raised),
                xycoords="axes fraction",
                textcoords="offset points",
                fontsize=_NOTE,
                annotation_clip=False,
                in_layout=False,
            )
        left.set_title(
            "\n".join(lines) or " ",
            loc="left",
            fontweight="bold",
            fontsize=_TITLE,
            pad=raised + 1.35 * _NOTE * len(below) - (0 if lines else _TITLE),
        )

    @contextlib.contextmanager
    def panel(self, default: tuple[float, float]) -> Iterator[tuple[Figure, Any]]:
        """Yield a new figure with one panel, to be drawn on with the style.

        Title and note are written at the end.

        Args:
            default: Width and height if no size was asked for.
        """
        with self.styled():
            figure = self.figure(default)
            axes = figure.subplots()
            yield figure, axes
            self.headline(axes)


def _mplhep(name: str) -> dict[str, Any]:
    try:
        # Imported here, as it is used for styles of experiments only.
        from mplhep import styles  # noqa: PLC0415
    except ImportError as error:
        raise missing_package(
            f"style: {name!r} is to be a style of mplhep", "plot"
        ) from error
    chosen = getattr(styles, name, None)
    if not isinstance(chosen, Mapping):
        raise ArgumentValueError(
            f"style: mplhep has no style {name!r}; it has for example 'ATLAS', 'CMS'."
        )
    # The sizes of fonts and figures there are for slides.
    known = {k: v for k, v in chosen.items() if k in _OF_EXPERIMENTS}
    if "font.sans-serif" in known:
        known["font.sans-serif"] = _installed(known["font.sans-serif"])
    return known


_OF_EXPERIMENTS = ("axes.prop_cycle", "font.family", "font.sans-serif", "font.serif")


def _installed(preferred: Iterable[str] = ()) -> list[str]:
    # Matplotlib warns about every family that is not installed.
    known = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in (*preferred, *_SANS) if name in known]


def log_ticks(axis: Any) -> None:
    """Write plain numbers on a logarithmic axis that spans few decades."""
    low, high = axis.get_view_interval()
    if not 0 < low < high or high / low > 200:
        return
    subs = (1, 2, 3, 5) if high / low < 12 else (1, 3)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def xlabel(axes: Axes, text: str) -> None:
    """Write the title of the horizontal axis at its end, as is usual in the field."""
    axes.set_xlabel(text, loc="right")


def ylabel(axes: Axes, text: str) -> None:
    """Write the title of the vertical axis at its end."""
    axes.set_ylabel(text, loc="top")
