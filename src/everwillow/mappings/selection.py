"""Selections of bins along the axes of a channel, and their text.

Operations on axes are separated by commas and applied from left to right; an axis may
have several.

- ``x:3``, ``x:-1``: one bin by its index, from the end if negative; drops the axis
- ``x:0.5j``: the bin that contains 0.5; drops the axis
- ``cat:tight``: the category of that name; drops the axis
- ``x:2:5``, ``x:-3:``: bins 2, 3, 4; the last three bins
- ``x:1j:2j``: from the bin that contains 1 to before the bin that contains 2
- ``x:2:8:3``: every third bin from 2 to 7
- ``x:sum``, ``x:2:5:sum``: the sum of all bins, or of bins 2, 3, 4; drops the axis
- ``x:rebin(2)``: pairs of bins merged, also ``x:::2j``
- ``x:rebin(0,1,2.5)``: bins merged to these edges; bins outside of them are dropped
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
    """A position on an axis, given by the value of its quantity."""

    number: float

    def __str__(self) -> str:
        """Return the text."""
        return f"{_number_text(self.number)}j"


@dataclass(frozen=True, slots=True)
class Label:
    """A position on an axis, given by the name of a category."""

    text: str

    def __str__(self) -> str:
        """Return the text."""
        bare = _BARE_LABEL.fullmatch(self.text) and self.text not in _KEYWORDS
        return self.text if bare else quoted(self.text, always=True)


Position: TypeAlias = int | Value | Label
"""A bin, given by its index, by a value in it or by its name."""


@dataclass(frozen=True, slots=True)
class Pick:
    """Select one bin and drop the axis."""

    position: Position

    def __str__(self) -> str:
        """Return the text."""
        return str(self.position)


@dataclass(frozen=True, slots=True)
class Cut:
    """Select the bins from `start` to before `stop`, in steps of `stride`."""

    start: Position | None
    stop: Position | None
    stride: int = 1

    def __str__(self) -> str:
        """Return the text."""
        ends = ["" if end is None else str(end) for end in (self.start, self.stop)]
        return ":".join([*ends, str(self.stride)] if self.stride > 1 else ends)


@dataclass(frozen=True, slots=True)
class Sum:
    """Add all bins, and drop the axis."""

    def __str__(self) -> str:
        """Return the text."""
        return "sum"


@dataclass(frozen=True, slots=True)
class Merge:
    """Merge each group of `factor` neighbouring bins."""

    factor: int

    def __str__(self) -> str:
        """Return the text."""
        return f"rebin({self.factor})"


@dataclass(frozen=True, slots=True)
class MergeTo:
    """Merge bins to an axis with these edges."""

    edges: tuple[float, ...]

    def __str__(self) -> str:
        """Return the text."""
        return f"rebin({','.join(map(_number_text, self.edges))})"


Operation: TypeAlias = Pick | Cut | Sum | Merge | MergeTo
"""An operation of a selection on one axis."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Operations on the axes of a channel, in the order of their application.

    Attributes:
        items: Pairs of the name of an axis and an operation; empty for all bins.
    """

    items: tuple[tuple[str, Operation], ...] = ()

    def __str__(self) -> str:
        """Return the text of the selection; parsing it returns an equal one."""
        items = (f"{quoted(axis)}:{operation}" for axis, operation in self.items)
        return ",".join(items) or "None"

    def __bool__(self) -> bool:
        """Return whether there are operations."""
        return bool(self.items)


def parse_selection(selection: Any) -> Selection:
    """Read a selection from a text or a dictionary.

    Args:
        selection: A text such as ``"x:2:5,cat:sum"`` (see
            `everwillow.mappings.selection`); or a dictionary from the names of axes to
            indices, values ``0.5j``, slices, `sum`, texts like ``"rebin(2)"``, or lists
            of these; or None for all bins; or a `Selection`.

    Raises:
        ArgumentValueError: If the text is not a selection, with the position in it.
        ArgumentTypeError: If `selection` is of another type.

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
                text = _text(choice, axis)
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
    """Read the operations after the name of the axis, which colons separate."""
    if len(parts) > 3:
        raise item.error("a slice has three parts at most: START:STOP:STEP.")
    if len(parts) > 1:
        return _slice(parts)
    part = parts[0]
    if part.text == "None":
        return []
    if part.text == "sum":
        return [Sum()]
    called = _function_call(part)
    if called is None:
        return [Pick(_position(part))]
    name, arguments = called
    if name == "rebin":
        return [_rebin(part, arguments)]
    if len(arguments) > 3:
        raise part.error("slice takes three arguments at most.")
    return _slice(arguments if len(arguments) > 1 else [part.part(0, 0), *arguments])


def _function_call(part: Token) -> tuple[str, list[Token]] | None:
    """Return the name and the arguments of a function call, or None."""
    call = _CALL.fullmatch(part.text)
    if call is None:
        return None
    if call[1] not in ("rebin", "slice"):
        raise part.error("the functions of selections are rebin(...) and slice(...).")
    return call[1], part.part(*call.span(2)).split(",")


def _slice(parts: list[Token]) -> list[Operation]:
    ends = [None if p.text in ("", "None") else _position(p) for p in parts[:2]]
    stride = 1
    after: list[Operation] = []
    step = parts[2] if len(parts) == 3 else None
    if step is not None and step.text not in ("", "None"):
        called = _function_call(step)
        if step.text == "sum":
            after = [Sum()]
        elif called is not None and called[0] == "rebin":
            after = [_rebin(step, called[1])]
        elif step.text.endswith("j"):
            after = [Merge(_positive_integer(step.part(0, len(step.text) - 1)))]
        else:
            stride = _positive_integer(step)
    if ends == [None, None] and stride == 1:
        return after
    return [Cut(ends[0], ends[1], stride), *after]


def _positive_integer(token: Token) -> int:
    if not _INTEGER.fullmatch(token.text) or int(token.text) < 1:
        raise token.error("expected a whole number above zero.")
    return int(token.text)


def _rebin(part: Token, arguments: list[Token]) -> Operation:
    if len(arguments) == 1:
        return Merge(_positive_integer(arguments[0]))
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


def _text(choice: Any, axis: str) -> str:
    """Return the text of an operation that a dictionary has for an axis."""
    if choice is None or choice is builtins.sum:
        return "None" if choice is None else "sum"
    if isinstance(choice, str):
        return choice
    if isinstance(choice, slice):
        ends = (choice.start, choice.stop, choice.step)
        return ":".join("" if end is None else _text(end, axis) for end in ends)
    if isinstance(choice, complex) and choice.real == 0:
        return f"{_number_text(choice.imag)}j"
    if isinstance(choice, (int, np.integer)) and not isinstance(choice, bool):
        return str(int(choice))
    raise ArgumentTypeError(
        f"selection of axis {axis!r}: expected an index, a value such as 0.5j, a "
        f"category, a slice or sum, got {choice!r}."
    )


def _number_text(number: float) -> str:
    return repr(float(number)).removesuffix(".0")


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
