"""A matrix-free Newton solver, for more parameters than a Hessian has room for."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from everwillow._derivatives import value_and_gradient
from everwillow._numerics import all_finite, select
from everwillow.objective import evaluate_matrix_free
from everwillow.solvers.box import land, project
from everwillow.solvers.conjugate_gradients import steihaug
from everwillow.solvers.open_ends import Phase, away_from_ends, lower_by_value
from everwillow.solvers.second_looks import MANY, kink
from everwillow.solvers.second_order import (
    AbstractSearchState,
    AbstractSecondOrderMinimiser,
    blank_aux,
    evaluator,
)
from everwillow.solvers.termination import (
    EDM_GOAL,
    StopCode,
    is_negligible,
    judge,
    rounding_level,
    tolerances,
)
from everwillow.solvers.trust_region_size import assess_step


ACCEPT = 1e-4
# Each round estimates the diagonal in coordinates scaled by the last estimate, which
# takes the root of the factor that is missing: ten rounds reduce 1e12 to about 1.
FIRST_ROUNDS = 10
PROBES = 2
# Conjugate gradients from a random start explore this many directions at the end.
PROBE_STEPS = 40


class NewtonCGState(AbstractSearchState):
    """The state of `NewtonCG` between two steps.

    The scale is the root of the estimated diagonal of the curvature; ``evaluations``
    counts steps.

    Attributes:
        nll: The objective at the best point.
        gradient: Its gradient there.
        fresh: Whether the best point was found by the last step.
        products: Number of Hessian-vector products so far.
    """

    nll: Float[Array, ""]
    gradient: Float[Array, " n"]
    fresh: Bool[Array, ""]
    products: Int[Array, ""]

    @classmethod
    def before(
        cls, x: Float[Array, " n"], options: dict[str, Any] | None
    ) -> "NewtonCGState":
        """Return the state before the first step, with the box of the options."""
        common = cls.common_start(x, options, pivots=False)
        common["scale"] = jnp.ones_like(x)
        return cls(
            **common,
            nll=jnp.full_like(x, jnp.inf, shape=()),
            gradient=jnp.zeros_like(x),
            fresh=jnp.asarray(True),
            products=jnp.asarray(0),
        )


class NewtonCG(AbstractSecondOrderMinimiser):
    """Newton's method by conjugate gradients, in memory proportional to the parameters.

    Each step solves the trust-region problem by the conjugate gradients of Steihaug
    and Toint, preconditioned with a running estimate of the diagonal; the Hessian only
    ever multiplies vectors. Bounds are honoured by projection and an active set. The
    criterion of success is that of `TrustRegionNewton`, with the limitation of all
    matrix-free methods: definiteness is not proven, but tested along the directions
    that conjugate gradients have explored, from a random start too at the end. There is
    no covariance.

    Used through `optimistix.minimise` it reads the same `options` as
    `TrustRegionNewton`.

    Attributes:
        edm_goal: Largest EDM of a success, in units of -ln L.
        matrix_free: True; see `AbstractSecondOrderMinimiser`.
        max_inner: Largest number of Hessian-vector products in a step.
        rtol: Not used; part of the interface of optimistix.
        atol: Not used; part of the interface of optimistix.
        norm: Not used; part of the interface of optimistix.

    References:
        T. Steihaug, SIAM J. Numer. Anal. 20 (1983) 626.
    """

    matrix_free: ClassVar[bool] = True

    edm_goal: float = EDM_GOAL
    max_inner: int = 1000
    rtol: float = 0.0
    atol: float = 0.0
    norm: Callable[[PyTree], Array] = optx.max_norm

    def init(self, fn, y, args, options, f_struct, aux_struct, tags) -> NewtonCGState:
        """Set up the state; nothing is evaluated yet."""
        del fn, args, f_struct, aux_struct, tags
        return NewtonCGState.before(project(ravel_pytree(y)[0], options), options)

    def step(self, fn, y, args, options, state, tags):
        """Evaluate the best point, solve for a step, and evaluate its end."""
        del tags
        _, unravel, evaluate = evaluator(fn, y, options, evaluate_matrix_free)
        evaluation = evaluate(state.x, args)
        value_at = lambda v: fn(unravel(v), args)[0]
        box = state.ends.box(options)
        free, active, inwards = state.ends.active_set(state.x, evaluation.gradient, box)
        state, model = _measure(state, evaluation, free)
        target = jnp.clip(
            jnp.sqrt(jnp.vdot(model.gradient, model.gradient)), 1e-10, 0.1
        )
        cg = steihaug(
            model.product, model.gradient, state.radius, target, self.max_inner
        )
        newton = jnp.where(free, cg.unbounded / state.scale, 0)
        edm = jnp.where(
            cg.solved, -0.5 * jnp.vdot(model.gradient, cg.unbounded), jnp.inf
        )
        state = eqx.tree_at(
            lambda s: (s.newton, s.active, s.definite, s.products),
            state,
            (newton, active, cg.definite, state.products + cg.count),
        )
        state, near, noise = self._judge(state, evaluation, free, edm, cg, model)
        ends, special, leap = state.ends.beyond(
            state.x, inwards=inwards, active=state.active, code=state.code
        )
        code = jnp.where(special, StopCode.RUNNING, state.code)
        state = dataclasses.replace(state, code=code, ends=ends)
        move = jnp.where(free, cg.step / state.scale, 0)
        move = jnp.where(state.ends.phase == Phase.LEAPING, leap, move)
        trial = land(state.x, move, box)
        ends = state.ends.very_ends(state.x, options or {})
        trial = jnp.where(state.ends.phase == Phase.LOOKING, ends, trial)
        stepped = _try(
            state, evaluation, value_at, trial, model, free, options, near, noise
        )
        stepped = _after_the_ends(stepped, options, self.edm_goal)
        return unravel(stepped.x), stepped, blank_aux(fn, y, args)

    def _judge(self, state, evaluation, free, edm, cg, model):
        """Judge whether the point is a minimum, and test for flat directions."""
        curve = state.scale**2 * jnp.abs(state.x)
        rounding, noise, slope_noise = rounding_level(
            state.x, evaluation.value, evaluation.gradient, curve, state.scale, free
        )
        verdict, approach = judge(
            x=state.x,
            value=evaluation.value,
            is_new=state.fresh,
            newton=state.newton,
            sigma=1 / state.scale,
            free=free,
            edm=edm,
            definite=cg.definite & cg.solved,
            semidefinite=cg.definite,
            rounding=rounding,
            noise=noise,
            approach=state.approach,
            goals=tolerances(state.x.dtype, self.edm_goal),
        )
        curvature = jax.lax.cond(
            verdict.minimum,
            lambda: _least_curvature(model, free),
            lambda: jnp.ones_like(edm),
        )
        level = 1e3 * jnp.finfo(edm.dtype).eps
        flat = verdict.flat | (verdict.minimum & ~(jnp.abs(curvature) > level))
        saddle = verdict.minimum & (curvature < -level)
        code = jnp.where(verdict.minimum, StopCode.MINIMUM, StopCode.RUNNING)
        code = jnp.where(flat, StopCode.FLAT, code)
        code = jnp.where(saddle, StopCode.STALLED, code)
        code = jnp.where(~jnp.any(free), StopCode.MINIMUM, code)
        nonfinite = ~all_finite(evaluation.value, evaluation.gradient)
        code = jnp.where(nonfinite, StopCode.NONFINITE_START, code)
        state = eqx.tree_at(
            lambda s: (s.approach, s.code, s.definite),
            state,
            (approach, code, state.definite & ~saddle),
        )
        return state, verdict.near, slope_noise

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        """Return the best point."""
        del fn, args, options, tags, result
        _, unravel = ravel_pytree(y)
        stats = {"num_products": state.products}
        return unravel(state.x), aux, stats


class _ScaledModel(eqx.Module):
    """The second-order model in scaled coordinates, on the free parameters."""

    gradient: Float[Array, " n"]
    product: Callable[[Array], Array]


def _measure(state: NewtonCGState, evaluation, free):
    """Update the scale, and return the model in scaled coordinates."""
    size = state.x.shape[0]
    dtype = state.x.dtype
    rounds = jnp.where(state.evaluations == 0, FIRST_ROUNDS, 1)
    probes = jr.rademacher(jr.key(0), (PROBES, size), dtype)

    def scaled_product(scale):
        def product(vector):
            inside = jnp.where(free, vector / scale, 0)
            return jnp.where(free, evaluation.curvature.matvec(inside) / scale, vector)

        return product

    def refine(_, scale):
        product = jax.vmap(scaled_product(scale))
        estimate = jnp.abs(jnp.mean(probes * product(probes), axis=0))
        # Off-diagonal terms make the estimate noisy, so later changes are limited.
        bound = jnp.where(state.evaluations == 0, 1e6, 2.0)
        factor = jnp.sqrt(jnp.clip(estimate, 1 / bound, bound))
        return jnp.where(jnp.isfinite(factor) & free, scale * factor, scale)

    scale = jax.lax.fori_loop(0, rounds, refine, state.scale)
    gradient = jnp.where(free, evaluation.gradient / scale, 0)
    first = state.evaluations == 0
    length = jnp.sqrt(jnp.vdot(gradient, gradient))
    radius = jnp.where(first, jnp.maximum(10 * length, 1.0), state.radius)
    value = jnp.where(first, evaluation.value, state.nll)
    state = eqx.tree_at(
        lambda s: (s.scale, s.radius, s.nll, s.gradient, s.products),
        state,
        (scale, radius, value, evaluation.gradient, state.products + rounds * PROBES),
    )
    return state, _ScaledModel(gradient, scaled_product(scale))


def _try(
    state: NewtonCGState, evaluation, value_at, trial, model, free, options, near, noise
):
    """Evaluate the trial point, and move there if the objective is lower."""
    move = trial - state.x
    scaled = move * state.scale
    curved = jnp.vdot(scaled, model.product(scaled))
    predicted = -(jnp.vdot(evaluation.gradient, move) + 0.5 * curved)
    value, gradient = value_and_gradient(value_at)(trial)
    finite = all_finite(value, gradient)
    at_bounds = state.ends.phase == Phase.LOOKING
    leaping = state.ends.phase == Phase.LEAPING
    special = at_bounds | leaping
    ends, moved, closed = state.ends.after(
        state.x, trial, (state.nll, value), options, finite
    )
    usable = finite & (predicted > 0)
    outcome = assess_step(
        state.radius,
        move=move,
        scale=state.scale,
        predicted=predicted,
        values=(state.nll, value),
        gradients=(evaluation.gradient, gradient),
        usable=usable,
    )
    improves = usable & (outcome.gain > ACCEPT)
    improves = jnp.where(leaping, finite & lower_by_value(state.nll, value), improves)
    improves = jnp.where(at_bounds, finite & (ends.phase == Phase.SEARCHING), improves)
    accept = ~state.done & improves
    # A projected step may raise the objective; a shorter one is closer to the steepest
    # descent.
    negligible = ~accept & is_negligible(state.x, 0.5 * move, ~near, state.approach)
    stalled = ~state.done & ~special & (negligible | jnp.all(trial == state.x))
    slopes = (evaluation.gradient, gradient)
    kinked, across = kink(move, slopes, curved, noise, state.scale, free)
    kinked = kinked & finite & ~accept & ~state.done & ~special
    kinks = jnp.where(kinked, state.kinks + 1, state.kinks)
    kinked = kinked & (stalled | (kinks >= MANY))
    stalled = stalled | kinked
    code = jnp.where(stalled, StopCode.STALLED, state.code)
    code = jnp.where(kinked, StopCode.KINK, code)
    return dataclasses.replace(
        state,
        x=jnp.where(accept | closed, trial, state.x),
        nll=jnp.where(accept | closed, value, state.nll),
        radius=jnp.where(moved | special, state.radius, outcome.radius),
        newton=jnp.where(kinked, across, state.newton),
        fresh=accept,
        code=code,
        evaluations=state.evaluations + 1,
        products=state.products + 1,
        kinks=kinks,
        ends=ends,
        approach=state.approach.after_step(move, accept, leapt=accept & leaping),
    )


def _after_the_ends(state: NewtonCGState, options, goal) -> NewtonCGState:
    """Stop after a trial on the very ends; move a start that is not finite inside."""
    verdict = state.ends.verdict(state.x, state.gradient, options, goal)
    code = jnp.where(state.ends.over, verdict, state.code)
    state = dataclasses.replace(state, code=code)
    start = away_from_ends(state.x, options, state.nll)
    again = (code == StopCode.NONFINITE_START) & (state.evaluations == 1)
    again = again & jnp.any(start != state.x)
    return select(again, NewtonCGState.before(start, options), state)


def _least_curvature(model: _ScaledModel, free):
    """Return the smallest curvature along conjugate gradients from a random start."""
    start = jr.normal(jr.key(1), free.shape, model.gradient.dtype)
    cg = steihaug(model.product, jnp.where(free, start, 0), jnp.inf, 1e-12, PROBE_STEPS)
    return cg.least_curvature
