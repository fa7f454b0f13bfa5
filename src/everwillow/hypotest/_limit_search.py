r"""The search for upper limits: one compiled loop, one conditional fit an iteration.

The observed limit and the five expected ones are roots of functions of the POI that
cost a conditional fit or two each. Their slopes are known from the same fits (the
envelope theorem), so that every root takes two or three iterations of Newton's method;
and each fit continues the one before (`everwillow.fitting.continuation`), mostly by
gradients.

The search fits the data without signal, then the Asimov data, then the roots one after
the other. A fit that fails is repeated from the start values; then the search steps
back; finally it gives up this limit and continues with the next.
"""

import dataclasses
import functools as ft
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow._numerics import select
from everwillow.engine.adjoint import zero_tangent
from everwillow.engine.core import Task
from everwillow.engine.flat_directions import idle
from everwillow.engine.outcome import scaled_solver
from everwillow.engine.problem import Numbers
from everwillow.fitting.continuation import Foothold, follow_held
from everwillow.hypotest._limit_problem import (
    END_BEYOND,
    END_FAILED,
    END_FOUND,
    OBSERVED,
    LimitKind,
    LimitProblem,
    LimitRoots,
    root_of_parabola,
    standard_error,
)


# The limit from which the search for each limit starts.
AFTER = (0, 0, 1, 0, 3)
# One more Newton step follows, which squares this.
TOLERANCE = 3e-4
# Most fits of all limits, and of one limit, for which two or three are usual.
MOST_FITS = 200
MOST_FITS_OF_ONE = 30
# Number of times that a search steps back from a POI whose fit failed.
MOST_FAILURES = 8
# This close, in standard errors, to where fits begin to fail there is no limit.
NEAR_FAILURE = 1e-3
# POI in place of 0 for data that are impossible without signal, in standard errors.
NEXT_TO_NOTHING = 1e-6
# Asimov data have their minimum at the parameters that made them, unless auxiliary data
# are missing: a free fit is made if the EDM there is above this.
ASIMOV_EDM = 1e-8
# The kinds of fits: the data without signal, the Asimov data with the POI free, the
# same with the POI at 0 if negative values are unphysical, and steps to roots.
PHASE_ZERO, PHASE_ASIMOV, PHASE_FLOOR, PHASE_ROOTS = range(4)


class SearchState(eqx.Module):
    """The state of the search.

    Attributes:
        data: The last fit of the data that did not fail.
        asimov: The last fit of the Asimov data that did not fail.
        zero: The fit of the data without signal.
        best: The minimum of the Asimov data.
        observation: The Asimov data.
        value: The POI of the next fit.
        limit: The number of the current limit.
        phase: One of the ``PHASE_*`` integers of this module.
        data_next: Whether the next fit is that of the data at the POI where the Asimov
            data were fitted last; the observed limit takes both.
        q_asimov: Test statistic of the Asimov data there.
        slope_asimov: Its derivative in the POI.
        inside: The largest POI below the limit.
        outside: The smallest POI above the limit, infinite before there is one.
        values: The limits found so far.
        slopes: The slopes of the functions at these roots.
        choosing: Whether to choose the first point of the next limit.
        fits: The number of fits.
        running: Whether the search continues.
        sigma: The standard error of the POI.
        ends: How each search ended.
        failed_at: The POI where a fit failed last in each search.
        status: How that fit ended.
        possible: Whether the data are possible without signal.
        deepest: -ln L of the lowest conditional minimum of the data.
        deepest_x: The parameters there.
        attempt: The number of the attempt at the next fit.
        fits_of_one: The number of fits of the current limit.
        failures: The number of steps back for the current limit.
        fails_from: The lowest POI at which a fit of the current limit failed.
    """

    data: Foothold
    asimov: Foothold
    zero: Foothold
    best: Foothold
    observation: Any
    value: Float[Array, ""]
    limit: Any
    phase: Any
    data_next: Any
    q_asimov: Float[Array, ""]
    slope_asimov: Float[Array, ""]
    inside: Float[Array, ""]
    outside: Float[Array, ""]
    values: Float[Array, " limits"]
    slopes: Float[Array, " limits"]
    choosing: Any
    fits: Any
    running: Any
    sigma: Any
    ends: Any
    failed_at: Any
    status: Any
    possible: Any
    deepest: Any
    deepest_x: Any
    attempt: Any
    fits_of_one: Any
    failures: Any
    fails_from: Any


