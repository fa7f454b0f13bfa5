"""Bend a step along a curved valley, by what the last evaluation told of curvature.

A quadratic model knows the direction of a valley but not that it turns: where its walls
are a million times steeper than its floor, a straight step soon hits one. The path that
stays on the floor starts as ``v t + ½ a t²`` with ``a = -(H + λ)⁻¹ T[v, v]``, where T
are the third derivatives ("geodesic acceleration": Transtrum and Sethna,
arXiv:1201.5885), and goes on with the fourth. Here these cost no evaluation: slope and
curvature at the point looked at before give them along the line between both points.

For a sum of squares ``½ Σ r²`` the part of T that turns the valley is ``Jᵀ r''[v, v]``;
the rest would carry the step up a wall, so residuals are used where they are known.
"""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from everwillow._numerics import norm
from everwillow.curvature import AbstractFactor
from everwillow.objective import Evaluation


# A bend of more than half the step is no correction any more, as Transtrum and Sethna
# found; nor is a second one of more than half the first.
LARGEST_BEND = 0.5


class PreviousPoint(eqx.Module):
    """A point that was evaluated, and what was found there.

    Attributes:
        x: The point.
        diagonal: Of the curvature there.
        evaluation: All that was found there; None if steps are not bent.
    """

    x: Float[Array, " n"]
    diagonal: Float[Array, " n"]
    evaluation: Evaluation | None

    @classmethod
    def at(cls, x: Array, evaluation: Evaluation, *, whole: bool) -> "PreviousPoint":
        """Keep what is needed of an evaluation."""
        diagonal = evaluation.curvature.diagonal()
        return cls(x, diagonal, evaluation if whole else None)


def bend(
    *,
    x: Float[Array, " n"],
    here: Evaluation,
    other: PreviousPoint,
    move: Float[Array, " n"],
    scale: Float[Array, " n"],
    factor: AbstractFactor,
    moving: Bool[Array, " n"],
) -> Float[Array, " n"]:
    """Return what to add to a step so that it follows the valley, or zeros.

    Args:
        x: Where the step starts.
        here: The objective there.
        other: Another point nearby, best on the line of the step.
        move: The step.
        scale: Inverse length of a unit step for each parameter.
        factor: The factorised curvature that gave the step, in scaled coordinates.
        moving: Which parameters the step moved freely.
    """
    assert other.evaluation is not None
    apart = other.x - x
    change, product, other_product = _forces(here, other.evaluation)
    scaled_apart = apart * scale
    share = jnp.vdot(move * scale, scaled_apart) / jnp.vdot(scaled_apart, scaled_apart)
    rest = move - share * apart
    # Hermite interpolation on the line, exact up to the fourth derivatives.
    there, other_there = product(apart), other_product(apart)
    third = 6 * change - 4 * there - 2 * other_there
    fourth = 2 * (other_there - there - third)

    def twist(vector):
        return share * (other_product(vector) - product(vector))

    def answer(force):
        return jnp.where(moving, -factor.solve(jnp.where(moving, force / scale, 0)), 0)

    first = answer(share**2 * third + 2 * twist(rest)) / 2
    second = answer(share**3 * fourth + 6 * twist(first / scale)) / 6
    most = LARGEST_BEND * norm(move * scale)
    first = jnp.where(norm(first) <= most, first, 0)
    second = jnp.where(norm(second) <= LARGEST_BEND * norm(first), second, 0)
    return (first + second) / scale


Product = Callable[[Array], Array]


def _forces(
    here: Evaluation, there: Evaluation
) -> tuple[Float[Array, " n"], Product, Product]:
    """Return a change of gradient, and the products with the curvature at both ends.

    With residuals the Jacobian that multiplies from the left stays that of the start.
    """
    start, end = here.residuals, there.residuals
    left, right = here.jacobian, there.jacobian
    if start is None or end is None or left is None or right is None:
        return (
            there.gradient - here.gradient,
            here.curvature.matvec,
            there.curvature.matvec,
        )
    return (
        (end - start) @ left,
        lambda v: (left @ v) @ left,
        lambda v: (right @ v) @ left,
    )
