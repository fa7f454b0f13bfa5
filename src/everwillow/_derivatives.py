"""Derivatives of a likelihood in the modes that JAX supports for it.

The default is forward over reverse mode. JAX cannot differentiate every function in
every mode: a `jax.custom_vjp` (adjoint methods of differential equations, external code
with a gradient) excludes forward mode, a loop of unknown length reverse mode, and a
callback to the host both. Such a *refusal* is an error during tracing. Other modes are
tried only after it, so that likelihoods without refusals cost nothing more.

JAX, and libraries with their own rules, raise ordinary errors where a rule is missing,
as a function with a mistake does: its evaluation without derivatives distinguishes the
two.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import DerivativeError, EverwillowError
from everwillow._numerics import value_gradient_hessian


# Sources of a Hessian, the values of `FitResult.derivatives`.
EXACT = "exact"
DIFFERENCES = "finite differences"
NONE = "none"

# Exceptions that JAX, and libraries with their own rules, raise where a rule is
# missing. Errors in the function itself are of these classes too, see
# `raise_unless_sound`.
REFUSALS = (TypeError, ValueError, NotImplementedError, RuntimeError)

# Gradients are taken at five points in a row, this many standard errors apart. The
# formula is of fourth order, so the step may be large, which keeps the rounding, and
# the noise of an external code, out of the quotient.
SPACING = 1e-2
SPACING_SINGLE = 1e-1
# Number of estimates of the standard error that sets the step.
ROUNDS = 2

_POINTS = np.arange(5)


# Row i has the weights of the derivative at point i, exact for polynomials of degree 4.
_WEIGHTS = np.stack(
    [
        np.linalg.solve(
            np.vander(_POINTS - i, increasing=True).T.astype(float), np.eye(5)[1]
        )
        for i in _POINTS
    ]
)


def second_order(
    fn: Callable[[Array], Array],
    x: Float[Array, " n"],
    lower: Any = -jnp.inf,
    upper: Any = jnp.inf,
) -> tuple[Array, Array, Array, str]:
    """Evaluate a scalar function with its gradient and its Hessian.

    Args:
        fn: Maps a vector to a scalar.
        x: The point of evaluation, shape ``(n,)``.
        lower: Lower ends of the parameters; no gradient is taken beyond.
        upper: Upper ends.

    Returns:
        The value, the gradient ``(n,)``, the symmetric Hessian ``(n, n)``, and whether
        that is `EXACT` or from `DIFFERENCES` of gradients.

    Raises:
        DerivativeError: If JAX has not even a gradient.
    """
    try:
        value, gradient, hessian = value_gradient_hessian(fn, x)
        return value, gradient, hessian, EXACT
    except REFUSALS as error:
        refusal = error
    raise_unless_sound(fn, x, refusal)

    def differences(slope):
        def evaluation(v):
            return _hessian_from_gradients(slope, v, lower, upper)

        return evaluation

    evaluations: list[tuple[Any, str]] = [
        (lambda v: _reverse_twice(fn, v), EXACT),
        (lambda v: _forward_twice(fn, v), EXACT),
        (differences(jax.value_and_grad(fn)), DIFFERENCES),
        (differences(_forward(fn)), DIFFERENCES),
    ]
    for evaluation, kind in evaluations:
        if refusal_of(evaluation, x) is None:
            value, gradient, hessian = evaluation(x)
            return value, gradient, 0.5 * (hessian + hessian.T), kind
    raise without_derivatives(refusal)


def value_and_gradient(fn: Callable[[Array], Array]) -> Callable[[Array], Any]:
    """Return a function for the value and the gradient of a scalar function.

    Raises:
        DerivativeError: When called, if JAX has no gradient.
    """

    def both(x: Array) -> tuple[Array, Array]:
        try:
            return jax.value_and_grad(fn)(x)
        except REFUSALS as error:
            refusal = error
        raise_unless_sound(fn, x, refusal)
        forward = _forward(fn)
        if refusal_of(forward, x) is not None:
            raise without_derivatives(refusal)
        return forward(x)

    return both


def gradient_of(fn: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return a function for the gradient of a scalar function."""
    both = value_and_gradient(fn)
    return lambda x: both(x)[1]


