"""Axes of template channels, from descriptions and from histograms.

Histograms are read by the UHI protocol of hist, boost_histogram and uproot; none of
these packages is imported.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow.likelihood.histograms import Axis


def axes_of(form: Any, *, where: str, flow: bool) -> tuple[Axis, ...]:
    """Return the axes from the description of a user.

    Args:
        form: Axes, or one: each an `Axis`, an axis of a UHI histogram, or a pair of a
            name with edges (numbers) or labels (strings).
        where: The described object, for errors.
        flow: Whether intervals get an underflow and an overflow bin; an axis of a
            histogram gets its own ones.
    """
    if isinstance(form, Axis) or _is_foreign(form):
        form = [form]
    if not isinstance(form, Iterable) or isinstance(form, str):
        raise ArgumentTypeError(
            f"{where}: axes must be a sequence of axes, got {type(form).__name__}."
        )
    axes = tuple(
        _axis(axis, position, where=where, flow=flow)
        for position, axis in enumerate(form)
    )
    names = [axis.name for axis in axes]
    if len(set(names)) < len(names):
        raise ArgumentValueError(
            f"{where}: two axes have one name in {names}. Give every axis a name of "
            "its own."
        )
    return axes


def _axis(form: Any, position: int, *, where: str, flow: bool) -> Axis:
    if isinstance(form, Axis):
        return _with_flow(form, below=True, above=True) if flow else form
    if _is_foreign(form):
        axis = from_uhi(form, position)
        below, above = flow_of(form)
        return _with_flow(axis, below=below, above=above) if flow else axis
    if not (isinstance(form, Sequence) and len(form) == 2 and isinstance(form[0], str)):
        raise ArgumentTypeError(
            f"{where}: axis {position} is {form!r:.100}. Give an Axis, an axis of a "
            "histogram, or a pair of a name with edges or labels."
        )
    name, values = form
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "biufU":
        raise ArgumentTypeError(
            f"{where}: axis {name!r} needs edges or labels in one dimension, got "
            f"{form[1]!r:.100}."
        )
    if values.dtype.kind == "U":
        return Axis(name, labels=tuple(map(str, values)))
    axis = Axis(name, tuple(map(float, values)))
    return _with_flow(axis, below=True, above=True) if flow else axis


def _with_flow(axis: Axis, *, below: bool, above: bool) -> Axis:
    # Categories have no flow bins.
    if axis.edges is None:
        return axis
    edges = axis.edges
    if below and edges[0] != -np.inf:
        edges = (-np.inf, *edges)
    if above and edges[-1] != np.inf:
        edges = (*edges, np.inf)
    return dataclasses.replace(axis, edges=edges)


def _is_foreign(axis: Any) -> bool:
    # The tuples of axes of hist and boost_histogram have the attributes of axes, too.
    return (
        hasattr(axis, "traits")
        and hasattr(axis, "__getitem__")
        and not isinstance(axis, tuple)
    )


def from_uhi(axis: Any, position: int) -> Axis:
    """Return the axis of a UHI histogram, without its flow bins."""
    name = getattr(axis, "name", None)
    name = name if isinstance(name, str) and name else f"axis{position}"
    traits = axis.traits
    # Integer axes are discrete in the protocol; here they are intervals of length 1.
    if traits.discrete and not getattr(traits, "ordered", False):
        labels = [axis[i] for i in range(len(axis))]
        labels = tuple(v if isinstance(v, str) else int(v) for v in labels)
        return Axis(name, labels=labels, title=_title(axis, name))
    edges = getattr(axis, "edges", None)
    if callable(edges):
        edges = edges()
    if edges is None:
        ends = [axis[i] for i in range(len(axis))]
        edges = [*(low for low, _ in ends), ends[-1][1]]
    edges = tuple(map(float, np.asarray(edges)))
    return Axis(name, edges, title=_title(axis, name))


def _title(axis: Any, name: str) -> str:
    """Return the label of an axis of hist, which is its name by default."""
    label = getattr(axis, "label", "")
    return label if isinstance(label, str) and label != name else ""


def flow_of(axis: Any) -> tuple[bool, bool]:
    """Return whether an axis of a UHI histogram has an underflow and an overflow."""
    traits = axis.traits
    return bool(getattr(traits, "underflow", True)), bool(
        getattr(traits, "overflow", True)
    )


def flow_wanted(target: Axis, got: Axis) -> tuple[bool, bool] | None:
    """Return the flow bins that make an axis equal to another; None if none do."""
    if target.edges is None or got.edges is None:
        # ROOT files contain integer labels as texts.
        labels = [tuple(map(str, axis.labels or ())) for axis in (target, got)]
        named = target.edges is None and got.edges is None
        return (False, False) if named and labels[0] == labels[1] else None
    below = target.edges[0] == -np.inf and got.edges[0] != -np.inf
    above = target.edges[-1] == np.inf and got.edges[-1] != np.inf
    inner = target.edges[below : len(target.edges) - above]
    if len(inner) != len(got.edges):
        return None
    # Edges from another program may differ by rounding.
    own, other = np.array(inner), np.array(got.edges)
    width = np.min(np.diff(own[np.isfinite(own)]), initial=np.inf)
    finite = np.isfinite(own)
    if not np.array_equal(own[~finite], other[~finite]):
        return None
    close = np.abs(own[finite] - other[finite]) <= 1e-6 * (
        width if np.isfinite(width) else 1.0
    )
    return (below, above) if close.all() else None


def describe(axis: Axis) -> str:
    """Return an axis in a few words, for errors."""
    ends = axis.labels if axis.edges is None else axis.edges
    ends = tuple(ends or ())
    kind = "labels" if axis.edges is None else "edges"
    shown = (
        ", ".join(map(str, ends))
        if len(ends) <= 6
        else (f"{ends[0]}, {ends[1]}, ..., {ends[-1]}")
    )
    return f"{axis.name!r} ({axis.size} bins, {kind} {shown})"
