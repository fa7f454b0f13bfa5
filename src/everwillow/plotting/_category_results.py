"""Quantities of categories: their errors, and averages over variables."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from everwillow._errors import ArgumentValueError, ShapeMismatchError, unknown_key
from everwillow.plotting._arguments import numbers, rising_edges, vector


TOTAL, STAT, MC = "total", "stat", "mc"
# The quantities in the rows of a covariance, in this order.
_IN_COVARIANCE = ("resp", "reso")


class Quantity(NamedTuple):
    """One number for each category, with its errors.

    Attributes:
        values: The numbers, NaN in categories without one.
        errors: The total errors, NaN if there is none.
        upper: Upper limits of numbers at their bound 0; NaN elsewhere.
        parts: Covariances by source, those of ``"total"`` included.
    """

    values: np.ndarray
    errors: np.ndarray
    upper: np.ndarray
    parts: Mapping[str, np.ndarray]

    @property
    def sizes(self) -> np.ndarray:
        """Errors, or upper limits in place of them; NaN without either."""
        known = np.isfinite(self.errors) & (self.errors > 0)
        return np.where(known, self.errors, self.upper)


class CategoryResult(NamedTuple):
    """The quantities of all categories of a result.

    Attributes:
        names: The variables.
        edges: The edges of their bins.
        arrays: What was given by name.
    """

    names: tuple[str, ...]
    edges: tuple[np.ndarray, ...]
    arrays: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of bins of each variable."""
        return tuple(edges.size - 1 for edges in self.edges)

    @property
    def size(self) -> int:
        """The number of categories."""
        return int(np.prod(self.shape))

    def quantity(self, name: str) -> Quantity:
        """Return a quantity by name.

        Raises:
            UnknownKeyError: If there is none of this name.
            ShapeMismatchError: If an array does not fit the categories.
        """
        if name not in self.arrays:
            known = [
                key
                for key in self.arrays
                if key not in _NO_QUANTITIES
                and key[0] != "e"
                and not key.endswith("_upper")
            ]
            raise unknown_key(name, known, where="parameters")
        parts: dict[str, np.ndarray] = {}
        for source, suffix in ((TOTAL, ""), (STAT, "_stat"), (MC, "_mc")):
            given = self.arrays.get(f"e{name}{suffix}")
            if given is not None:
                parts[source] = np.diag(
                    vector(given, f"e{name}{suffix}", self.size) ** 2
                )
        parts |= self._blocks(name)
        parts = {k: v for k, v in parts.items() if np.isfinite(np.diagonal(v)).any()}
        nothing = np.full(self.size, np.nan)
        upper = self.arrays.get(f"{name}_upper")
        own = self.arrays.get(f"e{name}")
        if own is None and TOTAL in parts:
            own = np.sqrt(np.diagonal(parts[TOTAL]))
        return Quantity(
            vector(self.arrays[name], name, self.size),
            nothing if own is None else vector(own, f"e{name}", self.size),
            nothing if upper is None else vector(upper, f"{name}_upper", self.size),
            parts,
        )

    def _blocks(self, name: str) -> dict[str, np.ndarray]:
        """Return the blocks of a quantity in covariances of all of them."""
        if name not in _IN_COVARIANCE:
            return {}
        first = _IN_COVARIANCE.index(name) * self.size
        rows = slice(first, first + self.size)
        found: dict[str, np.ndarray] = {}
        for source, given in (self.arrays.get("covariances") or {}).items():
            matrix = numbers(given, f"covariances[{source!r}]")
            if matrix.shape != (2 * self.size,) * 2:
                raise ShapeMismatchError(
                    f"covariances[{source!r}]: {self.size} categories need the shape "
                    f"{(2 * self.size,) * 2}, got {matrix.shape}."
                )
            found[source] = matrix[rows, rows]
        return found


_NO_QUANTITIES = ("categories", "covariances")


