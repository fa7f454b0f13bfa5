"""Densities that are polynomials, whose integrals are exact sums over nodes.

Spec: HS3, section "Univariate fundamental distributions"; the Chebyshev and Bernstein
polynomials as in RooFit, on the range of the observable.
"""

import math
from collections.abc import Callable
from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow._errors import SpecificationError
from everwillow.likelihood.quadrature import gauss_legendre
from everwillow.models.hs3._fields import Fields, Reference
from everwillow.models.hs3._graph import Edge, Scope
from everwillow.models.hs3._nodes import safe_log
from everwillow.models.hs3.distributions.base import AbstractClosed, require_finite
from everwillow.models.hs3.functions import horner


@final
class Polynomial(AbstractClosed):
    r"""The density :math:`\sum_i a_i x^i`.

    Attributes:
        x: The variable.
        coefficients: From the constant term upwards.
    """

    name: str = eqx.field(static=True)
    x: Reference = eqx.field(static=True)
    coefficients: tuple[Reference, ...] = eqx.field(static=True)

    @property
    def variable(self) -> Reference:
        """The variable."""
        return self.x

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the polynomial."""
        return safe_log(self._value(scope, scope[self.x]))

    def log_closed(self, scope: Scope, lower: Edge, upper: Edge) -> Float[Array, "..."]:
        """Return the exact integral."""
        degree = len(self.coefficients) - 1
        return _log_exact(lambda x: self._value(scope, x), lower, upper, degree)

    def _value(self, scope: Scope, x: Array) -> Array:
        return horner([scope[a] for a in self.coefficients], x)

    @classmethod
    def read(cls, fields: Fields) -> "Polynomial":
        """Make one from its definition."""
        return cls(fields.name, fields.get("x"), fields.list_at("coefficients"))


@final
class Chebychev(AbstractClosed):
    r"""The density :math:`1 + \sum_{k \ge 1} a_k T_k(t)`.

    The variable :math:`t` goes from -1 to 1 over the range of the observable.

    Attributes:
        x: The variable.
        coefficients: From :math:`a_1` upwards; that of :math:`T_0` is 1.
    """

    name: str = eqx.field(static=True)
    x: Reference = eqx.field(static=True)
    coefficients: tuple[Reference, ...] = eqx.field(static=True)

    @property
    def variable(self) -> Reference:
        """The variable."""
        return self.x

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the series."""
        return safe_log(self._value(scope, scope[self.x]))

    def log_closed(self, scope: Scope, lower: Edge, upper: Edge) -> Float[Array, "..."]:
        """Return the exact integral."""
        degree = len(self.coefficients)
        return _log_exact(lambda x: self._value(scope, x), lower, upper, degree)

    def _value(self, scope: Scope, x: Array) -> Array:
        low, high = _range(self, scope, self.x)
        t = (2.0 * x - (low + high)) / (high - low)
        # Clenshaw's recurrence, which is stable on the whole range.
        last = before = jnp.zeros_like(t)
        for coefficient in reversed(self.coefficients):
            last, before = scope[coefficient] + 2.0 * t * last - before, last
        return 1.0 + t * last - before

    @classmethod
    def read(cls, fields: Fields) -> "Chebychev":
        """Make one from its definition."""
        return cls(fields.name, fields.get("x"), fields.list_at("coefficients"))


@final
class Bernstein(AbstractClosed):
    r"""The density :math:`\sum_k a_k \binom{n}{k} t^k (1 - t)^{n - k}`.

    The variable :math:`t` goes from 0 to 1 over the range of the observable.

    Attributes:
        x: The variable.
        coefficients: The :math:`n + 1` coefficients.
    """

    name: str = eqx.field(static=True)
    x: Reference = eqx.field(static=True)
    coefficients: tuple[Reference, ...] = eqx.field(static=True)

    @property
    def variable(self) -> Reference:
        """The variable."""
        return self.x

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the polynomial."""
        return safe_log(self._value(scope, scope[self.x]))

    def log_closed(self, scope: Scope, lower: Edge, upper: Edge) -> Float[Array, "..."]:
        """Return the exact integral."""
        degree = len(self.coefficients) - 1
        return _log_exact(lambda x: self._value(scope, x), lower, upper, degree)

    def _value(self, scope: Scope, x: Array) -> Array:
        low, high = _range(self, scope, self.x)
        t = (x - low) / (high - low)
        degree = len(self.coefficients) - 1
        terms = [
            scope[a] * math.comb(degree, k) * t**k * (1.0 - t) ** (degree - k)
            for k, a in enumerate(self.coefficients)
        ]
        return sum(terms[1:], terms[0])

    @classmethod
    def read(cls, fields: Fields) -> "Bernstein":
        """Make one from its definition."""
        return cls(fields.name, fields.get("x"), fields.list_at("coefficients"))


def _range(
    distribution: AbstractClosed, scope: Scope, x: Reference
) -> tuple[float, float]:
    observables = scope.observables([x] if isinstance(x, str) else [])
    if observables != (x,):
        msg = (
            f"distributions/{distribution.name}: its polynomials are those of the "
            f"range of an observable, and {x!r} is none."
        )
        raise SpecificationError(msg)
    require_finite(distribution, scope, observables)
    low, high = scope.domain[observables[0]]
    return float(low), float(high)


def _log_exact(
    value: Callable[[Array], Array], lower: Edge, upper: Edge, degree: int
) -> Array:
    # Nodes enough for the degree; unlike differences of powers, nothing cancels.
    nodes, weights = gauss_legendre(1, degree // 2 + 1)
    low, high = jnp.broadcast_arrays(jnp.asarray(lower), jnp.asarray(upper))
    column = (-1, *(1 for _ in low.shape))
    x = low[None] + (high - low)[None] * nodes.reshape(column)
    mean = jnp.sum(value(x) * weights.reshape(column), axis=0)
    return safe_log(mean * (high - low))
