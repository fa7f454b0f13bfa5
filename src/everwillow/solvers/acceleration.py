"""Bend a step along a curved valley, by the curvature at the previous point.

A quadratic model has the direction of a valley but not its bend: where the walls are a
million times steeper than the floor, only short straight steps lower the objective. The
path along the floor starts as ``v t + ½ a t²`` with ``a = -(H + λ)⁻¹ T[v, v]``, where T
are the third derivatives ("geodesic acceleration": Transtrum and Sethna,
arXiv:1201.5885), and goes on with the fourth. They need no further evaluation here:
slope and curvature at the previous point give them along the line between both points.

For a sum of squares ``½ Σ r²`` the part of T that bends the valley is ``Jᵀ r''[v, v]``;
the rest would lead up a wall, so residuals are used where they are known.
"""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from everwillow._numerics import norm
from everwillow.curvature import AbstractFactor
from everwillow.objective import Evaluation


# A bend of more than half the step is not used (Transtrum and Sethna), nor one of the
# next order of more than half the first.
LARGEST_BEND = 0.5


class PreviousPoint(eqx.Module):
    """A point that was evaluated before, with its derivatives.

    Attributes:
        x: The point.
        diagonal: Diagonal of the curvature there.
        evaluation: The whole evaluation there; None if steps are not bent.
    """

    x: Float[Array, " n"]
    diagonal: Float[Array, " n"]
    evaluation: Evaluation | None

    @classmethod
    def at(cls, x: Array, evaluation: Evaluation, *, whole: bool) -> "PreviousPoint":
        """Return the point with its whole evaluation, or with the diagonal alone."""
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
    """Return a correction that bends a step along the valley, or zeros.

    Args:
        x: The point from which the step starts.
        here: The evaluation there.
        other: Another point nearby, best on the line of the step.
        move: The step.
        scale: Inverse length of a unit step for each parameter.
        factor: Factor of the curvature that gave the step, in scaled coordinates.
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

    def response(force):
        return jnp.where(moving, -factor.solve(jnp.where(moving, force / scale, 0)), 0)

    first = response(share**2 * third + 2 * twist(rest)) / 2
    second = response(share**3 * fourth + 6 * twist(first / scale)) / 6
    most = LARGEST_BEND * norm(move * scale)
    first = jnp.where(norm(first) <= most, first, 0)
    second = jnp.where(norm(second) <= LARGEST_BEND * norm(first), second, 0)
    return (first + second) / scale


Product = Callable[[Array], Array]


def _forces(
    here: Evaluation, there: Evaluation
) -> tuple[Float[Array, " n"], Product, Product]:
    """Return the change of the gradient, and products with the curvature at both ends.

    With residuals the left Jacobian is that of the start at both ends.
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