def category_result(given: Mapping[str, Any]) -> CategoryResult:
    """Return the quantities of arrays by name.

    Args:
        given: ``"categories"``, the edges of each variable; and arrays in C order with
            a number for each category.
    """
    if "categories" not in given:
        raise ArgumentValueError(
            'result: there are no "categories". Give the edges of each variable, e.g. '
            '{"categories": {"ScEta": [-2.5, 0, 2.5]}, "resp": [1.0, 1.01], ...}.'
        )
    edges = given["categories"]
    return CategoryResult(
        tuple(map(str, edges)),
        tuple(rising_edges(one) for one in edges.values()),
        given,
    )


class Grouping(NamedTuple):
    """Which categories belong to each bin of some of the variables.

    Attributes:
        names: The variables whose bins are kept.
        edges: Their edges.
        averaged: The other variables.
        members: Numbers of the categories, shape ``(*bins, categories)``.
    """

    names: tuple[str, ...]
    edges: tuple[np.ndarray, ...]
    averaged: tuple[str, ...]
    members: np.ndarray


def grouping(
    result: CategoryResult, dims: Sequence[str] | None, *, most: int | None = 3
) -> Grouping:
    """Return the bins of some variables; by default of the first three.

    Args:
        result: The result.
        dims: The variables.
        most: The largest number of variables; None for any number.

    Raises:
        UnknownKeyError: If there is no variable of this name.
        ArgumentValueError: If there is none, more than three, or one twice.
    """
    names = result.names[:most] if dims is None else tuple(dims)
    for name in names:
        if name not in result.names:
            raise unknown_key(name, result.names, where="dims", kind="variable")
    if not 1 <= len(names) <= (most or 99) or len(set(names)) != len(names):
        raise ArgumentValueError(
            f"dims: choose one, two or three different variables of "
            f"{', '.join(result.names)}; got {', '.join(names) or 'none'}."
        )
    kept = [result.names.index(name) for name in names]
    others = [i for i in range(len(result.names)) if i not in kept]
    numbered = np.arange(result.size).reshape(result.shape)
    members = np.transpose(numbered, (*kept, *others))
    shape = tuple(result.shape[i] for i in kept)
    return Grouping(
        names,
        tuple(result.edges[i] for i in kept),
        tuple(result.names[i] for i in others),
        members.reshape(*shape, -1),
    )


class Points(NamedTuple):
    """A quantity in bins, with parts of its errors; arrays of the same shape.

    Attributes:
        values: The numbers; NaN without one.
        total: The total errors; NaN without one, and for upper limits.
        stat: The statistical parts.
        mc: The parts from limited simulation.
        upper: Upper limits of numbers at 0; NaN elsewhere.
    """

    values: np.ndarray
    total: np.ndarray
    stat: np.ndarray
    mc: np.ndarray
    upper: np.ndarray

    def over(self, reference: "Points") -> "Points":
        """Return the ratio to a reference, with errors over the reference."""
        with np.errstate(divide="ignore", invalid="ignore"):
            unit = np.where(reference.values > 0, reference.values, np.nan)
        return Points(*(part / unit for part in self))

    def at(self, *place: Any) -> "Points":
        """Return a part of all arrays."""
        return Points(*(part[place] for part in self))


def weights_of(quantity: Quantity, members: np.ndarray) -> np.ndarray:
    r"""Return the weights of an average, :math:`1 / \Delta^2` divided by their sum.

    A category at zero has its upper limit in place of an error. Without any error all
    weights are equal; without any number they are zero.
    """
    sizes = quantity.sizes[members]
    good = np.isfinite(quantity.values[members])
    known = good & np.isfinite(sizes) & (sizes > 0)
    if not known.any():
        return good / max(good.sum(), 1)
    found = np.zeros(members.size)
    found[known] = sizes[known].min() ** 2 / sizes[known] ** 2
    return found / found.sum()


