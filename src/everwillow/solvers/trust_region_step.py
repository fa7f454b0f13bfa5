"""The step of a trust-region method with bounds, by Cholesky factorisations.

Minimises the quadratic model ``g·s + ½ s·H·s`` over the ball ``|s| <= radius`` (Moré
and Sorensen, SIAM J. Sci. Stat. Comput. 4 (1983) 553) and inside a box. Everything is
in scaled coordinates, in which the curvature has a diagonal of order one.

A single loop, with one factorisation in each iteration so that the program contains
the factorisation once, does the following:

1. It tries the Newton step.
2. If the curvature is not positive definite and the slope is small, it tries the
   Newton step with a damping at rounding level, with which a singular matrix has a
   Cholesky factor and an indefinite one has none: this distinguishes a flat minimum
   from a saddle. If the slope is steep, it tries the Gauss-Newton stand-in, unless
   there is none or the exact curvature is preferred. A sum of squares may prefer the
   stand-in to a definite curvature.
3. Otherwise it searches the damping that puts the step on the sphere, which leads away
   from a saddle.
4. If the step leaves the box, it keeps the best point on the projection of the step,
   holds the parameters that reached a bound there, and takes Newton steps from that
   point for the rest. If the curvature of the rest is not definite it stops: a search
   there costs more than an evaluation, after which the next step begins.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from everwillow._numerics import norm, zeros_of
from everwillow.curvature import AbstractCurvature, AbstractFactor
from everwillow.solvers.box import best_inside
from everwillow.solvers.quadratic_model import QuadraticModel, least_direction


MAX_FACTORISATIONS = 40
# A scaled gradient as long as this is more than a standard error from any minimum.
NEAR = 1.0
MAX_ROUNDS = 6


def flat_curvature(dtype) -> float:
    """Relative curvature below which a direction counts as flat."""
    return 200 * float(jnp.finfo(dtype).eps)


def minimal_damping(dtype) -> float:
    """Relative damping at rounding level, with which a singular matrix has a factor."""
    return float(jnp.finfo(dtype).eps) ** 0.6


class Step(eqx.Module):
    """A trust-region step, with properties of the model.

    Attributes:
        step: The step, inside ball and box.
        decrease: The decrease of the function predicted by the model; >= 0.
        interior: Whether it is the undamped minimum of the model.
        newton: The Newton step on the free parameters.
        edm: Half the squared length of the Newton step in the metric of the
            curvature, in units of the function; infinite if indefinite.
        definite: Whether the curvature is positive definite.
        semidefinite: Whether it is at least positive semi-definite.
        factor: Factor of the damped curvature that gave the step.
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
    """The state of the loop.

    Attributes:
        count: Number of factorisations.
        round: Number of times that parameters were put on bounds.
        damping: Added to the diagonal in the next iteration.
        minimal: Whether to add `minimal_damping` instead.
        low: Lower end of the bracket of the damping.
        high: Upper end of the bracket.
        stand_in: Whether the Gauss-Newton stand-in takes the place of the curvature.
        free: Which parameters may move, without those that reached a bound.
        base: Point in the box from which they move; the others are held there.
        step: The best step so far.
        interior: Whether it is the undamped minimum of the model.
        done: Whether to stop.
        newton: As in `Step`, like the fields that follow.
    """

    count: Int[Array, ""]
    round: Int[Array, ""]
    damping: Float[Array, ""]
    minimal: Bool[Array, ""]
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


class _Attempt(eqx.Module):
    """The minimum of the damped model from the base, without ball and box.

    Attributes:
        gradient: Slope of the model at the base; zero for held parameters.
        matrix: Curvature or stand-in; the identity for held parameters.
        factor: Factor of the damped matrix.
        step: The step to the minimum.
        length: Length of the step.
        solved: Whether the damped matrix is positive definite and the step finite.
        radius: Radius of the ball, less the distance to the base.
    """

    gradient: Float[Array, " n"]
    matrix: AbstractCurvature
    factor: AbstractFactor
    step: Float[Array, " n"]
    length: Float[Array, ""]
    solved: Bool[Array, ""]
    radius: Float[Array, ""]