def search(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    place: Array,
    level: Array,
    kind: LimitKind,
) -> LimitRoots:
    """Find the limits, differentiable by the implicit function theorem.

    Args:
        task: The structure of the fit.
        numbers: Its arguments, with the data.
        base: The free fit of the data.
        place: The position of the POI.
        level: The CLs of a limit.
        kind: The options of limits.
    """
    arrays, structure = eqx.partition((task, numbers, place, level, kind), eqx.is_array)

    @jax.custom_jvp
    def solve(arrays, base):
        task, numbers, place, level, kind = eqx.combine(arrays, structure)
        return run(LimitProblem.of(task, numbers, base, place, level, kind))

    @solve.defjvp
    def push(primals, tangents):
        arrays, base = primals
        out = solve(arrays, base)

        def conditions(arrays):
            task, numbers, place, level, kind = eqx.combine(arrays, structure)
            problem = LimitProblem.of(task, numbers, base, place, level, kind)
            return problem.conditions(out)

        _, change = jax.jvp(conditions, (arrays,), (tangents[0],))
        blank = jax.tree.map(zero_tangent, out)
        return out, eqx.tree_at(lambda r: r.values, blank, -change / out.slopes)

    return solve(arrays, jax.lax.stop_gradient(base))


def run(problem: LimitProblem) -> LimitRoots:
    """Iterate until all limits are found, or cannot be."""
    base, zero = problem.base, jnp.zeros_like(problem.base.value)
    count, no = jnp.asarray(0), jnp.asarray(False)
    blank = jnp.full(OBSERVED + 1, jnp.nan, base.x.dtype)
    known = base.success & jnp.isfinite(base.value)
    start = SearchState(
        data=base,
        asimov=base,
        zero=base,
        best=base,
        observation=problem.data_sets().blank_asimov,
        value=zero,
        limit=count,
        phase=jnp.asarray(PHASE_ZERO),
        data_next=no,
        q_asimov=zero,
        slope_asimov=zero,
        inside=zero,
        outside=zero + jnp.inf,
        values=blank,
        slopes=blank,
        choosing=no,
        fits=count,
        running=jnp.asarray(True),
        sigma=jnp.where(jnp.isfinite(problem.sigma), problem.sigma, 1),
        ends=jnp.full(OBSERVED + 1, END_FAILED),
        failed_at=blank,
        status=jax.tree.map(
            lambda code: jnp.broadcast_to(code, blank.shape), base.status
        ),
        possible=jnp.asarray(True),
        deepest=jnp.where(known, base.value, jnp.inf),
        deepest_x=base.x,
        attempt=count,
        fits_of_one=count,
        failures=count,
        fails_from=zero + jnp.inf,
    )
    start = jax.tree.map(jnp.asarray, start)
    end = jax.lax.while_loop(
        lambda s: s.running & (s.fits < MOST_FITS), ft.partial(_advance, problem), start
    )
    return LimitRoots(
        values=end.values,
        slopes=end.slopes,
        ends=end.ends,
        failed_at=end.failed_at,
        status=end.status,
        fits=end.fits,
        asimov=end.best,
        zero=end.zero,
        possible=end.possible,
        asimov_observation=end.observation,
        deepest=end.deepest,
        deepest_x=end.deepest_x,
    )


