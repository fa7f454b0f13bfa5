"""The interface between the engine of fits and its second-order minimisers."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from everwillow._numerics import zeros_of
from everwillow.objective import Evaluation
from everwillow.solvers.open_ends import OpenEnds
from everwillow.solvers.termination import ConvergenceHistory, StopCode


class AbstractSearchState(eqx.Module):
    """The state of a second-order minimiser at the best point so far.

    Attributes:
        x: The best point, flat.
        scale: Inverse unit length of each parameter.
        radius: Radius of the trust region, in scaled coordinates.
        approach: The convergence so far.
        newton: The Newton step from `x`.
        active: Which parameters are held at a bound.
        definite: Whether the curvature at `x` is positive definite, as far as known.
        code: Whether to stop and why, a `StopCode`.
        evaluations: Number of evaluations so far.
        kinks: Number of steps rejected across a kink next to the best point.
        ends: The ends of the box at which the objective is not finite.
    """

    x: Float[Array, " n"]
    scale: Float[Array, " n"]
    radius: Float[Array, ""]
    approach: ConvergenceHistory
    newton: Float[Array, " n"]
    active: Bool[Array, " n"]
    definite: Bool[Array, ""]
    code: Int[Array, ""]
    evaluations: Int[Array, ""]
    kinks: Int[Array, ""]
    ends: OpenEnds

    @property
    def done(self) -> Bool[Array, ""]:
        """Whether to stop."""
        return self.code != StopCode.RUNNING

    @property
    def edm(self) -> Float[Array, ""]:
        """The estimated distance to the minimum at the best point."""
        return self.approach.edm

    @staticmethod
    def common_start(
        x: Float[Array, " n"], options: dict[str, Any] | None, *, pivots: bool
    ) -> dict[str, Any]:
        """Return the fields above before the first evaluation, by name.

        Args:
            x: The start.
            options: Options of the solver, with the box.
            pivots: Whether the solver computes the pivots of the curvature.
        """
        zeros, count = jnp.zeros_like(x), jnp.asarray(0)
        return {
            "x": x,
            "scale": zeros,
            "radius": jnp.full_like(x, jnp.inf, shape=()),
            "approach": ConvergenceHistory.before(x, pivots=pivots),
            "newton": zeros,
            "active": jnp.zeros(x.shape, bool),
            "definite": jnp.asarray(False),
            "code": jnp.asarray(StopCode.RUNNING),
            "evaluations": count,
            "kinks": count,
            "ends": OpenEnds.before(x, options),
        }


class AbstractSecondOrderMinimiser(optx.AbstractMinimiser[Any, Any, Any]):
    """A minimiser that uses second derivatives, and honours boxes and a mask.

    From the options of `optimistix.minimise` it reads ``"evaluate"``, a function ``(y,
    args) -> Evaluation``, and ``"lower"``, ``"upper"`` and ``"free"``, vectors of the
    flat length.

    Its state is an `AbstractSearchState` that also has ``nll`` and ``gradient`` of the
    best point. If it is not `matrix_free`, the state has the `Evaluation` of that point
    as ``evaluation``.

    Attributes:
        matrix_free: Whether it only multiplies vectors with the Hessian.
    """

    matrix_free: eqx.AbstractClassVar[bool]

    def terminate(self, fn, y, args, options, state, tags):
        """Stop when the last step said so."""
        del fn, y, args, options, tags
        return state.done, optx.RESULTS.successful


def evaluator(
    fn: Callable, y: Any, options: dict[str, Any] | None, differentiate: Callable
) -> tuple[Array, Callable[[Array], Any], Callable[[Array, Any], Evaluation]]:
    """Return the flat point, its inverse map, and the evaluation of the objective.

    Args:
        fn: The objective as `optimistix` takes it.
        y: The point.
        options: Options of the solver, which may have an evaluation of their own.
        differentiate: Evaluates an objective that offers none.
    """
    x, unravel = ravel_pytree(y)

    def evaluate(vector: Array, args: Any) -> Evaluation:
        return differentiate(lambda v, a: fn(unravel(v), a)[0], vector, args)

    own = (options or {}).get("evaluate")
    return x, unravel, evaluate if own is None else own


def blank_aux(fn: Callable, y: Any, args: Any) -> Any:
    """Return the auxiliary output of an objective, with zeros for its numbers."""
    return zeros_of(eqx.filter_eval_shape(fn, y, args)[1])