def solve_subproblem(model: QuadraticModel, radius: Float[Array, ""]) -> Step:
    """Minimise a quadratic model over a ball and a box.

    Args:
        model: The function to second order.
        radius: Radius of the ball, in scaled coordinates; may be infinite.

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
        minimal=no,
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
        # Steepest descent can be the better step only where the box cut the other.
        cut = jnp.any(end.free != model.free)
        step, decrease = jax.lax.cond(
            cut,
            lambda: _or_projected_gradient(model, radius, step, decrease),
            lambda: (step, decrease),
        )
    return Step(
        step=step,
        decrease=decrease,
        interior=end.interior,
        newton=end.newton,
        edm=end.edm,
        definite=end.definite,
        semidefinite=end.semidefinite,
        factor=end.factor,
        moving=end.free,
        pivot=end.pivot,
    )


def blank_factor(curvature: AbstractCurvature) -> AbstractFactor:
    """Return zeros of the structure that factorising the curvature will have."""
    return zeros_of(eqx.filter_eval_shape(lambda c: c.factor(), curvature))


def _attempt(model: QuadraticModel, radius: Array, s: _Search) -> _Attempt:
    """Factorise the damped model, and minimise it."""
    dtype = model.gradient.dtype
    matrix = model.matrix(s.stand_in)
    slope = model.gradient + model.product(s.base, s.stand_in)
    gradient = jnp.where(s.free, slope, 0)
    radius = jnp.maximum(radius - norm(s.base), 0.1 * radius)
    matrix = matrix.masked(s.free)
    # Relative to the curvature, so that it is small in any scale. A parameter that the
    # function does not depend on has no curvature, and gets almost no damping.
    unit = jnp.abs(matrix.diagonal()) + float(jnp.finfo(dtype).tiny) ** 0.5
    minimal = jnp.where(s.minimal, minimal_damping(dtype), 0) * unit
    damped = matrix.plus_diagonal(jnp.where(s.free, s.damping + minimal, 0))
    factor = damped.factor()
    step = -factor.solve(gradient)
    length = norm(step)
    solved = (factor.smallest_pivot > flat_curvature(dtype)) & jnp.isfinite(length)
    return _Attempt(gradient, matrix, factor, step, length, solved, radius)


def _advance(model: QuadraticModel, radius: Array, s: _Search) -> _Search:
    """Factorise once, and choose the next trial."""
    trial = _attempt(model, radius, s)
    definite, length, undamped = trial.solved, trial.length, s.damping == 0
    # The exact curvature comes first even where the stand-in is preferred.
    swap_first = (s.count == 0) & definite & model.prefer & model.least_squares
    exact_results = _exact_results(s, trial)
    interior = definite & undamped & (length <= 1.1 * trial.radius)
    boundary = definite & (jnp.abs(length - trial.radius) <= 0.1 * trial.radius)

    def done() -> tuple[Array, Array, tuple[Array, ...]]:
        unchanged = s.damping, s.minimal, s.low, s.high, s.stand_in
        return trial.step, jnp.asarray(False), unchanged

    def search_further() -> tuple[Array, Array, tuple[Array, ...]]:
        curve, along, hard = _hard_case(model, s.damping, trial)
        return along, hard, _next_damping(model, s, trial, curve, swap_first)

    # A Newton step spares the hard case and the choice of a damping.
    along, hard, next_trial = jax.lax.cond(interior & ~swap_first, done, search_further)
    damping, minimal, low, high, stand_in = next_trial
    hard = definite & ~undamped & (length < trial.radius) & hard
    exhausted = s.count >= MAX_FACTORISATIONS * (s.round + 1)
    exhausted = exhausted | (~definite & undamped & (s.round > 0))
    finished = (interior | boundary | hard | exhausted) & ~swap_first
    shrunk = trial.step * jnp.where(length > trial.radius, trial.radius / length, 1)
    usable = jnp.where(hard, along, shrunk)
    search = dataclasses.replace(
        s,
        count=s.count + 1,
        damping=damping,
        minimal=minimal,
        low=low,
        high=high,
        stand_in=stand_in,
        step=jnp.where(definite, s.base + jnp.where(s.free, usable, 0), s.step),
        interior=interior,
        done=jnp.asarray(False),
        factor=trial.factor,
        **exact_results,
    )
    names = ("round", "damping", "minimal", "low", "high", "free", "base")
    names = (*names, "step", "interior", "done")
    end_fields = jax.lax.cond(
        finished,
        lambda: _close(model, search),
        lambda: {name: getattr(search, name) for name in names},
    )
    return dataclasses.replace(search, **end_fields)


def _exact_results(s: _Search, trial: _Attempt) -> dict[str, Array]:
    """Return the results that need the exact, undamped curvature of all parameters."""
    first = (s.round == 0) & ~s.stand_in & (s.damping == 0)
    take = first & trial.solved & ~s.semidefinite
    edm = -0.5 * jnp.vdot(trial.gradient, trial.step)
    return {
        "definite": s.definite | (first & ~s.minimal & trial.solved),
        "semidefinite": s.semidefinite | (first & trial.solved),
        "newton": jnp.where(take, trial.step, s.newton),
        "edm": jnp.where(take, edm, s.edm),
        "pivot": jnp.where(take, trial.factor.smallest_pivot, s.pivot),
    }


def _close(model: QuadraticModel, s: _Search) -> dict[str, Array]:
    """End the search, or hold parameters that reached a bound and repeat it."""
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
        move = step - s.base
        reached = ((point <= lower) & (move < 0)) | ((point >= upper) & (move > 0))
    repeat = leaves & (s.round < MAX_ROUNDS)
    return {
        "round": jnp.where(repeat, s.round + 1, s.round),
        "damping": jnp.where(repeat, 0, s.damping),
        "minimal": s.minimal & ~repeat,
        "low": jnp.where(repeat, 0, s.low),
        "high": jnp.where(repeat, jnp.inf, s.high),
        "free": s.free & ~(reached & leaves),
        "base": jnp.where(repeat, point, s.base),
        "step": point,
        "interior": s.interior & ~leaves,
        "done": ~repeat,
    }


def _next_damping(
    model: QuadraticModel,
    s: _Search,
    trial: _Attempt,
    curve: Float[Array, ""],
    swap_first: Bool[Array, ""],
) -> tuple[Array, ...]:
    """Choose the next damping, inside a bracket that shrinks."""
    definite, length, radius = trial.solved, trial.length, trial.radius
    slope = norm(trial.gradient)
    size = jnp.sqrt(jnp.sum(jnp.square(_frobenius(trial.matrix))))
    high = jnp.minimum(s.high, slope / radius + size)
    high = jnp.where(definite & (length < radius), jnp.minimum(high, s.damping), high)
    low = jnp.where(
        definite & (length < radius),
        jnp.maximum(s.low, s.damping - curve),
        jnp.maximum(s.low, s.damping),
    )
    # Newton's method on 1/|s| - 1/radius, which is almost linear in the damping.
    change = jnp.vdot(trial.step, trial.factor.solve(trial.step))
    newton = s.damping + (length - radius) / radius * length**2 / change
    fallback = jnp.maximum(jnp.sqrt(low * high), low + 1e-3 * (high - low))
    usable = definite & jnp.isfinite(newton) & (newton > low) & (newton < high)
    damping = jnp.where(usable, newton, fallback)
    # Before any search: where the slope is small an indefinite matrix is tried with
    # minimal damping, which distinguishes a flat minimum from a saddle; elsewhere the
    # stand-in takes its place.
    failed = ~definite & (s.damping == 0)
    stand_in, swap = s.stand_in, jnp.asarray(False)
    if model.gauss_newton is not None:
        trusted = model.prefer | model.least_squares
        steep = _in_errors(model, trial.gradient) > NEAR
        swap = swap_first | (failed & steep & trusted & ~s.stand_in)
        stand_in = stand_in | swap
        damping = jnp.where(swap, 0, damping)
        low = jnp.where(swap, 0, low)
        high = jnp.where(swap, jnp.inf, high)
    minimal = failed & ~s.minimal & ~swap
    return jnp.where(minimal, 0, damping), minimal, low, high, stand_in


def _in_errors(model: QuadraticModel, gradient: Float[Array, " n"]) -> Array:
    """Return the length of a gradient in units of that of a standard error."""
    own = _squares(model)
    return norm(gradient / jnp.sqrt(jnp.where(own > 0, own, 1)))


def _squares(model: QuadraticModel) -> Float[Array, " n"]:
    """Return the curvatures of the stand-in along the axes.

    They are 1 where the axes are standard errors. Axes of parameters that start next to
    zero are shorter.
    """
    assert model.gauss_newton is not None
    return jnp.abs(model.gauss_newton.diagonal()) * model.shrink**2


def _frobenius(curvature: AbstractCurvature) -> Array:
    """Return an array whose squares sum to at least those of all entries."""
    leaves = [
        jnp.ravel(leaf)
        for leaf in jax.tree.leaves(curvature)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    # An off-diagonal block is stored once and stands twice in the matrix.
    return jnp.sqrt(2.0) * jnp.concatenate(leaves)


def _hard_case(
    model: QuadraticModel, damping: Float[Array, ""], trial: _Attempt
) -> tuple[Array, Array, Array]:
    """Extend a step along the direction of least curvature in the hard case.

    Where the gradient has no component along the most negative curvature, no damping
    makes the step reach the sphere; the missing length is then added along that
    direction, found by inverse iteration.

    Returns:
        The damped curvature along that direction, the step, and whether it is close
        enough to optimal to end the search.
    """
    length, radius = trial.length, trial.radius
    direction = least_direction(trial.factor, model.free, model.gradient.dtype)
    curve = jnp.vdot(direction, trial.matrix.matvec(direction)) + damping
    towards = jnp.vdot(trial.step, direction)
    rest = radius**2 - length**2
    root = jnp.sqrt(jnp.maximum(towards**2 + rest, 0))
    # The smaller of the two roots, in the form without cancellation.
    tau = rest / (towards + jnp.where(towards >= 0, root, -root))
    curvature = (
        jnp.vdot(trial.step, trial.matrix.matvec(trial.step)) + damping * length**2
    )
    # The criterion of Moré and Sorensen, σ (2 - σ) with σ = 0.1.
    accept = tau**2 * curve <= 0.19 * (curvature + damping * radius**2)
    return curve, trial.step + tau * direction, accept & jnp.isfinite(tau)


def _or_projected_gradient(
    model: QuadraticModel, radius: Array, step: Array, decrease: Array
) -> tuple[Array, Array]:
    """Return the better of a step and the best of some on the steepest descent.

    The path of steepest descent is projected onto the box. Where axes are shorter than
    standard errors, the steepest descent in standard errors is tried, too.
    """
    gradient = jnp.where(model.free, model.gradient, 0)
    paths = [gradient]
    if model.gauss_newton is not None:
        own = _squares(model)
        paths.append(gradient / jnp.where(own > 0, own, 1))

    def at(rate, path):
        length = norm(path)
        longest = jnp.minimum(radius / jnp.where(length > 0, length, 1), 16.0)
        step = model.inside(-longest * rate * path)
        return step, model.decrease(step)

    rates = 4.0 ** -jnp.arange(12, dtype=gradient.dtype)
    tried = jax.vmap(jax.vmap(at, (0, None)), (None, 0))(rates, jnp.stack(paths))
    steps, decreases = (one.reshape(-1, *one.shape[2:]) for one in tried)
    decreases = jnp.where(jnp.isfinite(decreases), decreases, -jnp.inf)
    other = steps[jnp.argmax(decreases)]
    better = model.decrease(other)
    swap = better > decrease
    return jnp.where(swap, other, step), jnp.where(swap, better, decrease)
