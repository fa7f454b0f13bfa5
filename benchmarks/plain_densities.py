"""The likelihood of a density-ratio fit, written as its formula reads, for MIGRAD.

Logarithms and the coefficients of the polynomial are computed in every call for every
event, sample and systematic, and arrays have an entry for every sample and event.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from everwillow.likelihood.binned.spec import Scale, ShapeVariation
from everwillow.models.nsbi.spec import NsbiSpec


def response(alpha: Any, high: Any, low: Any) -> Any:
    """Return the factor at a parameter, given those at +1 and -1."""
    log_high, log_low = jnp.log(high), jnp.log(low)
    s0, a0 = (high + low) / 2, (high - low) / 2
    u, d = high * log_high, -low * log_low
    s1, a1 = (u + d) / 2, (u - d) / 2
    u2, d2 = high * log_high**2, low * log_low**2
    s2, a2 = (u2 + d2) / 2, (u2 - d2) / 2
    coefficients = (
        (15 * a0 - 7 * s1 + a2) / 8,
        (-24 + 24 * s0 - 9 * a1 + s2) / 8,
        (-5 * a0 + 5 * s1 - a2) / 4,
        (12 - 12 * s0 + 7 * a1 - s2) / 4,
        (3 * a0 - 3 * s1 + a2) / 8,
        (-8 + 8 * s0 - 5 * a1 + s2) / 8,
    )
    inside = 1 + sum(c * alpha ** (n + 1) for n, c in enumerate(coefficients))
    outside = jnp.where(alpha > 0, high**alpha, low ** (-alpha))
    return jnp.where(jnp.abs(alpha) <= 1, inside, outside)


def morphed(alphas: Any, values: Any, high: Any, low: Any) -> Any:
    """Return values times the factors of all systematics.

    Args:
        alphas: The systematics, ``(S,)``.
        values: Shape ``(C, n)``.
        high: Factors at +1, ``(S, C, n)``.
        low: Factors at -1.
    """

    def multiply(product: Any, one: Any) -> tuple[Any, None]:
        return product * response(*one), None

    return jax.lax.scan(multiply, values, (alphas, high, low))[0]


def plain_nll(x: Any, data: Any) -> Any:
    """Return -ln L.

    Args:
        x: The signal strength, the strength of the second sample, the systematics.
        data: The arrays of `plain_data`.
    """
    alphas = x[2:]
    ones = jnp.ones(data["yields"].size - 2)
    strength = jnp.concatenate([x[:2], ones])
    yields = strength * morphed(alphas, data["yields"][:, None], *data["growth"])[:, 0]
    density = yields @ morphed(alphas, data["ratios"], *data["factors"])
    unbinned = jnp.sum(yields) - jnp.sum(data["weights"] * jnp.log(density))
    counts = strength @ morphed(alphas, data["templates"], *data["shapes"])
    binned = jnp.sum(counts - data["observed"] * jnp.log(counts))
    return unbinned + binned + 0.5 * jnp.sum(alphas**2)


def plain_data(spec: NsbiSpec) -> dict[str, Any]:
    """Return the arrays that `plain_nll` needs of `density_spec`."""
    (region,), (channel,) = spec.unbinned, spec.binned.channels
    names = [p.name for p in spec.binned.parameters[2:]]
    events = region.events

    def by_systematic(value: Callable[[int, str], Any]) -> Any:
        """Stack the factors at +1, and those at -1, ``(S, C, n)``."""
        return tuple(
            jnp.stack(
                [
                    np.stack([value(c, name)[end] for c in range(len(region.samples))])
                    for name in names
                ]
            )
            for end in (1, 0)
        )

    def growth(sample: int, name: str) -> tuple[Any, Any]:
        (found,) = (
            e
            for e in region.samples[sample].effects
            if not isinstance(e, Scale) and e.parameter == name
        )
        return np.array([found.down]), np.array([found.up])

    def shape(sample: int, name: str) -> tuple[Any, Any]:
        one = channel.samples[sample]
        (found,) = (
            e
            for e in one.effects
            if isinstance(e, ShapeVariation) and e.parameter == name
        )
        return found.down / one.nominal, found.up / one.nominal

    def factors(sample: int, name: str) -> tuple[Any, Any]:
        return events.variations[region.samples[sample].name, name]

    return {
        "weights": jnp.asarray(events.weights),
        "ratios": jnp.stack([events.ratios[s.name] for s in region.samples]),
        "factors": by_systematic(factors),
        "yields": jnp.array([s.expected for s in region.samples]),
        "growth": by_systematic(growth),
        "observed": jnp.asarray(channel.observed),
        "templates": jnp.stack([s.nominal for s in channel.samples]),
        "shapes": by_systematic(shape),
    }
