"""Densities of one variable with an integral in closed form.

Spec: HS3, section "Univariate fundamental distributions".
"""

import math
from typing import ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.scipy as jsp
import numpy as np
from jaxtyping import Array, Float

from everwillow.likelihood.quadrature import log_sum
from everwillow.models.hs3.definition import Fields, Reference
from everwillow.models.hs3.distributions.base import AbstractClosed
from everwillow.models.hs3.distributions.special import (
    log_exponential_interval,
    log_normal_interval,
    log_poisson,
    standardise,
)
from everwillow.models.hs3.functions.graph import Edge, Scope


_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
# More counts than this in a range are summed by incomplete gamma functions.
_MANY_COUNTS = 20_000


@final
class Uniform(AbstractClosed):
    """A constant; it needs a finite range.

    Attributes:
        x: The variable.
    """

    x: Reference = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return zero."""
        return jnp.zeros_like(scope[self.x])

    def log_closed(self, scope: Scope, lower: Edge, upper: Edge) -> Float[Array, "..."]:
        """Return the logarithm of the width."""
        del scope
        return jnp.log(jnp.asarray(upper) - jnp.asarray(lower))


@final
class Exponential(AbstractClosed):
    r"""The density :math:`e^{-cx}`; rising for a negative :math:`c`.

    Attributes:
        x: The variable.
        c: The slope.
    """

    support: ClassVar[tuple[float, float] | None] = (0.0, math.inf)
    x: Reference = eqx.field(static=True)
    c: Reference = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return :math:`-cx`."""
        return -scope[self.c] * scope[self.x]

    def log_closed(self, scope: Scope, lower: Edge, upper: Edge) -> Float[Array, "..."]:
        """Return the closed form."""
        return log_exponential_interval(scope[self.c], lower, upper)

    def center(self, scope: Scope) -> Float[Array, " variates"]:
        """Return the mean over the half line, :math:`1/c`."""
        return 1.0 / scope[self.c][None]

    def draw(self, scope: Scope, key: Array) -> Float[Array, " variates"]:
        """Draw from the half line."""
        return jr.exponential(key, (1,)) / scope[self.c]

    @classmethod
    def read(cls, fields: Fields) -> "Exponential":
        """Make one from its definition."""
        return cls(fields.name, fields.get("x"), fields.get("c"))


@final
class Gaussian(AbstractClosed):
    r"""The density :math:`\exp(-(x - \mu)^2 / 2\sigma^2)`.

    Attributes:
        x: The variable.
        mean: The center :math:`\mu`.
        sigma: The standard deviation :math:`\sigma`.
    """

    support: ClassVar[tuple[float, float] | None] = (-math.inf, math.inf)
    x: Reference = eqx.field(static=True)
    mean: Reference = eqx.field(static=True)
    sigma: Reference = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the exponent."""
        pull = (scope[self.x] - scope[self.mean]) / scope[self.sigma]
        return -0.5 * pull**2

    def log_closed(self, scope: Scope, lower: Edge, upper: Edge) -> Float[Array, "..."]:
        """Return a difference of cumulative distributions."""
        mean, sigma = scope[self.mean], scope[self.sigma]
        inside = log_normal_interval(
            standardise(lower, mean, sigma), standardise(upper, mean, sigma)
        )
        return inside + jnp.log(sigma) + _HALF_LOG_TWO_PI

    def center(self, scope: Scope) -> Float[Array, " variates"]:
        """Return the mean."""
        return scope[self.mean][None]

    def draw(self, scope: Scope, key: Array) -> Float[Array, " variates"]:
        """Draw from the real line."""
        return scope[self.mean] + scope[self.sigma] * jr.normal(key, (1,))

    @classmethod
    def read(cls, fields: Fields) -> "Gaussian":
        """Make one from its definition."""
        mean, sigma = fields.get("mean"), fields.positive("sigma")
        return cls(fields.name, fields.get("x"), mean, sigma)


@final
class LogNormal(AbstractClosed):
    r"""The density :math:`\exp(-(\ln x - \mu)^2 / 2\sigma^2) / x` of a positive x.

    Attributes:
        x: The variable.
        mu: The mean of its logarithm.
        sigma: The standard deviation of its logarithm.
    """

    support: ClassVar[tuple[float, float] | None] = (0.0, math.inf)
    x: Reference = eqx.field(static=True)
    mu: Reference = eqx.field(static=True)
    sigma: Reference = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the exponent, with the Jacobian."""
        x = scope[self.x]
        positive = x > 0.0
        log_x = jnp.log(jnp.where(positive, x, 1.0))
        pull = (log_x - scope[self.mu]) / scope[self.sigma]
        return jnp.where(positive, -0.5 * pull**2 - log_x, -jnp.inf)

    def log_closed(self, scope: Scope, lower: Edge, upper: Edge) -> Float[Array, "..."]:
        """Return a difference of cumulative distributions of the logarithm."""
        mu, sigma = scope[self.mu], scope[self.sigma]
        with np.errstate(divide="ignore"):
            low = np.log(np.maximum(np.asarray(lower), 0.0))
            high = np.log(np.maximum(np.asarray(upper), 0.0))
        inside = log_normal_interval(
            standardise(low, mu, sigma), standardise(high, mu, sigma)
        )
        return inside + jnp.log(sigma) + _HALF_LOG_TWO_PI

    def center(self, scope: Scope) -> Float[Array, " variates"]:
        r"""Return the median :math:`e^\mu`, which fits `mu` best."""
        return jnp.exp(scope[self.mu])[None]

    def draw(self, scope: Scope, key: Array) -> Float[Array, " variates"]:
        """Draw from the half line."""
        return jnp.exp(scope[self.mu] + scope[self.sigma] * jr.normal(key, (1,)))

    @classmethod
    def read(cls, fields: Fields) -> "LogNormal":
        """Make one from its definition."""
        mu, sigma = fields.get("mu"), fields.positive("sigma")
        return cls(fields.name, fields.get("x"), mu, sigma)