def average(
    quantity: Quantity, members: np.ndarray, weights: np.ndarray
) -> tuple[float, float, float, float, float]:
    """Return the average over some categories with its errors, as in `Points`.

    Errors follow from covariances where these are known.
    """
    used = weights > 0
    inside, share = members[used], weights[used]
    values = quantity.values[inside]
    if not used.any() or not np.isfinite(values).all():
        return np.nan, np.nan, np.nan, np.nan, np.nan
    limits = quantity.upper[inside]
    if np.isfinite(limits).all():
        size = float(np.sqrt(np.sum((share * limits) ** 2)))
        return float(share @ values), np.nan, np.nan, np.nan, size
    total, stat, mc = (
        _spread(quantity, source, inside, share) for source in (TOTAL, STAT, MC)
    )
    # An error of exactly zero is none.
    return float(share @ values), total or np.nan, stat, mc, np.nan


def _spread(
    quantity: Quantity, source: str, members: np.ndarray, weights: np.ndarray
) -> float:
    """Return the error of an average from one source; NaN if it is not known."""
    if source not in quantity.parts:
        return np.nan
    matrix = quantity.parts[source][np.ix_(members, members)].copy()
    bound = np.isfinite(quantity.upper[members])
    if source == TOTAL:
        matrix[bound, :] = matrix[:, bound] = 0.0
        matrix[bound, bound] = quantity.upper[members][bound] ** 2
    variance = float(weights @ matrix @ weights)
    rounding = 1e-12 * float(weights @ np.abs(matrix) @ weights)
    return float(np.sqrt(max(variance, 0.0))) if variance >= -rounding else np.nan


def grouped(
    quantity: Quantity, groups: Grouping, weights: np.ndarray | None = None
) -> Points:
    """Return a quantity in bins of some variables, averaged over the others.

    Args:
        quantity: The quantity.
        groups: The categories of each bin.
        weights: The weights of the categories of each bin; its own by default.
    """
    shape = groups.members.shape[:-1]
    out = np.full((5, *shape), np.nan)
    for place in np.ndindex(*shape):
        members = groups.members[place]
        share = weights_of(quantity, members) if weights is None else weights[place]
        out[(slice(None), *place)] = average(quantity, members, share)
    return Points(*out)


def spreads(quantity: Quantity, groups: Grouping) -> dict[str, np.ndarray]:
    """Return the errors of averages in bins, by source; first the total."""
    shape = groups.members.shape[:-1]
    found = {
        source: np.full(shape, np.nan) for source in sorted(quantity.parts, key=_rank)
    }
    for place in np.ndindex(*shape):
        members = groups.members[place]
        weights = weights_of(quantity, members)
        used = weights > 0
        for source, out in found.items():
            out[place] = _spread(quantity, source, members[used], weights[used])
    return found


def _rank(source: str) -> int:
    first = (TOTAL, STAT, MC)
    return first.index(source) if source in first else len(first)


def all_weights(quantities: Sequence[Quantity], groups: Grouping) -> np.ndarray:
    """Return the weights of the first quantity, in categories that all of them have."""
    first = quantities[0]
    common = np.all([np.isfinite(one.values) for one in quantities], axis=0)
    first = first._replace(values=np.where(common, first.values, np.nan))
    shape = groups.members.shape[:-1]
    found = [weights_of(first, groups.members[place]) for place in np.ndindex(*shape)]
    return np.reshape(found, groups.members.shape)


def interval(low: float, high: float, name: str = "") -> str:
    """Return a bin as text.

    Example:
        >>> interval(0.9, np.inf, "$R_9$"), interval(-2.5, 0, "eta")
        ('$R_9$ ≥ 0.9', '−2.5 ≤ eta < 0')
    """
    left, right = (f"{edge:.6g}".replace("-", "−") for edge in (low, high))
    if np.isinf(low) and np.isinf(high):
        return f"all {name}".strip()
    if np.isinf(low):
        return f"{name} < {right}".strip()
    if np.isinf(high):
        return f"{name} ≥ {left}".strip()
    return f"{left} ≤ {name} < {right}" if name else f"{left} to {right}"
