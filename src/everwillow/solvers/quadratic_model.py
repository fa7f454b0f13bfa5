"""The quadratic model of an objective around a point, which a step minimises."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from everwillow._numerics import norm
from everwillow.curvature import AbstractCurvature, AbstractFactor
from everwillow.objective import Evaluation


class QuadraticModel(eqx.Module):
    """A function to second order around a point, in scaled coordinates.

    Attributes:
        gradient: First derivatives.
        curvature: Second derivatives, not scaled.
        gauss_newton: Positive semi-definite stand-in, or None; not scaled.
        lower: Smallest allowed step, not positive; None without bounds.
        upper: Largest allowed step, not negative; None without bounds.
        free: Which parameters may move.
        prefer: Whether the stand-in is preferred to the curvature.
        least_squares: Whether to use it then even where the curvature is definite,
            which helps for sums of squares; other functions, such as -ln L of counts,
            converge faster with the curvature wherever it is definite.
        shrink: Unit lengths of the scaled coordinates, with which the curvature has a
            diagonal of order one. Matrices are scaled where they are factorised, in the
            same pass; products scale vectors.
    """

    gradient: Float[Array, " n"]
    curvature: AbstractCurvature
    gauss_newton: AbstractCurvature | None
    lower: Float[Array, " n"] | None
    upper: Float[Array, " n"] | None
    free: Bool[Array, " n"]
    prefer: Bool[Array, ""]
    shrink: Float[Array, " n"]
    least_squares: bool = eqx.field(static=True, default=True)

    @classmethod
    def around(
        cls,
        x: Float[Array, " n"],
        evaluation: Evaluation,
        *,
        scale: Float[Array, " n"],
        free: Bool[Array, " n"],
        prefer: Bool[Array, ""],
        options: Mapping[str, Any] | None,
    ) -> "QuadraticModel":
        """Return the model of an objective around a point.

        Args:
            x: The point.
            evaluation: The objective there.
            scale: Inverse unit lengths of the scaled coordinates.
            free: Which parameters may move.
            prefer: Whether the stand-in is preferred to the curvature.
            options: Options of the solver; ``"lower"`` and ``"upper"`` are read.
        """
        lower, upper = (options or {}).get("lower"), (options or {}).get("upper")
        shrink = 1 / scale
        return cls(
            jnp.where(free, evaluation.gradient * shrink, 0),
            evaluation.curvature,
            evaluation.gauss_newton,
            None if lower is None else (lower - x) * scale,
            None if upper is None else (upper - x) * scale,
            free,
            prefer,
            shrink,
            least_squares=evaluation.residuals is not None,
        )

    def matrix(self, stand_in: Bool[Array, ""]) -> AbstractCurvature:
        """Return the scaled curvature, or the scaled stand-in for it."""
        if self.gauss_newton is None:
            return self.curvature.scaled(self.shrink)
        chosen = jax.tree.map(
            lambda a, b: jnp.where(stand_in, a, b), self.gauss_newton, self.curvature
        )
        return chosen.scaled(self.shrink)

    def product(
        self, vector: Float[Array, " n"], stand_in: Bool[Array, ""] | None = None
    ) -> Float[Array, " n"]:
        """Multiply with `matrix`, without writing it out.

        Args:
            vector: In scaled coordinates.
            stand_in: Whether to use the stand-in; never, if None.
        """
        vector = self.shrink * vector
        product = self.curvature.matvec(vector)
        if stand_in is not None and self.gauss_newton is not None:
            product = jnp.where(stand_in, self.gauss_newton.matvec(vector), product)
        return self.shrink * product

    def decrease(
        self, step: Float[Array, " n"], stand_in: Bool[Array, ""] | None = None
    ) -> Float[Array, ""]:
        """Return the decrease of the model by a step.

        Args:
            step: In scaled coordinates.
            stand_in: Whether to use the stand-in; never, if None.
        """
        curvature = jnp.vdot(step, self.product(step, stand_in))
        return -(jnp.vdot(self.gradient, step) + 0.5 * curvature)

    def inside(self, step: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return the step cut to the box."""
        if self.lower is None:
            return step
        return jnp.clip(step, self.lower, self.upper)


def least_direction(
    factor: AbstractFactor, free: Bool[Array, " n"], dtype: Any
) -> Float[Array, " n"]:
    """Return the unit direction of least curvature, by inverse iteration.

    Args:
        factor: The factorised curvature.
        free: Which parameters may move.
        dtype: Dtype of the direction.
    """
    start = jnp.cos(jnp.arange(1.0, free.shape[0] + 1, dtype=dtype) ** 2)
    direction = jnp.where(free, start, 0)
    for _ in range(2):
        direction = factor.solve(direction)
        direction = direction / norm(direction)
    return direction
