"""Selections of bins along the axes of a channel, as one writes them.

Items are separated by commas and act from left to right; an axis may have several.

- ``x:3``, ``x:-1``: one bin by its index, from the end if negative; the axis goes
- ``x:0.5j``: the bin that contains 0.5; the axis goes
- ``cat:tight``: the category of that name; the axis goes
- ``x:2:5``, ``x:-3:``: bins 2, 3, 4; the last three
- ``x:1j:2j``: from the bin that contains 1 to before the one that contains 2
- ``x:2:8:3``: every third of them
- ``x:sum``, ``x:2:5:sum``: their sum; the axis goes
- ``x:rebin(2)``: bins merged in twos, also ``x:::2j``
- ``x:rebin(0,1,2.5)``: bins merged to these edges; what is outside of them goes
- ``x:slice(2,5,None)``: the same as ``x:2:5``
- ``x:None``: all bins

A value on an edge, up to rounding, belongs to the bin that begins there. Names and
categories with special characters are written in double quotes.
"""

import builtins
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from everwillow._errors import ArgumentTypeError
from everwillow.mappings.tokens import Token, quoted


_INTEGER = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf)")
_CALL = re.compile(r"(\w+)\s*\((.*)\)", re.DOTALL)
_BARE_LABEL = re.compile(r"[A-Za-z_][\w.+\-]*")
_KEYWORDS = ("None", "sum", "slice", "rebin")


@dataclass(frozen=True, slots=True)
class Value:
    """A position by the value of the quantity that an axis shows."""

    number: float

    def __str__(self) -> str:
        """Return how it is written."""
        return f"{_number_text(self.number)}j"


@dataclass(frozen=True, slots=True)
class Label:
    """A position by the name of a category."""

    text: str

    def __str__(self) -> str:
        """Return how it is written."""
        bare = _BARE_LABEL.fullmatch(self.text) and self.text not in _KEYWORDS
        return self.text if bare else quoted(self.text, always=True)


Position: TypeAlias = int | Value | Label
"""A bin: by index, by value or by name."""


@dataclass(frozen=True, slots=True)
class Pick:
    """Take one bin, and drop the axis."""

    position: Position

    def __str__(self) -> str:
        """Return how it is written."""
        return str(self.position)


@dataclass(frozen=True, slots=True)
class Cut:
    """Take the bins from `start` to before `stop`, each of them or every few."""

    start: Position | None
    stop: Position | None
    stride: int = 1

    def __str__(self) -> str:
        """Return how it is written."""
        ends = ["" if end is None else str(end) for end in (self.start, self.stop)]
        return ":".join([*ends, str(self.stride)] if self.stride > 1 else ends)


@dataclass(frozen=True, slots=True)
class Sum:
    """Add all bins, and drop the axis."""

    def __str__(self) -> str:
        """Return how it is written."""
        return "sum"


@dataclass(frozen=True, slots=True)
class Merge:
    """Merge so many neighbours each."""

    factor: int

    def __str__(self) -> str:
        """Return how it is written."""
        return f"rebin({self.factor})"


@dataclass(frozen=True, slots=True)
class MergeTo:
    """Merge to an axis of these edges."""

    edges: tuple[float, ...]

    def __str__(self) -> str:
        """Return how it is written."""
        return f"rebin({','.join(map(_number_text, self.edges))})"


Operation: TypeAlias = Pick | Cut | Sum | Merge | MergeTo
"""What a selection does to one axis."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What happens to the axes of a channel, in order.

    Attributes:
        items: Names of axes with operations; none for all bins.
    """

    items: tuple[tuple[str, Operation], ...] = ()

    def __str__(self) -> str:
        """Return the selection as one writes it; parsing it gives the same."""
        shown = (f"{quoted(axis)}:{operation}" for axis, operation in self.items)
        return ",".join(shown) or "None"

    def __bool__(self) -> bool:
        """Return whether it selects anything."""
        return bool(self.items)


def parse_selection(selection: Any) -> Selection:
    """Read a selection.

    Args:
        selection: A text, see the top of this page; or a dictionary from axes to
            indices, values ``0.5j``, slices, `sum`, texts like ``"rebin(2)"``, or lists
            of those; or None for all bins; or what this function returns.

    Raises:
        ArgumentValueError: If the text is no selection; it tells the place.
        ArgumentTypeError: If `selection` is something else.

    Example:
        >>> parse_selection("x:2:5,cat:sum") == parse_selection(
        ...     {"x": slice(2, 5), "cat": sum}
        ... )
        True
        >>> print(parse_selection("x: slice(None, 1.50j, rebin(2))"))
        x::1.5j,x:rebin(2)
    """
    if isinstance(selection, Selection):
        return selection
    if selection is None:
        return Selection()
    if isinstance(selection, str):
        return read_selection(Token("selection", selection, 0, selection))
    if isinstance(selection, Mapping):
        items = []
        for axis, choices in selection.items():
            if not isinstance(axis, str):
                raise ArgumentTypeError(f"selection: axes have names, got {axis!r}.")
            for choice in choices if isinstance(choices, (list, tuple)) else [choices]:
                text = _spelled(choice, axis)
                token = Token(f"selection of axis {axis!r}", text, 0, text)
                found = _operations(token, token.split(":"))
                items += [(axis, operation) for operation in found]
        return Selection(tuple(items))
    raise ArgumentTypeError(
        "selection: expected a text such as 'x:2:5,cat:sum' or a dictionary from axes "
        f"to selections, got {type(selection).__name__}."
    )


