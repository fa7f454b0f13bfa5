r"""Data terms of template fits: counts, Gaussian bins, or bins with a covariance.

Every term is a function h of the expected yields N. Simulated samples of finite size
add :math:`\frac12 (\beta - \beta_0)^2` for auxiliary parameters that move the yields;
at the best β these are :math:`N = M - Q t` with :math:`t = h'(N)`, where M are the
yields at :math:`\beta_0` and Q their variance. `settle` solves that in closed form.
"""

import abc
from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.scipy as jsp
import numpy as np
from jaxtyping import Array, Float

from everwillow.likelihood.poisson import poisson_nll


class AbstractDataTerm(eqx.Module):
    """Minus the logarithm of the likelihood of the data, given their yields."""

    @abc.abstractmethod
    def value(self, yields: Array, data: Array) -> Float[Array, ""]:
        """Return h, summed over the bins and with all constants."""

    @abc.abstractmethod
    def settle(self, prior: Array, variance: Array, data: Array) -> tuple[Array, ...]:
        """Solve ``N = M - Q h'(N)``.

        Args:
            prior: M, the yields at the nominal auxiliary parameters.
            variance: Q, the variance of the yields.
            data: The data.

        Returns:
            N, t = h'(N), and dt/dM: a vector where bins are independent, else a matrix.
        """

    @abc.abstractmethod
    def variance_at(self, yields: Array, data: Array) -> Array:
        """Return the variance of each datum, or the covariance of all of them."""

    @abc.abstractmethod
    def sample(self, yields: Array, key: Array) -> Array:
        """Draw data."""


class AbstractBinTerm(AbstractDataTerm):
    """A term of independent bins."""

    @abc.abstractmethod
    def derivatives(self, yields: Array, data: Array) -> tuple[Array, Array]:
        """Return h' and h'' in each bin."""


@final
class PoissonTerm(AbstractBinTerm):
    """Counts."""

    def variance_at(self, yields: Array, data: Array) -> Array:
        """Return the counts, and the yields of empty bins."""
        return jnp.where(data > 0, data, yields)

    def sample(self, yields: Array, key: Array) -> Array:
        """Draw counts."""
        return jr.poisson(key, yields, yields.shape).astype(yields.dtype)

    def value(self, yields: Array, data: Array) -> Float[Array, ""]:
        """Return the Poisson -ln L."""
        return jnp.sum(poisson_nll(data, yields))

    def derivatives(self, yields: Array, data: Array) -> tuple[Array, Array]:
        """Return h' and h'' in each bin."""
        counted = data > 0
        # No division by the zero of an empty bin, which would make derivatives NaN.
        safe = jnp.where(counted, yields, 1)
        ratio = jnp.where(counted, data / safe, 0)
        return 1 - ratio, ratio / safe

    def settle(self, prior: Array, variance: Array, data: Array) -> tuple[Array, ...]:
        """Solve ``N = M - Q (1 - data / N)``: the larger root of a quadratic."""
        loose = variance > 0
        spread = jnp.where(loose, variance, 1)
        middle = jnp.where(loose, prior - spread, 1)
        discriminant = middle**2 + 4 * spread * data
        root = jnp.sqrt(jnp.where(discriminant > 0, discriminant, 1))
        root = jnp.where(discriminant > 0, root, 0)
        ahead = middle > 0
        # Without cancellation on either side.
        below = jnp.where(ahead, 1, root - middle)
        below = jnp.where(below > 0, below, 1)
        root_yield = jnp.where(ahead, (middle + root) / 2, 2 * spread * data / below)
        yields = jnp.where(loose, root_yield, prior)
        counted = data > 0
        safe = jnp.where(counted, yields, 1)
        # The yield of an empty bin is zero where the solution would be negative.
        empty = jnp.where(loose, jnp.minimum(prior / spread, 1), 1)
        slope = jnp.where(counted, 1 - data / safe, empty)
        held = loose & ~counted & (prior < variance)
        response = jnp.where(
            counted, data / (safe**2 + variance * data), jnp.where(held, 1 / spread, 0)
        )
        return yields, slope, response


@final
class GaussianTerm(AbstractBinTerm):
    """Independent bins with known variances.

    Attributes:
        variance: Variances of the data.
    """

    variance: Float[Array | np.ndarray, " bins"]

    def variance_at(self, yields: Array, data: Array) -> Array:
        """Return the variances."""
        del data
        return jnp.asarray(self.variance, yields.dtype)

    def sample(self, yields: Array, key: Array) -> Array:
        """Draw data."""
        return yields + jnp.sqrt(self.variance) * jr.normal(key, yields.shape)

    def value(self, yields: Array, data: Array) -> Float[Array, ""]:
        """Return the Gaussian -ln L."""
        squared_pulls = (data - yields) ** 2 / self.variance
        return 0.5 * jnp.sum(squared_pulls + jnp.log(2 * jnp.pi * self.variance))

    def derivatives(self, yields: Array, data: Array) -> tuple[Array, Array]:
        """Return h' and h'' in each bin."""
        certain = 1 / jnp.asarray(self.variance)
        return (yields - data) * certain, certain

    def settle(self, prior: Array, variance: Array, data: Array) -> tuple[Array, ...]:
        """Solve ``N = M - Q (N - data) / variance``."""
        response = 1 / (jnp.asarray(self.variance) + variance)
        slope = (prior - data) * response
        return prior - variance * slope, slope, response


@final
class CovarianceTerm(AbstractDataTerm):
    """Bins with a known covariance.

    Attributes:
        covariance: Covariance of the data.
    """

    covariance: Float[Array | np.ndarray, "bins bins"]

    def variance_at(self, yields: Array, data: Array) -> Array:
        """Return the covariance."""
        del data
        return jnp.asarray(self.covariance, yields.dtype)

    def sample(self, yields: Array, key: Array) -> Array:
        """Draw data."""
        half = jnp.linalg.cholesky(self.covariance)
        return yields + half @ jr.normal(key, yields.shape)

    def value(self, yields: Array, data: Array) -> Float[Array, ""]:
        """Return the Gaussian -ln L."""
        half = jnp.linalg.cholesky(self.covariance)
        whitened = jsp.linalg.solve_triangular(half, yields - data, lower=True)
        norm = jnp.log(2 * jnp.pi) + 2 * jnp.log(jnp.diagonal(half))
        return 0.5 * jnp.sum(whitened**2 + norm)

    def settle(self, prior: Array, variance: Array, data: Array) -> tuple[Array, ...]:
        """Solve ``N = M - Q t`` with ``(covariance + Q) t = M - data``."""
        half = jsp.linalg.cho_factor(self.covariance + jnp.diag(variance), lower=True)
        response: Any = jsp.linalg.cho_solve(half, jnp.eye(prior.shape[0]))
        slope = response @ (prior - data)
        return prior - variance * slope, slope, response
