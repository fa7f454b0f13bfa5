"""Densities of one variable that are integrated by special quadratures.

Spec: HS3, sections "Argus distribution", "Generalised Normal distribution" and
"Relativistic Breit-Wigner distribution".
"""

import functools as ft
import math
from dataclasses import dataclass
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow.likelihood.quadrature import (
    gauss_legendre,
    log_integrate_panels,
    log_sum,
)
from everwillow.models.hs3.definition import Fields, Reference
from everwillow.models.hs3.distributions.base import AbstractClosed, require_finite
from everwillow.models.hs3.expressions.evaluation import safe_log
from everwillow.models.hs3.functions.graph import Edge, Scope


@final
class Argus(AbstractClosed):
    r"""The density :math:`m u^p e^{cu}` with :math:`u = 1 - (m/m_0)^2`, below `m0`.

    Attributes:
        mass: The variable :math:`m`.
        resonance: The end of the spectrum :math:`m_0`.
        slope: The exponent :math:`c`.
        power: The power :math:`p`, above -1.
    """

    mass: Reference = eqx.field(static=True)
    resonance: Reference = eqx.field(static=True)
    slope: Reference = eqx.field(static=True)
    power: Reference = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm, ``-inf`` beyond the end of the spectrum."""
        m = scope[self.mass]
        u = 1.0 - (m / scope[self.resonance]) ** 2
        inside = (u > 0.0) & (m > 0.0)
        u, m = jnp.where(inside, u, 0.5), jnp.where(inside, m, 1.0)
        value = jnp.log(m) + scope[self.power] * jnp.log(u) + scope[self.slope] * u
        return jnp.where(inside, value, -jnp.inf)

    def log_closed(self, scope: Scope, lower: Edge, upper: Edge) -> Float[Array, "..."]:
        r"""Return :math:`\ln(\frac{m_0^2}{2} \int u^p e^{cu} du)` by quadrature.

        The nodes are dense at the end of the spectrum, where the power is singular.
        """
        m0, c, p = scope[self.resonance], scope[self.slope], scope[self.power]
        low, high = (
            jnp.maximum(1.0 - (np.maximum(np.asarray(end), 0.0) / m0) ** 2, 0.0)
            for end in (upper, lower)
        )
        nodes, weights = _graded_rule()
        column = (-1, *(1 for _ in low.shape))
        width = (high - low)[None]
        u = low[None] + width * nodes.reshape(column)
        inside = u > 0.0
        u = jnp.where(inside, u, 1.0)
        logs = jnp.where(inside, p * jnp.log(u) + c * u, -jnp.inf)
        total = log_sum(logs, weights.reshape(column) * width)
        return total + 2.0 * jnp.log(m0) - math.log(2.0)

    @classmethod
    def read(cls, fields: Fields) -> "Argus":
        """Make one from its definition."""
        mass, resonance = fields.get("mass"), fields.positive("resonance")
        slope, power = fields.get("slope"), fields.get("power")
        return cls(fields.name, mass, resonance, slope, power)


@final
class GeneralizedNormal(AbstractClosed):
    r"""The density :math:`\exp(-(|x - \mu| / \alpha)^\beta)`.

    Attributes:
        x: The variable.
        mean: The center :math:`\mu`.
        alpha: The width :math:`\alpha`; :math:`\sqrt 2 \sigma` of a Gaussian.
        beta: The power :math:`\beta`; 2 is a Gaussian.
    """

    support = (-math.inf, math.inf)
    x: Reference = eqx.field(static=True)
    mean: Reference = eqx.field(static=True)
    alpha: Reference = eqx.field(static=True)
    beta: Reference = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the exponent."""
        return self._log_value(scope, scope[self.x])

    def log_closed(self, scope: Scope, lower: Edge, upper: Edge) -> Float[Array, "..."]:
        r"""Return :math:`\ln(2 \alpha \Gamma(1 + 1/\beta))`, or a quadrature.

        The first is for the whole real line. Panels of the second are graded towards
        the center, where odd powers are not smooth, and follow the width.
        """
        low, high = np.asarray(lower, float), np.asarray(upper, float)
        alpha, beta = scope[self.alpha], scope[self.beta]
        whole = jax.scipy.special.gammaln(1.0 + 1.0 / beta) + jnp.log(2.0 * alpha)
        if np.all(np.isinf(low) & np.isinf(high)):
            return jnp.broadcast_to(whole, low.shape)
        mean = scope[self.mean]
        # At an exponent of 800 the density is zero.
        reach = jax.lax.stop_gradient(alpha * 800.0 ** (1.0 / beta))
        start = jnp.where(np.isinf(low), mean - reach, np.where(np.isinf(low), 0, low))
        stop = jnp.where(
            np.isinf(high), mean + reach, np.where(np.isinf(high), 0, high)
        )
        start, stop = jnp.broadcast_arrays(start, jnp.maximum(start, stop))
        steps = np.concatenate([2.0 ** np.arange(-40, -2), np.linspace(0.25, 2.0, 29)])
        far = 2.0 * 1.6 ** np.arange(1, 28)
        steps = np.concatenate([-far[::-1], -steps[::-1], [0.0], steps, far])
        edges = graded_edges(start, stop, mean, alpha, steps)
        return log_integrate_panels(lambda x: self._log_value(scope, x), edges)

    def _log_value(self, scope: Scope, x: Array) -> Array:
        distance = jnp.abs(x - scope[self.mean]) / scope[self.alpha]
        apart = distance > 0.0
        safe = jnp.where(apart, distance, 1.0)
        return -jnp.where(apart, jnp.power(safe, scope[self.beta]), 0.0)

    @classmethod
    def read(cls, fields: Fields) -> "GeneralizedNormal":
        """Make one from its definition."""
        x, mean = fields.get("x"), fields.get("mean")
        alpha, beta = fields.positive("alpha"), fields.positive("beta")
        return cls(fields.name, x, mean, alpha, beta)


