"""Distributions made of others, or of functions.

Spec: HS3, section "Composite distributions".
"""

from typing import TypeAlias, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow.likelihood.quadrature import log_sum
from everwillow.models.hs3.definition import Fields, Reference
from everwillow.models.hs3.distributions.base import (
    AbstractDistribution,
    AbstractExtended,
    AbstractIntensity,
    AbstractNumeric,
    AbstractShape,
    integrate,
)
from everwillow.models.hs3.expressions import Expression
from everwillow.models.hs3.expressions.evaluation import safe_log
from everwillow.models.hs3.functions.arithmetic import expression_at
from everwillow.models.hs3.functions.graph import Region, Scope


@final
class Generic(AbstractNumeric):
    """A density given by a formula.

    Attributes:
        expression: The formula; the density is zero where it is negative.
    """

    expression: Expression = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the formula."""
        names = self.expression.names
        return self.expression.log({name: scope[name] for name in names})

    @classmethod
    def read(cls, fields: Fields) -> "Generic":
        """Make one from its definition."""
        return cls(fields.name, expression_at(fields))


@final
class DensityFunction(AbstractNumeric):
    """A density given by a function of the document.

    Attributes:
        function: Its name.
        logarithmic: Whether the function is the logarithm of the density.
    """

    function: Reference = eqx.field(static=True)
    logarithmic: bool = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the function, or the function."""
        if self.logarithmic:
            return scope[self.function]
        return _log_value(scope, self.function)

    @classmethod
    def read(cls, fields: Fields) -> "DensityFunction":
        """Make one from its definition, whose type says if it is a logarithm."""
        logarithmic = fields.type == "log_density_function_dist"
        return cls(fields.name, fields.get("function"), logarithmic)


