"""Exact impacts from fits with one parameter or one auxiliary datum shifted."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from everwillow._errors import RESULTS
from everwillow._numerics import is_traced
from everwillow._progress import stage
from everwillow._rounding import counted
from everwillow.engine import programs
from everwillow.engine.adjoint import minimise
from everwillow.engine.core import Task
from everwillow.engine.layout import on_host
from everwillow.engine.outcome import Outcome
from everwillow.engine.problem import Numbers
from everwillow.fitting.conditional import Problem, pose
from everwillow.fitting.continuation import Foothold, follow, foothold, holding
from everwillow.fitting.options import RefitOptions
from everwillow.impacts.best_fit import Fitted


class RefitImpacts(eqx.Module):
    """Shifts of the POIs in fits with one parameter or datum shifted down and up.

    The first axis of every array is the side: down, then up.

    Attributes:
        values: The shifted values, shape ``(2, moved)``.
        shifts: The shifts of the POIs, shape ``(2, pois, moved)``; NaN if the fit
            failed or the value is outside the bounds of the parameter. All are NaN if
            the best fit failed.
        delta_nll: The rise of -ln L at the minimum, shape ``(2, moved)``. A negative
            one shows a better minimum than the best fit.
        success: Whether each fit ended at a minimum, shape ``(2, moved)``.
        status: The status of each fit.
        inside: Whether the value is inside the bounds, shape ``(2, moved)``.
    """

    values: Float[Array, "2 moved"]
    shifts: Float[Array, "2 pois moved"]
    delta_nll: Float[Array, "2 moved"]
    success: Bool[Array, "2 moved"]
    status: RESULTS
    inside: Bool[Array, "2 moved"]

    @property
    def down(self) -> Float[Array, "pois moved"]:
        """The shifts for a move down."""
        return self.shifts[0]

    @property
    def up(self) -> Float[Array, "pois moved"]:
        """The shifts for a move up."""
        return self.shifts[1]


class Minimum(NamedTuple):
    """The minimum that one fit found."""

    x: Array
    value: Array
    success: Array
    status: RESULTS


def _minimum(
    task: Task, numbers: Numbers, start: Array, held: Array, base: Foothold | None
) -> Minimum:
    """Minimise from a start with some parameters held there.

    Args:
        task: The structure of the fit.
        numbers: The arguments of the fit.
        start: Start values of the parameters of the problem, shape ``(n,)``.
        held: Which of them are held.
        base: The best fit with its curvature, from which gradients follow the minimum;
            None for the full solver.
    """
    moved = holding(numbers, start, held)
    end: Foothold | Outcome
    if base is None:
        end, _ = minimise(task, moved)
    else:
        # Free parameters start at their predicted values, also if data are shifted.
        end = follow(task, moved, eqx.tree_at(lambda f: f.x, base, start))
    return Minimum(end.x, end.value, end.success, end.status)


class Setting(NamedTuple):
    """The best fit in the coordinates of the compiled program.

    Attributes:
        x: The best-fit values.
        nll: -ln L there.
        success: Whether they are at a minimum.
        lower: Lower bounds, infinite without one.
        upper: Upper bounds, infinite without one.
        place: Positions of the free parameters among those of the problem.
        base: The best fit with its Hessian, from which the minimum is followed; None
            for the full solver.
    """

    x: Any
    nll: Any
    success: Any
    lower: Any
    upper: Any
    place: Any
    base: Foothold | None


def posed(
    nll_fn: Any, fit: Fitted, observation: Any, **options: Unpack[RefitOptions]
) -> tuple[Problem, Setting]:
    """Return the problem of the best fit, which starts at its end, and its setting."""
    result, layout = fit.result, fit.layout
    free_elements = set(result.free)
    fixed = {
        key: ...
        for i, key in enumerate(layout.keys)
        if not layout.numeric[i]
        or free_elements.isdisjoint(layout.elements(i).tolist())
    }
    problem = pose(nll_fn, result.params, observation, fixed=fixed, **options)
    index = np.asarray(problem.numbers.index)
    mask = np.isin(index, fit.free)
    numbers = dataclasses.replace(problem.numbers, mask=mask)
    problem = dataclasses.replace(problem, numbers=numbers)
    lower, upper = problem.range(np.arange(index.size))
    place = np.searchsorted(index, fit.free)
    x = numbers.vector[index]
    # Under `jax.vmap` both branches of a condition run: following is not faster there.
    alone = result.hessian is not None and not is_traced(result, problem.numbers)
    base = foothold(problem, result) if alone else None
    ends = lower, upper
    return problem, Setting(x, result.nll, result.success, *ends, place, base)


def refit_parameters(
    problem: Problem,
    setting: Setting,
    covariance: Any,
    pois: np.ndarray,
    moved: np.ndarray,
    targets: Any,
    batch_size: int | None,
) -> RefitImpacts:
    """Fit again with each parameter held at each target.

    Args:
        problem: The problem at the best fit.
        setting: The best fit.
        covariance: The covariance of the free parameters.
        pois: Positions of the POIs among the free parameters.
        moved: Positions of the shifted ones among these, shape ``(moved,)``.
        targets: The shifted values, shape ``(2, moved)``; NaN without one.
        batch_size: The number of fits that run at once.
    """
    args = (problem.task, problem.numbers, setting, covariance, pois, moved, targets)
    with stage(f"impacts by {counted(targets.size, 'refit')}"):
        return on_host(programs.call(_refit_parameters, *args, _lanes(batch_size)))


def _refit_parameters(
    task, numbers, setting: Setting, covariance, pois, moved, targets, lanes
) -> RefitImpacts:
    setting = _arrays(setting, lanes)
    place, x = setting.place, setting.x

    def one(which, target):
        here = place[which]
        good = (target >= setting.lower[here]) & (target <= setting.upper[here])
        target = jnp.where(good, target, x[here])
        # To first order the others move by their covariances with the shifted one.
        column, own = covariance[:, which], covariance[which, which]
        slope = jnp.where(own > 0, column / jnp.where(own > 0, own, 1), 0)
        start = x.at[place].add(slope * (target - x[here]))
        start = _inside(start, x, setting).at[here].set(target)
        held = jnp.arange(x.shape[0]) == here
        return _minimum(task, numbers, start, held, setting.base), good

    rows = jnp.concatenate([jnp.asarray(moved)] * 2), jnp.ravel(targets)
    return _fits(one, rows, setting, pois, targets, lanes)


def refit_fixed(
    problem: Problem,
    setting: Setting,
    pois: np.ndarray,
    moved: np.ndarray,
    targets: Any,
    batch_size: int | None,
) -> RefitImpacts:
    """Fit again with each fixed parameter shifted to each target.

    Args:
        problem: The problem at the best fit.
        setting: The best fit.
        pois: Positions of the POIs among the free parameters.
        moved: Positions of the shifted parameters among all, shape ``(moved,)``.
        targets: The shifted values, shape ``(2, moved)``.
        batch_size: The number of fits that run at once.
    """
    args = (problem.task, problem.numbers, setting, pois, moved, targets)
    with stage(f"impacts by {counted(targets.size, 'refit')}"):
        return on_host(programs.call(_refit_fixed, *args, _lanes(batch_size)))


def _refit_fixed(
    task, numbers, setting: Setting, pois, moved, targets, lanes
) -> RefitImpacts:
    setting = _arrays(setting, lanes)
    index, vector = jnp.asarray(numbers.index), jnp.asarray(numbers.vector)
    held = ~jnp.zeros(index.shape, bool).at[setting.place].set(True)

    def one(which, target):
        there = vector.at[which].set(target)
        numbers_there = dataclasses.replace(numbers, vector=there)
        minimum = _minimum(task, numbers_there, there[index], held, setting.base)
        return minimum, jnp.isfinite(target)

    rows = jnp.concatenate([jnp.asarray(moved)] * 2), jnp.ravel(targets)
    return _fits(one, rows, setting, pois, targets, lanes)


def refit_auxiliary(
    problem: Problem,
    setting: Setting,
    pois: np.ndarray,
    shifts: Any,
    predicted: Any,
    batch_size: int | None,
) -> RefitImpacts:
    """Fit again with the auxiliary observations shifted.

    Args:
        problem: The problem at the best fit of a Model.
        setting: The best fit.
        pois: Positions of the POIs among the free parameters.
        shifts: The shifts of the ravelled auxiliary observations in each fluctuation,
            shape ``(moved, aux)``.
        predicted: The first-order shifts of the free parameters, ``(moved, free)``.
        batch_size: The number of fits that run at once.
    """
    args = (problem.task, problem.numbers, setting, pois, shifts, predicted)
    with stage(f"impacts by {counted(len(shifts), 'refit')}"):
        return on_host(programs.call(_refit_auxiliary, *args, _lanes(batch_size)))


def _refit_auxiliary(
    task, numbers, setting: Setting, pois, shifts, predicted, lanes
) -> RefitImpacts:
    setting = _arrays(setting, lanes)
    place, x = setting.place, setting.x
    aux = jax.tree.map(jnp.asarray, numbers.observation["aux"])
    flat, unravel = ravel_pytree(aux)

    def one(shift, step):
        observation = {**numbers.observation, "aux": unravel(flat + shift)}
        moved = dataclasses.replace(numbers, observation=observation)
        start = _inside(x.at[place].add(step), x, setting)
        held = jnp.zeros(x.shape, bool)
        return _minimum(task, moved, start, held, setting.base), jnp.asarray(True)

    rows = tuple(jnp.concatenate([-step, step]) for step in (shifts, predicted))
    targets = jnp.stack([-jnp.ones(len(predicted)), jnp.ones(len(predicted))])
    return _fits(one, rows, setting, pois, targets, lanes)


def _lanes(batch_size: int | None) -> int:
    """Return the number of fits that run at once; 0 for one after the other.

    On a CPU fits in lanes, which wait for the slowest one, are not faster; single fits
    can follow the minimum from the best fit by gradients.
    """
    if batch_size is not None:
        return 0 if batch_size <= 1 else int(batch_size)
    return 0 if jax.default_backend() == "cpu" else 64


def _arrays(setting: Setting, lanes: int) -> Setting:
    """Return the setting of fits in a program; those in lanes have no base."""
    names = ("x", "lower", "upper", "place")
    arrays = {name: jnp.asarray(getattr(setting, name)) for name in names}
    return setting._replace(**arrays, base=None if lanes else setting.base)


def _inside(start: Array, x: Array, setting: Setting) -> Array:
    """Return a start inside the bounds; other elements keep the best-fit value.

    Starts at a bound are replaced, too, as smooth maps are infinite there.
    """
    return jnp.where((start > setting.lower) & (start < setting.upper), start, x)


def _fits(
    one: Callable[..., tuple[Minimum, Array]],
    rows: tuple[Array, ...],
    setting: Setting,
    pois: np.ndarray,
    targets: Array,
    lanes: int,
) -> RefitImpacts:
    """Make the fits one after the other, or `lanes` of them at once."""
    fits = jax.lax.map(lambda row: one(*row), rows, batch_size=lanes or None)
    (minimum, good), place = fits, setting.place[pois]
    fine = good & minimum.success & jnp.asarray(setting.success)
    moves = jnp.where(fine[:, None], minimum.x - setting.x[None, :], jnp.nan)[:, place]
    rise = jnp.where(fine, minimum.value - jnp.asarray(setting.nll), jnp.nan)

    def by_side(array):
        return array.reshape(2, -1, *array.shape[1:])

    return RefitImpacts(
        values=targets,
        shifts=jnp.swapaxes(by_side(moves), 1, 2),
        delta_nll=by_side(rise),
        success=by_side(minimum.success),
        status=jax.tree.map(by_side, minimum.status),
        inside=by_side(good),
    )


__all__ = ["RefitImpacts"]
