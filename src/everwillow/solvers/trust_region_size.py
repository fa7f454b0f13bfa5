"""The axes and the radius of a trust region, and the choice of the model in it."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from everwillow._numerics import norm
from everwillow.objective import Evaluation


# The gain of a step is its decrease of the objective over the predicted one.
POOR, GOOD = 0.25, 0.75
GROWTH = 2.5
# Below this fraction of |f| a decrease is lost in the rounding of f.
VISIBLE = 1e-10
# At the start, scale times distance that a parameter may have to go is at least this
# part of the largest such product: on a plateau a parameter has almost no curvature,
# and the first step would carry it far away.
START_WEIGHT = 0.1
# Of the stand-in and the exact curvature, the one that predicted the last decrease
# better, by this factor, is the model of the next step.
BETTER = 1.5
# The first trust region reaches at least so many standard errors. Not a whole one: with
# one event that is exactly the distance to a rate of zero.
LEAST_FIRST_RADIUS = 0.99


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
    # For a parameter that starts next to zero slope over curvature is the distance.
    own = jnp.abs(evaluation.gradient) / jnp.maximum(exact, scale**2)
    reach = jnp.maximum(size, own)
    floor = jnp.where(reach == 0, 0, START_WEIGHT * weight / reach)
    return jnp.where(first, jnp.maximum(scale, floor), scale)


def first_radius(
    x: Float[Array, " n"], gradient: Float[Array, " n"], scale: Float[Array, " n"]
) -> Float[Array, ""]:
    """Return a radius that lets the first step change parameters by their own size.

    Parameters that are zero may take their own Newton step.
    """
    reach = jnp.where(x == 0, gradient / scale, scale * x)
    return jnp.maximum(norm(reach), LEAST_FIRST_RADIUS)


class StepQuality(NamedTuple):
    """The quality of a step.

    Attributes:
        fall: Decrease of the objective.
        gain: The decrease over the predicted one.
        hidden: Whether the decrease is lost in rounding, so that `fall` is computed
            from the slopes.
        radius: New radius of the trust region.
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
        radius: Radius of the trust region so far.
        move: The step.
        scale: Inverse lengths of the axes.
        predicted: Predicted decrease of the objective.
        values: The objective at both ends of the step.
        gradients: Its gradients there.
        usable: Whether everything at the end of the step is finite.
    """
    old, new = values
    # The mean of the slopes at both ends gives the decrease to third order, without
    # the cancellation between two large values.
    by_slope = -0.5 * jnp.vdot(gradients[0] + gradients[1], move)
    fall = old - new
    # The slopes at both ends say nothing of what lies between, so they are used only
    # where both the predicted and the actual decrease are lost in rounding.
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
    """Grow or shrink the trust region after a step.

    Args:
        radius: The radius so far.
        length: Length of the step, in units of the axes.
        slope: Slope of the objective along the step, at its start; negative.
        fall: Decrease of the objective.
        gain: The decrease over the predicted one.
        usable: Whether everything at the end of the step is finite.
    """
    tried = jnp.minimum(length, radius)
    # The minimum of the parabola through both values and the slope.
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
    visible: Bool[Array, ""],
) -> Bool[Array, ""]:
    """Return whether to prefer the stand-in to the curvature from now on.

    For a sum of squares the one that predicted the last decrease better is preferred.
    Other objectives use the stand-in only where the curvature is indefinite, and switch
    after a step that brought almost no decrease.

    Args:
        prefer: Whether the stand-in was preferred so far.
        old: The objective at the start of the step.
        move: The step.
        fall: Decrease of the objective.
        gain: The decrease over the predicted one.
        visible: Whether the decrease is more than rounding.
    """
    if old.gauss_newton is None:
        return prefer
    if old.residuals is None:
        return jnp.where(visible & (gain < POOR), ~prefer, prefer)
    # By how much the decrease differs from that of the slope alone.
    bent = fall + jnp.vdot(old.gradient, move)
    exact = jnp.abs(bent + 0.5 * jnp.vdot(move, old.curvature.matvec(move)))
    stand_in = jnp.abs(bent + 0.5 * jnp.vdot(move, old.gauss_newton.matvec(move)))
    better = jnp.where(prefer, stand_in <= BETTER * exact, BETTER * stand_in < exact)
    return jnp.where(visible, better, prefer)