def hessian_product(
    fn: Callable[[Array], Array], x: Float[Array, " n"]
) -> tuple[Array, Array, Callable[[Array], Array], str]:
    """Return value, gradient, and a function that multiplies with the Hessian.

    Raises:
        DerivativeError: If JAX has no gradient.
    """
    slope = jax.value_and_grad(fn)
    try:
        (value, gradient), jvp_fn = jax.linearize(slope, x)
        # A missing rule of forward mode raises when the product is mapped over.
        jax.eval_shape(jax.vmap(jvp_fn), x[None])
        return value, gradient, lambda v: jvp_fn(v)[1], EXACT
    except REFUSALS as error:
        raise_unless_sound(fn, x, error)
    slope = value_and_gradient(fn)
    value, gradient = slope(x)

    def twice(vector):
        # The Hessian is symmetric, so this is its product with the vector.
        return jax.vjp(lambda v: slope(v)[1], x)[1](vector)[0]

    if refusal_of(twice, x) is None:
        return value, gradient, _mappable(twice, x), EXACT

    def pushed(vector):
        return jax.jvp(lambda v: slope(v)[1], (x,), (vector,))[1]

    if refusal_of(pushed, x) is None:
        return value, gradient, _mappable(pushed, x), EXACT

    def quotient(vector):
        size = jnp.max(jnp.abs(vector) / jnp.maximum(jnp.abs(x), 1))
        step = jnp.finfo(x.dtype).eps ** (1 / 3) / jnp.where(size > 0, size, 1)
        rise = slope(x + step * vector)[1] - slope(x - step * vector)[1]
        return rise / (2 * step)

    return value, gradient, _mappable(quotient, x), DIFFERENCES


def push_forward(
    fn: Callable[..., Any], primals: Any, tangents: Any, *, forward: bool = True
) -> Any:
    """Return the directional derivative of a function of pytrees, as `jax.jvp` does.

    Where forward mode is refused, reverse mode is applied twice: the vector-Jacobian
    product is linear in its vector, and its transpose is the directional derivative.

    Args:
        fn: The function.
        primals: Tuple of its arguments.
        tangents: Their changes.
        forward: Whether to try forward mode first.
    """
    refusal: Exception = TypeError("forward mode meets a jax.custom_vjp")
    if forward:
        try:
            return jax.jvp(fn, primals, tangents)[1]
        except REFUSALS as error:
            refusal = error
        raise_unless_sound(fn, primals, refusal, several=True)

    def is_smooth(leaf: Any) -> bool:
        return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)

    leaves, treedef = jax.tree.flatten(primals)
    places = [i for i, leaf in enumerate(leaves) if is_smooth(leaf)]
    changes = jax.tree.leaves(tangents)

    def smooth(values):
        filled = list(leaves)
        for i, value in zip(places, values, strict=True):
            filled[i] = value
        return fn(*treedef.unflatten(filled))

    try:
        out, vjp_fn = jax.vjp(smooth, [leaves[i] for i in places])
        transpose = jax.vjp(vjp_fn, jax.tree.map(jnp.zeros_like, out))[1]
        return transpose(([changes[i] for i in places],))[0]
    except REFUSALS as error:
        raise DerivativeError(
            "nll_fn: a derivative through the fit needs the second derivatives of the "
            f"likelihood, and JAX cannot compute them ({first_line(refusal)}). Write "
            "it so that JAX can differentiate it twice, or take differences of fits."
        ) from error


def for_any_solver(fn: Callable[[Array], Array], x: Array) -> Callable[[Array], Array]:
    """Return a scalar function that supports `jax.vmap` and reverse mode.

    A function that supports both is returned unchanged. Solvers of optimistix use
    reverse mode, and evaluate simplexes by `jax.vmap`, which a callback with
    ``vmap_method=None`` refuses. The returned function raises `DerivativeError` when it
    is differentiated and JAX has no gradient.
    """
    if refusal_of(jax.grad(fn), x) is None and _maps(fn, x):
        return fn
    # A custom rule may not close over traced values, so these become arguments.
    arrays, static = eqx.partition(eqx.filter_closure_convert(fn, x), eqx.is_array)

    def plain(v, arrays):
        return eqx.combine(arrays, static)(v)

    mapped = plain if _maps(fn, x) else jax.custom_batching.sequential_vmap(plain)

    @jax.custom_vjp
    def with_rule(v, arrays):
        return mapped(v, arrays)

    def forward(v, arrays):
        return value_and_gradient(lambda v: plain(v, arrays))(v)

    with_rule.defvjp(forward, lambda gradient, change: (change * gradient, None))
    return lambda v: with_rule(v, arrays)


def _maps(fn: Callable[[Array], Array], x: Array) -> bool:
    return refusal_of(jax.vmap(fn), jnp.asarray(x)[None]) is None


def _mappable(fn: Callable[[Array], Array], x: Array) -> Callable[[Array], Array]:
    """Return a function that supports `jax.vmap`, by a loop if necessary."""
    return fn if _maps(fn, x) else jax.custom_batching.sequential_vmap(fn)


def _reverse_twice(fn, x: Array):
    (value, gradient), vjp_fn = jax.vjp(jax.value_and_grad(fn), x)
    none = jnp.zeros_like(value)
    basis = jnp.eye(x.shape[0], dtype=x.dtype)
    return value, gradient, jax.lax.map(lambda row: vjp_fn((none, row))[0], basis)


def _forward(fn) -> Callable[[Array], tuple[Array, Array]]:
    """Return a function for the value and the gradient, in forward mode alone."""

    def both(x):
        value, jvp_fn = jax.linearize(fn, x)
        return value, jax.lax.map(jvp_fn, jnp.eye(x.shape[0], dtype=x.dtype))

    return both


