"""The turns of the search for limits, each with one conditional fit.

First the data without signal, then the Asimov data, then the roots one after the other.
A fit that fails is made again from the start values; then the search steps back; and in
the end it gives this one limit up and goes on to the next.
"""

import dataclasses
import functools as ft
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from everwillow._numerics import select
from everwillow.engine.flat_directions import idle
from everwillow.engine.outcome import scaled_solver
from everwillow.fitting.follow import Foothold, follow, holding
from everwillow.hypotest._limit_problem import Machine, standard_error
from everwillow.hypotest._limit_state import (
    AFTER,
    ASIMOV_EDM,
    END_BEYOND,
    END_FAILED,
    END_FOUND,
    MOST_FAILURES,
    MOST_FITS,
    MOST_OF_ONE,
    NEAR_FAILURE,
    NEXT_TO_NOTHING,
    OBSERVED,
    PHASE_ASIMOV,
    PHASE_FLOOR,
    PHASE_ROOTS,
    PHASE_ZERO,
    TOLERANCE,
    Progress,
    Roots,
    root_of_parabola,
)


def run(machine: Machine) -> Roots:
    """Turn until all limits are found, or cannot be."""
    base, zero = machine.base, jnp.zeros_like(machine.base.value)
    count, no = jnp.asarray(0), jnp.asarray(False)
    blank = jnp.full(OBSERVED + 1, jnp.nan, base.x.dtype)
    known = base.success & jnp.isfinite(base.value)
    start = Progress(
        data=base,
        asimov=base,
        zero=base,
        best=base,
        observation=machine.sets().blank,
        value=zero,
        target=count,
        phase=jnp.asarray(PHASE_ZERO),
        second=no,
        q_asimov=zero,
        slope_asimov=zero,
        inside=zero,
        outside=zero + jnp.inf,
        values=blank,
        slopes=blank,
        aiming=no,
        fits=count,
        going=jnp.asarray(True),
        sigma=jnp.where(jnp.isfinite(machine.sigma), machine.sigma, 1),
        ends=jnp.full(OBSERVED + 1, END_FAILED),
        failed_at=blank,
        status=jax.tree.map(
            lambda code: jnp.broadcast_to(code, blank.shape), base.status
        ),
        possible=jnp.asarray(True),
        deepest=jnp.where(known, base.value, jnp.inf),
        deepest_x=base.x,
        attempt=count,
        spent=count,
        failures=count,
        ceiling=zero + jnp.inf,
    )
    start = jax.tree.map(jnp.asarray, start)
    end = jax.lax.while_loop(
        lambda s: s.going & (s.fits < MOST_FITS), ft.partial(_turn, machine), start
    )
    return Roots(
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


def _turn(machine: Machine, s: Progress) -> Progress:
    on_data = (s.phase == PHASE_ZERO) | s.second
    last = select(on_data, s.data, s.asimov)
    last = select(s.attempt == 1, machine.beginning(last), last)
    holds = s.phase != PHASE_ASIMOV
    held = jnp.zeros(last.x.shape, bool).at[machine.place].set(holds)
    x = jnp.where(held, s.value, last.x)

    def fit(observation: Any) -> Foothold:
        numbers = dataclasses.replace(machine.numbers, observation=observation)
        return follow(machine.task, holding(numbers, x, held), last)

    at = machine.sets().apply(fit, on_data, s.observation)
    good = at.success & jnp.isfinite(at.value)
    lower = good & on_data & (at.value < s.deepest)
    s = dataclasses.replace(
        s,
        data=select(on_data & good, at, s.data),
        asimov=select(~on_data & good, at, s.asimov),
        fits=s.fits + 1,
        spent=s.spent + 1,
        deepest=jnp.where(lower, at.value, s.deepest),
        deepest_x=jnp.where(lower, at.x, s.deepest_x),
    )
    cases = (
        ft.partial(_after_zero, machine),
        ft.partial(_after_asimov, machine),
        ft.partial(_after_floor, machine),
        ft.partial(_after_root, machine),
        ft.partial(_after_failure, machine),
    )
    case = jnp.where(good, s.phase, len(cases) - 1)
    s = jax.lax.switch(case, [lambda s=s, f=f: f(s, at) for f in cases])
    return jax.lax.cond(s.aiming, lambda: _aim(machine, s), lambda: s)


def _after_zero(machine: Machine, s: Progress, at: Foothold) -> Progress:
    """Make the Asimov data, and look whether their minimum is where they are."""
    x = machine.asimov_point(at)
    observation = machine.sets().asimov(machine.make_asimov(x))
    numbers = dataclasses.replace(machine.numbers, observation=observation)
    found = machine.task.evaluate(numbers, x)
    hessian = found.curvature.as_matrix()
    mask = jnp.asarray(machine.numbers.mask)
    # What does not matter without signal is no reason for a fit.
    free = mask & ~idle(found.gradient, hessian, mask)
    solve, definite = scaled_solver(hessian, free)
    gradient = jnp.where(free, found.gradient, 0)
    edm = 0.5 * jnp.vdot(gradient, solve(gradient))
    minimum = definite & (edm <= ASIMOV_EDM)
    best = dataclasses.replace(
        at,
        x=x,
        value=found.value,
        gradient=found.gradient,
        hessian=hessian,
        at_bound=jnp.zeros_like(at.at_bound),
    )
    sigma = standard_error(hessian, mask, machine.place)
    slope = found.gradient[machine.place]
    other = jnp.where((slope > 0) & jnp.isnan(machine.sigma), 1 / slope, s.sigma)
    return dataclasses.replace(
        s,
        zero=at,
        best=best,
        asimov=best,
        observation=observation,
        phase=jnp.where(minimum, PHASE_ROOTS, PHASE_ASIMOV),
        aiming=jnp.asarray(True),
        sigma=jnp.where(jnp.isfinite(sigma), sigma, other),
        attempt=jnp.asarray(0),
    )


def _after_asimov(machine: Machine, s: Progress, at: Foothold) -> Progress:
    below = (at.x[machine.place] < 0) & machine.recipe.physical
    return dataclasses.replace(
        s,
        best=at,
        phase=jnp.where(below, PHASE_FLOOR, PHASE_ROOTS),
        value=jnp.zeros_like(s.value),
        aiming=~below,
        attempt=jnp.asarray(0),
    )


def _after_floor(machine: Machine, s: Progress, at: Foothold) -> Progress:
    del machine
    return dataclasses.replace(
        s,
        best=at,
        phase=jnp.asarray(PHASE_ROOTS),
        aiming=jnp.asarray(True),
        attempt=jnp.asarray(0),
    )


def _after_root(machine: Machine, s: Progress, at: Foothold) -> Progress:
    """Judge the point, and choose the next."""
    best = jnp.where(
        s.second, machine.reference(s.zero, machine.base.value), s.best.value
    )
    q, slope = 2 * (at.value - best), 2 * at.gradient[machine.place]
    q = jnp.maximum(q, 0)
    observed = s.target == OBSERVED
    wait = observed & ~s.second
    q_asimov = jnp.where(s.second, s.q_asimov, q)
    slope_asimov = jnp.where(s.second, s.slope_asimov, slope)

    # In branches XLA computes the decisions once, not for each number of the state.
    def expected() -> tuple[Array, Array]:
        root = jnp.sqrt(q_asimov)
        wanted = machine.wanted[jnp.minimum(s.target, OBSERVED - 1)]
        return root - wanted, slope_asimov / (2 * root)

    def of_data() -> tuple[Array, Array]:
        miss, (by_q, by_asimov) = jax.value_and_grad(machine.excess, (0, 1))(
            q, q_asimov
        )
        return miss, by_q * slope + by_asimov * slope_asimov

    miss, rise = jax.lax.cond(observed, of_data, expected)
    s = dataclasses.replace(
        s,
        q_asimov=q_asimov,
        slope_asimov=slope_asimov,
        attempt=jnp.asarray(0),
    )
    waiting = dataclasses.replace(s, second=jnp.asarray(True))
    return jax.lax.cond(wait, lambda: waiting, lambda: _newton(machine, s, miss, rise))


def _newton(machine: Machine, s: Progress, miss: Array, rise: Array) -> Progress:
    """Take a Newton step inside the bracket, or record the root."""
    inside = jnp.where(miss < 0, s.value, s.inside)
    outside = jnp.where(miss >= 0, s.value, s.outside)
    newton = s.value - miss / rise
    found = (jnp.abs(miss) <= TOLERANCE) & (rise > 0)
    good = (newton > inside) & (newton < outside)
    reach = jnp.maximum(s.value, s.sigma)
    ahead = jnp.where(good, jnp.minimum(newton, s.value + 2 * reach), 3 * reach)
    bracketed = jnp.isfinite(outside)
    value = jnp.where(good, newton, 0.5 * (inside + outside))
    value = jnp.where(bracketed, value, ahead)
    # Not again to where a fit has failed.
    value = jnp.where(value < s.ceiling, value, 0.5 * (s.value + s.ceiling))
    upper = machine.upper()
    beyond = (s.value >= upper) & (miss < 0) & ~found
    near = s.ceiling - s.value <= NEAR_FAILURE * reach
    over = ~found & ((near & (miss < 0)) | (s.spent >= MOST_OF_ONE))

    def searching() -> Progress:
        return dataclasses.replace(
            s,
            value=jnp.minimum(value, upper),
            inside=inside,
            outside=outside,
            second=jnp.asarray(False),
        )

    def recorded() -> Progress:
        end = jnp.where(found, END_FOUND, jnp.where(beyond, END_BEYOND, END_FAILED))
        return _recorded(s, end, jnp.where(found, newton, jnp.nan), rise)

    # A limit beyond the bound does not keep the others from being found.
    return jax.lax.cond(found | beyond | over, recorded, searching)


def _recorded(s: Progress, end: Any, value: Any, slope: Any) -> Progress:
    """Write the end of a search down, and go on to the next."""
    return dataclasses.replace(
        s,
        values=s.values.at[s.target].set(value),
        slopes=s.slopes.at[s.target].set(slope),
        ends=s.ends.at[s.target].set(end),
        target=s.target + 1,
        aiming=jnp.asarray(True),
        second=jnp.asarray(False),
        going=s.target < OBSERVED,
        attempt=jnp.asarray(0),
    )


def _after_failure(machine: Machine, s: Progress, at: Foothold) -> Progress:
    """Try again from the start values, then with a step back; then give up."""
    target = jnp.minimum(s.target, OBSERVED)
    s = dataclasses.replace(
        s,
        failed_at=s.failed_at.at[target].set(s.value),
        status=jax.tree.map(
            lambda known, code: known.at[target].set(code), s.status, at.status
        ),
    )
    anew = dataclasses.replace(s, attempt=jnp.asarray(1))
    cases = (
        ft.partial(_no_zero, machine),
        ft.partial(_no_asimov, machine),
        _nothing,
        ft.partial(_step_back, machine),
    )
    return jax.lax.cond(
        s.attempt == 0,
        lambda: anew,
        lambda: jax.lax.switch(s.phase, [lambda f=f: f(s) for f in cases]),
    )


def _no_zero(machine: Machine, s: Progress) -> Progress:
    """Take next to no signal where the data are impossible without any."""
    mu_hat = machine.base.x[machine.place]
    reach = jnp.where(jnp.isfinite(mu_hat), jnp.maximum(mu_hat, s.sigma), s.sigma)
    little = dataclasses.replace(
        s,
        value=NEXT_TO_NOTHING * reach,
        possible=jnp.asarray(False),
        attempt=jnp.asarray(2),
    )
    return jax.lax.cond(s.attempt == 1, lambda: little, lambda: _nothing(s))


def _no_asimov(machine: Machine, s: Progress) -> Progress:
    floor = dataclasses.replace(
        s,
        phase=jnp.asarray(PHASE_FLOOR),
        value=jnp.zeros_like(s.value),
        attempt=jnp.asarray(0),
    )
    return floor if machine.recipe.physical else _nothing(s)


def _nothing(s: Progress) -> Progress:
    """Give all limits up."""
    return dataclasses.replace(
        s,
        status=jax.tree.map(lambda code: jnp.full_like(code, code[0]), s.status),
        failed_at=jnp.full_like(s.failed_at, s.value),
        going=jnp.asarray(False),
    )


def _step_back(machine: Machine, s: Progress) -> Progress:
    anchor = jnp.where(s.second, s.data.x[machine.place], s.asimov.x[machine.place])
    ahead = s.value > anchor
    back = dataclasses.replace(
        s,
        value=0.5 * (s.value + anchor),
        second=jnp.asarray(False),
        attempt=jnp.asarray(2),
        failures=s.failures + 1,
        ceiling=jnp.where(ahead, jnp.minimum(s.ceiling, s.value), s.ceiling),
    )
    over = (s.failures >= MOST_FAILURES) | (s.spent >= MOST_OF_ONE)
    nothing = jnp.full_like(s.value, jnp.nan)
    return jax.lax.cond(
        over, lambda: _recorded(s, END_FAILED, nothing, nothing), lambda: back
    )


def _aim(machine: Machine, s: Progress) -> Progress:
    """Choose where to look for the next limit first."""
    wanted = machine.wanted
    target = jnp.minimum(s.target, OBSERVED - 1)
    after = jnp.asarray(AFTER)[target]
    known, slope = s.values[after], s.slopes[after]
    first = wanted[0] * s.sigma
    observed = s.target >= OBSERVED

    def expected() -> Array:
        # The parabola through 0 and the limit before, with its slope there.
        c = wanted[after]
        bend = (1 / slope - known / c) / c
        value = wanted[target] * (known / c + bend * (wanted[target] - c))
        return jnp.where(s.target == 0, first, value)

    value = jax.lax.cond(observed, lambda: _guess(machine, s, wanted), expected)
    good = jnp.isfinite(value) & (value > 0)
    value = jnp.where(good, value, first)
    mu_hat = machine.base.x[machine.place]
    least = jnp.where(observed, jnp.maximum(mu_hat, 0), 0)
    lost = observed & ~machine.knows_reference(s)
    return dataclasses.replace(
        s,
        value=jnp.minimum(value, machine.upper()),
        inside=least,
        outside=jnp.full_like(least, jnp.inf),
        aiming=jnp.asarray(False),
        going=s.going & ~lost,
        spent=jnp.asarray(0),
        failures=jnp.asarray(0),
        ceiling=jnp.full_like(least, jnp.inf),
    )


def _guess(machine: Machine, s: Progress, wanted: Array) -> Array:
    """Return the observed limit of the quadratic model."""
    return root_of_parabola(
        machine.excess,
        best=machine.base.x[machine.place],
        sigma=jnp.where(jnp.isfinite(machine.sigma), machine.sigma, s.sigma),
        slope=s.zero.gradient[machine.place],
        scale=jnp.where(
            jnp.isfinite(s.values[0]), wanted[0] / s.values[0], 1 / s.sigma
        ),
    )
