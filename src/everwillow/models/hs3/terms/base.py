"""The terms of a likelihood of HS3 that are not of HistFactory.

`build_terms` pairs distributions with data and makes one term of each pair, and one of
each auxiliary distribution. The -ln L of the likelihood is the sum of their `nll`.

This is the seam to the reader of documents: dictionaries by name go in, as they stand
in a document, terms come out.
"""

import abc
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, final

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.scipy as jsp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import SpecificationError
from everwillow._typing import Scalar
from everwillow.likelihood.unbinned import extended_nll, shape_nll
from everwillow.models.hs3.data import categorical_axes
from everwillow.models.hs3.definition import Reference
from everwillow.models.hs3.distributions.base import (
    AbstractDistribution,
    AbstractExtended,
    Drawable,
)
from everwillow.models.hs3.distributions.elementary import Poisson, log_poisson
from everwillow.models.hs3.distributions.registry import Builder
from everwillow.models.hs3.functions.graph import Graph, Region, Scope
from everwillow.models.hs3.terms.pairing import Datum, Document, Pairing, Plan
from everwillow.models.hs3.terms.sampling import (
    draw_events,
    draw_multinomial,
    event_grid,
    mean_of,
)


Values: TypeAlias = Mapping[str, Float[Array, "..."]]
"""The values of parameters by name, scalars."""

Ranges: TypeAlias = tuple[tuple[str, tuple[float, float]], ...]
"""The range of each observable."""


class AbstractTerm(eqx.Module):
    """One factor of a likelihood: a distribution and what was observed.

    Attributes:
        name: Of the distribution.
        parameters: Names of the free symbols that it needs, in order of appearance;
            functions are resolved, observed quantities are left out.
        data: What was observed, a pytree of arrays: an argument of `nll`.
        notes: What was assumed, one sentence each, for the report of the reader.
    """

    name: eqx.AbstractVar[str]
    parameters: eqx.AbstractVar[tuple[str, ...]]
    data: eqx.AbstractVar[Any]
    notes: eqx.AbstractVar[tuple[str, ...]]

    @abc.abstractmethod
    def nll(self, values: Values, data: Any) -> Scalar:
        """Return -ln L.

        Args:
            values: Values of `parameters`; others are not looked at.
            data: Structured like `data`; the number of events may differ.
        """

    @abc.abstractmethod
    def expected(self, values: Values) -> Any:
        """Return the Asimov data, structured like `data`."""

    @abc.abstractmethod
    def sample(self, values: Values, key: Array) -> Any:
        """Draw data, structured like `data`."""


@final
class UnbinnedTerm(AbstractTerm):
    r"""Single events: :math:`\lambda - \sum_i w_i \ln(\lambda p(x_i))`, or its shape.

    The data are ``{"entries": (events, axes), "weights": (events,)}``. Where the
    distribution says how many events to expect, that is part of the likelihood, without
    the term :math:`\ln n!`; else it is the product of the densities.

    Asimov data are the nodes of a quadrature with weights, at which sums over events
    are integrals: 1024 nodes for one axis, 128 or 48 on each of two or three. Toys are
    padded with entries of weight 0 to `capacity` events; if more are drawn, their
    weights are NaN, and so is the likelihood. They are drawn from cells of constant
    density: 4096 on one axis, 256 or 48 on each of two or three.

    Attributes:
        distribution: The density.
        graph: The functions that it needs.
        ranges: The axes, in the order of the columns.
        capacity: The number of events in a toy.
    """

    name: str = eqx.field(static=True)
    parameters: tuple[str, ...] = eqx.field(static=True)
    data: dict[str, Array]
    notes: tuple[str, ...] = eqx.field(static=True)
    distribution: AbstractDistribution
    graph: Graph = eqx.field(static=True)
    ranges: Ranges = eqx.field(static=True)
    capacity: int = eqx.field(static=True)

    def nll(self, values: Values, data: dict[str, Array]) -> Scalar:
        """Return -ln L of the events, ``inf`` where one of them is impossible."""
        entries, weights = data["entries"], data["weights"]
        columns = {axis: entries[:, i] for i, (axis, _) in enumerate(self.ranges)}
        scope = self._scope(values).at(columns)
        if isinstance(self.distribution, AbstractExtended):
            intensity = self.distribution.log_intensity(scope)
            intensity = jnp.broadcast_to(intensity, weights.shape)
            return extended_nll(intensity, weights, self.distribution.rate(scope))
        density = jnp.broadcast_to(self.distribution.log_prob(scope), weights.shape)
        return shape_nll(density, weights)

    def expected(self, values: Values) -> dict[str, Array]:
        """Return a grid of points whose weights are the expected numbers of events."""
        scope = self._scope(values)
        entries, shares = event_grid(self.distribution, scope)
        return {"entries": entries, "weights": shares * self._rate(scope)}

    def sample(self, values: Values, key: Array) -> dict[str, Array]:
        """Draw events: a Poisson number, or as many as observed if it is fixed."""
        scope = self._scope(values)
        count_key, event_key = jr.split(key)
        count = self._rate(scope)
        if isinstance(self.distribution, AbstractExtended):
            count = jr.poisson(count_key, count).astype(count.dtype)
        entries = draw_events(self.distribution, scope, event_key, self.capacity)
        numbers = jnp.arange(self.capacity, dtype=count.dtype)
        weights = (numbers < count).astype(entries.dtype)
        weights = jnp.where(count <= self.capacity, weights, jnp.nan)
        return {"entries": entries, "weights": weights}

    def _scope(self, values: Values) -> Scope:
        return Scope(values, dict(self.ranges), graph=self.graph)

    def _rate(self, scope: Scope) -> Scalar:
        if isinstance(self.distribution, AbstractExtended):
            return self.distribution.rate(scope)
        return jnp.sum(self.data["weights"])


