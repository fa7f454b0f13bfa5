"""What does not change while limits are searched, and what follows from it."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array

from everwillow.engine.core import Task
from everwillow.engine.outcome import scaled_solver
from everwillow.engine.problem import Numbers
from everwillow.fitting.follow import Foothold
from everwillow.hypotest._limit_data import TwoSets
from everwillow.hypotest._limit_state import N_SIGMA, Progress, Recipe
from everwillow.hypotest.formulas import qmu_log_cls, qtilde_log_cls
from everwillow.toys.sampling import asimov_data


def set_up(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    place: Array,
    level: Array,
    recipe: Recipe,
) -> "Machine":
    """Set the search up, with the standard error of the POI."""
    sigma = standard_error(base.hessian, jnp.asarray(numbers.mask), place)
    n_sigma = jnp.asarray(N_SIGMA, base.x.dtype)
    wanted = n_sigma - ndtri(level * ndtr(n_sigma))
    return Machine(task, numbers, base, place, level, recipe, sigma, wanted)


def standard_error(hessian: Array, mask: Array, place: Array) -> Array:
    """Return that of the POI, NaN where the curvature does not tell."""
    free = mask.at[place].set(True) & (jnp.diagonal(hessian) > 0)
    solve, _ = scaled_solver(hessian, free)
    variance = solve(jnp.zeros(free.shape, hessian.dtype).at[place].set(1))[place]
    usable = free[place] & jnp.isfinite(variance) & (variance > 0)
    return jnp.where(usable, jnp.sqrt(jnp.abs(variance)), jnp.nan)


class Machine(NamedTuple):
    """The search, with what does not change in it.

    Attributes:
        sigma: The standard error of the POI.
        wanted: The root of q_A at each expected limit.
    """

    task: Task
    numbers: Numbers
    base: Foothold
    place: Array
    level: Array
    recipe: Recipe
    sigma: Array
    wanted: Array

    def sets(self) -> TwoSets:
        return TwoSets.of(
            self.numbers.observation, jax.eval_shape(self.make_asimov, self.base.x)
        )

    def make_asimov(self, x: Array) -> Any:
        vector = self.numbers.at(x).vector
        state = self.task.layout.state(vector, self.numbers.others)
        return asimov_data(
            self.task.objective, state, predict_fn=self.recipe.predict_fn
        )

    def asimov_point(self, zero: Foothold) -> Array:
        """Return the parameters that the Asimov data are made with."""
        x = jnp.where(self.recipe.a_posteriori, zero.x, self.task.start(self.numbers))
        return x.at[self.place].set(0.0)

    def excess(self, q: Array, q_asimov: Array) -> Array:
        """Return ln(level / CLs), which grows with the POI."""
        log_cls = qtilde_log_cls if self.recipe.physical else qmu_log_cls
        return jnp.log(self.level) - log_cls(q, q_asimov)

    def reference(self, zero: Foothold, free: Array) -> Array:
        """Return the minimum of -ln L of the data that counts."""
        return jnp.where(self.unphysical(), zero.value, free)

    def unphysical(self) -> Array:
        return (self.base.x[self.place] < 0) & self.recipe.physical

    def knows_reference(self, s: Progress) -> Array:
        """Return whether there is a minimum to compare the data with."""
        return jnp.where(self.unphysical(), s.possible, self.base.success)

    def upper(self) -> Array:
        if self.numbers.upper is None:
            return jnp.asarray(jnp.inf, self.base.x.dtype)
        return jnp.asarray(self.numbers.upper)[self.place]

    def beginning(self, last: Foothold) -> Foothold:
        """Return the start values, as if they were the end of a fit."""
        return dataclasses.replace(
            last,
            x=self.task.start(self.numbers),
            hessian=jnp.eye(last.x.size, dtype=last.x.dtype),
            at_bound=jnp.zeros_like(last.at_bound),
            success=jnp.asarray(False),
        )