def _forward_twice(fn, x: Array):
    basis = jnp.eye(x.shape[0], dtype=x.dtype)

    def row(direction):
        return jax.jvp(fn, (x,), (direction,))[1]

    def second(direction):
        # The change of all slopes along one direction.
        return jax.jvp(lambda v: _forward(fn)(v)[1], (x,), (direction,))[1]

    return fn(x), jax.lax.map(row, basis), jax.lax.map(second, basis)


def _hessian_from_gradients(slope, x: Float[Array, " n"], lower: Any, upper: Any):
    """Return value, gradient, and the differences of gradients as a Hessian.

    Columns are computed one after another, as external code may not support `jax.vmap`.
    """
    value, gradient = slope(x)
    dtype = x.dtype
    eps = float(jnp.finfo(dtype).eps)
    spacing = SPACING if eps < 1e-10 else SPACING_SINGLE
    weights = jnp.asarray(_WEIGHTS, dtype)
    points = jnp.asarray(_POINTS, dtype)
    first = eps**0.25 * jnp.maximum(jnp.abs(x), 1)
    lower, upper = jnp.zeros_like(x) + lower, jnp.zeros_like(x) + upper
    # Five points have to fit into the range, and steps must exceed the rounding of x.
    longest = jnp.minimum(1e4 * first, (upper - lower) / 8)
    shortest = jnp.minimum(32 * eps * jnp.abs(x) + 1e-4 * first * eps**0.25, longest)

    def column(i):
        unit = jnp.zeros_like(x).at[i].set(1)

        def quotient(step):
            """Return the slope of the gradient from points that are a step apart."""
            room_below, room_above = (x[i] - lower[i]) / step, (upper[i] - x[i]) / step
            below = jnp.clip(jnp.ceil(room_below) - 1, 0, 2)
            above = jnp.clip(jnp.ceil(room_above) - 1, 0, 2)
            here = jnp.where(above < 2, 4 - above, below).astype(int)
            moved = x[None, :] + jnp.outer((points - points[here]) * step, unit)
            slopes = jax.lax.map(lambda v: slope(v)[1], moved)
            # The step after rounding.
            real = (moved[-1, i] - moved[0, i]) / 4
            return weights[here] @ slopes / real

        def refine(_, step):
            bend = quotient(step)[i]
            ideal_step = spacing * jax.lax.rsqrt(jnp.abs(bend))
            sound = jnp.isfinite(bend) & (bend != 0)
            ideal_step = jnp.where(sound, ideal_step, 1e-2 * step)
            return jnp.clip(ideal_step, shortest[i], longest[i])

        start = jnp.minimum(first[i], longest[i])
        return quotient(jax.lax.fori_loop(0, ROUNDS, refine, start))

    return value, gradient, jax.lax.map(column, jnp.arange(x.shape[0]))


def has_custom_vjp(program: Any) -> bool:
    """Return whether a jaxpr has a `jax.custom_vjp` in it, which refuses forward mode.

    JAX itself raises only when it lowers the program, which is too late.
    """
    return _finds(program, "custom_vjp_call")


def _finds(program: Any, name: str) -> bool:
    """Return whether a primitive is in a jaxpr or in those inside of it."""
    program = getattr(program, "jaxpr", program)
    for equation in program.eqns:
        if equation.primitive.name.startswith(name):
            return True
        inside = jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
        )
        if any(_finds(p, name) for p in inside if hasattr(p, "eqns")):
            return True
    return False


def refusal_of(fn: Callable[..., Any], *args: Any) -> Exception | None:
    """Return the exception of JAX when it traces a function, or None."""
    try:
        program = jax.make_jaxpr(fn)(*args)
    except REFUSALS as error:
        return error
    if _finds(program, "custom_lin"):
        return TypeError("forward mode meets a jax.custom_vjp")
    return None


def raise_unless_sound(
    fn, x: Any, refusal: Exception, *, several: bool = False
) -> None:
    """Raise the exception again if the function itself fails without derivatives."""
    if isinstance(refusal, EverwillowError):
        raise refusal
    if refusal_of(fn, *(x if several else (x,))) is not None:
        raise refusal


def without_derivatives(refusal: Exception) -> DerivativeError:
    """Return the error for a likelihood without derivatives."""
    msg = (
        f"nll_fn: JAX has no derivatives of it ({first_line(refusal)}). Give it a "
        "gradient with jax.custom_vjp, or fit without derivatives: "
        "solver=optimistix.NelderMead(1e-8, 1e-8)."
    )
    error = DerivativeError(msg)
    error.__cause__ = refusal
    return error


def first_line(error: Exception) -> str:
    """Return the kind of an error and the beginning of its message."""
    text = str(error).strip().splitlines()
    name = type(error).__name__
    return f"{name}: {text[0].rstrip('.')}" if text else name