@dataclass(frozen=True, slots=True)
class DecayChannel:
    """One final state of a resonance.

    Attributes:
        width: The partial width.
        m1: Mass of the first particle.
        m2: Mass of the second.
        radius: The size parameter of the form factor.
        momentum: The angular momentum, up to 5.
    """

    width: Reference
    m1: Reference
    m2: Reference
    radius: Reference
    momentum: int


# Inverse squares of the form factors as polynomials in z^2, PDG (2023), eq. (50.30 f.).
_BLATT_WEISSKOPF = (
    (1.0,),
    (1.0, 1.0),
    (9.0, 3.0, 1.0),
    (225.0, 45.0, 6.0, 1.0),
    (11025.0, 1575.0, 135.0, 10.0, 1.0),
    (893025.0, 99225.0, 6300.0, 315.0, 15.0, 1.0),
)


@final
class RelativisticBreitWigner(AbstractClosed):
    r"""The density :math:`m \Gamma_1(m) / |m_0^2 - m^2 - i m_0 \Gamma(m)|^2`.

    The partial widths are :math:`\Gamma_i n_l^2(m) \rho_i(m)`, with Blatt-Weisskopf
    form factors :math:`n_l` and phase space :math:`\rho = 2q/m`; the first channel is
    the one observed. A channel below its threshold has no width.

    Attributes:
        x: The variable :math:`m`.
        mass: The mass :math:`m_0` of the resonance.
        channels: Its final states.
    """

    x: Reference = eqx.field(static=True)
    mass: Reference = eqx.field(static=True)
    channels: tuple[DecayChannel, ...] = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm, ``-inf`` below the threshold."""
        return self._log_value(scope, scope[self.x])

    def log_closed(self, scope: Scope, lower: Edge, upper: Edge) -> Float[Array, "..."]:
        """Return a quadrature with panels that follow peak and thresholds."""
        require_finite(self, scope, scope.observables(self.references))
        low, high = jnp.broadcast_arrays(jnp.asarray(lower), jnp.asarray(upper))
        span = high - low
        even = np.linspace(0.0, 1.0, 17)[1:-1].reshape(-1, *(1 for _ in low.shape))
        points = [low[None] + span[None] * even]
        pole = scope[self.mass]
        width = sum((scope[c.width] for c in self.channels), jnp.zeros(()))
        # Far below the sum of the widths: channels that are closed at the pole, and
        # barriers, make the peak narrower than that.
        near = 2.0 ** np.arange(-16, 10)
        points.append(_around(low, pole, width, np.concatenate([-near, [0.0], near])))
        start, stop = scope.domain[scope.observables(self.references)[0]]
        whole = float(stop) - float(start)
        fine = np.concatenate([[0.0], 0.25 ** np.arange(1, 14)])
        for channel in self.channels:
            threshold = scope[channel.m1] + scope[channel.m2]
            points.append(_around(low, threshold, jnp.asarray(whole), fine))
        edges = _clipped(jnp.concatenate(points), low, high)
        return log_integrate_panels(lambda x: self._log_value(scope, x), edges)

    def _log_value(self, scope: Scope, m: Array) -> Array:
        positive = m > 0.0
        m = jnp.where(positive, m, 1.0)
        partial = [_partial_width(scope, channel, m) for channel in self.channels]
        width = sum(partial[1:], partial[0])
        pole = scope[self.mass]
        real, imaginary = (pole - m) * (pole + m), pole * width
        value = safe_log(m * partial[0]) - jnp.log(real**2 + imaginary**2)
        return jnp.where(positive, value, -jnp.inf)

    @classmethod
    def read(cls, fields: Fields) -> "RelativisticBreitWigner":
        """Make one from its definition.

        The standard has one key, ``mass``, for two masses in the formula: it is the
        mass of the resonance if there is also ``x`` or ``m``, and else the variable.
        """
        variable = next((key for key in ("x", "m") if fields.has(key)), "mass")
        poles = ("mass", "m_BW", "m0", "mean", "resonance")
        poles = tuple(key for key in poles if key != variable)
        if not any(fields.has(key) for key in poles):
            fields.refuse(
                "it needs the variable ('x') and the mass of the resonance ('mass')"
            )
        channels = []
        for index, spec in enumerate(fields.sequence("channels")):
            inner = Fields("distributions", f"{fields.name}/channels/{index}", spec)
            momentum = inner.get("l", default=0.0)
            if momentum not in range(len(_BLATT_WEISSKOPF)):
                inner.refuse(f"'l' must be 0 to 5, not {momentum!r}")
            width = inner.get("Gamma")
            m1, m2 = inner.get("m1", default=0.0), inner.get("m2", default=0.0)
            radius = inner.get("R", default=3.0)
            channels.append(DecayChannel(width, m1, m2, radius, int(momentum)))
            inner.close()
        x, pole = fields.get(variable), fields.get(*poles)
        return cls(fields.name, x, pole, tuple(channels))


def graded_edges(
    low: Array, high: Array, center: Array, width: Array, steps: np.ndarray
) -> Array:
    """Return edges of panels from `low` to `high` at multiples of a width.

    They have no derivative, as integrals do not depend on them.
    """
    return _clipped(_around(low, center, width, steps), low, high)


def _around(low: Array, center: Array, width: Array, steps: np.ndarray) -> Array:
    column = steps.reshape(-1, *(1 for _ in low.shape))
    return jnp.broadcast_to(center + width * column, (len(steps), *low.shape))


def _clipped(points: Array, low: Array, high: Array) -> Array:
    inner = jax.lax.stop_gradient(jnp.clip(points, low[None], high[None]))
    return jnp.concatenate([low[None], jnp.sort(inner, axis=0), high[None]])


@ft.cache
def _graded_rule() -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = gauss_legendre(24, 16)
    return nodes**4, 4.0 * nodes**3 * weights


def _partial_width(scope: Scope, channel: DecayChannel, m: Array) -> Array:
    m1, m2 = scope[channel.m1], scope[channel.m2]
    squared = (1.0 - ((m1 + m2) / m) ** 2) * (1.0 - ((m1 - m2) / m) ** 2)
    above = (squared > 0.0) & (m > m1 + m2)
    # Twice the momentum over the mass, which is the phase space.
    phase_space = jnp.sqrt(jnp.where(above, squared, 1.0))
    z2 = (0.5 * m * phase_space * scope[channel.radius]) ** 2
    inverse = jnp.zeros_like(z2)
    for coefficient in reversed(_BLATT_WEISSKOPF[channel.momentum]):
        inverse = inverse * z2 + coefficient
    barrier = z2**channel.momentum / inverse
    return jnp.where(above, scope[channel.width] * barrier * phase_space, 0.0)
