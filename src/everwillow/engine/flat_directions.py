"""Minima whose value is known, although they have no positive definite Hessian.

Where a signal is held at zero its mass has no effect, and a fit reports that it cannot
determine it. The value of -ln L is a minimum nevertheless, and likelihood ratios need
only the value. A plateau or an inflection, where slope and curvature vanish as well,
must not be accepted as such a minimum. Therefore -ln L is evaluated along the whole
direction without curvature, and has to be constant there.

The likelihood of an observed count of zero grows until the expected count is zero, and
has no value beyond. The end of such a fit, of one parameter, is at the edge of what has
a likelihood, and cannot be lower by more than its slope times the distance to the edge.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from everwillow._errors import RESULTS
from everwillow._numerics import any_lane
from everwillow.curvature import Dense
from everwillow.engine.core import Task, parameter_ranges
from everwillow.engine.outcome import ROUNDING, newton_step
from everwillow.engine.problem import Numbers
from everwillow.solvers.box import active_set


# Added to the diagonal of the scaled Hessian, so that it can be inverted.
DAMPING = 1e-10
# Components below this are left over from directions that are not flat.
LEAK = 1e-6
# Fractions of the distances to the ends of the ranges at which -ln L is compared.
STOPS = (0.01, *((i + 1) / 16 for i in range(16)))
# The absolute tolerance of the comparison, for a minimum that is not reached exactly.
SAME = 1e-8
GOLDEN = 0.6180339887498949
# Number of values of parameters without effect that are tried as start values.
STARTS = 48


def idle(gradient: Array, hessian: Array, free: Array) -> Bool[Array, " n"]:
    """Return which free parameters have neither a slope nor a curvature."""
    return free & (gradient == 0) & (jnp.diagonal(hessian) == 0)


def value_is_minimal(
    task: Task, numbers: Numbers, outcome: Any, fixed: Array | None = None
) -> Bool[Array, ""]:
    """Return whether -ln L is at its minimum, even if its parameters are not known.

    Some may have no effect; or the only one is at the edge of what has a likelihood.

    Args:
        task: The structure of the fit.
        numbers: Its arguments, with held parameters masked.
        outcome: The outcome: an `Outcome` or a `Foothold`.
        fixed: Which parameters must have an effect, shape ``(n,)``.
    """
    if outcome.hessian is None:
        return outcome.success
    failed = ~outcome.success & jnp.isfinite(outcome.value)
    minimal = jax.lax.cond(
        any_lane(failed),
        lambda: _is_level_or_edge(task, numbers, outcome, fixed),
        lambda: jnp.asarray(False),
    )
    return outcome.success | (failed & minimal)


def _is_level_or_edge(task: Task, numbers: Numbers, outcome: Any, fixed: Any) -> Array:
    """Return whether an end is minimal along its flat direction, or at an edge."""
    x, value = outcome.x, outcome.value
    noise = SAME + ROUNDING * jnp.finfo(x.dtype).eps * jnp.abs(value)
    steps, line, determined = _flat_line(numbers, outcome, fixed)
    beyond, alone = _downhill(numbers, outcome, noise)
    points = jnp.concatenate([x[None] + steps[:, None] * line[None], beyond[None]])
    # One copy of the likelihood in the program.
    values = jax.lax.map(lambda point: task.value(numbers, point), points)
    values, at_beyond = values[:-1], values[-1]
    compared = jnp.isfinite(values) & (steps != 0)
    level = jnp.all(~compared | (jnp.abs(values - value) <= noise)) & jnp.any(compared)
    flat = outcome.status == RESULTS.flat_direction
    return (flat & level & determined) | (~flat & alone & ~jnp.isfinite(at_beyond))


def _downhill(numbers: Numbers, outcome: Any, noise: Array) -> tuple[Array, Array]:
    """Return a point that should be lower by the noise, and whether that is known.

    It is only known for a single free parameter with a slope.
    """
    x = outcome.x
    free = jnp.asarray(numbers.mask) & ~outcome.at_bound
    slope = jnp.where(free, outcome.gradient, 0)
    steep = jnp.isfinite(slope) & (slope != 0)
    size = noise / jnp.where(steep, jnp.abs(slope), 1)
    size = jnp.maximum(size, 4 * jnp.finfo(x.dtype).eps * jnp.abs(x))
    alone = (jnp.sum(free) == 1) & jnp.any(steep)
    return x - jnp.where(steep, jnp.sign(slope) * size, 0), alone


def _flat_line(
    numbers: Numbers, outcome: Any, fixed: Any
) -> tuple[Array, Array, Array]:
    """Return steps along the flat direction, it, and whether it spares the fixed."""
    x = outcome.x
    free = jnp.asarray(numbers.mask) & ~outcome.at_bound
    lower, upper = parameter_ranges(numbers, x)
    width = jnp.where(jnp.isfinite(upper - lower), upper - lower, 1 + jnp.abs(x))
    line = _flat_direction(outcome.hessian, free)
    line = line / jnp.max(jnp.abs(line) / width, initial=0)
    if fixed is None:
        fixed = jnp.zeros_like(free)
    moving = line != 0
    ahead = jnp.where(line > 0, upper - x, lower - x) / jnp.where(moving, line, 1)
    behind = jnp.where(line > 0, lower - x, upper - x) / jnp.where(moving, line, 1)
    stops = jnp.asarray(STOPS, x.dtype)
    steps = jnp.concatenate(
        [
            stops * jnp.min(jnp.where(moving, ahead, jnp.inf), initial=1),
            stops * jnp.max(jnp.where(moving, behind, -jnp.inf), initial=-1),
        ]
    )
    return steps, line, ~jnp.any(fixed & moving)


def _flat_direction(hessian: Array, free: Array) -> Float[Array, " n"]:
    """Return a vector along which there is no curvature, by inverse iteration."""
    diagonal = jnp.diagonal(hessian)
    scale = jnp.where(free & (diagonal > 0), jax.lax.rsqrt(jnp.abs(diagonal)), 1)
    matrix = Dense(hessian).scaled(scale).masked(free).as_matrix()
    factor = Dense(matrix + DAMPING * jnp.eye(matrix.shape[0])).factor()
    number = jnp.arange(free.size, dtype=hessian.dtype)
    vector = jnp.where(free, 0.5 + (number * GOLDEN) % 1, 0)
    for _ in range(2):
        vector = factor.solve(vector)
        vector = vector / jnp.max(jnp.abs(vector), initial=0)
    return jnp.where(jnp.abs(vector) > LEAK, scale * vector, 0)


def start_elsewhere(
    task: Task, numbers: Numbers, x: Array, without: Array
) -> Float[Array, " n"]:
    """Return start values of a fit, if some parameters have no effect at a point.

    The slopes of these parameters are exactly zero there, so that a fit keeps their
    values however wrong they are. Therefore values all over their ranges are tried; the
    ones from which the next Newton step of all other parameters predicts the largest
    decrease are returned.

    Args:
        task: The structure of the fit.
        numbers: Its arguments.
        x: The point, shape ``(n,)``.
        without: Which parameters have no effect there, shape ``(n,)``.
    """
    lower, upper = parameter_ranges(numbers, x)
    bounded = jnp.isfinite(upper - lower)
    low = jnp.where(bounded, lower, x - 1 - jnp.abs(x))
    high = jnp.where(bounded, upper, x + 1 + jnp.abs(x))
    mask = jnp.asarray(numbers.mask)
    options = {"lower": lower, "upper": upper, "free": mask & ~without}
    # Multiples of powers of the golden ratio, modulo 1, fill the box evenly.
    number = 1 + jnp.cumsum(without).astype(x.dtype)

    def try_at(i: Array) -> tuple[Array, Array]:
        part = (0.5 + (i + 1).astype(x.dtype) * GOLDEN**number) % 1
        point = jnp.where(without, low + part * (high - low), x)
        evaluation = task.evaluate(numbers, point)
        free, _ = active_set(point, evaluation.gradient, options)
        step, edm, definite = newton_step(
            evaluation.curvature.as_matrix(), evaluation.gradient, free
        )
        start = jnp.clip(point + jnp.where(definite, step, 0), lower, upper)
        gain = jnp.where(definite & jnp.isfinite(edm), edm, -jnp.inf)
        return gain, jnp.where(jnp.isfinite(start), start, point)

    gains, starts = jax.lax.map(try_at, jnp.arange(STARTS))
    best = jnp.argmax(gains)
    return jnp.where(jnp.isfinite(gains[best]), starts[best], x)
