"""The axes and the radius of a trust region, and which model to use in it."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from everwillow._numerics import norm
from everwillow.objective import Evaluation


# The gain of a step is what the objective fell by over what was predicted.
POOR, GOOD = 0.25, 0.75
GROWTH = 2.5
# Below this fraction of |f| a decrease drowns in the rounding of f.
VISIBLE = 1e-10
# At the start the weight of each parameter, in units of how far it may have to go, is
# at least this part of the largest one: the curvature of a parameter on a plateau is
# next to nothing, and the first step would carry it far away.
START_WEIGHT = 0.1
# The stand-in for the curvature and the exact one take turns as the model: the one
# that foretold the last decrease better, by this factor, is used for the next step.
BETTER = 1.5


def axes(
    known: Float[Array, " n"],
    evaluation: Evaluation,
    x: Float[Array, " n"],
    first: Bool[Array, ""],
) -> Float[Array, " n"]:
    """Return inverse lengths of the axes: roots of the largest curvature seen so far.

    Args:
        known: The axes so far, zero at first.
        evaluation: The objective at the best point.
        x: The best point.
        first: Whether it is the start.
    """
    exact = jnp.abs(evaluation.curvature.diagonal())
    stand_in = evaluation.gauss_newton
    curvature = exact if stand_in is None else jnp.abs(stand_in.diagonal())
    scale = jnp.maximum(known, jnp.sqrt(curvature))
    size = jnp.abs(x)
    scale = jnp.where(scale > 0, scale, 1 / jnp.where(x == 0, 1, size))
    weight = jnp.max(scale * size, initial=0)
    # A parameter that starts next to zero has to go as far as its own slope says.
    own = jnp.abs(evaluation.gradient) / jnp.maximum(exact, scale**2)
    reach = jnp.maximum(size, own)
    floor = jnp.where(reach == 0, 0, START_WEIGHT * weight / reach)
    return jnp.where(first, jnp.maximum(scale, floor), scale)


def first_radius(
    x: Float[Array, " n"], gradient: Float[Array, " n"], scale: Float[Array, " n"]
) -> Float[Array, ""]:
    """Let the first step change parameters by as much as they are.

    Those that are zero may go where their own slope and curvature take them.
    """
    reach = jnp.where(x == 0, gradient / scale, scale * x)
    return jnp.maximum(norm(reach), 1.0)


class StepQuality(NamedTuple):
    """What a step brought.

    Attributes:
        fall: By how much the objective fell.
        gain: That over what was predicted.
        hidden: Whether the fall drowns in rounding, and was found from the slopes.
        radius: Of the trust region from now on.
    """

    fall: Float[Array, ""]
    gain: Float[Array, ""]
    hidden: Bool[Array, ""]
    radius: Float[Array, ""]


def assess_step(
    radius: Float[Array, ""],
    *,
    move: Float[Array, " n"],
    scale: Float[Array, " n"],
    predicted: Float[Array, ""],
    values: tuple[Float[Array, ""], Float[Array, ""]],
    gradients: tuple[Float[Array, " n"], Float[Array, " n"]],
    usable: Bool[Array, ""],
) -> StepQuality:
    """Compare the decrease after a step with the predicted one.

    Args:
        radius: Of the trust region so far.
        move: The step.
        scale: Inverse lengths of the axes.
        predicted: By how much the objective should fall.
        values: The objective at both ends.
        gradients: Its gradients there.
        usable: Whether everything at the end of the step is finite.
    """
    old, new = values
    # The mean of the slopes at both ends gives the decrease to third order, without
    # the cancellation between two large values.
    by_slope = -0.5 * jnp.vdot(gradients[0] + gradients[1], move)
    fall = old - new
    # Slopes know nothing of what happens between: they count only where neither what
    # was promised nor what happened can be seen.
    hidden = jnp.maximum(predicted, jnp.abs(fall)) < VISIBLE * jnp.abs(old)
    fall = jnp.where(hidden, by_slope, fall)
    gain = fall / predicted
    radius = next_radius(
        radius,
        length=jnp.sqrt(jnp.sum((move * scale) ** 2)),
        slope=jnp.vdot(gradients[0], move),
        fall=fall,
        gain=gain,
        usable=usable,
    )
    return StepQuality(fall, gain, hidden, radius)


def next_radius(
    radius: Float[Array, ""],
    *,
    length: Float[Array, ""],
    slope: Float[Array, ""],
    fall: Float[Array, ""],
    gain: Float[Array, ""],
    usable: Bool[Array, ""],
) -> Float[Array, ""]:
    """Grow or shrink the trust region, by what the last step brought.

    Args:
        radius: The radius so far.
        length: Of the step, in units of the axes.
        slope: Of the objective along the step, at its start; negative.
        fall: By how much the objective fell.
        gain: That over what was predicted.
        usable: Whether everything at the end of the step is finite.
    """
    tried = jnp.minimum(length, radius)
    # Where the parabola through both values and the slope has its minimum.
    parabola = 0.5 * slope / (fall + slope)
    cut = jnp.where(jnp.isfinite(parabola), jnp.clip(parabola, 0.1, 0.5), 0.1)
    new = jnp.where(gain < POOR, cut * tried, radius)
    new = jnp.where(gain > GOOD, jnp.maximum(new, GROWTH * length), new)
    return jnp.where(usable, new, 0.1 * tried)


def next_model(
    prefer: Bool[Array, ""],
    old: Evaluation,
    move: Float[Array, " n"],
    *,
    fall: Float[Array, ""],
    gain: Float[Array, ""],
    seen: Bool[Array, ""],
) -> Bool[Array, ""]:
    """Return whether to prefer the stand-in to the curvature from now on.

    Of a sum of squares the one that foretold the last decrease better is preferred.
    Others use the stand-in only where the curvature is indefinite, and change over
    after a step that brought next to nothing.

    Args:
        prefer: Whether the stand-in was preferred so far.
        old: The objective at the start of the step.
        move: The step.
        fall: By how much the objective fell.
        gain: That over what was predicted.
        seen: Whether the fall is more than rounding.
    """
    if old.gauss_newton is None:
        return prefer
    if old.residuals is None:
        return jnp.where(seen & (gain < POOR), ~prefer, prefer)
    bent = fall + jnp.vdot(old.gradient, move)
    exact = jnp.abs(bent + 0.5 * jnp.vdot(move, old.curvature.matvec(move)))
    stand_in = jnp.abs(bent + 0.5 * jnp.vdot(move, old.gauss_newton.matvec(move)))
    better = jnp.where(prefer, stand_in <= BETTER * exact, BETTER * stand_in < exact)
    return jnp.where(seen, better, prefer)
