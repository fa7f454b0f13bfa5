"""Densities of several variables.

Spec: HS3, section "Multivariate fundamental distributions".
"""

import math
from typing import ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.scipy as jsp
import numpy as np
from jaxtyping import Array, Float

from everwillow.models.hs3.definition import Fields, Reference
from everwillow.models.hs3.distributions.base import AbstractShape, integrate
from everwillow.models.hs3.distributions.special import log_poisson
from everwillow.models.hs3.functions.graph import Region, Scope


@final
class MultivariateNormal(AbstractShape):
    r"""The density :math:`\exp(-\frac12 (x - \mu)^T \Sigma^{-1} (x - \mu))`.

    Over unbounded ranges the normalisation is the closed form; over bounded ones a
    quadrature of up to three variables.

    Attributes:
        x: The variables.
        mean: The means of the variables.
        covariances: The rows of the covariance matrix.
    """

    support: ClassVar[tuple[float, float] | None] = (-math.inf, math.inf)
    x: tuple[Reference, ...] = eqx.field(static=True)
    mean: tuple[Reference, ...] = eqx.field(static=True)
    covariances: tuple[tuple[Reference, ...], ...] = eqx.field(static=True)

    @property
    def variates(self) -> tuple[Reference, ...]:
        """The variables."""
        return self.x

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the exponent."""
        residuals = [
            scope[x] - scope[m] for x, m in zip(self.x, self.mean, strict=True)
        ]
        stacked = jnp.stack(jnp.broadcast_arrays(*residuals))
        flat = stacked.reshape(len(self.x), -1)
        pulls = jsp.linalg.solve_triangular(self._lower(scope), flat, lower=True)
        return -0.5 * jnp.sum(pulls**2, axis=0).reshape(stacked.shape[1:])

    def log_integral(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the closed form over the whole space, or a quadrature."""
        ends = [region[x] for x in scope.observables(self.references)]
        if not ends:
            return jnp.zeros(())
        if all(np.all(np.isinf(np.asarray(end))) for pair in ends for end in pair):
            pivots = jnp.diagonal(self._lower(scope))
            scale = 0.5 * len(self.x) * math.log(2.0 * math.pi)
            return scale + jnp.sum(jnp.log(pivots))
        return integrate(self, scope, region)

    def center(self, scope: Scope) -> Float[Array, " variates"]:
        """Return the means."""
        return jnp.stack([scope[mean] for mean in self.mean])

    def draw(self, scope: Scope, key: Array) -> Float[Array, " variates"]:
        """Draw from the whole space."""
        lower = self._lower(scope)
        return self.center(scope) + lower @ jr.normal(key, (len(self.x),), lower.dtype)

    def _lower(self, scope: Scope) -> Array:
        numbers = [[isinstance(c, float) for c in row] for row in self.covariances]
        if np.all(numbers):
            return jnp.linalg.cholesky(jnp.asarray(np.array(self.covariances, float)))
        rows = [jnp.stack([scope[c] for c in row]) for row in self.covariances]
        return jnp.linalg.cholesky(jnp.stack(rows))

    @classmethod
    def read(cls, fields: Fields) -> "MultivariateNormal":
        """Make one from its definition."""
        x, mean = fields.list_at("x"), fields.list_at("mean")
        rows = []
        for index, row in enumerate(fields.sequence("covariances")):
            inner = Fields("distributions", f"{fields.name}/covariances", {"row": row})
            rows.append(inner.list_at("row"))
            if len(rows[-1]) != len(x):
                fields.refuse(
                    f"row {index} of the covariances has {len(rows[-1])} entries for "
                    f"{len(x)} variables"
                )
        if len(mean) != len(x) or len(rows) != len(x):
            fields.refuse(
                f"{len(x)} variables need as many means and rows of covariances, not "
                f"{len(mean)} and {len(rows)}"
            )
        _check_matrix(fields, rows)
        return cls(fields.name, x, mean, tuple(rows))


@final
class BarlowBeestonLite(AbstractShape):
    r"""The product of :math:`\mathrm{Poisson}(x_i \tau_i; \tau_i)`, counts first.

    It is normalised as a probability of the counts :math:`x_i \tau_i`.

    Attributes:
        x: The variables.
        expected: The expectations :math:`\tau_i`.
    """

    support: ClassVar[tuple[float, float] | None] = (0.0, math.inf)
    x: tuple[Reference, ...] = eqx.field(static=True)
    expected: tuple[Reference, ...] = eqx.field(static=True)

    @property
    def variates(self) -> tuple[Reference, ...]:
        """The variables."""
        return self.x

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the sum of the logarithms of the probabilities."""
        x = jnp.stack(jnp.broadcast_arrays(*(scope[name] for name in self.x)))
        column = (-1, *(1 for _ in x.shape[1:]))
        tau = jnp.stack([scope[tau] for tau in self.expected]).reshape(column)
        return jnp.sum(log_poisson(x * tau, tau), axis=0)

    def log_integral(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return zero."""
        del scope, region
        return jnp.zeros(())

    def center(self, scope: Scope) -> Float[Array, " variates"]:
        """Return ones."""
        return jnp.ones((len(self.x),)) + 0.0 * scope[self.expected[0]]

    def draw(self, scope: Scope, key: Array) -> Float[Array, " variates"]:
        """Draw counts over expectations."""
        tau = jnp.stack([scope[tau] for tau in self.expected])
        return jr.poisson(key, tau).astype(tau.dtype) / tau

    @classmethod
    def read(cls, fields: Fields) -> "BarlowBeestonLite":
        """Make one from its definition."""
        x, expected = fields.list_at("x"), fields.list_at("expected")
        if len(x) != len(expected):
            fields.refuse(
                f"{len(x)} variables need as many expectations, not {len(expected)}"
            )
        return cls(fields.name, x, expected)


def _check_matrix(fields: Fields, rows: list[tuple[Reference, ...]]) -> None:
    for i, row in enumerate(rows):
        for j, entry in enumerate(row[:i]):
            if entry != rows[j][i]:
                fields.refuse(
                    f"the covariances are not symmetric: {entry!r} in row {i} and "
                    f"{rows[j][i]!r} in row {j}"
                )
    if all(isinstance(entry, float) for row in rows for entry in row):
        smallest = np.linalg.eigvalsh(np.array(rows, float))[0]
        if not smallest > 0.0:
            fields.refuse(
                f"the covariances are not positive definite (eigenvalue {smallest:.3g})"
            )