@final
class BinnedTerm(AbstractTerm):
    r"""Counts in bins, with the integral of the density over each bin.

    The data are an array ``(bins,)``, bins of several axes in row-major order. Where
    the distribution says how many events to expect, the likelihood is a product of
    Poisson probabilities, else the multinomial one of the observed total. All constants
    are kept. The integrals are the closed forms of the distributions, or quadratures.

    Attributes:
        distribution: The density.
        graph: The functions that it needs.
        ranges: The axes.
        edges: The edges of their bins, as tuples.
    """

    name: str = eqx.field(static=True)
    parameters: tuple[str, ...] = eqx.field(static=True)
    data: Float[Array, " bins"]
    notes: tuple[str, ...] = eqx.field(static=True)
    distribution: AbstractDistribution
    graph: Graph = eqx.field(static=True)
    ranges: Ranges = eqx.field(static=True)
    edges: tuple[tuple[float, ...], ...] = eqx.field(static=True)

    def nll(self, values: Values, data: Float[Array, " bins"]) -> Scalar:
        """Return -ln L of the counts, ``inf`` where one of them is impossible."""
        logs = self._log_expected(values)
        if isinstance(self.distribution, AbstractExtended):
            return -jnp.sum(log_poisson(data, jnp.exp(logs)))
        constant = jnp.sum(jsp.special.gammaln(data + 1.0))
        constant = constant - jsp.special.gammaln(jnp.sum(data) + 1.0)
        return constant + shape_nll(logs, data)

    def expected(self, values: Values) -> Float[Array, " bins"]:
        """Return the expected contents."""
        contents = jnp.exp(self._log_expected(values))
        if isinstance(self.distribution, AbstractExtended):
            return contents
        return jnp.sum(self.data) * contents

    def sample(self, values: Values, key: Array) -> Float[Array, " bins"]:
        """Draw contents: Poisson, or multinomial if their total is fixed."""
        contents = self.expected(values)
        if isinstance(self.distribution, AbstractExtended):
            return jr.poisson(key, contents).astype(contents.dtype)
        return draw_multinomial(key, contents)

    def _log_expected(self, values: Values) -> Float[Array, " bins"]:
        """Return the logarithms of expected contents, or of probabilities."""
        scope = Scope(values, dict(self.ranges), graph=self.graph)
        region = _bin_region(tuple(axis for axis, _ in self.ranges), self.edges)
        if isinstance(self.distribution, AbstractExtended):
            logs = self.distribution.log_rates(scope, region)
        else:
            logs = self.distribution.log_probability(scope, region)
        return jnp.broadcast_to(logs, self.data.shape)


