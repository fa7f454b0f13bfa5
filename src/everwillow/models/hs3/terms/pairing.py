"""Pairing of distributions with data and ranges.

`build_terms` makes one term of each pair of a distribution and data, and one of each
auxiliary distribution. Its arguments are the dictionaries by name of a document.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import jax.numpy as jnp
import numpy as np

from everwillow._errors import SpecificationError, unknown_key
from everwillow.models._document import Node, Report
from everwillow.models.hs3.data import (
    Axis,
    BinnedData,
    PointData,
    UnbinnedData,
    categorical_axes,
    read_data,
)
from everwillow.models.hs3.definition import Reference
from everwillow.models.hs3.distributions.base import (
    AbstractDistribution,
    AbstractExtended,
)
from everwillow.models.hs3.distributions.composite import BinCounts, Product
from everwillow.models.hs3.distributions.elementary import Gaussian, Uniform
from everwillow.models.hs3.distributions.registry import Builder
from everwillow.models.hs3.functions.graph import Graph
from everwillow.models.hs3.terms.base import (
    AbstractTerm,
    BinnedTerm,
    PointTerm,
    UnbinnedTerm,
)


Datum: TypeAlias = str | float | Sequence[float]
"""The name of a data set, or the observed numbers themselves."""

Range: TypeAlias = tuple[str, tuple[float, float]]


@dataclass(frozen=True)
class Definitions:
    """The definitions of a document.

    Attributes:
        builder: The builder of distributions.
        graph: The functions.
        data: Definitions of data sets by name.
        observed: Values of possible global observables.
    """

    builder: Builder
    graph: Graph
    data: Mapping[str, Mapping[str, Any]]
    observed: Mapping[str, float]


def build_terms(
    pairs: Sequence[tuple[str, Datum]],
    *,
    distributions: Mapping[str, Mapping[str, Any]],
    functions: Mapping[str, Mapping[str, Any]] | None = None,
    data: Mapping[str, Mapping[str, Any]] | None = None,
    aux_distributions: Sequence[str] = (),
    observed: Mapping[str, float] | None = None,
    known: Iterable[str] | None = None,
    capacity: int | None = None,
) -> tuple[AbstractTerm, ...]:
    """Make the terms of a likelihood.

    Args:
        pairs: The distribution and the datum of each pair.
        distributions: The distributions of the document by name.
        functions: Its functions by name.
        data: Its data sets by name.
        aux_distributions: Names of auxiliary distributions; each is counted once, also
            if it is repeated or a factor of a product.
        observed: Values of the constants that can be global observables, by name: an
            auxiliary distribution whose variate is among them has it as its data.
        known: Names of all parameters of the document; another name is an error. Any
            name is a parameter if None.
        capacity: The largest number of events in unbinned toys; twice the observed
            events plus a hundred if None.

    Returns:
        The terms of `pairs` in order, then those of auxiliary distributions.

    Raises:
        SpecificationError: If a definition cannot be used.
        UnknownKeyError: If a name is not known.

    Example:
        >>> (term,) = build_terms(
        ...     [("g", 1.0)],
        ...     distributions={
        ...         "g": {"type": "normal_dist", "x": "x", "mean": "mu", "sigma": 1}
        ...     },
        ... )
        >>> term.parameters
        ('mu',)
        >>> print(term.nll({"mu": 1.0}, term.data).round(6))
        0.918939
    """
    observed = dict(observed or {})
    names = None if known is None else [*known, *observed]
    builder = Builder(distributions, functions)
    needed = [*(name for name, _ in pairs), *aux_distributions]
    roots = [r for name in needed for r in builder.build(name).references]
    discrete = categorical_axes((data or {}).values())
    graph = Graph(functions, known=names, roots=roots, discrete=discrete)
    pairing = Pairing(Definitions(builder, graph, data or {}, observed), capacity)
    terms = [pairing.main(name, datum) for name, datum in pairs]
    terms += pairing.auxiliary(aux_distributions)
    if terms:
        general = (*builder.notes, *graph.notes)
        terms[0] = dataclasses.replace(terms[0], notes=general + terms[0].notes)
    return tuple(terms)


class Pairing:
    """Pairs distributions with data, and counts each constraint once.

    Args:
        document: The definitions.
        capacity: Room for events in unbinned toys, or None.
    """

    def __init__(self, document: Definitions, capacity: int | None) -> None:
        self.document = document
        self.capacity = capacity
        self.constraints: dict[str, AbstractDistribution] = {}

    def main(self, name: str, datum: Datum) -> AbstractTerm:
        """Make the term of a distribution and its datum.

        Factors that depend on nothing observed go to `constraints`.
        """
        distribution = self.document.builder.build(name)
        if not isinstance(datum, str):
            return self._inline(distribution, datum)
        if datum not in self.document.data:
            raise unknown_key(datum, self.document.data, where="data")
        report = Report()
        node = Node({"name": datum, **self.document.data[datum]}, f"data/{datum}")
        data = read_data(node, report=report)
        if isinstance(data, PointData):
            term = self._point(distribution, np.array([data.value]), data.axes)
        elif isinstance(data, UnbinnedData):
            term = self._unbinned(distribution, data)
        else:
            term = self._binned(distribution, data)
        return dataclasses.replace(term, notes=term.notes + report.sentences())

    def auxiliary(self, names: Iterable[str]) -> list[AbstractTerm]:
        """Make the terms of auxiliary distributions and of `constraints`.

        There is one of each factor of a product, once.
        """
        whole = [self.document.builder.build(name) for name in names]
        listed = [factor for one in whole for factor in _factors(one)]
        listed += self.constraints.values()
        each = {factor.name: factor for factor in listed}
        return [self._constraint(factor) for factor in each.values()]

    def _inline(self, distribution: AbstractDistribution, datum: Any) -> AbstractTerm:
        values = [datum] if isinstance(datum, int | float) else list(datum)
        numbers = all(
            isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)
            for v in values
        )
        if not numbers:
            raise SpecificationError(
                f"distributions/{distribution.name}: {datum!r} is no observation."
            )
        return self._point(distribution, np.array(values, float), ())

    def _point(
        self,
        distribution: AbstractDistribution,
        values: np.ndarray,
        axes: tuple[Axis, ...],
    ) -> AbstractTerm:
        name = distribution.name
        if axes:
            ranges = tuple((axis.name, (axis.lower, axis.upper)) for axis in axes)
            bare = distribution
            if not self._depends(bare, {axis.name for axis in axes}):
                _refuse_unrelated(name, {axis.name for axis in axes})
        else:
            variates = distribution.variates
            if not variates:
                raise SpecificationError(
                    f"distributions/{name}: which of its symbols is observed is not "
                    "clear; give the datum an axis."
                )
            bare, names, _ = self._named(distribution)
            ranges = tuple((symbol, _range_of(bare, observed=True)) for symbol in names)
        if len(ranges) != len(values):
            raise SpecificationError(
                f"distributions/{name}: {len(values)} numbers were observed and it has "
                f"{len(ranges)} variates."
            )
        for (symbol, (low, high)), value in zip(ranges, values, strict=True):
            if not low <= value <= high:
                raise SpecificationError(
                    f"distributions/{name}: {symbol} = {value:g} is observed, outside "
                    f"of its range from {low:g} to {high:g}."
                )
        self._check(bare, [symbol for symbol, _ in ranges])
        common = self._common(bare, ranges)
        return PointTerm(**common, data=jnp.asarray(values, float), bound=())

    def _unbinned(
        self, distribution: AbstractDistribution, data: UnbinnedData
    ) -> AbstractTerm:
        if not data.axes:
            raise SpecificationError(f"data/{data.name}: unbinned data need axes.")
        stripped, notes = self._stripped(distribution, data.axes)
        if isinstance(stripped, BinCounts):
            raise SpecificationError(
                f"distributions/{distribution.name}: counts of bins are not paired "
                f"with the unbinned data {data.name!r}."
            )
        ranges = tuple((axis.name, (axis.lower, axis.upper)) for axis in data.axes)
        weights = np.ones(len(data.entries)) if data.weights is None else data.weights
        room = self.capacity
        if room is None:
            room = 2 * max(len(weights), math.ceil(weights.sum())) + 100
        events = {
            "entries": jnp.asarray(data.entries, float),
            "weights": jnp.asarray(weights, float),
        }
        common = self._common(stripped, ranges, notes)
        return UnbinnedTerm(**common, data=events, capacity=room)

    def _binned(
        self, distribution: AbstractDistribution, data: BinnedData
    ) -> AbstractTerm:
        given = {axis.name: axis.edges for axis in data.axes}
        if isinstance(distribution, BinCounts) and distribution.edges:
            own = dict(distribution.edges)
            agree = [
                name in own and edges is not None and np.array_equal(own[name], edges)
                for name, edges in given.items()
            ]
            if given and not (len(given) == len(own) and all(agree)):
                raise SpecificationError(
                    f"distributions/{distribution.name}: its bins are not those of the "
                    f"data {data.name!r}."
                )
            bins = tuple(own.items())
        else:
            bins = tuple(
                (name, tuple(edges.tolist()))
                for name, edges in given.items()
                if edges is not None
            )
            if not bins or len(bins) != len(given):
                raise SpecificationError(
                    f"data/{data.name}: binned data need axes with edges or nbins."
                )
        expected = math.prod(len(edges) - 1 for _, edges in bins)
        if len(data.contents) != expected:
            raise SpecificationError(
                f"data/{data.name}: {len(data.contents)} contents for {expected} bins "
                f"of {distribution.name!r}."
            )
        if np.any(data.contents < 0.0):
            first = int(np.argmax(data.contents < 0.0))
            raise SpecificationError(
                f"data/{data.name}: bin {first} has a negative content."
            )
        axes = [Axis(name, edges[0], edges[-1]) for name, edges in bins]
        stripped, notes = self._stripped(distribution, axes)
        ranges = tuple((axis.name, (axis.lower, axis.upper)) for axis in axes)
        edges = tuple(edges for _, edges in bins)
        common = self._common(stripped, ranges, notes)
        return BinnedTerm(**common, data=jnp.asarray(data.contents, float), edges=edges)

    def _stripped(
        self, distribution: AbstractDistribution, axes: Sequence[Axis]
    ) -> tuple[AbstractDistribution, tuple[str, ...]]:
        """Return the distribution without factors that depend on nothing observed."""
        observables = {axis.name for axis in axes}
        kept, moved = [], []
        for factor in _factors(distribution):
            (kept if self._depends(factor, observables) else moved).append(factor)
        if not kept:
            _refuse_unrelated(distribution.name, observables)
        if len(kept) > 1 and any(isinstance(f, AbstractExtended) for f in kept):
            raise SpecificationError(
                f"distributions/{distribution.name}: a factor that says how many "
                "events to expect cannot be multiplied with another density of events."
            )
        self._check(distribution, observables)
        notes = []
        for factor in moved:
            self.constraints.setdefault(factor.name, factor)
            notes.append(
                f"distributions/{distribution.name}: its factor {factor.name!r} "
                "depends on nothing observed; it is counted once, apart from the data."
            )
        needed = set(self.document.graph.free(distribution.references))
        notes += [
            f"distributions/{distribution.name}: it does not depend on the axis "
            f"{name!r} of its data."
            for name in sorted(observables - needed)
        ]
        whole = kept[0] if len(kept) == 1 else Product(distribution.name, tuple(kept))
        return (distribution if not moved else whole), tuple(notes)

    def _depends(self, factor: AbstractDistribution, observables: set[str]) -> bool:
        return not observables.isdisjoint(self.document.graph.free(factor.references))

    def _constraint(self, distribution: AbstractDistribution) -> AbstractTerm:
        exchanged = _swapped(distribution, self.document.observed)
        bare, names, bound = self._named(exchanged)
        values, notes = [], []
        observed = self.document.observed
        originals = dict(zip(names, exchanged.variates, strict=True))
        for symbol in names:
            original = originals[symbol]
            if not isinstance(original, str):
                values.append(float(original))
            elif original in observed and symbol not in dict(bound):
                values.append(float(observed[original]))
        if values and len(values) != len(names):
            # Half observed: what is not is a parameter, and so are the others then.
            bound, values = _all_bound(originals, bound), []
        # A flat density is zero whatever is observed, and over any range.
        strict = bool(values) and not isinstance(bare, Uniform)
        ranges = tuple((symbol, _range_of(bare, observed=strict)) for symbol in names)
        if not names or any(math.isnan(low) for _, (low, _) in ranges):
            bare, ranges, values = exchanged, (), []
            if not isinstance(distribution, Uniform):
                notes.append(
                    f"distributions/{distribution.name}: it is a penalty that is not "
                    "normalised, for it has no variable or no range."
                )
        elif not values:
            bound = _all_bound(originals, bound)
            if not isinstance(distribution, Uniform):
                notes.append(
                    f"distributions/{distribution.name}: nothing of it is known to be "
                    "observed; it is a penalty, which Asimov data and toys do not move."
                )
        bound = tuple(pair for pair in bound if pair[0] in dict(ranges))
        self._check(bare, [*names, *observed])
        common = self._common(bare, ranges, tuple(notes), bound)
        return PointTerm(**common, data=jnp.asarray(values, float), bound=bound)

    def _named(
        self, distribution: AbstractDistribution
    ) -> tuple[
        AbstractDistribution, tuple[str, ...], tuple[tuple[str, Reference], ...]
    ]:
        """Give each variate a symbol: numbers and functions have none of their own."""
        names, bound = [], []
        for index, variate in enumerate(distribution.variates):
            fresh = f"{distribution.name}#{index}"
            if not isinstance(variate, str):
                names.append(fresh)
            elif self.document.graph.function_name(variate) is not None:
                names.append(fresh)
                bound.append((fresh, variate))
            else:
                names.append(variate)
        if tuple(names) == distribution.variates or not names:
            return distribution, tuple(names), ()
        # The variable is the first field after the name, by convention of the classes.
        field = dataclasses.fields(distribution)[1].name
        single = not isinstance(getattr(distribution, field), tuple)
        if single and len(names) != 1:
            raise SpecificationError(
                f"distributions/{distribution.name}: a number or a function cannot be "
                "the variable of a composite distribution here."
            )
        value = names[0] if single else tuple(names)
        replaced = dataclasses.replace(distribution, **{field: value})
        return replaced, tuple(names), tuple(bound)

    def _check(self, distribution: AbstractDistribution, extra: Iterable[str]) -> None:
        known = set(extra)
        names = [name for name in distribution.references if name not in known]
        self.document.graph.check(names, where=f"distributions/{distribution.name}")

    def _common(
        self,
        distribution: AbstractDistribution,
        ranges: tuple[Range, ...],
        notes: tuple[str, ...] = (),
        bound: tuple[tuple[str, Reference], ...] = (),
    ) -> dict[str, Any]:
        """Return the fields that all kinds of terms have, but for the data."""
        sources = dict(bound)
        own = {name for name, _ in ranges} - sources.keys()
        values = [sources.get(name, name) for name in distribution.references]
        graph = self.document.graph
        free = graph.free([name for name in values if isinstance(name, str)])
        return {
            "name": distribution.name,
            "parameters": tuple(name for name in free if name not in own),
            "notes": notes,
            "distribution": distribution,
            "graph": graph,
            "ranges": ranges,
        }


def _refuse_unrelated(name: str, observables: set[str]) -> NoReturn:
    shown = ", ".join(repr(name) for name in sorted(observables))
    raise SpecificationError(
        f"distributions/{name}: it depends on none of the observables of its data "
        f"({shown})."
    )


def _factors(distribution: AbstractDistribution) -> list[AbstractDistribution]:
    if not isinstance(distribution, Product):
        return [distribution]
    return [f for factor in distribution.factors for f in _factors(factor)]


def _swapped(
    distribution: AbstractDistribution, observed: Mapping[str, float]
) -> AbstractDistribution:
    """Exchange variable and mean of a Gaussian if the mean is what was observed."""
    if not isinstance(distribution, Gaussian):
        return distribution
    x, mean = distribution.x, distribution.mean
    is_datum = isinstance(x, float) or x in observed
    if is_datum or not (isinstance(mean, float) or mean in observed):
        return distribution
    return dataclasses.replace(distribution, x=mean, mean=x)


def _range_of(
    distribution: AbstractDistribution, *, observed: bool
) -> tuple[float, float]:
    """Return the range over which it is normalised by itself; NaN if it is not."""
    if distribution.natural_range is not None:
        return distribution.natural_range
    if observed:
        raise SpecificationError(
            f"distributions/{distribution.name}: it can only be normalised over a "
            "finite range; give its datum an axis with a min and a max."
        )
    return (math.nan, math.nan)


def _all_bound(
    originals: Mapping[str, Reference], bound: tuple[tuple[str, Reference], ...]
) -> tuple[tuple[str, Reference], ...]:
    """Bind all variates to what the definition has for them."""
    extra = [pair for pair in originals.items() if pair[0] not in dict(bound)]
    return (*bound, *extra)