@final
class Poisson(AbstractClosed):
    r"""The probability :math:`\lambda^x e^{-\lambda} / \Gamma(x + 1)` of a count.

    Counts need not be whole numbers (Asimov data are not). It is normalised as a sum
    over the whole numbers in the range.

    Attributes:
        x: The count.
        mean: Its expectation :math:`\lambda`.
    """

    support: ClassVar[tuple[float, float] | None] = (0.0, math.inf)
    x: Reference = eqx.field(static=True)
    mean: Reference = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the probability."""
        return log_poisson(scope[self.x], scope[self.mean])

    def log_closed(self, scope: Scope, lower: Edge, upper: Edge) -> Float[Array, "..."]:
        """Return the sum over whole numbers from the lower to the upper end."""
        mean = scope[self.mean]
        first = np.maximum(np.ceil(np.asarray(lower, float)), 0.0)
        # Only the last interval contains its upper end.
        last = np.floor(np.asarray(upper, float))
        ends = np.asarray(scope.domain.get(str(self.x), (0.0, math.inf))[1])
        last = np.where((last == upper) & (upper < ends), last - 1.0, last)
        if np.all(first == 0.0) and np.all(np.isinf(last)):
            return jnp.zeros(np.broadcast_shapes(first.shape, last.shape))
        if np.all(np.isfinite(last)) and last.max() - first.min() < _MANY_COUNTS:
            counts = np.arange(first.min(), last.max() + 1.0)
            column = counts.reshape(-1, *(1 for _ in np.shape(last - first)))
            inside = (column >= first[None]) & (column <= last[None])
            logs = log_poisson(jnp.asarray(column), mean)
            return log_sum(logs, inside.astype(float))
        above = jnp.where(np.isinf(last), 1.0, _at_most(last, mean))
        return jnp.log(
            above - jnp.where(first == 0.0, 0.0, _at_most(first - 1.0, mean))
        )

    def center(self, scope: Scope) -> Float[Array, " variates"]:
        """Return the expectation."""
        return scope[self.mean][None]

    def draw(self, scope: Scope, key: Array) -> Float[Array, " variates"]:
        """Draw a count."""
        mean = scope[self.mean]
        return jr.poisson(key, mean, (1,)).astype(mean.dtype)

    @classmethod
    def read(cls, fields: Fields) -> "Poisson":
        """Make one from its definition."""
        return cls(fields.name, fields.get("x"), fields.get("mean"))


def _at_most(count: np.ndarray, mean: Array) -> Array:
    count = np.where(np.isinf(count), 0.0, np.maximum(count, 0.0))
    return jsp.special.gammaincc(jnp.asarray(count + 1.0), mean)
