"""The Crystal Ball line shape: a Gaussian core with tails of a power law.

Spec: HS3, section "CrystalBall distribution".
"""

import math
from typing import ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow.likelihood.quadrature import log_sum
from everwillow.models.hs3.definition import Fields, Reference
from everwillow.models.hs3.distributions.base import AbstractClosed
from everwillow.models.hs3.distributions.special import (
    log_exponential_interval,
    log_normal_interval,
    standardise,
)
from everwillow.models.hs3.functions.graph import Edge, Scope


_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
# Number of standard deviations in place of infinity: a tail of power n > 1.3 has less
# than 1e-16 of its integral beyond it.
_FAR = 1e60


@final
class CrystalBall(AbstractClosed):
    r"""A Gaussian core, continued by power laws beyond :math:`\alpha` deviations.

    With :math:`t = (m - m_0)/\sigma_L` on the left, the tail below
    :math:`t = -\alpha_L` is
    :math:`e^{-\alpha^2/2} (1 + \frac{\alpha}{n}(-t - \alpha))^{-n}`; the right side is
    its mirror image with parameters of its own.

    Attributes:
        m: The variable.
        m0: The peak.
        left: The parameters :math:`\alpha, n, \sigma` of the left side.
        right: Those of the right side; None for a Gaussian side of the same width.
            The tail of such a one-sided shape is on the right if alpha is negative.
    """

    support: ClassVar[tuple[float, float] | None] = (-math.inf, math.inf)
    m: Reference = eqx.field(static=True)
    m0: Reference = eqx.field(static=True)
    left: tuple[Reference, Reference, Reference] = eqx.field(static=True)
    right: tuple[Reference, Reference, Reference] | None = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the shape, 0 at the peak."""
        distance = scope[self.m] - scope[self.m0]
        alpha, n, sigma = (scope[reference] for reference in self.left)
        if self.right is None:
            t = distance / sigma
            return _log_side(jnp.where(alpha < 0.0, t, -t), jnp.abs(alpha), n)
        right_alpha, right_n, right_sigma = (scope[r] for r in self.right)
        below = distance < 0.0
        return _log_side(
            jnp.where(below, -distance / sigma, distance / right_sigma),
            jnp.where(below, jnp.abs(alpha), jnp.abs(right_alpha)),
            jnp.where(below, n, right_n),
        )

    def log_closed(self, scope: Scope, lower: Edge, upper: Edge) -> Float[Array, "..."]:
        """Return the sum of the core's and the tails' integrals."""
        m0 = scope[self.m0]
        if self.right is None:
            alpha, n, sigma = (scope[reference] for reference in self.left)
            flipped = alpha < 0.0
            low, high = (
                standardise(lower, m0, sigma, _FAR),
                standardise(upper, m0, sigma, _FAR),
            )
            low, high = jnp.where(flipped, -high, low), jnp.where(flipped, -low, high)
            tailed = _log_side_integral(-high, -low, jnp.abs(alpha), n)
            plain = _log_core(low, high, 0.0, jnp.inf)
            logs = [tailed + jnp.log(sigma), plain + jnp.log(sigma)]
            return _total(jnp.stack(logs))
        # Both sides in one evaluation; the left one is mirrored.
        rows = zip(self.left, self.right, strict=True)
        low, high = np.broadcast_arrays(lower, upper)
        column = (2, *(1 for _ in low.shape))
        alpha, n, sigma = (
            jnp.stack([scope[left], scope[right]]).reshape(column)
            for left, right in rows
        )
        start, stop = np.stack([-high, low]), np.stack([-low, high])
        center = jnp.stack([-m0, m0]).reshape(column)
        start, stop = (standardise(end, center, sigma, _FAR) for end in (start, stop))
        return _total(
            _log_side_integral(start, stop, jnp.abs(alpha), n) + jnp.log(sigma)
        )

    @classmethod
    def read(cls, fields: Fields) -> "CrystalBall":
        """Make one from its definition.

        Without any suffixed key it has one tail, as in RooFit's ``RooCBShape``, unless
        its type says that it has two.
        """
        m, m0 = fields.get("m"), fields.get("m0")
        keys = ("alpha", "n", "sigma")
        two_sided = [fields.has(f"{k}_{side}") for k in keys for side in "LR"]
        if not any(two_sided) and fields.type == "crystalball_dist":
            one = (fields.get("alpha"), fields.positive("n"), fields.positive("sigma"))
            fields.note("without suffixes, alpha and n are those of one tail")
            return cls(fields.name, m, m0, one, None)
        sides = {}
        for side in "LR":
            for key in keys:
                if fields.has(key) and fields.has(f"{key}_{side}"):
                    fields.refuse(f"{key!r} excludes '{key}_{side}'")
            alpha = fields.get(f"alpha_{side}", "alpha")
            n = fields.positive(f"n_{side}", "n")
            sides[side] = (alpha, n, fields.positive(f"sigma_{side}", "sigma"))
        return cls(fields.name, m, m0, sides["L"], sides["R"])


def _log_side(t: Array, alpha: Array, n: Array) -> Array:
    """Return the logarithm of the shape at distance `t`, with a tail above `alpha`."""
    in_tail = t > alpha
    beyond = jnp.where(in_tail, t - alpha, 0.0)
    tail = -0.5 * alpha**2 - n * jnp.log1p(alpha * beyond / n)
    core = -0.5 * jnp.where(in_tail, 0.0, t) ** 2
    return jnp.where(in_tail, tail, core)


def _log_core(low: Array, high: Array, first: Array | float, last: Array | float):
    """Return the logarithm of the Gaussian integral over the common part."""
    low, high = jnp.maximum(low, first), jnp.minimum(high, last)
    inside = high > low
    # Beyond any probability, and small enough to be squared.
    low = jnp.clip(jnp.where(inside, low, 0.0), -1e6, 1e6)
    high = jnp.clip(jnp.where(inside, high, 1.0), -1e6, 1e6)
    value = log_normal_interval(low, high) + _HALF_LOG_TWO_PI
    return jnp.where(inside, value, -jnp.inf)


def _log_side_integral(low: Array, high: Array, alpha: Array, n: Array) -> Array:
    """Return the logarithm of the integral over ``0 < t``, with a tail above `alpha`.

    In the tail, ``u = 1 + alpha (t - alpha) / n`` makes it that of ``u**-n``, and
    ``s = log u`` that of an exponential, which has no singular case ``n = 1``.
    """
    core = _log_core(low, high, 0.0, alpha)
    start, stop = jnp.maximum(low, alpha), jnp.maximum(high, alpha)
    inside = stop > start
    start = jnp.where(inside, start, alpha)
    stop = jnp.where(inside, stop, alpha + 1.0)
    slope = jnp.maximum(alpha, 1e-12) / n
    power = log_exponential_interval(
        n - 1.0, jnp.log1p(slope * (start - alpha)), jnp.log1p(slope * (stop - alpha))
    )
    tail = jnp.where(inside, power - jnp.log(slope) - 0.5 * alpha**2, -jnp.inf)
    return _total(jnp.stack(jnp.broadcast_arrays(core, tail)))


def _total(logs: Array) -> Array:
    return log_sum(logs, np.ones((2,) + (1,) * (logs.ndim - 1)))
