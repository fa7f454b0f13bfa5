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
    confirmed,
    kink_beside,
    look_aside,
    look_at_the_ends,
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
    compare,
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
from everwillow.solvers.trust_region_step import Step, trust_region_step


# The smallest part of the predicted decrease with which a step is accepted. A step that
# brings next to nothing of it has left the region in which the model holds, often for a
# plateau without a way back.
ACCEPT = 0.05
# A Newton step that shrank the EDM by this much needs no bending; nor will the next.
STRAIGHT = 1e-4


class TrustRegionNewton(AbstractSecondOrderMinimiser):
    """Newton's method with exact second derivatives, in a trust region and a box.

    The default of `fit`. Every step minimises the second-order model of the objective
    over an ellipsoid whose axes follow the curvature, so that parameters of size 1e-6
    and 1e6 can live together; saddle points are left along their negative curvature;
    bounds are honoured exactly. It ends with success only at a minimum: EDM at most
    `edm_goal`, a Newton step at rounding level and a positive definite Hessian.

    Used through `optimistix.minimise` it reads from `options`: ``"evaluate"``, a
    function ``(y, args) -> Evaluation`` in the flat vector (by default the objective
    is differentiated), ``"lower"``, ``"upper"`` and ``"free"``, vectors of the flat
    length.

    Attributes:
        matrix_free: False; see `AbstractSecondOrderMinimiser`.
        edm_goal: Largest EDM of a success, in units of -ln L.
        step_rule: Minimises the quadratic model: ``(model, radius) -> Step``.
        bending: Whether to bend steps along curved valleys.
        chords_beyond: With more parameters than this, steps go on by gradients alone
            while the last Hessian serves. A smaller Hessian is not much dearer than a
            gradient.
        reach: How far the first step may go, in units of a cautious guess. A large
            number trusts the curvature at the start, and saves factorisations.
        unseen: Whether the last step is taken without a look at its end as soon as the
            EDM has collapsed. Values and parameters are as good; the Hessian is that
            of the point before.
        rtol: Not used; part of the interface of optimistix.
        atol: Not used; part of the interface of optimistix.
        norm: Not used; part of the interface of optimistix.
    """

    matrix_free: ClassVar[bool] = False

    edm_goal: float = EDM_GOAL
    step_rule: Callable[[QuadraticModel, Array], Step] = trust_region_step
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
        found = evaluate_at(trial, args)
        state, is_new = _accept_or_reject(state, trial, found, self, options)
        box = state.ends.box(options)
        state, step, move = self._next_move(state, is_new, box)
        state, move = look_at_the_ends(state, move, options, self.edm_goal)
        trial = land(state.x, move, box)
        ends = state.ends.very_ends(state.x, options)
        trial = jnp.where(state.ends.phase == Phase.LOOKING, ends, trial)
        # After a start on an end where nothing is finite there is no step yet.
        trial = jnp.where(state.evaluations == 0, state.x, trial)
        if flat.size > self.chords_beyond:

            def further():
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

            plain = ~state.done & (state.evaluations > 0) & state.ends.plain
            whole = plain & step.interior & step.definite
            trial = jax.lax.cond(whole, further, lambda: trial)
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
            state: Where the solver stands.
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
        # In a branch, as are all decisions here: XLA copies what is cheap into all that
        # uses it, a chain of them into each number of the state, but not out of that.
        verdict, approach, noise = jax.lax.cond(
            bad_start,
            lambda: (Verdict.none(), state.approach, jnp.zeros_like(x)),
            lambda: self._judge(state, is_new, step, free),
        )
        move = step.step * shrink
        if self.bending:
            move = _bent(state, step, move, verdict, approach, options)
        rejected = ~is_new & ~verdict.near
        nowhere = is_negligible(x, move, rejected, approach) | ~(step.decrease > 0)
        code = jnp.where(nowhere, StopCode.STALLED, StopCode.RUNNING)
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
        look = stalled & verdict.unsure & (state.looks < MOST_LOOKS)
        if self.bending:
            crossing = ~is_new & (stalled | (code == StopCode.RUNNING))
            state = kink_beside(state, noise, free, crossing, look)
        state, move = look_aside(state, move, free, look, options)
        step = dataclasses.replace(step, interior=step.interior & ~look)
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
        same, steady = compare(
            diagonal,
            jnp.abs(state.previous.diagonal),
            newton=newton,
            apart=apart,
            free=free,
        )
        steady = steady & (state.evaluations > 1)
        beside = jnp.any(apart != 0) & confirmed(
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
            # What is held is known without rounding.
            absolute_product(evaluation.curvature, jnp.where(free, jnp.abs(x), 0)),
            jnp.sqrt(diagonal),
            free,
        )
        verdict, approach = judge(
            x=x,
            value=evaluation.value,
            fresh=is_new,
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
    """Return a move that follows a curved valley, where there may be one.

    Where Newton steps collapse there is none.
    """
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
    state: NewtonState, trial, found: Evaluation, solver: TrustRegionNewton, options
) -> tuple[NewtonState, Bool[Array, ""]]:
    """Move to the trial point if it is better, and adapt the trust region.

    Returns:
        The state, and whether its best point is the trial point.
    """
    first, usable, old = state.evaluations == 0, found.finite, state.evaluation
    accept, closed, radius, prefer, ends = jax.lax.cond(
        first,
        lambda: (usable, jnp.asarray(False), state.radius, state.prefer, state.ends),
        lambda: _compare(state, trial, found, options),
    )
    x = jnp.where(accept | closed, trial, state.x)
    # What is not finite at the start is kept, to be shown.
    evaluation = select(accept | first, found, old)
    value = jnp.where(closed, found.value, evaluation.value)
    evaluation = dataclasses.replace(evaluation, value=value)
    scale = axes(state.scale, evaluation, x, first)
    scale = jax.lax.cond(
        ends.involved,
        lambda: jnp.where(ends.near(x), state.scale, scale),
        lambda: scale,
    )
    beginning = solver.reach * first_radius(x, evaluation.gradient, scale)
    # What is not finite tells nothing.
    left = (accept & ~first) | ~usable
    previous = select(
        left,
        PreviousPoint.at(state.x, old, whole=solver.bending),
        PreviousPoint.at(trial, found, whole=solver.bending),
    )
    leapt = accept & (state.ends.phase == Phase.LEAPING)
    state = dataclasses.replace(
        state,
        x=x,
        evaluation=evaluation,
        scale=scale,
        radius=jnp.where(first, beginning, radius),
        approach=state.approach.after_step(trial - state.x, accept, leapt=leapt),
        evaluations=state.evaluations + 1,
        previous=previous,
        prefer=prefer,
        ends=ends,
    )
    return state, accept


def _compare(state: NewtonState, trial, found: Evaluation, options):
    """Return whether to go to the trial point, and what it tells of the next step."""
    old, usable = state.evaluation, found.finite
    move = trial - state.x
    outcome = assess_step(
        state.radius,
        move=move,
        scale=state.scale,
        predicted=state.predicted,
        values=(old.value, found.value),
        gradients=(old.gradient, found.gradient),
        usable=usable,
    )
    fall, gain = outcome.fall, outcome.gain
    ends, moved, closed = state.ends.after(
        state.x, trial, (old.value, found.value), options, usable, lanes=state.lanes
    )
    looking = state.ends.phase == Phase.LOOKING
    leaping = state.ends.phase == Phase.LEAPING
    better = jnp.where(leaping, lower_by_value(old.value, found.value), gain > ACCEPT)
    better = jnp.where(looking, ends.phase == Phase.SEARCHING, better)
    kept = moved | looking | leaping
    radius = jnp.where(kept, state.radius, outcome.radius)
    seen = usable & ~outcome.hidden & ~looking
    prefer = next_model(state.prefer, old, move, fall=fall, gain=gain, seen=seen)
    return usable & better, closed, radius, prefer, ends
