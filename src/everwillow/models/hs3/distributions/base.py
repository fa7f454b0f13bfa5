"""Base classes of the distributions of HS3.

A distribution is an unnormalised density of observables, in log space. Symbols with a
range in `Scope.domain` are observables; all other symbols are parameters. Densities are
normalised over that range.
"""

import abc
import dataclasses
from typing import Any, ClassVar, Protocol, final, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.scipy as jsp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import SpecificationError
from everwillow.likelihood.quadrature import log_sum
from everwillow.likelihood.unbinned import extended_nll, shape_nll
from everwillow.models.hs3.definition import Reference
from everwillow.models.hs3.distributions.panels import ORDER, pieces_of, rule_of
from everwillow.models.hs3.distributions.special import log_poisson
from everwillow.models.hs3.expressions import Expression
from everwillow.models.hs3.functions.base import Binning
from everwillow.models.hs3.functions.graph import Edge, Region, Scope


PANELS = 64
"""Panels of a quadrature over the whole range of an observable, 16 nodes each."""

_NODES_OF_MANY = {2: 128, 3: 48}


class AbstractDistribution(eqx.Module):
    """An unnormalised density; its fields are names, numbers and other distributions.

    Attributes:
        name: The name in the document.
        support: The natural range of its variate, or None if it needs a finite one.
    """

    name: str = eqx.field(static=True)
    support: ClassVar[tuple[float, float] | None] = None

    @abc.abstractmethod
    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the unnormalised density at the observables."""

    @abc.abstractmethod
    def log_integral(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the logarithm of its integral over intervals of the observables.

        Args:
            scope: Values of the parameters.
            region: The lower and upper ends for each observable, all of one shape.
        """

    @abc.abstractmethod
    def events_nll(self, scope: Scope, weights: Array) -> Float[Array, ""]:
        """Return -ln L of single events.

        Args:
            scope: Values of the parameters, and of the observables of each event.
            weights: The weights of the events, shape ``(events,)``.
        """

    @abc.abstractmethod
    def counts_nll(
        self, scope: Scope, region: Region, counts: Float[Array, " bins"]
    ) -> Float[Array, ""]:
        """Return -ln L of counts in intervals, all constants included."""

    @abc.abstractmethod
    def point_nll(self, scope: Scope) -> Float[Array, "..."]:
        """Return -ln L of a single observation."""

    @abc.abstractmethod
    def expected_total(self, scope: Scope, observed: Array) -> Array:
        """Return the expected number of events, given the observed number."""

    @abc.abstractmethod
    def expected_counts(
        self, scope: Scope, region: Region, observed: Float[Array, " bins"]
    ) -> Float[Array, " bins"]:
        """Return the expected counts in intervals, given the observed counts."""

    @abc.abstractmethod
    def draw_total(self, scope: Scope, observed: Array, key: Array) -> Array:
        """Draw the number of events, given the observed number."""

    @abc.abstractmethod
    def draw_counts(self, expected: Float[Array, " bins"], key: Array) -> Array:
        """Draw counts with these expectations."""

    @property
    def variates(self) -> tuple[Reference, ...]:
        """The variables of the density that the definition names."""
        return ()

    @property
    def natural_range(self) -> tuple[float, float] | None:
        """The range in which the density is normalised by default, or None."""
        return self.support

    @final
    def log_prob(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the density, normalised over the domain."""
        return self.log_density(scope) - self.log_integral(scope, scope.domain)

    @final
    def log_probability(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the logarithms of the probabilities of intervals."""
        if region is scope.domain:
            return jnp.zeros(())
        total = self.log_integral(scope, scope.domain)
        return self.log_integral(scope, region) - total

    @final
    @property
    def references(self) -> tuple[str, ...]:
        """All names that the definition refers to, in order, without repetition."""
        every = (*self.smooth_references, *(n for b in self.binnings for n in b.names))
        return tuple(dict.fromkeys(every))

    @final
    @property
    def smooth_references(self) -> tuple[str, ...]:
        """The names on which it depends by their values, not only by their bins."""
        found: dict[str, None] = {}
        for field in dataclasses.fields(self):
            if field.name != "name":
                found.update(dict.fromkeys(_names(getattr(self, field.name))))
        return tuple(found)

    @final
    @property
    def binnings(self) -> tuple[Binning, ...]:
        """The bins on which it depends, without those of functions."""
        parts = [getattr(self, field.name) for field in dataclasses.fields(self)]
        return tuple(bins for part in parts for bins in _binnings(part))


class AbstractShape(AbstractDistribution):
    """A distribution without an expected number of events.

    The number of events is that of the data: -ln L of events is the sum of their -ln
    densities, and -ln L of counts is multinomial with the observed total.
    """

    @final
    def events_nll(self, scope: Scope, weights: Array) -> Float[Array, ""]:
        """Return -ln of the product of the densities."""
        return shape_nll(jnp.broadcast_to(self.log_prob(scope), weights.shape), weights)

    @final
    def counts_nll(
        self, scope: Scope, region: Region, counts: Float[Array, " bins"]
    ) -> Float[Array, ""]:
        """Return -ln of the multinomial probability."""
        constant = jnp.sum(jsp.special.gammaln(counts + 1.0))
        constant = constant - jsp.special.gammaln(jnp.sum(counts) + 1.0)
        logs = self.log_probability(scope, region)
        return constant + shape_nll(jnp.broadcast_to(logs, counts.shape), counts)

    @final
    def point_nll(self, scope: Scope) -> Float[Array, "..."]:
        """Return -ln of the density."""
        return -self.log_prob(scope)

    @final
    def expected_total(self, scope: Scope, observed: Array) -> Array:
        """Return the observed number."""
        del scope
        return observed

    @final
    def expected_counts(
        self, scope: Scope, region: Region, observed: Float[Array, " bins"]
    ) -> Float[Array, " bins"]:
        """Return the observed total times the probabilities."""
        logs = jnp.broadcast_to(self.log_probability(scope, region), observed.shape)
        return jnp.sum(observed) * jnp.exp(logs)

    @final
    def draw_total(self, scope: Scope, observed: Array, key: Array) -> Array:
        """Return the observed number."""
        del scope, key
        return observed

    @final
    def draw_counts(self, expected: Float[Array, " bins"], key: Array) -> Array:
        """Draw counts with a fixed total, bin after bin from the remaining events."""
        total = jnp.round(jnp.sum(expected))
        after = jnp.cumsum(expected[::-1])[::-1]

        def step(left: Array, bin_: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            content, rest, bin_key = bin_
            share = jnp.clip(content / jnp.where(rest > 0.0, rest, 1.0), 0.0, 1.0)
            drawn = jr.binomial(bin_key, left, share)
            return left - drawn, drawn

        keys = jr.split(key, expected.shape[0])
        return jax.lax.scan(step, total, (expected, after, keys))[1]


class AbstractExtended(AbstractDistribution):
    """A distribution with an expected number of events.

    -ln L contains the Poisson probability of the number of events: without the term
    ln n! for single events, with all constants for counts.
    """

    @abc.abstractmethod
    def rate(self, scope: Scope) -> Float[Array, ""]:
        """Return the expected number of events in the domain."""

    @abc.abstractmethod
    def log_intensity(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the rate times the density."""

    @abc.abstractmethod
    def log_rates(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the logarithms of the expected numbers of events in intervals."""

    @final
    def events_nll(self, scope: Scope, weights: Array) -> Float[Array, ""]:
        """Return the expected number minus the logarithms of the intensities."""
        intensity = jnp.broadcast_to(self.log_intensity(scope), weights.shape)
        return extended_nll(intensity, weights, self.rate(scope))

    @final
    def counts_nll(
        self, scope: Scope, region: Region, counts: Float[Array, " bins"]
    ) -> Float[Array, ""]:
        """Return -ln of the product of Poisson probabilities."""
        return -jnp.sum(
            log_poisson(counts, self.expected_counts(scope, region, counts))
        )

    @final
    def point_nll(self, scope: Scope) -> Float[Array, "..."]:
        """Return the expected number minus the logarithm of the intensity."""
        return -(self.log_intensity(scope) - self.rate(scope))

    @final
    def expected_total(self, scope: Scope, observed: Array) -> Array:
        """Return the expected number."""
        del observed
        return self.rate(scope)

    @final
    def expected_counts(
        self, scope: Scope, region: Region, observed: Float[Array, " bins"]
    ) -> Float[Array, " bins"]:
        """Return the expected numbers, which do not depend on the observed ones."""
        return jnp.exp(jnp.broadcast_to(self.log_rates(scope, region), observed.shape))

    @final
    def draw_total(self, scope: Scope, observed: Array, key: Array) -> Array:
        """Draw a Poisson number."""
        del observed
        rate = self.rate(scope)
        return jr.poisson(key, rate).astype(rate.dtype)

    @final
    def draw_counts(self, expected: Float[Array, " bins"], key: Array) -> Array:
        """Draw Poisson numbers."""
        return jr.poisson(key, expected).astype(expected.dtype)


class AbstractIntensity(AbstractExtended):
    """A density of events, whose integral is their expected number."""

    @final
    def log_integral(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the quadrature, which is exact for histograms."""
        return integrate(self, scope, region)

    @final
    def rate(self, scope: Scope) -> Float[Array, ""]:
        """Return the integral over the domain."""
        return jnp.exp(self.log_integral(scope, scope.domain))

    @final
    def log_intensity(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the density of events."""
        return self.log_density(scope)

    @final
    def log_rates(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the logarithms of integrals."""
        return self.log_integral(scope, region)


class AbstractClosed(AbstractShape):
    """A density of one variable whose integral has a closed form."""

    @final
    @property
    def variable(self) -> Reference:
        """The variable of the closed form: the first field after the name."""
        return getattr(self, dataclasses.fields(self)[1].name)

    @abc.abstractmethod
    def log_closed(self, scope: Scope, lower: Edge, upper: Edge) -> Float[Array, "..."]:
        """Return the logarithm of the integral over intervals of the variable."""

    @final
    @property
    def variates(self) -> tuple[Reference, ...]:
        """The variable."""
        return (self.variable,)

    @final
    def log_integral(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the closed form, or a quadrature if it does not apply."""
        if not is_plain(self, scope):
            return integrate(self, scope, region)
        observables = scope.observables(self.references)
        if not observables:
            return jnp.zeros(())
        if self.support is None:
            require_finite(self, scope, observables)
        lower, upper = region[observables[0]]
        return self.log_closed(scope, lower, upper)


class AbstractNumeric(AbstractShape):
    """A density that is integrated by quadrature."""

    @final
    def log_integral(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the quadrature over all observables that it depends on."""
        return integrate(self, scope, region)


@runtime_checkable
class Drawable(Protocol):
    """A density with a method to draw observations, and an expected observation."""

    def center(self, scope: Scope) -> Float[Array, " variates"]:
        """Return the observation for which the parameters are the best fit."""
        ...

    def draw(self, scope: Scope, key: Array) -> Float[Array, " variates"]:
        """Draw an observation, from the natural range."""
        ...


def is_plain(distribution: AbstractClosed, scope: Scope) -> bool:
    """Whether the closed form applies.

    It applies if the variable is the only observable and nothing else depends on it:
    the variable is not a function of the observable, and neither is a parameter.
    """
    variable = distribution.variable
    observables = scope.observables(distribution.references)
    if not observables:
        return True
    if observables != (variable,):
        return False
    others = [name for name in distribution.references if name != variable]
    return not scope.observables(others)


def integrate(
    distribution: AbstractDistribution, scope: Scope, region: Region
) -> Float[Array, "..."]:
    """Return the logarithm of the integral by Gauss-Legendre quadrature.

    One observable has `PANELS` panels of 16 nodes in the whole domain, and parts of it
    have a proportional number; two or three observables have 128 or 48 nodes each.

    Raises:
        SpecificationError: If a range is infinite, or there are more observables.
    """
    observables = scope.observables(distribution.references)
    if not observables:
        return jnp.zeros(())
    require_finite(distribution, scope, observables)
    if len(observables) == 1:
        (observable,) = observables
        lower, upper = region[observable]
        pieces = pieces_of(distribution, scope, observable)
        start, stop = scope.domain[observable]
        edges = pieces.edges(lower, upper, float(stop - start) / PANELS)
        nodes, weights = rule_of(edges, pieces.order)
        at = scope.at({observable: jnp.asarray(nodes)})
        return log_sum(distribution.log_density(at), jnp.asarray(weights))
    if len(observables) not in _NODES_OF_MANY:
        raise SpecificationError(
            f"distributions/{distribution.name}: it depends on {len(observables)} "
            f"observables ({', '.join(observables)}); quadrature goes up to three."
        )
    return _integrate_many(distribution, scope, region, observables)


def require_finite(
    distribution: AbstractDistribution, scope: Scope, observables: tuple[str, ...]
) -> None:
    """Raise an error for an infinite range.

    Raises:
        SpecificationError: If there is one.
    """
    for observable in observables:
        if not np.all(np.isfinite(np.asarray(scope.domain[observable]))):
            raise SpecificationError(
                f"distributions/{distribution.name}: it can only be normalised over a "
                f"finite range; give the axis of {observable!r} a min and a max."
            )


def _integrate_many(
    distribution: AbstractDistribution,
    scope: Scope,
    region: Region,
    observables: tuple[str, ...],
) -> Array:
    panels = _NODES_OF_MANY[len(observables)] // ORDER
    values, total = {}, jnp.ones(())
    rules = []
    for observable in observables:
        lower, upper = region[observable]
        width = float(np.max(np.asarray(upper) - np.asarray(lower))) / panels
        pieces = pieces_of(distribution, scope, observable)
        edges = pieces.edges(lower, upper, width)
        rules.append(rule_of(edges, pieces.order))
    # All combinations of the nodes of the observables, along a first axis.
    chosen = np.meshgrid(*(np.arange(len(n)) for n, _ in rules), indexing="ij")
    for observable, (nodes, weights), index in zip(
        observables, rules, chosen, strict=True
    ):
        values[observable] = jnp.asarray(nodes[index.ravel()])
        total = total * jnp.asarray(weights[index.ravel()])
    return log_sum(distribution.log_density(scope.at(values)), total)


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Expression):
        return value.names
    if isinstance(value, AbstractDistribution):
        return value.smooth_references
    if isinstance(value, Binning):
        return ()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return tuple(name for part in parts for name in _names(part))
    if isinstance(value, tuple):
        return tuple(name for part in value for name in _names(part))
    return ()


def _binnings(value: Any) -> tuple[Binning, ...]:
    if isinstance(value, AbstractDistribution):
        return value.binnings
    if isinstance(value, Binning):
        return (value,)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return _binnings(tuple(parts))
    if isinstance(value, tuple):
        return tuple(bins for part in value for bins in _binnings(part))
    return ()
