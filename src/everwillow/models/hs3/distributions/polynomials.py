"""Densities that are polynomials, whose integrals are exact sums over nodes.

Spec: HS3, section "Univariate fundamental distributions"; the Chebyshev and Bernstein
polynomials as in RooFit, on the range of the observable.
"""

import abc
import math
from typing import ClassVar, Self, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow._errors import SpecificationError
from everwillow.likelihood.quadrature import gauss_legendre
from everwillow.models.hs3.definition import Fields, Reference
from everwillow.models.hs3.distributions.base import AbstractClosed, require_finite
from everwillow.models.hs3.expressions.evaluation import safe_log
from everwillow.models.hs3.functions.arithmetic import horner
from everwillow.models.hs3.functions.graph import Edge, Scope


class AbstractSeries(AbstractClosed):
    """A density that is a sum of polynomials.

    Attributes:
        first: Degree of the polynomial of the first coefficient.
        x: The variable.
        coefficients: The factors of the polynomials, by degree or number.
    """

    first: ClassVar[int] = 0
    x: Reference = eqx.field(static=True)
    coefficients: tuple[Reference, ...] = eqx.field(static=True)

    @final
    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Make one from its definition."""
        return cls(fields.name, fields.get("x"), fields.list_at("coefficients"))

    @property
    def degree(self) -> int:
        """The degree of the sum."""
        return self.first + len(self.coefficients) - 1

    @abc.abstractmethod
    def value(self, scope: Scope, x: Array) -> Array:
        """Return the sum at values of the variable."""

    @final
    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the sum."""
        return safe_log(self.value(scope, scope[self.x]))

    @final
    def log_closed(self, scope: Scope, lower: Edge, upper: Edge) -> Float[Array, "..."]:
        """Return the exact integral."""
        # Enough nodes for the degree; unlike differences of powers, this is accurate.
        nodes, weights = gauss_legendre(1, self.degree // 2 + 1)
        low, high = jnp.broadcast_arrays(jnp.asarray(lower), jnp.asarray(upper))
        column = (-1, *(1 for _ in low.shape))
        x = low[None] + (high - low)[None] * nodes.reshape(column)
        mean = jnp.sum(self.value(scope, x) * weights.reshape(column), axis=0)
        return safe_log(mean * (high - low))


@final
class Polynomial(AbstractSeries):
    r"""The density :math:`\sum_i a_i x^i`, :math:`i` from 0 upwards."""

    def value(self, scope: Scope, x: Array) -> Array:
        """Return the polynomial."""
        return horner([scope[a] for a in self.coefficients], x)


@final
class Chebychev(AbstractSeries):
    r"""The density :math:`1 + \sum_{k \ge 1} a_k T_k(t)`.

    The coefficient of :math:`T_0` is 1. The variable :math:`t` goes from -1 to 1 over
    the range of the observable.
    """

    first: ClassVar[int] = 1

    def value(self, scope: Scope, x: Array) -> Array:
        """Return the series."""
        low, high = _range(self, scope, self.x)
        t = (2.0 * x - (low + high)) / (high - low)
        # Clenshaw's recurrence, which is stable on the whole range.
        last = before = jnp.zeros_like(t)
        for coefficient in reversed(self.coefficients):
            last, before = scope[coefficient] + 2.0 * t * last - before, last
        return 1.0 + t * last - before


@final
class Bernstein(AbstractSeries):
    r"""The density :math:`\sum_k a_k \binom{n}{k} t^k (1 - t)^{n - k}`.

    The variable :math:`t` goes from 0 to 1 over the range of the observable.
    """

    def value(self, scope: Scope, x: Array) -> Array:
        """Return the polynomial."""
        low, high = _range(self, scope, self.x)
        t = (x - low) / (high - low)
        n = self.degree
        terms = [
            scope[a] * math.comb(n, k) * t**k * (1.0 - t) ** (n - k)
            for k, a in enumerate(self.coefficients)
        ]
        return sum(terms[1:], terms[0])


def _range(
    distribution: AbstractClosed, scope: Scope, x: Reference
) -> tuple[float, float]:
    observables = scope.observables([x] if isinstance(x, str) else [])
    if observables != (x,):
        raise SpecificationError(
            f"distributions/{distribution.name}: its polynomials are those of the "
            f"range of an observable, and {x!r} is not one."
        )
    require_finite(distribution, scope, observables)
    low, high = scope.domain[observables[0]]
    return float(low), float(high)
