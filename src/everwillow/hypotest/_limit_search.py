r"""The search for upper limits: one compiled loop, one conditional fit a turn.

The observed limit and the five expected ones are roots of functions of the POI that
cost a conditional fit or two each. Their slopes are known from the same fits (the
envelope theorem), so that every root takes two or three turns of Newton's method; and
each fit follows the one before (`everwillow.fitting.follow`), mostly by gradients.

With Asimov data at 0, data that fluctuate by N standard deviations have
:math:`\mathrm{CL_s} = \alpha` where :math:`\sqrt{q_A} = N + \Phi^{-1}(1 - \alpha\,
\Phi(N))`, so the expected limits are roots of :math:`\sqrt{q_A(\mu)}` alone.
"""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array

from everwillow._errors import ShapeMismatchError
from everwillow._numerics import select
from everwillow.fitting._adjoint import zero_tangent
from everwillow.fitting._core import Task
from everwillow.fitting._outcome import scaled_solver
from everwillow.fitting._problem import Numbers
from everwillow.fitting.follow import Foothold, follow, holding
from everwillow.hypotest._limit_state import (
    AFTER,
    ASIMOV_EDM,
    CODE_DONE,
    CODE_FAILED,
    CODE_RUNNING,
    MOST_FITS,
    N_SIGMA,
    OBSERVED,
    PHASE_ASIMOV,
    PHASE_ROOTS,
    PHASE_ZERO,
    TOLERANCE,
    Progress,
    Recipe,
    Roots,
    root_of_parabola,
)
from everwillow.hypotest.formulas import qmu_log_cls, qtilde_log_cls
from everwillow.toys.sampling import asimov_data


def search(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    place: Array,
    level: Array,
    recipe: Recipe,
) -> Roots:
    """Find the limits; differentiable in everything by the implicit function theorem.

    Args:
        task: The structure of the fit.
        numbers: Its arguments, with the data.
        base: The free fit of the data.
        place: The position of the POI.
        level: The CLs of a limit.
        recipe: What kind of limits.
    """
    arrays, structure = eqx.partition(
        (task, numbers, place, level, recipe), eqx.is_array
    )

    @jax.custom_jvp
    def solve(arrays, base):
        task, numbers, place, level, recipe = eqx.combine(arrays, structure)
        return _machine(task, numbers, base, place, level, recipe).run()

    @solve.defjvp
    def push(primals, tangents):
        arrays, base = primals
        out = solve(arrays, base)

        def conditions(arrays):
            task, numbers, place, level, recipe = eqx.combine(arrays, structure)
            machine = _machine(task, numbers, base, place, level, recipe)
            return machine.conditions(out)

        _, change = jax.jvp(conditions, (arrays,), (tangents[0],))
        blank = jax.tree.map(zero_tangent, out)
        return out, eqx.tree_at(lambda r: r.values, blank, -change / out.slopes)

    return solve(arrays, jax.lax.stop_gradient(base))


def _shapes(observation: Any) -> str:
    """Return the structure and the shapes of data, in a way that can be read."""
    return str(jax.tree.map(lambda leaf: tuple(jnp.shape(leaf)), observation))


def _machine(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    place: Array,
    level: Array,
    recipe: Recipe,
) -> "_Machine":
    """Set the search up, with the standard error of the POI."""
    free = jnp.asarray(numbers.mask).at[place].set(True)
    solve, _ = scaled_solver(base.hessian, free)
    variance = solve(jnp.zeros_like(base.x).at[place].set(1))[place]
    sigma = jnp.where(variance > 0, jnp.sqrt(jnp.abs(variance)), 1)
    return _Machine(task, numbers, base, place, level, recipe, sigma)


