"""The default solver: Newton's method in a trust region, with exact curvature."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from everwillow._numerics import all_finite, select
from everwillow.curvature import AbstractFactor
from everwillow.objective import Evaluation, evaluate
from everwillow.solvers.termination import (
    Approach,
    EDM_GOAL,
    rounding_level,
    judge,
    tolerances,
)
from everwillow.solvers.trust_region_step import (
    QuadraticModel,
    Step,
    blank_factor,
    trust_region_step,
)


import os
VAR=float(os.environ.get('VAR','1'))
ACCEPT = 1e-4
BENDGAIN=float(os.environ.get('BG','1e-4'))
BENDFRAC=float(os.environ.get('BF','.5'))
MAX_BENDS = int(os.environ.get('BENDS','2'))
INIT=float(os.environ.get('INIT','10'))
# Below this fraction of |f| a predicted decrease drowns in the rounding of f.
VISIBLE = 1e-10


class Correction(eqx.Module):
    """What is needed to bend a step that left a curved valley back into it.

    Attributes:
        factor: The factorised curvature that gave the step, in scaled coordinates.
        moving: Which parameters the step moved freely.
        target: The gradient that the quadratic model promised at its end.
        size: Length of the last part of the step.
        count: How often this step was bent already.
    """

    factor: AbstractFactor
    moving: Bool[Array, " n"]
    target: Float[Array, " n"]
    size: Float[Array, ""]
    count: Int[Array, ""]


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
    correction: Correction

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
        rtol: Not used; part of the interface of optimistix.
        atol: Not used; part of the interface of optimistix.
        norm: Not used; part of the interface of optimistix.
    """

    edm_goal: float = EDM_GOAL
    step_rule: Callable[[QuadraticModel, Array], Step] = trust_region_step
    rtol: float = 0.0
    atol: float = 0.0
    norm: Callable[[PyTree], Array] = optx.max_norm

    def init(self, fn, y, args, options, f_struct, aux_struct, tags) -> NewtonState:
        """Set up the state; the objective is first evaluated by the first step."""
        del f_struct, aux_struct, tags
        x, evaluator = _evaluator(fn, y, options)
        x = _project(x, options)
        blank = jax.tree.map(
            lambda s: jnp.zeros(s.shape, s.dtype),
            eqx.filter_eval_shape(evaluator, x, args),
        )
        blank = eqx.tree_at(lambda e: e.value, blank, jnp.full_like(x, jnp.inf, shape=()))
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
            approach=Approach(infinite, infinite, count, count, zeros),
            newton=zeros,
            active=jnp.zeros(x.shape, bool),
            definite=jnp.asarray(False),
            done=jnp.asarray(False),
            code=jnp.asarray(CODE_RUNNING),
            evaluations=count,
            correction=Correction(
                blank_factor(blank.curvature),
                jnp.zeros(x.shape, bool),
                zeros,
                jnp.zeros_like(infinite),
                count,
            ),
        )

    def step(self, fn, y, args, options, state, tags):
        """Evaluate the trial point, accept or reject it, and find the next."""
        del tags
        flat, evaluator = _evaluator(fn, y, options)
        trial = jnp.where(state.evaluations == 0, state.x, flat)
        found = evaluator(trial, args)
        bent, bend = _bend(state, trial, found, options)
        judged, gain = _accept_or_reject(state, trial, found)
        bend = bend & ~(gain >= BENDGAIN)
        following, move = self._next_move(judged, options)
        state = select(bend, bent, following)
        move = jnp.where(bend, bent.move, move)
        _, unravel = ravel_pytree(y)
        _, aux = eqx.filter_eval_shape(fn, y, args)
        aux = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), aux)
        return unravel(_project(state.x + move, options)), state, aux

    def terminate(self, fn, y, args, options, state, tags):
        """Stop when the last step said so."""
        del fn, y, args, options, tags
        return state.done, optx.RESULTS.successful

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        """Return the best point, after the last Newton step where it is a minimum."""
        del fn, args, tags, result
        polish = (state.code == CODE_MINIMUM) & all_finite(state.newton)
        x = jnp.where(polish, _project(state.x + state.newton, options), state.x)
        _, unravel = ravel_pytree(y)
        return unravel(x), aux, {"num_evaluations": state.evaluations}

    def _next_move(self, state: NewtonState, options):
        """Judge the point, and choose the step to try from it."""
        x, evaluation, scale = state.x, state.evaluation, state.scale
        gradient = evaluation.gradient
        free, active, lower, upper = _active_set(x, gradient, options)
        shrink = 1 / scale
        model = QuadraticModel(
            jnp.where(free, gradient * shrink, 0),
            evaluation.curvature.scaled(shrink),
            None
            if evaluation.gauss_newton is None
            else evaluation.gauss_newton.scaled(shrink),
            None if lower is None else (lower - x) * scale,
            None if upper is None else (upper - x) * scale,
            free,
        )
        step = self.step_rule(model, state.radius)
        move = step.step * shrink
        newton = step.newton * shrink

        diagonal = jnp.abs(evaluation.curvature.diagonal())
        rounding, noise = rounding_level(
            x,
            evaluation.value,
            gradient,
            scale * _absolute_product(model.curvature, scale * jnp.abs(x)),
            scale,
            free,
        )
        verdict, approach = judge(
            x=x,
            value=evaluation.value,
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
            goals=tolerances(x.dtype, self.edm_goal),
        )
        nowhere = jnp.all(x + move == x) | ~(step.decrease > 0)
        lost = ~jnp.isfinite(evaluation.value)
        nothing_free = ~jnp.any(free)
        code = jnp.where(nowhere, CODE_STALLED, CODE_RUNNING)
        code = jnp.where(verdict.flat, CODE_FLAT, code)
        code = jnp.where(verdict.minimum | nothing_free, CODE_MINIMUM, code)
        code = jnp.where(lost, CODE_NONFINITE_START, code)
        return (
            NewtonState(
                x,
                evaluation,
                move,
                step.decrease,
                scale,
                state.radius,
                approach,
                jnp.where(free, newton, 0),
                active,
                step.definite,
                code != CODE_RUNNING,
                code,
                state.evaluations,
                Correction(
                    step.factor,
                    step.moving,
                    step.target,
                    jnp.sqrt(jnp.sum(step.step**2)),
                    jnp.asarray(0),
                ),
            ),
            move,
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


def _project(x, options):
    lower, upper = (options or {}).get("lower"), (options or {}).get("upper")
    return x if lower is None else jnp.clip(x, lower, upper)


def _active_set(x, gradient, options):
    """Split the parameters into those that may move and those held at a bound."""
    options = options or {}
    lower, upper = options.get("lower"), options.get("upper")
    free = options.get("free")
    free = jnp.ones(x.shape, bool) if free is None else free
    if lower is None:
        return free, jnp.zeros(x.shape, bool), None, None
    pushed = ((x <= lower) & (gradient > 0)) | ((x >= upper) & (gradient < 0))
    active = free & pushed
    return free & ~active, active, lower, upper


def _absolute_product(curvature, vector):
    """Multiply the absolute values of a curvature with those of a vector."""
    absolute = jax.tree.map(
        lambda leaf: jnp.abs(leaf)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
        else leaf,
        curvature,
    )
    return absolute.matvec(vector)


def _bend(state: NewtonState, trial, found: Evaluation, options):
    """Correct a step by what the gradient at its end says of third derivatives.

    In a narrow curved valley the straight step hits the wall long before the quadratic
    model is wrong about the way along it. One more solve with the same factor leads
    back to the floor, where a shorter step would have crept.
    """
    correction = state.correction
    surprise = found.gradient / state.scale - correction.target
    scaled = -correction.factor.solve(jnp.where(correction.moving, surprise, 0))
    scaled = jnp.where(correction.moving, scaled, 0)
    size = jnp.sqrt(jnp.sum(scaled**2))
    end = _project(trial + scaled / state.scale, options)
    worth = (
        (state.evaluations > 0)
        & (correction.count < MAX_BENDS)
        & all_finite(found.gradient, scaled)
        & (size <= BENDFRAC * correction.size)
    )
    bent = eqx.tree_at(
        lambda s: (
            s.move,
            s.evaluations,
            s.correction.size,
            s.correction.count,
        ),
        state,
        (end - state.x, state.evaluations + 1, size, correction.count + 1),
    )
    return bent, worth


def _accept_or_reject(state: NewtonState, trial, found: Evaluation):
    """Move to the trial point if it is better, and adapt the trust region."""
    first = state.evaluations == 0
    usable = all_finite(found)
    old, predicted = state.evaluation, state.predicted
    move = trial - state.x
    actual = old.value - found.value
    # The mean of the slopes at both ends gives the decrease to third order, without
    # the cancellation between two large values.
    by_slope = -0.5 * jnp.vdot(old.gradient + found.gradient, move)
    hidden = predicted < VISIBLE * jnp.abs(old.value)
    gain = jnp.where(hidden, by_slope, actual) / predicted
    accept = usable & (first | (gain > ACCEPT))

    length = jnp.sqrt(jnp.sum((move * state.scale) ** 2))
    slope = jnp.vdot(old.gradient, move)
    # Where the parabola through both values and the slope has its minimum.
    parabola = -0.5 * slope / (-jnp.where(hidden, by_slope, actual) - slope)
    cut = jnp.where(
        jnp.isfinite(parabola) & usable, jnp.clip(parabola, 0.1, 0.5), 0.1
    )
    radius = jnp.where(gain < 0.25, cut * jnp.minimum(length, state.radius), state.radius)
    radius = jnp.where(gain > 0.75, jnp.maximum(radius, 2.5 * length), radius)
    radius = jnp.where(usable, radius, 0.1 * jnp.minimum(length, state.radius))

    evaluation = select(accept, found, old)
    diagonal = evaluation.curvature.diagonal()
    if evaluation.gauss_newton is not None:
        diagonal = evaluation.gauss_newton.diagonal()
    x = jnp.where(accept, trial, state.x)
    unit = 1 / jnp.where(x == 0, 1, jnp.abs(x))
    now = jnp.sqrt(jnp.abs(diagonal))
    scale = jnp.maximum(VAR*state.scale, now)
    scale = jnp.where(scale > 0, scale, unit)
    scaled_gradient = evaluation.gradient / scale
    radius = jnp.where(
        first, jnp.maximum(INIT * jnp.sqrt(jnp.sum(scaled_gradient**2)), 1.0), radius
    )
    span = jnp.maximum(state.approach.span, jnp.abs(move))
    after = eqx.tree_at(
        lambda s: (
            s.x,
            s.evaluation,
            s.scale,
            s.radius,
            s.approach.span,
            s.done,
            s.evaluations,
        ),
        state,
        # `done` serves for a moment as "the point is new".
        (
            x,
            evaluation,
            scale,
            radius,
            jnp.where(accept, span, state.approach.span),
            accept,
            state.evaluations + 1,
        ),
    )
    return after, gain