@final
class PointTerm(AbstractTerm):
    """One observation: a number of the document, or a global observable.

    The data are an array ``(variates,)``; of shape ``(0,)`` where nothing is observed,
    which makes it a penalty on parameters only.

    Attributes:
        distribution: The density.
        graph: The functions that it needs.
        ranges: The variates and the range over which each is normalised.
        bound: Variates that are not observed, with what has their value.
    """

    name: str = eqx.field(static=True)
    parameters: tuple[str, ...] = eqx.field(static=True)
    data: Float[Array, " variates"]
    notes: tuple[str, ...] = eqx.field(static=True)
    distribution: AbstractDistribution
    graph: Graph = eqx.field(static=True)
    ranges: Ranges = eqx.field(static=True)
    bound: tuple[tuple[str, Reference], ...] = eqx.field(static=True)

    def nll(self, values: Values, data: Float[Array, " variates"]) -> Scalar:
        """Return minus the logarithm of the density."""
        scope = self._scope(values)
        observed = {name: data[i] for i, name in enumerate(self._observed())}
        scope = scope.at(observed)
        log_prob = self.distribution.log_prob(scope)
        if isinstance(self.distribution, AbstractExtended):
            log_prob = self.distribution.log_intensity(scope)
            log_prob = log_prob - self.distribution.rate(scope)
        return -jnp.reshape(log_prob, ())

    def expected(self, values: Values) -> Float[Array, " variates"]:
        """Return the observation that the parameters fit best.

        That is the mean of a Gaussian and of a Poisson, the median of a log-normal, and
        the mean over the range of anything else.

        Raises:
            SpecificationError: If the distribution has none of them.
        """
        if self.data.size == 0:
            return self.data
        scope = self._scope(values)
        if isinstance(self.distribution, Drawable) and self._is_natural():
            return self.distribution.center(scope)
        self._require_finite()
        return mean_of(self.distribution, scope)

    def sample(self, values: Values, key: Array) -> Float[Array, " variates"]:
        """Draw an observation.

        Raises:
            SpecificationError: If nothing can be drawn from the distribution.
        """
        if self.data.size == 0:
            return self.data
        scope = self._scope(values)
        if isinstance(self.distribution, Drawable) and self._is_natural():
            return self.distribution.draw(scope, key)
        self._require_finite()
        return draw_events(self.distribution, scope, key, 1)[0]

    def _scope(self, values: Values) -> Scope:
        scope = Scope(values, dict(self.ranges), graph=self.graph)
        return scope.at({name: scope[source] for name, source in self.bound})

    def _observed(self) -> list[str]:
        bound = dict(self.bound)
        return [name for name, _ in self.ranges if name not in bound]

    def _is_natural(self) -> bool:
        return isinstance(self.distribution, Poisson) or all(
            math.isinf(stop) for _, (_, stop) in self.ranges
        )

    def _require_finite(self) -> None:
        if any(math.isinf(end) for _, ends in self.ranges for end in ends):
            raise SpecificationError(
                f"distributions/{self.name}: nothing can be drawn from it over an "
                "infinite range; give its datum an axis with a min and a max."
            )


def _bin_region(names: tuple[str, ...], edges: tuple[tuple[float, ...], ...]) -> Region:
    """Return the ends of all bins of several axes, the last axis running fastest."""
    lower = np.meshgrid(*(np.array(e[:-1]) for e in edges), indexing="ij")
    upper = np.meshgrid(*(np.array(e[1:]) for e in edges), indexing="ij")
    return {
        name: (low.ravel(), high.ravel())
        for name, low, high in zip(names, lower, upper, strict=True)
    }


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
        pairs: Distribution and datum of each pair.
        distributions: The distributions of the document by name.
        functions: Its functions by name.
        data: Its data sets by name.
        aux_distributions: Names of auxiliary distributions; each is counted once,
            however often it is named, also as a factor of a product.
        observed: Values of the constants that can be global observables, by name: an
            auxiliary distribution whose variate is among them has it as its data.
        known: Names of all parameters of the document; another name is an error. Any
            name is a parameter if None.
        capacity: Room for events in unbinned toys; twice the observed events plus a
            hundred if None.

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
    wanted = [*(name for name, _ in pairs), *aux_distributions]
    roots = [r for name in wanted for r in builder.build(name).references]
    discrete = categorical_axes((data or {}).values())
    graph = Graph(functions, known=names, roots=roots, discrete=discrete)
    pairing = Pairing(Document(builder, graph, data or {}, observed))
    plans = [pairing.main(name, datum) for name, datum in pairs]
    plans += pairing.auxiliary(aux_distributions)
    general = (*builder.notes, *graph.notes)
    notes = [(() if i else general) + plan.notes for i, plan in enumerate(plans)]
    with_notes = zip(plans, notes, strict=True)
    return tuple(_term(plan, graph, said, capacity) for plan, said in with_notes)


def _term(
    plan: Plan, graph: Graph, notes: tuple[str, ...], capacity: int | None
) -> AbstractTerm:
    own = {name for name, _ in plan.ranges} - dict(plan.bound).keys()
    sources = dict(plan.bound)
    found = [sources.get(name, name) for name in plan.distribution.references]
    references = [name for name in found if isinstance(name, str)]
    free = tuple(name for name in graph.free(references) if name not in own)
    named = (plan.distribution.name, free)
    common = (notes, plan.distribution, graph, plan.ranges)
    data = jnp.asarray(plan.data, float)
    if plan.weights is not None:
        weights = jnp.asarray(plan.weights, float)
        room = capacity
        if room is None:
            room = 2 * max(len(plan.weights), math.ceil(plan.weights.sum())) + 100
        events = {"entries": data, "weights": weights}
        return UnbinnedTerm(*named, events, *common, room)
    if plan.edges is not None:
        return BinnedTerm(*named, data, *common, plan.edges)
    return PointTerm(*named, data, *common, plan.bound)
