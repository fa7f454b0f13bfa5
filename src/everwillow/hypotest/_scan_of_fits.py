"""The fits of a likelihood ratio as the steps of one scan, for traces and batches.

The program of the fit is there only once, however many fits there are.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from everwillow._numerics import any_lane
from everwillow.engine.adjoint import minimise
from everwillow.engine.core import Task, constant
from everwillow.engine.flat_directions import value_is_minimal
from everwillow.engine.layout import float_dtype
from everwillow.engine.problem import Numbers


# What two fits to the same minimum may differ by: twice the EDM that each is allowed,
# and the rounding of -ln L.
EDM_SLACK = 4e-8
ROUNDING_SLACK = 256


def tolerance(nll: Any) -> Any:
    """Return by how much twice a difference of -ln L may be wrong."""
    eps = float(np.finfo(float_dtype()).eps)
    return EDM_SLACK + ROUNDING_SLACK * eps * abs(nll)


def scan_fits(
    task: Task,
    numbers: Numbers,
    place: Any,
    values: tuple[Any, ...],
    floor: str | None,
    minimiser: Callable[[Task, Numbers], Any] = minimise,
) -> tuple[Any, ...]:
    """Run the fits as the steps of one scan; for `programs.call` and batches.

    Args:
        task: The structure.
        numbers: The arguments; the start values are those of the free fit.
        place: Position of the POI, an integer array.
        values: As in `run_fits`.
        floor: As in `run_fits`.
        minimiser: Runs one fit.

    Returns:
        What the minimiser returned, stacked along a first axis of fits, split into its
        arrays and the rest: free, held at each value, held at zero if there is such a
        fit. Then whether the value of each is a minimum, the likelihood ratio, and the
        POI of the best fit.
    """
    mask, vector = jnp.asarray(numbers.mask), jnp.asarray(numbers.vector)
    index = jnp.asarray(numbers.index)
    held = [*values, 0.0] if floor == "zero" else [*values]
    last = len(held) + 1
    poi = jnp.arange(mask.shape[0]) == place
    others = mask & ~poi
    masks = jnp.stack([mask, *[others] * len(held), mask])
    plan = _Plan(
        index[place],
        jnp.stack([jnp.asarray(value, vector.dtype) for value in held]),
        last,
        {"zero": last - 1, "held": 1}.get(floor or ""),
        floor == "zero",
    )
    rest: Any = None

    # A `jax.jit` only so that the fit is traced once for its shapes and its two uses.
    @jax.jit
    def fit_at(start, moving):
        nonlocal rest
        here = dataclasses.replace(numbers, vector=start, mask=moving)
        arrays, rest = eqx.partition(minimiser(task, here), eqx.is_array)
        outcome = eqx.combine(arrays, rest)[0]
        return arrays, value_is_minimal(*constant((task, here, outcome, poi)))

    shapes = jax.eval_shape(fit_at, vector, mask)

    def step(progress, i):
        start, moving = progress.starts[i], masks[i]
        arrays, sound = jax.lax.cond(
            any_lane(progress.active[i]),
            lambda: fit_at(start, moving),
            lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes),
        )
        outcome = jax.lax.stop_gradient(eqx.combine(arrays, rest)[0])
        x = vector.at[index].set(outcome.x)
        x = jnp.where(jnp.all(jnp.isfinite(x)), x, jax.lax.stop_gradient(vector))
        slope = outcome.gradient[place]
        progress = _follow(plan, progress, i, x, (outcome.value, slope, sound))
        return progress, arrays

    # The last fits are only run where it turns out that they are needed.
    needed = jnp.arange(last + 1) < (last - 1 if floor == "zero" else last)
    first = _Progress.before(vector, needed, vector[plan.element])
    progress, arrays = jax.lax.scan(step, first, jnp.arange(last + 1))
    return _conclude(arrays, rest, progress, place, plan)


class _Plan(eqx.Module):
    """Which fits there are: free, held at values, at zero, and free again.

    Attributes:
        element: Where the POI is in the vector of all parameters.
        held: The values it is held at, shape ``(fits,)``.
        last: Number of the last fit.
        zero: Number of the fit with the POI at 0 that stands for a free one below 0;
            None where no fit does.
        extra: Whether that fit is there for this alone, and only made where needed.
    """

    element: Any
    held: Any
    last: int = eqx.field(static=True)
    zero: int | None = eqx.field(static=True)
    extra: bool = eqx.field(static=True)

    def reference(self, progress: "_Progress") -> tuple[Any, Any, Any]:
        """Return the minimum that others are compared with.

        Returns:
            Its -ln L, whether it is one, and whether it is that with the POI at 0:
            where the best fit is below, or it failed and -ln L rises from 0 on.
        """
        nll, sound = progress.nll, progress.sound
        if self.zero is None:
            return nll[0], sound[0], jnp.asarray(False)
        rises = sound[self.zero] & (progress.slope[self.zero] >= 0)
        below = (progress.mu_hat < 0) & sound[0]
        at_zero = below | (~sound[0] & rises)
        return (
            jnp.where(at_zero, nll[self.zero], nll[0]),
            jnp.where(at_zero, sound[self.zero], sound[0]),
            at_zero,
        )


class _Progress(eqx.Module):
    """What is known after some of the fits.

    Attributes:
        starts: Start values of each fit, shape ``(fits, params)``.
        active: Which of them are needed, shape ``(fits,)``.
        nll: Their minima so far.
        slope: The derivative of -ln L in the POI there.
        sound: Whether they are minima.
        mu_hat: The POI of the best fit.
    """

    starts: Any
    active: Any
    nll: Any
    slope: Any
    sound: Any
    mu_hat: Any

    @classmethod
    def before(cls, start: Any, needed: Any, mu: Any) -> "_Progress":
        """Return what is known before the first fit."""
        nothing = jnp.full(needed.shape, jnp.nan, start.dtype)
        starts = jnp.stack([start] * len(needed))
        return cls(starts, needed, nothing, nothing, jnp.zeros_like(needed), mu)


def _follow(
    plan: _Plan, progress: _Progress, i: Any, x: Any, found: tuple[Any, Any, Any]
) -> _Progress:
    """Return what is known after fit `i`, which ended at `x`."""
    last, active, starts = plan.last, progress.active, progress.starts
    value, slope, sound = found
    nll = progress.nll.at[i].set(jnp.where(active[i], value, jnp.nan))
    mu_hat = jnp.where(i == 0, x[plan.element], progress.mu_hat)
    after = jnp.broadcast_to(x, (*plan.held.shape, *x.shape))
    after = after.at[:, plan.element].set(plan.held)
    starts = jnp.where(i == 0, starts.at[1:last].set(after), starts)
    starts = jnp.where(i == 1, starts.at[last].set(x), starts)
    progress = _Progress(
        starts,
        active,
        nll,
        progress.slope.at[i].set(slope),
        progress.sound.at[i].set(active[i] & sound),
        mu_hat,
    )
    if plan.extra:
        wanted = (mu_hat < 0) | ~sound
        active = jnp.where(i == 0, active.at[last - 1].set(wanted), active)
    reference, known, _ = plan.reference(progress)
    # The free fit ended nowhere, or in a local minimum where a conditional is lower.
    lower = ~known | (2 * (nll[1] - reference) < -tolerance(reference))
    active = jnp.where(i == last - 1, active.at[last].set(lower), active)
    return dataclasses.replace(progress, active=active)


def _conclude(arrays, rest, progress: _Progress, place, plan: _Plan) -> tuple[Any, ...]:
    """Choose between the first and the second free fit, and form the ratio."""
    outcome = eqx.combine(arrays, rest)[0]
    last, nll, mu = plan.last, outcome.value, outcome.x[:, place]
    sound = progress.sound
    reference, known, at_zero = plan.reference(progress)
    if plan.zero is not None:
        # With its derivatives.
        reference = jnp.where(at_zero, nll[plan.zero], nll[0])
    else:
        reference = nll[0]
    again = sound[last] & (~known | (nll[last] < reference))
    if plan.zero is not None:
        again = again & (mu[last] >= 0)
    arrays = jax.tree.map(
        lambda a: a.at[0].set(jnp.where(again, a[last], a[0]))[:last], arrays
    )
    outcome = eqx.combine(arrays, rest)[0]
    reference = jnp.where(again, outcome.value[0], reference)
    ratio = 2 * (outcome.value[1] - reference)
    good = sound[1] & (known | again) & (ratio >= -tolerance(reference))
    ratio = jnp.where(good, jnp.where(ratio > 0, ratio, 0), jnp.nan)
    # Where the free fit failed below 0, the best one that counts is at 0.
    mu_hat = jnp.where(at_zero & ~sound[0] & ~again, 0, outcome.x[0, place])
    sound = sound.at[0].set(sound[0] | again)[:last]
    return arrays, rest, sound, ratio, mu_hat
