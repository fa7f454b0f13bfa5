r"""The response of a mass, from the parameters of the leptons of a region.

A lepton has a response r and a variance :math:`v = s^2`; with two Gaussians also the
variance of the second, its mean :math:`\mu` relative to the first, and the fraction f
of the first. The mass has one component, or one for each choice of a Gaussian for each
lepton.
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
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
    chosen = _chosen(local)
    rho = exponent * jnp.sum(jnp.log(chosen.response), 1)
    width = floored(jnp.sum(chosen.variance, 1) * exponent**2, floor**2)
    weight = jnp.prod(chosen.weight, 1)
    return jnp.stack([rho, 0.5 * jnp.log(width), weight], 1)


def component_slopes(
    local: Float[Array, "leptons kinds"], exponent: Numbers, floor: Numbers
) -> Float[Array, "components three locals"]:
    """Return the derivatives of `mass_components` by the parameters of the leptons."""
    chosen = _chosen(local)
    slope, _ = _log_width(jnp.sum(chosen.variance, 1) * exponent**2, floor**2)
    zero = jnp.zeros_like(chosen.variance)
    by_variance = exponent**2 * slope[:, None] + zero
    by_response = exponent / local[None, :, 0] + zero
    if local.shape[1] == len(KINDS):
        rows = (by_response, zero), (zero, by_variance), (zero, zero)
    else:
        second = chosen.second
        by_mean = second * exponent / local[None, :, 3]
        by_fraction = (1 - 2 * second) * _product_of_others(chosen.weight)
        first_and_second = (1 - second) * by_variance, second * by_variance
        rows = (
            (by_response, zero, zero, by_mean, zero),
            (zero, *first_and_second, zero, zero),
            (zero, zero, zero, zero, by_fraction),
        )
    found = jnp.stack([jnp.stack(row, 2) for row in rows], 1)
    return found.reshape(*found.shape[:2], -1)


def component_bends(
    local: Float[Array, "leptons kinds"],
    exponent: Numbers,
    floor: Numbers,
    weights: Float[Array, "components three"],
) -> Float[Array, "locals locals"]:
    """Return the sum of the second derivatives of `mass_components` with weights."""
    chosen = _chosen(local)
    leptons, kinds = local.shape
    _, bend = _log_width(jnp.sum(chosen.variance, 1) * exponent**2, floor**2)
    found = jnp.zeros((leptons, kinds, leptons, kinds), local.dtype)
    every = np.arange(leptons)
    on_rho, on_width, on_weight = weights.T
    by_response = -exponent * jnp.sum(on_rho) / local[:, 0] ** 2
    found = found.at[every, 0, every, 0].add(by_response)
    # All variances of a component enter by their sum.
    factor = on_width * exponent**4 * bend
    if kinds == len(KINDS):
        found = found.at[:, 1, :, 1].add(jnp.sum(factor))
        return found.reshape(leptons * kinds, -1)
    second = chosen.second
    choices = np.stack([1 - second, second], 2)
    pairs = np.einsum("cli,cmj->climj", choices, choices)
    found = found.at[:, 1:3, :, 1:3].add(jnp.einsum("c,climj->limj", factor, pairs))
    by_mean = -exponent * (on_rho @ second) / local[:, 3] ** 2
    found = found.at[every, 3, every, 3].add(by_mean)
    if leptons == 2:
        mixed = jnp.dot(on_weight, np.prod(1 - 2 * second, 1))
        found = found.at[[0, 1], 4, [1, 0], 4].add(mixed)
    return found.reshape(leptons * kinds, -1)


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


class _Chosen(NamedTuple):
    """The Gaussian of each lepton in each component, shape ``(components, leptons)``.

    Attributes:
        second: 1 for the second Gaussian, 0 for the first.
        response: The response, that of the second with its mean.
        variance: The variance.
        weight: The fraction.
    """

    second: Float[np.ndarray, "components leptons"]
    response: Float[Array, "components leptons"]
    variance: Float[Array, "components leptons"]
    weight: Float[Array, "components leptons"]


def _chosen(local: Float[Array, "leptons kinds"]) -> _Chosen:
    leptons, kinds = local.shape
    rows = local.T[:, None]
    if kinds == len(KINDS):
        return _Chosen(np.zeros((1, leptons)), rows[0], rows[1], jnp.ones_like(rows[0]))
    second = np.array(list(itertools.product((0.0, 1.0), repeat=leptons)))
    response, variance, wide, mean, fraction = rows
    is_second = second > 0
    return _Chosen(
        second,
        jnp.where(is_second, response * mean, response),
        jnp.where(is_second, wide, variance),
        jnp.where(is_second, 1 - fraction, fraction),
    )


def _log_width(variance: Array, floor: Numbers) -> tuple[Array, Array]:
    """Return two derivatives of the logarithm of a width by its variance."""
    gap = jnp.clip(4 * floor - variance, 0)
    value = floored(variance, floor)
    slope = (1 - 3 * gap**2 / (64 * floor**2)) / value
    bend = 6 * gap / (64 * floor**2) / value
    return 0.5 * slope, 0.5 * (bend - slope**2)


def _product_of_others(weight: Array) -> Array:
    """Return the product of the weights of the other leptons: one or none."""
    return weight[:, ::-1] if weight.shape[1] == 2 else jnp.ones_like(weight)
