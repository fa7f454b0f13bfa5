"""Products with the Hessian of a template likelihood, which is never written out.

The formula is that of `everwillow.likelihood.template_hessian`, applied to a vector
from the right: a product costs twice the evaluation of the responses.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow.likelihood.barlow_beeston import BinStatistics, Profile
from everwillow.likelihood.template_arrays import TemplateArrays


class Linearised(NamedTuple):
    """The rates of the slots around a point, as functions of their parameters.

    Attributes:
        push: Derivatives of the rates along a move of the parameters.
        pull: The transposed, from slots to parameters.
        bend: Product of the second derivatives of the rates, weighted by slot, with a
            move.
    """

    push: Callable[[Array], Float[Array, "bins slots"]]
    pull: Callable[[Array], Float[Array, " m"]]
    bend: Callable[[Array, Array], Float[Array, " m"]]


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
    _, pull = jax.vjp(rates, values)

    def bend(weights, move):
        def slope(v):
            return jax.grad(lambda w: jnp.vdot(weights, rates(w)))(v)

        return jax.jvp(slope, (values,), (move,))[1]

    return Linearised(
        lambda move: jax.jvp(rates, (values,), (move,))[1],
        lambda rows: pull(rows)[0],
        bend,
    )


def products(
    arrays: TemplateArrays,
    statistics: BinStatistics,
    profile: Profile,
    yields: Float[Array, "bins slots"],
    rates: Linearised,
    theta: Float[Array, " k"],
) -> Products:
    """Return the gradient of the likelihood of the bins, and products by its Hessian.

    Args:
        arrays: The templates.
        statistics: What is known about the samples behind them.
        profile: The likelihood at these yields.
        yields: Of every slot.
        rates: What multiplies the templates.
        theta: The systematics.
    """
    responses = arrays.responses
    log_normal = arrays.log_normal
    strength, deformed = arrays.strength(yields), arrays.deformed(theta)
    q, sway, response = profile.gradient, profile.sway, profile.response
    second = responses.second(theta, q * strength)
    count = theta.shape[0]
    loose = statistics.kind in ("gamma", "normal")

    def product(vector):
        along = responses.tangent(theta, vector[:count])
        scaled = rates.push(vector[count:])
        moved = strength * along + deformed * scaled
        whole = jnp.sum(sway * moved, 1)
        back = response @ whole if response.ndim == 2 else response * whole
        rows = sway * back[:, None]
        if loose:
            own = profile.relief * statistics.streams(moved)
            rows = rows - jnp.where(statistics.follows, own, 0)
        by_theta = strength * rows
        by_rate = deformed * rows
        if log_normal:
            by_theta = by_theta + q * moved
            by_rate = by_rate + q * deformed * along
        head = responses.cotangent(theta, by_theta) + second * vector[:count]
        tail = rates.pull(by_rate) + rates.bend(q * deformed, vector[count:])
        return jnp.concatenate([head, tail])

    head = responses.cotangent(theta, q * strength)
    return Products(jnp.concatenate([head, rates.pull(q * deformed)]), product)


def steering(
    arrays: TemplateArrays,
    profile: Profile,
    yields: Float[Array, "bins slots"],
    by_rate: Float[Array, "bins slots m"],
    theta: Float[Array, " k"],
) -> Float[Array, " n"]:
    """Return a positive approximation of the diagonal of the Hessian.

    Processes of a bin are taken to move together.
    """
    strength = arrays.strength(yields)
    response = profile.response
    if response.ndim == 2:
        response = jnp.diagonal(response)
    push = jnp.abs(profile.sway * strength)
    weights = response[:, None] * push * jnp.sum(push, 1, keepdims=True)
    head = arrays.responses.squared(theta, weights)
    moving = profile.sway * arrays.deformed(theta)
    whole = jnp.einsum("bs,bsm->bm", moving, by_rate)
    return jnp.concatenate([head, response @ whole**2])


__all__ = ["Linearised", "Products", "linearised", "products", "steering"]