def _advance(problem: LimitProblem, s: SearchState) -> SearchState:
    """Make one fit, and choose the next one from its outcome."""
    on_data = (s.phase == PHASE_ZERO) | s.data_next
    last = select(on_data, s.data, s.asimov)
    last = select(s.attempt == 1, problem.beginning(last), last)
    holds = s.phase != PHASE_ASIMOV
    held = jnp.zeros(last.x.shape, bool).at[problem.place].set(holds)

    def fit(observation: Any) -> Foothold:
        numbers = dataclasses.replace(problem.numbers, observation=observation)
        return follow_held(problem.task, numbers, last, held, s.value)

    at = problem.data_sets().apply(fit, on_data, s.observation)
    good = at.success & jnp.isfinite(at.value)
    lower = good & on_data & (at.value < s.deepest)
    s = dataclasses.replace(
        s,
        data=select(on_data & good, at, s.data),
        asimov=select(~on_data & good, at, s.asimov),
        fits=s.fits + 1,
        fits_of_one=s.fits_of_one + 1,
        deepest=jnp.where(lower, at.value, s.deepest),
        deepest_x=jnp.where(lower, at.x, s.deepest_x),
    )
    cases = (
        ft.partial(_after_zero, problem),
        ft.partial(_after_asimov, problem),
        ft.partial(_after_floor, problem),
        ft.partial(_after_root, problem),
        ft.partial(_after_failure, problem),
    )
    case = jnp.where(good, s.phase, len(cases) - 1)
    s = jax.lax.switch(case, [lambda s=s, f=f: f(s, at) for f in cases])
    return jax.lax.cond(s.choosing, lambda: _choose_first_point(problem, s), lambda: s)


def _after_zero(problem: LimitProblem, s: SearchState, at: Foothold) -> SearchState:
    """Make the Asimov data, and check that their minimum is at these parameters."""
    x = problem.asimov_point(at)
    observation = problem.data_sets().asimov(problem.make_asimov(x))
    numbers = dataclasses.replace(problem.numbers, observation=observation)
    evaluation = problem.task.evaluate(numbers, x)
    hessian = evaluation.curvature.as_matrix()
    mask = jnp.asarray(problem.numbers.mask)
    # Parameters without effect at zero signal are not checked.
    free = mask & ~idle(evaluation.gradient, hessian, mask)
    solve, definite = scaled_solver(hessian, free)
    gradient = jnp.where(free, evaluation.gradient, 0)
    edm = 0.5 * jnp.vdot(gradient, solve(gradient))
    minimum = definite & (edm <= ASIMOV_EDM)
    best = dataclasses.replace(
        at,
        x=x,
        value=evaluation.value,
        gradient=evaluation.gradient,
        hessian=hessian,
        at_bound=jnp.zeros_like(at.at_bound),
    )
    sigma = standard_error(hessian, mask, problem.place)
    slope = evaluation.gradient[problem.place]
    other = jnp.where((slope > 0) & jnp.isnan(problem.sigma), 1 / slope, s.sigma)
    return dataclasses.replace(
        s,
        zero=at,
        best=best,
        asimov=best,
        observation=observation,
        phase=jnp.where(minimum, PHASE_ROOTS, PHASE_ASIMOV),
        choosing=jnp.asarray(True),
        sigma=jnp.where(jnp.isfinite(sigma), sigma, other),
        attempt=jnp.asarray(0),
    )


def _after_asimov(problem: LimitProblem, s: SearchState, at: Foothold) -> SearchState:
    below = (at.x[problem.place] < 0) & problem.kind.physical
    return dataclasses.replace(
        s,
        best=at,
        phase=jnp.where(below, PHASE_FLOOR, PHASE_ROOTS),
        value=jnp.zeros_like(s.value),
        choosing=~below,
        attempt=jnp.asarray(0),
    )


def _after_floor(problem: LimitProblem, s: SearchState, at: Foothold) -> SearchState:
    del problem
    return dataclasses.replace(
        s,
        best=at,
        phase=jnp.asarray(PHASE_ROOTS),
        choosing=jnp.asarray(True),
        attempt=jnp.asarray(0),
    )


