"""Axes and data sets. Spec: HS3 0.2, section 2.3 (data)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from everwillow.models._document import Node, Report


@dataclass(frozen=True)
class Axis:
    """The range of an observable.

    Attributes:
        name: The name of the observable.
        lower: Its smallest value.
        upper: Its largest value.
        edges: The edges of its bins, shape ``(bins + 1,)``; None if it has no bins.
        categories: The names of the values 0, 1 and so on of a discrete observable:
            each of them is the middle of a bin of width 1.
    """

    name: str
    lower: float
    upper: float
    edges: np.ndarray | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class PointData:
    """One measured number."""

    name: str
    value: float
    uncertainty: float | None
    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class UnbinnedData:
    """Events, shape ``(events, axes)``, with weights of shape ``(events,)`` or None."""

    name: str
    entries: np.ndarray
    weights: np.ndarray | None
    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class BinnedData:
    """Counts, shape ``(bins,)``; the last axis varies fastest."""

    name: str
    contents: np.ndarray
    axes: tuple[Axis, ...]


DataSet = PointData | UnbinnedData | BinnedData


def read_axis(node: Node, *, index: int = 0, report: Report) -> Axis:
    """Read one axis; `edges` (older ROOT: `bounds`) outrank `min` and `max`."""
    name_node = node.get("name")
    name = f"axis_{index}" if name_node is None else name_node.text()
    if node.get("categories") is not None:
        return _categorical(node.child("categories"), name)
    edges = node.get("edges") or node.get("bounds")
    if edges is not None:
        values = edges.numbers()
        if values.size < 2 or not (np.diff(values) > 0).all():
            edges.refuse("the edges of bins must rise, and there must be two or more.")
        for key, edge in (("min", values[0]), ("max", values[-1])):
            end = node.get(key)
            if end is not None and end.number(infinite=True) != edge:
                report.collect(
                    "The edges of the axes {names} do not end at their 'min' and "
                    "'max'; the edges are used.",
                    name,
                )
        return Axis(name, float(values[0]), float(values[-1]), values)
    lower, upper = _range(node)
    bins = node.get("nbins")
    if bins is None:
        return Axis(name, lower, upper)
    count = bins.number()
    if count < 1 or count != int(count) or count > 1e6:
        bins.refuse(f"the number of bins must be a whole number from 1, not {count}.")
    if not np.isfinite(upper - lower):
        node.refuse("an axis with 'nbins' needs a finite 'min' and 'max'.")
    return Axis(name, lower, upper, np.linspace(lower, upper, int(count) + 1))


def _categorical(node: Node, name: str) -> Axis:
    names = tuple(item.text() for item in node.items())
    if not names or len(set(names)) != len(names):
        node.refuse("categories need different names, and there must be some.")
    edges = np.arange(len(names) + 1) - 0.5
    return Axis(name, float(edges[0]), float(edges[-1]), edges, names)


def categorical_axes(specs: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the names of the axes of data sets that have categories."""
    axes = [axis for spec in specs for axis in spec.get("axes") or ()]
    return {
        str(a.get("name")) for a in axes if isinstance(a, dict) and "categories" in a
    }


def _range(node: Node) -> tuple[float, float]:
    values = []
    for key, default in (("min", -np.inf), ("max", np.inf)):
        end = node.get(key)
        values.append(default if end is None else end.number(infinite=True))
    lower, upper = values
    if not lower < upper:
        node.refuse(f"'min' must be below 'max', but they are {lower} and {upper}.")
    return lower, upper


def read_axes(node: Node, *, report: Report) -> tuple[Axis, ...]:
    """Read the entry `axes` of a distribution or data set; none if absent."""
    axes = node.get("axes")
    if axes is None:
        return ()
    result = [
        read_axis(axis, index=index, report=report)
        for index, axis in enumerate(axes.items())
    ]
    if len({axis.name for axis in result}) != len(result):
        axes.refuse("two axes have one name.")
    return tuple(result)


def bin_count(axes: Sequence[Axis]) -> int | None:
    """Return the number of bins, or None if an axis has none."""
    if not axes or any(axis.edges is None for axis in axes):
        return None
    return int(
        np.prod([len(axis.edges) - 1 for axis in axes if axis.edges is not None])
    )


def read_data(node: Node, *, report: Report) -> DataSet:
    """Read one data set."""
    name = node.name
    kind = node.get("type")
    text = _guessed(node) if kind is None else kind.text()
    if text == "point":
        error = node.get("uncertainty")
        return PointData(
            name,
            node.child("value").number(),
            None if error is None else error.number(),
            read_axes(node, report=report),
        )
    if text == "unbinned":
        return _unbinned(node, name, report)
    if text not in ("binned", "histogram"):
        (kind or node).refuse(
            f"data of type {text!r} are not read; 'point', 'unbinned' and 'binned' are."
        )
    return _binned(node, name, report)


def _guessed(node: Node) -> str:
    for key, kind in (
        ("contents", "binned"),
        ("entries", "unbinned"),
        ("value", "point"),
    ):
        if key in node:
            return kind
    return node.type


def _unbinned(node: Node, name: str, report: Report) -> UnbinnedData:
    axes = read_axes(node, report=report)
    entries = node.child("entries")
    rows = []
    labelled = any(axis.categories for axis in axes)
    for row in entries.items():
        if labelled:
            rows.append(_with_categories(row, axes))
        elif isinstance(row.value, list):
            rows.append(row.numbers(size=len(axes) or None))
        else:
            rows.append(np.array([row.number()]))
    width = len(axes) or (len(rows[0]) if rows else 1)
    for row, values in zip(entries.items(), rows, strict=True):
        if len(values) != width:
            row.refuse(f"{len(values)} coordinates, but {width} are needed.")
    table = np.array(rows, np.float64).reshape(len(rows), width)
    for column, axis in enumerate(axes):
        outside = (table[:, column] < axis.lower) | (table[:, column] > axis.upper)
        if outside.any():
            first = int(np.argmax(outside))
            entries.refuse(
                f"entry {first} has {axis.name} = {table[first, column]}, outside "
                f"its axis [{axis.lower}, {axis.upper}]."
            )
    weights = node.get("weights")
    values = None if weights is None else weights.numbers(size=len(rows))
    if "entries_uncertainties" in node:
        report.collect(
            "The uncertainties of the entries of {names} are not used.", name
        )
    return UnbinnedData(name, table, values, axes)


def _with_categories(row: Node, axes: Sequence[Axis]) -> np.ndarray:
    """Return the coordinates of an event, the numbers of categories for their names."""
    cells = list(row.items()) if isinstance(row.value, list) else [row]
    if len(cells) != len(axes):
        row.refuse(f"{len(cells)} coordinates, but {len(axes)} are needed.")
    values = []
    for cell, axis in zip(cells, axes, strict=True):
        if not axis.categories:
            values.append(cell.number())
        elif cell.value in axis.categories:
            values.append(float(axis.categories.index(cell.value)))
        elif isinstance(cell.value, str) or cell.number() not in range(
            len(axis.categories)
        ):
            cell.unknown(cell.value, axis.categories, "category")
        else:
            values.append(cell.number())
    return np.array(values)


def _binned(node: Node, name: str, report: Report) -> BinnedData:
    axes = read_axes(node, report=report)
    contents = node.child("contents").numbers(size=bin_count(axes), owner=f"{name!r}")
    if "uncertainty" in node:
        report.collect(
            "The uncertainties of the binned data {names} are not used.", name
        )
    return BinnedData(name, contents, axes)
