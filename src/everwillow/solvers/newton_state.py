"""The state of `TrustRegionNewton` between two steps."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from everwillow.objective import Evaluation
from everwillow.solvers.acceleration import PreviousPoint
from everwillow.solvers.second_order import AbstractSearchState


class NewtonState(AbstractSearchState):
    """The state of `TrustRegionNewton` between two steps.

    Attributes:
        evaluation: The objective at the best point, to second order.
        predicted: Predicted decrease of the objective by the step that is tried next.
        previous: The point evaluated before the best one, or a rejected one after it.
        prefer: Whether the Gauss-Newton stand-in is preferred to the exact curvature;
            see `next_model`.
        looks: Number of evaluations beside a point from which no step leads on.
    """

    evaluation: Evaluation
    predicted: Float[Array, ""]
    previous: PreviousPoint
    prefer: Bool[Array, ""]
    looks: Int[Array, ""]

    @property
    def nll(self) -> Float[Array, ""]:
        """The objective at the best point so far."""
        return self.evaluation.value

    @property
    def gradient(self) -> Float[Array, " n"]:
        """The gradient of the objective at the best point so far."""
        return self.evaluation.gradient

    @property
    def lanes(self) -> bool:
        """Whether this is one fit of a batch, which all evaluate at once."""
        return self.previous.evaluation is None

    @classmethod
    def before(
        cls,
        x: Float[Array, " n"],
        evaluation: Evaluation,
        options: dict[str, Any] | None,
        *,
        whole: bool,
    ) -> "NewtonState":
        """Return the state before the first evaluation.

        Args:
            x: The start.
            evaluation: An evaluation of the structure of those to come.
            options: Options of the solver, with the box.
            whole: Whether the previous point is kept with all its derivatives.
        """
        infinite = jnp.full_like(x, jnp.inf, shape=())
        blank = eqx.tree_at(lambda e: e.value, evaluation, infinite)
        return cls(
            **cls.common_start(x, options, pivots=True),
            evaluation=blank,
            predicted=jnp.zeros_like(infinite),
            previous=PreviousPoint.at(x, blank, whole=whole),
            prefer=jnp.asarray(True),
            looks=jnp.asarray(0),
        )
