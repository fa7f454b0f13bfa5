"""Products with the Hessian of a template likelihood, which is never written out.

The formula is that of `everwillow.likelihood.templates.hessian`, applied to a vector
from the right: a product costs twice the evaluation of the responses.
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


class Chain(NamedTuple):
    """From parameters to yields and back, to second order at a point.

    Attributes:
        push: From a move of the parameters to those of the responses and the yields.
        pull: From first derivatives by the yields to those by the parameters.
        back: The same of second derivatives along a move, given what `push` made of it.
    """

    push: Callable[[Array], tuple[Array, Array]]
    pull: Callable[[Array], Float[Array, " n"]]
    back: Callable[[Array, Array, tuple[Array, Array]], Float[Array, " n"]]


def chain(
    arrays: TemplateArrays,
    gradient: Float[Array, "bins slots"],
    yields: Float[Array, "bins slots"],
    rates: Linearised,
    theta: Float[Array, " k"],
) -> Chain:
    """Return the way from parameters to yields and back.

    Args:
        arrays: The templates.
        gradient: First derivatives by the yields of every slot.
        yields: Those, with the templates as they are.
        rates: What multiplies the templates.
        theta: The systematics.
    """
    responses = arrays.responses
    strength, deformed = arrays.strength(yields), arrays.deformed(theta)
    second = responses.second(theta, gradient * strength)
    count = theta.shape[0]

    def push(move):
        along = responses.tangent(theta, move[:count])
        return along, strength * along + deformed * rates.push(move[count:])

    def pull(rows):
        head = responses.cotangent(theta, rows * strength)
        return jnp.concatenate([head, rates.pull(rows * deformed)])

    def back(rows, move, pushed):
        along, moved = pushed
        by_theta, by_rate = strength * rows, deformed * rows
        if arrays.log_normal:
            by_theta = by_theta + gradient * moved
            by_rate = by_rate + gradient * deformed * along
        head = responses.cotangent(theta, by_theta) + second * move[:count]
        bent = rates.bend(gradient * deformed, move[count:])
        return jnp.concatenate([head, rates.pull(by_rate) + bent])

    return Chain(push, pull, back)


def profiled_products(
    way: Chain, statistics: BinStatistics, profile: Profile
) -> Products:
    """Return the gradient of the likelihood of the bins, and products by its Hessian.

    Args:
        way: From parameters to yields and back.
        statistics: What is known about the samples behind the templates.
        profile: The likelihood at these yields.
    """
    loose = statistics.kind in ("gamma", "normal")

    def product(move):
        along, moved = way.push(move)
        whole = _answer(profile, jnp.sum(profile.sway * moved, 1))
        rows = profile.sway * whole[:, None]
        if loose:
            own = profile.relief * statistics.streams(moved)
            rows = rows - jnp.where(statistics.follows, own, 0)
        return way.back(rows, move, (along, moved))

    return Products(way.pull(profile.gradient), product)


def free_products(way: Chain, statistics: BinStatistics, profile: Profile) -> Products:
    """Return the same where each β is a parameter, after all others.

    Args:
        way: From parameters to yields and back.
        statistics: What is known about the samples behind the templates.
        profile: The likelihood at these yields and β.
    """
    shape, slope = jnp.shape(statistics.spread), profile.slope[:, None]
    size = shape[0] * shape[1]
    scales = statistics.kind != "additive"

    def product(move):
        head = move[:-size]
        beta = move[-size:].reshape(shape)
        along, moved = way.push(head)
        shift = jnp.sum(profile.lever * beta, 1)
        whole = _answer(profile, jnp.sum(profile.sway * moved, 1) + shift)
        rows = profile.sway * whole[:, None]
        tail = profile.lever * whole[:, None]
        if scales:
            rows = rows + jnp.where(statistics.follows, slope * beta, 0)
            tail = tail + slope * statistics.streams(moved)
        head = way.back(rows, head, (along, moved))
        return jnp.concatenate([head, tail.ravel()])

    gradient = way.pull(profile.gradient)
    own = (slope * profile.lever).ravel()
    return Products(jnp.concatenate([gradient, own]), product)


def _answer(profile: Profile, moved: Float[Array, " bins"]) -> Float[Array, " bins"]:
    """Return how the slopes of the bins answer to a move of their yields."""
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
    whole = jnp.sum(by_rate * moving[None], 2)
    return jnp.concatenate([head, whole**2 @ response])


__all__ = [
    "Chain",
    "Linearised",
    "Products",
    "chain",
    "free_products",
    "linearised",
    "profiled_products",
    "steering",
]
