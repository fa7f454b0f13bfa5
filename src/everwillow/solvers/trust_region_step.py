"""The step of a trust-region method with bounds, by Cholesky factorisations alone.

Minimises the quadratic model ``g·s + ½ s·H·s`` over the ball ``|s| <= radius`` (Moré
and Sorensen, SIAM J. Sci. Stat. Comput. 4 (1983) 553) and inside a box. Everything is
in scaled coordinates, in which the curvature has a diagonal of order one.

One loop does it all. It tries the Newton step. Where the curvature is not positive
definite and the slope is small, it tries that step with a whiff of damping, which tells
a flat minimum from a saddle (a singular matrix passes, an indefinite one does not);
where the slope is steep, it tries the Gauss-Newton stand-in. There may be no stand-in,
it is left out where it is out of favour, and sums of squares may prefer it to a
definite curvature. What is left is to search the damping that puts the step on the
sphere, which leads away from a saddle. Where the result leaves the box, the best point
of the way to it, projected into the box, is kept; what reached a bound there is held,
and Newton steps go on from that point for the rest. Where the curvature of the rest is
not definite this ends: a search there costs more than a look at the function, after
which the next step begins. The matrix is factorised at one place of the program.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from everwillow.curvature import AbstractCurvature, AbstractFactor
from everwillow.solvers.box import best_inside
from everwillow.solvers.quadratic_model import QuadraticModel, least_direction


MAX_FACTORISATIONS = 40
# A scaled gradient as long as this is more than a standard error from any minimum.
NEAR = 1.0
MAX_ROUNDS = 6


def singular_level(dtype) -> float:
    """Relative curvature below which a direction counts as flat."""
    return 200 * float(jnp.finfo(dtype).eps)


def whiff(dtype) -> float:
    """Relative damping under which a singular matrix can be solved."""
    return float(jnp.finfo(dtype).eps) ** 0.6


class Step(eqx.Module):
    """A trust-region step and what was learned of the model on the way.

    Attributes:
        step: The step, inside ball and box.
        decrease: What the model predicts the function to fall by; >= 0.
        interior: Whether it is the undamped minimum of the model.
        newton: The Newton step on the free parameters.
        edm: Half the squared length of the Newton step in the metric of the
            curvature, in units of the function; infinite if indefinite.
        definite: Whether the curvature is positive definite.
        semidefinite: Whether it is at least positive semi-definite.
        factor: The factorised, damped curvature that gave the step.
        moving: Which parameters were neither fixed nor put on a bound.
        pivot: Smallest relative pivot of the curvature; infinite if indefinite.
    """

    step: Float[Array, " n"]
    decrease: Float[Array, ""]
    interior: Bool[Array, ""]
    newton: Float[Array, " n"]
    edm: Float[Array, ""]
    definite: Bool[Array, ""]
    semidefinite: Bool[Array, ""]
    factor: AbstractFactor
    moving: Bool[Array, " n"]
    pivot: Float[Array, ""]


class _Search(eqx.Module):
    """The loop's memory.

    `low` and `high` bracket the damping; `base` is the point in the box at which the
    parameters that reached a bound are held, and from which the others go on.
    """

    count: Int[Array, ""]
    round: Int[Array, ""]
    damping: Float[Array, ""]
    light: Bool[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]
    stand_in: Bool[Array, ""]
    free: Bool[Array, " n"]
    base: Float[Array, " n"]
    step: Float[Array, " n"]
    interior: Bool[Array, ""]
    done: Bool[Array, ""]
    newton: Float[Array, " n"]
    edm: Float[Array, ""]
    pivot: Float[Array, ""]
    definite: Bool[Array, ""]
    semidefinite: Bool[Array, ""]
    factor: AbstractFactor


def trust_region_step(model: QuadraticModel, radius: Float[Array, ""]) -> Step:
    """Minimise a quadratic model over a ball and a box.

    Args:
        model: The function to second order.
        radius: Of the ball, in scaled units; may be infinite.

    Returns:
        The step, zero if nothing may move.
    """
    dtype = model.gradient.dtype
    zero = jnp.zeros((), dtype)
    none = jnp.zeros_like(model.gradient)
    no = jnp.asarray(False)
    start = _Search(
        count=jnp.asarray(0),
        round=jnp.asarray(0),
        damping=zero,
        light=no,
        low=zero,
        high=jnp.asarray(jnp.inf, dtype),
        stand_in=no,
        free=model.free,
        base=none,
        step=none,
        interior=no,
        done=no,
        newton=none,
        edm=jnp.asarray(jnp.inf, dtype),
        pivot=jnp.asarray(jnp.inf, dtype),
        definite=no,
        semidefinite=no,
        factor=blank_factor(model.curvature),
    )
    end = jax.lax.while_loop(
        lambda s: ~s.done, lambda s: _advance(model, radius, s), start
    )
    step = model.inside(end.step)
    decrease = model.decrease(step, end.stand_in)
    if model.lower is not None:
        # Only the box can make the steepest descent the better step.
        cut = jnp.any(end.free != model.free)
        step, decrease = jax.lax.cond(
            cut,
            lambda: _or_projected_gradient(model, radius, step, decrease),
            lambda: (step, decrease),
        )
    return Step(
        step,
        decrease,
        end.interior,
        end.newton,
        end.edm,
        end.definite,
        end.semidefinite,
        end.factor,
        end.free,
        end.pivot,
    )


def blank_factor(curvature: AbstractCurvature) -> AbstractFactor:
    """Return zeros of the structure that factorising the curvature will have."""
    return jax.tree.map(
        lambda s: jnp.zeros(s.shape, s.dtype),
        eqx.filter_eval_shape(lambda c: c.factor(), curvature),
    )


# Longer than sixty lines, as a turn of the loop hands on every field of its memory.
def _advance(model: QuadraticModel, radius, s: _Search) -> _Search:
    """Factorise once, and decide what to try next."""
    dtype = model.gradient.dtype
    matrix = model.matrix(s.stand_in)
    pushed = model.gradient + model.product(s.base, s.stand_in)
    gradient = jnp.where(s.free, pushed, 0)
    # The way to the base uses up part of the ball.
    radius = jnp.maximum(radius - jnp.sqrt(jnp.sum(s.base**2)), 0.1 * radius)
    held = matrix.masked(s.free)
    bare = s.damping == 0
    # A whiff is relative to the curvature itself, so that it is one in any scale.
    # A parameter that the function does not see has none, and gets next to nothing.
    unit = jnp.abs(held.diagonal()) + float(jnp.finfo(dtype).tiny) ** 0.5
    little = jnp.where(s.light, whiff(dtype), 0) * unit
    factor = held.plus_diagonal(jnp.where(s.free, s.damping + little, 0)).factor()
    trial = -factor.solve(gradient)
    length = jnp.sqrt(jnp.sum(trial**2))
    good = (factor.smallest_pivot > singular_level(dtype)) & jnp.isfinite(length)
    # Once the exact curvature has been looked at, the stand-in may be preferred.
    looked = (s.count == 0) & good & model.prefer & model.least_squares

    first = (s.round == 0) & ~s.stand_in & bare
    definite = s.definite | (first & ~s.light & good)
    semidefinite = s.semidefinite | (first & good)
    found = first & good & ~s.semidefinite
    newton = jnp.where(found, trial, s.newton)
    edm = jnp.where(found, -0.5 * jnp.vdot(gradient, trial), s.edm)
    pivot = jnp.where(found, factor.smallest_pivot, s.pivot)

    interior = good & bare & (length <= 1.1 * radius)
    boundary = good & (jnp.abs(length - radius) <= 0.1 * radius)
    along, hard, (damping, light, low, high, stand_in) = jax.lax.cond(
        interior & ~looked,
        lambda: (trial, jnp.asarray(False), _unchanged(s)),
        lambda: _search_further(
            model, s, gradient, held, factor, trial, length, radius, good, looked
        ),
    )
    hard = good & ~bare & (length < radius) & hard
    exhausted = s.count >= MAX_FACTORISATIONS * (s.round + 1)
    exhausted = exhausted | (~good & bare & (s.round > 0))
    solved = (interior | boundary | hard | exhausted) & ~looked
    shrunk = trial * jnp.where(length > radius, radius / length, 1)
    usable = jnp.where(hard, along, shrunk)
    step = jnp.where(good, s.base + jnp.where(s.free, usable, 0), s.step)

    going = _Search(
        s.count + 1,
        s.round,
        damping,
        light,
        low,
        high,
        stand_in,
        s.free,
        s.base,
        step,
        interior,
        jnp.asarray(False),
        newton,
        edm,
        pivot,
        definite,
        semidefinite,
        factor,
    )
    names = ("round", "damping", "light", "low", "high", "free", "base")
    names = (*names, "step", "interior", "done")
    closed = jax.lax.cond(
        solved,
        lambda: _close(model, going),
        lambda: {name: getattr(going, name) for name in names},
    )
    return dataclasses.replace(going, **closed)


def _unchanged(s: _Search):
    return s.damping, s.light, s.low, s.high, s.stand_in


def _search_further(
    model, s, gradient, held, factor, trial, length, radius, good, looked
):
    """Try the hard case, and choose the next damping; a Newton step spares both."""
    curve, along, hard = _hard_case(
        model, held, factor, s.damping, trial, length, radius
    )
    following = _next_damping(
        model,
        s,
        gradient,
        held,
        factor,
        trial,
        length,
        radius,
        good,
        curve,
        looked,
    )
    return along, hard, following


def _close(model: QuadraticModel, s: _Search) -> dict[str, Array]:
    """End the search, or hold what reached a bound and search again for the rest."""
    lower, upper, step = model.lower, model.upper, s.step
    if lower is None or upper is None:
        leaves, point, reached = jnp.asarray(False), step, jnp.zeros_like(s.free)
    else:
        leaves = jnp.any(s.free & ((step < lower) | (step > upper)))

        def cut() -> Array:
            return best_inside(
                lambda point: model.decrease(point, s.stand_in),
                s.base,
                step - s.base,
                lower,
                upper,
            )

        point = jax.lax.cond(leaves, cut, lambda: step)
        away = step - s.base
        reached = ((point <= lower) & (away < 0)) | ((point >= upper) & (away > 0))
    again = leaves & (s.round < MAX_ROUNDS)
    return {
        "round": jnp.where(again, s.round + 1, s.round),
        "damping": jnp.where(again, 0, s.damping),
        "light": s.light & ~again,
        "low": jnp.where(again, 0, s.low),
        "high": jnp.where(again, jnp.inf, s.high),
        "free": s.free & ~(reached & leaves),
        "base": jnp.where(again, point, s.base),
        "step": point,
        "interior": s.interior & ~leaves,
        "done": ~again,
    }


def _next_damping(
    model, s, gradient, held, factor, trial, length, radius, good, curve, looked
):
    """Choose the damping to try next, inside a bracket that shrinks."""
    pull = jnp.sqrt(jnp.sum(gradient**2))
    size = jnp.sqrt(jnp.sum(jnp.square(_frobenius(held))))
    high = jnp.minimum(s.high, pull / radius + size)
    high = jnp.where(good & (length < radius), jnp.minimum(high, s.damping), high)
    low = jnp.where(
        good & (length < radius),
        jnp.maximum(s.low, s.damping - curve),
        jnp.maximum(s.low, s.damping),
    )
    # Newton's method on 1/|s| - 1/radius, which is almost linear in the damping.
    slope = jnp.vdot(trial, factor.solve(trial))
    newton = s.damping + (length - radius) / radius * length**2 / slope
    middle = jnp.maximum(jnp.sqrt(low * high), low + 1e-3 * (high - low))
    usable = good & jnp.isfinite(newton) & (newton > low) & (newton < high)
    damping = jnp.where(usable, newton, middle)
    # Before any search: near a point without a slope an indefinite matrix is tried with
    # a whiff of damping, which tells a flat minimum from a saddle, and a saddle is left
    # along its negative curvature; elsewhere the stand-in takes its place.
    failed = ~good & (s.damping == 0)
    stand_in, change = s.stand_in, jnp.asarray(False)
    if model.gauss_newton is not None:
        trusted = model.prefer | model.least_squares
        change = looked | (failed & (pull > NEAR) & trusted & ~s.stand_in)
        stand_in = stand_in | change
        damping = jnp.where(change, 0, damping)
        low = jnp.where(change, 0, low)
        high = jnp.where(change, jnp.inf, high)
    light = failed & ~s.light & ~change
    return jnp.where(light, 0, damping), light, low, high, stand_in


def _frobenius(curvature: AbstractCurvature):
    """Return an array whose squares sum to at least those of all entries."""
    leaves = [
        jnp.ravel(leaf)
        for leaf in jax.tree.leaves(curvature)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    # An off-diagonal block is stored once and stands twice in the matrix.
    return jnp.sqrt(2.0) * jnp.concatenate(leaves)


def _hard_case(model, held, factor, damping, trial, length, radius):
    """Go along the direction of least curvature where damping alone cannot.

    Where the gradient has no part along the most negative curvature, a damped step
    stays short of the sphere whatever the damping; the missing length is then taken
    along that direction, found by inverse iteration.
    """
    direction = least_direction(factor, model.free, model.gradient.dtype)
    curve = jnp.vdot(direction, held.matvec(direction)) + damping
    towards = jnp.vdot(trial, direction)
    rest = radius**2 - length**2
    root = jnp.sqrt(jnp.maximum(towards**2 + rest, 0))
    # The smaller of the two roots, in the form that does not cancel.
    tau = rest / (towards + jnp.where(towards >= 0, root, -root))
    bend = jnp.vdot(trial, held.matvec(trial)) + damping * length**2
    accept = tau**2 * curve <= 0.19 * (bend + damping * radius**2)
    return curve, trial + tau * direction, accept & jnp.isfinite(tau)


def _or_projected_gradient(model: QuadraticModel, radius, step, decrease):
    """Return the better of a step and one along the projected gradient."""
    other = _projected_gradient_step(model, radius)
    better = model.decrease(other)
    swap = better > decrease
    return jnp.where(swap, other, step), jnp.where(swap, better, decrease)


def _projected_gradient_step(model: QuadraticModel, radius):
    """Return the best of some points on the projected steepest-descent path."""
    gradient = jnp.where(model.free, model.gradient, 0)
    length = jnp.sqrt(jnp.sum(gradient**2))
    longest = jnp.minimum(radius / jnp.where(length > 0, length, 1), 16.0)
    rates = longest * 4.0 ** -jnp.arange(12, dtype=gradient.dtype)

    def at(rate):
        step = model.inside(-rate * gradient)
        return step, model.decrease(step)

    steps, decreases = jax.vmap(at)(rates)
    decreases = jnp.where(jnp.isfinite(decreases), decreases, -jnp.inf)
    return steps[jnp.argmax(decreases)]
