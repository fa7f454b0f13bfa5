"""The default solver: Newton's method in a trust region, with exact curvature."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from everwillow._derivatives import gradient_of
from everwillow._numerics import all_finite, select, zeros_of
from everwillow.objective import Evaluation, evaluate
from everwillow.solvers.acceleration import PreviousPoint, bend
from everwillow.solvers.box import land, project
from everwillow.solvers.chords import follow_chords
from everwillow.solvers.newton_state import NewtonState
from everwillow.solvers.open_ends import Phase, lower_by_value
from everwillow.solvers.quadratic_model import QuadraticModel
from everwillow.solvers.second_looks import (
    MOST_LOOKS,
    kink_beside,
    look_aside,
    look_at_the_ends,
    pivot_confirmed,
)
from everwillow.solvers.second_order import (
    AbstractSecondOrderMinimiser,
    blank_aux,
    evaluator,
)
from everwillow.solvers.termination import (
    EDM_GOAL,
    ConvergenceHistory,
    StopCode,
    Verdict,
    absolute_product,
    compare_curvatures,
    is_negligible,
    judge,
    rounding_level,
    tolerances,
)
from everwillow.solvers.trust_region_size import (
    assess_step,
    axes,
    first_radius,
    next_model,
)
from everwillow.solvers.trust_region_step import Step, solve_subproblem


# The smallest part of the predicted decrease with which a step is accepted. A step that
# brings less has left the region in which the model holds, often towards a plateau on
# which the fit would get stuck.
ACCEPT = 0.05
# Where a Newton step has reduced the EDM by this factor, steps need no bending.
STRAIGHT = 1e-4


class TrustRegionNewton(AbstractSecondOrderMinimiser):
    """Newton's method with exact second derivatives, in a trust region and a box.

    The default of `fit`. Every step minimises the second-order model of the objective
    over an ellipsoid whose axes follow the curvature, so that parameters of size 1e-6
    and 1e6 can be fitted together. It leaves saddle points along their negative
    curvature and honours bounds exactly. It ends with success only at a minimum, where
    the EDM is at most `edm_goal`, the Newton step at rounding level and the Hessian
    positive definite.

    Used through `optimistix.minimise` it reads from `options`: ``"evaluate"``, a
    function ``(y, args) -> Evaluation`` in the flat vector (by default the objective
    is differentiated), ``"lower"``, ``"upper"`` and ``"free"``, vectors of the flat
    length.

    Attributes:
        matrix_free: False; see `AbstractSecondOrderMinimiser`.
        edm_goal: Largest EDM of a success, in units of -ln L.
        step_rule: Minimises the quadratic model: ``(model, radius) -> Step``.
        bending: Whether to bend steps along curved valleys.
        chords_beyond: With more parameters than this, steps are continued by gradients
            alone while the last Hessian is good enough. A smaller Hessian does not cost
            much more than a gradient.
        reach: Radius of the first trust region, in units of `first_radius`. A large
            number trusts the curvature at the start, and saves factorisations.
        unseen: Whether the last step is taken without an evaluation at its end as soon
            as the EDM has collapsed. Value and parameters are as accurate; the Hessian
            is that of the point before.
        rtol: Not used; part of the interface of optimistix.
        atol: Not used; part of the interface of optimistix.
        norm: Not used; part of the interface of optimistix.
    """

    matrix_free: ClassVar[bool] = False

    edm_goal: float = EDM_GOAL
    step_rule: Callable[[QuadraticModel, Array], Step] = solve_subproblem
    bending: bool = True
    chords_beyond: int = 16
    reach: float = 1.0
    unseen: bool = False
    rtol: float = 0.0
    atol: float = 0.0
    norm: Callable[[PyTree], Array] = optx.max_norm

    def init(self, fn, y, args, options, f_struct, aux_struct, tags) -> NewtonState:
        """Set up the state; the objective is first evaluated by the first step."""
        del f_struct, aux_struct, tags
        x, _, evaluate_at = evaluator(fn, y, options, evaluate)
        x = project(x, options)
        blank = zeros_of(eqx.filter_eval_shape(evaluate_at, x, args))
        return NewtonState.before(x, blank, options, whole=self.bending)

    def step(self, fn, y, args, options, state, tags):
        """Evaluate the trial point, accept or reject it, and find the next."""
        del tags
        flat, unravel, evaluate_at = evaluator(fn, y, options, evaluate)
        trial = jnp.where(state.evaluations == 0, state.x, flat)
        evaluation = evaluate_at(trial, args)
        state, is_new = _accept_or_reject(state, trial, evaluation, self, options)
        box = state.ends.box(options)
        state, step, move = self._next_move(state, is_new, box)
        state, move = look_at_the_ends(state, move, options, self.edm_goal)
        trial = land(state.x, move, box)
        on_ends = state.ends.very_ends(state.x, options)
        trial = jnp.where(state.ends.phase == Phase.LOOKING, on_ends, trial)
        # After a start on an end where nothing is finite there is no step yet.
        trial = jnp.where(state.evaluations == 0, state.x, trial)
        if flat.size > self.chords_beyond:

            def with_chords():
                return follow_chords(
                    gradient_of(lambda v: fn(unravel(v), args)[0]),
                    state.x,
                    move,
                    factor=step.factor,
                    scale=state.scale,
                    moving=step.moving,
                    edm=step.edm,
                    options=box,
                )

            searching = ~state.done & (state.evaluations > 0) & state.ends.plain
            full_newton = searching & step.interior & step.definite
            trial = jax.lax.cond(full_newton, with_chords, lambda: trial)
        return unravel(trial), state, blank_aux(fn, y, args)

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        """Return the best point, after the last Newton step where it is a minimum."""
        del fn, args, tags, result
        polish = (state.code == StopCode.MINIMUM) & all_finite(state.newton)
        x = jnp.where(polish, project(state.x + state.newton, options), state.x)
        _, unravel = ravel_pytree(y)
        return unravel(x), aux, {"num_evaluations": state.evaluations}

    def _next_move(
        self, state: NewtonState, is_new: Bool[Array, ""], options: dict[str, Any]
    ) -> tuple[NewtonState, Step, Float[Array, " n"]]:
        """Judge the best point, and choose the step to try from it.

        Args:
            state: The state of the solver.
            is_new: Whether the best point was found by the last evaluation.
            options: Those of the solver, with the ends of the box where they are now.
        """
        x, shrink = state.x, 1 / state.scale
        free, active, _ = state.ends.active_set(x, state.gradient, options)
        model = QuadraticModel.around(
            x,
            state.evaluation,
            scale=state.scale,
            free=free,
            prefer=state.prefer,
            options=options,
        )
        step = self.step_rule(model, state.radius)
        bad_start = (state.evaluations == 1) & ~is_new
        # Decisions are made in branches: XLA copies a cheap operation into all that use
        # it, so a chain of them into each number of the state, but not out of a branch.
        verdict, approach, noise = jax.lax.cond(
            bad_start,
            lambda: (Verdict.none(), state.approach, jnp.zeros_like(x)),
            lambda: self._judge(state, is_new, step, free),
        )
        move = step.step * shrink
        if self.bending:
            move = _bent(state, step, move, verdict, approach, options)
        rejected = ~is_new & ~verdict.near
        negligible = is_negligible(x, move, rejected, approach) | ~(step.decrease > 0)
        code = jnp.where(negligible, StopCode.STALLED, StopCode.RUNNING)
        code = jnp.where(verdict.flat, StopCode.FLAT, code)
        code = jnp.where(verdict.minimum | ~jnp.any(free), StopCode.MINIMUM, code)
        code = jnp.where(bad_start, StopCode.NONFINITE_START, code)
        state = dataclasses.replace(
            state,
            predicted=step.decrease,
            approach=approach,
            newton=jnp.where(free, step.newton * shrink, 0),
            active=active,
            definite=step.definite,
            code=code,
        )
        stalled = code == StopCode.STALLED
        look_beside = stalled & verdict.unsure & (state.looks < MOST_LOOKS)
        if self.bending:
            crossing = ~is_new & (stalled | (code == StopCode.RUNNING))
            state = kink_beside(state, noise, free, crossing, look_beside)
        state, move = look_aside(state, move, free, look_beside, options)
        step = dataclasses.replace(step, interior=step.interior & ~look_beside)
        return state, step, move

    def _judge(
        self,
        state: NewtonState,
        is_new: Bool[Array, ""],
        step: Step,
        free: Bool[Array, " n"],
    ) -> tuple[Verdict, ConvergenceHistory, Float[Array, " n"]]:
        """Judge whether the best point is a minimum."""
        x, evaluation = state.x, state.evaluation
        newton = step.newton / state.scale
        diagonal = jnp.abs(evaluation.curvature.diagonal())
        apart = state.previous.x - x
        same, steady = compare_curvatures(
            diagonal,
            jnp.abs(state.previous.diagonal),
            newton=newton,
            apart=apart,
            free=free,
        )
        steady = steady & (state.evaluations > 1)
        beside = jnp.any(apart != 0) & pivot_confirmed(
            step.pivot,
            evaluation.curvature,
            state.previous,
            apart,
            factor=step.factor,
            shrink=1 / state.scale,
            free=free,
        )
        rounding, noise, slope_noise = rounding_level(
            x,
            evaluation.value,
            evaluation.gradient,
            # The values of held parameters have no rounding error.
            absolute_product(evaluation.curvature, jnp.where(free, jnp.abs(x), 0)),
            jnp.sqrt(diagonal),
            free,
        )
        verdict, approach = judge(
            x=x,
            value=evaluation.value,
            is_new=is_new,
            newton=newton,
            sigma=1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1)),
            free=free,
            edm=step.edm,
            definite=step.definite,
            semidefinite=step.semidefinite,
            rounding=rounding,
            noise=noise,
            approach=state.approach,
            goals=tolerances(x.dtype, self.edm_goal, unseen=self.unseen),
            pivot=step.pivot,
            same=same,
            steady=steady,
            beside=beside,
        )
        return verdict, approach, slope_noise


def _bent(
    state: NewtonState,
    step: Step,
    move: Float[Array, " n"],
    verdict: Verdict,
    approach: ConvergenceHistory,
    options: dict[str, Any],
) -> Float[Array, " n"]:
    """Return a move bent along a curved valley, unless Newton steps collapse."""
    x, before = state.x, state.approach.edm

    def follow() -> Float[Array, " n"]:
        correction = bend(
            x=x,
            here=state.evaluation,
            other=state.previous,
            move=move,
            scale=state.scale,
            factor=step.factor,
            moving=step.moving,
        )
        return project(x + move + correction, options) - x

    collapsing = (approach.edm <= STRAIGHT * before) & jnp.isfinite(before)
    return jax.lax.cond(collapsing | verdict.minimum, lambda: move, follow)


def _accept_or_reject(
    state: NewtonState, trial, new: Evaluation, solver: TrustRegionNewton, options
) -> tuple[NewtonState, Bool[Array, ""]]:
    """Move to the trial point if it is better, and adapt the trust region.

    Returns:
        The state, and whether its best point is the trial point.
    """
    first, usable, old = state.evaluations == 0, new.finite, state.evaluation
    accept, closed, radius, prefer, ends = jax.lax.cond(
        first,
        lambda: (usable, jnp.asarray(False), state.radius, state.prefer, state.ends),
        lambda: _compare_with_prediction(state, trial, new, options),
    )
    x = jnp.where(accept | closed, trial, state.x)
    # An evaluation that is not finite at the start is kept, for the message.
    evaluation = select(accept | first, new, old)
    value = jnp.where(closed, new.value, evaluation.value)
    evaluation = dataclasses.replace(evaluation, value=value)
    scale = axes(state.scale, evaluation, x, first)
    scale = jax.lax.cond(
        ends.involved,
        lambda: jnp.where(ends.near(x), state.scale, scale),
        lambda: scale,
    )
    start_radius = solver.reach * first_radius(x, evaluation.gradient, scale)
    # A trial that is not finite has no usable derivatives: the old point is kept.
    keep_old = (accept & ~first) | ~usable
    previous = select(
        keep_old,
        PreviousPoint.at(state.x, old, whole=solver.bending),
        PreviousPoint.at(trial, new, whole=solver.bending),
    )
    leapt = accept & (state.ends.phase == Phase.LEAPING)
    state = dataclasses.replace(
        state,
        x=x,
        evaluation=evaluation,
        scale=scale,
        radius=jnp.where(first, start_radius, radius),
        approach=state.approach.after_step(trial - state.x, accept, leapt=leapt),
        evaluations=state.evaluations + 1,
        previous=previous,
        prefer=prefer,
        ends=ends,
    )
    return state, accept


def _compare_with_prediction(state: NewtonState, trial, new: Evaluation, options):
    """Compare a trial with the prediction, and adapt trust region, model and ends."""
    old, usable = state.evaluation, new.finite
    move = trial - state.x
    outcome = assess_step(
        state.radius,
        move=move,
        scale=state.scale,
        predicted=state.predicted,
        values=(old.value, new.value),
        gradients=(old.gradient, new.gradient),
        usable=usable,
    )
    fall, gain = outcome.fall, outcome.gain
    ends, moved, closed = state.ends.after(
        state.x, trial, (old.value, new.value), options, usable, lanes=state.lanes
    )
    at_bounds = state.ends.phase == Phase.LOOKING
    leaping = state.ends.phase == Phase.LEAPING
    improves = jnp.where(leaping, lower_by_value(old.value, new.value), gain > ACCEPT)
    improves = jnp.where(at_bounds, ends.phase == Phase.SEARCHING, improves)
    keep_radius = moved | at_bounds | leaping
    radius = jnp.where(keep_radius, state.radius, outcome.radius)
    visible = usable & ~outcome.hidden & ~at_bounds
    prefer = next_model(state.prefer, old, move, fall=fall, gain=gain, visible=visible)
    return usable & improves, closed, radius, prefer, ends