def read_selection(token: Token) -> Selection:
    """Read the selection that a token of a text spells."""
    if token.text == "None":
        return Selection()
    items = []
    for item in token.split(","):
        axis, *rest = item.split(":")
        if not rest:
            raise item.error("expected AXIS:SELECTION, such as x:2:5, x:0.5j or x:sum.")
        name = axis.name()
        items += [(name, operation) for operation in _operations(item, rest)]
    return Selection(tuple(items))


def _operations(item: Token, parts: list[Token]) -> list[Operation]:
    """Read what follows the name of the axis, which is between colons."""
    if len(parts) > 3:
        raise item.error("a slice has three parts at most: START:STOP:STEP.")
    if len(parts) > 1:
        return _slice(parts)
    part = parts[0]
    if part.text == "None":
        return []
    if part.text == "sum":
        return [Sum()]
    called = _called(part)
    if called is None:
        return [Pick(_position(part))]
    name, arguments = called
    if name == "rebin":
        return [_rebin(part, arguments)]
    if len(arguments) > 3:
        raise part.error("slice takes three arguments at most.")
    return _slice(arguments if len(arguments) > 1 else [part.part(0, 0), *arguments])


def _called(part: Token) -> tuple[str, list[Token]] | None:
    """Return the function that is called and its arguments."""
    found = _CALL.fullmatch(part.text)
    if found is None:
        return None
    if found[1] not in ("rebin", "slice"):
        raise part.error("the functions of selections are rebin(...) and slice(...).")
    return found[1], part.part(*found.span(2)).split(",")


def _slice(parts: list[Token]) -> list[Operation]:
    ends = [None if p.text in ("", "None") else _position(p) for p in parts[:2]]
    stride = 1
    after: list[Operation] = []
    step = parts[2] if len(parts) == 3 else None
    if step is not None and step.text not in ("", "None"):
        called = _called(step)
        if step.text == "sum":
            after = [Sum()]
        elif called is not None and called[0] == "rebin":
            after = [_rebin(step, called[1])]
        elif step.text.endswith("j"):
            after = [Merge(_whole(step.part(0, len(step.text) - 1)))]
        else:
            stride = _whole(step)
    if ends == [None, None] and stride == 1:
        return after
    return [Cut(ends[0], ends[1], stride), *after]


def _whole(token: Token) -> int:
    if not _INTEGER.fullmatch(token.text) or int(token.text) < 1:
        raise token.error("expected a whole number above zero.")
    return int(token.text)


def _rebin(part: Token, arguments: list[Token]) -> Operation:
    if len(arguments) == 1:
        return Merge(_whole(arguments[0]))
    for argument in arguments:
        if not _NUMBER.fullmatch(argument.text):
            raise argument.error("expected an edge of the new axis, a number.")
    edges = tuple(float(argument.text) for argument in arguments)
    if not np.all(np.diff(edges) > 0):
        raise part.error("the edges of the new axis have to ascend.")
    return MergeTo(edges)


def _position(token: Token) -> Position:
    text = token.text
    if _INTEGER.fullmatch(text):
        return int(text)
    if text.endswith("j") and _NUMBER.fullmatch(text[:-1]):
        return Value(float(text[:-1]) + 0.0)
    if _NUMBER.fullmatch(text) and text != "inf":
        raise token.error(
            f"a position by value ends with j ({text}j), one by index is whole."
        )
    if len(text) > 1 and text[0] == text[-1] == '"':
        return Label(token.name())
    if _BARE_LABEL.fullmatch(text) and text not in _KEYWORDS:
        return Label(text)
    raise token.error(
        "expected a bin index (3), a value (0.5j), a category, a slice (2:5), sum, "
        "rebin(...) or None."
    )


def _spelled(choice: Any, axis: str) -> str:
    """Spell what a dictionary says of an axis, as in a text."""
    if choice is None or choice is builtins.sum:
        return "None" if choice is None else "sum"
    if isinstance(choice, str):
        return choice
    if isinstance(choice, slice):
        ends = (choice.start, choice.stop, choice.step)
        return ":".join("" if end is None else _spelled(end, axis) for end in ends)
    if isinstance(choice, complex) and choice.real == 0:
        return f"{_number_text(choice.imag)}j"
    if isinstance(choice, (int, np.integer)) and not isinstance(choice, bool):
        return str(int(choice))
    raise ArgumentTypeError(
        f"selection of axis {axis!r}: expected an index, a value such as 0.5j, a "
        f"category, a slice or sum, got {choice!r}."
    )


def _number_text(number: float) -> str:
    text = repr(float(number))
    return text.removesuffix(".0")


__all__ = [
    "Cut",
    "Label",
    "Merge",
    "MergeTo",
    "Operation",
    "Pick",
    "Position",
    "Selection",
    "Sum",
    "Value",
    "parse_selection",
]
