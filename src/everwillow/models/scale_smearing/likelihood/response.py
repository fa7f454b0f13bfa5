r"""The response of a mass, from the parameters of the leptons of a region.

A lepton has a response r and a variance :math:`v = s^2`; with two Gaussians also the
variance of the second, its mean :math:`\mu` relative to the first, and the fraction f
of the first. The mass has one component, or one for each choice of a Gaussian for each
lepton.
"""

import itertools

import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow.models.scale_smearing.likelihood.migration import Numbers


KINDS = ("resp", "var")
"""The parameters of a lepton."""
DOUBLE_KINDS = ("resp", "var", "var2", "mu", "frac")
"""The parameters of a lepton with two Gaussians."""


def mass_components(
    local: Float[Array, "leptons kinds"], exponent: Numbers, floor: Numbers
) -> Float[Array, "components three"]:
    r"""Return :math:`\ln r`, :math:`\ln s` and the weight of each component of a mass.

    :math:`r = \prod_l r_l^a` and :math:`s^2 = a^2 \sum_l s_l^2` with the exponent a.

    Args:
        local: The parameters of the leptons.
        exponent: The power of a response in the mass.
        floor: The smallest width.
    """
    leptons, kinds = local.shape
    if kinds == len(KINDS):
        rho, variance = jnp.log(local[:, 0]), local[:, 1]
        weight = jnp.ones((), local.dtype)
        parts = [(jnp.sum(rho), jnp.sum(variance), weight)]
    else:
        response, first, second, mean, fraction = local.T
        rho = jnp.stack([jnp.log(response), jnp.log(response * mean)])
        variance = jnp.stack([first, second])
        weight = jnp.stack([fraction, 1 - fraction])
        every = jnp.arange(leptons)
        parts = []
        for chosen in itertools.product((0, 1), repeat=leptons):
            which = jnp.array(chosen)
            parts.append(
                (
                    jnp.sum(rho[which, every]),
                    jnp.sum(variance[which, every]),
                    jnp.prod(weight[which, every]),
                )
            )
    sums = [
        jnp.stack(
            [exponent * r, 0.5 * jnp.log(floored(v * exponent**2, floor**2)), weight]
        )
        for r, v, weight in parts
    ]
    return jnp.stack(sums)


def floored(variance: Array, floor: Numbers) -> Array:
    r"""Return a variance that is not below a floor, with two derivatives.

    It is :math:`v + (4 f - v)^3 / (64 f^2)` below four times the floor f and the same
    variance above: f at v = 0, where the slope is 1/4, so that a fit can leave it.

    Example:
        >>> floored(jnp.array([0.0, 4.0, 9.0]), jnp.array(1.0))
        Array([1., 4., 9.], dtype=float64)
    """
    gap = jnp.clip(4 * floor - variance, 0)
    return variance + gap**3 / (64 * floor**2)
