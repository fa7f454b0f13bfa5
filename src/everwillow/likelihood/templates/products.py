"""Products with the Hessian of a template likelihood, without the matrix.

The formula is that of `everwillow.likelihood.templates.hessian_matrix`, applied to a
vector: a product costs twice the evaluation of the responses.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow.likelihood.barlow_beeston import BinStatistics, Profile
from everwillow.likelihood.templates.arrays import TemplateArrays


class Linearised(NamedTuple):
    """The rates of the slots around a point, as functions of their parameters.

    Attributes:
        jvp: Derivatives of the rates along a move of the parameters.
        vjp: The transpose, from slots to parameters.
        hvp: Product of the second derivatives of the rates, weighted by slot, with a
            move.
    """

    jvp: Callable[[Array], Float[Array, "bins slots"]]
    vjp: Callable[[Array], Float[Array, " m"]]
    hvp: Callable[[Array, Array], Float[Array, " m"]]


class Products(NamedTuple):
    """First derivatives, and products with second ones.

    Both are by the systematics, then by the parameters of the rates.

    Attributes:
        gradient: First derivatives.
        product: Maps a vector to its product with the Hessian.
    """

    gradient: Float[Array, " n"]
    product: Callable[[Float[Array, " n"]], Float[Array, " n"]]


def linearised(
    rates: Callable[[Array], Float[Array, "bins slots"]], values: Float[Array, " m"]
) -> Linearised:
    """Linearise the rates of the slots."""
    _, vjp_fn = jax.vjp(rates, values)

    def hvp(weights, move):
        def slope(v):
            return jax.grad(lambda w: jnp.vdot(weights, rates(w)))(v)

        return jax.jvp(slope, (values,), (move,))[1]

    return Linearised(
        lambda move: jax.jvp(rates, (values,), (move,))[1],
        lambda rows: vjp_fn(rows)[0],
        hvp,
    )


class ChainRule(NamedTuple):
    """Derivatives of functions of the yields by the parameters, to second order.

    Attributes:
        jvp: Maps a move of the parameters to those of the responses and the yields.
        vjp: Maps first derivatives by the yields to those by the parameters.
        hvp: Maps second derivatives along a move likewise, given the result of `jvp`.
    """

    jvp: Callable[[Array], tuple[Array, Array]]
    vjp: Callable[[Array], Float[Array, " n"]]
    hvp: Callable[[Array, Array, tuple[Array, Array]], Float[Array, " n"]]


def chain_rule(
    arrays: TemplateArrays,
    gradient: Float[Array, "bins slots"],
    yields: Float[Array, "bins slots"],
    rates: Linearised,
    theta: Float[Array, " k"],
) -> ChainRule:
    """Return the chain rule from yields to parameters, at a point.

    Args:
        arrays: The templates.
        gradient: First derivatives by the yields of every slot.
        yields: The yields of every slot, at nominal β.
        rates: The rates that multiply the templates.
        theta: The systematics.
    """
    responses = arrays.responses
    strength, deformed = arrays.strength(yields), arrays.deformed(theta)
    second = responses.second(theta, gradient * strength)
    count = theta.shape[0]

    def jvp(move):
        along = responses.tangent(theta, move[:count])
        return along, strength * along + deformed * rates.jvp(move[count:])

    def vjp(rows):
        head = responses.cotangent(theta, rows * strength)
        return jnp.concatenate([head, rates.vjp(rows * deformed)])

    def hvp(rows, move, forward):
        along, moved = forward
        by_theta, by_rate = strength * rows, deformed * rows
        if arrays.log_normal:
            by_theta = by_theta + gradient * moved
            by_rate = by_rate + gradient * deformed * along
        head = responses.cotangent(theta, by_theta) + second * move[:count]
        bent = rates.hvp(gradient * deformed, move[count:])
        return jnp.concatenate([head, rates.vjp(by_rate) + bent])

    return ChainRule(jvp, vjp, hvp)


def profiled_products(
    rule: ChainRule, statistics: BinStatistics, profile: Profile
) -> Products:
    """Return the gradient of the likelihood of the bins, and products by its Hessian.

    Args:
        rule: The chain rule from yields to parameters.
        statistics: Variances of the samples behind the templates.
        profile: The likelihood at these yields.
    """
    loose = statistics.kind in ("gamma", "normal")

    def product(move):
        along, moved = rule.jvp(move)
        slope_change = _slope_response(profile, jnp.sum(profile.yield_slope * moved, 1))
        rows = profile.yield_slope * slope_change[:, None]
        if loose:
            reduced = profile.reduction * statistics.streams(moved)
            rows = rows - jnp.where(statistics.follows, reduced, 0)
        return rule.hvp(rows, move, (along, moved))

    return Products(rule.vjp(profile.gradient), product)


def free_products(
    rule: ChainRule, statistics: BinStatistics, profile: Profile
) -> Products:
    """Return gradient and products if each β is a parameter, after all others.

    Args:
        rule: The chain rule from yields to parameters.
        statistics: Variances of the samples behind the templates.
        profile: The likelihood at these yields and β.
    """
    shape, slope = jnp.shape(statistics.spread), profile.slope[:, None]
    size = shape[0] * shape[1]
    scales = statistics.kind != "additive"

    def product(move):
        head = move[:-size]
        beta = move[-size:].reshape(shape)
        along, moved = rule.jvp(head)
        shift = jnp.sum(profile.beta_slope * beta, 1)
        slope_change = _slope_response(
            profile, jnp.sum(profile.yield_slope * moved, 1) + shift
        )
        rows = profile.yield_slope * slope_change[:, None]
        tail = profile.beta_slope * slope_change[:, None]
        if scales:
            rows = rows + jnp.where(statistics.follows, slope * beta, 0)
            tail = tail + slope * statistics.streams(moved)
        head = rule.hvp(rows, head, (along, moved))
        return jnp.concatenate([head, tail.ravel()])

    gradient = rule.vjp(profile.gradient)
    by_beta = (slope * profile.beta_slope).ravel()
    return Products(jnp.concatenate([gradient, by_beta]), product)


def _slope_response(
    profile: Profile, moved: Float[Array, " bins"]
) -> Float[Array, " bins"]:
    """Return the change of the slopes of the bins by a change of their yields."""
    response = profile.response
    return response @ moved if response.ndim == 2 else response * moved


def steering(
    arrays: TemplateArrays,
    profile: Profile,
    yields: Float[Array, "bins slots"],
    by_rate: Float[Array, "m bins slots"],
    theta: Float[Array, " k"],
) -> Float[Array, " n"]:
    """Return a positive approximation of the diagonal of the Hessian.

    Processes of a bin are assumed to move together.
    """
    strength = arrays.strength(yields)
    response = profile.response
    if response.ndim == 2:
        response = jnp.diagonal(response)
    push = jnp.abs(profile.yield_slope * strength)
    weights = response[:, None] * push * jnp.sum(push, 1, keepdims=True)
    head = arrays.responses.squared(theta, weights)
    moving = profile.yield_slope * arrays.deformed(theta)
    by_bin = jnp.sum(by_rate * moving[None], 2)
    return jnp.concatenate([head, by_bin**2 @ response])
