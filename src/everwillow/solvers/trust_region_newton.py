"""The default solver: Newton's method in a trust region, with exact curvature."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from everwillow._numerics import all_finite, select
from everwillow.objective import Evaluation, evaluate
from everwillow.solvers._box import active_set, land, project
from everwillow.solvers.acceleration import Glance, bend
from everwillow.solvers.chords import chase
from everwillow.solvers.quadratic_model import QuadraticModel
from everwillow.solvers.termination import (
    EDM_GOAL,
    Approach,
    absolute_product,
    compare,
    judge,
    rounding_level,
    tolerances,
)
from everwillow.solvers.trust_region_size import (
    axes,
    first_radius,
    next_model,
    weigh,
)
from everwillow.solvers.trust_region_step import Step, trust_region_step


# The smallest part of the predicted decrease that makes a step worth taking. A step
# that brings next to nothing of what was promised has left the region that the model
# knows, often for a plateau without a way back.
ACCEPT = 0.05
# A Newton step that shrank the EDM by this much needs no bending; nor will the next.
STRAIGHT = 1e-4


class NewtonState(eqx.Module):
    """Where the solver stands.

    Attributes:
        x: The best point so far, flat.
        evaluation: The objective there, to second order.
        move: The step that is being tried.
        predicted: By how much it should lower the objective.
        scale: Size of a unit step for each parameter, as an inverse length.
        radius: Of the trust region.
        approach: How the minimum was approached.
        newton: The Newton step from x.
        active: Which parameters are held at a bound.
        definite: Whether the curvature at x is positive definite.
        done: Whether to stop.
        code: Why, one of the ``CODE_*`` integers of this module.
        evaluations: Number of evaluations so far.
        lost: Whether the objective is not finite at the start.
        other: The point evaluated before the best one, or a rejected one after it.
        prefer: Whether the Gauss-Newton stand-in is preferred to the exact curvature;
            `next_model` says what that means.
    """

    x: Float[Array, " n"]
    evaluation: Evaluation
    move: Float[Array, " n"]
    predicted: Float[Array, ""]
    scale: Float[Array, " n"]
    radius: Float[Array, ""]
    approach: Approach
    newton: Float[Array, " n"]
    active: Bool[Array, " n"]
    definite: Bool[Array, ""]
    done: Bool[Array, ""]
    code: Int[Array, ""]
    evaluations: Int[Array, ""]
    lost: Bool[Array, ""]
    other: Glance
    prefer: Bool[Array, ""]

    @property
    def nll(self) -> Float[Array, ""]:
        """The objective at the best point so far."""
        return self.evaluation.value

    @property
    def edm(self) -> Float[Array, ""]:
        """The estimated distance to the minimum at the best point so far."""
        return self.approach.edm


CODE_RUNNING, CODE_MINIMUM, CODE_FLAT, CODE_STALLED, CODE_NONFINITE_START = range(5)


class TrustRegionNewton(optx.AbstractMinimiser[Any, Any, NewtonState]):
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
        x, evaluator = _evaluator(fn, y, options)
        x = project(x, options)
        blank = jax.tree.map(
            lambda s: jnp.zeros(s.shape, s.dtype),
            eqx.filter_eval_shape(evaluator, x, args),
        )
        blank = eqx.tree_at(
            lambda e: e.value, blank, jnp.full_like(x, jnp.inf, shape=())
        )
        infinite = jnp.full_like(x, jnp.inf, shape=())
        zeros = jnp.zeros_like(x)
        count = jnp.asarray(0)
        return NewtonState(
            x=x,
            evaluation=blank,
            move=zeros,
            predicted=jnp.zeros_like(infinite),
            scale=zeros,
            radius=infinite,
            approach=Approach(
                infinite,
                infinite,
                count,
                count,
                zeros,
                jnp.full_like(x, jnp.inf),
                infinite,
                jnp.asarray(True),
            ),
            newton=zeros,
            active=jnp.zeros(x.shape, bool),
            definite=jnp.asarray(False),
            done=jnp.asarray(False),
            code=jnp.asarray(CODE_RUNNING),
            evaluations=count,
            lost=jnp.asarray(False),
            other=Glance.at(x, blank, whole=self.bending),
            prefer=jnp.asarray(True),
        )

    def step(self, fn, y, args, options, state, tags):
        """Evaluate the trial point, accept or reject it, and find the next."""
        del tags
        flat, evaluator = _evaluator(fn, y, options)
        trial = jnp.where(state.evaluations == 0, state.x, flat)
        found = evaluator(trial, args)
        state = _accept_or_reject(state, trial, found, self)
        state, move, step = self._next_move(state, options)
        _, unravel = ravel_pytree(y)
        _, aux = eqx.filter_eval_shape(fn, y, args)
        aux = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), aux)
        trial = land(state.x, move, options)
        if flat.size > self.chords_beyond:

            def further():
                return chase(
                    jax.grad(lambda v: fn(unravel(v), args)[0]),
                    state.x,
                    move,
                    factor=step.factor,
                    scale=state.scale,
                    moving=step.moving,
                    edm=step.edm,
                    options=options,
                )

            whole = ~state.done & step.interior & step.definite
            trial = jax.lax.cond(whole, further, lambda: trial)
        return unravel(trial), state, aux

    def terminate(self, fn, y, args, options, state, tags):
        """Stop when the last step said so."""
        del fn, y, args, options, tags
        return state.done, optx.RESULTS.successful

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        """Return the best point, after the last Newton step where it is a minimum."""
        del fn, args, tags, result
        polish = (state.code == CODE_MINIMUM) & all_finite(state.newton)
        x = jnp.where(polish, project(state.x + state.newton, options), state.x)
        _, unravel = ravel_pytree(y)
        return unravel(x), aux, {"num_evaluations": state.evaluations}

    def _next_move(self, state: NewtonState, options):
        """Judge the point, and choose the step to try from it."""
        x, evaluation, shrink = state.x, state.evaluation, 1 / state.scale
        free, active = active_set(x, evaluation.gradient, options)
        model = QuadraticModel.around(
            x,
            evaluation,
            scale=state.scale,
            free=free,
            prefer=state.prefer,
            options=options,
        )
        step = self.step_rule(model, state.radius)
        move = step.step * shrink
        newton = step.newton * shrink
        verdict, approach = self._judge(state, step, newton, free)
        if self.bending:  # where Newton steps collapse there is no valley to follow
            before = state.approach.edm
            collapsing = (approach.edm <= STRAIGHT * before) & jnp.isfinite(before)
            move = jax.lax.cond(
                collapsing | verdict.minimum,
                lambda: move,
                lambda: project(x + move + _bend(state, step, move), options) - x,
            )

        nowhere = jnp.all(x + move == x) | ~(step.decrease > 0)
        code = jnp.where(nowhere, CODE_STALLED, CODE_RUNNING)
        code = jnp.where(verdict.flat, CODE_FLAT, code)
        code = jnp.where(verdict.minimum | ~jnp.any(free), CODE_MINIMUM, code)
        code = jnp.where(state.lost, CODE_NONFINITE_START, code)
        state = dataclasses.replace(
            state,
            move=move,
            predicted=step.decrease,
            approach=approach,
            newton=jnp.where(free, newton, 0),
            active=active,
            definite=step.definite,
            done=code != CODE_RUNNING,
            code=code,
        )
        return state, move, step

    def _judge(self, state: NewtonState, step: Step, newton, free):
        """Ask whether the point is a minimum."""
        x, evaluation = state.x, state.evaluation
        diagonal = jnp.abs(evaluation.curvature.diagonal())
        same, steady = compare(
            diagonal,
            jnp.abs(state.other.diagonal),
            newton=newton,
            apart=state.other.x - x,
            free=free,
        )
        steady = steady & (state.evaluations > 1)
        rounding, noise = rounding_level(
            x,
            evaluation.value,
            evaluation.gradient,
            absolute_product(evaluation.curvature, jnp.abs(x)),
            jnp.sqrt(diagonal),
            free,
        )
        return judge(
            x=x,
            value=evaluation.value,
            # `done` serves for a moment as "the point is new".
            fresh=state.done,
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
        )


def _bend(state: NewtonState, step: Step, move):
    """Return what to add to a step so that it follows a curved valley."""
    return bend(
        x=state.x,
        here=state.evaluation,
        other=state.other,
        move=move,
        scale=state.scale,
        factor=step.factor,
        moving=step.moving,
    )


def _evaluator(fn, y, options):
    """Return the flat point, and the second-order evaluation of the objective."""
    x, unravel = ravel_pytree(y)
    given = (options or {}).get("evaluate")
    if given is not None:
        return x, given

    def evaluator(vector, args):
        return evaluate(lambda v, a: fn(unravel(v), a)[0], vector, args)

    return x, evaluator


def _accept_or_reject(
    state: NewtonState, trial, found: Evaluation, solver: TrustRegionNewton
) -> NewtonState:
    """Move to the trial point if it is better, and adapt the trust region."""
    first = state.evaluations == 0
    usable = found.finite
    old = state.evaluation
    move = trial - state.x
    outcome = weigh(
        state.radius,
        move=move,
        scale=state.scale,
        predicted=state.predicted,
        values=(old.value, found.value),
        gradients=(old.gradient, found.gradient),
        usable=usable,
    )
    fall, gain = outcome.fall, outcome.gain
    accept = usable & (first | (gain > ACCEPT))

    x = jnp.where(accept, trial, state.x)
    # What is not finite at the start is kept, to be shown.
    evaluation = select(accept | first, found, old)
    scale = axes(state.scale, evaluation, x, first)
    beginning = solver.reach * first_radius(x, evaluation.gradient, scale)
    radius = jnp.where(first, beginning, outcome.radius)
    seen = usable & ~first & ~outcome.hidden
    prefer = next_model(state.prefer, old, move, fall=fall, gain=gain, seen=seen)
    span = jnp.maximum(state.approach.span, jnp.abs(move))
    # What is not finite tells nothing.
    left = (accept & ~first) | ~usable
    other = select(
        left,
        Glance.at(state.x, old, whole=solver.bending),
        Glance.at(trial, found, whole=solver.bending),
    )
    span = jnp.where(accept, span, state.approach.span)
    return dataclasses.replace(
        state,
        x=x,
        evaluation=evaluation,
        scale=scale,
        radius=radius,
        approach=dataclasses.replace(state.approach, span=span),
        # `done` serves for a moment as "the point is new".
        done=accept,
        evaluations=state.evaluations + 1,
        lost=first & ~usable,
        other=other,
        prefer=prefer,
    )