def _after_root(problem: LimitProblem, s: SearchState, at: Foothold) -> SearchState:
    """Evaluate the condition of the limit, and choose the next POI."""
    best = jnp.where(
        s.data_next, problem.reference(s.zero, problem.base.value), s.best.value
    )
    q, slope = 2 * (at.value - best), 2 * at.gradient[problem.place]
    q = jnp.maximum(q, 0)
    observed = s.limit == OBSERVED
    wait = observed & ~s.data_next
    q_asimov = jnp.where(s.data_next, s.q_asimov, q)
    slope_asimov = jnp.where(s.data_next, s.slope_asimov, slope)

    # In branches XLA computes the decisions once, not for each number of the state.
    def expected() -> tuple[Array, Array]:
        root = jnp.sqrt(q_asimov)
        goal = problem.root_q_asimov[jnp.minimum(s.limit, OBSERVED - 1)]
        return root - goal, slope_asimov / (2 * root)

    def of_data() -> tuple[Array, Array]:
        miss, (by_q, by_asimov) = jax.value_and_grad(problem.excess, (0, 1))(
            q, q_asimov
        )
        return miss, by_q * slope + by_asimov * slope_asimov

    miss, rise = jax.lax.cond(observed, of_data, expected)
    s = dataclasses.replace(
        s, q_asimov=q_asimov, slope_asimov=slope_asimov, attempt=jnp.asarray(0)
    )
    waiting = dataclasses.replace(s, data_next=jnp.asarray(True))
    return jax.lax.cond(wait, lambda: waiting, lambda: _newton(problem, s, miss, rise))


def _newton(
    problem: LimitProblem, s: SearchState, miss: Array, rise: Array
) -> SearchState:
    """Take a Newton step inside the bracket, or record the root."""
    inside = jnp.where(miss < 0, s.value, s.inside)
    outside = jnp.where(miss >= 0, s.value, s.outside)
    newton = s.value - miss / rise
    converged = (jnp.abs(miss) <= TOLERANCE) & (rise > 0)
    good = (newton > inside) & (newton < outside)
    reach = jnp.maximum(s.value, s.sigma)
    ahead = jnp.where(good, jnp.minimum(newton, s.value + 2 * reach), 3 * reach)
    bracketed = jnp.isfinite(outside)
    value = jnp.where(good, newton, 0.5 * (inside + outside))
    value = jnp.where(bracketed, value, ahead)
    # Stay below a POI at which a fit failed.
    value = jnp.where(value < s.fails_from, value, 0.5 * (s.value + s.fails_from))
    upper = problem.upper()
    beyond = (s.value >= upper) & (miss < 0) & ~converged
    near = s.fails_from - s.value <= NEAR_FAILURE * reach
    over = ~converged & ((near & (miss < 0)) | (s.fits_of_one >= MOST_FITS_OF_ONE))

    def searching() -> SearchState:
        return dataclasses.replace(
            s,
            value=jnp.minimum(value, upper),
            inside=inside,
            outside=outside,
            data_next=jnp.asarray(False),
        )

    def recorded() -> SearchState:
        end = jnp.where(converged, END_FOUND, jnp.where(beyond, END_BEYOND, END_FAILED))
        return _record_end(s, end, jnp.where(converged, newton, jnp.nan), rise)

    # After a limit beyond the bound the search for the others continues.
    return jax.lax.cond(converged | beyond | over, recorded, searching)


def _record_end(s: SearchState, end: Any, value: Any, slope: Any) -> SearchState:
    """Record how the search for a limit ended, and continue with the next."""
    return dataclasses.replace(
        s,
        values=s.values.at[s.limit].set(value),
        slopes=s.slopes.at[s.limit].set(slope),
        ends=s.ends.at[s.limit].set(end),
        limit=s.limit + 1,
        choosing=jnp.asarray(True),
        data_next=jnp.asarray(False),
        running=s.limit < OBSERVED,
        attempt=jnp.asarray(0),
    )


def _after_failure(problem: LimitProblem, s: SearchState, at: Foothold) -> SearchState:
    """Repeat a failed fit from the start values, then step back, then give up."""
    target = jnp.minimum(s.limit, OBSERVED)
    s = dataclasses.replace(
        s,
        failed_at=s.failed_at.at[target].set(s.value),
        status=jax.tree.map(
            lambda known, code: known.at[target].set(code), s.status, at.status
        ),
    )
    anew = dataclasses.replace(s, attempt=jnp.asarray(1))
    cases = (
        ft.partial(_without_zero, problem),
        ft.partial(_without_asimov, problem),
        _give_up,
        ft.partial(_step_back, problem),
    )
    return jax.lax.cond(
        s.attempt == 0,
        lambda: anew,
        lambda: jax.lax.switch(s.phase, [lambda f=f: f(s) for f in cases]),
    )


