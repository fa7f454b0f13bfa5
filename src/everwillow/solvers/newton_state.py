"""What `TrustRegionNewton` remembers from one step to the next."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from everwillow.objective import Evaluation
from everwillow.solvers.acceleration import PreviousPoint
from everwillow.solvers.open_ends import OpenEnds
from everwillow.solvers.termination import ConvergenceHistory, StopCode


class NewtonState(eqx.Module):
    """Where the solver stands.

    Attributes:
        x: The best point so far, flat.
        evaluation: The objective there, to second order.
        predicted: By how much the step that is being tried should lower the objective.
        scale: Size of a unit step for each parameter, as an inverse length.
        radius: Of the trust region.
        approach: How the minimum was approached.
        newton: The Newton step from x.
        active: Which parameters are held at a bound.
        definite: Whether the curvature at x is positive definite.
        code: Whether to stop and why, a `StopCode`.
        evaluations: Number of evaluations so far.
        previous: The point evaluated before the best one, or a rejected one after it.
        prefer: Whether the Gauss-Newton stand-in is preferred to the exact curvature;
            `next_model` says what that means.
        looks: How often it was looked aside from where no step leads on.
        kinks: How often a step was rejected across a kink next to the best point.
        ends: The ends of the box at which the objective is not finite.
    """

    x: Float[Array, " n"]
    evaluation: Evaluation
    predicted: Float[Array, ""]
    scale: Float[Array, " n"]
    radius: Float[Array, ""]
    approach: ConvergenceHistory
    newton: Float[Array, " n"]
    active: Bool[Array, " n"]
    definite: Bool[Array, ""]
    code: Int[Array, ""]
    evaluations: Int[Array, ""]
    previous: PreviousPoint
    prefer: Bool[Array, ""]
    looks: Int[Array, ""]
    kinks: Int[Array, ""]
    ends: OpenEnds

    @property
    def done(self) -> Bool[Array, ""]:
        """Whether to stop."""
        return self.code != StopCode.RUNNING

    @property
    def nll(self) -> Float[Array, ""]:
        """The objective at the best point so far."""
        return self.evaluation.value

    @property
    def gradient(self) -> Float[Array, " n"]:
        """The gradient of the objective at the best point so far."""
        return self.evaluation.gradient

    @property
    def edm(self) -> Float[Array, ""]:
        """The estimated distance to the minimum at the best point so far."""
        return self.approach.edm

    @property
    def lanes(self) -> bool:
        """Whether this is one of many fits in step, which share what they compute."""
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
            evaluation: Of the structure of those to come, with any numbers.
            options: Those of the solver, with the box.
            whole: Whether the points looked at before are kept with all derivatives.
        """
        infinite = jnp.full_like(x, jnp.inf, shape=())
        blank = eqx.tree_at(lambda e: e.value, evaluation, infinite)
        zeros, count, no = jnp.zeros_like(x), jnp.asarray(0), jnp.asarray(False)
        return cls(
            x=x,
            evaluation=blank,
            predicted=jnp.zeros_like(infinite),
            scale=zeros,
            radius=infinite,
            approach=ConvergenceHistory.before(x, pivots=True),
            newton=zeros,
            active=jnp.zeros(x.shape, bool),
            definite=no,
            code=jnp.asarray(StopCode.RUNNING),
            evaluations=count,
            previous=PreviousPoint.at(x, blank, whole=whole),
            prefer=jnp.asarray(True),
            looks=count,
            kinks=count,
            ends=OpenEnds.before(x, options),
        )
