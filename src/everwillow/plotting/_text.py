"""Texts in plots: labels of parameters, and numbers with significant digits."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath


Labels = Mapping[str, str] | None

_ELEMENT = re.compile(r"(.+?)(\[[\d,]+\])")
_LONGEST = 52


def text_of(name: Any, labels: Labels) -> str:
    """Return the label of a parameter, or its name, shortened if it is very long.

    An element such as ``"gamma[3]"`` has its own label or takes that of ``"gamma"``.

    Args:
        name: A parameter key or the label of an element.
        labels: Labels by name, in which ``$...$`` is mathematics.
    """
    labels = labels or {}
    name = ".".join(name) if isinstance(name, tuple) else str(name)
    if name in labels:
        return labels[name]
    element = _ELEMENT.fullmatch(name)
    if element and element[1] in labels:
        return f"{labels[element[1]]} {element[2]}"
    if len(name) > _LONGEST and "$" not in name:
        half = _LONGEST // 2 - 1
        name = f"{name[:half]}…{name[-half:]}"
    # Pairs of dollars enclose mathematics; a single one is part of the name.
    return name.replace("$", r"\$") if name.count("$") % 2 else name


def text_width(texts: Iterable[str], size: float, weight: str = "normal") -> float:
    """Return the width of the longest text at a font size in points, in inches."""
    font = FontProperties(size=size, weight=weight)
    widths = [TextPath((0, 0), t, prop=font).get_extents().x1 for t in texts if t]
    return max((width for width in widths if math.isfinite(width)), default=0.0) / 72


def legend_columns(texts: Sequence[str], size: float, width: float) -> int:
    """Return how many entries of a legend fit beside each other.

    Args:
        texts: The texts of the entries.
        size: The size of the font, in points.
        width: The width of the legend, in inches.
    """
    if not texts:
        return 1
    beside = size / 72 * 3.8
    if sum(text_width([text], size) + beside for text in texts) < width - 0.3:
        return len(texts)
    each = text_width(texts, size) + beside
    return max(1, min(len(texts), int((width - 0.3) / each)))


def wrapped(text: str, width: float, size: float, weight: str = "normal") -> list[str]:
    """Return the lines of a text, with line breaks between words if they are too wide.

    Args:
        text: The text; its line breaks are kept.
        width: The width of a line, in inches.
        size: The size of the font, in points.
        weight: The weight of the font.
    """
    lines: list[str] = []
    for part in text.split("\n"):
        line = ""
        # Words inside of mathematics belong together.
        for word in re.findall(r"(?:\$[^$]*\$|\S)+", part):
            longer = f"{line} {word}" if line else word
            if line and text_width([longer], size, weight) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines


def column(*values: Iterable[float], digits: int | None = None) -> list[list[str]]:
    """Return numbers as text, a dash for those that are not finite.

    Args:
        *values: The numbers of each column.
        digits: The number of decimals; by default those that give the smallest number
            two digits.
    """
    sizes = [abs(v) for part in values for v in part if math.isfinite(v) and v != 0]
    if digits is None:
        digits = min(decimals(min(sizes)), 4) if sizes else 2
    return [
        [minus(f"{v:.{digits}f}") if math.isfinite(v) else "–" for v in part]
        for part in values
    ]


def with_errors(
    value: float,
    down: float,
    up: float,
    why: tuple[str, str] = ("no crossing", "no crossing"),
) -> str:
    """Return the text of a value with its errors, or one error if they round alike.

    Args:
        value: The central value.
        down: Distance to the lower end, positive; NaN if there is none.
        up: Distance to the upper end.
        why: Reasons for missing errors below and above, such as ``"at bound"``; for
            ``"no crossing"`` infinity is written, and nothing for an empty reason.
    """
    sizes = [e for e in (down, up) if math.isfinite(e) and e > 0]
    if not sizes:
        return f"${value:.3g}$"
    digits = decimals(min(sizes))
    low, high = (
        f"{sign}{e:.{digits}f}" if math.isfinite(e) else _reason(word, sign)
        for sign, e, word in zip("-+", (down, up), why, strict=True)
    )
    if low[1:] == high[1:]:
        return rf"${value:.{digits}f} \pm {high[1:]}$"
    return rf"${value:.{digits}f}\;^{{{high}}}_{{{low}}}$"


def _reason(word: str, sign: str) -> str:
    """Return the text in place of an error."""
    if word == "no crossing":
        return rf"{sign}\infty"
    text = word.replace(" ", r"\ ")
    return rf"\mathrm{{{text}}}" if word else ""


def split_errors(statistical: Iterable[float], systematic: Iterable[float]) -> str:
    """Return the text of two parts of an error, each with a lower and an upper one."""
    statistical, systematic = tuple(statistical), tuple(systematic)
    every = [e for e in (*statistical, *systematic) if math.isfinite(e) and e > 0]
    digits = decimals(max(every)) if every else 2
    parts = []
    for kind, (down, up) in (("stat.", statistical), ("syst.", systematic)):
        low, high = f"{down:.{digits}f}", f"{up:.{digits}f}"
        text = rf"\pm {high}" if low == high else rf"^{{+{high}}}_{{-{low}}}"
        parts.append(rf"${text}$ ({kind})")
    return "  ".join(parts)


def decimals(error: float) -> int:
    """Return the decimals that give an error two digits."""
    rounded = float(f"{error:.1e}")
    return min(max(1 - math.floor(math.log10(rounded)), 0), 12)


def minus(text: str) -> str:
    """Return the text of a number with the sign of mathematics."""
    return text.replace("-", "−")
