"""Terms of a likelihood besides histfactory ones: distributions with data.

The -ln L of the likelihood is the sum of their `nll`. The distribution defines the
likelihood of its data, with or without an expected number of events.
"""

import abc
import math
from collections.abc import Mapping
from typing import Any, TypeAlias, final

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import SpecificationError
from everwillow._typing import Scalar
from everwillow.models.hs3.definition import Reference
from everwillow.models.hs3.distributions.base import AbstractDistribution, Drawable
from everwillow.models.hs3.distributions.elementary import Poisson
from everwillow.models.hs3.functions.graph import Graph, Region, Scope
from everwillow.models.hs3.terms.sampling import draw_events, event_grid, mean_of


Values: TypeAlias = Mapping[str, Float[Array, "..."]]
"""The values of parameters by name, scalars."""

Ranges: TypeAlias = tuple[tuple[str, tuple[float, float]], ...]
"""The range of each observable."""


class AbstractTerm(eqx.Module):
    """One factor of a likelihood: a distribution with its data.

    Attributes:
        name: The name of the distribution.
        parameters: Names of the free symbols that it needs, in order of appearance;
            functions are resolved, observed quantities are left out.
        data: The observed data, a pytree of arrays: an argument of `nll`.
        notes: Sentences on assumptions, for the report of the reader.
        distribution: The density.
        graph: The functions that it needs.
        ranges: The range of each of its observables.
    """

    name: str = eqx.field(static=True)
    parameters: tuple[str, ...] = eqx.field(static=True)
    data: Any
    notes: tuple[str, ...] = eqx.field(static=True)
    distribution: AbstractDistribution
    graph: Graph = eqx.field(static=True)
    ranges: Ranges = eqx.field(static=True)

    @abc.abstractmethod
    def nll(self, values: Values, data: Any) -> Scalar:
        """Return -ln L.

        Args:
            values: Values of `parameters`; others are ignored.
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

    The data are ``{"entries": (events, axes), "weights": (events,)}``. If the
    distribution has an expected number of events, the likelihood contains its Poisson
    probability without the term :math:`\ln n!`; else it is the product of the
    densities.

    Asimov data are the nodes of a quadrature with weights, at which sums over events
    are integrals: 1024 nodes for one axis, 128 or 48 on each of two or three. Toys are
    padded with entries of weight 0 to `capacity` events; if more are drawn, their
    weights are NaN, and so is the likelihood. They are drawn from cells of constant
    density: 4096 on one axis, 256 or 48 on each of two or three.

    Attributes:
        ranges: The axes, in the order of the columns.
        capacity: The number of events in a toy.
    """

    data: dict[str, Array]
    capacity: int = eqx.field(static=True)

    def nll(self, values: Values, data: dict[str, Array]) -> Scalar:
        """Return -ln L of the events, ``inf`` where one of them is impossible."""
        entries, weights = data["entries"], data["weights"]
        columns = {axis: entries[:, i] for i, (axis, _) in enumerate(self.ranges)}
        return self.distribution.events_nll(self._scope(values).at(columns), weights)

    def expected(self, values: Values) -> dict[str, Array]:
        """Return a grid of points whose weights are the expected numbers of events."""
        scope = self._scope(values)
        entries, shares = event_grid(self.distribution, scope)
        total = self.distribution.expected_total(scope, self._observed())
        return {"entries": entries, "weights": shares * total}

    def sample(self, values: Values, key: Array) -> dict[str, Array]:
        """Draw events: a Poisson number, or as many as observed if it is fixed."""
        scope = self._scope(values)
        count_key, event_key = jr.split(key)
        count = self.distribution.draw_total(scope, self._observed(), count_key)
        entries = draw_events(self.distribution, scope, event_key, self.capacity)
        numbers = jnp.arange(self.capacity, dtype=count.dtype)
        weights = (numbers < count).astype(entries.dtype)
        weights = jnp.where(count <= self.capacity, weights, jnp.nan)
        return {"entries": entries, "weights": weights}

    def _scope(self, values: Values) -> Scope:
        return Scope(values, dict(self.ranges), graph=self.graph)

    def _observed(self) -> Scalar:
        return jnp.sum(self.data["weights"])