def _without_zero(problem: LimitProblem, s: SearchState) -> SearchState:
    """Hold the POI next to 0 if the data are impossible without signal."""
    mu_hat = problem.base.x[problem.place]
    reach = jnp.where(jnp.isfinite(mu_hat), jnp.maximum(mu_hat, s.sigma), s.sigma)
    little = dataclasses.replace(
        s,
        value=NEXT_TO_NOTHING * reach,
        possible=jnp.asarray(False),
        attempt=jnp.asarray(2),
    )
    return jax.lax.cond(s.attempt == 1, lambda: little, lambda: _give_up(s))


def _without_asimov(problem: LimitProblem, s: SearchState) -> SearchState:
    floor = dataclasses.replace(
        s,
        phase=jnp.asarray(PHASE_FLOOR),
        value=jnp.zeros_like(s.value),
        attempt=jnp.asarray(0),
    )
    return floor if problem.kind.physical else _give_up(s)


def _give_up(s: SearchState) -> SearchState:
    """End the search without the limits that are not found yet."""
    return dataclasses.replace(
        s,
        status=jax.tree.map(lambda code: jnp.full_like(code, code[0]), s.status),
        failed_at=jnp.full_like(s.failed_at, s.value),
        running=jnp.asarray(False),
    )


def _step_back(problem: LimitProblem, s: SearchState) -> SearchState:
    anchor = jnp.where(s.data_next, s.data.x[problem.place], s.asimov.x[problem.place])
    ahead = s.value > anchor
    back = dataclasses.replace(
        s,
        value=0.5 * (s.value + anchor),
        data_next=jnp.asarray(False),
        attempt=jnp.asarray(2),
        failures=s.failures + 1,
        fails_from=jnp.where(ahead, jnp.minimum(s.fails_from, s.value), s.fails_from),
    )
    over = (s.failures >= MOST_FAILURES) | (s.fits_of_one >= MOST_FITS_OF_ONE)
    nothing = jnp.full_like(s.value, jnp.nan)
    return jax.lax.cond(
        over, lambda: _record_end(s, END_FAILED, nothing, nothing), lambda: back
    )


def _choose_first_point(problem: LimitProblem, s: SearchState) -> SearchState:
    """Choose the first POI of the search for the next limit."""
    goals = problem.root_q_asimov
    target = jnp.minimum(s.limit, OBSERVED - 1)
    after = jnp.asarray(AFTER)[target]
    known, slope = s.values[after], s.slopes[after]
    first = goals[0] * s.sigma
    observed = s.limit >= OBSERVED

    def expected() -> Array:
        # The parabola through 0 and the previous limit, with the slope there.
        c = goals[after]
        bend = (1 / slope - known / c) / c
        value = goals[target] * (known / c + bend * (goals[target] - c))
        return jnp.where(s.limit == 0, first, value)

    value = jax.lax.cond(
        observed, lambda: _quadratic_guess(problem, s, goals), expected
    )
    good = jnp.isfinite(value) & (value > 0)
    value = jnp.where(good, value, first)
    mu_hat = problem.base.x[problem.place]
    least = jnp.where(observed, jnp.maximum(mu_hat, 0), 0)
    lost = observed & ~problem.knows_reference(s.possible)
    return dataclasses.replace(
        s,
        value=jnp.minimum(value, problem.upper()),
        inside=least,
        outside=jnp.full_like(least, jnp.inf),
        choosing=jnp.asarray(False),
        running=s.running & ~lost,
        fits_of_one=jnp.asarray(0),
        failures=jnp.asarray(0),
        fails_from=jnp.full_like(least, jnp.inf),
    )


def _quadratic_guess(problem: LimitProblem, s: SearchState, goals: Array) -> Array:
    """Return the observed limit of the quadratic model."""
    return root_of_parabola(
        problem.excess,
        best=problem.base.x[problem.place],
        sigma=jnp.where(jnp.isfinite(problem.sigma), problem.sigma, s.sigma),
        slope=s.zero.gradient[problem.place],
        scale=jnp.where(jnp.isfinite(s.values[0]), goals[0] / s.values[0], 1 / s.sigma),
    )