class _Machine(NamedTuple):
    """The search, with what does not change in it."""

    task: Task
    numbers: Numbers
    base: Foothold
    place: Array
    level: Array
    recipe: Recipe
    sigma: Array

    def run(self) -> Roots:
        """Turn until all limits are found, or one cannot be."""
        base, zero = self.base, jnp.zeros_like(self.base.value)
        count = jnp.asarray(0)
        blank = jnp.full(OBSERVED + 1, jnp.nan, base.x.dtype)
        start = Progress(
            data=base,
            asimov=base,
            zero=base,
            best=base,
            observation=self._observations(self.numbers.observation)[0],
            value=zero,
            target=count,
            phase=jnp.asarray(PHASE_ZERO),
            second=jnp.asarray(False),
            q_asimov=zero,
            slope_asimov=zero,
            inside=zero,
            outside=zero + jnp.inf,
            values=blank,
            slopes=blank,
            aiming=jnp.asarray(False),
            fits=count,
            code=jnp.where(base.success, CODE_RUNNING, CODE_FAILED),
        )
        start = jax.tree.map(jnp.asarray, start)
        end = jax.lax.while_loop(
            lambda s: (s.code == CODE_RUNNING) & (s.fits < MOST_FITS), self._turn, start
        )
        code = jnp.where(end.code == CODE_RUNNING, CODE_FAILED, end.code)
        return Roots(
            values=end.values,
            slopes=end.slopes,
            code=code,
            target=end.target,
            fits=end.fits,
            asimov=end.best,
            zero=end.zero,
            asimov_observation=end.observation,
        )

    def _turn(self, s: Progress) -> Progress:
        on_data = (s.phase == PHASE_ZERO) | s.second
        data, _ = self._observations(self.numbers.observation)
        observation = select(on_data, data, s.observation)
        last = select(on_data, s.data, s.asimov)
        holds = s.phase != PHASE_ASIMOV
        held = jnp.zeros(last.x.shape, bool).at[self.place].set(holds)
        x = jnp.where(held, s.value, last.x)
        numbers = dataclasses.replace(self.numbers, observation=observation)
        at = follow(self.task, holding(numbers, x, held), last)
        s = dataclasses.replace(
            s,
            data=select(on_data, at, s.data),
            asimov=select(on_data, s.asimov, at),
            fits=s.fits + 1,
            code=jnp.where(at.success, s.code, CODE_FAILED),
        )
        cases = (self._after_zero, self._after_asimov, self._after_root)
        s = jax.lax.switch(s.phase, [lambda s=s, f=f: f(s, at) for f in cases])
        return jax.lax.cond(s.aiming, lambda: self._aim(s), lambda: s)

    def _observations(self, asimov: Any) -> tuple[Any, Any]:
        """Return both data sets with the dtypes that both can have."""
        data = self.numbers.observation
        expected = jax.eval_shape(self._make_asimov, self.base.x)
        if _shapes(expected) != _shapes(data):
            msg = (
                "predict_fn: expected Asimov data like the observation, "
                f"{_shapes(data)}, got {_shapes(expected)}."
            )
            raise ShapeMismatchError(msg)
        dtypes = jax.tree.map(lambda d, e: jnp.result_type(d, e.dtype), data, expected)
        return (
            jax.tree.map(jnp.asarray, data, dtypes),
            jax.tree.map(jnp.asarray, asimov, dtypes),
        )

    def _make_asimov(self, x: Array) -> Any:
        vector = jnp.asarray(self.numbers.vector).at[self.numbers.index].set(x)
        state = self.task.layout.state(vector, self.numbers.others)
        return asimov_data(
            self.task.objective, state, predict_fn=self.recipe.predict_fn
        )

    def _asimov_point(self, zero: Foothold) -> Array:
        """Return the parameters that the Asimov data are made with."""
        if self.recipe.a_posteriori:
            return zero.x
        return self.task.start(self.numbers).at[self.place].set(0.0)

    def _after_zero(self, s: Progress, at: Foothold) -> Progress:
        """Make the Asimov data, and look whether their minimum is where they are."""
        x = self._asimov_point(at)
        _, observation = self._observations(self._make_asimov(x))
        numbers = dataclasses.replace(self.numbers, observation=observation)
        found = self.task.evaluate(numbers, x)
        hessian = found.curvature.as_matrix()
        free = jnp.asarray(self.numbers.mask)
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
        return dataclasses.replace(
            s,
            zero=at,
            best=best,
            asimov=best,
            observation=observation,
            phase=jnp.where(minimum, PHASE_ROOTS, PHASE_ASIMOV),
            aiming=jnp.asarray(True),
        )

    def _after_asimov(self, s: Progress, at: Foothold) -> Progress:
        phase = jnp.asarray(PHASE_ROOTS)
        return dataclasses.replace(s, best=at, phase=phase, aiming=jnp.asarray(True))

    def _after_root(self, s: Progress, at: Foothold) -> Progress:
        """Judge the point, and choose the next."""
        best = jnp.where(
            s.second, self._reference(s.zero, self.base.value), s.best.value
        )
        q, slope = 2 * (at.value - best), 2 * at.gradient[self.place]
        q = jnp.maximum(q, 0)
        observed = s.target == OBSERVED
        wait = observed & ~s.second
        q_asimov = jnp.where(s.second, s.q_asimov, q)
        slope_asimov = jnp.where(s.second, s.slope_asimov, slope)
        root = jnp.sqrt(q_asimov)
        miss = root - self._wanted()[jnp.minimum(s.target, OBSERVED - 1)]
        rise = slope_asimov / (2 * root)
        (excess, (by_q, by_asimov)) = jax.value_and_grad(self._excess, (0, 1))(
            q, q_asimov
        )
        miss = jnp.where(observed, excess, miss)
        rise = jnp.where(observed, by_q * slope + by_asimov * slope_asimov, rise)
        s = dataclasses.replace(s, q_asimov=q_asimov, slope_asimov=slope_asimov)
        waiting = dataclasses.replace(s, second=jnp.asarray(True))
        return select(wait, waiting, self._newton(s, miss, rise))

    def _excess(self, q: Array, q_asimov: Array) -> Array:
        """Return ln(level / CLs), which grows with the POI."""
        log_cls = qtilde_log_cls if self.recipe.physical else qmu_log_cls
        return jnp.log(self.level) - log_cls(q, q_asimov)

    def _wanted(self) -> Array:
        """Return the root of q_A at each expected limit."""
        n_sigma = jnp.asarray(N_SIGMA, self.base.x.dtype)
        return n_sigma - ndtri(self.level * ndtr(n_sigma))

    def _reference(self, zero: Foothold, free: Array) -> Array:
        """Return the minimum of -ln L of the data that counts."""
        unphysical = (self.base.x[self.place] < 0) & self.recipe.physical
        return jnp.where(unphysical, zero.value, free)

    def _newton(self, s: Progress, miss: Array, rise: Array) -> Progress:
        """Take a Newton step inside the bracket, or record the root."""
        inside = jnp.where(miss < 0, s.value, s.inside)
        outside = jnp.where(miss >= 0, s.value, s.outside)
        newton = s.value - miss / rise
        found = (jnp.abs(miss) <= TOLERANCE) & (rise > 0)
        good = (newton > inside) & (newton < outside)
        reach = jnp.maximum(s.value, self.sigma)
        ahead = jnp.where(good, jnp.minimum(newton, s.value + 2 * reach), 3 * reach)
        bracketed = jnp.isfinite(outside)
        value = jnp.where(good, newton, 0.5 * (inside + outside))
        value = jnp.where(bracketed, value, ahead)
        upper = self._upper()
        beyond = (s.value >= upper) & (miss < 0) & ~found
        searching = dataclasses.replace(
            s,
            value=jnp.minimum(value, upper),
            inside=inside,
            outside=outside,
            second=jnp.asarray(False),
        )
        recorded = dataclasses.replace(
            s,
            values=s.values.at[s.target].set(jnp.where(found, newton, jnp.nan)),
            slopes=s.slopes.at[s.target].set(rise),
            target=s.target + 1,
            aiming=jnp.asarray(True),
            second=jnp.asarray(False),
            code=jnp.where(
                (s.target == OBSERVED) & (s.code == CODE_RUNNING), CODE_DONE, s.code
            ),
        )
        # A limit beyond the bound does not keep the others from being found.
        return select(found | beyond, recorded, searching)

    def _guess(self, s: Progress, wanted: Array) -> Array:
        """Return the observed limit of the quadratic model."""
        return root_of_parabola(
            self._excess,
            best=self.base.x[self.place],
            sigma=self.sigma,
            slope=s.zero.gradient[self.place],
            scale=wanted[0] / s.values[0],
        )

    def _upper(self) -> Array:
        if self.numbers.upper is None:
            return jnp.asarray(jnp.inf, self.base.x.dtype)
        return jnp.asarray(self.numbers.upper)[self.place]

    def _aim(self, s: Progress) -> Progress:
        """Choose where to look for the next limit first."""
        wanted = self._wanted()
        target = jnp.minimum(s.target, OBSERVED - 1)
        after = jnp.asarray(AFTER)[target]
        known, slope = s.values[after], s.slopes[after]
        # The parabola through 0 and the limit before, with its slope there.
        c = wanted[after]
        bend = (1 / slope - known / c) / c
        expected = wanted[target] * (known / c + bend * (wanted[target] - c))
        first = wanted[0] * self.sigma
        expected = jnp.where(s.target == 0, first, expected)
        observed = s.target >= OBSERVED
        value = jnp.where(observed, self._guess(s, wanted), expected)
        good = jnp.isfinite(value) & (value > 0)
        value = jnp.where(good, value, first)
        least = jnp.where(observed, jnp.maximum(self.base.x[self.place], 0), 0)
        return dataclasses.replace(
            s,
            value=jnp.minimum(value, self._upper()),
            inside=least,
            outside=jnp.full_like(least, jnp.inf),
            aiming=jnp.asarray(False),
        )

    def conditions(self, out: Roots) -> Array:
        """Return what vanishes at the limits, differentiable in all numbers."""
        fixed = jax.lax.stop_gradient(out)
        held = jnp.zeros(self.base.x.shape, bool).at[self.place].set(True)

        def at(observation, mu, last):
            numbers = dataclasses.replace(self.numbers, observation=observation)
            x = jnp.where(held, mu, last.x)
            return follow(self.task, holding(numbers, x, held), last).value

        data, _ = self._observations(self.numbers.observation)
        numbers = dataclasses.replace(self.numbers, observation=data)
        x = jnp.where(held, 0.0, fixed.zero.x)
        zero = follow(self.task, holding(numbers, x, held), fixed.zero)
        _, asimov = self._observations(self._make_asimov(self._asimov_point(zero)))
        numbers = dataclasses.replace(self.numbers, observation=asimov)
        best = self.task.value(numbers, fixed.asimov.x)
        free = self.task.value(
            dataclasses.replace(self.numbers, observation=data), self.base.x
        )
        reference = self._reference(zero, free)

        def one(job):
            mu, on_data = job
            last = select(on_data, fixed.zero, fixed.asimov)
            return at(select(on_data, data, asimov), mu, last)

        mus = jnp.append(fixed.values, fixed.values[OBSERVED])
        on_data = jnp.arange(OBSERVED + 2) > OBSERVED
        values = jax.lax.map(one, (mus, on_data))
        q_asimov = 2 * (values[: OBSERVED + 1] - best)
        q = 2 * (values[OBSERVED + 1] - reference)
        expected = jnp.sqrt(q_asimov[:OBSERVED]) - self._wanted()
        return jnp.append(expected, self._excess(q, q_asimov[OBSERVED]))