@final
class EfficiencyProduct(AbstractNumeric):
    """A density times an efficiency.

    Attributes:
        pdf: The density.
        efficiency: The name of the efficiency function.
    """

    pdf: AbstractDistribution
    efficiency: Reference = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the sum of the logarithms."""
        return self.pdf.log_density(scope) + _log_value(scope, self.efficiency)


@final
class Product(AbstractShape):
    """A product of densities with one normalisation over all observables; 1 if empty.

    Attributes:
        factors: The densities.
    """

    factors: tuple[AbstractDistribution, ...]

    @property
    def variates(self) -> tuple[Reference, ...]:
        """The variables of the factors."""
        return _variates(self.factors)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the sum of the logarithms."""
        logs = [factor.log_density(scope) for factor in self.factors]
        return sum(logs, jnp.zeros(()))

    def log_integral(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the sum over groups of factors that share no observable."""
        total = jnp.zeros(())
        for group in self._groups(scope):
            if not scope.observables(group[0].references):
                # A constant without observables, which cancels in the density.
                total = total + group[0].log_density(scope)
            elif len(group) == 1:
                total = total + group[0].log_integral(scope, region)
            else:
                total = total + integrate(Product(self.name, group), scope, region)
        return total

    def _groups(self, scope: Scope) -> list[tuple[AbstractDistribution, ...]]:
        groups: list[tuple[set[str], list[AbstractDistribution]]] = []
        for factor in self.factors:
            observables = set(scope.observables(factor.references))
            members = [factor]
            apart = []
            for others, before in groups:
                if observables & others:
                    observables |= others
                    members = before + members
                else:
                    apart.append((others, before))
            groups = [*apart, (observables, members)]
        return [tuple(members) for _, members in groups]


class _AbstractSum(AbstractDistribution):
    """A weighted sum of densities, each normalised."""

    summands: tuple[AbstractDistribution, ...]
    coefficients: tuple[Reference, ...] = eqx.field(static=True)

    @property
    def variates(self) -> tuple[Reference, ...]:
        """The variables of the summands."""
        return _variates(self.summands)

    @property
    def natural_range(self) -> tuple[float, float] | None:
        """The range that contains the natural ranges of the summands."""
        return _union(self.summands)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the sum of weighted densities."""
        return self._summed(scope, [part.log_prob(scope) for part in self.summands])

    def log_integral(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the logarithm of the sum of weighted probabilities."""
        logs = [part.log_probability(scope, region) for part in self.summands]
        return self._summed(scope, logs)

    def _summed(self, scope: Scope, logs: list[Array]) -> Array:
        """Return the logarithm of the sum from the logarithms of the summands."""
        weights = self._weights(scope)
        stacked = jnp.stack(jnp.broadcast_arrays(*logs))
        return log_sum(stacked, weights.reshape(-1, *(1 for _ in stacked.shape[1:])))

    def _weights(self, scope: Scope) -> Array:
        weights = [scope[c] for c in self.coefficients]
        own = [part for part in self.summands if isinstance(part, AbstractExtended)]
        if not weights and len(own) == len(self.summands):
            weights = [part.rate(scope) for part in own]
        elif len(weights) < len(self.summands):
            weights.append(1.0 - sum(weights, jnp.zeros(())))
        return jnp.stack(weights)


@final
class Mixture(_AbstractSum, AbstractShape):
    """A weighted sum of densities, each normalised.

    Attributes:
        summands: The densities.
        coefficients: Their weights, or all but the last: it is then 1 minus the others.
    """


@final
class ExtendedMixture(_AbstractSum, AbstractExtended):
    """A sum of densities, each with an expected number of events.

    Attributes:
        summands: The densities.
        coefficients: The expected numbers of events; empty if the densities have them.
    """

    def rate(self, scope: Scope) -> Float[Array, ""]:
        """Return the sum of the coefficients."""
        return jnp.sum(self._weights(scope))

    def log_intensity(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the sum of weighted densities."""
        return self.log_density(scope)

    def log_rates(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the logarithm of the sum of weighted probabilities."""
        return self.log_integral(scope, region)


@final
class RateExtended(AbstractExtended):
    """A density with an expected number of events.

    Attributes:
        expected: The expected number.
        dist: The density.
    """

    expected: Reference = eqx.field(static=True)
    dist: AbstractDistribution

    @property
    def variates(self) -> tuple[Reference, ...]:
        """The variables of the density."""
        return _variates((self.dist,))

    @property
    def natural_range(self) -> tuple[float, float] | None:
        """The natural range of the density."""
        return _union((self.dist,))

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the density."""
        return self.dist.log_density(scope)

    def log_integral(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the logarithm of the integral of the density."""
        return self.dist.log_integral(scope, region)

    def rate(self, scope: Scope) -> Float[Array, ""]:
        """Return the expected number."""
        return scope[self.expected]

    def log_intensity(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the rate times the density."""
        return safe_log(self.rate(scope)) + self.dist.log_prob(scope)

    def log_rates(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the logarithm of the rate times the probability."""
        return safe_log(self.rate(scope)) + self.dist.log_probability(scope, region)


@final
class RateDensity(AbstractIntensity):
    """A density of events; its integral is their expected number.

    Attributes:
        x: The variable, or None if the definition does not say.
        density: The function.
    """

    x: Reference | None = eqx.field(static=True)
    density: Reference = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the function."""
        observables = [name for name in scope.domain if name in scope.values]
        shape = jnp.shape(scope[observables[0]]) if observables else ()
        return jnp.broadcast_to(_log_value(scope, self.density), shape)

    @classmethod
    def read(cls, fields: Fields) -> "RateDensity":
        """Make one from its definition."""
        x = fields.get("x") if fields.has("x") else None
        return cls(fields.name, x, fields.get("density", "function"))


Process: TypeAlias = RateExtended | RateDensity


@final
class BinCounts(AbstractExtended):
    """The counts of a process in bins.

    Attributes:
        process: The rate and the density.
        edges: The edges of the bins of each observable; empty for those of the data.
    """

    process: Process
    edges: tuple[tuple[str, tuple[float, ...]], ...] = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the value of the process."""
        return self.process.log_density(scope)

    def log_integral(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the value of the process."""
        return self.process.log_integral(scope, region)

    def rate(self, scope: Scope) -> Float[Array, ""]:
        """Return the value of the process."""
        return self.process.rate(scope)

    def log_intensity(self, scope: Scope) -> Float[Array, "..."]:
        """Return the value of the process."""
        return self.process.log_intensity(scope)

    def log_rates(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the values of the process."""
        return self.process.log_rates(scope, region)


def _variates(parts: tuple[AbstractDistribution, ...]) -> tuple[Reference, ...]:
    return tuple(dict.fromkeys(v for part in parts for v in part.variates))


def _union(parts: tuple[AbstractDistribution, ...]) -> tuple[float, float] | None:
    """Return the range that contains all natural ranges, None if one is missing."""
    ranges = [part.natural_range for part in parts]
    known = [one for one in ranges if one is not None]
    if len(known) < len(ranges):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _log_value(scope: Scope, reference: Reference) -> Array:
    function = scope.function(reference) if isinstance(reference, str) else None
    if function is None:
        return safe_log(scope[reference])
    return function.log(scope)