@final
class BinnedTerm(AbstractTerm):
    r"""Counts in bins, with the integral of the density over each bin.

    The data are an array ``(bins,)``, bins of several axes in row-major order. If the
    distribution has an expected number of events, the likelihood is a product of
    Poisson probabilities, else a multinomial one with the observed total. All constants
    are included. The integrals are closed forms or quadratures.

    Attributes:
        ranges: The axes.
        edges: The edges of their bins, as tuples.
    """

    data: Float[Array, " bins"]
    edges: tuple[tuple[float, ...], ...] = eqx.field(static=True)

    def nll(self, values: Values, data: Float[Array, " bins"]) -> Scalar:
        """Return -ln L of the counts, ``inf`` where one of them is impossible."""
        return self.distribution.counts_nll(*self._bins(values), data)

    def expected(self, values: Values) -> Float[Array, " bins"]:
        """Return the expected contents."""
        return self.distribution.expected_counts(*self._bins(values), self.data)

    def sample(self, values: Values, key: Array) -> Float[Array, " bins"]:
        """Draw contents: Poisson, or multinomial if their total is fixed."""
        return self.distribution.draw_counts(self.expected(values), key)

    def _bins(self, values: Values) -> tuple[Scope, Region]:
        """Return where to evaluate, and the ends of all bins, the last axis fastest."""
        lower = np.meshgrid(*(np.array(e[:-1]) for e in self.edges), indexing="ij")
        upper = np.meshgrid(*(np.array(e[1:]) for e in self.edges), indexing="ij")
        region = {
            axis: (low.ravel(), high.ravel())
            for (axis, _), low, high in zip(self.ranges, lower, upper, strict=True)
        }
        return Scope(values, dict(self.ranges), graph=self.graph), region


@final
class PointTerm(AbstractTerm):
    """One observation: a number of the document, or a global observable.

    The data are an array ``(variates,)``; without data of shape ``(0,)``, which makes
    the term a penalty on parameters.

    Attributes:
        ranges: The variates and the range over which each is normalised.
        bound: Variates that are not observed, with the names of their values.
    """

    data: Float[Array, " variates"]
    bound: tuple[tuple[str, Reference], ...] = eqx.field(static=True)

    def nll(self, values: Values, data: Float[Array, " variates"]) -> Scalar:
        """Return minus the logarithm of the density."""
        bound = dict(self.bound)
        names = [name for name, _ in self.ranges if name not in bound]
        observed = {name: data[i] for i, name in enumerate(names)}
        scope = self._scope(values).at(observed)
        return jnp.reshape(self.distribution.point_nll(scope), ())

    def expected(self, values: Values) -> Float[Array, " variates"]:
        """Return the observation for which the parameters are the best fit.

        It is the mean of a Gaussian and of a Poisson, the median of a log-normal, and
        the mean over the range of other distributions.

        Raises:
            SpecificationError: If the distribution has none of them.
        """
        if self.data.size == 0:
            return self.data
        scope = self._scope(values)
        drawable = self._drawable()
        return (
            mean_of(self.distribution, scope)
            if drawable is None
            else drawable.center(scope)
        )

    def sample(self, values: Values, key: Array) -> Float[Array, " variates"]:
        """Draw an observation.

        Raises:
            SpecificationError: If the distribution cannot be drawn from.
        """
        if self.data.size == 0:
            return self.data
        scope = self._scope(values)
        drawable = self._drawable()
        if drawable is not None:
            return drawable.draw(scope, key)
        return draw_events(self.distribution, scope, key, 1)[0]

    def _scope(self, values: Values) -> Scope:
        scope = Scope(values, dict(self.ranges), graph=self.graph)
        return scope.at({name: scope[source] for name, source in self.bound})

    def _drawable(self) -> Drawable | None:
        """Return the distribution if it can be drawn from as a whole.

        None if it has to be drawn over its finite ranges.
        """
        natural = all(math.isinf(stop) for _, (_, stop) in self.ranges)
        if isinstance(self.distribution, Poisson) or (
            natural and isinstance(self.distribution, Drawable)
        ):
            return self.distribution
        if any(math.isinf(end) for _, ends in self.ranges for end in ends):
            raise SpecificationError(
                f"distributions/{self.name}: nothing can be drawn from it over an "
                "infinite range; give its datum an axis with a min and a max."
            )
        return None
